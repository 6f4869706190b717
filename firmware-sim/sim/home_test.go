package sim

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"porchlight/device"
)

func TestFamily(t *testing.T) {
	h, err := ReadHome("../../configs/homes/family.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(h.Devices) != 3 || len(h.People) != 3 || len(h.Script) == 0 {
		t.Fatalf("got %+v", h)
	}
	tv := h.Devices[0]
	if tv.Class != device.TV || !tv.Controller || tv.Can.Width != 1920 || tv.Can.Inputs != device.Remote || !tv.Can.CanShow(device.Panel) {
		t.Errorf("television: got %+v", tv)
	}
	if h.Devices[1].Owner != "Anna" || h.Script[0].After != 5*time.Second {
		t.Errorf("owner %q, first step %+v", h.Devices[1].Owner, h.Script[0])
	}
}

const goodHome = `name: oak
zone: Europe/Zurich
people: [{name: Anna}]
rooms: [kitchen]
devices:
  - name: TV
    class: tv
    room: kitchen
    owner: Anna
    can: {forms: [toast], inputs: [remote]}
    start: [turn on]
script:
  - {after: 1s, device: TV, press: 1}
`

func TestHomeMistakes(t *testing.T) {
	if _, err := ParseHome("h.yaml", []byte(goodHome)); err != nil {
		t.Fatalf("the good home: %v", err)
	}
	tests := map[string]struct {
		old, new string
		want     []string
	}{
		"unknown key":        {"    room: kitchen", "    rooom: kitchen", []string{"h.yaml:8:", `"rooom"`, "did you mean room"}},
		"unknown key inside": {"forms: [toast]", "form: [toast]", []string{"h.yaml:10:", `"form"`, "did you mean forms"}},
		"unknown class":      {"class: tv", "class: telly", []string{"h.yaml:7:", "TV", `"telly"`, "fridge"}},
		"unknown zone":       {"Europe/Zurich", "Europe/Zürich", []string{"h.yaml:2:", "Europe/Zürich", "IANA"}},
		"no zone":            {"zone: Europe/Zurich\n", "", []string{"h.yaml:", "add zone"}},
		"unknown room":       {"room: kitchen", "room: kitchn", []string{"h.yaml:8:", "TV", `"kitchn"`, "did you mean kitchen"}},
		"unknown owner":      {"owner: Anna", "owner: Ben", []string{"h.yaml:9:", "TV", `"Ben"`, "Anna"}},
		"same name twice":    {"script:", "  - {name: TV, class: car}\nscript:", []string{"h.yaml:12:", `"TV"`, "twice"}},
		"same person twice":  {"[{name: Anna}]", "[{name: Anna}, {name: Anna}]", []string{"h.yaml:3:", `"Anna"`, "twice"}},
		"device unnamed":     {"  - name: TV\n    class", "  - class", []string{"h.yaml:6:", "no name"}},
		"unknown form":       {"[toast]", "[toaster]", []string{"h.yaml:10:", `"toaster"`, "toast"}},
		"unknown input":      {"[remote]", "[thoughts]", []string{"h.yaml:10:", `"thoughts"`, "remote"}},
		"unknown action":     {"[turn on]", "[fly]", []string{"h.yaml:11:", `"fly"`, "turn on"}},
		"unknown device":     {"device: TV", "device: Radio", []string{"h.yaml:13:", `"Radio"`, "TV"}},
		"step does nothing":  {", press: 1", "", []string{"h.yaml:13:", "exactly one"}},
		"not a number":       {"press: 1", "press: one", []string{"h.yaml:13:"}},
		"not YAML":           {"people: [{name: Anna}]", "people: [{name: Anna}", []string{"h.yaml:"}},
		"twice a key":        {"zone: Europe/Zurich", "zone: Europe/Zurich\nname: elm", []string{"h.yaml:3:", "name"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(goodHome, tt.old, tt.new, 1)
			if text == goodHome {
				t.Fatalf("%q is not in the good home", tt.old)
			}
			_, err := ParseHome("h.yaml", []byte(text))
			for _, w := range tt.want {
				if err == nil || !strings.Contains(err.Error(), w) {
					t.Errorf("got error %v\nwant one with %q", err, w)
				}
			}
		})
	}
}

func TestCredentials(t *testing.T) {
	path := filepath.Join(t.TempDir(), "family.yaml")
	want := Credentials{Gateway: "tls://localhost:8883", CA: "/ca.crt", Devices: map[string]Credential{"Living TV": {ID: "abcd2345abcd2345", Token: "s: #3"}}}
	if err := WriteCredentials(path, want); err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode: got %v, %v, want 0600", fi.Mode(), err)
	}
	got, err := ReadCredentials(path)
	if err != nil || got.Gateway != want.Gateway || got.CA != want.CA || got.Devices["Living TV"] != want.Devices["Living TV"] {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	_, err = Devices(Home{Devices: []Thing{{Name: "Car", Class: device.Car}}}, Credentials{Devices: got.Devices}, Config{})
	if err == nil || !strings.Contains(err.Error(), "Car") {
		t.Errorf("a device without credentials: got %v, want an error that names it", err)
	}
}

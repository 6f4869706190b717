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
	if c := h.People[2]; h.People[0].Age != device.Adult || c.Age != device.Child || len(c.Guardians) != 2 {
		t.Errorf("people: got %+v", h.People)
	}
	if h.Devices[1].Owner != "Anna" || h.Script[0].After != 5*time.Second {
		t.Errorf("owner %q, first step %+v", h.Devices[1].Owner, h.Script[0])
	}
}

const goodHome = `name: oak
zone: Europe/Zurich
people: [{name: Anna}, {name: Carla, age: child, guardians: [Anna]}]
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
		"same person twice":  {"[{name: Anna}", "[{name: Anna}, {name: Anna}", []string{"h.yaml:3:", `"Anna"`, "twice"}},
		"unknown age":        {"age: child", "age: baby", []string{"h.yaml:3:", `"baby"`, "child, teen, adult"}},
		"adult's guardian":   {"age: child", "age: adult", []string{"h.yaml:3:", "Carla", "an adult has no guardians"}},
		"unknown guardian":   {"[Anna]", "[Ana]", []string{"h.yaml:3:", "Carla", `"Ana"`, "did you mean Anna"}},
		"guardian a child":   {"[Anna]", "[Carla]", []string{"h.yaml:3:", "Carla is no adult"}},
		"guardian twice":     {"[Anna]", "[Anna, Anna]", []string{"h.yaml:3:", "twice"}},
		"device unnamed":     {"  - name: TV\n    class", "  - class", []string{"h.yaml:6:", "no name"}},
		"unknown form":       {"[toast]", "[toaster]", []string{"h.yaml:10:", `"toaster"`, "toast"}},
		"unknown input":      {"[remote]", "[thoughts]", []string{"h.yaml:10:", `"thoughts"`, "remote"}},
		"unknown action":     {"[turn on]", "[fly]", []string{"h.yaml:11:", `"fly"`, "turn on"}},
		"unknown device":     {"device: TV", "device: Radio", []string{"h.yaml:13:", `"Radio"`, "TV"}},
		"step does nothing":  {", press: 1", "", []string{"h.yaml:13:", "exactly one"}},
		"not a number":       {"press: 1", "press: one", []string{"h.yaml:13:"}},
		"two things":         {"press: 1", "press: 1, people: 2", []string{"h.yaml:13:", "2 things", "exactly one of do, press"}},
		"unknown answer":     {"press: 1", "answer: maybe", []string{"h.yaml:13:", `"maybe"`, "yes, no, more, phone, back"}},
		"unknown why":        {"press: 1", "why: not", []string{"h.yaml:13:", `"not"`, "message or held"}},
		"unknown comer":      {"press: 1", "comes: Ana", []string{"h.yaml:13:", `"Ana"`, "did you mean Anna"}},
		"too sure":           {"press: 1", "comes: Anna@7", []string{"h.yaml:13:", "0 to 1"}},
		"unknown leaver":     {"press: 1", "leaves: Eve", []string{"h.yaml:13:", `"Eve"`}},
		"many people":        {"press: 1", "people: 100", []string{"h.yaml:13:", "0 to 99"}},
		"somebody else says": {"press: 1", "answer: yes, by: Eve", []string{"h.yaml:13:", `"Eve"`, "people"}},
		"somebody presses":   {"press: 1", "press: 1, by: Anna", []string{"h.yaml:13:", "not with press"}},
		"cap of 2000":        {"press: 1", "caps: [{max: 2000}]", []string{"h.yaml:13:", "max is 2000, at most 1000"}},
		"cap of a telly":     {"press: 1", "caps: [{max: 2, class: telly}]", []string{"h.yaml:13:", `"telly"`}},
		"cap of a key":       {"press: 1", "caps: [{maxx: 2}]", []string{"h.yaml:13:", `"maxx"`, "did you mean max"}},
		"mute of a room":     {"press: 1", "mute: {room: attic}", []string{"h.yaml:13:", `"attic"`, "kitchen"}},
		"mute of smells":     {"press: 1", "mute: {content: [smells]}", []string{"h.yaml:13:", `"smells"`, "words, picture, sound"}},
		"mute of a name":     {"press: 1", "mute: {device: the TV, lift: true}", []string{"h.yaml:13:", `"the TV"`, "4 to 32 characters"}},
		"mute, backwards":    {"press: 1", "mute: {for: -1h}", []string{"h.yaml:13:", "over before it begins"}},
		"quiet at 25":        {"press: 1", `quiet: [{from: "25:00", to: "07:00"}]`, []string{"h.yaml:13:", `"25:00"`, "22:00"}},
		"quiet on Moonday":   {"press: 1", `quiet: [{from: "22:00", to: "07:00", days: [Moon]}]`, []string{"h.yaml:13:", `"Moon"`, "Sun"}},
		"unknown moment":     {"press: 1", "moments: [dinner]", []string{"h.yaml:13:", `"dinner"`, "film, call, sleep"}},
		"language twice":     {"press: 1", "languages: [de, de]", []string{"h.yaml:13:", "twice"}},
		"unknown signal":     {"press: 1", "signal: {kind: smoke}", []string{"h.yaml:13:", `"smoke"`, "tcf, gpp, gpc"}},
		"not YAML":           {"people: [{name: Anna}, ", "people: [{name: Anna, ", []string{"h.yaml:"}},
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

// Steps as they are written, in a file and on the keyboard.
func TestSteps(t *testing.T) {
	for _, text := range []string{
		"answer: yes", "answer: stranger, by: Anna", "why: held", "comes: Anna@0.7", "leaves: Carla", "people: 0", "snooze: 1h30m", "snooze: off", "mute: {}", "mute: {brand: this}", "mute: {lift: true}", "mute: {brand: grocer, lift: true}", "mute: {device: tv-1, lift: true}", "mute: {device: this, lift: true}",
		"mute: {category: games, for: 2h, content: [sound], room: kitchen, class: tv, owner: Carla}", `quiet: [{from: "22:00", to: "07:00"}]`, "quiet: []", "caps: []",
		"caps: [{max: 3}, {max: 1, minutes: 30, each: true}]", "moments: []", "languages: [de-AT]", "freeze: false", "forget: []", `signal: {kind: gpc, value: "1"}`, "signal: {kind: tcf}",
	} {
		if _, err := ParseHome("h.yaml", []byte(strings.Replace(goodHome, "press: 1", text, 1))); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		s, err := ParseStep(text, device.TV)
		if err != nil || len(s.acts()) != 1 {
			t.Errorf("%s: got %+v, %v", text, s, err)
		}
	}
	for text, want := range map[string]string{
		"snooze: 0s": "snooze: 0s is over before it begins: use a length of time such as 2h; to end a snooze say off", "snooze: 1": `"1" is not a length of time`, "mute: {for: 0s}": "mute: 0s is over",
		"": "does 0 things", "answer: perhaps": "unknown", "people": "", "max: 3": `key "max" is unknown`, "do: fly": "no action", "caps: [{max: 2000}]": "at most 1000", "comes: Eve@2": "0 to 1",
	} {
		if _, err := ParseStep(text, device.TV); err == nil || !strings.Contains(err.Error(), want) || strings.HasPrefix(err.Error(), ":") {
			t.Errorf("%q: got %v, want an error with %q", text, err, want)
		}
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

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"porchlight/device"
	"porchlight/device/wire"
)

var update = flag.Bool("update", false, "write the frames under configs/frames anew")

const configs = "../../configs"

// frames are the frames that are committed as files, for clients that are used by hand. Each is
// sent on a connection of its own, where its number is the first.
func frames(t *testing.T) map[string][]byte {
	t.Helper()
	fridge := wire.Birth{
		Model: wire.Model{Maker: "By", Name: "Hand"}, Class: device.Fridge,
		Can: wire.Capabilities{
			Screen: []uint{800, 480, 180}, Inputs: device.Touch, Forms: []device.Form{device.Badge, device.Toast},
			MaxButtons: 2, Languages: []string{"en"}, Holds: 1,
		},
		Attributes: []string{"power.state", "door.open", "temperature", "alarm"},
	}
	tv := wire.Birth{
		Model: wire.Model{Maker: "By", Name: "Hand"}, Class: device.TV,
		Can: wire.Capabilities{
			Screen: []uint{1920, 1080, 1397}, Inputs: device.Remote, Forms: []device.Form{device.Toast, device.Panel},
			MaxButtons: 3, Languages: []string{"en"}, Holds: 1,
		},
		Attributes: []string{"power.state", "state", "full_screen"},
	}
	all := map[string][]byte{}
	put := func(name string, b []byte, err error) {
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all[name+".cbor"] = b
	}
	birth := func(name string, b wire.Birth) {
		raw, err := wire.Encode(b)
		put(name, raw, err)
	}
	context := func(name string, of wire.Birth, complete bool, values map[string]any) {
		raw, err := wire.EncodeContext(wire.Context{Seq: 1, Values: values, Complete: complete}, of.Attributes)
		put(name, raw, err)
	}
	birth("fridge-birth", fridge)
	context("fridge-calm", fridge, true, map[string]any{"power.state": "on", "door.open": false, "temperature": 4.5, "alarm": false})
	context("fridge-door-open", fridge, false, map[string]any{"door.open": true})
	context("fridge-door-closed", fridge, false, map[string]any{"door.open": false})
	birth("tv-birth", tv)
	context("tv-idle", tv, true, map[string]any{"power.state": "on", "state": "idle", "full_screen": false})
	return all
}

// The files are what the encoders make; go test ./cmd/porchlight -run Frames -update writes them.
func TestFramesOnFile(t *testing.T) {
	all := frames(t)
	for name, want := range all {
		path := filepath.Join(configs, "frames", name)
		if *update {
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %x, %v, want %x; -update writes it", path, got, err, want)
		}
	}
	files, err := filepath.Glob(filepath.Join(configs, "frames", "*.cbor"))
	if err != nil || len(files) != len(all) {
		t.Errorf("%d files, %v, want %d", len(files), err, len(all))
	}
}

// player is configs/play-a-device.sh at work.
type player struct {
	*exec.Cmd
	lines *bufio.Scanner
	told  strings.Builder // what it printed so far
}

func play(t *testing.T, vars ...string) *player {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	p := &player{Cmd: exec.CommandContext(ctx, filepath.Join(configs, "play-a-device.sh"))}
	p.Env = append(os.Environ(), append(vars, "LIMIT=40", "TMPDIR="+t.TempDir())...)
	p.Cancel, p.WaitDelay = func() error { return p.Process.Signal(syscall.SIGTERM) }, 10*time.Second
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.Stderr = p.Stdout
	p.lines = bufio.NewScanner(out)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// until reads what p prints up to a line that begins with want.
func (p *player) until(t *testing.T, want string) {
	t.Helper()
	for p.lines.Scan() {
		p.told.WriteString(p.lines.Text() + "\n")
		if strings.HasPrefix(p.lines.Text(), want) {
			return
		}
	}
	t.Fatalf("the script ended before it said %q: %v\n%s", want, p.Wait(), &p.told)
}

// end reads the rest, and returns the exit status. Nothing is left behind.
func (p *player) end(t *testing.T) int {
	t.Helper()
	for p.lines.Scan() {
		p.told.WriteString(p.lines.Text() + "\n")
	}
	_ = p.Wait() // the status says it
	left, err := os.ReadDir(p.Env[len(p.Env)-1][len("TMPDIR="):])
	if err != nil || len(left) > 0 {
		t.Errorf("the script left %v behind, %v", left, err)
	}
	return p.ProcessState.ExitCode()
}

// Clients that nobody here wrote act as a device, from birth to the message that is called back.
func TestMosquitto(t *testing.T) {
	for _, name := range []string{"mosquitto_pub", "mosquitto_sub"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skip(name + " is not installed: apt-get install mosquitto-clients")
		}
	}
	data := t.TempDir()
	g, stop := start(t, data, io.Discard)
	defer stop()
	fridge := func(t *testing.T, home string) (id, token string) {
		porchlight(t, data, "home", "add", home, "--zone", "Europe/Zurich")
		var d struct{ ID, Token string }
		if err := json.Unmarshal([]byte(porchlight(t, data, "device", "add", "--home", home, "--class", "fridge", "--json")), &d); err != nil {
			t.Fatal(err)
		}
		return d.ID, d.Token
	}
	port := func(scheme string) string {
		_, p, err := net.SplitHostPort(g.Listeners[scheme])
		if err != nil {
			t.Fatal(err)
		}
		return "PORT=" + p
	}
	const message = `{"purpose": "marketing", "texts": [{"language": "en", "title": "Milk", "body": "Two for ‘one’ today."}],
		"when": [{"class": "fridge", "attribute": "door.open", "op": "eq", "value": true}]}`

	t.Run("all", func(t *testing.T) { // returns when the parallel ones have ended
		for name, vars := range map[string][]string{
			"311-plain": {"VERSION=mqttv311", port("mqtt")},
			"5-plain":   {"VERSION=mqttv5", port("mqtt")},
			"311-tls":   {"VERSION=mqttv311", port("mqtts"), "CAFILE=" + g.CA},
			"5-tls":     {"VERSION=mqttv5", port("mqtts"), "CAFILE=" + g.CA},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				home, brand := "home-"+name, "brand-"+name
				id, token := fridge(t, home)
				key := filepath.Join(t.TempDir(), "key")
				file := filepath.Join(t.TempDir(), "message.json")
				for path, text := range map[string]string{file: message, key: porchlight(t, data, "brand", "add", brand, "--name", "Fresh Market "+name, "--purpose", "marketing")} {
					if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				choice := []string{"--home", home, "--brand", brand, "--purpose", "marketing"}
				porchlight(t, data, append([]string{"consent", "give"}, choice...)...)
				pushed := porchlight(t, data, "push", file, "--for", "1h", "--key-file", key, "--api", "http://"+g.Listeners["http"])

				p := play(t, append(vars, "ID="+id, "TOKEN="+token)...)
				p.until(t, "The fridge shows: Two for ‘one’ today.")
				p.until(t, "# It waits until the message is called back")
				if why := porchlight(t, data, "why", pushed, "--home", home); !strings.Contains(why, ", shown 2") || strings.Contains(why, "taken off") {
					t.Errorf("while it is shown, why says\n%s", why)
				}
				porchlight(t, data, append([]string{"consent", "withdraw"}, choice...)...)
				if status := p.end(t); status != 0 {
					t.Errorf("exit status %d\n%s", status, &p.told)
				}
				if why := porchlight(t, data, "why", pushed, "--home", home); !strings.Contains(why, ", shown 2") || !strings.Contains(why, ", taken off 2") {
					t.Errorf("afterwards, why says\n%s", why)
				}
				if strings.Contains(p.told.String(), token) {
					t.Error("the script printed the token")
				}
			})
		}
		t.Run("wrong token", func(t *testing.T) {
			t.Parallel()
			id, _ := fridge(t, "home-wrong")
			p := play(t, port("mqtt"), "ID="+id, "TOKEN=wrong")
			if status := p.end(t); status != 1 || !strings.Contains(p.told.String(), "play-a-device: mosquitto_sub has ended") {
				t.Errorf("exit status %d, want 1\n%s", status, &p.told)
			}
		})
	})
}

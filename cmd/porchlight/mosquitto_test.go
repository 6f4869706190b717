package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

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

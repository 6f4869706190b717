package main

import (
	"testing"

	"porchlight/device/wire"
)

// What a device in a storm is told is compared with what it knows: a lost command and one out of order are seen.
func TestStormSees(t *testing.T) {
	document := func(version uint64, most uint16) []byte {
		doc := wire.Document{Zone: "UTC"}
		if most > 0 {
			doc.Caps = []wire.Cap{{Max: most, Hours: 24}}
		}
		raw, err := wire.Encode(wire.Twin{Version: version, Doc: doc})
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	for name, test := range map[string]struct {
		version uint64
		cap     uint16
		maybe   []uint16
		came    []byte
		good    bool
	}{
		"the first":                       {0, 0, nil, document(1, 0), true},
		"what was acknowledged":           {4, 3, nil, document(4, 3), true},
		"what was asked for":              {4, 3, []uint16{7}, document(5, 7), true},
		"what was asked for was not done": {4, 3, []uint16{7}, document(4, 3), true},
		"lost":                            {4, 3, nil, document(5, 2), false},
		"lost altogether":                 {4, 3, []uint16{7}, document(5, 0), false},
		"out of order":                    {4, 3, nil, document(3, 3), false},
		"no document":                     {4, 3, nil, []byte{0xff}, false},
	} {
		one := tossing{version: test.version, cap: test.cap, maybe: test.maybe}
		if err := one.look(test.came); (err == nil) != test.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}

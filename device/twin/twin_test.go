package twin

import (
	"strings"
	"testing"
	"time"

	"porchlight/device"
)

func TestReport(t *testing.T) {
	at := device.At(time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC))
	tests := map[string]struct {
		values   map[string]any
		after    time.Duration
		complete bool
		changed  bool   // anything
		door     bool   // door.open itself
		open     string // what door.open is afterwards
		wrong    string // what the error names
	}{
		"the same again":          {values: map[string]any{"door.open": true}, after: time.Second, open: "true"},
		"another value":           {values: map[string]any{"door.open": false}, after: time.Second, changed: true, door: true, open: "false"},
		"the same after staling":  {values: map[string]any{"door.open": true}, after: 10 * time.Minute, changed: true, door: true, open: "true"},
		"null":                    {values: map[string]any{"door.open": nil}, after: time.Second, changed: true, door: true, open: "unknown"},
		"wrong type":              {values: map[string]any{"door.open": "yes"}, after: time.Second, changed: true, door: true, open: "unknown", wrong: "door.open"},
		"nothing of it":           {values: map[string]any{"temperature": 4.0}, after: time.Second, changed: true, open: "true"},
		"nothing of it, complete": {values: map[string]any{"temperature": 4.0}, after: time.Second, complete: true, changed: true, door: true, open: "unknown"},
		"late":                    {values: map[string]any{"door.open": false}, after: -time.Second, open: "true"},
		"not the fridge's":        {values: map[string]any{"ux.driving": "parked"}, after: time.Second, open: "true"},
		"nobody's":                {values: map[string]any{"mood": "blue"}, after: time.Second, open: "true"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var c device.Context
			c.Set(device.DoorOpen, device.Value{Kind: device.Bool, Num: 1}, at)
			changed, err := Report(&c, device.Fridge, test.values, at.Add(test.after), at.Add(test.after), test.complete)
			r, _ := c.Get(device.DoorOpen)
			if got := device.DoorOpen.Show(r.Value); (changed != 0) != test.changed || changed.Has(device.DoorOpen) != test.door || got != test.open {
				t.Errorf("changed %b, door.open %s; want some %t, the door %t, %s", changed, got, test.changed, test.door, test.open)
			}
			if (err != nil) != (test.wrong != "") || err != nil && !strings.Contains(err.Error(), test.wrong) {
				t.Errorf("err = %v, want one that names %q", err, test.wrong)
			}
		})
	}
}

package policy

import (
	"math"
	"strings"
	"testing"

	"porchlight/device"
)

func TestPredicateCheck(t *testing.T) {
	tests := map[string]struct {
		edit func(*Predicate)
		want string // in the error; "" for none
	}{
		"a good one":             {func(p *Predicate) {}, ""},
		"of the screen itself":   {func(p *Predicate) { p.Class = 0 }, ""},
		"a number below":         {func(p *Predicate) { p.Attribute, p.Op, p.Value = device.VolumeLevel, LT, val(device.VolumeLevel, 0.5) }, ""},
		"no attribute":           {func(p *Predicate) { p.Attribute = 0 }, "attribute 0 is unknown: use one of power.state, "},
		"an attribute beyond":    {func(p *Predicate) { p.Attribute = 200 }, "attribute 200 is unknown"},
		"no such class":          {func(p *Predicate) { p.Class = 77 }, "class 77 is unknown: use one of tv, speaker"},
		"a class without it":     {func(p *Predicate) { p.Class = device.Fridge }, "a fridge does not report state: did you mean "},
		"an order of words":      {func(p *Predicate) { p.Op = GT }, `op "gt" does not apply to state, which is a word from its list: use eq or ne`},
		"an op unknown":          {func(p *Predicate) { p.Op = "like" }, `op "like" does not apply to state`},
		"a number's op unknown":  {func(p *Predicate) { p.Attribute, p.Op = device.VolumeLevel, "=" }, `op "=" of volume_level is unknown: use one of eq, ne, lt, le, gt, ge`},
		"no value":               {func(p *Predicate) { p.Value = device.Value{} }, "use one of off, on, idle"},
		"a value of other kind":  {func(p *Predicate) { p.Value = val(device.DND, true) }, "use one of off, on, idle"},
		"a word beyond its list": {func(p *Predicate) { p.Value.Num = 7 }, "use one of off, on, idle"},
		"half a word":            {func(p *Predicate) { p.Value.Num = 0.5 }, "use one of off, on, idle"},
		"a truth of two":         {func(p *Predicate) { p.Attribute, p.Value = device.DND, device.Value{Kind: device.Bool, Num: 2} }, "dnd is compared with true or false: it takes true or false"},
		"not a number": {func(p *Predicate) {
			p.Attribute, p.Value = device.VolumeLevel, device.Value{Kind: device.Number, Num: math.NaN()}
		}, "volume_level is compared with a number"},
		"a long text": {func(p *Predicate) {
			p.Attribute, p.Value = device.Source, device.Value{Kind: device.Text, Text: strings.Repeat("x", 65)}
		}, "source is compared with text"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := Predicate{device.TV, device.PlayerState, EQ, val(device.PlayerState, "paused")}
			tt.edit(&p)
			err := p.Check()
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%+v: got %v, want %q", p, err, tt.want)
			}
			if p.valid() != (err == nil) {
				t.Errorf("%+v: Check says %v and valid says %v", p, err, p.valid())
			}
		})
	}
}

func TestNearestAttribute(t *testing.T) {
	tests := []struct {
		name  string
		class device.Class
		want  string
	}{
		{"door_open", 0, "door.open"},
		{"speed", device.Car, "Vehicle.Speed"},
		{"UX.Drivng", device.Car, "ux.driving"},
		{"stat", device.TV, "state"},
		{"fullscreen", 0, "full_screen"},
		{"operationalstate", device.Oven, "OperationalState"},
	}
	for _, tt := range tests {
		if got := NearestAttribute(tt.name, tt.class); got != tt.want {
			t.Errorf("nearest to %q of %s: got %q, want %q", tt.name, tt.class, got, tt.want)
		}
	}
	if got := NearestAttribute("", device.Other); got == "" {
		t.Error("nothing is nearest to the empty name")
	}
}

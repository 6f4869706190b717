package device

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// The vocabulary: what each class reports, and for how many seconds it is good.
const everyClass = "power.state 600 room.occupancy 600 dnd 600 battery.level 600 "

var vocabulary = map[Class]string{
	TV: everyClass + `presence.count 600 presence.who 600 sleeping 600 alarm 60 state 60 app_name 60 source 60 volume_level 60 is_volume_muted 60
		media_content_type 60 full_screen 60 content.rating 60`,
	Speaker: everyClass + `presence.count 600 presence.who 600 sleeping 600 alarm 60 state 60 volume_level 60 is_volume_muted 60 call.active 60`,
	Console: everyClass + `presence.count 600 presence.who 600 sleeping 600 alarm 60 state 60 game.state 60`,
	Car: everyClass + `presence.count 5 presence.who 5 sleeping 5 alarm 5 ux.driving 5 ux.restrictions 5 Vehicle.Speed 5 Vehicle.IsMoving 5
		Vehicle.Powertrain.Transmission.SelectedGear 5 Vehicle.Chassis.ParkingBrake.IsEngaged 5 Vehicle.LowVoltageSystemState 5 Vehicle.Driver.DistractionLevel 5
		Vehicle.Cabin.Infotainment.HMI.CurrentLanguage 5 Vehicle.Occupant.Row1.DriverSide.Identifier.Subject 5`,
	Fridge:     everyClass + `presence.count 600 presence.who 600 sleeping 600 alarm 600 door.open 600 temperature 600`,
	Washer:     everyClass + machine,
	Dryer:      everyClass + machine,
	Dishwasher: everyClass + machine,
	Oven: everyClass + `presence.count 600 presence.who 600 sleeping 600 alarm 60 door.open 60 temperature 60 OperationalState 60 CurrentPhase 60 CountdownTime 60
		OperationCompletion 60 CookTime 60 TemperatureSetpoint 60`,
	Display:   everyClass + `presence.count 600 presence.who 600 sleeping 600 alarm 600`,
	Companion: everyClass + `presence.count 600 presence.who 600 sleeping 600 alarm 600 call.active 600`,
	Other:     everyClass + `presence.count 600 presence.who 600 sleeping 600 alarm 600`,
}

const machine = `presence.count 600 presence.who 600 sleeping 600 alarm 600 door.open 600 OperationalState 600 CurrentPhase 600 CountdownTime 600 OperationCompletion 600`

func TestVocabulary(t *testing.T) {
	all := map[string]bool{}
	for _, name := range ClassNames() {
		c, _ := ParseClass(name)
		want := map[string]time.Duration{}
		for f := strings.Fields(vocabulary[c]); len(f) > 0; f = f[2:] {
			var secs time.Duration
			fmt.Sscan(f[1], &secs)
			want[f[0]], all[f[0]] = secs*time.Second, true
		}
		got := map[string]time.Duration{}
		for _, name := range AttributeNames(c) {
			a, ok := ParseAttribute(name)
			if !ok || a.String() != name || !a.Of(c) {
				t.Errorf("%s: attribute %q is read as %s, which is of it: %t", c, name, a, a.Of(c))
			}
			got[name] = a.TTL(c)
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s reports\n%v, want\n%v", c, got, want)
		}
	}
	if n := len(AttributeNames(0)); n != len(all) || n != int(attributes)-1 || attributes > 64 {
		t.Errorf("there are %d attributes, of %d the classes report some, and a set has 64", n, len(all))
	}
	for a := NoAttribute; a < attributes+2; a++ {
		for c := range Class(255) {
			if ttl := a.TTL(c); ttl <= 0 || ttl != time.Duration(a.ttl(c))*time.Millisecond {
				t.Errorf("%s of %s is good for %s", a, c, ttl)
			}
		}
	}
}

func TestAttributeSet(t *testing.T) {
	s := Attributes(Driving, Alarm)
	for a := range attributes {
		if s.Has(a) != (a == Driving || a == Alarm) || Attributes(a) != AttributeSet(0).With(a) || s.Intersects(Attributes(a)) != s.Has(a) {
			t.Errorf("%b and %s: has %t", s, a, s.Has(a))
		}
	}
	if s.Has(200) || s.Intersects(0) {
		t.Error("a set has what is no attribute")
	}
}

func TestSince(t *testing.T) {
	const start = Instant(1_000_000)
	open, closed := Value{Kind: Bool, Num: 1}, Value{Kind: Bool}
	type told struct {
		v    Value
		at   Instant // after start, ms
		step func(*Context)
	}
	is := func(v Value, at Instant) told { return told{v: v, at: at} }
	then := func(f func(*Context)) told { return told{step: f} }
	null := Value{}
	tests := map[string]struct {
		class Class
		told  []told
		want  Reading // At and Since after start
	}{
		"once":                            {Fridge, []told{is(open, 0)}, Reading{open, 0, 0}},
		"again":                           {Fridge, []told{is(open, 0), is(open, 1000)}, Reading{open, 1000, 0}},
		"again and again":                 {Fridge, []told{is(open, 0), is(open, 600_000), is(open, 1_200_000)}, Reading{open, 1_200_000, 0}},
		"at the end of its lifetime":      {Fridge, []told{is(open, 0), is(open, 600_000)}, Reading{open, 600_000, 0}},
		"after a gap":                     {Fridge, []told{is(open, 0), is(open, 600_001)}, Reading{open, 600_001, 600_001}},
		"a gap is shorter in an oven":     {Oven, []told{is(open, 0), is(open, 60_001)}, Reading{open, 60_001, 60_001}},
		"an oven in time":                 {Oven, []told{is(open, 0), is(open, 60_000)}, Reading{open, 60_000, 0}},
		"another value":                   {Fridge, []told{is(open, 0), is(closed, 10)}, Reading{closed, 10, 10}},
		"there and back":                  {Fridge, []told{is(open, 0), is(closed, 10), is(open, 20)}, Reading{open, 20, 20}},
		"null":                            {Fridge, []told{is(open, 0), is(null, 10)}, Reading{null, 10, 10}},
		"null and null":                   {Fridge, []told{is(open, 0), is(null, 10), is(null, 20)}, Reading{null, 20, 10}},
		"null for long":                   {Fridge, []told{is(open, 0), is(null, 10), is(null, 9_000_000)}, Reading{null, 9_000_000, 10}},
		"null, then the same":             {Fridge, []told{is(open, 0), is(null, 10), is(open, 20)}, Reading{open, 20, 20}},
		"null and nothing before":         {Fridge, []told{is(null, 10)}, Reading{null, 10, -start}},
		"late":                            {Fridge, []told{is(open, 0), is(open, 50), is(closed, 20)}, Reading{open, 50, 0}},
		"the connection ends":             {Fridge, []told{is(open, 0), is(open, 5), then((*Context).Stale)}, Reading{open, -start, 0}},
		"back with the same":              {Fridge, []told{is(open, 0), then((*Context).Stale), is(open, 9)}, Reading{open, 9, 9}},
		"the clock set back":              {Fridge, []told{is(open, 0), is(open, 500), then(func(c *Context) { c.NotAfter(start + 300) })}, Reading{open, 300, 0}},
		"the clock set far back":          {Fridge, []told{is(open, 0), is(open, 500), then(func(c *Context) { c.NotAfter(start - 300) })}, Reading{open, -300, -300}},
		"the clock set back, and told":    {Fridge, []told{is(open, 0), is(open, 500), then(func(c *Context) { c.NotAfter(start + 300) }), is(open, 300)}, Reading{open, 300, 0}},
		"the clock set back, and another": {Fridge, []told{is(open, 500), then(func(c *Context) { c.NotAfter(start + 300) }), is(closed, 300)}, Reading{closed, 300, 300}},
		"the clock set forward":           {Fridge, []told{is(open, 0), is(open, 3_600_000)}, Reading{open, 3_600_000, 3_600_000}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := Context{Class: test.class}
			for _, s := range test.told {
				if s.step != nil {
					s.step(&c)
				} else {
					c.Set(DoorOpen, s.v, start+s.at)
				}
			}
			got, known := c.Get(DoorOpen)
			got.At, got.Since = got.At-start, got.Since-start
			if got != test.want || known != (test.want.Value != null) {
				t.Errorf("%+v, known %t, want %+v", got, known, test.want)
			}
		})
	}
}

// TestContextReplay: what a Context was told before changes nothing when it comes again, in any order, and
// the last value wins in whatever order all come.
func TestContextReplay(t *testing.T) {
	type told struct {
		a  Attribute
		v  Value
		at Instant
	}
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 1))
		class := []Class{0, TV, Car, Fridge, Oven}[r.IntN(5)]
		var all []told
		var in, any Context
		in.Class, any.Class = class, class
		at := Instant(1)
		for range 1 + r.IntN(12) {
			a := []Attribute{DoorOpen, Driving, Alarm}[r.IntN(3)]
			at += 1 + Instant([]int64{1, 900, 5000, 60_000, 600_000}[r.IntN(5)])*Instant(r.IntN(3))
			v := Value{Kind: Bool, Num: float64(r.IntN(2))}
			if r.IntN(4) == 0 {
				v = Value{}
			}
			all = append(all, told{a, v, at})
			in.Set(a, v, at)
		}
		after := in
		for range 2 * len(all) {
			x := all[r.IntN(len(all))]
			if in.Set(x.a, x.v, x.at); in != after {
				t.Fatalf("seed %d: %+v came again and changed %+v into %+v", seed, x, after, in)
			}
		}
		for _, i := range r.Perm(len(all)) {
			any.Set(all[i].a, all[i].v, all[i].at)
		}
		for a := range attributes {
			x, _ := in.Get(a)
			y, _ := any.Get(a)
			if x.Value != y.Value || x.At != y.At {
				t.Errorf("seed %d: %s is %+v in another order, want %+v", seed, a, y, x)
			}
		}
	}
}

func TestHotPathAllocates(t *testing.T) {
	var c Context
	now := Instant(5000)
	c.Set(Driving, Value{Kind: Enum}, now)
	if n := testing.AllocsPerRun(100, func() {
		c.Fresh(Car, Driving, now)
		c.Get(Driving)
		_ = Driving.TTL(Car)
		_ = Driving.String()
		_ = Driving.Of(Car)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkFresh(b *testing.B) {
	var c Context
	now := Instant(5000)
	c.Set(Driving, Value{Kind: Enum}, now)
	for b.Loop() {
		c.Fresh(Car, Driving, now)
	}
}

func TestHistory(t *testing.T) {
	const day = Instant(24 * 3600 * 1000)
	const now = 100 * day
	v := func(n float64) Value { return Value{Kind: Number, Num: n} }
	door := func(at Instant, n float64) Change { return Change{now + at, DoorOpen, v(n)} }
	warm := func(at Instant, n float64) Change { return Change{now + at, Temperature, v(n)} }
	tests := map[string]struct {
		add  []Change
		then func(*History)
		at   Instant // after now
		want []Change
	}{
		"changes":                   {[]Change{door(-3, 1), warm(-2, 4), door(-1, 0)}, nil, 0, []Change{door(-3, 1), warm(-2, 4), door(-1, 0)}},
		"heartbeats":                {[]Change{door(-3, 1), door(-2, 1), warm(-2, 4), door(-1, 1)}, nil, 0, []Change{door(-3, 1), warm(-2, 4)}},
		"there and back":            {[]Change{door(-3, 1), door(-2, 0), door(-1, 1)}, nil, 0, []Change{door(-3, 1), door(-2, 0), door(-1, 1)}},
		"not known any more":        {[]Change{door(-3, 1), {now - 2, DoorOpen, Value{}}}, nil, 0, []Change{door(-3, 1), {now - 2, DoorOpen, Value{}}}},
		"late, of another":          {[]Change{door(-3, 1), door(-1, 0), warm(-2, 4)}, nil, 0, []Change{door(-3, 1), warm(-2, 4), door(-1, 0)}},
		"twice":                     {[]Change{door(-3, 1), door(-1, 0), door(-3, 1), door(-1, 0)}, nil, 0, []Change{door(-3, 1), door(-1, 0)}},
		"a day ago":                 {[]Change{door(-day, 1), warm(-day+1, 4)}, nil, 0, []Change{warm(-day+1, 4)}},
		"a day passes":              {[]Change{door(-5, 1), warm(-2, 4)}, nil, day - 5, []Change{warm(-2, 4)}},
		"all of it passes":          {[]Change{door(-5, 1), warm(-2, 4)}, nil, day, nil},
		"of the future":             {[]Change{door(1, 1)}, nil, 0, nil},
		"of nothing":                {[]Change{{now, NoAttribute, v(1)}, {now, attributes, v(1)}}, nil, 0, nil},
		"the clock set back":        {[]Change{door(-9, 1), door(-2, 0), warm(-1, 4)}, nil, -5, []Change{door(-9, 1), door(-5, 0), warm(-5, 4)}},
		"erased":                    {[]Change{door(-3, 1), door(-2, 0)}, func(h *History) { h.Erase(0, 0) }, 0, nil},
		"erased, from then on":      {[]Change{door(-3, 1), door(-2, 0), door(-1, 1)}, func(h *History) { h.Erase(now-2, 0) }, 0, []Change{door(-3, 1)}},
		"erased, before then":       {[]Change{door(-3, 1), door(-2, 0), door(-1, 1)}, func(h *History) { h.Erase(0, now-2) }, 0, []Change{door(-2, 0), door(-1, 1)}},
		"erased, and told as ever":  {[]Change{door(-3, 1)}, func(h *History) { h.Erase(0, 0); h.Add(door(-1, 1), now) }, 0, []Change{door(-1, 1)}},
		"asked twice, same answers": {[]Change{door(-3, 1)}, func(h *History) { h.All(now)[0].Attribute = Alarm }, 0, []Change{door(-3, 1)}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var h History
			for _, c := range test.add {
				h.Add(c, now)
			}
			if test.then != nil {
				test.then(&h)
			}
			if got := h.All(now + test.at); !slices.Equal(got, test.want) {
				t.Errorf("%+v, want %+v", got, test.want)
			}
		})
	}
}

// TestHistoryBounds: however much is told, the history stays within its bounds and in order, and what changes seldom
// is not pushed out by what changes always.
func TestHistoryBounds(t *testing.T) {
	const day = Instant(24 * 3600 * 1000)
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 2))
		var h History
		now := 10 * day
		h.Add(Change{now, DoorOpen, Value{Kind: Bool, Num: 1}}, now)
		began := now
		for i := range 3000 {
			now += Instant(r.IntN(60_000))
			c := Change{now - Instant(r.IntN(3000)), CountdownTime, Value{Kind: Number, Num: float64(i)}}
			if r.IntN(20) == 0 {
				c.Attribute, c.Value = Alarm, Value{Kind: Bool, Num: float64(r.IntN(2))}
			}
			h.Add(c, now)
			all := h.All(now)
			if len(all) > HistoryLength {
				t.Fatalf("seed %d: %d changes are kept", seed, len(all))
			}
			if !slices.IsSortedFunc(all, func(a, b Change) int { return int(a.At - b.At) }) || len(all) > 0 && (all[0].At <= now-day || all[len(all)-1].At > now) {
				t.Fatalf("seed %d: %s to %s at %s, or not in order", seed, all[0].At, all[len(all)-1].At, now)
			}
			if door := slices.ContainsFunc(all, func(c Change) bool { return c.Attribute == DoorOpen }); door != (now < began+day) {
				t.Fatalf("seed %d: after %s and %d changes the door is there: %t", seed, (now - began).Time().Sub(Instant(0).Time()), i, door)
			}
		}
		if len(h.changes) < HistoryLength/2 || cap(h.changes) > 2*HistoryLength {
			t.Errorf("seed %d: %d changes are left, in room for %d", seed, len(h.changes), cap(h.changes))
		}
	}
}

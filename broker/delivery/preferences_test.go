package delivery

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight/device"
	"porchlight/device/wire"
	"porchlight/policy"
)

// flat adds a home called oak: a TV, a display and a speaker in the living room, a fridge in the kitchen,
// Anna's phone. The TV is the controller. Everybody has said yes to everything of the grocer.
func (w *world) flat() map[device.Class]*hand {
	w.t.Helper()
	_, devices, err := w.desk.AddHome(w.t.Context(), HomeSpec{Name: "oak", Zone: "Europe/Zurich", Caps: []policy.Cap{},
		People: []PersonSpec{{Name: "Anna", Age: device.Adult}, {Name: "Ben", Age: device.Adult}}, Rooms: []string{"living room", "kitchen"},
		Devices: []DeviceSpec{
			{Class: device.TV, Name: "TV", Room: "living room", Controller: true}, {Class: device.Display, Name: "Frame", Room: "living room"}, {Class: device.Speaker, Name: "Speaker", Room: "living room"},
			{Class: device.Fridge, Name: "Fridge", Room: "kitchen"}, {Class: device.Companion, Name: "Phone", Owner: "Anna"},
		}})
	w.must(err)
	all := map[device.Class]*hand{}
	for _, e := range devices {
		all[e.Class] = w.hand(e.Device)
		all[e.Class].connect()
	}
	baker := w.brand
	baker.ID, baker.Name = "baker", "Baker"
	_, err = w.desk.AddBrand(w.t.Context(), baker)
	w.must(err)
	for _, b := range []device.BrandID{"grocer", "baker"} {
		for _, who := range []string{"", "Anna", "Ben"} {
			for _, p := range []policy.Purpose{policy.Marketing, policy.Service} {
				w.must(w.desk.Choose(w.t.Context(), "oak", who, b, p, policy.Given))
			}
		}
	}
	w.wait()
	return all
}

// proposes sets preferences on a device.
func (h *hand) proposes(p wire.Proposal) error {
	h.w.t.Helper()
	p.Base = h.twin.Version
	err := h.w.desk.Propose(h.id, h.up, p)
	h.w.wait()
	return err
}

// to makes a message for one class alone.
func to(c device.Class) func(*Submission) {
	return func(s *Submission) { s.Classes = []device.Class{c} }
}

// Each preference that can be set changes what a device shows: what was shown without it is not, or
// otherwise, with it.
func TestPreferencesEndToEnd(t *testing.T) {
	const midnight = 23 * 60 // 2000-01-01 01:00 in Zurich is when every world begins
	one := func(m wire.Mute) *wire.Proposal { return &wire.Proposal{Mutes: &[]wire.Mute{m}} }
	quiet := func(q wire.QuietTime) *wire.Proposal { return &wire.Proposal{Quiet: &[]wire.QuietTime{q}} }
	cap := func(c wire.Cap) *wire.Proposal { return &wire.Proposal{Caps: &[]wire.Cap{c}} }
	another := func(edit func(*Submission)) func(w *world, all map[device.Class]*hand) { // one was shown before, and is gone
		return func(w *world, all map[device.Class]*hand) {
			id := w.push(func(s *Submission) { to(device.TV)(s); edit(s) })
			all[device.TV].mustShow(id)
			all[device.TV].ends(id, wire.Event{Kind: wire.TimedOut})
		}
	}
	nothing := func(*Submission) {}
	tests := map[string]struct { // by what of the frame it is about
		set    *wire.Proposal
		before func(w *world, all map[device.Class]*hand) // happens after the setting
		edit   func(s *Submission)                        // of the message, which is for on
		on     device.Class                               // 0: the TV
		spares func(s *Submission)                        // of a message that is shown all the same; nil: none is tried
		after  time.Duration                              // when it is shown after all; 0: that is not tried
		who    bool                                       // Ben alone is known to be there: then it is shown
	}{
		"QuietTime.Start": {set: quiet(wire.QuietTime{Start: 0, End: 120}), after: time.Hour},
		"QuietTime.End":   {set: quiet(wire.QuietTime{Start: midnight, End: 61}), after: time.Minute},
		"QuietTime.Days":  {set: quiet(wire.QuietTime{Days: 1 << 6, Start: 0, End: 120}), after: time.Hour},
		"QuietTime.Zone":  {set: quiet(wire.QuietTime{Start: 9 * 60, End: 9*60 + 30, Zone: "Asia/Tokyo"}), after: 30 * time.Minute},
		"QuietTime.Owner": {set: quiet(wire.QuietTime{Owner: 1}), who: true},
		"QuietTime.Dim":   {set: quiet(wire.QuietTime{Start: 0, End: 120, Dim: true}), after: time.Hour}, // it cannot be dark

		"Mute.Brand":    {set: one(wire.Mute{Brand: "grocer"})},
		"Mute.Category": {set: one(wire.Mute{Category: "groceries"}), spares: func(s *Submission) { s.Category = "books" }},
		"Mute.Purpose":  {set: one(wire.Mute{Purpose: "marketing"}), spares: func(s *Submission) { s.Purpose = policy.Service }},
		"Mute.Until":    {set: one(wire.Mute{Until: uint64(device.At(time.Date(2000, 1, 1, 2, 0, 0, 0, time.UTC)))}), after: 2 * time.Hour}, // snooze
		"Mute.Class":    {set: one(wire.Mute{Class: device.TV}), spares: to(device.Display)},
		"Mute.Device":   {set: one(wire.Mute{Device: "TV"}), spares: to(device.Display)},
		"Mute.Room":     {set: one(wire.Mute{Room: 1}), spares: to(device.Fridge)},
		"Mute.Content":  {set: one(wire.Mute{Content: uint(policy.Words)})},
		"Mute.Owner":    {set: one(wire.Mute{Owner: 1}), who: true},

		"Cap.Max":      {set: cap(wire.Cap{})},
		"Cap.Hours":    {set: cap(wire.Cap{Max: 1, Hours: 2}), before: another(nothing), after: 2 * time.Hour},
		"Cap.Minutes":  {set: cap(wire.Cap{Max: 1, Minutes: 45}), before: another(nothing), after: 45 * time.Minute},
		"Cap.Each":     {set: cap(wire.Cap{Max: 1, Each: true}), before: another(nothing)},
		"Cap.Brand":    {set: cap(wire.Cap{Max: 1, Brand: "grocer"}), before: another(nothing)},
		"Cap.Category": {set: cap(wire.Cap{Max: 1, Category: "groceries"}), before: another(nothing), spares: func(s *Submission) { s.Category = "books" }},
		"Cap.Purpose":  {set: cap(wire.Cap{Max: 1, Purpose: "marketing"}), before: another(nothing), spares: func(s *Submission) { s.Purpose = policy.Service }},
		"Cap.Class":    {set: cap(wire.Cap{Max: 1, Class: device.TV}), before: another(nothing), spares: to(device.Display)},
		"Cap.Device":   {set: cap(wire.Cap{Max: 1, Device: "TV"}), before: another(nothing), spares: to(device.Display)},
		"Cap.Room":     {set: cap(wire.Cap{Max: 1, Room: 1}), before: another(nothing), spares: to(device.Fridge)},
		"Cap.Owner":    {set: cap(wire.Cap{Owner: 1}), who: true},
		"Cap.Week":     {set: cap(wire.Cap{Max: 1, Week: true}), before: another(nothing), after: 47 * time.Hour}, // Sunday at midnight
		"Cap.Topics":   {set: cap(wire.Cap{Max: 1, Topics: true}), before: another(nothing), spares: func(s *Submission) { s.Category = "books" }},

		"Proposal.Frozen": {set: &wire.Proposal{Frozen: new(true)}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				all := w.flat()
				tv := all[device.TV]
				if tc.before == nil { // without it, it is shown
					id := w.push(to(device.TV))
					tv.mustShow(id)
					tv.ends(id, wire.Event{Kind: wire.TimedOut})
				}
				p := *tc.set
				for _, m := range deref(p.Mutes) {
					if m.Device != "" {
						p.Mutes = &[]wire.Mute{{Device: tv.id}}
					}
				}
				for _, c := range deref(p.Caps) {
					if c.Device != "" {
						c.Device = tv.id
						p.Caps = &[]wire.Cap{c}
					}
				}
				w.must(tv.proposes(p))
				if tc.before != nil {
					tc.before(w, all)
				}
				id := w.push(to(device.TV))
				tv.mustShow()
				if tc.spares != nil {
					other := w.push(func(s *Submission) { to(device.TV)(s); tc.spares(s) })
					if !slices.ContainsFunc([]*hand{tv, all[device.Display], all[device.Fridge]}, func(h *hand) bool { return slices.Contains(h.screen(), other) }) {
						t.Error("what it spares is not shown either")
					}
				}
				if tc.who {
					tv.tell(map[string]any{"presence.who": "1"})
					tv.mustShow()
					tv.tell(map[string]any{"presence.who": "2"})
					tv.mustShow(id)
				}
				if tc.after > 0 {
					w.pass(tc.after - time.Minute)
					for _, h := range all {
						h.tell(calm[h.class])
					}
					tv.mustShow()
					w.pass(time.Minute)
					tv.mustShow(id)
				}
				if name := "Cap.Brand"; strings.HasPrefix(t.Name(), "TestPreferencesEndToEnd/"+name) || strings.HasSuffix(t.Name(), "Cap.Each") || strings.HasSuffix(t.Name(), "Mute.Brand") {
					w.n++
					baker := w.brand
					baker.ID = "baker"
					a, err := w.desk.Accept(w.t.Context(), baker, fmt.Sprint("key-", w.n), func() Submission { s := w.good(); to(device.TV)(&s); return s }())
					w.must(err)
					w.wait()
					tv.mustShow(a.ID)
				}
				w.memory()
			})
		})
	}
	t.Run("covers every field", func(t *testing.T) {
		covered := func(name string) bool {
			_, ok := tests[name]
			return ok || map[string]bool{
				"Proposal.Quiet": true, "Proposal.Mutes": true, "Proposal.Caps": true, // the lists themselves
				"Proposal.Brands": true, "Proposal.Moments": true, "Proposal.Languages": true, "Proposal.Forget": true, // tests of their own, below and in word_test.go
				"Cap.Trip":     true,
				"Proposal.Seq": true, "Proposal.Base": true, "Proposal.Person": true, // no preferences
			}[name]
		}
		for _, of := range []reflect.Type{reflect.TypeFor[wire.QuietTime](), reflect.TypeFor[wire.Mute](), reflect.TypeFor[wire.Cap](), reflect.TypeFor[wire.Proposal]()} {
			for i := range of.NumField() {
				if name := of.Name() + "." + of.Field(i).Name; !covered(name) {
					t.Errorf("%s has no test", name)
				}
			}
		}
	})
}

func deref[T any](p *[]T) []T {
	if p == nil {
		return nil
	}
	return *p
}

// A film in the room holds what the display beside it would show; who does not mind says so.
func TestMomentsEndToEnd(t *testing.T) {
	during := map[string]func(all map[device.Class]*hand){
		"film": func(all map[device.Class]*hand) {
			all[device.TV].tell(map[string]any{"state": "playing", "full_screen": true})
		},
		"call":  func(all map[device.Class]*hand) { all[device.Speaker].tell(map[string]any{"call.active": true}) },
		"sleep": func(all map[device.Class]*hand) { all[device.Companion].tell(map[string]any{"sleeping": true}) },
	}
	for moment, begins := range during {
		t.Run(moment, func(t *testing.T) {
			inWorld(t, func(w *world) {
				all := w.flat()
				on := all[device.Display]
				begins(all)
				id := w.push(to(on.class))
				on.mustShow()
				w.must(all[device.TV].proposes(wire.Proposal{Moments: &[]string{}}))
				on.mustShow(id)
				w.must(all[device.TV].proposes(wire.Proposal{Moments: &[]string{moment}}))
				on.mustShow()
			})
		})
	}
}

// Of the languages of a message that one is shown which the people like best, whatever the device prefers.
func TestLanguagesEndToEnd(t *testing.T) {
	inWorld(t, func(w *world) {
		all := w.flat()
		both := func(c device.Class) func(s *Submission) {
			return func(s *Submission) {
				to(c)(s)
				s.Texts = append(s.Texts, SubmissionText{Language: "de", Body: "Milch ist da."}, SubmissionText{Language: "fr", Body: "Le lait est là."})
			}
		}
		last := func(h *hand) string { return h.frames[len(h.frames)-1].Language }
		w.push(both(device.TV))
		if got := last(all[device.TV]); got != "en" {
			t.Errorf("without a word it is %s, want en", got)
		}
		w.must(all[device.TV].proposes(wire.Proposal{Languages: &[]string{"de-CH"}}))
		w.push(both(device.Fridge))
		if got := last(all[device.Fridge]); got != "de" {
			t.Errorf("in a home that reads German it is %s, want de", got)
		}
		w.must(all[device.Companion].proposes(wire.Proposal{Languages: &[]string{"fr"}}))
		w.push(both(device.Companion))
		if got := last(all[device.Companion]); got != "fr" {
			t.Errorf("on the phone of somebody who reads French it is %s, want fr", got)
		}
	})
}

// Two of a brand's messages closed: the brand is paused, every device says so, and one press undoes it.
func TestForgetEndToEnd(t *testing.T) {
	inWorld(t, func(w *world) {
		all := w.flat()
		tv := all[device.TV]
		for range 2 {
			id := w.push(to(device.TV))
			tv.mustShow(id)
			tv.ends(id, wire.Event{Kind: wire.Dismissed})
			w.pass(time.Hour)
			tv.tell(calm[device.TV])
		}
		id := w.push(to(device.TV))
		tv.mustShow()
		if got := w.why(id, tv); got != "hold[mute]" {
			t.Errorf("after two dismissals: %s, want hold[mute]", got)
		}
		if len(tv.twin.Doc.Learnt) != 1 {
			t.Fatalf("the TV lists %q as learnt, want one thing", tv.twin.Doc.Learnt)
		}
		if err := all[device.Display].proposes(wire.Proposal{Forget: &[]uint{9}}); err == nil {
			t.Error("what was never learnt was forgotten")
		}
		w.must(tv.proposes(wire.Proposal{Forget: &[]uint{0}}))
		tv.mustShow(id)
		if len(tv.twin.Doc.Learnt) != 0 {
			t.Errorf("the TV still lists %q as learnt", tv.twin.Doc.Learnt)
		}
		w.memory()
	})
}

// A cap of trips is of cars, and of nothing else.
func TestCapOfTrips(t *testing.T) {
	inWorld(t, func(w *world) {
		all := w.home(device.TV, device.Car)
		w.choose(policy.Given)
		tv, car := all[device.TV], all[device.Car]
		w.must(tv.proposes(wire.Proposal{Caps: &[]wire.Cap{{Max: 0, Trip: true}}}))
		if got := car.twin.Doc.Caps; !slices.Equal(got, []wire.Cap{{Max: 0, Trip: true}}) {
			t.Errorf("the car is told %+v", got)
		}
		id := w.push(to(device.Car))
		car.tell(calm[device.Car])
		car.mustShow()
		tv.mustShow()
		other := w.push(to(device.TV))
		tv.mustShow(other)
		w.must(tv.proposes(wire.Proposal{Caps: &[]wire.Cap{{Max: 1, Trip: true}}}))
		car.tell(calm[device.Car])
		car.mustShow(id)
		w.memory()
	})
}

// On a device that may not widen, a list may grow stricter and never milder; on somebody's own device
// their own rules are theirs.
func TestOnlyStricter(t *testing.T) {
	inWorld(t, func(w *world) {
		all := w.flat()
		tv, fridge, phone := all[device.TV], all[device.Fridge], all[device.Companion]
		w.must(tv.proposes(wire.Proposal{Mutes: &[]wire.Mute{{Category: "toys"}}, Caps: &[]wire.Cap{{Max: 3}, {Max: 9, Week: true}}, Quiet: &[]wire.QuietTime{{Start: 60, End: 120}}}))
		for name, p := range map[string]wire.Proposal{
			"lifts a mute":           {Mutes: &[]wire.Mute{}},
			"shortens a mute":        {Mutes: &[]wire.Mute{{Category: "toys", Until: uint64(w.now()) + 1000}}},
			"raises a cap":           {Caps: &[]wire.Cap{{Max: 4}, {Max: 9, Week: true}}},
			"makes a week a day":     {Caps: &[]wire.Cap{{Max: 3}, {Max: 9}}},
			"makes a week a trip":    {Caps: &[]wire.Cap{{Max: 3}, {Max: 9, Trip: true}}},
			"makes a week 168 hours": {Caps: &[]wire.Cap{{Max: 3}, {Max: 9, Hours: 168}}},
			"makes it each category": {Caps: &[]wire.Cap{{Max: 3}, {Max: 9, Week: true, Topics: true}}},
			"drops a quiet time":     {Quiet: &[]wire.QuietTime{}},
			"drops a moment":         {Moments: &[]string{"film"}},
			"says yes":               {Brands: []wire.BrandChoice{{Brand: "grocer", Purpose: "marketing", Choice: "given"}}},
			"changes what is spoken": {Languages: &[]string{"fr"}},
		} {
			before := fmt.Sprint(fridge.twin)
			if err := fridge.proposes(p); err == nil {
				t.Errorf("a fridge that may not widen %s", name)
			}
			if fmt.Sprint(fridge.twin) != before {
				t.Errorf("%s: refused, and done", name)
			}
		}
		w.must(fridge.proposes(wire.Proposal{Mutes: &[]wire.Mute{{Category: "toys"}, {Category: "books"}}, Caps: &[]wire.Cap{{Max: 2}, {Max: 8, Week: true}}, Quiet: &[]wire.QuietTime{{Start: 60, End: 120}, {Start: 300, End: 400}}}))
		// Anna's phone: her own as she likes, the home's only stricter; nobody else's.
		mine := append(slices.Clone(phone.twin.Doc.Mutes), wire.Mute{Category: "cars", Owner: 1})
		w.must(phone.proposes(wire.Proposal{Mutes: &mine}))
		mine = mine[:len(mine)-1]
		w.must(phone.proposes(wire.Proposal{Mutes: &mine}))
		theirs := append(slices.Clone(mine), wire.Mute{Category: "cars", Owner: 2})
		if err := phone.proposes(wire.Proposal{Mutes: &theirs}); err == nil {
			t.Error("Anna's phone sets what is Ben's")
		}
		w.must(tv.proposes(wire.Proposal{Mutes: &theirs}))
		if slices.ContainsFunc(phone.twin.Doc.Mutes, func(m wire.Mute) bool { return m.Owner == 2 }) {
			t.Error("Anna's phone is told what Ben has muted")
		}
		w.must(phone.proposes(wire.Proposal{Mutes: &mine})) // and does not lift what it does not see
		if !slices.ContainsFunc(tv.twin.Doc.Mutes, func(m wire.Mute) bool { return m.Owner == 2 }) {
			t.Error("what Ben has muted is gone")
		}
		w.must(phone.proposes(wire.Proposal{Frozen: new(true)}))
		w.must(phone.proposes(wire.Proposal{Frozen: new(false)}))
		w.must(fridge.proposes(wire.Proposal{Frozen: new(true)}))
		if err := fridge.proposes(wire.Proposal{Frozen: new(false)}); err == nil {
			t.Error("the fridge has thawed the home")
		}
		w.must(tv.proposes(wire.Proposal{Frozen: new(false)}))
		w.memory()
	})
}

// Who is known to be in front of a shared controller makes lists milder there as they could say yes there: no child
// alone, and nobody what is somebody's who is not there. Stricter everybody makes them.
func TestOnlyStricterOfWhoIsThere(t *testing.T) {
	inWorld(t, func(w *world) {
		tv := w.flat()[device.TV]
		_, err := w.desk.AddPerson(w.t.Context(), "oak", PersonSpec{Name: "Carla", Age: device.Child, Guardians: []string{"Anna"}})
		w.must(err)
		strict := wire.Proposal{Frozen: new(true), Caps: &[]wire.Cap{{Max: 1, Hours: 24}}, Mutes: &[]wire.Mute{{Category: "a", Owner: 1}, {Category: "c", Owner: 3}},
			Quiet: &[]wire.QuietTime{{Start: 60, End: 120, Owner: 1}}, Moments: &[]string{"film"}}
		annas, carlas := (*strict.Mutes)[0], (*strict.Mutes)[1]
		milder := map[string]struct {
			wire.Proposal
			by string // of "", Carla, Anna, Ben with Carla: who may
		}{
			"unfreezes the home":         {wire.Proposal{Frozen: new(false)}, "-AB"},
			"lifts a cap":                {wire.Proposal{Caps: &[]wire.Cap{}}, "-AB"},
			"raises a cap":               {wire.Proposal{Caps: &[]wire.Cap{{Max: 2, Hours: 24}}}, "-AB"},
			"drops a moment":             {wire.Proposal{Moments: &[]string{}}, "-AB"},
			"lifts a mute of Anna's":     {wire.Proposal{Mutes: &[]wire.Mute{carlas}}, "-A"},
			"lifts a mute of Carla's":    {wire.Proposal{Mutes: &[]wire.Mute{annas}}, "-AB"},
			"lifts Anna's quiet time":    {wire.Proposal{Quiet: &[]wire.QuietTime{}}, "-A"},
			"mutes more":                 {wire.Proposal{Mutes: &[]wire.Mute{annas, carlas, {Category: "b"}}}, "-ABC"},
			"sets a lower cap for Ben":   {wire.Proposal{Caps: &[]wire.Cap{{Max: 1, Hours: 24}, {Max: 0, Hours: 24, Owner: 2}}}, "-ABC"},
			"protects one moment more":   {wire.Proposal{Moments: &[]string{"film", "sleep"}}, "-ABC"},
			"freezes what is frozen now": {wire.Proposal{Frozen: new(true)}, "-ABC"},
		}
		for who, by := range map[any]string{nil: "-", "": "-", "3": "C", "1": "A", "2 3": "B"} {
			for name, test := range milder {
				w.pass(20 * time.Minute) // nobody proposes too often
				tv.tell(map[string]any{"presence.who": nil})
				w.must(tv.proposes(strict))
				tv.tell(map[string]any{"presence.who": who})
				if err := tv.proposes(test.Proposal); (err == nil) != strings.Contains(test.by, by) || err != nil && !errors.Is(err, ErrForbidden) {
					t.Errorf("%v is there and %s: %v", who, name, err)
				}
			}
		}
		w.memory()
	})
}

// A message may be heard where everybody who is there is known and nobody minds; who minds takes the sound
// away, and the words stay.
func TestSoundEndToEnd(t *testing.T) {
	inWorld(t, func(w *world) {
		all := w.flat()
		tv, frame := all[device.TV], all[device.Display]
		heard := func() bool {
			id := w.push(func(s *Submission) { to(device.Display)(s); s.Sound = true })
			frame.mustShow(id)
			f := frame.frames[len(frame.frames)-1]
			if f.Content&uint(policy.Words) == 0 {
				t.Errorf("of message %s not even the words may be shown: %b", id, f.Content)
			}
			frame.ends(id, wire.Event{Kind: wire.TimedOut})
			return f.Content&uint(policy.Sound) != 0
		}
		if heard() {
			t.Error("heard, though nobody has told who is there")
		}
		tv.tell(map[string]any{"presence.who": "1"})
		if !heard() {
			t.Error("not heard, though Anna is there alone and has not said that she minds")
		}
		w.must(tv.proposes(wire.Proposal{Mutes: &[]wire.Mute{{Content: uint(policy.Sound), Owner: 1}}}))
		if heard() {
			t.Error("heard, though Anna minds")
		}
		tv.tell(map[string]any{"presence.who": "2"})
		if !heard() {
			t.Error("not heard, though Ben, who does not mind, is there alone")
		}
		id := w.push(func(s *Submission) { to(device.TV)(s); s.Sound = true })
		tv.mustShow(id)
		if f := tv.frames[len(tv.frames)-1]; f.Content&uint(policy.Sound) != 0 {
			t.Error("heard on a television, which nobody has asked to play anything")
		}
	})
}

package delivery

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/wire"
	"porchlight/policy"
)

func TestDefaultDeny(t *testing.T) {
	inWorld(t, func(w *world) {
		tv := w.home(device.TV)[device.TV]
		id := w.push(nil)
		tv.mustShow()
		if got := w.why(id, tv); got != "refuse[consent]" {
			t.Errorf("why = %s, want refuse[consent]", got)
		}
	})
}

func TestShownAfterConsent(t *testing.T) {
	inWorld(t, func(w *world) {
		tv := w.home(device.TV)[device.TV]
		before := w.push(nil)
		w.choose(policy.Given)
		tv.mustShow(before)
		tv.ends(before, wire.Event{Kind: wire.TimedOut})
		after := w.push(nil)
		tv.mustShow(after)
		w.memory()
	})
}

func TestOneMessageOneScreen(t *testing.T) {
	inWorld(t, func(w *world) {
		all := w.home(device.TV, device.Fridge)
		w.choose(policy.Given)
		id := w.push(nil)
		all[device.TV].mustShow(id)
		all[device.Fridge].mustShow()
		if got := w.why(id, all[device.Fridge]); got != "hold[dedupe]" {
			t.Errorf("why on the fridge = %s, want hold[dedupe]", got)
		}
		all[device.TV].ends(id, wire.Event{Kind: wire.Dismissed})
		all[device.Fridge].mustShow()
	})
}

// What takes a message off a screen.
func TestTakenOff(t *testing.T) {
	tests := map[string]struct {
		do func(w *world, id device.MessageID, tv *hand)
	}{
		"consent withdrawn": {func(w *world, _ device.MessageID, _ *hand) { w.choose(policy.Withdrawn) }},
		"a person refuses": {func(w *world, _ device.MessageID, _ *hand) {
			w.must(w.desk.Choose(w.t.Context(), "oak", "Ben", "grocer", policy.Marketing, policy.Refused))
		}},
		"message withdrawn": {func(w *world, id device.MessageID, _ *hand) {
			_, err := w.desk.Withdraw(w.t.Context(), "grocer", id)
			w.must(err)
		}},
		"brand removed": {func(w *world, _ device.MessageID, _ *hand) { w.must(w.desk.RemoveBrand(w.t.Context(), "grocer")) }},
		"muted": {func(w *world, _ device.MessageID, _ *hand) {
			w.must(w.desk.SetMutes(w.t.Context(), "oak", []policy.MuteRule{{Selector: policy.Selector{Category: "groceries"}}}))
		}},
		"quiet time begins": {func(w *world, _ device.MessageID, _ *hand) {
			w.must(w.desk.SetQuiet(w.t.Context(), "oak", []policy.Quiet{{Start: 0, End: 0}}))
		}},
		"a film begins": {func(w *world, _ device.MessageID, tv *hand) {
			tv.tell(map[string]any{"state": "playing", "full_screen": true})
		}},
		"message expires": {func(w *world, _ device.MessageID, tv *hand) {
			w.jump.Add(int64(device.Instant((47 * time.Hour).Milliseconds())))
			w.desk.Lookup()
			w.wait()
			tv.tell(calm[device.TV])
			w.pass(time.Hour)
		}},
		"context gets stale": {func(w *world, _ device.MessageID, _ *hand) { w.pass(61 * time.Second) }},
		"not this brand": {func(w *world, id device.MessageID, tv *hand) {
			banned := wire.Banned
			tv.ends(id, wire.Event{Kind: wire.Dismissed, Wish: &banned})
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				tv := w.home(device.TV)[device.TV]
				w.choose(policy.Given)
				id := w.push(nil)
				tv.mustShow(id)
				test.do(w, id, tv)
				w.wait()
				tv.mustShow()
				if got := w.why(id, tv); strings.HasPrefix(got, "show") {
					t.Errorf("why = %s, want a reason", got)
				}
				w.memory()
			})
		})
	}
}

func TestCarWaitsUntilParked(t *testing.T) {
	inWorld(t, func(w *world) {
		car := w.home(device.Car)[device.Car]
		w.choose(policy.Given)
		car.tell(map[string]any{"ux.driving": "moving"})
		id := w.push(func(s *Submission) { s.Classes, s.Forms = []device.Class{device.Car}, []device.Form{device.List} })
		car.mustShow()
		if got := w.why(id, car); got != "hold[safety]" {
			t.Errorf("why = %s, want hold[safety]", got)
		}
		car.tell(map[string]any{"ux.driving": "parked"})
		car.mustShow(id)
		for range 10 { // parked, and says so: it stays
			w.pass(2 * time.Second)
			car.tell(map[string]any{"ux.driving": "parked"})
			car.mustShow(id)
		}
		w.pass(6 * time.Second) // says nothing any more: moving, for all we know
		car.mustShow()
	})
}

func TestQuietTimeHoldsUntilItsEnd(t *testing.T) {
	inWorld(t, func(w *world) { // the bubble begins at 2000-01-01 00:00 UTC, 01:00 in Zurich
		tv := w.home(device.TV)[device.TV]
		w.must(w.desk.SetQuiet(w.t.Context(), "oak", []policy.Quiet{{Start: 22 * 60, End: 7 * 60}}))
		w.choose(policy.Given)
		id := w.push(nil)
		if got := w.why(id, tv); got != "hold[quiet]" {
			t.Fatalf("why = %s, want hold[quiet]", got)
		}
		for range 6 * 60 { // the TV tells every minute that it idles
			tv.tell(calm[device.TV])
			tv.mustShow()
			w.pass(time.Minute - 3*time.Millisecond)
			time.Sleep(time.Millisecond)
		}
		tv.tell(calm[device.TV])
		tv.mustShow(id)
	})
}

func TestCapsAreCountedFromTheClaim(t *testing.T) {
	inWorld(t, func(w *world) {
		all := w.home(device.TV, device.Fridge)
		w.must(w.desk.SetCaps(w.t.Context(), "oak", []policy.Cap{{Max: 2}}))
		w.choose(policy.Given)
		ids := []device.MessageID{w.push(nil), w.push(nil), w.push(nil)}
		all[device.TV].mustShow(ids[0])
		all[device.Fridge].mustShow(ids[1])
		all[device.TV].ends(ids[0], wire.Event{Kind: wire.Dismissed})
		all[device.TV].mustShow()
		if got := w.why(ids[2], all[device.TV]); got != "hold[frequency]" {
			t.Errorf("why = %s, want hold[frequency]", got)
		}
		w.memory()
	})
}

// A device that will not show a message gives its place back, and is not asked again at once.
func TestDeclinedIsReleasedAndRests(t *testing.T) {
	inWorld(t, func(w *world) {
		tv := w.home(device.TV)[device.TV]
		w.must(w.desk.SetCaps(w.t.Context(), "oak", []policy.Cap{{Max: 1}}))
		w.choose(policy.Given)
		tv.mute = true
		id := w.push(nil)
		tv.mu.Lock()
		tv.on, tv.owed, tv.mute = nil, nil, false
		delete(tv.ledger, id)
		sent := len(tv.got)
		tv.mu.Unlock()
		w.must(w.desk.Event(tv.id, tv.up, wire.Event{Message: id, Kind: wire.Declined, Reason: wire.Busy}))
		w.wait()
		if slices.Contains(tv.got[sent:], "present") {
			t.Fatalf("asked again at once: %v", tv.got)
		}
		w.memory()
		w.pass(5 * time.Second)
		tv.mustShow(id)
	})
}

func TestRestartNeverShowsTwice(t *testing.T) {
	tests := map[string]struct {
		before func(w *world, tv *hand)
		shown  bool // it is on the screen after the restart
	}{
		"held and on the screen": {func(w *world, tv *hand) {}, true},
		"receipt lost":           {func(w *world, tv *hand) { tv.mute = true }, true},
		"frame lost": {func(w *world, tv *hand) {
			tv.mu.Lock()
			tv.deaf = true
			tv.mu.Unlock()
		}, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				tv := w.home(device.TV)[device.TV]
				w.choose(policy.Given)
				test.before(w, tv)
				id := w.push(nil)
				w.restart()
				tv.mute, tv.deaf = false, false
				tv.connect()
				w.wait()
				tv.mustShow(id)
				if tv.shows[id] != 1 {
					t.Errorf("shown %d times", tv.shows[id])
				}
				w.pass(20 * time.Second)
				tv.tell(calm[device.TV])
				tv.mustShow(id)
				tv.ends(id, wire.Event{Kind: wire.TimedOut})
				w.memory()
			})
		})
	}
}

// A device that had its screen wiped says so at birth: what it showed counts, and is not shown
// again.
func TestVanishedCounts(t *testing.T) {
	inWorld(t, func(w *world) {
		tv := w.home(device.TV)[device.TV]
		w.choose(policy.Given)
		id := w.push(nil)
		tv.mustShow(id)
		tv.disconnect()
		tv.on, tv.ledger = nil, map[device.MessageID]wire.EventKind{}
		tv.connect()
		w.wait()
		tv.mustShow()
		if got := w.why(id, tv); got != "refuse[dedupe]" {
			t.Errorf("why = %s, want refuse[dedupe]", got)
		}
		w.memory()
	})
}

// An unplugged device ends what is withdrawn when its lease and the clock allowance are over; a
// person's wish that arrives later still counts.
func TestLapseAndLateWord(t *testing.T) {
	inWorld(t, func(w *world) {
		tv := w.home(device.TV)[device.TV]
		w.choose(policy.Given)
		id := w.push(nil)
		tv.mustShow(id)
		tv.disconnect()
		_, err := w.desk.Withdraw(w.t.Context(), "grocer", id)
		w.must(err)
		state := func() string {
			why, err := w.desk.Why(w.t.Context(), id, "oak", WhyOptions{})
			w.must(err)
			return why.Homes[0].Screens[0].Delivery.Outcome
		}
		w.pass(11 * time.Second)
		if got := state(); got != "open" {
			t.Fatalf("before the allowance is over it is %s, want open", got)
		}
		w.pass(2 * time.Second)
		if got := state(); got != "lease over" {
			t.Fatalf("after the allowance it is %s, want lease over", got)
		}
		tv.on = nil
		tv.connect()
		disallowed := wire.Disallowed
		tv.ends(id, wire.Event{Kind: wire.Dismissed, Wish: &disallowed})
		if got := state(); got != "dismissed" {
			t.Errorf("after the late word it is %s, want dismissed", got)
		}
		again := w.push(nil)
		if got := w.why(again, tv); got != "refuse[consent]" {
			t.Errorf("after the late wish: %s, want refuse[consent]", got)
		}
		// P6: the same word again, after the home has changed its mind, changes nothing.
		w.choose(policy.Given)
		tv.ends(id, wire.Event{Kind: wire.Dismissed, Wish: &disallowed})
		tv.mustShow(again)
		w.memory()
	})
}

func TestDeafDeviceIsCutOff(t *testing.T) {
	inWorld(t, func(w *world) {
		tv := w.home(device.TV)[device.TV]
		tv.mu.Lock()
		tv.deaf = true
		tv.mu.Unlock()
		up := tv.up
		w.choose(policy.Given) // the twin goes out and is not acknowledged
		w.pass(21 * time.Second)
		select {
		case <-up.done:
			if up.why != Silent {
				t.Errorf("closed with reason %d, want Silent", up.why)
			}
		default:
			t.Error("a device that does not acknowledge is still connected")
		}
	})
}

func TestOrderPerDeviceIsThatOfAcceptance(t *testing.T) {
	inWorld(t, func(w *world) {
		w.learner = LearnerOff // that so many are let go by teaches nothing
		w.restart()
		tv := w.home(device.TV)[device.TV]
		var want []device.MessageID
		for range 20 {
			want = append(want, w.push(nil))
		}
		w.choose(policy.Given)
		for _, id := range want {
			tv.mustShow(id)
			tv.ends(id, wire.Event{Kind: wire.TimedOut})
		}
	})
}

func TestAcceptIsIdempotent(t *testing.T) {
	inWorld(t, func(w *world) {
		s := w.good()
		first, err := w.desk.Accept(w.t.Context(), w.brand, "k", s)
		w.must(err)
		w.pass(72 * time.Hour) // even after it has expired
		again, err := w.desk.Accept(w.t.Context(), w.brand, "k", s)
		w.must(err)
		if again.Replayed != true || again.ID != first.ID || again.At != first.At || again.State != first.State {
			t.Errorf("again = %+v, want the answer of the first time %+v", again, first)
		}
		other := s
		other.Category = "sweets"
		if _, err := w.desk.Accept(w.t.Context(), w.brand, "k", other); !errors.Is(err, ErrConflict) {
			t.Errorf("another message with the same key: %v, want ErrConflict", err)
		}
		if _, err := w.desk.Accept(w.t.Context(), w.brand, "", s); !errors.Is(err, ErrKey) {
			t.Errorf("no key: %v, want ErrKey", err)
		}
	})
}

func TestQuota(t *testing.T) {
	inWorld(t, func(w *world) {
		w.brand.Quota = 2
		first := w.push(nil)
		w.push(nil)
		_, err := w.desk.Accept(w.t.Context(), w.brand, "third", w.good())
		if !errors.Is(err, ErrQuota) {
			t.Fatalf("a third message: %v, want ErrQuota", err)
		}
		_, err = w.desk.Withdraw(w.t.Context(), "grocer", first)
		w.must(err)
		w.push(nil)
		if _, err := w.desk.Withdraw(w.t.Context(), "other", first); !errors.Is(err, registry.ErrUnknown) {
			t.Errorf("withdrawn by another brand: %v, want ErrUnknown", err)
		}
	})
}

// Every bad message is refused with the field, the rule and a fix.
func TestInvalidSubmissions(t *testing.T) {
	tests := map[string]struct {
		edit  func(raw string) string
		field string
		rule  string
	}{
		"no purpose":         {func(s string) string { return strings.Replace(s, `"purpose":"marketing",`, ``, 1) }, "purpose", "required"},
		"unknown purpose":    {func(s string) string { return strings.Replace(s, `"marketing"`, `"spam"`, 1) }, "purpose", "unknown"},
		"undeclared purpose": {func(s string) string { return strings.Replace(s, `"marketing"`, `"research"`, 1) }, "purpose", "declared"},
		"expired":            {func(s string) string { return strings.Replace(s, `2000-01-02`, `1999-12-31`, 1) }, "not_after", "range"},
		"too far ahead":      {func(s string) string { return strings.Replace(s, `2000-01-02`, `2001-01-02`, 1) }, "not_after", "range"},
		"not a time":         {func(s string) string { return strings.Replace(s, `2000-01-02T00:00:00Z`, `tomorrow`, 1) }, "not_after", "type"},
		"unknown field":      {func(s string) string { return strings.Replace(s, `"category"`, `"categry"`, 1) }, "categry", "unknown"},
		"unknown class":      {func(s string) string { return strings.Replace(s, `["tv"]`, `["toaster"]`, 1) }, "classes", "unknown"},
		"class is no list":   {func(s string) string { return strings.Replace(s, `["tv"]`, `"tv"`, 1) }, "classes", "type"},
		"field out of place": {func(s string) string { return strings.Replace(s, `"category"`, `"title"`, 1) }, "title", "unknown"},
		"unknown inside":     {func(s string) string { return strings.Replace(s, `"body"`, `"bodi"`, 1) }, "texts[0].bodi", "unknown"},
		"no text":            {func(s string) string { return strings.Replace(s, `"Hello"`, `""`, 1) }, "texts[0].body", "length"},
		"control characters": {func(s string) string { return strings.Replace(s, `Hello`, `\u0007`, 1) }, "texts[0].body", "syntax"},
		"text is a number":   {func(s string) string { return strings.Replace(s, `"Hello"`, `7`, 1) }, "texts[0].body", "type"},
		"second text's":      {func(s string) string { return strings.Replace(s, `"Hello"}`, `"Hello"},{"language":7}`, 1) }, "texts[1].language", "type"},
		"text is no object":  {func(s string) string { return strings.Replace(s, `"texts":[`, `"texts":[7,`, 1) }, "texts[0]", "type"},
		"label is a number":  {func(s string) string { return strings.Replace(s, `"Yes"`, `7`, 1) }, "buttons[0].label", "type"},
		"unknown act":        {func(s string) string { return strings.Replace(s, `"id":1`, `"act":"bye"`, 1) }, "buttons[0].act", "unknown"},
		"condition's name":   {func(s string) string { return strings.Replace(s, `"fridge"`, `"toaster"`, 1) }, "when[0].class", "unknown"},
		"a text's in when":   {func(s string) string { return strings.Replace(s, `"value":true`, `"body":true`, 1) }, "when[0].body", "unknown"},
		"unknown attribute":  {func(s string) string { return strings.Replace(s, `door.open`, `dor.open`, 1) }, "when[0].attribute", "unknown"},
		"condition's value":  {func(s string) string { return strings.Replace(s, `"value":true`, `"value":"yes"`, 1) }, "when[0].value", "type"},
		"condition's op":     {func(s string) string { return strings.Replace(s, `"eq"`, `"lt"`, 1) }, "when[0].op", "type"},
		"condition's class":  {func(s string) string { return strings.Replace(s, `"fridge"`, `"car"`, 1) }, "when[0].op", "type"},
		"not JSON":           {func(s string) string { return s[1:] }, "body", "type"},
		"two objects":        {func(s string) string { return s + s }, "body", "syntax"},
		"not UTF-8":          {func(s string) string { return strings.Replace(s, `Hello`, "\xff", 1) }, "body", "syntax"},
		"too long":           {func(s string) string { return s + strings.Repeat(" ", MaxSubmission) }, "body", "length"},
		"shown for an hour":  {func(s string) string { return strings.Replace(s, `"display_seconds":8`, `"display_seconds":3600`, 1) }, "display_seconds", "range"},
		"label missing":      {func(s string) string { return strings.Replace(s, `{"en":"Yes"}`, `{"de":"Ja"}`, 1) }, `buttons[0].label["en"]`, "length"},
	}
	const good = `{"purpose":"marketing","category":"groceries","texts":[{"language":"en","body":"Hello"}],"classes":["tv"],` +
		`"buttons":[{"id":1,"label":{"en":"Yes"}}],"when":[{"class":"fridge","attribute":"door.open","op":"eq","value":true}],` +
		`"not_after":"2000-01-02T00:00:00Z","display_seconds":8}`
	b := registry.Brand{ID: "grocer", Name: "Grocer", Purposes: []string{"marketing"}, Quota: 1}
	now := device.At(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC))
	check := func(raw string) error {
		s, err := ParseSubmission([]byte(raw))
		if err == nil {
			_, err = s.compile(b, now)
		}
		return err
	}
	if err := check(good); err != nil {
		t.Fatalf("the good message is refused: %v", err)
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := check(test.edit(good))
			var bad Invalid
			if !errors.As(err, &bad) || len(bad) == 0 {
				t.Fatalf("err = %v, want Invalid", err)
			}
			if bad[0].Field != test.field || bad[0].Rule != test.rule || bad[0].Fix == "" || bad[0].Why == "" {
				t.Errorf("got %+v, want field %s, rule %s, and a fix", bad[0], test.field, test.rule)
			}
		})
	}
}

func TestProposals(t *testing.T) {
	given := []wire.BrandChoice{{Brand: "grocer", Purpose: "marketing", Choice: "given"}}
	no := []wire.BrandChoice{{Brand: "grocer", Purpose: "marketing", Choice: "withdrawn"}}
	inWorld(t, func(w *world) {
		all := w.home(device.TV, device.Fridge, device.Car)
		tv, fridge, car := all[device.TV], all[device.Fridge], all[device.Car]
		id := w.push(nil)
		if err := w.desk.Propose(car.id, car.up, wire.Proposal{Base: tv.twin.Version, Brands: given}); !errors.Is(err, ErrForbidden) {
			t.Errorf("a car that is no controller widens: %v, want ErrForbidden", err)
		}
		p := wire.Proposal{Base: tv.twin.Version, Brands: given}
		w.must(w.desk.Propose(tv.id, tv.up, p))
		w.wait()
		tv.mustShow(id)
		for _, h := range all { // shown back to every device
			if got := h.twin.Doc.Brands[0]; got.Choice != "given" || got.Brand != "grocer" || got.Name != "Grocer" {
				t.Errorf("the %s is shown %+v, want given", h.class, got)
			}
			if h.twin.Version != tv.twin.Version {
				t.Errorf("the %s has version %d, the TV %d", h.class, h.twin.Version, tv.twin.Version)
			}
		}
		// The car may restrict, and the TV's message goes at once.
		w.must(w.desk.Propose(car.id, car.up, wire.Proposal{Base: car.twin.Version, Brands: no}))
		w.wait()
		tv.mustShow()
		// P6: the TV's Yes again, which the home has taken back since: refused, with the document.
		if err := w.desk.Propose(tv.id, tv.up, p); !errors.Is(err, ErrStale) {
			t.Errorf("an old proposal again: %v, want ErrStale", err)
		}
		w.wait()
		if got := fridge.twin.Doc.Brands[0].Choice; got != "withdrawn" {
			t.Errorf("after the old proposal the choice is %s, want withdrawn", got)
		}
		quiet := []wire.QuietTime{{Start: 1320, End: 420}}
		w.must(w.desk.Propose(fridge.id, fridge.up, wire.Proposal{Base: fridge.twin.Version, Quiet: &quiet}))
		w.wait()
		if got := tv.twin.Doc.Quiet; len(got) != 1 || got[0] != quiet[0] {
			t.Errorf("the TV is shown quiet times %v, want %v", got, quiet)
		}
		for name, bad := range map[string]wire.Proposal{
			"unknown purpose": {Base: tv.twin.Version, Brands: []wire.BrandChoice{{Brand: "grocer", Purpose: "spam", Choice: "given"}}},
			"silence":         {Base: tv.twin.Version, Brands: []wire.BrandChoice{{Brand: "grocer", Purpose: "marketing", Choice: "silent"}}},
			"a stranger":      {Base: tv.twin.Version, Person: 99, Brands: given},
			"base ahead":      {Base: tv.twin.Version + 5, Brands: given},
			"25 o'clock":      {Base: tv.twin.Version, Quiet: &[]wire.QuietTime{{Start: 1500}}},
		} {
			if err := w.desk.Propose(tv.id, tv.up, bad); !errors.Is(err, wire.ErrFrame) {
				t.Errorf("%s: %v, want ErrFrame", name, err)
			}
		}
		w.memory()
	})
}

// Frames of a connection that is not the device's current one change nothing.
func TestOldConnectionIsAway(t *testing.T) {
	inWorld(t, func(w *world) {
		tv := w.home(device.TV)[device.TV]
		old := tv.up
		tv.connect()
		w.wait()
		if err := w.desk.Context(tv.id, old, wire.Context{Values: map[string]any{"state": "playing"}}); !errors.Is(err, ErrAway) {
			t.Errorf("context on the old connection: %v, want ErrAway", err)
		}
		w.desk.Gone(tv.id, old)
		w.choose(policy.Given)
		id := w.push(nil)
		tv.mustShow(id)
		if old.why != TakenOver {
			t.Errorf("the old connection was closed with %d, want TakenOver", old.why)
		}
	})
}

func TestRemovedDeviceIsClosed(t *testing.T) {
	inWorld(t, func(w *world) {
		all := w.home(device.TV, device.Fridge)
		tv := all[device.TV]
		w.choose(policy.Given)
		id := w.push(nil)
		tv.mustShow(id)
		up := tv.up
		w.must(w.desk.RemoveDevice(w.t.Context(), tv.id))
		<-up.done
		if up.why != Removed {
			t.Errorf("closed with %d, want Removed", up.why)
		}
		w.wait()
		w.memory()
		w.must(w.desk.RemoveHome(w.t.Context(), "oak"))
		<-all[device.Fridge].up.done
		if homes, err := w.desk.Homes(w.t.Context()); err != nil || len(homes) != 0 {
			t.Errorf("homes = %v, %v; want none", homes, err)
		}
	})
}

// An alarm anywhere in the home holds every screen, and lost contact does not end it.
func TestAlarmHoldsTheHome(t *testing.T) {
	inWorld(t, func(w *world) {
		all := w.home(device.TV, device.Oven)
		tv, oven := all[device.TV], all[device.Oven]
		w.choose(policy.Given)
		id := w.push(func(s *Submission) { s.Classes = []device.Class{device.TV} })
		tv.mustShow(id)
		oven.tell(map[string]any{"alarm": true})
		tv.mustShow()
		oven.disconnect()
		again := w.push(func(s *Submission) { s.Classes = []device.Class{device.TV} })
		tv.mustShow()
		oven.connect()
		w.wait()
		tv.mustShow(again)
	})
}

// Everything that a door may deliver twice, twice: the journal does not grow.
func TestReplaysChangeNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		tv := w.home(device.TV)[device.TV]
		w.choose(policy.Given)
		id := w.push(nil)
		yes := uint(1)
		reduced := wire.Reduced
		base := tv.twin.Version
		events := []wire.Event{{Message: id, Kind: wire.Queued}, {Message: id, Kind: wire.Presented}, {Message: id, Kind: wire.Responded, Response: &yes, Wish: &reduced}, {Message: id, Kind: wire.Cancelled}}
		deliver := func() {
			for _, e := range events {
				w.must(w.desk.Event(tv.id, tv.up, e))
			}
			w.wait()
			_ = w.desk.Propose(tv.id, tv.up, wire.Proposal{Base: base, Brands: []wire.BrandChoice{{Brand: "grocer", Purpose: "marketing", Choice: "given"}}})
			_, err := w.desk.Withdraw(w.t.Context(), "grocer", id)
			w.must(err)
			w.choose(policy.Given)
			w.wait()
		}
		deliver()
		length := w.journal()
		for range 3 {
			deliver()
		}
		if got := w.journal(); !bytes.Equal(got, length) {
			t.Errorf("the journal went from %s to %s events", length, got)
		}
	})
}

// A withdrawal need not wait for a device that owes an acknowledgement: the beacon clears the
// screen.
func TestBeaconClearsTheScreenOfADeafDevice(t *testing.T) {
	inWorld(t, func(w *world) {
		tv := w.home(device.TV)[device.TV]
		w.choose(policy.Given)
		id := w.push(nil)
		tv.mustShow(id)
		tv.mu.Lock()
		tv.deaf = true
		tv.mu.Unlock()
		w.must(w.desk.SetCaps(w.t.Context(), "oak", []policy.Cap{{Max: 5}})) // a twin goes out and is not acknowledged
		w.wait()
		tv.mustShow(id)
		w.choose(policy.Withdrawn)
		tv.mustShow()
	})
}

// A message that a device never got counts for the day on which it is shown.
func TestMissingIsClaimedAnew(t *testing.T) {
	inWorld(t, func(w *world) {
		tv := w.home(device.TV)[device.TV]
		w.must(w.desk.SetCaps(w.t.Context(), "oak", []policy.Cap{{Max: 1}}))
		w.choose(policy.Given)
		tv.mu.Lock()
		tv.deaf = true
		tv.mu.Unlock()
		first := w.push(nil)
		tv.disconnect()
		tv.on, tv.ledger, tv.owed, tv.deaf, tv.log = nil, map[device.MessageID]wire.EventKind{}, nil, false, nil // the frame was lost
		w.pass(time.Minute)
		judged := w.desk.count.judged.Load()
		w.pass(24 * time.Hour)
		if n := w.desk.count.judged.Load() - judged; n > 24*2 { // what is held does not poll
			t.Errorf("judged %d times in a day in which nothing happened", n)
		}
		tv.connect()
		w.wait()
		tv.mustShow(first)
		tv.ends(first, wire.Event{Kind: wire.TimedOut})
		second := w.push(nil)
		tv.mustShow()
		if got := w.why(second, tv); got != "hold[frequency]" {
			t.Errorf("a second one on the same day: %s, want hold[frequency]", got)
		}
		w.memory()
	})
}

// What may have been shown counts, even if nobody can say any more.
func TestMissingAndUnwantedCounts(t *testing.T) {
	inWorld(t, func(w *world) {
		tv := w.home(device.TV)[device.TV]
		w.must(w.desk.SetCaps(w.t.Context(), "oak", []policy.Cap{{Max: 1}}))
		w.choose(policy.Given)
		tv.mu.Lock()
		tv.deaf = true
		tv.mu.Unlock()
		first := w.push(nil)
		tv.disconnect()
		tv.on, tv.owed, tv.deaf = nil, nil, false
		_, err := w.desk.Withdraw(w.t.Context(), "grocer", first)
		w.must(err)
		tv.connect()
		w.wait()
		second := w.push(nil)
		if got := w.why(second, tv); got != "hold[frequency]" {
			t.Errorf("why = %s, want hold[frequency]", got)
		}
		w.memory()
	})
}

// What a device told is forgotten when it is away; an alarm is not, and a device that does not
// know any more does not end it.
func TestAwayIsUnknown(t *testing.T) {
	inWorld(t, func(w *world) {
		all := w.home(device.TV, device.Fridge)
		tv, fridge := all[device.TV], all[device.Fridge]
		w.choose(policy.Given)
		fridge.tell(map[string]any{"door.open": true})
		fridge.disconnect()
		id := w.push(func(s *Submission) {
			s.Classes, s.When = []device.Class{device.TV}, []SubmissionCondition{{Class: device.Fridge, Attribute: "door.open", Op: policy.EQ, Value: true}}
		})
		tv.mustShow()
		fridge.connect()
		fridge.tell(map[string]any{"door.open": true})
		tv.mustShow(id)
		fridge.tell(map[string]any{"alarm": true})
		tv.mustShow()
		fridge.tell(map[string]any{"alarm": nil})
		again := w.push(func(s *Submission) { s.Classes = []device.Class{device.TV} })
		tv.mustShow()
		fridge.tell(map[string]any{"alarm": false})
		tv.mustShow(again)
	})
}

// A connection that breaks for a moment does not cost a message its screen: the device is given
// time to say how it is.
func TestReconnectKeepsTheScreen(t *testing.T) {
	inWorld(t, func(w *world) {
		tv := w.home(device.TV)[device.TV]
		w.choose(policy.Given)
		id := w.push(nil)
		tv.disconnect()
		calmTV := calm[device.TV]
		calm[device.TV] = nil // it does not tell at once
		tv.connect()
		calm[device.TV] = calmTV
		w.wait()
		tv.mustShow(id)
		w.pass(time.Second)
		tv.mustShow(id)
		tv.tell(calmTV)
		w.pass(5 * time.Second)
		tv.mustShow(id)
		tv.disconnect()
		calm[device.TV] = nil
		tv.connect()
		calm[device.TV] = calmTV
		w.pass(3 * time.Second) // it says nothing: unknown never permits
		tv.mustShow()
	})
}

// The same receipt twice, while the message is still on the screen.
func TestPresentedTwiceIsOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		tv := w.home(device.TV)[device.TV]
		w.choose(policy.Given)
		id := w.push(nil)
		was := w.journal()
		for range 3 {
			w.must(w.desk.Event(tv.id, tv.up, wire.Event{Message: id, Kind: wire.Presented}))
		}
		if got := w.journal(); !bytes.Equal(got, was) {
			t.Errorf("the journal went from %s to %s events", was, got)
		}
	})
}

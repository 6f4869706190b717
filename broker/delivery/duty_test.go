package delivery

import (
	"strings"
	"testing"
	"time"

	"porchlight/device"
	"porchlight/device/wire"
	"porchlight/policy"
)

// last is the newest message that h was asked to show.
func (h *hand) last() wire.Present {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.frames) == 0 {
		return wire.Present{}
	}
	return h.frames[len(h.frames)-1]
}

// decided is what is known of the decision to show a message on h.
func (w *world) decided(id device.MessageID, h *hand) WhyScreen {
	w.t.Helper()
	why, err := w.desk.Why(w.t.Context(), id, "oak", WhyOptions{})
	w.must(err)
	for _, home := range why.Homes {
		for _, s := range home.Screens {
			if s.Device == h.id {
				return s
			}
		}
	}
	w.t.Fatalf("nothing is known of message %s on %s", id, h.id)
	return WhyScreen{}
}

// replayed takes the decisions that are kept again.
func (w *world) replayed() []Replayed {
	w.t.Helper()
	list, err := w.desk.kept(w.t.Context(), 1, 0)
	w.must(err)
	all, err := w.desk.again(w.t.Context(), 1, list)
	w.must(err)
	return all
}

// At an hour at which screens are to be dark a device that can is told to, and one that cannot is sent nothing
// until the hour is over. What is on a screen when the hour begins was not told, and goes.
func TestDimEndToEnd(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		all := w.flat()
		tv, frame := all[device.TV], all[device.Display]
		frame.disconnect()
		frame.duties = wire.DutyDim
		frame.connect()
		w.must(w.desk.SetPreferences(t.Context(), "oak", Preferences{Quiet: []NamedQuiet{{From: "05:00", To: "06:00"}}}))
		w.must(w.desk.SetPreferences(t.Context(), "oak", Preferences{Dim: []NamedQuiet{{From: "02:00", To: "03:00"}}})) // now it is 01:00
		w.wait()
		want, err := w.desk.Preferences(t.Context(), "oak")
		if err != nil || len(want.Quiet) != 1 || len(want.Dim) != 1 || want.Dim[0].From != "02:00" {
			t.Errorf("preferences: %+v, %v", want, err)
		}
		if q := frame.twin.Doc.Quiet; len(q) != 2 || q[0].Dim == q[1].Dim {
			t.Errorf("the device was told of %+v", q)
		}
		early := w.push(to(device.Display))
		frame.mustShow(early)
		if f := frame.last(); f.Duties != 0 {
			t.Errorf("dark an hour too early: %b", f.Duties)
		}
		w.pass(time.Hour)
		for _, h := range all {
			h.tell(calm[h.class])
		}
		frame.mustShow() // it was not told to be dark
		id := w.push(to(device.Display))
		frame.mustShow(id)
		if f := frame.last(); f.Duties != wire.DutyDim {
			t.Errorf("duties in the frame: got %b, want dim", f.Duties)
		}
		s := w.decided(id, frame)
		if d := s.Delivery; d == nil || d.Decision.Duties.Must != policy.Dim || len(d.Duties) != 1 || !strings.Contains(d.Duties[0], "darker") {
			t.Errorf("kept and told: %+v", d)
		}
		other := w.push(to(device.TV))
		tv.mustShow()
		if s := w.decided(other, tv); s.Verdict != "hold" || len(s.Causes) != 1 || !strings.HasPrefix(s.Causes[0], string(policy.NoDuty)) || s.Until != device.At(time.Date(2000, 1, 1, 2, 0, 0, 0, time.UTC)) {
			t.Errorf("a television that cannot be dark: %+v", s)
		}
		w.pass(time.Hour)
		for _, h := range all {
			h.tell(calm[h.class])
		}
		tv.mustShow(other)
		if f := tv.last(); f.Duties != 0 {
			t.Errorf("dark at three: %b", f.Duties)
		}
		for _, k := range w.replayed() {
			if len(k.Differs) > 0 {
				t.Errorf("taken again, position %d differs in %v", k.Pos, k.Differs)
			}
		}
	})
}

// A fridge shows nothing for longer than its row has it, whatever the brand wants.
func TestLimitEndToEnd(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		fridge := w.flat()[device.Fridge]
		for display, want := range map[float64]uint64{0: 8000, 30: 8000, 3: 3000} {
			id := w.push(func(s *Submission) { to(device.Fridge)(s); s.Display = display })
			fridge.mustShow(id)
			if f := fridge.last(); f.Display != want {
				t.Errorf("a message for %g s: on the screen for %d ms, want %d", display, f.Display, want)
			}
			if d := w.decided(id, fridge).Delivery; d == nil || d.Decision.Duties != (policy.Duties{Must: policy.Limit, Limit: time.Duration(want) * time.Millisecond}) {
				t.Errorf("a message for %g s: kept %+v", display, d)
			}
			fridge.ends(id, wire.Event{Kind: wire.TimedOut})
		}
	})
}

// Where nobody has told who is in front of somebody's own screen, only the sender of what is private is shown.
func TestMinimalEndToEnd(t *testing.T) {
	private := func(s *Submission) { to(device.Companion)(s); s.Category = "health" }
	inWorld(t, func(w *world) {
		t := w.t
		phone := w.flat()[device.Companion]
		id := w.push(private)
		phone.mustShow()
		if s := w.decided(id, phone); s.Verdict != "refuse" || len(s.Causes) != 1 || !strings.HasPrefix(s.Causes[0], string(policy.NoDuty)) {
			t.Errorf("a phone that cannot: %+v", s)
		}
		phone.disconnect()
		phone.duties = wire.DutyDim | wire.DutyMinimal
		phone.connect()
		phone.mustShow(id)
		if f := phone.last(); f.Duties != wire.DutyMinimal {
			t.Errorf("duties in the frame: got %b, want minimal", f.Duties)
		}
		phone.ends(id, wire.Event{Kind: wire.TimedOut})
		phone.tell(map[string]any{"presence.who": "1"})
		id = w.push(private)
		phone.mustShow(id)
		if f := phone.last(); f.Duties != 0 {
			t.Errorf("Anna is alone with it, and the frame has %b", f.Duties)
		}
		phone.tell(map[string]any{"presence.who": nil})
		phone.mustShow() // it was shown in full
	})
}

// What an operator adds to the table holds for decisions and in the frames, and a decision that was taken with another
// table is not taken for one of this.
func TestOperatorsSafetyEndToEnd(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		all := w.flat()
		id := w.push(to(device.TV))
		all[device.TV].mustShow(id)
		w.end()
		var err error
		w.safety, err = policy.OwnSafety().Join("mine.json", []byte(`{"tv": {"never": true}, "display": {"seconds": 4, "guards": {"power.state": "on"}}}`))
		w.must(err)
		w.start()
		for _, h := range all {
			h.connect()
		}
		all[device.TV].mustShow()
		if s := w.decided(w.push(to(device.TV)), all[device.TV]); s.Verdict != "refuse" {
			t.Errorf("the operator has closed televisions: %+v", s)
		}
		id = w.push(to(device.Display))
		all[device.Display].mustShow(id)
		if f := all[device.Display].last(); f.Display != 4000 || f.Guards["power.state"] != (wire.Guard{Op: "eq", Value: "on"}) {
			t.Errorf("the frame has %d ms and guards %v", f.Display, f.Guards)
		}
		before, after := 0, 0
		for _, k := range w.replayed() {
			switch {
			case len(k.Differs) == 0:
				after++
			case strings.Contains(strings.Join(k.Differs, " "), "safety"):
				before++
			default:
				t.Errorf("taken again, position %d differs in %v", k.Pos, k.Differs)
			}
		}
		if before == 0 || after == 0 {
			t.Errorf("%d decisions of the table before, %d of this one", before, after)
		}
	})
}

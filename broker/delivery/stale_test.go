package delivery

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"porchlight/device"
	"porchlight/device/store"
	"porchlight/device/wire"
	"porchlight/policy"
	"porchlight/policy/consent"
)

// stands is what of the good brand's marketing stands for the home.
func (w *world) stands() policy.Choice {
	w.t.Helper()
	var c policy.Choice
	w.must(w.desk.in(1, func(h *home) error {
		st := h.view.Consents[policy.ConsentKey{Brand: "grocer", Purpose: policy.Marketing}]
		if c = st.Choice; st.Until != 0 && w.now() >= st.Until {
			c = policy.Silent
		}
		return nil
	}))
	return c
}

func yes(base uint64) wire.Proposal {
	return wire.Proposal{Base: base, Brands: []wire.BrandChoice{{Brand: "grocer", Purpose: "marketing", Choice: "given"}}}
}

// T5, P6: a yes that waited in a device, or comes again, never overrules what was said, or has ended, since.
func TestStaleYes(t *testing.T) {
	tests := map[string]func(w *world, tv *hand) (want policy.Choice){
		"a wish that waited": func(w *world, tv *hand) policy.Choice {
			w.choose(policy.Given)
			id := w.push(nil)
			tv.mustShow(id)
			tv.disconnect()
			w.pass(time.Hour)
			w.choose(policy.Withdrawn)
			tv.on = nil
			tv.connect()
			allowed := wire.Allowed
			tv.ends(id, wire.Event{Kind: wire.Dismissed, Wish: &allowed, Age: uint64(30 * time.Minute / time.Millisecond)})
			return policy.Withdrawn
		},
		"a wish of now, on what was not given up": func(w *world, tv *hand) policy.Choice {
			w.choose(policy.Given)
			id := w.push(nil)
			w.pass(time.Second)
			allowed := wire.Allowed
			tv.ends(id, wire.Event{Kind: wire.Dismissed, Wish: &allowed})
			return policy.Given
		},
		"after it was invalidated": func(w *world, tv *hand) policy.Choice {
			again := yes(tv.twin.Version)
			w.must(w.desk.Propose(tv.id, tv.up, again))
			w.must(w.desk.in(1, func(h *home) error {
				return w.desk.record(h, func(tx *store.Tx) error {
					return consent.Invalidate(tx, 1, policy.ConsentKey{Brand: "grocer", Purpose: policy.Marketing}, "age")
				})
			}))
			if err := w.desk.Propose(tv.id, tv.up, again); !errors.Is(err, ErrStale) {
				w.t.Errorf("the same again: %v, want %v", err, ErrStale)
			}
			return policy.Silent
		},
		"after it has ended": func(w *world, tv *hand) policy.Choice {
			again := yes(tv.twin.Version)
			w.must(w.desk.Propose(tv.id, tv.up, again))
			w.jump.Add((366 * 24 * time.Hour).Milliseconds())
			w.pass(3 * time.Second)
			if err := w.desk.Propose(tv.id, tv.up, again); !errors.Is(err, ErrStale) {
				w.t.Errorf("the same again: %v, want %v", err, ErrStale)
			}
			return policy.Silent
		},
		"the same again, while it stands": func(w *world, tv *hand) policy.Choice {
			again := yes(tv.twin.Version)
			w.must(w.desk.Propose(tv.id, tv.up, again))
			w.must(w.desk.Propose(tv.id, tv.up, again))
			return policy.Given
		},
		"to a notice that the person has not seen": func(w *world, tv *hand) policy.Choice {
			w.choose(policy.Given)
			w.choose(policy.Withdrawn)
			n, err := w.desk.IssueNotice(w.t.Context(), consent.Notice{Brand: "grocer", Purposes: []policy.Purpose{policy.Marketing}, Data: []string{"pd:Location"}, Layers: map[string]consent.Layers{"en": {First: "Grocer asks for more."}}, ValidFor: 6})
			w.must(err)
			if err := w.desk.Propose(tv.id, tv.up, yes(tv.twin.Version)); !errors.Is(err, ErrStale) {
				w.t.Errorf("a yes to notice %d: %v, want %v", n.Version, err, ErrStale)
			}
			return policy.Withdrawn
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				tv := w.home(device.TV)[device.TV]
				want := tc(w, tv)
				w.wait()
				if got := w.stands(); got != want {
					t.Errorf("%s stands, want %s", got, want)
				}
				w.memory()
			})
		})
	}
}

// A wish for more lifts the cap that stood when its message came, and none that was set later.
func TestStaleIncrease(t *testing.T) {
	fewer := []NamedCap{{NamedSelector: NamedSelector{Brand: "grocer"}, Max: 1, Per: "168h"}}
	for later, want := range map[bool]int{false: 0, true: 1} {
		inWorldOf(t, func(w *world) {
			tv := w.home(device.TV)[device.TV]
			w.choose(policy.Given)
			if !later {
				w.must(w.desk.SetPreferences(w.t.Context(), "oak", Preferences{Caps: fewer}))
			}
			id := w.push(nil)
			tv.mustShow(id)
			if later {
				w.must(w.desk.SetPreferences(w.t.Context(), "oak", Preferences{Caps: fewer}))
			}
			tv.ends(id, wire.Event{Kind: wire.Dismissed, Wish: new(wire.Increased)})
			p, err := w.desk.Preferences(w.t.Context(), "oak")
			w.must(err)
			if len(p.Caps) != want {
				t.Errorf("set after the message came: %t; left are %d caps, want %d", later, len(p.Caps), want)
			}
		})
	}
}

// Who is told to be in front of a screen says yes there, and nobody else: not a child alone, not for somebody
// who is not there. What a visitor's phone tells opens nothing.
func TestYesOfWhoIsThere(t *testing.T) {
	inWorld(t, func(w *world) {
		_, devices, err := w.desk.AddHome(w.t.Context(), HomeSpec{Name: "oak", Zone: "UTC", Caps: []policy.Cap{}, Rooms: []string{"room"},
			People:  []PersonSpec{{Name: "Anna", Age: device.Adult}, {Name: "Ben", Age: device.Adult}, {Name: "Carla", Age: device.Child, Guardians: []string{"Anna"}}},
			Devices: []DeviceSpec{{Class: device.TV, Room: "room", Controller: true}, {Class: device.Companion, Name: "visitor", Room: "room", Until: w.now().Add(time.Hour)}}})
		w.must(err)
		tv, visitor := w.hand(devices[0].Device), w.hand(devices[1].Device)
		tv.connect()
		visitor.connect()
		propose := func(person uint32) error {
			p := yes(tv.twin.Version)
			p.Person = person
			return tv.proposes(p)
		}
		for who, want := range map[string][4]bool{"3": {}, "1": {true, true, false, true}, "2": {true, false, true, false}} { // for the home, Anna, Ben, Carla
			tv.tell(map[string]any{"presence.who": who})
			for person, ok := range want {
				if person == 3 {
					continue // a child's yes is a guardian's, by other means
				}
				if err := propose(uint32(person)); (err == nil) != ok {
					t.Errorf("%s is there, and a yes of person %d: %v", who, person, err)
				}
				w.must(w.desk.Choose(w.t.Context(), "oak", map[int]string{0: "", 1: "Anna", 2: "Ben"}[person], "grocer", policy.Marketing, policy.Withdrawn))
				w.wait()
			}
		}
		tv.tell(map[string]any{"presence.who": nil})
		for _, who := range []string{"", "Anna"} {
			w.must(w.desk.Choose(w.t.Context(), "oak", who, "grocer", policy.Marketing, policy.Given))
		}
		id := w.push(to(device.TV))
		visitor.tell(map[string]any{"presence.who": "1", "presence.count": 1})
		if got := w.why(id, tv); got != "refuse[consent]" {
			t.Errorf("Ben has said no, and a visitor's phone says that Anna is alone: %s", got)
		}
		two := []wire.Mute{{Category: "a", Owner: 4}, {Category: "b", Owner: 4}, {Category: "c", Owner: 4}}
		if err := visitor.proposes(wire.Proposal{Mutes: &two}); err == nil {
			t.Error("a visitor's phone fills the home's list")
		}
		w.must(w.desk.WhyAsked(visitor.id, visitor.up, wire.WhyAsked{Seq: 1}))
		w.wait()
		if len(visitor.because.Lines) > 0 {
			t.Errorf("a visitor's phone is told %q", visitor.because.Lines)
		}
	})
}

// A no that comes while a question is open ends it, wherever the question is; and a question moves to a phone once.
func TestAskEndedByANo(t *testing.T) {
	no := wire.Proposal{Brands: []wire.BrandChoice{{Brand: "grocer", Purpose: "marketing", Choice: "refused"}}}
	t.Run("while it is on the screen", func(t *testing.T) {
		inAsking(t, func(w *askWorld) {
			all := w.lives(grown, one(device.TV), one(device.Fridge))
			tv, fridge := all[0], all[1]
			w.must(w.ask())
			q := tv.question()
			w.must(tv.say(q, wire.AnswerDrawn, nil))
			w.must(w.desk.Propose(fridge.id, fridge.up, no))
			w.wait()
			w.must(tv.say(q, wire.AnswerYes, nil))
			if got := fmt.Sprint(w.said()); got != "home refused" {
				t.Errorf("said is %s, want home refused", got)
			}
		})
	})
	t.Run("before it has left", func(t *testing.T) {
		inAsking(t, func(w *askWorld) {
			all := w.lives(grown, one(device.TV), one(device.Fridge))
			tv, fridge := all[0], all[1]
			tv.ignore(wire.DnTwin)
			w.must(w.desk.SetPreferences(w.t.Context(), "oak", Preferences{Languages: []string{"en"}}))
			w.wait()
			w.must(w.ask())
			w.must(w.desk.Propose(fridge.id, fridge.up, no))
			w.wait()
			tv.ignore("")
			w.desk.Acked(tv.id, tv.up)
			w.pass(time.Second)
			if got := tv.got(); len(got) > 0 {
				t.Errorf("after the no %d questions were put", len(got))
			}
		})
	})
	t.Run("from phone to phone", func(t *testing.T) {
		inAsking(t, func(w *askWorld) {
			pa, pb := one(device.Companion), one(device.Companion)
			pa.Owner, pb.Owner = "Anna", "Ben"
			all := w.lives(grown, one(device.TV), pa, pb)
			_, err := w.desk.Ask(w.t.Context(), "oak", w.brand.ID, policy.Marketing, AskWhere{Device: all[0].id})
			w.must(err)
			w.wait()
			onPhone := func(person uint32) func(*wire.Answer) {
				return func(a *wire.Answer) { a.Why, a.Person = wire.ByPhone, person }
			}
			w.must(all[0].say(all[0].question(), wire.AnswerDeferred, onPhone(1)))
			w.must(all[1].say(all[1].question(), wire.AnswerDeferred, onPhone(2)))
			if len(all[2].got()) > 0 {
				t.Error("the question went on to a second phone")
			}
		})
	})
}

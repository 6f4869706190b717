package delivery

import (
	"context"
	"fmt"
	"testing"
	"time"

	"porchlight/device"
	"porchlight/device/store"
	"porchlight/device/wire"
	"porchlight/policy"
)

// says takes no back on a device, as a person does in its settings.
func (h *hand) says(choice string) {
	h.w.t.Helper()
	h.w.must(h.w.desk.Propose(h.id, h.up, wire.Proposal{Base: h.twin.Version, Brands: []wire.BrandChoice{{Brand: "grocer", Purpose: "marketing", Choice: choice}}}))
	h.w.wait()
}

// states are the words of all that was said no to, the newest first, each with its open screens.
func (w *world) states() (all []string) {
	w.t.Helper()
	list, err := w.desk.Withdrawals(w.t.Context(), "oak")
	w.must(err)
	for _, wd := range list {
		all = append(all, fmt.Sprintf("%s %d", wd.State(), len(wd.Open)))
	}
	return all
}

func (w *world) mustBe(want string) {
	w.t.Helper()
	if got := fmt.Sprint(w.states()); got != want {
		w.t.Fatalf("at %s: %s, want %s", w.now(), got, want)
	}
}

// A screen that obeys is clear at once, and the device on which it was said hears that.
func TestStoppedAtOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		all := w.home(device.TV, device.Fridge)
		tv, fridge := all[device.TV], all[device.Fridge]
		w.choose(policy.Given)
		tv.mustShow(w.push(func(s *Submission) { s.Classes = []device.Class{device.TV} }))
		fridge.says("withdrawn")
		tv.mustShow()
		w.mustBe("[stopped 0]")
		if n := len(fridge.words); n == 0 || fridge.words[n-1].State != wire.WordStopped {
			t.Errorf("the fridge was told %v, want stopped at last", fridge.words)
		}
		if len(tv.words) > 0 {
			t.Errorf("the TV was told %v: nobody has said anything there", tv.words)
		}
		w.memory()
	})
}

// P5: what a screen says of the end may cross the cancel: because its library acknowledges last, or because it has gone by the
// beacon, and says nothing twice while a word waits. It is asked again, and nobody waits for its lease.
func TestStoppedThoughWordsCross(t *testing.T) {
	tests := map[string]func(w *world, tv *hand){
		"answers go before the acknowledgement": func(w *world, tv *hand) {
			tv.with(func() { tv.hasty = true })
			w.choose(policy.Withdrawn)
		},
		"gone by the beacon, and said once": func(w *world, tv *hand) {
			tv.with(func() { tv.deaf = true }) // what it says is said by hand
			w.choose(policy.Withdrawn)
			gone := wire.Event{Message: tv.log[0].message, Kind: wire.Cancelled}
			w.must(w.desk.Event(tv.id, tv.up, gone))
			tv.with(func() { tv.deaf, tv.owed = false, nil })
			w.desk.Acked(tv.id, tv.up)
		},
		"declined, and answered before the acknowledgement": func(w *world, tv *hand) {
			tv.with(func() { tv.hasty = true })
			w.must(w.desk.Event(tv.id, tv.up, wire.Event{Message: tv.log[0].message, Kind: wire.Declined, Reason: wire.UserDND}))
			w.wait()
			if got := w.outcome(tv); got != Outcome(wire.Declined) {
				w.t.Errorf("what became of it is %d, want that it was declined (%d)", got, wire.Declined)
			}
			w.choose(policy.Withdrawn)
		},
	}
	for name, withdraw := range tests {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				tv := w.home(device.TV)[device.TV]
				w.choose(policy.Given)
				tv.mustShow(w.push(nil))
				withdraw(w, tv)
				w.wait()
				tv.mustShow()
				w.mustBe("[stopped 0]")
				w.memory()
			})
		})
	}
}

// outcome is what became of the first message that h has shown.
func (w *world) outcome(h *hand) (o Outcome) {
	w.must(w.db.View(w.t.Context(), func(tx *store.Tx) error {
		return tx.QueryRow(`SELECT coalesce(outcome, 0) FROM delivery WHERE message = ? AND device = ?`, h.log[0].message[:], h.id).Scan(&o)
	}))
	return o
}

// P5: an unplugged TV with a message on its screen: stopped arrives when its lease and the allowance
// are over, no later and not before; and until then the person is told which screen and by when.
func TestStoppedUnplugged(t *testing.T) {
	for name, restart := range map[string]bool{"": false, "after a restart": true} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				all := w.home(device.TV, device.Fridge)
				tv, fridge := all[device.TV], all[device.Fridge]
				w.choose(policy.Given)
				id := w.push(func(s *Submission) { s.Classes = []device.Class{device.TV} })
				tv.mustShow(id)
				w.pass(time.Second)
				tv.disconnect()
				kept := time.Now()
				w.must(w.desk.in(1, func(h *home) error { kept = h.open[0].kept; return nil }))
				fridge.says("withdrawn")
				w.mustBe("[stopping 1]")
				if n := len(fridge.words); n != 1 || fridge.words[0].State != wire.WordStopping || len(fridge.words[0].Open) != 1 || fridge.words[0].Open[0].Name != "tv" {
					t.Fatalf("the fridge was told %+v, want stopping, and the TV still to be cleared", fridge.words)
				}
				by := device.Instant(fridge.words[0].Open[0].By)
				if want := device.At(kept.Add(12 * time.Second)); by < want-2 || by > want+2 {
					t.Errorf("to be cleared by %s, want %s", by, want)
				}
				w.pass(time.Second)
				if restart {
					w.restart() // nobody knows any more how long the lease has run: a whole one is waited for
					kept = time.Now()
					fridge.connect()
				}
				w.pass(time.Until(kept.Add(12*time.Second)) - 5*time.Millisecond)
				w.mustBe("[stopping 1]")
				w.pass(10 * time.Millisecond)
				w.mustBe("[stopped 0]")
				if n := len(fridge.words); fridge.words[n-1].State != wire.WordStopped {
					t.Errorf("the fridge was told %+v, want stopped at last", fridge.words)
				}
				w.memory()
			})
		})
	}
}

// A restart does not forget what is stopping, though no device of the home ever comes back.
func TestStoppedWithNobodyThere(t *testing.T) {
	inWorld(t, func(w *world) {
		tv := w.home(device.TV)[device.TV]
		w.choose(policy.Given)
		tv.mustShow(w.push(nil))
		tv.disconnect()
		w.choose(policy.Withdrawn)
		w.mustBe("[stopping 1]")
		w.restart()
		w.pass(13 * time.Second)
		var stopped device.Instant
		w.must(w.db.View(context.Background(), func(tx *store.Tx) error {
			return tx.QueryRow(`SELECT stopped FROM withdrawal WHERE home = 1`).Scan(&stopped)
		}))
		if stopped == 0 {
			t.Error("13 s after the restart it is not stopped")
		}
	})
}

// A no on one device and another no on a second end each by itself; a no that forbids nothing that is
// on a screen is stopped as it is said.
func TestStoppedEachByItself(t *testing.T) {
	inWorld(t, func(w *world) {
		all := w.home(device.TV, device.Fridge)
		tv, fridge := all[device.TV], all[device.Fridge]
		fridge.says("refused")
		w.mustBe("[stopped 0]")
		w.choose(policy.Given)
		tv.mustShow(w.push(func(s *Submission) { s.Classes = []device.Class{device.TV} }))
		tv.disconnect()
		tv.on = nil
		fridge.says("withdrawn")
		w.mustBe("[stopping 1 stopped 0]")
		w.choose(policy.Given) // and a yes again, and a no again
		tv.connect()
		w.wait()
		w.choose(policy.Withdrawn)
		w.mustBe("[stopped 0 stopped 0 stopped 0]")
	})
}

// An end that a device said of a message before it was sent again is not the end of what is on the
// screen now: that is taken off, and only then is it over.
func TestOldEndIsNotTheLast(t *testing.T) {
	inWorld(t, func(w *world) {
		tv := w.home(device.TV)[device.TV]
		w.choose(policy.Given)
		tv.mute = true // what it has to say comes when we let it
		id := w.push(nil)
		tv.disconnect()
		tv.on, tv.owed = nil, nil
		delete(tv.ledger, id) // it declined, without showing it, and the link broke
		tv.connect()
		tv.mustShow(id) // sent again, and this time it shows it
		p := tv.up
		w.must(w.desk.Event(tv.id, p, wire.Event{Message: id, Kind: wire.Declined, Reason: wire.Busy}))
		w.wait()
		if got := tv.screen(); len(got) > 0 {
			t.Errorf("the old word is taken for the last, and the TV shows %v", got)
		}
		w.choose(policy.Withdrawn)
		w.mustBe("[stopping 1]")
		tv.mute = false
		tv.pay(p)
		w.wait()
		w.mustBe("[stopped 0]")
		w.memory()
	})
}

// A birth that is said again on a connection does not make a message missing that it has crossed.
func TestBirthCrossesAPresent(t *testing.T) {
	inWorld(t, func(w *world) {
		tv := w.home(device.TV)[device.TV]
		w.choose(policy.Given)
		tv.deaf = true
		tv.mustShow(w.push(nil))
		w.must(w.desk.Birth(tv.id, tv.up, wire.Birth{Class: device.TV, Can: wire.Capabilities{Inputs: device.Remote, Forms: []device.Form{device.Toast}}}))
		w.choose(policy.Withdrawn)
		w.mustBe("[stopping 1]")
	})
}

// What a device that was removed may still show is waited for, too.
func TestStoppedRemoved(t *testing.T) {
	inWorld(t, func(w *world) {
		tv := w.home(device.TV)[device.TV]
		w.choose(policy.Given)
		tv.mustShow(w.push(nil))
		w.must(w.desk.RemoveDevice(w.t.Context(), tv.id))
		w.choose(policy.Withdrawn)
		w.mustBe("[stopping 1]")
		w.pass(13 * time.Second)
		w.mustBe("[stopped 0]")
		w.memory()
	})
}

// A message that was handed over and never acknowledged may arrive late: its lease is counted from when
// the connection has ended.
func TestStoppedUnacknowledged(t *testing.T) {
	inWorld(t, func(w *world) {
		tv := w.home(device.TV)[device.TV]
		w.choose(policy.Given)
		tv.deaf = true
		tv.mustShow(w.push(nil))
		w.choose(policy.Withdrawn)
		w.pass(13 * time.Second)
		w.mustBe("[stopping 1]")
		w.pass(12 * time.Second)
		w.mustBe("[stopped 0]")
		w.memory()
	})
}

package delivery

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/device/wire"
	"porchlight/policy"
)

// Clocks that are wrong: set far ahead for a moment, set right while something happens, or begun anew in 1970.

// boot ends the hall, and begins it again while the clock says so many milliseconds after 1970.
func (w *world) boot(ms int64) {
	w.end()
	w.wait()
	w.jump.Store(ms - int64(device.At(time.Now())))
	w.start()
}

// A message that was over long ago is not shown because a gateway without a battery begins in 1970.
func TestClockLongOverComesBackIn1970(t *testing.T) {
	inWorld(t, func(w *world) {
		tv := w.home(device.TV)[device.TV]
		w.push(func(s *Submission) { s.NotAfter = w.now().Time().Add(time.Hour) })
		w.pass(3 * time.Second)
		w.jump.Add((90 * 24 * time.Hour).Milliseconds()) // nobody wanted it; it is over since a quarter of a year
		w.pass(3 * time.Second)
		w.choose(policy.Given)
		w.pass(time.Second)
		tv.mustShow()
		w.boot(60_000)
		tv.connect()
		w.pass(5 * time.Second)
		tv.mustShow()
	})
}

// What was closed while the clock was ahead pauses a brand all the same.
func TestClockPauseWhereTheClockWasAhead(t *testing.T) {
	inWorld(t, func(w *world) {
		tv := w.home(device.TV)[device.TV]
		w.choose(policy.Given)
		w.jump.Add((10 * time.Hour).Milliseconds())
		w.pass(3 * time.Second)
		tv.tell(calm[device.TV])
		for range 2 {
			id := w.push(nil)
			tv.mustShow(id)
			tv.ends(id, wire.Event{Kind: wire.Dismissed})
			w.pass(time.Second)
		}
		id := w.push(nil)
		w.pass(time.Second)
		if why := w.why(id, tv); why != "hold[mute]" {
			t.Fatalf("not paused: %s", why)
		}
		w.jump.Add(-(10 * time.Hour).Milliseconds())
		w.pass(3 * time.Second)
		w.restart()
		tv.connect()
		w.pass(3 * time.Second)
		if why := w.why(id, tv); why != "hold[mute]" {
			t.Errorf("the pause of 14 days is over when the clock is set right: %s", why)
		}
	})
}

// A clock that is wrong for three seconds does not end what people have said for good, nor remove who is there.
func TestClockWrongForAMoment(t *testing.T) {
	inWorld(t, func(w *world) {
		tv := w.home(device.TV)[device.TV]
		w.choose(policy.Given)
		w.jump.Add((2 * 365 * 24 * time.Hour).Milliseconds())
		w.pass(3 * time.Second)
		w.jump.Add(-(2 * 365 * 24 * time.Hour).Milliseconds())
		w.pass(3 * time.Second)
		tv.tell(calm[device.TV])
		id := w.push(nil)
		w.pass(time.Second)
		if why := w.why(id, tv); why != "show[]" {
			t.Errorf("nobody has taken the yes back, and a year is not over: %s", why)
		}
	})
}

// A message that is taken back while the disk is slow and the clock is wrong for a moment stays taken back.
func TestClockTakenBackWhileTheClockIsWrong(t *testing.T) {
	inWorld(t, func(w *world) {
		tv := w.home(device.TV)[device.TV]
		id := w.push(func(s *Submission) { s.NotAfter = w.now().Time().Add(20 * 24 * time.Hour) })
		busy, release := make(chan struct{}), make(chan struct{})
		go w.db.Update(func(*store.Tx) error { close(busy); <-release; return nil })
		<-busy // the disk takes its time
		done := make(chan error)
		go func() { _, err := w.desk.Withdraw(w.t.Context(), w.brand.ID, id); done <- err }()
		w.pass(time.Second)
		for _, by := range []time.Duration{3 * time.Hour, -3 * time.Hour} {
			w.jump.Add(by.Milliseconds())
			w.pass(3 * time.Second)
		}
		close(release)
		w.must(<-done)
		w.choose(policy.Given)
		w.pass(3 * time.Second)
		tv.tell(calm[device.TV])
		if on := tv.screen(); len(on) > 0 {
			w.t.Errorf("the brand was told that it is taken back, and the tv shows %v", on)
		}
	})
}

// What was shown is not shown again because it was erased while the clock stood far ahead, and the message seemed to be over.
func TestClockErasedWhileTheClockWasAhead(t *testing.T) {
	inWorld(t, func(w *world) {
		tv := w.home(device.TV)[device.TV]
		tv.forgets = true // and its own ledger is short
		w.choose(policy.Given)
		id := w.push(nil)
		tv.mustShow(id)
		tv.ends(id, wire.Event{Kind: wire.TimedOut})
		for _, by := range []time.Duration{3 * 24 * time.Hour, -3 * 24 * time.Hour} {
			w.jump.Add(by.Milliseconds())
			w.pass(3 * time.Second)
			tv.tell(calm[device.TV])
			if by > 0 {
				_, err := w.desk.Erase(w.t.Context(), Erasure{Home: "oak", Data: DeliveryData})
				w.must(err)
			}
		}
		w.pass(10 * time.Second)
		if n := tv.shows[id]; n != 1 {
			t.Errorf("shown %d times: %s", n, w.why(id, tv))
		}
	})
}

// What a brand had in force for a purpose that it has dropped is withdrawn, also while the clock stands ahead.
func TestClockPurposeDroppedWhileTheClockWasAhead(t *testing.T) {
	inWorld(t, func(w *world) {
		tv := w.home(device.TV)[device.TV]
		id := w.push(nil)
		declare := func(p ...string) {
			_, err := w.desk.ChangeBrand(w.t.Context(), w.brand.ID, func(b *registry.Brand) { b.Purposes = p })
			w.must(err)
		}
		w.jump.Add((3 * 24 * time.Hour).Milliseconds())
		w.pass(3 * time.Second)
		declare("service")
		w.jump.Add(-(3 * 24 * time.Hour).Milliseconds())
		w.pass(3 * time.Second)
		declare("service", "marketing")
		w.restart()
		tv.connect()
		w.choose(policy.Given)
		w.pass(3 * time.Second)
		if on := tv.screen(); len(on) > 0 {
			t.Errorf("shown %v, of %s", on, id)
		}
	})
}

// A guest's device is not removed for good because the clock was wrong for three seconds.
func TestClockGuestAndAMoment(t *testing.T) {
	inEntrance(t, func(w *world) {
		w.home(device.Fridge)
		w.must(w.desk.OpenWindow(w.t.Context(), "oak"))
		s := w.stranger(wire.ByCode, "")
		w.must(s.ask(""))
		_, err := w.desk.LetIn(w.t.Context(), "oak", s.id, s.binding.Code(), "", Admission{Until: w.now().Add(24 * time.Hour), Name: "Visitor"})
		w.must(err)
		w.jump.Add((48 * time.Hour).Milliseconds())
		w.pass(3 * time.Second)
		w.jump.Add(-(48 * time.Hour).Milliseconds())
		w.pass(3 * time.Second)
		all, err := w.desk.Devices(w.t.Context(), "oak")
		w.must(err)
		if len(all) != 2 {
			t.Errorf("%d devices, want the fridge and the guest's", len(all))
		}
	})
}

// A clock that is set right while the gateway starts leaves no message out.
func TestClockSetRightDuringTheStart(t *testing.T) {
	inWorld(t, func(w *world) {
		tv := w.home(device.TV)[device.TV]
		w.choose(policy.Given)
		tv.disconnect()
		id := w.push(nil)
		w.end()
		w.wait()
		w.jump.Add((60 * 24 * time.Hour).Milliseconds())
		var err error
		w.db, err = store.Open(context.Background(), w.path, store.Options{Project: Project, Clear: Clear, Now: w.now})
		w.must(err)
		w.desk, err = NewDesk(w.db, Options{Now: w.now}, slog.New(slog.NewTextHandler(io.Discard, nil)))
		w.must(err)
		w.jump.Add(-(60 * 24 * time.Hour).Milliseconds()) // before the Courier looks at the clock for the first time
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- NewCourier(w.desk).Run(ctx) }()
		w.stop = func() { cancel(); <-done }
		w.pass(3 * time.Second)
		tv.connect()
		w.pass(3 * time.Second)
		if on := tv.screen(); len(on) != 1 || on[0] != id {
			t.Errorf("the tv shows %v, want %s", on, id)
		}
	})
}

// A message that is over between two looks at the clock is no reason to send its device away.
func TestClockOverBetweenTwoLooks(t *testing.T) {
	for k := int64(1); k < 16; k++ {
		t.Run(fmt.Sprint("look ", k), func(t *testing.T) {
			inWorldOf(t, func(w *world) {
				tv := w.home(device.TV)[device.TV]
				w.choose(policy.Given)
				w.pass(4 * time.Second)
				s := w.good()
				s.NotAfter = w.now().Time().Add(2 * time.Second)
				var looks atomic.Int64
				w.look.Store(new(func() {
					if looks.Add(1) == k {
						w.jump.Add(3000)
					}
				}))
				_, _ = w.desk.Accept(w.t.Context(), w.brand, "key", s) // that it is over is a fine answer
				w.pass(time.Second)
				select {
				case <-tv.up.done:
					t.Errorf("the connection of the tv is closed: %v", tv.up.why)
				default:
				}
			})
		})
	}
}

// What was shown counts though the home was read again while the clock stood far ahead, and all of it seemed to be long ago.
func TestClockAheadWhileAHomeIsRead(t *testing.T) {
	inWorld(t, func(w *world) {
		tv := w.home(device.TV)[device.TV]
		w.choose(policy.Given)
		w.must(w.desk.SetCaps(w.t.Context(), "oak", DefaultCaps()))
		first := w.push(nil)
		tv.mustShow(first)
		tv.ends(first, wire.Event{Kind: wire.TimedOut})
		w.wait()
		for _, by := range []time.Duration{60 * 24 * time.Hour, -60 * 24 * time.Hour} {
			w.jump.Add(by.Milliseconds())
			w.pass(3 * time.Second)
			tv.tell(calm[device.TV])
			if by > 0 {
				w.must(w.desk.SetMutes(w.t.Context(), "oak", []policy.MuteRule{{Selector: policy.Selector{Category: "cars"}}}))
			}
		}
		w.push(nil)
		w.pass(3 * time.Second)
		claims := 0
		w.must(w.db.Events(w.t.Context(), 1, 0, func(e store.Event) error {
			if e.Kind == deliveryClaimed {
				claims++
			}
			return nil
		}))
		if claims != 1 {
			t.Errorf("within minutes %d messages were claimed, or one of them again", claims)
		}
		w.memory()
	})
}

// What a car told before it went away permits nothing, even where the gateway's clock has only just begun, in 1970.
func TestClockOf1970AndACarThatIsAway(t *testing.T) {
	inWorld(t, func(w *world) {
		car := w.home(device.Car)[device.Car]
		w.choose(policy.Given)
		w.boot(1)
		car.connect()
		w.pass(100 * time.Millisecond)
		car.disconnect() // it drives off
		p := &plug{h: car, frames: make(chan Frame, 64), done: make(chan struct{})}
		car.mu.Lock()
		car.up = p
		car.mu.Unlock()
		w.must(w.desk.Connected(car.id, 1, p))
		w.must(w.desk.Subscribed(car.id, p))
		w.must(w.desk.Birth(car.id, p, wire.Birth{Class: device.Car, Model: wire.Model{Maker: "Hand", Name: "made"}, Attributes: []string{"ux.driving"},
			Can: wire.Capabilities{Inputs: device.Remote, Sound: 1, Forms: []device.Form{device.Toast, device.List, device.Badge}, MaxButtons: 3, Languages: []string{"en"}}}))
		go p.serve(w.desk)
		w.pass(silence + time.Second) // it has had its time to say how it is
		w.push(func(s *Submission) { s.Classes, s.Forms = []device.Class{device.Car}, []device.Form{device.List} })
		w.pass(time.Second)
		car.mustShow()
	})
}

// A yes that was pressed before a no, and comes after it, does not undo it, though the clock was set forward in between.
func TestClockSetBetweenAYesAndANo(t *testing.T) {
	inWorld(t, func(w *world) {
		tv := w.home(device.TV)[device.TV]
		w.choose(policy.Given)
		id := w.push(nil)
		tv.mustShow(id)
		allowed := wire.Allowed
		tv.mu.Lock()
		tv.mute, tv.on, tv.ledger[id] = true, nil, wire.Dismissed // somebody presses: more of this; the word is on its way
		tv.owed = append(tv.owed, wire.Event{Message: id, Kind: wire.Dismissed, Wish: &allowed, Age: 3000})
		p := tv.up
		tv.mu.Unlock()
		w.pass(time.Second)
		w.choose(policy.Withdrawn)
		w.jump.Add(time.Minute.Milliseconds())
		w.pass(2 * time.Second)
		tv.mu.Lock()
		tv.mute = false
		tv.mu.Unlock()
		tv.pay(p)
		w.pass(3 * time.Second)
		w.must(w.desk.in(1, func(h *home) error {
			if c := h.view.Consents[policy.ConsentKey{Brand: w.brand.ID, Purpose: policy.Marketing}].Choice; c != policy.Withdrawn {
				t.Errorf("the newest word is %v", c)
			}
			return nil
		}))
	})
}

// A clock that stays ahead is believed: what is over by it is over for good.
func TestClockThatStaysAhead(t *testing.T) {
	inWorld(t, func(w *world) {
		w.home(device.TV)
		w.choose(policy.Given)
		expired := func() (n int) {
			w.must(w.db.Events(w.t.Context(), 1, 0, func(e store.Event) error {
				if e.Kind == "consent.expired" {
					n++
				}
				return nil
			}))
			return n
		}
		w.jump.Add((2 * 365 * 24 * time.Hour).Milliseconds())
		w.pass(9 * time.Minute)
		before := expired()
		w.pass(2 * time.Minute)
		if after := expired(); before != 0 || after != 1 {
			t.Errorf("%d yeses were over for good after 9 minutes, and %d after 11", before, after)
		}
	})
}

package delivery

import (
	"context"
	"slices"
	"testing"
	"time"

	"porchlight/device"
	"porchlight/device/store"
	"porchlight/device/wire"
	"porchlight/policy"
)

// onItsWay is a message that a television has queued and does not show, while the other one is free.
func (w *world) onItsWay() (id device.MessageID, lazy, free *hand) {
	w.t.Helper()
	one, other := w.two()
	one.made(func() { one.lazy = true })
	other.made(func() { other.lazy = true })
	id = w.push(nil)
	for lazy, free = range map[*hand]*hand{one: other, other: one} {
		if len(lazy.waiting) == 1 {
			break
		}
	}
	if len(lazy.waiting) != 1 || len(free.waiting) != 0 {
		w.t.Fatalf("%v waits on %s, and %v on %s", lazy.waiting, lazy.id, free.waiting, free.id)
	}
	free.made(func() { free.lazy = false })
	return id, lazy, free
}

// overdue lets the time pass in which a message is to appear.
func (w *world) overdue() {
	w.t.Helper()
	w.pass(30 * time.Second)
	w.awake()
	w.pass(30*time.Second + 20*time.Millisecond)
}

func (w *world) facts(kind string) (n int) {
	w.t.Helper()
	w.must(w.db.Events(context.Background(), 1, 0, func(e store.Event) error {
		if e.Kind == kind {
			n++
		}
		return nil
	}))
	return n
}

// J3: what does not appear in time is recalled, and then shown on another screen; never on both.
func TestFollow(t *testing.T) {
	inWorld(t, func(w *world) {
		id, lazy, free := w.onItsWay()
		w.pass(30 * time.Second)
		w.must(w.desk.SetMutes(w.t.Context(), "oak", []policy.MuteRule{{Selector: policy.Selector{Category: "toys"}}})) // the home is read anew
		w.pass(29 * time.Second)
		w.awake()
		free.mustShow()
		w.pass(time.Second + 20*time.Millisecond)
		free.mustShow(id)
		got := slices.Compact(slices.Clone(lazy.got)) // the cancel goes once more if the device spoke before it acknowledged it
		if len(lazy.waiting) != 0 || !slices.Equal(got, []string{"present", "cancel"}) || w.facts(deliveryLeaving) != 1 {
			w.t.Errorf("%s has %v after %v", lazy.id, lazy.waiting, lazy.got)
		}
		// J8: it is the same message, and counts once.
		if lazy.frames[0].Message != id || free.frames[0].Message != id {
			w.t.Error("the frames are about other messages")
		}
		h := w.desk.home(1)
		h.mu.Lock()
		if len(h.view.Shown) != 1 || h.view.Shown[0].Device != free.id {
			w.t.Errorf("shown are %+v", h.view.Shown)
		}
		h.mu.Unlock()
		w.replays()
	})
}

// What somebody has looked at in time stays.
func TestFollowNothingThatWasSeen(t *testing.T) {
	inWorld(t, func(w *world) {
		id, lazy, free := w.onItsWay()
		w.pass(59 * time.Second)
		w.awake()
		lazy.look()
		lazy.mustShow(id)
		for range 4 {
			w.pass(30 * time.Second)
			w.awake()
		}
		free.mustShow()
		lazy.mustShow(id)
		w.replays()
	})
}

// A device that has shown it and says so late has had it: it counts, and no other screen gets it.
func TestFollowLateReceipt(t *testing.T) {
	inWorld(t, func(w *world) {
		id, lazy, free := w.onItsWay()
		lazy.made(func() { lazy.mute = true })
		lazy.look()
		for range 3 {
			w.pass(25 * time.Second)
			w.awake()
		}
		if w.facts(deliveryLeaving) != 1 || len(lazy.screen()) != 0 {
			w.t.Fatalf("it is not recalled: %v", lazy.got)
		}
		free.mustShow() // the other has not said yet that it is gone
		lazy.made(func() { lazy.mute = false })
		lazy.pay(lazy.up)
		w.wait()
		w.pass(time.Minute + time.Second)
		w.awake()
		free.mustShow()
		if got := w.why(id, free); got != "refuse[dedupe]" {
			w.t.Errorf("it was shown, and is %s elsewhere", got)
		}
		w.replays()
	})
}

// A device that is cut off while it is recalled may have shown it.
func TestFollowNobodyKnows(t *testing.T) {
	inWorld(t, func(w *world) {
		id, lazy, free := w.onItsWay()
		lazy.made(func() { lazy.mute = true })
		w.overdue()
		if w.facts(deliveryLeaving) != 1 {
			w.t.Fatal("it is not recalled")
		}
		lazy.disconnect()
		for range 3 {
			w.awake()
			w.pass(20 * time.Second)
		}
		free.mustShow()
		w.awake()
		if got := w.why(id, free); got != "refuse[dedupe]" {
			w.t.Errorf("nobody knows whether it was shown, and it is %s elsewhere", got)
		}
		w.replays()
	})
}

// A restart in the middle of it ends as if there had been none.
func TestFollowCrash(t *testing.T) {
	crash := map[string]func(w *world, lazy *hand){
		"before it is recalled":              func(w *world, lazy *hand) {},
		"the recall is not taken":            func(w *world, lazy *hand) { lazy.made(func() { lazy.deaf = true }); w.overdue() },
		"the recall is taken, and not said":  func(w *world, lazy *hand) { lazy.made(func() { lazy.mute = true }); w.overdue() },
		"the recall is taken, and said late": func(w *world, lazy *hand) { lazy.made(func() { lazy.mute = true }); w.overdue() },
	}
	for name, until := range crash {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				id, lazy, free := w.onItsWay()
				until(w, lazy)
				free.mustShow()
				w.restart()
				lazy.made(func() { lazy.mute, lazy.deaf = false, false })
				free.connect()
				w.pass(time.Second)
				free.mustShow() // nobody can say yet
				if name == "the recall is taken, and said late" {
					lazy.made(func() { lazy.mute = true })
					lazy.connect()
					w.pass(time.Second)
					free.mustShow() // it does not hold it, and may still say that it was shown
					lazy.made(func() { lazy.mute = false })
					lazy.pay(lazy.up)
					w.wait()
				} else {
					lazy.connect()
				}
				if name == "before it is recalled" {
					w.overdue()
				}
				w.pass(time.Second)
				w.awake()
				free.mustShow(id)
				if lazy.shows[id] != 0 || free.shows[id] != 1 {
					w.t.Errorf("it was shown %d and %d times", lazy.shows[id], free.shows[id])
				}
				w.replays()
			})
		})
	}
}

// It goes nowhere while no other screen could show it, and at once when one can, be that by what a device says or by the
// clock alone.
func TestFollowWaitsForAScreen(t *testing.T) {
	tests := map[string]struct{ close, open func(w *world, free *hand) }{
		"a device says so": {
			func(w *world, free *hand) { free.tell(map[string]any{"state": "playing", "full_screen": true}) },
			func(w *world, free *hand) { free.tell(map[string]any{"state": "idle"}) },
		},
		"the clock": {
			func(w *world, free *hand) {
				w.must(w.desk.SetMutes(w.t.Context(), "oak", []policy.MuteRule{{Selector: policy.Selector{Device: free.id}, Until: w.now().Add(100 * time.Second)}}))
			},
			func(w *world, free *hand) { w.pass(21 * time.Second) },
		},
		"another message ends": {
			func(w *world, free *hand) { w.push(nil) },
			func(w *world, free *hand) { free.ends(free.screen()[0], wire.Event{Kind: wire.TimedOut}) },
		},
		"it comes back": {
			func(w *world, free *hand) { free.disconnect() },
			func(w *world, free *hand) { free.connect(); w.wait() },
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				id, lazy, free := w.onItsWay()
				test.close(w, free)
				for range 2 {
					w.pass(40 * time.Second)
					for _, h := range w.hands {
						if h.up != nil && name != "a device says so" {
							h.tell(calm[h.class])
						} else if h == lazy {
							h.tell(calm[h.class])
						}
					}
				}
				if len(lazy.waiting) != 1 || w.facts(deliveryLeaving) != 0 {
					w.t.Fatal("it has left without anywhere to go")
				}
				test.open(w, free)
				free.mustShow(id)
				w.replays()
			})
		})
	}
}

// Two that wait do not both go to the one screen that is free.
func TestFollowOneAtATime(t *testing.T) {
	inWorld(t, func(w *world) {
		one, other := w.two()
		third, err := w.desk.AddDevice(w.t.Context(), "oak", DeviceSpec{ID: "tv-3", Name: "three", Class: device.TV})
		w.must(err)
		one.made(func() { one.lazy = true })
		other.made(func() { other.lazy = true })
		w.push(nil)
		w.push(nil)
		if len(one.waiting) != 1 || len(other.waiting) != 1 {
			w.t.Fatal("they are not on their way to the two")
		}
		free := w.hand(third.Device)
		free.connect()
		one.made(func() { one.mute = true })
		other.made(func() { other.mute = true })
		w.overdue()
		if n := w.facts(deliveryLeaving); n != 1 {
			w.t.Errorf("%d leave for one screen", n)
		}
		free.mustShow()
		for _, h := range []*hand{one, other} {
			h.made(func() { h.mute = false })
			h.pay(h.up)
		}
		w.wait()
		w.awake()
		// The other one may go where the first has left, and nowhere else.
		if len(free.screen()) != 1 || len(free.got) != 1 || len(one.waiting)+len(other.waiting) != 1 {
			w.t.Errorf("%v is shown after %v, %v and %v wait", free.screen(), free.got, one.waiting, other.waiting)
		}
		w.replays()
	})
}

// With Follow below 0 it waits for ever.
func TestFollowOff(t *testing.T) {
	inWorld(t, func(w *world) {
		w.end()
		w.follow = -1
		w.start()
		_, lazy, free := w.onItsWay()
		for range 6 {
			w.pass(50 * time.Second)
			w.awake()
		}
		free.mustShow()
		if len(lazy.waiting) != 1 || w.facts(deliveryLeaving) != 0 {
			w.t.Error("it has left")
		}
		w.replays()
	})
}

// made makes a hand otherwise.
func (h *hand) made(edit func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	edit()
}

// look has somebody look at what waits.
func (h *hand) look() {
	h.w.t.Helper()
	h.mu.Lock()
	for _, id := range h.waiting {
		h.on = append(h.on, id)
		h.shows[id]++
		h.ledger[id] = wire.Presented
		h.owed = append(h.owed, wire.Event{Message: id, Kind: wire.Presented})
	}
	h.waiting = nil
	p, mute := h.up, h.mute
	h.mu.Unlock()
	if !mute {
		h.pay(p)
	}
	h.w.wait()
}

package delivery

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"porchlight/device"
	"porchlight/device/store"
	"porchlight/policy"
)

// P5: whoever is told that a message is taken back is told the truth, whatever becomes of another attempt to take it back that
// was under way; and a message that nobody could take back is shown.
func TestTakenBackBesideOneThatFails(t *testing.T) {
	stop := func(w *world, _ device.MessageID) error {
		_, err := w.desk.StopBrand(w.t.Context(), w.brand.ID, "fraud")
		return err
	}
	again := func(w *world, id device.MessageID) error {
		_, err := w.desk.Withdraw(w.t.Context(), w.brand.ID, id)
		return err
	}
	tests := map[string]struct {
		fail  int // how many fail
		other func(w *world, id device.MessageID) error
		shown bool
	}{
		"the brand asks again":      {1, again, false},
		"the brand is stopped":      {1, stop, false},
		"both fail":                 {2, again, true},
		"another brand asks, too":   {1, func(w *world, id device.MessageID) error { w.desk.Withdraw(w.t.Context(), "baker", id); return nil }, true},
		"after it was taken back":   {0, again, false},
		"nobody else takes it back": {1, func(*world, device.MessageID) error { return nil }, true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				tv := w.home(device.TV)[device.TV]
				tv.tell(map[string]any{"state": "playing", "full_screen": true}) // not now
				w.choose(policy.Given)
				id := w.push(nil)
				tv.mustShow()
				left := 2 * tc.fail                 // each is tried a second time by itself
				disk := func(e store.Event) error { // on the writer, which is one
					if e.Kind != messageWithdrawn || left == 0 {
						return nil
					}
					left--
					time.Sleep(time.Second) // the other comes meanwhile
					return errors.New("the disk does not")
				}
				w.disk.Store(&disk)
				var both sync.WaitGroup
				var first, second error
				both.Go(func() { _, first = w.desk.Withdraw(w.t.Context(), w.brand.ID, id) })
				w.wait()
				both.Go(func() { second = tc.other(w, id) })
				w.pass(5 * time.Second)
				both.Wait()
				if (first != nil) != (tc.fail > 0) || (second != nil) != (tc.fail > 1) {
					t.Fatalf("%v and %v, want %d of them to fail", first, second, tc.fail)
				}
				w.disk.Store(nil)
				tv.tell(calm[device.TV])
				tv.tell(map[string]any{"full_screen": false})
				w.pass(2 * time.Second)
				if shown := slices.Contains(tv.screen(), id); shown != tc.shown {
					t.Errorf("on the screen: %v, want %v: %s", shown, tc.shown, w.why(id, tv))
				}
				w.memory()
			})
		})
	}
}

// A message that is accepted while the clock jumps is in force once, and its brand has one place less.
func TestInForceOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		w.brand.Quota = 1000
		w.home(device.TV)
		var all sync.WaitGroup
		stop := make(chan struct{})
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					if err := w.desk.readForce(); err != nil {
						t.Error(err)
					}
				}
			}
		})
		var brands sync.WaitGroup
		for i := range 8 {
			brands.Go(func() {
				for j := range 50 {
					if _, err := w.desk.Accept(w.t.Context(), w.brand, fmt.Sprint("k", i, "-", j), w.good()); err != nil {
						t.Error(err)
					}
				}
			})
		}
		brands.Wait()
		close(stop)
		all.Wait()
		w.desk.mu.Lock()
		defer w.desk.mu.Unlock()
		offers := 0
		for _, list := range w.desk.offers {
			offers += len(list)
		}
		if force, places := len(w.desk.force), w.desk.inForce[w.brand.ID]; force != 400 || offers != 400 || places != 400 {
			t.Errorf("%d in force, %d to be offered, %d places taken, want 400 of each", force, offers, places)
		}
	})
}

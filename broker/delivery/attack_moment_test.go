package delivery

import (
	"testing"
	"time"

	"porchlight/device"
	"porchlight/device/store"
	"porchlight/device/wire"
	"porchlight/policy"
)

// The same value told again, observed later but still before now: what was stale is fresh again, and that is news.
func TestAttackOldWordToldYounger(t *testing.T) {
	inWorld(t, func(w *world) {
		hands := w.home(device.TV, device.Fridge)
		w.choose(policy.Given)
		fridge, tv := hands[device.Fridge], hands[device.TV]
		w.push(func(s *Submission) {
			s.Condition, s.Needs, s.Classes = "fridge.door.open", []string{"fridge.door.open"}, []device.Class{device.TV}
		})
		w.pass(time.Hour)
		tv.tell(calm[device.TV])
		say := func(age time.Duration) {
			t.Helper()
			w.must(w.desk.Context(fridge.id, fridge.up, wire.Context{Values: map[string]any{"door.open": true}, Age: uint64(age.Milliseconds())}))
			w.pass(time.Second)
		}
		if say(11 * time.Minute); len(tv.screen()) != 0 {
			t.Fatal("a stale word opened the moment")
		}
		if say(5 * time.Minute); len(tv.screen()) != 1 {
			t.Error("the door is known to be open again, and nothing is shown")
		}
	})
}

// What had expired by a clock that was set forward is in force again when it is set back, and is judged again.
func TestAttackClockSetBackPairsAnew(t *testing.T) {
	inWorld(t, func(w *world) {
		tv := w.home(device.TV)[device.TV]
		w.choose(policy.Given)
		tv.tell(map[string]any{"state": "playing", "full_screen": true})
		w.push(func(s *Submission) { s.NotAfter = w.now().Time().Add(time.Hour) })
		w.pass(time.Second)
		for _, by := range []time.Duration{2 * time.Hour, -2 * time.Hour} {
			w.jump.Add(by.Milliseconds())
			w.pass(3 * time.Second)
		}
		tv.tell(map[string]any{"state": "idle", "full_screen": false})
		if w.pass(3 * time.Second); len(tv.screen()) != 1 {
			t.Error("the message is in force again, and is not shown")
		}
	})
}

// Devices whose moments come and go faster than they show anything do not make the gateway write without end.
func TestAttackFlappingMoments(t *testing.T) {
	for name, two := range map[string]bool{"one": false, "two in turns": true} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				hands := w.home(device.TV, device.Display)
				w.choose(policy.Given)
				tv, display := hands[device.TV], hands[device.Display]
				tv.lazy, display.lazy = true, true
				if !two {
					display.disconnect()
				}
				w.push(nil)
				rows := func() (n int) {
					w.must(w.db.View(w.t.Context(), func(tx *store.Tx) error { return tx.QueryRow(`SELECT count(*) FROM journal`).Scan(&n) }))
					return n
				}
				before := rows()
				for i := range 1200 {
					tv.tell(map[string]any{"state": "idle", "full_screen": false, "dnd": i%2 == 0})
					if two {
						display.tell(map[string]any{"power.state": "on", "dnd": i%2 == 1})
					}
					w.pass(1500 * time.Millisecond)
				}
				if n := rows() - before; n == 0 || n > 80 {
					t.Errorf("%d facts were written down in half an hour, want some and at most 80", n)
				}
			})
		})
	}
}

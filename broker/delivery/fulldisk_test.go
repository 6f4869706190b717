package delivery

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"porchlight/device"
	"porchlight/device/store"
	"porchlight/policy"
)

// An end that cannot be written down is tried once a second, not as fast as the machine can.
func TestFullDiskIsNotHammered(t *testing.T) {
	inWorld(t, func(w *world) {
		w.end()
		var full atomic.Bool
		db, err := store.Open(w.t.Context(), w.path, store.Options{Now: w.now, Project: func(tx *store.Apply, e store.Event) error {
			if full.Load() {
				return errors.New("no space left")
			}
			return Project(tx, e)
		}})
		w.must(err)
		w.db = db
		w.desk, err = NewDesk(db, Options{Now: w.now, Workers: 4}, slog.New(slog.NewTextHandler(io.Discard, nil)))
		w.must(err)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- NewCourier(w.desk).Run(ctx) }()
		w.stop = func() { cancel(); <-done }

		tv := w.home(device.TV)[device.TV]
		w.choose(policy.Given)
		tv.mustShow(w.push(nil))
		tv.mute = true // it will not say that it took it off
		tv.tell(map[string]any{"state": "playing", "full_screen": true})
		full.Store(true)
		w.pass(13 * time.Second)
		before := w.desk.count.commitFailed.Load()
		w.pass(10 * time.Second)
		if n := w.desk.count.commitFailed.Load() - before; n == 0 || n > 20 {
			t.Errorf("tried %d times in 10 s", n)
		}
		full.Store(false)
		w.pass(2 * time.Second)
	})
}

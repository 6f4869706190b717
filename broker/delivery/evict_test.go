package delivery

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/device/wire"
	"porchlight/policy"
)

func (w *world) inMemory() int { return len(w.desk.inMemory()) }

// A home leaves memory when it is not needed there, not before, and is there again when something happens.
func TestHomesLeaveMemory(t *testing.T) {
	inWorld(t, func(w *world) {
		tv := w.home(device.TV)[device.TV]
		w.choose(policy.Given)
		w.pass(25 * time.Hour)
		if n := w.inMemory(); n != 1 {
			t.Fatalf("%d homes in memory, want the one that has a device connected", n)
		}
		tv.disconnect()
		w.pass(longAway - 2*lastLook)
		if n := w.inMemory(); n != 1 {
			t.Errorf("%d homes in memory before a day has passed, want 1", n)
		}
		w.pass(4 * lastLook)
		if n := w.inMemory(); n != 0 {
			t.Errorf("%d homes in memory after a day, want none", n)
		}
		id := w.push(nil)
		tv.connect()
		w.wait()
		tv.mustShow(id)
		w.memory()

		tv.disconnect() // with a message on its screen
		w.desk.evict(0, 0)
		if n := w.inMemory(); n != 1 {
			t.Errorf("%d homes in memory while one has a message on a screen, want 1", n)
		}
		w.restart()
		w.choose(policy.Withdrawn)
		w.pass(time.Hour) // until the lease is over
		if _, err := w.desk.Home(w.t.Context(), "oak"); err != nil {
			t.Error(err)
		}
		w.pass(3 * lastLook)
		if n := w.inMemory(); n != 0 {
			t.Errorf("%d homes in memory that were only looked at, want none", n)
		}
	})
}

// A home that leaves while things happen there is one home all the time: nothing is released that was said no
// to, and nothing is shown twice.
func TestHomesLeaveUnderFire(t *testing.T) {
	db, err := store.Open(context.Background(), filepath.Join(t.TempDir(), "p.db"), store.Options{Project: Project, Clear: Clear})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	desk, err := NewDesk(db, Options{Workers: 4}, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var others sync.WaitGroup
	others.Go(func() {
		if err := NewCourier(desk).Run(ctx); err != nil {
			t.Error(err)
		}
	})
	left := 0
	others.Go(func() {
		for ctx.Err() == nil {
			left += desk.evict(0, 0)
		}
	})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	b := registry.Brand{ID: "grocer", Name: "Grocer", Purposes: []string{"marketing"}, Quota: 100}
	_, err = desk.AddBrand(ctx, b)
	must(err)
	_, devices, err := desk.AddHome(ctx, HomeSpec{Name: "oak", Zone: "UTC", Caps: []policy.Cap{}, Devices: []DeviceSpec{{Class: device.TV}}})
	must(err)
	var handed int64
	for i := range 150 {
		r := &runner{desk: desk, id: devices[0].ID, frames: make(chan Frame, 64), done: make(chan struct{}), idle: make(chan struct{}, 1)}
		var serving sync.WaitGroup
		serving.Go(r.serve)
		must(desk.Choose(ctx, "oak", "", b.ID, policy.Marketing, policy.Given))
		must(desk.Connected(r.id, devices[0].Home, r))
		must(desk.Subscribed(r.id, r))
		must(desk.Birth(r.id, r, wire.Birth{Class: device.TV, Can: wire.Capabilities{Forms: []device.Form{device.Toast}}}))
		must(desk.Context(r.id, r, wire.Context{Values: map[string]any{"state": "idle"}}))
		a, err := desk.Accept(ctx, b, fmt.Sprint(i), Submission{Purpose: policy.Marketing, Texts: []SubmissionText{{Language: "en", Body: "x"}}, NotAfter: time.Now().Add(time.Hour)})
		must(err)
		var both sync.WaitGroup
		both.Go(func() {
			if err := desk.Choose(ctx, "oak", "", b.ID, policy.Marketing, policy.Withdrawn); err != nil {
				t.Error(err)
			}
			r.no.Store(true)
		})
		both.Go(func() {
			if i%2 == 0 {
				desk.Gone(r.id, r)
			}
		})
		both.Wait()
		_, err = desk.Withdraw(ctx, b.ID, a.ID)
		must(err)
		desk.Gone(r.id, r)
		close(r.done)
		serving.Wait()
		if late := r.late.Load(); late > 0 {
			t.Fatalf("%d messages were released after a no had been answered", late)
		}
		handed += r.handed.Load()
	}
	cancel()
	others.Wait()
	t.Logf("the home left memory %d times; %d messages were handed over", left, handed)
	if left == 0 || handed == 0 {
		t.Error("the home never left, or nothing was handed over: this shows nothing")
	}
}

package delivery

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/device/wire"
	"porchlight/policy"
)

// runner is a screen that obeys at once, and notes what it is handed after a no was answered.
type runner struct {
	desk   *Desk
	id     device.ID
	frames chan Frame
	done   chan struct{}
	idle   chan struct{} // has a token when it has acknowledged a document
	no     atomic.Bool   // a no was answered, and no yes has been begun since
	late   atomic.Int64
	handed atomic.Int64
}

func (r *runner) Send(f Frame) error {
	if present, _, err := wire.DecodeMsg(f.Payload); f.Leaf == wire.DnMsg && err == nil && present != nil {
		r.handed.Add(1)
		if r.no.Load() {
			r.late.Add(1)
		}
	}
	select {
	case r.frames <- f:
		return nil
	case <-r.done:
		return ErrAway
	}
}

func (r *runner) From() string { return "" }
func (r *runner) Close(Reason) {}

func (r *runner) serve() {
	for {
		select {
		case <-r.done:
			return
		case f := <-r.frames:
			present, cancel, _ := wire.DecodeMsg(f.Payload)
			if f.QoS == 1 {
				r.desk.Acked(r.id, r)
			}
			switch {
			case f.Leaf == wire.DnTwin:
				select {
				case r.idle <- struct{}{}:
				default:
				}
			case f.Leaf != wire.DnMsg:
			case present != nil:
				_ = r.desk.Event(r.id, r, wire.Event{Message: present.Message, Kind: wire.Presented})
			case cancel != nil:
				_ = r.desk.Event(r.id, r, wire.Event{Message: cancel.Message, Kind: wire.Cancelled})
			}
		}
	}
}

// P5 under fire: two who say no at the same time, one who pushes, one whose screen comes and goes, and
// the Courier. From the moment that a no was answered nothing is released. PORCHLIGHT_LONG=1 runs it
// a hundred thousand times.
func TestNoReleaseAfterStopping(t *testing.T) {
	rounds := 500
	if os.Getenv("PORCHLIGHT_LONG") != "" {
		rounds = 100_000
	}
	const perHome = 250 // a home's memory of what was shown does not grow without end
	db, err := store.Open(context.Background(), filepath.Join(t.TempDir(), "p.db"), store.Options{Project: Project, Clear: Clear})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	desk, err := NewDesk(db, Options{Workers: 4}, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var courier sync.WaitGroup
	courier.Go(func() {
		if err := NewCourier(desk).Run(ctx); err != nil {
			t.Error(err)
		}
	})
	defer courier.Wait()
	defer cancel()
	b := registry.Brand{ID: "grocer", Name: "Grocer", Purposes: []string{"marketing"}, Quota: 10}
	if _, err := desk.AddBrand(ctx, b); err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var handed int64
	for n := 0; n < rounds; n += perHome {
		name := fmt.Sprint("home-", n)
		_, devices, err := desk.AddHome(ctx, HomeSpec{Name: name, Zone: "UTC", People: []PersonSpec{{Name: "Anna", Age: device.Adult}}, Caps: []policy.Cap{}, Devices: []DeviceSpec{{Class: device.TV}}})
		must(err)
		r := &runner{desk: desk, id: devices[0].ID, frames: make(chan Frame, 64), done: make(chan struct{}), idle: make(chan struct{}, 1)}
		var serving sync.WaitGroup
		serving.Go(r.serve)
		must(desk.Connected(r.id, devices[0].Home, r))
		must(desk.Subscribed(r.id, r))
		must(desk.Birth(r.id, r, wire.Birth{Class: device.TV, Can: wire.Capabilities{Forms: []device.Form{device.Toast}}}))
		must(desk.Context(r.id, r, wire.Context{Values: map[string]any{"state": "idle"}}))
		for i := range min(perHome, rounds-n) {
			r.no.Store(false)
			must(desk.Choose(ctx, name, "", b.ID, policy.Marketing, policy.Given))
			must(desk.Choose(ctx, name, "Anna", b.ID, policy.Marketing, policy.Given))
			for waiting := true; waiting; { // for its document: before that nothing is handed over
				must(desk.in(devices[0].Home, func(h *home) error {
					waiting = !h.screens[r.id].idle(h.wishes)
					return nil
				}))
				if waiting {
					select {
					case <-r.idle:
					case <-time.After(30 * time.Second):
						t.Fatal("the screen is never idle")
					}
				}
			}
			var mine device.MessageID
			accepted := make(chan struct{})
			var all sync.WaitGroup
			all.Go(func() {
				a, err := desk.Accept(ctx, b, fmt.Sprint(n, "-", i), Submission{Purpose: policy.Marketing, Texts: []SubmissionText{{Language: "en", Body: "x"}}, NotAfter: time.Now().Add(time.Hour)})
				if err != nil {
					t.Error(err)
				}
				mine = a.ID
				close(accepted)
			})
			all.Go(func() {
				for _, state := range []string{"off", "idle"} {
					if err := desk.Context(r.id, r, wire.Context{Values: map[string]any{"state": state}}); err != nil {
						t.Error(err)
					}
				}
			})
			for _, who := range []string{"", "Anna"} {
				all.Go(func() {
					<-accepted
					if err := desk.Choose(ctx, name, who, b.ID, policy.Marketing, policy.Withdrawn); err != nil {
						t.Error(err)
					}
					r.no.Store(true)
				})
			}
			all.Wait()
			if _, err := desk.Withdraw(ctx, b.ID, mine); err != nil {
				t.Error(err)
			}
		}
		handed += r.handed.Load()
		if late := r.late.Load(); late > 0 {
			t.Fatalf("%d messages were released after a no had been answered", late)
		}
		desk.Gone(r.id, r)
		close(r.done)
		serving.Wait()
		must(desk.RemoveHome(ctx, name))
	}
	t.Logf("%d times, %d messages handed over before the no", rounds, handed)
	if handed == 0 {
		t.Error("nothing was ever handed over: this shows nothing")
	}
}

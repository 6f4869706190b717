package delivery

import (
	"context"
	"crypto/elliptic"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
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

var (
	p256     = elliptic.P256()
	quietLog = slog.New(slog.NewTextHandler(io.Discard, nil))
)

// tamper changes a database file behind everybody's back.
func tamper(t *testing.T, path, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite3", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// accept hands in the good message for a key.
func (w *world) accept(key string) error {
	_, err := w.desk.Accept(w.t.Context(), w.brand, key, w.good())
	return err
}

func TestStop(t *testing.T) {
	inWorld(t, func(w *world) {
		all := w.home(device.TV, device.Fridge)
		tv := all[device.TV]
		w.choose(policy.Given)
		shown := w.push(func(s *Submission) { s.Classes = []device.Class{device.TV} })
		waits := w.push(func(s *Submission) { s.Classes = []device.Class{device.TV} })
		tv.mustShow(shown)
		other := registry.Brand{ID: "baker", Name: "Baker", Purposes: []string{"marketing"}, Quota: 5}
		if _, err := w.desk.AddBrand(w.t.Context(), other); err != nil {
			t.Fatal(err)
		}
		w.must(w.desk.Choose(w.t.Context(), "oak", "", "baker", policy.Marketing, policy.Given))
		s := w.good()
		s.Classes = []device.Class{device.Fridge}
		kept, err := w.desk.Accept(w.t.Context(), other, "k", s)
		w.must(err)
		w.wait()
		all[device.Fridge].mustShow(kept.ID)

		for i, want := range []int{2, 0} { // stopping twice is stopping once
			if n, err := w.desk.StopBrand(w.t.Context(), "grocer", "complaints"); err != nil || n != want {
				t.Errorf("stop %d: %d withdrawn, %v, want %d", i, n, err, want)
			}
			w.wait()
			tv.mustShow()
		}
		all[device.Fridge].mustShow(kept.ID)
		for _, id := range []device.MessageID{shown, waits} {
			if a, err := w.desk.Message(w.t.Context(), "grocer", id); err != nil || a.State != "withdrawn" {
				t.Errorf("message %s: %+v, %v, want it withdrawn", id, a, err)
			}
		}
		for name, key := range map[string]string{"new": "new", "again": "key-1"} {
			if err := w.accept(key); !errors.Is(err, ErrStopped) {
				t.Errorf("%s: %v, want ErrStopped", name, err)
			}
		}
		w.restart()
		tv.connect()
		all[device.Fridge].connect()
		w.wait()
		tv.mustShow()
		if err := w.accept("new"); !errors.Is(err, ErrStopped) {
			t.Errorf("after a restart: %v, want ErrStopped", err)
		}
		for range 2 {
			w.must(w.desk.StartBrand(w.t.Context(), "grocer"))
		}
		w.wait()
		tv.mustShow()
		again := w.push(func(s *Submission) { s.Classes = []device.Class{device.TV} })
		tv.mustShow(again)
		if b, err := w.desk.Brand(w.t.Context(), "grocer"); err != nil || b.InForce != 1 || b.Stopped != 0 {
			t.Errorf("the brand: %+v, %v", b, err)
		}
		for name, err := range map[string]error{
			"stop nobody":  func() error { _, err := w.desk.StopBrand(w.t.Context(), "nobody", ""); return err }(),
			"start nobody": w.desk.StartBrand(w.t.Context(), "nobody"),
		} {
			if !errors.Is(err, registry.ErrUnknown) {
				t.Errorf("%s: %v, want ErrUnknown", name, err)
			}
		}
		w.memory()
	})
}

// What had expired when its brand was stopped does not come back when the clock is set back, whether
// the brand is still stopped or was started again.
func TestStoppedStaysOffWhenTheClockIsSetBack(t *testing.T) {
	for name, start := range map[string]bool{"stopped": false, "started": true} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				tv := w.home(device.TV)[device.TV]
				w.choose(policy.Given)
				id := w.push(func(s *Submission) {
					s.NotBefore = new(w.now().Time().Add(2 * time.Hour))
					s.NotAfter = w.now().Time().Add(3 * time.Hour)
				})
				w.jump.Add(5 * time.Hour.Milliseconds())
				w.desk.Lookup()
				w.wait()
				_, err := w.desk.StopBrand(w.t.Context(), "grocer", "")
				w.must(err)
				if start {
					w.must(w.desk.StartBrand(w.t.Context(), "grocer"))
				}
				w.jump.Add(-150 * time.Minute.Milliseconds()) // into its time
				w.desk.Lookup()
				w.wait()
				tv.tell(calm[device.TV])
				tv.mustShow()
				if w.desk.message(id) != nil {
					t.Error("it is in force again")
				}
				w.restart()
				tv.connect()
				w.wait()
				tv.mustShow()
			})
		})
	}
}

// While messages pour in and screens show them, a brand is stopped: from the moment that stop has
// returned nothing is accepted and nothing is handed over.
func TestStopInAStorm(t *testing.T) {
	for round := range 8 {
		inWorldOf(t, func(w *world) {
			all := w.home(device.TV, device.Fridge, device.Oven)
			w.choose(policy.Given)
			w.brand.Quota = 10_000
			handed := func() (n int64) {
				for _, h := range all {
					n += h.handed.Load()
				}
				return n
			}
			var stopped atomic.Bool
			var late, accepted atomic.Int64
			var pushing sync.WaitGroup
			begun := make(chan struct{}, 1000)
			for i := range 8 {
				pushing.Go(func() {
					for k := range 40 {
						before := stopped.Load()
						_, err := w.desk.Accept(context.Background(), w.brand, fmt.Sprint("storm-", i, "-", k), w.good())
						switch {
						case err == nil && before:
							late.Add(1)
						case err == nil:
							accepted.Add(1)
							begun <- struct{}{}
						case !errors.Is(err, ErrStopped):
							t.Errorf("accept: %v", err)
						}
					}
				})
			}
			ended := make(chan struct{})
			go func() { // people, who make room on the screens
				for {
					select {
					case <-ended:
						return
					default:
					}
					for _, h := range all {
						for _, id := range h.screen() {
							h.mu.Lock()
							h.on = slices.DeleteFunc(h.on, func(o device.MessageID) bool { return o == id })
							h.ledger[id] = wire.Dismissed
							h.owed = append(h.owed, wire.Event{Message: id, Kind: wire.Dismissed})
							p := h.up
							h.mu.Unlock()
							h.pay(p)
						}
					}
					time.Sleep(time.Millisecond) // of the bubble: lets others run
				}
			}()
			for range 1 + 10*round {
				<-begun
			}
			if _, err := w.desk.StopBrand(context.Background(), "grocer", ""); err != nil {
				t.Fatal(err)
			}
			stopped.Store(true)
			released := handed()
			pushing.Wait()
			w.wait()
			close(ended)
			w.pass(time.Minute)
			if late.Load() > 0 || handed() != released {
				t.Errorf("round %d: after stop had returned %d messages were accepted and %d handed over", round, late.Load(), handed()-released)
			}
			for _, h := range all {
				if on := h.screen(); len(on) > 0 {
					t.Errorf("round %d: the %s still shows %v", round, h.class, on)
				}
			}
			w.desk.mu.Lock()
			left := len(w.desk.force)
			w.desk.mu.Unlock()
			var open, live int
			w.must(w.db.View(context.Background(), func(tx *store.Tx) error {
				return tx.QueryRow(`SELECT (SELECT count(*) FROM delivery WHERE settled = 0), (SELECT count(*) FROM message WHERE withdrawn = 0)`).Scan(&open, &live)
			}))
			if left+open+live > 0 || accepted.Load() == 0 {
				t.Errorf("round %d: %d accepted, %d in force in memory, %d in the tables, %d deliveries open", round, accepted.Load(), left, live, open)
			}
		})
	}
}

func TestChangeBrand(t *testing.T) {
	inWorld(t, func(w *world) {
		tv := w.home(device.TV)[device.TV]
		w.choose(policy.Given)
		w.must(w.desk.Choose(w.t.Context(), "oak", "", "grocer", policy.Service, policy.Given))
		marketing := w.push(nil)
		tv.mustShow(marketing)
		service := w.push(func(s *Submission) { s.Purpose = policy.Service })
		b, err := w.desk.ChangeBrand(w.t.Context(), "grocer", func(b *registry.Brand) {
			b.Name, b.Purposes, b.Contact = "Corner Shop", []string{"service", "research"}, "mail@corner.example"
		})
		w.must(err)
		w.brand = b
		w.wait()
		// What it no longer declares is gone, what it still does comes under its new name.
		tv.mustShow(service)
		if a, err := w.desk.Message(w.t.Context(), "grocer", marketing); err != nil || a.State != "withdrawn" {
			t.Errorf("the message of the old purpose: %+v, %v", a, err)
		}
		if m := w.desk.message(service); m == nil || m.Sender != "Corner Shop" {
			t.Errorf("the message of the kept purpose is %+v", m)
		}
		tv.mu.Lock()
		doc := tv.twin.Doc.Brands
		tv.mu.Unlock()
		var told []string
		for _, c := range doc {
			told = append(told, c.Name+" "+c.Purpose)
		}
		if slices.Sort(told); strings.Join(told, ", ") != "Corner Shop research, Corner Shop service" {
			t.Errorf("the TV lists %q", told)
		}
		if _, err := w.desk.Accept(w.t.Context(), b, "old", w.good()); err == nil {
			t.Error("a message of the old purpose was accepted")
		}
		for name, edit := range map[string]func(b *registry.Brand){
			"unknown purpose": func(b *registry.Brand) { b.Purposes = []string{"selling"} },
			"no name":         func(b *registry.Brand) { b.Name = "" },
		} {
			if _, err := w.desk.ChangeBrand(w.t.Context(), "grocer", edit); !errors.Is(err, registry.ErrInvalid) {
				t.Errorf("%s: %v, want ErrInvalid", name, err)
			}
		}
		tv.mustShow(service)
		w.restart()
		tv.connect()
		w.wait()
		tv.mustShow(service)
		w.memory()
	})
}

// The journal says who caused what.
func TestBrandsAreActors(t *testing.T) {
	inWorld(t, func(w *world) {
		who := device.Actor("brand grocer 203.0.113.9")
		a, err := w.desk.As(who).Accept(w.t.Context(), w.brand, "k", w.good())
		w.must(err)
		_, err = w.desk.As(who).Withdraw(w.t.Context(), "grocer", a.ID)
		w.must(err)
		p := newPen(t, "EdDSA", "ed")
		operator := w.desk.As("operator anna")
		w.must(operator.AddSignKey(w.t.Context(), p.key(t, "grocer")))
		w.must(operator.RevokeSignKey(w.t.Context(), "grocer", "ed"))
		_, err = operator.RenewAPIKey(w.t.Context(), "grocer", false)
		w.must(err)
		_, err = operator.ChangeBrand(w.t.Context(), "grocer", func(b *registry.Brand) { b.Quota = 3 })
		w.must(err)
		_, err = operator.StopBrand(w.t.Context(), "grocer", "")
		w.must(err)
		w.must(operator.StartBrand(w.t.Context(), "grocer"))
		w.must(operator.RemoveBrand(w.t.Context(), "grocer"))
		var got []string
		w.must(w.db.View(w.t.Context(), func(tx *store.Tx) (err error) {
			got, err = store.List(tx, func(scan func(...any) error) (string, error) {
				var kind, actor string
				err := scan(&kind, &actor)
				return kind + " by " + actor, err
			}, `SELECT kind, actor FROM journal WHERE home = 0 AND pos > 1 ORDER BY pos`)
			return err
		}))
		want := []string{
			"message.accepted by brand grocer 203.0.113.9", "message.withdrawn by brand grocer 203.0.113.9",
			"brand.keyed by operator anna", "brand.unkeyed by operator anna", "brand.renewed by operator anna", "brand.changed by operator anna",
			"brand.stopped by operator anna", "brand.started by operator anna", "brand.removed by operator anna",
		}
		if !slices.Equal(got, want) {
			t.Errorf("the journal says\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

// slow is a connection on which one message takes its time to be handed over: until stop has
// returned, which it must not, or long enough for that to have come about.
type slow struct {
	desk    *Desk
	dev     device.ID
	once    sync.Once
	began   chan struct{} // closed when the message is being handed over
	stopped chan struct{} // closed when stop has returned
	late    atomic.Bool   // the message was handed over after that
}

func (s *slow) From() string { return "" }
func (s *slow) Close(Reason) {}
func (s *slow) Send(f Frame) error {
	if present, _, err := wire.DecodeMsg(f.Payload); f.Leaf == wire.DnMsg && err == nil && present != nil {
		s.once.Do(func() { close(s.began) })
		select {
		case <-s.stopped:
			s.late.Store(true)
		case <-time.After(300 * time.Millisecond):
		}
	}
	if f.QoS == 1 {
		go s.desk.Acked(s.dev, s)
	}
	return nil
}

// A message that is being handed over while its brand is stopped has left before stop returns.
func TestStopWaitsForAHandover(t *testing.T) {
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "p.db"), store.Options{Project: Project, Clear: Clear})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	d, err := NewDesk(db, Options{}, quietLog)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- NewCourier(d).Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	b := registry.Brand{ID: "grocer", Name: "Grocer", Purposes: []string{"marketing"}, Quota: 5}
	_, err = d.AddBrand(ctx, b)
	if err != nil {
		t.Fatal(err)
	}
	h, devices, err := d.AddHome(ctx, HomeSpec{Name: "oak", Zone: "UTC", Caps: []policy.Cap{}, Devices: []DeviceSpec{{Class: device.TV}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Choose(ctx, "oak", "", "grocer", policy.Marketing, policy.Given); err != nil {
		t.Fatal(err)
	}
	tv := devices[0].ID
	s := &slow{desk: d, dev: tv, began: make(chan struct{}), stopped: make(chan struct{})}
	err = errors.Join(d.Connected(tv, h.ID, s), d.Subscribed(tv, s),
		d.Birth(tv, s, wire.Birth{Class: device.TV, Attributes: []string{"state"}, Can: wire.Capabilities{Forms: []device.Form{device.Toast}, Languages: []string{"en"}}}),
		d.Context(tv, s, wire.Context{Values: calm[device.TV]}))
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Accept(ctx, b, "k", Submission{Purpose: policy.Marketing, Texts: []SubmissionText{{Language: "en", Body: "x"}}, NotAfter: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.began:
	case <-time.After(30 * time.Second):
		t.Fatal("the message was never handed over")
	}
	if _, err := d.StopBrand(ctx, "grocer", ""); err != nil {
		t.Fatal(err)
	}
	close(s.stopped)
	d.Gone(tv, s) // waits for the home
	if s.late.Load() {
		t.Error("stop returned while a message was being handed over")
	}
}

package delivery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/device/wire"
	"porchlight/policy"
)

// logged is a log to look at.
type logged struct {
	mu  sync.Mutex
	all []string
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, string(b))
	return len(b), nil
}
func (l *logged) count(s string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, x := range l.all {
		if strings.Contains(x, s) {
			n++
		}
	}
	return
}

// What was missing is not shown once the cap of the day is reached.
func TestAttackMissingPastCap(t *testing.T) {
	inWorld(t, func(w *world) {
		all := w.home(device.TV, device.Fridge)
		tv, fridge := all[device.TV], all[device.Fridge]
		w.must(w.desk.SetCaps(context.Background(), "oak", []policy.Cap{{Max: 1}}))
		w.choose(policy.Given)
		tv.mute = true // it never says what it did
		a := w.push(func(s *Submission) { s.Classes = []device.Class{device.TV} })
		tv.mustShow(a)
		tv.disconnect()
		// it forgets all: a new start of its firmware before the message was on
		tv.on, tv.ledger, tv.owed, tv.shows = nil, map[device.MessageID]wire.EventKind{}, nil, map[device.MessageID]int{}
		w.pass(25 * time.Hour)
		fridge.tell(map[string]any{"door.open": true})
		b := w.push(func(s *Submission) { s.Classes = []device.Class{device.Fridge} })
		fridge.mustShow(b)
		tv.mute = false
		tv.connect()
		w.wait()
		if got := w.why(a, tv); got != "hold[frequency]" {
			t.Errorf("why = %s, want hold[frequency]", got)
		}
		if len(tv.screen()) > 0 {
			t.Errorf("two messages on one day, and the cap is one: fridge %v tv %v", fridge.screen(), tv.screen())
		}
	})
}

// loops counts how often a device's connection ends in five seconds.
func loops(t *testing.T, w *world, h *hand) int {
	n := 0
	for range 5 {
		h.mu.Lock()
		up := h.up
		h.mu.Unlock()
		select {
		case <-up.done:
			n++
			h.connect()
		default:
		}
		w.pass(time.Second)
	}
	return n
}

// The longest language tag that a message may have does not cost a device its connection.
func TestAttackLanguage(t *testing.T) {
	inWorld(t, func(w *world) {
		tv := w.home(device.TV)[device.TV]
		w.choose(policy.Given)
		w.push(func(s *Submission) { s.Texts[0].Language = "en-12345678-12345678-12345678-12345" })
		if n := loops(t, w, tv); n > 0 {
			t.Errorf("connection ended %d of 5 times", n)
		}
	})
}

// Nor does a document of preferences that is longer than a frame.
func TestAttackDocument(t *testing.T) {
	inWorld(t, func(w *world) {
		tv := w.home(device.TV)[device.TV]
		for i := range 8 {
			b := registry.Brand{ID: device.BrandID(fmt.Sprintf("brand-with-a-longish-name-%d", i)), Name: fmt.Sprintf("The Grocery Shop at the Corner of the Old Market Place Ltd %d", i), Purposes: []string{"marketing", "service", "recommendations"}, Quota: 50}
			_, err := w.desk.AddBrand(context.Background(), b)
			w.must(err)
		}
		w.wait()
		var mutes []wire.Mute
		for i := range 16 {
			mutes = append(mutes, wire.Mute{Brand: device.BrandID(fmt.Sprintf("brand-with-a-longish-name-%d", i%8)), Category: fmt.Sprint(strings.Repeat("c", 30), i)})
		}
		w.must(w.desk.Propose(tv.id, tv.up, wire.Proposal{Base: tv.twin.Version, Mutes: &mutes}))
		w.wait()
		if n := loops(t, w, tv); n > 0 {
			t.Errorf("connection ended %d of 5 times", n)
		}
	})
}

func TestAttackClockBackAlarm(t *testing.T) {
	inWorld(t, func(w *world) {
		all := w.home(device.TV, device.Oven)
		w.choose(policy.Given)
		w.pass(time.Second)
		w.jump.Add(-int64(device.Instant((time.Hour).Milliseconds())))
		w.pass(2 * time.Second)
		all[device.TV].tell(map[string]any{"state": "idle"})
		all[device.Oven].tell(map[string]any{"alarm": true})
		w.pass(3 * time.Second)
		id := w.push(nil)
		for range 10 {
			all[device.TV].tell(map[string]any{"state": "idle"})
			w.pass(time.Second)
		}
		all[device.TV].disconnect()
		all[device.TV].connect()
		w.wait()
		t.Log(w.why(id, all[device.TV]))
		if len(all[device.TV].screen()) > 0 {
			t.Errorf("shown while the oven's alarm is on")
		}
	})
}

func TestAttackClockBackCar(t *testing.T) {
	inWorld(t, func(w *world) {
		car := w.home(device.Car)[device.Car]
		w.choose(policy.Given)
		car.tell(map[string]any{"ux.driving": "parked"})
		w.jump.Add(-int64(4000))
		w.pass(100 * time.Millisecond)
		car.tell(map[string]any{"ux.driving": "moving"})
		w.pass(100 * time.Millisecond)
		w.push(func(s *Submission) { s.Classes, s.Forms = []device.Class{device.Car}, []device.Form{device.List} })
		if len(car.screen()) > 0 {
			t.Errorf("handed to a car that said that it is moving")
		}
	})
}

func TestAttackRemovedHome(t *testing.T) {
	inWorld(t, func(w *world) {
		log := &logged{}
		w.desk.log = slog.New(slog.NewTextHandler(log, nil))
		tv := w.home(device.TV)[device.TV]
		w.choose(policy.Given)
		id := w.push(nil)
		tv.mustShow(id)
		w.must(w.desk.RemoveHome(context.Background(), "oak"))
		w.wait()
		delete(w.hands, tv.id)
		w.pass(2 * time.Hour)
		if n := log.count("home cannot be read"); n > 0 {
			t.Errorf("%d logged about a home that was removed", n)
		}
	})
}

func TestAttackStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.db")
	now := device.At(time.Now())
	slow := device.Instant(0) // what passes between the door and the writer
	db, err := store.Open(context.Background(), path, store.Options{Project: Project, Clear: Clear, Now: func() device.Instant { return now + slow }})
	if err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	d, err := NewDesk(db, Options{Now: func() device.Instant { return now }}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	b := registry.Brand{ID: "grocer", Name: "Grocer", Purposes: []string{"marketing"}, Quota: 50}
	if _, err := d.AddBrand(context.Background(), b); err != nil {
		t.Fatal(err)
	}
	slow = 50 // ms: the commit before it took its time
	_, err = d.Accept(context.Background(), b, "k", Submission{Purpose: policy.Marketing, Texts: []SubmissionText{{Language: "en", Body: "x"}}, NotAfter: now.Time().Add(20 * time.Millisecond)})
	if err != nil {
		t.Fatal(err)
	}
	db.Close()
	now -= 1000 // the clock was set back by a second
	slow = 0
	if db, err = store.Open(context.Background(), path, store.Options{Project: Project, Clear: Clear, Now: func() device.Instant { return now }}); err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err = NewDesk(db, Options{Now: func() device.Instant { return now }}, quiet); err != nil {
		t.Errorf("the gateway does not start: %v", err)
	}
}

func TestAttackClockForthAndBack(t *testing.T) {
	inWorld(t, func(w *world) {
		tv := w.home(device.TV)[device.TV]
		id := w.push(nil)
		w.jump.Add(int64(device.Instant((72 * time.Hour).Milliseconds())))
		w.pass(3 * time.Second)
		w.jump.Add(-int64(device.Instant((72 * time.Hour).Milliseconds())))
		w.pass(3 * time.Second)
		a, err := w.desk.Message(context.Background(), "grocer", id)
		t.Log(a.State, err)
		tv.disconnect()
		tv.connect()
		w.choose(policy.Given)
		w.pass(3 * time.Second)
		t.Log("why", w.why(id, tv))
		if len(tv.screen()) == 0 {
			t.Errorf("accepted, and never shown")
		}
	})
}

func TestAttackDND(t *testing.T) {
	inWorld(t, func(w *world) {
		f := w.home(device.Fridge)[device.Fridge]
		w.choose(policy.Given)
		f.tell(map[string]any{"dnd": true})
		id := w.push(nil)
		f.mustShow()
		f.disconnect()
		calm := calm[device.Fridge]
		_ = calm
		w.pass(time.Second)
		f.class = 0 // no context follows the birth
		var dev device.Device
		w.must(w.db.View(context.Background(), func(tx *store.Tx) (err error) { dev, err = registry.Device(tx, f.id); return err }))
		p := &plug{h: f, frames: make(chan Frame, 64), done: make(chan struct{})}
		f.up = p
		w.must(w.desk.Connected(f.id, dev.Home, p))
		w.must(w.desk.Subscribed(f.id, p))
		w.must(w.desk.Birth(f.id, p, wire.Birth{Class: device.Fridge, Attributes: []string{"dnd"}, Can: wire.Capabilities{Inputs: device.Remote, Forms: []device.Form{device.Toast}, MaxButtons: 3, Languages: []string{"en"}}}))
		go p.serve(w.desk)
		w.pass(3 * time.Second)
		t.Log(w.why(id, f), "after 3 s of silence: session.twin", len(p.frames), f.twin.Version)
		w.push(nil)
		w.wait()
		if len(f.screen()) > 0 {
			t.Errorf("shown on a screen that asked not to be disturbed and has not said otherwise")
		}
	})
}

func TestAttackReduced(t *testing.T) {
	inWorld(t, func(w *world) {
		car := w.home(device.TV, device.Car)
		tv := car[device.TV]
		w.choose(policy.Given)
		id := w.push(nil)
		tv.mustShow(id)
		tv.mute = true
		w.must(w.desk.SetCaps(context.Background(), "oak", []policy.Cap{{Selector: policy.Selector{Brand: "grocer"}, Max: 0}}))
		reduced := wire.Reduced
		_ = reduced
		tv.mu.Lock()
		p := tv.up
		tv.mu.Unlock()
		_ = p
		w.wait()
		tv.owed = nil
		tv.mute = false
		tv.ends(id, wire.Event{Kind: wire.Dismissed, Wish: &reduced})
		w.pass(8 * 24 * time.Hour)
		tv.tell(map[string]any{"state": "idle"})
		b := w.push(nil)
		t.Log(w.why(b, tv), tv.screen())
	})
}

func TestAttackAlarmRestart(t *testing.T) {
	inWorld(t, func(w *world) {
		all := w.home(device.Fridge, device.Oven)
		w.choose(policy.Given)
		all[device.Oven].tell(map[string]any{"alarm": true})
		w.push(nil)
		all[device.Fridge].mustShow()
		w.restart()
		all[device.Fridge].connect()
		w.pass(3 * time.Second)
		if len(all[device.Fridge].screen()) > 0 {
			t.Errorf("shown while the oven's alarm is on: it was on when the gateway was restarted, and nobody has said otherwise")
		}
	})
}

// A mute that no device could be told is refused.
func TestAttackOperatorMute(t *testing.T) {
	inWorld(t, func(w *world) {
		w.home(device.TV)
		err := w.desk.SetMutes(context.Background(), "oak", []policy.MuteRule{{Selector: policy.Selector{Category: strings.Repeat("c", 33)}}})
		if !errors.Is(err, registry.ErrInvalid) {
			t.Errorf("err = %v, want ErrInvalid", err)
		}
	})
}

func TestAttackRemoveBrandRace(t *testing.T) {
	db, err := store.Open(context.Background(), filepath.Join(t.TempDir(), "p.db"), store.Options{Project: Project, Clear: Clear})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	d, err := NewDesk(db, Options{}, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	left := 0
	for i := range 100 {
		b := registry.Brand{ID: device.BrandID(fmt.Sprint("grocer-", i)), Name: "Grocer", Purposes: []string{"marketing"}, Quota: 500}
		if _, err := d.AddBrand(context.Background(), b); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for k := range 64 {
			wg.Go(func() {
				d.Accept(context.Background(), b, fmt.Sprint("k", k), Submission{Purpose: policy.Marketing, Texts: []SubmissionText{{Language: "en", Body: "x"}}, NotAfter: time.Now().Add(time.Hour)})
			})
		}
		wg.Go(func() {
			time.Sleep(time.Duration(i) * 30 * time.Microsecond)
			d.RemoveBrand(context.Background(), b.ID)
		})
		wg.Wait()
		d.mu.Lock()
		for _, m := range d.force {
			if m.Brand == b.ID {
				left++
			}
		}
		d.mu.Unlock()
	}
	if left > 0 {
		t.Errorf("%d messages of removed brands are in force", left)
	}
}

func TestAttackWithdrawTwice(t *testing.T) {
	db, err := store.Open(context.Background(), filepath.Join(t.TempDir(), "p.db"), store.Options{Project: Project, Clear: Clear})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	d, err := NewDesk(db, Options{}, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	b := registry.Brand{ID: "grocer", Name: "Grocer", Purposes: []string{"marketing"}, Quota: 500}
	if _, err := d.AddBrand(context.Background(), b); err != nil {
		t.Fatal(err)
	}
	early, lost := 0, 0
	for i := range 300 {
		key := fmt.Sprint("k", i)
		s := Submission{Purpose: policy.Marketing, Texts: []SubmissionText{{Language: "en", Body: "x"}}, NotAfter: time.Now().Add(time.Hour)}
		var wg sync.WaitGroup
		// two requests with one key; whoever is answered withdraws
		var ids [2]device.MessageID
		var st [2]string
		for k := range 2 {
			wg.Go(func() {
				a, err := d.Accept(context.Background(), b, key, s)
				if err != nil {
					t.Error(err)
				}
				ids[k] = a.ID
				a, err = d.Withdraw(context.Background(), "grocer", a.ID)
				if err != nil {
					t.Error(err)
				}
				st[k] = a.State
			})
		}
		wg.Wait()
		if st[0] != "withdrawn" || st[1] != "withdrawn" {
			early++
		}
		if d.message(ids[0]) != nil {
			lost++
		}
	}
	if early+lost > 0 {
		t.Errorf("%d withdrawals answered with accepted, %d messages in force after they were withdrawn", early, lost)
	}
}

// An alarm that the disk did not take is not acknowledged, and is written when it is said again, so that it outlives the gateway; until then it
// holds the home, too.
func TestAlarmWhileTheDiskFails(t *testing.T) {
	inWorld(t, func(w *world) {
		all := w.home(device.TV, device.Oven)
		tv, oven := all[device.TV], all[device.Oven]
		w.choose(policy.Given)
		says := func(on bool) error {
			return w.desk.Context(oven.id, oven.up, wire.Context{Values: map[string]any{"alarm": on}})
		}
		disk := func(e store.Event) error {
			if e.Kind == "device.alarmed" {
				return errors.New("the disk does not")
			}
			return nil
		}
		w.disk.Store(&disk)
		for range 2 {
			if says(true) == nil {
				t.Error("an alarm was acknowledged that is not on disk")
			}
		}
		id := w.push(nil)
		w.choose(policy.Given) // the home is read again
		tv.tell(calm[device.TV])
		if why := w.why(id, tv); why == "show[]" {
			t.Error("an alarm that is not on disk holds nothing")
		}
		w.disk.Store(nil)
		w.must(says(true))
		oven.disconnect()
		w.restart()
		tv.connect()
		tv.tell(calm[device.TV])
		w.pass(time.Minute)
		tv.mustShow()
		oven.connect()
		w.must(says(false))
		w.pass(time.Minute)
		tv.tell(calm[device.TV])
		w.pass(time.Second)
		tv.mustShow(id)
	})
}

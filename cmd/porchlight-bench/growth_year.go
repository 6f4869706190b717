package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/device/wire"
	"porchlight/policy"
)

// growthSize is what a year of a home takes on disk, and whether a message costs more after it. In a day five brands
// send a message each: as many are shown, and looked at or closed, as the caps of a home let through that has set
// none, and the others are held back. Once a week somebody chooses anew. The clock is the bench's own.
func growthSize(ctx context.Context, s setting) (all []figure, err error) {
	homes, days := 10, 365
	if s.small {
		homes, days = 2, 14
	}
	folder, err := os.MkdirTemp(s.folder, "year-")
	if err != nil {
		return nil, err
	}
	y := &year{began: time.Date(2026, 1, 5, 7, 0, 0, 0, time.UTC)}
	now := func() device.Instant { return device.At(y.now()) }
	db, err := store.Open(ctx, filepath.Join(folder, "porchlight.db"), store.Options{Project: delivery.Project, Clear: delivery.Clear, Now: now})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	y.desk, err = delivery.NewDesk(db, delivery.Options{Now: now, Mono: y.now, Learner: delivery.LearnerOff}, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		return nil, err
	}
	y.courier = delivery.NewCourier(y.desk)
	if err := y.moveIn(ctx, homes); err != nil {
		return nil, err
	}
	before, err := pages(ctx, db)
	if err != nil {
		return nil, err
	}
	// What this process spends on the first and the last of about ten parts of the days, whole weeks, and how many messages are shown.
	var first, last time.Duration
	var shownFirst, shownLast int
	part := 7 * max(1, days/70)
	said := time.Now()
	for day := range days {
		began, had := own(), y.shown
		if err := y.day(ctx, day); err != nil {
			return nil, fmt.Errorf("day %d: %w", day, err)
		}
		switch spent := own() - began; {
		case day < part:
			first, shownFirst = first+spent, shownFirst+y.shown-had
		case day >= days-part:
			last, shownLast = last+spent, shownLast+y.shown-had
		}
		if time.Since(said) > 10*time.Second {
			said = time.Now()
			s.say("day %d of %d has passed in %d homes", day+1, days, homes)
		}
	}
	if least := days * homes; y.shown < least || shownLast == 0 { // 10 in 7 days may be shown
		return nil, fmt.Errorf("%d messages were shown in %d days and %d homes, not %d at least", y.shown, days, homes, least)
	}
	after, err := pages(ctx, db)
	if err != nil {
		return nil, err
	}
	shown := float64(y.shown) / float64(homes*days) * 365
	s.say("%d homes, %d days: %d messages shown, %.1f MB", homes, days, y.shown, float64(after-before)/1e6)
	year := float64(after-before) / 1e6 / float64(homes) * 365 / float64(days)
	return []figure{
		alone(fmt.Sprintf("database of a home for a year, %.0f messages shown and %.0f held back", shown, yearBrands*365-shown), "MB", year),
		versus("a message shown after that time, processor time of the hall and what is held back beside it", "µs", float64(last.Microseconds())/float64(shownLast),
			float64(first.Microseconds())/float64(shownFirst), "the same home when it was new"),
	}, nil
}

// pages is how many bytes a database has, with what is in its log and not in the file yet.
func pages(ctx context.Context, db *store.DB) (n int64, err error) {
	err = db.View(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(`SELECT c.page_count * s.page_size FROM pragma_page_count c, pragma_page_size s`).Scan(&n)
	})
	return n, err
}

// year is a gateway's hall without its doors, on a clock that is set.
type year struct {
	began   time.Time
	mu      sync.Mutex
	passed  time.Duration
	desk    *delivery.Desk
	courier *delivery.Courier
	brands  []registry.Brand
	homes   []*yearHome
	shown   int
}

const yearBrands = 5

func (y *year) now() time.Time {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.began.Add(y.passed)
}

// until moves the clock to a time of day, and lets happen what happens by then.
func (y *year) until(t time.Duration) {
	y.mu.Lock()
	y.passed = max(y.passed, t)
	y.mu.Unlock()
	y.courier.Turn()
}

// yearHome is a home whose phone is always there. It is the Link of that phone.
type yearHome struct {
	name string
	dev  device.ID
	mu   sync.Mutex
	seq  uint64
	show []device.MessageID // handed over, not shown yet
	acks int                // handed over, not acknowledged yet
}

// Send takes a frame.
func (h *yearHome) Send(f delivery.Frame) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if f.QoS == 1 {
		h.acks++
	}
	if f.Leaf == wire.DnMsg {
		if p, _, err := wire.DecodeMsg(f.Payload); err == nil && p != nil {
			h.show = append(h.show, p.Message)
		}
	}
	return nil
}

// From is where it comes from.
func (h *yearHome) From() string { return "127.0.0.1" }

// Close ends nothing.
func (h *yearHome) Close(delivery.Reason) {}

func (y *year) moveIn(ctx context.Context, homes int) error {
	for n := range yearBrands {
		b := registry.Brand{ID: device.BrandID(fmt.Sprint("brand-", n)), Name: fmt.Sprint("Brand ", n), Purposes: []string{"marketing"}, Quota: 1000}
		if _, err := y.desk.AddBrand(ctx, b); err != nil {
			return err
		}
		y.brands = append(y.brands, b)
	}
	for n := range homes {
		h := &yearHome{name: fmt.Sprint("home-", n)}
		_, devices, err := y.desk.AddHome(ctx, delivery.HomeSpec{Name: h.name, Zone: "Europe/Zurich", People: []delivery.PersonSpec{{Name: "Anna", Age: device.Adult}, {Name: "Ben", Age: device.Adult}},
			Devices: []delivery.DeviceSpec{{Class: device.Companion, Controller: true}, {Class: device.TV}, {Class: device.Fridge}, {Class: device.Car}, {Class: device.Washer}}})
		if err != nil {
			return err
		}
		for _, b := range y.brands {
			if err := y.desk.Choose(ctx, h.name, "", b.ID, policy.Marketing, policy.Given); err != nil {
				return err
			}
		}
		h.dev = devices[0].ID
		if err := y.desk.Connected(h.dev, devices[0].Home, h); err != nil {
			return err
		}
		if err := y.desk.Subscribed(h.dev, h); err != nil {
			return err
		}
		if err := y.desk.Birth(h.dev, h, wire.Birth{Model: wire.Model{Maker: "Lumen", Name: "P1"}, Class: device.Companion,
			Can: wire.Capabilities{Screen: []uint{1170, 2532, 155}, Inputs: device.Touch, Forms: wire.Forms{device.Toast, device.Panel}, MaxButtons: 4, Languages: []string{"en"}}}); err != nil {
			return err
		}
		y.homes = append(y.homes, h)
	}
	y.settle()
	return nil
}

// settle takes turns until every frame is acknowledged.
func (y *year) settle() {
	for more := true; more; {
		y.courier.Turn()
		more = false
		for _, h := range y.homes {
			h.mu.Lock()
			n := h.acks
			h.acks = 0
			h.mu.Unlock()
			for range n {
				more = true
				y.desk.Acked(h.dev, h)
			}
		}
	}
}

// day lets one pass.
func (y *year) day(ctx context.Context, day int) error {
	morning := time.Duration(day) * 24 * time.Hour
	for i, b := range y.brands {
		at := morning + time.Duration(i*2)*time.Hour // each is over before the next comes
		y.until(at)
		if i == 0 && day%7 == 6 {
			if err := y.chooseAnew(ctx); err != nil {
				return err
			}
		}
		value := 0.5
		if _, err := y.desk.Accept(ctx, b, fmt.Sprint("day-", day), delivery.Submission{
			Purpose: policy.Marketing, Category: fmt.Sprint("category-", i), NotAfter: y.now().Add(90 * time.Minute), Value: &value,
			Texts: []delivery.SubmissionText{{Language: "en", Title: "Fresh milk", Body: "Mountain milk is 1.20 today, and a mild cheese from the valley goes with it."}},
		}); err != nil {
			return err
		}
		y.settle()
		if err := y.each(func(h *yearHome) error { return y.say(h, wire.Presented) }); err != nil {
			return err
		}
		y.until(at + 20*time.Second)
		end := wire.TimedOut
		if (day+i)%3 == 0 {
			end = wire.Cancelled // somebody went on to something else
		}
		if err := y.each(func(h *yearHome) error { return y.say(h, end) }); err != nil {
			return err
		}
		y.settle()
	}
	return nil
}

// chooseAnew has somebody take a yes back, and give it again.
func (y *year) chooseAnew(ctx context.Context) error {
	for _, c := range []policy.Choice{policy.Withdrawn, policy.Given} {
		if err := y.each(func(h *yearHome) error {
			return y.desk.Choose(ctx, h.name, "", y.brands[4].ID, policy.Marketing, c)
		}); err != nil {
			return err
		}
		y.settle()
	}
	return nil
}

// each does something in every home at the same time.
func (y *year) each(f func(h *yearHome) error) error {
	return many(len(y.homes), len(y.homes), func(i int) error { return f(y.homes[i]) })
}

// say tells what became of what was handed to a home's phone.
func (y *year) say(h *yearHome, what wire.EventKind) error {
	h.mu.Lock()
	list := h.show
	if what != wire.Presented {
		h.show = nil
	}
	h.mu.Unlock()
	for _, id := range list {
		h.seq++
		if err := y.desk.Event(h.dev, h, wire.Event{Seq: h.seq, Message: id, Kind: what}); err != nil {
			return err
		}
		if what == wire.Presented {
			y.mu.Lock()
			y.shown++
			y.mu.Unlock()
		}
	}
	return nil
}

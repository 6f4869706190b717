package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/policy"
	"porchlight/policy/consent"
)

// town is the database of a gateway that many homes have, written through the same calls as the gateway's own
// doors: every fact is a sealed event in its home's book, and every table is its projection.
type town struct {
	db    *store.DB
	desk  *delivery.Desk
	clock atomic.Int64 // a device.Instant
	homes int          // that it has
}

const (
	townBrands  = 100
	townForce   = 1000 // messages in force
	townFormer  = 200  // messages that are over, for each one in force
	townDevices = 5    // of each home
)

// openTown opens the database in a gateway's data folder; made if it is not there.
func openTown(ctx context.Context, data string) (t *town, err error) {
	t = &town{}
	t.clock.Store(int64(device.At(time.Now())))
	now := func() device.Instant { return device.Instant(t.clock.Load()) }
	t.db, err = store.Open(ctx, filepath.Join(data, "porchlight.db"), store.Options{Project: delivery.Project, Clear: delivery.Clear, Now: now})
	if err != nil {
		return nil, err
	}
	t.desk, err = delivery.NewDesk(t.db, delivery.Options{Now: now}, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		return nil, err
	}
	homes, err := t.desk.Homes(ctx)
	t.homes = len(homes)
	return t, err
}

// brand is the one with that number.
func (t *town) brand(n int) registry.Brand {
	return registry.Brand{ID: device.BrandID(fmt.Sprint("brand-", n%townBrands)), Name: fmt.Sprint("Brand ", n%townBrands), Purposes: []string{"marketing", "service"}, Quota: 1 << 20}
}

// brands registers all brands.
func (t *town) brands(ctx context.Context) error {
	for n := range townBrands {
		if _, err := t.desk.AddBrand(ctx, t.brand(n)); err != nil {
			return err
		}
	}
	return nil
}

// push has n messages accepted that end after so long, by 64 brands at a time.
func (t *town) push(ctx context.Context, n int, life time.Duration) error {
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	began, end := t.clock.Load(), time.UnixMilli(t.clock.Load()).Add(life)
	for range 64 {
		all.Go(func() {
			for i := int(next.Add(1)); i <= n && failed.Load() == nil; i = int(next.Add(1)) {
				_, err := t.desk.Accept(ctx, t.brand(i), fmt.Sprint(began, "-", i), delivery.Submission{
					Purpose: policy.Marketing, Category: "groceries", NotAfter: end,
					Texts: []delivery.SubmissionText{{Language: "en", Title: "Fresh milk", Body: "Mountain milk is 1.20 today, and a mild cheese from the valley goes with it."}},
				})
				if err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// grow adds homes until there are so many.
func (t *town) grow(homes int, say func(string, ...any)) error {
	const batch = 50 // homes that share a transaction: no home is in two
	said := time.Now()
	for t.homes < homes {
		n := min(batch, homes-t.homes)
		if err := t.db.Update(func(tx *store.Tx) error {
			for i := range n {
				if err := t.move(tx, t.homes+i); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
		t.homes += n
		if time.Since(said) > 10*time.Second {
			said = time.Now()
			say("%d of %d homes are in", t.homes, homes)
		}
	}
	return nil
}

var townClasses = []struct {
	class device.Class
	can   device.Capabilities
}{
	{device.TV, device.Capabilities{Width: 1920, Height: 1080, Diagonal: 1397, Inputs: device.Remote, Sound: 4, Forms: []device.Form{device.Toast, device.Panel}, MaxButtons: 3, Languages: []string{"en"}, Holds: 1}},
	{device.Fridge, device.Capabilities{Width: 800, Height: 480, Diagonal: 180, Inputs: device.Touch, Forms: []device.Form{device.Badge, device.Toast}, MaxButtons: 2, Languages: []string{"en"}}},
	{device.Car, device.Capabilities{Width: 1280, Height: 720, Diagonal: 260, Inputs: device.Touch, Forms: []device.Form{device.List}, MaxButtons: 2, Languages: []string{"en"}, Attention: device.ReportsDriving}},
	{device.Washer, device.Capabilities{Width: 320, Height: 240, Diagonal: 60, Inputs: device.Buttons, Forms: []device.Form{device.Badge}, MaxButtons: 1, Languages: []string{"en"}}},
	{device.Companion, device.Capabilities{Width: 1170, Height: 2532, Diagonal: 155, Inputs: device.Touch, Forms: []device.Form{device.Toast, device.Panel}, MaxButtons: 4, Languages: []string{"en"}}},
}

// townDevice is what a device of a home is called.
func townDevice(home, n int) device.ID { return device.ID(fmt.Sprintf("dev-%06d-%d", home, n)) }

// townToken is what it logs in with.
func townToken(dev device.ID) string { return fmt.Sprintf("%-43s", "token-of-"+dev)[:43] }

// move adds a home as they are: two people, two rooms, five devices that have described themselves, three
// choices, and a question that nobody answered.
func (t *town) move(tx *store.Tx, n int) error {
	h, err := registry.AddHome(tx, fmt.Sprintf("home-%06d", n), "Europe/Zurich")
	if err != nil {
		return err
	}
	var people []registry.Person
	for _, name := range []string{"Anna", "Ben"} {
		p, err := registry.AddPerson(tx, h.ID, registry.Person{Name: name, Age: device.Adult, Languages: []string{"en"}})
		if err != nil {
			return err
		}
		people = append(people, p)
	}
	var rooms []registry.Room
	for _, name := range []string{"living room", "kitchen"} {
		r, err := registry.AddRoom(tx, h.ID, name)
		if err != nil {
			return err
		}
		rooms = append(rooms, r)
	}
	for i, c := range townClasses {
		d := device.Device{ID: townDevice(n, i), Home: h.ID, Class: c.class, Name: c.class.String(), Room: rooms[i%2].ID, Controller: c.class != device.Car}
		if c.class == device.Car {
			d.Owner = people[0].ID
		}
		if err := registry.AddDevice(tx, d, townToken(d.ID)); err != nil {
			return err
		}
		if _, err := registry.Describe(tx, d.ID, device.Model{Maker: "Lumen", Name: "L55"}, c.can); err != nil {
			return err
		}
	}
	for i, subject := range []device.PersonID{device.Household, device.Household, people[0].ID} {
		if _, err := consent.Record(tx, consent.Entry{Home: h.ID, Subject: subject, By: people[0].ID, Brand: t.brand(n + i).ID, Purpose: policy.Marketing,
			Choice: policy.Given, Device: townDevice(n, 0), Method: "settings"}); err != nil {
			return err
		}
	}
	a, err := consent.Request(tx, consent.Question{Home: h.ID, Brand: t.brand(n + 3).ID, Purpose: policy.Marketing}, townDevice(n, 0), time.Minute, consent.Budget{})
	if err != nil {
		return err
	}
	_, err = consent.Answer(tx, h.ID, consent.Reply{Ask: a.ID, Device: a.Device, Why: consent.ByTimeout, Layer: 1})
	return err
}

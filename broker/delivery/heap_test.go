package delivery

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/policy"
	"porchlight/policy/consent"
)

// A thousand homes of three people and five screens, with 167 choices each, take at most 60 MB of heap as the
// Desk holds them. A plain run has
// some of them, PORCHLIGHT_LONG=1 all.
func TestHeapOfHomes(t *testing.T) {
	homes := 25
	if os.Getenv("PORCHLIGHT_LONG") != "" {
		homes = 1000
	}
	const most = 60_000 // bytes a home
	path := filepath.Join(t.TempDir(), "p.db")
	db, err := store.Open(context.Background(), path, store.Options{Project: Project, Clear: Clear})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { db.Close() }()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	desk, err := NewDesk(db, Options{}, log)
	if err != nil {
		t.Fatal(err)
	}
	var brands []device.BrandID
	for i := range 50 {
		b := registry.Brand{ID: device.BrandID(fmt.Sprint("a-brand-", i)), Name: fmt.Sprint("Brand ", i), Purposes: []string{"marketing"}, Quota: 10}
		if _, err := desk.AddBrand(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		brands = append(brands, b.ID)
	}
	var ids []device.HomeID
	for n := range homes {
		h, _, err := desk.AddHome(t.Context(), HomeSpec{Name: fmt.Sprint("home-", n), Zone: []string{"Europe/Zurich", "Europe/Lisbon", "America/New_York"}[n%3],
			People: []PersonSpec{{Name: "Anna", Age: device.Adult}, {Name: "Ben", Age: device.Adult}, {Name: "Clara", Age: device.Teen}}, Rooms: []string{"kitchen"},
			Quiet:   []policy.Quiet{{Start: 1320, End: 420}},
			Devices: []DeviceSpec{{Class: device.TV}, {Class: device.Fridge, Room: "kitchen"}, {Class: device.Car}, {Class: device.Oven, Room: "kitchen"}, {Class: device.Companion, Owner: "Anna"}}})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, h.ID)
		err = db.Update(func(tx *store.Tx) error {
			for i, b := range brands {
				for who := range device.PersonID(4) {
					if who > 0 && (i+int(who)+n)%50 >= 39 {
						continue
					}
					c := policy.Given
					if (i+n)%7 == int(who) {
						c = policy.Refused
					}
					if _, err := consent.Record(tx, consent.Entry{Home: h.ID, Subject: who, Brand: b, Purpose: policy.Marketing, Choice: c, Method: "operator"}); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	heap := func() uint64 {
		var m runtime.MemStats
		for range 3 { // what is let go in one may be freed in the next
			runtime.GC()
		}
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	desk = nil
	empty := heap()
	if desk, err = NewDesk(db, Options{}, log); err != nil {
		t.Fatal(err)
	}
	choices := 0
	for _, id := range ids {
		if err := desk.in(id, func(h *home) error { choices += len(h.view.Consents); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	full := heap()
	each := int(full-empty) / homes
	t.Logf("%d homes with %d choices: %.1f MB of heap, %d bytes a home, so %.1f MB for a thousand homes", homes, choices, float64(full-empty)/1e6, each, float64(each)/1e3)
	if choices != 167*homes {
		t.Errorf("%d choices, want %d", choices, 167*homes)
	}
	if each > most {
		t.Errorf("%d bytes a home, more than %d", each, most)
	}
	runtime.KeepAlive(desk)
}

package delivery

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"unicode/utf8"

	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/device/wire"
	"porchlight/policy"
)

// What the people of a home did, by the buttons of messages or by their own word: what they have got, and what went
// wrong with a brand. It only keeps messages from contradicting them.

const (
	itemGot           = "item.got"
	complaintMade     = "complaint.made"
	complaintResolved = "complaint.resolved"
)

type gotFact struct {
	Item   string         `json:"item"`
	Device device.ID      `json:"device,omitempty"` // on which it was said; "": none of the home's
	At     device.Instant `json:"at,omitempty"`     // when, if it is not said for the first time
}

type complaintFact struct {
	Brand  device.BrandID `json:"brand"`
	Device device.ID      `json:"device,omitempty"` // on which it was said; "": none of the home's
	At     device.Instant `json:"at,omitempty"`     // when, if it is not said for the first time
}

// applyActs projects the facts of this file; mine is false for those of others.
func applyActs(tx *store.Apply, e store.Event) (mine bool, err error) {
	switch e.Kind {
	case itemGot:
		return true, store.With(e, func(f gotFact) error {
			return tx.Exec(`INSERT INTO got (home, item, at, pos) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET at = excluded.at, pos = excluded.pos`,
				e.Home, f.Item, cmp.Or(f.At, e.At), e.Pos)
		})
	case complaintMade:
		return true, store.With(e, func(f complaintFact) error {
			return tx.Exec(`INSERT INTO complaint (home, brand, at, pos) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET pos = excluded.pos`,
				e.Home, f.Brand, cmp.Or(f.At, e.At), e.Pos)
		})
	case complaintResolved:
		return true, store.With(e, func(f complaintFact) error {
			return tx.Exec(`DELETE FROM complaint WHERE home = ? AND brand = ?`, e.Home, f.Brand)
		})
	}
	return false, nil
}

// readActs reads what the people of a home did into v, as far as it still counts.
func readActs(tx *store.Tx, home device.HomeID, v *policy.Home, now device.Instant) (err error) {
	v.Got, err = store.List(tx, func(scan func(...any) error) (g policy.Got, err error) { err = scan(&g.Item, &g.At); return },
		`SELECT item, at FROM got WHERE home = ? AND at > ? ORDER BY at, item`, home, now.Add(-memory))
	if err == nil {
		v.Complaints, err = store.List(tx, func(scan func(...any) error) (c policy.Complaint, err error) { err = scan(&c.Brand, &c.At); return },
			`SELECT brand, at FROM complaint WHERE home = ? ORDER BY brand`, home)
	}
	return err
}

// standing is what still counts of what people did, as it is said again without the device it was said on.
type standing struct {
	kind  string // "": nothing
	fact  any
	brand device.BrandID // whom a complaint is about
}

// standingActs are those of a home, by the position of the event.
func standingActs(tx *store.Tx, home device.HomeID) (map[int64]standing, error) {
	all := map[int64]standing{}
	_, err := store.List(tx, func(scan func(...any) error) (none struct{}, err error) {
		var pos int64
		var f gotFact
		err = scan(&f.Item, &f.At, &pos)
		all[pos] = standing{kind: itemGot, fact: f}
		return
	}, `SELECT item, at, pos FROM got WHERE home = ? AND at > ?`, home, tx.Now.Add(-memory))
	if err == nil {
		_, err = store.List(tx, func(scan func(...any) error) (none struct{}, err error) {
			var pos int64
			var f complaintFact
			err = scan(&f.Brand, &f.At, &pos)
			all[pos] = standing{complaintMade, f, f.Brand}
			return
		}, `SELECT brand, at, pos FROM complaint WHERE home = ?`, home)
	}
	return all, err
}

// Acts are what the people of a home did, as far as it still counts.
type Acts struct {
	Got        []GotState       `json:"got"`
	Complaints []ComplaintState `json:"complaints"`
}

// GotState is something that somebody has got.
type GotState struct {
	Item string         `json:"item"`
	At   device.Instant `json:"at"`
}

// ComplaintState is something that went wrong with a brand and is not put right yet.
type ComplaintState struct {
	Brand device.BrandID `json:"brand"`
	At    device.Instant `json:"at"`
}

func (d *Desk) acts(tx *store.Tx, home device.HomeID) (a Acts, err error) {
	var v policy.Home
	err = readActs(tx, home, &v, d.o.Now())
	a = Acts{[]GotState{}, []ComplaintState{}}
	for _, g := range v.Got {
		a.Got = append(a.Got, GotState(g))
	}
	for _, c := range v.Complaints {
		a.Complaints = append(a.Complaints, ComplaintState(c))
	}
	return a, err
}

// act is what the button does that e says was pressed; nothing if its message has none like that.
func (d *Desk) act(e wire.Event) policy.Act {
	if e.Kind != wire.Responded || e.Response == nil {
		return policy.NoAct
	}
	m := d.message(e.Message)
	if m == nil { // over by now
		err := d.db.View(context.Background(), func(tx *store.Tx) (err error) { m, err = messageOf(tx, e.Message); return err })
		if err != nil {
			d.log.Error("message of an answer cannot be read", "message", e.Message, "err", err)
			return policy.NoAct
		}
	}
	for _, b := range m.Buttons {
		if uint(b.ID) == *e.Response {
			return b.Act
		}
	}
	return policy.NoAct
}

// settleWith writes down the end of a delivery with what follows from the button that was pressed.
func settleWith(tx *store.Tx, home device.HomeID, over settledFact, brand device.BrandID, item string) error {
	if _, err := tx.Add(home, deliverySettled, over); err != nil {
		return err
	}
	var err error
	switch over.Act {
	case policy.Add, policy.Buy, policy.Redeem:
		if item != "" {
			_, err = tx.Add(home, itemGot, gotFact{Item: item, Device: over.Device})
		}
	case policy.Complain:
		_, err = tx.Add(home, complaintMade, complaintFact{Brand: brand, Device: over.Device})
	}
	return err
}

// Got takes in that somebody in a home has got something: for a while it is not advertised there.
// It fails with registry.ErrInvalid if item is not 1 to 64 bytes of printable text.
func (d *Desk) Got(ctx context.Context, homeName, item string) error {
	if !wordOK(item) {
		return fmt.Errorf("item %.80q: %w: use %s", item, registry.ErrInvalid, wordRule)
	}
	return d.named(ctx, homeName, func(h *home, tx *store.Tx) error {
		_, err := tx.Add(h.id, itemGot, gotFact{Item: item})
		return err
	})
}

// Complain takes in that something went wrong with a brand: its advertising pauses in that home until Resolve.
// It fails with registry.ErrUnknown if there is no such home or brand.
func (d *Desk) Complain(ctx context.Context, homeName string, brand device.BrandID) error {
	return d.named(ctx, homeName, func(h *home, tx *store.Tx) error {
		if _, err := registry.BrandByID(tx, brand); err != nil {
			return err
		}
		_, err := tx.Add(h.id, complaintMade, complaintFact{Brand: brand})
		return err
	})
}

// Resolve takes in that what went wrong with a brand is put right. It fails with registry.ErrUnknown if nothing is open.
func (d *Desk) Resolve(ctx context.Context, homeName string, brand device.BrandID) error {
	return d.named(ctx, homeName, func(h *home, tx *store.Tx) error {
		if !slices.ContainsFunc(h.view.Complaints, func(c policy.Complaint) bool { return c.Brand == brand }) {
			return fmt.Errorf("complaint about brand %s: %w", brand, registry.ErrUnknown)
		}
		_, err := tx.Add(h.id, complaintResolved, complaintFact{Brand: brand})
		return err
	})
}

// wordOK reports whether s is a word of a brand's own, such as the key of an item; wordRule says what one is.
func wordOK(s string) bool {
	if s == "" || len(s) > 64 || !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if r == utf8.RuneError || !device.Printable(r) {
			return false
		}
	}
	return true
}

const wordRule = "1 to 64 bytes of printable text"

// order puts what was shown in the order in which the tables have it. Mostly it is: what came last is the latest.
func (h *home) order() {
	shown := h.view.Shown
	before := func(a, b *policy.Exposure) int {
		return cmp.Or(cmp.Compare(a.At, b.At), bytes.Compare(a.Message[:], b.Message[:]), cmp.Compare(a.Device, b.Device))
	}
	for i := 1; i < len(shown); i++ {
		if before(&shown[i-1], &shown[i]) > 0 {
			slices.SortFunc(shown, func(a, b policy.Exposure) int { return before(&a, &b) })
			return
		}
	}
}

package delivery

import (
	"context"
	"fmt"
	"time"

	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/device/wire"
	"porchlight/policy"
	"porchlight/policy/consent"
)

// A no is answered in two words. Stopping: it is on disk, and nothing that it forbids is released
// from then on. Stopped: nothing of it is on any screen; each delivery that was open has been
// confirmed gone, or its lease and the clock allowance are over.

// Withdrawal is one no and how far it has come.
type Withdrawal struct {
	Epoch   int64           `json:"epoch"` // position of the choice in the home's journal
	Subject device.PersonID `json:"subject,omitempty"`
	Brand   device.BrandID  `json:"brand"`
	Purpose policy.Purpose  `json:"purpose"`
	Device  device.ID       `json:"device,omitempty"` // on which it was said; "": none of the home's
	At      device.Instant  `json:"at"`
	Stopped device.Instant  `json:"stopped,omitempty"` // 0: not yet
	Open    []OpenScreen    `json:"open,omitempty"`    // what is still to be cleared
}

// State is the word: stopping or stopped.
func (w Withdrawal) State() string {
	if w.Stopped == 0 {
		return "stopping"
	}
	return "stopped"
}

// OpenScreen is a screen that is still to be cleared.
type OpenScreen struct {
	Device device.ID      `json:"device"`
	Name   string         `json:"name"`
	By     device.Instant `json:"by"` // then at the latest
}

// withdrawal is a Withdrawal in memory, while it is stopping.
type withdrawal struct {
	Withdrawal
	told int // how many open screens its device was last told of, plus one

	begun time.Time // when it was said
	had   bool      // something of it was on a screen, or on its way there
}

const withdrawalStopped = "withdrawal.stopped"

type stoppedFact struct {
	Epochs []int64 `json:"epochs"`
}

// applyConsent projects a choice, and the withdrawal that a no begins.
func applyConsent(tx *store.Apply, e store.Event) (bool, error) {
	mine, err := consent.Apply(tx, e)
	if err != nil || e.Kind != "consent.withdrawn" && e.Kind != "consent.refused" {
		return mine, err
	}
	return mine, store.With(e, func(f consent.Entry) error {
		return tx.Exec(`INSERT INTO withdrawal (home, epoch, subject, brand, purpose, device, at) VALUES (?, ?, ?, ?, ?, ?, ?)`,
			e.Home, e.Pos, f.Subject, f.Brand, f.Purpose, f.Device, e.At)
	})
}

func applyWithdrawal(tx *store.Apply, e store.Event) (bool, error) {
	if e.Kind != withdrawalStopped {
		return false, nil
	}
	return true, store.With(e, func(f stoppedFact) error {
		for _, epoch := range f.Epochs {
			if err := tx.Exec(`UPDATE withdrawal SET stopped = ? WHERE home = ? AND epoch = ?`, e.At, e.Home, epoch); err != nil {
				return err
			}
		}
		return nil
	})
}

// withdrawals lists those of a home that fit a condition, the newest first, at most limit; 0: all.
func withdrawals(tx *store.Tx, home device.HomeID, where string, limit int) ([]*withdrawal, error) {
	if limit == 0 {
		limit = -1
	}
	return store.List(tx, func(scan func(...any) error) (*withdrawal, error) {
		var w withdrawal
		err := scan(&w.Epoch, &w.Subject, &w.Brand, &w.Purpose, &w.Device, &w.At, &w.Stopped)
		return &w, err
	}, `SELECT epoch, subject, brand, purpose, device, at, stopped FROM withdrawal WHERE home = ? AND `+where+` ORDER BY epoch DESC LIMIT ?`, home, limit)
}

// blocks reports whether dl is among what w still waits for: it was claimed before the no, and is
// not wanted any more.
func (w *withdrawal) blocks(dl *delivery) bool {
	return dl.epoch < w.Epoch && dl.brand == w.Brand && dl.purpose == w.Purpose && dl.want != WantShown
}

// open lists the screens that are still to be cleared for w.
func (d *Desk) open(h *home, w *withdrawal) (all []OpenScreen) {
	now, mono := d.o.Now(), d.mono()
	for _, dl := range h.open {
		if w.blocks(dl) {
			o := OpenScreen{Device: dl.device, By: now.Add(dl.kept.Add(d.o.Lease + d.o.Allowance).Sub(mono))}
			if s := h.screens[dl.device]; s != nil {
				o.Name = s.Name
			}
			all = append(all, o)
		}
	}
	return all
}

// stopAll writes down which withdrawals have come to their end, and tells the devices on which they
// were said how far theirs are. The caller holds h.mu and has judged what is open.
func (d *Desk) stopAll(h *home) error {
	var over stoppedFact
	var cleared []time.Time
	left := make([]*withdrawal, 0, len(h.stopping))
	tell := map[device.ID]wire.Word{}
	for i := len(h.stopping) - 1; i >= 0; i-- { // the newest comes last, and is the one that is told
		w := h.stopping[i]
		open := d.open(h, w)
		if len(open) == 0 {
			over.Epochs = append(over.Epochs, w.Epoch)
			if w.had {
				cleared = append(cleared, w.begun)
			}
			if w.Device != "" {
				tell[w.Device] = wire.Word{Epoch: uint64(w.Epoch), State: wire.WordStopped}
			}
			continue
		}
		w.had = true
		left = append(left, w)
		if w.Device == "" || w.told == len(open)+1 {
			continue
		}
		w.told = len(open) + 1
		word := wire.Word{Epoch: uint64(w.Epoch), State: wire.WordStopping}
		for _, o := range open[:min(len(open), maxOpen)] {
			word.Open = append(word.Open, wire.OpenScreen{Name: o.Name, By: uint64(o.By)})
		}
		tell[w.Device] = word
	}
	if len(over.Epochs) > 0 {
		if err := d.update(func(tx *store.Tx) error { _, err := tx.Add(h.id, withdrawalStopped, over); return err }); err != nil {
			return err
		}
		for _, begun := range cleared {
			d.took.cleared.Observe(d.mono().Sub(begun).Seconds())
		}
		for i, j := 0, len(left)-1; i < j; i, j = i+1, j-1 {
			left[i], left[j] = left[j], left[i]
		}
		h.stopping = left
	}
	for _, w := range h.stopping { // one that goes on is not told to be over
		if word, ok := tell[w.Device]; ok && word.State == wire.WordStopped {
			delete(tell, w.Device)
		}
	}
	for id, word := range tell {
		if s := h.screens[id]; s != nil && s.ready() {
			d.send(s, wire.DnWord, word, 0, 0)
		}
	}
	return nil
}

const maxOpen = 16

// Withdrawals lists what somebody in a home said no to, the newest first, at most 100.
func (d *Desk) Withdrawals(ctx context.Context, homeName string) (all []Withdrawal, err error) {
	id, err := d.homeID(ctx, homeName)
	if err != nil {
		return nil, fmt.Errorf("withdrawals: %w", err)
	}
	err = d.in(id, func(h *home) error {
		return d.db.View(ctx, func(tx *store.Tx) error {
			rows, err := withdrawals(tx, id, `1`, 100)
			for _, w := range rows {
				for _, live := range h.stopping {
					if live.Epoch == w.Epoch {
						w.Open = d.open(h, live)
					}
				}
				all = append(all, w.Withdrawal)
			}
			return err
		})
	})
	return all, err
}

// Withdrawal is the newest no of somebody about a brand and purpose; person is a name, "" the home as
// a whole. It fails with registry.ErrUnknown if nobody said one.
func (d *Desk) Withdrawal(ctx context.Context, homeName, person string, b device.BrandID, p policy.Purpose) (Withdrawal, error) {
	var subject device.PersonID
	if person != "" {
		err := d.db.View(ctx, func(tx *store.Tx) error {
			h, err := registry.HomeByName(tx, homeName)
			if err != nil {
				return err
			}
			who, err := personByName(tx, h.ID, person)
			subject = who.ID
			return err
		})
		if err != nil {
			return Withdrawal{}, err
		}
	}
	id, err := d.homeID(ctx, homeName)
	if err != nil {
		return Withdrawal{}, err
	}
	var found *withdrawal
	err = d.in(id, func(h *home) error {
		return d.db.View(ctx, func(tx *store.Tx) error {
			all, err := withdrawals(tx, id, `1`, 0)
			for _, w := range all {
				if w.Subject == subject && w.Brand == b && w.Purpose == p {
					found = w
					break
				}
			}
			if found != nil && found.Stopped == 0 {
				found.Open = d.open(h, found)
			}
			return err
		})
	})
	if err == nil && found == nil {
		err = registry.ErrUnknown
	}
	if err != nil {
		return Withdrawal{}, fmt.Errorf("withdrawal from %s: %w", b, err)
	}
	return found.Withdrawal, nil
}

// stopLeft loads the homes in which something was still stopping, or being asked, when the gateway ended.
func (d *Desk) stopLeft() error {
	return d.db.View(context.Background(), func(tx *store.Tx) error {
		homes, err := store.List(tx, func(scan func(...any) error) (id device.HomeID, err error) { err = scan(&id); return },
			`SELECT home FROM withdrawal WHERE stopped = 0 UNION SELECT home FROM consent_ask INDEXED BY consent_ask_open WHERE state = 'requested'`)
		for _, id := range homes {
			d.queue.put(d.home(id))
		}
		return err
	})
}

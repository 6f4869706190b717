package delivery

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/policy"
	"porchlight/policy/consent"
)

// AddBrand registers a brand and returns its API key: the only time that anybody sees it.
func (d *Desk) AddBrand(ctx context.Context, b registry.Brand) (key string, err error) {
	if err := checkPurposes(b); err != nil {
		return "", fmt.Errorf("add brand: %w", err)
	}
	if b.Quota == 0 {
		b.Quota = 100
	}
	key = registry.NewKey()
	d.changing.Lock()
	defer d.changing.Unlock()
	err = d.update(func(tx *store.Tx) (err error) {
		if err = registry.AddBrand(tx, b, key); err == nil {
			b, err = registry.BrandByID(tx, b.ID)
		}
		if err == nil {
			err = d.ownName(b)
		}
		return err
	})
	if gone := (*registry.RemovedError)(nil); errors.As(err, &gone) {
		err = errors.Join(gone, d.db.View(ctx, func(tx *store.Tx) (err error) { gone.At, err = registry.RemovedAt(tx, b.ID); return err }))
	}
	if err != nil {
		return "", fmt.Errorf("add brand: %w", err)
	}
	d.know(b)
	d.showBrands()
	return key, nil
}

// ownName fails with registry.ErrTaken if another brand is called as b is to be called from now on: people tell brands apart by
// their names, and a yes to the one would be meant for the other. The caller holds d.changing.
func (d *Desk) ownName(b registry.Brand) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if is, known := d.brands[b.ID]; known && is.Name == b.Name && (b.Stopped == 0) == (is.Stopped == 0) {
		return nil // two that have had one name since before can still be told apart by a change of either
	}
	for _, o := range d.brands {
		if o.ID != b.ID && strings.EqualFold(o.Name, b.Name) {
			return fmt.Errorf("brand %s: the name %q %w: brand %s has it, and people tell brands apart by their names: choose another", b.ID, b.Name, registry.ErrTaken, o.ID)
		}
	}
	return nil
}

// know takes in what is written of a brand. The caller holds d.changing.
func (d *Desk) know(b registry.Brand) {
	d.mu.Lock()
	d.brands[b.ID], d.served = b, nil
	d.mu.Unlock()
}

func checkPurposes(b registry.Brand) error {
	for _, p := range b.Purposes {
		if _, err := policy.ParsePurpose(p); err != nil {
			return fmt.Errorf("brand %s: %w: %w", b.ID, registry.ErrInvalid, err)
		}
	}
	return nil
}

// showBrands sends every device the list of brands anew.
func (d *Desk) showBrands() {
	for _, h := range d.inMemory() {
		h.mu.Lock()
		for _, s := range h.screens {
			if s.session != nil {
				s.session.twin = -1
			}
		}
		h.mu.Unlock()
		d.queue.put(h)
	}
}

// ChangeBrand changes what a brand says of itself. What it has in force for purposes that it
// declares no more is withdrawn. edit may be called twice.
func (d *Desk) ChangeBrand(_ context.Context, id device.BrandID, edit func(*registry.Brand)) (b registry.Brand, err error) {
	d.changing.Lock()
	defer d.changing.Unlock()
	_, err = d.retract(id, func(tx *store.Tx) (keep []string, err error) {
		if b, err = registry.ChangeBrand(tx, id, edit); err == nil {
			err = checkPurposes(b)
		}
		if err == nil {
			err = d.ownName(b)
		}
		if err != nil {
			return nil, err
		}
		// A purpose that is dropped and taken up again does not revive a yes: the card that was said yes to is
		// followed by one without it.
		was, err := consent.Notices(tx, id)
		if err == nil && len(was) > 0 {
			var card consent.Notice
			if card, err = consent.Newest(tx, id); err == nil && card.Card {
				_, err = consent.Issue(tx, card)
			}
		}
		return b.Purposes, err
	})
	if err != nil {
		return registry.Brand{}, fmt.Errorf("change brand: %w", err)
	}
	d.know(b)
	d.rename(b)
	err = d.reread()
	d.showBrands()
	return b, err
}

// reread has the choices of every home in memory read again, and done what follows: when it returns, nothing
// is released any more that they forbid.
func (d *Desk) reread() error {
	for _, h := range d.inMemory() {
		h.mu.Lock()
		h.loaded = false
		h.mu.Unlock()
		err := d.in(h.id, func(h *home) error { d.converge(h); return nil })
		if err != nil && !errors.Is(err, registry.ErrUnknown) {
			return err // it stays to be read before anything else is done with that home
		}
	}
	return nil
}

// rename puts the messages of a brand in force under its name as it is now. What is on a screen
// keeps the name that it came with.
func (d *Desk) rename(b registry.Brand) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, m := range slices.Collect(maps.Values(d.force)) {
		if m.Brand != b.ID || m.Sender == b.Name {
			continue
		}
		for _, h := range d.lapse(m.ID) {
			h.stale.Store(true)
		}
		renamed := *m
		renamed.Sender = b.Name
		d.enforce(&renamed)
	}
}

// StopBrand takes nothing from a brand any more and withdraws what it has in force: when it returns,
// nothing more of that is released, and the screens that have it are being told. n is how many
// messages it were. Stopping twice is stopping once.
func (d *Desk) StopBrand(_ context.Context, id device.BrandID, reason string) (n int, err error) {
	d.changing.Lock()
	defer d.changing.Unlock()
	var b registry.Brand
	n, err = d.retract(id, func(tx *store.Tx) (_ []string, err error) {
		if err = registry.StopBrand(tx, id, reason); err == nil {
			b, err = registry.BrandByID(tx, id)
		}
		return nil, err
	})
	if err != nil {
		return 0, fmt.Errorf("stop brand: %w", err)
	}
	d.know(b)
	d.log.Warn("brand stopped", "brand", id, "withdrawn", n)
	return n, nil
}

// StartBrand takes messages from a brand again. What was withdrawn stays so.
func (d *Desk) StartBrand(_ context.Context, id device.BrandID) error {
	d.changing.Lock()
	defer d.changing.Unlock()
	var b registry.Brand
	err := d.update(func(tx *store.Tx) (err error) {
		if err = registry.StartBrand(tx, id); err == nil {
			b, err = registry.BrandByID(tx, id)
		}
		if err == nil {
			err = d.ownName(b) // one that came with a home from another gateway is stopped, whatever its name
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("start brand: %w", err)
	}
	d.know(b)
	return nil
}

// RemoveBrand removes a brand: its keys are void, and what it has in force is withdrawn.
func (d *Desk) RemoveBrand(_ context.Context, id device.BrandID) error {
	d.changing.Lock()
	defer d.changing.Unlock()
	_, err := d.retract(id, func(tx *store.Tx) ([]string, error) { return nil, registry.RemoveBrand(tx, id) })
	if err != nil {
		return fmt.Errorf("remove brand: %w", err)
	}
	d.mu.Lock()
	delete(d.brands, id)
	d.served = nil
	d.mu.Unlock()
	d.showBrands()
	return nil
}

// retract writes what f writes and withdraws, in the same transaction, what brand id has in force
// but for the purposes that f says to keep. n is how many messages it were. When retract returns,
// nothing more of them is released, and the screens that have them are being told.
func (d *Desk) retract(id device.BrandID, f func(tx *store.Tx) (keep []string, err error)) (n int, err error) {
	var keep []string
	var gone []device.MessageID
	err = d.update(func(tx *store.Tx) error {
		gone = nil
		if keep, err = f(tx); err != nil {
			return err
		}
		rows, err := store.List(tx, scanEvent, `SELECT m.seq, m.at, j.body FROM message m INDEXED BY message_force JOIN journal j ON j.home = 0 AND j.pos = m.seq
			WHERE m.brand = ? AND m.withdrawn = 0 AND m.not_after > `+notLater+` ORDER BY m.seq`, id, tx.Now)
		if err != nil {
			return err
		}
		for _, e := range rows {
			err := store.With(e, func(f acceptedFact) error {
				if s, err := f.submission(); err == nil && slices.Contains(keep, s.Purpose.String()) {
					return nil
				}
				gone = append(gone, f.ID)
				_, err := tx.Add(device.Gateway, messageWithdrawn, withdrawnFact{f.ID})
				return err
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	d.count.withdrawn.Add(int64(len(gone)))
	wake := map[*home]bool{}
	d.mu.Lock()
	for _, mid := range gone {
		d.takeBack(mid).over() // those that were accepted a moment ago may not be in memory yet
	}
	for mid, m := range d.force {
		if m.Brand == id && !slices.Contains(keep, m.Purpose.String()) {
			for _, h := range d.lapse(mid) {
				wake[h] = true
			}
		}
	}
	d.mu.Unlock()
	for h := range wake {
		// A claim that was under way when the messages left memory has been handed over by now, or
		// finds them gone: taking the lock waits for it.
		h.stale.Store(true)
		h.mu.Lock()
		d.converge(h)
		h.mu.Unlock()
	}
	return len(gone), nil
}

// Brands lists the brands.
func (d *Desk) Brands(ctx context.Context) (all []registry.Brand, err error) {
	err = d.db.View(ctx, func(tx *store.Tx) error { all, err = registry.Brands(tx); return err })
	return all, err
}

// BrandState is a brand and how it stands.
type BrandState struct {
	registry.Brand
	InForce  int                `json:"in_force"` // messages
	APIKeys  []registry.APIKey  `json:"api_keys"`
	SignKeys []registry.SignKey `json:"sign_keys"` // those it had, too
}

// Brand tells how a brand stands.
func (d *Desk) Brand(ctx context.Context, id device.BrandID) (b BrandState, err error) {
	err = d.db.View(ctx, func(tx *store.Tx) error {
		if b.Brand, err = registry.BrandByID(tx, id); err != nil {
			return err
		}
		if b.APIKeys, err = registry.APIKeys(tx, id); err != nil {
			return err
		}
		b.SignKeys, err = registry.SignKeys(tx, id)
		return err
	})
	d.mu.Lock()
	b.InForce = d.inForce[id]
	d.mu.Unlock()
	return b, err
}

// RenewAPIKey gives a brand another API key and returns it. The one before stands for
// [registry.Grace], or, atOnce, is void with all others.
func (d *Desk) RenewAPIKey(_ context.Context, id device.BrandID, atOnce bool) (string, error) {
	key := registry.NewKey()
	if err := d.update(func(tx *store.Tx) error { return registry.RenewAPIKey(tx, id, key, atOnce) }); err != nil {
		return "", fmt.Errorf("renew API key: %w", err)
	}
	return key, nil
}

// AddSignKey lets a brand sign with one more key. When it returns, what the brand sends must be
// signed.
func (d *Desk) AddSignKey(_ context.Context, k registry.SignKey) error {
	if _, err := JWK(k); err != nil {
		return fmt.Errorf("add signing key: %w", err)
	}
	if err := d.update(func(tx *store.Tx) error { return registry.AddSignKey(tx, k) }); err != nil {
		return fmt.Errorf("add signing key: %w", err)
	}
	return nil
}

// RevokeSignKey ends a key of a brand: when it returns, nothing that is signed with it is accepted
// any more. What was accepted before stays.
func (d *Desk) RevokeSignKey(_ context.Context, id device.BrandID, kid string) error {
	if err := d.update(func(tx *store.Tx) error { return registry.RevokeSignKey(tx, id, kid) }); err != nil {
		return fmt.Errorf("revoke signing key: %w", err)
	}
	return nil
}

package delivery

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/policy"
)

// Turn does, on its caller's goroutine, everything that is due by the Desk's clocks, and returns when
// something will be due again if nothing comes in meanwhile, and how many homes had something to do. It is for
// a rehearsal, whose clocks somebody else moves: a Courier that Runs takes the same turns by itself.
func (c *Courier) Turn() (next time.Time, homes int) {
	d := c.desk
	d.clockwork(d.o.Now())
	for {
		wait := d.queue.fire(d.mono())
		h := d.queue.next()
		if h == nil {
			next = d.mono().Add(wait)
			break
		}
		d.turn(h)
		homes++
	}
	now, mono := d.o.Now(), d.mono()
	d.mu.Lock()
	expiry := d.expiry
	d.mu.Unlock()
	for _, at := range []device.Instant{expiry, device.Instant(d.due.Load()), device.Instant(d.ends.Load())} {
		if t := mono.Add(time.Duration(max(at-now, 1)) * time.Millisecond); t.Before(next) {
			next = t
		}
	}
	return next, homes
}

// next is the first home that has something to do, nil if none has.
func (q *queue) next() (h *home) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ready.len() == 0 {
		return nil
	}
	h = q.ready.pop()
	h.queued = false
	return h
}

// Judged is how many decisions the Desk has taken.
func (d *Desk) Judged() int64 { return d.count.judged.Load() }

// Standing is how the rules stand to one message on one screen at this moment.
type Standing struct {
	Message  device.MessageID
	Device   device.ID
	Decision policy.Decision
	There    bool // it is on the screen, or on the way there
}

// Standings hands every message in force, in the order of acceptance, with every screen of a home to
// visit. explain, which is good until visit returns, says the same in words. It takes no part in what is
// decided, and is not counted in Judged.
func (d *Desk) Standings(id device.HomeID, visit func(s Standing, explain func() WhyScreen)) error {
	d.mu.Lock()
	force := slices.SortedFunc(maps.Values(d.force), func(a, b *policy.Message) int { return cmp.Compare(a.Seq, b.Seq) })
	d.mu.Unlock()
	return d.in(id, func(h *home) error {
		now := d.o.Now()
		for _, m := range force {
			if m.NotAfter <= now {
				continue
			}
			for _, sv := range h.view.Screens {
				s := h.screens[sv.ID]
				own := h.find(m.ID, s.ID)
				dec := policy.Decide(policy.Request{Home: &h.view, Screen: &s.view, Message: m, Now: now, Own: own != nil})
				there := own != nil && own.have != HaveMissing && own.have != HaveGone
				visit(Standing{m.ID, s.ID, dec, there}, func() WhyScreen { return d.explain(h, s, m, "accepted", "", device.Household) })
			}
		}
		return nil
	})
}

// Blank makes a home, in a copy of a gateway's database that nobody else uses, one that no message was ever
// sent to: what is in force is withdrawn, and what was shown or held back is erased. wait moves the Desk's
// clocks ahead. People, devices, choices, preferences and brands stay.
func (d *Desk) Blank(ctx context.Context, homeName string, wait func(time.Duration)) (registry.Home, error) {
	brands, err := d.Brands(ctx)
	if err != nil {
		return registry.Home{}, err
	}
	for _, b := range brands {
		if _, err := d.retract(b.ID, func(*store.Tx) (keep []string, err error) { return nil, nil }); err != nil {
			return registry.Home{}, err
		}
	}
	var reg registry.Home
	err = d.db.View(ctx, func(tx *store.Tx) (err error) { reg, err = registry.HomeByName(tx, homeName); return err })
	if err != nil {
		return registry.Home{}, err
	}
	turn := func() error { return d.in(reg.ID, func(h *home) error { d.converge(h); return nil }) }
	if err := turn(); err != nil {
		return registry.Home{}, err
	}
	wait(d.o.Lease + d.o.Allowance + time.Second) // what is on a screen there is over
	if err := turn(); err != nil {
		return registry.Home{}, err
	}
	if _, err := d.Erase(ctx, Erasure{Home: homeName, Data: DeliveryData}); err != nil {
		return registry.Home{}, fmt.Errorf("forget what was shown: %w", err)
	}
	return reg, nil
}

// JudgeAnew has every home in memory judged as a whole at the next turn, as if nothing were known of what could
// have changed: what a rehearsal that steps from second to second is compared with.
func (d *Desk) JudgeAnew() {
	d.jumps.Add(1)
	d.wakeAll()
}

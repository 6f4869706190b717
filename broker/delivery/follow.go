package delivery

import (
	"time"

	"porchlight/device"
	"porchlight/device/store"
	"porchlight/policy"
)

// A message that is on its way to a screen and does not appear there is to be seen elsewhere. It is recalled first; only
// when the device has said that it is gone, and was never shown, another may have it. What the device cannot say
// counts as shown, and then no other screen gets it.

// followAt is when dl should have appeared, and whether that has passed without it. Where it cannot follow
// anybody anywhere, that is never.
func (d *Desk) followAt(dl *delivery, mono time.Time) (at time.Time, due bool) {
	onItsWay := dl.want == WantShown && (dl.have == HaveNone || dl.have == HaveSent || dl.have == HaveQueued)
	if d.o.Follow < 0 || dl.leaving || !onItsWay {
		return mono.Add(time.Hour), false
	}
	at = dl.since.Add(d.o.Follow)
	return at, !mono.Before(at)
}

// follow finds what has not appeared in time and would be shown on another screen that is free, and writes down that
// it leaves. The caller holds h.mu, and has judged what is open.
func (d *Desk) follow(h *home, is moment) error {
	now, mono := is.wall, is.mono
	var busy map[device.ID]bool
	var late []*delivery
	for _, dl := range h.open {
		m, s := d.message(dl.id), h.screens[dl.device]
		dl.look = 0
		if _, due := d.followAt(dl, mono); !due || m == nil || s == nil || s.session == nil {
			continue
		}
		if busy == nil {
			busy = map[device.ID]bool{}
			for _, o := range h.open {
				busy[o.device] = true
				if o.leaving {
					busy[o.to] = true
				}
			}
			if h.asks.open != nil {
				busy[h.asks.open.device] = true
			}
		}
		view := h.without(dl.id)
		for _, p := range h.pairs {
			if p.m != m || busy[p.s.ID] || !p.s.ready() || mono.Before(h.rests.until(p)) {
				continue
			}
			there := &delivery{decision: d.decide(policy.Request{Home: &view, Screen: &p.s.view, Message: m, Now: now})}
			switch there.decision.Verdict {
			case policy.Hold:
				if until := there.decision.Until; until != 0 && (dl.look == 0 || until < dl.look) {
					dl.look = until
				}
			case policy.Show:
				if d.fits(h, p.s, m, there, now) == nil {
					busy[p.s.ID], dl.to = true, p.s.ID
					late = append(late, dl)
				}
			}
			if busy[p.s.ID] {
				break
			}
		}
	}
	if len(late) == 0 {
		return nil
	}
	err := d.update(func(tx *store.Tx) error {
		for _, dl := range late {
			if _, err := tx.Add(h.id, deliveryLeaving, leavingFact{dl.id, dl.device}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, dl := range late {
		dl.leaving, dl.want = true, WantGone
	}
	return nil
}

package delivery

import (
	"porchlight/device"
	"porchlight/policy"
)

// wake judges the pairs that something has changed for. The caller holds h.mu.
func (d *Desk) wake(h *home, now device.Instant) {
	there := map[*screen]*policy.Presence{}
	for _, p := range h.pairs {
		due := p.decision.Until != 0 && now >= p.decision.Until
		if !(h.all || p.dirty || due || p.decision.Verdict == policy.Show) {
			continue
		}
		if there[p.s] == nil { // who is there is the same for all of them
			found := policy.Present(&h.view, &p.s.view, now)
			there[p.s] = &found
		}
		d.judgePair(h, p, there[p.s], now)
	}
}

// judgePair decides about one pair; there is who is in front of its screen, nil: it is worked out.
func (d *Desk) judgePair(h *home, p *pair, there *policy.Presence, now device.Instant) {
	p.decision = d.decide(policy.Request{Home: &h.view, Screen: &p.s.view, Message: p.m, Now: now, There: there})
	p.dirty = false
}

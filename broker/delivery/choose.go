package delivery

import "porchlight/device"

// choose picks the candidate that comes next: all of them may be shown. busy are the screens that have
// something on them. Nil: none of them is to be shown now. The caller holds h.mu.
func (d *Desk) choose(h *home, candidates []*pair, busy map[device.ID]bool, now device.Instant) *pair {
	for _, p := range candidates {
		if !busy[p.s.ID] {
			return p
		}
	}
	return nil
}

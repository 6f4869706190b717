package delivery

import (
	"time"

	"porchlight/device"
)

// rests are the messages that are not shown again yet: on one screen, or, where no device is named, on any of
// the home. They are kept while a screen is away, and go with their message.
type rests map[pairKey]rest

type rest struct {
	times int // in a row
	until time.Time
}

// until is when p may be shown again, as far as rests go.
func (r rests) until(p *pair) time.Time {
	return later(r[pairKey{p.m.ID, p.s.ID}].until, r[pairKey{m: p.m.ID}].until)
}

// rest keeps a message back for a time, which doubles each time in a row, to five minutes if it was less. A screen that
// has not shown it ten times is not asked again.
func (h *home) rest(k pairKey, first time.Duration) {
	r := h.rests[k]
	pause := min(first<<min(r.times, 9), max(first, 5*time.Minute))
	if k.s != "" && r.times >= 9 {
		pause = memory
	}
	if h.rests == nil {
		h.rests = rests{}
	}
	h.rests[k] = rest{r.times + 1, h.mono().Add(pause)}
}

// tookOff lets rest what we took off a screen before it was shown. What has left does not come back to that screen for
// as long as it may take to appear. Any other is not shown anywhere, so that devices whose moments
// come and go faster than they show a message cause little to be written down.
func (d *Desk) tookOff(h *home, dl *delivery) {
	if dl.leaving {
		h.rest(pairKey{dl.id, dl.device}, d.o.Follow)
	} else {
		h.rest(pairKey{m: dl.id}, time.Second)
	}
}

// appeared ends the rests of what a screen has shown.
func (r rests) appeared(m device.MessageID, on device.ID) {
	delete(r, pairKey{m: m})
	delete(r, pairKey{m, on})
}

package device

import "time"

// How much of a device's past is kept.
const (
	HistoryAge    = 24 * time.Hour
	HistoryLength = 256 // changes
)

// Change is what an attribute came to be, and when. An unknown Value: nothing is known of it from then on.
type Change struct {
	At        Instant
	Attribute Attribute
	Value     Value
}

// History is what has changed on a device in the last [HistoryAge], at most [HistoryLength] changes.
// Where there are more, the oldest of the attribute that changes most is forgotten first, so that a
// countdown does not push out when the door was opened. The zero History is empty. It is never in
// the journal, and no brand learns any of it.
type History struct {
	changes []Change            // the oldest first
	many    *[attributes]uint16 // how many of each there are; nil while there is room for more
}

// Add records c, and forgets at now what is too old. What an attribute is already, by the latest that
// is known of it then, is no change; the same change added again, or added late, changes nothing but
// the past.
func (h *History) Add(c Change, now Instant) {
	h.Forget(now)
	if c.Attribute == NoAttribute || c.Attribute >= attributes || c.At > now || c.At <= now.Add(-HistoryAge) {
		return
	}
	i := len(h.changes)
	for i > 0 && h.changes[i-1].At > c.At {
		i--
	}
	for j := i - 1; j >= 0; j-- {
		if was := &h.changes[j]; was.Attribute == c.Attribute {
			if was.Value == c.Value {
				return
			}
			break
		}
	}
	if len(h.changes) >= HistoryLength {
		out := h.commonest()
		h.many[h.changes[out].Attribute]--
		copy(h.changes[1:], h.changes[:out]) // mostly few are older than it
		h.changes[0] = Change{}
		h.changes = h.changes[1:]
		if out < i {
			i--
		}
	}
	if h.many != nil {
		h.many[c.Attribute]++
	}
	if n := len(h.changes); n == cap(h.changes) && n >= HistoryLength/2 {
		h.changes = append(make([]Change, 0, HistoryLength+HistoryLength/8), h.changes...)
	}
	h.changes = append(h.changes, Change{})
	copy(h.changes[i+1:], h.changes[i:])
	h.changes[i] = c
}

// commonest is the place of the oldest change of the attribute that has most.
func (h *History) commonest() int {
	if h.many == nil {
		h.many = new([attributes]uint16)
		for i := range h.changes {
			h.many[h.changes[i].Attribute]++
		}
	}
	most := NoAttribute
	for a, n := range h.many {
		if n > h.many[most] {
			most = Attribute(a)
		}
	}
	for i := range h.changes {
		if h.changes[i].Attribute == most {
			return i
		}
	}
	return 0
}

// Forget drops what is too old at now, and dates what is later than now back to now: a clock was set back.
func (h *History) Forget(now Instant) {
	old, from := 0, now.Add(-HistoryAge)
	for old < len(h.changes) && h.changes[old].At <= from {
		old++
	}
	if old > 0 {
		h.changes, h.many = append(h.changes[:0:0], h.changes[old:]...), nil // what is gone leaves memory, too
	}
	for i := len(h.changes) - 1; i >= 0 && h.changes[i].At > now; i-- {
		h.changes[i].At = now
	}
}

// Erase drops the changes from an instant on and before another; 0 is without that bound.
func (h *History) Erase(after, before Instant) {
	var kept []Change
	for _, c := range h.changes {
		if c.At < after || before != 0 && c.At >= before {
			kept = append(kept, c)
		}
	}
	h.changes, h.many = kept, nil
}

// All lists the changes of the last [HistoryAge] at now, the oldest first.
func (h *History) All(now Instant) []Change {
	h.Forget(now)
	return append([]Change(nil), h.changes...)
}

package policy

import (
	"cmp"
	"slices"
	"time"

	"porchlight/device"
)

// Reaction is what somebody did with a message.
type Reaction uint8

// The reactions.
const (
	NoReaction Reaction = iota
	Dismissed           // closed
	Ignored             // let go by
	Acted               // did what it offered
	LessOfThis          // said so: unlike the others it does not fade
	Seen                // it was on the screen, and no more is known: nothing follows from it
)

// Habit is one reaction, as it is remembered.
type Habit struct {
	Person   device.PersonID // Household: nobody in particular
	Brand    device.BrandID
	Category string
	Kind     Reaction
	At       device.Instant
}

const (
	leastLever = 0.10
	mostLever  = 1.50

	dayLong = 24 * time.Hour
)

// weight is how much k moves the lever at first, and after how long half of that is left; 0: it
// stays.
func (k Reaction) weight() (w float64, half time.Duration) {
	switch k {
	case Dismissed:
		return -0.35, 14 * dayLong
	case Ignored:
		return -0.10, 7 * dayLong
	case Acted:
		return 0.25, 30 * dayLong
	case LessOfThis:
		return -1, 0
	default:
		return 0, 0
	}
}

// Lever is how welcome messages are to whose habits these are, from 0.10 to 1.50; 1 is what nobody
// knows better. It orders messages that may be shown: no decision reads it.
func Lever(habits []Habit, now device.Instant) float64 {
	sum := 1.0
	for _, h := range habits {
		sum += h.moves(now)
	}
	return min(max(sum, leastLever), mostLever)
}

// moves is how much h moves the lever at an instant.
func (h *Habit) moves(now device.Instant) float64 {
	w, half := h.Kind.weight()
	if half > 0 {
		w *= faded(now, h.At, half)
	}
	return w
}

// pause is how long a brand is paused that was dismissed twice within as long.
const pause = 14 * dayLong

// Pauses are the mutes that follow from habits: whoever closes two messages of a brand within 14
// days has its messages paused for 14 days. What was learnt of a brand before it was forgotten
// does not count. They come in the order of people and brands.
func Pauses(habits []Habit, now device.Instant, forgotten map[device.BrandID]device.Instant) []MuteRule {
	var closed []Habit
	for _, h := range habits {
		if h.Kind == Dismissed && h.At <= now && h.At > forgotten[h.Brand] {
			closed = append(closed, h)
		}
	}
	slices.SortFunc(closed, func(a, b Habit) int {
		return cmp.Or(cmp.Compare(a.Person, b.Person), cmp.Compare(a.Brand, b.Brand), cmp.Compare(a.At, b.At))
	})
	var rules []MuteRule
	for i, h := range closed {
		if i == 0 || closed[i-1].Person != h.Person || closed[i-1].Brand != h.Brand || h.At >= closed[i-1].At.Add(pause) {
			continue
		}
		r := MuteRule{Selector: Selector{Brand: h.Brand}, Until: h.At.Add(pause), Owner: h.Person, Implied: true}
		if n := len(rules); n > 0 && rules[n-1].Owner == r.Owner && rules[n-1].Brand == r.Brand {
			rules[n-1] = r
		} else {
			rules = append(rules, r)
		}
	}
	return slices.DeleteFunc(rules, func(r MuteRule) bool { return r.Until <= now })
}

package policy

import (
	"slices"
	"time"

	"porchlight/device"
)

// frequency holds what would be one message too many, until there is room again. A cap of none
// refuses, and so does one that makes no sense.
func frequency(q *Request) finding { return q.caps(Frequency) }

// spacing holds what comes too soon after another message.
func spacing(q *Request) finding { return q.caps(Spacing) }

const (
	longestCap  = 168  // hours
	longestRest = 1440 // minutes

	unknownTrip = 24 * time.Hour // what counts where nobody knows when the trip began
)

// rule is where c belongs: one message in some minutes keeps messages apart.
func (c *Cap) rule() Rule {
	if c.Max == 1 && c.Minutes > 0 {
		return Spacing
	}
	return Frequency
}

// valid reports whether c makes sense and lets anything through.
func (c *Cap) valid() bool {
	windows := 0
	for _, has := range [...]bool{c.Hours != 0, c.Minutes != 0, c.Week, c.Trip} {
		if has {
			windows++
		}
	}
	return windows <= 1 && c.Max > 0 && 0 <= c.Hours && c.Hours <= longestCap && 0 <= c.Minutes && c.Minutes <= longestRest
}

// applies reports whether c has a say about q's message.
func (c *Cap) applies(q *Request) bool {
	return c.Picks(q.Message, q.Screen) && !(c.Trip && q.Screen.Class != device.Car) &&
		!(c.EachCategory && q.Message.Category == "") && q.near(c.Owner)
}

// tally is one cap as it counts.
type tally struct {
	cap   *Cap
	have  int
	after device.Instant // what came then or before it does not count
	local int64          // of a day or a week: the second on the wall with which it begins
	nth   device.Instant // when that was shown which filled it up
}

// dated reports whether c counts by dates.
func (c *Cap) dated() bool { return c.Hours == 0 && c.Minutes == 0 && !c.Trip }

// caps asks the caps that belong to one rule.
func (q *Request) caps(rule Rule) finding {
	f := pass
	var home wall
	var room [12]tally
	all := room[:0]
	for i := range q.Home.Caps {
		c := &q.Home.Caps[i]
		if c.rule() != rule || !c.applies(q) {
			continue
		}
		if len(all) == len(room) || len(all) > 0 && q.notes != nil { // causes come in the order of the caps
			f = f.and(q.count(all, &home))
			all = room[:0]
		}
		switch {
		case !c.valid():
			f = f.and(c.none(q))
			continue
		case c.dated() && q.Home.Zone == nil:
			f = f.and(c.not(q, holdTo(q.there.soon), ZoneUnknown, 0))
			continue
		case c.dated() && home.zone == nil:
			home = q.Home.wall(q.Home.Zone, floor(int64(q.Now), 1000))
		}
		all = append(all, c.begin(q, &home))
	}
	if len(all) == 0 {
		return f
	}
	return f.and(q.count(all, &home))
}

// begin is c before it has counted anything; w is the home's clock, for a cap that counts by dates.
func (c *Cap) begin(q *Request, w *wall) tally {
	t := tally{cap: c}
	switch {
	case c.Hours > 0:
		t.after = q.Now.Add(-time.Duration(c.Hours) * time.Hour)
	case c.Minutes > 0:
		t.after = q.Now.Add(-time.Duration(c.Minutes) * time.Minute)
	case c.Trip && q.onTrip():
		t.after = q.Screen.Trip - 1
	case c.Trip:
		t.after = q.Now.Add(-unknownTrip)
	default:
		now := floor(int64(q.Now), 1000)
		// No local day is longer than two days, and no week longer than eight: what is older is not worth
		// a look at the wall.
		first, longest := w.day(now), int64(3*day)
		if c.Week {
			first, longest = monday(first), 9*day
		}
		t.local = first * day
		if start := now - longest; w.from <= start {
			t.after = device.Instant((t.local-w.offset)*1000 - 1)
		} else {
			t.after = device.Instant((start+1)*1000 - 1)
		}
	}
	return t
}

// onTrip reports whether it is known when q's car set out.
func (q *Request) onTrip() bool { return 0 < q.Screen.Trip && q.Screen.Trip <= q.Now }

// count asks caps that count: all in one walk from the newest exposure back, as far as the longest of
// their windows goes.
func (q *Request) count(all []tally, w *wall) finding {
	shown := before(q)
	for i := len(shown) - 1; i >= 0; i-- {
		e, more := &shown[i], false
		for j := range all {
			t := &all[j]
			if e.At <= t.after || t.have >= t.cap.Max && q.notes == nil {
				continue
			}
			more = true
			// By dates today's count, and those of a later date, which there are if a clock was set back.
			if t.cap.counts(e, q) && (!t.cap.dated() || w.local(floor(int64(e.At), 1000)) >= t.local) {
				if t.have++; t.have == t.cap.Max {
					t.nth = e.At
				}
			}
		}
		if !more {
			break // all that is older is older than every window
		}
	}
	f := pass
	for j := range all {
		f = f.and(all[j].finding(q, w))
	}
	return f
}

// finding is what t comes to. A cap in hours is full as long as the Max-th newest that it counts is that
// young. The answer of one that counts by dates is asked for again when the zone changes its offset,
// because then a date may come twice.
func (t *tally) finding(q *Request, w *wall) finding {
	c := t.cap
	if t.have < c.Max {
		if c.dated() && w.to < int64(endOfTime)/1000 {
			return showTo(device.Instant(w.to * 1000))
		}
		return pass
	}
	var until device.Instant
	nth, now := min(t.nth, endOfTime), floor(int64(q.Now), 1000)
	switch {
	case c.Hours > 0:
		until = nth.Add(time.Duration(c.Hours) * time.Hour)
	case c.Minutes > 0:
		until = nth.Add(time.Duration(c.Minutes) * time.Minute)
	case c.Trip && q.onTrip(): // until the next one
	case c.Trip:
		until = sooner(nth.Add(unknownTrip), max(q.Screen.Trip, 0))
	case c.Week:
		until = device.Instant(w.nextDate(monday(w.day(now))+7, now) * 1000)
	default:
		until = device.Instant(w.midnight(now) * 1000)
	}
	code := CapFull
	if c.rule() == Spacing {
		code = TooClose
	}
	f := holdTo(sooner(until, q.there.soon))
	if q.notes == nil {
		return f
	}
	cause := c.cause(q, code, t.have)
	cause.Until = until
	return q.not(f, cause)
}

// counts reports whether c counts e where q's message is to be shown. What is not known of e does
// not speak against counting it.
func (c *Cap) counts(e *Exposure, q *Request) bool {
	if (c.Each || c.Brand != "") && e.Brand != q.Message.Brand ||
		(c.EachCategory || c.Category != "") && e.Category != q.Message.Category ||
		c.Purpose != NoPurpose && c.Purpose != e.Purpose ||
		c.Device != "" && c.Device != e.Device ||
		c.Trip && q.Screen.ID != e.Device ||
		c.Owner != device.Household && !e.Unknown && !slices.Contains(e.Who, c.Owner) {
		return false
	}
	if c.Class == 0 && c.Room == 0 {
		return true
	}
	s := q.Home.screen(e.Device)
	return s == nil || (c.Class == 0 || c.Class == s.Class) && (c.Room == 0 || c.Room == s.Room)
}

// none is what a cap of none comes to, or one that makes no sense.
func (c *Cap) none(q *Request) finding {
	if c.Owner != device.Household && c.Owner != q.Screen.Owner && q.there.heard {
		return c.not(q, holdTo(q.there.soon), CapNone, 0) // they may leave
	}
	return c.not(q, refuse, CapNone, 0)
}

// not is f, with why written down if somebody wants to know.
func (c *Cap) not(q *Request, f finding, code Code, have int) finding {
	if q.notes == nil {
		return f
	}
	return q.not(f, c.cause(q, code, have))
}

func (c *Cap) cause(q *Request, code Code, have int) Cause {
	brand, category := c.Brand, c.Category
	if c.Each {
		brand = q.Message.Brand
	}
	if c.EachCategory {
		category = q.Message.Category
	}
	return Cause{Rule: c.rule(), Code: code, Person: c.Owner, Brand: brand, Purpose: c.Purpose, Category: category, Class: c.Class,
		Device: c.Device, Room: c.Room, Have: have, Max: c.Max, Hours: c.Hours, Minutes: c.Minutes, Week: c.Week, Trip: c.Trip}
}

// before is what counts against q's message: all that was shown, or, if the message is on the
// screen already, what was shown before it.
func before(q *Request) []Exposure {
	if q.Own {
		for i := range q.Home.Shown {
			if q.Home.Shown[i].Message == q.Message.ID {
				return q.Home.Shown[:i]
			}
		}
	}
	return q.Home.Shown
}

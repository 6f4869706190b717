package policy

import (
	"math"
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
	need  alike          // what it counts must be like q's message in these
	have  int            // how many it has counted
	after device.Instant // what came then or before it does not count
	wall  device.Instant // what comes then or later counts only if the wall shows local or later; endOfTime: all counts
	local int64          // of one that counts by dates: the second on the wall with which its day or week begins
	nth   device.Instant // when that was shown which filled it up
}

// alike is in what an exposure is like q's message, shown on q's screen. A cap that applies selects
// what q has, so that what it counts has to be like q in what it selects.
type alike uint8

const (
	sameBrand alike = 1 << iota
	sameCategory
	samePurpose
	sameDevice
	sameClass // or nobody knows any more what it was
	sameRoom  // likewise
)

// alike is what c wants.
func (c *Cap) alike() (l alike) {
	if c.Each || c.Brand != "" {
		l |= sameBrand
	}
	if c.EachCategory || c.Category != "" {
		l |= sameCategory
	}
	if c.Purpose != NoPurpose {
		l |= samePurpose
	}
	if c.Device != "" || c.Trip {
		l |= sameDevice
	}
	if c.Class != 0 {
		l |= sameClass
	}
	if c.Room != 0 {
		l |= sameRoom
	}
	return l
}

// alike is in what of want e is like q.
func (e *Exposure) alike(q *Request, want alike) (l alike) {
	if want&sameBrand != 0 && e.Brand == q.Message.Brand {
		l |= sameBrand
	}
	if want&sameCategory != 0 && e.Category == q.Message.Category {
		l |= sameCategory
	}
	if e.Purpose == q.Message.Purpose {
		l |= samePurpose
	}
	if want&(sameDevice|sameClass|sameRoom) == 0 {
		return l
	}
	if e.Device == q.Screen.ID {
		return l | sameDevice | sameClass | sameRoom
	}
	if want&(sameClass|sameRoom) != 0 {
		s := q.Home.screen(e.Device)
		if s == nil || s.Class == q.Screen.Class {
			l |= sameClass
		}
		if s == nil || s.Room == q.Screen.Room {
			l |= sameRoom
		}
	}
	return l
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
		all = room[:len(all)+1]
		c.begin(q, &home, &all[len(all)-1])
	}
	if len(all) == 0 {
		return f
	}
	return f.and(q.count(all, &home))
}

// begin sets t to c before it has counted anything; w is the home's clock, for a cap that counts by dates.
func (c *Cap) begin(q *Request, w *wall, t *tally) {
	t.cap, t.need, t.have, t.wall = c, c.alike(), 0, math.MaxInt64
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
		// a look at the wall. Nor is anything if the clocks have not changed since.
		first, longest := w.day(now), int64(3*day)
		if c.Week {
			first, longest = monday(first), 9*day
		}
		t.local = first * day
		if start := now - longest; w.from <= start {
			t.after, t.wall = device.Instant((t.local-w.offset)*1000-1), device.Instant(min(w.to, int64(endOfTime)/1000)*1000)
		} else {
			t.after, t.wall = device.Instant((start+1)*1000-1), math.MinInt64
		}
	}
}

// onTrip reports whether it is known when q's car set out.
func (q *Request) onTrip() bool { return 0 < q.Screen.Trip && q.Screen.Trip <= q.Now }

// count asks caps that count: all in one walk from the newest exposure back, as far as the longest of
// their windows goes. A cap that is full is asked no more, unless somebody wants to know how full.
func (q *Request) count(all []tally, w *wall) finding {
	f := pass
	var want alike
	for i := range all {
		want |= all[i].need
	}
	shown := before(q)
	for i := len(shown) - 1; i >= 0; i-- {
		e := &shown[i]
		over := false // for some cap: for what is older, too
		for j := 0; j < len(all); {
			if e.At > all[j].after {
				j++
				continue
			}
			f, over = f.and(all[j].finding(q, w)), true
			all[j] = all[len(all)-1]
			all = all[:len(all)-1]
		}
		if len(all) == 0 {
			return f
		}
		if over {
			want = 0
			for j := range all {
				want |= all[j].need
			}
		}
		like := e.alike(q, want)
		for j := 0; j < len(all); j++ {
			t := &all[j]
			// By dates today's count, and those of a later date, which there are if a clock was set back.
			if t.need&^like != 0 || e.At >= t.wall && w.local(floor(int64(e.At), 1000)) < t.local || !e.before(t.cap.Owner) {
				continue
			}
			if t.have++; t.have == t.cap.Max {
				if t.nth = e.At; q.notes == nil {
					f = f.and(t.finding(q, w))
					all[j] = all[len(all)-1]
					all = all[:len(all)-1]
					j--
				}
			}
		}
	}
	for j := range all {
		f = f.and(all[j].finding(q, w))
	}
	return f
}

// before reports whether somebody was in front of it, or may have been.
func (e *Exposure) before(who device.PersonID) bool {
	return who == device.Household || e.Unknown || slices.Contains(e.Who, who)
}

// finding is what t comes to. A cap in hours is full as long as the Max-th newest that it counts is that
// young. The answer of one that counts by dates is asked for again when the zone changes its offset,
// because then a date may come twice.
func (t *tally) finding(q *Request, w *wall) finding {
	c := t.cap
	if t.have < c.Max {
		if t.wall != math.MaxInt64 && w.to < int64(endOfTime)/1000 {
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

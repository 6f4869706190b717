package policy

import (
	"math"
	"math/bits"
	"slices"
	"time"

	"porchlight/device"
)

// frequency holds what would be one message too many, until there is room again. A cap of none
// refuses, and so does one that makes no sense.
func frequency(q *Request) finding {
	often, apart := q.caps(Frequency)
	q.scratch.apart, q.scratch.counted = apart, true
	return often
}

// spacing holds what comes too soon after another message.
func spacing(q *Request) finding {
	if q.scratch.counted && q.notes == nil { // frequency, asked before, has counted for both
		return q.scratch.apart
	}
	_, apart := q.caps(Spacing)
	return apart
}

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
	rolls := c.Hours != 0 || c.Minutes != 0
	return c.Max > 0 && 0 <= c.Hours && c.Hours <= longestCap && 0 <= c.Minutes && c.Minutes <= longestRest &&
		(c.Hours == 0 || c.Minutes == 0) && !(c.Week && c.Trip) && !(rolls && (c.Week || c.Trip))
}

// applies reports whether c has a say about q's message.
func (c *Cap) applies(q *Request) bool {
	return c.Picks(q.Message, q.Screen) && !(c.Trip && q.Screen.Class != device.Car) &&
		!(c.EachCategory && q.Message.Category == "") && q.near(c.Owner)
}

// tally is one cap as it counts.
type tally struct {
	after device.Instant // what came then or before it does not count
	nth   device.Instant // when that was shown which filled it up
	cap   int32          // its place among the home's
	have  int32          // how many it has counted
	max   int32
	owner device.PersonID
	need  alike // what it counts must be like q's message in these
	dated dated
}

// dated says by which dates a cap counts.
type dated uint8

const (
	undated dated = iota
	byDay
	byWeek
)

// calendar is what caps that count by dates have to know.
type calendar struct {
	wall
	local [3]int64          // by dated: the second on the wall with which the day or the week begins
	after [3]device.Instant // what came then or before it is of another day or week
	from  [3]device.Instant // what comes then or later counts only if the wall shows local or later
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

// dated says by which dates c counts.
func (c *Cap) dated() dated {
	switch {
	case c.Week:
		return byWeek
	case c.Hours != 0 || c.Minutes != 0 || c.Trip:
		return undated
	default:
		return byDay
	}
}

// gist is what follows from a cap alone.
type gist struct {
	window device.Instant // ms, of a rolling one; 0: it has none
	max    int32
	owner  device.PersonID
	rule   Rule
	need   alike
	dated  dated
	valid  bool
	all    bool // it is about every message on every screen
}

func (c *Cap) gist() gist {
	return gist{
		window: device.Instant(c.Hours)*3600_000 + device.Instant(c.Minutes)*60_000, max: int32(min(c.Max, math.MaxInt32)), owner: c.Owner,
		rule: c.rule(), need: c.alike(), dated: c.dated(), valid: c.valid(),
		all: c.Selector == Selector{} && c.Owner == device.Household && !c.Trip && !c.EachCategory,
	}
}

// gists are those of h's caps, if they are prepared.
func (h *Home) gists() []gist {
	if x := h.prepared(); x != nil && len(h.Caps) > 0 && len(x.caps) == len(h.Caps) && x.capsOf == &h.Caps[0] {
		return x.caps
	}
	return nil
}

// caps asks the caps of frequency and of spacing, or, where somebody wants to know why, only those of one
// rule.
func (q *Request) caps(only Rule) (often, apart finding) {
	often, apart = pass, pass
	var dates calendar
	var room [12]tally
	n := 0
	prepared := q.Home.gists()
	for i := range q.Home.Caps {
		var g *gist
		if prepared != nil {
			g = &prepared[i]
		} else {
			fresh := q.Home.Caps[i].gist()
			g = &fresh
		}
		if q.notes != nil && g.rule != only || !g.all && !q.Home.Caps[i].applies(q) {
			continue
		}
		if n == len(room) || n > 0 && q.notes != nil { // causes come in the order of the caps
			q.count(room[:n], &dates, &often, &apart)
			n = 0
		}
		switch {
		case !g.valid:
			add(g.rule, q.Home.Caps[i].none(q), &often, &apart)
			continue
		case g.dated != undated && q.Home.Zone == nil:
			add(g.rule, q.Home.Caps[i].not(q, holdTo(q.there.soon), ZoneUnknown, 0), &often, &apart)
			continue
		}
		t := &room[n]
		n++
		t.nth, t.have, t.cap, t.max, t.need, t.dated, t.owner = 0, 0, int32(i), g.max, g.need, g.dated, g.owner
		switch {
		case g.window > 0:
			t.after = q.Now - g.window
		case g.dated != undated:
			if dates.zone == nil {
				now := floor(int64(q.Now), 1000)
				dates.open(q.Home.wall(q.Home.Zone, now), now)
			}
			t.after = dates.after[g.dated]
		case q.onTrip():
			t.after = q.Screen.Trip - 1
		default:
			t.after = q.Now.Add(-unknownTrip)
		}
	}
	if n > 0 {
		q.count(room[:n], &dates, &often, &apart)
	}
	return often, apart
}

// add adds what a cap says to what its rule says.
func add(r Rule, f finding, often, apart *finding) {
	if r == Spacing {
		*apart = apart.and(f)
	} else {
		*often = often.and(f)
	}
}

// open is the calendar of a wall at a Unix second. No local day is longer than two days, and no week longer
// than eight: what is older is not worth a look at the wall; nor is anything if the clocks have not changed
// since.
func (d *calendar) open(w wall, now int64) {
	d.wall = w
	today := w.day(now)
	for by, first := range [...]int64{byDay: today, byWeek: monday(today)} {
		d.local[by] = first * day
		longest := int64(3 * day)
		if dated(by) == byWeek {
			longest = 9 * day
		}
		if start := now - longest; w.from <= start {
			d.after[by], d.from[by] = device.Instant((d.local[by]-w.offset)*1000-1), device.Instant(min(w.to, int64(endOfTime)/1000)*1000)
		} else {
			d.after[by], d.from[by] = device.Instant((start+1)*1000-1), math.MinInt64
		}
	}
}

// onTrip reports whether it is known when q's car set out.
func (q *Request) onTrip() bool { return 0 < q.Screen.Trip && q.Screen.Trip <= q.Now }

// count asks caps that count: all in one walk from the newest exposure back, as far as the longest of
// their windows goes. A cap that is full is asked no more, unless somebody wants to know how full.
func (q *Request) count(all []tally, dates *calendar, often, apart *finding) {
	shown := before(q)
	live := uint32(1)<<len(all) - 1
	var want alike
	next := device.Instant(math.MaxInt64) // what comes then or before it is too old for one of them
	for i := len(shown) - 1; i >= 0; i-- {
		e := &shown[i]
		if e.At <= next {
			want, next = 0, math.MinInt64
			for left := live; left != 0; left &= left - 1 {
				if j := bits.TrailingZeros32(left); e.At <= all[j].after { // and so is all that is older
					live &^= 1 << j
				} else {
					want, next = want|all[j].need, max(next, all[j].after)
				}
			}
			if live == 0 {
				break
			}
		}
		like := e.alike(q, want)
		for left := live; left != 0; left &= left - 1 {
			j := bits.TrailingZeros32(left)
			t := &all[j]
			if t.need&^like != 0 {
				continue
			}
			// By dates today's count, and those of a later date, which there are if a clock was set back.
			if d := t.dated; d != undated && e.At >= dates.from[d] && dates.wall.local(floor(int64(e.At), 1000)) < dates.local[d] {
				continue
			}
			if t.owner != device.Household && !e.before(t.owner) {
				continue
			}
			if t.have++; t.have == t.max {
				if t.nth = e.At; q.notes == nil {
					live &^= 1 << j
				}
			}
		}
	}
	for i := range all {
		if t := &all[i]; t.have >= t.max || t.dated != undated {
			c := &q.Home.Caps[t.cap]
			add(c.rule(), t.finding(q, c, dates), often, apart)
		}
	}
}

// before reports whether somebody was in front of it, or may have been.
func (e *Exposure) before(who device.PersonID) bool {
	return e.Unknown || slices.Contains(e.Who, who)
}

// finding is what t comes to. A cap in hours is full as long as the Max-th newest that it counts is that
// young. The answer of one that counts by dates is asked for again when the zone changes its offset,
// because then a date may come twice.
func (t *tally) finding(q *Request, c *Cap, dates *calendar) finding {
	if t.have < t.max {
		if dates.to < int64(endOfTime)/1000 { // it counts by dates: the others are not asked before they are full
			return showTo(device.Instant(dates.to * 1000))
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
		until = device.Instant(dates.nextDate(monday(dates.day(now))+7, now) * 1000)
	default:
		until = device.Instant(dates.midnight(now) * 1000)
	}
	code := CapFull
	if c.rule() == Spacing {
		code = TooClose
	}
	f := holdTo(sooner(until, q.there.soon))
	if q.notes == nil {
		return f
	}
	cause := c.cause(q, code, int(t.have))
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

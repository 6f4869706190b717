package policy

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"porchlight/device"
)

// The safety rule is a table, safety.json, read once into rows: what a screen of a class must have
// told, what it must not have told, and what may appear on it at all. A class without a row is never
// shown anything. What holds for every class stands here: no message while an alarm is on in the
// home, nor on a device that is not to be disturbed or has told nothing at all.
var (
	noAlarm = is(device.Alarm, false)
	disturb = is(device.DND, false)
)

// row is what q's screen may show; nil: nothing ever.
func (q *Request) row() *safetyRow { return q.Home.Safety.of(q.Screen.Class) }

// safety holds while the moment is dangerous or not known to be harmless, and refuses what may
// never appear on such a screen.
func safety(q *Request) finding {
	s, row := q.Screen, q.row()
	no := func(f finding, c Cause) finding {
		c.Rule, c.Class = Safety, s.Class
		return q.not(f, c)
	}
	if row == nil {
		return no(refuse, Cause{Code: NeverHere})
	}
	f := pass
	if row.chars > 0 {
		if n := length(q.Message, q.text()); n > row.chars {
			f = no(refuse, Cause{Code: TooLong, Have: n, Max: row.chars})
		}
	}
	if !row.fits(q.Message) {
		f = f.and(no(refuse, Cause{Code: WrongForm}))
	}
	if alarmed(q.Home) || noAlarm.calm(s, q.Now).verdict != Show {
		f = f.and(no(wait, Cause{Code: AlarmOn}))
	}
	if row.trip > 0 {
		g, n := row.trips(q)
		f = f.and(no(g, Cause{Code: TripFull, Have: n, Max: row.trip}))
	}
	if s.Context == nil {
		return f.and(no(wait, Cause{Code: NothingKnown}))
	}
	if disturb.calm(s, q.Now).verdict != Show {
		f = f.and(no(wait, Cause{Code: NotDisturbed}))
	}
	return f.and(no(q.there.calm, Cause{Code: NotSafe}))
}

// alarmed reports whether an alarm is on anywhere in the home.
func alarmed(h *Home) bool {
	if h.Alarm {
		return true
	}
	for _, s := range h.Screens {
		if s != nil && s.Context.Told().Has(device.Alarm) && noAlarm.calm(s, 0).verdict != Show {
			return true
		}
	}
	return false
}

func (row *safetyRow) calmly(s *Screen, now device.Instant) finding {
	f := pass
	for i := range row.calm {
		f = f.and(row.calm[i].calm(s, now))
	}
	return f
}

func (row *safetyRow) freely(s *Screen, now device.Instant) finding {
	f := pass
	for _, group := range row.free {
		best := wait
		for _, all := range group {
			g := pass
			for i := range all {
				g = g.and(all[i].free(s, now))
			}
			best = best.or(g)
		}
		f = f.and(best)
	}
	return f
}

// quietly holds in the moments in which nothing is shown on such a screen, whatever the home says. Nobody is
// told why.
func (row *safetyRow) quietly(q *Request) finding {
	f := pass
	if len(row.moments) == 0 {
		return f
	}
	for _, m := range row.moments {
		f = f.and(q.moment(m, q.Screen))
		for _, s := range q.Home.Screens {
			if s != nil && !s.is(q.Screen) {
				f = f.and(q.moment(m, s))
			}
		}
	}
	return f
}

// longestTrip is how long a trip is taken to have lasted whose beginning is not known.
const longestTrip = 24 * time.Hour

// trips holds while as many messages as may be were shown on this trip; n is how many.
func (row *safetyRow) trips(q *Request) (f finding, n int) {
	since := q.Screen.Trip
	if !q.onTrip() { // not known, or a clock was set back since
		since = q.Now.Add(-longestTrip) + 1
	}
	shown, f := before(q), pass
	for i := len(shown) - 1; i >= 0; i-- {
		if e := &shown[i]; e.Device == q.Screen.ID && e.At >= since && e.Message != q.Message.ID {
			if n++; n == row.trip {
				if f = wait; !q.onTrip() {
					f = holdTo(sooner(min(e.At, endOfTime).Add(longestTrip), max(q.Screen.Trip, 0)))
				}
			}
		}
	}
	return f, n
}

// fits reports whether m comes in a form that may appear on a screen of this class.
func (row *safetyRow) fits(m *Message) bool {
	return slices.ContainsFunc(m.Forms, row.forms.has)
}

// length is how many characters the i-th text of m has, title and body together.
func length(m *Message, i int) int {
	if i >= len(m.Texts) {
		return 0
	}
	return utf8.RuneCountInString(m.Texts[i].Title) + utf8.RuneCountInString(m.Texts[i].Body)
}

// has reports whether v is good.
func (f *fact) has(v device.Value) bool {
	switch {
	case v.Kind != f.kind:
		return false
	case v.Kind == device.Number:
		return f.below != 0 && v.Num < f.below || slices.Contains(f.good, v.Num)
	case v.Kind == device.Text:
		for _, w := range f.words {
			if strings.EqualFold(w, v.Text) {
				return true
			}
		}
		return false
	default:
		return v.Num >= 0 && v.Num < 64 && f.mask>>uint(v.Num)&1 != 0
	}
}

// calm passes if s has never told f's attribute, or last told something good, and long enough ago.
func (f *fact) calm(s *Screen, now device.Instant) finding {
	r, told := s.Context.Get(f.attribute)
	switch {
	case !told:
		return pass
	case !f.has(r.Value):
		return wait
	case f.lasting > 0 && now < r.Since+f.lasting:
		return holdTo(r.Since + f.lasting)
	}
	return pass
}

// free passes while f's attribute is fresh and good, and has been good long enough.
func (f *fact) free(s *Screen, now device.Instant) finding {
	r, told := s.Context.Get(f.attribute)
	switch {
	case f.untold && !told:
		return pass
	case f.untold, !told, !f.has(r.Value):
		return wait
	}
	from, until := now, r.Until(f.attribute, s.Class)
	if g := upcoming(r, f.attribute, s.Class, now); g.until != 0 {
		from = g.until
	}
	if f.lasting > 0 {
		from = max(from, r.Since+f.lasting)
	}
	switch {
	case from >= until:
		return wait
	case from > now:
		return holdTo(from)
	default:
		return showTo(until)
	}
}

// upcoming is the Hold for a good reading that is not fresh at now, because it is from the future (a
// clock was set back) and its time is yet to come.
func upcoming(r device.Reading, a device.Attribute, c device.Class, now device.Instant) finding {
	if from := r.At.Add(-a.TTL(c)); from > now {
		return holdTo(from)
	}
	return wait
}

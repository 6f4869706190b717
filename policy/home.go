package policy

import (
	"time"

	"porchlight/device"
)

// consent refuses what nobody has said yes to. A shared screen needs the home's own yes, and
// nobody of the home may have said no. A person's own screen needs that person's yes, and the
// home may not have said no. A word that is neither yes nor silence is a no.
func consent(q Request) finding {
	key := ConsentKey{device.Household, q.Message.Brand, q.Message.Purpose}
	home := q.Home.Consents[key].Choice
	if owner := q.Screen.Owner; owner != device.Household {
		key.Subject = owner
		if _, known := q.Home.Person(owner); !known || q.Home.Consents[key].Choice != Given || !mild(home) {
			return refuse
		}
		return pass
	}
	if home != Given {
		return refuse
	}
	for i := range q.Home.People {
		key.Subject = q.Home.People[i].ID
		if !mild(q.Home.Consents[key].Choice) {
			return refuse
		}
	}
	return pass
}

func mild(c Choice) bool { return c == Silent || c == Given }

// Picks reports whether s selects m on screen.
func (s *Selector) Picks(m *Message, screen *Screen) bool {
	return (s.Brand == "" || s.Brand == m.Brand) &&
		(s.Purpose == NoPurpose || s.Purpose == m.Purpose) &&
		(s.Category == "" || s.Category == m.Category) &&
		(s.Class == 0 || s.Class == screen.Class) &&
		(s.Device == "" || s.Device == screen.ID)
}

// mute holds what is silenced for a while and refuses what is silenced for good.
func mute(q Request) finding {
	f := pass
	for i := range q.Home.Mutes {
		f = f.and(q.Home.Mutes[i].judge(q))
	}
	return f
}

func (r *MuteRule) judge(q Request) finding {
	switch {
	case !r.Picks(q.Message, q.Screen):
		return pass
	case r.Until <= 0:
		return refuse
	case q.Now < r.Until:
		return holdTo(r.Until)
	default:
		return pass
	}
}

// How far ahead quiet times are looked up, in local days. A week holds every one of them.
const ahead = 8

// quiet holds during quiet time, until the home is awake: one quiet time may run into the next.
// A start that the clocks skip is at the change, an end that they skip too; of a start that
// comes twice the first counts, of an end the second.
func quiet(q Request) finding {
	if len(q.Home.Quiet) == 0 {
		return pass
	}
	if q.Home.Zone == nil {
		return wait
	}
	for _, z := range q.Home.Quiet {
		if !z.valid() {
			return wait
		}
	}
	now := floor(int64(q.Now), 1000)
	w := wallAt(q.Home.Zone, now)
	awake := now
	for awake < now+ahead*day {
		end := w.quietTo(q.Home.Quiet, awake)
		if end <= awake {
			break
		}
		awake = end
	}
	if awake > now {
		return holdTo(device.Instant(awake * 1000))
	}
	return showTo(device.Instant(w.nextQuiet(q.Home.Quiet, now) * 1000))
}

func (z Quiet) valid() bool {
	return z.Days < 1<<7 && 0 <= z.Start && z.Start < 24*60 && 0 <= z.End && z.End < 24*60
}

// on returns the quiet time that starts on a local day, in Unix seconds; to <= from if there is
// none.
func (z Quiet) on(w *wall, n int64) (from, to int64) {
	if z.Days != 0 && z.Days&(1<<weekday(n)) == 0 {
		return 0, 0
	}
	start, end := n*day+int64(z.Start)*60, n*day+int64(z.End)*60
	if end <= start {
		end += day
	}
	return w.first(start), w.last(end)
}

// quietTo is the latest end of the quiet times that are on at unix; unix if there are none.
func (w *wall) quietTo(list []Quiet, unix int64) int64 {
	latest, today := unix, w.day(unix)
	for _, z := range list {
		// Two days back for a day that was skipped; one ahead because a date can come twice.
		for n := today - 2; n <= today+1; n++ {
			if from, to := z.on(w, n); from <= unix && unix < to {
				latest = max(latest, to)
			}
		}
	}
	return latest
}

// nextQuiet is when the first of list that is still to come begins; where none begins within
// a week, the end of the week.
func (w *wall) nextQuiet(list []Quiet, unix int64) int64 {
	today := w.day(unix)
	soonest := w.first((today + ahead + 1) * day)
	for _, z := range list {
		for n := today; n <= today+ahead; n++ {
			if from, to := z.on(w, n); from > unix && from < to {
				soonest = min(soonest, from)
				break
			}
		}
	}
	return soonest
}

// frequency holds what would be one message too many, until there is room again. A cap of none
// refuses, and so does one that makes no sense.
func frequency(q Request) finding {
	f := pass
	for i := range q.Home.Caps {
		if c := &q.Home.Caps[i]; c.limits(q.Message) {
			f = f.and(c.judge(q))
		}
	}
	return f
}

// limits reports whether c counts messages like m.
func (c *Cap) limits(m *Message) bool { return c.Brand == "" || c.Brand == m.Brand }

// counts reports whether c counts e where m is to be shown.
func (c *Cap) counts(e *Exposure, m *Message) bool {
	return c.Brand == "" && !c.Each || e.Brand == m.Brand
}

const longestCap = 168 // hours

func (c *Cap) judge(q Request) finding {
	switch {
	case c.Max <= 0 || c.Hours < 0 || c.Hours > longestCap:
		return refuse
	case c.Hours > 0:
		return c.rolling(q)
	case q.Home.Zone == nil:
		return wait
	default:
		return c.daily(q)
	}
}

// before is what counts against q's message: all that was shown, or, if the message is on the
// screen already, what was shown before it.
func before(q Request) []Exposure {
	if q.Own {
		for i := range q.Home.Shown {
			if q.Home.Shown[i].Message == q.Message.ID {
				return q.Home.Shown[:i]
			}
		}
	}
	return q.Home.Shown
}

// rolling: at least Max in the last Hours means that the Max-th newest is still that young.
func (c *Cap) rolling(q Request) finding {
	window := time.Duration(c.Hours) * time.Hour
	after := q.Now.Add(-window)
	shown, n := before(q), 0
	for i := len(shown) - 1; i >= 0; i-- {
		if e := &shown[i]; e.At > after && c.counts(e, q.Message) {
			if n++; n == c.Max {
				return holdTo(min(e.At, endOfTime).Add(window))
			}
		}
	}
	return pass
}

// daily counts by the date on the wall: today's, and those of a later date, which there are if
// a clock was set back. The answer is asked for again when the zone changes its offset, because
// then a date may come twice.
func (c *Cap) daily(q Request) finding {
	now := floor(int64(q.Now), 1000)
	w := wallAt(q.Home.Zone, now)
	today := w.day(now)
	shown, n := before(q), 0
	for i := range shown {
		// No local day is longer than two days; more than three ago is not worth a look-up.
		e := &shown[i]
		at := floor(int64(e.At), 1000)
		if at > now-3*day && c.counts(e, q.Message) && w.day(at) >= today {
			n++
		}
	}
	switch {
	case n >= c.Max:
		return holdTo(device.Instant(w.midnight(now) * 1000))
	case w.to < int64(endOfTime)/1000:
		return showTo(device.Instant(w.to * 1000))
	default:
		return pass
	}
}

// dedupe refuses what this home has had, and holds what is open on another screen.
func dedupe(q Request) finding {
	f := pass
	if q.Own {
		return f
	}
	for i := range q.Home.Shown {
		if e := &q.Home.Shown[i]; e.Message == q.Message.ID {
			if !e.Open {
				return refuse
			}
			f = wait
		}
	}
	return f
}

package policy

import (
	"slices"
	"time"

	"porchlight/device"
)

// consent refuses what nobody has said yes to. A shared screen needs the home's own yes, and the
// yes of everybody who is known to be there. A person's own screen needs that person's yes, and
// the home may not have said no. Whoever is or may be there may not have said no, nor that nothing
// is to be done with what is known. A word that is neither yes nor silence is a no.
func consent(q *Request) finding {
	h, owner := q.Home, q.Screen.Owner
	f := pass
	if h.Frozen {
		f = q.not(refuse, Cause{Rule: Consent, Code: FrozenAll})
	}
	home := q.stance(device.Household)
	switch own, known := h.Person(owner); {
	case owner == device.Household && home.choice != Given:
		f = f.and(q.not(refuse, home.cause()))
	case owner == device.Household:
		f = f.and(home.lasts())
	case !known:
		f = f.and(q.not(refuse, Cause{Rule: Consent, Code: OwnerUnknown, Person: owner}))
	default:
		if own.Frozen {
			f = f.and(q.not(refuse, Cause{Rule: Consent, Code: FrozenAll, Person: owner}))
		}
		if s := q.stance(owner); s.choice != Given {
			f = f.and(q.not(refuse, s.cause()))
		} else {
			f = f.and(s.lasts())
		}
		if !mild(home.choice) {
			f = f.and(q.not(refuse, home.cause()))
		}
	}
	anybody, seen := q.anybody(), q.there.Known|q.there.Past
	for i := range h.People {
		one := &h.People[i]
		there := i < 64 && seen&(1<<i) != 0
		if one.ID == owner || !there && !anybody {
			continue
		}
		if one.Frozen {
			f = f.and(q.unless(Cause{Rule: Consent, Code: FrozenAll, Person: one.ID}))
		}
		switch s := q.stance(one.ID); {
		case !mild(s.choice), s.choice != Given && there && owner == device.Household:
			f = f.and(q.unless(s.cause()))
		case there && owner == device.Household:
			f = f.and(s.lasts())
		}
	}
	return f
}

func mild(c Choice) bool { return c == Silent || c == Given }

// stance is what somebody has said about the message's brand and purpose, as it counts on this
// screen and now.
type stance struct {
	choice Choice
	until  device.Instant // of a yes: when it ends; 0: never
	why    Code           // of what is no yes
	said   Stance
	key    ConsentKey
	class  device.Class
}

func (q *Request) stance(who device.PersonID) stance {
	s := stance{key: ConsentKey{who, q.Message.Brand, q.Message.Purpose}, class: q.Screen.Class}
	s.said = q.Home.Consents[s.key]
	s.choice = s.said.Choice
	switch {
	case s.choice == Silent:
		s.why = NobodyAsked
	case s.choice != Given:
		s.why = SaidNo
	case s.said.Until != 0 && q.Now >= s.said.Until:
		s.choice, s.why = Silent, Ended
	case !s.said.Classes.Has(s.class):
		s.choice, s.why = Silent, NotOnThis
	default:
		s.until = s.said.Until
	}
	return s
}

// lasts is what a yes says: a Show as long as it is good.
func (s *stance) lasts() finding { return showTo(s.until) }

// cause says what s means, for or against.
func (s *stance) cause() Cause {
	c := Cause{Rule: Consent, Code: s.why, Person: s.key.Subject, Brand: s.key.Brand, Purpose: s.key.Purpose, At: s.said.At, Device: s.said.Device}
	switch s.why {
	case "":
		c.Code, c.Verdict, c.Until = SaidYes, Show, s.until
	case Ended:
		c.Until = s.said.Until
	case NotOnThis:
		c.Class = s.class
	}
	return c
}

// terms refuses what somebody has ruled out in an app or a browser, on this screen or on any other
// of its owner's. Nothing that was permitted there counts.
func terms(q *Request) finding {
	f := pass
	for i := range q.Home.Signals {
		g := &q.Home.Signals[i]
		if !q.Message.Purpose.Known() || g.Denied&(1<<q.Message.Purpose) == 0 {
			continue
		}
		own := g.Device == q.Screen.ID
		if !own && q.Screen.Owner != device.Household {
			s := q.Home.screen(g.Device)
			own = s != nil && s.Owner == q.Screen.Owner
		}
		if own {
			f = f.and(q.not(refuse, Cause{Rule: Terms, Code: SignalDenies, Device: g.Device, Purpose: q.Message.Purpose}))
		}
	}
	return f
}

// screen finds a device of h; nil if there is none.
func (h *Home) screen(id device.ID) *Screen {
	for _, s := range h.Screens {
		if s != nil && s.ID == id {
			return s
		}
	}
	return nil
}

// Picks reports whether s selects m on screen.
func (s *Selector) Picks(m *Message, screen *Screen) bool {
	return (s.Brand == "" || s.Brand == m.Brand) &&
		(s.Purpose == NoPurpose || s.Purpose == m.Purpose) &&
		(s.Category == "" || s.Category == m.Category) &&
		(s.Class == 0 || s.Class == screen.Class) &&
		(s.Device == "" || s.Device == screen.ID) &&
		(s.Room == 0 || s.Room == screen.Room)
}

// mute holds what is silenced for a while and refuses what is silenced for good. What takes away a
// part of a message does so only if there are words or a picture left: a sound says nothing.
func mute(q *Request) finding {
	f, words, picture := pass, pass, pass
	for i := range q.Home.Mutes {
		r := &q.Home.Mutes[i]
		g := r.stands(q)
		switch {
		case g.verdict == Show:
		case r.Content == 0:
			f = f.and(q.not(g, r.cause(q)))
		default:
			if r.Content&Words != 0 {
				words = words.and(g)
			}
			if r.Content&Picture != 0 {
				picture = picture.and(g)
			}
			f = f.and(showTo(max(r.Until, 0))) // it is shown with more when this ends
		}
	}
	left := words
	if q.Message.Picture != nil {
		left = words.or(picture)
	}
	if left.verdict == Show {
		return f
	}
	if q.notes != nil {
		for i := range q.Home.Mutes {
			if r := &q.Home.Mutes[i]; r.Content&(Words|Picture) != 0 {
				if r.stands(q).verdict != Show {
					q.not(finding{verdict: left.verdict}, r.cause(q))
				}
			}
		}
	}
	return f.and(left)
}

// stands is what r alone comes to, whatever part it silences.
func (r *MuteRule) stands(q *Request) finding {
	lasting := r.Until <= 0
	switch {
	case !lasting && q.Now >= r.Until, !r.Picks(q.Message, q.Screen), !q.near(r.Owner):
		return pass
	case !lasting:
		return holdTo(sooner(r.Until, q.there.soon))
	case r.Owner != device.Household && r.Owner != q.Screen.Owner && q.there.heard:
		return holdTo(q.there.soon) // they may leave
	default:
		return refuse
	}
}

func (r *MuteRule) cause(q *Request) Cause {
	c := Cause{Rule: Mute, Code: Muted, Person: r.Owner, Brand: r.Brand, Purpose: r.Purpose, Category: r.Category, Class: r.Class,
		Device: r.Device, Room: r.Room, Content: r.Content, Until: max(r.Until, 0)}
	if r.Implied {
		c.Code = PausedByHabit
	}
	return c
}

// content is what of the message may be used: words and picture unless they are silenced, and
// sound only where it is asked for, possible, and everybody who hears it is known.
func (q *Request) content(f device.Form) Content {
	c := Words | Picture
	if q.Message.Sound && q.Screen.Can.Sound != 0 && f != device.Voice && !q.anybody() {
		c |= Sound
	}
	for i := range q.Home.Mutes {
		if r := &q.Home.Mutes[i]; r.Content != 0 && r.stands(q).verdict != Show {
			c &^= r.Content
		}
	}
	return c
}

// How far ahead quiet times are looked up, in local days. A week holds every one of them.
const ahead = 8

// quiet holds during quiet time and in moments in which nobody wants to be disturbed.
func quiet(q *Request) finding { return q.quietTimes().and(q.moments()) }

// quietTimes holds during quiet time, until all who are there, or may be, are awake: one quiet time
// may run into the next. A start that the clocks skip is at the change, an end that they skip too;
// of a start that comes twice the first counts, of an end the second.
func (q *Request) quietTimes() finding {
	now := floor(int64(q.Now), 1000)
	var home wall
	for i := range q.Home.Quiet {
		z := &q.Home.Quiet[i]
		switch zone := z.zone(q.Home); {
		case !q.near(z.Owner):
		case zone == nil:
			return q.not(holdTo(q.there.soon), Cause{Rule: QuietTime, Code: ZoneUnknown, Person: z.Owner})
		case !z.valid():
			return q.not(holdTo(q.there.soon), Cause{Rule: QuietTime, Code: QuietSenseless, Person: z.Owner})
		case z.Zone == "" && home.zone == nil:
			home = wallAt(zone, now)
		}
	}
	awake, owner := now, device.Household
	for awake < now+ahead*day {
		end := awake
		for i := range q.Home.Quiet {
			if z := &q.Home.Quiet[i]; q.near(z.Owner) {
				w := z.wall(home, now)
				if e := w.quietTo(z, awake); e > end {
					if end = e; awake == now {
						owner = z.Owner
					}
				}
			}
		}
		if end == awake {
			break
		}
		awake = end
	}
	if awake > now {
		until := device.Instant(awake * 1000)
		return q.not(holdTo(sooner(until, q.there.soon)), Cause{Rule: QuietTime, Code: QuietNow, Person: owner, Until: until})
	}
	f := pass
	for i := range q.Home.Quiet {
		if z := &q.Home.Quiet[i]; q.near(z.Owner) {
			w := z.wall(home, now)
			f = f.and(showTo(device.Instant(w.nextQuiet(z, now) * 1000)))
		}
	}
	return f
}

// zone is where z's clock hangs; nil if that is not known.
func (z *Quiet) zone(h *Home) *time.Location {
	if z.Zone != "" {
		return z.Clock
	}
	return h.Zone
}

// wall is z's clock; home is the home's.
func (z *Quiet) wall(home wall, now int64) wall {
	if z.Zone != "" {
		return wallAt(z.Clock, now)
	}
	return home
}

func (z *Quiet) valid() bool {
	return z.Days < 1<<7 && 0 <= z.Start && z.Start < 24*60 && 0 <= z.End && z.End < 24*60
}

// on returns the quiet time that starts on a local day, in Unix seconds; to <= from if there is
// none.
func (z *Quiet) on(w *wall, n int64) (from, to int64) {
	if z.Days != 0 && z.Days&(1<<weekday(n)) == 0 {
		return 0, 0
	}
	start, end := n*day+int64(z.Start)*60, n*day+int64(z.End)*60
	if end <= start {
		end += day
	}
	return w.first(start), w.last(end)
}

// quietTo is the latest end of z's quiet times that are on at unix; unix if there are none.
func (w *wall) quietTo(z *Quiet, unix int64) int64 {
	latest, today := unix, w.day(unix)
	// Two days back for a day that was skipped; one ahead because a date can come twice.
	for n := today - 2; n <= today+1; n++ {
		if from, to := z.on(w, n); from <= unix && unix < to {
			latest = max(latest, to)
		}
	}
	return latest
}

// nextQuiet is when the first of z's quiet times that is still to come begins; where none begins
// within a week, the end of the week.
func (w *wall) nextQuiet(z *Quiet, unix int64) int64 {
	today := w.day(unix)
	for n := today; n <= today+ahead; n++ {
		if from, to := z.on(w, n); from > unix && from < to {
			return from
		}
	}
	return w.first((today + ahead + 1) * day)
}

// frequency holds what would be one message too many, until there is room again. A cap of none
// refuses, and so does one that makes no sense.
func frequency(q *Request) finding { return q.caps(Frequency) }

// spacing holds what comes too soon after another message.
func spacing(q *Request) finding { return q.caps(Spacing) }

// caps asks the caps that belong to one rule.
func (q *Request) caps(rule Rule) finding {
	f := pass
	for i := range q.Home.Caps {
		if c := &q.Home.Caps[i]; c.rule() == rule && c.Picks(q.Message, q.Screen) && q.near(c.Owner) {
			f = f.and(c.judge(q))
		}
	}
	return f
}

// rule is where c belongs: one message in some minutes keeps messages apart.
func (c *Cap) rule() Rule {
	if c.Max == 1 && c.Minutes > 0 {
		return Spacing
	}
	return Frequency
}

// counts reports whether c counts e where q's message is to be shown. What is not known of e does
// not speak against counting it.
func (c *Cap) counts(e *Exposure, q *Request) bool {
	if (c.Each || c.Brand != "") && e.Brand != q.Message.Brand ||
		c.Purpose != NoPurpose && c.Purpose != e.Purpose ||
		c.Category != "" && c.Category != e.Category ||
		c.Device != "" && c.Device != e.Device ||
		c.Owner != device.Household && !e.Unknown && !slices.Contains(e.Who, c.Owner) {
		return false
	}
	if c.Class == 0 && c.Room == 0 {
		return true
	}
	s := q.Home.screen(e.Device)
	return s == nil || (c.Class == 0 || c.Class == s.Class) && (c.Room == 0 || c.Room == s.Room)
}

const (
	longestCap  = 168  // hours
	longestRest = 1440 // minutes
)

func (c *Cap) judge(q *Request) finding {
	switch {
	case c.Max <= 0, c.Hours < 0, c.Hours > longestCap, c.Minutes < 0, c.Minutes > longestRest, c.Hours > 0 && c.Minutes > 0:
		if c.Owner != device.Household && c.Owner != q.Screen.Owner && q.there.heard {
			return q.not(holdTo(q.there.soon), c.cause(q, CapNone, 0)) // they may leave
		}
		return q.not(refuse, c.cause(q, CapNone, 0))
	case c.Hours > 0:
		return c.rolling(q, time.Duration(c.Hours)*time.Hour)
	case c.Minutes > 0:
		return c.rolling(q, time.Duration(c.Minutes)*time.Minute)
	case q.Home.Zone == nil:
		return q.not(holdTo(q.there.soon), c.cause(q, ZoneUnknown, 0))
	default:
		return c.daily(q)
	}
}

func (c *Cap) cause(q *Request, code Code, have int) Cause {
	brand := c.Brand
	if c.Each {
		brand = q.Message.Brand
	}
	return Cause{Rule: c.rule(), Code: code, Person: c.Owner, Brand: brand, Purpose: c.Purpose, Category: c.Category, Class: c.Class,
		Device: c.Device, Room: c.Room, Have: have, Max: c.Max, Hours: c.Hours, Minutes: c.Minutes}
}

// full is what c says when it is used up until an instant.
func (c *Cap) full(q *Request, have int, until device.Instant) finding {
	code := CapFull
	if c.rule() == Spacing {
		code = TooClose
	}
	cause := c.cause(q, code, have)
	cause.Until = until
	return q.not(holdTo(sooner(until, q.there.soon)), cause)
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

// rolling: at least Max within the window means that the Max-th newest is still that young.
func (c *Cap) rolling(q *Request, window time.Duration) finding {
	after := q.Now.Add(-window)
	shown, n := before(q), 0
	for i := len(shown) - 1; i >= 0; i-- {
		if e := &shown[i]; e.At > after && c.counts(e, q) {
			if n++; n == c.Max {
				return c.full(q, n, min(e.At, endOfTime).Add(window))
			}
		}
	}
	return pass
}

// daily counts by the date on the wall: today's, and those of a later date, which there are if
// a clock was set back. The answer is asked for again when the zone changes its offset, because
// then a date may come twice.
func (c *Cap) daily(q *Request) finding {
	now := floor(int64(q.Now), 1000)
	w := wallAt(q.Home.Zone, now)
	today := w.day(now)
	shown, n := before(q), 0
	for i := range shown {
		// No local day is longer than two days; more than three ago is not worth a look-up.
		e := &shown[i]
		at := floor(int64(e.At), 1000)
		if at > now-3*day && c.counts(e, q) && w.day(at) >= today {
			n++
		}
	}
	switch {
	case n >= c.Max:
		return c.full(q, n, device.Instant(w.midnight(now)*1000))
	case w.to < int64(endOfTime)/1000:
		return showTo(device.Instant(w.to * 1000))
	default:
		return pass
	}
}

// dedupe refuses what this home has had, and holds what is open on another screen.
func dedupe(q *Request) finding {
	f := pass
	if q.Own {
		return f
	}
	for i := range q.Home.Shown {
		if e := &q.Home.Shown[i]; e.Message == q.Message.ID {
			if !e.Open {
				return q.not(refuse, Cause{Rule: Dedupe, Code: ShownBefore, Device: e.Device, At: e.At})
			}
			if f.verdict == Show {
				f = q.not(wait, Cause{Rule: Dedupe, Code: OnAnother, Device: e.Device, At: e.At})
			}
		}
	}
	return f
}

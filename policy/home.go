package policy

import (
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
	home, until := q.stance(device.Household, -1)
	switch own := h.number(owner); {
	case owner == device.Household && home != Given:
		f = f.and(q.says(refuse, device.Household))
	case owner == device.Household:
		f = f.and(showTo(until))
	case own < 0:
		f = f.and(q.not(refuse, Cause{Rule: Consent, Code: OwnerUnknown, Person: owner}))
	default:
		if h.People[own].Frozen {
			f = f.and(q.not(refuse, Cause{Rule: Consent, Code: FrozenAll, Person: owner}))
		}
		if c, until := q.stance(owner, own); c != Given {
			f = f.and(q.says(refuse, owner))
		} else {
			f = f.and(showTo(until))
		}
		if !mild(home) {
			f = f.and(q.says(refuse, device.Household))
		}
	}
	anybody, seen := q.anybody(), q.there.Known|q.there.Past
	for i := range h.People {
		one := &h.People[i]
		there := seen&(1<<i) != 0
		if one.ID == owner || !there && !anybody {
			continue
		}
		if one.Frozen {
			f = f.and(q.unless(Cause{Rule: Consent, Code: FrozenAll, Person: one.ID}))
		}
		switch c, until := q.stance(one.ID, i); {
		case !mild(c), c != Given && there && owner == device.Household:
			f = f.and(q.says(q.leaving(), one.ID))
		case there && owner == device.Household:
			f = f.and(showTo(until))
		}
	}
	return f
}

func mild(c Choice) bool { return c == Silent || c == Given }

// stance is what somebody has said about the message's brand and purpose, as it counts on this
// screen and now; of a yes until when, 0: for ever. place is where they stand among the people, -1
// for the home, and for who is none of them.
func (q *Request) stance(who device.PersonID, place int) (c Choice, until device.Instant) {
	var s said
	if row := q.scratch.offer; row != nil && (place >= 0 || who == device.Household) {
		s = row[1+place]
	} else {
		full := q.Home.Consents[ConsentKey{who, q.Message.Brand, q.Message.Purpose}]
		s = said{full.Until, full.Classes, full.Choice}
	}
	switch {
	case s.choice != Given:
		return s.choice, 0
	case s.until != 0 && q.Now >= s.until || !s.classes.Has(q.Screen.Class):
		return Silent, 0
	default:
		return Given, s.until
	}
}

// says is f, with what somebody has said written down if somebody wants to know why.
func (q *Request) says(f finding, who device.PersonID) finding {
	if q.notes == nil {
		return f
	}
	return q.not(f, q.word(who))
}

// word is what somebody has said about the message's brand and purpose, for or against.
func (q *Request) word(who device.PersonID) Cause {
	s := q.Home.Consents[ConsentKey{who, q.Message.Brand, q.Message.Purpose}]
	c := Cause{Rule: Consent, Code: SaidYes, Person: who, Brand: q.Message.Brand, Purpose: q.Message.Purpose, At: s.At, Device: s.Device}
	switch {
	case s.Choice == Silent:
		c.Code = NobodyAsked
	case s.Choice != Given:
		c.Code = SaidNo
	case s.Until != 0 && q.Now >= s.Until:
		c.Code, c.Until = Ended, s.Until
	case !s.Classes.Has(q.Screen.Class):
		c.Code, c.Class = NotOnThis, q.Screen.Class
	default:
		c.Verdict, c.Until = Show, s.Until
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
	if row := q.row(); q.Message.Sound && row != nil && !row.silent && q.Screen.Can.Sound != 0 && f != device.Voice && !q.anybody() {
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
func quiet(q *Request) finding {
	if q.notes == nil {
		return q.there.quiet
	}
	return q.quietTimes().and(q.moments())
}

// quietTimes holds during quiet time, until all who are there, or may be, are awake.
func (q *Request) quietTimes() finding {
	n := q.night(false)
	switch {
	case n.unread != "":
		return q.not(holdTo(q.there.soon), Cause{Rule: QuietTime, Code: n.unread, Person: n.owner})
	case n.to != 0:
		return q.not(holdTo(sooner(n.to, q.there.soon)), Cause{Rule: QuietTime, Code: QuietNow, Person: n.owner, Until: n.to})
	default:
		return showTo(n.next)
	}
}

// night is what the quiet times that count before a screen come to: those that hold messages back, or
// those that only want it dark.
type night struct {
	to     device.Instant  // it is on until then; 0: it is not
	next   device.Instant  // where it is not on, when it may be next; 0: never
	owner  device.PersonID // whose it is, of several theirs whose ends last
	unread Code            // why one cannot be read; "": all can
}

// night asks the quiet times that are dim, or all others. One may run into the next. A start that the clocks
// skip is at the change, an end that they skip too; of a start that comes twice the first counts, of an end the
// second.
func (q *Request) night(dim bool) (n night) {
	all := q.Home.Quiet
	if len(all) == 0 {
		return n
	}
	now := floor(int64(q.Now), 1000)
	var home wall
	to, next := now, int64(0)
	for i := range all {
		z := &all[i]
		if z.Dim != dim || !q.near(z.Owner) {
			continue
		}
		zone := z.zone(q.Home)
		switch {
		case zone == nil:
			return night{unread: ZoneUnknown, owner: z.Owner}
		case !z.valid():
			return night{unread: QuietSenseless, owner: z.Owner}
		case z.Zone == "" && home.zone == nil:
			home = q.Home.wall(zone, now)
		}
		w := z.wall(q.Home, &home, now)
		if end := w.quietTo(z, now); end > to {
			to, n.owner = end, z.Owner
		}
		if to == now {
			if begins := w.nextQuiet(z, now); next == 0 || begins < next {
				next = begins
			}
		}
	}
	if to == now {
		n.next = device.Instant(next * 1000)
		return n
	}
	for last := now; last < to && to < now+ahead*day; {
		last = to
		for i := range all {
			if z := &all[i]; z.Dim == dim && q.near(z.Owner) {
				w := z.wall(q.Home, &home, now)
				to = max(to, w.quietTo(z, last))
			}
		}
	}
	n.to = device.Instant(to * 1000)
	return n
}

// zone is where z's clock hangs; nil if that is not known.
func (z *Quiet) zone(h *Home) *time.Location {
	if z.Zone != "" {
		return z.Clock
	}
	return h.Zone
}

// wall is z's clock; home is that of its home.
func (z *Quiet) wall(h *Home, home *wall, now int64) wall {
	if z.Zone != "" {
		return h.wall(z.Clock, now)
	}
	return *home
}

func (z *Quiet) valid() bool {
	return z.Days < 1<<7 && 0 <= z.Start && z.Start < 24*60 && 0 <= z.End && z.End < 24*60
}

// begins reports whether z begins on a local day.
func (z *Quiet) begins(n int64) bool { return z.Days == 0 || z.Days&(1<<weekday(n)) != 0 }

// on returns the quiet time that starts on a local day, in Unix seconds; to <= from if there is
// none.
func (z *Quiet) on(w *wall, n int64) (from, to int64) {
	if !z.begins(n) {
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
	if w.plain(unix) {
		second := unix + w.offset - today*day
		start, end := int64(z.Start)*60, int64(z.End)*60
		if end <= start {
			end += day
		}
		if z.begins(today - 1) {
			latest = max(latest, unix+end-day-second)
		}
		if start <= second && z.begins(today) {
			latest = max(latest, unix+end-second)
		}
		return latest
	}
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

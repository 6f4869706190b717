package policy

import "porchlight/device"

// Reads is what an answer depends on beside the message and the clock. Nothing else changes it.
type Reads struct {
	Screen device.AttributeSet // what the screen itself tells
	Room   device.AttributeSet // what it tells, and every other screen of its room
	Home   device.AttributeSet // what any screen of the home tells, itself and the others
	Shown  bool                // what was shown: with less of it the answer may be milder
	Steps  bool                // with more of it, too, or with what became of it
	Wishes bool                // what people have chosen and prefer, who they are, and what there is in the home
}

// and joins what two answers depend on.
func (r Reads) and(s Reads) Reads {
	return Reads{r.Screen | s.Screen, r.Room | s.Room, r.Home | s.Home, r.Shown || s.Shown, r.Steps || s.Steps, r.Wishes || s.Wishes}
}

// Told reports whether what a screen tells matters at all.
func (r Reads) Told() bool { return r.Screen|r.Room|r.Home != 0 }

// Of is the set of what a screen tells that matters: same is the screen that was judged, near one of its
// room.
func (r Reads) Of(same, near bool) device.AttributeSet {
	all := r.Home
	if near || same {
		all |= r.Room
	}
	if same {
		all |= r.Screen
	}
	return all
}

// Watched is under what a decision is filed: it need not be taken again before something that it reads has
// changed, or the instant has come.
type Watched struct {
	Reads
	Until device.Instant // 0: the clock alone never changes it
}

// Watch says when d, which is Decide's answer to q, is to be taken again. A Show is watched by all
// rules. Of any other one failing rule is enough, because it is not shown while that one fails: of a
// Hold Decision.Watch, of a Refuse one that refuses. It allocates nothing.
func Watch(q Request, d Decision) (w Watched) {
	if parts(&q) != 0 {
		return Watched{Reads: Reads{Wishes: true}}
	}
	defer func() {
		if recover() != nil { // a rule that cannot be evaluated: whatever changes may mend it
			w = Watched{Reads: everything}
		}
	}()
	q.look()
	q.prepare()
	switch d.Verdict {
	case Show:
		w.Until = d.Until
		for r := range rules {
			w.Reads = w.and(q.reads(r))
		}
		return w
	case Hold:
		return q.watched(d.Watch, d.Until)
	default:
		w.Reads = everything
		for r := range rules {
			if d.Reasons.Has(r) && ask(r, &q).verdict == Refuse {
				one := q.watched(r, 0)
				one.Steps = one.Steps && r == Sequence // more of what was shown never takes back a refusal of another rule
				if w.Reads == everything || w.Told() && !one.Told() {
					w = one
				}
			}
		}
		return w
	}
}

// everything is all that there is to depend on.
var everything = Reads{Screen: ^device.AttributeSet(0), Room: ^device.AttributeSet(0), Home: ^device.AttributeSet(0), Shown: true, Steps: true, Wishes: true}

// watched is one failing rule, or the part of it that fails and depends on least, and until when that
// stands.
func (q *Request) watched(r Rule, until device.Instant) Watched {
	switch r {
	case Consent:
		if q.unwanted() {
			return Watched{Reads: Reads{Wishes: true}}
		}
	case QuietTime:
		if f := q.quietTimes(); f.verdict != Show { // whatever else goes on
			if f.until == 0 {
				f.until = until
			}
			return Watched{q.readsOfQuiet(), f.until}
		}
	}
	if t := q.lasting(r); t != 0 && (until == 0 || t < until) {
		until = t
	}
	return Watched{q.reads(r), until}
}

// lasting is the first instant to come at which something will have been so for as long as a rule asks; 0:
// there is none. For the clock alone what is told does not last that long where its time is over before. But
// told again, it does, and that is not news.
func (q *Request) lasting(r Rule) (first device.Instant) {
	switch r {
	case Safety:
		row := q.row()
		if row == nil {
			return 0
		}
		for _, group := range row.free {
			for _, all := range group {
				for i := range all {
					if f := &all[i]; f.lasting > 0 {
						if told, ok := q.Screen.Context.Get(f.attribute); ok {
							first = q.toCome(first, told.Since+f.lasting)
						}
					}
				}
			}
		}
	case Condition:
		return q.turns(first, q.Message.Condition)
	case Operator:
		for i := range q.Home.Rules {
			if o := &q.Home.Rules[i]; o.Picks(q.Message, q.Screen) {
				first = q.turns(first, o.Condition)
			}
		}
	}
	return first
}

// toCome is the earlier of first and t, if t is to come.
func (q *Request) toCome(first, t device.Instant) device.Instant {
	if t <= q.Now {
		return first
	}
	return sooner(first, t)
}

// turns is lasting, of a condition.
func (q *Request) turns(first device.Instant, c *Expression) device.Instant {
	if c == nil {
		return first
	}
	n := inquiry{q: q, free: true}
	for i := range c.leaves {
		l := &c.leaves[i]
		if l.v.domain != ofSince {
			continue
		}
		if told, on := n.reading(&l.v); on != nil && told.Value.Kind != device.Unknown {
			for _, cut := range l.cuts {
				if cut < 1e12 {
					first = q.toCome(first, told.Since+device.Instant(cut)*1000)
				}
			}
		}
	}
	return first
}

// unwanted reports whether consent refuses whoever is there.
func (q *Request) unwanted() bool {
	home, _ := q.stance(device.Household, -1)
	if q.Home.Frozen || !mild(home) {
		return true
	}
	if q.Screen.Owner == device.Household {
		return home != Given
	}
	own := q.Home.number(q.Screen.Owner)
	if own < 0 || q.Home.People[own].Frozen {
		return true
	}
	c, _ := q.stance(q.Screen.Owner, own)
	return c != Given
}

// What tells who is in front of a screen.
var presence = device.Attributes(device.PresenceWho, device.PresenceCount, device.RoomOccupancy)

// reads is what one rule looks at.
func (q *Request) reads(r Rule) Reads {
	switch r {
	case Safety:
		return q.readsOfSafety()
	case Age, Consent:
		return whoIsAround
	case Sensitive:
		if q.scratch.traits.sensitive {
			return whoIsAround
		}
		return Reads{}
	case Terms:
		return Reads{Wishes: true}
	case Mute:
		for i := range q.Home.Mutes {
			if m := &q.Home.Mutes[i]; q.moves(m.Owner) && m.Picks(q.Message, q.Screen) {
				return whoIsAround
			}
		}
		return Reads{Wishes: true}
	case QuietTime:
		all := q.readsOfQuiet()
		for _, m := range q.Home.Moments {
			all = all.and(m.reads())
		}
		return all
	case Frequency, Spacing:
		return q.readsOfCaps(r)
	case Dedupe:
		return Reads{Shown: true, Steps: true}
	case Sequence:
		return Reads{Shown: q.Message.Journey != "" || q.Message.Echo != NoAct, Steps: q.Message.Journey != "" || q.Message.Echo != NoAct, Wishes: true}
	case Condition:
		return q.readsOfCondition()
	case Capability:
		return q.readsOfDuties()
	case Operator:
		return q.readsOfOperators()
	default: // validity has its clock; the rest fail never
		return Reads{}
	}
}

var whoIsAround = Reads{Room: presence, Wishes: true}

// moves reports whether it depends on who is there whether somebody's own wish counts.
func (q *Request) moves(owner device.PersonID) bool {
	return owner != device.Household && owner != q.Screen.Owner
}

// readsOfSafety is what the safety rule looks at: all that the screen itself tells, alarms anywhere, who is
// there where the text must be short, because it is chosen by that, and the moments of its row.
func (q *Request) readsOfSafety() Reads {
	r := Reads{Screen: ^device.AttributeSet(0), Home: device.Attributes(device.Alarm), Wishes: true}
	if row := q.row(); row != nil {
		if row.chars > 0 {
			r.Room = presence
		}
		r.Shown = row.trip > 0
		for _, m := range row.moments {
			r = r.and(m.reads())
		}
	}
	return r
}

// readsOfDuties is what the duties of q's screen depend on, and so whether it can meet them.
func (q *Request) readsOfDuties() Reads {
	r := Reads{Wishes: true}
	if q.Screen.Owner != device.Household && q.scratch.traits.sensitive {
		r.Room = presence
	}
	for i := range q.Home.Quiet {
		if z := &q.Home.Quiet[i]; z.Dim && q.moves(z.Owner) {
			r.Room = presence
		}
	}
	return r
}

func (q *Request) readsOfQuiet() Reads {
	r := Reads{Wishes: true}
	for i := range q.Home.Quiet {
		if z := &q.Home.Quiet[i]; !z.Dim && q.moves(z.Owner) {
			r.Room = presence
		}
	}
	return r
}

// reads is what tells of m.
func (m Moment) reads() (r Reads) {
	switch m {
	case Film:
		r.Room = device.Attributes(device.PlayerState, device.Fullscreen)
	case Call:
		r.Room = device.Attributes(device.CallActive)
	case Sleep:
		r.Room = presence // whose sleep it is
		r.Home = device.Attributes(device.Sleeping)
	}
	return r
}

func (q *Request) readsOfCaps(rule Rule) Reads {
	r := Reads{Wishes: true}
	for i := range q.Home.Caps {
		c := &q.Home.Caps[i]
		if c.rule() != rule || !c.Picks(q.Message, q.Screen) {
			continue
		}
		r.Shown = true
		if q.moves(c.Owner) {
			r.Room = presence
		}
		if c.Trip {
			r.Screen = device.Attributes(device.LowVoltage, device.Driving)
		}
	}
	return r
}

func (q *Request) readsOfCondition() (r Reads) {
	m := q.Message
	if len(m.When) == 0 && m.Condition == nil {
		return r
	}
	r = whoIsAround // what is told of people counts only where they have agreed to it
	screen, home := m.Condition.Attributes()
	r.Screen, r.Home = screen, home
	for i := range m.When {
		p := &m.When[i]
		if p.Class == 0 {
			r.Screen = r.Screen.With(p.Attribute)
		} else {
			r.Home = r.Home.With(p.Attribute)
		}
	}
	return r
}

package policy

import (
	"slices"
	"strings"

	"porchlight/device"
)

// endOfTime is the last millisecond of the year 9999: a clock beyond it is no clock.
const endOfTime device.Instant = 253402300799999

// validity refuses what is not a whole message or is over, and holds what is too early. Without
// a clock nothing is valid.
func validity(q *Request) finding {
	m := q.Message
	say := func(f finding, code Code, until device.Instant) finding {
		return q.not(f, Cause{Rule: Validity, Code: code, Until: until})
	}
	switch {
	case m.ID == device.MessageID{} || m.Brand == "" || !m.Purpose.Known() || m.Purpose == Context:
		return say(refuse, NotWhole, 0)
	case q.Now <= 0 || q.Now > endOfTime:
		return say(refuse, NoTime, 0)
	case q.Now >= m.NotAfter || m.NotBefore >= m.NotAfter:
		return say(refuse, Over, max(m.NotAfter, 0))
	case q.Now < m.NotBefore:
		return say(holdTo(m.NotBefore), NotYet, m.NotBefore)
	default:
		return showTo(m.NotAfter)
	}
}

// maxButtons is how many buttons the contract has at most, whatever a device says.
const maxButtons = 4

// capability refuses what the screen cannot present or the message is not for.
func capability(q *Request) finding {
	m, s := q.Message, q.Screen
	f := pass
	say := func(c Cause) {
		c.Rule, c.Class = Capability, s.Class
		f = f.and(q.not(refuse, c))
	}
	if len(m.Classes) > 0 && !slices.Contains(m.Classes, s.Class) {
		say(Cause{Code: NotForClass})
	}
	if _, ok := form(m, s, q.row()); !ok {
		say(Cause{Code: CannotShow})
	}
	switch n, most := len(m.Buttons), min(s.Can.MaxButtons, maxButtons); {
	case n > 0 && s.Can.Inputs == 0:
		say(Cause{Code: NoWayToAnswer})
	case uint(n) > most:
		say(Cause{Code: TooManyButtons, Have: n, Max: int(most)})
	}
	if len(m.Texts) == 0 {
		say(Cause{Code: NoWords})
	}
	return f.and(q.unmet())
}

// form is the first of m's forms that s can show and its class allows.
func form(m *Message, s *Screen, row *safetyRow) (f device.Form, ok bool) {
	if row == nil {
		return 0, false
	}
	for _, f := range m.Forms {
		if s.Can.CanShow(f) && row.forms.has(f) {
			return f, true
		}
	}
	return 0, false
}

// text is the index of the text to use: in a language of the one person who is there, if it fits
// the screen; else of the home's, else of the screen's, else the first.
func (q *Request) text() int {
	if q.scratch.text == 0 {
		q.scratch.text = 1 + q.suits()
	}
	return q.scratch.text - 1
}

func (q *Request) suits() int {
	m, s := q.Message, q.Screen
	if one := q.alone(); one != nil {
		row := q.row()
		if i := speaks(m, one.Languages); i >= 0 && (row == nil || row.chars == 0 || length(m, i) <= row.chars) {
			return i
		}
	}
	if i := speaks(m, q.Home.Languages); i >= 0 {
		return i
	}
	return max(0, speaks(m, s.Can.Languages))
}

// speaks is the index of m's text in the first of the languages that m speaks; -1 if it speaks
// none.
func speaks(m *Message, languages []string) int {
	for _, want := range languages {
		best, rank := -1, 0
		for i := range m.Texts {
			if r := likeness(want, m.Texts[i].Language); r > rank {
				best, rank = i, r
			}
		}
		if best >= 0 {
			return best
		}
	}
	return -1
}

// likeness is how well a text in language have serves a screen that wants want; 0: not at all.
// The same is best, then the longest beginning of want ("de" for "de-CH"), then anything that
// begins with want ("de-CH" for "de").
func likeness(want, have string) int {
	switch {
	case want == "":
		return 0
	case strings.EqualFold(want, have):
		return 1 << 20
	case begins(want, have):
		return 1 + len(have)
	case begins(have, want):
		return 1
	default:
		return 0
	}
}

// begins reports whether the language tag tag begins with the whole subtags of prefix.
func begins(tag, prefix string) bool {
	return len(tag) > len(prefix) && tag[len(prefix)] == '-' && strings.EqualFold(tag[:len(prefix)], prefix)
}

// condition holds until every predicate of the message, and its expression, is known to be true,
// and refuses a predicate that has no meaning.
func condition(q *Request) finding {
	f, n := pass, inquiry{q: q}
	for i := range q.Message.When {
		p := &q.Message.When[i]
		g := p.judge(&n)
		if g.verdict != Show {
			q.not(g, p.why(&n, g))
		}
		f = f.and(g)
	}
	if c := q.Message.Condition; c != nil {
		g := n.judge(c).holds()
		if q.notes != nil && g.verdict != Show {
			n.blame(c)
		}
		f = f.and(g)
	}
	return f
}

// cause says that p fails, or holds, as g says.
func (p *Predicate) cause(g finding) Cause {
	c := Cause{Rule: Condition, Code: WaitsFor, Verdict: g.verdict, Until: g.until, Class: p.Class, Attribute: p.Attribute, Op: p.Op, Value: p.Value}
	switch g.verdict {
	case Refuse:
		c.Code = NoSense
	case Show:
		c.Code = Happened
	}
	return c
}

// why is the cause that p fails.
func (p *Predicate) why(n *inquiry, g finding) Cause {
	c := p.cause(g)
	if g.verdict == Hold && delicate(p.Attribute) && n.refused(variable{class: p.Class, attribute: p.Attribute}) {
		c = Cause{Rule: Condition, Code: NotItsConcern, Brand: n.q.Message.Brand, Class: p.Class, Attribute: p.Attribute}
	}
	return c
}

func (p *Predicate) judge(n *inquiry) finding {
	if !p.valid() {
		return refuse
	}
	if p.Class == 0 {
		return p.allowed(n, n.q.Screen)
	}
	f := wait
	for _, s := range n.q.Home.Screens {
		if s != nil && s.Class == p.Class {
			f = f.or(p.allowed(n, s))
		}
	}
	return f
}

// allowed asks one screen, if what it is asked may be known.
func (p *Predicate) allowed(n *inquiry, s *Screen) finding {
	if !delicate(p.Attribute) {
		return p.on(s, n.q.Now)
	}
	leave := n.permitted(s)
	if leave == 0 {
		return holdTo(n.q.there.soon)
	}
	return p.on(s, n.q.Now).and(showTo(orNone(leave)))
}

// on asks one screen.
func (p *Predicate) on(s *Screen, now device.Instant) finding {
	if v, until, fresh := s.Context.Fresh(s.Class, p.Attribute, now); fresh {
		if p.true(v) {
			return showTo(until)
		}
		return wait
	}
	if r, told := s.Context.Get(p.Attribute); told && p.true(r.Value) {
		return upcoming(r, p.Attribute, s.Class, now)
	}
	return wait
}

func (p *Predicate) true(v device.Value) bool {
	if v.Kind != p.Value.Kind {
		return false
	}
	switch p.Op {
	case EQ:
		return v.Num == p.Value.Num && v.Text == p.Value.Text
	case NE:
		return v.Num != p.Value.Num || v.Text != p.Value.Text
	case LT:
		return v.Num < p.Value.Num
	case LE:
		return v.Num <= p.Value.Num
	case GT:
		return v.Num > p.Value.Num
	case GE:
		return v.Num >= p.Value.Num
	default:
		return false
	}
}

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
func validity(q Request) finding {
	m := q.Message
	switch {
	case m.ID == device.MessageID{} || m.Brand == "" || !m.Purpose.Known():
		return refuse
	case q.Now <= 0 || q.Now > endOfTime:
		return refuse
	case q.Now >= m.NotAfter || m.NotBefore >= m.NotAfter:
		return refuse
	case q.Now < m.NotBefore:
		return holdTo(m.NotBefore)
	default:
		return showTo(m.NotAfter)
	}
}

// maxButtons is how many buttons the contract has at most, whatever a device says.
const maxButtons = 4

// capability refuses what the screen cannot present or the message is not for.
func capability(q Request) finding {
	m, s := q.Message, q.Screen
	_, ok := form(m, s)
	switch {
	case !ok, len(m.Texts) == 0:
		return refuse
	case len(m.Classes) > 0 && !slices.Contains(m.Classes, s.Class):
		return refuse
	case len(m.Buttons) > 0 && (s.Can.Inputs == 0 || uint(len(m.Buttons)) > min(s.Can.MaxButtons, maxButtons)):
		return refuse
	default:
		return pass
	}
}

// form is the first of m's forms that s can show and its class allows.
func form(m *Message, s *Screen) (f device.Form, ok bool) {
	row := safetyOf(s.Class)
	if row == nil {
		return 0, false
	}
	for _, f := range m.Forms {
		if s.Can.CanShow(f) && slices.Contains(row.forms, f) {
			return f, true
		}
	}
	return 0, false
}

// text is the index of m's text in the first of s's languages that m speaks; 0 if there is none.
func text(m *Message, s *Screen) int {
	for _, want := range s.Can.Languages {
		best, rank := 0, 0
		for i := range m.Texts {
			if r := likeness(want, m.Texts[i].Language); r > rank {
				best, rank = i, r
			}
		}
		if rank > 0 {
			return best
		}
	}
	return 0
}

// likeness is how well a text in language have serves a screen that wants want; 0: not at all.
// The same is best, then the longest beginning of want ("de" for "de-CH"), then anything that
// begins with want ("de-CH" for "de").
func likeness(want, have string) int {
	switch {
	case want == "" || have == "":
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

// condition holds until every predicate of the message is known to be true, and refuses one
// that has no meaning.
func condition(q Request) finding {
	f := pass
	for i := range q.Message.When {
		f = f.and(q.Message.When[i].judge(q))
	}
	return f
}

func (p *Predicate) judge(q Request) finding {
	if !p.valid() {
		return refuse
	}
	if p.Class == 0 {
		return p.on(q.Screen, q.Now)
	}
	f := wait
	for _, s := range q.Home.Screens {
		if s != nil && s.Class == p.Class {
			f = f.or(p.on(s, q.Now))
		}
	}
	return f
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

package policy

import (
	"fmt"
	"strings"

	"porchlight/device"
)

// blame writes down which comparisons of c stand in the way of its being true.
func (n *inquiry) blame(c *Expression) {
	if len(c.nodes) == 0 {
		n.q.not(wait, Cause{Rule: Condition, Code: NoSense})
		return
	}
	n.fault(c, len(c.nodes)-1, True)
}

// fault writes down why a node is not want. Where either of two would do, it names the one that the
// clock brings about first, and without one the first.
func (n *inquiry) fault(c *Expression, i int, want Truth) {
	p := &c.nodes[i]
	a, b := int(p.a), int(p.b)
	switch {
	case p.op == compare:
		n.q.not(n.lacks(c, i, want), n.reproach(&c.leaves[p.leaf], want))
	case p.op == fixed:
		n.q.not(wait, Cause{Rule: Condition, Code: NoSense})
	case p.op == opposite:
		n.fault(c, a, want.not())
	case p.op == choose:
		switch n.truth(c, a) {
		case True:
			n.fault(c, b, want)
		case False:
			n.fault(c, int(p.c), want)
		default:
			n.fault(c, a, True)
		}
	case (p.op == allOf) == (want == True): // both are needed
		for _, j := range []int{a, b} {
			if n.truth(c, j) != want {
				n.fault(c, j, want)
			}
		}
	case c.nodes[a].op != fixed && !n.lacks(c, a, want).outlasts(n.lacks(c, b, want)):
		n.fault(c, a, want)
	default:
		n.fault(c, b, want)
	}
}

// lacks is a Hold until a node may be want.
func (n *inquiry) lacks(c *Expression, i int, want Truth) finding {
	s := n.span(c, i)
	if want == False {
		s = s.not()
	}
	return holdTo(orNone(s.yes))
}

// opposites are what a comparison is called that must not be true.
var opposites = map[Op]Op{EQ: NE, NE: EQ, LT: GE, GE: LT, LE: GT, GT: LE}

// reproach is the cause that l is not want.
func (n *inquiry) reproach(l *leaf, want Truth) Cause {
	c := Cause{Rule: Condition, Class: l.v.class, Attribute: l.v.attribute}
	if l.v.sensitive() && n.refused(l.v) {
		c.Code, c.Brand = NotItsConcern, n.q.Message.Brand
		return c
	}
	switch l.v.domain {
	case ofClock, ofDate:
		c.Code = WrongTime
	case ofPeople:
		c.Code = WrongCompany
		switch n.gap(l) {
		case NotTold:
			c.Code = NobodyTold
		case Stale:
			c.Code = ToldLongAgo
		case Stranger:
			c.Code = StrangerThere
		}
	case ofSince:
		c.Code = WaitsLonger
	default:
		if v, op, ok := l.plainly(want); ok {
			c.Code, c.Op, c.Value = WaitsFor, op, v
		} else {
			c.Code = WaitsForOther
		}
	}
	return c
}

// plainly is l, or its opposite, as one comparison with one value, if it is one.
func (l *leaf) plainly(want Truth) (v device.Value, op Op, ok bool) {
	if l.v.domain != ofReading || l.constants != 1 {
		return v, "", false
	}
	if op = l.op; op == "in" {
		op = EQ
	}
	if want == False {
		op = opposites[op]
	}
	v.Kind = l.v.attribute.Info().Kind
	if v.Kind == device.Text {
		v.Text = l.texts[0]
	} else {
		v.Num = l.points[0]
	}
	if v.Kind == device.Bool && op == NE { // said the other way round
		v.Num, op = 1-v.Num, EQ
	}
	return v, op, true
}

// Gap is why a comparison is unknown.
type Gap string

// The gaps.
const (
	NoGap      Gap = ""
	NotAllowed Gap = "not allowed"        // the people concerned have not given the brand leave to know
	NotTold    Gap = "not told"           // nothing has told it, or a device says that it does not know
	Stale      Gap = "stale"              // it was told too long ago, or before the device's connection ended
	Stranger   Gap = "somebody not known" // somebody is there whom nobody knows, or may be
	NoClock    Gap = "no clock"           // the home's time zone is not known, or the time is not
)

// gap is why l is unknown; none if it is known.
func (n *inquiry) gap(l *leaf) Gap {
	if n.leafTruth(l) != NotKnown {
		return NoGap
	}
	switch l.v.domain {
	case ofClock, ofDate:
		return NoClock
	case ofPeople:
		switch p := &n.q.there; {
		case n.refused(l.v):
			return NotAllowed
		case !p.heard:
			return NotTold
		case !p.Told || p.Past != 0:
			return Stale
		default:
			return Stranger
		}
	}
	switch r, on := n.reading(&l.v); {
	case on != nil && l.v.sensitive() && n.permitted(on) == 0:
		return NotAllowed
	case on == nil || r.Value.Kind == device.Unknown:
		return NotTold
	default:
		return Stale
	}
}

// refused reports whether v is not known because those concerned have not agreed.
func (n *inquiry) refused(v variable) bool {
	if v.domain == ofPeople {
		return n.permitted(nil) == 0
	}
	_, on := n.reading(&v)
	return on != nil && n.permitted(on) == 0
}

// credit appends what of c has happened: the comparisons with what devices told that make it true.
func (n *inquiry) credit(c *Expression, all []Cause) []Cause {
	if c == nil || len(c.nodes) == 0 {
		return all
	}
	var walk func(i int, want Truth)
	walk = func(i int, want Truth) {
		switch p := &c.nodes[i]; {
		case n.truth(c, i) != want:
		case p.op == compare:
			l := &c.leaves[p.leaf]
			if v, op, ok := l.plainly(want); ok {
				all = append(all, Cause{Rule: Condition, Code: Happened, Verdict: Show, Until: orNone(n.span(c, i).notYet(want)),
					Class: l.v.class, Attribute: l.v.attribute, Op: op, Value: v})
			}
		case p.op == opposite:
			walk(int(p.a), want.not())
		case p.op == choose:
			taken := p.c
			if n.truth(c, int(p.a)) == True {
				taken = p.b
			}
			walk(int(p.a), n.truth(c, int(p.a)))
			walk(int(taken), want)
		case p.op != fixed:
			walk(int(p.a), want)
			walk(int(p.b), want)
		}
	}
	walk(len(c.nodes)-1, True)
	return all
}

// notYet is when s may cease to be want.
func (s span) notYet(want Truth) device.Instant {
	if want == True {
		return s.notYes
	}
	return s.notNo
}

// Step is what a part of a condition comes to.
type Step struct {
	Text  string         `json:"text"`
	Depth int            `json:"depth"` // of the whole 0
	Truth Truth          `json:"-"`
	Until device.Instant `json:"until,omitempty"` // the clock alone does not change it before; 0: never
	Why   Gap            `json:"why,omitempty"`   // of a comparison that is unknown
}

// Judge is what c comes to for q, and until when the clock alone does not change that; 0: never. It is
// unknown if q lacks a home or a screen. Without a message everything may be read.
func (c *Expression) Judge(q Request) (Truth, device.Instant) {
	n := inquiry{q: &q}
	if !n.ready() {
		return NotKnown, 0
	}
	s := n.judge(c)
	return s.truth(), s.until()
}

// Explain is what each part of c comes to for q, each before its own parts. It is nil if q lacks a
// home or a screen. Without a message everything may be read.
func (c *Expression) Explain(q Request) (all []Step) {
	n := inquiry{q: &q}
	if c == nil || len(c.nodes) == 0 || !n.ready() {
		return nil
	}
	var walk func(i, depth int)
	walk = func(i, depth int) {
		p, s := &c.nodes[i], n.span(c, i)
		step := Step{Text: c.part(i), Depth: depth, Truth: s.truth(), Until: s.until()}
		if p.op == compare {
			step.Why = n.gap(&c.leaves[p.leaf])
		}
		all = append(all, step)
		switch p.op {
		case opposite:
			walk(int(p.a), depth+1)
		case allOf, anyOf:
			for _, j := range []int16{p.a, p.b} {
				if c.nodes[j].op == p.op { // a && b && c are three
					c.each(int(j), func(k int) { walk(k, depth+1) })
				} else {
					walk(int(j), depth+1)
				}
			}
		case choose:
			walk(int(p.a), depth+1)
			walk(int(p.b), depth+1)
			walk(int(p.c), depth+1)
		}
	}
	walk(len(c.nodes)-1, 0)
	return all
}

// each calls f with every operand of a row of the same operators.
func (c *Expression) each(i int, f func(int)) {
	op := c.nodes[i].op
	for _, j := range []int16{c.nodes[i].a, c.nodes[i].b} {
		if c.nodes[j].op == op {
			c.each(int(j), f)
		} else {
			f(int(j))
		}
	}
}

// ready looks who is there, if there is something to look at.
func (n *inquiry) ready() bool {
	q := n.q
	if q.Home == nil || q.Screen == nil {
		return false
	}
	n.free = q.Message == nil
	q.look()
	return true
}

// OperatorRule is a rule of whoever runs the gateway. It only ever stops messages: those that its
// Selector picks, unless its Condition is known to be false.
type OperatorRule struct {
	ID        string // 1 to 64 characters of a-z, 0-9 and hyphen: as decisions name it
	Condition *Expression
	Verdict   Verdict // Refuse or Hold
	Selector
}

// Check reports what is wrong with r; nil if it can be judged.
func (r *OperatorRule) Check() error {
	switch {
	case len(r.ID) == 0 || len(r.ID) > 64 || strings.Trim(r.ID, "abcdefghijklmnopqrstuvwxyz0123456789-") != "":
		return fmt.Errorf("rule %.64q: its id is 1 to 64 characters of a-z, 0-9 and hyphen", r.ID)
	case r.Condition == nil:
		return fmt.Errorf("rule %s: it has no condition", r.ID)
	case r.Verdict != Refuse && r.Verdict != Hold:
		return fmt.Errorf("rule %s: its verdict is refuse or hold", r.ID)
	}
	return nil
}

// operators stops what a rule of the gateway's operator picks, unless the rule's condition is known
// to be false: what is not known does not let a message through. What such a rule reads stays in the
// house, so that it may read everything. A rule that refuses only holds where the clock alone could
// end it.
func operators(q *Request) finding {
	f := pass
	for i := range q.Home.Rules {
		r := &q.Home.Rules[i]
		if !r.Picks(q.Message, q.Screen) {
			continue
		}
		n := inquiry{q: q, free: true}
		s := n.judge(r.Condition)
		if s.truth() == False {
			f = f.and(showTo(orNone(s.notNo)))
			continue
		}
		g := refuse
		if r.Verdict != Refuse || s.no != never {
			g = holdTo(orNone(s.no))
		}
		f = f.and(q.not(g, Cause{Rule: Operator, Code: OperatorSays, ID: r.ID}))
	}
	return f
}

// readsOfOperators is what the rules of the gateway's operator look at.
func (q *Request) readsOfOperators() (all Reads) {
	for i := range q.Home.Rules {
		r := &q.Home.Rules[i]
		if !r.Picks(q.Message, q.Screen) {
			continue
		}
		screen, home := r.Condition.Attributes()
		all = all.and(Reads{Screen: screen, Home: home, Wishes: true})
		if screen.Intersects(presence) {
			all = all.and(whoIsAround)
		}
	}
	return all
}

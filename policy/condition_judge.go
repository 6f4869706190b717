package policy

import (
	"math"
	"math/bits"
	"slices"

	"porchlight/device"
)

// operator is what a node does.
type operator uint8

const (
	compare  operator = iota // a leaf
	fixed                    // true or false
	opposite                 // !a
	allOf                    // a && b
	anyOf                    // a || b
	choose                   // a ? b : c
)

// node is a part of a condition.
type node struct {
	op       operator
	truth    Truth // of fixed
	leaf     int16 // of compare
	a, b, c  int16 // the operands
	from, to int32 // where it stands in the text, in bytes
}

// test is how a leaf tells a value that it is true for.
type test uint8

const (
	byMask   test = iota // of words and of true and false: bit n of mask
	byCuts               // of whole numbers: it is first below cuts[0], and turns at each of them
	byNumber             // op num, or one of points
	byText               // op, or one of texts
)

// leaf is one comparison.
type leaf struct {
	v         variable
	test      test
	op        Op // "in": one of several
	first     bool
	mask      uint64
	num       float64
	cuts      []float64
	points    []float64 // the constants, as numbers
	texts     []string
	constants int
}

// limits are the least value of a whole-numbered variable, and the first above the greatest.
func (v variable) limits() (low, high float64) {
	switch v.domain {
	case ofClock:
		return 0, 24 * 60
	case ofDate:
		return 0, lastDay + 1
	case ofPeople:
		return 0, 64 + 1
	default: // since
		return 0, math.Inf(1)
	}
}

// lastDay is 9999-12-31, the last date that is written with four digits.
const lastDay = 2932896

// cut makes cuts of a comparison of a whole-numbered variable.
func (l *leaf) cut(v variable, op Op, points []float64) {
	unit := 1.0
	if v.aspect == asHour {
		unit = 60
	}
	low, high := v.limits()
	var turns []float64 // in pairs of from and to, or one where it stays
	points = slices.Clone(points)
	slices.Sort(points)
	for _, p := range slices.Compact(points) {
		up, over := math.Ceil(p), math.Floor(p)+1
		switch op {
		case LT, GE:
			turns = append(turns, up*unit)
		case LE, GT:
			turns = append(turns, over*unit)
		default:
			turns = append(turns, up*unit, over*unit) // the same twice where it is no whole number
		}
	}
	l.first = op == LT || op == LE || op == NE
	slices.Sort(turns)
	for i := 0; i < len(turns); i++ {
		switch t := turns[i]; {
		case i+1 < len(turns) && turns[i+1] == t: // out and in again
			i++
		case t <= low:
			l.first = !l.first
		case t < high:
			l.cuts = append(l.cuts, t)
		}
	}
}

// holds reports whether l is true for a value.
func (l *leaf) holds(num float64, text string) bool {
	switch l.test {
	case byMask:
		return l.mask>>uint(num)&1 != 0
	case byCuts:
		t := l.first
		for _, c := range l.cuts {
			if num < c {
				break
			}
			t = !t
		}
		return t
	case byNumber:
		switch l.op {
		case EQ:
			return num == l.num
		case NE:
			return num != l.num
		case LT:
			return num < l.num
		case LE:
			return num <= l.num
		case GT:
			return num > l.num
		case GE:
			return num >= l.num
		default:
			return slices.Contains(l.points, num)
		}
	default:
		return slices.Contains(l.texts, text) != (l.op == NE)
	}
}

// span is what a part of a condition comes to, and when the clock alone could make it something
// else. Each is the earliest instant; 0 is now, and never is never.
type span struct {
	yes, notYes device.Instant // true; not true
	no, notNo   device.Instant // false; not false
}

const never = device.Instant(math.MaxInt64)

func (s span) truth() Truth {
	switch {
	case s.notYes != 0:
		return True
	case s.notNo != 0:
		return False
	default:
		return NotKnown
	}
}

func (s span) not() span { return span{s.no, s.notNo, s.yes, s.notYes} }

// spanOf is a truth that is known until ends, and not known from then on.
func spanOf(t bool, ends device.Instant) span {
	if t {
		return span{0, ends, never, 0}
	}
	return span{never, 0, 0, ends}
}

// unknownTo is what is not known until an instant, and may be anything then.
func unknownTo(t device.Instant) span { return span{t, 0, t, 0} }

// turning is a truth that turns at turns, if it is known that long: until ends.
func turning(t bool, turns, ends device.Instant) span {
	if turns >= ends {
		return spanOf(t, ends)
	}
	if t {
		return span{0, turns, turns, 0}
	}
	return span{turns, 0, 0, turns}
}

func (s span) and(t span) span {
	return span{max(s.yes, t.yes), min(s.notYes, t.notYes), min(s.no, t.no), max(s.notNo, t.notNo)}
}

func (s span) or(t span) span {
	return span{min(s.yes, t.yes), max(s.notYes, t.notYes), max(s.no, t.no), min(s.notNo, t.notNo)}
}

// choose is s ? yes : no. What depends on something unknown is unknown, whatever comes of it.
func (s span) choose(yes, no span) span {
	return span{
		min(max(s.yes, yes.yes), max(s.no, no.yes)), max(min(s.notYes, yes.notYes), min(s.notNo, no.notYes)),
		min(max(s.yes, yes.no), max(s.no, no.no)), max(min(s.notYes, yes.notNo), min(s.notNo, no.notNo)),
	}
}

// holds is what a rule says that asks for s to be true.
func (s span) holds() finding {
	if s.truth() == True {
		return showTo(orNone(s.notYes))
	}
	return holdTo(orNone(s.yes))
}

// until is when the clock alone could change the truth of s; 0: never.
func (s span) until() device.Instant {
	switch s.truth() {
	case True:
		return orNone(s.notYes)
	case False:
		return orNone(s.notNo)
	default:
		return orNone(min(s.yes, s.no))
	}
}

// orNone is t as the rules spell it: 0 is never.
func orNone(t device.Instant) device.Instant {
	if t == never {
		return 0
	}
	return t
}

// orNever is t as a span spells it.
func orNever(t device.Instant) device.Instant {
	if t == 0 {
		return never
	}
	return t
}

// inquiry judges conditions for one request: what several comparisons need is worked out once.
type inquiry struct {
	q      *Request
	free   bool // sensitive variables may be read: whoever wrote it is of the house
	walled bool
	asked  bool
	// of an inquiry that is walled
	second  int64          // on the wall
	offset  int64          // of the wall from UTC, in seconds
	changes int64          // the Unix second at which the offset changes next
	leave   device.Instant // until when the people concerned have agreed to be read; 0: they have not
}

// judge is what c comes to.
func (n *inquiry) judge(c *Expression) span {
	if c == nil || len(c.nodes) == 0 {
		return unknownTo(never)
	}
	return n.span(c, len(c.nodes)-1)
}

func (n *inquiry) span(c *Expression, i int) span {
	switch p := &c.nodes[i]; p.op {
	case compare:
		return n.leaf(&c.leaves[p.leaf])
	case fixed:
		return spanOf(p.truth == True, never)
	case opposite:
		return n.span(c, int(p.a)).not()
	case allOf:
		return n.span(c, int(p.a)).and(n.span(c, int(p.b)))
	case anyOf:
		return n.span(c, int(p.a)).or(n.span(c, int(p.b)))
	default:
		return n.span(c, int(p.a)).choose(n.span(c, int(p.b)), n.span(c, int(p.c)))
	}
}

// truth is the truth of span alone.
func (n *inquiry) truth(c *Expression, i int) Truth {
	switch p := &c.nodes[i]; p.op {
	case compare:
		return n.leafTruth(&c.leaves[p.leaf])
	case fixed:
		return p.truth
	case opposite:
		return n.truth(c, int(p.a)).not()
	case allOf, anyOf:
		settles := False
		if p.op == anyOf {
			settles = True
		}
		a := n.truth(c, int(p.a))
		if a == settles {
			return a
		}
		if b := n.truth(c, int(p.b)); a != NotKnown || b == settles {
			return b
		}
		return NotKnown
	default:
		switch n.truth(c, int(p.a)) {
		case True:
			return n.truth(c, int(p.b))
		case False:
			return n.truth(c, int(p.c))
		default:
			return NotKnown
		}
	}
}

// leaf is what one comparison comes to.
func (n *inquiry) leaf(l *leaf) span {
	switch l.v.domain {
	case ofClock, ofDate:
		if !n.clock() {
			return unknownTo(never)
		}
		return n.timed(l)
	case ofPeople:
		p := &n.q.there
		until := n.permitted(nil)
		value, known := n.people(l.v.aspect)
		if until == 0 || !known {
			return unknownTo(orNever(p.soon))
		}
		return spanOf(l.holds(value, ""), min(until, orNever(p.Until)))
	}
	r, on := n.reading(&l.v)
	if on == nil {
		return unknownTo(never)
	}
	leave := never
	if !harmless.Has(l.v.attribute) {
		if leave = n.permitted(on); leave == 0 {
			return unknownTo(orNever(n.q.there.soon))
		}
	}
	ends := r.Until(l.v.attribute, on.Class)
	if now := n.q.Now; !isFresh(r, ends, now) {
		f := upcoming(r, l.v.attribute, on.Class, now)
		if r.Value.Kind == device.Unknown || f.until == 0 {
			return unknownTo(never)
		}
		s := unknownTo(f.until)
		if l.v.domain == ofReading {
			if l.holds(r.Value.Num, r.Value.Text) {
				s.no = never
			} else {
				s.yes = never
			}
		}
		return s
	}
	ends = min(ends, leave)
	if l.v.domain == ofReading {
		return spanOf(l.holds(r.Value.Num, r.Value.Text), ends)
	}
	lasted := sinceThen(r, n.q.Now)
	turns := never
	for _, c := range l.cuts {
		if c > lasted {
			if c < 1e12 {
				turns = r.Since + device.Instant(c)*1000
			}
			break
		}
	}
	return turning(l.holds(lasted, ""), turns, ends)
}

// leafTruth is the truth of leaf alone.
func (n *inquiry) leafTruth(l *leaf) Truth {
	switch l.v.domain {
	case ofClock, ofDate:
		if !n.clock() {
			return NotKnown
		}
		return truthOf(l.holds(n.shown(&l.v), ""))
	case ofPeople:
		value, known := n.people(l.v.aspect)
		if !known || n.permitted(nil) == 0 {
			return NotKnown
		}
		return truthOf(l.holds(value, ""))
	}
	r, on := n.reading(&l.v)
	if on == nil || !isFresh(r, r.Until(l.v.attribute, on.Class), n.q.Now) || !harmless.Has(l.v.attribute) && n.permitted(on) == 0 {
		return NotKnown
	}
	if l.v.domain == ofSince {
		return truthOf(l.holds(sinceThen(r, n.q.Now), ""))
	}
	return truthOf(l.holds(r.Value.Num, r.Value.Text))
}

// isFresh reports whether r may be relied on; ends is when it may no longer.
func isFresh(r device.Reading, ends, now device.Instant) bool {
	return r.Value.Kind != device.Unknown && now < ends && r.At-(ends-r.At) <= now
}

// sinceThen is for how many whole seconds r has been so.
func sinceThen(r device.Reading, now device.Instant) float64 {
	return float64(max(0, (now-r.Since)/1000))
}

// reading is what v was last told, and by whom: of the devices of a class the one where it changed
// last, even where that is no longer known, and of several the first; nil if none ever told it.
func (n *inquiry) reading(v *variable) (best device.Reading, on *Screen) {
	if v.class == 0 {
		best, _ = n.q.Screen.Context.Get(v.attribute)
		return best, n.q.Screen
	}
	for _, s := range n.q.Home.Screens {
		if s == nil || s.Class != v.class {
			continue
		}
		r, ok := s.Context.Get(v.attribute)
		if (ok || r.At != 0) && (on == nil || r.Since > best.Since) {
			best, on = r, s
		}
	}
	return best, on
}

// people counts who is in front of the screen. It is known only where all of them are.
func (n *inquiry) people(a aspect) (value float64, known bool) {
	p := &n.q.there
	if !p.Told || p.Unknown != 0 || p.Past != 0 {
		return 0, false
	}
	if a == asCount {
		return float64(bits.OnesCount64(p.Known)), true
	}
	want := child
	if a == asGuests {
		want = guest
	}
	for who := p.Known; who != 0; who &= who - 1 {
		if n.q.Home.People[bits.TrailingZeros64(who)].kind()&want != 0 {
			value++
		}
	}
	return value, true
}

// clock looks at the clock on the wall, if there is one.
func (n *inquiry) clock() bool {
	if !n.walled {
		zone := n.q.Home.Zone
		if zone == nil || n.q.Now <= 0 || n.q.Now > endOfTime {
			return false
		}
		now := int64(n.q.Now) / 1000
		w := n.q.Home.wall(zone, now)
		n.second, n.offset, n.changes, n.walled = w.local(now), w.offset, w.to, true
	}
	return n.second >= 0 && n.second < (lastDay+1)*day
}

// shown is what v is on the wall.
func (n *inquiry) shown(v *variable) float64 {
	switch today := n.second / day; {
	case v.domain == ofClock:
		return float64((n.second - today*day) / 60)
	case v.aspect == asWeekday:
		return float64(weekday(today))
	default:
		return float64(today)
	}
}

// timed is a comparison with the clock. It turns at the next instant at which the wall shows what
// makes it turn; a change of the zone's offset comes before, and it is asked again then.
func (n *inquiry) timed(l *leaf) span {
	value := n.shown(&l.v)
	t := l.holds(value, "")
	today := n.second / day
	turns := int64(-1) // on the wall; none
	switch {
	case l.v.aspect == asWeekday:
		for i := range int64(7) {
			if l.holds(float64(weekday(today+i+1)), "") != t {
				turns = (today + i + 1) * day
				break
			}
		}
	case len(l.cuts) == 0:
		return spanOf(t, never)
	default:
		i := 0
		for i < len(l.cuts) && l.cuts[i] <= value {
			i++
		}
		switch {
		case i < len(l.cuts) && l.v.domain == ofDate:
			turns = int64(l.cuts[i]) * day
		case i < len(l.cuts):
			turns = today*day + int64(l.cuts[i])*60
		case l.v.domain == ofDate:
			turns = math.MaxInt64 / 2 // unless the clocks are put back
		case t != l.first:
			turns = (today + 1) * day
		default:
			turns = (today+1)*day + int64(l.cuts[0])*60
		}
	}
	if turns < 0 {
		return spanOf(t, never)
	}
	if turns = min(turns-n.offset, n.changes); turns >= int64(endOfTime)/1000 {
		return turning(t, never, never)
	}
	return turning(t, device.Instant(turns*1000), never)
}

// permitted is until when what is sensitive may be read for the message's brand: the home must have
// said yes to context on a shared screen, the owner on a personal one, and everybody who is known
// to be there; of a device of somebody's own that person, too. It is 0 if it may not, and on is nil
// where it is about who is there.
func (n *inquiry) permitted(on *Screen) device.Instant {
	if on != nil && on.Guest {
		return 0
	}
	if n.free {
		return never
	}
	if !n.asked {
		n.leave, n.asked = n.q.leave(), true
	}
	if n.leave == 0 || on == nil || on.Owner == device.Household || on.Owner == n.q.Screen.Owner {
		return n.leave
	}
	_, until := n.q.contextWord(n.q.aboutContext(), on.Owner, n.q.Home.number(on.Owner))
	return min(n.leave, until)
}

// leave asks the people concerned, as the rule about consent does.
func (q *Request) leave() device.Instant {
	h, owner := q.Home, q.Screen.Owner
	row := q.aboutContext()
	home, until := q.contextWord(row, device.Household, -1)
	own := -1
	if owner != device.Household {
		if own = h.number(owner); own < 0 || h.People[own].Frozen || !mild(home) {
			return 0
		}
		_, until = q.contextWord(row, owner, own)
	}
	if h.Frozen || until == 0 {
		return 0
	}
	anybody, seen := q.anybody(), q.there.Known|q.there.Past
	for i := range h.People {
		there := seen&(1<<i) != 0
		if i == own || !there && !anybody {
			continue
		}
		one := &h.People[i]
		said, lasts := q.contextWord(row, one.ID, i)
		switch {
		case one.Frozen || !mild(said):
			return 0
		case there && owner == device.Household:
			until = min(until, lasts)
		}
	}
	return until
}

// aboutContext is what the home and its people have said to the message's brand about context; nil:
// see Home.Consents.
func (q *Request) aboutContext() []said {
	x := q.Home.prepared()
	if x == nil {
		return nil
	}
	key := offerKey{q.Message.Brand, Context}
	row := x.find(key, key.hash())
	if row == nil && x.people < len(nobody) {
		row = nobody[:1+x.people]
	}
	return row
}

// contextWord is what somebody has said about context, and of a yes until when it lasts, as it counts
// on this screen and now; 0: it is none. place is as in stance.
func (q *Request) contextWord(row []said, who device.PersonID, place int) (c Choice, until device.Instant) {
	var s said
	if row != nil && (place >= 0 || who == device.Household) {
		s = row[1+place]
	} else {
		full := q.Home.Consents[ConsentKey{who, q.Message.Brand, Context}]
		s = said{full.Until, full.Classes, full.Choice}
	}
	if s.choice != Given || !s.classes.Has(q.Screen.Class) || s.until != 0 && q.Now >= s.until {
		return s.choice, 0
	}
	return Given, orNever(s.until)
}

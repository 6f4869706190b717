package policy

import (
	"fmt"
	"math"
	"math/bits"
	"slices"

	"porchlight/device"
)

// maxLooks is how many nodes are looked at and values tried, in all, to find out whether a condition
// can be true, and can be false, and what is to blame. What needs more is taken, and blame is
// narrowed down only as far as that goes. Of conditions made to be hard, the smallest that needed
// more had twelve variables, each true or false, that have nothing to do with each other; it takes
// fewer where each is compared with several constants.
const maxLooks = 20_000

// sense refuses a condition that can never be true or never be false.
//
// Every comparison is constant between the constants that its variable is compared with, so that a
// few values of each variable stand for all. A search through them answers exactly, as far as
// maxLooks goes: it gives one variable after the other a value, and goes no further where the whole
// is already settled.
func (c *Expression) sense() error { return newWorlds(c, nil).sense() }

func (w *worlds) sense() error {
	c, last := w.c, len(w.c.nodes)-1
	for _, want := range []Truth{True, False} {
		if w.can(last, want) {
			continue
		}
		i, want := w.culprit(last, want)
		never := want.String()
		n := c.nodes[i]
		why := fmt.Sprintf("%s can never be %s", quotedPart(c.text[n.from:n.to]), never)
		if a, b, found := w.clash(i, want); found {
			why = fmt.Sprintf("%s and %s are never %s together", quotedPart(c.part(a)), quotedPart(c.part(b)), never)
			n = c.nodes[b]
		}
		fix := "mend it, or leave it out"
		if last == 0 && n.op == fixed {
			fix = "leave the condition out"
		}
		return &ConditionError{len([]rune(c.text[:n.from])), why, fix}
	}
	return nil
}

func quotedPart(s string) string { return "\"" + cut(s, 60) + "\"" }

// part is the text of a node.
func (c *Expression) part(i int) string { return c.text[c.nodes[i].from:c.nodes[i].to] }

// culprit is the smallest part of a node that alone makes it impossible for the node to be want, as
// far as that can be told, and what that part can never be.
func (w *worlds) culprit(i int, want Truth) (int, Truth) {
	n := &w.c.nodes[i]
	switch {
	case n.op == opposite:
		if inner, never := w.culprit(int(n.a), want.not()); w.c.nodes[inner].op != fixed {
			return inner, never
		}
	case n.op == allOf && want == True, n.op == anyOf && want == False:
		for _, m := range []int{int(n.a), int(n.b)} {
			if !w.can(m, want) {
				return w.culprit(m, want)
			}
		}
	}
	return i, want
}

// clash finds two operands of a node that are never want together.
func (w *worlds) clash(i int, want Truth) (a, b int, found bool) {
	op := w.c.nodes[i].op
	if op != allOf && op != anyOf {
		return 0, 0, false
	}
	var list []int
	var gather func(int)
	gather = func(j int) {
		if n := &w.c.nodes[j]; n.op == op {
			gather(int(n.a))
			gather(int(n.b))
		} else {
			list = append(list, j)
		}
	}
	gather(i)
	if len(list) < 3 || len(list) > 12 {
		return 0, 0, false
	}
	for y := range list {
		for x := range y {
			if !w.can2(list[x], list[y], want) {
				return list[x], list[y], true
			}
		}
	}
	return 0, 0, false
}

// worlds are all that the variables of a condition can be, as far as the condition can tell. A set
// of nodes has a bit for each.
type worlds struct {
	c      *Expression
	slots  []slot
	people []int                     // the slots of people
	of     [maxConditionNodes]int    // the slot of each comparison
	up     [maxConditionNodes]uint64 // the node that each is an operand of; none for the last
	under  [maxConditionNodes]uint64 // each node, its operands, theirs, and so on
	truth  [maxConditionNodes]Truth  // what each comes to, with what is chosen so far
	left   int                       // how many more may be looked at; never set again
	looks  func()                    // if any, called for each that is
}

// slot is one thing that varies: the hour and the time are one, and so are the weekday and the date.
type slot struct {
	v      variable
	nums   []float64
	texts  []string
	leaves uint64   // the comparisons that read it
	holds  []uint64 // which of them hold, for each of nums
	chosen int      // -1: not yet
}

func newWorlds(c *Expression, looks func()) *worlds {
	w := &worlds{c: c, left: maxLooks, looks: looks}
	for i := range c.nodes {
		n := &c.nodes[i]
		w.under[i] = 1 << i
		below := []int16{n.a, n.b, n.c}
		switch n.op {
		case compare, fixed:
			below = nil
		case opposite:
			below = below[:1]
		case allOf, anyOf:
			below = below[:2]
		}
		for _, b := range below {
			w.under[i] |= w.under[b]
			w.up[b] = 1 << i
		}
		if n.op != compare {
			continue
		}
		v := c.leaves[n.leaf].v
		if v.domain == ofClock || v.domain == ofDate {
			v.aspect = asIs
		}
		j := slices.IndexFunc(w.slots, func(s slot) bool { return s.v == v })
		if j < 0 {
			j = len(w.slots)
			w.slots = append(w.slots, slot{v: v, chosen: -1})
			if v.domain == ofPeople {
				w.people = append(w.people, j)
			}
		}
		w.slots[j].leaves |= 1 << i
		w.of[i] = j
	}
	for j := range w.slots {
		w.slots[j].fill(w)
		w.slots[j].merge(w)
	}
	for i := range c.nodes {
		w.truth[i] = w.look(i)
	}
	return w
}

// spend reports whether one more node may be looked at.
func (w *worlds) spend() bool {
	if w.left == 0 {
		return false
	}
	w.left--
	if w.looks != nil {
		w.looks()
	}
	return true
}

// fill finds the values that stand for all.
func (s *slot) fill(w *worlds) {
	info := s.v.info()
	switch {
	case s.v.domain == ofReading && info.Kind == device.Bool:
		s.nums = []float64{0, 1}
		return
	case s.v.domain == ofReading && info.Kind == device.Enum:
		for i := range info.Words {
			s.nums = append(s.nums, float64(i))
		}
		return
	}
	low, high := s.v.limits()
	var points []float64
	named := false // a weekday is asked for
	for i := range w.c.leaves {
		l := &w.c.leaves[i]
		same := l.v.domain == s.v.domain && (l.v.domain > ofSince || l.v == s.v) // there can be as many people as children or guests
		if !same {
			continue
		}
		named = named || l.v.aspect == asWeekday
		switch l.test {
		case byCuts:
			points = append(points, l.cuts...)
		case byNumber:
			points = append(points, l.points...)
		case byText:
			s.texts = append(s.texts, l.texts...)
		}
	}
	switch {
	case s.v.domain == ofReading && info.Kind == device.Text:
		slices.Sort(s.texts)
		s.texts = append(slices.Compact(s.texts), "\x00") // none of them
		s.nums = make([]float64, len(s.texts))
		return
	case s.v.domain == ofReading:
		slices.Sort(points)
		points = slices.Compact(points)
		s.nums = append(s.nums, math.Nextafter(points[0], math.Inf(-1)))
		for i, p := range points {
			s.nums = append(s.nums, p)
			next := math.Inf(1)
			if i+1 < len(points) {
				next = points[i+1]
			}
			if between := math.Nextafter(p, math.Inf(1)); between < next && !math.IsInf(between, 0) {
				s.nums = append(s.nums, between)
			}
		}
		if math.IsInf(s.nums[0], 0) {
			s.nums = s.nums[1:]
		}
		return
	}
	points = append(points, low)
	for _, p := range points {
		s.nums = append(s.nums, p)
		for i := 1.0; named && i < 7 && p+i < high; i++ {
			s.nums = append(s.nums, p+i)
		}
	}
	slices.Sort(s.nums)
	s.nums = slices.Compact(s.nums)
}

// merge finds out which comparisons hold for each value, and keeps one of the values for which the
// same do. Of people, that is the one that leaves the others the most room.
func (s *slot) merge(w *worlds) {
	var nums []float64
	for at, num := range s.nums {
		text := ""
		if s.texts != nil {
			text = s.texts[at]
		}
		holds := uint64(0)
		for set := s.leaves; set != 0; set &= set - 1 {
			if !w.spend() {
				return
			}
			i := bits.TrailingZeros64(set)
			l, n := &w.c.leaves[w.c.nodes[i].leaf], num
			if l.v.aspect == asWeekday {
				n = float64(weekday(int64(num)))
			}
			if l.holds(n, text) {
				holds |= 1 << i
			}
		}
		if j := slices.Index(s.holds, holds); j < 0 {
			s.holds, nums = append(s.holds, holds), append(nums, num)
		} else if s.v.aspect == asCount {
			nums[j] = num
		}
	}
	s.nums = nums
}

// can reports whether a node can be want in some world; true, too, if that would take too long to
// find out.
func (w *worlds) can(i int, want Truth) bool { return w.can2(i, i, want) }

// can2 is can of two nodes in the same world.
func (w *worlds) can2(i, j int, want Truth) bool {
	if w.left == 0 {
		return true
	}
	a, b := w.truth[i], w.truth[j]
	if a == want && b == want {
		return true
	}
	if a == want.not() || b == want.not() {
		return false
	}
	open := i
	if a != NotKnown {
		open = j
	}
	s := &w.slots[w.matters(open)]
	before := w.truth
	defer func() { s.chosen, w.truth = -1, before }()
	reach := w.under[i] | w.under[j]
	changed, tried := s.leaves, -1
	for n, holds := range s.holds {
		w.spend()
		if s.chosen = n; !w.possible(s) {
			continue
		}
		if tried >= 0 {
			changed = s.holds[tried] ^ holds
		}
		tried = n
		if changed&reach == 0 && s.v.domain != ofPeople {
			continue // as with the value before
		}
		w.follow(changed&reach, reach)
		if w.can2(i, j, want) {
			return true
		}
	}
	return false
}

// possible reports whether there can be such people: no more children than people.
func (w *worlds) possible(changed *slot) bool {
	if changed.v.domain != ofPeople {
		return true
	}
	all, most := math.Inf(1), 0.0
	for _, i := range w.people {
		s := &w.slots[i]
		switch {
		case s.chosen < 0:
		case s.v.aspect == asCount:
			all = s.nums[s.chosen]
		default:
			most = max(most, s.nums[s.chosen])
		}
	}
	return most <= all
}

// follow looks at nodes again, and at those above them, within reach, as far as anything changes.
func (w *worlds) follow(set, reach uint64) {
	for ; set != 0 && w.left > 0; set &= set - 1 {
		i := bits.TrailingZeros64(set) // what it is an operand of comes later
		if t := w.look(i); t != w.truth[i] {
			w.truth[i] = t
			set |= w.up[i] & reach
		}
	}
}

// look is what a node comes to, given its operands.
func (w *worlds) look(i int) Truth {
	if !w.spend() {
		return NotKnown
	}
	switch n := &w.c.nodes[i]; n.op {
	case compare:
		s := &w.slots[w.of[i]]
		if s.chosen < 0 {
			return NotKnown
		}
		return truthOf(s.holds[s.chosen]>>i&1 != 0)
	case fixed:
		return n.truth
	case opposite:
		return w.truth[n.a].not()
	case allOf, anyOf:
		settles := False
		if n.op == anyOf {
			settles = True
		}
		a, b := w.truth[n.a], w.truth[n.b]
		switch {
		case a == settles || b == settles:
			return settles
		case a == NotKnown || b == NotKnown:
			return NotKnown
		default:
			return settles.not()
		}
	default:
		switch w.truth[n.a] {
		case True:
			return w.truth[n.b]
		case False:
			return w.truth[n.c]
		default:
			return NotKnown
		}
	}
}

// matters is a slot whose choice could settle a node that is not settled.
func (w *worlds) matters(i int) int {
	w.spend()
	switch n := &w.c.nodes[i]; n.op {
	case compare:
		return w.of[i]
	case opposite:
		return w.matters(int(n.a))
	case choose:
		switch w.truth[n.a] {
		case True:
			return w.matters(int(n.b))
		case False:
			return w.matters(int(n.c))
		}
		return w.matters(int(n.a))
	default:
		if w.truth[n.a] == NotKnown {
			return w.matters(int(n.a))
		}
		return w.matters(int(n.b))
	}
}

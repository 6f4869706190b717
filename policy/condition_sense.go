package policy

import (
	"fmt"
	"math"
	"slices"

	"porchlight/device"
)

// maxTrials is how many worlds are looked at to find out whether a condition can be true, and can be
// false. What needs more is taken: it has at least fifteen variables that have nothing to do with
// each other, and all of them matter.
const maxTrials = 20_000

// sense refuses a condition that can never be true or never be false.
//
// Every comparison is constant between the constants that its variable is compared with, so that a
// few values of each variable stand for all. A search through them answers exactly: it gives one
// variable after the other a value, and goes no further where the whole is already settled.
func (c *Expression) sense() error {
	last := len(c.nodes) - 1
	w := newWorlds(c)
	for _, want := range []Truth{True, False} {
		w.trials = 0
		if w.can(last, want) {
			continue
		}
		never, i := "true", c.culprit(w, last, want)
		if want == False {
			never = "false"
		}
		n := c.nodes[i]
		why := fmt.Sprintf("%s can never be %s", quotedPart(c.text[n.from:n.to]), never)
		if a, b, found := c.clash(w, i, want); found {
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

// culprit is the smallest part of a node that alone makes it impossible for the node to be want.
func (c *Expression) culprit(w *worlds, i int, want Truth) int {
	n := &c.nodes[i]
	switch {
	case n.op == opposite:
		if inner := c.culprit(w, int(n.a), want.not()); c.nodes[inner].op != fixed {
			return inner
		}
	case n.op == allOf && want == True, n.op == anyOf && want == False:
		for _, m := range []int{int(n.a), int(n.b)} {
			if w.trials = 0; !w.can(m, want) {
				return c.culprit(w, m, want)
			}
		}
	}
	return i
}

// clash finds two operands of a node that are never want together.
func (c *Expression) clash(w *worlds, i int, want Truth) (a, b int, found bool) {
	op := c.nodes[i].op
	if op != allOf && op != anyOf {
		return 0, 0, false
	}
	var list []int
	var gather func(int)
	gather = func(j int) {
		if n := &c.nodes[j]; n.op == op {
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
			if w.trials = 0; !w.can2(list[x], list[y], want) {
				return list[x], list[y], true
			}
		}
	}
	return 0, 0, false
}

// worlds are all that the variables of a condition can be, as far as the condition can tell.
type worlds struct {
	c      *Expression
	slots  []slot
	of     []int // the slot of each leaf
	trials int
}

// slot is one thing that varies: the hour and the time are one, and so are the weekday and the date.
type slot struct {
	v      variable
	nums   []float64
	texts  []string
	chosen int // -1: not yet
}

func newWorlds(c *Expression) *worlds {
	w := &worlds{c: c, of: make([]int, len(c.leaves))}
	for i := range c.leaves {
		v := c.leaves[i].v
		if v.domain == ofClock || v.domain == ofDate {
			v.aspect = asIs
		}
		j := slices.IndexFunc(w.slots, func(s slot) bool { return s.v == v })
		if j < 0 {
			j = len(w.slots)
			w.slots = append(w.slots, slot{v: v, chosen: -1})
		}
		w.of[i] = j
	}
	for j := range w.slots {
		w.slots[j].fill(w)
	}
	return w
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
		same := l.v.domain == s.v.domain && (l.v.domain > ofSince || l.v == s.v)
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
	if s.v.domain == ofPeople {
		points = append(points, high-1) // so that there is room for any number of children
	}
	for _, p := range points {
		s.nums = append(s.nums, p)
		for i := 1.0; named && i < 7 && p+i < high; i++ {
			s.nums = append(s.nums, p+i)
		}
	}
	slices.Sort(s.nums)
	s.nums = slices.Compact(s.nums)
}

// can reports whether a node can be want in some world; true, too, if that would take too long to
// find out.
func (w *worlds) can(i int, want Truth) bool { return w.can2(i, i, want) }

// can2 is can of two nodes in the same world.
func (w *worlds) can2(i, j int, want Truth) bool {
	if w.trials++; w.trials > maxTrials {
		return true
	}
	a := w.truth(i)
	b := a
	if j != i {
		b = w.truth(j)
	}
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
	defer func() { s.chosen = -1 }()
	for n := range s.nums {
		if s.chosen = n; w.possible() && w.can2(i, j, want) {
			return true
		}
	}
	return false
}

// possible reports whether there can be such people: no more children than people.
func (w *worlds) possible() bool {
	all, most := -1.0, 0.0
	for i := range w.slots {
		s := &w.slots[i]
		if s.v.domain != ofPeople || s.chosen < 0 {
			continue
		}
		if n := s.nums[s.chosen]; s.v.aspect == asCount {
			all = n
		} else {
			most = max(most, n)
		}
	}
	return all < 0 || most <= all
}

// truth is what a node comes to, with what is chosen so far.
func (w *worlds) truth(i int) Truth {
	switch n := &w.c.nodes[i]; n.op {
	case compare:
		l, s := &w.c.leaves[n.leaf], &w.slots[w.of[n.leaf]]
		if s.chosen < 0 {
			return NotKnown
		}
		num, text := s.nums[s.chosen], ""
		if s.texts != nil {
			text = s.texts[s.chosen]
		}
		if l.v.aspect == asWeekday {
			num = float64(weekday(int64(num)))
		}
		return truthOf(l.holds(num, text))
	case fixed:
		return n.truth
	case opposite:
		return w.truth(int(n.a)).not()
	case allOf, anyOf:
		settles := False
		if n.op == anyOf {
			settles = True
		}
		a, b := w.truth(int(n.a)), w.truth(int(n.b))
		switch {
		case a == settles || b == settles:
			return settles
		case a == NotKnown || b == NotKnown:
			return NotKnown
		default:
			return settles.not()
		}
	default:
		switch w.truth(int(n.a)) {
		case True:
			return w.truth(int(n.b))
		case False:
			return w.truth(int(n.c))
		default:
			return NotKnown
		}
	}
}

// matters is a slot whose choice could settle a node that is not settled.
func (w *worlds) matters(i int) int {
	switch n := &w.c.nodes[i]; n.op {
	case compare:
		return w.of[n.leaf]
	case opposite:
		return w.matters(int(n.a))
	case choose:
		switch w.truth(int(n.a)) {
		case True:
			return w.matters(int(n.b))
		case False:
			return w.matters(int(n.c))
		}
		return w.matters(int(n.a))
	default:
		if w.truth(int(n.a)) == NotKnown {
			return w.matters(int(n.a))
		}
		return w.matters(int(n.b))
	}
}

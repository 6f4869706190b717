package policy

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight/device"
)

// What is wrong is said at the character where it is wrong.
func TestConditionErrors(t *testing.T) {
	tests := map[string]struct {
		text string
		pos  int
		says string
	}{
		"nothing":               {"", 0, "it ends too soon"},
		"half":                  {"fridge.door.open &&", 19, "it ends too soon"},
		"one equals sign":       {"now.hour = 3", 9, "did you mean ==?"},
		"one ampersand":         {"fridge.door.open & tv.full_screen", 17, "write it twice"},
		"a word too many":       {"fridge.door.open tv.full_screen", 17, "join it with && or ||"},
		"an unknown attribute":  {"fridge.dor.open", 0, "did you mean fridge.door.open?"},
		"an unknown class":      {"fridg.door.open", 0, "did you mean fridge.door.open?"},
		"no class":              {"door.open", 0, "did you mean screen.door.open?"},
		"another class":         {"true || tv.door.open", 8, "a tv does not tell door.open; that is told by fridge, washer"},
		"an unknown clock":      {"now.minute == 3", 0, "now.hour, now.time, now.weekday, now.date"},
		"who somebody is":       {"screen.presence.who == '1'", 0, "no condition reads who somebody is"},
		"a hidden word":         {"screen.presence.wo == '1'", 0, "did you mean screen.presence.count?"},
		"at least, turned":      {"now.hour => 17", 9, "did you mean >=?"},
		"at most, turned":       {"now.hour =< 17", 9, "did you mean <=?"},
		"minutes":               {"fridge.door.open.since > 5m", 25, "write seconds: 300"},
		"CEL's minutes":         {"fridge.door.open.since > duration('1h30m')", 25, "write seconds: 5400"},
		"minutes in words":      {"fridge.door.open.since > '5m'", 25, "write seconds: 300"},
		"an unknown word":       {"screen.state == 'plying'", 16, "did you mean 'playing'?"},
		"an unknown day":        {"now.weekday in ['mon', 'friday']", 23, "Use one of 'mon'"},
		"a letter of ü's width": {"screen.app_name == 'ü' && now.hour = 3", 35, "did you mean ==?"},
		"a number for a word":   {"screen.state == 3", 16, "compare it with one of 'off'"},
		"a word for a number":   {"now.hour > '3'", 11, "compare it with a number"},
		"a word of no list":     {"screen.state == playing", 16, "put it in quotes: 'playing'"},
		"an order of words":     {"screen.state > 'on'", 13, "has no order"},
		"a number alone":        {"now.hour", 0, "is not true or false"},
		"a constant alone":      {"3 && fridge.door.open", 0, "a constant is not true or false"},
		"two constants":         {"3 == 3", 5, "no variable"},
		"two variables":         {"now.hour == now.hour", 12, "is not a constant"},
		"three in a row":        {"1 < now.hour < 3", 13, "join two comparisons with &&"},
		"not of a comparison":   {"!now.hour == 3", 0, "put the comparison in parentheses"},
		"compared parentheses":  {"(fridge.door.open) == true", 19, "compare a variable with a constant"},
		"a function":            {"size(screen.app_name) == 3", 0, "is not a variable"},
		"a method":              {"screen.app_name.matches('x')", 0, "is not a variable"},
		"a call":                {"fridge.door.open()", 16, "is not a function"},
		"arithmetic":            {"now.hour + 1 > 3", 9, "does not belong here"},
		"an open (":             {"(fridge.door.open", 17, "close the ( of character 1"},
		"an open list":          {"now.hour in [1, 2", 17, "a , or ] is missing"},
		"an empty list":         {"now.hour in []", 13, "is not a constant"},
		"no list":               {"now.hour in 3", 12, "a [ is missing"},
		"half a choice":         {"fridge.door.open ? true", 23, "the : of a ?: is missing"},
		"an open text":          {"screen.app_name == 'a", 19, "close it with '"},
		"an escape":             {`screen.app_name == 'a\q'`, 21, "that is no escape"},
		"a bell":                {"screen.app_name == 'a\a'", 21, "cannot be shown"},
		"a long text":           {"screen.app_name == '" + strings.Repeat("a", 65) + "'", 19, "longer than 64 bytes"},
		"no number":             {"now.hour == 1x", 12, "is not a number"},
		"a point at the end":    {"fridge.temperature > 1.", 21, "no digit after its point"},
		"a huge number":         {"fridge.temperature > 9007199254740993", 21, "too large to be exact"},
		"beyond numbers":        {"fridge.temperature > 1e999", 21, "not a number that can be compared"},
		"a time without zero":   {"now.time > '7:30'", 11, "write it as in '07:30'"},
		"a time of no day":      {"now.time > '24:00'", 11, "from '00:00' to '23:59'"},
		"a date of no calendar": {"now.date > '2026-02-30'", 11, "is no date"},
		"too long":              {strings.Repeat(" ", 2000) + "fridge.door.open", 2000, "write at most 2000"},
		"too deep":              {strings.Repeat("(", 33) + "fridge.door.open" + strings.Repeat(")", 33), 33, "nested more than 32 deep"},
		"too many nots":         {strings.Repeat("!", 33) + "fridge.door.open", 33, "nested more than 32 deep"},
		"too many parts":        {strings.Repeat("fridge.door.open&&", 32) + "fridge.door.open", 0, "more than 64 parts"},
		"too long a list":       {"fridge.temperature in [" + strings.Repeat("1,", 64) + "2]", 0, "more than 64 parts"},
		"not UTF-8":             {"screen.app_name == '\xff'", 0, "encode it as UTF-8"},
		"never":                 {"now.hour > 23", 0, `"now.hour > 23" can never be true`},
		"never, in part":        {"fridge.door.open && now.hour > 23", 20, `"now.hour > 23" can never be true`},
		"a night of no hours":   {"now.time >= '10:00' && now.time < '09:00'", 0, "can never be true"},
		"never together":        {"now.hour > 3 && now.hour < 9 && now.hour > 10", 32, `"now.hour < 9" and "now.hour > 10" are never true together`},
		"a date's weekday":      {"now.date == '2026-12-24' && now.weekday == 'mon'", 0, "can never be true"},
		"hour and time":         {"now.hour == 9 && now.time < '09:00'", 0, "can never be true"},
		"half seconds":          {"fridge.door.open.since > 1 && fridge.door.open.since < 2", 0, "can never be true"},
		"children among people": {"presence.children > 1 && presence.count < 2", 0, "can never be true"},
		"always":                {"fridge.door.open || !fridge.door.open", 0, "can never be false"},
		"always, plainly":       {"true", 0, "leave the condition out"},
		"always at home":        {"presence.count >= 0", 0, "can never be false"},
		"always one of them":    {"now.hour < 12 || now.hour >= 12 || fridge.door.open", 0, `"now.hour < 12 || now.hour >= 12" can never be false`},
	}
	for name, tt := range tests {
		c, err := ParseCondition(tt.text)
		bad, ok := err.(*ConditionError)
		if !ok {
			t.Errorf("%s: %q is taken as %+v (%v)", name, tt.text, c, err)
			continue
		}
		if bad.Pos != tt.pos && tt.pos+len(tt.text) > 0 && name != "too many parts" || !strings.Contains(bad.Error(), tt.says) {
			t.Errorf("%s: %q: got %d, %q; want %d, %q", name, tt.text, bad.Pos, bad, tt.pos, tt.says)
		}
		mark := strings.Split(bad.Caret(tt.text), "\n")
		if len(mark) != 2 || len([]rune(mark[1])) > len([]rune(mark[0]))+1 || len([]rune(mark[0])) > 80 {
			t.Errorf("%s: %q is marked as\n%s", name, tt.text, strings.Join(mark, "\n"))
		}
	}
}

func TestConditionCaret(t *testing.T) {
	_, err := ParseCondition("fridge.door.open\n&& now.hour = 3")
	if got, want := err.(*ConditionError).Caret("fridge.door.open\n&& now.hour = 3"), "fridge.door.open && now.hour = 3\n                             ^"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// What a condition says of itself.
func TestConditionInputs(t *testing.T) {
	tests := map[string]struct {
		text              string
		needs             string
		sensitive, timed  bool
		nodes             int
		screen, elsewhere device.AttributeSet
	}{
		"a door":    {"fridge.door.open", "fridge.door.open", false, false, 1, 0, device.Attributes(device.DoorOpen)},
		"here":      {"screen.state in ['on', 'idle']", "screen.state", false, false, 2, device.Attributes(device.PlayerState), 0},
		"for long":  {"!(fridge.door.open.since < 60) && fridge.door.open", "fridge.door.open fridge.door.open.since", false, true, 4, 0, device.Attributes(device.DoorOpen)},
		"the clock": {"now.hour > 3 ? now.weekday == 'mon' : now.weekday != 'mon'", "now.hour now.weekday", false, true, 4, 0, 0},
		"people":    {"presence.count > 0", "presence.count", true, false, 1, presence, 0},
		"sleep":     {"companion.sleeping || true && screen.dnd", "companion.sleeping screen.dnd", true, false, 5, presence.With(device.DND), device.Attributes(device.Sleeping)},
	}
	for name, tt := range tests {
		c, err := ParseCondition(tt.text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		screen, others := c.Attributes()
		if got := strings.Join(c.Needs(), " "); got != tt.needs || c.Sensitive() != tt.sensitive || c.Timed() != tt.timed || c.Nodes() != tt.nodes || screen != tt.screen || others != tt.elsewhere {
			t.Errorf("%s: got %q, sensitive %v, timed %v, %d nodes, %b and %b", name, got, c.Sensitive(), c.Timed(), c.Nodes(), screen, others)
		}
		if len(c.Inputs()) != len(c.Needs()) {
			t.Errorf("%s: inputs %v", name, c.Inputs())
		}
	}
}

// Every variable that is listed can be read, and no other.
func TestVariables(t *testing.T) {
	seen := map[string]bool{}
	for _, v := range Variables() {
		got, fix, ok := find(v.Name)
		if !ok || got.info().Name != v.Name || v.Meaning == "" || v.Kind == device.Unknown || seen[v.Name] || v.Kind == device.Enum && len(v.Words) < 2 {
			t.Errorf("%+v is found as %+v (%s)", v, got, fix)
		}
		seen[v.Name] = true
	}
	for _, name := range []string{"", ".", "now", "now.", "screen", "screen.", "fridge.since", "fridge..open", "presence.who", "screen.presence.who", "companion.presence.who.since", "class(0).state", "other.door.open"} {
		if got, fix, ok := find(name); ok || fix == "" {
			t.Errorf("%q is found as %+v (%q)", name, got, fix)
		}
	}
}

// writer writes random conditions that can be read.
type writer struct {
	*rand.Rand
	plain bool // only constants between which there is little
	names []string
}

func (w *writer) pick(list ...string) string { return list[w.IntN(len(list))] }

var writerNames = []string{"fridge.door.open", "fridge.temperature", "fridge.door.open.since", "screen.state", "screen.state.since", "screen.app_name", "screen.sleeping",
	"screen.dnd", "car.Vehicle.Speed", "companion.call.active", "washer.OperationalState", "now.hour", "now.time", "now.weekday", "now.date",
	"presence.count", "presence.children", "presence.guests", "screen.room.occupancy", "tv.media_content_type"}

func (w *writer) constant(v Variable) string {
	quote := w.pick("'", `"`)
	switch {
	case v.Name == "now.hour":
		if w.plain {
			return w.pick("0", "8", "12", "23")
		}
		return w.pick("0", "8", "12.0", "23", "24", "-1", "8.5", fmt.Sprint(w.IntN(24)))
	case v.Name == "now.time":
		if w.plain {
			return quote + w.pick("00:00", "08:00", "12:30", "23:30") + quote
		}
		return fmt.Sprintf("%s%02d:%02d%s", quote, w.IntN(24), w.IntN(60), quote)
	case v.Name == "now.date":
		if w.plain {
			return quote + w.pick("2026-12-20", "2026-12-24", "2026-12-25") + quote
		}
		return quote + w.pick("2011-12-30", "2011-12-31", "2026-03-29", "2026-06-10", "2026-10-04", "2018-11-04") + quote
	case strings.HasSuffix(v.Name, ".since"), v.Unit == "people":
		if w.plain {
			return w.pick("0", "1", "2", "1.5")
		}
		return w.pick("0", "1", "2", "1.5", "60", "3600", "-3", "90.25", "1e3")
	case v.Kind == device.Bool:
		return w.pick("true", "false")
	case v.Kind == device.Number:
		if w.plain {
			return w.pick("0", "1", "2.0")
		}
		return w.pick("0", "1", "2.5", "126", "-1", "-0.5", ".5", "1e2", "3")
	case v.Kind == device.Enum:
		return quote + w.pick(v.Words...) + quote
	default:
		return quote + w.pick("a", "b", "", `\'`, `\"x\\`, "ü", `a\tb`) + quote
	}
}

func (w *writer) leaf() string {
	name := w.names[w.IntN(len(w.names))]
	at, _, _ := find(name)
	v := at.info()
	sp := w.pick("", " ", " ", "\n ")
	if v.Kind == device.Bool && w.IntN(2) == 0 {
		return name
	}
	ops := []string{"==", "!="}
	if v.Kind == device.Number || v.Kind == device.Text && v.Unit != "" {
		ops = append(ops, "<", "<=", ">", ">=")
	}
	switch w.IntN(5) {
	case 0:
		list := []string{}
		for range 1 + w.IntN(3) {
			list = append(list, w.constant(v))
		}
		return name + " in " + sp + "[" + strings.Join(list, ","+sp) + "]"
	case 1:
		return w.constant(v) + sp + w.pick(ops...) + sp + name
	default:
		return name + sp + w.pick(ops...) + sp + w.constant(v)
	}
}

// node is a condition of some depth; tight is whether it must bind as strongly as a comparison.
func (w *writer) node(depth int, tight bool) string {
	if depth == 0 || w.IntN(5) == 0 {
		if w.IntN(20) == 0 {
			return w.pick("true", "false")
		}
		return w.leaf()
	}
	s := ""
	switch w.IntN(6) {
	case 0, 1:
		s = w.node(depth-1, true) + " && " + w.node(depth-1, true)
	case 2, 3:
		s = w.node(depth-1, true) + "||" + w.node(depth-1, true)
		if !tight && w.IntN(2) == 0 { // && binds stronger
			s = w.node(depth-1, true) + "&&" + s
		}
	case 4:
		return w.pick("!", "!", "! ", "!!") + "(" + w.node(depth-1, false) + ")"
	default:
		s = w.node(depth-1, true) + " ? " + w.node(depth-1, true) + ":" + w.node(depth-1, false)
	}
	if tight {
		return "(" + s + ")"
	}
	return s
}

// world is a home of which random things are known that conditions ask for.
func world(r *rand.Rand, c *Expression) Request {
	q := *good([]device.Class{device.TV, device.Fridge, device.Companion, device.Car, device.Washer}[r.IntN(5)])
	o := odd[r.IntN(len(odd))]
	q.Now = at(o.day) + device.Instant(r.Int64N(72*3600_000)-36*3600_000)
	if r.IntN(3) == 0 {
		q.Now -= q.Now % 60_000
	}
	if q.Home.Zone = zone(o.zone); r.IntN(12) == 0 {
		q.Home.Zone = nil
	}
	add := func(c device.Class) {
		n := fmt.Sprint("screen-", len(q.Home.Screens)+1)
		q.Home.Screens = append(q.Home.Screens, &Screen{ID: device.ID(n), Class: c, Context: &device.Context{Class: c}, Owner: device.PersonID(max(0, r.IntN(6)-3)), Guest: r.IntN(10) == 0})
	}
	for _, v := range c.vars {
		if v.class != 0 {
			for range r.IntN(3) {
				add(v.class)
			}
		}
	}
	ages := []device.Age{device.Adult, device.Adult, device.Child, device.Teen, device.AgeUnknown}
	q.Home.People = append(q.Home.People, Person{ID: 3, Age: ages[r.IntN(5)]}, Person{ID: 4, Age: ages[r.IntN(5)], Guest: r.IntN(2) == 0})
	if r.IntN(4) == 0 {
		q.Screen.Owner = device.PersonID(r.IntN(5))
	}
	for p := range device.PersonID(5) {
		if r.IntN(8) != 0 {
			s := Stance{Choice: Given}
			if r.IntN(5) == 0 {
				s.Until = q.Now + device.Instant(r.Int64N(900_000))
			}
			q.Home.Consents[ConsentKey{p, grocer, Context}] = s
		} else if r.IntN(3) == 0 {
			q.Home.Consents[ConsentKey{p, grocer, Context}] = Stance{Choice: Withdrawn}
		}
	}
	for _, v := range c.vars {
		for _, s := range q.Home.Screens {
			if v.class != 0 && v.class != s.Class || v.class == 0 && s != q.Screen || r.IntN(8) == 0 {
				continue
			}
			if v.domain == ofPeople && r.IntN(4) != 0 {
				put(q.Screen, device.PresenceWho, val(device.PresenceWho, []string{"1", "1 2", "1 3", "2 4", "3 4 1", "1 9", "2@0.5", ""}[r.IntN(8)]), q.Now-device.Instant(r.Int64N(660_000)))
				if r.IntN(4) == 0 {
					put(q.Screen, device.PresenceCount, val(device.PresenceCount, float64(r.IntN(4))), q.Now-device.Instant(r.Int64N(660_000)))
				}
				continue
			}
			if v.domain != ofReading && v.domain != ofSince {
				continue
			}
			a := v.attribute
			info := a.Info()
			var value any
			switch info.Kind {
			case device.Bool:
				value = r.IntN(2) == 0
			case device.Number:
				value = []float64{0, 1, 2.5, 126, -1, 3, 0.5, 2}[r.IntN(8)]
			case device.Enum:
				value = info.Values[r.IntN(len(info.Values))]
			default:
				value = []string{"a", "b", "", "'", "ü"}[r.IntN(5)]
			}
			if r.IntN(12) == 0 {
				value = nil
			}
			ttl := int64(a.TTL(s.Class) / time.Millisecond)
			told := q.Now - device.Instant([]int64{0, 0, r.Int64N(ttl), r.Int64N(ttl), ttl - 1, ttl, ttl + 1, -ttl / 2, -ttl, -ttl - 1, -2 * ttl}[r.IntN(11)])
			putSince(s, a, val(a, value), told, told-device.Instant([]int64{0, 1, 999, 1000, r.Int64N(5000), r.Int64N(4_000_000)}[r.IntN(6)]))
		}
	}
	return q
}

// What we read, CEL reads, and comes to the same, in 20,000 conditions, or a million where
// PORCHLIGHT_LONG is set.
func TestConditionAgreesWithCEL(t *testing.T) {
	w := &writer{Rand: rand.New(rand.NewPCG(1, 2)), names: writerNames}
	seen := map[Truth]int{}
	for i := range many(20_000, 1_000_000) {
		text := w.node(1+w.IntN(3), false)
		c, err := readCondition(text)
		if err != nil {
			if bad := err.(*ConditionError); !strings.Contains(bad.Why, "parts") {
				t.Fatalf("%d: %q: %v\n%s", i, text, err, bad.Caret(text))
			}
			continue
		}
		p, err := refProgram(text)
		if err != nil {
			t.Fatalf("%d: %q is read by us, and not by CEL: %v", i, text, err)
		}
		for range 3 {
			q := world(w.Rand, c)
			known, unknown := map[string]any{}, []string{}
			for _, name := range c.Needs() {
				if v, ok := refVariable(q, name, false); ok {
					known[name] = v
				} else {
					unknown = append(unknown, name)
				}
			}
			want := refTruth(p, known, unknown)
			got, _ := c.Judge(q)
			q.look()
			n := inquiry{q: &q}
			if short := n.truth(c, len(c.nodes)-1); got != want || short != want {
				t.Fatalf("%d: %q is %s (shortly %s), want %s with %v and %v\n%s", i, text, got, short, want, known, unknown, describe(q))
			}
			seen[got]++
		}
	}
	for _, truth := range []Truth{NotKnown, False, True} {
		if seen[truth] < fewer(2000) {
			t.Errorf("only %d are %s", seen[truth], truth)
		}
	}
}

// What is not a subset of CEL is refused: what CEL does not take, we do not take.
func FuzzCondition(f *testing.F) {
	for _, c := range someConditions {
		f.Add(c.Text())
	}
	w := &writer{Rand: rand.New(rand.NewPCG(5, 6)), names: writerNames}
	for range 50 {
		f.Add(w.node(3, false))
	}
	for _, s := range []string{"'''a''' == screen.app_name", "screen . state == 'on'", "r'a' == screen.app_name", "-1 < now.hour", "- 1 < now.hour", "now.hour in [1,]", "1.e3 < now.hour", "!!!screen.dnd", "a.b ? true : false",
		"screen.dnd ? screen.dnd : screen.dnd ? screen.dnd : !screen.dnd", "screen.dnd?.since > 1", "// a", "\u00a0", "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := readCondition(text)
		if err != nil {
			bad := err.(*ConditionError)
			if bad.Pos < 0 || bad.Pos > len([]rune(text)) || bad.Why == "" || bad.Caret(text) == "" {
				t.Fatalf("%q: %+v", text, bad)
			}
			return
		}
		if _, err := refProgram(text); err != nil {
			t.Fatalf("%q is read by us, and not by CEL: %v", text, err)
		}
		if c.Nodes() > maxConditionNodes {
			t.Fatalf("%q has %d nodes", text, c.Nodes())
		}
		_ = c.sense()
		q := world(rand.New(rand.NewPCG(7, 8)), c)
		if truth, until := c.Judge(q); truth > True || until != 0 && until <= q.Now {
			t.Fatalf("%q is %d until %d", text, truth, until)
		}
		c.Explain(q)
		q.Message.Condition = c
		if d := Decide(q); d.Verdict != Show && d.Reasons.Has(Condition) && len(Causes(q, d)) == 0 {
			t.Fatalf("%q holds without a cause", text)
		}
	})
}

// The clock alone changes no condition before the instant that is given, and something of it does at
// that instant, unless the zone's offset changes there.
func TestConditionHorizons(t *testing.T) {
	w := &writer{Rand: rand.New(rand.NewPCG(3, 4)), names: writerNames}
	turned := map[string]int{}
	for i := range many(1500, 60_000) {
		text := w.node(w.IntN(4), false)
		c, err := readCondition(text)
		if err != nil {
			continue
		}
		q := world(w.Rand, c)
		q.look()
		n := inquiry{q: &q}
		s := n.judge(c)
		truthAt := func(now device.Instant, i int) Truth {
			then := q
			then.Now = now
			then.there = Look(q.Home, q.Screen, now)
			m := inquiry{q: &then}
			return m.truth(c, i)
		}
		last := len(c.nodes) - 1
		for what, h := range map[string]struct {
			from device.Instant
			bad  func(Truth) bool
		}{
			"true":      {s.yes, func(t Truth) bool { return t == True }},
			"not true":  {s.notYes, func(t Truth) bool { return t != True }},
			"false":     {s.no, func(t Truth) bool { return t == False }},
			"not false": {s.notNo, func(t Truth) bool { return t != False }},
		} {
			if (h.from == 0) != h.bad(s.truth()) {
				t.Fatalf("%d: %q is %s now, and %s from %d", i, text, s.truth(), what, h.from)
			}
			if h.from == 0 {
				continue
			}
			for _, now := range steps(&q, c, min(h.from, q.Now.Add(60*time.Hour))) {
				if h.bad(truthAt(now, last)) {
					t.Fatalf("%d: %q is %s from %s, but already %s at %s\n%s", i, text, what, h.from, truthAt(now, last), now, describe(q))
				}
			}
			if h.from == never {
				continue
			}
			turns := offsetChanges(q.Home.Zone, h.from)
			for j := range c.nodes {
				if c.nodes[j].op == compare && truthAt(h.from-1, j) != truthAt(h.from, j) {
					turns = true
				}
			}
			if c.nodes[last].op == compare && !offsetChanges(q.Home.Zone, h.from) && !c.Sensitive() && !h.bad(truthAt(h.from, last)) {
				turns = false // one comparison turns exactly then
			}
			// What is about people, or of the future, may only be asked again.
			again := slices.ContainsFunc(c.vars, func(v variable) bool { return v.sensitive() }) || slices.ContainsFunc(q.Home.Screens, func(s *Screen) bool {
				return slices.ContainsFunc(c.vars, func(v variable) bool {
					r, _ := s.Context.Get(v.attribute)
					return v.domain == ofSince && r.At > q.Now
				})
			})
			if !turns && !again {
				t.Fatalf("%d: %q is %s from %s on, but nothing turns then\n%s", i, text, what, h.from, describe(q))
			}
			turned[what]++
		}
	}
	for _, what := range []string{"true", "not true", "false", "not false"} {
		if turned[what] < fewer(100) {
			t.Errorf("only %d conditions become %s", turned[what], what)
		}
	}
}

func offsetChanges(zone *time.Location, at device.Instant) bool {
	if zone == nil {
		return false
	}
	start, _ := at.Time().In(zone).ZoneBounds()
	return device.At(start) == at
}

// steps are the minutes from now on until before to, and the milliseconds around all at which a
// reading begins to be, or ceases to be, what it is.
func steps(q *Request, c *Expression, to device.Instant) (all []device.Instant) {
	for t := q.Now - q.Now%60_000 + 60_000; t < to; t += 60_000 {
		all = append(all, t)
	}
	near := func(t device.Instant) {
		for _, t := range []device.Instant{t - 1, t, t + 1} {
			if t > q.Now && t < to {
				all = append(all, t)
			}
		}
	}
	near(to)
	for _, s := range q.Home.Screens {
		for _, name := range device.AttributeNames(0) {
			a, _ := device.ParseAttribute(name)
			if r, ok := s.Context.Get(a); ok {
				near(r.At.Add(a.TTL(s.Class)))
				near(r.At.Add(-a.TTL(s.Class)))
				for i := range c.leaves {
					for _, cut := range c.leaves[i].cuts {
						near(r.Since + device.Instant(cut)*1000)
					}
				}
			}
		}
	}
	for _, s := range q.Home.Consents {
		near(s.Until)
	}
	return all
}

// What can never be true, or never be false, is found exactly: by trying all values there are.
func TestConditionSense(t *testing.T) {
	w := &writer{Rand: rand.New(rand.NewPCG(9, 10)), plain: true}
	values := func(name string) (all []any) {
		v, _, _ := find(name)
		switch info := v.info(); {
		case name == "now.hour" || name == "now.time": // together
			for m := 0; m < 24*60; m += 15 {
				all = append(all, m)
			}
		case name == "now.weekday" || name == "now.date":
			for d := range 30 {
				all = append(all, time.Date(2026, 12, 10+d, 0, 0, 0, 0, time.UTC))
			}
		case v.domain == ofPeople:
			all = []any{0, 1, 2, 3, 4}
		case v.domain == ofSince:
			all = []any{0, 1, 2, 3, 4}
		case info.Kind == device.Bool:
			all = []any{false, true}
		case info.Kind == device.Number:
			all = []any{-1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0}
		case info.Kind == device.Enum:
			for _, word := range info.Words {
				all = append(all, word)
			}
		default:
			all = []any{"a", "b", "", `'`, `"x\`, "ü", "a\tb", "none of them"}
		}
		return all
	}
	pools := [][]string{
		{"fridge.door.open", "fridge.temperature"}, {"screen.state", "screen.dnd"}, {"now.hour", "now.time"}, {"now.date", "now.weekday"},
		{"presence.count", "presence.children", "presence.guests"}, {"fridge.door.open.since", "fridge.door.open"}, {"screen.app_name", "now.hour"},
		{"fridge.door.open", "screen.dnd", "screen.sleeping", "companion.call.active", "tv.is_volume_muted"},
	}
	found := map[string]int{}
	for i := range many(1500, 50_000) {
		w.names = pools[w.IntN(len(pools))]
		text := w.node(1+w.IntN(3), false)
		c, err := readCondition(text)
		if err != nil {
			continue
		}
		p, err := refProgram(text)
		if err != nil {
			t.Fatal(err)
		}
		var seen map[Truth]bool
		var try func(known map[string]any, rest []string)
		try = func(known map[string]any, rest []string) {
			if seen[True] && seen[False] {
				return
			}
			if len(rest) == 0 {
				n, ok := known["presence.count"].(int)
				for _, some := range []string{"presence.children", "presence.guests"} {
					if m, has := known[some].(int); ok && has && m > n {
						return
					}
				}
				seen[refTruth(p, known, nil)] = true
				return
			}
			for _, v := range values(rest[0]) {
				switch x := v.(type) {
				case time.Time:
					known["now.date"], known["now.weekday"] = x.Format(time.DateOnly), strings.ToLower(x.Format("Mon"))
				case int:
					known[rest[0]] = x
					if strings.HasPrefix(rest[0], "now.") {
						known["now.hour"], known["now.time"] = x/60, fmt.Sprintf("%02d:%02d", x/60, x%60)
					}
				default:
					known[rest[0]] = v
				}
				try(known, rest[1:])
			}
		}
		needs := slices.DeleteFunc(c.Needs(), func(s string) bool {
			return s == "now.time" && slices.Contains(c.Needs(), "now.hour") || s == "now.weekday" && slices.Contains(c.Needs(), "now.date")
		})
		all := func(text string) {
			seen = map[Truth]bool{}
			if p, err = refProgram(text); err != nil {
				t.Fatal(err)
			}
			try(map[string]any{}, needs)
		}
		all(text)
		want := ""
		switch {
		case !seen[True]:
			want = "true"
		case !seen[False]:
			want = "false"
		}
		blame := c.sense()
		if (blame != nil) != (want != "") {
			t.Fatalf("%d: %q can never be %q, and %v", i, text, want, blame)
		}
		if found[want]++; blame == nil || strings.Contains(blame.Error(), "…") {
			continue
		}
		// What is to blame can never be what it says.
		part := blamed.FindStringSubmatch(blame.(*ConditionError).Why)
		if part == nil {
			t.Fatalf("%d: %q: %v", i, text, blame)
		}
		if all("(" + part[1] + ")"); part[2] != "" {
			all("(" + part[1] + map[string]string{"true": ") && (", "false": ") || ("}[part[3]] + part[2] + ")")
		}
		if seen[map[string]Truth{"true": True, "false": False}[part[3]]] {
			t.Fatalf("%d: %q: %v, and yet it is", i, text, blame)
		}
	}
	if found["true"] < fewer(50) || found["false"] < fewer(50) || found[""] < fewer(500) {
		t.Errorf("found %v", found)
	}
}

// blamed is what a condition that makes no sense is told: one part, or two, and what they never are.
var blamed = regexp.MustCompile(`(?s)^"(.*?)"(?: and "(.*)")? (?:can never be|are never) (true|false)(?: together)?$`)

// Whatever the condition, no more is looked at than may be.
func TestConditionLooks(t *testing.T) {
	var flags, words []string // variables that have nothing to do with each other
	for _, v := range Variables() {
		if v.Kind == device.Bool {
			flags = append(flags, v.Name)
		} else if v.Kind == device.Enum && len(v.Words) > 5 && v.Name != "now.weekday" {
			words = append(words, v.Name+" == '"+v.Words[2]+"'")
		}
	}
	most := 0
	check := func(text string) {
		t.Helper()
		c, err := readCondition(text)
		if err != nil {
			return
		}
		looks := 0
		_ = newWorlds(c, func() { looks++ }).sense()
		if looks > maxLooks {
			t.Errorf("%q: %d looks, at most %d wanted", text, looks, maxLooks)
		}
		most = max(most, looks)
	}
	join := func(n int, by string, part func(int) string) string {
		var all []string
		for i := range n {
			all = append(all, part(i))
		}
		return strings.Join(all, by)
	}
	flag := func(i int) string { return flags[i%len(flags)] }
	either := func(i int) string { return "(" + flag(2*i) + " || " + flag(2*i+1) + ")" }
	unlike := func(i int) string { return "(" + flag(2*i) + " ? !" + flag(2*i+1) + " : " + flag(2*i+1) + ")" }
	word := func(i int) string { return words[i%len(words)] }
	dead := " && " + flag(40) + " && !" + flag(40)
	step := 1
	if fewer(10) < 10 {
		step = 6 // against a mutant
	}
	for n := 1; n < 32; n += step {
		for _, hard := range []string{join(n, " && ", either), join(n, " && ", unlike), "(" + join(n, " || ", word) + ")", "(" + join(n, " || ", flag) + ")", join(n, " && ", func(i int) string { return "(" + word(2*i) + " || " + word(2*i+1) + ")" })} {
			for more := 0; more < 28; more += 3 {
				check(hard + dead + strings.Repeat(" && "+flag(41), more))
				check("!(" + hard + dead + strings.Repeat(" && "+flag(41), more) + ")")
				check(hard + strings.Repeat(" && "+flag(41), more) + dead)
			}
		}
		// Many values of one variable.
		check(join(n, " && ", func(i int) string { return fmt.Sprintf("now.date != '2026-%02d-%02d'", 1+i%12, 1+i) }) + " && now.weekday == 'mon'")
		check("now.date in [" + join(n, ", ", func(i int) string { return fmt.Sprintf("'2026-%02d-%02d'", 1+i%12, 1+i) }) + "] && now.weekday == 'mon' && now.weekday == 'tue'")
		for _, by := range []string{" && ", " || "} {
			check(join(n, by, func(i int) string {
				return fmt.Sprintf("(presence.count < %d || presence.children > %d || presence.guests == %d)", i, i+1, i+2)
			}))
			check(join(n, by, func(i int) string {
				return fmt.Sprintf("presence.%s != %d", []string{"count", "children", "guests"}[i%3], i)
			}) + " && presence.count < 9 && presence.children > 9")
		}
	}
	if most < maxLooks {
		t.Errorf("at most %d looks: none of these is hard", most)
	}
	w := &writer{Rand: rand.New(rand.NewPCG(15, 16)), names: writerNames}
	for range many(2000, 100_000) {
		check(w.node(3+w.IntN(3), false))
		w.names = flags
		check(w.node(4+w.IntN(2), true) + dead)
		w.names = writerNames
	}
}

// To lose a fact never makes a condition true that was not, nor false.
func TestConditionWithLessKnown(t *testing.T) {
	w := &writer{Rand: rand.New(rand.NewPCG(11, 12)), names: slices.DeleteFunc(slices.Clone(writerNames), func(s string) bool { return strings.HasPrefix(s, "presence.") })}
	lost := 0
	for i := range many(5000, 200_000) {
		text := w.node(w.IntN(4), false)
		c, err := readCondition(text)
		if err != nil {
			continue
		}
		q := world(w.Rand, c)
		before, _ := c.Judge(q)
		s := q.Home.Screens[w.IntN(len(q.Home.Screens))]
		what := ""
		for _, v := range c.vars {
			r, ok := s.Context.Get(v.attribute)
			if !ok || v.domain != ofReading && v.domain != ofSince || v.class != 0 && v.class != s.Class || slices.Contains(whoIsThere, v.attribute) {
				continue
			}
			switch w.IntN(3) {
			case 0: // it says that it does not know
				what = "no longer knows"
				s.Context.Put(v.attribute, device.Reading{At: max(q.Now, r.At), Since: max(q.Now, r.Since)})
			case 1: // it says nothing more
				what = "is silent"
				s.Context.Put(v.attribute, device.Reading{Value: r.Value, At: min(r.At, q.Now.Add(-a24h)), Since: r.Since})
			default:
				what = "has no zone"
				q.Home.Zone = nil
			}
		}
		if what == "" {
			continue
		}
		after, _ := c.Judge(q)
		if after != before && after != NotKnown {
			t.Fatalf("%d: %q was %s, and is %s when a device %s\n%s", i, text, before, after, what, describe(q))
		}
		lost++
	}
	if lost < fewer(1000) {
		t.Errorf("only %d conditions lost something", lost)
	}
}

const a24h = 24 * time.Hour

func TestConditionAllocatesNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	for _, c := range someConditions {
		q := world(r, c)
		q.Message.Condition = c
		q.Home.Rules = []OperatorRule{{ID: "rule", Condition: c}}
		if n := testing.AllocsPerRun(5, func() { Decide(q) }); n != 0 {
			t.Errorf("%q: %v allocations", c.Text(), n)
		}
	}
}

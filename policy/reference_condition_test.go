package policy

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"pgregory.net/rapid"

	"porchlight/device"
)

// The reference of conditions is somebody else's reader and judge of CEL, and a table of what each
// variable is, made the long way round.

var refEnv = sync.OnceValue(func() *cel.Env {
	kinds := map[device.Kind]*cel.Type{device.Bool: cel.BoolType, device.Number: cel.DynType, device.Enum: cel.StringType, device.Text: cel.StringType}
	opts := []cel.EnvOption{cel.ClearMacros(), cel.CrossTypeNumericComparisons(true)}
	for _, v := range Variables() {
		opts = append(opts, cel.Variable(v.Name, kinds[v.Kind]))
	}
	env, err := cel.NewEnv(opts...)
	if err != nil {
		panic(err)
	}
	return env
})

// refProgram is a text as the other reader has it.
func refProgram(text string) (cel.Program, error) {
	tree, issues := refEnv().Compile(text)
	if issues.Err() != nil {
		return nil, issues.Err()
	}
	return refEnv().Program(tree, cel.EvalOptions(cel.OptPartialEval))
}

var refPrograms sync.Map // of texts that occur often

// refTruth is what a text comes to, when its variables are such.
func refTruth(p cel.Program, known map[string]any, unknown []string) Truth {
	var patterns []*cel.AttributePatternType
	for _, name := range unknown {
		patterns = append(patterns, cel.AttributePattern(name))
	}
	in, err := cel.PartialVars(known, patterns...)
	if err != nil {
		panic(err)
	}
	out, _, err := p.Eval(in)
	switch {
	case types.IsUnknown(out):
		return NotKnown
	case err != nil:
		panic(err)
	case out == types.True:
		return True
	default:
		return False
	}
}

// refExpression is what an expression comes to for q.
func refExpression(q Request, c *Expression, free bool) Truth {
	p, ok := refPrograms.Load(c.Text())
	if !ok {
		var err error
		if p, err = refProgram(c.Text()); err != nil {
			panic(err)
		}
		refPrograms.Store(c.Text(), p)
	}
	known, unknown := map[string]any{}, []string{}
	for _, name := range c.Needs() {
		if v, ok := refVariable(q, name, free); ok {
			known[name] = v
		} else {
			unknown = append(unknown, name)
		}
	}
	return refTruth(p.(cel.Program), known, unknown)
}

// refVariable is what a variable is for q.
func refVariable(q Request, name string, free bool) (any, bool) {
	head, rest, _ := strings.Cut(name, ".")
	switch head {
	case "now":
		if q.Home.Zone == nil || q.Now <= 0 || q.Now > endOfTime {
			return nil, false
		}
		t := q.Now.Time().In(q.Home.Zone)
		if t.Year() < 1970 || t.Year() > 9999 {
			return nil, false
		}
		return map[string]any{"hour": int64(t.Hour()), "time": t.Format("15:04"), "date": t.Format("2006-01-02"), "weekday": strings.ToLower(t.Format("Mon"))}[rest], true
	case "presence":
		s := refThere(q)
		if !s.told || s.strangers || len(s.was) > 0 || !free && !refLeave(q) {
			return nil, false
		}
		n := int64(0)
		for _, p := range s.here {
			kind := strings.Fields(refKind(q, p))
			if rest == "count" || rest == "children" && slices.Contains(kind, "child") || rest == "guests" && slices.Contains(kind, "guest") {
				n++
			}
		}
		return n, true
	}
	body, timed := strings.CutSuffix(rest, ".since")
	a, _ := device.ParseAttribute(body)
	s := q.Screen
	if head != "screen" {
		var of []*Screen
		for _, o := range q.Home.Screens {
			if r, _ := o.Context.Get(a); o.Class.String() == head && r != (device.Reading{}) {
				of = append(of, o)
			}
		}
		if len(of) == 0 {
			return nil, false
		}
		changed := func(o *Screen) device.Instant { r, _ := o.Context.Get(a); return r.Since }
		s = slices.MaxFunc(of, func(a, b *Screen) int { return int(changed(a) - changed(b)) }) // the first of several
	}
	if !refFresh(s, a, q.Now) || !refMayRead(q, s, a, free) {
		return nil, false
	}
	r, _ := s.Context.Get(a)
	switch kind := a.Info().Kind; {
	case timed:
		return max(0, int64(q.Now.Time().Sub(r.Since.Time()).Seconds())), true
	case kind == device.Bool:
		return r.Value.Num == 1, true
	case kind == device.Number:
		return r.Value.Num, true
	default:
		return a.Show(r.Value), true
	}
}

// What tells of people.
var refDelicate = []string{"room.occupancy", "presence.count", "presence.who", "sleeping", "call.active", "app_name", "source", "media_content_type",
	"content.rating", "Vehicle.Driver.DistractionLevel", "Vehicle.Cabin.Infotainment.HMI.CurrentLanguage", "Vehicle.Occupant.Row1.DriverSide.Identifier.Subject"}

func refMayRead(q Request, s *Screen, a device.Attribute, free bool) bool {
	if !oneOf(a.String(), refDelicate...) {
		return true
	}
	if s.Guest || free {
		return free && !s.Guest
	}
	return refLeave(q) && (s.Owner == 0 || s.Owner == q.Screen.Owner || refContext(q, s.Owner) == "given")
}

// refContext is somebody's word about the use of the context.
func refContext(q Request, p device.PersonID) string {
	m := *q.Message
	m.Purpose = Context
	q.Message = &m
	return refSaid(q, p)
}

// refLeave is consent to the purpose context, where nothing may wait.
func refLeave(q Request) bool {
	m := *q.Message
	m.Purpose = Context
	q.Message = &m
	return refConsent(q) == Show
}

func refWaits(q Request) Verdict {
	return showIf(q.Message.Condition == nil || refExpression(q, q.Message.Condition, false) == True)
}

func refOperators(q Request) Verdict {
	v := Show
	for _, r := range q.Home.Rules {
		if refPicks(r.Selector, q) && refExpression(q, r.Condition, true) != False {
			// That nothing is refused which time alone would mend is TestPromiseUntil's to show.
			q.look()
			if n := (inquiry{q: &q, free: true}); n.judge(r.Condition).no != never {
				r.Verdict = Hold
			}
			v = min(v, r.Verdict)
		}
	}
	return v
}

// someConditions are conditions that are met with in the samples.
var someConditions = func() (all []*Expression) {
	for _, text := range []string{
		"fridge.door.open", "!fridge.door.open", "screen.state == 'playing'", "screen.state in ['on', 'idle', 'paused'] || fridge.door.open",
		"fridge.temperature > 2.5 && fridge.temperature <= 126", "now.hour >= 8 && now.hour < 20", "now.time >= '12:30' ? fridge.door.open : !screen.dnd",
		"now.weekday in ['sat', 'sun']", "now.date > '2026-06-09' || now.date == '2011-12-31'", "now.hour != 2", "fridge.door.open.since >= 90", "fridge.door.open.since < 1",
		"screen.room.occupancy", "!screen.sleeping", "companion.sleeping || fridge.door.open", "presence.count == 1", "presence.children == 0", "presence.guests > 0 || presence.count > 1",
		"car.Vehicle.Speed == 0 && !(car.ux.driving == 'moving')", "washer.OperationalState == 'Stopped'", "screen.app_name == 'a'", "screen.app_name != 'b' || now.hour < 12",
		"(now.hour < 6 || fridge.door.open) && !(now.weekday == 'wed')", "screen.power.state == 'on'",
	} {
		c, err := ParseCondition(text)
		if err != nil {
			panic(err)
		}
		all = append(all, c)
	}
	return all
}()

// addCondition gives the message a condition, often one that something is known about.
func addCondition(t *rapid.T, q *Request) {
	c := rapid.SampledFrom(someConditions).Draw(t, "condition")
	q.Message.Condition = c
	if some(t, 70, "told") {
		screen, others := c.Attributes()
		for _, s := range q.Home.Screens {
			for _, name := range device.AttributeNames(s.Class) {
				a, _ := device.ParseAttribute(name)
				if (screen | others).Has(a) && !slices.Contains(whoIsThere, a) {
					ago := device.Instant(rapid.SampledFrom([]int64{0, 0, 1, 999, 90_000, 89_999, 600_000}).Draw(t, "since"))
					putSince(s, a, aValue(t, a), q.Now-device.Instant(rapid.SampledFrom([]int64{0, 0, 0, 1, 600_000}).Draw(t, "ago")), q.Now-ago)
				}
			}
		}
	}
	if c.Sensitive() {
		if some(t, 60, "seen") {
			settle(t, q)
		}
		agree(t, q)
	}
}

// agree has people say whether the context may be used.
func agree(t *rapid.T, q *Request) {
	for p := device.PersonID(0); int(p) <= len(q.Home.People); p++ {
		who := device.Household
		if p > 0 {
			who = q.Home.People[p-1].ID
		}
		if some(t, 85, "may look") {
			s := Stance{Choice: Given}
			if some(t, 20, "for a while") {
				s.Until = q.Now + device.Instant(rapid.SampledFrom([]int64{0, 1, 60_000}).Draw(t, "until"))
			}
			q.Home.Consents[ConsentKey{who, q.Message.Brand, Context}] = s
		} else if some(t, 30, "may not") {
			q.Home.Consents[ConsentKey{who, q.Message.Brand, Context}] = Stance{Choice: Refused}
		}
	}
}

// putSince sets a reading and since when it has been so.
func putSince(s *Screen, a device.Attribute, v device.Value, at, since device.Instant) {
	if s.Context != nil {
		s.Context.Put(a, device.Reading{Value: v, At: at, Since: min(since, at)})
	}
}

// addRule gives the gateway's operator a rule.
func addRule(t *rapid.T, q *Request) {
	r := OperatorRule{ID: "rule", Condition: rapid.SampledFrom(someConditions).Draw(t, "condition"),
		Verdict: rapid.SampledFrom([]Verdict{Refuse, Hold}).Draw(t, "verdict"), Selector: aPick(t, q)}
	q.Home.Rules = append(slices.Clone(q.Home.Rules), r)
}

// timed reports whether q has a condition that reads the clock, or who is there: its horizon says no more
// than when to look again.
func timed(q Request) bool {
	list := []*Expression{q.Message.Condition}
	for _, r := range q.Home.Rules {
		list = append(list, r.Condition)
	}
	return slices.ContainsFunc(list, func(c *Expression) bool { return c.Timed() || c.Sensitive() })
}

// company reports whether q has a condition that counts people: it may well wait for fewer.
func company(q Request) bool {
	list := []*Expression{q.Message.Condition}
	for _, r := range q.Home.Rules {
		list = append(list, r.Condition)
	}
	return slices.ContainsFunc(list, func(c *Expression) bool {
		return c != nil && slices.ContainsFunc(c.vars, func(v variable) bool { return v.domain == ofPeople })
	})
}

// twins reports whether a condition of q reads a class of which there are several devices: what is no
// longer told of one is then told by another.
func twins(q Request) bool {
	n := map[device.Class]int{}
	for _, s := range q.Home.Screens {
		n[s.Class]++
	}
	list := []*Expression{q.Message.Condition}
	for _, r := range q.Home.Rules {
		list = append(list, r.Condition)
	}
	return slices.ContainsFunc(list, func(c *Expression) bool {
		return c != nil && slices.ContainsFunc(c.vars, func(v variable) bool { return v.class != 0 && n[v.class] > 1 })
	})
}

// Every word of the table of sensitive things is one, and no other.
func TestSensitiveVariables(t *testing.T) {
	for _, name := range device.AttributeNames(0) {
		a, _ := device.ParseAttribute(name)
		if got, want := delicate(a), oneOf(name, refDelicate...); got != want {
			t.Errorf("%s: sensitive is %v, want %v", name, got, want)
		}
	}
}

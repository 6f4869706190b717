package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/interpreter"
	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"

	"porchlight/policy"
)

// peer takes decisions by other means.
type peer interface {
	name() string
	// prepare turns what a home has said and a message into what the engine takes; it is not timed.
	prepare(*facts) (any, error)
	// decide names the rules that fail, in any order; it is timed. It hands the engine what changes from one
	// moment to the next: readings, who is there, the time, what was shown.
	decide(prepared any, now *facts) ([]string, error)
}

func list(l []string) []any {
	all := make([]any, len(l))
	for i, s := range l {
		all[i] = s
	}
	return all
}

func words(m map[string]string) map[string]any {
	all := map[string]any{}
	for k, v := range m {
		all[k] = v
	}
	return all
}

//go:embed rules.rego
var regoRules string

type opa struct{ query rego.PreparedEvalQuery }

func newOPA() (*opa, error) {
	q, err := rego.New(rego.Query("data.porchlight.reasons"), rego.Module("rules.rego", regoRules)).PrepareForEval(context.Background())
	return &opa{q}, err
}

func (o *opa) name() string { return "OPA" }

// opaCase is what does not change from one moment to the next.
type opaCase struct{ message, home, screen ast.Object }

func object(m map[string]any) (ast.Object, error) {
	raw, err := json.Marshal(m) // numbers become what Rego takes
	if err != nil {
		return nil, err
	}
	v, err := ast.ValueFromReader(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	return v.(ast.Object), nil
}

func (o *opa) prepare(f *facts) (any, error) {
	mutes, quiet := []any{}, []any{}
	for _, m := range f.Mutes {
		mutes = append(mutes, words(m))
	}
	for _, z := range f.Quiet {
		quiet = append(quiet, map[string]any{"owner": z.Owner, "start": z.Start, "end": z.End})
	}
	var c opaCase
	var err error
	if c.message, err = object(map[string]any{"brand": f.Brand, "category": f.Category, "purpose": f.Purpose, "id": f.ID, "forms": list(f.Forms), "chars": f.Chars, "buttons": f.Buttons,
		"personal": f.Personal, "condition": f.Condition, "not_before": f.NotBefore, "not_after": f.NotAfter}); err != nil {
		return nil, err
	}
	if c.screen, err = object(map[string]any{"class": f.Class, "owner": f.Owner, "forms": list(f.ScreenForms), "inputs": f.Inputs, "max_buttons": f.MaxButtons}); err != nil {
		return nil, err
	}
	c.home, err = object(map[string]any{"kinds": words(f.Kinds), "consents": words(f.Consents), "mutes": mutes, "quiet": quiet, "denied": list(f.Denied), "complains": list(f.Complains)})
	return &c, err
}

func terms(l []string) *ast.Term {
	all := make([]*ast.Term, len(l))
	for i, s := range l {
		all[i] = ast.StringTerm(s)
	}
	return ast.ArrayTerm(all...)
}

func readings(m map[string]any) *ast.Term {
	all := make([][2]*ast.Term, 0, len(m))
	for k, v := range m {
		var t *ast.Term
		switch v := v.(type) {
		case bool:
			t = ast.BooleanTerm(v)
		case float64:
			t = ast.FloatNumberTerm(v)
		case string:
			t = ast.StringTerm(v)
		}
		all = append(all, [2]*ast.Term{ast.StringTerm(k), t})
	}
	return ast.ObjectTerm(all...)
}

func (o *opa) decide(prepared any, f *facts) ([]string, error) {
	c := prepared.(*opaCase)
	caps := make([]*ast.Term, len(f.Caps))
	for i, k := range f.Caps {
		caps[i] = ast.ObjectTerm([2]*ast.Term{ast.StringTerm("spacing"), ast.BooleanTerm(k.Spacing)}, [2]*ast.Term{ast.StringTerm("count"), ast.IntNumberTerm(k.Count)},
			[2]*ast.Term{ast.StringTerm("max"), ast.IntNumberTerm(k.Max)})
	}
	input := ast.NewObject(
		[2]*ast.Term{ast.StringTerm("message"), ast.NewTerm(c.message)}, [2]*ast.Term{ast.StringTerm("home"), ast.NewTerm(c.home)}, [2]*ast.Term{ast.StringTerm("screen"), ast.NewTerm(c.screen)},
		[2]*ast.Term{ast.StringTerm("now"), ast.NumberTerm(json.Number(strconv.FormatInt(f.Now, 10)))}, [2]*ast.Term{ast.StringTerm("minute"), ast.IntNumberTerm(f.Minute)},
		[2]*ast.Term{ast.StringTerm("weekday"), ast.IntNumberTerm(f.Weekday)}, [2]*ast.Term{ast.StringTerm("known"), terms(f.Known)}, [2]*ast.Term{ast.StringTerm("unknown"), ast.IntNumberTerm(f.Unknown)},
		[2]*ast.Term{ast.StringTerm("fridge"), readings(f.Fridge)}, [2]*ast.Term{ast.StringTerm("tv"), readings(f.TV)}, [2]*ast.Term{ast.StringTerm("state"), readings(f.State)},
		[2]*ast.Term{ast.StringTerm("told"), readings(f.Told)}, [2]*ast.Term{ast.StringTerm("alarm"), ast.BooleanTerm(f.Alarm)}, [2]*ast.Term{ast.StringTerm("caps"), ast.ArrayTerm(caps...)},
		[2]*ast.Term{ast.StringTerm("shown"), terms(f.Shown)},
	)
	rs, err := o.query.Eval(context.Background(), rego.EvalParsedInput(input))
	if err != nil {
		return nil, err
	}
	var all []string
	for _, v := range rs[0].Expressions[0].Value.([]any) {
		all = append(all, v.(string))
	}
	return all, nil
}

// celRules are the rules in CEL, each true if it fails.
var celRules = map[string]string{
	"safety": `alarm || (has(told.alarm) && told.alarm) || (has(told.dnd) && told.dnd) || class == "car" && chars > 80
		|| !forms.exists(f, f in allowed[class])
		|| !(class == "tv" && ("state" in state) && (state["state"] in ["on", "idle", "paused"] || state["state"] == "playing" && ("full_screen" in state) && state["full_screen"] == false)
			|| class == "fridge" && !("power.state" in told && told["power.state"] != "on")
			|| class == "washer" && ("OperationalState" in state) && state["OperationalState"] in ["Stopped", "Paused"]
			|| class == "companion" && !("power.state" in told && told["power.state"] != "on") && !("call.active" in told && told["call.active"])
			|| class == "car" && ("ux.driving" in state) && state["ux.driving"] == "parked" && ("Vehicle.Powertrain.Transmission.SelectedGear" in told) && told["Vehicle.Powertrain.Transmission.SelectedGear"] in [0.0, 126.0])`,
	"age": `ownKind == "child" || hasChild && !hasAdult || hasChild && (private || purpose in ["personalised", "recommendations", "research", "analytics"] || buttons > 0 || floored)
		|| known.exists(p, kinds[p] == "child" && !((p + key) in consents && consents[p + key] == "given"))
		|| hasTeen && (private || purpose in ["personalised", "recommendations", "research", "analytics"] || floored)
		|| stranger && (private || purpose == "research" || floored && !hasChild && !hasTeen)
		|| !stranger && private && !alone`,
	"consent": `owner == "" && !(key in consents && consents[key] == "given") || owner == "" && known.exists(p, !((p + key) in consents && consents[p + key] == "given"))
		|| owner != "" && (!((owner + key) in consents && consents[owner + key] == "given") || key in consents && consents[key] != "given")
		|| people.exists(p, p != owner && (stranger || p in known) && (p + key) in consents && consents[p + key] != "given")`,
	"terms":     `purpose in denied`,
	"mute":      `mutes.exists(r, (!has(r.brand) || r.brand == brand) && (!has(r.category) || r.category == category) && (!has(r.class) || r.class == class))`,
	"sensitive": `listed && (!alone || known.exists(p, kinds[p] != "adult"))`,
	"quiet": `quiet.exists(z, (z.owner == "" || z.owner == owner || z.owner in known || stranger) && (z.start < z.end ? minute >= z.start && minute < z.end : minute >= z.start || minute < z.end))
		|| class == "tv" && "state" in state && state["state"] == "playing" && "full_screen" in state && state["full_screen"] == true || "call.active" in state && state["call.active"] == true`,
	"frequency": `caps.exists(c, !c.spacing && c.count >= c.max)`,
	"spacing":   `caps.exists(c, c.spacing && c.count >= c.max)`,
	"dedupe":    `id in shown`,
	"sequence":  `purpose in ["marketing", "personalised", "recommendations"] && brand in complains`,
	"context": `condition == 1 && !("door.open" in fridge && fridge["door.open"] && minute >= 480)
		|| condition == 2 && !("state" in tv && tv["state"] in ["idle", "paused"] || "door.open" in fridge && fridge["door.open"])
		|| condition == 3 && !(!(weekday in [0, 6]) && minute >= 450 && minute < 1260)
		|| condition == 4 && !(minute >= 720 ? "temperature" in fridge && fridge["temperature"] > 6.0 : "door.open" in fridge && fridge["door.open"])`,
	"validity":   `now >= notAfter || now < notBefore`,
	"capability": `!forms.exists(f, f in screenForms && f in allowed[class]) || buttons > 0 && inputs == 0 || buttons > maxButtons`,
}

type celPeer struct {
	rules []celRule
}

type celRule struct {
	name    string
	program cel.Program
}

func newCEL() (*celPeer, error) {
	var o []cel.EnvOption
	for name, t := range map[string]*cel.Type{
		"now": cel.IntType, "notBefore": cel.IntType, "notAfter": cel.IntType, "minute": cel.IntType, "weekday": cel.IntType, "brand": cel.StringType, "category": cel.StringType,
		"purpose": cel.StringType, "id": cel.StringType, "forms": cel.ListType(cel.StringType), "chars": cel.IntType, "buttons": cel.IntType, "condition": cel.IntType,
		"class": cel.StringType, "owner": cel.StringType, "screenForms": cel.ListType(cel.StringType), "inputs": cel.IntType, "maxButtons": cel.IntType,
		"state": cel.MapType(cel.StringType, cel.DynType), "told": cel.MapType(cel.StringType, cel.DynType), "fridge": cel.MapType(cel.StringType, cel.DynType), "tv": cel.MapType(cel.StringType, cel.DynType),
		"alarm": cel.BoolType, "known": cel.ListType(cel.StringType), "people": cel.ListType(cel.StringType), "kinds": cel.MapType(cel.StringType, cel.StringType),
		"consents": cel.MapType(cel.StringType, cel.StringType), "mutes": cel.ListType(cel.MapType(cel.StringType, cel.StringType)), "quiet": cel.ListType(cel.DynType), "caps": cel.ListType(cel.DynType),
		"shown": cel.ListType(cel.StringType), "denied": cel.ListType(cel.StringType), "complains": cel.ListType(cel.StringType), "allowed": cel.MapType(cel.StringType, cel.ListType(cel.StringType)),
		// What several rules need is worked out for it beforehand.
		"key": cel.StringType, "ownKind": cel.StringType, "hasChild": cel.BoolType, "hasTeen": cel.BoolType, "hasAdult": cel.BoolType,
		"private": cel.BoolType, "floored": cel.BoolType, "listed": cel.BoolType, "stranger": cel.BoolType, "alone": cel.BoolType,
	} {
		o = append(o, cel.Variable(name, t))
	}
	env, err := cel.NewEnv(o...)
	if err != nil {
		return nil, err
	}
	p := &celPeer{}
	for name, text := range celRules {
		a, issues := env.Compile(text)
		if issues.Err() != nil {
			return nil, fmt.Errorf("%s: %w", name, issues.Err())
		}
		program, err := env.Program(a, cel.EvalOptions(cel.OptOptimize))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		p.rules = append(p.rules, celRule{name, program})
	}
	return p, nil
}

func (p *celPeer) name() string { return "cel-go" }

var allowedForms = map[string][]string{
	"tv": {"badge", "list", "toast", "panel", "full-screen"}, "companion": {"badge", "list", "toast", "panel", "full-screen"},
	"fridge": {"badge", "list", "toast", "panel"}, "washer": {"badge", "list", "toast", "panel"}, "car": {"badge", "list"},
}

// derived is what follows from facts for several rules.
type derived struct {
	ownKind                                                                        string
	hasChild, hasTeen, hasAdult, private, floored, listed, stranger, alone, shared bool
}

func derive(f *facts) (d derived) {
	d.ownKind, d.shared = f.Kinds[f.Owner], f.Owner == ""
	d.hasChild, d.hasTeen = d.ownKind == "child", d.ownKind == "teen"
	for _, p := range f.Known {
		switch f.Kinds[p] {
		case "child":
			d.hasChild = true
		case "teen":
			d.hasTeen = true
		case "adult":
			d.hasAdult = true
		}
	}
	first, _, _ := strings.Cut(f.Category, "-")
	d.private = f.Personal || f.Purpose == "personalised"
	floor := []string{"alcohol", "beer", "wine", "spirits", "tobacco", "gambling", "dating", "weapons", "lottery"}
	sensitive := []string{"health", "medicine", "pregnancy", "religion", "politics", "debt", "credit"}
	d.floored = slices.Contains(floor, f.Category) || slices.Contains(floor, first)
	d.listed = slices.Contains(sensitive, f.Category) || slices.Contains(sensitive, first)
	d.stranger = f.Unknown > 0 || d.shared && len(f.Known) == 0
	d.alone = f.Unknown == 0 && len(f.Known) == 1 && (d.shared || f.Known[0] == f.Owner)
	return d
}

// celCase is what does not change from one moment to the next.
type celCase struct {
	people []string
	quiet  []map[string]any
	key    string
}

func (p *celPeer) prepare(f *facts) (any, error) {
	c := &celCase{key: "/" + f.Brand + "/" + f.Purpose, people: []string{}, quiet: []map[string]any{}}
	for id := range f.Kinds {
		c.people = append(c.people, id)
	}
	for _, z := range f.Quiet {
		c.quiet = append(c.quiet, map[string]any{"owner": z.Owner, "start": z.Start, "end": z.End})
	}
	return c, nil
}

func (p *celPeer) decide(prepared any, f *facts) ([]string, error) {
	c, d := prepared.(*celCase), derive(f)
	caps := make([]map[string]any, len(f.Caps))
	for i, k := range f.Caps {
		caps[i] = map[string]any{"spacing": k.Spacing, "count": k.Count, "max": k.Max}
	}
	in, err := interpreter.NewActivation(map[string]any{
		"now": f.Now, "notBefore": f.NotBefore, "notAfter": f.NotAfter, "minute": f.Minute, "weekday": f.Weekday, "brand": f.Brand, "category": f.Category, "purpose": f.Purpose,
		"id": f.ID, "forms": f.Forms, "chars": f.Chars, "buttons": f.Buttons, "condition": f.Condition, "class": f.Class, "owner": f.Owner, "screenForms": f.ScreenForms,
		"inputs": f.Inputs, "maxButtons": min(f.MaxButtons, 4), "state": f.State, "told": f.Told, "fridge": f.Fridge, "tv": f.TV, "alarm": f.Alarm, "known": f.Known, "people": c.people, "kinds": f.Kinds,
		"consents": f.Consents, "mutes": f.Mutes, "quiet": c.quiet, "caps": caps, "shown": f.Shown, "denied": f.Denied, "complains": f.Complains, "allowed": allowedForms,
		"key": c.key, "ownKind": d.ownKind, "hasChild": d.hasChild, "hasTeen": d.hasTeen, "hasAdult": d.hasAdult,
		"private": d.private, "floored": d.floored, "listed": d.listed, "stranger": d.stranger, "alone": d.alone,
	})
	if err != nil {
		return nil, err
	}
	var all []string
	for i := range p.rules {
		v, _, err := p.rules[i].program.Eval(in)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.rules[i].name, err)
		}
		if v.Value() == true {
			all = append(all, p.rules[i].name)
		}
	}
	return all, nil
}

//go:embed rules.cedar
var cedarRules []byte

type cedarPeer struct {
	policies *cedar.PolicySet
	names    map[cedar.PolicyID]string
}

func newCedar() (*cedarPeer, error) {
	list, err := cedar.NewPolicyListFromBytes("rules.cedar", cedarRules)
	if err != nil {
		return nil, err
	}
	p := &cedarPeer{cedar.NewPolicySet(), map[cedar.PolicyID]string{}}
	for i, rule := range list {
		id := cedar.PolicyID(fmt.Sprint(i))
		p.names[id] = string(rule.Annotations()["reason"])
		p.policies.Add(id, rule)
	}
	return p, nil
}

func (p *cedarPeer) name() string { return "cedar-go" }

// cedarCase is what does not change from one moment to the next.
type cedarCase struct {
	message         types.Entity
	allowed, usable types.Set
	forms           types.Set
	denied          types.Set
	complains       types.Set
}

func set(l []string) types.Set {
	all := make([]types.Value, len(l))
	for i, s := range l {
		all[i] = types.String(s)
	}
	return types.NewSet(all...)
}

func record(m map[string]any) types.Record {
	all := make(types.RecordMap, len(m))
	for k, v := range m {
		all[types.String(k)] = cedarValue(v)
	}
	return types.NewRecord(all)
}

func (p *cedarPeer) prepare(f *facts) (any, error) {
	d := derive(f)
	return &cedarCase{
		message: types.Entity{UID: types.NewEntityUID("Message", types.String(f.ID)), Attributes: types.NewRecord(types.RecordMap{
			"brand": types.String(f.Brand), "category": types.String(f.Category), "purpose": types.String(f.Purpose), "id": types.String(f.ID), "forms": set(f.Forms), "chars": types.Long(f.Chars),
			"buttons": types.Long(f.Buttons), "condition": types.Long(f.Condition), "floored": types.Boolean(d.floored), "listed": types.Boolean(d.listed)})},
		allowed: set(allowedForms[f.Class]), usable: set(slices.DeleteFunc(slices.Clone(f.ScreenForms), func(s string) bool { return !slices.Contains(allowedForms[f.Class], s) })),
		forms: set(f.ScreenForms), denied: set(f.Denied), complains: set(f.Complains),
	}, nil
}

// decide works out what Cedar has no words for: quantifiers over lists of records, and whose word counts.
func (p *cedarPeer) decide(prepared any, f *facts) ([]string, error) {
	k, d := prepared.(*cedarCase), derive(f)
	key := "/" + f.Brand + "/" + f.Purpose
	var given, no, children, adults, quiet, others []string
	for who := range f.Kinds {
		switch c := f.Consents[who+key]; c {
		case "given":
			given = append(given, who)
		case "":
		default:
			no = append(no, who)
		}
		if who != f.Owner && (d.stranger || slices.Contains(f.Known, who)) {
			others = append(others, who)
		}
	}
	if c := f.Consents[key]; c == "given" {
		given = append(given, "")
	} else if c != "" {
		no = append(no, "")
	}
	for _, who := range f.Known {
		switch f.Kinds[who] {
		case "child":
			children = append(children, who)
		case "adult":
			adults = append(adults, who)
		}
	}
	for _, z := range f.Quiet {
		if z.Start < z.End && f.Minute >= z.Start && f.Minute < z.End || z.Start >= z.End && (f.Minute >= z.Start || f.Minute < z.End) {
			quiet = append(quiet, z.Owner)
		}
	}
	muted, frequency, spacing := false, false, false
	for _, r := range f.Mutes {
		muted = muted || (r["brand"] == "" || r["brand"] == f.Brand) && (r["category"] == "" || r["category"] == f.Category) && (r["class"] == "" || r["class"] == f.Class)
	}
	for _, c := range f.Caps {
		if c.Count >= c.Max {
			frequency, spacing = frequency || !c.Spacing, spacing || c.Spacing
		}
	}
	screen := types.NewEntityUID("Screen", "s")
	entities := types.EntityMap{
		k.message.UID: k.message,
		screen: {UID: screen, Attributes: types.NewRecord(types.RecordMap{"class": types.String(f.Class), "owner": types.String(f.Owner), "forms": k.forms, "allowed": k.allowed, "usable": k.usable,
			"inputs": types.Long(f.Inputs), "maxButtons": types.Long(min(f.MaxButtons, 4)), "state": record(f.State), "told": record(f.Told)})},
	}
	_, diagnostic := cedar.Authorize(p.policies, entities, cedar.Request{Principal: k.message.UID, Action: types.NewEntityUID("Action", "show"), Resource: screen, Context: types.NewRecord(types.RecordMap{
		"now": types.Long(f.Now), "notBefore": types.Long(f.NotBefore), "notAfter": types.Long(f.NotAfter), "minute": types.Long(f.Minute), "weekday": types.Long(f.Weekday),
		"fridge": record(f.Fridge), "tv": record(f.TV), "known": set(f.Known), "stranger": types.Boolean(d.stranger), "alone": types.Boolean(d.alone), "adults": set(adults),
		"children": set(children), "others": set(others), "teen": types.Boolean(d.hasTeen), "child": types.Boolean(d.hasChild), "adult": types.Boolean(d.hasAdult), "ownChild": types.Boolean(d.ownKind == "child"),
		"given": set(given), "no": set(no), "quiet": set(quiet), "muted": types.Boolean(muted), "frequency": types.Boolean(frequency), "spacing": types.Boolean(spacing),
		"shown": set(f.Shown), "denied": k.denied, "complains": k.complains, "alarm": types.Boolean(f.Alarm), "private": types.Boolean(d.private),
	})})
	if len(diagnostic.Errors) > 0 {
		return nil, fmt.Errorf("%v", diagnostic.Errors[0])
	}
	var all []string
	for _, r := range diagnostic.Reasons {
		if name := p.names[r.PolicyID]; name != "" && !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all, nil
}

func cedarValue(v any) types.Value {
	switch v := v.(type) {
	case bool:
		return types.Boolean(v)
	case float64:
		return types.Long(int64(v)) // whole numbers here
	case string:
		return types.String(v)
	}
	panic(fmt.Sprintf("%T", v))
}

// same reports how a peer's answer differs from ours; "" if it does not.
func same(d policy.Decision, theirs []string) string {
	ours := []string{}
	for _, r := range d.Reasons.Rules() {
		ours = append(ours, r.String())
	}
	slices.Sort(ours)
	theirs = slices.Clone(theirs)
	slices.Sort(theirs)
	if !slices.Equal(ours, theirs) {
		return fmt.Sprintf("ours: %v, theirs: %v", ours, theirs)
	}
	return ""
}

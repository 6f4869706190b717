package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/policy"
)

type conditionCmd struct {
	Check     conditionCheckCmd     `cmd:"" help:"Read a condition and say what it reads and costs, or where it is wrong."`
	Explain   conditionExplainCmd   `cmd:"" help:"Say what each part of a condition comes to, on a device of a home or with what --set says."`
	Variables conditionVariablesCmd `cmd:"" help:"List what a condition may read."`
}

// readCondition is a condition as it was typed; the error shows where it is wrong.
func readCondition(text string) (*policy.Expression, error) {
	c, err := policy.ParseCondition(text)
	var wrong *policy.ConditionError
	if errors.As(err, &wrong) {
		return nil, fmt.Errorf("condition: %w\n%s", err, wrong.Caret(text))
	}
	return c, err
}

type conditionCheckCmd struct {
	Text  string   `arg:"" name:"text" help:"The condition."`
	Needs []string `help:"What it may read: all of it must be named, and nothing else." placeholder:"NAME"`
	JSON  bool     `help:"Print JSON."`
}

// Run reads a condition.
func (c *conditionCheckCmd) Run(e *env) error {
	x, err := readCondition(c.Text)
	if err != nil {
		return err
	}
	if c.Needs != nil {
		for _, name := range x.Needs() {
			if !slices.Contains(c.Needs, name) {
				return fmt.Errorf("condition: character %d reads %s, which needs does not name", x.Where(name)+1, name)
			}
		}
		for _, name := range c.Needs {
			if !slices.Contains(x.Needs(), name) {
				return fmt.Errorf("condition: it does not read %s, which needs names", name)
			}
		}
	}
	if c.JSON {
		return printJSON(e.out, map[string]any{"condition": x.Text(), "needs": x.Needs(), "inputs": x.Inputs(), "nodes": x.Nodes(), "sensitive": x.Sensitive(), "timed": x.Timed()})
	}
	t := table(e.out)
	fmt.Fprintln(t, "READS\tSENSITIVE\tKIND\tMEANING")
	for _, v := range x.Inputs() {
		fmt.Fprintln(t, variableLine(v))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	waits := "no: it changes only when a device tells something, or has not for too long"
	if x.Timed() {
		waits = "yes"
	}
	_, err = fmt.Fprintf(e.out, "parts %d of 64\nwaits for the clock: %s\n", x.Nodes(), waits)
	return err
}

func variableLine(v policy.Variable) string {
	kind := v.Kind.String()
	switch {
	case v.Words != nil:
		kind = strings.Join(v.Words, " ")
	case v.Unit != "":
		kind += ", " + v.Unit
	}
	sensitive := "-"
	if v.Sensitive {
		sensitive = "yes"
	}
	return v.Name + "\t" + sensitive + "\t" + kind + "\t" + v.Meaning
}

type conditionVariablesCmd struct {
	Prefix string       `arg:"" optional:"" help:"Only those that begin so, as in fridge or now."`
	Class  device.Class `help:"Only what this class of device tells." placeholder:"CLASS"`
	JSON   bool         `help:"Print JSON."`
}

// Run lists what conditions may read.
func (c *conditionVariablesCmd) Run(e *env) error {
	all := slices.DeleteFunc(policy.Variables(), func(v policy.Variable) bool {
		return !strings.HasPrefix(v.Name, c.Prefix) || c.Class != 0 && !strings.HasPrefix(v.Name, c.Class.String()+".")
	})
	if len(all) == 0 && c.Class != 0 {
		return fmt.Errorf("no variable of a %s begins with %q", c.Class, c.Prefix)
	}
	if len(all) == 0 {
		return fmt.Errorf("no variable begins with %q", c.Prefix)
	}
	if c.JSON {
		return printJSON(e.out, all)
	}
	t := table(e.out)
	fmt.Fprintln(t, "NAME\tSENSITIVE\tKIND\tMEANING")
	timed := ""
	for _, v := range all {
		if body, since := strings.CutSuffix(v.Name, ".since"); since && !strings.HasPrefix(c.Prefix, body) {
			timed = body // said once, of all
			continue
		}
		fmt.Fprintln(t, variableLine(v))
	}
	if err := t.Flush(); err != nil || timed == "" {
		return err
	}
	_, err := fmt.Fprintf(e.out, "\nWith .since after what a device tells, as in %s.since: for how many whole seconds that has been so.\n", timed)
	return err
}

type conditionExplainCmd struct {
	Text   string   `arg:"" name:"text" help:"The condition."`
	Home   string   `help:"The home's name." placeholder:"HOME"`
	Device string   `help:"The screen: its ID, or its name in the home." placeholder:"DEVICE"`
	Brand  string   `help:"As for a message of this brand, which may read what is sensitive only where it was allowed to." placeholder:"BRAND"`
	At     string   `help:"Without a home: the time, as 2026-12-24T18:00:00Z; default now." placeholder:"TIME"`
	Zone   string   `help:"Without a home: its time zone." default:"UTC" placeholder:"ZONE"`
	Set    []string `help:"Without a home: what is known, as fridge.door.open=true; once for each." sep:"none" placeholder:"NAME=VALUE"`
	JSON   bool     `help:"Print JSON."`
}

// Validate is called by the parser.
func (c *conditionExplainCmd) Validate() error {
	switch {
	case (c.Home == "") != (c.Device == ""):
		return errors.New("give both --home and --device, or neither")
	case c.Home != "" && (len(c.Set) > 0 || c.At != ""):
		return errors.New("--set and --at are for a condition without a home")
	case c.Home == "" && c.Brand != "":
		return errors.New("--brand goes with --home and --device")
	}
	return nil
}

// Run explains a condition.
func (c *conditionExplainCmd) Run(e *env) error {
	x, err := readCondition(c.Text)
	if err != nil {
		return err
	}
	var told delivery.ConditionTold
	if c.Home != "" {
		told, err = ask[delivery.ConditionTold](e, "condition", delivery.ConditionAsked{Home: c.Home, Device: c.Device, Brand: device.BrandID(c.Brand), Condition: c.Text})
	} else {
		var q policy.Request
		if q, err = c.suppose(); err == nil {
			for _, name := range c.unread(x) {
				fmt.Fprintf(e.errs, "porchlight: the condition does not read %s\n", name)
			}
			told = delivery.TellCondition(x, q)
		}
	}
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(e.out, told)
	}
	t := table(e.out)
	fmt.Fprintln(t, "PART\tIS\tUNTIL")
	for _, s := range told.Steps {
		until := "-"
		if s.Until != 0 {
			until = s.Until.String()
		}
		is := s.Is
		if s.Why != "" {
			is += " (" + string(s.Why) + ")"
		}
		fmt.Fprintf(t, "%s%s\t%s\t%s\n", strings.Repeat("  ", s.Depth), strings.Join(strings.Fields(s.Text), " "), is, until)
	}
	return t.Flush()
}

// unread are the variables that are set and change nothing of x.
func (c *conditionExplainCmd) unread(x *policy.Expression) (all []string) {
	reads := x.Needs()
	crowd := slices.ContainsFunc(reads, func(name string) bool { return strings.HasPrefix(name, "presence.") })
	for _, one := range c.Set {
		name, _, _ := strings.Cut(one, "=")
		used := slices.Contains(reads, name) || slices.Contains(reads, name+".since") || crowd && strings.HasPrefix(name, "presence.")
		if !used {
			all = append(all, name)
		}
	}
	return all
}

// suppose makes a home of what was said to be known.
func (c *conditionExplainCmd) suppose() (q policy.Request, err error) {
	q.Now = device.At(time.Now())
	if c.At != "" {
		t, err := time.Parse(time.RFC3339, c.At)
		if err != nil {
			return q, fmt.Errorf("time %q: write it as in 2026-12-24T18:00:00Z", c.At)
		}
		q.Now = device.At(t)
	}
	zone, err := time.LoadLocation(c.Zone)
	if err != nil {
		return q, fmt.Errorf("zone %q is not known", c.Zone)
	}
	q.Screen = &policy.Screen{ID: "screen", Class: device.Display, Context: new(device.Context)}
	q.Home = &policy.Home{Zone: zone, Screens: []*policy.Screen{q.Screen}}
	on := map[string]*policy.Screen{"screen": q.Screen}
	crowd := map[string]int{}
	var later []func() error // since when things have been so is known once they are
	for _, one := range c.Set {
		name, value, ok := strings.Cut(one, "=")
		if !ok || !slices.ContainsFunc(policy.Variables(), func(v policy.Variable) bool { return v.Name == name }) {
			return q, fmt.Errorf("set %q: write NAME=VALUE with one of porchlight condition variables", one)
		}
		bad := func(err error) error { return fmt.Errorf("set %s: %w", name, err) }
		head, rest, _ := strings.Cut(name, ".")
		if head == "now" {
			return q, bad(errors.New("the clock is set by --at and --zone"))
		}
		if head == "presence" {
			n, err := strconv.Atoi(value)
			if err != nil || n < 0 || n > 64 {
				return q, bad(fmt.Errorf("%q is not 0 to 64", value))
			}
			crowd[rest] = n
			continue
		}
		if on[head] == nil {
			class, err := device.ParseClass(head)
			if err != nil {
				return q, bad(err)
			}
			on[head] = &policy.Screen{ID: device.ID(head), Class: class, Context: new(device.Context)}
			q.Home.Screens = append(q.Home.Screens, on[head])
		}
		s := on[head]
		if body, timed := strings.CutSuffix(rest, ".since"); timed {
			a, _ := device.ParseAttribute(body)
			n, err := strconv.ParseInt(value, 10, 32)
			if err != nil || n < 0 {
				return q, bad(fmt.Errorf("%q is no number of seconds", value))
			}
			later = append(later, func() error {
				r, known := s.Context.Get(a)
				if !known {
					return bad(fmt.Errorf("set %s.%s, too", head, body))
				}
				r.Since = q.Now.Add(-time.Duration(n) * time.Second)
				s.Context.Put(a, r)
				return nil
			})
			continue
		}
		a, _ := device.ParseAttribute(rest)
		v, err := readingOf(a, value)
		if err != nil {
			return q, bad(err)
		}
		s.Context.Put(a, device.Reading{Value: v, At: q.Now, Since: q.Now})
	}
	for _, f := range later {
		if err := f(); err != nil {
			return q, err
		}
	}
	if len(crowd) > 0 {
		err = gather(&q, max(crowd["count"], crowd["children"], crowd["guests"]), crowd["children"], crowd["guests"])
	}
	return q, err
}

// gather puts people in front of the screen.
func gather(q *policy.Request, all, children, guests int) error {
	var who []string
	for i := range all {
		p := policy.Person{ID: device.PersonID(i + 1), Age: device.Adult}
		if i < children {
			p.Age = device.Child
		}
		p.Guest = i >= all-guests
		q.Home.People = append(q.Home.People, p)
		who = append(who, fmt.Sprint(p.ID))
	}
	v, err := device.PresenceWho.ValueOf(strings.Join(who, " "))
	if err != nil {
		return fmt.Errorf("set presence: %w", err)
	}
	q.Screen.Context.Put(device.PresenceWho, device.Reading{Value: v, At: q.Now, Since: q.Now})
	return nil
}

// readingOf reads a value as it is typed.
func readingOf(a device.Attribute, s string) (device.Value, error) {
	var v any = s
	switch a.Info().Kind {
	case device.Bool:
		b, err := strconv.ParseBool(s)
		if err != nil {
			return device.Value{}, fmt.Errorf("%q is not true or false", s)
		}
		v = b
	case device.Number:
		n, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return device.Value{}, fmt.Errorf("%q is not a number", s)
		}
		v = n
	}
	return a.ValueOf(v)
}

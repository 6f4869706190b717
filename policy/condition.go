package policy

import (
	"slices"
	"strings"

	"porchlight/device"
)

// Expression is a condition in words: CEL without macros, functions and arithmetic, in which a
// variable is compared with a constant.
//
//	fridge.door.open && screen.state in ['on', 'idle'] && !(now.hour < 8)
//
// It is three-valued: what is not known is neither true nor false, and a whole that needs it is
// not known either. It does not change and is safe for concurrent use. The zero Expression, and a
// nil one, is unknown for ever.
type Expression struct {
	text   string
	nodes  []node // the operands of a node come before it; the last is the whole
	leaves []leaf
	vars   []variable // each once, as first read
}

// The limits of a condition.
const (
	maxConditionText  = 2000 // code points
	maxConditionDepth = 32   // of parentheses, !, and ?:
	maxConditionNodes = 64   // operators, comparisons, and the constants of each `in`
)

// Truth is what a condition comes to.
type Truth uint8

// The truths.
const (
	NotKnown Truth = iota // a fact is missing
	False
	True
)

// String names the truth.
func (t Truth) String() string { return [...]string{"unknown", "false", "true"}[min(t, True)] }

// not is the truth of the opposite.
func (t Truth) not() Truth { return [...]Truth{NotKnown, True, False}[t] }

// truthOf is True or False.
func truthOf(b bool) Truth {
	if b {
		return True
	}
	return False
}

// domain is where a variable's value comes from and what it ranges over.
type domain uint8

const (
	ofReading domain = iota // what a device told
	ofSince                 // whole seconds since a reading became what it is
	ofClock                 // minutes after midnight: now.hour, now.time
	ofDate                  // days since 1970-01-01: now.weekday, now.date
	ofPeople                // who is in front of the screen
)

// aspect is which side of a domain a variable shows.
type aspect uint8

const (
	asIs aspect = iota
	asHour
	asWeekday
	asCount
	asChildren
	asGuests
)

// variable is something that a condition may read.
type variable struct {
	domain    domain
	aspect    aspect
	class     device.Class     // of readings and since; 0: the screen itself
	attribute device.Attribute // of readings and since
}

// Variable says what a condition may read.
type Variable struct {
	Name      string      `json:"name"`
	Kind      device.Kind `json:"-"`
	Words     []string    `json:"words,omitempty"` // of an Enum
	Unit      string      `json:"unit,omitempty"`
	Sensitive bool        `json:"sensitive"` // unknown unless the people concerned have given the brand the purpose context
	Meaning   string      `json:"meaning"`
}

var weekdayNames = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// The variables that are no readings.
var ownVariables = []struct {
	variable
	Variable
}{
	{variable{domain: ofClock, aspect: asHour}, Variable{Name: "now.hour", Kind: device.Number, Unit: "0 to 23", Meaning: "the hour on the home's clock"}},
	{variable{domain: ofClock}, Variable{Name: "now.time", Kind: device.Text, Unit: "HH:MM", Meaning: "the time on the home's clock, from 00:00 to 23:59"}},
	{variable{domain: ofDate, aspect: asWeekday}, Variable{Name: "now.weekday", Kind: device.Enum, Words: append(slices.Clone(weekdayNames[1:]), "sun"), Meaning: "the day of the week at home"}},
	{variable{domain: ofDate}, Variable{Name: "now.date", Kind: device.Text, Unit: "YYYY-MM-DD", Meaning: "the date at home"}},
	{variable{domain: ofPeople, aspect: asCount}, Variable{Name: "presence.count", Kind: device.Number, Unit: "people", Sensitive: true, Meaning: "how many people are in front of the screen"}},
	{variable{domain: ofPeople, aspect: asChildren}, Variable{Name: "presence.children", Kind: device.Number, Unit: "people", Sensitive: true, Meaning: "how many of them are children"}},
	{variable{domain: ofPeople, aspect: asGuests}, Variable{Name: "presence.guests", Kind: device.Number, Unit: "people", Sensitive: true, Meaning: "how many of them are guests"}},
}

// hidden are attributes that no condition reads, because they name people.
var hidden = device.Attributes(device.PresenceWho, device.DriverSubject)

// harmless are attributes that tell of a device and not of the people around it. All others are
// sensitive, so that an attribute nobody has thought about is.
var harmless = device.Attributes(device.PowerState, device.DND, device.BatteryLevel, device.PlayerState, device.VolumeLevel, device.VolumeMuted,
	device.Fullscreen, device.GameState, device.Driving, device.Restrictions, device.VehicleSpeed, device.VehicleMoving, device.SelectedGear,
	device.ParkingBrake, device.LowVoltage, device.DoorOpen, device.Temperature, device.OperationalState, device.CurrentPhase,
	device.CountdownTime, device.Completion, device.CookTime, device.Setpoint, device.Alarm)

// delicate reports whether a tells of people: who is there, whether they sleep or talk, what they
// watch.
func delicate(a device.Attribute) bool { return !harmless.Has(a) }

// Variables lists all that a condition may read.
func Variables() []Variable {
	var all []Variable
	for _, v := range ownVariables {
		all = append(all, v.Variable)
	}
	for c := device.Class(0); c <= device.Other; c++ {
		if c != 0 && !c.Known() {
			continue
		}
		for a := range device.AttributesOf(c) {
			if v := (variable{class: c, attribute: a}); !hidden.Has(a) {
				all = append(all, v.info())
				v.domain = ofSince
				all = append(all, v.info())
			}
		}
	}
	return all
}

// info describes v.
func (v variable) info() Variable {
	for _, own := range ownVariables {
		if own.variable == v {
			return own.Variable
		}
	}
	a := v.attribute.Info()
	i := Variable{Name: v.prefix() + a.Name, Kind: a.Kind, Words: a.Values, Unit: a.Unit, Sensitive: delicate(v.attribute), Meaning: "what the screen itself last told"}
	if v.class != 0 {
		i.Meaning = "what the home's " + v.class.String() + " last told: of several, the one where it changed last"
	}
	if v.domain == ofSince {
		i.Name, i.Kind, i.Words, i.Unit, i.Meaning = i.Name+".since", device.Number, nil, "whole seconds", "for how long that has been so"
	}
	return i
}

func (v variable) prefix() string {
	if v.class == 0 {
		return "screen."
	}
	return v.class.String() + "."
}

// sensitive reports whether v tells of people.
func (v variable) sensitive() bool {
	return v.domain == ofPeople || (v.domain == ofReading || v.domain == ofSince) && delicate(v.attribute)
}

// find looks a variable up by its name. Where there is none, fix says what to write instead.
func find(name string) (v variable, fix string, ok bool) {
	for _, own := range ownVariables {
		if own.Name == name {
			return own.variable, "", true
		}
	}
	head, rest, _ := strings.Cut(name, ".")
	heads := append([]string{"screen", "now", "presence"}, device.ClassNames()...)
	if !slices.Contains(heads, head) {
		if a, known := device.ParseAttribute(name); known && !hidden.Has(a) {
			return v, "did you mean screen." + name + "?", false
		}
		if near := device.Nearest(head, heads); near != "" {
			return v, "did you mean " + near + "." + rest + "?", false
		}
		return v, "begin with one of " + strings.Join(heads, ", "), false
	}
	if head == "now" || head == "presence" {
		var names []string
		for _, own := range ownVariables {
			if strings.HasPrefix(own.Name, head+".") {
				names = append(names, own.Name)
			}
		}
		return v, "use one of " + strings.Join(names, ", "), false
	}
	if head != "screen" {
		v.class, _ = device.ParseClass(head)
	}
	if a, known := device.ParseAttribute(rest); known {
		v.attribute = a
	} else if body, timed := strings.CutSuffix(rest, ".since"); timed {
		v.attribute, _ = device.ParseAttribute(body)
		v.domain, rest = ofSince, body
	}
	switch {
	case hidden.Has(v.attribute):
		return v, "no condition reads who somebody is: use presence.count, presence.children or presence.guests", false
	case v.attribute == device.NoAttribute:
		near := NearestAttribute(rest, v.class)
		if a, _ := device.ParseAttribute(near); hidden.Has(a) {
			near = device.PresenceCount.String()
		}
		fix = "did you mean " + head + "." + near + "?"
		if v.class != 0 {
			fix += " A " + head + " tells " + strings.Join(readable(v.class), ", ")
		}
		return v, fix, false
	case v.class != 0 && !v.attribute.Of(v.class):
		var tell []string
		for _, c := range v.attribute.Info().Of {
			tell = append(tell, c.String())
		}
		return v, "a " + head + " does not tell " + rest + "; that is told by " + strings.Join(tell, ", "), false
	}
	return v, "", true
}

// readable names the attributes of a class that a condition may read.
func readable(class device.Class) []string {
	return slices.DeleteFunc(slices.Clone(device.AttributeNames(class)), func(name string) bool {
		a, _ := device.ParseAttribute(name)
		return hidden.Has(a)
	})
}

// Text is the condition as it was written.
func (c *Expression) Text() string {
	if c == nil {
		return ""
	}
	return c.text
}

// String is Text.
func (c *Expression) String() string { return c.Text() }

// Nodes is how large the condition is, at most 64: what it costs to judge it.
func (c *Expression) Nodes() int {
	n := len(c.nodes)
	for i := range c.leaves {
		n += max(0, c.leaves[i].constants-1)
	}
	return n
}

// Needs lists the variables that the condition reads, in the order of the alphabet.
func (c *Expression) Needs() []string {
	var names []string
	for _, v := range c.vars {
		names = append(names, v.info().Name)
	}
	slices.Sort(names)
	return names
}

// Inputs describes the variables that the condition reads, in the order of the alphabet.
func (c *Expression) Inputs() []Variable {
	var all []Variable
	for _, v := range c.vars {
		all = append(all, v.info())
	}
	slices.SortFunc(all, func(a, b Variable) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Sensitive reports whether the condition reads something about people.
func (c *Expression) Sensitive() bool {
	return c != nil && slices.ContainsFunc(c.vars, variable.sensitive)
}

// Timed reports whether the condition reads the clock, so that time alone may change it.
func (c *Expression) Timed() bool {
	return c != nil && slices.ContainsFunc(c.vars, func(v variable) bool { return v.domain == ofSince || v.domain == ofClock || v.domain == ofDate })
}

// Where is the code point at which c first reads a variable.
func (c *Expression) Where(name string) int {
	for _, n := range c.nodes {
		if n.op == compare && c.leaves[n.leaf].v.info().Name == name {
			return len([]rune(c.text[:n.from]))
		}
	}
	return 0
}

// Of is what c reads of a device of some class; same is whether that is the screen itself.
func (c *Expression) Of(class device.Class, same bool) (all device.AttributeSet) {
	if c == nil {
		return 0
	}
	for _, v := range c.vars {
		if (v.domain == ofReading || v.domain == ofSince) && (v.class == class || v.class == 0 && same) {
			all = all.With(v.attribute)
		}
	}
	return all
}

// Attributes are the readings that the condition depends on: those of the screen itself, and those
// of any device of the home. Who is there is among the first: it is told by the whole room.
func (c *Expression) Attributes() (screen, others device.AttributeSet) {
	if c == nil {
		return 0, 0
	}
	for _, v := range c.vars {
		switch {
		case v.domain == ofClock || v.domain == ofDate || v.domain == ofPeople:
		case v.class == 0:
			screen = screen.With(v.attribute)
		default:
			others = others.With(v.attribute)
		}
		if v.sensitive() {
			screen |= presence // it is about them, or takes their leave
		}
	}
	return screen, others
}

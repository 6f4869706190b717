package device

import (
	"fmt"
	"iter"
	"math"
	"math/bits"
	"slices"
	"strings"
	"time"
)

// Attribute is one thing that a device can tell about itself. Names are those of existing
// vocabularies: Home Assistant's media_player, Matter, COVESA VSS, Android's driving states.
type Attribute uint8

// The attributes that decisions know. A device may report others; they are passed over.
const (
	NoAttribute Attribute = iota
	PowerState
	RoomOccupancy
	PresenceCount
	PresenceWho
	Sleeping
	DND
	BatteryLevel
	PlayerState
	AppName
	Source
	VolumeLevel
	VolumeMuted
	ContentType
	ContentRating
	Fullscreen
	CallActive
	GameState
	Driving
	Restrictions
	VehicleSpeed
	VehicleMoving
	SelectedGear
	ParkingBrake
	LowVoltage
	Distraction
	CabinLanguage
	DriverSubject
	DoorOpen
	Temperature
	OperationalState
	CurrentPhase
	CountdownTime
	Completion
	CookTime
	Setpoint
	Alarm
	attributes // how many there are, at most 64
)

// AttributeSet is a set of attributes: bit n is the Attribute with the number n.
type AttributeSet uint64

// Attributes makes a set.
func Attributes(list ...Attribute) (s AttributeSet) {
	for _, a := range list {
		s = s.With(a)
	}
	return s
}

// Has reports whether a is in the set.
func (s AttributeSet) Has(a Attribute) bool { return s&(1<<a) != 0 }

// With returns the set and a.
func (s AttributeSet) With(a Attribute) AttributeSet { return s | 1<<a }

// Intersects reports whether the sets have an attribute in common.
func (s AttributeSet) Intersects(t AttributeSet) bool { return s&t != 0 }

// Kind is the type of an attribute's value.
type Kind uint8

// The kinds. Unknown is the zero kind: no value.
const (
	Unknown Kind = iota
	Bool
	Number
	Enum // one of AttributeInfo.Values
	Text // free, at most 64 bytes
)

// AttributeInfo says what an attribute means.
type AttributeInfo struct {
	Name   string
	Kind   Kind
	Values []string // of an Enum, in the order of their numbers
	Unit   string   // of a Number
	Of     []Class  // the classes that report it; nil means every class
}

var infos = [attributes]AttributeInfo{
	PowerState:    {Name: "power.state", Kind: Enum, Values: []string{"on", "standby", "off"}},
	RoomOccupancy: {Name: "room.occupancy", Kind: Bool},
	PresenceCount: {Name: "presence.count", Kind: Number, Unit: "people"},
	PresenceWho:   {Name: "presence.who", Kind: Text}, // numbers of people, each with what it is sure of: "1 2@0.7"
	Sleeping:      {Name: "sleeping", Kind: Bool},
	DND:           {Name: "dnd", Kind: Bool},
	BatteryLevel:  {Name: "battery.level", Kind: Number, Unit: "%"},
	PlayerState:   {Name: "state", Kind: Enum, Values: []string{"off", "on", "idle", "playing", "paused", "buffering", "standby"}, Of: []Class{TV, Speaker, Console}},
	AppName:       {Name: "app_name", Kind: Text, Of: []Class{TV}},
	Source:        {Name: "source", Kind: Text, Of: []Class{TV}},
	VolumeLevel:   {Name: "volume_level", Kind: Number, Unit: "0 to 1", Of: []Class{TV, Speaker}},
	VolumeMuted:   {Name: "is_volume_muted", Kind: Bool, Of: []Class{TV, Speaker}},
	ContentType:   {Name: "media_content_type", Kind: Text, Of: []Class{TV}},
	ContentRating: {Name: "content.rating", Kind: Text, Of: []Class{TV}},
	Fullscreen:    {Name: "full_screen", Kind: Bool, Of: []Class{TV}},
	CallActive:    {Name: "call.active", Kind: Bool, Of: []Class{Speaker, Companion}},
	GameState:     {Name: "game.state", Kind: Enum, Values: []string{"none", "gameplay_interruptible", "gameplay_uninterruptible", "content", "unknown"}, Of: []Class{Console}},
	Driving:       {Name: "ux.driving", Kind: Enum, Values: []string{"parked", "idling", "moving", "unknown"}, Of: []Class{Car}},
	Restrictions:  {Name: "ux.restrictions", Kind: Number, Unit: "bits", Of: []Class{Car}},
	VehicleSpeed:  {Name: "Vehicle.Speed", Kind: Number, Unit: "km/h", Of: []Class{Car}},
	VehicleMoving: {Name: "Vehicle.IsMoving", Kind: Bool, Of: []Class{Car}},
	SelectedGear:  {Name: "Vehicle.Powertrain.Transmission.SelectedGear", Kind: Number, Unit: "126 is Park", Of: []Class{Car}},
	ParkingBrake:  {Name: "Vehicle.Chassis.ParkingBrake.IsEngaged", Kind: Bool, Of: []Class{Car}},
	// The state of the ignition. A new cycle begins with ON or START after anything else.
	LowVoltage:       {Name: "Vehicle.LowVoltageSystemState", Kind: Enum, Values: []string{"UNDEFINED", "LOCK", "OFF", "ACC", "ON", "START"}, Of: []Class{Car}},
	Distraction:      {Name: "Vehicle.Driver.DistractionLevel", Kind: Number, Unit: "%", Of: []Class{Car}},
	CabinLanguage:    {Name: "Vehicle.Cabin.Infotainment.HMI.CurrentLanguage", Kind: Text, Of: []Class{Car}},
	DriverSubject:    {Name: "Vehicle.Occupant.Row1.DriverSide.Identifier.Subject", Kind: Text, Of: []Class{Car}},
	DoorOpen:         {Name: "door.open", Kind: Bool, Of: []Class{Fridge, Washer, Dryer, Dishwasher, Oven}},
	Temperature:      {Name: "temperature", Kind: Number, Unit: "Cel", Of: []Class{Fridge, Oven}},
	OperationalState: {Name: "OperationalState", Kind: Enum, Values: []string{"Stopped", "Running", "Paused", "Error"}, Of: []Class{Washer, Dryer, Dishwasher, Oven}},
	CurrentPhase:     {Name: "CurrentPhase", Kind: Text, Of: []Class{Washer, Dryer, Dishwasher, Oven}},
	CountdownTime:    {Name: "CountdownTime", Kind: Number, Unit: "s", Of: []Class{Washer, Dryer, Dishwasher, Oven}},
	// How the last run ended, in the words of Matter's OperationCompletion event: from its end on until the machine
	// is emptied or runs again; null while nothing has been completed.
	Completion: {Name: "OperationCompletion", Kind: Enum, Values: []string{"NoError", "UnableToStartOrResume", "UnableToCompleteOperation", "CommandInvalidInState"}, Of: []Class{Washer, Dryer, Dishwasher, Oven}},
	CookTime:   {Name: "CookTime", Kind: Number, Unit: "s", Of: []Class{Oven}},              // what is set, not what is left
	Setpoint:   {Name: "TemperatureSetpoint", Kind: Number, Unit: "Cel", Of: []Class{Oven}}, // what it heats to; null: it does not heat
	Alarm:      {Name: "alarm", Kind: Bool},
}

var byName = func() map[string]Attribute {
	m := make(map[string]Attribute, attributes)
	for a := NoAttribute + 1; a < attributes; a++ {
		m[infos[a].Name] = a
	}
	return m
}()

// ParseAttribute finds an attribute by its name. ok is false for one that no decision knows.
func ParseAttribute(name string) (a Attribute, ok bool) { a, ok = byName[name]; return }

// AttributesOf is the attributes that devices of class c report, in their order; c 0: all.
func AttributesOf(c Class) iter.Seq[Attribute] {
	return func(yield func(Attribute) bool) {
		for a := NoAttribute + 1; a < attributes; a++ {
			if (c == 0 || a.Of(c)) && !yield(a) {
				return
			}
		}
	}
}

// AttributeNames lists the names of AttributesOf(c).
func AttributeNames(c Class) (names []string) {
	for a := range AttributesOf(c) {
		names = append(names, a.String())
	}
	return names
}

// Info says what a means; the zero AttributeInfo for none.
func (a Attribute) Info() AttributeInfo {
	if a < attributes {
		return infos[a]
	}
	return AttributeInfo{}
}

// String is the attribute's name.
func (a Attribute) String() string {
	if a < attributes {
		return infos[a].Name
	}
	return ""
}

// Of reports whether devices of class c report a.
func (a Attribute) Of(c Class) bool {
	if a >= attributes {
		return true
	}
	of := infos[a].Of
	return of == nil || slices.Contains(of, c)
}

// TTL is how long a reading of a from a device of class c may be relied on. After that it is
// as if the device had never told.
func (a Attribute) TTL(c Class) time.Duration { return time.Duration(a.ttl(c)) * time.Millisecond }

// ttl is TTL in milliseconds.
func (a Attribute) ttl(c Class) Instant {
	if c > Companion {
		c = 0 // as every class without a rule of its own
	}
	if a >= attributes {
		a = NoAttribute
	}
	return ttls[a][c]
}

// ttls is how long each attribute of each class is good for, in milliseconds.
var ttls = func() (all [attributes][Companion + 1]Instant) {
	for a := range all {
		for c := range all[a] {
			all[a][c] = Instant(ttlOf(Attribute(a), Class(c)) / time.Millisecond)
		}
	}
	return all
}()

func ttlOf(a Attribute, c Class) time.Duration {
	switch {
	case Attributes(PowerState, RoomOccupancy, DND, BatteryLevel).Has(a):
		return 10 * time.Minute
	case c == Car:
		return 5 * time.Second // who is in it, too
	case Attributes(PresenceCount, PresenceWho, Sleeping).Has(a):
		return 10 * time.Minute
	case c == TV, c == Speaker, c == Console, c == Oven:
		return time.Minute
	default:
		return 10 * time.Minute
	}
}

// Value is one value of an attribute. The zero Value is "unknown".
type Value struct {
	Kind Kind
	Num  float64 // Bool: 0 or 1; Enum: its place in Values; Number: itself, finite
	Text string  // Text only
}

// ValueOf turns a decoded value (bool, a Go number, string, nil) into a Value of a. A value
// of the wrong type, a number that is not finite, or an unknown word of an Enum is refused;
// nil is the unknown Value.
func (a Attribute) ValueOf(v any) (Value, error) {
	info := a.Info()
	switch v := v.(type) {
	case nil:
		return Value{}, nil
	case bool:
		if info.Kind == Bool {
			n := 0.0
			if v {
				n = 1
			}
			return Value{Kind: Bool, Num: n}, nil
		}
	case string:
		switch info.Kind {
		case Enum:
			if i := slices.Index(info.Values, v); i >= 0 {
				return Value{Kind: Enum, Num: float64(i)}, nil
			}
			return Value{}, fmt.Errorf("%s cannot be %q: use one of %s", a, cut(v), strings.Join(info.Values, ", "))
		case Text:
			if len(v) <= 64 {
				return Value{Kind: Text, Text: v}, nil
			}
			return Value{}, fmt.Errorf("%s is longer than 64 bytes", a)
		}
	default:
		if n, ok := number(v); ok && info.Kind == Number {
			if math.IsNaN(n) || math.IsInf(n, 0) {
				return Value{}, fmt.Errorf("%s is not a finite number", a)
			}
			return Value{Kind: Number, Num: n}, nil
		}
	}
	return Value{}, fmt.Errorf("%s takes %s, not %T", a, info.Kind, v)
}

// String names the kind for people.
func (k Kind) String() string {
	return [...]string{"nothing", "true or false", "a number", "a word from its list", "text"}[min(int(k), 4)]
}

func number(v any) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, true
	case float32:
		return float64(v), true
	case int:
		return float64(v), true
	case int64:
		return float64(v), true
	case uint64:
		return float64(v), true
	}
	return 0, false
}

// Show spells v, a value of a, for people.
func (a Attribute) Show(v Value) string {
	switch v.Kind {
	case Bool:
		return fmt.Sprint(v.Num == 1)
	case Number:
		return fmt.Sprintf("%g", v.Num)
	case Enum:
		return a.Info().Values[int(v.Num)]
	case Text:
		return v.Text
	}
	return "unknown"
}

// Reading is a value and when it was true.
type Reading struct {
	Value Value
	At    Instant // when it was last told; 0: never, or it counts no more
	Since Instant // since when it has been so, as far as was told: a gap longer than its TTL begins anew
}

// Until is when r stops being fresh, as a reading of a from a device of class class; 0: it is not fresh, wherever the clock stands (see
// Context.Stale).
func (r *Reading) Until(a Attribute, class Class) Instant {
	if r.At == 0 {
		return 0
	}
	return r.At + a.ttl(class)
}

// Context is what a device last told about itself. The zero Context knows nothing.
type Context struct {
	Class    Class        // of the device: how long its readings last; 0: as long as those of any other
	told     AttributeSet // what there is a reading of; all else is as the zero Reading, and need not be looked at
	readings [attributes]Reading
}

// Set records v as a's value at the instant at. A reading older than the one it would replace
// is dropped, so that a frame delivered twice or late changes nothing.
func (c *Context) Set(a Attribute, v Value, at Instant) {
	if a >= attributes {
		return
	}
	r := &c.readings[a]
	if at < r.At {
		return
	}
	// What is unknown does not become anything by being unknown for longer.
	if v != r.Value || v.Kind != Unknown && at-r.At > a.ttl(c.Class) {
		r.Value, r.Since = v, at
	}
	r.At = at
	c.told = c.told.With(a)
}

// Put records a reading as it was kept, whatever is there.
func (c *Context) Put(a Attribute, r Reading) {
	if a < attributes {
		c.readings[a], c.told = r, c.told.With(a)
	}
}

// Told is what c has a reading of, were it that the value is unknown.
func (c *Context) Told() AttributeSet {
	if c == nil {
		return 0
	}
	return c.told
}

// Get returns a's reading, fresh or not. ok is false if its value is unknown; its Since is then
// when it came to be, 0 if it was never told.
func (c *Context) Get(a Attribute) (r Reading, ok bool) {
	if c == nil || a >= attributes || !c.told.Has(a) {
		return Reading{}, false
	}
	p := &c.readings[a]
	return *p, p.Value.Kind != Unknown
}

// Fresh returns a's value for a device of class class if it is known and at now neither older
// than its TTL nor from the future by more than that; until is when it stops being fresh.
func (c *Context) Fresh(class Class, a Attribute, now Instant) (v Value, until Instant, ok bool) {
	if c == nil || a >= attributes || !c.told.Has(a) {
		return Value{}, 0, false
	}
	r := &c.readings[a]
	until = r.Until(a, class)
	if r.Value.Kind == Unknown || now >= until || r.At > now+a.ttl(class) {
		return Value{}, 0, false
	}
	return r.Value, until, true
}

// NotAfter dates readings that are later than now back to now, so that a clock that was set back
// does not make old readings win over new ones. It reports whether there was any.
func (c *Context) NotAfter(now Instant) (any bool) {
	for told := c.told; told != 0; told &= told - 1 {
		r := &c.readings[bits.TrailingZeros64(uint64(told))]
		if r.At > now || r.Since > now {
			any = true
			r.At, r.Since = min(r.At, now), min(r.Since, now)
		}
	}
	return any
}

// Stale makes every reading as old as can be: none is fresh, all are still known, and so is
// since when: what comes after a gap begins anew.
func (c *Context) Stale() {
	for a := range c.readings {
		c.readings[a].At = 0
	}
}

// MarshalText is String; what is written down does not depend on the order of the attributes.
func (a Attribute) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads what MarshalText wrote; a name that no decision knows is NoAttribute.
func (a *Attribute) UnmarshalText(b []byte) error {
	*a, _ = ParseAttribute(string(b))
	return nil
}

// Package device is Porchlight's vocabulary: the words that every other room uses for homes,
// devices and what devices say of themselves.
//
// In: nothing. Out: IDs, classes, capabilities, attributes, context. Never: I/O, a clock, an
// import beyond the standard library.
package device

import (
	"fmt"
	"slices"
	"strings"
)

// Class is what kind of thing a device is. The numbers are the wire's.
type Class uint8

// The classes. An unknown class is no class at all: nothing is ever shown on it.
const (
	TV         Class = 1
	Speaker    Class = 2
	Console    Class = 3
	Car        Class = 4
	Fridge     Class = 5
	Washer     Class = 6
	Dryer      Class = 7
	Dishwasher Class = 8
	Oven       Class = 9
	Display    Class = 10
	Companion  Class = 11 // a phone
	Other      Class = 99
)

var classNames = map[Class]string{
	TV: "tv", Speaker: "speaker", Console: "console", Car: "car", Fridge: "fridge", Washer: "washer",
	Dryer: "dryer", Dishwasher: "dishwasher", Oven: "oven", Display: "display", Companion: "companion", Other: "other",
}

// Known reports whether c is one of the classes above.
func (c Class) Known() bool { _, ok := classNames[c]; return ok }

// String is the class's name in text, or "class(N)".
func (c Class) String() string {
	if s, ok := classNames[c]; ok {
		return s
	}
	return fmt.Sprintf("class(%d)", uint8(c))
}

// ParseClass reads a class's name.
func ParseClass(s string) (Class, error) {
	for c, name := range classNames {
		if name == s {
			return c, nil
		}
	}
	return 0, fmt.Errorf("class %q is unknown: use one of %s", cut(s), strings.Join(ClassNames(), ", "))
}

// ClassNames lists the names of all classes, in the order of their numbers.
func ClassNames() []string {
	var names []string
	for c := Class(0); c <= Other; c++ {
		if s, ok := classNames[c]; ok {
			names = append(names, s)
		}
	}
	return names
}

// MarshalText is String; JSON and YAML use it.
func (c Class) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText is ParseClass.
func (c *Class) UnmarshalText(b []byte) error {
	got, err := ParseClass(string(b))
	*c = got
	return err
}

// Form is how a message may appear. The numbers are the wire's, from the least to the most
// intrusive on a screen.
type Form uint8

// The forms.
const (
	Badge Form = iota
	List
	Toast
	Panel
	Voice
	FullScreen
)

var formNames = [...]string{"badge", "list", "toast", "panel", "voice", "full-screen"}

// Known reports whether f is one of the forms above.
func (f Form) Known() bool { return int(f) < len(formNames) }

// String is the form's name in text, or "form(N)".
func (f Form) String() string {
	if f.Known() {
		return formNames[f]
	}
	return fmt.Sprintf("form(%d)", uint8(f))
}

// ParseForm reads a form's name.
func ParseForm(s string) (Form, error) {
	for i, name := range formNames {
		if name == s {
			return Form(i), nil
		}
	}
	return 0, fmt.Errorf("form %q is unknown: use one of %s", cut(s), strings.Join(formNames[:], ", "))
}

// MarshalText is String; JSON and YAML use it.
func (f Form) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText is ParseForm.
func (f *Form) UnmarshalText(b []byte) error {
	got, err := ParseForm(string(b))
	*f = got
	return err
}

// The bits of Capabilities.Inputs.
const (
	Remote   uint = 1
	Touch    uint = 2
	Buttons  uint = 4
	VoiceIn  uint = 8
	Keyboard uint = 16
	Gamepad  uint = 32
)

// The bits of Capabilities.Attention.
const (
	ReportsOccupancy uint = 1
	ReportsWho       uint = 2
	ReportsDriving   uint = 4
)

// The bits of Capabilities.Duties.
const (
	CanDim     uint = 1 // show a message darker than it shows anything else
	CanMinimal uint = 2 // show no more than who it is from, until somebody asks for the rest
)

// Capabilities are what a device can do, as its birth says. The zero value can do nothing.
type Capabilities struct {
	Width      uint     `json:"width,omitempty"`       // pixels
	Height     uint     `json:"height,omitempty"`      // pixels
	Diagonal   uint     `json:"diagonal,omitempty"`    // mm
	Inputs     uint     `json:"inputs,omitempty"`      // bits: Remote ... Gamepad
	Sound      uint     `json:"sound,omitempty"`       // bits: 1 tone, 2 text to speech, 4 media
	Forms      []Form   `json:"forms,omitempty"`       // what it can present, at most 8
	MaxPacket  uint     `json:"max_packet,omitempty"`  // bytes; 0 means the contract's 8 KiB
	MaxButtons uint     `json:"max_buttons,omitempty"` // at most 4 count
	Languages  []string `json:"languages,omitempty"`   // BCP 47, the preferred first, at most 8
	Holds      uint     `json:"holds,omitempty"`       // messages it can hold back by itself
	Attention  uint     `json:"attention,omitempty"`   // bits: ReportsOccupancy ...
	Duties     uint     `json:"duties,omitempty"`      // bits: CanDim, CanMinimal
}

// Equal reports whether two devices can do the same. A list that is empty is as good as none.
func (c *Capabilities) Equal(o *Capabilities) bool {
	return c.Width == o.Width && c.Height == o.Height && c.Diagonal == o.Diagonal &&
		c.Inputs == o.Inputs && c.Sound == o.Sound && slices.Equal(c.Forms, o.Forms) &&
		c.MaxPacket == o.MaxPacket && c.MaxButtons == o.MaxButtons && slices.Equal(c.Languages, o.Languages) &&
		c.Holds == o.Holds && c.Attention == o.Attention && c.Duties == o.Duties
}

// CanShow reports whether the device presents messages in form f.
func (c *Capabilities) CanShow(f Form) bool {
	for _, have := range c.Forms {
		if have == f {
			return true
		}
	}
	return false
}

// Model is the maker's name for a kind of device.
type Model struct {
	Maker    string `json:"maker,omitempty"`
	Name     string `json:"name,omitempty"`
	Hardware string `json:"hardware,omitempty"`
}

// Device is one device of a home, as the registry knows it.
type Device struct {
	ID         ID           `json:"id"`
	Home       HomeID       `json:"home"`
	Class      Class        `json:"class"`
	Name       string       `json:"name,omitempty"` // for people; never in a log
	Room       RoomID       `json:"room,omitempty"`
	Owner      PersonID     `json:"owner,omitempty"` // Household: everybody's
	Controller bool         `json:"controller"`      // may widen permissions, not only restrict
	Until      Instant      `json:"until,omitempty"` // a guest's: it is removed then
	Model      Model        `json:"model"`
	Can        Capabilities `json:"can"`
}

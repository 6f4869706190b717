// Package wire is what travels between a device and its gateway: topics, frames, limits.
//
// In: bytes that a stranger may have sent, or frames to send. Out: frames, bytes. Never: I/O, a
// clock, an opinion on what a frame says beyond its shape.
package wire

import (
	"porchlight/device"
)

// The limits of the contract. What exceeds one is not a frame. Sizes of texts are in bytes.
const (
	MaxFrame     = 8 << 10   // bytes of one frame
	MaxDepth     = 8         // levels of nesting
	MaxPairs     = 64        // pairs in one map
	MaxItems     = 64        // items in one array
	MaxTwin      = 4 << 10   // bytes of a twin document
	MaxPacket    = 16 << 10  // bytes of one MQTT packet
	MaxHeld      = 50        // messages that a birth or a beacon may list
	MaxUint      = 1<<53 - 1 // any number: every language holds it, and sums of two do not overflow
	MaxText      = 512       // a message's text, the text of an Err
	MaxName      = 64        // a title, a name, an attribute, a text in a Context
	MaxLabel     = 32        // a button, a purpose
	MaxResponses = 4         // buttons of one message, controls of one question
	MaxPath      = 128       // the path of a picture
)

// Birth is the first frame of every connection, on up/birth.
type Birth struct {
	Seq        uint64             `cbor:"0,keyasint"`           // 0 at each new connection
	Model      Model              `cbor:"1,keyasint"`           //
	Class      device.Class       `cbor:"2,keyasint"`           //
	Can        Capabilities       `cbor:"3,keyasint"`           //
	Attributes []string           `cbor:"4,keyasint"`           // names; their places are the short keys in Context
	Twin       uint64             `cbor:"5,keyasint,omitempty"` // version of the twin document it holds, 0: none
	Clock      uint64             `cbor:"6,keyasint,omitempty"` // its clock, ms since 1970; 0: not set
	Software   string             `cbor:"7,keyasint,omitempty"` //
	Held       []device.MessageID `cbor:"8,keyasint,omitempty"` // messages that are on it, presented or not yet
}

// Model is the maker's description.
type Model struct {
	Maker    string `cbor:"0,keyasint"`
	Name     string `cbor:"1,keyasint"`
	Hardware string `cbor:"2,keyasint,omitempty"`
	Serial   string `cbor:"3,keyasint,omitempty"` // a hash of it
}

// Capabilities are what the device can do; the bits are those of package device.
type Capabilities struct {
	Screen     []uint   `cbor:"0,keyasint,omitempty"` // width px, height px, diagonal mm; none or all three
	Inputs     uint     `cbor:"1,keyasint,omitempty"`
	Sound      uint     `cbor:"2,keyasint,omitempty"`
	Forms      Forms    `cbor:"3,keyasint,omitzero"` // a decoder passes over those it does not know
	MaxPacket  uint     `cbor:"4,keyasint,omitempty"`
	MaxButtons uint     `cbor:"5,keyasint,omitempty"`
	Languages  []string `cbor:"6,keyasint,omitempty"`
	Holds      uint     `cbor:"7,keyasint,omitempty"`
	Attention  uint     `cbor:"8,keyasint,omitempty"`
	Duties     uint     `cbor:"9,keyasint,omitempty"` // bits of DutyDim ...: those that it can meet
}

// Forms is a list of forms.
type Forms []device.Form

// MarshalCBOR makes an array of f, which would be a byte string by itself.
func (f Forms) MarshalCBOR() ([]byte, error) {
	numbers := make([]uint, len(f))
	for i, form := range f {
		numbers[i] = uint(form)
	}
	return encoding.Marshal(numbers)
}

// Context is what changed on the device, on up/ctx. [EncodeContext] and [DecodeContext] know
// its form on the wire, where places in Birth.Attributes stand for names.
type Context struct {
	Seq      uint64         // one more for each frame of this connection
	Observed uint64         // ms since 1970; 0: see Age
	Age      uint64         // ms
	Values   map[string]any // by attribute name: bool, int64, float64, string or nil (unknown); places are already resolved
	Complete bool           // a full snapshot: what is not in it is unknown
}

// contextFrame is a Context as it travels.
type contextFrame struct {
	Seq      uint64      `cbor:"0,keyasint"`
	Observed uint64      `cbor:"1,keyasint,omitempty"`
	Age      uint64      `cbor:"2,keyasint,omitempty"`
	Values   map[any]any `cbor:"3,keyasint"` // uint64 (place) or string (name)
	Complete bool        `cbor:"4,keyasint,omitempty"`
}

// Event is what became of a message, on up/evt: a receipt, an answer, a wish.
type Event struct {
	Seq      uint64           `cbor:"0,keyasint"`
	Message  device.MessageID `cbor:"1,keyasint"`
	Kind     EventKind        `cbor:"2,keyasint"`
	Response *uint            `cbor:"3,keyasint,omitempty"` // the button's ID
	Wish     *Wish            `cbor:"4,keyasint,omitempty"` // for later messages like this one
	Reason   Reason           `cbor:"5,keyasint,omitempty"`
	Age      uint64           `cbor:"6,keyasint,omitempty"` // ms ago
}

// EventKind says what happened.
type EventKind uint8

// The events.
const (
	Queued    EventKind = 1
	Presented EventKind = 2
	Responded EventKind = 3
	Dismissed EventKind = 4
	TimedOut  EventKind = 5
	Declined  EventKind = 6 // "refused": the device will not show it
	Expired   EventKind = 7
	Cancelled EventKind = 8 // taken off, as we asked
	Failed    EventKind = 9
)

// Wish is what a person wants of later messages like this one.
type Wish uint8

// The wishes.
const (
	Allowed    Wish = 0
	Increased  Wish = 1
	Reduced    Wish = 2
	Disallowed Wish = 3
	Banned     Wish = 4
)

// Reason is why a device would not.
type Reason uint8

// The reasons.
const (
	GuardFailed     Reason = 1
	Busy            Reason = 2
	UnsupportedForm Reason = 3
	DrivingNow      Reason = 4
	UserDND         Reason = 5
	TooLarge        Reason = 6
	Internal        Reason = 7
	UnknownMessage  Reason = 8
	Stale           Reason = 9 // decided before the fence that the device knows
)

// Priority is how urgent a message is. The gateway sends Low for every brand.
type Priority uint8

// The priorities.
const (
	Low      Priority = 0
	Medium   Priority = 1
	High     Priority = 2
	Critical Priority = 3
)

// The bits of Present.Control.
const (
	AskConfirm    uint = 1 << 0
	AskResponse   uint = 1 << 1
	ByUserOnly    uint = 1 << 3 // a confirmation must come from a person
	ProtectedText uint = 1 << 4 // not to be shown where strangers can read it
)

// The bits of Present.Content and Mute.Content.
const (
	ContentWords   uint = 1 << 0
	ContentPicture uint = 1 << 1
	ContentSound   uint = 1 << 2 // a tone, or words that are spoken
)

// The bits of Present.Duties and Capabilities.Duties.
const (
	DutyDim     uint = device.CanDim     // show it darker than the screen is
	DutyMinimal uint = device.CanMinimal // show no more than who it is from, until somebody asks for the rest
)

// Uses is what may be used of a message that is shown in a form: the bits of [ContentWords] ....
func (p *Present) Uses(in device.Form) uint {
	switch {
	case p.Content != 0:
		return p.Content
	case in == device.Voice:
		return ContentWords | ContentPicture | ContentSound
	}
	return ContentWords | ContentPicture
}

// The operations of dn/msg.
const (
	opPresent uint8 = 1
	opCancel  uint8 = 2
)

// Present asks a device to show a message, on dn/msg.
type Present struct {
	Op         uint8            `cbor:"0,keyasint"` // 1; Encode sets it
	Message    device.MessageID `cbor:"1,keyasint"`
	Priority   Priority         `cbor:"2,keyasint"`
	Control    uint             `cbor:"3,keyasint"`
	ValidUntil uint64           `cbor:"4,keyasint"` // Unix seconds, gateway's clock
	Live       uint64           `cbor:"5,keyasint"` // ms from receipt
	Text       string           `cbor:"6,keyasint"`
	Title      string           `cbor:"7,keyasint,omitempty"`
	Sender     string           `cbor:"8,keyasint,omitempty"`
	Responses  []Response       `cbor:"9,keyasint,omitempty"`
	Form       *device.Form     `cbor:"10,keyasint,omitempty"`
	Display    uint64           `cbor:"11,keyasint,omitempty"` // ms
	Guards     map[string]Guard `cbor:"13,keyasint,omitempty"` // by attribute name: re-check before showing and while shown
	ContextSeq uint64           `cbor:"14,keyasint,omitempty"`
	Language   string           `cbor:"15,keyasint,omitempty"`
	Lease      uint64           `cbor:"16,keyasint"`           // ms: hide it when nothing was heard from the gateway for so long
	Epoch      uint64           `cbor:"17,keyasint"`           // refuse it if this is below the highest fence seen
	Content    uint             `cbor:"18,keyasint,omitempty"` // bits of ContentWords ...: what of it may be used; 0: see Uses
	Picture    *Picture         `cbor:"12,keyasint,omitempty"` // nil: none
	Duties     uint             `cbor:"19,keyasint,omitempty"` // bits of DutyDim ...: how it must be shown
}

// Picture is where the device finds a picture: at the gateway, never anywhere else.
type Picture struct {
	Path   string `cbor:"0,keyasint"`           // on the gateway's HTTP door, as /p/...: letters, digits and - _ . /, at most MaxPath bytes
	SHA256 []byte `cbor:"1,keyasint"`           // of its bytes, HashSize of them
	Bytes  uint   `cbor:"2,keyasint"`           // how many it has, 1 or more
	Alt    string `cbor:"3,keyasint,omitempty"` // what it shows, in words; at most 128 bytes
}

// Response is a button.
type Response struct {
	ID    uint   `cbor:"0,keyasint"`
	Label string `cbor:"1,keyasint"`
}

// Guard is a condition that the device checks itself at the last metre.
type Guard struct {
	_     struct{} `cbor:",toarray"`
	Op    string   // eq ne lt le gt ge
	Value any      // bool, int64, float64, string or nil
}

// Cancel asks a device to take a message off, or never to show it, on dn/msg. The device
// answers with the event Cancelled, also when it does not have the message.
type Cancel struct {
	Op      uint8            `cbor:"0,keyasint"` // 2; Encode sets it
	Message device.MessageID `cbor:"1,keyasint"`
	Fence   uint64           `cbor:"2,keyasint,omitempty"`
}

// Time is the gateway's beacon on dn/time: sent after birth before anything else, and while the
// device holds messages at least every third of a lease. It renews the lease of the messages
// in Keep; the device takes off whatever it holds beside them.
type Time struct {
	Clock uint64             `cbor:"0,keyasint"` // ms since 1970
	Fence uint64             `cbor:"1,keyasint"` // what was decided at a lower epoch must not appear any more
	Keep  []device.MessageID `cbor:"2,keyasint"` // all messages that may be on the device
}

// Twin is the whole document of preferences, on dn/twin: what the home has said, for every
// device to apply and to show.
type Twin struct {
	Version uint64   `cbor:"0,keyasint"`
	Doc     Document `cbor:"1,keyasint"`
}

// Document is the body of a Twin. At most MaxTwin bytes encoded.
type Document struct {
	Brands    []BrandChoice `cbor:"0,keyasint,omitempty"`
	Quiet     []QuietTime   `cbor:"1,keyasint,omitempty"`
	Mutes     []Mute        `cbor:"2,keyasint,omitempty"`
	Zone      string        `cbor:"3,keyasint,omitempty"` // IANA
	Caps      []Cap         `cbor:"4,keyasint,omitempty"`
	Moments   []string      `cbor:"5,keyasint,omitempty"`  // film, call, sleep: those that hold messages back; none twice
	Languages []string      `cbor:"6,keyasint,omitempty"`  // BCP 47, the preferred first; none twice
	People    []Resident    `cbor:"7,keyasint,omitempty"`  // who lives here, for a device that reports who is there
	Rooms     []Place       `cbor:"8,keyasint,omitempty"`  //
	Frozen    bool          `cbor:"9,keyasint,omitempty"`  // nothing is shown, asked or learnt
	Learnt    []string      `cbor:"10,keyasint,omitempty"` // in plain words, what was learnt; the place is what a Proposal forgets. Lines of 1 to MaxText bytes
}

// Resident is somebody of the home.
type Resident struct {
	Person uint32 `cbor:"0,keyasint"` // its number, 1 or more
	Name   string `cbor:"1,keyasint"`
}

// Place is a room of the home.
type Place struct {
	Room uint32 `cbor:"0,keyasint"` // its number, 1 or more
	Name string `cbor:"1,keyasint"`
}

// Cap limits how many messages are shown in a window.
type Cap struct {
	Brand    device.BrandID `cbor:"0,keyasint,omitempty"`
	Each     bool           `cbor:"1,keyasint,omitempty"` // each brand by itself
	Max      uint16         `cbor:"2,keyasint"`           // 0 to 1000
	Hours    uint16         `cbor:"3,keyasint,omitempty"` // a rolling window, 1 to 168
	Minutes  uint16         `cbor:"4,keyasint,omitempty"` // a rolling window, 1 to 1440, instead of hours; with no window at all, the local day
	Category string         `cbor:"5,keyasint,omitempty"`
	Purpose  string         `cbor:"6,keyasint,omitempty"`
	Class    device.Class   `cbor:"7,keyasint,omitempty"`
	Device   device.ID      `cbor:"8,keyasint,omitempty"`
	Room     uint32         `cbor:"9,keyasint,omitempty"`
	Owner    uint32         `cbor:"10,keyasint,omitempty"` // whose; 0: the home's
	Week     bool           `cbor:"11,keyasint,omitempty"` // instead of hours: the local week, from Monday on
	Trip     bool           `cbor:"12,keyasint,omitempty"` // instead of hours: the trip of a car
	Topics   bool           `cbor:"13,keyasint,omitempty"` // each category by itself
}

// BrandChoice is what was chosen for one brand and purpose on this device's behalf.
type BrandChoice struct {
	Brand   device.BrandID `cbor:"0,keyasint"`
	Name    string         `cbor:"1,keyasint,omitempty"`
	Purpose string         `cbor:"2,keyasint"`
	Choice  string         `cbor:"3,keyasint"` // silent, given, refused, withdrawn
}

// QuietTime is a daily interval of local time.
type QuietTime struct {
	Days  uint8  `cbor:"0,keyasint"`           // bit 0 Sunday ... bit 6 Saturday; 0: every day
	Start uint16 `cbor:"1,keyasint"`           // minutes after midnight, 0 to 1439
	End   uint16 `cbor:"2,keyasint"`           // minutes after midnight, 0 to 1439
	Zone  string `cbor:"3,keyasint,omitempty"` // IANA; "": the home's
	Owner uint32 `cbor:"4,keyasint,omitempty"` // whose; 0: the home's
	Dim   bool   `cbor:"5,keyasint,omitempty"` // nothing is held back: in that time it is shown darker
}

// Mute silences what it names, all together; with nothing named, everything.
type Mute struct {
	Brand    device.BrandID `cbor:"0,keyasint,omitempty"`
	Category string         `cbor:"1,keyasint,omitempty"`
	Until    uint64         `cbor:"2,keyasint,omitempty"` // ms since 1970; 0: until lifted
	Purpose  string         `cbor:"3,keyasint,omitempty"`
	Class    device.Class   `cbor:"4,keyasint,omitempty"`
	Device   device.ID      `cbor:"5,keyasint,omitempty"`
	Room     uint32         `cbor:"6,keyasint,omitempty"`
	Content  uint           `cbor:"7,keyasint,omitempty"` // bits as in Present.Content: only that is taken away
	Owner    uint32         `cbor:"8,keyasint,omitempty"` // whose; 0: the home's
}

// Proposal is a change made by a person on the device, on up/twin. Only what is given changes.
type Proposal struct {
	Seq       uint64        `cbor:"0,keyasint"`
	Base      uint64        `cbor:"1,keyasint"`           // version of the document that the person saw
	Person    uint32        `cbor:"2,keyasint,omitempty"` // who, if the device knows; 0: the home
	Brands    []BrandChoice `cbor:"3,keyasint,omitempty"` // Choice: given, refused or withdrawn
	Quiet     *[]QuietTime  `cbor:"4,keyasint,omitempty"` // the whole new list
	Mutes     *[]Mute       `cbor:"5,keyasint,omitempty"` // the whole new list
	Caps      *[]Cap        `cbor:"6,keyasint,omitempty"` // the whole new list
	Moments   *[]string     `cbor:"7,keyasint,omitempty"` // the whole new list
	Languages *[]string     `cbor:"8,keyasint,omitempty"` // the whole new list
	Frozen    *bool         `cbor:"9,keyasint,omitempty"`
	Forget    *[]uint       `cbor:"10,keyasint,omitempty"` // places in Document.Learnt
}

// Bye is the last frame of a connection that ends on purpose, on up/bye.
type Bye struct {
	Seq    uint64 `cbor:"0,keyasint"`
	Reason string `cbor:"1,keyasint"`           // sleep, off, reset, wiped
	Until  uint64 `cbor:"2,keyasint,omitempty"` // sleep: ms since 1970
}

// Err tells a device what was wrong with a frame it sent, on dn/err.
type Err struct {
	Seq  uint64 `cbor:"0,keyasint"` // of the frame, if it could be read
	Code uint8  `cbor:"1,keyasint"` // an MQTT 5 reason code
	Leaf string `cbor:"2,keyasint,omitempty"`
	Text string `cbor:"3,keyasint,omitempty"` // for the firmware engineer; Encode cuts it to MaxText
}

package wire

import "porchlight/device"

// Ask asks a person for a yes or a no, on dn/ask. It is one neutral screen: the device draws every
// control of it, in this order, none larger, brighter or nearer than another, with the focus on
// More where there is a focus. What the person does, or does not do, comes back as an [Answer].
type Ask struct {
	ID       device.MessageID `cbor:"0,keyasint"`           // of this ask
	Live     uint64           `cbor:"1,keyasint"`           // ms from receipt: then it is deferred, 1 to 600,000
	Who      string           `cbor:"2,keyasint"`           // the brand, as people know it
	Text     string           `cbor:"3,keyasint"`           // first layer: who, one purpose, what data, how long; at most 140 characters, on a small screen 80
	More     string           `cbor:"4,keyasint,omitempty"` // second layer, at most MaxText bytes
	Controls []Control        `cbor:"5,keyasint"`           // yes, no, more or phone: 2 to 4
	Language string           `cbor:"6,keyasint"`           // BCP 47
	Notice   []byte           `cbor:"7,keyasint"`           // SHA-256 of the notice that this speaks of
	Say      string           `cbor:"8,keyasint,omitempty"` // for a voice: one sentence, and the question
	Epoch    uint64           `cbor:"9,keyasint"`           // as in Present
}

// ControlID is what a control means.
type ControlID uint8

// The controls.
const (
	ControlYes   ControlID = 1
	ControlNo    ControlID = 2
	ControlMore  ControlID = 3 // shows the second layer
	ControlPhone ControlID = 4 // hands the ask over to a phone
)

// Control is one thing that a person can press or say.
type Control struct {
	ID    ControlID `cbor:"0,keyasint"`
	Label string    `cbor:"1,keyasint"` // 1 to MaxLabel bytes
}

// Answer is what became of an [Ask], on up/ans: first Drawn, then one of the others.
type Answer struct {
	Seq     uint64           `cbor:"0,keyasint"`
	Ask     device.MessageID `cbor:"1,keyasint"`
	Kind    AnswerKind       `cbor:"2,keyasint"`
	Why     DeferredBy       `cbor:"3,keyasint,omitempty"` // of AnswerDeferred
	Person  uint32           `cbor:"4,keyasint,omitempty"` // who answered, if the device knows; 0: not known
	Drawn   []DrawnControl   `cbor:"5,keyasint,omitempty"` // of AnswerDrawn: each control, in the order in which it can be reached
	Picture []byte           `cbor:"6,keyasint,omitempty"` // of AnswerDrawn: SHA-256 of what was drawn
	Layer   uint             `cbor:"7,keyasint,omitempty"` // the deepest layer that was seen, 1 to 3
	Dwell   uint64           `cbor:"8,keyasint,omitempty"` // ms that it was on the screen
	Age     uint64           `cbor:"9,keyasint,omitempty"` // ms ago
}

// AnswerKind says what a person did.
type AnswerKind uint8

// The kinds.
const (
	AnswerDrawn    AnswerKind = 1 // it is on the screen, or is being said
	AnswerYes      AnswerKind = 2
	AnswerNo       AnswerKind = 3
	AnswerDeferred AnswerKind = 4 // neither
)

// DeferredBy says how an ask ended without an answer.
type DeferredBy uint8

// The ways.
const (
	ByTimeout DeferredBy = 1
	ByBack    DeferredBy = 2 // the person left the screen: back, another channel, off
	BySilence DeferredBy = 3 // nothing was said, or nothing that could be understood
	ByDriving DeferredBy = 4 // the car drove off
	ByUnsure  DeferredBy = 5 // the voice is nobody's that the device knows
	ByPhone   DeferredBy = 6 // the person wants it on a phone
	ByDevice  DeferredBy = 7 // the device cannot ask, or not now
)

// DrawnControl is how a control was drawn.
type DrawnControl struct {
	ID      ControlID `cbor:"0,keyasint"`
	Presses uint      `cbor:"1,keyasint"`           // presses or words to choose it, from the moment it appears
	Area    uint      `cbor:"2,keyasint,omitempty"` // px; 0: it has none, as in speech
	Weight  uint      `cbor:"3,keyasint,omitempty"` // of its letters, 100 to 900; 0: not said
}

// WhyAsked asks why, on up/why: about one message, or, without one, what was held back today.
type WhyAsked struct {
	Seq      uint64            `cbor:"0,keyasint"`
	Message  *device.MessageID `cbor:"1,keyasint,omitempty"`
	Language string            `cbor:"2,keyasint,omitempty"` // BCP 47; "": the device's first
	Person   uint32            `cbor:"3,keyasint,omitempty"` // who asks, if the device knows
}

// Because is the answer to a [WhyAsked], on dn/why.
type Because struct {
	Seq      uint64            `cbor:"0,keyasint"` // of the WhyAsked
	Message  *device.MessageID `cbor:"1,keyasint,omitempty"`
	Lines    []string          `cbor:"2,keyasint"` // sentences for the person, at most 16 of MaxText bytes
	Language string            `cbor:"3,keyasint"` // BCP 47
}

// Signal passes on what somebody chose elsewhere, on up/sig: it can only take away.
type Signal struct {
	Seq   uint64     `cbor:"0,keyasint"`
	Kind  SignalKind `cbor:"1,keyasint"`
	Value string     `cbor:"2,keyasint,omitempty"` // as its standard spells it, at most MaxSignal bytes; "": there is none any more
}

// MaxSignal is the longest value of a [Signal], in bytes.
const MaxSignal = 4 << 10

// SignalKind is which standard a signal follows.
type SignalKind uint8

// The standards.
const (
	SignalTCF SignalKind = 1 // IAB Europe TCF 2.2 consent string
	SignalGPP SignalKind = 2 // IAB Global Privacy Platform string
	SignalGPC SignalKind = 3 // Global Privacy Control: "1"
)

// Word tells the device on which something was taken back how far that is, on dn/word: stopping,
// then, when nothing of it is on any screen, stopped.
type Word struct {
	Epoch uint64       `cbor:"0,keyasint"` // version of the document in which it was taken back
	State WordState    `cbor:"1,keyasint"`
	Open  []OpenScreen `cbor:"2,keyasint,omitempty"` // of WordStopping: what is still to be cleared, at most 16
}

// WordState is how far something that was taken back has come.
type WordState uint8

// The two words.
const (
	WordStopping WordState = 1 // nothing more is released
	WordStopped  WordState = 2 // nothing is on any screen
)

// OpenScreen is a screen that is still to be cleared.
type OpenScreen struct {
	Name string `cbor:"0,keyasint"` // as people call it
	By   uint64 `cbor:"1,keyasint"` // ms since 1970: then at the latest
}

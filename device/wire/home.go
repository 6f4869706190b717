package wire

import (
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

	"porchlight/device"
)

// The limits of the frames with which a home is asked and answered. Sizes are in bytes, but for
// MaxAskText.
const (
	MaxAskLive = 600_000 // ms that a question may stand
	MaxAskText = 140     // characters of the first layer; at most MaxText bytes, too
	MaxPresses = 100     // presses or words that a control may be said to take
	MaxLayer   = 3       // layers of a question: the one that is drawn, More, the phone's
	MaxLines   = 16      // sentences of a Because, screens of a Word
	MaxBecause = 4 << 10 // all sentences of a Because together
	MaxSignal  = 4 << 10 // the value of a Signal
)

// Ask asks a person for a yes or a no, on dn/ask. It is one neutral screen: the device draws every
// control of it, in this order, none larger, brighter or nearer than another, with the focus on
// More where there is a focus. What the person does, or does not do, comes back as an [Answer].
type Ask struct {
	ID       device.MessageID `cbor:"0,keyasint"`           // of this ask
	Live     uint64           `cbor:"1,keyasint"`           // ms from receipt: then it is deferred, 1 to MaxAskLive
	Who      string           `cbor:"2,keyasint"`           // the brand, as people know it; 1 to MaxName bytes that can be printed
	Text     string           `cbor:"3,keyasint"`           // first layer: who, one purpose, what data, how long; at most 140 characters, on a small screen 80
	More     string           `cbor:"4,keyasint,omitempty"` // second layer, at most MaxText bytes
	Controls []Control        `cbor:"5,keyasint"`           // yes and no, and perhaps more (only if there is More) and phone; each once
	Language string           `cbor:"6,keyasint"`           // BCP 47
	Notice   []byte           `cbor:"7,keyasint"`           // SHA-256 of the notice that this speaks of
	Say      string           `cbor:"8,keyasint,omitempty"` // for a voice: one sentence, and the question; at most MaxText bytes
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
	Seq     uint64           `cbor:"0,keyasint"`           //
	Ask     device.MessageID `cbor:"1,keyasint"`           // its ID
	Kind    AnswerKind       `cbor:"2,keyasint"`           //
	Why     DeferredBy       `cbor:"3,keyasint,omitempty"` // of AnswerDeferred, and needed there; those that are not listed below come from a later version
	Person  uint32           `cbor:"4,keyasint,omitempty"` // who answered, if the device knows; 0: not known
	Drawn   []DrawnControl   `cbor:"5,keyasint,omitempty"` // of AnswerDrawn, and needed there: each control, in the order in which it can be reached
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
	Presses uint      `cbor:"1,keyasint"`           // presses or words to choose it, from the moment it appears; 1 to MaxPresses
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
	Lines    []string          `cbor:"2,keyasint"` // sentences for the person, at most MaxLines of 1 to MaxText bytes, together MaxBecause
	Language string            `cbor:"3,keyasint"` // BCP 47
}

// Signal passes on what somebody chose elsewhere, on up/sig: it can only take away.
type Signal struct {
	Seq   uint64     `cbor:"0,keyasint"`
	Kind  SignalKind `cbor:"1,keyasint"`
	Value string     `cbor:"2,keyasint,omitempty"` // as its standard spells it, at most MaxSignal bytes; "": there is none any more
}

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
	Epoch uint64       `cbor:"0,keyasint"`           // version of the document in which it was taken back
	State WordState    `cbor:"1,keyasint"`           //
	Open  []OpenScreen `cbor:"2,keyasint,omitempty"` // of WordStopping only: what is still to be cleared, at most MaxLines
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
	Name string `cbor:"0,keyasint"` // as people call it, at most MaxName bytes; "": it is not of the home any more
	By   uint64 `cbor:"1,keyasint"` // ms since 1970: then at the latest
}

// DecodeAsk reads a frame of dn/ask.
func DecodeAsk(b []byte) (Ask, error) {
	return decode(DnAsk, b, func(t *table, f *Ask) {
		f.ID = t.message(0, "id", required)
		f.Live = t.uint(1, "live", required)
		f.Who = t.text(2, "who", required)
		f.Text = t.text(3, "text", required)
		f.More = t.filled(4, "more", MaxText)
		t.take(5, "controls", required)
		f.Controls = subs(t, 5, "controls", func(t *table, c *Control) {
			c.ID = ControlID(t.known(0, "control", required))
			c.Label = t.text(1, "label", required)
		})
		f.Language = t.text(6, "language", required)
		f.Notice = t.bytes(7, "notice", required)
		f.Say = t.filled(8, "say", MaxText)
		f.Epoch = t.uint(9, "epoch", required)
	})
}

// DecodeAnswer reads a frame of up/ans.
func DecodeAnswer(b []byte) (Answer, error) {
	return decode(UpAns, b, func(t *table, f *Answer) {
		f.Seq = t.uint(0, "seq", required)
		f.Ask = t.message(1, "ask", required)
		f.Kind = AnswerKind(t.known(2, "answer", required))
		f.Why = DeferredBy(t.known(3, "why", optional))
		f.Person = t.number(4, "person", optional)
		f.Drawn = subs(t, 5, "drawn", func(t *table, d *DrawnControl) {
			d.ID = ControlID(t.known(0, "control", required))
			d.Presses = uint(t.upTo(1, "presses", required, MaxPresses))
			d.Area = t.uint32(2, "area", optional)
			d.Weight = uint(t.upTo(3, "weight", optional, heaviest))
		})
		f.Picture = t.bytes(6, "picture", optional)
		f.Layer = uint(t.upTo(7, "layer", optional, MaxLayer))
		f.Dwell = t.uint(8, "dwell", optional)
		f.Age = t.uint(9, "age", optional)
	})
}

// DecodeWhyAsked reads a frame of up/why.
func DecodeWhyAsked(b []byte) (WhyAsked, error) {
	return decode(UpWhy, b, func(t *table, f *WhyAsked) {
		f.Seq = t.uint(0, "seq", required)
		f.Message = t.someMessage(1)
		f.Language = t.filled(2, "language", maxTag)
		f.Person = t.number(3, "person", optional)
	})
}

// DecodeBecause reads a frame of dn/why.
func DecodeBecause(b []byte) (Because, error) {
	return decode(DnWhy, b, func(t *table, f *Because) {
		f.Seq = t.uint(0, "seq", required)
		f.Message = t.someMessage(1)
		f.Lines = t.texts(2, "lines", required)
		f.Language = t.text(3, "language", required)
	})
}

// DecodeSignal reads a frame of up/sig.
func DecodeSignal(b []byte) (Signal, error) {
	return decode(UpSig, b, func(t *table, f *Signal) {
		f.Seq = t.uint(0, "seq", required)
		f.Kind = SignalKind(t.known(1, "signal", required))
		f.Value = t.text(2, "value", optional)
	})
}

// DecodeWord reads a frame of dn/word.
func DecodeWord(b []byte) (Word, error) {
	return decode(DnWord, b, func(t *table, f *Word) {
		f.Epoch = t.uint(0, "epoch", required)
		f.State = WordState(t.known(1, "state", required))
		f.Open = subs(t, 2, "open", func(t *table, s *OpenScreen) {
			s.Name = t.text(0, "name", required)
			s.By = t.uint(1, "by", required)
		})
	})
}

// someMessage reads the ID of a message that need not be there.
func (t *table) someMessage(key uint64) *device.MessageID {
	if !t.has(key) {
		return nil
	}
	id := t.message(key, "message", required)
	return &id
}

// The weights of letters, as style sheets count them.
const (
	lightest = 100
	heaviest = 900
)

func (a *Ask) check() error {
	if err := first(
		between("live", a.Live, 1, MaxAskLive),
		size("who", a.Who, 1, MaxName),
		printed("who", a.Who),
		size("text", a.Text, 1, MaxText),
		size("more", a.More, 0, MaxText),
		size("language", a.Language, 1, maxTag),
		exactly("notice", a.Notice, HashSize),
		size("say", a.Say, 0, MaxText),
		number("epoch", a.Epoch, MaxUint),
		each("controls", a.Controls, MaxResponses, func(c *Control) error { return first(c.ID.check(), size("label", c.Label, 1, MaxLabel)) }),
	); err != nil {
		return err
	}
	if n := utf8.RuneCountInString(a.Text); n > MaxAskText {
		return fmt.Errorf("text has %d characters, at most %d", n, MaxAskText)
	}
	var ids controls
	for _, c := range a.Controls {
		ids = append(ids, c.ID)
	}
	if a.More == "" && ids.has(ControlMore) {
		return errors.New("controls: there is nothing more to show")
	}
	return ids.check("controls")
}

func (id ControlID) check() error {
	if id < ControlYes || id > ControlPhone {
		return fmt.Errorf("control %d is unknown: 1 yes, 2 no, 3 more, 4 phone", id)
	}
	return nil
}

// controls are those of one screen.
type controls []ControlID

func (ids controls) has(id ControlID) bool {
	for _, other := range ids {
		if other == id {
			return true
		}
	}
	return false
}

// check wants a yes and a no: who can only agree is not asked.
func (ids controls) check(field string) error {
	for i, id := range ids {
		if ids[:i].has(id) {
			return fmt.Errorf("%s: control %d occurs twice", field, id)
		}
	}
	if !ids.has(ControlYes) || !ids.has(ControlNo) {
		return fmt.Errorf("%s: yes and no are both needed", field)
	}
	return nil
}

func (a *Answer) check() error {
	if a.Kind < AnswerDrawn || a.Kind > AnswerDeferred {
		return fmt.Errorf("answer %d is unknown: 1 drawn, 2 yes, 3 no, 4 deferred", a.Kind)
	}
	if (a.Kind == AnswerDeferred) != (a.Why != 0) {
		return errors.New("why: deferred needs it, nothing else has it")
	}
	if a.Kind != AnswerDrawn && (len(a.Drawn) > 0 || a.Picture != nil) {
		return errors.New("drawn and picture: only drawn has them")
	}
	if err := first(
		number("seq", a.Seq, MaxUint),
		number("person", uint64(a.Person), math.MaxInt32),
		each("drawn", a.Drawn, MaxResponses, (*DrawnControl).check),
		number("layer", uint64(a.Layer), MaxLayer),
		number("dwell", a.Dwell, MaxUint),
		number("age", a.Age, MaxUint),
	); err != nil || a.Kind != AnswerDrawn {
		return err
	}
	var ids controls
	for _, c := range a.Drawn {
		ids = append(ids, c.ID)
	}
	if err := ids.check("drawn"); err != nil || a.Picture == nil {
		return err
	}
	return exactly("picture", a.Picture, HashSize)
}

func (d *DrawnControl) check() error {
	if d.Weight != 0 && d.Weight < lightest {
		return fmt.Errorf("weight is %d, %d to %d allowed", d.Weight, lightest, heaviest)
	}
	return first(d.ID.check(), between("presses", uint64(d.Presses), 1, MaxPresses), number("area", uint64(d.Area), maxUint32), number("weight", uint64(d.Weight), heaviest))
}

func (w *WhyAsked) check() error {
	return first(number("seq", w.Seq, MaxUint), size("language", w.Language, 0, maxTag), number("person", uint64(w.Person), math.MaxInt32))
}

func (b *Because) check() error {
	together := 0
	err := first(
		number("seq", b.Seq, MaxUint),
		each("lines", b.Lines, MaxLines, func(line *string) error {
			together += len(*line)
			return size("it", *line, 1, MaxText)
		}),
		size("language", b.Language, 1, maxTag),
	)
	if err == nil && together > MaxBecause {
		err = fmt.Errorf("lines are %d bytes long together, at most %d", together, MaxBecause)
	}
	return err
}

func (s *Signal) check() error {
	if s.Kind < SignalTCF || s.Kind > SignalGPC {
		return fmt.Errorf("signal %d is unknown: 1 TCF, 2 GPP, 3 GPC", s.Kind)
	}
	return first(number("seq", s.Seq, MaxUint), size("value", s.Value, 0, MaxSignal))
}

func (w *Word) check() error {
	if w.State < WordStopping || w.State > WordStopped {
		return fmt.Errorf("state %d is unknown: 1 stopping, 2 stopped", w.State)
	}
	if w.State == WordStopped && len(w.Open) > 0 {
		return errors.New("open: nothing is, once it has stopped")
	}
	return first(number("epoch", w.Epoch, MaxUint), each("open", w.Open, MaxLines, func(s *OpenScreen) error {
		return first(size("name", s.Name, 0, MaxName), number("by", s.By, MaxUint))
	}))
}

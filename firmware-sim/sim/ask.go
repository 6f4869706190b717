package sim

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"porchlight/device"
	"porchlight/device/wire"
)

// Question is what a device asks a person just now.
type Question struct {
	wire.Ask
	Spoken bool          // it is said, not drawn
	Layer  uint          // the deepest that was opened: 1 the text, 2 more, 3 all that a phone has
	Left   time.Duration // then it is deferred
}

// asking is a question that is on the screen, or is being said.
type asking struct {
	wire.Ask
	came  time.Time
	layer uint
}

// asked is the last that became of a question.
type asked struct {
	Answer wire.Answer `json:"answer"`
	At     time.Time   `json:"at"`
}

// askedSize is how many questions the book remembers; the oldest is forgotten.
const askedSize = 64

var controlNames = [...]string{wire.ControlYes: "yes", wire.ControlNo: "no", wire.ControlMore: "more", wire.ControlPhone: "phone"}

// What a person may do about a question beside its controls.
const (
	back     = "back"     // leave it: another channel, back
	silence  = "silence"  // to a voice: say nothing, or nothing that can be understood
	stranger = "stranger" // to a voice: answer as somebody whom the device does not know
)

var deferrals = map[string]wire.DeferredBy{back: wire.ByBack, silence: wire.BySilence, stranger: wire.ByUnsure}

// Replies lists what a person may do about a question: its controls, and ways to leave it.
func Replies() []string { return append(slices.Clone(controlNames[1:]), back, silence, stranger) }

// Reply is what a person does about the question on the screen: one of [Replies]. by is their name
// as the gateway has told it, "" if the device does not know who it is. Time that runs off and a car
// that moves off need no Reply.
func (d *Device) Reply(how, by string) error {
	return d.with(func(now time.Time) error {
		err := d.fw.reply(now, how, by)
		if err != nil {
			err = fmt.Errorf("answer %q on %s: %w", how, d.cfg.Name, err)
		}
		return err
	})
}

// spoken reports whether the device speaks and listens, and does nothing else.
func (fw *firmware) spoken() bool { return fw.cfg.Class == device.Speaker }

// ask puts a question to whoever is there, if that may be just now.
func (fw *firmware) ask(now time.Time, a wire.Ask) {
	if last := fw.book.answered(a.ID); last != nil {
		fw.book.owe(receipt{At: last.At, Answer: &last.Answer})
		return
	}
	if by, why := fw.unasked(a); by != 0 {
		fw.answerAsk(now, wire.Answer{Ask: a.ID, Kind: wire.AnswerDeferred, Why: by})
		fw.note(Event{Kind: Unasked, Message: a.ID, Sender: a.Who, Text: a.Text, Why: why})
		return
	}
	fw.asking = &asking{Ask: a, came: now, layer: firstLayer(fw.cfg.Class)}
	look := fw.look()
	fw.answerAsk(now, wire.Answer{Ask: a.ID, Kind: wire.AnswerDrawn, Drawn: look.controls, Picture: look.hash(), Layer: fw.asking.layer})
	if fw.spoken() {
		fw.note(Event{Kind: Said, Text: look.words})
	}
	fw.note(Event{Kind: Asked, Message: a.ID, Sender: a.Who, Text: a.Text})
}

// firstLayer is the deepest layer that is there from the start: a phone has room for two.
func firstLayer(c device.Class) uint {
	if c == device.Companion {
		return 2
	}
	return 1
}

// unasked says why a question may not be put just now; 0 if it may.
func (fw *firmware) unasked(a wire.Ask) (wire.DeferredBy, string) {
	switch {
	case a.Epoch < fw.book.Fence:
		return wire.ByDevice, fmt.Sprintf("decided at %d, before the fence %d", a.Epoch, fw.book.Fence)
	case !fw.beaconed:
		return wire.ByDevice, "no beacon has come yet"
	case len(fw.cfg.Can.Forms) == 0:
		return wire.ByDevice, "the device has no way to show anything"
	case fw.spoken() && fw.cfg.Can.Sound&speech == 0:
		return wire.ByDevice, "the device cannot speak"
	case fw.onScreen() != nil || fw.asking != nil:
		return wire.ByDevice, "the screen is taken"
	}
	by, why := fw.unaskable()
	if by == wire.ByBack {
		by = wire.ByDevice // nobody has left anything
	}
	return by, why
}

// unaskable says why no question may be there at this moment, whatever it is, and how one ends that
// is: somebody who turns the device off or begins a film has left it.
func (fw *firmware) unaskable() (wire.DeferredBy, string) {
	m := fw.machine
	switch reason, why := m.blocked(); {
	case reason == wire.DrivingNow:
		return wire.ByDriving, why
	case reason != 0 && !isOn(m):
		return wire.ByBack, why
	case reason != 0:
		return wire.ByDevice, why
	case m.is(device.Fullscreen, true):
		return wire.ByBack, "a film fills the screen"
	case m.is(device.GameState, "gameplay_uninterruptible"):
		return wire.ByBack, "a match is going on"
	case fw.spoken() && m.is(device.VolumeMuted, true):
		return wire.ByDevice, "the sound is off"
	}
	return 0, ""
}

// reply is what a person does about the question that is there.
func (fw *firmware) reply(now time.Time, how, by string) error {
	a := fw.asking
	if a == nil {
		return errors.New("nothing is asked")
	}
	person, err := fw.person(by)
	if err != nil {
		return err
	}
	if why, ok := deferrals[how]; ok {
		if how != back && !fw.spoken() {
			return fmt.Errorf("a %s asks on its screen: only a voice is answered so", fw.cfg.Class)
		}
		fw.endAsk(now, wire.Answer{Kind: wire.AnswerDeferred, Why: why}, how)
		return nil
	}
	i := slices.Index(controlNames[:], how)
	if i < 1 {
		return fmt.Errorf("use one of %s", strings.Join(Replies(), ", "))
	}
	at := slices.IndexFunc(a.Controls, func(c wire.Control) bool { return c.ID == wire.ControlID(i) })
	if at < 0 {
		var have []string
		for _, c := range a.Controls {
			have = append(have, controlNames[c.ID])
		}
		return fmt.Errorf("the question has no such control: use one of %s", strings.Join(have, ", "))
	}
	chosen := a.Controls[at]
	switch chosen.ID {
	case wire.ControlMore:
		a.layer = firstLayer(fw.cfg.Class) + 1
		fw.note(Event{Kind: Changed, Why: "looks at more"})
		if fw.spoken() {
			fw.note(Event{Kind: Said, Text: a.More})
		}
	case wire.ControlPhone:
		fw.endAsk(now, wire.Answer{Kind: wire.AnswerDeferred, Why: wire.ByPhone, Person: person}, how)
	case wire.ControlNo:
		fw.endAsk(now, wire.Answer{Kind: wire.AnswerNo, Person: person}, how)
	case wire.ControlYes:
		if fw.spoken() { // it is said back before it counts
			fw.note(Event{Kind: Said, Text: chosen.Label + ": " + a.Who})
		}
		fw.endAsk(now, wire.Answer{Kind: wire.AnswerYes, Person: person}, how)
	}
	return nil
}

// endAsk takes the question away with an answer, which lacks its ID and what was seen of it.
func (fw *firmware) endAsk(now time.Time, f wire.Answer, why string) {
	a := fw.asking
	fw.asking = nil
	f.Ask, f.Layer, f.Dwell = a.ID, a.layer, uint64(max(now.Sub(a.came), 0).Milliseconds())
	fw.answerAsk(now, f)
	if f.Kind == wire.AnswerDeferred {
		why = "no answer: " + why
	}
	fw.note(Event{Kind: Answered, Message: a.ID, Sender: a.Who, Text: a.Text, Why: why})
}

// answerAsk writes down what became of a question, and owes it to the gateway.
func (fw *firmware) answerAsk(now time.Time, f wire.Answer) {
	fw.book.ask(asked{f, now})
	fw.book.owe(receipt{At: now, Answer: &f})
}

// settleAsk ends a question whose time is over, or that may not be there any more.
func (fw *firmware) settleAsk(now time.Time) {
	a := fw.asking
	if a == nil {
		return
	}
	if by, why := fw.unaskable(); by != 0 {
		fw.endAsk(now, wire.Answer{Kind: wire.AnswerDeferred, Why: by}, why)
		return
	}
	if now.Before(a.end()) {
		return
	}
	if fw.spoken() {
		fw.endAsk(now, wire.Answer{Kind: wire.AnswerDeferred, Why: wire.BySilence}, "nothing was said")
	} else {
		fw.endAsk(now, wire.Answer{Kind: wire.AnswerDeferred, Why: wire.ByTimeout}, "its time is over")
	}
}

func (a *asking) end() time.Time { return a.came.Add(ms(a.Live)) }

// answered returns the last that became of a question, nil if it was never asked here.
func (b *book) answered(id device.MessageID) *asked {
	for i := range b.Asked {
		if b.Asked[i].Answer.Ask == id {
			return &b.Asked[i]
		}
	}
	return nil
}

// ask writes or overwrites what became of a question.
func (b *book) ask(a asked) {
	b.dirty = true
	if old := b.answered(a.Answer.Ask); old != nil {
		*old = a
		return
	}
	if b.Asked = append(b.Asked, a); len(b.Asked) > askedSize {
		b.Asked = b.Asked[1:]
	}
}

// speech is the bit of a device's sound that means words.
const speech = 2

// look is how a question looks, or sounds.
type look struct {
	rows     []string // on a screen
	words    string   // in a voice
	controls []wire.DrawnControl
}

func (l look) hash() []byte {
	sum := sha256.Sum256([]byte(l.words + strings.Join(l.rows, "\n")))
	return sum[:]
}

// normal is the weight of all letters.
const normal = 400

// askWidth is how many letters wide a question is drawn.
const askWidth = 40

// look is how the question that is there is drawn, or said.
func (fw *firmware) look() look {
	q := Question{Ask: fw.asking.Ask, Spoken: fw.spoken(), Layer: fw.asking.layer}
	l := q.look(fw.cfg.Class, askWidth)
	cell := uint(8) // px of one letter, at least
	if w := fw.cfg.Can.Width; w > 0 {
		cell = max(w/askWidth, cell)
	}
	for i := range l.controls {
		l.controls[i].Area *= cell * 2 * cell
	}
	return l
}

// look draws the question width letters wide for a class, or says it. Areas count letters. Each
// control is a field of the same size with a key of its own, its number; where there is a focus it
// is on more.
func (q Question) look(class device.Class, width int) (l look) {
	controls := slices.DeleteFunc(slices.Clone(q.Controls), func(c wire.Control) bool { return c.ID == wire.ControlMore && q.Layer > firstLayer(class) })
	if q.Spoken {
		if l.words = q.Say; l.words == "" {
			var labels []string
			for _, c := range controls {
				if c.ID == wire.ControlYes || c.ID == wire.ControlNo {
					labels = append(labels, c.Label)
				}
			}
			l.words = q.Text + " " + strings.Join(labels, ", ") + "?"
		}
		for _, c := range q.Controls {
			l.controls = append(l.controls, wire.DrawnControl{ID: c.ID, Presses: 1})
		}
		l.rows = wrap("says: "+l.words, width)
		return l
	}
	l.rows = append(l.rows, clip(q.Who, width))
	l.rows = append(l.rows, wrap(q.Text, width)...)
	if q.Layer > 1 {
		l.rows = append(l.rows, wrap(q.More, width)...)
	}
	focus := class == device.TV || class == device.Console
	longest := 0
	for _, c := range controls {
		longest = max(longest, utf8.RuneCountInString(c.Label))
	}
	row := ""
	for _, c := range controls {
		mark := " "
		if focus && c.ID == wire.ControlMore {
			mark = "›"
		}
		label := clip(c.Label, max(min(longest, width-6), 1))
		field := fmt.Sprintf("[%s%d %s%s ]", mark, c.ID, label, strings.Repeat(" ", max(min(longest, width-6)-utf8.RuneCountInString(label), 0)))
		l.controls = append(l.controls, wire.DrawnControl{ID: c.ID, Presses: 1, Area: uint(utf8.RuneCountInString(field)), Weight: normal})
		if row != "" && utf8.RuneCountInString(row)+1+utf8.RuneCountInString(field) > width {
			l.rows, row = append(l.rows, row), ""
		}
		if row != "" {
			row += " "
		}
		row += field
	}
	l.rows = append(l.rows, row)
	return l
}

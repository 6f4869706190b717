package sim

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"porchlight/device"
	"porchlight/device/wire"
)

// firmware is the device without its network: the rules of the contract over a screen, a machine
// and a book. It is told the time and never asks for it. Whoever calls it holds the device's lock,
// and calls settle before letting go of it.
type firmware struct {
	cfg     Config
	book    book
	machine *machine
	attrs   []string

	// What a power cut erases.
	held    []*held   // in order of arrival; at most one of them is on the screen
	clock   uint64    // the gateway's, ms since 1970, as the last beacon said; 0: none has come
	clockAt time.Time // when it came
	asking  *asking   // a question that is there; no message is on the screen then
	word    wire.Word // the last about what was taken back here; zero: none
	because wire.Because

	// What the end of a connection erases.
	send     func(frame) // nil: no connection that has sent its birth
	seq      uint64
	beaconed bool        // a beacon has come on this connection
	twinned  bool        // a document has come on this connection
	out      func(frame) // as send, also where there is no birth
	wanted   bool        // a credential was asked for, with wantedKey
	askAt    time.Time   // when to ask for one; zero: not planned
	keyAsked bool        // the gateway wants the device to have another
	parted   bool        // erased: nothing that comes is for this device
	window   wire.Window // for those who want to join, as last told
	beat     time.Time
	asked    map[uint64]wire.Proposal // what was proposed on this connection, by Seq
	rebase   *wire.Proposal           // was refused for a document that has not come yet
	whys     map[uint64]time.Time     // questions why, by Seq, and until when an answer is waited for

	// What is about the credential.
	used      credential // what the connection was made with
	overdue   credential // what the gateway holds for a certificate that has ended
	wantedKey []byte     // PKCS #8; nil: a token was asked for
	askNext   time.Time  // when it may be asked for a new one again
	refusals  int        // in a row, since refusedAt
	refusedAt time.Time
	spent     bool   // the home's one-time code has been used
	code      string // six digits that are shown, "" for none

	births int
	note   func(Event)
}

// held is a message on the device: on the screen, or waiting for it.
type held struct {
	wire.Present
	form    device.Form
	came    time.Time
	renewed time.Time // the lease runs from here
	shown   time.Time // zero: not on the screen yet
	quiet   bool      // waits without having been reported as queued
	read    bool      // somebody has asked for what a minimal one keeps back
}

// frame is one frame to be published; acked, if any, is called when the gateway has acknowledged it.
type frame struct {
	leaf    wire.Leaf // "" publishes nothing
	payload []byte
	qos     byte
	acked   func()
	last    bool // the connection ends with it
}

// boot brings the device up after a power cut. Whatever was on the screen is not there any more,
// and the gateway learns that.
func (fw *firmware) boot(now time.Time) {
	fw.held, fw.clock, fw.refusals = nil, 0, 0
	for _, l := range fw.book.Ledger {
		if l.Kind == wire.Presented {
			l.Kind, l.Reason, l.At = wire.Failed, wire.Internal, now
			fw.conclude(l)
		}
	}
	fw.asking, fw.word, fw.because = nil, wire.Word{}, wire.Because{}
	for _, q := range fw.book.Asked {
		if q.Answer.Kind == wire.AnswerDrawn {
			fw.answerAsk(now, wire.Answer{Ask: q.Answer.Ask, Kind: wire.AnswerDeferred, Why: wire.ByDevice})
		}
	}
}

// renew begins a connection with a certificate that has ended: it is for a new one only.
func (fw *firmware) renew(now time.Time, send func(frame)) {
	fw.lost()
	fw.out, fw.seq = send, 0
	fw.askKey(now)
}

// born begins a connection: birth, snapshot, then what is owed.
func (fw *firmware) born(now time.Time, send func(frame)) {
	fw.lost()
	fw.out, fw.send, fw.seq, fw.twinned = send, send, 0, false
	fw.whys = make(map[uint64]time.Time)
	fw.asked, fw.rebase = make(map[uint64]wire.Proposal), nil
	fw.births++
	can := fw.cfg.Can
	b := wire.Birth{
		Model: wire.Model{Maker: fw.cfg.Model.Maker, Name: fw.cfg.Model.Name, Hardware: fw.cfg.Model.Hardware},
		Class: fw.cfg.Class, Attributes: fw.attrs, Twin: fw.book.Twin.Version,
		Clock: uint64(now.UnixMilli()), Software: fw.cfg.Software,
		Can: wire.Capabilities{
			Inputs: can.Inputs, Sound: can.Sound, Forms: can.Forms, MaxPacket: can.MaxPacket,
			MaxButtons: can.MaxButtons, Languages: can.Languages, Holds: can.Holds, Attention: can.Attention, Duties: can.Duties,
		},
	}
	if can.Width > 0 {
		b.Can.Screen = []uint{can.Width, can.Height, can.Diagonal}
	}
	for _, h := range fw.held {
		b.Held = append(b.Held, h.Message)
	}
	fw.publish(wire.UpBirth, 1, b, nil)
	fw.report(now, 1)
	fw.note(Event{Kind: Connected})
}

// lost ends a connection. What is on the screen stays until its lease is over.
func (fw *firmware) lost() {
	fw.send, fw.beaconed, fw.book.sent, fw.whys = nil, false, false, nil
	fw.out, fw.wanted, fw.askAt, fw.keyAsked, fw.parted, fw.window = nil, false, time.Time{}, false, false, wire.Window{}
}

// publish sends a frame if there is a connection.
func (fw *firmware) publish(leaf wire.Leaf, qos byte, v any, acked func()) {
	if fw.send == nil {
		return
	}
	payload, err := wire.Encode(v)
	if err != nil {
		fw.note(Event{Kind: Trouble, Why: err.Error()})
		return
	}
	fw.seq++
	fw.send(frame{leaf: leaf, payload: payload, qos: qos, acked: acked})
}

// report publishes a full snapshot of the context.
func (fw *firmware) report(now time.Time, qos byte) {
	fw.beat = now.Add(fw.heartbeat())
	if fw.send == nil {
		return
	}
	payload, err := wire.EncodeContext(wire.Context{
		Seq: fw.seq, Observed: uint64(now.UnixMilli()), Values: fw.machine.snapshot(), Complete: true,
	}, fw.attrs)
	if err != nil {
		fw.note(Event{Kind: Trouble, Why: err.Error()})
		return
	}
	fw.seq++
	fw.send(frame{leaf: wire.UpCtx, payload: payload, qos: qos})
}

// heartbeat is how often the context is repeated: a little more often than three times in the
// shortest life of a reading.
func (fw *firmware) heartbeat() time.Duration {
	shortest := 10 * time.Minute
	for _, name := range fw.attrs {
		a, _ := device.ParseAttribute(name)
		shortest = min(shortest, a.TTL(fw.cfg.Class))
	}
	return shortest * 3 / 10
}

// receive takes in one frame from the gateway.
func (fw *firmware) receive(now time.Time, leaf wire.Leaf, payload []byte) {
	if fw.parted {
		return
	}
	var err error
	switch leaf {
	case wire.DnMsg:
		var p *wire.Present
		var c *wire.Cancel
		switch p, c, err = wire.DecodeMsg(payload); {
		case err != nil:
		case p != nil:
			fw.present(now, *p, len(payload))
		default:
			fw.cancel(now, *c)
		}
	case wire.DnTime:
		var t wire.Time
		if t, err = wire.DecodeTime(payload); err == nil {
			fw.beacon(now, t)
		}
	case wire.DnTwin:
		var t wire.Twin
		if t, err = wire.DecodeTwin(payload); err == nil {
			fw.twin(now, t)
		}
	case wire.DnErr:
		var e wire.Err
		if e, err = wire.DecodeErr(payload); err == nil {
			fw.complaint(now, e)
		}
	case wire.DnKey:
		var a *wire.KeyAsk
		var k *wire.KeyIssued
		switch a, k, err = wire.DecodeKey(payload); {
		case err != nil:
		case a != nil:
			fw.keyAsked = true
			fw.askKey(now)
		default:
			err = fw.issued(now, *k)
		}
	case wire.DnJoin:
		var w wire.Window
		if w, err = wire.DecodeWindow(payload); err == nil {
			fw.joining(now, w)
		}
	case wire.DnAsk:
		var a wire.Ask
		if a, err = wire.DecodeAsk(payload); err == nil {
			fw.ask(now, a)
		}
	case wire.DnWhy:
		var b wire.Because
		if b, err = wire.DecodeBecause(payload); err == nil {
			fw.explain(b)
		}
	case wire.DnWord:
		var w wire.Word
		if w, err = wire.DecodeWord(payload); err == nil {
			fw.heard(now, w)
		}
	case wire.DnCmd:
		var c wire.Command
		if c, err = wire.DecodeCommand(payload); err == nil {
			err = fw.command(now, c)
		}
	}
	if err != nil {
		fw.note(Event{Kind: Trouble, Why: fmt.Sprintf("%s: %v", leaf, err)})
	}
}

// present is asked to show p. Only a message that was never on the screen can get there.
func (fw *firmware) present(now time.Time, p wire.Present, size int) {
	h := fw.find(p.Message)
	if h != nil && p.Epoch > h.Epoch && p.Epoch >= fw.book.Fence {
		h.Epoch, h.renewed = p.Epoch, now // decided anew: a new lease
	}
	if l := fw.book.find(p.Message); l != nil {
		fw.answer(*l)
		return
	}
	if h != nil {
		fw.owe(now, p.Message, wire.Queued, 0)
		return
	}
	h = &held{Present: p, came: now, renewed: now}
	if reason, why := fw.refuse(h, size); reason != 0 {
		fw.decline(now, h, wire.Declined, reason, why)
		return
	}
	if end, why := fw.end(h); !now.Before(end) {
		fw.decline(now, h, wire.Expired, 0, why)
		return
	}
	waiting := len(fw.held)
	if fw.asking != nil {
		waiting++
	}
	if waiting > int(fw.cfg.Can.Holds) {
		fw.decline(now, h, wire.Declined, wire.Busy, "the screen is taken")
		return
	}
	if !fw.beaconed {
		h.quiet = true // no beacon yet: wait for it, say nothing
		fw.held = append(fw.held, h)
		return
	}
	if reason, why := fw.unfit(h); reason != 0 {
		fw.decline(now, h, wire.Declined, reason, why)
		return
	}
	fw.held = append(fw.held, h)
	if fw.onScreen() != nil || fw.asking != nil {
		fw.owe(now, h.Message, wire.Queued, 0)
		fw.note(Event{Kind: Waiting, Message: h.Message, Text: h.words(), Sender: h.Sender})
		return
	}
	fw.show(now, h)
}

// refuse says why the device could never show h as it is asked to; it settles h's form.
func (fw *firmware) refuse(h *held, size int) (wire.Reason, string) {
	can := fw.cfg.Can
	switch {
	case h.Epoch < fw.book.Fence:
		return wire.Stale, fmt.Sprintf("decided at %d, before the fence %d", h.Epoch, fw.book.Fence)
	case can.MaxPacket > 0 && uint(size) > can.MaxPacket:
		return wire.TooLarge, fmt.Sprintf("%d bytes are more than the device takes", size)
	case len(can.Forms) == 0:
		return wire.UnsupportedForm, "the device has no way to show anything"
	}
	h.form = can.Forms[0]
	if h.Present.Form != nil {
		h.form = *h.Present.Form
	}
	if !slices.Contains(can.Forms, h.form) {
		return wire.UnsupportedForm, fmt.Sprintf("the device has no %s", h.form)
	}
	if not := h.Duties &^ can.Duties; not != 0 {
		return wire.UnsupportedForm, fmt.Sprintf("the device cannot show it %s", dutyBits.name(not&-not))
	}
	if uint(len(h.Responses)) > can.MaxButtons {
		return wire.UnsupportedForm, fmt.Sprintf("%d buttons are more than the device has", len(h.Responses))
	}
	switch uses := h.Uses(h.form); {
	case h.form == device.Voice && uses&wire.ContentSound == 0:
		return wire.UnsupportedForm, "it may make no sound"
	case h.form == device.Voice || uses&wire.ContentWords != 0 || uses&wire.ContentPicture != 0 && h.Picture != nil && can.Width > 0:
		return 0, ""
	}
	return wire.UnsupportedForm, "there is nothing in it that may be shown here"
}

// sound is what h makes people hear, if that is allowed and the device can; "" for nothing.
func (fw *firmware) sound(h *held) string {
	switch {
	case h.Uses(h.form)&wire.ContentSound == 0 || fw.cfg.Can.Sound == 0 || fw.machine.is(device.VolumeMuted, true):
		return ""
	case h.form == device.Voice:
		return "voice"
	}
	return "tone"
}

// kept reports whether h shows no more than who it is from, until somebody asks for the rest.
func (h *held) kept() bool { return h.Duties&wire.DutyMinimal != 0 && !h.read }

// title is h's, if it may be seen.
func (h *held) title() string {
	if h.kept() {
		return ""
	}
	return h.Title
}

// words are those of h that may be seen: its text, or what its picture shows.
func (h *held) words() string {
	if h.kept() {
		return ""
	}
	if h.Uses(h.form)&wire.ContentWords == 0 {
		return "[" + h.alt() + "]"
	}
	return h.Text
}

// alt is what h's picture shows, "" if it has none that may be used. Pictures are not fetched here.
func (h *held) alt() string {
	if h.kept() || h.Picture == nil || h.Uses(h.form)&wire.ContentPicture == 0 {
		return ""
	}
	if h.Picture.Alt == "" {
		return "a picture"
	}
	return h.Picture.Alt
}

// unfit says why h may not be on the screen at this moment; 0 if it may.
func (fw *firmware) unfit(h *held) (wire.Reason, string) {
	if reason, why := fw.machine.blocked(); reason != 0 {
		return reason, why
	}
	for name, g := range h.Guards {
		if !fw.machine.holds(name, g) {
			return wire.GuardFailed, fmt.Sprintf("%s is not %s %v any more", name, g.Op, g.Value)
		}
	}
	return 0, ""
}

// end is when h must go at the latest, and why. Its lease and its life run on our own monotonic
// clock, valid-until is the gateway's.
func (fw *firmware) end(h *held) (time.Time, string) {
	end, why := h.renewed.Add(ms(h.Lease)), "its lease is over"
	sooner := func(t time.Time, w string) {
		if t.Before(end) {
			end, why = t, w
		}
	}
	sooner(h.came.Add(ms(h.Live)), "its life is over")
	if fw.clock > 0 {
		until := min(h.ValidUntil, 1<<50) * 1000
		left := ms(until - min(fw.clock, until)) // at clockAt; an already past end is then
		sooner(fw.clockAt.Add(left), "it is not valid any more")
	}
	if !h.shown.IsZero() && h.Display > 0 {
		sooner(h.shown.Add(ms(h.Display)), "its time on the screen is over")
	}
	return end, why
}

func ms(n uint64) time.Duration {
	const most = uint64(1<<63-1) / uint64(time.Millisecond)
	return time.Duration(min(n, most/4)) * time.Millisecond
}

// show puts h on the screen. The ledger has it before anybody can see it.
func (fw *firmware) show(now time.Time, h *held) {
	h.shown = now
	l := line{Message: h.Message, Kind: wire.Presented, At: now}
	fw.conclude(l)
	fw.note(fw.shown(h))
}

// shown is the Event that says what of h is seen.
func (fw *firmware) shown(h *held) Event {
	return Event{Kind: Shown, Message: h.Message, Form: h.form, Text: h.words(), Title: h.title(), Sender: h.Sender, Sound: fw.sound(h), Dim: h.Duties&wire.DutyDim != 0}
}

// unfold shows the rest of a message of which only the sender is seen.
func (fw *firmware) unfold() error {
	h := fw.onScreen()
	if h == nil || !h.kept() {
		return errors.New("nothing on the screen is kept back")
	}
	h.read = true
	fw.note(fw.shown(h))
	return nil
}

// conclude writes l into the ledger and owes the gateway a receipt for it.
func (fw *firmware) conclude(l line) {
	fw.book.put(l)
	fw.answer(l)
}

// answer owes the gateway the last that became of a message.
func (fw *firmware) answer(l line) {
	fw.book.owe(receipt{At: l.At, Event: &wire.Event{
		Message: l.Message, Kind: l.Kind, Response: l.Response, Wish: l.Wish, Reason: l.Reason,
	}})
}

func (fw *firmware) owe(now time.Time, id device.MessageID, kind wire.EventKind, reason wire.Reason) {
	fw.book.owe(receipt{At: now, Event: &wire.Event{Message: id, Kind: kind, Reason: reason}})
}

// decline reports that h, which is not on the device, will not be shown.
func (fw *firmware) decline(now time.Time, h *held, kind wire.EventKind, reason wire.Reason, why string) {
	fw.owe(now, h.Message, kind, reason)
	fw.note(Event{Kind: Refused, Message: h.Message, Sender: h.Sender, Text: h.words(), Why: why})
}

// remove takes h off the device and reports l, which lacks the message and the time.
func (fw *firmware) remove(now time.Time, h *held, l line, why string) {
	i := slices.Index(fw.held, h)
	fw.held = slices.Delete(fw.held, i, i+1)
	l.Message, l.At = h.Message, now
	if h.shown.IsZero() {
		fw.answer(l)
	} else {
		fw.conclude(l)
	}
	fw.note(Event{Kind: Removed, Message: h.Message, Sender: h.Sender, Text: h.words(), Why: why, Unseen: h.shown.IsZero()})
}

// cancel takes a message off. It is always answered, because the gateway waits for it.
func (fw *firmware) cancel(now time.Time, c wire.Cancel) {
	fw.book.raise(c.Fence)
	if a := fw.asking; a != nil && a.ID == c.Message {
		fw.endAsk(now, wire.Answer{Kind: wire.AnswerDeferred, Why: wire.ByDevice}, "it was called back")
	}
	if h := fw.find(c.Message); h != nil {
		fw.remove(now, h, line{Kind: wire.Cancelled}, "it was taken back")
		return
	}
	fw.owe(now, c.Message, wire.Cancelled, 0)
}

// beacon takes in the gateway's clock and fence, and which messages may stay.
func (fw *firmware) beacon(now time.Time, t wire.Time) {
	fw.clock, fw.clockAt = t.Clock, now
	fw.book.raise(t.Fence)
	for _, h := range slices.Clone(fw.held) {
		if slices.Contains(t.Keep, h.Message) {
			h.renewed, h.Epoch = now, max(h.Epoch, fw.book.Fence)
		} else {
			fw.remove(now, h, line{Kind: wire.Cancelled}, "the gateway does not keep it")
		}
	}
	if !fw.beaconed {
		fw.beaconed = true
		fw.proven()
		fw.note(Event{Kind: Ready})
	}
}

// twin takes in a document. The first of a connection is taken as it is, later ones only if
// they are newer, so that one that comes twice changes nothing.
func (fw *firmware) twin(now time.Time, t wire.Twin) {
	if fw.twinned && t.Version <= fw.book.Twin.Version {
		return
	}
	fw.twinned = true
	fw.book.Twin, fw.book.dirty = t, true
	fw.note(Event{Kind: Told, Why: fmt.Sprintf("version %d", t.Version)})
	fw.unknow(now)
	if p := fw.rebase; p != nil && t.Version > p.Base {
		fw.rebase = nil
		fw.again(now, *p)
	}
}

// propose owes the gateway a choice made on the device.
func (fw *firmware) propose(now time.Time, p wire.Proposal) {
	p.Base = fw.book.Twin.Version
	fw.book.owe(receipt{At: now, Proposal: &p})
}

// Reason codes of MQTT 5 with which a gateway says that somebody else has chosen meanwhile.
const (
	overtaken = 0x83 // implementation specific error
	malformed = 0x99 // payload format invalid, with the word conflict
)

// complaint takes in what the gateway says was wrong with a frame.
func (fw *firmware) complaint(now time.Time, e wire.Err) {
	p, known := fw.asked[e.Seq]
	conflict := e.Code == overtaken || e.Code == malformed && strings.Contains(e.Text, "conflict")
	if !known || e.Leaf != "" && !strings.HasSuffix(string(wire.UpTwin), e.Leaf) || !conflict {
		fw.note(Event{Kind: Complaint, Why: fmt.Sprintf("%s, frame %d: code 0x%02x %s", e.Leaf, e.Seq, e.Code, e.Text)})
		return
	}
	delete(fw.asked, e.Seq)
	if fw.book.Twin.Version > p.Base {
		fw.again(now, p)
	} else {
		fw.rebase = &p
	}
}

// again repeats on the document that is now held a proposal that was made on an older one, if it
// only takes permissions away. One that would give is dropped: somebody else has chosen in the
// meantime, and the person has to look at that first.
func (fw *firmware) again(now time.Time, p wire.Proposal) {
	restricts := p.Quiet == nil && p.Mutes == nil && p.Caps == nil && p.Moments == nil && p.Languages == nil && p.Forget == nil &&
		(p.Frozen == nil || *p.Frozen)
	for _, c := range p.Brands {
		restricts = restricts && (c.Choice == "refused" || c.Choice == "withdrawn")
	}
	if !restricts {
		fw.note(Event{Kind: Conflict, Why: fmt.Sprintf("the home's choices have changed meanwhile: look at version %d and choose again", fw.book.Twin.Version)})
		return
	}
	fw.note(Event{Kind: Conflict, Why: fmt.Sprintf("the home's choices have changed meanwhile: said again on version %d", fw.book.Twin.Version)})
	fw.propose(now, p)
}

// act is a person's answer to the message on the screen.
func (fw *firmware) act(now time.Time, l line, why string) error {
	h := fw.onScreen()
	if h == nil {
		return errors.New("nothing is on the screen")
	}
	if l.Kind == wire.Responded && h.kept() {
		return errors.New("its buttons are not seen yet: read it first")
	}
	if l.Kind == wire.Responded {
		i := slices.IndexFunc(h.Responses, func(r wire.Response) bool { return r.ID == *l.Response })
		if i < 0 {
			var have []string
			for _, r := range h.Responses {
				have = append(have, fmt.Sprintf("%d %q", r.ID, r.Label))
			}
			if have == nil {
				return errors.New("the message has no buttons: dismiss it")
			}
			return fmt.Errorf("the message has no such button: use one of %s", strings.Join(have, ", "))
		}
		why = fmt.Sprintf("%q was pressed", h.Responses[i].Label)
	}
	if l.Wish != nil {
		why += " (" + wishes[*l.Wish] + ")"
	}
	fw.remove(now, h, l, why)
	return nil
}

// do carries out an action of a person, or of the world.
func (fw *firmware) do(now time.Time, name string) error {
	return fw.change(now, name, func() error { return fw.machine.do(name, now) })
}

// change lets do change the machine, and tells what is called so if anything has.
func (fw *firmware) change(now time.Time, name string, do func() error) error {
	before := maps.Clone(fw.machine.vals)
	if err := do(); err != nil {
		return err
	}
	if maps.Equal(before, fw.machine.vals) {
		return nil
	}
	fw.note(Event{Kind: Changed, Why: name})
	fw.clear(now)
	fw.report(now, 1)
	return nil
}

// clear takes off what may not be on the screen at this moment.
func (fw *firmware) clear(now time.Time) {
	if h := fw.onScreen(); h != nil {
		if reason, why := fw.unfit(h); reason != 0 {
			fw.remove(now, h, line{Kind: wire.Declined, Reason: reason}, why)
		}
	}
}

// settle lets everything happen that is due: time, the queue, the book, the outbox.
func (fw *firmware) settle(now time.Time) {
	if fw.machine.tick(now) {
		fw.clear(now)
		fw.report(now, 1)
	}
	for _, h := range slices.Clone(fw.held) {
		end, why := fw.end(h)
		if now.Before(end) {
			continue
		}
		kind := wire.Expired
		if !h.shown.IsZero() && h.Display > 0 && !now.Before(h.shown.Add(ms(h.Display))) {
			kind = wire.TimedOut
		}
		fw.remove(now, h, line{Kind: kind}, why)
	}
	fw.settleAsk(now)
	for h := fw.nextUp(); h != nil; h = fw.nextUp() {
		if reason, why := fw.unfit(h); reason != 0 {
			fw.remove(now, h, line{Kind: wire.Declined, Reason: reason}, why)
			continue
		}
		fw.show(now, h)
	}
	for _, h := range fw.held {
		if h.quiet && fw.beaconed && h.shown.IsZero() {
			h.quiet = false
			fw.owe(now, h.Message, wire.Queued, 0)
		}
	}
	if fw.send != nil && !now.Before(fw.beat) {
		fw.report(now, 0)
	}
	if !fw.askAt.IsZero() && !now.Before(fw.askAt) {
		fw.askKey(now)
	}
	fw.giveUp(now)
	if err := fw.book.save(); err != nil {
		fw.note(Event{Kind: Trouble, Why: err.Error()})
	}
	fw.pump(now)
}

// nextUp is the message that may come onto the free screen, nil if there is none. Nothing comes
// onto it without a beacon of this connection, nor what was decided before the fence.
func (fw *firmware) nextUp() *held {
	if !fw.beaconed || fw.onScreen() != nil || fw.asking != nil {
		return nil
	}
	for _, h := range fw.held {
		if h.Epoch >= fw.book.Fence {
			return h
		}
	}
	return nil
}

// pump sends the first of the outbox, if none is on its way.
func (fw *firmware) pump(now time.Time) {
	if fw.send == nil || fw.book.sent || len(fw.book.Outbox) == 0 {
		return
	}
	r := fw.book.Outbox[0]
	fw.book.sent = true
	if r.Event != nil {
		e := *r.Event
		e.Seq, e.Age = fw.seq, uint64(max(now.Sub(r.At), 0).Milliseconds())
		fw.publish(wire.UpEvt, 1, e, fw.acked)
		return
	}
	if r.Answer != nil {
		a := *r.Answer
		a.Seq, a.Age = fw.seq, uint64(max(now.Sub(r.At), 0).Milliseconds())
		fw.publish(wire.UpAns, 1, a, fw.acked)
		return
	}
	if r.Signal != nil {
		s := *r.Signal
		s.Seq = fw.seq
		fw.publish(wire.UpSig, 1, s, fw.acked)
		return
	}
	p := *r.Proposal
	p.Seq = fw.seq
	fw.asked[p.Seq] = p
	fw.publish(wire.UpTwin, 1, p, fw.acked)
}

// acked forgets the first of the outbox. Whoever calls it settles.
func (fw *firmware) acked() {
	if !fw.book.sent {
		return // for a device that has been erased since
	}
	fw.book.sent = false
	fw.book.Outbox = slices.Delete(fw.book.Outbox, 0, 1)
	fw.book.dirty = true
}

// due is when settle has something to do next, zero if nothing is planned.
func (fw *firmware) due() time.Time {
	t := fw.machine.next
	sooner := func(u time.Time) {
		if t.IsZero() || u.Before(t) {
			t = u
		}
	}
	for _, h := range fw.held {
		end, _ := fw.end(h)
		sooner(end)
	}
	if fw.asking != nil {
		sooner(fw.asking.end())
	}
	for _, until := range fw.whys {
		sooner(until)
	}
	if fw.send != nil {
		sooner(fw.beat)
	}
	if !fw.askAt.IsZero() {
		sooner(fw.askAt)
	}
	return t
}

func (fw *firmware) find(id device.MessageID) *held {
	for _, h := range fw.held {
		if h.Message == id {
			return h
		}
	}
	return nil
}

func (fw *firmware) onScreen() *held {
	for _, h := range fw.held {
		if !h.shown.IsZero() {
			return h
		}
	}
	return nil
}

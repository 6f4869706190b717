package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/wire"
)

// verdict is what a run says of one MUST.
type verdict string

const (
	passed  verdict = "pass"
	failed  verdict = "fail"
	notSeen verdict = "not seen"
)

// finding is one line of a run's outcome.
type finding struct {
	ID      string  `json:"id"`
	Must    string  `json:"must"`
	Verdict verdict `json:"verdict"`
	Saw     string  `json:"saw"`
}

// conformance is one run against one device.
type conformance struct {
	*bench
	class   device.Class // 0: whatever its birth says
	arrive  time.Duration
	wait    time.Duration // for an answer
	window  time.Duration // in which what must not happen would happen
	lateBy  time.Duration // how much later than its time something may go: the gateway's allowance
	hands   func(context.Context, chore) error
	tell    func(format string, args ...any)
	found   map[string]*finding
	version uint64 // of the last document sent
	mute    bool   // the device tells no context: do not wait for it
	behind  string // what the present that is to be answered came behind, in words; "": nothing to speak of

	enrol, wipe, patient bool
	forget               time.Duration     // for how long a device must be refused before it may forget itself
	code                 string            // of the home, for a device that applies with one
	known                bool              // the device has an identity
	came                 bool              // and has logged in with one
	gone                 bool              // it has none any more, and cannot get one
	keyed                bool              // a certificate, not a token
	from                 int               // place behind the last application that was heard
	nonces               map[string]string // revealed: to which authority and challenge
	stopped              error             // why the run has ended too early
}

// chore is something to be done to the device by hand.
type chore struct {
	args []string // for a program
	say  string   // for a person
	read *string  // where it goes what was read off the device; nil: nothing is to be read
}

var errNoHands = errors.New("nobody is there to do it")

// errAway ends a run: the device did not come back.
var errAway = errors.New("the device did not come back")

func (c *conformance) say(id string, v verdict, format string, args ...any) {
	f := c.found[id]
	if f == nil {
		return // not asked for
	}
	rank := map[verdict]int{"": 0, notSeen: 1, passed: 2, failed: 3}
	if rank[v] > rank[f.Verdict] {
		f.Verdict, f.Saw = v, fmt.Sprintf(format, args...)
	}
}

func (c *conformance) pass(id, format string, args ...any)   { c.say(id, passed, format, args...) }
func (c *conformance) fail(id, format string, args ...any)   { c.say(id, failed, format, args...) }
func (c *conformance) unseen(id, format string, args ...any) { c.say(id, notSeen, format, args...) }

// scene plays one part of a run. It fails only if the device is gone for good.
type scene struct {
	name   string
	judges []string
	play   func(*conformance, context.Context) error
	need   need
}

// need is what a scene cannot be played without.
type need int

const (
	unneeded need = iota
	stranger      // --enrol, and a device that is not let in yet
	letIn         // --enrol
	secure        // --tls
	erasable      // --enrol, or --wipe
)

var needFlags = map[need]string{stranger: "--enrol", letIn: "--enrol", secure: "--tls", erasable: "--enrol or --wipe"}

// needed is the flags without which a MUST is not judged; "" if that takes none.
func needed(id string) string {
	for _, s := range scenes {
		if slices.Contains(s.judges, id) {
			return needFlags[s.need]
		}
	}
	return ""
}

// has reports whether the run has what a scene needs.
func (c *conformance) has(n need) bool {
	switch n {
	case stranger, letIn:
		return c.enrol
	case secure:
		return c.front != nil
	case erasable:
		return c.enrol || c.wipe
	}
	return true
}

var scenes = []scene{
	{"two challenges on one connection", []string{"M42", "M43"}, (*conformance).twoChallenges, stranger},
	{"an answer that is lost", []string{"M43", "M48"}, (*conformance).unanswered, stranger},
	{"the six digits", []string{"M45"}, (*conformance).digits, stranger},
	{"a chain that does not hold", []string{"M44"}, (*conformance).chains, stranger},
	{"admitted by somebody else", []string{"M46"}, (*conformance).imposed, stranger},
	{"being let in", []string{"M47"}, (*conformance).letIn, stranger},
	{"a message before the first beacon", []string{"M14"}, (*conformance).early, unneeded},
	{"a message", []string{"M15"}, (*conformance).plain, unneeded},
	{"forms and guards", []string{"M16", "M17", "M79"}, (*conformance).unfit, unneeded},
	{"the ends of a message", []string{"M19", "M20", "M21"}, (*conformance).ends, unneeded},
	{"the lease", []string{"M22", "M23"}, (*conformance).leased, unneeded},
	{"the keep list", []string{"M24"}, (*conformance).unnamed, unneeded},
	{"cancel", []string{"M25"}, (*conformance).cancelled, unneeded},
	{"the fence", []string{"M26"}, (*conformance).fenced, unneeded},
	{"a message that comes twice", []string{"M28"}, (*conformance).twice, unneeded},
	{"an event that is not acknowledged", []string{"M30"}, (*conformance).resent, unneeded},
	{"what is on the device at birth", []string{"M31"}, (*conformance).held, unneeded},
	{"the document of choices", []string{"M32"}, (*conformance).twin, unneeded},
	{"keys and topics of a later version", []string{"M13"}, (*conformance).later, unneeded},
	{"frames that nobody can read", []string{"M12"}, (*conformance).garbage, unneeded},
	{"a guard that stops holding", []string{"M18"}, (*conformance).guarded, unneeded},
	{"a button", []string{"M34"}, (*conformance).pressed, unneeded},
	{"a message that is put away", []string{"M35"}, (*conformance).dismissed, unneeded},
	{"a choice on the device", []string{"M33"}, (*conformance).chosen, unneeded},
	{"a power cut", []string{"M27", "M29"}, (*conformance).powerless, unneeded},
	{"a gateway that is another", []string{"M37"}, (*conformance).strangers, secure},
	{"a log-in that is refused", []string{"M56"}, (*conformance).refused, unneeded},
	{"a new key that does not work", []string{"M50"}, (*conformance).dud, secure},
	{"a new key", []string{"M49"}, (*conformance).rekeyed, letIn},
	{"a certificate that has ended", []string{"M51"}, (*conformance).ended, letIn},
	{"wipe", []string{"M52", "M53", "M55"}, (*conformance).wiped, erasable},
	{"reset", []string{"M54", "M55"}, (*conformance).reset, letIn},
	{"goodbye", []string{"M36"}, (*conformance).goodbye, unneeded},
}

// play runs the scenes that judge one of only, all of them if it is empty.
func (c *conformance) play(ctx context.Context, only []string) error {
	c.found = map[string]*finding{}
	for _, m := range musts {
		if len(only) == 0 || slices.Contains(only, m.id) {
			c.found[m.id] = &finding{ID: m.id, Must: m.text}
		}
	}
	err := c.playAll(ctx)
	if err == nil && !c.came {
		err = c.part(ctx, c.enter) // whatever was asked for
	}
	switch heard := slices.ContainsFunc(c.seen(), func(f fact) bool { return f.act == didApply }); {
	case ctx.Err() != nil && !c.came && !heard:
		return errors.New("it was ended before a device came")
	case ctx.Err() != nil:
		err = errEnded
	case errors.Is(err, errAway):
		c.fail("M5", "%v", err)
	case err != nil && !c.came && !heard:
		return err
	}
	if c.stopped = err; err != nil {
		c.tell("the run ends: %v", err)
	}
	c.judge()
	return nil
}

// errEnded is why a run that somebody has ended is not complete.
var errEnded = errors.New("it was ended from outside")

// over ends a run: there is no device, or it has lost its way.
type over struct{ error }

func (c *conformance) playAll(ctx context.Context) error {
	for i, s := range scenes {
		asked := slices.DeleteFunc(slices.Clone(s.judges), func(id string) bool { return c.found[id] == nil })
		if len(asked) == 0 {
			continue
		}
		var err error
		switch {
		case !c.has(s.need):
			err = fmt.Errorf("is seen with %s", needFlags[s.need])
		case c.gone:
			err = errors.New("the device has been wiped")
		default:
			if s.need != stranger {
				if c.known && !c.came && !c.gone {
					c.tell("waits for the device to log in, %s at most", c.arrive)
				}
				err = c.part(ctx, c.enter)
			}
			if err == nil {
				c.tell("%d of %d: %s", i+1, len(scenes), s.name)
				err = c.part(ctx, func(ctx context.Context) error { return s.play(c, ctx) })
			}
		}
		if err == nil {
			continue
		}
		for _, id := range asked {
			c.unseen(id, "%v", err)
		}
		if errors.Is(err, errAway) {
			return fmt.Errorf("%w within %s (%s)", errAway, c.arrive, s.name)
		}
		if ctx.Err() != nil || errors.As(err, new(over)) {
			return err
		}
	}
	return nil
}

// part plays a part of a run. Nothing is found in one that is ended: what did not come then says nothing of the device.
func (c *conformance) part(ctx context.Context, play func(context.Context) error) error {
	before := map[string]finding{}
	for id, f := range c.found {
		before[id] = *f
	}
	err := play(ctx)
	if ctx.Err() == nil {
		return err
	}
	for id, f := range before {
		*c.found[id] = f
	}
	return errEnded
}

// enter leaves the device connected, with an identity, and with nothing on it.
func (c *conformance) enter(ctx context.Context) error {
	if c.gone {
		return nil
	}
	if !c.known {
		if err := c.letIn(ctx); err != nil {
			return err
		}
	}
	if !c.came {
		if err := c.come(ctx); err != nil {
			return over{err}
		}
		c.came = true
	}
	return c.clear(ctx)
}

// come waits for the device's first connection.
func (c *conformance) come(ctx context.Context) error {
	_, ok := c.await(ctx, 0, c.arrive, func(f fact) bool { return f.act == didConnect })
	if err := ctx.Err(); err != nil {
		return err
	}
	if !ok {
		var why []string
		for _, f := range c.seen() {
			if f.act == wasRefused && !slices.Contains(why, f.note) {
				why = append(why, f.note)
			}
		}
		if len(why) == 0 {
			return fmt.Errorf("no device connected within %s", c.arrive)
		}
		return fmt.Errorf("no device logged in within %s: %s", c.arrive, strings.Join(why, "; "))
	}
	c.pass("M1", "it logged in")
	if err := c.present(ctx); err != nil {
		c.judge()
		return fmt.Errorf("the device logged in, but did not both subscribe to its dn/ topics and send its birth within %s: %s", c.arrive, c.refusals())
	}
	return nil
}

func (c *conformance) refusals() string {
	var all []string
	for _, f := range c.seen() {
		if f.act == wasRefused {
			all = append(all, f.note)
		}
	}
	if len(all) == 0 {
		return "nothing was refused"
	}
	return strings.Join(slices.Compact(all), "; ")
}

// present waits until the device is connected, subscribed and born, and has told its context.
func (c *conformance) present(ctx context.Context) error {
	mark := c.mark()
	for end := time.Now().Add(c.arrive); ; {
		c.mu.Lock()
		ready, changed := c.ready, c.changed
		applies := slices.ContainsFunc(c.facts[mark:], func(f fact) bool { return f.act == didAsk })
		c.mu.Unlock()
		if ready {
			break
		}
		if applies {
			c.fail("M56", "it had an identity, and applied for another")
			if c.known = false; !c.enrol {
				return errStuck
			}
			if err := c.letIn(ctx); err != nil {
				return err
			}
			mark, end = c.mark(), time.Now().Add(c.arrive)
			continue
		}
		timer := time.NewTimer(time.Until(end))
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if err := ctx.Err(); err != nil {
			return err
		}
		if time.Now().After(end) {
			return errAway
		}
	}
	if b := c.born(); len(b.Attributes) > 0 && !c.mute {
		conn := c.current()
		_, told := c.await(ctx, 0, c.wait+c.window, func(f fact) bool {
			return f.conn == conn && (f.act == didContext || f.act == didLeave)
		})
		c.mute = !told // once is enough to know
	}
	return nil
}

func (c *conformance) current() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn
}

// born is the last birth.
func (c *conformance) born() (b wire.Birth) {
	for _, f := range c.seen() {
		if f.act == didBirth {
			b = f.birth
		}
	}
	return b
}

// values is what the device has told on its last connection.
func (c *conformance) values() map[string]any {
	all, conn := map[string]any{}, c.current()
	for _, f := range c.seen() {
		if f.act == didContext && f.conn == conn {
			for k, v := range f.values {
				all[k] = v
			}
		}
	}
	return all
}

// clear leaves the device with nothing on it, and beacons that come.
func (c *conformance) clear(ctx context.Context) error {
	c.mu.Lock()
	c.withhold, c.skew = nil, 0
	c.mu.Unlock()
	if err := c.present(ctx); err != nil {
		return err
	}
	c.set(func() { c.beacons, c.keep = true, nil })
	for _, id := range c.open() {
		if _, ok := c.await(ctx, c.last(id), c.window, ends(id)); ok {
			continue
		}
		// It does not heed the beacon. That is the subject of another scene.
		if err := c.send(ctx, wire.DnMsg, wire.Cancel{Message: id, Fence: c.fence}); err != nil {
			return err
		}
		c.await(ctx, c.last(id), c.window, ends(id))
	}
	return nil
}

// last is the place of the last event about a message.
func (c *conformance) last(id device.MessageID) (at int) {
	for i, f := range c.seen() {
		if about(id)(f) {
			at = i
		}
	}
	return at
}

// open lists the messages that were queued or presented last we heard.
func (c *conformance) open() (all []device.MessageID) {
	for _, f := range c.seen() {
		if f.act != didEvent {
			continue
		}
		all = slices.DeleteFunc(all, func(id device.MessageID) bool { return id == f.event.Message })
		if f.event.Kind == wire.Presented || f.event.Kind == wire.Queued {
			all = append(all, f.event.Message)
		}
	}
	return all
}

func about(id device.MessageID, kinds ...wire.EventKind) func(fact) bool {
	return func(f fact) bool {
		return f.act == didEvent && f.event.Message == id && (len(kinds) == 0 || slices.Contains(kinds, f.event.Kind))
	}
}

// ends is about the events after which a message is not on the device.
func ends(id device.MessageID) func(fact) bool {
	return about(id, wire.Responded, wire.Dismissed, wire.TimedOut, wire.Declined, wire.Expired, wire.Cancelled, wire.Failed)
}

// cut ends the connection; with beacons the next one has its first beacon by itself.
func (c *conformance) cut(ctx context.Context, beacons bool) error {
	c.mu.Lock()
	c.beacons = beacons
	conn := c.conn
	c.mu.Unlock()
	c.hangUp(ctx)
	err := c.present(ctx)
	if err == nil && c.current() > conn {
		c.pass("M5", "it came back whenever the connection was ended")
	}
	return err
}

// hangUp ends the connection.
func (c *conformance) hangUp(ctx context.Context) {
	c.mu.Lock()
	link, conn := c.link, c.conn
	c.mu.Unlock()
	if link != nil {
		link.Close(delivery.Unable)
		c.await(ctx, 0, c.wait, func(f fact) bool { return f.conn == conn && f.act == didLeave })
	}
}

// send hands over a frame with QoS 1 and waits for its PUBACK.
func (c *conformance) send(ctx context.Context, leaf wire.Leaf, frame any) error {
	c.mu.Lock()
	mark, conn := len(c.facts), c.conn
	err := c.raw(leaf, 1, frame)
	c.mu.Unlock()
	if errors.Is(err, delivery.ErrAway) {
		return c.present(ctx)
	}
	if err != nil {
		return err
	}
	f, ok := c.await(ctx, mark, 2*c.wait, func(f fact) bool { return f.conn == conn && (f.act == didAck || f.act == didLeave) })
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case !ok:
		c.fail("M11", "no PUBACK came within %s for a frame on %s", 2*c.wait, leaf)
		if err := c.cut(ctx, true); err != nil {
			return err
		}
		return fmt.Errorf("the device did not acknowledge a frame on %s", leaf)
	case f.act == didAck:
		c.pass("M11", "every frame with QoS 1 was acknowledged")
	}
	return nil
}

// message is one that every device could show for a long time.
func (c *conformance) message() wire.Present {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now().Add(c.skew)
	p := wire.Present{
		Message: device.NewMessageID(device.At(now)), ValidUntil: uint64(now.Add(time.Hour).Unix()), Live: 3_600_000,
		Text: "This is a test. It goes by itself.", Title: "Conformance", Sender: "Porchlight", Language: "en",
		Lease: uint64(c.lease.Milliseconds()), Epoch: c.fence,
	}
	return p
}

// offer sends p, with the first form that the device has. The beacons name it from then on.
func (c *conformance) offer(ctx context.Context, p *wire.Present) (mark int, err error) {
	forms := c.born().Can.Forms
	if len(forms) == 0 {
		return 0, errors.New("its birth lists no form in which it can show a message")
	}
	if p.Form == nil {
		p.Form = &forms[0]
	}
	c.mu.Lock()
	c.keep = append(slices.Clone(c.keep), p.Message)
	mark = len(c.facts)
	c.mu.Unlock()
	return mark, c.send(ctx, wire.DnMsg, *p)
}

// show has p on the screen, or fails with why the device would not.
func (c *conformance) show(ctx context.Context, p *wire.Present) (shown fact, err error) {
	mark, err := c.offer(ctx, p)
	if err != nil {
		return fact{}, err
	}
	f, ok := c.await(ctx, mark, c.wait, func(f fact) bool { return about(p.Message, wire.Presented)(f) || ends(p.Message)(f) })
	switch {
	case !ok:
		c.fail("M15", "no answer to a present came within %s", c.wait)
		return f, fmt.Errorf("the device did not say that it shows a message that it was given")
	case f.event.Kind != wire.Presented:
		return f, fmt.Errorf("the device would not show a plain message: it answered %s; bring it into a state in which it shows messages", spell(f.event))
	}
	c.pass("M15", "each message that was on the screen was reported as presented")
	return f, nil
}

var eventNames = map[wire.EventKind]string{
	wire.Queued: "queued", wire.Presented: "presented", wire.Responded: "responded", wire.Dismissed: "dismissed", wire.TimedOut: "timed-out",
	wire.Declined: "declined", wire.Expired: "expired", wire.Cancelled: "cancelled", wire.Failed: "failed",
}

var reasonNames = map[wire.Reason]string{
	wire.GuardFailed: "guard-failed", wire.Busy: "busy", wire.UnsupportedForm: "unsupported-form", wire.DrivingNow: "driving",
	wire.UserDND: "user-dnd", wire.TooLarge: "too-large", wire.Internal: "internal", wire.UnknownMessage: "unknown-message", wire.Stale: "stale",
}

// spell is an event for people.
func spell(e wire.Event) string {
	s := eventNames[e.Kind]
	if e.Response != nil {
		s += fmt.Sprintf(" with button %d", *e.Response)
	}
	if r := reasonNames[e.Reason]; r != "" {
		s += ", reason " + r
	} else if e.Reason != 0 {
		s += fmt.Sprintf(", reason %d", e.Reason)
	}
	return s
}

// otherwise reports whether a device would show nothing at all just now, which it may.
func otherwise(e wire.Event) bool {
	return e.Kind == wire.Declined && (e.Reason == wire.Busy || e.Reason == wire.UserDND || e.Reason == wire.DrivingNow)
}

// answer expects an event of a kind, and for a decline of a reason, as the next that is said of
// a message; one of those in spare is passed over.
func (c *conformance) answer(ctx context.Context, id string, mark int, m device.MessageID, d time.Duration, want wire.Event, spare ...wire.EventKind) bool {
	f, ok := c.await(ctx, mark, d, func(f fact) bool { return about(m)(f) && !slices.Contains(spare, f.event.Kind) })
	switch got := f.event; {
	case !ok:
		c.fail(id, "%s was expected%s, and nothing came within %s", spell(want), c.behind, d.Round(time.Millisecond))
	case got.Kind == want.Kind && got.Reason == want.Reason:
		c.pass(id, "%s", spell(got))
		return true
	case otherwise(got):
		c.unseen(id, "the device shows nothing just now: %s", spell(got))
	default:
		c.fail(id, "%s was expected%s, and %s came", spell(want), c.behind, spell(got))
	}
	return false
}

// settle lets the PUBACK of the last event arrive: while an event is not acknowledged, the device
// need not send the same once more. A cancel shows it: the gateway takes in the device's PUBACK of it
// after it has acknowledged that event, and the device answers it after that event.
func (c *conformance) settle(ctx context.Context) error {
	none := c.message().Message
	mark := c.mark()
	if err := c.send(ctx, wire.DnMsg, wire.Cancel{Message: none, Fence: c.fence}); err != nil {
		return err
	}
	c.await(ctx, mark, c.wait, about(none)) // that no answer comes is the subject of another scene
	return nil
}

func (c *conformance) early(ctx context.Context) error {
	if err := c.cut(ctx, false); err != nil {
		return err
	}
	p := c.message()
	mark, err := c.offer(ctx, &p)
	if err != nil {
		return err
	}
	if f, bad := c.await(ctx, mark, c.window, about(p.Message, wire.Presented)); bad {
		c.fail("M14", "it presented a message %s before the first beacon", time.Since(f.at).Round(time.Millisecond)+c.window)
		return nil
	}
	c.set(func() { c.beacons = true })
	f, ok := c.await(ctx, mark, c.wait, about(p.Message))
	if !ok {
		c.pass("M14", "nothing was presented within %s; after the beacon nothing was said of the message either", c.window)
		return nil
	}
	c.pass("M14", "nothing was presented within %s; after the beacon came %s", c.window, spell(f.event))
	return nil
}

func (c *conformance) plain(ctx context.Context) error {
	p := c.message()
	_, err := c.show(ctx, &p)
	return err
}

func (c *conformance) unfit(ctx context.Context) error {
	p := c.message()
	forms := c.born().Can.Forms
	for f := device.Badge; f.Known(); f++ {
		if !slices.Contains(forms, f) {
			p.Form = &f
		}
	}
	if p.Form == nil {
		c.unseen("M16", "it has every form")
	} else {
		mark, err := c.offer(ctx, &p)
		if err != nil {
			return err
		}
		c.answer(ctx, "M16", mark, p.Message, c.wait, wire.Event{Kind: wire.Declined, Reason: wire.UnsupportedForm})
	}
	if named := c.born().Can.Duties; named == 0 {
		c.unseen("M79", "its birth names no duty, so none is asked of it")
	} else {
		p := c.message()
		p.Duties = (named | 1<<31) ^ named // one that it does not name
		mark, err := c.offer(ctx, &p)
		if err != nil {
			return err
		}
		c.answer(ctx, "M79", mark, p.Message, c.wait, wire.Event{Kind: wire.Declined, Reason: wire.UnsupportedForm})
	}
	guards := map[string]wire.Guard{"no.such.attribute": {Op: "eq", Value: true}}
	if name, now := c.guardable(); name != "" {
		p := c.message()
		p.Guards = map[string]wire.Guard{name: {Op: "ne", Value: now}}
		mark, err := c.offer(ctx, &p)
		if err != nil {
			return err
		}
		if !c.answer(ctx, "M17", mark, p.Message, c.wait, wire.Event{Kind: wire.Declined, Reason: wire.GuardFailed}) {
			return nil
		}
	}
	p = c.message()
	p.Guards = guards
	mark, err := c.offer(ctx, &p)
	if err != nil {
		return err
	}
	c.answer(ctx, "M17", mark, p.Message, c.wait, wire.Event{Kind: wire.Declined, Reason: wire.GuardFailed})
	return nil
}

// guardable is an attribute that the device knows, and its value; the first of them that can be
// changed without the device refusing for another reason.
func (c *conformance) guardable() (name string, now any) {
	vals := c.values()
	for _, a := range []device.Attribute{device.DoorOpen, device.Driving, device.VolumeMuted, device.RoomOccupancy, device.Fullscreen, device.PlayerState, device.PowerState} {
		if v := vals[a.String()]; v != nil {
			return a.String(), v
		}
	}
	return "", nil
}

func (c *conformance) ends(ctx context.Context) error {
	// The beacons' clock is an hour ahead: a device that looks at its own would be late.
	c.set(func() { c.skew = time.Hour })
	clock := func() time.Time { return time.Now().Add(time.Hour) }
	p := c.long()
	p.ValidUntil = uint64(clock().Add(-5 * time.Second).Unix())
	mark, err := c.offer(ctx, &p)
	if err != nil {
		return err
	}
	if c.answer(ctx, "M19", mark, p.Message, c.wait, wire.Event{Kind: wire.Expired}) {
		p = c.long()
		p.ValidUntil = uint64(clock().Add(2 * time.Second).Unix())
		shown, err := c.show(ctx, &p)
		if err == nil {
			left := time.Until(shown.at) + 2*time.Second + c.lateBy
			c.answer(ctx, "M19", shown.n+1, p.Message, left, wire.Event{Kind: wire.Expired}, wire.Presented)
		}
	}
	if err := c.clear(ctx); err != nil {
		return err
	}
	life := 2 * c.window
	p = c.long()
	p.Live = uint64(life.Milliseconds())
	shown, err := c.show(ctx, &p)
	if err != nil {
		return err
	}
	c.answer(ctx, "M20", shown.n+1, p.Message, life+c.lateBy, wire.Event{Kind: wire.Expired}, wire.Presented)
	if err := c.clear(ctx); err != nil {
		return err
	}
	p = c.long()
	p.Display = uint64(life.Milliseconds())
	if shown, err = c.show(ctx, &p); err != nil {
		return err
	}
	c.answer(ctx, "M21", shown.n+1, p.Message, life+c.lateBy, wire.Event{Kind: wire.TimedOut}, wire.Presented)
	return nil
}

func (c *conformance) leased(ctx context.Context) error {
	p := c.message()
	shown, err := c.show(ctx, &p)
	if err != nil {
		return err
	}
	mark := shown.n + 1
	if f, gone := c.await(ctx, mark, c.lease*5/2, ends(p.Message)); gone {
		c.fail("M22", "beacons named the message, and it went: %s", spell(f.event))
		return nil
	}
	c.pass("M22", "it stayed for two and a half leases of %s", c.lease)
	c.mu.Lock()
	c.beacons = false
	left := time.Until(c.beaconed) + c.lease + c.lateBy
	mark = len(c.facts)
	c.mu.Unlock()
	c.answer(ctx, "M23", mark, p.Message, left, wire.Event{Kind: wire.Expired}, wire.Presented)
	return nil
}

func (c *conformance) unnamed(ctx context.Context) error {
	p := c.long()
	shown, err := c.show(ctx, &p)
	if err != nil {
		return err
	}
	c.set(func() { c.keep = nil })
	c.answer(ctx, "M24", shown.n+1, p.Message, c.wait, wire.Event{Kind: wire.Cancelled}, wire.Presented)
	return nil
}

// long is a message that no lease ends during a scene.
func (c *conformance) long() wire.Present {
	p := c.message()
	p.Lease = uint64((10 * time.Minute).Milliseconds())
	return p
}

func (c *conformance) cancelled(ctx context.Context) error {
	ask := func(id device.MessageID) (bool, error) {
		mark := c.mark()
		if err := c.send(ctx, wire.DnMsg, wire.Cancel{Message: id, Fence: c.fence}); err != nil {
			return false, err
		}
		return c.answer(ctx, "M25", mark, id, c.wait, wire.Event{Kind: wire.Cancelled}, wire.Presented), nil
	}
	if ok, err := ask(c.message().Message); !ok {
		return err
	}
	p := c.long()
	if _, err := c.show(ctx, &p); err != nil {
		c.unseen("M25", "it answered for a message that it does not have; %v", err)
		return err
	}
	if ok, err := ask(p.Message); !ok {
		return err
	}
	if err := c.settle(ctx); err != nil {
		return err
	}
	_, err := ask(p.Message)
	return err
}

func (c *conformance) fenced(ctx context.Context) error {
	stale := wire.Event{Kind: wire.Declined, Reason: wire.Stale}
	try := func(epoch uint64) (bool, error) {
		p := c.long()
		p.Epoch = epoch
		mark, err := c.offer(ctx, &p)
		if err != nil {
			return false, err
		}
		return c.answer(ctx, "M26", mark, p.Message, c.wait, stale), nil
	}
	old := c.fence
	c.set(func() { c.fence += 10 })
	if ok, err := try(c.fence - 1); !ok {
		return err
	}
	// A cancel raises it too.
	c.mu.Lock()
	c.fence += 10
	c.mu.Unlock()
	if err := c.send(ctx, wire.DnMsg, wire.Cancel{Message: c.message().Message, Fence: c.fence}); err != nil {
		return err
	}
	c.behind = " behind a cancel with a higher fence"
	ok, err := try(c.fence - 1)
	if c.behind = ""; !ok {
		return err
	}
	// A lower one does not lower it, and neither does a new connection.
	high := c.fence
	defer c.set(func() { c.fence = high })
	c.set(func() { c.fence = old })
	if ok, err := try(high - 1); !ok {
		return err
	}
	if err := c.cut(ctx, true); err != nil {
		return err
	}
	_, err = try(high - 1)
	return err
}

func (c *conformance) twice(ctx context.Context) error {
	p := c.long()
	shown, err := c.show(ctx, &p)
	if err != nil {
		return err
	}
	if err := c.settle(ctx); err != nil {
		return err
	}
	mark := shown.n + 1
	if err := c.send(ctx, wire.DnMsg, p); err != nil {
		return err
	}
	if f, ok := c.await(ctx, mark, c.wait, about(p.Message)); !ok || f.event.Kind != wire.Presented {
		if !ok {
			c.fail("M28", "a present of what is on the screen was not answered")
		} else {
			c.fail("M28", "a present of what is on the screen was answered with %s", spell(f.event))
		}
		return nil
	}
	mark = c.mark()
	c.set(func() { c.keep = nil })
	last, ok := c.await(ctx, mark, c.wait, ends(p.Message))
	if !ok {
		return errors.New("the message did not leave the screen")
	}
	if err := c.settle(ctx); err != nil {
		return err
	}
	mark = last.n + 1
	p.Epoch = c.fence
	if _, err := c.offer(ctx, &p); err != nil {
		return err
	}
	if f, bad := c.await(ctx, mark, c.window, about(p.Message, wire.Presented, wire.Queued)); bad {
		c.fail("M28", "a message that had been on the screen came again: %s", spell(f.event))
		return nil
	}
	c.answer(ctx, "M28", mark, p.Message, c.wait, wire.Event{Kind: last.event.Kind, Reason: last.event.Reason})
	return nil
}

func (c *conformance) resent(ctx context.Context) error {
	p := c.long()
	c.mu.Lock()
	c.withhold = func(e wire.Event) bool { return e.Message == p.Message }
	conn := c.conn
	c.mu.Unlock()
	shown, err := c.show(ctx, &p)
	if err != nil {
		return err
	}
	if err := c.cut(ctx, true); err != nil {
		return err
	}
	c.mu.Lock()
	c.withhold = nil
	c.mu.Unlock()
	again := func(f fact) bool { return f.conn > conn && !f.withheld && about(p.Message)(f) }
	if f, ok := c.await(ctx, shown.n+1, c.wait, again); ok && f.event.Kind == wire.Presented {
		c.pass("M30", "presented was not acknowledged, and came again on the next connection")
	} else if ok {
		c.fail("M30", "presented was not acknowledged, and the next connection brought %s instead", spell(f.event))
	} else {
		c.fail("M30", "presented was not acknowledged, and did not come again on the next connection within %s", c.wait)
	}
	return nil
}

func (c *conformance) held(ctx context.Context) error {
	p := c.long()
	if _, err := c.show(ctx, &p); err != nil {
		return err
	}
	if err := c.cut(ctx, true); err != nil {
		return err
	}
	if !slices.Contains(c.born().Held, p.Message) {
		// It may have taken it off when the connection ended, but then it must say so.
		if _, ok := c.await(ctx, 0, c.wait, ends(p.Message)); !ok {
			c.fail("M31", "a message was on the screen, and the next birth did not list it")
			return nil
		}
	}
	if err := c.clear(ctx); err != nil {
		return err
	}
	if _, ok := c.await(ctx, 0, c.wait, ends(p.Message)); !ok {
		return errors.New("the message did not leave the screen")
	}
	if err := c.cut(ctx, true); err != nil {
		return err
	}
	if held := c.born().Held; len(held) > 0 {
		c.fail("M31", "nothing was on the device, and its birth listed %d messages", len(held))
		return nil
	}
	c.pass("M31", "the births listed what was on the device")
	return nil
}

func (c *conformance) document(v uint64) wire.Twin {
	return wire.Twin{Version: v, Doc: wire.Document{
		Brands: []wire.BrandChoice{{Brand: "conformance", Name: "Conformance", Purpose: "marketing", Choice: "given"}}, Zone: "UTC",
	}}
}

func (c *conformance) twin(ctx context.Context) error {
	check := func(want uint64) (bool, error) {
		if err := c.cut(ctx, true); err != nil {
			return false, err
		}
		if got := c.born().Twin; got != want {
			c.fail("M32", "the birth after version %d named %d", want, got)
			return false, nil
		}
		return true, nil
	}
	c.version += 10
	if err := c.send(ctx, wire.DnTwin, c.document(c.version)); err != nil {
		return err
	}
	if ok, err := check(c.version); !ok {
		return err
	}
	c.version += 10
	for _, v := range []uint64{c.version, c.version - 5} {
		if err := c.send(ctx, wire.DnTwin, c.document(v)); err != nil {
			return err
		}
	}
	if ok, err := check(c.version); !ok {
		return err
	}
	c.pass("M32", "its births named the versions that it had been sent")
	return nil
}

// with adds a key of a later version to an encoded map of less than 22 pairs.
func with(frame any) []byte {
	b, err := wire.Encode(frame)
	if err != nil {
		return nil
	}
	b[0]++
	return append(b, 0x18, 99, 0x82, 0x01, 0x65, 'l', 'a', 't', 'e', 'r') // 99: [1, "later"]
}

func (c *conformance) later(ctx context.Context) error {
	conn := c.current()
	p := c.long()
	if forms := c.born().Can.Forms; len(forms) > 0 {
		p.Form = &forms[0]
	}
	c.mu.Lock()
	c.keep = append(slices.Clone(c.keep), p.Message)
	mark := len(c.facts)
	c.raw("dn/later", 0, []byte{0xa0})
	c.raw(wire.DnTime, 0, with(wire.Time{Clock: uint64(time.Now().UnixMilli()), Fence: c.fence, Keep: c.keep}))
	c.mu.Unlock()
	if err := c.send(ctx, "dn/later", []byte{0xa0}); err != nil {
		return err
	}
	if err := c.send(ctx, wire.DnMsg, with(p)); err != nil {
		return err
	}
	answer := about(p.Message, wire.Presented, wire.Declined, wire.Failed, wire.Expired)
	f, ok := c.await(ctx, mark, c.wait, func(f fact) bool { return f.act == didLeave || answer(f) })
	switch {
	case f.act == didLeave, c.current() != conn:
		c.fail("M13", "it ended the connection")
	case !ok:
		c.fail("M13", "a present with one key more was not answered")
	case otherwise(f.event):
		c.unseen("M13", "the device shows nothing just now: %s", spell(f.event))
	case f.event.Kind != wire.Presented:
		c.fail("M13", "a present with one key more was answered with %s", spell(f.event))
	default:
		c.pass("M13", "a present and a beacon with one key more, and frames on dn/later, did no harm")
	}
	return nil
}

func (c *conformance) garbage(ctx context.Context) error {
	conn := c.current()
	p := c.long()
	good, err := wire.Encode(p)
	if err != nil {
		return err
	}
	mark := c.mark()
	deep := append([]byte(strings.Repeat("\x81", 64)), 0x00)
	for _, junk := range [][]byte{
		nil, {0x00}, {0xff}, {0xa1}, {0x80}, []byte(`{"op": 1}`), good[:len(good)/2], deep,
		{0xa1, 0x00, 0x09}, {0xa2, 0x00, 0x01, 0x01, 0x41, 0x00}, {0xbf, 0x00, 0x01}, {0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		append([]byte{0x58, 0xff}, make([]byte, wire.MaxFrame)...),
	} {
		for _, leaf := range []wire.Leaf{wire.DnMsg, wire.DnTwin, wire.DnTime, wire.DnErr} {
			var err error
			if leaf == wire.DnMsg || leaf == wire.DnTwin {
				err = c.send(ctx, leaf, junk)
			} else {
				c.mu.Lock()
				c.raw(leaf, 0, junk)
				c.mu.Unlock()
			}
			if err != nil {
				return err
			}
			if c.current() != conn {
				c.fail("M12", "it ended the connection at a frame on %s that began %s", leaf, hex.EncodeToString(junk[:min(len(junk), 16)]))
				return nil
			}
		}
	}
	if _, bad := c.await(ctx, mark, c.window, func(f fact) bool { return f.act == didLeave || about(p.Message)(f) }); bad || c.current() != conn {
		c.fail("M12", "after frames that nobody can read it ended the connection, or answered half a frame")
		return nil
	}
	p = c.message()
	if f, err := c.show(ctx, &p); err != nil {
		if otherwise(f.event) {
			return err
		}
		c.fail("M12", "after frames that nobody can read: %v", err)
		return nil
	}
	c.pass("M12", "after 52 frames that nobody can read it showed the next message, on the same connection")
	return nil
}

func (c *conformance) guarded(ctx context.Context) error {
	name, now := c.guardable()
	if name == "" {
		return errors.New("it has told nothing that a guard could be about")
	}
	p := c.long()
	p.Guards = map[string]wire.Guard{name: {Op: "eq", Value: now}}
	shown, err := c.show(ctx, &p)
	if err != nil {
		return err
	}
	to := "something else"
	if b, ok := now.(bool); ok {
		to = fmt.Sprint(!b)
	}
	if err := c.hands(ctx, chore{args: []string{"change", name, to}, say: fmt.Sprintf("Change the device so that %s becomes %s (it is %v).", name, to, now)}); err != nil {
		return err
	}
	c.answer(ctx, "M18", shown.n+1, p.Message, c.wait, wire.Event{Kind: wire.Declined, Reason: wire.GuardFailed}, wire.Presented)
	return nil
}

func (c *conformance) pressed(ctx context.Context) error {
	if c.born().Can.MaxButtons == 0 {
		return errors.New("its birth says that it has no buttons for messages")
	}
	p := c.long()
	p.Responses = []wire.Response{{ID: 7, Label: "Press this"}}
	shown, err := c.show(ctx, &p)
	if err != nil {
		return err
	}
	if err := c.hands(ctx, chore{args: []string{"press", "7"}, say: `Press the button "Press this" of the message on the device.`}); err != nil {
		return err
	}
	if c.answer(ctx, "M34", shown.n+1, p.Message, c.wait, wire.Event{Kind: wire.Responded}, wire.Presented) {
		f, _ := c.await(ctx, 0, c.wait, about(p.Message, wire.Responded))
		if f.event.Response == nil || *f.event.Response != 7 {
			c.fail("M34", "the button's id is 7, and it answered %s", spell(f.event))
		}
	}
	return nil
}

func (c *conformance) dismissed(ctx context.Context) error {
	p := c.long()
	shown, err := c.show(ctx, &p)
	if err != nil {
		return err
	}
	if err := c.hands(ctx, chore{args: []string{"dismiss"}, say: "Put the message on the device away."}); err != nil {
		return err
	}
	c.answer(ctx, "M35", shown.n+1, p.Message, c.wait, wire.Event{Kind: wire.Dismissed}, wire.Presented)
	return nil
}

func (c *conformance) chosen(ctx context.Context) error {
	c.version += 10
	if err := c.send(ctx, wire.DnTwin, c.document(c.version)); err != nil {
		return err
	}
	mark := c.mark()
	if err := c.hands(ctx, chore{args: []string{"choose", "conformance", "marketing", "refused"}, say: "In the device's settings, say no to marketing from Conformance."}); err != nil {
		return err
	}
	f, ok := c.await(ctx, mark, c.wait, func(f fact) bool { return f.act == didPropose })
	switch {
	case !ok:
		c.fail("M33", "no up/twin came within %s", c.wait)
	case f.proposal.Base != c.version:
		c.fail("M33", "the document has version %d, and the base is %d", c.version, f.proposal.Base)
	case !slices.ContainsFunc(f.proposal.Brands, func(b wire.BrandChoice) bool {
		return b.Brand == "conformance" && b.Purpose == "marketing" && (b.Choice == "refused" || b.Choice == "withdrawn")
	}):
		c.fail("M33", "the proposal does not say no to marketing from conformance: %+v", f.proposal.Brands)
	default:
		c.pass("M33", "base %d, choice %s", f.proposal.Base, f.proposal.Brands[0].Choice)
	}
	return nil
}

func (c *conformance) powerless(ctx context.Context) error {
	p := c.long()
	shown, err := c.show(ctx, &p)
	if err != nil {
		return err
	}
	c.set(func() { c.keep = nil })
	last, ok := c.await(ctx, shown.n+1, c.wait, ends(p.Message))
	if !ok {
		return errors.New("the message did not leave the screen")
	}
	high, conn := c.fence+10, c.current()
	defer c.set(func() { c.fence = high })
	// The answer shows that the fence has arrived. The next connection has a lower one.
	none := c.message().Message
	if err := c.send(ctx, wire.DnMsg, wire.Cancel{Message: none, Fence: high}); err != nil {
		return err
	}
	if _, ok := c.await(ctx, 0, c.wait, about(none)); !ok {
		return errors.New("a cancel was not answered")
	}
	if err := c.hands(ctx, chore{args: []string{"power"}, say: "Cut the device's power for a moment, without switching it off first, and give it back."}); err != nil {
		return err
	}
	if _, ok := c.await(ctx, 0, c.arrive, func(f fact) bool { return f.conn > conn && f.act == didBirth }); !ok {
		return errAway
	}
	if err := c.present(ctx); err != nil {
		return err
	}
	q := c.long()
	q.Epoch = high - 1
	mark, err := c.offer(ctx, &q)
	if err != nil {
		return err
	}
	c.answer(ctx, "M27", mark, q.Message, c.wait, wire.Event{Kind: wire.Declined, Reason: wire.Stale})
	p.Epoch = high
	if mark, err = c.offer(ctx, &p); err != nil {
		return err
	}
	c.answer(ctx, "M29", mark, p.Message, c.wait, wire.Event{Kind: last.event.Kind, Reason: last.event.Reason})
	return nil
}

func (c *conformance) goodbye(ctx context.Context) error {
	mark := c.mark()
	if err := c.hands(ctx, chore{args: []string{"off"}, say: "Switch the device off, as a person does."}); err != nil {
		return err
	}
	f, ok := c.await(ctx, mark, c.wait, func(f fact) bool { return f.act == didBye || f.act == didLeave })
	switch {
	case !ok:
		c.fail("M36", "nothing came, and the connection did not end, within %s", c.wait)
	case f.act == didLeave:
		c.fail("M36", "the connection ended without up/bye")
	default:
		c.pass("M36", "up/bye, reason %s", f.bye.Reason)
	}
	return nil
}

// judge looks over the whole run for what concerns every frame.
func (c *conformance) judge() {
	all := c.seen()
	var seq uint64
	var fresh, births bool
	class := c.class
	told := map[string]time.Time{} // when each attribute was told last, on this connection
	var attributes []string
	var bornAt time.Time
	contexts := 0
	over := func(at time.Time) { // what has grown too old by then
		for name, was := range told {
			a, ok := device.ParseAttribute(name)
			if !ok || class == 0 {
				continue
			}
			ttl := a.TTL(class)
			if age := at.Sub(was); age > ttl+ttl/10 {
				c.fail("M10", "%s was told once and not again for %s; its lifetime is %s", name, age.Round(100*time.Millisecond), ttl)
			}
		}
		if !bornAt.IsZero() && len(attributes) > 0 && len(told) == 0 && contexts == 0 && at.Sub(bornAt) > c.wait {
			c.fail("M8", "no up/ctx came within %s of a birth that lists %d attributes", c.wait, len(attributes))
		}
	}
	subscribed, connectedAt := false, time.Time{}
	unsubscribed := func(at time.Time) {
		if !connectedAt.IsZero() && !subscribed && at.Sub(connectedAt) > c.wait {
			c.fail("M2", "on a connection that stood for %s it did not subscribe to all that it must", at.Sub(connectedAt).Round(time.Millisecond))
		}
	}
	for _, f := range all {
		switch f.act {
		case didConnect:
			fresh, told, contexts, attributes, bornAt = true, map[string]time.Time{}, 0, nil, time.Time{}
			subscribed, connectedAt = false, f.at
		case didSubscribe:
			subscribed = true
			c.pass("M2", "it subscribed")
		case didLeave:
			over(f.at)
			unsubscribed(f.at)
			told, bornAt, connectedAt = map[string]time.Time{}, time.Time{}, time.Time{}
		case wasRefused:
			switch {
			case f.ended: // the subject of a scene
			case f.code == 0x97, f.code == 0x87 && strings.Contains(f.note, string(wire.UpJoin)): // it may be tried
			case strings.HasPrefix(f.note, refusedFilter):
				c.fail("M2", "%s", f.note)
			case strings.HasPrefix(f.note, refusedConnection):
				c.unseen("M1", "%s", f.note)
			case strings.HasPrefix(f.note, refusedFrame) && f.code == 0x83:
				c.fail("M3", "a frame came before up/birth: %s", f.note)
			default:
				c.fail("M7", "%s", f.note)
			}
		}
		switch f.act {
		case didBirth, didContext, didEvent, didPropose, didBye:
			c.pass("M7", "every frame could be read, and no more was tried")
		case didAskKey:
			switch {
			case f.known:
				c.fail("M49", "it asked for a certificate for a key that has had one")
			case f.keyed:
				c.pass("M49", "it asked for certificates for new keys")
			}
			if f.ended {
				continue
			}
		default:
			continue
		}
		if fresh {
			if f.act == didBirth && f.seq == 0 {
				c.pass("M3", "each connection began with up/birth, seq 0")
			} else {
				c.fail("M3", "a connection began with %s, seq %d", f.act, f.seq)
			}
		} else if f.seq <= seq {
			c.fail("M6", "%s had seq %d, after a frame with seq %d", f.act, f.seq, seq)
		} else {
			c.pass("M6", "it grew")
		}
		fresh, seq = false, f.seq
		switch f.act {
		case didBirth:
			births, attributes, bornAt = true, f.birth.Attributes, f.at
			switch {
			case c.class != 0 && f.birth.Class != c.class:
				c.fail("M4", "it is a %s, and its birth says %s", c.class, f.birth.Class)
			case !f.birth.Class.Known():
				c.fail("M4", "its birth names class %d, which is unknown", f.birth.Class)
			case f.birth.Class == device.Car && !slices.Contains(f.birth.Attributes, device.Driving.String()):
				c.fail("M4", "it is a car, and its birth does not list %s", device.Driving)
			default:
				c.pass("M4", "class %s", f.birth.Class)
			}
			if class == 0 {
				class = f.birth.Class
			}
		case didContext:
			contexts++
			over(f.at)
			if births && len(attributes) > 0 {
				c.pass("M8", "a context followed each birth")
			}
			if f.complete {
				for name := range told {
					if _, still := f.values[name]; !still {
						delete(told, name)
					}
				}
			}
			for name, v := range f.values {
				a, ok := device.ParseAttribute(name)
				if !ok || !a.Of(class) {
					continue
				}
				if was, ok := told[name]; ok && f.at.Sub(was) > 0 {
					c.pass("M10", "%s and others were repeated in time, as far as the run lasted", name)
				}
				if v == nil {
					delete(told, name)
				} else {
					told[name] = f.at
				}
				if _, err := a.ValueOf(v); err != nil {
					c.fail("M9", "%v", err)
				} else {
					c.pass("M9", "%s and others", name)
				}
			}
		}
	}
	if !c.away() {
		over(time.Now())
		unsubscribed(time.Now())
	}
	if n, err := c.repetitions(); err == nil && n > 0 {
		c.fail("M6", "%d frames on up/ctx were dropped because their seq was not new", n)
	}
	for _, m := range musts {
		why := m.seen
		if why == "" {
			why = "the run did not come to it"
		}
		c.unseen(m.id, "%s", why)
	}
}

func (c *conformance) away() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.link == nil
}

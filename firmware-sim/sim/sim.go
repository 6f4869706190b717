// Package sim is a home full of simulated devices: televisions, cars, fridges and their kin, each
// with a screen, a person who presses buttons, and firmware that keeps the device contract.
//
// In: a home file, what people do, frames from a gateway over MQTT. Out: frames to the gateway,
// what each screen shows, on request a memory of who the device is. Never: anything about the gateway that does not come over the wire.
package sim

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"porchlight/device"
	"porchlight/device/wire"
)

// Config says which device is simulated and where its gateway is.
type Config struct {
	ID    device.ID // client ID and user name; "": see Enrol
	Token string    // password
	Name  string    // for people; "": the ID, or the class
	Class device.Class
	Model device.Model
	Can   device.Capabilities
	Start []string // actions done before anything else

	Gateway  string         // tcp://, tls://, ws:// or wss://host:port
	Roots    *x509.CertPool // for tls and wss; nil means the system's
	Software string         // version, for the birth
	Memory   string         // file that survives a power cut, with the credentials that the gateway has issued; "" keeps all that until the Device is gone

	// Enrol is how the device gets an identity if it has none: neither ID nor one in its memory.
	// Such a device then trusts the gateway that enrolled it, not Roots. Without Enrol, a device
	// that is erased ends, and one that is refused keeps trying: the no may be a slip.
	Enrol *Enrolment

	// Retry is the pause before the second attempt to connect; it doubles up to MaxRetry, and a
	// part of it is left to chance. 0 means 500 ms and 30 s. Twenty times Retry, 10 s, pass at
	// least between two applications of a device that enrols, and two requests for a new key.
	Retry, MaxRetry time.Duration
	// AckWait is how long an acknowledgement, or the first beacon, may take before the device
	// connects anew; 0: 10 s.
	AckWait time.Duration
	// Notify, if not nil, is told of everything that happens, one after the other, while Run
	// runs. It may call the device.
	Notify func(Event)
	// Now is the device's clock; nil means time.Now.
	Now func() time.Time

	keep func(token string) error // puts a new token where Token came from; nil: there is no such place
}

// patience is how long a device waits before it asks again for what a gateway gives with care.
func (c Config) patience() time.Duration { return 20 * c.Retry }

// Kind is what sort of thing happened.
type Kind string

// The kinds.
const (
	Connected Kind = "connected" // birth was sent
	Ready     Kind = "ready"     // the first beacon has come
	Away      Kind = "away"      // the connection is lost, or could not be made: Why
	Shown     Kind = "shown"     // a message is on the screen
	Waiting   Kind = "waiting"   // a message waits for the screen
	Removed   Kind = "removed"   // a message has left the screen, or the queue: Why
	Refused   Kind = "refused"   // the device will not show a message: Why
	Changed   Kind = "changed"   // a person, or the world, did Why
	Chosen    Kind = "chosen"    // a person made a choice on the device: Why
	Told      Kind = "told"      // a new document of the home's choices has come

	Asked     Kind = "asked"     // a question is on the screen, or has been said
	Unasked   Kind = "unasked"   // a question is not put: Why
	Answered  Kind = "answered"  // a question has gone: Why
	Said      Kind = "said"      // the device speaks: Text, which is not played here
	Explained Kind = "explained" // the answer to a question why: Why, a line each
	Stopping  Kind = "stopping"  // what was taken back here is not released any more: Why
	Stopped   Kind = "stopped"   // and is on no screen any more: Why

	Conflict  Kind = "conflict"  // a choice met another one: Why says what became of it
	Complaint Kind = "complaint" // the gateway found a frame bad: Why
	Trouble   Kind = "trouble"   // something is broken: Why

	Enrolling  Kind = "enrolling"   // the device, which has no identity, asks for one: Why says how far it is
	TurnedAway Kind = "turned away" // it did not get one, and will ask again: Why
	Enrolled   Kind = "enrolled"    // it has one: Why is the ID
	Rekeyed    Kind = "rekeyed"     // something has become of its key: Why
	Erased     Kind = "erased"      // it has forgotten everything, also who it is: Why
	Joining    Kind = "joining"     // somebody wants to join the home, on a device that lets others in: Why
)

// Event is one thing that happened on a device.
type Event struct {
	At      time.Time
	Device  string // its name
	Kind    Kind
	Message device.MessageID // of Shown, Waiting, Removed, Refused, Asked, Unasked, Answered, Explained
	Form    device.Form      // of Shown
	Sender  string
	Title   string
	Text    string
	Why     string
	Unseen  bool   // of Removed: it never was on the screen
	Sound   string // of Shown: "tone" or "voice", which are not played here; "": it is silent
	Dim     bool   // of Shown: it is drawn dark
	Err     error  // of Away and TurnedAway: what Why is about, and tried again after a pause; nil where a person did it, or said no
}

// State is what a device looks like at one moment.
type State struct {
	ID        device.ID // "": it is not enrolled
	Name      string
	Class     device.Class
	Connected bool // birth is sent
	Ready     bool // and a beacon has come
	Births    int  // connections so far
	Screen    Screen
	Values    map[string]any // what it reports as context
	Twin      wire.Twin      // what the home has chosen, as last told
	Fence     uint64
	Owed      int // receipts and proposals that are not acknowledged yet

	Because wire.Because // the last answer to a question why
	Word    wire.Word    // the last about what was taken back here; zero: none

	Code   string      // six digits that a person has to type on a device of the home; "": none
	Window wire.Window // who asks to join, on a device whose window is open
}

// Device is one simulated device. All methods may be called from any goroutine, before, during and
// after Run.
type Device struct {
	cfg Config

	mu      sync.Mutex
	fw      firmware
	link    *link // nil: no connection
	cut     bool  // the cable is out
	changed chan struct{}
	notes   []Event

	due  chan struct{} // cap 1: look at the clock again
	told chan struct{} // cap 1: notes are waiting
	dial chan struct{} // cap 1: the cable is back
}

// New makes a device that is not connected yet. It fails if a start action is impossible, its
// memory cannot be read, or it can neither connect nor enrol.
func New(cfg Config) (*Device, error) {
	if cfg.Retry == 0 {
		cfg.Retry = 500 * time.Millisecond
	}
	if cfg.MaxRetry == 0 {
		cfg.MaxRetry = max(30*time.Second, cfg.Retry)
	}
	if cfg.AckWait == 0 {
		cfg.AckWait = 10 * time.Second
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Name == "" {
		cfg.Name = string(cfg.ID)
	}
	if cfg.Name == "" {
		cfg.Name = cfg.Class.String()
	}
	d := &Device{
		cfg: cfg, changed: make(chan struct{}),
		due: make(chan struct{}, 1), told: make(chan struct{}, 1), dial: make(chan struct{}, 1),
	}
	b, err := readBook(cfg.Memory)
	switch {
	case err != nil:
	case cfg.Enrol != nil:
		err = cfg.Enrol.check(cfg.Gateway)
	case cfg.ID == "" && b.Identity == nil:
		err = errors.New("it has no ID, and no way to enrol")
	}
	if err != nil {
		return nil, fmt.Errorf("simulate %s: %w", cfg.Name, err)
	}
	d.fw = firmware{
		cfg: cfg, book: b, machine: newMachine(cfg.Class), attrs: device.AttributeNames(cfg.Class),
		note: d.note,
	}
	d.fw.boot(cfg.Now())
	for _, name := range cfg.Start {
		if err := d.Do(name); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// Name is the device's name.
func (d *Device) Name() string { return d.cfg.Name }

// ID is the device's name on the wire, "" if it is not enrolled.
func (d *Device) ID() device.ID {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.fw.who().ID
}

// Class is what kind of device it is.
func (d *Device) Class() device.Class { return d.cfg.Class }

// Do carries out one of the [Actions] of the device's class, or [FactoryReset], as a person or the
// world would.
func (d *Device) Do(name string) error {
	if name == FactoryReset {
		return d.Reset()
	}
	return d.with(func(now time.Time) error {
		if err := d.fw.do(now, name); err != nil {
			return fmt.Errorf("%q on %s: %w", name, d.cfg.Name, err)
		}
		return nil
	})
}

// Press presses the button with the given ID of the message on the screen; wish, if not nil, is
// what the person wants of later messages like it.
func (d *Device) Press(button uint, wish *wire.Wish) error {
	return d.with(func(now time.Time) error {
		if err := d.fw.act(now, line{Kind: wire.Responded, Response: &button, Wish: wish}, ""); err != nil {
			return fmt.Errorf("press %d on %s: %w", button, d.cfg.Name, err)
		}
		return nil
	})
}

// Read asks for the rest of a message of which the screen shows only who it is from.
func (d *Device) Read() error {
	return d.with(func(time.Time) error {
		if err := d.fw.unfold(); err != nil {
			return fmt.Errorf("read on %s: %w", d.cfg.Name, err)
		}
		return nil
	})
}

// Dismiss puts the message on the screen away; wish, if not nil, is what the person wants of later
// messages like it.
func (d *Device) Dismiss(wish *wire.Wish) error {
	return d.with(func(now time.Time) error {
		if err := d.fw.act(now, line{Kind: wire.Dismissed, Wish: wish}, "it was dismissed"); err != nil {
			return fmt.Errorf("dismiss on %s: %w", d.cfg.Name, err)
		}
		return nil
	})
}

// Choose proposes to the gateway what a person has chosen on the device: given, refused or
// withdrawn. It counts when the document that the gateway then sends says so.
func (d *Device) Choose(brand device.BrandID, purpose, choice string) error {
	if !slices.Contains(choices, choice) {
		return fmt.Errorf("choose on %s: choice %q is unknown: use one of given, refused, withdrawn", d.cfg.Name, choice)
	}
	if _, err := device.ParseBrandID(string(brand)); err != nil {
		return fmt.Errorf("choose on %s: %w", d.cfg.Name, err)
	}
	return d.propose(fmt.Sprintf("%s for %s: %s", purpose, brand, choice),
		wire.Proposal{Brands: []wire.BrandChoice{{Brand: brand, Purpose: purpose, Choice: choice}}})
}

// ChooseAll proposes the same choice about every brand and purpose that the device lists, all at once: a
// proposal of its own for each would be overtaken by the one before it.
func (d *Device) ChooseAll(choice string) error {
	if !slices.Contains(choices, choice) {
		return fmt.Errorf("choose on %s: choice %q is unknown: use one of given, refused, withdrawn", d.cfg.Name, choice)
	}
	var p wire.Proposal
	for _, b := range d.State().Twin.Doc.Brands {
		p.Brands = append(p.Brands, wire.BrandChoice{Brand: b.Brand, Purpose: b.Purpose, Choice: choice})
	}
	if p.Brands == nil {
		return fmt.Errorf("choose on %s: it lists no brand yet", d.cfg.Name)
	}
	return d.propose("every brand: "+choice, p)
}

// SetQuiet proposes the whole list of quiet times.
func (d *Device) SetQuiet(times ...wire.QuietTime) error {
	return d.propose(fmt.Sprintf("quiet times: %d", len(times)), wire.Proposal{Quiet: &times})
}

// Mute proposes one more mute beside those that the device knows of.
func (d *Device) Mute(m wire.Mute) error {
	mutes := append(slices.Clone(d.State().Twin.Doc.Mutes), m)
	return d.propose("mute "+selected(m.Brand, m.Category, m.Purpose, m.Class), wire.Proposal{Mutes: &mutes})
}

func (d *Device) propose(what string, p wire.Proposal) error {
	if _, err := wire.Encode(p); err != nil {
		return fmt.Errorf("choose on %s: %w", d.cfg.Name, err)
	}
	return d.with(func(now time.Time) error {
		d.fw.note(Event{Kind: Chosen, Why: what})
		d.fw.propose(now, p)
		return nil
	})
}

// Reboot takes the power away and gives it back: the connection ends without a word, the screen and
// the queue are empty, the book is still there.
func (d *Device) Reboot() error {
	return d.with(func(now time.Time) error {
		d.drop()
		d.fw.note(Event{Kind: Away, Why: "power cut"})
		b, err := readBook(d.cfg.Memory)
		if err != nil {
			return fmt.Errorf("reboot %s: %w", d.cfg.Name, err)
		}
		if d.cfg.Memory != "" {
			d.fw.book = b
		}
		for _, h := range d.fw.held {
			d.fw.note(Event{Kind: Removed, Message: h.Message, Sender: h.Sender, Text: h.Text, Why: "power cut", Unseen: h.shown.IsZero()})
		}
		d.fw.boot(now)
		signal(d.dial)
		return nil
	})
}

// FactoryReset is what [Device.Do] does on every class: it is [Device.Reset].
const FactoryReset = "reset"

// Reset makes the device what it was in the factory: its screen is dark, everything is forgotten,
// and the gateway is told if it is connected. The device then enrols anew if it can; else Run ends.
func (d *Device) Reset() error {
	return d.with(func(now time.Time) error {
		connected := d.fw.send != nil
		if err := d.fw.erase(now, "factory reset"); err != nil {
			return fmt.Errorf("reset %s: %w", d.cfg.Name, err)
		}
		if connected {
			d.fw.part("reset")
		} else {
			d.drop()
		}
		signal(d.dial)
		return nil
	})
}

// Unplug pulls the network cable: the device goes on by itself until Plug.
func (d *Device) Unplug() {
	d.with(func(time.Time) error {
		d.cut = true
		d.drop()
		d.fw.note(Event{Kind: Away, Why: "the cable was pulled"})
		return nil
	})
}

// Plug puts the network cable back.
func (d *Device) Plug() {
	d.with(func(time.Time) error {
		d.cut = false
		signal(d.dial)
		return nil
	})
}

// drop ends the connection without a word. The lock is held.
func (d *Device) drop() {
	if d.link != nil {
		d.link.abort(errors.New("the connection was cut"))
		d.link = nil
	}
	d.fw.lost()
}

// Screen is what the device shows now.
func (d *Device) Screen() Screen { return d.State().Screen }

// State is what the device looks like now.
func (d *Device) State() State {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.state()
}

func (d *Device) state() State {
	return State{
		ID: d.fw.who().ID, Code: d.fw.code, Window: d.fw.window, Because: d.fw.because, Word: d.fw.word,
		Name: d.cfg.Name, Class: d.cfg.Class, Connected: d.fw.send != nil, Ready: d.fw.beaconed,
		Births: d.fw.births, Screen: d.fw.screen(d.cfg.Now()), Values: d.fw.machine.snapshot(),
		Twin: d.fw.book.Twin, Fence: d.fw.book.Fence, Owed: len(d.fw.book.Outbox),
	}
}

// Await waits until ok holds of the device's state. It fails with ctx's error, and says what it
// last saw.
func (d *Device) Await(ctx context.Context, ok func(State) bool) error {
	for {
		d.mu.Lock()
		s, changed := d.state(), d.changed
		d.mu.Unlock()
		if ok(s) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("await %s, which is connected=%t ready=%t owed=%d screen=%q: %w",
				d.cfg.Name, s.Connected, s.Ready, s.Owed, s.Screen.Text, ctx.Err())
		}
	}
}

// with runs f with the device locked and lets everything follow that is due.
func (d *Device) with(f func(now time.Time) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.cfg.Now()
	err := f(now)
	d.fw.settle(now)
	close(d.changed)
	d.changed = make(chan struct{})
	signal(d.due)
	return err
}

// note is told of events by the firmware, with the lock held.
func (d *Device) note(e Event) {
	if d.cfg.Notify == nil {
		return
	}
	e.At, e.Device = d.cfg.Now(), d.cfg.Name
	d.notes = append(d.notes, e)
	signal(d.told)
}

// signal makes sure that whoever waits on c, which has room for one, looks again.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

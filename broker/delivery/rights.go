package delivery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/device/twin"
	"porchlight/device/wire"
	"porchlight/policy"
	"porchlight/policy/consent"
)

// What is known about a person or a home can be had as a file, see Export and Import, and be erased for good, see
// Erase. Nothing that is erased lets anything through: who erases a no does not say yes.

// The facts of this, as the journal spells them.
const (
	homeExported      = "home.exported"      // gateway's book: somebody took a copy of what is known
	homeImported      = "home.imported"      // the home's: it came from another gateway, with all that was in its book
	HomePruned        = "home.pruned"        // something before it is about to be erased: this, and what was written in its transaction before it, must outlive that
	homeGone          = "home.gone"          // it is removed, and nothing else of its book is left
	deliveryForgotten = "delivery.forgotten" // messages in force that are not to be shown again, although nothing else is known of them here
)

type exportedFact struct {
	Home   device.HomeID   `json:"home"`
	Person device.PersonID `json:"person,omitempty"`
}

type prunedFact struct {
	Persons int64 `json:"persons"` // the highest number that a person was given
}

type forgottenFact struct {
	Messages []forgottenMessage `json:"messages"`
}

type forgottenMessage struct {
	ID       device.MessageID `json:"id"`
	Brand    device.BrandID   `json:"brand"`
	Purpose  policy.Purpose   `json:"purpose"`
	Category string           `json:"category,omitempty"`
	thread
}

// applyRights projects the facts of this file; mine is false for those of others.
func applyRights(tx *store.Apply, e store.Event) (mine bool, err error) {
	switch e.Kind {
	case homeExported:
		return true, nil
	case homeImported:
		return true, tx.Exec(`UPDATE home SET wishes = ? WHERE id = ?`, e.Pos, e.Home)
	case HomePruned:
		// Devices never take a fence or a document back for an older one, so the version must not fall.
		return true, store.With(e, func(f prunedFact) error {
			return tx.Exec(`UPDATE home SET wishes = ?, persons = max(persons, ?) WHERE id = ?`, e.Pos, f.Persons, e.Home)
		})
	case homeGone:
		return true, tx.Exec(`INSERT INTO home (id, name, zone, removed) VALUES (?, '', 'UTC', 1) ON CONFLICT (id) DO UPDATE SET removed = 1, name = ''`, e.Home)
	case deliveryForgotten:
		return true, store.With(e, func(f forgottenFact) error {
			for _, m := range f.Messages {
				err := tx.Exec(`INSERT INTO delivery (home, message, device, brand, purpose, category, dedupe, journey, step, item, claimed, settled, outcome) VALUES (?, ?, '', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
					ON CONFLICT DO UPDATE SET claimed = excluded.claimed, settled = excluded.settled`,
					e.Home, m.ID[:], m.Brand, m.Purpose, m.Category, m.Dedupe, m.Journey, m.Step, m.Item, e.At, e.At, Removal)
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	return false, nil
}

// Data is one kind of what is known.
type Data string

// The kinds.
const (
	ConsentData    Data = "consent"     // choices, and what became of them
	DeliveryData   Data = "deliveries"  // what was shown, held back and answered
	PreferenceData Data = "preferences" // quiet times, caps, mutes, moments, languages, channels, signals
	LearntData     Data = "learnt"      // what was learnt from what people did with messages
	AskData        Data = "asks"        // what they were asked, and how it was drawn
	ActData        Data = "acts"        // what they have got, and what went wrong with brands
	ContextData    Data = "context"     // what has changed on devices in the last 24 hours; it is in no book
)

// DataKinds are all of them.
var DataKinds = []Data{ConsentData, DeliveryData, PreferenceData, LearntData, AskData, ActData, ContextData}

// Erasure says what is to be erased: one of Person, Brand, Device and Data, or a period, or one of them in a period.
type Erasure struct {
	Home   string         `json:"home"`
	Person string         `json:"person,omitempty"` // by name; by number where nobody goes by that name any more
	Brand  device.BrandID `json:"brand,omitempty"`
	Device string         `json:"device,omitempty"` // by ID, or by name while it is there
	Data   Data           `json:"data,omitempty"`

	// Of a period, what is over goes: who and what belongs to the home, and every choice and preference that
	// stands, stays.
	After  device.Instant `json:"after,omitempty"`  // from then on
	Before device.Instant `json:"before,omitempty"` // before that

	Devices bool `json:"devices,omitempty"` // a person's devices are removed with them
	Try     bool `json:"try,omitempty"`     // erase nothing, say only what would be
}

// Erased says what was erased, or would be.
type Erased struct {
	Events  int         `json:"events"`            // of the home's book as it was: what erasing itself writes, and erases with the rest, does not count
	Removed []device.ID `json:"removed,omitempty"` // devices that are removed with it
}

// ErrOnScreen means that something to be erased did not leave a screen in the time that it has for that.
var ErrOnScreen = errors.New("something of it is still on a screen")

// Erase erases for good, from the home's book, the tables and the files. A person leaves the home and loses their
// keys, a device is removed. What is on a screen is taken off first. It is done when Erase returns nil; if it ends
// before that, nothing is erased, or all is and the next Erase or start cleans the files.
//
// What stands and only mentions what is erased is written anew without it: a no of the home's that was said on that
// device, a preference that lists that brand among others. A message in force that is not known any more to have been
// shown is not shown again.
func (d *Desk) Erase(ctx context.Context, what Erasure) (done Erased, err error) {
	if done, err = d.erase(ctx, what); err != nil {
		return done, fmt.Errorf("erase: %w", err)
	}
	return done, nil
}

func (what Erasure) check() error {
	n := 0
	for _, given := range []bool{what.Person != "", what.Brand != "", what.Device != "", what.Data != ""} {
		if given {
			n++
		}
	}
	switch {
	case n > 1:
		return fmt.Errorf("%w: choose one of a person, a brand, a device and a kind of data", registry.ErrInvalid)
	case n == 0 && what.After == 0 && what.Before == 0:
		return fmt.Errorf("%w: say what: a person, a brand, a device, a kind of data, or a period", registry.ErrInvalid)
	case what.After < 0 || what.Before < 0 || what.Before != 0 && what.After >= what.Before:
		return fmt.Errorf("%w: the period ends before it begins", registry.ErrInvalid)
	case what.Data != "" && !slices.Contains(DataKinds, what.Data):
		return fmt.Errorf("%w: data %.40q is none: use one of %s", registry.ErrInvalid, what.Data, strings.Trim(strings.ReplaceAll(fmt.Sprint(DataKinds), " ", ", "), "[]"))
	case what.Brand != "":
		if _, err := device.ParseBrandID(string(what.Brand)); err != nil {
			return err
		}
	}
	return nil
}

func (d *Desk) erase(ctx context.Context, what Erasure) (done Erased, err error) {
	if err := what.check(); err != nil {
		return done, err
	}
	id, err := d.homeID(ctx, what.Home)
	if err != nil {
		return done, err
	}
	var t target
	var b pages
	err = d.db.View(ctx, func(tx *store.Tx) error {
		if b, err = readPages(tx, id); err != nil {
			return err
		}
		if t, err = b.target(what); err == nil && t.brand != "" && !b.tells(t.brand) {
			_, err = registry.BrandByID(tx, t.brand)
		}
		return err
	})
	if err != nil {
		return done, err
	}
	for dev := range t.devices {
		if slices.ContainsFunc(b.devices, func(is device.Device) bool { return is.ID == dev }) {
			done.Removed = append(done.Removed, dev)
		}
	}
	slices.Sort(done.Removed)
	if t.period() {
		done.Removed = nil
	}
	if what.Person != "" && len(done.Removed) > 0 && !what.Devices {
		var theirs []string
		for _, dev := range b.devices {
			if slices.Contains(done.Removed, dev.ID) {
				theirs = append(theirs, fmt.Sprintf("%s (%s)", dev.Name, dev.ID))
			}
		}
		return Erased{}, fmt.Errorf("person %.40q: %w as the owner of %s: give it to somebody else first (porchlight device set), or have it removed, too: --devices", what.Person, registry.ErrInUse, strings.Join(theirs, ", "))
	}
	last := b.last()
	if what.Try {
		done.Events, err = d.would(&b, t, done.Removed)
		return done, err
	}
	for _, dev := range done.Removed {
		if err := d.removeDevice(ctx, dev, registry.ByOperator); err != nil && !errors.Is(err, registry.ErrUnknown) {
			return Erased{}, err
		}
	}
	if done.Events, err = d.clear(ctx, id, t, last); err == nil {
		err = d.forgetTold(id, t)
	}
	return done, err
}

// would counts the events up to last that would be erased, by doing all but that in a unit that is undone: what is
// written anew decides what of the rest can go.
func (d *Desk) would(was *pages, t target, devices []device.ID) (n int, err error) {
	tried := errors.New("it was only tried")
	err = d.update(func(tx *store.Tx) error {
		b := was.clone() // others wait: what was read before is not read again
		for _, dev := range devices {
			if err := registry.RemoveDevice(tx, dev, registry.ByOperator); err != nil && !errors.Is(err, registry.ErrUnknown) {
				return err
			}
		}
		if err := b.read(tx); err != nil {
			return err
		}
		if n = 0; len(b.plan(t)) > 0 {
			if err := b.renew(tx, t); err != nil {
				return err
			}
			if err := b.read(tx); err != nil {
				return err
			}
			n = upTo(was.last(), b.plan(t))
		}
		return tried
	})
	if errors.Is(err, tried) {
		err = nil
	}
	return n, err
}

// upTo counts the positions up to last.
func upTo(last int64, positions map[int64]bool) (n int) {
	for pos := range positions {
		if pos <= last {
			n++
		}
	}
	return n
}

// clear takes what is to be erased off the screens, and erases it. n is how many events up to last that were.
func (d *Desk) clear(ctx context.Context, id device.HomeID, t target, last int64) (n int, err error) {
	shown := errors.New("still shown")
	patience := time.NewTimer(2*d.o.AckWait + time.Minute + d.o.Allowance) // so long a question can stand, and a message no longer
	defer patience.Stop()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	var concerns func(*delivery) (bool, policy.Selector) // as the book was when we looked first
	var called time.Time                                 // when a question was last called back
	for {
		err := d.in(id, func(h *home) error {
			if err := d.readAsks(h); err != nil {
				return err
			}
			if concerns != nil && d.hush(h, concerns) {
				return shown
			}
			// The book may have grown, by a claim of which nobody could tell then.
			b, err := d.pages(ctx, id)
			if err != nil {
				return err
			}
			if concerns = b.mayBe(t); d.hush(h, concerns) || d.hushAsk(h, t, &called) {
				return shown
			}
			if b, err = d.pages(ctx, id); err != nil { // with the ends of what was hushed
				return err
			}
			n, err = d.eraseNow(ctx, h, &b, t, last)
			return err
		})
		if !errors.Is(err, shown) {
			return n, err
		}
		select {
		case <-again.C:
		case <-patience.C:
			err = ErrOnScreen
		case <-ctx.Done():
			err = ctx.Err()
		}
		if !errors.Is(err, shown) {
			h := d.home(id)
			h.mu.Lock()
			h.loaded = false // what is hushed may be shown again
			h.mu.Unlock()
			d.queue.put(h)
			return 0, err
		}
	}
}

// hush has everything that is concerned leave the screens, and nothing like it come instead. It reports whether some
// is there. The caller holds h.mu.
func (d *Desk) hush(h *home, concerns func(*delivery) (bool, policy.Selector)) (there bool) {
	for _, dl := range h.open {
		if ok, like := concerns(dl); ok {
			rule := policy.MuteRule{Selector: like, Implied: true}
			if !slices.Contains(h.view.Mutes, rule) {
				h.view.Mutes = append(slices.Clip(h.view.Mutes), rule)
			}
			h.all = true
		}
	}
	d.converge(h)
	return slices.ContainsFunc(h.open, func(dl *delivery) bool { ok, _ := concerns(dl); return ok })
}

// hushAsk takes a question that is concerned off its screen, and reports whether one is there. The caller holds h.mu.
func (d *Desk) hushAsk(h *home, t target, called *time.Time) (there bool) {
	k := h.asks.open
	if k == nil || t.period() {
		return false
	}
	m := mention{data: t.data, people: []device.PersonID{k.subject}, devices: []device.ID{k.device}, brands: []device.BrandID{k.offer.brand}}
	if t.data != "" && t.data != AskData && t.data != ConsentData || !t.hits(&m) {
		return false
	}
	s := h.screens[k.device]
	if !k.handed || s == nil {
		if _, err := d.reply(h, consent.Reply{Ask: k.id, Device: k.device, Why: consent.ByDevice}, nil); err != nil {
			d.log.Error("ask cannot be ended", "home", h.id, "err", err)
		}
	} else if se := s.session; s.ready() && se.flight == nil && time.Since(*called) > d.o.Lease && d.send(s, wire.DnMsg, wire.Cancel{Message: k.id, Fence: uint64(h.wishes)}, 1, 0) {
		*called, se.flight = time.Now(), &flight{since: time.Now(), twin: se.twin}
	}
	return h.asks.open != nil
}

// eraseNow writes anew what stands, and erases. Nothing that is concerned is on a screen. The caller holds h.mu.
func (d *Desk) eraseNow(ctx context.Context, h *home, b *pages, t target, last int64) (int, error) {
	if len(b.plan(t)) == 0 {
		return 0, nil
	}
	defer func() {
		h.loaded, h.asks.read = false, false
		d.ends.Store(0)
		if err := d.load(h); err != nil {
			d.log.Error("home cannot be read", "home", h.id, "err", err)
			d.queue.put(h)
			return
		}
		d.converge(h) // HomePruned made a new version of what devices are shown
	}()
	var people []device.PersonID
	if t.person != device.Household && !t.period() {
		people = []device.PersonID{t.person}
	}
	err := d.update(func(tx *store.Tx) error { return b.renew(tx, t) })
	if err != nil {
		return 0, err
	}
	now, err := d.pages(ctx, h.id)
	if err != nil {
		return 0, err
	}
	positions := now.plan(t)
	for _, p := range now.all[len(b.all):] {
		if p.kind == deliveryForgotten {
			delete(positions, p.pos) // it was written just now, in place of what goes
		}
	}
	_, err = d.db.Erase(ctx, d.actor, h.id, func(e store.Event) bool { return positions[e.Pos] }, people, "asked for: "+t.what)
	return upTo(last, positions), err
}

func (d *Desk) pages(ctx context.Context, home device.HomeID) (b pages, err error) {
	err = d.db.View(ctx, func(tx *store.Tx) (err error) { b, err = readPages(tx, home); return err })
	return b, err
}

// eraseHome erases all that was ever said in the book of a home that is removed. What is left are the leaves of its
// log and its number.
func (d *Desk) eraseHome(ctx context.Context, id device.HomeID) error {
	var people []device.PersonID
	gone := false
	err := d.db.Events(ctx, id, 0, func(e store.Event) error {
		if e.Subject != device.Household && !slices.Contains(people, e.Subject) {
			people = append(people, e.Subject)
		}
		gone = gone || e.Kind == homeGone
		return nil
	})
	if err == nil && !gone {
		err = d.update(func(tx *store.Tx) error { _, err := tx.Add(id, homeGone, struct{}{}); return err })
	}
	if err == nil {
		_, err = d.db.Erase(ctx, d.actor, id, func(e store.Event) bool { return e.Kind != homeGone && e.Kind != store.KindErased }, people, "the home is removed")
	}
	if err != nil {
		return fmt.Errorf("erase removed home: %w", err)
	}
	return nil
}

// pages are a home's book as far as erasing needs it: what each event tells something of.
type pages struct {
	names
	home    device.HomeID
	all     []page
	owner   map[device.ID]device.PersonID // of each device that there is or was, the last
	called  map[device.PersonID][]string  // whoever lives or lived there
	choices []consent.Entry               // that stand
	prefs   map[string]twin.Preference
	persons int64
	acts    map[int64]standing // what still counts of what people did, by position
	force   []forgottenMessage // messages in force of which something was on a screen
	seen    map[device.MessageID][]device.ID
}

// last is the position of the newest event.
func (b *pages) last() int64 {
	if len(b.all) == 0 {
		return 0
	}
	return b.all[len(b.all)-1].pos
}

// page is one event.
type page struct {
	pos  int64
	at   device.Instant
	kind string
	mention
}

// mention is what an event tells something of.
type mention struct {
	data      Data // "": none of them
	frame     bool // who and what belongs to the home
	kept      bool // it is never erased but with the home
	people    []device.PersonID
	guardians []device.PersonID
	devices   []device.ID
	brands    []device.BrandID
	owner     device.PersonID // of device.added and device.changed

	group  group            // events that go together
	begins bool             // the group
	ends   bool             // the group is over with it
	answer device.MessageID // the ask that a choice answers
	key    policy.ConsentKey
	binds  bool // it is a choice, or the end of one, about key
	pref   string
	epochs []int64
}

// group is one message on one screen, or one ask.
type group struct {
	id     device.MessageID
	device device.ID // "": an ask
}

// traits are the fields by which facts tell what they are about.
type traits struct {
	ID        json.RawMessage    `json:"id"`
	Device    device.ID          `json:"device"`
	Peer      device.ID          `json:"peer"`
	Owner     device.PersonID    `json:"owner"`
	Subject   device.PersonID    `json:"subject"`
	By        device.PersonID    `json:"by"`
	Guardians []device.PersonID  `json:"guardians"`
	Who       []device.PersonID  `json:"who"`
	Brand     device.BrandID     `json:"brand"`
	Purpose   policy.Purpose     `json:"purpose"`
	Message   device.MessageID   `json:"message"`
	Messages  []forgottenMessage `json:"messages"`
	Served    device.MessageID   `json:"served"`
	Name      string             `json:"name"`
	Body      json.RawMessage    `json:"body"`
	Epochs    []int64            `json:"epochs"`
	Decision  Record             `json:"decision"`
	Inputs    struct {
		Told map[device.ID]map[string]struct {
			Value any `json:"v"`
		} `json:"told"`
	} `json:"inputs"`
}

// mentions says what e tells something of, and what it calls a person, if it names one.
func mentions(e store.Event) (m mention, err error) {
	if e.Erased || e.Kind == store.KindErased {
		return mention{kept: true}, nil
	}
	err = store.With(e, func(f traits) error {
		noun, verb, _ := strings.Cut(e.Kind, ".")
		dev := func(ids ...device.ID) {
			for _, id := range ids {
				if id != "" && !slices.Contains(m.devices, id) {
					m.devices = append(m.devices, id)
				}
			}
		}
		who := func(ids ...device.PersonID) {
			for _, id := range ids {
				if id != device.Household && !slices.Contains(m.people, id) {
					m.people = append(m.people, id)
				}
			}
		}
		brand := func(id device.BrandID) {
			if id != "" && !slices.Contains(m.brands, id) {
				m.brands = append(m.brands, id)
			}
		}
		brand(f.Brand)
		switch noun {
		case "home", "room":
			m.frame, m.kept = true, true
		case "person":
			var id device.PersonID
			if err := json.Unmarshal(f.ID, &id); err != nil {
				return fmt.Errorf("event %d, %s: %w", e.Pos, e.Kind, err)
			}
			who(id)
			m.frame, m.guardians = true, f.Guardians
		case "device":
			var id device.ID
			if err := json.Unmarshal(f.ID, &id); err != nil {
				return fmt.Errorf("event %d, %s: %w", e.Pos, e.Kind, err)
			}
			dev(id)
			m.frame, m.owner = verb != "told", f.Owner
		case "credential":
			dev(f.Device)
			m.frame = true
		case "consent":
			who(f.Subject, f.By)
			dev(f.Device)
			m.data, m.key = ConsentData, policy.ConsentKey{Subject: f.Subject, Brand: f.Brand, Purpose: f.Purpose}
			switch consent.State(verb) {
			case consent.Requested:
				m.data, m.begins = AskData, true
				if err := json.Unmarshal(f.ID, &m.group.id); err != nil {
					return fmt.Errorf("event %d, %s: %w", e.Pos, e.Kind, err)
				}
			case consent.Drawn, consent.Deferred:
				m.data, m.group.id, m.ends = AskData, f.Served, consent.State(verb) == consent.Deferred
			default:
				m.binds, m.answer = consent.Binds(e.Kind), f.Served
			}
		case "preference":
			m.data, m.pref = PreferenceData, f.Name
			if verb == "noticed" || f.Name == twin.Forgotten {
				m.data = LearntData
			}
			dev(f.Device)
			var listed []struct {
				Owner  device.PersonID
				Brand  device.BrandID
				Device device.ID
			}
			switch f.Name {
			case twin.Mutes, twin.Caps, twin.Quiet, twin.Signals, twin.Channels:
				if err := json.Unmarshal(f.Body, &listed); err != nil {
					return fmt.Errorf("event %d, %s %s: %w", e.Pos, e.Kind, f.Name, err)
				}
			case twin.Forgotten:
				var at map[device.BrandID]device.Instant
				if err := json.Unmarshal(f.Body, &at); err != nil {
					return fmt.Errorf("event %d, %s %s: %w", e.Pos, e.Kind, f.Name, err)
				}
				m.brands = slices.AppendSeq(m.brands, maps.Keys(at))
			}
			for _, one := range listed {
				who(one.Owner)
				brand(one.Brand)
				dev(one.Device)
			}
		case "delivery":
			m.data = DeliveryData
			who(f.Who...)
			for _, c := range f.Decision.Because {
				who(c.Person)
				dev(c.Device)
				brand(c.Brand)
			}
			for id, all := range f.Inputs.Told {
				dev(id)
				text, _ := all[device.PresenceWho.String()].Value.(string)
				for _, one := range strings.Fields(text) {
					one, _, _ = strings.Cut(one, "@")
					if n, err := strconv.ParseInt(one, 10, 32); err == nil {
						who(device.PersonID(n))
					}
				}
			}
			for _, one := range f.Messages {
				brand(one.Brand)
			}
			if dev(f.Device); e.Kind != deliveryForgotten {
				m.group = group{f.Message, f.Device}
			}
			m.begins, m.ends = e.Kind == deliveryClaimed || e.Kind == deliveryHeld, e.Kind == deliverySettled || e.Kind == deliveryHeld
		case "item", "complaint":
			m.data = ActData
			dev(f.Device)
		case "withdrawal":
			m.data, m.epochs = ConsentData, f.Epochs
		case "door":
			dev(f.Peer)
		}
		if by, ok := strings.CutPrefix(string(e.Actor), "device "); ok && !m.frame {
			id, _, _ := strings.Cut(by, " ")
			dev(device.ID(id))
		}
		return nil
	})
	return m, err
}

// readPages reads a home's book and what stands of it.
func readPages(tx *store.Tx, home device.HomeID) (b pages, err error) {
	b = pages{home: home, all: []page{}, owner: map[device.ID]device.PersonID{}, called: map[device.PersonID][]string{}}
	return b, b.read(tx)
}

// clone is b, to be read on.
func (b *pages) clone() *pages {
	c := *b
	c.all, c.owner, c.called = slices.Clip(b.all), maps.Clone(b.owner), maps.Clone(b.called)
	for id, names := range c.called {
		c.called[id] = slices.Clip(names)
	}
	return &c
}

// read reads what has been written since, and what stands now.
func (b *pages) read(tx *store.Tx) error {
	const some = 256
	for {
		events, err := tx.Events(b.home, b.last(), some)
		if err != nil {
			return err
		}
		for _, e := range events {
			if err := b.add(e); err != nil {
				return err
			}
		}
		if len(events) < some {
			break
		}
	}
	return b.stand(tx)
}

// add takes in one more event.
func (b *pages) add(e store.Event) error {
	m, err := mentions(e)
	if err != nil {
		return err
	}
	b.all = append(b.all, page{e.Pos, e.At, e.Kind, m})
	switch {
	case e.Erased:
	case e.Kind == "device.added", e.Kind == "device.changed":
		b.owner[m.devices[0]] = m.owner
	case e.Kind == "person.added", e.Kind == "person.changed":
		return store.With(e, func(p registry.Person) error { b.called[p.ID] = append(b.called[p.ID], p.Name); return nil })
	}
	return nil
}

// stand reads what stands.
func (b *pages) stand(tx *store.Tx) (err error) {
	if b.names, err = readNames(tx, b.home); err != nil {
		return err
	}
	if b.choices, err = consent.List(tx, b.home); err != nil {
		return err
	}
	if b.prefs, err = twin.Preferences(tx, b.home); err != nil {
		return err
	}
	if err = tx.QueryRow(`SELECT persons FROM home WHERE id = ?`, b.home).Scan(&b.persons); err != nil {
		return err
	}
	if b.acts, err = standingActs(tx, b.home); err != nil {
		return err
	}
	b.force, b.seen = nil, map[device.MessageID][]device.ID{}
	_, err = store.List(tx, func(scan func(...any) error) (none struct{}, err error) {
		var id []byte
		var m forgottenMessage
		var dev device.ID
		if err = scan(&id, &dev, &m.Brand, &m.Purpose, &m.Category, &m.Dedupe, &m.Journey, &m.Step, &m.Item); err != nil {
			return
		}
		copy(m.ID[:], id)
		if b.seen[m.ID] == nil {
			b.force = append(b.force, m)
		}
		b.seen[m.ID] = append(b.seen[m.ID], dev)
		return
	}, `SELECT d.message, d.device, d.brand, d.purpose, d.category, d.dedupe, d.journey, d.step, d.item FROM delivery d JOIN message m ON m.id = d.message
		WHERE d.home = ? AND d.counts = 1 AND m.withdrawn = 0 AND m.not_after > `+notLater+` ORDER BY m.seq, d.device`, b.home, tx.Now)
	return err
}

// target is what is to be erased, by numbers.
type target struct {
	what          string // in words that name nobody
	person        device.PersonID
	devices       map[device.ID]bool // the one, or those that are or were the person's
	brand         device.BrandID
	data          Data
	after, before device.Instant
}

// period reports whether t is about a period alone.
func (t *target) period() bool { return t.after != 0 || t.before != 0 }

// during reports whether t is about what was then.
func (t *target) during(at device.Instant) bool {
	return at >= t.after && (t.before == 0 || at < t.before)
}

// target finds what is meant. It fails with registry.ErrUnknown.
func (b *pages) target(what Erasure) (t target, err error) {
	t = target{devices: map[device.ID]bool{}, brand: what.Brand, data: what.Data, after: what.After, before: what.Before}
	switch {
	case what.Person != "":
		t.what = "a person"
		if t.person, err = b.somebody(what.Person); err != nil {
			return t, err
		}
		for id, owner := range b.owner {
			if owner == t.person {
				t.devices[id] = true
			}
		}
	case what.Device != "":
		t.what = "a device"
		id := device.ID(what.Device)
		for _, d := range b.devices {
			if d.Name == what.Device {
				id = d.ID
			}
		}
		if _, ok := b.owner[id]; !ok {
			return t, &registry.UnknownError{What: "device", Name: what.Device, Home: b.home}
		}
		t.devices[id] = true
	case what.Brand != "":
		t.what = "a brand"
	case what.Data != "":
		t.what = string(what.Data)
	}
	if t.period() {
		t.what = strings.TrimSpace(t.what + " in a period")
	}
	return t, nil
}

// tells reports whether something in the book is about a brand.
func (b *pages) tells(brand device.BrandID) bool {
	return slices.ContainsFunc(b.all, func(p page) bool { return slices.Contains(p.brands, brand) })
}

// somebody finds who lives in the home, or once did.
func (b *pages) somebody(name string) (device.PersonID, error) {
	for _, p := range b.people {
		if p.Name == name {
			return p.ID, nil
		}
	}
	var was []device.PersonID
	for id, names := range b.called {
		if slices.Contains(names, name) {
			was = append(was, id)
		}
	}
	slices.Sort(was)
	switch len(was) {
	case 1:
		return was[0], nil
	case 0:
		if n, err := strconv.ParseInt(name, 10, 32); err == nil && b.called[device.PersonID(n)] != nil {
			return device.PersonID(n), nil
		}
		return 0, &registry.UnknownError{What: "person", Name: name, Home: b.home}
	}
	return 0, fmt.Errorf("person %.40q: %w: several had that name: give the number of one, %v", name, registry.ErrInvalid, was)
}

// hits reports whether m tells something of what t is about. Who and what belongs to the home is left out.
func (t *target) hits(m *mention) bool {
	switch {
	case t.person != device.Household:
		return slices.Contains(m.people, t.person) || slices.ContainsFunc(m.devices, func(id device.ID) bool { return t.devices[id] })
	case len(t.devices) > 0:
		return slices.ContainsFunc(m.devices, func(id device.ID) bool { return t.devices[id] })
	case t.brand != "":
		return slices.Contains(m.brands, t.brand)
	case t.data != "":
		return m.data == t.data
	}
	return true
}

// plan lists the positions of what is to be erased.
func (b *pages) plan(t target) map[int64]bool {
	hit := map[int64]bool{}
	choice := map[policy.ConsentKey]int64{} // what was said last
	pref := map[string]int64{}
	person, place := map[device.PersonID]int64{}, map[device.ID]int64{}
	type state struct {
		began     device.Instant
		open, hit bool
	}
	groups := map[group]*state{}
	for i := range b.all {
		p := &b.all[i]
		switch {
		case p.binds:
			choice[p.key] = p.pos
		case p.pref != "":
			pref[p.pref] = p.pos
		case p.frame && len(p.people) > 0:
			person[p.people[0]] = p.pos
		case p.kind == "device.changed":
			place[p.devices[0]] = p.pos
		}
		if g := p.group; g != (group{}) {
			if groups[g] == nil {
				groups[g] = &state{began: p.at}
			}
			groups[g].open = !p.ends && (p.begins || groups[g].open)
			groups[g].hit = groups[g].hit || t.hits(&p.mention)
		}
		if p.answer != (device.MessageID{}) && groups[group{id: p.answer}] != nil {
			groups[group{id: p.answer}].open = false
		}
	}
	whole := map[policy.ConsentKey]bool{} // nothing is left of what was said about it
	wrong := map[device.BrandID]bool{}    // what stays says that something is wrong with the brand
	for i := range b.all {
		p := &b.all[i]
		switch {
		case p.kept, p.group != (group{}):
		case p.frame:
			hit[p.pos] = !t.period() && t.framed(p, person, place)
		case t.period() && (!t.during(p.at) || p.kind == deliveryForgotten || b.acts[p.pos].kind != "" || p.binds && choice[p.key] == p.pos || p.pref != "" && pref[p.pref] == p.pos):
		case t.data != "" && p.pref != "" && pref[p.pref] == p.pos && (p.pref == twin.Frozen || p.pref == twin.Forgotten):
		case t.hits(&p.mention):
			if hit[p.pos] = true; p.binds && choice[p.key] == p.pos {
				whole[p.key] = true
			}
		}
		switch {
		case p.kept, len(p.brands) == 0:
		case p.kind == complaintMade:
			wrong[p.brands[0]] = wrong[p.brands[0]] || !hit[p.pos]
		case p.kind == complaintResolved:
			hit[p.pos] = hit[p.pos] && !wrong[p.brands[0]] // else it would be wrong again
			wrong[p.brands[0]] = false
		}
	}
	for i := range b.all {
		p := &b.all[i]
		if p.binds && whole[p.key] {
			hit[p.pos] = true
		}
		if g := groups[group{id: p.answer}]; p.answer != (device.MessageID{}) && hit[p.pos] && g != nil {
			g.hit = true // an ask without its answer would be open again
			g.open, g.began = false, p.at
		}
	}
	for i := range b.all {
		p := &b.all[i]
		if g := groups[p.group]; p.group != (group{}) && g.hit && (!t.period() || !g.open && t.during(g.began)) {
			hit[p.pos] = true
		}
		if slices.ContainsFunc(p.epochs, func(epoch int64) bool { return hit[epoch] }) {
			hit[p.pos] = true
		}
	}
	maps.DeleteFunc(hit, func(_ int64, yes bool) bool { return !yes })
	return hit
}

// framed reports whether an event about who and what belongs to the home is to be erased: all that is about the
// person and the devices themselves, and of others, what was said anew since without them.
func (t *target) framed(p *page, person map[device.PersonID]int64, place map[device.ID]int64) bool {
	switch {
	case len(p.people) > 0:
		return t.person != device.Household && (p.people[0] == t.person || slices.Contains(p.guardians, t.person) && person[p.people[0]] > p.pos)
	case len(p.devices) > 0:
		return t.devices[p.devices[0]] || t.person != device.Household && p.kind == "device.changed" && p.owner == t.person && place[p.devices[0]] > p.pos
	}
	return false
}

// mayBe reports of an open delivery whether it is among what is to be erased, and what must not come instead.
func (b *pages) mayBe(t target) func(*delivery) (bool, policy.Selector) {
	hit := b.plan(t)
	pairs := map[group]bool{}
	for i := range b.all {
		if p := &b.all[i]; hit[p.pos] && p.data == DeliveryData {
			pairs[p.group] = true
		}
	}
	return func(dl *delivery) (bool, policy.Selector) {
		same := policy.Selector{Brand: dl.brand, Purpose: dl.purpose, Category: dl.category, Device: dl.device}
		switch {
		case t.period():
			return false, same // what is on a screen is not over
		case t.data == ConsentData || t.data == DeliveryData:
			return true, policy.Selector{}
		case t.brand != "" && dl.brand == t.brand:
			return true, policy.Selector{Brand: t.brand}
		}
		m := mention{people: dl.who, devices: []device.ID{dl.device}}
		return pairs[group{dl.id, dl.device}] || (t.person != device.Household || len(t.devices) > 0) && t.hits(&m), same
	}
}

// renew writes down what stands and would be erased only because it mentions what is, without that. It must be
// followed by the erasure.
func (b *pages) renew(tx *store.Tx, t target) error {
	add := func(kind string, body any) error { _, err := tx.Add(b.home, kind, body); return err }
	hit := b.plan(t)
	if !t.period() && t.data == "" {
		if err := b.renewWishes(tx, t, hit); err != nil {
			return err
		}
		for _, e := range b.choices {
			yes := e.Choice == policy.Given
			if !hit[e.Pos] || e.Brand == t.brand || t.person != device.Household && (yes || e.Subject == t.person) {
				continue // a yes that nobody is known to have said is none
			}
			if e.Device, e.Served = "", (device.MessageID{}); t.person != device.Household {
				e.By = device.Household
			}
			if e.State == consent.Renewed {
				e.State = consent.Given
			}
			if err := add("consent."+string(e.State), e); err != nil {
				return err
			}
		}
		for _, pos := range slices.Sorted(maps.Keys(b.acts)) {
			if s := b.acts[pos]; hit[pos] && (t.brand == "" || s.brand != t.brand) {
				if err := add(s.kind, s.fact); err != nil {
					return err
				}
			}
		}
	}
	if t.data == LearntData && !t.period() {
		forgotten := map[device.BrandID]device.Instant{}
		for i := range b.all {
			for _, brand := range b.all[i].brands {
				forgotten[brand] = tx.Now
			}
		}
		if err := renewPreference(tx, b.home, twin.Forgotten, forgotten); err != nil {
			return err
		}
	}
	if f := b.forgotten(t, hit); len(f.Messages) > 0 {
		if err := add(deliveryForgotten, f); err != nil {
			return err
		}
	}
	if t.person != device.Household && !t.period() {
		for _, p := range b.people {
			if p.ID != t.person && slices.Contains(p.Guardians, t.person) {
				p.Guardians = slices.DeleteFunc(slices.Clone(p.Guardians), func(id device.PersonID) bool { return id == t.person })
				if err := registry.ChangePerson(tx, b.home, p); err != nil {
					return err
				}
			}
		}
		if _, here := b.nameOf(t.person); here {
			if err := registry.RemovePerson(tx, b.home, t.person); err != nil {
				return err
			}
		}
	}
	return add(HomePruned, prunedFact{b.persons})
}

// forgotten are the messages in force of which nobody will know any more that they were shown.
func (b *pages) forgotten(t target, hit map[int64]bool) (f forgottenFact) {
	gone := map[group]bool{}
	again := false // what was forgotten before is
	for i := range b.all {
		if p := &b.all[i]; hit[p.pos] && p.data == DeliveryData {
			gone[p.group] = true
			again = again || p.kind == deliveryForgotten
		}
	}
	for _, m := range b.force {
		if (m.Brand != t.brand || t.period()) && slices.ContainsFunc(b.seen[m.ID], func(dev device.ID) bool { return gone[group{m.ID, dev}] || again && dev == "" }) {
			f.Messages = append(f.Messages, m)
		}
	}
	return f
}

// renewWishes writes down the preferences that stand without what is to be erased.
func (b *pages) renewWishes(tx *store.Tx, t target, hit map[int64]bool) error {
	drop := func(owner device.PersonID, s policy.Selector) bool {
		return t.person != device.Household && owner == t.person || t.devices[s.Device] || t.brand != "" && s.Brand == t.brand
	}
	for _, name := range twin.Names {
		p, set := b.prefs[name]
		if !set || !hit[p.Pos] {
			continue
		}
		var body any = json.RawMessage(p.Body)
		var err error
		switch name {
		case twin.Mutes:
			body, err = without(p.Body, func(r policy.MuteRule) bool { return drop(r.Owner, r.Selector) })
		case twin.Caps:
			body, err = without(p.Body, func(r policy.Cap) bool { return drop(r.Owner, r.Selector) })
		case twin.Quiet:
			body, err = without(p.Body, func(r policy.Quiet) bool { return drop(r.Owner, policy.Selector{}) })
		case twin.Channels:
			body, err = without(p.Body, func(c policy.Channel) bool { return drop(c.Owner, policy.Selector{}) })
		case twin.Signals:
			body, err = without(p.Body, func(s heardSignal) bool { return t.devices[s.Device] })
		case twin.Forgotten:
			var at map[device.BrandID]device.Instant
			if err = json.Unmarshal(p.Body, &at); err == nil {
				delete(at, t.brand)
				body = at
			}
		}
		if err == nil {
			err = renewPreference(tx, b.home, name, body)
		}
		if err != nil {
			return fmt.Errorf("preference %s: %w", name, err)
		}
	}
	return nil
}

// without is a list in JSON without what is to be dropped.
func without[T any](body []byte, drop func(T) bool) ([]T, error) {
	all := []T{}
	err := json.Unmarshal(body, &all)
	return slices.DeleteFunc(all, drop), err
}

// renewPreference writes a preference down, also if it says what is in force already.
func renewPreference(tx *store.Tx, home device.HomeID, name string, body any) error {
	_, err := tx.Add(home, "preference.set", struct {
		Name string `json:"name"`
		Body any    `json:"body"`
	}{name, body})
	return err
}

package delivery

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"
	"golang.org/x/time/rate"

	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/device/twin"
	"porchlight/policy"
	"porchlight/policy/consent"
)

// home is one home in memory: what its tables say, and what its devices last told. One lock
// holds consent, context, caps and deliveries together, and every frame to its devices is handed
// over under it.
type home struct {
	id device.HomeID

	mu        sync.Mutex
	gone      bool        // it has left memory: ask the Desk for it anew
	loaded    bool        // the fields below agree with the tables
	read      time.Time   // when they last were read
	left      time.Time   // when its last device's connection ended; zero: none has been connected since it came into memory
	stale     atomic.Bool // messages, choices or screens have changed: pair anew; set without the lock
	all       bool        // judge every pair anew
	view      policy.Home
	wishes    int64 // journal position of the last choice or preference
	book      int64 // position in the gateway's book when this was read, at readAt
	readAt    device.Instant
	asOf      device.Instant // when what is too long ago to count was last left out
	zone      string
	people    []registry.Person
	rooms     []registry.Room
	deeds     []deed   // what its people did with what they were shown, the oldest first
	learnt    []learnt // what was learnt of them, by brand
	taste     policy.Taste
	tasted    device.Instant // the hour as of which taste is; 0: it is to be made anew
	hush      device.Instant // when what gave way to silence is weighed again; 0: nothing did
	forgotten forgetting     // what was learnt before is not used
	screens   map[device.ID]*screen
	alarms    map[device.ID]bool // devices that last said that their alarm is on, and whether that is written down
	open      []*delivery        // claimed and not settled, the oldest first
	pairs     []*pair            // what may be shown where, in the order of acceptance
	pending   pending            // the same, filed under what they wait for
	offers    []offer            // to which somebody here has said yes
	jumps     int64              // clock jumps seen
	asks      asks               // what its people are being asked
	heldBack  []heldFact         // what was not shown and is over, to be written down
	stopping  []*withdrawal      // what somebody said no to, and is not off every screen yet
	rests     rests              // what is not shown again yet

	news   time.Time // when a device first told what has changed something since the last turn; zero: none has
	census census    // as it was last counted

	mono func() time.Time // the Desk's

	// guarded by the queue's lock
	queued bool
	due    time.Time
	heap   int // place among the timers, plus one
}

// screen is one device of a home.
type screen struct {
	device.Device
	view    policy.Screen
	context device.Context
	history device.History
	trip    trip          // of a car
	session *session      // nil: away
	facts   *rate.Limiter // what it may still cause to be written down
	asks    *rate.Limiter // how often it may still ask why
}

// session is one connection of a device.
type session struct {
	link       Link
	desk       *Desk // on behalf of the device
	subscribed bool
	born       bool
	bornAt     time.Time
	told       bool      // its context has come, or there is none to come
	clock      uint64    // the device's clock at its birth, ms since 1970; 0: it has none
	beacon     time.Time // when the next is due; zero: at once
	twin       int64     // version of the document that the device has acknowledged; -1: send it anyway
	flight     *flight   // the one frame that is not acknowledged yet
	learnt     []learnt  // as its last document listed it
	learntAt   uint64    // version of that document
	notices    int64     // how many notices had been issued then
	recalled   bool      // a beacon has gone out since something is to go
	ahead      *Frame    // goes before the next frame, and with it; nil: nothing does

	mono func() time.Time // the Desk's
}

// ready reports whether the device can be sent messages: it listens, has said what it is, and
// how it is. The last it may leave unsaid; but what it has on its screen since before the
// connection is not taken off for want of a word that is on its way.
func (s *screen) ready() bool {
	return s.session != nil && s.session.subscribed && s.session.born && (s.session.told || s.session.mono().Sub(s.session.bornAt) >= silence)
}

// idle reports whether a message could be handed to the device at once: nothing is on its way,
// and nothing else must go first.
func (s *screen) idle(wishes int64) bool {
	return s.ready() && s.session.flight == nil && s.session.twin == wishes
}

// silence is how long a device may take to say how it is, after its birth.
const silence = 2 * time.Second

// flight is a QoS 1 frame on its way.
type flight struct {
	since    time.Time
	delivery *delivery // nil: a twin document
	cancel   bool
	crossed  bool // of a cancel: a word of the delivery's end has come meanwhile, which may be older
	ask      bool // a question
	twin     int64
}

// delivery is one message on one screen, from its claim to its end.
type delivery struct {
	id        device.MessageID
	brand     device.BrandID
	purpose   policy.Purpose
	category  string
	who       []device.PersonID // who was in front of it when it was claimed
	others    bool              // perhaps somebody else, too
	epoch     int64             // version of the home's choices and preferences at the claim
	device    device.ID
	claimed   device.Instant
	presented device.Instant // 0: the device has not said so
	have      Have
	want      Want
	decision  policy.Decision
	duties    policy.Duties // that it was claimed with: the device knows of no others
	pick      *policy.Pick  // why it was chosen; nil: it was not, or that is not remembered
	kept      time.Time     // when the device was last told that it may keep it
	anew      bool          // claimed anew after it was handed over, and nobody said what became of it
	end       *settledFact  // what the device has said of its end, if that may be an old word; nil: nothing
	twice     bool          // recalled, and its cancel goes once more: what the device said may have been its answer to the first
	thread    policy.Thread
	since     time.Time      // when it was claimed, or read after a restart
	leaving   bool           // it did not appear in time: it goes, and then another screen may have it
	to        device.ID      // of what leaves: the screen that was free for it; "": that is not known any more
	look      device.Instant // it has not appeared in time, and before that no other screen could show it; 0: the clock alone changes nothing
	span      trace.Span     // the last of its message's trace; nil: it is not traced
}

// pair is a message that somebody here agreed to, and a screen that is ready.
type pair struct {
	m        *policy.Message
	s        *screen
	decision policy.Decision
	filed    // under what it is to be judged again
}

// in runs f on a home with its lock held and its tables read. It fails with
// registry.ErrUnknown if there is no such home.
func (d *Desk) in(id device.HomeID, f func(h *home) error) error {
	h := d.home(id)
	h.mu.Lock()
	for h.gone { // while we waited
		h.mu.Unlock()
		h = d.home(id)
		h.mu.Lock()
	}
	defer h.mu.Unlock()
	if err := d.load(h); err != nil {
		if errors.Is(err, registry.ErrUnknown) {
			d.mu.Lock()
			delete(d.homes, id)
			d.mu.Unlock()
			d.recount(h)
		}
		return err
	}
	return f(h)
}

// home is the place of a home in memory, made if it is not there.
func (d *Desk) home(id device.HomeID) *home {
	d.mu.Lock()
	defer d.mu.Unlock()
	h := d.homes[id]
	if h == nil {
		h = &home{id: id, mono: d.mono, screens: map[device.ID]*screen{}, alarms: map[device.ID]bool{}}
		d.homes[id] = h
	}
	return h
}

// inMemory are the homes that are in memory now.
func (d *Desk) inMemory() []*home {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Collect(maps.Values(d.homes))
}

// tables is what the tables say of one home.
type tables struct {
	zone      string
	people    []registry.Person
	rooms     []registry.Room
	deeds     []deed
	learnt    []learnt
	forgotten forgetting
	wishes    int64
	book      int64
	at        device.Instant
	view      policy.Home
	devices   []device.Device
	alarms    []device.ID
	delivery  []*delivery
	stopping  []*withdrawal
}

// load reads a home that is not in memory, or whose memory may be behind its tables: also one that was read while the clock
// stood so far ahead of now that what counts was left out, as if it were long ago. The caller holds h.mu.
func (d *Desk) load(h *home) error {
	if h.loaded && d.o.Now() >= h.asOf.Add(MaxLife-memory) {
		return nil
	}
	var t tables
	err := d.db.View(context.Background(), func(tx *store.Tx) (err error) {
		t, err = d.read(tx, h.id)
		return err
	})
	if err != nil {
		return fmt.Errorf("read home %d: %w", h.id, err)
	}
	d.install(h, t)
	return nil
}

// What was shown is known for a day longer than it counts for anything, which is as long as a message lives at most.
const memory = MaxLife + 24*time.Hour

// read reads the tables of one home.
func (d *Desk) read(tx *store.Tx, id device.HomeID) (t tables, err error) {
	reg, err := registry.HomeByID(tx, id)
	if err != nil {
		return t, err
	}
	t.zone, t.at = reg.Zone, d.o.Now()
	if t.book, err = tx.Head(device.Gateway); err != nil {
		return t, err
	}
	if t.rooms, err = registry.Rooms(tx, id); err != nil {
		return t, err
	}
	t.view = policy.Home{ID: id}
	if t.view.Zone, err = registry.LoadZone(reg.Zone); err != nil {
		// Written with a newer zone table than this machine's: nothing that needs local time permits.
		d.log.Error("zone unknown", "home", id, "zone", reg.Zone)
		t.view.Zone = nil
	}
	if err = tx.QueryRow(`SELECT wishes FROM home WHERE id = ?`, id).Scan(&t.wishes); err != nil {
		return t, err
	}
	if t.people, err = registry.People(tx, id); err != nil {
		return t, err
	}
	for _, p := range t.people {
		t.view.People = append(t.view.People, policy.Person{ID: p.ID, Age: p.Age, Guest: p.Guest, Frozen: p.Frozen, Languages: p.Languages})
	}
	if t.devices, err = registry.Devices(tx, id); err != nil {
		return t, err
	}
	if t.alarms, err = registry.Alarms(tx, id); err != nil {
		return t, err
	}
	if t.view.Consents, err = consent.Of(tx, id); err != nil {
		return t, err
	}
	prefs, err := twin.Preferences(tx, id)
	if err != nil {
		return t, err
	}
	for name, into := range map[string]any{twin.Mutes: &t.view.Mutes, twin.Quiet: &t.view.Quiet, twin.Caps: &t.view.Caps, twin.Moments: &t.view.Moments,
		twin.Languages: &t.view.Languages, twin.Signals: &t.view.Signals, twin.Frozen: &t.view.Frozen, twin.Forgotten: &t.forgotten, twin.Channels: &t.view.Channels} {
		if p, ok := prefs[name]; ok {
			if err := json.Unmarshal(p.Body, into); err != nil {
				return t, fmt.Errorf("preference %s: %w", name, err)
			}
		}
	}
	// What a home has set is read into nothing: over the defaults JSON would keep fields of theirs.
	if _, set := prefs[twin.Caps]; !set {
		t.view.Caps = DefaultCaps()
	}
	if _, set := prefs[twin.Moments]; !set {
		t.view.Moments = DefaultMoments()
	}
	for i := range t.view.Quiet {
		if q := &t.view.Quiet[i]; q.Zone != "" {
			if q.Clock, err = registry.LoadZone(q.Zone); err != nil {
				d.log.Error("zone unknown", "home", id, "zone", q.Zone)
			}
		}
	}
	rows, err := store.List(tx, func(scan func(...any) error) (row deliveryRow, err error) {
		var id, who []byte
		if err = scan(&id, &row.device, &row.brand, &row.purpose, &row.category, &who, &row.others, &row.epoch, &row.claimed, &row.presented, &row.settled, &row.pos,
			&row.outcome, &row.act, &row.leaving, &row.thread.Dedupe, &row.thread.Journey, &row.thread.Step, &row.thread.Item); err == nil && len(who) > len("[]") {
			err = json.Unmarshal(who, &row.who)
		}
		copy(row.id[:], id)
		row.device, row.brand, row.category = store.Intern(row.device), store.Intern(row.brand), store.Intern(row.category)
		return
	}, `SELECT message, device, brand, purpose, category, who, others, epoch, claimed, presented, settled, pos,
		outcome, act, leaving, dedupe, journey, step, item
		FROM delivery WHERE home = ? AND (settled = 0 OR counts = 1 AND claimed > ?) ORDER BY claimed, message, device`,
		id, d.o.Now().Add(-memory))
	if err != nil {
		return t, err
	}
	for _, row := range rows {
		e := row.exposure(row.settled == 0)
		if row.settled != 0 {
			e.Ended, e.Reaction, e.Act = row.settled, row.outcome.reaction(row.presented), row.act
		}
		t.view.Shown = append(t.view.Shown, e)
		if row.settled == 0 {
			dl := row.delivery
			claim, err := claimAt(tx, id, row.pos)
			switch {
			case errors.Is(err, store.ErrCorrupt), errors.Is(err, store.ErrKeys):
				// The device was told of no duties, as far as we know: if there are any, it is taken off. A no is still taken.
				d.log.Error("a claim cannot be read", "home", id, "pos", row.pos, "err", err)
			case err != nil:
				return t, err
			}
			dl.duties, dl.anew = claim.Decision.Duties, claim.Again
			dl.have, dl.kept = HaveUnsure, d.mono() // a grace of one lease after a restart
			dl.since = dl.kept
			t.delivery = append(t.delivery, &dl)
		}
	}
	if t.deeds, err = deedsOf(tx, id, t.at.Add(-remembered-time.Hour)); err != nil { // taste is as of the hour
		return t, err
	}
	did, _ := reactions(t.deeds, &t.view, among(t.devices), t.forgotten, t.at)
	if err := readActs(tx, id, &t.view, t.at); err != nil {
		return t, err
	}
	pauses := policy.Pauses(did, t.at, nil)
	t.learnt = lessons(did, pauses, t.at)
	t.view.Mutes = append(t.view.Mutes, pauses...)
	t.stopping, err = withdrawals(tx, id, `stopped = 0`, 0)
	return t, err
}

type deliveryRow struct {
	delivery
	settled device.Instant
	outcome Outcome
	act     policy.Act
	pos     int64 // of its claim in the home's book
}

// exposure is dl as it counts against caps.
func (dl *delivery) exposure(open bool) policy.Exposure {
	return policy.Exposure{At: dl.claimed, Brand: dl.brand, Message: dl.id, Purpose: dl.purpose, Category: dl.category, Device: dl.device, Open: open, Who: dl.who, Unknown: dl.others, Thread: dl.thread}
}

// DefaultMoments are the moments that hold messages back in a home that has not said which.
func DefaultMoments() []policy.Moment { return []policy.Moment{policy.Film, policy.Call, policy.Sleep} }

// DefaultCaps are the caps of a home that has set none: so many a day and a week, each brand
// less, each category one a day, on a fridge one a day, on a television one in two hours, and any two
// messages three quarters of an hour apart.
func DefaultCaps() []policy.Cap {
	return []policy.Cap{
		{Max: 3}, {Max: 10, Hours: 168},
		{Each: true, Max: 1}, {Each: true, Max: 3, Hours: 168},
		{EachCategory: true, Max: 1},
		{Selector: policy.Selector{Class: device.Fridge}, Max: 1}, {Selector: policy.Selector{Class: device.TV}, Max: 1, Hours: 2},
		{Max: 1, Minutes: 45},
	}
}

// install makes h's memory what t says, and keeps what only memory knows: sessions, context,
// and what the devices let us know of open deliveries. The caller holds h.mu.
func (d *Desk) install(h *home, t tables) {
	h.zone, h.wishes, h.view = t.zone, t.wishes, t.view
	h.book, h.readAt, h.asOf = t.book, t.at, t.at
	h.people, h.rooms, h.deeds, h.learnt, h.forgotten = t.people, t.rooms, t.deeds, t.learnt, t.forgotten
	h.tasted = 0
	for _, w := range t.stopping {
		for _, old := range h.stopping {
			if old.Epoch == w.Epoch {
				w.told, w.begun, w.had = old.told, old.begun, old.had
			}
		}
		if w.begun.IsZero() {
			w.begun = d.mono().Add(-time.Duration(max(0, d.o.Now()-w.At)) * time.Millisecond)
		}
	}
	h.stopping = t.stopping
	known := map[device.ID]bool{}
	for _, dev := range t.devices {
		known[dev.ID] = true
		s := h.screens[dev.ID]
		if s == nil {
			s = &screen{facts: rate.NewLimiter(rate.Limit(d.o.FactsPerMinute)/60, d.o.FactsAtOnce), asks: rate.NewLimiter(1, 5)}
			h.screens[dev.ID] = s
		}
		s.Device, s.context.Class = dev, dev.Class
		s.view = policy.Screen{ID: dev.ID, Class: dev.Class, Room: dev.Room, Owner: dev.Owner, Guest: dev.Until != 0, Can: dev.Can, Context: &s.context, Trip: s.view.Trip}
	}
	for id, s := range h.screens {
		if !known[id] {
			if s.session != nil {
				s.session.link.Close(Removed)
			}
			delete(h.screens, id)
		}
	}
	h.view.Screens = h.view.Screens[:0]
	for _, s := range h.screens {
		h.view.Screens = append(h.view.Screens, &s.view)
	}
	slices.SortFunc(h.view.Screens, func(a, b *policy.Screen) int {
		return cmp.Or(cmp.Compare(a.Class, b.Class), cmp.Compare(a.ID, b.ID))
	})
	maps.DeleteFunc(h.alarms, func(id device.ID, written bool) bool { return written || h.screens[id] == nil })
	for _, id := range t.alarms {
		h.alarms[id] = true
	}
	h.view.Alarm = len(h.alarms) > 0
	h.view.Safety, h.view.Rules = d.o.Safety, d.o.Rules
	was := h.open
	h.open = t.delivery
	for _, dl := range h.open {
		for _, old := range was {
			if old.id == dl.id && old.device == dl.device {
				dl.have, dl.anew, dl.kept, dl.want, dl.decision, dl.end, dl.twice = old.have, old.anew, old.kept, old.want, old.decision, old.end, old.twice
				dl.since, dl.look, dl.to, dl.span = old.since, old.look, old.to, old.span
				for _, s := range h.screens {
					if s.session != nil && s.session.flight != nil && s.session.flight.delivery == old {
						s.session.flight.delivery = dl
					}
				}
			}
		}
	}
	h.view.Prepare(d.o.Now())
	offers := map[offer]bool{}
	for key, stance := range h.view.Consents {
		if stance.Choice == policy.Given {
			offers[offer{key.Brand, key.Purpose}] = true
		}
	}
	d.mu.Lock()
	for _, o := range h.offers {
		if !offers[o] {
			delete(d.listeners[o], h)
		}
	}
	h.offers = h.offers[:0]
	for o := range offers {
		if d.listeners[o] == nil {
			d.listeners[o] = map[*home]bool{}
		}
		d.listeners[o][h] = true
		h.offers = append(h.offers, o)
	}
	d.mu.Unlock()
	h.loaded, h.all, h.read = true, true, d.mono()
	h.stale.Store(true)
}

// record writes a fact about one home and takes its memory along: f appends, the tables are
// read again in the same transaction, and only a commit changes what is in memory. The home is
// then judged anew, before record returns. The caller holds h.mu.
func (d *Desk) record(h *home, f func(tx *store.Tx) error) error {
	var t tables
	gone := false
	err := d.update(func(tx *store.Tx) (err error) {
		if err = f(tx); err != nil {
			return err
		}
		t, err = d.read(tx, h.id)
		if errors.Is(err, registry.ErrUnknown) {
			gone, err = true, nil
		}
		return err
	})
	if err != nil {
		return err
	}
	d.ends.Store(0) // perhaps a choice ends soon
	if gone {
		t = tables{view: policy.Home{ID: h.id}}
	}
	d.install(h, t)
	if gone {
		h.loaded = false
		d.mu.Lock()
		delete(d.homes, h.id)
		d.mu.Unlock()
		d.recount(h)
		return nil
	}
	d.converge(h)
	return nil
}

// pairUp finds what may be shown where. The caller holds h.mu.
func (d *Desk) pairUp(h *home) {
	var messages []*policy.Message
	d.mu.Lock()
	for _, o := range h.offers {
		messages = append(messages, d.offers[o]...)
	}
	d.mu.Unlock()
	if len(h.offers) > 1 { // each is in order
		slices.SortFunc(messages, func(a, b *policy.Message) int { return cmp.Compare(a.Seq, b.Seq) })
	}
	var ready []*screen
	for _, sv := range h.view.Screens {
		if s := h.screens[sv.ID]; s.ready() {
			ready = append(ready, s)
		}
	}
	was := h.pairs // in the same order
	var left []*pair
	h.pairs = make([]*pair, 0, len(messages)*len(ready))
	for _, m := range messages {
		for _, s := range ready {
			same := func() bool { return len(was) > 0 && was[0].m == m && was[0].s == s }
			for !same() && len(was) > 0 && was[0].before(m, s) {
				left, was = append(left, was[0]), was[1:]
			}
			if same() {
				h.pairs, was = append(h.pairs, was[0]), was[1:]
			} else {
				h.pairs = append(h.pairs, &pair{m: m, s: s})
			}
		}
	}
	d.lapsed(h, append(left, was...))
	maps.DeleteFunc(h.rests, func(k pairKey, _ rest) bool { return d.message(k.m) == nil })
	h.pending.pair(h.pairs)
}

// before reports whether p's place among the pairs of a home is before that of m and s.
func (p *pair) before(m *policy.Message, s *screen) bool {
	return cmp.Or(cmp.Compare(p.m.Seq, m.Seq), cmp.Compare(p.s.Class, s.Class), cmp.Compare(p.s.ID, s.ID)) < 0
}

// lapsed notes of each message that is not in force any more and was never on its way here, how near
// it came: left are pairs that are none any more. The caller holds h.mu.
func (d *Desk) lapsed(h *home, left []*pair) {
	if len(left) == 0 {
		return
	}
	best := map[device.MessageID]*pair{}
	for _, p := range left {
		if p.decision == (policy.Decision{}) || d.message(p.m.ID) != nil || h.screens[p.s.ID] != p.s {
			continue
		}
		if was := best[p.m.ID]; was == nil || was.decision.Verdict < p.decision.Verdict {
			best[p.m.ID] = p
		}
	}
	for _, e := range h.view.Shown {
		delete(best, e.Message)
	}
	if len(best) == 0 {
		return
	}
	var head int64
	err := d.db.View(context.Background(), func(tx *store.Tx) (err error) { head, err = tx.Head(h.id); return err })
	if err != nil {
		d.log.Error("head of the book cannot be read", "home", h.id, "err", err)
	}
	for id, p := range best {
		// What is written down is what stood against it at the last, not that it is over.
		q := policy.Request{Home: &h.view, Screen: &p.s.view, Message: p.m, Now: min(d.o.Now(), p.m.NotAfter-1)}
		inputs := h.inputs(q)
		inputs.Head = head
		h.heldBack = append(h.heldBack, heldFact{id, p.s.ID, p.m.Brand, p.m.Purpose, record(q, d.decide(q), h.wishes), inputs})
	}
}

// keepHeld writes down what was not shown. It is the Courier's, so that no brand can tell from how long
// its request takes how many homes had agreed. The caller holds h.mu.
func (d *Desk) keepHeld(h *home) {
	if len(h.heldBack) == 0 {
		return
	}
	err := d.update(func(tx *store.Tx) error {
		for _, f := range h.heldBack {
			if _, err := tx.Add(h.id, deliveryHeld, f); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		d.fault(h, "held", err)
		d.queue.at(h, d.mono().Add(time.Second))
		return
	}
	h.heldBack = nil
}

type pairKey struct {
	m device.MessageID
	s device.ID
}

// person finds somebody of the home.
func (h *home) person(id device.PersonID) (registry.Person, bool) {
	for _, p := range h.people {
		if p.ID == id {
			return p, true
		}
	}
	return registry.Person{}, false
}

// said are the mutes that somebody has set; the others are learnt.
func (h *home) said() []policy.MuteRule {
	return slices.DeleteFunc(slices.Clone(h.view.Mutes), func(m policy.MuteRule) bool { return m.Implied })
}

// present is who is in front of a screen, and whether perhaps somebody else is, too.
func (h *home) present(s *screen, now device.Instant) (who []device.PersonID, others bool) {
	p := policy.Present(&h.view, &s.view, now)
	for i, one := range h.view.People {
		if i < 64 && p.Known&(1<<i) != 0 {
			who = append(who, one.ID)
		}
	}
	return who, p.Unknown > 0 || s.Owner == device.Household && !p.Told
}

// maybeThere reports whether somebody can be in front of s: nobody has told who is, or they are
// among those who were named.
func (h *home) maybeThere(s *screen, who device.PersonID, now device.Instant) bool {
	if s.Owner != device.Household {
		return who == s.Owner
	}
	there, others := h.present(s, now)
	return len(there) == 0 && others || slices.Contains(there, who)
}

// mayWiden reports whether what is said on s now may permit more: the device may, and, where it is told who is
// in front of it, a grown-up is, and whoever it is said to be.
func (h *home) mayWiden(s *screen, subject device.PersonID, now device.Instant) bool {
	if !s.Controller {
		return false
	}
	if s.Owner != device.Household {
		return true
	}
	there, _ := h.present(s, now)
	if len(there) == 0 {
		return true
	}
	grown := slices.ContainsFunc(there, func(id device.PersonID) bool { p, _ := h.view.Person(id); return p.Age == device.Adult && !p.Guest })
	return grown && (subject == device.Household || slices.Contains(there, subject) || h.guards(there, subject))
}

// guards reports whether one of those there is a guardian of somebody.
func (h *home) guards(there []device.PersonID, of device.PersonID) bool {
	p, _ := h.person(of)
	return slices.ContainsFunc(p.Guardians, func(g device.PersonID) bool { return slices.Contains(there, g) })
}

// find returns the open delivery of a message on a device, or nil.
func (h *home) find(id device.MessageID, dev device.ID) *delivery {
	for _, dl := range h.open {
		if dl.id == id && dl.device == dev {
			return dl
		}
	}
	return nil
}

// without is the home as it would be if a message had never been claimed.
func (h *home) without(id device.MessageID) policy.Home {
	view := h.view
	view.Shown = slices.DeleteFunc(slices.Clone(view.Shown), func(e policy.Exposure) bool { return e.Message == id })
	return view
}

// prune leaves out what is too long ago to count, as reading the tables anew would.
func (h *home) prune(now device.Instant) {
	h.asOf = now
	h.view.Shown = slices.DeleteFunc(h.view.Shown, func(e policy.Exposure) bool { return !e.Open && e.At <= now.Add(-memory) })
	h.deeds = slices.DeleteFunc(h.deeds, func(one deed) bool { return one.at <= now.Add(-remembered-time.Hour) })
}

// drop takes a delivery that was settled at an instant out of memory; what counts stays an exposure.
func (h *home) drop(dl *delivery, f settledFact, at device.Instant) {
	h.open = slices.DeleteFunc(h.open, func(o *delivery) bool { return o == dl })
	if kind := taught[f.Outcome]; kind != policy.NoReaction { // it may be learnt from
		h.did(deed{dl.device, dl.brand, dl.category, dl.who, dl.others, kind, dl.claimed, at})
	}
	for i := range h.view.Shown {
		if e := &h.view.Shown[i]; e.Message == dl.id && e.Device == dl.device && e.Open && e.At == dl.claimed {
			e.Open, e.Ended, e.Reaction, e.Act = false, at, f.Outcome.reaction(dl.presented), f.Act
			if !f.Counts {
				h.view.Shown = slices.Delete(h.view.Shown, i, i+1)
			}
			break
		}
	}
	h.pending.showed(!f.Counts) // caps, dedupe and what comes next in a sequence may let others through
}

const (
	maxDocBrands = 24 // with the longest names a document then stays below wire.MaxTwin
	maxMutes     = 16
	maxQuiet     = 14
	maxCaps      = 16
	maxChannels  = 16
)

func isNoRows(err error) bool { return errors.Is(err, sql.ErrNoRows) }

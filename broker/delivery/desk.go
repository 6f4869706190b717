// Package delivery is the hall of the house: the Desk takes facts in and writes down what follows
// from them, and the Courier makes the screens agree with what is written.
//
// In: facts from the doors. Out: frames through a [Link]. Never: a brand's words handed to a
// device without a Decision taken under the home's lock at that moment.
package delivery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"porchlight/device"
	"porchlight/device/authority"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/device/wire"
	"porchlight/policy"
)

// What doors branch on, beside what they get from the nouns.
var (
	ErrConflict  = errors.New("the same key came with another message before")
	ErrQuota     = errors.New("as many messages are in force as this brand may have")
	ErrKey       = errors.New("an idempotency key is 1 to 128 printable ASCII characters")
	ErrNoKey     = fmt.Errorf("%w: there is none", ErrKey)
	ErrStale     = errors.New("somebody changed this since the device read it")
	ErrForbidden = errors.New("this device may not widen what the home permits")
)

// QuotaError is ErrQuota with the number of messages that it is.
type QuotaError struct{ Most int }

func (e *QuotaError) Error() string { return fmt.Sprintf("%v, which is %d", ErrQuota, e.Most) }
func (e *QuotaError) Unwrap() error { return ErrQuota }

// QuotaWhy is what a brand is told of an error that wraps ErrQuota; QuotaFix is what it does about it.
func QuotaWhy(err error) string {
	if q := (*QuotaError)(nil); errors.As(err, &q) {
		return q.Error()
	}
	return ErrQuota.Error()
}

// Options are the Desk's settings. The zero value is good.
type Options struct {
	Now       func() device.Instant // people's time; nil means the system's clock
	Mono      func() time.Time      // a clock that nobody sets, for leases and waits; nil means the system's
	Lease     time.Duration         // how long a device may keep a delivery without hearing from us; 0 means 10 s
	Allowance time.Duration         // added to the lease for the device's clock; 0 means 2 s
	AckWait   time.Duration         // how long a device may take to acknowledge; 0 means 20 s
	Follow    time.Duration         // how long a message may take to appear on its screen before another may have it; 0 means 60 s, less than 0 that it waits for ever
	Authority *authority.Authority  // issues certificates to devices; nil: none is let in
	// FactsAtOnce and FactsPerMinute are what one device may cause to be written down beside receipts
	// of what it was sent: descriptions, the ends of alarms, choices, windows. 0 means 100 and 12.
	FactsAtOnce, FactsPerMinute int
	Workers                     int // homes that are judged at the same time; 0 means 256

	Learner string // LearnerOn or LearnerOff; "" means LearnerOn

	Safety *policy.SafetyTable // what may appear on devices of each class, and when; nil: the table that every gateway has

	Rules []policy.OperatorRule // what stops messages here, in every home

	SignedOnly bool // every brand must sign its messages, not only those that have a key

	Tracer trace.Tracer // told what becomes of messages, by IDs alone; nil: nobody is

	NewMessageID func(device.Instant) device.MessageID // nil means device.NewMessageID; a rehearsal's are the same each time
}

// Desk takes facts in, on behalf of somebody. Each of its methods is one transaction, and returns
// after it is on disk.
type Desk struct {
	*hall
	actor device.Actor // who causes what is written
}

// As is the same Desk on behalf of somebody else.
func (d *Desk) As(who device.Actor) *Desk { return &Desk{d.hall, who} }

// update is the store's Update on behalf of whoever it is.
func (d *Desk) update(f func(tx *store.Tx) error) error {
	began := d.mono()
	err := d.db.Update(func(tx *store.Tx) error {
		tx.Actor = d.actor
		return f(tx)
	})
	d.took.written.Observe(d.mono().Sub(began).Seconds())
	return err
}

// hall is what all Desks and the Courier share.
type hall struct {
	db  *store.DB
	o   Options
	log *slog.Logger

	mu        sync.Mutex // guards what follows; a home's lock may be held when it is taken, never the reverse
	homes     map[device.HomeID]*home
	links     map[Link]device.HomeID
	force     map[device.MessageID]*policy.Message // messages in force
	offers    map[offer][]*policy.Message          // the same, in the order of acceptance
	listeners map[offer]map[*home]bool             // homes in memory where somebody has said yes to that
	brands    map[device.BrandID]registry.Brand
	served    []wire.BrandChoice // what all brands ask for, in order, unanswered; nil: it is to be made of brands
	inForce   map[device.BrandID]int
	notices   int64                           // that this process took in
	noticed   map[device.BrandID]int64        // which of the notices that this process took in was the brand's last
	back      map[device.MessageID]*takenBack // lately: they are not put in force any more

	changing sync.Mutex // held while a brand is changed, around its transaction and what follows in memory; taken before any other

	entrance entrance                    // devices that ask to be let in
	due      atomic.Int64                // a device.Instant: when the next device's time is over; 0: look it up
	ends     atomic.Int64                // likewise of choices
	wiping   map[device.ID]chan struct{} // devices that are told to forget everything

	queue  queue          // homes with something to do
	look   chan struct{}  // has a token when the clock is to be looked at now
	jumps  atomic.Int64   // how often the clock was set
	began  moment         // when the messages in force were read first
	unsure time.Time      // until then nothing is ended for good because of the clock, which was set far ahead; the Courier's
	expiry device.Instant // no message in force ends before; guarded by mu

	turns   sync.Pool // of *turn
	room    room
	count   counters
	took    timings
	tracing *tracing // nil: no message is traced
}

// mono is the clock that nobody sets.
func (d *hall) mono() time.Time { return d.o.Mono() }

// moment is an instant by both clocks.
type moment struct {
	mono time.Time
	wall device.Instant
}

func (d *hall) moment() moment { return moment{d.mono(), d.o.Now()} }

// offer is what a choice is about, whoever made it.
type offer struct {
	brand   device.BrandID
	purpose policy.Purpose
}

type counters struct {
	accepted, withdrawn, claimed, presented, settled, released, judged, recalled, commitFailed, evicted atomic.Int64
	verdicts                                                                                            [policy.Show + 1]atomic.Int64
	reasons                                                                                             [32]atomic.Int64 // by rule
	under                                                                                               underWay
}

// NewDesk returns a Desk over db, with the messages in force read from it.
func NewDesk(db *store.DB, o Options, log *slog.Logger) (*Desk, error) {
	if o.Now == nil {
		o.Now = func() device.Instant { return device.At(time.Now()) }
	}
	if o.Mono == nil {
		o.Mono = time.Now
	}
	if o.NewMessageID == nil {
		o.NewMessageID = device.NewMessageID
	}
	o.Lease = cmp.Or(o.Lease, 10*time.Second)
	o.Allowance = cmp.Or(o.Allowance, 2*time.Second)
	o.AckWait = cmp.Or(o.AckWait, 20*time.Second)
	o.Follow = cmp.Or(o.Follow, time.Minute)
	o.Workers = cmp.Or(o.Workers, 256)
	o.FactsAtOnce = cmp.Or(o.FactsAtOnce, 100)
	o.FactsPerMinute = cmp.Or(o.FactsPerMinute, 12)
	d := &Desk{hall: &hall{
		db: db, o: o, log: log, look: make(chan struct{}, 1),
		homes: map[device.HomeID]*home{}, links: map[Link]device.HomeID{}, force: map[device.MessageID]*policy.Message{}, offers: map[offer][]*policy.Message{},
		took: newTimings(), tracing: newTracing(o.Tracer),
		listeners: map[offer]map[*home]bool{}, brands: map[device.BrandID]registry.Brand{}, inForce: map[device.BrandID]int{}, noticed: map[device.BrandID]int64{}, back: map[device.MessageID]*takenBack{},
	}}
	d.entrance.windows, d.entrance.applicants = map[device.HomeID]*joining{}, map[string]*applicant{}
	d.entrance.answers, d.entrance.asked, d.entrance.challenges = map[string]answered{}, map[device.ID]time.Time{}, map[any]*challenges{}
	d.entrance.notes = rate.NewLimiter(rate.Every(time.Minute), 20)
	d.wiping = map[device.ID]chan struct{}{}
	d.queue.init()
	d.began = d.moment()
	err := db.View(context.Background(), func(tx *store.Tx) error {
		brands, err := registry.Brands(tx)
		if err != nil {
			return err
		}
		for _, b := range brands {
			d.brands[b.ID] = b
		}
		return nil
	})
	if err == nil {
		err = d.readForce()
	}
	if err != nil {
		return nil, fmt.Errorf("read messages in force: %w", err)
	}
	if err := d.stopLeft(); err != nil {
		return nil, fmt.Errorf("read withdrawals: %w", err)
	}
	return d, nil
}

// readForce reads the messages in force that are not in memory yet.
func (d *Desk) readForce() error {
	var rows []store.Event
	now := d.o.Now()
	err := d.db.View(context.Background(), func(tx *store.Tx) (err error) {
		// Where the clock stands long ago nothing is over, but no message lives that long. By itself SQLite would begin with
		// the gateway's book, and read every message that there ever was.
		rows, err = store.List(tx, scanEvent, `SELECT m.seq, m.at, j.body FROM message m INDEXED BY message_force JOIN journal j ON j.home = 0 AND j.pos = m.seq
			JOIN brand b ON b.id = m.brand WHERE m.withdrawn = 0 AND m.not_after > ? AND m.not_after <= ? AND m.seq > b.cleared ORDER BY m.seq`, now, now.Add(memory))
		return err
	})
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range rows {
		err := store.With(e, func(f acceptedFact) error {
			b, ok := d.brands[f.Brand]
			if !ok || d.force[f.ID] != nil {
				return nil // its brand was removed, or it is in force already
			}
			s, err := f.submission()
			var m *policy.Message
			if err == nil {
				m, err = s.compile(b, 0)
			}
			if err != nil {
				// Accepted once, and not acceptable any more: it stays in the journal and is not shown.
				d.log.Error("message in force cannot be read", "message", f.ID, "err", err)
				return nil
			}
			m.ID, m.Seq = f.ID, e.Pos
			d.enforce(m)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// notLater is an instant, the one argument, or when the newest message was accepted, if that is earlier: a clock that stands far
// ahead does not make messages seem to be over.
const notLater = `min(?, (SELECT at FROM message ORDER BY seq DESC LIMIT 1))`

func scanEvent(scan func(...any) error) (e store.Event, err error) {
	err = scan(&e.Pos, &e.At, &e.Body)
	return
}

// takenBack is a message that was taken back lately, or is being taken back.
type takenBack struct {
	at     time.Time
	trying int             // who is about to write it down
	done   bool            // it is written down
	m      *policy.Message // while it is not: what is in force again if nobody can write it down; nil: it was not in force
}

// over takes in that it is written down: what was in force is not kept for as long as that is remembered.
func (t *takenBack) over() { t.done, t.m = true, nil }

// takeBack is what is known of the taking back of a message. The caller holds d.mu.
func (d *Desk) takeBack(id device.MessageID) *takenBack {
	t := d.back[id]
	if t == nil {
		t = new(takenBack)
		d.back[id] = t
	}
	t.at = d.mono()
	return t
}

// enforce puts m among the messages in force, and reports whether it did: not if it is there, or is taken back. It may have been
// there before, and a home may still read it: it is not written to. The caller holds d.mu or is alone.
func (d *Desk) enforce(m *policy.Message) bool {
	if d.force[m.ID] != nil {
		return false
	}
	if t := d.back[m.ID]; t != nil {
		if !t.done {
			t.m = m
		}
		return false
	}
	o := offer{m.Brand, m.Purpose}
	d.force[m.ID] = m
	d.inForce[m.Brand]++
	list := d.offers[o]
	at := len(list) // commits may overtake each other by a little
	for at > 0 && list[at-1].Seq > m.Seq {
		at--
	}
	d.offers[o] = slices.Insert(list, at, m)
	d.expiry = min(d.expiry, m.NotAfter)
	return true
}

// lapse takes a message from those in force, if it is one, and returns the homes that may have
// it. The caller holds d.mu.
func (d *Desk) lapse(id device.MessageID) []*home {
	m := d.force[id]
	if m == nil {
		return nil
	}
	o := offer{m.Brand, m.Purpose}
	delete(d.force, id)
	d.tracing.drop(id)
	d.inForce[m.Brand]--
	d.offers[o] = slices.DeleteFunc(d.offers[o], func(other *policy.Message) bool { return other == m })
	if len(d.offers[o]) == 0 {
		delete(d.offers, o)
	}
	return slices.Collect(maps.Keys(d.listeners[o]))
}

// Answer is what a brand is told about a message. It is the same whatever is inside any home.
type Answer struct {
	ID       device.MessageID `json:"id"`
	State    string           `json:"state" enum:"accepted,withdrawn,expired"`
	At       device.Instant   `json:"-"`
	NotAfter device.Instant   `json:"-"`
	Replayed bool             `json:"-"` // the same request was taken in before; this is its answer
}

// accept is Accept, without a word to the tracer of its own.
func (d *Desk) accept(ctx context.Context, b registry.Brand, key string, s Submission) (Answer, error) {
	if key == "" {
		return Answer{}, ErrNoKey
	}
	if !keyOK(key) {
		return Answer{}, ErrKey
	}
	s, err := d.verified(ctx, b, key, s)
	if err != nil {
		return Answer{}, fmt.Errorf("accept: %w", err)
	}
	digest, err := s.digest()
	if err != nil {
		return Answer{}, fmt.Errorf("accept: %w", err)
	}
	now := d.o.Now()
	m, invalid := s.compile(b, now)
	if invalid != nil {
		// The same request may have been good when it first came: its not_after was ahead then.
		m = &policy.Message{Brand: b.ID}
	}
	m.ID = d.o.NewMessageID(now)
	f := acceptedFact{ID: m.ID, Brand: b.ID, Key: key, Digest: digest, NotAfter: m.NotAfter, Message: s}
	if s.signed != nil {
		f.Message, f.Signed = Submission{}, s.signed.text
	}
	place := false // we hold a place among the messages in force
	var a Answer
	err = d.update(func(tx *store.Tx) error {
		if err := d.mayAccept(tx, b, s); err != nil {
			return err
		}
		a = Answer{State: "accepted"}
		var was []byte
		var id []byte
		err := tx.QueryRow(`SELECT id, at, not_after, digest FROM message WHERE brand = ? AND key = ?`, b.ID, key).Scan(&id, &a.At, &a.NotAfter, &was)
		switch {
		case err == nil && !slices.Equal(was, digest):
			return ErrConflict
		case err == nil:
			copy(a.ID[:], id)
			a.Replayed = true
			return nil
		case !isNoRows(err):
			return err
		case invalid != nil:
			return invalid
		}
		if !place { // a unit may be run twice
			if err := d.reserve(b, s.Purpose.String()); err != nil {
				return err
			}
			place = true
		}
		f.Value = s.value()
		if f.Worth, err = worth(tx, b.ID, f.Value); err != nil {
			return err
		}
		m.Value = f.Worth
		e, err := tx.Add(device.Gateway, messageAccepted, f)
		if err != nil {
			return err
		}
		a.ID, a.At, a.NotAfter, m.Seq = m.ID, e.At, m.NotAfter, e.Pos
		return nil
	})
	d.mu.Lock()
	if place {
		d.inForce[b.ID]-- // enforce takes its own
	}
	var wake []*home
	if err == nil && !a.Replayed && d.enforce(m) {
		d.tracing.keep(m.ID, ctx)
		wake = slices.Collect(maps.Keys(d.listeners[offer{m.Brand, m.Purpose}]))
	}
	d.mu.Unlock()
	if err != nil {
		return Answer{}, fmt.Errorf("accept: %w", err)
	}
	if !a.Replayed {
		d.count.accepted.Add(1)
	}
	for _, h := range wake {
		h.stale.Store(true)
		d.queue.put(h)
	}
	return a, nil
}

// reserve takes a place among a brand's messages in force. It fails if the brand has taken the
// purpose back since it logged in.
func (d *Desk) reserve(b registry.Brand, purpose string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now, ok := d.brands[b.ID]; ok && !slices.Contains(now.Purposes, purpose) {
		return Invalid{{"purpose", "declared", "is " + purpose + ", which this brand has not declared", "use one of " + strings.Join(now.Purposes, ", ")}}
	}
	if d.inForce[b.ID] >= b.Quota {
		return &QuotaError{b.Quota}
	}
	d.inForce[b.ID]++
	return nil
}

func keyOK(key string) bool {
	if key == "" || len(key) > maxKey {
		return false
	}
	for i := range len(key) {
		if key[i] < '!' || key[i] > '~' {
			return false
		}
	}
	return true
}

// Withdraw takes a brand's message back: when it returns, nothing more of it is released, and
// the screens that have it are being told. It fails with registry.ErrUnknown if the brand has
// no such message. Withdrawing twice is withdrawing once.
func (d *Desk) Withdraw(ctx context.Context, b device.BrandID, id device.MessageID) (Answer, error) {
	// Out of memory first: whoever claims it from now on finds it gone.
	d.mu.Lock()
	var wake []*home
	t := d.takeBack(id)
	t.trying++
	if m := d.force[id]; m != nil && m.Brand == b {
		wake, t.m = d.lapse(id), m
	}
	d.mu.Unlock()
	news := false
	err := d.update(func(tx *store.Tx) error {
		var withdrawn device.Instant
		err := tx.QueryRow(`SELECT withdrawn FROM message WHERE id = ? AND brand = ?`, id[:], b).Scan(&withdrawn)
		if isNoRows(err) {
			return registry.ErrUnknown
		}
		if news = withdrawn == 0; err != nil || !news {
			return err
		}
		_, err = tx.Add(device.Gateway, messageWithdrawn, withdrawnFact{id})
		return err
	})
	d.mu.Lock()
	t.trying--
	if err == nil {
		t.over()
	} else if !t.done && t.trying == 0 {
		delete(d.back, id)
		if m := t.m; m != nil && d.enforce(m) {
			wake = slices.Collect(maps.Keys(d.listeners[offer{m.Brand, m.Purpose}]))
		}
	}
	d.mu.Unlock()
	if err != nil {
		err = fmt.Errorf("withdraw %s: %w", id, err)
	} else if news {
		d.count.withdrawn.Add(1)
	}
	// A claim that was under way when the message left memory has been handed over by now,
	// or finds it gone: taking the lock waits for it. Homes that are busy are waited for together.
	// Only where it is on a screen something is done at once: how long this takes tells a brand little more.
	takeOff := func(h *home) { // whose lock is held, and let go
		if slices.ContainsFunc(h.open, func(dl *delivery) bool { return dl.id == id }) {
			d.converge(h)
		}
		h.mu.Unlock()
		d.queue.put(h)
	}
	var busy errgroup.Group
	busy.SetLimit(64)
	for _, h := range wake {
		h.stale.Store(true)
		if h.mu.TryLock() {
			takeOff(h)
			continue
		}
		busy.Go(func() error {
			h.mu.Lock()
			takeOff(h)
			return nil
		})
	}
	_ = busy.Wait() // none of them fails
	if err != nil {
		return Answer{}, err
	}
	return d.Message(ctx, b, id)
}

// Message tells a brand about one of its messages, or fails with registry.ErrUnknown.
func (d *Desk) Message(ctx context.Context, b device.BrandID, id device.MessageID) (a Answer, err error) {
	err = d.db.View(ctx, func(tx *store.Tx) error {
		a, err = scanAnswer(d.o.Now())(tx.QueryRow(answerColumns+`WHERE id = ? AND brand = ?`, id[:], b).Scan)
		if isNoRows(err) {
			err = registry.ErrUnknown
		}
		return err
	})
	if err != nil {
		return Answer{}, fmt.Errorf("message %s: %w", id, err)
	}
	return a, nil
}

// Messages lists a brand's messages in the order of acceptance, at most limit of them after the
// one named (the zero ID: from the first).
func (d *Desk) Messages(ctx context.Context, b device.BrandID, after device.MessageID, limit int) (all []Answer, err error) {
	err = d.db.View(ctx, func(tx *store.Tx) error {
		all, err = store.List(tx, scanAnswer(d.o.Now()), answerColumns+`WHERE brand = ? AND seq > coalesce((SELECT seq FROM message WHERE id = ? AND brand = ?), 0) ORDER BY seq LIMIT ?`,
			b, after[:], b, limit)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("messages of %s: %w", b, err)
	}
	return all, nil
}

const answerColumns = `SELECT id, at, not_after, withdrawn FROM message `

func scanAnswer(now device.Instant) func(func(...any) error) (Answer, error) {
	return func(scan func(...any) error) (a Answer, err error) {
		var id []byte
		var withdrawn device.Instant
		if err = scan(&id, &a.At, &a.NotAfter, &withdrawn); err != nil {
			return a, err
		}
		copy(a.ID[:], id)
		switch a.State = "accepted"; {
		case withdrawn != 0:
			a.State = "withdrawn"
		case now >= a.NotAfter:
			a.State = "expired"
		}
		return a, nil
	}
}

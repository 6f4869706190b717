package consent

import (
	"bytes"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/policy"
)

// Question is what somebody may be asked.
type Question struct {
	Home    device.HomeID
	Subject device.PersonID // device.Household: the home as a whole
	Brand   device.BrandID
	Purpose policy.Purpose
}

// Budget limits how often homes are asked. A field that is not set has its default.
type Budget struct {
	Home    time.Duration // from one ask of a home to the next; default 7 days
	Brand   time.Duration // from one ask of a home about a brand to the next; default 90 days
	Refusal time.Duration // from a no to a brand to the next ask about it; default 180 days
	Renewal time.Duration // before a yes ends it may be asked for again; default 30 days
}

const day = 24 * time.Hour

func (b Budget) withDefaults() Budget {
	for _, f := range []struct {
		d    *time.Duration
		days time.Duration
	}{{&b.Home, 7}, {&b.Brand, 90}, {&b.Refusal, 180}, {&b.Renewal, 30}} {
		if *f.d <= 0 {
			*f.d = f.days * day
		}
	}
	return b
}

// TooSoonError says that a question may not be asked before Until.
type TooSoonError struct {
	Until device.Instant
	Why   string // completes "not before ...: "
}

func (e *TooSoonError) Error() string { return fmt.Sprintf("not before %s: %s", e.Until, e.Why) }

// MayAsk is nil if q may be asked now; else a [TooSoonError], or an error that wraps [ErrNotAsked],
// [ErrAnswered] or registry.ErrUnknown. A yes that is in force is asked for again only if the
// newest notice asks for more, or near its end. Whether the home is frozen, and whether a screen is
// fit to ask on just now, is the Desk's to know.
func MayAsk(tx *store.Tx, q Question, b Budget) error {
	_, err := mayAsk(tx, q, b)
	if err != nil {
		return fmt.Errorf("ask home %d about %s by brand %s: %w", q.Home, q.Purpose, q.Brand, err)
	}
	return nil
}

func mayAsk(tx *store.Tx, q Question, b Budget) (Notice, error) {
	b = b.withDefaults()
	brand, err := registry.BrandByID(tx, q.Brand)
	if err != nil {
		return Notice{}, err
	}
	if brand.Stopped != 0 {
		return Notice{}, fmt.Errorf("it %w: the brand is stopped", ErrNotAsked)
	}
	n, err := Newest(tx, q.Brand)
	if err != nil {
		return Notice{}, err
	}
	if !declares(brand, q.Purpose) || !slices.Contains(n.Purposes, q.Purpose) {
		return Notice{}, fmt.Errorf("it %w: the brand does not ask for that", ErrNotAsked)
	}
	if q.Subject != device.Household {
		people, err := registry.People(tx, q.Home)
		if err != nil {
			return Notice{}, err
		}
		p, err := find(people, q.Subject)
		if err != nil {
			return Notice{}, err
		}
		if child(p) || p.Frozen {
			return Notice{}, fmt.Errorf("person %d %w", p.ID, ErrNotAsked)
		}
	}
	was, err := last(tx, q.Home, policy.ConsentKey{Subject: q.Subject, Brand: q.Brand, Purpose: q.Purpose})
	if err != nil {
		return Notice{}, err
	}
	if was.inForce() && (was.Until == 0 || tx.Now < was.Until.Add(-b.Renewal)) {
		older, err := NoticeByHash(tx, was.Notice)
		if err != nil && !errors.Is(err, registry.ErrUnknown) {
			return Notice{}, err
		}
		if widened, _ := Compare(older, n); err == nil && len(widened) == 0 {
			return Notice{}, fmt.Errorf("it %w", ErrAnswered)
		}
	}
	return n, soon(tx, q, b)
}

// soon is a TooSoonError while the budget is used up: the limit that stands longest.
func soon(tx *store.Tx, q Question, b Budget) error {
	var found *TooSoonError
	for _, limit := range []struct {
		why  string
		wait time.Duration
		sql  string
		args []any
	}{
		{"somebody is being asked just now", 0,
			`SELECT coalesce(max(until), 0) FROM consent_ask WHERE home = ? AND state = 'requested'`, []any{q.Home}},
		{"the home was asked lately", b.Home,
			`SELECT coalesce(max(asked), 0) FROM consent_ask WHERE home = ?`, []any{q.Home}},
		{"the home was asked about this brand lately", b.Brand,
			`SELECT coalesce(max(asked), 0) FROM consent_ask WHERE home = ? AND brand = ?`, []any{q.Home, q.Brand}},
		{"somebody has said no to this brand", b.Refusal, // their own no and the home's, or, for a question to the home, anybody's
			`SELECT coalesce(max(at), 0) FROM consent WHERE home = ? AND brand = ? AND choice IN (2, 3) AND (subject = 0 OR subject = ? OR ? = 0)`,
			[]any{q.Home, q.Brand, q.Subject, q.Subject}},
	} {
		var at device.Instant
		if err := tx.QueryRow(limit.sql, limit.args...).Scan(&at); err != nil {
			return err
		}
		if until := at.Add(limit.wait); at != 0 && until > tx.Now && (found == nil || until > found.Until) {
			found = &TooSoonError{until, limit.why}
		}
	}
	if found != nil {
		return found
	}
	return nil
}

// Ask is a question that was put on a screen. State is Requested while it is open.
type Ask struct {
	ID      device.MessageID `json:"id"`
	Home    device.HomeID    `json:"-"`
	Subject device.PersonID  `json:"subject"`
	Brand   device.BrandID   `json:"brand"`
	Purpose policy.Purpose   `json:"purpose"`
	Notice  Hash             `json:"notice"` // the newest of the brand when it was asked
	Device  device.ID        `json:"device"` // on which it is, or was last
	Asked   device.Instant   `json:"-"`
	Until   device.Instant   `json:"until"` // without an answer by then it is deferred, which whoever asks records with Answer
	Drawn   device.Instant   `json:"-"`     // when it was first on that screen; 0: not that we know
	State   State            `json:"-"`     // Requested, Deferred, Refused, Given, Renewed, Withdrawn or Invalidated
	Why     string           `json:"-"`     // of Deferred and Invalidated
	Pos     int64            `json:"-"`     // of the request in the home's journal

	broken   string // what made no harder than yes
	served   []byte // SHA-256 of what was last told of the drawing
	servings int
}

// About is whose fact it is.
func (a Ask) About() device.PersonID { return a.Subject }

// Question is what is asked.
func (a Ask) Question() Question { return Question{a.Home, a.Subject, a.Brand, a.Purpose} }

const askColumns = `SELECT id, subject, brand, purpose, notice, device, asked, until, state, why, drawn, broken, served, servings, pos FROM consent_ask WHERE home = ?`

func scanAsk(home device.HomeID) func(scan func(...any) error) (Ask, error) {
	return func(scan func(...any) error) (a Ask, err error) {
		var id, notice []byte
		a.Home = home
		err = scan(&id, &a.Subject, &a.Brand, &a.Purpose, &notice, &a.Device, &a.Asked, &a.Until, &a.State, &a.Why, &a.Drawn, &a.broken, &a.served, &a.servings, &a.Pos)
		copy(a.ID[:], id)
		copy(a.Notice[:], notice)
		return a, err
	}
}

// Asked finds an ask of a home; registry.ErrUnknown if there is none.
func Asked(tx *store.Tx, home device.HomeID, id device.MessageID) (Ask, error) {
	a, err := scanAsk(home)(tx.QueryRow(askColumns+` AND id = ?`, home, id[:]).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return Ask{}, fmt.Errorf("ask %s: %w", id, registry.ErrUnknown)
	}
	return a, err
}

// Open lists the asks of a home that have no answer yet, the oldest first. They outlive a restart.
func Open(tx *store.Tx, home device.HomeID) ([]Ask, error) {
	return store.List(tx, scanAsk(home), askColumns+` AND state = 'requested' ORDER BY pos`, home)
}

// Asks lists all asks of a home, the oldest first.
func Asks(tx *store.Tx, home device.HomeID) ([]Ask, error) {
	return store.List(tx, scanAsk(home), askColumns+` ORDER BY pos`, home)
}

// MaxLive is how long an ask can wait for its answer.
const MaxLive = 10 * time.Minute

// Request writes down that q is asked on a device of the home for so long, up to [MaxLive], if
// [MayAsk] has nothing against it, and keeps the notice that it speaks of. [ErrNotAsked] on a device
// that may only restrict, on a child's, and on somebody else's.
func Request(tx *store.Tx, q Question, on device.ID, live time.Duration, b Budget) (Ask, error) {
	fail := func(err error) (Ask, error) {
		return Ask{}, fmt.Errorf("ask home %d about %s by brand %s on %s: %w", q.Home, q.Purpose, q.Brand, on, err)
	}
	if _, err := mayAsk(tx, q, b); err != nil {
		return fail(err)
	}
	if err := fit(tx, q, on, live); err != nil {
		return fail(err)
	}
	n, err := keepNewest(tx, q.Brand)
	if err != nil {
		return fail(err)
	}
	return request(tx, Ask{ID: device.NewMessageID(tx.Now), Home: q.Home, Subject: q.Subject, Brand: q.Brand, Purpose: q.Purpose,
		Notice: n.Hash(), Device: on, Asked: tx.Now}, live)
}

func request(tx *store.Tx, a Ask, live time.Duration) (Ask, error) {
	a.Until, a.State, a.Why, a.Drawn, a.broken, a.served, a.servings = tx.Now.Add(live), Requested, "", 0, "", nil, 0
	ev, err := tx.Add(a.Home, kindPrefix+string(Requested), a)
	a.Pos = ev.Pos
	return a, err
}

// fit is nil if a device can be asked on.
func fit(tx *store.Tx, q Question, on device.ID, live time.Duration) error {
	d, err := registry.Device(tx, on)
	if err != nil {
		return err
	}
	if live < time.Millisecond || live > MaxLive {
		return fmt.Errorf("%w: it waits for 1 ms to %s", ErrInvalid, MaxLive)
	}
	switch {
	case d.Home != q.Home:
		return fmt.Errorf("device %s: %w", on, registry.ErrUnknown)
	case !d.Controller: // what it says must not widen anything, whoever stands before it
		return fmt.Errorf("it %w on a device that may only restrict", ErrNotAsked)
	case d.Owner == device.Household:
		return nil
	case q.Subject != device.Household && q.Subject != d.Owner:
		return fmt.Errorf("it %w on somebody else's device", ErrNotAsked)
	}
	people, err := registry.People(tx, q.Home)
	if err != nil {
		return err
	}
	owner, err := find(people, d.Owner)
	if err != nil {
		return err
	}
	if child(owner) || owner.Frozen || q.Subject == device.Household && owner.Guest {
		return fmt.Errorf("it %w on the device of person %d", ErrNotAsked, owner.ID)
	}
	return nil
}

// HandOver moves an ask that is open, or was put off because the person wants it on a phone
// (ByPhone), to another device of the home. It is the same ask and costs nothing of the budget; how
// it was drawn before does not count. [ErrNotAsked] if it is over.
func HandOver(tx *store.Tx, home device.HomeID, id device.MessageID, on device.ID, live time.Duration) (Ask, error) {
	a, err := Asked(tx, home, id)
	if err != nil {
		return Ask{}, err
	}
	if a.State != Requested && (a.State != Deferred || a.Why != ByPhone.String()) {
		return Ask{}, fmt.Errorf("ask %s: it is over (%s): %w", id, a.State, ErrNotAsked)
	}
	if err := fit(tx, a.Question(), on, live); err != nil {
		return Ask{}, fmt.Errorf("ask %s on %s: %w", id, on, err)
	}
	a.Device = on
	return request(tx, a, live)
}

func applyAsk(tx *store.Apply, ev store.Event, a Ask) error {
	return tx.Exec(`INSERT INTO consent_ask (home, id, subject, brand, purpose, notice, device, asked, until, state, pos) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET device = excluded.device, until = excluded.until, state = excluded.state, why = '', drawn = 0, broken = '', served = x'', servings = 0`,
		ev.Home, a.ID[:], a.Subject, a.Brand, a.Purpose, a.Notice.column(), a.Device, ev.At, a.Until, string(Requested), ev.Pos)
}

// Control is what a person can press or say; the numbers are the wire's.
type Control uint8

// The controls.
const (
	Yes   Control = 1
	No    Control = 2
	More  Control = 3
	Phone Control = 4
)

// Look is how a control was drawn, as the device says.
type Look struct {
	Control Control `json:"control"`
	Presses uint    `json:"presses"`          // presses or words to choose it, from the moment it appears; 1 or more
	Area    uint    `json:"area,omitempty"`   // px; 0: it has none, as in speech
	Weight  uint    `json:"weight,omitempty"` // of its letters, 100 to 900; 0: not said
}

// Parity is nil if refusing was made at least as easy as accepting: there is one yes and one no, the
// no needs no more presses and is no smaller and no lighter, and neither was chosen beforehand.
// What was said of the one only is not taken for the same of the other. The error says what is
// broken.
func Parity(controls []Look) error {
	var yes, no *Look
	for i := range controls {
		c := &controls[i]
		switch {
		case c.Control == Yes && yes == nil:
			yes = c
		case c.Control == No && no == nil:
			no = c
		case c.Control == Yes || c.Control == No:
			return errors.New("a control is there twice")
		}
	}
	switch {
	case no == nil:
		return errors.New("there is no way to say no")
	case yes == nil:
		return errors.New("there is no way to say yes")
	case yes.Presses == 0:
		return errors.New("yes was chosen already")
	case no.Presses == 0:
		return errors.New("how many presses no needs is not said")
	case no.Presses > yes.Presses:
		return fmt.Errorf("no needs %d presses, and yes %d", no.Presses, yes.Presses)
	case no.Area < yes.Area:
		return fmt.Errorf("no has %d px, and yes %d", no.Area, yes.Area)
	case no.Weight < yes.Weight, yes.Weight == 0 && no.Weight != 0:
		return fmt.Errorf("the letters of no weigh %d, and those of yes %d", no.Weight, yes.Weight)
	}
	return nil
}

// Serving is what was on the screen.
type Serving struct {
	Ask      device.MessageID
	Device   device.ID
	Controls []Look // in the order in which they can be reached, at most 8
	Picture  []byte // SHA-256 of what was drawn; nil: not said
	Layer    uint   // the deepest layer that was seen, 1 to 3; 0: not said
	Dwell    time.Duration
}

// servedFact is what was drawn, where.
type servedFact struct {
	Subject  device.PersonID  `json:"subject"`
	Brand    device.BrandID   `json:"brand"`
	Purpose  policy.Purpose   `json:"purpose"`
	Served   device.MessageID `json:"served"`
	Notice   Hash             `json:"notice"`
	Device   device.ID        `json:"device"`
	Controls []Look           `json:"controls"`
	Picture  []byte           `json:"picture,omitempty"`
	Layer    uint             `json:"layer,omitempty"`
	Dwell    int64            `json:"dwell_ms,omitempty"`
	Broken   string           `json:"broken,omitempty"` // what made no harder than yes
}

// About is whose fact it is.
func (f servedFact) About() device.PersonID { return f.Subject }

const maxServings = 8 // of one ask on one device

// Served writes down what was drawn of an open ask. It may be told again when another layer is drawn;
// what is told twice in a row is one fact, and what is told of an ask that is over is none.
// registry.ErrUnknown if there is no such ask on that device.
func Served(tx *store.Tx, home device.HomeID, s Serving) error {
	a, err := Asked(tx, home, s.Ask)
	if err != nil {
		return err
	}
	if a.Device != s.Device {
		return fmt.Errorf("ask %s on %s: %w", s.Ask, s.Device, registry.ErrUnknown)
	}
	if a.State != Requested {
		return nil
	}
	if len(s.Controls) > 8 || len(s.Picture) != 0 && len(s.Picture) != sha256.Size || s.Layer > 3 || s.Dwell < 0 {
		return fmt.Errorf("ask %s: %w: at most 8 controls, a SHA-256, layer 1 to 3", s.Ask, ErrInvalid)
	}
	f := servedFact{Subject: a.Subject, Brand: a.Brand, Purpose: a.Purpose, Served: a.ID, Notice: a.Notice, Device: s.Device,
		Controls: s.Controls, Picture: s.Picture, Layer: s.Layer, Dwell: s.Dwell.Milliseconds()}
	if err := Parity(s.Controls); err != nil {
		f.Broken = err.Error()
	}
	sum, err := f.sum()
	if err != nil {
		return err
	}
	if bytes.Equal(sum, a.served) {
		return nil
	}
	if a.servings >= maxServings {
		return fmt.Errorf("ask %s: %w: it was drawn %d times", s.Ask, ErrInvalid, a.servings)
	}
	_, err = tx.Add(home, kindPrefix+string(Drawn), f)
	return err
}

func (f servedFact) sum() ([]byte, error) {
	raw, err := json.Marshal(f)
	sum := sha256.Sum256(raw)
	return sum[:], err
}

func applyServed(tx *store.Apply, ev store.Event, f servedFact) error {
	sum, err := f.sum()
	if err != nil {
		return err
	}
	return tx.Exec(`UPDATE consent_ask SET drawn = CASE WHEN drawn = 0 THEN ? ELSE drawn END, broken = CASE WHEN broken = '' THEN ? ELSE broken END,
		served = ?, servings = servings + 1 WHERE home = ? AND id = ?`, ev.At, f.Broken, sum, ev.Home, f.Served[:])
}

// Deferral says how an ask ended without an answer; those below 20 are the wire's numbers.
type Deferral uint8

// The deferrals.
const (
	ByTimeout Deferral = 1
	ByBack    Deferral = 2 // the person left the screen
	BySilence Deferral = 3
	ByDriving Deferral = 4
	ByUnsure  Deferral = 5 // nobody knows who answered
	ByPhone   Deferral = 6 // the person wants it on a phone
	ByDevice  Deferral = 7 // the device could not ask

	ByOther Deferral = 20 // a yes of somebody whose it is not to give
)

// String names the deferral, as the ledger spells it.
func (d Deferral) String() string {
	switch d {
	case ByTimeout:
		return "timeout"
	case ByBack:
		return "back"
	case BySilence:
		return "silence"
	case ByDriving:
		return "driving"
	case ByUnsure:
		return "unsure"
	case ByPhone:
		return "phone"
	case ByDevice:
		return "device"
	case ByOther:
		return "other"
	}
	return fmt.Sprintf("deferral(%d)", uint8(d))
}

// Reply is what became of an ask.
type Reply struct {
	Ask    device.MessageID
	Device device.ID
	Say    Control         // Yes, No, or 0 for neither
	Why    Deferral        // of neither
	Person device.PersonID // who answered; device.Household: not known
	Layer  uint            // the deepest layer that was seen, 1 to 3; 0: not said
	Dwell  time.Duration   // how long it was on the screen
}

// Answer writes down what became of an ask and returns it as it is then.
//
//   - A no always counts, once: Refused, or Withdrawn if a yes was in force; also of an ask that is over.
//   - A yes to an open ask counts if what was drawn had [Parity]: Given, or Renewed if the same notice
//     was in force. If it had none, or nothing was told of it, the yes is Invalidated and gives nothing.
//     One of somebody whose it is not to give, or whom nobody knows although it must be known, is
//     Deferred; so is one on a device that may no longer widen.
//   - Neither is Deferred.
//
// What else arrives of an ask that is over changes nothing. registry.ErrUnknown if there is no such
// ask on that device.
func Answer(tx *store.Tx, home device.HomeID, r Reply) (Ask, error) {
	a, err := Asked(tx, home, r.Ask)
	if err != nil {
		return Ask{}, err
	}
	if a.Device != r.Device {
		return Ask{}, fmt.Errorf("ask %s on %s: %w", r.Ask, r.Device, registry.ErrUnknown)
	}
	if r.Say > No || r.Layer > 3 || r.Dwell < 0 {
		return Ask{}, fmt.Errorf("ask %s: %w: an answer is yes, no or neither, and a layer is 1 to 3", r.Ask, ErrInvalid)
	}
	if a.State == Refused || a.State == Withdrawn || a.State != Requested && r.Say != No {
		return a, nil
	}
	e := Entry{Home: home, Subject: a.Subject, Brand: a.Brand, Purpose: a.Purpose, By: r.Person, Device: r.Device, Method: "ask",
		Notice: a.Notice, Served: a.ID, Layer: r.Layer, Dwell: r.Dwell.Milliseconds()}
	put := func(s State, why string) error {
		e.State, e.Why = s, why
		return add(tx, e)
	}
	if e.By, err = known(tx, home, r.Person); err != nil {
		return Ask{}, err
	}
	switch r.Say {
	case No:
		e.Choice = policy.Refused
		_, err = Record(tx, e)
	case Yes:
		err = answerYes(tx, a, e, r.Person != e.By, put)
	default:
		err = put(Deferred, r.Why.String())
	}
	if err != nil {
		return Ask{}, fmt.Errorf("ask %s: %w", r.Ask, err)
	}
	return Asked(tx, home, r.Ask)
}

// known is p, or nobody in particular if the home has no such person.
func known(tx *store.Tx, home device.HomeID, p device.PersonID) (device.PersonID, error) {
	if p == device.Household {
		return p, nil
	}
	people, err := registry.People(tx, home)
	if err != nil {
		return 0, err
	}
	if _, err := find(people, p); err != nil {
		return device.Household, nil
	}
	return p, nil
}

func answerYes(tx *store.Tx, a Ask, e Entry, stranger bool, put func(State, string) error) error {
	switch {
	case a.Drawn == 0:
		return put(Invalidated, "what was drawn is not known")
	case a.broken != "":
		return put(Invalidated, a.broken)
	}
	d, err := registry.Device(tx, a.Device)
	if err != nil && !errors.Is(err, registry.ErrUnknown) {
		return err
	}
	if err != nil || !d.Controller {
		return put(Deferred, ByDevice.String())
	}
	if e.By == device.Household && !stranger {
		e.By = d.Owner
	}
	if stranger || e.By == device.Household && a.Subject != device.Household {
		return put(Deferred, ByUnsure.String())
	}
	e.Choice = policy.Given
	_, err = Record(tx, e)
	switch {
	case errors.Is(err, ErrNotTheirs):
		return put(Deferred, ByOther.String())
	case errors.Is(err, ErrInvalid), errors.Is(err, registry.ErrUnknown):
		return put(Invalidated, "the brand does not ask for that any more")
	}
	return err
}

// Package consent is the ledger of choices: who was asked what, how it was drawn, who said yes or no
// to which brand, for what, where, to which notice and until when. Entries are only added; the last
// choice of a subject about a brand and purpose counts.
//
// In: entries, asks and notices from the Desk. Out: the choices in force, the ledger, and both as
// consent records and receipts. Never: an entry changed or taken out, a yes that nobody said, or
// that was harder to refuse than to give.
package consent

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/policy"
)

// What callers branch on.
var (
	ErrInvalid   = errors.New("cannot be recorded")           // an entry or a notice is not of its form
	ErrNotTheirs = errors.New("is not theirs to say yes to")  // a child's yes without a guardian, or somebody else's yes; ErrInvalid, too
	ErrNotAsked  = errors.New("is not to be asked")           // never: a child, a frozen person, a brand that does not declare it
	ErrAnswered  = errors.New("has been answered with a yes") // and the newest notice asks for no more
)

// State is what an event of the ledger says: the last word of its kind.
type State string

// The states, after DPV's statuses of consent, but for Served.
const (
	Requested   State = "requested"   // somebody is asked
	Drawn       State = "served"      // and this was on the screen
	Deferred    State = "deferred"    // neither yes nor no
	Refused     State = "refused"     // no
	Given       State = "given"       // yes
	Renewed     State = "renewed"     // yes again to the same notice, when asked before the end
	Withdrawn   State = "withdrawn"   // yes, and then no
	Expired     State = "expired"     // yes, and its time is over
	Invalidated State = "invalidated" // a yes that counts for nothing, because of how it came about
)

const kindPrefix = "consent."

// Entry is one event of the ledger.
type Entry struct {
	Home    device.HomeID    `json:"-"`
	Subject device.PersonID  `json:"subject"` // device.Household: the home as a whole
	Brand   device.BrandID   `json:"brand"`
	Purpose policy.Purpose   `json:"purpose"`
	Choice  policy.Choice    `json:"-"`                 // Given, Refused or Withdrawn; Silent where the event is no choice
	State   State            `json:"-"`                 // set when it is read
	By      device.PersonID  `json:"by,omitempty"`      // who said it; Household: the subject, or it is not known who
	Device  device.ID        `json:"device,omitempty"`  // on which it was said; "": none of the home's
	Method  string           `json:"method,omitempty"`  // how: settings (twin), wish (answer to a message), ask, operator, clock, age
	Notice  Hash             `json:"notice,omitzero"`   // what it was said to; of a yes, zero is the newest of the brand
	Served  device.MessageID `json:"served,omitzero"`   // the ask that it is about
	Until   device.Instant   `json:"until,omitempty"`   // of a yes: its end; zero is as long as the notice says, 12 months at most
	Classes policy.ClassSet  `json:"classes,omitempty"` // of a yes: where; zero is all that the notice names
	Type    string           `json:"type,omitempty"`    // of a yes: "expressed", and nothing else
	Layer   uint             `json:"layer,omitempty"`   // of what follows an ask: the deepest layer that was seen, 1 to 3
	Dwell   int64            `json:"dwell_ms,omitempty"`
	Why     string           `json:"why,omitempty"` // of Deferred and Invalidated
	At      device.Instant   `json:"-"`             // set when it is read
	Pos     int64            `json:"-"`             // position in the home's journal, set when it is read
}

// Key is what the entry is about.
func (e Entry) Key() policy.ConsentKey {
	return policy.ConsentKey{Subject: e.Subject, Brand: e.Brand, Purpose: e.Purpose}
}

// About is whose fact it is.
func (e Entry) About() device.PersonID { return e.Subject }

// choices are the states that are somebody's word.
var choices = map[State]policy.Choice{
	Given: policy.Given, Renewed: policy.Given, Refused: policy.Refused, Withdrawn: policy.Withdrawn,
}

// Binds reports whether an event of this kind changes what is permitted. To ask, and to put an answer
// off, does not.
func Binds(kind string) bool {
	switch State(trim(kind)) {
	case Given, Renewed, Refused, Withdrawn, Expired, Invalidated:
		return true
	}
	return false
}

func trim(kind string) string {
	if len(kind) > len(kindPrefix) && kind[:len(kindPrefix)] == kindPrefix {
		return kind[len(kindPrefix):]
	}
	return ""
}

// row is what is in force, or was last, about one key.
type row struct {
	Entry
	expired bool // or its time is over and nobody has written it down
}

const rowColumns = `SELECT subject, brand, purpose, choice, state, at, pos, said_by, device, method, notice, served, until, classes FROM consent WHERE home = ?`

func scanRow(home device.HomeID, now device.Instant) func(scan func(...any) error) (row, error) {
	return func(scan func(...any) error) (r row, err error) {
		var notice, served []byte
		r.Home = home
		err = scan(&r.Subject, &r.Brand, &r.Purpose, &r.Choice, &r.State, &r.At, &r.Pos, &r.By, &r.Device, &r.Method, &notice, &served, &r.Until, &r.Classes)
		copy(r.Notice[:], notice)
		copy(r.Served[:], served)
		if r.Choice == policy.Given {
			r.Type = expressed
		}
		r.expired = r.State == Expired || r.Choice == policy.Given && r.Until != 0 && r.Until <= now
		return r, err
	}
}

// last finds the row of a key; the zero row if there is none.
func last(tx *store.Tx, home device.HomeID, k policy.ConsentKey) (row, error) {
	r, err := scanRow(home, tx.Now)(tx.QueryRow(rowColumns+` AND subject = ? AND brand = ? AND purpose = ?`, home, k.Subject, k.Brand, k.Purpose).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return r, err
}

// inForce reports whether r is a yes that stands.
func (r row) inForce() bool { return r.Choice == policy.Given && !r.expired }

const expressed = "expressed"

// maxMonths is how long a yes can stand.
const maxMonths = 12

// Record adds a choice to the ledger of its home. A No that follows a Yes is recorded as Withdrawn,
// any other as Refused; a Yes that answers an ask while the same notice is in force, as Renewed.
// news is false, and nothing is recorded, if e says again what is in force, so that a choice that
// arrives twice is one choice. What e leaves open is filled in as its fields say.
//
// A Yes needs somebody whose it is to give: for a child (and for somebody whose age nobody has
// said) a guardian of theirs, in By; for a grown-up nobody else; for the home nobody who is a
// child or a guest. The operator (Method operator) is believed. A No is anybody's.
func Record(tx *store.Tx, e Entry) (news bool, err error) {
	if !e.Purpose.Known() {
		return false, fmt.Errorf("consent: %w: purpose %d is unknown", ErrInvalid, e.Purpose)
	}
	if e.Choice == policy.Silent || e.Choice > policy.Withdrawn {
		return false, fmt.Errorf("consent: %w: a choice is given, refused or withdrawn", ErrInvalid)
	}
	b, err := registry.BrandByID(tx, e.Brand)
	if errors.Is(err, registry.ErrUnknown) && e.Choice != policy.Given {
		var was int // a No to a brand that has left is still a No; one that never was is a mistake
		if e := tx.QueryRow(`SELECT count(*) FROM brand WHERE id = ?`, e.Brand).Scan(&was); e == nil && was > 0 {
			err = nil
		}
	}
	if err != nil {
		return false, fmt.Errorf("consent: %w", err)
	}
	if e.Choice == policy.Given && !declares(b, e.Purpose) {
		return false, fmt.Errorf("consent: %w: brand %s has not declared the purpose %s", ErrInvalid, e.Brand, e.Purpose)
	}
	if err := checkWho(tx, e); err != nil {
		return false, fmt.Errorf("consent: %w", err)
	}
	was, err := last(tx, e.Home, e.Key())
	if err != nil {
		return false, err
	}
	if e.Choice == policy.Given {
		return give(tx, e, was)
	}
	if (was.Choice == policy.Refused || was.Choice == policy.Withdrawn) && e.Served == (device.MessageID{}) {
		return false, nil
	}
	e.State, e.Until, e.Classes, e.Type = Refused, 0, 0, ""
	if was.inForce() {
		e.State = Withdrawn
		if e.Notice == (Hash{}) {
			e.Notice = was.Notice
		}
	}
	return true, add(tx, e)
}

// give records a yes, if it is news.
func give(tx *store.Tx, e Entry, was row) (news bool, err error) {
	inForce, asked := was.inForce(), e.Served != (device.MessageID{})
	if inForce && !asked && (e.Notice == Hash{} || e.Notice == was.Notice) && (e.Classes == 0 || e.Classes == was.Classes) && (e.Until == 0 || e.Until == was.Until) {
		return false, nil
	}
	var n Notice
	if e.Notice == (Hash{}) {
		n, err = keepNewest(tx, e.Brand)
	} else {
		n, err = NoticeByHash(tx, e.Notice)
	}
	if err != nil {
		return false, fmt.Errorf("consent: %w", err)
	}
	no := func(why string, args ...any) (bool, error) {
		return false, fmt.Errorf("consent: %w: "+why, append([]any{ErrInvalid}, args...)...)
	}
	months := min(n.ValidFor, maxMonths)
	end := device.At(tx.Now.Time().AddDate(0, months, 0))
	if e.Until == 0 {
		e.Until = end
	}
	if e.Type == "" {
		e.Type = expressed
	}
	all := classSet(n.Classes)
	if e.Classes == 0 {
		e.Classes = all
	}
	switch {
	case n.Brand != e.Brand || !slices.Contains(n.Purposes, e.Purpose):
		return no("the notice does not speak of %s by brand %s", e.Purpose, e.Brand)
	case e.Until <= tx.Now || e.Until > end:
		return no("a yes ends within %d months", months)
	case e.Type != expressed:
		return no("type %.40q: a yes is expressed", e.Type)
	case all != 0 && e.Classes&^all != 0 || e.Classes>>maxClass != 0:
		return no("the notice does not speak of all those classes of devices")
	}
	e.Notice = n.Hash()
	e.State = Given
	if inForce && asked && was.Notice == e.Notice {
		e.State = Renewed
	}
	return true, add(tx, e)
}

func add(tx *store.Tx, e Entry) error {
	_, err := tx.Add(e.Home, kindPrefix+string(e.State), e)
	return err
}

func declares(b registry.Brand, p policy.Purpose) bool {
	return slices.Contains(b.Purposes, p.String())
}

// child reports whether somebody is a child, or may be one. A guest is only if it was said.
func child(p registry.Person) bool {
	return p.Age == device.Child || p.Age == device.AgeUnknown && !p.Guest
}

// find returns somebody of the home.
func find(people []registry.Person, id device.PersonID) (registry.Person, error) {
	i := slices.IndexFunc(people, func(p registry.Person) bool { return p.ID == id })
	if i < 0 {
		return registry.Person{}, fmt.Errorf("person %d: %w", id, registry.ErrUnknown)
	}
	return people[i], nil
}

// checkWho checks that e's people live in the home and, of a yes, that it is theirs to give.
func checkWho(tx *store.Tx, e Entry) error {
	if e.Subject == device.Household && e.By == device.Household {
		return nil
	}
	people, err := registry.People(tx, e.Home)
	if err != nil {
		return err
	}
	var subject, by registry.Person
	if e.Subject != device.Household {
		if subject, err = find(people, e.Subject); err != nil {
			return err
		}
	}
	if by = subject; e.By != device.Household {
		if by, err = find(people, e.By); err != nil {
			return err
		}
	}
	switch {
	case e.Choice != policy.Given || e.Method == "operator":
		return nil
	case child(by),
		e.Subject == device.Household && by.Guest,
		e.Subject != device.Household && by.ID != subject.ID && (subject.Age == device.Adult || !slices.Contains(subject.Guardians, by.ID)):
		return fmt.Errorf("%w: it %w", ErrInvalid, ErrNotTheirs)
	}
	return nil
}

// Of returns the choices in force in a home. A yes reaches no further than every notice of the brand
// since the one that it was said to, and what the brand declares now: what was narrowed once stays
// so. A yes that has expired and is written down as such is Silent with its Until; one whose time
// is over by now is as it was given, and its Until says so.
func Of(tx *store.Tx, home device.HomeID) (map[policy.ConsentKey]policy.Stance, error) {
	rows, err := store.List(tx, scanRow(home, tx.Now), rowColumns, home)
	if err != nil {
		return nil, err
	}
	limits, err := limitsOf(tx, home)
	if err != nil {
		return nil, err
	}
	stances := make(map[policy.ConsentKey]policy.Stance, len(rows))
	for _, r := range rows {
		s := policy.Stance{Choice: r.Choice, At: r.At, Device: r.Device}
		switch {
		case r.State == Invalidated:
			continue
		case r.State == Expired:
			s.Until = r.Until
		case r.Choice == policy.Given:
			s.Until = r.Until
			ok := false
			if s.Classes, ok = limits.narrow(r.Entry); !ok {
				continue
			}
		}
		key := r.Key()
		key.Brand, s.Device = store.Intern(key.Brand), store.Intern(s.Device)
		stances[key] = s
	}
	return stances, nil
}

// TooLong reports whether a yes never ends, or later than one can that is said now, or was where the clock is up to a day ahead.
func TooLong(e Entry, now device.Instant) bool {
	return e.Until == 0 || e.Until > device.At(now.Time().AddDate(0, maxMonths, 1))
}

// List returns the choices in force in a home as they were made, the oldest first.
func List(tx *store.Tx, home device.HomeID) ([]Entry, error) {
	rows, err := store.List(tx, scanRow(home, tx.Now), rowColumns+` AND choice <> 0 ORDER BY pos`, home)
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, 0, len(rows))
	for _, r := range rows {
		if !r.expired {
			entries = append(entries, r.Entry)
		}
	}
	return entries, nil
}

// Expire writes down the end of every yes of a home that has ended by now, and returns how many.
func Expire(tx *store.Tx, home device.HomeID, now device.Instant) (n int, err error) {
	rows, err := store.List(tx, scanRow(home, now), rowColumns+` AND choice = 1 AND until > 0 AND until <= ? ORDER BY until, pos`, home, now)
	if err != nil {
		return 0, err
	}
	for _, r := range rows {
		e := Entry{Home: home, Subject: r.Subject, Brand: r.Brand, Purpose: r.Purpose, State: Expired, Method: "clock", Notice: r.Notice, Until: r.Until}
		if err := add(tx, e); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// Due lists the homes in which a yes has ended by now and is not written down as such, and when
// the next yes ends; 0: none does.
func Due(tx *store.Tx, now device.Instant) (due []device.HomeID, next device.Instant, err error) {
	due, err = store.List(tx, func(scan func(...any) error) (h device.HomeID, err error) { err = scan(&h); return },
		`SELECT DISTINCT home FROM consent WHERE choice = 1 AND until > 0 AND until <= ? ORDER BY home`, now)
	if err != nil {
		return nil, 0, err
	}
	err = tx.QueryRow(`SELECT coalesce(min(until), 0) FROM consent WHERE choice = 1 AND until > 0 AND until > ?`, now).Scan(&next)
	return due, next, err
}

// Invalidate writes down that the yes in force about a key counts for nothing, and why: for the
// operator, who has found out how it came about. registry.ErrUnknown if there is no such yes.
func Invalidate(tx *store.Tx, home device.HomeID, key policy.ConsentKey, why string) error {
	was, err := last(tx, home, key)
	if err != nil {
		return err
	}
	if !was.inForce() {
		return fmt.Errorf("consent: a yes to brand %s: %w", key.Brand, registry.ErrUnknown)
	}
	if why == "" || len(why) > 256 {
		return fmt.Errorf("consent: %w: say why in 1 to 256 bytes", ErrInvalid)
	}
	return add(tx, Entry{Home: home, Subject: key.Subject, Brand: key.Brand, Purpose: key.Purpose, State: Invalidated,
		Method: "operator", Notice: was.Notice, Served: was.Served, Why: why})
}

// Apply projects this noun's facts, which are those of notices, too; mine is false for those of others.
func Apply(tx *store.Apply, ev store.Event) (mine bool, err error) {
	if ev.Kind == noticeIssued {
		return true, store.With(ev, func(n Notice) error { return applyNotice(tx, ev, n) })
	}
	state := State(trim(ev.Kind))
	switch state {
	case Requested:
		return true, store.With(ev, func(a Ask) error { return applyAsk(tx, ev, a) })
	case Drawn:
		return true, store.With(ev, func(f servedFact) error { return applyServed(tx, ev, f) })
	case Given, Renewed, Refused, Withdrawn, Deferred, Expired, Invalidated:
		return true, store.With(ev, func(e Entry) error { return applyEntry(tx, ev, state, e) })
	}
	return false, nil
}

func applyEntry(tx *store.Apply, ev store.Event, state State, e Entry) error {
	notice, served := e.Notice.column(), idColumn(e.Served)
	var err error
	switch state {
	case Expired:
		err = tx.Exec(`UPDATE consent SET choice = 0, state = ?, pos = ? WHERE home = ? AND subject = ? AND brand = ? AND purpose = ? AND choice = 1`,
			string(state), ev.Pos, ev.Home, e.Subject, e.Brand, e.Purpose)
	case Invalidated: // of an ask that gave nothing, there is nothing to take away
		err = tx.Exec(`UPDATE consent SET choice = 0, state = ?, pos = ? WHERE home = ? AND subject = ? AND brand = ? AND purpose = ? AND choice = 1 AND served = ?`,
			string(state), ev.Pos, ev.Home, e.Subject, e.Brand, e.Purpose, served)
	case Deferred:
	default:
		err = tx.Exec(`INSERT INTO consent (home, subject, brand, purpose, choice, state, at, pos, said_by, device, method, notice, served, until, classes)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET choice = excluded.choice, state = excluded.state, at = excluded.at, pos = excluded.pos, said_by = excluded.said_by,
			device = excluded.device, method = excluded.method, notice = excluded.notice, served = excluded.served, until = excluded.until, classes = excluded.classes`,
			ev.Home, e.Subject, e.Brand, e.Purpose, choices[state], string(state), ev.At, ev.Pos, e.By, e.Device, e.Method, notice, served, e.Until, e.Classes)
	}
	if err != nil || e.Served == (device.MessageID{}) {
		return err
	}
	return tx.Exec(`UPDATE consent_ask SET state = ?, why = ? WHERE home = ? AND id = ?`, string(state), e.Why, ev.Home, served)
}

// idColumn is an ask's ID as it is stored; empty for none.
func idColumn(id device.MessageID) []byte {
	if id == (device.MessageID{}) {
		return []byte{}
	}
	return id[:]
}

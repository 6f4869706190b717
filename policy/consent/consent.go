// Package consent is the ledger of choices: who said yes or no to which brand, for what, where
// and when. Entries are only added; the last one of a subject about a brand and purpose counts.
//
// In: entries from the Desk. Out: the choices in force, and the ledger. Never: an entry changed
// or taken out, a yes that nobody said.
package consent

import (
	"database/sql"
	"errors"
	"fmt"

	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/policy"
)

// ErrInvalid is wrapped by the error about an entry that cannot be recorded.
var ErrInvalid = errors.New("cannot be recorded")

// Entry is one choice.
type Entry struct {
	Home    device.HomeID   `json:"-"`
	Subject device.PersonID `json:"subject"` // device.Household: the home as a whole
	Brand   device.BrandID  `json:"brand"`
	Purpose policy.Purpose  `json:"purpose"`
	Choice  policy.Choice   `json:"-"`                // Given, Refused or Withdrawn; the event's kind
	Device  device.ID       `json:"device,omitempty"` // on which it was said; "": none of the home's
	Method  string          `json:"method"`           // how: settings (twin), wish (answer to a message), operator
	At      device.Instant  `json:"-"`                // set when it is read
	Pos     int64           `json:"-"`                // position in the home's journal, set when it is read
}

// Key is what the entry is about.
func (e Entry) Key() policy.ConsentKey {
	return policy.ConsentKey{Subject: e.Subject, Brand: e.Brand, Purpose: e.Purpose}
}

var kinds = map[string]policy.Choice{
	"consent.given":     policy.Given,
	"consent.refused":   policy.Refused,
	"consent.withdrawn": policy.Withdrawn,
}

// Record adds e to the ledger of its home. A No that follows a Yes is recorded as Withdrawn,
// any other as Refused. news is false, and nothing is recorded, if e says again what is in
// force, so that a choice that arrives twice is one choice.
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
	if e.Subject != device.Household {
		people, err := registry.People(tx, e.Home)
		if err != nil {
			return false, err
		}
		known := false
		for _, p := range people {
			known = known || p.ID == e.Subject
		}
		if !known {
			return false, fmt.Errorf("consent: person %d: %w", e.Subject, registry.ErrUnknown)
		}
	}
	var was policy.Choice
	err = tx.QueryRow(`SELECT choice FROM consent WHERE home = ? AND subject = ? AND brand = ? AND purpose = ?`,
		e.Home, e.Subject, e.Brand, e.Purpose).Scan(&was)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return false, err
	}
	no := func(c policy.Choice) bool { return c == policy.Refused || c == policy.Withdrawn }
	switch {
	case was == e.Choice || no(was) && no(e.Choice):
		return false, nil
	case no(e.Choice) && was == policy.Given:
		e.Choice = policy.Withdrawn
	case no(e.Choice):
		e.Choice = policy.Refused
	}
	_, err = tx.Add(e.Home, "consent."+e.Choice.String(), e)
	return true, err
}

func declares(b registry.Brand, p policy.Purpose) bool {
	for _, name := range b.Purposes {
		if name == p.String() {
			return true
		}
	}
	return false
}

// Of returns the choices in force in a home.
func Of(tx *store.Tx, home device.HomeID) (map[policy.ConsentKey]policy.Stance, error) {
	entries, err := List(tx, home)
	if err != nil {
		return nil, err
	}
	choices := make(map[policy.ConsentKey]policy.Stance, len(entries))
	for _, e := range entries {
		choices[e.Key()] = policy.Stance{Choice: e.Choice, At: e.At}
	}
	return choices, nil
}

// List returns the choices in force in a home with when they were made, the oldest first.
func List(tx *store.Tx, home device.HomeID) ([]Entry, error) {
	return store.List(tx, func(scan func(...any) error) (e Entry, err error) {
		e.Home = home
		err = scan(&e.Subject, &e.Brand, &e.Purpose, &e.Choice, &e.At, &e.Pos)
		return
	}, `SELECT subject, brand, purpose, choice, at, pos FROM consent WHERE home = ? ORDER BY pos`, home)
}

// Apply projects this noun's facts; mine is false for those of others.
func Apply(tx *store.Apply, ev store.Event) (mine bool, err error) {
	choice, ok := kinds[ev.Kind]
	if !ok {
		return false, nil
	}
	return true, store.With(ev, func(e Entry) error {
		return tx.Exec(`INSERT INTO consent (home, subject, brand, purpose, choice, at, pos) VALUES (?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET choice = excluded.choice, at = excluded.at, pos = excluded.pos`,
			ev.Home, e.Subject, e.Brand, e.Purpose, choice, ev.At, ev.Pos)
	})
}

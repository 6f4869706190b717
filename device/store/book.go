package store

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"

	"porchlight/device"
	"porchlight/device/ledger"
)

const eventColumns = "seq, home, pos, at, actor, kind, body, subject, key, salt, leaf"

// errAltered is wrapped by the error about an event that was altered since it was written.
var errAltered = errors.New("it was altered, or its key was")

// scan returns the event of a row of eventColumns, opened. If it fails with errAltered or ErrKeys, the
// event is as the row has it, with no Body.
func (tx *Tx) scan(rows *Rows) (Event, error) {
	e, number, err := scanShut(rows)
	if err == nil {
		err = tx.unseal(&e, number)
	}
	return e, err
}

// scanShut returns the event of a row of eventColumns as the row has it, and the number of its key. A home's has its body,
// salt and leaf in Entry.
func scanShut(rows *Rows) (e Event, number int64, err error) {
	var body, salt, leaf []byte
	if err := rows.Scan(&e.Seq, &e.Home, &e.Pos, &e.At, &e.Actor, &e.Kind, &body, &e.Subject, &number, &salt, &leaf); err != nil {
		return e, 0, err
	}
	if e.Home == device.Gateway {
		e.Body = body
		return e, 0, nil
	}
	e.Entry = ledger.Entry{Pos: e.Pos, At: e.At, Kind: e.Kind, Actor: e.Actor, Salt: salt, Sealed: body}
	if len(leaf) != len(e.Entry.Leaf) {
		number = noLeaf
	}
	copy(e.Entry.Leaf[:], leaf)
	return e, number, nil
}

const noLeaf = -1 // the key's number of an event whose leaf is none

// unseal opens an event that scanShut has returned.
func (tx *Tx) unseal(e *Event, number int64) error {
	switch {
	case e.Home == device.Gateway:
		return nil
	case number == noLeaf:
		return tx.altered(*e)
	case e.Entry.Salt == nil && len(e.Entry.Sealed) == 0:
		*e = e.erased()
		return nil
	}
	k, err := tx.keys.opening(number)
	if err != nil {
		return fmt.Errorf("position %d of home %d: %w", e.Pos, e.Home, err)
	}
	if k.gone() {
		*e = e.erased()
		return nil
	}
	e.Entry.Subject = k.pseudonym
	if e.Body, err = k.cipher.Open(e.Entry); err != nil || k.whose != (whose{e.Home, e.Subject}) {
		e.Body = nil
		return tx.altered(*e)
	}
	return nil
}

func (tx *Tx) altered(e Event) error {
	return fmt.Errorf("%s: %w: position %d of home %d does not open: %w", tx.c.path, ErrCorrupt, e.Pos, e.Home, errAltered)
}

// erased is e without what is erased.
func (e Event) erased() Event {
	e.Entry = ledger.Entry{Pos: e.Pos, At: e.At, Kind: e.Kind, Erased: true, Leaf: e.Entry.Leaf}
	e.Erased, e.Actor, e.Subject, e.Body = true, "", device.Household, nil
	return e
}

// Events returns at most n events of home's book after the position after, in order, the erased ones too.
func (tx *Tx) Events(home device.HomeID, after int64, n int) ([]Event, error) {
	rows, err := tx.Query("SELECT "+eventColumns+" FROM journal WHERE home = ? + 0 AND pos > ? ORDER BY pos LIMIT ?", home, after, n)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []Event
	for rows.Next() {
		e, err := tx.scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, rows.Err()
}

// Filter says which events Journal lists; the zero Filter lists all.
type Filter struct {
	Home   *device.HomeID         // whose book alone; nil: every book, the gateway's too
	Since  device.Instant         // none that was taken in earlier; 0: from the beginning
	Kind   func(kind string) bool // asked before an event is opened; nil: every kind
	Oldest bool                   // the oldest first, not the newest
}

// Journal lists events, the newest first, until its caller has had enough. The erased are among them. An error ends it.
//
//	for e, err := range tx.Journal(store.Filter{Since: since}) {
//		if err != nil {
//			return err
//		}
//		if !e.Erased && bytes.Contains(e.Body, about) {
//			all = append(all, e)
//		}
//		if len(all) == limit {
//			break
//		}
//	}
func (tx *Tx) Journal(f Filter) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		query, args := "SELECT "+eventColumns+" FROM journal WHERE at >= ? ORDER BY seq", []any{f.Since}
		if f.Home != nil {
			query, args = "SELECT "+eventColumns+" FROM journal WHERE home = ? + 0 AND at >= ? ORDER BY pos", []any{*f.Home, f.Since}
		}
		if !f.Oldest {
			query += " DESC"
		}
		rows, err := tx.Query(query, args...)
		if err != nil {
			yield(Event{}, err)
			return
		}
		defer rows.Close()
		for rows.Next() {
			e, number, err := scanShut(rows)
			if err == nil && f.Kind != nil && !f.Kind(e.Kind) {
				continue
			}
			if err == nil {
				err = tx.unseal(&e, number)
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(Event{}, err)
		}
	}
}

// Log returns the leaves of home's log. It fails with ErrNoBook if there is none.
func (tx *Tx) Log(home device.HomeID) (l ledger.Log, err error) {
	if home == device.Gateway {
		return l, ErrNoBook
	}
	rows, err := tx.Query("SELECT leaf FROM journal WHERE home = ? + 0 ORDER BY pos", home)
	if err != nil {
		return l, err
	}
	defer rows.Close()
	for rows.Next() {
		var leaf ledger.Hash
		if err := rows.Scan(&leaf); err != nil {
			return l, fmt.Errorf("%s: %w: position %d of home %d has no leaf", tx.c.path, ErrCorrupt, len(l.Leaves)+1, home)
		}
		l.Leaves = append(l.Leaves, leaf)
	}
	if err := rows.Err(); err != nil {
		return l, err
	}
	if len(l.Leaves) == 0 {
		return l, ErrNoBook
	}
	l.Home, err = tx.keys.pseudonym(home)
	return l, err
}

// Export returns home's log as it can be verified elsewhere. It fails with ErrNoBook if there is none.
func (tx *Tx) Export(home device.HomeID) (x ledger.Export, err error) {
	if home == device.Gateway {
		return x, ErrNoBook
	}
	events, err := tx.Events(home, 0, math.MaxInt)
	if err != nil {
		return x, err
	}
	for _, e := range events {
		x.Entries = append(x.Entries, e.Entry)
	}
	x.Home, err = tx.keys.pseudonym(home)
	return x, err
}

// Import appends events to home's empty book at positions 1 and following, as they are: each with its own At, Actor, Kind,
// Body and Subject. An erased one stays erased, with its leaf. It fails with ErrMoved if the book is not empty.
func (tx *Tx) Import(home device.HomeID, events []Event) error {
	if err := tx.imports(home, events); err != nil {
		return fmt.Errorf("import the book of home %d: %w", home, err)
	}
	return nil
}

func (tx *Tx) imports(home device.HomeID, events []Event) error {
	switch {
	case tx.over:
		return errOver
	case tx.project == nil:
		return errors.New("nothing can be appended in View")
	case tx.failed != nil:
		return tx.failed
	case home == device.Gateway:
		return errors.New("the gateway's own book comes from nowhere else")
	}
	head, err := tx.Head(home)
	if err != nil {
		return err
	}
	if head != 0 {
		return fmt.Errorf("%w: its head is %d", ErrMoved, head)
	}
	for i, e := range events {
		switch {
		case e.Kind == "":
			return fmt.Errorf("event %d has no kind", i+1)
		case !e.Erased && !json.Valid(e.Body):
			return fmt.Errorf("event %d, %s: its body is no JSON", i+1, e.Kind)
		case e.Erased && e.Entry.Leaf == ledger.Hash{}:
			return fmt.Errorf("event %d, %s: it is erased, and has no leaf", i+1, e.Kind)
		}
	}
	for i, e := range events {
		own := Event{Home: home, Pos: int64(i) + 1, At: e.At, Kind: e.Kind}
		if e.Erased {
			own.Erased, own.Entry.Leaf = true, e.Entry.Leaf
		} else {
			own.Actor, own.Body, own.Subject = e.Actor, e.Body, e.Subject
		}
		if tx.failed = tx.write(&own); tx.failed != nil {
			return fmt.Errorf("event %d, %s: %w", own.Pos, own.Kind, tx.failed)
		}
	}
	return nil
}

// Import is that of Tx, as one unit.
func (db *DB) Import(ctx context.Context, home device.HomeID, events []Event) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return db.Update(func(tx *Tx) error { return tx.Import(home, events) })
}

// Head returns the head of home's log now. It fails with ErrNoBook if there is none.
func (db *DB) Head(ctx context.Context, home device.HomeID) (h ledger.Head, err error) {
	err = db.View(ctx, func(tx *Tx) error {
		l, err := tx.Log(home)
		h = l.Head(tx.Now)
		return err
	})
	if err != nil {
		return ledger.Head{}, fmt.Errorf("head of the log of home %d: %w", home, err)
	}
	return h, nil
}

// Sign signs payload with home's own key as something of type typ, see [ledger.Sign]. It fails with ErrNoBook if
// nothing was ever written in home's book.
func (db *DB) Sign(home device.HomeID, typ string, payload []byte) ([]byte, error) {
	k, err := db.keys.signer(home)
	if err != nil {
		return nil, fmt.Errorf("sign for home %d: %w", home, err)
	}
	return ledger.Sign(k, typ, payload)
}

// PublicKey is what verifies what Sign has signed: an ed25519.PublicKey. It fails with ErrNoBook if nothing was ever
// written in home's book.
func (db *DB) PublicKey(home device.HomeID) (crypto.PublicKey, error) {
	k, err := db.keys.signer(home)
	if err != nil {
		return nil, fmt.Errorf("public key of home %d: %w", home, err)
	}
	return k.Public(), nil
}

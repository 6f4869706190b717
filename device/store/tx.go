package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"

	"porchlight/device"
	"porchlight/device/ledger"
)

// Tx is a transaction to read from and, inside Update, to append to. It belongs to one goroutine and
// ends with the unit.
type Tx struct {
	Now device.Instant // one instant for all of the unit

	Actor device.Actor // who causes what is appended; may be set before the first Append

	c       *conn
	ctx     context.Context // of View, for the life of its closure; nil in Update
	project Projector       // nil in View
	book    *book           // nil in View
	keys    *keys           // nil where no event is read
	touched []device.HomeID // homes whose head is another if the unit is undone
	open    []*Rows
	careful bool  // it is undone to a savepoint of its own if it fails
	wrote   bool  // something; if it is careful, after its savepoint
	failed  error // an Append that got half way: the unit fails, whatever f makes of it
	over    bool
}

var errOver = errors.New("the transaction is over")

// Query is database/sql's, for one SELECT. Rows left open are closed at the end of the unit.
func (tx *Tx) Query(query string, args ...any) (*Rows, error) {
	if tx.over {
		return nil, errOver
	}
	if tx.ctx != nil && tx.ctx.Err() != nil {
		return nil, tx.ctx.Err()
	}
	st, err := tx.c.take(query)
	if err != nil {
		return nil, err
	}
	if !st.reads {
		tx.c.give(st)
		return nil, fmt.Errorf("query %q: only SELECT reads", query)
	}
	return tx.rows(st, args)
}

func (tx *Tx) rows(st *stmt, args []any) (*Rows, error) {
	r, err := tx.c.run(st, args)
	if err != nil {
		tx.c.give(st)
		return nil, err
	}
	if st.row == nil {
		st.row = make([]driver.Value, len(r.Columns()))
	}
	rows := &Rows{tx: tx, st: st, r: r}
	tx.open = append(tx.open, rows)
	return rows, nil
}

// QueryRow is database/sql's, for one SELECT.
func (tx *Tx) QueryRow(query string, args ...any) *Row {
	rows, err := tx.Query(query, args...)
	return &Row{rows: rows, err: err}
}

// book is what the writer remembers of the journal. Nobody else can write it while the file is open.
type book struct {
	heads map[device.HomeID]int64
	seq   int64           // of the newest event; 0 if it must be looked up
	nouns map[string]bool // of the events of this transaction, at least
}

func newBook() book { return book{heads: map[device.HomeID]int64{}, nouns: map[string]bool{}} }

const maxHeads = 1 << 16 // remembered; beyond, all are forgotten

// forget is for when a unit that touched these homes was undone.
func (b *book) forget(touched []device.HomeID) {
	b.seq = 0
	for _, home := range touched {
		delete(b.heads, home)
	}
}

func (b *book) forgetAll() {
	b.seq = 0
	clear(b.heads)
	clear(b.nouns)
}

// Head returns the position of home's newest event; 0 if it has none.
func (tx *Tx) Head(home device.HomeID) (int64, error) {
	if tx.book != nil {
		if pos, ok := tx.book.heads[home]; ok && !tx.over && tx.c.dead == nil {
			return pos, nil
		}
	}
	var pos int64
	// With "home = ?" SQLite would plan the query anew each time, because the driver clears the arguments.
	err := tx.QueryRow("SELECT pos FROM journal WHERE home = ? + 0 ORDER BY pos DESC LIMIT 1", int64(home)).Scan(&pos)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	if err == nil && tx.book != nil {
		if len(tx.book.heads) >= maxHeads {
			clear(tx.book.heads)
		}
		tx.book.heads[home] = pos
	}
	return pos, err
}

// Append adds an event of kind with body, encoded as JSON, to home's journal at the place after the position after,
// and projects it. It fails with ErrMoved if the head is elsewhere. In View it fails.
func (tx *Tx) Append(home device.HomeID, after int64, kind string, body any) (Event, error) {
	e, err := tx.append(home, after, kind, body)
	if err != nil {
		return Event{}, fmt.Errorf("append %s to home %d after %d: %w", kind, home, after, err)
	}
	return e, nil
}

func (tx *Tx) append(home device.HomeID, after int64, kind string, body any) (Event, error) {
	switch {
	case tx.over:
		return Event{}, errOver
	case tx.project == nil:
		return Event{}, errors.New("nothing can be appended in View")
	case tx.failed != nil:
		return Event{}, tx.failed
	}
	head, err := tx.Head(home)
	if err != nil {
		return Event{}, err
	}
	if head != after {
		return Event{}, fmt.Errorf("%w: its head is %d", ErrMoved, head)
	}
	b, ok := body.(Body)
	if !ok {
		if b, err = Encode(body); err != nil {
			return Event{}, err
		}
	}
	e := Event{Home: home, Pos: after + 1, At: tx.Now, Actor: tx.Actor, Kind: kind, Body: b.raw, fact: b.value}
	if about, ok := b.value.(About); ok {
		e.Subject = about.About()
	}
	if tx.failed = tx.write(&e); tx.failed != nil {
		return Event{}, tx.failed
	}
	e.fact = nil
	return e, nil
}

// writes is called before anything is written.
func (tx *Tx) writes() error {
	if tx.wrote {
		return nil
	}
	if tx.careful {
		if err := tx.c.exec("SAVEPOINT unit"); err != nil {
			return err
		}
	}
	tx.wrote = true
	return nil
}

// write seals e, if it is a home's, and puts it into the journal and its projections. If it fails, something of
// it may be left.
func (tx *Tx) write(e *Event) error {
	if err := tx.writes(); err != nil {
		return err
	}
	if n := len(tx.touched); n == 0 || tx.touched[n-1] != e.Home {
		tx.touched = append(tx.touched, e.Home)
	}
	if tx.book.seq == 0 {
		if err := tx.QueryRow("SELECT coalesce(max(seq), 0) FROM journal").Scan(&tx.book.seq); err != nil {
			return err
		}
	}
	e.Seq = tx.book.seq + 1
	body, number := e.Body, int64(0)
	var salt, leaf any
	if e.Home == device.Gateway {
		e.Subject = device.Household
	} else {
		var err error
		if number, err = tx.seal(e); err != nil {
			return err
		}
		if body, leaf = e.Entry.Sealed, e.Entry.Leaf[:]; e.Erased {
			body = []byte{}
		} else {
			salt = e.Entry.Salt
		}
	}
	if err := tx.c.exec("INSERT INTO journal (seq, home, pos, at, actor, kind, body, subject, key, salt, leaf) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		e.Seq, int64(e.Home), e.Pos, int64(e.At), string(e.Actor), e.Kind, body, int64(e.Subject), number, salt, leaf); err != nil {
		return err
	}
	tx.book.seq, tx.book.heads[e.Home] = e.Seq, e.Pos
	tx.book.nouns[noun(e.Kind)] = true
	if e.Erased || e.Kind == KindErased {
		return nil
	}
	return tx.project(&Apply{tx}, *e)
}

// seal makes the entry of e in its home's log, and returns the number of the key.
func (tx *Tx) seal(e *Event) (number int64, err error) {
	leaf := e.Entry.Leaf
	e.Entry = ledger.Entry{Pos: e.Pos, At: e.At, Kind: e.Kind, Actor: e.Actor, Erased: e.Erased, Leaf: leaf}
	if e.Erased {
		return 0, nil
	}
	k, err := tx.keys.seals(whose{e.Home, e.Subject})
	if err != nil {
		return 0, err
	}
	e.Entry.Subject = k.pseudonym
	k.cipher.Seal(&e.Entry, e.Body)
	return k.id, nil
}

// end closes what was left open.
func (tx *Tx) end() {
	tx.over = true
	for len(tx.open) > 0 {
		tx.open[len(tx.open)-1].Close()
	}
}

// Apply is what a Projector may do: read and write the tables.
type Apply struct{ tx *Tx }

// Exec is database/sql's, for one INSERT, UPDATE or DELETE; it is prepared once per query text.
func (a *Apply) Exec(query string, args ...any) error {
	if a.tx.over {
		return errOver
	}
	c := a.tx.c
	st, err := c.take(query)
	if err != nil {
		return err
	}
	defer c.give(st)
	if !st.writes {
		return fmt.Errorf("exec %q: only INSERT, UPDATE and DELETE write", query)
	}
	r, err := c.run(st, args)
	if err != nil {
		return err
	}
	return c.fault(r.Close())
}

// QueryRow is that of Tx.
func (a *Apply) QueryRow(query string, args ...any) *Row { return a.tx.QueryRow(query, args...) }

// Query is that of Tx.
func (a *Apply) Query(query string, args ...any) (*Rows, error) { return a.tx.Query(query, args...) }

package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"porchlight/device"
)

// Erase erases for good, in the name of by, the events of home's book that match, and all that are about one of people, whose
// keys are destroyed; it returns how many. What is left of the book is projected again, and a KindErased event says which
// positions were erased, and why (in words that name nobody: they stay). match runs on the writer, may be nil,
// and is not asked about what is about people, or was erased before. Where nothing is to be erased, nothing is written.
//
// When Erase returns nil, nothing of what was erased is left in the files. If ctx ends before that, or the disk is
// full, it says so; what is erased is then erased for every reader, and the next Erase or Open cleans the files. To
// clean them, the whole database is written anew: twice its size must be free on the disk, and units wait meanwhile. It
// waits for the views that began before, so none may call it.
func (db *DB) Erase(ctx context.Context, by device.Actor, home device.HomeID, match func(Event) bool, people []device.PersonID, why string) (n int, err error) {
	if n, err = db.erase(ctx, by, home, match, people, why); err != nil {
		return n, fmt.Errorf("erase from the book of home %d: %w", home, err)
	}
	return n, nil
}

func (db *DB) erase(ctx context.Context, by device.Actor, home device.HomeID, match func(Event) bool, people []device.PersonID, why string) (n int, err error) {
	switch {
	case db.clear == nil:
		return 0, errors.New("no Clearer")
	case home <= device.Gateway:
		return 0, errors.New("nothing is erased from the gateway's own book")
	case slices.ContainsFunc(people, func(p device.PersonID) bool { return p <= device.Household }):
		return 0, errors.New("the home as a whole is no person")
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	db.erasing.Lock()
	defer db.erasing.Unlock()
	err = db.Update(func(tx *Tx) (err error) {
		tx.Actor = by
		n, err = tx.erase(db.clear, home, match, people, why)
		return err
	})
	if err != nil {
		return 0, err
	}
	if err := db.clean(ctx); err != nil {
		return n, fmt.Errorf("%d events are erased, but the files still have traces of them: %w", n, err)
	}
	return n, nil
}

// erase is the part of Erase that is one transaction.
func (tx *Tx) erase(clear Clearer, home device.HomeID, match func(Event) bool, people []device.PersonID, why string) (int, error) {
	head, err := tx.Head(home)
	if err != nil {
		return 0, err
	}
	var positions []int64
	err = tx.each(home, head, func(e Event) error {
		if !e.Erased && (slices.Contains(people, e.Subject) || match != nil && match(e)) {
			positions = append(positions, e.Pos)
		}
		return nil
	})
	if err != nil || len(positions) == 0 {
		return 0, err
	}
	if err := tx.writes(); err != nil {
		return 0, err
	}
	tx.touched = append(tx.touched, home)
	for _, pos := range positions {
		if err := tx.c.exec("UPDATE journal SET body = x'', actor = '', subject = 0, key = 0, salt = NULL WHERE home = ? AND pos = ?", home, pos); err != nil {
			return 0, err
		}
	}
	apply := &Apply{tx}
	if err := clear(apply, home); err != nil {
		return 0, fmt.Errorf("clear: %w", err)
	}
	err = tx.each(home, head, func(e Event) error {
		if e.Erased || e.Kind == KindErased {
			return nil
		}
		if err := tx.project(apply, e); err != nil {
			return fmt.Errorf("project position %d, %s, again: %w", e.Pos, e.Kind, err)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	e, err := tx.Append(home, head, KindErased, Erasure{positions, why})
	if err != nil {
		return 0, err
	}
	return len(positions), tx.keys.retire(home, e.Pos, e.Entry.Leaf, people)
}

// each calls f for each event of home's book up to the position head.
func (tx *Tx) each(home device.HomeID, head int64, f func(Event) error) error {
	const page = 256
	for after := int64(0); after < head; {
		events, err := tx.Events(home, after, page)
		if err != nil {
			return err
		}
		for _, e := range events {
			if err := f(e); err != nil {
				return err
			}
			after = e.Pos
		}
		if len(events) < page {
			return nil
		}
	}
	return nil
}

// patience is how long the writer waits for views that still read what is to be cleaned, before
// it lets other units go on.
const patience = 50 * time.Millisecond

// clean destroys the keys that were retired by what was erased, and writes the files anew without it.
func (db *DB) clean(ctx context.Context) error {
	if err := db.Kept(); err != nil {
		return err
	}
	var left []todo
	err := db.alone(func() (err error) {
		if left, err = db.shred(); err == nil && len(left) > 0 {
			err = db.w.exec("VACUUM")
		}
		return err
	})
	for err == nil && len(left) > 0 {
		err = db.alone(func() error { return db.wipe(left, patience) })
		if !errors.Is(err, errRead) {
			return err
		}
		select {
		case <-ctx.Done():
			err = fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-time.After(patience):
			err = nil
		}
	}
	return err
}

// complete does at Open what is left of an Erase that was cut short.
func (db *DB) complete() error {
	left, err := db.shred()
	if err != nil || len(left) == 0 {
		return err
	}
	if err = db.w.exec("VACUUM"); err == nil {
		err = db.wipe(left, db.busy)
	}
	if errors.Is(err, errRead) || errors.Is(err, ErrFull) {
		return nil // it stays on the list
	}
	return err
}

// shred destroys the retired keys of what was erased, and returns what is to be wiped. An Erase that never
// got to the disk is taken off the list. The writer's own.
func (db *DB) shred() (left []todo, err error) {
	all, err := db.keys.todos()
	if err != nil {
		return nil, err
	}
	tx := &Tx{c: db.w}
	defer tx.end()
	for _, t := range all {
		var was bool
		if err := tx.QueryRow("SELECT EXISTS (SELECT 1 FROM journal WHERE home = ? AND pos = ? AND leaf = ?)", t.home, t.pos, t.leaf).Scan(&was); err != nil {
			return nil, err
		}
		if !was {
			err = db.keys.done(t)
		} else if err = db.keys.destroy(t); err == nil {
			left = append(left, t)
		}
		if err != nil {
			db.keys.drop()
			return nil, err
		}
	}
	return left, db.keys.flush()
}

// errRead says that somebody still reads what is to be wiped.
var errRead = errors.New("something still reads from before")

// wipe empties the write-ahead log once the database was written anew, and takes left off the list. It waits for those who
// still read from before that: errRead. The writer's own.
//
// To delete is not enough: where SQLite moves rows between pages, what they were stays in the gaps. So
// VACUUM comes first.
func (db *DB) wipe(left []todo, wait time.Duration) error {
	if _, err := db.w.text("PRAGMA busy_timeout = " + busyTimeout(wait)); err != nil {
		return err
	}
	db.moving.Lock()
	busy, err := db.w.text("PRAGMA wal_checkpoint(TRUNCATE)")
	db.moving.Unlock()
	if _, e := db.w.text("PRAGMA busy_timeout = " + busyTimeout(db.busy)); e != nil {
		return errors.Join(err, e)
	}
	if err != nil {
		return err
	}
	if busy != "0" {
		return errRead
	}
	for _, t := range left {
		if err := db.keys.done(t); err != nil {
			db.keys.drop()
			return err
		}
	}
	return db.keys.flush()
}

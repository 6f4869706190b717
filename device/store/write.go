package store

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"porchlight/device"
)

// unit is one Update that waits for its answer.
type unit struct {
	f     func(*Tx) error
	alone func() error // instead of f: run on the writer, in no transaction
	err   error
	done  chan struct{}
}

// Update runs f as one unit and returns after it is on disk. Units that wait at the same time share one
// commit; an error of f undoes f alone and is returned. f runs on the writer: it must not block, and must
// not call View or Update. If a shared commit fails, every unit is run again by itself: f must not add up
// what it leaves behind outside the database, but set it anew.
func (db *DB) Update(f func(tx *Tx) error) error { return db.put(f, nil) }

// alone runs f on the writer, between two transactions.
func (db *DB) alone(f func() error) error { return db.put(nil, f) }

// put queues a unit and waits for its answer.
func (db *DB) put(f func(*Tx) error, alone func() error) error {
	u, ok := db.spare.Get().(*unit)
	if !ok {
		u = &unit{done: make(chan struct{}, 1)}
	}
	u.f, u.alone, u.err = f, alone, nil
	db.mu.RLock()
	if db.closed {
		db.mu.RUnlock()
		return ErrClosed
	}
	db.queue <- u
	db.mu.RUnlock()
	<-u.done
	err := u.err
	u.f, u.alone = nil, nil
	db.spare.Put(u)
	return err
}

var errExited = errors.New("the unit ended its goroutine")

// write is the writer: it commits what waits until the queue is closed. rest are units left over by a
// writer that a unit has ended.
func (db *DB) write(rest []*unit) {
	defer func() {
		u := db.running
		if u == nil {
			close(db.stopped)
			return
		}
		// runtime.Goexit, as by a test's Fatal: answer that unit, and let another writer go on.
		db.running = nil
		db.w.rollback()
		db.keys.drop()
		db.book.forgetAll()
		rest := slices.DeleteFunc(slices.Clone(db.pending), func(other *unit) bool { return other == u })
		u.err = errExited
		db.count(u)
		u.done <- struct{}{}
		go db.write(rest)
	}()
	db.pending = rest
	db.oneByOne()
	db.runNext()
	room := make([]*unit, 0, db.most)
	for u := range db.queue {
		// Whoever is about to put a unit in may do so first: this waits for no clock, only for those who
		// can run now, and a caller that is alone does not notice.
		for n := -1; n < len(db.queue) && n < db.most; {
			n = len(db.queue)
			runtime.Gosched()
		}
		batch := room
		if u.alone != nil {
			db.next = u
		} else {
			batch = append(batch, u)
		}
	more:
		for db.next == nil && len(batch) < db.most {
			select {
			case u, ok := <-db.queue:
				switch {
				case !ok:
					break more
				case u.alone != nil:
					db.next = u
				default:
					batch = append(batch, u)
				}
			default:
				break more
			}
		}
		db.pending = batch
		if len(batch) == 0 {
			// nothing but what is to run alone
		} else if err := db.try(batch); err == nil {
			db.answer(len(batch))
		} else if len(batch) == 1 || db.unbegun {
			db.fail(err)
		} else {
			db.oneByOne()
		}
		clear(batch)
		db.runNext()
	}
}

// runNext runs what is to run alone after the units before it.
func (db *DB) runNext() {
	if u := db.next; u != nil {
		db.next = nil
		u.err = u.alone()
		u.done <- struct{}{}
	}
}

// oneByOne gives each pending unit a commit, and so a true answer, of its own.
func (db *DB) oneByOne() {
	for len(db.pending) > 0 {
		err := db.try(db.pending[:1])
		if err != nil && db.unbegun {
			db.fail(err)
			return
		}
		if err != nil {
			db.pending[0].err = err
		}
		db.answer(1)
	}
}

// try runs batch in one transaction. If that fails as a whole, nothing of it is left; otherwise each
// unit has its own error or none.
func (db *DB) try(batch []*unit) error {
	err := db.attempt(batch, false)
	if errors.Is(err, errHalfWay) {
		err = db.attempt(batch, true)
	}
	return err
}

// errHalfWay is why all of a transaction was undone: a unit failed that had written something, and had no savepoint.
var errHalfWay = errors.New("a unit failed half way")

// attempt is try. Savepoints cost two statements a unit, and a unit that fails has seldom written anything before: so
// units get theirs only if careful, and otherwise such a unit undoes them all.
func (db *DB) attempt(batch []*unit, careful bool) error {
	c := db.w
	db.unbegun = false
	err := db.gone.err()
	if err == nil {
		err = c.begin("BEGIN IMMEDIATE")
	}
	if err != nil {
		db.unbegun = true
		db.sick(err)
		return err
	}
	wrote := false
	for _, u := range batch {
		db.running = u
		var w bool
		w, u.err = db.run(u, careful)
		db.running = nil
		if w && u.err != nil && !careful && c.dead == nil {
			db.keys.drop()
			c.rollback()
			db.book.forgetAll()
			return errHalfWay
		}
		wrote = wrote || w
		if c.dead != nil {
			break
		}
	}
	began := time.Now()
	if err = c.dead; err == nil && wrote {
		err = db.keys.flush() // a key is on disk before the event that it seals
	}
	if err == nil {
		err = c.commit()
	}
	db.keys.drop() // what nothing was sealed with
	if err != nil {
		c.rollback()
		db.book.forgetAll()
		db.sick(err)
		return err
	}
	if wrote {
		db.took.add(time.Since(began).Seconds())
		db.shared.add(float64(len(batch)))
		db.lengthened()
		db.commits.Add(1)
		for noun := range db.book.nouns {
			db.changed(noun).Add(1)
		}
		clear(db.book.nouns)
		db.largest.Store(max(db.largest.Load(), int64(len(batch))))
		db.fault.Store(nil)
	}
	for _, u := range batch {
		if standing(u.err) {
			db.sick(u.err)
		}
	}
	return nil
}

// run runs u and reports whether it left something in the transaction. If it is careful, what failed left nothing.
func (db *DB) run(u *unit, careful bool) (wrote bool, err error) {
	tx := &Tx{Now: db.now(), c: db.w, project: db.project, book: &db.book, keys: db.keys, careful: careful}
	err = call(u.f, tx)
	tx.end()
	if err == nil {
		err = tx.failed
	}
	if !tx.wrote || db.w.dead != nil {
		return false, err
	}
	if !careful {
		return true, err
	}
	if err != nil {
		db.book.forget(tx.touched)
		if e := db.w.exec("ROLLBACK TO unit"); e != nil {
			db.w.dead = e
			return false, err
		}
	}
	if e := db.w.exec("RELEASE unit"); e != nil {
		db.w.dead = e
	}
	return err == nil, err
}

// call turns a panic of f into an error.
func call(f func(*Tx) error, tx *Tx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("a unit panicked: %v\n%s", p, debug.Stack())
		}
	}()
	return f(tx)
}

// Commits counts the transactions that have written something. While it stays the same, so does what can be
// read: it is counted before Update returns.
func (db *DB) Commits() int64 { return db.commits.Load() }

// Changes counts the transactions that have written an event of a noun, the first word of its kind, or have erased
// something. While it stays the same, so does what is read of the tables of that noun: it is counted before Update returns.
func (db *DB) Changes(of string) int64 {
	return db.changed(of).Load() + db.changed(noun(KindErased)).Load()
}

func (db *DB) changed(noun string) *atomic.Int64 {
	n, ok := db.changes.Load(noun)
	if !ok {
		n, _ = db.changes.LoadOrStore(noun, new(atomic.Int64))
	}
	return n.(*atomic.Int64)
}

// noun is the first word of the kind of an event.
func noun(kind string) string {
	noun, _, _ := strings.Cut(kind, ".")
	return noun
}

// Now is the clock of the database.
func (db *DB) Now() device.Instant { return db.now() }

func (db *DB) sick(err error) { db.fault.Store(&err) }

// fail answers all pending units with err.
func (db *DB) fail(err error) {
	for _, u := range db.pending {
		u.err = err
	}
	db.answer(len(db.pending))
}

// answer answers the first n pending units.
func (db *DB) answer(n int) {
	now := db.pending[:n]
	db.pending = db.pending[n:]
	for _, u := range now {
		db.count(u)
		u.done <- struct{}{}
	}
}

func (db *DB) count(u *unit) {
	db.units.Add(1)
	if u.err != nil {
		db.failed.Add(1)
	}
}

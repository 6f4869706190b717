package store

import (
	"errors"
	"fmt"
	"time"
)

// What is committed is in the write-ahead log, and has to be moved into the file before the log can begin anew. Done by
// the commit that finds the log long, as SQLite does by itself, all who write wait until thousands of pages are
// written and on disk. So a connection of its own does it beside the writer, which then has only to move the little that
// was committed meanwhile.

const (
	pageSize  = 4096
	longLog   = 2048         // pages not moved yet: time to move them
	longerLog = 32 * longLog // pages: then there is no waiting for the next turn, nor when they are as many as the file has
)

// rest is how long nothing is moved after a move: the same pages are written again and again, and into the file they
// are written once.
const rest = 5 * time.Second

// mover moves pages when it is told that there are many, until the database is closed.
func (db *DB) mover(c *conn) {
	defer close(db.moved) // after the connection is closed
	defer c.close()
	modest()
	for range db.long {
		if db.Kept() != nil {
			continue
		}
		db.moving.Lock()
		var err error
		for n := 0; n < 2 && err == nil; n++ { // what was committed during the first is little
			if _, err = c.logged("PASSIVE"); err == nil {
				// SQLite leaves this to whoever moves the last page, and that is the writer.
				err = db.sync()
			}
		}
		db.moving.Unlock()
		db.keepIf(err)
		db.keepIf(db.alone(func() error {
			select {
			case <-db.long: // told meanwhile
			default:
			}
			db.movedAt = time.Now()
			if err != nil {
				return nil
			}
			left, err := db.w.logged("PASSIVE")
			db.stuck = left >= longLog // readers keep the log from beginning anew: then it is so at a later time
			return err
		}))
	}
}

// sync has the file on disk. Whatever fails here is told once: the pages that were to be saved are lost, and nobody hears
// of it again.
func (db *DB) sync() error {
	if err := syncSlowly(db.file); err != nil {
		return fmt.Errorf("%s: %w (%w): pages of it may be lost; all of them are in its log: look at the disk, then start again", db.path, ErrFailed, err)
	}
	return nil
}

// keepIf keeps the log from now on, if err is why the file is not to be relied on: whoever opens it next makes it whole from
// the log.
func (db *DB) keepIf(err error) {
	if err != nil && !errors.Is(err, ErrFull) && !errors.Is(err, ErrBusy) && !errors.Is(err, ErrClosed) {
		db.kept.CompareAndSwap(nil, &err)
	}
}

// Kept is why the log is kept, and grows, until the database is opened anew: pages that were moved from it may be lost.
// It is nil as long as all is well.
func (db *DB) Kept() error { return db.kept.err() }

// logged runs a checkpoint of a mode, and returns how many pages of the log have not been moved into the file.
func (c *conn) logged(mode string) (left int64, err error) {
	row, err := c.first("PRAGMA wal_checkpoint(" + mode + ")") // busy, pages, moved
	if err != nil {
		return 0, err
	}
	var busy, pages, moved int64
	if err = errors.Join(assign(&busy, row[0]), assign(&pages, row[1]), assign(&moved, row[2])); err == nil && pages < 0 {
		err = fmt.Errorf("%s: %w: another program moves its log", c.path, ErrBusy)
	}
	return pages - moved, err
}

// lengthened is called after a commit.
func (db *DB) lengthened() {
	left, err := db.w.logged("NOOP")
	if err != nil || left < longLog || db.Kept() != nil {
		return
	}
	if time.Since(db.movedAt) < rest {
		fi, err := db.file.Stat()
		if db.stuck || err == nil && left < min(longerLog, fi.Size()/pageSize) && !scarce(db.file, 4*left*pageSize) {
			return
		}
	}
	select {
	case db.long <- struct{}{}:
	default: // it is told already
	}
}

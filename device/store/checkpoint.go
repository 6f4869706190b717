package store

import (
	"errors"
	"time"
)

// What is committed is in the write-ahead log, and has to be moved into the file before the log can begin anew. Done by
// the commit that finds the log long, as SQLite does by itself, all who write wait until thousands of pages are
// written and on disk. So a connection of its own does it beside the writer, which then has only to move the little that
// was committed meanwhile.

const (
	pageSize   = 4096
	longLog    = 2048          // pages not moved yet: time to move them
	longerLog  = 32 * longLog  // pages: then there is no waiting for the next turn, nor when they are as many as the file has
	longestLog = 2 * longerLog // pages: then the commit itself moves them, as the last resort
)

// rest is how long nothing is moved after a move: the same pages are written again and again, and into the file they
// are written once.
const rest = 5 * time.Second

// mover moves pages when it is told that there are many, until the database is closed. What fails is found by whoever
// writes, or the log is moved by a commit.
func (db *DB) mover(c *conn) {
	defer close(db.moved) // after the connection is closed
	defer c.close()
	for range db.long {
		db.moving.Lock()
		var err error
		for range 2 { // what was committed during the first is little
			if _, err = c.logged("PASSIVE"); err == nil {
				// SQLite leaves this to whoever moves the last page, and that is the writer.
				err = syncSlowly(db.file)
			}
		}
		db.moving.Unlock()
		// Readers may keep the log from beginning anew: then it is so at the next time.
		_ = db.alone(func() error {
			select {
			case <-db.long: // told meanwhile
			default:
			}
			db.movedAt = time.Now()
			if err == nil {
				_, err = db.w.logged("PASSIVE")
			}
			return err
		})
	}
}

// logged runs a checkpoint of a mode, and returns how many pages of the log have not been moved into the file.
func (c *conn) logged(mode string) (left int64, err error) {
	row, err := c.first("PRAGMA wal_checkpoint(" + mode + ")") // busy, pages, moved
	if err != nil {
		return 0, err
	}
	var pages, moved int64
	err = errors.Join(assign(&pages, row[1]), assign(&moved, row[2]))
	return pages - moved, err
}

// lengthened is called after a commit.
func (db *DB) lengthened() {
	left, err := db.w.logged("NOOP")
	if err != nil || left < longLog {
		return
	}
	if time.Since(db.movedAt) < rest && left < longerLog {
		if fi, err := db.file.Stat(); err == nil && left < fi.Size()/pageSize {
			return
		}
	}
	select {
	case db.long <- struct{}{}:
	default: // it is told already
	}
}

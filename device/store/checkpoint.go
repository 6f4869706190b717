package store

import "errors"

// What is committed is in the write-ahead log, and has to be moved into the file before the log can begin anew. Done by
// the commit that finds the log long, as SQLite does by itself, all who write wait until thousands of pages are
// written and on disk. So a connection of its own does it beside the writer, which then has only to move the little that
// was committed meanwhile.

const (
	longLog    = 2048         // pages not moved yet: time to move them
	longestLog = 16 * longLog // pages: then the commit itself moves them, as the last resort
)

// mover moves pages when it is told that there are many, until the database is closed.
func (db *DB) mover(c *conn) {
	defer close(db.moved) // after the connection is closed
	defer c.close()
	for range db.long {
		db.moving.Lock()
		_, err := c.logged("PASSIVE")
		db.moving.Unlock()
		if err != nil {
			continue // whoever writes finds it, or the log is moved by a commit
		}
		// Readers may keep the log from beginning anew: then it is so at the next time.
		_ = db.alone(func() error { _, err := db.w.logged("PASSIVE"); return err })
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
	if left, err := db.w.logged("NOOP"); err == nil && left >= longLog {
		select {
		case db.long <- struct{}{}:
		default: // it is told already
		}
	}
}

// Package store is the one SQLite file: it opens, checks and migrates it, and lets others read
// it and append to its journal.
//
// In: facts, as journal events, from whoever holds a *Tx. Out: rows. Never: what a fact means
// (each noun projects its own), a second writer, a commit that can be cancelled half way.
package store

import (
	"errors"
	"time"

	"porchlight/device"
)

// What callers branch on. Every error of this package wraps at most one of them.
var (
	ErrMoved    = errors.New("the journal has moved on")                  // Append: after is not the head of that home's journal
	ErrFull     = errors.New("no space left for the database")            // nothing was written; try again when there is space
	ErrBusy     = errors.New("the database is locked by another process") // nothing was written
	ErrCorrupt  = errors.New("the database file is damaged")
	ErrReadOnly = errors.New("the database cannot be written")
	ErrNewer    = errors.New("the database was written by a newer porchlight")
	ErrClosed   = errors.New("the database is closed")
	ErrFailed   = errors.New("the database failed") // any other fault of disk or file
)

// Event is one entry of a home's journal: a durable fact or decision.
type Event struct {
	Seq   int64          // place among all events of this gateway, from 1; set by Append
	Home  device.HomeID  // whose book; device.Gateway for brands and messages
	Pos   int64          // place in that book, from 1; set by Append
	At    device.Instant // when it was taken in; set by Append to the transaction's Now
	Actor device.Actor   // who caused it; set by Append to the transaction's
	Kind  string         // noun.past, as "consent.given"; the noun decides who projects it
	Body  []byte         // JSON, the noun's own

	fact any // while it is being appended: what Body was made of
}

// Projector applies one event to the tables of its noun. It must depend on nothing but e and
// those tables, because rebuild calls it again for every event there ever was.
type Projector func(tx *Apply, e Event) error

// Options say how to open the file.
type Options struct {
	Project  Projector             // required
	Now      func() device.Instant // the clock; nil means the system's
	MaxUnits int                   // most units that share one commit; 0 means 512
	Queue    int                   // most units that wait; 0 means 4096. A full queue makes Update wait

	busy     time.Duration // how long to wait for another process's lock; 0 means 5 s
	maxPages int           // the file's greatest size in pages; 0 means SQLite's
}

// Stats are counters for the operator.
type Stats struct {
	Commits  int64 // transactions on disk since Open
	Units    int64 // units that were answered
	Failed   int64 // those of them that were answered with an error
	Largest  int   // most units that shared one commit
	Queued   int   // units that wait now
	WALBytes int64 // size of the write-ahead log now
}

// Package store is the one SQLite file: it opens, checks and migrates it, and lets others read
// it and append to its journal. What is said in a home's book is sealed with keys that are kept in
// a second file beside it, PATH.keys; what a home's book says cannot be altered unnoticed, and can be erased.
//
// In: facts, as journal events, from whoever holds a *Tx. Out: rows, events in plain, heads of the homes' logs.
// Never: what a fact means (each noun projects its own), a second writer, a commit that can be
// cancelled half way, a key.
package store

import (
	"errors"
	"time"

	"porchlight/device"
	"porchlight/device/ledger"
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
	ErrKeys     = errors.New("the keys of the database are missing, or those of another")
	ErrNoBook   = errors.New("nothing is written in that home's book") // home 0 has no log either
)

// Event is one entry of a home's journal: a durable fact or decision.
type Event struct {
	Seq   int64          // place among all events of this gateway, from 1; set by Append
	Home  device.HomeID  // whose book; device.Gateway for brands and messages
	Pos   int64          // place in that book, from 1; set by Append
	At    device.Instant // when it was taken in; set by Append to the transaction's Now
	Actor device.Actor   // who caused it; set by Append to the transaction's
	Kind  string         // noun.past, as "consent.given"; the noun decides who projects it
	Body  []byte         // JSON, the noun's own; nil if it is erased

	// Of a home's events only, never of the gateway's own.
	Subject device.PersonID // whose key it is sealed with: the person it is about; 0: the home's
	Erased  bool            // for good: of what it said only position, time, kind and leaf are left
	Entry   ledger.Entry    // the event as the home's log has it: pseudonym, salt, sealed body, leaf

	fact any // while it is being appended: what Body was made of
}

// About is implemented by a fact about one person: its event is sealed with that person's key, so that it can be
// erased with all else about them. Every other fact is sealed with the home's.
type About interface{ About() device.PersonID }

// KindErased is the kind of the event that Erase appends: no Projector sees it.
const KindErased = "ledger.erased"

// Erasure is the body of a KindErased event.
type Erasure struct {
	Positions []int64 `json:"positions"` // in the same book, ascending
	Why       string  `json:"why"`
}

// Projector applies one event to the tables of its noun. It must depend on nothing but e and
// those tables, because rebuild calls it again for every event there ever was, but those that are erased.
type Projector func(tx *Apply, e Event) error

// Clearer deletes every row that a Projector has made of events in home's book, and no other: Erase then projects
// again what is left of that book.
type Clearer func(tx *Apply, home device.HomeID) error

// Options say how to open the file.
type Options struct {
	Project  Projector             // required
	Clear    Clearer               // required by Erase alone
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
	Kept     bool  // the log is kept until the database is opened anew: see DB.Kept

	Took   Histogram // seconds that each of Commits took until it was on disk, new keys included, its units not
	Shared Histogram // units that shared each of Commits
}

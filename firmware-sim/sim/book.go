package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"porchlight/device"
	"porchlight/device/wire"
)

// book is what survives when the device loses its power.
type book struct {
	Fence  uint64    `json:"fence"`           // the highest seen
	Ledger []line    `json:"ledger"`          // oldest first
	Outbox []receipt `json:"outbox"`          // not acknowledged yet, oldest first
	Asked  []asked   `json:"asked,omitempty"` // questions, oldest first
	Twin   wire.Twin `json:"twin"`

	Identity *identity    `json:"identity,omitempty"` // what the device knows of itself; nil: only what its Config says
	Applying *application `json:"applying,omitempty"` // an enrolment that has begun
	Forgot   device.ID    `json:"forgot,omitempty"`   // the ID of its Config, once that has been erased

	path  string // "": memory, which the simulated power cut leaves alone
	dirty bool   // changed since the last save
	sent  bool   // the first of the outbox is on its way
}

// line is a message that was once on the screen, with the last that became of it.
type line struct {
	Message  device.MessageID `json:"message"`
	Kind     wire.EventKind   `json:"kind"`
	Response *uint            `json:"response,omitempty"`
	Wish     *wire.Wish       `json:"wish,omitempty"`
	Reason   wire.Reason      `json:"reason,omitempty"`
	At       time.Time        `json:"at"`
}

// receipt is a frame that is sent until the gateway has acknowledged it: one of the four.
type receipt struct {
	Event    *wire.Event    `json:"event,omitempty"`
	Proposal *wire.Proposal `json:"proposal,omitempty"`
	Answer   *wire.Answer   `json:"answer,omitempty"`
	Signal   *wire.Signal   `json:"signal,omitempty"`
	At       time.Time      `json:"at"` // when it happened
}

// ledgerSize is how many messages the ledger remembers; the oldest is forgotten.
const ledgerSize = 1000

// readBook opens the book at path; "" is a book in memory.
func readBook(path string) (book, error) {
	b := book{path: path}
	if path == "" {
		return b, nil
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return b, fmt.Errorf("read the device's memory: %w", err)
	}
	if err := json.Unmarshal(data, &b); err != nil {
		return b, fmt.Errorf("read the device's memory %s: %w", path, err)
	}
	return b, nil
}

// save writes the book if it has changed, so that it is there after a power cut.
func (b *book) save() error {
	if !b.dirty || b.path == "" {
		b.dirty = false
		return nil
	}
	data, err := json.Marshal(b)
	if err != nil {
		return fmt.Errorf("write the device's memory: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(b.path), filepath.Base(b.path)+".*") // 0600
	if err != nil {
		return fmt.Errorf("write the device's memory: %w", err)
	}
	defer os.Remove(f.Name()) // of no effect once it has been renamed
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), b.path)
	}
	if err == nil {
		err = syncFolder(filepath.Dir(b.path)) // or the old one could be back after a power cut
	}
	if err != nil {
		return fmt.Errorf("write the device's memory: %w", err)
	}
	b.dirty = false
	return nil
}

func syncFolder(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// find returns the line of a message, nil if it was never on the screen.
func (b *book) find(id device.MessageID) *line {
	for i := range b.Ledger {
		if b.Ledger[i].Message == id {
			return &b.Ledger[i]
		}
	}
	return nil
}

// put writes or overwrites the line of a message.
func (b *book) put(l line) {
	b.dirty = true
	if old := b.find(l.Message); old != nil {
		*old = l
	} else {
		b.Ledger = append(b.Ledger, l)
		if len(b.Ledger) > ledgerSize {
			b.Ledger = b.Ledger[1:]
		}
	}
}

// owe adds a receipt to the outbox, unless the same is waiting there already. What is on its way does not wait: who asks
// again has perhaps not heard it.
func (b *book) owe(r receipt) {
	waiting := b.Outbox
	if b.sent {
		waiting = waiting[1:]
	}
	if r.Event != nil {
		for _, old := range waiting {
			if old.Event != nil && old.Event.Message == r.Event.Message && old.Event.Kind == r.Event.Kind {
				return
			}
		}
	}
	if r.Answer != nil {
		for _, old := range waiting {
			if old.Answer != nil && old.Answer.Ask == r.Answer.Ask && old.Answer.Kind == r.Answer.Kind {
				return
			}
		}
	}
	b.Outbox = append(b.Outbox, r)
	b.dirty = true
}

// raise takes in a fence; a lower one than the highest seen changes nothing.
func (b *book) raise(fence uint64) {
	if fence > b.Fence {
		b.Fence = fence
		b.dirty = true
	}
}

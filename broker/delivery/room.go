package delivery

import (
	"runtime"
	heap "runtime/metrics"
	"sync"
	"sync/atomic"
	"time"
)

// BusyError says that nothing more is taken in from brands just now: there is no room for it. It is not about what a home
// says, for which there is.
type BusyError struct {
	Reason string        // one word: brands, store, homes or memory
	After  time.Duration // when to try again
}

func (e *BusyError) Error() string { return "the gateway has too much to do: " + e.Reason }

// What there is room for.
const (
	mostLag    = 10 * time.Second       // a home may wait to be judged
	mostMemory = 0.9                    // of GOMEMLIMIT may be in use
	lookAgain  = 100 * time.Millisecond // between two looks at homes and memory
)

// room is what is known of how much room there is.
type room struct {
	inside atomic.Int64 // messages that were let in and are not on disk yet

	mu     sync.Mutex
	looked time.Time
	full   *BusyError // at that time, because of homes or memory
	mark   mark
	cycles uint64 // of the garbage collector, when it was last asked for one more
	asked  time.Time
}

// mark is a moment in the life of the queue of homes.
type mark struct {
	at   time.Time
	till int64 // so many homes have been taken from it when those are done that waited at that moment
}

// Room returns nil, or a [BusyError] if nothing more should be taken in from brands just now: when
// the disk or the homes do not follow, or nine tenths of the memory that GOMEMLIMIT allows are in use.
func (d *hall) Room() error {
	waiting, most := d.db.Waiting()
	switch {
	case int(d.room.inside.Load()) >= most/2:
		return &BusyError{"brands", time.Second} // the other half is for what homes say
	case waiting >= most*3/4:
		return &BusyError{"store", time.Second}
	}
	if full := d.sight(); full != nil {
		return full
	}
	return nil
}

// Enter is Room, for a message that is then taken in: leave is to be called when that is over.
func (d *hall) Enter() (leave func(), err error) {
	if err := d.Room(); err != nil {
		return nil, err
	}
	_, most := d.db.Waiting()
	if int(d.room.inside.Add(1)) > max(1, most/2) { // others came in at the same time
		d.leave()
		return nil, &BusyError{"brands", time.Second}
	}
	return d.leave, nil
}

func (d *hall) leave() { d.room.inside.Add(-1) }

// sight looks whether homes and memory have room, ten times a second at most.
func (d *hall) sight() *BusyError {
	r, now := &d.room, d.mono()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.looked.IsZero() && now.Sub(r.looked) < lookAgain {
		return r.full
	}
	r.looked, r.full = now, nil
	d.queue.mu.Lock()
	taken, waiting := d.queue.taken, int64(d.queue.ready.len())
	d.queue.mu.Unlock()
	if taken >= r.mark.till {
		r.mark = mark{now, taken + waiting}
	}
	used, most, cycles := inUse()
	switch {
	case now.Sub(r.mark.at) > mostLag:
		r.full = &BusyError{"homes", 5 * time.Second}
	case float64(used) > mostMemory*float64(most):
		r.full = &BusyError{"memory", 5 * time.Second}
		// What is in use is known from the last collection: where nothing more is taken in, the next is far.
		if cycles == r.cycles && now.Sub(r.asked) > time.Second {
			r.asked = now
			go runtime.GC()
		}
		if cycles != r.cycles {
			r.cycles, r.asked = cycles, now
		}
	}
	return r.full
}

// inUse is what this process uses and cannot give back, in bytes, of how many GOMEMLIMIT allows; and how often the garbage
// collector has run. SQLite's own memory is not Go's: 64 MB and 2 MB for each reader at most.
func inUse() (used, most, cycles uint64) {
	all := []heap.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}, {Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/released:bytes"},
		{Name: "/gc/gomemlimit:bytes"}, {Name: "/gc/cycles/total:gc-cycles"},
	}
	heap.Read(all)
	n := func(i int) uint64 { return all[i].Value.Uint64() }
	return n(0) + n(1) - n(2) - n(3) - n(4) - n(5), n(6), n(7)
}

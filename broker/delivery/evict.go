package delivery

import (
	"container/heap"
	"time"
)

// A home leaves memory when none of its devices has been connected for a day, which is as long as what they told is
// kept, and nothing is under way there; one whose devices have told nothing since it was read, a minute after it
// was. Everything else about it is in its tables, and it is read again when something happens.
const (
	longAway = 24 * time.Hour
	glanced  = time.Minute
)

// lastLook is how often homes that may leave are looked for.
const lastLook = time.Minute

// evict lets homes leave memory that nothing was connected to for so long, or that were only looked at so long ago,
// and returns how many.
func (d *Desk) evict(away, glanced time.Duration) (n int) {
	mono := d.mono()
	for _, h := range d.inMemory() {
		if !h.mu.TryLock() {
			continue // something happens there
		}
		if h.idle(mono, away, glanced) && d.queue.drop(h) {
			h.loaded, h.gone = false, true
			d.mu.Lock()
			for _, o := range h.offers {
				delete(d.listeners[o], h)
			}
			delete(d.homes, h.id)
			d.mu.Unlock()
			d.recount(h)
			d.count.evicted.Add(1)
			n++
		}
		h.mu.Unlock()
	}
	return n
}

// idle reports whether h may leave. The caller holds h.mu.
func (h *home) idle(mono time.Time, away, glanced time.Duration) bool {
	if !h.loaded || len(h.open) > 0 || h.asks.open != nil || len(h.heldBack) > 0 || len(h.stopping) > 0 {
		return false
	}
	for _, s := range h.screens {
		if s.session != nil {
			return false
		}
	}
	if h.left.IsZero() {
		return mono.Sub(h.read) >= glanced
	}
	return mono.Sub(h.left) >= away
}

// drop forgets when h is due; false: it is queued, and stays.
func (q *queue) drop(h *home) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if h.queued {
		return false
	}
	if h.heap != 0 {
		heap.Remove(&q.timers, h.heap-1)
	}
	return true
}

package delivery

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// queue holds the homes that have something to do, each once, and those whose time will come.
type queue struct {
	mu     sync.Mutex
	ready  inTurn
	taken  int64 // so many were taken from ready since the start
	timers agenda[*home]
	work   chan struct{} // has a token while ready may be non-empty
	sooner chan struct{} // has a token when the first timer has moved up
}

func (q *queue) init() {
	q.work = make(chan struct{}, 1)
	q.sooner = make(chan struct{}, 1)
}

func token(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// inTurn is homes that wait, the first in front.
type inTurn struct {
	homes []*home // those before first are gone
	first int
}

func (l *inTurn) len() int { return len(l.homes) - l.first }

func (l *inTurn) push(h *home) {
	if len(l.homes) == cap(l.homes) && l.first > len(l.homes)/2 { // there is room in front
		n := copy(l.homes, l.homes[l.first:])
		clear(l.homes[n:])
		l.homes, l.first = l.homes[:n], 0
	}
	l.homes = append(l.homes, h)
}

// pop takes the first; there must be one.
func (l *inTurn) pop() (h *home) {
	h, l.homes[l.first] = l.homes[l.first], nil
	if l.first++; l.len() == 0 {
		l.homes, l.first = l.homes[:0], 0
	}
	return h
}

// put queues h, if it is not queued already.
func (q *queue) put(h *home) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if h.queued {
		return
	}
	q.add(h)
}

// add is put for one that is not queued. The caller holds q.mu.
func (q *queue) add(h *home) {
	h.queued = true
	q.ready.push(h)
	token(q.work)
}

// take waits for a home; ok is false when ctx has ended.
func (q *queue) take(ctx context.Context) (h *home, ok bool) {
	for {
		q.mu.Lock()
		if q.ready.len() > 0 {
			h = q.ready.pop()
			h.queued = false
			q.taken++
			if q.ready.len() > 0 {
				token(q.work)
			}
			q.mu.Unlock()
			return h, true
		}
		q.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil, false
		case <-q.work:
		}
	}
}

// at wakes h at t, instead of when it was to be woken before.
func (q *queue) at(h *home, t time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	h.due = t
	if h.heap == 0 {
		heap.Push(&q.timers, h)
	} else {
		heap.Fix(&q.timers, h.heap-1)
	}
	if q.timers[0] == h {
		token(q.sooner)
	}
}

// fire queues the homes whose time has come and returns how long until the next.
func (q *queue) fire(now time.Time) time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.timers) > 0 && !q.timers[0].due.After(now) {
		h := heap.Pop(&q.timers).(*home)
		if !h.queued {
			q.add(h)
		}
	}
	if len(q.timers) == 0 {
		return time.Hour
	}
	return q.timers[0].due.Sub(now)
}

func (h *home) sooner(o *home) bool { return h.due.Before(o.due) }
func (h *home) slot() *int          { return &h.heap }

// dated is what has a time, and knows its place in an agenda, counted from 1; 0: it is in none.
type dated[E any] interface {
	sooner(than E) bool
	slot() *int
}

var (
	_ dated[*home] = (*home)(nil)
	_ dated[*pair] = (*pair)(nil)
)

// agenda is a heap of what has a time, the soonest first.
type agenda[E dated[E]] []E

func (a agenda[E]) Len() int           { return len(a) }
func (a agenda[E]) Less(i, j int) bool { return a[i].sooner(a[j]) }
func (a agenda[E]) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	*a[i].slot(), *a[j].slot() = i+1, j+1
}
func (a *agenda[E]) Push(x any) {
	*a = append(*a, x.(E))
	*x.(E).slot() = len(*a)
}
func (a *agenda[E]) Pop() any {
	last := len(*a) - 1
	e := (*a)[last]
	var none E
	(*a)[last], *a = none, (*a)[:last]
	*e.slot() = 0
	return e
}

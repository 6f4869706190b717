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
	ready  []*home
	timers timers
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

// put queues h, if it is not queued already.
func (q *queue) put(h *home) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if h.queued {
		return
	}
	h.queued = true
	q.ready = append(q.ready, h)
	token(q.work)
}

// take waits for a home; ok is false when ctx has ended.
func (q *queue) take(ctx context.Context) (h *home, ok bool) {
	for {
		q.mu.Lock()
		if len(q.ready) > 0 {
			h, q.ready = q.ready[0], q.ready[1:]
			h.queued = false
			if len(q.ready) > 0 {
				token(q.work)
			} else {
				q.ready = nil
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
			h.queued = true
			q.ready = append(q.ready, h)
			token(q.work)
		}
	}
	if len(q.timers) == 0 {
		return time.Hour
	}
	return q.timers[0].due.Sub(now)
}

// timers is a heap of homes by due.
type timers []*home

func (t timers) Len() int           { return len(t) }
func (t timers) Less(i, j int) bool { return t[i].due.Before(t[j].due) }
func (t timers) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].heap, t[j].heap = i+1, j+1
}
func (t *timers) Push(x any) {
	h := x.(*home)
	*t = append(*t, h)
	h.heap = len(*t)
}
func (t *timers) Pop() any {
	old := *t
	h := old[len(old)-1]
	*t = old[:len(old)-1]
	h.heap = 0
	return h
}

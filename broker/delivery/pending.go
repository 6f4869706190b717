package delivery

import (
	"cmp"
	"container/heap"
	"slices"
	"time"

	"porchlight/device"
	"porchlight/policy"
)

// pending files every pair of a home under what could change the answer about it (policy.Watch): what
// screens tell, what was shown, and an instant. Only what wakes a pair has it judged again. What people
// have chosen is not filed under: where that changes, everything is judged anew. The zero pending is
// empty; the home's lock guards it.
type pending struct {
	files map[fileKey]*file
	due   agenda[*pair] // pairs by the instant of their watch
	shows []*pair       // what may be shown and is not, in the order of acceptance
	woken []*pair       // what is to be judged at the next turn
}

// fileKey is what the pairs of a file have in common.
type fileKey struct {
	s     *screen
	reads policy.Reads
}

// file are pairs that the same things change.
type file struct {
	fileKey
	pairs []*pair
}

// filed is where pending has a pair.
type filed struct {
	order int   // its place among the home's pairs
	file  *file // nil: in none
	at    int   // its place there
	due   device.Instant
	heap  int  // its place in the heap, plus one
	shows bool // among those that may be shown
	woken bool
}

// put files p as w says, wherever it was before.
func (n *pending) put(p *pair, w policy.Watched) {
	p.woken = false
	if key := (fileKey{p.s, w.Reads}); p.file == nil || p.file.fileKey != key {
		n.leave(p)
		f := n.files[key]
		if f == nil {
			if n.files == nil {
				n.files = map[fileKey]*file{}
			}
			f = &file{fileKey: key}
			n.files[key] = f
		}
		p.file, p.at = f, len(f.pairs)
		f.pairs = append(f.pairs, p)
	}
	switch p.filed.due = w.Until; {
	case w.Until == 0 && p.heap != 0:
		heap.Remove(&n.due, p.heap-1)
	case w.Until == 0:
	case p.heap == 0:
		heap.Push(&n.due, p)
	default:
		heap.Fix(&n.due, p.heap-1)
	}
	if shows := p.decision.Verdict == policy.Show; shows != p.shows {
		at, _ := slices.BinarySearchFunc(n.shows, p, inOrder)
		if p.shows = shows; shows {
			n.shows = slices.Insert(n.shows, at, p)
		} else {
			n.shows = slices.Delete(n.shows, at, at+1)
		}
	}
}

func inOrder(a, b *pair) int { return cmp.Compare(a.order, b.order) }

// leave takes p out of its file.
func (n *pending) leave(p *pair) {
	f := p.file
	if f == nil {
		return
	}
	last := f.pairs[len(f.pairs)-1]
	f.pairs[p.at], last.at = last, p.at
	f.pairs[len(f.pairs)-1] = nil
	if f.pairs = f.pairs[:len(f.pairs)-1]; len(f.pairs) == 0 {
		delete(n.files, f.fileKey)
	}
	p.file = nil
}

// pair makes all that is filed be the pairs of a home, in their order. What is new is woken.
func (n *pending) pair(pairs []*pair) {
	for i, p := range pairs {
		p.order = i
	}
	stay := func(p *pair) bool { return p.order < len(pairs) && pairs[p.order] == p }
	for _, f := range n.files {
		for i := len(f.pairs) - 1; i >= 0; i-- {
			if p := f.pairs[i]; !stay(p) {
				n.leave(p)
				if p.heap != 0 {
					heap.Remove(&n.due, p.heap-1)
				}
			}
		}
	}
	n.shows = slices.DeleteFunc(n.shows, func(p *pair) bool { return !stay(p) })
	slices.SortFunc(n.shows, inOrder)
	n.woken = slices.DeleteFunc(n.woken, func(p *pair) bool { return !stay(p) })
	for _, p := range pairs {
		if p.file == nil {
			n.wake(p)
		}
	}
}

func (n *pending) wake(p *pair) {
	if !p.woken {
		p.woken = true
		n.woken = append(n.woken, p)
	}
}

// wakeFiles wakes the pairs of the files that of picks, and reports whether there are any.
func (n *pending) wakeFiles(of func(f *file) bool) (any bool) {
	for _, f := range n.files {
		if of(f) {
			any = true
			for _, p := range f.pairs {
				n.wake(p)
			}
		}
	}
	return any
}

// told wakes what depends on what s tells of some attributes.
func (n *pending) told(s *screen, changed device.AttributeSet) bool {
	return changed != 0 && n.wakeFiles(func(f *file) bool {
		same := f.s == s
		return f.reads.Of(same, same || s.view.Room != 0 && s.view.Room == f.s.view.Room).Intersects(changed)
	})
}

// showed wakes what depends on what was shown. less says that something turned out not to have been; else
// there is more of it, or news of what became of it.
func (n *pending) showed(less bool) {
	n.wakeFiles(func(f *file) bool { return f.reads.Steps || less && f.reads.Shown })
}

// take hands out what is to be judged now, each pair once. What comes meanwhile is for the next turn.
func (n *pending) take(now device.Instant) []*pair {
	for len(n.due) > 0 && n.due[0].filed.due <= now {
		p := n.due[0]
		heap.Pop(&n.due)
		n.wake(p)
	}
	all := n.woken
	n.woken = nil
	return slices.DeleteFunc(all, func(p *pair) bool { return !p.woken })
}

// next is when the clock wakes the next pair; 0: never.
func (n *pending) next() device.Instant {
	if len(n.due) == 0 {
		return 0
	}
	return n.due[0].filed.due
}

func (p *pair) sooner(o *pair) bool { return p.filed.due < o.filed.due }
func (p *pair) slot() *int          { return &p.filed.heap }

// wake judges the pairs that something has changed for. The caller holds h.mu.
func (d *Desk) wake(h *home, on *turn) {
	woken := h.pending.take(on.now)
	if h.all {
		woken = h.pairs
	}
	for _, p := range woken {
		d.judgePair(h, p, on)
	}
}

// turn is one look round a home: what its screens are like at an instant, each looked at once, and what is
// weighed. The caller holds the home's lock all the while.
type turn struct {
	now     device.Instant
	looks   []look
	arbiter policy.Arbiter
	list    []policy.Candidate // what the arbiter is asked about
	of      []*pair            // the same
}

type look struct {
	at    *screen
	scene policy.Scene
}

// scene is what s is like.
func (t *turn) scene(h *home, s *screen) *policy.Scene {
	for i := range t.looks {
		if l := &t.looks[i]; l.at == s {
			return &l.scene
		}
	}
	t.looks = append(t.looks, look{s, policy.Look(&h.view, &s.view, t.now)})
	return &t.looks[len(t.looks)-1].scene
}

// mostKept is of how many candidates a turn may have had that is used again.
const mostKept = 64

// begin is a turn at now. Whoever has it calls end after it.
func (d *hall) begin(now device.Instant) *turn {
	t, ok := d.turns.Get().(*turn)
	if !ok {
		t = new(turn)
	}
	t.now = now
	return t
}

func (d *hall) end(t *turn) {
	if cap(t.list) > mostKept || cap(t.looks) > mostKept {
		return
	}
	clear(t.looks)
	clear(t.list[:cap(t.list)])
	clear(t.of[:cap(t.of)])
	t.looks = t.looks[:0]
	t.arbiter.Reset(nil, nil, 0)
	d.turns.Put(t)
}

// judgePair decides about one pair, and files it.
func (d *Desk) judgePair(h *home, p *pair, on *turn) {
	q := policy.Request{Home: &h.view, Screen: &p.s.view, Message: p.m, Now: on.now, Scene: on.scene(h, p.s)}
	p.decision = d.decide(q)
	h.pending.put(p, policy.Watch(q, p.decision))
}

// candidates are the pairs that may be shown now, if their screens are free.
func (d *Desk) candidates(h *home, mono time.Time) (all []*pair) {
	for _, p := range h.pending.shows {
		if !mono.Before(h.rests.until(p)) && d.message(p.m.ID) != nil {
			all = append(all, p)
		}
	}
	return all
}

// contextChanged has judged what depends on what s tells of some attributes. What is on a screen is judged
// anew at every turn.
func (d *Desk) contextChanged(h *home, s *screen, changed device.AttributeSet) {
	if h.news.IsZero() {
		h.news = d.mono()
	}
	h.pending.told(s, changed)
	d.queue.put(h)
}

// presence is what tells who is in front of a screen.
var presence = device.Attributes(device.PresenceWho, device.PresenceCount, device.RoomOccupancy)

// lastOfPresence says which word of who is there came before which: that nobody is takes back what was said
// before it, so that even the same word, told again, may be news.
func lastOfPresence(c *device.Context) (order [3]int) {
	who, _ := c.Get(device.PresenceWho)
	count, _ := c.Get(device.PresenceCount)
	room, _ := c.Get(device.RoomOccupancy)
	return [3]int{cmp.Compare(who.At, count.At), cmp.Compare(count.At, room.At), cmp.Compare(room.At, who.At)}
}

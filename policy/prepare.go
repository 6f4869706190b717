package policy

import (
	"math/bits"
	"slices"
	"time"

	"porchlight/device"
)

// Prepare makes h ready for many decisions: all that its people have said about one brand and purpose
// is then found at once, and its clocks are set to about now. No answer depends on it. It is made of h
// as it stands: whoever changes People, Consents or a cap calls it again. A copy of h is not prepared.
func (h *Home) Prepare(now device.Instant) {
	x := &index{of: h, people: len(h.People)}
	places := map[device.PersonID]int{device.Household: 0}
	for i := range h.People {
		if _, twice := places[h.People[i].ID]; !twice {
			places[h.People[i].ID] = i + 1
		}
	}
	for key, s := range h.Consents {
		if len(x.keys) == 1<<rowBits-2 {
			h.index = nil
			return
		}
		if place, here := places[key.Subject]; here {
			x.row(key.Brand, key.Purpose)[place] = said{s.Until, s.Classes, s.Choice}
		}
	}
	unix := floor(int64(now), 1000)
	if h.Zone != nil {
		x.walls = append(x.walls, wallAt(h.Zone, unix))
	}
	for i := range h.Quiet {
		if z := h.Quiet[i].Clock; z != nil && x.wall(z, unix) == nil {
			x.walls = append(x.walls, wallAt(z, unix))
		}
	}
	x.keys, x.said = slices.Clone(x.keys), slices.Clone(x.said) // no longer than they are
	for i := range h.Caps {
		x.caps, x.capsOf = append(x.caps, h.Caps[i].gist()), &h.Caps[0]
	}
	h.index = x
}

// index is what Prepare has made of a home.
type index struct {
	of     *Home // the one home that it is the index of
	people int
	walls  []wall
	caps   []gist // of the caps that begin at capsOf
	capsOf *Cap

	// What was said, by brand and purpose: a table of open addressing with the place of a row in the low
	// bits of a slot and the hash above, at most half full; the rows, one after another, each with a word
	// for the home and one for each of its people.
	slots []uint64
	keys  []offerKey
	said  []said
}

type offerKey struct {
	brand   device.BrandID
	purpose Purpose
}

// said is a Stance without its circumstances.
type said struct {
	until   device.Instant
	classes ClassSet
	choice  Choice
}

const rowBits = 20 // a home that has said something about a million brands has no index

// hash mixes a brand and a purpose: FNV-1a, finished so that every bit of it is as good as any other.
func (k offerKey) hash() uint64 {
	h := uint64(14695981039346656037)
	for i := range len(k.brand) {
		h = (h ^ uint64(k.brand[i])) * 1099511628211
	}
	h = (h ^ uint64(k.purpose)) * 1099511628211
	h ^= h >> 32
	h *= 0x9e3779b97f4a7c15
	return h ^ h>>29
}

// row is the row of a brand and purpose, made if it is not there.
func (x *index) row(b device.BrandID, p Purpose) []said {
	key := offerKey{b, p}
	if row := x.find(key, key.hash()); row != nil {
		return row
	}
	if 2*(len(x.keys)+1) > len(x.slots) {
		x.slots = make([]uint64, max(16, 2*len(x.slots)))
		for i, k := range x.keys {
			x.put(k.hash(), i)
		}
	}
	x.put(key.hash(), len(x.keys))
	x.keys = append(x.keys, key)
	n := len(x.said)
	x.said = append(x.said, make([]said, 1+x.people)...)
	return x.said[n:]
}

func (x *index) put(hash uint64, row int) {
	i := x.start(hash)
	for x.slots[i] != 0 {
		i = (i + 1) & (len(x.slots) - 1)
	}
	x.slots[i] = hash>>rowBits<<rowBits | uint64(row+1)
}

func (x *index) start(hash uint64) int { return int(bits.RotateLeft64(hash, 16)) & (len(x.slots) - 1) }

// find is the row of a brand and purpose; nil if nobody has said anything about it.
func (x *index) find(key offerKey, hash uint64) []said {
	if len(x.slots) == 0 {
		return nil
	}
	for i := x.start(hash); ; i = (i + 1) & (len(x.slots) - 1) {
		switch slot := x.slots[i]; {
		case slot == 0:
			return nil
		case (slot^hash)>>rowBits == 0:
			n := int(slot&(1<<rowBits-1)) - 1
			if x.keys[n] == key {
				return x.said[n*(1+x.people) : (n+1)*(1+x.people)]
			}
		}
	}
}

// wall is the clock of a zone at unix; nil if it is not known here.
func (x *index) wall(zone *time.Location, unix int64) *wall {
	for i := range x.walls {
		if w := &x.walls[i]; w.zone == zone && w.from <= unix && unix < w.to {
			return w
		}
	}
	return nil
}

// prepared is h's index; nil if it has none of its own.
func (h *Home) prepared() *index {
	if h.index != nil && h.index.of == h {
		return h.index
	}
	return nil
}

// wall is the clock of a zone at unix.
func (h *Home) wall(zone *time.Location, unix int64) wall {
	if x := h.prepared(); x != nil {
		if w := x.wall(zone, unix); w != nil {
			return *w
		}
	}
	return wallAt(zone, unix)
}

// Prepare makes m ready for many decisions. No answer depends on it.
func (m *Message) Prepare() { m.traits = traitsOf(m) }

// traits are what follows from a message's brand, purpose and category alone.
type traits struct {
	offerKey
	category           string
	hash               uint64
	floored, sensitive bool // its category is on that list
}

func traitsOf(m *Message) traits {
	k := offerKey{m.Brand, m.Purpose}
	return traits{k, m.Category, k.hash(), listed(floorWords, m.Category), listed(sensitiveWords, m.Category)}
}

// of reports whether t is what traitsOf would say.
func (t *traits) of(m *Message) bool {
	return t.hash != 0 && t.purpose == m.Purpose && t.category == m.Category && t.brand == m.Brand
}

// scratch is what more than one rule asks about: worked out once in each decision.
type scratch struct {
	traits traits
	offer  []said // what the home and its people have said about the message's brand and purpose; nil: see Home.Consents
	text   int    // which text to use, plus one; 0: nobody has asked

	apart   finding // what spacing says, if counted
	counted bool
}

// prepare works out what the rules are going to ask for.
func (q *Request) prepare() {
	w := &q.scratch
	if w.traits = q.Message.traits; !w.traits.of(q.Message) {
		w.traits = traitsOf(q.Message)
	}
	w.offer, w.text, w.counted = nil, 0, false
	if x := q.Home.prepared(); x != nil {
		if w.offer = x.find(w.traits.offerKey, w.traits.hash); w.offer == nil && x.people < len(nobody) {
			w.offer = nobody[:1+x.people]
		}
	}
}

// nobody has said anything: the row of a brand and purpose that no table has.
var nobody [65]said

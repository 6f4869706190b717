package policy

import (
	"math"
	"math/bits"

	"porchlight/device"
)

// Presence is who is in front of a screen, as far as was told.
//
// A reading that has grown old names nobody any more, but it does not say that they left either:
// whom it named may still be there, and counts for what they refused and not for what they allowed.
type Presence struct {
	Known   uint64         // who is there, told by somebody and fresh, or the owner: bit i is Home.People[i]
	Past    uint64         // who else was there when it was last told, and may still be
	Unknown int            // how many others are there, or may be; at least 1 where there is a Past
	Unsure  int            // of these, whom a device saw and does not know
	Told    bool           // somebody or something has said who or how many are there, and it is fresh
	Until   device.Instant // the clock alone changes nothing of this before; 0: never

	heard bool           // something has been told about it, ever
	soon  device.Instant // a reading from the future (a clock was set back) becomes fresh then; 0: there is none
}

// sure is how sure a device must be of whom it names: below it is somebody unknown. In thousandths.
const sure = 800

// Present joins what s and all screens of its room tell: presence.who, presence.count and
// room.occupancy. Where they disagree, whoever is named by one is there; only a later word of the
// same device that nobody is there takes back what it said before. The owner of a personal device
// is taken to be there, and that nothing is told on it does not put anybody else there.
func Present(h *Home, s *Screen, now device.Instant) Presence {
	c := census{home: h, now: now}
	c.read(s)
	if s.Room != 0 {
		for _, o := range h.Screens {
			if o != nil && o.Room == s.Room && !o.is(s) {
				if o.Guest {
					c.hear(o)
				} else {
					c.read(o)
				}
			}
		}
	}
	p := c.p
	if i := h.place(s.Owner); i >= 0 {
		p.Known |= 1 << i
	}
	p.Past &^= p.Known
	p.Unsure = c.unsure
	p.Unknown = max(c.unsure, c.most-bits.OnesCount64(p.Known))
	if p.Unknown == 0 && (p.Past != 0 || c.occupied && p.Known == 0) {
		p.Unknown = 1
	}
	return p
}

// is reports whether s and o are the same device. A device is of one class only, which is sooner compared.
func (s *Screen) is(o *Screen) bool { return s == o || s.Class == o.Class && s.ID == o.ID }

// place is where somebody stands among the first 64 people of h; -1 for all others.
func (h *Home) place(id device.PersonID) int {
	if i := h.number(id); i < 64 {
		return i
	}
	return -1
}

// number is where somebody stands among the people of h; -1 if nobody has that number.
func (h *Home) number(id device.PersonID) int {
	for i := range h.People {
		if h.People[i].ID == id {
			return i
		}
	}
	return -1
}

// census is a Presence in the making.
type census struct {
	home     *Home
	now      device.Instant
	p        Presence
	unsure   int  // people whom a device saw and does not know
	most     int  // the highest count
	occupied bool // somebody is there
}

// read adds what one screen tells.
func (c *census) read(s *Screen) {
	if !s.Context.Told().Intersects(presence) {
		return
	}
	who, named := c.get(s, device.PresenceWho, device.Text)
	count, counted := c.get(s, device.PresenceCount, device.Number)
	room, sensed := c.get(s, device.RoomOccupancy, device.Bool)
	var empty device.Instant // when it last said that nobody is there
	if counted && count.Value.Num <= 0 {
		empty = count.At
	}
	if sensed && room.Value.Num == 0 {
		empty = max(empty, room.At)
	}
	if named && who.At >= empty {
		_, _, fresh := s.Context.Fresh(s.Class, device.PresenceWho, c.now)
		c.name(who.Value.Text, fresh)
	}
	if counted && count.At >= empty {
		c.most = max(c.most, int(min(math.Ceil(count.Value.Num), 1000)))
	}
	if sensed && room.At >= empty && room.Value.Num != 0 {
		c.occupied = true
	}
}

// hear adds what a guest's device tells: it may put people there, and never says that they are all.
func (c *census) hear(s *Screen) {
	g := census{home: c.home, now: c.now}
	g.read(s)
	c.p.Past |= g.p.Known | g.p.Past
	c.unsure, c.most = max(c.unsure, g.unsure), max(c.most, g.most)
	c.p.Until = sooner(c.p.Until, g.p.Until)
}

// get is the last reading of a on s, of any age.
func (c *census) get(s *Screen, a device.Attribute, k device.Kind) (device.Reading, bool) {
	r, ok := s.Context.Get(a)
	if !ok || r.Value.Kind != k || math.IsNaN(r.Value.Num) {
		return r, false
	}
	c.p.heard = true
	if _, until, fresh := s.Context.Fresh(s.Class, a, c.now); fresh {
		c.p.Told = true
		c.p.Until = sooner(c.p.Until, until)
	} else if f := upcoming(r, a, s.Class, c.now); f.until != 0 {
		c.p.soon = sooner(c.p.soon, f.until)
		c.p.Until = sooner(c.p.Until, f.until)
	}
	return r, true
}

// sooner is the earlier of two instants, either of which may be none.
func sooner(a, b device.Instant) device.Instant {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// name reads the text of a presence.who: numbers of people, separated by spaces, each with how
// sure the device is of it, as in "1 2@0.7". Whatever else stands there is somebody unknown.
func (c *census) name(text string, fresh bool) {
	unsure := 0
	for len(text) > 0 {
		var word string
		if word, text = cutWord(text); word == "" {
			continue
		}
		id, howSure := parseWho(word)
		i := c.home.place(id)
		switch {
		case id == device.Household || i < 0 || howSure < sure:
			unsure++
		case fresh:
			c.p.Known |= 1 << i
		default:
			c.p.Past |= 1 << i
		}
	}
	c.unsure = max(c.unsure, unsure)
}

func cutWord(s string) (word, rest string) {
	for i := range len(s) {
		if s[i] == ' ' {
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

// parseWho reads "2@0.7" as person 2 and 700 thousandths, "2" as person 2 and all of them. What
// cannot be read is nobody, and not sure at all.
func parseWho(s string) (id device.PersonID, howSure int) {
	n, i := digits(s, 0)
	switch {
	case i == 0:
		return 0, 0
	case i == len(s):
		return device.PersonID(n), 1000
	case s[i] != '@':
		return 0, 0
	}
	whole, j := digits(s, i+1)
	if j == i+1 {
		return 0, 0
	}
	howSure = whole * 1000
	if j < len(s) {
		if s[j] != '.' || j+1 == len(s) {
			return 0, 0
		}
		for k, place := j+1, 100; k < len(s); k, place = k+1, place/10 {
			if s[k] < '0' || s[k] > '9' {
				return 0, 0
			}
			howSure += int(s[k]-'0') * place
		}
	}
	if howSure > 1000 {
		return 0, 0
	}
	return device.PersonID(n), howSure
}

// digits reads a number from s[from:] on, and returns where it ends; what has more than nine
// digits is no number.
func digits(s string, from int) (n, end int) {
	for end = from; end < len(s) && '0' <= s[end] && s[end] <= '9'; end++ {
		if end-from == 9 {
			return 0, from
		}
		n = n*10 + int(s[end]-'0')
	}
	return n, end
}

// alone is the one person who is there, if it is certain that nobody else is; nil otherwise.
func (q *Request) alone() *Person {
	p := &q.there
	if p.Unknown != 0 || bits.OnesCount64(p.Known) != 1 {
		return nil
	}
	one := &q.Home.People[bits.TrailingZeros64(p.Known)]
	if q.Screen.Owner != device.Household && one.ID != q.Screen.Owner {
		return nil
	}
	return one
}

// anybody reports whether any of the home's people may be there, for all that is known: there is
// somebody whom nobody knows, or nobody has said that anybody is before a shared screen.
func (q *Request) anybody() bool {
	return q.there.Unknown > 0 || q.Screen.Owner == device.Household && q.there.Known == 0
}

// near reports whether what somebody wants for themselves counts: where they are or may be, on
// their own screens, and everywhere if it is the home's.
func (q *Request) near(owner device.PersonID) bool {
	if owner == device.Household || owner == q.Screen.Owner {
		return true
	}
	if q.anybody() {
		return true
	}
	i := q.Home.place(owner)
	return i >= 0 && (q.there.Known|q.there.Past)&(1<<i) != 0
}

// unless is what a rule says that fails because of who is there: it waits where that can be told,
// and refuses where it never was.
func (q *Request) unless(c Cause) finding { return q.not(q.leaving(), c) }

// leaving is what fails because of who is there.
func (q *Request) leaving() finding {
	if q.there.heard {
		return holdTo(q.there.soon)
	}
	return refuse
}

package broker

import (
	"net/netip"
	"sync"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// Limits are what the door takes from one address, one device and one brand. Zero is the
// default. An address is one of IPv4 or a /64 of IPv6, which is what one customer has.
type Limits struct {
	PerAddress int // sockets of one address, logged in or not; 0 means 1,000
	PerBrand   int // connections of one brand; 0 means 50
	PerHome    int // devices of one home that are connected; 0 means 250
	Beside     int // connections beside a device's own; 0 means 8

	// Failures is how many log-ins of one address may fail within a minute before it is turned
	// away at the socket; 0 means 60. Takeovers is how many times within a minute the
	// connection of one ID may push out the one before it; 0 means 3.
	Failures, Takeovers int

	// BackOff is how long somebody is turned away the first time; each further time in a row it
	// is twice as long, up to BackOffMost. 0 means 1 s and 5 min.
	BackOff, BackOffMost time.Duration

	// Frames and Bytes are what one device with all its connections, or one connection of a
	// brand, may send in a second; ten times as much at once. 0 means 1,000 and 1 MiB.
	Frames, Bytes int

	// HomeFrames and HomeBytes are the same for all devices of one home together. 0 means 5,000 and
	// 5 MiB.
	HomeFrames, HomeBytes int

	Outstanding int // publishes of QoS 1 that a connection may have unacknowledged; 0 means 16
}

func (l Limits) orDefault() Limits {
	def := func(n *int, otherwise int) {
		if *n == 0 {
			*n = otherwise
		}
	}
	def(&l.PerAddress, 1000)
	def(&l.PerBrand, 50)
	def(&l.PerHome, 250)
	def(&l.Beside, 8)
	def(&l.Failures, 60)
	def(&l.Takeovers, 3)
	def(&l.Frames, 1000)
	def(&l.Bytes, 1<<20)
	def(&l.HomeFrames, 5000)
	def(&l.HomeBytes, 5<<20)
	def(&l.Outstanding, 16)
	if l.BackOff == 0 {
		l.BackOff = time.Second
	}
	if l.BackOffMost == 0 {
		l.BackOffMost = 5 * time.Minute
	}
	return l
}

const (
	window        = time.Minute // within which misdeeds add up
	takeoverMost  = time.Minute // of being turned away for takeovers: it may be a bad radio
	knownStrikers = 1 << 16     // entries of a table about strangers
)

// strikes are the misdeeds of one address or ID. The zero value is a clean record.
type strikes struct {
	count int
	first time.Time // of those in count
	turns int       // times that it was turned away, one soon after the other
	until time.Time // it is turned away
}

// add counts a misdeed. The allowed-th within a window turns its author away, for least and
// each time in a row for twice as long, up to most; added reports whether this one did.
func (s *strikes) add(now time.Time, allowed int, least, most time.Duration) (turned bool) {
	if now.Sub(s.first) > window {
		s.count, s.first = 0, now
	}
	if now.Sub(s.until) > window {
		s.turns = 0
	}
	if s.count++; s.count < allowed {
		return false
	}
	wait := most
	if s.turns < 20 { // 2^20 times anything is too long
		wait = min(least<<s.turns, most)
	}
	s.turns++
	s.count, s.until = 0, now.Add(wait)
	return true
}

// over reports whether s says nothing any more.
func (s *strikes) over(now time.Time) bool {
	return now.Sub(s.first) > window && now.Sub(s.until) > window
}

// origin is what the door knows of one address.
type origin struct {
	strikes
	open int // sockets
	in   int // of which logged in
}

// over reports whether o can be forgotten.
func (o *origin) over(now time.Time) bool { return o.open == 0 && o.strikes.over(now) }

// free reports whether o may be forgotten in need.
func (o *origin) free() bool { return o.open == 0 }

func (s *strikes) free() bool { return true }

// table keeps a bounded number of entries: the forgettable ones go first. It is touched when a
// connection begins, fails or ends, and for none of its packets.
type table[K comparable, E any, P interface {
	*E
	over(now time.Time) bool
	free() bool
}] struct {
	mu   sync.Mutex
	most int
	all  map[K]P
}

// get returns the entry of k, made if there is none. The caller holds t.mu.
func (t *table[K, E, P]) get(k K, now time.Time) P {
	if e := t.all[k]; e != nil {
		return e
	}
	if t.all == nil {
		t.all = map[K]P{}
	}
	looked := 0
	for other, e := range t.all { // begins anywhere
		if e.over(now) || len(t.all) >= t.most && e.free() {
			delete(t.all, other)
		}
		if looked++; looked >= 4 && len(t.all) < t.most {
			break
		}
	}
	e := P(new(E))
	t.all[k] = e
	return e
}

func (t *table[K, E, P]) size() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.all)
}

// enter counts a socket; why says why it must be closed instead.
func (d *Door) enter(from netip.Addr) (why string) {
	now := time.Now()
	d.origins.mu.Lock()
	defer d.origins.mu.Unlock()
	o := d.origins.get(from, now)
	switch {
	case now.Before(o.until):
		return "failures"
	case o.open >= d.o.PerAddress:
		return "address"
	}
	o.open++
	return ""
}

// left takes a socket out of the count.
func (d *Door) left(c *counted) {
	now := time.Now()
	d.origins.mu.Lock()
	defer d.origins.mu.Unlock()
	o := d.origins.get(c.from, now)
	o.open--
	if c.in {
		o.in--
	}
	c.gone = true
	if o.over(now) {
		delete(d.origins.all, c.from)
	}
}

// settled notes that somebody has logged in on c.
func (d *Door) settled(c *counted) {
	d.origins.mu.Lock()
	defer d.origins.mu.Unlock()
	if !c.gone && !c.in {
		c.in = true
		d.origins.get(c.from, time.Now()).in++
	}
}

// failed notes that a log-in on c has failed by the peer's own fault. An address where others
// are logged in is not turned away for longer and longer: behind it is a home with one device
// that does not know that it was removed.
func (d *Door) failed(c *counted) {
	now := time.Now()
	d.origins.mu.Lock()
	o := d.origins.get(c.from, now)
	most := d.o.BackOffMost
	if o.in > 0 {
		most = d.o.BackOff
	}
	turned := o.add(now, d.o.Failures, d.o.BackOff, most)
	d.origins.mu.Unlock()
	if turned {
		d.note("an address is turned away for a while: too many log-ins failed", "address", c.from.String())
	}
}

// taken notes that id was taken over by another connection.
func (d *Door) taken(id string) {
	d.storms.mu.Lock()
	turned := d.storms.get(id, time.Now()).add(time.Now(), d.o.Takeovers, d.o.BackOff, min(takeoverMost, d.o.BackOffMost))
	d.storms.mu.Unlock()
	if turned {
		d.count.clones.Inc()
		d.log.Warn("an ID is taken over again and again: two clients with one ID, or one that loses its connection", "peer", id)
	}
}

// rushed notes that id has sent more than it may.
func (d *Door) rushed(id string) {
	d.rushes.mu.Lock()
	defer d.rushes.mu.Unlock()
	d.rushes.get(id, time.Now()).add(time.Now(), 1, d.o.BackOff, d.o.BackOffMost)
}

// waits reports whether t turns id away just now.
func waits(t *table[string, strikes, *strikes], id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.all[id]
	return e != nil && time.Now().Before(e.until)
}

// tooSoon refuses a log-in that must wait.
func (d *Door) tooSoon(limit, why string) error {
	d.count.limited.WithLabelValues(limit).Inc()
	return &denied{packets.ErrConnectionRateExceeded, packets.Err3ServerUnavailable.Code, limit, why}
}

// meter holds one device, one connection of a brand, or all devices of a home to a rate. Ten seconds'
// worth may come at once.
type meter struct {
	frame, byte int64 // what one costs, in grains of time

	mu            sync.Mutex
	frames, bytes int64 // when all that was spent will be earned, in grains since began
}

// began is when this process did, on the clock that nobody sets.
var began = time.Now()

// grains there are to a nanosecond, so that rates come out right; 18 years of them fit.
const grains = 16

// savings is how much may be spent at once.
const savings = int64(10*time.Second) * grains

func newMeter(frames, bytes int) *meter {
	return &meter{frame: int64(time.Second) * grains / int64(frames), byte: int64(time.Second) * grains / int64(bytes)}
}

// household is what the devices of one home share.
type household struct {
	links int
	meter *meter
}

// enterHome counts a device of a home in; ok is false if there is no place for it.
func (d *Door) enterHome(l *link) (ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h := d.households[l.home]
	if h == nil {
		h = &household{meter: newMeter(d.o.HomeFrames, d.o.HomeBytes)}
		d.households[l.home] = h
	}
	if h.links >= d.o.PerHome {
		return false
	}
	h.links++
	l.household = h
	return true
}

// leaveHome counts it out.
func (d *Door) leaveHome(l *link) {
	if l.household == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if l.household.links--; l.household.links == 0 {
		delete(d.households, l.home)
	}
}

// spend takes frames and bytes from what may still be sent; limit names the one that is used
// up, if one is.
func (m *meter) spend(now time.Time, frames, bytes int) (limit string) {
	at := int64(now.Sub(began)) * grains
	m.mu.Lock()
	defer m.mu.Unlock()
	f := max(m.frames, at) + int64(frames)*m.frame
	if f > at+savings {
		return "frames"
	}
	m.frames = f
	b := max(m.bytes, at) + int64(bytes)*m.byte
	if b > at+savings {
		return "bytes"
	}
	m.bytes = b
	return ""
}

//go:build linux

package main

import (
	"sync"
	"time"

	"porchlight/device"
)

// moment is when something happened: since the run began, on a clock that nobody sets.
type moment = time.Duration

// record is all that was written down in a run, by those who took part in it and not by the gateway; what the
// gateway says stands apart, in Book.
type record struct {
	Seed      uint64
	Start     time.Time     // of the run
	Lease     time.Duration // of the gateway's configuration, as Allowance is
	Allowance time.Duration
	Late      time.Duration // by how much those who wrote it down were late themselves, at the worst: the machine is busy
	Slack     time.Duration // by how much something that left the gateway may be seen later than it left
	Homes     []*diary
	Brands    []*ledger
	Clock     []setting // people's clock and zones, in order
	Struck    []strike  // the faults, in order
	Book      book
}

// gate is something that must be open for a brand's words to reach the screens of a home.
type gate struct {
	Kind  string // consent, mute, freeze, alarm
	Brand device.BrandID
}

// open reports whether the gate is open while nobody has said anything.
func (g gate) open() bool { return g.Kind != "consent" }

// choice is what somebody in a home said, or a device told, to open or close a gate. Of one gate they follow each
// other: the next is begun when the one before has been acknowledged.
type choice struct {
	gate
	Open    bool
	Device  device.ID // on which it was said; "": told to the operator
	Sent    moment    // begun
	Acked   moment    // acknowledged; 0: never
	Stopped moment    // when somebody was told that nothing of it is on any screen; 0: nobody was
	base    uint64    // version of the document that it was said to
}

// release is a message that came out of the gateway for a device, as the network between the two has seen it.
type release struct {
	Device  device.ID
	Message device.MessageID
	Epoch   uint64
	At      moment
	Late    bool // the network was not reading when it came out: At says little
}

// offer is a message that a device was handed, in the order in which the connection brought it.
type offer struct {
	Device  device.ID
	Conn    int
	Message device.MessageID
	At      moment
}

// hush is a time in which a device, by its own word, which was acknowledged on the same connection, was not to be
// disturbed.
type hush struct {
	Device   device.ID
	Conn     int
	From, To moment
}

// show is a message on a screen.
type show struct {
	Device  device.ID
	Message device.MessageID
	Text    string
	Class   device.Class
	From    moment
	To      moment // when it was off again: by its lease, if that was over before the device got round to it
	Why     string // it went
}

// receipt is what a device said of a message, and the gateway acknowledged.
type receipt struct {
	Device  device.ID
	Message device.MessageID
	Kind    uint8 // wire.EventKind
	Conn    int
	Acked   moment
}

// limit is how many messages a home wants in a time.
type limit struct {
	Brand   device.BrandID // "": of all brands
	Each    bool           // of each brand by itself
	Max     int
	Minutes int // a rolling window; 0: a day of the home
}

// diary is what was written down in one home.
type diary struct {
	mu sync.Mutex

	Name     string
	Limits   []limit
	Odd      bool // it has a device that is cloned, or that sends nonsense: what is on its screens is not judged
	Choices  []*choice
	Releases []release
	Offers   []offer
	Hushes   []hush
	Shows    []*show
	Receipts []receipt
	Classes  map[device.ID]device.Class
	Screens  map[device.ID]map[gate]bool // the gates as each screen shows them when all is over
}

// write adds to d.
func (d *diary) write(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}

// push is a message that a brand sent.
type push struct {
	Key      string // and its words
	ID       device.MessageID
	Classes  []device.Class // it is for; none: all
	Sent     moment
	Acked    moment // 0: nobody has said that it was taken in
	Refused  int    // status of the answer that refused it for good; 0: it was not refused
	Again    int    // answers to the same key, with the same ID
	Other    []device.MessageID
	Taken    bool   // acknowledged by a PUBACK: then every later answer must say that it came before
	New      bool   // an answer to the same key, after it was acknowledged, said that it was new
	BackSent moment // the brand took it back; 0: it did not
	Back     moment // and that was acknowledged
	body     []byte // as it was sent
}

// ledger is what one brand has written down.
type ledger struct {
	mu     sync.Mutex
	Brand  device.BrandID
	Pushes []*push
}

// setting is people's clock and the table of time zones from a moment on.
type setting struct {
	At     moment
	Offset time.Duration // of people's clock to the machine's
	Zone   *time.Location
}

// strike is a fault, from when to when.
type strike struct {
	Name     string
	From, To moment
}

// book is what the gateway says when all is over.
type book struct {
	States  map[device.MessageID]string // of each message, as its brand is told: accepted, withdrawn, expired
	Listed  map[device.BrandID][]device.MessageID
	Ends    map[place]end // from the tables on disk
	History map[string]map[device.BrandID][]string
	Damage  []string // what the gateway's own check of its tables against its journal has found
}

// place is one message on one device.
type place struct {
	Message device.MessageID
	Device  device.ID
}

// end is how a delivery stands in the tables.
type end struct {
	Presented bool
	Outcome   uint8
}

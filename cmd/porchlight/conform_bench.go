package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"porchlight/broker"
	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/authority"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/device/wire"
)

// bench is the gateway's side of a conformance run: the Desk behind the real MQTT door. It
// decides nothing; it writes down what the device does, in order, and sends what a scenario says.
type bench struct {
	id   device.ID
	door *broker.Door

	mu      sync.Mutex
	facts   []fact
	changed chan struct{} // closed and replaced when facts, link or flight change
	link    delivery.Link // nil: the device is away
	conn    int           // connections so far
	ready   bool          // this one has subscribed and sent its birth
	flight  bool          // a frame of QoS 1 waits for its PUBACK

	beacons  bool               // the first beacon of a connection goes out by itself, and others follow
	keep     []device.MessageID // what they name
	fence    uint64             // what they say; also the epoch of what is presented
	skew     time.Duration      // their clock is ahead by so much
	lease    time.Duration
	beaconed time.Time               // when the last one was sent
	withhold func(e wire.Event) bool // true: the event is not acknowledged
}

// act is what a device did, or what became of its connection.
type act string

const (
	didConnect   act = "connected"
	didSubscribe act = "subscribed"
	didBirth     act = "up/birth"
	didContext   act = "up/ctx"
	didEvent     act = "up/evt"
	didPropose   act = "up/twin"
	didBye       act = "up/bye"
	didAck       act = "PUBACK"
	didLeave     act = "gone"
	wasRefused   act = "refused" // by the door: note says what
)

type fact struct {
	at       time.Time
	conn     int
	act      act
	seq      uint64
	birth    wire.Birth
	values   map[string]any
	complete bool
	event    wire.Event
	withheld bool
	proposal wire.Proposal
	bye      wire.Bye
	note     string
	code     uint64
}

// bench is a broker.Desk for one device.
var _ broker.Desk = (*bench)(nil)

var errWithheld = errors.New("withheld on purpose, to see whether it comes again")

func (b *bench) put(f fact) {
	f.at, f.conn = time.Now(), b.conn
	b.facts = append(b.facts, f)
	close(b.changed)
	b.changed = make(chan struct{})
}

// of runs f for the current connection.
func (b *bench) of(link delivery.Link, f func() error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if link != b.link {
		return delivery.ErrAway
	}
	return f()
}

// Connected is part of broker.Desk.
func (b *bench) Connected(_ device.ID, _ device.HomeID, link delivery.Link) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.conn++
	b.link, b.ready, b.flight = link, false, false
	b.put(fact{act: didConnect})
	return nil
}

// Subscribed is part of broker.Desk.
func (b *bench) Subscribed(_ device.ID, link delivery.Link) error {
	return b.of(link, func() error { b.put(fact{act: didSubscribe}); b.welcome(); return nil })
}

// Birth is part of broker.Desk.
func (b *bench) Birth(_ device.ID, link delivery.Link, f wire.Birth) error {
	return b.of(link, func() error { b.put(fact{act: didBirth, seq: f.Seq, birth: f}); b.welcome(); return nil })
}

// welcome sends the first beacon once the device has subscribed and sent its birth.
func (b *bench) welcome() {
	has := func(a act) bool {
		return slices.ContainsFunc(b.facts, func(f fact) bool { return f.conn == b.conn && f.act == a })
	}
	if b.ready || !has(didSubscribe) || !has(didBirth) {
		return
	}
	b.ready = true
	if b.beacons {
		b.beacon()
	}
}

// Context is part of broker.Desk.
func (b *bench) Context(_ device.ID, link delivery.Link, f wire.Context) error {
	return b.of(link, func() error {
		b.put(fact{act: didContext, seq: f.Seq, values: f.Values, complete: f.Complete})
		return nil
	})
}

// Event is part of broker.Desk.
func (b *bench) Event(_ device.ID, link delivery.Link, f wire.Event) error {
	return b.of(link, func() error {
		withheld := b.withhold != nil && b.withhold(f)
		b.put(fact{act: didEvent, seq: f.Seq, event: f, withheld: withheld})
		if withheld {
			return errWithheld
		}
		return nil
	})
}

// Propose is part of broker.Desk.
func (b *bench) Propose(_ device.ID, link delivery.Link, f wire.Proposal) error {
	return b.of(link, func() error { b.put(fact{act: didPropose, seq: f.Seq, proposal: f}); return nil })
}

// Bye is part of broker.Desk.
func (b *bench) Bye(_ device.ID, link delivery.Link, f wire.Bye) error {
	return b.of(link, func() error { b.ready = false; b.put(fact{act: didBye, seq: f.Seq, bye: f}); return nil })
}

// Acked is part of broker.Desk.
func (b *bench) Acked(_ device.ID, link delivery.Link) {
	_ = b.of(link, func() error { b.flight = false; b.put(fact{act: didAck}); return nil }) // of an old connection: nothing waits
}

// Gone is part of broker.Desk.
func (b *bench) Gone(_ device.ID, link delivery.Link) {
	_ = b.of(link, func() error { b.put(fact{act: didLeave}); b.link, b.ready = nil, false; return nil }) // known already
}

// Used is part of broker.Desk: the bench knows one credential.
func (b *bench) Used(device.ID, device.HomeID, registry.Proof, string) error { return nil }

// Accept is part of broker.Desk: no brand is let in.
func (b *bench) Accept(context.Context, registry.Brand, string, delivery.Submission) (delivery.Answer, error) {
	return delivery.Answer{}, registry.ErrUnknown
}

// beacon sends what a gateway would say now. The lock is held.
func (b *bench) beacon() {
	b.raw(wire.DnTime, 0, wire.Time{Clock: uint64(time.Now().Add(b.skew).UnixMilli()), Fence: b.fence, Keep: b.keep})
	b.beaconed = time.Now()
}

// raw hands a frame, or bytes, to the connection. The lock is held.
func (b *bench) raw(leaf wire.Leaf, qos byte, frame any) error {
	payload, ok := frame.([]byte)
	if !ok {
		var err error
		if payload, err = wire.Encode(frame); err != nil {
			return err
		}
	}
	if b.link == nil {
		return delivery.ErrAway
	}
	if err := b.link.Send(delivery.Frame{Leaf: leaf, Payload: payload, QoS: qos}); err != nil {
		return err
	}
	b.flight = b.flight || qos > 0
	return nil
}

// beat sends a beacon four times in a lease, until ctx ends.
func (b *bench) beat(ctx context.Context) error {
	tick := time.NewTicker(b.lease / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			b.mu.Lock()
			if b.beacons && b.ready {
				b.beacon()
			}
			b.mu.Unlock()
		}
	}
}

// set changes what the beacons say and sends one, if there is a connection to send it on.
func (b *bench) set(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
	if b.beacons && b.ready {
		b.beacon()
	}
}

// mark is the place in the facts after which something is expected.
func (b *bench) mark() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.facts)
}

// turn is how finely await counts.
const turn = 20 * time.Millisecond

// await waits for the first fact from mark on that ok holds of, at most d. It counts d in turns that
// this process has had: what a machine that is busy keeps from it is not held against the device.
func (b *bench) await(ctx context.Context, mark int, d time.Duration, ok func(fact) bool) (fact, bool) {
	timer := time.NewTimer(min(d, turn))
	defer timer.Stop()
	for {
		b.mu.Lock()
		for ; mark < len(b.facts); mark++ {
			if f := b.facts[mark]; ok(f) {
				b.mu.Unlock()
				return f, true
			}
		}
		changed := b.changed
		b.mu.Unlock()
		if d <= 0 {
			return fact{}, false
		}
		select {
		case <-changed:
		case <-timer.C:
			d -= turn
			timer.Reset(min(d, turn))
		case <-ctx.Done():
			return fact{}, false
		}
	}
}

// seen is a copy of the facts.
func (b *bench) seen() []fact {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.facts)
}

// open makes the door, with one home and the device in a store of its own in dir.
func (b *bench) open(ctx context.Context, dir, ca, token string, class device.Class, o broker.Options, names []string) (close func(), caPath string, err error) {
	db, err := store.Open(ctx, filepath.Join(dir, databaseFile), store.Options{Project: delivery.Project})
	if err != nil {
		return nil, "", err
	}
	err = db.Update(func(tx *store.Tx) error {
		home, err := registry.AddHome(tx, "conform", "UTC")
		if err != nil {
			return err
		}
		return registry.AddDevice(tx, device.Device{ID: b.id, Home: home.ID, Class: class, Name: "device under test"}, token)
	})
	if err == nil && (o.TLS != "" || o.WebSocketTLS != "") {
		if o.Authority, err = authority.Open(ca, names, time.Now); err == nil {
			caPath = o.Authority.Path()
		}
	}
	if err == nil {
		b.door, err = broker.New(b, db, o, slog.New(ear{b}))
	}
	if err != nil {
		db.Close()
		return nil, "", err
	}
	return func() { b.door.Close(); db.Close() }, caPath, nil
}

// repetitions is how many context frames the door dropped because their seq did not grow.
func (b *bench) repetitions() (int, error) {
	reg := prometheus.NewRegistry()
	if err := reg.Register(b.door.Metrics()); err != nil {
		return 0, err
	}
	all, err := reg.Gather()
	if err != nil {
		return 0, err
	}
	n := 0.0
	for _, family := range all {
		for _, m := range family.Metric {
			for _, l := range m.Label {
				if l.GetName() != "leaf" || l.GetValue() != string(wire.UpCtx) {
					continue
				}
				switch strings.TrimPrefix(family.GetName(), "porchlight_mqtt_frames_") {
				case "total":
					n += m.Counter.GetValue()
				case "refused_total", "unacknowledged_total":
					n -= m.Counter.GetValue()
				}
			}
		}
	}
	for _, f := range b.seen() {
		if f.act == didContext {
			n--
		}
	}
	return max(0, int(n)), nil
}

// ear hears in the door's log what it refuses: the door speaks of that to nobody else.
type ear struct{ b *bench }

// Enabled is part of slog.Handler.
func (e ear) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }

// WithAttrs is part of slog.Handler.
func (e ear) WithAttrs([]slog.Attr) slog.Handler { return e }

// WithGroup is part of slog.Handler.
func (e ear) WithGroup(string) slog.Handler { return e }

// Handle is part of slog.Handler.
func (e ear) Handle(_ context.Context, r slog.Record) error {
	f := fact{act: wasRefused, note: r.Message}
	switch r.Message {
	case refusedFrame, refusedFilter, refusedConnection, endedConnection:
	default:
		return nil
	}
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "code" && a.Value.Kind() == slog.KindUint64 {
			f.code = a.Value.Uint64()
			f.note += fmt.Sprintf(", code 0x%02X", f.code)
			return true
		}
		if a.Key != "peer" {
			f.note += fmt.Sprintf(", %s: %s", a.Key, a.Value)
		}
		return true
	})
	e.b.mu.Lock()
	defer e.b.mu.Unlock()
	e.b.put(f)
	return nil
}

// What the door says when it refuses something.
const (
	refusedFrame      = "a frame was refused"
	refusedFilter     = "a subscription was refused"
	refusedConnection = "connection refused"
	endedConnection   = "connection ended by us"
)

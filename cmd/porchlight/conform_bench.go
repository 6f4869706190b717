package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
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

// bench is the gateway's side of a conformance run: the Desk and the Entrance behind the real MQTT
// door. It decides nothing; it writes down what the device does, in order, and sends what a scenario
// says.
type bench struct {
	id      device.ID // of the device; if it was let in more than once, the last one
	home    device.HomeID
	db      *store.DB
	door    *broker.Door
	ca      *authority.Authority // nil: no TLS
	front   *front               // before the door's TLS listener; nil: no TLS
	strange *broker.Door         // a gateway with another authority; nil: nobody is let in

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

	refuse func() error                 // what a log-in is refused with; nil, or its nil: it is let in
	ajar   bool                         // who applies is heard
	issues []issue                      // what comes of the next frames on up/key
	keys   map[[wire.HashSize]byte]bool // that have, or had, a certificate
	fresh  [wire.HashSize]byte          // of these the last, while it was not used: it may be asked for again
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

	didUse    act = "used"     // a credential, for the first time
	wasDenied act = "denied"   // a log-in, as the scenario wants it
	didAsk    act = "asked"    // connected as one that has no identity
	didApply  act = "applied"  // up/enrol
	didReveal act = "revealed" // up/enrol
	didDepart act = "departed" // the applicant's connection has ended
	didAskKey act = "up/key"
	didShun   act = "shunned" // a certificate that is not the gateway's: nothing was sent
	didTrust  act = "trusted" // it: something was sent
)

type fact struct {
	at       time.Time
	n        int // its place
	conn     int
	act      act
	peer     string // client ID
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

	link    delivery.Link // of an applicant
	applied application
	nonce   []byte
	proof   []byte
	keyed   bool // it wants a certificate, for a key of its own
	known   bool // one that had a certificate before
	ended   bool // on a connection whose certificate has ended
	refused bool // it was told to come again
	shown   *tls.Certificate
}

// bench is a broker.Desk for one device.
var _ broker.Desk = (*bench)(nil)

var errWithheld = errors.New("withheld on purpose, to see whether it comes again")

func (b *bench) put(f fact) {
	f.at, f.n, f.conn = time.Now(), len(b.facts), b.conn
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
func (b *bench) Connected(dev device.ID, _ device.HomeID, link delivery.Link) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refuse != nil {
		if err := b.refuse(); err != nil {
			b.put(fact{act: wasDenied, peer: string(dev)})
			return err
		}
	}
	b.conn++
	b.link, b.ready, b.flight = link, false, false
	b.put(fact{act: didConnect, peer: string(dev)})
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

// Answer is part of broker.Desk: nothing is asked here, and what comes all the same is passed over.
func (b *bench) Answer(_ device.ID, link delivery.Link, _ wire.Answer) error {
	return b.of(link, func() error { return nil })
}

// WhyAsked is part of broker.Desk: a person may ask at any time, and there is nobody to answer.
func (b *bench) WhyAsked(_ device.ID, link delivery.Link, _ wire.WhyAsked) error {
	return b.of(link, func() error { return nil })
}

// Signal is part of broker.Desk.
func (b *bench) Signal(_ device.ID, link delivery.Link, _ wire.Signal) error {
	return b.of(link, func() error { return nil })
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

// Used is part of broker.Desk.
func (b *bench) Used(dev device.ID, _ device.HomeID, p registry.Proof, _ string) error {
	if err := b.db.Update(func(tx *store.Tx) error { return registry.Activate(tx, dev, p) }); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fresh = [wire.HashSize]byte{}
	b.put(fact{act: didUse, peer: string(dev)})
	return nil
}

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

// open makes the door, with one home in a store of its own in dir, and the authority in the folder
// ca. Without a token the device is in no book: it has to be let in.
func (b *bench) open(ctx context.Context, dir, ca, token string, class device.Class, o broker.Options, names []string) (shut func(), err error) {
	var closes []func()
	shut = func() {
		for _, f := range slices.Backward(closes) {
			f()
		}
	}
	defer func() {
		if err != nil {
			shut()
		}
	}()
	if b.db, err = store.Open(ctx, filepath.Join(dir, databaseFile), store.Options{Project: delivery.Project, Clear: delivery.Clear}); err != nil {
		return shut, err
	}
	closes = append(closes, func() { b.db.Close() })
	err = b.db.Update(func(tx *store.Tx) error {
		home, err := registry.AddHome(tx, "conform", "UTC")
		if b.home = home.ID; err != nil || token == "" {
			return err
		}
		return registry.AddDevice(tx, device.Device{ID: b.id, Home: home.ID, Class: class, Name: "device under test"}, token)
	})
	if err != nil {
		return shut, err
	}
	log := slog.New(ear{b})
	if o.TLS != "" {
		if b.ca, err = authority.Open(ca, names, time.Now); err != nil {
			return shut, err
		}
		b.ca.Life = certificateLife
		if b.front, err = newFront(o.TLS, b.met); err != nil {
			return shut, err
		}
		closes = append(closes, func() { b.front.Close() })
		o.TLS, o.Authority, o.Entrance = "127.0.0.1:0", b.ca, entrance{b, b.ca}
	}
	if b.door, err = broker.New(b, b.db, o, log); err != nil {
		return shut, err
	}
	closes = append(closes, func() { b.door.Close() })
	if b.front != nil {
		b.front.lead(b.door)
	}
	if token == "" {
		other, err := authority.Open(filepath.Join(dir, "strange"), names, time.Now)
		if err != nil {
			return shut, err
		}
		if b.strange, err = broker.New(b, b.db, broker.Options{TLS: o.TLS, Authority: other, Entrance: entrance{b, other}}, log); err != nil {
			return shut, err
		}
		closes = append(closes, func() { b.strange.Close() })
	}
	return shut, nil
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
		if a.Key == "peer" || a.Key == "claims" {
			f.peer = a.Value.String()
		}
		if a.Key != "peer" {
			f.note += fmt.Sprintf(", %s: %s", a.Key, a.Value)
		}
		return true
	})
	e.b.mu.Lock()
	defer e.b.mu.Unlock()
	f.ended = e.b.link == nil && f.peer == string(e.b.id) && r.Message != refusedConnection
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

// certificateLife is how long the certificates of a run are good for, but for those that are to end in it.
const certificateLife = 365 * 24 * time.Hour

// loginWithin is how long a device that was admitted may take to log in.
const loginWithin = 10 * time.Minute

// entrance is the bench behind a door that shows the certificate of ca: the broker.Entrance of that
// door. It hears who applies, and leaves the answer to the scenario.
type entrance struct {
	*bench
	ca *authority.Authority
}

var _ broker.Entrance = entrance{}

// application is what a device says when it asks to be let in.
type application struct {
	wire.Apply
	id    string // client ID
	link  delivery.Link
	spki  []byte       // of its key; nil: it wants a token
	bind  wire.Binding // with what is known
	proof []byte
}

// issue is what a request for a new key is answered with.
type issue struct {
	dud  bool          // it never works
	life time.Duration // of a certificate; 0: as usual
}

// Applied is part of broker.Entrance.
func (e entrance) Applied(id string, link delivery.Link) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.put(fact{act: didAsk, peer: id, link: link})
	if !e.ajar {
		return delivery.ErrClosed
	}
	return nil
}

// Apply is part of broker.Entrance.
func (e entrance) Apply(id string, link delivery.Link, f wire.Apply) error {
	a := application{Apply: f, id: id, link: link, bind: wire.Binding{CA: e.ca.Key()}}
	if f.CSR != nil {
		var err error
		if a.bind.Device, a.spki, err = authority.ParseRequest(f.CSR); err != nil {
			return e.bad(fmt.Errorf("up/enrol: %w", err))
		}
	}
	if id != wire.ApplicantID(a.bind.Device, f.Commit) {
		return e.bad(errors.New("up/enrol: the client ID is not the one of this key or commitment"))
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.put(fact{act: didApply, peer: id, link: link, applied: a})
	return nil
}

// bad writes down why a frame is not one of the contract: the door tells nobody but the device.
func (e entrance) bad(err error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.put(fact{act: wasRefused, note: fmt.Sprintf("%s: %v", refusedFrame, err)})
	return fmt.Errorf("%w: %w", wire.ErrFrame, err)
}

// Reveal is part of broker.Entrance.
func (e entrance) Reveal(id string, link delivery.Link, f wire.Reveal) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.put(fact{act: didReveal, peer: id, link: link, nonce: f.Nonce, proof: f.Proof})
	return nil
}

// Departed is part of broker.Entrance.
func (e entrance) Departed(id string, link delivery.Link) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.put(fact{act: didDepart, peer: id, link: link})
}

// Join is part of broker.Entrance: the device under test lets nobody in.
func (e entrance) Join(device.ID, delivery.Link, wire.Join) error { return delivery.ErrForbidden }

// Rekey is part of broker.Entrance.
func (e entrance) Rekey(dev device.ID, _ registry.Proof, _ string, f wire.KeyRequest) (k wire.KeyIssued, err error) {
	var key [wire.HashSize]byte
	var spki []byte
	if f.CSR != nil {
		if key, spki, err = authority.ParseRequest(f.CSR); err != nil {
			return k, e.bad(fmt.Errorf("up/key: %w", err))
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	known, ended := f.CSR != nil && e.keys[key] && key != e.fresh, e.link == nil
	often := len(e.issues) == 0 && !ended // not now: it would connect anew in the middle of something else
	e.put(fact{act: didAskKey, peer: string(dev), seq: f.Seq, keyed: f.CSR != nil, known: known, ended: ended, refused: often})
	if often {
		return k, delivery.ErrOften
	}
	var how issue
	if len(e.issues) > 0 {
		how, e.issues = e.issues[0], e.issues[1:]
	}
	k.CAs = e.ca.CAs()
	var proof registry.Proof
	if f.CSR == nil {
		k.Token = registry.NewToken()
		proof = registry.Token(k.Token)
	} else {
		until := time.Time{}
		if k.Certificate, until, err = e.certify(dev, key, spki, how.life); err != nil {
			return k, err
		}
		k.Until, proof = uint64(until.UnixMilli()), registry.Key(key)
	}
	if e.fresh = key; how.dud {
		return k, nil
	}
	err = e.db.Update(func(tx *store.Tx) error { return registry.Issue(tx, dev, proof, tx.Now.Add(7*24*time.Hour)) })
	if errors.Is(err, registry.ErrTaken) {
		err = nil // it works already
	}
	return k, err
}

// certify makes a certificate, which ends after life. The lock is held.
func (b *bench) certify(id device.ID, key [wire.HashSize]byte, spki []byte, life time.Duration) (der []byte, until time.Time, err error) {
	now := time.Now()
	if life > 0 {
		now = now.Add(life - certificateLife)
	}
	b.keys[key] = true
	return b.ca.Issue(id, spki, now)
}

// front stands before the door's TLS listener. It hands connections on without looking into them, or
// shows a certificate of its own.
type front struct {
	net.Listener
	met func(act, *tls.Certificate) // hears what a device made of that certificate

	mu    sync.Mutex
	to    string           // where connections go on to
	shows *tls.Certificate // nil: they go on
}

func newFront(address string, met func(act, *tls.Certificate)) (*front, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for mqtts: %w", err)
	}
	return &front{Listener: l, met: met}, nil
}

// lead hands connections on to d from now on.
func (f *front) lead(d *broker.Door) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.to, f.shows = d.Addr("mqtts").String(), nil
}

// pose shows a certificate from now on.
func (f *front) pose(c *tls.Certificate) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.shows = c
}

// run takes connections until ctx is done.
func (f *front) run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { f.Close() })
	defer stop()
	var all sync.WaitGroup
	defer all.Wait()
	for {
		c, err := f.Accept()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("accept: %w", err)
		}
		f.mu.Lock()
		to, shows := f.to, f.shows
		f.mu.Unlock()
		all.Go(func() {
			defer c.Close()
			defer context.AfterFunc(ctx, func() { c.Close() })()
			if shows != nil {
				f.try(c, shows)
			} else {
				handOn(ctx, c, to)
			}
		})
	}
}

// handOn hands every byte on, both ways, and the end of each way.
func handOn(ctx context.Context, c net.Conn, to string) {
	on, err := (&net.Dialer{}).DialContext(ctx, "tcp", to)
	if err != nil {
		return // as if the gateway had ended it
	}
	defer on.Close()
	defer context.AfterFunc(ctx, func() { on.Close() })()
	var both sync.WaitGroup
	defer both.Wait()
	for _, way := range [][2]net.Conn{{c, on}, {on, c}} {
		both.Go(func() {
			io.Copy(way[1], way[0])
			way[1].(*net.TCPConn).CloseWrite()
		})
	}
}

// try sees whether a client that is shown this certificate sends anything.
func (f *front) try(c net.Conn, shows *tls.Certificate) {
	c.SetDeadline(time.Now().Add(20 * time.Second))
	begun := false
	s := tls.Server(c, &tls.Config{
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { begun = true; return nil, nil },
		Certificates:       []tls.Certificate{*shows}, ClientAuth: tls.RequestClientCert, SessionTicketsDisabled: true,
	})
	if n, _ := s.Read(make([]byte, 1)); n > 0 { // shakes hands first
		f.met(didTrust, shows)
	} else if begun {
		f.met(didShun, shows)
	}
}

func (b *bench) met(a act, shows *tls.Certificate) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.put(fact{act: a, shown: shows})
}

// forgery makes certificates that are not the gateway's, and look like it.
type forgery struct {
	leaf, above *x509.Certificate // the gateway's own
	own         *ecdsa.PrivateKey // that it has signed its leaf with
	key         *ecdsa.PrivateKey // of somebody else
	ca          *x509.Certificate // theirs, with the name of above
}

func (b *bench) forgery() (f forgery, err error) {
	now, err := b.ca.Server().GetCertificate(nil)
	if err != nil {
		return f, err
	}
	f.leaf = now.Leaf
	if f.above, err = x509.ParseCertificate(now.Certificate[1]); err != nil {
		return f, err
	}
	var keys bytes.Buffer
	if err := b.ca.ExportKey(&keys); err != nil {
		return f, err
	}
	for block, rest := pem.Decode(keys.Bytes()); block != nil; block, rest = pem.Decode(rest) {
		if k, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil && k.(*ecdsa.PrivateKey).PublicKey.Equal(f.above.PublicKey) {
			f.own = k.(*ecdsa.PrivateKey)
		}
	}
	if f.own == nil {
		return f, errors.New("the authority's folder has not the key that signs the gateway's certificate")
	}
	if f.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return f, err
	}
	f.ca, err = f.sign(&x509.Certificate{
		RawSubject: f.above.RawSubject, SubjectKeyId: f.above.SubjectKeyId, IsCA: true, BasicConstraintsValid: true, KeyUsage: f.above.KeyUsage,
	}, f.above, &f.key.PublicKey, f.key)
	return f, err
}

// sign makes a certificate of t, signed with by in the name of issuer.
func (f forgery) sign(t, issuer *x509.Certificate, pub *ecdsa.PublicKey, by *ecdsa.PrivateKey) (*x509.Certificate, error) {
	parent := *issuer
	parent.PublicKey = &by.PublicKey
	t.SerialNumber, t.NotBefore, t.NotAfter = big.NewInt(time.Now().UnixNano()), f.leaf.NotBefore, f.leaf.NotAfter
	der, err := x509.CreateCertificate(rand.Reader, t, &parent, pub, by)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// server is a server's certificate signed with by, for names if there are any and else for those of
// the gateway. Its chain is behind; the first of that is said to have signed it.
func (f forgery) server(by *ecdsa.PrivateKey, names []string, behind ...*x509.Certificate) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{Subject: f.leaf.Subject, DNSNames: names, KeyUsage: f.leaf.KeyUsage, ExtKeyUsage: f.leaf.ExtKeyUsage}
	if names == nil {
		t.DNSNames, t.IPAddresses = f.leaf.DNSNames, f.leaf.IPAddresses
	}
	leaf, err := f.sign(t, behind[0], &key.PublicKey, by)
	if err != nil {
		return nil, err
	}
	return chain(key, leaf, behind...), nil
}

// client is the certificate of a device that was let in, with its key.
func (b *bench) client() (*ecdsa.PrivateKey, *x509.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	spki, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, nil, err
	}
	der, _, err := b.ca.Issue(device.NewID(), spki, time.Now())
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return key, cert, err
}

// chain is what a server shows.
func chain(key *ecdsa.PrivateKey, leaf *x509.Certificate, behind ...*x509.Certificate) *tls.Certificate {
	c := &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}
	for _, b := range behind {
		c.Certificate = append(c.Certificate, b.Raw)
	}
	return c
}

// Package broker is the MQTT door: it lets devices and brands in, translates what they publish
// into facts for the Desk, and carries frames to devices. The library (mochi) lets peers in and is
// a codec for what comes rarely; who is connected, what is in flight, what comes often and every byte
// that reaches the library are this package's own.
//
// A device has one connection that listens and speaks, its link. Beside it there may be side
// connections, which only speak: what comes over one is taken in as if the link had brought it.
// They let a device be played with two commands, one for each direction.
//
// In: MQTT 3.1.1 and 5 over TCP, TLS and WebSocket; frames to send, through delivery.Link.
// Out: calls of the Desk; acknowledgements after them. Never: a decision, a queue, a session
// that outlives its connection, a publish that reaches another client.
package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net"
	"net/netip"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"golang.org/x/time/rate"

	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/authority"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/device/wire"
)

// Desk is what the door asks of the hall; [delivery.Desk] is it. What is said there of each
// method holds here. Calls about one link come one at a time, in the order of its frames;
// Gone comes once for each Connected that did not fail, and before the Connected of the
// device's next link.
type Desk interface {
	Connected(dev device.ID, home device.HomeID, link delivery.Link) error
	Subscribed(dev device.ID, link delivery.Link) error
	Birth(dev device.ID, link delivery.Link, b wire.Birth) error
	Context(dev device.ID, link delivery.Link, c wire.Context) error
	Event(dev device.ID, link delivery.Link, e wire.Event) error
	Propose(dev device.ID, link delivery.Link, p wire.Proposal) error
	Answer(dev device.ID, link delivery.Link, a wire.Answer) error
	WhyAsked(dev device.ID, link delivery.Link, q wire.WhyAsked) error
	Signal(dev device.ID, link delivery.Link, g wire.Signal) error
	Bye(dev device.ID, link delivery.Link, b wire.Bye) error
	Acked(dev device.ID, link delivery.Link)
	Gone(dev device.ID, link delivery.Link)

	// Used takes in that a credential was used for the first time, before the Connected.
	Used(dev device.ID, home device.HomeID, p registry.Proof, from string) error

	Accept(ctx context.Context, b registry.Brand, key string, s delivery.Submission) (delivery.Answer, error)
}

// Options say where to listen and how much to take. An empty address is no listener.
type Options struct {
	Plain        string // as 127.0.0.1:1883
	TLS          string // as :8883; needs Authority
	WebSocket    string // as 127.0.0.1:8083
	WebSocketTLS string // needs Authority

	Authority  *authority.Authority // makes certificates, and knows the devices'; needed by TLS
	Entrance   Entrance             // lets new devices in; nil: none is
	AllowPlain bool                 // Plain and WebSocket may listen beyond loopback

	MaxConnections int           // sockets at one time, logged in or not; 0 means 10,000
	ConnectTimeout time.Duration // from accept to CONNECT, TLS handshake included; 0 means 5 s

	Limits

	// Audit writes down what was refused. Nil: nobody does.
	Audit func([]delivery.Refusal) error

	// Limit takes one message from a brand's allowance. If none is left, it says when to try
	// again. Nil is no limit.
	Limit func(device.BrandID) (ok bool, retryAfter time.Duration)
}

var _ Desk = (*delivery.Desk)(nil)

// Door is the MQTT door. Its methods may be called from any goroutine.
type Door struct {
	desk   Desk
	auth   registrar
	o      Options
	log    *slog.Logger
	notes  *rate.Limiter
	server *mqtt.Server
	count  *counters
	often  often

	gates    []*gate
	closing  chan struct{}  // closed when the door begins to close
	arrivals chan arrival   // for porters that have nothing to do
	tasks    sync.WaitGroup // connections and flushers
	sockets  atomic.Int64
	arrival  atomic.Uint64 // numbers log-ins
	moves    atomic.Int64  // sockets that have come or gone

	mu         sync.Mutex
	stopped    bool
	raw        map[net.Conn]struct{}
	conns      map[*conn]struct{}
	places     map[string]*place // by the library's client ID
	links      map[device.ID]*link
	senders    map[device.BrandID]int       // connections of each brand
	households map[device.HomeID]*household // of those that have a device here

	refusals refusals

	origins table[netip.Addr, origin, *origin]
	storms  table[string, strikes, *strikes] // of takeovers, by client ID
	rushes  table[string, strikes, *strikes] // of frames, by client ID
}

// registrar says who somebody is. A refusal wraps registry.ErrUnknown; any other error means
// that nobody could look.
type registrar struct {
	device func(id device.ID, p registry.Proof) (registry.Login, error)
	brand  func(key string) (registry.Brand, error)

	// changes counts what was written. While it stays the same, so does what device says. Nil: nobody counts.
	changes func() int64
}

// New opens the listeners, so that a caller knows the ports, and fails if one cannot be
// opened. Nothing is accepted before Run.
func New(desk Desk, db *store.DB, o Options, log *slog.Logger) (*Door, error) {
	ctx := context.Background() // a log-in is one read; the connection's end does not undo it
	keys := registry.NewBrandKeys(db)
	return open(desk, registrar{
		device: func(id device.ID, p registry.Proof) (l registry.Login, err error) {
			err = db.View(ctx, func(tx *store.Tx) error { l, err = registry.Authenticate(tx, id, p); return err })
			return l, err
		},
		brand:   func(key string) (registry.Brand, error) { return keys.Authenticate(ctx, key) },
		changes: func() int64 { return db.Commits() },
	}, o, log)
}

func open(desk Desk, who registrar, o Options, log *slog.Logger) (*Door, error) {
	if o.MaxConnections == 0 {
		o.MaxConnections = 10_000
	}
	if o.ConnectTimeout == 0 {
		o.ConnectTimeout = 5 * time.Second
	}
	o.Limits = o.orDefault()
	d := &Door{
		desk: desk, auth: who, o: o, log: log,
		notes:      rate.NewLimiter(5, 50),
		closing:    make(chan struct{}),
		arrivals:   make(chan arrival),
		raw:        map[net.Conn]struct{}{},
		conns:      map[*conn]struct{}{},
		places:     map[string]*place{},
		links:      map[device.ID]*link{},
		senders:    map[device.BrandID]int{},
		households: map[device.HomeID]*household{},
	}
	d.origins.most = max(knownStrikers, 2*o.MaxConnections)
	d.storms.most, d.rushes.most = knownStrikers, knownStrikers
	d.refusals.all, d.refusals.homes, d.refusals.wake = map[refusal]*tally{}, map[device.HomeID]int{}, make(chan struct{}, 1)
	d.count = newCounters(d)
	d.often = newOften(d.count)
	d.server = mqtt.New(&mqtt.Options{
		Capabilities: &mqtt.Capabilities{
			MaximumClients:               math.MaxInt64, // the ceiling is at the gate
			MaximumMessageExpiryInterval: 0,             // anything else would be stamped on messages
			MaximumClientWritesPending:   1,             // it writes nothing but a CONNACK
			MaximumSessionExpiryInterval: 0,
			MaximumPacketSize:            maxPacket,
			ReceiveMaximum:               uint16(min(o.Outstanding, math.MaxUint16)),
			MaximumInflight:              uint16(min(o.Outstanding, math.MaxUint16)),
			TopicAliasMaximum:            aliasMaximum,
			SharedSubAvailable:           0,
			MinimumProtocolVersion:       4,
			MaximumQos:                   1,
			RetainAvailable:              0,
			WildcardSubAvailable:         1, // dn/# is one
			SubIDAvailable:               0,
			Compatibilities:              mqtt.Compatibilities{NoInheritedPropertiesOnAck: true},
		},
		ClientNetReadBufferSize: 256, // a CONNECT is about that long
		SysTopicResendInterval:  math.MaxInt32,
		Logger:                  slog.New(quiet{log.Handler()}),
	})
	// The library's Serve is not called: it would start a loop that publishes $SYS and scans
	// sessions, and connections are handed over one by one.
	if err := d.server.AddHook(&hook{door: d}, nil); err != nil {
		return nil, fmt.Errorf("open the MQTT door: %w", err)
	}
	for _, l := range []struct {
		kind    kind
		address string
	}{{plain, o.Plain}, {overTLS, o.TLS}, {webSocket, o.WebSocket}, {webSocketTLS, o.WebSocketTLS}} {
		if err := d.listen(l.kind, l.address); err != nil {
			d.Close()
			return nil, err
		}
	}
	return d, nil
}

// Addr returns where the door listens for plain MQTT ("mqtt"), TLS ("mqtts"), WebSocket ("ws")
// or WebSocket over TLS ("wss"); nil if it does not.
func (d *Door) Addr(scheme string) net.Addr {
	for _, g := range d.gates {
		if string(g.kind) == scheme {
			return g.Addr()
		}
	}
	return nil
}

// Run lets peers in until ctx is done, then tells everybody that the gateway is shutting down
// and returns once the last connection has ended.
func (d *Door) Run(ctx context.Context) error {
	var gates sync.WaitGroup
	for _, g := range d.gates {
		d.log.Info("listening", "listener", g.kind, "address", g.Addr().String())
		gates.Go(func() { d.serve(g) })
	}
	if d.o.Audit != nil {
		gates.Go(d.write)
	}
	daily := time.NewTicker(24 * time.Hour)
	defer daily.Stop()
	now := time.NewTicker(time.Second)
	defer now.Stop()
	var storm storm
	for done := false; !done; {
		select {
		case <-daily.C:
			d.Renew()
		case <-now.C:
			if storm.over(d.moves.Load()) {
				runtime.GC() // which makes grown stacks smaller; and again
				debug.FreeOSMemory()
			}
		case <-ctx.Done():
			done = true
		}
	}
	d.Close()
	gates.Wait()
	d.tasks.Wait()
	return nil
}

// storm tells when many have come or gone: memory that was needed for that is given back then, rather
// than when the runtime gets round to it.
type storm struct{ before, last int64 }

// over is asked once a second, with how many have come or gone so far. It is true when that was a
// storm, and for a second it has been calm.
func (s *storm) over(moves int64) bool {
	const many, calm = 500, 10
	still := moves-s.last < calm
	s.last = moves
	if !still || moves-s.before < many {
		return false
	}
	s.before = moves
	return true
}

// Close closes the listeners and ends every connection. It does not wait; Run does.
func (d *Door) Close() error {
	d.mu.Lock()
	if d.stopped {
		d.mu.Unlock()
		return nil
	}
	d.stopped = true
	close(d.closing)
	places := slices.Collect(maps.Values(d.places))
	conns := slices.Collect(maps.Keys(d.conns))
	early := maps.Clone(d.raw) // still shaking hands
	for _, c := range conns {
		delete(early, c.raw)
	}
	d.mu.Unlock()

	var errs []error
	for _, g := range d.gates {
		errs = append(errs, g.Listener.Close())
	}
	for c := range early {
		c.Close()
	}
	for _, p := range places {
		p.Close(delivery.Shutdown)
	}
	for _, c := range conns {
		c.Close()
	}
	return errors.Join(errs...)
}

// note logs at Info what a peer can provoke: no more than a few lines a second.
func (d *Door) note(what string, args ...any) {
	if d.notes.Allow() {
		d.log.Info(what, args...)
	}
}

// fault is note for what is ours to mend.
func (d *Door) fault(what string, args ...any) {
	if d.notes.Allow() {
		d.log.Error(what, args...)
	}
}

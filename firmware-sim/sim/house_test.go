package sim

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
	"go.uber.org/goleak"

	"porchlight/device"
	"porchlight/device/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for something that must happen.
const patience = 30 * time.Second

// clock is a device's clock that a test moves by hand.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// gateway is a plain broker and a client that speaks for a gateway: it sends the frames that a test
// wants, and keeps what the device sends.
type gateway struct {
	t      *testing.T
	server *mochi.Server
	url    string
	client mqtt.Client
	clock  *clock
	fence  uint64
	epoch  uint64

	mu      sync.Mutex
	changed chan struct{}
	births  []wire.Birth
	events  []wire.Event
	props   []wire.Proposal
	byes    []wire.Bye
	last    wire.Context
	applied []applied
	keys    []wire.KeyRequest
	joins   []wire.Join
	answers []wire.Answer
	whys    []wire.WhyAsked
	signals []wire.Signal
	bad     []error
}

// everybody may do everything, but for a stranger.
type everybody struct{ mochi.HookBase }

func (*everybody) ID() string { return "everybody" }
func (*everybody) Provides(b byte) bool {
	return b == mochi.OnConnect || b == mochi.OnConnectAuthenticate || b == mochi.OnACLCheck
}

// OnConnect keeps the broker from tidying up when a connection ends: that goes by the client's ID,
// and so would take the subscription of the connection that has already come in its place. It
// tidies up when the next one comes, which asks for a clean session.
func (*everybody) OnConnect(cl *mochi.Client, _ packets.Packet) error {
	cl.Properties.Clean = false
	return nil
}
func (*everybody) OnConnectAuthenticate(cl *mochi.Client, _ packets.Packet) bool {
	return cl.ID != "stranger"
}
func (*everybody) OnACLCheck(*mochi.Client, string, bool) bool { return true }

func newBroker(t *testing.T) (server *mochi.Server, tcp, ws string) {
	t.Helper()
	return newBrokerWith(t, new(everybody))
}

// newBrokerWith is a broker with its one hook, and listeners beside the plain ones.
func newBrokerWith(t *testing.T, hook mochi.Hook, more ...listeners.Listener) (server *mochi.Server, tcp, ws string) {
	t.Helper()
	server = mochi.New(&mochi.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err := server.AddHook(hook, nil); err != nil {
		t.Fatal(err)
	}
	l := listeners.NewTCP(listeners.Config{ID: "tcp", Address: "127.0.0.1:0"})
	w := listeners.NewWebsocket(listeners.Config{ID: "ws", Address: freePort(t)})
	for _, l := range append(more, l, w) {
		if err := server.AddListener(l); err != nil {
			t.Fatal(err)
		}
	}
	if err := server.Serve(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The library waits for its connections in a way that the race detector minds, unless
		// something else has put them in order before: this reading does.
		_ = atomic.LoadInt64(&server.Info.ClientsConnected)
		server.Close()
	})
	return server, "tcp://" + l.Address(), "ws://" + w.Address()
}

func newGateway(t *testing.T) *gateway {
	t.Helper()
	server, tcp, _ := newBroker(t)
	return newGatewayOf(t, server, tcp)
}

// newGatewayOf speaks for the gateway on a broker.
func newGatewayOf(t *testing.T, server *mochi.Server, url string) *gateway {
	t.Helper()
	g := &gateway{t: t, changed: make(chan struct{}), epoch: 5, clock: &clock{now: time.Date(2030, 1, 2, 12, 0, 0, 0, time.UTC)}}
	g.server, g.url = server, url
	g.client = mqtt.NewClient(mqtt.NewClientOptions().AddBroker(g.url).SetClientID("gateway").
		SetProtocolVersion(4).SetAutoReconnect(false).SetDefaultPublishHandler(g.take))
	g.must(g.client.Connect())
	t.Cleanup(func() { g.client.Disconnect(250) })
	g.must(g.client.Subscribe("pl/1/+/up/#", 1, nil))
	return g
}

func (g *gateway) must(tok mqtt.Token) {
	g.t.Helper()
	if !tok.WaitTimeout(patience) || tok.Error() != nil {
		g.t.Fatalf("gateway's client: %v", tok.Error())
	}
}

// take keeps a frame of the device.
func (g *gateway) take(_ mqtt.Client, m mqtt.Message) {
	id, leaf, _ := wire.ParseTopic(m.Topic())
	g.mu.Lock()
	defer g.mu.Unlock()
	var err error
	if device.IsApplicant(string(id)) != (leaf == wire.UpEnrol) {
		g.bad = append(g.bad, fmt.Errorf("topic %q", m.Topic()))
	}
	switch b := m.Payload(); leaf {
	case wire.UpEnrol:
		f := applied{id: id}
		f.apply, f.reveal, err = wire.DecodeEnrol(b)
		g.applied = append(g.applied, f)
	case wire.UpKey:
		var f wire.KeyRequest
		f, err = wire.DecodeKeyRequest(b)
		g.keys = append(g.keys, f)
	case wire.UpJoin:
		var f wire.Join
		f, err = wire.DecodeJoin(b)
		g.joins = append(g.joins, f)
	case wire.UpAns:
		var f wire.Answer
		f, err = wire.DecodeAnswer(b)
		g.answers = append(g.answers, f)
	case wire.UpWhy:
		var f wire.WhyAsked
		f, err = wire.DecodeWhyAsked(b)
		g.whys = append(g.whys, f)
	case wire.UpSig:
		var f wire.Signal
		f, err = wire.DecodeSignal(b)
		g.signals = append(g.signals, f)
	case wire.UpBirth:
		var f wire.Birth
		f, err = wire.DecodeBirth(b)
		g.births = append(g.births, f)
	case wire.UpEvt:
		var f wire.Event
		f, err = wire.DecodeEvent(b)
		g.events = append(g.events, f)
	case wire.UpTwin:
		var f wire.Proposal
		f, err = wire.DecodeProposal(b)
		g.props = append(g.props, f)
	case wire.UpBye:
		var f wire.Bye
		f, err = wire.DecodeBye(b)
		g.byes = append(g.byes, f)
	case wire.UpCtx:
		g.last, err = wire.DecodeContext(g.births[len(g.births)-1].Attributes, b)
	default:
		err = fmt.Errorf("topic %q", m.Topic())
	}
	if err != nil {
		g.bad = append(g.bad, err)
	}
	close(g.changed)
	g.changed = make(chan struct{})
}

// wait waits until ok holds of what the gateway has seen.
func (g *gateway) wait(what string, ok func() bool) {
	g.t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		g.mu.Lock()
		yes, changed := ok(), g.changed
		bad := slices.Clone(g.bad)
		events := fmt.Sprint(brief(g.events))
		g.mu.Unlock()
		if len(bad) > 0 {
			g.t.Fatalf("frame of the device: %v", bad[0])
		}
		if yes {
			return
		}
		select {
		case <-changed:
		case <-timeout.C:
			g.t.Fatalf("%s did not happen; events: %s", what, events)
		}
	}
}

func brief(es []wire.Event) []string {
	var s []string
	for _, e := range es {
		s = append(s, fmt.Sprintf("%d/%d", e.Kind, e.Reason))
	}
	return s
}

// event waits for the n-th event of a message, counted from 1.
func (g *gateway) event(id device.MessageID, n int) wire.Event {
	g.t.Helper()
	var got wire.Event
	g.wait(fmt.Sprintf("event %d of %s", n, id), func() bool {
		have := 0
		for _, e := range g.events {
			if e.Message == id {
				if have++; have == n {
					got = e
					return true
				}
			}
		}
		return false
	})
	return got
}

// want fails unless e is what was wanted.
func (g *gateway) want(e wire.Event, kind wire.EventKind, reason wire.Reason) {
	g.t.Helper()
	if e.Kind != kind || e.Reason != reason {
		g.t.Fatalf("event: got kind %d, reason %d; want kind %d, reason %d", e.Kind, e.Reason, kind, reason)
	}
}

func (g *gateway) send(d *Device, leaf wire.Leaf, v any) {
	g.t.Helper()
	g.sendTo(d.ID(), leaf, v)
}

func (g *gateway) sendTo(id device.ID, leaf wire.Leaf, v any) {
	g.t.Helper()
	b, err := wire.Encode(v)
	if err != nil {
		g.t.Fatalf("encode %T: %v", v, err)
	}
	g.must(g.client.Publish(wire.Topic(id, leaf), 1, false, b))
}

// beacon sends a beacon that keeps the messages named.
func (g *gateway) beacon(d *Device, keep ...device.MessageID) {
	g.t.Helper()
	g.send(d, wire.DnTime, wire.Time{Clock: uint64(g.clock.Now().UnixMilli()), Fence: g.fence, Keep: keep})
}

// message is a good one.
func (g *gateway) message() wire.Present {
	now := g.clock.Now()
	return wire.Present{
		Message: device.NewMessageID(device.At(now)), ValidUntil: uint64(now.Add(time.Hour).Unix()), Live: 3600_000,
		Text: "Soup of the day", Sender: "Corner Shop", Responses: []wire.Response{{ID: 1, Label: "Yes"}, {ID: 2, Label: "No"}},
		Lease: 10_000, Epoch: g.epoch,
	}
}

// advance moves the device's clock, and the gateway's, and lets the device notice.
func (g *gateway) advance(d *Device, by time.Duration) {
	g.clock.mu.Lock()
	g.clock.now = g.clock.now.Add(by)
	g.clock.mu.Unlock()
	d.with(func(time.Time) error { return nil })
}

// journal keeps a device's events.
type journal chan Event

func newJournal() journal { return make(journal, 1000) }

func (j journal) note(e Event) { j <- e }

// await waits for an event of kind k whose reason has why in it.
func (j journal) await(t *testing.T, k Kind, why string) (e Event) {
	t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		select {
		case e = <-j:
			if e.Kind == k && strings.Contains(e.Why, why) {
				return e
			}
		case <-timeout.C:
			t.Fatalf("no event %q with %q", k, why)
		}
	}
}

// config is that of a good device.
func (g *gateway) config(c device.Class) Config {
	return Config{
		ID: device.NewID(), Token: "secret", Name: c.String(), Class: c, Gateway: g.url, Now: g.clock.Now,
		Retry: 2 * time.Millisecond, MaxRetry: 20 * time.Millisecond,
		Can: device.Capabilities{Forms: []device.Form{device.Toast, device.Panel}, MaxButtons: 3, Holds: 2, Languages: []string{"en"}},
	}
}

// run makes a device, runs it until the test ends, and waits for its birth.
func (g *gateway) run(cfg Config) *Device {
	g.t.Helper()
	d, err := New(cfg)
	if err != nil {
		g.t.Fatal(err)
	}
	g.start(d)
	g.wait("birth", func() bool { return len(g.births) > 0 })
	return d
}

// start runs d until the test ends or the function that it returns is called.
func (g *gateway) start(d *Device) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			g.t.Errorf("run: %v", err)
		}
	})
	g.t.Cleanup(stop)
	return stop
}

// await waits for the device.
func (g *gateway) await(d *Device, ok func(State) bool) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := d.Await(ctx, ok); err != nil {
		g.t.Fatal(err)
	}
}

// ready is a device of class c, connected, with a beacon, and on.
func (g *gateway) ready(c device.Class, edit ...func(*Config)) *Device {
	g.t.Helper()
	cfg := g.config(c)
	if c == device.TV {
		cfg.Start = []string{"turn on"}
	}
	for _, e := range edit {
		e(&cfg)
	}
	d := g.run(cfg)
	g.beacon(d)
	g.await(d, func(s State) bool { return s.Ready })
	return d
}

// shows presents m and waits until it is on the screen and the gateway knows.
func (g *gateway) shows(d *Device, m wire.Present) {
	g.t.Helper()
	g.send(d, wire.DnMsg, m)
	g.want(g.event(m.Message, 1), wire.Presented, 0)
	g.await(d, func(s State) bool { return s.Owed == 0 })
	if s := d.Screen(); !s.Showing || s.Message != m.Message || s.Text != m.Text {
		g.t.Fatalf("screen: got %+v, want %q", s, m.Text)
	}
}

// dark fails if anything is on the screen.
func (g *gateway) dark(d *Device) {
	g.t.Helper()
	if s := d.Screen(); s.Showing {
		g.t.Fatalf("screen: got %q, want nothing", s.Text)
	}
}

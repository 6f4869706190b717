package sim

import (
	"errors"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"porchlight/device"
	"porchlight/device/wire"
)

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestBirthThenContext(t *testing.T) {
	g := newGateway(t)
	d := g.ready(device.Car, func(c *Config) { c.Model = device.Model{Maker: "Lumen", Name: "C1"} })
	g.wait("a snapshot", func() bool { return g.last.Complete })
	b := g.births[0]
	if b.Seq != 0 || b.Class != device.Car || b.Model.Maker != "Lumen" || len(b.Attributes) == 0 || b.Can.MaxButtons != 3 {
		t.Errorf("birth: got %+v", b)
	}
	if got := g.last.Values["ux.driving"]; got != "parked" {
		t.Errorf("ux.driving: got %v, want parked", got)
	}
	if err := d.Do("drive"); err != nil {
		t.Fatal(err)
	}
	g.wait("moving", func() bool { return g.last.Values["ux.driving"] == "moving" })
	seq := g.last.Seq
	g.advance(d, d.fw.heartbeat())
	g.wait("a heartbeat", func() bool { return g.last.Seq > seq })
	if h := d.fw.heartbeat(); h != 1500*time.Millisecond {
		t.Errorf("heartbeat of a car: got %s, want 1.5s", h)
	}
}

func TestWebSocket(t *testing.T) {
	g := newGateway(t)
	_, _, ws := newBroker(t)
	cfg := g.config(device.Display)
	cfg.Gateway = ws
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	g.start(d)
	g.await(d, func(s State) bool { return s.Connected })
}

// A connection on which no beacon comes is no good: the device tries another.
func TestNoBeacon(t *testing.T) {
	g := newGateway(t)
	j := newJournal()
	cfg := g.config(device.TV)
	cfg.AckWait, cfg.Notify = 100*time.Millisecond, j.note
	g.run(cfg)
	j.await(t, Away, "no beacon has come")
	g.wait("a second birth", func() bool { return len(g.births) > 1 })
}

func TestWrongPassword(t *testing.T) {
	g := newGateway(t)
	j := newJournal()
	cfg := g.config(device.TV)
	cfg.ID, cfg.Notify = "stranger", j.note
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	g.start(d)
	j.await(t, Away, "connect: ")
	j.await(t, Away, "connect: ") // and again
}

// It does not believe a refusal: not that it is unknown, nor that the gateway cannot look, nor that nobody answers. Each
// time it says what it was about.
func TestNeverGivesUp(t *testing.T) {
	g := newGateway(t)
	for name, tt := range map[string]struct {
		answer []byte
		is     error
	}{
		"unknown":     {[]byte{0x20, 2, 0, packets.Err3NotAuthorized.Code}, ErrNotKnown},
		"cannot look": {[]byte{0x20, 2, 0, packets.Err3ServerUnavailable.Code}, nil},
		"another ID":  {[]byte{0x20, 2, 0, packets.Err3ClientIdentifierNotValid.Code}, nil},
		"no word":     {nil, nil},
	} {
		busy, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		j := newJournal()
		cfg := g.config(device.TV)
		cfg.Gateway, cfg.Notify = "tcp://"+busy.Addr().String(), j.note
		d, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		stop := g.start(d) // an error of Run is an error of the test
		busy.(*net.TCPListener).SetDeadline(time.Now().Add(patience))
		for range 5 {
			conn, err := busy.Accept()
			if err != nil {
				t.Fatal(name, err)
			}
			_, _ = conn.Read(make([]byte, 256))
			_, _ = conn.Write(tt.answer)
			conn.Close()
			e := j.await(t, Away, "connect: ")
			if e.Err == nil || errors.Is(e.Err, ErrNotKnown) != (tt.is != nil) {
				t.Errorf("%s: got %q, %v, want one that is %v", name, e.Why, e.Err, tt.is)
			}
		}
		stop()
		busy.Close()
	}
	j := newJournal()
	cfg := g.config(device.TV)
	cfg.Gateway, cfg.Notify = "tcp://"+freePort(t), j.note
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	g.start(d)
	for range 3 {
		j.await(t, Away, "connection refused")
	}
}

// Where something else than TLS answers, it says so, and so it does where TLS may be wanted; a refused connection is another matter.
func TestNoTLS(t *testing.T) {
	g := newGateway(t)
	for name, tt := range map[string]struct{ scheme, answer string }{
		"ends":               {"tls", ""},
		"answers":            {"tls", "HTTP/1.1 400 Bad Request\r\n\r\n"},
		"ends a WebSocket":   {"wss", ""},
		"answers WebSockets": {"wss", "HTTP/1.1 400 Bad Request\r\n\r\n"},
		"nobody":             {"tls", "nobody"},
		"wants it, perhaps":  {"tcp", ""},
		"the same":           {"ws", ""},
		"answers otherwise":  {"ws", "HTTP/1.1 400 Bad Request\r\n\r\n"},
		"nobody wants it":    {"tcp", "nobody"},
	} {
		there, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		if tt.answer == "nobody" {
			there.Close()
		}
		wg.Go(func() {
			for {
				conn, err := there.Accept()
				if err != nil {
					return
				}
				_, _ = conn.Read(make([]byte, 4096))
				_, _ = conn.Write([]byte(tt.answer))
				conn.Close()
			}
		})
		j := newJournal()
		cfg := g.config(device.TV)
		cfg.Gateway, cfg.Notify = tt.scheme+"://"+there.Addr().String(), j.note
		d, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		stop := g.start(d)
		secure := tt.scheme == "tls" || tt.scheme == "wss"
		if e := j.await(t, Away, "connect: "); errors.Is(e.Err, ErrNoTLS) != (secure && tt.answer != "nobody") || errors.Is(e.Err, ErrTLS) != (!secure && tt.answer == "") {
			t.Errorf("%s: got %v", name, e.Err)
		}
		stop()
		there.Close()
		wg.Wait()
	}
}

func TestBadAddress(t *testing.T) {
	d, err := New(Config{ID: "tv-1", Class: device.TV, Gateway: "http://localhost"})
	if err != nil {
		t.Fatal(err)
	}
	err = d.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "tcp://") {
		t.Errorf("run: got %v, want an error that names tcp://", err)
	}
}

// What a present must be for the screen to show it, one thing changed in a good one.
func TestPresent(t *testing.T) {
	form := device.Voice
	tests := map[string]struct {
		class  device.Class
		before string
		edit   func(*gateway, *wire.Present)
		kind   wire.EventKind
		reason wire.Reason
	}{
		"good":                   {class: device.TV, kind: wire.Presented},
		"at the fence":           {class: device.TV, edit: func(g *gateway, p *wire.Present) { p.Epoch = g.fence }, kind: wire.Presented},
		"before the fence":       {class: device.TV, edit: func(g *gateway, p *wire.Present) { p.Epoch = g.fence - 1 }, kind: wire.Declined, reason: wire.Stale},
		"form that is not there": {class: device.TV, edit: func(_ *gateway, p *wire.Present) { p.Form = &form }, kind: wire.Declined, reason: wire.UnsupportedForm},
		"too many buttons": {class: device.TV, edit: func(_ *gateway, p *wire.Present) {
			p.Responses = append(p.Responses, wire.Response{ID: 3, Label: "c"}, wire.Response{ID: 4, Label: "d"})
		}, kind: wire.Declined, reason: wire.UnsupportedForm},
		"not valid any more": {class: device.TV, edit: func(g *gateway, p *wire.Present) { p.ValidUntil = uint64(g.clock.Now().Unix()) }, kind: wire.Expired},
		"guard holds": {class: device.TV, edit: func(_ *gateway, p *wire.Present) {
			p.Guards = map[string]wire.Guard{"volume_level": {Op: "le", Value: 0.5}, "state": {Op: "eq", Value: "on"}}
		}, kind: wire.Presented},
		"guard fails": {class: device.TV, edit: func(_ *gateway, p *wire.Present) {
			p.Guards = map[string]wire.Guard{"state": {Op: "ne", Value: "on"}}
		}, kind: wire.Declined, reason: wire.GuardFailed},
		"guard on what is unknown": {class: device.TV, edit: func(_ *gateway, p *wire.Present) {
			p.Guards = map[string]wire.Guard{"battery.level": {Op: "ne", Value: 1.0}}
		}, kind: wire.Declined, reason: wire.GuardFailed},
		"guard on what it never heard of": {class: device.TV, edit: func(_ *gateway, p *wire.Present) {
			p.Guards = map[string]wire.Guard{"phase.of.the.moon": {Op: "ne", Value: 1.0}}
		}, kind: wire.Declined, reason: wire.GuardFailed},
		"television off":     {class: device.TV, before: "turn off", kind: wire.Declined, reason: wire.Busy},
		"do not disturb":     {class: device.TV, before: "do not disturb on", kind: wire.Declined, reason: wire.UserDND},
		"parked car":         {class: device.Car, kind: wire.Presented},
		"car without senses": {class: device.Car, before: "lose the sensors", kind: wire.Declined, reason: wire.DrivingNow},
		"moving car":         {class: device.Car, before: "drive", kind: wire.Declined, reason: wire.DrivingNow},
		"hot oven":           {class: device.Oven, before: "start", kind: wire.Declined, reason: wire.Busy},
		"oven with alarm":    {class: device.Oven, before: "raise alarm", kind: wire.Declined, reason: wire.Busy},
		"speaker in a call":  {class: device.Speaker, before: "call", kind: wire.Declined, reason: wire.Busy},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t)
			g.fence = 3
			d := g.ready(tt.class)
			if tt.before != "" {
				if err := d.Do(tt.before); err != nil {
					t.Fatal(err)
				}
			}
			p := g.message()
			if tt.edit != nil {
				tt.edit(g, &p)
			}
			g.send(d, wire.DnMsg, p)
			g.want(g.event(p.Message, 1), tt.kind, tt.reason)
			if got, want := d.Screen().Showing, tt.kind == wire.Presented; got != want {
				t.Errorf("on the screen: got %t, want %t", got, want)
			}
		})
	}
}

// What takes a message off the screen.
func TestTakenOff(t *testing.T) {
	tests := map[string]struct {
		edit   func(*wire.Present)
		do     func(*gateway, *Device, wire.Present)
		kind   wire.EventKind
		reason wire.Reason
	}{
		"cancel": {do: func(g *gateway, d *Device, p wire.Present) {
			g.send(d, wire.DnMsg, wire.Cancel{Message: p.Message, Fence: 9})
		}, kind: wire.Cancelled},
		"not in keep": {do: func(g *gateway, d *Device, p wire.Present) { g.beacon(d) }, kind: wire.Cancelled},
		"lease over":  {do: func(g *gateway, d *Device, p wire.Present) { g.advance(d, 10*time.Second) }, kind: wire.Expired},
		"life over": {edit: func(p *wire.Present) { p.Live = 4000 },
			do: func(g *gateway, d *Device, p wire.Present) { g.advance(d, 4*time.Second) }, kind: wire.Expired},
		"not valid any more": {edit: func(p *wire.Present) { p.ValidUntil -= 3600 - 3 },
			do: func(g *gateway, d *Device, p wire.Present) { g.advance(d, 3*time.Second) }, kind: wire.Expired},
		"time on the screen over": {edit: func(p *wire.Present) { p.Display = 5000 },
			do: func(g *gateway, d *Device, p wire.Present) { g.advance(d, 5*time.Second) }, kind: wire.TimedOut},
		"guard fails": {edit: func(p *wire.Present) { p.Guards = map[string]wire.Guard{"full_screen": {Op: "eq", Value: false}} },
			do: func(g *gateway, d *Device, p wire.Present) { d.Do("play") }, kind: wire.Declined, reason: wire.GuardFailed},
		"do not disturb": {do: func(g *gateway, d *Device, p wire.Present) { d.Do("do not disturb on") }, kind: wire.Declined, reason: wire.UserDND},
		"power cut":      {do: func(g *gateway, d *Device, p wire.Present) { d.Reboot() }, kind: wire.Failed, reason: wire.Internal},
		"dismissed":      {do: func(g *gateway, d *Device, p wire.Present) { d.Dismiss(nil) }, kind: wire.Dismissed},
		"answered":       {do: func(g *gateway, d *Device, p wire.Present) { d.Press(2, nil) }, kind: wire.Responded},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t)
			d := g.ready(device.TV)
			p := g.message()
			if tt.edit != nil {
				tt.edit(&p)
			}
			g.shows(d, p)
			tt.do(g, d, p)
			g.await(d, func(s State) bool { return !s.Screen.Showing })
			g.want(g.event(p.Message, 2), tt.kind, tt.reason)
		})
	}
}

func TestLeaseIsKept(t *testing.T) {
	g := newGateway(t)
	d := g.ready(device.TV)
	p := g.message()
	g.shows(d, p)
	for range 4 {
		g.advance(d, 9*time.Second)
		g.beacon(d, p.Message)
		g.await(d, func(s State) bool { return s.Screen.Left == 10*time.Second })
	}
	g.advance(d, 10*time.Second-time.Millisecond)
	if !d.Screen().Showing {
		t.Fatal("the message has left the screen within its lease")
	}
	g.advance(d, time.Millisecond)
	g.dark(d)
}

func TestLeaseEndsWithoutConnection(t *testing.T) {
	g := newGateway(t)
	d := g.ready(device.TV)
	p := g.message()
	g.shows(d, p)
	d.Unplug()
	g.advance(d, 9*time.Second)
	if !d.Screen().Showing {
		t.Fatal("the message has left the screen within its lease")
	}
	g.advance(d, time.Second)
	g.dark(d)
	d.Plug()
	g.want(g.event(p.Message, 2), wire.Expired, 0)
	if held := g.births[1].Held; len(held) != 0 {
		t.Errorf("held at the second birth: got %v, want none", held)
	}
}

func TestNothingBeforeTheBeacon(t *testing.T) {
	g := newGateway(t)
	cfg := g.config(device.TV)
	cfg.Start = []string{"turn on"}
	d := g.run(cfg)
	p, q := g.message(), g.message()
	g.send(d, wire.DnMsg, p)
	g.send(d, wire.DnMsg, q)
	g.await(d, func(s State) bool { return s.Screen.Queued == 2 })
	g.dark(d)
	g.beacon(d, q.Message) // p is not kept
	g.want(g.event(p.Message, 1), wire.Cancelled, 0)
	g.want(g.event(q.Message, 1), wire.Presented, 0)
	for _, e := range g.events {
		if e.Message == p.Message && e.Kind == wire.Presented {
			t.Error("a message that was not kept was presented")
		}
	}
}

func TestFence(t *testing.T) {
	g := newGateway(t)
	d := g.ready(device.TV)
	shown, waits, late := g.message(), g.message(), g.message()
	g.shows(d, shown)
	g.send(d, wire.DnMsg, waits)
	g.want(g.event(waits.Message, 1), wire.Queued, 0)
	// What waits was decided before the fence: it needs a beacon to come up.
	g.send(d, wire.DnMsg, wire.Cancel{Message: shown.Message, Fence: 6})
	g.want(g.event(shown.Message, 2), wire.Cancelled, 0)
	g.dark(d)
	g.send(d, wire.DnMsg, late)
	g.want(g.event(late.Message, 1), wire.Declined, wire.Stale)
	// A lower fence later does not lower it.
	g.fence = 2
	g.beacon(d, waits.Message)
	g.want(g.event(waits.Message, 2), wire.Presented, 0)
	if got := d.State().Fence; got != 6 {
		t.Errorf("fence: got %d, want 6", got)
	}
	// It survives a power cut.
	if err := d.Reboot(); err != nil {
		t.Fatal(err)
	}
	g.await(d, func(s State) bool { return s.Births == 2 })
	g.beacon(d)
	late2 := g.message()
	g.send(d, wire.DnMsg, late2)
	g.want(g.event(late2.Message, 1), wire.Declined, wire.Stale)
}

func TestCancelIsAlwaysAnswered(t *testing.T) {
	g := newGateway(t)
	d := g.ready(device.TV)
	p := g.message()
	g.send(d, wire.DnMsg, wire.Cancel{Message: p.Message})
	g.want(g.event(p.Message, 1), wire.Cancelled, 0)
	// It was never shown, and nobody has raised the fence: the gateway may change its mind.
	g.send(d, wire.DnMsg, p)
	g.want(g.event(p.Message, 2), wire.Presented, 0)
}

func TestShownOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tv.json")
	for name, memory := range map[string]string{"in memory": "", "in a file": file} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t)
			cfg := g.config(device.TV)
			cfg.Start, cfg.Memory = []string{"turn on"}, memory
			d := g.run(cfg)
			g.beacon(d)
			p := g.message()
			g.send(d, wire.DnMsg, p)
			settled := func(d *Device) { g.await(d, func(s State) bool { return s.Owed == 0 }) }
			g.want(g.event(p.Message, 1), wire.Presented, 0)
			settled(d)
			g.send(d, wire.DnMsg, p) // again, while it is shown
			g.want(g.event(p.Message, 2), wire.Presented, 0)
			wish := wire.Reduced
			if err := d.Press(1, &wish); err != nil {
				t.Fatal(err)
			}
			g.want(g.event(p.Message, 3), wire.Responded, 0)
			again := func(d *Device, n int) {
				t.Helper()
				settled(d)
				g.send(d, wire.DnMsg, p)
				e := g.event(p.Message, n)
				g.want(e, wire.Responded, 0)
				if e.Response == nil || *e.Response != 1 || e.Wish == nil || *e.Wish != wire.Reduced {
					t.Errorf("answer to a duplicate: got %+v, want response 1 and wish reduced", e)
				}
				g.dark(d)
			}
			again(d, 4)
			if err := d.Reboot(); err != nil {
				t.Fatal(err)
			}
			g.await(d, func(s State) bool { return s.Births == 2 })
			g.beacon(d)
			again(d, 5)
			if memory == "" {
				return
			}
			d2, err := New(cfg) // the program itself was restarted
			if err != nil {
				t.Fatal(err)
			}
			d.Unplug()
			g.start(d2)
			g.await(d2, func(s State) bool { return s.Connected })
			g.beacon(d2)
			again(d2, 6)
		})
	}
}

func TestReceiptsAreSentAgain(t *testing.T) {
	g := newGateway(t)
	d := g.ready(device.TV)
	p, q := g.message(), g.message()
	g.shows(d, p)
	d.Unplug()
	if err := d.Dismiss(nil); err != nil {
		t.Fatal(err)
	}
	if err := d.Choose("corner-shop", "offers", "refused"); err != nil {
		t.Fatal(err)
	}
	g.advance(d, 3*time.Second)
	if got := d.State().Owed; got != 2 {
		t.Fatalf("owed: got %d, want 2", got)
	}
	d.Reboot() // they survive this too
	d.Plug()
	e := g.event(p.Message, 2)
	g.want(e, wire.Dismissed, 0)
	if e.Age != 3000 {
		t.Errorf("age: got %d ms, want 3000", e.Age)
	}
	g.wait("the proposal", func() bool { return len(g.props) == 1 })
	g.await(d, func(s State) bool { return s.Owed == 0 })
	g.beacon(d)
	g.shows(d, q)
}

// A gateway that takes frames and never acknowledges them must get them again.
func TestReceiptIsSentUntilAcknowledged(t *testing.T) {
	d, err := New(Config{ID: "tv-1", Class: device.TV, Start: []string{"turn on"},
		Can: device.Capabilities{Forms: []device.Form{device.Toast}, MaxButtons: 2}})
	if err != nil {
		t.Fatal(err)
	}
	var sent []frame
	keep := func(f frame) { sent = append(sent, f) }
	events := func() (n int) {
		for _, f := range sent {
			if f.leaf == wire.UpEvt {
				n++
			}
		}
		return n
	}
	born := func() {
		d.with(func(now time.Time) error {
			d.fw.born(now, keep)
			d.fw.beacon(now, wire.Time{Clock: uint64(now.UnixMilli())})
			return nil
		})
	}
	born()
	p := wire.Present{Message: device.NewMessageID(1), ValidUntil: 1 << 40, Live: 1e9, Lease: 1e9, Text: "x"}
	d.with(func(now time.Time) error { d.fw.present(now, p, 100); return nil })
	for want := 1; want <= 3; want++ {
		if got := events(); got != want {
			t.Fatalf("events sent: got %d, want %d", got, want)
		}
		d.with(func(time.Time) error { d.fw.lost(); return nil })
		d.with(func(now time.Time) error {
			d.fw.born(now, keep)
			d.fw.beacon(now, wire.Time{Clock: uint64(now.UnixMilli()), Keep: []device.MessageID{p.Message}})
			return nil
		})
	}
	d.with(func(time.Time) error { d.fw.acked(); return nil })
	before := events()
	born()
	// Not kept by this beacon, so that there is one more; but not the first again.
	if got := events() - before; got != 1 || d.State().Owed != 1 {
		t.Errorf("after the acknowledgement: %d sent and %d owed, want 1 and 1", got, d.State().Owed)
	}
}

func TestQueue(t *testing.T) {
	g := newGateway(t)
	d := g.ready(device.TV)
	ms := []wire.Present{g.message(), g.message(), g.message(), g.message()}
	g.shows(d, ms[0])
	for _, m := range ms[1:] {
		g.send(d, wire.DnMsg, m)
	}
	g.want(g.event(ms[1].Message, 1), wire.Queued, 0)
	g.want(g.event(ms[2].Message, 1), wire.Queued, 0)
	g.want(g.event(ms[3].Message, 1), wire.Declined, wire.Busy) // it holds two
	// The next comes up when the screen is free, and its guards are checked then.
	if err := d.Dismiss(nil); err != nil {
		t.Fatal(err)
	}
	g.want(g.event(ms[1].Message, 2), wire.Presented, 0)
	if got := d.Screen().Message; got != ms[1].Message {
		t.Errorf("on the screen: got %s, want %s", got, ms[1].Message)
	}
	// Without a connection nothing comes up.
	d.Unplug()
	if err := d.Dismiss(nil); err != nil {
		t.Fatal(err)
	}
	g.dark(d)
	d.Plug()
	g.wait("the second birth", func() bool { return len(g.births) == 2 })
	if held := g.births[1].Held; len(held) != 1 || held[0] != ms[2].Message {
		t.Errorf("held at the second birth: got %v, want %s", held, ms[2].Message)
	}
	g.dark(d)
	g.beacon(d, ms[2].Message)
	g.want(g.event(ms[2].Message, 2), wire.Presented, 0)
}

func TestTwin(t *testing.T) {
	g := newGateway(t)
	j := newJournal()
	d := g.ready(device.TV, func(c *Config) { c.Notify = j.note })
	doc := func(version uint64, choice string) wire.Twin {
		return wire.Twin{Version: version, Doc: wire.Document{Zone: "Europe/Zurich",
			Brands: []wire.BrandChoice{{Brand: "corner-shop", Name: "Corner Shop", Purpose: "offers", Choice: choice}}}}
	}
	g.send(d, wire.DnTwin, doc(4, "silent"))
	g.await(d, func(s State) bool { return s.Twin.Version == 4 })
	if err := d.Choose("corner-shop", "offers", "given"); err != nil {
		t.Fatal(err)
	}
	g.wait("the proposal", func() bool { return len(g.props) == 1 })
	if p := g.props[0]; p.Base != 4 || len(p.Brands) != 1 || p.Brands[0].Choice != "given" {
		t.Errorf("proposal: got %+v", p)
	}
	g.send(d, wire.DnTwin, doc(5, "given"))
	g.await(d, func(s State) bool { return s.Twin.Version == 5 })
	g.send(d, wire.DnTwin, doc(4, "silent")) // an old one, late
	g.fence = 1
	g.beacon(d)
	g.await(d, func(s State) bool { return s.Fence == 1 })
	if got := d.State().Twin.Version; got != 5 {
		t.Errorf("after an old document: got version %d, want 5", got)
	}
	g.send(d, wire.DnTwin, doc(6, "given"))
	g.await(d, func(s State) bool { return s.Twin.Version == 6 })
	if got := Print(d.State().Twin); !strings.Contains(got, "Corner Shop, offers: given") {
		t.Errorf("print: got %q", got)
	}
	// A refusal that met another choice is said again on the new document; a yes is not.
	refusal := func(p wire.Proposal) wire.Err {
		return wire.Err{Seq: p.Seq, Code: 0x83, Leaf: "up/twin", Text: "somebody changed this since the device read it"}
	}
	if err := d.Choose("corner-shop", "offers", "withdrawn"); err != nil {
		t.Fatal(err)
	}
	g.wait("the withdrawal", func() bool { return len(g.props) == 2 })
	g.send(d, wire.DnErr, refusal(g.props[1]))
	g.send(d, wire.DnTwin, doc(7, "given"))
	g.wait("the withdrawal again", func() bool { return len(g.props) == 3 })
	if p := g.props[2]; p.Base != 7 || p.Brands[0].Choice != "withdrawn" {
		t.Errorf("said again: got %+v, want withdrawn on 7", p)
	}
	if err := d.Choose("corner-shop", "offers", "given"); err != nil {
		t.Fatal(err)
	}
	g.wait("the yes", func() bool { return len(g.props) == 4 })
	g.send(d, wire.DnErr, wire.Err{Seq: g.props[3].Seq, Code: 0x99, Leaf: "up/twin", Text: "conflict: read dn/twin"})
	g.send(d, wire.DnTwin, doc(8, "withdrawn"))
	j.await(t, Conflict, "choose again")
	if err := d.SetQuiet(wire.QuietTime{Start: 22 * 60, End: 7 * 60}); err != nil {
		t.Fatal(err)
	}
	g.wait("the quiet time", func() bool { return len(g.props) == 5 })
	if p := g.props[4]; p.Quiet == nil || len(*p.Quiet) != 1 || len(p.Brands) != 0 {
		t.Errorf("fifth proposal: got %+v, want a quiet time and no yes", p)
	}
	if err := d.Mute(wire.Mute{Brand: "corner-shop"}); err != nil {
		t.Fatal(err)
	}
	g.wait("the mute", func() bool { return len(g.props) == 6 && g.props[5].Mutes != nil })
}

func TestPersonsMistakes(t *testing.T) {
	g := newGateway(t)
	d := g.ready(device.TV)
	wants := func(err error, words ...string) {
		t.Helper()
		for _, w := range words {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("got error %v, want one with %q", err, w)
			}
		}
	}
	wants(d.Do("fly"), "tv", `"fly"`, "turn on", "pause")
	wants(d.Press(1, nil), "nothing is on the screen")
	wants(d.Choose("corner-shop", "offers", "perhaps"), "given, refused, withdrawn")
	wants(d.Choose("Corner Shop", "offers", "given"), "Corner Shop")
	g.shows(d, g.message())
	wants(d.Press(7, nil), `1 "Yes"`, `2 "No"`)
	if !d.Screen().Showing {
		t.Error("a mistake has put the message away")
	}
}

func TestGoodbye(t *testing.T) {
	g := newGateway(t)
	d, err := New(g.config(device.Fridge))
	if err != nil {
		t.Fatal(err)
	}
	stop := g.start(d)
	g.await(d, func(s State) bool { return s.Connected && s.Owed == 0 })
	stop()
	g.wait("bye", func() bool { return len(g.byes) == 1 && g.byes[0].Reason == "off" })
}

func TestNonsenseFromTheGateway(t *testing.T) {
	g := newGateway(t)
	j := newJournal()
	d := g.ready(device.TV, func(c *Config) { c.Notify = j.note })
	for _, leaf := range []wire.Leaf{wire.DnMsg, wire.DnTime, wire.DnTwin, wire.DnErr} {
		g.must(g.client.Publish(wire.Topic(d.ID(), leaf), 1, false, []byte{0xff, 0x00}))
	}
	g.shows(d, g.message())
	g.send(d, wire.DnErr, wire.Err{Seq: 1, Code: 0x99, Leaf: "up/ctx", Text: "not a map"})
	j.await(t, Trouble, "dn/twin")
	j.await(t, Complaint, "not a map")
}

package broker

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/prometheus/client_golang/prometheus"

	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/wire"
)

// limited reads how often a limit was met.
func (w *world) limited(t *testing.T, limit string) float64 {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(w.count.limited)
	all, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		for _, m := range f.Metric {
			if m.Label[0].GetValue() == limit {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

// turnedAway reports whether a new socket is closed at once, though a good log-in comes on it.
func (w *world) turnedAway(t *testing.T) bool {
	t.Helper()
	return w.tries(t, "car-1", w.token["car-1"])
}

// tries logs in, and reports whether the socket was closed without an answer.
func (w *world) tries(t *testing.T, id, token string) (closed bool) {
	t.Helper()
	r, err := net.Dial("tcp", w.Addr("mqtt").String())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	r.SetDeadline(time.Now().Add(patient))
	pk := &raw{r, t, 5}
	pk.send(connectPacket(id, id, token))
	kind, _ := pk.receive()
	return kind == 0
}

func TestSocketsOfOneAddress(t *testing.T) {
	w := begin(t, func(o *Options) { o.PerAddress = 3 })
	tv := w.login(t, "tv-1", 5)
	a := w.dial(t)
	w.dial(t)
	w.until(t, "sockets_open", 3)
	for _, scheme := range []string{"mqtt", "mqtts", "ws", "wss"} {
		c, err := net.Dial("tcp", w.Addr(scheme).String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patient))
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, net.ErrClosed) || strings.Contains(err.Error(), "timeout") {
			t.Errorf("%s: %v, want the end", scheme, err)
		}
	}
	if got := w.limited(t, "address"); got != 4 {
		t.Errorf("%v sockets met the limit, want 4", got)
	}
	tv.heardNothing()
	a.Close()
	for end := time.Now().Add(patient); w.sockets.Load() > 2; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a closed socket is still counted")
		}
	}
	w.login(t, "car-1", 5)
}

// Log-ins that fail turn their address away, before TLS, for a growing time; the time passes.
func TestFailedLogins(t *testing.T) {
	t.Parallel()
	fail := map[string]func(w *world, t *testing.T){
		"wrong token": func(w *world, t *testing.T) {
			r, _ := w.join(t, 5, connectPacket("tv-1", "tv-1", registry.NewToken()))
			r.ended()
		},
		"wrong ID": func(w *world, t *testing.T) {
			r, _ := w.join(t, 4, connectPacket("x", "tv-1", w.token["tv-1"]))
			r.ended()
		},
		"not MQTT": func(w *world, t *testing.T) { r := w.dial(t); r.Write([]byte("GET / HTTP/1.1\r\n\r\n")); r.ended() },
		"not TLS": func(w *world, t *testing.T) {
			c, err := net.Dial("tcp", w.Addr("mqtts").String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(patient))
			c.Write([]byte("\x10\x20\x00\x04MQTT\x05"))
			io.Copy(io.Discard, c)
		},
		"what the library refuses": func(w *world, t *testing.T) {
			pk := connectPacket("tv-1", "tv-1", w.token["tv-1"])
			pk.Connect.WillFlag, pk.Connect.WillTopic = true, "x" // and no payload
			r, _ := w.join(t, 5, pk)
			r.ended()
		},
	}
	for name, once := range fail {
		t.Run(name, func(t *testing.T) {
			w := begin(t, func(o *Options) { o.Failures, o.BackOff, o.BackOffMost = 3, time.Hour, time.Hour })
			for range 3 {
				once(w, t)
			}
			for end := time.Now().Add(patient); !w.turnedAway(t); {
				if time.Now().After(end) {
					t.Fatal("not turned away")
				}
			}
			until(t, func() bool { return w.limited(t, "failures") > 0 && strings.Contains(w.logs.String(), "turned away") }, "it is counted and logged")
		})
	}
	innocent := map[string]func(w *world, t *testing.T){
		"closed without a word": func(w *world, t *testing.T) { w.dial(t).Close() },
		"beside nobody": func(w *world, t *testing.T) {
			r, _ := w.join(t, 5, connectPacket("car-1/x", "car-1", w.token["car-1"]))
			r.ended()
		},
		"ours to mend": func(w *world, t *testing.T) {
			w.sink.failing("connected", errors.New("disk full"))
			r, _ := w.join(t, 5, connectPacket("car-1", "car-1", w.token["car-1"]))
			r.ended()
		},
		"a good one": func(w *world, t *testing.T) {
			r := w.login(t, "tv-1", 5)
			r.Close()
			w.sink.await(t, "gone")
		},
		"one that broke a rule later": func(w *world, t *testing.T) {
			r := w.login(t, "tv-1", 5)
			r.Write([]byte{0xf0, 0})
			r.ended()
			w.sink.await(t, "gone")
		},
	}
	for name, once := range innocent {
		t.Run(name, func(t *testing.T) {
			w := begin(t, func(o *Options) { o.Failures, o.BackOff, o.BackOffMost = 3, time.Hour, time.Hour })
			for range 5 {
				once(w, t)
			}
			w.empty(t)
			w.sink.failing("connected", nil)
			if w.turnedAway(t) {
				t.Error("turned away")
			}
		})
	}
	t.Run("the time passes", func(t *testing.T) {
		w := begin(t, func(o *Options) { o.Failures, o.BackOff = 1, 20*time.Millisecond })
		for range 3 {
			for w.tries(t, "tv-9", registry.NewToken()) {
				time.Sleep(time.Millisecond)
			}
		}
	})
}

// A home where one device does not know that it was removed, and tries again and again: the
// others are never kept out for longer than the first time.
func TestOneBadDeviceInAHome(t *testing.T) {
	w := begin(t, func(o *Options) { o.Failures, o.BackOff, o.BackOffMost = 1, 10*time.Millisecond, time.Hour })
	w.login(t, "car-1", 5)
	w.login(t, "tv-1", 5).Close()
	w.sink.await(t, "gone")
	w.comesAbout(t, func() bool { return w.sockets.Load() == 1 })
	for range 6 { // 10 ms, 20, 40, ... for somebody unknown
		for w.tries(t, "tv-9", registry.NewToken()) {
			time.Sleep(time.Millisecond)
		}
	}
	w.origins.mu.Lock()
	defer w.origins.mu.Unlock()
	for from, o := range w.origins.all {
		if left := time.Until(o.until); left > w.o.BackOff {
			t.Errorf("%s is turned away for %s, want %s at most", from, left, w.o.BackOff)
		}
		if o.in != 1 {
			t.Errorf("%d are logged in from %s, want 1", o.in, from)
		}
	}
}

// TestClones: two clients with one ID push each other out. After some times the one that is
// there stays, the other hears why, and somebody is told.
func TestClones(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, version byte) {
		w := begin(t, func(o *Options) { o.Takeovers, o.BackOff, o.BackOffMost = 3, time.Hour, time.Hour })
		w.login(t, "tv-1", version)
		for range 3 {
			w.login(t, "tv-1", version)
		}
		if got := w.counted(t, "clone_alarms_total"); got != 1 || !strings.Contains(w.logs.String(), "level=WARN msg=\"an ID is taken over") {
			t.Errorf("%v alarms, want 1 and a warning", got)
		}
		w.sink.mu.Lock()
		now := w.sink.live["tv-1"]
		w.sink.mu.Unlock()
		for range 5 {
			r, answer := w.join(t, version, connectPacket("tv-1", "tv-1", w.token["tv-1"]))
			if want := map[byte]byte{4: 3, 5: 0x9f}[version]; answer.ReasonCode != want {
				t.Errorf("CONNACK %#x, want %#x", answer.ReasonCode, want)
			}
			r.ended()
		}
		w.sink.mu.Lock()
		if w.sink.live["tv-1"] != now {
			t.Error("the one that was there is not there any more")
		}
		w.sink.mu.Unlock()
		if got := w.counted(t, "takeovers_total"); got != 3 || w.limited(t, "takeover") != 5 {
			t.Errorf("%v takeovers and %v refusals, want 3 and 5", got, w.limited(t, "takeover"))
		}
		// Another device, and this one once its place is free, are not concerned.
		w.login(t, "car-1", version)
		now.Close(delivery.Violation)
		for w.sink.await(t, "gone").link != now {
		}
		w.login(t, "tv-1", version)
	})
}

// TestTooFast: more than its share ends the connection of a device, with all its frames counted
// together, and lets it wait before the next.
func TestTooFast(t *testing.T) {
	t.Parallel()
	flood := map[string]struct {
		edit  func(*Options)
		limit string
		send  func(r *raw, i uint16)
	}{
		"publishes": {func(o *Options) { o.Frames = 2 }, "frames", func(r *raw, i uint16) {
			r.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}, PacketID: i + 1, TopicName: "pl/1/tv-1/up/bye", Payload: []byte{0xff}})
		}},
		"pings": {func(o *Options) { o.Frames = 2 }, "frames", func(r *raw, _ uint16) {
			r.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}})
		}},
		"acknowledgements of nothing": {func(o *Options) { o.Frames = 2 }, "frames", func(r *raw, i uint16) { r.acknowledge(i + 1) }},
		"subscriptions": {func(o *Options) { o.Frames = 2 }, "frames", func(r *raw, i uint16) {
			r.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe}, PacketID: i + 1, Filters: packets.Subscriptions{{Filter: "x"}}})
		}},
		"bytes": {func(o *Options) { o.Bytes = 4096 }, "bytes", func(r *raw, _ uint16) {
			r.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish}, TopicName: "x", Payload: make([]byte, 8<<10)})
		}},
	}
	for name, tc := range flood {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, version byte) {
				w := begin(t, func(o *Options) { tc.edit(o); o.BackOff, o.BackOffMost = time.Hour, time.Hour })
				neighbour := w.login(t, "car-1", version)
				r := w.login(t, "tv-1", version)
				for i := range uint16(40) {
					tc.send(r, i)
				}
				told := r.told()
				if told != 0x96 {
					t.Errorf("told %#x, want 0x96", told)
				}
				if got := w.limited(t, tc.limit); got != 1 {
					t.Errorf("limit met %v times, want 1", got)
				}
				w.sink.await(t, "gone")
				_, answer := w.join(t, version, connectPacket("tv-1", "tv-1", w.token["tv-1"]))
				if want := map[byte]byte{4: 3, 5: 0x9f}[version]; answer.ReasonCode != want {
					t.Errorf("the next log-in: CONNACK %#x, want %#x", answer.ReasonCode, want)
				}
				neighbour.heardNothing()
			})
		})
	}
}

// A device that acknowledges what it was sent is not too fast, whatever we send.
func TestOurPaceIsNotTheirs(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		w := begin(t, func(o *Options) { o.Frames = 1 })
		r := w.login(t, "tv-1", version)
		l := w.sink.await(t, "subscribed").link
		for range 50 {
			if err := l.Send(delivery.Frame{Leaf: wire.DnMsg, QoS: 1, Payload: []byte{0xa0}}); err != nil {
				t.Fatal(err)
			}
			r.acknowledge(r.next().PacketID)
			w.sink.await(t, "acked")
		}
	})
}

// Side connections share what their device may send.
func TestSidesShareTheRate(t *testing.T) {
	w := begin(t, func(o *Options) { o.Frames, o.BackOff = 1, time.Hour; o.BackOffMost = time.Hour })
	w.login(t, "tv-1", 5)
	one, two := w.besideMust(t, "tv-1", "one", 5), w.besideMust(t, "tv-1", "two", 5)
	for range 5 {
		one.heardNothing()
	}
	for range 20 {
		two.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}})
	}
	pongs, code := 0, byte(0)
	for {
		kind, body := two.receive()
		if kind>>4 == packets.Pingresp {
			pongs++
		} else if kind>>4 == packets.Disconnect {
			code = body[0]
		}
		if kind == 0 {
			break
		}
	}
	if pongs > 8 || code != 0x96 {
		t.Errorf("%d answers and %#x, want what the other left over, and 0x96", pongs, code)
	}
}

// A client that has as many publishes unacknowledged as it may, because we could not take them
// in, may not send another.
func TestOutstanding(t *testing.T) {
	t.Parallel()
	for version, want := range map[byte]byte{4: 0x93, 5: 0x93} {
		w := begin(t, func(o *Options) { o.Outstanding = 3 })
		w.sink.failing("birth", errors.New("disk full"))
		r, answer := w.join(t, version, connectPacket("tv-1", "tv-1", w.token["tv-1"]))
		if version == 5 && answer.Properties.ReceiveMaximum != 3 {
			t.Errorf("CONNACK announces %d", answer.Properties.ReceiveMaximum)
		}
		r.subscribe(1, "pl/1/tv-1/dn/#", 1)
		for i := range uint16(4) {
			r.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}, PacketID: i + 1, TopicName: "pl/1/tv-1/up/birth", Payload: goodBirth(t)})
		}
		told := r.told()
		if told != want || w.limited(t, "outstanding") != 1 {
			t.Errorf("%d: told %#x, want %#x; counted %v", version, told, want, w.limited(t, "outstanding"))
		}
	}
}

func TestConnectionsOfOneBrand(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		w := begin(t, func(o *Options) { o.PerBrand = 2 })
		first, _ := w.join(t, version, connectPacket("b-acme-1", "acme", w.key))
		second, _ := w.join(t, version, connectPacket("b-acme-2", "acme", w.key))
		r, answer := w.join(t, version, connectPacket("b-acme-3", "acme", w.key))
		if want := map[byte]byte{4: 3, 5: 0x97}[version]; answer.ReasonCode != want || w.limited(t, "brand") != 1 {
			t.Errorf("CONNACK %#x, want %#x", answer.ReasonCode, want)
		}
		r.ended()
		if _, answer := w.join(t, version, connectPacket("b-acme-2", "acme", w.key)); answer.ReasonCode != 0 {
			t.Errorf("one that takes over: CONNACK %#x", answer.ReasonCode)
		}
		second.ended()
		first.heardNothing()
		first.Close()
		w.comesAbout(t, func() bool { w.mu.Lock(); defer w.mu.Unlock(); return w.senders["acme"] == 1 })
		if _, answer := w.join(t, version, connectPacket("b-acme-3", "acme", w.key)); answer.ReasonCode != 0 {
			t.Errorf("after one has left: CONNACK %#x", answer.ReasonCode)
		}
	})
}

func (w *world) comesAbout(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patient); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it never came about")
		}
	}
}

func TestStrikes(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	type step struct {
		after time.Duration // since the last
		wait  time.Duration // that this misdeed brings; 0: none
	}
	for name, steps := range map[string][]step{
		"three":                    {{0, 0}, {0, 0}, {0, time.Second}},
		"spread out":               {{0, 0}, {0, 0}, {window + 1, 0}, {0, 0}, {0, time.Second}},
		"twice as long each time":  {{0, 0}, {0, 0}, {0, time.Second}, {0, 0}, {0, 0}, {0, 2 * time.Second}, {0, 0}, {0, 0}, {0, 4 * time.Second}, {0, 0}, {0, 0}, {0, 5 * time.Second}, {0, 0}, {0, 0}, {0, 5 * time.Second}},
		"from the start after one": {{0, 0}, {0, 0}, {0, time.Second}, {window + 2*time.Second, 0}, {0, 0}, {0, time.Second}},
	} {
		var s strikes
		now := start
		for i, st := range steps {
			now = now.Add(st.after)
			turned := s.add(now, 3, time.Second, 5*time.Second)
			if turned != (st.wait > 0) || turned && s.until.Sub(now) != st.wait {
				t.Errorf("%s, step %d: turned away %v for %s, want %s", name, i, turned, s.until.Sub(now), st.wait)
			}
			if s.over(now) {
				t.Errorf("%s, step %d: forgotten at once", name, i)
			}
		}
		if !s.over(now.Add(5*time.Second + window + 1)) {
			t.Errorf("%s: never forgotten", name)
		}
	}
	var s strikes
	for range 200 { // no overflow
		s.add(start, 1, time.Hour, 24*time.Hour)
	}
	if got := s.until.Sub(start); got != 24*time.Hour {
		t.Errorf("after 200 times in a row: %s", got)
	}
}

func TestAddressOf(t *testing.T) {
	for from, want := range map[string]string{
		"192.0.2.7:1": "192.0.2.7", "[::ffff:192.0.2.7]:1": "192.0.2.7", "[::1]:5": "::",
		"[2001:db8:1:2:3:4:5:6]:1": "2001:db8:1:2::", "[2001:db8:1:2::9]:1": "2001:db8:1:2::", "[2001:db8:1:3::9]:1": "2001:db8:1:3::",
		"[fe80::1%eth0]:1": "fe80::1%eth0", "[fe80::2%eth0]:1": "fe80::2%eth0",
	} {
		if got := device.Neighbours(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(from))); got.String() != want {
			t.Errorf("%s counts as %s, want %s", from, got, want)
		}
	}
	if got := device.Neighbours(&net.UnixAddr{}); got.IsValid() {
		t.Errorf("a socket without an address counts as %s", got)
	}
}

// The tables about strangers stay small, and never forget a socket that is open.
func TestTableIsBounded(t *testing.T) {
	var tab table[int, origin, *origin]
	tab.most = 100
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 50 {
		tab.get(-i-1, now).open = 1
	}
	for i := range 100_000 {
		tab.get(i, now).add(now, 1, time.Hour, time.Hour)
		if len(tab.all) > tab.most {
			t.Fatalf("%d entries, want %d at most", len(tab.all), tab.most)
		}
	}
	for i := range 50 {
		if tab.get(-i-1, now).open != 1 {
			t.Fatal("an open socket was forgotten")
		}
	}
	// What is over goes by itself, long before the table is full.
	tab.most = 1 << 20
	later := now.Add(3 * time.Hour)
	for i := range 1000 {
		tab.get(200_000+i, later).add(later, 3, time.Second, time.Second)
	}
	old := 0
	for k, o := range tab.all {
		if k < 200_000 && o.over(later) {
			old++
		}
	}
	if old > 0 {
		t.Errorf("%d entries of three hours ago are left", old)
	}
}

func BenchmarkAccept(b *testing.B) {
	d := &Door{o: Options{Limits: Limits{}.orDefault()}}
	d.origins.most = knownStrikers
	for i := range knownStrikers {
		d.origins.get(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), time.Now()).add(time.Now(), 1, time.Hour, time.Hour)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		c := &counted{from: netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)})}
		d.enter(c.from)
		d.left(c)
	}
}

func BenchmarkMeter(b *testing.B) {
	d := &Door{o: Options{Limits: Limits{Frames: 1 << 30, Bytes: 1 << 40}.orDefault()}}
	m := newMeter(d.o.Frames, d.o.Bytes)
	b.ReportAllocs()
	for b.Loop() {
		if m.spend(time.Now(), 1, 100) != "" {
			b.Fatal("limited")
		}
	}
}

// A device that left in good order and is back before everybody has heard of it took nobody over.
func TestBackAtOnce(t *testing.T) {
	w := begin(t, nil)
	late := lateGone{w.sink, make(chan struct{})}
	w.desk = late
	r := w.login(t, "tv-1", 5)
	r.Write([]byte{0xe0, 0})
	r.ended()
	w.arrival.Store(100)
	next := w.dial(t)
	next.version = 5
	next.send(connectPacket("tv-1", "tv-1", w.token["tv-1"]))
	w.comesAbout(t, func() bool { return w.arrival.Load() > 100 })
	late.tell <- struct{}{}
	if body := next.expect(packets.Connack); body[1] != 0 {
		t.Errorf("CONNACK %x", body)
	}
	if got := w.counted(t, "takeovers_total"); got != 0 {
		t.Errorf("%v takeovers, want none", got)
	}
	close(late.tell)
}

// lateGone is a Desk that takes its time over the end of a link.
type lateGone struct {
	*sink
	tell chan struct{}
}

func (l lateGone) Gone(dev device.ID, link delivery.Link) {
	<-l.tell
	l.sink.Gone(dev, link)
}

// The devices of one home share what it may have: connections, and what is sent in a second.
func TestLimitsOfAHome(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		w := begin(t, func(o *Options) { o.PerHome = 1 })
		first := w.login(t, "tv-1", version)
		_, answer := w.join(t, version, connectPacket("car-1", "car-1", w.token["car-1"]))
		if want := map[byte]byte{4: 3, 5: 0x97}[version]; answer.ReasonCode != want {
			t.Errorf("a second device: CONNACK %#x, want %#x", answer.ReasonCode, want)
		}
		if w.limited(t, "home") != 1 {
			t.Error("it is not counted")
		}
		first.Close()
		until(t, func() bool {
			_, answer := w.join(t, version, connectPacket("car-1", "car-1", w.token["car-1"]))
			return answer.ReasonCode == 0
		}, "there is a place once the first has left")
	})
	both(t, func(t *testing.T, version byte) {
		w := begin(t, func(o *Options) { o.HomeFrames = 2 }) // 20 at once
		tv, car := w.login(t, "tv-1", version), w.login(t, "car-1", version)
		ping := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}}
		for range 10 {
			tv.send(ping)
			tv.expect(packets.Pingresp)
		}
		for range 20 {
			car.send(ping)
		}
		until(t, func() bool { return w.limited(t, "frames of this home") > 0 }, "the home has sent too much")
	})
}

// told reads to the end of the connection, and returns the last code that it brought: that of a
// DISCONNECT, or of dn/err.
func (r *raw) told() (code byte) {
	for {
		kind, body := r.receive()
		switch kind >> 4 {
		case 0:
			return code
		case packets.Disconnect:
			code = body[0]
		case packets.Publish:
			pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish}, ProtocolVersion: r.version}
			if err := pk.PublishDecode(body); err != nil {
				r.t.Fatal(err)
			}
			e, _ := wire.DecodeErr(pk.Payload)
			code = e.Code
		}
	}
}

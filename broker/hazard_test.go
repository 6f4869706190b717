package broker

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/wire"
)

// The library has ways to crash, to hang, to forget and to leak. Each is a test against the
// running door, for both versions of MQTT where both apply. The names are what to look for:
//
//	    test                                 closed by
//	01  TestHazard01FilterWithoutOptions     guard: structure of SUBSCRIBE
//	02  TestHazard02Will                     hook: a CONNECT with a will is refused
//	03  TestHazard03OwnPacketID              link: packet IDs and the window are its own
//	04  TestHazard04SubscribeIDInUse         link: nothing of ours is in the library's inflight
//	05  TestHazard05SendQuota                link: one frame at a time, whatever the client announces
//	06  TestHazard06SlowReader               conn: writes are gathered, flushed with a deadline, cut off
//	07  TestHazard07AnnouncedLength          guard: small limit and nothing allocated before log-in
//	    TestHazard07SilentSocket             gate: one deadline for TLS, WebSocket and CONNECT
//	08  TestHazard08ExpiredSession           hook: clean, expiry 0, never in the library's map; after a
//	    TestPanicEndsOneConnection           panic detach takes the subscriptions away
//	09  TestHazard09OrderAfterReturn         link: no queue; each frame once, in order, without DUP
//	10  TestHazard10PlainError               hook: ack knows three answers, and none lets a packet on
//	11  TestHazard11Inline                   hook: rules for client IDs
//	12  TestHazard12KeepAlive                hook: clamped to 5 to 120 s, 0 included
//	    TestHazard12KeepAliveRunsOut
//	13  TestHazard13AliasAfterReturn         hook: we set no aliases
//	14  TestHazard14RacingConnections        place: by connection, the predecessor ends first
//	15  TestHazard15FullQueue                conn: full is an error, and the end of the connection
//	16  TestHazard16TopicDepth               guard: 128 bytes and 8 levels, also in UNSUBSCRIBE
//	17  TestHazard17InflightUnderLoad        hook: the library's send quota is 0 and its inflight empty
//	18  TestHazard18StuckPredecessor         place: the predecessor is stopped, with half a second to flush
//	20  TestHazard20AcceptErrors             gate: an error of accept is waited out
//	21  TestHazard21WrappedCode              hook: only plain codes reach the library
//	22  (as 16)
//	23  TestHazard23NothingToScan            hook: clients leave the library's map, no event loop runs
//	24  (as 23)
//	25  TestHazard25WebSocket                our own listener, with the guard behind it
//	26  TestHazard26Reconnects               detach: every table is empty again
//	27  TestHazard27Logs                     log: the library's lines lose their values
//	28  TestHazard28Expiry                   capability: no expiry is made up
//	29  TestHazard29CipherSuites             certificate: authenticated encryption only

// both runs f for each version of MQTT.
func both(t *testing.T, f func(t *testing.T, version byte)) {
	for name, version := range map[string]byte{"3.1.1": 4, "5": 5} {
		t.Run(name, func(t *testing.T) { f(t, version) })
	}
}

// overheard fails the test if the library ever passes a publish on to other clients.
func (w *world) overheard(t *testing.T) {
	t.Helper()
	for i, filter := range []string{"#", "$SYS/#"} {
		w.server.Topics.InlineSubscribe(mqtt.InlineSubscription{
			Subscription: packets.Subscription{Filter: filter, Identifier: i + 1},
			Handler: func(_ *mqtt.Client, _ packets.Subscription, pk packets.Packet) {
				t.Errorf("the library passed on a publish to %q", pk.TopicName)
			},
		})
	}
}

// heardNothing pings, and fails the test if something else came before the answer.
func (r *raw) heardNothing() {
	r.t.Helper()
	r.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}})
	if kind, body := r.receive(); kind>>4 != packets.Pingresp {
		r.t.Errorf("received packet type %d, %x, want PINGRESP and nothing before it", kind>>4, body)
	}
}

// join connects with pk and returns the connection and the answer.
func (w *world) join(t *testing.T, version byte, pk packets.Packet) (*raw, packets.Packet) {
	t.Helper()
	r := w.dial(t)
	r.version = version
	r.send(pk)
	got := packets.Packet{ProtocolVersion: version, FixedHeader: packets.FixedHeader{Type: packets.Connack}}
	if err := got.ConnackDecode(r.expect(packets.Connack)); err != nil {
		t.Fatal(err)
	}
	return r, got
}

// next reads until a PUBLISH comes.
func (r *raw) next() packets.Packet {
	r.t.Helper()
	for {
		kind, body := r.receive()
		if kind == 0 {
			r.t.Fatal("the connection ended, want a PUBLISH")
		}
		if kind>>4 != packets.Publish {
			continue
		}
		pk := packets.Packet{ProtocolVersion: r.version, FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: kind >> 1 & 3, Dup: kind&8 != 0, Retain: kind&1 != 0}}
		if err := pk.PublishDecode(body); err != nil {
			r.t.Fatal(err)
		}
		return pk
	}
}

func (r *raw) acknowledge(id uint16) {
	r.t.Helper()
	r.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Puback}, PacketID: id})
}

var beacon = delivery.Frame{Leaf: wire.DnTime, Payload: []byte{0xa0}}

// A SUBSCRIBE that ends where its options should be makes the library's decoder read past the
// end: one small packet and the process is gone.
func TestHazard01FilterWithoutOptions(t *testing.T) {
	w := begin(t, nil)
	neighbour := w.login(t, "car-1", 5)
	for version, b := range map[byte][]byte{
		4: {0x82, 0x05, 0x00, 0x01, 0x00, 0x01, 'a'},
		5: {0x82, 0x06, 0x00, 0x01, 0x00, 0x00, 0x01, 'a'},
	} {
		for _, before := range []bool{false, true} { // log-in
			r := w.dial(t)
			if !before {
				r = w.login(t, "tv-1", version)
			}
			r.Write(b)
			r.ended()
		}
		// After a good filter, too: the last one lacks its options.
		r := w.login(t, "tv-1", version)
		r.Write(join([]byte{0x82, byte(len(b) + 2)}, b[2:len(b)-3], []byte{0, 1, 'b', 1, 0, 1, 'a'}))
		r.ended()
	}
	if n := w.counted(t, "panics_total"); n != 0 {
		t.Errorf("%v panics", n)
	}
	neighbour.heardNothing()
}

// The library publishes a will without asking whether its author may.
func TestHazard02Will(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		w := begin(t, nil)
		w.overheard(t)
		victim := w.login(t, "car-1", version)
		for _, topic := range []string{"pl/1/car-1/dn/msg", "pl/1/tv-1/dn/msg", "pl/1/tv-1/up/bye", "$SYS/x", "#", ""} {
			for _, retain := range []bool{false, true} {
				for qos := range byte(3) {
					pk := connectPacket("tv-1", "tv-1", w.token["tv-1"])
					pk.Connect.WillFlag, pk.Connect.WillTopic, pk.Connect.WillPayload = true, topic, []byte{0xa0}
					pk.Connect.WillRetain, pk.Connect.WillQos = retain, qos
					r := w.dial(t)
					r.version = version
					r.send(pk)
					if kind, body := r.receive(); kind>>4 == packets.Connack && body[1] == 0 {
						t.Errorf("a will to %q with QoS %d, retained %v: let in", topic, qos, retain)
					}
					r.Close()
				}
			}
		}
		victim.heardNothing()
	})
}

// A device numbers its own publishes as it likes, also like the frame that it has not
// acknowledged yet: that must not count as the acknowledgement, nor spoil it.
func TestHazard03OwnPacketID(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		w := begin(t, nil)
		r := w.login(t, "tv-1", version)
		l := w.sink.await(t, "subscribed").link
		for range 5 {
			if err := l.Send(delivery.Frame{Leaf: wire.DnMsg, QoS: 1, Payload: []byte{0xa0}}); err != nil {
				t.Fatal(err)
			}
			id := r.next().PacketID
			if got := r.publish(id, "pl/1/tv-1/up/birth", goodBirth(t)); got != 0 {
				t.Errorf("PUBACK %#x", got)
			}
			if err := l.Send(delivery.Frame{Leaf: wire.DnMsg, QoS: 1, Payload: []byte{0xa0}}); err == nil {
				t.Fatal("the device's publish counts as its acknowledgement")
			}
			r.acknowledge(id)
			w.sink.await(t, "acked")
		}
	})
}

// The same with SUBSCRIBE and UNSUBSCRIBE, which the library would refuse.
func TestHazard04SubscribeIDInUse(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		w := begin(t, nil)
		r := w.login(t, "tv-1", version)
		l := w.sink.await(t, "subscribed").link
		if err := l.Send(delivery.Frame{Leaf: wire.DnMsg, QoS: 1, Payload: []byte{0xa0}}); err != nil {
			t.Fatal(err)
		}
		id := r.next().PacketID
		if got := r.subscribe(id, "pl/1/tv-1/dn/err", 1); got != 1 {
			t.Errorf("SUBSCRIBE with the ID of an open frame: %#x, want 1", got)
		}
		r.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Unsubscribe}, PacketID: id, Filters: packets.Subscriptions{{Filter: "pl/1/tv-1/dn/err"}}})
		if body := r.expect(packets.Unsuback); version == 5 && body[len(body)-1] != 0 {
			t.Errorf("UNSUBSCRIBE with the ID of an open frame: %x", body)
		}
		r.acknowledge(id)
		w.sink.await(t, "acked")
	})
}

// A client that announces a small receive maximum gets as many frames as it acknowledges.
func TestHazard05SendQuota(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		w := begin(t, nil)
		pk := connectPacket("tv-1", "tv-1", w.token["tv-1"])
		pk.Properties.ReceiveMaximum = 2
		r, _ := w.join(t, version, pk)
		r.subscribe(1, "pl/1/tv-1/dn/#", 1)
		l := w.sink.await(t, "subscribed").link
		for i := range byte(40) {
			if err := l.Send(delivery.Frame{Leaf: wire.DnMsg, QoS: 1, Payload: []byte{i}}); err != nil {
				t.Fatalf("frame %d: %v", i, err)
			}
			got := r.next()
			if !bytes.Equal(got.Payload, []byte{i}) {
				t.Fatalf("received %x, want %x", got.Payload, i)
			}
			r.acknowledge(got.PacketID)
			w.sink.await(t, "acked")
		}
	})
}

// A device that stops reading must not hold up whoever sends to it, with the home locked, nor
// whoever ends it; also if it wants no keep-alive.
func TestHazard06SlowReader(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		w := begin(t, nil)
		r := w.dial(t)
		r.version = version
		r.Conn.(*net.TCPConn).SetReadBuffer(4 << 10)
		pk := connectPacket("tv-1", "tv-1", w.token["tv-1"])
		pk.Connect.Keepalive = 0
		r.send(pk)
		r.expect(packets.Connack)
		slow := w.sink.await(t, "connected").link
		other := w.login(t, "car-1", version)
		good := w.sink.await(t, "subscribed").link

		frame := delivery.Frame{Leaf: wire.DnTime, Payload: make([]byte, 8<<10)}
		var err error
		sent := 0
		began := time.Now()
		for ; err == nil && sent < 100_000; sent++ {
			err = slow.Send(frame)
		}
		if !errors.Is(err, delivery.ErrAway) || sent > 4000 {
			t.Fatalf("after %d frames of 8 KB: %v, want ErrAway before 4,000", sent, err)
		}
		slow.Close(delivery.Removed) // returns, too
		if took := time.Since(began); took >= writeTimeout {
			t.Errorf("it took %s: somebody waited for the peer", took)
		}
		w.sink.await(t, "gone")
		if err := good.Send(beacon); err != nil {
			t.Error("the neighbour:", err)
		}
		other.next()
		if got := w.counted(t, "slow_total"); got != 1 {
			t.Errorf("slow peers counted: %v", got)
		}
		w.login(t, "tv-1", version) // and it may come back
	})
}

// Five bytes of a stranger announce 256 MB: nothing is set aside for them.
func TestHazard07AnnouncedLength(t *testing.T) {
	w := begin(t, func(o *Options) { o.ConnectTimeout = time.Hour }) // which does not end them
	for name, first := range map[string][]byte{
		"256 MB":  {0x10, 0xff, 0xff, 0xff, 0x7f},
		"1 MB":    {0x10, 0x80, 0x80, 0x40},
		"3 KB":    {0x10, 0x80, 0x18},
		"no end":  {0x10, 0xff, 0xff, 0xff, 0xff, 0x7f},
		"PUBLISH": {0x30, 0xff, 0xff, 0xff, 0x7f},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range 20 {
				r := w.dial(t)
				r.Write(first)
				r.ended()
			}
			runtime.ReadMemStats(&after)
			if got := (after.TotalAlloc - before.TotalAlloc) >> 10; got > 20*100 {
				t.Errorf("20 strangers cost %d KB", got)
			}
		})
	}
	// One that sends its CONNECT byte by byte costs no more than it has sent.
	g := guard{from: &trickle{b: join([]byte{0x10, 0xff, 0x0f}, make([]byte, 2047))}}
	p := make([]byte, 1024)
	for g.err == nil {
		g.Read(p)
		if cap(g.part)+cap(g.ready) > 2*strangerPacket {
			t.Fatalf("the guard holds %d bytes for a stranger", cap(g.part)+cap(g.ready))
		}
	}
}

// trickle hands out one byte at a time.
type trickle struct{ b []byte }

func (r *trickle) Read(p []byte) (int, error) {
	if len(r.b) == 0 {
		return 0, io.EOF
	}
	p[0], r.b = r.b[0], r.b[1:]
	return 1, nil
}

// A socket that says nothing, or begins and stops, in MQTT, in TLS or in HTTP, is closed.
func TestHazard07SilentSocket(t *testing.T) {
	t.Parallel()
	w := begin(t, func(o *Options) { o.ConnectTimeout = 100 * time.Millisecond })
	hello := clientHello(t)
	for _, scheme := range []string{"mqtt", "mqtts", "ws", "wss"} {
		for name, first := range map[string][]byte{
			"nothing": nil, "a beginning": []byte("\x10\x20\x00"), "half a TLS handshake": hello[:len(hello)/2],
			"a TLS handshake that stalls": hello, "half a request": []byte("GET / HTTP/1.1\r\nHost: x\r\n"),
		} {
			c, err := net.Dial("tcp", w.Addr(scheme).String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(patient))
			c.Write(first)
			if _, err := io.Copy(io.Discard, c); err != nil && !errors.Is(err, net.ErrClosed) && !strings.Contains(err.Error(), "reset") {
				t.Errorf("%s, %s: %v, want the end", scheme, name, err)
			}
		}
	}
	w.empty(t)
}

// clientHello is how a TLS client begins.
func clientHello(t *testing.T) []byte {
	t.Helper()
	here, there := net.Pipe()
	defer here.Close()
	go tls.Client(there, &tls.Config{ServerName: "localhost"}).Handshake()
	defer there.Close()
	b := make([]byte, 4096)
	n, err := here.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

// empty waits until no socket is left, and looks for what a connection might leave behind.
func (w *world) empty(t *testing.T) {
	t.Helper()
	left := func() string {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.origins.mu.Lock()
		open := 0
		for _, o := range w.origins.all {
			open += o.open + o.in
		}
		w.origins.mu.Unlock()
		if n := [...]int{int(w.sockets.Load()), len(w.raw), len(w.conns), len(w.places), len(w.links), len(w.senders), w.server.Clients.Len(), open}; n != [8]int{} {
			return fmt.Sprintf("sockets, raw, connections, places, links, senders, library's clients, counted by address: %v", n)
		}
		return ""
	}
	for end := time.Now().Add(patient); left() != ""; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("left behind: ", left())
		}
	}
	for _, topic := range []string{"pl/1/tv-1/dn/msg", "pl/1/car-1/dn/msg", "pl/1/b/acme/dn/answer"} {
		if s := w.server.Topics.Subscribers(topic); len(s.Subscriptions)+len(s.Shared) > 0 {
			t.Errorf("the library still knows subscribers of %s", topic)
		}
	}
}

// A session that the library keeps beyond its connection leaves its subscriptions to the next
// one with that ID.
func TestHazard08ExpiredSession(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, version byte) {
		w := begin(t, nil)
		for name, end := range map[string]func(r *raw){
			"unplugged":    func(r *raw) { r.Close() },
			"disconnected": func(r *raw) { r.Write([]byte{0xe0, 0}); r.ended() },
		} {
			pk := connectPacket("tv-1", "tv-1", w.token["tv-1"])
			pk.Connect.Clean = false
			pk.Properties.SessionExpiryInterval, pk.Properties.SessionExpiryIntervalFlag = 1, true
			r, _ := w.join(t, version, pk)
			r.subscribe(1, "pl/1/tv-1/dn/#", 1)
			old := w.sink.await(t, "subscribed").link
			end(r)
			w.sink.await(t, "gone")
			w.empty(t)
			next, answer := w.join(t, version, pk)
			if answer.SessionPresent {
				t.Errorf("%s: session present", name)
			}
			if l := w.sink.await(t, "connected").link; l == old || l.(*link).subscribed {
				t.Errorf("%s: the next connection has the subscription of the last", name)
			}
			next.heardNothing()
			next.Close()
			w.sink.await(t, "gone")
		}
	})
}

// What was sent to a device that went away does not come back in another order, or at all: the
// Desk sends again what it still wants said.
func TestHazard09OrderAfterReturn(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		w := begin(t, nil)
		pk := connectPacket("tv-1", "tv-1", w.token["tv-1"])
		pk.Connect.Clean = false
		pk.Properties.SessionExpiryInterval, pk.Properties.SessionExpiryIntervalFlag = 3600, true
		r, _ := w.join(t, version, pk)
		r.subscribe(1, "pl/1/tv-1/dn/#", 1)
		l := w.sink.await(t, "subscribed").link
		if err := l.Send(delivery.Frame{Leaf: wire.DnMsg, QoS: 1, Payload: []byte{0xff}}); err != nil {
			t.Fatal(err)
		}
		r.next() // and is not acknowledged
		r.Close()
		w.sink.await(t, "gone")
		if err := l.Send(beacon); !errors.Is(err, delivery.ErrAway) {
			t.Errorf("Send to nobody: %v, want ErrAway", err)
		}
		r, _ = w.join(t, version, pk)
		r.subscribe(1, "pl/1/tv-1/dn/#", 1)
		l = w.sink.await(t, "subscribed").link
		r.heardNothing()
		for i := range byte(50) {
			if err := l.Send(delivery.Frame{Leaf: wire.DnMsg, QoS: 1, Payload: []byte{i}}); err != nil {
				t.Fatal(err)
			}
			got := r.next()
			if !bytes.Equal(got.Payload, []byte{i}) || got.FixedHeader.Dup {
				t.Fatalf("received %x, DUP %v, want %x", got.Payload, got.FixedHeader.Dup, i)
			}
			r.acknowledge(got.PacketID)
			w.sink.await(t, "acked")
		}
	})
}

// An error that the library does not know lets the publish through to whoever subscribed.
func TestHazard10PlainError(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		w := begin(t, nil)
		w.overheard(t)
		for name, fault := range map[string]error{"plain": errors.New("disk on fire"), "frame": wire.ErrFrame, "none": nil, "success": packets.CodeSuccess} {
			w.sink.failing("birth", fault)
			for qos := range byte(2) {
				r := w.login(t, "tv-1", version)
				r.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: qos}, PacketID: 2, TopicName: "pl/1/tv-1/up/birth", Payload: goodBirth(t)})
				w.sink.await(t, "birth")
				acknowledged := false
				r.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}})
				for kind := byte(0); kind>>4 != packets.Pingresp; acknowledged = acknowledged || kind>>4 == packets.Puback {
					if kind, _ = r.receive(); kind == 0 {
						t.Fatalf("%s, QoS %d: the connection ended at once", name, qos)
					}
				}
				if want := qos == 1 && (fault == nil || errors.Is(fault, wire.ErrFrame)); acknowledged != want {
					t.Errorf("%s, QoS %d: acknowledged: %v, want %v", name, qos, acknowledged, want)
				}
				r.Close()
				w.sink.await(t, "gone")
			}
		}
	})
}

// "inline" is the library's name for itself.
func TestHazard11Inline(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		w := begin(t, nil)
		who := w.auth.device
		w.auth.device = func(id device.ID, p registry.Proof) (registry.Login, error) {
			if id == mqtt.InlineClientId {
				return registry.Login{Device: device.Device{ID: id, Home: 1}}, nil // a device that was given this ID
			}
			return who(id, p)
		}
		for _, user := range []string{"inline", "tv-1", ""} {
			_, answer := w.join(t, version, connectPacket("inline", user, w.token["tv-1"]))
			if want := map[byte]byte{4: 2, 5: 0x85}[version]; answer.ReasonCode != want {
				t.Errorf("client ID inline, user %q: CONNACK %#x, want %#x", user, answer.ReasonCode, want)
			}
		}
	})
}

// The library computes with 16 bits: a keep-alive above 43,690 s overflows, and 0 is for ever.
func TestHazard12KeepAlive(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		w := begin(t, nil)
		for asked, want := range map[uint16]uint16{0: 120, 1: 5, 5: 5, 60: 60, 120: 120, 121: 120, 43_690: 120, 43_691: 120, 65_535: 120} {
			pk := connectPacket("tv-1", "tv-1", w.token["tv-1"])
			pk.Connect.Keepalive = asked
			r, answer := w.join(t, version, pk)
			if p := answer.Properties; version == 5 && (p.ServerKeepAliveFlag != (asked != want) || asked != want && p.ServerKeepAlive != want) {
				t.Errorf("asked for %d s: CONNACK says %v, %d, want %d", asked, p.ServerKeepAliveFlag, p.ServerKeepAlive, want)
			}
			r.heardNothing() // it is not too late yet
			w.mu.Lock()
			got := w.places["tv-1"].conn.keepAlive
			w.mu.Unlock()
			if got != want {
				t.Errorf("asked for %d s: held to %d, want %d", asked, got, want)
			}
			r.Close()
			w.sink.await(t, "gone")
		}
	})
}

func TestHazard12KeepAliveRunsOut(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for a keep-alive of 5 s")
	}
	t.Parallel()
	w := begin(t, nil)
	var all []*raw
	for version, id := range map[byte]device.ID{4: "car-1", 5: "tv-1"} {
		pk := connectPacket(string(id), string(id), w.token[id])
		pk.Connect.Keepalive = 1 // clamped to 5: the end comes after 7.5 s
		r, _ := w.join(t, version, pk)
		all = append(all, r)
	}
	for _, r := range all {
		r.ended()
		w.sink.await(t, "gone")
	}
}

// The library sends an alias that it set on the connection before.
func TestHazard13AliasAfterReturn(t *testing.T) {
	w := begin(t, nil)
	for range 2 {
		pk := connectPacket("tv-1", "tv-1", w.token["tv-1"])
		pk.Connect.Clean = false
		pk.Properties.TopicAliasMaximum = 10
		pk.Properties.SessionExpiryInterval, pk.Properties.SessionExpiryIntervalFlag = 3600, true
		r, _ := w.join(t, 5, pk)
		r.subscribe(1, "pl/1/tv-1/dn/#", 1)
		l := w.sink.await(t, "subscribed").link
		for range 3 {
			if err := l.Send(beacon); err != nil {
				t.Fatal(err)
			}
			if got := r.next(); got.TopicName != "pl/1/tv-1/dn/time" || got.Properties.TopicAliasFlag {
				t.Errorf("received on %q, alias %v", got.TopicName, got.Properties.TopicAliasFlag)
			}
		}
		r.Close()
		w.sink.await(t, "gone")
	}
}

// TestHazard14RacingConnections lets connections of one device race: some end by themselves,
// some are taken over. The library loses some from its map, and tells of their ends too late.
// What the Desk must hear is checked by the sink, for every call and at the end.
func TestHazard14RacingConnections(t *testing.T) {
	t.Parallel()
	w := begin(t, func(o *Options) { o.Takeovers = 1 << 20 })
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for range 250 {
				c, err := net.Dial("tcp", w.Addr("mqtt").String())
				if err != nil {
					t.Error(err)
					return
				}
				c.SetDeadline(time.Now().Add(patient))
				r := &raw{c, t, byte(4 + i%2)}
				r.send(connectPacket("tv-1", "tv-1", w.token["tv-1"]))
				r.receive()
				c.Close()
			}
		})
	}
	all.Wait()
	// The door still works, and for this device too.
	w.login(t, "tv-1", 5)
	if w.mu.Lock(); len(w.links) != 1 {
		t.Errorf("%d links, want 1", len(w.links))
	}
	w.mu.Unlock()
	w.stop()
	w.sink.mu.Lock()
	defer w.sink.mu.Unlock()
	t.Logf("%d links came and went, %v takeovers", len(w.sink.gone), w.counted(t, "takeovers_total"))
	if len(w.sink.gone) < 250 {
		t.Errorf("only %d links", len(w.sink.gone))
	}
}

// A full queue of the library drops what it is given, and says nothing. Here every frame that
// was taken is read by the device, as long as it stays connected.
func TestHazard15FullQueue(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, version byte) {
		t.Parallel()
		w := begin(t, nil)
		r := w.dial(t)
		r.version = version
		r.Conn.(*net.TCPConn).SetReadBuffer(4 << 10)
		r.send(connectPacket("tv-1", "tv-1", w.token["tv-1"]))
		r.expect(packets.Connack)
		l := w.sink.await(t, "connected").link
		taken := 0
		for l.Send(delivery.Frame{Leaf: wire.DnTime, Payload: join([]byte{byte(taken >> 8), byte(taken)}, make([]byte, 4<<10))}) == nil {
			taken++
		}
		if err := l.Send(beacon); !errors.Is(err, delivery.ErrAway) {
			t.Errorf("after the first that was not taken: %v, want ErrAway", err)
		}
		w.sink.await(t, "gone")
		for i := 0; ; i++ {
			kind, body := r.receive()
			if kind == 0 {
				break
			}
			pk := packets.Packet{ProtocolVersion: version, FixedHeader: packets.FixedHeader{Type: packets.Publish}}
			if err := pk.PublishDecode(body); err != nil || i != int(pk.Payload[0])<<8|int(pk.Payload[1]) || i >= taken {
				t.Fatalf("frame %d of %d: %x, %v", i, taken, pk.Payload[:2], err)
			}
		}
	})
}

// The library walks a topic level by level, again at each level, with everybody waiting.
func TestHazard16TopicDepth(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, version byte) {
		w := begin(t, nil)
		prop := make([]byte, version-4) // no properties
		text := func(s string) []byte { return join([]byte{byte(len(s) >> 8), byte(len(s))}, []byte(s)) }
		for name, topic := range map[string]string{
			"9 levels": strings.Repeat("a/", 8) + "a", "9 empty levels": strings.Repeat("/", 8), "5,000 levels": strings.Repeat("/", 4999), "129 bytes": strings.Repeat("a", 129),
		} {
			for kind, b := range map[string][]byte{
				"SUBSCRIBE":   packet(0x82, join([]byte{0, 1}, prop, text(topic), []byte{1})),
				"UNSUBSCRIBE": packet(0xa2, join([]byte{0, 1}, prop, text(topic))),
				"PUBLISH":     packet(0x30, join(text(topic), prop)),
			} {
				r := w.login(t, "tv-1", version)
				w.sink.await(t, "subscribed")
				r.Write(b)
				if got, want := r.ended(), map[byte]byte{4: 0, 5: 0x90}[version]; got != want {
					t.Errorf("%s of %s: DISCONNECT %#x, want %#x", kind, name, got, want)
				}
				w.sink.await(t, "gone")
			}
		}
		r := w.login(t, "tv-1", version)
		for _, filter := range []string{strings.Repeat("a/", 7) + "a", strings.Repeat("a", 128)} { // answered
			if got := r.subscribe(2, filter, 1); got < 0x80 {
				t.Errorf("SUBSCRIBE %s: %#x", filter, got)
			}
		}
		// And no more than a few filters in one packet.
		many := join([]byte{0, 1}, prop)
		for range maxFilters + 1 {
			many = join(many, text("a"), []byte{1})
		}
		r.Write(packet(0x82, many))
		if got, want := r.ended(), map[byte]byte{4: 0, 5: 0x97}[version]; got != want {
			t.Errorf("too many filters: DISCONNECT %#x, want %#x", got, want)
		}
	})
}

// The library's inflight locks itself up when it is read and written at the same time. Here
// acknowledgements, publishes and frames cross on one connection, and nothing is in it.
func TestHazard17InflightUnderLoad(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		w := begin(t, nil)
		r := w.login(t, "tv-1", version)
		l := w.sink.await(t, "subscribed").link
		const each = 500
		var all sync.WaitGroup
		all.Go(func() {
			for i := range uint16(each) {
				r.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}, PacketID: i + 1, TopicName: "pl/1/tv-1/up/birth", Payload: goodBirth(t)})
			}
		})
		all.Go(func() {
			for range each {
				if err := l.Send(delivery.Frame{Leaf: wire.DnMsg, QoS: 1, Payload: []byte{0xa0}}); err != nil {
					t.Error(err)
					return
				}
				w.sink.await(t, "acked")
			}
		})
		for frames, acks := 0, 0; frames < each || acks < each; {
			switch kind, body := r.receive(); kind >> 4 {
			case packets.Publish:
				frames++
				topic := int(body[0])<<8 | int(body[1])
				r.acknowledge(uint16(body[2+topic])<<8 | uint16(body[3+topic]))
			case packets.Puback:
				acks++
			case 0:
				t.Fatalf("ended after %d frames and %d acknowledgements", frames, acks)
			}
		}
		all.Wait()
		r.heardNothing()
		if n := w.server.Info.Inflight; n != 0 || l.(*link).conn.client != nil {
			t.Errorf("the library still has the client, or %d packets in flight", n)
		}
	})
}

// A device that connects again does not wait for its old connection, whose peer does not read.
func TestHazard18StuckPredecessor(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, version byte) {
		w := begin(t, func(o *Options) { o.ConnectTimeout = 2 * time.Second }) // the write deadline is 5 s
		_, stuck := w.stuck(t, "tv-1", version)
		w.login(t, "tv-1", version)
		if c := w.sink.await(t, "gone"); c.link != stuck {
			t.Error("the wrong link is gone")
		}
	})
}

// stuck connects as the device, stops reading, and sends to it until much waits to be written,
// and less than would end the connection.
func (w *world) stuck(t *testing.T, id device.ID, version byte) (*raw, delivery.Link) {
	t.Helper()
	r := w.dial(t)
	r.Conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	r.version = version
	r.send(connectPacket(string(id), string(id), w.token[id]))
	r.expect(packets.Connack)
	l := w.sink.await(t, "connected").link
	clog(t, l.(*link))
	return r, l
}

func clog(t *testing.T, l *link) {
	t.Helper()
	l.conn.raw.Conn.(*net.TCPConn).SetWriteBuffer(4 << 10)
	for waits := 0; waits < writeLimit/2; {
		if err := l.Send(delivery.Frame{Leaf: wire.DnTime, Payload: make([]byte, 8<<10)}); err != nil {
			t.Fatal(err)
		}
		waiting := func() int {
			l.conn.mu.Lock()
			defer l.conn.mu.Unlock()
			return len(l.conn.out)
		}
		if waits = waiting(); waits >= writeLimit/2 {
			time.Sleep(20 * time.Millisecond) // stuck, or only busy?
			waits = waiting()
		}
	}
}

// failing is a listener that fails first.
type failing struct {
	net.Listener
	mu   sync.Mutex
	left int
}

func (f *failing) Accept() (net.Conn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left--; f.left >= 0 {
		return nil, errors.New("accept4: too many open files")
	}
	return f.Listener.Accept()
}

// One error of accept, such as too many open files, ends the library's listener for good.
func TestHazard20AcceptErrors(t *testing.T) {
	w := begin(t, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{Listener: &failing{Listener: l, left: 4}, door: w.Door, kind: plain}
	done := make(chan struct{})
	go func() { defer close(done); w.serve(g) }()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patient))
	r := &raw{c, t, 4}
	r.send(connectPacket("tv-1", "tv-1", w.token["tv-1"]))
	r.expect(packets.Connack)
	if got := w.counted(t, "accept_errors_total"); got != 4 {
		t.Errorf("%v errors counted, want 4", got)
	}
	l.Close()
	<-done
}

// The library panics at an error that wraps one of its codes.
func TestHazard21WrappedCode(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		w := begin(t, nil)
		for _, code := range []packets.Code{packets.ErrQuotaExceeded, packets.CodeSuccessIgnore, packets.ErrRejectPacket, packets.ErrNotAuthorized} {
			r := w.login(t, "tv-1", version)
			w.sink.failing("birth", fmt.Errorf("birth: %w", code))
			r.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}, PacketID: 2, TopicName: "pl/1/tv-1/up/birth", Payload: goodBirth(t)})
			w.sink.await(t, "birth")
			r.heardNothing() // no acknowledgement: it is no refusal that we know
			r.Close()
			w.sink.await(t, "gone")
		}
		if n := w.counted(t, "panics_total"); n != 0 {
			t.Errorf("%v panics", n)
		}
	})
}

// The library scans all its clients, and each one's inflight, at every turn.
func TestHazard23NothingToScan(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		w := begin(t, nil)
		r := w.login(t, "tv-1", version)
		l := w.sink.await(t, "subscribed").link.(*link)
		if err := l.Send(delivery.Frame{Leaf: wire.DnMsg, QoS: 1, Payload: []byte{0xa0}}); err != nil {
			t.Fatal(err)
		}
		id := r.next().PacketID
		if n := w.server.Clients.Len(); n != 0 || l.conn.client != nil {
			t.Errorf("the library has %d clients, want none", n)
		}
		buf := make([]byte, 1<<20)
		if s := string(buf[:runtime.Stack(buf, true)]); strings.Contains(s, "eventLoop") {
			t.Error("the library's event loop runs")
		}
		r.acknowledge(id)
	})
}

// The library's WebSocket has no limit for what it reads, and hides TLS from us.
func TestHazard25WebSocket(t *testing.T) {
	w := begin(t, func(o *Options) { o.ConnectTimeout = 300 * time.Millisecond })
	for scheme, config := range map[string]*tls.Config{"ws": nil, "wss": {RootCAs: w.ca, ServerName: "localhost"}} {
		dial := func() net.Conn {
			c, err := net.Dial("tcp", w.Addr(scheme).String())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
			c.SetDeadline(time.Now().Add(patient))
			if config != nil {
				s := tls.Client(c, config)
				if err := s.Handshake(); err != nil {
					t.Fatal(err)
				}
				return s
			}
			return c
		}
		upgrade := func(protocol string) net.Conn {
			c := dial()
			fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: %s\r\n\r\n", protocol)
			head := make([]byte, 0, 1024)
			for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
				var one [1]byte
				if _, err := io.ReadFull(c, one[:]); err != nil {
					t.Fatalf("%s: %v after %q", scheme, err, head)
				}
				head = append(head, one[0])
			}
			if !bytes.Contains(head, []byte(" 101 ")) {
				t.Fatalf("%s: %s", scheme, head)
			}
			return c
		}
		masked := func(first byte, b []byte) []byte { // a frame with a mask of zeros
			return join([]byte{first, 0x80 | byte(len(b)), 0, 0, 0, 0}, b)
		}
		for name, send := range map[string][]byte{
			"256 MB of MQTT announced":        masked(0x82, []byte{0x10, 0xff, 0xff, 0xff, 0x7f}),
			"a frame of 2^62 bytes announced": {0x82, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x30, 0, 0},
			"text":                            masked(0x81, []byte("hello")),
			"no mask":                         {0x82, 2, 0xc0, 0},
		} {
			t.Run(scheme+" "+name, func(t *testing.T) {
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				c := upgrade("mqtt")
				c.Write(send)
				io.Copy(io.Discard, c)
				runtime.ReadMemStats(&after)
				if got := (after.TotalAlloc - before.TotalAlloc) >> 10; got > 1000 {
					t.Errorf("cost %d KB", got)
				}
			})
		}
		c := upgrade("chat")
		if n, _ := io.Copy(io.Discard, c); n == 0 {
			t.Errorf("%s: another subprotocol hears nothing of why", scheme)
		}
		c = dial()
		c.Write(join([]byte("GET / HTTP/1.1\r\nHost: x\r\nX: "), bytes.Repeat([]byte("x"), 64<<10)))
		io.Copy(io.Discard, c)
	}
	// And a good one, to see that the others were refused for what they are.
	c, _, err := websocket.Dial(t.Context(), "ws://"+w.Addr("ws").String(), &websocket.DialOptions{Subprotocols: []string{"mqtt"}})
	if err != nil {
		t.Fatal(err)
	}
	r := &raw{websocket.NetConn(t.Context(), c, websocket.MessageBinary), t, 5}
	defer r.Close()
	r.send(connectPacket("tv-1", "tv-1", w.token["tv-1"]))
	if body := r.expect(packets.Connack); body[1] != 0 {
		t.Errorf("CONNACK %x", body)
	}
	if n := w.counted(t, "panics_total"); n != 0 {
		t.Errorf("%v panics", n)
	}
}

// Reconnecting leaves nothing behind.
func TestHazard26Reconnects(t *testing.T) {
	t.Parallel()
	w := begin(t, nil)
	if n := w.server.Options.Capabilities.MaximumClientWritesPending; n > 16 {
		t.Errorf("each connection has room for %d packets that are never queued", n)
	}
	ends := []func(r *raw){
		func(r *raw) { r.Close() },
		func(r *raw) { r.Write([]byte{0xe0, 0}); r.ended() },
		func(r *raw) { r.Write([]byte{0x82, 0}); r.ended() },
		func(r *raw) { r.Conn.(*net.TCPConn).SetLinger(0); r.Close() },
	}
	for i := range 100 {
		for _, version := range []byte{4, 5} {
			ends[i%len(ends)](w.login(t, "tv-1", version))
			w.sink.await(t, "gone")
			r, _ := w.join(t, version, connectPacket("b-acme", "acme", w.key))
			r.subscribe(1, "pl/1/b/acme/dn/answer", 0)
			ends[i%len(ends)](r)
			w.sent(t)
		}
	}
	w.empty(t)
}

// sent waits until no brand is connected.
func (w *world) sent(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(patient); ; time.Sleep(time.Millisecond) {
		w.mu.Lock()
		n := len(w.places)
		w.mu.Unlock()
		if n == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatal("a brand is still connected")
		}
	}
}

// TestHazard27Logs makes everything that can be logged happen, and looks for what must not be
// there: the library logs whole packets.
func TestHazard27Logs(t *testing.T) {
	w := begin(t, nil)
	const secret = "BUY-ONE-GET-ONE"
	bad := connectPacket("tv-1", "tv-1", w.token["car-1"])
	r := w.dial(t)
	r.send(bad)
	r.ended()
	will := connectPacket("tv-1", "tv-1", w.token["tv-1"])
	will.Connect.WillFlag, will.Connect.WillTopic, will.Connect.WillPayload = true, "x", []byte(secret)
	r = w.dial(t)
	r.send(will)
	r.ended()
	forged := connectPacket(secret, secret, secret)
	r = w.dial(t)
	r.send(forged)
	r.ended()
	for _, version := range []byte{4, 5} {
		r := w.login(t, "tv-1", version)
		l := w.sink.await(t, "subscribed").link
		r.publish(2, "pl/1/tv-1/up/evt", []byte(secret))
		r.publish(3, "pl/1/car-1/up/"+secret, []byte(secret))
		r.publish(4, "pl/1/tv-1/up/birth", goodBirth(t))
		r.publish(5, "pl/1/tv-1/up/evt", []byte("\x61"+secret))
		l.Send(delivery.Frame{Leaf: wire.DnMsg, QoS: 1, Payload: []byte(secret)})
		r.expect(packets.Publish)
		r.subscribe(9, secret, 1)
		r.Write(packet(0x30, append([]byte{0, 1, 0xff}, secret...)))
		r.ended()
	}
	w.stop()
	logs := w.logs.String()
	for _, not := range []string{secret, w.token["tv-1"], w.token["car-1"], w.key} {
		if strings.Contains(logs, not) {
			t.Errorf("the log contains %q", not)
		}
	}
	for _, want := range []string{"library: ", "a frame was refused", "connection refused"} {
		if !strings.Contains(logs, want) {
			t.Errorf("the log has no %q: this test sees nothing", want)
		}
	}
}

// The library stamps a day's life on messages that were given none.
func TestHazard28Expiry(t *testing.T) {
	w := begin(t, nil)
	r := w.login(t, "tv-1", 5)
	l := w.sink.await(t, "subscribed").link
	for life, want := range map[time.Duration]uint32{0: 0, time.Hour: 3600, time.Millisecond: 1} {
		if err := l.Send(delivery.Frame{Leaf: wire.DnTime, Payload: []byte{0xa0}, Life: life}); err != nil {
			t.Fatal(err)
		}
		if got := r.next().Properties.MessageExpiryInterval; got != want {
			t.Errorf("a frame with a life of %s expires after %d s, want %d", life, got, want)
		}
	}
}

// TLS 1.2 with a cipher that does not authenticate what it encrypts is not offered.
func TestHazard29CipherSuites(t *testing.T) {
	w := begin(t, nil)
	for suite, good := range map[uint16]bool{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA: false, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256: false,
		tls.TLS_ECDHE_ECDSA_WITH_RC4_128_SHA: false, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256: true,
	} {
		c, err := tls.Dial("tcp", w.Addr("mqtts").String(), &tls.Config{RootCAs: w.ca, ServerName: "localhost", MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite}})
		if (err == nil) != good {
			t.Errorf("%s: %v", tls.CipherSuiteName(suite), err)
		}
		if err == nil {
			c.Close()
		}
	}
	if _, err := tls.Dial("tcp", w.Addr("mqtts").String(), &tls.Config{RootCAs: w.ca, ServerName: "localhost", MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 is accepted")
	}
}

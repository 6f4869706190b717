package broker

import (
	"errors"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/wire"
)

// Where the library's behaviour differs from what its options and hooks suggest. As with the
// hazards, each is a test against the running door:
//
//	    test                            closed by
//	01  TestTrap01RefusedPublish        hook: a refusal never passes the publish on, with any QoS
//	02  TestTrap02Unacknowledged        hook: acknowledged if refused; if it is our fault, the
//	                                    connection ends, so that it is sent again
//	03  TestTrap03WillProperties        hook: a CONNECT with a will is refused, whatever is in it
//	04  TestTrap04OneHook               door: one hook, so no other can say yes
//	05  TestTrap05EmptyTopic            link: judges the topic after the alias; CONNACK announces
//	06  TestTrap06ExpiryByVersion       link: we write each frame for its own client
//	07  TestTrap07Resend                link: window of one, nothing is resent by the library
//	08  TestTrap08InflightOfAnother     hook: no session outlives its connection
//	09  TestTrap09StuckRemoval          conn: half a second, then cut; detach purges
//	10  TestTrap10NoDisconnectForOld    place: 3.1.1 is told on dn/err, or nothing
//	    TestClones (limits_test.go)     takeovers are counted, with an alarm and a back-off
//	11  TestHazard07SilentSocket, TestHazard12KeepAlive
//	12  TestTrap12Capabilities          door: small limits, QoS 1, no retain, no sharing
//	13  TestTrap13RefusalCode           hook: writes its own CONNACK
//	14  TestTrap14QoS2                  guard and hook: the connection ends
//	15  TestHazard25WebSocket           our own listener
//	16  TestTrap03WillProperties        a delayed will is a will

// A publish that is refused with a reason goes on to subscribers, unless it was of QoS 1 and
// MQTT 5; and it may be retained.
func TestTrap01RefusedPublish(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, version byte) {
		w := begin(t, nil)
		w.overheard(t)
		victim := w.login(t, "car-1", version)
		w.sink.await(t, "subscribed")
		for _, topic := range []string{"pl/1/car-1/dn/msg", "pl/1/tv-1/dn/msg", "pl/1/tv-1/up/evt", "$SYS/broker/x", "x", "pl/1/b/acme/up/message"} {
			for _, first := range []byte{0x30, 0x31, 0x32, 0x33, 0x3a} { // QoS 0 and 1, retained, and again
				r := w.login(t, "tv-1", version)
				l := w.sink.await(t, "subscribed").link
				body := join([]byte{0, byte(len(topic))}, []byte(topic))
				if first&2 != 0 {
					body = append(body, 0, 9)
				}
				r.Write(packet(first, join(body, make([]byte, version-4), []byte{0xff})))
				r.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}})
				r.Conn.(interface{ CloseWrite() error }).CloseWrite()
				r.ended()
				for w.sink.await(t, "gone").link != l {
				}
			}
		}
		victim.heardNothing()
		if n := w.server.Topics.Retained.Len(); n != 0 {
			t.Errorf("%d messages are retained", n)
		}
	})
}

// A 3.1.1 client sends a publish of QoS 1 again and again until it is acknowledged: on a new
// connection, because on the old one it only waits.
func TestTrap02Unacknowledged(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, version byte) {
		w := begin(t, nil)
		r := w.login(t, "tv-1", version)
		r.publish(2, "pl/1/tv-1/up/birth", goodBirth(t))
		for i, payload := range [][]byte{{0xff}, nil, {0xa0}} { // nonsense that will be nonsense again
			r.publish(uint16(3+i), "pl/1/tv-1/up/evt", payload)
		}
		r.publish(9, "pl/1/car-1/up/evt", nil)

		w.sink.failing("event", errors.New("disk full"))
		event := encode(t, wire.Event{Seq: 3, Message: device.NewMessageID(1), Kind: wire.Presented})
		r.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}, PacketID: 10, TopicName: "pl/1/tv-1/up/evt", Payload: event})
		for {
			kind, body := r.receive()
			if kind>>4 == packets.Puback {
				t.Fatal("acknowledged what could not be kept")
			}
			if kind>>4 == packets.Disconnect && (version == 4 || body[0] != 0x89) {
				t.Errorf("DISCONNECT %x", body)
			}
			if kind == 0 {
				break
			}
		}
		if n := w.counted(t, "frames_unacknowledged_total"); n != 1 {
			t.Errorf("%v frames counted, want 1", n)
		}
		w.sink.failing("event", nil)
		r = w.login(t, "tv-1", version) // and sends it again
		r.publish(11, "pl/1/tv-1/up/birth", goodBirth(t))
		if got := r.publish(12, "pl/1/tv-1/up/evt", event); got != 0 {
			t.Errorf("PUBACK %#x", got)
		}
	})
}

// A will keeps some of its properties and loses others, may be retained, and a delayed one
// outlives what it was checked against.
func TestTrap03WillProperties(t *testing.T) {
	w := begin(t, nil)
	w.overheard(t)
	for name, edit := range map[string]func(*packets.ConnectParams){
		"user property": func(c *packets.ConnectParams) {
			c.WillProperties.User = []packets.UserProperty{{Key: "k", Val: "v"}}
		},
		"delayed":  func(c *packets.ConnectParams) { c.WillProperties.WillDelayInterval = 1 },
		"retained": func(c *packets.ConnectParams) { c.WillRetain = true },
		"QoS 1":    func(c *packets.ConnectParams) { c.WillQos = 1 },
		"empty":    func(c *packets.ConnectParams) { c.WillPayload = nil },
	} {
		for version, want := range map[byte]byte{4: 5, 5: 0x83} {
			pk := connectPacket("tv-1", "tv-1", w.token["tv-1"])
			pk.Connect.WillFlag, pk.Connect.WillTopic, pk.Connect.WillPayload = true, "pl/1/tv-1/up/bye", []byte{0xa0}
			edit(&pk.Connect)
			r, answer := w.join(t, version, pk)
			switch { // of two faults the library names its own
			case version == 5 && pk.Connect.WillRetain:
				want = 0x9a
			case version == 5 && len(pk.Connect.WillPayload) == 0:
				want = 0x82
			}
			if answer.ReasonCode != want {
				t.Errorf("%s, %d: CONNACK %#x, want %#x", name, version, answer.ReasonCode, want)
			}
			r.ended()
		}
	}
	if n := w.server.Topics.Retained.Len(); n != 0 {
		t.Errorf("%d messages are retained", n)
	}
}

// Of several hooks it is enough that one says yes, to a log-in and to a topic.
func TestTrap04OneHook(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		w := begin(t, nil)
		_, answer := w.join(t, version, connectPacket("tv-1", "tv-1", w.token["car-1"]))
		if answer.ReasonCode == 0 {
			t.Error("let in with another's token")
		}
		r := w.login(t, "tv-1", version)
		if got := r.subscribe(2, "pl/1/car-1/dn/#", 1); got < 0x80 {
			t.Errorf("SUBSCRIBE to another's topic: %#x", got)
		}
	})
}

// With an alias the topic is empty when the library asks whether it is allowed.
func TestTrap05EmptyTopic(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		w := begin(t, nil)
		w.overheard(t)
		r, answer := w.join(t, version, connectPacket("tv-1", "tv-1", w.token["tv-1"]))
		if p := answer.Properties; version == 5 && (p.TopicAliasMaximum != aliasMaximum || p.MaximumPacketSize != maxPacket) {
			t.Errorf("CONNACK announces %d aliases and packets of %d", p.TopicAliasMaximum, p.MaximumPacketSize)
		}
		say := func(id uint16, topic string, alias uint16) byte {
			t.Helper()
			pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}, PacketID: id, TopicName: topic, Payload: goodBirth(t)}
			pk.Properties.TopicAlias, pk.Properties.TopicAliasFlag = alias, alias > 0
			r.send(pk)
			kind, body := r.receive()
			switch {
			case kind>>4 == packets.Puback && len(body) > 2:
				return body[2]
			case kind>>4 == packets.Puback:
				return 0
			case kind>>4 == packets.Disconnect:
				return body[0]
			}
			return 0xff
		}
		if version == 5 {
			for i, step := range []struct {
				topic string
				alias uint16
				code  byte
			}{
				{"pl/1/tv-1/up/birth", 1, 0}, {"", 1, 0}, // ours, by name and by alias
				{"pl/1/car-1/up/birth", 2, 0x87}, {"", 2, 0x87}, // another's
				{"pl/1/tv-1/dn/msg", 1, 0x87}, {"", 1, 0x87}, // an alias that was ours
				{"pl/1/tv-1/up/birth", 8, 0}, {"", 8, 0},
			} {
				if got := say(uint16(10+i), step.topic, step.alias); got != step.code {
					t.Errorf("step %d, topic %q, alias %d: %#x, want %#x", i, step.topic, step.alias, got, step.code)
				}
			}
		}
		r.Close()
		for name, alias := range map[string]uint16{"none": 0, "of the connection before": 1, "never set": 3, "over the limit": 9} {
			if version == 4 && alias > 0 {
				continue
			}
			r = w.login(t, "tv-1", version)
			if got := say(20, "", alias); got == 0 {
				t.Errorf("empty topic, alias %s: acknowledged as good", name)
			}
			r.Close()
		}
	})
	t.Run("zero", func(t *testing.T) {
		w := begin(t, nil)
		r := w.login(t, "tv-1", 5)
		r.Write(packet(0x30, []byte{0, 1, 'x', 3, 0x23, 0, 0}))
		if got := r.ended(); got != 0x94 && got != 0x82 {
			t.Errorf("alias 0: DISCONNECT %#x", got)
		}
	})
}

// The library writes as its inline client, which is of MQTT 3.1.1, and loses the expiry.
func TestTrap06ExpiryByVersion(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		w := begin(t, nil)
		r := w.login(t, "tv-1", version)
		l := w.sink.await(t, "subscribed").link
		for _, qos := range []byte{0, 1} {
			if err := l.Send(delivery.Frame{Leaf: wire.DnMsg, QoS: qos, Payload: []byte{0xa0}, Life: 90 * time.Second}); err != nil {
				t.Fatal(err)
			}
			got := r.next()
			if want := uint32(90 * int(version-4)); got.Properties.MessageExpiryInterval != want || string(got.Payload) != "\xa0" {
				t.Errorf("QoS %d: expiry %d, payload %x, want %d and a0", qos, got.Properties.MessageExpiryInterval, got.Payload, want)
			}
		}
	})
}

// The library resends what is unacknowledged in random order, whatever the client can take.
func TestTrap07Resend(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		w := begin(t, nil)
		pk := connectPacket("tv-1", "tv-1", w.token["tv-1"])
		pk.Properties.ReceiveMaximum = 1
		r, _ := w.join(t, version, pk)
		r.subscribe(1, "pl/1/tv-1/dn/#", 1)
		l := w.sink.await(t, "subscribed").link
		f := delivery.Frame{Leaf: wire.DnMsg, QoS: 1, Payload: []byte{0xa0}}
		if err := l.Send(f); err != nil {
			t.Fatal(err)
		}
		first := r.next()
		for range 3 {
			if err := l.Send(f); err == nil || errors.Is(err, delivery.ErrAway) {
				t.Fatalf("a second frame before the acknowledgement: %v, want a refusal", err)
			}
			r.heardNothing()
		}
		r.acknowledge(first.PacketID)
		w.sink.await(t, "acked")
		r.heardNothing()
	})
}

// What was in flight to one who had this ID is sent to whoever has it next.
func TestTrap08InflightOfAnother(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, version byte) {
		w := begin(t, nil)
		for _, clean := range []bool{false, true} {
			pk := connectPacket("tv-1", "tv-1", w.token["tv-1"])
			pk.Connect.Clean = clean
			pk.Properties.SessionExpiryInterval, pk.Properties.SessionExpiryIntervalFlag = 3600, true
			r, _ := w.join(t, version, pk)
			r.subscribe(1, "pl/1/tv-1/dn/#", 1)
			l := w.sink.await(t, "subscribed").link
			if err := l.Send(delivery.Frame{Leaf: wire.DnMsg, QoS: 1, Payload: []byte{0xa0}}); err != nil {
				t.Fatal(err)
			}
			r.next()
			next, answer := w.join(t, version, pk) // takes over
			if answer.SessionPresent {
				t.Error("session present")
			}
			next.subscribe(1, "pl/1/tv-1/dn/#", 1)
			next.heardNothing()
			next.Close()
			w.sink.await(t, "subscribed")
			w.sink.await(t, "gone")
		}
	})
}

// The library waits for a peer that does not read before it ends it, and keeps its session,
// its subscriptions and its queue.
func TestTrap09StuckRemoval(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, version byte) {
		w := begin(t, nil)
		r := w.dial(t)
		r.version = version
		r.send(connectPacket("tv-1", "tv-1", w.token["tv-1"]))
		r.expect(packets.Connack)
		r.subscribe(1, "pl/1/tv-1/dn/#", 1)
		l := w.sink.await(t, "subscribed").link
		clog(t, l.(*link))
		began := time.Now()
		l.Close(delivery.Removed)
		if c := w.sink.await(t, "gone"); c.link != l {
			t.Error("the wrong link is gone")
		}
		if took := time.Since(began); took >= writeTimeout {
			t.Errorf("it took %s, as long as any write may", took)
		}
		w.empty(t)
	})
}

// MQTT 3.1.1 knows no DISCONNECT from a server, and clients report one as an error of protocol.
func TestTrap10NoDisconnectForOld(t *testing.T) {
	t.Parallel()
	w := begin(t, nil)
	for name, end := range map[string]func(r *raw, l delivery.Link){
		"taken over":      func(r *raw, _ delivery.Link) { w.login(t, "tv-1", 4) },
		"removed":         func(_ *raw, l delivery.Link) { l.Close(delivery.Removed) },
		"silent":          func(_ *raw, l delivery.Link) { l.Close(delivery.Silent) },
		"shutdown":        func(_ *raw, l delivery.Link) { l.Close(delivery.Shutdown) },
		"malformed":       func(r *raw, _ delivery.Link) { r.Write([]byte{0x82, 0x05, 0, 1, 0, 1, 'a'}) },
		"second CONNECT":  func(r *raw, _ delivery.Link) { r.send(connectPacket("tv-1", "tv-1", w.token["tv-1"])) },
		"AUTH":            func(r *raw, _ delivery.Link) { r.Write([]byte{0xf0, 0}) },
		"QoS 2":           func(r *raw, _ delivery.Link) { r.Write([]byte{0x34, 5, 0, 1, 'a', 0, 1}) },
		"too big":         func(r *raw, _ delivery.Link) { r.Write([]byte{0x30, 0xff, 0xff, 0x7f}) },
		"unsubscribed":    func(r *raw, _ delivery.Link) { r.Write(join([]byte{0xa2, 18, 0, 2, 0, 14}, []byte("pl/1/tv-1/dn/#"))) },
		"SUBSCRIBE empty": func(r *raw, _ delivery.Link) { r.Write([]byte{0x82, 2, 0, 1}) },
		"SUBSCRIBE \"\"":  func(r *raw, _ delivery.Link) { r.Write([]byte{0x82, 5, 0, 1, 0, 0, 3}) },
		"itself":          func(r *raw, _ delivery.Link) { r.Write([]byte{0xe0, 0}) },
	} {
		r := w.login(t, "tv-1", 4)
		l := w.sink.await(t, "subscribed").link
		end(r, l)
		for {
			kind, body := r.receive()
			if kind == 0 {
				break
			}
			if k := kind >> 4; k != packets.Publish && k != packets.Unsuback {
				t.Errorf("%s: received packet type %d, %x", name, k, body)
			}
		}
		for w.sink.await(t, "gone").link != l {
		}
		if name == "taken over" {
			w.mu.Lock()
			now := w.links["tv-1"]
			w.mu.Unlock()
			now.Close(delivery.Removed)
			w.sink.await(t, "gone")
		}
	}
}

// The defaults of the library are for brokers that keep everything for everybody.
func TestTrap12Capabilities(t *testing.T) {
	w := begin(t, nil)
	c := w.server.Options.Capabilities
	if c.MaximumPacketSize != maxPacket || c.MaximumSessionExpiryInterval != 0 || c.MaximumMessageExpiryInterval != 0 || c.MaximumInflight > 64 ||
		c.MaximumClientWritesPending > 64 || c.RetainAvailable != 0 || c.SharedSubAvailable != 0 || c.MaximumQos != 1 || c.Compatibilities.PassiveClientDisconnect {
		t.Errorf("capabilities %+v", c)
	}
	for version, no := range map[byte]byte{4: 0x80, 5: 0x87} {
		r := w.login(t, "tv-1", version)
		for filter, want := range map[string]byte{"pl/1/tv-1/dn/#": 1, "$share/g/pl/1/tv-1/dn/#": no, "$SYS/#": no, "#": no, "+/+/+/+/+": no, "pl/1/+/dn/#": no, "pl/1/tv-1/dn/+": no} {
			if got := r.subscribe(2, filter, 2); got != want { // QoS 2 is granted as 1
				t.Errorf("MQTT %d, SUBSCRIBE %s with QoS 2: %#x, want %#x", version, filter, got, want)
			}
		}
		r.heardNothing()
		r.Close()
		w.sink.await(t, "gone")
	}
}

// Whatever the reason, the library answers a refused log-in with the same code.
func TestTrap13RefusalCode(t *testing.T) {
	w := begin(t, func(o *Options) { o.PerBrand = 1 })
	w.login(t, "tv-1", 5)
	hold, _ := w.join(t, 5, connectPacket("b-acme", "acme", w.key))
	for name, tc := range map[string]struct {
		pk        packets.Packet
		five, old byte
	}{
		"wrong token":     {connectPacket("tv-1", "tv-1", registry.NewToken()), 0x87, 5},
		"foreign ID":      {connectPacket("car-1", "tv-1", w.token["tv-1"]), 0x85, 2},
		"no link":         {connectPacket("car-1/x", "car-1", w.token["car-1"]), 0x83, 3},
		"too many brands": {connectPacket("b-acme-2", "acme", w.key), 0x97, 3},
	} {
		for version, want := range map[byte]byte{4: tc.old, 5: tc.five} {
			r, answer := w.join(t, version, tc.pk)
			if answer.ReasonCode != want || version == 5 && answer.Properties.ReasonString == "" {
				t.Errorf("%s, %d: CONNACK %#x %q, want %#x and why", name, version, answer.ReasonCode, answer.Properties.ReasonString, want)
			}
			r.ended()
		}
	}
	hold.heardNothing()
}

// QoS 2 is answered as if it were QoS 1, and a 3.1.1 client waits for ever.
func TestTrap14QoS2(t *testing.T) {
	t.Parallel()
	w := begin(t, nil)
	w.overheard(t)
	for version, want := range map[byte]byte{4: 0, 5: 0x9b} {
		for _, topic := range []string{"pl/1/tv-1/up/birth", "pl/1/car-1/up/birth"} {
			for _, first := range []byte{0x34, 0x35, 0x3c} {
				r := w.login(t, "tv-1", version)
				l := w.sink.await(t, "subscribed").link
				r.Write(packet(first, join([]byte{0, byte(len(topic))}, []byte(topic), []byte{0, 1}, make([]byte, version-4), goodBirth(t))))
				told := byte(0)
				for {
					kind, body := r.receive()
					switch kind >> 4 {
					case packets.Puback, packets.Pubrec:
						t.Errorf("%s, %d: acknowledged", topic, version)
					case packets.Disconnect:
						told = body[0]
					}
					if kind == 0 {
						break
					}
				}
				if told != want {
					t.Errorf("%s, %d: DISCONNECT %#x, want %#x", topic, version, told, want)
				}
				for w.sink.await(t, "gone").link != l {
				}
			}
		}
		for _, kind := range []byte{0x50, 0x62, 0x70} {
			r := w.login(t, "tv-1", version)
			l := w.sink.await(t, "subscribed").link
			r.Write([]byte{kind, 2, 0, 1})
			if got := r.ended(); got != want {
				t.Errorf("packet %#x, %d: DISCONNECT %#x, want %#x", kind, version, got, want)
			}
			for w.sink.await(t, "gone").link != l {
			}
		}
	}
	for len(w.sink.heard) > 0 {
		if c := <-w.sink.heard; c.what == "birth" {
			t.Error("the Desk heard of a publish of QoS 2")
		}
	}
}

package broker

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/mochi-mqtt/server/v2/packets"

	"porchlight/broker/delivery"
	"porchlight/device/wire"
)

// norms are statements of the MQTT standards that a server must keep, by their numbers there,
// each with an exchange that shows that it is kept. Left out are statements about clients,
// about what the door refuses on purpose (TestRefusedOnPurpose), and these, which have tests of
// their own:
//
//	3.1.1: 3.1.2-24, 5: 3.1.2-22           TestHazard12KeepAliveRunsOut
//	5: 3.1.2-21, 3.2.2-21, 3.2.2-22        TestHazard12KeepAlive
//	3.1.1: 3.1.4-2, 5: 3.1.4-3             TestTakeover
//	5: 3.3.4-7                             TestOutstanding
//	5: 3.3.4-9, 4.9.0-1, 4.9.0-2           TestHazard05SendQuota, TestTrap07Resend
//	5: 4.12.0-1                            TestConnect
//	6.0.0-1                                TestHazard25WebSocket
//	whatever is malformed, in detail       TestMalformed
var norms = []struct {
	old, five string // the statements of 3.1.1 and of 5; empty: it has none
	play      func(c *talk)
}{
	// 1 and 2: data, fixed header, packet identifiers, properties
	{"1.5.3-1", "1.5.4-1", func(c *talk) {
		c.in()
		c.says(c.publish(0x30, "a\xed\xa0\x80", 0))
		c.ends(0x81)
	}},
	{"1.5.3-2, 4.7.3-2", "1.5.4-2, 4.7.3-2", func(c *talk) {
		for _, b := range [][]byte{c.publish(0x30, "a\x00", 0), c.subscribe(1, "a\x00", 1), c.unsubscribe(1, "a\x00")} {
			c.in()
			c.says(b)
			c.ends(0x81)
		}
	}},
	{"1.5.3-3, 4.7.3-4", "1.5.4-3, 4.7.3-4", func(c *talk) { // no byte of a topic is passed over
		c.in()
		for i, topic := range []string{"\ufeffpl/1/tv-1/up/birth", "PL/1/tv-1/up/birth", "pl/1/tv-1/up/birth/", "/pl/1/tv-1/up/birth", "pl/1/tv-1/up//birth"} {
			c.says(c.publish(0x32, topic, 10+i, goodBirth(c.t)...))
			c.acked(10+i, 0x87)
		}
		c.deskHears("")
	}},
	{"", "1.5.5-1", func(c *talk) {
		c.in()
		c.says([]byte{0xc0, 0x80, 0})
		c.ends(0x81)
	}},
	{"2.2.2-1, 2.2.2-2, 3.8.1-1, 3.10.1-1, 3.14.1-1", "2.1.3-1, 3.8.1-1, 3.10.1-1, 3.14.1-1", func(c *talk) {
		for _, b := range [][]byte{{0xc1, 0}, {0xe1, 0}, {0x41, 2, 0, 1}, flagged(0x80, c.subscribe(1, "a", 1)), flagged(0x83, c.subscribe(1, "a", 1)), flagged(0xa0, c.unsubscribe(1, "a"))} {
			c.in()
			c.says(b)
			c.ends(0x81)
		}
	}},
	{"2.3.1-1", "2.2.1-3", func(c *talk) {
		for _, b := range [][]byte{c.publish(0x32, "a", 0), c.subscribe(0, "a", 1), c.unsubscribe(0, "a")} {
			c.in()
			c.says(b)
			c.ends(0x81)
		}
	}},
	{"2.3.1-4, 3.3.1-3, 4.3.2-1", "2.2.1-4, 3.3.1-3, 4.3.2-1, 4.3.2-2", func(c *talk) { // what the door sends is numbered anew, with DUP 0
		c.in()
		c.listens()
		seen := map[uint16]bool{}
		for range 5 {
			c.sends(1, "x")
			pk := c.next()
			if pk.PacketID == 0 || seen[pk.PacketID] || pk.FixedHeader.Dup || pk.FixedHeader.Qos != 1 {
				c.t.Errorf("received number %d after %v, DUP %v, QoS %d", pk.PacketID, seen, pk.FixedHeader.Dup, pk.FixedHeader.Qos)
			}
			seen[pk.PacketID] = true
			c.acknowledge(pk.PacketID)
			c.stays()
		}
	}},
	{"2.3.1-5, 3.3.1-2, 3.3.1-9, 3.3.2-1, 3.3.2-3, 4.3.1-1", "2.2.1-2, 3.3.1-2, 3.3.1-12, 3.3.2-1, 3.3.2-3, 4.3.1-1", func(c *talk) { // QoS 0: no number, no DUP, no RETAIN
		c.in()
		c.listens()
		c.sends(0, "x")
		c.hears(packet(0x30, join(str("pl/1/tv-1/dn/time"), c.props(append([]byte{packets.PropContentType}, str("application/cbor; v=1")...)), []byte("x"))))
	}},
	{"2.3.1-6, 3.3.4-1, 4.3.2-2", "2.2.1-5, 3.3.4-1, 4.3.2-4, 4.3.2-5", func(c *talk) { // and after its PUBACK a number is free
		c.in()
		for range 2 {
			c.says(c.publish(0x32, "pl/1/tv-1/up/birth", 0x1234, goodBirth(c.t)...))
			c.hears([]byte{0x40, 2, 0x12, 0x34})
			c.deskHears("birth")
		}
		c.says(c.publish(0x3a, "pl/1/tv-1/up/birth", 0x1234, goodBirth(c.t)...)) // DUP says nothing about it
		c.hears([]byte{0x40, 2, 0x12, 0x34})
		c.deskHears("birth")
		c.says(c.publish(0x30, "pl/1/tv-1/up/birth", 0, goodBirth(c.t)...))
		c.stays()
		c.deskHears("birth")
	}},
	{"3.3.4-1, 4.3.2-2", "3.3.4-1, 4.3.2-4", func(c *talk) { // also where the topic is one of the server's own
		c.in()
		for i, topic := range []string{"$SYS/broker/clients", "$sys/x", "$SYS", "$share/a/b", "$x"} {
			c.says(c.publish(0x32, topic, 10+i))
			c.acked(10+i, 0x87)
		}
	}},
	{"4.6.0-2", "4.6.0-2", func(c *talk) { // in order; the standard asks it of clients
		c.in()
		var all []byte
		for i := range 12 {
			all = append(all, c.publish(0x32, "pl/1/tv-1/up/birth", 100-i, goodBirth(c.t)...)...)
		}
		c.says(all)
		for i := range 12 {
			c.acked(100-i, 0)
		}
	}},
	{"2.3.1-7, 3.8.4-1, 3.8.4-2, 3.10.4-4, 3.10.4-5", "2.2.1-6, 2.2.2-1, 3.8.4-1, 3.8.4-2, 3.10.4-4, 3.10.4-5", func(c *talk) {
		c.in()
		c.says(c.subscribe(0xfffe, "pl/1/tv-1/dn/err", 1))
		c.hears(packet(0x90, join([]byte{0xff, 0xfe}, c.props(), []byte{1})))
		c.says(c.unsubscribe(0xffff, "pl/1/tv-1/dn/err"))
		c.hears(packet(0xb0, join([]byte{0xff, 0xff}, c.props(), c.only5(0))))
		c.says(c.unsubscribe(2, "pl/1/tv-1/dn/err")) // which is not there any more
		c.hears(packet(0xb0, join([]byte{0, 2}, c.props(), c.only5(0x11))))
	}},

	// 3.1: CONNECT
	{"3.1.0-1", "3.1.0-1, 3.14.0-1", func(c *talk) {
		for _, b := range [][]byte{c.publish(0x30, "a", 0), c.subscribe(1, "a", 1), {0xc0, 0}, {0xe0, 0}, {0x20, 2, 0, 0}, {0xf0, 0}} {
			c.dial()
			c.says(b)
			c.ends(0)
		}
	}},
	{"3.1.0-2, 4.8.0-1", "3.1.0-2, 4.13.1-1, 4.13.2-1", func(c *talk) {
		c.in()
		c.send(c.connect())
		c.ends(0x82)
	}},
	{"3.1.2-1, 3.1.2-2, 3.2.2-5", "3.1.2-1, 3.1.2-2", func(c *talk) {
		for _, b := range [][]byte{
			join(str("MQTX"), []byte{c.version, 2, 0, 9}, c.props(), str("tv-1")),
			join(str("MQTT"), []byte{6, 2, 0, 9}, c.props(), str("tv-1")),
			join(str("MQIsdp"), []byte{3, 2, 0, 9}, str("tv-1")),
		} {
			c.dial()
			c.says(packet(0x10, b), []byte{0xc0, 0})
			c.hears([]byte{0x20, 2, 0, 1})
			c.ends(0)
		}
	}},
	{"3.1.2-3, 3.1.2-11, 3.1.2-13, 3.1.2-14, 3.1.2-15, 3.1.2-18, 3.1.2-19, 3.1.2-20, 3.1.2-21, 3.1.4-1", "3.1.2-3, 3.1.2-11, 3.1.2-12, 3.1.2-13, 3.1.2-16, 3.1.2-17, 3.1.2-18, 3.1.2-19, 3.1.4-1", func(c *talk) {
		key := str(c.w.token["tv-1"])
		for flags, rest := range map[byte][]byte{
			0xc3: join(str("tv-1"), key), 0xca: join(str("tv-1"), key), 0xd2: join(str("tv-1"), key), 0xe2: join(str("tv-1"), key), // reserved, will QoS and will RETAIN without will
			0xde: join(c.props(), str("a"), str("b"), str("tv-1"), key),                        // will QoS 3
			0xc2: str("tv-1"), 0x82: join(str("tv-1"), key), 0x02: str("tv-1"), 0x06: str("a"), // flags that what follows does not bear out
		} {
			c.dial()
			c.says(packet(0x10, join(str("MQTT"), []byte{c.version, flags, 0, 9}, c.props(), str("tv-1"), rest)))
			c.malformedConnect(0x81)
		}
	}},
	{"3.1.2-22, 3.1.4-1", "", func(c *talk) { // a password without a user name
		c.dial()
		c.says(packet(0x10, join(str("MQTT"), []byte{4, 0x42, 0, 9}, str("tv-1"), str(c.w.token["tv-1"]))))
		c.ends(0)
	}},
	{"", "3.1.2-16, 3.1.2-19", func(c *talk) { // which MQTT 5 allows, but nobody is known by it
		pk := c.connect()
		pk.Connect.UsernameFlag, pk.Connect.Username = false, nil
		c.refused(pk, 0, 0x87)
	}},
	{"3.1.2-21", "3.1.2-19, 3.2.2-8", func(c *talk) { // an empty password is one, and wrong
		pk := c.connect()
		pk.Connect.Password = nil
		c.refused(pk, 5, 0x87)
	}},
	{"3.1.2-4, 3.1.2-6, 3.2.2-1, 3.2.2-3, 3.1.4-3, 3.1.4-4", "3.1.2-4, 3.1.2-6, 3.2.2-1, 3.2.2-2, 3.2.2-3, 3.1.4-4, 3.1.4-5", func(c *talk) {
		for _, clean := range []bool{true, false, false, true} {
			ack := c.in(func(pk *packets.Packet) {
				pk.Connect.Clean = clean
				pk.Properties.SessionExpiryInterval, pk.Properties.SessionExpiryIntervalFlag = 3600, true
			})
			if ack.SessionPresent || ack.ReasonCode != 0 {
				c.t.Errorf("clean %v: CONNACK %+v", clean, ack)
			}
			c.says(c.unsubscribe(1, "pl/1/tv-1/dn/#"))
			c.hears(packet(0xb0, join([]byte{0, 1}, c.props(), c.only5(0x11)))) // none is left from before
			c.listens()
		}
	}},
	{"3.1.3-3, 3.1.3-4, 3.1.3-11", "3.1.3-3, 3.1.3-4, 3.1.3-12", func(c *talk) {
		for _, edit := range []func(*packets.Packet){
			func(pk *packets.Packet) { pk.Connect.ClientIdentifier = "tv-1\xff" },
			func(pk *packets.Packet) { pk.Connect.Username = []byte("tv-1\xed\xa0\x80") },
			func(pk *packets.Packet) { pk.Connect.Username = []byte("tv-1\x00") },
		} {
			pk := c.connect()
			edit(&pk)
			c.dial()
			c.send(pk)
			c.malformedConnect(0x81)
		}
	}},
	{"3.1.3-10", "3.1.3-11", func(c *talk) {
		pk := c.connect()
		pk.Connect.WillFlag, pk.Connect.WillTopic, pk.Connect.WillPayload = true, "\xff", []byte("x")
		c.dial()
		c.send(pk)
		c.malformedConnect(0x81)
	}},
	{"3.1.3-8, 3.1.3-9", "3.1.3-8, 3.2.2-16", func(c *talk) { // no client ID is made up
		for _, clean := range []bool{true, false} {
			pk := c.connect()
			pk.Connect.ClientIdentifier, pk.Connect.Clean = "", clean
			ack := c.refused(pk, 2, 0x85)
			if ack.Properties.AssignedClientID != "" {
				c.t.Errorf("assigned %q", ack.Properties.AssignedClientID)
			}
		}
	}},
	{"3.1.4-5, 3.2.2-4, 3.2.2-5", "3.1.4-2, 3.1.4-6, 3.2.2-1, 3.2.2-6, 3.2.2-7", func(c *talk) { // after a refusal nothing is looked at
		c.dial()
		pk := c.connect()
		pk.Connect.Password = []byte("wrong")
		c.says(c.encoded(pk), c.subscribe(1, "pl/1/tv-1/dn/#", 1), c.publish(0x32, "pl/1/tv-1/up/birth", 1, goodBirth(c.t)...))
		if kind, body := c.receive(); kind != 0x20 || body[0] != 0 || body[1] != map[byte]byte{4: 5, 5: 0x87}[c.version] {
			c.t.Errorf("received %x %x", kind, body)
		}
		c.ends(0)
		c.deskHears("")
	}},
	{"3.2.0-1, 3.1.4-4", "3.2.0-1, 3.2.0-2, 3.1.4-5", func(c *talk) { // a client need not wait for CONNACK, which comes first
		c.dial()
		c.says(c.encoded(c.connect()), c.subscribe(1, "pl/1/tv-1/dn/#", 1), c.publish(0x32, "pl/1/tv-1/up/birth", 2, goodBirth(c.t)...), []byte{0xc0, 0})
		for _, want := range []byte{0x20, 0x90, 0x40, 0xd0} {
			if kind, body := c.receive(); kind != want {
				c.t.Fatalf("received %x %x, want %x", kind, body, want)
			}
		}
	}},

	// 3.2: what CONNACK says is kept
	{"", "3.1.2-28, 4.12.0-6", func(c *talk) {
		for _, asked := range []byte{0, 1} {
			ack := c.in(func(pk *packets.Packet) { pk.Properties.RequestResponseInfo = asked })
			if p := ack.Properties; p.ResponseInfo != "" || p.AuthenticationMethod != "" || p.AssignedClientID != "" {
				c.t.Errorf("CONNACK %+v", p)
			}
		}
	}},
	{"", "3.2.2-9, 3.2.2-10", func(c *talk) {
		if p := c.in().Properties; !p.MaximumQosFlag || p.MaximumQos != 1 {
			c.t.Errorf("CONNACK %+v", p)
		}
		c.says(c.subscribe(1, "pl/1/tv-1/dn/#", 2))
		c.hears([]byte{0x90, 4, 0, 1, 0, 1})
	}},
	{"", "3.2.2-11, 3.2.2-14", func(c *talk) {
		for first, want := range map[byte]byte{0x34: 0x9b, 0x3c: 0x9b, 0x31: 0x9a, 0x33: 0x9a} {
			c.in()
			c.says(c.publish(first, "pl/1/tv-1/up/birth", 1, goodBirth(c.t)...))
			c.ends(want)
			c.deskHears("")
		}
	}},
	{"", "3.2.2-12, 3.2.2-13", func(c *talk) {
		for _, want := range []byte{0x9b, 0x9a} {
			pk := c.connect()
			pk.Connect.WillFlag, pk.Connect.WillTopic, pk.Connect.WillPayload = true, "a", []byte("x")
			if want == 0x9b {
				pk.Connect.WillQos = 2
			} else {
				pk.Connect.WillRetain = true
			}
			c.refused(pk, 0, want)
		}
	}},
	{"", "3.2.2-15", func(c *talk) { // what CONNACK announces is taken, and a byte more is not
		c.in()
		head := len(c.publish(0x30, "pl/1/tv-1/up/evt", 0, make([]byte, 200)...)) - 200 // bytes before the payload
		c.says(c.publish(0x30, "pl/1/tv-1/up/evt", 0, make([]byte, maxPacket-head)...))
		c.stays()
		c.says(c.publish(0x30, "pl/1/tv-1/up/evt", 0, make([]byte, maxPacket-head+1)...))
		c.ends(0x95)
	}},
	{"", "3.1.2-26, 3.1.2-27, 3.3.2-11", func(c *talk) {
		for _, most := range []uint16{0, 10} {
			c.in(func(pk *packets.Packet) { pk.Properties.TopicAliasMaximum = most })
			c.listens()
			for range 2 {
				c.sends(0, "x")
				if pk := c.next(); pk.TopicName == "" || pk.Properties.TopicAliasFlag {
					c.t.Errorf("received topic %q, alias %d", pk.TopicName, pk.Properties.TopicAlias)
				}
			}
		}
	}},
	{"", "3.1.2-29", func(c *talk) { // who wants no reasons gets none, nor its own user properties back
		c.in(func(pk *packets.Packet) {
			pk.Properties.RequestProblemInfo, pk.Properties.RequestProblemInfoFlag = 0, true
		})
		user := join([]byte{packets.PropUser}, str("k"), str("v"))
		c.says(packet(0x82, join([]byte{0, 1}, block(user), str("#"), []byte{1})))
		c.hears([]byte{0x90, 4, 0, 1, 0, 0x87})
		c.says(packet(0xa2, join([]byte{0, 2}, block(user), str("#"))))
		c.hears([]byte{0xb0, 4, 0, 2, 0, 0x11})
		c.says(c.publish(0x32, "x", 3))
		if kind, body := c.receive(); kind != 0x40 || !bytes.Equal(body, []byte{0, 3, 0x87}) && !bytes.Equal(body, []byte{0, 3, 0x87, 0}) {
			c.t.Errorf("received %x %x", kind, body)
		}
	}},

	// 3.3: PUBLISH
	{"3.3.1-2, 4.8.0-1", "3.3.1-2, 4.13.1-1", func(c *talk) {
		c.in()
		c.says(c.publish(0x38, "a", 0))
		c.ends(0x81)
	}},
	{"3.3.1-4", "3.3.1-4", func(c *talk) {
		c.in()
		c.says(c.publish(0x36, "a", 1))
		c.ends(0x81)
	}},
	{"3.3.2-2, 4.7.1-1, 4.7.3-1", "3.3.2-2, 4.7.0-1, 4.7.3-1", func(c *talk) {
		for _, topic := range []string{"+", "#", "a/+/b", "a/#", ""} {
			c.in()
			c.says(c.publish(0x30, topic, 0))
			c.ends(0x82)
		}
	}},
	{"3.3.5-2", "3.4.2-1", func(c *talk) { // not authorized
		c.in()
		c.says(c.publish(0x32, "pl/1/car-1/up/birth", 7, goodBirth(c.t)...))
		c.acked(7, 0x87)
		c.deskHears("")
	}},
	{"", "3.2.2-17, 3.3.2-8, 3.3.2-9", func(c *talk) {
		for _, alias := range []byte{0, 9, 255} {
			for _, topic := range []string{"pl/1/tv-1/up/birth", ""} {
				c.in()
				c.says(packet(0x30, join(str(topic), block([]byte{packets.PropTopicAlias, 0, alias}))))
				c.ends(0x94)
			}
		}
	}},
	{"", "3.3.2-12", func(c *talk) {
		if n := c.in().Properties.TopicAliasMaximum; n != 8 {
			c.t.Fatalf("%d aliases are announced", n)
		}
		for _, topic := range []string{"pl/1/tv-1/up/birth", ""} {
			for alias := range byte(8) {
				c.says(packet(0x32, join(str(topic), []byte{0, 1 + alias}, block([]byte{packets.PropTopicAlias, 0, 1 + alias}), goodBirth(c.t))))
				c.acked(1+int(alias), 0)
				c.deskHears("birth")
			}
		}
	}},
	{"", "3.3.2-7, 4.13.1-1", func(c *talk) { // an alias is of one connection, and one that was not set is an error
		alias := block([]byte{packets.PropTopicAlias, 0, 3})
		c.in()
		c.says(packet(0x32, join(str("pl/1/tv-1/up/birth"), []byte{0, 1}, alias, goodBirth(c.t))))
		c.acked(1, 0)
		c.deskHears("birth")
		c.in()
		c.says(packet(0x32, join(str(""), []byte{0, 1}, alias, goodBirth(c.t))))
		c.ends(0x82)
		c.deskHears("")
	}},
	{"", "3.3.2-13, 3.3.2-14, 3.3.2-19", func(c *talk) {
		for property, want := range map[string]byte{"\x08" + string(str("\xff")): 0x81, "\x08" + string(str("a/#")): 0x82, "\x03" + string(str("\xff")): 0x81} {
			c.in()
			c.says(packet(0x30, join(str("a"), block([]byte(property)))))
			c.ends(want)
		}
	}},
	{"", "3.3.4-6", func(c *talk) {
		c.in()
		c.says(packet(0x30, join(str("a"), block([]byte{packets.PropSubscriptionIdentifier, 1}))))
		c.ends(0x82)
	}},
	{"", "3.3.4-10, 4.9.0-3", func(c *talk) { // while a frame waits for its PUBACK everything else goes on
		c.in(func(pk *packets.Packet) { pk.Properties.ReceiveMaximum = 1 })
		c.listens()
		c.sends(1, "x")
		id := c.next().PacketID
		c.stays()
		c.sends(0, "y")
		c.next()
		c.says(c.subscribe(9, "pl/1/tv-1/dn/err", 1))
		c.hears([]byte{0x90, 4, 0, 9, 0, 1})
		c.says(c.publish(0x32, "pl/1/tv-1/up/birth", 10, goodBirth(c.t)...))
		c.acked(10, 0)
		c.acknowledge(id)
		c.stays()
	}},

	// 3.8 to 3.11: SUBSCRIBE and UNSUBSCRIBE
	{"3.8.3-1, 3.10.3-1", "3.8.3-1, 3.10.3-1", func(c *talk) {
		for _, b := range [][]byte{c.subscribe(1, "a\xff", 1), c.unsubscribe(1, "a\xff")} {
			c.in()
			c.says(b)
			c.ends(0x81)
		}
	}},
	{"3.8.3-3, 3.10.3-2", "3.8.3-2, 3.10.3-2", func(c *talk) {
		for _, first := range []byte{0x82, 0xa2} {
			c.in()
			c.says(packet(first, join([]byte{0, 1}, c.props())))
			c.ends(0x82)
		}
	}},
	{"3-8.3-4", "3.8.3-5", func(c *talk) {
		for _, options := range []byte{0x40, 0x80, 0xc1} {
			c.in()
			c.says(c.subscribe(1, "pl/1/tv-1/dn/#", options))
			c.ends(0x81)
		}
	}},
	{"3-8.3-4", "4.13.1-1", func(c *talk) { // QoS 3; in MQTT 5 also a retain handling of 3
		for _, options := range []byte{0x03, 0x31, 0x33} {
			c.in()
			c.says(c.subscribe(1, "pl/1/tv-1/dn/#", options))
			c.ends(0x82)
		}
	}},
	{"", "3.8.3-4", func(c *talk) {
		c.in()
		c.says(c.subscribe(1, "$share/g/pl/1/tv-1/dn/#", 0x05))
		c.ends(0x82)
	}},
	{"3.8.4-3", "3.8.4-3", func(c *talk) { // twice the same filter: one copy
		c.in()
		c.listens()
		c.listens()
		c.sends(1, "x")
		c.acknowledge(c.next().PacketID)
		c.stays()
	}},
	{"3.8.3-2, 3.8.4-4, 3.8.4-5, 3.9.3-1, 3.9.3-2", "3.8.4-5, 3.8.4-6, 3.8.4-7, 3.9.3-1, 3.9.3-2", func(c *talk) { // one SUBACK, in order
		c.in()
		c.says(packet(0x82, join([]byte{0, 1}, c.props(), str("#"), []byte{1}, str("pl/1/tv-1/dn/time"), []byte{0}, str("pl/1/car-1/dn/#"), []byte{1}, str("pl/1/tv-1/dn/#"), []byte{1}, str("pl/1/tv-1/dn/err"), []byte{2})))
		body := c.expect(packets.Suback)
		no := map[byte]byte{4: 0x80, 5: 0x87}[c.version]
		if want := []byte{no, 0, no, 1, 1}; !bytes.HasSuffix(body, want) || body[0] != 0 || body[1] != 1 || c.version == 4 && len(body) != 7 {
			c.t.Errorf("SUBACK %x, want %x", body, want)
		}
		c.stays()
	}},
	{"3.8.4-6", "3.8.4-8", func(c *talk) { // a frame of QoS 0 comes with QoS 0
		c.in()
		c.listens()
		c.sends(0, "x")
		if pk := c.next(); pk.FixedHeader.Qos != 0 {
			c.t.Errorf("received QoS %d", pk.FixedHeader.Qos)
		}
	}},
	{"3.10.4-1, 3.10.4-5", "3.10.4-1, 3.10.4-5", func(c *talk) { // filters are compared byte by byte, and one that was never there takes none away
		c.in()
		c.listens()
		for i, filter := range []string{"pl/1/tv-1/dn/+", "PL/1/tv-1/dn/#", "pl/1/tv-1/dn/msg", "pl/1/tv-1/dn/twin", "#"} {
			c.says(c.unsubscribe(20+i, filter))
			c.hears(packet(0xb0, join([]byte{0, byte(20 + i)}, c.props(), c.only5(0x11))))
		}
		c.stays()
		c.sends(1, "x")
		c.acknowledge(c.next().PacketID)
		c.stays()
	}},
	{"3.10.4-1", "3.10.4-1, 3.11.3-2", func(c *talk) { // nor does another's, whether it is there or not
		car := c.w.login(c.t, "car-1", c.version)
		c.in()
		c.says(c.unsubscribe(1, "pl/1/car-1/dn/#"))
		c.hears(packet(0xb0, join([]byte{0, 1}, c.props(), c.only5(0x11))))
		car.heardNothing()
	}},
	{"3.10.4-1", "3.10.4-1", func(c *talk) { // of two filters that cover each other one is taken away
		c.in()
		c.listens()
		for _, leaf := range []wire.Leaf{wire.DnMsg, wire.DnErr} {
			c.raw.subscribe(2, wire.Topic("tv-1", leaf), 1)
			c.says(c.unsubscribe(3, wire.Topic("tv-1", leaf)))
			c.hears(packet(0xb0, join([]byte{0, 3}, c.props(), c.only5(0))))
		}
		c.sends(1, "x")
		c.acknowledge(c.next().PacketID)
		c.says(c.publish(0x30, "pl/1/car-1/up/birth", 0)) // what was wrong is told on dn/err
		if pk := c.next(); pk.TopicName != "pl/1/tv-1/dn/err" {
			c.t.Errorf("received %s", pk.TopicName)
		}
		c.stays()
	}},
	{"3.10.4-2", "3.10.4-2", func(c *talk) {
		c.in()
		for _, subscribed := range []bool{true, false} {
			if subscribed {
				c.says(c.subscribe(1, "pl/1/tv-1/dn/err", 0))
				c.expect(packets.Suback)
			} else {
				c.says(c.unsubscribe(2, "pl/1/tv-1/dn/err"))
				c.expect(packets.Unsuback)
			}
			c.says(c.publish(0x30, "pl/1/car-1/up/birth", 0)) // an error that is told there, without QoS
			if subscribed {
				c.next()
			}
			c.stays()
		}
	}},
	{"3.10.4-6", "3.10.4-6, 3.11.3-1, 3.11.3-2", func(c *talk) {
		c.in()
		c.says(c.subscribe(1, "pl/1/tv-1/dn/err", 1))
		c.expect(packets.Suback)
		c.says(c.unsubscribe(3, "x", "pl/1/tv-1/dn/err", "pl/1/tv-1/dn/err"))
		c.hears(packet(0xb0, join([]byte{0, 3}, c.props(), c.only5(0x11), c.only5(0), c.only5(0x11))))
	}},
	{"4.7.1-2, 4.7.1-3, 4.7.3-1, 4.8.0-1", "4.7.1-1, 4.7.1-2, 4.7.3-1, 4.13.1-1", func(c *talk) {
		for _, filter := range []string{"a#", "a/#/b", "#/a", "a+", "+a/b", ""} {
			for _, b := range [][]byte{c.subscribe(1, filter, 1), c.unsubscribe(1, filter)} {
				c.in()
				c.says(b)
				c.ends(0x81)
			}
		}
	}},
	{"", "4.8.2-1, 4.8.2-2", func(c *talk) {
		for _, filter := range []string{"$share/", "$share//a", "$share/g", "$share/g/", "$share/a+/b"} {
			c.in()
			c.says(c.subscribe(1, filter, 1))
			c.ends(0x81)
		}
	}},

	// 3.12 to 3.15
	{"3.12.4-1", "3.12.4-1", func(c *talk) {
		c.in()
		c.says([]byte{0xc0, 0}, []byte{0xc0, 0})
		c.hears([]byte{0xd0, 0})
		c.hears([]byte{0xd0, 0})
	}},
	{"3.14.4-1, 3.14.4-2", "3.14.4-1, 3.14.4-2", func(c *talk) { // what comes after DISCONNECT is not looked at
		c.in()
		c.says([]byte{0xe0, 0}, c.publish(0x32, "pl/1/tv-1/up/birth", 1, goodBirth(c.t)...), []byte{0x36, 0})
		c.ends(0)
		c.deskHears("")
	}},
	{"", "3.14.2-1", func(c *talk) {
		c.in()
		c.says([]byte{0xe0, 1, 0x8e}) // only a server has this to say
		c.ends(0x82)
	}},
	{"", "3.14.2-2, 3.14.4-2", func(c *talk) { // with an expiry that CONNECT had not it is none
		c.in()
		c.says(packet(0xe0, join([]byte{0}, block([]byte{packets.PropSessionExpiryInterval, 0, 0, 0, 1}))))
		c.ends(0x82)
	}},
	{"4.8.0-1", "3.15.1-1, 4.12.0-7", func(c *talk) {
		for _, b := range [][]byte{{0xf0, 0}, {0xf1, 0}, packet(0xf0, join([]byte{0x19}, block(join([]byte{packets.PropAuthenticationMethod}, str("m")))))} {
			c.in()
			c.says(b)
			c.ends(0x82)
		}
	}},
	{"3.6.1-1", "3.6.1-1", func(c *talk) {
		c.in()
		c.says([]byte{0x60, 2, 0, 1})
		c.ends(0x9b)
	}},
}

// TestNorms plays them all.
func TestNorms(t *testing.T) {
	w := begin(t, func(o *Options) { o.Failures, o.Takeovers = 1<<30, 1<<30 })
	for _, n := range norms {
		for version, ids := range map[byte]string{4: n.old, 5: n.five} {
			if ids != "" {
				t.Run(fmt.Sprintf("%s MQTT-%s", map[byte]string{4: "3.1.1", 5: "5"}[version], ids), func(t *testing.T) { n.play(&talk{w: w, t: t, version: version}) })
			}
		}
	}
	if n := w.counted(t, "panics_total"); n != 0 {
		t.Errorf("%v panics", n)
	}
}

// talk is one exchange with the door as the device tv-1.
type talk struct {
	*raw
	w       *world
	t       *testing.T
	version byte
	link    delivery.Link // the Desk's end, once logged in
	over    bool
}

func (c *talk) dial() {
	if c.raw != nil {
		c.Close()
	}
	c.raw, c.link, c.over = c.w.dial(c.t), nil, false
	c.raw.version = c.version
	for len(c.w.sink.heard) > 0 {
		<-c.w.sink.heard
	}
}

func (c *talk) connect() packets.Packet { return connectPacket("tv-1", "tv-1", c.w.token["tv-1"]) }

// in logs in.
func (c *talk) in(edits ...func(*packets.Packet)) (ack packets.Packet) {
	c.t.Helper()
	c.dial()
	pk := c.connect()
	for _, edit := range edits {
		edit(&pk)
	}
	c.send(pk)
	if ack = c.connack(); ack.ReasonCode != 0 {
		c.t.Fatalf("CONNACK %+v", ack)
	}
	c.link = c.w.sink.await(c.t, "connected").link
	return ack
}

func (c *talk) connack() packets.Packet {
	c.t.Helper()
	kind, body := c.receive()
	ack := packets.Packet{ProtocolVersion: c.version, FixedHeader: packets.FixedHeader{Type: packets.Connack}}
	if kind != packets.Connack<<4 || ack.ConnackDecode(body) != nil || body[0] > 1 {
		c.t.Fatalf("received %x %x, want CONNACK", kind, body)
	}
	return ack
}

// refused connects and must not get in.
func (c *talk) refused(pk packets.Packet, old, five byte) packets.Packet {
	c.t.Helper()
	c.dial()
	c.send(pk)
	ack := c.connack()
	if want := map[byte]byte{4: old, 5: five}[c.version]; ack.ReasonCode != want || ack.SessionPresent {
		c.t.Errorf("CONNACK %#x, want %#x", ack.ReasonCode, want)
	}
	c.ends(0)
	return ack
}

// malformedConnect must be answered by the end; in MQTT 5 there may be a reason.
func (c *talk) malformedConnect(code byte) {
	c.t.Helper()
	kind, body := c.receive()
	if kind == 0 {
		return
	}
	if c.version != 5 || kind != packets.Connack<<4 || body[0] != 0 || body[1] != code {
		c.t.Errorf("received %x %x, want the end", kind, body)
	}
	c.ends(0)
}

// listens subscribes to all frames.
func (c *talk) listens() {
	c.t.Helper()
	if code := c.raw.subscribe(1, "pl/1/tv-1/dn/#", 1); code != 1 {
		c.t.Fatalf("SUBACK %#x", code)
	}
}

func (c *talk) says(parts ...[]byte) { c.Write(join(parts...)) }

// hears compares the next packet.
func (c *talk) hears(want []byte) {
	c.t.Helper()
	kind, body := c.receive()
	if got := packet(kind, body); !bytes.Equal(got, want) {
		c.t.Fatalf("received %x, want %x", got, want)
	}
}

// acked compares the next packet with a PUBACK.
func (c *talk) acked(id int, five byte) {
	c.t.Helper()
	kind, body := c.receive()
	code := byte(0)
	if len(body) > 2 {
		code = body[2]
	}
	if kind != packets.Puback<<4 || len(body) < 2 || int(body[0])<<8|int(body[1]) != id || code != five*(c.version-4) {
		c.t.Fatalf("received %x %x, want PUBACK of %d, in MQTT 5 with code %#x", kind, body, id, five)
	}
}

// ends wants the end of the connection; in MQTT 5 with a DISCONNECT, unless the code is 0.
func (c *talk) ends(five byte) {
	c.t.Helper()
	c.over = true
	kind, body := c.receive()
	if c.version == 5 && five != 0 {
		if kind != packets.Disconnect<<4 || len(body) == 0 || body[0] != five {
			c.t.Fatalf("received %x %x, want DISCONNECT %#x", kind, body, five)
		}
		kind, body = c.receive()
	}
	if kind != 0 {
		c.t.Fatalf("received %x %x, want the end", kind, body)
	}
}

// stays pings.
func (c *talk) stays() {
	c.t.Helper()
	c.says([]byte{0xc0, 0})
	c.hears([]byte{0xd0, 0})
}

// sends has the Desk send a frame: of QoS 1 on dn/msg, of QoS 0 on dn/time.
func (c *talk) sends(qos byte, payload string) {
	c.t.Helper()
	leaf := map[byte]wire.Leaf{0: wire.DnTime, 1: wire.DnMsg}[qos]
	if err := c.link.Send(delivery.Frame{Leaf: leaf, QoS: qos, Payload: []byte(payload)}); err != nil {
		c.t.Fatal(err)
	}
}

// deskHears waits until the Desk has heard of what was said: once, or, if what is empty, of nothing.
func (c *talk) deskHears(what string) {
	c.t.Helper()
	switch {
	case what != "":
		c.w.sink.await(c.t, what)
		return
	case c.over && c.link != nil:
		for c.w.sink.await(c.t, "gone").link != c.link {
		}
	case !c.over:
		c.stays()
	}
	for len(c.w.sink.heard) > 0 {
		if heard := <-c.w.sink.heard; heard.what == "birth" {
			c.t.Errorf("the Desk heard of a %s", heard.what)
		}
	}
}

// props are a block of properties where the version has one.
func (c *talk) props(all ...[]byte) []byte {
	if c.version < 5 {
		return nil
	}
	return block(all...)
}

func (c *talk) only5(b byte) []byte {
	if c.version < 5 {
		return nil
	}
	return []byte{b}
}

func (c *talk) publish(first byte, topic string, id int, payload ...byte) []byte {
	var number []byte
	if first&6 != 0 {
		number = []byte{byte(id >> 8), byte(id)}
	}
	return packet(first, join(str(topic), number, c.props(), payload))
}

func (c *talk) subscribe(id int, filter string, options byte) []byte {
	return packet(0x82, join([]byte{byte(id >> 8), byte(id)}, c.props(), str(filter), []byte{options}))
}

func (c *talk) unsubscribe(id int, filters ...string) []byte {
	b := join([]byte{byte(id >> 8), byte(id)}, c.props())
	for _, f := range filters {
		b = append(b, str(f)...)
	}
	return packet(0xa2, b)
}

// flagged is b with another first byte.
func flagged(first byte, b []byte) []byte { return join([]byte{first}, b[1:]) }

func (c *talk) encoded(pk packets.Packet) []byte {
	pk.ProtocolVersion = c.version
	var b bytes.Buffer
	if err := pk.ConnectEncode(&b); err != nil {
		c.t.Fatal(err)
	}
	return b.Bytes()
}

// TestNormPacketSizes: nothing that the door sends is larger than the client takes, and what can
// be said in less is said (MQTT 5: 3.1.2-24, 3.2.2-19, 3.4.2-2, 3.9.2-1, 3.9.2-2, 3.11.2-2, 3.14.2-3).
func TestNormPacketSizes(t *testing.T) {
	w := begin(t, func(o *Options) { o.Failures, o.Takeovers = 1<<30, 1<<30 })
	admitted := 0
	c := &talk{w: w, t: t, version: 5}
	for most := uint32(1); most <= 150; most++ {
		read := func() (kind byte, body []byte) {
			t.Helper()
			kind, body = c.receive()
			if n := len(packet(kind, body)); kind != 0 && n > int(most) {
				t.Errorf("a client that takes %d bytes received %x %x", most, kind, body)
			}
			return kind, body
		}
		// Refused: the code needs 5 bytes.
		pk := c.connect()
		pk.Properties.MaximumPacketSize = most
		bad := pk
		bad.Connect.Password = []byte("wrong")
		c.dial()
		c.send(bad)
		if kind, body := read(); most >= 5 && (kind != 0x20 || body[1] != 0x87) {
			t.Errorf("a client that takes %d bytes is refused with %x %x", most, kind, body)
		}

		c.dial()
		c.send(pk)
		kind, body := read()
		if kind == 0 { // CONNACK does not fit
			if most > 40 {
				t.Errorf("a client that takes %d bytes is not let in", most)
			}
			continue
		}
		admitted++
		if kind != 0x20 || body[1] != 0 {
			t.Fatalf("a client that takes %d bytes: %x %x", most, kind, body)
		}
		user := join([]byte{packets.PropUser}, str(strings.Repeat("k", 20)), str(strings.Repeat("v", 20)))
		for want, b := range map[byte][]byte{
			0x40: packet(0x32, join(str("x"), []byte{0, 7}, block(user))),
			0x90: packet(0x82, join([]byte{0, 7}, block(user), str("#"), []byte{1})),
			0xb0: packet(0xa2, join([]byte{0, 7}, block(user), str("#"))),
		} {
			c.says(b)
			if kind, body := read(); kind != want || body[1] != 7 {
				t.Errorf("a client that takes %d bytes received %x %x, want %x", most, kind, body, want)
			}
		}
		for want, end := range map[byte]func(){
			0x98: func() { c.link.Close(delivery.Removed) },
			0x82: func() { c.says([]byte{0xf0, 0}) },
		} {
			c.in(func(p *packets.Packet) { p.Properties.MaximumPacketSize = most })
			end()
			if kind, body := read(); kind != 0xe0 || len(body) == 0 || body[0] != want {
				t.Errorf("a client that takes %d bytes received %x %x, want DISCONNECT", most, kind, body)
			}
		}
	}
	if admitted < 100 {
		t.Errorf("only %d clients were let in", admitted)
	}
}

// TestNormWebSocketFrames: packets and frames of WebSocket need not begin or end together, and
// the subprotocol is mqtt (6.0.0-2, 6.0.0-4 of both versions).
func TestNormWebSocketFrames(t *testing.T) {
	w := begin(t, nil)
	both(t, func(t *testing.T, version byte) {
		c := &talk{w: w, t: t, version: version}
		ws, _, err := websocket.Dial(t.Context(), "ws://"+w.Addr("ws").String(), &websocket.DialOptions{Subprotocols: []string{"mqtt"}})
		if err != nil {
			t.Fatal(err)
		}
		if ws.Subprotocol() != "mqtt" {
			t.Errorf("subprotocol %q", ws.Subprotocol())
		}
		c.raw = &raw{websocket.NetConn(t.Context(), ws, websocket.MessageBinary), t, version}
		defer c.Close()
		stream := join(c.encoded(c.connect()), c.subscribe(1, "pl/1/tv-1/dn/#", 1), []byte{0xc0, 0})
		for len(stream) > 0 {
			n := min(7, len(stream))
			c.says(stream[:n])
			stream = stream[n:]
		}
		c.says([]byte{0xc0, 0, 0xc0, 0, 0xc0})
		c.says([]byte{0})
		for _, want := range []byte{0x20, 0x90, 0xd0, 0xd0, 0xd0, 0xd0} {
			if kind, body := c.receive(); kind != want {
				t.Fatalf("received %x %x, want %x", kind, body, want)
			}
		}
	})
}

// TestRefusedOnPurpose has the rows of the contract's table of what the door refuses although
// MQTT allows it, or knows a wider meaning of it, for both versions.
func TestRefusedOnPurpose(t *testing.T) {
	w := begin(t, func(o *Options) { o.Failures, o.Takeovers = 1<<30, 1<<30 })
	w.overheard(t)
	rows := map[string]func(c *talk){
		"MQTT 3.1": func(c *talk) {
			c.dial()
			c.says(packet(0x10, join(str("MQIsdp"), []byte{3, 0xc2, 0, 9}, str("tv-1"), str("tv-1"), str(c.w.token["tv-1"]))))
			c.hears([]byte{0x20, 2, 0, 1})
			c.ends(0)
		},
		"no client ID, or one that is not the user's": func(c *talk) {
			for _, id := range []string{"", "car-1", "anything", "TV-1"} {
				pk := c.connect()
				pk.Connect.ClientIdentifier = id
				c.refused(pk, 2, 0x85)
			}
		},
		"nobody by name": func(c *talk) {
			pk := c.connect()
			pk.Connect.UsernameFlag, pk.Connect.PasswordFlag = false, false
			c.refused(pk, 5, 0x87)
		},
		"a will": func(c *talk) {
			for _, topic := range []string{"pl/1/tv-1/up/bye", "pl/1/car-1/dn/msg"} {
				for code, edit := range map[byte]func(*packets.ConnectParams){
					0x83: func(*packets.ConnectParams) {}, 0x9b: func(p *packets.ConnectParams) { p.WillQos = 2 }, 0x9a: func(p *packets.ConnectParams) { p.WillRetain = true },
				} {
					pk := c.connect()
					pk.Connect.WillFlag, pk.Connect.WillTopic, pk.Connect.WillPayload = true, topic, []byte("x")
					edit(&pk.Connect)
					c.refused(pk, 5, code)
				}
			}
		},
		"enhanced authentication": func(c *talk) {
			if c.version == 5 {
				pk := c.connect()
				pk.Properties.AuthenticationMethod = "SCRAM-SHA-256"
				c.refused(pk, 0, 0x8c)
			}
			c.in()
			c.says([]byte{0xf0, 0})
			c.ends(0x82)
		},
		"a session that outlives its connection": func(c *talk) {
			for range 2 {
				ack := c.in(func(pk *packets.Packet) {
					pk.Connect.Clean = false
					pk.Properties.SessionExpiryInterval, pk.Properties.SessionExpiryIntervalFlag = 3600, true
				})
				if p := ack.Properties; ack.SessionPresent || c.version == 5 && (!p.SessionExpiryIntervalFlag || p.SessionExpiryInterval != 0) {
					c.t.Errorf("CONNACK %+v", ack)
				}
				c.says(c.unsubscribe(1, "pl/1/tv-1/dn/#"))
				c.hears(packet(0xb0, join([]byte{0, 1}, c.props(), c.only5(0x11)))) // nothing is left
				c.listens()
				c.sends(1, "x")
				c.next() // and is not sent again to the next
			}
		},
		"a keep-alive outside 5 to 120 s": func(c *talk) {
			for asked, want := range map[uint16]uint16{0: 120, 1: 5, 121: 120} {
				ack := c.in(func(pk *packets.Packet) { pk.Connect.Keepalive = asked })
				if p := ack.Properties; c.version == 5 && (!p.ServerKeepAliveFlag || p.ServerKeepAlive != want) {
					c.t.Errorf("asked for %d: CONNACK %+v", asked, p)
				}
				if got := c.link.(*link).conn.keepAlive; got != want {
					c.t.Errorf("asked for %d: held to %d, want %d", asked, got, want)
				}
				c.stays()
			}
		},
		"QoS 2": func(c *talk) {
			if p := c.in().Properties; c.version == 5 && (!p.MaximumQosFlag || p.MaximumQos != 1) {
				c.t.Errorf("CONNACK %+v", p)
			}
			if code := c.raw.subscribe(1, "pl/1/tv-1/dn/#", 2); code != 1 {
				c.t.Errorf("SUBACK %#x, want 1", code)
			}
			c.says(c.publish(0x34, "pl/1/tv-1/up/birth", 2, goodBirth(c.t)...))
			c.told(0x9b)
			c.deskHears("")
			for _, first := range []byte{0x50, 0x62, 0x70} {
				c.in()
				c.listens()
				c.says([]byte{first, 2, 0, 1})
				c.told(0x9b)
			}
		},
		"a retained message": func(c *talk) {
			if p := c.in().Properties; c.version == 5 && (!p.RetainAvailableFlag || p.RetainAvailable != 0) {
				c.t.Errorf("CONNACK %+v", p)
			}
			c.says(c.publish(0x33, "pl/1/tv-1/up/birth", 2, goodBirth(c.t)...))
			if c.version == 5 {
				c.ends(0x9a)
				c.deskHears("")
			} else {
				c.acked(2, 0)
				c.deskHears("birth")
			}
			if n := c.w.server.Topics.Retained.Len(); n != 0 {
				c.t.Errorf("%d messages are retained", n)
			}
		},
		"a publish to another topic": func(c *talk) {
			c.in()
			c.listens()
			for i, topic := range []string{"pl/1/car-1/up/birth", "pl/1/tv-1/dn/msg", "x", "$SYS/x"} {
				c.says(c.publish(0x32, topic, 9+i, goodBirth(c.t)...))
				if c.version == 4 {
					c.wrong(0x87)
				}
				c.acked(9+i, 0x87)
				c.says(c.publish(0x30, topic, 0, goodBirth(c.t)...))
				c.wrong(0x87)
			}
			c.stays()
		},
		"a subscription to another topic, with a wildcard, shared, or with QoS 0": func(c *talk) {
			if p := c.in().Properties; c.version == 5 && (!p.SharedSubAvailableFlag || p.SharedSubAvailable != 0) {
				c.t.Errorf("CONNACK %+v", p)
			}
			no := map[byte]byte{4: 0x80, 5: 0x87}[c.version]
			for _, filter := range []string{"pl/1/car-1/dn/#", "x", "#", "+/1/tv-1/dn/msg", "pl/1/tv-1/dn/+", "pl/1/tv-1/#", "$share/g/pl/1/tv-1/dn/#", "$SYS/#"} {
				if code := c.raw.subscribe(1, filter, 1); code != no {
					c.t.Errorf("SUBACK of %s: %#x, want %#x", filter, code, no)
				}
			}
			if code := c.raw.subscribe(1, "pl/1/tv-1/dn/#", 0); code != no {
				c.t.Errorf("SUBACK of QoS 0: %#x, want %#x", code, no)
			}
			c.stays()
		},
		"a subscription identifier": func(c *talk) {
			if c.version < 5 {
				c.t.Skip("3.1.1 has none")
			}
			if p := c.in().Properties; !p.SubIDAvailableFlag || p.SubIDAvailable != 0 {
				c.t.Errorf("CONNACK %+v", p)
			}
			c.says(packet(0x82, join([]byte{0, 1}, block([]byte{packets.PropSubscriptionIdentifier, 1}), str("pl/1/tv-1/dn/#"), []byte{1})))
			c.ends(0xa1)
		},
		"to take away what messages come on": func(c *talk) {
			c.in()
			c.listens()
			c.says(c.unsubscribe(1, "pl/1/tv-1/dn/#"))
			c.hears(packet(0xb0, join([]byte{0, 1}, c.props(), c.only5(0))))
			c.ends(0x82)
		},
		"a packet over 16 KiB; before the log-in over 2 KiB": func(c *talk) {
			if p := c.in().Properties; c.version == 5 && p.MaximumPacketSize != 16<<10 {
				c.t.Errorf("CONNACK %+v", p)
			}
			c.listens()
			c.says(c.publish(0x30, "pl/1/tv-1/up/evt", 0, make([]byte, 17<<10)...))
			c.told(0x95)
			c.dial()
			pk := c.connect()
			pk.Connect.Password = make([]byte, 2<<10)
			c.send(pk)
			c.ends(0)
		},
		"a topic over 128 bytes or 8 levels": func(c *talk) {
			for _, topic := range []string{strings.Repeat("a", 129), strings.Repeat("/", 8)} {
				for _, b := range [][]byte{c.publish(0x30, topic, 0), c.subscribe(1, topic, 1), c.unsubscribe(1, topic)} {
					c.in()
					c.listens()
					c.says(b)
					c.told(0x90)
				}
			}
		},
		"more than 16 filters in one packet": func(c *talk) {
			c.in()
			c.listens()
			filters := strings.Split(strings.Repeat("a ", 16)+"a", " ")
			c.says(c.unsubscribe(1, filters[1:]...))
			if body := c.expect(packets.Unsuback); c.version == 5 && len(body) != 2+1+16 {
				c.t.Errorf("UNSUBACK %x", body)
			}
			c.says(c.unsubscribe(1, filters...))
			c.told(0x97)
		},
	}
	for name, play := range rows {
		for version, number := range map[byte]string{4: "3.1.1", 5: "5"} {
			t.Run(name+"/"+number, func(t *testing.T) { play(&talk{w: w, t: t, version: version}) })
		}
	}
}

// wrong wants dn/err.
func (c *talk) wrong(code byte) {
	c.t.Helper()
	pk := c.next()
	if e, err := wire.DecodeErr(pk.Payload); err != nil || pk.TopicName != "pl/1/tv-1/dn/err" || e.Code != code {
		c.t.Fatalf("received %s, %+v, %v, want dn/err with code %#x", pk.TopicName, e, err, code)
	}
}

// told wants the end, and to be told why: by DISCONNECT, or by dn/err in 3.1.1.
func (c *talk) told(code byte) {
	c.t.Helper()
	if c.version < 5 {
		c.wrong(code)
	}
	c.ends(code)
}

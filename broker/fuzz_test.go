package broker

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	five "github.com/eclipse/paho.golang/packets"
	old "github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/mochi-mqtt/server/v2/packets"
)

// FuzzLetThrough: whatever the guard lets through the library decodes, without panic or error, and it
// sees in it what another library sees. Were they to differ, what was checked would not be what
// is acted upon.
func FuzzLetThrough(f *testing.F) {
	for _, version := range []byte{4, 5} {
		first := connectBytes(f, version)
		var all []byte
		for i, o := range odds(version, "tv-1", "tv-1", "secret") {
			if i%16 == 0 { // the fuzzer looks at each of them for long
				f.Add(o.after(first))
			}
			if o.want == fine && !o.connect() && o.b[0]>>4 != packets.Disconnect {
				all = append(all, o.b...)
			}
		}
		f.Add(join(first, all))
	}
	f.Fuzz(func(t *testing.T, stream []byte) { agree(t, stream) })
}

// TestGuardAgrees does the same with everything that is made for TestMalformed.
func TestGuardAgrees(t *testing.T) {
	for _, version := range []byte{4, 5} {
		first := connectBytes(t, version)
		for _, o := range odds(version, "tv-1", "tv-1", "secret") {
			if n := agree(t, o.after(first)); o.want == fine && n == 0 {
				t.Errorf("%s: nothing passed", o)
			}
		}
	}
}

// after is the stream in which o comes after a CONNECT, unless it is one.
func (o odd) after(first []byte) []byte {
	if o.connect() {
		return o.b
	}
	return join(first, o.b)
}

// agree runs a stream through a guard, and what comes out through decoders. It returns how many
// packets that were.
func agree(t *testing.T, stream []byte) (n int) {
	t.Helper()
	passed, _ := through(bytes.NewReader(stream))
	version := byte(0)
	var own guard
	for ; len(passed) > 0; n++ {
		head, body, ok, err := frame(passed, maxPacket)
		if !ok || err != nil {
			t.Fatalf("a torn packet passed: %x", passed)
		}
		pk := packets.Packet{ProtocolVersion: version}
		if err := pk.FixedHeader.Decode(passed[0]); err != nil {
			t.Fatalf("a fixed header that the library refuses passed: %x, %v", passed[0], err)
		}
		pk.FixedHeader.Remaining = body
		b := passed[head : head+body]
		switch pk.FixedHeader.Type {
		case packets.Connect:
			err = pk.ConnectDecode(b)
			version = pk.ProtocolVersion
			pk.ConnectValidate()
		case packets.Publish:
			if err = pk.PublishDecode(b); len(pk.TopicName) > maxTopic || strings.Count(pk.TopicName, "/") >= maxLevels {
				t.Fatalf("a topic over the limits passed: %q", pk.TopicName)
			}
			pk.PublishValidate(aliasMaximum)
		case packets.Puback:
			err = pk.PubackDecode(b)
		case packets.Subscribe:
			err = pk.SubscribeDecode(b)
			pk.SubscribeValidate()
		case packets.Unsubscribe:
			err = pk.UnsubscribeDecode(b)
			pk.UnsubscribeValidate()
		case packets.Disconnect:
			err = pk.DisconnectDecode(b)
		case packets.Pingreq:
		default:
			t.Fatalf("packet type %d passed", pk.FixedHeader.Type)
		}
		if err != nil {
			t.Fatalf("MQTT %d: %x passed, and the library says %v", version, passed[:head+body], err)
		}
		seen := spell(pk)
		var in incoming
		if size, err := own.next(passed, &in); err != nil || size != head+body || !in.same(pk) {
			t.Fatalf("MQTT %d: %x passed: the library sees %s, we see %+v, %v", version, passed[:head+body], seen, in, err)
		}
		if pk.FixedHeader.Type == packets.Connect {
			own.connected, own.open = true, true
		}
		if other, err := spellAgain(version, passed[:head+body]); err != nil || seen != other {
			t.Fatalf("MQTT %d: %x passed: the library sees %s, another sees %s, %v", version, passed[:head+body], seen, other, err)
		}
		passed = passed[head+body:]
	}
	return n
}

// same reports whether what we act upon ourselves is as the library sees it.
func (p *incoming) same(pk packets.Packet) bool {
	switch p.kind() {
	case packets.Publish:
		return string(p.topic) == pk.TopicName && string(p.payload) == string(pk.Payload) && p.id == pk.PacketID && p.alias == pk.Properties.TopicAlias &&
			p.qos() == pk.FixedHeader.Qos && p.retain() == pk.FixedHeader.Retain && p.surplus == (len(pk.Properties.SubscriptionIdentifier) > 0)
	case packets.Puback:
		return p.id == pk.PacketID && p.code == pk.ReasonCode
	}
	return p.kind() == pk.FixedHeader.Type
}

// spell puts what the library decoded into words.
func spell(pk packets.Packet) string {
	s := packets.PacketNames[pk.FixedHeader.Type]
	switch pk.FixedHeader.Type {
	case packets.Connect:
		c := pk.Connect
		s += fmt.Sprintf(" %d %q %v %d %v %q %q %v %q %v %q", pk.ProtocolVersion, c.ClientIdentifier, c.Clean, c.Keepalive, c.WillFlag, c.WillTopic, c.WillPayload, c.UsernameFlag, c.Username, c.PasswordFlag, c.Password)
	case packets.Publish:
		s += fmt.Sprintf(" %q %d %d %v %v %q %d", pk.TopicName, pk.PacketID, pk.FixedHeader.Qos, pk.FixedHeader.Dup, pk.FixedHeader.Retain, pk.Payload, pk.Properties.TopicAlias)
	case packets.Puback:
		s += fmt.Sprintf(" %d %d", pk.PacketID, pk.ReasonCode)
	case packets.Subscribe:
		s += fmt.Sprintf(" %d %d", pk.PacketID, pk.Properties.SubscriptionIdentifier)
		for _, f := range pk.Filters {
			s += fmt.Sprintf(" %q %d %v %v %d", f.Filter, f.Qos, f.NoLocal, f.RetainAsPublished, f.RetainHandling)
		}
	case packets.Unsubscribe:
		s += fmt.Sprintf(" %d", pk.PacketID)
		for _, f := range pk.Filters {
			s += fmt.Sprintf(" %q", f.Filter)
		}
	}
	for _, u := range pk.Properties.User {
		s += fmt.Sprintf(" %q=%q", u.Key, u.Val)
	}
	return s
}

// spellAgain does the same with the packets of Eclipse's clients.
func spellAgain(version byte, b []byte) (string, error) {
	kind := b[0] >> 4
	s := packets.PacketNames[kind]
	if kind == packets.Pingreq || kind == packets.Disconnect && len(b) < 4 {
		return s, nil
	}
	if version < 5 {
		pk, err := old.ReadPacket(bytes.NewReader(b))
		switch pk := pk.(type) {
		case *old.ConnectPacket:
			s += fmt.Sprintf(" %d %q %v %d %v %q %q %v %q %v %q", pk.ProtocolVersion, pk.ClientIdentifier, pk.CleanSession, pk.Keepalive, pk.WillFlag, pk.WillTopic, pk.WillMessage, pk.UsernameFlag, pk.Username, pk.PasswordFlag, pk.Password)
		case *old.PublishPacket:
			s += fmt.Sprintf(" %q %d %d %v %v %q %d", pk.TopicName, pk.MessageID, pk.Qos, pk.Dup, pk.Retain, pk.Payload, 0)
		case *old.PubackPacket:
			s += fmt.Sprintf(" %d %d", pk.MessageID, 0)
		case *old.SubscribePacket:
			s += fmt.Sprintf(" %d []", pk.MessageID)
			for i, f := range pk.Topics {
				s += fmt.Sprintf(" %q %d %v %v %d", f, pk.Qoss[i], false, false, 0)
			}
		case *old.UnsubscribePacket:
			s += fmt.Sprintf(" %d", pk.MessageID)
			for _, f := range pk.Topics {
				s += fmt.Sprintf(" %q", f)
			}
		}
		return s, err
	}
	pk, err := five.ReadPacket(bytes.NewReader(b))
	if err != nil {
		return s, err
	}
	var user []five.User
	switch pk := pk.Content.(type) {
	case *five.Connect:
		user = pk.Properties.User
		s += fmt.Sprintf(" %d %q %v %d %v %q %q %v %q %v %q", pk.ProtocolVersion, pk.ClientID, pk.CleanStart, pk.KeepAlive, pk.WillFlag, pk.WillTopic, pk.WillMessage, pk.UsernameFlag, pk.Username, pk.PasswordFlag, pk.Password)
	case *five.Publish:
		user = pk.Properties.User
		alias := uint16(0)
		if pk.Properties.TopicAlias != nil {
			alias = *pk.Properties.TopicAlias
		}
		s += fmt.Sprintf(" %q %d %d %v %v %q %d", pk.Topic, pk.PacketID, pk.QoS, pk.Duplicate, pk.Retain, pk.Payload, alias)
	case *five.Puback:
		user = pk.Properties.User
		s += fmt.Sprintf(" %d %d", pk.PacketID, pk.ReasonCode)
	case *five.Subscribe:
		user = pk.Properties.User
		ids := []int{}
		if pk.Properties.SubscriptionIdentifier != nil {
			ids = append(ids, *pk.Properties.SubscriptionIdentifier)
		}
		s += fmt.Sprintf(" %d %d", pk.PacketID, ids)
		for _, f := range pk.Subscriptions {
			s += fmt.Sprintf(" %q %d %v %v %d", f.Topic, f.QoS, f.NoLocal, f.RetainAsPublished, f.RetainHandling)
		}
	case *five.Disconnect:
		user = pk.Properties.User
	case *five.Unsubscribe:
		user = pk.Properties.User
		s += fmt.Sprintf(" %d", pk.PacketID)
		for _, f := range pk.Topics {
			s += fmt.Sprintf(" %q", f)
		}
	}
	for _, u := range user {
		s += fmt.Sprintf(" %q=%q", u.Key, u.Value)
	}
	return s, nil
}

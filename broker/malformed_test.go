package broker

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"go.uber.org/goleak"

	"porchlight/broker/delivery"
	"porchlight/device/wire"
)

// Malformed packets are made from good ones. A good packet is a list of pieces that says what
// becomes of it if it ends after one of them, or has one of them twice; each piece is then cut,
// lengthened, repeated and spoilt. What a packet must lead to is known from how it was made:
// there is no second parser here that could be wrong in the same way.

// verdict is what must become of a packet: a reason code of MQTT 5, or one of these.
type verdict byte

const (
	fine   verdict = 0    // it is a good one
	either verdict = 0xff // malformed or a protocol error: both codes are right
)

// piece is a part of a packet.
type piece struct {
	name  string
	b     []byte
	cut   verdict // if the packet ends after it
	twice verdict // if it comes twice
	props string  // whose properties it has, if it is a block of them
}

// odd is a packet, and what must become of it.
type odd struct {
	name    string
	version byte
	b       []byte
	want    verdict
}

func (o odd) String() string { return fmt.Sprintf("MQTT %d, %s, %x", o.version, o.name, o.b) }

func (o odd) connect() bool { return o.b[0]>>4 == packets.Connect }

func str(s string) []byte { return join([]byte{byte(len(s) >> 8), byte(len(s))}, []byte(s)) }

func block(properties ...[]byte) []byte {
	b := join(properties...)
	if len(b) > 127 {
		panic("a block of more than 127 bytes")
	}
	return join([]byte{byte(len(b))}, b)
}

// samples has a good value of every property that there is.
var samples = map[byte][]byte{
	packets.PropPayloadFormat: {1}, packets.PropMessageExpiryInterval: {0, 0, 0, 9}, packets.PropContentType: str("c"), packets.PropResponseTopic: str("a/b"),
	packets.PropCorrelationData: str("\x00\xff"), packets.PropSubscriptionIdentifier: {5}, packets.PropSessionExpiryInterval: {0, 0, 0, 0},
	packets.PropAssignedClientID: str("i"), packets.PropServerKeepAlive: {0, 9}, packets.PropAuthenticationMethod: str("m"), packets.PropAuthenticationData: str("\x00\xff"),
	packets.PropRequestProblemInfo: {1}, packets.PropWillDelayInterval: {0, 0, 0, 1}, packets.PropRequestResponseInfo: {1}, packets.PropResponseInfo: str("i"),
	packets.PropServerReference: str("s"), packets.PropReasonString: str("why"), packets.PropReceiveMaximum: {0, 8}, packets.PropTopicAliasMaximum: {0, 3},
	packets.PropTopicAlias: {0, 1}, packets.PropMaximumQos: {1}, packets.PropRetainAvailable: {1}, packets.PropUser: join(str("k"), str("v")),
	packets.PropMaximumPacketSize: {0, 0, 0x40, 0}, packets.PropWildcardSubAvailable: {1}, packets.PropSubIDAvailable: {1}, packets.PropSharedSubAvailable: {1},
}

// texts are the properties that are texts.
const texts = "\x03\x08\x15\x1c\x1f\x26"

// belongs says which properties a client may send, by the block that they are in.
var belongs = map[string]string{
	"CONNECT": "\x11\x15\x16\x17\x19\x21\x22\x26\x27", "will": "\x01\x02\x03\x08\x09\x18\x26", "PUBLISH": "\x01\x02\x03\x08\x09\x23\x26",
	"PUBACK": "\x1f\x26", "SUBSCRIBE": "\x26", "UNSUBSCRIBE": "\x26", "DISCONNECT": "\x11\x1c\x1f\x26",
}

// wrong has values of properties that are none, by block.
var wrong = map[string][]struct {
	b    []byte
	want verdict
}{
	"CONNECT": {
		{[]byte{packets.PropRequestProblemInfo, 2}, 0x82}, {[]byte{packets.PropRequestResponseInfo, 2}, 0x82}, {[]byte{packets.PropReceiveMaximum, 0, 0}, 0x82},
		{[]byte{packets.PropMaximumPacketSize, 0, 0, 0, 0}, 0x82}, {join([]byte{packets.PropAuthenticationData}, str("d")), 0x82},
	},
	"will": {{[]byte{packets.PropPayloadFormat, 2}, 0x82}, {join([]byte{packets.PropResponseTopic}, str("a/+")), 0x82}},
	"PUBLISH": {
		{[]byte{packets.PropPayloadFormat, 2}, 0x82}, {join([]byte{packets.PropResponseTopic}, str("a/+")), 0x82}, {join([]byte{packets.PropResponseTopic}, str("#")), 0x82},
		{[]byte{packets.PropTopicAlias, 0, 0}, 0x94}, {[]byte{packets.PropTopicAlias, 0, 9}, 0x94}, {[]byte{packets.PropTopicAlias, 0xff, 0xff}, 0x94},
		{[]byte{packets.PropSubscriptionIdentifier, 5}, 0x82},
	},
	"SUBSCRIBE": {
		{[]byte{packets.PropSubscriptionIdentifier, 0}, 0x82}, {[]byte{packets.PropSubscriptionIdentifier, 0x85, 0}, 0x81}, {[]byte{packets.PropSubscriptionIdentifier, 5}, 0xa1},
		{[]byte{packets.PropSubscriptionIdentifier, 0xff, 0xff, 0xff, 0x7f}, 0xa1}, {[]byte{packets.PropSubscriptionIdentifier, 0xff, 0xff, 0xff, 0xff, 1}, 0x81},
	},
	"DISCONNECT": {{[]byte{packets.PropSessionExpiryInterval, 0, 0, 0, 1}, 0x82}}, // CONNECT had none
}

// spoilt are byte strings that are not UTF-8 as MQTT wants it.
var spoilt = map[string]string{
	"U+0000": "a\x00b", "a surrogate": "a\xed\xa0\x80b", "an overlong form": "a\xc0\xafb", "a lone byte": "a\x80b", "a torn character": "a\xe2\x82", "beyond U+10FFFF": "a\xf4\x90\x80\x80b",
}

// good is one good packet of each type that a client sends.
type good struct {
	first  byte
	pieces []piece
}

func (g good) body() []byte {
	var b []byte
	for _, p := range g.pieces {
		b = append(b, p.b...)
	}
	return b
}

// goods are good packets with everything in them that may be. Nobody is logged in by the
// second: it has a will.
func goods(version byte, id, user, key string) []good {
	props := func(whose string, cut, twice verdict) piece {
		if version < 5 {
			return piece{}
		}
		var all [][]byte
		for _, id := range []byte(belongs[whose]) {
			if id != packets.PropAuthenticationMethod && id != packets.PropAuthenticationData {
				all = append(all, join([]byte{id}, samples[id]))
			}
		}
		return piece{whose + "'s properties", block(all...), cut, twice, whose}
	}
	// What stands before the properties stands, in 3.1.1, before what follows them.
	before := func(then verdict) verdict {
		if version < 5 {
			return then
		}
		return 0x81
	}
	text := func(name, s string, cut, twice verdict) piece {
		return piece{name + " (text)", str(s), cut, twice, ""}
	}
	plain := func(name string, cut, twice verdict, b ...byte) piece { return piece{name, b, cut, twice, ""} }
	number := plain("number", 0x81, either, 1, 7)
	filter := func(s string, cut, twice verdict) piece { return text("filter", s, cut, twice) }

	all := []good{
		{0x10, []piece{
			text("protocol", "MQTT", 0x81, 0x84), plain("level", 0x81, either, version), plain("flags", 0x81, either, 0xc2), plain("keep-alive", 0x81, either, 0, 30),
			props("CONNECT", 0x81, either), text("client ID", id, 0x81, either), text("user", user, 0x81, either), {"key (blob)", str(key), fine, either, ""},
		}},
		{0x10, []piece{
			text("protocol", "MQTT", 0x81, 0x84), plain("level", 0x81, either, version), plain("flags", 0x81, either, 0xce), plain("keep-alive", 0x81, either, 0, 30),
			props("CONNECT", 0x81, either), text("client ID", id, 0x81, either), props("will", 0x81, either), text("will topic", "a/b", 0x81, either),
			{"will payload (blob)", str("\x00\xff"), 0x81, either, ""}, text("user", user, 0x81, either), {"key (blob)", str(key), fine, either, ""},
		}},
		{0x32, []piece{
			text("topic", "a/b/c", 0x81, before(fine)), plain("number", before(fine), before(fine), 1, 7), props("PUBLISH", fine, fine),
			plain("p", fine, fine, 'p'), plain("q", fine, fine, 'q'),
		}},
		{0x82, []piece{number, props("SUBSCRIBE", 0x82, either), filter("a/b/c", 0x81, either), plain("options", fine, either, 1), filter("+/b/#", 0x81, either), plain("options", fine, either, 1)}},
		{0xa2, []piece{number, props("UNSUBSCRIBE", 0x82, either), filter("a/b/c", fine, fine), filter("+/b/#", fine, fine)}},
		{0xc0, nil},
		{0xe0, nil},
	}
	if version < 5 {
		all = append(all, good{0x40, []piece{plain("number", fine, either, 1, 7)}})
	} else {
		all = append(all,
			good{0x40, []piece{plain("number", fine, either, 1, 7), plain("code", fine, either, 0x10), props("PUBACK", fine, either)}},
			good{0xe0, []piece{plain("code", fine, either, 0x04), props("DISCONNECT", fine, either)}})
	}
	for i, g := range all {
		var pieces []piece
		for _, p := range g.pieces {
			if p.b != nil {
				pieces = append(pieces, p)
			}
		}
		all[i].pieces = pieces
	}
	return all
}

// odds makes the packets of one version.
func odds(version byte, id, user, key string) (all []odd) {
	add := func(want verdict, b []byte, name string, args ...any) {
		all = append(all, odd{fmt.Sprintf(name, args...), version, b, want})
	}
	five := version == 5
	for n, g := range goods(version, id, user, key) {
		name := packets.PacketNames[g.first>>4]
		if n == 1 {
			name += " with a will"
		}
		body := g.body()
		add(fine, packet(g.first, body), "%s", name)

		// The fixed header.
		padded := packet(g.first, body)
		padded = join(padded[:len(padded)-len(body)-1], []byte{padded[len(padded)-len(body)-1] | 0x80, 0}, body)
		add(map[bool]verdict{true: 0x81}[five], padded, "%s, length with a needless byte", name)
		add(0x81, join([]byte{g.first, 0x80, 0x80, 0x80, 0x80, 1}, body), "%s, length of five bytes", name)
		add(0x95, []byte{g.first, 0xff, 0xff, 0xff, 0x7f}, "%s, length of 256 MB", name)
		if len(body) > 0 {
			add(either, join([]byte{g.first, byte(len(body))}, packet(g.first, body)), "%s, header twice", name)
		}
		for flags := range byte(16) {
			if first := g.first&0xf0 | flags; first != g.first && g.first>>4 != packets.Publish {
				add(0x81, packet(first, body), "%s, flags %x", name, flags)
			}
		}

		// Cut, longer, and pieces twice.
		offset := 0
		if len(body) > 0 && g.first>>4 != packets.Disconnect {
			add(0x81, packet(g.first, nil), "%s, empty", name)
		}
		for i, p := range g.pieces {
			for k := 1; k < len(p.b); k++ {
				add(0x81, packet(g.first, body[:offset+k]), "%s, cut in %s after %d", name, p.name, k)
			}
			offset += len(p.b)
			if i < len(g.pieces)-1 {
				add(p.cut, packet(g.first, body[:offset]), "%s, cut after %s", name, p.name)
			}
			add(p.twice, packet(g.first, join(body[:offset], p.b, body[offset:])), "%s, %s twice", name, p.name)
		}
		if g.first>>4 != packets.Publish && (len(body) > 0 || !five || g.first>>4 == packets.Pingreq) {
			add(either, packet(g.first, join(body, []byte{0})), "%s, one byte more", name)
		}

		// What is in the pieces.
		for i, p := range g.pieces {
			with := func(b []byte) []byte {
				changed := good{g.first, append([]piece(nil), g.pieces...)}
				changed.pieces[i].b = b
				return packet(g.first, changed.body())
			}
			if strings.HasSuffix(p.name, "(text)") {
				for what, s := range spoilt {
					add(0x81, with(str(s)), "%s, %s with %s", name, p.name, what)
				}
			}
			if strings.HasSuffix(p.name, "(text)") || strings.HasSuffix(p.name, "(blob)") {
				add(0x81, with(join([]byte{0xff, 0xff}, p.b[2:])), "%s, %s too long for the packet", name, p.name)
			}
			if p.props == "" {
				continue
			}
			add(fine, with([]byte{0}), "%s, %s none", name, p.name)
			for what, b := range map[string][]byte{"a needless byte": {0x80, 0}, "five bytes": {0x80, 0x80, 0x80, 0x80, 0}, "256 MB": {0xff, 0xff, 0xff, 0x7f}, "one too many": {p.b[0] + 1}} {
				if what != "one too many" || len(body) == offset { // else it is one of what follows, and anything may come of it
					add(0x81, with(join(b, p.b[1:])), "%s, %s with a length of %s", name, p.name, what)
				}
			}
			for _, unknown := range [][]byte{{0}, {4}, {0x2b}, {0x7f}, {0x80, 1}, {0xa6, 0}, {0xff, 0xff, 0xff, 0x7f}} {
				add(0x81, with(block(join(unknown, samples[packets.PropUser]))), "%s, %s: there is no %x", name, p.name, unknown)
			}
			for _, w := range wrong[p.props] {
				add(w.want, with(block(w.b)), "%s, %s: %x", name, p.name, w.b)
			}
			for id, value := range samples {
				one := join([]byte{id}, value)
				if strings.IndexByte(belongs[p.props], id) < 0 {
					if id != packets.PropSubscriptionIdentifier {
						add(0x81, with(block(one)), "%s, %s: %x does not belong there", name, p.name, one)
					}
					continue
				}
				want := fine
				switch id {
				case packets.PropAuthenticationMethod:
					if n == 0 { // of a will it is told first
						want = 0x8c // not supported
					}
				case packets.PropAuthenticationData:
					want = 0x82 // of no method
				}
				add(want, with(block(one)), "%s, %s: %x", name, p.name, one)
				if id == packets.PropUser {
					add(fine, with(block(one, one)), "%s, %s: %x twice", name, p.name, one)
				} else {
					add(0x82, with(block(one, one)), "%s, %s: %x twice", name, p.name, one)
				}
				for k := 1; k < len(one); k++ {
					add(0x81, with(block(one[:k])), "%s, %s: %x cut after %d", name, p.name, one, k)
				}
				if strings.IndexByte(texts, id) >= 0 {
					for what, s := range spoilt {
						add(0x81, with(block(join([]byte{id}, str(s), value))), "%s, %s: %x with %s", name, p.name, id, what)
					}
				}
			}
		}
	}

	// What is out of range, or of order.
	none := make([]byte, version-4) // no properties
	shared := fine                  // in 3.1.1 $share is a word like any other
	if five {
		shared = 0x81
	}
	head := func(name string, level, flags byte) []byte { return join(str(name), []byte{level, flags, 0, 30}) }
	rest := join(none, str(id), str(user), str(key))
	for _, level := range []byte{0, 1, 2, 3, 6, 0x84, 0x85, 0xff} {
		add(0x84, packet(0x10, join(head("MQTT", level, 0xc2), rest)), "CONNECT, level %d", level)
	}
	for _, name := range []string{"", "MQIsdp", "mqtt", "MQTTT"} {
		add(0x84, packet(0x10, join(head(name, version, 0xc2), rest)), "CONNECT, protocol %q", name)
	}
	for _, flags := range []byte{0xc3, 0xca, 0xd2, 0xda, 0xe2} {
		add(0x81, packet(0x10, join(head("MQTT", version, flags), rest)), "CONNECT, flags %#x", flags)
	}
	add(0x81, packet(0x10, join(head("MQTT", version, 0xde), none, str(id), none, str("a"), str("p"), str(user), str(key))), "CONNECT, will with QoS 3")
	for first := range 256 {
		switch kind := byte(first) >> 4; {
		case kind == packets.Connect:
		case kind == packets.Pubrec || kind == packets.Pubrel || kind == packets.Pubcomp:
			add(0x9b, []byte{byte(first), 2, 0, 1}, "%s, flags %x", packets.PacketNames[kind], first&15)
		case kind == packets.Reserved || kind == packets.Connack || kind == packets.Suback || kind == packets.Unsuback || kind == packets.Pingresp || kind == packets.Auth:
			add(0x82, []byte{byte(first), 0}, "packet type %d, flags %x", kind, first&15)
		}
	}
	publish := func(first byte, topic string, rest ...byte) []byte { return packet(first, join(str(topic), rest)) }
	for first, want := range map[byte]verdict{
		0x34: 0x9b, 0x35: 0x9b, 0x3c: 0x9b, 0x3d: 0x9b, 0x36: 0x81, 0x37: 0x81, 0x3e: 0x81, 0x3f: 0x81, 0x3a: fine, 0x33: 0x9a, 0x3b: 0x9a,
	} {
		if want == 0x9a && !five {
			want = fine // it cannot be told
		}
		add(want, publish(first, "a", join([]byte{0, 9}, none)...), "PUBLISH %x", first)
	}
	for first, want := range map[byte]verdict{0x30: fine, 0x31: 0x9a, 0x38: 0x81, 0x39: 0x81} {
		if want == 0x9a && !five {
			want = fine
		}
		add(want, publish(first, "a", none...), "PUBLISH %x", first)
	}
	add(0x81, publish(0x32, "a", join([]byte{0, 0}, none)...), "PUBLISH numbered 0")
	add(0x82, publish(0x30, "", none...), "PUBLISH without topic")
	for _, topic := range []string{"+", "#", "a/+", "a/#", "a+", "a/b#c"} {
		add(0x82, publish(0x30, topic, none...), "PUBLISH to %s", topic)
	}
	add(0x81, []byte{0x40, 2, 0, 0}, "PUBACK of 0")
	if five {
		add(0x82, publish(0x30, "", 3, packets.PropTopicAlias, 0, 2), "PUBLISH by an alias that was never set")
		add(0x94, publish(0x30, "", 3, packets.PropTopicAlias, 0, 0), "PUBLISH by the alias 0")
		add(fine, join(publish(0x30, "a", 3, packets.PropTopicAlias, 0, 8), publish(0x30, "", 3, packets.PropTopicAlias, 0, 8)), "PUBLISH by an alias that was set")
		for code := range 256 {
			want := verdict(0x82)
			if strings.IndexByte("\x00\x10\x80\x83\x87\x90\x91\x97\x99", byte(code)) >= 0 {
				want = fine
			}
			add(want, []byte{0x40, 3, 0, 1, byte(code)}, "PUBACK with the code %#x", code)
			want = 0x82
			if strings.IndexByte("\x00\x04\x80\x81\x82\x83\x90\x93\x94\x95\x96\x97\x98\x99", byte(code)) >= 0 {
				want = fine
			}
			add(want, []byte{0xe0, 1, byte(code)}, "DISCONNECT with the code %#x", code)
		}
	}
	for filter, want := range map[string]verdict{
		"": 0x81, "a#": 0x81, "#/a": 0x81, "a/#/b": 0x81, "##": 0x81, "a+": 0x81, "+a": 0x81, "a/+b/c": 0x81, "a/b+/c": 0x81, "+#": 0x81,
		"/": fine, "//": fine, "+": fine, "#": fine, "+/+": fine, "/#": fine, "$SYS/#": fine, "\ufeffa": fine, "a b": fine, "$share": fine, "$share/g/a": fine,
		"$share/": shared, "$share//a": shared, "$share/g": shared, "$share/g/": shared, "$share/+/a": shared,
		strings.Repeat("/", maxLevels): 0x90, strings.Repeat("a", maxTopic+1): 0x90,
	} {
		add(want, packet(0x82, join([]byte{0, 1}, none, str(filter), []byte{1})), "SUBSCRIBE %q", filter)
		add(want, packet(0xa2, join([]byte{0, 1}, none, str(filter))), "UNSUBSCRIBE %q", filter)
	}
	for options := range 256 {
		want := fine
		switch {
		case options&0xc0 != 0 || !five && options > 2:
			want = 0x81
		case options&3 == 3 || options&0x30 == 0x30:
			want = 0x82
		}
		add(want, packet(0x82, join([]byte{0, 1}, none, str("a"), []byte{byte(options)})), "SUBSCRIBE with the options %#x", options)
	}
	if five {
		add(0x82, packet(0x82, join([]byte{0, 1}, none, str("$share/g/a"), []byte{5})), "SUBSCRIBE, shared and not local")
	}
	many := bytes.Repeat(str("a"), maxFilters+1)
	add(0x97, packet(0xa2, join([]byte{0, 1}, none, many)), "UNSUBSCRIBE of too many")
	add(0x81, packet(0x82, join([]byte{0, 0}, none, str("a"), []byte{1})), "SUBSCRIBE numbered 0")
	add(0x81, packet(0xa2, join([]byte{0, 0}, none, str("a"))), "UNSUBSCRIBE numbered 0")
	slices.SortFunc(all, func(a, b odd) int { return cmp.Or(strings.Compare(a.name, b.name), bytes.Compare(a.b, b.b)) })
	return all
}

// right reports whether code is what the verdict asks for.
func (v verdict) right(code byte) bool {
	return code == byte(v) || v == either && (code == 0x81 || code == 0x82)
}

// player sends odd packets under a client ID of its own.
type player struct {
	w  *world
	t  *testing.T
	id string
	on map[byte]*raw // by version: logged in, and in order
}

func (p *player) dial(version byte) *raw {
	r := p.w.dial(p.t)
	r.version = version
	return r
}

// first plays a packet as the first of a connection.
func (p *player) first(o odd) {
	p.t.Helper()
	r := p.dial(o.version)
	defer r.Close()
	r.Write(o.b)
	kind, body := r.receive()
	told := kind == packets.Connack<<4 && len(body) >= 2 && body[0] == 0
	want := byte(o.want) // in CONNACK
	switch {
	case o.want == 0x84:
		want = 1 // as clients of older versions understand it
		told = told && len(body) == 2
	case o.want == fine && strings.Contains(o.name, "with a will"):
		want = map[byte]byte{4: 5, 5: 0x83}[o.version]
	case o.want == fine, o.want == 0x8c:
	default: // malformed: the end, without a word in 3.1.1; in 5 there may be one
		if kind != 0 && !(told && o.version == 5 && o.connect() && o.want.right(body[1])) {
			p.t.Errorf("%s: %x %x, want the end", o, kind, body)
		}
		if kind != 0 {
			r.ended()
		}
		return
	}
	if !told || body[1] != want {
		p.t.Errorf("%s: %x %x, want CONNACK %#x", o, kind, body, want)
		return
	}
	if want != 0 {
		if kind, body = r.receive(); kind != 0 {
			p.t.Errorf("%s: %x %x, want the end", o, kind, body)
		}
	}
}

// mark is an UNSUBSCRIBE, to see in its answer that all before it has been looked at.
func mark(version byte) (question, answer []byte) {
	return packet(0xa2, join([]byte{0xff, 0xfe}, make([]byte, version-4), str("mark"))), []byte{0xff, 0xfe}
}

// later plays a packet on a connection that is logged in. A good one leaves it open.
func (p *player) later(o odd) {
	p.t.Helper()
	r := p.on[o.version]
	if r == nil {
		r = p.dial(o.version)
		r.send(connectPacket(p.id, "acme", p.w.key))
		if body := r.expect(packets.Connack); body[1] != 0 {
			p.t.Fatalf("CONNACK %x", body)
		}
		p.on[o.version] = r
	}
	r.SetDeadline(time.Now().Add(patient))
	question, answer := mark(o.version)
	if o.want == fine && o.b[0]>>4 != packets.Disconnect {
		r.Write(join(o.b, question))
		for {
			switch kind, body := r.receive(); kind >> 4 {
			case packets.Unsuback:
				if bytes.HasPrefix(body, answer) {
					return
				}
			case packets.Puback, packets.Suback, packets.Pingresp:
			default:
				p.t.Errorf("%s: %x %x, want it taken", o, kind, body)
				r.Close()
				delete(p.on, o.version)
				return
			}
		}
	}
	r.Write(o.b)
	var heard []byte
	var code byte
	for {
		kind, body := r.receive()
		if kind == 0 {
			break
		}
		heard = append(heard, kind)
		if len(body) > 0 {
			code = body[0]
		}
	}
	switch {
	case o.want == fine || o.version == 4:
		if len(heard) != 0 {
			p.t.Errorf("%s: %x, want the end without a word", o, heard)
		}
	case !bytes.Equal(heard, []byte{packets.Disconnect << 4}) || !o.want.right(code):
		p.t.Errorf("%s: %x, code %#x, want DISCONNECT %#x and the end", o, heard, code, byte(o.want))
	}
	r.Close()
	delete(p.on, o.version)
}

// honest is a device at the same door. It may hear of nothing that others do.
type honest struct {
	mu   sync.Mutex
	r    *raw
	link delivery.Link
	n    byte
}

// served gets a frame, acknowledges it, and pings.
func (h *honest) served(t *testing.T) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.r.t = t
	h.r.SetDeadline(time.Now().Add(patient))
	h.n++
	if err := h.link.Send(delivery.Frame{Leaf: wire.DnMsg, QoS: 1, Payload: []byte{h.n}}); err != nil {
		t.Fatal("the neighbour:", err)
	}
	got := h.r.next()
	if !bytes.Equal(got.Payload, []byte{h.n}) {
		t.Fatalf("the neighbour received %x, want %x", got.Payload, h.n)
	}
	h.r.acknowledge(got.PacketID)
	h.r.heardNothing() // and the acknowledgement has been seen
}

// TestMalformed plays all of them against one door: each ends the connection that it came on,
// with the right reason where MQTT has one, and nothing else, and leaves nothing behind.
func TestMalformed(t *testing.T) {
	before, running := descriptors(t), goleak.IgnoreCurrent()
	w := begin(t, func(o *Options) { o.Failures, o.Takeovers, o.PerBrand = 1<<30, 1<<30, 1<<30 })
	neighbour := &honest{r: w.login(t, "car-1", 5), link: w.sink.await(t, "subscribed").link}
	const players = 4
	t.Run("all", func(t *testing.T) {
		for i := range players {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				p := &player{w, t, fmt.Sprintf("b-acme-%d", i), map[byte]*raw{}}
				n := 0
				for _, version := range []byte{4, 5} {
					for k, o := range odds(version, p.id+"x", "acme", w.key) {
						if k%players != i {
							continue
						}
						if !o.connect() {
							p.later(o)
						}
						if o.connect() || k%5 == 0 { // and before a log-in, nothing else is right
							if !o.connect() {
								o.name, o.want = "first: "+o.name, 0x82
							}
							p.first(o)
						}
						neighbour.served(t)
						n++
					}
				}
				t.Logf("%d packets", n)
			})
		}
	})
	// A CONNECT, whatever is in it, is one too many on a connection that is logged in.
	p := &player{w, t, "b-acme-9", map[byte]*raw{}}
	for _, version := range []byte{4, 5} {
		for _, g := range goods(version, "b-acme-9", "acme", w.key)[:2] {
			p.later(odd{"second CONNECT", version, packet(g.first, g.body()), 0x82})
		}
	}
	if n := w.counted(t, "panics_total"); n != 0 {
		t.Errorf("%v panics", n)
	}
	neighbour.served(t)
	neighbour.r.Close()
	w.empty(t)
	w.stop()

	for end := time.Now().Add(patient); ; time.Sleep(time.Millisecond) {
		leak, after := goleak.Find(running), descriptors(t)
		if leak == nil && after <= before {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d descriptors are open, %d were before; goroutines: %v", after, before, leak)
		}
	}
}

// descriptors is how many files and sockets this process has open.
func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if errors.Is(err, os.ErrNotExist) {
		return 0 // not here
	}
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// TestMalformedLengths: whatever a stranger announces, and however it arrives, the guard sets
// aside no more than has come, and never more than its limit allows.
func TestMalformedLengths(t *testing.T) {
	lengths := [][]byte{{0xff, 0xff, 0xff, 0x7f}, {0x80, 0x80, 0x80, 1}, {0x80, 0x80, 1}, {0xff, 0x7f}, {0x80, 0x11}, {0xfd, 0x0f}, {0x80, 0x10}, {0x7f}, {0xff, 0xff, 0xff, 0xff, 0x7f}}
	pieces := map[string]func(io.Reader) io.Reader{
		"at once":  func(r io.Reader) io.Reader { return r },
		"by bytes": iotest.OneByteReader,
		"by seven": func(r io.Reader) io.Reader { return &sevens{r} },
	}
	p, zeros := make([]byte, 1024), make([]byte, 2*strangerPacket)
	for name, in := range pieces {
		for _, length := range lengths {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for first := range 256 {
				stream := join([]byte{byte(first)}, length, zeros)
				g := guard{from: in(bytes.NewReader(stream))}
				for g.err == nil {
					g.Read(p)
					if held := cap(g.part) + cap(g.ready); held > 2*strangerPacket {
						t.Fatalf("%x%x, %s: the guard holds %d bytes", first, length, name, held)
					}
				}
				if !errors.Is(g.err, errHostile) || g.connected {
					t.Errorf("%x%x, %s: %v", first, length, name, g.err)
				}
			}
			runtime.ReadMemStats(&after)
			if got := (after.TotalAlloc - before.TotalAlloc) / 256; got > uint64(len(zeros))+4*strangerPacket {
				t.Errorf("%x, %s: %d bytes were set aside for each, one after the other", length, name, got)
			}
		}
	}
	for _, length := range lengths[:4] { // refused by what it says, before anything has come
		stream, from := join([]byte{0x10}, length), bytes.NewReader(nil)
		if n := testing.AllocsPerRun(100, func() {
			from.Reset(stream)
			g := guard{from: from}
			if n, err := g.Read(p); n != 0 || !errors.Is(err, errHostile) {
				t.Errorf("%x: %d, %v", stream, n, err)
			}
		}); n > 2 { // the guard, and why
			t.Errorf("%x costs %v allocations", stream, n)
		}
	}
}

// sevens reads at most seven bytes at a time.
type sevens struct{ io.Reader }

func (r *sevens) Read(p []byte) (int, error) { return r.Reader.Read(p[:min(7, len(p))]) }

package broker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/mochi-mqtt/server/v2/packets"

	"porchlight/device/wire"
)

// The limits of what a peer may send. The library meets nothing beyond them.
const (
	strangerPacket = 2 << 10        // bytes after the fixed header, before it has logged in
	maxPacket      = wire.MaxPacket // bytes of a whole packet, afterwards
	maxTopic       = 128            // bytes of a topic or filter
	maxLevels      = 8              // levels of a topic or filter
	maxFilters     = 16             // filters in one packet
)

// errHostile is wrapped by every error about bytes that the library must not see.
var errHostile = errors.New("refused")

// violation is what a peer did that ends its connection, as MQTT 5 spells it.
type violation struct {
	code packets.Code
	why  string // constant text: nothing of what the peer sent
}

func (v *violation) Error() string { return fmt.Sprintf("%s: %s", v.code.Reason, v.why) }
func (v *violation) Unwrap() error { return errHostile }

func malformed(why string) error { return &violation{packets.ErrMalformedPacket, why} }
func protocol(why string) error  { return &violation{packets.ErrProtocolViolation, why} }

// guard reads MQTT packets from a peer and lets whole, well-formed ones through to the
// library: size, type, flags, and the structure of those that it decodes carelessly. It holds
// nothing while no packet is under way, and never more than has arrived.
type guard struct {
	from  io.Reader
	ready []byte // checked, not yet handed on
	part  []byte // not yet checked
	more  bool   // part is a beginning: read on before checking it again
	err   error  // ends the connection once ready is handed on

	connected bool // a CONNECT has gone through
	open      bool // the peer has logged in; set by the session on the reading goroutine
	v5        bool
	aliases   uint16 // topic aliases that have been set, as bits
}

// Read hands on checked packets. It stops after CONNECT, so that what follows is checked after
// the log-in that came of it.
func (g *guard) Read(p []byte) (int, error) {
	for {
		if len(g.ready) > 0 {
			n := copy(p, g.ready)
			if g.ready = g.ready[n:]; len(g.ready) == 0 {
				g.ready = nil
			}
			return n, nil
		}
		if len(g.part) > 0 && !g.more {
			whole, err := g.scan(g.part)
			if g.ready, g.part = g.part[:whole:whole], g.part[whole:]; err != nil {
				g.err, g.part = err, nil
			}
			if g.more = whole == 0; len(g.part) == 0 {
				g.part = nil
			}
			continue
		}
		if g.err != nil {
			return 0, g.err
		}
		n, err := g.from.Read(p)
		g.err = err // after what came with it
		if n == 0 {
			continue
		}
		if len(g.part) > 0 {
			g.part, g.more = append(g.part, p[:n]...), false
			continue
		}
		whole, err := g.scan(p[:n]) // nearly always all of it: no copy
		switch {
		case err != nil:
			g.err = err
		case whole < n:
			g.part, g.more = append([]byte(nil), p[whole:n]...), whole == 0
		}
		if whole > 0 {
			return whole, nil
		}
	}
}

// scan returns how many bytes of b are whole packets that may pass.
func (g *guard) scan(b []byte) (whole int, err error) {
	var pk incoming
	for whole < len(b) {
		n, err := g.next(b[whole:], &pk)
		if n == 0 || err != nil {
			return whole, err
		}
		whole += n
		if pk.kind() == packets.Connect {
			g.connected = true
			return whole, nil
		}
	}
	return whole, nil
}

// incoming is a packet that may pass. Its parts are of the bytes that it came in.
type incoming struct {
	first byte   // of the fixed header
	body  []byte // after the fixed header

	topic   []byte // of a PUBLISH; empty: its alias's
	payload []byte // of a PUBLISH
	id      uint16 // of a PUBLISH with QoS 1 or 2, and of a PUBACK
	alias   uint16 // of a PUBLISH; 0: none
	surplus bool   // a PUBLISH has a subscription identifier, which is for a server to send
	code    byte   // of a PUBACK
}

func (p *incoming) kind() byte   { return p.first >> 4 }
func (p *incoming) qos() byte    { return p.first >> 1 & 3 }
func (p *incoming) retain() bool { return p.first&1 != 0 }

// next takes the packet apart that b begins with, and returns its length, 0 while it has not all
// arrived. With an error, or 0, what pk is means nothing.
func (g *guard) next(b []byte, pk *incoming) (n int, err error) {
	if err := g.allowed(b[0]); err != nil {
		return 0, err
	}
	head, body, ok, err := frame(b, g.limit())
	if err != nil || !ok {
		return 0, err
	}
	*pk = incoming{first: b[0], body: b[head : head+body : head+body]}
	if err := g.check(pk); err != nil {
		return 0, err
	}
	if g.v5 && head > 2 && b[head-1] == 0 {
		return 0, malformed("length with a needless byte")
	}
	return head + body, nil
}

func (g *guard) limit() int {
	if g.open {
		return maxPacket
	}
	return strangerPacket
}

// frame measures the packet that b begins with; ok is false while it has not all arrived.
func frame(b []byte, limit int) (head, body int, ok bool, err error) {
	for i := 1; i < len(b); i++ {
		if i > 4 {
			return 0, 0, false, malformed("length of more than four bytes")
		}
		body |= int(b[i]&0x7f) << (7 * (i - 1))
		if body+i+1 > limit {
			return 0, 0, false, &violation{packets.ErrPacketTooLarge, "packet over the limit"}
		}
		if b[i] < 0x80 {
			head = i + 1
			return head, body, len(b) >= head+body, nil
		}
	}
	return 0, 0, false, nil
}

// allowed judges a packet by its first byte: the type, in this state, and its flags.
func (g *guard) allowed(first byte) error {
	kind, flags := first>>4, first&0x0f
	if !g.connected {
		if kind != packets.Connect || flags != 0 {
			return protocol("the first packet must be CONNECT")
		}
		return nil
	}
	if !g.open {
		return protocol("not logged in")
	}
	want := byte(0)
	switch kind {
	case packets.Publish:
		if flags&0x06 == 0x06 {
			return malformed("QoS 3")
		}
		if flags&0x06 == 0 && flags&0x08 != 0 {
			return malformed("DUP with QoS 0")
		}
		return nil
	case packets.Subscribe, packets.Unsubscribe:
		want = 2
	case packets.Puback, packets.Pingreq, packets.Disconnect:
	case packets.Connect:
		return protocol("second CONNECT")
	case packets.Pubrec, packets.Pubrel, packets.Pubcomp:
		return &violation{packets.ErrQosNotSupported, "QoS 2 is not supported"}
	default:
		return protocol("packet type that a client does not send")
	}
	if flags != want {
		return malformed("flags of the fixed header")
	}
	return nil
}

// check judges the body of a packet that is all there, and takes it apart as far as that is not
// left to the library. The place for whatever else a hostile packet may try is here.
func (g *guard) check(pk *incoming) error {
	r := reader{b: pk.body}
	switch pk.kind() {
	case packets.Connect:
		return g.checkConnect(&r)
	case packets.Publish:
		return g.checkPublish(&r, pk)
	case packets.Puback:
		if pk.id = uint16(r.number()); pk.id == 0 {
			r.bad = true
		}
		pk.code = g.reason(&r, pubackCodes, ofPuback)
		return r.end("PUBACK")
	case packets.Subscribe, packets.Unsubscribe:
		return g.checkFilters(&r, pk.kind() == packets.Subscribe)
	case packets.Pingreq:
		return r.end("PINGREQ")
	case packets.Disconnect:
		g.reason(&r, disconnectCodes, ofDisconnect)
		return r.end("DISCONNECT")
	}
	return protocol("packet type that a client does not send")
}

func (g *guard) checkConnect(r *reader) error {
	name, level, flags := r.text(), r.byte(), r.byte()
	if !r.bad && (string(name) != "MQTT" || level != 4 && level != 5) {
		return &violation{packets.ErrUnsupportedProtocolVersion, "use MQTT 3.1.1 or 5"}
	}
	g.v5 = level == 5
	r.number() // keep-alive
	const data, method = 1 << packets.PropAuthenticationData, 1 << packets.PropAuthenticationMethod
	if seen, _ := g.properties(r, ofConnect); seen&data != 0 && seen&method == 0 {
		r.fail(protocol("authentication data without a method"))
	}
	r.text() // client ID
	if flags&0x04 != 0 {
		g.properties(r, ofWill)
		r.text()
		r.blob()
	} else if flags&0x38 != 0 {
		r.bad = true
	}
	if flags&0x80 != 0 {
		r.text()
	}
	if flags&0x40 != 0 {
		r.blob()
	}
	if flags&0x01 != 0 || flags&0x18 == 0x18 || !g.v5 && flags&0xc0 == 0x40 {
		r.bad = true
	}
	return r.end("CONNECT")
}

func (g *guard) checkPublish(r *reader, pk *incoming) error {
	topic := r.text()
	if pk.qos() > 0 {
		if pk.id = uint16(r.number()); pk.id == 0 {
			r.bad = true
		}
	}
	seen, alias := g.properties(r, ofPublish)
	if r.bad {
		return r.end("PUBLISH")
	}
	if bytes.ContainsAny(topic, "+#") {
		return protocol("topic with a wildcard")
	}
	aliased := seen&(1<<packets.PropTopicAlias) != 0
	switch {
	case aliased && (alias == 0 || alias > aliasMaximum):
		return &violation{packets.ErrTopicAliasInvalid, "topic alias out of range"}
	case len(topic) == 0 && g.aliases>>alias&1 == 0:
		return protocol("no topic, nor an alias that was set")
	case aliased:
		g.aliases |= 1 << alias
	}
	pk.topic, pk.payload, pk.alias = topic, r.b, uint16(alias)
	pk.surplus = seen&(1<<packets.PropSubscriptionIdentifier) != 0
	return checkTopic(topic)
}

func (g *guard) checkFilters(r *reader, subscribe bool) error {
	in := ofUnsubscribe
	if subscribe {
		in = ofSubscribe
	}
	if r.number() == 0 {
		r.bad = true
	}
	g.properties(r, in)
	for n := 0; len(r.b) > 0 && !r.bad; n++ {
		filter := r.text()
		shared := g.v5 && bytes.HasPrefix(filter, []byte("$share/"))
		if subscribe {
			switch options := r.byte(); {
			case !g.v5 && options > 2, options&0xc0 != 0:
				r.fail(malformed("options of a filter"))
			case options&0x03 == 3, options&0x30 == 0x30, shared && options&0x04 != 0:
				r.fail(protocol("options of a filter"))
			}
		}
		if r.bad {
			break
		}
		if !wellFormed(filter) || shared && !wellShared(filter) {
			return malformed("filter")
		}
		if err := checkTopic(filter); err != nil {
			return err
		}
		if n == maxFilters {
			return &violation{packets.ErrQuotaExceeded, "too many filters in one packet"}
		}
	}
	return r.end("SUBSCRIBE or UNSUBSCRIBE")
}

// wellFormed reports whether a filter is one: not empty, each wildcard a level of its own, and #
// the last.
func wellFormed(filter []byte) bool {
	for i, c := range filter {
		if c != '+' && c != '#' {
			continue
		}
		last := i == len(filter)-1
		if i > 0 && filter[i-1] != '/' || !last && (c == '#' || filter[i+1] != '/') {
			return false
		}
	}
	return len(filter) > 0
}

// wellShared reports whether $share/ is followed by a name and a filter.
func wellShared(filter []byte) bool {
	name, rest, _ := bytes.Cut(filter[len("$share/"):], []byte("/"))
	return len(name) > 0 && len(rest) > 0 && !bytes.ContainsAny(name, "+#")
}

// The reason codes that a client may send.
const (
	pubackCodes     = "\x00\x10\x80\x83\x87\x90\x91\x97\x99"
	disconnectCodes = "\x00\x04\x80\x81\x82\x83\x90\x93\x94\x95\x96\x97\x98\x99"
)

// reason reads what MQTT 5 may add to a PUBACK or a DISCONNECT: a code, and properties.
func (g *guard) reason(r *reader, codes string, in owner) (code byte) {
	if !g.v5 || len(r.b) == 0 {
		return 0
	}
	if code = r.byte(); strings.IndexByte(codes, code) < 0 {
		r.fail(protocol("reason code that a client does not send"))
	}
	if len(r.b) > 0 {
		g.properties(r, in)
	}
	return code
}

// owner is what a block of properties belongs to, as a bit.
type owner byte

const (
	ofConnect owner = 1 << iota
	ofWill
	ofPublish
	ofPuback
	ofSubscribe
	ofUnsubscribe
	ofDisconnect
	ofAll = 0xff
)

// spelling is how the value of a property is written.
type spelling byte

const (
	asFlag   spelling = iota // one byte, 0 or 1
	asTwo                    // bytes
	asFour                   // bytes
	asLength                 // one to four bytes
	asText
	asBlob
	asPair // of texts; the one kind that may come more than once
)

// clientProperties are the properties that a client may send. positive ones are not 0.
var clientProperties = [...]struct {
	in       owner
	as       spelling
	positive bool
}{
	packets.PropPayloadFormat:          {in: ofPublish | ofWill, as: asFlag},
	packets.PropMessageExpiryInterval:  {in: ofPublish | ofWill, as: asFour},
	packets.PropContentType:            {in: ofPublish | ofWill, as: asText},
	packets.PropResponseTopic:          {in: ofPublish | ofWill, as: asText},
	packets.PropCorrelationData:        {in: ofPublish | ofWill, as: asBlob},
	packets.PropSubscriptionIdentifier: {in: ofSubscribe | ofPublish, as: asLength, positive: true}, // in PUBLISH the library refuses it
	packets.PropSessionExpiryInterval:  {in: ofConnect | ofDisconnect, as: asFour},
	packets.PropAuthenticationMethod:   {in: ofConnect, as: asText},
	packets.PropAuthenticationData:     {in: ofConnect, as: asBlob},
	packets.PropRequestProblemInfo:     {in: ofConnect, as: asFlag},
	packets.PropWillDelayInterval:      {in: ofWill, as: asFour},
	packets.PropRequestResponseInfo:    {in: ofConnect, as: asFlag},
	packets.PropServerReference:        {in: ofDisconnect, as: asText},
	packets.PropReasonString:           {in: ofPuback | ofDisconnect, as: asText},
	packets.PropReceiveMaximum:         {in: ofConnect, as: asTwo, positive: true},
	packets.PropTopicAliasMaximum:      {in: ofConnect, as: asTwo},
	packets.PropTopicAlias:             {in: ofPublish, as: asTwo},
	packets.PropUser:                   {in: ofAll, as: asPair},
	packets.PropMaximumPacketSize:      {in: ofConnect, as: asFour, positive: true},
}

// properties reads a block of properties that belongs to in. It returns which there were, as
// bits, and the topic alias, if that was one of them.
func (g *guard) properties(r *reader, in owner) (seen uint64, alias int) {
	if !g.v5 || r.bad {
		return 0, 0
	}
	b := reader{b: r.skip(r.length())}
	for len(b.b) > 0 && !b.bad {
		id := b.length()
		if id >= len(clientProperties) || clientProperties[id].in&in == 0 {
			b.fail(malformed("property that does not belong there"))
			break
		}
		p := &clientProperties[id]
		if seen&(1<<id) != 0 && p.as != asPair {
			b.fail(protocol("property that comes twice"))
			break
		}
		seen |= 1 << id
		value := 1
		switch p.as {
		case asFlag:
			if value = int(b.byte()); value > 1 {
				b.fail(protocol("property that is neither 0 nor 1"))
			}
		case asTwo:
			value = b.number()
		case asFour:
			value = b.number()<<16 | b.number()
		case asLength:
			value = b.length()
		case asText:
			if text := b.text(); id == int(packets.PropResponseTopic) && bytes.ContainsAny(text, "+#") {
				b.fail(protocol("response topic with a wildcard"))
			}
		case asBlob:
			b.blob()
		case asPair:
			b.text()
			b.text()
		}
		if p.positive && value == 0 {
			b.fail(protocol("property that must not be 0"))
		}
		if id == int(packets.PropTopicAlias) {
			alias = value
		}
	}
	if b.bad {
		r.fail(b.err)
	}
	return seen, alias
}

// checkTopic bounds what the library would walk level by level.
func checkTopic(topic []byte) error {
	if len(topic) > maxTopic || bytes.Count(topic, []byte{'/'}) >= maxLevels {
		return &violation{packets.ErrTopicNameInvalid, "topic longer than 128 bytes or 8 levels"}
	}
	return nil
}

// reader takes a packet's body apart. After the first part that does not fit, bad is true and
// everything is empty.
type reader struct {
	b   []byte
	bad bool
	err error // why, if there is more to say than that it is malformed
}

// fail makes r bad; the first reason stays.
func (r *reader) fail(err error) {
	if !r.bad {
		r.b, r.bad, r.err = nil, true, err
	}
}

func (r *reader) skip(n int) []byte {
	if r.bad || n > len(r.b) {
		r.fail(nil)
		return nil
	}
	got := r.b[:n]
	r.b = r.b[n:]
	return got
}

func (r *reader) byte() byte {
	if got := r.skip(1); got != nil {
		return got[0]
	}
	return 0
}

func (r *reader) number() int {
	if got := r.skip(2); got != nil {
		return int(binary.BigEndian.Uint16(got))
	}
	return 0
}

// length is a number of one to four bytes, and no more of them than it needs.
func (r *reader) length() (n int) {
	for i := range 4 {
		c := r.byte()
		n |= int(c&0x7f) << (7 * i)
		if c < 0x80 {
			if c == 0 && i > 0 {
				r.fail(malformed("length with a needless byte"))
			}
			return n
		}
	}
	r.fail(malformed("length of more than four bytes"))
	return 0
}

func (r *reader) blob() []byte { return r.skip(r.number()) }

// text is what must be UTF-8, without U+0000.
func (r *reader) text() []byte {
	got := r.blob()
	if !utf8.Valid(got) || bytes.IndexByte(got, 0) >= 0 {
		r.fail(malformed("text that is not UTF-8, or has a zero in it"))
	}
	return got
}

func (r *reader) end(packet string) error {
	switch {
	case r.err != nil:
		return r.err
	case r.bad || len(r.b) > 0:
		return malformed(packet)
	}
	return nil
}

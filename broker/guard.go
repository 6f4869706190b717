package broker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
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
	for whole < len(b) {
		first := b[whole]
		if err := g.allowed(first); err != nil {
			return whole, err
		}
		head, body, ok, err := frame(b[whole:], g.limit())
		if err != nil {
			return whole, err
		}
		if !ok {
			return whole, nil
		}
		if err := g.check(first, b[whole+head:whole+head+body]); err != nil {
			return whole, err
		}
		whole += head + body
		if first>>4 == packets.Connect {
			return whole, nil
		}
	}
	return whole, nil
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

// check judges the body of a packet that is all there. The place for whatever else a hostile
// packet may try is here.
func (g *guard) check(first byte, body []byte) error {
	r := reader{b: body}
	switch first >> 4 {
	case packets.Connect:
		return g.checkConnect(&r)
	case packets.Publish:
		topic := r.text()
		if first&0x06 != 0 && r.number() == 0 {
			r.bad = true
		}
		g.properties(&r)
		if r.bad {
			return malformed("PUBLISH")
		}
		return checkTopic(topic)
	case packets.Puback:
		r.number()
		if g.v5 && len(r.b) > 0 {
			r.byte()
			if len(r.b) > 0 {
				g.properties(&r)
			}
		}
		return r.end("PUBACK")
	case packets.Subscribe, packets.Unsubscribe:
		return g.checkFilters(&r, first>>4 == packets.Subscribe)
	case packets.Pingreq:
		return r.end("PINGREQ")
	case packets.Disconnect:
		if g.v5 && len(r.b) > 0 {
			r.byte()
			if len(r.b) > 0 {
				g.properties(&r)
			}
		}
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
	g.properties(r)
	r.text() // client ID
	if flags&0x04 != 0 {
		g.properties(r)
		r.text()
		r.text()
	} else if flags&0x38 != 0 {
		r.bad = true
	}
	if flags&0x80 != 0 {
		r.text()
	}
	if flags&0x40 != 0 {
		r.text()
	}
	if flags&0x01 != 0 || flags&0x18 == 0x18 {
		r.bad = true
	}
	if err := r.end("CONNECT"); err != nil {
		return err
	}
	g.connected = true
	return nil
}

func (g *guard) checkFilters(r *reader, subscribe bool) error {
	if r.number() == 0 {
		r.bad = true
	}
	g.properties(r)
	for n := 0; len(r.b) > 0 && !r.bad; n++ {
		filter := r.text()
		if subscribe {
			if options := r.byte(); options&0x03 == 3 || !g.v5 && options > 2 || options&0xc0 != 0 || options&0x30 == 0x30 {
				r.bad = true
			}
		}
		if err := checkTopic(filter); err != nil && !r.bad {
			return err
		}
		if n == maxFilters {
			return &violation{packets.ErrQuotaExceeded, "too many filters in one packet"}
		}
	}
	return r.end("SUBSCRIBE or UNSUBSCRIBE")
}

// properties passes over a block of properties: its length must fit.
func (g *guard) properties(r *reader) {
	if !g.v5 || r.bad {
		return
	}
	n := 0
	for i := range 4 {
		c := r.byte()
		n |= int(c&0x7f) << (7 * i)
		if c < 0x80 {
			r.skip(n)
			return
		}
	}
	r.bad = true
}

// checkTopic bounds what the library would walk level by level.
func checkTopic(topic []byte) error {
	if len(topic) > maxTopic || bytes.Count(topic, []byte{'/'}) >= maxLevels {
		return &violation{packets.ErrTopicNameInvalid, "topic longer than 128 bytes or 8 levels"}
	}
	if !utf8.Valid(topic) {
		return malformed("topic that is not UTF-8")
	}
	return nil
}

// reader takes a packet's body apart. After the first part that does not fit, bad is true and
// everything is empty.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) skip(n int) []byte {
	if r.bad || n > len(r.b) {
		r.b, r.bad = nil, true
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

func (r *reader) text() []byte { return r.skip(r.number()) }

func (r *reader) end(packet string) error {
	if r.bad || len(r.b) > 0 {
		return malformed(packet)
	}
	return nil
}

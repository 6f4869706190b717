package broker

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/prometheus/client_golang/prometheus"

	"porchlight/broker/delivery"
	"porchlight/device/wire"
)

// session is what becomes of a connection whose peer has logged in: it takes packets in, and answers
// them. What comes often (PUBLISH, PUBACK, PINGREQ) it reads where it arrived; for the rest it has the
// library's codec. It is used on the reading goroutine only. While nothing arrives it holds no more
// than this, and its goroutine's stack is small.
type session struct {
	filters []string              // subscribed to
	aliases *[aliasMaximum]string // topics by their alias less one; nil while there are none
	topic   string                // the last one: most peers publish to one
	context bool                  // which is where context goes
	owed    int                   // publishes of QoS 1 that were left without acknowledgement
	more    bool                  // TLS may hold some more, of what it has been fed
	expires time.Time             // the read deadline that is set
	now     time.Time             // when what is being read has come
}

// attend is the session, from the log-in to the end of the connection.
func (d *Door) attend(c *conn) {
	defer d.tasks.Done()
	defer d.detach(c)
	defer func() {
		if p := recover(); p != nil {
			d.panicked(c, p)
		}
	}()
	err := c.attend()
	var v *violation
	var code packets.Code
	switch {
	case errors.As(err, &v):
		c.violate(v)
	case errors.As(err, &code) && c.guard.v5 && code.Code >= packets.ErrUnspecifiedError.Code:
		c.Write(disconnect(code, code.Reason, c.most))
	}
	c.Close() // the peer need not wait until everybody has heard of it
}

// panicked notes that a connection's goroutine panicked, and ends the connection.
func (d *Door) panicked(c *conn, p any) {
	d.count.panics.Inc()
	d.log.Error("a connection's goroutine panicked", "panic", fmt.Sprintf("%T", p), "peer", c.name(), "stack", string(debug.Stack()))
	c.Cut()
}

// errDone means that the peer has said DISCONNECT.
var errDone = errors.New("the peer has ended the connection")

// attend takes in one packet after the other. The error is why that ends; a violation, or a Code of
// the library's, is for the peer to know.
func (c *conn) attend() error {
	s := &c.session
	part := c.guard.part // the beginning of a packet; here, what came behind the CONNECT
	c.guard.part = nil
	if len(part) > 0 {
		n, err := c.takeIn(part)
		if err != nil {
			return err
		}
		part = part[n:]
	}
	for {
		room, ended := c.receive()
		if c.ending.Load() {
			giveRoom(room)
			return net.ErrClosed
		}
		b := room
		if len(part) > 0 {
			part = append(part, room...)
			b = part
		}
		s.now = time.Now()
		n, err := c.takeIn(b)
		switch {
		case n == len(b):
			part = nil
		case len(part) > 0:
			part = part[n:]
		default:
			part = bytes.Clone(b[n:])
		}
		giveRoom(room)
		if err = cmp.Or(err, ended); err != nil {
			return err
		}
		if n > 0 {
			c.stay()
		}
	}
}

// receive waits for bytes, and returns them in what takeRoom has lent. No buffer is held meanwhile,
// but where WebSocket is between.
func (c *conn) receive() ([]byte, error) {
	switch {
	case c.direct.ready():
		c.pause()
		return c.direct.read()
	case c.feed != nil && !c.feed.whole() && !c.session.more:
		c.pause()
		if c.feed.idle() {
			if err := c.feed.fill(); err != nil {
				return nil, err
			}
		}
	case c.feed == nil:
		c.pause()
	}
	room := takeRoom()
	n, err := c.Conn.Read(room[:cap(room)])
	c.session.more = n == cap(room) // perhaps TLS holds the rest of a record
	return room[:n], err
}

// stay gives the peer its keep-alive and half of it again from now on: what we took our time for is not
// held against it. The real deadline is moved at most once a second.
func (c *conn) stay() {
	s := &c.session
	until := time.Now().Add(time.Duration(c.keepAlive) * 1500 * time.Millisecond)
	if until.Sub(s.expires) < time.Second {
		return
	}
	s.expires = until
	c.Conn.SetReadDeadline(until)
}

// takeIn handles the whole packets of b and returns how many bytes they are.
func (c *conn) takeIn(b []byte) (n int, err error) {
	var pk incoming
	for n < len(b) {
		size, err := c.guard.next(b[n:], &pk)
		if size == 0 || err != nil {
			return n, err
		}
		n += size
		if err := c.handle(&pk); err != nil {
			return n, err
		}
		if c.ending.Load() {
			return n, net.ErrClosed
		}
	}
	return n, nil
}

// handle takes in one packet. Answers are gathered; whatever may take its time comes after a pause.
func (c *conn) handle(pk *incoming) error {
	c.door.often.packet(pk.kind()).Inc()
	switch pk.kind() {
	case packets.Publish:
		return c.published(pk)
	case packets.Puback:
		if c.peer.acked(pk.id, pk.code) {
			return nil // our frames set the pace
		}
		return c.spend(pk)
	case packets.Pingreq:
		if err := c.spend(pk); err != nil {
			return err
		}
		return c.gather(packets.Pingresp<<4, 0)
	case packets.Subscribe:
		return c.subscribe(pk)
	case packets.Unsubscribe:
		return c.unsubscribe(pk)
	case packets.Disconnect:
		return c.disconnected(pk)
	}
	return protocol("packet type that a client does not send")
}

// spend takes a packet from what the peer may send.
func (c *conn) spend(pk *incoming) error {
	limit := c.peer.spend(c.session.now, 1, len(pk.body)+2)
	if limit == "" {
		return nil
	}
	c.door.count.limited.WithLabelValues(limit).Inc()
	c.peer.rushed()
	return &violation{packets.ErrMessageRateTooHigh, "too many " + limit + " within a second: wait, and send less"}
}

// published hands a PUBLISH to the peer and answers it. Nothing goes on to other clients.
func (c *conn) published(pk *incoming) error {
	d, s := c.door, &c.session
	switch {
	case pk.qos() == 1 && s.owed >= d.o.Outstanding:
		d.count.limited.WithLabelValues("outstanding").Inc()
		return &violation{packets.ErrReceiveMaximum, "too many publishes are not acknowledged"}
	case pk.qos() > 1:
		return &violation{packets.ErrQosNotSupported, "QoS 2 is not supported"}
	case pk.retain() && c.guard.v5: // 3.1.1 cannot be told; nothing is ever retained
		return &violation{packets.ErrRetainNotSupported, "retained messages are not supported"}
	}
	if err := c.spend(pk); err != nil {
		return err
	}
	if pk.surplus {
		return protocol("subscription identifier, which a client does not send")
	}
	s.name(pk)
	payload := pk.payload
	if !s.context { // what is to be on disk takes its time, and nobody knows who keeps a part of it
		c.pause()
		payload = bytes.Clone(payload)
	}
	leaf, seq, err := c.peer.publish(s.topic, payload)
	d.often.frame(leaf).Inc()
	if err == nil {
		if pk.qos() == 0 {
			return nil
		}
		err := c.gather(packets.Puback<<4, 2, byte(pk.id>>8), byte(pk.id))
		if !s.context {
			runtime.Gosched() // what the Desk sends because of it may go with the answer
		}
		return err
	}
	answer, complain := ack(err, c.guard.v5 && pk.qos() > 0)
	if answer == packets.ErrRejectPacket {
		d.count.unacknowledged.WithLabelValues(label(leaf)).Inc()
		if pk.qos() > 0 {
			s.owed++
		}
		if !errors.Is(err, delivery.ErrAway) {
			d.fault("a frame could not be taken in and is not acknowledged", "peer", c.peer.name(), "leaf", label(leaf), "error", err)
			c.peer.retry()
		}
		return nil
	}
	code, _ := codeOf(err)
	d.count.bad.WithLabelValues(label(leaf)).Inc()
	d.note("a frame was refused", "peer", c.peer.name(), "leaf", label(leaf), "code", code.Code)
	if leaf == "" {
		d.refuse(c, "publish")
	}
	if complain {
		c.peer.complain(seq, leaf, code, reason(err))
	}
	if pk.qos() == 0 {
		return nil
	}
	return c.send(&packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Puback}, PacketID: pk.id, ReasonCode: answer.Code, Properties: packets.Properties{ReasonString: answer.Reason}})
}

// name finds out the topic of a PUBLISH.
func (s *session) name(pk *incoming) {
	was := s.topic
	if pk.alias > 0 {
		if s.aliases == nil {
			s.aliases = new([aliasMaximum]string)
		}
		at := &s.aliases[pk.alias-1]
		if len(pk.topic) > 0 && *at != string(pk.topic) {
			*at = string(pk.topic)
		}
		s.topic = *at
	} else if s.topic != string(pk.topic) {
		s.topic = string(pk.topic)
	}
	if s.topic != was {
		s.context = strings.HasSuffix(s.topic, "/"+string(wire.UpCtx))
	}
}

// decode has the library take apart what comes rarely.
func (c *conn) decode(pk *incoming) (p packets.Packet, err error) {
	p = packets.Packet{ProtocolVersion: c.version(), FixedHeader: packets.FixedHeader{Type: pk.kind(), Remaining: len(pk.body)}}
	b := bytes.Clone(pk.body) // it keeps parts
	switch pk.kind() {
	case packets.Subscribe:
		err = p.SubscribeDecode(b)
	case packets.Unsubscribe:
		err = p.UnsubscribeDecode(b)
	case packets.Disconnect:
		err = p.DisconnectDecode(b)
	}
	return p, err
}

func (c *conn) version() byte {
	if c.guard.v5 {
		return 5
	}
	return 4
}

// filters takes a SUBSCRIBE or an UNSUBSCRIBE apart, and refuses one that has none. A subscription identifier
// can stand in the first only: the guard sees to that.
func (c *conn) filters(pk *incoming) (p packets.Packet, err error) {
	if p, err = c.decode(pk); err != nil {
		return p, err
	}
	if len(p.Properties.SubscriptionIdentifier) > 0 {
		return p, &violation{packets.ErrSubscriptionIdentifiersNotSupported, "subscription identifiers are not supported"}
	}
	if err := c.spend(pk); err != nil {
		return p, err
	}
	if len(p.Filters) == 0 {
		return p, protocol(strings.ToUpper(packets.PacketNames[pk.kind()]) + " without a filter")
	}
	return p, nil
}

// answered sends the answer to one of them, and tells the peer which filters it is about.
func (c *conn) answered(answer *packets.Packet, subscribe bool, filters []string) error {
	if err := c.send(answer); err != nil {
		return err
	}
	c.peer.processed(subscribe, filters)
	return nil
}

// subscribe answers a SUBSCRIBE: each filter is granted or refused by the peer.
func (c *conn) subscribe(pk *incoming) error {
	p, err := c.filters(pk)
	if err != nil {
		return err
	}
	s := &c.session
	answer := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Suback}, PacketID: p.PacketID}
	var granted []string
	for _, f := range p.Filters {
		ok, why := c.peer.allow(f.Filter, f.Qos)
		if !ok {
			code := packets.ErrNotAuthorized.Code
			if !c.guard.v5 {
				code = packets.ErrUnspecifiedError.Code
			}
			answer.ReasonCodes = append(answer.ReasonCodes, code)
			answer.Properties.ReasonString = why
			c.door.refuse(c, "subscribe")
			c.door.note("a subscription was refused", "peer", c.peer.name(), "why", why)
			continue
		}
		answer.ReasonCodes = append(answer.ReasonCodes, min(f.Qos, 1))
		granted = append(granted, f.Filter)
		if !slices.Contains(s.filters, f.Filter) {
			s.filters = append(s.filters, f.Filter)
		}
	}
	return c.answered(&answer, true, granted)
}

// unsubscribe answers an UNSUBSCRIBE. Whether others have such a filter it does not tell.
func (c *conn) unsubscribe(pk *incoming) error {
	p, err := c.filters(pk)
	if err != nil {
		return err
	}
	s := &c.session
	answer := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Unsuback}, PacketID: p.PacketID}
	var gone []string
	for _, f := range p.Filters {
		i := slices.Index(s.filters, f.Filter)
		if i < 0 {
			answer.ReasonCodes = append(answer.ReasonCodes, packets.CodeNoSubscriptionExisted.Code)
			continue
		}
		answer.ReasonCodes = append(answer.ReasonCodes, packets.CodeSuccess.Code)
		gone = append(gone, f.Filter)
		s.filters = slices.Delete(s.filters, i, i+1)
	}
	return c.answered(&answer, false, gone)
}

// disconnected takes in a DISCONNECT.
func (c *conn) disconnected(pk *incoming) error {
	p, err := c.decode(pk)
	switch {
	case err != nil:
		return err
	case p.Properties.SessionExpiryIntervalFlag && p.Properties.SessionExpiryInterval > 0:
		return packets.ErrProtocolViolationZeroNonZeroExpiry // it was 0 from the start
	}
	return errDone
}

// send has the library spell a packet, and writes it. It fails with a Code if the peer does not take
// packets of that size.
func (c *conn) send(pk *packets.Packet) error {
	pk.ProtocolVersion = c.version()
	pk.Mods = packets.Mods{MaxSize: c.most, DisallowProblemInfo: c.terse, AllowResponseInfo: true}
	if !roomForReason(pk, c.most) {
		pk.Properties.ReasonString = ""
	}
	var b bytes.Buffer
	var err error
	switch pk.FixedHeader.Type {
	case packets.Publish:
		err = pk.PublishEncode(&b)
	case packets.Puback:
		err = pk.PubackEncode(&b)
	case packets.Suback:
		err = pk.SubackEncode(&b)
	case packets.Unsuback:
		err = pk.UnsubackEncode(&b)
	}
	if err == nil && c.most > 0 && b.Len() > int(c.most) {
		err = packets.ErrPacketTooLarge
	}
	if err == nil {
		_, err = c.Write(b.Bytes())
	}
	return err
}

// often are the counters of what comes with every packet, found once.
type often struct {
	publish, puback, pingreq prometheus.Counter
	ctx, evt                 prometheus.Counter
	msg, time, twin          prometheus.Counter
	of                       *counters
}

func newOften(c *counters) often {
	packet := func(kind byte) prometheus.Counter { return c.packets.WithLabelValues(packets.PacketNames[kind]) }
	frame := func(l wire.Leaf) prometheus.Counter { return c.frames.WithLabelValues(string(l)) }
	sent := func(l wire.Leaf) prometheus.Counter { return c.sent.WithLabelValues(string(l)) }
	return often{
		packet(packets.Publish), packet(packets.Puback), packet(packets.Pingreq),
		frame(wire.UpCtx), frame(wire.UpEvt), sent(wire.DnMsg), sent(wire.DnTime), sent(wire.DnTwin), c,
	}
}

func (o *often) packet(kind byte) prometheus.Counter {
	switch kind {
	case packets.Publish:
		return o.publish
	case packets.Puback:
		return o.puback
	case packets.Pingreq:
		return o.pingreq
	}
	return o.of.packets.WithLabelValues(packets.PacketNames[kind])
}

func (o *often) frame(leaf wire.Leaf) prometheus.Counter {
	switch leaf {
	case wire.UpCtx:
		return o.ctx
	case wire.UpEvt:
		return o.evt
	}
	return o.of.frames.WithLabelValues(label(leaf))
}

func (o *often) sent(leaf wire.Leaf) prometheus.Counter {
	switch leaf {
	case wire.DnMsg:
		return o.msg
	case wire.DnTime:
		return o.time
	case wire.DnTwin:
		return o.twin
	}
	return o.of.sent.WithLabelValues(string(leaf))
}

package main

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// The load generator: MQTT 3.1.1 by hand, so that it asks little of the machine that it shares with what is
// measured. A connection is one goroutine at most; what can go in one write goes in one write.

// login is what a client connects with.
type login struct{ id, user, token string }

// client is one connection. Its methods are for one goroutine at a time.
type client struct {
	net.Conn
	id  string
	in  *bufio.Reader
	out []byte // gathered for the next write
	got int    // publishes of QoS 1 that came
}

func newClient(c net.Conn, id string) *client {
	return &client{Conn: c, id: id, in: bufio.NewReaderSize(c, 512)}
}

// What a packet begins with.
const (
	kindConnect   = 0x10
	kindConnack   = 0x20
	kindPublish   = 0x30
	kindPuback    = 0x40
	kindSubscribe = 0x82
	kindSuback    = 0x90
	kindPing      = 0xc0
	kindPong      = 0xd0
	qos1          = 0x02
)

// keepAlive is in seconds; nothing here lasts so long that a ping would be due.
const keepAlive = 120

// patience is how long an answer may take.
const patience = 30 * time.Second

// dialing says how clients connect.
type dialing struct {
	address string
	secure  *tls.Config // nil: plain
}

// source is the address of loopback that the n-th connection comes from: one has some 28,000 ports only, and
// a port rests for a minute after its connection has been closed.
func source(n int) *net.TCPAddr {
	return &net.TCPAddr{IP: net.IPv4(127, 0, 1+byte(n/2000%200), 1+byte(n%50))}
}

// open connects and logs in.
func (d dialing) open(n int, who login) (*client, error) {
	raw, err := (&net.Dialer{LocalAddr: source(n), Timeout: patience, KeepAlive: -1}).Dial("tcp", d.address)
	if err != nil {
		return nil, err
	}
	raw.SetDeadline(time.Now().Add(patience))
	c := newClient(raw, who.id)
	if d.secure != nil {
		c = newClient(tls.Client(raw, d.secure), who.id)
	}
	c.out = appendConnect(nil, who)
	if err := c.flush(); err == nil {
		err = c.expect(kindConnack, 0, 0)
	}
	if err != nil {
		raw.Close()
		return nil, fmt.Errorf("connect %s: %w", who.id, err)
	}
	raw.SetDeadline(time.Time{})
	return c, nil
}

// shakeHands does that and nothing more, with a server that does nothing more.
func (d dialing) shakeHands(n int) (*client, error) {
	raw, err := (&net.Dialer{LocalAddr: source(n), Timeout: patience, KeepAlive: -1}).Dial("tcp", d.address)
	if err != nil {
		return nil, err
	}
	raw.SetDeadline(time.Now().Add(patience))
	c := &client{Conn: tls.Client(raw, d.secure)}
	one := []byte{1}
	if _, err = c.Write(one); err == nil {
		_, err = c.Read(one)
	}
	if err != nil {
		raw.Close()
		return nil, err
	}
	return c, nil
}

// subscribe asks for a filter with QoS 1.
func (c *client) subscribe(filter string) error {
	c.out = appendSubscribe(c.out, filter)
	c.SetReadDeadline(time.Now().Add(patience))
	defer c.SetReadDeadline(time.Time{})
	err := c.flush()
	if err == nil {
		err = c.expect(kindSuback, 0, 1, 1)
	}
	if err != nil {
		return fmt.Errorf("subscribe %s: %w", c.id, err)
	}
	return nil
}

// say publishes with QoS 1 and waits until it is acknowledged; what comes meanwhile is acknowledged and
// dropped.
func (c *client) say(topic string, payload []byte) error {
	c.SetReadDeadline(time.Now().Add(patience))
	defer c.SetReadDeadline(time.Time{})
	c.out = appendPublish(c.out, topic, 1, payload)
	for {
		if err := c.flush(); err != nil {
			return fmt.Errorf("publish %s: %w", c.id, err)
		}
		kind, body, err := c.next()
		switch {
		case err != nil:
			return fmt.Errorf("publish %s: no acknowledgement: %w", c.id, err)
		case kind == kindPuback && len(body) == 2 && binary.BigEndian.Uint16(body) == 1:
			return nil
		case kind&0xf0 == kindPublish:
			if _, err := c.received(kind, body); err != nil {
				return err
			}
		default:
			return fmt.Errorf("publish %s: answered with % x % x", c.id, kind, body)
		}
	}
}

// flush writes what was gathered.
func (c *client) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	_, err := c.Write(c.out)
	c.out = c.out[:0]
	return err
}

var errPacket = errors.New("not a packet of MQTT")

// next is the next packet; its body is good until the call after.
func (c *client) next() (kind byte, body []byte, err error) {
	head, err := c.in.Peek(2)
	if err != nil {
		return 0, nil, err
	}
	kind = head[0]
	size, used := int(head[1]&0x7f), 2
	for shift := 7; head[used-1]&0x80 != 0; shift += 7 {
		if used++; used > 5 {
			return 0, nil, errPacket
		}
		if head, err = c.in.Peek(used); err != nil {
			return 0, nil, err
		}
		size |= int(head[used-1]&0x7f) << shift
	}
	if used+size > c.in.Size() {
		c.in = bufio.NewReaderSize(c.in, 2*(used+size))
	}
	whole, err := c.in.Peek(used + size)
	if err != nil {
		return 0, nil, err
	}
	_, _ = c.in.Discard(used + size) // they are there
	return kind, whole[used:], nil
}

// expect reads one packet that must be this one.
func (c *client) expect(kind byte, body ...byte) error {
	k, b, err := c.next()
	if err == nil && (k != kind || !slices.Equal(b, body)) {
		err = fmt.Errorf("the server answered with % x % x", k, b)
	}
	return err
}

// received takes a PUBLISH, and gathers its acknowledgement.
func (c *client) received(kind byte, body []byte) (payload []byte, err error) {
	if len(body) < 4 {
		return nil, errPacket
	}
	at := 2 + int(binary.BigEndian.Uint16(body))
	if kind&0x06 != 0 {
		at += 2
	}
	if at > len(body) {
		return nil, errPacket
	}
	if kind&0x06 != 0 {
		c.got++
		c.out = append(c.out, kindPuback, 2, body[at-2], body[at-1])
	}
	return body[at:], nil
}

func appendText(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

func appendLength(b []byte, n int) []byte {
	for ; n > 0x7f; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

func appendConnect(b []byte, who login) []byte {
	b = appendLength(append(b, kindConnect), 10+6+len(who.id)+len(who.user)+len(who.token))
	b = append(appendText(b, "MQTT"), 4, 0xc2, keepAlive>>8, keepAlive&0xff) // clean, with user name and password
	return appendText(appendText(appendText(b, who.id), who.user), who.token)
}

func appendSubscribe(b []byte, filter string) []byte {
	b = appendLength(append(b, kindSubscribe), 2+2+len(filter)+1)
	return append(appendText(append(b, 0, 1), filter), 1)
}

// appendPublish makes one of QoS 1.
func appendPublish(b []byte, topic string, id uint16, payload []byte) []byte {
	b = appendLength(append(b, kindPublish|qos1), 2+len(topic)+2+len(payload))
	return append(binary.BigEndian.AppendUint16(appendText(b, topic), id), payload...)
}

// tally is what a crowd of clients has done. Everything in it was acknowledged by the other side, or is an
// acknowledgement of ours.
type tally struct {
	sent      atomic.Int64 // publishes written
	acked     atomic.Int64 // of which a PUBACK has come, each once
	delivered atomic.Int64 // publishes that came to the subscriber, each acknowledged
}

// backlog holds publishers back while a subscriber has not got what they sent, so that no queue of the server
// overflows: some drop what is too much, and acknowledge it to the publisher.
type backlog struct {
	mu   sync.Mutex
	room sync.Cond
	most int
	open int
}

func newBacklog(most int) *backlog {
	l := &backlog{most: most}
	l.room.L = &l.mu
	return l
}

// enter waits until there is room for n, or until nothing is open.
func (l *backlog) enter(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.open > 0 && l.open+n > l.most {
		l.room.Wait()
	}
	l.open += n
}

func (l *backlog) leave(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open -= n
	l.room.Broadcast()
}

// pump publishes with QoS 1, at most window at a time unacknowledged, until stop; it returns when every one is
// acknowledged. payload appends the next. A PUBACK for what is not on its way is an error.
func (c *client) pump(window int, topic string, payload func([]byte) []byte, t *tally, l *backlog, stop *atomic.Bool) error {
	free := make([]uint16, window)
	for i := range free {
		free[i] = uint16(window - i)
	}
	away := make([]bool, window+1)
	var scratch []byte
	for {
		if n := len(free); n > 0 && !stop.Load() {
			if l != nil {
				l.enter(n)
			}
			for _, id := range free {
				scratch = payload(scratch[:0])
				c.out = appendPublish(c.out, topic, id, scratch)
				away[id] = true
			}
			free = free[:0]
			t.sent.Add(int64(n))
		} else if n == window {
			return c.flush()
		}
		if err := c.flush(); err != nil {
			return fmt.Errorf("publish %s: %w", c.id, err)
		}
		was := len(free)
		for more := true; more; more = c.in.Buffered() > 0 {
			kind, body, err := c.next()
			switch {
			case err != nil:
				return fmt.Errorf("publish %s: %w", c.id, err)
			case kind == kindPuback && len(body) == 2:
				id := binary.BigEndian.Uint16(body)
				if int(id) >= len(away) || !away[id] {
					return fmt.Errorf("publish %s: %d was acknowledged and is not on its way", c.id, id)
				}
				away[id] = false
				free = append(free, id)
			case kind&0xf0 == kindPublish:
				if _, err := c.received(kind, body); err != nil {
					return err
				}
			default:
				return fmt.Errorf("publish %s: the server sent % x", c.id, kind)
			}
		}
		t.acked.Add(int64(len(free) - was))
	}
}

// drain takes what comes and acknowledges it until the connection is closed. l may be nil.
func (c *client) drain(t *tally, l *backlog) error {
	for {
		n := 0
		for more := true; more; more = c.in.Buffered() > 0 {
			kind, body, err := c.next()
			if err != nil {
				return err
			}
			if kind&0xf0 != kindPublish {
				continue
			}
			if _, err := c.received(kind, body); err != nil {
				return err
			}
			n++
		}
		if err := c.flush(); err != nil {
			return err
		}
		t.delivered.Add(int64(n))
		if l != nil {
			l.leave(n)
		}
	}
}

// crowd connects n clients, some at a time, and has f finish each. What stands is returned with an error, too.
func crowd(n, atOnce int, f func(i int) (*client, error)) ([]*client, error) {
	all := make([]*client, n)
	err := many(n, atOnce, func(i int) (err error) {
		all[i], err = f(i)
		return err
	})
	return slices.DeleteFunc(all, func(c *client) bool { return c == nil }), err
}

// many runs f for 0 to n-1, some at a time, until one fails; the first error is returned.
func many(n, atOnce int, f func(i int) error) error {
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	for range min(n, atOnce) {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && failed.Load() == nil; i = int(next.Add(1)) - 1 {
				if err := f(i); err != nil {
					failed.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

func closeAll(all []*client) {
	for _, c := range all {
		c.Close()
	}
}

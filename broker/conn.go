package broker

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"porchlight/device/authority"
)

const (
	writeLimit   = 64 << 10               // bytes that wait for a peer to read
	writeTimeout = 5 * time.Second        // for a peer to take what was written
	lastWords    = 250 * time.Millisecond // to flush before the end
	underWay     = 500 * time.Millisecond // for a write that had begun before the end, or had not come to it on a busy machine
)

var errSlow = errors.New("the peer does not read")

// conn is one peer's connection. Until the peer has logged in, the library reads from it, through
// the guard; what comes after that is a session. Write never blocks: what the socket does not take at
// once a goroutine flushes that lives only while there is something to write. Close lets that
// goroutine finish within lastWords; Cut does not.
type conn struct {
	net.Conn          // TCP, TLS or WebSocket
	raw      *counted // what it runs over; closing it never blocks
	guard    guard
	door     *Door

	// What the hook found out about the peer; used on the reading goroutine only.
	client   *mqtt.Client // the library's, until the session begins
	peer     peer
	secure   bool                // over TLS
	shown    *x509.Certificate   // the certificate it has shown; nil: none
	identity *authority.Identity // of that certificate
	impostor error               // that certificate is not good
	judged   bool                // whether it is to blame for a log-in that failed is decided

	// What the CONNECT asked for; set before anybody else knows of the connection.
	most      uint32 // bytes of the largest packet that the peer takes; 0: any
	terse     bool   // it wants no reasons
	keepAlive uint16 // seconds

	session session

	welcomed atomic.Bool // a CONNACK that lets it in has been written
	ending   atomic.Bool

	mu       sync.Mutex
	out      []byte // gathered; room is of the pool, or nil
	flushing bool
	closed   bool // nothing more is taken
	cut      bool

	direct direct // to the socket, where nothing is between
	feed   *feed  // of TLS; nil without
}

func (d *Door) newConn(c net.Conn, raw *counted) *conn {
	k := &conn{Conn: c, raw: raw, door: d}
	k.guard.from = c
	switch c := c.(type) {
	case *counted:
		k.direct.open(raw)
	case *tls.Conn:
		if f, ok := c.NetConn().(*feed); ok && f.direct.ready() {
			k.feed, f.waits = f, k.pause
		}
	}
	return k
}

// throat is a connection as the library sees it: up to the CONNACK that lets the peer in. Then it
// is at its end for the library, and open for the session.
type throat struct {
	*conn
	through bool // the peer is in; reading goroutine only
}

// Read hands on what the guard lets through, and ends the connection at what it does not.
func (t *throat) Read(p []byte) (int, error) {
	c := t.conn
	if t.through {
		return 0, io.EOF
	}
	n, err := c.guard.Read(p)
	if c.ending.Load() {
		return 0, net.ErrClosed
	}
	var v *violation
	if n == 0 && errors.As(err, &v) {
		c.violate(v)
	}
	return n, err
}

// Close is the library's. Whoever is let in stays.
func (t *throat) Close() error {
	if t.through {
		return nil
	}
	return t.conn.Close()
}

// SetDeadline is the library's keep-alive: the deadline to CONNECT stands.
func (t *throat) SetDeadline(time.Time) error { return nil }

// violate counts v and, where the protocol has words for it, tells the peer.
func (c *conn) violate(v *violation) {
	c.door.count.refused.WithLabelValues(reasonLabel(v.code)).Inc()
	c.door.refuse(c, reasonLabel(v.code))
	c.door.note("connection ended by us", "code", v.code.Code, "why", v.why, "peer", c.name())
	switch {
	case c.guard.open && c.guard.v5:
		c.Write(disconnect(v.code, v.why, c.most))
	case c.guard.open && c.peer != nil:
		c.peer.complain(0, "", v.code, v.why)
	case c.guard.v5 && !c.guard.connected: // a CONNECT
		c.Write([]byte{packets.Connack << 4, 3, 0, v.code.Code, 0})
	case v.code == packets.ErrUnsupportedProtocolVersion:
		c.Write([]byte{packets.Connack << 4, 2, 0, packets.Err3UnsupportedProtocolVersion.Code})
	}
}

// disconnect is a DISCONNECT of MQTT 5, without the reason if the client takes packets of most
// bytes only (0 is any size) and it would not fit. It is written by hand because the library's
// encoder needs its client, which is not there yet or busy.
func disconnect(code packets.Code, why string, most uint32) []byte {
	if most > 0 && len(why)+7 > int(most) {
		return []byte{packets.Disconnect << 4, 1, code.Code}
	}
	b := []byte{packets.Disconnect << 4, byte(5 + len(why)), code.Code, byte(3 + len(why)), packets.PropReasonString, 0, byte(len(why))}
	return append(b, why...)
}

// from is where the connection comes from, without its port.
func (c *conn) from() string {
	host, _, err := net.SplitHostPort(c.raw.RemoteAddr().String())
	if err != nil {
		return ""
	}
	return host
}

func (c *conn) name() string {
	if c.peer == nil {
		return "stranger"
	}
	return c.peer.name()
}

// Write sends b, after what was gathered before, and returns at once. It cuts off a peer that has
// left more than writeLimit unread.
func (c *conn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.gatherLocked(b); err != nil {
		return 0, err
	}
	if len(b) > 0 && b[0] == packets.Connack<<4 && c.guard.open { // a CONNACK comes from the reading goroutine
		c.welcomed.Store(true)
	}
	c.sendLocked()
	return len(b), nil
}

// gather is Write for what can wait until the reading goroutine has nothing to do: answers to
// packets, of which there may be more to come.
func (c *conn) gather(b ...byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gatherLocked(b)
}

func (c *conn) gatherLocked(b []byte) error {
	if c.closed {
		return net.ErrClosed
	}
	if len(c.out)+len(b) > writeLimit {
		c.door.count.slow.Inc()
		c.cutLocked()
		return errSlow
	}
	if c.out == nil {
		c.out = takeRoom()
	}
	c.out = append(c.out, b...)
	return nil
}

// sendLocked hands what was gathered to the socket, and what that does not take to the flusher.
func (c *conn) sendLocked() {
	if c.flushing || len(c.out) == 0 {
		return
	}
	if !c.closed && c.direct.ready() {
		n, err := c.direct.write(c.out)
		switch {
		case n == len(c.out):
			giveRoom(c.out)
			c.out = nil
			return
		case err == nil, errors.Is(err, os.ErrDeadlineExceeded): // which is one of before
			c.out = c.out[:copy(c.out, c.out[n:])]
		default:
			c.cutLocked()
			return
		}
	}
	c.flushLocked()
}

func (c *conn) flushLocked() {
	if !c.flushing {
		c.flushing = true
		c.door.tasks.Add(1)
		go func() {
			defer c.door.tasks.Done()
			c.flush()
		}()
	}
}

// pause sends what was gathered before the reading goroutine waits for anything.
func (c *conn) pause() {
	c.mu.Lock()
	if len(c.out) == 0 || c.flushing || c.cut {
		c.mu.Unlock()
		return
	}
	if c.direct.ready() {
		c.sendLocked()
		c.mu.Unlock()
		return
	}
	c.flushing = true // on this goroutine, which has nothing better to do
	c.mu.Unlock()
	c.flush()
}

// flush writes until nothing is left. c.flushing is the caller's.
func (c *conn) flush() {
	c.mu.Lock()
	for len(c.out) > 0 && !c.cut {
		out := c.out
		c.out = nil
		c.deadlineLocked()
		c.mu.Unlock()
		n, err := c.Conn.Write(out)
		c.mu.Lock()
		if err != nil || n < len(out) {
			if errors.Is(err, os.ErrDeadlineExceeded) && !c.closed {
				c.door.count.slow.Inc()
			}
			c.cutLocked() // what follows a torn packet would be read as something else
		}
		giveRoom(out)
	}
	c.flushing = false
	end := c.closed && !c.cut
	if !c.closed {
		c.Conn.SetWriteDeadline(time.Time{}) // what is written at once has none, nor what TLS answers by itself; WebSocket's would end a later write
	}
	c.mu.Unlock()
	if end {
		c.shut()
	}
}

func (c *conn) deadlineLocked() {
	within := writeTimeout
	if c.closed {
		within = lastWords
	}
	c.Conn.SetWriteDeadline(time.Now().Add(within))
}

// shut closes so that the peer can read the last words: with unread bytes in its buffer the
// kernel would send a reset, which overtakes them.
func (c *conn) shut() {
	t := time.AfterFunc(lastWords, func() { c.raw.Close() })
	defer t.Stop()
	switch k := c.Conn.(type) {
	case *tls.Conn:
		k.CloseWrite()
		linger(c.raw)
	case *counted:
		linger(c.raw)
	default:
		k.Close() // WebSocket: shakes hands
	}
	c.raw.Close()
}

func linger(raw *counted) {
	if raw.CloseWrite() == nil {
		io.Copy(io.Discard, raw)
	}
}

// Close takes nothing more, flushes for at most lastWords on its own goroutine, and closes.
func (c *conn) Close() error {
	c.ending.Store(true)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	if c.flushing {
		c.Conn.SetWriteDeadline(time.Now().Add(underWay))
	}
	c.flushLocked()
	return nil
}

// Cut closes at once.
func (c *conn) Cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cutLocked()
}

func (c *conn) cutLocked() {
	c.ending.Store(true)
	c.closed, c.cut, c.out = true, true, nil
	c.raw.Close()
}

// roomSize is how many bytes a connection is lent to gather in, and to read into.
const roomSize = 4 << 10

// rooms are lent to connections while they have something to do: an idle one has none.
var rooms = sync.Pool{New: func() any { return new([roomSize]byte) }}

func takeRoom() []byte { return rooms.Get().(*[roomSize]byte)[:0] }

// giveRoom takes back what takeRoom has lent, if it has not grown out of it.
func giveRoom(b []byte) {
	if cap(b) == roomSize {
		rooms.Put((*[roomSize]byte)(b[:roomSize]))
	}
}

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

// conn is one peer's connection as the library sees it. Reads go through the guard. Write
// never blocks: it gathers, and a goroutine that lives only while there is something to write
// flushes. Close lets that goroutine finish within lastWords; Cut does not.
type conn struct {
	net.Conn          // TCP, TLS or WebSocket
	raw      *counted // what it runs over; closing it never blocks
	guard    guard
	door     *Door

	// What the hook found out about the peer; used on the reading goroutine only.
	client   *mqtt.Client
	peer     peer
	secure   bool                // over TLS
	shown    *x509.Certificate   // the certificate it has shown; nil: none
	identity *authority.Identity // of that certificate
	impostor error               // that certificate is not good
	judged   bool                // whether it is to blame for a log-in that failed is decided
	owed     int                 // publishes of QoS 1 that were left without acknowledgement

	note string // why a filter was refused, for the SUBACK

	welcomed atomic.Bool // a CONNACK that lets it in has been written
	ending   atomic.Bool
	expires  time.Time // the read deadline that is set; reading goroutine only

	mu       sync.Mutex
	out      []byte
	flushing bool
	closed   bool // nothing more is taken
	cut      bool
}

func (d *Door) newConn(c net.Conn, raw *counted) *conn {
	k := &conn{Conn: c, raw: raw, door: d}
	k.guard.from = c
	return k
}

// Read hands on what the guard lets through, and ends the connection at what it does not.
func (c *conn) Read(p []byte) (int, error) {
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

// violate counts v and, where the protocol has words for it, tells the peer.
func (c *conn) violate(v *violation) {
	c.door.count.refused.WithLabelValues(reasonLabel(v.code)).Inc()
	c.door.refuse(c, reasonLabel(v.code))
	c.door.note("connection ended by us", "code", v.code.Code, "why", v.why, "peer", c.name())
	switch {
	case c.guard.open && c.guard.v5:
		c.Write(disconnect(v.code, v.why, c.client.Properties.Props.MaximumPacketSize))
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

// Write gathers b and returns at once. It cuts off a peer that has left more than writeLimit
// unread.
func (c *conn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, net.ErrClosed
	}
	if len(c.out)+len(b) > writeLimit {
		c.door.count.slow.Inc()
		c.cutLocked()
		return 0, errSlow
	}
	c.out = append(c.out, b...)
	if len(b) > 0 && b[0] == packets.Connack<<4 && c.guard.open { // a CONNACK comes from the reading goroutine
		c.welcomed.Store(true)
	}
	c.flushLocked()
	return len(b), nil
}

func (c *conn) flushLocked() {
	if !c.flushing {
		c.flushing = true
		c.door.tasks.Add(1)
		go c.flush()
	}
}

func (c *conn) flush() {
	defer c.door.tasks.Done()
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
	}
	c.flushing = false
	end := c.closed && !c.cut
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

// SetDeadline is the library's keep-alive, set before each packet. The real deadline is moved
// at most once a second, and for reads only: the flusher has its own.
func (c *conn) SetDeadline(t time.Time) error {
	if !c.guard.open {
		return nil // the deadline to CONNECT stands
	}
	if early := t.Sub(c.expires); early >= 0 && early < time.Second {
		return nil
	}
	c.expires = t
	return c.Conn.SetReadDeadline(t)
}

package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/coder/websocket"

	"porchlight/device"
)

// kind is one way in.
type kind string

const (
	plain        kind = "mqtt"
	overTLS      kind = "mqtts"
	webSocket    kind = "ws"
	webSocketTLS kind = "wss"
)

// gate is a listener that outlives its errors and keeps the ceiling of sockets.
type gate struct {
	net.Listener
	door *Door
	kind kind
}

// Accept waits for the next connection. An error that is not the end of the listener, such as
// too many open files, is waited out.
func (g *gate) Accept() (net.Conn, error) {
	for wait := 5 * time.Millisecond; ; {
		c, err := g.Listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil, err
		case err != nil:
			g.door.count.acceptErrors.Inc()
			g.door.note("cannot accept a connection", "listener", g.kind, "error", err)
			select {
			case <-g.door.closing:
			case <-time.After(wait):
			}
			wait = min(2*wait, time.Second)
			continue
		}
		wait = 5 * time.Millisecond
		if g.door.sockets.Add(1) > int64(g.door.o.MaxConnections) {
			g.door.sockets.Add(-1)
			g.door.count.refused.WithLabelValues("full").Inc()
			g.door.note("connection refused: the ceiling is reached", "listener", g.kind)
			c.Close()
			continue
		}
		from := device.Neighbours(c.RemoteAddr())
		if limit := g.door.enter(from); limit != "" {
			g.door.sockets.Add(-1)
			g.door.count.limited.WithLabelValues(limit).Inc()
			g.door.count.refused.WithLabelValues(limit).Inc()
			g.door.note("connection refused: a limit of its address", "listener", g.kind, "limit", limit)
			c.Close()
			continue
		}
		g.door.count.accepted.WithLabelValues(string(g.kind)).Inc()
		return g.door.track(c, from), nil
	}
}

// counted is an accepted socket: it leaves the count, once, when it is closed.
type counted struct {
	net.Conn
	door *Door
	once sync.Once
	born time.Time

	from     netip.Addr
	in, gone bool // logged in, and left; guarded by the table of origins
}

func (d *Door) track(c net.Conn, from netip.Addr) *counted {
	k := &counted{Conn: c, door: d, born: time.Now(), from: from}
	d.moves.Add(1)
	d.mu.Lock()
	d.raw[k] = struct{}{}
	d.mu.Unlock()
	return k
}

// CloseWrite ends the sending half, if the transport has halves.
func (c *counted) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Close closes the socket.
func (c *counted) Close() error {
	c.once.Do(func() {
		c.door.sockets.Add(-1)
		c.door.moves.Add(1)
		c.door.left(c)
		c.door.mu.Lock()
		delete(c.door.raw, c)
		c.door.mu.Unlock()
	})
	return c.Conn.Close()
}

// listen opens one listener. A plain one beyond loopback needs to be asked for.
func (d *Door) listen(k kind, address string) error {
	if address == "" {
		return nil
	}
	secure := k == overTLS || k == webSocketTLS
	if secure && d.o.Authority == nil {
		return fmt.Errorf("listen for %s on %s: no certificate is configured", k, address)
	}
	if !secure && !loopback(address) {
		if !d.o.AllowPlain {
			return fmt.Errorf("listen for %s on %s: without TLS anyone on that network can read and forge; use TLS, a loopback address, or set mqtt.plain_beyond_loopback: true", k, address)
		}
		d.log.Warn("UNENCRYPTED MQTT BEYOND LOOPBACK: tokens and messages can be read and forged on that network", "listener", k, "address", address, "setting", "mqtt.plain_beyond_loopback")
	}
	// MQTT has its own way to find out who is gone: TCP's would be four more calls for each connection.
	l, err := (&net.ListenConfig{KeepAlive: -1}).Listen(context.Background(), "tcp", address)
	if err != nil {
		return fmt.Errorf("listen for %s: %w", k, err)
	}
	d.gates = append(d.gates, &gate{Listener: l, door: d, kind: k})
	return nil
}

// loopback reports whether address can be reached from this machine alone.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// serve takes connections from g until it is closed.
func (d *Door) serve(g *gate) {
	if g.kind == webSocket || g.kind == webSocketTLS {
		d.serveWeb(g)
		return
	}
	for {
		c, err := g.Accept()
		if err != nil {
			return
		}
		d.tasks.Add(1)
		select {
		case d.arrivals <- arrival{g.kind, c.(*counted)}:
		default:
			go d.porter(arrival{g.kind, c.(*counted)})
		}
	}
}

// arrival is a connection that somebody has to look after until it is in, or gone.
type arrival struct {
	kind kind
	raw  *counted
}

// porter looks after one arrival after the other, and leaves when none has come for a second. A log-in
// takes a large stack, which is not made anew for each.
func (d *Door) porter(a arrival) {
	bored := time.NewTimer(time.Second)
	defer bored.Stop()
	for {
		d.receive(a)
		bored.Reset(time.Second)
		select {
		case a = <-d.arrivals:
		case <-bored.C:
			return
		case <-d.closing:
			return
		}
	}
}

// receive lets an arrival in, if it may. One task of d's is its own.
func (d *Door) receive(a arrival) {
	defer d.tasks.Done()
	raw := a.raw
	by := raw.born.Add(d.o.ConnectTimeout)
	if a.kind == plain {
		raw.SetReadDeadline(by) // what is written does not wait
		d.attach(a.kind, raw, raw, nil)
		return
	}
	raw.SetDeadline(by)
	secure := tls.Server(newFeed(raw), d.o.Authority.Server())
	if err := secure.Handshake(); err != nil {
		d.count.refused.WithLabelValues("tls").Inc()
		if !silent(err) {
			d.failed(raw)
		}
		raw.Close()
		return
	}
	raw.SetWriteDeadline(time.Time{})
	shown := secure.ConnectionState()
	d.attach(a.kind, secure, raw, &shown)
}

type rawKey struct{}

// serveWeb takes WebSocket connections (subprotocol mqtt) from g until it is closed.
func (d *Door) serveWeb(g *gate) {
	s := &http.Server{
		ReadHeaderTimeout: d.o.ConnectTimeout,
		IdleTimeout:       d.o.ConnectTimeout,
		MaxHeaderBytes:    8 << 10,
		ErrorLog:          log.New(io.Discard, "", 0),                               // it would quote what a stranger sent
		TLSNextProto:      map[string]func(*http.Server, *tls.Conn, http.Handler){}, // HTTP/2 cannot be taken over
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if secure, ok := c.(*tls.Conn); ok {
				c = secure.NetConn()
			}
			return context.WithValue(ctx, rawKey{}, c)
		},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			d.tasks.Add(1)
			defer d.tasks.Done()
			raw := r.Context().Value(rawKey{}).(*counted)
			ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"mqtt"}})
			if err != nil {
				d.count.refused.WithLabelValues("websocket").Inc()
				d.failed(raw)
				return
			}
			raw.SetReadDeadline(raw.born.Add(d.o.ConnectTimeout)) // whatever the library still waits for
			if ws.Subprotocol() != "mqtt" {
				d.count.refused.WithLabelValues("websocket").Inc()
				d.failed(raw)
				ws.Close(websocket.StatusPolicyViolation, "the subprotocol must be mqtt")
				return
			}
			c := websocket.NetConn(context.Background(), ws, websocket.MessageBinary)
			c.SetReadDeadline(raw.born.Add(d.o.ConnectTimeout))
			d.attach(g.kind, c, raw, r.TLS)
		}),
	}
	s.SetKeepAlivesEnabled(false) // one request, or a stranger keeps its socket by asking again and again
	defer s.Close()
	if g.kind == webSocketTLS {
		s.TLSConfig = d.o.Authority.Server()
		s.TLSConfig.NextProtos = []string{"http/1.1"}
		s.ServeTLS(g, "", "")
		return
	}
	s.Serve(g)
}

// attach has the library let a peer in, and then begins its session. Whatever the library
// did or left undone, even by a panic, the connection's place is cleared and the Desk is told. shown is
// what TLS found out, nil without it.
func (d *Door) attach(k kind, c net.Conn, raw *counted, shown *tls.ConnectionState) {
	conn := d.newConn(c, raw)
	if shown != nil {
		d.identified(conn, shown.PeerCertificates)
	}
	d.mu.Lock()
	if d.stopped {
		d.mu.Unlock()
		raw.Close()
		return
	}
	d.conns[conn] = struct{}{}
	d.mu.Unlock()
	in := false
	defer func() {
		if p := recover(); p != nil {
			d.panicked(conn, p)
		}
		if !in {
			d.detach(conn)
		}
	}()
	t := &throat{conn: conn}
	err := d.server.EstablishConnection(string(k), t)
	if in = t.through; in {
		conn.client, conn.guard.from = nil, nil
		conn.session.now = time.Now()
		conn.stay()
		d.tasks.Add(1)
		go d.attend(conn) // with a small stack: this one has grown
		return
	}
	if conn.peer == nil && !conn.judged && !silent(err) {
		d.failed(conn.raw) // the guard or the library refused its CONNECT
	}
}

// silent reports whether err is the end of a connection that did nothing wrong: closed without
// a word, or too slow, which may be our fault.
func silent(err error) bool {
	var timeout net.Error
	return err == nil || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNRESET) ||
		errors.As(err, &timeout) && timeout.Timeout()
}

func (d *Door) detach(c *conn) {
	defer func() {
		d.mu.Lock()
		delete(d.conns, c)
		d.mu.Unlock()
	}()
	if c.client != nil { // the library may have kept one that was not let in after all
		if now, ok := d.server.Clients.Get(c.client.ID); ok && now == c.client {
			d.server.Clients.Delete(c.client.ID)
		}
	}
	if c.peer != nil {
		c.peer.end()
	}
	c.Close()
}

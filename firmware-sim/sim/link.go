package sim

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"

	"porchlight/device"
	"porchlight/device/wire"
)

// Run connects the device and keeps it connected until ctx ends; then it says goodbye. It ends
// everything it began, and may be called again.
func (d *Device) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { d.live(ctx) })
	over := make(chan struct{})
	var last sync.WaitGroup
	last.Go(func() { d.tell(over) })
	err := d.stayConnected(ctx)
	cancel()
	wg.Wait()
	close(over)
	last.Wait()
	return err
}

// live lets time act on the device.
func (d *Device) live(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			d.with(func(time.Time) error { return nil })
		case <-d.due:
		}
		d.mu.Lock()
		due, now := d.fw.due(), d.cfg.Now()
		d.mu.Unlock()
		if due.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(max(due.Sub(now), time.Millisecond))
		}
	}
}

// tell hands what happened to Notify, and the rest of it once over is closed.
func (d *Device) tell(over <-chan struct{}) {
	for ended := false; ; {
		d.mu.Lock()
		notes := d.notes
		d.notes = nil
		d.mu.Unlock()
		for _, e := range notes {
			d.cfg.Notify(e)
		}
		if ended && len(notes) == 0 {
			return
		}
		if !ended {
			select {
			case <-d.told:
			case <-over:
				ended = true
			}
		}
	}
}

func (d *Device) stayConnected(ctx context.Context) error {
	pause, hurry := d.cfg.Retry, true
	asking := d.cfg.patience() // the pause between two applications
	for ctx.Err() == nil {
		d.mu.Lock()
		cut, id := d.cut, d.fw.who()
		d.mu.Unlock()
		if cut {
			select {
			case <-ctx.Done():
			case <-d.dial:
			}
			continue
		}
		var end ending
		var err error
		switch {
		case id.ID != "":
			end, err = d.session(ctx, id)
		case d.cfg.Enrol != nil:
			end, err = d.tryToEnrol(ctx)
		default:
			return nil // it has been erased
		}
		if errors.Is(err, errConfig) {
			return fmt.Errorf("connect %s: %w", d.cfg.Name, err)
		}
		if ctx.Err() != nil {
			return nil
		}
		if end.ready {
			pause, hurry = d.cfg.Retry, true
		}
		if end.anew && (hurry || id.ID == "") {
			hurry = false // not twice without anything between
			continue
		}
		wait := pause/2 + rand.N(pause/2+1)
		if id.ID == "" {
			wait = asking + rand.N(asking/2+1)
			asking = min(2*asking, max(d.cfg.patience(), 2*d.cfg.MaxRetry))
		} else {
			pause = min(2*pause, d.cfg.MaxRetry)
			asking = d.cfg.patience()
		}
		timer := time.NewTimer(wait)
		if no := (turnedAway{}); errors.As(err, &no) && no.stop {
			timer.Stop()
		}
		select {
		case <-ctx.Done():
		case <-d.dial:
		case <-timer.C:
		}
		timer.Stop()
	}
	return nil
}

// What an [Event] that has an Err may be about, and people can mend.
var (
	// ErrNotKnown means that the gateway is there, and does not know what a device logs in with.
	ErrNotKnown = errors.New("the gateway does not know what it logs in with")
	// ErrNoTLS means that what is there ends the connection, or answers, before TLS has begun.
	ErrNoTLS = errors.New("it does not speak TLS there")
	// ErrTLS means that what is there ends a connection without TLS before it has answered, as a port with TLS does.
	ErrTLS = errors.New("it may want TLS there")
)

// errConfig means that connecting again would fail again.
var errConfig = errors.New("bad gateway address")

// ending is how a connection ended.
type ending struct {
	ready bool // a beacon had come
	anew  bool // on purpose: the next is to follow at once
}

// tryToEnrol asks once to be let in.
func (d *Device) tryToEnrol(ctx context.Context) (ending, error) {
	err := d.enrol(ctx)
	if err == nil {
		return ending{anew: true}, nil
	}
	d.with(func(time.Time) error {
		e := Event{Kind: TurnedAway, Why: err.Error(), Err: err}
		if errors.As(err, new(turnedAway)) {
			e.Err = nil
		}
		d.fw.note(e)
		return nil
	})
	return ending{}, err
}

// session is one connection from its beginning to its end.
func (d *Device) session(ctx context.Context, id identity) (end ending, err error) {
	l, used, err := d.logIn(ctx, id)
	if err == nil {
		err = d.begin(l, used)
	}
	if err == nil {
		watchdog := time.AfterFunc(d.cfg.AckWait, func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.link == l && d.fw.send != nil && !d.fw.beaconed {
				d.fw.keyAsked = true // or is that why?
				l.abort(errors.New("no beacon has come"))
			}
		})
		overdue := time.AfterFunc(3*d.cfg.AckWait, func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.link == l && d.fw.send == nil && !d.fw.parted {
				l.abort(errors.New("no new key has come"))
			}
		})
		select {
		case <-ctx.Done():
			d.goodbye(l)
		case <-l.over:
			end.anew = true
		case <-l.lost:
			err = l.why
		}
		watchdog.Stop()
		overdue.Stop()
	}
	if l != nil {
		l.close()
	}
	d.with(func(time.Time) error {
		if d.link != l {
			return nil // a power cut or a pulled cable: said already
		}
		end.ready = d.fw.beaconed
		d.fw.noteOverdue()
		if d.fw.parted {
			end.anew, err = true, nil // whoever hung up first
		}
		d.link = nil
		d.fw.lost()
		if err != nil {
			d.fw.note(Event{Kind: Away, Why: err.Error(), Err: err})
		}
		return nil
	})
	return end, err
}

// logIn connects with the first of id's credentials that the gateway takes.
func (d *Device) logIn(ctx context.Context, id identity) (*link, credential, error) {
	var first error
	unknown := true
	for i, c := range id.Keys {
		in := login{id: id.ID, user: string(id.ID), token: c.Token, secure: &tls.Config{
			RootCAs: d.fw.roots(c), ServerName: id.Name, MinVersion: tls.VersionTLS12, Time: d.cfg.Now,
		}}
		if c.Key != nil {
			pair, err := c.pair()
			if err != nil {
				return nil, c, err
			}
			in.secure.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		}
		l, err := d.open(ctx, in, d.receive)
		if err == nil {
			d.with(func(time.Time) error {
				d.fw.refusals = 0
				if i > 0 {
					d.fw.fellBack(c)
				}
				return nil
			})
			return l, c, nil
		}
		if first == nil {
			first = err
		}
		var no refusedError
		if !errors.As(err, &no) {
			unknown = false
			break
		}
		unknown = unknown && no.unknown()
	}
	if unknown && first != nil {
		first = fmt.Errorf("%w: %w", ErrNotKnown, first)
		d.with(func(now time.Time) error {
			if err := d.fw.refused(now); err != nil {
				d.fw.note(Event{Kind: Trouble, Why: err.Error()})
			}
			return nil
		})
	}
	return nil, credential{}, first
}

// begin subscribes and sends the birth. A device whose certificate has ended does neither: to it
// the gateway gives a new one and nothing else.
func (d *Device) begin(l *link, used credential) error {
	d.mu.Lock()
	if d.cut || d.fw.who().ID != l.id() {
		d.mu.Unlock()
		return errNotWanted
	}
	d.link = l
	ended := d.fw.ended(d.cfg.Now(), used)
	d.mu.Unlock()
	if !ended {
		err := d.subscribe(l, "dn/#")
		if err != nil && !(errors.Is(err, errNotYours) && used.Key != nil) {
			return err
		}
		ended = err != nil // by the gateway's clock
	}
	if ended {
		if err := d.subscribe(l, wire.DnKey); err != nil {
			return err
		}
	}
	return d.with(func(now time.Time) error {
		if d.link != l {
			return nil
		}
		if d.fw.used = used; ended || d.fw.ended(now, used) {
			d.fw.renew(now, l.send)
		} else {
			d.fw.born(now, l.send)
		}
		return nil
	})
}

// goodbye tells the gateway that the device leaves on purpose.
func (d *Device) goodbye(l *link) {
	said := false
	d.with(func(time.Time) error {
		if d.link == l && d.fw.send != nil {
			d.fw.bye("off")
			said = true
		}
		return nil
	})
	if !said {
		return
	}
	select {
	case <-l.over:
	case <-l.lost:
	case <-time.After(time.Second):
	}
}

// receive is called by the client for each frame, in order. The client acknowledges the frame when
// it returns.
func (d *Device) receive(l *link, topic string, payload []byte) {
	id, leaf, ok := wire.ParseTopic(topic)
	if !ok || id != l.id() {
		return
	}
	d.with(func(now time.Time) error {
		if d.link == l {
			d.fw.receive(now, leaf, payload)
		}
		return nil
	})
}

// link is one connection.
type link struct {
	client mqtt.Client
	ackW   time.Duration
	locked func(*link, func()) // runs a function with the device locked, if this is its link

	out  chan frame
	done chan struct{} // closed by close
	wg   sync.WaitGroup

	once sync.Once
	lost chan struct{} // closed when the connection has ended without our wish
	why  error         // before lost is closed
	ends sync.Once
	over chan struct{} // closed when our last frame has been acknowledged

	mu      sync.Mutex
	conn    net.Conn
	reached bool // there was a connection
}

// login is what a connection is opened with.
type login struct {
	id          device.ID // client ID
	user, token string
	secure      *tls.Config // for tls and wss; its ServerName may be empty
}

// refusedError is a gateway that is there, and does not let the device in; or one that the device
// does not trust.
type refusedError struct {
	code byte // of the CONNACK; 0: none came
	err  error
}

func (r refusedError) Error() string { return r.err.Error() }
func (r refusedError) Unwrap() error { return r.err }

// unknown reports whether the gateway does not know who it is.
func (r refusedError) unknown() bool { return r.code == packets.ErrRefusedNotAuthorised }

// open connects to the gateway. take is called for each frame that comes, in order.
func (d *Device) open(ctx context.Context, in login, take func(l *link, topic string, payload []byte)) (*link, error) {
	u, err := url.Parse(d.cfg.Gateway)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errConfig, err)
	}
	switch u.Scheme {
	case "tcp", "mqtt", "tls", "ssl", "mqtts", "ws", "wss":
	default:
		return nil, fmt.Errorf("%w: %q begins with none of tcp://, tls://, ws://, wss://", errConfig, d.cfg.Gateway)
	}
	l := &link{
		ackW: d.cfg.AckWait, out: make(chan frame, 256), done: make(chan struct{}), lost: make(chan struct{}), over: make(chan struct{}),
		locked: func(l *link, f func()) {
			d.with(func(time.Time) error {
				if d.link == l {
					f()
				}
				return nil
			})
		},
	}
	if in.secure.ServerName == "" {
		in.secure.ServerName = u.Hostname()
	}
	keepAlive := time.Minute
	if d.cfg.Class == device.Car {
		keepAlive = 30 * time.Second
	}
	o := mqtt.NewClientOptions().AddBroker(d.cfg.Gateway).
		SetClientID(string(in.id)).SetUsername(in.user).SetPassword(in.token).
		SetCleanSession(true).SetProtocolVersion(4).SetAutoReconnect(false).SetOrderMatters(true).
		SetKeepAlive(keepAlive).SetConnectTimeout(10 * time.Second).SetWriteTimeout(2 * time.Second).
		SetTLSConfig(in.secure).
		SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { take(l, m.Topic(), m.Payload()) }).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) { l.abort(err) }).
		SetCustomOpenConnectionFn(func(u *url.URL, o mqtt.ClientOptions) (net.Conn, error) { return l.dial(ctx, u, o) })
	l.client = mqtt.NewClient(o)
	stop := context.AfterFunc(ctx, func() { l.hangUp(nil) })
	defer stop()
	t := l.client.Connect()
	<-t.Done() // the client keeps to its ConnectTimeout
	if err := t.Error(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		err = fmt.Errorf("connect: %w", err)
		if code := t.(*mqtt.ConnectToken).ReturnCode(); code <= packets.ErrRefusedNotAuthorised {
			return nil, refusedError{code, err}
		}
		if slices.Contains(plainSchemes, u.Scheme) && (ended(err) || errors.Is(err, io.ErrUnexpectedEOF)) {
			err = fmt.Errorf("%w: %w", ErrTLS, err)
		}
		var alert *net.OpError
		var unverified *tls.CertificateVerificationError
		if l.wasReached() || errors.As(err, &alert) && alert.Op == "remote error" || errors.As(err, &unverified) {
			return nil, refusedError{0, err}
		}
		return nil, err
	}
	l.wg.Go(l.write)
	return l, nil
}

// plainSchemes are those without TLS.
var plainSchemes = []string{"tcp", "mqtt", "ws"}

// dial opens the socket and keeps it, so that it can be cut.
func (l *link) dial(ctx context.Context, u *url.URL, o mqtt.ClientOptions) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, o.ConnectTimeout)
	defer cancel()
	var conn net.Conn
	var err error
	switch {
	case strings.HasPrefix(u.Scheme, "ws"):
		conn, err = mqtt.NewWebsocket(u.String(), o.TLSConfig, o.ConnectTimeout, nil, nil)
	case u.Scheme == "tcp" || u.Scheme == "mqtt":
		conn, err = new(net.Dialer).DialContext(ctx, "tcp", u.Host)
	default:
		conn, err = (&tls.Dialer{Config: o.TLSConfig}).DialContext(ctx, "tcp", u.Host)
	}
	if !slices.Contains(plainSchemes, u.Scheme) && (errors.As(err, new(tls.RecordHeaderError)) || ended(err)) {
		err = fmt.Errorf("%w: %w", ErrNoTLS, err)
	}
	if err != nil {
		return nil, err
	}
	l.hangUp(conn)
	return conn, nil
}

// ended reports whether err is the other side's end of a connection.
func ended(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) }

func (l *link) wasReached() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reached
}

// hangUp closes the socket, if there is one, and keeps next in its place.
func (l *link) hangUp(next net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != nil {
		l.conn.Close()
	}
	l.conn = next
	l.reached = l.reached || next != nil
}

// send hands a frame to the connection; one that does not keep up is cut. It never blocks.
func (l *link) send(f frame) {
	select {
	case l.out <- f:
	default:
		l.abort(errors.New("the gateway does not read"))
	}
}

// write publishes what was handed to send.
func (l *link) write() {
	for {
		select {
		case <-l.done:
			return
		case <-l.lost:
			return
		case f := <-l.out:
			if f.leaf == "" {
				l.end()
				continue
			}
			t := l.client.Publish(wire.Topic(l.id(), f.leaf), f.qos, false, f.payload)
			if f.qos == 0 {
				continue
			}
			l.wg.Go(func() {
				patience := l.ackW
				if f.last {
					patience = min(patience, 5*time.Second)
				}
				if err := l.wait(t, patience); f.last {
					l.end()
				} else if err != nil {
					l.abort(fmt.Errorf("%s: %w", f.leaf, err))
				} else if f.acked != nil {
					l.locked(l, f.acked)
				}
			})
		}
	}
}

// end ends the connection with a DISCONNECT.
func (l *link) end() { l.ends.Do(func() { close(l.over) }) }

func (l *link) id() device.ID {
	r := l.client.OptionsReader()
	return device.ID(r.ClientID())
}

// wait waits for the gateway's answer.
func (l *link) wait(t mqtt.Token, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-t.Done():
		return t.Error()
	case <-l.lost:
		return l.why
	case <-l.done:
		return errors.New("the connection was closed")
	case <-timer.C:
		return errors.New("the gateway did not acknowledge it")
	}
}

// abort ends the connection without a word; the first reason stays.
func (l *link) abort(why error) {
	l.once.Do(func() {
		l.why = why
		close(l.lost)
		l.hangUp(nil)
	})
}

// close ends the connection, with the client's DISCONNECT if it still stands, and waits for
// everything it began.
func (l *link) close() {
	l.client.Disconnect(250)
	close(l.done)
	l.wg.Wait()
	l.hangUp(nil)
}

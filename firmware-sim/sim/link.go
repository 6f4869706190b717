package sim

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

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
	pause := d.cfg.Retry
	for ctx.Err() == nil {
		d.mu.Lock()
		cut := d.cut
		d.mu.Unlock()
		if cut {
			select {
			case <-ctx.Done():
			case <-d.dial:
			}
			continue
		}
		ready, err := d.session(ctx)
		if errors.Is(err, errConfig) {
			return fmt.Errorf("connect %s: %w", d.cfg.Name, err)
		}
		if ctx.Err() != nil {
			return nil
		}
		if ready {
			pause = d.cfg.Retry
		}
		timer := time.NewTimer(pause/2 + rand.N(pause/2+1))
		select {
		case <-ctx.Done():
		case <-d.dial:
		case <-timer.C:
		}
		timer.Stop()
		pause = min(2*pause, d.cfg.MaxRetry)
	}
	return nil
}

// errConfig means that connecting again would fail again.
var errConfig = errors.New("bad gateway address")

// session is one connection from its beginning to its end; ready is whether a beacon came.
func (d *Device) session(ctx context.Context) (ready bool, err error) {
	l, err := d.open(ctx)
	if err == nil {
		err = d.begin(l)
	}
	if err == nil {
		watchdog := time.AfterFunc(d.cfg.AckWait, func() {
			if !d.State().Ready {
				l.abort(errors.New("no beacon has come"))
			}
		})
		select {
		case <-ctx.Done():
			d.goodbye(l)
		case <-l.lost:
			err = l.why
		}
		watchdog.Stop()
	}
	if l != nil {
		l.close()
	}
	d.with(func(time.Time) error {
		if d.link != l {
			return nil // a power cut or a pulled cable: said already
		}
		ready = d.fw.beaconed
		d.link = nil
		d.fw.lost()
		if err != nil {
			d.fw.note(Event{Kind: Away, Why: err.Error()})
		}
		return nil
	})
	return ready, err
}

// begin subscribes and sends the birth.
func (d *Device) begin(l *link) error {
	d.mu.Lock()
	if d.cut {
		d.mu.Unlock()
		return errors.New("the cable was pulled")
	}
	d.link = l
	d.mu.Unlock()
	topic := "pl/1/" + string(d.cfg.ID) + "/dn/#"
	t := l.client.Subscribe(topic, 1, nil)
	if err := l.wait(t, d.cfg.AckWait); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	if got := t.(*mqtt.SubscribeToken).Result()[topic]; got > 1 {
		return fmt.Errorf("subscribe: the gateway refused %s", topic)
	}
	return d.with(func(now time.Time) error {
		if d.link == l {
			d.fw.born(now, l.send)
		}
		return nil
	})
}

// goodbye tells the gateway that the device leaves on purpose.
func (d *Device) goodbye(l *link) {
	said := make(chan struct{})
	d.with(func(time.Time) error {
		if d.link == l {
			d.fw.publish(wire.UpBye, 1, wire.Bye{Seq: d.fw.seq, Reason: "off"}, func() { close(said) })
		}
		return nil
	})
	select {
	case <-said:
	case <-l.lost:
	case <-time.After(time.Second):
	}
}

// receive is called by the client for each frame, in order. The client acknowledges the frame when
// it returns.
func (d *Device) receive(l *link, topic string, payload []byte) {
	id, leaf, ok := wire.ParseTopic(topic)
	if !ok || id != d.cfg.ID {
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

	mu   sync.Mutex
	conn net.Conn
}

// open connects to the gateway.
func (d *Device) open(ctx context.Context) (*link, error) {
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
		ackW: d.cfg.AckWait, out: make(chan frame, 256), done: make(chan struct{}), lost: make(chan struct{}),
		locked: func(l *link, f func()) {
			d.with(func(time.Time) error {
				if d.link == l {
					f()
				}
				return nil
			})
		},
	}
	keepAlive := time.Minute
	if d.cfg.Class == device.Car {
		keepAlive = 30 * time.Second
	}
	o := mqtt.NewClientOptions().AddBroker(d.cfg.Gateway).
		SetClientID(string(d.cfg.ID)).SetUsername(string(d.cfg.ID)).SetPassword(d.cfg.Token).
		SetCleanSession(true).SetProtocolVersion(4).SetAutoReconnect(false).SetOrderMatters(true).
		SetKeepAlive(keepAlive).SetConnectTimeout(10 * time.Second).SetWriteTimeout(2 * time.Second).
		SetTLSConfig(&tls.Config{RootCAs: d.cfg.Roots, ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}).
		SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { d.receive(l, m.Topic(), m.Payload()) }).
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
		return nil, fmt.Errorf("connect: %w", err)
	}
	l.wg.Go(l.write)
	return l, nil
}

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
	if err != nil {
		return nil, err
	}
	l.hangUp(conn)
	return conn, nil
}

// hangUp closes the socket, if there is one, and keeps next in its place.
func (l *link) hangUp(next net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != nil {
		l.conn.Close()
	}
	l.conn = next
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
			t := l.client.Publish(wire.Topic(l.id(), f.leaf), f.qos, false, f.payload)
			if f.qos == 0 {
				continue
			}
			l.wg.Go(func() {
				if err := l.wait(t, l.ackW); err != nil {
					l.abort(fmt.Errorf("%s: %w", f.leaf, err))
				} else if f.acked != nil {
					l.locked(l, f.acked)
				}
			})
		}
	}
}

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

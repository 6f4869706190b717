package api

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"porchlight/device"
)

// Limiter holds each brand to a rate, whichever door it comes through.
type Limiter struct {
	rate  rate.Limit
	burst int

	mu     sync.Mutex
	brands map[device.BrandID]*rate.Limiter
}

// NewLimiter returns a Limiter that lets each brand do burst things at once and perSecond in
// the long run.
func NewLimiter(perSecond float64, burst int) *Limiter {
	return &Limiter{rate: rate.Limit(perSecond), burst: burst, brands: map[device.BrandID]*rate.Limiter{}}
}

// Allow takes one from what brand b may do now. If nothing is left, it takes nothing and says
// when there will be.
func (l *Limiter) Allow(b device.BrandID) (ok bool, retryAfter time.Duration) {
	l.mu.Lock()
	each := l.brands[b]
	if each == nil {
		each = rate.NewLimiter(l.rate, l.burst)
		l.brands[b] = each
	}
	l.mu.Unlock()
	r := each.Reserve()
	if !r.OK() {
		return false, time.Minute // a burst of none
	}
	if wait := r.Delay(); wait > 0 {
		r.Cancel()
		return false, wait
	}
	return true, 0
}

// newShed counts what is not taken in because there is no room for it.
func newShed() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "porchlight_http_shed_total",
		Help: "Requests and connections refused because the gateway had too much to do, by what there was too much of: brands (messages on their way to the disk), store, homes, memory, connections; disk (it cannot be written), late (the answer took too long)."}, []string{"reason"})
}

// patience is how long a request may wait for the disk before it is told to come again.
var patience = 30 * time.Second

var errLate = errors.New("it takes too long")

// within returns what f does, or errLate if that takes longer than patience: f then goes on by itself.
func within[T any](f func() (T, error)) (T, error) {
	type outcome struct {
		answer T
		err    error
		panics any
	}
	done := make(chan outcome, 1)
	go func() {
		o := outcome{err: errors.New("the request's goroutine has ended")}
		returned := false
		defer func() {
			if !returned {
				o.panics = recover()
			}
			done <- o
		}()
		o.answer, o.err = f()
		returned = true
	}()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case o := <-done:
		if o.panics != nil {
			panic(o.panics) // where it is met, and told as a fault
		}
		return o.answer, o.err
	case <-timer.C:
		var none T
		return none, errLate
	}
}

// late makes of a request's time being over the error that says so.
func late(ctx context.Context, err error) error {
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return errLate
	}
	return err
}

// mostConnections of one listener; more are closed as they come.
const mostConnections = 4096

// bounded is a listener with that many connections.
type bounded struct {
	net.Listener
	open atomic.Int64
	most int64
	shed prometheus.Counter
}

// Accept waits for a connection that there is room for.
func (b *bounded) Accept() (net.Conn, error) {
	for {
		c, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if b.open.Add(1) <= b.most {
			return &counted{Conn: c, leave: sync.OnceFunc(func() { b.open.Add(-1) })}, nil
		}
		b.open.Add(-1)
		b.shed.Inc()
		c.Close()
	}
}

// counted is a connection that leaves its place when it is closed.
type counted struct {
	net.Conn
	leave func()
}

// Close closes it.
func (c *counted) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

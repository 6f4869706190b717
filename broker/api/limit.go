package api

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
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
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "porchlight_http_shed_total",
		Help: "Requests and connections refused because there was too much, by what there was too much of: brands (messages on their way to the disk), store, homes, memory, connections, address (connections of one address); disk (it cannot be written), late (the answer took too long)."}, []string{"reason"})
	for _, expected := range []string{"brands", "store", "homes", "memory", "connections", "address", "disk", "late"} {
		c.WithLabelValues(expected) // from the beginning, so that the first time counts as a change
	}
	return c
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

// errGone is the end of a request whose client has hung up: nobody hears the answer.
var errGone = errors.New("the client has hung up")

// late makes of a request's time being over the error that says so.
func late(ctx context.Context, err error) error {
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return errLate
	}
	return err
}

// seldom is for a line of the log that every request could cause. The zero value has written none.
type seldom struct {
	mu    sync.Mutex
	last  time.Time // when a line was written
	since int       // times that there was none
}

// due reports whether a line is to be written now, which is once a minute, and how many it stands for.
func (s *seldom) due(now time.Time) (times int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since++
	if now.Sub(s.last) < time.Minute {
		return 0, false
	}
	times, s.since, s.last = s.since, 0, now
	return times, true
}

// newOften has a seldom for each reason that has a line.
func newOften() map[string]*seldom {
	return map[string]*seldom{"connections": {}, "address": {}, "disk": {}, "late": {}}
}

// Connections of one listener, and of one address at it unless [Options] say otherwise; more are closed as they come.
const (
	mostConnections = 4096
	mostPerAddress  = 1000
)

// bounded is a listener with so many connections, and so many of one address.
type bounded struct {
	net.Listener
	most, perAddress int
	refused          func(why string, from netip.Addr)

	mu   sync.Mutex
	open int
	from map[netip.Addr]int
}

// Accept waits for a connection that there is room for.
func (b *bounded) Accept() (net.Conn, error) {
	for {
		c, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := device.Neighbours(c.RemoteAddr())
		if why := b.enter(from); why != "" {
			b.refused(why, from)
			c.Close()
			continue
		}
		return &counted{Conn: c, leave: sync.OnceFunc(func() { b.left(from) })}, nil
	}
}

// enter counts a connection in; why says of what there are too many instead.
func (b *bounded) enter(from netip.Addr) (why string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.open >= b.most:
		return "connections"
	case b.from[from] >= b.perAddress:
		return "address"
	}
	if b.from == nil {
		b.from = map[netip.Addr]int{}
	}
	b.open++
	b.from[from]++
	return ""
}

// left counts one out.
func (b *bounded) left(from netip.Addr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open--
	if b.from[from]--; b.from[from] == 0 {
		delete(b.from, from)
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

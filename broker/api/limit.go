package api

import (
	"sync"
	"time"

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

package broker

import (
	"sync"
	"sync/atomic"
	"time"

	"porchlight/broker/delivery"
	"porchlight/device"
)

// refusals gathers what the door refuses, so that it can be written down: each sort of refusal of
// each peer at once and then once an hour, with how often it came. What a stranger can cause is
// bounded; the metrics count all of it.
type refusals struct {
	mu      sync.Mutex
	all     map[refusal]*tally
	homes   map[device.HomeID]int
	strange int       // entries of strangers written in this hour
	hour    time.Time // when it began
	wake    chan struct{}
	lost    atomic.Int64 // refusals that were not kept
}

// waiting is how many sorts are still to be written down.
func (r *refusals) waiting() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.all {
		if t.count > 0 {
			n++
		}
	}
	return n
}

// refusal is one sort of one peer.
type refusal struct {
	peer, from, what string
	home             device.HomeID
}

type tally struct {
	count   int       // since it was written
	written time.Time // zero: never
}

const (
	knownRefusals   = 4096
	knownOfAHome    = 256
	strangersAnHour = 1000
)

// refuse takes in that somebody was refused something. home is 0 for whoever is no device.
func (r *refusals) refuse(peer string, home device.HomeID, from, what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := refusal{peer, from, what, home}
	t := r.all[k]
	if t == nil {
		if len(r.all) >= knownRefusals || home == device.Gateway && len(r.all) >= knownRefusals/2 {
			r.lost.Add(1) // the metrics have it; strangers leave room for what devices do
			return
		}
		if home != device.Gateway && r.homes[home] >= knownOfAHome {
			r.lost.Add(1)
			return
		}
		t = new(tally)
		r.all[k] = t
		r.homes[home]++
	}
	if t.count++; t.count == 1 && t.written.IsZero() {
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}

// take returns what is to be written down now.
func (r *refusals) take(now time.Time) (due []delivery.Refusal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.hour) >= time.Hour {
		r.hour, r.strange = now, 0
	}
	for k, t := range r.all {
		switch {
		case t.count == 0:
			if now.Sub(t.written) >= time.Hour {
				delete(r.all, k)
				if r.homes[k.home]--; r.homes[k.home] == 0 {
					delete(r.homes, k.home)
				}
			}
			continue
		case !t.written.IsZero() && now.Sub(t.written) < time.Hour:
			continue
		case k.home == device.Gateway && r.strange >= strangersAnHour:
			continue
		case k.home == device.Gateway:
			r.strange++
		}
		due = append(due, delivery.Refusal{Peer: k.peer, Home: k.home, From: k.from, What: k.what, Count: t.count})
		t.count, t.written = 0, now
	}
	return due
}

// write writes down what was refused until the door closes.
func (d *Door) write() {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for done := false; !done; {
		select {
		case <-d.refusals.wake:
		case <-tick.C:
		case <-d.closing:
			done = true
		}
		if due := d.refusals.take(time.Now()); len(due) > 0 {
			if err := d.o.Audit(due); err != nil {
				d.fault("refusals could not be written down", "error", err)
			}
		}
	}
}

// refuseLogin is refuse for somebody who claims to be peer and was not let in.
func (d *Door) refuseLogin(c *conn, peer, what string) {
	if d.o.Audit != nil {
		d.refusals.refuse(peer, device.Gateway, c.from(), what)
	}
}

// refuse is refusals.refuse for whoever is behind c.
func (d *Door) refuse(c *conn, what string) {
	if d.o.Audit == nil {
		return
	}
	var peer string
	var home device.HomeID
	switch p := c.peer.(type) {
	case *link:
		peer, home = string(p.device), p.home
	case *side:
		peer, home = string(p.link.device), p.link.home // a suffix is nobody
	case nil:
		if c.client != nil {
			peer = claim(c.client.ID)
		}
	default:
		peer = p.name()
	}
	d.refusals.refuse(peer, home, c.from(), what)
}

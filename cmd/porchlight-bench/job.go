package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"
)

func init() { parts = append(parts, part{"job", job}) }

// job measures the whole job, durable: a brand pushes, the home's choice is looked up, it is decided, the screen is
// sent the message, and what the screen says of it is on disk. Ours is the gateway, the peer mosquitto, OPA and
// PostgreSQL with a program between them. Both have the same homes, brands, messages, screens and callers, both are
// up all the time, they work in turns, and who does not work is stopped. All of it and the generator share the machine's cores.
func job(ctx context.Context, s setting) (all []figure, err error) {
	homes, rounds, lasts, atRest := 1000, 3, 5*time.Second, 10*time.Second
	if s.small {
		homes, rounds, lasts, atRest = 40, 1, 1500*time.Millisecond, 1500*time.Millisecond
	}
	glued, err := gluedSide(ctx, s, homes)
	if err != nil {
		return nil, err
	}
	if glued == nil {
		s.say("the stack to compare with cannot be put together: figures of the whole job are left out")
		return nil, nil
	}
	defer glued.close()
	ours, err := gatewaySide(ctx, s, homes)
	if err != nil {
		return nil, err
	}
	defer ours.close()
	sides := []*side{ours, glued}
	const peer = "mosquitto, OPA and PostgreSQL"

	work := func(name string, rate float64, lasts time.Duration) ([2]jobRun, error) {
		var each [2][]jobRun
		for range rounds {
			for i, one := range sides {
				r, err := one.alone(sides[1-i], func() (jobRun, error) { return one.work(ctx, rate, lasts) })
				if err != nil {
					return [2]jobRun{}, fmt.Errorf("%s, %s: %w", one.name, name, err)
				}
				s.say("%s, %s: %.0f messages a second, p50 %.2f ms, p99 %.2f ms, CPU %.0f µs a message%s, the generator's %.0f µs", name, one.name, r.perSecond, r.p50, r.p99, r.cpu, r.whose, r.generator)
				each[i] = append(each[i], r)
			}
		}
		return [2]jobRun{middleRun(each[0]), middleRun(each[1])}, nil
	}
	if _, err := work("warming up", 0, lasts/4); err != nil {
		return nil, err
	}
	full, err := work("as many as can be", 0, lasts)
	if err != nil {
		return nil, err
	}
	all = append(all,
		exceeds("whole job, 64 callers", "messages/s", full[0].perSecond, full[1].perSecond, peer),
		versus("the same, processor time of all servers", "µs/message", full[0].cpu, full[1].cpu, peer),
		alone("the same, the generator's beside ours", "µs/message", full[0].generator),
		alone("the same, the generator's beside the peer", "µs/message", full[1].generator))
	memory := [2]float64{}
	for i, one := range sides {
		if memory[i], err = one.memory(); err != nil {
			return all, err
		}
	}
	all = append(all, versus(fmt.Sprintf("the same, memory of all servers, %d screens connected", homes), "MB", memory[0], memory[1], peer))
	for _, load := range []struct {
		name string
		rate float64
	}{
		{"200 messages/s", 200},
		{"eight tenths of what the peer can do", 0.8 * full[1].perSecond},
	} {
		r, err := work(load.name, load.rate, atRest)
		if err != nil {
			return all, err
		}
		name := fmt.Sprintf("whole job at %s, from the push to the receipt on disk", load.name)
		all = append(all, versus(name+", p50", "ms", r[0].p50, r[1].p50, peer), versus(name+", p99", "ms", r[0].p99, r[1].p99, peer),
			versus(fmt.Sprintf("whole job at %s, processor time", load.name), "µs/message", r[0].cpu, r[1].cpu, peer))
	}
	for _, one := range sides {
		shown, err := one.shown(ctx)
		if err != nil {
			return all, err
		}
		if shown != one.pushed {
			return all, fmt.Errorf("%s: %d messages were pushed, and of %d both receipts are on disk", one.name, one.pushed, shown)
		}
		s.say("%s: %d messages pushed, of each both receipts on disk", one.name, shown)
	}
	return all, nil
}

// alone has one side work while the other is stopped, and what either has written before is on the disk: what a side
// does in the background it does in its own turns.
func (one *side) alone(other *side, work func() (jobRun, error)) (r jobRun, err error) {
	if err := other.signal(syscall.SIGSTOP); err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, other.signal(syscall.SIGCONT)) }()
	syscall.Sync()
	return work()
}

// signal sends a signal to every process of a side.
func (one *side) signal(s syscall.Signal) error {
	for _, p := range one.servers {
		for _, pid := range p.family() {
			if err := syscall.Kill(pid, s); err != nil && !errors.Is(err, syscall.ESRCH) { // a child may have ended
				return fmt.Errorf("%v to %s: %w", s, p.name, err)
			}
		}
	}
	return nil
}

// middleRun takes the median of each figure.
func middleRun(all []jobRun) (m jobRun) {
	for _, of := range []func(*jobRun) *float64{
		func(r *jobRun) *float64 { return &r.perSecond }, func(r *jobRun) *float64 { return &r.cpu }, func(r *jobRun) *float64 { return &r.generator },
		func(r *jobRun) *float64 { return &r.p50 }, func(r *jobRun) *float64 { return &r.p99 },
	} {
		var values []float64
		for i := range all {
			values = append(values, *of(&all[i]))
		}
		slices.Sort(values)
		*of(&m) = values[len(values)/2]
	}
	return m
}

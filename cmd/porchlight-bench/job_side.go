package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// side is one way to do the whole job. Every home has one screen; the first ones have said yes to a brand of their
// own each.
type side struct {
	name    string
	servers []*process
	http    string   // where brands push
	keys    []string // API keys: that of the brand to which home n has said yes
	screens []*screen
	pushed  int // so far
	shown   func(context.Context) (int, error)
	close   func()

	free chan int // homes with a brand whose screen is free
	errs chan error
}

// screen is the one screen of a home, as the generator plays it: it shows every message at once, for no time.
type screen struct {
	n    int
	side *side
	*client
	up, down string // topics
	born     func(*screen) error
	// message is the ID of the message in a payload.
	message func(payload []byte) (string, error)
	// receipt says that a message was presented, or that its time was over.
	receipt func(sc *screen, id string, over bool) ([]byte, error)
	seq     uint64
	told    bool // by PUBACK that a receipt is on disk; otherwise by the side

	began  atomic.Int64 // when the message was pushed that it waits for, in nanoseconds; 0: it waits for none
	took   atomic.Int64 // until it was presented, on disk
	wanted atomic.Int64 // receipts that are not on disk yet
}

// The packet IDs of receipts.
const (
	presentedID = 1
	overID      = 2
)

// onDisk takes in that a receipt is on disk.
func (sc *screen) onDisk(over bool) {
	if !over {
		sc.took.Store(time.Now().UnixNano() - sc.began.Load())
	}
	if sc.wanted.Add(-1) == 0 {
		sc.side.free <- sc.n
	}
}

// listen shows what comes, until the connection ends.
func (sc *screen) listen() error {
	for {
		for more := true; more; more = sc.in.Buffered() > 0 {
			kind, body, err := sc.next()
			if err != nil {
				return err
			}
			switch {
			case kind == kindPuback && len(body) == 2:
				if id := int(body[0])<<8 | int(body[1]); sc.told && (id == presentedID || id == overID) {
					sc.onDisk(id == overID)
				}
			case kind&0xf0 == kindPublish:
				topic := topicOf(body)
				shown := topic == sc.down
				payload, err := sc.received(kind, body)
				if err != nil {
					return err
				}
				if !shown {
					continue
				}
				id, err := sc.message(payload)
				if err != nil {
					return err
				}
				for _, over := range []bool{false, true} {
					r, err := sc.receipt(sc, id, over)
					if err != nil {
						return err
					}
					packet := uint16(presentedID)
					if over {
						packet = overID
					}
					sc.out = appendPublish(sc.out, sc.up, packet, r)
				}
			}
		}
		if err := sc.flush(); err != nil {
			return err
		}
	}
}

// connect connects all screens and has them listen.
func (one *side) connect(address string, who []login) error {
	one.free, one.errs = make(chan int, len(one.screens)), make(chan error, len(one.screens)+64)
	err := many(len(one.screens), 32, func(i int) (err error) {
		sc := one.screens[i]
		sc.n, sc.side = i, one
		if sc.client, err = (dialing{address: address}).open(i, who[i]); err != nil {
			return err
		}
		return sc.born(sc)
	})
	if err != nil {
		return fmt.Errorf("%s: connect screens: %w", one.name, err)
	}
	for i, sc := range one.screens {
		if i < len(one.keys) {
			one.free <- i
		}
		go func() {
			if err := sc.listen(); err != nil && !errors.Is(err, net.ErrClosed) {
				one.errs <- fmt.Errorf("screen %d: %w", i, err)
			}
		}()
	}
	return nil
}

// jobRun is what one run of one side came to.
type jobRun struct {
	perSecond      float64 // messages of which both receipts are on disk
	cpu, generator float64 // µs a message
	whose          string  // the processor time, in words
	p50, p99       float64 // ms, from when a push was due until it was presented, on disk
}

// callers is how many brands push at the same time.
const callers = 64

// work pushes for so long, at a rate or as fast as answers come, and returns when every message that was pushed has
// both its receipts on disk.
func (one *side) work(ctx context.Context, rate float64, lasts time.Duration) (r jobRun, err error) {
	var began, end time.Time
	var spent []time.Duration
	var generator time.Duration
	var taken []int // homes, in the order in which they were free
	defer func() {
		for _, n := range taken {
			one.free <- n
		}
	}()
	cpu := func() (each []time.Duration, err error) {
		for _, p := range one.servers {
			t, err := p.spentWithChildren()
			if err != nil {
				return nil, err
			}
			each = append(each, t)
		}
		return each, nil
	}
	if spent, err = cpu(); err != nil {
		return r, err
	}
	generator, began = own(), time.Now()
	stop := began.Add(lasts)
	var turn atomic.Int64
	var mu sync.Mutex
	var took []float64
	pushed := 0
	failed := make(chan error, callers)
	ctx, cancel := context.WithTimeout(ctx, lasts+patience)
	defer cancel()
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			var mine []float64
			c, err := newCaller(one.http)
			n := 0
			defer func() {
				mu.Lock()
				defer mu.Unlock()
				took, pushed = append(took, mine...), pushed+n
				if err != nil {
					failed <- err
					cancel()
				}
			}()
			if err != nil {
				return
			}
			defer c.Close()
			for {
				due := time.Now()
				if rate > 0 {
					due = began.Add(time.Duration(float64(turn.Add(1)-1) / rate * 1e9))
				}
				if due.After(stop) {
					return
				}
				time.Sleep(time.Until(due))
				var home int
				select {
				case home = <-one.free:
				case e := <-one.errs:
					err = e
					return
				case <-ctx.Done():
					err = fmt.Errorf("no screen was free in all that time: %w", context.Cause(ctx))
					return
				}
				sc := one.screens[home]
				if t := sc.took.Swap(0); t != 0 {
					mine = append(mine, float64(t)/1e6)
				}
				sc.wanted.Store(2)
				sc.began.Store(due.UnixNano())
				if err = c.push(one.keys[home]); err != nil {
					return
				}
				n++
			}
		})
	}
	all.Wait()
	one.pushed += pushed
	for range one.keys {
		select {
		case n := <-one.free:
			taken = append(taken, n)
			if t := one.screens[n].took.Swap(0); t != 0 {
				took = append(took, float64(t)/1e6)
			}
		case err := <-failed:
			return r, err
		case err := <-one.errs:
			return r, err
		case <-ctx.Done():
			return r, fmt.Errorf("of %d messages %d have no receipt on disk: %s", pushed, len(one.keys)-len(taken), one.complaints())
		}
	}
	end = time.Now()
	after, err := cpu()
	if err != nil {
		return r, err
	}
	if len(took) != pushed || pushed == 0 {
		return r, fmt.Errorf("%d messages were pushed, and %d presented", pushed, len(took))
	}
	slices.Sort(took)
	micros := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(pushed) }
	r = jobRun{
		perSecond: float64(pushed) / end.Sub(began).Seconds(), generator: micros(own() - generator),
		p50: took[len(took)/2], p99: took[(len(took)*99+99)/100-1],
	}
	for i, p := range one.servers {
		r.cpu += micros(after[i] - spent[i])
		r.whose += fmt.Sprintf(", %s %.0f", p.name, micros(after[i]-spent[i]))
	}
	return r, nil
}

// complaints are the ends of what the servers have printed.
func (one *side) complaints() string {
	var b strings.Builder
	for _, p := range one.servers {
		said := p.said.String()
		fmt.Fprintf(&b, "%s: %s; ", p.name, said[max(0, len(said)-300):])
	}
	return b.String()
}

// memory is what all servers hold, in MB; what they share is counted once.
func (one *side) memory() (float64, error) {
	var sum int64
	for _, p := range one.servers {
		for _, pid := range p.family() {
			raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
			if err != nil {
				return 0, err
			}
			_, rest, _ := bytes.Cut(raw, []byte("\nPss:"))
			fields := bytes.Fields(rest)
			if len(fields) == 0 {
				return 0, fmt.Errorf("/proc/%d/smaps_rollup has no Pss", pid)
			}
			kb, err := strconv.ParseInt(string(fields[0]), 10, 64)
			if err != nil {
				return 0, err
			}
			sum += kb << 10
		}
	}
	return float64(sum) / 1e6, nil
}

// family is a process and its children.
func (p *process) family() []int {
	pid := p.cmd.Process.Pid
	all := []int{pid}
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return all // it has ended
	}
	for _, f := range strings.Fields(string(raw)) {
		if n, err := strconv.Atoi(f); err == nil {
			all = append(all, n)
		}
	}
	return all
}

// spentWithChildren is spent, with what its children have had, those that have ended among them.
func (p *process) spentWithChildren() (sum time.Duration, err error) {
	for i, pid := range p.family() {
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			if i > 0 {
				continue // it has ended a moment ago
			}
			return 0, fmt.Errorf("processor time of %s: %w: %s", p.name, err, p.said.String())
		}
		_, after, _ := bytes.Cut(raw, []byte(") "))
		fields := strings.Fields(string(after))
		if len(fields) < 15 {
			return 0, errors.New("/proc/PID/stat is not as expected")
		}
		for _, f := range fields[11:15] {
			ticks, err := strconv.ParseInt(f, 10, 64)
			if err != nil {
				return 0, err
			}
			sum += time.Duration(ticks) * 10 * time.Millisecond
		}
	}
	return sum, nil
}

// caller is a brand's connection: HTTP by hand, so that it costs little.
type caller struct {
	net.Conn
	in  *bufio.Reader
	out []byte
}

// jobLife is until when a message of the job may be shown.
const jobLife = 10 * time.Minute

var jobKeys atomic.Int64

func newCaller(address string) (*caller, error) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	return &caller{Conn: c, in: bufio.NewReader(c)}, nil
}

// push hands in one message and waits until it is accepted.
func (c *caller) push(key string) error {
	body := `{"purpose":"marketing","category":"groceries","not_after":"` + time.Now().Add(jobLife).UTC().Format(time.RFC3339) +
		`","texts":[{"language":"en","title":"Fresh milk","body":"Mountain milk is 1.20 today, and a mild cheese from the valley goes with it."}]}`
	c.out = fmt.Appendf(c.out[:0], "POST /v1/messages HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer %s\r\nIdempotency-Key: k-%d\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		key, jobKeys.Add(1), len(body), body)
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := c.Write(c.out); err != nil {
		return err
	}
	status, length := "", 0
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return fmt.Errorf("push: %w", err)
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		if status == "" {
			status = string(line)
			continue
		}
		if name, value, ok := bytes.Cut(line, []byte(": ")); ok && bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(value)); err != nil {
				return err
			}
		}
	}
	if strings.HasPrefix(status, "HTTP/1.1 202") {
		_, err := c.in.Discard(length)
		return err
	}
	why := make([]byte, length)
	_, _ = io.ReadFull(c.in, why)
	return fmt.Errorf("push: %s: %.300s", status, why)
}

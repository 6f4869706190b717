package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"porchlight/device"
	"porchlight/device/wire"
)

// screens are devices that take what they are sent, acknowledge it, and say of what is called back that it is gone.
type screens struct {
	clients []*client
	seqs    []uint64
	tasks   sync.WaitGroup
	frame   atomic.Pointer[[]byte] // a message as it was sent

	offered, recalled, confirmed atomic.Int64 // each acknowledged: by us, by us, to us
}

func (s *screens) run() {
	for i, c := range s.clients {
		s.tasks.Go(func() {
			for s.one(c, &s.seqs[i]) == nil { // it ends when it is closed
			}
		})
	}
}

func (s *screens) one(c *client, seq *uint64) error {
	var offered, recalled, confirmed int64
	for more := true; more; more = c.in.Buffered() > 0 {
		kind, body, err := c.next()
		if err != nil {
			return err
		}
		if kind == kindPuback {
			confirmed++
			continue
		}
		if kind&0xf0 != kindPublish {
			continue
		}
		payload, err := c.received(kind, body)
		if err != nil {
			return err
		}
		if kind&qos1 == 0 || !topicIs(body, "/"+string(wire.DnMsg)) {
			continue
		}
		shown, cancelled, err := wire.DecodeMsg(payload)
		switch {
		case err != nil:
			return err
		case shown != nil:
			offered++
			if s.frame.Load() == nil {
				kept := slices.Clone(payload)
				s.frame.Store(&kept)
			}
		case cancelled != nil:
			recalled++
			*seq++
			event, err := wire.Encode(wire.Event{Seq: *seq, Message: cancelled.Message, Kind: wire.Cancelled})
			if err != nil {
				return err
			}
			c.out = appendPublish(c.out, wire.Topic(device.ID(c.id), wire.UpEvt), 2, event)
		}
	}
	err := c.flush()
	s.offered.Add(offered)
	s.recalled.Add(recalled)
	s.confirmed.Add(confirmed)
	return err
}

// topicIs looks at the end of a PUBLISH's topic.
func topicIs(body []byte, end string) bool {
	n := int(binary.BigEndian.Uint16(body))
	return n >= len(end) && 2+n <= len(body) && string(body[2+n-len(end):2+n]) == end
}

// reach waits until a counter has come so far.
func reach(ctx context.Context, what string, n *atomic.Int64, goal int64) error {
	for end := time.Now().Add(patience); n.Load() < goal; time.Sleep(200 * time.Microsecond) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s: %d of %d", what, n.Load(), goal)
		}
	}
	return nil
}

// fanout is one message to a thousand screens. The gateway takes it from the brand over HTTP, judges it in a
// thousand homes, writes each claim to disk, and sends it with all that the device needs to stop by itself. A
// broker copies a frame of the same size.
func (d *door) fanout() error {
	n, rounds := pick(d, 1000, 20), pick(d, 5, 1)
	g, devices, err := d.fridges("fan", n)
	if err != nil {
		return err
	}
	defer g.stop()
	s := &screens{seqs: make([]uint64, n)}
	s.clients, err = crowd(n, 32, func(i int) (*client, error) {
		c, err := dialing{address: g.plain}.open(i, devices[i])
		if err == nil {
			err = c.be(&s.seqs[i])
		}
		return c, err
	})
	defer s.tasks.Wait()
	defer func() { closeAll(s.clients) }()
	if err != nil {
		return err
	}
	s.run()
	var ours, whole []float64
	for round := range rounds + 1 {
		before, err := g.spent()
		if err != nil {
			return err
		}
		began, goal := time.Now(), int64((round+1)*n)
		id, err := g.push(d.ctx, fmt.Sprint("fan-", round), nil)
		if err == nil {
			err = reach(d.ctx, "the message was acknowledged by", &s.offered, goal)
		}
		if err != nil {
			return err
		}
		took := time.Since(began)
		time.Sleep(100 * time.Millisecond)
		after, err := g.spent()
		if err != nil {
			return err
		}
		if err := g.withdraw(d.ctx, id); err != nil {
			return err
		}
		if err := reach(d.ctx, "it was called back from", &s.recalled, goal); err != nil {
			return err
		}
		if err := reach(d.ctx, "it was confirmed to be gone from", &s.confirmed, goal); err != nil {
			return err
		}
		if round > 0 || rounds == 1 {
			ours, whole = append(ours, (after-before).Seconds()*1e6/float64(n)), append(whole, took.Seconds()*1000)
			d.say("Porchlight: %.1f µs a delivery, %.0f ms for all", last(ours), last(whole))
		}
	}
	frame := *s.frame.Load()
	closeAll(s.clients)
	s.tasks.Wait()
	g.stop()

	peers, err := d.brokers("mochi", "mosquitto")
	if err != nil {
		return err
	}
	defer stopAll(peers)
	var costs []figure
	for _, b := range peers {
		cost, took, err := d.copies(b, n, frame)
		if err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
		d.say("%s: %.1f µs a delivery of %d bytes, %.1f ms for all", b.name, cost, len(frame), took)
		costs = append(costs, versus(fmt.Sprintf("one message to %d screens, judged in each home and written down, processor", n), "µs/delivery", median(ours), cost, b.name+", which copies a frame"))
	}
	d.add(costs...)
	d.add(alone("the same, until the last screen has it", "ms", median(whole)))
	return nil
}

// withdraw takes a message back as the brand does.
func (g *gateway) withdraw(ctx context.Context, id string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, "http://"+g.http+"/v1/messages/"+id, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+g.brandKey)
	return answer(http.DefaultClient, req, http.StatusOK, nil)
}

// copies is what a broker needs to give a frame to n subscribers: µs each, ms for all.
func (d *door) copies(b *broker, n int, frame []byte) (cost, took float64, err error) {
	const topic = "pl/1/all/dn/msg"
	var t tally
	var tasks sync.WaitGroup
	subscribers, err := crowd(n, 32, func(i int) (*client, error) {
		c, err := dialing{address: b.plain}.open(i, login{fmt.Sprint("screen-", i), "u", "x"})
		if err == nil {
			err = c.subscribe(topic)
		}
		return c, err
	})
	defer tasks.Wait()
	defer closeAll(subscribers)
	if err != nil {
		return 0, 0, err
	}
	for _, c := range subscribers {
		tasks.Go(func() { _ = c.drain(&t, nil) }) // it ends when it is closed
	}
	sender, err := dialing{address: b.plain}.open(0, login{"sender", "u", "x"})
	if err != nil {
		return 0, 0, err
	}
	defer sender.Close()
	goal := int64(0)
	send := func(times int) error {
		for range times {
			goal += int64(n)
			err := sender.say(topic, frame)
			if err == nil {
				err = reach(d.ctx, "the frame was acknowledged by", &t.delivered, goal)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	if err := send(pick(d, 10, 1)); err != nil { // it warms up
		return 0, 0, err
	}
	times := pick(d, 50, 5)
	before, err := b.spent()
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	if err := send(times); err != nil {
		return 0, 0, err
	}
	spent := time.Since(began)
	time.Sleep(100 * time.Millisecond)
	after, err := b.spent()
	return (after - before).Seconds() * 1e6 / float64(times*n), spent.Seconds() * 1000 / float64(times), err
}

// exchange publishes a request with QoS 1 and waits for its PUBACK, and for a frame with QoS 1 on a topic that ends
// so, which is acknowledged; again and again until stop. It counts what it has had both of.
func (c *client) exchange(topic, end string, request func(answer []byte) ([]byte, error), done *atomic.Int64, stop *atomic.Bool) error {
	var answer []byte
	for !stop.Load() {
		payload, err := request(answer)
		if err != nil {
			return err
		}
		c.out = appendPublish(c.out, topic, 1, payload)
		if err := c.flush(); err != nil {
			return err
		}
		for acked, pushed := false, false; !acked || !pushed; {
			kind, body, err := c.next()
			switch {
			case err != nil:
				return fmt.Errorf("%s: acknowledged: %t, answered: %t: %w", c.id, acked, pushed, err)
			case kind == kindPuback && len(body) == 2 && binary.BigEndian.Uint16(body) == 1 && !acked:
				acked = true
			case kind&0xf0 == kindPublish:
				payload, err := c.received(kind, body)
				if err != nil {
					return err
				}
				if kind&qos1 != 0 && topicIs(body, end) {
					pushed, answer = true, append(answer[:0], payload...)
				}
			default:
				return fmt.Errorf("%s: the server sent % x % x", c.id, kind, body)
			}
		}
		done.Add(1)
	}
	return c.flush()
}

// push is a command that is pushed to one device because of one request, and acknowledged. The gateway's cheapest is
// the home's document, which a device is sent because it says anew what it is. The same after a change of what the
// home wants is on disk, and sealed, first. A broker carries a frame of the same size from a client to itself.
func (d *door) push() error {
	n := pick(d, 200, 20)
	long, rounds := pick(d, 1500*time.Millisecond, 200*time.Millisecond), pick(d, 3, 1)
	g, devices, err := d.fridges("cmd", n)
	if err != nil {
		return err
	}
	defer g.stop()
	peers, err := d.brokers("mochi", "mosquitto")
	if err != nil {
		return err
	}
	defer stopAll(peers)
	lanes := []*lane{{name: "Porchlight", server: &g.broker}, {name: "Porchlight, written down first", server: &g.broker}}
	for _, b := range peers {
		lanes = append(lanes, &lane{name: b.name, server: b})
	}
	// A birth that names no attributes: nothing has to follow before it is listened to.
	birth, err := wire.Encode(wire.Birth{Model: wire.Model{Maker: "Polar", Name: "F2"}, Class: device.Fridge, Can: wire.Capabilities{Screen: []uint{800, 480, 180}, Forms: wire.Forms{device.Badge}, Languages: []string{"en"}}})
	if err != nil {
		return err
	}
	document, err := d.firstDocument(g, devices[0], birth)
	if err != nil {
		return err
	}
	for k, l := range lanes {
		mine := l.server == &g.broker
		if k == 1 {
			l.clients, l.seqs = lanes[0].clients, lanes[0].seqs
			continue
		}
		l.seqs = make([]uint64, n)
		l.clients, err = crowd(n, 32, func(i int) (*client, error) {
			c, err := dialing{address: l.server.plain}.open(i, devices[i])
			if err == nil {
				err = c.subscribe(wire.Topic(device.ID(devices[i].id), "dn/#"))
			}
			if err == nil && mine {
				err = c.exchangeOnce(wire.Topic(device.ID(c.id), wire.UpBirth), birth)
			}
			return c, err
		})
		defer closeAll(l.clients)
		if err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
	}
	for round := range rounds + 1 {
		for k, l := range lanes {
			request, leaf := func(int, []byte) ([]byte, error) { return document, nil }, wire.DnTwin
			switch k {
			case 0:
				request, leaf = func(i int, _ []byte) ([]byte, error) { l.seqs[i] = 0; return birth, nil }, wire.UpBirth
			case 1:
				request, leaf = func(i int, answer []byte) ([]byte, error) {
					var base uint64
					if answer != nil {
						doc, err := wire.DecodeTwin(answer)
						if err != nil {
							return nil, err
						}
						base = doc.Version
					}
					l.seqs[i]++
					caps := []wire.Cap{{Max: uint16(1 + l.seqs[i]%100), Hours: 24}}
					return wire.Encode(wire.Proposal{Seq: l.seqs[i], Base: base, Caps: &caps})
				}, wire.UpTwin
			}
			if err := d.exchanges(l, leaf, request, long); err != nil {
				return fmt.Errorf("%s: %w", l.name, err)
			}
			if round == 0 && rounds > 1 { // it warms up
				l.cost, l.rate, l.own = nil, nil, nil
				continue
			}
			d.say("%s: %.1f µs a command, %.0f a second", l.name, last(l.cost), last(l.rate))
		}
		if rounds == 1 {
			break
		}
	}
	for i, what := range []string{"a document pushed to a device that asks, and acknowledged, processor", "a document pushed after a change that is on disk first, and acknowledged, processor"} {
		for _, l := range lanes[2:] {
			d.add(versus(what, "µs/command", median(lanes[i].cost), median(l.cost), l.name))
		}
	}
	return nil
}

// firstDocument is a home's document as a device is sent it.
func (d *door) firstDocument(g *gateway, who login, birth []byte) (document []byte, err error) {
	c, err := dialing{address: g.plain}.open(0, who)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.subscribe(wire.Topic(device.ID(who.id), "dn/#")); err != nil {
		return nil, err
	}
	var done atomic.Int64
	var stop atomic.Bool
	c.SetDeadline(time.Now().Add(patience))
	err = c.exchange(wire.Topic(device.ID(who.id), wire.UpBirth), string(wire.DnTwin), func(answer []byte) ([]byte, error) {
		document = slices.Clone(answer)
		stop.Store(answer != nil)
		return birth, nil
	}, &done, &stop)
	return document, err
}

// exchangeOnce is a birth with its document.
func (c *client) exchangeOnce(topic string, birth []byte) error {
	var done atomic.Int64
	var stop atomic.Bool
	c.SetDeadline(time.Now().Add(patience))
	defer c.SetDeadline(time.Time{})
	return c.exchange(topic, string(wire.DnTwin), func([]byte) ([]byte, error) { stop.Store(true); return birth, nil }, &done, &stop)
}

// exchanges has every client of a lane do so for so long.
func (d *door) exchanges(l *lane, leaf wire.Leaf, request func(i int, answer []byte) ([]byte, error), long time.Duration) error {
	before, err := l.server.spent()
	if err != nil {
		return err
	}
	var done atomic.Int64
	var stop atomic.Bool
	mine, began := own(), time.Now()
	timer := time.AfterFunc(long, func() { stop.Store(true) })
	defer timer.Stop()
	err = many(len(l.clients), len(l.clients), func(i int) error {
		c := l.clients[i]
		c.SetDeadline(began.Add(long + patience))
		return c.exchange(wire.Topic(device.ID(c.id), leaf), string(wire.DnTwin), func(answer []byte) ([]byte, error) { return request(i, answer) }, &done, &stop)
	})
	if err != nil {
		return err
	}
	took := time.Since(began)
	time.Sleep(50 * time.Millisecond)
	after, err := l.server.spent()
	n := float64(done.Load())
	if err != nil || n == 0 {
		return fmt.Errorf("%g commands: %w", n, err)
	}
	l.cost = append(l.cost, (after-before).Seconds()*1e6/n)
	l.own = append(l.own, (own()-mine).Seconds()*1e6/n)
	l.rate = append(l.rate, n/took.Seconds())
	return nil
}

// latency is how long a publish waits for its acknowledgement at 1,000 a second, from 200 connections.
func (d *door) latency() error {
	const rate = 1000
	n := pick(d, 200, 20)
	long, rounds := pick(d, 4*time.Second, 200*time.Millisecond), pick(d, 2, 1)
	g, devices, err := d.fridges("lat", n)
	if err != nil {
		return err
	}
	defer g.stop()
	if err := g.pushWarm(d.ctx); err != nil {
		return err
	}
	peers, err := d.brokers("mochi, empty hook", "mosquitto", "NATS")
	if err != nil {
		return err
	}
	defer func() { stopAll(peers) }()
	bare, err := peerBroker(d.ctx, d.setting, "a bare TCP echo", "bare")
	if err != nil {
		return err
	}
	defer bare.stop()
	ours := &lane{name: "Porchlight", server: &g.broker}
	lanes := []*lane{ours}
	for _, b := range peers {
		lanes = append(lanes, &lane{name: b.name, server: b})
	}
	for k, l := range lanes {
		if err := l.connect(devices, k, l == ours); err != nil {
			return err
		}
		defer closeAll(l.clients)
	}
	echo := &lane{name: bare.name, server: bare, seqs: make([]uint64, n)}
	lanes = append(lanes, echo)
	echo.clients, err = crowd(n, 32, func(i int) (*client, error) {
		raw, err := net.Dial("tcp", bare.plain)
		if err != nil {
			return nil, err
		}
		return newClient(raw, devices[i].id), nil
	})
	defer closeAll(echo.clients)
	if err != nil {
		return err
	}
	took := map[*lane][]float64{}
	var late []float64
	for round := range rounds + 1 {
		for _, l := range lanes {
			some := long
			if round == 0 {
				some = long / 8
			}
			waits, slept, err := d.paced(l, devices, rate, some)
			if err != nil {
				return fmt.Errorf("%s: %w", l.name, err)
			}
			if round > 0 {
				took[l], late = append(took[l], waits...), append(late, slept...)
				slices.Sort(waits)
				d.say("%s: p50 %.0f µs, p99 %.0f µs", l.name, quantile(waits, 50), quantile(waits, 99))
			}
		}
	}
	for _, q := range []int{50, 99} {
		for _, l := range lanes[1:] {
			d.add(versus(fmt.Sprintf("publish to acknowledgement at %d a second, p%d", rate, q), "µs", quantile(took[ours], q), quantile(took[l], q), l.name))
		}
	}
	d.add(alone("the machine's own: how late a sleep of 1 ms ends, p50", "µs", quantile(late, 50)), alone("the machine's own: how late a sleep of 1 ms ends, p99", "µs", quantile(late, 99)))
	return nil
}

func quantile(all []float64, percent int) float64 {
	all = slices.Sorted(slices.Values(all))
	return all[min(len(all)*percent/100, len(all)-1)]
}

// paced publishes so many a second, one connection after the other, and returns how many µs each waited for its
// acknowledgement, and how late the sleeps between them ended.
func (d *door) paced(l *lane, devices []login, rate int, long time.Duration) (waits, late []float64, err error) {
	type one struct {
		sent  atomic.Int64 // ns since began; 0: nothing is on its way
		waits []float64
		err   error
	}
	all := make([]one, len(l.clients))
	began := time.Now()
	var reading sync.WaitGroup
	var stop atomic.Bool
	for i, c := range l.clients {
		reading.Go(func() {
			for {
				kind, body, err := c.next()
				now := time.Since(began).Nanoseconds()
				if err != nil {
					if !stop.Load() {
						all[i].err = err
					}
					return
				}
				switch {
				case kind == kindPuback && len(body) == 2 && binary.BigEndian.Uint16(body) == 1:
					if sent := all[i].sent.Swap(0); sent != 0 {
						all[i].waits = append(all[i].waits, float64(now-sent)/1000)
					} else {
						all[i].err = fmt.Errorf("an acknowledgement of nothing")
					}
				case kind&0xf0 == kindPublish:
					if _, err := c.received(kind, body); err != nil {
						all[i].err = err
					}
					_ = c.flush() // the next read will say so
				}
			}
		})
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	sent, pause := 0, time.Second/time.Duration(rate)
	var out, payload []byte
	for i := 0; time.Since(began) < long && err == nil; i = (i + 1) % len(l.clients) {
		wake := time.Duration(sent+1) * pause
		if wait := wake - time.Since(began); wait > 0 {
			span := unix.NsecToTimespec(wait.Nanoseconds())
			_ = unix.Nanosleep(&span, nil) // a signal ends it early: no matter
			late = append(late, max(0, float64((time.Since(began)-wake).Nanoseconds())/1000))
		}
		if all[i].sent.Load() != 0 {
			continue // it has not been acknowledged yet: another connection's turn
		}
		l.seqs[i]++
		payload = appendContext(payload[:0], l.seqs[i], byte(2+l.seqs[i]%8))
		out = appendPublish(out[:0], wire.Topic(device.ID(devices[i].id), wire.UpCtx), 1, payload)
		all[i].sent.Store(time.Since(began).Nanoseconds())
		if _, err = l.clients[i].Write(out); err == nil {
			sent++
		}
	}
	for i := range all {
		for end := time.Now().Add(patience); err == nil && all[i].sent.Load() != 0; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				err = fmt.Errorf("a publish of %s was not acknowledged", devices[i].id)
			}
		}
	}
	stop.Store(true)
	for _, c := range l.clients {
		c.SetReadDeadline(time.Unix(1, 0))
	}
	reading.Wait()
	for i, c := range l.clients {
		c.SetReadDeadline(time.Time{})
		waits = append(waits, all[i].waits...)
		if err == nil {
			err = all[i].err
		}
	}
	if err == nil && (len(waits) != sent || sent == 0) {
		err = fmt.Errorf("%d of %d publishes were acknowledged", len(waits), sent)
	}
	return waits, late, err
}

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"porchlight/device"
	"porchlight/device/wire"
)

// work is one kind of work at the door.
type work struct {
	name string
	run  func(*door) error
}

var works = []work{{"publish", (*door).publish}, {"idle", (*door).idle}, {"connect", (*door).connect}, {"fanout", (*door).fanout}, {"push", (*door).push}, {"commands", (*door).commands}, {"latency", (*door).latency}}

func workNames() string {
	var all []string
	for _, w := range works {
		all = append(all, w.name)
	}
	return strings.Join(all, ",")
}

// door measures the device door beside brokers that one would use instead: the same bytes over the same sockets.
// Servers have one core, the generator another; what takes turns is measured in turns, and the median counts.
type door struct {
	setting
	ctx     context.Context
	figures []figure

	town *gateway // stopped; its homes have five devices each, which have all been here once
	folk []login
}

func measureDoor(ctx context.Context, s setting) ([]figure, error) {
	for _, name := range strings.Split(s.work, ",") {
		if s.work != "" && !slices.ContainsFunc(works, func(w work) bool { return w.name == name }) {
			return nil, fmt.Errorf("work %q is unknown: use some of %s", name, workNames())
		}
	}
	back, err := apart()
	if err != nil {
		return nil, err
	}
	defer back()
	d := &door{setting: s, ctx: ctx}
	for _, w := range works {
		if s.work != "" && !slices.Contains(strings.Split(s.work, ","), w.name) {
			continue
		}
		if err := w.run(d); err != nil {
			return d.figures, fmt.Errorf("%s: %w", w.name, err)
		}
		if err := ctx.Err(); err != nil {
			return d.figures, err
		}
	}
	return d.figures, nil
}

func (d *door) add(f ...figure) { d.figures = append(d.figures, f...) }

// pick is n, or what is enough to see that everything works.
func pick[T any](d *door, n, small T) T {
	if d.small {
		return small
	}
	return n
}

// brokers are the peers that are there.
func (d *door) brokers(which ...string) (all []*broker, err error) {
	for _, name := range which {
		var b *broker
		switch name {
		case "mochi":
			b, err = peerBroker(d.ctx, d.setting, name, "mochi")
		case "mochi, empty hook":
			b, err = peerBroker(d.ctx, d.setting, name, "mochi", "-sink")
		case "NATS":
			b, err = peerBroker(d.ctx, d.setting, name, "nats")
		case "mosquitto":
			if b, err = mosquittoBroker(d.ctx, d.setting); b == nil && err == nil {
				d.say("%s is not installed: its figures are left out", mosquitto)
				continue
			}
		}
		if err != nil {
			stopAll(all)
			return nil, err
		}
		all = append(all, b)
	}
	return all, nil
}

func stopAll(all []*broker) {
	for _, b := range all {
		b.stop()
	}
}

// lane is one server under one condition, and what was measured of it so far.
type lane struct {
	name       string
	server     *broker
	clients    []*client
	seqs       []uint64
	subscriber bool

	cost, rate, own []float64 // µs of the server per message, messages a second, µs of the generator
	acked           int64     // in all
}

// connect connects the lane's clients; k is its number, because one server may have two lanes. Devices also say
// what they are and how.
func (l *lane) connect(devices []login, k int, devicesToo bool) (err error) {
	l.seqs = make([]uint64, len(devices))
	l.clients, err = crowd(len(devices), 32, func(i int) (*client, error) {
		who := devices[i]
		if !devicesToo {
			who.id = fmt.Sprint(who.id, "-", k)
		}
		c, err := dialing{address: l.server.plain}.open(i, who)
		if err == nil && devicesToo {
			err = c.be(&l.seqs[i])
		}
		return c, err
	})
	if err != nil {
		closeAll(l.clients)
		return fmt.Errorf("%s: %w", l.name, err)
	}
	return nil
}

// fridges is a gateway with so many homes, a fridge in each.
func (d *door) fridges(name string, n int) (g *gateway, devices []login, err error) {
	if g, err = startGateway(d.ctx, d.setting, "Porchlight"); err != nil {
		return nil, nil, err
	}
	if devices, err = g.moveIn(d.ctx, name, n, 1, true); err != nil {
		g.stop()
		return nil, nil, err
	}
	return g, devices, nil
}

// pushWarm hands in a message that waits for a fridge that is far too warm: each context frame has it judged
// anew, and held.
func (g *gateway) pushWarm(ctx context.Context) error {
	_, err := g.push(ctx, "warm", map[string]any{"when": []any{map[string]any{"class": "fridge", "attribute": "temperature", "op": "gt", "value": 40}}})
	return err
}

// publish is what devices tell most: context frames with QoS 1.
func (d *door) publish() error {
	const window = 16
	n := pick(d, 200, 20)
	slice, rounds := pick(d, 1500*time.Millisecond, 200*time.Millisecond), pick(d, 4, 1)

	g, devices, err := d.fridges("pub", n)
	if err != nil {
		return err
	}
	defer g.stop()
	if err := g.pushWarm(d.ctx); err != nil {
		return err
	}
	peers, err := d.brokers("mochi, empty hook", "mochi", "mosquitto", "NATS")
	if err != nil {
		return err
	}
	defer stopAll(peers)

	ours := &lane{name: "Porchlight", server: &g.broker}
	lanes := []*lane{ours}
	for _, b := range peers {
		lanes = append(lanes, &lane{name: b.name + ", nobody reads", server: b})
	}
	for _, b := range peers {
		if b.name != "mochi, empty hook" {
			lanes = append(lanes, &lane{name: b.name + ", 1 subscriber", server: b, subscriber: true})
		}
	}
	for k, l := range lanes {
		if err := l.connect(devices, k, l == ours); err != nil {
			return err
		}
		defer closeAll(l.clients)
	}
	if err := g.until(d.ctx, "porchlight_decisions_total", func(x float64) bool { return x >= float64(n) }); err != nil {
		return err
	}
	var decided float64
	for round := range rounds + 1 {
		for _, l := range lanes {
			if l.subscriber && l.server.name == "NATS" && d.small {
				continue // its first consumer takes seconds
			}
			before, err := g.counted(d.ctx, "porchlight_decisions_total")
			if err != nil {
				return err
			}
			t, err := d.slice(l, devices, window, slice)
			if err != nil {
				return fmt.Errorf("%s: %w", l.name, err)
			}
			if round == 0 && rounds > 1 { // it warms up
				l.cost, l.rate, l.own = nil, nil, nil
				continue
			}
			d.say("%s: %.1f µs a message, %.0f a second, generator %.1f µs", l.name, last(l.cost), last(l.rate), last(l.own))
			if l == ours {
				after, err := g.counted(d.ctx, "porchlight_decisions_total")
				if err != nil {
					return err
				}
				decided += (after - before) / float64(t)
			}
		}
		if rounds == 1 {
			break
		}
	}
	// What was counted here is what the gateway took in: nothing was acknowledged that it has not read, and nothing
	// was refused.
	took, err := g.counted(d.ctx, `porchlight_mqtt_frames_total{leaf="up/ctx"}`)
	if err != nil {
		return err
	}
	refused, err := g.counted(d.ctx, "porchlight_mqtt_frames_refused_total")
	if err != nil {
		return err
	}
	if want := float64(ours.acked + int64(n)); took != want || refused > 0 {
		return fmt.Errorf("%g frames were acknowledged, the gateway counts %g and refused %g", want, took, refused)
	}
	for _, l := range lanes[1:] {
		if len(l.cost) > 0 {
			d.add(versus("QoS 1 publish, decoded and judged by ours, processor", "µs/message", median(ours.cost), median(l.cost), l.name))
		}
	}
	for _, l := range lanes[1:] {
		if len(l.cost) > 0 {
			d.add(exceeds("QoS 1 publish, decoded and judged by ours, through one core", "messages/s", median(ours.rate), median(l.rate), l.name))
		}
	}
	for _, l := range lanes {
		if len(l.own) > 0 && !l.subscriber {
			d.add(alone("QoS 1 publish, the generator's processor, with "+l.name, "µs/message", median(l.own)))
		}
	}
	d.add(alone("QoS 1 publish, decisions taken", "per frame", decided/float64(rounds)))
	return nil
}

func last(list []float64) float64 { return list[len(list)-1] }

// slice has every client of a lane publish for so long, until all is acknowledged, and delivered if somebody reads.
func (d *door) slice(l *lane, devices []login, window int, long time.Duration) (int64, error) {
	var t tally
	var waiting *backlog
	var reading sync.WaitGroup
	if l.subscriber {
		reader, err := dialing{address: l.server.plain}.open(1, login{"reader", "reader", "x"})
		if err == nil {
			err = reader.subscribe("pl/1/+/up/ctx")
		}
		if err != nil {
			return 0, err
		}
		defer reading.Wait()
		defer reader.Close()
		waiting = newBacklog(500)                            // mochi loses some of more than 1,024, and counts what is acknowledged late
		reading.Go(func() { _ = reader.drain(&t, waiting) }) // it ends when it is closed
	}
	before, err := l.server.spent()
	if err != nil {
		return 0, err
	}
	mine, began := own(), time.Now()
	var stop atomic.Bool
	timer := time.AfterFunc(long, func() { stop.Store(true) })
	defer timer.Stop()
	deadline := began.Add(long + patience)
	err = many(len(l.clients), len(l.clients), func(i int) error {
		c := l.clients[i]
		if err := c.SetReadDeadline(deadline); err != nil {
			return err
		}
		topic := wire.Topic(device.ID(devices[i].id), wire.UpCtx)
		return c.pump(window, topic, func(b []byte) []byte {
			l.seqs[i]++
			return appendContext(b, l.seqs[i], byte(2+l.seqs[i]%8))
		}, &t, waiting, &stop)
	})
	if err != nil {
		return 0, err
	}
	sent, acked := t.sent.Load(), t.acked.Load()
	if sent != acked || sent == 0 {
		return 0, fmt.Errorf("%d of %d publishes were acknowledged", acked, sent)
	}
	for l.subscriber && t.delivered.Load() < sent {
		if time.Now().After(deadline) {
			return 0, fmt.Errorf("%d of %d publishes were delivered", t.delivered.Load(), sent)
		}
		time.Sleep(time.Millisecond)
	}
	took := time.Since(began)
	time.Sleep(50 * time.Millisecond) // what it does of its own accord after the last acknowledgement counts, too
	after, err := l.server.spent()
	if err != nil {
		return 0, err
	}
	l.cost = append(l.cost, (after-before).Seconds()*1e6/float64(sent))
	l.own = append(l.own, (own()-mine).Seconds()*1e6/float64(sent))
	l.rate = append(l.rate, float64(sent)/took.Seconds())
	l.acked += sent
	return sent, nil
}

package main

import (
	"crypto/tls"
	"fmt"
	"runtime/debug"
	"time"

	"porchlight/device"
	"porchlight/device/wire"
)

// secure is how clients speak TLS. Whom they speak to is not what is measured, and looking at certificates would
// cost the generator.
var secure = &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, ServerName: "localhost"}

// townOf is a gateway, stopped, whose homes have five devices each, n or more in all. Every one has been there
// once: what a first log-in writes down is not what a connection costs.
func (d *door) townOf(n int) (err error) {
	if d.town != nil && len(d.folk) >= n {
		return nil
	}
	const each = 5
	began := time.Now()
	if d.town == nil {
		d.town, err = startGateway(d.ctx, d.setting, "Porchlight")
	} else {
		err = d.town.again(d.ctx)
	}
	if err != nil {
		return err
	}
	defer d.town.stop()
	more, err := d.town.moveIn(d.ctx, fmt.Sprint("town", len(d.folk)), (n-len(d.folk)+each-1)/each, each, false)
	if err != nil {
		return err
	}
	d.folk = append(d.folk, more...)
	all, err := d.storm(dialing{address: d.town.plain}, more, false)
	closeAll(all)
	d.say("%d devices moved in within %.0f s", len(more), time.Since(began).Seconds())
	return err
}

// storm connects clients, 64 at a time, and subscribes each to what is sent to it.
func (d *door) storm(to dialing, who []login, subscribe bool) ([]*client, error) {
	return crowd(len(who), 64, func(i int) (*client, error) {
		c, err := to.open(i, who[i])
		if err == nil && subscribe {
			err = c.subscribe(wire.Topic(device.ID(who[i].id), "dn/#"))
		}
		return c, err
	})
}

// each starts what is compared, one after the other and alone, and has f measure it.
func (d *door) each(f func(b *broker) error) error {
	if err := d.town.again(d.ctx); err != nil {
		return err
	}
	err := f(&d.town.broker)
	d.town.stop()
	if err != nil {
		return fmt.Errorf("Porchlight: %w", err)
	}
	for _, name := range []string{"mochi", "mosquitto"} {
		all, err := d.brokers(name)
		if err != nil {
			return err
		}
		for _, b := range all {
			if err = f(b); err != nil {
				err = fmt.Errorf("%s: %w", name, err)
			}
		}
		stopAll(all)
		if err != nil {
			return err
		}
	}
	return nil
}

// idle is what a connection holds that does nothing but listen.
func (d *door) idle() error {
	for _, way := range []struct {
		name   string
		n      int
		secure *tls.Config
		cycles int
	}{
		{"idle connection", pick(d, 10000, 100), nil, 3},
		{"idle connection, TLS 1.3", pick(d, 3000, 50), secure, 0},
	} {
		if err := d.townOf(way.n); err != nil {
			return err
		}
		type held struct {
			name        string
			first, last float64 // KB each
		}
		var all []held
		err := d.each(func(b *broker) error {
			settle := pick(d, 3*time.Second, 100*time.Millisecond)
			time.Sleep(settle)
			empty, err := b.resident()
			if err != nil {
				return err
			}
			to := dialing{b.plain, nil}
			if way.secure != nil {
				to = dialing{b.secure, way.secure}
			}
			h := held{name: b.name}
			for cycle := range way.cycles + 1 {
				clients, err := d.storm(to, d.folk[:way.n], true)
				if err == nil {
					time.Sleep(settle)
					err = d.all(clients, way.n)
				}
				now, wrong := b.resident()
				closeAll(clients)
				if err == nil {
					err = wrong
				}
				if err != nil {
					return err
				}
				h.last = float64(now-empty) / 1024 / float64(way.n)
				if cycle == 0 {
					h.first = h.last
				}
			}
			d.say("%s: %s: %.1f KB, after %d cycles %.1f KB", way.name, b.name, h.first, way.cycles, h.last)
			all = append(all, h)
			debug.FreeOSMemory() // the generator's own
			return nil
		})
		if err != nil {
			return err
		}
		for _, h := range all[1:] {
			d.add(versus(way.name+", memory", "KB", all[0].first, h.first, h.name))
		}
		for _, h := range all[1:] {
			if way.cycles > 0 {
				d.add(versus(fmt.Sprintf("%s, memory after everybody came again %d times", way.name, way.cycles), "KB", all[0].last, h.last, h.name))
			}
		}
	}
	return nil
}

// all sees that n connections stand: none has been closed by the other side.
func (d *door) all(clients []*client, n int) error {
	for _, c := range clients {
		c.out = append(c.out, kindPing, 0)
		c.SetReadDeadline(time.Now().Add(patience))
		err := c.flush()
		if err == nil {
			err = c.expect(kindPong)
		}
		if err != nil {
			return fmt.Errorf("%s is not connected any more: %w", c.id, err)
		}
	}
	if len(clients) != n {
		return fmt.Errorf("%d of %d are connected", len(clients), n)
	}
	return nil
}

// connect is what a connection costs to make: CONNECT with name and token, and a subscription.
func (d *door) connect() error {
	n, rounds := pick(d, 3000, 50), pick(d, 5, 1)
	if err := d.townOf(n); err != nil {
		return err
	}
	if err := d.town.again(d.ctx); err != nil {
		return err
	}
	defer d.town.stop()
	peers, err := d.brokers("mochi", "mosquitto")
	if err != nil {
		return err
	}
	defer func() { stopAll(peers) }()
	bare, err := peerBroker(d.ctx, d.setting, "bare handshakes of Go", "bare")
	if err != nil {
		return err
	}
	defer bare.stop()
	all := append([]*broker{&d.town.broker}, peers...)
	for _, way := range []struct {
		name   string
		secure *tls.Config
		who    []*broker
	}{{"connect", nil, all}, {"connect, TLS 1.3", secure, append(all, bare)}} {
		cost := map[*broker][]float64{}
		for round := range rounds + 1 {
			for _, b := range way.who {
				some := n
				if round == 0 {
					some = n / 10 // it warms up
				}
				spent, err := d.connects(b, way.secure, some, b == bare)
				if err != nil {
					return fmt.Errorf("%s: %w", b.name, err)
				}
				if round == 0 {
					continue
				}
				cost[b] = append(cost[b], spent)
				d.say("%s: %s: %.0f µs", way.name, b.name, spent)
			}
		}
		ours := median(cost[way.who[0]])
		for _, b := range way.who[1:] {
			d.add(versus(way.name+", processor", "µs/connection", ours, median(cost[b]), b.name))
		}
		d.add(alone(way.name+", connections in a second of the processor", "1/s", 1e6/ours))
	}
	return nil
}

// connects is what a connection costs a server, in µs.
func (d *door) connects(b *broker, secure *tls.Config, n int, bare bool) (float64, error) {
	before, err := b.spent()
	if err != nil {
		return 0, err
	}
	to := dialing{b.plain, secure}
	if secure != nil {
		to.address = b.secure
	}
	var clients []*client
	if bare {
		clients, err = crowd(n, 64, func(i int) (*client, error) { return to.shakeHands(i) })
	} else {
		clients, err = d.storm(to, d.folk[:n], true)
	}
	defer closeAll(clients)
	if err != nil {
		return 0, err
	}
	time.Sleep(50 * time.Millisecond)
	after, err := b.spent()
	if err == nil && !bare {
		err = d.all(clients, n)
	}
	closeAll(clients)
	time.Sleep(pick(d, 500*time.Millisecond, 50*time.Millisecond)) // the ends are not to be paid for by the next
	return (after - before).Seconds() * 1e6 / float64(n), err
}

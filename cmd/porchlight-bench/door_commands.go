package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"porchlight/device"
	"porchlight/device/wire"
)

// commands are pushed to devices while connections of the same device push each other out, stall and break off in the
// middle, and the gateway is killed. A command is the home's document after a change that the device itself has asked
// for. What was acknowledged must be in every document after, and no document may come after a later one.
func (d *door) commands() error {
	n, goal, kills := pick(d, 100, 10), int64(pick(d, 3000, 60)), pick(d, 5, 1)
	g, devices, err := d.fridges("storm", n)
	if err != nil {
		return err
	}
	defer func() { g.stop() }()
	birth, err := wire.Encode(wire.Birth{Model: wire.Model{Maker: "Polar", Name: "F2"}, Class: device.Fridge, Can: wire.Capabilities{Screen: []uint{800, 480, 180}, Forms: wire.Forms{device.Badge}, Languages: []string{"en"}}})
	if err != nil {
		return err
	}
	var done tossed
	ctx, fail := context.WithCancelCause(d.ctx)
	defer fail(nil)
	var all sync.WaitGroup
	defer all.Wait()
	var spent time.Duration
	began := time.Now()
	for i := range n {
		one := &tossing{who: devices[i], n: i, address: g.plain, birth: birth, done: &done, random: rand.New(rand.NewPCG(uint64(i), 7))}
		all.Go(func() {
			if err := one.live(ctx, goal); err != nil {
				fail(err)
			}
		})
	}
	for k := range kills {
		for done.takeovers.Load() < goal*int64(k+1)/int64(kills+1) && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		one, err := g.spent()
		if err != nil {
			return err
		}
		spent += one
		_ = g.process.cmd.Process.Kill() // it runs
		<-g.process.done
		if err := g.up(ctx, g.name); err != nil {
			fail(err)
			return err
		}
	}
	all.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	one, err := g.spent()
	if err != nil {
		return err
	}
	pushed := float64(done.commands.Load())
	d.say("Porchlight: %.0f commands pushed and acknowledged in %.1f s, with %d takeovers, %d stalls, %d kill -9: none lost, none reordered", pushed, time.Since(began).Seconds(), done.takeovers.Load(), done.stalls.Load(), kills)
	d.add(alone(fmt.Sprintf("commands in a storm: pushed, acknowledged, none lost or reordered, %d takeovers and %d kill -9", done.takeovers.Load(), kills), "commands", pushed),
		alone("the same, processor, with all that comes and goes", "µs/command", (spent+one).Seconds()*1e6/pushed))
	return nil
}

// tossed is what became of all devices of a storm.
type tossed struct{ takeovers, stalls, commands atomic.Int64 }

// tossing is one device in a storm, and what it knows.
type tossing struct {
	who     login
	n       int
	address string
	birth   []byte
	done    *tossed
	random  *rand.Rand

	before  *client // stalled, or left in the middle of something; nil: there is none
	seq     uint64
	version uint64   // of the last document
	cap     uint16   // that the home has, as far as the device was acknowledged; 0: none of its own
	maybe   []uint16 // that it has asked for since, without an answer
}

// wrongError is a broken promise; any other error is a connection's end.
type wrongError struct{ what string }

func (e *wrongError) Error() string { return e.what }

// live comes and goes until there were so many takeovers, and then stays for one last look.
func (t *tossing) live(ctx context.Context, goal int64) error {
	defer func() {
		if t.before != nil {
			t.before.Close()
		}
	}()
	last := time.Now()
	for ctx.Err() == nil {
		calm := t.done.takeovers.Load() >= goal
		c, err := dialing{address: t.address}.open(t.n, t.who)
		if err == nil {
			if t.before != nil {
				t.done.takeovers.Add(1)
				t.before.Close()
				t.before = nil
			}
			c.SetDeadline(time.Now().Add(patience))
			err = t.visit(c, calm)
			if t.before != c {
				c.Close()
			}
			if _, wrong := err.(*wrongError); wrong || err == nil && calm {
				return err
			}
			last = time.Now()
		} else if time.Since(last) > 2*patience {
			return fmt.Errorf("%s is not let in: %w", t.who.id, err)
		} else {
			time.Sleep(2 * time.Millisecond) // the gateway may be down
		}
	}
	return nil
}

// visit is one connection: some commands, and then an end of some sort.
func (t *tossing) visit(c *client, calm bool) error {
	if err := c.subscribe(wire.Topic(device.ID(c.id), "dn/#")); err != nil {
		return err
	}
	c.out = appendPublish(c.out, wire.Topic(device.ID(c.id), wire.UpBirth), 1, t.birth)
	if err := t.document(c, 0, nil); err != nil || calm {
		return err
	}
	for range t.random.IntN(4) {
		wanted, err := t.ask(c)
		if err == nil {
			err = t.document(c, t.version+1, &wanted)
		}
		if err != nil {
			return err
		}
		t.done.commands.Add(1)
	}
	switch t.random.IntN(3) {
	case 0: // breaks off
	case 1: // leaves in the middle
		t.before = c
		if _, err := t.ask(c); err != nil {
			return err
		}
		return c.flush()
	case 2: // does not read any more
		t.done.stalls.Add(1)
		t.before = c
	}
	return nil
}

// ask asks for another cap.
func (t *tossing) ask(c *client) (wanted uint16, err error) {
	t.seq++
	wanted = uint16(1 + t.seq%1000)
	t.maybe = append(t.maybe, wanted)
	proposal, err := wire.Encode(wire.Proposal{Seq: t.seq, Base: t.version, Caps: &[]wire.Cap{{Max: wanted, Hours: 24}}})
	c.out = appendPublish(c.out, wire.Topic(device.ID(c.id), wire.UpTwin), 2, proposal)
	return wanted, err
}

// document waits for one that is not before a version, and, if something was asked for, for its acknowledgement.
func (t *tossing) document(c *client, from uint64, wanted *uint16) error {
	for acked, came := wanted == nil, false; !acked || !came; {
		if err := c.flush(); err != nil {
			return err
		}
		kind, body, err := c.next()
		if err != nil {
			return err
		}
		switch {
		case kind == kindPuback && wanted != nil && len(body) == 2 && binary.BigEndian.Uint16(body) == 2:
			acked = true
			t.cap, t.maybe = *wanted, nil
		case kind&0xf0 == kindPublish:
			twin := topicIs(body, "/"+string(wire.DnTwin))
			payload, err := c.received(kind, body)
			if err != nil {
				return err
			}
			if twin {
				if err := t.look(payload); err != nil {
					return err
				}
				came = t.version >= from
			}
		}
	}
	return c.flush()
}

// look compares a document with what the device knows.
func (t *tossing) look(payload []byte) error {
	doc, err := wire.DecodeTwin(payload)
	if err != nil {
		return &wrongError{err.Error()}
	}
	if doc.Version < t.version {
		return &wrongError{fmt.Sprintf("%s: the document %d came after %d", t.who.id, doc.Version, t.version)}
	}
	t.version = doc.Version
	var has uint16
	if caps := doc.Doc.Caps; len(caps) == 1 {
		has = caps[0].Max
	}
	if at := slices.Index(t.maybe, has); at >= 0 {
		t.cap, t.maybe = has, t.maybe[at+1:]
	}
	if has != t.cap {
		return &wrongError{fmt.Sprintf("%s: the document %d has the cap %d, acknowledged is %d", t.who.id, doc.Version, has, t.cap)}
	}
	return nil
}

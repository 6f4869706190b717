//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"porchlight/device"
	"porchlight/device/wire"
)

// fault is something that goes wrong.
type fault interface {
	// strike makes it happen, and ends it. An error means that it could not be made.
	strike(ctx context.Context, w *world, rng *rand.Rand) error
}

// faults are all there are, by name. Those of the machine strike one after the other, those of the network at the same
// time as these, one after the other among themselves.
var faults = []struct {
	name, does string
	network    bool
	fault
}{
	{"kill", "kill -9 of the gateway, at any moment, also while it starts", false, kill{}},
	{"power", "power cut: kill -9, and of the databases what was synced is left, with some of what was not", false, power{}},
	{"full", "the disk is full, and later it is not", false, full{}},
	{"io", "syncs, writes and reads of the databases fail, and what a failed sync was to save is lost", false, broken{}},
	{"clock", "people's clock jumps, by seconds to days, forth and back", false, clock{}},
	{"zone", "the gateway is ended and started with another table of time zones", false, zone{}},
	{"upgrade", "the gateway is ended, its folder moved, and opened again (by the newer binary, where -old names one)", false, upgrade{}},
	{"cut", "connections end, also in the middle of a packet, and for a while nobody gets through", true, cut{}},
	{"delay", "packets are late, by less than the allowance for a device's clock", true, weather{"delay"}},
	{"duplicate", "frames of QoS 1 come twice, at once or later", true, weather{"duplicate"}},
	{"reorder", "packets change places where the protocol allows it", true, weather{"reorder"}},
	{"storm", "everybody connects anew at the same moment", true, storm{}},
	{"slow", "devices do not read for a while, less than the allowance", true, slow{}},
	{"clone", "a second device with the same ID and token", true, clone{}},
	{"poison", "frames and packets that are none, of devices and of strangers", true, poison{}},
	{"stall", "packets are late by more than the allowance, and then connections end; only if it is named", true, stall{}},
	{"amnesia", "the databases of a while ago are put back: breaks P8 on purpose; only if it is named", false, amnesia{}},
}

// names of all faults that a run has if nothing is said.
func names() (all []string) {
	for _, f := range faults {
		if f.name != "stall" && f.name != "amnesia" {
			all = append(all, f.name)
		}
	}
	return all
}

func between(rng *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(rng.Int64N(int64(most-least)+1))
}

// sleep waits, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// revive starts the gateway again, and waits until it works, or not.
func revive(ctx context.Context, w *world, rng *rand.Rand) error {
	for {
		if err := w.gateway.start(); err != nil {
			return err
		}
		if rng.IntN(4) == 0 { // once more, before it is there
			sleep(ctx, between(rng, 0, 300*time.Millisecond))
			if err := w.gateway.end(syscall.SIGKILL); err != nil {
				return err
			}
			w.count("kills while the gateway started")
			continue
		}
		return w.gateway.ready(context.WithoutCancel(ctx))
	}
}

type kill struct{}

func (kill) strike(ctx context.Context, w *world, rng *rand.Rand) error {
	sleep(ctx, between(rng, 0, time.Second))
	if err := w.gateway.end(syscall.SIGKILL); err != nil {
		return err
	}
	return revive(ctx, w, rng)
}

type power struct{}

func (power) strike(ctx context.Context, w *world, rng *rand.Rand) error {
	w.gateway.set(&w.gateway.disk.early, uint32(rng.IntN(2)*rng.IntN(600)))
	defer w.gateway.set(&w.gateway.disk.early, 0)
	sleep(ctx, between(rng, 0, time.Second))
	if err := w.gateway.cutPower(); err != nil {
		return err
	}
	return revive(ctx, w, rng)
}

type full struct{}

func (full) strike(ctx context.Context, w *world, rng *rand.Rand) error {
	w.gateway.set(&w.gateway.disk.full, uint32(1+rng.IntN(2)))
	sleep(ctx, between(rng, 100*time.Millisecond, 1500*time.Millisecond))
	w.gateway.set(&w.gateway.disk.full, 0)
	return nil
}

type broken struct{}

func (broken) strike(ctx context.Context, w *world, rng *rand.Rand) error {
	d := w.gateway.disk
	w.gateway.set(&d.badSync, uint32(rng.IntN(1001)))
	w.gateway.set(&d.badWrite, uint32(rng.IntN(2)*rng.IntN(300)))
	w.gateway.set(&d.badRead, uint32(rng.IntN(2)*rng.IntN(50)))
	sleep(ctx, between(rng, 100*time.Millisecond, time.Second))
	for _, what := range []*uint32{&d.badSync, &d.badWrite, &d.badRead} {
		w.gateway.set(what, 0)
	}
	if rng.IntN(3) == 0 { // whoever has seen errors pulls the plug
		if err := w.gateway.cutPower(); err != nil {
			return err
		}
		return revive(ctx, w, rng)
	}
	return nil
}

type clock struct{}

func (clock) strike(ctx context.Context, w *world, rng *rand.Rand) error {
	by := []time.Duration{2 * time.Second, time.Minute, time.Hour, 26 * time.Hour}[rng.IntN(4)]
	to := w.gateway.ahead() + between(rng, -by, by)
	if rng.IntN(4) == 0 || to > 60*time.Hour || to < -60*time.Hour {
		to = 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.clock[len(w.clock)-1]
	now.At, now.Offset = w.since(), to
	w.clock = append(w.clock, now)
	atomic.StoreInt64(w.gateway.clock, to.Milliseconds())
	return nil
}

// homeZone is where all homes are.
const homeZone = "Europe/Zurich"

// zoneFile is a table of one zone that is ahead of UTC by so much, in the form of RFC 8536.
func zoneFile(ahead time.Duration) []byte {
	block := func(version byte) []byte {
		b := append([]byte("TZif"), version)
		b = append(b, make([]byte, 15)...)
		for _, n := range []uint32{0, 0, 0, 0, 1, 4} {
			b = binary.BigEndian.AppendUint32(b, n)
		}
		b = binary.BigEndian.AppendUint32(b, uint32(int32(ahead.Seconds())))
		return append(b, 0, 0, 'X', 'S', 'T', 0)
	}
	return fmt.Appendf(append(block('2'), block('2')...), "\nXST%d\n", -int(ahead.Hours()))
}

// zoneOf is the home's zone by the table in a folder; "": the one that everybody has.
func zoneOf(folder string) *time.Location {
	if folder != "" {
		if raw, err := os.ReadFile(filepath.Join(folder, homeZone)); err == nil {
			if l, err := time.LoadLocationFromTZData(homeZone, raw); err == nil {
				return l
			}
		}
	}
	l, err := time.LoadLocation(homeZone)
	if err != nil {
		return time.UTC
	}
	return l
}

type zone struct{}

func (zone) strike(ctx context.Context, w *world, rng *rand.Rand) error {
	g := w.gateway
	if err := g.end(syscall.SIGTERM); err != nil {
		return err
	}
	g.zones = ""
	if rng.IntN(3) > 0 {
		ahead := rng.IntN(24) - 11
		g.zones = filepath.Join(g.dir, fmt.Sprintf("zones%+d", ahead))
		name := filepath.Join(g.zones, homeZone)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(name, zoneFile(time.Duration(ahead)*time.Hour), 0o600); err != nil {
			return err
		}
	}
	w.mu.Lock()
	now := w.clock[len(w.clock)-1]
	now.At, now.Zone = w.since(), zoneOf(g.zones)
	w.clock = append(w.clock, now)
	w.mu.Unlock()
	return revive(ctx, w, rng)
}

type upgrade struct{}

func (upgrade) strike(ctx context.Context, w *world, rng *rand.Rand) error {
	g := w.gateway
	if err := g.end(syscall.SIGTERM); err != nil {
		return err
	}
	to := filepath.Join(g.dir, map[bool]string{true: "e", false: "d"}[strings.HasSuffix(g.data, "d")])
	if err := os.Rename(g.data, to); err != nil {
		return err
	}
	g.mu.Lock()
	g.data = to
	g.mu.Unlock()
	return revive(ctx, w, rng)
}

type amnesia struct{}

func (amnesia) strike(ctx context.Context, w *world, rng *rand.Rand) error {
	g := w.gateway
	before := filepath.Join(g.dir, "before")
	if err := os.MkdirAll(before, 0o700); err != nil {
		return err
	}
	if err := g.end(syscall.SIGTERM); err != nil {
		return err
	}
	if err := g.same(g.data, before); err != nil {
		return err
	}
	if err := revive(ctx, w, rng); err != nil {
		return err
	}
	sleep(ctx, 2*time.Second)
	if err := g.end(syscall.SIGKILL); err != nil {
		return err
	}
	if err := g.same(before, g.data); err != nil {
		return err
	}
	return revive(ctx, w, rng)
}

type cut struct{}

func (cut) strike(ctx context.Context, w *world, rng *rand.Rand) error {
	n := w.network
	n.cut.Store(int64(rng.IntN(200)))
	n.cutAll(rng.Float64() / 2)
	if rng.IntN(2) == 0 {
		n.cutAll(1)
		n.down.Store(true)
	}
	sleep(ctx, between(rng, 200*time.Millisecond, 2*time.Second))
	n.down.Store(false)
	n.cut.Store(0)
	return nil
}

// weather is what the network does to packets for a while.
type weather struct{ what string }

func (f weather) strike(ctx context.Context, w *world, rng *rand.Rand) error {
	n := w.network
	switch f.what {
	case "delay":
		n.delay.Store(5 + rng.Int64N((w.gateway.allowed / 3).Milliseconds()))
		defer n.delay.Store(0)
	case "duplicate":
		n.duplicate.Store(1 + rng.Int64N(400))
		n.late.Store(rng.Int64N(200))
		defer n.late.Store(0)
		defer n.duplicate.Store(0)
	case "reorder":
		n.reorder.Store(100 + rng.Int64N(600))
		defer n.reorder.Store(0)
	}
	sleep(ctx, between(rng, 500*time.Millisecond, 2*time.Second))
	return nil
}

type storm struct{}

func (storm) strike(ctx context.Context, w *world, rng *rand.Rand) error {
	for range 1 + rng.IntN(3) {
		w.network.cutAll(1)
		sleep(ctx, between(rng, 50*time.Millisecond, 500*time.Millisecond))
	}
	return nil
}

type slow struct{}

func (slow) strike(ctx context.Context, w *world, rng *rand.Rand) error {
	d := between(rng, 200*time.Millisecond, w.gateway.allowed/2)
	w.network.slow(0.1+0.4*rng.Float64(), w.since()+d)
	sleep(ctx, d)
	return nil
}

// stall is a network on which packets take longer than the allowance, and which then breaks: a beacon may come late, and
// what would have taken it back never. The contract does not promise a bound for it.
type stall struct{}

func (stall) strike(ctx context.Context, w *world, rng *rand.Rand) error {
	w.network.delay.Store((2 * w.gateway.allowed).Milliseconds())
	sleep(ctx, between(rng, 2*w.gateway.allowed, 4*w.gateway.allowed))
	w.network.cutAll(1)
	w.network.delay.Store(0)
	return nil
}

// odd are the devices with which anything may be done: of each second odd home.
func odd(w *world, place int) (all []*screen) {
	n := 0
	for _, h := range w.houses {
		if h.Odd {
			if n%2 == place {
				all = append(all, h.screens...)
			}
			n++
		}
	}
	return all
}

type clone struct{}

func (clone) strike(ctx context.Context, w *world, rng *rand.Rand) error {
	all := odd(w, 0)
	s := all[rng.IntN(len(all))]
	for range 1 + rng.IntN(4) {
		c, r, err := logIn(ctx, w.gateway.addr(0), string(s.id), string(s.id), s.token, wire.Topic(s.id, "dn/#"))
		if err != nil {
			sleep(ctx, 50*time.Millisecond)
			continue
		}
		w.count("log-ins of a clone")
		_ = c.SetDeadline(time.Now().Add(between(rng, 50*time.Millisecond, 500*time.Millisecond)))
		birth, err := wire.Encode(wire.Birth{Model: wire.Model{Maker: "Torture", Name: "T1"}, Class: s.class, Attributes: attributes[s.class],
			Can: wire.Capabilities{Inputs: 2, Forms: forms[s.class], MaxButtons: 2, Languages: []string{"en"}, Holds: 1}})
		if err != nil {
			return err
		}
		_, _ = c.Write(publishPacket(wire.Topic(s.id, wire.UpBirth), 1, 1, birth)) // the reading ends with it
		for {
			p, err := readPacket(r)
			if err != nil {
				break
			}
			if _, id, _, ok := p.published(); p.kind() == publish && ok && id != 0 {
				_, _ = c.Write(pack(puback<<4, number(id)))
			}
		}
		c.Close()
	}
	return nil
}

type poison struct{}

func (poison) strike(ctx context.Context, w *world, rng *rand.Rand) error {
	all := odd(w, 1)
	for range 20 {
		s := all[rng.IntN(len(all))]
		id := device.MessageID{}
		for i := range id {
			id[i] = byte(rng.IntN(256))
		}
		good := []struct {
			leaf  wire.Leaf
			frame any
		}{
			{wire.UpBirth, wire.Birth{Class: s.class, Model: wire.Model{Maker: "x", Name: "y"}, Can: wire.Capabilities{Forms: forms[s.class]}, Attributes: attributes[s.class]}},
			{wire.UpEvt, wire.Event{Seq: 5, Message: id, Kind: wire.Presented}},
			{wire.UpTwin, proposal(wire.Twin{}, gate{"mute", "brand-0"}, false)},
			{wire.UpAns, wire.Answer{Seq: 5, Ask: id, Kind: wire.AnswerNo}},
			{wire.UpWhy, wire.WhyAsked{Seq: 5, Message: &id}},
			{wire.UpSig, wire.Signal{Seq: 5, Kind: wire.SignalGPC, Value: "1"}},
		}
		f := good[rng.IntN(len(good))]
		payload, err := wire.Encode(f.frame)
		if err != nil {
			return err
		}
		leaf, bad := f.leaf, mutate(rng, payload, rng.IntN(4))
		if rng.IntN(8) == 0 {
			leaf = wire.Leaf(mutate(rng, []byte(leaf), 1))
		}
		if strings.Contains(string(leaf), "bye") || strings.Contains(string(leaf), "key") {
			continue
		}
		s.with(func(moment) {
			s.send(leaf, bad, func(byte) { w.count("poisoned frames answered") })
		})
		w.fault("poisoned frames")
	}
	// And strangers.
	for range 5 {
		c, err := net.DialTimeout("tcp", w.gateway.addr(0), time.Second)
		if err != nil {
			continue
		}
		_ = c.SetDeadline(time.Now().Add(200 * time.Millisecond))
		first := connectPacket("nobody", "nobody", "nothing")
		_, _ = c.Write(mutate(rng, append(first, pack(byte(rng.IntN(256)), number(uint16(rng.IntN(1<<16))), text("a/b"))...), rng.IntN(5)))
		_, _ = readPacket(bufio.NewReader(c)) // it ends, or the time is over
		c.Close()
		w.fault("poisoned packets of strangers")
	}
	sleep(ctx, between(rng, 0, 300*time.Millisecond))
	return nil
}

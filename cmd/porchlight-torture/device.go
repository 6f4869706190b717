//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"porchlight/device"
	"porchlight/device/wire"
)

// screen is one device: as little as keeps the contract, so that thousands fit into one process. It keeps what a
// device must keep (fence, ledger, outbox, document), what is on its screen, and a diary of both.
//
// It acknowledges what it is sent, shows what it may, takes off what it must, and says so.
type screen struct {
	id    device.ID
	token string
	class device.Class
	home  *house
	world *world

	mu  sync.Mutex
	rng *rand.Rand

	// What a power cut leaves.
	fence  uint64
	ledger map[device.MessageID]wire.Event // each message that was on the screen, with its last event
	outbox []*owed
	twin   wire.Twin

	// What is on the device.
	on      *held
	waiting *held // came before the first beacon of its connection
	clock   uint64
	clockAt moment
	dnd     bool
	alarm   bool
	value   int // that it reports, for something to change

	// The connection.
	conn     net.Conn // nil: none, or not born yet
	number   int      // of connections so far
	seq      uint64
	packet   uint16
	beaconed bool
	twinned  bool
	sending  bool // the first of the outbox is on its way
	acks     map[uint16]func(code byte)
	pending  int // contexts that are not acknowledged
	hushed   *hush

	changed chan struct{} // closed and made anew when something has changed
}

// held is a message on the device.
type held struct {
	wire.Present
	came, renewed moment
	leave         moment // when somebody presses its button, or puts it away; 0: nobody does
	dismiss       bool
	show          *show
}

// owed is an event or a choice that the gateway has not acknowledged yet.
type owed struct {
	event    *wire.Event
	proposal *wire.Proposal
	at       moment
	done     func(code byte)
}

// attributes are those that a class tells.
var attributes = map[device.Class][]string{
	device.TV:      {"power.state", "dnd", "alarm", "state", "volume_level"},
	device.Fridge:  {"power.state", "dnd", "alarm", "door.open", "temperature"},
	device.Display: {"power.state", "dnd", "alarm", "battery.level"},
}

// forms are how a class shows messages.
var forms = map[device.Class]wire.Forms{
	device.TV: {device.Toast}, device.Fridge: {device.Toast}, device.Display: {device.List, device.Toast},
}

// values are what the device tells of itself.
func (s *screen) values() map[string]any {
	v := map[string]any{"power.state": "on", "dnd": s.dnd, "alarm": s.alarm}
	switch s.class {
	case device.TV:
		v["state"], v["volume_level"] = "idle", float64(s.value%100)/100
	case device.Fridge:
		v["door.open"], v["temperature"] = s.value%2 == 0, float64(s.value%10)
	case device.Display:
		v["battery.level"] = float64(s.value % 100)
	}
	return v
}

// run keeps the device connected until ctx ends.
func (s *screen) run(ctx context.Context) {
	pause := 20 * time.Millisecond
	for ctx.Err() == nil {
		if s.session(ctx, s.world.network.addr()) {
			pause = 20 * time.Millisecond
		}
		s.mu.Lock()
		wait := pause/2 + time.Duration(s.rng.Int64N(int64(pause)))
		s.mu.Unlock()
		pause = min(2*pause, 500*time.Millisecond)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// logIn opens a connection: CONNECT, SUBSCRIBE.
func logIn(ctx context.Context, to, client, user, password, filter string) (net.Conn, *bufio.Reader, error) {
	d := net.Dialer{Timeout: 5 * time.Second}
	c, err := d.DialContext(ctx, "tcp", to)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	r := bufio.NewReaderSize(c, 2048)
	both := append(connectPacket(client, user, password), pack(subscribe<<4|2, number(1), []byte{0}, text(filter), []byte{1})...)
	if _, err = c.Write(both); err == nil {
		err = expect(r, connack, 1)
	}
	if err == nil {
		err = expect(r, suback, -1)
	}
	if err != nil {
		c.Close()
		return nil, nil, err
	}
	_ = c.SetDeadline(time.Time{})
	return c, r, nil
}

// expect reads a packet of that kind whose code at place (-1: the last byte) is good.
func expect(r *bufio.Reader, kind byte, place int) error {
	p, err := readPacket(r)
	if err != nil {
		return err
	}
	b := p.body()
	if place < 0 {
		place = len(b) - 1
	}
	if p.kind() != kind || place >= len(b) || b[place] >= 0x80 {
		return fmt.Errorf("got packet %d %x", p.kind(), b)
	}
	return nil
}

// session is one connection, and reports whether it got as far as a beacon.
func (s *screen) session(ctx context.Context, to string) (good bool) {
	c, r, err := logIn(ctx, to, string(s.id), string(s.id), s.token, wire.Topic(s.id, "dn/#"))
	if err != nil {
		s.world.count("device log-ins refused or lost")
		return false
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	s.world.op("log-ins")
	s.with(func(now moment) { s.born(c) })
	for {
		p, err := readPacket(r)
		if err != nil {
			break
		}
		s.with(func(now moment) {
			if s.conn == c {
				s.receive(now, p)
			}
		})
	}
	s.with(func(now moment) {
		if s.conn == c {
			good = s.beaconed
			s.lost(now)
		}
	})
	return good
}

// with runs f on the device and lets follow what is due.
func (s *screen) with(f func(now moment)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.world.since()
	s.wither(now)
	f(now)
	s.pump()
	close(s.changed)
	s.changed = make(chan struct{})
}

// await waits until ok holds of the device, and reports whether it does.
func (s *screen) await(ctx context.Context, ok func() bool) bool {
	for {
		s.mu.Lock()
		yes, changed := ok(), s.changed
		s.mu.Unlock()
		if yes {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// born begins a connection: birth, context, then what is owed.
func (s *screen) born(c net.Conn) {
	s.conn, s.seq, s.packet, s.acks = c, 0, 0, map[uint16]func(byte){}
	s.number++
	s.beaconed, s.twinned, s.sending, s.pending = false, false, false, 0
	b := wire.Birth{Model: wire.Model{Maker: "Torture", Name: "T1"}, Class: s.class, Attributes: attributes[s.class], Twin: s.twin.Version,
		Can: wire.Capabilities{Inputs: 2, Forms: forms[s.class], MaxButtons: 2, Languages: []string{"en"}, Holds: 1, Duties: wire.DutyDim | wire.DutyMinimal}}
	for _, h := range []*held{s.on, s.waiting} {
		if h != nil {
			b.Held = append(b.Held, h.Message)
		}
	}
	s.publish(wire.UpBirth, b, func(code byte) { s.world.answered("births", code) })
	s.tell(true, nil)
}

// lost ends a connection. What is on the screen stays until its lease is over.
func (s *screen) lost(now moment) {
	s.conn = nil
	s.unhush(now)
}

func (s *screen) unhush(now moment) {
	if h := s.hushed; h != nil {
		h.To = now
		s.home.diary.write(func() { s.home.diary.Hushes = append(s.home.diary.Hushes, *h) })
		s.hushed = nil
	}
}

// publish sends a frame with QoS 1. done is told the code with which it was acknowledged.
func (s *screen) publish(leaf wire.Leaf, frame any, done func(code byte)) {
	if s.conn == nil {
		return
	}
	var payload []byte
	var err error
	if c, ok := frame.(wire.Context); ok {
		payload, err = wire.EncodeContext(c, attributes[s.class])
	} else {
		payload, err = wire.Encode(frame)
	}
	if err != nil {
		s.world.fail(fmt.Errorf("device %s: %w", s.id, err))
		return
	}
	s.send(leaf, payload, done)
}

// send is publish with bytes.
func (s *screen) send(leaf wire.Leaf, payload []byte, done func(code byte)) {
	if s.conn == nil {
		return
	}
	s.seq++
	if s.packet++; s.packet == 0 {
		s.packet = 1
	}
	s.acks[s.packet] = done
	s.put(publishPacket(wire.Topic(s.id, leaf), 1, s.packet, payload))
}

// put writes a packet.
func (s *screen) put(p packet) {
	if s.conn == nil {
		return
	}
	_ = s.conn.SetWriteDeadline(time.Now().Add(5 * time.Second))
	if _, err := s.conn.Write(p); err != nil {
		s.conn.Close()
	}
}

// tell publishes the context: all of it, or only what changes.
func (s *screen) tell(all bool, done func(code byte)) {
	c := wire.Context{Seq: s.seq, Values: s.values(), Complete: all}
	if !all {
		for name := range c.Values {
			if name == "power.state" || name == "state" {
				delete(c.Values, name)
			}
		}
	}
	s.pending++
	sent := time.Now()
	s.publish(wire.UpCtx, c, func(code byte) {
		s.pending--
		s.world.answered("contexts", code)
		s.world.took(time.Since(sent))
		if done != nil {
			done(code)
		}
	})
}

// receive takes in one packet.
func (s *screen) receive(now moment, p packet) {
	switch p.kind() {
	case puback:
		b := p.body()
		if len(b) < 2 {
			return
		}
		id, code := binary.BigEndian.Uint16(b), byte(0)
		if len(b) > 2 {
			code = b[2]
		}
		done := s.acks[id]
		delete(s.acks, id)
		if done != nil {
			done(code)
		}
	case publish:
		topic, id, payload, ok := p.published()
		if !ok {
			s.world.fail(fmt.Errorf("device %s: bad packet %x", s.id, p))
			return
		}
		_, leaf, _ := wire.ParseTopic(topic)
		if err := s.frame(now, leaf, payload); err != nil {
			s.world.fail(fmt.Errorf("device %s: %s: %w", s.id, leaf, err))
		}
		if id != 0 {
			s.put(pack(puback<<4, number(id)))
		}
	case disconnect:
		s.world.count("connections ended by the gateway")
	}
}

func (s *screen) frame(now moment, leaf wire.Leaf, payload []byte) error {
	switch leaf {
	case wire.DnMsg:
		p, c, err := wire.DecodeMsg(payload)
		switch {
		case err != nil:
			return err
		case p != nil:
			s.home.diary.write(func() {
				s.home.diary.Offers = append(s.home.diary.Offers, offer{s.id, s.number, p.Message, now})
			})
			s.present(now, *p)
		default:
			s.raise(c.Fence)
			if h := s.find(c.Message); h != nil {
				s.remove(now, now, h, wire.Event{Kind: wire.Cancelled}, "cancelled")
			} else {
				s.owe(now, wire.Event{Message: c.Message, Kind: wire.Cancelled})
			}
		}
	case wire.DnTime:
		t, err := wire.DecodeTime(payload)
		if err != nil {
			return err
		}
		s.clock, s.clockAt = t.Clock, now
		s.raise(t.Fence)
		for _, h := range []*held{s.on, s.waiting} {
			switch {
			case h == nil:
			case slices.Contains(t.Keep, h.Message):
				h.renewed, h.Epoch = now, max(h.Epoch, s.fence)
			default:
				s.remove(now, now, h, wire.Event{Kind: wire.Cancelled}, "not kept")
			}
		}
		s.beaconed = true
		if h := s.waiting; h != nil && s.on == nil {
			s.waiting = nil
			s.show(now, h)
		}
	case wire.DnTwin:
		t, err := wire.DecodeTwin(payload)
		if err != nil {
			return err
		}
		if !s.twinned || t.Version > s.twin.Version {
			s.twin, s.twinned = t, true
		}
	case wire.DnWord:
		w, err := wire.DecodeWord(payload)
		if err != nil {
			return err
		}
		if w.State == wire.WordStopped {
			s.home.stopped(s.id, w.Epoch, now)
		}
	}
	return nil
}

func (s *screen) raise(fence uint64) { s.fence = max(s.fence, fence) }

func (s *screen) find(id device.MessageID) *held {
	for _, h := range []*held{s.on, s.waiting} {
		if h != nil && h.Message == id {
			return h
		}
	}
	return nil
}

// present is asked to show p.
func (s *screen) present(now moment, p wire.Present) {
	h := s.find(p.Message)
	if h != nil && p.Epoch > h.Epoch && p.Epoch >= s.fence {
		h.Epoch, h.renewed = p.Epoch, now
	}
	if e, ok := s.ledger[p.Message]; ok {
		s.owe(now, e)
		return
	}
	if h != nil {
		s.owe(now, wire.Event{Message: p.Message, Kind: wire.Queued})
		return
	}
	h = &held{Present: p, came: now, renewed: now}
	decline := func(kind wire.EventKind, why wire.Reason) {
		s.owe(now, wire.Event{Message: p.Message, Kind: kind, Reason: why})
	}
	form := forms[s.class][0]
	if p.Form != nil {
		form = *p.Form
	}
	switch {
	case p.Epoch < s.fence:
		decline(wire.Declined, wire.Stale)
	case !slices.Contains(forms[s.class], form) || len(p.Responses) > 2:
		decline(wire.Declined, wire.UnsupportedForm)
	case now >= s.end(h):
		decline(wire.Expired, 0)
	case s.on != nil || s.waiting != nil:
		decline(wire.Declined, wire.Busy)
	case !s.beaconed:
		s.waiting = h
	case s.alarm:
		decline(wire.Declined, wire.Busy)
	case s.dnd:
		decline(wire.Declined, wire.UserDND)
	case !s.guarded(p.Guards):
		decline(wire.Declined, wire.GuardFailed)
	default:
		s.show(now, h)
	}
}

// guarded reports whether all guards hold. Those that the gateway sends compare for equality.
func (s *screen) guarded(all map[string]wire.Guard) bool {
	v := s.values()
	for name, g := range all {
		if g.Op != "eq" || v[name] != g.Value {
			return false
		}
	}
	return true
}

// show puts h on the screen. The ledger has it first.
func (s *screen) show(now moment, h *held) {
	s.on = h
	h.show = &show{Device: s.id, Message: h.Message, Text: h.Text, Class: s.class, From: now}
	s.home.diary.write(func() { s.home.diary.Shows = append(s.home.diary.Shows, h.show) })
	s.world.count("shown")
	s.world.shown(h.Text)
	s.conclude(now, wire.Event{Message: h.Message, Kind: wire.Presented})
	switch n := s.rng.IntN(100); {
	case n < 2: // closed: perhaps the brand is paused for it
		h.dismiss = true
		fallthrough
	case n < 10 || n < 80 && !s.home.patient: // else nobody looks
		h.leave = now + time.Duration(s.rng.Int64N(int64(s.world.dwell)))
	}
}

// conclude writes an event into the ledger and owes it.
func (s *screen) conclude(now moment, e wire.Event) {
	s.ledger[e.Message] = e
	s.owe(now, e)
}

// owe puts an event into the outbox, unless the same waits there.
func (s *screen) owe(now moment, e wire.Event) {
	for _, o := range s.outbox {
		if o.event != nil && o.event.Message == e.Message && o.event.Kind == e.Kind {
			return
		}
	}
	s.outbox = append(s.outbox, &owed{event: &e, at: now})
}

// end is when h must go at the latest.
func (s *screen) end(h *held) moment {
	end := min(h.renewed+ms(h.Lease), h.came+ms(h.Live))
	if s.clock > 0 {
		until := h.ValidUntil * 1000
		end = min(end, s.clockAt+ms(until-min(s.clock, until)))
	}
	if h.show != nil && h.Display > 0 {
		end = min(end, h.show.From+ms(h.Display))
	}
	return end
}

func ms(n uint64) time.Duration { return time.Duration(min(n, 1<<40)) * time.Millisecond }

// wither takes off what time has ended, at the time at which it did.
func (s *screen) wither(now moment) {
	for _, h := range []*held{s.on, s.waiting} {
		if h == nil {
			continue
		}
		switch end := s.end(h); {
		case now >= end:
			kind, why := wire.Expired, "expired"
			if h.show != nil && h.Display > 0 && end == h.show.From+ms(h.Display) {
				kind, why = wire.TimedOut, "timed out"
			}
			s.remove(now, max(end, h.came), h, wire.Event{Kind: kind}, why)
		case h.show != nil && h.leave != 0 && now >= h.leave && h.dismiss:
			s.remove(now, now, h, wire.Event{Kind: wire.Dismissed}, "dismissed")
		case h.show != nil && h.leave != 0 && now >= h.leave && len(h.Responses) > 0:
			button := h.Responses[0].ID
			s.remove(now, now, h, wire.Event{Kind: wire.Responded, Response: &button}, "responded")
		}
	}
}

// remove takes h off the device; at is when.
func (s *screen) remove(now, at moment, h *held, e wire.Event, why string) {
	if s.on == h {
		s.on = nil
	} else {
		s.waiting = nil
	}
	e.Message = h.Message
	if h.show == nil {
		s.owe(now, e)
		return
	}
	s.home.diary.write(func() { h.show.To, h.show.Why = max(at, h.show.From), why })
	s.conclude(now, e)
}

// clear takes off what may not be on the screen any more.
func (s *screen) clear(now moment) {
	if h := s.on; h != nil {
		reason := wire.UserDND
		if s.alarm {
			reason = wire.Busy
		}
		if s.dnd || s.alarm {
			s.remove(now, now, h, wire.Event{Kind: wire.Declined, Reason: reason}, "declined")
		}
	}
}

// pump sends the first of the outbox, if none is on its way.
func (s *screen) pump() {
	if s.conn == nil || s.sending || len(s.outbox) == 0 || !s.beaconed {
		return
	}
	s.sending = true
	o, conn := s.outbox[0], s.conn
	done := func(code byte) {
		if s.conn != conn || len(s.outbox) == 0 || s.outbox[0] != o {
			return
		}
		s.sending = false
		s.outbox = slices.Delete(s.outbox, 0, 1)
		now := s.world.since()
		switch {
		case o.event != nil:
			s.world.answered("receipts", code)
			if code < 0x80 {
				s.home.diary.write(func() {
					s.home.diary.Receipts = append(s.home.diary.Receipts, receipt{s.id, o.event.Message, uint8(o.event.Kind), s.number, now})
				})
			}
		default:
			s.world.op("choices")
		}
		if o.done != nil {
			o.done(code)
		}
	}
	if o.event != nil {
		e := *o.event
		e.Seq, e.Age = s.seq, uint64((s.world.since() - o.at).Milliseconds())
		s.publish(wire.UpEvt, e, done)
		return
	}
	p := *o.proposal
	p.Seq = s.seq
	s.publish(wire.UpTwin, p, done)
}

// propose makes a change on the device, and returns the code with which it was acknowledged.
func (s *screen) propose(ctx context.Context, change func(wire.Twin) wire.Proposal, begun func(base uint64)) (code byte, ok bool) {
	answer := make(chan byte, 1)
	s.with(func(now moment) {
		p := change(s.twin)
		p.Base = s.twin.Version
		begun(p.Base)
		s.outbox = append(s.outbox, &owed{proposal: &p, at: now, done: func(code byte) { answer <- code }})
	})
	select {
	case code = <-answer:
		return code, true
	case <-ctx.Done():
		return 0, false
	}
}

// set changes something about the device, tells the gateway, and waits until that is acknowledged on one
// connection; however often the connection ends. hushes is whether it begins a time without disturbance.
func (s *screen) set(ctx context.Context, hushes bool, change func()) bool {
	for first := true; ctx.Err() == nil; first = false {
		acked := make(chan bool, 1)
		var number int
		s.with(func(now moment) {
			if first {
				s.unhush(now) // what was on its way may be judged by what is told now
				change()
				s.clear(now)
			}
			if number = s.number; s.conn == nil {
				number = -1
				return
			}
			s.tell(true, func(code byte) {
				if hushes && s.dnd && s.hushed == nil {
					s.hushed = &hush{Device: s.id, Conn: s.number, From: s.world.since()}
				}
				acked <- code < 0x80
			})
		})
		for waiting := number >= 0; waiting; {
			s.mu.Lock()
			changed, still := s.changed, s.conn != nil && s.number == number
			s.mu.Unlock()
			select {
			case ok := <-acked:
				if ok {
					return true
				}
				waiting = false
			default:
				if !still {
					waiting = false
					break
				}
				select {
				case <-changed:
				case <-ctx.Done():
					return false
				}
			}
		}
		if !s.await(ctx, func() bool { return s.conn != nil && s.number != number }) {
			return false
		}
	}
	return false
}

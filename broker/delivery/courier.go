package delivery

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/device/wire"
	"porchlight/policy"
)

// Courier makes the screens agree with what is written: it judges homes that have something to
// do, claims, and then sends.
type Courier struct {
	desk *Desk
}

// NewCourier returns the Courier of a Desk.
func NewCourier(d *Desk) *Courier { return &Courier{d} }

// Run works until ctx ends. Connections may come and go before and after; nothing is lost.
func (c *Courier) Run(ctx context.Context) error {
	d := c.desk
	g, ctx := errgroup.WithContext(ctx)
	for range d.o.Workers {
		g.Go(func() error {
			for {
				h, ok := d.queue.take(ctx)
				if !ok {
					return nil
				}
				d.turn(h)
			}
		})
	}
	g.Go(func() error { return d.watch(ctx) })
	g.Go(func() error { return d.probe(ctx) })
	return g.Wait()
}

// turn is what is done for one home at a time.
func (d *Desk) turn(h *home) {
	h.mu.Lock()
	defer h.mu.Unlock()
	d.converge(h)
	d.keepHeld(h)
}

// clockwork does what comes about by the clock alone, to messages, devices and choices. What cannot be taken back waits where
// the clock was set far ahead, perhaps only for a moment: nobody is let in, or shown anything, by what is over.
func (d *Desk) clockwork(now device.Instant) {
	d.expire(now)
	if d.mono().Before(d.unsure) {
		return
	}
	d.dismiss(now)
	d.runOut(now)
}

// watch wakes homes when their time comes. Once a second it looks at the clock itself: where it
// was set, everything is judged anew; messages that have expired leave memory.
func (d *Desk) watch(ctx context.Context) error {
	since := d.began
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	looked := d.mono()
	for {
		if mono := d.mono(); mono.Sub(looked) >= lastLook {
			looked = mono
			d.evict(longAway, glanced)
		}
		is := d.moment()
		now := is.wall
		if drift := now - since.wall - device.Instant(is.mono.Sub(since.mono).Milliseconds()); drift > 500 || drift < -500 {
			d.log.Warn("clock was set", "by_ms", int64(drift))
			since = is
			d.jumps.Add(1)
			if drift > device.Instant(time.Minute.Milliseconds()) {
				d.unsure = is.mono.Add(10 * time.Minute)
			}
			if err := d.readForce(); err != nil { // what had expired may be in force again
				d.log.Error("messages in force cannot be read", "err", err)
			}
			d.wakeAll()
		}
		d.clockwork(now)
		d.entrance.sweep()
		wait := d.queue.fire(d.mono())
		timer.Reset(min(wait, time.Second))
		select {
		case <-ctx.Done():
			return nil
		case <-d.queue.sooner:
		case <-d.look:
		case <-timer.C:
		}
	}
}

// probe looks once a second whether the files are still there, and whether one that could not be written can be again.
func (d *Desk) probe(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	told, gone := false, false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		err := d.db.Look()
		if err != nil && !gone {
			d.log.Error("nothing is written down any more", "err", err)
		}
		gone = err != nil
		if err := d.db.Kept(); err != nil && !told {
			told = true
			d.log.Error("the write-ahead log is kept and grows: start the gateway again once the disk is well", "err", err)
		}
		if d.db.Healthy() != nil && d.db.Probe() == nil {
			d.log.Info("the database can be written again")
			d.wakeAll()
		}
	}
}

// wakeAll queues every home in memory.
func (d *Desk) wakeAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, h := range d.homes {
		d.queue.put(h)
	}
}

// expire takes messages whose time is over out of memory and wakes the homes that may have them.
func (d *Desk) expire(now device.Instant) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now < d.expiry {
		return
	}
	mono := d.mono()
	for id, t := range d.back {
		if t.done && mono.Sub(t.at) > time.Hour {
			delete(d.back, id)
		}
	}
	d.expiry = now.Add(time.Hour)
	for id, m := range d.force {
		if now < m.NotAfter {
			d.expiry = min(d.expiry, m.NotAfter)
			continue
		}
		for _, h := range d.lapse(id) {
			h.stale.Store(true)
			d.queue.put(h)
		}
	}
}

// message is one in force, or nil.
func (d *Desk) message(id device.MessageID) *policy.Message {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.force[id]
}

// converge brings one home's screens closer to what is wanted: it judges, settles, claims and
// sends, and files everything else under the moment or the fact that could change it. The
// caller holds h.mu.
func (d *Desk) converge(h *home) {
	if h.gone {
		return
	}
	defer d.converged(h)
	if err := d.load(h); err != nil {
		if errors.Is(err, registry.ErrUnknown) {
			return // removed: nothing will ever be due there
		}
		d.log.Error("home cannot be read", "home", h.id, "err", err)
		d.queue.at(h, d.mono().Add(time.Second))
		return
	}
	if jumps := d.jumps.Load(); jumps != h.jumps {
		h.jumps, h.all = jumps, true
		h.stale.Store(true) // what had expired may be in force again
	}
	if h.stale.Swap(false) {
		d.pairUp(h)
	}
	// Looked at anew after whatever may have taken its time: no lease is to begin, by our word, before its device has heard of it.
	is := d.moment()
	next := is.mono.Add(time.Hour)
	soon := func(t time.Time) {
		if t.Before(next) {
			next = t
		}
	}
	var rest time.Time // what could not be written is not tried again before
	if len(h.open) > 0 {
		if err := d.settleAll(h, is); err != nil {
			d.fault(h, "settle", err)
			rest = d.mono().Add(time.Second)
			soon(rest)
		}
		is = d.moment()
	}
	if len(h.stopping) > 0 {
		if err := d.stopAll(h); err != nil {
			d.fault(h, "stop", err)
			soon(d.mono().Add(time.Second))
		}
		is = d.moment()
	}
	// What is to go goes before anything is judged that is to come.
	for _, dl := range h.open {
		if s := h.screens[dl.device]; dl.want != WantShown && s != nil && s.session != nil && !s.session.recalled {
			d.pump(h, s, is.wall, is.mono)
			is = d.moment()
		}
	}
	claimed, err := d.claimAll(h, is)
	if err != nil {
		d.fault(h, "claim", err)
		soon(d.mono().Add(time.Second))
	}
	if claimed || err != nil {
		is = d.moment()
	}
	now, mono := is.wall, is.mono
	for _, s := range h.screens {
		if s.session != nil {
			soon(d.pump(h, s, now, mono))
		}
	}
	soon(d.askDue(h, mono))
	wall := func(at device.Instant) {
		if at > 0 {
			soon(mono.Add(time.Duration(at-now) * time.Millisecond))
		}
	}
	for _, dl := range h.open {
		wall(dl.decision.Until)
		if m := d.message(dl.id); m != nil {
			wall(m.NotAfter)
		}
		if t, due := d.followAt(dl, mono); !due {
			soon(t)
		} else {
			wall(dl.look)
		}
		if dl.lapses() {
			soon(later(dl.kept.Add(d.o.Lease+d.o.Allowance), rest))
		}
	}
	wall(h.pending.next())
	wall(h.hush)
	for _, p := range h.pending.shows {
		if until := h.rests.until(p); until.After(mono) {
			soon(until)
		}
	}
	if len(h.pending.woken) > 0 {
		d.queue.put(h)
	}
	d.queue.at(h, later(next, mono.Add(5*time.Millisecond))) // no rule may make the hall spin
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// fault notes that a home could not be written. Nothing was sent; it is tried again.
func (d *Desk) fault(h *home, doing string, err error) {
	d.count.commitFailed.Add(1)
	d.log.Error("home cannot be written", "home", h.id, "doing", doing, "err", err)
}

// judge decides about an open delivery.
func (d *Desk) judge(h *home, dl *delivery, now device.Instant) {
	m, s := d.message(dl.id), h.screens[dl.device]
	if m == nil || s == nil {
		dl.want, dl.decision = WantGone, policy.Decision{Reasons: policy.Reasons(0).With(policy.Validity)}
		return
	}
	dl.decision = d.decide(policy.Request{Home: &h.view, Screen: &s.view, Message: m, Now: now, Own: true})
	switch {
	case dl.end != nil, dl.leaving:
		dl.want = WantGone
	case dl.decision.Verdict == policy.Show && !dl.decision.Duties.Within(dl.duties):
		dl.want = WantHeld // the device was not told to do so much
	case dl.decision.Verdict == policy.Show:
		dl.want = WantShown
	case dl.decision.Verdict == policy.Hold:
		dl.want = WantHeld
	default:
		dl.want = WantGone
	}
}

func (d *Desk) decide(q policy.Request) policy.Decision {
	dec := policy.Decide(q)
	d.count.judged.Add(1)
	d.count.verdicts[min(dec.Verdict, policy.Show)].Add(1)
	for left := dec.Reasons; left != 0; left &= left - 1 {
		d.count.reasons[bits.TrailingZeros32(uint32(left))].Add(1)
	}
	return dec
}

// settleAll judges what is open and writes down what is over.
func (d *Desk) settleAll(h *home, is moment) error {
	var over []settledFact
	mono := is.mono
	for _, dl := range h.open {
		d.judge(h, dl, is.wall)
	}
	if err := d.follow(h, is); err != nil {
		return err
	}
	for _, dl := range h.open {
		lapsed := dl.lapses() && !mono.Before(dl.kept.Add(d.o.Lease+d.o.Allowance))
		if h.screens[dl.device] == nil {
			if lapsed || !dl.lapses() { // until then it may be on the screen of what was removed
				over = append(over, settledFact{Message: dl.id, Device: dl.device, Outcome: Removal, Counts: true})
			}
			continue
		}
		switch s := h.screens[dl.device]; {
		case lapsed && dl.have == HaveSent && s.session != nil:
			// Not acknowledged in all that time: it may still be on its way, and its lease is yet to begin.
			s.session.link.Close(Silent)
			d.away(h, s)
		case dl.leaving && dl.have == HaveMissing && !lapsed: // it has said, or will say, whether it was shown
		case next(dl.want, dl.have) == Settle:
			outcome, counts := Vanished, true
			switch dl.have {
			case HaveMissing:
				outcome = Lapsed // nobody can say yet whether it was shown, so it counts
			case HaveNone: // the judge changed its mind between claim and hand-over
				if outcome, counts = Unsent, false; dl.anew {
					outcome, counts = Lapsed, true // what was handed over before may have been shown
				}
				d.tookOff(h, dl)
			}
			over = append(over, settledFact{Message: dl.id, Device: dl.device, Outcome: outcome, Counts: counts})
		case lapsed && dl.want == WantHeld && dl.presented == 0:
			dl.have = HaveMissing // off the screen, if it ever was on it; its moment may come again
		case lapsed && dl.end != nil: // nothing has come after what the device had said
			end := *dl.end
			end.Counts = true
			over = append(over, end)
		case lapsed:
			// Nobody can say whether it was shown, so it counts.
			over = append(over, settledFact{Message: dl.id, Device: dl.device, Outcome: Lapsed, Counts: true})
		}
	}
	return d.settle(h, over...)
}

// lapses reports whether the end of its lease ends dl, if the device does not speak before.
func (dl *delivery) lapses() bool {
	return dl.want != WantShown && dl.have != HaveNone && (dl.have != HaveMissing || dl.leaving) && dl.have != HaveGone
}

// settle writes down the ends of deliveries in one transaction.
func (d *Desk) settle(h *home, over ...settledFact) error {
	if len(over) == 0 {
		return nil
	}
	at, err := addAll(d, h.id, deliverySettled, over)
	if err != nil {
		return err
	}
	for i, f := range over {
		d.count.settled.Add(1)
		if !f.Counts {
			d.count.released.Add(1)
		}
		if dl := h.find(f.Message, f.Device); dl != nil {
			h.drop(dl, f, at[i])
		}
	}
	return nil
}

// addAll appends facts of one kind to a home's book, in one transaction, and returns when each was. They are encoded
// before: the writer has only to write.
func addAll[F any](d *Desk, home device.HomeID, kind string, facts []F) ([]device.Instant, error) {
	at, bodies := make([]device.Instant, len(facts)), make([]store.Body, len(facts))
	for i, f := range facts {
		var err error
		if bodies[i], err = store.Encode(f); err != nil {
			return nil, err
		}
	}
	return at, d.update(func(tx *store.Tx) error {
		for i, b := range bodies {
			e, err := tx.Add(home, kind, b)
			if err != nil {
				return err
			}
			at[i] = e.At
		}
		return nil
	})
}

// claimAll judges the pairs that something has changed for, and claims screens for what may be
// shown: one message on a screen at a time, the best of them first. A
// claim is on disk before the message leaves, and is made only when it can leave at once: it counts
// from then. claimed says that something was written.
func (d *Desk) claimAll(h *home, is moment) (claimed bool, err error) {
	now, mono := is.wall, is.mono
	if now >= h.asOf.Add(memory-MaxLife) {
		h.prune(now)
	}
	h.hush = 0
	busy := map[device.ID]bool{}
	for _, dl := range h.open {
		busy[dl.device] = busy[dl.device] || dl.have != HaveMissing
	}
	if h.asks.open != nil {
		busy[h.asks.open.device] = true // nothing comes over a question
	}
	var claims []claimedFact
	var made []*delivery
	claim := func(dl *delivery, m *policy.Message) {
		busy[dl.device] = true
		dl.who, dl.others = h.present(h.screens[dl.device], now)
		dl.epoch, dl.duties = h.wishes, dl.decision.Duties
		made = append(made, dl)
		q := policy.Request{Home: &h.view, Screen: &h.screens[dl.device].view, Message: m, Now: now}
		claims = append(claims, claimedFact{dl.id, dl.device, dl.brand, dl.purpose, dl.category, dl.who, dl.others, record(q, dl.decision, h.wishes).chosen(dl.pick), h.inputs(q), thread(dl.thread), dl.anew || dl.have == HaveMissing})
		// Those judged after it must see it.
		dl.claimed = now
		h.view.Shown = append(h.view.Shown, dl.exposure(true))
		h.pending.showed(dl.have == HaveMissing)
	}
	// What a device has lost is claimed again, and counts from now: it is judged as if its first
	// claim had not been, and with all that was shown since.
	for _, dl := range h.open {
		s, m := h.screens[dl.device], d.message(dl.id)
		if next(dl.want, dl.have) != Present || dl.have != HaveMissing || busy[dl.device] || m == nil || !s.idle(h.wishes) {
			continue
		}
		view := h.without(dl.id)
		if dl.decision = d.decide(policy.Request{Home: &view, Screen: &s.view, Message: m, Now: now}); dl.decision.Verdict == policy.Show {
			h.view.Shown = view.Shown
			claim(dl, m)
		}
	}
	on := d.begin(now)
	defer d.end(on)
	d.wake(h, on)
	candidates := d.candidates(h, mono)
	for len(candidates) > 0 {
		p, why := d.choose(h, candidates, busy, on)
		if p == nil {
			break
		}
		dl := &delivery{id: p.m.ID, brand: p.m.Brand, purpose: p.m.Purpose, category: p.m.Category, device: p.s.ID, want: WantShown, decision: p.decision, duties: p.decision.Duties, pick: why, others: true, thread: rememberedOf(p.m.Thread)}
		if err := d.fits(h, p.s, p.m, dl, now); err != nil {
			d.log.Warn("message does not fit the device", "message", p.m.ID, "device", p.s.ID, "err", err)
			h.rest(pairKey{p.m.ID, p.s.ID}, memory)
			candidates = slices.DeleteFunc(candidates, func(o *pair) bool { return o == p })
			continue
		}
		if !p.s.idle(h.wishes) {
			// It waits for this screen, rather than for a worse one that is free a moment sooner.
			candidates = slices.DeleteFunc(candidates, func(o *pair) bool { return o.m == p.m })
			continue
		}
		claim(dl, p.m)
		// What was a candidate beside it may be one too many now.
		left := candidates[:0]
		for _, o := range candidates {
			if o.m != p.m {
				if d.judgePair(h, o, on); o.decision.Verdict == policy.Show {
					left = append(left, o)
				}
			}
		}
		candidates = left
	}
	h.all = false
	if len(claims) == 0 {
		return false, nil
	}
	at, err := addAll(d, h.id, deliveryClaimed, claims)
	if err != nil {
		h.loaded = false // what the claims have changed in memory is read again
		return false, err
	}
	for i, dl := range made {
		h.view.Shown[len(h.view.Shown)-len(made)+i].At = at[i]
		if dl.have == HaveNone {
			h.open = append(h.open, dl)
		}
		dl.claimed, dl.anew, dl.have, dl.kept = at[i], claims[i].Again, HaveNone, mono
		dl.since = mono
		dl.span = d.tracing.judged(h, dl, mono)
	}
	h.order()
	d.count.claimed.Add(int64(len(made)))
	// The commit took its time: what is handed over is decided now.
	now = d.o.Now()
	for _, dl := range made {
		d.judge(h, dl, now)
	}
	return true, nil
}

// pump hands one screen what it is owed, as far as its window allows, and returns when to look
// again.
func (d *Desk) pump(h *home, s *screen, now device.Instant, mono time.Time) time.Time {
	se := s.session
	again := mono.Add(time.Hour)
	if !s.ready() {
		if se.subscribed && se.born {
			h.stale.Store(true) // pair anew at the next turn
			return se.bornAt.Add(silence)
		}
		return again
	}
	if se.flight != nil && mono.Sub(se.flight.since) >= d.o.AckWait {
		d.log.Warn("device did not acknowledge", "home", h.id, "device", s.ID)
		se.link.Close(Silent)
		d.away(h, s)
		return again
	}
	var keep []device.MessageID
	var recall bool
	for _, dl := range h.open {
		if dl.device != s.ID {
			continue
		}
		switch {
		case dl.want == WantShown && dl.have != HaveNone:
			keep = append(keep, dl.id)
		case dl.want != WantShown && dl.have != HaveRecalled:
			recall = true // its cancel may have to wait for the window; a beacon need not
		}
	}
	// The beacon comes first: before it a device shows nothing, and what it does not name goes.
	if due := !mono.Before(se.beacon); due && (len(keep) > 0 || se.beacon.IsZero()) || recall && !se.recalled {
		payload, err := wire.Encode(&wire.Time{Clock: uint64(now), Fence: uint64(h.wishes), Keep: keep})
		if err != nil {
			d.unable(s, wire.DnTime, err)
			return again
		}
		se.ahead = &Frame{Leaf: wire.DnTime, Payload: payload}
		se.beacon = mono.Add(d.o.Lease / 3)
		for _, dl := range h.open {
			if dl.device == s.ID && slices.Contains(keep, dl.id) {
				dl.kept = mono
			}
		}
	}
	se.recalled = recall
	if len(keep) > 0 {
		again = se.beacon
	}
	if se.flight == nil {
		d.launch(h, s, now, mono)
	}
	if f := se.ahead; f != nil { // nothing went that could take it along
		se.ahead = nil
		d.hand(s, *f)
	}
	if f := se.flight; f != nil {
		if f.delivery != nil && !f.cancel && se.beacon.Before(again) {
			again = se.beacon // what has just left is to be kept, too
		}
		if t := f.since.Add(d.o.AckWait); t.Before(again) {
			again = t
		}
	}
	return again
}

// launch sends the next frame that is to be acknowledged: what must go before what the home has
// said before what is new.
func (d *Desk) launch(h *home, s *screen, now device.Instant, mono time.Time) {
	se := s.session
	for _, dl := range h.open {
		if dl.device == s.ID && (next(dl.want, dl.have) == Cancel || dl.have == HaveRecalled && dl.twice) {
			if d.send(s, wire.DnMsg, &wire.Cancel{Message: dl.id, Fence: uint64(h.wishes)}, 1, 0) {
				dl.twice = false
				se.flight = &flight{since: mono, delivery: dl, cancel: true}
				d.count.recalled.Add(1)
			}
			return
		}
	}
	if se.twin != h.wishes {
		doc, err := d.document(h, s)
		if err == nil {
			if d.hand(s, Frame{Leaf: wire.DnTwin, Payload: doc, QoS: 1}) {
				se.flight = &flight{since: mono, twin: h.wishes}
			}
			return
		}
		d.log.Error("document cannot be encoded", "home", h.id, "device", s.ID, "err", err)
		se.twin = h.wishes // the device goes without, rather than without a connection
	}
	for _, dl := range h.open {
		if dl.device != s.ID || dl.have != HaveNone || next(dl.want, dl.have) != Present {
			continue // what is missing is claimed anew first
		}
		m := d.message(dl.id)
		if m == nil || now >= m.NotAfter {
			continue // withdrawn a moment ago, or over: judged at the next turn
		}
		if d.send(s, wire.DnMsg, d.present(h, s, m, dl, now), 1, time.Duration(m.NotAfter-now)*time.Millisecond) {
			dl.have, dl.kept = HaveSent, mono
			se.flight = &flight{since: mono, delivery: dl}
			d.tracing.offered(h, dl)
			if !h.news.IsZero() {
				d.took.reacted.Observe(d.mono().Sub(h.news).Seconds())
			}
			if se.beacon.After(mono.Add(d.o.Lease/3)) || se.beacon.Before(mono) {
				se.beacon = mono.Add(d.o.Lease / 3)
			}
		}
		return
	}
	if ask, ok := d.askNext(h, s, now); ok && d.send(s, wire.DnAsk, ask, 1, time.Duration(ask.Live)*time.Millisecond) {
		se.flight = &flight{since: mono, ask: true}
	}
}

// present is the frame that asks a device to show a message. It carries all that the device
// needs to stop by itself.
func (d *Desk) present(h *home, s *screen, m *policy.Message, dl *delivery, now device.Instant) *wire.Present {
	text := m.Texts[dl.decision.Text]
	form, show := dl.decision.Form, m.Display
	if dl.duties.Must&policy.Limit != 0 {
		show = dl.duties.Limit
	}
	p := &wire.Present{
		Content: uint(dl.decision.Content), Message: m.ID, ValidUntil: uint64(m.NotAfter / 1000), Live: uint64(m.NotAfter - now),
		Text: text.Body, Title: text.Title, Sender: m.Sender, Form: &form, Language: text.Language,
		Display: uint64(show.Milliseconds()), Lease: uint64(d.o.Lease.Milliseconds()), Epoch: uint64(h.wishes),
	}
	for _, b := range m.Buttons {
		p.Responses = append(p.Responses, wire.Response{ID: uint(b.ID), Label: b.Labels[dl.decision.Text]})
	}
	for a, v := range h.view.Safety.Guards(s.Class) {
		if p.Guards == nil {
			p.Guards = map[string]wire.Guard{}
		}
		p.Guards[a.String()] = wire.Guard{Op: string(policy.EQ), Value: plainValue(a, v)}
	}
	for duty, bit := range dutyBits {
		if dl.duties.Must&duty != 0 {
			p.Duties |= bit
		}
	}
	return p
}

// dutyBits are the duties as a frame has them. Of the others, the limit is the time to display, and the rest
// every device of the contract does.
var dutyBits = map[policy.Duty]uint{policy.Dim: wire.DutyDim, policy.Minimal: wire.DutyMinimal}

// fits fails if a message could not be sent to a device, whatever the moment.
func (d *Desk) fits(h *home, s *screen, m *policy.Message, dl *delivery, now device.Instant) error {
	payload, err := wire.Encode(d.present(h, s, m, dl, now))
	if err != nil {
		return err
	}
	if most := s.Can.MaxPacket; most != 0 && uint(len(payload)+packetOverhead) > most {
		return fmt.Errorf("its frame of %d bytes does not fit a packet of %d", len(payload), most)
	}
	return nil
}

// packetOverhead is what MQTT adds to a frame at most: header, topic, packet ID, properties.
const packetOverhead = 128

// send hands a frame over. It is false if the device is away, and then it is treated so.
func (d *Desk) send(s *screen, leaf wire.Leaf, frame any, qos byte, life time.Duration) bool {
	payload, err := wire.Encode(frame)
	if err != nil {
		return d.unable(s, leaf, err)
	}
	return d.hand(s, Frame{Leaf: leaf, Payload: payload, QoS: qos, Life: life})
}

// hand is send for a frame that is encoded.
func (d *Desk) hand(s *screen, f Frame) bool {
	se := s.session
	if first := se.ahead; first != nil {
		se.ahead, first.More = nil, true
		if err := se.link.Send(*first); err != nil {
			return d.unable(s, first.Leaf, err)
		}
	}
	if err := se.link.Send(f); err != nil {
		return d.unable(s, f.Leaf, err)
	}
	return true
}

func (d *Desk) unable(s *screen, leaf wire.Leaf, err error) bool {
	d.log.Info("frame not sent", "device", s.ID, "leaf", string(leaf), "err", err)
	s.session.link.Close(Unable)
	return false
}

// away is what follows from the end of a device's connection. The caller holds h.mu.
func (d *Desk) away(h *home, s *screen) {
	s.session, h.left = nil, d.mono()
	s.context.Stale() // it permits nothing any more; what it restrained stays restrained until it says otherwise
	for _, dl := range h.open {
		if dl.device == s.ID && dl.have != HaveNone && dl.have != HaveGone {
			if dl.have == HaveSent {
				dl.kept = d.mono() // it may have arrived as late as now: its lease has not begun earlier than that is known
				dl.unanswered()
			}
			dl.have = HaveUnsure
		}
	}
	d.askAway(h, s)
	h.all = true
	h.stale.Store(true)
	d.queue.put(h)
}

func unknownDevice(dev device.ID) error { return fmt.Errorf("device %s: %w", dev, ErrAway) }

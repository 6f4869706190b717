package delivery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/device/twin"
	"porchlight/device/wire"
	"porchlight/policy"
	"porchlight/policy/consent"
)

// on runs f for the device's current connection, on behalf of the device. Any other connection of it
// is away.
func (d *Desk) on(dev device.ID, link Link, f func(d *Desk, h *home, s *screen) error) error {
	return d.with(dev, link, func(h *home, s *screen) error { return f(s.session.desk, h, s) })
}

// with is on for what is not written down, and so on behalf of nobody.
func (d *Desk) with(dev device.ID, link Link, f func(h *home, s *screen) error) error {
	d.mu.Lock()
	id, ok := d.links[link]
	d.mu.Unlock()
	if !ok {
		return unknownDevice(dev)
	}
	if w, ok := link.(Waiter); ok {
		if h := d.home(id); h.mu.TryLock() {
			h.mu.Unlock()
		} else {
			w.Waits()
		}
	}
	return d.in(id, func(h *home) error {
		s := h.screens[dev]
		if s == nil || s.session == nil || s.session.link != link {
			return unknownDevice(dev)
		}
		return f(h, s)
	})
}

// deviceAt is a device as the journal names who caused a fact.
func deviceAt(dev device.ID, from string) device.Actor {
	return device.Actor(strings.TrimSpace("device " + string(dev) + " " + from))
}

// Used takes in that a device has logged in with a credential for the first time: it is active from
// now on, and the one before it retires.
func (d *Desk) Used(dev device.ID, id device.HomeID, p registry.Proof, from string) error {
	d = d.As(deviceAt(dev, from))
	return d.in(id, func(h *home) error {
		return d.record(h, func(tx *store.Tx) error { return registry.Activate(tx, dev, p) })
	})
}

// Connected takes in that a device has logged in. A connection that it had before is away from
// now on. It fails with ErrAway if the device has been removed meanwhile.
func (d *Desk) Connected(dev device.ID, id device.HomeID, link Link) error {
	return d.in(id, func(h *home) error {
		s := h.screens[dev]
		if s == nil {
			// Perhaps it was added by a neighbour of this transaction: the tables know.
			h.loaded = false
			if err := d.load(h); err != nil {
				return err
			}
			if s = h.screens[dev]; s == nil {
				return unknownDevice(dev)
			}
		}
		if s.session != nil {
			s.session.link.Close(TakenOver)
			d.forget(s.session.link)
			d.away(h, s)
		}
		s.session = &session{link: link, desk: d.As(deviceAt(dev, link.From())), twin: -1, mono: d.mono}
		d.mu.Lock()
		d.links[link] = id
		d.mu.Unlock()
		return nil
	})
}

func (d *Desk) forget(link Link) {
	d.mu.Lock()
	delete(d.links, link)
	d.mu.Unlock()
}

// Gone takes in that a connection has ended. For one that is not the device's current it does
// nothing.
func (d *Desk) Gone(dev device.ID, link Link) {
	_ = d.on(dev, link, func(d *Desk, h *home, s *screen) error { d.away(h, s); return nil }) // nothing is left to tell
	d.forget(link)
}

// Subscribed takes in that the device listens to what is sent to it.
func (d *Desk) Subscribed(dev device.ID, link Link) error {
	return d.on(dev, link, func(d *Desk, h *home, s *screen) error {
		s.session.subscribed = true
		d.arrived(h)
		return nil
	})
}

// Birth takes in what a device says of itself and what is still on it. Coming again on the same
// connection, it replaces what was said before.
func (d *Desk) Birth(dev device.ID, link Link, b wire.Birth) error {
	return d.on(dev, link, func(d *Desk, h *home, s *screen) error {
		if b.Class != s.Class {
			return fmt.Errorf("%w: birth: class is %s, but the device is registered as a %s", wire.ErrFrame, b.Class, s.Class)
		}
		model, can := model(b.Model), capabilities(b.Can)
		if s.Model != model || !s.Can.Equal(&can) {
			if !s.facts.AllowN(d.mono(), 1) {
				return fmt.Errorf("up/birth: %w: it describes itself anew again and again", ErrOften)
			}
			err := d.record(h, func(tx *store.Tx) error {
				_, err := registry.Describe(tx, dev, model, can)
				return err
			})
			if err != nil {
				return err
			}
			if s = h.screens[dev]; s == nil || s.session == nil {
				return unknownDevice(dev)
			}
		}
		for _, dl := range h.open {
			if dl.device != dev {
				continue
			}
			switch held := slices.Contains(b.Held, dl.id); {
			case !held && dl.presented != 0:
				dl.have = HaveGone
			case !held && dl.have == HaveSent && s.session.born:
				// said again on the same connection, and crossed by what is on its way
			case !held && dl.have != HaveNone:
				dl.have = HaveMissing // sending it again is safe: a device knows the messages it has shown
			case !held:
			case dl.presented != 0:
				dl.have = HavePresented
			default:
				dl.have = HaveQueued
			}
		}
		s.session.born, s.session.bornAt, s.session.clock = true, d.mono(), b.Clock
		s.session.told = len(b.Attributes) == 0
		s.session.beacon = time.Time{}
		s.session.twin = -1
		if b.Twin != 0 && b.Twin == uint64(h.wishes) {
			s.session.twin = h.wishes
		}
		d.arrived(h)
		return nil
	})
}

// arrived judges the home anew after a step of a device towards being ready, or towards the end
// of the time that it has to say how it is.
func (d *Desk) arrived(h *home) {
	h.all = true
	h.stale.Store(true)
	d.queue.put(h)
}

func model(m wire.Model) device.Model {
	return device.Model{Maker: m.Maker, Name: m.Name, Hardware: m.Hardware}
}

func capabilities(c wire.Capabilities) device.Capabilities {
	can := device.Capabilities{
		Inputs: c.Inputs, Sound: c.Sound, Forms: c.Forms, MaxPacket: c.MaxPacket, MaxButtons: c.MaxButtons,
		Languages: c.Languages, Holds: c.Holds, Attention: c.Attention, Duties: c.Duties,
	}
	if len(c.Screen) == 3 {
		can.Width, can.Height, can.Diagonal = c.Screen[0], c.Screen[1], c.Screen[2]
	}
	return can
}

// Context takes in what has changed on a device. It is kept in memory only. Only a change that
// a decision could see wakes anything.
func (d *Desk) Context(dev device.ID, link Link, c wire.Context) error {
	return d.with(dev, link, func(h *home, s *screen) error {
		now := d.o.Now()
		ahead := s.context.NotAfter(now) // the clock may have been set back: what is told now is still newer
		s.view.Trip = min(s.view.Trip, now)
		order := lastOfPresence(&s.context)
		changed, err := twin.Report(&s.context, s.Class, c.Values, now.Add(-s.session.age(c)), now, c.Complete)
		s.remember(changed, now)
		if order != lastOfPresence(&s.context) {
			changed |= presence
		}
		if ahead { // and what was told before may be relied on from now on
			changed = ^device.AttributeSet(0)
		}
		if !s.session.told {
			s.session.told = true
			d.arrived(h)
		}
		if changed != 0 {
			d.contextChanged(h, s, changed)
		}
		if err := d.alarmed(h, s); err != nil {
			return err
		}
		if err != nil {
			return fmt.Errorf("%w: up/ctx: %w", wire.ErrFrame, err)
		}
		return nil
	})
}

// age is how old a device says that its context is. Its clock is compared with itself alone, as
// it stood at birth: one that is wrong, or runs ahead, gains and loses nothing.
func (se *session) age(c wire.Context) time.Duration {
	const most = uint64(24 * time.Hour / time.Millisecond)
	if c.Age != 0 {
		return time.Duration(min(c.Age, most)) * time.Millisecond
	}
	if c.Observed == 0 || se.clock == 0 {
		return 0
	}
	now := se.clock + uint64(se.mono().Sub(se.bornAt).Milliseconds())
	if c.Observed >= now {
		return 0
	}
	return time.Duration(min(now-c.Observed, most)) * time.Millisecond
}

// alarmed takes in what a device says of its alarm. Neither a lost connection nor a restart ends
// one, so it is written down; it holds every screen of the home before it is.
func (d *Desk) alarmed(h *home, s *screen) error {
	alarm, known := s.context.Get(device.Alarm)
	on := alarm.Value.Num == 1
	written, held := h.alarms[s.ID]
	if !known || on && written || !on && !held {
		return nil
	}
	if !on && !s.facts.AllowN(d.mono(), 1) {
		return nil // an alarm that comes and goes stays on until it has been off for long enough to be written down
	}
	if on {
		h.alarms[s.ID], h.view.Alarm, h.all = false, true, true
	}
	if err := s.session.desk.update(func(tx *store.Tx) error { return registry.SetAlarm(tx, h.id, s.ID, on) }); err != nil {
		return err
	}
	if on {
		h.alarms[s.ID] = true
		return nil
	}
	delete(h.alarms, s.ID)
	h.view.Alarm, h.all = len(h.alarms) > 0, true
	return nil
}

// Event takes in what became of a message on a device, and a person's wish for later ones. What
// was taken in before changes nothing.
func (d *Desk) Event(dev device.ID, link Link, e wire.Event) error {
	return d.on(dev, link, func(d *Desk, h *home, s *screen) error {
		dl := h.find(e.Message, dev)
		switch e.Kind {
		case wire.Queued:
			if dl != nil && dl.presented == 0 && (dl.have == HaveSent || dl.have == HaveUnsure) {
				dl.have = HaveQueued
			}
			return nil
		case wire.Presented:
			if dl == nil {
				return d.lateShow(h, s, e)
			}
			return d.presented(h, dl, e)
		}
		if dl == nil {
			return d.lateWord(h, s, e)
		}
		counts := dl.presented != 0 || e.Kind == wire.Responded || e.Kind == wire.Dismissed || e.Kind == wire.TimedOut ||
			e.Kind == wire.Cancelled && dl.want == WantShown // we did not ask: it was taken off at another time, and its receipt was lost
		over := settledFact{Message: e.Message, Device: dev, Outcome: Outcome(e.Kind), Counts: counts, Response: e.Response, Reason: e.Reason, Act: d.act(e)}
		switch e.Kind {
		case wire.Declined, wire.Expired, wire.Cancelled, wire.Failed:
			// Perhaps an old word, from before the message was sent again: the device may be about to show it. It
			// is taken off, and what it says to that is its last word.
			if dl.have != HaveRecalled && dl.have != HaveMissing && dl.have != HaveGone && dl.have != HaveNone {
				if dl.end == nil || e.Kind != wire.Cancelled { // which says less than a word before it
					dl.end = &over
				}
				if f := s.session.flight; f != nil && f.cancel && f.delivery == dl {
					f.crossed = true
				}
				d.queue.put(h)
				return nil
			}
			if dl.end != nil {
				over.Outcome, over.Reason, over.Counts = dl.end.Outcome, dl.end.Reason, over.Counts || dl.end.Counts
				e.Kind, e.Reason = wire.EventKind(dl.end.Outcome), dl.end.Reason
			}
			if dl.anew && dl.have == HaveMissing { // of which hand-over it speaks nobody knows: it may have been shown since
				counts, over.Counts = true, true
			}
		}
		if e.Wish != nil {
			err := d.record(h, func(tx *store.Tx) error {
				if err := settleWith(tx, h.id, over, dl.brand, dl.thread.Item); err != nil {
					return err
				}
				return d.wish(tx, h, s, e, dl.epoch)
			})
			return err
		}
		if e.Kind == wire.Dismissed || e.Kind == wire.Responded { // what somebody does is known to the very next decision
			return d.record(h, func(tx *store.Tx) error {
				err := settleWith(tx, h.id, over, dl.brand, dl.thread.Item)
				if err != nil || e.Kind != wire.Dismissed {
					return err
				}
				return d.notice(tx, h, dl.brand)
			})
		}
		if err := d.settle(h, over); err != nil {
			return err
		}
		if !counts {
			d.declined(h, s, e, dl)
		}
		d.queue.put(h)
		return nil
	})
}

// notice writes down that a brand's messages are paused from now on, if that follows from what was
// just dismissed: every device then shows it, with the way to undo it.
func (d *Desk) notice(tx *store.Tx, h *home, brand device.BrandID) error {
	t, err := d.read(tx, h.id)
	if err != nil {
		return err
	}
	for _, l := range t.learnt {
		if l.Brand == brand && l.Until != 0 && !slices.ContainsFunc(h.learnt, func(was learnt) bool { return was.Person == l.Person && was.Brand == brand && was.Until >= l.Until }) {
			return twin.Notice(tx, h.id, brand)
		}
	}
	return nil
}

// presented writes down that a message was on the screen.
func (d *Desk) presented(h *home, dl *delivery, e wire.Event) error {
	if dl.presented != 0 {
		return nil // said before
	}
	began := d.mono()
	at := max(d.since(e), dl.claimed)
	if _, err := addAll(d, h.id, deliveryPresented, []presentedFact{{dl.id, dl.device, at}}); err != nil {
		return err
	}
	dl.presented = at
	h.rests.appeared(dl.id, dl.device)
	switch dl.have {
	case HaveRecalled:
	case HaveMissing:
		dl.have = HaveGone
	default:
		dl.have = HavePresented
	}
	d.count.presented.Add(1)
	d.tracing.presented(h, dl, began)
	d.queue.put(h)
	return nil
}

// since is when an event was, by its age.
func (d *Desk) since(e wire.Event) device.Instant {
	return d.o.Now().Add(-time.Duration(min(e.Age, uint64(memory/time.Millisecond))) * time.Millisecond)
}

// lateShow takes in that a message was on the screen whose delivery has ended as if it never had been. It counts from now on.
func (d *Desk) lateShow(h *home, s *screen, e wire.Event) error {
	var claimed device.Instant
	unshown := false
	err := d.db.View(context.Background(), func(tx *store.Tx) error {
		err := tx.QueryRow(`SELECT claimed, counts = 0 FROM delivery WHERE home = ? AND message = ? AND device = ? AND settled > 0`, h.id, e.Message[:], s.ID).Scan(&claimed, &unshown)
		if isNoRows(err) {
			return nil
		}
		return err
	})
	if err != nil || !unshown {
		return err
	}
	return d.record(h, func(tx *store.Tx) error {
		if _, err := tx.Add(h.id, deliveryPresented, presentedFact{e.Message, s.ID, max(d.since(e), claimed)}); err != nil {
			return err
		}
		_, err := tx.Add(h.id, deliverySettled, settledFact{Message: e.Message, Device: s.ID, Outcome: Vanished, Counts: true})
		return err
	})
}

// lateWord takes in the end of a delivery that was given up before the device could tell, with
// the wish that may come with it, and what somebody did after the device had said that it would not show it,
// before it was handed over again. Any other end was taken in before.
func (d *Desk) lateWord(h *home, s *screen, e wire.Event) error {
	var outcome Outcome
	var brand device.BrandID
	var item string
	err := d.db.View(context.Background(), func(tx *store.Tx) error {
		err := tx.QueryRow(`SELECT outcome, brand, item FROM delivery WHERE home = ? AND message = ? AND device = ?`, h.id, e.Message[:], s.ID).Scan(&outcome, &brand, &item)
		if isNoRows(err) {
			return nil
		}
		return err
	})
	if err != nil || outcome < Lapsed && !(unseen(wire.EventKind(outcome)) && !unseen(e.Kind)) {
		return err
	}
	return d.record(h, func(tx *store.Tx) error {
		over := settledFact{Message: e.Message, Device: s.ID, Outcome: Outcome(e.Kind), Counts: true, Response: e.Response, Reason: e.Reason, Act: d.act(e)}
		if err := settleWith(tx, h.id, over, brand, item); err != nil {
			return err
		}
		if e.Wish == nil {
			return nil
		}
		return d.wish(tx, h, s, e, -1)
	})
}

// unseen reports whether k says that nobody did anything with a message.
func unseen(k wire.EventKind) bool {
	return k == wire.Declined || k == wire.Expired || k == wire.Cancelled || k == wire.Failed
}

// declined gives a device that would not show a message some rest before it is asked again.
func (d *Desk) declined(h *home, s *screen, e wire.Event, dl *delivery) {
	switch {
	case e.Kind == wire.Cancelled: // as we asked
		d.tookOff(h, dl)
	case e.Reason == wire.UnsupportedForm, e.Reason == wire.TooLarge:
		h.rest(pairKey{e.Message, s.ID}, memory)
	default:
		h.rest(pairKey{e.Message, s.ID}, 2*time.Second)
	}
}

// wish turns what a person wants of later messages like this one into choices and preferences,
// for the person whose device it is, or the home. It only restricts, except on a device that may
// widen. claimed is the version of its choices and preferences when the message was claimed; -1: that is not known.
func (d *Desk) wish(tx *store.Tx, h *home, s *screen, e wire.Event, claimed int64) error {
	o, err := messageOffer(tx, e.Message)
	if err != nil {
		return err
	}
	choose := func(p policy.Purpose, c policy.Choice) error {
		_, err := consent.Record(tx, consent.Entry{Home: h.id, Subject: s.Owner, Brand: o.brand, Purpose: p, Choice: c, Device: s.ID, Method: "wish"})
		if errors.Is(err, consent.ErrNotTheirs) {
			return nil // a yes that is not theirs to give is not given, and the rest of what they said stands
		}
		return err
	}
	// What permits more counts only if nothing was said about it since: it may have waited in the device, and no clock tells how long.
	var said int64
	if err := tx.QueryRow(`SELECT coalesce(max(pos), 0) FROM consent WHERE home = ? AND subject = ? AND brand = ? AND purpose = ?`, h.id, s.Owner, o.brand, o.purpose).Scan(&said); err != nil {
		return err
	}
	free := said <= claimed
	switch *e.Wish {
	case wire.Disallowed:
		return choose(o.purpose, policy.Withdrawn)
	case wire.Banned:
		// Not this brand: every purpose there is, whatever it may come to declare.
		for p := policy.NoPurpose + 1; p.Known(); p++ {
			if err := choose(p, policy.Withdrawn); err != nil {
				return err
			}
		}
	case wire.Reduced:
		return setFewer(tx, h, s.ID, o.brand, true)
	case wire.Increased:
		prefs, err := twin.Preferences(tx, h.id)
		if err != nil {
			return err
		}
		if free && prefs[twin.Caps].Pos <= claimed && h.mayWiden(s, s.Owner, d.o.Now()) {
			return setFewer(tx, h, s.ID, o.brand, false)
		}
	case wire.Allowed:
		if free && h.mayWiden(s, s.Owner, d.o.Now()) {
			return choose(o.purpose, policy.Given)
		}
	}
	return nil
}

func messageOffer(tx *store.Tx, id device.MessageID) (o offer, err error) {
	_, f, err := acceptedAs(tx, id)
	if err != nil {
		return o, fmt.Errorf("message %s: %w", id, err)
	}
	s, err := f.submission()
	return offer{f.Brand, s.Purpose}, err
}

// Bye takes in that a device leaves on purpose.
func (d *Desk) Bye(dev device.ID, link Link, b wire.Bye) error {
	return d.on(dev, link, func(d *Desk, h *home, s *screen) error {
		s.session.born = false // nothing more is sent on this connection
		h.stale.Store(true)
		d.log.Info("device leaves", "home", h.id, "device", dev, "reason", b.Reason)
		switch b.Reason {
		case "reset":
			return d.record(h, func(tx *store.Tx) error { return registry.RemoveDevice(tx, dev, registry.ByReset) })
		case "wiped":
			if err := d.record(h, func(tx *store.Tx) error { return registry.RemoveDevice(tx, dev, registry.ByWipe) }); err != nil {
				return err
			}
			d.mu.Lock()
			defer d.mu.Unlock()
			if done := d.wiping[dev]; done != nil {
				close(done)
				delete(d.wiping, dev)
			}
		}
		return nil
	})
}

// Acked takes in that a device has acknowledged the one frame that was on its way.
func (d *Desk) Acked(dev device.ID, link Link) {
	_ = d.with(dev, link, func(h *home, s *screen) error { // a connection that has ended has nothing on its way
		f := s.session.flight
		if s.session.flight = nil; f == nil {
			return nil
		}
		switch {
		case f.ask:
			d.askAcked(h, s)
		case f.delivery == nil:
			s.session.twin = f.twin
		case f.cancel:
			if f.delivery.have == HaveQueued || f.delivery.have == HavePresented {
				f.delivery.have, f.delivery.twice = HaveRecalled, f.crossed
			}
		case f.delivery.have == HaveSent:
			f.delivery.have = HaveQueued
			f.delivery.answered()
		}
		if f.ask || f.cancel || h.awaits(s) {
			d.queue.put(h)
		}
		return nil
	})
}

// awaits reports whether anything may wait for the window of s, which is open now, or for what its device has
// acknowledged. Everything else waits for its time, or for news.
func (h *home) awaits(s *screen) bool {
	return s.session.twin != h.wishes || len(h.pending.shows) > 0 || len(h.stopping) > 0 || h.asks.open != nil || h.asks.byItself ||
		slices.ContainsFunc(h.open, func(dl *delivery) bool { return dl.device == s.ID && next(dl.want, dl.have) != Wait })
}

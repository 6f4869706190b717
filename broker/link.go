package broker

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/wire"
)

// link is one connection of one device; it is the Desk's delivery.Link.
type link struct {
	place
	device    device.ID
	home      device.HomeID
	household *household // nil: not counted
	heard     counter
	proof     registry.Proof // what it has logged in with
	keyed     bool           // which is a key
	issued    time.Time      // and when that was issued

	subscribed bool // the Desk was told so; reading goroutine only

	// What the Desk hears about a link it hears with telling locked, one thing after the other,
	// whichever connection brought it. The Desk in its turn calls Send and Close with a home
	// locked, so these do not touch telling.
	telling    sync.Mutex
	connected  bool // the Desk knows of this link
	born       bool
	attributes []string
	sides      map[*side]struct{} // nil: there has been none

	mu      sync.Mutex
	packet  uint16 // the last packet ID
	waiting uint16 // the packet ID whose PUBACK is waited for, 0: none
	errs    bool   // dn/err is subscribed to
}

// needed are the leaves without which a device cannot be given messages.
var needed = []wire.Leaf{wire.DnMsg, wire.DnTwin, wire.DnTime}

func (h *hook) admitDevice(c *conn, cl *mqtt.Client, id device.ID, p registry.Proof) error {
	d := h.door
	changes := d.auth.changed()
	dev, err := d.identify(id, p)
	if err != nil {
		return err
	}
	if dev.State == registry.Pending {
		if err := d.desk.Used(id, dev.Home, p, c.from()); err != nil {
			return fmt.Errorf("log in device %s: %w", id, denyUnknown(err))
		}
	}
	l := &link{place: d.newPlace(c, cl), device: id, home: dev.Home, proof: p, keyed: c.identity != nil && p.Is(registry.Key(c.identity.Key)), issued: dev.Issued.Time()}
	if err := l.claim(); err != nil {
		return err
	}
	c.peer = l // from here on its end is told to the Desk
	if !d.enterHome(l) {
		d.count.limited.WithLabelValues("home").Inc()
		return &denied{packets.ErrQuotaExceeded, packets.Err3ServerUnavailable.Code, "home", "too many devices of this home are connected"}
	}
	l.telling.Lock()
	defer l.telling.Unlock()
	switch err := d.desk.Connected(id, dev.Home, l); {
	case errors.Is(err, delivery.ErrAway): // removed between the two
		return denyUnknown(registry.ErrUnknown)
	case err != nil:
		return fmt.Errorf("log in device %s: %w", id, err)
	}
	l.connected = true
	d.mu.Lock()
	d.links[id] = l
	d.mu.Unlock()
	// From here on whoever takes the credential away ends this connection. It may have been taken away
	// between the first look and here, if anything was written meanwhile.
	if now := d.auth.changed(); now < 0 || now != changes {
		_, err = d.identify(id, p)
	}
	return err
}

// changed is what changes says, and -1 if nobody counts.
func (r registrar) changed() int64 {
	if r.changes == nil {
		return -1
	}
	return r.changes()
}

// identify finds the device that calls itself id and shows p.
func (d *Door) identify(id device.ID, p registry.Proof) (registry.Login, error) {
	dev, err := d.auth.device(id, p)
	if err == nil && dev.ID != id {
		err = fmt.Errorf("log in device %s: the registry answered with another", id)
	}
	return dev, denyUnknown(err)
}

// end comes once, when the connection is over. The side connections end with it.
func (l *link) end() {
	defer l.leave()
	defer l.door.leaveHome(l)
	l.telling.Lock()
	defer l.telling.Unlock()
	if !l.connected {
		return
	}
	l.connected = false
	l.door.mu.Lock()
	delete(l.door.links, l.device)
	l.door.mu.Unlock()
	for s := range l.sides {
		s.stop(packets.Code{Code: alone.code.Code, Reason: alone.why})
	}
	l.door.desk.Gone(l.device, l)
}

// spend takes frames and bytes from what the device, and its home, may still send.
func (l *link) spend(now time.Time, frames, bytes int) (limit string) {
	if limit = l.meter.spend(now, frames, bytes); limit == "" && l.household != nil {
		if limit = l.household.meter.spend(now, frames, bytes); limit != "" {
			limit += " of this home"
		}
	}
	return limit
}

// Waits sends what was gathered, before the Desk lets a frame of this device wait.
func (l *link) Waits() { l.conn.pause() }

func (l *link) name() string { return string(l.device) }

// Send hands a frame to the connection.
func (l *link) Send(f delivery.Frame) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f.QoS == 0 {
		return l.put(l.device, f, 0)
	}
	if l.waiting != 0 {
		return fmt.Errorf("send %s to %s: the last frame is not acknowledged yet", f.Leaf, l.device)
	}
	if l.packet++; l.packet == 0 {
		l.packet = 1
	}
	l.waiting = l.packet
	err := l.put(l.device, f, l.packet)
	if err != nil {
		l.waiting = 0
	}
	return err
}

// acked matches a PUBACK with the one frame that waits for it. A device that refuses the frame
// has not acknowledged it: the Desk will see its silence.
func (l *link) acked(id uint16, code byte) bool {
	l.mu.Lock()
	mine := id == l.waiting && id != 0 && code < packets.ErrUnspecifiedError.Code
	if mine {
		l.waiting = 0
	}
	l.mu.Unlock()
	if !mine {
		l.door.count.strays.Inc()
		return false
	}
	l.telling.Lock()
	defer l.telling.Unlock()
	l.door.desk.Acked(l.device, l)
	return true
}

// allow judges a filter: the device's own dn/# or a leaf of it. What carries messages must be
// asked for with QoS 1, because the Desk counts on the acknowledgement.
func (l *link) allow(filter string, qos byte) (bool, string) {
	if !wire.AllowSubscribe(l.device, filter) {
		return false, "not your topic: subscribe to " + wire.Topic(l.device, "dn/#")
	}
	if qos == 0 && !strings.HasSuffix(filter, string(wire.DnTime)) && !strings.HasSuffix(filter, string(wire.DnErr)) {
		return false, "subscribe with QoS 1"
	}
	return true, ""
}

func (l *link) processed(bool, []string) {
	has := func(leaf wire.Leaf) bool {
		return slices.Contains(l.conn.session.filters, wire.Topic(l.device, leaf))
	}
	everything := has("dn/#")
	l.mu.Lock()
	l.errs = everything || has(wire.DnErr)
	l.mu.Unlock()
	all := everything || !slices.ContainsFunc(needed, func(leaf wire.Leaf) bool { return !has(leaf) })
	switch {
	case all && !l.subscribed:
		l.subscribed = true
		l.telling.Lock()
		defer l.telling.Unlock()
		if err := l.door.desk.Subscribed(l.device, l); err != nil && !errors.Is(err, delivery.ErrAway) {
			l.door.fault("a subscription could not be taken in", "device", l.device, "error", err)
			l.retry()
		}
	case !all && l.subscribed:
		l.Close(delivery.Violation) // it can be given nothing any more
	}
}

var notYours = &refused{packets.ErrNotAuthorized, "not your topic, or not one to publish to"}

// counter tells the context frames of one connection from their repetition: MQTT may deliver a
// frame twice, and what has been said since would be unsaid.
type counter struct{ next uint64 } // the least Seq that is new

func (l *link) publish(topic string, payload []byte) (wire.Leaf, uint64, error) {
	return l.take(&l.heard, topic, payload)
}

// take takes in one frame of the device. n is the counter of the connection that brought it.
func (l *link) take(n *counter, topic string, payload []byte) (leaf wire.Leaf, seq uint64, err error) {
	id, leaf, ok := wire.ParseTopic(topic)
	if !ok || id != l.device || !leaf.Up() {
		return "", 0, notYours
	}
	l.telling.Lock()
	defer l.telling.Unlock()
	if !l.connected {
		return leaf, 0, delivery.ErrAway // it ended while a side connection spoke
	}
	if !l.born && leaf != wire.UpBirth {
		return leaf, 0, &refused{packets.ErrImplementationSpecificError, "up/birth must come first"}
	}
	desk := l.door.desk
	switch leaf {
	case wire.UpBirth:
		f, err := wire.DecodeBirth(payload)
		if err == nil {
			err = desk.Birth(l.device, l, f)
		}
		if err == nil {
			l.born, l.attributes, n.next = true, f.Attributes, 0
			l.renew(time.Now())
		}
		return leaf, f.Seq, err
	case wire.UpCtx:
		f, err := wire.DecodeContext(l.attributes, payload)
		if err == nil && f.Seq < n.next {
			return leaf, f.Seq, nil
		}
		if err == nil {
			err = desk.Context(l.device, l, f)
		}
		if err == nil {
			n.next = f.Seq + 1
		}
		return leaf, f.Seq, err
	case wire.UpEvt:
		f, err := wire.DecodeEvent(payload)
		if err == nil {
			err = desk.Event(l.device, l, f)
		}
		return leaf, f.Seq, err
	case wire.UpTwin:
		f, err := wire.DecodeProposal(payload)
		if err == nil {
			err = desk.Propose(l.device, l, f)
		}
		return leaf, f.Seq, err
	case wire.UpAns:
		f, err := wire.DecodeAnswer(payload)
		if err == nil {
			err = desk.Answer(l.device, l, f)
		}
		return leaf, f.Seq, err
	case wire.UpWhy:
		f, err := wire.DecodeWhyAsked(payload)
		if err == nil {
			err = desk.WhyAsked(l.device, l, f)
		}
		return leaf, f.Seq, err
	case wire.UpSig:
		f, err := wire.DecodeSignal(payload)
		if err == nil {
			err = desk.Signal(l.device, l, f)
		}
		return leaf, f.Seq, err
	case wire.UpKey, wire.UpJoin:
		if l.door.o.Entrance == nil {
			return "", 0, notYours
		}
		if leaf == wire.UpKey {
			seq, err = l.door.rekey(l.device, l.proof, l, payload)
			return leaf, seq, err
		}
		f, err := wire.DecodeJoin(payload)
		if err == nil {
			err = l.door.o.Entrance.Join(l.device, l, f)
		}
		return leaf, f.Seq, err
	case wire.UpBye:
		f, err := wire.DecodeBye(payload)
		if err == nil {
			err = desk.Bye(l.device, l, f)
		}
		return leaf, f.Seq, err
	}
	return "", 0, notYours
}

// complain sends dn/err.
func (l *link) complain(seq uint64, leaf wire.Leaf, code packets.Code, why string) {
	l.mu.Lock()
	listens := l.errs
	l.mu.Unlock()
	if !listens {
		return
	}
	b, err := wire.Encode(wire.Err{Seq: seq, Code: code.Code, Leaf: string(leaf), Text: why})
	if err != nil {
		l.door.log.Error("cannot tell a device what was wrong", "device", l.device, "error", err)
		return
	}
	l.Send(delivery.Frame{Leaf: wire.DnErr, Payload: b})
}

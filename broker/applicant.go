package broker

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/authority"
	"porchlight/device/registry"
	"porchlight/device/wire"
)

// Entrance is what the door asks of the hall about devices that have no credential yet, or ask for
// a new one; [delivery.Desk] is it. Departed comes once for each Applied that did not fail.
type Entrance interface {
	Applied(id string, link delivery.Link) error
	Apply(id string, link delivery.Link, f wire.Apply) error
	Reveal(id string, link delivery.Link, f wire.Reveal) error
	Departed(id string, link delivery.Link)

	Join(dev device.ID, link delivery.Link, f wire.Join) error
	Rekey(dev device.ID, p registry.Proof, from string, f wire.KeyRequest) (wire.KeyIssued, error)
}

var _ Entrance = (*delivery.Desk)(nil)

// applicantUser is the user name of a device that asks to be let in.
const applicantUser = "enrol"

// applicant is a device that asks to be let in, or one whose certificate has ended and that may do
// nothing but ask for a new one. It speaks on one leaf and listens on one.
type applicant struct {
	place
	id     string // of its topics
	up, dn wire.Leaf
	take   func(payload []byte) (seq uint64, err error)
	left   func()
	greet  func() // when it listens; nil: nothing is said
}

// admitApplicant lets a device in that asks for an identity: its key is in none of our books, so
// it proves nothing yet, and may say nothing but that.
func (h *hook) admitApplicant(c *conn, cl *mqtt.Client) error {
	d := h.door
	switch {
	case d.o.Entrance == nil:
		return errClosed
	case !c.secure:
		return &denied{packets.ErrNotAuthorized, packets.Err3NotAuthorized.Code, "plain", "devices are let in over TLS only"}
	}
	a := &applicant{place: d.newPlace(c, cl), id: cl.ID, up: wire.UpEnrol, dn: wire.DnEnrol}
	a.take = func(payload []byte) (uint64, error) {
		apply, reveal, err := wire.DecodeEnrol(payload)
		switch {
		case err != nil:
		case apply != nil:
			err = d.o.Entrance.Apply(a.id, a, *apply)
		default:
			err = d.o.Entrance.Reveal(a.id, a, *reveal)
		}
		return 0, err
	}
	if err := a.claim(); err != nil {
		return err
	}
	c.peer = a
	switch err := d.o.Entrance.Applied(a.id, a); {
	case errors.Is(err, delivery.ErrClosed):
		return errClosed
	case errors.Is(err, delivery.ErrFull):
		return &denied{packets.ErrQuotaExceeded, packets.Err3ServerUnavailable.Code, "full", "too many devices ask to be let in just now: try again in a minute"}
	case err != nil:
		return fmt.Errorf("take in an application: %w", err)
	}
	a.left = func() { d.o.Entrance.Departed(a.id, a) }
	return nil
}

var errClosed = &denied{packets.ErrNotAuthorized, packets.Err3NotAuthorized.Code, "closed", "nobody is adding a device just now: ask a person to, and try again"}

// admitEnded lets a device in whose certificate has ended, to ask for a new one.
func (h *hook) admitEnded(c *conn, cl *mqtt.Client, id device.ID) error {
	d := h.door
	if _, err := d.identify(id, registry.Key(c.identity.Key)); err != nil {
		return err
	}
	if d.o.Entrance == nil {
		return denyUnknown(registry.ErrUnknown)
	}
	a := &applicant{place: d.newPlace(c, cl), id: string(id), up: wire.UpKey, dn: wire.DnKey}
	a.take = func(payload []byte) (uint64, error) {
		if _, err := d.o.Authority.Verify(c.shown, time.Now()); err != nil {
			return 0, registry.ErrUnknown // its authority has ended since it logged in
		}
		return d.rekey(id, registry.Key(c.identity.Key), a, payload)
	}
	a.greet = func() { // a device without a clock learns here that its certificate has ended
		if raw, err := wire.Encode(wire.KeyAsk{Until: uint64(c.identity.NotAfter.UnixMilli())}); err == nil {
			_ = a.Send(delivery.Frame{Leaf: wire.DnKey, Payload: raw}) // it may be gone
		}
	}
	if err := a.claim(); err != nil {
		return err
	}
	c.peer = a
	return nil
}

// rekey answers one KeyRequest.
func (d *Door) rekey(id device.ID, p registry.Proof, link delivery.Link, payload []byte) (seq uint64, err error) {
	f, err := wire.DecodeKeyRequest(payload)
	if err != nil {
		return 0, err
	}
	k, err := d.o.Entrance.Rekey(id, p, link.From(), f)
	if err != nil {
		return f.Seq, err
	}
	raw, err := wire.Encode(k)
	if err != nil {
		return f.Seq, err
	}
	return f.Seq, link.Send(delivery.Frame{Leaf: wire.DnKey, Payload: raw})
}

func (a *applicant) name() string { return a.id }

func (a *applicant) publish(topic string, payload []byte) (wire.Leaf, uint64, error) {
	id, leaf, ok := wire.ParseTopic(topic)
	if !ok || string(id) != a.id || leaf != a.up {
		return "", 0, notYours
	}
	seq, err := a.take(payload)
	return leaf, seq, err
}

// Send hands a frame to the connection, with QoS 0: whoever has lost it asks again.
func (a *applicant) Send(f delivery.Frame) error { return a.put(device.ID(a.id), f, 0) }

// Close ends the connection. A device that was answered has a moment to read that, and to have its
// last frame acknowledged.
func (a *applicant) Close(r delivery.Reason) {
	if r != delivery.Done {
		a.place.Close(r)
		return
	}
	time.AfterFunc(lastWords, func() { a.place.Close(r) })
}

func (a *applicant) allow(filter string, _ byte) (bool, string) {
	if all := wire.Topic(device.ID(a.id), "dn/#"); filter != all && filter != wire.Topic(device.ID(a.id), a.dn) {
		return false, "not your topic: subscribe to " + all
	}
	return true, ""
}

func (a *applicant) processed(subscribe bool, filters []string) {
	for _, f := range filters {
		if ok, _ := a.allow(f, 1); ok && a.greet != nil && subscribe {
			a.greet()
		}
	}
}

func (a *applicant) acked(uint16, byte) bool { a.door.count.strays.Inc(); return false }

// complain ends the connection: who it is about has no identity that an error could be sent to.
func (a *applicant) complain(_ uint64, leaf wire.Leaf, code packets.Code, why string) {
	if leaf != "" {
		a.stop(packets.Code{Code: code.Code, Reason: why})
	}
}

func (a *applicant) end() {
	if a.left != nil {
		a.left()
	}
	a.leave()
}

// identified takes in the certificate that a client has shown in its handshake. The error is for the
// CONNECT that follows: the protocol has words for it, TLS has none.
func (d *Door) identified(c *conn, chain []*x509.Certificate) {
	c.secure = true
	if len(chain) == 0 || d.o.Authority == nil {
		return
	}
	who, err := d.o.Authority.Verify(chain[0], time.Now())
	c.shown, c.identity, c.impostor = chain[0], &who, err
}

// admitKey lets a device in that has shown a certificate.
func (h *hook) admitKey(c *conn, cl *mqtt.Client, user string) error {
	who := c.identity
	switch {
	case errors.Is(c.impostor, authority.ErrEarly):
		// It was issued while our clock was ahead. The registry knows the key, or does not: that is
		// what counts.
		id, _, _ := strings.Cut(cl.ID, "/")
		*who = authority.Identity{ID: device.ID(id), Key: sha256.Sum256(c.shown.RawSubjectPublicKeyInfo)}
		c.impostor = nil
		return h.admitKey(c, cl, user)
	case c.impostor != nil, user != "" && user != string(who.ID):
		return denyUnknown(registry.ErrUnknown)
	case who.Expired && cl.ID == string(who.ID):
		return h.admitEnded(c, cl, who.ID)
	case who.Expired:
		return denyUnknown(registry.ErrUnknown)
	case cl.ID == string(who.ID):
		return h.admitDevice(c, cl, who.ID, registry.Key(who.Key))
	case besideOf(cl.ID, string(who.ID)):
		return h.admitSide(c, cl, who.ID, registry.Key(who.Key))
	}
	return denyUnknown(registry.ErrUnknown)
}

// renew asks a device for a new key when its own is of no use for long: its certificate ends, or
// the authority that its certificate, or its trust, comes from does. If that authority has ended, so
// does the connection.
func (l *link) renew(now time.Time) {
	a := l.door.o.Authority
	if a == nil || l.door.o.Entrance == nil || !l.conn.secure {
		return
	}
	var ask wire.KeyAsk
	if cert := l.conn.shown; cert != nil && l.keyed {
		who, err := a.Verify(cert, now)
		if err != nil || who.Expired {
			l.Close(delivery.Removed)
			return
		}
		if life := cert.NotAfter.Sub(cert.NotBefore); who.NotAfter.Sub(now) > life/3 && !who.Leaving {
			return
		}
		ask.Until = uint64(who.NotAfter.UnixMilli())
	} else if !l.behind() {
		return
	}
	raw, err := wire.Encode(ask)
	if err == nil {
		err = l.Send(delivery.Frame{Leaf: wire.DnKey, Payload: raw})
	}
	if err != nil && !errors.Is(err, delivery.ErrAway) {
		l.door.log.Error("a device could not be asked for a new key", "device", l.device, "error", err)
	}
}

// behind reports whether a device with a token got it before a rotation of the authority that goes
// on: with the next one it is told whom to trust.
func (l *link) behind() bool {
	since, rotating := l.door.o.Authority.Rotating()
	return rotating && l.issued.Before(since)
}

// Renew asks the devices that are connected and need new keys for them: after the authority has
// changed, and once a day.
func (d *Door) Renew() {
	d.mu.Lock()
	all := slices.Collect(maps.Values(d.links))
	d.mu.Unlock()
	for _, l := range all {
		l.renew(time.Now())
	}
}

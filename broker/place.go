package broker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"porchlight/broker/delivery"
	"porchlight/device"
)

// place is what a device's link, a side connection and a brand's sender have in common: one
// connection that has logged in, alone under its client ID.
type place struct {
	door    *Door
	conn    *conn
	id      string        // the client ID, made such that no two peers can have the same
	arrival uint64        // of two connections of one ID the one with the higher number stays
	ended   chan struct{} // closed when everybody has been told that this one is gone

	meter *meter

	retrying sync.Mutex
	again    *time.Timer
}

func (d *Door) newPlace(c *conn, cl *mqtt.Client) place {
	return place{door: d, conn: c, id: cl.ID, arrival: d.arrival.Add(1), ended: make(chan struct{}), meter: newMeter(d.o.Frames, d.o.Bytes)}
}

// claim makes p the one connection of its ID. An earlier one is stopped first, and its end is
// waited for, so that what the Desk hears of a device is in order.
func (p *place) claim() error {
	d := p.door
	if waits(&d.rushes, p.id) {
		return d.tooSoon("rush", "it sent too much: wait longer before connecting again")
	}
	var before *place
	var timeout <-chan time.Time // of all the waiting
	for {
		d.mu.Lock()
		now := d.places[p.id]
		if d.stopped {
			d.mu.Unlock()
			return errBusy
		}
		if now == nil {
			d.places[p.id] = p
			d.mu.Unlock()
			return nil
		}
		d.mu.Unlock()
		if now.arrival > p.arrival {
			return &denied{packets.ErrServerUnavailable, packets.Err3ServerUnavailable.Code, "overtaken", "a later connection with this ID is already there"}
		}
		if now != before && !now.conn.ending.Load() {
			if waits(&d.storms, p.id) {
				return d.tooSoon("takeover", "connections with this ID push each other out: give every client its own, and wait longer before connecting again")
			}
			d.count.takeovers.Inc()
			d.taken(p.id)
			now.Close(delivery.TakenOver)
		}
		before = now
		if timeout == nil {
			timeout = time.After(d.o.ConnectTimeout)
		}
		select {
		case <-now.ended:
		case <-timeout:
			return errBusy
		case <-d.closing:
			return errBusy
		}
	}
}

// put writes a frame to the connection, on a topic of to. It fails with delivery.ErrAway if the
// connection has ended. packet is its ID with QoS 1.
func (p *place) put(to device.ID, f delivery.Frame, packet uint16) error {
	expiry := uint32(0)
	if f.Life > 0 {
		expiry = uint32(max(1, min(f.Life/time.Second, 1<<31)))
	}
	err := p.conn.publish(to, f, packet, expiry)
	switch {
	case err == nil:
		p.door.often.sent(f.Leaf).Inc()
		return nil
	case errors.Is(err, net.ErrClosed), errors.Is(err, errSlow):
		err = delivery.ErrAway
	}
	return fmt.Errorf("send %s to %s: %w", f.Leaf, to, err)
}

// spend takes frames and bytes from what may still be sent.
func (p *place) spend(now time.Time, frames, bytes int) (limit string) {
	return p.meter.spend(now, frames, bytes)
}

// rushed notes that the peer has sent more than it may: it is to wait before it comes back.
func (p *place) rushed() { p.door.rushed(p.id) }

// From is where the connection comes from, without its port.
func (p *place) From() string { return p.conn.from() }

// leave frees the place.
func (p *place) leave() {
	p.retrying.Lock()
	if p.again != nil {
		p.again.Stop()
	}
	p.retrying.Unlock()
	p.door.mu.Lock()
	if p.door.places[p.id] == p {
		delete(p.door.places, p.id)
	}
	p.door.mu.Unlock()
	close(p.ended)
}

// contentType is what frames are, for a peer that speaks MQTT 5.
const contentType = "application/cbor; v=1"

// publish writes a PUBLISH of a frame to a device; with QoS 1 it has the number id. expiry is in
// seconds, 0: none. It fails with a Code if the peer does not take packets of that size.
func (c *conn) publish(to device.ID, f delivery.Frame, id uint16, expiry uint32) error {
	topic := len("pl/1/") + len(to) + len("/") + len(f.Leaf)
	size := 2 + topic + len(f.Payload)
	if f.QoS > 0 {
		size += 2
	}
	properties := 0
	if c.guard.v5 {
		properties = 3 + len(contentType)
		if expiry > 0 {
			properties += 5
		}
		size += 1 + properties
	}
	b := make([]byte, 0, 512) // on the stack, unless it is a large one
	b = append(b, packets.Publish<<4|f.QoS<<1)
	b = appendLength(b, size)
	if c.most > 0 && len(b)+size > int(c.most) {
		return packets.ErrPacketTooLarge
	}
	b = binary.BigEndian.AppendUint16(b, uint16(topic))
	b = append(append(append(append(b, "pl/1/"...), to...), '/'), f.Leaf...)
	if f.QoS > 0 {
		b = binary.BigEndian.AppendUint16(b, id)
	}
	if c.guard.v5 {
		b = append(b, byte(properties))
		if expiry > 0 {
			b = append(b, packets.PropMessageExpiryInterval)
			b = binary.BigEndian.AppendUint32(b, expiry)
		}
		b = append(b, packets.PropContentType, 0, byte(len(contentType)))
		b = append(b, contentType...)
	}
	if b = append(b, f.Payload...); f.More {
		return c.gather(b...)
	}
	_, err := c.Write(b)
	return err
}

// appendLength appends n as MQTT spells lengths.
func appendLength(b []byte, n int) []byte {
	for ; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

// farewells are what a peer that speaks MQTT 5 is told.
var farewells = map[delivery.Reason]packets.Code{
	delivery.Shutdown:  packets.ErrServerShuttingDown,
	delivery.TakenOver: packets.ErrSessionTakenOver,
	delivery.Removed:   packets.ErrAdministrativeAction,
	delivery.Violation: packets.ErrProtocolViolation,
	delivery.Silent:    {Code: packets.ErrImplementationSpecificError.Code, Reason: "no acknowledgement came"},
	delivery.Unable:    packets.ErrServerBusy,
	delivery.Done:      packets.CodeDisconnect,
}

// Close ends the connection without waiting, and tells a peer that speaks MQTT 5 why. A 3.1.1
// peer is told nothing: DISCONNECT from a server is unknown to it.
func (p *place) Close(r delivery.Reason) {
	code, ok := farewells[r]
	if !ok {
		code = packets.ErrUnspecifiedError
	}
	p.stop(code)
}

// stop is Close with a code that is no farewell of the Desk's.
func (p *place) stop(code packets.Code) {
	if p.conn.guard.v5 && p.conn.welcomed.Load() {
		p.conn.Write(disconnect(code, code.Reason, p.conn.most))
	}
	p.conn.Close()
}

// retryAfter is how long a connection stays open after something could not be taken in. The
// peer's own wait before it connects again comes on top.
const retryAfter = time.Second

// retry ends the connection after a while, so that the peer comes back with what was not
// acknowledged: on a connection that stays open, a 3.1.1 client never sends it again.
func (p *place) retry() {
	p.retrying.Lock()
	defer p.retrying.Unlock()
	if p.again == nil {
		p.again = time.AfterFunc(retryAfter, func() { p.Close(delivery.Unable) })
	}
}

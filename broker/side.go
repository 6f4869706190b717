package broker

import (
	"regexp"
	"strings"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/wire"
)

// side is a connection beside a device's link, which only speaks: client ID <device>/<suffix>,
// user name and token of the device. It speaks through the link that is there when it logs in
// and ends with it, for whatever reason that ends. The Desk does not know of it.
type side struct {
	place
	link  *link
	heard counter
}

// besideOf reports whether clientID is that of a side connection of a device.
func besideOf(clientID, dev string) bool {
	suffix, ok := strings.CutPrefix(clientID, dev+"/")
	return ok && sideSuffix.MatchString(suffix)
}

// sideSuffix tells the side connections of a device apart.
var sideSuffix = regexp.MustCompile(`^[a-z0-9-]{1,16}$`)

var (
	// alone refuses a side connection without a link, and ends one whose link has ended. That is
	// said of the connection, not of a publish, because MQTT 3.1.1 too can refuse a connection.
	alone = &denied{packets.ErrImplementationSpecificError, packets.Err3ServerUnavailable.Code, "alone", "the device itself is not connected: connect it first, with its ID as the client ID"}

	tooMany = &denied{packets.ErrQuotaExceeded, packets.Err3ServerUnavailable.Code, "sides", "there are too many connections beside the device's own"}
)

func (h *hook) admitSide(c *conn, cl *mqtt.Client, id device.ID, p registry.Proof) error {
	d := h.door
	if _, err := d.identify(id, p); err != nil {
		return err
	}
	d.mu.Lock()
	l := d.links[id]
	d.mu.Unlock()
	if l == nil {
		return alone
	}
	s := &side{place: d.newPlace(c, cl), link: l}
	s.meter = l.meter // the device has one, however many connections bring its frames
	if err := s.claim(); err != nil {
		return err
	}
	c.peer = s
	l.telling.Lock()
	defer l.telling.Unlock()
	switch {
	case !l.connected:
		return alone
	case len(l.sides) >= d.o.Beside:
		d.count.limited.WithLabelValues("beside").Inc()
		return tooMany
	}
	if l.sides == nil {
		l.sides = map[*side]struct{}{}
	}
	l.sides[s] = struct{}{}
	return nil
}

func (s *side) end() {
	s.link.telling.Lock()
	delete(s.link.sides, s)
	s.link.telling.Unlock()
	s.leave()
}

func (s *side) name() string { return s.id }

func (s *side) spend(now time.Time, frames, bytes int) (limit string) {
	return s.link.spend(now, frames, bytes)
}

func (s *side) publish(topic string, payload []byte) (wire.Leaf, uint64, error) {
	return s.link.take(&s.heard, topic, payload)
}

// complain tells the device, which is the one that listens.
func (s *side) complain(seq uint64, leaf wire.Leaf, code packets.Code, why string) {
	s.link.complain(seq, leaf, code, why)
}

func (s *side) allow(string, byte) (bool, string) {
	return false, "this connection only publishes: subscribe on the device's own, whose client ID is the device's ID"
}

func (s *side) processed(bool, []string) {}

func (s *side) acked(uint16, byte) bool { s.door.count.strays.Inc(); return false }

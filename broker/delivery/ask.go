package delivery

import (
	"time"

	"porchlight/device"
	"porchlight/device/wire"
)

// asks is what a home's memory has of the questions that are put to its people. It is guarded by the
// home's lock.
type asks struct {
	open *ask // the one that is put just now; one at a time
}

// ask is one question on one screen, from its place in the journal to its end.
type ask struct {
	id     device.MessageID
	device device.ID
}

// askNext is the ask that a screen is to be handed, when nothing else is to be sent to it. The caller
// holds h.mu, and nothing of QoS 1 is on its way to s.
func (d *Desk) askNext(h *home, s *screen, now device.Instant) (wire.Ask, bool) {
	return wire.Ask{}, false
}

// askAcked takes in that the device has acknowledged the ask.
func (d *Desk) askAcked(h *home, s *screen) {}

// askAway takes in that the connection of a screen is lost.
func (d *Desk) askAway(h *home, s *screen) {}

// askDue ends an ask whose time is over and begins one that the home asks by itself; it returns when to
// look again.
func (d *Desk) askDue(h *home) time.Time { return time.Now().Add(time.Hour) }

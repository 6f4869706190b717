package sim

import (
	"time"

	"porchlight/device/wire"
)

// Up is a frame of a wired device on its way to the gateway. Acked is to be called once the gateway has
// taken in a frame with QoS 1; for others it does nothing.
type Up struct {
	Leaf    wire.Leaf
	Payload []byte
	QoS     byte
	Acked   func()
}

// Wire connects the device without a network, for a gateway in the same process and a clock of one's
// own: up is handed each frame in order, with the device locked, so that it may only keep it. Whoever
// wires a device carries the frames (Hand), calls Turn when Due is reached, and does not Run it. Notify is
// called before each of its methods returns.
func (d *Device) Wire(up func(Up)) {
	d.still(func(now time.Time) {
		d.fw.born(now, func(f frame) {
			if f.leaf == "" {
				return
			}
			up(Up{f.leaf, f.payload, f.qos, func() {
				if f.acked != nil {
					d.still(func(time.Time) { f.acked() })
				}
			}})
		})
	})
}

// Hand gives a wired device a frame of the gateway. The device has acknowledged it when Hand returns.
func (d *Device) Hand(leaf wire.Leaf, payload []byte) {
	d.still(func(now time.Time) { d.fw.receive(now, leaf, payload) })
}

// Due is when a wired device has something to do by itself; the zero time: never.
func (d *Device) Due() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.fw.due()
}

// Turn lets a wired device do what is due, and tells what happened since.
func (d *Device) Turn() { d.still(func(time.Time) {}) }

// Cut ends the connection of a wired device without a word.
func (d *Device) Cut() { d.still(func(time.Time) { d.fw.lost() }) }

// still is with, for a device that does not Run.
func (d *Device) still(f func(now time.Time)) {
	_ = d.with(func(now time.Time) error { f(now); return nil })
	d.mu.Lock()
	notes := d.notes
	d.notes = nil
	d.mu.Unlock()
	for _, e := range notes {
		d.cfg.Notify(e)
	}
}

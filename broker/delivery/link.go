package delivery

import (
	"errors"
	"time"

	"porchlight/device/wire"
)

// ErrAway means that the device has no open connection, or not this one any more.
var ErrAway = errors.New("device is away")

// Link is one connection of one device. The door that made it hands it to the Desk, and the
// Desk calls it with the home locked, so neither method may block.
type Link interface {
	// Send hands a frame to the connection and returns at once; it fails with ErrAway if the
	// connection has ended. It never queues beyond the socket: a peer that does not read is
	// cut off. After a frame with QoS 1, Desk.Acked is called once when the device has
	// acknowledged it; the Desk sends no other frame with QoS 1 before.
	Send(Frame) error
	// From is where the connection comes from, for the journal: an address without its port.
	From() string
	// Close ends the connection and tells a device that speaks MQTT 5 why.
	Close(Reason)
}

// Waiter is a Link whose connection may hold back answers while there is more to take in. Before the Desk
// lets it wait for its home it calls Waits, which sends them; no lock of the Desk's is held.
type Waiter interface {
	Link
	Waits()
}

// Frame is one frame on its way to a device.
type Frame struct {
	Leaf    wire.Leaf
	Payload []byte
	QoS     byte          // 0 or 1
	Life    time.Duration // MQTT 5 message expiry; 0: none
	More    bool          // another follows at once: the two may go together
}

// Reason is why the gateway ends a connection.
type Reason uint8

// The reasons.
const (
	Shutdown Reason = iota
	TakenOver
	Removed // the device or its credential is no longer known
	Violation
	Silent // an acknowledgement did not come
	Unable // ours: the gateway cannot do its work just now
	Done   // an application was answered
)

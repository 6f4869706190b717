package delivery

// Want is what the rules want of a delivery.
type Want uint8

// The wants.
const (
	WantGone  Want = iota // for good: withdrawn, expired, refused
	WantHeld              // not now
	WantShown             // on the screen
)

// Have is what the device last let us know of a delivery.
type Have uint8

// The haves.
const (
	HaveNone      Have = iota // claimed and not handed over yet
	HaveSent                  // handed to the connection, not acknowledged
	HaveUnsure                // the connection was lost: it may be showing until the lease is over
	HaveQueued                // on the device, not shown yet
	HavePresented             // on the screen
	HaveRecalled              // the device has our cancel and has not said Cancelled yet
	HaveMissing               // handed over once, and the device says that it does not have it: it may have been shown, if its receipt is still to come
	HaveGone                  // it was on the screen, and the device says that it is not any more
)

// Step is what to do next about a delivery.
type Step uint8

// The steps.
const (
	Wait    Step = iota // the next move is the device's, or time's
	Present             // send it
	Cancel              // ask the device to take it off
	Settle              // write down that it is over
)

// next is a delivery's whole life: what to do, given what is wanted and what is so. Restart,
// lost frame and change of mind need no case of their own.
func next(want Want, have Have) Step {
	switch have {
	case HaveNone:
		if want == WantShown {
			return Present
		}
		return Settle
	case HaveQueued, HavePresented:
		if want == WantShown {
			return Wait
		}
		return Cancel
	case HaveMissing:
		return map[Want]Step{WantShown: Present, WantHeld: Wait, WantGone: Settle}[want]
	case HaveGone:
		return Settle
	default: // sent, unsure, recalled: the device, or the end of its lease, speaks next
		return Wait
	}
}

package delivery

import "testing"

func TestNext(t *testing.T) {
	steps := map[Want]map[Have]Step{
		WantShown: {HaveNone: Present, HaveSent: Wait, HaveUnsure: Wait, HaveQueued: Wait, HavePresented: Wait, HaveRecalled: Wait, HaveMissing: Present, HaveGone: Settle},
		WantHeld:  {HaveNone: Settle, HaveSent: Wait, HaveUnsure: Wait, HaveQueued: Cancel, HavePresented: Cancel, HaveRecalled: Wait, HaveMissing: Wait, HaveGone: Settle},
		WantGone:  {HaveNone: Settle, HaveSent: Wait, HaveUnsure: Wait, HaveQueued: Cancel, HavePresented: Cancel, HaveRecalled: Wait, HaveMissing: Settle, HaveGone: Settle},
	}
	for want := range WantShown + 1 {
		for have := range HaveGone + 1 {
			step, ok := steps[want][have]
			if !ok {
				t.Fatalf("the table lacks want %d, have %d", want, have)
			}
			if got := next(want, have); got != step {
				t.Errorf("next(want %d, have %d) = %d, want %d", want, have, got, step)
			}
		}
	}
}

// Whatever a device does, and however often the rules change their mind, a delivery whose end is
// wanted ends once the device is connected and answers.
func TestNextAlwaysEnds(t *testing.T) {
	for start := range HaveGone + 1 {
		have := start
		for turn := 0; ; turn++ {
			if turn > 5 {
				t.Fatalf("a delivery that begins with have %d does not end: it is at %d", start, have)
			}
			if next(WantGone, have) == Settle {
				break
			}
			switch have { // what an honest device, or its next birth, makes of it
			case HaveSent:
				have = HaveQueued
			case HaveUnsure:
				have = HaveMissing
			case HaveQueued, HavePresented:
				have = HaveRecalled
			case HaveRecalled:
				have = HaveGone
			}
		}
	}
}

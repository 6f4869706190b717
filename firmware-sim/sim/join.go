package sim

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"porchlight/device"
	"porchlight/device/wire"
)

// Admission is what a device becomes that is let in.
type Admission struct {
	Name       string          // what people call it; "": its class
	Room       string          // made if it is not there; "": none
	Person     device.PersonID // whose it is; 0: everybody's
	Until      time.Time       // of a guest's device; zero: for good
	Controller bool            // it may let others in, and whatever else this device may
}

// OpenWindow lets devices ask to join the home, for as long as the gateway says; a second time it
// asks who is there. Only a device that the home trusts may: the gateway tells another so by a
// [Complaint]. Who asks is in the device's State, and every change is a [Joining].
func (d *Device) OpenWindow() error { return d.join(wire.Join{Op: wire.JoinOpen}) }

// CloseWindow turns away who still asks.
func (d *Device) CloseWindow() error { return d.join(wire.Join{Op: wire.JoinClose}) }

// Admit lets an applicant of the window in, if code is what it shows, or has on its label.
func (d *Device) Admit(applicant, code string, a Admission) error {
	j := wire.Join{
		Op: wire.JoinAdmit, Applicant: applicant, Code: code, Name: a.Name, Room: a.Room, Person: uint32(a.Person), Controller: a.Controller,
	}
	if !a.Until.IsZero() {
		j.Until = uint64(a.Until.UnixMilli())
	}
	return d.join(j)
}

// Reject turns one applicant away.
func (d *Device) Reject(applicant string) error {
	return d.join(wire.Join{Op: wire.JoinReject, Applicant: applicant})
}

func (d *Device) join(j wire.Join) error {
	err := d.with(func(time.Time) error {
		if d.fw.send == nil {
			return errors.New("it is off line")
		}
		j.Seq = d.fw.seq
		if _, err := wire.Encode(j); err != nil {
			return err
		}
		d.fw.publish(wire.UpJoin, 1, j, nil)
		return nil
	})
	if err != nil {
		return fmt.Errorf("add a device on %s: %w", d.cfg.Name, err)
	}
	return nil
}

// Describe is an applicant for people, as it calls itself: "Lumen L55 (tv)".
func Describe(a wire.Applicant) string {
	name := strings.TrimSpace(printable(a.Model.Maker + " " + a.Model.Name))
	if name == "" {
		name = "something"
	}
	return fmt.Sprintf("%s (%s)", name, a.Class)
}

// toType is what a person types for an applicant.
func toType(a wire.Applicant) string {
	if a.Way == wire.ByLabel {
		return "the secret on its label"
	}
	return "its six digits"
}

// joining takes in who asks to join, and says what is new.
func (fw *firmware) joining(now time.Time, w wire.Window) {
	old := fw.window
	fw.window = w
	say := func(format string, args ...any) { fw.note(Event{Kind: Joining, Why: fmt.Sprintf(format, args...)}) }
	index := func(list []wire.Applicant, id string) int {
		return slices.IndexFunc(list, func(a wire.Applicant) bool { return a.ID == id })
	}
	if o := w.Outcome; o != nil {
		who := "the device"
		i, left := index(old.Applicants, o.Applicant), index(w.Applicants, o.Applicant)
		if i >= 0 {
			who = Describe(old.Applicants[i])
		}
		switch {
		case o.Result == wire.JoinAdmitted:
			say("%s is in, as %s", who, o.Device)
		case o.Result == wire.JoinWrong && left >= 0:
			say("that is not what %s shows: look again, tries left: %d", who, w.Applicants[left].Tries)
		case o.Result == wire.JoinWrong:
			say("that was not right either: %s is turned away", who)
		default:
			say("%s does not ask any more", who)
		}
	}
	switch {
	case w.Until == 0:
		say("no devices can be added any more")
		return
	case old.Until == 0:
		left := device.Instant(w.Until).Time().Sub(now)
		say("devices can be added for %d minutes", max((left+time.Minute-1)/time.Minute, 0))
	}
	for _, a := range w.Applicants {
		if index(old.Applicants, a.ID) < 0 {
			say("%s wants to join: type %s", Describe(a), toType(a))
		}
	}
	for _, a := range old.Applicants {
		if index(w.Applicants, a.ID) < 0 && (w.Outcome == nil || w.Outcome.Applicant != a.ID) {
			say("%s does not ask any more", Describe(a))
		}
	}
}

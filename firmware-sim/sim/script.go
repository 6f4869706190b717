package sim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"porchlight/device"
	"porchlight/device/wire"
)

// Play does what the script says, each step After the start. A step that is impossible just then
// is reported to failed and the rest goes on; it ends with the last step or with ctx.
func Play(ctx context.Context, ds []*Device, script []Step, failed func(error)) error {
	script = slices.Clone(script)
	slices.SortStableFunc(script, func(a, b Step) int { return int(a.After - b.After) })
	began := time.Now()
	for _, s := range script {
		timer := time.NewTimer(time.Until(began.Add(s.After)))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		i := slices.IndexFunc(ds, func(d *Device) bool { return d.Name() == s.Device })
		if i < 0 {
			return fmt.Errorf("script: no device is called %q", s.Device)
		}
		if err := s.Take(ds[i]); err != nil {
			failed(err)
		}
	}
	return nil
}

// What a person may want to know.
const (
	whyMessage = "message" // why the message on the screen is there
	whyHeld    = "held"    // what was held back today
)

// ParseStep reads one step as a script has it, without when and where: "answer: yes", or
// "caps: [{max: 3}]", several keys with commas between them. It is checked like a step of a home file, but for names, which the gateway
// knows.
func ParseStep(text string, class device.Class) (Step, error) {
	var s Step
	if text = strings.TrimSpace(text); !strings.HasPrefix(text, "{") {
		text = "{" + text + "}"
	}
	root, err := strict("", []byte(text), &s)
	if err != nil {
		return s, errors.New(strings.TrimLeft(err.Error(), ":0123456789 "))
	}
	c := checker{root: root}
	anybody := func(string) (uint32, error) { return 1, nil }
	c.step("$", s, map[string]device.Class{s.Device: class}, names{person: anybody, room: anybody})
	for i, f := range c.faults {
		c.faults[i] = errors.New(strings.TrimLeft(f.Error(), ":0123456789 "))
	}
	return s, errors.Join(c.faults...)
}

// Take does the step on d.
func (s Step) Take(d *Device) error {
	var wish *wire.Wish
	if s.Wish != "" {
		w, err := ParseWish(s.Wish)
		if err != nil {
			return err
		}
		wish = &w
	}
	switch {
	case s.Do != "":
		return d.Do(s.Do)
	case s.Press != nil:
		return d.Press(*s.Press, wish)
	case s.Dismiss:
		return d.Dismiss(wish)
	case s.Read:
		return d.Read()
	case s.Choose != nil && s.By == "":
		return d.Choose(s.Choose.Brand, s.Choose.Purpose, s.Choose.Choice)
	case s.Answer != "":
		return d.Reply(s.Answer, s.By)
	case s.Why == whyMessage:
		return d.Why(s.By)
	case s.Why == whyHeld:
		return d.HeldBack(s.By)
	case s.Comes != "":
		return d.Comes(s.Comes)
	case s.Leaves != "":
		return d.Leaves(s.Leaves)
	case s.People != nil:
		return d.People(*s.People)
	case s.Signal != nil:
		kind, err := ParseSignal(s.Signal.Kind)
		if err != nil {
			return err
		}
		return d.Signal(kind, s.Signal.Value)
	case len(s.acts()) == 1:
		return d.set(s)
	}
	return fmt.Errorf("a step for %s does nothing", s.Device)
}

package sim

import (
	"context"
	"fmt"
	"slices"
	"time"

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
	case s.Choose != nil:
		return d.Choose(s.Choose.Brand, s.Choose.Purpose, s.Choose.Choice)
	}
	return fmt.Errorf("a step for %s does nothing", s.Device)
}

package delivery

import (
	"encoding/json"
	"fmt"
	"slices"

	"porchlight/device"
	"porchlight/device/store"
	"porchlight/device/twin"
	"porchlight/device/wire"
	"porchlight/policy"
	"porchlight/policy/consent/signals"
)

// heardSignal is a signal as the home's preferences keep it: what it denies, and not the string.
type heardSignal struct {
	policy.Signal
	Kind wire.SignalKind `json:"kind"`
}

// Signal takes in what somebody chose in an app or a browser, as a device passes it on. It can only
// take away; the next of the same kind from the same device replaces it. One that cannot be read
// denies all that its standard could, and the device is told.
func (d *Desk) Signal(dev device.ID, link Link, g wire.Signal) error {
	return d.on(dev, link, func(d *Desk, h *home, s *screen) error {
		denied, bad := signals.Denied(signals.Kind(g.Kind), g.Value)
		if !s.facts.AllowN(d.mono(), 1) {
			return fmt.Errorf("up/sig: %w", ErrOften)
		}
		err := d.record(h, func(tx *store.Tx) error {
			prefs, err := twin.Preferences(tx, h.id)
			if err != nil {
				return err
			}
			var all []heardSignal
			if p, ok := prefs[twin.Signals]; ok {
				if err := json.Unmarshal(p.Body, &all); err != nil {
					return fmt.Errorf("preference %s: %w", twin.Signals, err)
				}
			}
			all = slices.DeleteFunc(all, func(was heardSignal) bool {
				return was.Device == dev && was.Kind == g.Kind || h.screens[was.Device] == nil
			})
			if denied != 0 {
				all = append(all, heardSignal{policy.Signal{Device: dev, Denied: denied}, g.Kind})
			} else if len(all) == 0 {
				all = []heardSignal{}
			}
			return setPreference(tx, h.id, twin.Signals, all, dev)
		})
		if err == nil && bad != nil {
			err = fmt.Errorf("%w: up/sig: %w", wire.ErrFrame, bad)
		}
		return err
	})
}

package delivery

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
)

// What devices told is kept in memory: what is so now, and what has changed in the last 24 hours. It is the
// home's own: it is shown there, goes into its export and is erased with the rest; no brand gets any of it.

// remember keeps what has changed, just taken in, for those who live there, and follows a car's trips.
func (s *screen) remember(changed device.AttributeSet, now device.Instant) {
	for a := device.NoAttribute + 1; changed != 0 && a < 64; a++ {
		if changed.Has(a) {
			r, _ := s.context.Get(a)
			s.history.Add(device.Change{At: r.At, Attribute: a, Value: r.Value}, now)
		}
	}
	if s.Class == device.Car && changed.Intersects(ignition) {
		s.view.Trip = s.trip.follow(&s.context, s.view.Trip)
	}
}

// ignition is what tells of a car's trips.
var ignition = device.Attributes(device.LowVoltage, device.Driving)

// trip follows a car's ignition: a trip begins when it goes on after it was off. A car that never tells its
// ignition begins one by leaving parked. A stop of less than five minutes is part of the trip. Without a word before, when the present trip began is not known; what
// is unknown in between ends none. The zero trip has been told nothing.
type trip struct {
	ignition bool // it tells its ignition, and that alone counts
	off      bool // what it last told, unless that was on, or nothing
	offAt    device.Instant
}

// stop is how long a car must be off, or parked, for a new trip to begin: a barrier ends none.
const stop = 5 * time.Minute

// follow takes in what c says now. began is when the trip before that began, 0 if that is not known.
func (t *trip) follow(c *device.Context, began device.Instant) device.Instant {
	r, known := c.Get(device.LowVoltage)
	if told := r.Since != 0; told && !t.ignition {
		*t = trip{ignition: true}
	} else if !told {
		r, known = c.Get(device.Driving)
	}
	if !known {
		return began
	}
	off := false
	if t.ignition {
		switch device.LowVoltage.Show(r.Value) {
		case "LOCK", "OFF", "ACC":
			off = true
		case "UNDEFINED":
			return began
		}
	} else {
		switch device.Driving.Show(r.Value) {
		case "parked":
			off = true
		case "unknown":
			return began
		}
	}
	switch {
	case off && !t.off:
		t.offAt = r.Since
	case t.off && !off && (began == 0 || r.Since >= t.offAt.Add(stop)):
		began = r.Since
	}
	t.off = off
	return began
}

// ContextAsked asks what devices have told: all of a home, or one.
type ContextAsked struct {
	Home    string `json:"home,omitempty"`    // "": the device's
	Device  string `json:"device,omitempty"`  // by ID, or with the home by name; "": all of the home
	History bool   `json:"history,omitempty"` // what has changed in the last 24 hours, too
}

// DeviceContext is what one device has told.
type DeviceContext struct {
	Device    device.ID       `json:"device"`
	Name      string          `json:"name"`
	Class     device.Class    `json:"class"`
	Connected bool            `json:"connected"`
	Trip      device.Instant  `json:"trip,omitempty"` // when a car's present trip began; 0: not known
	Now       device.Instant  `json:"now"`
	Readings  []ToldReading   `json:"readings"`
	Changes   []ContextChange `json:"changes,omitempty"` // the oldest first
}

// ToldReading is what one attribute last was.
type ToldReading struct {
	Attribute string         `json:"attribute"`
	Value     any            `json:"value"`            // true or false, a number, a word; null: not known
	Names     string         `json:"names,omitempty"`  // of presence.who: the people's names in place of their numbers; to the operator only
	At        device.Instant `json:"at,omitempty"`     // when it was last told; 0: before the last connection ended
	Since     device.Instant `json:"since,omitempty"`  // since when it has been so
	TTL       int64          `json:"ttl_ms"`           // how long it is good for
	Age       int64          `json:"age_ms,omitempty"` // of At
	Fresh     bool           `json:"fresh"`            // decisions may rely on it
}

// ContextChange is what one attribute came to be.
type ContextChange struct {
	At        device.Instant `json:"at"`
	Attribute string         `json:"attribute"`
	Value     any            `json:"value"` // as of a ToldReading
}

// ContextOf tells what devices of a home have told. It fails with registry.ErrUnknown.
func (d *Desk) ContextOf(ctx context.Context, ask ContextAsked) (all []DeviceContext, err error) {
	var id device.HomeID
	switch {
	case ask.Home != "":
		id, err = d.homeID(ctx, ask.Home)
	case ask.Device != "":
		err = d.db.View(ctx, func(tx *store.Tx) error {
			dev, err := registry.Device(tx, device.ID(ask.Device))
			id = dev.Home
			if errors.Is(err, registry.ErrUnknown) {
				err = fmt.Errorf("%w: without its home a device is named by its ID", err)
			}
			return err
		})
	default:
		err = fmt.Errorf("%w: say which home, or which device", registry.ErrInvalid)
	}
	if err != nil {
		return nil, err
	}
	all, err = d.contexts(id, ask.History, func(s *screen) bool {
		return ask.Device == "" || string(s.ID) == ask.Device || s.Name == ask.Device
	})
	if err == nil {
		err = d.db.View(ctx, func(tx *store.Tx) error {
			people, err := registry.People(tx, id)
			for i := range all {
				for j := range all[i].Readings {
					all[i].Readings[j].name(people)
				}
			}
			return err
		})
	}
	if err == nil && ask.Device != "" && len(all) == 0 {
		err = &registry.UnknownError{What: "device", Name: ask.Device, Home: id}
	}
	return all, err
}

// name says who the people of a presence.who are. Whom the home does not have keeps the number.
func (r *ToldReading) name(people []registry.Person) {
	text, _ := r.Value.(string)
	if r.Attribute != device.PresenceWho.String() || text == "" {
		return
	}
	var all []string
	for _, word := range strings.Fields(text) {
		number, sure, howSure := strings.Cut(word, "@")
		for _, p := range people {
			if fmt.Sprint(p.ID) == number {
				word = p.Name
				if howSure {
					word += "@" + sure
				}
			}
		}
		all = append(all, word)
	}
	r.Names = strings.Join(all, ", ")
}

// contexts is what those devices of a home have told that are wanted, by class.
func (d *Desk) contexts(id device.HomeID, history bool, want func(*screen) bool) (all []DeviceContext, err error) {
	now := d.o.Now()
	err = d.in(id, func(h *home) error {
		for _, sv := range h.view.Screens {
			if s := h.screens[sv.ID]; want(s) {
				all = append(all, s.told(now, history))
			}
		}
		return nil
	})
	return all, err
}

// told is what s has told. The caller holds the home's lock.
func (s *screen) told(now device.Instant, history bool) DeviceContext {
	c := DeviceContext{Device: s.ID, Name: s.Name, Class: s.Class, Connected: s.session != nil, Trip: s.view.Trip, Now: now, Readings: []ToldReading{}}
	for a := range device.AttributesOf(s.Class) {
		r, known := s.context.Get(a)
		if !known && r.Since == 0 {
			continue // never told
		}
		is := ToldReading{Attribute: a.String(), At: r.At, Since: r.Since, TTL: a.TTL(s.Class).Milliseconds()}
		if r.At != 0 {
			is.Age = int64(max(0, now-r.At))
		}
		if known {
			is.Value = plainValue(a, r.Value)
		}
		_, _, is.Fresh = s.context.Fresh(s.Class, a, now)
		c.Readings = append(c.Readings, is)
	}
	if history {
		c.Changes = []ContextChange{}
		for _, ch := range s.history.All(now) {
			is := ContextChange{At: ch.At, Attribute: ch.Attribute.String()}
			if ch.Value.Kind != device.Unknown {
				is.Value = plainValue(ch.Attribute, ch.Value)
			}
			c.Changes = append(c.Changes, is)
		}
	}
	return c
}

// forgetTold erases what t is about from what has changed on devices. Who caused a change is not known: of a person,
// all that the home's devices told goes.
func (d *Desk) forgetTold(id device.HomeID, t target) error {
	if t.brand != "" || t.data != "" && t.data != ContextData {
		return nil
	}
	err := d.in(id, func(h *home) error {
		for _, s := range h.screens {
			if t.person != device.Household || len(t.devices) == 0 || t.devices[s.ID] {
				s.history.Erase(t.after, t.before)
			}
		}
		return nil
	})
	if errors.Is(err, registry.ErrUnknown) {
		return nil // the home is gone, and this with it
	}
	return err
}

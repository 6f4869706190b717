package delivery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/device/twin"
	"porchlight/device/wire"
	"porchlight/policy"
	"porchlight/policy/consent"
)

// HomeSpec is a home to be added, with all that is in it.
type HomeSpec struct {
	Name    string            `json:"name"`
	Zone    string            `json:"zone"` // IANA
	People  []PersonSpec      `json:"people,omitempty"`
	Rooms   []string          `json:"rooms,omitempty"`
	Devices []DeviceSpec      `json:"devices,omitempty"`
	Quiet   []policy.Quiet    `json:"quiet,omitempty"`
	Mutes   []policy.MuteRule `json:"mutes,omitempty"`
	Caps    []policy.Cap      `json:"caps,omitempty"` // nil: DefaultCaps
}

// PersonSpec is somebody to be added.
type PersonSpec struct {
	Name      string     `json:"name"`
	Age       device.Age `json:"age"`
	Guardians []string   `json:"guardians,omitempty"` // names of adults of the home
	Languages []string   `json:"languages,omitempty"` // BCP 47, the preferred first
}

// DeviceSpec is a device to be added.
type DeviceSpec struct {
	ID         device.ID      `json:"id,omitempty"` // "": a new one is made
	Class      device.Class   `json:"class"`
	Name       string         `json:"name,omitempty"`     // "": its class
	Room       string         `json:"room,omitempty"`     // by name
	NewRoom    bool           `json:"new_room,omitempty"` // the room is made if it is not there, also in a home that has others
	Owner      string         `json:"owner,omitempty"`    // a person's name; "": everybody's
	Controller bool           `json:"controller"`         // may widen what the home permits
	Until      device.Instant `json:"until,omitempty"`    // a guest's: it is removed then
}

// Enrolled is a device that was added, with the token it logs in with: the only time that
// anybody sees it.
type Enrolled struct {
	device.Device
	Token string `json:"token"`
}

// AddHome adds a home and all that is in it, or nothing.
func (d *Desk) AddHome(_ context.Context, spec HomeSpec) (h registry.Home, devices []Enrolled, err error) {
	if err := errors.Join(checkQuiet(spec.Quiet, nil), checkMutes(spec.Mutes, nil), checkCaps(spec.Caps, nil)); err != nil {
		return h, nil, fmt.Errorf("add home: %w", err)
	}
	err = d.update(func(tx *store.Tx) error {
		devices = nil
		if h, err = registry.AddHome(tx, spec.Name, spec.Zone); err != nil {
			return err
		}
		for _, guarded := range []bool{false, true} { // guardians first
			for _, p := range spec.People {
				if len(p.Guardians) > 0 != guarded {
					continue
				}
				if _, err := addPerson(tx, h.ID, p); err != nil {
					return err
				}
			}
		}
		for _, name := range spec.Rooms {
			if _, err := registry.AddRoom(tx, h.ID, name); err != nil {
				return err
			}
		}
		for _, ds := range spec.Devices {
			ds.NewRoom = true
			e, err := enrol(tx, h.ID, ds)
			if err != nil {
				return err
			}
			devices = append(devices, e)
		}
		for name, body := range map[string]any{twin.Quiet: spec.Quiet, twin.Mutes: spec.Mutes, twin.Caps: spec.Caps} {
			if raw, err := json.Marshal(body); err != nil {
				return err
			} else if string(raw) != "null" {
				if _, err := twin.Set(tx, h.ID, name, raw, ""); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return registry.Home{}, nil, fmt.Errorf("add home: %w", err)
	}
	return h, devices, nil
}

func addPerson(tx *store.Tx, home device.HomeID, spec PersonSpec) (registry.Person, error) {
	p := registry.Person{Name: spec.Name, Age: spec.Age, Languages: spec.Languages}
	for _, name := range spec.Guardians {
		g, err := personByName(tx, home, name)
		if err != nil {
			return registry.Person{}, fmt.Errorf("guardian of %.40q: %w", spec.Name, err)
		}
		p.Guardians = append(p.Guardians, g.ID)
	}
	return registry.AddPerson(tx, home, p)
}

func enrol(tx *store.Tx, home device.HomeID, spec DeviceSpec) (Enrolled, error) {
	dev := device.Device{ID: spec.ID, Home: home, Class: spec.Class, Name: spec.Name, Controller: spec.Controller, Until: spec.Until}
	if dev.ID == "" {
		dev.ID = device.NewID()
	}
	if dev.Name == "" {
		dev.Name = spec.Class.String()
	}
	if spec.Owner != "" {
		p, err := personByName(tx, home, spec.Owner)
		if err != nil {
			return Enrolled{}, fmt.Errorf("owner of device %s: %w", dev.ID, err)
		}
		dev.Owner = p.ID
	}
	if err := moveIn(tx, &dev, spec.Room, spec.NewRoom); err != nil {
		return Enrolled{}, err
	}
	token := registry.NewToken()
	return Enrolled{dev, token}, registry.AddDevice(tx, dev, token)
}

// moveIn gives a device that is to be added its room, see roomOf, and a guest's its guest.
func moveIn(tx *store.Tx, dev *device.Device, room string, made bool) (err error) {
	if room != "" {
		if dev.Room, err = roomOf(tx, dev.Home, room, made); err != nil {
			return err
		}
	}
	if dev.Until == 0 || dev.Owner != device.Household {
		return nil
	}
	dev.Owner, err = registry.AddGuest(tx, dev.Home, dev.Name)
	return err
}

// roomOf is the room of a home with that name. If there is none, it is made in a home that has no rooms, or if made is
// set; otherwise it is taken for misspelt, because rooms are not removed, and the error is an Invalid about room.
func roomOf(tx *store.Tx, home device.HomeID, name string, made bool) (device.RoomID, error) {
	rooms, err := registry.Rooms(tx, home)
	if err != nil {
		return 0, err
	}
	if id, bad := (names{rooms: rooms}).room(name); len(bad) == 0 {
		return id, nil
	} else if len(rooms) > 0 && !made {
		bad[0].Fix += " (--new-room makes a new one)"
		return 0, bad.in("room")
	}
	r, err := registry.AddRoom(tx, home, name)
	return r.ID, err
}

func personByName(tx *store.Tx, home device.HomeID, name string) (registry.Person, error) {
	people, err := registry.People(tx, home)
	if err != nil {
		return registry.Person{}, err
	}
	for _, p := range people {
		if p.Name == name {
			return p, nil
		}
	}
	return registry.Person{}, &registry.UnknownError{What: "person", Name: name, Home: home}
}

// named runs f, which records facts, on the home that the operator calls name.
func (d *Desk) named(ctx context.Context, name string, f func(h *home, tx *store.Tx) error) error {
	id, err := d.homeID(ctx, name)
	if err != nil {
		return err
	}
	return d.in(id, func(h *home) error {
		return d.record(h, func(tx *store.Tx) error { return f(h, tx) })
	})
}

func (d *Desk) homeID(ctx context.Context, name string) (id device.HomeID, err error) {
	err = d.db.View(ctx, func(tx *store.Tx) error {
		h, err := registry.HomeByName(tx, name)
		id = h.ID
		return err
	})
	return id, err
}

// Instead says what an operator may have meant who named something that there is none of; "" if nothing comes close.
func (d *Desk) Instead(ctx context.Context, wrong *registry.UnknownError) string {
	var names []string
	var fix string
	err := d.db.View(ctx, func(tx *store.Tx) (err error) {
		switch wrong.What {
		case "applicant":
			fix = "porchlight enrol list shows who asks; the code comes after it"
		case "home":
			fix = "there is none yet: porchlight home add makes one"
			all, err := registry.Homes(tx)
			for _, h := range all {
				names = append(names, strconv.Quote(h.Name))
			}
			return err
		case "brand":
			fix = "there is none yet: porchlight brand add registers one"
			all, err := registry.Brands(tx)
			for _, b := range all {
				names = append(names, string(b.ID))
			}
			return err
		case "device":
			if wrong.Home == 0 {
				fix, err = deviceCalled(tx, wrong.Name)
				return err
			}
			fix = "the home has none yet: porchlight device add makes one, porchlight enrol open lets one in"
			all, err := registry.Devices(tx, wrong.Home)
			for _, one := range all {
				names = append(names, strconv.Quote(one.Name))
			}
			return err
		case "person":
			fix = "nobody is known to live there: porchlight person add tells of somebody"
			all, err := registry.People(tx, wrong.Home)
			for _, p := range all {
				names = append(names, strconv.Quote(p.Name))
			}
			return err
		}
		return nil
	})
	name := wrong.Name
	if wrong.What != "brand" {
		name = strconv.Quote(name)
	}
	switch near := device.Nearest(name, names); {
	case err != nil || len(names) == 0:
		return fix
	case near != "":
		return "did you mean " + near + "?"
	case len(names) <= 8:
		return "use one of " + strings.Join(names, ", ")
	}
	return ""
}

// deviceCalled says which device may have been meant by what is no device's ID.
func deviceCalled(tx *store.Tx, called string) (string, error) {
	var id, name, home string
	err := tx.QueryRow(`SELECT d.id, d.name, h.name FROM device d JOIN home h ON h.id = d.home WHERE d.name = ? COLLATE NOCASE AND d.removed = 0 LIMIT 1`, called).Scan(&id, &name, &home)
	if err == nil {
		return fmt.Sprintf("the ID of %q in home %q is %s", name, home, id), nil
	}
	if !isNoRows(err) {
		return "", err
	}
	var removed bool
	if err = tx.QueryRow(`SELECT EXISTS (SELECT 1 FROM device WHERE id = ? AND removed = 1)`, called).Scan(&removed); err != nil || removed {
		return "it was removed", err
	}
	return "porchlight device list shows the IDs", nil
}

// RemoveHome ends a home. Its devices are disconnected, its choices and deliveries forgotten.
func (d *Desk) RemoveHome(ctx context.Context, name string) error {
	var id device.HomeID
	err := d.named(ctx, name, func(h *home, tx *store.Tx) error { id = h.id; return registry.RemoveHome(tx, h.id) })
	if err == nil {
		d.entrance.shut(id)
		err = d.eraseHome(ctx, id)
	}
	return err
}

// Homes lists the homes.
func (d *Desk) Homes(ctx context.Context) (all []registry.Home, err error) {
	err = d.db.View(ctx, func(tx *store.Tx) error { all, err = registry.Homes(tx); return err })
	return all, err
}

// AddPerson adds somebody to a home.
func (d *Desk) AddPerson(ctx context.Context, homeName string, spec PersonSpec) (p registry.Person, err error) {
	err = d.named(ctx, homeName, func(h *home, tx *store.Tx) (err error) { p, err = addPerson(tx, h.id, spec); return err })
	return p, err
}

// RemovePerson removes somebody from a home.
func (d *Desk) RemovePerson(ctx context.Context, homeName, name string) error {
	return d.named(ctx, homeName, func(h *home, tx *store.Tx) error {
		p, err := personByName(tx, h.id, name)
		if err != nil {
			return err
		}
		return registry.RemovePerson(tx, h.id, p.ID)
	})
}

// People lists who lives in a home.
func (d *Desk) People(ctx context.Context, homeName string) (all []registry.Person, err error) {
	err = d.db.View(ctx, func(tx *store.Tx) error {
		h, err := registry.HomeByName(tx, homeName)
		if err != nil {
			return err
		}
		all, err = registry.People(tx, h.ID)
		return err
	})
	return all, err
}

// AddDevice adds a device to a home.
func (d *Desk) AddDevice(ctx context.Context, homeName string, spec DeviceSpec) (e Enrolled, err error) {
	err = d.named(ctx, homeName, func(h *home, tx *store.Tx) (err error) { e, err = enrol(tx, h.id, spec); return err })
	return e, err
}

// device finds a device that has not been removed.
func (d *Desk) device(ctx context.Context, id device.ID) (dev device.Device, err error) {
	err = d.db.View(ctx, func(tx *store.Tx) (err error) { dev, err = registry.Device(tx, id); return err })
	return dev, err
}

// RemoveDevice removes a device: it is disconnected and its credential is void.
func (d *Desk) RemoveDevice(ctx context.Context, id device.ID) error {
	return d.removeDevice(ctx, id, registry.ByOperator)
}

func (d *Desk) removeDevice(ctx context.Context, id device.ID, why registry.Removal) error {
	dev, err := d.device(ctx, id)
	if err != nil {
		return err
	}
	return d.in(dev.Home, func(h *home) error {
		return d.record(h, func(tx *store.Tx) error { return registry.RemoveDevice(tx, id, why) })
	})
}

// wipeWithin is how long a device may take to forget everything.
const wipeWithin = 30 * time.Second

// WipeDevice tells a device to forget everything, and removes it: at once if it is away, or when
// it has not said within 30 s that it did. confirmed reports whether it said so.
func (d *Desk) WipeDevice(ctx context.Context, id device.ID) (confirmed bool, err error) {
	dev, err := d.device(ctx, id)
	if err != nil {
		return false, err
	}
	order, err := wire.Encode(wire.Command{Op: wire.Wipe})
	if err == nil {
		err = d.update(func(tx *store.Tx) error { return registry.Tell(tx, dev, "wipe") })
	}
	if err != nil {
		return false, err
	}
	done := make(chan struct{})
	d.mu.Lock()
	if before := d.wiping[id]; before != nil {
		done = before
	}
	d.wiping[id] = done
	d.mu.Unlock()
	within := time.NewTimer(wipeWithin)
	defer within.Stop()
	again := time.NewTicker(5 * time.Second)
	defer again.Stop()
	for waiting := true; waiting; {
		err := d.in(dev.Home, func(h *home) error {
			if s := h.screens[id]; s != nil && s.session != nil {
				return s.session.link.Send(Frame{Leaf: wire.DnCmd, Payload: order})
			}
			return ErrAway
		})
		if err != nil && !errors.Is(err, ErrAway) {
			return false, err
		}
		if errors.Is(err, ErrAway) {
			break // nobody is there to be told
		}
		select {
		case <-done:
			return true, nil
		case <-again.C:
		case <-within.C:
			waiting = false
		case <-ctx.Done():
			d.mu.Lock()
			delete(d.wiping, id)
			d.mu.Unlock()
			return false, ctx.Err()
		}
	}
	d.mu.Lock()
	delete(d.wiping, id)
	d.mu.Unlock()
	select {
	case <-done:
		return true, nil
	default:
		err := d.RemoveDevice(ctx, id)
		if errors.Is(err, registry.ErrUnknown) {
			err = nil // somebody else has removed it meanwhile
		}
		return false, err
	}
}

// ReplaceToken gives a device a new token, which is the only credential of it from now on; its
// connection is ended.
func (d *Desk) ReplaceToken(ctx context.Context, id device.ID) (e Enrolled, err error) {
	if e.Device, err = d.device(ctx, id); err != nil {
		return e, err
	}
	e.Token = registry.NewToken()
	return e, d.in(e.Home, func(h *home) error {
		err := d.record(h, func(tx *store.Tx) error { return registry.Replace(tx, id, registry.Token(e.Token)) })
		if s := h.screens[id]; err == nil && s != nil && s.session != nil {
			s.session.link.Close(Removed)
		}
		return err
	})
}

// dismiss removes the devices whose time is over: guests, and those that were let in and never
// came.
func (d *Desk) dismiss(now device.Instant) {
	due := device.Instant(d.due.Load())
	if due != 0 && now < due {
		return
	}
	var all map[device.ID]registry.Removal
	var next device.Instant
	err := d.db.View(context.Background(), func(tx *store.Tx) (err error) { all, next, err = registry.Due(tx, now); return err })
	if next == 0 {
		next = now.Add(time.Hour)
	}
	d.due.CompareAndSwap(int64(due), int64(min(next, now.Add(time.Hour))))
	for id, why := range all {
		if e := d.removeDevice(context.Background(), id, why); e != nil && !errors.Is(e, registry.ErrUnknown) {
			err = e
		}
	}
	if err != nil {
		d.due.Store(0)
		d.log.Error("devices whose time is over could not be removed", "err", err)
	}
}

// runOut writes down that choices have come to their end.
func (d *Desk) runOut(now device.Instant) {
	due := device.Instant(d.ends.Load())
	if due != 0 && now < due {
		return
	}
	var homes []device.HomeID
	var next device.Instant
	err := d.db.View(context.Background(), func(tx *store.Tx) (err error) { homes, next, err = consent.Due(tx, now); return err })
	if next == 0 {
		next = now.Add(time.Hour)
	}
	d.ends.CompareAndSwap(int64(due), int64(min(next, now.Add(time.Hour))))
	for _, id := range homes {
		e := d.in(id, func(h *home) error {
			return d.record(h, func(tx *store.Tx) error { _, err := consent.Expire(tx, h.id, now); return err })
		})
		if e != nil && !errors.Is(e, registry.ErrUnknown) {
			err = e
		}
	}
	if err != nil {
		d.ends.Store(0)
		d.log.Error("choices that have come to their end could not be written down", "err", err)
	}
}

// DeviceState is a device and how it is just now.
type DeviceState struct {
	device.Device
	RoomName  string            `json:"room_name,omitempty"`
	OwnerName string            `json:"owner_name,omitempty"`
	Connected bool              `json:"connected"`
	Ready     bool              `json:"ready"`             // it listens and has sent its birth
	Context   map[string]string `json:"context,omitempty"` // what is known and fresh, by attribute
	Showing   []string          `json:"showing,omitempty"` // messages on it or on their way
}

// Devices lists the devices of a home and how they are.
func (d *Desk) Devices(ctx context.Context, homeName string) (all []DeviceState, err error) {
	id, err := d.homeID(ctx, homeName)
	if err != nil {
		return nil, err
	}
	people, rooms := map[device.PersonID]string{}, map[device.RoomID]string{}
	err = d.db.View(ctx, func(tx *store.Tx) error {
		ps, err := registry.People(tx, id)
		if err != nil {
			return err
		}
		for _, p := range ps {
			people[p.ID] = p.Name
		}
		rs, err := registry.Rooms(tx, id)
		for _, r := range rs {
			rooms[r.ID] = r.Name
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	now := d.o.Now()
	err = d.in(id, func(h *home) error {
		for _, sv := range h.view.Screens {
			s := h.screens[sv.ID]
			st := DeviceState{Device: s.Device, RoomName: rooms[s.Room], OwnerName: people[s.Owner], Connected: s.session != nil, Ready: s.ready()}
			for a := range device.AttributesOf(s.Class) {
				if v, _, ok := s.context.Fresh(s.Class, a, now); ok {
					if st.Context == nil {
						st.Context = map[string]string{}
					}
					st.Context[a.String()] = a.Show(v)
				}
			}
			for _, dl := range h.open {
				if dl.device == s.ID {
					st.Showing = append(st.Showing, dl.id.String())
				}
			}
			all = append(all, st)
		}
		return nil
	})
	return all, err
}

// lives reports whether somebody lives in a home; nil: nobody is known to.
type lives func(device.PersonID) bool

func (l lives) owner(id device.PersonID) error {
	if id == device.Household || l != nil && l(id) {
		return nil
	}
	return fmt.Errorf("%w: nobody of the home has the number %d", registry.ErrInvalid, id)
}

// lives reports whether somebody lives in h.
func (h *home) lives(id device.PersonID) bool { _, ok := h.person(id); return ok }

func checkQuiet(all []policy.Quiet, l lives) error {
	if len(all) > maxQuiet {
		return fmt.Errorf("quiet times: %w: %d are more than %d", registry.ErrInvalid, len(all), maxQuiet)
	}
	for _, q := range all {
		if q.Start < 0 || q.Start > 1439 || q.End < 0 || q.End > 1439 || q.Days > 127 {
			return fmt.Errorf("quiet time: %w: start and end are 0 to 1439 minutes after midnight, days are 7 bits", registry.ErrInvalid)
		}
		if q.Zone != "" {
			if _, err := registry.LoadZone(q.Zone); err != nil {
				return fmt.Errorf("quiet time: %w", err)
			}
		}
		if err := l.owner(q.Owner); err != nil {
			return fmt.Errorf("quiet time: %w", err)
		}
	}
	return nil
}

func checkMutes(all []policy.MuteRule, l lives) error {
	if len(all) > maxMutes {
		return fmt.Errorf("mutes: %w: %d are more than %d", registry.ErrInvalid, len(all), maxMutes)
	}
	for _, m := range all {
		if bad := checkMute(m); len(bad) > 0 {
			return fmt.Errorf("mute: %w: %w", registry.ErrInvalid, bad[0])
		}
		if err := l.owner(m.Owner); err != nil {
			return fmt.Errorf("mute: %w", err)
		}
	}
	return nil
}

func checkCaps(all []policy.Cap, l lives) error {
	if len(all) > maxCaps {
		return fmt.Errorf("caps: %w: %d are more than %d", registry.ErrInvalid, len(all), maxCaps)
	}
	for _, c := range all {
		if bad := checkCap(c); len(bad) > 0 {
			return fmt.Errorf("cap: %w: %w", registry.ErrInvalid, bad[0])
		}
		if err := l.owner(c.Owner); err != nil {
			return fmt.Errorf("cap: %w", err)
		}
	}
	return nil
}

// Choose takes in a choice that somebody in a home made, told to the operator. person is the
// name of whose it is; "" means the home as a whole. It reaches pending and displayed messages
// alike: when it returns, nothing that it forbids is released any more.
func (d *Desk) Choose(ctx context.Context, homeName, person string, b device.BrandID, p policy.Purpose, c policy.Choice) error {
	return d.named(ctx, homeName, func(h *home, tx *store.Tx) error {
		e := consent.Entry{Home: h.id, Brand: b, Purpose: p, Choice: c, Method: "operator"}
		if person != "" {
			who, err := personByName(tx, h.id, person)
			if err != nil {
				return err
			}
			e.Subject = who.ID
		}
		_, err := consent.Record(tx, e)
		return err
	})
}

// ConsentState is a choice in force.
type ConsentState struct {
	Person  string         `json:"person,omitempty"` // "": the home as a whole
	Brand   device.BrandID `json:"brand"`
	Purpose policy.Purpose `json:"purpose"`
	Choice  policy.Choice  `json:"choice"`
	At      device.Instant `json:"at"`
}

// Consents lists the choices in force in a home, the oldest first.
func (d *Desk) Consents(ctx context.Context, homeName string) (all []ConsentState, err error) {
	err = d.db.View(ctx, func(tx *store.Tx) error {
		h, err := registry.HomeByName(tx, homeName)
		if err != nil {
			return err
		}
		people, err := registry.People(tx, h.ID)
		if err != nil {
			return err
		}
		entries, err := consent.List(tx, h.ID)
		for _, e := range entries {
			st := ConsentState{Brand: e.Brand, Purpose: e.Purpose, Choice: e.Choice, At: e.At}
			if i := slices.IndexFunc(people, func(p registry.Person) bool { return p.ID == e.Subject }); i >= 0 {
				st.Person = people[i].Name
			}
			all = append(all, st)
		}
		return err
	})
	return all, err
}

// Status is the gateway at a glance.
type Status struct {
	Now       device.Instant `json:"now"`
	Homes     int            `json:"homes"`
	Devices   int            `json:"devices"`
	Connected int            `json:"connected"`
	Brands    int            `json:"brands"`
	InForce   int            `json:"messages_in_force"`
	Open      int            `json:"deliveries_open"`
	Shown     int            `json:"messages_shown"` // since the database was made
	Healthy   bool           `json:"healthy"`        // work is taken in
	Fault     string         `json:"fault,omitempty"`
}

// Status tells how the gateway is.
func (d *Desk) Status(ctx context.Context) (st Status, err error) {
	st.Now = d.o.Now()
	err = d.db.View(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(`SELECT (SELECT count(*) FROM home WHERE removed = 0), (SELECT count(*) FROM device WHERE removed = 0),
			(SELECT count(*) FROM brand WHERE removed = 0), (SELECT count(*) FROM delivery WHERE settled = 0), (SELECT count(*) FROM delivery WHERE presented != 0)`).
			Scan(&st.Homes, &st.Devices, &st.Brands, &st.Open, &st.Shown)
	})
	d.mu.Lock()
	st.Connected, st.InForce = len(d.links), len(d.force)
	d.mu.Unlock()
	if fault := d.db.Healthy(); fault != nil {
		st.Fault = fault.Error()
	}
	st.Healthy = st.Fault == "" && err == nil
	return st, err
}

// Now is people's time, as the Desk has it.
func (d *Desk) Now() device.Instant { return d.o.Now() }

// Lookup tells when the clock was set on purpose, so that nothing waits for the next look at it.
func (d *Desk) Lookup() { token(d.look) }

package registry

import (
	"encoding/json"
	"fmt"

	"porchlight/device"
	"porchlight/device/store"
)

// The facts of this noun, as the journal spells them.
const (
	homeAdded       = "home.added"
	homeRemoved     = "home.removed"
	personAdded     = "person.added"
	personChanged   = "person.changed"
	personRemoved   = "person.removed"
	roomAdded       = "room.added"
	deviceAdded     = "device.added"
	deviceChanged   = "device.changed"
	deviceDescribed = "device.described"
	deviceAlarmed   = "device.alarmed"
	deviceRemoved   = "device.removed"
	deviceTold      = "device.told" // an order, for the audit alone
)

type deviceFact struct {
	device.Device
	Credential credentialFact `json:"credential"`
	Origin     *Origin        `json:"origin,omitempty"` // nil: the operator added it
}

type descriptionFact struct {
	ID    device.ID           `json:"id"`
	Model device.Model        `json:"model"`
	Can   device.Capabilities `json:"can"`
}

type alarmFact struct {
	ID device.ID `json:"id"`
	On bool      `json:"on"`
}

type idFact[T any] struct {
	ID T `json:"id"`
}

// add appends a fact to a book.
func add(tx *store.Tx, home device.HomeID, kind string, body any) error {
	_, err := tx.Add(home, kind, body)
	return err
}

// AddHome gives a new home its number and opens its book. ErrTaken if the name is another's.
func AddHome(tx *store.Tx, name, zone string) (Home, error) {
	if err := checkName("home", name, 32); err != nil {
		return Home{}, err
	}
	if _, err := LoadZone(zone); err != nil {
		return Home{}, fmt.Errorf("home %q: %w", name, err)
	}
	if _, err := HomeByName(tx, name); err == nil {
		return Home{}, fmt.Errorf("home %q: the name %w: choose another", name, ErrTaken)
	}
	var last int64
	if err := tx.QueryRow(`SELECT coalesce(max(id), 0) FROM home`).Scan(&last); err != nil {
		return Home{}, err
	}
	h := Home{device.HomeID(last + 1), name, zone}
	return h, add(tx, h.ID, homeAdded, h)
}

// RemoveHome ends a home: its people, rooms, devices, choices and deliveries are gone from the
// tables at once; its number is never given again.
func RemoveHome(tx *store.Tx, id device.HomeID) error {
	if _, err := HomeByID(tx, id); err != nil {
		return err
	}
	return add(tx, id, homeRemoved, idFact[device.HomeID]{id})
}

// MaxPeople is how many people a home can have.
const MaxPeople = 64

// AddPerson adds somebody to a home and gives them their number, which is never given again:
// choices are filed under it.
func AddPerson(tx *store.Tx, home device.HomeID, p Person) (Person, error) {
	people, err := checkPerson(tx, home, p)
	if err != nil {
		return Person{}, err
	}
	if len(people) >= MaxPeople {
		return Person{}, fmt.Errorf("person %q: %w: a home has at most %d people", p.Name, ErrInvalid, MaxPeople)
	}
	id, err := next(tx, `SELECT persons FROM home WHERE id = ?`, home)
	if err != nil {
		return Person{}, err
	}
	p.ID = device.PersonID(id)
	return p, add(tx, home, personAdded, p)
}

// ChangePerson makes somebody what p says of them; their number stays.
func ChangePerson(tx *store.Tx, home device.HomeID, p Person) error {
	people, err := checkPerson(tx, home, p)
	if err != nil {
		return err
	}
	for _, was := range people {
		if was.ID == p.ID {
			return add(tx, home, personChanged, p)
		}
	}
	return fmt.Errorf("person %d: %w", p.ID, ErrUnknown)
}

// checkPerson checks what is said of somebody against those who live in the home, whom it returns.
func checkPerson(tx *store.Tx, home device.HomeID, p Person) ([]Person, error) {
	if err := checkName("person", p.Name, 64); err != nil {
		return nil, err
	}
	if p.Age > device.Adult || len(p.Languages) > 8 || len(p.Guardians) > 8 {
		return nil, fmt.Errorf("person %q: %w: age is unknown, child, teen or adult; at most 8 languages and 8 guardians", p.Name, ErrInvalid)
	}
	for _, l := range p.Languages {
		if !device.IsLanguage(l) {
			return nil, fmt.Errorf("person %q: %w: language %.40q is no BCP 47 tag", p.Name, ErrInvalid, l)
		}
	}
	people, err := People(tx, home)
	if err != nil {
		return nil, err
	}
	adults := map[device.PersonID]bool{}
	for _, other := range people {
		if other.Name == p.Name && other.ID != p.ID {
			return nil, fmt.Errorf("person %q: the name %w: choose another", p.Name, ErrTaken)
		}
		adults[other.ID] = other.Age == device.Adult && other.ID != p.ID
	}
	for _, g := range p.Guardians {
		if !adults[g] || p.Age == device.Adult {
			return nil, fmt.Errorf("person %q: guardian %d: %w: a guardian is an adult of the home, of somebody who is not", p.Name, g, ErrInvalid)
		}
	}
	return people, nil
}

// ChangeDevice gives a device another name, room, owner or part; everything else about it stays.
func ChangeDevice(tx *store.Tx, d device.Device) error {
	was, err := Device(tx, d.ID)
	if err != nil {
		return err
	}
	if err := checkName("device", d.Name, 64); err != nil {
		return err
	}
	if err := checkPlace(tx, d); err != nil {
		return err
	}
	return add(tx, was.Home, deviceChanged, placeFact{d.ID, d.Name, d.Room, d.Owner, d.Controller})
}

type placeFact struct {
	ID         device.ID       `json:"id"`
	Name       string          `json:"name"`
	Room       device.RoomID   `json:"room,omitempty"`
	Owner      device.PersonID `json:"owner,omitempty"`
	Controller bool            `json:"controller"`
}

// RemovePerson removes somebody; ErrInUse while a device is theirs.
func RemovePerson(tx *store.Tx, home device.HomeID, id device.PersonID) error {
	people, err := People(tx, home)
	if err != nil {
		return err
	}
	devices, err := Devices(tx, home)
	if err != nil {
		return err
	}
	for _, d := range devices {
		if d.Owner == id {
			return fmt.Errorf("person %d: %w as the owner of %s (%s): give it to somebody else first, or remove it", id, ErrInUse, d.Name, d.ID)
		}
	}
	for _, p := range people {
		if p.ID == id {
			return add(tx, home, personRemoved, idFact[device.PersonID]{id})
		}
	}
	return fmt.Errorf("person %d: %w", id, ErrUnknown)
}

// AddRoom adds a room, or returns the one that has that name already.
func AddRoom(tx *store.Tx, home device.HomeID, name string) (Room, error) {
	if err := checkName("room", name, 64); err != nil {
		return Room{}, err
	}
	rooms, err := Rooms(tx, home)
	if err != nil {
		return Room{}, err
	}
	for _, r := range rooms {
		if r.Name == name {
			return r, nil
		}
	}
	r := Room{device.RoomID(len(rooms) + 1), name} // rooms are not removed
	return r, add(tx, home, roomAdded, r)
}

// AddDevice adds d to its home with the token it will log in with. ErrTaken if the ID is, or
// was, another device's.
func AddDevice(tx *store.Tx, d device.Device, token string) error {
	if len(token) < 43 {
		return fmt.Errorf("device %s: %w: its token has less than 256 bits", d.ID, ErrInvalid)
	}
	return Admit(tx, d, Token(token), 0, nil)
}

// Admit is AddDevice with any credential. If void is not 0, the device is removed again unless it
// has logged in before: see Due.
func Admit(tx *store.Tx, d device.Device, p Proof, void device.Instant, from *Origin) error {
	if _, err := device.ParseID(string(d.ID)); err != nil {
		return fmt.Errorf("device: %w: %w", ErrInvalid, err)
	}
	if device.IsApplicant(string(d.ID)) {
		return fmt.Errorf("device %s: %w: IDs of that form are those of devices that are not enrolled yet", d.ID, ErrInvalid)
	}
	if !d.Class.Known() {
		return fmt.Errorf("device %s: %w: class %d is unknown", d.ID, ErrInvalid, d.Class)
	}
	if err := checkName("device", d.Name, 64); err != nil {
		return err
	}
	if d.Until != 0 && d.Until <= tx.Now {
		return fmt.Errorf("device %s: %w: its end, %s, has passed", d.ID, ErrInvalid, d.Until)
	}
	if err := free(tx, d.ID, p); err != nil {
		return err
	}
	if _, err := HomeByID(tx, d.Home); err != nil {
		return fmt.Errorf("device %s: %w", d.ID, err)
	}
	var ids int
	if err := tx.QueryRow(`SELECT count(*) FROM device WHERE id = ?`, d.ID).Scan(&ids); err != nil {
		return err
	}
	if ids > 0 {
		return fmt.Errorf("device %s: the ID %w, now or before: choose another, or none", d.ID, ErrTaken)
	}
	if err := checkPlace(tx, d); err != nil {
		return err
	}
	return add(tx, d.Home, deviceAdded, deviceFact{d, credentialFact{d.ID, p.hash, p.kind, void}, from})
}

// checkPlace checks that no other device of the home has d's name, and that its owner lives there.
func checkPlace(tx *store.Tx, d device.Device) error {
	var names int
	if err := tx.QueryRow(`SELECT count(*) FROM device WHERE home = ? + 0 AND name = ? AND id <> ? AND removed = 0`, d.Home, d.Name, d.ID).Scan(&names); err != nil {
		return err
	}
	if names > 0 {
		return fmt.Errorf("device %q: the name %w: give it another with --name", d.Name, ErrTaken)
	}
	if d.Owner == device.Household {
		return nil
	}
	people, err := People(tx, d.Home)
	if err != nil {
		return err
	}
	for _, p := range people {
		if p.ID == d.Owner {
			return nil
		}
	}
	return fmt.Errorf("device %s: owner %d: %w", d.ID, d.Owner, ErrUnknown)
}

// Describe records what a device said of itself at its birth, if that is news. changed reports
// whether it was.
func Describe(tx *store.Tx, id device.ID, model device.Model, can device.Capabilities) (changed bool, err error) {
	d, err := Device(tx, id)
	if err != nil {
		return false, err
	}
	was, err := json.Marshal(descriptionFact{id, d.Model, d.Can})
	if err != nil {
		return false, err
	}
	f := descriptionFact{id, model, can}
	is, err := json.Marshal(f)
	if err != nil || string(was) == string(is) {
		return false, err
	}
	return true, add(tx, d.Home, deviceDescribed, f)
}

// SetAlarm records that a device says its alarm is on, or off. An alarm outlives the gateway: it is
// the one reading that is kept for good.
func SetAlarm(tx *store.Tx, home device.HomeID, id device.ID, on bool) error {
	return add(tx, home, deviceAlarmed, alarmFact{id, on})
}

// Alarms lists the devices of a home that last said that their alarm is on.
func Alarms(tx *store.Tx, home device.HomeID) ([]device.ID, error) {
	return store.List(tx, func(scan scanner) (id device.ID, err error) { err = scan(&id); return },
		`SELECT id FROM device WHERE home = ? + 0 AND removed = 0 AND alarm = 1`, home)
}

// Removal is why a device was removed.
type Removal string

// The reasons.
const (
	ByOperator Removal = "operator"
	ByReset    Removal = "reset"  // it was set back to how it left the factory
	ByWipe     Removal = "wiped"  // it was told to forget everything, and has said that it did
	ByEnd      Removal = "guest"  // a guest's time was over
	ByAbsence  Removal = "absent" // it was admitted, and never logged in
)

type removalFact struct {
	ID  device.ID `json:"id"`
	Why Removal   `json:"why"`
}

// RemoveDevice removes a device: its credentials are void from now on, and its ID is never given
// again.
func RemoveDevice(tx *store.Tx, id device.ID, why Removal) error {
	d, err := Device(tx, id)
	if err != nil {
		return err
	}
	if err := add(tx, d.Home, deviceRemoved, removalFact{id, why}); err != nil || d.Owner == device.Household {
		return err
	}
	var leaves int
	err = tx.QueryRow(`SELECT count(*) FROM person WHERE home = ? AND id = ? AND guest = 1 AND NOT EXISTS (SELECT 1 FROM device WHERE home = person.home AND owner = person.id AND removed = 0)`,
		d.Home, d.Owner).Scan(&leaves)
	if err != nil || leaves == 0 {
		return err
	}
	return add(tx, d.Home, personRemoved, idFact[device.PersonID]{d.Owner})
}

type orderFact struct {
	ID   device.ID `json:"id"`
	What string    `json:"what"`
}

// Tell writes down that a device is told to do something.
func Tell(tx *store.Tx, d device.Device, what string) error {
	return add(tx, d.Home, deviceTold, orderFact{d.ID, what})
}

// Due lists the devices whose time is over at now, with why: guests, and those that were admitted
// and never logged in. next is when the next one's is; 0 if there is none.
func Due(tx *store.Tx, now device.Instant) (due map[device.ID]Removal, next device.Instant, err error) {
	due = map[device.ID]Removal{}
	type row struct {
		id  device.ID
		at  device.Instant
		why Removal
	}
	rows, err := store.List(tx, func(scan scanner) (r row, err error) { err = scan(&r.id, &r.at, &r.why); return },
		`SELECT id, until, 'guest' FROM device WHERE removed = 0 AND until > 0
		UNION ALL SELECT device, until, 'absent' FROM credential c WHERE until > 0 AND state = 'pending'
			AND NOT EXISTS (SELECT 1 FROM credential o WHERE o.device = c.device AND o.hash <> c.hash)`)
	for _, r := range rows {
		if r.at <= now {
			due[r.id] = r.why
		} else if next == 0 || r.at < next {
			next = r.at
		}
	}
	return due, next, err
}

func next(tx *store.Tx, query string, args ...any) (int64, error) {
	var last int64
	err := tx.QueryRow(query, args...).Scan(&last)
	return last + 1, err
}

// Apply projects this noun's facts; mine is false for those of others.
func Apply(tx *store.Apply, e store.Event) (mine bool, err error) {
	switch e.Kind {
	case homeAdded:
		return true, store.With(e, func(h Home) error {
			return tx.Exec(`INSERT INTO home (id, name, zone) VALUES (?, ?, ?)`, h.ID, h.Name, h.Zone)
		})
	case homeRemoved:
		for _, stmt := range []string{
			`DELETE FROM held WHERE home = ?`, `DELETE FROM withdrawal WHERE home = ?`, `DELETE FROM delivery WHERE home = ?`, `DELETE FROM preference WHERE home = ?`, `DELETE FROM consent_ask WHERE home = ?`, `DELETE FROM consent WHERE home = ?`,
			`DELETE FROM credential WHERE device IN (SELECT id FROM device WHERE home = ?)`,
			`UPDATE device SET removed = 1, name = '', owner = 0, room = 0, model = '{}', can = '{}', alarm = 0 WHERE home = ?`,
			`DELETE FROM room WHERE home = ?`, `DELETE FROM person WHERE home = ?`,
			`UPDATE home SET removed = 1, name = '' WHERE id = ?`,
		} {
			if err := tx.Exec(stmt, e.Home); err != nil {
				return true, err
			}
		}
		return true, nil
	case personAdded:
		return true, store.With(e, func(p Person) error {
			if err := putPerson(tx, e.Home, p); err != nil {
				return err
			}
			return tx.Exec(`UPDATE home SET persons = max(persons, ?) WHERE id = ?`, p.ID, e.Home)
		})
	case personChanged:
		return true, store.With(e, func(p Person) error { return putPerson(tx, e.Home, p) })
	case personRemoved:
		return true, store.With(e, func(f idFact[device.PersonID]) error {
			for _, stmt := range []string{`DELETE FROM consent_ask WHERE home = ? AND subject = ?`, `DELETE FROM consent WHERE home = ? AND subject = ?`} {
				if err := tx.Exec(stmt, e.Home, f.ID); err != nil {
					return err
				}
			}
			return tx.Exec(`DELETE FROM person WHERE home = ? AND id = ?`, e.Home, f.ID)
		})
	case roomAdded:
		return true, store.With(e, func(r Room) error {
			return tx.Exec(`INSERT INTO room (home, id, name) VALUES (?, ?, ?)`, e.Home, r.ID, r.Name)
		})
	case deviceAdded:
		return true, store.With(e, func(f deviceFact) error {
			err := tx.Exec(`INSERT INTO device (id, home, class, name, room, owner, controller, until) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
				f.ID, e.Home, f.Class, f.Name, f.Room, f.Owner, f.Controller, f.Until)
			if err != nil {
				return err
			}
			state := Active
			if f.Credential.Until != 0 {
				state = Pending
			}
			return tx.Exec(`INSERT INTO credential (hash, kind, device, state, at, until) VALUES (?, ?, ?, ?, ?, ?)`, f.Credential.Hash, f.Credential.Kind, f.ID, state, e.At, f.Credential.Until)
		})
	case deviceChanged:
		return true, store.With(e, func(f placeFact) error {
			return tx.Exec(`UPDATE device SET name = ?, room = ?, owner = ?, controller = ? WHERE id = ?`, f.Name, f.Room, f.Owner, f.Controller, f.ID)
		})
	case deviceDescribed:
		return true, store.With(e, func(f descriptionFact) error {
			model, err := json.Marshal(f.Model)
			if err != nil {
				return err
			}
			can, err := json.Marshal(f.Can)
			if err != nil {
				return err
			}
			return tx.Exec(`UPDATE device SET model = ?, can = ? WHERE id = ?`, string(model), string(can), f.ID)
		})
	case deviceAlarmed:
		return true, store.With(e, func(f alarmFact) error { return tx.Exec(`UPDATE device SET alarm = ? WHERE id = ?`, f.On, f.ID) })
	case deviceTold:
		return true, nil
	case deviceRemoved:
		return true, store.With(e, func(f removalFact) error {
			if err := tx.Exec(`DELETE FROM credential WHERE device = ?`, f.ID); err != nil {
				return err
			}
			return tx.Exec(`UPDATE device SET removed = 1 WHERE id = ?`, f.ID)
		})
	}
	for _, apply := range []func(*store.Apply, store.Event) (bool, error){applyBrand, applyCredential, applyEnrolment} {
		if mine, err := apply(tx, e); mine || err != nil {
			return mine, err
		}
	}
	return false, nil
}

// putPerson writes down who somebody is.
func putPerson(tx *store.Apply, home device.HomeID, p Person) error {
	list := func(v any) string { raw, _ := json.Marshal(v); return string(raw) } // of numbers and strings: it cannot fail
	if p.Guardians == nil {
		p.Guardians = []device.PersonID{}
	}
	if p.Languages == nil {
		p.Languages = []string{}
	}
	return tx.Exec(`INSERT INTO person (home, id, name, guest, age, guardians, languages, frozen) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (home, id) DO UPDATE SET name = excluded.name, guest = excluded.guest, age = excluded.age, guardians = excluded.guardians, languages = excluded.languages, frozen = excluded.frozen`,
		home, p.ID, p.Name, p.Guest, p.Age, list(p.Guardians), list(p.Languages), p.Frozen)
}

// Clear deletes every row that Apply has made of a home's book.
func Clear(tx *store.Apply, home device.HomeID) error {
	for _, stmt := range []string{
		`DELETE FROM credential WHERE device IN (SELECT id FROM device WHERE home = ?)`, `DELETE FROM device WHERE home = ?`,
		`DELETE FROM room WHERE home = ?`, `DELETE FROM person WHERE home = ?`, `DELETE FROM home WHERE id = ?`,
	} {
		if err := tx.Exec(stmt, home); err != nil {
			return err
		}
	}
	return nil
}

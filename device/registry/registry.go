// Package registry knows who is who: homes and their people, rooms and devices, brands, and the
// credentials with which devices and brands log in.
//
// In: facts from the Desk, credentials from the doors. Out: identities. Never: a secret in the
// clear (only its SHA-256 is kept), a look-up of a credential by name.
package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"porchlight/device"
	"porchlight/device/store"
)

// What callers branch on.
var (
	ErrUnknown = errors.New("not known")            // no such home, person, room, device, brand or credential
	ErrTaken   = errors.New("is taken")             // somebody else has that name or ID, or had it
	ErrInvalid = errors.New("cannot be taken in")   // a field is missing or out of its bounds
	ErrInUse   = errors.New("is still referred to") // remove what refers to it first
)

// Home is one home.
type Home struct {
	ID   device.HomeID `json:"id"`
	Name string        `json:"name"` // for people and the operator's commands; never in a log
	Zone string        `json:"zone"` // IANA, as in Europe/Zurich
}

// Person is somebody who lives in a home.
type Person struct {
	ID        device.PersonID   `json:"id"`
	Name      string            `json:"name"`            // never in a log
	Guest     bool              `json:"guest,omitempty"` // came with a device that is here for a while, and leaves with it
	Age       device.Age        `json:"age,omitempty"`
	Guardians []device.PersonID `json:"guardians,omitempty"` // adults of the home who choose for a child
	Languages []string          `json:"languages,omitempty"` // BCP 47, the preferred first, at most 8
	Frozen    bool              `json:"frozen,omitempty"`    // nothing is shown to them, asked of them or learnt about them
}

// Room is a room of a home.
type Room struct {
	ID   device.RoomID `json:"id"`
	Name string        `json:"name"`
}

// UnknownError says what there is none of. What there is instead is for operators alone to know.
type UnknownError struct {
	What string        // home, person, device, brand or applicant
	Name string        // as it was asked for
	Home device.HomeID // of a person, a device or an applicant; 0: the device was asked for by its ID
}

func (e *UnknownError) Error() string {
	if e.What == "brand" || e.What == "applicant" || e.What == "device" && e.Home == 0 { // by ID
		return fmt.Sprintf("%s %.40s: %v", e.What, e.Name, ErrUnknown)
	}
	return fmt.Sprintf("%s %.40q: %v", e.What, e.Name, ErrUnknown)
}

// Unwrap is ErrUnknown.
func (e *UnknownError) Unwrap() error { return ErrUnknown }

// notThere is err, as an UnknownError if there is no such thing.
func notThere(err error, what, name string) error {
	if err = unknown(err); err == ErrUnknown {
		return &UnknownError{What: what, Name: name}
	}
	return fmt.Errorf("%s %.40q: %w", what, name, err)
}

// HomeByName finds a home by the name the operator gave it.
func HomeByName(tx *store.Tx, name string) (Home, error) {
	h := Home{Name: name}
	err := tx.QueryRow(`SELECT id, zone FROM home WHERE name = ? AND removed = 0`, name).Scan(&h.ID, &h.Zone)
	if err != nil {
		return Home{}, notThere(err, "home", name)
	}
	return h, nil
}

// HomeByID finds a home by its number.
func HomeByID(tx *store.Tx, id device.HomeID) (Home, error) {
	h := Home{ID: id}
	err := tx.QueryRow(`SELECT name, zone FROM home WHERE id = ? AND removed = 0`, id).Scan(&h.Name, &h.Zone)
	if err != nil {
		return Home{}, fmt.Errorf("home %d: %w", id, unknown(err))
	}
	return h, nil
}

// Homes lists all homes by number.
func Homes(tx *store.Tx) ([]Home, error) {
	return store.List(tx, func(scan scanner) (h Home, err error) { err = scan(&h.ID, &h.Name, &h.Zone); return },
		`SELECT id, name, zone FROM home WHERE removed = 0 ORDER BY id`)
}

// People lists the people of a home by number.
func People(tx *store.Tx, home device.HomeID) ([]Person, error) {
	return store.List(tx, func(scan scanner) (p Person, err error) {
		var guardians, languages []byte
		if err = scan(&p.ID, &p.Name, &p.Guest, &p.Age, &guardians, &languages, &p.Frozen); err == nil {
			err = errors.Join(json.Unmarshal(guardians, &p.Guardians), json.Unmarshal(languages, &p.Languages))
		}
		return
	}, `SELECT id, name, guest, age, guardians, languages, frozen FROM person WHERE home = ? ORDER BY id`, home)
}

// Rooms lists the rooms of a home by number.
func Rooms(tx *store.Tx, home device.HomeID) ([]Room, error) {
	return store.List(tx, func(scan scanner) (r Room, err error) { err = scan(&r.ID, &r.Name); return },
		`SELECT id, name FROM room WHERE home = ? ORDER BY id`, home)
}

const deviceColumns = `SELECT id, home, class, name, room, owner, controller, until, model, can FROM device `

func scanDevice(scan scanner) (d device.Device, err error) {
	var model, can string
	if err = scan(&d.ID, &d.Home, &d.Class, &d.Name, &d.Room, &d.Owner, &d.Controller, &d.Until, &model, &can); err != nil {
		return d, err
	}
	if err = json.Unmarshal([]byte(model), &d.Model); err != nil {
		return d, fmt.Errorf("model of device %s: %w", d.ID, err)
	}
	if err = json.Unmarshal([]byte(can), &d.Can); err != nil {
		return d, fmt.Errorf("capabilities of device %s: %w", d.ID, err)
	}
	return d, nil
}

// Device finds a device that has not been removed.
func Device(tx *store.Tx, id device.ID) (device.Device, error) {
	d, err := scanDevice(tx.QueryRow(deviceColumns+`WHERE id = ? AND removed = 0`, id).Scan)
	if err != nil {
		if err = unknown(err); err == ErrUnknown {
			return device.Device{}, &UnknownError{What: "device", Name: string(id)}
		}
		return device.Device{}, fmt.Errorf("device %s: %w", id, err)
	}
	return d, nil
}

// Devices lists the devices of a home by name.
func Devices(tx *store.Tx, home device.HomeID) ([]device.Device, error) {
	return store.List(tx, scanDevice, deviceColumns+`WHERE home = ? AND removed = 0 ORDER BY name, id`, home)
}

type scanner = func(...any) error

// checkName holds names to what a person can read and a command line can carry.
func checkName(what, name string, most int) error {
	if name == "" || len(name) > most || strings.TrimSpace(name) != name || strings.ContainsFunc(name, func(r rune) bool { return !device.Printable(r) }) {
		return fmt.Errorf("%s name %.40q: %w: use 1 to %d bytes of text without control characters or space at the ends", what, name, ErrInvalid, most)
	}
	return nil
}

// LoadZone finds an IANA time zone. Names that a machine gives a meaning to, or that not every machine has, are
// refused, and so are second ways of writing one: a home's zone must mean the same on every machine.
func LoadZone(name string) (*time.Location, error) {
	folder, _, _ := strings.Cut(name, "/")
	ofMachine := slices.Contains([]string{"Local", "localtime", "posixrules", "Factory", "posix", "right"}, folder)
	if name == "" || len(name) > 64 || ofMachine || path.Clean(name) != name {
		return nil, fmt.Errorf("time zone %.40q: %w: use an IANA name such as Europe/Zurich", name, ErrInvalid)
	}
	if zone, known := zones.Load(name); known {
		return zone.(*time.Location), nil
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("time zone %.40q: %w: use an IANA name such as Europe/Zurich", name, ErrInvalid)
	}
	known, _ := zones.LoadOrStore(name, zone)
	return known.(*time.Location), nil
}

// zones are those that some home has named, by name: each is read once, as there are few and they are big.
var zones sync.Map

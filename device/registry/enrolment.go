package registry

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"porchlight/device"
	"porchlight/device/store"
)

// The facts of letting devices in that leave nothing in the tables: they are for the audit.
const (
	enrolmentOpened   = "enrolment.opened"   // somebody is adding a device
	enrolmentCoded    = "enrolment.coded"    // a one-time code of the home was made
	enrolmentRejected = "enrolment.rejected" // an applicant was not let in
)

// Origin is how a device came to be let in.
type Origin struct {
	Applicant string `json:"applicant"`       // client ID it asked with
	From      string `json:"from,omitempty"`  // address without its port
	Way       int    `json:"way"`             // as on the wire: 1 code, 2 label, 3 one-time code of the home
	Wrong     int    `json:"wrong,omitempty"` // codes that were typed wrongly before
}

// Rejection is why an applicant was not let in.
type Rejection struct {
	Applicant string `json:"applicant"`
	From      string `json:"from,omitempty"`
	Why       string `json:"why"`
}

// Waiting is the device of a home whose credential p waits for its first use; "" if there is none.
func Waiting(tx *store.Tx, home device.HomeID, p Proof) (id device.ID, err error) {
	err = tx.QueryRow(`SELECT c.device FROM credential c JOIN device d ON d.id = c.device WHERE c.hash = ? AND c.kind = ? AND c.state = 'pending' AND c.until > ? AND d.home = ? AND d.removed = 0`,
		p.hash, p.kind, tx.Now, home).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return id, err
}

// Open writes down that somebody in a home is adding a device.
func Open(tx *store.Tx, home device.HomeID) error {
	return add(tx, home, enrolmentOpened, struct{}{})
}

// Coded writes down that a one-time code was made for a home.
func Coded(tx *store.Tx, home device.HomeID) error {
	return add(tx, home, enrolmentCoded, struct{}{})
}

// Reject writes down that an applicant was not let in.
func Reject(tx *store.Tx, home device.HomeID, r Rejection) error {
	return add(tx, home, enrolmentRejected, r)
}

// applyEnrolment projects nothing; mine is false for the facts of others.
func applyEnrolment(_ *store.Apply, e store.Event) (mine bool, err error) {
	switch e.Kind {
	case enrolmentOpened, enrolmentCoded, enrolmentRejected:
		return true, nil
	}
	return false, nil
}

// AddGuest adds the person whose a guest's device is: nobody has chosen anything for them. They
// leave with their last device.
func AddGuest(tx *store.Tx, home device.HomeID, name string) (device.PersonID, error) {
	name, err := numbered(cutTo("Guest "+name, 64), func() ([]string, error) {
		people, err := People(tx, home)
		names := make([]string, len(people))
		for i, p := range people {
			names[i] = p.Name
		}
		return names, err
	})
	if err != nil {
		return 0, err
	}
	p, err := AddPerson(tx, home, Person{Name: name, Guest: true})
	return p.ID, err
}

// FreeName is name, or name with a number behind it if a device of the home has that already.
func FreeName(tx *store.Tx, home device.HomeID, name string) (string, error) {
	return numbered(name, func() ([]string, error) {
		devices, err := Devices(tx, home)
		names := make([]string, len(devices))
		for i, d := range devices {
			names[i] = d.Name
		}
		return names, err
	})
}

// numbered numbers name so that it is not among those that are taken.
func numbered(name string, taken func() ([]string, error)) (string, error) {
	all, err := taken()
	if err != nil {
		return "", err
	}
	used := map[string]bool{}
	for _, n := range all {
		used[n] = true
	}
	for i, try := 2, name; ; i++ {
		if !used[try] {
			return try, nil
		}
		name = cutTo(name, 56)
		try = fmt.Sprintf("%s %d", name, i)
	}
}

// cutTo cuts name to at most n bytes, between characters.
func cutTo(name string, n int) string {
	if len(name) <= n {
		return name
	}
	for n > 0 && !utf8.RuneStart(name[n]) {
		n--
	}
	return strings.TrimSpace(name[:n])
}

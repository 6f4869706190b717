package sim

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"porchlight/device"
	"porchlight/device/wire"
)

// Comes says that somebody is before the device whom it knows. who is their name as the gateway has
// told it, with how sure the device is behind an @: "Anna" or "Ben@0.7". The device must be one that
// reports who is there.
func (d *Device) Comes(who string) error {
	return d.present(func(fw *firmware) error {
		name, sure, err := parseSeen(who)
		if err != nil {
			return err
		}
		person, err := fw.person(name)
		if err != nil {
			return err
		}
		return fw.machine.comes(person, sure)
	}, fmt.Sprintf("%s comes", who), device.ReportsWho)
}

// Leaves says that somebody whom the device knows is not before it any more.
func (d *Device) Leaves(who string) error {
	return d.present(func(fw *firmware) error {
		person, err := fw.person(who)
		if err != nil {
			return err
		}
		return fw.machine.leaves(person)
	}, fmt.Sprintf("%s leaves", who), device.ReportsWho)
}

// People says how many people are before the device, known or not.
func (d *Device) People(n int) error {
	return d.present(func(fw *firmware) error { return fw.machine.people(n) }, fmt.Sprintf("people there: %d", n), device.ReportsOccupancy)
}

// present changes who is there, on a device that reports what is needed for it.
func (d *Device) present(change func(*firmware) error, what string, needs uint) error {
	return d.with(func(now time.Time) error {
		err := fmt.Errorf("it has nothing to see that with: give it %s under attention", attentionBits.name(needs))
		if d.cfg.Can.Attention&needs != 0 {
			err = d.fw.change(now, what, func() error { return change(&d.fw) })
		}
		if err != nil {
			return fmt.Errorf("%s before %s: %w", what, d.cfg.Name, err)
		}
		return nil
	})
}

// parseSeen reads "Anna" or "Anna@0.7".
func parseSeen(s string) (name string, sure float64, err error) {
	name, level, said := strings.Cut(s, "@")
	if !said {
		return name, 1, nil
	}
	if sure, err = strconv.ParseFloat(level, 64); err != nil || !(sure >= 0 && sure <= 1) {
		return "", 0, fmt.Errorf("%q is not how sure one can be: use 0 to 1, as in Anna@0.7", level)
	}
	return name, sure, nil
}

// person finds somebody by the name that the gateway has told; 0 for no name.
func (fw *firmware) person(name string) (uint32, error) {
	if name == "" {
		return 0, nil
	}
	var names []string
	for _, p := range fw.book.Twin.Doc.People {
		if p.Name == name {
			return p.Person, nil
		}
		names = append(names, p.Name)
	}
	return 0, fmt.Errorf("the gateway has named no %q: %s", name, oneOf(name, names, "people"))
}

// room finds a room by the name that the gateway has told; 0 for no name.
func (fw *firmware) room(name string) (uint32, error) {
	if name == "" {
		return 0, nil
	}
	var names []string
	for _, r := range fw.book.Twin.Doc.Rooms {
		if r.Name == name {
			return r.Room, nil
		}
		names = append(names, r.Name)
	}
	return 0, fmt.Errorf("the gateway has named no room %q: %s", name, oneOf(name, names, "rooms"))
}

// seen is somebody whom the device knows, and how sure it is, 0 to 1.
type seen struct {
	person uint32
	sure   float64
}

// comes adds somebody who is known, or makes the device as sure of them as sure.
func (m *machine) comes(person uint32, sure float64) error {
	if person == 0 {
		return errors.New("say who")
	}
	now := slices.Clone(m.known)
	i := slices.IndexFunc(now, func(s seen) bool { return s.person == person })
	if i >= 0 {
		now[i].sure = sure
	} else {
		now = append(now, seen{person, sure})
	}
	slices.SortFunc(now, func(a, b seen) int { return cmp.Compare(a.person, b.person) })
	count := len(now)
	if n, ok := m.vals[device.PresenceCount].(float64); ok && i < 0 {
		count = max(int(n)+1, count)
	} else if ok {
		count = max(int(n), count)
	}
	return m.saw(now, count)
}

// leaves takes somebody away who is known.
func (m *machine) leaves(person uint32) error {
	i := slices.IndexFunc(m.known, func(s seen) bool { return s.person == person })
	if i < 0 {
		return errors.New("the device does not see them")
	}
	now := slices.Delete(slices.Clone(m.known), i, i+1)
	return m.saw(now, max(int(m.number(device.PresenceCount))-1, len(now)))
}

// people says how many are there. With 0, nobody is.
func (m *machine) people(n int) error {
	switch {
	case n < 0 || n > maxPeople:
		return fmt.Errorf("%d people: use 0 to %d", n, maxPeople)
	case n == 0:
		m.vals[device.RoomOccupancy] = false
		m.known = nil
		if m.vals[device.PresenceCount] != nil {
			m.vals[device.PresenceCount] = 0.0
		}
		if m.vals[device.PresenceWho] != nil {
			m.vals[device.PresenceWho] = ""
		}
		return nil
	case n < len(m.known):
		return fmt.Errorf("%d of those who are there are known: let them leave first", len(m.known))
	}
	return m.saw(m.known, n)
}

// maxPeople is as many as fit before any screen here.
const maxPeople = 99

// saw sets who is known to be there, and how many are there in all.
func (m *machine) saw(known []seen, count int) error {
	var who []string
	for _, s := range known {
		one := strconv.FormatUint(uint64(s.person), 10)
		if s.sure < 1 {
			one += "@" + strconv.FormatFloat(s.sure, 'f', -1, 64)
		}
		who = append(who, one)
	}
	text := strings.Join(who, " ")
	if len(text) > wire.MaxName {
		return fmt.Errorf("more people than it can tell of: %d bytes, at most %d", len(text), wire.MaxName)
	}
	m.known = known
	if known != nil || m.vals[device.PresenceWho] != nil {
		m.vals[device.PresenceWho] = text
	}
	m.vals[device.PresenceCount] = float64(count)
	m.vals[device.RoomOccupancy] = count > 0
	return nil
}

// unknow lets the device know nobody whom the document does not name.
func (fw *firmware) unknow(now time.Time) {
	m := fw.machine
	left := slices.DeleteFunc(slices.Clone(m.known), func(s seen) bool {
		return !slices.ContainsFunc(fw.book.Twin.Doc.People, func(r wire.Resident) bool { return r.Person == s.person })
	})
	if len(left) < len(m.known) {
		m.saw(left, int(m.number(device.PresenceCount))) // fewer: it cannot fail
		fw.report(now, 1)
	}
}

// forget is for a device that is erased: it knows nobody any more.
func (m *machine) forget() {
	m.known = nil
	delete(m.vals, device.PresenceWho)
}

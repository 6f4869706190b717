package delivery

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/device/twin"
	"porchlight/device/wire"
	"porchlight/policy"
	"porchlight/policy/consent"
)

// sight is which of a home's preferences a device shows, and so may change: on somebody's own device
// the home's and theirs, on a guest's their own alone, on a shared one everybody's.
func (s *screen) sees(owner device.PersonID) bool {
	switch {
	case s.Until != 0:
		return owner == s.Owner
	case s.Owner != device.Household:
		return owner == device.Household || owner == s.Owner
	default:
		return true
	}
}

// choicesOf is what a device is told of brands: what subject has chosen, and then, as far as there is room, what
// they have not been asked or not answered; each in the order of brands and purposes.
func (d *Desk) choicesOf(h *home, subject device.PersonID) []wire.BrandChoice {
	order := func(a, b wire.BrandChoice) int {
		return cmp.Or(cmp.Compare(a.Brand, b.Brand), cmp.Compare(a.Purpose, b.Purpose))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.served == nil {
		d.served = []wire.BrandChoice{}
		for id, b := range d.brands {
			for _, purpose := range b.Purposes {
				if _, err := policy.ParsePurpose(purpose); err == nil {
					d.served = append(d.served, wire.BrandChoice{Brand: id, Name: b.Name, Purpose: purpose, Choice: policy.Silent.String()})
				}
			}
		}
		slices.SortFunc(d.served, order)
	}
	var all []wire.BrandChoice
	for key, stance := range h.view.Consents {
		if b := d.brands[key.Brand]; key.Subject == subject && stance.Choice != policy.Silent && slices.Contains(b.Purposes, key.Purpose.String()) {
			all = append(all, wire.BrandChoice{Brand: key.Brand, Name: b.Name, Purpose: key.Purpose.String(), Choice: stance.Choice.String()})
		}
	}
	slices.SortFunc(all, order)
	chosen := all
	for _, silent := range d.served {
		if len(all) >= maxDocBrands {
			break
		}
		if _, is := slices.BinarySearchFunc(chosen, silent, order); !is {
			all = append(all, silent)
		}
	}
	return all[:min(len(all), maxDocBrands)]
}

// document is what a device is shown of the home's choices and preferences, encoded.
func (d *Desk) document(h *home, s *screen) ([]byte, error) {
	doc := wire.Document{Zone: h.zone, Frozen: h.view.Frozen, Languages: h.view.Languages}
	d.mu.Lock()
	s.session.notices = d.notices
	d.mu.Unlock()
	doc.Brands = d.choicesOf(h, s.Owner)
	for _, q := range h.view.Quiet {
		if s.sees(q.Owner) {
			doc.Quiet = append(doc.Quiet, wire.QuietTime{Days: q.Days, Start: uint16(q.Start), End: uint16(q.End), Zone: q.Zone, Owner: uint32(q.Owner), Dim: q.Dim})
		}
	}
	for _, m := range h.view.Mutes {
		if s.sees(m.Owner) && !m.Implied {
			doc.Mutes = append(doc.Mutes, wire.Mute{Brand: m.Brand, Category: m.Category, Until: uint64(m.Until), Purpose: m.Purpose.String(),
				Class: m.Class, Device: m.Device, Room: uint32(m.Room), Content: uint(m.Content), Owner: uint32(m.Owner)})
		}
	}
	for _, c := range h.view.Caps {
		if s.sees(c.Owner) {
			doc.Caps = append(doc.Caps, wire.Cap{Brand: c.Brand, Each: c.Each, Max: uint16(c.Max), Hours: uint16(c.Hours), Minutes: uint16(c.Minutes),
				Category: c.Category, Purpose: c.Purpose.String(), Class: c.Class, Device: c.Device, Room: uint32(c.Room), Owner: uint32(c.Owner),
				Week: c.Week, Trip: c.Trip, Topics: c.EachCategory})
		}
	}
	for _, m := range h.view.Moments {
		doc.Moments = append(doc.Moments, m.String())
	}
	if p, own := h.view.Person(s.Owner); own {
		doc.Languages = p.Languages
		doc.Frozen = doc.Frozen || p.Frozen
	}
	s.session.learnt, s.session.learntAt = nil, uint64(h.wishes)
	for _, l := range h.learnt {
		if s.sees(l.Person) {
			doc.Learnt = append(doc.Learnt, l.words(h, d))
			s.session.learnt = append(s.session.learnt, l)
		}
	}
	if s.Until == 0 { // a guest's device is told of nobody
		for _, p := range h.people {
			doc.People = append(doc.People, wire.Resident{Person: uint32(p.ID), Name: p.Name})
		}
		for _, r := range h.rooms {
			doc.Rooms = append(doc.Rooms, wire.Place{Room: uint32(r.ID), Name: r.Name})
		}
	}
	// What a person can set must fit; what is only told gives way.
	t := wire.Twin{Version: uint64(h.wishes), Doc: doc}
	for {
		raw, err := wire.Encode(&t)
		if err == nil && len(raw) <= wire.MaxTwin {
			return raw, nil
		}
		switch {
		case len(t.Doc.Brands) > 8:
			t.Doc.Brands = t.Doc.Brands[:len(t.Doc.Brands)-1] // the silent ones are last
		case len(t.Doc.Learnt) > 0:
			t.Doc.Learnt = t.Doc.Learnt[:len(t.Doc.Learnt)-1]
		case len(t.Doc.Rooms) > 0:
			t.Doc.Rooms = t.Doc.Rooms[:len(t.Doc.Rooms)-1]
		case len(t.Doc.People) > 0:
			t.Doc.People = t.Doc.People[:len(t.Doc.People)-1]
		case len(t.Doc.Brands) > 0:
			t.Doc.Brands = t.Doc.Brands[:len(t.Doc.Brands)-1]
		default:
			return raw, err
		}
	}
}

// Propose takes in a change that a person made on a device. It fails with ErrStale if somebody
// else has changed the same since the device read it, and with ErrForbidden if it would permit
// more and the device, or who is told to be in front of it, may not do that; then nothing of it is
// recorded. What only restricts may be said on every device, and what is somebody's own on their own.
func (d *Desk) Propose(dev device.ID, link Link, p wire.Proposal) error {
	return d.on(dev, link, func(d *Desk, h *home, s *screen) error {
		subject := s.Owner
		if subject == device.Household && p.Person != 0 {
			subject = device.PersonID(min(p.Person, 1<<30))
			if _, lives := h.view.Person(subject); !lives {
				return fmt.Errorf("%w: up/twin: person %d does not live here", wire.ErrFrame, p.Person)
			}
		}
		if p.Base > uint64(h.wishes) {
			return fmt.Errorf("%w: up/twin: base is %d, and the newest version is %d", wire.ErrFrame, p.Base, h.wishes)
		}
		if !onlyNo(p) && !s.facts.AllowN(d.mono(), 1) { // a no always finds its way
			return fmt.Errorf("up/twin: %w", ErrOften)
		}
		c, err := h.change(s, p, d.o.Now())
		if err != nil {
			return fmt.Errorf("up/twin: %w", err)
		}
		for i, b := range p.Brands {
			purpose, err := policy.ParsePurpose(b.Purpose)
			if err != nil {
				return fmt.Errorf("%w: up/twin: brands[%d]: %w", wire.ErrFrame, i, err)
			}
			choice, err := policy.ParseChoice(b.Choice)
			if err != nil || choice == policy.Silent {
				return fmt.Errorf("%w: up/twin: brands[%d]: choice %.40q is not given, refused or withdrawn", wire.ErrFrame, i, b.Choice)
			}
			if choice == policy.Given {
				if !h.mayWiden(s, subject, d.o.Now()) {
					return fmt.Errorf("up/twin: brands[%d]: %w", i, ErrForbidden)
				}
				c.yes = append(c.yes, policy.ConsentKey{Subject: subject, Brand: b.Brand, Purpose: purpose})
			}
			c.entries = append(c.entries, consent.Entry{Home: h.id, Subject: subject, Brand: b.Brand, Purpose: purpose, Choice: choice, Device: dev, Method: "settings"})
		}
		// A yes is to what the person saw: to the newest document, and to no later notice.
		now := d.o.Now()
		for _, key := range c.yes {
			if st := h.view.Consents[key]; st.Choice == policy.Given && (st.Until == 0 || now < st.Until) {
				continue // it stands already
			}
			if p.Base != uint64(h.wishes) || d.noticedSince(key.Brand, s.session.notices) {
				err = ErrStale
			}
		}
		if p.Forget != nil && s.session.learntAt != p.Base {
			err = ErrStale // the places are those of another list
		}
		if err == nil {
			err = d.record(h, func(tx *store.Tx) error { return c.record(tx, h.id, int64(p.Base), dev) })
		}
		if errors.Is(err, ErrStale) {
			s.session.twin = -1 // the current document follows the refusal
			d.queue.put(h)
		}
		return err
	})
}

// noticedSince reports whether a brand has issued a notice after that many were issued.
func (d *Desk) noticedSince(b device.BrandID, notices int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.noticed[b] > notices
}

// onlyNo reports whether a proposal says no and nothing else. The same again writes nothing.
func onlyNo(p wire.Proposal) bool {
	for _, b := range p.Brands {
		if b.Choice == policy.Given.String() {
			return false
		}
	}
	p.Brands, p.Seq, p.Base, p.Person = nil, 0, 0, 0
	return reflect.DeepEqual(p, wire.Proposal{})
}

// change is what a proposal would change.
type change struct {
	entries []consent.Entry
	yes     []policy.ConsentKey
	docs    map[string]any // preferences by name
	person  *registry.Person
	was     *registry.Person
}

// change checks the preferences of a proposal and makes the documents of it.
func (h *home) change(s *screen, p wire.Proposal, now device.Instant) (*change, error) {
	c := &change{docs: map[string]any{}}
	free := func(owner device.PersonID) bool { // who sits at s may set this as they like
		return s.sees(owner) && h.mayWiden(s, owner, now) || owner != device.Household && owner == s.Owner
	}
	bad := func(err error) error { return fmt.Errorf("%w: %w", wire.ErrFrame, err) }
	if p.Quiet != nil {
		var to []policy.Quiet
		for _, q := range *p.Quiet {
			to = append(to, policy.Quiet{Days: q.Days, Start: int(q.Start), End: int(q.End), Zone: q.Zone, Owner: person(q.Owner), Dim: q.Dim})
		}
		list, err := replace(s, h.view.Quiet, to, func(q policy.Quiet) device.PersonID { return q.Owner }, free,
			func(was, is policy.Quiet) bool { was.Clock, is.Clock = nil, nil; return was == is })
		if err != nil {
			return nil, fmt.Errorf("quiet: %w", err)
		}
		if err := checkQuiet(list, h.lives); err != nil {
			return nil, bad(err)
		}
		c.docs[twin.Quiet] = list
	}
	if p.Mutes != nil {
		var to []policy.MuteRule
		for i, m := range *p.Mutes {
			purpose, err := parsePurpose(m.Purpose)
			if err != nil {
				return nil, bad(fmt.Errorf("mutes[%d]: %w", i, err))
			}
			to = append(to, policy.MuteRule{Selector: policy.Selector{Brand: m.Brand, Category: m.Category, Purpose: purpose, Class: m.Class, Device: m.Device, Room: device.RoomID(min(m.Room, 1<<30))},
				Until: device.Instant(m.Until), Content: policy.Content(m.Content), Owner: person(m.Owner)})
		}
		list, err := replace(s, h.said(), to, func(m policy.MuteRule) device.PersonID { return m.Owner }, free,
			func(was, is policy.MuteRule) bool {
				longer := is.Until == 0 || was.Until != 0 && is.Until >= was.Until
				was.Until, is.Until = 0, 0
				return longer && was == is
			})
		if err != nil {
			return nil, fmt.Errorf("mutes: %w", err)
		}
		if err := checkMutes(list, h.lives); err != nil {
			return nil, bad(err)
		}
		c.docs[twin.Mutes] = list
	}
	if p.Caps != nil {
		var to []policy.Cap
		for i, w := range *p.Caps {
			purpose, err := parsePurpose(w.Purpose)
			if err != nil {
				return nil, bad(fmt.Errorf("caps[%d]: %w", i, err))
			}
			to = append(to, policy.Cap{Selector: policy.Selector{Brand: w.Brand, Category: w.Category, Purpose: purpose, Class: w.Class, Device: w.Device, Room: device.RoomID(min(w.Room, 1<<30))},
				Each: w.Each, EachCategory: w.Topics, Max: int(w.Max), Hours: int(w.Hours), Minutes: int(w.Minutes), Week: w.Week, Trip: w.Trip, Owner: person(w.Owner)})
		}
		list, err := replace(s, h.view.Caps, to, func(w policy.Cap) device.PersonID { return w.Owner }, free,
			func(was, is policy.Cap) bool {
				fewer := is.Max <= was.Max
				was.Max, is.Max = 0, 0
				return fewer && was == is
			})
		if err != nil {
			return nil, fmt.Errorf("caps: %w", err)
		}
		if err := checkCaps(list, h.lives); err != nil {
			return nil, bad(err)
		}
		c.docs[twin.Caps] = list
	}
	if p.Moments != nil {
		to := []policy.Moment{}
		for i, name := range *p.Moments {
			m, err := policy.ParseMoment(name)
			if err != nil {
				return nil, bad(fmt.Errorf("moments[%d]: %w", i, err))
			}
			if !slices.Contains(to, m) {
				to = append(to, m)
			}
		}
		for _, m := range h.view.Moments {
			if !slices.Contains(to, m) && !free(device.Household) {
				return nil, fmt.Errorf("moments: %w", ErrForbidden)
			}
		}
		c.docs[twin.Moments] = to
	}
	if who, own := h.person(s.Owner); own && (p.Languages != nil || p.Frozen != nil) {
		is := who
		if p.Languages != nil {
			is.Languages = *p.Languages
		}
		if p.Frozen != nil {
			is.Frozen = *p.Frozen
		}
		c.was, c.person = &who, &is
	} else {
		if p.Languages != nil {
			if !free(device.Household) {
				return nil, fmt.Errorf("languages: %w", ErrForbidden)
			}
			if err := checkLanguages(*p.Languages); err != nil {
				return nil, bad(err)
			}
			c.docs[twin.Languages] = *p.Languages
		}
		if p.Frozen != nil {
			if !*p.Frozen && !free(device.Household) {
				return nil, fmt.Errorf("frozen: %w", ErrForbidden)
			}
			c.docs[twin.Frozen] = *p.Frozen
		}
	}
	if p.Forget != nil {
		forgotten := maps.Clone(h.forgotten)
		if forgotten == nil {
			forgotten = forgetting{}
		}
		for _, place := range *p.Forget {
			if place >= uint(len(s.session.learnt)) {
				return nil, bad(fmt.Errorf("forget: nothing was learnt at place %d", place))
			}
			l := s.session.learnt[place]
			if !free(l.Person) {
				return nil, fmt.Errorf("forget: %w", ErrForbidden)
			}
			forgotten[l.key()] = -1 // set to the transaction's time when it is recorded
		}
		c.docs[twin.Forgotten] = forgotten
	}
	return c, nil
}

// replace makes the new list of what s sees, with what it does not see left as it is. Where the
// one at s may not set everything, each rule of before must still be there, as strict or stricter.
func replace[T any](s *screen, before, to []T, owner func(T) device.PersonID, free func(device.PersonID) bool, keeps func(was, is T) bool) ([]T, error) {
	list := []T{}
	for _, was := range before {
		switch {
		case !s.sees(owner(was)):
			list = append(list, was)
		case !free(owner(was)) && !slices.ContainsFunc(to, func(is T) bool { return keeps(was, is) }):
			return nil, ErrForbidden
		}
	}
	for _, is := range to {
		if !s.sees(owner(is)) {
			return nil, ErrForbidden
		}
		list = append(list, is)
	}
	if s.Until != 0 && len(to) > guestRules {
		return nil, fmt.Errorf("%w: a guest has at most %d", wire.ErrFrame, guestRules)
	}
	return list, nil
}

// guestRules is how many entries of a list can be a guest's, so that there is room for those who live
// there.
const guestRules = 2

// record writes a change down, unless somebody has set one of the same since base: ErrStale.
func (c *change) record(tx *store.Tx, home device.HomeID, base int64, dev device.ID) error {
	if err := unchanged(tx, home, base, c); err != nil {
		return err
	}
	for _, e := range c.entries {
		if _, err := consent.Record(tx, e); errors.Is(err, consent.ErrNotTheirs) {
			return fmt.Errorf("%w: %w", ErrForbidden, err)
		} else if err != nil {
			return err
		}
	}
	for _, name := range twin.Names {
		body, ok := c.docs[name]
		if !ok {
			continue
		}
		if forgotten, ok := body.(forgetting); ok {
			for key, at := range forgotten {
				if at < 0 {
					forgotten[key] = tx.Now
				}
			}
		}
		if err := setPreference(tx, home, name, body, dev); err != nil {
			return err
		}
	}
	if c.person != nil {
		return registry.ChangePerson(tx, home, *c.person)
	}
	return nil
}

// unchanged fails with ErrStale if one of the things to be set was set after base.
func unchanged(tx *store.Tx, home device.HomeID, base int64, c *change) error {
	now, err := consent.List(tx, home)
	if err != nil {
		return err
	}
	for _, e := range c.entries {
		for _, was := range now {
			if was.Key() == e.Key() && was.Pos > base && was.Choice != e.Choice {
				return ErrStale
			}
		}
	}
	prefs, err := twin.Preferences(tx, home)
	if err != nil {
		return err
	}
	for name := range c.docs {
		if prefs[name].Pos > base {
			return ErrStale
		}
	}
	if c.person == nil {
		return nil
	}
	people, err := registry.People(tx, home)
	for _, p := range people {
		if p.ID == c.was.ID && (p.Frozen != c.was.Frozen || !slices.Equal(p.Languages, c.was.Languages)) {
			return ErrStale
		}
	}
	return err
}

func person(n uint32) device.PersonID { return device.PersonID(min(n, 1<<30)) }

// parsePurpose reads a purpose's name; none is NoPurpose.
func parsePurpose(s string) (policy.Purpose, error) {
	if s == "" {
		return policy.NoPurpose, nil
	}
	return policy.ParsePurpose(s)
}

func checkLanguages(all []string) error {
	if len(all) > 8 {
		return fmt.Errorf("languages: %w: %d are more than 8", registry.ErrInvalid, len(all))
	}
	for _, l := range all {
		if !device.IsLanguage(l) {
			return fmt.Errorf("languages: %w: %.40q is no BCP 47 tag such as de or pt-BR", registry.ErrInvalid, l)
		}
	}
	return nil
}

// setFewer adds the cap of the wish Reduced, or takes it away for Increased. Caps only add up, so it
// never loosens another. If it no longer fits it is not added: what stands is stricter than
// nothing, and a wish is not an error of the device.
func setFewer(tx *store.Tx, h *home, on device.ID, brand device.BrandID, fewer bool) error {
	one := policy.Cap{Selector: policy.Selector{Brand: brand}, Max: 1, Hours: 168}
	caps := slices.DeleteFunc(slices.Clone(h.view.Caps), func(c policy.Cap) bool { return c == one })
	if fewer {
		caps = append(caps, one)
	}
	if len(caps) > maxCaps {
		return nil
	}
	return setPreference(tx, h.id, twin.Caps, caps, on)
}

func setPreference(tx *store.Tx, home device.HomeID, name string, body any, on device.ID) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	_, err = twin.Set(tx, home, name, raw, on)
	return err
}

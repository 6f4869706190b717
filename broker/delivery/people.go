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
	"porchlight/policy"
	"porchlight/policy/consent"
)

// PersonChange is what is to be different about somebody. What is nil stays as it is.
type PersonChange struct {
	Name      *string     `json:"name,omitempty"`
	Age       *device.Age `json:"age,omitempty"`
	Guardians []string    `json:"guardians,omitzero"` // names of adults of the home; a list of none: nobody
	Languages []string    `json:"languages,omitzero"` // BCP 47, the preferred first; a list of none: not said
	Frozen    *bool       `json:"frozen,omitempty"`
}

// ChangePerson changes what is known of somebody. Whoever grows up, or is found not to be an adult,
// has said nothing any more: a yes was their own, or a guardian's for them, and is the other's
// now. It fails with registry.ErrUnknown, ErrTaken, ErrInvalid, or ErrInUse for a guardian who
// is to be no adult.
func (d *Desk) ChangePerson(ctx context.Context, homeName, name string, c PersonChange) (p registry.Person, err error) {
	err = d.named(ctx, homeName, func(h *home, tx *store.Tx) error {
		n, err := readNames(tx, h.id)
		if err != nil {
			return err
		}
		if p, err = personByName(tx, h.id, name); err != nil {
			return err
		}
		was := p
		p.Guardians, p.Languages = slices.Clone(p.Guardians), slices.Clone(p.Languages)
		if c.Name != nil {
			p.Name = *c.Name
		}
		if c.Age != nil {
			if p.Age = *c.Age; p.Age == device.Adult {
				p.Guardians = nil
			}
		}
		if c.Guardians != nil {
			p.Guardians = nil
			for _, name := range c.Guardians {
				g, err := personByName(tx, h.id, name)
				if err != nil {
					return fmt.Errorf("guardian of %.40q: %w", p.Name, err)
				}
				p.Guardians = append(p.Guardians, g.ID)
			}
		}
		if c.Languages != nil {
			p.Languages = c.Languages
		}
		if c.Frozen != nil {
			p.Frozen = *c.Frozen
		}
		for _, other := range n.people {
			if p.Age != device.Adult && slices.Contains(other.Guardians, p.ID) {
				return fmt.Errorf("person %.40q: %w as the guardian of %.40q: give them another first", p.Name, registry.ErrInUse, other.Name)
			}
		}
		if samePerson(was, p) {
			return nil
		}
		if err := registry.ChangePerson(tx, h.id, p); err != nil {
			return err
		}
		if young(was) == young(p) {
			return nil
		}
		entries, err := consent.List(tx, h.id)
		for _, e := range entries {
			if err == nil && e.Subject == p.ID && e.Choice == policy.Given {
				err = consent.Invalidate(tx, h.id, e.Key(), "age")
			}
		}
		return err
	})
	return p, err
}

// young reports whether a guardian chooses for p: they are a child, or perhaps one.
func young(p registry.Person) bool { return p.Age == device.Child || p.Age == device.AgeUnknown }

func samePerson(a, b registry.Person) bool {
	return a.Name == b.Name && a.Age == b.Age && a.Frozen == b.Frozen && a.Guest == b.Guest &&
		slices.Equal(a.Guardians, b.Guardians) && slices.Equal(a.Languages, b.Languages)
}

// SetFrozen says that nothing is to be shown, asked or learnt, or that it is again: of the person
// with that name, or, where it is "", of the whole home.
func (d *Desk) SetFrozen(ctx context.Context, homeName, person string, frozen bool) error {
	if person != "" {
		_, err := d.ChangePerson(ctx, homeName, person, PersonChange{Frozen: &frozen})
		return err
	}
	return d.SetPreferences(ctx, homeName, Preferences{Frozen: &frozen})
}

// SetMoments replaces the moments in which a home is not to be disturbed.
func (d *Desk) SetMoments(ctx context.Context, homeName string, moments []policy.Moment) error {
	return d.SetPreferences(ctx, homeName, Preferences{Moments: append([]policy.Moment{}, moments...)})
}

// SetLanguages replaces the languages that a home reads, BCP 47, the preferred first. None: as
// each device prefers.
func (d *Desk) SetLanguages(ctx context.Context, homeName string, languages []string) error {
	return d.SetPreferences(ctx, homeName, Preferences{Languages: append([]string{}, languages...)})
}

// DeviceChange is what is to be different about a device. What is nil stays as it is.
type DeviceChange struct {
	Name       *string `json:"name,omitempty"`
	Room       *string `json:"room,omitempty"`     // by name; "": none
	NewRoom    bool    `json:"new_room,omitempty"` // the room is made if it is not there, also in a home that has others
	Owner      *string `json:"owner,omitempty"`    // a person's name; "": everybody's
	Controller *bool   `json:"controller,omitempty"`
}

// ChangeDevice changes a device's name, place or part. Whose choices count on it follows its owner
// at once, and what is on its screen is judged anew. It fails with registry.ErrUnknown, ErrTaken or
// ErrInvalid, or with an Invalid about room.
func (d *Desk) ChangeDevice(ctx context.Context, id device.ID, c DeviceChange) (dev device.Device, err error) {
	if dev, err = d.device(ctx, id); err != nil {
		return dev, err
	}
	err = d.in(dev.Home, func(h *home) error {
		owner := false
		err := d.record(h, func(tx *store.Tx) error {
			was, err := registry.Device(tx, id)
			if err != nil {
				return err
			}
			dev = was
			if c.Name != nil {
				dev.Name = *c.Name
			}
			if c.Controller != nil {
				dev.Controller = *c.Controller
			}
			if c.Room != nil {
				if dev.Room = 0; *c.Room != "" {
					if dev.Room, err = roomOf(tx, h.id, *c.Room, c.NewRoom); err != nil {
						return err
					}
				}
			}
			if c.Owner != nil {
				if dev.Owner = device.Household; *c.Owner != "" {
					p, err := personByName(tx, h.id, *c.Owner)
					if err != nil {
						return fmt.Errorf("owner of device %s: %w", id, err)
					}
					dev.Owner = p.ID
				}
			}
			if owner = dev.Owner != was.Owner; owner && was.Until != 0 {
				return fmt.Errorf("device %s: %w: it is a guest's, and leaves with them", id, registry.ErrInvalid)
			}
			if dev.Name == was.Name && dev.Room == was.Room && !owner && dev.Controller == was.Controller {
				return nil
			}
			return registry.ChangeDevice(tx, dev)
		})
		if s := h.screens[id]; err == nil && owner && s != nil && s.session != nil {
			s.session.twin = -1 // its document lists other choices now
			d.queue.put(h)
		}
		return err
	})
	return dev, err
}

// Preferences are what a home wants, as people read and write it: people, rooms and devices go by
// their names. What is nil stays as it is when they are set.
type Preferences struct {
	Frozen    *bool               `json:"frozen,omitempty"`
	Asking    *bool               `json:"asking,omitempty"`   // it asks by itself, on a screen, when a message waits for nothing but a yes
	Languages []string            `json:"languages,omitzero"` // BCP 47, the preferred first; none: as each device prefers
	Moments   []policy.Moment     `json:"moments,omitzero"`
	Quiet     []NamedQuiet        `json:"quiet,omitzero"`
	Dim       []NamedQuiet        `json:"dim,omitzero"`      // when nothing is held back, and screens are dark
	Caps      []NamedCap          `json:"caps,omitzero"`     // a list of none: no cap at all
	Spacing   *int                `json:"spacing,omitempty"` // minutes between any two messages, a short form of one more cap; 0: none; never told
	Mutes     []NamedMute         `json:"mutes,omitzero"`
	Channels  []NamedChannel      `json:"channels,omitzero"` // where messages are liked best
	People    []PersonPreferences `json:"people,omitzero"`   // those who are not listed stay as they are
}

// PersonPreferences are what one person wants beside what is theirs among the home's.
type PersonPreferences struct {
	Name      string   `json:"name"`
	Languages []string `json:"languages,omitzero"`
	Frozen    *bool    `json:"frozen,omitempty"`
}

// NamedChannel is a policy.Channel by names.
type NamedChannel struct {
	Classes []device.Class `json:"classes"` // the most liked first; what is not named is liked least
	Owner   string         `json:"owner,omitempty"`
}

// NamedSelector is a policy.Selector by names.
type NamedSelector struct {
	Brand    device.BrandID `json:"brand,omitempty"`
	Purpose  policy.Purpose `json:"purpose,omitempty"`
	Category string         `json:"category,omitempty"`
	Class    device.Class   `json:"class,omitempty"`
	Device   string         `json:"device,omitempty"` // its name; its ID is taken too
	Room     string         `json:"room,omitempty"`
}

// NamedQuiet is a policy.Quiet by names.
type NamedQuiet struct {
	From  string   `json:"from"`           // HH:MM
	To    string   `json:"to"`             // HH:MM; the same as From: the whole day
	Days  []string `json:"days,omitempty"` // sun ... sat; none: every day
	Zone  string   `json:"zone,omitempty"` // IANA; "": the home's
	Owner string   `json:"owner,omitempty"`
}

// NamedCap is a policy.Cap by names.
type NamedCap struct {
	Max           int    `json:"max"`
	Per           string `json:"per"` // day, week (from Monday on), trip (of a car), or a rolling window: 1h to 168h, 1m to 1440m
	Each          bool   `json:"each,omitempty"`
	EachCategory  bool   `json:"each_category,omitempty"`
	NamedSelector `yaml:",inline"`
	Owner         string `json:"owner,omitempty"`
}

// NamedMute is a policy.MuteRule by names.
type NamedMute struct {
	NamedSelector `yaml:",inline"`
	Content       []string `json:"content,omitempty"` // words, picture, sound; none: the message as a whole
	Until         string   `json:"until,omitempty"`   // see ParseUntil; "": until it is lifted
	Owner         string   `json:"owner,omitempty"`
}

// Preferences tells what a home wants: what stands, as it would have to be written to set it.
// What belongs to somebody or something that is gone is left out, and so is a mute that is over.
func (d *Desk) Preferences(ctx context.Context, homeName string) (p Preferences, err error) {
	err = d.db.View(ctx, func(tx *store.Tx) error {
		h, err := registry.HomeByName(tx, homeName)
		if err != nil {
			return err
		}
		n, err := readNames(tx, h.ID)
		if err != nil {
			return err
		}
		w, err := readWants(tx, h.ID)
		if err != nil {
			return err
		}
		p = n.spell(w, d.o.Now())
		return nil
	})
	return p, err
}

// wants are the preferences of a home as its tables have them.
type wants struct {
	frozen    bool
	asking    bool
	languages []string
	moments   []policy.Moment
	quiet     []policy.Quiet
	caps      []policy.Cap
	mutes     []policy.MuteRule
	channels  []policy.Channel
}

func readWants(tx *store.Tx, home device.HomeID) (w wants, err error) {
	prefs, err := twin.Preferences(tx, home)
	if err != nil {
		return w, err
	}
	for name, into := range map[string]any{twin.Frozen: &w.frozen, twin.Asking: &w.asking, twin.Languages: &w.languages, twin.Moments: &w.moments, twin.Quiet: &w.quiet, twin.Caps: &w.caps, twin.Mutes: &w.mutes, twin.Channels: &w.channels} {
		if p, ok := prefs[name]; ok {
			if err := json.Unmarshal(p.Body, into); err != nil {
				return w, fmt.Errorf("preference %s: %w", name, err)
			}
		}
	}
	if _, set := prefs[twin.Caps]; !set {
		w.caps = DefaultCaps()
	}
	if _, set := prefs[twin.Moments]; !set {
		w.moments = DefaultMoments()
	}
	return w, nil
}

// SetPreferences replaces what is not nil in p, all of it or nothing; a snooze stands beside other mutes, until another of
// the same owner replaces it. What is stricter reaches what
// is on the screens: when it returns, nothing that it forbids is released any more. The error is
// an Invalid, which names each part as people write it, as in mutes[0].room, or
// registry.ErrUnknown if there is no such home.
func (d *Desk) SetPreferences(ctx context.Context, homeName string, p Preferences) error {
	return d.named(ctx, homeName, func(h *home, tx *store.Tx) error {
		n, err := readNames(tx, h.id)
		if err != nil {
			return err
		}
		var bad Invalid
		set := map[string]any{}
		if p.Frozen != nil {
			set[twin.Frozen] = *p.Frozen
		}
		if p.Asking != nil {
			w, err := readWants(tx, h.id)
			if err != nil {
				return err
			}
			if h.asks.read = false; *p.Asking != w.asking { // the tables say, whether or not this succeeds
				set[twin.Asking] = *p.Asking
			}
		}
		if p.Languages != nil {
			bad = append(bad, checkTags("languages", p.Languages)...)
			set[twin.Languages] = p.Languages
		}
		if p.Moments != nil {
			for i, m := range p.Moments {
				if m == policy.NoMoment || slices.Contains(p.Moments[:i], m) {
					bad.add(fmt.Sprintf("moments[%d]", i), "unknown", "use each of film, call, sleep at most once", "is %q", m)
				}
			}
			set[twin.Moments] = p.Moments
		}
		if p.Quiet != nil || p.Dim != nil {
			w, err := readWants(tx, h.id)
			if err != nil {
				return err
			}
			var quiet []policy.Quiet
			for _, of := range []struct {
				key  string
				list []NamedQuiet
				dim  bool
			}{{"quiet", p.Quiet, false}, {"dim", p.Dim, true}} {
				for i, q := range of.list {
					rule, faults := n.quiet(q)
					rule.Dim = of.dim
					quiet, bad = append(quiet, rule), append(bad, faults.in(fmt.Sprintf("%s[%d]", of.key, i))...)
				}
				for _, q := range w.quiet {
					if of.list == nil && q.Dim == of.dim {
						quiet = append(quiet, q) // stays as it is
					}
				}
			}
			bad = append(bad, most("quiet", len(quiet), maxQuiet)...)
			set[twin.Quiet] = append([]policy.Quiet{}, quiet...)
		}
		if p.Caps != nil || p.Spacing != nil {
			caps := make([]policy.Cap, len(p.Caps))
			for i, c := range p.Caps {
				rule, faults := n.cap(c)
				caps[i], bad = rule, append(bad, faults.in(fmt.Sprintf("caps[%d]", i))...)
			}
			if p.Caps == nil {
				w, err := readWants(tx, h.id)
				if err != nil {
					return err
				}
				caps = slices.DeleteFunc(w.caps, isSpacing)
			}
			if p.Spacing != nil && *p.Spacing != 0 {
				apart := policy.Cap{Max: 1, Minutes: *p.Spacing}
				caps, bad = append(caps, apart), append(bad, checkCap(apart).in("spacing")...)
			}
			bad = append(bad, most("caps", len(caps), maxCaps)...)
			set[twin.Caps] = caps
		}
		if p.Mutes != nil {
			mutes := make([]policy.MuteRule, len(p.Mutes))
			for i, m := range p.Mutes {
				rule, faults := n.mute(m, tx.Now, h.view.Zone)
				mutes[i], bad = rule, append(bad, faults.in(fmt.Sprintf("mutes[%d]", i))...)
			}
			w, err := readWants(tx, h.id)
			if err != nil {
				return err
			}
			for _, m := range w.mutes {
				if isSnooze(m) && !over(m, tx.Now) && !slices.ContainsFunc(mutes, func(o policy.MuteRule) bool { return isSnooze(o) && o.Owner == m.Owner }) {
					mutes = append(mutes, m)
				}
			}
			bad = append(bad, most("mutes", len(mutes), maxMutes)...)
			set[twin.Mutes] = mutes
		}
		if p.Channels != nil {
			channels := make([]policy.Channel, len(p.Channels))
			for i, c := range p.Channels {
				rule, faults := n.channel(c)
				channels[i], bad = rule, append(bad, faults.in(fmt.Sprintf("channels[%d]", i))...)
				if slices.ContainsFunc(channels[:i], func(o policy.Channel) bool { return o.Owner == rule.Owner }) {
					bad.add(fmt.Sprintf("channels[%d].owner", i), "unique", "name each once, and the home at most once", "is %.40q again", c.Owner)
				}
			}
			bad = append(bad, most("channels", len(channels), maxChannels)...)
			set[twin.Channels] = channels
		}
		var people []registry.Person
		for i, pp := range p.People {
			at := fmt.Sprintf("people[%d]", i)
			k := slices.IndexFunc(n.people, func(p registry.Person) bool { return p.Name == pp.Name })
			if k < 0 {
				_, faults := n.person(pp.Name)
				bad = append(bad, faults.in(at+".name")...)
				continue
			}
			who := n.people[k]
			if pp.Languages != nil {
				bad = append(bad, checkTags(at+".languages", pp.Languages)...)
				who.Languages = pp.Languages
			}
			if pp.Frozen != nil {
				who.Frozen = *pp.Frozen
			}
			if !samePerson(who, n.people[k]) {
				people = append(people, who)
			}
		}
		if len(bad) > 0 {
			return bad
		}
		for _, name := range []string{twin.Frozen, twin.Asking, twin.Languages, twin.Moments, twin.Quiet, twin.Caps, twin.Mutes, twin.Channels} {
			if body, ok := set[name]; ok {
				if err := setPreference(tx, h.id, name, body, ""); err != nil {
					return err
				}
			}
		}
		for _, who := range people {
			if err := registry.ChangePerson(tx, h.id, who); err != nil {
				return err
			}
		}
		return nil
	})
}

// isSpacing reports whether c keeps any two messages apart.
func isSpacing(c policy.Cap) bool {
	return c == policy.Cap{Max: 1, Minutes: c.Minutes} && c.Minutes > 0
}

// Snooze silences a home, or, where person is not "", whatever is shown where that person is or may
// be, until a time as ParseUntil reads it; "" ends it. A snooze before it is replaced. It returns
// when it ends.
func (d *Desk) Snooze(ctx context.Context, homeName, person, until string) (end device.Instant, err error) {
	err = d.named(ctx, homeName, func(h *home, tx *store.Tx) error {
		n, err := readNames(tx, h.id)
		if err != nil {
			return err
		}
		rule, bad := n.mute(NamedMute{Until: until, Owner: person}, tx.Now, h.view.Zone)
		if len(bad) > 0 {
			return bad
		}
		w, err := readWants(tx, h.id)
		if err != nil {
			return err
		}
		mutes := slices.DeleteFunc(append([]policy.MuteRule{}, w.mutes...), func(m policy.MuteRule) bool {
			return over(m, tx.Now) || isSnooze(m) && m.Owner == rule.Owner
		})
		if until != "" {
			mutes = append(mutes, rule)
		}
		if bad := most("mutes", len(mutes), maxMutes); len(bad) > 0 {
			return bad
		}
		end = rule.Until
		return setPreference(tx, h.id, twin.Mutes, mutes, "")
	})
	return end, err
}

// isSnooze reports whether a mute is a snooze: of everything, and it ends by itself.
func isSnooze(m policy.MuteRule) bool {
	return m == policy.MuteRule{Owner: m.Owner, Until: m.Until} && m.Until != 0
}

// over reports whether a mute has ended.
func over(m policy.MuteRule, now device.Instant) bool { return m.Until != 0 && m.Until <= now }

// ParseUntil reads when something ends: RFC 3339, as 2026-12-24T18:00:00Z; a date, whose midnight it
// is in zone; a length of time from now, as 90m, 2h or 7d; or tomorrow, which is the next day at 8 in
// the morning in zone.
func ParseUntil(text string, now device.Instant, zone *time.Location) (device.Instant, error) {
	at, ok := device.Instant(0), false
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		at, ok = device.At(t), true
	} else if days, err := strconv.ParseUint(strings.TrimSuffix(text, "d"), 10, 16); err == nil && strings.HasSuffix(text, "d") {
		at, ok = now.Add(time.Duration(days)*24*time.Hour), true
	} else if length, err := time.ParseDuration(text); err == nil {
		at, ok = now.Add(length), true
	} else if day, err := time.Parse(time.DateOnly, text); text == "tomorrow" || err == nil {
		if zone == nil {
			return 0, fmt.Errorf("is %q, and the home's time zone is not known", text)
		}
		hour := 0
		if err != nil {
			y, m, d := now.Time().In(zone).Date()
			day, hour = time.Date(y, m, d+1, 0, 0, 0, 0, time.UTC), 8
		}
		at, ok = device.At(policy.Date(day.Year(), day.Month(), day.Day(), hour, 0, zone)), true
	}
	switch {
	case !ok:
		return 0, fmt.Errorf("is %.40q", text)
	case at <= now:
		return 0, fmt.Errorf("is %.40q, which has passed", text)
	}
	return at, nil
}

// Until is ParseUntil, from now on in the time zone of a home. The error is an Invalid about until, or wraps
// registry.ErrUnknown.
func (d *Desk) Until(ctx context.Context, homeName, text string) (at device.Instant, err error) {
	id, err := d.homeID(ctx, homeName)
	if err != nil {
		return 0, err
	}
	err = d.in(id, func(h *home) error {
		if at, err = ParseUntil(text, d.o.Now(), h.view.Zone); err != nil {
			return badUntil(err)
		}
		return nil
	})
	return at, err
}

// Yes is a yes that somebody in a home said, told to the operator.
type Yes struct {
	Person   string         `json:"person,omitempty"` // whose it is; "": the home as a whole
	Guardian string         `json:"guardian,omitempty"`
	Brand    device.BrandID `json:"brand"`
	Purpose  policy.Purpose `json:"purpose"`
	Until    string         `json:"until,omitempty"` // as ParseUntil reads it; "": as long as the brand's notice says
}

// Give takes in a yes. A guardian must be one of the person's. The error is an Invalid about until, or
// wraps registry.ErrUnknown, registry.ErrInvalid or consent.ErrInvalid.
func (d *Desk) Give(ctx context.Context, homeName string, y Yes) error {
	return d.named(ctx, homeName, func(h *home, tx *store.Tx) (err error) {
		e := consent.Entry{Home: h.id, Brand: y.Brand, Purpose: y.Purpose, Choice: policy.Given, Method: "operator"}
		var who registry.Person
		if y.Person != "" {
			if who, err = personByName(tx, h.id, y.Person); err != nil {
				return err
			}
			e.Subject = who.ID
		}
		if y.Guardian != "" {
			g, err := personByName(tx, h.id, y.Guardian)
			if err != nil {
				return err
			}
			if !slices.Contains(who.Guardians, g.ID) {
				return fmt.Errorf("guardian %.40q: %w: person %.40q has no such guardian", y.Guardian, registry.ErrInvalid, y.Person)
			}
			e.By = g.ID
		}
		if len(who.Guardians) > 0 && who.Age != device.Teen && e.By == 0 {
			return fmt.Errorf("person %.40q: %w: a child's yes is a guardian's to give: say who with --guardian", y.Person, registry.ErrInvalid)
		}
		if y.Until != "" {
			if e.Until, err = ParseUntil(y.Until, tx.Now, h.view.Zone); err != nil {
				return badUntil(err)
			}
		}
		_, err = consent.Record(tx, e)
		return err
	})
}

func badUntil(err error) (bad Invalid) {
	bad.add("until", "syntax", "use a time ahead such as 2030-12-24T18:00:00Z, a date, a length of time such as 2h or 7d, or tomorrow", "%v", err)
	return bad
}

// ConsentEvent is one event of the ledger of choices, with names.
type ConsentEvent struct {
	At      device.Instant   `json:"at"`
	State   consent.State    `json:"state"`
	Person  string           `json:"person,omitempty"` // whose; "": the home as a whole
	By      string           `json:"by,omitempty"`     // who said it, where it was a guardian
	Brand   device.BrandID   `json:"brand"`
	Purpose policy.Purpose   `json:"purpose"`
	Device  string           `json:"device,omitempty"` // on which it was said: its name, or its ID once it is gone; "": none of the home's
	Method  string           `json:"method,omitempty"`
	Until   device.Instant   `json:"until,omitempty"`   // of a yes: its end
	Classes []device.Class   `json:"classes,omitempty"` // of a yes: where; none: everywhere
	Notice  consent.Hash     `json:"notice,omitzero"`   // what it was said to
	Served  device.MessageID `json:"served,omitzero"`   // the ask that it is about
	Why     string           `json:"why,omitempty"`
	Pos     int64            `json:"pos"` // in the home's journal
}

// History lists every event of a home's ledger of choices, the oldest first.
func (d *Desk) History(ctx context.Context, homeName string) ([]ConsentEvent, error) {
	return d.consentEvents(ctx, homeName, consent.History)
}

// InForce lists the choices in force in a home as they were made, the oldest first.
func (d *Desk) InForce(ctx context.Context, homeName string) ([]ConsentEvent, error) {
	return d.consentEvents(ctx, homeName, consent.List)
}

func (d *Desk) consentEvents(ctx context.Context, homeName string, list func(*store.Tx, device.HomeID) ([]consent.Entry, error)) (all []ConsentEvent, err error) {
	err = d.db.View(ctx, func(tx *store.Tx) error {
		all = []ConsentEvent{} // a unit may be run twice
		h, err := registry.HomeByName(tx, homeName)
		if err != nil {
			return err
		}
		n, err := readNames(tx, h.ID)
		if err != nil {
			return err
		}
		entries, err := list(tx, h.ID)
		for _, e := range entries {
			c := ConsentEvent{At: e.At, State: e.State, Brand: e.Brand, Purpose: e.Purpose, Device: string(e.Device), Method: e.Method, Until: e.Until,
				Notice: e.Notice, Served: e.Served, Why: e.Why, Pos: e.Pos, Person: n.called(e.Subject), By: n.called(e.By)}
			for _, dev := range n.devices {
				if dev.ID == e.Device {
					c.Device = dev.Name
				}
			}
			if e.Classes != 0 {
				for _, name := range device.ClassNames() {
					if class, err := device.ParseClass(name); err == nil && e.Classes.Has(class) {
						c.Classes = append(c.Classes, class)
					}
				}
			}
			all = append(all, c)
		}
		return err
	})
	return all, err
}

// called is the name of somebody, who may be gone; "" of the home as a whole.
func (n names) called(id device.PersonID) string {
	if name, ok := n.nameOf(id); ok {
		return name
	}
	return fmt.Sprintf("removed (%d)", id)
}

// IssueNotice takes in what a brand says that it wants, as its newest notice. What it narrows is narrowed at once: when it returns, nothing
// is released any more that a yes to an older one covered and this one does not.
func (d *Desk) IssueNotice(ctx context.Context, n consent.Notice) (is consent.Notice, err error) {
	d.changing.Lock()
	defer d.changing.Unlock()
	if err = d.update(func(tx *store.Tx) (err error) { is, err = consent.Issue(tx, n); return err }); err != nil {
		return is, err
	}
	d.mu.Lock()
	d.notices++
	d.noticed[n.Brand] = d.notices
	d.mu.Unlock()
	return is, d.reread()
}

// NoticeState is a notice and what it is called by.
type NoticeState struct {
	consent.Notice
	Hash     consent.Hash   `json:"hash"`
	Issued   device.Instant `json:"issued,omitempty"` // 0: it is in no book yet
	Newest   bool           `json:"newest"`
	Widened  []string       `json:"widened,omitempty"`  // in which respects it asks for more than the one before
	Narrowed []string       `json:"narrowed,omitempty"` // and in which for less
}

// Notices lists the notices of a brand, the oldest first. The last is what a yes is said to now.
func (d *Desk) Notices(ctx context.Context, brand device.BrandID) (all []NoticeState, err error) {
	err = d.db.View(ctx, func(tx *store.Tx) error {
		newest, err := consent.Newest(tx, brand)
		if err != nil {
			return err
		}
		list, err := consent.Notices(tx, brand)
		if len(list) == 0 || list[len(list)-1].Hash() != newest.Hash() {
			list = append(list, newest)
		}
		for i, n := range list {
			s := NoticeState{Notice: n, Hash: n.Hash(), Issued: n.Issued, Newest: i == len(list)-1}
			if i > 0 {
				s.Widened, s.Narrowed = consent.Compare(list[i-1], n)
			}
			all = append(all, s)
		}
		return err
	})
	return all, err
}

// Forget says that what was learnt about a brand up to now is not to be used any more; brand "" is all
// that was learnt.
func (d *Desk) Forget(ctx context.Context, homeName string, brand device.BrandID) error {
	return d.named(ctx, homeName, func(h *home, tx *store.Tx) error {
		brands := []device.BrandID{brand}
		if brand == "" {
			brands = nil
			all, err := registry.Brands(tx)
			if err != nil {
				return err
			}
			for _, b := range all {
				brands = append(brands, b.ID)
			}
		} else if _, err := registry.BrandByID(tx, brand); err != nil {
			return err
		}
		prefs, err := twin.Preferences(tx, h.id)
		if err != nil {
			return err
		}
		forgotten := map[device.BrandID]device.Instant{}
		if p, ok := prefs[twin.Forgotten]; ok {
			if err := json.Unmarshal(p.Body, &forgotten); err != nil {
				return fmt.Errorf("preference %s: %w", twin.Forgotten, err)
			}
		}
		for _, b := range brands {
			forgotten[b] = tx.Now
		}
		return setPreference(tx, h.id, twin.Forgotten, forgotten, "")
	})
}

// HomeState is a home at a glance.
type HomeState struct {
	registry.Home
	People      []registry.Person `json:"people"`
	Rooms       []string          `json:"rooms"`
	Devices     []DeviceState     `json:"devices"`
	Preferences Preferences       `json:"preferences"`
	Consents    []ConsentEvent    `json:"consents"`
	Acts
}

// Home tells of one home all that an operator may want to see at once.
func (d *Desk) Home(ctx context.Context, homeName string) (st HomeState, err error) {
	err = d.db.View(ctx, func(tx *store.Tx) error {
		if st.Home, err = registry.HomeByName(tx, homeName); err != nil {
			return err
		}
		n, err := readNames(tx, st.ID)
		st.People, st.Rooms = append([]registry.Person{}, n.people...), []string{}
		for _, r := range n.rooms {
			st.Rooms = append(st.Rooms, r.Name)
		}
		return err
	})
	if err == nil {
		st.Devices, err = d.Devices(ctx, homeName)
	}
	if err == nil {
		st.Preferences, err = d.Preferences(ctx, homeName)
	}
	if err == nil {
		st.Consents, err = d.InForce(ctx, homeName)
	}
	if err == nil {
		err = d.db.View(ctx, func(tx *store.Tx) (err error) { st.Acts, err = d.acts(tx, st.ID); return err })
	}
	return st, err
}

// names are who and what a home has, by number and by name.
type names struct {
	people  []registry.Person
	rooms   []registry.Room
	devices []device.Device
}

func readNames(tx *store.Tx, home device.HomeID) (n names, err error) {
	if n.people, err = registry.People(tx, home); err == nil {
		if n.rooms, err = registry.Rooms(tx, home); err == nil {
			n.devices, err = registry.Devices(tx, home)
		}
	}
	return n, err
}

// find looks text up in all by name. What is wrong says which there are.
func find[T, ID any](text, what string, all []T, is func(T) (string, ID)) (id ID, bad Invalid) {
	var names []string
	for _, one := range all {
		name, number := is(one)
		if name == text {
			return number, nil
		}
		names = append(names, name)
	}
	fix := "it has none"
	if near := device.Nearest(text, names); near != "" {
		fix = fmt.Sprintf("did you mean %q?", near)
	} else if len(names) > 0 {
		fix = "use one of " + strings.Join(names[:min(len(names), 20)], ", ")
	}
	bad.add("", "unknown", fix, "is %.40q, and this home has no such %s", text, what)
	return id, bad
}

func (n names) person(name string) (device.PersonID, Invalid) {
	return find(name, "person", n.people, func(p registry.Person) (string, device.PersonID) { return p.Name, p.ID })
}

func (n names) room(name string) (device.RoomID, Invalid) {
	return find(name, "room", n.rooms, func(r registry.Room) (string, device.RoomID) { return r.Name, r.ID })
}

func (n names) device(name string) (device.ID, Invalid) {
	id, bad := find(name, "device", n.devices, func(d device.Device) (string, device.ID) { return d.Name, d.ID })
	if len(bad) > 0 && slices.ContainsFunc(n.devices, func(d device.Device) bool { return string(d.ID) == name }) {
		return device.ID(name), nil
	}
	return id, bad
}

func (n names) selector(s NamedSelector) (r policy.Selector, bad Invalid) {
	r = policy.Selector{Brand: s.Brand, Purpose: s.Purpose, Category: s.Category, Class: s.Class}
	if s.Device != "" {
		id, faults := n.device(s.Device)
		r.Device, bad = id, append(bad, faults.in("device")...)
	}
	if s.Room != "" {
		id, faults := n.room(s.Room)
		r.Room, bad = id, append(bad, faults.in("room")...)
	}
	return r, bad
}

// owner looks up whose word something is.
func (n names) owner(name string) (device.PersonID, Invalid) {
	if name == "" {
		return device.Household, nil
	}
	id, bad := n.person(name)
	return id, bad.in("owner")
}

// weekdays are the days as people write them, by the bit that stands for each.
var weekdays = [...]string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

func (n names) quiet(q NamedQuiet) (r policy.Quiet, bad Invalid) {
	r.Zone = q.Zone
	minutes := func(field, text string) int {
		t, err := time.Parse("15:04", text)
		if err != nil || len(text) != len("15:04") {
			bad.add(field, "syntax", "use HH:MM, 00:00 to 23:59", "is %.40q", text)
		}
		return t.Hour()*60 + t.Minute()
	}
	r.Start, r.End = minutes("from", q.From), minutes("to", q.To)
	for i, day := range q.Days {
		bit := slices.Index(weekdays[:], strings.ToLower(day))
		if bit < 0 {
			bad.add(fmt.Sprintf("days[%d]", i), "unknown", "use "+strings.Join(weekdays[:], ", "), "is %.40q", day)
			continue
		}
		r.Days |= 1 << bit
	}
	var faults Invalid
	r.Owner, faults = n.owner(q.Owner)
	return r, append(append(bad, faults...), checkZone(r)...)
}

func (n names) cap(c NamedCap) (r policy.Cap, bad Invalid) {
	r.Each, r.EachCategory, r.Max = c.Each, c.EachCategory, c.Max
	r.Selector, bad = n.selector(c.NamedSelector)
	var err error
	switch hours, isHours := strings.CutSuffix(c.Per, "h"); {
	case c.Per == "day":
	case c.Per == "week":
		r.Week = true
	case c.Per == "trip":
		r.Trip = true
	case isHours:
		r.Hours, err = strconv.Atoi(hours)
	default:
		minutes, isMinutes := strings.CutSuffix(c.Per, "m")
		if r.Minutes, err = strconv.Atoi(minutes); !isMinutes {
			err = strconv.ErrSyntax
		}
	}
	if err != nil || c.Per != "day" && !r.Week && !r.Trip && r.Hours == 0 && r.Minutes == 0 {
		bad.add("per", "syntax", "use day, week, trip, or a window of 1h to 168h or 1m to 1440m", "is %.40q", c.Per)
	}
	var faults Invalid
	r.Owner, faults = n.owner(c.Owner)
	return r, append(append(bad, faults...), checkCap(r)...)
}

func (n names) channel(c NamedChannel) (r policy.Channel, bad Invalid) {
	r.Owner, bad = n.owner(c.Owner)
	if len(c.Classes) == 0 {
		bad.add("classes", "required", "name those that are liked, the most liked first", "is empty")
	}
	for i, class := range c.Classes {
		if !class.Known() || slices.Contains(c.Classes[:i], class) {
			bad.add(fmt.Sprintf("classes[%d]", i), "unknown", "use each of "+strings.Join(device.ClassNames(), ", ")+" at most once", "is %s", class)
		}
	}
	r.Classes = c.Classes
	return r, bad
}

// contents are what a mute can take away, as people write it.
var contents = []struct {
	name string
	bit  policy.Content
}{{"words", policy.Words}, {"picture", policy.Picture}, {"sound", policy.Sound}}

func (n names) mute(m NamedMute, now device.Instant, zone *time.Location) (r policy.MuteRule, bad Invalid) {
	r.Selector, bad = n.selector(m.NamedSelector)
next:
	for i, text := range m.Content {
		for _, c := range contents {
			if c.name == text {
				r.Content |= c.bit
				continue next
			}
		}
		bad.add(fmt.Sprintf("content[%d]", i), "unknown", "use words, picture, sound", "is %.40q", text)
	}
	if m.Until != "" {
		var err error
		if r.Until, err = ParseUntil(m.Until, now, zone); err != nil {
			bad = append(bad, badUntil(err)...)
		}
	}
	var faults Invalid
	r.Owner, faults = n.owner(m.Owner)
	return r, append(append(bad, faults...), checkMute(r)...)
}

// spell is w by names.
func (n names) spell(w wants, now device.Instant) Preferences {
	p := Preferences{Frozen: &w.frozen, Asking: &w.asking, Languages: append([]string{}, w.languages...), Moments: append([]policy.Moment{}, w.moments...),
		Quiet: []NamedQuiet{}, Caps: []NamedCap{}, Mutes: []NamedMute{}, Channels: []NamedChannel{}, People: []PersonPreferences{}}
	for _, c := range w.channels {
		if owner, ok := n.nameOf(c.Owner); ok {
			p.Channels = append(p.Channels, NamedChannel{Classes: c.Classes, Owner: owner})
		}
	}
	for _, q := range w.quiet {
		s := NamedQuiet{From: clock(q.Start), To: clock(q.End), Zone: q.Zone}
		for bit, day := range weekdays {
			if q.Days&(1<<bit) != 0 {
				s.Days = append(s.Days, day)
			}
		}
		var ok bool
		if s.Owner, ok = n.nameOf(q.Owner); ok && q.Dim {
			p.Dim = append(p.Dim, s)
		} else if ok {
			p.Quiet = append(p.Quiet, s)
		}
	}
	for _, c := range w.caps {
		s := NamedCap{Max: c.Max, Each: c.Each, EachCategory: c.EachCategory, Per: "day"}
		switch {
		case c.Week:
			s.Per = "week"
		case c.Trip:
			s.Per = "trip"
		case c.Hours > 0:
			s.Per = strconv.Itoa(c.Hours) + "h"
		case c.Minutes > 0:
			s.Per = strconv.Itoa(c.Minutes) + "m"
		}
		var here, owned bool
		s.NamedSelector, here = n.nameSelector(c.Selector)
		if s.Owner, owned = n.nameOf(c.Owner); here && owned {
			p.Caps = append(p.Caps, s)
		}
	}
	for _, m := range w.mutes {
		var s NamedMute
		for _, c := range contents {
			if m.Content&c.bit != 0 {
				s.Content = append(s.Content, c.name)
			}
		}
		if m.Until != 0 {
			s.Until = m.Until.Time().Format(time.RFC3339Nano)
		}
		var here, owned bool
		s.NamedSelector, here = n.nameSelector(m.Selector)
		if s.Owner, owned = n.nameOf(m.Owner); here && owned && !over(m, now) {
			p.Mutes = append(p.Mutes, s)
		}
	}
	for _, who := range n.people {
		if !who.Guest {
			p.People = append(p.People, PersonPreferences{Name: who.Name, Languages: append([]string{}, who.Languages...), Frozen: &who.Frozen})
		}
	}
	return p
}

// DefaultPreferences are what a home wants that has said nothing.
func DefaultPreferences() Preferences {
	return names{}.spell(wants{caps: DefaultCaps(), moments: DefaultMoments()}, 0)
}

func clock(minutes int) string { return fmt.Sprintf("%02d:%02d", minutes/60, minutes%60) }

// nameOf is the name of somebody; ok is false if they live here no more.
func (n names) nameOf(id device.PersonID) (name string, ok bool) {
	if id == device.Household {
		return "", true
	}
	for _, p := range n.people {
		if p.ID == id {
			return p.Name, true
		}
	}
	return "", false
}

func (n names) nameSelector(s policy.Selector) (r NamedSelector, ok bool) {
	r = NamedSelector{Brand: s.Brand, Purpose: s.Purpose, Category: s.Category, Class: s.Class}
	for _, d := range n.devices {
		if d.ID == s.Device {
			r.Device = d.Name
		}
	}
	for _, room := range n.rooms {
		if room.ID == s.Room {
			r.Room = room.Name
		}
	}
	return r, (s.Device == "") == (r.Device == "") && (s.Room == 0) == (r.Room == "")
}

// in puts what the faults are about before their fields.
func (list Invalid) in(where string) Invalid {
	for _, e := range list {
		if e.Field != "" && e.Field[0] != '[' {
			e.Field = "." + e.Field
		}
		e.Field = where + e.Field
	}
	return list
}

// most says if there are more of something than there may be.
func most(field string, have, most int) (bad Invalid) {
	if have > most {
		bad.add(field, "length", fmt.Sprintf("use at most %d", most), "has %d entries", have)
	}
	return bad
}

// checkTags says if languages cannot be taken.
func checkTags(field string, tags []string) (bad Invalid) {
	if err := checkLanguages(tags); err != nil {
		bad.add(field, "syntax", "use at most 8 BCP 47 tags such as en or de-CH", "cannot be taken in")
	}
	return bad
}

func checkSelector(s policy.Selector) (bad Invalid) {
	if s.Brand != "" {
		if _, err := device.ParseBrandID(string(s.Brand)); err != nil {
			bad.add("brand", "syntax", "use a brand's ID", "is %.40q", s.Brand)
		}
	}
	if s.Purpose != policy.NoPurpose && !s.Purpose.Known() {
		bad.add("purpose", "unknown", "use one of "+strings.Join(policy.PurposeNames(), ", "), "is %s", s.Purpose)
	}
	if s.Category != "" && !categoryRE.MatchString(s.Category) {
		bad.add("category", "syntax", "use 1 to 32 characters of a-z, 0-9 and hyphen", "is %.40q", s.Category)
	}
	if s.Class != 0 && !s.Class.Known() {
		bad.add("class", "unknown", "use one of "+strings.Join(device.ClassNames(), ", "), "is %s", s.Class)
	}
	if s.Device != "" {
		if _, err := device.ParseID(string(s.Device)); err != nil {
			bad.add("device", "syntax", "use a device's ID", "is %.40q", s.Device)
		}
	}
	return bad
}

// checkMute says what is wrong with a mute by itself. Whether those whom it names are of the home is
// for whoever looks them up.
func checkMute(m policy.MuteRule) Invalid {
	bad := checkSelector(m.Selector)
	if m.Content > policy.Words|policy.Picture|policy.Sound {
		bad.add("content", "unknown", "use words, picture, sound", "is %d", m.Content)
	}
	return bad
}

// checkCap says what is wrong with a cap by itself, as checkMute does.
func checkCap(c policy.Cap) Invalid {
	bad := checkSelector(c.Selector)
	if c.Max < 0 || c.Max > 1000 {
		bad.add("max", "range", "max is 0 to 1000", "is %d", c.Max)
	}
	switch {
	case c.Hours < 0 || c.Hours > 168 || c.Minutes < 0 || c.Minutes > 1440:
		bad.add("per", "range", "use 1h to 168h, or 1m to 1440m", "is %dh %dm", c.Hours, c.Minutes)
	case c.Hours > 0 && c.Minutes > 0:
		bad.add("per", "range", "use hours or minutes", "has both hours and minutes")
	case c.Week && c.Trip || (c.Week || c.Trip) && (c.Hours > 0 || c.Minutes > 0):
		bad.add("per", "range", "use one of hours, minutes, week and trip", "has more than one window")
	case c.Trip && c.Class != 0 && c.Class != device.Car:
		bad.add("per", "range", "use day or week on anything but a car", "is a trip of a %s", c.Class)
	}
	if c.EachCategory && c.Category != "" {
		bad.add("each_category", "range", "leave one of them out", "goes with no category: it means each category by itself")
	}
	if c.Each && c.Brand != "" {
		bad.add("each", "range", "leave one of them out", "goes with no brand: it means each brand by itself")
	}
	return bad
}

// checkZone says if a quiet time is in a zone that is not known here.
func checkZone(q policy.Quiet) (bad Invalid) {
	if q.Zone != "" {
		if _, err := registry.LoadZone(q.Zone); err != nil {
			bad.add("zone", "unknown", "use an IANA name such as Europe/Zurich", "is %.40q", q.Zone)
		}
	}
	return bad
}

// DeviceOf is a device and how it is, with the home that it belongs to.
type DeviceOf struct {
	DeviceState
	HomeName string `json:"home_name"`
}

// Device tells how one device is. It fails with registry.ErrUnknown.
func (d *Desk) Device(ctx context.Context, id device.ID) (of DeviceOf, err error) {
	dev, err := d.device(ctx, id)
	if err != nil {
		return of, err
	}
	var h registry.Home
	if err = d.db.View(ctx, func(tx *store.Tx) (err error) { h, err = registry.HomeByID(tx, dev.Home); return err }); err != nil {
		return of, err
	}
	all, err := d.Devices(ctx, h.Name)
	for _, one := range all {
		if one.ID == id {
			return DeviceOf{one, h.Name}, nil
		}
	}
	return of, errors.Join(err, fmt.Errorf("device %s: %w", id, registry.ErrUnknown)) // it was removed meanwhile
}

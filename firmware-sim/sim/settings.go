package sim

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"porchlight/device"
	"porchlight/device/wire"
)

// What a person sets on a device beside choices about a brand. Each is proposed to the gateway, and
// counts when the document that it then sends says so.

// SetCaps proposes the whole list of caps.
func (d *Device) SetCaps(caps ...wire.Cap) error {
	return d.propose(fmt.Sprintf("caps: %d", len(caps)), wire.Proposal{Caps: &caps})
}

// SetMoments proposes which moments hold messages back: film, call, sleep.
func (d *Device) SetMoments(moments ...string) error {
	return d.propose("moments: "+strings.Join(moments, ", "), wire.Proposal{Moments: &moments})
}

// SetLanguages proposes the home's languages, as BCP 47, the preferred one first.
func (d *Device) SetLanguages(tags ...string) error {
	return d.propose("languages: "+strings.Join(tags, ", "), wire.Proposal{Languages: &tags})
}

// SetFrozen proposes that nothing is shown, asked or learnt, or that this is over.
func (d *Device) SetFrozen(frozen bool) error {
	return d.propose(map[bool]string{true: "freeze everything", false: "go on"}[frozen], wire.Proposal{Frozen: &frozen})
}

// Forget proposes to forget what was learnt: places in the document's list, counted from 0.
func (d *Device) Forget(places ...uint) error {
	return d.propose(fmt.Sprintf("forget what was learnt: %d", len(places)), wire.Proposal{Forget: &places})
}

// Snooze proposes that nothing is shown for so long, in place of a snooze before it.
func (d *Device) Snooze(length time.Duration) error { return d.set(Step{Snooze: length.String()}) }

// MuteBrand proposes that nothing more is shown of the brand whose message is on the screen.
func (d *Device) MuteBrand() error {
	brand, err := d.brandOnScreen()
	if err != nil {
		return fmt.Errorf("mute on %s: %w", d.cfg.Name, err)
	}
	return d.Mute(wire.Mute{Brand: brand})
}

// brandOnScreen finds the brand by the name that its message and the document both have.
func (d *Device) brandOnScreen() (device.BrandID, error) {
	s := d.State()
	if !s.Screen.Showing {
		return "", errors.New("nothing is on the screen")
	}
	for _, b := range s.Twin.Doc.Brands {
		if b.Name == s.Screen.Sender || string(b.Brand) == s.Screen.Sender {
			return b.Brand, nil
		}
	}
	return "", fmt.Errorf("the device's settings list no brand %q", s.Screen.Sender)
}

// Muting is a mute as a script says it.
type Muting struct {
	Brand    device.BrandID `yaml:"brand"` // "this": the one on the screen
	Category string         `yaml:"category"`
	Purpose  string         `yaml:"purpose"`
	Class    string         `yaml:"class"`
	Room     string         `yaml:"room"`
	Device   device.ID      `yaml:"device"`  // "this": the one that it is said on
	Content  []string       `yaml:"content"` // words, picture, sound: only that; left out: all
	For      string         `yaml:"for"`     // as 2h; left out: until it is lifted
	Owner    string         `yaml:"owner"`   // whose; left out: the home's
	Lift     bool           `yaml:"lift"`    // lifts what the same words have muted, however long
}

// Capping is a cap as a script says it.
type Capping struct {
	Brand    device.BrandID `yaml:"brand"`
	Each     bool           `yaml:"each"` // each brand by itself
	Max      uint16         `yaml:"max"`
	Hours    uint16         `yaml:"hours"`
	Minutes  uint16         `yaml:"minutes"` // with no window at all, the local day
	Week     bool           `yaml:"week"`
	Trip     bool           `yaml:"trip"`
	Topics   bool           `yaml:"topics"` // each category by itself
	Category string         `yaml:"category"`
	Purpose  string         `yaml:"purpose"`
	Class    string         `yaml:"class"`
	Room     string         `yaml:"room"`
	Owner    string         `yaml:"owner"` // whose; left out: the home's
}

// Quieting is a quiet time as a script says it.
type Quieting struct {
	From  string   `yaml:"from"` // as 22:00
	To    string   `yaml:"to"`
	Days  []string `yaml:"days"` // Sun, Mon, ...; left out: every day
	Zone  string   `yaml:"zone"` // IANA; left out: the home's
	Owner string   `yaml:"owner"`
	Dim   bool     `yaml:"dim"` // nothing is held back: screens show what they show darker
}

// Signalling is a choice that somebody has made elsewhere.
type Signalling struct {
	Kind  string `yaml:"kind"`  // tcf, gpp, gpc
	Value string `yaml:"value"` // left out: there is none any more
}

var (
	contentBits = bits{{"words", wire.ContentWords}, {"picture", wire.ContentPicture}, {"sound", wire.ContentSound}}
	dayNames    = []string{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"}
	momentNames = []string{"film", "call", "sleep"}
)

// names turns names into the gateway's numbers.
type names struct {
	person, room func(string) (uint32, error)
	now          uint64 // the gateway's clock, ms since 1970
}

// setting is what s proposes, in words and as a frame; ok is false if it proposes nothing. Mutes are
// those of the document, without what s lifts or replaces, and the one of s.
func (s Step) setting(n names, doc wire.Document) (what string, p wire.Proposal, ok bool, err error) {
	switch {
	case s.Choose != nil:
		c := *s.Choose
		what = fmt.Sprintf("%s for %s: %s", c.Purpose, c.Brand, c.Choice)
		p.Brands = []wire.BrandChoice{{Brand: c.Brand, Purpose: c.Purpose, Choice: c.Choice}}
	case s.Snooze != "":
		what = "nothing for " + s.Snooze
		mutes := slices.DeleteFunc(slices.Clone(doc.Mutes), isSnooze)
		if s.Snooze == snoozeOff {
			what = "the end of the snooze"
		} else {
			var m wire.Mute
			if m, err = (Muting{For: s.Snooze}).mute(n); err != nil {
				err = fmt.Errorf("%w; to end a snooze say %s", err, snoozeOff)
			}
			mutes = append(mutes, m)
		}
		p.Mutes = &mutes
	case s.Mute != nil:
		var m wire.Mute
		m, err = s.Mute.mute(n)
		about := selected(m.Brand, m.Category, m.Purpose, m.Class) + before(" on ", string(m.Device))
		what = "mute " + about
		mutes := slices.Clone(doc.Mutes)
		if s.Mute.Lift {
			what = "to lift the mute of " + about
			mutes = slices.DeleteFunc(mutes, func(was wire.Mute) bool { was.Until = 0; return was == m })
		} else {
			mutes = append(mutes, m)
		}
		p.Mutes = &mutes
	case s.Quiet != nil:
		what = fmt.Sprintf("quiet times: %d", len(s.Quiet))
		list := []wire.QuietTime{}
		for _, q := range s.Quiet {
			var t wire.QuietTime
			if t, err = q.time(n); err != nil {
				break
			}
			list = append(list, t)
		}
		p.Quiet = &list
	case s.Caps != nil:
		what = fmt.Sprintf("caps: %d", len(s.Caps))
		list := []wire.Cap{}
		for _, c := range s.Caps {
			var w wire.Cap
			if w, err = c.cap(n); err != nil {
				break
			}
			list = append(list, w)
		}
		p.Caps = &list
	case s.Moments != nil:
		what, p.Moments = "moments: "+strings.Join(s.Moments, ", "), &s.Moments
		for _, m := range s.Moments {
			if !slices.Contains(momentNames, m) {
				err = fmt.Errorf("moment %q is unknown: use one of %s", m, strings.Join(momentNames, ", "))
			}
		}
	case s.Languages != nil:
		what, p.Languages = "languages: "+strings.Join(s.Languages, ", "), &s.Languages
	case s.Freeze != nil:
		what, p.Frozen = map[bool]string{true: "freeze everything", false: "go on"}[*s.Freeze], s.Freeze
	case s.Forget != nil:
		what, p.Forget = fmt.Sprintf("forget what was learnt: %d", len(s.Forget)), &s.Forget
	default:
		return "", p, false, nil
	}
	if err == nil {
		p.Person, err = n.person(s.By)
	}
	if err == nil {
		_, err = wire.Encode(p)
	}
	return what, p, true, err
}

func (m Muting) mute(n names) (w wire.Mute, err error) {
	w = wire.Mute{Brand: m.Brand, Category: m.Category, Purpose: m.Purpose, Device: m.Device}
	if m.Device != "" {
		if _, err := device.ParseID(string(m.Device)); err != nil {
			return w, err
		}
	}
	if m.For != "" {
		switch length, err := time.ParseDuration(m.For); {
		case m.Lift:
			return w, errors.New("a mute is lifted at once: leave for out")
		case err != nil:
			return w, fmt.Errorf("%q is not a length of time such as 30m or 2h", m.For)
		case length < time.Millisecond:
			return w, fmt.Errorf("%s is over before it begins: use a length of time such as 2h", m.For)
		default:
			w.Until = n.now + uint64(length.Milliseconds())
		}
	}
	if w.Content, err = contentBits.sum(m.Content); err != nil {
		return w, err
	}
	w.Class, w.Room, w.Owner, err = n.find(m.Class, m.Room, m.Owner)
	return w, err
}

func (c Capping) cap(n names) (w wire.Cap, err error) {
	w = wire.Cap{Brand: c.Brand, Each: c.Each, Max: c.Max, Hours: c.Hours, Minutes: c.Minutes, Category: c.Category, Purpose: c.Purpose,
		Week: c.Week, Trip: c.Trip, Topics: c.Topics}
	w.Class, w.Room, w.Owner, err = n.find(c.Class, c.Room, c.Owner)
	return w, err
}

func (q Quieting) time(n names) (w wire.QuietTime, err error) {
	w.Zone, w.Dim = q.Zone, q.Dim
	for i, text := range []string{q.From, q.To} {
		t, err := time.Parse("15:04", text)
		if err != nil {
			return w, fmt.Errorf("%q is not a time of day such as 22:00", text)
		}
		*[]*uint16{&w.Start, &w.End}[i] = uint16(t.Hour()*60 + t.Minute())
	}
	for _, d := range q.Days {
		i := slices.Index(dayNames, d)
		if i < 0 {
			return w, fmt.Errorf("day %q is unknown: use one of %s", d, strings.Join(dayNames, ", "))
		}
		w.Days |= 1 << i
	}
	w.Owner, err = n.person(q.Owner)
	return w, err
}

// find turns what a mute or a cap names into numbers; what is left out names nothing.
func (n names) find(class, room, owner string) (c device.Class, r, o uint32, err error) {
	if class != "" {
		if c, err = device.ParseClass(class); err != nil {
			return 0, 0, 0, err
		}
	}
	if r, err = n.room(room); err == nil {
		o, err = n.person(owner)
	}
	return c, r, o, err
}

// set proposes what s says.
func (d *Device) set(s Step) error {
	if s.Mute != nil && s.Mute.Brand == thisBrand {
		brand, err := d.brandOnScreen()
		if err != nil {
			return fmt.Errorf("mute on %s: %w", d.cfg.Name, err)
		}
		m := *s.Mute
		m.Brand = brand
		s.Mute = &m
	}
	return d.with(func(now time.Time) error {
		fw := &d.fw
		if s.Mute != nil && s.Mute.Device == thisDevice {
			m := *s.Mute
			m.Device = fw.who().ID
			s.Mute = &m
		}
		doc := fw.book.Twin.Doc
		what, p, _, err := s.setting(names{fw.person, fw.room, fw.gatewayClock(now)}, doc)
		switch {
		case err != nil:
		case p.Mutes == nil:
		case s.Snooze == snoozeOff && len(*p.Mutes) == len(doc.Mutes):
			err = errors.New("it is not snoozed")
		case s.Mute != nil && s.Mute.Lift && len(*p.Mutes) == len(doc.Mutes):
			err = notMuted(what, fw.book.Twin)
		case s.Mute != nil && !s.Mute.Lift:
			err = listsBrand(doc, s.Mute.Brand)
		}
		if err != nil {
			return fmt.Errorf("choose on %s: %w", d.cfg.Name, err)
		}
		fw.note(Event{Kind: Chosen, Why: what})
		fw.propose(now, p)
		return nil
	})
}

// snoozeOff ends a snooze.
const snoozeOff = "off"

// isSnooze reports whether m is a snooze of the home: all that is shown is held back, until some time.
func isSnooze(m wire.Mute) bool { return m.Until != 0 && m == wire.Mute{Until: m.Until} }

// notMuted says that there is nothing to lift, and what is muted instead.
func notMuted(what string, t wire.Twin) error {
	var mutes []string
	for _, m := range t.Doc.Mutes {
		mutes = append(mutes, muted(t, m))
	}
	if mutes == nil {
		return fmt.Errorf("%s: nothing is muted", what)
	}
	return fmt.Errorf("%s: it is not muted in these words; use those of one that is: %s", what, strings.Join(mutes, "; "))
}

// listsBrand fails where a document has brands and b, which may be "", is not among them: a slip would mute nobody,
// and the brand that was meant goes on. Without a document nothing is known.
func listsBrand(doc wire.Document, b device.BrandID) error {
	var ids []string
	for _, c := range doc.Brands {
		if c.Brand == b {
			return nil
		}
		if id := string(c.Brand); !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	if b == "" || ids == nil {
		return nil
	}
	return fmt.Errorf("the device's settings list no brand %q: %s", b, oneOf(string(b), ids, "brands"))
}

// thisBrand stands in a script for the brand whose message is on the screen.
const thisBrand device.BrandID = "this"

// thisDevice stands in a script for the device that a step is taken on: what IDs the gateway gave, no home file knows.
const thisDevice device.ID = "this"

// selected spells what a mute or a cap is about.
func selected(brand device.BrandID, category, purpose string, class device.Class) string {
	var words []string
	for _, w := range []string{string(brand), category, purpose} {
		if w != "" {
			words = append(words, w)
		}
	}
	if class != 0 {
		words = append(words, "on "+class.String())
	}
	if words == nil {
		return "everything"
	}
	return strings.Join(words, " ")
}

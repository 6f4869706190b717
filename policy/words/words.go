// Package words tells people, in their own language, what the judge decided and why.
//
// In: causes, grounds, rules and what is to be asked, as facts. Out: sentences. Never: a decision,
// a fact of its own, a code, the name of a person of the home, an error: what has no words yet gets
// a neutral sentence.
//
// All sentences keep to Latin-1, so that a small screen can draw them.
package words

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"porchlight/device"
	"porchlight/policy"
)

// MaxSentence is the longest sentence of [Tell], in bytes. For it dates are put in digits and what
// can be spared is left out, then long names are cut.
const MaxSentence = 240

// Names is what a sentence needs beside the facts: whom it speaks to, when, and what things are
// called. The zero Names will do. Other people are never named, so nobody's name is asked for.
type Names struct {
	Reader device.PersonID             // is "you"; Household: nobody in particular
	Screen device.ID                   // is "this screen"; "": any that is not called anything
	Device func(device.ID) string      // what people call a device; nil or "": it has no name
	Room   func(device.RoomID) string  // likewise
	Brand  func(device.BrandID) string // nil or "": as its ID is spelled
	Zone   *time.Location              // the home's; nil: UTC, and it is said
	Now    device.Instant
}

// Languages lists the languages that there are words in, as BCP 47 tags.
func Languages() []string {
	tags := make([]string, len(languages))
	for i, l := range languages {
		tags[i] = l.tag
	}
	return tags
}

// Pick returns the language of the first tag that there are words for, whatever region or script
// it names; English if there is none.
func Pick(wanted ...string) string {
	for _, tag := range wanted {
		if l := find(tag); l != nil {
			return l.tag
		}
	}
	return english.tag
}

func find(tag string) *language {
	primary, _, _ := strings.Cut(strings.ReplaceAll(tag, "_", "-"), "-")
	for _, l := range languages {
		if strings.EqualFold(primary, l.tag) {
			return l
		}
	}
	return nil
}

// in is the language of a tag, English where there are no words for it.
func in(lang string) *language {
	if l := find(lang); l != nil {
		return l
	}
	return &english
}

// Tell says c in one sentence, of at most [MaxSentence] bytes, that begins small and has no final
// stop.
func Tell(c policy.Cause, lang string, n Names) string {
	t := teller{l: in(lang), n: n, c: c}
	for _, t.longest = range [...]int{48, 24, 12} {
		for _, t.brief = range [...]bool{false, true} {
			s := t.sentence()
			if c.Late && !t.brief {
				s += t.l.late
			}
			if len(s) <= MaxSentence {
				return s
			}
		}
	}
	return cutBytes(t.sentence(), MaxSentence)
}

// Shown says why a message is shown: one whole sentence that names all grounds.
func Shown(grounds []policy.Cause, lang string, n Names) string {
	l := in(lang)
	if len(grounds) == 0 {
		return l.shownAnyway
	}
	said := make([]string, 0, len(grounds))
	for _, c := range grounds {
		if s := Tell(c, lang, n); !slices.Contains(said, s) {
			said = append(said, s)
		}
	}
	return fill(l.shown, with{"all": l.join(said)}.get)
}

// Differ says what would have to be otherwise for a message to be shown: one sentence, without a
// final stop, for each set of rules that would have to answer otherwise together.
func Differ(rules [][]policy.Rule, lang string) []string {
	l := in(lang)
	var all []string
	for _, set := range rules {
		var parts []string
		for _, r := range set {
			part, ok := l.unless[r]
			if !ok {
				part = l.unlessOther
			}
			if !slices.Contains(parts, part) {
				parts = append(parts, part)
			}
		}
		if len(parts) == 0 {
			continue
		}
		s := fill(l.differ, with{"all": strings.Join(parts, l.andIf)}.get)
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}

// Operator spells c as code and fields, for an operator's eyes. People are numbers.
func Operator(c policy.Cause) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s rule=%s verdict=%s", c.Code, c.Rule, c.Verdict)
	field := func(name string, v any, set bool) {
		if set {
			fmt.Fprintf(&b, " %s=%v", name, v)
		}
	}
	field("person", c.Person, c.Person != device.Household)
	field("device", c.Device, c.Device != "")
	field("class", c.Class, c.Class != 0)
	field("room", c.Room, c.Room != 0)
	field("purpose", c.Purpose, c.Purpose != policy.NoPurpose)
	field("category", c.Category, c.Category != "")
	field("brand", c.Brand, c.Brand != "")
	field("moment", c.Moment, c.Moment != policy.NoMoment)
	field("content", uint8(c.Content), c.Content != 0)
	field("form", c.Form, c.Form != device.Badge)
	field("duty", c.Duty, c.Duty != 0)
	field("id", c.ID, c.ID != "")
	if c.Attribute != device.NoAttribute && c.Op == "" {
		field("of", c.Attribute, true)
	} else if c.Attribute != device.NoAttribute {
		fmt.Fprintf(&b, " when=%q", fmt.Sprintf("%s %s %s", c.Attribute, c.Op, shownValue(c.Attribute, c.Value)))
	}
	field("at", c.At, c.At != 0)
	field("have", c.Have, c.Have != 0)
	field("max", c.Max, c.Max != 0)
	field("hours", c.Hours, c.Hours != 0)
	field("minutes", c.Minutes, c.Minutes != 0)
	field("until", c.Until, c.Until != 0)
	field("late", c.Late, c.Late)
	return b.String()
}

// shownValue is a.Show(v) for a value that may not be one of a's.
func shownValue(a device.Attribute, v device.Value) string {
	if v.Kind == device.Enum && (a.Info().Kind != device.Enum || v.Num < 0 || int(v.Num) >= len(a.Info().Values)) {
		return "unknown"
	}
	return a.Show(v)
}

// Coarse is all that a brand may be told of d: every way of not showing is the same.
func Coarse(d policy.Decision) string {
	if d.Verdict == policy.Show {
		return "shown"
	}
	return "not shown"
}

// Lesson is something that was learnt from what people did with messages of one brand, or about
// one category.
type Lesson struct {
	Person   device.PersonID // whose doing it was; Household: nobody's in particular
	Brand    device.BrandID
	Category string
	Lever    float64        // below 1: such messages give way to others; above 1: they come before others
	Until    device.Instant // not 0: they are paused until then, and Lever does not count
}

// A lesson is told as if it were a cause of one of these codes.
const (
	lessOf  policy.Code = "learnt.less"
	moreOf  policy.Code = "learnt.more"
	tallyOf policy.Code = "learnt.tally"
)

// Occasion says how many messages of an occasion were acted on, in one sentence without a final stop.
func Occasion(o policy.Occasion, acted, of int, lang string, n Names) string {
	return Tell(policy.Cause{Code: tallyOf, Category: o.Category, Class: o.Class, Minutes: int(o.Part), Have: acted, Max: of}, lang, n)
}

// Learnt says a lesson in one sentence without a final stop, for people to keep or to forget.
func Learnt(x Lesson, lang string, n Names) string {
	c := policy.Cause{Code: lessOf, Person: x.Person, Brand: x.Brand, Category: x.Category, Until: x.Until}
	switch {
	case x.Until != 0:
		c.Code = policy.PausedByHabit
	case x.Lever > 1:
		c.Code = moreOf
	}
	return Tell(c, lang, n)
}

// OpenScreen is a screen on which something that was taken back may still be.
type OpenScreen struct {
	Name string         // as people call it
	By   device.Instant // then it is gone at the latest
}

// WordText says how far something that was taken back has come: stopping, with the screens that
// are still to be cleared, then stopped. It has no final stop.
func WordText(stopped bool, open []OpenScreen, lang string, n Names) string {
	l := in(lang)
	switch {
	case stopped:
		return l.stopped
	case len(open) == 0:
		return l.stopping
	}
	t := teller{l: l, n: n, longest: 48}
	screens := make([]string, len(open))
	for i, s := range open {
		screens[i] = l.quote(clean(s.Name, t.longest))
		if s.By != 0 {
			screens[i] += " (" + t.time(s.By, l.calendar.until) + ")"
		}
	}
	return l.stopping + fill(l.stillOn, with{"all": l.join(screens)}.get)
}

// teller tells one cause.
type teller struct {
	l       *language
	n       Names
	c       policy.Cause
	longest int  // characters of a name
	brief   bool // dates in digits, no room beside a device, nothing of when the next may come
}

// sentence fills the most fitting of the language's sentences.
func (t *teller) sentence() string {
	code, who, detail := string(t.c.Code), t.who(), t.detail()
	for _, key := range [...]string{code + who + detail, code + who, code + detail, code} {
		if s, ok := t.l.say[key]; ok {
			return fill(s, t.word)
		}
	}
	if t.c.Verdict == policy.Show {
		return t.l.otherFor
	}
	return t.l.other
}

func (t *teller) who() string {
	switch t.c.Person {
	case device.Household:
		return "/home"
	case t.n.Reader:
		return "/you"
	}
	return "/other"
}

// detail is what tells apart the sentences of one code.
func (t *teller) detail() string {
	c := &t.c
	switch c.Code {
	case tallyOf:
		return "/" + policy.Part(c.Minutes).String()
	case policy.NotSafe:
		return "/" + c.Class.String()
	case policy.NoDuty:
		return "/" + c.Duty.String()
	case policy.Muted:
		if c.Until != 0 {
			return "/until"
		}
	case policy.MomentNow:
		return "/" + c.Moment.String()
	case policy.ZoneUnknown:
		if c.Rule == policy.Frequency || c.Rule == policy.Spacing {
			return "/limit"
		}
	case policy.SensitiveHere:
		if !named(c.Category) {
			return "/none"
		}
	case policy.TooClose:
		if c.Minutes <= 0 {
			return "/none"
		}
	case policy.Over:
		if c.Until == 0 {
			return "/none"
		}
	case policy.Away:
		if t.device(c.Device) != "" {
			return "/named"
		}
	case policy.WaitsFor, policy.Happened:
		door := c.Attribute == device.DoorOpen && c.Op == policy.EQ && c.Value.Kind == device.Bool
		switch {
		case t.l.clause(c.Attribute, c.Op, c.Value) == "":
			return "/unknown"
		case door && c.Value.Num == 1:
			return "/opened"
		case door:
			return "/closed"
		}
	}
	return ""
}

// word is what stands for a name in braces.
func (t *teller) word(name string) string {
	l, c := t.l, &t.c
	switch name {
	// the device
	case "the":
		return l.class(c.Class).the
	case "a":
		return l.class(c.Class).a
	case "for":
		return l.class(c.Class).forA
	case "this":
		return l.class(c.Class).this
	case "place":
		return l.class(c.Class).on
	case "device":
		return l.quote(t.device(c.Device))
	case "where":
		if c.Class == 0 {
			return l.thisScreen
		}
		return l.class(c.Class).the
	case "thing": // what was opened
		if c.Class == 0 {
			return l.theDoor
		}
		return l.class(c.Class).the
	case "clause":
		return l.clause(c.Attribute, c.Op, c.Value)
	// what it is, and from whom
	case "brand":
		if c.Brand == "" {
			return l.someBrand
		}
		return t.brand()
	case "what":
		if c.Brand == "" {
			return l.purpose(c.Purpose).all
		}
		return fill(l.purpose(c.Purpose).from, t.word)
	case "purposes":
		return l.purpose(c.Purpose).all
	case "category":
		if first, _, _ := strings.Cut(c.Category, "-"); c.Code == policy.SensitiveHere && categories[first] != [4]string{} {
			return l.category(first, t.longest) // it is judged by its first part, too
		}
		return l.category(c.Category, t.longest)
	// what a rule selects
	case "kind":
		if c.Purpose == policy.NoPurpose {
			return ""
		}
		return fill(l.ofKind, with{"kind": l.purpose(c.Purpose).name}.get)
	case "about":
		if c.Category == "" {
			return ""
		}
		return fill(l.about, t.word)
	case "from":
		switch capped := c.Code == policy.CapFull || c.Code == policy.CapNone; {
		case c.Brand != "":
			many := 0
			if c.Code == policy.CapFull && l.plural(c.Max) || c.Code == lessOf || c.Code == moreOf {
				many = 1
			}
			return fill(l.fromBrand[many], t.word)
		case capped:
			return l.fromAll
		}
		return ""
	case "on":
		switch {
		case c.Device != "":
			return " " + t.onDevice(l.onThis)
		case c.Class != 0:
			return " " + l.class(c.Class).on
		}
		return ""
	case "room":
		if c.Room == 0 || t.brief && (c.Device != "" || c.Class != 0) {
			return ""
		}
		if t.n.Room != nil {
			if s := clean(t.n.Room(c.Room), t.longest); s != "" {
				return fill(l.inRoom, with{"room": l.quote(s)}.get)
			}
		}
		return l.inThisRoom
	case "only":
		if c.Content == 0 {
			return ""
		}
		return fill(l.only, with{"content": l.contents(c.Content)}.get)
	// how many
	case "characters":
		return l.count(c.Max, l.characters)
	case "messages":
		return l.count(c.Max, l.messages)
	case "buttons":
		return l.count(c.Have, l.buttons)
	case "minutes":
		return l.count(c.Minutes, l.minutes)
	case "have":
		return fmt.Sprint(c.Have)
	case "max":
		return fmt.Sprint(c.Max)
	case "window":
		switch {
		case c.Hours > 0:
			return l.count(c.Hours, l.inHours)
		case c.Minutes > 0:
			return l.count(c.Minutes, l.inMinutes)
		case c.Week:
			return l.inAWeek
		case c.Trip:
			return l.onATrip
		}
		return l.inADay
	// when
	case "until":
		return t.spaced(c.Until, l.calendar.until)
	case "start":
		if c.Until == 0 {
			return ""
		}
		return l.later + t.time(c.Until, l.calendar.from)
	case "next":
		if c.Until == 0 || t.brief {
			return ""
		}
		return fill(l.next, with{"at": t.time(c.Until, l.calendar.at)}.get)
	case "ended":
		if c.Until == 0 {
			return ""
		}
		return " " + t.day(c.Until)
	case "said":
		return t.said()
	case "when":
		if s := t.said(); s != "" {
			return " (" + s[1:] + ")"
		}
		return ""
	}
	return ""
}

// said is when and where something was said, with a space before it; "" if that is not known.
func (t *teller) said() string {
	s := ""
	if t.c.At != 0 {
		s = " " + t.day(t.c.At)
	}
	if on := t.onDevice(""); on != "" {
		s += " " + on
	}
	return s
}

// onDevice says on which device; nameless if it is not this screen and has no name.
func (t *teller) onDevice(nameless string) string {
	id := t.c.Device
	switch name := t.device(id); {
	case id == "":
		return ""
	case id == t.n.Screen:
		return t.l.onThis
	case name != "":
		return fill(t.l.onNamed, t.word)
	case t.n.Screen != "":
		return t.l.onAnother
	}
	return nameless
}

// device is what people call a device; "" if they call it nothing.
func (t *teller) device(id device.ID) string {
	if t.n.Device == nil || id == "" {
		return ""
	}
	return clean(t.n.Device(id), t.longest)
}

func (t *teller) brand() string {
	if t.n.Brand != nil {
		if s := clean(t.n.Brand(t.c.Brand), t.longest); s != "" {
			return s
		}
	}
	return clean(string(t.c.Brand), t.longest)
}

// clean makes a name fit to stand in a sentence: printable, and not longer than that many characters.
func clean(s string, longest int) string {
	s = strings.Map(func(r rune) rune {
		if !device.Printable(r) {
			return -1
		}
		return r
	}, s)
	return cut(strings.TrimSpace(s), longest)
}

// cut shortens s to that many characters, and shows that it did.
func cut(s string, longest int) string {
	if utf8.RuneCountInString(s) <= longest {
		return s
	}
	return strings.TrimSpace(string([]rune(s)[:longest-3])) + "..."
}

func cutBytes(s string, most int) string {
	for len(s) > most {
		s = cut(s, utf8.RuneCountInString(s)-1)
	}
	return s
}

// with is a small lexicon.
type with map[string]string

func (w with) get(name string) string { return w[name] }

// fill puts words in the place of names in braces.
func fill(s string, word func(string) string) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(s, "{")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		name, after, _ := strings.Cut(rest, "}")
		b.WriteString(word(name))
		s = after
	}
}

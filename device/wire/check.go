package wire

import (
	"errors"
	"fmt"
	"math"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"porchlight/device"
)

// The check methods hold a frame to the bounds of the contract. A decoder and an encoder both
// ask them, so that what we send is what we would take.

const (
	maxUint32  = 1<<32 - 1
	maxPixels  = 1<<16 - 1
	lastMinute = 24*60 - 1
	maxVersion = 128 // a software version, a serial's hash
	maxTag     = 35  // a BCP 47 language
	maxCap     = 1000
	maxHours   = 7 * 24
	maxMinutes = 24 * 60
)

func (b *Birth) check() error {
	return first(
		number("seq", b.Seq, MaxUint),
		within("model", b.Model.check()),
		class(b.Class),
		within("caps", b.Can.check()),
		each("attributes", b.Attributes, MaxItems, func(name *string) error { return size("it", *name, 1, MaxName) }),
		unique("attributes", b.Attributes),
		number("twin", b.Twin, MaxUint),
		number("clock", b.Clock, MaxUint),
		size("software", b.Software, 0, maxVersion),
		count("held", len(b.Held), MaxHeld),
	)
}

func (m *Model) check() error {
	return first(
		printed("maker", m.Maker),
		printed("name", m.Name),
		printed("hardware", m.Hardware),
		size("serial", m.Serial, 0, maxVersion),
	)
}

func (c *Capabilities) check() error {
	if n := len(c.Screen); n != 0 && n != 3 {
		return fmt.Errorf("screen has %d items, 3 allowed", n)
	}
	return first(
		each("screen", c.Screen, 3, func(n *uint) error { return number("it", uint64(*n), maxPixels) }),
		number("inputs", uint64(c.Inputs), maxUint32),
		number("sound", uint64(c.Sound), maxUint32),
		each("forms", c.Forms, MaxItems, func(f *device.Form) error { return form("it", *f) }),
		number("max packet", uint64(c.MaxPacket), maxUint32),
		number("max buttons", uint64(c.MaxButtons), maxUint32),
		each("languages", c.Languages, MaxItems, func(tag *string) error { return size("it", *tag, 1, maxTag) }),
		number("holds", uint64(c.Holds), maxUint32),
		number("attention", uint64(c.Attention), maxUint32),
		number("duties", uint64(c.Duties), maxUint32),
	)
}

func (c *Context) check() error {
	if err := first(
		number("seq", c.Seq, MaxUint),
		number("observed", c.Observed, MaxUint),
		number("age", c.Age, MaxUint),
		count("values", len(c.Values), MaxPairs),
	); err != nil {
		return err
	}
	for name, v := range c.Values {
		if err := told(name, v); err != nil {
			return err
		}
	}
	return nil
}

// told checks one value of a Context.
func told(name string, v any) error {
	if size("", name, 1, MaxName) != nil {
		return within("values", size("name "+quote(name), name, 1, MaxName))
	}
	if value("", v) != nil {
		return within("values", value(quote(name), v))
	}
	return nil
}

func (e *Event) check() error {
	if e.Kind < Queued || e.Kind > Failed {
		return fmt.Errorf("event %d is unknown", e.Kind)
	}
	if e.Wish != nil && *e.Wish > Banned {
		return fmt.Errorf("wish %d is unknown", *e.Wish)
	}
	if e.Response != nil && uint64(*e.Response) > maxUint32 {
		return number("response", uint64(*e.Response), maxUint32)
	}
	return first(number("seq", e.Seq, MaxUint), number("age", e.Age, MaxUint))
}

func (p *Present) check() error {
	if p.Priority > Critical {
		return fmt.Errorf("priority %d is unknown", p.Priority)
	}
	if p.Form != nil && !p.Form.Known() {
		return form("form", *p.Form)
	}
	if err := first(
		number("control", uint64(p.Control), maxUint32),
		number("valid until", p.ValidUntil, MaxUint),
		number("live", p.Live, MaxUint),
		size("text", p.Text, 1, MaxText),
		size("title", p.Title, 0, MaxName),
		size("sender", p.Sender, 0, MaxName),
		each("responses", p.Responses, MaxResponses, func(r *Response) error {
			return first(number("id", uint64(r.ID), maxUint32), size("label", r.Label, 1, MaxLabel))
		}),
		number("display", p.Display, MaxUint),
		count("guards", len(p.Guards), MaxPairs),
		number("context seq", p.ContextSeq, MaxUint),
		size("language", p.Language, 0, maxTag),
		number("lease", p.Lease, MaxUint),
		number("epoch", p.Epoch, MaxUint),
		number("content", uint64(p.Content), maxUint32),
		number("duties", uint64(p.Duties), maxUint32),
	); err != nil {
		return err
	}
	if p.Picture != nil {
		if err := within("picture", p.Picture.check()); err != nil {
			return err
		}
	}
	for i, r := range p.Responses {
		for _, other := range p.Responses[:i] {
			if r.ID == other.ID {
				return fmt.Errorf("responses: id %d occurs twice", r.ID)
			}
		}
	}
	for name, g := range p.Guards {
		if size("", name, 1, MaxName) != nil {
			return within("guards", size("name "+quote(name), name, 1, MaxName))
		}
		if err := first(op(g.Op), value("value", g.Value)); err != nil {
			return fmt.Errorf("guards: %s: %w", quote(name), err)
		}
	}
	return nil
}

// check lets no path through that leads away from the gateway.
func (p *Picture) check() error {
	if err := first(size("path", p.Path, 1, MaxPath), exactly("sha256", p.SHA256, HashSize), size("alt", p.Alt, 0, maxVersion)); err != nil {
		return err
	}
	odd := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("/-_.", r)
	}
	if !strings.HasPrefix(p.Path, "/p/") || path.Clean(p.Path) != p.Path || strings.ContainsFunc(p.Path, odd) {
		return fmt.Errorf("path is %s, it must begin with /p/ and have only letters, digits and - _ . /", quote(p.Path))
	}
	return between("bytes", uint64(p.Bytes), 1, maxUint32)
}

func (c *Cancel) check() error { return number("fence", c.Fence, MaxUint) }

func (t *Time) check() error {
	return first(
		number("clock", t.Clock, MaxUint),
		number("fence", t.Fence, MaxUint),
		count("keep", len(t.Keep), MaxHeld),
	)
}

func (t *Twin) check() error {
	return first(number("version", t.Version, MaxUint), within("doc", t.Doc.check()))
}

// fits checks the size of the document, given how many bytes Encode makes of t.
func (t *Twin) fits(frame int) error {
	var version pen
	version.head(majorUint, t.Version)
	if doc := frame - len(version.b) - 3; doc > MaxTwin { // beside the two are a map's head and its keys
		return fmt.Errorf("doc is %d bytes long, at most %d", doc, MaxTwin)
	}
	return nil
}

func (d *Document) check() error {
	return first(
		each("brands", d.Brands, MaxItems, func(b *BrandChoice) error { return b.check(true) }),
		each("quiet", d.Quiet, MaxItems, (*QuietTime).check),
		each("mutes", d.Mutes, MaxItems, (*Mute).check),
		size("zone", d.Zone, 0, MaxName),
		each("caps", d.Caps, MaxItems, (*Cap).check),
		words("moments", d.Moments, MaxLabel),
		words("languages", d.Languages, maxTag),
		each("people", d.People, MaxItems, func(r *Resident) error {
			return first(between("person", uint64(r.Person), 1, math.MaxInt32), size("name", r.Name, 1, MaxName))
		}),
		each("rooms", d.Rooms, MaxItems, func(r *Place) error {
			return first(between("room", uint64(r.Room), 1, math.MaxInt32), size("name", r.Name, 1, MaxName))
		}),
		each("learnt", d.Learnt, MaxItems, func(line *string) error { return size("it", *line, 1, MaxText) }),
	)
}

// words checks a list of words of which none occurs twice.
func words(field string, list []string, most int) error {
	return first(each(field, list, MaxItems, func(word *string) error { return size("it", *word, 1, most) }), unique(field, list))
}

func (c *Cap) check() error {
	if c.Hours != 0 && c.Minutes != 0 {
		return errors.New("hours and minutes: one of the two")
	}
	if c.Week && c.Trip || (c.Week || c.Trip) && (c.Hours != 0 || c.Minutes != 0) {
		return errors.New("hours, minutes, week and trip: one of them")
	}
	return first(
		number("max", uint64(c.Max), maxCap),
		number("hours", uint64(c.Hours), maxHours),
		number("minutes", uint64(c.Minutes), maxMinutes),
		selector(c.Brand, c.Category, c.Purpose, c.Class, c.Device),
		number("room", uint64(c.Room), math.MaxInt32),
		number("owner", uint64(c.Owner), math.MaxInt32),
	)
}

// selector checks what a [Mute] or a [Cap] names; what is empty names nothing.
func selector(b device.BrandID, category, purpose string, c device.Class, id device.ID) error {
	if b != "" {
		if err := brand(b); err != nil {
			return err
		}
	}
	if c != 0 {
		if err := class(c); err != nil {
			return err
		}
	}
	if id != "" {
		if _, err := device.ParseID(string(id)); err != nil {
			return err
		}
	}
	return first(size("category", category, 0, MaxName), size("purpose", purpose, 0, MaxLabel))
}

// check allows the choice silent only in a document: nobody can choose to have said nothing.
func (b *BrandChoice) check(silent bool) error {
	if err := first(brand(b.Brand), size("name", b.Name, 0, MaxName), size("purpose", b.Purpose, 1, MaxLabel)); err != nil {
		return err
	}
	switch b.Choice {
	case "given", "refused", "withdrawn":
		return nil
	case "silent":
		if silent {
			return nil
		}
	}
	return fmt.Errorf("choice %s is unknown", quote(b.Choice))
}

func (q *QuietTime) check() error {
	return first(
		number("days", uint64(q.Days), 1<<7-1),
		number("start", uint64(q.Start), lastMinute),
		number("end", uint64(q.End), lastMinute),
		size("zone", q.Zone, 0, MaxName),
		number("owner", uint64(q.Owner), math.MaxInt32),
	)
}

func (m *Mute) check() error {
	return first(
		selector(m.Brand, m.Category, m.Purpose, m.Class, m.Device),
		number("until", m.Until, MaxUint),
		number("room", uint64(m.Room), math.MaxInt32),
		number("content", uint64(m.Content), maxUint32),
		number("owner", uint64(m.Owner), math.MaxInt32),
	)
}

func (p *Proposal) check() error {
	err := first(
		number("seq", p.Seq, MaxUint),
		number("base", p.Base, MaxUint),
		number("person", uint64(p.Person), math.MaxInt32),
		each("brands", p.Brands, MaxItems, func(b *BrandChoice) error { return b.check(false) }),
	)
	if err == nil && p.Quiet != nil {
		err = each("quiet", *p.Quiet, MaxItems, (*QuietTime).check)
	}
	if err == nil && p.Mutes != nil {
		err = each("mutes", *p.Mutes, MaxItems, (*Mute).check)
	}
	if err == nil && p.Caps != nil {
		err = each("caps", *p.Caps, MaxItems, (*Cap).check)
	}
	if err == nil && p.Moments != nil {
		err = words("moments", *p.Moments, MaxLabel)
	}
	if err == nil && p.Languages != nil {
		err = words("languages", *p.Languages, maxTag)
	}
	if err == nil && p.Forget != nil {
		err = each("forget", *p.Forget, MaxItems, func(place *uint) error { return number("it", uint64(*place), MaxItems-1) })
	}
	return err
}

func (b *Bye) check() error {
	switch b.Reason {
	case "sleep", "off", "reset", "wiped":
		return first(number("seq", b.Seq, MaxUint), number("until", b.Until, MaxUint))
	}
	return fmt.Errorf("reason %s is unknown", quote(b.Reason))
}

func (e *Err) check() error {
	return first(
		number("seq", e.Seq, MaxUint),
		size("leaf", e.Leaf, 0, MaxName),
		size("text", e.Text, 0, MaxText),
	)
}

// first returns the first error that is one.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// within says that err is about a part of field.
func within(field string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", field, err)
}

// number checks n against the largest that is allowed.
func number(field string, n, largest uint64) error {
	if n <= largest {
		return nil
	}
	return fmt.Errorf("%s is %d, at most %d", field, n, largest)
}

// between is number for a field that has a least value, too.
func between(field string, n, least, largest uint64) error {
	if n < least {
		return fmt.Errorf("%s is %d, %d to %d allowed", field, n, least, largest)
	}
	return number(field, n, largest)
}

func count(field string, n, most int) error {
	if n <= most {
		return nil
	}
	return fmt.Errorf("%s has %d items, at most %d", field, n, most)
}

func size(field, s string, least, most int) error {
	switch {
	case len(s) > most:
		return fmt.Errorf("%s is %d bytes long, at most %d", field, len(s), most)
	case len(s) < least:
		return fmt.Errorf("%s is empty, %d to %d bytes allowed", field, least, most)
	case !utf8.ValidString(s):
		return fmt.Errorf("%s is not valid UTF-8", field)
	}
	return nil
}

// printed checks what is shown to people as it comes.
func printed(field, s string) error {
	if err := size(field, s, 0, MaxName); err != nil {
		return err
	}
	if strings.ContainsFunc(s, func(r rune) bool { return (r < ' ' || r > '~') && !device.Printable(r) }) {
		return fmt.Errorf("%s has characters that cannot be printed", field)
	}
	return nil
}

func each[T any](field string, list []T, most int, check func(*T) error) error {
	if err := count(field, len(list), most); err != nil {
		return err
	}
	for i := range list {
		if err := check(&list[i]); err != nil {
			return fmt.Errorf("%s[%d]: %w", field, i, err)
		}
	}
	return nil
}

func unique(field string, list []string) error {
	for i, s := range list {
		if slices.Contains(list[:i], s) {
			return fmt.Errorf("%s: %s occurs twice", field, quote(s))
		}
	}
	return nil
}

func class(c device.Class) error {
	if !c.Known() {
		return fmt.Errorf("class %d is unknown", uint8(c))
	}
	return nil
}

func form(field string, f device.Form) error {
	if !f.Known() {
		return fmt.Errorf("%s %d is unknown", field, uint8(f))
	}
	return nil
}

func brand(id device.BrandID) error {
	_, err := device.ParseBrandID(string(id))
	return err
}

func op(op string) error {
	switch op {
	case "eq", "ne", "lt", "le", "gt", "ge":
		return nil
	}
	return fmt.Errorf("op %s is unknown: use eq, ne, lt, le, gt or ge", quote(op))
}

// value checks what a Context or a Guard may carry.
func value(field string, v any) error {
	switch v := v.(type) {
	case nil, bool, int64:
		return nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("%s is %v, only finite numbers are allowed", field, v)
		}
		return nil
	case string:
		return size(field, v, 0, MaxName)
	}
	return fmt.Errorf("%s is %s, use true or false, a number that fits an int64, a text or null", field, show(v))
}

// quote shows at most 40 bytes of s.
func quote(s string) string {
	if len(s) > 40 {
		return fmt.Sprintf("%q...", strings.ToValidUTF8(s[:40], ""))
	}
	return fmt.Sprintf("%q", s)
}

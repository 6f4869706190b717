package policy

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"porchlight/device"
)

// SafetyTable says for each class of devices what may appear there, and what must be known of the
// device first. It does not change. A class that it does not name is never shown anything; the
// zero SafetyTable names none.
type SafetyTable struct {
	rows  [device.Companion + 1]*safetyRow // by class; nil: never
	lines []SafetyLine
	sum   string
}

// SafetyLine is one line of a SafetyTable, for people.
type SafetyLine struct {
	Class string `json:"class"`
	Key   string `json:"key"`   // as the file spells it
	Means string `json:"means"` // what it allows, or demands
	From  string `json:"from"`  // FILE:LINE
}

// TableError says what is wrong with a file of safety rows, and where.
type TableError struct {
	File string
	Line int
	At   string // class and key
	Why  string // completes "<at> ..."
}

func (e *TableError) Error() string {
	if e.At == "" {
		return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Why)
	}
	return fmt.Sprintf("%s:%d: %s: %s", e.File, e.Line, e.At, e.Why)
}

// MostSafety is how many bytes a file of safety rows may have.
const MostSafety = 64 << 10

//go:embed safety.json
var ownSafety []byte

// own is the table that every gateway has.
var own = func() *SafetyTable {
	t, err := parseSafety("safety.json", ownSafety, nil)
	if err != nil {
		panic(err)
	}
	return t
}()

// OwnSafety is the table that every gateway has.
func OwnSafety() *SafetyTable { return own }

// Join returns t with the rows of a file joined to it: what t allows and they allow, too. A row that
// would loosen anything is refused with a [*TableError], as is a file that is malformed.
func (t *SafetyTable) Join(name string, raw []byte) (*SafetyTable, error) {
	return parseSafety(name, raw, t)
}

// Lines lists what is in force, class by class.
func (t *SafetyTable) Lines() []SafetyLine { return slices.Clone(t.lines) }

// Sum tells one table from another: 16 hexadecimal digits; "" for the one that every gateway has.
func (t *SafetyTable) Sum() string {
	if t == nil {
		return ""
	}
	return t.sum
}

// Guards are what a device of class c checks by itself while it shows something: each attribute must
// have this value.
func (t *SafetyTable) Guards(c device.Class) map[device.Attribute]device.Value {
	if row := t.of(c); row != nil {
		return row.guards
	}
	return nil
}

// Attributes are what t looks at on a device of class c, beside alarms and do-not-disturb.
func (t *SafetyTable) Attributes(c device.Class) (s device.AttributeSet) {
	row := t.of(c)
	if row == nil {
		return 0
	}
	for i := range row.calm {
		s = s.With(row.calm[i].attribute)
	}
	for _, group := range row.free {
		for _, all := range group {
			for i := range all {
				s = s.With(all[i].attribute)
			}
		}
	}
	return s
}

// of returns class c's row, nil if nothing is ever shown there.
func (t *SafetyTable) of(c device.Class) *safetyRow {
	if t == nil {
		t = own
	}
	if int(c) < len(t.rows) {
		return t.rows[c]
	}
	return nil
}

// safetyRow is what a device of a class must have told, what it must not have told, and what may
// appear on it at all.
//
// A fact that permits must be fresh. A fact that restrains (a gear other than Park, a call) stands
// until the device tells otherwise, however old it is: losing touch with a device never opens what
// the device had closed.
type safetyRow struct {
	forms   formSet
	chars   int           // how many characters at most, title and body together; 0: no limit
	limit   time.Duration // how long at most on the screen; 0: no limit
	trip    int           // how many at most while the car is under way once; 0: no limit
	silent  bool          // without a sound
	free    [][][]fact    // of each list, one list must hold in full and be fresh
	calm    []fact        // each must hold of what was told, fresh or not
	moments []Moment      // in which nothing is shown here
	guards  map[device.Attribute]device.Value
}

// formSet is a set of forms: bit n is the Form with the number n.
type formSet uint8

func (s formSet) has(f device.Form) bool { return s&(1<<f) != 0 }

// fact is an attribute and what is good of it.
type fact struct {
	attribute device.Attribute
	kind      device.Kind
	mask      uint64         // of a Bool or an Enum: bit n is the value n
	good      []float64      // of a Number
	words     []string       // of a Text
	below     float64        // of a Number: it is less; 0: that is not asked
	lasting   device.Instant // it has been so for this many ms
	untold    bool           // good only if it was never told
}

// is makes a fact from words of an Enum, booleans or numbers. It panics on a misspelt one: what
// calls it runs when the program starts.
func is(a device.Attribute, good ...any) fact {
	f := fact{attribute: a, kind: a.Info().Kind}
	for _, g := range good {
		if err := f.add(g); err != nil {
			panic(err)
		}
	}
	return f
}

// add makes one more value good.
func (f *fact) add(g any) error {
	v, err := f.attribute.ValueOf(g)
	switch {
	case err != nil:
		return err
	case v.Kind == device.Unknown:
		return errors.New("null is no value")
	case v.Kind == device.Number:
		f.good = append(f.good, v.Num)
	case v.Kind == device.Text:
		f.words = append(f.words, v.Text)
	default:
		f.mask |= 1 << int(v.Num)
	}
	return nil
}

// piece is a piece of a file, with the line that it ends on, or for what has others in it begins on.
type piece struct {
	line    int
	members []member // of an object
	items   []piece  // of an array
	value   any      // bool, json.Number, string, nil; json.Delim for the two above
}

type member struct {
	key  string
	line int
	is   piece
}

// tableReader reads one file.
type tableReader struct {
	name string
	raw  []byte
	dec  *json.Decoder
	at   string // class and key
	base *SafetyTable
	t    SafetyTable
}

func (r *tableReader) line() int {
	return 1 + bytes.Count(r.raw[:min(int(r.dec.InputOffset()), len(r.raw))], []byte("\n"))
}

func (r *tableReader) fail(line int, why string, args ...any) error {
	return &TableError{r.name, line, r.at, fmt.Sprintf(why, args...)}
}

// piece reads the next piece; depth is how deep the next may go.
func (r *tableReader) piece(depth int) (n piece, err error) {
	tok, err := r.dec.Token()
	n.line = r.line()
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return n, r.fail(n.line, "not JSON: %v", err)
	}
	n.value = tok
	switch tok {
	case json.Delim('{'):
		if depth == 0 {
			return n, r.fail(n.line, "too deep")
		}
		for r.dec.More() {
			k, err := r.piece(0)
			if err != nil {
				return n, err
			}
			m := member{key: k.value.(string), line: k.line} // the decoder takes nothing else here
			for _, o := range n.members {
				if o.key == m.key {
					return n, r.fail(m.line, "%q occurs twice", m.key)
				}
			}
			if m.is, err = r.piece(depth - 1); err != nil {
				return n, err
			}
			n.members = append(n.members, m)
		}
	case json.Delim('['):
		if depth == 0 {
			return n, r.fail(n.line, "too deep")
		}
		for r.dec.More() {
			i, err := r.piece(depth - 1)
			if err != nil {
				return n, err
			}
			n.items = append(n.items, i)
		}
	default:
		return n, nil
	}
	if _, err := r.dec.Token(); err != nil { // the closing one
		return n, r.fail(r.line(), "not JSON: %v", err)
	}
	return n, nil
}

// parseSafety reads a file of rows: a whole table if base is nil, else what restricts base.
func parseSafety(name string, raw []byte, base *SafetyTable) (*SafetyTable, error) {
	r := &tableReader{name: name, raw: raw, dec: json.NewDecoder(bytes.NewReader(raw)), base: base}
	r.dec.UseNumber()
	if len(raw) > MostSafety {
		return nil, r.fail(1, "has %d bytes, %d at most", len(raw), MostSafety)
	}
	all, err := r.piece(6)
	if err != nil {
		return nil, err
	}
	if _, err := r.dec.Token(); !errors.Is(err, io.EOF) {
		return nil, r.fail(r.line(), "goes on after its end")
	}
	if all.value != json.Delim('{') {
		return nil, r.fail(all.line, "is no object of classes")
	}
	var lines [device.Companion + 2][]SafetyLine
	place := func(c device.Class) int { return int(min(c, device.Companion+1)) }
	if base != nil {
		r.t.rows = base.rows
		for _, l := range base.lines {
			if c, err := device.ParseClass(l.Class); err == nil {
				lines[place(c)] = append(lines[place(c)], l)
			}
		}
	}
	named := map[device.Class]bool{}
	for _, m := range all.members {
		r.at = m.key
		c, err := device.ParseClass(m.key)
		if err != nil {
			r.at = ""
			return nil, r.fail(m.line, "%v", err)
		}
		named[c] = true
		got, row, err := r.row(c, m)
		if err != nil {
			return nil, err
		}
		if base != nil {
			var under *safetyRow
			if int(c) < len(base.rows) {
				under = base.rows[c]
			}
			if row, err = r.join(under, row, got); err != nil {
				return nil, err
			}
			lines[place(c)] = over(lines[place(c)], got)
		} else {
			lines[place(c)] = got.lines
		}
		if int(c) < len(r.t.rows) {
			r.t.rows[c] = row
		} else if row != nil {
			return nil, r.fail(m.line, "nothing is ever shown on such a device")
		}
	}
	r.at = ""
	for _, name := range device.ClassNames() {
		if c, _ := device.ParseClass(name); base == nil && !named[c] {
			return nil, r.fail(all.line, "has no row for %q", name)
		}
	}
	for _, l := range lines {
		r.t.lines = append(r.t.lines, l...)
	}
	if base != nil {
		sum := sha256.Sum256(append([]byte(base.sum+"\n"), raw...))
		r.t.sum = hex.EncodeToString(sum[:8])
	}
	return &r.t, nil
}

// rowRead is what one row of a file says, beside the row.
type rowRead struct {
	line  int
	where map[string]int // by key: its line
	lines []SafetyLine
	loud  bool // silent was said to be false
	never bool
}

// over puts the lines of a row over those of the row that it restricts.
func over(lines []SafetyLine, got rowRead) (all []SafetyLine) {
	for _, l := range lines {
		_, again := got.where[l.Key]
		if !got.never && !(again && slices.Contains([]string{"forms", "chars", "seconds", "trip", "silent"}, l.Key)) {
			all = append(all, l)
		}
	}
	return append(all, got.lines...)
}

// row reads what is said of one class; nil: never.
func (r *tableReader) row(c device.Class, m member) (got rowRead, row *safetyRow, err error) {
	class := r.at
	got = rowRead{line: m.line, where: map[string]int{}}
	if m.is.value != json.Delim('{') {
		return got, nil, r.fail(m.line, "is no object of keys")
	}
	row = new(safetyRow)
	for _, k := range m.is.members {
		r.at = class + ": " + k.key
		got.where[k.key] = k.line
		means := ""
		switch k.key {
		case "never":
			if k.is.value != true {
				return got, nil, r.fail(k.line, "can only be true")
			}
			if len(m.is.members) > 1 {
				return got, nil, r.fail(k.line, "leaves nothing for other keys to say")
			}
			got.never, means = true, "nothing is ever shown"
		case "forms":
			row.forms, means, err = r.forms(k.is)
		case "chars":
			row.chars, err = r.number(k.is, 1, 1000)
			means = fmt.Sprintf("at most %d characters", row.chars)
		case "seconds":
			n := 0
			n, err = r.number(k.is, 1, 3600)
			row.limit, means = time.Duration(n)*time.Second, fmt.Sprintf("at most %d s on the screen", n)
		case "trip":
			if c != device.Car {
				return got, nil, r.fail(k.line, "only a car has trips")
			}
			row.trip, err = r.number(k.is, 1, 100)
			means = fmt.Sprintf("at most %d on one trip", row.trip)
		case "silent":
			on, ok := k.is.value.(bool)
			if !ok {
				return got, nil, r.fail(k.line, "is neither true nor false")
			}
			if row.silent, got.loud = on, !on; on {
				means = "without a sound"
			} else {
				means = "a sound may be made"
			}
		case "fresh":
			var group [][]fact
			group, means, err = r.alternatives(c, k)
			row.free = append(row.free, group)
		case "told":
			row.calm, means, err = r.facts(c, k.is, false)
			means = "nothing else told than: " + means
		case "moments":
			row.moments, means, err = r.moments(k.is)
		case "guards":
			row.guards, means, err = r.guards(c, k.is)
		default:
			r.at = class
			return got, nil, r.fail(k.line, "key %q is unknown: use never, forms, chars, seconds, trip, silent, fresh, told, moments or guards", k.key)
		}
		if err != nil {
			return got, nil, err
		}
		got.lines = append(got.lines, SafetyLine{class, k.key, means, fmt.Sprintf("%s:%d", r.name, k.line)})
	}
	r.at = class
	if got.never {
		return got, nil, nil
	}
	if r.base == nil && row.forms == 0 {
		return got, nil, r.fail(m.line, "has no forms, and is not said to be never")
	}
	return got, row, nil
}

// join is what row and with both allow.
func (r *tableReader) join(row, with *safetyRow, got rowRead) (*safetyRow, error) {
	class := r.at
	fail := func(key, why string, args ...any) (*safetyRow, error) {
		r.at = class + ": " + key
		return nil, r.fail(got.where[key], why, args...)
	}
	switch {
	case with == nil:
		return nil, nil
	case row == nil:
		return nil, r.fail(got.line, "nothing is ever shown on such a device, and no row can change that")
	}
	j := *row
	if with.forms != 0 {
		for f := range device.Form(8) {
			if with.forms.has(f) && !row.forms.has(f) {
				return fail("forms", "%s would be one more than there are: a row can only take away", f)
			}
		}
		j.forms = with.forms
	}
	smaller := func(key string, limit *int, n int) error {
		if n != 0 && *limit != 0 && n > *limit {
			_, err := fail(key, "%d would be more than the %d that there are: a row can only take away", n, *limit)
			return err
		}
		if n != 0 {
			*limit = n
		}
		return nil
	}
	seconds := int(row.limit / time.Second)
	for _, err := range []error{
		smaller("chars", &j.chars, with.chars), smaller("seconds", &seconds, int(with.limit/time.Second)), smaller("trip", &j.trip, with.trip),
	} {
		if err != nil {
			return nil, err
		}
	}
	if got.loud && row.silent {
		return fail("silent", "it is silent: a row can only take away")
	}
	j.limit, j.silent = time.Duration(seconds)*time.Second, row.silent || with.silent
	j.free = slices.Concat(row.free, with.free)
	j.calm = slices.Concat(row.calm, with.calm)
	j.moments = slices.Concat(row.moments, with.moments)
	if len(with.guards) > 0 {
		j.guards = map[device.Attribute]device.Value{}
		for a, v := range row.guards {
			j.guards[a] = v
		}
		for a, v := range with.guards {
			if was, ok := j.guards[a]; ok && was != v {
				return fail("guards", "%s must be %s already", a, a.Show(was))
			}
			j.guards[a] = v
		}
	}
	return &j, nil
}

func (r *tableReader) number(n piece, least, most int) (int, error) {
	num, _ := n.value.(json.Number)
	i, err := num.Int64()
	if err != nil || i < int64(least) || i > int64(most) {
		return 0, r.fail(n.line, "is no whole number of %d to %d", least, most)
	}
	return int(i), nil
}

// list calls one for each of the words of an array that has some, none twice.
func (r *tableReader) list(n piece, one func(piece, string) error) (string, error) {
	if len(n.items) == 0 {
		return "", r.fail(n.line, "is no list of words")
	}
	var words []string
	for _, i := range n.items {
		w, ok := i.value.(string)
		if !ok || slices.Contains(words, w) {
			return "", r.fail(i.line, "%v is no word, or occurs twice", i.value)
		}
		if err := one(i, w); err != nil {
			return "", err
		}
		words = append(words, w)
	}
	return strings.Join(words, ", "), nil
}

func (r *tableReader) forms(n piece) (set formSet, means string, err error) {
	means, err = r.list(n, func(at piece, w string) error {
		f, err := device.ParseForm(w)
		switch {
		case err != nil:
			return r.fail(at.line, "%v", err)
		case f == device.Voice:
			return r.fail(at.line, "nothing speaks without being asked")
		}
		set |= 1 << f
		return nil
	})
	return set, means, err
}

func (r *tableReader) moments(n piece) (all []Moment, means string, err error) {
	means, err = r.list(n, func(at piece, w string) error {
		m, err := ParseMoment(w)
		if err != nil {
			return r.fail(at.line, "%v", err)
		}
		all = append(all, m)
		return nil
	})
	return all, "nothing during: " + means, err
}

func (r *tableReader) alternatives(c device.Class, k member) (group [][]fact, means string, err error) {
	if len(k.is.items) == 0 {
		return nil, "", r.fail(k.line, "is no list of alternatives")
	}
	var all []string
	for _, i := range k.is.items {
		facts, words, err := r.facts(c, i, true)
		if err != nil {
			return nil, "", err
		}
		group, all = append(group, facts), append(all, words)
	}
	return group, "told, and fresh: " + strings.Join(all, "; or "), nil
}

// facts reads an object of attributes and what is good of each.
func (r *tableReader) facts(c device.Class, n piece, fresh bool) (all []fact, means string, err error) {
	if len(n.members) == 0 {
		return nil, "", r.fail(n.line, "is no object of attributes")
	}
	var words []string
	for _, m := range n.members {
		f, w, err := r.fact(c, m, fresh)
		if err != nil {
			return nil, "", err
		}
		all, words = append(all, f), append(words, m.key+" "+w)
	}
	return all, strings.Join(words, ", "), nil
}

// attribute finds one that devices of class c tell.
func (r *tableReader) attribute(c device.Class, m member) (device.Attribute, error) {
	a, ok := device.ParseAttribute(m.key)
	if !ok || !a.Of(c) {
		return 0, r.fail(m.line, "%q is nothing that a %s tells", m.key, c)
	}
	return a, nil
}

func (r *tableReader) fact(c device.Class, m member, fresh bool) (f fact, means string, err error) {
	a, err := r.attribute(c, m)
	if err != nil {
		return f, "", err
	}
	if f = is(a); m.is.value == "untold" {
		if f.untold = true; !fresh {
			return f, "", r.fail(m.line, "%s: untold can stand in fresh only", a)
		}
		return f, "never told", nil
	}
	var parts []string
	good := func(n piece) error {
		if len(n.items) == 0 {
			return r.fail(n.line, "%s: is no list of values", a)
		}
		var words []string
		for _, i := range n.items {
			v := i.value
			if num, ok := v.(json.Number); ok {
				if v, err = num.Float64(); err != nil {
					return r.fail(i.line, "%s: %v", a, err)
				}
			}
			if err := f.add(v); err != nil {
				return r.fail(i.line, "%v", err)
			}
			words = append(words, fmt.Sprint(i.value))
		}
		parts = append(parts, strings.Join(words, " | "))
		return nil
	}
	switch m.is.value {
	case json.Delim('['):
		err = good(m.is)
	case json.Delim('{'):
		for _, k := range m.is.members {
			switch k.key {
			case "is":
				err = good(k.is)
			case "below":
				num, _ := k.is.value.(json.Number)
				n, e := num.Float64()
				if f.below = n; f.kind != device.Number || e != nil || n == 0 || math.IsInf(n, 0) {
					err = r.fail(k.line, "%s: below takes a number other than 0, for an attribute that is one", a)
				}
				parts = append(parts, "below "+num.String())
			case "for":
				var n int
				if n, err = r.number(k.is, 1, 24*3600); err == nil {
					f.lasting = device.Instant(n) * 1000
					parts = append(parts, fmt.Sprintf("for %d s", n))
				}
			default:
				err = r.fail(k.line, "%s: key %q is unknown: use is, below or for", a, k.key)
			}
			if err != nil {
				return f, "", err
			}
		}
		if f.below != 0 && len(f.good) > 0 || f.below == 0 && f.mask == 0 && f.good == nil && f.words == nil {
			err = r.fail(m.line, "%s: needs one of is and below", a)
		}
	default:
		err = r.fail(m.line, "%s: is neither a list of values nor an object", a)
	}
	return f, strings.Join(parts, ", "), err
}

func (r *tableReader) guards(c device.Class, n piece) (all map[device.Attribute]device.Value, means string, err error) {
	if len(n.members) == 0 {
		return nil, "", r.fail(n.line, "is no object of attributes")
	}
	all = map[device.Attribute]device.Value{}
	var words []string
	for _, m := range n.members {
		a, err := r.attribute(c, m)
		if err != nil {
			return nil, "", err
		}
		v := m.is.value
		if num, ok := v.(json.Number); ok {
			if v, err = num.Float64(); err != nil {
				return nil, "", r.fail(m.line, "%s: %v", a, err)
			}
		}
		if all[a], err = a.ValueOf(v); err != nil || all[a].Kind == device.Unknown {
			return nil, "", r.fail(m.line, "%s: %v is no value of it", a, m.is.value)
		}
		words = append(words, fmt.Sprintf("%s %v", a, m.is.value))
	}
	return all, "the device itself checks: " + strings.Join(words, ", "), nil
}

package words

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"porchlight/device"
	"porchlight/policy"
)

// language is all words of one language. Names in braces are filled in; see teller.word.
type language struct {
	tag    string
	nth    int // its place in categories and data
	and    string
	quotes [2]string
	comma  bool                       // a decimal comma
	plural func(n int) bool           // whether n things are many
	link   func(before string) string // and, before a certain word; nil: and

	// say is the sentences by code, who (/home, /you, /other) and detail. A sentence that lacks one of
	// these stands for all of them.
	say             map[string]string
	other, otherFor string // what has no words, against a message and for it

	shown, shownAnyway string
	differ, andIf      string
	unless             map[policy.Rule]string
	unlessOther        string

	classes    map[device.Class]noun // 0: a device of no known class
	thisScreen string
	theDoor    string
	purposes   map[policy.Purpose]aim // 0: a message of no known purpose
	moments    map[policy.Moment]string
	content    [3]string // words, pictures, sound
	forms      map[device.Form]string
	otherForm  string

	attributes     map[device.Attribute]reading
	otherAttribute string
	is             [2]string            // {s} is {v}, and is not
	ops            map[policy.Op]string // of numbers: {s} and {v}

	someBrand                                  string // after the word that stands before a sender
	ofKind, about, fromAll, inRoom, inThisRoom string // each with a space before it
	fromBrand                                  [2]string
	onThis, onNamed, onAnother                 string
	only                                       string
	someCategory                               string
	characters, messages, buttons, minutes     [2]string // one, many
	inHours, inMinutes, forMonths              [2]string
	inADay, inAWeek, onATrip                   string
	later, next, stopping, stopped, stillOn    string
	late                                       string // after a sentence that says until when
	otherData, noData                          string
	kinds, rest                                [2]string // {n} kinds of data; {list} and {n} more
	askText, askMore, askSay, askEnds          string
	askTiny                                    [2]string // in full, and where there is less room
	yes, no, more, phone                       string
	calendar                                   calendar
}

// noun is a kind of device as it stands in a sentence.
type noun struct {
	name string // television
	the  string // the television, as a subject
	a    string // a television, as a subject
	forA string // for a television
	this string // this television, as a subject
	on   string // on the television
}

// aim is a purpose in words.
type aim struct {
	name string // offers
	all  string // as an object: (the) offers
	from string // as an object, with {brand}
}

// reading is what a device can tell, as the clause after "says that".
type reading struct {
	name    string   // with its article
	yes, no string   // of a Bool
	is, not string   // of an Enum, with {v}
	values  []string // of an Enum
}

var languages = [...]*language{&english, &german, &french, &spanish}

// Purpose says what a brand wants to use a channel for: "offers".
func Purpose(p policy.Purpose, lang string) string { return in(lang).purpose(p).name }

// Class says what kind of thing a device is: "television".
func Class(c device.Class, lang string) string { return in(lang).class(c).name }

// Content says what of a message is meant: "words and pictures"; "" for none.
func Content(c policy.Content, lang string) string { return in(lang).contents(c) }

// Moment says when nobody wants to be disturbed: "during a film"; "" for none.
func Moment(m policy.Moment, lang string) string { return in(lang).moments[m] }

// Form says how a message may appear: "short notice".
func Form(f device.Form, lang string) string {
	l := in(lang)
	if s, ok := l.forms[f]; ok {
		return s
	}
	return l.otherForm
}

// Attribute says what a device can tell, with its article: "the temperature".
func Attribute(a device.Attribute, lang string) string {
	l := in(lang)
	if r, ok := l.attributes[a]; ok {
		return r.name
	}
	return l.otherAttribute
}

// Told says what a device told, as it stands after "says that": "the door is open"; "" if that has no words.
func Told(a device.Attribute, v device.Value, lang string) string {
	return in(lang).clause(a, policy.EQ, v)
}

// Category says what a message is about, as its brand calls it: "dairy".
func Category(category, lang string) string { return in(lang).category(category, 48) }

// Data says a term of DPV's personal data categories, "pd:Purchase" or an IRI of one: "purchases".
func Data(term, lang string) string { return in(lang).data(term) }

func (l *language) class(c device.Class) noun {
	if n, ok := l.classes[c]; ok {
		return n
	}
	return l.classes[0]
}

func (l *language) purpose(p policy.Purpose) aim {
	if a, ok := l.purposes[p]; ok {
		return a
	}
	return l.purposes[policy.NoPurpose]
}

func (l *language) contents(c policy.Content) string {
	var all []string
	for i, s := range l.content {
		if c&(1<<i) != 0 {
			all = append(all, s)
		}
	}
	return l.join(all)
}

// category is a category in words. One that there are no words for is quoted as its brand spells
// it; one without a letter is a code that says nothing to anybody.
func (l *language) category(s string, longest int) string {
	if all, ok := categories[s]; ok {
		if l == &english {
			return all[l.nth]
		}
		return l.quote(all[l.nth])
	}
	s = clean(strings.ReplaceAll(s, "-", " "), longest)
	if !named(s) {
		s = l.someCategory
	}
	if l == &english {
		return s
	}
	return l.quote(s)
}

// named reports whether a category has a name, and not a number only.
func named(category string) bool {
	return strings.ContainsFunc(category, func(r rune) bool { return r > '9' })
}

func (l *language) data(term string) string {
	if i := strings.LastIndexAny(term, ":#/"); i >= 0 {
		term = term[i+1:]
	}
	if all, ok := data[term]; ok {
		return all[l.nth]
	}
	return l.otherData
}

func (l *language) quote(s string) string { return l.quotes[0] + s + l.quotes[1] }

// join makes a list of parts.
func (l *language) join(parts []string) string {
	if len(parts) < 2 {
		return strings.Join(parts, "")
	}
	last := parts[len(parts)-1]
	and := l.and
	if l.link != nil {
		and = l.link(last)
	}
	return strings.Join(parts[:len(parts)-1], ", ") + and + last
}

// count says n of something.
func (l *language) count(n int, of [2]string) string {
	s := of[0]
	if l.plural(n) {
		s = of[1]
	}
	return fill(s, with{"n": fmt.Sprint(n)}.get)
}

// clause says that a compares with v, as it stands after "says that"; "" if it has no words.
func (l *language) clause(a device.Attribute, op policy.Op, v device.Value) string {
	r, ok := l.attributes[a]
	equal := op == policy.EQ
	switch {
	case !ok || v.Kind != a.Info().Kind || l.ops[op] == "":
		return ""
	case v.Kind == device.Number && a == device.SelectedGear && (equal || op == policy.NE):
		return l.equals(r.name, gear(v.Num), equal)
	case v.Kind == device.Number:
		return fill(l.ops[op], with{"s": r.name, "v": l.number(a, v.Num)}.get)
	case !equal && op != policy.NE:
		return ""
	case r.yes != "": // a Bool, and who is there: nobody is named
		if (v.Kind != device.Bool || v.Num == 1) == equal {
			return r.yes
		}
		return r.no
	case v.Kind == device.Text:
		return l.equals(r.name, clean(v.Text, 24), equal)
	}
	i := int(v.Num)
	if i < 0 || i >= len(r.values) {
		return ""
	}
	s := r.is
	if !equal {
		s = r.not
	}
	return fill(s, with{"v": r.values[i]}.get)
}

func (l *language) equals(s, v string, equal bool) string {
	form := l.is[0]
	if !equal {
		form = l.is[1]
	}
	return fill(form, with{"s": s, "v": l.quote(v)}.get)
}

func gear(n float64) string {
	switch n {
	case 126:
		return "P"
	case 127:
		return "D"
	case 0:
		return "N"
	case -1:
		return "R"
	}
	return strconv.FormatFloat(n, 'g', 4, 64)
}

// number is a number of a with its unit.
func (l *language) number(a device.Attribute, n float64) string {
	unit := ""
	switch a {
	case device.Temperature, device.Setpoint:
		unit = "\u00b0C"
	case device.VehicleSpeed:
		unit = "km/h"
	case device.BatteryLevel, device.Distraction:
		unit = "%"
	case device.VolumeLevel:
		n, unit = n*100, "%"
	case device.CountdownTime, device.CookTime:
		unit = "s"
		if n >= 60 && math.Mod(n, 60) == 0 {
			n, unit = n/60, "min"
		}
	}
	s := strconv.FormatFloat(math.Round(n*100)/100, 'f', -1, 64)
	if math.Abs(n) >= 1e15 {
		s = strconv.FormatFloat(n, 'g', 4, 64)
	}
	if l.comma {
		s = strings.Replace(s, ".", ",", 1)
	}
	if unit != "" {
		s += "\u00a0" + unit
	}
	return s
}

// dataList names at most so many terms, and how many more there are; at most 0: how many there are.
func (l *language) dataList(terms []string, most int) string {
	var all []string
	for _, term := range terms {
		if s := l.data(term); !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	if i := slices.Index(all, l.otherData); i >= 0 { // whatever else stands at the end
		all = append(slices.Delete(all, i, i+1), l.otherData)
	}
	switch n := len(all); {
	case n == 0:
		return l.noData
	case n <= most:
		return l.join(all)
	case most == 0:
		return l.count(n, l.kinds)
	default:
		s := l.count(n-most, l.rest)
		return strings.Join(all[:most], ", ") + s
	}
}

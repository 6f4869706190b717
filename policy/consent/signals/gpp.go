package signals

import (
	"errors"
	"strings"
)

// layout is where the fields of a US section are, in the order in which they come: a version of 6 bits, then
// fields of 2 bits.
type layout struct {
	version   uint64
	notices   int
	optOuts   int // of sale, of sharing, of targeted advertising, as far as the section has them
	sensitive int
	child     int  // consents for a known child
	more      bool // consent to processing beyond what was disclosed
	// Three fields of the Multi-State Privacy Agreement follow.
}

// usSections are the US sections by ID, with the versions that are read.
var usSections = map[int][]layout{
	7:  {{1, 6, 3, 12, 2, true}, {2, 6, 3, 16, 3, true}}, // national
	8:  {{1, 3, 2, 9, 2, true}},                          // California
	9:  {{1, 3, 2, 8, 1, false}},                         // Virginia
	10: {{1, 3, 2, 7, 1, false}},                         // Colorado
	11: {{1, 4, 2, 8, 1, false}},                         // Utah
	12: {{1, 3, 2, 8, 3, false}},                         // Connecticut
	13: {{1, 3, 2, 8, 3, true}},                          // Florida
	14: {{1, 3, 2, 8, 3, true}},                          // Montana
	15: {{1, 3, 2, 11, 3, true}},                         // Oregon
	16: {{1, 3, 2, 8, 1, true}},                          // Texas
	17: {{1, 3, 2, 9, 5, true}},                          // Delaware
	18: {{1, 4, 2, 8, 1, false}},                         // Iowa
	19: {{1, 3, 2, 8, 1, true}},                          // Nebraska
	20: {{1, 3, 2, 8, 3, true}},                          // New Hampshire
	21: {{1, 3, 2, 10, 5, true}},                         // New Jersey
	22: {{1, 3, 2, 8, 1, true}},                          // Tennessee
	23: {{1, 3, 2, 8, 1, true}},                          // Minnesota
}

// us is what a US section says, as far as it counts here. 0: does not apply.
type us struct {
	optOuts []int // 1: opted out, 2: did not
	child   []int // 1: no consent, 2: consent
	more    int   // 1: no consent, 2: consent
	gpc     bool
}

// section is one part of a GPP string.
type section struct {
	id   int
	text string
}

// maxSections is how many sections a GPP string may have: there are fewer kinds.
const maxSections = 64

func gppDenied(value string) (denied uint16, err error) {
	sections, err := readGPP(value)
	if err != nil {
		return everything(), err
	}
	for _, s := range sections {
		d, e := s.denied()
		denied, err = denied|d, errors.Join(err, e)
	}
	return denied, err
}

// readGPP reads the header of a GPP string and takes it apart.
func readGPP(value string) (sections []section, err error) {
	texts := strings.Split(value, "~")
	b := bits{text: texts[0]}
	if kind, version := b.num(6), b.num(6); b.err == nil && (kind != 3 || version != 1) {
		b.fail("GPP type %d, version %d is not read", kind, version)
	}
	last := 0
	for range b.num(12) {
		several := b.flag()
		from := last + b.fibonacci()
		if last = from; several {
			last += b.fibonacci()
		}
		if b.err == nil && len(sections)+1+last-from > maxSections {
			b.fail("there are more than %d sections", maxSections)
		}
		if b.err != nil {
			return nil, b.err
		}
		for id := from; id <= last; id++ {
			sections = append(sections, section{id: id})
		}
	}
	if err := b.end(); err != nil {
		return nil, err
	}
	if len(sections) != len(texts)-1 {
		return nil, unreadable("the header names %d sections, and there are %d", len(sections), len(texts)-1)
	}
	for i := range sections {
		sections[i].text = texts[i+1]
	}
	return sections, nil
}

func (s section) denied() (denied uint16, err error) {
	switch {
	case s.id == 2:
		return tcfDenied(s.text)
	case s.id == 6:
		return uspDenied(s.text)
	case usSections[s.id] == nil:
		return everything(), unreadable("GPP section %d is not read", s.id)
	}
	u, err := readUS(usSections[s.id], s.text)
	if err != nil {
		return everything(), err
	}
	for _, v := range u.optOuts {
		if v == 1 {
			denied |= optedOut
		}
	}
	if u.gpc {
		denied |= optedOut
	}
	if u.more == 1 {
		denied |= undisclosed
	}
	for _, v := range u.child {
		if v == 1 {
			denied |= everything()
		}
	}
	return denied, nil
}

// readUS reads a US section.
func readUS(layouts []layout, text string) (u us, err error) {
	segments := strings.Split(text, ".")
	b := bits{text: segments[0]}
	version := b.num(6)
	var l *layout
	for i := range layouts {
		if layouts[i].version == version {
			l = &layouts[i]
		}
	}
	switch {
	case b.err != nil:
		return us{}, b.err
	case l == nil:
		return us{}, unreadable("version %d of a US section is not read", version)
	case len(segments) > 2:
		return us{}, unreadable("there are more than 2 segments")
	}
	choices := func(n int) (list []int) {
		for range n {
			list = append(list, b.choice())
		}
		return list
	}
	choices(l.notices)
	u.optOuts = choices(l.optOuts)
	choices(l.sensitive)
	u.child = choices(l.child)
	if l.more {
		u.more = b.choice()
	}
	choices(3)
	if err := b.end(); err != nil {
		return us{}, err
	}
	if len(segments) == 2 {
		b = bits{text: segments[1]}
		if kind := b.num(2); b.err == nil && kind != 1 {
			b.fail("a segment of type %d is not known", kind)
		}
		u.gpc = b.flag()
		if err := b.end(); err != nil {
			return us{}, err
		}
	}
	return u, nil
}

// uspDenied reads a US Privacy string: version 1, notice given, opted out of sale, service provider agreement.
func uspDenied(text string) (uint16, error) {
	if len(text) != 4 || text[0] != '1' || strings.Trim(text[1:], "YN-") != "" {
		return optedOut, unreadable("it is no US Privacy string")
	}
	if text[2] == 'Y' {
		return optedOut, nil
	}
	return 0, nil
}

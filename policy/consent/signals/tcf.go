package signals

import (
	"strings"

	"porchlight/policy"
)

// tcf is what a TCF string says, as far as it counts here.
type tcf struct {
	policy     int    // version of the TCF policies
	consents   uint32 // bit n: purpose n is consented to
	restricted uint32 // bit n: a vendor may not base purpose n on consent
}

// tcfPurposes is what each purpose denies that there is no consent to.
var tcfPurposes = [...]uint16{
	2:  1<<policy.Marketing | 1<<policy.Personalised,
	3:  1 << policy.Personalised,
	4:  1 << policy.Personalised,
	5:  1 << policy.Recommendations,
	6:  1 << policy.Recommendations,
	7:  1 << policy.Analytics,
	8:  1 << policy.Analytics,
	9:  1<<policy.Research | 1<<policy.Analytics,
	10: 1 << policy.Research,
	11: 1 << policy.Recommendations,
}

func tcfDenied(value string) (denied uint16, err error) {
	s, err := readTCF(value)
	if err != nil {
		return everything(), err
	}
	for n := 1; n < len(tcfPurposes); n++ {
		lacks := s.consents&(1<<n) == 0
		if n == 11 && s.policy < 4 {
			lacks = false // nobody could be asked
		}
		switch {
		case !lacks && s.restricted&(1<<n) == 0:
		case n == 1:
			denied |= everything()
		default:
			denied |= tcfPurposes[n]
		}
	}
	return denied, nil
}

// readTCF reads a TCF 2 string whole.
func readTCF(value string) (s tcf, err error) {
	segments := strings.Split(value, ".")
	if len(segments) > 4 {
		return tcf{}, unreadable("there are more than 4 segments")
	}
	if s, err = readTCFCore(segments[0]); err != nil {
		return tcf{}, err
	}
	seen := [8]bool{}
	for _, text := range segments[1:] {
		b := bits{text: text}
		kind := b.num(3)
		switch {
		case b.err != nil:
		case kind < 1 || kind > 3 || seen[kind]:
			b.fail("a segment of type %d is not known, or comes again", kind)
		case kind == 3: // what the publisher asks for itself
			b.skip(24 + 24)
			custom := int(b.num(6))
			b.skip(2 * custom)
		default: // vendors that were disclosed, vendors that are allowed
			b.vendors()
		}
		seen[kind] = true
		if err := b.end(); err != nil {
			return tcf{}, err
		}
	}
	return s, nil
}

func readTCFCore(text string) (s tcf, err error) {
	b := bits{text: text}
	if v := b.num(6); b.err == nil && v != 2 {
		b.fail("TCF version %d is not read", v)
	}
	b.skip(36 + 36 + 12 + 12 + 6) // created, updated, CMP and its version, screen
	b.letters(2)                  // language
	b.skip(12)                    // version of the vendor list
	s.policy = int(b.num(6))
	b.skip(1 + 1 + 12) // service-specific, other texts, special features
	for n := 1; n <= 24; n++ {
		if b.flag() {
			s.consents |= 1 << n
		}
	}
	b.skip(24 + 1) // legitimate interests, purpose one treatment
	b.letters(2)   // country of the publisher
	b.vendors()    // consents
	b.vendors()    // legitimate interests
	for range b.num(12) {
		purpose, kind, entries := b.num(6), b.num(2), b.num(12)
		b.ranges(int(entries), 1<<16-1)
		switch {
		case b.err != nil:
			return tcf{}, b.err
		case purpose < 1 || purpose > 24 || kind == 3:
			b.fail("publisher restriction of type %d, purpose %d", kind, purpose)
		case entries > 0 && kind != 1: // 0: not allowed; 2: legitimate interest is required; 1: consent is
			s.restricted |= 1 << purpose
		}
	}
	return s, b.end()
}

// vendors passes over a set of vendors.
func (b *bits) vendors() {
	most := int(b.num(16))
	if !b.flag() {
		b.skip(most)
		return
	}
	b.ranges(int(b.num(12)), most)
}

// ranges passes over a list of vendors, or of vendors from and to, none of them above most.
func (b *bits) ranges(entries, most int) {
	for range entries {
		several := b.flag()
		from := int(b.num(16))
		to := from
		if several {
			to = int(b.num(16))
		}
		if b.err != nil {
			return
		}
		if from < 1 || to < from || to > most {
			b.fail("vendors %d to %d of %d", from, to, most)
		}
	}
}

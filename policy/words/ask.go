package words

import (
	"unicode/utf8"

	"porchlight/device"
	"porchlight/policy"
)

// What an ask may take.
const (
	maxAsk  = 140 // characters of the first layer
	maxTiny = 80  // likewise, on a small screen
	maxSay  = 200 // characters that can be spoken in 15 seconds
	maxMore = 512 // bytes of the second layer
)

// The controls of an ask; the numbers are the wire's.
const (
	yesControl   = 1
	noControl    = 2
	moreControl  = 3
	phoneControl = 4
)

// AskText is the words of one neutral question: may brand, as people know it, use the home's
// screens for purpose until then (0: it is not said), with data, terms of DPV's personal data
// categories. text is the first layer, at most 140 characters, or 80 where tiny; more is the second,
// at most 512 bytes; say is for a voice, at most 15 seconds of it; controls are the labels, of at
// most 32 bytes, by the wire's numbers: 1 yes, 2 no, 3 more, 4 on a phone. Where there is no room
// for all data the text says how many kinds there are, then long names are cut.
func AskText(class device.Class, tiny bool, brand string, purpose policy.Purpose, data []string, until device.Instant, lang string) (text, more, say string, controls map[uint8]string) {
	a := asking{l: in(lang), brand: brand, purpose: purpose, data: data, until: until}
	if tiny {
		text = a.fit(true, maxTiny, utf8.RuneCountInString, a.l.askTiny[:]...)
	} else {
		text = a.fit(false, maxAsk, utf8.RuneCountInString, a.l.askText)
	}
	say = a.fit(false, maxSay, utf8.RuneCountInString, a.l.askSay)
	more = a.fit(false, maxMore, func(s string) int { return len(s) }, a.l.askMore)
	controls = map[uint8]string{yesControl: a.l.yes, noControl: a.l.no}
	switch {
	case class == device.Speaker: // a voice has a question and two answers
	case tiny:
		controls[phoneControl] = a.l.phone
	default:
		controls[moreControl] = a.l.more
	}
	return text, more, say, controls
}

type asking struct {
	l       *language
	brand   string
	purpose policy.Purpose
	data    []string
	until   device.Instant
}

// fit fills the first of forms that there is room for with as much as there is room for: it rather
// leaves out data than cuts the brand's name.
func (a *asking) fit(digits bool, most int, length func(string) int, forms ...string) (s string) {
	for _, longest := range [...]int{64, 40, 24, 12} {
		for _, terms := range [...]int{64, 16, 8, 4, 2, 1, 0} {
			for _, form := range forms {
				if s = a.fill(form, digits, longest, terms); length(s) <= most {
					return s
				}
			}
		}
	}
	return s
}

func (a *asking) fill(form string, digits bool, longest, terms int) string {
	l := a.l
	words := with{
		"brand":    clean(a.brand, longest),
		"name":     l.purpose(a.purpose).name,
		"purposes": l.purpose(a.purpose).all,
		"data":     l.dataList(a.data, terms),
	}
	if words["brand"] == "" {
		words["brand"] = l.someBrand
	}
	words["what"] = fill(l.purpose(a.purpose).from, words.get)
	if a.until != 0 {
		date := l.calendar.day(a.until.Time(), true)
		if digits {
			date = a.until.Time().Format(l.calendar.short)
		}
		words["until"] = " " + fill(l.calendar.untilDay, with{"date": date}.get)
		words["ends"] = fill(l.askEnds, with{"date": date}.get)
	}
	return fill(form, words.get)
}

// Package signals reads what somebody has chosen elsewhere, in an app or a browser: consent strings of
// IAB Europe's Transparency and Consent Framework (TCF 2), strings of IAB Tech Lab's Global Privacy Platform
// (GPP 1), and Global Privacy Control (GPC).
//
// In: a signal as its standard spells it. Out: the purposes that it denies. Never: a permission. What a
// signal allows counts for nothing here, and a signal that cannot be read denies all that its standard
// could have denied. Nothing denies Service: the person asked for that.
//
//	standard     says                                              denies
//	TCF          no consent to 1, storage on and access to a       every purpose but Service
//	             device
//	             ... 2, select advertising with limited data       Marketing, Personalised
//	             ... 3, profile for personalised advertising       Personalised
//	             ... 4, select personalised advertising            Personalised
//	             ... 5, profile for personalised content           Recommendations
//	             ... 6, select personalised content                Recommendations
//	             ... 7, measure advertising                        Analytics
//	             ... 8, measure content                            Analytics
//	             ... 9, understand audiences through statistics    Research, Analytics
//	             ... 10, develop and improve services              Research
//	             ... 11, select content with limited data          Recommendations
//	             publisher restriction of 1 to 11, for any         as no consent
//	             vendor: not allowed, or by legitimate interest
//	GPP 2        a TCF string                                      as TCF
//	GPP 6        opted out of sale (US Privacy string)             Marketing, Personalised, Recommendations
//	GPP 7 to 23  opted out of sale, of sharing or of targeted      Marketing, Personalised, Recommendations
//	             advertising; GPC in it
//	             no consent for a known child                      every purpose but Service
//	             no consent to more than was disclosed             Research, Analytics
//	GPP, others  anything: they are not read here                  every purpose but Service
//	GPC          1                                                 Marketing, Personalised, Recommendations
//
// A legitimate interest is no consent, so only the consent bits of a TCF string count; a purpose that
// nobody asked about, with "purpose one treatment" too, is one without consent. Purpose 11 counts from
// version 4 of the TCF policies on, which brought it. Vendors, special features, what a publisher asks
// for itself, sensitive data and the fields of the MSPA are passed over: no purpose here follows from them. An opt-out
// denies Marketing, because a string does not say whether a brand picks whom to speak to by a profile.
package signals

import (
	"errors"
	"fmt"

	"porchlight/policy"
)

// Kind is which standard a signal follows. The numbers are the wire's.
type Kind uint8

// The standards.
const (
	TCF Kind = 1 // a TCF 2 consent string
	GPP Kind = 2 // a GPP string
	GPC Kind = 3 // "1"
)

// MaxValue is the longest signal that is read, in bytes.
const MaxValue = 4 << 10

// ErrUnreadable is wrapped by the error about a signal that cannot be read. No such error quotes the signal.
var ErrUnreadable = errors.New("signal cannot be read")

// Denied is what a signal takes away: bit n is the policy.Purpose with the number n. The empty value says
// nothing and denies nothing. With an error, which wraps [ErrUnreadable], denied holds all that could have been
// denied by the part that cannot be read, and what the other parts deny.
func Denied(kind Kind, value string) (denied uint16, err error) {
	switch {
	case value == "" && kind >= TCF && kind <= GPC:
		return 0, nil
	case kind == GPC:
		if value != "1" {
			return optedOut, unreadable("GPC is not 1")
		}
		return optedOut, nil
	case len(value) > MaxValue:
		return everything(), unreadable("%d bytes are more than %d", len(value), MaxValue)
	case kind == TCF:
		return tcfDenied(value)
	case kind == GPP:
		return gppDenied(value)
	}
	return everything(), unreadable("kind %d is unknown", kind)
}

func unreadable(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrUnreadable}, args...)...)
}

// everything is each purpose but Service.
func everything() (all uint16) {
	for p := policy.NoPurpose + 1; p.Known(); p++ {
		if p != policy.Service {
			all |= 1 << p
		}
	}
	return all
}

const (
	optedOut    uint16 = 1<<policy.Marketing | 1<<policy.Personalised | 1<<policy.Recommendations
	undisclosed uint16 = 1<<policy.Research | 1<<policy.Analytics
)

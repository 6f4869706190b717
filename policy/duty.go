package policy

import (
	"fmt"
	"strings"
	"time"

	"porchlight/device"
)

// Duty is a set of what a screen must do while it shows a message.
type Duty uint8

// The duties.
const (
	Dim     Duty = 1 << iota // show it darker than the screen is
	Limit                    // take it off by itself after Duties.Limit
	Minimal                  // show no more than who it is from, until somebody asks for the rest
)

var dutyNames = [...]string{"dim", "limit", "minimal"}

// String spells the set with a comma between.
func (d Duty) String() string {
	var words []string
	for i, name := range dutyNames {
		if d&(1<<i) != 0 {
			words = append(words, name)
		}
	}
	return strings.Join(words, ",")
}

// MarshalText is String; JSON uses it.
func (d Duty) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (d *Duty) UnmarshalText(b []byte) error {
	*d = 0
next:
	for word := range strings.SplitSeq(string(b), ",") {
		for i, name := range dutyNames {
			if word == name {
				*d |= 1 << i
				continue next
			}
		}
		if word != "" {
			return fmt.Errorf("duty %.40q is unknown: use one of %s", word, strings.Join(dutyNames[:], ", "))
		}
	}
	return nil
}

// Duties are what a screen must do while it shows a message. What every device of the contract does is not
// listed: it leaves when its lease ends, is reported, makes no sound where Decision.Content has none, and is
// deleted when it is recalled.
type Duties struct {
	Must  Duty          `json:"must,omitempty"`
	Limit time.Duration `json:"limit,omitempty"` // of Limit, in ns; 0: none
}

// Within reports whether a screen that meets o meets d, too.
func (d Duties) Within(o Duties) bool {
	return d.Must&^o.Must == 0 && (d.Must&Limit == 0 || o.Limit <= d.Limit)
}

// Causes are d as sentences may be made of it, of a screen of class c.
func (d Duties) Causes(c device.Class) (all []Cause) {
	add := func(on Duty, code Code) {
		if d.Must&on != 0 {
			all = append(all, Cause{Code: code, Verdict: Show, Class: c, Duty: on})
		}
	}
	add(Dim, Darker)
	add(Limit, Briefly)
	if n := len(all); d.Must&Limit != 0 {
		all[n-1].Have = int(d.Limit / time.Second)
	}
	add(Minimal, NoMore)
	return all
}

// duties is what q's screen must do if it shows q's message, and a Show until the clock alone may
// change that.
func (q *Request) duties() (d Duties, f finding) {
	if row := q.row(); row != nil && row.limit > 0 {
		d = Duties{Limit, row.limit}
		if q.Message.Display > 0 {
			d.Limit = min(d.Limit, q.Message.Display)
		}
	}
	if q.there.dark {
		d.Must |= Dim
	}
	f = showTo(q.there.until)
	if q.Screen.Owner != device.Household && q.scratch.traits.sensitive {
		if !q.there.Told {
			d.Must |= Minimal
		}
		f = f.and(showTo(q.there.Until))
	}
	return d, f
}

// unmet holds or refuses what the screen could show only without a duty that it cannot meet, and
// passes as long as the duties stay the same.
func (q *Request) unmet() finding {
	d, f := q.duties()
	cause := Cause{Rule: Capability, Code: NoDuty, Class: q.Screen.Class}
	if d.Must&Dim != 0 && q.Screen.Can.Duties&device.CanDim == 0 {
		cause.Duty, cause.Until = Dim, q.there.until
		f = f.and(q.not(holdTo(sooner(q.there.until, q.there.soon)), cause))
	}
	if d.Must&Minimal != 0 && q.Screen.Can.Duties&device.CanMinimal == 0 {
		cause.Duty, cause.Until = Minimal, 0
		f = f.and(q.unless(cause))
	}
	return f
}

// dark reports whether somebody who is there, or may be, wants screens dark now, and until when the
// clock alone does not change that; 0: never. Where the clock cannot be read they are dark.
func (q *Request) dark() (dark bool, until device.Instant) {
	switch n := q.night(true); {
	case n.unread != "":
		return true, q.there.soon
	case n.to != 0:
		return true, n.to
	default:
		return false, n.next
	}
}

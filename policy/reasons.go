package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"porchlight/device"
)

// Explain says in plain English, to the people of the home, why d was made of q: one sentence
// or more for each reason, in the order of the rules. It names nobody of the home.
func Explain(q Request, d Decision) []string {
	if parts(q) != 0 {
		return []string{"it could not be judged: the home, the screen or the message is not known"}
	}
	var words []string
	causes := Causes(q, d)
	for _, r := range d.Reasons.Rules() {
		said := len(words)
		for _, c := range causes {
			if c.Rule != r || r == Consent && len(words) > said {
				continue
			}
			if s := english(q, c); s != "" && !slices.Contains(words[said:], s) {
				words = append(words, s)
			}
		}
		if len(words) == said { // a decision of another moment
			words = append(words, "it was held back by the rule of "+r.String())
		}
	}
	if len(words) == 0 && d.Verdict != Show {
		return []string{"nothing has been decided yet"}
	}
	return words
}

func sender(m *Message) string {
	if m.Sender != "" {
		return m.Sender
	}
	return string(m.Brand)
}

var purposeWords = [purposes]string{"messages", "news of what you asked for", "offers", "personal offers", "recommendations",
	"questions", "reports on use"}

func purposeWord(p Purpose) string { return purposeWords[min(p, purposes)%purposes] }

// moment spells an instant as the home's wall shows it, with the day if it is not within one.
func moment(q Request, t device.Instant) string {
	zone, suffix := q.Home.Zone, ""
	if zone == nil {
		zone, suffix = time.UTC, " UTC"
	}
	local := t.Time().In(zone)
	if t > q.Now && t < q.Now.Add(day*time.Second) {
		return local.Format("15:04") + suffix
	}
	return local.Format("Monday 2 January 2006 15:04") + suffix
}

var opWords = map[Op]string{EQ: "is", NE: "is not", LT: "is below", LE: "is at most", GT: "is above", GE: "is at least"}

// english is the sentence for one cause.
func english(q Request, c Cause) string {
	row := safetyOf(c.Class)
	name := "device"
	if row != nil {
		name = row.name
	}
	about := purposeWord(q.Message.Purpose) + " from " + sender(q.Message)
	switch c.Code {
	case NeverHere:
		return "nothing is ever shown on a device of this kind"
	case TooLong:
		return fmt.Sprintf("a %s shows at most %d characters, and it has %d", name, c.Max, c.Have)
	case WrongForm:
		return fmt.Sprintf("a %s never shows a message in the form it comes in (%s)", name, forms(q.Message.Forms))
	case AlarmOn:
		return "an alarm is on in the home"
	case NothingKnown:
		return fmt.Sprintf("the %s has not said anything yet", name)
	case NotDisturbed:
		return fmt.Sprintf("the %s is not to be disturbed", name)
	case NotSafe:
		return row.why
	case ChildAlone:
		return "only children are there, or may be"
	case ChildFloor:
		return "a child is there, or may be, and it is not for children"
	case ChildThere:
		return "a child is there, and nobody has said yes to " + about + " for them"
	case TeenThere:
		return "somebody who is not grown up is there, and it is not for them"
	case NotForGuests:
		return "it is personal, and somebody who does not live here is there, or may be"
	case NotAlone:
		return "it is for one person, and others are there, or may be"
	case NobodyAsked, Ended, NotOnThis:
		switch {
		case c.Person != device.Household && c.Person == q.Screen.Owner:
			return "the person whose screen this is has not said yes to " + about
		case c.Person == device.Household:
			return "nobody here has said yes to " + about
		default:
			return "somebody here has not said yes to " + about
		}
	case SaidNo:
		switch {
		case c.Person != device.Household && c.Person == q.Screen.Owner:
			return "the person whose screen this is has said no to " + about
		case c.Person == device.Household:
			return "this home has said no to " + about
		default:
			return "somebody here has said no to " + about
		}
	case OwnerUnknown:
		return "the person whose screen this is is not known here"
	case FrozenAll:
		if c.Person == device.Household {
			return "this home wants nothing shown for now"
		}
		return "somebody here wants nothing done with what is known about them"
	case SignalDenies:
		return "what was chosen in an app or a browser rules out " + purposeWord(c.Purpose)
	case Muted, PausedByHabit:
		what := muted(c, q)
		switch {
		case c.Verdict == Hold && c.Until != 0:
			return fmt.Sprintf("%s is muted until %s", what, moment(q, c.Until))
		case c.Content != 0:
			return what + " is muted here, and nothing else is left of it"
		default:
			return what + " is muted here"
		}
	case SensitiveHere:
		return "it is about " + c.Category + ", and others may see it"
	case QuietNow:
		return "quiet time until " + moment(q, c.Until)
	case MomentNow:
		return map[Moment]string{Film: "somebody watches a film", Call: "somebody is in a call", Sleep: "somebody sleeps"}[c.Moment]
	case QuietSenseless:
		return "this home has a quiet time that makes no sense"
	case CapNone, CapFull, TooClose:
		return capped(q, c)
	case ZoneUnknown:
		if c.Rule == QuietTime {
			return "this home has a quiet time, but its time zone is not known"
		}
		return capped(q, c)
	case ShownBefore:
		return "it has been shown here already"
	case OnAnother:
		return "it is on another screen, or on its way there"
	case NoSense:
		return "it asks for a moment that cannot be understood"
	case WaitsFor:
		where := "this screen"
		if row != nil {
			where = "the " + name
		}
		return fmt.Sprintf("it waits until %s says that %s %s %s", where, c.Attribute, opWords[c.Op], c.Attribute.Show(c.Value))
	case NotWhole:
		if m := q.Message; m.ID == (device.MessageID{}) || m.Brand == "" {
			return "it does not say what it is and from whom"
		}
		return "it does not say what it is for"
	case NoTime:
		return "the time is not known"
	case Over:
		switch m := q.Message; {
		case m.NotAfter <= 0:
			return "it does not say until when it is good"
		case q.Now >= m.NotAfter:
			return "it was good until " + moment(q, m.NotAfter)
		default:
			return "it ends before it begins"
		}
	case NotYet:
		return "it is for later: from " + moment(q, c.Until)
	case NotForClass:
		return fmt.Sprintf("it is not meant for a %s", name)
	case CannotShow:
		return fmt.Sprintf("this %s cannot show it in the form it comes in (%s)", name, forms(q.Message.Forms))
	case NoWayToAnswer:
		return fmt.Sprintf("it asks for an answer, and this %s has no way to give one", name)
	case TooManyButtons:
		return fmt.Sprintf("it has %d buttons, and this %s has room for %d", c.Have, name, c.Max)
	case NoWords:
		return "it has no words"
	default:
		return ""
	}
}

// muted says what a mute silences.
func muted(c Cause, q Request) string {
	var parts []string
	if c.Purpose != NoPurpose {
		parts = append(parts, "of the kind "+purposeWord(c.Purpose))
	}
	if c.Category != "" {
		parts = append(parts, "about "+c.Category)
	}
	if c.Brand != "" {
		parts = append(parts, "from "+sender(q.Message))
	}
	if c.Device != "" {
		parts = append(parts, "on this screen")
	} else if row := safetyOf(c.Class); row != nil {
		parts = append(parts, "on the "+row.name)
	}
	if c.Room != 0 {
		parts = append(parts, "in this room")
	}
	return strings.Join(append([]string{"everything"}, parts...), " ")
}

// capped says what a cap allows.
func capped(q Request, c Cause) string {
	from, within := "all brands together", "a day"
	if c.Brand != "" {
		from = sender(q.Message)
	}
	switch {
	case c.Hours == 1:
		within = "an hour"
	case c.Hours > 0:
		within = fmt.Sprintf("%d hours", c.Hours)
	case c.Minutes > 0:
		within = fmt.Sprintf("%d minutes", c.Minutes)
	}
	switch {
	case c.Code == CapNone:
		return fmt.Sprintf("this home wants no messages from %s", from)
	case c.Code == ZoneUnknown:
		return fmt.Sprintf("this home wants at most %d from %s in %s, but its time zone is not known", c.Max, from, within)
	default:
		return fmt.Sprintf("this home wants at most %d from %s in %s: the next may come at %s", c.Max, from, within, moment(q, c.Until))
	}
}

func forms(list []device.Form) string {
	if len(list) == 0 {
		return "none"
	}
	names := make([]string, len(list))
	for i, f := range list {
		names[i] = f.String()
	}
	return strings.Join(names, ", ")
}

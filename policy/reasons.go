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
	if missing := parts(q); missing != 0 {
		return []string{"it could not be judged: the home, the screen or the message is not known"}
	}
	var words []string
	for _, r := range d.Reasons.Rules() {
		said := len(words)
		switch r {
		case Safety:
			words = append(words, explainSafety(q)...)
		case Consent:
			words = append(words, explainConsent(q))
		case Mute:
			words = append(words, explainMute(q)...)
		case QuietTime:
			words = append(words, explainQuiet(q))
		case Frequency:
			words = append(words, explainFrequency(q)...)
		case Dedupe:
			words = append(words, explainDedupe(q))
		case Condition:
			words = append(words, explainCondition(q)...)
		case Validity:
			words = append(words, explainValidity(q))
		case Capability:
			words = append(words, explainCapability(q)...)
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

func explainSafety(q Request) (words []string) {
	row := safetyOf(q.Screen.Class)
	if row == nil {
		return []string{"nothing is ever shown on a device of this kind"}
	}
	if n := length(q.Message, text(q.Message, q.Screen)); row.chars > 0 && n > row.chars {
		words = append(words, fmt.Sprintf("a %s shows at most %d characters, and it has %d", row.name, row.chars, n))
	}
	if !slices.ContainsFunc(q.Message.Forms, func(f device.Form) bool { return slices.Contains(row.forms, f) }) {
		words = append(words, fmt.Sprintf("a %s never shows a message in the form it comes in (%s)", row.name, forms(q.Message.Forms)))
	}
	if alarmed(q.Home) || !noAlarm.calm(q.Screen.Context) {
		words = append(words, "an alarm is on in the home")
	}
	if q.Screen.Context == nil {
		return append(words, fmt.Sprintf("the %s has not said anything yet", row.name))
	}
	if !disturb.calm(q.Screen.Context) {
		words = append(words, fmt.Sprintf("the %s is not to be disturbed", row.name))
	}
	if row.calmly(q.Screen, row.calm).and(row.freely(q.Screen, q.Now)).verdict != Show {
		words = append(words, row.why)
	}
	return words
}

func explainConsent(q Request) string {
	key := ConsentKey{q.Screen.Owner, q.Message.Brand, q.Message.Purpose}
	own := q.Home.Consents[key].Choice
	what, who := purposeWord(q.Message.Purpose), sender(q.Message)
	if q.Screen.Owner != device.Household {
		key.Subject = device.Household
		switch {
		case !known(q.Home, q.Screen.Owner):
			return "the person whose screen this is is not known here"
		case !mild(own):
			return fmt.Sprintf("the person whose screen this is has said no to %s from %s", what, who)
		case own != Given:
			return fmt.Sprintf("the person whose screen this is has not said yes to %s from %s", what, who)
		default:
			return fmt.Sprintf("this home has said no to %s from %s", what, who)
		}
	}
	switch {
	case !mild(own):
		return fmt.Sprintf("this home has said no to %s from %s", what, who)
	case own != Given:
		return fmt.Sprintf("nobody here has said yes to %s from %s", what, who)
	default:
		return fmt.Sprintf("somebody here has said no to %s from %s", what, who)
	}
}

func explainMute(q Request) (words []string) {
	for i := range q.Home.Mutes {
		switch f := q.Home.Mutes[i].judge(q); f.verdict {
		case Refuse:
			words = append(words, fmt.Sprintf("%s is muted here", muted(&q.Home.Mutes[i], q)))
		case Hold:
			words = append(words, fmt.Sprintf("%s is muted until %s", muted(&q.Home.Mutes[i], q), moment(q, f.until)))
		}
	}
	return words
}

func known(h *Home, p device.PersonID) bool { _, ok := h.Person(p); return ok }

// muted says what a mute rule silences.
func muted(r *MuteRule, q Request) string {
	var parts []string
	if r.Purpose != NoPurpose {
		parts = append(parts, "of the kind "+purposeWord(r.Purpose))
	}
	if r.Category != "" {
		parts = append(parts, "about "+r.Category)
	}
	if r.Brand != "" {
		parts = append(parts, "from "+sender(q.Message))
	}
	if r.Device != "" {
		parts = append(parts, "on this screen")
	} else if row := safetyOf(r.Class); row != nil {
		parts = append(parts, "on the "+row.name)
	}
	return strings.Join(append([]string{"everything"}, parts...), " ")
}

func explainQuiet(q Request) string {
	f := quiet(q)
	switch {
	case f.until != 0:
		return "quiet time until " + moment(q, f.until)
	case q.Home.Zone == nil:
		return "this home has a quiet time, but its time zone is not known"
	default:
		return "this home has a quiet time that makes no sense"
	}
}

func explainFrequency(q Request) (words []string) {
	for i := range q.Home.Caps {
		c := &q.Home.Caps[i]
		if !c.limits(q.Message) {
			continue
		}
		f := c.judge(q)
		if f.verdict == Show {
			continue
		}
		from := "all brands together"
		if c.Brand != "" || c.Each {
			from = sender(q.Message)
		}
		within := "a day"
		if c.Hours == 1 {
			within = "an hour"
		} else if c.Hours > 0 {
			within = fmt.Sprintf("%d hours", c.Hours)
		}
		switch {
		case f.verdict == Refuse:
			words = append(words, fmt.Sprintf("this home wants no messages from %s", from))
		case f.until == 0:
			words = append(words, fmt.Sprintf("this home wants at most %d from %s in %s, but its time zone is not known", c.Max, from, within))
		default:
			words = append(words, fmt.Sprintf("this home wants at most %d from %s in %s: the next may come at %s", c.Max, from, within, moment(q, f.until)))
		}
	}
	return words
}

func explainDedupe(q Request) string {
	if dedupe(q).verdict == Hold {
		return "it is on another screen, or on its way there"
	}
	return "it has been shown here already"
}

var opWords = map[Op]string{EQ: "is", NE: "is not", LT: "is below", LE: "is at most", GT: "is above", GE: "is at least"}

func explainCondition(q Request) (words []string) {
	for i := range q.Message.When {
		p := &q.Message.When[i]
		f := p.judge(q)
		where := "this screen"
		if row := safetyOf(p.Class); row != nil {
			where = "the " + row.name
		}
		switch f.verdict {
		case Refuse:
			words = append(words, "it asks for a moment that cannot be understood")
		case Hold:
			words = append(words, fmt.Sprintf("it waits until %s says that %s %s %s", where, p.Attribute, opWords[p.Op], p.Attribute.Show(p.Value)))
		}
	}
	return words
}

func explainValidity(q Request) string {
	m := q.Message
	switch {
	case m.ID == device.MessageID{} || m.Brand == "":
		return "it does not say what it is and from whom"
	case !m.Purpose.Known():
		return "it does not say what it is for"
	case q.Now <= 0 || q.Now > endOfTime:
		return "the time is not known"
	case m.NotAfter <= 0:
		return "it does not say until when it is good"
	case q.Now >= m.NotAfter:
		return "it was good until " + moment(q, m.NotAfter)
	case m.NotBefore >= m.NotAfter:
		return "it ends before it begins"
	default:
		return "it is for later: from " + moment(q, m.NotBefore)
	}
}

func explainCapability(q Request) (words []string) {
	m, s := q.Message, q.Screen
	name := "device"
	if row := safetyOf(s.Class); row != nil {
		name = row.name
	}
	if len(m.Classes) > 0 && !slices.Contains(m.Classes, s.Class) {
		words = append(words, fmt.Sprintf("it is not meant for a %s", name))
	}
	if _, ok := form(m, s); !ok {
		words = append(words, fmt.Sprintf("this %s cannot show it in the form it comes in (%s)", name, forms(m.Forms)))
	}
	if n := len(m.Buttons); n > 0 {
		switch most := min(s.Can.MaxButtons, maxButtons); {
		case s.Can.Inputs == 0:
			words = append(words, fmt.Sprintf("it asks for an answer, and this %s has no way to give one", name))
		case uint(n) > most:
			words = append(words, fmt.Sprintf("it has %d buttons, and this %s has room for %d", n, name, most))
		}
	}
	if len(m.Texts) == 0 {
		words = append(words, "it has no words")
	}
	return words
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

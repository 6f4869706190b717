package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"porchlight/device"
)

// The reference judge: slow, plain, written apart from the rules, with no horizons. It scans
// every minute of a day to find out when a quiet time begins, and every exposure for every cap.

type judged struct {
	verdict Verdict
	reasons Reasons
	form    device.Form
	text    int
	content Content
	duties  Duties
}

func reference(q Request) judged {
	if q.Home == nil || q.Screen == nil || q.Message == nil {
		return judged{}
	}
	said := map[Rule]Verdict{
		Safety: refSafety(q), Age: refAge(q), Consent: refConsent(q), Terms: refTerms(q), Mute: refMute(q), Sensitive: refSensitive(q),
		QuietTime: min(refQuiet(q), refMoments(q)), Frequency: refCaps(q, "frequency"), Spacing: refCaps(q, "spacing"),
		Dedupe: refDedupe(q), Sequence: refSequence(q), Condition: min(refCondition(q), refWaits(q)), Operator: refOperators(q), Validity: refValidity(q), Capability: min(refCapability(q), refMeets(q)),
	}
	d := judged{verdict: Show}
	for r, v := range said {
		if v != Show {
			d.reasons |= 1 << r
		}
		if v < d.verdict {
			d.verdict = v
		}
	}
	if d.verdict == Show {
		d.form, d.text, d.content, d.duties = refForms(q)[0], refText(q), refContent(q), refDuties(q)
	}
	return d
}

func showIf(ok bool) Verdict {
	if ok {
		return Show
	}
	return Hold
}

// refWord is a fresh reading as people read it; "" if there is none.
func refWord(s *Screen, a device.Attribute, now device.Instant) string {
	if !refFresh(s, a, now) {
		return ""
	}
	return refTold(s, a)
}

func refFresh(s *Screen, a device.Attribute, now device.Instant) bool {
	r, ok := s.Context.Get(a)
	ttl := device.Instant(a.TTL(s.Class) / time.Millisecond)
	return ok && r.At-ttl <= now && now < r.At+ttl
}

// refTold is the last reading of any age.
func refTold(s *Screen, a device.Attribute) string {
	if r, ok := s.Context.Get(a); ok {
		return a.Show(r.Value)
	}
	return ""
}

func oneOf(s string, list ...string) bool { return slices.Contains(list, s) }

// refScene is who is in front of a screen: who is there by name, who was and has not been said to
// have left, and whether there may be others whom nobody knows.
type refScene struct {
	here, was []device.PersonID
	strangers bool
	told      bool // fresh
	heard     bool // ever
}

func (s refScene) maybe(p device.PersonID) bool {
	return slices.Contains(s.here, p) || slices.Contains(s.was, p)
}

func refThere(q Request) (s refScene) {
	count, someone := 0.0, false
	for _, o := range append([]*Screen{q.Screen}, q.Home.Screens...) {
		if o != q.Screen && (o.ID == q.Screen.ID || o.Room == 0 || o.Room != q.Screen.Room) {
			continue
		}
		left := device.Instant(-1 << 62) // the last time at which it said that all had left
		for _, a := range []device.Attribute{device.PresenceCount, device.RoomOccupancy} {
			if r, ok := o.Context.Get(a); ok && r.Value.Num <= 0 && r.At > left {
				left = r.At
			}
		}
		for _, a := range []device.Attribute{device.PresenceCount, device.RoomOccupancy, device.PresenceWho} {
			r, ok := o.Context.Get(a)
			if !ok {
				continue
			}
			s.heard = true
			ttl := device.Instant(a.TTL(o.Class) / time.Millisecond)
			fresh := r.At-ttl <= q.Now && q.Now < r.At+ttl
			s.told = s.told || fresh
			if r.At < left {
				continue
			}
			switch a {
			case device.PresenceCount:
				count = max(count, r.Value.Num)
			case device.RoomOccupancy:
				someone = someone || r.Value.Num == 1
			case device.PresenceWho:
				for _, word := range strings.Fields(r.Value.Text) {
					name, certainty, given := strings.Cut(word, "@")
					if !given {
						certainty = "1"
					}
					n, err := strconv.Atoi(name)
					c, err2 := strconv.ParseFloat(certainty, 64)
					p := device.PersonID(n)
					switch {
					case err != nil || err2 != nil || c < 0.8 || c > 1 || refKind(q, p) == "":
						s.strangers = true
					case fresh && !slices.Contains(s.here, p):
						s.here = append(s.here, p)
					case !fresh:
						s.was = append(s.was, p)
					}
				}
			}
		}
	}
	if o := q.Screen.Owner; o != 0 && refKind(q, o) != "" && !slices.Contains(s.here, o) {
		s.here = append(s.here, o)
	}
	s.was = slices.DeleteFunc(s.was, func(p device.PersonID) bool { return slices.Contains(s.here, p) })
	s.strangers = s.strangers || len(s.was) > 0 || count > float64(len(s.here)) || someone && len(s.here) == 0
	return s
}

// refKind is what somebody is: words of "adult", "teen", "child", "guest"; "" for nobody here.
func refKind(q Request, id device.PersonID) string {
	for _, p := range q.Home.People {
		if p.ID != id {
			continue
		}
		age := map[device.Age]string{device.Child: "child", device.Teen: "teen", device.Adult: "adult"}[p.Age]
		switch {
		case p.Guest && (age == "" || age == "adult"):
			return "guest"
		case p.Guest:
			return age + " guest"
		case age == "":
			return "child"
		default:
			return age
		}
	}
	return ""
}

// refVague reports whether any of the home's people may be there.
func refVague(q Request, s refScene) bool {
	if q.Screen.Owner != 0 {
		return s.strangers
	}
	return s.strangers || !s.told || len(s.here) == 0
}

// refSole is the only person there, 0 if that is not certain.
func refSole(q Request, s refScene) device.PersonID {
	if len(s.here) == 1 && len(s.was) == 0 && !s.strangers && (s.told || q.Screen.Owner != 0) && (q.Screen.Owner == 0 || s.here[0] == q.Screen.Owner) {
		return s.here[0]
	}
	return 0
}

// refListed finds a category on a list of words.
func refListed(list map[string]bool, category string) bool {
	return list[category] || list[strings.SplitN(category, "-", 2)[0]]
}

func refAge(q Request) Verdict {
	s, m := refThere(q), q.Message
	owner := refKind(q, q.Screen.Owner)
	hold := Refuse
	if s.heard {
		hold = Hold
	}
	there := map[string]bool{}
	for _, p := range slices.Concat(s.here, s.was) {
		for _, k := range strings.Fields(refKind(q, p)) {
			there[k] = true
		}
	}
	personal := m.Audience == Personal || m.Purpose == Personalised
	profiling := oneOf(m.Purpose.String(), "personalised", "recommendations", "research", "analytics")
	floor := refListed(floorWords, m.Category)
	v := Show
	if strings.Contains(owner, "child") {
		return Refuse
	}
	if there["child"] {
		if !slices.ContainsFunc(s.here, func(p device.PersonID) bool { return refKind(q, p) == "adult" }) {
			return hold
		}
		if personal || profiling || floor || len(m.Buttons) > 0 {
			v = min(v, hold)
		}
		for _, p := range slices.Concat(s.here, s.was) {
			if strings.Contains(refKind(q, p), "child") && refSaid(q, p) != "given" {
				v = min(v, hold)
			}
		}
	}
	if there["teen"] && (personal || profiling || floor) {
		if strings.Contains(owner, "teen") {
			v = Refuse
		}
		v = min(v, hold)
	}
	if refVague(q, s) || there["guest"] {
		if personal || m.Purpose == Research || floor {
			if strings.Contains(owner, "guest") {
				v = Refuse
			}
			v = min(v, hold)
		}
	}
	if personal && refSole(q, s) == 0 {
		v = min(v, hold)
	}
	return v
}

func refSensitive(q Request) Verdict {
	s := refThere(q)
	switch owner := refKind(q, q.Screen.Owner); {
	case !refListed(sensitiveWords, q.Message.Category):
		return Show
	case refKind(q, refSole(q, s)) == "adult":
		return Show
	case owner != "" && owner != "adult", !s.heard:
		return Refuse
	default:
		return Hold
	}
}

// refSaid is what somebody's word comes to on this screen, now.
func refSaid(q Request, p device.PersonID) string {
	for k, s := range q.Home.Consents {
		if k != (ConsentKey{p, q.Message.Brand, q.Message.Purpose}) {
			continue
		}
		if s.Choice == Given && (s.Until > 0 && s.Until <= q.Now || s.Classes != 0 && s.Classes>>q.Screen.Class&1 == 0) {
			return "silent"
		}
		return s.Choice.String()
	}
	return "silent"
}

func refConsent(q Request) Verdict {
	s := refThere(q)
	hold := Refuse
	if s.heard {
		hold = Hold
	}
	no := func(p device.PersonID) bool { return !oneOf(refSaid(q, p), "given", "silent") }
	o := q.Screen.Owner
	v := Show
	for _, p := range q.Home.People {
		switch {
		case p.ID == o:
			if p.Frozen {
				return Refuse
			}
		case s.maybe(p.ID) || refVague(q, s):
			if p.Frozen || no(p.ID) || o == 0 && s.maybe(p.ID) && refSaid(q, p.ID) != "given" {
				v = hold
			}
		}
	}
	switch {
	case q.Home.Frozen:
		return Refuse
	case o == 0 && refSaid(q, 0) != "given":
		return Refuse
	case o != 0 && (refKind(q, o) == "" || refSaid(q, o) != "given" || no(0)):
		return Refuse
	}
	return v
}

func refTerms(q Request) Verdict {
	owners := map[device.ID]device.PersonID{}
	for _, s := range q.Home.Screens {
		owners[s.ID] = s.Owner
	}
	for _, g := range q.Home.Signals {
		denied := []string{}
		for p := Service; p < purposes; p++ {
			if g.Denied>>p&1 == 1 {
				denied = append(denied, p.String())
			}
		}
		same := q.Screen.Owner != 0 && owners[g.Device] == q.Screen.Owner
		if oneOf(q.Message.Purpose.String(), denied...) && (g.Device == q.Screen.ID || same) {
			return Refuse
		}
	}
	return Show
}

// refNear reports whether somebody's own wish counts on this screen.
func refNear(q Request, owner device.PersonID) bool {
	s := refThere(q)
	return owner == 0 || owner == q.Screen.Owner || s.maybe(owner) || refVague(q, s)
}

func refPicks(s Selector, q Request) bool {
	m, on := q.Message, q.Screen
	for _, other := range []bool{
		s.Brand != "" && s.Brand != m.Brand, s.Purpose != 0 && s.Purpose != m.Purpose, s.Category != "" && s.Category != m.Category,
		s.Class != 0 && s.Class != on.Class, s.Device != "" && s.Device != on.ID, s.Room != 0 && s.Room != on.Room,
	} {
		if other {
			return false
		}
	}
	return true
}

// refSilenced is what one part of a message comes to: 0 stands for the whole.
func refSilenced(q Request, part Content) Verdict {
	v := Show
	for _, m := range q.Home.Mutes {
		if m.Content != part && (part == 0 || m.Content&part == 0) || !refPicks(m.Selector, q) || !refNear(q, m.Owner) {
			continue
		}
		switch {
		case m.Until > q.Now:
			v = min(v, Hold)
		case m.Until > 0: // over
		case m.Owner != 0 && m.Owner != q.Screen.Owner && refThere(q).heard:
			v = min(v, Hold)
		default:
			v = Refuse
		}
	}
	return v
}

func refMute(q Request) Verdict {
	left := refSilenced(q, Words)
	if q.Message.Picture != nil {
		left = max(left, refSilenced(q, Picture))
	}
	return min(left, refSilenced(q, 0))
}

func refContent(q Request) (c Content) {
	s := refThere(q)
	if refSilenced(q, Words) == Show {
		c = Words
	}
	if refSilenced(q, Picture) == Show {
		c |= Picture
	}
	company := (q.Screen.Owner != 0 || s.told && len(s.here) > 0) && !s.strangers
	if q.Message.Sound && q.Screen.Can.Sound > 0 && refLoud(q.Screen.Class) && company && refSilenced(q, Sound) == Show {
		c |= Sound
	}
	return c
}

func refMoments(q Request) Verdict {
	for _, m := range q.Home.Moments {
		for _, s := range append([]*Screen{q.Screen}, q.Home.Screens...) {
			here := s.ID == q.Screen.ID || s.Room > 0 && s.Room == q.Screen.Room
			says := func(a device.Attribute, want string) bool { return refWord(s, a, q.Now) == want }
			switch m.String() {
			case "film":
				if here && oneOf(s.Class.String(), "tv", "console", "display") && says(device.PlayerState, "playing") && says(device.Fullscreen, "true") {
					return Hold
				}
			case "call":
				if here && says(device.CallActive, "true") {
					return Hold
				}
			case "sleep":
				with := s.Owner != 0 && refThere(q).maybe(s.Owner)
				phone := s.Class == device.Companion && s.Room == 0
				if (here || with || phone) && says(device.Sleeping, "true") {
					return Hold
				}
			}
		}
	}
	return Show
}

// refWall is local time as minutes since 1970 on the wall.
func refWall(zone *time.Location, utcMinute int64) int64 {
	t := time.Unix(utcMinute*60, 0).In(zone)
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), 0, 0, time.UTC).Unix() / 60
}

type wallKey struct {
	zone string
	wall int64
}

var refMemo = map[wallKey][2]int64{}

// refScan walks through the minutes around wall and returns the first and the last at which the
// wall shows it or jumps over it.
func refScan(zone *time.Location, wall int64) (first, last int64) {
	key := wallKey{zone.String(), wall}
	if got, ok := refMemo[key]; ok {
		return got[0], got[1]
	}
	for m := wall - 26*60; m <= wall+26*60; m++ {
		now := refWall(zone, m)
		if now == wall || now > wall && refWall(zone, m-1) < wall {
			if first == 0 {
				first = m
			}
			last = m
		}
	}
	refMemo[key] = [2]int64{first, last}
	return first, last
}

func refQuiet(q Request) Verdict { return refQuietOf(q, false) }

// refQuietOf asks the quiet times that hold messages back, or those that make screens dark.
func refQuietOf(q Request, dim bool) Verdict {
	minute := int64(q.Now) / 60000
	for _, z := range q.Home.Quiet {
		if z.Dim != dim || !refNear(q, z.Owner) {
			continue
		}
		zone := q.Home.Zone
		if z.Zone != "" {
			zone = z.Clock
		}
		if zone == nil || z.Start < 0 || z.Start > 1439 || z.End < 0 || z.End > 1439 || z.Days > 127 {
			return Hold
		}
		today := refWall(zone, minute) / 1440
		for n := today - 3; n <= today+2; n++ {
			weekday := time.Unix(n*86400, 0).UTC().Weekday()
			if z.Days != 0 && z.Days>>weekday&1 == 0 {
				continue
			}
			endDay := n
			if z.End <= z.Start {
				endDay++
			}
			from, _ := refScan(zone, n*1440+int64(z.Start))
			_, to := refScan(zone, endDay*1440+int64(z.End))
			if from <= minute && minute < to {
				return Hold
			}
		}
	}
	return Show
}

func refCondition(q Request) Verdict {
	v := Show
	for _, p := range q.Message.When {
		if p.Check() != nil {
			return Refuse
		}
		screens := []*Screen{q.Screen}
		if p.Class != 0 {
			screens = nil
			for _, s := range q.Home.Screens {
				if s.Class == p.Class {
					screens = append(screens, s)
				}
			}
		}
		held := false
		for _, s := range screens {
			if have := refWord(s, p.Attribute, q.Now); refFresh(s, p.Attribute, q.Now) && refMayRead(q, s, p.Attribute, false) {
				r, _ := s.Context.Get(p.Attribute)
				want := p.Attribute.Show(p.Value)
				a, b := r.Value.Num, p.Value.Num
				held = held || map[Op]bool{EQ: have == want, NE: have != want, LT: a < b, LE: a <= b, GT: a > b, GE: a >= b}[p.Op]
			}
		}
		if !held {
			v = Hold
		}
	}
	return v
}

func refValidity(q Request) Verdict {
	m := q.Message
	if !oneOf(m.Purpose.String(), PurposeNames()...) || m.Purpose == Context || m.Brand == "" || m.ID == (device.MessageID{}) ||
		m.NotAfter == 0 || q.Now >= m.NotAfter || m.NotBefore >= m.NotAfter || q.Now <= 0 || q.Now.Time().Year() > 9999 {
		return Refuse
	}
	return showIf(q.Now >= m.NotBefore)
}

func refForms(q Request) (list []device.Form) {
	for _, f := range q.Message.Forms {
		if slices.Contains(q.Screen.Can.Forms, f) && refAllowed(q.Screen.Class, f) {
			list = append(list, f)
		}
	}
	return list
}

func refCapability(q Request) Verdict {
	m, can := q.Message, q.Screen.Can
	if len(refForms(q)) == 0 || len(m.Texts) == 0 || len(m.Classes) > 0 && !slices.Contains(m.Classes, q.Screen.Class) {
		return Refuse
	}
	if n := len(m.Buttons); n > 4 || n > int(can.MaxButtons) || n > 0 && can.Inputs == 0 {
		return Refuse
	}
	return Show
}

func refText(q Request) int {
	in := func(languages []string) int {
		for _, want := range languages {
			want = strings.ToLower(want)
			parts := strings.Split(want, "-")
			for n := len(parts); n > 0; n-- {
				for i, t := range q.Message.Texts {
					if l := strings.ToLower(t.Language); l != "" && l == strings.Join(parts[:n], "-") {
						return i
					}
				}
			}
			for i, t := range q.Message.Texts {
				if want != "" && strings.HasPrefix(strings.ToLower(t.Language), want+"-") {
					return i
				}
			}
		}
		return -1
	}
	reader := refSole(q, refThere(q))
	for _, p := range q.Home.People {
		if p.ID == reader {
			if i := in(p.Languages); i >= 0 && (q.Screen.Class != device.Car || len([]rune(q.Message.Texts[i].Title+q.Message.Texts[i].Body)) <= 80) {
				return i
			}
		}
	}
	for _, languages := range [][]string{q.Home.Languages, q.Screen.Can.Languages} {
		if i := in(languages); i >= 0 {
			return i
		}
	}
	return 0
}

func describe(q Request) string {
	s := fmt.Sprintf("now %s own %v", q.Now, q.Own)
	screens := []*Screen{}
	if q.Screen != nil {
		screens = append(screens, q.Screen)
	}
	if q.Home != nil {
		h := *q.Home
		h.Screens = nil
		s += fmt.Sprintf("\nhome %+v (zone %v)", h, h.Zone)
		for _, o := range q.Home.Screens {
			if o != q.Screen {
				screens = append(screens, o)
			}
		}
	}
	for _, o := range screens {
		c := *o
		c.Context = nil
		s += fmt.Sprintf("\nscreen %+v", c)
		for _, name := range device.AttributeNames(0) {
			a, _ := device.ParseAttribute(name)
			if r, ok := o.Context.Get(a); ok {
				s += fmt.Sprintf("\n  %s = %s at %s", a, a.Show(r.Value), r.At)
			}
		}
	}
	if q.Message != nil {
		s += fmt.Sprintf("\nmessage %+v", *q.Message)
	}
	return s
}

package policy

import (
	"fmt"
	"slices"
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
}

func reference(q Request) judged {
	if q.Home == nil || q.Screen == nil || q.Message == nil {
		return judged{}
	}
	said := map[Rule]Verdict{
		Safety: refSafety(q), Consent: refConsent(q), Mute: refMute(q), QuietTime: refQuiet(q), Frequency: refFrequency(q),
		Dedupe: refDedupe(q), Condition: refCondition(q), Validity: refValidity(q), Capability: refCapability(q),
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
		d.form, d.text = refForms(q)[0], refText(q)
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
	r, ok := s.Context.Get(a)
	ttl := device.Instant(a.TTL(s.Class) / time.Millisecond)
	if !ok || now < r.At-ttl || now >= r.At+ttl {
		return ""
	}
	return a.Show(r.Value)
}

// refTold is the last reading of any age.
func refTold(s *Screen, a device.Attribute) string {
	if r, ok := s.Context.Get(a); ok {
		return a.Show(r.Value)
	}
	return ""
}

func oneOf(s string, list ...string) bool { return slices.Contains(list, s) }

func refClassForms(c device.Class) string {
	switch c {
	case device.Car:
		return "badge list"
	case device.TV, device.Console, device.Display, device.Companion:
		return "badge list toast panel full-screen"
	case device.Speaker, device.Fridge, device.Washer, device.Dryer, device.Dishwasher, device.Oven:
		return "badge list toast panel"
	}
	return ""
}

func refAllowed(c device.Class, f device.Form) bool {
	return oneOf(f.String(), strings.Fields(refClassForms(c))...)
}

func refSafety(q Request) Verdict {
	s := q.Screen
	if refClassForms(s.Class) == "" {
		return Refuse
	}
	fits := false
	for _, f := range q.Message.Forms {
		fits = fits || refAllowed(s.Class, f)
	}
	if !fits {
		return Refuse
	}
	if i := refText(q); s.Class == device.Car && i < len(q.Message.Texts) {
		if len([]rune(q.Message.Texts[i].Title))+len([]rune(q.Message.Texts[i].Body)) > 80 {
			return Refuse
		}
	}
	if s.Context == nil || q.Home.Alarm || refTold(s, device.Alarm) == "true" || refTold(s, device.DND) == "true" {
		return Hold
	}
	for _, other := range q.Home.Screens {
		if refTold(other, device.Alarm) == "true" {
			return Hold
		}
	}
	word := func(a device.Attribute) string { return refWord(s, a, q.Now) }
	told := func(a device.Attribute) string { return refTold(s, a) }
	switch s.Class {
	case device.TV:
		return showIf(oneOf(word(device.PlayerState), "on", "idle", "paused") ||
			word(device.PlayerState) == "playing" && word(device.Fullscreen) == "false")
	case device.Speaker:
		return showIf(word(device.CallActive) == "false" && told(device.VolumeMuted) != "true")
	case device.Console:
		return showIf(word(device.GameState) == "none")
	case device.Car:
		if told(device.VehicleMoving) == "true" || !oneOf(told(device.VehicleSpeed), "", "0") || !oneOf(told(device.SelectedGear), "", "0", "126") {
			return Hold
		}
		if told(device.Driving) != "" {
			return showIf(word(device.Driving) == "parked")
		}
		return showIf(word(device.SelectedGear) == "126" ||
			word(device.VehicleSpeed) == "0" && word(device.ParkingBrake) == "true")
	case device.Washer, device.Dryer, device.Dishwasher:
		return showIf(oneOf(word(device.OperationalState), "Stopped", "Paused"))
	case device.Oven:
		return showIf(word(device.OperationalState) == "Stopped" && word(device.Alarm) == "false")
	case device.Companion:
		return showIf(oneOf(told(device.PowerState), "", "on") && told(device.CallActive) != "true")
	default: // fridge, display
		return showIf(oneOf(told(device.PowerState), "", "on"))
	}
}

func refConsent(q Request) Verdict {
	said := func(p device.PersonID) string {
		for k, c := range q.Home.Consents {
			if k == (ConsentKey{p, q.Message.Brand, q.Message.Purpose}) {
				return c.String()
			}
		}
		return "silent"
	}
	if o := q.Screen.Owner; o != 0 {
		if said(o) == "given" && oneOf(said(0), "given", "silent") && slices.Index(q.Home.People, o) >= 0 {
			return Show
		}
		return Refuse
	}
	for _, p := range q.Home.People {
		if oneOf(said(p), "refused", "withdrawn") {
			return Refuse
		}
	}
	if said(0) != "given" {
		return Refuse
	}
	return Show
}

func refMute(q Request) Verdict {
	v := Show
	for _, m := range q.Home.Mutes {
		if m.Brand != "" && m.Brand != q.Message.Brand || m.Purpose != 0 && m.Purpose != q.Message.Purpose ||
			m.Category != "" && m.Category != q.Message.Category || m.Class != 0 && m.Class != q.Screen.Class ||
			m.Device != "" && m.Device != q.Screen.ID {
			continue
		}
		if m.Until <= 0 {
			return Refuse
		}
		if m.Until > q.Now {
			v = Hold
		}
	}
	return v
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

func refQuiet(q Request) Verdict {
	if len(q.Home.Quiet) == 0 {
		return Show
	}
	if q.Home.Zone == nil {
		return Hold
	}
	minute := int64(q.Now) / 60000
	today := refWall(q.Home.Zone, minute) / 1440
	for _, z := range q.Home.Quiet {
		if z.Start < 0 || z.Start > 1439 || z.End < 0 || z.End > 1439 || z.Days > 127 {
			return Hold
		}
		for n := today - 3; n <= today+2; n++ {
			weekday := time.Unix(n*86400, 0).UTC().Weekday()
			if z.Days != 0 && z.Days>>weekday&1 == 0 {
				continue
			}
			endDay := n
			if z.End <= z.Start {
				endDay++
			}
			from, _ := refScan(q.Home.Zone, n*1440+int64(z.Start))
			_, to := refScan(q.Home.Zone, endDay*1440+int64(z.End))
			if from <= minute && minute < to {
				return Hold
			}
		}
	}
	return Show
}

func refFrequency(q Request) Verdict {
	v := Show
	for _, c := range q.Home.Caps {
		if c.Brand != "" && c.Brand != q.Message.Brand {
			continue
		}
		if c.Max < 1 || c.Hours < 0 || c.Hours > 168 {
			return Refuse
		}
		if c.Hours == 0 && q.Home.Zone == nil {
			v = Hold
			continue
		}
		n := 0
		for _, e := range q.Home.Shown {
			if q.Own && e.Message == q.Message.ID {
				break // what came later does not count against what is there already
			}
			if (c.Brand != "" || c.Each) && e.Brand != q.Message.Brand {
				continue
			}
			if c.Hours > 0 {
				if q.Now < e.At+device.Instant(c.Hours)*3600_000 {
					n++
				}
			} else if e.At.Time().In(q.Home.Zone).Format(time.DateOnly) >= q.Now.Time().In(q.Home.Zone).Format(time.DateOnly) {
				n++
			}
		}
		if n >= c.Max {
			v = min(v, Hold)
		}
	}
	return v
}

func refDedupe(q Request) Verdict {
	v := Show
	for _, e := range q.Home.Shown {
		if e.Message == q.Message.ID && !q.Own {
			if e.Open {
				v = min(v, Hold)
			} else {
				v = Refuse
			}
		}
	}
	return v
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
			if have := refWord(s, p.Attribute, q.Now); have != "" {
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
	if !oneOf(m.Purpose.String(), PurposeNames()...) || m.Brand == "" || m.ID == (device.MessageID{}) ||
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
	for _, want := range q.Screen.Can.Languages {
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
	return 0
}

func describe(q Request) string {
	s := fmt.Sprintf("now %s own %v", q.Now, q.Own)
	if q.Home != nil {
		h := *q.Home
		h.Screens = nil
		s += fmt.Sprintf("\nhome %+v (zone %v)", h, h.Zone)
	}
	if q.Screen != nil {
		c := *q.Screen
		c.Context = nil
		s += fmt.Sprintf("\nscreen %+v", c)
		for _, name := range device.AttributeNames(0) {
			a, _ := device.ParseAttribute(name)
			if r, ok := q.Screen.Context.Get(a); ok {
				s += fmt.Sprintf("\n  %s = %s at %s", a, a.Show(r.Value), r.At)
			}
		}
	}
	if q.Message != nil {
		s += fmt.Sprintf("\nmessage %+v", *q.Message)
	}
	return s
}

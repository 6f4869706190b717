package policy

import (
	"slices"

	"pgregory.net/rapid"

	"porchlight/device"
)

const refDay = 24 * 3600_000 // ms

// refStanding is what comes of something that speaks against a message until an instant.
func refStanding(q Request, until device.Instant) Verdict {
	if until >= q.Message.NotAfter {
		return Refuse
	}
	return Hold
}

func refAnswered(e Exposure) bool {
	return !e.Open && slices.Contains([]Reaction{Dismissed, Acted}, e.Reaction)
}

// refHere reports whether e is the message that is judged, on the screen that is judged.
func refHere(q Request, e Exposure) bool { return e.Message == q.Message.ID && e.Device == q.Screen.ID }

func refDedupe(q Request) Verdict {
	type key struct {
		brand device.BrandID
		word  string
	}
	m := q.Message
	v := Show
	for _, e := range q.Home.Shown {
		alike := e.Message == m.ID
		if m.Dedupe != "" && (key{e.Brand, e.Dedupe}) == (key{m.Brand, m.Dedupe}) {
			earlier := m.Journey != "" && m.Journey == e.Journey && e.Step < m.Step
			alike = alike || !earlier
		}
		switch {
		case !alike:
		case q.Own:
			if refAnswered(e) && !refHere(q, e) {
				v = Refuse
			}
		case e.Open:
			v = min(v, Hold)
		case e.Message == m.ID:
			v = Refuse
		case q.Now-e.At < 31*refDay:
			v = min(v, refStanding(q, e.At+31*refDay))
		}
	}
	return v
}

func refSequence(q Request) Verdict {
	m := q.Message
	all := []Verdict{Show}
	var mine []Exposure // of the same brand
	for _, e := range q.Home.Shown {
		if e.Brand == m.Brand {
			mine = append(mine, e)
		}
	}
	if m.Journey != "" {
		steps := map[int][]Exposure{}
		for _, e := range mine {
			if e.Journey == m.Journey {
				steps[e.Step] = append(steps[e.Step], e)
			}
		}
		if slices.ContainsFunc(steps[m.Step], func(e Exposure) bool { return refAnswered(e) && !refHere(q, e) }) {
			all = append(all, Refuse)
		}
		if m.Step >= 2 {
			var open, over, good bool
			for _, e := range steps[m.Step-1] {
				as := map[Reaction][]Reaction{
					NoReaction: {NoReaction, Seen, Dismissed, Ignored, Acted, LessOfThis}, Seen: {Seen, Dismissed, Ignored, Acted, LessOfThis},
					Acted: {Acted}, Dismissed: {Dismissed}, Ignored: {Ignored},
				}[m.After]
				open = open || e.Open
				over = over || !e.Open
				good = good || !e.Open && slices.Contains(as, e.Reaction) && q.Now-e.At < 31*refDay
			}
			switch {
			case good:
			case open || !over:
				all = append(all, Hold)
			default:
				all = append(all, Refuse)
			}
		}
	}
	if m.Echo != NoAct {
		did := func(e Exposure) bool {
			about := m.Item == "" || m.Item == e.Item
			return !e.Open && e.Act == m.Echo && about && q.Now-e.At < 31*refDay
		}
		if !slices.ContainsFunc(mine, did) {
			all = append(all, Hold)
		}
	}
	if oneOf(m.Purpose.String(), "marketing", "personalised", "recommendations") {
		for _, c := range q.Home.Complaints {
			if c.Brand == m.Brand {
				all = append(all, Hold)
			}
		}
		for _, g := range q.Home.Got {
			if m.Item != "" && g.Item == m.Item && q.Now-g.At < 14*refDay {
				all = append(all, refStanding(q, g.At+14*refDay))
			}
		}
	}
	return slices.Min(all)
}

// A thread's words, as samples have them.
var (
	aKey     = rapid.SampledFrom([]string{"milk", "milk", "bread", ""})
	aJourney = rapid.SampledFrom([]string{"run", "run", "run-2", ""})
	anItem   = rapid.SampledFrom([]string{"gtin-1", "gtin-1", "gtin-2", ""})
	anAct    = rapid.SampledFrom([]Act{NoAct, Add, Buy, Redeem, Remind, Remind, Complain})
	anAfter  = rapid.SampledFrom([]Reaction{NoReaction, Seen, Acted, Dismissed, Ignored})
)

// ago is an age around the limit of some days.
func ago(t *rapid.T, days int64) device.Instant {
	return device.Instant(rapid.SampledFrom([]int64{0, 3600_000, days * refDay / 2, days*refDay - 60_000, days*refDay - 1, days * refDay, days*refDay + 1, -3600_000}).Draw(t, "ago"))
}

// addThread gives the message something to do with others, and the home some of those.
func addThread(t *rapid.T, q *Request) {
	m := q.Message
	if some(t, 50, "key") {
		m.Dedupe = "milk"
	}
	if some(t, 50, "sequence") {
		m.Journey, m.Step, m.After = "run", rapid.IntRange(1, 3).Draw(t, "step"), anAfter.Draw(t, "after")
	}
	if some(t, 50, "item") {
		m.Item = "gtin-1"
	}
	if some(t, 20, "echo") {
		m.Echo = Remind
	}
	if some(t, 60, "short") {
		m.NotAfter = q.Now + device.Instant(rapid.SampledFrom([]int64{1, 3600_000, 8 * refDay, 16 * refDay, 31 * refDay}).Draw(t, "life"))
	}
	for range rapid.IntRange(0, 3).Draw(t, "others") {
		addStep(t, q)
	}
	if some(t, 25, "done") {
		addActs(t, q)
	}
}

// addStep adds one that was shown, or is, with all that can be known of it.
func addStep(t *rapid.T, q *Request) {
	e := Exposure{Brand: rapid.SampledFrom([]device.BrandID{q.Message.Brand, q.Message.Brand, q.Message.Brand, baker}).Draw(t, "brand"), Message: id(byte(100 + len(q.Home.Shown))),
		Purpose: Marketing, Category: "dairy", Device: rapid.SampledFrom([]device.ID{"screen-1", "fridge-1", "gone-1"}).Draw(t, "on"),
		Open:   some(t, 25, "open"),
		Thread: Thread{Dedupe: aKey.Draw(t, "key"), Journey: aJourney.Draw(t, "journey"), Step: rapid.IntRange(0, 3).Draw(t, "step"), Item: anItem.Draw(t, "item")}}
	if some(t, 10, "this very message") {
		e.Message, e.Brand, e.Thread = q.Message.ID, q.Message.Brand, q.Message.Thread
		e.After, e.Echo = NoReaction, NoAct
	}
	e.At = q.Now - ago(t, 31)
	if !e.Open {
		e.Ended, e.Reaction, e.Act = e.At+1000, rapid.SampledFrom([]Reaction{NoReaction, Seen, Dismissed, Ignored, Acted, Acted}).Draw(t, "reaction"), anAct.Draw(t, "act")
	}
	q.Home.Shown = append(q.Home.Shown, e)
	slices.SortStableFunc(q.Home.Shown, func(a, b Exposure) int { return int(a.At - b.At) })
}

// addActs has somebody get something, or complain.
func addActs(t *rapid.T, q *Request) {
	if some(t, 60, "got") {
		q.Home.Got = append(q.Home.Got, Got{anItem.Draw(t, "item"), q.Now - ago(t, 14)})
		return
	}
	q.Home.Complaints = append(q.Home.Complaints, Complaint{aBrand.Draw(t, "brand"), q.Now - ago(t, 14)})
}

// answerElsewhere has somebody answer one like the message on another screen.
func answerElsewhere(t *rapid.T, q *Request) {
	e := Exposure{At: q.Now - ago(t, 31), Brand: q.Message.Brand, Message: id(99), Purpose: Marketing, Device: "gone-1",
		Reaction: rapid.SampledFrom([]Reaction{Acted, Dismissed}).Draw(t, "answer")}
	e.Dedupe, e.Journey, e.Step = q.Message.Dedupe, q.Message.Journey, q.Message.Step
	q.Home.Shown = append(q.Home.Shown, e)
	slices.SortStableFunc(q.Home.Shown, func(a, b Exposure) int { return int(a.At - b.At) })
}

package policy

import (
	"fmt"
	"strings"
	"time"

	"porchlight/device"
)

// How one message stands to others of the same home, so that what a home is told is one dialogue: once, in
// turn, and never against what somebody here just did.

const (
	// onceIn is how long what was shown speaks for, or against, another message: as long as a message lives.
	onceIn = 31 * 24 * time.Hour
	// gotFor is how long nobody is offered what they have just got.
	gotFor = 14 * 24 * time.Hour
)

var afters = [...]struct {
	name string
	kind Reaction
}{{"any", NoReaction}, {"seen", Seen}, {"acted", Acted}, {"dismissed", Dismissed}, {"ignored", Ignored}}

// AfterNames lists how a step may be asked to have ended.
func AfterNames() (names []string) {
	for _, a := range afters {
		names = append(names, a.name)
	}
	return names
}

// ParseAfter reads how the step before must have ended: any (or nothing), seen, acted, dismissed, ignored.
func ParseAfter(s string) (Reaction, error) {
	for _, a := range afters {
		if a.name == s || s == "" {
			return a.kind, nil
		}
	}
	return NoReaction, fmt.Errorf("%.40q is unknown: use one of %s", s, strings.Join(AfterNames(), ", "))
}

// meets reports whether a step that ended as k is what one that asks for want waits for.
func (k Reaction) meets(want Reaction) bool {
	return want == NoReaction || want == k || want == Seen && k != NoReaction
}

// answered reports whether somebody has said what they think of it.
func (e *Exposure) answered() bool {
	return !e.Open && (e.Reaction == Acted || e.Reaction == Dismissed)
}

// againAt is what a rule says that stands until an instant: a Hold if q's message is still good then, else a
// Refuse.
func (q *Request) againAt(until device.Instant, c Cause) finding {
	if until < q.Message.NotAfter {
		return q.not(holdTo(until), c)
	}
	return q.not(refuse, c)
}

// dedupe refuses what this home has had, and holds what is open on another screen. Messages with one
// key are one, except that a later step of a sequence may follow an earlier one. What is on its screen already is
// taken off when the same was answered elsewhere.
func dedupe(q *Request) finding {
	m, f := q.Message, pass
	for i := range q.Home.Shown {
		e := &q.Home.Shown[i]
		same := e.Message == m.ID
		if !same && (m.Dedupe == "" || e.Dedupe != m.Dedupe || e.Brand != m.Brand) {
			continue
		}
		later := !same && m.Journey != "" && e.Journey == m.Journey && e.Step < m.Step
		c := Cause{Rule: Dedupe, Code: ShownBefore, Device: e.Device, At: e.At}
		switch {
		case q.Own:
			if e.answered() && !later && !(same && e.Device == q.Screen.ID) {
				f = f.and(q.not(refuse, c))
			}
		case later:
		case e.Open:
			c.Code = OnAnother
			f = f.and(q.not(wait, c))
		case same:
			f = f.and(q.not(refuse, c))
		case e.At > q.Now.Add(-onceIn):
			f = f.and(q.againAt(min(e.At, endOfTime).Add(onceIn), c))
		}
	}
	return f
}

// sequence keeps a message from coming out of turn, from contradicting what somebody here just did, and from
// speaking of what nobody did.
func sequence(q *Request) finding {
	m, f := q.Message, pass
	if m.Journey != "" {
		f = q.turn()
	}
	if m.Echo != NoAct {
		f = f.and(q.echo())
	}
	if !promotes(m.Purpose) {
		return f
	}
	for i := range q.Home.Complaints {
		if c := &q.Home.Complaints[i]; c.Brand == m.Brand {
			f = f.and(q.not(wait, Cause{Rule: Sequence, Code: OpenComplaint, Brand: c.Brand, At: c.At}))
		}
	}
	if m.Item == "" {
		return f
	}
	for i := range q.Home.Got {
		if g := &q.Home.Got[i]; g.Item == m.Item && g.At > q.Now.Add(-gotFor) {
			f = f.and(q.againAt(min(g.At, endOfTime).Add(gotFor), Cause{Rule: Sequence, Code: GotAlready, At: g.At}))
		}
	}
	return f
}

// promotes reports whether p is advertising.
func promotes(p Purpose) bool { return p == Marketing || p == Personalised || p == Recommendations }

// turn waits for the step before, and refuses if that has ended in another way, or if this step was answered
// already, in whatever words.
func (q *Request) turn() finding {
	m, f := q.Message, pass
	first := m.Step <= 1
	var on, came bool
	var until device.Instant
	for i := range q.Home.Shown {
		e := &q.Home.Shown[i]
		switch {
		case e.Journey != m.Journey || e.Brand != m.Brand:
		case e.Step == m.Step:
			if e.answered() && (e.Message != m.ID || e.Device != q.Screen.ID) {
				f = f.and(q.not(refuse, Cause{Rule: Sequence, Code: StepOver, Device: e.Device, At: e.At}))
			}
		case first || e.Step != m.Step-1:
		case e.Open:
			on = true
		default:
			came = true
			if e.Reaction.meets(m.After) && e.At > q.Now.Add(-onceIn) {
				until = max(until, min(e.At, endOfTime).Add(onceIn))
			}
		}
	}
	switch {
	case first:
		return f
	case until != 0:
		return f.and(showTo(until))
	case came && !on:
		return f.and(q.not(refuse, Cause{Rule: Sequence, Code: StepOver}))
	default:
		return f.and(q.not(wait, Cause{Rule: Sequence, Code: StepWaits}))
	}
}

// echo passes while somebody here has lately done what the message speaks of, with a message of the same brand and
// about the same item. Somebody still may, as long as the message lives.
func (q *Request) echo() finding {
	m := q.Message
	var until device.Instant
	for i := range q.Home.Shown {
		e := &q.Home.Shown[i]
		if !e.Open && e.Brand == m.Brand && e.Act == m.Echo && (m.Item == "" || m.Item == e.Item) && e.At > q.Now.Add(-onceIn) {
			until = max(until, min(e.At, endOfTime).Add(onceIn))
		}
	}
	if until == 0 {
		return q.not(wait, Cause{Rule: Sequence, Code: NobodyDid})
	}
	return showTo(until)
}

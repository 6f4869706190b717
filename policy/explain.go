package policy

import "porchlight/device"

// Causes is everything that stands against showing q's message, in the order of the rules: nothing
// if d shows it. A decision of another moment is explained by what of its reasons still holds.
func Causes(q Request, d Decision) []Cause {
	if d.Verdict == Show {
		return nil
	}
	var all []Cause
	if parts(&q) == 0 {
		q.look()
		q.notes = &all
		q.prepare()
		for _, r := range d.Reasons.Rules() {
			ask(r, &q)
		}
	}
	for i := range all {
		c := &all[i]
		c.Late = c.Verdict == Hold && c.Until != 0 && waits[c.Code] && c.Until >= q.Message.NotAfter
	}
	if len(all) == 0 {
		all = []Cause{{Code: NothingYet}}
	}
	return all
}

// waits are the codes whose Until is when the clock ends them.
var waits = map[Code]bool{QuietNow: true, CapFull: true, TooClose: true, Muted: true, PausedByHabit: true, WrongTime: true, WaitsLonger: true}

// Grounds is what speaks for showing q's message: whose yes it rests on, and what of its own
// condition has happened; nothing if d does not show it.
func Grounds(q Request, d Decision) []Cause {
	if d.Verdict != Show || parts(&q) != 0 {
		return nil
	}
	q.look()
	q.prepare()
	var all []Cause
	yes := func(who device.PersonID) {
		if c, _ := q.stance(who, q.Home.number(who)); c == Given {
			all = append(all, q.word(who))
		}
	}
	if q.Screen.Owner != device.Household {
		yes(q.Screen.Owner)
	} else {
		yes(device.Household)
		for i := range q.Home.People {
			if q.there.Known&(1<<i) != 0 {
				yes(q.Home.People[i].ID)
			}
		}
	}
	n := inquiry{q: &q}
	for i := range q.Message.When {
		p := &q.Message.When[i]
		if g := p.judge(&n); g.verdict == Show {
			all = append(all, p.cause(g))
		}
	}
	return n.credit(q.Message.Condition, all)
}

// WhatIf is what would have to be otherwise for q's message to be shown: sets of rules, each of
// which would do. As every rule can say no by itself, that is one rule where one alone fails, and
// all that fail where there are several. Nil if it is shown, or cannot be judged.
func WhatIf(q Request) [][]Rule {
	if d := Decide(q); d.Verdict != Show && parts(&q) == 0 {
		return [][]Rule{d.Reasons.Rules()}
	}
	return nil
}

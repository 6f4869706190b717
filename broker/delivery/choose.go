package delivery

import (
	"math"
	"slices"

	"porchlight/device"
	"porchlight/policy"
	"porchlight/policy/words"
)

// choose picks the candidate that comes next, on the screen that suits it best: all of them may be shown.
// busy are the screens that have something on them. Nil: none of them is to be shown now; where that is
// because silence is worth more, h.hush says when they are weighed again. What is picked, with why, was decided
// in this turn. The caller holds h.mu.
func (d *Desk) choose(h *home, candidates []*pair, busy map[device.ID]bool, on *turn) (*pair, *policy.Pick) {
	for {
		p, why := d.weigh(h, candidates, busy, on)
		if p == nil {
			return nil, nil
		}
		form := p.decision.Form
		if d.judgePair(h, p, on); p.decision.Verdict == policy.Show && p.decision.Form == form {
			return p, why
		}
	}
}

// weigh is choose, by the decisions that were taken last.
func (d *Desk) weigh(h *home, candidates []*pair, busy map[device.ID]bool, on *turn) (*pair, *policy.Pick) {
	list, of := on.list[:0], on.of[:0]
	for _, p := range candidates {
		if busy[p.s.ID] || p.decision.Verdict != policy.Show {
			continue
		}
		list = append(list, policy.Candidate{Message: p.m, Screen: &p.s.view, Form: p.decision.Form, There: &on.scene(h, p.s).Presence})
		of = append(of, p)
	}
	if on.list, on.of = list, of; len(list) == 0 {
		return nil, nil
	}
	on.arbiter.Reset(&h.view, d.taste(h, on.now), on.now)
	best, why := on.arbiter.Choose(list)
	if best < 0 {
		h.hush = policy.NextHour(on.now)
		return nil, nil
	}
	return of[best], &why
}

// taste is what was learnt of the people of h up to now. The caller holds h.mu.
func (d *Desk) taste(h *home, now device.Instant) *policy.Taste {
	if hour := policy.Hour(now); h.tasted != hour {
		h.taste, h.tasted = d.tasteOf(h, hour), hour
	}
	return &h.taste
}

// tasteOf is what was learnt of the people of h, as of an hour.
func (d *Desk) tasteOf(h *home, hour device.Instant) policy.Taste {
	did, tried := reactions(h.deeds, &h.view, h.device, h.forgotten, hour)
	return policy.Taste{Habits: did, Tallies: policy.TallyUp(tried, hour), Off: d.o.Learner == LearnerOff}
}

// weighed is what the arbiter makes of m on s alone; ok is false if it may not be shown there now.
func (d *Desk) weighed(h *home, s *screen, q policy.Request, dec policy.Decision) (p policy.Pick, ok bool) {
	if dec.Verdict != policy.Show {
		return p, false
	}
	there := policy.Present(q.Home, q.Screen, q.Now)
	a := policy.Arbiter{Home: q.Home, Taste: d.taste(h, q.Now), Now: q.Now}
	return a.Weigh(policy.Candidate{Message: q.Message, Screen: q.Screen, Form: dec.Form, There: &there}), true
}

// chosen keeps with r why it was chosen; nil says nothing.
func (r Record) chosen(p *policy.Pick) Record {
	if p != nil {
		kept := *p
		for _, x := range numbers(&kept) {
			*x = math.Round(*x*1e6) / 1e6
		}
		r.Choice = &kept
	}
	return r
}

// numbers are those of p that depend on what is weighed.
func numbers(p *policy.Pick) []*float64 {
	s, l := &p.Score, &p.Place
	return []*float64{&s.Value, &s.Chance, &s.Lever, &s.Moment, &s.Fresh, &s.Urgent, &s.Fatigue, &s.Total, &s.Usual, &s.Silence,
		&l.Capability, &l.Attention, &l.Room, &l.Channel, &l.Calm, &l.Total, &p.Next}
}

// sameChoice reports whether again is what was kept, as far as it does not depend on the other messages.
func sameChoice(kept, again *policy.Pick) bool {
	if kept == nil || again == nil {
		return kept == again
	}
	other := *again
	other.Next = kept.Next
	a, b := numbers(kept), numbers(&other)
	near := func(x, y *float64) bool { return math.Abs(*x-*y) < 2e-6 }
	return kept.Seed == again.Seed && kept.Score.Asked == again.Score.Asked && slices.EqualFunc(a, b, near)
}

// choiceWords say why r's message came here, and why it and no other, each as a sentence without its stop.
func choiceWords(r Record, m device.BrandID, s device.Class, language string, n words.Names) []string {
	if r.Choice == nil {
		return nil
	}
	return tell([]policy.Cause{{Code: r.Choice.Here, Verdict: policy.Show, Brand: m, Class: s}, {Code: r.Choice.This, Verdict: policy.Show, Brand: m, Class: s}}, language, n)
}

// The values of Options.Learner. Whether there is a learner changes in which order messages come, and when
// none does; never which may be shown.
const (
	LearnerOn  = "on"
	LearnerOff = "off"
)

package policy

import "porchlight/device"

// Decide judges q. Every rule is asked, so that a decision can always be explained in full; the
// strictest verdict wins, and a rule that cannot be evaluated refuses. It never panics,
// allocates nothing, and does not change what q points to.
func Decide(q Request) Decision { return decide(&q, nil) }

// ask asks one rule. It is a switch and no table of functions, so that q never leaves the stack.
func ask(r Rule, q *Request) finding {
	switch r {
	case Safety:
		return safety(q)
	case Age:
		return age(q)
	case Consent:
		return consent(q)
	case Terms:
		return terms(q)
	case Mute:
		return mute(q)
	case Sensitive:
		return sensitive(q)
	case QuietTime:
		return quiet(q)
	case Frequency:
		return frequency(q)
	case Spacing:
		return spacing(q)
	case Dedupe:
		return dedupe(q)
	case Sequence:
		return sequence(q)
	case Condition:
		return condition(q)
	case Validity:
		return validity(q)
	case Capability:
		return capability(q)
	case Operator:
		return operators(q)
	default: // Language fails never; Holdout is still to come
		return pass
	}
}

// decide asks all rules; spoilt, which only tests have, stands in for some of them.
func decide(q *Request, spoilt *rulebook) (d Decision) {
	if missing := parts(q); missing != 0 {
		return Decision{Reasons: missing}
	}
	asked := Rule(0)
	defer func() {
		if recover() != nil {
			d = Decision{Reasons: Reasons(0).With(asked)}
		}
	}()
	q.look()
	q.prepare()
	all := pass
	longest := finding{}
	for ; asked < rules; asked++ {
		f := ask(asked, q)
		if spoilt != nil && spoilt[asked] != nil {
			c := *q
			f = spoilt[asked](c)
		}
		if f.verdict > Show { // no verdict at all
			f = refuse
		}
		if f.verdict != Show {
			d.Reasons = d.Reasons.With(asked)
		}
		if f.verdict == Hold && (longest.verdict != Hold || f.outlasts(longest)) {
			longest, d.Watch = f, asked
		}
		all = all.and(f)
	}
	d.Verdict = all.verdict
	switch d.Verdict {
	case Show:
		d.Until = all.until
		d.Form, _ = form(q.Message, q.Screen, q.row())
		d.Text = q.text()
		d.Content = q.content(d.Form)
		d.Duties, _ = q.duties()
	case Hold:
		d.Until = sooner(all.until, q.Message.NotAfter)
	default:
		d.Watch = 0
	}
	return d
}

// rulebook holds rules in place of others; nil: as they are.
type rulebook [rules]func(q Request) finding

func (b *rulebook) decide(q Request) Decision { return decide(&q, b) }

// parts names, for each part that q lacks, the rule that cannot be asked without it.
func parts(q *Request) (missing Reasons) {
	if q.Home == nil {
		missing = missing.With(Consent)
	}
	if q.Screen == nil {
		missing = missing.With(Capability)
	}
	if q.Message == nil {
		missing = missing.With(Validity)
	}
	return missing
}

// finding is what one rule says. The zero finding refuses.
type finding struct {
	verdict Verdict
	until   device.Instant // as Decision.Until, for this rule alone; 0: the clock alone never changes it
}

var (
	pass   = finding{verdict: Show}
	refuse = finding{verdict: Refuse}
	wait   = finding{verdict: Hold} // for a fact, however long it takes
)

// not returns f, and writes down why, if it fails and somebody wants to know.
func (q *Request) not(f finding, c Cause) finding {
	if q.notes != nil && f.verdict != Show {
		if c.Verdict = f.verdict; c.Until == 0 {
			c.Until = f.until
		}
		*q.notes = append(*q.notes, c)
	}
	return f
}

// holdTo is a Hold that ends by the clock; showTo is a Show that does.
func holdTo(t device.Instant) finding { return finding{Hold, t} }
func showTo(t device.Instant) finding { return finding{Show, t} }

// outlasts reports whether f stands longer than g by the clock alone.
func (f finding) outlasts(g finding) bool {
	return g.until != 0 && (f.until == 0 || f.until > g.until)
}

// and is what holds if both must pass: the stricter verdict; until the first of two passes
// ends, or the last of two holds.
func (f finding) and(g finding) finding {
	switch {
	case g.verdict < f.verdict:
		return g
	case f.verdict < g.verdict:
		return f
	case f.outlasts(g) == (f.verdict == Show):
		return g
	default:
		return f
	}
}

// or is what holds if either will do: the milder verdict; until the last of two passes ends, or
// the first of two holds.
func (f finding) or(g finding) finding {
	switch {
	case g.verdict > f.verdict:
		return g
	case f.verdict > g.verdict:
		return f
	case f.outlasts(g) == (f.verdict == Show):
		return f
	default:
		return g
	}
}

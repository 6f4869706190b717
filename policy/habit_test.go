package policy

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"porchlight/device"
)

const oneDay = 24 * time.Hour

func did(k Reaction, ago time.Duration) Habit {
	return Habit{Person: ada, Brand: grocer, Kind: k, At: noon.Add(-ago)}
}

func TestLever(t *testing.T) {
	tests := map[string]struct {
		habits []Habit
		want   float64
	}{
		"nothing known":          {nil, 1},
		"one closed just now":    {[]Habit{did(Dismissed, 0)}, 0.65},
		"one closed 14 d ago":    {[]Habit{did(Dismissed, 14*oneDay)}, 0.825},
		"one let go by":          {[]Habit{did(Ignored, 0)}, 0.9},
		"one let go by 7 d ago":  {[]Habit{did(Ignored, 7*oneDay)}, 0.95},
		"one acted on":           {[]Habit{did(Acted, 0)}, 1.25},
		"one acted on 30 d ago":  {[]Habit{did(Acted, 30*oneDay)}, 1.125},
		"ten closed":             {slices.Repeat([]Habit{did(Dismissed, 0)}, 10), 0.10},
		"ten acted on":           {slices.Repeat([]Habit{did(Acted, 0)}, 10), 1.50},
		"less of this, for good": {[]Habit{did(LessOfThis, 1000*oneDay)}, 0.10},
		"less, and acted on":     {[]Habit{did(LessOfThis, 1000*oneDay), did(Acted, 0), did(Acted, 30*oneDay)}, 0.375},
		"in the future":          {[]Habit{did(Dismissed, -oneDay)}, 0.65},
		"nothing at all":         {[]Habit{did(NoReaction, 0), did(99, 0)}, 1},
	}
	for name, tt := range tests {
		if got := Lever(tt.habits, noon); math.Abs(got-tt.want) > 1e-9 {
			t.Errorf("%s: got %v, want %v", name, got, tt.want)
		}
	}
}

func TestPauses(t *testing.T) {
	by := func(h Habit, p device.PersonID, b device.BrandID) Habit {
		h.Person, h.Brand = p, b
		return h
	}
	learnt := func(p device.PersonID, b device.BrandID, until device.Instant) MuteRule {
		return MuteRule{Selector: Selector{Brand: b}, Until: until, Owner: p, Implied: true}
	}
	tests := map[string]struct {
		habits    []Habit
		forgotten map[device.BrandID]device.Instant
		want      []MuteRule
	}{
		"nothing":                 {},
		"one closed":              {habits: []Habit{did(Dismissed, 0)}},
		"two closed":              {habits: []Habit{did(Dismissed, oneDay), did(Dismissed, 2*oneDay)}, want: []MuteRule{learnt(ada, grocer, noon.Add(13*oneDay))}},
		"three closed":            {habits: []Habit{did(Dismissed, 0), did(Dismissed, oneDay), did(Dismissed, 2*oneDay)}, want: []MuteRule{learnt(ada, grocer, noon.Add(14*oneDay))}},
		"nearly 14 days between":  {habits: []Habit{did(Dismissed, 0), did(Dismissed, 14*oneDay-time.Millisecond)}, want: []MuteRule{learnt(ada, grocer, noon.Add(14*oneDay))}},
		"14 days between":         {habits: []Habit{did(Dismissed, 0), did(Dismissed, 14*oneDay)}},
		"a pause that is over":    {habits: []Habit{did(Dismissed, 14*oneDay), did(Dismissed, 15*oneDay)}},
		"let go by, acted on":     {habits: []Habit{did(Dismissed, 0), did(Ignored, 0), did(Acted, 0), did(LessOfThis, 0)}},
		"two people":              {habits: []Habit{did(Dismissed, 0), by(did(Dismissed, 0), ben, grocer)}},
		"two brands":              {habits: []Habit{did(Dismissed, 0), by(did(Dismissed, 0), ada, baker)}},
		"forgotten since":         {habits: []Habit{did(Dismissed, 1), did(Dismissed, 2)}, forgotten: map[device.BrandID]device.Instant{grocer: noon}},
		"forgotten in between":    {habits: []Habit{did(Dismissed, 0), did(Dismissed, oneDay)}, forgotten: map[device.BrandID]device.Instant{grocer: noon.Add(-oneDay)}},
		"another brand forgotten": {habits: []Habit{did(Dismissed, 0), did(Dismissed, oneDay)}, forgotten: map[device.BrandID]device.Instant{baker: noon}, want: []MuteRule{learnt(ada, grocer, noon.Add(14*oneDay))}},
		"in the future":           {habits: []Habit{did(Dismissed, 0), did(Dismissed, -time.Millisecond)}},
		"by people and brands": {
			habits: []Habit{by(did(Dismissed, 0), ben, grocer), did(Dismissed, 0), by(did(Dismissed, 0), ada, baker), by(did(Dismissed, oneDay), ada, baker), did(Dismissed, oneDay), by(did(Dismissed, 0), ben, grocer)},
			want:   []MuteRule{learnt(ada, baker, noon.Add(14*oneDay)), learnt(ada, grocer, noon.Add(14*oneDay)), learnt(ben, grocer, noon.Add(14*oneDay))},
		},
	}
	for name, tt := range tests {
		if got := Pauses(tt.habits, noon, tt.forgotten); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %+v, want %+v", name, got, tt.want)
		}
	}
}

// P4: learning never widens. Whatever was done with earlier messages, the mutes that follow from it
// only restrict, and to forget it brings back what would be without it and no more.
func TestPromiseLearningNeverWidens(t *testing.T) {
	type sample struct {
		q                     Request
		learnt, more, nothing []MuteRule
	}
	samples := rapid.Custom(func(t *rapid.T) sample {
		s := sample{q: rapid.OneOf(fewRequests, requests).Draw(t, "request")}
		var habits []Habit
		for range rapid.IntRange(1, 6).Draw(t, "habits") {
			habits = append(habits, Habit{Person: aWisher(t, &s.q), Brand: aBrand.Draw(t, "brand"),
				Kind: rapid.SampledFrom([]Reaction{Dismissed, Dismissed, Dismissed, Ignored, Acted, LessOfThis}).Draw(t, "kind"),
				At:   s.q.Now.Add(-time.Duration(rapid.Int64Range(0, int64(20*oneDay)).Draw(t, "ago")))})
		}
		n := len(habits)
		s.learnt = Pauses(habits[:n/2], s.q.Now, nil)
		s.more = Pauses(habits, s.q.Now, nil)
		s.nothing = Pauses(habits, s.q.Now, map[device.BrandID]device.Instant{grocer: s.q.Now, baker: s.q.Now})
		if l := Lever(habits, s.q.Now); l < leastLever || l > mostLever {
			t.Fatalf("a lever of %v", l)
		}
		return s
	})
	implied := func(without func(*MuteRule)) func(*rulebook) {
		return func(b *rulebook) {
			b[Mute] = func(q Request) finding {
				q = clone(q)
				for i := range q.Home.Mutes {
					if q.Home.Mutes[i].Implied {
						without(&q.Home.Mutes[i])
					}
				}
				return mute(&q)
			}
		}
	}
	promise(t, samples, func(decide judge, s sample) string {
		with := func(learnt []MuteRule) Decision {
			q := clone(s.q)
			q.Home.Mutes = append(q.Home.Mutes, learnt...)
			return decide(q)
		}
		plain, learnt, more := decide(s.q), with(s.learnt), with(s.more)
		switch {
		case plain.Verdict != Show && learnt.Verdict == Show, learnt.Verdict != Show && more.Verdict == Show:
			return fmt.Sprintf("%s, %s after what was learnt (%+v), %s after more (%+v)\n%s", plain.Verdict, learnt.Verdict, s.learnt, more.Verdict, s.more, describe(s.q))
		case with(s.nothing) != plain:
			return fmt.Sprintf("%+v, and when all is forgotten %+v\n%s", plain, with(s.nothing), describe(s.q))
		}
		for _, r := range s.more {
			if !r.Implied || r.Until <= s.q.Now || r.Until > s.q.Now.Add(pause) {
				return fmt.Sprintf("learnt %+v at %s", r, s.q.Now)
			}
			if q := clone(s.q); r.Owner == device.Household && r.Picks(q.Message, q.Screen) && with(s.more).Verdict == Show {
				return fmt.Sprintf("shown in spite of %+v\n%s", r, describe(q))
			}
		}
		return ""
	}, map[string]func(*rulebook){
		"a pause is passed over": implied(func(r *MuteRule) { r.Until = 1 }),
		"a pause lifts other mutes": func(b *rulebook) {
			b[Mute] = func(q Request) finding {
				for _, r := range q.Home.Mutes {
					if r.Implied && r.Brand != q.Message.Brand {
						return pass
					}
				}
				return mute(&q)
			}
		},
		"what was learnt opens quiet times": func(b *rulebook) {
			b[QuietTime] = func(q Request) finding {
				if slices.ContainsFunc(q.Home.Mutes, func(r MuteRule) bool { return r.Implied }) {
					return pass
				}
				return anew(quiet, q)
			}
		},
	})
}

package delivery

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight/device"
	"porchlight/device/store"
	"porchlight/device/wire"
	"porchlight/policy"
)

// letGo has n messages let go by, one after the other.
func (w *world) letGo(h *hand, n int, edit func(*Submission)) {
	w.t.Helper()
	for range n {
		id := w.push(edit)
		h.mustShow(id)
		h.ends(id, wire.Event{Kind: wire.TimedOut})
	}
}

func (w *world) weigh(id device.MessageID, h *hand) (p policy.Pick, ok bool) {
	w.t.Helper()
	w.must(w.desk.in(1, func(home *home) error {
		s := home.screens[h.id]
		q := policy.Request{Home: &home.view, Screen: &s.view, Message: w.desk.message(id), Now: w.now()}
		p, ok = w.desk.weighed(home, s, q, policy.Decide(q))
		return nil
	}))
	return p, ok
}

// What is let go by again and again gives way to silence, which says so; and comes at the first full hour
// at which it is worth more again, without anything else happening.
func TestSilenceWinsUntilItIsWeighedAnew(t *testing.T) {
	inWorld(t, func(w *world) {
		fridge := w.home(device.Fridge)[device.Fridge]
		w.choose(policy.Given)
		w.pass(17 * time.Minute) // what looks at homes now and then does so at no full hour
		w.letGo(fridge, 5, nil)
		long := func(s *Submission) { s.NotAfter = w.now().Time().Add(30 * 24 * time.Hour) }
		id := w.push(long)
		fridge.mustShow()
		if p, ok := w.weigh(id, fridge); !ok || !p.Score.Silent() {
			t.Fatalf("may be shown: %v, %+v", ok, p)
		}
		if got := w.why(id, fridge); got != "show[]" {
			t.Fatalf("silence is no rule: %s", got)
		}
		for language, word := range map[string]string{"en": "let go by", "de": "nicht beachtet", "fr": "ignorés", "es": "ignoran"} {
			list, err := w.desk.Held(w.t.Context(), "oak", WhyOptions{Language: language})
			w.must(err)
			if len(list) != 1 || list[0].Messages[0].ID != id || !strings.Contains(strings.Join(list[0].Words, ";"), word) || len(list[0].Causes) != 1 {
				t.Errorf("%s: held back is %+v, want %q", language, list, word)
			}
		}
		service := w.push(func(s *Submission) { s.Purpose = policy.Service })
		w.must(w.desk.Choose(w.t.Context(), "oak", "", "grocer", policy.Service, policy.Given))
		w.wait()
		fridge.mustShow(service)
		fridge.ends(service, wire.Event{Kind: wire.TimedOut})
		fridge.mustShow()
		w.memory()
		hours := 0
		for ; len(fridge.screen()) == 0; hours++ {
			if hours > 20*24 {
				t.Fatal("silence for 20 days")
			}
			w.pass(time.Duration(policy.NextHour(w.now())-w.now()) * time.Millisecond)
			p, ok := w.weigh(id, fridge)
			if shown := len(fridge.screen()) > 0; ok && !shown && !p.Score.Silent() {
				t.Fatalf("hour %d: it is worth more than silence, and not shown: %+v", hours, p.Score)
			}
		}
		fridge.mustShow(id)
		t.Logf("after %d hours", hours)
		if hours < 2 {
			t.Errorf("silence for %d hours: the test says nothing of waking up", hours)
		}
		w.memory()
	})
}

// Silence ends when what was learnt is forgotten.
func TestForgettingEndsSilence(t *testing.T) {
	inWorld(t, func(w *world) {
		fridge := w.home(device.Fridge)[device.Fridge]
		w.choose(policy.Given)
		w.letGo(fridge, 5, nil)
		id := w.push(nil)
		fridge.mustShow()
		all, err := w.desk.Learnt(w.t.Context(), "oak", WhyOptions{})
		w.must(err)
		if i := slices.IndexFunc(all, func(st LearntState) bool { return st.Brand == "" }); i < 0 || all[i].Of != 5 || all[i].Acted != 0 || all[i].Category != "groceries" ||
			all[i].Class != device.Fridge || all[i].Part != policy.Night || !strings.Contains(all[i].Words, "5, of them answered: 0") {
			t.Fatalf("learnt: %+v", all)
		}
		w.must(w.desk.Forget(w.t.Context(), "oak", "grocer"))
		w.wait()
		fridge.mustShow(id)
		if all, err = w.desk.Learnt(w.t.Context(), "oak", WhyOptions{}); err != nil || len(all) > 0 {
			t.Errorf("learnt: %+v, %v", all, err)
		}
	})
}

// What somebody did who is frozen since teaches nothing, and with the learner off nothing is learnt from.
func TestWhatTeachesNothing(t *testing.T) {
	tests := map[string]func(w *world){
		"frozen":      func(w *world) { w.must(w.desk.SetFrozen(w.t.Context(), "oak", "Anna", true)) },
		"learner off": func(w *world) { w.learner = LearnerOff; w.restart(); w.hands[w.phone()].connect() },
	}
	for name, f := range tests {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				phone := w.flat()[device.Companion]
				w.letGo(phone, 5, to(device.Companion))
				id := w.push(to(device.Companion))
				phone.mustShow()
				f(w)
				w.wait()
				if name == "learner off" {
					phone.mustShow(id)
					return
				}
				w.must(w.desk.in(1, func(h *home) error {
					if taste := w.desk.taste(h, w.now()); len(taste.Tallies) > 0 {
						t.Errorf("learnt: %+v", taste.Tallies)
					}
					return nil
				}))
			})
		})
	}
}

// phone is Anna's.
func (w *world) phone() device.ID {
	for id, h := range w.hands {
		if h.class == device.Companion {
			return id
		}
	}
	return ""
}

// Whatever was learnt, the answers of the judge are the same.
func TestAdversarialTasteChangesNoDecision(t *testing.T) {
	inWorld(t, func(w *world) {
		all := w.flat()
		all[device.TV].tell(map[string]any{"state": "playing", "full_screen": true})
		var ids []device.MessageID
		for i, c := range []device.Class{device.TV, device.Fridge, device.Companion, device.Display} {
			ids = append(ids, w.push(func(s *Submission) { to(c)(s); s.Category = fmt.Sprint("category-", i) }))
		}
		ids = append(ids, w.push(nil), w.push(func(s *Submission) { s.Purpose = policy.Service }))
		decisions := func(taste policy.Taste) (list []policy.Decision) {
			w.must(w.desk.in(1, func(h *home) error {
				h.taste, h.tasted = taste, policy.Hour(w.now())
				h.all = true
				w.desk.wake(h, &turn{now: w.now()})
				for _, p := range h.pairs {
					list = append(list, p.decision)
				}
				return nil
			}))
			return list
		}
		want := decisions(policy.Taste{})
		of := func(v policy.Verdict) int {
			return len(slices.DeleteFunc(slices.Clone(want), func(d policy.Decision) bool { return d.Verdict != v }))
		}
		if len(ids) != 6 || of(policy.Show) == 0 || of(policy.Hold) == 0 || of(policy.Refuse) == 0 {
			t.Fatalf("%v: want some of each verdict", want)
		}
		for name, x := range map[string]float64{"nobody ever acts": 0, "everybody always does": 1e9, "nonsense": math.NaN()} {
			taste := policy.Taste{Tallies: map[policy.Occasion]policy.Tally{}}
			for part := range policy.Evening + 1 {
				for _, c := range []device.Class{device.TV, device.Fridge, device.Companion, device.Display} {
					taste.Tallies[policy.Occasion{Category: "groceries", Class: c, Part: part}] = policy.Tally{Acted: x, Not: 1e9 - x}
				}
			}
			for range 50 {
				taste.Habits = append(taste.Habits, policy.Habit{Brand: "grocer", Kind: policy.Dismissed, At: w.now()}, policy.Habit{Person: 1, Brand: "grocer", Kind: policy.LessOfThis})
			}
			if got := decisions(taste); !slices.Equal(got, want) {
				t.Errorf("%s: %v, want %v", name, got, want)
			}
		}
	})
}

// What is shown is kept with why, is told in all languages, and comes out the same when it is taken again.
func TestChoiceIsKeptToldAndReplayed(t *testing.T) {
	inWorld(t, func(w *world) {
		all := w.flat()
		tv, fridge := all[device.TV], all[device.Fridge]
		w.must(w.desk.SetPreferences(w.t.Context(), "oak", Preferences{Channels: []NamedChannel{{Classes: []device.Class{device.Fridge}}}}))
		w.wait()
		both := func(s *Submission) { s.Classes = []device.Class{device.TV, device.Fridge} }
		fridge.tell(map[string]any{"door.open": true}) // no rule asks for that
		first := w.push(both)
		fridge.mustShow(first)
		tv.mustShow()
		fridge.ends(first, wire.Event{Kind: wire.Dismissed})
		second := w.push(func(s *Submission) { both(s); s.Category = "books" })
		w.wait()
		why, err := w.desk.Why(w.t.Context(), first, "oak", WhyOptions{})
		w.must(err)
		i := slices.IndexFunc(why.Homes[0].Screens, func(s WhyScreen) bool { return s.Device == fridge.id })
		if d := why.Homes[0].Screens[i].Delivery; d == nil || d.Decision.Choice == nil || len(d.Chosen) != 2 || d.Decision.Choice.Here != policy.LikedThere || d.Decision.Choice.This != policy.Only {
			t.Fatalf("why: %+v", d)
		}
		for _, language := range []string{"en", "de", "fr", "es"} {
			w.must(w.desk.WhyAsked(fridge.id, fridge.up, wire.WhyAsked{Seq: 7, Language: language, Message: &first}))
			w.wait()
			if lines := fridge.because.Lines; len(lines) < 3 || lines[len(lines)-1] == lines[len(lines)-2] {
				t.Errorf("%s: %q, want why, why here and why this", language, lines)
			}
		}
		list, err := w.desk.kept(w.t.Context(), 1, 0)
		w.must(err)
		again, err := w.desk.again(w.t.Context(), 1, list)
		w.must(err)
		drawn := false
		for i, r := range again {
			if len(r.Differs) > 0 || r.Kept.Choice == nil {
				t.Errorf("%d: %s", i, asJSON(r))
				continue
			}
			drawn = drawn || r.Kept.Choice.Score.Drawn
		}
		if len(again) != 2 || !drawn || again[1].Message != second {
			t.Fatalf("%d decisions, drawn: %v", len(again), drawn)
		}
		// What was not so is noticed.
		for name, spoil := range map[string]func(p *policy.Pick){
			"seed": func(p *policy.Pick) { p.Seed++ }, "score": func(p *policy.Pick) { p.Score.Chance += 1e-4 }, "place": func(p *policy.Pick) { p.Place.Room += 0.1 },
			"tier": func(p *policy.Pick) { p.Score.Asked = true },
		} {
			k := list[1]
			raw, err := json.Marshal(k.Decision.Choice)
			w.must(err)
			var pick policy.Pick
			w.must(json.Unmarshal(raw, &pick))
			spoil(&pick)
			k.Decision.Choice = &pick
			one, err := w.desk.again(w.t.Context(), 1, []kept{k})
			w.must(err)
			if !slices.Equal(one[0].Differs, []string{"choice"}) {
				t.Errorf("another %s: it differs in %v", name, one[0].Differs)
			}
		}
	})
}

// A brand's values count beside its own: in whatever unit it counts, the same is shown in the same order,
// and whoever shouts has said nothing.
func TestShoutingDoesNotHelp(t *testing.T) {
	values := []float64{0.2, 0.9, 0.4, 0.1, 0.7, 0.3}
	order := func(scale float64) (shown []int, worths []float64) {
		inWorldOf(t, func(w *world) {
			tv := w.home(device.TV)[device.TV]
			var ids []device.MessageID
			for _, v := range values {
				ids = append(ids, w.push(func(s *Submission) { s.Value = new(v * scale) }))
			}
			for _, id := range ids {
				worths = append(worths, w.desk.message(id).Value)
			}
			w.choose(policy.Given)
			for range ids {
				on := tv.screen()
				if len(on) != 1 {
					t.Fatalf("on the screen is %v", on)
				}
				shown = append(shown, slices.Index(ids, on[0]))
				_, err := w.desk.Withdraw(w.t.Context(), "grocer", on[0]) // nobody did anything with it
				w.must(err)
				w.wait()
			}
		})
		return shown, worths
	}
	shown, worths := order(1)
	if slices.IsSorted(shown) {
		t.Errorf("shown in order of acceptance %v: the values %v made no difference", shown, values)
	}
	for _, scale := range []float64{0.5, 1.1, 0.01} {
		if s, v := order(scale); !slices.Equal(s, shown) || !slices.Equal(v, worths) {
			t.Errorf("times %g: shown %v, worth %v; want %v, %v", scale, s, v, shown, worths)
		}
	}
	inWorld(t, func(w *world) {
		worth := func(id device.MessageID) float64 { return w.desk.message(id).Value }
		var ids []device.MessageID
		for range 5 {
			id := w.push(func(s *Submission) { s.Value = new(1.0) })
			if worth(id) != 0.5 {
				t.Errorf("one of those that are all at 1 is worth %g, want 0.5", worth(id))
			}
			ids = append(ids, id)
		}
		low := w.push(func(s *Submission) { s.Value = new(0.5) })
		zero := w.push(func(s *Submission) { s.Value = new(0.0) })
		if worth(low) >= 0.5 || worth(zero) != 0.05 {
			t.Errorf("half is worth %g, nothing %g", worth(low), worth(zero))
		}
		was := worth(low)
		w.restart()
		for _, id := range ids {
			if worth(id) != 0.5 || worth(low) != was {
				t.Errorf("after a restart %g and %g", worth(id), worth(low))
			}
		}
		w.must(w.db.View(w.t.Context(), func(tx *store.Tx) error {
			m, err := messageOf(tx, low) // as a replay has it
			if err == nil && m.Value != was {
				t.Errorf("taken again it is worth %g, want %g", m.Value, was)
			}
			return err
		}))
		w.jump.Store((31 * 24 * time.Hour).Milliseconds())
		if id := w.push(func(s *Submission) { s.Value = new(0.1) }); worth(id) != 0.5 {
			t.Errorf("a month later the first is worth %g, want 0.5", worth(id))
		}
		s := w.good()
		s.Value = new(1.5)
		if _, err := w.desk.Accept(w.t.Context(), w.brand, "much", s); err == nil || !strings.Contains(err.Error(), "value") {
			t.Errorf("a value of 1.5: %v", err)
		}
	})
}

// Messages that nobody sees, and that cost nothing, do not buy the others much: whatever their number and
// value, none comes to more than 1.5 times the middle, and the others keep their order.
func TestWorthWithDummies(t *testing.T) {
	tests := map[string][]float64{
		"all at 1": {1, 1, 1}, "one at 1": {1}, "one at next to nothing": {1e-300}, "various": {0.2, 0.9, 0.4, 0.1, 0.7, 0.3},
	}
	for name, values := range tests {
		for _, d := range []struct {
			n     int
			value float64
		}{{1, 0}, {45, 0}, {45, 1e-9}, {9, 0.01}} {
			t.Run(fmt.Sprint(name, " ", d), func(t *testing.T) {
				inWorldOf(t, func(w *world) {
					w.home(device.TV)
					w.push(func(s *Submission) { s.Value = new(1.0) })
					for range d.n {
						id := w.push(func(s *Submission) {
							s.Value, s.Classes, s.Purpose = new(d.value), []device.Class{device.Other}, policy.Service
						})
						_, err := w.desk.Withdraw(w.t.Context(), "grocer", id)
						w.must(err)
					}
					var ids []device.MessageID
					var worths []float64
					for _, v := range values {
						id := w.push(func(s *Submission) { s.Value = new(v) })
						ids, worths = append(ids, id), append(worths, w.desk.message(id).Value)
					}
					for i, x := range worths {
						if x < 0.05 || x > 0.75 {
							t.Errorf("%g is worth %g after %d of %g, want 0.05 to 0.75", values[i], x, d.n, d.value)
						}
						if i > 0 && values[i] > values[i-1] && x < worths[i-1] {
							t.Errorf("%g is worth %g, and less than %g, which is worth %g", values[i], x, values[i-1], worths[i-1])
						}
					}
					w.restart()
					w.must(w.db.View(w.t.Context(), func(tx *store.Tx) error {
						for i, id := range ids {
							m, err := messageOf(tx, id) // as a replay has it
							if err != nil || m.Value != worths[i] || w.desk.message(id).Value != worths[i] {
								t.Errorf("%g was worth %g, after a restart %g, taken again %+v, %v", values[i], worths[i], w.desk.message(id).Value, m, err)
							}
						}
						return nil
					}))
				})
			})
		}
	}
}

// What a message waited for and has happened is kept with its choice, and comes out the same again.
func TestChoiceByMomentIsReplayed(t *testing.T) {
	for text, want := range map[string]float64{
		"fridge.door.open && now.hour < 23":                        1.25,
		"fridge.door.open && screen.state in ['on', 'paused']":     1.5,
		"now.time != '04:33' || fridge.door.open || screen.dnd":    1,
		"!(oven.door.open && screen.state == 'off') && !tv.dnd":    1,
		"fridge.door.open ? screen.state != 'off' : !oven.alarm":   1,
		"fridge.door.open.since >= 0 && fridge.door.open != false": 1.25,
	} {
		t.Run(text, func(t *testing.T) {
			inWorld(t, func(w *world) {
				all := w.home(device.TV, device.Fridge, device.Oven)
				w.choose(policy.Given)
				all[device.TV].tell(map[string]any{"state": "paused", "dnd": false})
				all[device.Oven].tell(map[string]any{"door.open": false, "alarm": false})
				all[device.Fridge].tell(map[string]any{"door.open": true})
				id := w.push(waitsFor(text))
				all[device.TV].mustShow(id)
				again := w.replayed()
				if len(again) != 1 || len(again[0].Differs) > 0 || again[0].Kept.Choice == nil || again[0].Again.Choice.Score.Moment != want || again[0].Kept.Choice.Score.Moment != want {
					t.Errorf("replayed: %s, want %g", asJSON(again), want)
				}
			})
		})
	}
}

// The screen that people like is the one; a home that has said nothing has the most fitting.
func TestChannelsEndToEnd(t *testing.T) {
	both := func(s *Submission) { s.Classes = []device.Class{device.Display, device.TV} }
	tests := map[string]struct {
		channels []NamedChannel
		want     device.Class
	}{
		"the home likes the display":    {[]NamedChannel{{Classes: []device.Class{device.Display, device.TV}}}, device.Display},
		"the home likes the television": {[]NamedChannel{{Classes: []device.Class{device.TV, device.Display}}}, device.TV},
		"Anna is there and likes the display": {[]NamedChannel{{Classes: []device.Class{device.TV}}, {Owner: "Anna", Classes: []device.Class{device.Display}}},
			device.Display},
		"Ben is not there": {[]NamedChannel{{Classes: []device.Class{device.TV}}, {Owner: "Ben", Classes: []device.Class{device.Display}}}, device.TV},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				all := w.flat()
				w.must(w.desk.SetPreferences(w.t.Context(), "oak", Preferences{Channels: tt.channels}))
				all[device.TV].tell(map[string]any{"presence.who": "1"})
				w.restart()
				for _, c := range []device.Class{device.TV, device.Display} {
					all[c].connect()
				}
				all[device.TV].tell(map[string]any{"presence.who": "1"})
				all[device.Display].tell(map[string]any{"presence.who": "1"})
				id := w.push(both)
				for c, h := range map[device.Class]*hand{device.TV: all[device.TV], device.Display: all[device.Display]} {
					if c == tt.want {
						h.mustShow(id)
					} else {
						h.mustShow()
					}
				}
			})
		})
	}
	inWorld(t, func(w *world) {
		w.flat()
		for field, c := range map[string][]NamedChannel{
			"channels[0].owner": {{Owner: "Eve", Classes: []device.Class{device.TV}}}, "channels[0].classes": {{}}, "channels[0].classes[1]": {{Classes: []device.Class{device.TV, device.TV}}},
			"channels[1].owner": {{Classes: []device.Class{device.TV}}, {Classes: []device.Class{device.Car}}},
		} {
			if err := w.desk.SetPreferences(w.t.Context(), "oak", Preferences{Channels: c}); err == nil || !strings.Contains(err.Error(), field+" ") {
				t.Errorf("%v: %v, want it to name %s", c, err, field)
			}
		}
	})
}

package policy

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"porchlight/device"
)

// aSlot is a home with a television and a display in two rooms, and n messages that both may show.
type aSlot struct {
	h        Home
	taste    Taste
	now      device.Instant
	messages []*Message
}

func aHall(n int) *aSlot {
	s := &aSlot{now: device.At(time.Date(2026, 6, 10, 19, 20, 0, 0, time.UTC))}
	s.h = Home{ID: 7, Zone: time.UTC, People: []Person{{ID: 1}, {ID: 2}}}
	for i, class := range []device.Class{device.TV, device.Display, device.Fridge} {
		s.h.Screens = append(s.h.Screens, &Screen{ID: device.ID(fmt.Sprint("screen-", i)), Class: class, Room: device.RoomID(i + 1), Context: &device.Context{Class: class},
			Can: device.Capabilities{Width: 1280, Height: 720, Diagonal: 600, Inputs: device.Touch, MaxButtons: 4, Forms: []device.Form{device.Toast}}})
	}
	for i := range n {
		m := &Message{ID: device.MessageID{byte(i >> 8), byte(i), 1}, Brand: device.BrandID(fmt.Sprint("brand-", i%3)), Purpose: Marketing, Category: fmt.Sprint("category-", i%4),
			Forms: []device.Form{device.Toast}, NotAfter: s.now.Add(48 * time.Hour), Value: 0.5, Seq: int64(i + 1)}
		s.messages = append(s.messages, m)
	}
	return s
}

// list is every message on every screen.
func (s *aSlot) list() (all []Candidate) {
	for _, m := range s.messages {
		for _, sv := range s.h.Screens {
			there := Present(&s.h, sv, s.now)
			all = append(all, Candidate{m, sv, device.Toast, &there})
		}
	}
	return all
}

func (s *aSlot) arbiter() *Arbiter { return &Arbiter{Home: &s.h, Taste: &s.taste, Now: s.now} }

// choose names what comes next, by message and screen; "" is silence.
func (s *aSlot) choose(list []Candidate) (string, Pick) {
	i, p := s.arbiter().Choose(list)
	if i < 0 {
		return "", p
	}
	return fmt.Sprint(list[i].Message.Seq, " on ", list[i].Screen.ID), p
}

func (s *aSlot) tell(screen int, a device.Attribute, v any, since time.Duration) {
	value, err := a.ValueOf(v)
	if err != nil {
		panic(err)
	}
	s.h.Screens[screen].Context.Set(a, value, s.now.Add(-since))
}

// did is that somebody did this with n messages of a brand about a category on the television, at this time of day.
func (s *aSlot) did(n int, kind Reaction, ago time.Duration, who device.PersonID, m *Message) {
	var trials []Trial
	for range n {
		at := s.now.Add(-ago)
		s.taste.Habits = append(s.taste.Habits, Habit{who, m.Brand, m.Category, kind, at})
		trials = append(trials, Trial{Occasion{m.Category, device.TV, PartOf(s.now, s.h.Zone)}, kind, at})
	}
	for o, t := range TallyUp(trials, Hour(s.now)) {
		if s.taste.Tallies == nil {
			s.taste.Tallies = map[Occasion]Tally{}
		}
		was := s.taste.Tallies[o]
		s.taste.Tallies[o] = Tally{was.Acted + t.Acted, was.Not + t.Not}
	}
}

func TestBestScreen(t *testing.T) {
	// All three are equal but for the order of their classes: the television would be first.
	tests := map[string]struct {
		edit func(*aSlot)
		want string
		here Code
	}{
		"all alike":               {func(s *aSlot) {}, "screen-0", AnyScreen},
		"the only one":            {func(s *aSlot) { s.h.Screens = s.h.Screens[2:] }, "screen-2", OnlyHere},
		"somebody in front of it": {func(s *aSlot) { s.tell(1, device.PresenceCount, 1, 0) }, "screen-1", LookedAt},
		"somebody long ago":       {func(s *aSlot) { s.tell(1, device.PresenceCount, 1, time.Hour) }, "screen-0", AnyScreen},
		"more people": {func(s *aSlot) {
			s.tell(0, device.PresenceCount, 1, 0)
			s.tell(1, device.PresenceCount, 3, 0)
		}, "screen-1", PeopleThere},
		"its door was just opened": {func(s *aSlot) { s.tell(2, device.DoorOpen, true, time.Minute) }, "screen-2", LookedAt},
		"its door stands open": {func(s *aSlot) {
			s.tell(2, device.DoorOpen, true, 9*time.Minute)
			s.tell(2, device.DoorOpen, true, time.Minute)
		}, "screen-0", AnyScreen},
		"it has just been paused": {func(s *aSlot) {
			s.h.Screens[0], s.h.Screens[1] = s.h.Screens[1], s.h.Screens[0]
			s.tell(1, device.PlayerState, "paused", 30*time.Second)
		}, "screen-0", LookedAt},
		"it is on":            {func(s *aSlot) { s.tell(1, device.PowerState, "on", 0) }, "screen-1", LookedAt},
		"it stands by":        {func(s *aSlot) { s.tell(1, device.PowerState, "standby", 0) }, "screen-0", AnyScreen},
		"the home likes it":   {func(s *aSlot) { s.h.Channels = []Channel{{Classes: []device.Class{device.Display, device.TV}}} }, "screen-1", LikedThere},
		"the home likes what": {func(s *aSlot) { s.h.Channels = []Channel{{Classes: []device.Class{device.Car}}} }, "screen-0", AnyScreen},
		"who is not there does not count": {func(s *aSlot) {
			s.h.Channels = []Channel{{Owner: 1, Classes: []device.Class{device.Display}}}
		}, "screen-0", AnyScreen},
		"who is there counts before the home": {func(s *aSlot) {
			s.tell(0, device.PresenceWho, "1", 0)
			s.tell(1, device.PresenceWho, "1", 0)
			s.h.Channels = []Channel{{Classes: []device.Class{device.TV}}, {Owner: 1, Classes: []device.Class{device.Display}}}
		}, "screen-1", LikedThere},
		"a larger one": {func(s *aSlot) { s.h.Screens, s.h.Screens[0].Can.Diagonal = s.h.Screens[:2], 200 }, "screen-1", ShowsItBest},
		"one with sound": {func(s *aSlot) {
			s.messages[0].Sound = true
			s.h.Screens[1].Can.Sound = 1
		}, "screen-1", ShowsItBest},
		"one to answer on": {func(s *aSlot) {
			s.messages[0].Buttons = []Button{{ID: 1}}
			s.h.Screens, s.h.Screens[0].Can.Inputs = s.h.Screens[:2], device.VoiceIn
		}, "screen-1", ShowsItBest},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := aHall(1)
			tt.edit(s)
			list := s.list()
			i, p := s.arbiter().Choose(list)
			if i < 0 || string(list[i].Screen.ID) != tt.want || p.Here != tt.here {
				t.Errorf("%d: %+v, want %s because %s", i, p, tt.want, tt.here)
			}
		})
	}
	t.Run("the least intrusive", func(t *testing.T) {
		s := aHall(1)
		s.messages[0].Forms = []device.Form{device.Panel}
		list := s.list()
		for i := range list {
			list[i].Form = device.FullScreen // none is what its brand likes best
		}
		list[2].Form = device.Badge
		if i, p := s.arbiter().Choose(list); i != 2 || p.Here != DisturbsLeast {
			t.Errorf("%d, %s: want the badge because it disturbs the least", i, p.Here)
		}
	})
}

func TestPlaceAllocatesNothing(t *testing.T) {
	s := aHall(1)
	s.tell(0, device.PresenceWho, "1 2", 0)
	s.h.Channels = []Channel{{Owner: 1, Classes: []device.Class{device.TV}}}
	there := Present(&s.h, s.h.Screens[0], s.now)
	var p Place
	if n := testing.AllocsPerRun(100, func() { p = PlaceOf(&s.h, s.messages[0], s.h.Screens[0], device.Toast, &there, s.now) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if p.Total <= 0 || p.Total > 1 {
		t.Errorf("%+v", p)
	}
}

func TestOrder(t *testing.T) {
	// Two messages, alike in all but their brands. The first was accepted first.
	tests := map[string]struct {
		edit func(s *aSlot)
		want int64 // 0: silence
		this Code
	}{
		"alike":            {func(s *aSlot) {}, 1, CameFirst},
		"the only one":     {func(s *aSlot) { s.messages = s.messages[1:] }, 2, Only},
		"ends sooner":      {func(s *aSlot) { s.messages[1].NotAfter = s.now.Add(time.Hour) }, 2, EndsSoon},
		"a service":        {func(s *aSlot) { s.messages[1].Purpose, s.messages[1].Value = Service, 0.05 }, 2, AskedFor},
		"matters more":     {func(s *aSlot) { s.messages[1].Value = 0.6 }, 2, MattersMore},
		"beyond any value": {func(s *aSlot) { s.messages[1].Value, s.messages[0].Value = 1e9, 1 }, 1, CameFirst},
		"its moment": {func(s *aSlot) {
			s.messages[1].When = []Predicate{{Attribute: device.DoorOpen, Op: EQ, Value: val(device.DoorOpen, true)}}
		}, 2, HasHappened},
		"a condition that is no moment": {func(s *aSlot) { s.messages[1].When = []Predicate{{Attribute: device.Temperature, Op: GE}} }, 1, CameFirst},
		"its brand was shown less": {func(s *aSlot) {
			s.h.Shown = []Exposure{{At: s.now.Add(-6 * dayLong), Brand: s.messages[0].Brand}}
		}, 2, RarelyHeard},
		"its brand was shown longer ago": {func(s *aSlot) {
			s.h.Shown = []Exposure{{At: s.now.Add(-20 * dayLong), Brand: s.messages[1].Brand}, {At: s.now.Add(-10 * dayLong), Brand: s.messages[0].Brand}}
		}, 2, RarelyHeard},
		"less about the same": {func(s *aSlot) {
			s.h.Shown = []Exposure{{At: s.now.Add(-time.Hour), Brand: "another", Category: s.messages[0].Category, Device: s.h.Screens[0].ID}}
		}, 2, NewsHere},
		"what was shown to others does not tire": {func(s *aSlot) {
			s.h.Shown = []Exposure{{At: s.now.Add(-time.Hour), Brand: "another", Category: s.messages[0].Category, Device: "gone", Who: []device.PersonID{2}}}
		}, 1, CameFirst},
		"was dismissed": {func(s *aSlot) {
			s.did(1, Dismissed, dayLong, device.Household, s.messages[0])
			s.taste.Off = true
		}, 2, Welcome},
		"both silent": {func(s *aSlot) {
			for _, m := range s.messages {
				s.did(8, Ignored, time.Hour, device.Household, m)
			}
		}, 0, ""},
		"silent, and a service": {func(s *aSlot) {
			s.messages[1].Purpose = Service
			for _, m := range s.messages {
				s.did(9, Dismissed, time.Hour, device.Household, m)
			}
		}, 2, Only},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := aHall(2)
			s.h.Screens = s.h.Screens[:1]
			tt.edit(s)
			list := s.list()
			i, p := s.arbiter().Choose(list)
			got := int64(0)
			if i >= 0 {
				got = list[i].Message.Seq
			}
			if got != tt.want || p.This != tt.this {
				t.Errorf("%d because %q, want %d because %q: %+v", got, p.This, tt.want, tt.this, p)
			}
		})
	}
}

// What has to happen before a message is shown counts, and nothing else that its condition names.
func TestOrderByMoment(t *testing.T) {
	when := func(a device.Attribute, op Op, v any) Predicate {
		return Predicate{Attribute: a, Op: op, Value: val(a, v)}
	}
	tests := map[string]struct {
		condition string
		when      []Predicate
		want      float64
	}{
		"nothing":                        {"", nil, 1},
		"an open door":                   {"fridge.door.open", nil, 1.25},
		"spelt out":                      {"true == fridge.door.open", nil, 1.25},
		"in parentheses":                 {"now.hour >= 17 && (fridge.door.open && (tv.state in ['playing', 'paused']))", nil, 1.5},
		"two ovens":                      {"oven.OperationalState == 'Running' && washer.OperationalState == 'Running'", nil, 1.25},
		"twice":                          {"fridge.door.open && fridge.door.open && fridge.door.open != false", nil, 1.25},
		"by one predicate":               {"", []Predicate{when(device.DoorOpen, EQ, true)}, 1.25},
		"by predicate and condition":     {"fridge.door.open", []Predicate{when(device.DoorOpen, EQ, true), when(device.PlayerState, EQ, "playing")}, 1.5},
		"of people":                      {"presence.count == 1", nil, 1.25},
		"of their kind":                  {"presence.children > 0 && presence.guests > 0", nil, 1},
		"many":                           {"fridge.door.open && tv.state == 'on' && car.ux.driving == 'moving' && presence.count == 1 && car.Vehicle.IsMoving", nil, 1.5},
		"no moment":                      {"fridge.temperature > 3 && screen.dnd", []Predicate{when(device.Temperature, GT, 3.0)}, 1},
		"the clock":                      {"now.time != '04:33' && now.weekday == 'sat' && now.date > '2026-01-01'", nil, 1},
		"for how long":                   {"fridge.door.open.since >= 5 && fridge.door.open.since < 60 && tv.state.since < 60", nil, 1},
		"for how long, and what":         {"fridge.door.open && fridge.door.open.since < 60", nil, 1.25},
		"either":                         {"fridge.door.open || tv.state == 'on'", nil, 1},
		"either, and the door":           {"(oven.door.open || tv.state == 'on') && fridge.door.open", nil, 1.25},
		"nearly always, with much named": {"now.time != '04:33' || screen.door.open || tv.state == 'on' || car.ux.driving == 'moving' || screen.presence.count == 1", nil, 1},
		"a choice":                       {"fridge.door.open ? tv.state == 'on' : car.ux.driving == 'moving'", nil, 1},
		"not":                            {"!fridge.door.open", nil, 1},
		"not not":                        {"!(fridge.door.open == false)", nil, 1},
		"not either":                     {"!(fridge.door.open || tv.state == 'on')", nil, 1},
		"not both":                       {"!(fridge.door.open && tv.state == 'on')", nil, 1},
		"a shut door":                    {"fridge.door.open == false", []Predicate{when(device.DoorOpen, EQ, false), when(device.DoorOpen, NE, true)}, 1},
		"either way":                     {"fridge.door.open in [true, false] && now.hour > 3", nil, 1},
		"another word":                   {"tv.state != 'buffering' && oven.OperationalState != 'Error' && oven.CurrentPhase != 'x'", []Predicate{when(device.PlayerState, NE, "buffering")}, 1},
		"at rest":                        {"tv.state == 'off' && car.ux.driving == 'parked' && washer.OperationalState == 'Stopped'", nil, 1},
		"rest among others":              {"tv.state in ['off', 'on', 'playing', 'paused', 'standby', 'idle']", nil, 1},
		"any number":                     {"oven.CountdownTime >= 0 && screen.presence.count > -1", []Predicate{when(device.CountdownTime, GE, 0.0)}, 1},
		"some number":                    {"oven.CountdownTime > 0", []Predicate{when(device.PresenceCount, GE, 2.0)}, 1.5},
		"it is in park":                  {"car.Vehicle.Powertrain.Transmission.SelectedGear == 126", nil, 1},
		"somebody":                       {"", []Predicate{when(device.PresenceWho, EQ, "1")}, 1},
	}
	for name, tt := range tests {
		m := &Message{When: tt.when}
		if tt.condition != "" {
			c, err := ParseCondition(tt.condition)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			m.Condition = c
		}
		if got := moment(m); got != tt.want {
			t.Errorf("%s: %q and %v is %g, want %g", name, tt.condition, tt.when, got, tt.want)
		}
	}
	if got := moment(&Message{Condition: &Expression{}}); got != 1 {
		t.Errorf("a condition that says nothing is %g", got)
	}
	// What counts is true and may be known: else the message is not shown at all.
	for name, edit := range map[string]func(q *Request){
		"shut":     func(q *Request) { put(q.Home.Screens[1], device.DoorOpen, val(device.DoorOpen, false), q.Now) },
		"long ago": func(q *Request) { q.Now = q.Now.Add(12 * time.Hour) },
		"not told": func(q *Request) { q.Home.Screens = q.Home.Screens[:1] },
		"not to say": func(q *Request) {
			q.Message.Condition, _ = ParseCondition("fridge.door.open && screen.presence.count > 0")
		},
	} {
		for _, predicate := range []bool{false, true} {
			q := good(device.TV)
			put(q.Screen, device.PresenceCount, val(device.PresenceCount, 1.0), q.Now)
			q.Message.Condition, _ = ParseCondition("fridge.door.open")
			if d := Decide(*q); d.Verdict != Show {
				t.Fatalf("%s: %v", name, Causes(*q, d))
			}
			edit(q)
			if predicate {
				q.Message.Condition, q.Message.When = nil, []Predicate{{Class: device.Fridge, Attribute: device.DoorOpen, Op: EQ, Value: val(device.DoorOpen, true)}}
				if name == "not to say" {
					q.Message.When = append(q.Message.When, when(device.PresenceCount, GT, 0.0))
				}
			}
			if d := Decide(*q); d.Verdict == Show {
				t.Errorf("%s, by predicate %v: it is shown, and counts %g", name, predicate, moment(q.Message))
			}
		}
	}
}

func TestSilence(t *testing.T) {
	tests := map[string]struct {
		edit func(s *aSlot, m *Message)
		want bool // silence
	}{
		"nothing was learnt":            {func(s *aSlot, m *Message) {}, false},
		"worth next to nothing":         {func(s *aSlot, m *Message) { m.Value = 0 }, false},
		"its brand was shown all week":  {func(s *aSlot, m *Message) { shownBefore(s, m, 40) }, false},
		"closed once":                   {func(s *aSlot, m *Message) { s.did(1, Dismissed, 0, 0, m) }, false},
		"let go by four times":          {func(s *aSlot, m *Message) { s.did(4, Ignored, 0, 0, m) }, false},
		"let go by seven times":         {func(s *aSlot, m *Message) { s.did(7, Ignored, 0, 0, m) }, true},
		"closed twice":                  {func(s *aSlot, m *Message) { s.did(2, Dismissed, 0, 0, m) }, true},
		"less of it, once and for all":  {func(s *aSlot, m *Message) { s.did(1, LessOfThis, 80*dayLong, 0, m) }, true},
		"closed twice, seven weeks ago": {func(s *aSlot, m *Message) { s.did(2, Dismissed, 49*dayLong, 0, m) }, false},
		"closed by who is not there": {func(s *aSlot, m *Message) {
			s.tell(0, device.PresenceWho, "2", 0)
			s.did(2, Dismissed, 0, 1, m)
			s.taste.Tallies = nil
		}, false},
		"closed by one of two who are there": {func(s *aSlot, m *Message) {
			s.tell(0, device.PresenceWho, "1 2", 0)
			s.did(3, Dismissed, 0, 1, m)
			s.taste.Tallies = nil
		}, true},
		"closed often, and acted on more": {func(s *aSlot, m *Message) {
			s.did(3, Dismissed, 0, 0, m)
			s.did(6, Acted, 0, 0, m)
		}, false},
		"closed often, with the learner off": {func(s *aSlot, m *Message) {
			s.did(9, Dismissed, 0, 0, m)
			s.taste.Off = true
		}, false},
		"closed, about something else, on something else": {func(s *aSlot, m *Message) {
			other := *s.messages[1]
			s.did(9, Dismissed, 0, 0, &other)
		}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			// A draw never silences: it is the same in every hour.
			for hour := range 6 {
				s := aHall(2)
				s.h.Screens = s.h.Screens[:1]
				s.now = device.At(time.Date(2026, 6, 10, 18+hour, 20, 0, 0, time.UTC))
				tt.edit(s, s.messages[0])
				i, p := s.arbiter().Choose(s.list()[:1])
				if (i < 0) != tt.want {
					t.Fatalf("hour %d: chosen %d, want silence to be %v: %+v", hour, i, tt.want, s.arbiter().Weigh(s.list()[0]))
				}
				if i >= 0 && p.Score.Silent() {
					t.Fatalf("%+v was chosen", p)
				}
			}
		})
	}
}

func shownBefore(s *aSlot, m *Message, n int) {
	for i := range n {
		s.h.Shown = append(s.h.Shown, Exposure{At: s.now.Add(-time.Duration(n-i) * time.Hour), Brand: m.Brand, Category: m.Category, Device: s.h.Screens[0].ID})
	}
}

// The same question has the same answer for an hour; in another hour something else is drawn.
func TestDrawsLastAnHour(t *testing.T) {
	s := aHall(12)
	for _, m := range s.messages {
		s.did(1, Ignored, 2*dayLong, 0, m)
	}
	s.taste.Habits = nil
	begin := Hour(s.now)
	seen := map[string]int{}
	for hour := range 24 {
		first := ""
		for _, minute := range []time.Duration{0, 7, 59} {
			s.now = begin.Add(time.Duration(hour)*time.Hour + minute*time.Minute)
			got, p := s.choose(s.list())
			if first == "" {
				first = got
			}
			if got != first || !p.Score.Drawn {
				t.Fatalf("hour %d: %s at first and %s %d minutes later, drawn: %v", hour, first, got, minute, p.Score.Drawn)
			}
		}
		seen[first]++
	}
	if len(seen) < 4 {
		t.Errorf("in 24 hours %d different draws, want some more: %v", len(seen), seen)
	}
	s.taste.Off = true
	if _, p := s.choose(s.list()); p.Score.Drawn {
		t.Error("drawn although the learner is off")
	}
}

// Every weight is a number, whatever was learnt.
func TestAdversarialTaste(t *testing.T) {
	odd := []float64{0, -1, math.NaN(), math.Inf(1), math.Inf(-1), 1e308, 5e-324}
	s := aHall(6)
	for _, acted := range odd {
		for _, not := range odd {
			for _, value := range odd {
				s.taste.Tallies = map[Occasion]Tally{}
				for i, m := range s.messages {
					m.Value = value
					s.taste.Tallies[Occasion{m.Category, device.Class(i), Evening}] = Tally{acted, not}
					s.taste.Tallies[Occasion{m.Category, device.TV, Evening}] = Tally{acted, not}
				}
				for _, o := range s.list() {
					p := s.arbiter().Weigh(o)
					for _, x := range []float64{p.Score.Total, p.Score.Usual, p.Score.Silence, p.Score.Chance, p.Place.Total} {
						if math.IsNaN(x) || math.IsInf(x, 0) {
							t.Fatalf("acted %g, not %g, value %g: %+v", acted, not, value, p)
						}
					}
				}
			}
		}
	}
}

// aTaste is anything that could have been learnt.
func aTaste(t *rapid.T, h *Home) Taste {
	taste := Taste{Off: rapid.Bool().Draw(t, "off"), Tallies: map[Occasion]Tally{}}
	number := rapid.OneOf(rapid.Float64Range(0, 50), rapid.SampledFrom([]float64{0, -3, math.NaN(), math.Inf(1), 1e300}))
	for range rapid.IntRange(0, 8).Draw(t, "tallies") {
		o := Occasion{rapid.SampledFrom([]string{"", "category-0", "category-1", "category-2"}).Draw(t, "category"), aClass.Draw(t, "class"), Part(rapid.IntRange(0, 5).Draw(t, "part"))}
		taste.Tallies[o] = Tally{number.Draw(t, "acted"), number.Draw(t, "not")}
	}
	for range rapid.IntRange(0, 8).Draw(t, "habits") {
		taste.Habits = append(taste.Habits, Habit{Person: device.PersonID(rapid.IntRange(0, 3).Draw(t, "person")), Brand: aBrand.Draw(t, "brand"),
			Kind: Reaction(rapid.IntRange(0, 9).Draw(t, "kind")), At: device.Instant(rapid.Int64().Draw(t, "at"))})
	}
	return taste
}

// contest is a request whose message is one of several, and what was learnt.
type contest struct {
	q     Request
	rest  []Message
	taste Taste
	likes []Channel
}

var aContest = rapid.Custom(func(t *rapid.T) contest {
	c := contest{q: aRequest(t, []int{0, 0, 0, 1, 1, 2, 3})}
	for i := range rapid.IntRange(0, 3).Draw(t, "screens") {
		s := *c.q.Screen
		s.ID += device.ID(rune('a' + i))
		if s.Context != nil {
			context := *s.Context
			s.Context = &context
		}
		c.q.Home.Screens = append(c.q.Home.Screens, &s)
	}
	for i := range rapid.IntRange(0, 4).Draw(t, "rest") {
		m := *c.q.Message
		m.ID[15] += byte(i + 1)
		m.Seq += int64(i)
		m.Category = rapid.SampledFrom([]string{m.Category, "category-1", "category-2"}).Draw(t, "category")
		m.Value = rapid.Float64().Draw(t, "value")
		m.NotAfter = m.NotAfter.Add(time.Duration(rapid.IntRange(-2, 2).Draw(t, "longer")) * time.Minute)
		c.rest = append(c.rest, m)
	}
	c.taste = aTaste(t, c.q.Home)
	for range rapid.IntRange(0, 2).Draw(t, "channels") {
		c.likes = append(c.likes, Channel{Owner: device.PersonID(rapid.IntRange(0, 3).Draw(t, "owner")), Classes: []device.Class{aClass.Draw(t, "liked")}})
	}
	return c
})

// candidates are what decide shows of a contest.
func (c *contest) candidates(decide judge) (all []Candidate, decisions []Decision) {
	for i := range len(c.rest) + 1 {
		m := c.q.Message
		if i > 0 {
			m = &c.rest[i-1]
		}
		for _, s := range c.q.Home.Screens {
			q := c.q
			q.Message, q.Screen = m, s
			d := decide(q)
			if decisions = append(decisions, d); d.Verdict == Show {
				there := Present(q.Home, s, q.Now)
				all = append(all, Candidate{m, s, d.Form, &there})
			}
		}
	}
	return all, decisions
}

// The learner orders and never makes eligible: with any taste, and with whatever brands and people say of
// value and place, the decisions are the same, and what is chosen is one of those that were shown.
func TestPromiseLearnerOnlyOrders(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := aContest.Draw(t, "contest")
		list, before := c.candidates(Decide)
		for _, taste := range []Taste{c.taste, {Off: true}, {}} {
			a := Arbiter{Home: c.q.Home, Taste: &taste, Now: c.q.Now}
			i, p := a.Choose(list)
			if i >= len(list) || i < 0 && p != (Pick{}) {
				t.Fatalf("%d of %d, %+v", i, len(list), p)
			}
			if i >= 0 {
				q := c.q
				q.Message, q.Screen = list[i].Message, list[i].Screen
				if d := Decide(q); d.Verdict != Show || d.Form != list[i].Form {
					t.Fatalf("chosen, and not shown: %+v", d)
				}
			}
		}
		c.q.Home.Channels = c.likes
		c.q.Message.Value = 1 - c.q.Message.Value
		if _, after := c.candidates(Decide); !slices.Equal(before, after) {
			t.Fatalf("%v became %v", before, after)
		}
	})
}

// The order in which candidates are found does not matter, nor what else is asked.
func TestPromiseChoiceIsOne(t *testing.T) {
	some := 0
	rapid.Check(t, func(t *rapid.T) {
		c := aContest.Draw(t, "contest")
		c.q.Home.Channels = c.likes
		list, _ := c.candidates(Decide)
		a := Arbiter{Home: c.q.Home, Taste: &c.taste, Now: c.q.Now}
		i, p := a.Choose(list)
		other := rapid.Permutation(list).Draw(t, "order")
		b := Arbiter{Home: c.q.Home, Taste: &c.taste, Now: c.q.Now}
		j, q := b.Choose(other)
		if p != q || (i < 0) != (j < 0) || i >= 0 && list[i] != other[j] {
			t.Fatalf("%d %+v\n%d %+v", i, p, j, q)
		}
		if len(list) > 1 {
			some++
		}
		if i >= 0 {
			if w := b.Weigh(list[i]); w.Score != p.Score || w.Place != p.Place || w.Seed != p.Seed {
				t.Fatalf("%+v by itself, %+v among others", w, p)
			}
		}
	})
	if some < fewer(50) {
		t.Errorf("only %d of the samples had anything to choose from", some)
	}
}

func TestBetaSampler(t *testing.T) {
	const n = 20_000
	cdf := map[[2]float64]func(x float64) float64{
		{1, 1}:     func(x float64) float64 { return x },
		{1, 4}:     func(x float64) float64 { return 1 - math.Pow(1-x, 4) },
		{3, 1}:     func(x float64) float64 { return x * x * x },
		{0.5, 0.5}: func(x float64) float64 { return 2 / math.Pi * math.Asin(math.Sqrt(x)) },
		{2, 2}:     func(x float64) float64 { return x * x * (3 - 2*x) },
		{priorActed, priorNot}: func(x float64) float64 { // by Simpson's rule over the root of x, where it is smooth
			f := func(u float64) float64 { return 2 * math.Pow(1-u*u, priorNot-1) }
			sum, end := 0.0, math.Sqrt(x)
			const steps = 20
			for i := range steps {
				a, b := end*float64(i)/steps, end*float64(i+1)/steps
				sum += (b - a) / 6 * (f(a) + 4*f((a+b)/2) + f(b))
			}
			return sum * math.Gamma(10) / (math.Gamma(priorActed) * math.Gamma(priorNot))
		},
	}
	for p, f := range cdf {
		a, b := p[0], p[1]
		all := make([]float64, n)
		sum, square := 0.0, 0.0
		for i := range all {
			x := newDice(uint64(i)*77).beta(a, b)
			all[i], sum, square = x, sum+x, square+x*x
		}
		mean, variance := a/(a+b), a*b/((a+b)*(a+b)*(a+b+1))
		gotMean := sum / n
		gotVariance := square/n - gotMean*gotMean
		if math.Abs(gotMean-mean) > 5*math.Sqrt(variance/n) || math.Abs(gotVariance/variance-1) > 0.06 {
			t.Errorf("beta(%g, %g): mean %g and variance %g, want %g and %g", a, b, gotMean, gotVariance, mean, variance)
		}
		slices.Sort(all)
		most := 0.0
		for i, x := range all {
			want := f(x)
			most = max(most, math.Abs(want-float64(i)/n), math.Abs(want-float64(i+1)/n))
		}
		if most > 1.95/math.Sqrt(n) { // as Kolmogorov and Smirnov have it: one sampler in a thousand is farther off
			t.Errorf("beta(%g, %g) is %g from its distribution", a, b, most)
		}
	}
}

// In 200 days somebody is found out who likes one kind of message in the evening and another in the
// morning, on that kind of screen.
func TestLearnerFindsWhatIsLiked(t *testing.T) {
	chance := map[Part][4]float64{Morning: {0.30, 0.05, 0.02, 0.02}, Evening: {0.02, 0.05, 0.02, 0.30}}
	acted := func(learner string) (n int, last [4]int) {
		s := aHall(4)
		s.h.Screens = s.h.Screens[:1]
		luck := rand.New(rand.NewPCG(11, 5))
		var trials []Trial
		begin := s.now
		for day := range 200 {
			for _, part := range []Part{Morning, Evening} {
				s.now = Hour(begin).Add(time.Duration(day)*dayLong - time.Duration(Evening-part)*6*time.Hour)
				for i, m := range s.messages { // new ones each time, of one brand
					m.ID = device.MessageID{byte(day), byte(part), byte(i)}
					m.Brand, m.NotAfter = "brand", s.now.Add(24*time.Hour)
				}
				s.taste.Tallies = TallyUp(trials, Hour(s.now))
				s.taste.Off = learner == "off"
				i, _ := s.arbiter().Choose(s.list())
				if learner == "random" {
					i = luck.IntN(4)
				}
				if i < 0 {
					continue
				}
				m := s.messages[i]
				trial := Trial{Occasion{m.Category, device.TV, PartOf(s.now, s.h.Zone)}, Ignored, s.now}
				if luck.Float64() < chance[part][i] {
					trial.Kind = Acted
					n++
				}
				trials = append(trials, trial)
				if day >= 150 && part == Evening {
					last[i]++
				}
			}
		}
		return n, last
	}
	learnt, last := acted("on")
	random, _ := acted("random")
	off, _ := acted("off")
	t.Logf("of 400: %d with the learner, %d at random, %d without; in the last 50 evenings %v", learnt, random, off, last)
	if learnt < 2*random {
		t.Errorf("%d messages were acted on with the learner, %d at random: want twice as many", learnt, random)
	}
	if learnt <= off {
		t.Errorf("%d messages were acted on with the learner, %d without", learnt, off)
	}
	if last[3] < 30 {
		t.Errorf("of the last 50 evenings %v were about each category, want most about the last", last)
	}
}

func BenchmarkChooseAmong300(b *testing.B) {
	s := aHall(100)
	shownBefore(s, s.messages[0], 30)
	for i := range 60 {
		s.did(1, Reaction(1+i%3), time.Duration(i)*dayLong, device.PersonID(i%3), s.messages[i])
	}
	s.tell(0, device.PresenceWho, "1 2", 0)
	list := s.list()
	b.ReportAllocs()
	for b.Loop() {
		if i, _ := s.arbiter().Choose(list); i < 0 {
			b.Fatal("silence")
		}
	}
}

func BenchmarkPlace(b *testing.B) {
	s := aHall(1)
	s.tell(0, device.PresenceWho, "1 2", 0)
	there := Present(&s.h, s.h.Screens[0], s.now)
	for b.Loop() {
		PlaceOf(&s.h, s.messages[0], s.h.Screens[0], device.Toast, &there, s.now)
	}
}

package policy

import (
	"math"
	"slices"
	"testing"
	"time"

	"porchlight/device"
)

// near reports whether two numbers are the same but for how they were rounded.
func near(x, y float64) bool { return math.Abs(x-y) <= 1e-9*max(1, math.Abs(x)) }

func TestPartsOfTheDay(t *testing.T) {
	at := func(hour, minute int, zone *time.Location) device.Instant {
		return device.At(time.Date(2026, 6, 10, hour, minute, 59, 0, zone))
	}
	zurich := zone("Europe/Zurich")
	for _, test := range []struct {
		hour, minute int
		want         Part
	}{{0, 0, Night}, {5, 59, Night}, {6, 0, Morning}, {11, 59, Morning}, {12, 0, Afternoon}, {17, 59, Afternoon}, {18, 0, Evening}, {23, 59, Evening}} {
		if got := PartOf(at(test.hour, test.minute, time.UTC), nil); got != test.want {
			t.Errorf("%02d:%02d in no zone is %s, want %s", test.hour, test.minute, got, test.want)
		}
		if got := PartOf(at(test.hour, test.minute, zurich), zurich); got != test.want {
			t.Errorf("%02d:%02d in Zurich is %s, want %s", test.hour, test.minute, got, test.want)
		}
	}
	for name, want := range map[string]Part{"": 0, "night": Night, "morning": Morning, "afternoon": Afternoon, "evening": Evening} {
		got := Evening
		if name == "evening" {
			got = Night
		}
		if err := got.UnmarshalText([]byte(name)); err != nil || got != want || got.String() != name {
			t.Errorf("%q is %d (%v), want %d", name, got, err, want)
		}
	}
	p := Night
	if err := p.UnmarshalText([]byte("noon")); err == nil || p != 0 {
		t.Errorf("noon is %s (%v)", p, err)
	}
	if got := Part(9).String(); got != "evening" {
		t.Errorf("a part that is none is %q", got)
	}
	hour := device.At(time.Date(2026, 6, 10, 19, 0, 0, 0, time.UTC))
	for _, ms := range []device.Instant{0, 1, 3599_999} {
		if Hour(hour+ms) != hour || NextHour(hour+ms) != hour+3600_000 {
			t.Errorf("%d ms past %s: the hour is from %s to %s", ms, hour, Hour(hour+ms), NextHour(hour+ms))
		}
	}
}

func TestTallyUp(t *testing.T) {
	o, other := Occasion{"dairy", device.TV, Night}, Occasion{"dairy", device.TV, Morning}
	trials := []Trial{{o, Acted, noon}, {o, Acted, noon.Add(-30 * dayLong)}, {o, Ignored, noon.Add(-60 * dayLong)}, {o, Dismissed, noon}, {o, LessOfThis, noon.Add(-30 * dayLong)},
		{o, Seen, noon}, {o, NoReaction, noon}, {other, Acted, noon.Add(dayLong)}}
	want := map[Occasion]Tally{o: {1.5, 0.25 + 3 + 1.5}, other: {1, 0}}
	check := func(what string, got map[Occasion]Tally) {
		t.Helper()
		for o, w := range want {
			if g := got[o]; !near(g.Acted, w.Acted) || !near(g.Not, w.Not) || len(got) != len(want) {
				t.Errorf("%s: %+v is %+v, want %+v", what, o, g, w)
			}
		}
	}
	check("all at once", TallyUp(trials, noon))
	var taste Taste
	habits := []Habit{did(Acted, 0), did(Dismissed, 0)}
	taste.Add(habits[:1], trials[:3], noon)
	taste.Add(habits[1:], trials[3:], noon)
	check("one after the other", taste.Tallies)
	if !slices.Equal(taste.Habits, habits) {
		t.Errorf("habits %+v, want %+v", taste.Habits, habits)
	}
}

// What a message is worth, part by part.
func TestScore(t *testing.T) {
	good := Score{Value: 0.5, Chance: 0.05, Lever: 1, Moment: 1, Fresh: 1, Urgent: 1.25}
	about := func(s *aSlot, n int, edit func(*Exposure)) { // n messages about the same that were just on the screen
		for range n {
			e := Exposure{At: Hour(s.now), Brand: "another", Category: s.messages[0].Category, Device: s.h.Screens[0].ID}
			edit(&e)
			s.h.Shown = append(s.h.Shown, e)
		}
	}
	mine := func(s *aSlot, ago time.Duration) {
		s.h.Shown = append(s.h.Shown, Exposure{At: Hour(s.now).Add(-ago), Brand: s.messages[0].Brand, Category: "else"})
	}
	there := func(s *aSlot, who string) { s.tell(0, device.PresenceWho, who, 0) }
	tests := map[string]struct {
		edit func(*aSlot)
		want func(*Score) // what is not as in good
	}{
		"as it is":          {func(s *aSlot) {}, func(w *Score) {}},
		"the least value":   {func(s *aSlot) { s.messages[0].Value = 0.05 }, func(w *Score) { w.Value = 0.05 }},
		"less than that":    {func(s *aSlot) { s.messages[0].Value = 0.04 }, func(w *Score) { w.Value = 0.05 }},
		"the most value":    {func(s *aSlot) { s.messages[0].Value = 1 }, func(w *Score) { w.Value = 1 }},
		"more than that":    {func(s *aSlot) { s.messages[0].Value = 1.1 }, func(w *Score) { w.Value = 1 }},
		"no number":         {func(s *aSlot) { s.messages[0].Value = math.NaN() }, func(w *Score) { w.Value = 0.5 }},
		"a day left":        {func(s *aSlot) { s.messages[0].NotAfter = Hour(s.now).Add(24 * time.Hour) }, func(w *Score) { w.Urgent = 1.5 }},
		"nothing left":      {func(s *aSlot) { s.messages[0].NotAfter = Hour(s.now) }, func(w *Score) { w.Urgent = 2 }},
		"over":              {func(s *aSlot) { s.messages[0].NotAfter = 1 }, func(w *Score) { w.Urgent = 2 }},
		"shown twice":       {func(s *aSlot) { mine(s, time.Hour); mine(s, 7*dayLong-time.Millisecond) }, func(w *Score) { w.Fresh = 1. / 3 }},
		"shown a week ago":  {func(s *aSlot) { mine(s, 7*dayLong) }, func(w *Score) {}},
		"an open door":      {func(s *aSlot) { s.messages[0].Condition = aCondition("fridge.door.open") }, func(w *Score) { w.Moment = 1.25 }},
		"a machine is done": {func(s *aSlot) { s.messages[0].Condition = aCondition("washer.OperationCompletion == 'NoError'") }, func(w *Score) { w.Moment = 1.25 }},
		"tired of it":       {func(s *aSlot) { about(s, 3, func(*Exposure) {}) }, func(w *Score) { w.Fatigue = 0.0015 }},
		"tired a day ago": {func(s *aSlot) { about(s, 1, func(e *Exposure) { e.At = e.At.Add(-24 * time.Hour) }) },
			func(w *Score) { w.Fatigue = 0.00025 }},
		"tired to death":    {func(s *aSlot) { about(s, 100, func(*Exposure) {}) }, func(w *Score) { w.Fatigue = 0.5 * 1.25 * 0.05 / 2 }},
		"of services":       {func(s *aSlot) { about(s, 3, func(e *Exposure) { e.Purpose = Service }) }, func(w *Score) {}},
		"of something else": {func(s *aSlot) { about(s, 3, func(e *Exposure) { e.Category = "else" }) }, func(w *Score) {}},
		"of what was liked": {func(s *aSlot) { about(s, 3, func(e *Exposure) { e.Reaction = Acted }) }, func(w *Score) {}},
		"on another screen": {func(s *aSlot) { about(s, 3, func(e *Exposure) { e.Device = "else" }) }, func(w *Score) {}},
		"closed by the home": {func(s *aSlot) {
			s.did(1, Dismissed, s.now.Time().Sub(Hour(s.now).Time()), 0, s.messages[0])
			s.taste.Tallies = nil
		}, func(w *Score) { w.Lever = 0.65 }},
		"closed by who is there": {func(s *aSlot) {
			there(s, "1")
			s.taste.Habits = []Habit{{1, s.messages[0].Brand, "", Dismissed, Hour(s.now)}}
		}, func(w *Score) { w.Lever = 0.65 }},
		"closed by who is not there": {func(s *aSlot) {
			there(s, "1")
			s.taste.Habits = []Habit{{2, s.messages[0].Brand, "", Dismissed, Hour(s.now)}}
		}, func(w *Score) {}},
		"closed by nobody in particular, and one is there": {func(s *aSlot) {
			there(s, "1")
			s.taste.Habits = []Habit{{0, s.messages[0].Brand, "", Dismissed, Hour(s.now)}}
		}, func(w *Score) {}},
		"closed by nobody in particular, and somebody unknown is there": {func(s *aSlot) {
			there(s, "1 9")
			s.taste.Habits = []Habit{{0, s.messages[0].Brand, "", Dismissed, Hour(s.now)}, {1, s.messages[0].Brand, "", Acted, Hour(s.now)}}
		}, func(w *Score) { w.Lever = 0.65 }},
		"closed, of another brand": {func(s *aSlot) { s.taste.Habits = []Habit{{0, "another", "", Dismissed, Hour(s.now)}} }, func(w *Score) {}},
		"acted on often": {func(s *aSlot) {
			s.taste.Habits = slices.Repeat([]Habit{{0, s.messages[0].Brand, "", Acted, Hour(s.now)}}, 9)
		},
			func(w *Score) { w.Lever = 1.5 }},
		"closed often": {func(s *aSlot) {
			s.taste.Habits = slices.Repeat([]Habit{{0, s.messages[0].Brand, "", Dismissed, Hour(s.now)}}, 9)
		}, func(w *Score) { w.Lever = 0.1 }},
		"the learner is off": {func(s *aSlot) { s.did(9, Dismissed, 0, 0, s.messages[0]); s.taste.Habits, s.taste.Off = nil, true }, func(w *Score) { w.Off = true }},
		"a service":          {func(s *aSlot) { s.messages[0].Purpose = Service }, func(w *Score) { w.Asked = true }},
	}
	for name, tt := range tests {
		s := aHall(1)
		s.messages[0].NotAfter = Hour(s.now).Add(48 * time.Hour)
		tt.edit(s)
		w := good
		tt.want(&w)
		rest := w.Value * w.Lever * w.Moment * w.Fresh * w.Urgent
		w.Total = rest*w.Chance - w.Fatigue
		w.Usual = w.Total
		if !w.Off && !w.Asked {
			w.Silence = 0.2 * w.Value * w.Moment * w.Fresh * w.Urgent * 0.05
		}
		got := s.arbiter().Weigh(s.list()[0]).Score
		same := got.Asked == w.Asked && got.Off == w.Off && got.Drawn == w.Drawn
		for _, part := range [][2]float64{{got.Value, w.Value}, {got.Chance, w.Chance}, {got.Lever, w.Lever}, {got.Moment, w.Moment}, {got.Fresh, w.Fresh}, {got.Urgent, w.Urgent},
			{got.Fatigue, w.Fatigue}, {got.Total, w.Total}, {got.Usual, w.Usual}, {got.Silence, w.Silence}} {
			same = same && near(part[0], part[1])
		}
		if !same {
			t.Errorf("%s:\ngot  %+v\nwant %+v", name, got, w)
		}
	}
}

// What was learnt is added to what is expected of a message that nobody knows: of ten one half is acted on.
func TestScoreOfWhatWasLearnt(t *testing.T) {
	tests := map[string]struct {
		tally Tally
		mean  float64
	}{
		"three of thirteen": {Tally{3, 10}, 3.5 / 23},
		"less than nothing": {Tally{-3, 10}, 0.5 / 20},
		"no number":         {Tally{math.NaN(), math.NaN()}, 0.05},
		"very many":         {Tally{1e300, 1e300}, 1000000.5 / 2000010},
		"very many, and 0":  {Tally{1e6, 0}, 1e6 / (1e6 + 10)},
	}
	for name, tt := range tests {
		s := aHall(1)
		s.messages[0].NotAfter = Hour(s.now).Add(48 * time.Hour)
		s.taste.Tallies = map[Occasion]Tally{{s.messages[0].Category, device.TV, Evening}: tt.tally}
		got := s.arbiter().Weigh(s.list()[0]).Score
		if !got.Drawn || math.Abs(got.Usual-0.5*1.25*tt.mean) > 1e-6 || got.Usual == got.Total {
			t.Errorf("%s: %+v, want that %g is to be expected, and something else drawn", name, got, 0.5*1.25*tt.mean)
		}
	}
}

// A message that is worth as much as silence is shown.
func TestSilenceIsWorthMore(t *testing.T) {
	for usual, want := range map[float64]bool{0.1: true, 0.2: false, 0.3: false} {
		if s := (Score{Usual: usual, Silence: 0.2}); s.Silent() != want {
			t.Errorf("%g beside a silence of 0.2: silent %t, want %t", usual, s.Silent(), want)
		}
	}
}

// What was drawn is drawn again from its seed, by whatever is built from these lines: the numbers were worked out apart,
// as FNV-1a with the end of SplitMix64, and PCG-DXSM with the methods of Marsaglia.
func TestDrawsAreKept(t *testing.T) {
	s := aHall(2)
	seed := func(home device.HomeID, message, screen, hours int) uint64 {
		s.h.ID = home
		a := Arbiter{Home: &s.h, Taste: &s.taste, Now: s.now.Add(time.Duration(hours) * time.Hour)}
		return a.Weigh(s.list()[3*message+screen]).Seed
	}
	for _, test := range []struct {
		home                   device.HomeID
		message, screen, hours int
		want                   uint64
	}{
		{7, 0, 0, 0, 14957226317842603357}, {7, 0, 0, 1, 8060968713991898892}, {7, 0, 1, 0, 10016185282114156433}, {7, 1, 0, 0, 11895280128403629983},
		{0x0102030405060708, 0, 0, 0, 16523007166333343828},
	} {
		if got := seed(test.home, test.message, test.screen, test.hours); got != test.want {
			t.Errorf("%+v: seed %d", test, got)
		}
	}
	shapes := [4][2]float64{{0.5, 9.5}, {1, 1}, {3, 7.5}, {0.2, 0.3}}
	for seed, want := range map[uint64][4]float64{
		1:                   {0.08487806901302132, 0.40515616821064804, 0.2578911246258799, 0.7569240228946148},
		2:                   {0.04619588975925709, 0.8240186014290267, 0.38917437293238694, 0.8639600820913429},
		3:                   {0.25228527696386693, 0.8078482735752778, 0.43924460777478125, 0.7227860106308756},
		18:                  {0.04500748402515408, 0.8477537479451237, 0.518950407614015, 0.3452896655358744}, // some are drawn anew
		20:                  {0.0055408278488945865, 0.305148236380517, 0.29935858248833236, 0.0012875016285927292},
		128:                 {0.016947952149100637, 0.35700728057896175, 0.5921463881337724, 0.10571308221594314},
		77:                  {0.009443787608853041, 0.11894750702181713, 0.13950447607555724, 0.0009426895312306089},
		123456789:           {0.019144302438559246, 0.04360062729612021, 0.10495530342581508, 0.006429313394243055},
		9223372036854775813: {6.750830722046025e-07, 0.44185039809873317, 0.22737530515572052, 4.303156725347708e-10},
	} {
		for i, shape := range shapes {
			if got := newDice(seed).beta(shape[0], shape[1]); math.Abs(got-want[i]) > 1e-9 {
				t.Errorf("beta(%g, %g) of %d is %g, want %g", shape[0], shape[1], seed, got, want[i])
			}
		}
	}
}

// How many there were to choose from, what came next, and that both are told of messages and not of screens.
func TestPickTellsOfTheOthers(t *testing.T) {
	s := aHall(3)
	s.messages[0].Value, s.messages[1].Value, s.messages[2].Value = 0.4, 0.6, 0.2
	list := s.list()
	second := s.arbiter().Weigh(list[0]).Score.Total
	for name, order := range map[string][]int{"up": {0, 1, 2, 3, 4, 5, 6, 7, 8}, "down": {8, 7, 6, 5, 4, 3, 2, 1, 0}, "the best last": {6, 7, 8, 0, 1, 2, 3, 4, 5}} {
		var sorted []Candidate
		for _, i := range order {
			sorted = append(sorted, list[i])
		}
		i, p := s.arbiter().Choose(sorted)
		if i < 0 || sorted[i].Message != s.messages[1] || p.Of != 3 || !near(p.Next, second) || p.This != MattersMore {
			t.Errorf("%s: %d, %+v; want the second message of 3, before one that is worth %g", name, i, p, second)
		}
	}
	if i, p := s.arbiter().Choose(list[:3]); i < 0 || p.Of != 1 || p.Next != 0 || p.This != Only {
		t.Errorf("one message: %d, %+v", i, p)
	}
	if i, p := s.arbiter().Choose(nil); i != -1 || p != (Pick{}) {
		t.Errorf("nothing: %d, %+v", i, p)
	}
}

// Why on this screen is told by the best of the others.
func TestWhyHereIsBesideTheSecondBest(t *testing.T) {
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		s := aHall(1)
		s.tell(0, device.PresenceCount, 1, 0) // the second best: somebody is in front of it, too
		s.tell(1, device.PresenceCount, 2, 0)
		all, list := s.list(), []Candidate(nil)
		for _, i := range order {
			list = append(list, all[i])
		}
		if i, p := s.arbiter().Choose(list); i < 0 || list[i].Screen != s.h.Screens[1] || p.Here != PeopleThere {
			t.Errorf("in the order %v: %d, %s; want screen-1 because more people are there than before screen-0", order, i, p.Here)
		}
	}
}

func TestBecause(t *testing.T) {
	even := Score{Value: 0.5, Chance: 0.1, Lever: 1, Moment: 1, Fresh: 1, Urgent: 1, Total: 0.05, Usual: 0.05}
	s := aHall(2)
	a, list := s.arbiter(), s.list()
	tests := map[string]struct {
		won, second func(*Score)
		want        Code
	}{
		"its moment":                  {func(s *Score) { s.Moment, s.Urgent = 1.5, 1.4 }, func(*Score) {}, HasHappened},
		"urgent":                      {func(s *Score) { s.Moment, s.Urgent = 1.25, 1.4 }, func(*Score) {}, EndsSoon},
		"fresh":                       {func(*Score) {}, func(s *Score) { s.Fresh = 0.5 }, RarelyHeard},
		"welcome":                     {func(s *Score) { s.Lever = 1.5 }, func(s *Score) { s.Lever = 0.5; s.Fresh = 0.5 }, Welcome},
		"answered":                    {func(s *Score) { s.Chance, s.Usual = 0.3, 0.15 }, func(*Score) {}, Answered},
		"drawn":                       {func(s *Score) { s.Chance, s.Usual = 0.3, 0.02 }, func(*Score) {}, TriedOut},
		"drawn, of what is alike":     {func(s *Score) { s.Chance = 0.3 }, func(*Score) {}, TriedOut},
		"answered, and tired of it":   {func(s *Score) { s.Chance, s.Usual, s.Fatigue = 0.3, 0.04, 0.02 }, func(*Score) {}, Answered},
		"answered, and of less value": {func(s *Score) { s.Chance, s.Value, s.Usual = 0.3, 0.4, 0.044 }, func(*Score) {}, Answered},
		"value":                       {func(s *Score) { s.Value = 1 }, func(*Score) {}, MattersMore},
		"news":                        {func(*Score) {}, func(s *Score) { s.Fatigue = 0.002 }, NewsHere},
		"less of it is no news":       {func(s *Score) { s.Fatigue, s.Value = 0.002, 0.6 }, func(*Score) {}, MattersMore},
		"two as much as each other":   {func(s *Score) { s.Urgent = 2 }, func(s *Score) { s.Fresh = 0.5 }, EndsSoon},
		"a service":                   {func(s *Score) { s.Asked = true }, func(s *Score) { s.Value = 1 }, AskedFor},
	}
	for name, tt := range tests {
		won, second := even, even
		won.Total += 0.01
		tt.won(&won)
		tt.second(&second)
		if got := a.because(&list[0], &won, &list[3], &second); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

// How well a screen suits, part by part.
func TestPlaceParts(t *testing.T) {
	type parts struct{ capability, attention, room, channel, calm float64 }
	good := parts{1, 0, 0, 0.5, 0.6}                                         // of a toast, the second of five steps of intrusion
	told := func(s *aSlot, a device.Attribute, v any, since time.Duration) { // fresh, and so for a while
		s.h.Screens[0].Context.Put(a, device.Reading{Value: val(a, v), At: s.now, Since: s.now.Add(-since)})
	}
	can := func(edit func(*device.Capabilities)) func(*aSlot) {
		return func(s *aSlot) { edit(&s.h.Screens[0].Can) }
	}
	tests := map[string]struct {
		edit func(*aSlot)
		form device.Form
		want func(*parts)
	}{
		"as it is":           {func(s *aSlot) {}, device.Toast, func(*parts) {}},
		"half as large":      {can(func(c *device.Capabilities) { c.Diagonal = 300 }), device.Toast, func(w *parts) { w.capability = 0.75 }},
		"twice as large":     {can(func(c *device.Capabilities) { c.Diagonal = 1200 }), device.Toast, func(*parts) {}},
		"so many pixels":     {can(func(c *device.Capabilities) { c.Diagonal = 0 }), device.Toast, func(*parts) {}},
		"half the pixels":    {can(func(c *device.Capabilities) { c.Diagonal, c.Width = 0, 640 }), device.Toast, func(w *parts) { w.capability = 0.75 }},
		"twice the pixels":   {can(func(c *device.Capabilities) { c.Diagonal, c.Height = 0, 1440 }), device.Toast, func(*parts) {}},
		"no size":            {can(func(c *device.Capabilities) { c.Diagonal, c.Width = 0, 0 }), device.Toast, func(w *parts) { w.capability = 0.5 }},
		"1 mm":               {can(func(c *device.Capabilities) { c.Diagonal = 1 }), device.Toast, func(w *parts) { w.capability = 0.5 + 1./1200 }},
		"no way to answer":   {can(func(c *device.Capabilities) { c.Inputs = 0 }), device.Toast, func(*parts) {}},
		"the second form":    {func(s *aSlot) { s.messages[0].Forms = []device.Form{device.List, device.Toast} }, device.Toast, func(w *parts) { w.capability = 0.75 }},
		"the fourth of four": {func(s *aSlot) { s.messages[0].Forms = []device.Form{0, 1, 3, device.Toast} }, device.Toast, func(w *parts) { w.capability = 0.625 }},
		"no form of its":     {func(s *aSlot) { s.messages[0].Forms = []device.Form{device.List} }, device.Toast, func(w *parts) { w.capability = 0.5 }},
		"touch":              {func(s *aSlot) { s.messages[0].Buttons = make([]Button, 1); s.h.Screens[0].Can.Inputs = device.Touch }, device.Toast, func(*parts) {}},
		"a remote control":   {func(s *aSlot) { s.messages[0].Buttons = make([]Button, 1); s.h.Screens[0].Can.Inputs = device.Remote }, device.Toast, func(*parts) {}},
		"a voice": {func(s *aSlot) { s.messages[0].Buttons = make([]Button, 1); s.h.Screens[0].Can.Inputs = device.VoiceIn }, device.Toast,
			func(w *parts) { w.capability = 2.5 / 3 }},
		"buttons, and no way": {func(s *aSlot) { s.messages[0].Buttons = make([]Button, 1); s.h.Screens[0].Can.Inputs = 0 }, device.Toast,
			func(w *parts) { w.capability = 2. / 3 }},
		"a sound":     {func(s *aSlot) { s.messages[0].Sound = true; s.h.Screens[0].Can.Sound = 1 }, device.Toast, func(*parts) {}},
		"no sound":    {func(s *aSlot) { s.messages[0].Sound = true }, device.Toast, func(w *parts) { w.capability = 2. / 3 }},
		"sound alone": {can(func(c *device.Capabilities) { c.Sound = 1 }), device.Toast, func(*parts) {}},
		"a badge":     {func(s *aSlot) { s.messages[0].Forms[0] = device.Badge }, device.Badge, func(w *parts) { w.calm = 1 }},
		"full screen": {func(s *aSlot) { s.messages[0].Forms[0] = device.FullScreen }, device.FullScreen, func(w *parts) { w.calm = 0 }},
		"something plays": {func(s *aSlot) { told(s, device.PlayerState, "playing", time.Hour) }, device.Toast,
			func(w *parts) { w.attention, w.calm = 0.2, 0.3 }},
		"something loads":        {func(s *aSlot) { told(s, device.PlayerState, "buffering", 0) }, device.Toast, func(w *parts) { w.attention, w.calm = 0.2, 0.3 }},
		"it was just paused":     {func(s *aSlot) { told(s, device.PlayerState, "paused", 5*time.Minute-1e6) }, device.Toast, func(w *parts) { w.attention = 0.5 }},
		"it was paused":          {func(s *aSlot) { told(s, device.PlayerState, "paused", 5*time.Minute) }, device.Toast, func(w *parts) { w.attention = 0.2 }},
		"it was just turned off": {func(s *aSlot) { told(s, device.PlayerState, "off", 0) }, device.Toast, func(*parts) {}},
		"one is there":           {func(s *aSlot) { told(s, device.PresenceWho, "1", 0) }, device.Toast, func(w *parts) { w.attention, w.room = 0.5, 0.5 }},
		"one is counted":         {func(s *aSlot) { told(s, device.PresenceCount, 1.0, 0) }, device.Toast, func(w *parts) { w.attention, w.room = 0.5, 0.5 }},
		"three are counted":      {func(s *aSlot) { told(s, device.PresenceCount, 3.0, 0) }, device.Toast, func(w *parts) { w.attention, w.room = 0.5, 0.75 }},
		"none is counted":        {func(s *aSlot) { told(s, device.PresenceCount, 0.0, 0) }, device.Toast, func(*parts) {}},
		"none is there":          {func(s *aSlot) { told(s, device.PresenceWho, "", 0) }, device.Toast, func(*parts) {}},
		"one was there":          {func(s *aSlot) { s.tell(0, device.PresenceWho, "1", time.Hour) }, device.Toast, func(*parts) {}},
		"somebody in the room": {func(s *aSlot) { told(s, device.RoomOccupancy, true, 0) }, device.Toast,
			func(w *parts) { w.attention, w.room = 0.35, 0.5 }},
		"one in the room, by another device": {func(s *aSlot) { s.h.Screens[1].Room = 1; s.tell(1, device.PresenceWho, "1", 0) }, device.Toast,
			func(w *parts) { w.attention, w.room = 0.35, 0.5 }},
		"its owner, of whom nothing is told": {func(s *aSlot) { s.h.Screens[0].Owner = 1 }, device.Toast, func(*parts) {}},
		"it is on":                           {func(s *aSlot) { told(s, device.PowerState, "on", 0) }, device.Toast, func(w *parts) { w.attention = 0.2 }},
		"it stands by":                       {func(s *aSlot) { told(s, device.PowerState, "standby", 0) }, device.Toast, func(*parts) {}},
		"its door was just opened":           {func(s *aSlot) { told(s, device.DoorOpen, true, 2*time.Minute-1e6) }, device.Toast, func(w *parts) { w.attention = 0.3 }},
		"its door was opened":                {func(s *aSlot) { told(s, device.DoorOpen, true, 2*time.Minute) }, device.Toast, func(*parts) {}},
		"its door was just shut":             {func(s *aSlot) { told(s, device.DoorOpen, false, 0) }, device.Toast, func(*parts) {}},
		"on, and its door was just opened":   {func(s *aSlot) { told(s, device.PowerState, "on", 0); told(s, device.DoorOpen, true, 0) }, device.Toast, func(w *parts) { w.attention = 0.5 }},
		"somebody there, and it was just on": {func(s *aSlot) { told(s, device.PresenceCount, 1.0, 0); told(s, device.PlayerState, "on", 0) }, device.Toast, func(w *parts) { w.attention, w.room = 1, 0.5 }},
		"the home likes it best":             {func(s *aSlot) { s.h.Channels = []Channel{{Classes: []device.Class{device.TV, device.Car}}} }, device.Toast, func(w *parts) { w.channel = 1 }},
		"the home likes it third of four":    {func(s *aSlot) { s.h.Channels = []Channel{{Classes: []device.Class{2, 3, device.TV, 4}}} }, device.Toast, func(w *parts) { w.channel = 0.5 }},
		"the home likes others":              {func(s *aSlot) { s.h.Channels = []Channel{{Classes: []device.Class{device.Car}}} }, device.Toast, func(w *parts) { w.channel = 0 }},
		"the first person likes it":          {func(s *aSlot) { s.likes(1, device.TV) }, device.Toast, func(w *parts) { w.attention, w.room, w.channel = 0.5, 2./3, 1 }},
		"one likes it, and one does not":     {func(s *aSlot) { s.likes(1, device.TV); s.likes(2, device.Car) }, device.Toast, func(w *parts) { w.attention, w.room, w.channel = 0.5, 2./3, 0.5 }},
		"who has moved out":                  {func(s *aSlot) { s.likes(9, device.Car) }, device.Toast, func(w *parts) { w.attention, w.room = 0.5, 2./3 }},
	}
	for name, tt := range tests {
		s := aHall(1)
		s.h.Screens[0].Can.Sound = 0
		tt.edit(s)
		w := good
		tt.want(&w)
		there := Present(&s.h, s.h.Screens[0], s.now)
		got := PlaceOf(&s.h, s.messages[0], s.h.Screens[0], tt.form, &there, s.now)
		total := 0.15*w.capability + 0.30*w.attention + 0.20*w.room + 0.25*w.channel + 0.10*w.calm
		if !near(got.Capability, w.capability) || !near(got.Attention, w.attention) || !near(got.Room, w.room) || !near(got.Channel, w.channel) || !near(got.Calm, w.calm) || !near(got.Total, total) {
			t.Errorf("%s:\ngot  %+v\nwant %+v, %g in all", name, got, w, total)
		}
	}
}

// likes is that somebody likes messages on one class alone, and that the first two people are before the television.
func (s *aSlot) likes(who device.PersonID, class device.Class) {
	s.tell(0, device.PresenceWho, "1 2", 0)
	s.h.Channels = append(s.h.Channels, Channel{Owner: who, Classes: []device.Class{class}})
}

package policy

import (
	"cmp"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"porchlight/device"
)

// watcher is Watch, or one that was spoilt on purpose.
type watcher func(Request, Decision) Watched

// unread is a request that is not shown, and draws of what else could happen.
type unread struct {
	q       Request
	changes []int
	parts   []float64
}

var unreads = rapid.Custom(func(t *rapid.T) unread {
	q := fewOrMany.Draw(t, "request")
	q.Own = false
	return unread{q, rapid.SliceOfN(rapid.IntRange(0, 1<<40), 12, 12).Draw(t, "changes"), rapid.SliceOfN(rapid.Float64Range(0, 1), 3, 3).Draw(t, "moments")}
})

var fewOrMany = rapid.OneOf(fewRequests, requests)

// roll takes one of n from what was drawn.
func roll(d *int, n int) int {
	r := *d % n
	*d /= n
	return r
}

// elsewhere changes something that w does not read, and says what.
func elsewhere(w Watched, q *Request, d int) string {
	switch roll(&d, 8) {
	case 0, 1, 2, 3: // something is told that does not matter
		s := q.Home.Screens[roll(&d, len(q.Home.Screens))]
		a := anyTold(s, &d)
		if s.Context == nil || !a.Of(s.Class) || w.Of(s.ID == q.Screen.ID, s.Room != 0 && s.Room == q.Screen.Room).Has(a) {
			return ""
		}
		v := device.Value{}
		if n := roll(&d, 6); n > 0 {
			v = unreadValue(a, n, d)
		}
		put(s, a, v, q.Now-device.Instant([]int64{0, 0, 1, 59_999, 600_000, -1}[roll(&d, 6)]))
		return fmt.Sprintf("%s tells %s = %s", s.ID, a, a.Show(v))
	case 4, 5: // something is told again that is not news
		s := q.Home.Screens[roll(&d, len(q.Home.Screens))]
		if s.Context == nil {
			return ""
		}
		said := ""
		renew := func(a device.Attribute) {
			if r, ok := s.Context.Get(a); ok && q.Now >= r.At && q.Now < r.At.Add(a.TTL(s.Class)) {
				s.Context.Set(a, r.Value, q.Now)
				said += fmt.Sprintf("%s tells %s again ", s.ID, a)
			}
		}
		if a := device.Attribute(1 + roll(&d, len(device.AttributeNames(0)))); presence.Has(a) {
			for _, a := range []device.Attribute{device.PresenceWho, device.PresenceCount, device.RoomOccupancy} {
				// A word of who is there counts against the others by when it was told: that is news.
				if r, ok := s.Context.Get(a); ok && (q.Now < r.At || q.Now >= r.At.Add(a.TTL(s.Class))) {
					return ""
				}
			}
			if who, _ := s.Context.Get(device.PresenceWho); true {
				count, _ := s.Context.Get(device.PresenceCount)
				room, _ := s.Context.Get(device.RoomOccupancy)
				if who.At != count.At || who.At != room.At {
					return ""
				}
			}
			renew(device.PresenceWho)
			renew(device.PresenceCount)
			renew(device.RoomOccupancy)
		} else {
			renew(a)
		}
		return said
	case 6: // something more is shown, or what became of it is told
		if w.Steps {
			return ""
		}
		if roll(&d, 3) > 0 || len(q.Home.Shown) == 0 {
			q.Home.Shown = append(q.Home.Shown, Exposure{At: q.Now, Brand: []device.BrandID{grocer, baker}[roll(&d, 2)], Message: id(byte(2 + roll(&d, 40))), Purpose: Marketing,
				Device: "screen-1", Open: true, Unknown: true, Thread: q.Message.Thread})
			return "more is shown"
		}
		e := &q.Home.Shown[roll(&d, len(q.Home.Shown))]
		if !e.Open {
			return ""
		}
		e.Open, e.Ended, e.Reaction = false, q.Now, Reaction(roll(&d, 4))
		return "what was shown is over"
	default:
		switch what := roll(&d, 2); {
		case what == 0 && !w.Shown && !w.Steps: // something turns out not to have been shown
			q.Home.Shown = nil
			return "nothing was shown"
		case what == 1 && !w.Wishes:
			h := q.Home
			h.Frozen, h.Mutes, h.Quiet, h.Caps, h.Moments, h.Signals, h.Complaints = false, nil, nil, nil, nil, nil, nil
			h.Consents = map[ConsentKey]Stance{}
			for p := Service; p.Known(); p++ {
				for _, who := range append([]Person{{}}, h.People...) {
					h.Consents[ConsentKey{who.ID, q.Message.Brand, p}] = Stance{Choice: Given}
				}
			}
			for i := range h.People {
				h.People[i].Age, h.People[i].Guest, h.People[i].Frozen = device.Adult, false, false
			}
			return "everybody agrees to everything"
		}
	}
	return ""
}

// anyTold is an attribute, mostly one that s has told.
func anyTold(s *Screen, d *int) device.Attribute {
	var told []device.Attribute
	for n := range len(device.AttributeNames(0)) {
		a := device.Attribute(1 + n)
		if _, ok := s.Context.Get(a); ok {
			told = append(told, a)
		}
	}
	if len(told) == 0 || roll(d, 4) == 0 {
		return device.Attribute(1 + roll(d, len(device.AttributeNames(0))))
	}
	return told[roll(d, len(told))]
}

func unreadValue(a device.Attribute, n, d int) device.Value {
	switch info := a.Info(); info.Kind {
	case device.Bool:
		return val(a, n%2 == 0)
	case device.Enum:
		return val(a, info.Values[d%len(info.Values)])
	case device.Number:
		return val(a, []float64{0, 1, 126, 0.5, 3, 127}[d%6])
	default:
		return val(a, []string{"", "1", "2", "1 2", "a"}[d%5])
	}
}

// overslept says how a message comes to be shown that is filed under what watch says, though nothing of
// that has changed; "" if it does not.
func overslept(decide judge, watch watcher, s unread) string {
	q := clone(s.q)
	d := decide(q)
	if d.Verdict == Show {
		return ""
	}
	w := watch(q, d)
	end := w.Until
	if end == 0 {
		end = q.Now.Add(hours(24 * 30))
	}
	if end <= q.Now {
		return fmt.Sprintf("watched until %s, at %s", end, q.Now)
	}
	said := ""
	times := moments(q, end, s.parts)
	for i, n := range s.changes {
		if i%4 == 3 && len(times) > 0 { // and the clock goes on
			later := times[(n/7)%len(times)]
			if later > q.Now {
				q.Now = later
			}
		} else if what := elsewhere(w, &q, n); what != "" {
			said += what + "; "
		} else {
			continue
		}
		if got := decide(q); got.Verdict == Show {
			return fmt.Sprintf("%s for %q, filed under %s as %+v; then %sand it shows at %s\n%s", d.Verdict, d.Reasons, d.Watch, w, said, q.Now, describe(s.q))
		}
	}
	return ""
}

// What nothing is filed under changes nothing: a message that is not shown is not shown whatever else is
// told, shown or chosen, and however long the clock goes on before the instant.
func TestPromiseWatched(t *testing.T) {
	t.Run("holds", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			if broken := overslept(Decide, Watch, unreads.Draw(t, "sample")); broken != "" {
				t.Fatal(broken)
			}
		})
		for seed := range fewer(samplesToNotice) { // as many as each break below needs at most
			if broken := overslept(Decide, Watch, unreads.Example(seed)); broken != "" {
				t.Fatalf("sample %d: %s", seed, broken)
			}
		}
	})
	forget := func(edit func(*Watched)) watcher {
		return func(q Request, d Decision) Watched {
			w := Watch(q, d)
			edit(&w)
			return w
		}
	}
	for name, watch := range map[string]watcher{
		"presence forgotten":       forget(func(w *Watched) { w.Room &^= presence; w.Screen &^= presence }),
		"the room forgotten":       forget(func(w *Watched) { w.Screen, w.Room = w.Screen|w.Room, 0 }),
		"the other screens":        forget(func(w *Watched) { w.Home = 0 }),
		"the screen itself":        forget(func(w *Watched) { w.Screen = 0 }),
		"what was shown forgotten": forget(func(w *Watched) { w.Shown, w.Steps = false, false }),
		"wishes forgotten":         forget(func(w *Watched) { w.Wishes = false }),
		"a sleeper forgotten":      forget(func(w *Watched) { w.Home &^= device.Attributes(device.Sleeping) }),
		"a film forgotten":         forget(func(w *Watched) { w.Room &^= device.Attributes(device.PlayerState, device.Fullscreen) }),
		"an alarm forgotten":       forget(func(w *Watched) { w.Home &^= device.Attributes(device.Alarm) }),
		"the instant forgotten":    forget(func(w *Watched) { w.Until = 0 }),
		"an instant later":         forget(func(w *Watched) { w.Until += 2 }),
	} {
		t.Run("notices "+name, func(t *testing.T) {
			for seed := range samplesToNotice {
				if overslept(Decide, watch, unreads.Example(seed)) != "" {
					return
				}
			}
			t.Errorf("%d samples, and nothing was noticed", samplesToNotice)
		})
	}
}

// A Show is watched by all rules: as long as nothing of what it reads has changed, and the instant has not
// come, it stands.
func TestPromiseShowIsWatched(t *testing.T) {
	shown := 0
	rapid.Check(t, func(t *rapid.T) {
		s := unreads.Draw(t, "sample")
		q := clone(s.q)
		d := Decide(q)
		if d.Verdict != Show {
			return
		}
		shown++
		w := Watch(q, d)
		times := moments(q, w.Until, s.parts)
		said := ""
		for i, n := range s.changes {
			if i%4 == 3 && len(times) > 0 {
				q.Now = max(q.Now, times[(n/7)%len(times)])
			} else if n/8%8 >= 4 && n%8 >= 4 && n%8 <= 5 {
				continue
			} else {
				said += elsewhere(w, &q, n) + "; "
			}
			if got := Decide(q); got.Verdict != Show || got.Content != d.Content || got.Text != d.Text || got.Form != d.Form {
				t.Fatalf("shown, watched as %+v; then %sand at %s it is %s for %q\n%s", w, said, q.Now, got.Verdict, got.Reasons, describe(s.q))
			}
		}
	})
	if shown < fewer(50) {
		t.Errorf("only %d samples were shown", shown)
	}
}

func TestWatchAllocatesNothing(t *testing.T) {
	list := []Request{*good(device.TV)}
	for seed := range 200 {
		list = append(list, requests.Example(seed))
	}
	for i, q := range list {
		d := Decide(q)
		if n := testing.AllocsPerRun(5, func() { Watch(q, d) }); n != 0 {
			t.Fatalf("request %d, %s for %q: %v allocations", i, d.Verdict, d.Reasons, n)
		}
	}
}

// What is filed under what, in the cases that matter most.
func TestWatch(t *testing.T) {
	everyone := device.Attributes(device.PresenceWho, device.PresenceCount, device.RoomOccupancy)
	tests := map[string]struct {
		edit func(*Request)
		want Watched
	}{
		"a night is the clock's alone": {func(q *Request) {
			q.Home.Moments = []Moment{Film, Call, Sleep}
			q.Home.Quiet = []Quiet{{Start: 11 * 60, End: 13 * 60}}
		}, Watched{Reads{Wishes: true}, noon.Add(time.Hour)}},
		"and is not longer for somebody's sleep": {func(q *Request) {
			q.Home.Moments = []Moment{Sleep}
			q.Home.Quiet = []Quiet{{Start: 11 * 60, End: 12*60 + 5}}
			q.tell(device.Sleeping, true, 0)
		}, Watched{Reads{Wishes: true}, noon.Add(5 * time.Minute)}},
		"a sleep is somebody's": {func(q *Request) {
			q.Home.Moments = []Moment{Sleep}
			q.tell(device.Sleeping, true, 0)
		}, Watched{Reads{Room: everyone, Home: device.Attributes(device.Sleeping), Wishes: true}, noon.Add(10 * time.Minute)}},
		"somebody's night is, where they are": {func(q *Request) { q.Home.Quiet = []Quiet{{Start: 11 * 60, End: 13 * 60, Owner: ada}} },
			Watched{Reads{Room: everyone, Wishes: true}, noon.Add(time.Hour)}},
		"spacing waits for its room": {func(q *Request) {
			q.Home.Caps = []Cap{{Max: 1, Minutes: 45}}
			q.shown(baker, 9, 15*time.Minute, false)
		}, Watched{Reads{Shown: true, Wishes: true}, noon.Add(30 * time.Minute)}},
		"not yet": {func(q *Request) { q.Message.NotBefore = noon.Add(hours(2)) }, Watched{Reads{}, noon.Add(hours(2))}},
		"a door": {func(q *Request) {
			q.Message.When = []Predicate{{Class: device.Fridge, Attribute: device.DoorOpen, Op: EQ, Value: val(device.DoorOpen, false)}}
		}, Watched{Reads{Room: everyone, Home: device.Attributes(device.DoorOpen), Wishes: true}, noon.Add(30 * 24 * time.Hour)}},
		"a no is words alone": {func(q *Request) { q.choose(device.Household, Withdrawn) }, Watched{Reads: Reads{Wishes: true}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			q := good(device.TV)
			test.edit(q)
			if got := Watch(*q, Decide(*q)); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

// later is the instant at which the fridge's door, which has been open for a minute, will have been for an hour.
var later = noon.Add(59*time.Minute + time.Second)

// What is filed under what, rule by rule: no more than the rule looks at, and no less.
func TestWatchByRule(t *testing.T) {
	everything, alarm, door := ^device.AttributeSet(0), device.Attributes(device.Alarm), device.Attributes(device.DoorOpen)
	condition := func(text string) func(*Request) { return func(q *Request) { q.Message.Condition = aCondition(text) } }
	rule := func(text string, v Verdict, s Selector) OperatorRule {
		return OperatorRule{ID: "rule", Condition: aCondition(text), Verdict: v, Selector: s}
	}
	step := func(q *Request, n int) {
		q.Message.Journey, q.Message.Step = "milk", n
	}
	month := noon.Add(30 * 24 * time.Hour)
	whole := []MuteRule{{Owner: ada}}
	tests := map[string]struct {
		class device.Class // a TV unless named
		edit  func(*Request)
		rule  Rule // the one that it is filed under
		want  Watched
	}{
		"a film on the screen": {edit: func(q *Request) { q.tell(device.PlayerState, "playing", 0) }, rule: Safety,
			want: Watched{Reads{Screen: everything, Home: alarm, Wishes: true}, month}},
		"a car that moves": {class: device.Car, edit: func(q *Request) { q.tell(device.Driving, "moving", 0) }, rule: Safety,
			want: Watched{Reads{Screen: everything, Room: presence, Home: alarm, Shown: true, Wishes: true}, month}},
		"a speaker that is called": {class: device.Speaker, edit: func(q *Request) { q.tell(device.CallActive, true, 0) }, rule: Safety,
			want: Watched{Reads{Screen: everything, Room: presence.With(device.CallActive), Home: alarm.With(device.Sleeping), Wishes: true}, month}},
		"an oven that has stopped, and not for long": {class: device.Oven, edit: func(q *Request) {
			q.Screen.Context.Put(device.OperationalState, device.Reading{Value: val(device.OperationalState, "Stopped"), At: noon, Since: noon - 20_000})
			q.Screen.Context.Put(device.Temperature, device.Reading{Value: val(device.Temperature, 90.0), At: noon, Since: noon})
		}, rule: Safety, want: Watched{Reads{Screen: everything, Home: alarm, Wishes: true}, noon.Add(40 * time.Second)}},
		"an oven that is hot": {class: device.Oven, edit: func(q *Request) {
			q.tell(device.Temperature, 90.0, 0)
			q.Screen.Context.Put(device.OperationalState, device.Reading{Value: val(device.OperationalState, "Stopped"), At: noon, Since: noon - 60_000})
		}, rule: Safety, want: Watched{Reads{Screen: everything, Home: alarm, Wishes: true}, noon.Add(59 * time.Minute)}}, // that its alarm is off for a minute is over
		"a floor, nobody told": {edit: func(q *Request) { q.Message.Category = "wine" }, rule: Age, want: Watched{Reads: whoIsAround}},

		"a home that is frozen":                         {edit: func(q *Request) { q.Home.Frozen = true }, rule: Consent, want: Watched{Reads: Reads{Wishes: true}}},
		"a home that said no to what is somebody's own": {edit: func(q *Request) { q.own(ada, ben); q.choose(0, Refused) }, rule: Consent, want: Watched{Reads: Reads{Wishes: true}}},
		"an owner who is frozen":                        {edit: func(q *Request) { q.own(ada, ben); q.Home.People[0].Frozen = true }, rule: Consent, want: Watched{Reads: Reads{Wishes: true}}},
		"an owner who said nothing":                     {edit: func(q *Request) { q.own(ada, ben); q.choose(ada, Silent) }, rule: Consent, want: Watched{Reads: Reads{Wishes: true}}},
		"an owner who has moved out":                    {edit: func(q *Request) { q.own(9, ben) }, rule: Consent, want: Watched{Reads: Reads{Wishes: true}}},
		"somebody there who said no":                    {edit: func(q *Request) { q.choose(ben, Refused); q.seen("2") }, rule: Consent, want: Watched{whoIsAround, month}},
		"somebody there who said no, before what is own": {edit: func(q *Request) { q.own(ada, ben); q.choose(ben, Refused); q.seen("2") }, rule: Consent,
			want: Watched{whoIsAround, month}},

		"the home's mute":  {edit: func(q *Request) { q.Home.Mutes = []MuteRule{{Until: noon + 5}} }, rule: Mute, want: Watched{Reads{Wishes: true}, noon + 5}},
		"somebody's mute":  {edit: func(q *Request) { q.Home.Mutes = []MuteRule{{Until: noon + 5, Owner: ben}} }, rule: Mute, want: Watched{whoIsAround, noon + 5}},
		"the owner's mute": {edit: func(q *Request) { q.own(ada, ben); q.Home.Mutes = []MuteRule{{Until: noon + 5, Owner: ada}} }, rule: Mute, want: Watched{Reads{Wishes: true}, noon + 5}},
		"somebody's mute of the baker's": {edit: func(q *Request) {
			q.Home.Mutes = []MuteRule{{Until: noon + 5}, {Until: noon + 5, Owner: ben, Selector: Selector{Brand: baker}}}
		}, rule: Mute, want: Watched{Reads{Wishes: true}, noon + 5}},

		"the home's night, and somebody's": {edit: func(q *Request) {
			q.Home.Quiet = []Quiet{{Start: 720, End: 780}, {Start: 600, End: 660, Owner: ben}}
		}, rule: QuietTime, want: Watched{Reads{Room: presence, Wishes: true}, noon.Add(time.Hour)}},
		"the home's night, and when somebody wants it dark": {edit: func(q *Request) {
			q.Home.Quiet = []Quiet{{Start: 720, End: 780}, {Start: 600, End: 660, Owner: ben, Dim: true}}
		}, rule: QuietTime, want: Watched{Reads{Wishes: true}, noon.Add(time.Hour)}},
		"a night in no zone": {edit: func(q *Request) { q.Home.Quiet = []Quiet{{Start: 1, End: 2, Zone: "Mars/Olympus"}} }, rule: QuietTime, want: Watched{Reads{Wishes: true}, month}},
		"the owner's night": {edit: func(q *Request) { q.own(ada, ben); q.Home.Quiet = []Quiet{{Start: 720, End: 780, Owner: ada}} }, rule: QuietTime,
			want: Watched{Reads{Wishes: true}, noon.Add(time.Hour)}},
		"a film in the room": {edit: func(q *Request) {
			q.Screen.Room, q.Home.Moments = 1, []Moment{Film, Call}
			q.other(device.TV, 1, 0, device.PlayerState, "playing").Context.Set(device.Fullscreen, val(device.Fullscreen, true), noon)
		}, rule: QuietTime, want: Watched{Reads{Room: device.Attributes(device.PlayerState, device.Fullscreen, device.CallActive), Wishes: true}, noon.Add(time.Minute)}},

		"a cap": {edit: func(q *Request) {
			q.shown(baker, 9, time.Hour, false)
			q.Home.Caps = []Cap{{Max: 1, Hours: 2}, {Max: 1, Minutes: 5, Owner: ben}, {Max: 9, Hours: 2, Owner: ben, Selector: Selector{Brand: baker}}}
		}, rule: Frequency, want: Watched{Reads{Shown: true, Wishes: true}, noon.Add(time.Hour)}},
		"a cap, and somebody's": {edit: func(q *Request) {
			q.shown(baker, 9, time.Hour, false)
			q.Home.Caps = []Cap{{Max: 1, Hours: 2}, {Max: 9, Hours: 2, Owner: ben}}
		}, rule: Frequency, want: Watched{Reads{Room: presence, Shown: true, Wishes: true}, noon.Add(time.Hour)}},
		"a cap of trips": {class: device.Car, edit: func(q *Request) {
			q.shown(baker, 9, time.Hour, false)
			q.Home.Caps = []Cap{{Max: 1, Hours: 2}, {Max: 9, Trip: true}}
		}, rule: Frequency, want: Watched{Reads{Screen: device.Attributes(device.LowVoltage, device.Driving), Shown: true, Wishes: true}, noon.Add(time.Hour)}},
		"shown before":      {edit: func(q *Request) { q.shown(grocer, 1, time.Hour, false) }, rule: Dedupe, want: Watched{Reads: Reads{Shown: true}}},
		"open elsewhere":    {edit: func(q *Request) { q.shown(grocer, 1, time.Hour, true) }, rule: Dedupe, want: Watched{Reads{Shown: true, Steps: true}, month}},
		"a step that waits": {edit: func(q *Request) { step(q, 2) }, rule: Sequence, want: Watched{Reads{Shown: true, Steps: true, Wishes: true}, month}},
		"a step that is over": {edit: func(q *Request) {
			step(q, 2)
			q.Home.Shown = []Exposure{{At: noon - 5, Brand: grocer, Message: id(9), Reaction: Dismissed, Thread: Thread{Journey: "milk", Step: 2}}}
		}, rule: Sequence, want: Watched{Reads: Reads{Shown: true, Steps: true, Wishes: true}}},
		"an echo of nothing": {edit: func(q *Request) { q.Message.Echo = Remind }, rule: Sequence, want: Watched{Reads{Shown: true, Steps: true, Wishes: true}, month}},
		"a complaint":        {edit: func(q *Request) { q.Home.Complaints = []Complaint{{Brand: grocer, At: 5}} }, rule: Sequence, want: Watched{Reads{Wishes: true}, month}},

		"a reading here, and one elsewhere": {edit: func(q *Request) {
			q.Message.When = []Predicate{{0, device.PlayerState, EQ, val(device.PlayerState, "on")}, {device.Fridge, device.DoorOpen, EQ, val(device.DoorOpen, false)}}
		}, rule: Condition, want: Watched{Reads{Screen: device.Attributes(device.PlayerState), Room: presence, Home: door, Wishes: true}, month}},
		"a condition here, and one elsewhere": {edit: condition("screen.state == 'on' && fridge.temperature > 3"), rule: Condition,
			want: Watched{Reads{Screen: device.Attributes(device.PlayerState), Room: presence, Home: device.Attributes(device.Temperature), Wishes: true}, month}},
		"an hour after the door was opened": {edit: condition("fridge.door.open.since > 3600"), rule: Condition, want: Watched{Reads{Room: presence, Home: door, Wishes: true}, later}},
		"two hours, and one hour":           {edit: condition("fridge.door.open.since > 7200 || fridge.door.open.since > 3600"), rule: Condition, want: Watched{Reads{Room: presence, Home: door, Wishes: true}, later}},
		"an hour, and two hours":            {edit: condition("fridge.door.open.since > 3600 && fridge.door.open.since > 7200"), rule: Condition, want: Watched{Reads{Room: presence, Home: door, Wishes: true}, later}},
		"an hour, or five minutes past noon": {edit: condition("fridge.door.open.since > 3600 || now.time >= '12:05'"), rule: Condition,
			want: Watched{Reads{Room: presence, Home: door, Wishes: true}, noon.Add(5 * time.Minute)}},
		"an hour, of a minute ago": {edit: condition("fridge.door.open.since >= 60 && fridge.door.open.since > 3600"), rule: Condition, want: Watched{Reads{Room: presence, Home: door, Wishes: true}, later}},
		"an hour, and nonsense": {edit: func(q *Request) { condition("fridge.door.open.since > 3600")(q); q.Message.When = []Predicate{{}} }, rule: Condition,
			want: Watched{Reads{Room: presence, Screen: device.Attributes(device.NoAttribute), Home: door, Wishes: true}, later}},
		"for ever": {edit: condition("fridge.door.open.since > 1e30"), rule: Condition, want: Watched{Reads{Room: presence, Home: door, Wishes: true}, month}},
		"an hour after a door that is not known": {edit: func(q *Request) {
			condition("fridge.door.open.since > 3600")(q)
			q.Home.Screens[1].Context.Put(device.DoorOpen, device.Reading{At: noon, Since: noon - 60_000})
		}, rule: Condition, want: Watched{Reads{Room: presence, Home: door, Wishes: true}, month}},

		"dark, on a screen that cannot": {edit: func(q *Request) {
			q.Screen.Can.Duties, q.Home.Quiet = device.CanMinimal, []Quiet{{Start: 720, End: 780, Dim: true}, {Start: 60, End: 61, Owner: ben}}
		}, rule: Capability, want: Watched{Reads{Wishes: true}, noon.Add(time.Hour)}},
		"dark for somebody, on a screen that cannot": {edit: func(q *Request) {
			q.Screen.Can.Duties, q.Home.Quiet = device.CanMinimal, []Quiet{{Start: 720, End: 780, Dim: true, Owner: ben}}
		}, rule: Capability, want: Watched{Reads{Room: presence, Wishes: true}, noon.Add(time.Hour)}},
		"sensitive, on somebody's screen that cannot": {edit: func(q *Request) {
			q.own(ada, ben)
			q.Screen.Can.Duties, q.Message.Category = device.CanDim, "health"
		}, rule: Capability, want: Watched{Reads: Reads{Room: presence, Wishes: true}}},
		"a form that it cannot show": {edit: func(q *Request) { q.Screen.Can.Forms = nil }, rule: Capability, want: Watched{Reads: Reads{Wishes: true}}},
		"not for what is somebody's": {edit: func(q *Request) { q.own(ada, ben); q.Screen.Can.Forms = nil }, rule: Capability, want: Watched{Reads: Reads{Wishes: true}}},
		"not for what is sensitive": {edit: func(q *Request) {
			q.seen("1")
			q.choose(ada, Given)
			q.Message.Category = "health"
			q.Screen.Can.Forms = nil
		}, rule: Capability, want: Watched{Reads: Reads{Wishes: true}}},
		"sensitive, before strangers": {edit: func(q *Request) { q.Message.Category = "health" }, rule: Sensitive, want: Watched{Reads: whoIsAround}},

		"the operator, for an hour": {edit: func(q *Request) {
			q.Home.Rules = []OperatorRule{rule("fridge.door.open.since < 3600", Hold, Selector{}), rule("fridge.temperature.since < 90 && screen.dnd", Hold, Selector{Brand: baker})}
		}, rule: Operator, want: Watched{Reads{Home: door, Wishes: true}, later - 1000}},
		"the operator, of who is there": {edit: func(q *Request) {
			q.Home.Rules = []OperatorRule{rule("presence.count > 5", Hold, Selector{})}
		}, rule: Operator, want: Watched{Reads{Screen: presence, Room: presence, Wishes: true}, month}},
		"the operator, of this screen": {edit: func(q *Request) {
			q.Home.Rules = []OperatorRule{rule("screen.state == 'paused'", Refuse, Selector{})}
		}, rule: Operator, want: Watched{Reads: Reads{Screen: device.Attributes(device.PlayerState), Wishes: true}}},

		// Of several refusals the one that asks no device, and else the first.
		"a floor, and terms": {edit: func(q *Request) { q.Message.Category = "wine"; q.Home.Signals = []Signal{{"screen-1", 1 << Marketing}} }, rule: Terms, want: Watched{Reads: Reads{Wishes: true}}},
		"terms, and a mute":  {edit: func(q *Request) { q.Home.Signals, q.Home.Mutes = []Signal{{"screen-1", 1 << Marketing}}, whole }, rule: Terms, want: Watched{Reads: Reads{Wishes: true}}},
		"too long, and a mute": {class: device.Car, edit: func(q *Request) { q.Message.Texts[1].Body = string(make([]byte, 90)); q.Home.Mutes = whole }, rule: Safety,
			want: Watched{Reads: Reads{Screen: everything, Room: presence, Home: alarm, Shown: true, Wishes: true}}},
		"a film on the screen, and a mute": {edit: func(q *Request) { q.tell(device.PlayerState, "playing", 0); q.Home.Mutes = whole }, rule: Mute, want: Watched{Reads: whoIsAround}},
		"no screen":                        {edit: func(q *Request) { q.Screen = nil }, rule: Capability, want: Watched{Reads: Reads{Wishes: true}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			q := good(cmp.Or(tt.class, device.TV))
			tt.edit(q)
			d := Decide(*q)
			if d.Verdict == Show || !d.Reasons.Has(tt.rule) || d.Verdict == Hold && d.Watch != tt.rule {
				t.Fatalf("%s for %q, filed under %s: want %s\n%s", d.Verdict, d.Reasons, d.Watch, tt.rule, describe(*q))
			}
			if got := Watch(*q, d); got != tt.want {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

// A Show is watched by every rule.
func TestWatchOfShow(t *testing.T) {
	q := good(device.TV)
	q.Message.When = []Predicate{{device.Fridge, device.DoorOpen, EQ, val(device.DoorOpen, true)}}
	want := Watched{Reads{Screen: ^device.AttributeSet(0), Room: presence, Home: device.Attributes(device.Alarm, device.DoorOpen), Shown: true, Steps: true, Wishes: true}, noon.Add(time.Minute)}
	if got := Watch(*q, Decide(*q)); got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// What of all that screens tell matters depends on where they are.
func TestReadsOf(t *testing.T) {
	screen, room, home := device.Attributes(device.DND), device.Attributes(device.Sleeping), device.Attributes(device.Alarm)
	r := Reads{Screen: screen, Room: room, Home: home}
	for _, test := range []struct {
		same, near bool
		want       device.AttributeSet
	}{{false, false, home}, {false, true, home | room}, {true, false, home | room | screen}, {true, true, home | room | screen}} {
		if got := r.Of(test.same, test.near); got != test.want {
			t.Errorf("the same %t, near %t: got %b, want %b", test.same, test.near, got, test.want)
		}
	}
	for _, r := range []Reads{{Screen: screen}, {Room: room}, {Home: home}} {
		if !r.Told() {
			t.Errorf("%+v reads nothing that is told", r)
		}
	}
	if (Reads{Shown: true, Steps: true, Wishes: true}).Told() {
		t.Error("what was shown is taken for told")
	}
}

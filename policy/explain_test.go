package policy

import (
	"slices"
	"testing"
	"time"

	"porchlight/device"
)

func TestCauses(t *testing.T) {
	tests := map[string]struct {
		class device.Class
		edit  func(*Request)
		want  []Cause
	}{
		"shown":   {device.TV, func(q *Request) {}, nil},
		"no home": {device.TV, func(q *Request) { q.Home = nil }, []Cause{{Code: NothingYet}}},
		"never":   {device.Other, func(q *Request) {}, []Cause{{Code: NeverHere, Class: device.Other}, {Rule: Capability, Code: CannotShow, Class: device.Other}}},
		"car": {device.Car, func(q *Request) {
			q.tell(device.Driving, "moving", 0)
			q.Message.Texts[1].Body = string(make([]byte, 90))
		}, []Cause{{Code: TooLong, Class: device.Car, Have: 95, Max: 80}, {Code: NotSafe, Class: device.Car, Verdict: Hold}}},
		"child alone": {device.TV, func(q *Request) { q.Home.People[0].Age = device.Child; q.choose(ada, Given); q.seen("1") }, []Cause{{Rule: Age, Code: ChildAlone, Verdict: Hold}}},
		"child's own": {device.TV, func(q *Request) { q.Home.People[0].Age = device.Child; q.own(ada, ada) }, []Cause{{Rule: Age, Code: ChildAlone, Person: ada}}},
		"child, no guardian": {device.TV, func(q *Request) { q.Home.People[0].Age = device.Child; q.choose(ben, Given); q.seen("1 2") }, []Cause{
			{Rule: Age, Code: ChildThere, Verdict: Hold, Person: ada, Brand: grocer, Purpose: Marketing},
			{Rule: Consent, Code: NobodyAsked, Verdict: Hold, Person: ada, Brand: grocer, Purpose: Marketing}}},
		"floor": {device.TV, func(q *Request) { q.Message.Category = "wine" }, []Cause{{Rule: Age, Code: ChildFloor, Category: "wine"}}},
		"teen": {device.TV, func(q *Request) { q.Home.People[0].Age = device.Teen; q.own(ada, ada); q.Message.Category = "wine" }, []Cause{
			{Rule: Age, Code: TeenThere, Purpose: Marketing, Category: "wine"}}},
		"personal, not told": {device.TV, func(q *Request) { q.Message.Audience = Personal }, []Cause{{Rule: Age, Code: NotForGuests, Purpose: Marketing}}},
		"personal, company":  {device.TV, func(q *Request) { q.Message.Audience = Personal; q.own(ada, ada); q.seen("2") }, []Cause{{Rule: Age, Code: NotAlone, Verdict: Hold, Person: ada}}},
		"silence":            {device.TV, func(q *Request) { q.choose(0, Silent) }, []Cause{{Rule: Consent, Code: NobodyAsked, Brand: grocer, Purpose: Marketing}}},
		"a no": {device.TV, func(q *Request) {
			q.say(0, Stance{Choice: Withdrawn, At: 7, Device: "fridge-1"})
			q.choose(ben, Refused)
		}, []Cause{
			{Rule: Consent, Code: SaidNo, Brand: grocer, Purpose: Marketing, At: 7, Device: "fridge-1"},
			{Rule: Consent, Code: SaidNo, Person: ben, Brand: grocer, Purpose: Marketing}}},
		"an end":       {device.TV, func(q *Request) { q.say(0, Stance{Choice: Given, At: 7, Until: 9}) }, []Cause{{Rule: Consent, Code: Ended, Brand: grocer, Purpose: Marketing, At: 7, Until: 9}}},
		"other screen": {device.TV, func(q *Request) { q.say(0, Stance{Choice: Given, Classes: 1 << device.Car}) }, []Cause{{Rule: Consent, Code: NotOnThis, Brand: grocer, Purpose: Marketing, Class: device.TV}}},
		"nobody's":     {device.TV, func(q *Request) { q.Screen.Owner = 9 }, []Cause{{Rule: Consent, Code: OwnerUnknown, Person: 9}}},
		"frozen":       {device.TV, func(q *Request) { q.Home.Frozen = true; q.Home.People[1].Frozen = true }, []Cause{{Rule: Consent, Code: FrozenAll}, {Rule: Consent, Code: FrozenAll, Person: ben}}},
		"terms":        {device.TV, func(q *Request) { q.Home.Signals = []Signal{{"screen-1", 1 << Marketing}} }, []Cause{{Rule: Terms, Code: SignalDenies, Device: "screen-1", Purpose: Marketing}}},
		"mutes": {device.TV, func(q *Request) {
			q.Screen.Room = 1
			q.Home.Mutes = []MuteRule{{Selector: Selector{grocer, Marketing, "dairy", device.TV, "screen-1", 1}, Owner: ben}, {Until: noon + 9, Implied: true}, {Until: noon}, {Content: Words}}
		}, []Cause{
			{Rule: Mute, Code: Muted, Person: ben, Brand: grocer, Purpose: Marketing, Category: "dairy", Class: device.TV, Device: "screen-1", Room: 1},
			{Rule: Mute, Code: PausedByHabit, Verdict: Hold, Until: noon + 9},
			{Rule: Mute, Code: Muted, Content: Words}}},
		"sensitive": {device.TV, func(q *Request) { q.Message.Category = "health" }, []Cause{{Rule: Sensitive, Code: SensitiveHere, Category: "health"}}},
		"quiet": {device.TV, func(q *Request) { q.Home.Quiet = []Quiet{{Start: 720, End: 750, Owner: ben}, {Start: 750, End: 780}} }, []Cause{
			{Rule: QuietTime, Code: QuietNow, Verdict: Hold, Person: ben, Until: noon.Add(time.Hour)}}},
		"zone": {device.TV, func(q *Request) { q.Home.Zone = nil; q.Home.Quiet = []Quiet{{Start: 1}}; q.Home.Caps = []Cap{{Max: 1}} }, []Cause{
			{Rule: QuietTime, Code: ZoneUnknown, Verdict: Hold}, {Rule: Frequency, Code: ZoneUnknown, Verdict: Hold, Max: 1}}},
		"nonsense": {device.TV, func(q *Request) { q.Home.Quiet = []Quiet{{Start: -1}}; q.Message.When = []Predicate{{}} }, []Cause{
			{Rule: QuietTime, Code: QuietSenseless, Verdict: Hold}, {Rule: Condition, Code: NoSense}}},
		"caps": {device.TV, func(q *Request) {
			q.shown(grocer, 2, 0, false)
			q.Home.Caps = []Cap{{Each: true, Max: 1, Hours: 2}, {Max: 0, Owner: ben}, {Max: 1, Minutes: 45}, {Max: 9}}
		}, []Cause{
			{Rule: Frequency, Code: CapFull, Verdict: Hold, Brand: grocer, Have: 1, Max: 1, Hours: 2, Until: noon.Add(2 * time.Hour)},
			{Rule: Frequency, Code: CapNone, Person: ben},
			{Rule: Spacing, Code: TooClose, Verdict: Hold, Have: 1, Max: 1, Minutes: 45, Until: noon.Add(45 * time.Minute)}}},
		"shown before": {device.TV, func(q *Request) { q.shown(grocer, 1, 0, false) }, []Cause{{Rule: Dedupe, Code: ShownBefore, At: noon}}},
		"open":         {device.TV, func(q *Request) { q.shown(grocer, 1, 0, true) }, []Cause{{Rule: Dedupe, Code: OnAnother, Verdict: Hold, At: noon}}},
		"waits": {device.TV, func(q *Request) {
			q.Message.When = []Predicate{{device.Fridge, device.DoorOpen, EQ, val(device.DoorOpen, false)}, {device.Fridge, device.DoorOpen, EQ, val(device.DoorOpen, true)}}
		}, []Cause{{Rule: Condition, Code: WaitsFor, Verdict: Hold, Class: device.Fridge, Attribute: device.DoorOpen, Op: EQ, Value: val(device.DoorOpen, false)}}},
		"early":   {device.TV, func(q *Request) { q.Message.NotBefore = noon + 5 }, []Cause{{Rule: Validity, Code: NotYet, Verdict: Hold, Until: noon + 5}}},
		"over":    {device.TV, func(q *Request) { q.Message.NotAfter = noon - 5 }, []Cause{{Rule: Validity, Code: Over, Until: noon - 5}}},
		"buttons": {device.TV, func(q *Request) { q.Message.Buttons = make([]Button, 4) }, []Cause{{Rule: Capability, Code: TooManyButtons, Class: device.TV, Have: 4, Max: 3}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			q := good(tt.class)
			tt.edit(q)
			if got := Causes(*q, Decide(*q)); !slices.Equal(got, tt.want) {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

func TestCausesOfAnotherMoment(t *testing.T) {
	if got := Causes(*good(device.TV), Decision{}); len(got) != 1 || got[0].Code != NothingYet {
		t.Errorf("the zero Decision is explained by %+v", got)
	}
	q := good(device.TV)
	q.Home.Mutes = []MuteRule{{}}
	if got := Causes(*q, Decision{Reasons: Reasons(0).With(Holdout).With(Safety).With(Mute)}); len(got) != 1 || got[0].Code != Muted {
		t.Errorf("reasons of which one still holds are explained by %+v", got)
	}
}

// Why a condition is unknown, in what is told to people and in what is told to whoever writes it.
func TestGaps(t *testing.T) {
	tests := map[string]struct {
		text string
		edit func(*Request)
		code Code
		gap  Gap
	}{
		"known":       {"presence.count == 2", func(q *Request) { q.seen("1") }, WrongCompany, NoGap},
		"nobody told": {"presence.count == 2", func(q *Request) {}, NobodyTold, NotTold},
		"long ago":    {"presence.count == 2", func(q *Request) { q.tell(device.PresenceWho, "1", hours(5)) }, ToldLongAgo, Stale},
		"one of two, long ago": {"presence.count == 2", func(q *Request) {
			q.seen("1")
			q.next("2")
			put(q.Home.Screens[1], device.PresenceWho, val(device.PresenceWho, "2"), noon-1e6)
		}, ToldLongAgo, Stale},
		"nobody, long ago": {"presence.count == 2", func(q *Request) { q.tell(device.RoomOccupancy, false, hours(5)) }, ToldLongAgo, Stale},
		"no phone":         {"companion.sleeping", func(q *Request) { delete(q.Home.Consents, ConsentKey{0, grocer, Context}) }, WaitsFor, NotTold},
		"his phone": {"companion.sleeping", func(q *Request) {
			q.other(device.Companion, 0, ben, device.Sleeping, false)
			q.Home.Consents[ConsentKey{ben, grocer, Context}] = Stance{Choice: Refused}
			q.seen("1")
		}, NotItsConcern, NotAllowed},
		"his phone, whom all agree about": {"companion.sleeping", func(q *Request) { q.other(device.Companion, 0, ben, device.Sleeping, false) }, WaitsFor, NoGap},
		"a stranger":                      {"presence.count == 2", func(q *Request) { q.tell(device.PresenceCount, 1., 0) }, StrangerThere, Stranger},
		"not allowed":                     {"presence.count == 2", func(q *Request) { q.seen("1"); delete(q.Home.Consents, ConsentKey{0, grocer, Context}) }, NotItsConcern, NotAllowed},
		"a door":                          {"washer.door.open", func(q *Request) {}, WaitsFor, NotTold},
		"an old door": {"fridge.door.open", func(q *Request) {
			q.Home.Screens[1].Context.Put(device.DoorOpen, device.Reading{Value: val(device.DoorOpen, true), At: 1, Since: 1})
		}, WaitsFor, Stale},
		"without clock": {"now.hour == 3", func(q *Request) { q.Home.Zone = nil }, WrongTime, NoClock},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			q := good(device.TV)
			for _, who := range []device.PersonID{0, ada, ben} {
				q.Home.Consents[ConsentKey{who, grocer, Context}] = Stance{Choice: Given}
			}
			q.choose(ada, Given)
			x, err := ParseCondition(tt.text)
			if err != nil {
				t.Fatal(err)
			}
			q.Message.Condition = x
			tt.edit(q)
			var got []Code
			for _, c := range Causes(*q, Decide(*q)) {
				if c.Rule == Condition {
					got = append(got, c.Code)
				}
			}
			if !slices.Equal(got, []Code{tt.code}) {
				t.Errorf("%s waits because %q, want %q", tt.text, got, tt.code)
			}
			if steps := q.Message.Condition.Explain(*q); len(steps) != 1 || steps[0].Why != tt.gap || (steps[0].Truth == NotKnown) != (tt.gap != NoGap) {
				t.Errorf("%s: got %+v, want %q", tt.text, steps, tt.gap)
			}
		})
	}
}

// A wait that outlasts the message is told apart.
func TestLate(t *testing.T) {
	for _, over := range []device.Instant{noon.Add(hours(1)), noon.Add(hours(1)) + 1} {
		q := good(device.TV)
		q.Home.Quiet = []Quiet{{Start: 720, End: 780}} // until an hour from now
		q.Message.NotAfter = over
		want := Cause{Rule: QuietTime, Code: QuietNow, Verdict: Hold, Until: noon.Add(hours(1)), Late: over == noon.Add(hours(1))}
		if got := Causes(*q, Decide(*q)); !slices.Equal(got, []Cause{want}) {
			t.Errorf("the message ends at %s: got %+v, want %+v", over, got, want)
		}
	}
}

func TestGrounds(t *testing.T) {
	q := good(device.TV)
	q.say(0, Stance{Choice: Given, At: 5, Device: "fridge-1", Until: noon.Add(hours(24))})
	q.say(ada, Stance{Choice: Given, At: 6})
	q.choose(ben, Given)
	q.Message.When = []Predicate{{device.Fridge, device.DoorOpen, EQ, val(device.DoorOpen, true)}}
	yes := Cause{Rule: Consent, Code: SaidYes, Verdict: Show, Brand: grocer, Purpose: Marketing, At: 5, Device: "fridge-1", Until: noon.Add(hours(24))}
	hers := Cause{Rule: Consent, Code: SaidYes, Verdict: Show, Person: ada, Brand: grocer, Purpose: Marketing, At: 6}
	happened := Cause{Rule: Condition, Code: Happened, Verdict: Show, Class: device.Fridge, Attribute: device.DoorOpen, Op: EQ, Value: val(device.DoorOpen, true), Until: noon.Add(10 * time.Minute)}
	check := func(what string, want ...Cause) {
		t.Helper()
		if got := Grounds(*q, Decide(*q)); !slices.Equal(got, want) {
			t.Errorf("%s: got  %+v\nwant %+v", what, got, want)
		}
	}
	check("nobody told", yes, happened)
	q.seen("1")
	check("somebody there", yes, hers, happened)
	q.Screen.Owner = ada
	check("her own", hers, happened)
	q.choose(ada, Refused)
	check("refused")
}

func TestWhatIf(t *testing.T) {
	tests := map[string]struct {
		edit func(*Request)
		want [][]Rule
	}{
		"shown":   {func(q *Request) {}, nil},
		"nothing": {func(q *Request) { q.Screen = nil }, nil},
		"one":     {func(q *Request) { q.Home.Alarm = true }, [][]Rule{{Safety}}},
		"several": {func(q *Request) { q.Home.Alarm = true; q.Home.Consents = nil; q.Home.Mutes = []MuteRule{{}} }, [][]Rule{{Safety, Consent, Mute}}},
	}
	for name, tt := range tests {
		q := good(device.TV)
		tt.edit(q)
		if got := WhatIf(*q); !slices.EqualFunc(got, tt.want, slices.Equal) {
			t.Errorf("%s: got %v, want %v", name, got, tt.want)
		}
	}
}

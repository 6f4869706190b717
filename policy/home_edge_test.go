package policy

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight/device"
)

// A Show ends with the first of what it rests on.
func TestShowEnds(t *testing.T) {
	five := noon.Add(5 * time.Minute)
	ends := Stance{Choice: Given, Until: five}
	month := noon.Add(30 * 24 * time.Hour)
	tests := map[string]struct {
		edit func(*Request)
		want device.Instant
	}{
		"nothing ends":           {func(q *Request) {}, month},
		"the home's yes":         {func(q *Request) { q.say(0, ends) }, five},
		"who is there":           {func(q *Request) { q.seen("1"); q.choose(ada, Given) }, noon.Add(10 * time.Minute)},
		"hers who is there":      {func(q *Request) { q.seen("1"); q.say(ada, ends) }, five},
		"his who is not there":   {func(q *Request) { q.seen("1"); q.choose(ada, Given); q.say(ben, ends) }, noon.Add(10 * time.Minute)},
		"his who may be there":   {func(q *Request) { q.say(ben, ends) }, month},
		"the owner's":            {func(q *Request) { q.own(ada, ben); q.say(ada, ends) }, five},
		"his before hers":        {func(q *Request) { q.own(ada, ben); q.seen("2"); q.say(ben, ends) }, noon.Add(10 * time.Minute)},
		"the home's before hers": {func(q *Request) { q.own(ada, ben); q.say(0, ends) }, month},
		"a child's, before hers": {func(q *Request) { q.Home.People[1].Age = device.Child; q.own(ada, ada); q.seen("2"); q.say(ben, ends) }, five},
		"a message":              {func(q *Request) { q.Message.NotAfter = five }, five},
		"a night to come":        {func(q *Request) { q.Home.Quiet = []Quiet{{Start: 725, End: 780}} }, five},
		"two nights to come": {func(q *Request) {
			q.Home.Quiet = []Quiet{{Start: 730, End: 780}, {Start: 725, End: 726}, {Start: 740, End: 780}}
		}, five},
		"a dark time to come": {func(q *Request) { q.Home.Quiet = []Quiet{{Start: 725, End: 780, Dim: true}} }, five},
		"a dark time":         {func(q *Request) { q.Home.Quiet = []Quiet{{Start: 700, End: 725, Dim: true}} }, five},
		"a mute of a part":    {func(q *Request) { q.Home.Mutes = []MuteRule{{Content: Sound, Until: five}} }, five},
		"who has not been told": {func(q *Request) {
			q.own(ada, ada)
			q.tell(device.RoomOccupancy, false, 5*time.Minute)
			q.Message.Category = "health"
		}, five},
		"a sleep from the future": {func(q *Request) { q.Home.Moments = []Moment{Sleep}; q.tell(device.Sleeping, true, -15*time.Minute) }, five},
		"what the operator is to stop": {func(q *Request) {
			q.Home.Rules = []OperatorRule{{ID: "a", Condition: aCondition("now.time >= '12:05'")}, {ID: "b", Condition: aCondition("now.time >= '12:06'"), Verdict: Hold}}
		}, five},
		"the first of two doors":  {func(q *Request) { q.doors(0, 5*time.Minute) }, noon.Add(10 * time.Minute)},
		"the second of two doors": {func(q *Request) { q.doors(5*time.Minute, 0) }, noon.Add(10 * time.Minute)},
		"leave to know": {func(q *Request) {
			q.Home.Consents[ConsentKey{0, grocer, Context}] = ends
			q.tell(device.Sleeping, false, 0)
			q.Message.When = []Predicate{{0, device.Sleeping, EQ, val(device.Sleeping, false)}}
		}, five},
		"leave to know, in words": {func(q *Request) {
			q.Home.Consents[ConsentKey{0, grocer, Context}] = ends
			q.tell(device.Sleeping, false, 0)
			q.Message.Condition = aCondition("!screen.sleeping")
		}, five},
		"leave for ever": {func(q *Request) {
			q.Home.Consents[ConsentKey{0, grocer, Context}] = Stance{Choice: Given}
			q.tell(device.Sleeping, false, 0)
			q.Message.When = []Predicate{{0, device.Sleeping, EQ, val(device.Sleeping, false)}}
		}, noon.Add(10 * time.Minute)},
		"a cap by dates, where the clocks never change": {func(q *Request) { q.Home.Zone, q.Home.Caps = time.UTC, []Cap{{Max: 1}} }, month},
	}
	for name, tt := range tests {
		for _, prepared := range []bool{false, true} {
			q := good(device.Fridge) // whose answer rests on nothing that ends soon
			tt.edit(q)
			if prepared {
				q.Home.Prepare(q.Now)
				q.Message.Prepare()
			}
			if d := Decide(*q); d.Verdict != Show || d.Until != tt.want {
				t.Errorf("%s, prepared %t: %s for %q until %s, want show until %s", name, prepared, d.Verdict, d.Reasons, d.Until, tt.want)
			}
		}
	}
}

// doors is that either of two open doors will do, which told of it so long ago.
func (q *Request) doors(first, second time.Duration) {
	put(q.Home.Screens[1], device.DoorOpen, val(device.DoorOpen, true), q.Now.Add(-first))
	put(q.Home.Screens[0], device.DoorOpen, val(device.DoorOpen, false), q.Now)
	put(q.other(device.Fridge, 0, 0, device.PowerState, "on"), device.DoorOpen, val(device.DoorOpen, true), q.Now.Add(-second))
	q.Message.When = []Predicate{{device.Fridge, device.DoorOpen, EQ, val(device.DoorOpen, true)}}
}

// A Hold ends with the last of what holds it back, as far as the clock goes.
func TestHoldEnds(t *testing.T) {
	month := noon.Add(30 * 24 * time.Hour)
	future := func(q *Request) { // it is fresh in 20 minutes
		q.tell(device.PresenceWho, "1", -30*time.Minute)
		q.choose(ada, Given)
	}
	tests := map[string]struct {
		edit  func(*Request)
		watch Rule
		want  device.Instant
	}{
		"two at once, the first is filed": {func(q *Request) {
			q.Home.Quiet, q.Message.NotBefore = []Quiet{{Start: 720, End: 780}}, noon.Add(time.Hour)
		}, QuietTime, noon.Add(time.Hour)},
		"longer than the message":          {func(q *Request) { q.Home.Quiet = []Quiet{{Start: 720, End: 780}}; q.Message.NotAfter = noon + 5 }, QuietTime, noon + 5},
		"who is there, told in the future": {func(q *Request) { future(q); q.Message.Audience = Personal }, Age, noon.Add(20 * time.Minute)},
		"whoever is there": {func(q *Request) {
			q.seen("1 2")
			q.choose(ada, Given)
			q.choose(ben, Given)
			q.Message.Audience = Personal
		}, Age, month},
		"a night of who is there, told in the future": {func(q *Request) {
			future(q)
			q.Home.Quiet = []Quiet{{Start: 720, End: 780, Owner: ben}}
		}, QuietTime, noon.Add(20 * time.Minute)},
		"a cap of who is there, told in the future": {func(q *Request) {
			future(q)
			q.shown(baker, 9, time.Hour, false)
			q.Home.Shown[0].Unknown = true
			q.Home.Caps = []Cap{{Max: 1, Hours: 2, Owner: ben}}
		}, Frequency, noon.Add(20 * time.Minute)},
		"a mute of who may leave":                  {func(q *Request) { q.seen("1"); q.choose(ada, Given); q.Home.Mutes = []MuteRule{{Owner: ada}} }, Mute, month},
		"a mute of who leaves, told in the future": {func(q *Request) { future(q); q.Home.Mutes = []MuteRule{{Owner: ada}} }, Mute, noon.Add(20 * time.Minute)},
		"a predicate that is true too early": {func(q *Request) {
			q.Home.Screens[1].Context.Put(device.DoorOpen, device.Reading{Value: val(device.DoorOpen, true), At: noon.Add(time.Hour), Since: noon.Add(time.Hour)})
			q.Message.When = []Predicate{{device.Fridge, device.DoorOpen, EQ, val(device.DoorOpen, true)}}
		}, Condition, noon.Add(50 * time.Minute)},
		"a predicate that is false, and too early": {func(q *Request) {
			q.Home.Screens[1].Context.Put(device.DoorOpen, device.Reading{Value: val(device.DoorOpen, false), At: noon.Add(time.Hour), Since: noon.Add(time.Hour)})
			q.Message.When = []Predicate{{device.Fridge, device.DoorOpen, EQ, val(device.DoorOpen, true)}}
		}, Condition, month},
		"a predicate that was true too long ago": {func(q *Request) {
			q.Home.Screens[1].Context.Put(device.DoorOpen, device.Reading{Value: val(device.DoorOpen, true), At: noon.Add(-10 * time.Minute), Since: 1})
			q.Message.When = []Predicate{{device.Fridge, device.DoorOpen, EQ, val(device.DoorOpen, true)}}
		}, Condition, month},
		"a predicate of no reading": {func(q *Request) {
			q.Message.When = []Predicate{{0, device.PowerState, EQ, val(device.PowerState, "on")}}
		}, Condition, month},
		"a predicate about people": {func(q *Request) {
			future(q)
			q.Message.When = []Predicate{{0, device.Sleeping, EQ, val(device.Sleeping, true)}}
		}, Condition, noon.Add(20 * time.Minute)},
		"longer than a reading is good for": {func(q *Request) { q.Message.Condition = aCondition("fridge.door.open.since >= 660") }, Condition, month},
		"as long as a reading is good for":  {func(q *Request) { q.Message.Condition = aCondition("fridge.door.open.since >= 659") }, Condition, noon.Add(599 * time.Second)},
	}
	for name, tt := range tests {
		q := good(device.TV)
		tt.edit(q)
		if d := Decide(*q); d.Verdict != Hold || d.Watch != tt.watch || d.Until != tt.want {
			t.Errorf("%s: %s for %q, filed under %s, until %s; want %s until %s", name, d.Verdict, d.Reasons, d.Watch, d.Until, tt.watch, tt.want)
		}
	}
}

// What refuses, what waits, and in which words: one edge each.
func TestEdgesOfRules(t *testing.T) {
	five := noon.Add(5 * time.Minute)
	tests := map[string]struct {
		class device.Class // a TV unless named
		edit  func(*Request)
		want  []Cause
	}{
		"a yes until now":                        {edit: func(q *Request) { q.say(0, Stance{Choice: Given, Until: noon}) }, want: []Cause{{Rule: Consent, Code: Ended, Brand: grocer, Purpose: Marketing, Until: noon}}},
		"a yes until after now":                  {edit: func(q *Request) { q.say(0, Stance{Choice: Given, Until: noon + 1}) }},
		"a mute until now":                       {edit: func(q *Request) { q.Home.Mutes = []MuteRule{{Until: noon}} }},
		"a mute until after now":                 {edit: func(q *Request) { q.Home.Mutes = []MuteRule{{Until: noon + 1}} }, want: []Cause{{Rule: Mute, Code: Muted, Verdict: Hold, Until: noon + 1}}},
		"the home's mute, and somebody is there": {edit: func(q *Request) { q.seen("1"); q.choose(ada, Given); q.Home.Mutes = []MuteRule{{}} }, want: []Cause{{Rule: Mute, Code: Muted}}},
		"the owner's mute, who is there":         {edit: func(q *Request) { q.own(ada, ben); q.seen("1"); q.Home.Mutes = []MuteRule{{Owner: ada}} }, want: []Cause{{Rule: Mute, Code: Muted, Person: ada}}},
		"the mute of who is there":               {edit: func(q *Request) { q.seen("1"); q.choose(ada, Given); q.Home.Mutes = []MuteRule{{Owner: ada}} }, want: []Cause{{Rule: Mute, Code: Muted, Person: ada, Verdict: Hold}}},
		"the mute of who is not there":           {edit: func(q *Request) { q.seen("1"); q.choose(ada, Given); q.Home.Mutes = []MuteRule{{Owner: ben}} }},
		"the words muted, of a picture":          {edit: func(q *Request) { q.Message.Picture = new(Pixels); q.Home.Mutes = []MuteRule{{Content: Words}} }},
		"the picture muted, of words":            {edit: func(q *Request) { q.Home.Mutes = []MuteRule{{Content: Picture}} }},
		"words and picture muted, one for a while": {edit: func(q *Request) {
			q.Message.Picture = new(Pixels)
			q.Home.Mutes = []MuteRule{{Content: Words}, {Content: Picture, Until: five}, {Content: Sound}, {Content: Picture, Until: noon}}
		}, want: []Cause{{Rule: Mute, Code: Muted, Verdict: Hold, Content: Words}, {Rule: Mute, Code: Muted, Verdict: Hold, Content: Picture, Until: five}}},
		"a cap of none, of who is there": {edit: func(q *Request) { q.seen("1"); q.choose(ada, Given); q.Home.Caps = []Cap{{Owner: ada}} }, want: []Cause{{Rule: Frequency, Code: CapNone, Person: ada, Verdict: Hold}}},
		"a cap of none, of the owner":    {edit: func(q *Request) { q.own(ada, ben); q.seen("1"); q.Home.Caps = []Cap{{Owner: ada}} }, want: []Cause{{Rule: Frequency, Code: CapNone, Person: ada}}},
		"a cap of none, of the home":     {edit: func(q *Request) { q.seen("1"); q.choose(ada, Given); q.Home.Caps = []Cap{{}} }, want: []Cause{{Rule: Frequency, Code: CapNone}}},
		"more than there may be": {edit: func(q *Request) {
			for n := range byte(3) {
				q.shown(baker, 2+n, time.Hour, false)
			}
			q.Home.Caps = []Cap{{Max: 2, Hours: 2}}
		}, want: []Cause{{Rule: Frequency, Code: CapFull, Verdict: Hold, Have: 3, Max: 2, Hours: 2, Until: noon.Add(time.Hour)}}},
		"each category": {edit: func(q *Request) {
			q.shown(baker, 2, time.Hour, false)
			q.Home.Shown[0].Category = "dairy"
			q.Home.Caps = []Cap{{Max: 1, Hours: 2, EachCategory: true}}
		}, want: []Cause{{Rule: Frequency, Code: CapFull, Verdict: Hold, Category: "dairy", Have: 1, Max: 1, Hours: 2, Until: noon.Add(time.Hour)}}},
		"each category, another": {edit: func(q *Request) {
			q.shown(grocer, 2, time.Hour, false)
			q.Home.Caps = []Cap{{Max: 1, Hours: 2, EachCategory: true}}
		}},
		"each category, none": {edit: func(q *Request) {
			q.Message.Category = ""
			q.shown(grocer, 2, time.Hour, false)
			q.Home.Caps = []Cap{{Max: 1, Hours: 2, EachCategory: true}}
		}},
		"a cap of another's": {edit: func(q *Request) {
			q.shown(baker, 2, time.Hour, false)
			q.Home.Caps = []Cap{{Max: 1, Hours: 2, Each: true}}
		}},
		"a cap, told in the future": {edit: func(q *Request) {
			q.tell(device.PresenceWho, "1", -30*time.Minute)
			q.choose(ada, Given)
			q.shown(baker, 2, time.Hour, false)
			q.Home.Caps = []Cap{{Max: 1, Hours: 2}}
		}, want: []Cause{{Rule: Frequency, Code: CapFull, Verdict: Hold, Have: 1, Max: 1, Hours: 2, Until: noon.Add(time.Hour)}}},
		"a cap, and a rest": {edit: func(q *Request) {
			q.shown(baker, 2, time.Hour, false)
			q.Home.Caps = []Cap{{Max: 1, Minutes: 61}, {Max: 1, Hours: 2}}
		}, want: []Cause{
			{Rule: Frequency, Code: CapFull, Verdict: Hold, Have: 1, Max: 1, Hours: 2, Until: noon.Add(time.Hour)}, {Rule: Spacing, Code: TooClose, Verdict: Hold, Have: 1, Max: 1, Minutes: 61, Until: noon.Add(time.Minute)}}},
		"two in some minutes are a cap": {edit: func(q *Request) {
			q.shown(baker, 2, 0, false)
			q.shown(baker, 3, 0, false)
			q.Home.Caps = []Cap{{Max: 2, Minutes: 5}}
		}, want: []Cause{
			{Rule: Frequency, Code: CapFull, Verdict: Hold, Have: 2, Max: 2, Minutes: 5, Until: five}}},
		"the longest windows": {edit: func(q *Request) { q.Home.Caps = []Cap{{Max: 1, Hours: 168}, {Max: 1, Minutes: 1440}} }},
		"longer than the longest": {edit: func(q *Request) { q.Home.Caps = []Cap{{Max: 1, Hours: 169}, {Max: 1, Minutes: 1441}} }, want: []Cause{
			{Rule: Frequency, Code: CapNone, Max: 1, Hours: 169}, {Rule: Spacing, Code: CapNone, Max: 1, Minutes: 1441}}},
		"shorter than the shortest": {edit: func(q *Request) { q.Home.Caps = []Cap{{Max: 1, Hours: -1}, {Max: 2, Minutes: -1}, {Max: -1, Hours: 1}} }, want: []Cause{
			{Rule: Frequency, Code: CapNone, Max: 1, Hours: -1}, {Rule: Frequency, Code: CapNone, Max: 2, Minutes: -1}, {Rule: Frequency, Code: CapNone, Max: -1, Hours: 1}}},
		"two windows at once": {edit: func(q *Request) { q.Home.Caps = []Cap{{Max: 2, Hours: 1, Minutes: 1}, {Max: 1, Hours: 1, Week: true}} }, want: []Cause{
			{Rule: Frequency, Code: CapNone, Max: 2, Hours: 1, Minutes: 1}, {Rule: Frequency, Code: CapNone, Max: 1, Hours: 1, Week: true}}},
		"two windows of a car": {class: device.Car, edit: func(q *Request) {
			q.Home.Caps = []Cap{{Max: 1, Hours: 1, Trip: true}, {Max: 1, Week: true, Trip: true}, {Max: 9, Trip: true}}
		}, want: []Cause{
			{Rule: Frequency, Code: CapNone, Max: 1, Hours: 1, Trip: true}, {Rule: Frequency, Code: CapNone, Max: 1, Week: true, Trip: true}}},

		"quiet, in no zone":       {edit: func(q *Request) { q.Home.Quiet = []Quiet{{Start: 1, End: 2, Zone: "Mars/Olympus", Owner: ben}} }, want: []Cause{{Rule: QuietTime, Code: ZoneUnknown, Verdict: Hold, Person: ben}}},
		"quiet, until 24:00":      {edit: func(q *Request) { q.Home.Quiet = []Quiet{{Start: 1, End: 1440}} }, want: []Cause{{Rule: QuietTime, Code: QuietSenseless, Verdict: Hold}}},
		"quiet, from 24:00":       {edit: func(q *Request) { q.Home.Quiet = []Quiet{{Start: 1440, End: 1}} }, want: []Cause{{Rule: QuietTime, Code: QuietSenseless, Verdict: Hold}}},
		"quiet, from before":      {edit: func(q *Request) { q.Home.Quiet = []Quiet{{Start: -1, End: 1}} }, want: []Cause{{Rule: QuietTime, Code: QuietSenseless, Verdict: Hold}}},
		"quiet, until before":     {edit: func(q *Request) { q.Home.Quiet = []Quiet{{Start: 1, End: -1}} }, want: []Cause{{Rule: QuietTime, Code: QuietSenseless, Verdict: Hold}}},
		"quiet, on an eighth day": {edit: func(q *Request) { q.Home.Quiet = []Quiet{{Start: 1, End: 2, Days: 128}} }, want: []Cause{{Rule: QuietTime, Code: QuietSenseless, Verdict: Hold}}},
		"quiet, on seven days":    {edit: func(q *Request) { q.Home.Quiet = []Quiet{{Start: 0, End: 1439, Days: 127}} }, want: []Cause{{Rule: QuietTime, Code: QuietNow, Verdict: Hold, Until: at("2026-06-10T23:59:00+02:00")}}},
		"quiet, elsewhere and here": {edit: func(q *Request) { // in Kathmandu it is a quarter to four in the afternoon
			q.Home.Quiet = []Quiet{{Start: 180, End: 240, Zone: "Asia/Kathmandu", Clock: zone("Asia/Kathmandu")}, {Start: 720, End: 780}}
		}, want: []Cause{{Rule: QuietTime, Code: QuietNow, Verdict: Hold, Until: noon.Add(time.Hour)}}},
		"quiet, elsewhere": {edit: func(q *Request) {
			q.Home.Quiet = []Quiet{{Start: 180, End: 181}, {Start: 945, End: 960, Zone: "Asia/Kathmandu", Clock: zone("Asia/Kathmandu"), Owner: ben}}
		}, want: []Cause{{Rule: QuietTime, Code: QuietNow, Verdict: Hold, Person: ben, Until: noon.Add(15 * time.Minute)}}},
		"quiet, whose ends last": {edit: func(q *Request) {
			q.Home.Quiet = []Quiet{{Start: 720, End: 725, Owner: ada}, {Start: 700, End: 726, Owner: ben}, {Start: 719, End: 724}}
		}, want: []Cause{{Rule: QuietTime, Code: QuietNow, Verdict: Hold, Person: ben, Until: noon.Add(6 * time.Minute)}}},
		"quiet, the first of the same": {edit: func(q *Request) {
			q.Home.Quiet = []Quiet{{Start: 720, End: 725, Owner: ben}, {Start: 700, End: 725, Owner: ada}}
		}, want: []Cause{{Rule: QuietTime, Code: QuietNow, Verdict: Hold, Person: ben, Until: five}}},
		"quiet, told in the future": {edit: func(q *Request) {
			q.tell(device.PresenceWho, "1", -11*time.Minute)
			q.choose(ada, Given)
			q.Home.Quiet = []Quiet{{Start: 720, End: 725, Owner: ben}}
		}, want: []Cause{{Rule: QuietTime, Code: QuietNow, Verdict: Hold, Person: ben, Until: five}}},
		"a moment, told in the future": {edit: func(q *Request) {
			q.tell(device.PresenceWho, "1", -11*time.Minute)
			q.choose(ada, Given)
			q.Home.Moments = []Moment{Sleep}
			q.tell(device.Sleeping, true, 0)
		}, want: []Cause{{Rule: QuietTime, Code: MomentNow, Verdict: Hold, Moment: Sleep, Device: "screen-1", Until: noon.Add(10 * time.Minute)}}},

		"dark, and it cannot": {edit: func(q *Request) {
			q.Screen.Can.Duties, q.Home.Quiet = device.CanMinimal, []Quiet{{Start: 720, End: 725, Dim: true}}
		}, want: []Cause{
			{Rule: Capability, Code: NoDuty, Verdict: Hold, Class: device.TV, Duty: Dim, Until: five}}},
		"sensitive, and it cannot": {edit: func(q *Request) { q.own(ada, ben); q.Screen.Can.Duties, q.Message.Category = device.CanDim, "health" }, want: []Cause{
			{Rule: Capability, Code: NoDuty, Class: device.TV, Duty: Minimal}}},
		"sensitive and dark, and it cannot": {edit: func(q *Request) {
			q.own(ada, ben)
			q.Screen.Can.Duties, q.Message.Category, q.Home.Quiet = 0, "health", []Quiet{{Start: 720, End: 725, Dim: true}}
		}, want: []Cause{{Rule: Capability, Code: NoDuty, Verdict: Hold, Class: device.TV, Duty: Dim, Until: five}, {Rule: Capability, Code: NoDuty, Class: device.TV, Duty: Minimal}}},

		"no text, in a car": {class: device.Car, edit: func(q *Request) { q.Message.Texts = nil }, want: []Cause{{Rule: Capability, Code: NoWords, Class: device.Car}}},
		"a predicate fails, and not the condition": {edit: func(q *Request) {
			q.Message.When = []Predicate{{device.Fridge, device.DoorOpen, EQ, val(device.DoorOpen, false)}}
			q.Message.Condition = aCondition("fridge.door.open")
		}, want: []Cause{{Rule: Condition, Code: WaitsFor, Verdict: Hold, Class: device.Fridge, Attribute: device.DoorOpen, Op: EQ, Value: val(device.DoorOpen, false)}}},
		"too late, of all times": {edit: func(q *Request) {
			q.Now, q.Message.NotAfter = endOfTime+1, endOfTime+2
			q.tell(device.PlayerState, "on", 0)
		}, want: []Cause{{Rule: Validity, Code: NoTime}}},
		"the last of all times": {edit: func(q *Request) {
			q.Now, q.Message.NotAfter = endOfTime, endOfTime+1
			q.tell(device.PlayerState, "on", 0)
		}},
		"its beginning is its end": {edit: func(q *Request) { q.Message.NotBefore, q.Message.NotAfter = noon+5, noon+5 }, want: []Cause{{Rule: Validity, Code: Over, Until: noon + 5}}},
		"its end is now":           {edit: func(q *Request) { q.Message.NotAfter = noon }, want: []Cause{{Rule: Validity, Code: Over, Until: noon}}},
		"its beginning is now":     {edit: func(q *Request) { q.Message.NotBefore = noon }},
		"an operator's rule": {edit: func(q *Request) {
			q.Home.Rules = []OperatorRule{{ID: "a", Condition: aCondition("fridge.door.open"), Verdict: Refuse}, {ID: "b", Condition: aCondition("now.hour < 13"), Verdict: Refuse}, {ID: "c", Condition: aCondition("screen.dnd"), Verdict: Hold}, {ID: "d", Condition: aCondition("!fridge.door.open")}}
		}, want: []Cause{{Rule: Operator, Code: OperatorSays, ID: "a"}, {Rule: Operator, Code: OperatorSays, ID: "b", Verdict: Hold, Until: noon.Add(time.Hour)}, {Rule: Operator, Code: OperatorSays, ID: "c", Verdict: Hold}}},
		"answered elsewhere, while it is open here": {edit: func(q *Request) {
			q.Own, q.Message.Journey, q.Message.Step = true, "run", 1
			q.Home.Shown = []Exposure{{At: noon - 5, Brand: grocer, Message: id(1), Device: "fridge-1", Reaction: Ignored, Thread: Thread{Journey: "run", Step: 1}},
				{At: noon - 4, Brand: grocer, Message: id(9), Device: "screen-1", Reaction: Dismissed, Thread: Thread{Journey: "run", Step: 1}}}
		}, want: []Cause{{Rule: Sequence, Code: StepOver, Device: "screen-1", At: noon - 4}}},
		"answered there, and open here": {edit: func(q *Request) {
			q.Own, q.Message.Journey, q.Message.Step = true, "run", 1
			q.Home.Shown = []Exposure{{At: noon - 5, Brand: grocer, Message: id(1), Device: "fridge-1", Reaction: Acted, Thread: Thread{Journey: "run", Step: 1}}}
		}, want: []Cause{{Rule: Dedupe, Code: ShownBefore, Device: "fridge-1", At: noon - 5}, {Rule: Sequence, Code: StepOver, Device: "fridge-1", At: noon - 5}}},
		"answered here, and open here": {edit: func(q *Request) {
			q.Own, q.Message.Journey, q.Message.Step = true, "run", 1
			q.Home.Shown = []Exposure{{At: noon - 5, Brand: grocer, Message: id(1), Device: "screen-1", Reaction: Acted, Thread: Thread{Journey: "run", Step: 1}}}
		}},
		"an echo, of nothing in particular": {edit: func(q *Request) {
			q.Message.Echo = Remind
			q.Home.Shown = []Exposure{{At: noon - 5, Brand: grocer, Message: id(9), Act: Remind, Thread: Thread{Item: "milk"}}}
		}},
		"an echo, of the same": {edit: func(q *Request) {
			q.Message.Echo, q.Message.Item = Remind, "milk"
			q.Home.Shown = []Exposure{{At: noon - 5, Brand: grocer, Message: id(9), Act: Remind, Thread: Thread{Item: "milk"}}}
		}},
		"an echo, of something else": {edit: func(q *Request) {
			q.Message.Echo, q.Message.Item = Remind, "milk"
			q.Home.Shown = []Exposure{{At: noon - 5, Brand: grocer, Message: id(9), Act: Remind, Thread: Thread{Item: "bread"}}}
		}, want: []Cause{{Rule: Sequence, Code: NobodyDid, Verdict: Hold}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			class := tt.class
			if class == 0 {
				class = device.TV
			}
			q := good(class)
			tt.edit(q)
			if got := Causes(*q, Decide(*q)); !slices.Equal(got, tt.want) {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

// Only what ends by itself, and ends too late, is late.
func TestNotLate(t *testing.T) {
	tests := map[string]func(*Request){
		"a sleep, which somebody ends": func(q *Request) { q.Home.Moments = []Moment{Sleep}; q.tell(device.Sleeping, true, 0) },
		"a mute that is only a part of it": func(q *Request) {
			q.Home.Mutes = []MuteRule{{Content: Words}, {Content: Picture, Until: noon.Add(time.Hour)}}
		},
		"a message without an end": func(q *Request) {
			q.Message.NotAfter = 0
			q.seen("1")
			q.choose(ada, Given)
			q.Home.Mutes = []MuteRule{{Owner: ada}}
		},
	}
	for name, edit := range tests {
		q := good(device.TV)
		q.Message.NotAfter = noon.Add(5 * time.Minute)
		edit(q)
		all := Causes(*q, Decide(*q))
		for _, c := range all {
			if c.Late {
				t.Errorf("%s: %+v", name, c)
			}
		}
		if len(all) == 0 {
			t.Errorf("%s: it is shown", name)
		}
	}
}

// A rulebook that spoils nothing judges as Decide does.
func TestRulebookThatSpoilsNothing(t *testing.T) {
	var none rulebook
	for name, edit := range map[string]func(*Request){"shown": func(*Request) {}, "held": func(q *Request) { q.Home.Alarm = true }, "refused": func(q *Request) { q.Home.Frozen = true }} {
		q := good(device.TV)
		edit(q)
		if got, want := none.decide(*q), Decide(*q); got != want {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
}

func TestDuty(t *testing.T) {
	for d, want := range map[Duty]string{0: "", Dim: "dim", Limit: "limit", Minimal: "minimal", Dim | Minimal: "dim,minimal", Dim | Limit | Minimal: "dim,limit,minimal"} {
		text, _ := d.MarshalText()
		got := Limit
		if d == Limit {
			got = Dim
		}
		if err := got.UnmarshalText(text); string(text) != want || err != nil || got != d {
			t.Errorf("%03b is spelt %q, and read as %03b (%v)", d, text, got, err)
		}
	}
	var d Duty
	if err := d.UnmarshalText([]byte("dim,dark")); err == nil || !strings.Contains(err.Error(), `"dark" is unknown: use one of dim, limit, minimal`) {
		t.Errorf("dark is %s (%v)", d, err)
	}
	eight := Duties{Limit, 8 * time.Second}
	for _, test := range []struct {
		d, o Duties
		want bool
	}{
		{Duties{}, Duties{}, true}, {Duties{}, Duties{Must: Dim}, true}, {Duties{Must: Dim}, Duties{Must: Dim | Minimal}, true}, {Duties{Must: Dim}, Duties{}, false},
		{Duties{Must: Dim | Minimal}, Duties{Must: Dim}, false}, {eight, eight, true}, {eight, Duties{Limit, 7 * time.Second}, true}, {eight, Duties{Limit, 9 * time.Second}, false},
		{eight, Duties{}, false}, {Duties{}, eight, true}, {Duties{Must: Dim}, Duties{Dim | Limit, time.Second}, true}, {Duties{Dim | Limit, 8 * time.Second}, eight, false},
	} {
		if got := test.d.Within(test.o); got != test.want {
			t.Errorf("%+v within %+v: %t", test.d, test.o, got)
		}
	}
	for _, test := range []struct {
		d    Duties
		want []Cause
	}{
		{Duties{}, nil},
		{Duties{Must: Dim}, []Cause{{Code: Darker, Verdict: Show, Class: device.TV, Duty: Dim}}},
		{Duties{Limit, 8500 * time.Millisecond}, []Cause{{Code: Briefly, Verdict: Show, Class: device.TV, Duty: Limit, Have: 8}}},
		{Duties{Must: Minimal}, []Cause{{Code: NoMore, Verdict: Show, Class: device.TV, Duty: Minimal}}},
		{Duties{Dim | Limit | Minimal, 8 * time.Second}, []Cause{{Code: Darker, Verdict: Show, Class: device.TV, Duty: Dim}, {Code: Briefly, Verdict: Show, Class: device.TV, Duty: Limit, Have: 8}, {Code: NoMore, Verdict: Show, Class: device.TV, Duty: Minimal}}},
	} {
		if got := test.d.Causes(device.TV); !slices.Equal(got, test.want) {
			t.Errorf("%+v:\ngot  %+v\nwant %+v", test.d, got, test.want)
		}
	}
	for display, want := range map[time.Duration]time.Duration{0: 8 * time.Second, 5 * time.Second: 5 * time.Second, 8 * time.Second: 8 * time.Second, time.Minute: 8 * time.Second} {
		q := good(device.Fridge)
		q.Message.Display = display
		if d := Decide(*q); d.Verdict != Show || d.Duties != (Duties{Limit, want}) {
			t.Errorf("%s on a fridge: %s with %+v, want at most %s", display, d.Verdict, d.Duties, want)
		}
	}
	q := good(device.TV)
	q.own(ada, ada)
	q.seen("1")
	q.Message.Category = "health" // she is there, and told of: until that is ten minutes old it is shown in full
	q.look()
	q.prepare()
	if d, f := q.duties(); d != (Duties{}) || f != showTo(noon.Add(10*time.Minute)) {
		t.Errorf("before its owner: %+v, %+v", d, f)
	}
	q = good(device.TV)
	q.Message.Display = time.Second
	if d := Decide(*q); d.Duties != (Duties{}) {
		t.Errorf("a second on a television: %+v", d.Duties)
	}
}

// What is read of who is there, letter by letter, and what of several words of one device counts.
func TestPresentEdges(t *testing.T) {
	at := func(a device.Attribute, v any, ago time.Duration) func(*Request) {
		return func(q *Request) { put(q.Screen, a, val(a, v), q.Now.Add(-ago)) }
	}
	words := func(text string) func(*Request) { return at(device.PresenceWho, text, 0) }
	both := func(edits ...func(*Request)) func(*Request) {
		return func(q *Request) {
			for _, edit := range edits {
				edit(q)
			}
		}
	}
	tests := map[string]struct {
		edit    func(*Request)
		known   uint64 // the people have the numbers 1, 2, 9 and 19
		past    uint64
		unknown int
	}{
		"a nine":                  {words("9"), 4, 0, 0},
		"nineteen":                {words("19"), 8, 0, 0},
		"zero":                    {words("0"), 0, 0, 1},
		"quite sure":              {words("1@0.8 2@1 9@1.000"), 7, 0, 0},
		"not quite sure":          {words("1@0.799 2@0 9@0.7999"), 0, 0, 3},
		"many digits":             {words("1@0.800000000000"), 1, 0, 0},
		"nine digits":             {words("1@000000001"), 1, 0, 0},
		"ten digits":              {words("1@0000000001"), 0, 0, 1},
		"nine digits of somebody": {words("000000001"), 1, 0, 0},
		"ten digits of somebody":  {words("0000000001"), 0, 0, 1},
		"a point at the end":      {words("1@1."), 0, 0, 1},
		"below a digit":           {words("1@0.9/"), 0, 0, 1},
		"above a digit":           {words("1@0.9:"), 0, 0, 1},
		"below a number":          {words("/"), 0, 0, 1},
		"above a number":          {words("1:"), 0, 0, 1},
		"more than sure":          {words("1@1.001"), 0, 0, 1},
		"a space at each end":     {words(" 1 "), 1, 0, 0},
		"two of one":              {words("1 1@0.1"), 1, 0, 1},

		"counted, and empty at once":           {both(at(device.PresenceCount, 2.0, 0), at(device.RoomOccupancy, false, 0)), 0, 0, 2},
		"counted, and empty since":             {both(at(device.PresenceCount, 2.0, 1e6), at(device.RoomOccupancy, false, 0)), 0, 0, 0},
		"named, and empty at once":             {both(words("1"), at(device.RoomOccupancy, false, 0)), 1, 0, 0},
		"named, and empty since":               {both(at(device.PresenceWho, "1", 1e6), at(device.RoomOccupancy, false, 0)), 0, 0, 0},
		"named, and none counted at once":      {both(words("1"), at(device.PresenceCount, 0.0, 0)), 1, 0, 0},
		"named, and none counted since":        {both(at(device.PresenceWho, "1", 1e6), at(device.PresenceCount, 0.0, 0)), 0, 0, 0},
		"sensed, and none counted at once":     {both(at(device.RoomOccupancy, true, 0), at(device.PresenceCount, 0.0, 0)), 0, 0, 1},
		"sensed, and none counted since":       {both(at(device.RoomOccupancy, true, 1e6), at(device.PresenceCount, 0.0, 0)), 0, 0, 0},
		"sensed, and one named":                {both(at(device.RoomOccupancy, true, 0), words("1")), 1, 0, 0},
		"empty, then none counted, then named": {both(at(device.RoomOccupancy, false, 2e6), at(device.PresenceCount, 0.0, 0), at(device.PresenceWho, "1", 1e6)), 0, 0, 0},
		"none counted, then empty, then named": {both(at(device.RoomOccupancy, false, 0), at(device.PresenceCount, 0.0, 2e6), at(device.PresenceWho, "1", 1e6)), 0, 0, 0},
		"less than none":                       {at(device.PresenceCount, -1.0, 0), 0, 0, 0},
		"a bit of one":                         {at(device.PresenceCount, 0.1, 0), 0, 0, 1},
		"a thousand":                           {at(device.PresenceCount, 1000.0, 0), 0, 0, 1000},
		"a thousand and one":                   {at(device.PresenceCount, 1001.0, 0), 0, 0, 1000},
		"two words of a name":                  {func(q *Request) { put(q.Screen, device.PresenceWho, device.Value{Kind: device.Number, Num: 1}, q.Now) }, 0, 0, 0},
		"a count that is a word": {func(q *Request) {
			put(q.Screen, device.PresenceCount, device.Value{Kind: device.Text, Text: "2", Num: 2}, q.Now)
		}, 0, 0, 0},
		"a count that is no number": {func(q *Request) {
			put(q.Screen, device.PresenceCount, device.Value{Kind: device.Number, Num: math.NaN()}, q.Now)
		}, 0, 0, 0},
		"another of its class in the room": {func(q *Request) {
			q.Screen.Room = 3
			put(q.other(device.TV, 3, 0, device.PowerState, "on"), device.PresenceWho, val(device.PresenceWho, "2"), q.Now)
		}, 2, 0, 0},
		"another of its class elsewhere": {func(q *Request) {
			q.Screen.Room = 3
			put(q.other(device.TV, 4, 0, device.PowerState, "on"), device.PresenceWho, val(device.PresenceWho, "2"), q.Now)
		}, 0, 0, 0},
		"another of its name": {func(q *Request) {
			q.Screen.Room = 3
			o := q.other(device.Speaker, 3, 0, device.PowerState, "on")
			o.ID = q.Screen.ID
			put(o, device.PresenceWho, val(device.PresenceWho, "2"), q.Now)
		}, 2, 0, 0},
		"itself, as it was before": {func(q *Request) { // and is to be judged as it is
			now := *q.Screen
			now.Context, now.Room = &device.Context{Class: now.Class}, 3
			put(q.Screen, device.PresenceWho, val(device.PresenceWho, "2"), q.Now)
			q.Screen.Room, q.Screen = 3, &now
			put(q.Screen, device.PresenceWho, val(device.PresenceWho, "1"), q.Now)
		}, 1, 0, 0},
		"a visitor's, who was told before": {func(q *Request) {
			q.Screen.Room = 3
			o := q.other(device.Companion, 3, 0, device.PowerState, "on")
			o.Guest = true
			put(o, device.PresenceWho, val(device.PresenceWho, "1 99"), q.Now.Add(-time.Hour))
			put(q.Screen, device.PresenceWho, val(device.PresenceWho, "2"), q.Now)
		}, 2, 1, 1},
	}
	for name, tt := range tests {
		q := good(device.TV)
		q.Home.People = append(q.Home.People, Person{ID: 9, Age: device.Adult}, Person{ID: 19, Age: device.Adult})
		tt.edit(q)
		if got := Present(q.Home, q.Screen, q.Now); got.Known != tt.known || got.Past != tt.past || got.Unknown != tt.unknown {
			t.Errorf("%s: got %+v, want %b, %b and %d others", name, got, tt.known, tt.past, tt.unknown)
		}
	}
}

// What a screen is like is found out once by whoever asks, and holds for that screen, home and instant alone.
func TestSceneIsKept(t *testing.T) {
	q := good(device.TV)
	scene := Look(q.Home, q.Screen, q.Now)
	q.tell(device.PlayerState, "off", 0) // after it was looked at
	q.Scene = &scene
	if d := Decide(*q); d.Verdict != Show {
		t.Errorf("%s for %q by a scene that is not looked at", d.Verdict, d.Reasons)
	}
	for name, edit := range map[string]func(*Request){
		"another home":    func(q *Request) { h := *q.Home; q.Home = &h },
		"another screen":  func(q *Request) { s := *q.Screen; q.Screen = &s },
		"another instant": func(q *Request) { q.Now++ },
	} {
		one := *q
		edit(&one)
		if d := Decide(one); d.Verdict != Hold {
			t.Errorf("%s: %s by the scene of what is past", name, d.Verdict)
		}
	}
}

// The caps that a home was prepared with are not those that it has got since.
func TestPreparedForOtherCaps(t *testing.T) {
	none, one := Cap{Max: 9, Hours: 24}, Cap{Max: 1, Hours: 24}
	for name, edit := range map[string]func(*Home){
		"others": func(h *Home) { h.Caps = []Cap{one} },
		"more":   func(h *Home) { h.Caps = append(h.Caps, one) },
	} {
		q := good(device.TV)
		q.shown(baker, 9, time.Hour, false)
		q.Home.Caps = append(make([]Cap, 0, 2), none)
		q.Home.Prepare(q.Now)
		if d := Decide(*q); d.Verdict != Show {
			t.Errorf("before: %s for %q", d.Verdict, d.Reasons)
		}
		edit(q.Home)
		if d := Decide(*q); d.Verdict != Hold || d.Reasons.String() != "frequency" {
			t.Errorf("%s: %s for %q", name, d.Verdict, d.Reasons)
		}
	}
}

// A home of more people than a row of nobody is long.
func TestPreparedForManyPeople(t *testing.T) {
	for _, n := range []int{63, 64, 65, 66} {
		q := good(device.TV)
		q.Home.People = nil
		for p := range n {
			q.Home.People = append(q.Home.People, Person{ID: device.PersonID(p + 1), Age: device.Adult})
		}
		q.Message.Brand = baker
		q.Message.Condition = aCondition("screen.sleeping")
		q.Home.Prepare(q.Now)
		if d := Decide(*q); d.Verdict != Refuse || d.Reasons.String() != "consent,context" {
			t.Errorf("%d people who said nothing: %s for %q", n, d.Verdict, d.Reasons)
		}
	}
}

// Numbers are compared as they are written.
func TestPredicatesOfNumbers(t *testing.T) {
	for op, want := range map[Op][3]bool{EQ: {false, true, false}, NE: {true, false, true}, LT: {true, false, false}, LE: {true, true, false}, GT: {false, false, true}, GE: {false, true, true}} {
		for i, degrees := range []float64{2, 3, 4} {
			q := good(device.TV)
			q.Home.Screens[1].Context.Set(device.Temperature, val(device.Temperature, degrees), noon)
			q.Message.When = []Predicate{{device.Fridge, device.Temperature, op, val(device.Temperature, 3.0)}}
			if d := Decide(*q); (d.Verdict == Show) != want[i] {
				t.Errorf("%g %s 3: %s", degrees, op, d.Verdict)
			}
		}
	}
	for name, p := range map[string]Predicate{
		"the first word":  {device.TV, device.PlayerState, EQ, val(device.PlayerState, "off")},
		"the last word":   {device.TV, device.PlayerState, EQ, val(device.PlayerState, "standby")},
		"64 bytes":        {device.TV, device.AppName, EQ, device.Value{Kind: device.Text, Text: strings.Repeat("a", 64)}},
		"no":              {device.TV, device.DND, EQ, val(device.DND, false)},
		"the least there": {device.Fridge, device.Temperature, GT, val(device.Temperature, -math.MaxFloat64)},
	} {
		if err := p.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, p := range map[string]Predicate{
		"a word too many": {device.TV, device.PlayerState, EQ, device.Value{Kind: device.Enum, Num: 7}},
		"half a word":     {device.TV, device.PlayerState, EQ, device.Value{Kind: device.Enum, Num: 0.5}},
		"before all":      {device.TV, device.PlayerState, EQ, device.Value{Kind: device.Enum, Num: -1}},
		"65 bytes":        {device.TV, device.AppName, EQ, device.Value{Kind: device.Text, Text: strings.Repeat("a", 65)}},
		"neither":         {device.TV, device.DND, EQ, device.Value{Kind: device.Bool, Num: 0.5}},
		"no number":       {device.Fridge, device.Temperature, GT, device.Value{Kind: device.Number, Num: math.NaN()}},
		"infinite":        {device.Fridge, device.Temperature, GT, device.Value{Kind: device.Number, Num: math.Inf(-1)}},
	} {
		if err := p.Check(); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	for name, want := range map[string]string{"DOOR.OPEN": "door.open", "OPERATIONALSTATE": "OperationalState", "ount": "presence.count", "who": "presence.who", "sleep": "sleeping"} {
		if got := NearestAttribute(name, device.Oven); got != want {
			t.Errorf("%s is near %s, want %s", name, got, want)
		}
	}
	if got := NearestAttribute("sleep", 0); got != "sleeping" { // and as near to the car's speed
		t.Errorf("sleep is near %s", got)
	}
}

// The clock on the wall, before 1970 and after 9999 too.
func TestDaysOfTheWall(t *testing.T) {
	for _, test := range [][3]int64{{0, 10, 0}, {9, 10, 0}, {10, 10, 1}, {-1, 10, -1}, {-10, 10, -1}, {-11, 10, -2}} {
		if got := floor(test[0], test[1]); got != test[2] {
			t.Errorf("%d by %d is %d, want %d", test[0], test[1], got, test[2])
		}
	}
	for n := int64(-8); n < 9; n++ {
		want := time.Unix(n*day, 0).UTC()
		if got := weekday(n); got != int(want.Weekday()) {
			t.Errorf("%s is the weekday %d", want, got)
		}
		if got := monday(n); got > n || got < n-6 || weekday(got) != 1 {
			t.Errorf("the Monday of %s is %s", want, time.Unix(got*day, 0).UTC())
		}
	}
	first := device.Instant(1)
	tests := []struct {
		text string
		zone string
		now  device.Instant
		want Truth
	}{
		{"now.date == '1970-01-01'", "UTC", first, True}, {"now.date == '1970-01-01'", "UTC", 0, NotKnown}, {"now.date == '1970-01-01'", "UTC", -1, NotKnown},
		{"now.date == '1970-01-01'", "America/Havana", first, NotKnown}, {"now.date == '1970-01-01'", "Europe/Zurich", first, True},
		{"now.date == '9999-12-31'", "UTC", endOfTime, True}, {"now.date == '9999-12-31'", "UTC", endOfTime + 1, NotKnown}, {"now.date == '9999-12-31'", "Asia/Kathmandu", endOfTime, NotKnown},
		{"now.date == '9999-12-31'", "America/Havana", endOfTime, True}, {"now.date == '9999-12-31'", "Asia/Kathmandu", endOfTime - (5*60+45)*60_000, True},
		{"now.date == '9999-12-31'", "Asia/Kathmandu", endOfTime - (5*60+45)*60_000 + 1, NotKnown},
	}
	for _, test := range tests {
		q := good(device.TV)
		q.Home.Zone, q.Now = zone(test.zone), test.now
		if got, _ := aCondition(test.text).Judge(*q); got != test.want {
			t.Errorf("%s in %s at %s is %s, want %s", test.text, test.zone, test.now, got, test.want)
		}
	}
}

// Until when a condition is what it is, at the edges.
func TestConditionUntil(t *testing.T) {
	zurich := "2026-06-10T12:00:00+02:00"
	tests := map[string]struct {
		text, zone, now string
		want            Truth
		until           string // "": for ever
	}{
		"every hour":                  {"now.hour >= 0", "Europe/Zurich", zurich, True, ""},
		"no hour":                     {"now.hour < 0", "Europe/Zurich", zurich, False, ""},
		"any second":                  {"fridge.door.open.since >= 0", "Europe/Zurich", zurich, True, "2026-06-10T12:10:00+02:00"},
		"a minute, which is over":     {"fridge.door.open.since >= 60", "Europe/Zurich", zurich, True, "2026-06-10T12:10:00+02:00"},
		"a minute and a second":       {"fridge.door.open.since > 60", "Europe/Zurich", zurich, False, "2026-06-10T12:00:01+02:00"},
		"half an hour of the day":     {"now.hour >= 12.5", "Europe/Zurich", zurich, False, "2026-06-10T13:00:00+02:00"},
		"never at half past":          {"now.hour == 12.5", "Europe/Zurich", zurich, False, ""},
		"now and an hour on":          {"now.hour in [12, 13.5, 13]", "Europe/Zurich", zurich, True, "2026-06-10T14:00:00+02:00"},
		"twice the same":              {"now.hour in [12, 12]", "Europe/Zurich", zurich, True, "2026-06-10T13:00:00+02:00"},
		"not now":                     {"now.hour != 12", "Europe/Zurich", zurich, False, "2026-06-10T13:00:00+02:00"},
		"every day but today":         {"now.weekday != 'wed'", "Europe/Zurich", zurich, False, "2026-06-11T00:00:00+02:00"},
		"another day":                 {"now.weekday == 'tue'", "Europe/Zurich", zurich, False, "2026-06-16T00:00:00+02:00"},
		"the same day":                {"now.weekday == 'wed'", "Europe/Zurich", zurich, True, "2026-06-11T00:00:00+02:00"},
		"every day":                   {"now.weekday in ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun']", "Europe/Zurich", zurich, True, ""},
		"a date that is over":         {"now.date >= '2026-06-10'", "UTC", zurich, True, ""},
		"a date to come":              {"now.date > '2026-06-10'", "UTC", zurich, False, "2026-06-11T00:00:00Z"},
		"yesterday's clock, tomorrow": {"now.hour < 9", "UTC", zurich, False, "2026-06-11T00:00:00Z"},
		"a day that comes back":       {"now.date >= '2010-11-07'", "America/St_Johns", "2010-11-07T00:00:30-02:30", True, "2010-11-07T00:01:00-02:30"},
		"a clock that changes":        {"now.hour == 5", "Europe/Zurich", "2026-03-29T00:30:00+01:00", False, "2026-03-29T03:00:00+02:00"},
		"after it has changed":        {"now.hour == 5", "Europe/Zurich", "2026-03-29T03:00:00+02:00", False, "2026-03-29T05:00:00+02:00"},
	}
	for name, tt := range tests {
		q := good(device.TV)
		q.Home.Zone, q.Now = zone(tt.zone), at(tt.now)
		truth, until := aCondition(tt.text).Judge(*q)
		want := device.Instant(0)
		if tt.until != "" {
			want = at(tt.until)
		}
		if truth != tt.want || until != want {
			t.Errorf("%s: %s is %s until %s, want %s until %s", name, tt.text, truth, until, tt.want, want)
		}
	}
}

// Quiet times that clocks skip, or that begin where clocks are put back.
func TestQuietAtTheEdges(t *testing.T) {
	tests := map[string]struct {
		zone, now string
		quiet     Quiet
		want      string // until when it is shown
	}{
		"none within the week, for the only one is skipped": {"Europe/Zurich", "2026-03-22T03:00:00+01:00", Quiet{Days: 1, Start: 130, End: 170}, "2026-03-31T00:00:00+02:00"},
		"from the second three o'clock":                     {"Europe/Zurich", "2026-10-25T00:30:00+02:00", Quiet{Start: 180, End: 240}, "2026-10-25T03:00:00+01:00"},
		"from the first two o'clock":                        {"Europe/Zurich", "2026-10-25T00:30:00+02:00", Quiet{Start: 120, End: 240}, "2026-10-25T02:00:00+02:00"},
		"from a time that is skipped":                       {"Europe/Zurich", "2026-03-29T00:30:00+01:00", Quiet{Start: 150, End: 240}, "2026-03-29T03:00:00+02:00"},
		"this day next week":                                {"Europe/Zurich", "2026-06-10T13:00:00+02:00", Quiet{Days: 8, Start: 720, End: 780}, "2026-06-17T12:00:00+02:00"},
	}
	for name, tt := range tests {
		q := inZone(tt.zone, tt.now)
		q.Home.Quiet = []Quiet{tt.quiet}
		if d := Decide(q); d.Verdict != Show || d.Until != at(tt.want) {
			t.Errorf("%s: %s for %q until %s, want show until %s", name, d.Verdict, d.Reasons, d.Until, tt.want)
		}
	}
}

// A home that was prepared before its clocks changed knows what they show from that very second on.
func TestPreparedBeforeTheClocksChange(t *testing.T) {
	for now, want := range map[string]Verdict{"2026-03-29T01:59:59+01:00": Show, "2026-03-29T03:00:00+02:00": Hold, "2026-03-29T03:59:59+02:00": Hold, "2026-03-29T04:00:00+02:00": Show} {
		q := inZone("Europe/Zurich", now)
		q.Home.Quiet = []Quiet{{Start: 180, End: 240}}
		q.Home.Prepare(q.Now.Add(-24 * time.Hour))
		if d := Decide(q); d.Verdict != want {
			t.Errorf("at %s: %s for %q, want %s", now, d.Verdict, d.Reasons, want)
		}
		q.Home.Quiet, q.Home.Caps = nil, []Cap{{Max: 9}}
		until := q.Message.NotAfter // before the clocks change again
		if now == "2026-03-29T01:59:59+01:00" {
			until = q.Now.Add(time.Second)
		}
		if d := Decide(q); d.Verdict != Show || d.Until != until {
			t.Errorf("at %s, with a cap by dates: %s until %s, want show until %s", now, d.Verdict, d.Until, until)
		}
	}
}

// A quiet time without end is looked at again after eight days.
func TestQuietWithoutEnd(t *testing.T) {
	for _, start := range []string{"2026-06-10T00:00:00+02:00", "2026-06-10T12:00:00+02:00"} {
		q := inZone("Europe/Zurich", start)
		q.Home.Quiet = []Quiet{{}}
		want := at(start).Add(8 * dayLong)
		if start != "2026-06-10T00:00:00+02:00" {
			want = want.Add(12 * time.Hour) // the end of that day
		}
		if d := Decide(q); d.Verdict != Hold || d.Until != want {
			t.Errorf("at %s: %s until %s, want hold until %s", start, d.Verdict, d.Until, want)
		}
	}
}

// What is shown at the very instant at which the date comes back is of the day before.
func TestCapWhereTheDateComesBack(t *testing.T) {
	now := at("2010-11-07T00:00:30-02:30") // at 00:01 it is 23:01 of the 6th again
	for ahead, want := range map[time.Duration]Verdict{30*time.Second - time.Millisecond: Hold, 30 * time.Second: Show, 31 * time.Second: Show, 61 * time.Minute: Hold} {
		q := inZone("America/St_Johns", "2010-11-07T00:00:30-02:30")
		q.Home.Caps = []Cap{{Max: 1}}
		q.Home.Shown = []Exposure{{At: now.Add(ahead), Brand: baker, Message: id(9), Purpose: Marketing}} // by a clock that was set back
		if d := Decide(q); d.Verdict != want {
			t.Errorf("shown in %s: %s for %q, want %s", ahead, d.Verdict, d.Reasons, want)
		}
	}
}

// A text in the only reader's language is used as long as it may be.
func TestTextThatJustFits(t *testing.T) {
	for length, want := range map[int]int{80: 1, 81: 0} {
		q := good(device.Car)
		q.choose(ada, Given)
		q.seen("1")
		q.Home.People[0].Languages, q.Screen.Can.Languages = []string{"de"}, []string{"en"}
		q.Message.Texts[1] = MessageText{"de", "", strings.Repeat("ü", length)}
		if d := Decide(*q); d.Verdict != Show || d.Text != want {
			t.Errorf("%d letters: %s for %q with text %d, want %d", length, d.Verdict, d.Reasons, d.Text, want)
		}
	}
	if want := []string{"any", "seen", "acted", "dismissed", "ignored"}; !slices.Equal(AfterNames(), want) {
		t.Errorf("a step may be asked to have ended as %q, want %q", AfterNames(), want)
	}
}

// A guardian's yes is asked for of children, and of nobody else.
func TestApprovedChildrenOnly(t *testing.T) {
	q := family(device.TV)
	q.seen("1 4 2")
	q.choose(ben, Silent)
	d := Decide(*q)
	want := []Cause{{Rule: Consent, Code: NobodyAsked, Verdict: Hold, Person: ben, Brand: grocer, Purpose: Marketing}}
	if got := Causes(*q, d); !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

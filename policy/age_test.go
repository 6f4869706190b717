package policy

import (
	"testing"
	"time"

	"porchlight/device"
)

const (
	cleo device.PersonID = 3 // a teenager
	dot  device.PersonID = 4 // a child
	eve  device.PersonID = 5 // a guest, grown up
	fay  device.PersonID = 6 // nobody has said how old she is
	gus  device.PersonID = 7 // a guest who is a child
)

// family is the good case in a home with all kinds of people, who have all said yes.
func family(c device.Class) *Request {
	q := good(c)
	q.Home.People = []Person{
		{ID: ada, Age: device.Adult}, {ID: ben, Age: device.Adult}, {ID: cleo, Age: device.Teen}, {ID: dot, Age: device.Child},
		{ID: eve, Age: device.Adult, Guest: true}, {ID: fay}, {ID: gus, Age: device.Child, Guest: true},
	}
	for p := device.Household; p <= gus; p++ {
		for purpose := Service; purpose < purposes; purpose++ {
			q.Home.Consents[ConsentKey{p, grocer, purpose}] = Stance{Choice: Given}
		}
	}
	return q
}

// what there is to show, from the most harmless on.
var kindsOfMessage = map[string]func(*Message){
	"plain":     func(m *Message) {},
	"buttons":   func(m *Message) { m.Buttons = make([]Button, 2) },
	"recommend": func(m *Message) { m.Purpose = Recommendations },
	"analytics": func(m *Message) { m.Purpose = Analytics },
	"research":  func(m *Message) { m.Purpose = Research },
	"floor":     func(m *Message) { m.Category = "alcohol" },
	"floor too": func(m *Message) { m.Category = "gambling-online" },
	"personal":  func(m *Message) { m.Audience = Personal },
	"for one":   func(m *Message) { m.Purpose = Personalised },
	"sensitive": func(m *Message) { m.Category = "health" },
	"very much": func(m *Message) { m.Category = "politics-party" },
}

// Who is there, and what may be shown to them: all else may not.
func TestWhoIsThere(t *testing.T) {
	everything := []string{"plain", "buttons", "recommend", "analytics", "research", "floor", "floor too", "personal", "for one", "sensitive", "very much"}
	several := []string{"plain", "buttons", "recommend", "analytics", "research", "floor", "floor too"}
	withGuests := []string{"plain", "buttons", "recommend", "analytics"}
	withTeens := []string{"plain", "buttons"}
	withChildren := []string{"plain"}
	var nothing []string
	tests := map[string]struct {
		edit func(*Request)
		may  []string
		or   Verdict // what becomes of the rest
	}{
		"not told":              {func(q *Request) {}, withGuests, Refuse},
		"nobody":                {func(q *Request) { q.tell(device.RoomOccupancy, false, 0) }, withGuests, Hold},
		"nobody, counted":       {func(q *Request) { q.tell(device.PresenceCount, 0.0, 0) }, withGuests, Hold},
		"somebody":              {func(q *Request) { q.tell(device.RoomOccupancy, true, 0) }, withGuests, Hold},
		"one, counted":          {func(q *Request) { q.tell(device.PresenceCount, 1.0, 0) }, withGuests, Hold},
		"one adult":             {func(q *Request) { q.seen("1") }, everything, Hold},
		"one adult, counted":    {func(q *Request) { q.seen("1"); q.tell(device.PresenceCount, 1.0, 0) }, everything, Hold},
		"one adult, sensed":     {func(q *Request) { q.seen("1"); q.tell(device.RoomOccupancy, true, 0) }, everything, Hold},
		"one adult of two":      {func(q *Request) { q.seen("1"); q.tell(device.PresenceCount, 2.0, 0) }, withGuests, Hold},
		"one adult, not sure":   {func(q *Request) { q.seen("1@0.79") }, withGuests, Hold},
		"one adult, sure":       {func(q *Request) { q.seen("1@0.8") }, everything, Hold},
		"one adult, was there":  {func(q *Request) { q.tell(device.PresenceWho, "1", 10*time.Minute) }, withGuests, Hold},
		"one adult of the room": {func(q *Request) { q.next("1") }, everything, Hold},
		"adult and stranger":    {func(q *Request) { q.seen("1 99") }, withGuests, Hold},
		"adult, and nonsense":   {func(q *Request) { q.seen("1 x") }, withGuests, Hold},
		"several adults":        {func(q *Request) { q.seen("1 2") }, several, Hold},
		"several, by two":       {func(q *Request) { q.seen("1"); q.next("2") }, several, Hold},
		"adult and guest":       {func(q *Request) { q.seen("1 5") }, withGuests, Hold},
		"guest":                 {func(q *Request) { q.seen("5") }, withGuests, Hold},
		"teen":                  {func(q *Request) { q.seen("3") }, withTeens, Hold},
		"adult and teen":        {func(q *Request) { q.seen("1 3") }, withTeens, Hold},
		"adult and child":       {func(q *Request) { q.seen("1 4") }, withChildren, Hold},
		"all of them":           {func(q *Request) { q.seen("1 2 3 4 5 6") }, withChildren, Hold},
		"adult and guest child": {func(q *Request) { q.seen("1 7") }, withChildren, Hold},
		"adult and of no age":   {func(q *Request) { q.seen("1 6") }, withChildren, Hold},
		"child, brand unknown to its guardian": {func(q *Request) {
			q.seen("1 4")
			for p := Service; p < purposes; p++ {
				delete(q.Home.Consents, ConsentKey{dot, grocer, p})
			}
		}, nothing, Hold},
		"child alone":            {func(q *Request) { q.seen("4") }, nothing, Hold},
		"of no age, alone":       {func(q *Request) { q.seen("6") }, nothing, Hold},
		"child and teen":         {func(q *Request) { q.seen("3 4") }, nothing, Hold},
		"child and guest":        {func(q *Request) { q.seen("4 5") }, nothing, Hold},
		"child and stranger":     {func(q *Request) { q.seen("4 1@0.5") }, nothing, Hold},
		"child, was there":       {func(q *Request) { q.tell(device.PresenceWho, "4", hours(3)) }, nothing, Hold},
		"child, adult was there": {func(q *Request) { q.seen("4"); q.nextAgo("1", hours(1)) }, nothing, Hold},
		"child, has left": {func(q *Request) {
			q.tell(device.PresenceWho, "4", 2*time.Millisecond)
			q.tell(device.RoomOccupancy, false, time.Millisecond)
		}, withGuests, Hold},
		"child, left long ago": {func(q *Request) {
			q.tell(device.PresenceWho, "4", hours(3))
			q.tell(device.PresenceCount, 0.0, hours(2))
		}, withGuests, Hold},
		"child, another sees no":  {func(q *Request) { q.seen("4"); q.nextTells(device.RoomOccupancy, false) }, nothing, Hold},
		"own, not told":           {func(q *Request) { q.Screen.Owner = ada }, everything, Refuse},
		"own, nobody told":        {func(q *Request) { q.Screen.Owner = ada; q.tell(device.PresenceCount, 0.0, 0) }, everything, Hold},
		"own, one told":           {func(q *Request) { q.Screen.Owner = ada; q.tell(device.PresenceCount, 1.0, 0) }, everything, Hold},
		"own, two told":           {func(q *Request) { q.Screen.Owner = ada; q.tell(device.PresenceCount, 2.0, 0) }, withGuests, Hold},
		"own, with another":       {func(q *Request) { q.Screen.Owner = ada; q.seen("1 2") }, several, Hold},
		"own, another":            {func(q *Request) { q.Screen.Owner = ada; q.seen("2") }, several, Hold},
		"own, another was there":  {func(q *Request) { q.Screen.Owner = ada; q.tell(device.PresenceWho, "2", hours(2)) }, withGuests, Hold},
		"own, with child":         {func(q *Request) { q.Screen.Owner = ada; q.seen("4") }, withChildren, Hold},
		"teen's own":              {func(q *Request) { q.Screen.Owner = cleo }, withTeens, Refuse},
		"teen's own, with parent": {func(q *Request) { q.Screen.Owner = cleo; q.seen("1") }, withTeens, Refuse},
		"guest's own":             {func(q *Request) { q.Screen.Owner = eve }, withGuests, Refuse},
		"child's own":             {func(q *Request) { q.Screen.Owner = dot }, nothing, Refuse},
		"child's own, parent":     {func(q *Request) { q.Screen.Owner = dot; q.seen("1") }, nothing, Refuse},
		"of no age, own":          {func(q *Request) { q.Screen.Owner = fay }, nothing, Refuse},
		"guest child's own":       {func(q *Request) { q.Screen.Owner = gus }, nothing, Refuse},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for _, what := range everything {
				q := family(device.TV)
				tt.edit(q)
				m := *q.Message
				kindsOfMessage[what](&m)
				q.Message = &m
				want := tt.or
				for _, may := range tt.may {
					if may == what {
						want = Show
					}
				}
				d := Decide(*q)
				if d.Verdict != want {
					t.Errorf("%s: %s for %q, want %s\n%s", what, d.Verdict, d.Reasons, want, describe(*q))
				}
				if d.Verdict != Show && !d.Reasons.Has(Age) && !d.Reasons.Has(Sensitive) {
					t.Errorf("%s: fails by %q only", what, d.Reasons)
				}
			}
		})
	}
}

// next tells who is in the room by another device of it.
func (q *Request) next(who string) { q.nextAgo(who, 0) }

func (q *Request) nextAgo(who string, ago time.Duration) {
	q.Screen.Room, q.Home.Screens[1].Room = 1, 1
	q.Home.Screens[1].Context.Set(device.PresenceWho, val(device.PresenceWho, who), q.Now.Add(-ago))
}

func (q *Request) nextTells(a device.Attribute, v any) {
	q.Screen.Room, q.Home.Screens[1].Room = 1, 1
	q.Home.Screens[1].Context.Set(a, val(a, v), q.Now)
}

// One more who is there never makes a message visible, in all the ways in which several can be.
func TestOneMoreNeverOpens(t *testing.T) {
	sets := []string{""}
	for _, who := range []string{"1", "2", "3", "4", "5", "6", "1@0.5"} {
		for _, have := range sets {
			sets = append(sets, have+" "+who)
		}
	}
	judged := 0
	for _, owner := range []device.PersonID{device.Household, ada, cleo, dot, eve} {
		for what, make := range kindsOfMessage {
			for _, silent := range []device.PersonID{99, ada, ben, dot} {
				q := family(device.TV)
				q.Screen.Owner = owner
				make(q.Message)
				q.Home.Consents[ConsentKey{silent, grocer, q.Message.Purpose}] = Stance{}
				verdict := func(who string) Verdict {
					q.tell(device.PresenceWho, who, 0)
					return Decide(*q).Verdict
				}
				for _, have := range sets {
					if have == "" {
						continue // nobody is no audience
					}
					before := verdict(have)
					for _, more := range []string{"1", "2", "3", "4", "5", "6", "2@0.3"} {
						judged++
						child := containsAny(have, '4', '6')
						adult := containsAny(have, '1', '2') && !(have == " 1@0.5")
						if child && !adult && owner != ada {
							continue // an adult who comes to a child is whom it waits for
						}
						if after := verdict(have + " " + more); before != Show && after == Show {
							t.Fatalf("%s, own %d, %d silent: %q %s, with %q show", what, owner, silent, have, before, more)
						}
					}
				}
			}
		}
	}
	if judged < 100_000 {
		t.Errorf("only %d were judged", judged)
	}
}

func containsAny(s string, list ...byte) bool {
	for i := range len(s) {
		for _, c := range list {
			if s[i] == c && (i == 0 || s[i-1] == ' ') && (i+1 == len(s) || s[i+1] == ' ') {
				return true
			}
		}
	}
	return false
}

func TestPresent(t *testing.T) {
	tests := map[string]struct {
		edit func(*Request)
		want Presence
	}{
		"not told":     {func(q *Request) {}, Presence{}},
		"two":          {func(q *Request) { q.seen("1 2@0.9") }, Presence{Known: 3, Told: true, Until: noon.Add(10 * time.Minute)}},
		"spaces":       {func(q *Request) { q.seen("  2   1@1.0 ") }, Presence{Known: 3, Told: true, Until: noon.Add(10 * time.Minute)}},
		"nobody named": {func(q *Request) { q.seen("") }, Presence{Told: true, Until: noon.Add(10 * time.Minute)}},
		"not sure":     {func(q *Request) { q.seen("1 2@0.799") }, Presence{Known: 1, Unknown: 1, Unsure: 1, Told: true, Until: noon.Add(10 * time.Minute)}},
		"nonsense":     {func(q *Request) { q.seen("1, 2@ 0 -1 1@2 1@.9 1@0.9x 1@1.1 9999999999 1@0. 2@1e0") }, Presence{Unknown: 11, Unsure: 11, Told: true, Until: noon.Add(10 * time.Minute)}},
		"all the same": {func(q *Request) { q.seen("1 1 1@0.9") }, Presence{Known: 1, Told: true, Until: noon.Add(10 * time.Minute)}},
		"three, one known": {func(q *Request) { q.seen("1"); q.tell(device.PresenceCount, 2.5, time.Minute) },
			Presence{Known: 1, Unknown: 2, Told: true, Until: noon.Add(9 * time.Minute)}},
		"very many": {func(q *Request) { q.tell(device.PresenceCount, 1e300, 0) }, Presence{Unknown: 1000, Told: true, Until: noon.Add(10 * time.Minute)}},
		"fewer than known": {func(q *Request) { q.seen("1 2"); q.tell(device.PresenceCount, 1.0, 0) },
			Presence{Known: 3, Told: true, Until: noon.Add(10 * time.Minute)}},
		"who was there": {func(q *Request) { q.tell(device.PresenceWho, "1 2", 10*time.Minute) }, Presence{Past: 3, Unknown: 1}},
		"who was there, who is": {func(q *Request) { q.tell(device.PresenceWho, "1 2", hours(1)); q.next("2") },
			Presence{Known: 2, Past: 1, Unknown: 1, Told: true, Until: noon.Add(10 * time.Minute)}},
		"in the future":                    {func(q *Request) { q.tell(device.PresenceWho, "1", -time.Hour) }, Presence{Past: 1, Unknown: 1, Until: noon.Add(50 * time.Minute)}},
		"in another room":                  {func(q *Request) { q.next("2"); q.Home.Screens[1].Room = 2 }, Presence{}},
		"in no room":                       {func(q *Request) { q.next("2"); q.Screen.Room, q.Home.Screens[1].Room = 0, 0 }, Presence{}},
		"in the room":                      {func(q *Request) { q.seen("1"); q.next("2") }, Presence{Known: 3, Told: true, Until: noon.Add(10 * time.Minute)}},
		"a visitor's phone names somebody": {func(q *Request) { q.next("1"); q.Home.Screens[1].Guest = true }, Presence{Past: 1, Unknown: 1, Until: noon.Add(10 * time.Minute)}},
		"a visitor's phone counts": {func(q *Request) { q.seen("1"); q.nextTells(device.PresenceCount, 2.0); q.Home.Screens[1].Guest = true },
			Presence{Known: 1, Unknown: 1, Told: true, Until: noon.Add(10 * time.Minute)}},
		"two sensors, one person": {func(q *Request) { q.seen("1"); q.nextTells(device.PresenceCount, 1.0) },
			Presence{Known: 1, Told: true, Until: noon.Add(10 * time.Minute)}},
		"one leaves, the other stays": {func(q *Request) { q.seen("1"); q.nextTells(device.RoomOccupancy, false) },
			Presence{Known: 1, Told: true, Until: noon.Add(10 * time.Minute)}},
		"a car":       {func(q *Request) { q.Screen.Class = device.Car; q.seen("1") }, Presence{Known: 1, Told: true, Until: noon.Add(5 * time.Second)}},
		"own":         {func(q *Request) { q.Screen.Owner = ben }, Presence{Known: 2}},
		"own, gone":   {func(q *Request) { q.Screen.Owner = 99 }, Presence{}},
		"own, sensed": {func(q *Request) { q.Screen.Owner = ben; q.tell(device.RoomOccupancy, true, 0) }, Presence{Known: 2, Told: true, Until: noon.Add(10 * time.Minute)}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			q := good(device.TV)
			tt.edit(q)
			got := Present(q.Home, q.Screen, q.Now)
			got.heard, got.soon = false, 0
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
	t.Run("the 65th person", func(t *testing.T) {
		q := good(device.TV)
		for p := device.PersonID(3); p <= 70; p++ {
			q.Home.People = append(q.Home.People, Person{ID: p, Age: device.Adult})
		}
		q.seen("64 65")
		if got := Present(q.Home, q.Screen, q.Now); got.Known != 1<<63 || got.Unknown != 1 {
			t.Errorf("got %+v", got)
		}
		q.choose(70, Refused)
		q.choose(64, Given)
		if d := Decide(*q); d.Verdict == Show {
			t.Error("the 70th person's no does not count")
		}
		q.Screen.Owner = 70
		q.choose(70, Given)
		q.Home.People[69].Age = device.Child
		if d := Decide(*q); d.Verdict != Refuse || !d.Reasons.Has(Age) {
			t.Errorf("on the own screen of the 70th person, who is a child: %s for %q", d.Verdict, d.Reasons)
		}
	})
}

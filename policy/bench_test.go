package policy

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"testing"

	"porchlight/device"
)

// crowd is a thousand homes as a gateway has them: three people, five screens and 167 choices each,
// quiet times, caps, mutes, what was shown in two weeks; and two hundred messages, half of which have a
// condition. The requests go from home to home.
func crowd(homes int) []Request {
	var brands [50]device.BrandID
	for i := range brands {
		brands[i] = device.BrandID(fmt.Sprintf("brand-%d", i))
	}
	var messages []*Message
	for i := range 200 {
		m := *good(device.TV).Message
		m.ID = device.MessageID{1, 14: byte(i >> 8), 15: byte(i)}
		m.Brand = brands[i%50]
		m.Category = []string{"dairy", "toys", "diy-tools", "books", ""}[i%5]
		if i%3 == 0 {
			m.Buttons = make([]Button, 2)
		}
		if i%2 == 0 {
			m.When = []Predicate{{device.Fridge, device.DoorOpen, EQ, val(device.DoorOpen, true)}}
		}
		m.Prepare()
		messages = append(messages, &m)
	}
	var all []Request
	for h := range homes {
		home := &Home{
			ID: device.HomeID(h + 1), Zone: zone([]string{"Europe/Zurich", "America/New_York", "Asia/Kathmandu"}[h%3]),
			People:   []Person{{ID: 1, Age: device.Adult, Languages: []string{"de-CH"}}, {ID: 2, Age: device.Adult}, {ID: 3, Age: device.Teen}},
			Consents: map[ConsentKey]Stance{},
			Quiet:    []Quiet{{Start: 1320, End: 420}, {Days: 62, Start: 1260, End: 480, Owner: 3}},
			Caps: []Cap{{Max: 3}, {Max: 10, Hours: 168}, {Each: true, Max: 1}, {Each: true, Max: 3, Hours: 168}, {Max: 1, Minutes: 45},
				{Selector: Selector{Class: device.TV}, Max: 1, Hours: 2}, {Selector: Selector{Class: device.Fridge}, Max: 1}, {Owner: 2, Max: 2}},
			Mutes: []MuteRule{{Selector: Selector{Brand: brands[7]}}, {Selector: Selector{Category: "toys", Class: device.TV}, Owner: 2},
				{Selector: Selector{Room: 2}, Content: Sound}},
			Moments:   []Moment{Film, Call, Sleep},
			Signals:   []Signal{{Device: "nobody's", Denied: 1 << Analytics}},
			Languages: []string{"de-CH", "en"},
		}
		for i, c := range []device.Class{device.TV, device.Car, device.Fridge, device.Washer, device.Companion} {
			s := *good(c).Screen
			s.ID, s.Room = device.ID(fmt.Sprintf("device-%d-%d", h, i)), device.RoomID(i%3+1)
			if c == device.Companion {
				s.Owner, s.Room = 1, 0
			}
			if c == device.TV || h%2 == 0 {
				s.Context.Set(device.PresenceWho, val(device.PresenceWho, []string{"1", "1 2", "2 3@0.9"}[(h+i)%3]), noon)
			}
			home.Screens = append(home.Screens, &s)
		}
		for i := range 14 {
			ago := hours(float64(23 + i*23))
			if i == 0 && h%4 > 0 {
				ago = hours(3)
			}
			home.Shown = append([]Exposure{{At: noon.Add(-ago), Brand: brands[(h+i*7)%50], Message: id(byte(100 + i)),
				Purpose: Marketing, Category: "books", Device: home.Screens[i%5].ID, Who: []device.PersonID{1}}}, home.Shown...)
		}
		for i := range 50 {
			brand := brands[i]
			home.Consents[ConsentKey{0, brand, Marketing}] = Stance{Choice: Given, Until: noon.Add(hours(24 * 300)), At: 1}
			for p := device.PersonID(1); p <= 3; p++ {
				if (i+int(p)+h)%50 < 39 {
					s := Stance{Choice: Given, Until: noon.Add(hours(24 * 300)), At: 1}
					if (i+int(p)*5+h)%11 == 0 {
						s = Stance{Choice: Refused, At: 1}
					}
					home.Consents[ConsentKey{p, brand, Marketing}] = s
				}
			}
		}
		home.Prepare(noon)
		for i := range 50 {
			all = append(all, Request{Home: home, Screen: home.Screens[i%5], Message: messages[(h+i*13)%len(messages)], Now: noon})
		}
	}
	mixed := make([]Request, len(all))
	for i := range all {
		mixed[i] = all[i*7919%len(all)]
	}
	return mixed
}

// thousand is made once.
var thousand = sync.OnceValue(func() []Request { return crowd(1000) })

// BenchmarkDecide is a full decision, prepared as a Desk prepares it. In a home's turn, which is how the Courier
// judges, one home after another decides all that it has to in one go, and looks at each of its screens
// once; its time is in the figure. By itself, each decision looks anew; from home to home it finds its home
// in no cache, besides.
func BenchmarkDecide(b *testing.B) {
	mixed := thousand()
	orderly := slices.Clone(mixed)
	slices.SortStableFunc(orderly, func(a, b Request) int { return int(a.Home.ID - b.Home.ID) })
	turns := slices.Clone(orderly)
	slices.SortStableFunc(turns, func(a, b Request) int {
		return cmp.Or(int(a.Home.ID-b.Home.ID), cmp.Compare(a.Screen.ID, b.Screen.ID))
	})
	for _, c := range []struct {
		name string
		all  []Request
		look bool
	}{{"in a home's turn", turns, true}, {"by itself", orderly, false}, {"by itself, from home to home", mixed, false}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			shown := 0
			var scene Scene
			for i := range b.N {
				q := c.all[i%len(c.all)]
				if c.look {
					if q.Screen != scene.screen {
						scene = Look(q.Home, q.Screen, q.Now)
					}
					q.Scene = &scene
				}
				if Decide(q).Verdict == Show {
					shown++
				}
			}
			b.ReportMetric(100*float64(shown)/float64(b.N), "%shown")
		})
	}
}

package policy

import (
	"flag"
	"fmt"
	"maps"
	"math/bits"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"porchlight/device"
)

// Each promise is a function from a judge and a sample to what was broken, so that the same
// function is asked about Decide, where it must find nothing, and about judges that were spoilt
// on purpose, where it must find something.

type judge func(Request) Decision

// book is the rules as they are, for tests to spoil; nil where nothing can fail yet.
var book = func() (b rulebook) {
	for r := range rules {
		if r == Language || r == Holdout {
			continue
		}
		b[r] = func(q Request) finding { q.prepare(); return ask(r, &q) }
	}
	return b
}()

func passed(Request) finding { return pass }

const samplesToNotice = 20_000

func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		f.Value.Set(fmt.Sprint(fewer(500))) // a check takes well under a millisecond
	}
	os.Exit(m.Run())
}

// promise checks p over samples of gen, and that it notices each of the spoilt judges.
func promise[S any](t *testing.T, gen *rapid.Generator[S], p func(judge, S) string, spoilt map[string]func(*rulebook)) {
	t.Run("holds", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			if broken := p(decideBoth, gen.Draw(t, "sample")); broken != "" {
				t.Fatal(broken)
			}
		})
	})
	for name, spoil := range spoilt {
		t.Run("notices "+name, func(t *testing.T) {
			b := book
			spoil(&b)
			for seed := range samplesToNotice {
				if p(b.decide, gen.Example(seed)) != "" {
					return
				}
			}
			t.Errorf("%d samples, and nothing was noticed", samplesToNotice)
		})
	}
}

// clone copies q so deep that nothing of the copy is shared but texts and zones.
func clone(q Request) Request {
	h, m := *q.Home, *q.Message
	h.People, h.Consents = slices.Clone(h.People), maps.Clone(h.Consents)
	h.Mutes, h.Quiet, h.Caps, h.Shown = slices.Clone(h.Mutes), slices.Clone(h.Quiet), slices.Clone(h.Caps), slices.Clone(h.Shown)
	h.Signals, h.Moments = slices.Clone(h.Signals), slices.Clone(h.Moments)
	h.Got, h.Complaints = slices.Clone(h.Got), slices.Clone(h.Complaints)
	h.Screens = nil
	for _, s := range q.Home.Screens {
		c := *s
		if s.Context != nil {
			context := *s.Context
			c.Context = &context
		}
		h.Screens = append(h.Screens, &c)
	}
	m.When = slices.Clone(m.When)
	q.Home, q.Screen, q.Message = &h, h.Screens[0], &m
	return q
}

var (
	aClass = rapid.SampledFrom([]device.Class{device.TV, device.Speaker, device.Console, device.Car, device.Fridge, device.Washer,
		device.Dryer, device.Dishwasher, device.Oven, device.Display, device.Companion})
	aBrand  = rapid.SampledFrom([]device.BrandID{grocer, baker})
	aChoice = rapid.SampledFrom([]Choice{Silent, Given, Refused, Withdrawn})
	aMinute = rapid.SampledFrom([]int{0, 1, 30, 90, 120, 150, 180, 420, 540, 720, 1320, 1439})
	aWindow = rapid.SampledFrom([]int{0, 0, 1, 24, 168})
	days    = rapid.SampledFrom([]uint8{0, 0, 0, 1, 2, 64, 65, 62})

	// Days on which some zone does something odd, and one on which none does.
	odd = []struct{ zone, day string }{
		{"Europe/Zurich", "2026-06-10T00:00:00Z"}, {"Europe/Zurich", "2026-03-29T00:00:00Z"}, {"Europe/Zurich", "2026-10-25T00:00:00Z"},
		{"Australia/Lord_Howe", "2026-10-03T15:00:00Z"}, {"Australia/Lord_Howe", "2026-04-04T15:00:00Z"}, {"Pacific/Apia", "2011-12-30T10:00:00Z"},
		{"America/Sao_Paulo", "2018-11-04T03:00:00Z"}, {"America/Havana", "2026-03-08T05:00:00Z"}, {"America/Havana", "2026-11-01T05:00:00Z"},
		{"Africa/Casablanca", "2026-02-15T02:00:00Z"}, {"Asia/Kathmandu", "2026-06-10T00:00:00Z"}, {"America/St_Johns", "2010-11-07T02:31:00Z"},
		{"Antarctica/Troll", "2026-03-29T01:00:00Z"}, {"Pacific/Kiritimati", "2026-06-10T00:00:00Z"},
	}
)

// anAttribute is one that devices of class c report.
func anAttribute(t *rapid.T, c device.Class) device.Attribute {
	names := device.AttributeNames(c)
	a, _ := device.ParseAttribute(rapid.SampledFrom(names).Draw(t, "attribute"))
	return a
}

// aTold is an attribute that s has told, if there is one.
func aTold(t *rapid.T, s *Screen) device.Attribute {
	var told []device.Attribute
	for _, name := range device.AttributeNames(0) {
		a, _ := device.ParseAttribute(name)
		if _, ok := s.Context.Get(a); ok {
			told = append(told, a)
		}
	}
	if len(told) == 0 {
		return device.NoAttribute
	}
	return rapid.SampledFrom(told).Draw(t, "told")
}

func aValue(t *rapid.T, a device.Attribute) device.Value {
	switch info := a.Info(); info.Kind {
	case device.Bool:
		return val(a, rapid.Bool().Draw(t, "bool"))
	case device.Enum:
		return val(a, rapid.SampledFrom(info.Values).Draw(t, "word"))
	case device.Number:
		return val(a, rapid.SampledFrom([]float64{0, 0, 126, 126, 0.5, 3, -1, 127}).Draw(t, "number"))
	default:
		return val(a, rapid.SampledFrom([]string{"a", "b"}).Draw(t, "text"))
	}
}

// put sets a reading whether or not it is older than the one there.
func put(s *Screen, a device.Attribute, v device.Value, at device.Instant) {
	if s.Context == nil {
		return
	}
	s.Context.Put(a, device.Reading{Value: v, At: at, Since: at})
}

// addLasting has the screen told something for a while: a timer, a rating, that it is off.
func addLasting(t *rapid.T, q *Request) {
	s := q.Screen
	if s.Context == nil {
		return
	}
	told := map[device.Attribute]any{device.ContentRating: "PG-13"}
	switch s.Class {
	case device.TV:
		told[device.ContentRating] = rapid.SampledFrom([]string{"PG-13", "tv-ma", "TV-Y", "FSK 12", "FSK 6", ""}).Draw(t, "rating")
	case device.Oven:
		told = map[device.Attribute]any{device.CountdownTime: rapid.SampledFrom([]float64{0, 0, 0, 30}).Draw(t, "left"), device.OperationalState: "Stopped", device.Alarm: false}
		if some(t, 50, "no thermometer") {
			put(s, device.Temperature, device.Value{}, q.Now)
		} else {
			told[device.Temperature] = rapid.SampledFrom([]float64{21, 59.9, 60, 200}).Draw(t, "hot")
		}
	}
	for _, name := range device.AttributeNames(s.Class) {
		a, _ := device.ParseAttribute(name)
		if v, ok := told[a]; ok {
			since := q.Now - device.Instant(rapid.SampledFrom([]int64{0, 59_999, 60_000, 60_000, 3599_999, 3600_000, 3600_000}).Draw(t, "since"))
			s.Context.Put(a, device.Reading{Value: val(a, v), At: q.Now - device.Instant(rapid.Int64Range(0, 1).Draw(t, "ago")), Since: since})
		}
	}
}

// some is about n of every hundred draws.
func some(t *rapid.T, n int, what string) bool { return rapid.IntRange(0, 99).Draw(t, what) < n }

// aPick is a selector: most select what is judged, and some something else.
func aPick(t *rapid.T, q *Request) (s Selector) {
	switch rapid.IntRange(0, 7).Draw(t, "what") {
	case 0:
		s.Brand = aBrand.Draw(t, "brand")
	case 1:
		s.Purpose = rapid.SampledFrom([]Purpose{Marketing, Service}).Draw(t, "purpose")
	case 2:
		s.Category = rapid.SampledFrom([]string{"dairy", "meat"}).Draw(t, "category")
	case 3:
		s.Class = rapid.SampledFrom([]device.Class{q.Screen.Class, device.Fridge}).Draw(t, "class")
	case 4:
		s.Device = rapid.SampledFrom(q.Home.Screens).Draw(t, "screen").ID
	case 5:
		s.Room = device.RoomID(rapid.IntRange(1, 2).Draw(t, "room"))
	}
	return s
}

// aWisher is whose a preference is: mostly the home's.
func aWisher(t *rapid.T, q *Request) device.PersonID {
	if some(t, 60, "the home's") {
		return device.Household
	}
	return somebody(t, q)
}

// settle puts people in front of the screen, who have mostly said yes, told by it or by another
// device of the room.
func settle(t *rapid.T, q *Request) {
	var words []string
	for _, p := range q.Home.People {
		if !some(t, 40, "there") {
			continue
		}
		words = append(words, fmt.Sprint(p.ID)+rapid.SampledFrom([]string{"", "", "", "", "@1", "@0.8", "@0.79"}).Draw(t, "sure"))
		if some(t, 85, "for it") {
			q.Home.Consents[ConsentKey{p.ID, q.Message.Brand, q.Message.Purpose}] = Stance{Choice: Given}
		}
	}
	if some(t, 5, "nonsense") {
		words = append(words, rapid.SampledFrom([]string{"99", "x", "1@", "1@2", "0"}).Draw(t, "word"))
	}
	s := q.Screen
	if some(t, 30, "by another") {
		share(q)
		s = rapid.SampledFrom(q.Home.Screens).Draw(t, "screen")
	}
	put(s, device.PresenceWho, val(device.PresenceWho, strings.Join(words, " ")), q.Now-device.Instant(rapid.SampledFrom([]int64{0, 0, 0, 1, 599_999, 600_000, 3600_000, -1}).Draw(t, "ago")))
	if some(t, 15, "counted") {
		n := float64(len(words) + rapid.SampledFrom([]int{0, 0, 0, 1, -1}).Draw(t, "more"))
		put(s, device.PresenceCount, val(device.PresenceCount, n), q.Now-device.Instant(rapid.Int64Range(0, 2).Draw(t, "ago")))
	}
	if some(t, 15, "sensed") {
		put(s, device.RoomOccupancy, val(device.RoomOccupancy, some(t, 60, "somebody")), q.Now-device.Instant(rapid.Int64Range(0, 2).Draw(t, "ago")))
	}
}

// share puts all screens into one room.
func share(q *Request) {
	for _, s := range q.Home.Screens {
		s.Room = 1
	}
}

// addOwn makes the screen somebody's own, who has mostly said yes.
func addOwn(t *rapid.T, q *Request) {
	q.Screen.Owner = somebody(t, q)
	if some(t, 80, "for it") {
		q.Home.Consents[ConsentKey{q.Screen.Owner, q.Message.Brand, q.Message.Purpose}] = Stance{Choice: Given}
	}
	if some(t, 30, "another, too") {
		rapid.SampledFrom(q.Home.Screens).Draw(t, "screen").Owner = q.Screen.Owner
	}
}

// aim makes the message one of another purpose, about something, or for one person, in a home
// that has agreed to it.
func aim(t *rapid.T, q *Request) {
	was := q.Message.Purpose
	q.Message.Purpose = rapid.SampledFrom([]Purpose{Service, Service, Marketing, Marketing, Personalised, Recommendations, Research, Analytics}).Draw(t, "purpose")
	q.Message.Category = rapid.SampledFrom([]string{"dairy", "", "alcohol", "gambling-online", "health", "health", "politics-party", "meat"}).Draw(t, "category")
	if some(t, 15, "personal") {
		q.Message.Audience = Personal
	}
	if some(t, 20, "asks") {
		q.Message.Buttons = make([]Button, 2)
	}
	for p := device.PersonID(0); p <= 60; p++ {
		if s, ok := q.Home.Consents[ConsentKey{p, q.Message.Brand, was}]; ok {
			q.Home.Consents[ConsentKey{p, q.Message.Brand, q.Message.Purpose}] = s
		}
	}
}

// changePerson makes somebody younger, a guest, frozen, or one who speaks something else.
func changePerson(t *rapid.T, q *Request) {
	p := &q.Home.People[rapid.IntRange(0, len(q.Home.People)-1).Draw(t, "who")]
	switch rapid.IntRange(0, 7).Draw(t, "what") {
	case 0, 1, 2, 3:
		p.Age = rapid.SampledFrom([]device.Age{device.AgeUnknown, device.Child, device.Teen, device.Adult, 9}).Draw(t, "age")
	case 4:
		p.Guest = true
	case 5:
		p.Frozen = true
	default:
		p.Languages = rapid.SliceOfN(aTag, 0, 2).Draw(t, "languages")
	}
}

// addMoment makes one of the moments in which nobody is to be disturbed.
func addMoment(t *rapid.T, q *Request) {
	q.Home.Moments = rapid.SampledFrom([][]Moment{{Film, Call, Sleep}, {Film}, {Call}, {Sleep}, {NoMoment, 9}}).Draw(t, "moments")
	if some(t, 40, "shared") {
		share(q)
	}
	if len(q.Home.Screens) < 3 {
		s := *q.Screen
		s.ID, s.Context, s.Room = "screen-3", new(device.Context), device.RoomID(rapid.IntRange(0, 2).Draw(t, "room"))
		s.Class = rapid.SampledFrom([]device.Class{device.TV, device.Companion, device.Speaker, device.Console}).Draw(t, "class")
		s.Owner = aWisher(t, q)
		q.Home.Screens = append(q.Home.Screens, &s)
	}
	s := rapid.SampledFrom(q.Home.Screens[1:]).Draw(t, "screen")
	ago := device.Instant(rapid.SampledFrom([]int64{0, 0, 0, 1, 59_999, 60_000, 599_999, 600_000, -61_000, -700_000}).Draw(t, "ago"))
	put(s, device.Sleeping, val(device.Sleeping, some(t, 70, "sleeps")), q.Now-ago)
	put(s, device.CallActive, val(device.CallActive, some(t, 50, "calls")), q.Now-ago)
	put(s, device.PlayerState, val(device.PlayerState, "playing"), q.Now-ago)
	put(s, device.Fullscreen, val(device.Fullscreen, some(t, 70, "whole")), q.Now)
}

func addSignal(t *rapid.T, q *Request) {
	q.Home.Signals = append(q.Home.Signals, Signal{
		Device: rapid.SampledFrom(q.Home.Screens).Draw(t, "screen").ID,
		Denied: rapid.SampledFrom([]uint16{0, 1 << Marketing, 1 << Service, 0xffff}).Draw(t, "denied")})
}

var aTag = rapid.SampledFrom([]string{"de", "de-CH", "DE-ch-1996", "en", "en-GB", "fr", "d", ""})

func anAge(t *rapid.T, ttl time.Duration) time.Duration {
	return rapid.SampledFrom([]time.Duration{0, 1e6, ttl / 2, ttl - 1e6, ttl, ttl + 1e6, 3 * ttl, -ttl / 2, -ttl, -ttl - 1e6, -2 * ttl}).Draw(t, "age")
}

func tellAnything(t *rapid.T, q *Request) {
	s := q.Screen
	if rapid.IntRange(0, 3).Draw(t, "elsewhere") == 0 {
		s = rapid.SampledFrom(q.Home.Screens).Draw(t, "screen")
	}
	a := anAttribute(t, s.Class)
	put(s, a, aValue(t, a), q.Now.Add(-anAge(t, a.TTL(s.Class))))
}

func addCap(t *rapid.T, q *Request) {
	c := Cap{Selector: aPick(t, q), Each: rapid.Bool().Draw(t, "each"), EachCategory: some(t, 20, "each category"), Owner: aWisher(t, q),
		Max: rapid.SampledFrom([]int{0, 1, 1, 1, 2, 2, 3, -1}).Draw(t, "max"), Hours: aWindow.Draw(t, "hours")}
	switch rapid.IntRange(0, 9).Draw(t, "window") {
	case 0, 1, 2, 3:
		c.Max, c.Hours, c.Minutes = 1, 0, rapid.SampledFrom([]int{1, 45, 45, 60, 1440}).Draw(t, "minutes")
	case 4, 5:
		c.Hours, c.Week = 0, true
	case 6:
		c.Hours, c.Trip = 0, true
		q.Screen.Trip = q.Now - device.Instant(rapid.SampledFrom([]int64{int64(q.Now), 0, 1, 3600_000, 3600_000, 40 * 3600_000, -1, -3600_000}).Draw(t, "trip"))
	}
	if some(t, 3, "nonsense") {
		c.Minutes = rapid.SampledFrom([]int{-1, 5, 1441}).Draw(t, "minutes")
	}
	q.Home.Caps = append(q.Home.Caps, c)
}

func addShown(t *rapid.T, q *Request) {
	ago := rapid.OneOf(rapid.Int64Range(-2*3600_000, 26*3600_000), rapid.Int64Range(0, 192*3600_000), rapid.Int64Range(0, 3600_000),
		rapid.SampledFrom([]int64{0, 1, 3600_000, 24 * 3600_000, 168 * 3600_000, 40 * 3600_000})).Draw(t, "ago")
	n := byte(len(q.Home.Shown) + 2)
	if rapid.IntRange(0, 9).Draw(t, "this very message") == 0 {
		n = 1
	}
	e := Exposure{At: q.Now - device.Instant(ago), Brand: aBrand.Draw(t, "brand"), Message: id(n), Open: rapid.Bool().Draw(t, "open"),
		Purpose: rapid.SampledFrom([]Purpose{Marketing, Marketing, Service}).Draw(t, "purpose"), Category: rapid.SampledFrom([]string{"dairy", "meat", ""}).Draw(t, "category"),
		Device: rapid.SampledFrom([]device.ID{"screen-1", "fridge-1", "gone-1"}).Draw(t, "on"), Unknown: some(t, 40, "unknown")}
	if some(t, 60, "seen by somebody") {
		e.Who = append(e.Who, somebody(t, q))
	}
	q.Home.Shown = append(q.Home.Shown, e)
	slices.SortStableFunc(q.Home.Shown, func(a, b Exposure) int { return int(a.At - b.At) })
}

func addQuiet(t *rapid.T, q *Request) {
	z := Quiet{Days: days.Draw(t, "days"), Start: aMinute.Draw(t, "start"), End: aMinute.Draw(t, "end"), Owner: aWisher(t, q), Dim: some(t, 35, "dim")}
	if some(t, 25, "elsewhere") {
		z.Zone = rapid.SampledFrom([]string{"Asia/Kathmandu", "America/Havana", "Mars/Olympus"}).Draw(t, "zone")
		z.Clock, _ = time.LoadLocation(z.Zone) // nil for the last
		if z.Zone == "Mars/Olympus" {
			z.Clock = nil
		}
	}
	q.Home.Quiet = append(q.Home.Quiet, z)
}

func addMute(t *rapid.T, q *Request) {
	m := MuteRule{Selector: aPick(t, q), Owner: aWisher(t, q), Implied: rapid.Bool().Draw(t, "implied")}
	if some(t, 40, "a part") {
		m.Content = Content(rapid.IntRange(1, 7).Draw(t, "content"))
	}
	if rapid.Bool().Draw(t, "for a while") {
		m.Until = q.Now + device.Instant(rapid.SampledFrom([]int64{-1, 0, 1, 60_000, 7200_000, 86400_000}).Draw(t, "until"))
	}
	q.Home.Mutes = append(q.Home.Mutes, m)
}

func addRefusal(t *rapid.T, q *Request) {
	who := somebody(t, q)
	key := ConsentKey{who, q.Message.Brand, q.Message.Purpose}
	c := rapid.SampledFrom([]Choice{Refused, Withdrawn, Silent}).Draw(t, "choice")
	if c == Silent && q.Home.Consents[key].Choice != Given {
		c = Refused // to be silent is less than to refuse
	}
	q.Home.Consents[key] = Stance{Choice: c}
}

// somebody is one of the people of q's home, or the home itself.
func somebody(t *rapid.T, q *Request) device.PersonID {
	who := rapid.IntRange(0, len(q.Home.People)).Draw(t, "who")
	if who == 0 {
		return device.Household
	}
	return q.Home.People[who-1].ID
}

func addPerson(t *rapid.T, q *Request) {
	p := device.PersonID(50 + len(q.Home.People))
	q.Home.People = append(q.Home.People, Person{ID: p, Age: rapid.SampledFrom([]device.Age{device.Adult, device.Adult, device.Teen, device.Child}).Draw(t, "age")})
	q.Home.Consents[ConsentKey{p, q.Message.Brand, q.Message.Purpose}] = Stance{Choice: aChoice.Draw(t, "choice")}
}

func addPredicate(t *rapid.T, q *Request) {
	c := rapid.SampledFrom([]device.Class{0, 0, device.Fridge, device.Car, q.Screen.Class}).Draw(t, "class")
	of := c
	if c == 0 {
		of = q.Screen.Class
	}
	a := anAttribute(t, of)
	p := Predicate{c, a, rapid.SampledFrom([]Op{EQ, NE, LT, LE, GT, GE, "xx"}).Draw(t, "op"), aValue(t, a)}
	if rapid.Bool().Draw(t, "holds") {
		for _, s := range q.Home.Screens {
			if s.Class == of {
				put(s, a, p.Value, q.Now)
			}
		}
		p.Op = EQ
	}
	q.Message.When = append(q.Message.When, p)
}

// edits are the ways in which a home that shows a message becomes any other home.
var edits = []func(*rapid.T, *Request){
	tellAnything, tellAnything, tellAnything, tellAnything, addCap, addCap, addShown, addShown, addQuiet, addQuiet, addMute, addMute, addRefusal, addPerson,
	addLasting, addLasting, addThread, addThread, settle, settle, settle, settle, addOwn, addOwn, aim, aim, aim, changePerson, changePerson, changePerson, addMoment, addMoment, addSignal, addSignal, addSignal,
	func(t *rapid.T, q *Request) { // a yes with an end, or for some classes
		s := Stance{Choice: Given, At: 1, Device: "fridge-1"}
		if some(t, 60, "ends") {
			s.Until = q.Now + device.Instant(rapid.SampledFrom([]int64{-1, 0, 1, 60_000, 7200_000}).Draw(t, "until"))
		} else {
			s.Classes = ClassSet(0).With(rapid.SampledFrom([]device.Class{q.Screen.Class, q.Screen.Class, device.Oven}).Draw(t, "class"))
		}
		q.Home.Consents[ConsentKey{somebody(t, q), q.Message.Brand, q.Message.Purpose}] = s
	},
	func(t *rapid.T, q *Request) {
		q.Message.Picture, q.Message.Sound, q.Screen.Can.Sound = new(Pixels), some(t, 70, "sound"), uint(rapid.IntRange(0, 2).Draw(t, "can sound"))
	},
	func(t *rapid.T, q *Request) {
		q.Message.Category = rapid.SampledFrom([]string{"health", "wine"}).Draw(t, "category")
	},
	func(t *rapid.T, q *Request) { // one shown a while ago, where they are kept apart
		addShown(t, q)
		q.Home.Shown[len(q.Home.Shown)-1].At = q.Now - device.Instant(rapid.Int64Range(0, 3600_000).Draw(t, "ago"))
		slices.SortStableFunc(q.Home.Shown, func(a, b Exposure) int { return int(a.At - b.At) })
		q.Home.Caps = append(q.Home.Caps, Cap{Max: 1, Minutes: 45})
	},
	func(t *rapid.T, q *Request) { q.Screen.Can.Duties = uint(rapid.IntRange(0, 3).Draw(t, "duties")) },
	func(t *rapid.T, q *Request) { // something private on somebody's own screen
		addOwn(t, q)
		q.Message.Category = "health"
	},
	func(t *rapid.T, q *Request) { q.Home.Languages = rapid.SliceOfN(aTag, 0, 2).Draw(t, "languages") },
	func(t *rapid.T, q *Request) { q.Home.Frozen = some(t, 30, "frozen") },
	func(t *rapid.T, q *Request) { q.Now += device.Instant(rapid.Int64Range(0, 900_000).Draw(t, "later")) },
	func(t *rapid.T, q *Request) {
		q.Home.Consents[ConsentKey{device.PersonID(rapid.IntRange(0, 2).Draw(t, "who")), aBrand.Draw(t, "brand"), Marketing}] = Stance{Choice: aChoice.Draw(t, "choice")}
	},
	func(t *rapid.T, q *Request) {
		q.Screen.Owner = device.PersonID(rapid.IntRange(0, 3).Draw(t, "owner"))
		q.Home.Consents[ConsentKey{q.Screen.Owner, grocer, Marketing}] = Stance{Choice: aChoice.Draw(t, "choice")}
	},
	func(t *rapid.T, q *Request) { q.Own = !q.Own },
	func(t *rapid.T, q *Request) {
		if q.Home.Alarm = rapid.Bool().Draw(t, "alarm"); !q.Home.Alarm {
			q.Home.Zone = nil
		}
	},
	addPredicate, addCondition, addCondition, addCondition, addRule, addRule, addRule,
	func(t *rapid.T, q *Request) { // another screen of the same class
		s := *q.Screen
		s.ID, s.Context = "screen-2", new(device.Context)
		q.Home.Screens = append(q.Home.Screens, &s)
	},
	func(t *rapid.T, q *Request) {
		q.Message.NotBefore = q.Now + device.Instant(rapid.Int64Range(-2, 7200_000).Draw(t, "not before"))
	},
	func(t *rapid.T, q *Request) {
		q.Message.NotAfter = q.Now + device.Instant(rapid.Int64Range(-2, 7200_000).Draw(t, "not after"))
	},
	func(t *rapid.T, q *Request) {
		q.Message.Forms = rapid.SliceOfN(rapid.SampledFrom([]device.Form{0, 1, 2, 3, 4, 5, 9}), 0, 3).Draw(t, "forms")
	},
	func(t *rapid.T, q *Request) {
		q.Screen.Can.Forms = rapid.SliceOfN(rapid.SampledFrom([]device.Form{0, 1, 2, 3, 4, 5}), 0, 4).Draw(t, "can show")
		q.Screen.Can.Inputs = uint(rapid.IntRange(0, 2).Draw(t, "inputs"))
		q.Message.Buttons = make([]Button, rapid.IntRange(0, 5).Draw(t, "buttons"))
	},
	func(t *rapid.T, q *Request) {
		q.Screen.Can.Languages = rapid.SliceOfN(aTag, 0, 3).Draw(t, "languages")
		q.Message.Texts = nil
		for _, tag := range rapid.SliceOfNDistinct(aTag, 0, 3, strings.ToLower).Draw(t, "texts") {
			q.Message.Texts = append(q.Message.Texts, MessageText{tag, "é", strings.Repeat("ü", rapid.SampledFrom([]int{5, 79, 80}).Draw(t, "length"))})
		}
	},
	func(t *rapid.T, q *Request) {
		q.Message.Classes = rapid.SliceOfN(aClass, 1, 2).Draw(t, "classes")
	},
	func(t *rapid.T, q *Request) {
		q.Message.Purpose = rapid.SampledFrom([]Purpose{NoPurpose, Service, 99}).Draw(t, "purpose")
	},
	func(t *rapid.T, q *Request) {
		q.Screen.Class = rapid.SampledFrom([]device.Class{0, 12, 50, device.Other, 255}).Draw(t, "no class")
	},
	func(t *rapid.T, q *Request) {
		q.Home.Quiet = append(q.Home.Quiet, Quiet{Days: 128, Start: 0, End: 0})
	},
	func(t *rapid.T, q *Request) { q.Screen.Context = nil },
}

// requests are homes that would show a message, most of them with a few things changed.
var (
	requests    = requestsWith(0, 1, 1, 2, 2, 3, 4, 6, 12)
	fewRequests = requestsWith(0, 0, 1) // near the edge
)

func requestsWith(changes ...int) *rapid.Generator[Request] {
	return rapid.Custom(func(t *rapid.T) Request { return aRequest(t, changes) })
}

func aRequest(t *rapid.T, changes []int) Request {
	o := rapid.SampledFrom(odd).Draw(t, "when and where")
	q := *good(aClass.Draw(t, "class"))
	q.Home.Zone = zone(o.zone)
	now := at(o.day) + device.Instant(rapid.Int64Range(-36*3600_000, 36*3600_000).Draw(t, "now"))
	if rapid.Bool().Draw(t, "on the minute") {
		now -= now % 60_000
	}
	for _, s := range q.Home.Screens {
		told := s.Context
		s.Context = &device.Context{Class: s.Class}
		for _, name := range device.AttributeNames(s.Class) {
			a, _ := device.ParseAttribute(name)
			if r, ok := told.Get(a); ok {
				s.Context.Set(a, r.Value, now-60_000)
				s.Context.Set(a, r.Value, now-device.Instant(rapid.IntRange(0, 2).Draw(t, "ago")))
			}
		}
	}
	q.Now, q.Message.NotAfter = now, now.Add(hours(24*20))
	for range rapid.SampledFrom(changes).Draw(t, "changes") {
		rapid.SampledFrom(edits).Draw(t, "edit")(t, &q)
	}
	return q
}

// P9, and the ground under the others: verdict and reasons are those of the reference judge.
func TestDecideAgreesWithReference(t *testing.T) {
	spoilt := map[string]func(*rulebook){}
	for r, f := range book {
		if f != nil {
			spoilt["no rule of "+Rule(r).String()] = func(b *rulebook) { b[r] = passed }
		}
	}
	spoilt["consent given by anybody"] = func(b *rulebook) {
		b[Consent] = func(q Request) finding {
			q.Screen = &Screen{Owner: device.Household}
			return consent(&q)
		}
	}
	spoilt["whoever is near is one of them"] = func(b *rulebook) {
		for _, r := range []Rule{Mute, QuietTime, Frequency, Spacing} {
			sound := b[r]
			b[r] = func(q Request) finding {
				q.there.Unknown, q.there.Told, q.there.Known = 0, true, q.there.Known|1<<63
				return sound(q)
			}
		}
	}
	spoilt["a yes without end"] = func(b *rulebook) {
		b[Consent] = func(q Request) finding {
			q = clone(q)
			for k, s := range q.Home.Consents {
				s.Until = 0
				q.Home.Consents[k] = s
			}
			return consent(&q)
		}
	}
	spoilt["a yes for every screen"] = func(b *rulebook) {
		b[Consent] = func(q Request) finding {
			q = clone(q)
			for k, s := range q.Home.Consents {
				s.Classes = 0
				q.Home.Consents[k] = s
			}
			return consent(&q)
		}
	}
	spoilt["a mute of a part mutes all"] = func(b *rulebook) {
		b[Mute] = func(q Request) finding {
			q = clone(q)
			for i := range q.Home.Mutes {
				q.Home.Mutes[i].Content = 0
			}
			return mute(&q)
		}
	}
	spoilt["quiet by the home's clock"] = func(b *rulebook) {
		b[QuietTime] = func(q Request) finding {
			q = clone(q)
			for i := range q.Home.Quiet {
				q.Home.Quiet[i].Zone = ""
			}
			return anew(quiet, q)
		}
	}
	for m := Film; m <= Sleep; m++ {
		spoilt["no moment of "+m.String()] = func(b *rulebook) {
			b[QuietTime] = func(q Request) finding {
				q = clone(q)
				q.Home.Moments = slices.DeleteFunc(q.Home.Moments, func(o Moment) bool { return o == m })
				return anew(quiet, q)
			}
		}
	}
	spoilt["caps that count everybody's"] = func(b *rulebook) {
		b[Frequency] = func(q Request) finding {
			q = clone(q)
			for i := range q.Home.Shown {
				q.Home.Shown[i].Unknown = true
			}
			return frequency(&q)
		}
	}
	spoilt["caps that count every screen"] = func(b *rulebook) {
		b[Frequency] = func(q Request) finding {
			q = clone(q)
			for i := range q.Home.Shown {
				q.Home.Shown[i].Device = "gone-1"
			}
			return frequency(&q)
		}
	}
	spoilt["signals of one screen only"] = func(b *rulebook) {
		b[Terms] = func(q Request) finding {
			q = clone(q)
			q.Home.Screens = q.Home.Screens[:1]
			return terms(&q)
		}
	}
	spoilt["a day that is always 24 hours"] = func(b *rulebook) {
		b[Frequency] = func(q Request) finding {
			h := *q.Home
			h.Caps = slices.Clone(h.Caps)
			for i := range h.Caps {
				if h.Caps[i].Hours == 0 {
					h.Caps[i].Hours = 24
				}
			}
			q.Home = &h
			return frequency(&q)
		}
	}
	spoilt["a night in winter time"] = func(b *rulebook) {
		b[QuietTime] = func(q Request) finding {
			h := *q.Home
			if h.Zone != nil {
				h.Zone = time.FixedZone("", 3600)
			}
			q.Home = &h
			return anew(quiet, q)
		}
	}
	spoilt["what is sensitive read without leave"] = func(b *rulebook) {
		b[Condition] = func(q Request) finding {
			q = clone(q)
			q.Home.Consents[ConsentKey{device.Household, q.Message.Brand, Context}] = Stance{Choice: Given}
			for _, p := range q.Home.People {
				q.Home.Consents[ConsentKey{p.ID, q.Message.Brand, Context}] = Stance{Choice: Given}
			}
			return condition(&q)
		}
	}
	spoilt["a rule that stops what it is sure of"] = func(b *rulebook) {
		b[Operator] = func(q Request) finding {
			for _, r := range q.Home.Rules {
				n := inquiry{q: &q, free: true}
				if n.judge(r.Condition).truth() == True {
					return operators(&q)
				}
			}
			return pass
		}
	}
	promise(t, requests, disagreement, spoilt)
}

// disagreement says how a judge and the reference differ about q; "" if they do not.
func disagreement(decide judge, q Request) string {
	got, want := decide(q), reference(q)
	if got.Verdict != want.verdict || got.Reasons != want.reasons || got.Form != want.form || got.Text != want.text || got.Content != want.content || got.Duties != want.duties {
		return fmt.Sprintf("got %s for %q as %s, %d, %03b; want %s for %q as %s, %d, %03b\n%s", got.Verdict, got.Reasons, got.Form, got.Text, got.Content,
			want.verdict, want.reasons, want.form, want.text, want.content, describe(q))
	}
	if got.Verdict == Show {
		if len(Grounds(q, got)) == 0 || WhatIf(q) != nil {
			return "shown without a ground\n" + describe(q)
		}
		return ""
	}
	var said Reasons
	strictest := Show
	for _, c := range Causes(q, got) {
		said, strictest = said.With(c.Rule), min(strictest, c.Verdict)
		if c.Code == "" || c.Verdict == Hold && c.Until != 0 && c.Until <= q.Now && c.Code != Ended {
			return fmt.Sprintf("%+v makes no sense\n%s", c, describe(q))
		}
	}
	if said != got.Reasons || strictest != got.Verdict {
		return fmt.Sprintf("%s for %q is explained as %s for %q\n%s", got.Verdict, got.Reasons, strictest, said, describe(q))
	}
	return ""
}

// The same over many more decisions: ten thousand, or, where PORCHLIGHT_LONG is set, a million.
func TestManyDecisionsAgreeWithReference(t *testing.T) {
	for seed := range many(10_000, 1_000_000) {
		if broken := disagreement(Decide, requests.Example(1_000_000+seed)); broken != "" {
			t.Fatalf("sample %d: %s", seed, broken)
		}
	}
}

var whoIsThere = []device.Attribute{device.PresenceWho, device.PresenceCount, device.RoomOccupancy}

// told is a rule that takes what nobody has told for one known person.
func told(rule func(*Request) finding) func(Request) finding {
	return func(q Request) finding {
		if !q.there.Told {
			q.there.Told, q.there.Unknown, q.there.Known = true, 0, 1
		}
		return rule(&q)
	}
}

// P1, default deny: what is missing or unknown never shows.
func TestPromiseDefaultDeny(t *testing.T) {
	take := map[string]func(*Request){
		"every choice":     func(q *Request) { q.Home.Consents = nil },
		"the home's words": func(q *Request) { *q.Home = Home{} },
		"the home":         func(q *Request) { q.Home = nil },
		"the screen":       func(q *Request) { q.Screen = nil },
		"its words":        func(q *Request) { *q.Screen = Screen{} },
		"what it told":     func(q *Request) { q.Screen.Context = nil },
		"its forms":        func(q *Request) { q.Screen.Can.Forms = nil },
		"its class":        func(q *Request) { q.Screen.Class = 0 },
		"the message":      func(q *Request) { q.Message = nil },
		"its content":      func(q *Request) { *q.Message = Message{} },
		"its purpose": func(q *Request) {
			q.Message.Purpose = NoPurpose
			q.Home.Consents[ConsentKey{q.Screen.Owner, q.Message.Brand, NoPurpose}] = Stance{Choice: Given}
		},
		"who is there, where that must be known": func(q *Request) {
			for _, s := range q.Home.Screens {
				for _, a := range whoIsThere {
					put(s, a, device.Value{}, 0)
				}
			}
			q.Screen.Owner = device.Household
			if q.Message.Purpose != Research && !listed(floorWords, q.Message.Category) && !listed(sensitiveWords, q.Message.Category) {
				q.Message.Audience = Personal
			}
		},
		"what it is sure of": func(q *Request) {
			for _, s := range q.Home.Screens {
				for _, a := range whoIsThere {
					put(s, a, device.Value{}, 0)
				}
			}
			q.Message.Audience = Personal
			put(q.Screen, device.PresenceWho, val(device.PresenceWho, "1 2@0.79"), q.Now)
		},
		"how old they are, where they are known": func(q *Request) {
			for i := range q.Home.People {
				q.Home.People[i].Age, q.Home.People[i].Guest = device.AgeUnknown, false
			}
			if q.Screen.Owner == device.Household {
				put(q.Screen, device.PresenceWho, val(device.PresenceWho, "1 2"), q.Now)
			}
		},
		"the end of what a yes was good for": func(q *Request) {
			for k, s := range q.Home.Consents {
				s.Until = q.Now - 1
				q.Home.Consents[k] = s
			}
		},
		"the clock of a quiet time": func(q *Request) {
			q.Home.Quiet = append(q.Home.Quiet, Quiet{Start: 0, End: 1, Zone: "Mars/Olympus"})
		},
		"its end":   func(q *Request) { q.Message.NotAfter = 0 },
		"its texts": func(q *Request) { q.Message.Texts = nil },
		"the clock": func(q *Request) { q.Now = 0 },
		"the zone, where there is quiet time": func(q *Request) {
			q.Home.Zone = nil
			q.Home.Quiet = append(q.Home.Quiet, Quiet{Start: 0, End: 1})
		},
		"every required fact": func(q *Request) {
			if !slices.Contains([]device.Class{device.Fridge, device.Display, device.Companion}, q.Screen.Class) {
				*q.Screen.Context = device.Context{}
			} else {
				q.Screen.Context = nil
			}
		},
		"its freshness": func(q *Request) {
			if slices.Contains([]device.Class{device.Fridge, device.Display, device.Companion}, q.Screen.Class) {
				q.Screen.Context = nil
			}
			q.Now = q.Now.Add(time.Hour)
		},
	}
	type sample struct {
		q     Request
		taken string
	}
	samples := rapid.Custom(func(t *rapid.T) sample {
		q := *good(aClass.Draw(t, "class"))
		for range rapid.IntRange(0, 2).Draw(t, "edits") {
			rapid.SampledFrom(edits[4:len(edits)-1]).Draw(t, "edit")(t, &q) // all but what is told and that nothing is
		}
		q = clone(q)
		what := rapid.SampledFrom(slices.Sorted(maps.Keys(take))).Draw(t, "take")
		take[what](&q)
		return sample{q, what}
	})
	believe := func(a device.Attribute, v any) func(*rulebook) { // as if a were always fresh
		return func(b *rulebook) {
			b[Safety] = func(q Request) finding {
				s := *q.Screen
				s.Context = new(device.Context)
				put(&s, a, val(a, v), q.Now)
				q.Screen = &s
				return anew(safety, q)
			}
		}
	}
	promise(t, samples, func(decide judge, s sample) string {
		if d := decide(s.q); d.Verdict == Show {
			return fmt.Sprintf("shown without %s\n%s", s.taken, describe(s.q))
		}
		return ""
	}, map[string]func(*rulebook){
		"silence taken for a yes": func(b *rulebook) {
			b[Consent] = func(q Request) finding {
				if len(q.Home.Consents) == 0 {
					return pass
				}
				return consent(&q)
			}
		},
		"an unknown car taken for parked":   believe(device.Driving, "parked"),
		"an unknown console taken for idle": believe(device.GameState, "none"),
		"quiet time of no zone passed over": func(b *rulebook) { b[QuietTime] = passed },
		"a stranger taken for nobody": func(b *rulebook) {
			for r, sound := range b {
				if sound != nil {
					b[r] = func(q Request) finding {
						q.there.Unknown = 0
						return sound(q)
					}
				}
			}
		},
		"nobody told taken for nobody": func(b *rulebook) { b[Age] = told(age); b[Sensitive] = told(sensitive) },
		"everybody taken for grown up": func(b *rulebook) {
			b[Age] = func(q Request) finding {
				q = clone(q)
				for i := range q.Home.People {
					q.Home.People[i].Age = device.Adult
				}
				return age(&q)
			}
		},
		"a yes taken for endless": func(b *rulebook) {
			b[Consent] = func(q Request) finding {
				q = clone(q)
				for k, s := range q.Home.Consents {
					s.Until = 0
					q.Home.Consents[k] = s
				}
				return consent(&q)
			}
		},
		"a message without end or purpose":    func(b *rulebook) { b[Validity] = passed },
		"a message without forms or texts":    func(b *rulebook) { b[Capability] = passed },
		"a screen of no class, and no safety": func(b *rulebook) { b[Safety] = passed },
	})
}

// restrains reports whether the reading of a, as told, is a word that only holds back: it stands
// until the device takes it back, so taking it away is the device's own change of mind.
func restrains(s *Screen, a device.Attribute, now device.Instant) bool {
	facts := []fact{noAlarm, disturb}
	if row := own.of(s.Class); row != nil {
		facts = append(facts, row.calm...)
		for _, group := range row.free {
			for _, f := range slices.Concat(group...) {
				if f.untold { // any word of it outweighs what would do without
					facts = append(facts, is(f.attribute))
				}
			}
		}
	}
	for _, f := range facts {
		if f.attribute == a && f.calm(s, now).verdict != Show {
			return true
		}
	}
	// Somebody is there: that stands, too.
	if r, ok := s.Context.Get(a); ok && slices.Contains(whoIsThere, a) {
		return r.Value.Text != "" || r.Value.Num > 0
	}
	return false
}

// moving reports whether a is about a moment. A moment ends with the reading that told of it:
// nobody sleeps for ever because a watch has lost its battery.
func moving(q *Request, a device.Attribute) bool {
	return len(q.Home.Moments) > 0 && slices.Contains([]device.Attribute{device.PlayerState, device.Fullscreen, device.CallActive, device.Sleeping}, a)
}

// P3, of people: one more who is there never opens anything, unless nobody was there before, an
// adult comes to children, or the message itself asks for company.
func TestPromiseOneMorePerson(t *testing.T) {
	type sample struct {
		before, after Request
		who           string
	}
	words := rapid.SampledFrom([]string{"1", "2", "3", "4", "5", "6", "7", "1@0.5", "99"})
	samples := rapid.Custom(func(t *rapid.T) sample {
		q := *family(rapid.SampledFrom([]device.Class{device.TV, device.Car, device.Car, device.Fridge, device.Companion}).Draw(t, "class"))
		kindsOfMessage[rapid.SampledFrom(slices.Sorted(maps.Keys(kindsOfMessage))).Draw(t, "message")](q.Message)
		for i := range q.Home.People {
			p := &q.Home.People[i]
			p.Languages = []string{rapid.SampledFrom([]string{"de", "en", "fr"}).Draw(t, "language")}
			if some(t, 12, "otherwise") {
				q.Home.Consents[ConsentKey{p.ID, grocer, q.Message.Purpose}] = Stance{Choice: aChoice.Draw(t, "choice")}
			}
			p.Frozen = some(t, 1, "frozen")
		}
		if some(t, 30, "own") {
			q.Screen.Owner = device.PersonID(rapid.IntRange(1, 5).Draw(t, "owner"))
		}
		for range rapid.SampledFrom([]int{0, 0, 1, 1, 2}).Draw(t, "wishes") {
			rapid.SampledFrom([]func(*rapid.T, *Request){addMute, addMute, addMute, addQuiet, addCap, addShown, addMoment}).Draw(t, "wish")(t, &q)
		}
		q.Message.Texts[rapid.IntRange(0, 1).Draw(t, "text")].Body = strings.Repeat("x", rapid.SampledFrom([]int{5, 80}).Draw(t, "length"))
		by := q.Screen
		if some(t, 30, "by another") {
			share(&q)
			by = q.Home.Screens[1]
		}
		have := rapid.SliceOfN(words, 1, 3).Draw(t, "who")
		tell := func(s *Screen, words []string) {
			put(s, device.PresenceWho, val(device.PresenceWho, strings.Join(words, " ")), q.Now)
			put(s, device.PresenceCount, val(device.PresenceCount, float64(len(words))), q.Now)
		}
		if some(t, 20, "was there") {
			put(q.Home.Screens[1], device.PresenceWho, val(device.PresenceWho, words.Draw(t, "past")), q.Now.Add(-time.Hour))
		}
		tell(by, have)
		s := sample{before: q, after: clone(q), who: words.Draw(t, "more")}
		for _, o := range s.after.Home.Screens {
			if o.ID == by.ID {
				tell(o, append(have, s.who))
			}
		}
		return s
	})
	promise(t, samples, func(decide judge, s sample) string {
		q := s.before
		p := Present(q.Home, q.Screen, q.Now)
		if q.Home.kinds(p.Known|p.Past)&child != 0 && q.Home.kinds(p.Known)&grown == 0 {
			return "" // an adult who comes to a child is whom it waits for
		}
		before, after := decide(s.before), decide(s.after)
		if before.Verdict != Show && after.Verdict == Show {
			return fmt.Sprintf("%s for %q became show when %s came\nbefore: %s\nafter: %s", before.Verdict, before.Reasons, s.who, describe(s.before), describe(s.after))
		}
		if after.Verdict == Show && after.Content&^before.Content != 0 {
			return fmt.Sprintf("%03b became %03b when %s came\nbefore: %s", before.Content, after.Content, s.who, describe(s.before))
		}
		return ""
	}, map[string]func(*rulebook){
		"the mildest of those there decides": func(b *rulebook) {
			b[Consent] = func(q Request) finding {
				f, all := refuse, q.there.Known
				for ; all != 0; all &= all - 1 {
					q.there.Known = all & -all
					f = f.or(consent(&q))
				}
				if f.verdict != Show {
					return consent(&q)
				}
				return f
			}
		},
		"an adult answers for strangers": func(b *rulebook) {
			b[Age] = func(q Request) finding {
				if q.Home.kinds(q.there.Known)&grown != 0 {
					q.there.Unknown = 0
				}
				return age(&q)
			}
		},
		"where most are grown up nobody is a child": func(b *rulebook) {
			b[Age] = func(q Request) finding {
				var adults, children uint64
				for i := range q.Home.People {
					switch k := q.Home.People[i].kind(); {
					case k&child != 0:
						children |= q.there.Known & (1 << i)
					case k == grown:
						adults |= q.there.Known & (1 << i)
					}
				}
				if bits.OnesCount64(adults) > bits.OnesCount64(children) {
					q.there.Known &^= children
				}
				return age(&q)
			}
		},
		"a mute counts for one alone": func(b *rulebook) {
			b[Mute] = func(q Request) finding {
				if q.alone() == nil {
					return pass
				}
				return mute(&q)
			}
		},
		"company keeps nobody awake": func(b *rulebook) {
			b[QuietTime] = func(q Request) finding {
				if bits.OnesCount64(q.there.Known) > 1 {
					return pass
				}
				return anew(quiet, q)
			}
		},
		"a reader's language at any length": func(b *rulebook) {
			b[Safety] = func(q Request) finding {
				if one := q.alone(); one != nil && q.Screen.Class == device.Car {
					if i := speaks(q.Message, one.Languages); i >= 0 && length(q.Message, i) > 80 {
						return refuse
					}
				}
				return anew(safety, q)
			}
		},
	})
}

// P3: restrictions only restrict.
func TestPromiseRestrictionsOnlyRestrict(t *testing.T) {
	restrict := map[string]func(*rapid.T, *Request){
		"a mute": addMute, "an operator's rule": addRule, "a quiet time": addQuiet, "a refusal": addRefusal, "a person": addPerson,
		"a cap": func(t *rapid.T, q *Request) {
			trip := q.Screen.Trip
			addCap(t, q)
			q.Screen.Trip = trip // when it set out is a fact, and no restriction
		},
		"one more shown": func(t *rapid.T, q *Request) {
			if !q.Own {
				addShown(t, q)
			}
		},
		"an alarm":                        func(t *rapid.T, q *Request) { q.Home.Alarm = true },
		"a signal":                        addSignal,
		"something done":                  addActs,
		"an answer elsewhere":             answerElsewhere,
		"that it speaks of what was done": func(t *rapid.T, q *Request) { q.Message.Echo = Remind },
		"a freeze":                        func(t *rapid.T, q *Request) { q.Home.Frozen = true },
		"a person's freeze":               func(t *rapid.T, q *Request) { q.Home.People[0].Frozen = true },
		"a moment": func(t *rapid.T, q *Request) {
			q.Home.Moments = append(q.Home.Moments, Film, Call, Sleep)
		},
		"somebody's age lost": func(t *rapid.T, q *Request) {
			q.Home.People[rapid.IntRange(0, len(q.Home.People)-1).Draw(t, "who")].Age = device.AgeUnknown
		},
		"that it is personal": func(t *rapid.T, q *Request) { q.Message.Audience = Personal },
		"a yes narrowed": func(t *rapid.T, q *Request) {
			for k, s := range q.Home.Consents {
				if s.Choice == Given {
					s.Until, s.Classes = sooner(s.Until, q.Now+device.Instant(rapid.IntRange(0, 1).Draw(t, "ends"))), max(s.Classes, 1<<q.Screen.Class)
				}
				q.Home.Consents[k] = s
			}
		},
		"a zone's clock lost": func(t *rapid.T, q *Request) {
			for i := range q.Home.Quiet {
				q.Home.Quiet[i].Clock = nil
			}
		},
		"all that a screen told grown old": func(t *rapid.T, q *Request) {
			s := rapid.SampledFrom(q.Home.Screens).Draw(t, "screen")
			if len(q.Home.Moments) == 0 && s.Context != nil {
				was := *s.Context
				*s.Context = device.Context{}
				for _, name := range device.AttributeNames(0) {
					a, _ := device.ParseAttribute(name)
					if r, ok := was.Get(a); ok {
						s.Context.Set(a, r.Value, r.At-2*3600_000)
					}
				}
			}
		},
		"a fact lost": func(t *rapid.T, q *Request) {
			s := rapid.SampledFrom(q.Home.Screens).Draw(t, "screen")
			if a := aTold(t, s); !restrains(s, a, q.Now) && !moving(q, a) {
				put(s, a, device.Value{}, 0)
			}
		},
		"a fact grown old": func(t *rapid.T, q *Request) {
			s := rapid.SampledFrom(q.Home.Screens).Draw(t, "screen")
			a := aTold(t, s)
			if r, ok := s.Context.Get(a); ok && !moving(q, a) && !slices.Contains(whoIsThere, a) {
				put(s, a, r.Value, q.Now.Add(-a.TTL(s.Class)-rapid.SampledFrom([]time.Duration{0, time.Hour}).Draw(t, "ago")))
			}
		},
		"the zone lost":    func(t *rapid.T, q *Request) { q.Home.Zone = nil },
		"a screen's words": func(t *rapid.T, q *Request) { q.Screen.Context = nil },
	}
	type sample struct {
		before, after Request
		added         string
	}
	samples := rapid.Custom(func(t *rapid.T) sample {
		s := sample{before: rapid.OneOf(requests, fewRequests, fewRequests).Draw(t, "before")}
		s.added = rapid.SampledFrom(slices.Sorted(maps.Keys(restrict))).Draw(t, "add")
		switch rapid.IntRange(0, 3).Draw(t, "first") {
		case 0:
			addPredicate(t, &s.before)
		case 1:
			restrict[s.added](t, &s.before)
		case 2:
			tellAnything(t, &s.before)
			addShown(t, &s.before)
		}
		switch {
		case s.added == "somebody's age lost":
			changePerson(t, &s.before)
			settle(t, &s.before)
		case some(t, 15, "company"):
			settle(t, &s.before)
		}
		s.after = clone(s.before)
		restrict[s.added](t, &s.after)
		return s
	})
	promise(t, samples, func(decide judge, s sample) string {
		if company(s.before) || twins(s.before) {
			return ""
		}
		before, after := decide(s.before), decide(s.after)
		if before.Verdict != Show && after.Verdict == Show {
			return fmt.Sprintf("%s for %q became show by adding %s\nbefore: %s\nafter: %s",
				before.Verdict, before.Reasons, s.added, describe(s.before), describe(s.after))
		}
		return ""
	}, map[string]func(*rulebook){
		"the last mute counts": func(b *rulebook) {
			b[Mute] = func(q Request) finding {
				h := *q.Home
				h.Mutes = h.Mutes[max(0, len(h.Mutes)-1):]
				q.Home = &h
				return mute(&q)
			}
		},
		"the last quiet time counts": func(b *rulebook) {
			b[QuietTime] = func(q Request) finding {
				h := *q.Home
				h.Quiet = h.Quiet[max(0, len(h.Quiet)-1):]
				q.Home = &h
				return anew(quiet, q)
			}
		},
		"the mildest cap counts": func(b *rulebook) {
			b[Frequency] = func(q Request) finding {
				f, any := refuse, false
				q = clone(q)
				for _, c := range q.Home.Caps {
					if c.Picks(q.Message, q.Screen) {
						q.Home.Caps = []Cap{c}
						f, any = f.or(frequency(&q)), true
					}
				}
				if !any {
					return pass
				}
				return f
			}
		},
		"the majority rules": func(b *rulebook) {
			b[Consent] = func(q Request) finding {
				yes, no := 0, 0
				for k, c := range q.Home.Consents {
					if k.Brand == q.Message.Brand && c.Choice == Given {
						yes++
					} else if k.Brand == q.Message.Brand && c.Choice != Silent {
						no++
					}
				}
				if yes > no {
					return pass
				}
				return refuse
			}
		},
		"who has not been seen for a while has left": func(b *rulebook) {
			for r, sound := range b {
				if sound != nil {
					b[r] = func(q Request) finding {
						if q.there.Past != 0 {
							q.there.Past, q.there.Unknown = 0, 0
						}
						return sound(q)
					}
				}
			}
		},
		"whose age is lost is grown up": func(b *rulebook) {
			b[Age] = func(q Request) finding {
				q = clone(q)
				for i := range q.Home.People {
					if p := &q.Home.People[i]; p.Age == device.AgeUnknown {
						p.Age = device.Adult
					}
				}
				return age(&q)
			}
		},
		"a lost clock means no quiet time": func(b *rulebook) {
			b[QuietTime] = func(q Request) finding {
				q = clone(q)
				q.Home.Quiet = slices.DeleteFunc(q.Home.Quiet, func(z Quiet) bool { return z.Zone != "" && z.Clock == nil })
				return anew(quiet, q)
			}
		},
		"a lost zone means no quiet time": func(b *rulebook) {
			b[QuietTime] = func(q Request) finding {
				if q.Home.Zone == nil {
					return pass
				}
				return anew(quiet, q)
			}
		},
		"do-not-disturb grows old": func(b *rulebook) {
			b[Safety] = func(q Request) finding {
				s := *q.Screen
				if s.Context != nil {
					c := *s.Context
					s.Context = &c
					for _, a := range []device.Attribute{device.DND, device.PowerState, device.CallActive, device.Driving} {
						if _, _, fresh := c.Fresh(s.Class, a, q.Now); !fresh {
							put(&s, a, device.Value{}, 0)
						}
					}
				}
				q.Screen = &s
				return anew(safety, q)
			}
		},
		"unknown is not equal": func(b *rulebook) {
			b[Condition] = func(q Request) finding {
				for _, p := range q.Message.When {
					if v, _, fresh := q.Screen.Context.Fresh(q.Screen.Class, p.Attribute, q.Now); fresh && p.Op == EQ && !p.true(v) {
						return wait
					}
				}
				return pass
			}
		},
	})
}

// P12: safety dominates.
func TestPromiseSafetyDominates(t *testing.T) {
	type danger struct {
		attribute device.Attribute
		value     any
	}
	// Told at any time, each of these closes the screen, whatever else was told.
	dangers := map[device.Class][]danger{
		device.TV: {{device.PlayerState, "off"}, {device.PlayerState, "buffering"}, {device.PlayerState, "standby"}, {device.PlayerState, nil}},
		device.Car: {{device.Driving, "idling"}, {device.Driving, "moving"}, {device.Driving, "unknown"}, {device.VehicleSpeed, 0.1},
			{device.VehicleSpeed, -2.0}, {device.VehicleMoving, true}, {device.SelectedGear, 127.0}, {device.SelectedGear, -1.0}, {device.SelectedGear, 1.0}},
		device.Oven: {{device.OperationalState, "Running"}, {device.OperationalState, "Paused"}, {device.OperationalState, "Error"},
			{device.OperationalState, nil}, {device.Alarm, true}, {device.Alarm, nil}},
		device.Console: {{device.GameState, "gameplay_interruptible"}, {device.GameState, "gameplay_uninterruptible"}, {device.GameState, "content"},
			{device.GameState, "unknown"}, {device.GameState, nil}},
		device.Speaker:    {{device.CallActive, true}, {device.CallActive, nil}},
		device.Companion:  {{device.CallActive, true}},
		device.Washer:     {{device.OperationalState, "Running"}, {device.OperationalState, "Error"}, {device.OperationalState, nil}},
		device.Dryer:      {{device.OperationalState, "Running"}, {device.OperationalState, "Error"}},
		device.Dishwasher: {{device.OperationalState, "Running"}, {device.OperationalState, "Error"}},
	}
	type sample struct {
		q   Request
		why string
	}
	samples := rapid.Custom(func(t *rapid.T) sample {
		q := clone(requests.Draw(t, "request"))
		// Everything that can be granted is granted.
		if rapid.Bool().Draw(t, "granted") {
			q.Home.Mutes, q.Home.Quiet, q.Home.Caps, q.Home.Shown, q.Message.When = nil, nil, nil, nil, nil
			q.Message.NotBefore, q.Message.NotAfter, q.Screen.Owner = 0, q.Now+1e9, 0
			q.Home.Consents = map[ConsentKey]Stance{{0, q.Message.Brand, q.Message.Purpose}: {Choice: Given}}
		}
		if q.Screen.Context == nil {
			q.Screen.Context = new(device.Context)
		}
		why := rapid.SampledFrom([]string{"danger", "danger", "danger", "alarm", "alarm here", "alarm there", "disturb", "stale car", "class", "voice"}).Draw(t, "why")
		list := dangers[q.Screen.Class]
		switch {
		case why == "alarm" || why == "danger" && list == nil:
			q.Home.Alarm = true
		case why == "danger":
			d := rapid.SampledFrom(list).Draw(t, "danger")
			put(q.Screen, d.attribute, val(d.attribute, d.value), q.Now.Add(-anAge(t, d.attribute.TTL(q.Screen.Class))))
			why = fmt.Sprintf("%s = %v", d.attribute, d.value)
		case why == "alarm here":
			put(q.Screen, device.Alarm, val(device.Alarm, true), q.Now.Add(-hours(rapid.Float64Range(0, 48).Draw(t, "ago"))))
		case why == "alarm there":
			put(q.Home.Screens[1], device.Alarm, val(device.Alarm, true), q.Now.Add(-hours(rapid.Float64Range(0, 48).Draw(t, "ago"))))
			if q.Home.Screens[1].Context == nil {
				q.Home.Alarm = true
			}
		case why == "disturb":
			put(q.Screen, device.DND, val(device.DND, true), q.Now)
		case why == "stale car":
			q.Screen.Class = device.Car
			*q.Screen.Context = device.Context{}
			for _, a := range []device.Attribute{device.Driving, device.SelectedGear, device.VehicleSpeed, device.ParkingBrake} {
				good := map[device.Attribute]any{device.Driving: "parked", device.SelectedGear: 126.0, device.VehicleSpeed: 0.0, device.ParkingBrake: true}[a]
				q.Screen.Context.Set(a, val(a, good), q.Now.Add(-time.Duration(rapid.IntRange(5000, 100_000).Draw(t, "ago"))*time.Millisecond))
			}
		case why == "class":
			q.Screen.Class = device.Other
		case why == "voice":
			q.Message.Forms = []device.Form{device.Voice}
		}
		return sample{q, why}
	})
	without := func(edit func(*Request)) func(*rulebook) {
		return func(b *rulebook) {
			b[Safety] = func(q Request) finding {
				q = clone(q)
				edit(&q)
				return anew(safety, q)
			}
		}
	}
	forget := func(a device.Attribute) func(*rulebook) {
		return without(func(q *Request) {
			for _, s := range q.Home.Screens {
				put(s, a, device.Value{}, 0)
			}
		})
	}
	promise(t, samples, func(decide judge, s sample) string {
		if d := decide(s.q); d.Verdict == Show {
			return fmt.Sprintf("shown in spite of %s\n%s", s.why, describe(s.q))
		}
		return ""
	}, map[string]func(*rulebook){
		"no safety":                 func(b *rulebook) { b[Safety] = passed },
		"no word from the home":     without(func(q *Request) { q.Home.Alarm = false }),
		"no alarm on any screen":    forget(device.Alarm),
		"disturbing":                forget(device.DND),
		"speed passed over":         forget(device.VehicleSpeed),
		"gear passed over":          forget(device.SelectedGear),
		"movement passed over":      forget(device.VehicleMoving),
		"an open call":              forget(device.CallActive),
		"consent opens":             func(b *rulebook) { b[Safety] = func(q Request) finding { return anew(safety, q).or(consent(&q)) } },
		"a service message opens":   func(b *rulebook) { b[Safety] = func(q Request) finding { return anew(safety, q).or(capability(&q)) } },
		"readings never grow old":   without(func(q *Request) { refresh(q.Screen, q.Now) }),
		"a car is a fridge at rest": without(func(q *Request) { q.Screen.Class = device.Fridge }),
	})
}

// refresh makes every reading new.
func refresh(s *Screen, now device.Instant) {
	for _, name := range device.AttributeNames(0) {
		a, _ := device.ParseAttribute(name)
		if r, ok := s.Context.Get(a); ok {
			put(s, a, r.Value, now)
		}
	}
}

// Until: the clock alone changes nothing before it, but that a yes may end in the meantime, and does
// at it.
func TestPromiseUntil(t *testing.T) {
	type sample struct {
		q     Request
		parts []float64
	}
	samples := rapid.Custom(func(t *rapid.T) sample {
		return sample{requests.Draw(t, "request"), rapid.SliceOfN(rapid.Float64Range(0, 1), 4, 4).Draw(t, "moments")}
	})
	later := func(name Rule, by device.Instant) func(*rulebook) {
		return func(b *rulebook) {
			sound := b[name]
			b[name] = func(q Request) finding {
				f := sound(q)
				if f.until != 0 {
					f.until += by
				}
				return f
			}
		}
	}
	spoilt := map[string]func(*rulebook){
		"a condition for ever": func(b *rulebook) {
			b[Condition] = func(q Request) finding { return finding{condition(&q).verdict, 0} }
		},
		"safety for ever": func(b *rulebook) {
			b[Safety] = func(q Request) finding { return finding{anew(safety, q).verdict, 0} }
		},
	}
	for _, r := range []Rule{Safety, Age, Consent, Mute, QuietTime, Frequency, Spacing, Validity} {
		if r == Age {
			spoilt["who is there for ever"] = func(b *rulebook) {
				b[Age] = func(q Request) finding { return finding{age(&q).verdict, 0} }
			}
			continue // it may always look sooner
		}
		spoilt[r.String()+" 1 ms too late"] = later(r, 1)
		spoilt[r.String()+" 1 ms too soon"] = later(r, -1)
	}
	promise(t, samples, func(decide judge, s sample) string {
		q := s.q
		d := decide(q)
		switch {
		case d.Verdict == Refuse && d.Until != 0:
			return fmt.Sprintf("refuses until %s\n%s", d.Until, describe(q))
		case d.Verdict != Refuse && (d.Until <= q.Now || d.Until > q.Message.NotAfter):
			return fmt.Sprintf("%s until %s\n%s", d.Verdict, d.Until, describe(q))
		}
		end := d.Until
		if d.Verdict == Refuse {
			end = q.Now.Add(hours(24 * 30))
		}
		for _, t := range moments(q, end, s.parts) {
			then := q
			then.Now = t
			want := reference(then)
			if want.verdict != d.Verdict && !(d.Verdict == Hold && want.verdict == Refuse) {
				return fmt.Sprintf("%s for %q until %s, but %s for %q at %s\n%s", d.Verdict, d.Reasons, end, want.verdict, want.reasons, t, describe(q))
			}
			if d.Verdict == Show && (want.content != d.Content || want.text != d.Text || want.duties != d.Duties) {
				return fmt.Sprintf("shows %03b of %d until %s, but %03b of %d at %s\n%s", d.Content, d.Text, end, want.content, want.text, t, describe(q))
			}
		}
		then := q
		then.Now = d.Until
		at := reference(then)
		switch {
		case d.Verdict == Show && at.verdict == Show && at.content == d.Content && at.duties == d.Duties && !loose(q, d.Until):
			return fmt.Sprintf("shows until %s, and still does then\n%s", d.Until, describe(q))
		case d.Verdict == Hold && d.Until < q.Message.NotAfter && at.reasons.Has(d.Watch) && !loose(q, d.Until):
			return fmt.Sprintf("holds for %s until %s, and still does then\n%s", d.Watch, d.Until, describe(q))
		}
		return ""
	}, spoilt)
}

// moments are instants after q.Now and before end: some at random, and all at which anything in
// q may change.
func moments(q Request, end device.Instant, parts []float64) (list []device.Instant) {
	span := end - q.Now
	for _, p := range parts {
		list = append(list, q.Now+device.Instant(p*float64(span)))
	}
	add := func(t device.Instant) { list = append(list, t-1, t, t+1) }
	add(q.Now)
	add(end)
	add(q.Message.NotBefore)
	add(q.Screen.Trip)
	for _, s := range q.Home.Screens {
		for _, name := range device.AttributeNames(0) {
			a, _ := device.ParseAttribute(name)
			if r, ok := s.Context.Get(a); ok {
				add(r.At.Add(a.TTL(s.Class)))
				add(r.At.Add(-a.TTL(s.Class)))
				if timed(q) {
					add(r.Since.Add(time.Second))
					add(r.Since.Add(90 * time.Second))
				}
			}
		}
	}
	for _, m := range q.Home.Mutes {
		add(m.Until)
	}
	for _, c := range q.Home.Caps {
		for _, e := range q.Home.Shown {
			add(e.At.Add(time.Duration(c.Hours)*time.Hour + time.Duration(c.Minutes)*time.Minute))
			add(e.At.Add(24 * time.Hour)) // of a trip
		}
	}
	for _, s := range q.Home.Consents {
		add(s.Until)
	}
	for _, e := range q.Home.Shown {
		add(e.At + 31*refDay)
	}
	for _, g := range q.Home.Got {
		add(g.At + 14*refDay)
	}
	for _, z := range q.Home.Quiet {
		if z.Clock != nil {
			today := refWall(z.Clock, int64(q.Now)/60_000) / 1440
			for n := today - 1; n <= today+1; n++ {
				for _, minute := range []int{z.Start, z.End} {
					first, last := refScan(z.Clock, n*1440+int64(minute))
					add(device.Instant(first * 60_000))
					add(device.Instant(last * 60_000))
				}
			}
		}
	}
	if q.Home.Zone != nil {
		midnight := q.Now.Time().In(q.Home.Zone).Truncate(time.Hour)
		for h := range 50 {
			add(device.At(midnight.Add(time.Duration(h) * time.Hour)))
			if timed(q) {
				add(device.At(midnight.Add(time.Duration(h)*time.Hour + 30*time.Minute)))
			}
		}
		for d := range 10 {
			date := q.Now.Time().In(q.Home.Zone).AddDate(0, 0, d)
			add(device.At(time.Date(date.Year(), date.Month(), date.Day(), 0, 0, 0, 0, q.Home.Zone)))
		}
	}
	return slices.DeleteFunc(list, func(t device.Instant) bool { return t <= q.Now || t >= end })
}

// loose reports whether until is one of the instants at which the judge only promises to look
// again: the change of a zone's offset, the end of the days it looks ahead, the end of what was
// told about who is there, that of a mute of some part, whatever comes of readings and exposures from the future,
// and what an oven, a car or a speaker waits for while other readings of it grow old.
func loose(q Request, until device.Instant) bool {
	for _, s := range q.Home.Screens {
		if q.Screen.Class == device.Speaker { // a moment ends, and that nobody calls is not fresh any more
			for _, a := range []device.Attribute{device.Sleeping, device.CallActive} {
				if r, _ := s.Context.Get(a); r.At.Add(a.TTL(s.Class)) == until {
					return true
				}
			}
		}
		if row := own.of(s.Class); row != nil && (row.trip > 0 || s.Class == device.Oven) {
			for _, e := range q.Home.Shown {
				if row.trip > 0 && e.Device == s.ID && e.At.Add(longestTrip) == until {
					return true
				}
			}
			for _, name := range device.AttributeNames(s.Class) {
				a, _ := device.ParseAttribute(name)
				if r, _ := s.Context.Get(a); r.Since.Add(time.Minute) == until || r.Since.Add(time.Hour) == until {
					return true
				}
			}
		}
		for _, name := range device.AttributeNames(0) {
			a, _ := device.ParseAttribute(name)
			r, told := s.Context.Get(a)
			if r.At > q.Now || told && slices.Contains(whoIsThere, a) && r.At.Add(a.TTL(s.Class)) == until {
				return true
			}
		}
	}
	for _, m := range q.Home.Mutes {
		if m.Content != 0 && m.Until == until {
			return true
		}
	}
	zones := []*time.Location{q.Home.Zone}
	for _, z := range q.Home.Quiet {
		zones = append(zones, z.Clock)
	}
	for _, zone := range zones {
		if zone != nil {
			if start, _ := until.Time().In(zone).ZoneBounds(); device.At(start) == until {
				return true
			}
		}
	}
	if timed(q) {
		return true
	}
	future := len(q.Home.Shown) > 0 && q.Home.Shown[len(q.Home.Shown)-1].At > q.Now
	return future || until > q.Now.Add(hours(24*(ahead-1)))
}

// The samples reach every corner: each verdict, and each rule as the only reason.
func TestSamplesReachEveryRule(t *testing.T) {
	verdicts, alone := map[Verdict]int{}, map[string]int{}
	for seed := range 5000 {
		d := Decide(requests.Example(seed))
		verdicts[d.Verdict]++
		alone[d.Reasons.String()]++
	}
	for v := Refuse; v <= Show; v++ {
		if verdicts[v] < 500 {
			t.Errorf("only %d of 5000 samples %s", verdicts[v], v)
		}
	}
	for r, f := range book {
		if f != nil && alone[Rule(r).String()] < 20 {
			t.Errorf("only %d of 5000 samples fail by %s alone", alone[Rule(r).String()], Rule(r))
		}
	}
}

// anew asks a rule about a screen that is looked at again, because something has been changed there.
func anew(rule func(*Request) finding, q Request) finding {
	q.Scene = nil
	q.look()
	return rule(&q)
}

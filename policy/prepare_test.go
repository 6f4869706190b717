package policy

import (
	"fmt"
	"maps"
	"testing"

	"pgregory.net/rapid"

	"porchlight/device"
)

// decideBoth is Decide, asked about the home as it is, with what the screen is like looked at before, and about
// the same home prepared at three times.
func decideBoth(q Request) Decision {
	d := Decide(q)
	if parts(&q) != 0 {
		return d
	}
	scene := Look(q.Home, q.Screen, q.Now)
	looked := q
	looked.Scene = &scene
	if got := Decide(looked); got != d {
		panic(fmt.Sprintf("looked at before %+v, not looked at %+v\n%s", got, d, describe(q)))
	}
	if got, want := Watch(looked, d), Watch(q, d); got != want {
		panic(fmt.Sprintf("looked at before it is filed under %+v, not looked at under %+v\n%s", got, want, describe(q)))
	}
	h, m := *q.Home, *q.Message
	m.Prepare()
	for _, off := range []float64{0, 24 * 40, -24 * 200} {
		h.Prepare(q.Now.Add(hours(off)))
		if h.prepared() == nil {
			panic("not prepared")
		}
		p := q
		p.Home, p.Message = &h, &m
		if got := Decide(p); got != d {
			panic(fmt.Sprintf("prepared %+v, not prepared %+v\n%s", got, d, describe(q)))
		}
	}
	return d
}

// What was prepared is of one home as it was: a copy of it is judged by what it says itself, and so is a
// message that has become another.
func TestPreparedIsOfItself(t *testing.T) {
	q := good(device.TV)
	q.Home.Prepare(noon)
	q.Message.Prepare()
	if d := Decide(*q); d.Verdict != Show {
		t.Fatalf("prepared, it is judged %+v", d)
	}
	copied := *q.Home
	copied.Consents = maps.Clone(copied.Consents)
	copied.Consents[ConsentKey{0, grocer, Marketing}] = Stance{Choice: Refused}
	other := *q
	other.Home = &copied
	if d := Decide(other); d.Reasons.String() != "consent" {
		t.Errorf("a copy that has said no is judged %+v", d)
	}
	copied.Prepare(noon)
	if d := Decide(other); d.Reasons.String() != "consent" {
		t.Errorf("a prepared copy that has said no is judged %+v", d)
	}
	for field, edit := range map[string]func(*Message){
		"brand":    func(m *Message) { m.Brand = baker },
		"purpose":  func(m *Message) { m.Purpose = Service },
		"category": func(m *Message) { m.Category = "health" },
	} {
		m := *q.Message
		edit(&m)
		changed := *q
		changed.Message = &m
		if d := Decide(changed); d.Verdict == Show {
			t.Errorf("what was prepared with another %s is shown", field)
		}
	}
}

// What a screen is like is of that screen, its home and an instant: at another it is looked at anew.
func TestSceneIsOfItself(t *testing.T) {
	calm := good(device.TV)
	scene := Look(calm.Home, calm.Screen, calm.Now)
	for name, edit := range map[string]func(*Request){
		"another instant": func(q *Request) { q.Now = q.Now.Add(hours(11)) }, // at night
		"another screen": func(q *Request) {
			s := *q.Screen
			s.Context = nil
			q.Screen = &s
		},
		"another home": func(q *Request) {
			h := *q.Home
			h.Quiet = []Quiet{{}}
			q.Home = &h
		},
	} {
		q := *calm
		q.Scene = &scene
		if d := Decide(q); d.Verdict != Show {
			t.Fatalf("in its own scene it is judged %+v", d)
		}
		edit(&q)
		with := Decide(q)
		q.Scene = nil
		if without := Decide(q); with != without || without.Verdict == Show {
			t.Errorf("%s: judged %+v with a scene, %+v without", name, with, without)
		}
	}
}

// However much was said, by whomever, about whatever, all of it is found.
func TestPreparedFindsEveryWord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := &Home{Consents: map[ConsentKey]Stance{}}
		for i := range rapid.SampledFrom([]int{0, 1, 3, 64, 70}).Draw(t, "people") {
			h.People = append(h.People, Person{ID: device.PersonID(i*2 + 1)})
		}
		brands := rapid.SampledFrom([]int{0, 1, 2, 9, 300}).Draw(t, "brands")
		for i := range brands {
			for range rapid.IntRange(0, 3).Draw(t, "words") {
				who := device.PersonID(rapid.IntRange(0, 2*len(h.People)+2).Draw(t, "who"))
				h.Consents[ConsentKey{who, device.BrandID(fmt.Sprint("b", i)), Purpose(rapid.IntRange(0, 7).Draw(t, "purpose"))}] = Stance{
					Choice: aChoice.Draw(t, "choice"), Until: device.Instant(rapid.IntRange(0, 1).Draw(t, "until")) * noon.Add(hours(1)), Classes: ClassSet(rapid.IntRange(0, 5).Draw(t, "classes"))}
			}
		}
		bare := *h
		h.Prepare(noon)
		for i := range brands + 1 {
			for p := NoPurpose; p <= purposes; p++ {
				m := &Message{Brand: device.BrandID(fmt.Sprint("b", i)), Purpose: p}
				one, two := Request{Home: h, Screen: &Screen{Class: 2}, Message: m, Now: noon}, Request{Home: &bare, Screen: &Screen{Class: 2}, Message: m, Now: noon}
				one.prepare()
				two.prepare()
				for who := device.PersonID(0); who < device.PersonID(2*len(h.People)+3); who++ {
					c, until := one.stance(who, h.number(who))
					c2, until2 := two.stance(who, h.number(who))
					if c != c2 || until != until2 {
						t.Fatalf("person %d about %s, %s: prepared %s until %d, not prepared %s until %d", who, m.Brand, p, c, until, c2, until2)
					}
				}
			}
		}
	})
}

// Two brands of the same hash are two brands.
func TestPreparedTellsBrandsOfOneHashApart(t *testing.T) {
	var x index
	x.row(grocer, Marketing)
	other := offerKey{baker, Marketing}
	x.put(other.hash(), 0) // where the baker's row would be there is the grocer's
	if x.find(other, other.hash()) != nil {
		t.Error("what was said about the grocer is taken for what was said about the baker")
	}
	if x.find(offerKey{grocer, Marketing}, offerKey{grocer, Marketing}.hash()) == nil {
		t.Error("what was said about the grocer is lost")
	}
}

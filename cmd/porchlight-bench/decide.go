package main

import (
	"cmp"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"porchlight/device"
	"porchlight/policy"
)

// one is a decision to take: what our judge is asked, and the same facts as the peers get them. Theirs
// come prepared: readings that are fresh, people who are there, local time, and caps counted, all of
// which our judge works out by itself within its time.
type one struct {
	ask   policy.Request
	facts facts
}

// facts are one decision's inputs, flat.
type facts struct {
	Now, NotBefore, NotAfter int64
	Minute, Weekday          int // local

	Brand, Category, Purpose, ID string
	Forms                        []string
	Chars, Buttons               int
	Personal                     bool
	Condition                    int // which of conditions; 0: none

	Class, Owner       string // Owner "": everybody's
	ScreenForms        []string
	Inputs, MaxButtons int
	State              map[string]any // fresh readings of the screen
	Told               map[string]any // last readings of the screen
	Fridge, TV         map[string]any // fresh readings of the home's

	Alarm     bool
	Known     []string // people who are there
	Unknown   int
	Kinds     map[string]string // of everybody: adult, teen, child
	Consents  map[string]string // "person/brand/purpose": given, refused, withdrawn; person "": the home
	Mutes     []map[string]string
	Quiet     []quietFact
	Caps      []capFact
	Shown     []string
	Denied    []string // purposes that an app's signal rules out on this screen
	Complains []string // brands
}

type quietFact struct {
	Owner      string
	Start, End int
}

type capFact struct {
	Spacing bool
	Count   int
	Max     int
}

// conditions are those of the messages, in the language of brands.
var conditions = []string{
	"",
	`fridge.door.open && now.hour >= 8`,
	`tv.state in ["idle", "paused"] || fridge.door.open`,
	`!(now.weekday in ["sat", "sun"]) && now.time >= "07:30" && now.time < "21:00"`,
	`now.hour >= 12 ? fridge.temperature > 6.0 : fridge.door.open`,
}

var (
	floorCategories     = []string{"alcohol", "gambling"}
	sensitiveCategories = []string{"health", "debt"}
)

// decisions makes n of them, in as many homes, with 167 choices each.
func decisions(homes, n int, seed uint64) ([]one, error) {
	r := rand.New(rand.NewPCG(seed, 1))
	day := time.Date(2026, 6, 3, 0, 0, 0, 0, time.UTC) // a Wednesday
	zones := []*time.Location{}
	for _, name := range []string{"Europe/Zurich", "America/New_York", "Asia/Kathmandu"} {
		z, err := time.LoadLocation(name)
		if err != nil {
			return nil, err
		}
		zones = append(zones, z)
	}
	compiled := []*policy.Expression{nil}
	for _, text := range conditions[1:] {
		c, err := policy.ParseCondition(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", text, err)
		}
		compiled = append(compiled, c)
	}
	all := make([]*policy.Home, homes)
	nows := make([]device.Instant, homes)
	for i := range all {
		nows[i] = device.At(day.Add(time.Duration(r.IntN(7*24*60)) * time.Minute))
		all[i] = home(i, zones[i%len(zones)], nows[i], r)
		all[i].Prepare(nows[i])
	}
	list := make([]one, 0, n)
	for i := range n {
		h := i * homes / n // home by home, as the gateway judges
		list = append(list, decision(all[h], nows[h], message(i, nows[h], compiled, r), r))
	}
	slices.SortStableFunc(list, func(a, b one) int { // and screen by screen
		return cmp.Or(cmp.Compare(a.ask.Home.ID, b.ask.Home.ID), cmp.Compare(a.ask.Screen.ID, b.ask.Screen.ID))
	})
	return list, nil
}

const brands = 42

func brand(i int) device.BrandID { return device.BrandID(fmt.Sprint("brand-", i)) }

func home(i int, zone *time.Location, now device.Instant, r *rand.Rand) *policy.Home {
	h := &policy.Home{
		ID: device.HomeID(i + 1), Zone: zone,
		People:   []policy.Person{{ID: 1, Age: device.Adult}, {ID: 2, Age: device.Adult}, {ID: 3, Age: []device.Age{device.Adult, device.Adult, device.Teen, device.Child}[i%4]}},
		Consents: map[policy.ConsentKey]policy.Stance{},
		Mutes:    []policy.MuteRule{{Selector: policy.Selector{Brand: brand(7)}}, {Selector: policy.Selector{Category: "toys", Class: device.TV}}},
		Quiet:    []policy.Quiet{{Start: 22 * 60, End: 6*60 + 30}, {Start: 13 * 60, End: 14 * 60, Owner: 2}},
		Caps:     []policy.Cap{{Max: 3}, {Max: 10, Hours: 168}, {Each: true, Max: 1}, {Each: true, Max: 3, Hours: 168}, {Max: 1, Minutes: 45}},
		Moments:  []policy.Moment{policy.Film, policy.Call, policy.Sleep},
	}
	for b := range brands {
		for p := range device.PersonID(4) {
			if b == 0 && p == 3 {
				continue // 167
			}
			choice := policy.Given
			if n := r.IntN(20); n == 0 {
				choice = policy.Refused
			} else if n == 1 {
				choice = policy.Withdrawn
			}
			h.Consents[policy.ConsentKey{Subject: p, Brand: brand(b), Purpose: policy.Marketing}] = policy.Stance{Choice: choice}
		}
	}
	for k := range 8 {
		h.Shown = append(h.Shown, policy.Exposure{At: now.Add(-time.Duration(170-20*k) * time.Hour), Brand: brand(r.IntN(brands)), Message: messageID(1<<20 + k), Purpose: policy.Marketing, Device: "tv"})
	}
	if i%3 == 0 {
		h.Shown = append(h.Shown, policy.Exposure{At: now.Add(-20 * time.Minute), Brand: brand(r.IntN(brands)), Message: messageID(1<<20 + 9), Purpose: policy.Marketing, Device: "tv"})
	}
	if i%5 == 0 {
		h.Signals = []policy.Signal{{Device: "tv", Denied: 1 << policy.Research}}
	}
	add := func(id device.ID, c device.Class, room device.RoomID, owner device.PersonID, told map[device.Attribute]any) {
		ctx := &device.Context{}
		for a, v := range told {
			value, err := a.ValueOf(v)
			if err != nil {
				panic(err)
			}
			ctx.Set(a, value, now.Add(-2*time.Second))
		}
		h.Screens = append(h.Screens, &policy.Screen{
			ID: id, Class: c, Room: room, Owner: owner, Context: ctx,
			Can: device.Capabilities{Width: 1920, Height: 1080, Inputs: device.Touch, MaxButtons: 3, Duties: device.CanDim | device.CanMinimal, Forms: []device.Form{device.Toast, device.Panel, device.List}, Languages: []string{"en"}},
		})
	}
	who := []string{"1", "1 2", "2", "1 2 3", "1 3", ""}[i%6]
	tv := map[device.Attribute]any{device.PlayerState: []any{"idle", "playing", "paused"}[r.IntN(3)], device.Fullscreen: r.IntN(2) == 0, device.PowerState: "on"}
	if who != "" {
		tv[device.PresenceWho] = who
	}
	if i%7 == 0 {
		tv[device.PresenceCount] = 4.0
	}
	add("tv", device.TV, 1, 0, tv)
	add("car", device.Car, 2, 1, map[device.Attribute]any{device.Driving: []any{"parked", "moving", "idling"}[r.IntN(3)], device.SelectedGear: 126.0})
	fridge := map[device.Attribute]any{device.DoorOpen: r.IntN(2) == 0, device.Temperature: float64(r.IntN(10))}
	if i%2 == 0 {
		fridge[device.PresenceWho] = []string{"1", "2"}[r.IntN(2)]
	}
	add("fridge", device.Fridge, 3, 0, fridge)
	add("washer", device.Washer, 4, 0, map[device.Attribute]any{device.OperationalState: []any{"Stopped", "Running", "Paused"}[r.IntN(3)], device.PresenceCount: float64(r.IntN(2))})
	add("phone", device.Companion, 5, 1, map[device.Attribute]any{device.PowerState: "on", device.CallActive: r.IntN(4) == 0, device.DND: r.IntN(6) == 0})
	if i%40 == 0 {
		h.Alarm = true
	}
	if i%3 == 0 {
		h.Complaints = []policy.Complaint{{Brand: brand(5), At: now.Add(-time.Hour)}, {Brand: brand(r.IntN(brands)), At: now.Add(-time.Hour)}}
	}
	return h
}

func messageID(n int) (id device.MessageID) {
	copy(id[:], fmt.Sprintf("%016d", n))
	return id
}

func message(i int, now device.Instant, compiled []*policy.Expression, r *rand.Rand) *policy.Message {
	m := &policy.Message{
		ID: messageID(i), Brand: brand(r.IntN(brands)), Sender: "Grocer", Purpose: policy.Marketing,
		Category: []string{"dairy", "toys", "bread", "wine-shop", "alcohol", "health", "cheese", "dairy"}[r.IntN(8)],
		Forms:    []device.Form{device.Toast, device.List}, Texts: []policy.MessageText{{Language: "en", Title: "Fresh", Body: "Mountain milk is 1.20 today."}, {Language: "de", Body: "Bergmilch heute 1.20."}},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(5 * time.Hour), Value: 0.5,
	}
	switch r.IntN(12) {
	case 0:
		m.Forms = []device.Form{device.FullScreen}
	case 1:
		m.NotBefore = now.Add(time.Minute)
	case 2:
		m.NotAfter = now
	case 3:
		m.Audience = policy.Personal
	case 4:
		m.Purpose = policy.Personalised
	case 5:
		m.Buttons = []policy.Button{{ID: 1, Labels: []string{"yes", "ja"}}}
	case 6:
		m.Purpose = policy.Research
	case 7:
		m.Texts[0].Body = strings.Repeat("long ", 20)
	}
	if i%2 == 0 {
		m.Condition = compiled[1+r.IntN(len(compiled)-1)]
	}
	return m
}

func decision(h *policy.Home, now device.Instant, m *policy.Message, r *rand.Rand) one {
	if r.IntN(30) == 0 {
		m.ID = h.Shown[r.IntN(len(h.Shown))].Message
	}
	s := h.Screens[r.IntN(len(h.Screens))]
	q := policy.Request{Home: h, Screen: s, Message: m, Now: now}
	m.Prepare()
	return one{q, flat(&q)}
}

func person(id device.PersonID) string {
	if id == device.Household {
		return ""
	}
	return fmt.Sprint(id)
}

// flat is what the peers are handed.
func flat(q *policy.Request) facts {
	h, s, m := q.Home, q.Screen, q.Message
	local := time.UnixMilli(int64(q.Now)).In(h.Zone)
	f := facts{
		Now: int64(q.Now), NotBefore: int64(m.NotBefore), NotAfter: int64(m.NotAfter), Minute: local.Hour()*60 + local.Minute(), Weekday: int(local.Weekday()),
		Brand: string(m.Brand), Category: m.Category, Purpose: m.Purpose.String(), ID: m.ID.String(), Buttons: len(m.Buttons), Personal: m.Audience == policy.Personal,
		Class: s.Class.String(), Owner: person(s.Owner), Inputs: int(s.Can.Inputs), MaxButtons: int(s.Can.MaxButtons), Alarm: h.Alarm,
		Chars: len([]rune(m.Texts[0].Title)) + len([]rune(m.Texts[0].Body)), // every screen speaks English
		State: map[string]any{}, Told: map[string]any{}, Fridge: map[string]any{}, TV: map[string]any{}, Kinds: map[string]string{}, Consents: map[string]string{},
	}
	for i, text := range conditions {
		if i > 0 && m.Condition != nil && m.Condition.String() == text {
			f.Condition = i
		}
	}
	for _, form := range m.Forms {
		f.Forms = append(f.Forms, form.String())
	}
	for _, form := range s.Can.Forms {
		f.ScreenForms = append(f.ScreenForms, form.String())
	}
	read := func(s *policy.Screen, fresh, told map[string]any) {
		for a := range device.AttributesOf(0) {
			name := a.String()
			if v, _, ok := s.Context.Fresh(s.Class, a, q.Now); ok {
				fresh[name] = plain(a, v)
			}
			if told != nil {
				if v, ok := s.Context.Get(a); ok {
					told[name] = plain(a, v.Value)
				}
			}
		}
	}
	read(s, f.State, f.Told)
	for _, o := range h.Screens {
		switch o.Class {
		case device.Fridge:
			read(o, f.Fridge, nil)
		case device.TV:
			read(o, f.TV, nil)
		}
	}
	there := policy.Present(h, s, q.Now)
	for i, p := range h.People {
		if there.Known&(1<<i) != 0 {
			f.Known = append(f.Known, person(p.ID))
		}
		f.Kinds[person(p.ID)] = p.Age.String()
	}
	f.Unknown = max(there.Unknown, bits.OnesCount64(there.Past))
	for k, v := range h.Consents {
		f.Consents[person(k.Subject)+"/"+string(k.Brand)+"/"+k.Purpose.String()] = v.Choice.String()
	}
	for _, mu := range h.Mutes {
		sel := map[string]string{}
		if mu.Brand != "" {
			sel["brand"] = string(mu.Brand)
		}
		if mu.Category != "" {
			sel["category"] = mu.Category
		}
		if mu.Class != 0 {
			sel["class"] = mu.Class.String()
		}
		f.Mutes = append(f.Mutes, sel)
	}
	for _, z := range h.Quiet {
		f.Quiet = append(f.Quiet, quietFact{person(z.Owner), z.Start, z.End})
	}
	for _, c := range h.Caps {
		f.Caps = append(f.Caps, capFact{c.Minutes > 0, counted(q, &c), c.Max})
	}
	for _, e := range h.Shown {
		f.Shown = append(f.Shown, e.Message.String())
	}
	for _, g := range h.Signals {
		for p := policy.Service; p.Known(); p++ {
			if g.Device == s.ID && g.Denied&(1<<p) != 0 {
				f.Denied = append(f.Denied, p.String())
			}
		}
	}
	for _, c := range h.Complaints {
		f.Complains = append(f.Complains, string(c.Brand))
	}
	return f
}

func counted(q *policy.Request, c *policy.Cap) (n int) {
	from := q.Now.Add(-time.Duration(c.Hours)*time.Hour - time.Duration(c.Minutes)*time.Minute)
	if c.Hours == 0 && c.Minutes == 0 {
		t := time.UnixMilli(int64(q.Now)).In(q.Home.Zone)
		from = device.At(time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, q.Home.Zone)) - 1
	}
	for _, e := range q.Home.Shown {
		if e.At > from && (!c.Each || e.Brand == q.Message.Brand) {
			n++
		}
	}
	return n
}

func plain(a device.Attribute, v device.Value) any {
	switch v.Kind {
	case device.Bool:
		return v.Num == 1
	case device.Number:
		return v.Num
	}
	return a.Show(v)
}

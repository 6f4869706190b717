package delivery

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"porchlight/device"
	"porchlight/device/twin"
	"porchlight/policy"
)

// drive is a home without tables and connections: the judge, the index, and a trace of what happens, second
// by second.
type drive struct {
	desk  *Desk
	h     *home
	trace []happening // in the order of time
	from  device.Instant
	to    device.Instant

	first  []firstShow
	prompt bool // what is told is judged before the next is
	events int  // of the trace that told something
	told   int  // decisions because of them
	byAll  int  // decisions, if each of them has had everything judged that was not shown yet
	woken  int  // times that the clock has woken something that waits for nothing else
	clocks map[*pair]bool
}

type firstShow struct {
	at device.Instant
	m  device.MessageID
	s  device.ID
}

// happening is something that happens in a home.
type happening struct {
	at device.Instant
	do func(d *drive)
}

func newDrive(zone *time.Location, from device.Instant, long time.Duration) *drive {
	h := &home{id: 1, screens: map[device.ID]*screen{}}
	h.view = policy.Home{ID: 1, Zone: zone, Consents: map[policy.ConsentKey]policy.Stance{}, Moments: DefaultMoments()}
	return &drive{desk: &Desk{hall: &hall{}}, h: h, from: from, to: from.Add(long), clocks: map[*pair]bool{}}
}

func (d *drive) screen(id device.ID, c device.Class, room device.RoomID, owner device.PersonID) *screen {
	s := &screen{Device: device.Device{ID: id, Class: c, Room: room, Owner: owner}}
	s.context.Class = c
	s.view = policy.Screen{ID: id, Class: c, Room: room, Owner: owner, Context: &s.context, Can: device.Capabilities{
		Inputs: device.Remote, MaxButtons: 3, Languages: []string{"en"}, Forms: []device.Form{device.Badge, device.List, device.Toast, device.Panel}}}
	d.h.screens[id] = s
	d.h.view.Screens = append(d.h.view.Screens, &s.view)
	return s
}

func (d *drive) at(t device.Instant, do func(d *drive)) {
	d.trace = append(d.trace, happening{t, do})
}

// tells is a report of a screen.
func (d *drive) tells(t device.Instant, id device.ID, values map[string]any) {
	d.at(t, func(d *drive) {
		s := d.h.screens[id]
		order := lastOfPresence(&s.context)
		changed, _ := twin.Report(&s.context, s.Class, values, t, t, false)
		if order != lastOfPresence(&s.context) {
			changed |= presence
		}
		if changed != 0 {
			d.events++
			for _, p := range d.h.pairs {
				if !d.shown(p.m.ID) && t < p.m.NotAfter {
					d.byAll++
				}
			}
			d.h.pending.told(s, changed)
			if d.prompt {
				was := d.desk.count.judged.Load()
				d.turn(t)
				d.told += int(d.desk.count.judged.Load() - was)
			}
		}
	})
}

// sends is a message that comes.
func (d *drive) sends(t device.Instant, m *policy.Message) {
	m.Seq = int64(len(d.trace))
	d.at(t, func(d *drive) {
		for _, sv := range d.h.view.Screens {
			d.h.pairs = append(d.h.pairs, &pair{m: m, s: d.h.screens[sv.ID]})
		}
		d.h.pending.pair(d.h.pairs)
	})
}

func (d *drive) shown(id device.MessageID) bool {
	return slices.ContainsFunc(d.first, func(f firstShow) bool { return f.m == id })
}

// show puts p on its screen, for twenty seconds.
func (d *drive) show(p *pair, now device.Instant) {
	d.first = append(d.first, firstShow{now, p.m.ID, p.s.ID})
	d.h.view.Shown = append(d.h.view.Shown, policy.Exposure{At: now, Brand: p.m.Brand, Message: p.m.ID, Purpose: p.m.Purpose, Category: p.m.Category,
		Device: p.s.ID, Open: true, Unknown: true, Thread: p.m.Thread})
	d.h.pending.showed(false)
	id := p.m.ID
	over := happening{now.Add(20 * time.Second), func(d *drive) {
		i := slices.IndexFunc(d.h.view.Shown, func(e policy.Exposure) bool { return e.Message == id })
		if released := id[15]%5 == 0; released {
			d.h.view.Shown = slices.Delete(d.h.view.Shown, i, i+1)
			d.h.pending.showed(true)
		} else {
			e := &d.h.view.Shown[i]
			e.Open, e.Ended, e.Reaction = false, e.At.Add(20*time.Second), policy.Reaction(1+id[15]%4)
			d.h.pending.showed(false)
		}
	}}
	at, _ := slices.BinarySearchFunc(d.trace, over.at+1, func(h happening, t device.Instant) int { return cmp.Compare(h.at, t) })
	d.trace = slices.Insert(d.trace, at, over)
}

// happens does what is due.
func (d *drive) happens(now device.Instant) {
	for len(d.trace) > 0 && d.trace[0].at <= now {
		do := d.trace[0].do
		d.trace = d.trace[1:]
		do(d)
	}
}

// stepped judges everything at every second, and knows nothing of any index.
func (d *drive) stepped() []firstShow {
	for now := d.from; now < d.to; now += 1000 {
		d.happens(now)
		for again := true; again; {
			again = false
			for _, p := range d.h.pairs {
				if now < p.m.NotAfter && !d.shown(p.m.ID) && policy.Decide(policy.Request{Home: &d.h.view, Screen: &p.s.view, Message: p.m, Now: now}).Verdict == policy.Show {
					d.show(p, now)
					again = true
				}
			}
		}
	}
	return d.first
}

// turn judges what is woken, and shows what may be shown.
func (d *drive) turn(now device.Instant) {
	for {
		d.desk.wake(d.h, &turn{now: now})
		d.h.all = false
		any := false
		for _, p := range slices.Clone(d.h.pending.shows) {
			if any && !d.shown(p.m.ID) {
				d.desk.judgePair(d.h, p, &turn{now: now})
			}
			if p.decision.Verdict == policy.Show && !d.shown(p.m.ID) && now < p.m.NotAfter {
				d.show(p, now)
				any = true
			}
		}
		if !any && len(d.h.pending.woken) == 0 {
			return
		}
	}
}

// slept judges what is woken, when it is woken.
func (d *drive) slept() []firstShow {
	for now := d.from; now < d.to; {
		d.happens(now)
		for _, p := range d.h.pending.due {
			if p.filed.due <= now && !p.file.reads.Told() && p.decision.Verdict == policy.Hold && now < p.m.NotAfter {
				d.clocks[p] = true
				d.woken++
			}
		}
		d.turn(now)
		next := d.to
		if len(d.trace) > 0 {
			next = min(next, d.trace[0].at)
		}
		if t := d.h.pending.next(); t != 0 {
			next = min(next, t)
		}
		now = max(now+1000, (next+999)/1000*1000)
	}
	return d.first
}

var driveNights = []struct{ zone, from string }{
	{"Europe/Zurich", "2026-06-10T06:30:00+02:00"}, {"Europe/Zurich", "2026-03-29T00:30:00Z"}, {"Europe/Zurich", "2026-10-25T00:00:00Z"},
	{"Australia/Lord_Howe", "2026-10-03T14:00:00Z"}, {"Pacific/Apia", "2011-12-30T09:00:00Z"}, {"America/Havana", "2026-11-01T04:00:00Z"},
}

// randomDrive is a home with people, wishes, messages, and two hours of what happens in it.
func randomDrive(t testing.TB, seed uint64) *drive {
	r := rand.New(rand.NewPCG(seed, 7))
	some := func(percent int) bool { return r.IntN(100) < percent }
	where := driveNights[seed%uint64(len(driveNights))]
	zone, err := time.LoadLocation(where.zone)
	if err != nil {
		t.Fatal(err)
	}
	began, err := time.Parse(time.RFC3339, where.from)
	if err != nil {
		t.Fatal(err)
	}
	const long = 2 * time.Hour
	d := newDrive(zone, device.At(began), long)
	d.h.view.People = []policy.Person{{ID: 1, Age: device.Adult}, {ID: 2, Age: device.Adult}, {ID: 3, Age: []device.Age{device.Child, device.Teen, device.Adult}[r.IntN(3)]}}
	d.screen("tv01", device.TV, 1, device.Household)
	d.screen("wall", device.Display, 1, device.Household)
	d.screen("cold", device.Fridge, 2, device.Household)
	d.screen("phone", device.Companion, device.RoomID(r.IntN(2)), 1)
	if some(50) {
		d.screen("car01", device.Car, 0, device.Household)
	}
	whoever := func() device.PersonID { return device.PersonID(max(0, r.IntN(6)-2)) }
	soon := func() device.Instant { return d.from.Add(time.Duration(r.IntN(int(long/time.Second))) * time.Second) }
	brands := []device.BrandID{"a", "b", "c"}
	for _, b := range brands {
		for p := device.PersonID(0); p < 4; p++ {
			s := policy.Stance{Choice: policy.Given}
			switch {
			case p != 0 && some(4):
				s.Choice = policy.Refused
			case p != 0 && some(8):
				s.Choice = policy.Silent
			case some(10):
				s.Until = soon()
			}
			d.h.view.Consents[policy.ConsentKey{Subject: p, Brand: b, Purpose: policy.Marketing}] = s
			d.h.view.Consents[policy.ConsentKey{Subject: p, Brand: b, Purpose: policy.Service}] = s
			d.h.view.Consents[policy.ConsentKey{Subject: p, Brand: b, Purpose: policy.Context}] = s
		}
	}
	if some(70) {
		d.h.view.Caps = []policy.Cap{{Max: 5 + r.IntN(5), Hours: 1}, {Each: true, Max: 1, Minutes: 5 + r.IntN(10)}, {Max: 1, Minutes: 2, Owner: whoever()}}
	}
	if some(30) {
		d.h.view.Caps = append(d.h.view.Caps, policy.Cap{Max: 4 + r.IntN(10)})
	}
	minutes := func() int {
		return d.from.Add(time.Duration(r.IntN(12))*15*time.Minute).Time().In(zone).Hour()*60 + 15*r.IntN(4)
	}
	for range r.IntN(3) {
		start := minutes()
		d.h.view.Quiet = append(d.h.view.Quiet, policy.Quiet{Start: start, End: (start + 15 + 15*r.IntN(4)) % 1440, Owner: whoever()})
	}
	for range r.IntN(3) {
		d.h.view.Mutes = append(d.h.view.Mutes, policy.MuteRule{Selector: policy.Selector{Brand: brands[r.IntN(3)]}, Owner: whoever(), Until: soon()})
	}
	conditions := driveConditions(t)
	for i := range 30 {
		sent := soon()
		if i < 4 {
			sent = d.from
		}
		m := &policy.Message{ID: device.MessageID{0: byte(seed), 15: byte(i + 1)}, Brand: brands[r.IntN(3)], Sender: "S", Purpose: []policy.Purpose{policy.Marketing, policy.Service}[r.IntN(2)],
			Category: []string{"dairy", "dairy", "dairy", "dairy", "health", "wine"}[r.IntN(6)], Forms: []device.Form{device.List}, Texts: []policy.MessageText{{Language: "en", Body: "Milk."}}, NotAfter: sent.Add(time.Duration(5+r.IntN(60)) * time.Minute)}
		if some(25) {
			m.NotBefore = sent.Add(time.Duration(r.IntN(1200)) * time.Second)
		}
		if some(20) {
			m.Audience = policy.Personal
		}
		switch {
		case some(20):
			m.When = []policy.Predicate{{Class: device.Fridge, Attribute: device.DoorOpen, Op: policy.EQ, Value: device.Value{Kind: device.Bool, Num: 1}}}
		case some(40) && len(conditions) > 0:
			m.Condition = conditions[r.IntN(len(conditions))]
		}
		if some(20) {
			m.Journey, m.Step = "j", 1+i%3
		}
		if some(15) {
			m.Dedupe = "k"
		}
		d.sends(sent, m)
	}
	// Every device tells again and again how it is, and sometimes does not.
	for _, sv := range d.h.view.Screens {
		id, s := sv.ID, d.h.screens[sv.ID]
		every := 20 + r.IntN(60)
		if s.Class == device.Car {
			every = 4
		}
		state := map[string]any{}
		for a, v := range calm[s.Class] {
			state[a] = v
		}
		for at := r.IntN(every); at < int(long/time.Second); at += every {
			now := d.from.Add(time.Duration(at) * time.Second)
			if some(3) {
				at += r.IntN(1200) // a gap
			}
			if some(12) || s.Class != device.Car && some(12) {
				for range 1 + r.IntN(2) {
					a, v := driveValue(s.Class, r)
					state[a] = v
				}
			}
			told := map[string]any{}
			for a, v := range state {
				if a != "alarm" || v == true {
					told[a] = v
				}
			}
			if some(3) {
				state = map[string]any{}
				for a, v := range calm[s.Class] {
					state[a] = v
				}
			}
			d.tells(now, id, told)
		}
		if some(30) {
			d.at(soon(), func(d *drive) { s.context.Stale(); d.h.all = true })
		}
	}
	for range r.IntN(3) {
		b, on := brands[r.IntN(3)], some(50)
		d.at(soon(), func(d *drive) {
			c := policy.Withdrawn
			if on {
				c = policy.Given
			}
			d.h.view.Consents[policy.ConsentKey{Subject: device.Household, Brand: b, Purpose: policy.Marketing}] = policy.Stance{Choice: c}
			d.h.all = true
		})
	}
	slices.SortStableFunc(d.trace, func(a, b happening) int { return cmp.Compare(a.at, b.at) })
	return d
}

// driveConditions are conditions whose answers come and go with facts and the clock.
func driveConditions(t testing.TB) (all []*policy.Expression) {
	for _, text := range []string{
		"fridge.door.open && fridge.door.open.since >= 120", "tv.state in ['idle', 'paused'] && tv.state.since >= 300", "screen.power.state == 'on' && screen.power.state.since >= 1500",
		"now.hour in [1, 3, 7, 9, 23] && fridge.door.open.since > 60", "tv.state == 'idle' && (now.hour < 2 || now.hour >= 4)", "now.weekday in ['sat', 'sun'] && fridge.power.state == 'on'",
		"presence.count >= 1", "presence.count == 1 && screen.power.state != 'off'", "!(tv.state == 'playing') && now.time > '02:30'", "fridge.door.open ? tv.state.since > 30 : now.hour == 3",
		"fridge.door.open.since >= 600 && tv.state.since >= 240 && tv.state.since < 900",
	} {
		c, err := policy.ParseCondition(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		all = append(all, c)
	}
	return all
}

func driveValue(c device.Class, r *rand.Rand) (string, any) {
	type told struct {
		a string
		v any
	}
	all := []told{{"presence.who", ""}, {"presence.who", "1"}, {"presence.who", "1"}, {"presence.who", "1 2"}, {"presence.who", "3"}, {"presence.count", 0.0}, {"presence.count", 2.0},
		{"room.occupancy", true}, {"room.occupancy", false}, {"dnd", true}, {"dnd", false}}
	switch c {
	case device.TV:
		all = append(all, told{"state", "playing"}, told{"state", "idle"}, told{"full_screen", true}, told{"full_screen", false}, told{"state", "playing"}, told{"state", "paused"})
	case device.Fridge:
		all = append(all, told{"door.open", true}, told{"door.open", false}, told{"door.open", true}, told{"temperature", 7.0})
	case device.Companion:
		all = append(all, told{"sleeping", true}, told{"sleeping", false}, told{"call.active", true}, told{"call.active", false})
	case device.Car:
		all = []told{{"ux.driving", "parked"}, {"ux.driving", "parked"}, {"ux.driving", "moving"}, {"Vehicle.Speed", 0.0}}
	}
	one := all[r.IntN(len(all))]
	return one.a, one.v
}

// What is judged only when it is woken is shown in the same second as if everything were judged at every
// second: in homes at random, on nights on which clocks change, and what waits for nothing but the clock is
// woken twice at most, on average.
func TestWokenInTime(t *testing.T) {
	homes := uint64(6)
	switch {
	case os.Getenv("PORCHLIGHT_LONG") != "":
		homes = 300
	case raced:
		homes = 1
	}
	var shown, judged, stepped, woken, clocks int
	for seed := range homes {
		d, ref := randomDrive(t, seed), randomDrive(t, seed)
		got, want := d.slept(), ref.stepped()
		if !slices.Equal(got, want) {
			t.Fatalf("home %d: shown\n%s, judged at every second\n%s", seed, listShows(got), listShows(want))
		}
		shown += len(got)
		judged += int(d.desk.count.judged.Load())
		stepped += len(ref.h.pairs) * int((ref.to-ref.from)/1000)
		woken += d.woken
		clocks += len(d.clocks)
	}
	t.Logf("%d homes: %d messages shown; %d decisions, %d at every second; %d waited for the clock alone and were woken %d times", homes, shown, judged, stepped, clocks, woken)
	if shown == 0 || clocks == 0 {
		t.Error("the test has seen nothing")
	}
	if woken > 2*clocks {
		t.Errorf("what waits for the clock alone was woken %.1f times on average", float64(woken)/float64(clocks))
	}
}

func listShows(all []firstShow) string {
	s := ""
	for _, f := range all {
		s += fmt.Sprintf("  %s message %d on %s\n", f.at.Time().Format(time.RFC3339), f.m[15], f.s)
	}
	return s
}

// recorded is one row of a recording of a home: a sensor that was on from one second to another.
type recorded struct {
	from, to time.Time
	sensor   string
}

// recording reads the recording that PORCHLIGHT_TRACE names: a line of heads, then from, to and the sensor,
// with tabs between. Without it, it makes one up: fourteen days of one person who lives alone.
func recording(t testing.TB, zone *time.Location) (all []recorded) {
	if name := os.Getenv("PORCHLIGHT_TRACE"); name != "" {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(strings.TrimSpace(string(raw)), "\n")[1:] {
			cells := strings.Split(line, "\t")
			if len(cells) < 3 {
				t.Fatalf("%s, row %d: %q", name, i+2, line)
			}
			from, err := time.ParseInLocation(time.DateTime, strings.TrimSpace(cells[0]), zone)
			to, errTo := time.ParseInLocation(time.DateTime, strings.TrimSpace(cells[1]), zone)
			if err != nil || errTo != nil {
				t.Fatalf("%s, row %d: %v %v", name, i+2, err, errTo)
			}
			all = append(all, recorded{from, to, strings.TrimSpace(cells[2])})
		}
		return all
	}
	r := rand.New(rand.NewPCG(14, 408))
	day := time.Date(2026, 3, 20, 0, 0, 0, 0, zone) // the clocks change on the tenth
	for range 14 {
		at := day.Add(time.Duration(r.IntN(120)) * time.Minute)
		add := func(pause, long time.Duration, sensor string) {
			at = at.Add(pause/2 + time.Duration(r.Int64N(int64(pause))))
			end := at.Add(1 + long/2 + time.Duration(r.Int64N(int64(long)))).Truncate(time.Second)
			all = append(all, recorded{at.Truncate(time.Second), end, sensor})
			at = end
		}
		add(time.Minute, 8*time.Hour, "Bed")
		for range 6 {
			add(3*time.Minute, time.Minute, []string{"Basin", "Toilet", "Shower", "Cabinet"}[r.IntN(4)])
		}
		for range 3 {
			for range 2 {
				add(4*time.Minute, 15*time.Second, []string{"Fridge", "Fridge", "Cupboard"}[r.IntN(3)])
				add(time.Minute, 2*time.Minute, []string{"Microwave", "Toaster", "Cooktop"}[r.IntN(3)])
			}
			add(10*time.Minute, 70*time.Minute, "Seat")
			add(5*time.Minute, time.Minute, []string{"Basin", "Toilet"}[r.IntN(2)])
		}
		add(20*time.Minute, 10*time.Second, "Maindoor")
		day = day.AddDate(0, 0, 1)
	}
	return all
}

// recordedDrive is a home in which a recording happens, with more messages than it wants, and all devices
// telling again and again how they are.
func recordedDrive(t testing.TB) *drive {
	zone, err := time.LoadLocation("Europe/Madrid")
	if err != nil {
		t.Fatal(err)
	}
	rows := recording(t, zone)
	from := device.At(rows[0].from.Truncate(time.Hour))
	last := slices.MaxFunc(rows, func(a, b recorded) int { return a.to.Compare(b.to) })
	d := newDrive(zone, from, last.to.Sub(from.Time())+time.Hour)
	h := &d.h.view
	h.People = []policy.Person{{ID: 1, Age: device.Adult}}
	h.Caps = DefaultCaps()
	h.Quiet = []policy.Quiet{{Start: 23 * 60, End: 8 * 60}}
	d.screen("tv01", device.TV, 1, device.Household)
	d.screen("cold", device.Fridge, 2, device.Household)
	d.screen("heat", device.Oven, 2, device.Household)
	d.screen("bath", device.Display, 3, device.Household)
	d.screen("phone", device.Companion, 4, 1)
	tells := map[string]struct {
		screen  device.ID
		on, off map[string]any
	}{
		"Seat":   {"tv01", map[string]any{"state": "playing", "full_screen": true, "presence.who": "1", "presence.count": 1}, map[string]any{"state": "idle", "full_screen": false, "presence.who": "", "presence.count": 0}},
		"Bed":    {"phone", map[string]any{"sleeping": true}, map[string]any{"sleeping": false}},
		"Fridge": {"cold", map[string]any{"door.open": true, "presence.who": "1"}, map[string]any{"door.open": false, "presence.who": ""}},
	}
	kitchen, bath := tells["Fridge"], tells["Fridge"]
	kitchen.screen, kitchen.on, kitchen.off = "heat", map[string]any{"OperationalState": "Running", "presence.who": "1"}, map[string]any{"OperationalState": "Stopped", "presence.who": ""}
	bath.screen, bath.on, bath.off = "bath", map[string]any{"room.occupancy": true}, map[string]any{"room.occupancy": false}
	state := map[device.ID]map[string]any{"phone": {"sleeping": false, "call.active": false}, "bath": {"room.occupancy": false, "power.state": "on"}}
	for _, x := range []device.ID{"tv01", "cold", "heat"} {
		for _, what := range tells {
			if what.screen == x {
				state[x] = what.off
			}
		}
	}
	state["heat"] = map[string]any{"OperationalState": "Stopped", "presence.who": "", "alarm": false}
	for _, row := range rows {
		what, ok := tells[row.sensor]
		if !ok {
			switch row.sensor {
			case "Microwave", "Toaster", "Cooktop":
				what = kitchen
			default:
				what = bath
			}
		}
		d.tells(device.At(row.from), what.screen, what.on)
		d.tells(device.At(row.to), what.screen, what.off)
	}
	slices.SortStableFunc(d.trace, func(a, b happening) int { return cmp.Compare(a.at, b.at) })
	// Every half minute all devices tell again what they told last.
	for at := from; at < d.to; at = at.Add(30 * time.Second) {
		d.at(at, func(d *drive) {
			for _, sv := range h.Screens {
				s := d.h.screens[sv.ID]
				values := map[string]any{}
				for a, v := range state[sv.ID] {
					attribute, _ := device.ParseAttribute(a)
					if r, told := s.context.Get(attribute); told {
						s.context.Set(attribute, r.Value, at)
					} else {
						values[a] = v
					}
				}
				if len(values) > 0 {
					changed, _ := twin.Report(&s.context, s.Class, values, at, at, false)
					d.h.pending.told(s, changed)
				}
			}
		})
	}
	r := rand.New(rand.NewPCG(1, 2))
	conditions := []string{"", "", "fridge.door.open", "tv.state == 'idle' && tv.state.since >= 300", "oven.OperationalState == 'Stopped' && now.hour >= 18", ""}
	n := 0
	for at := from; at < d.to; at = at.Add(4 * time.Hour) {
		n++
		brand := device.BrandID(fmt.Sprint("brand-", r.IntN(8)))
		h.Consents[policy.ConsentKey{Subject: device.Household, Brand: brand, Purpose: policy.Marketing}] = policy.Stance{Choice: policy.Given}
		h.Consents[policy.ConsentKey{Subject: 1, Brand: brand, Purpose: policy.Marketing}] = policy.Stance{Choice: policy.Given}
		m := &policy.Message{ID: device.MessageID{0: byte(n >> 8), 14: byte(n), 15: byte(1 + 5*r.IntN(40))}, Brand: brand, Sender: "S", Purpose: policy.Marketing, Category: "dairy", Forms: []device.Form{device.List},
			Texts: []policy.MessageText{{Language: "en", Body: "Milk."}}, NotAfter: at.Add(time.Duration(12+r.IntN(60)) * time.Hour)}
		if text := conditions[r.IntN(len(conditions))]; text != "" {
			if m.Condition, err = policy.ParseCondition(text); err != nil {
				t.Fatal(err)
			}
		}
		d.sends(at, m)
	}
	slices.SortStableFunc(d.trace, func(a, b happening) int { return cmp.Compare(a.at, b.at) })
	return d
}

// Over a fortnight in a home, what is told wakes few messages: at most a tenth of the decisions that there
// would be if everything that waits were judged whenever something changes.
func TestFewAreWoken(t *testing.T) {
	d := recordedDrive(t)
	d.prompt = true
	shown := d.slept()
	judged := int(d.desk.count.judged.Load())
	t.Logf("%d changes of context, %d messages, %d shown; %d decisions, %.2f for each change, %d (%.1f %%) of the %d of judging all that waits at each change",
		d.events, len(d.h.pairs)/len(d.h.view.Screens), len(shown), judged, float64(d.told)/float64(d.events), d.told, 100*float64(d.told)/float64(d.byAll), d.byAll)
	if d.events < 500 || len(shown) < 10 {
		t.Error("the test has seen nothing")
	}
	if 10*d.told > d.byAll {
		t.Errorf("%d decisions because of what was told, want at most a tenth of %d", d.told, d.byAll)
	}
}

// everything has everything judged anew in every home, every few seconds until stop, as if there were no index.
func (w *world) everything(every time.Duration) (now, stop func()) {
	now = func() {
		w.desk.mu.Lock()
		homes := slices.Collect(maps.Values(w.desk.homes))
		w.desk.mu.Unlock()
		for _, h := range homes {
			h.mu.Lock()
			h.all = true
			h.mu.Unlock()
			w.desk.queue.put(h)
		}
	}
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-end:
				return
			case <-tick.C:
				now()
			}
		}
	}()
	return now, func() { close(end); <-ended }
}

// overslept finds a pair that is filed under what has changed: judged now, it comes out otherwise. Nothing
// else is left to do.
func (h *house) overslept() (what string) {
	h.t.Helper()
	h.pass(8 * time.Millisecond) // what was due a moment ago is done
	h.must(h.desk.in(1, func(mem *home) error {
		now := h.now()
		for _, p := range mem.pairs {
			d := policy.Decide(policy.Request{Home: &mem.view, Screen: &p.s.view, Message: p.m, Now: now})
			soon := p.filed.due != 0 && p.filed.due > now-10 && p.filed.due <= now // the hall takes a breath of 5 ms
			if (d.Verdict == policy.Show) != (p.decision.Verdict == policy.Show) && !soon {
				what = fmt.Sprintf("at %s message %d is judged on %s: %s for %q; and is filed: %s for %q, under %+v until %s", now, slices.Index(h.order, p.m.ID), p.s.ID,
					d.Verdict, d.Reasons, p.decision.Verdict, p.decision.Reasons, p.file.reads, p.filed.due)
			}
		}
		return nil
	}))
	return what
}

// renews has every device that is connected tell again what it last told.
func (h *house) renews() {
	for _, n := range h.hands {
		if !n.online() {
			continue
		}
		values := map[string]any{}
		h.must(h.desk.in(1, func(mem *home) error {
			c := &mem.screens[n.id].context
			for _, name := range device.AttributeNames(n.class) {
				a, _ := device.ParseAttribute(name)
				switch r, told := c.Get(a); {
				case !told:
				case r.Value.Kind == device.Bool:
					values[name] = r.Value.Num == 1
				case r.Value.Kind == device.Number:
					values[name] = r.Value.Num
				default:
					values[name] = a.Show(r.Value)
				}
			}
			return nil
		}))
		n.tell(values)
	}
}

// Whole homes at random show the same messages on the same screens in the same second, whether what is
// woken is judged or everything is, all the time.
func TestIndexChangesNothing(t *testing.T) {
	homes := 4
	switch {
	case os.Getenv("PORCHLIGHT_LONG") != "":
		homes = 300
	case raced:
		homes = 1
	}
	var shown int
	var judged [2]int64
	for seed := range homes {
		r := rand.New(rand.NewPCG(uint64(seed), 3))
		var steps []dice
		for len(steps) < 60 { // mostly what has messages wait: quiet time, caps, people, films; and time
			kind := []int{0, 1, 2, 3, 3, 5, 9, 9, 10, 11, 12, 14, 15, 15, 15, 16, 17, 18, 18, 23, 23, 25, 5, 0, 1, 9, 15}[r.IntN(27)]
			steps = append(steps, dice(kind+kinds*r.IntN(1<<34)))
		}
		var shows [2]map[int]show
		for i := range shows {
			inWorldOf(t, func(w *world) {
				var last atomic.Int64
				w.desk.o.NewMessageID = func(at device.Instant) device.MessageID {
					return device.MessageID{0: byte(at >> 40), 1: byte(at >> 32), 2: byte(at >> 24), 3: byte(at >> 16), 4: byte(at >> 8), 5: byte(at), 15: byte(last.Add(1))}
				}
				h := newHouse(w, dice(seed))
				h.caps, h.quiet = []policy.Cap{{Max: 1, Minutes: 45}}, nil
				for hour := seed % 3; hour < 24; hour += 3 {
					h.quiet = append(h.quiet, policy.Quiet{Start: 60 * hour, End: 60*hour + 40})
				}
				h.must(h.desk.SetCaps(w.t.Context(), "oak", h.caps))
				h.must(h.desk.SetQuiet(w.t.Context(), "oak", h.quiet))
				if now, stop := w.everything(7 * time.Second); i == 1 {
					defer stop()
					now()
				} else {
					stop()
				}
				for k, n := range steps {
					h.step(n)
					for range n % 4 { // time goes by, and every device tells again how it is
						h.renews()
						h.pass(4 * time.Minute)
					}
					if what := h.overslept(); what != "" {
						t.Errorf("home %d, step %d of %d: %s", seed, k, n%kinds, what)
						return
					}
					h.look()
				}
				judged[i] += w.desk.count.judged.Load()
				shows[i] = map[int]show{}
				for _, x := range h.shows {
					shows[i][slices.Index(h.order, x.message)] = x
				}
			})
		}
		shown += len(shows[0])
		for n, x := range shows[1] {
			if got, ok := shows[0][n]; !ok || got.device != x.device || got.at/1000 > x.at/1000+1 {
				t.Errorf("home %d: message %d is shown at %s on %s, and with the index %v at %s on %s", seed, n, x.at, x.device, ok, got.at, got.device)
			}
		}
		for n, x := range shows[0] {
			if _, ok := shows[1][n]; !ok {
				t.Errorf("home %d: message %d is shown at %s on %s, and not without the index", seed, n, x.at, x.device)
			}
		}
		if t.Failed() {
			t.Fatalf("steps %v", steps)
		}
	}
	t.Logf("%d homes: %d messages shown by %d decisions, and by %d of everything, every seven seconds", homes, shown, judged[0], judged[1])
	if shown == 0 {
		t.Error("the test has seen nothing")
	}
}

// A clock that is set back makes what was told a word of the future, which permits nothing. Told again, it
// does, though it is the same: nothing else need happen.
func TestToldAgainAfterTheClockWasSetBack(t *testing.T) {
	inWorld(t, func(w *world) {
		tv := w.home(device.TV)[device.TV]
		w.choose(policy.Given)
		w.must(w.desk.Choose(w.t.Context(), "oak", "Anna", w.brand.ID, policy.Marketing, policy.Given))
		values := map[string]any{"state": "idle", "presence.who": "1", "presence.count": 1}
		tv.tell(map[string]any{"state": "playing", "full_screen": true})
		tv.tell(values)
		tv.tell(map[string]any{"full_screen": false})
		w.jump.Add(-time.Hour.Milliseconds())
		w.desk.Lookup()
		w.pass(time.Second)
		id := w.push(func(s *Submission) { s.Personal = true })
		tv.mustShow()
		tv.tell(values)
		tv.mustShow(id)
	})
}

// Who is there may be news though it is the same word: what was said in between, that nobody is, is over.
func TestSamePersonIsThereAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		tv := w.home(device.TV)[device.TV]
		w.choose(policy.Given)
		w.must(w.desk.Choose(w.t.Context(), "oak", "Anna", w.brand.ID, policy.Marketing, policy.Given))
		tv.tell(map[string]any{"presence.who": "1"})
		w.pass(time.Second)
		tv.tell(map[string]any{"room.occupancy": false, "state": "idle"})
		w.pass(time.Second)
		id := w.push(func(s *Submission) { s.Personal = true })
		tv.mustShow()
		tv.tell(map[string]any{"presence.who": "1"})
		tv.mustShow(id)
	})
}

package delivery

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/wire"
	"porchlight/policy"
)

// P7: no cap is ever exceeded, whatever happens at the same time: eight screens on which messages come and
// go, that decline, that lose their connection and their receipts, brands that push, a hall that dies in
// the middle of it all and begins again on the same file, the end of summer time. What was shown is counted
// from what the screens themselves have noted. A plain run is 20,000 operations, with the race detector two
// fifths of them, PORCHLIGHT_LONG=1 a million.
func TestCapsAreNeverExceeded(t *testing.T) {
	operations := 20_000
	switch {
	case os.Getenv("PORCHLIGHT_LONG") != "":
		operations = 1_000_000
	case raced:
		operations = 8_000
	}
	inWorld(t, func(w *world) {
		w.restartAt("2026-10-24T08:00:00+02:00") // a Saturday; at night the clocks go back, and on Monday a week begins
		r := &rush{w: w, left: int64(operations), seed: rand.Uint64()}
		t.Log("seed", r.seed)
		r.furnish()
		r.run()
		r.check()
	})
}

// restartAt begins the hall anew at an instant.
func (w *world) restartAt(at string) {
	w.t.Helper()
	w.end()
	then, err := time.Parse(time.RFC3339, at)
	w.must(err)
	w.jump.Store(int64(device.At(then) - device.At(time.Now())))
	w.start()
}

// rush is a home in which a great deal happens at once.
type rush struct {
	w       *world
	seed    uint64
	left    int64 // operations
	desk    atomic.Pointer[Desk]
	home    registry.Home
	zone    *time.Location
	brands  []registry.Brand
	screens []*rushed
	caps    []policy.Cap
	crashes int
	wg      sync.WaitGroup
}

// rushed is a screen that notes what it shows.
type rushed struct {
	r     *rush
	d     device.Device
	who   device.PersonID // whose it is
	mu    sync.Mutex
	rand  *rand.Rand
	plug  *rushedPlug                         // nil: away
	known map[device.MessageID]wire.EventKind // what became of what it was shown
	lost  map[device.MessageID]bool           // of these it has lost what there is to say
	on    []device.MessageID
	shown []noted
	trips []device.Instant // of a car: when each began
}

// noted is one message that was on a screen.
type noted struct {
	at              device.Instant
	brand, category string
	on              *rushed
}

// rushedPlug is one connection of a screen.
type rushedPlug struct {
	s      *rushed
	frames chan Frame
	done   chan struct{}
	once   sync.Once
}

func (p *rushedPlug) Send(f Frame) error {
	select {
	case <-p.done:
		return ErrAway
	case p.frames <- f:
		return nil
	default:
		return ErrAway
	}
}

func (p *rushedPlug) From() string { return "" }
func (p *rushedPlug) Close(Reason) { p.once.Do(func() { close(p.done) }) }

// furnish makes the home, its caps, and everybody's yes.
func (r *rush) furnish() {
	t := r.w.t
	r.desk.Store(r.w.desk)
	must := r.w.must
	ctx := t.(*testing.T).Context()
	spec := HomeSpec{Name: "oak", Zone: "Europe/Zurich", People: []PersonSpec{{Name: "Anna", Age: device.Adult}, {Name: "Ben", Age: device.Adult}}, Caps: []policy.Cap{}}
	for _, d := range []DeviceSpec{{Class: device.TV, Room: "living"}, {Class: device.Display, Room: "living"}, {Class: device.Fridge, Room: "kitchen"}, {Class: device.Oven, Room: "kitchen"},
		{Class: device.Display, Room: "kitchen"}, {Class: device.Car}, {Class: device.Companion, Owner: "Anna"}, {Class: device.Companion, Owner: "Ben"}} {
		d.Name = fmt.Sprint("screen ", len(spec.Devices))
		spec.Devices = append(spec.Devices, d)
	}
	home, devices, err := r.w.desk.AddHome(ctx, spec)
	must(err)
	r.home, r.zone = home, zoneOf(t, spec.Zone)
	for i, e := range devices {
		s := &rushed{r: r, d: e.Device, who: e.Owner, rand: rand.New(rand.NewPCG(r.seed, uint64(i))), known: map[device.MessageID]wire.EventKind{}, lost: map[device.MessageID]bool{}}
		r.screens = append(r.screens, s)
	}
	for _, id := range []device.BrandID{"grocer", "baker", "bookshop"} {
		b := registry.Brand{ID: id, Name: string(id), Purposes: []string{"marketing"}, Quota: 200}
		if id != r.w.brand.ID {
			_, err := r.w.desk.AddBrand(ctx, b)
			must(err)
		} else {
			b = r.w.brand
		}
		r.brands = append(r.brands, b)
		for _, who := range []string{"", "Anna", "Ben"} {
			must(r.w.desk.Choose(ctx, "oak", who, id, policy.Marketing, policy.Given))
		}
	}
	kitchen, phone, anna := r.screens[2].d.Room, r.screens[7].d.ID, r.screens[6].who
	class := func(c device.Class) policy.Selector { return policy.Selector{Class: c} }
	r.caps = []policy.Cap{
		{Max: 25}, {Max: 40, Week: true}, {Max: 3, Minutes: 30},
		{Each: true, Max: 10}, {Each: true, Max: 16, Week: true}, {EachCategory: true, Max: 6}, {Each: true, EachCategory: true, Max: 2, Hours: 5},
		{Selector: class(device.TV), Max: 2, Hours: 2}, {Selector: class(device.Fridge), Max: 3}, {Selector: class(device.Display), Max: 1, Minutes: 5},
		{Selector: class(device.Car), Max: 1, Trip: true},
		{Selector: policy.Selector{Room: kitchen}, Max: 5, Hours: 6}, {Selector: policy.Selector{Device: phone}, Max: 2, Hours: 3},
		{Selector: policy.Selector{Brand: "baker"}, Max: 5, Hours: 11}, {Selector: policy.Selector{Category: "bread"}, Max: 5}, {Owner: anna, Max: 17},
	}
	must(r.w.desk.SetCaps(ctx, "oak", r.caps))
}

func zoneOf(t testing.TB, name string) *time.Location {
	zone, err := registry.LoadZone(name)
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

// more takes one of the operations that are left.
func (r *rush) more() bool { return atomic.AddInt64(&r.left, -1) >= 0 }

// run does all of it at once until the operations are used up.
func (r *rush) run() {
	var people sync.WaitGroup
	for _, s := range r.screens {
		people.Go(s.live)
	}
	for i := range r.brands {
		people.Go(func() { r.push(i) })
	}
	over := make(chan struct{})
	var reaper sync.WaitGroup
	reaper.Go(func() {
		dice := rand.New(rand.NewPCG(r.seed, 99))
		for {
			select {
			case <-over:
				return
			case <-time.After(time.Duration(1+dice.IntN(5*60)) * time.Minute):
				r.crash()
			}
		}
	})
	people.Wait()
	close(over)
	reaper.Wait()
	for _, s := range r.screens {
		s.leave()
	}
	r.wg.Wait()
}

// crash ends the hall without a word to anybody, in the middle of whatever it does, and begins it again.
func (r *rush) crash() {
	r.crashes++
	if err := r.w.db.Close(); err != nil {
		r.w.t.Error(err)
	}
	r.w.stop()
	r.w.stop = nil
	for _, s := range r.screens {
		s.leave()
	}
	r.w.start()
	r.desk.Store(r.w.desk)
}

// push is a brand at work.
func (r *rush) push(i int) {
	dice := rand.New(rand.NewPCG(r.seed, uint64(100+i)))
	for n := 0; r.more(); n++ {
		category := []string{"bread", "milk", "books", ""}[dice.IntN(4)]
		_, _ = r.desk.Load().Accept(context.Background(), r.brands[i], fmt.Sprint(i, "-", n), Submission{Purpose: policy.Marketing, Category: category, // the hall may be dead
			Texts: []SubmissionText{{Language: "en", Body: string(r.brands[i].ID) + "|" + category}}, NotAfter: r.w.now().Time().Add(time.Duration(30+dice.IntN(300)) * time.Minute)})
		time.Sleep(time.Duration(1+dice.IntN(1200)) * time.Second)
	}
}

// live is what people do around a screen.
func (s *rushed) live() {
	for s.r.more() {
		s.mu.Lock()
		what, wait := s.rand.IntN(100), time.Duration(1+s.rand.IntN(200_000))*time.Millisecond
		s.mu.Unlock()
		switch {
		case s.away():
			s.connect()
		case what < 3:
			s.leave()
		case what < 6 && s.d.Class == device.Car:
			s.trip()
		case what < 15:
			s.tell(map[string]any{"dnd": true})
		case what < 40:
			s.end()
		default:
			s.tell(map[string]any{"dnd": false})
		}
		time.Sleep(wait)
	}
}

func (s *rushed) away() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.plug != nil {
		select {
		case <-s.plug.done:
			s.plug = nil
		default:
		}
	}
	return s.plug == nil
}

// connect logs in, subscribes, is born and says how it is. Whatever fails, fails because the hall is dead.
func (s *rushed) connect() {
	p := &rushedPlug{s: s, frames: make(chan Frame, 64), done: make(chan struct{})}
	s.mu.Lock()
	held := slices.Clone(s.on)
	s.plug = p
	s.mu.Unlock()
	d := s.r.desk.Load()
	err := d.Connected(s.d.ID, s.d.Home, p)
	if err == nil {
		err = d.Subscribed(s.d.ID, p)
	}
	if err == nil {
		err = d.Birth(s.d.ID, p, wire.Birth{Class: s.d.Class, Model: wire.Model{Maker: "Hand", Name: "made"}, Held: held,
			Can: wire.Capabilities{Inputs: device.Remote, Forms: []device.Form{device.Toast, device.List, device.Badge}, MaxButtons: 3, Languages: []string{"en"}}})
	}
	if err != nil {
		s.leave()
		return
	}
	s.r.wg.Go(func() { s.serve(d, p) })
	s.tell(nil)
}

func (s *rushed) leave() {
	s.mu.Lock()
	p := s.plug
	s.plug = nil
	s.mu.Unlock()
	if p != nil {
		p.Close(Shutdown)
		s.r.desk.Load().Gone(s.d.ID, p)
	}
}

// tell says that all is calm, and what else there is to say.
func (s *rushed) tell(more map[string]any) {
	values := map[string]any{}
	for _, of := range []map[string]any{calm[s.d.Class], more} {
		for k, v := range of {
			values[k] = v
		}
	}
	s.mu.Lock()
	p := s.plug
	s.mu.Unlock()
	if p != nil {
		_ = s.r.desk.Load().Context(s.d.ID, p, wire.Context{Values: values})
	}
}

// trip ends one trip of a car and begins another. Nothing is shown in between: the car is away.
func (s *rushed) trip() {
	s.tell(map[string]any{"Vehicle.LowVoltageSystemState": "OFF"})
	s.leave()
	s.mu.Lock()
	s.trips = append(s.trips, s.r.w.now())
	s.mu.Unlock()
	s.connect()
	s.tell(map[string]any{"Vehicle.LowVoltageSystemState": "ON"})
}

// end takes off what is on the screen, because its time is over or, rarely, somebody has closed it.
func (s *rushed) end() {
	s.mu.Lock()
	if len(s.on) == 0 {
		s.mu.Unlock()
		return
	}
	id, kind := s.on[0], wire.TimedOut
	if s.rand.IntN(50) == 0 {
		kind = wire.Dismissed
	}
	s.on, s.known[id] = s.on[1:], kind
	p, events := s.plug, s.say(id, kind)
	s.mu.Unlock()
	for _, e := range events {
		if p == nil || s.r.desk.Load().Event(s.d.ID, p, e) != nil {
			s.mu.Lock()
			s.lost[id] = true
			s.mu.Unlock()
		}
	}
}

// say is the receipts of a message, unless they are lost: then nothing is ever said of it unless it comes
// again. Receipts of one message come in their order. The caller holds s.mu.
func (s *rushed) say(id device.MessageID, kinds ...wire.EventKind) (events []wire.Event) {
	if s.lost[id] = s.lost[id] || s.rand.IntN(6) == 0; s.lost[id] {
		return nil
	}
	for _, k := range kinds {
		e := wire.Event{Message: id, Kind: k}
		if k == wire.Declined {
			e.Reason = wire.Busy
		}
		events = append(events, e)
	}
	return events
}

// serve takes frames until the connection ends.
func (s *rushed) serve(d *Desk, p *rushedPlug) {
	for {
		select {
		case <-p.done:
			d.Gone(s.d.ID, p)
			return
		case f := <-p.frames:
			events, deaf := s.take(f)
			if f.QoS == 1 && !deaf {
				d.Acked(s.d.ID, p)
			}
			for _, e := range events {
				if d.Event(s.d.ID, p, e) != nil { // the hall is dead, or this connection
					s.mu.Lock()
					s.lost[e.Message] = true
					s.mu.Unlock()
				}
			}
		}
	}
}

// take does what a frame says and returns the receipts that are not lost.
func (s *rushed) take(f Frame) (events []wire.Event, deaf bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	off := func(id device.MessageID) {
		kind := wire.Cancelled // never on the screen, or off it now
		if was := s.known[id]; was == wire.Presented {
			s.known[id] = kind
		} else if was != 0 {
			kind = was
		}
		s.on = slices.DeleteFunc(s.on, func(o device.MessageID) bool { return o == id })
		events = append(events, s.say(id, kind)...)
	}
	switch f.Leaf {
	case wire.DnMsg:
		present, cancel, err := wire.DecodeMsg(f.Payload)
		switch {
		case err != nil:
			s.r.w.t.Errorf("dn/msg: %v", err)
		case cancel != nil:
			off(cancel.Message)
		case s.known[present.Message] == wire.Presented:
			s.lost[present.Message] = false
			events = s.say(present.Message, wire.Presented)
		case s.known[present.Message] != 0:
			s.lost[present.Message] = false
			events = s.say(present.Message, wire.Presented, s.known[present.Message])
		case s.rand.IntN(8) == 0:
			events = s.say(present.Message, wire.Declined)
		default:
			brand, category, _ := strings.Cut(present.Text, "|")
			s.known[present.Message], s.lost[present.Message] = wire.Presented, false
			s.on = append(s.on, present.Message)
			s.shown = append(s.shown, noted{s.r.w.now(), brand, category, s})
			events = s.say(present.Message, wire.Presented)
		}
	case wire.DnTime:
		if tm, err := wire.DecodeTime(f.Payload); err == nil {
			for _, id := range slices.Clone(s.on) {
				if !slices.Contains(tm.Keep, id) {
					off(id)
				}
			}
		}
	}
	return events, s.rand.IntN(100) == 0
}

// check counts what was shown, for every cap and at every instant at which something was shown.
func (r *rush) check() {
	var all []noted
	for _, s := range r.screens {
		all = append(all, s.shown...)
	}
	slices.SortStableFunc(all, func(a, b noted) int { return int(a.at - b.at) })
	date := func(t device.Instant) string { return t.Time().In(r.zone).Format(time.DateOnly) }
	week := func(t device.Instant) [2]int { y, n := t.Time().In(r.zone).ISOWeek(); return [2]int{y, n} }
	for _, c := range r.caps {
		most := 0
		for i, last := range all {
			if !r.of(c, last) {
				continue
			}
			n := 0
			for _, e := range slices.Backward(all[:i+1]) {
				if last.at-e.at > 9*24*3600_000 {
					break
				}
				together := r.of(c, e) && (!c.Each || e.brand == last.brand) && (!c.EachCategory || e.category == last.category && e.category != "")
				switch {
				case !together:
				case c.Hours > 0 && last.at-e.at >= device.Instant(c.Hours)*3600_000:
				case c.Minutes > 0 && last.at-e.at >= device.Instant(c.Minutes)*60_000:
				case c.Week && week(e.at) != week(last.at):
				case c.Trip && slices.ContainsFunc(e.on.trips, func(t device.Instant) bool { return e.at < t && t <= last.at }):
				case c.Hours == 0 && c.Minutes == 0 && !c.Week && !c.Trip && date(e.at) != date(last.at):
				default:
					n++
				}
			}
			if most = max(most, n); n > c.Max {
				r.w.t.Errorf("%+v: %d were shown by %s", c, n, last.at)
				break
			}
		}
		r.w.t.Logf("%d of %d: %+v", most, c.Max, c)
	}
	if len(all) < 30 {
		r.w.t.Errorf("only %d messages were shown: nothing was put to the test", len(all))
	}
	r.w.t.Logf("%d messages were shown until %s, in spite of %d crashes", len(all), r.w.now(), r.crashes)
}

// of reports whether c is about what was shown there.
func (r *rush) of(c policy.Cap, e noted) bool {
	d := e.on.d
	return (c.Brand == "" || string(c.Brand) == e.brand) && (c.Category == "" || c.Category == e.category) && (c.Class == 0 || c.Class == d.Class) &&
		(c.Device == "" || c.Device == d.ID) && (c.Room == 0 || c.Room == d.Room) &&
		(!c.EachCategory || e.category != "") &&
		(c.Owner == 0 || e.on.who == 0 || e.on.who == c.Owner) // nobody tells who is in front of a shared screen: it may be anybody
}

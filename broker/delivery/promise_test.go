package delivery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"porchlight/device"
	"porchlight/device/store"
	"porchlight/device/wire"
	"porchlight/policy"
)

// sight is all that can be seen from outside at one moment, when nothing is left to do.
type sight struct {
	now     device.Instant
	zone    *time.Location
	cap     int                                 // most messages a local day
	shows   []show                              // everything that was ever put on a screen
	screens map[device.ID]screenSight           // of devices that are connected and answer
	said    map[device.MessageID]policy.Verdict // of each message on a screen, judged anew from the tables
	back    map[device.MessageID]device.Instant // messages that their brand was told are withdrawn
	acked   []device.MessageID                  // messages that a brand was told are accepted
	kept    map[device.MessageID]bool           // messages that the tables have
}

type show struct {
	at      device.Instant
	device  device.ID
	message device.MessageID
}

type screenSight []device.MessageID

// broken says which promise a sight breaks, or nil. It looks at outcomes only.
func (s sight) broken() error {
	on := map[device.MessageID]device.ID{}
	times := map[device.MessageID]int{}
	perDay := map[string]int{}
	for _, x := range s.shows {
		if times[x.message]++; times[x.message] > 1 {
			return fmt.Errorf("P6: message %s was shown twice", x.message)
		}
		if was, ok := on[x.message]; ok && was != x.device {
			return fmt.Errorf("message %s was shown on %s and on %s", x.message, was, x.device)
		}
		on[x.message] = x.device
		day := x.at.Time().In(s.zone).Format(time.DateOnly)
		if perDay[day]++; perDay[day] > s.cap {
			return fmt.Errorf("P7: %d messages were shown on %s, the cap is %d", perDay[day], day, s.cap)
		}
		if at, ok := s.back[x.message]; ok && x.at > at {
			return fmt.Errorf("P5: message %s was shown after its brand was told that it is withdrawn", x.message)
		}
	}
	for dev, screen := range s.screens {
		for _, id := range screen {
			if s.said[id] != policy.Show {
				return fmt.Errorf("P2: %s shows message %s, and the judge says %s", dev, id, s.said[id])
			}
		}
	}
	for _, id := range s.acked {
		if !s.kept[id] {
			return fmt.Errorf("P8: message %s was accepted and is not there", id)
		}
	}
	return nil
}

// look takes in what can be seen.
func (w *world) look(g *ground) sight {
	w.t.Helper()
	w.wait()
	s := sight{now: w.now(), zone: g.zone, cap: g.cap, screens: map[device.ID]screenSight{}, said: map[device.MessageID]policy.Verdict{}, back: g.back, acked: g.acked, kept: map[device.MessageID]bool{}}
	w.must(w.db.View(context.Background(), func(tx *store.Tx) error {
		for _, id := range g.acked {
			var n int
			if err := tx.QueryRow(`SELECT count(*) FROM message WHERE id = ?`, id[:]).Scan(&n); err != nil {
				return err
			}
			s.kept[id] = n == 1
		}
		return nil
	}))
	for _, h := range w.hands {
		h.mu.Lock()
		s.shows = append(s.shows, h.log...)
		up, deaf, on := h.up, h.deaf || h.mute, slices.Clone(h.on)
		h.mu.Unlock()
		if up == nil || deaf {
			continue
		}
		s.screens[h.id] = on
		for _, id := range on {
			s.said[id] = w.judge(id, h)
		}
	}
	slices.SortFunc(s.shows, func(a, b show) int { return int(a.at - b.at) })
	return s
}

// judge asks the judge about a message on a screen, with the home as its tables have it.
func (w *world) judge(id device.MessageID, h *hand) (v policy.Verdict) {
	w.t.Helper()
	m := w.desk.message(id)
	if m == nil {
		return policy.Refuse
	}
	w.must(w.desk.in(1, func(mem *home) error {
		var t tables
		err := w.db.View(context.Background(), func(tx *store.Tx) (err error) { t, err = w.desk.read(tx, 1); return err })
		if err != nil {
			return err
		}
		t.view.Alarm, t.view.Screens = mem.view.Alarm, mem.view.Screens
		v = policy.Decide(policy.Request{Home: &t.view, Screen: &mem.screens[h.id].view, Message: m, Now: w.now(), Own: true}).Verdict
		return nil
	}))
	return v
}

// ground is what the test itself knows to be true.
type ground struct {
	zone  *time.Location
	cap   int
	acked []device.MessageID
	back  map[device.MessageID]device.Instant
}

// Whatever people, brands, devices and time do, in any order, with the gateway restarted in
// between: the promises hold, memory is what the tables say, and the tables are what the journal
// says.
func TestPromises(t *testing.T) {
	zone, err := time.LoadLocation("Europe/Zurich")
	if err != nil {
		t.Fatal(err)
	}
	var shown, restarts int
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.SliceOfN(rapid.IntRange(0, 10_000), 10, 60).Draw(rt, "steps")
		inWorldOf(t, func(w *world) {
			defer func() {
				if t.Failed() {
					t.Logf("steps %v", steps)
				}
			}()
			g := &ground{zone: zone, cap: 3, back: map[device.MessageID]device.Instant{}}
			all := w.home(device.TV, device.Car, device.Fridge)
			w.must(w.desk.SetCaps(context.Background(), "oak", []policy.Cap{{Max: g.cap}}))
			w.choose(policy.Given)
			hands := []*hand{all[device.TV], all[device.Car], all[device.Fridge]}
			for i, n := range steps {
				w.step(g, hands, n)
				if n%16 == 7 {
					restarts++
				}
				if err := w.look(g).broken(); err != nil {
					rt.Fatalf("after step %d of %v: %v", i, steps, err)
				}
				w.memory()
			}
			shown += len(w.look(g).shows)
		})
	})
	if shown == 0 || restarts == 0 {
		t.Fatalf("%d messages were shown and %d restarts made: the test has seen nothing", shown, restarts)
	}
}

// step does one thing; n says which.
func (w *world) step(g *ground, hands []*hand, n int) {
	h := hands[n/16%len(hands)]
	pick := n / 64
	connected := h.up != nil
	switch n % 16 {
	case 0, 1, 2:
		classes := [][]device.Class{nil, {device.TV}, {device.Car}, {device.Fridge}}
		g.acked = append(g.acked, w.push(func(s *Submission) {
			s.Classes, s.Forms = classes[pick%4], []device.Form{device.List}
			if pick%3 == 0 {
				s.When = []SubmissionCondition{{Class: device.Fridge, Attribute: "door.open", Op: policy.EQ, Value: true}}
			}
		}))
	case 3:
		if len(g.acked) > 0 {
			id := g.acked[pick%len(g.acked)]
			_, err := w.desk.Withdraw(context.Background(), "grocer", id)
			w.must(err)
			if _, ok := g.back[id]; !ok {
				g.back[id] = w.now()
			}
		}
	case 4:
		w.choose([]policy.Choice{policy.Given, policy.Withdrawn, policy.Given}[pick%3])
	case 5:
		if connected {
			h.disconnect()
		} else {
			h.connect()
		}
	case 6:
		if connected {
			states := map[device.Class][]map[string]any{
				device.TV:     {{"state": "playing", "full_screen": true}, {"state": "idle"}, {"state": nil}},
				device.Car:    {{"ux.driving": "moving"}, {"ux.driving": "parked"}, {"ux.driving": "parked"}},
				device.Fridge: {{"door.open": true}, {"door.open": false}, {"door.open": true, "alarm": false}},
			}[h.class]
			h.tell(states[pick%3])
		}
	case 7:
		w.restart()
		for _, h := range hands {
			h.connect()
		}
	case 8:
		w.pass(time.Duration(1+pick%20) * time.Second)
	case 9:
		w.pass(time.Duration(1+pick%12) * time.Hour)
	case 10, 11:
		if on := h.screen(); connected && len(on) > 0 {
			e := wire.Event{Kind: []wire.EventKind{wire.Dismissed, wire.Responded, wire.TimedOut}[pick%3]}
			if wish := wire.Wish(pick % 8); wish <= wire.Banned {
				e.Wish = &wish
			}
			h.ends(on[0], e)
		}
	case 12: // what a device has said of a message, again
		if connected {
			h.mu.Lock()
			said := slices.Clone(h.said)
			up := h.up
			h.mu.Unlock()
			for _, e := range said {
				w.must(w.desk.Event(h.id, up, e))
			}
		}
	case 13: // a choice on the device
		if connected {
			choice := []string{"given", "refused", "withdrawn"}[pick%3]
			err := w.desk.Propose(h.id, h.up, wire.Proposal{Base: h.twin.Version, Brands: []wire.BrandChoice{{Brand: "grocer", Purpose: "marketing", Choice: choice}}})
			if err != nil && !errors.Is(err, ErrForbidden) && !errors.Is(err, ErrStale) {
				w.t.Errorf("propose: %v", err)
			}
		}
	case 14: // a device that takes frames and says nothing, for a while
		h.mu.Lock()
		h.mute = !h.mute
		mute := h.mute
		h.mu.Unlock()
		if connected && !mute {
			h.pay(h.up)
		}
	case 15: // all is calm again
		for _, h := range hands {
			if h.up == nil {
				h.connect()
			}
			h.tell(calm[h.class])
		}
	}
	w.wait()
}

// A checker that finds nothing wrong must be able to: each promise is broken in a sight, and is
// named.
func TestBrokenPromisesAreSeen(t *testing.T) {
	a, b := device.MessageID{1}, device.MessageID{2}
	good := func() sight {
		return sight{
			now: 1e12, zone: time.UTC, cap: 2, shows: []show{{1000, "tv01", a}, {2000, "tv01", b}},
			screens: map[device.ID]screenSight{"tv01": {b}}, said: map[device.MessageID]policy.Verdict{b: policy.Show},
			back: map[device.MessageID]device.Instant{a: 1500}, acked: []device.MessageID{a, b}, kept: map[device.MessageID]bool{a: true, b: true},
		}
	}
	if err := good().broken(); err != nil {
		t.Fatalf("the good sight: %v", err)
	}
	breaks := map[string]func(s *sight){
		"P6": func(s *sight) { s.cap = 9; s.shows = append(s.shows, show{3000, "tv01", a}) },
		"P7": func(s *sight) { s.shows = append(s.shows, show{3000, "tv01", device.MessageID{3}}) },
		"P5": func(s *sight) { s.back[b] = 1999 },
		"P2": func(s *sight) { s.said[b] = policy.Hold },
		"P8": func(s *sight) { delete(s.kept, a) },
	}
	for promise, edit := range breaks {
		s := good()
		edit(&s)
		if err := s.broken(); err == nil || err.Error()[:2] != promise {
			t.Errorf("%s broken on purpose: got %v", promise, err)
		}
	}
}

package delivery

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/device/wire"
	"porchlight/policy"
)

// anyRequest is a home full of devices that have told all kinds of things at all kinds of times.
func anyRequest(r *rand.Rand) policy.Request {
	const now = device.Instant(1_790_000_000_000)
	h := &policy.Home{ID: 1, Zone: time.UTC, Moments: []policy.Moment{policy.Film, policy.Call, policy.Sleep},
		People:   []policy.Person{{ID: 1, Age: device.Adult}, {ID: 2, Age: device.Age(r.IntN(4))}},
		Consents: map[policy.ConsentKey]policy.Stance{}}
	for who := range device.PersonID(3) {
		if r.IntN(5) > 0 {
			h.Consents[policy.ConsentKey{Subject: who, Brand: "grocer", Purpose: policy.Marketing}] = policy.Stance{Choice: policy.Given}
		}
		if r.IntN(5) > 0 {
			h.Consents[policy.ConsentKey{Subject: who, Brand: "grocer", Purpose: policy.Context}] = policy.Stance{Choice: policy.Given}
		}
	}
	for i := range 2 + r.IntN(3) {
		class := device.Class(1 + r.IntN(11))
		s := &policy.Screen{ID: device.ID(rune('a' + i)), Class: class, Room: device.RoomID(r.IntN(3)), Context: &device.Context{Class: class},
			Can: device.Capabilities{Inputs: device.Remote, Sound: 1, Forms: []device.Form{device.List}, MaxButtons: 2}}
		if r.IntN(4) == 0 {
			s.Owner = device.PersonID(1 + r.IntN(2))
		}
		for _, name := range device.AttributeNames(class) {
			if a, _ := device.ParseAttribute(name); r.IntN(3) == 0 {
				s.Context.Set(a, anyValue(r, a), max(0, now+[]device.Instant{0, -1000, -4000, -30_000, -300_000, -3_600_000, -now, 2000, 400_000, 4_000_000}[min(r.IntN(14), 9)]))
			}
		}
		// What permits is told more often than not.
		for a, v := range map[device.Attribute]any{device.PlayerState: "idle", device.GameState: "none", device.Driving: "parked", device.OperationalState: "Stopped",
			device.CallActive: false, device.ParkingBrake: true} {
			if a.Of(class) && r.IntN(3) == 0 {
				value, _ := a.ValueOf(v)
				s.Context.Set(a, value, now)
			}
		}
		if class == device.Oven && r.IntN(2) == 0 { // cold for a while
			for a, v := range map[device.Attribute]any{device.OperationalState: "Stopped", device.Alarm: false, device.Temperature: 20.0, device.CountdownTime: 0.0} {
				if value, _ := a.ValueOf(v); r.IntN(8) > 0 {
					s.Context.Put(a, device.Reading{Value: value, At: now, Since: now - []device.Instant{60_000, 60_000, 3_600_000, 59_999}[r.IntN(4)]})
				}
			}
		}
		h.Screens = append(h.Screens, s)
	}
	m := &policy.Message{ID: device.MessageID{1}, Brand: "grocer", Purpose: policy.Marketing, Forms: []device.Form{device.List}, Sound: true,
		Texts: []policy.MessageText{{Language: "en", Body: "Milk"}}, NotAfter: now + 86_400_000}
	if r.IntN(2) == 0 {
		s := h.Screens[r.IntN(len(h.Screens))]
		names := device.AttributeNames(s.Class)
		a, _ := device.ParseAttribute(names[r.IntN(len(names))])
		p := policy.Predicate{Class: s.Class, Attribute: a, Op: policy.EQ, Value: anyValue(r, a)}
		if r.IntN(3) == 0 {
			p.Class = 0
		}
		m.When = append(m.When, p)
	}
	return policy.Request{Home: h, Screen: h.Screens[0], Message: m, Now: now}
}

func anyValue(r *rand.Rand, a device.Attribute) device.Value {
	var v any
	switch info := a.Info(); {
	case a == device.PresenceWho:
		v = []string{"", "1", "1 2", "2", "9"}[r.IntN(5)]
	case a == device.ContentRating:
		v = []string{"16", "TV-Y"}[r.IntN(2)]
	case a == device.SelectedGear:
		v = []float64{126, 126, 0, 1}[r.IntN(4)]
	case info.Kind == device.Bool:
		v = r.IntN(2) == 0
	case info.Kind == device.Number:
		v = float64(r.IntN(3))
	case info.Kind == device.Enum:
		v = info.Values[r.IntN(len(info.Values))]
	default:
		v = []string{"a", "b"}[r.IntN(2)]
	}
	value, _ := a.ValueOf(v)
	return value
}

// from is q as it can be made again from what was kept, by way of JSON.
func from(t *testing.T, q policy.Request, kept told) policy.Request {
	t.Helper()
	raw, err := json.Marshal(kept)
	if err != nil {
		t.Fatal(err)
	}
	var back told
	if err := json.Unmarshal(raw, &back); err != nil {
		t.Fatal(err)
	}
	h := *q.Home
	h.Screens = nil
	for _, s := range q.Home.Screens {
		c := *s
		c.Context = &device.Context{}
		for a, is := range back[s.ID] {
			v, err := a.ValueOf(is.Value)
			if err != nil {
				t.Fatal(err)
			}
			c.Context.Put(a, device.Reading{Value: v, At: is.At, Since: is.Since})
		}
		h.Screens = append(h.Screens, &c)
	}
	q.Home, q.Screen = &h, h.Screens[0]
	return q
}

// What is kept of what devices had told is enough: the judge decides from it as it did. And it is needed: for each attribute that it reads
// there is a decision that comes out otherwise without.
func TestInputsAreEnough(t *testing.T) {
	missed := map[device.Attribute]bool{device.DoorOpen: true, device.AppName: true} // of a message's own condition
	for _, list := range [][]device.Attribute{whoIsThere, goesOn, {device.Sleeping, device.Alarm, device.DND}} {
		for _, a := range list {
			missed[a] = true
		}
	}
	for class := range device.Companion + 1 {
		for _, name := range device.AttributeNames(class) {
			if a, _ := device.ParseAttribute(name); policy.OwnSafety().Attributes(class).Has(a) {
				missed[a] = true
			}
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	var verdicts [policy.Show + 1]int
	for i := range 200_000 {
		q := anyRequest(r)
		want := policy.Decide(q)
		verdicts[want.Verdict]++
		kept := toldTo(q)
		if i > 20_000 && len(missed) == 0 {
			break
		}
		if got := policy.Decide(from(t, q, kept)); got != want {
			t.Fatalf("decided %+v, and from what was kept %+v\n%v", want, got, kept)
		}
		for dev, readings := range kept {
			for a, is := range readings {
				if missed[a] {
					delete(readings, a)
					if policy.Decide(from(t, q, kept)) != want {
						delete(missed, a)
					}
					kept[dev][a] = is
				}
			}
		}
	}
	if slices.Contains(verdicts[:], 0) {
		t.Errorf("decisions by verdict: %v", verdicts)
	}
	for a := range missed {
		t.Errorf("%s was left out, and no decision came out otherwise", a)
	}
}

// P9: a decision that was kept comes out again as it was, however much has changed since; and not if
// something that it depended on is left out.
func TestReplay(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		all := w.flat()
		tv, fridge, phone := all[device.TV], all[device.Fridge], all[device.Companion]
		when := func(s *Submission) {
			s.Classes = []device.Class{device.TV}
			s.When = []SubmissionCondition{{Class: device.Fridge, Attribute: "door.open", Op: policy.EQ, Value: true}}
		}
		tv.tell(map[string]any{"presence.who": "1"})
		fridge.tell(map[string]any{"door.open": true})
		shown := w.push(when)
		tv.mustShow(shown)
		w.must(w.desk.SetMutes(t.Context(), "oak", []policy.MuteRule{{Selector: policy.Selector{Class: device.Companion}, Until: w.now().Add(time.Hour)}}))
		back := w.push(to(device.Companion))
		phone.mustShow()
		_, err := w.desk.Withdraw(t.Context(), "grocer", back)
		w.must(err)
		w.pass(time.Second)
		// All that can change does.
		w.must(w.desk.SetMutes(t.Context(), "oak", []policy.MuteRule{{}}))
		w.choose(policy.Withdrawn)
		w.must(w.desk.RemovePerson(t.Context(), "oak", "Ben"))
		w.must(w.desk.RemoveDevice(t.Context(), phone.id))
		_, err = w.desk.ChangeBrand(t.Context(), "grocer", func(b *registry.Brand) { b.Purposes = []string{"service"} })
		w.must(err)
		w.restart()

		list, err := w.desk.kept(t.Context(), 1, 0)
		w.must(err)
		if len(list) != 2 || list[0].Message != shown || list[1].Message != back || list[1].Decision.Reasons != policy.Reasons(0).With(policy.Mute) {
			t.Fatalf("kept are %+v, want what was shown, and what was muted", list)
		}
		for _, k := range list {
			r, err := w.desk.Replay(t.Context(), "oak", k.pos)
			w.must(err)
			if len(r.Differs) > 0 || r.Again.Verdict != k.Decision.Verdict || r.Erased != 0 {
				t.Errorf("replayed: %+v", r)
			}
		}
		if _, err := w.desk.Replay(t.Context(), "oak", 1); !errors.Is(err, registry.ErrUnknown) {
			t.Errorf("at position 1 there is no decision, and its replay says %v", err)
		}

		said := int64(0) // the position of Anna's yes
		w.must(w.db.View(t.Context(), func(tx *store.Tx) error {
			events, err := tx.Events(1, 0, 1000)
			for _, e := range events {
				if e.Kind == "consent.given" && e.Subject == 1 && said == 0 {
					said = e.Pos
				}
			}
			return err
		}))
		spoilt := map[string]struct {
			of   int
			edit func(k *kept)
		}{
			"who was there":              {0, func(k *kept) { delete(k.Inputs.Told[tv.id], device.PresenceWho) }},
			"that nothing was playing":   {0, func(k *kept) { delete(k.Inputs.Told[tv.id], device.PlayerState) }},
			"that the door was open":     {0, func(k *kept) { delete(k.Inputs.Told, fridge.id) }},
			"when it was told":           {0, func(k *kept) { k.Inputs.Told[tv.id][device.PlayerState] = reading{Value: "idle"} }},
			"that somebody has said yes": {0, func(k *kept) { k.Inputs.Head = said - 1 }},
			"what the brand was for":     {0, func(k *kept) { k.Inputs.Book += 5 }},
			"that it was muted":          {1, func(k *kept) { k.Inputs.Head = list[0].pos }},
			"when it was decided":        {0, func(k *kept) { k.Decision.At += 1000 * 60 }},
		}
		for what, tc := range spoilt {
			list, err := w.desk.kept(t.Context(), 1, 0)
			w.must(err)
			k := list[tc.of]
			tc.edit(&k)
			all, err := w.desk.again(t.Context(), 1, []kept{k})
			w.must(err)
			if len(all[0].Differs) == 0 {
				t.Errorf("it was left out or changed %s, and the decision comes out as it was", what)
			}
		}
	})
}

// What a device has lost is claimed anew, as if for the first time; that is replayed so, too.
func TestReplayClaimedAnew(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		tv := w.home(device.TV)[device.TV]
		w.must(w.desk.SetCaps(t.Context(), "oak", []policy.Cap{{Max: 1}}))
		w.choose(policy.Given)
		tv.deaf = true
		id := w.push(nil)
		tv.disconnect()
		tv.on, tv.ledger, tv.owed, tv.deaf = nil, map[device.MessageID]wire.EventKind{}, nil, false // the frame was lost
		tv.connect()
		tv.mustShow(id)
		list, err := w.desk.kept(t.Context(), 1, 0)
		w.must(err)
		if len(list) != 2 {
			t.Fatalf("%d claims, want two", len(list))
		}
		all, err := w.desk.again(t.Context(), 1, list)
		w.must(err)
		for _, r := range all {
			if len(r.Differs) > 0 || r.Again.Verdict != "show" {
				t.Errorf("replayed: %+v", r)
			}
		}
	})
}

// What was not shown is written down a moment after it was judged; what was shown in between did not count
// against it.
func TestReplayHeldBefore(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		tv := w.home(device.TV)[device.TV]
		w.choose(policy.Given)
		w.must(w.desk.SetCaps(t.Context(), "oak", []policy.Cap{{Max: 1}}))
		turn := w.now().Time().Add(10 * time.Minute) // one is over then, and the other begins
		held := w.push(func(s *Submission) {
			s.NotAfter = turn
			s.When = []SubmissionCondition{{Class: device.Fridge, Attribute: "door.open", Op: policy.EQ, Value: true}}
		})
		shown := w.push(func(s *Submission) { s.NotBefore = &turn })
		w.pass(9*time.Minute + 30*time.Second)
		tv.tell(calm[device.TV])
		w.pass(time.Minute)
		tv.mustShow(shown)
		list, err := w.desk.kept(t.Context(), 1, 0)
		w.must(err)
		if len(list) != 2 || list[0].Message != shown || list[1].Message != held || list[1].head() >= list[0].pos {
			t.Fatalf("kept are %+v, want what was shown, and then what was held, of before that", list)
		}
		all, err := w.desk.again(t.Context(), 1, list)
		w.must(err)
		for _, r := range all {
			if len(r.Differs) > 0 || r.Message == held && r.Again.Reasons != policy.Reasons(0).With(policy.Condition) {
				t.Errorf("replayed: %+v", r)
			}
		}
	})
}

// What people did teaches the home, and that counts as of when the home was last read.
func TestReplayLearnt(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		tv := w.home(device.TV)[device.TV]
		w.choose(policy.Given)
		for range 2 {
			id := w.push(nil)
			tv.mustShow(id)
			tv.ends(id, wire.Event{Kind: wire.Dismissed})
		}
		id := w.push(nil)
		tv.mustShow()
		w.jump.Store(-time.Hour.Milliseconds()) // and yet it was learnt
		w.desk.Lookup()
		w.wait()
		_, err := w.desk.Withdraw(t.Context(), "grocer", id)
		w.must(err)
		w.pass(time.Second)
		list, err := w.desk.kept(t.Context(), 1, 0)
		w.must(err)
		all, err := w.desk.again(t.Context(), 1, list)
		w.must(err)
		if r := all[2]; r.Message != id || !r.Kept.Reasons.Has(policy.Mute) || len(r.Differs) > 0 {
			t.Errorf("replayed: %+v", r)
		}
	})
}

// An erased event keeps its place, and a replay says that something is missing.
func TestReplayErased(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		tv := w.home(device.TV)[device.TV]
		w.choose(policy.Given)
		tv.mustShow(w.push(nil))
		n, err := w.db.Erase(t.Context(), "", 1, func(e store.Event) bool { return e.Kind == "preference.set" }, nil, "test")
		w.must(err)
		if n == 0 {
			t.Fatal("nothing was erased")
		}
		list, err := w.desk.kept(t.Context(), 1, 0)
		w.must(err)
		r, err := w.desk.Replay(t.Context(), "oak", list[0].pos)
		w.must(err)
		if r.Erased != n {
			t.Errorf("%d erased, and the replay says %d: %+v", n, r.Erased, r)
		}
	})
}

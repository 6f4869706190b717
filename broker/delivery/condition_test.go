package delivery

import (
	"errors"
	"strings"
	"testing"
	"time"

	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/policy"
)

// waitsFor gives the good message a condition.
func waitsFor(text string) func(*Submission) {
	return func(s *Submission) {
		c, err := policy.ParseCondition(text)
		if err != nil {
			panic(err)
		}
		s.Classes, s.Condition, s.Needs = []device.Class{device.TV}, text, c.Needs()
	}
}

// A message with a condition is shown when that becomes true, be it by what a device tells or by the
// clock; and it can be told again why.
func TestCondition(t *testing.T) {
	inWorld(t, func(w *world) {
		all := w.home(device.TV, device.Fridge)
		tv, fridge := all[device.TV], all[device.Fridge]
		w.choose(policy.Given)
		w.must(w.desk.SetCaps(w.t.Context(), "oak", []policy.Cap{}))
		fridge.tell(map[string]any{"door.open": false})
		door := w.push(waitsFor("fridge.door.open && fridge.door.open.since >= 90"))
		fridge.tell(map[string]any{"door.open": true})
		w.pass(80 * time.Second)
		tv.tell(calm[device.TV])
		tv.mustShow()
		w.pass(10 * time.Second)
		tv.mustShow(door)
		_, err := w.desk.Withdraw(w.t.Context(), "grocer", door)
		w.must(err)

		hour := w.push(waitsFor("now.time >= '01:30' && !(fridge.door.open.since < 5)"))
		w.pass(28 * time.Minute)
		tv.tell(calm[device.TV])
		fridge.tell(map[string]any{"door.open": false})
		tv.mustShow()
		w.pass(30 * time.Second)
		tv.mustShow(hour)

		for _, r := range w.replayed() {
			if len(r.Differs) > 0 {
				t.Errorf("replayed: %+v", r)
			}
		}
	})
}

// Who is there, and whether they sleep, is told to no condition before the people concerned allow it.
func TestConditionNeedsLeave(t *testing.T) {
	inWorld(t, func(w *world) {
		tv := w.home(device.TV)[device.TV]
		_, err := w.desk.ChangeBrand(w.t.Context(), "grocer", func(b *registry.Brand) { b.Purposes = append(b.Purposes, "context") })
		w.must(err)
		w.choose(policy.Given)
		tv.tell(map[string]any{"room.occupancy": true})
		id := w.push(waitsFor("screen.room.occupancy"))
		tv.mustShow()
		told, err := w.desk.Why(w.t.Context(), id, "oak", WhyOptions{})
		w.must(err)
		if got := strings.Join(told.Homes[0].Screens[0].Words, "; "); !strings.Contains(got, "those concerned have not allowed Grocer to choose its moment") {
			t.Errorf("it waits because %q", got)
		}
		x, err := w.desk.ExplainCondition(w.t.Context(), ConditionAsked{Home: "oak", Device: string(tv.id), Brand: "grocer", Condition: "screen.room.occupancy"})
		if w.must(err); x.Steps[0].Is != "unknown" {
			t.Errorf("the brand may know: %+v", x)
		}
		w.must(w.desk.Choose(w.t.Context(), "oak", "", "grocer", policy.Context, policy.Given))
		w.wait()
		tv.mustShow(id)
		w.must(w.desk.Choose(w.t.Context(), "oak", "", "grocer", policy.Context, policy.Withdrawn))
		w.wait()
		tv.mustShow()
		for _, r := range w.replayed() {
			if len(r.Differs) > 0 {
				t.Errorf("replayed: %+v", r)
			}
		}
	})
}

// A rule of whoever runs the gateway holds every message it picks, until its condition is known to be false.
func TestOperatorRules(t *testing.T) {
	inWorld(t, func(w *world) {
		c, err := policy.ParseCondition("fridge.door.open")
		w.must(err)
		w.desk.o.Rules = []policy.OperatorRule{{ID: "fridge", Condition: c, Verdict: policy.Hold, Selector: policy.Selector{Purpose: policy.Marketing}}}
		all := w.home(device.TV, device.Fridge)
		tv, fridge := all[device.TV], all[device.Fridge]
		fridge.tell(map[string]any{"door.open": nil})
		w.choose(policy.Given)
		id := w.push(waitsFor("now.hour != 3"))
		tv.mustShow()
		if got := w.why(id, tv); !strings.Contains(got, "operator") {
			t.Errorf("what is not known holds it: %s", got)
		}
		fridge.tell(map[string]any{"door.open": false})
		tv.mustShow(id)
		fridge.tell(map[string]any{"door.open": true})
		tv.mustShow()
		for _, r := range w.replayed() {
			if len(r.Differs) > 0 {
				t.Errorf("replayed: %+v", r)
			}
		}
	})
}

// A condition that cannot be taken is refused at the character, and what it reads must be named.
func TestInvalidConditions(t *testing.T) {
	tests := map[string]struct {
		condition string
		needs     []string
		field     string
		rule      string
	}{
		"good":                 {"fridge.door.open && now.hour < 9", []string{"now.hour", "fridge.door.open"}, "", ""},
		"syntax":               {"fridge.door.open && now.hour = 9", []string{"fridge.door.open", "now.hour"}, "condition[30]", "syntax"},
		"code points":          {"screen.app_name == 'ü' && now.hour = 9", nil, "condition[36]", "syntax"},
		"never":                {"fridge.door.open && now.hour > 30", []string{"fridge.door.open", "now.hour"}, "condition[21]", "syntax"},
		"not named":            {"fridge.door.open && now.hour < 9", []string{"fridge.door.open"}, "condition[21]", "declared"},
		"since is not named":   {"fridge.door.open.since < 9", []string{"fridge.door.open"}, "condition[1]", "declared"},
		"named and not read":   {"fridge.door.open", []string{"fridge.door.open", "now.hour"}, "needs[1]", "declared"},
		"named twice":          {"fridge.door.open", []string{"fridge.door.open", "fridge.door.open"}, "needs[1]", "declared"},
		"named for nothing":    {"", []string{"fridge.door.open"}, "needs", "length"},
		"a class without that": {"tv.door.open", []string{"tv.door.open"}, "condition[1]", "syntax"},
	}
	b := registry.Brand{ID: "grocer", Name: "Grocer", Purposes: []string{"marketing", "context"}, Quota: 1}
	now := device.At(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC))
	good := Submission{Purpose: policy.Marketing, Texts: []SubmissionText{{Language: "en", Body: "Hello"}}, NotAfter: now.Time().Add(time.Hour)}
	for name, tt := range tests {
		s := good
		s.Condition, s.Needs = tt.condition, tt.needs
		m, err := s.compile(b, now)
		var bad Invalid
		switch {
		case tt.field == "" && (err != nil || m.Condition.Text() != tt.condition):
			t.Errorf("%s: %v", name, err)
		case tt.field != "" && (!errors.As(err, &bad) || bad[0].Field != tt.field || bad[0].Rule != tt.rule || bad[0].Why == "" || bad[0].Fix == ""):
			t.Errorf("%s: got %v, want %s, %s", name, err, tt.field, tt.rule)
		}
	}
	s := good
	s.Purpose = policy.Context
	var bad Invalid
	if _, err := s.compile(b, now); !errors.As(err, &bad) || bad[0].Field != "purpose" || bad[0].Fix != "use one of marketing" {
		t.Errorf("a message for the purpose context: %v", err)
	}
	// The same message is the same message, and with another condition another.
	one, two := good, good
	one.Condition, one.Needs = "fridge.door.open", []string{"fridge.door.open"}
	a, _ := one.digest()
	again, _ := one.digest()
	other, _ := two.digest()
	if string(a) != string(again) || string(a) == string(other) {
		t.Error("the digest passes over the condition")
	}
}

package consent_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/policy"
	. "porchlight/policy/consent"
)

func question(subject device.PersonID) Question {
	return Question{Home: 1, Subject: subject, Brand: "grocer", Purpose: policy.Marketing}
}

func (h *house) mayAsk(q Question) (err error) {
	h.t.Helper()
	h.see(func(tx *store.Tx) error { err = MayAsk(tx, q, Budget{}); return nil })
	return err
}

func (h *house) request(q Question, on device.ID) (a Ask, err error) {
	h.t.Helper()
	err = h.try(func(tx *store.Tx) (err error) { a, err = Request(tx, q, on, time.Minute, Budget{}); return err })
	return a, err
}

// ask asks, whatever was asked before.
func (h *house) ask(q Question, on device.ID) (a Ask) {
	h.t.Helper()
	h.do(func(tx *store.Tx) (err error) {
		a, err = Request(tx, q, on, time.Minute, Budget{Home: 1, Brand: 1, Refusal: 1, Renewal: 100000 * time.Hour})
		return err
	})
	return a
}

func (h *house) served(a Ask, controls ...Look) {
	h.t.Helper()
	h.do(func(tx *store.Tx) error {
		return Served(tx, 1, Serving{Ask: a.ID, Device: a.Device, Controls: controls, Picture: bytes.Repeat([]byte{7}, 32), Layer: 1, Dwell: time.Second})
	})
}

func (h *house) answer(a Ask, edit func(r *Reply)) (got Ask) {
	h.t.Helper()
	r := Reply{Ask: a.ID, Device: a.Device, Layer: 2, Dwell: 3 * time.Second}
	edit(&r)
	h.do(func(tx *store.Tx) (err error) { got, err = Answer(tx, 1, r); return err })
	h.wait(time.Millisecond)
	return got
}

func yes(r *Reply)     { r.Say = Yes }
func no(r *Reply)      { r.Say = No }
func neither(r *Reply) { r.Why = ByTimeout }

func fair() []Look {
	return []Look{{More, 1, 900, 400}, {No, 1, 900, 400}, {Yes, 1, 900, 400}}
}

func TestParity(t *testing.T) {
	tests := map[string]struct {
		edit func(no, yes *Look)
		ok   bool
	}{
		"alike":                         {func(no, yes *Look) {}, true},
		"no is nearer":                  {func(no, yes *Look) { yes.Presses = 2 }, true},
		"no is larger":                  {func(no, yes *Look) { no.Area++ }, true},
		"no is bolder":                  {func(no, yes *Look) { no.Weight = 700 }, true},
		"said, not drawn":               {func(no, yes *Look) { no.Area, yes.Area, no.Weight, yes.Weight = 0, 0, 0, 0 }, true},
		"both need two words":           {func(no, yes *Look) { no.Presses, yes.Presses = 2, 2 }, true},
		"yes is nearer":                 {func(no, yes *Look) { no.Presses = 2 }, false},
		"yes is larger":                 {func(no, yes *Look) { yes.Area++ }, false},
		"yes is bolder":                 {func(no, yes *Look) { yes.Weight++ }, false},
		"no is missing":                 {func(no, yes *Look) { no.Control = Phone }, false},
		"yes is missing":                {func(no, yes *Look) { yes.Control = Phone }, false},
		"yes twice":                     {func(no, yes *Look) { no.Control = Yes }, false},
		"no twice":                      {func(no, yes *Look) { yes.Control = No }, false},
		"yes is ticked already":         {func(no, yes *Look) { yes.Presses = 0 }, false},
		"presses of no are not said":    {func(no, yes *Look) { no.Presses = 0 }, false},
		"size of no is not said":        {func(no, yes *Look) { no.Area = 0 }, false},
		"letters of no are not said":    {func(no, yes *Look) { no.Weight = 0 }, false},
		"letters of yes are not said":   {func(no, yes *Look) { yes.Weight = 0 }, false},
		"no is nearer but much lighter": {func(no, yes *Look) { yes.Presses = 2; no.Weight = 100 }, false},
	}
	for name, test := range tests {
		c := fair()
		test.edit(&c[1], &c[2])
		if err := Parity(c); (err == nil) != test.ok {
			t.Errorf("%s, %+v: %v, want parity %t", name, c, err, test.ok)
		}
	}
	if Parity(nil) == nil {
		t.Error("nothing drawn has parity")
	}
}

// P11: whatever is drawn, parity holds only where no control for yes is easier, and every break of a fair
// drawing is found, wherever the controls stand and whatever stands beside them.
func TestParityProperty(t *testing.T) {
	look := rapid.Custom(func(t *rapid.T) Look {
		return Look{Control(rapid.IntRange(1, 5).Draw(t, "control")), uint(rapid.IntRange(0, 4).Draw(t, "presses")), uint(rapid.IntRange(0, 3).Draw(t, "area")) * 100, uint(rapid.IntRange(0, 3).Draw(t, "weight")) * 300}
	})
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOfN(look, 0, 6).Draw(t, "drawn")
		if Parity(all) != nil {
			return
		}
		yeses, noes := 0, 0
		for _, y := range all {
			for _, n := range all {
				if y.Control == Yes && n.Control == No && (y.Presses < n.Presses || y.Area > n.Area || y.Weight > n.Weight) {
					t.Fatalf("%+v is easier than %+v", y, n)
				}
			}
			if y.Control == Yes {
				yeses++
			}
			if y.Control == No {
				noes++
			}
			if (y.Control == Yes || y.Control == No) && y.Presses == 0 {
				t.Fatalf("%+v needs nothing", y)
			}
		}
		if yeses != 1 || noes != 1 {
			t.Fatalf("%d ways to say yes and %d to say no", yeses, noes)
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		presses, area, weight := uint(rapid.IntRange(1, 9).Draw(t, "presses")), uint(rapid.IntRange(1, 1e6).Draw(t, "area")), uint(rapid.IntRange(100, 900).Draw(t, "weight"))
		n, y := Look{No, presses, area, weight}, Look{Yes, presses, area, weight}
		y.Presses += uint(rapid.IntRange(0, 3).Draw(t, "nearer"))
		n.Area += uint(rapid.IntRange(0, 100).Draw(t, "larger"))
		n.Weight += uint(rapid.IntRange(0, 100).Draw(t, "bolder"))
		others := rapid.SliceOfN(rapid.Map(look, func(l Look) Look { l.Control = More + l.Control%3; return l }), 0, 3).Draw(t, "others")
		shuffle := func(ls ...Look) []Look { return rapid.Permutation(append(ls, others...)).Draw(t, "order") }
		if err := Parity(shuffle(n, y)); err != nil {
			t.Fatalf("%+v and %+v: %v", n, y, err)
		}
		breaks := map[string]func(n, y Look) []Look{
			"farther": func(n, y Look) []Look { n.Presses = y.Presses + 1; return shuffle(n, y) },
			"smaller": func(n, y Look) []Look { n.Area = y.Area - 1; return shuffle(n, y) },
			"lighter": func(n, y Look) []Look { n.Weight = y.Weight - 1; return shuffle(n, y) },
			"missing": func(n, y Look) []Look { return shuffle(y) },
			"ticked":  func(n, y Look) []Look { y.Presses = 0; return shuffle(n, y) },
			"twice":   func(n, y Look) []Look { easy := y; easy.Presses = 1; return shuffle(n, y, easy) },
			"unsaid":  func(n, y Look) []Look { y.Weight = 0; return shuffle(n, y) },
		}
		for what, broken := range breaks {
			if drawn := broken(n, y); Parity(drawn) == nil {
				t.Fatalf("no is %s, and nobody minds: %+v", what, drawn)
			}
		}
	})
}

func TestMayAsk(t *testing.T) {
	type step func(h *house)
	wait := func(d time.Duration) step { return func(h *house) { h.wait(d) } }
	record := func(e Entry) step { return func(h *house) { h.record(e) } }
	asked := func(q Question, then func(r *Reply)) step {
		return func(h *house) {
			a := h.ask(q, "tv-oak")
			h.served(a, fair()...)
			if then != nil {
				h.answer(a, then)
			}
		}
	}
	baker := func(subject device.PersonID) Question { q := question(subject); q.Brand = "baker"; return q }
	bakersNo := say(0, policy.Refused)
	bakersNo.Brand = "baker"
	person := func(p device.PersonID, edit func(p *registry.Person)) step {
		return func(h *house) {
			h.do(func(tx *store.Tx) error {
				people, err := registry.People(tx, 1)
				if err != nil {
					return err
				}
				edit(&people[p-1])
				return registry.ChangePerson(tx, 1, people[p-1])
			})
		}
	}
	issue := func(edit func(n *Notice)) step { return func(h *house) { h.issue(edit) } }
	plain := func(n *Notice) {}
	const soon, ms = "too soon", time.Millisecond
	tests := map[string]struct {
		steps []step
		q     Question
		want  any           // nil, an error, or soon
		in    time.Duration // of soon: until when, from then
	}{
		"the home":                   {nil, question(0), nil, 0},
		"an adult":                   {nil, question(anna), nil, 0},
		"a teen":                     {nil, question(tess), nil, 0},
		"a guest":                    {nil, question(gus), nil, 0},
		"a child":                    {nil, question(ben), ErrNotAsked, 0},
		"one of unknown age":         {nil, question(dora), ErrNotAsked, 0},
		"somebody frozen":            {[]step{person(anna, func(p *registry.Person) { p.Frozen = true })}, question(anna), ErrNotAsked, 0},
		"nobody":                     {nil, question(9), registry.ErrUnknown, 0},
		"no such brand":              {nil, Question{1, 0, "nobody", policy.Marketing}, registry.ErrUnknown, 0},
		"undeclared":                 {nil, Question{1, 0, "grocer", policy.Research}, ErrNotAsked, 0},
		"not in the notice":          {[]step{issue(plain)}, Question{1, 0, "grocer", policy.Personalised}, ErrNotAsked, 0},
		"a stopped brand":            {[]step{func(h *house) { h.do(func(tx *store.Tx) error { return registry.StopBrand(tx, "grocer", "spam") }) }}, question(0), ErrNotAsked, 0},
		"while another is open":      {[]step{asked(baker(0), nil), wait(8 * day)}, question(0), nil, 0}, // its time is over
		"at once":                    {[]step{asked(baker(0), nil)}, question(0), soon, 7 * day},
		"the same week":              {[]step{asked(baker(0), neither), wait(7*day - 2*ms)}, question(0), soon, ms},
		"the same week, another":     {[]step{asked(baker(anna), neither), wait(7*day - 2*ms)}, question(carl), soon, ms},
		"a week later":               {[]step{asked(baker(0), neither), wait(7*day - ms)}, question(0), nil, 0},
		"the same brand":             {[]step{asked(question(0), neither), wait(90*day - 2*ms)}, question(anna), soon, ms},
		"90 days later":              {[]step{asked(question(0), neither), wait(90*day - ms)}, question(anna), nil, 0},
		"a clock that was set back":  {[]step{asked(baker(0), neither), wait(-day)}, question(0), soon, 8*day - ms},
		"after a no":                 {[]step{record(say(0, policy.Refused)), wait(180*day - ms)}, question(0), soon, ms},
		"180 days after a no":        {[]step{record(say(0, policy.Refused)), wait(180 * day)}, question(0), nil, 0},
		"after a no to an ask":       {[]step{asked(question(0), no), wait(180*day - 2*ms)}, question(0), soon, ms},
		"after it was taken back":    {[]step{record(say(0, policy.Given)), record(say(0, policy.Refused)), wait(100 * day)}, question(0), soon, 80 * day},
		"after the home's no":        {[]step{record(say(0, policy.Refused))}, question(anna), soon, 180 * day},
		"after another's no":         {[]step{record(say(carl, policy.Refused))}, question(anna), nil, 0},
		"the home, after anybody's":  {[]step{record(say(carl, policy.Refused))}, question(0), soon, 180 * day},
		"after a no to another":      {[]step{record(bakersNo)}, question(0), nil, 0},
		"a no that became a yes":     {[]step{record(say(0, policy.Refused)), record(say(0, policy.Given)), wait(340 * day)}, question(0), nil, 0},
		"answered":                   {[]step{record(say(0, policy.Given)), wait(100 * day)}, question(0), ErrAnswered, 0},
		"answered, other words":      {[]step{issue(plain), record(say(0, policy.Given)), issue(func(n *Notice) { n.Layers = map[string]Layers{"en": {First: "x"}} })}, question(0), ErrAnswered, 0},
		"answered, then narrowed":    {[]step{issue(plain), record(say(0, policy.Given)), issue(func(n *Notice) { n.Retention = 1 })}, question(0), ErrAnswered, 0},
		"answered, then widened":     {[]step{issue(plain), record(say(0, policy.Given)), issue(func(n *Notice) { n.Retention = 8 })}, question(0), nil, 0},
		"widened, but a no":          {[]step{issue(plain), record(say(0, policy.Refused)), issue(func(n *Notice) { n.Retention = 8 }), wait(170 * day)}, question(0), soon, 10 * day},
		"widened, but asked lately":  {[]step{issue(plain), asked(question(0), yes), issue(func(n *Notice) { n.Retention = 8 }), wait(30*day - ms)}, question(0), soon, 60 * day},
		"31 days before the end":     {[]step{record(say(0, policy.Given)), wait(334 * day)}, question(0), ErrAnswered, 0},
		"30 days before the end":     {[]step{record(say(0, policy.Given)), wait(335 * day)}, question(0), nil, 0},
		"after the end":              {[]step{record(say(0, policy.Given)), wait(366 * day)}, question(0), nil, 0},
		"somebody else has answered": {[]step{record(say(carl, policy.Given))}, question(anna), nil, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h := openHouse(t)
			for _, s := range test.steps {
				s(h)
			}
			err := h.mayAsk(test.q)
			switch want := test.want.(type) {
			case nil:
				if err != nil {
					t.Errorf("got %v", err)
				}
			case error:
				if !errors.Is(err, want) {
					t.Errorf("got %v, want %v", err, want)
				}
			case string:
				var early *TooSoonError
				if !errors.As(err, &early) || early.Until != h.now.Add(test.in) {
					t.Errorf("got %v, want %s from %s", err, test.in, h.now)
				}
			}
			_, err2 := h.request(test.q, "tv-oak")
			if (err == nil) != (err2 == nil) {
				t.Errorf("MayAsk says %v and Request %v", err, err2)
			}
		})
	}
}

func TestRequest(t *testing.T) {
	h := openHouse(t)
	undo := errors.New("undo")
	tests := map[string]struct {
		subject device.PersonID
		on      device.ID
		live    time.Duration
		want    error
	}{
		"the home, on the television":  {0, "tv-oak", time.Minute, nil},
		"somebody, on the television":  {anna, "tv-oak", time.Minute, nil},
		"somebody, on their own":       {anna, "anna-oak", time.Minute, nil},
		"the home, on somebody's":      {0, "anna-oak", time.Minute, nil},
		"the longest":                  {0, "tv-oak", MaxLive, nil},
		"somebody, on another's":       {anna, "carl-oak", time.Minute, ErrNotAsked},
		"where nothing can be widened": {0, "wall-oak", time.Minute, ErrNotAsked},
		"the home, on a child's":       {0, "ben-oak", time.Minute, ErrNotAsked},
		"the home, on a guest's":       {0, "gus-oak", time.Minute, ErrNotAsked},
		"a guest, on their own":        {gus, "gus-oak", time.Minute, nil},
		"on no device":                 {0, "no-such", time.Minute, registry.ErrUnknown},
		"on another home's":            {0, "tv-elm", time.Minute, registry.ErrUnknown},
		"for ever":                     {0, "tv-oak", MaxLive + 1, ErrInvalid},
		"for no time":                  {0, "tv-oak", 0, ErrInvalid},
	}
	h.do(func(tx *store.Tx) error { _, err := addHome(tx, "elm"); return err })
	for name, test := range tests {
		err := h.try(func(tx *store.Tx) error {
			_, err := Request(tx, question(test.subject), test.on, test.live, Budget{})
			return errors.Join(err, undo)
		})
		if test.want == nil && (errors.Is(err, ErrNotAsked) || errors.Is(err, ErrInvalid) || errors.Is(err, registry.ErrUnknown)) || test.want != nil && !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

// What becomes of an ask, by what was drawn, who answered and what.
func TestAnswer(t *testing.T) {
	by := func(p device.PersonID) func(r *Reply) { return func(r *Reply) { r.Say, r.Person = Yes, p } }
	unfair := fair()
	unfair[1].Weight = 300
	tests := map[string]struct {
		subject device.PersonID
		on      device.ID
		drawn   [][]Look
		before  func(h *house)
		reply   func(r *Reply)
		want    State
		gives   policy.Choice
		by      device.PersonID
	}{
		"yes of the home":                {0, "tv-oak", [][]Look{fair()}, nil, yes, Given, policy.Given, 0},
		"yes of the home, by an adult":   {0, "tv-oak", [][]Look{fair()}, nil, by(carl), Given, policy.Given, carl},
		"on somebody's device":           {0, "anna-oak", [][]Look{fair()}, nil, yes, Given, policy.Given, anna},
		"no of the home":                 {0, "tv-oak", [][]Look{fair()}, nil, no, Refused, policy.Refused, 0},
		"no, after a yes in settings":    {0, "tv-oak", [][]Look{fair()}, func(h *house) { h.record(say(0, policy.Given)) }, no, Withdrawn, policy.Withdrawn, 0},
		"yes, to the same once more":     {0, "tv-oak", [][]Look{fair()}, func(h *house) { h.record(say(0, policy.Given)) }, yes, Renewed, policy.Given, 0},
		"neither":                        {0, "tv-oak", [][]Look{fair()}, nil, neither, Deferred, policy.Silent, 0},
		"yes that was not drawn":         {0, "tv-oak", nil, nil, yes, Invalidated, policy.Silent, 0},
		"no that was not drawn":          {0, "tv-oak", nil, nil, no, Refused, policy.Refused, 0},
		"yes, drawn larger":              {0, "tv-oak", [][]Look{unfair}, nil, yes, Invalidated, policy.Silent, 0},
		"no, although yes was larger":    {0, "tv-oak", [][]Look{unfair}, nil, no, Refused, policy.Refused, 0},
		"second layer is unfair":         {0, "tv-oak", [][]Look{fair(), unfair}, nil, yes, Invalidated, policy.Silent, 0},
		"second layer is fair":           {0, "tv-oak", [][]Look{unfair, fair()}, nil, yes, Invalidated, policy.Silent, 0},
		"both are fair":                  {0, "tv-oak", [][]Look{fair(), fair()[1:]}, nil, yes, Given, policy.Given, 0},
		"unfair, with a yes from before": {0, "tv-oak", [][]Look{unfair}, func(h *house) { h.record(say(0, policy.Given)) }, yes, Invalidated, policy.Given, 0},
		"by a child":                     {0, "tv-oak", [][]Look{fair()}, nil, by(ben), Deferred, policy.Silent, ben},
		"by one of unknown age":          {0, "tv-oak", [][]Look{fair()}, nil, by(dora), Deferred, policy.Silent, dora},
		"by a guest":                     {0, "tv-oak", [][]Look{fair()}, nil, by(gus), Deferred, policy.Silent, gus},
		"by nobody of the home":          {0, "tv-oak", [][]Look{fair()}, nil, by(9), Deferred, policy.Silent, 0},
		"a child's no":                   {0, "tv-oak", [][]Look{fair()}, nil, func(r *Reply) { r.Say, r.Person = No, ben }, Refused, policy.Refused, ben},
		"a stranger's no":                {0, "tv-oak", [][]Look{fair()}, nil, func(r *Reply) { r.Say, r.Person = No, 9 }, Refused, policy.Refused, 0},
		"somebody, on their own":         {anna, "anna-oak", [][]Look{fair()}, nil, yes, Given, policy.Given, anna},
		"somebody, known":                {anna, "tv-oak", [][]Look{fair()}, nil, by(anna), Given, policy.Given, anna},
		"somebody, not known":            {anna, "tv-oak", [][]Look{fair()}, nil, yes, Deferred, policy.Silent, 0},
		"somebody, by another":           {anna, "tv-oak", [][]Look{fair()}, nil, by(carl), Deferred, policy.Silent, carl},
		"a device that may no longer": {0, "tv-oak", [][]Look{fair()}, func(h *house) {
			h.do(func(tx *store.Tx) error {
				return registry.ChangeDevice(tx, device.Device{ID: "tv-oak", Name: "TV", Controller: false})
			})
		}, yes, Deferred, policy.Silent, 0},
		"a brand that asks no more": {0, "tv-oak", [][]Look{fair()}, func(h *house) {
			h.do(func(tx *store.Tx) error {
				_, err := registry.ChangeBrand(tx, "grocer", func(b *registry.Brand) { b.Purposes = []string{"research"} })
				return err
			})
		}, yes, Invalidated, policy.Silent, 0},
		"a brand that has left": {0, "tv-oak", [][]Look{fair()}, func(h *house) {
			h.do(func(tx *store.Tx) error { return registry.RemoveBrand(tx, "grocer") })
		}, yes, Invalidated, policy.Silent, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h := openHouse(t)
			if test.before != nil && test.want == Renewed || test.want == Withdrawn || test.gives == policy.Given && test.want == Invalidated {
				test.before(h)
			}
			a := h.ask(question(test.subject), test.on)
			for _, drawn := range test.drawn {
				h.served(a, drawn...)
			}
			if test.before != nil && h.stance(0).Choice == policy.Silent {
				test.before(h)
			}
			got := h.answer(a, test.reply)
			if got.State != test.want {
				t.Fatalf("the ask is %s (%s), want %s", got.State, got.Why, test.want)
			}
			if s := h.stance(test.subject); s.Choice != test.gives {
				t.Errorf("in force: %s, want %s", s.Choice, test.gives)
			}
			e := h.last()
			if e.State != test.want || e.Served != a.ID || e.Notice != a.Notice || e.By != test.by || e.Device != test.on || e.Method != "ask" || e.Layer != 2 || e.Dwell != 3000 || (e.Why == "") == (test.want == Deferred || test.want == Invalidated) {
				t.Errorf("written down: %+v", e)
			}
			// The same again, and anything else but a first no, changes nothing.
			n := len(h.history())
			for _, reply := range []func(r *Reply){test.reply, yes, neither} {
				if again := h.answer(a, reply); again.State != test.want {
					t.Errorf("answered again it is %s", again.State)
				}
			}
			h.served(a, Look{Yes, 1, 1, 100})
			if got := len(h.history()); got != n {
				t.Errorf("what came after wrote %d events", got-n)
			}
			// A no counts also afterwards, once.
			h.answer(a, no)
			h.answer(a, no)
			if test.want == Refused || test.want == Withdrawn {
				n--
			}
			if got := len(h.history()); got != n+1 {
				t.Errorf("two noes wrote %d events", got-n)
			}
			if s := h.stance(test.subject); s.Choice != policy.Refused && s.Choice != policy.Withdrawn {
				t.Errorf("after a no: %s", s.Choice)
			}
		})
	}
}

func TestAskLives(t *testing.T) {
	h := openHouse(t)
	open := func() (all []Ask) {
		t.Helper()
		h.see(func(tx *store.Tx) (err error) { all, err = Open(tx, 1); return err })
		return all
	}
	a := h.ask(question(0), "tv-oak")
	h.served(a, fair()...)
	h.Close() // a restart
	h.open()
	all := open()
	if len(all) != 1 || all[0].ID != a.ID || all[0].Until != a.Until || all[0].Until != h.now.Add(time.Minute) || all[0].Drawn != h.now || all[0].Notice != a.Notice || all[0].State != Requested {
		t.Fatalf("after a restart: %+v, want %+v", all, a)
	}
	if _, err := h.request(question(anna), "anna-oak"); err == nil {
		t.Error("a second question is asked while one is open")
	}
	// Told again, it is one fact; told otherwise, another; and there is an end to it.
	n := len(h.history())
	h.served(a, fair()...)
	if got := len(h.history()); got != n {
		t.Errorf("drawn as before, it wrote %d events", got-n)
	}
	other := func(i uint) error {
		c := fair()
		c[0].Area += i
		return h.try(func(tx *store.Tx) error { return Served(tx, 1, Serving{Ask: a.ID, Device: a.Device, Controls: c}) })
	}
	for i := range uint(7) {
		if err := other(i + 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := other(8); !errors.Is(err, ErrInvalid) {
		t.Errorf("drawn the 9th time: %v", err)
	}
	// Only where it is asked, and in its form.
	for name, f := range map[string]func(tx *store.Tx) error{
		"served elsewhere":   func(tx *store.Tx) error { return Served(tx, 1, Serving{Ask: a.ID, Device: "anna-oak"}) },
		"served, no ask":     func(tx *store.Tx) error { return Served(tx, 1, Serving{Device: "tv-oak"}) },
		"answered elsewhere": func(tx *store.Tx) error { _, err := Answer(tx, 1, Reply{Ask: a.ID, Device: "anna-oak"}); return err },
		"another home's":     func(tx *store.Tx) error { _, err := Answer(tx, 2, Reply{Ask: a.ID, Device: "tv-oak"}); return err },
	} {
		if err := h.try(f); !errors.Is(err, registry.ErrUnknown) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, f := range map[string]func(tx *store.Tx) error{
		"a short picture": func(tx *store.Tx) error {
			return Served(tx, 1, Serving{Ask: a.ID, Device: "tv-oak", Picture: []byte{1}})
		},
		"layer 4": func(tx *store.Tx) error { return Served(tx, 1, Serving{Ask: a.ID, Device: "tv-oak", Layer: 4}) },
		"9 controls": func(tx *store.Tx) error {
			return Served(tx, 1, Serving{Ask: a.ID, Device: "tv-oak", Controls: make([]Look, 9)})
		},
		"answer more": func(tx *store.Tx) error {
			_, err := Answer(tx, 1, Reply{Ask: a.ID, Device: "tv-oak", Say: More})
			return err
		},
	} {
		if err := h.try(f); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Handed over to a phone it is the same ask, drawn anew.
	hand := func(on device.ID) (got Ask, err error) {
		err = h.try(func(tx *store.Tx) (err error) { got, err = HandOver(tx, 1, a.ID, on, 2*time.Minute); return err })
		return got, err
	}
	h.answer(a, func(r *Reply) { r.Why = ByPhone })
	if got := open(); len(got) != 0 {
		t.Errorf("put off, and still open: %+v", got)
	}
	h.wait(time.Minute)
	if _, err := hand("ben-oak"); !errors.Is(err, ErrNotAsked) {
		t.Errorf("on a child's phone: %v", err)
	}
	moved, err := hand("anna-oak")
	if err != nil {
		t.Fatal(err)
	}
	if got := open(); len(got) != 1 || got[0].Device != "anna-oak" || got[0].Asked != a.Asked || got[0].Until != h.now.Add(2*time.Minute) || got[0].Drawn != 0 {
		t.Errorf("on the phone: %+v", got)
	}
	if got := h.answer(moved, yes); got.State != Invalidated {
		t.Errorf("how it was drawn on the television counts for the phone: %s", got.State)
	}
	if _, err := hand("anna-oak"); !errors.Is(err, ErrNotAsked) {
		t.Errorf("handed over when it is over: %v", err)
	}
	// Who left the screen did not ask for a phone.
	h.wait(200 * day)
	a = h.ask(question(carl), "carl-oak")
	h.answer(a, func(r *Reply) { r.Why = ByBack })
	if _, err := hand("carl-oak"); !errors.Is(err, ErrNotAsked) {
		t.Errorf("handed over after BACK: %v", err)
	}
	h.see(func(tx *store.Tx) error {
		all, err := Asks(tx, 1)
		if len(all) != 2 || all[0].State != Invalidated || all[1].State != Deferred || all[1].Why != "back" {
			t.Errorf("all asks: %+v", all)
		}
		return err
	})
}

// A fact about a person is sealed with their key, whatever it tells of them.
func TestFactsAreSealedWithTheirPersonsKey(t *testing.T) {
	h := lived(t)
	home, kinds := device.HomeID(1), map[string]bool{}
	h.see(func(tx *store.Tx) error {
		for ev, err := range tx.Journal(store.Filter{Home: &home}) {
			if err != nil {
				return err
			}
			if noun, _, _ := strings.Cut(ev.Kind, "."); noun != "consent" {
				continue
			}
			var body struct{ Subject *device.PersonID }
			if err := json.Unmarshal(ev.Body, &body); err != nil || body.Subject == nil || *body.Subject != ev.Subject {
				t.Errorf("%s: sealed for %d, and it is %s, %v", ev.Kind, ev.Subject, ev.Body, err)
			}
			if ev.Subject != device.Household {
				kinds[ev.Kind] = true
			}
		}
		return nil
	})
	for _, kind := range []string{"requested", "served", "given", "refused", "invalidated", "expired"} {
		if !kinds["consent."+kind] {
			t.Errorf("no event consent.%s about a person was looked at", kind)
		}
	}
}

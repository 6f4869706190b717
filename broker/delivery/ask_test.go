package delivery

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/device/twin"
	"porchlight/device/wire"
	"porchlight/policy"
	"porchlight/policy/consent"
)

// askWorld is a world with devices that are asked.
type askWorld struct {
	*world
	all []*asked
}

func inAsking(t *testing.T, f func(w *askWorld)) {
	t.Helper()
	inWorldOf(t, func(w *world) {
		a := &askWorld{world: w}
		defer func() {
			for _, one := range a.all {
				one.up.Close(Shutdown)
			}
			w.wait()
		}()
		f(a)
	})
}

// asked is a device that is asked, played by hand: it keeps the questions that it is handed, and says
// of them what it is told to say.
type asked struct {
	w     *askWorld
	id    device.ID
	class device.Class
	can   wire.Capabilities
	calm  map[string]any // what it tells when it connects
	up    *line

	mu    sync.Mutex
	asks  []wire.Ask
	shown []device.MessageID
	deaf  wire.Leaf // it does not acknowledge that
}

// lives adds a home called oak with people and devices; owners are names. No caps.
func (w *askWorld) lives(people []PersonSpec, devices ...DeviceSpec) []*asked {
	w.t.Helper()
	for i := range devices {
		devices[i].Controller, devices[i].Name = true, fmt.Sprint(devices[i].Class, i)
		devices[i].Room = cmp.Or(devices[i].Room, devices[i].Class.String()+fmt.Sprint(i))
	}
	_, enrolled, err := w.desk.AddHome(w.t.Context(), HomeSpec{Name: "oak", Zone: "Europe/Zurich", People: people, Devices: devices, Caps: []policy.Cap{}})
	w.must(err)
	for _, e := range enrolled {
		a := &asked{w: w, id: e.ID, class: e.Class, calm: maps.Clone(calm[e.Class]),
			can: wire.Capabilities{Screen: []uint{1920, 1080, 1000}, Inputs: device.Remote, Forms: []device.Form{device.Toast, device.List, device.Badge}, MaxButtons: 3, Languages: []string{"en"}}}
		if a.calm == nil {
			a.calm = map[string]any{"power.state": "on"}
		}
		if e.Class == device.Speaker {
			a.can.Inputs, a.can.Sound, a.can.MaxButtons, a.calm = device.VoiceIn, 2, 0, map[string]any{"call.active": false}
		}
		w.all = append(w.all, a)
		a.connect()
	}
	w.wait()
	return w.all
}

var grown = []PersonSpec{{Name: "Anna", Age: device.Adult}, {Name: "Ben", Age: device.Adult}}

func one(class device.Class) DeviceSpec { return DeviceSpec{Class: class} }

// connect logs in, subscribes, is born and says that all is calm.
func (a *asked) connect() {
	a.w.t.Helper()
	l := &line{a: a, frames: make(chan Frame, 64), done: make(chan struct{})}
	a.mu.Lock()
	a.up = l
	held := slices.Clone(a.shown)
	a.mu.Unlock()
	d := a.w.desk
	a.w.must(d.Connected(a.id, 1, l))
	a.w.must(d.Subscribed(a.id, l))
	a.w.must(d.Birth(a.id, l, wire.Birth{Class: a.class, Model: wire.Model{Maker: "Hand", Name: "made"}, Held: held, Attributes: []string{"power.state"}, Can: a.can}))
	go l.serve()
	a.tell(a.calm)
}

// line is one connection of it.
type line struct {
	a      *asked
	frames chan Frame
	done   chan struct{}
	once   sync.Once
}

func (l *line) Send(f Frame) error {
	select {
	case <-l.done:
		return ErrAway
	case l.frames <- f:
		return nil
	default:
		return ErrAway
	}
}

func (l *line) From() string { return "" }
func (l *line) Close(Reason) { l.once.Do(func() { close(l.done) }) }

func (l *line) serve() {
	a, d := l.a, l.a.w.desk
	for {
		select {
		case <-l.done:
			d.Gone(a.id, l)
			return
		case f := <-l.frames:
			a.mu.Lock()
			deaf := a.deaf == f.Leaf
			var say []wire.Event
			switch f.Leaf {
			case wire.DnAsk:
				q, err := wire.DecodeAsk(f.Payload)
				if err != nil || f.QoS != 1 {
					a.w.t.Errorf("dn/ask: %v, QoS %d", err, f.QoS)
				}
				a.asks = append(a.asks, q)
			case wire.DnMsg:
				present, cancel, err := wire.DecodeMsg(f.Payload)
				if err != nil {
					a.w.t.Errorf("dn/msg: %v", err)
				} else if present != nil {
					a.shown = append(a.shown, present.Message)
					say = append(say, wire.Event{Message: present.Message, Kind: wire.Presented})
				} else {
					a.shown = slices.DeleteFunc(a.shown, func(id device.MessageID) bool { return id == cancel.Message })
					say = append(say, wire.Event{Message: cancel.Message, Kind: wire.Cancelled})
				}
			}
			a.mu.Unlock()
			if deaf {
				continue
			}
			if f.QoS == 1 {
				d.Acked(a.id, l)
			}
			for _, e := range say {
				_ = d.Event(a.id, l, e) // if the connection has ended, its next birth says it
			}
		}
	}
}

func (a *asked) disconnect() {
	a.up.Close(Shutdown)
	a.w.wait()
}

// ignore has it not acknowledge frames of a leaf.
func (a *asked) ignore(leaf wire.Leaf) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.deaf = leaf
}

// tell reports context.
func (a *asked) tell(values map[string]any) {
	a.w.t.Helper()
	if values != nil {
		a.w.must(a.w.desk.Context(a.id, a.up, wire.Context{Values: values}))
	}
	a.w.wait()
}

// tellIfHere is tell, if there is a connection.
func (a *asked) tellIfHere(values map[string]any) {
	a.w.t.Helper()
	select {
	case <-a.up.done:
	default:
		a.tell(values)
	}
}

// got is the questions that it was handed.
func (a *asked) got() []wire.Ask {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.asks)
}

// question is the only one that it was handed since the last time.
func (a *asked) question() wire.Ask {
	a.w.t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.asks) != 1 {
		a.w.t.Fatalf("the %s was handed %d questions, want 1", a.class, len(a.asks))
	}
	q := a.asks[0]
	a.asks = nil
	return q
}

// say says what became of a question.
func (a *asked) say(q wire.Ask, kind wire.AnswerKind, edit func(s *wire.Answer)) error {
	a.w.t.Helper()
	s := wire.Answer{Ask: q.ID, Kind: kind}
	if kind == wire.AnswerDrawn {
		for _, c := range q.Controls {
			s.Drawn = append(s.Drawn, wire.DrawnControl{ID: c.ID, Presses: 1, Area: 4000, Weight: 400})
		}
		s.Picture, s.Layer = make([]byte, 32), 1
	}
	if edit != nil {
		edit(&s)
	}
	err := a.w.desk.Answer(a.id, a.up, s)
	a.w.wait()
	return err
}

// answer draws a question and answers it.
func (a *asked) answer(q wire.Ask, kind wire.AnswerKind, edit func(s *wire.Answer)) {
	a.w.t.Helper()
	a.w.must(a.say(q, wire.AnswerDrawn, nil))
	a.w.must(a.say(q, kind, edit))
}

func by(person uint32) func(s *wire.Answer) { return func(s *wire.Answer) { s.Person = person } }

func defers(why wire.DeferredBy) func(s *wire.Answer) { return func(s *wire.Answer) { s.Why = why } }

func (a *asked) mustShow(want ...device.MessageID) {
	a.w.t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	if !slices.Equal(a.shown, want) {
		a.w.t.Fatalf("the %s shows %v, want %v", a.class, a.shown, want)
	}
}

// ask has the home asked about the grocer's offers, anywhere.
func (w *askWorld) ask() error {
	w.t.Helper()
	_, err := w.desk.Ask(w.t.Context(), "oak", w.brand.ID, policy.Marketing, AskWhere{})
	w.wait()
	return err
}

// asks are the states of all asks in the home, with commas between.
func (w *askWorld) asks() string {
	w.t.Helper()
	all, err := w.desk.Asks(w.t.Context(), "oak")
	w.must(err)
	var states []string
	for _, a := range all {
		states = append(states, string(a.State))
	}
	return strings.Join(states, ",")
}

func (w *askWorld) mustAsks(want string) {
	w.t.Helper()
	if got := w.asks(); got != want {
		w.t.Fatalf("asks are %q, want %q", got, want)
	}
}

// skip sets people's clock ahead, which is noticed within a second; what was told is told again.
func (w *askWorld) skip(by time.Duration) {
	w.t.Helper()
	w.jump.Add(by.Milliseconds())
	w.pass(2 * time.Second)
	for _, a := range w.all {
		a.tellIfHere(a.calm)
	}
	w.pass(6 * time.Second)
}

// said are the choices in force, as "home given, Anna given".
func (w *askWorld) said() string {
	w.t.Helper()
	all, err := w.desk.Consents(w.t.Context(), "oak")
	w.must(err)
	var words []string
	for _, c := range all {
		words = append(words, cmp.Or(c.Person, "home")+" "+c.Choice.String())
	}
	slices.Sort(words)
	return strings.Join(words, ", ")
}

func (w *askWorld) mustSay(want string) {
	w.t.Helper()
	if got := w.said(); got != want {
		w.t.Fatalf("said is %q, want %q", got, want)
	}
}

// One thing about a good home is changed, and says whether it is asked.
func TestAskOnlyAtAGoodMoment(t *testing.T) {
	type home struct {
		*askWorld
		a []*asked
	}
	tests := map[string]struct {
		people  []PersonSpec
		devices []DeviceSpec
		edit    func(h home)
		why     string // what the error names; "": it is asked
	}{
		"an idle television":              {},
		"a parked car":                    {devices: []DeviceSpec{{Class: device.Car, Owner: "Anna"}}},
		"a speaker that hears and speaks": {devices: []DeviceSpec{one(device.Speaker)}},
		"a known adult is there":          {edit: func(h home) { h.a[0].tell(map[string]any{"presence.who": "1"}) }},
		"a known adult and a teen": {people: append(slices.Clone(grown), PersonSpec{Name: "Tim", Age: device.Teen}),
			edit: func(h home) { h.a[0].tell(map[string]any{"presence.who": "1 3"}) }},

		"content": {why: "something is on", edit: func(h home) { h.a[0].tell(map[string]any{"state": "playing", "full_screen": false}) }},
		"paused":  {why: "something is on", edit: func(h home) { h.a[0].tell(map[string]any{"state": "paused"}) }},
		"a film in the same room": {why: "quiet", devices: []DeviceSpec{{Class: device.TV, Room: "den"}, {Class: device.Fridge, Room: "den"}},
			edit: func(h home) { h.a[0].tell(map[string]any{"state": "playing", "full_screen": true}) }},
		"quiet time":     {why: "quiet", edit: func(h home) { h.must(h.desk.SetQuiet(h.t.Context(), "oak", []policy.Quiet{{}})) }},
		"do not disturb": {why: "safety", edit: func(h home) { h.a[0].tell(map[string]any{"dnd": true}) }},
		"an alarm":       {why: "safety", edit: func(h home) { h.a[0].tell(map[string]any{"alarm": true}) }},
		"a car that moves": {why: "safety", devices: []DeviceSpec{{Class: device.Car, Owner: "Anna"}},
			edit: func(h home) { h.a[0].tell(map[string]any{"ux.driving": "moving"}) }},
		"a car that idles": {why: "safety", devices: []DeviceSpec{{Class: device.Car, Owner: "Anna"}},
			edit: func(h home) { h.a[0].tell(map[string]any{"ux.driving": "idling"}) }},
		"a car that has gone silent":        {why: "safety", devices: []DeviceSpec{{Class: device.Car, Owner: "Anna"}}, edit: func(h home) { h.pass(6 * time.Second) }},
		"a class that never shows anything": {why: "safety", devices: []DeviceSpec{one(device.Other)}},
		"no screen":                         {why: "no screen", devices: []DeviceSpec{}},
		"away":                              {why: "away", edit: func(h home) { h.a[0].disconnect() }},
		"nothing to answer with":            {why: "no way to answer", edit: func(h home) { h.a[0].can.Inputs = 0; h.a[0].connect() }},
		"one button only":                   {why: "no way to answer", edit: func(h home) { h.a[0].can.MaxButtons = 1; h.a[0].connect() }},
		"a speaker that is deaf":            {why: "no way to answer", devices: []DeviceSpec{one(device.Speaker)}, edit: func(h home) { h.a[0].can.Inputs = 0; h.a[0].connect() }},
		"a brand that is muted": {why: "mute", edit: func(h home) {
			h.must(h.desk.SetMutes(h.t.Context(), "oak", []policy.MuteRule{{Selector: policy.Selector{Brand: h.brand.ID}}}))
		}},
		"a message is on it": {why: "a message is on it", edit: func(h home) {
			b := registry.Brand{ID: "baker", Name: "Baker", Purposes: []string{"marketing"}, Quota: 5}
			_, err := h.desk.AddBrand(h.t.Context(), b)
			h.must(err)
			h.must(h.desk.Choose(h.t.Context(), "oak", "", b.ID, policy.Marketing, policy.Given))
			_, err = h.desk.Accept(h.t.Context(), b, "bread", h.good())
			h.must(err)
			h.wait()
		}},

		"a child is there": {why: "not to be asked", people: append(slices.Clone(grown), PersonSpec{Name: "Kim", Age: device.Child}),
			edit: func(h home) { h.a[0].tell(map[string]any{"presence.who": "1 3"}) }},
		"a child is in the next room only": {people: append(slices.Clone(grown), PersonSpec{Name: "Kim", Age: device.Child}),
			edit: func(h home) { h.a[0].tell(map[string]any{"presence.who": "1"}) }},
		"a child may be there":           {why: "not to be asked", people: append(slices.Clone(grown), PersonSpec{Name: "Kim", Age: device.Child})},
		"a teen may be there":            {why: "not to be asked", people: append(slices.Clone(grown), PersonSpec{Name: "Tim", Age: device.Teen})},
		"somebody of unknown age may be": {why: "not to be asked", people: append(slices.Clone(grown), PersonSpec{Name: "Kim"})},
		"a child's own phone":            {why: "not to be asked", people: append(slices.Clone(grown), PersonSpec{Name: "Kim", Age: device.Child}), devices: []DeviceSpec{{Class: device.Companion, Owner: "Kim"}}},
		"a teen's own phone":             {why: "not to be asked", people: append(slices.Clone(grown), PersonSpec{Name: "Tim", Age: device.Teen}), devices: []DeviceSpec{{Class: device.Companion, Owner: "Tim"}}},
		"an adult's phone":               {devices: []DeviceSpec{{Class: device.Companion, Owner: "Anna"}}},
		"an adult's phone, a child beside": {why: "not to be asked", people: append(slices.Clone(grown), PersonSpec{Name: "Kim", Age: device.Child}), devices: []DeviceSpec{{Class: device.Companion, Owner: "Anna"}},
			edit: func(h home) { h.a[0].tell(map[string]any{"presence.who": "1 3"}) }},
		"somebody unknown is there":       {why: "not to be asked", edit: func(h home) { h.a[0].tell(map[string]any{"presence.who": "1", "presence.count": 2}) }},
		"somebody is there, hardly known": {why: "not to be asked", edit: func(h home) { h.a[0].tell(map[string]any{"presence.who": "1@0.7"}) }},
		"nobody is there":                 {why: "nobody", edit: func(h home) { h.a[0].tell(map[string]any{"presence.count": 0}) }},
		"a teen alone": {why: "nobody", people: append(slices.Clone(grown), PersonSpec{Name: "Tim", Age: device.Teen}),
			edit: func(h home) { h.a[0].tell(map[string]any{"presence.who": "3"}) }},
		"somebody who is there has said no": {why: "consent", edit: func(h home) {
			h.must(h.desk.Choose(h.t.Context(), "oak", "Ben", h.brand.ID, policy.Marketing, policy.Refused))
			h.a[0].tell(map[string]any{"presence.who": "1 2"})
		}},
		"somebody who may be there has said no": {why: "consent", edit: func(h home) {
			h.must(h.desk.Choose(h.t.Context(), "oak", "Ben", h.brand.ID, policy.Marketing, policy.Refused))
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			inAsking(t, func(w *askWorld) {
				if test.people == nil {
					test.people = grown
				}
				if test.devices == nil {
					test.devices = []DeviceSpec{one(device.TV)}
				}
				h := home{w, w.lives(test.people, test.devices...)}
				if test.edit != nil {
					test.edit(h)
					w.wait()
				}
				err := w.ask()
				n := 0
				for _, a := range h.a {
					n += len(a.got())
				}
				if test.why == "" {
					if err != nil || n != 1 {
						t.Errorf("ask: %v, %d questions were handed over; want one", err, n)
					}
				} else if !errors.Is(err, ErrNotNow) || !strings.Contains(err.Error(), test.why) || n != 0 {
					t.Errorf("ask: %v, %d questions were handed over; want none, and %q", err, n, test.why)
				}
				for _, a := range h.a { // an operator knows screens by their names
					if err != nil && (strings.Contains(err.Error(), string(a.id)) || !strings.Contains(err.Error(), fmt.Sprint(a.class, slices.Index(h.a, a))+": ") || !strings.HasSuffix(err.Error(), ")")) {
						t.Errorf("ask: %v, want each screen by its name, and what to do", err)
					}
				}
				w.memory()
			})
		})
	}
}

// What no moment can make good is refused with what stands against it.
func TestAskWhatMayNotBeAsked(t *testing.T) {
	inAsking(t, func(w *askWorld) {
		w.lives(grown, one(device.TV))
		ask := func(home string, b device.BrandID, p policy.Purpose, where AskWhere) error {
			_, err := w.desk.Ask(w.t.Context(), home, b, p, where)
			w.wait()
			return err
		}
		for name, err := range map[string]error{
			"no such home":   ask("elm", "grocer", policy.Marketing, AskWhere{}),
			"no such brand":  ask("oak", "nobody", policy.Marketing, AskWhere{}),
			"no such device": ask("oak", "grocer", policy.Marketing, AskWhere{Device: "nothing"}),
			"no such person": ask("oak", "grocer", policy.Marketing, AskWhere{Person: "Zoe"}),
		} {
			if !errors.Is(err, registry.ErrUnknown) {
				t.Errorf("%s: %v, want %v", name, err, registry.ErrUnknown)
			}
		}
		if err := ask("oak", "grocer", policy.Analytics, AskWhere{}); !errors.Is(err, consent.ErrNotAsked) {
			t.Errorf("a purpose that the brand has not declared: %v", err)
		}
		if err := ask("oak", "grocer", policy.Marketing, AskWhere{Person: "Anna"}); !errors.Is(err, ErrNotNow) {
			t.Errorf("somebody who is not known to be there: %v", err)
		}
		w.mustAsks("")
		w.must(w.ask())
		if err := w.ask(); !errors.Is(err, ErrAsking) || err.Error() != `ask about grocer: this home is being asked something already, about grocer on tv 0: ask when that is over (porchlight consent asks --home "oak")` {
			t.Errorf("a second one: %v, want %v", err, ErrAsking)
		}
	})
}

// A refusal says in the operator's words what is against it, and what to do.
func TestAskSaysWhatToDo(t *testing.T) {
	inAsking(t, func(w *askWorld) {
		people := append(slices.Clone(grown), PersonSpec{Name: "Kim", Age: device.Child, Guardians: []string{"Anna"}})
		all := w.lives(people, one(device.TV), DeviceSpec{Class: device.Companion, Owner: "Ben"}, one(device.Fridge))
		refused := func(b device.BrandID, p policy.Purpose, where AskWhere, is error, want string) {
			t.Helper()
			_, err := w.desk.Ask(w.t.Context(), "oak", b, p, where)
			w.wait()
			if !errors.Is(err, is) || err.Error() != want {
				t.Errorf("ask: got  %v\n              want %s", err, want)
			}
			for _, a := range all {
				if err != nil && strings.Contains(err.Error(), string(a.id)) {
					t.Errorf("%v names an ID", err)
				}
			}
		}
		all[1].disconnect()
		all[2].disconnect()
		const there = "tv 0, fridge 2: Kim is not to be asked, and is there, or may be (ask when a device tells who is there, and only adults who live here are)"
		refused("grocer", policy.Marketing, AskWhere{}, ErrNotNow, "ask about grocer: nobody can be asked just now: "+there+"; companion 1: it is away (connect it)")
		refused("grocer", policy.Marketing, AskWhere{Device: "companion 1"}, ErrNotNow, "ask about grocer: nobody can be asked just now: companion 1: it is away (connect it)")
		refused("grocer", policy.Marketing, AskWhere{Person: "Anna"}, ErrNotNow,
			"ask about grocer: nobody can be asked just now: "+there+"; companion 1: Anna is not known to be there (ask when a device tells that they are)")
		refused("grocer", policy.Marketing, AskWhere{Person: "Kim"}, consent.ErrNotAsked,
			"ask about grocer: Kim is not asked, only adults who live in the home are: what a guardian says for them is recorded with porchlight consent give --person \"Kim\" --guardian PERSON")
		refused("grocer", policy.Analytics, AskWhere{}, consent.ErrNotAsked,
			"ask about grocer: the brand has declared marketing, service, not analytics: porchlight brand set grocer --purpose says what it declares")
		refused("grcer", policy.Marketing, AskWhere{}, registry.ErrUnknown, "ask about grcer: brand grcer: not known")
		refused("grocer", policy.Marketing, AskWhere{Device: "tv"}, registry.ErrUnknown, `ask about grocer: device "tv": not known`)
		refused("grocer", policy.Marketing, AskWhere{Person: "Bne"}, registry.ErrUnknown, `ask about grocer: person "Bne": not known`)
		for what, want := range map[registry.UnknownError]string{
			{What: "brand", Name: "grcer"}: "did you mean grocer?", {What: "device", Name: "tv", Home: 1}: `did you mean "tv 0"?`, {What: "person", Name: "Bne", Home: 1}: `did you mean "Ben"?`,
		} {
			if got := w.desk.Instead(w.t.Context(), &what); got != want {
				t.Errorf("instead of %s %q: got %q, want %q", what.What, what.Name, got, want)
			}
		}
		_, err := w.desk.ChangePerson(w.t.Context(), "oak", "Ben", PersonChange{Frozen: new(true)})
		w.must(err)
		refused("grocer", policy.Marketing, AskWhere{Person: "Ben"}, consent.ErrNotAsked, `ask about grocer: Ben is frozen, and not asked: porchlight person set "Ben" --home "oak" --unfreeze`)
		w.must(w.desk.SetFrozen(w.t.Context(), "oak", "", true))
		refused("grocer", policy.Marketing, AskWhere{}, consent.ErrNotAsked, `ask about grocer: the home is frozen, and nobody there is asked: porchlight home set "oak" --unfreeze`)
		w.must(w.desk.SetFrozen(w.t.Context(), "oak", "", false))
		w.must(w.desk.SetQuiet(w.t.Context(), "oak", []policy.Quiet{{}}))
		all[0].tell(map[string]any{"presence.who": "1"})
		refused("grocer", policy.Marketing, AskWhere{Device: "tv 0"}, ErrNotNow, "ask about grocer: nobody can be asked just now: tv 0: quiet: quiet time until Monday 10 January 2000 00:00 (ask when that is over)")
		w.must(w.desk.SetQuiet(w.t.Context(), "oak", nil))
		w.must(w.desk.Choose(w.t.Context(), "oak", "Anna", "grocer", policy.Marketing, policy.Refused))
		refused("grocer", policy.Marketing, AskWhere{Device: "tv 0"}, ErrNotNow, "ask about grocer: nobody can be asked just now: tv 0: consent: somebody here has said no to offers from Grocer (whoever said no can say yes, on a device or by porchlight consent give)")
		_, err = w.desk.StopBrand(w.t.Context(), "grocer", "x")
		w.must(err)
		refused("grocer", policy.Marketing, AskWhere{}, consent.ErrNotAsked, "ask about grocer: the brand is stopped: porchlight brand start grocer")
	})
	inAsking(t, func(w *askWorld) { // what the ledger of choices has against it
		w.lives(grown, one(device.TV))
		w.must(w.desk.Choose(w.t.Context(), "oak", "", "grocer", policy.Marketing, policy.Given))
		err := w.ask()
		if want := `ask about grocer: the home has said yes to marketing from grocer already: see porchlight consent list --home "oak"`; !errors.Is(err, consent.ErrAnswered) || err.Error() != want {
			t.Errorf("ask: got %v, want %s", err, want)
		}
		w.must(w.desk.Choose(w.t.Context(), "oak", "", "grocer", policy.Marketing, policy.Withdrawn))
		_, err = w.desk.Ask(w.t.Context(), "oak", "grocer", policy.Service, AskWhere{})
		var soon *consent.TooSoonError
		if !errors.As(err, &soon) || err.Error() != fmt.Sprintf("ask about grocer: not before %s: somebody has said no to this brand: ask then", soon.Until) {
			t.Errorf("ask: got %v, want when, and why", err)
		}
	})
}

// budget is what the error of asking again says.
func tooSoon(err error) bool {
	var soon *consent.TooSoonError
	return errors.As(err, &soon)
}

func TestAskYes(t *testing.T) {
	inAsking(t, func(w *askWorld) {
		tv := w.lives(grown, one(device.TV))[0]
		m := w.push(nil)
		st, err := w.desk.Ask(w.t.Context(), "oak", "grocer", policy.Marketing, AskWhere{Device: tv.id})
		if err != nil || st.State != consent.Requested || st.Device != tv.id || st.Person != "" || st.Asked == 0 {
			t.Fatalf("ask: %+v, %v", st, err)
		}
		w.wait()
		q := tv.question()
		if q.ID != st.ID || q.Who != "Grocer" || utf8.RuneCountInString(q.Text) > wire.MaxAskText || len(q.Notice) != wire.HashSize || q.Live != 60_000 {
			t.Errorf("the question is %+v", q)
		}
		if len(q.Controls) != 3 || q.Controls[0].ID != wire.ControlYes || q.Controls[1].ID != wire.ControlNo || q.Controls[2].ID != wire.ControlMore || q.More == "" {
			t.Errorf("its controls are %+v, more is %q", q.Controls, q.More)
		}
		w.must(tv.say(q, wire.AnswerDrawn, nil))
		w.mustAsks("requested")
		if list, err := w.desk.Asks(w.t.Context(), "oak"); err != nil || list[0].Name == "" || list[0].Name == string(list[0].Device) {
			w.t.Errorf("asked on %+v, %v: want the screen's name", list, err)
		}
		tv.mustShow() // drawn is no yes
		w.must(tv.say(q, wire.AnswerYes, nil))
		w.mustAsks("given")
		w.mustSay("home given")
		tv.mustShow(m)
		// Whatever comes again changes nothing.
		before := string(w.journal())
		for _, kind := range []wire.AnswerKind{wire.AnswerYes, wire.AnswerDrawn, wire.AnswerDeferred} {
			w.must(tv.say(q, kind, func(s *wire.Answer) {
				if kind == wire.AnswerDeferred {
					s.Why = wire.ByBack
				}
			}))
		}
		if after := string(w.journal()); after != before {
			t.Errorf("answers that came again were written down: %s, then %s", before, after)
		}
		w.mustAsks("given")
		_, err = w.desk.Withdraw(w.t.Context(), "grocer", m)
		w.must(err)
		w.wait()
		if err := w.ask(); !errors.Is(err, consent.ErrAnswered) && !tooSoon(err) {
			t.Errorf("asked again after a yes: %v", err)
		}
		w.memory()
	})
}

// A no counts however it was drawn, and whenever it comes.
func TestAskNo(t *testing.T) {
	tests := map[string]func(w *askWorld, tv *asked, q wire.Ask){
		"drawn":     func(w *askWorld, tv *asked, q wire.Ask) { tv.answer(q, wire.AnswerNo, nil) },
		"not drawn": func(w *askWorld, tv *asked, q wire.Ask) { w.must(tv.say(q, wire.AnswerNo, nil)) },
		"late": func(w *askWorld, tv *asked, q wire.Ask) {
			w.pass(10 * time.Minute)
			tv.tell(tv.calm)
			w.mustAsks("deferred")
			w.must(tv.say(q, wire.AnswerNo, nil))
		},
		"after a restart": func(w *askWorld, tv *asked, q wire.Ask) {
			tv.disconnect()
			w.restart()
			tv.connect()
			w.mustAsks("deferred")
			w.must(tv.say(q, wire.AnswerNo, nil))
		},
		"a child has come": func(w *askWorld, tv *asked, q wire.Ask) {
			tv.tell(map[string]any{"presence.who": "1 3"})
			w.must(tv.say(q, wire.AnswerNo, nil))
		},
	}
	for name, no := range tests {
		t.Run(name, func(t *testing.T) {
			inAsking(t, func(w *askWorld) {
				tv := w.lives(append(slices.Clone(grown), PersonSpec{Name: "Kim", Age: device.Child}), one(device.TV))[0]
				tv.tell(map[string]any{"presence.who": "1"})
				w.must(w.ask())
				q := tv.question()
				no(w, tv, q)
				w.mustAsks("refused")
				if said := w.said(); !strings.Contains(said, "home refused") || strings.Contains(said, "Ben") {
					t.Errorf("said is %q", said)
				}
				before := string(w.journal())
				w.must(tv.say(q, wire.AnswerNo, nil))
				w.must(tv.say(q, wire.AnswerYes, nil))
				if after := string(w.journal()); after != before {
					t.Errorf("what came after the no was written down: %s, then %s", before, after)
				}
				w.skip(100 * 24 * time.Hour)
				tv.tell(map[string]any{"state": "idle", "presence.who": "1"})
				if err := w.ask(); err == nil {
					t.Errorf("asked again 100 days after a no")
				}
			})
		})
	}
}

// A yes that did not come about as it must is none.
func TestAskAYesThatIsNone(t *testing.T) {
	tests := map[string]struct {
		class device.Class
		say   func(w *askWorld, a *asked, q wire.Ask)
		want  string
	}{
		"nothing was drawn": {say: func(w *askWorld, a *asked, q wire.Ask) { w.must(a.say(q, wire.AnswerYes, nil)) }, want: "invalidated"},
		"a no that was further away": {want: "invalidated", say: func(w *askWorld, a *asked, q wire.Ask) {
			w.must(a.say(q, wire.AnswerDrawn, func(s *wire.Answer) { s.Drawn[1].Presses = 2 }))
			w.must(a.say(q, wire.AnswerYes, nil))
		}},
		"a no that was smaller": {want: "invalidated", say: func(w *askWorld, a *asked, q wire.Ask) {
			w.must(a.say(q, wire.AnswerDrawn, func(s *wire.Answer) { s.Drawn[1].Area = 1000 }))
			w.must(a.say(q, wire.AnswerYes, nil))
		}},
		"a child has come": {want: "deferred", say: func(w *askWorld, a *asked, q wire.Ask) {
			a.tell(map[string]any{"presence.who": "1 3"})
			a.answer(q, wire.AnswerYes, nil)
		}},
		"somebody unknown has come": {want: "deferred", say: func(w *askWorld, a *asked, q wire.Ask) {
			a.tell(map[string]any{"presence.count": 2})
			a.answer(q, wire.AnswerYes, nil)
		}},
		"it was the child": {want: "deferred", say: func(w *askWorld, a *asked, q wire.Ask) { a.answer(q, wire.AnswerYes, by(3)) }},
		"the home is frozen": {want: "deferred", say: func(w *askWorld, a *asked, q wire.Ask) {
			w.must(w.desk.named(w.t.Context(), "oak", func(h *home, tx *store.Tx) error { return setPreference(tx, h.id, twin.Frozen, true, "") }))
			a.answer(q, wire.AnswerYes, nil)
		}},
		"Anna has said no elsewhere": {want: "deferred", say: func(w *askWorld, a *asked, q wire.Ask) {
			w.must(w.desk.Choose(w.t.Context(), "oak", "Anna", "grocer", policy.Marketing, policy.Refused))
			a.answer(q, wire.AnswerYes, nil)
		}},
		"the car has driven off": {class: device.Car, want: "deferred", say: func(w *askWorld, a *asked, q wire.Ask) {
			a.tell(map[string]any{"ux.driving": "moving"})
			a.answer(q, wire.AnswerYes, nil)
		}},
		"a voice that nobody knows": {class: device.Speaker, want: "deferred", say: func(w *askWorld, a *asked, q wire.Ask) {
			a.answer(q, wire.AnswerYes, nil)
		}},
		"the brand has left": {want: "invalidated", say: func(w *askWorld, a *asked, q wire.Ask) {
			w.must(w.desk.RemoveBrand(w.t.Context(), "grocer"))
			a.answer(q, wire.AnswerYes, nil)
		}},
		"it came too late": {want: "deferred", say: func(w *askWorld, a *asked, q wire.Ask) {
			w.pass(2 * time.Minute)
			a.tell(map[string]any{"state": "idle", "presence.who": "1"})
			a.answer(q, wire.AnswerYes, nil)
		}},
		"it came after a restart": {want: "deferred", say: func(w *askWorld, a *asked, q wire.Ask) {
			w.must(a.say(q, wire.AnswerDrawn, nil))
			a.disconnect()
			w.restart()
			a.connect()
			a.answer(q, wire.AnswerYes, nil)
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			inAsking(t, func(w *askWorld) {
				a := w.lives(append(slices.Clone(grown), PersonSpec{Name: "Kim", Age: device.Child}), one(cmp.Or(test.class, device.TV)))[0]
				a.tell(map[string]any{"presence.who": "1"})
				w.must(w.ask())
				before := w.said()
				q := a.question()
				test.say(w, a, q)
				w.mustAsks(test.want)
				if said := w.said(); strings.Contains(said, "given") {
					t.Errorf("said is %q, and was %q", said, before)
				}
				w.must(a.say(q, wire.AnswerYes, nil)) // a second try is none either
				w.mustAsks(test.want)
				w.memory()
			})
		})
	}
}

// Nobody says anything, in every way there is.
func TestAskDeferred(t *testing.T) {
	for why := wire.ByTimeout; why <= wire.ByDevice; why++ {
		inAsking(t, func(w *askWorld) {
			tv := w.lives(grown, one(device.TV))[0]
			m := w.push(nil)
			w.must(w.ask())
			q := tv.question()
			tv.answer(q, wire.AnswerDeferred, defers(why))
			w.mustAsks("deferred")
			w.must(tv.say(q, wire.AnswerYes, nil))
			w.mustAsks("deferred")
			w.mustSay("")
			tv.mustShow()
			_ = m
			if err := w.ask(); !tooSoon(err) {
				t.Errorf("asked again at once: %v", err)
			}
			w.skip(100 * 24 * time.Hour)
			if err := w.ask(); err != nil {
				t.Errorf("asked again after 100 days: %v", err)
			}
		})
	}
}

// The gateway keeps the time of an ask itself, wherever the answer was lost.
func TestAskEndsByItself(t *testing.T) {
	tests := map[string]struct {
		deaf   wire.Leaf
		lose   func(w *askWorld, tv *asked)
		within time.Duration
	}{
		"nothing is said":                                  {within: time.Minute + 2*time.Second},
		"the connection is lost":                           {lose: func(w *askWorld, tv *asked) { tv.disconnect() }, within: time.Minute + 2*time.Second},
		"the connection is lost before it is acknowledged": {deaf: wire.DnAsk, lose: func(w *askWorld, tv *asked) { tv.disconnect() }, within: time.Minute + 2*time.Second},
		"it is not acknowledged":                           {deaf: wire.DnAsk, within: 20*time.Second + time.Minute + 2*time.Second},
		"the device is removed":                            {lose: func(w *askWorld, tv *asked) { w.must(w.desk.RemoveDevice(w.t.Context(), tv.id)) }},
		"the gateway ends":                                 {lose: func(w *askWorld, tv *asked) { tv.disconnect(); w.restart() }},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			inAsking(t, func(w *askWorld) {
				tv := w.lives(grown, one(device.TV))[0]
				tv.ignore(test.deaf)
				w.must(w.ask())
				tv.question()
				if test.lose != nil {
					test.lose(w, tv)
					w.wait()
				}
				if test.within > 0 {
					w.pass(test.within - 10*time.Millisecond)
					w.mustAsks("requested")
					w.pass(10 * time.Millisecond)
				}
				w.mustAsks("deferred")
			})
		})
	}
}

// An answer may come with the next connection, while the ask is open.
func TestAskIsAnsweredOnTheNextConnection(t *testing.T) {
	inAsking(t, func(w *askWorld) {
		tv := w.lives(grown, one(device.TV))[0]
		m := w.push(nil)
		w.must(w.ask())
		q := tv.question()
		w.must(tv.say(q, wire.AnswerDrawn, nil))
		tv.disconnect()
		w.pass(20 * time.Second)
		tv.connect()
		if n := len(tv.got()); n != 0 {
			t.Fatalf("it was handed over again, %d times", n)
		}
		w.must(tv.say(q, wire.AnswerYes, nil))
		w.mustAsks("given")
		w.wait()
		tv.mustShow(m)
	})
}

// The moment is judged again when the window opens.
func TestAskIsJudgedWhenItLeaves(t *testing.T) {
	inAsking(t, func(w *askWorld) {
		tv := w.lives(grown, one(device.TV))[0]
		tv.ignore(wire.DnTwin)
		w.must(w.desk.SetQuiet(w.t.Context(), "oak", []policy.Quiet{{Start: 0, End: 1, Days: 1}})) // its document is on the way, and fills the window
		w.wait()
		w.must(w.ask())
		if n := len(tv.got()); n != 0 {
			t.Fatalf("%d questions beside another frame", n)
		}
		w.mustAsks("requested")
		tv.tell(map[string]any{"state": "playing", "full_screen": true})
		tv.ignore("")
		w.desk.Acked(tv.id, tv.up)
		w.wait()
		if n := len(tv.got()); n != 0 {
			t.Fatalf("%d questions over a film", n)
		}
		tv.tell(map[string]any{"state": "idle"})
		tv.question()
	})
	inAsking(t, func(w *askWorld) {
		tv := w.lives(grown, one(device.TV))[0]
		tv.ignore(wire.DnTwin)
		w.must(w.desk.SetQuiet(w.t.Context(), "oak", []policy.Quiet{{Start: 0, End: 1, Days: 1}}))
		w.wait()
		w.must(w.ask())
		w.pass(25 * time.Second) // the window does not open
		w.mustAsks("deferred")
		tv.ignore("")
		tv.connect()
		if n := len(tv.got()); n != 0 {
			t.Fatalf("%d questions after its end", n)
		}
	})
}

// An ask from another device, or with another's number, is nothing.
func TestAskIsAnsweredWhereItWasAsked(t *testing.T) {
	inAsking(t, func(w *askWorld) {
		all := w.lives(grown, one(device.TV), one(device.Fridge))
		w.must(w.ask())
		q := all[0].question()
		before := string(w.journal())
		for _, kind := range []wire.AnswerKind{wire.AnswerDrawn, wire.AnswerNo, wire.AnswerYes} {
			w.must(all[1].say(q, kind, nil))
			other := q
			other.ID[3]++
			w.must(all[0].say(other, kind, nil))
		}
		if after := string(w.journal()); after != before {
			t.Errorf("written down: %s, then %s", before, after)
		}
		w.mustAsks("requested")
	})
}

// Whose choice it is, is whose screen it is, and who is in front of it.
func TestAskWhoseChoice(t *testing.T) {
	tests := map[string]struct {
		device DeviceSpec
		there  string // presence.who
		edit   func(s *wire.Answer)
		kind   wire.AnswerKind
		want   string
	}{
		"nobody was told":            {device: one(device.TV), want: "home given"},
		"one of two":                 {device: one(device.TV), there: "2", want: "Ben given, home given"},
		"both":                       {device: one(device.TV), there: "1 2", want: "Anna given, Ben given, home given"},
		"both, and it was Ben":       {device: one(device.TV), there: "1 2", edit: by(2), want: "Ben given, home given"},
		"both, and a no":             {device: one(device.TV), there: "1 2", kind: wire.AnswerNo, want: "Anna refused, Ben refused, home refused"},
		"Anna's phone":               {device: DeviceSpec{Class: device.Companion, Owner: "Anna"}, want: "Anna given"},
		"Anna's phone, Ben beside":   {device: DeviceSpec{Class: device.Companion, Owner: "Anna"}, there: "1 2", want: "Anna given"},
		"Anna's phone, and a no":     {device: DeviceSpec{Class: device.Companion, Owner: "Anna"}, kind: wire.AnswerNo, want: "Anna refused"},
		"Anna's phone, and her":      {device: DeviceSpec{Class: device.Companion, Owner: "Anna"}, edit: by(1), want: "Anna given"},
		"Anna's phone in Ben's hand": {device: DeviceSpec{Class: device.Companion, Owner: "Anna"}, edit: by(2), want: ""},
		"a voice that is known":      {device: one(device.Speaker), edit: by(2), there: "1 2", want: "Ben given, home given"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			inAsking(t, func(w *askWorld) {
				a := w.lives(grown, test.device)[0]
				if test.there != "" {
					a.tell(map[string]any{"presence.who": test.there})
				}
				w.must(w.ask())
				a.answer(a.question(), cmp.Or(test.kind, wire.AnswerYes), test.edit)
				w.mustSay(test.want)
				w.memory()
			})
		})
	}
}

// A question for a person goes where that person is.
func TestAskAPerson(t *testing.T) {
	inAsking(t, func(w *askWorld) {
		all := w.lives(grown, one(device.TV), DeviceSpec{Class: device.Companion, Owner: "Ben"})
		st, err := w.desk.Ask(w.t.Context(), "oak", "grocer", policy.Marketing, AskWhere{Person: "Ben"})
		w.must(err)
		w.wait()
		if st.Person != "Ben" || st.Device != all[1].id {
			t.Fatalf("asked is %+v", st)
		}
		all[1].answer(all[1].question(), wire.AnswerYes, nil)
		w.mustSay("Ben given")
	})
}

// One to press comes before one to speak to, and the car comes last.
func TestAskOnTheBestScreen(t *testing.T) {
	inAsking(t, func(w *askWorld) {
		all := w.lives(grown, one(device.Speaker), DeviceSpec{Class: device.Car, Owner: "Anna"}, one(device.Display))
		for _, i := range []int{2, 0, 1} {
			all[1].tell(all[1].calm) // a car's word is good for seconds
			w.must(w.ask())
			q := all[i].question()
			all[i].answer(q, wire.AnswerDeferred, defers(wire.ByBack))
			w.skip(100 * 24 * time.Hour)
			all[i].tell(map[string]any{"dnd": true})
		}
	})
}

// A message does not come over a question, and a question not over a message.
func TestAskAndMessagesTakeTurns(t *testing.T) {
	inAsking(t, func(w *askWorld) {
		tv := w.lives(grown, one(device.TV))[0]
		w.choose(policy.Given)
		_, err := w.desk.Ask(w.t.Context(), "oak", "grocer", policy.Service, AskWhere{})
		w.must(err)
		w.wait()
		q := tv.question()
		m := w.push(nil)
		tv.mustShow()
		tv.answer(q, wire.AnswerDeferred, defers(wire.ByBack))
		tv.mustShow(m)
	})
}

// A small screen offers a phone, where there is one, and the phone takes the ask over.
func TestAskOnAPhoneInstead(t *testing.T) {
	inAsking(t, func(w *askWorld) {
		all := w.lives(grown, one(device.Fridge), DeviceSpec{Class: device.Companion, Owner: "Anna"})
		fridge, phone := all[0], all[1]
		_, err := w.desk.Ask(w.t.Context(), "oak", "grocer", policy.Marketing, AskWhere{Device: fridge.id})
		w.must(err)
		w.wait()
		q := fridge.question()
		if utf8.RuneCountInString(q.Text) > 80 || q.Live != 20_000 || len(q.Controls) != 3 || q.Controls[2].ID != wire.ControlPhone {
			t.Errorf("the fridge asks %+v", q)
		}
		fridge.answer(q, wire.AnswerDeferred, defers(wire.ByPhone))
		w.mustAsks("requested")
		p := phone.question()
		if p.ID != q.ID || p.More == "" {
			t.Errorf("the phone asks %+v", p)
		}
		w.must(fridge.say(q, wire.AnswerYes, nil)) // it is not the fridge's any more
		w.mustAsks("requested")
		phone.answer(p, wire.AnswerYes, nil)
		w.mustAsks("given")
		w.mustSay("Anna given, home given")
	})
	inAsking(t, func(w *askWorld) { // two phones: whose it would be is not known
		all := w.lives(grown, one(device.Fridge), DeviceSpec{Class: device.Companion, Owner: "Anna"}, DeviceSpec{Class: device.Companion, Owner: "Ben"})
		_, err := w.desk.Ask(w.t.Context(), "oak", "grocer", policy.Marketing, AskWhere{Device: all[0].id})
		w.must(err)
		w.wait()
		q := all[0].question()
		if len(q.Controls) != 2 {
			t.Errorf("the controls are %+v", q.Controls)
		}
		all[0].answer(q, wire.AnswerDeferred, defers(wire.ByPhone))
		w.mustAsks("deferred")
	})
}

func TestAskByItself(t *testing.T) {
	on := func(w *askWorld) {
		w.t.Helper()
		w.must(w.desk.SetAsking(w.t.Context(), "oak", true))
		w.wait()
	}
	t.Run("not unless it was said", func(t *testing.T) {
		inAsking(t, func(w *askWorld) {
			w.lives(grown, one(device.TV))
			w.push(nil)
			w.skip(2 * time.Hour)
			w.mustAsks("")
		})
	})
	t.Run("once", func(t *testing.T) {
		inAsking(t, func(w *askWorld) {
			tv := w.lives(grown, one(device.TV))[0]
			on(w)
			w.skip(30 * time.Second)
			w.mustAsks("")
			m := w.push(nil)
			w.skip(40 * time.Second)
			q := tv.question()
			tv.answer(q, wire.AnswerYes, nil)
			tv.mustShow(m)
			w.skip(24 * time.Hour)
			w.mustAsks("given")
		})
	})
	t.Run("after a restart, too", func(t *testing.T) {
		inAsking(t, func(w *askWorld) {
			tv := w.lives(grown, one(device.TV))[0]
			on(w)
			tv.disconnect()
			w.restart()
			tv.connect()
			w.push(nil)
			w.skip(2 * time.Minute)
			tv.question()
		})
	})
	t.Run("off again", func(t *testing.T) {
		inAsking(t, func(w *askWorld) {
			w.lives(grown, one(device.TV))
			on(w)
			w.must(w.desk.SetAsking(w.t.Context(), "oak", false))
			w.push(nil)
			w.skip(time.Hour)
			w.mustAsks("")
		})
	})
	t.Run("when the quiet time is over", func(t *testing.T) {
		inAsking(t, func(w *askWorld) {
			tv := w.lives(grown, one(device.TV))[0]
			w.must(w.desk.SetQuiet(w.t.Context(), "oak", []policy.Quiet{{Start: 0, End: 6 * 60}})) // the world begins at 1:00 in Zurich
			on(w)
			w.push(nil)
			w.skip(3 * time.Hour)
			w.mustAsks("")
			w.skip(3 * time.Hour)
			tv.question()
		})
	})
	t.Run("not for what would not be shown", func(t *testing.T) {
		inAsking(t, func(w *askWorld) {
			w.lives(grown, one(device.TV))
			on(w)
			w.push(func(s *Submission) { s.Classes = []device.Class{device.Car} })
			w.skip(2 * time.Hour)
			w.mustAsks("")
		})
	})
	t.Run("not where a yes would not help", func(t *testing.T) {
		inAsking(t, func(w *askWorld) {
			tv := w.lives(append(slices.Clone(grown), PersonSpec{Name: "Tim", Age: device.Teen}), one(device.TV))[0]
			tv.calm["presence.who"] = "1 3" // a yes of Anna's is none of Tim's
			on(w)
			w.push(nil)
			w.skip(time.Minute)
			w.mustAsks("")
			tv.calm["presence.who"] = "1"
			w.skip(time.Minute)
			tv.question()
		})
	})
	t.Run("not against a no", func(t *testing.T) {
		inAsking(t, func(w *askWorld) {
			w.lives(grown, one(device.TV))
			on(w)
			w.choose(policy.Refused)
			for range 5 {
				w.push(nil)
				w.skip(60 * 24 * time.Hour)
			}
			w.mustAsks("")
		})
	})
	t.Run("within the budget", func(t *testing.T) {
		inAsking(t, func(w *askWorld) {
			tv := w.lives(grown, one(device.TV))[0]
			on(w)
			b := registry.Brand{ID: "baker", Name: "Baker", Purposes: []string{"marketing"}, Quota: 5}
			_, err := w.desk.AddBrand(w.t.Context(), b)
			w.must(err)
			push := func() { // both brands
				s := w.good()
				s.NotAfter = w.now().Time().Add(30 * 24 * time.Hour)
				w.n++
				_, err := w.desk.Accept(w.t.Context(), w.brand, fmt.Sprint("key-", w.n), s)
				w.must(err)
				_, err = w.desk.Accept(w.t.Context(), b, fmt.Sprint("key-", w.n), s)
				w.must(err)
			}
			push()
			w.skip(2 * time.Minute)
			tv.answer(tv.question(), wire.AnswerDeferred, defers(wire.ByBack))
			w.skip(6 * 24 * time.Hour)
			w.mustAsks("deferred")
			w.skip(25 * time.Hour)
			w.skip(2 * time.Minute)
			q := tv.question() // a week later, about the other brand
			tv.answer(q, wire.AnswerDeferred, defers(wire.ByBack))
			if q.Who != "Baker" {
				t.Errorf("the second is about %s", q.Who)
			}
			for range 10 {
				w.skip(7 * 24 * time.Hour)
			}
			w.mustAsks("deferred,deferred")
		})
	})
}

// Whatever happens in a home, in whatever order: one ask at a time, none of them twice on a screen, a
// yes only from where it was asked and drawn, and the tables are what the journal says.
func TestAskAnything(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inAsking(t, func(w *askWorld) {
				r := rand.New(rand.NewPCG(seed, 7))
				all := w.lives(append(slices.Clone(grown), PersonSpec{Name: "Kim", Age: device.Child}), one(device.TV), one(device.Fridge), DeviceSpec{Class: device.Companion, Owner: "Anna"})
				w.must(w.desk.SetAsking(w.t.Context(), "oak", true))
				brands := []registry.Brand{w.brand}
				for _, id := range []device.BrandID{"baker", "butcher", "brewer"} {
					b := registry.Brand{ID: id, Name: string(id), Purposes: []string{"marketing"}, Quota: 500}
					_, err := w.desk.AddBrand(w.t.Context(), b)
					w.must(err)
					brands = append(brands, b)
				}
				drawn := map[device.MessageID]bool{}
				for step := range 250 {
					a := all[r.IntN(len(all))]
					var q wire.Ask
					if got := a.got(); len(got) > 0 {
						q = got[r.IntN(len(got))]
					}
					away := func() bool {
						select {
						case <-a.up.done:
							return true
						default:
							return false
						}
					}()
					switch n := r.IntN(16); {
					case n == 0:
						w.skip(time.Duration(r.IntN(40)) * 24 * time.Hour)
					case n == 1:
						w.pass(time.Duration(r.IntN(40)) * time.Second)
					case n == 2:
						for _, a := range all {
							a.disconnect()
						}
						w.restart()
						for _, a := range all {
							a.connect()
						}
					case n == 3:
						a.disconnect()
					case n == 4:
						a.connect()
					case n == 5:
						// The budget, the moment: it need not be good.
						_, _ = w.desk.Ask(w.t.Context(), "oak", brands[r.IntN(len(brands))].ID, policy.Marketing, AskWhere{})
					case n == 6:
						s := w.good()
						_, err := w.desk.Accept(w.t.Context(), brands[r.IntN(len(brands))], fmt.Sprint("key-", step), s)
						w.must(err)
					case n == 7 && !away:
						a.tell(map[string]any{"presence.who": []string{"1", "1 2", "2", "1 3", "3", "1@0.5"}[r.IntN(6)]})
					case n == 8 && !away:
						a.tell(a.calm)
						a.tell(map[string]any{"presence.who": "1 2"})
					case n == 9 && !away:
						a.tell(map[string]any{"state": []string{"idle", "playing"}[r.IntN(2)], "dnd": r.IntN(4) == 0})
					case n == 10 && !away:
						if a.say(q, wire.AnswerDrawn, nil) == nil {
							drawn[q.ID] = true
						}
					case n == 11 && !away:
						_ = a.say(q, wire.AnswerDeferred, defers(wire.DeferredBy(1+r.IntN(7))))
					case n == 12 && !away && r.IntN(8) == 0:
						_ = a.say(q, wire.AnswerNo, nil)
					case n == 13 && !away:
						_ = a.say(q, wire.AnswerYes, by(uint32(r.IntN(4))))
					case n > 13: // as it should be
						w.skip(8 * 24 * time.Hour)
						for _, a := range all {
							a.tellIfHere(map[string]any{"presence.who": "1"})
						}
						_, _ = w.desk.Ask(w.t.Context(), "oak", brands[r.IntN(len(brands))].ID, policy.Marketing, AskWhere{})
						w.wait()
						for _, a := range all {
							got := a.got()
							if len(got) == 0 || a.say(got[len(got)-1], wire.AnswerDrawn, nil) != nil {
								continue
							}
							drawn[got[len(got)-1].ID] = true
							if r.IntN(3) > 0 {
								_ = a.say(got[len(got)-1], wire.AnswerYes, by(uint32(r.IntN(2))))
							}
						}
					}
					w.wait()
					states, err := w.desk.Asks(w.t.Context(), "oak")
					w.must(err)
					open := 0
					for _, st := range states {
						switch st.State {
						case consent.Requested:
							open++
						case consent.Given, consent.Renewed:
							if !drawn[st.ID] {
								w.t.Fatalf("step %d: ask %s is given, and was never drawn", step, st.ID)
							}
						}
					}
					if open > 1 {
						w.t.Fatalf("step %d: %d asks are open", step, open)
					}
					for _, a := range all {
						seen := map[device.MessageID]bool{}
						for _, q := range a.got() {
							if seen[q.ID] {
								w.t.Fatalf("step %d: the %s was handed %s twice", step, a.class, q.ID)
							}
							seen[q.ID] = true
						}
					}
					w.must(w.desk.in(1, func(h *home) error {
						return w.db.View(w.t.Context(), func(tx *store.Tx) error {
							all, err := consent.Open(tx, 1)
							if k := h.asks.open; (k == nil) != (len(all) == 0) || k != nil && k.id != all[0].ID {
								w.t.Fatalf("step %d: %d asks are open in the tables; in memory %+v", step, len(all), k)
							}
							return err
						})
					}))
				}
				w.must(w.db.View(w.t.Context(), func(tx *store.Tx) error {
					all, err := consent.Asks(tx, 1)
					for i := 1; i < len(all); i++ {
						if all[i].Asked < all[i-1].Asked.Add(7*24*time.Hour) {
							w.t.Errorf("asked at %s, and again at %s", all[i-1].Asked, all[i].Asked)
						}
					}
					return err
				}))
			})
		})
	}
}

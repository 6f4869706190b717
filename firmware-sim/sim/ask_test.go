package sim

import (
	"crypto/sha256"
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight/device"
	"porchlight/device/wire"
)

// question is a good one.
func (g *gateway) question() wire.Ask {
	return wire.Ask{
		ID: device.NewMessageID(device.At(g.clock.Now())), Live: 30_000, Who: "Corner Shop",
		Text: "May Corner Shop show offers here for a year?", More: "Corner Shop, High Street 1. You can say no at any time.",
		Controls: []wire.Control{{ID: wire.ControlYes, Label: "Yes"}, {ID: wire.ControlNo, Label: "No"}, {ID: wire.ControlMore, Label: "Tell me more"}, {ID: wire.ControlPhone, Label: "Phone"}},
		Language: "en", Notice: make([]byte, 32), Say: "May Corner Shop show offers here? Yes or no?", Epoch: g.epoch,
	}
}

// answer waits for the n-th answer, counted from 1.
func (g *gateway) answer(n int) (a wire.Answer) {
	g.t.Helper()
	g.wait("an answer", func() bool {
		if len(g.answers) < n {
			return false
		}
		a = g.answers[n-1]
		return true
	})
	return a
}

// asks puts q and waits until it is drawn.
func (g *gateway) asks(d *Device, q wire.Ask) wire.Answer {
	g.t.Helper()
	g.send(d, wire.DnAsk, q)
	a := g.answer(1)
	if a.Kind != wire.AnswerDrawn || a.Ask != q.ID {
		g.t.Fatalf("answer: got %+v, want it drawn", a)
	}
	g.await(d, func(s State) bool { return s.Owed == 0 && s.Screen.Question != nil })
	return a
}

// speaks makes a device's config that of one with a voice.
func speaks(c *Config) { c.Can.Sound, c.Can.Inputs = speech, device.VoiceIn }

// names is a document that names people and rooms.
func (g *gateway) names(d *Device, people ...string) {
	g.t.Helper()
	t := wire.Twin{Version: d.State().Twin.Version + 1, Doc: wire.Document{Rooms: []wire.Place{{Room: 7, Name: "kitchen"}}}}
	for i, name := range people {
		t.Doc.People = append(t.Doc.People, wire.Resident{Person: uint32(i + 1), Name: name})
	}
	g.send(d, wire.DnTwin, t)
	g.await(d, func(s State) bool { return s.Twin.Version == t.Version })
}

// What is drawn is what is reported, and yes and no are alike in it.
func TestQuestionIsDrawn(t *testing.T) {
	for class, voice := range map[device.Class]bool{
		device.TV: false, device.Console: false, device.Speaker: true, device.Fridge: false, device.Car: false, device.Companion: false, device.Display: false,
	} {
		t.Run(class.String(), func(t *testing.T) {
			g := newGateway(t)
			d := g.ready(class, speaks, func(c *Config) {
				if slices.Contains(Actions(class), "turn on") {
					c.Start = []string{"turn on"}
				}
			})
			q := g.question()
			a := g.asks(d, q)
			by := map[wire.ControlID]wire.DrawnControl{}
			for _, c := range a.Drawn {
				by[c.ID] = c
			}
			yes, no := by[wire.ControlYes], by[wire.ControlNo]
			if yes.Presses != 1 || no.Presses != 1 || yes.Area != no.Area || yes.Weight != no.Weight || (yes.Area == 0) != voice {
				t.Errorf("drawn: got yes %+v, no %+v, want them alike", yes, no)
			}
			phone := class == device.Companion
			if len(by) != len(q.Controls) || len(a.Drawn) != len(by) || len(a.Picture) != sha256.Size || (a.Layer == 2) != phone {
				t.Errorf("drawn: got %+v", a)
			}
			picture := d.State().Picture(44)
			want := []string{"Corner Shop", "May Corner Shop", "[ 1 Yes", "[ 2 No"}
			switch {
			case voice:
				want = []string{"says: May Corner Shop show offers here?"}
			case phone:
				want = append(want, "High Street 1")
			case class == device.TV, class == device.Console:
				want = append(want, "[›3 Tell me more ]")
			}
			for _, w := range want {
				if !strings.Contains(picture, w) {
					t.Errorf("%q is not in\n%s", w, picture)
				}
			}
			// The fields are as large as they look.
			if yes, no := field(picture, "1 Yes"), field(picture, "2 No"); !voice && (yes == "" || len(yes) != len(no)) {
				t.Errorf("got the fields %q and %q in\n%s", yes, no, picture)
			}
		})
	}
}

// field is the field of a picture that a label is in.
func field(picture, label string) string {
	_, rest, _ := strings.Cut(picture, "[ "+label)
	rest, _, _ = strings.Cut(rest, "]")
	return label + rest
}

// What a person does about a question, and what else can end it.
func TestQuestionEnds(t *testing.T) {
	tests := map[string]struct {
		class device.Class
		do    func(*gateway, *Device) error
		kind  wire.AnswerKind
		why   wire.DeferredBy
		said  string
	}{
		"yes":   {class: device.TV, do: func(_ *gateway, d *Device) error { return d.Reply("yes", "") }, kind: wire.AnswerYes},
		"no":    {class: device.TV, do: func(_ *gateway, d *Device) error { return d.Reply("no", "") }, kind: wire.AnswerNo},
		"back":  {class: device.TV, do: func(_ *gateway, d *Device) error { return d.Reply("back", "") }, kind: wire.AnswerDeferred, why: wire.ByBack},
		"phone": {class: device.Fridge, do: func(_ *gateway, d *Device) error { return d.Reply("phone", "") }, kind: wire.AnswerDeferred, why: wire.ByPhone},
		"time":  {class: device.Fridge, do: func(g *gateway, d *Device) error { g.advance(d, 30*time.Second); return nil }, kind: wire.AnswerDeferred, why: wire.ByTimeout},
		"off":   {class: device.TV, do: func(_ *gateway, d *Device) error { return d.Do("turn off") }, kind: wire.AnswerDeferred, why: wire.ByBack},
		"film":  {class: device.TV, do: func(_ *gateway, d *Device) error { return d.Do("play") }, kind: wire.AnswerDeferred, why: wire.ByBack},
		"drive": {class: device.Car, do: func(_ *gateway, d *Device) error { return d.Do("drive") }, kind: wire.AnswerDeferred, why: wire.ByDriving},
		"call":  {class: device.Speaker, do: func(_ *gateway, d *Device) error { return d.Do("call") }, kind: wire.AnswerDeferred, why: wire.ByDevice},
		"called back": {class: device.TV, do: func(g *gateway, d *Device) error {
			g.send(d, wire.DnMsg, wire.Cancel{Message: d.Screen().Question.ID})
			return nil
		}, kind: wire.AnswerDeferred, why: wire.ByDevice},
		"spoken yes":      {class: device.Speaker, do: func(_ *gateway, d *Device) error { return d.Reply("yes", "") }, kind: wire.AnswerYes, said: "Yes: Corner Shop"},
		"spoken no":       {class: device.Speaker, do: func(_ *gateway, d *Device) error { return d.Reply("no", "") }, kind: wire.AnswerNo},
		"mumbled":         {class: device.Speaker, do: func(_ *gateway, d *Device) error { return d.Reply("silence", "") }, kind: wire.AnswerDeferred, why: wire.BySilence},
		"nothing said":    {class: device.Speaker, do: func(g *gateway, d *Device) error { g.advance(d, 30*time.Second); return nil }, kind: wire.AnswerDeferred, why: wire.BySilence},
		"a strange voice": {class: device.Speaker, do: func(_ *gateway, d *Device) error { return d.Reply("stranger", "") }, kind: wire.AnswerDeferred, why: wire.ByUnsure},
		"power cut":       {class: device.TV, do: func(_ *gateway, d *Device) error { return d.Reboot() }, kind: wire.AnswerDeferred, why: wire.ByDevice},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t)
			j := newJournal()
			d := g.ready(tt.class, speaks, func(c *Config) { c.Notify = j.note })
			q := g.question()
			g.asks(d, q)
			if err := tt.do(g, d); err != nil {
				t.Fatal(err)
			}
			a := g.answer(2)
			if a.Kind != tt.kind || a.Why != tt.why || a.Ask != q.ID || a.Drawn != nil {
				t.Errorf("answer: got %+v, want kind %d, why %d", a, tt.kind, tt.why)
			}
			if d.Screen().Question != nil {
				t.Error("it is still there")
			}
			if tt.said != "" {
				j.awaitText(t, Said, tt.said)
			}
			// Once is enough: asked again it gives the same answer, and draws nothing.
			g.await(d, func(s State) bool { return s.Connected && s.Owed == 0 })
			g.beacon(d)
			g.send(d, wire.DnAsk, q)
			if b := g.answer(3); b.Kind != tt.kind || b.Why != tt.why || d.Screen().Question != nil {
				t.Errorf("asked again: got %+v, want the same", b)
			}
		})
	}
}

// awaitText waits for an event of kind k with text in it.
func (j journal) awaitText(t *testing.T, k Kind, text string) {
	t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		select {
		case e := <-j:
			if e.Kind == k && strings.Contains(e.Text, text) {
				return
			}
		case <-timeout.C:
			t.Fatalf("no event %q with the text %q", k, text)
		}
	}
}

// When a question may not be put: one thing changed in a good one.
func TestQuestionIsNotPut(t *testing.T) {
	tests := map[string]struct {
		class  device.Class
		before string
		edit   func(*gateway, *wire.Ask)
		config func(*Config)
		show   bool // a message is on the screen
		why    wire.DeferredBy
	}{
		"good":             {class: device.TV},
		"parked":           {class: device.Car},
		"before the fence": {class: device.TV, edit: func(g *gateway, q *wire.Ask) { q.Epoch = g.fence - 1 }, why: wire.ByDevice},
		"driving":          {class: device.Car, before: "drive", why: wire.ByDriving},
		"standing":         {class: device.Car, before: "stop", why: wire.ByDriving},
		"no sensors":       {class: device.Car, before: "lose the sensors", why: wire.ByDriving},
		"off":              {class: device.TV, before: "turn off", why: wire.ByDevice},
		"film":             {class: device.TV, before: "play", why: wire.ByDevice},
		"film paused":      {class: device.TV, before: "pause"},
		"do not disturb":   {class: device.Fridge, before: "do not disturb on", why: wire.ByDevice},
		"hot oven":         {class: device.Oven, before: "start", why: wire.ByDevice},
		"call":             {class: device.Speaker, before: "call", why: wire.ByDevice},
		"muted":            {class: device.Speaker, before: "mute sound", why: wire.ByDevice},
		"no voice":         {class: device.Speaker, config: func(c *Config) { c.Can.Sound = 1 }, why: wire.ByDevice},
		"no screen":        {class: device.Fridge, config: func(c *Config) { c.Can.Forms = nil }, why: wire.ByDevice},
		"a message":        {class: device.Fridge, show: true, why: wire.ByDevice},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t)
			g.fence = 3
			configs := []func(*Config){speaks}
			if tt.config != nil {
				configs = append(configs, tt.config)
			}
			d := g.ready(tt.class, configs...)
			if tt.before == "pause" {
				d.Do("play")
			}
			if tt.before != "" {
				if err := d.Do(tt.before); err != nil {
					t.Fatal(err)
				}
			}
			if tt.show {
				g.shows(d, g.message())
			}
			q := g.question()
			if tt.edit != nil {
				tt.edit(g, &q)
			}
			g.send(d, wire.DnAsk, q)
			a := g.answer(1)
			drawn := tt.why == 0
			if (a.Kind == wire.AnswerDrawn) != drawn || a.Why != tt.why || (d.Screen().Question != nil) != drawn {
				t.Errorf("answer: got %+v, question %+v, want why %d", a, d.Screen().Question, tt.why)
			}
		})
	}
}

// More is no answer, and the question says what was seen of it.
func TestQuestionMore(t *testing.T) {
	g := newGateway(t)
	d := g.ready(device.TV)
	g.names(d, "Anna", "Ben")
	g.asks(d, g.question())
	if err := d.Reply("more", ""); err != nil {
		t.Fatal(err)
	}
	if p := d.State().Picture(44); !strings.Contains(p, "High Street 1") || strings.Contains(p, "Tell me more") || !strings.Contains(p, "[ 1 Yes") {
		t.Errorf("got\n%s", p)
	}
	g.advance(d, 8*time.Second)
	if err := d.Reply("no", "Eve"); err == nil || !strings.Contains(err.Error(), `"Eve"`) {
		t.Errorf("somebody whom the gateway has not named: got %v", err)
	}
	if err := d.Reply("no", "Ben"); err != nil {
		t.Fatal(err)
	}
	if a := g.answer(2); a.Kind != wire.AnswerNo || a.Person != 2 || a.Layer != 2 || a.Dwell != 8000 {
		t.Errorf("answer: got %+v, want Ben's no after 8 s and two layers", a)
	}
}

// A message that comes while a question is there waits.
func TestQuestionHoldsTheScreen(t *testing.T) {
	g := newGateway(t)
	d := g.ready(device.TV, func(c *Config) { c.Can.Holds = 1 })
	q := g.question()
	g.asks(d, q)
	p, p2 := g.message(), g.message()
	g.send(d, wire.DnMsg, p)
	g.want(g.event(p.Message, 1), wire.Queued, 0)
	g.send(d, wire.DnMsg, p2)
	g.want(g.event(p2.Message, 1), wire.Declined, wire.Busy)
	g.dark(d)
	if err := d.Reply("back", ""); err != nil {
		t.Fatal(err)
	}
	g.want(g.event(p.Message, 2), wire.Presented, 0)
}

// An answer that was given without a connection is sent on the next one, with its age; so it is
// after a power cut.
func TestAnswerIsOwed(t *testing.T) {
	g := newGateway(t)
	d := g.ready(device.Fridge, func(c *Config) { c.Memory = bookFile(t) })
	q := g.question()
	g.asks(d, q)
	d.Unplug()
	if err := d.Reply("no", ""); err != nil {
		t.Fatal(err)
	}
	g.advance(d, 3*time.Second)
	if err := d.Reboot(); err != nil {
		t.Fatal(err)
	}
	d.Plug()
	if a := g.answer(2); a.Kind != wire.AnswerNo || a.Age != 3000 || a.Ask != q.ID {
		t.Errorf("answer: got %+v, want a no of 3 s ago", a)
	}
}

func TestQuestionMistakes(t *testing.T) {
	g := newGateway(t)
	d := g.ready(device.TV)
	wants := func(err error, words ...string) {
		t.Helper()
		for _, w := range words {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("got error %v, want one with %q", err, w)
			}
		}
	}
	wants(d.Reply("yes", ""), "nothing is asked")
	q := g.question()
	q.Controls = q.Controls[:2]
	g.asks(d, q)
	wants(d.Reply("maybe", ""), `"maybe"`, "yes, no, more, phone, back, silence, stranger")
	wants(d.Reply("phone", ""), "no such control", "yes, no")
	wants(d.Reply("silence", ""), "only a voice")
	wants(d.Press(1, nil), "nothing is on the screen")
	if d.Screen().Question == nil {
		t.Error("a mistake has ended the question")
	}
	// Nonsense changes nothing.
	g.must(g.client.Publish(wire.Topic(d.ID(), wire.DnAsk), 1, false, []byte{0xff}))
	g.must(g.client.Publish(wire.Topic(d.ID(), "dn/later"), 1, false, []byte{0xa0}))
	if err := d.Reply("yes", ""); err != nil {
		t.Fatal(err)
	}
	if a := g.answer(2); a.Kind != wire.AnswerYes {
		t.Errorf("answer: got %+v, want yes", a)
	}
}

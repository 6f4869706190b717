package sim

import (
	"slices"
	"strings"
	"testing"

	"porchlight/device"
	"porchlight/device/wire"
)

// sees is a device that reports who is there.
func sees(c *Config) { c.Can.Attention = device.ReportsOccupancy | device.ReportsWho }

func TestWhoIsThere(t *testing.T) {
	g := newGateway(t)
	d := g.ready(device.TV, sees)
	g.names(d, "Anna", "Ben", "Carla")
	steps := []struct {
		do    func() error
		who   any
		count any
		room  any
	}{
		{func() error { return d.People(2) }, nil, 2.0, true},
		{func() error { return d.Comes("Ben@0.7") }, "2@0.7", 3.0, true},
		{func() error { return d.Comes("Anna") }, "1 2@0.7", 4.0, true},
		{func() error { return d.Comes("Ben") }, "1 2", 4.0, true},
		{func() error { return d.Leaves("Anna") }, "2", 3.0, true},
		{func() error { return d.People(1) }, "2", 1.0, true},
		{func() error { return d.Do("everybody leaves") }, "", 0.0, false},
		{func() error { return d.Do("somebody comes") }, "", 1.0, true},
		{func() error { return d.Comes("Carla") }, "3", 2.0, true},
		// Whom the home does not name any more the device does not know.
		{func() error { g.names(d, "Anna", "Ben"); return nil }, "", 2.0, true},
		{func() error { return d.Do("somebody sleeps") }, "", 2.0, true},
	}
	for i, s := range steps {
		if err := s.do(); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		g.wait("the people of step "+string(rune('0'+i)), func() bool {
			return g.last.Values["presence.who"] == s.who && g.last.Values["presence.count"] == s.count && g.last.Values["room.occupancy"] == s.room
		})
	}
	g.wait("sleep", func() bool { return g.last.Values["sleeping"] == true })
	for what, tt := range map[string]struct {
		err  error
		want string
	}{
		"somebody unknown": {d.Comes("Eve"), `"Eve"`},
		"too sure":         {d.Comes("Anna@1.1"), "use 0 to 1"},
		"not a number":     {d.Comes("Anna@often"), "use 0 to 1"},
		"nobody":           {d.Comes(""), "say who"},
		"not there":        {d.Leaves("Anna"), "does not see them"},
		"too many":         {d.People(100), "use 0 to 99"},
		"fewer than none":  {d.People(-1), "use 0 to 99"},
	} {
		if tt.err == nil || !strings.Contains(tt.err.Error(), tt.want) {
			t.Errorf("%s: got %v, want an error with %q", what, tt.err, tt.want)
		}
	}
	if err := d.Comes("Ben"); err != nil {
		t.Fatal(err)
	}
	d.Comes("Anna")
	if err := d.People(1); err == nil || !strings.Contains(err.Error(), "let them leave first") {
		t.Errorf("fewer than are known: got %v", err)
	}
	if err := d.Do(FactoryReset); err != nil {
		t.Fatal(err)
	}
	if v, ok := d.State().Values["presence.who"]; ok {
		t.Errorf("who is there after a reset: got %v", v)
	}
}

func TestWhoIsThereNeedsSenses(t *testing.T) {
	g := newGateway(t)
	d := g.ready(device.TV)
	g.names(d, "Anna")
	if err := d.Comes("Anna"); err == nil || !strings.Contains(err.Error(), "give it who under attention") {
		t.Errorf("got %v", err)
	}
	if err := d.People(1); err == nil || !strings.Contains(err.Error(), "give it occupancy under attention") {
		t.Errorf("got %v", err)
	}
}

// What a person sets goes out as a proposal on what they saw.
func TestSettings(t *testing.T) {
	yes := true
	tests := map[string]struct {
		step Step
		want wire.Proposal
	}{
		"snooze": {Step{Snooze: "1h"}, wire.Proposal{Mutes: &[]wire.Mute{{Brand: "old-co"}, {Until: 5_003_600_000}}}},
		"mute": {Step{By: "Ben", Mute: &Muting{Brand: "corner-shop", Category: "games", Purpose: "marketing", Class: "tv", Room: "kitchen", Content: []string{"picture", "sound"}, For: "1m", Owner: "Anna"}},
			wire.Proposal{Person: 2, Mutes: &[]wire.Mute{{Brand: "old-co"}, {Brand: "corner-shop", Category: "games", Purpose: "marketing", Class: device.TV, Room: 7, Content: 6, Until: 5_000_060_000, Owner: 1}}}},
		"mute this": {Step{Mute: &Muting{Brand: "this"}}, wire.Proposal{Mutes: &[]wire.Mute{{Brand: "old-co"}, {Brand: "corner-shop"}}}},
		"dim": {Step{Quiet: []Quieting{{From: "21:00", To: "07:00", Dim: true}}},
			wire.Proposal{Quiet: &[]wire.QuietTime{{Start: 1260, End: 420, Dim: true}}}},
		"quiet": {Step{Quiet: []Quieting{{From: "22:00", To: "07:30", Days: []string{"Sun", "Sat"}, Zone: "Europe/Vienna", Owner: "Ben"}}},
			wire.Proposal{Quiet: &[]wire.QuietTime{{Days: 65, Start: 1320, End: 450, Zone: "Europe/Vienna", Owner: 2}}}},
		"caps": {Step{Caps: []Capping{{Max: 3}, {Brand: "corner-shop", Each: true, Max: 1, Minutes: 30, Category: "games", Purpose: "marketing", Class: "fridge", Room: "kitchen", Owner: "Anna"}}},
			wire.Proposal{Caps: &[]wire.Cap{{Max: 3}, {Brand: "corner-shop", Each: true, Max: 1, Minutes: 30, Category: "games", Purpose: "marketing", Class: device.Fridge, Room: 7, Owner: 1}}}},
		"no caps":   {Step{Caps: []Capping{}}, wire.Proposal{Caps: &[]wire.Cap{}}},
		"moments":   {Step{Moments: []string{"film", "sleep"}}, wire.Proposal{Moments: &[]string{"film", "sleep"}}},
		"languages": {Step{Languages: []string{"de", "en"}}, wire.Proposal{Languages: &[]string{"de", "en"}}},
		"freeze":    {Step{Freeze: &yes, By: "Anna"}, wire.Proposal{Person: 1, Frozen: &yes}},
		"forget":    {Step{Forget: []uint{0, 2}}, wire.Proposal{Forget: &[]uint{0, 2}}},
		"choose": {Step{By: "Anna", Choose: &Choice{Brand: "corner-shop", Purpose: "marketing", Choice: "refused"}},
			wire.Proposal{Person: 1, Brands: []wire.BrandChoice{{Brand: "corner-shop", Purpose: "marketing", Choice: "refused"}}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t)
			d := g.ready(device.TV)
			g.send(d, wire.DnTime, wire.Time{Clock: 5_000_000_000})
			g.send(d, wire.DnTwin, wire.Twin{Version: 4, Doc: wire.Document{
				Brands: []wire.BrandChoice{{Brand: "corner-shop", Name: "Corner Shop", Purpose: "marketing", Choice: "given"}},
				Mutes:  []wire.Mute{{Brand: "old-co"}}, People: []wire.Resident{{Person: 1, Name: "Anna"}, {Person: 2, Name: "Ben"}}, Rooms: []wire.Place{{Room: 7, Name: "kitchen"}},
			}})
			g.await(d, func(s State) bool { return s.Twin.Version == 4 })
			if name == "mute this" {
				m := g.message()
				m.ValidUntil = 6_000_000
				g.shows(d, m)
			}
			if err := tt.step.Take(d); err != nil {
				t.Fatal(err)
			}
			g.wait("the proposal", func() bool { return len(g.props) == 1 })
			got, want := g.props[0], tt.want
			want.Seq, want.Base = got.Seq, 4
			a, err := wire.Encode(got)
			b, err2 := wire.Encode(want)
			if err != nil || err2 != nil || !slices.Equal(a, b) {
				t.Errorf("got %+v\nwant %+v", got, want)
			}
		})
	}
}

// What a person has muted on the device they undo there; what else is in the list goes back as it came.
func TestUndoMutes(t *testing.T) {
	const until = 5_000_000_001
	other := []wire.Mute{{Brand: "old-co"}, {Until: until, Owner: 1}, {Until: until, Class: device.TV}, {}, {Until: until, Content: wire.ContentSound}, {Device: "tv-1"}}
	also := func(mutes ...wire.Mute) []wire.Mute { return append(slices.Clone(other), mutes...) }
	without := func(i int) []wire.Mute { return slices.Delete(slices.Clone(other), i, i+1) }
	full := wire.Mute{Brand: "corner-shop", Category: "games", Purpose: "marketing", Class: device.TV, Room: 7, Content: 6, Owner: 1}
	words := Muting{Brand: "corner-shop", Category: "games", Purpose: "marketing", Class: "tv", Room: "kitchen", Content: []string{"picture", "sound"}, Owner: "Anna"}
	lift := func(m Muting) Step { m.Lift = true; return Step{Mute: &m} }
	limited := full
	limited.Until = until
	tests := map[string]struct {
		before []wire.Mute
		step   Step
		want   []wire.Mute // nil: it is refused
		why    string
	}{
		"a snooze replaces another":  {also(wire.Mute{Until: until}), Step{Snooze: "1s"}, also(wire.Mute{Until: 5_000_001_000}), ""},
		"the snooze is over":         {also(wire.Mute{Until: until}), Step{Snooze: "off"}, other, ""},
		"there is no snooze":         {other, Step{Snooze: "off"}, nil, "choose on tv: it is not snoozed"},
		"a mute is lifted":           {also(full), lift(words), other, ""},
		"one for some time":          {also(limited), lift(words), other, ""},
		"one of a brand":             {other, lift(Muting{Brand: "old-co"}), without(0), ""},
		"one of everything":          {other, lift(Muting{}), without(3), ""},
		"one of a device":            {other, lift(Muting{Device: "tv-1"}), without(5), ""},
		"one of this device":         {also(wire.Mute{Brand: "corner-shop", Device: "tv-9"}, wire.Mute{Brand: "corner-shop"}), lift(Muting{Brand: "corner-shop", Device: "this"}), also(wire.Mute{Brand: "corner-shop"}), ""},
		"another device":             {other, lift(Muting{Device: "tv-2"}), nil, "to lift the mute of everything on tv-2: it is not muted in these words"},
		"no ID of a device":          {other, lift(Muting{Device: "the TV"}), nil, `device "the TV" is not 4 to 32 characters`},
		"a device is muted":          {other, Step{Mute: &Muting{Device: "this", For: "1s"}}, also(wire.Mute{Device: "tv-9", Until: 5_000_001_000}), ""},
		"the other words":            {other, lift(Muting{Brand: "corner-shop"}), nil, "to lift the mute of corner-shop: it is not muted in these words; use those of one that is: old-co until lifted; everything until"},
		"nothing is muted":           {nil, lift(Muting{}), nil, "nothing is muted"},
		"a slip":                     {other, Step{Mute: &Muting{Brand: "corner-shp"}}, nil, `list no brand "corner-shp": did you mean corner-shop?`},
		"nobody it knows":            {other, Step{Mute: &Muting{Brand: "elsewhere"}}, nil, `list no brand "elsewhere": the brands are corner-shop, other-co`},
		"no length":                  {other, Step{Snooze: "0s"}, nil, "0s is over before it begins: use a length of time such as 2h; to end a snooze say off"},
		"not a length":               {other, Step{Snooze: "tomorrow"}, nil, `"tomorrow" is not a length of time such as 30m or 2h; to end a snooze say off`},
		"a mute of no length":        {other, Step{Mute: &Muting{For: "0s"}}, nil, "0s is over before it begins"},
		"a mute of a wrong length":   {other, Step{Mute: &Muting{For: "off"}}, nil, `"off" is not a length of time`},
		"lifted for a length":        {other, lift(Muting{For: "2h"}), nil, "leave for out"},
		"a mute beside one for ever": {other, Step{Mute: &Muting{For: "1s"}}, also(wire.Mute{Until: 5_000_001_000}), ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t)
			d := g.ready(device.TV, func(c *Config) { c.ID = "tv-9" })
			g.send(d, wire.DnTime, wire.Time{Clock: 5_000_000_000})
			g.send(d, wire.DnTwin, wire.Twin{Version: 4, Doc: wire.Document{
				Brands: []wire.BrandChoice{{Brand: "corner-shop", Purpose: "context", Choice: "given"}, {Brand: "corner-shop", Purpose: "marketing", Choice: "given"}, {Brand: "other-co", Purpose: "marketing", Choice: "given"}},
				Mutes:  tt.before, People: []wire.Resident{{Person: 1, Name: "Anna"}}, Rooms: []wire.Place{{Room: 7, Name: "kitchen"}},
			}})
			g.await(d, func(s State) bool { return s.Twin.Version == 4 })
			err := tt.step.Take(d)
			if tt.want == nil {
				if err == nil || !strings.Contains(err.Error(), tt.why) {
					t.Errorf("got %v, want an error with %q", err, tt.why)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			g.wait("the proposal", func() bool { return len(g.props) == 1 })
			if got := g.props[0]; got.Mutes == nil || !slices.Equal(*got.Mutes, tt.want) {
				t.Errorf("got %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

// One proposal says the same of every brand and purpose.
func TestChooseAll(t *testing.T) {
	g := newGateway(t)
	d := g.ready(device.TV)
	if err := d.ChooseAll("given"); err == nil || !strings.Contains(err.Error(), "no brand yet") {
		t.Errorf("without a brand: got %v", err)
	}
	if err := d.ChooseAll("perhaps"); err == nil || !strings.Contains(err.Error(), "perhaps") {
		t.Errorf("no choice: got %v", err)
	}
	var want []wire.BrandChoice
	for _, purpose := range []string{"marketing", "personalised", "context"} {
		want = append(want, wire.BrandChoice{Brand: "corner-shop", Purpose: purpose, Choice: "given"})
	}
	listed := slices.Clone(want)
	for i := range listed {
		listed[i].Name, listed[i].Choice = "Corner Shop", "silent"
	}
	g.send(d, wire.DnTwin, wire.Twin{Version: 4, Doc: wire.Document{Brands: listed}})
	g.await(d, func(s State) bool { return s.Twin.Version == 4 })
	if err := d.ChooseAll("given"); err != nil {
		t.Fatal(err)
	}
	if err := d.SetMoments("film"); err != nil { // sent after all that came before
		t.Fatal(err)
	}
	g.wait("the next proposal", func() bool { return len(g.props) > 0 && g.props[len(g.props)-1].Moments != nil })
	if len(g.props) != 2 || g.props[0].Base != 4 || !slices.Equal(g.props[0].Brands, want) {
		t.Errorf("got %+v\nwant %+v in one", g.props, want)
	}
}

// What only takes away is said again when somebody has chosen meanwhile; the rest is not.
func TestSettingsMeetAnother(t *testing.T) {
	g := newGateway(t)
	j := newJournal()
	d := g.ready(device.TV, func(c *Config) { c.Notify = j.note })
	g.names(d)
	for i, tt := range []struct {
		set   func() error
		again bool
	}{
		{func() error { return d.SetFrozen(true) }, true},
		{func() error { return d.SetFrozen(false) }, false},
		{func() error { return d.SetCaps() }, false}, {func() error { return d.SetMoments("film") }, false},
		{func() error { return d.SetLanguages("de") }, false}, {func() error { return d.Forget(0) }, false},
	} {
		g.mu.Lock()
		n := len(g.props)
		g.mu.Unlock()
		if err := tt.set(); err != nil {
			t.Fatal(err)
		}
		g.wait("a proposal", func() bool { return len(g.props) == n+1 })
		g.send(d, wire.DnErr, wire.Err{Seq: g.props[n].Seq, Code: overtaken, Leaf: "up/twin"})
		g.names(d)
		if tt.again {
			g.wait("the proposal again", func() bool { return len(g.props) == n+2 })
			continue
		}
		j.await(t, Conflict, "choose again")
		if len(g.props) != n+1 {
			t.Errorf("%d: it was said again", i)
		}
	}
}

func TestMuteBrandOnScreen(t *testing.T) {
	g := newGateway(t)
	d := g.ready(device.TV)
	if err := d.MuteBrand(); err == nil || !strings.Contains(err.Error(), "nothing is on the screen") {
		t.Errorf("got %v", err)
	}
	g.shows(d, g.message())
	if err := d.MuteBrand(); err == nil || !strings.Contains(err.Error(), `no brand "Corner Shop"`) {
		t.Errorf("got %v", err)
	}
}

func TestWhy(t *testing.T) {
	g := newGateway(t)
	j := newJournal()
	d := g.ready(device.TV, func(c *Config) { c.Notify = j.note })
	g.names(d, "Anna")
	if err := d.Why(""); err == nil || !strings.Contains(err.Error(), "held back") {
		t.Errorf("why, with nothing there: got %v", err)
	}
	p := g.message()
	g.shows(d, p)
	if err := d.Why("Anna"); err != nil {
		t.Fatal(err)
	}
	g.wait("the question", func() bool { return len(g.whys) == 1 })
	if w := g.whys[0]; w.Message == nil || *w.Message != p.Message || w.Language != "en" || w.Person != 1 {
		t.Errorf("asked: got %+v", w)
	}
	g.send(d, wire.DnWhy, wire.Because{Seq: g.whys[0].Seq, Message: &p.Message, Lines: []string{"Shown because of this", "and that"}, Language: "en"})
	j.await(t, Explained, "and that")
	if got := d.State().Because.Lines; len(got) != 2 {
		t.Errorf("lines: got %q", got)
	}
	// One that has gone can be asked about, too.
	if err := d.Dismiss(nil); err != nil {
		t.Fatal(err)
	}
	if err := d.Why(""); err != nil {
		t.Fatal(err)
	}
	g.wait("the second question", func() bool { return len(g.whys) == 2 })
	if w := g.whys[1]; w.Message == nil || *w.Message != p.Message {
		t.Errorf("asked: got %+v", w)
	}
	g.advance(d, whyPatience)
	j.await(t, Trouble, "cannot be told why")
	g.send(d, wire.DnWhy, wire.Because{Seq: g.whys[1].Seq, Lines: []string{"late"}, Language: "en"})
	j.await(t, Trouble, "was not asked")
	if err := d.HeldBack(""); err != nil {
		t.Fatal(err)
	}
	g.wait("the third question", func() bool { return len(g.whys) == 3 })
	if w := g.whys[2]; w.Message != nil {
		t.Errorf("asked: got %+v", w)
	}
	d.Unplug()
	if err := d.HeldBack(""); err == nil || !strings.Contains(err.Error(), "off line") {
		t.Errorf("off line: got %v", err)
	}
}

func TestSignal(t *testing.T) {
	g := newGateway(t)
	d := g.ready(device.TV)
	d.Unplug()
	if err := d.Signal(wire.SignalGPC, "1"); err != nil {
		t.Fatal(err)
	}
	if err := d.Signal(wire.SignalGPC, ""); err != nil {
		t.Fatal(err)
	}
	if err := d.Signal(9, ""); err == nil || !strings.Contains(err.Error(), "signal 9 is unknown") {
		t.Errorf("signal 9: got %v", err)
	}
	d.Plug()
	g.wait("both signals", func() bool { return len(g.signals) == 2 })
	if a, b := g.signals[0], g.signals[1]; a.Kind != wire.SignalGPC || a.Value != "1" || b.Value != "" {
		t.Errorf("got %+v and %+v", a, b)
	}
}

func TestWord(t *testing.T) {
	g := newGateway(t)
	j := newJournal()
	d := g.ready(device.TV, func(c *Config) { c.Notify = j.note })
	by := uint64(g.clock.Now().UnixMilli())
	g.send(d, wire.DnWord, wire.Word{Epoch: 8, State: wire.WordStopping, Open: []wire.OpenScreen{{Name: "Fridge", By: by + 9_500}, {By: by - 1}}})
	j.await(t, Stopping, "Fridge, in 9.5s at most; a screen, in 0s at most")
	g.send(d, wire.DnWord, wire.Word{Epoch: 7, State: wire.WordStopped}) // of something earlier
	c := wire.Cancel{Message: device.NewMessageID(1)}
	g.send(d, wire.DnMsg, c)
	g.event(c.Message, 1) // and so it has heard that
	if w := d.State().Word; w.Epoch != 8 || w.State != wire.WordStopping {
		t.Errorf("word: got %+v, want stopping at 8", w)
	}
	if p := d.State().Picture(44); !strings.Contains(p, "on, stopping") {
		t.Errorf("got\n%s", p)
	}
	g.send(d, wire.DnWord, wire.Word{Epoch: 8, State: wire.WordStopping})
	j.await(t, Stopping, "nothing")
	g.send(d, wire.DnWord, wire.Word{Epoch: 8, State: wire.WordStopped})
	j.await(t, Stopped, "no screen")
}

// Of a message only what it says itself may be used.
func TestContent(t *testing.T) {
	voice := device.Voice
	picture := &wire.Picture{Path: "/p/soup", SHA256: make([]byte, 32), Bytes: 5, Alt: "a bowl of soup"}
	tests := map[string]struct {
		edit   func(*wire.Present)
		config func(*Config)
		do     string
		kind   wire.EventKind
		sound  string
		draws  string
		not    string
	}{
		"nothing said":                {kind: wire.Presented, draws: "Soup of the day"},
		"a picture":                   {edit: func(p *wire.Present) { p.Picture = picture }, kind: wire.Presented, draws: "[a bowl of soup]"},
		"only words":                  {edit: func(p *wire.Present) { p.Picture, p.Content = picture, wire.ContentWords }, kind: wire.Presented, draws: "Soup of the day", not: "bowl"},
		"only the picture":            {edit: func(p *wire.Present) { p.Picture, p.Content = picture, wire.ContentPicture }, kind: wire.Presented, draws: "[a bowl of soup]", not: "Soup of"},
		"only a picture, none":        {edit: func(p *wire.Present) { p.Content = wire.ContentPicture }, kind: wire.Declined},
		"only a picture, no screen":   {edit: func(p *wire.Present) { p.Picture, p.Content = picture, wire.ContentPicture }, config: func(c *Config) { c.Can.Width = 0 }, kind: wire.Declined},
		"only sound":                  {edit: func(p *wire.Present) { p.Content = wire.ContentSound }, kind: wire.Declined},
		"with sound":                  {edit: func(p *wire.Present) { p.Content = 7 }, kind: wire.Presented, sound: "tone"},
		"with sound, but it is off":   {edit: func(p *wire.Present) { p.Content = 7 }, do: "mute sound", kind: wire.Presented},
		"with sound, but it has none": {edit: func(p *wire.Present) { p.Content = 7 }, config: func(c *Config) { c.Can.Sound = 0 }, kind: wire.Presented},
		"spoken":                      {edit: func(p *wire.Present) { p.Form, p.Content = &voice, 7 }, kind: wire.Presented, sound: "voice"},
		"spoken, silent":              {edit: func(p *wire.Present) { p.Form, p.Content = &voice, 3 }, kind: wire.Declined},
		"spoken, as before":           {edit: func(p *wire.Present) { p.Form = &voice }, kind: wire.Presented, sound: "voice"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t)
			shown := make(chan Event, 10)
			d := g.ready(device.TV, func(c *Config) {
				c.Can.Sound, c.Can.Width, c.Can.Forms = 3, 1920, append(c.Can.Forms, voice)
				c.Notify = func(e Event) {
					if e.Kind == Shown {
						shown <- e
					}
				}
				if tt.config != nil {
					tt.config(c)
				}
			})
			if tt.do != "" {
				if err := d.Do(tt.do); err != nil {
					t.Fatal(err)
				}
			}
			p := g.message()
			if tt.edit != nil {
				tt.edit(&p)
			}
			g.send(d, wire.DnMsg, p)
			reason := wire.Reason(0)
			if tt.kind == wire.Declined {
				reason = wire.UnsupportedForm
			}
			g.want(g.event(p.Message, 1), tt.kind, reason)
			if tt.kind == wire.Declined {
				return
			}
			if e := <-shown; e.Sound != tt.sound || d.Screen().Sound != (tt.sound != "") {
				t.Errorf("sound: got %q, want %q", e.Sound, tt.sound)
			}
			drawn := d.State().Picture(44)
			if !strings.Contains(drawn, tt.draws) || tt.not != "" && strings.Contains(drawn, tt.not) {
				t.Errorf("want %q and not %q in\n%s", tt.draws, tt.not, drawn)
			}
		})
	}
}

// The whole document, for people.
func TestPrint(t *testing.T) {
	got := Print(wire.Twin{Version: 9, Doc: wire.Document{
		Quiet:  []wire.QuietTime{{Start: 1320, End: 420, Days: 65, Zone: "Europe/Vienna", Owner: 1}},
		Mutes:  []wire.Mute{{}, {Brand: "loud-co", Class: device.TV, Room: 7, Content: wire.ContentSound, Owner: 4}},
		Caps:   []wire.Cap{{Max: 3}, {Each: true, Max: 1, Minutes: 30, Device: "tv-one"}, {Category: "games", Max: 2, Hours: 24, Room: 8}},
		People: []wire.Resident{{Person: 1, Name: "Anna"}}, Rooms: []wire.Place{{Room: 7, Name: "kitchen"}},
		Moments: []string{"film", "call"}, Languages: []string{"de", "en"}, Frozen: true, Learnt: []string{"Loud is paused"},
	}})
	for _, want := range []string{
		"quiet 22:00 to 07:00 Sun Sat Europe/Vienna, for Anna\n", "muted: everything until lifted\n", "muted: loud-co on tv in the kitchen, only its sound until lifted, for person 4\n",
		"at most 3 a day of everything\n", "at most 1 in 30 min of everything, each brand by itself on tv-one\n", "at most 2 in 24 h of games in the room 8\n",
		"nothing during: film, call\n", "languages: de, en\n", "everything is frozen\n", "learnt 0: Loud is paused\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
}

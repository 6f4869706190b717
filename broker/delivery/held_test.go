package delivery

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"porchlight/device"
	"porchlight/device/wire"
	"porchlight/policy"
)

// What was held back today: what waits, what nobody has agreed to, and what was over before its moment came.
func TestHeld(t *testing.T) {
	inWorld(t, func(w *world) {
		all := w.flat()
		tv := all[device.TV]
		tv.tell(map[string]any{"state": "playing", "full_screen": true})
		waits := w.push(to(device.TV))
		over := w.push(func(s *Submission) { to(device.TV)(s); s.NotAfter = w.now().Time().Add(time.Minute) })
		shown := w.push(to(device.Fridge))
		all[device.Fridge].mustShow(shown)
		w.pass(2 * time.Minute)
		w.must(w.desk.Choose(w.t.Context(), "oak", "Ben", "grocer", policy.Service, policy.Withdrawn))
		refused := w.push(func(s *Submission) { to(device.TV)(s); s.Purpose = policy.Service })
		for language, word := range map[string]string{"en": "television", "de": "Fernseh", "fr": "tél", "es": "televis"} {
			list, err := w.desk.Held(w.t.Context(), "oak", WhyOptions{Language: language})
			w.must(err)
			got := map[device.MessageID]HeldBack{}
			ended := map[device.MessageID]device.Instant{}
			for _, h := range list {
				for _, m := range h.Messages {
					got[m.ID], ended[m.ID] = h, m.Over
					if m.Said != "Fresh milk" && m.Said != w.good().Texts[0].Body {
						t.Errorf("%s said %q", m.ID, m.Said)
					}
				}
			}
			if _, ok := got[shown]; len(got) != 3 || ok {
				t.Fatalf("held back: %v", list)
			}
			if len(got[refused].Words) == 0 || ended[refused] != 0 || ended[over] == 0 {
				t.Errorf("refused is %+v, over is %+v", got[refused], got[over])
			}
			for _, id := range []device.MessageID{waits, over} {
				if s := strings.Join(got[id].Words, "; "); !strings.Contains(s, word) {
					t.Errorf("in %s it is said: %s; want something with %q", language, s, word)
				}
			}
		}
		w.pass(24 * time.Hour)
		list, err := w.desk.Held(w.t.Context(), "oak", WhyOptions{})
		w.must(err)
		for _, h := range list {
			for _, m := range h.Messages {
				if m.ID == over {
					t.Error("what was over yesterday is among what was held back today")
				}
			}
		}
	})
}

// A day of which the clocks skip the midnight begins when they are put forward, and not in the evening before.
func TestHeldOfADayThatBeginsAtOne(t *testing.T) {
	inWorld(t, func(w *world) {
		w.restartAt("2027-09-05T12:00:00-03:00")
		_, _, err := w.desk.AddHome(w.t.Context(), HomeSpec{Name: "oak", Zone: "America/Santiago"})
		w.must(err)
		id, err := w.desk.homeID(w.t.Context(), "oak")
		w.must(err)
		w.must(w.desk.in(id, func(h *home) error {
			zone, midnight := w.desk.midnight(h)
			if got := midnight.Time().In(zone).Format(time.RFC3339); got != "2027-09-05T01:00:00-03:00" {
				t.Errorf("today began at %s", got)
			}
			return nil
		}))
	})
}

// One brand that pushes a lot fills neither the list nor the screen: what is the same is said once, with how often.
func TestHeldFromALoudBrand(t *testing.T) {
	inWorld(t, func(w *world) {
		all := w.flat()
		tv := all[device.TV]
		w.choose(policy.Withdrawn)
		w.must(w.desk.Choose(w.t.Context(), "oak", "", "baker", policy.Marketing, policy.Withdrawn))
		grocer, baker, was := w.brand.ID, device.BrandID("baker"), w.brand
		w.brand.ID, w.brand.Name = baker, "Baker"
		quiet := w.push(to(device.TV))
		w.brand = was
		var first, last device.MessageID
		for i := range 25 {
			last = w.push(to(device.TV))
			if i == 0 {
				first = last
			}
			w.pass(time.Second)
		}
		w.must(w.desk.Choose(w.t.Context(), "oak", "", grocer, policy.Service, policy.Withdrawn))
		personal := w.push(func(s *Submission) { to(device.TV)(s); s.Personal, s.Purpose = true, policy.Service })

		list, err := w.desk.Held(w.t.Context(), "oak", WhyOptions{})
		w.must(err)
		if len(list) != 3 {
			t.Fatalf("%d lines, want one of each brand and reason: %+v", len(list), list)
		}
		if m := list[0].Messages; m[0].ID != personal || m[0].Said != "" {
			t.Errorf("what is personal is told as %+v", m[0])
		}
		if m := list[1].Messages; list[1].Brand != grocer || list[1].Screen != "TV" || len(m) != 25 || m[0].ID != last || m[24].ID != first || m[24].Came >= m[0].Came || m[0].When == "" || m[0].Said == "" {
			t.Errorf("of what grocer said 25 times it is told: %s on %s, %d times", list[1].Brand, list[1].Screen, len(m))
		}
		if m := list[2].Messages; list[2].Brand != baker || len(m) != 1 || m[0].ID != quiet {
			t.Errorf("of baker it is told: %+v", list[2])
		}
		w.must(w.desk.WhyAsked(tv.id, tv.up, wire.WhyAsked{Seq: 1}))
		w.wait()
		if l := tv.because.Lines; len(l) != 3 || !strings.HasPrefix(l[1], "Baker: ") || !strings.HasPrefix(l[2], "Grocer (25; ") {
			t.Errorf("on the screen: %q, want both brands before grocer's second line", l)
		}
		for _, line := range tv.because.Lines {
			if s := list[1].Messages[0].Said; strings.Contains(line, s) {
				t.Errorf("nobody said yes, and the screen says %q, which is in %q", s, line)
			}
		}

		// More reasons than lines: the last line counts what is left out.
		for i := range 20 {
			w.push(func(s *Submission) {
				to(device.TV)(s)
				at := w.now().Time().Add(time.Duration(i+1) * time.Minute)
				s.NotBefore = &at
			})
		}
		w.must(w.desk.WhyAsked(tv.id, tv.up, wire.WhyAsked{Seq: 2}))
		w.wait()
		list, err = w.desk.Held(w.t.Context(), "oak", WhyOptions{})
		w.must(err)
		if l := tv.because.Lines; len(list) <= maxBecause || len(l) > maxBecause || l[len(l)-1] != fmt.Sprintf("+ %d", 1+25+1+20-(len(l)-1)) {
			t.Errorf("%d lines for %d: %q", len(l), len(list), l)
		}
	})
}

// A person asks on the screen in front of them, and is answered there, in their language.
func TestWhyOnADevice(t *testing.T) {
	inWorld(t, func(w *world) {
		all := w.flat()
		phone := all[device.Companion]
		w.must(phone.proposes(wire.Proposal{Languages: &[]string{"de"}}))
		id := w.push(to(device.Companion))
		phone.mustShow(id)
		w.must(w.desk.WhyAsked(phone.id, phone.up, wire.WhyAsked{Seq: 7, Message: &id}))
		w.wait()
		if b := phone.because; b.Seq != 7 || b.Language != "de" || len(b.Lines) != 1 || !strings.Contains(b.Lines[0], "Grocer") || !strings.HasSuffix(b.Lines[0], ".") {
			t.Errorf("why it is shown: %+v", b)
		}
		held := w.push(func(s *Submission) { to(device.Companion)(s); s.Personal = true; s.Purpose = policy.Service })
		phone.tell(map[string]any{"call.active": true})
		w.must(w.desk.WhyAsked(phone.id, phone.up, wire.WhyAsked{Seq: 8, Language: "fr"}))
		w.wait()
		if b := phone.because; b.Seq != 8 || b.Language != "fr" || len(b.Lines) != 1 || !strings.HasPrefix(b.Lines[0], "Grocer: ") {
			t.Errorf("what was held back: %+v, want one line about %s", b, held)
		}
		never := device.NewMessageID(1)
		w.must(w.desk.WhyAsked(phone.id, phone.up, wire.WhyAsked{Seq: 9, Message: &never}))
		w.wait()
		if b := phone.because; b.Seq != 9 || len(b.Lines) != 1 {
			t.Errorf("about a message that never was: %+v", b)
		}
	})
}

// A signal takes away at once and gives nothing: what it allows, and its end, leave what the home says.
func TestSignalsOnlyRestrict(t *testing.T) {
	inWorld(t, func(w *world) {
		all := w.flat()
		tv, phone := all[device.TV], all[device.Companion]
		id := w.push(to(device.TV))
		tv.mustShow(id)
		signal := func(h *hand, g wire.Signal) error {
			err := w.desk.Signal(h.id, h.up, g)
			w.wait()
			return err
		}
		w.must(signal(phone, wire.Signal{Kind: wire.SignalGPC, Value: "1"}))
		tv.mustShow(id) // somebody else's browser
		w.must(signal(tv, wire.Signal{Kind: wire.SignalGPC, Value: "1"}))
		tv.mustShow()
		next := w.push(to(device.TV))
		if got := w.why(next, tv); got != "refuse[terms]" {
			t.Errorf("with GPC it is %s, want refuse[terms]", got)
		}
		if err := signal(tv, wire.Signal{Kind: wire.SignalTCF, Value: "nonsense"}); err == nil {
			t.Error("nonsense is no error")
		}
		w.must(signal(tv, wire.Signal{Kind: wire.SignalGPC}))
		tv.mustShow() // what could not be read denies all that it could have denied
		w.must(signal(tv, wire.Signal{Kind: wire.SignalTCF}))
		tv.mustShow(next)
		w.choose(policy.Withdrawn)
		tv.mustShow()
		w.must(signal(tv, wire.Signal{Kind: wire.SignalGPC, Value: "1"}))
		w.must(signal(tv, wire.Signal{Kind: wire.SignalGPC}))
		tv.mustShow()
		w.restart()
		w.memory()
	})
}

// Somebody comes in while a message is on the screen: it is judged anew at once.
func TestPresenceChanges(t *testing.T) {
	inWorld(t, func(w *world) {
		all := w.flat()
		tv := all[device.TV]
		tv.tell(map[string]any{"presence.who": "1"})
		id := w.push(func(s *Submission) { to(device.TV)(s); s.Personal = true })
		tv.mustShow(id)
		all[device.Display].tell(map[string]any{"presence.count": 2}) // in the same room
		tv.mustShow()
		all[device.Display].tell(map[string]any{"presence.count": 1})
		if got := w.why(id, tv); !strings.HasPrefix(got, "refuse") {
			t.Errorf("shown once, it is %s", got)
		}
		again := w.push(func(s *Submission) { to(device.TV)(s); s.Personal = true })
		tv.mustShow(again)
		w.must(w.desk.in(1, func(h *home) error {
			if dl := h.find(again, tv.id); fmt.Sprint(dl.who) != "[1]" || dl.others {
				t.Errorf("it counts for %v, others %t, want Anna alone", dl.who, dl.others)
			}
			return nil
		}))
	})
}

// What was held back on somebody's own devices is told on a shared screen only to them, and only while they may be
// in front of it; the operator is told all of it.
func TestHeldOfAnother(t *testing.T) {
	inWorld(t, func(w *world) {
		_, devices, err := w.desk.AddHome(w.t.Context(), HomeSpec{Name: "oak", Zone: "Europe/Zurich", Caps: []policy.Cap{},
			People:  []PersonSpec{{Name: "Anna", Age: device.Adult}, {Name: "Ben", Age: device.Adult}},
			Devices: []DeviceSpec{{Class: device.Fridge}, {Class: device.Car, Name: "Anna's car", Owner: "Anna"}, {Class: device.Companion, Name: "Anna's phone", Owner: "Anna"}}})
		w.must(err)
		all := map[device.Class]*hand{}
		for _, e := range devices {
			all[e.Class] = w.hand(e.Device)
			all[e.Class].connect()
		}
		w.choose(policy.Given)
		w.must(w.desk.Choose(w.t.Context(), "oak", "Anna", "grocer", policy.Marketing, policy.Given))
		all[device.Companion].tell(map[string]any{"call.active": true})
		all[device.Car].tell(map[string]any{"ux.driving": "moving"})
		w.push(to(device.Car))
		w.push(to(device.Companion))
		for _, c := range []device.Class{device.Car, device.Companion} {
			w.push(func(s *Submission) { to(c)(s); s.NotAfter = w.now().Time().Add(time.Minute) })
		}
		w.pass(2 * time.Minute)
		fridge := all[device.Fridge]
		told := func(h *hand, person uint32) int {
			t.Helper()
			w.pass(10 * time.Second) // not too often
			w.must(w.desk.WhyAsked(h.id, h.up, wire.WhyAsked{Seq: 1, Person: person}))
			w.wait()
			return strings.Count(strings.Join(h.because.Lines, "\n"), "Grocer")
		}
		for name, test := range map[string]struct {
			who    any // presence.who
			person uint32
			want   int
		}{
			"nobody knows who asks":                 {nil, 0, 0},
			"somebody unknown":                      {"", 0, 0},
			"Ben":                                   {nil, 2, 0},
			"Anna":                                  {nil, 1, 2},
			"Ben is there":                          {"2", 0, 0},
			"Anna is there":                         {"1", 0, 2},
			"Ben is there, and Anna is said to ask": {"2", 1, 0},
			"both are there, and nobody is named":   {"1 2", 0, 0},
			"both are there, and Anna is said to ask":  {"1 2", 1, 2},
			"somebody who does not live here, is said": {nil, 9, 0},
		} {
			fridge.tell(map[string]any{"presence.who": test.who})
			if got := told(fridge, test.person); got != test.want {
				t.Errorf("%s: %d lines, want %d: %q", name, got, test.want, fridge.because.Lines)
			}
		}
		if got := told(all[device.Companion], 2); got != 2 {
			t.Errorf("on her own phone Anna is told %q", all[device.Companion].because.Lines)
		}
		operator := func(reader string, want int) {
			t.Helper()
			list, err := w.desk.Held(w.t.Context(), "oak", WhyOptions{Reader: reader})
			w.must(err)
			if n := len(list); n != want {
				t.Errorf("for %q the operator is told %d, want %d: %+v", reader, n, want, list)
			}
		}
		operator("", 2)
		operator("Ben", 0)
		w.must(w.desk.RemoveDevice(w.t.Context(), all[device.Car].id))
		fridge.tell(map[string]any{"presence.who": "1"})
		if got := told(fridge, 0); got != 1 {
			t.Errorf("of a car that is gone it is told %q", fridge.because.Lines)
		}
		operator("", 2)
	})
}

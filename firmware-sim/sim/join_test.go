package sim

import (
	"strings"
	"testing"
	"time"

	"porchlight/device"
	"porchlight/device/wire"
)

// joined waits for the n-th frame of up/join, counted from 1.
func (g *gateway) joined(n int) (j wire.Join) {
	g.t.Helper()
	g.wait("a frame about joining", func() bool {
		if len(g.joins) < n {
			return false
		}
		j = g.joins[n-1]
		return true
	})
	return j
}

// A person lets a new device in, from one simulated device to the other.
func TestLetIn(t *testing.T) {
	s := newSecure(t)
	j := newJournal()
	old := s.enrolled("tv-one", func(c *Config) { c.Notify = j.note })
	young, _ := s.made(s.newcomer(Enrolment{}, func(c *Config) { c.Class, c.Start = device.Fridge, nil }))
	c := s.candidate(3)
	c.challenge(newNonce(), 4)
	s.await(young, func(st State) bool { return st.Code != "" })

	if err := old.OpenWindow(); err != nil {
		t.Fatal(err)
	}
	if f := s.joined(1); f.Op != wire.JoinOpen || f.Seq == 0 {
		t.Errorf("open: got %+v", f)
	}
	until := uint64(s.clock.Now().Add(15 * time.Minute).UnixMilli())
	who := wire.Applicant{ID: string(c.id), Class: c.apply.Class, Model: c.apply.Model, Way: c.apply.Way, Tries: 3}
	s.send(old, wire.DnJoin, wire.Window{Until: until})
	j.await(t, Joining, "can be added for 15 minutes")
	s.send(old, wire.DnJoin, wire.Window{Until: until, Applicants: []wire.Applicant{who}})
	j.await(t, Joining, "Lumen L55 (fridge) wants to join: type its six digits")

	st := old.State()
	if len(st.Window.Applicants) != 1 {
		t.Fatalf("window: got %+v", st.Window)
	}
	code := young.State().Code
	guest := s.clock.Now().Add(24 * time.Hour)
	err := old.Admit(st.Window.Applicants[0].ID, code, Admission{Name: "Snacks", Room: "kitchen", Person: 2, Until: guest, Controller: true})
	if err != nil {
		t.Fatal(err)
	}
	want := wire.Join{Seq: s.joined(2).Seq, Op: wire.JoinAdmit, Applicant: string(c.id), Code: c.bind.Code(), Name: "Snacks", Room: "kitchen", Person: 2,
		Until: uint64(guest.UnixMilli()), Controller: true}
	if got := s.joined(2); got != want {
		t.Errorf("admit: got %+v, want %+v", got, want)
	}
	c.admit("fridge-one")
	s.await(young, func(st State) bool { return st.Connected && st.ID == "fridge-one" })
	s.send(old, wire.DnJoin, wire.Window{Until: until, Outcome: &wire.JoinOutcome{Applicant: string(c.id), Result: wire.JoinAdmitted, Device: "fridge-one"}})
	j.await(t, Joining, "Lumen L55 (fridge) is in, as fridge-one")

	if err := old.Reject("e-0123456789abcdef"); err != nil {
		t.Fatal(err)
	}
	if f := s.joined(3); f.Op != wire.JoinReject || f.Applicant != "e-0123456789abcdef" || f.Until != 0 {
		t.Errorf("reject: got %+v", f)
	}
	if err := old.CloseWindow(); err != nil {
		t.Fatal(err)
	}
	if f := s.joined(4); f.Op != wire.JoinClose {
		t.Errorf("close: got %+v", f)
	}
	// A device that may not is told so.
	s.send(old, wire.DnErr, wire.Err{Seq: 9, Code: 0x87, Leaf: "up/join", Text: "it is no controller"})
	j.await(t, Complaint, "no controller")
}

// What a person is told when who asks to join changes.
func TestWindowInWords(t *testing.T) {
	tv := wire.Applicant{ID: "e-0000000000000001", Class: device.TV, Model: wire.Model{Maker: "Lumen", Name: "L55"}, Way: wire.ByCode, Tries: 3}
	tv2 := tv
	tv2.Tries = 2
	plug := wire.Applicant{ID: "e-0000000000000002", Class: device.Other, Model: wire.Model{Name: "\x1b[2J\n"}, Way: wire.ByLabel, Tries: 3}
	const until = 1 << 40
	list := func(as ...wire.Applicant) wire.Window { return wire.Window{Until: until, Applicants: as} }
	with := func(w wire.Window, id string, r wire.JoinResult) wire.Window {
		w.Outcome = &wire.JoinOutcome{Applicant: id, Result: r, Device: "tv-two"}
		return w
	}
	tests := map[string]struct {
		old, new wire.Window
		want     string // lines
	}{
		"opens":             {wire.Window{}, list(), "devices can be added for 2 minutes"},
		"opens with one":    {wire.Window{}, list(tv), "devices can be added for 2 minutes|Lumen L55 (tv) wants to join: type its six digits"},
		"said again":        {list(tv), list(tv), ""},
		"one comes":         {list(tv), list(tv, plug), "[2J (other) wants to join: type the secret on its label"},
		"one goes":          {list(tv, plug), list(plug), "Lumen L55 (tv) does not ask any more"},
		"one is in":         {list(tv), with(list(), tv.ID, wire.JoinAdmitted), "Lumen L55 (tv) is in, as tv-two"},
		"wrong":             {list(tv), with(list(tv2), tv.ID, wire.JoinWrong), "that is not what Lumen L55 (tv) shows: look again, tries left: 2"},
		"wrong, the last":   {list(tv2), with(list(), tv.ID, wire.JoinWrong), "that was not right either: Lumen L55 (tv) is turned away"},
		"gone before":       {list(), with(list(), tv.ID, wire.JoinEnded), "the device does not ask any more"},
		"closes":            {list(tv), wire.Window{}, "no devices can be added any more"},
		"nothing to say of": {list(wire.Applicant{ID: tv.ID}), list(), "something (class(0)) does not ask any more"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var got []string
			fw := firmware{window: tt.old, note: func(e Event) {
				if e.Kind != Joining {
					t.Errorf("kind: got %q", e.Kind)
				}
				got = append(got, e.Why)
			}}
			fw.joining(device.Instant(until).Time().Add(-61*time.Second), tt.new)
			if s := strings.Join(got, "|"); s != tt.want {
				t.Errorf("got %q, want %q", s, tt.want)
			}
		})
	}
}

func TestJoinMistakes(t *testing.T) {
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
	wants(d.Admit("the fridge", "123456", Admission{}), "tv", "the fridge")
	wants(d.Admit("e-0123456789abcdef", strings.Repeat("1", 33), Admission{}), "code", "32")
	g.send(d, wire.DnJoin, wire.Window{Until: 1 << 40})
	g.await(d, func(s State) bool { return s.Window.Until != 0 })
	d.Unplug()
	wants(d.OpenWindow(), "off line")
	if w := d.State().Window; w.Until != 0 {
		t.Errorf("window without a connection: got %+v", w)
	}
	if len(g.joins) > 0 {
		t.Errorf("sent %+v", g.joins)
	}
}

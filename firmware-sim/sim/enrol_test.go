package sim

import (
	"bytes"
	"crypto/tls"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"porchlight/device"
	"porchlight/device/wire"
)

const label = "ABCD-EFGH-IJKL-MNOP"

// From the first connection to the birth, every way there is.
func TestEnrol(t *testing.T) {
	tests := map[string]struct {
		enrol Enrolment
		wss   bool
	}{
		"code":             {enrol: Enrolment{}},
		"code, token":      {enrol: Enrolment{Way: wire.ByCode, Token: true}},
		"label":            {enrol: Enrolment{Way: wire.ByLabel, Secret: label}},
		"label, token":     {enrol: Enrolment{Way: wire.ByLabel, Secret: label, Token: true}},
		"home":             {enrol: Enrolment{Way: wire.ByHome, Secret: "abcd efgh"}},
		"token, WebSocket": {enrol: Enrolment{Token: true}, wss: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newSecure(t)
			shown := make(chan string, 10)
			tt.enrol.Show = func(code string) { shown <- code }
			cfg := s.newcomer(tt.enrol, func(c *Config) { c.Memory = bookFile(t) })
			if tt.wss {
				cfg.Gateway = s.wssPort
			}
			d, stop := s.made(cfg)
			c := s.candidate(1)
			way := max(tt.enrol.Way, wire.ByCode)
			if a := c.apply; a.Way != way || a.Class != device.TV || a.Model.Maker != "Lumen" || a.Model.Name != "L55" || (a.CSR == nil) != tt.enrol.Token {
				t.Errorf("apply: got %+v", a)
			}
			if !tt.wss {
				if e := s.door.came(t, 1); e.id != string(c.id) || e.user != "enrol" || e.token != "" || e.key != ([32]byte{}) {
					t.Errorf("logged in as %+v, want enrol alone", e)
				}
			}
			if d.ID() != "" || d.State().Connected {
				t.Errorf("before it is admitted: got ID %q", d.ID())
			}
			c.challenge(newNonce(), 2)
			if way == wire.ByCode {
				if code := <-shown; code != c.bind.Code() || c.proof != nil {
					t.Errorf("code: got %q and a proof of %d bytes, want %q and none", code, len(c.proof), c.bind.Code())
				}
				s.await(d, func(st State) bool { return st.Code == c.bind.Code() })
				if p := d.State().Picture(44); !strings.Contains(p, "Code "+c.bind.Code()[:3]+" "+c.bind.Code()[3:]) || !strings.Contains(p, "not enrolled") {
					t.Errorf("picture:\n%s", p)
				}
			} else if want := c.bind.Proof(tt.enrol.Secret); !bytes.Equal(c.proof, want) {
				t.Errorf("proof: got %x, want %x", c.proof, want)
			}
			c.admit("tv-one")
			s.wait("birth", func() bool { return len(s.births) == 1 })
			if way == wire.ByCode {
				if code := <-shown; code != "" || d.State().Code != "" {
					t.Errorf("code when it is in: got %q and %q, want none", code, d.State().Code)
				}
			}
			is := func(e entry) {
				t.Helper()
				want := entry{id: "tv-one", user: "tv-one", key: c.bind.Device}
				if tt.enrol.Token {
					want.token = "token of tv-one"
				}
				if e != want {
					t.Errorf("logged in as %+v, want %+v", e, want)
				}
			}
			if !tt.wss {
				is(s.door.came(t, 2))
			}
			if d.ID() != "tv-one" {
				t.Errorf("ID: got %q", d.ID())
			}
			s.beacon(d)
			s.await(d, func(st State) bool { return st.Ready })
			// It is on disk, for its owner alone, and is all that is needed.
			stop()
			if fi, err := os.Stat(cfg.Memory); err != nil || fi.Mode().Perm() != 0o600 {
				t.Errorf("memory: got mode %v, %v, want 0600", fi.Mode(), err)
			}
			cfg.Enrol = nil
			again, _ := s.made(cfg)
			s.await(again, func(st State) bool { return st.Connected && st.ID == "tv-one" })
			if !tt.wss {
				is(s.door.came(t, 3))
			}
		})
	}
}

func TestCannotEnrol(t *testing.T) {
	tests := map[string]struct {
		edit func(*Config)
		want string
	}{
		"without TLS":           {func(c *Config) { c.Gateway = "tcp://127.0.0.1:1" }, "TLS"},
		"without TLS, ws":       {func(c *Config) { c.Gateway = "ws://127.0.0.1:1" }, "TLS"},
		"label too short":       {func(c *Config) { c.Enrol = &Enrolment{Way: wire.ByLabel, Secret: "abcd-efgh-ijkl-mno"} }, "16"},
		"label of other digits": {func(c *Config) { c.Enrol = &Enrolment{Way: wire.ByLabel, Secret: "abcd-efgh-ijkl-mno1"} }, "2-7"},
		"no home code":          {func(c *Config) { c.Enrol = &Enrolment{Way: wire.ByHome, Secret: " - "} }, "one-time"},
		"unknown way":           {func(c *Config) { c.Enrol = &Enrolment{Way: 9} }, "way 9"},
		"no way at all":         {func(c *Config) { c.Enrol = nil }, "no way to enrol"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := Config{Class: device.TV, Gateway: "tls://127.0.0.1:1", Enrol: &Enrolment{}}
			if _, err := New(cfg); err != nil {
				t.Fatalf("the good one: %v", err)
			}
			tt.edit(&cfg)
			if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

// Somebody between the device and its gateway, with an authority of their own.
func TestManInTheMiddle(t *testing.T) {
	t.Run("passes everything on", func(t *testing.T) {
		s, real := newSecure(t), newCA(t)
		j := newJournal()
		cfg := s.newcomer(Enrolment{}, func(c *Config) { c.Memory, c.Notify = bookFile(t), j.note })
		d, _ := s.made(cfg)
		c := s.candidate(1)
		c.challenge(newNonce(), 2)
		s.await(d, func(st State) bool { return st.Code != "" })
		theirs := c.bind
		theirs.CA = real.hash()
		if got := d.State().Code; got != c.bind.Code() || got == theirs.Code() {
			t.Errorf("code: got %s; the real gateway expects %s and must not get it", got, theirs.Code())
		}
		// The answer of the real gateway, as if the code had been right.
		m := c.answer("tv-one")
		m.CAs = [][]byte{real.cert.Raw, s.ca.cert.Raw}
		m.Certificate = real.device(c.apply.CSR, "tv-one", farOff)
		s.sendTo(c.id, wire.DnEnrol, m)
		j.await(t, TurnedAway, "another authority")
		if d.ID() != "" || remembered(t, cfg.Memory).Identity != nil {
			t.Errorf("it took the identity %q", d.ID())
		}
		if next := s.candidate(3); next.id == c.id {
			t.Error("it starts over with the same key")
		}
	})
	t.Run("puts the real authority at the end of the chain", func(t *testing.T) {
		s, real := newSecure(t), newCA(t)
		fake := s.ca.server(gatewayName)
		s.door.show(&tls.Certificate{Certificate: [][]byte{fake.Certificate[0], real.cert.Raw}, PrivateKey: fake.PrivateKey})
		j := newJournal()
		s.made(s.newcomer(Enrolment{Token: true}, func(c *Config) { c.Notify = j.note }))
		j.await(t, TurnedAway, "between the device and its gateway")
		j.await(t, TurnedAway, "between the device and its gateway")
		if n := s.door.visits(); n > 0 {
			t.Errorf("it spoke to them %d times", n)
		}
	})
	t.Run("is a device of the home", func(t *testing.T) {
		s := newSecure(t)
		csr, key := csrOf(t)
		s.door.show(&tls.Certificate{Certificate: [][]byte{s.ca.device(csr, "tv-two", farOff), s.ca.cert.Raw}, PrivateKey: key})
		j := newJournal()
		s.made(s.newcomer(Enrolment{Token: true}, func(c *Config) { c.Notify = j.note }))
		j.await(t, TurnedAway, "between the device and its gateway")
	})
	t.Run("sends a second challenge", func(t *testing.T) {
		s := newSecure(t)
		j := newJournal()
		s.made(s.newcomer(Enrolment{}, func(c *Config) { c.Notify = j.note }))
		c := s.candidate(1)
		c.challenge(newNonce(), 2)
		s.sendTo(c.id, wire.DnEnrol, wire.Challenge{Nonce: c.bind.NonceG}) // the same does no harm
		s.sendTo(c.id, wire.DnEnrol, wire.Challenge{Nonce: newNonce()})
		j.await(t, TurnedAway, "second challenge")
		if next := s.candidate(3); next.id == c.id {
			t.Error("it starts over with the same key")
		}
	})
	t.Run("sends another challenge to the same nonce", func(t *testing.T) {
		s := newSecure(t)
		j := newJournal()
		d, _ := s.made(s.newcomer(Enrolment{Token: true}, func(c *Config) { c.Notify = j.note }))
		c := s.candidate(1)
		c.challenge(newNonce(), 2)
		s.await(d, func(st State) bool { return st.Code != "" })
		s.cut(c.id)
		if next := s.candidate(3); next.id != c.id {
			t.Errorf("applied as %s and then as %s", c.id, next.id)
		}
		s.sendTo(c.id, wire.DnEnrol, wire.Challenge{Nonce: newNonce()})
		j.await(t, TurnedAway, "begins anew")
		if next := s.candidate(4); next.id == c.id {
			t.Error("it starts over with the same nonce")
		}
	})
}

// A device without a key, whose nonce has been heard, meets another gateway.
func TestAnotherAuthority(t *testing.T) {
	s := newSecure(t)
	j := newJournal()
	d, _ := s.made(s.newcomer(Enrolment{Token: true}, func(c *Config) { c.Notify = j.note }))
	c := s.candidate(1)
	c.challenge(newNonce(), 2)
	s.await(d, func(st State) bool { return st.Code != "" })
	s.door.show(newCA(t).server(gatewayName))
	s.cut(c.id)
	j.await(t, TurnedAway, "begins anew")
	if next := s.candidate(3); next.id == c.id {
		t.Error("it asks another authority with the same nonce")
	}
}

// The answer does not arrive: the device asks for it again.
func TestLostAnswer(t *testing.T) {
	for name, token := range map[string]bool{"key": false, "token": true} {
		for cut, power := range map[string]bool{"connection": false, "power": true} {
			t.Run(name+", "+cut, func(t *testing.T) {
				s := newSecure(t)
				cfg := s.newcomer(Enrolment{Token: token}, func(c *Config) { c.Memory = bookFile(t) })
				d, stop := s.made(cfg)
				c := s.candidate(1)
				c.challenge(newNonce(), 2)
				s.await(d, func(st State) bool { return st.Code != "" })
				code := d.State().Code
				if power {
					cfg.Memory = copyBook(t, cfg.Memory)
					stop()
					d, _ = s.made(cfg)
				} else {
					s.cut(c.id)
				}
				again := s.candidate(3)
				if again.id != c.id || again.bind.Device != c.bind.Device || token != bytes.Equal(again.apply.Commit, c.apply.Commit) {
					t.Fatalf("applied as %s with %x, and then as %s with %x", c.id, c.apply.Commit, again.id, again.apply.Commit)
				}
				again.challenge(c.bind.NonceG, 4)
				s.await(d, func(st State) bool { return st.Code != "" })
				if got := d.State().Code; (got == code) != token {
					t.Errorf("code: got %s and then %s", code, got)
				}
				// Once it has been admitted the answer may come at once.
				s.cut(c.id)
				s.candidate(5).admit("tv-one")
				s.wait("birth", func() bool { return len(s.births) == 1 })
				if got := d.ID(); got != "tv-one" {
					t.Errorf("ID: got %q", got)
				}
			})
		}
	}
}

// The power is cut when the device has been admitted, before it has logged in.
func TestPowerCutWhenAdmitted(t *testing.T) {
	s := newSecure(t)
	j := newJournal()
	cfg := s.newcomer(Enrolment{}, func(c *Config) { c.Memory, c.Notify = bookFile(t), j.note })
	_, stop := s.made(cfg)
	c := s.candidate(1)
	c.challenge(newNonce(), 2)
	s.door.letIn(nobody(packets.Err3ServerUnavailable.Code))
	c.admit("tv-one")
	j.await(t, Enrolled, "tv-one")
	left := copyBook(t, cfg.Memory)
	stop()
	s.door.letIn(only(c.bind.Device))
	cfg.Memory = left
	d, _ := s.made(cfg)
	s.await(d, func(st State) bool { return st.Connected && st.ID == "tv-one" })
}

// The gateway's no, in words for people. What it was said to is over; who was not heard at all
// keeps their key.
func TestTurnedAway(t *testing.T) {
	tests := map[string]struct {
		code byte // of the CONNACK
		say  wire.TurnedAway
		way  wire.Way
		want string
	}{
		"nobody adds a device": {code: packets.Err3NotAuthorized.Code, want: "open the window"},
		"no home's code":       {code: packets.Err3NotAuthorized.Code, way: wire.ByHome, want: "no home's code"},
		"too many ask":         {code: packets.Err3ServerUnavailable.Code, want: "too many"},
		"closed":               {say: wire.TurnedAway{Why: wire.Closed}, want: "open the window"},
		"rejected":             {say: wire.TurnedAway{Why: wire.Rejected}, want: "said no"},
		"tries":                {say: wire.TurnedAway{Why: wire.Tries}, want: "too often"},
		"late":                 {say: wire.TurnedAway{Why: wire.Late}, want: "in time"},
		"unproven":             {say: wire.TurnedAway{Why: wire.Unproven, Text: "commit\x1b[2J"}, want: "does not believe it (commit[2J)"},
		"wrong home code":      {say: wire.TurnedAway{Why: wire.Unproven}, way: wire.ByHome, want: "used before"},
		"full":                 {say: wire.TurnedAway{Why: wire.Full}, want: "too many"},
		"unusable":             {say: wire.TurnedAway{Why: wire.Unusable}, want: "cannot use its key"},
		"anything else":        {say: wire.TurnedAway{Why: 99}, want: "turned it away"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newSecure(t)
			j := newJournal()
			cfg := s.newcomer(Enrolment{Way: tt.way, Secret: "home-code"}, func(c *Config) { c.Notify = j.note })
			if tt.code != 0 {
				s.door.letIn(nobody(tt.code))
			}
			if tt.say.Why == wire.Rejected {
				cfg.Retry, cfg.MaxRetry = time.Microsecond, time.Microsecond // it would be quick
			}
			d, _ := s.made(cfg)
			first := device.ID(s.door.came(t, 1).id)
			heard := 0
			if tt.code == 0 {
				s.sendTo(s.candidate(1).id, wire.DnEnrol, tt.say)
				heard++
			}
			j.await(t, TurnedAway, tt.want)
			if tt.say.Why == wire.Rejected { // only when a person wants it
				s.enrolled("tv-nine")
				heard += 2
				if n := s.door.visits(); n != 3 {
					t.Errorf("visits of two devices: got %d, want 3", n)
				}
				if err := d.Reboot(); err != nil {
					t.Fatal(err)
				}
			}
			s.door.letIn(nil)
			c := s.candidate(heard + 1)
			if same := c.id == first; same != (tt.code != 0) {
				t.Errorf("asked as %s, and then as %s", first, c.id)
			}
			c.challenge(newNonce(), heard+2)
			c.admit("tv-one")
			s.await(d, func(st State) bool { return st.Connected && st.ID == "tv-one" })
		})
	}
}

// Answers that a device must not take. It asks again, and takes a good one.
func TestBadAnswers(t *testing.T) {
	raw := func(b ...byte) []byte { return b }
	tests := map[string]struct {
		before []byte                        // instead of a challenge
		edit   func(*secure, *wire.Admitted) // of a good answer
		token  bool
		want   string
	}{
		"nonsense":    {before: raw(0xff), want: "bad frame"},
		"short nonce": {before: append(raw(0xa2, 0, 1, 1, 0x4f), make([]byte, 15)...), want: "15 bytes"},
		"long nonce":  {before: append(raw(0xa2, 0, 1, 1, 0x51), make([]byte, 17)...), want: "17 bytes"},
		"no nonce":    {before: raw(0xa2, 0, 1, 1, 0x40), want: "0 bytes"},
		"another's key": {edit: func(s *secure, m *wire.Admitted) {
			csr, _ := csrOf(s.t)
			m.Certificate = s.ca.device(csr, m.ID, farOff)
		}, want: "another key"},
		"ended": {edit: func(s *secure, m *wire.Admitted) {
			m.Certificate = s.ca.device(s.applied[0].apply.CSR, m.ID, s.clock.Now().Add(-time.Second))
		}, want: "has ended"},
		"no certificate":       {edit: func(_ *secure, m *wire.Admitted) { m.Certificate = []byte("no") }, want: "the certificate"},
		"token for a key":      {edit: func(_ *secure, m *wire.Admitted) { m.Certificate, m.Token = nil, "t" }, want: "a token came"},
		"certificate for none": {token: true, edit: func(s *secure, m *wire.Admitted) { m.Certificate, m.Token = s.ca.cert.Raw, "" }, want: "a certificate came"},
		"authority":            {edit: func(_ *secure, m *wire.Admitted) { m.CAs = [][]byte{[]byte("no")} }, want: "authority"},
		"second authority":     {edit: func(_ *secure, m *wire.Admitted) { m.CAs = append(m.CAs, []byte("no")) }, want: "authority"},
		"name":                 {edit: func(_ *secure, m *wire.Admitted) { m.Name = "elsewhere.test" }, want: "elsewhere.test"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newSecure(t)
			j := newJournal()
			d, _ := s.made(s.newcomer(Enrolment{Token: tt.token}, func(c *Config) { c.Notify = j.note }))
			c := s.candidate(1)
			n := 2
			if tt.before != nil {
				s.must(s.client.Publish(wire.Topic(c.id, wire.DnEnrol), 1, false, tt.before))
			} else {
				c.challenge(newNonce(), n)
				n++
				m := c.answer("tv-one")
				tt.edit(s, &m)
				s.sendTo(c.id, wire.DnEnrol, m)
			}
			j.await(t, TurnedAway, tt.want)
			if d.ID() != "" {
				t.Fatalf("it took the identity %q", d.ID())
			}
			c = s.candidate(n)
			c.challenge(newNonce(), n+1)
			c.admit("tv-two")
			s.await(d, func(st State) bool { return st.Connected && st.ID == "tv-two" })
		})
	}
}

// The gateway says nothing, or the disk is full: the device asks again.
func TestEnrolAgain(t *testing.T) {
	t.Run("no challenge", func(t *testing.T) {
		s := newSecure(t)
		j := newJournal()
		s.made(s.newcomer(Enrolment{}, func(c *Config) { c.AckWait, c.Notify = 100*time.Millisecond, j.note }))
		j.await(t, TurnedAway, "does not answer")
		if first, next := s.candidate(1), s.candidate(2); next.id != first.id {
			t.Errorf("asked as %s, and then as %s", first.id, next.id)
		}
	})
	t.Run("power cut", func(t *testing.T) {
		s := newSecure(t)
		d, _ := s.made(s.newcomer(Enrolment{}))
		c := s.candidate(1)
		if err := d.Reboot(); err != nil {
			t.Fatal(err)
		}
		if next := s.candidate(2); next.id != c.id {
			t.Errorf("asked as %s, and then as %s", c.id, next.id)
		}
	})
	t.Run("cable", func(t *testing.T) {
		s := newSecure(t)
		d, _ := s.made(s.newcomer(Enrolment{}))
		c := s.candidate(1)
		c.challenge(newNonce(), 2)
		s.await(d, func(st State) bool { return st.Code != "" })
		d.Unplug()
		s.await(d, func(st State) bool { return st.Code == "" })
		d.Plug()
		if next := s.candidate(3); next.id != c.id {
			t.Errorf("asked as %s, and then as %s", c.id, next.id)
		}
	})
	t.Run("reset", func(t *testing.T) {
		s := newSecure(t)
		d, _ := s.made(s.newcomer(Enrolment{}))
		c := s.candidate(1)
		c.challenge(newNonce(), 2)
		s.await(d, func(st State) bool { return st.Code != "" })
		if err := d.Reset(); err != nil {
			t.Fatal(err)
		}
		if next := s.candidate(3); next.id == c.id {
			t.Error("it asks with the key that it had before the reset")
		}
	})
	t.Run("no disk", func(t *testing.T) {
		s := newSecure(t)
		j := newJournal()
		dir := t.TempDir()
		cfg := s.newcomer(Enrolment{}, func(c *Config) { c.Memory, c.Notify = dir+"/gone/book.json", j.note })
		d, _ := s.made(cfg)
		j.await(t, TurnedAway, "write the device's memory")
		if err := os.Mkdir(dir+"/gone", 0o700); err != nil {
			t.Fatal(err)
		}
		c := s.candidate(1)
		c.challenge(newNonce(), 2)
		s.await(d, func(st State) bool { return st.Code != "" })
		if err := os.RemoveAll(dir + "/gone"); err != nil {
			t.Fatal(err)
		}
		c.admit("tv-one")
		j.await(t, TurnedAway, "write the device's memory")
		if d.ID() != "" {
			t.Errorf("it is %q, and has it nowhere", d.ID())
		}
		if err := os.Mkdir(dir+"/gone", 0o700); err != nil {
			t.Fatal(err)
		}
		next := s.candidate(3)
		if next.id != c.id {
			t.Errorf("asked as %s, and then as %s", c.id, next.id)
		}
		next.admit("tv-one")
		s.await(d, func(st State) bool { return st.Connected })
	})
}

// A home's code opens the door once.
func TestHomeCodeIsSpent(t *testing.T) {
	s := newSecure(t)
	d, _ := s.made(s.newcomer(Enrolment{Way: wire.ByHome, Secret: "home-code"}))
	s.enrol(d, "tv-one")
	if err := d.Do(FactoryReset); err != nil {
		t.Fatal(err)
	}
	if c := s.candidate(3); c.apply.Way != wire.ByCode {
		t.Errorf("way: got %d, want by code", c.apply.Way)
	}
}

// An enrolled device trusts the authority that it was given, under the name that it was given.
func TestVerifiesItsGateway(t *testing.T) {
	s := newSecure(t)
	j := newJournal()
	d := s.enrolled("tv-one", func(c *Config) { c.Notify = j.note })
	for name, cert := range map[string]*tls.Certificate{
		"authority": newCA(t).server(gatewayName),
		"name":      s.ca.server("elsewhere.test"), // and the address that it dials
	} {
		s.door.show(cert)
		before := s.door.visits()
		s.cut(d.ID())
		j.await(t, Away, "x509")
		j.await(t, Away, "x509")
		if s.door.visits() != before {
			t.Errorf("%s: it logged in with another", name)
		}
		s.door.show(s.ca.server(gatewayName))
		s.await(d, func(st State) bool { return st.Connected })
	}
}

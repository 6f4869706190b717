package sim

import (
	"crypto/sha256"
	"crypto/x509"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"porchlight/device"
	"porchlight/device/wire"
)

// asks makes the gateway ask d for a new key, a while after the last time, and waits for the
// request, the n-th of all.
func (s *secure) asks(d *Device, n int) wire.KeyRequest {
	s.t.Helper()
	s.advance(d, d.cfg.patience())
	s.send(d, wire.DnKey, wire.KeyAsk{})
	return s.request(n)
}

// request waits for the n-th request for a key, counted from 1.
func (s *secure) request(n int) (r wire.KeyRequest) {
	s.t.Helper()
	s.wait("a request for a key", func() bool {
		if len(s.keys) < n {
			return false
		}
		r = s.keys[n-1]
		return true
	})
	return r
}

// issue is the answer to r, of s's authority and others to trust.
func (s *secure) issue(id device.ID, r wire.KeyRequest, also ...*ca) wire.KeyIssued {
	s.t.Helper()
	k := wire.KeyIssued{CAs: [][]byte{s.ca.cert.Raw}}
	for _, c := range also {
		k.CAs = append(k.CAs, c.cert.Raw)
	}
	if r.CSR == nil {
		k.Token = "another token of " + string(id)
	} else {
		k.Certificate = s.ca.device(r.CSR, id, s.clock.Now().Add(365*24*time.Hour))
	}
	return k
}

// heardAll waits until the device has done what it was sent, and the gateway has what it answered.
func (s *secure) heardAll(d *Device) {
	s.t.Helper()
	c := wire.Cancel{Message: device.NewMessageID(device.At(s.clock.Now()))}
	s.send(d, wire.DnMsg, c)
	s.event(c.Message, 1)
}

// keysOf is how the device's own credentials are known: by key, or as tokens.
func keysOf(t *testing.T, d *Device) (keys []any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fw.book.Identity == nil {
		return nil
	}
	for _, c := range d.fw.book.Identity.Keys {
		if c.Token != "" {
			keys = append(keys, c.Token)
			continue
		}
		keys = append(keys, spkiOf(t, c))
	}
	return keys
}

func spkiOf(t *testing.T, c credential) [32]byte {
	cert, err := x509.ParseCertificate(c.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(cert.RawSubjectPublicKeyInfo)
}

// holds waits until the device's own credentials are these.
func (s *secure) holds(d *Device, want ...any) {
	s.t.Helper()
	s.await(d, func(State) bool { return slices.Equal(keysOf(s.t, d), want) })
}

// unheld fails if the device is anybody.
func (s *secure) unheld(d *Device) {
	s.t.Helper()
	if id, keys := d.ID(), keysOf(s.t, d); id != "" || keys != nil {
		s.t.Fatalf("it is %q and has %v, want nobody with nothing", id, keys)
	}
}

func TestRotation(t *testing.T) {
	s := newSecure(t)
	d := s.enrolled("tv-one")
	first := s.door.came(t, 2).key
	r := s.asks(d, 1)
	second := keyOf(t, r.CSR)
	if second == first || second == ([32]byte{}) {
		t.Fatal("the new key is the old one, or none")
	}
	next := newCA(t)
	s.send(d, wire.DnKey, s.issue("tv-one", r, next))
	if e := s.door.came(t, 3); e.key != second || e.id != "tv-one" || e.token != "" {
		t.Errorf("logged in as %+v, want with the new key", e)
	}
	s.wait("the second birth", func() bool { return len(s.births) == 2 })
	s.holds(d, second, first)
	s.beacon(d)
	s.holds(d, second)
	// Both authorities are trusted.
	for n, c := range []*ca{next, s.ca} {
		s.door.show(c.server(gatewayName))
		s.cut("tv-one")
		if e := s.door.came(t, 4+n); e.key != second {
			t.Errorf("logged in as %+v, want with the new key", e)
		}
		s.await(d, func(st State) bool { return st.Births == 3+n })
	}
}

// The new key comes with authorities of which the gateway's certificate is not: the device goes on
// as before.
func TestNewAuthorityIsNotThere(t *testing.T) {
	s := newSecure(t)
	j := newJournal()
	d := s.enrolled("tv-one", func(c *Config) { c.Notify = j.note })
	first := s.door.came(t, 2).key
	k := s.issue("tv-one", s.asks(d, 1))
	k.CAs = [][]byte{newCA(t).cert.Raw}
	s.send(d, wire.DnKey, k)
	s.wait("the second birth", func() bool { return len(s.births) == 2 })
	if e := s.door.came(t, 3); e.key != first {
		t.Errorf("logged in as %+v, want with the old key", e)
	}
	j.await(t, Rekeyed, "goes on with its old key")
	s.holds(d, first)
}

// What is on the screen stays there while the device changes its key.
func TestRotationKeepsTheScreen(t *testing.T) {
	s := newSecure(t)
	d := s.enrolled("tv-one")
	p := s.message()
	s.shows(d, p)
	s.send(d, wire.DnKey, s.issue("tv-one", s.asks(d, 1)))
	s.wait("the second birth", func() bool { return len(s.births) == 2 })
	if held := s.births[1].Held; len(held) != 1 || held[0] != p.Message || !d.Screen().Showing {
		t.Errorf("held at the second birth: got %v, want %s", held, p.Message)
	}
}

// The gateway does not take the new key after all: the device goes on, and asks for another.
func TestNewKeyRefused(t *testing.T) {
	for name, code := range map[string]byte{"refused": packets.Err3NotAuthorized.Code, "cut off": cutOff} {
		t.Run(name, func(t *testing.T) {
			s := newSecure(t)
			d := s.enrolled("tv-one")
			first := s.door.came(t, 2).key
			s.door.letIn(func(e entry) byte {
				if e.key == first {
					return 0
				}
				return code
			})
			r := s.asks(d, 1)
			s.send(d, wire.DnKey, s.issue("tv-one", r))
			if e := s.door.came(t, 3); e.key != keyOf(t, r.CSR) || e.code != code {
				t.Errorf("third visit: got %+v, want the new key", e)
			}
			if e := s.door.came(t, 4); e.key != first || e.code != 0 {
				t.Errorf("fourth visit: got %+v, want the old key", e)
			}
			s.holds(d, first)
			s.wait("the second birth", func() bool { return len(s.births) == 2 })
			r2 := s.asks(d, 2)
			if keyOf(t, r2.CSR) == keyOf(t, r.CSR) {
				t.Error("it asks for a certificate for the key that was refused")
			}
			s.door.letIn(nil)
			s.send(d, wire.DnKey, s.issue("tv-one", r2))
			s.wait("the third birth", func() bool { return len(s.births) == 3 })
			s.beacon(d)
			s.holds(d, keyOf(t, r2.CSR))
		})
	}
}

// The power is cut at each step of a rotation. Whatever the gateway takes at that moment, the
// device has it.
func TestPowerCutInRotation(t *testing.T) {
	const old, young = "old", "new"
	tests := map[string]struct {
		until func(s *secure, d *Device, j journal, r wire.KeyRequest)
		known []string // by the gateway
		use   string   // what is logged in with
		holds []string // when a beacon has come
	}{
		"asked": {
			until: func(*secure, *Device, journal, wire.KeyRequest) {},
			known: []string{old}, use: old, holds: []string{old},
		},
		"stored": {
			until: func(s *secure, d *Device, j journal, r wire.KeyRequest) {
				s.door.letIn(nobody(packets.Err3ServerUnavailable.Code))
				s.send(d, wire.DnKey, s.issue("tv-one", r))
				j.await(s.t, Rekeyed, "has a new key")
			},
			known: []string{old, young}, use: young, holds: []string{young},
		},
		"stored, and the gateway has forgotten it": {
			until: func(s *secure, d *Device, j journal, r wire.KeyRequest) {
				s.door.letIn(nobody(packets.Err3ServerUnavailable.Code))
				s.send(d, wire.DnKey, s.issue("tv-one", r))
				j.await(s.t, Rekeyed, "has a new key")
			},
			known: []string{old}, use: old, holds: []string{old},
		},
		"used": {
			until: func(s *secure, d *Device, j journal, r wire.KeyRequest) {
				s.send(d, wire.DnKey, s.issue("tv-one", r))
				s.wait("the second birth", func() bool { return len(s.births) == 2 })
			},
			known: []string{old, young}, use: young, holds: []string{young},
		},
		"used a day ago": {
			until: func(s *secure, d *Device, j journal, r wire.KeyRequest) {
				s.send(d, wire.DnKey, s.issue("tv-one", r))
				s.wait("the second birth", func() bool { return len(s.births) == 2 })
			},
			known: []string{young}, use: young, holds: []string{young},
		},
		"proven": {
			until: func(s *secure, d *Device, j journal, r wire.KeyRequest) {
				s.send(d, wire.DnKey, s.issue("tv-one", r))
				s.wait("the second birth", func() bool { return len(s.births) == 2 })
				s.beacon(d)
				j.await(s.t, Rekeyed, "has forgotten the old one")
				s.await(d, func(st State) bool { return st.Ready }) // and so the book is written
			},
			known: []string{young}, use: young, holds: []string{young},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newSecure(t)
			j := newJournal()
			cfg := s.newcomer(Enrolment{}, func(c *Config) { c.Memory, c.Notify = bookFile(t), j.note })
			d, stop := s.made(cfg)
			s.enrol(d, "tv-one")
			r := s.asks(d, 1)
			keys := map[string][32]byte{old: s.door.came(t, 2).key, young: keyOf(t, r.CSR)}
			tt.until(s, d, j, r)
			cfg.Memory = copyBook(t, cfg.Memory) // what is there at this moment
			stop()
			var known, holds []any
			for _, k := range tt.known {
				known = append(known, keys[k])
			}
			for _, k := range tt.holds {
				holds = append(holds, keys[k])
			}
			births := len(s.births)
			s.door.letIn(only(known...))
			d, _ = s.made(cfg)
			s.wait("birth", func() bool { return len(s.births) == births+1 })
			if e := s.door.came(t, s.door.visits()); e.key != keys[tt.use] {
				t.Errorf("logged in with %x, want the %s key %x", e.key, tt.use, keys[tt.use])
			}
			s.beacon(d)
			s.holds(d, holds...)
		})
	}
}

// Where the new key cannot be kept it is not used.
func TestNoDiskForTheNewKey(t *testing.T) {
	s := newSecure(t)
	j := newJournal()
	dir := t.TempDir() + "/book"
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	d := s.enrolled("tv-one", func(c *Config) { c.Memory, c.Notify = dir+"/tv.json", j.note })
	first := s.door.came(t, 2).key
	r := s.asks(d, 1)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	s.send(d, wire.DnKey, s.issue("tv-one", r))
	j.await(t, Trouble, "write the device's memory")
	s.holds(d, first)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	r = s.asks(d, 2) // on the same connection
	s.send(d, wire.DnKey, s.issue("tv-one", r))
	s.wait("the second birth", func() bool { return len(s.births) == 2 })
	if e := s.door.came(t, 3); e.key != keyOf(t, r.CSR) {
		t.Errorf("logged in as %+v, want with the new key", e)
	}
}

// Keys that a device must not take.
func TestBadKeys(t *testing.T) {
	tests := map[string]struct {
		edit func(*secure, *wire.KeyIssued)
		want string
	}{
		"another's": {func(s *secure, k *wire.KeyIssued) {
			csr, _ := csrOf(s.t)
			k.Certificate = s.ca.device(csr, "tv-one", farOff)
		}, "another key"},
		"ended": {func(s *secure, k *wire.KeyIssued) {
			k.Certificate = s.ca.device(s.keys[0].CSR, "tv-one", s.clock.Now().Add(-time.Second))
		}, "has ended"},
		"a token":      {func(_ *secure, k *wire.KeyIssued) { k.Certificate, k.Token = nil, "t" }, "a token came"},
		"no authority": {func(_ *secure, k *wire.KeyIssued) { k.CAs = [][]byte{[]byte("no")} }, "authority"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newSecure(t)
			j := newJournal()
			d := s.enrolled("tv-one", func(c *Config) { c.Notify = j.note })
			first := s.door.came(t, 2).key
			k := s.issue("tv-one", s.asks(d, 1))
			tt.edit(s, &k)
			s.send(d, wire.DnKey, k)
			j.await(t, Trouble, tt.want)
			s.send(d, wire.DnKey, k) // and now it was not even asked for
			j.await(t, Trouble, "not asked for")
			s.holds(d, first)
			if r := s.asks(d, 2); keyOf(t, r.CSR) == keyOf(t, s.keys[0].CSR) {
				t.Error("it asks twice for the same key")
			}
		})
	}
}

// A beacon on the connection of the old key says nothing of the new one.
func TestBeaconForTheOldKey(t *testing.T) {
	s := newSecure(t)
	d := again(t, s.newcomer(Enrolment{}))
	var keys [2]credential
	for i := range keys {
		csr, key := csrOf(t)
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		keys[i] = credential{Key: der, Certificate: s.ca.device(csr, "tv-one", farOff), CAs: [][]byte{s.ca.cert.Raw}}
	}
	d.with(func(now time.Time) error {
		d.fw.book.Identity = &identity{ID: "tv-one", Keys: slices.Clone(keys[:1])}
		d.fw.used = keys[0]
		d.fw.born(now, func(frame) {})
		d.fw.wanted, d.fw.wantedKey = true, keys[1].Key
		return d.fw.issued(now, wire.KeyIssued{Certificate: keys[1].Certificate, CAs: keys[1].CAs})
	})
	d.with(func(now time.Time) error { d.fw.beacon(now, wire.Time{}); return nil })
	s.holds(d, spkiOf(t, keys[1]), spkiOf(t, keys[0]))
}

// Who is asked too often answers once in a while, each time with another key.
func TestAskedTwice(t *testing.T) {
	s := newSecure(t)
	d := s.enrolled("tv-one", func(c *Config) { c.Class, c.Start = device.Fridge, nil })
	for range 3 {
		s.send(d, wire.DnKey, wire.KeyAsk{})
	}
	s.heardAll(d)
	s.advance(d, d.cfg.patience()-time.Millisecond)
	s.heardAll(d)
	if len(s.keys) != 1 {
		t.Errorf("requests: got %d, want 1", len(s.keys))
	}
	d.mu.Lock()
	if due, want := d.fw.due(), s.clock.Now().Add(time.Millisecond); !due.Equal(want) {
		t.Errorf("it looks at the clock again at %s, want %s", due, want)
	}
	d.mu.Unlock()
	s.advance(d, time.Millisecond)
	r, r2 := s.request(1), s.request(2)
	if keyOf(t, r2.CSR) == keyOf(t, r.CSR) {
		t.Error("it asks twice for one key")
	}
	s.send(d, wire.DnKey, s.issue("tv-one", r2))
	s.wait("the second birth", func() bool { return len(s.births) == 2 })
	s.beacon(d)
	s.holds(d, keyOf(t, r2.CSR))
}

// A device whose token was given to it keeps the next one in its memory, and goes back to the
// first if that is what the gateway takes.
func TestRotationOfAToken(t *testing.T) {
	s := newSecure(t)
	cfg := s.config(device.TV)
	cfg.Gateway, cfg.Memory, cfg.Roots = s.tcpPort, bookFile(t), x509.NewCertPool()
	cfg.Roots.AddCert(s.ca.cert)
	d, stop := s.made(cfg)
	s.wait("birth", func() bool { return len(s.births) == 1 })
	s.beacon(d)
	r := s.asks(d, 1)
	if r.CSR != nil {
		t.Error("a device with a token asks for a certificate")
	}
	next := newCA(t)
	k := s.issue(cfg.ID, r, next)
	s.send(d, wire.DnKey, k)
	if e := s.door.came(t, 2); e.token != k.Token || e.id != string(cfg.ID) {
		t.Errorf("logged in as %+v, want %s with %q", e, cfg.ID, k.Token)
	}
	s.holds(d, k.Token)
	stop()
	s.door.show(next.server(gatewayName))
	_, stop = s.made(cfg)
	if e := s.door.came(t, 3); e.token != k.Token {
		t.Errorf("after the program was restarted: logged in as %+v, want %q", e, k.Token)
	}
	stop()
	// The operator has given it another.
	s.door.show(s.ca.server(gatewayName))
	cfg.Token = "from the operator"
	s.door.letIn(only(cfg.Token))
	d, _ = s.made(cfg)
	if e := s.door.came(t, 5); e.token != cfg.Token || e.code != 0 {
		t.Errorf("after the operator gave it another: logged in as %+v, want %q", e, cfg.Token)
	}
	s.holds(d)
}

// A device of a home file has no memory: its next token goes where the first one came from, and the first goes
// there again if the next is refused.
func TestRotationInTheFile(t *testing.T) {
	s := newSecure(t)
	cfg := s.config(device.TV)
	path := filepath.Join(t.TempDir(), "family.yaml")
	other := Credential{"car-one", "token of the car"}
	if err := WriteCredentials(path, Credentials{Gateway: s.tcpPort, Devices: map[string]Credential{"TV": {cfg.ID, cfg.Token}, "Car": other}}); err != nil {
		t.Fatal(err)
	}
	j := newJournal()
	read := func() (*Device, Credentials) {
		c, err := ReadCredentials(path)
		if err != nil {
			t.Fatal(err)
		}
		base := cfg
		base.Gateway, base.Roots, base.Notify = "", x509.NewCertPool(), j.note
		base.Roots.AddCert(s.ca.cert)
		all, err := Devices(Home{Devices: []Thing{{Name: "TV", Class: device.TV, Model: cfg.Model, Can: cfg.Can}}}, c, base)
		if err != nil {
			t.Fatal(err)
		}
		return all[0], c
	}
	d, _ := read()
	stop := s.start(d)
	s.wait("birth", func() bool { return len(s.births) == 1 })
	s.beacon(d)
	k := s.issue(cfg.ID, s.asks(d, 1))
	s.send(d, wire.DnKey, k)
	if e := s.door.came(t, 2); e.token != k.Token {
		t.Errorf("logged in as %+v, want with %q", e, k.Token)
	}
	s.wait("the second birth", func() bool { return len(s.births) == 2 })
	stop()
	d, c := read()
	if want := map[string]Credential{"TV": {cfg.ID, k.Token}, "Car": other}; !maps.Equal(c.Devices, want) {
		t.Errorf("the file names %v, want %v", c.Devices, want)
	}
	stop = s.start(d)
	if e := s.door.came(t, 3); e.token != k.Token || e.code != 0 {
		t.Errorf("after the program was restarted: logged in as %+v, want with %q", e, k.Token)
	}
	s.wait("the third birth", func() bool { return len(s.births) == 3 })
	s.beacon(d)
	r := s.asks(d, 2)
	s.door.letIn(only(k.Token))
	s.send(d, wire.DnKey, wire.KeyIssued{CAs: k.CAs, Token: "refused " + k.Token})
	j.await(t, Rekeyed, "goes on with its old key")
	stop()
	if _, c := read(); c.Devices["TV"].Token != k.Token || r.CSR != nil {
		t.Errorf("the file names %v, want %q for the TV", c.Devices, k.Token)
	}
	// The home was registered anew meanwhile: the file is of other devices.
	_, c = read()
	anew := map[string]Credential{"TV": {"tv-two", "token of another"}}
	if err := WriteCredentials(path, Credentials{Gateway: s.tcpPort, Devices: anew}); err != nil {
		t.Fatal(err)
	}
	if err := c.renew("TV", cfg.ID, k.Token); err == nil || !strings.Contains(err.Error(), path+" is not those of device ") {
		t.Errorf("renew = %v", err)
	}
	if _, c := read(); !maps.Equal(c.Devices, anew) {
		t.Errorf("the file names %v, want %v", c.Devices, anew)
	}
}

// A certificate has ended while the device was off: it gets another, and nothing else, and is then
// what it was.
func TestEndedCertificate(t *testing.T) {
	s := newSecure(t)
	j := newJournal()
	cfg := s.newcomer(Enrolment{}, func(c *Config) { c.Memory = bookFile(t) })
	d, stop := s.made(cfg)
	s.enrol(d, "tv-one")
	first := s.door.came(t, 2).key
	stop()
	s.advance(d, 366*24*time.Hour)
	s.door.subs = nil
	cfg.AckWait, cfg.Notify = 300*time.Millisecond, j.note
	d, _ = s.made(cfg)
	r := s.request(1)
	if r.Seq != 0 || len(s.births) != 1 {
		t.Errorf("asked with number %d, after %d births; want 0, and only the birth of last year", r.Seq, len(s.births))
	}
	if e := s.door.came(t, 3); e.key != first {
		t.Errorf("logged in as %+v, want with the old key", e)
	}
	j.await(t, Away, "no new key has come")
	s.advance(d, d.cfg.patience())
	s.request(2) // on another connection
	s.door.mu.Lock()
	if want := "tv-one pl/1/tv-one/dn/key"; !slices.Equal(s.door.subs, []string{want, want}) {
		t.Errorf("subscribed to %q, want twice %q", s.door.subs, want)
	}
	s.door.mu.Unlock()
	// A new one that is not taken is no reason to give up.
	s.door.letIn(only(first))
	k := s.issue("tv-one", s.keys[1])
	s.send(d, wire.DnKey, k)
	j.await(t, Rekeyed, "goes on with its old key")
	s.advance(d, d.cfg.patience())
	r = s.request(3)
	s.door.letIn(nil)
	s.send(d, wire.DnKey, s.issue("tv-one", r))
	s.wait("the second birth", func() bool { return len(s.births) == 2 })
	s.beacon(d)
	s.holds(d, keyOf(t, r.CSR))
}

// The gateway says that the certificate has ended, the device's own clock does not.
func TestEndedByTheGatewaysClock(t *testing.T) {
	for name, tt := range map[string]struct {
		say    func(d *door)
		births int
	}{
		"refuses all but keys":          {func(d *door) { d.deny = func(_, topic string) bool { return topic == "pl/1/tv-one/dn/#" } }, 1},
		"asks for a key, and no births": {func(d *door) { d.greet = "pl/1/tv-one/dn/#" }, 1},
		"asks for a key at the birth":   {func(d *door) { d.late = true }, 2},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSecure(t)
			d := s.enrolled("tv-one", func(c *Config) { c.Now = time.Now }) // for how often it may ask
			s.door.mu.Lock()
			tt.say(s.door)
			s.door.mu.Unlock()
			s.cut("tv-one")
			s.wait("a request for a key on a connection for nothing else", func() bool {
				return len(s.keys) > 0 && s.keys[len(s.keys)-1].Seq == 0
			})
			s.mu.Lock()
			if len(s.births) != tt.births {
				t.Errorf("births: got %d, want %d", len(s.births), tt.births)
			}
			r := s.keys[len(s.keys)-1]
			s.mu.Unlock()
			s.door.mu.Lock()
			s.door.deny, s.door.greet, s.door.late = nil, "", false
			s.door.mu.Unlock()
			s.send(d, wire.DnKey, s.issue("tv-one", r))
			s.wait("another birth", func() bool { return len(s.births) == tt.births+1 })
			s.beacon(d)
			s.holds(d, keyOf(t, r.CSR))
		})
	}
}

// The gateway takes the birth of a device whose certificate has ended, and says nothing.
func TestEndedWithoutAWord(t *testing.T) {
	s := newSecure(t)
	cfg := s.newcomer(Enrolment{}, func(c *Config) { c.Memory = bookFile(t) })
	d, stop := s.made(cfg)
	s.enrol(d, "tv-one")
	stop()
	cfg.AckWait = 100 * time.Millisecond
	s.made(cfg)
	r := s.request(1)
	if r.Seq != 0 || len(s.births) != 2 {
		t.Errorf("asked with number %d, after %d births; want 0, on the connection after the second", r.Seq, len(s.births))
	}
}

// The home removes the device while a message is on its screen.
func TestWipe(t *testing.T) {
	s := newSecure(t)
	j := newJournal()
	cfg := s.newcomer(Enrolment{}, func(c *Config) { c.Memory, c.Notify = bookFile(t), j.note })
	d, _ := s.made(cfg)
	s.enrol(d, "tv-one")
	first := s.door.came(t, 2).key
	s.send(d, wire.DnTwin, wire.Twin{Version: 7})
	s.fence = 3
	p := s.message()
	s.beacon(d)
	s.shows(d, p)
	s.door.letIn(nobody(packets.Err3NotAuthorized.Code)) // no new enrolment yet
	s.send(d, wire.DnCmd, wire.Command{Op: wire.Wipe})
	s.send(d, wire.DnCmd, wire.Command{Op: wire.Wipe}) // once more, too late
	s.wait("bye", func() bool { return len(s.byes) == 1 })
	// All is gone before it says so.
	if s.byes[0].Reason != "wiped" {
		t.Errorf("bye: got %q, want wiped", s.byes[0].Reason)
	}
	s.dark(d)
	s.unheld(d)
	b := remembered(t, cfg.Memory)
	if b.Identity != nil || b.Fence != 0 || len(b.Ledger) != 0 || len(b.Outbox) != 0 || b.Twin.Version != 0 {
		t.Errorf("it remembers %+v", b)
	}
	j.await(t, Removed, "its home has removed it")
	j.await(t, Erased, "its home has removed it")
	j.await(t, TurnedAway, "open the window")
	s.door.letIn(nil)
	c := s.candidate(3)
	if c.bind.Device == first {
		t.Error("it enrols anew with the old key")
	}
	s.fence = 0
	s.enrolAs(c, 4, d, "tv-two")
	if birth := s.births[1]; birth.Twin != 0 || len(birth.Held) != 0 {
		t.Errorf("birth as another device: got %+v", birth)
	}
	if len(s.byes) != 1 {
		t.Errorf("byes: got %d, want 1", len(s.byes))
	}
	late := s.message()
	late.Epoch = 0 // before the old fence
	s.shows(d, late)
}

// A device that cannot forget does not say that it has; its screen is dark all the same.
func TestWipeWithoutDisk(t *testing.T) {
	s := newSecure(t)
	j := newJournal()
	dir := t.TempDir() + "/book"
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	d := s.enrolled("tv-one", func(c *Config) { c.Memory, c.Notify = dir+"/tv.json", j.note })
	s.shows(d, s.message())
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	s.send(d, wire.DnCmd, wire.Command{Op: wire.Wipe})
	j.await(t, Trouble, "dn/cmd: write the device's memory")
	s.dark(d)
	s.heardAll(d)
	if len(s.byes) > 0 || d.ID() != "tv-one" {
		t.Errorf("it said %v and is %q", s.byes, d.ID())
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s.send(d, wire.DnCmd, wire.Command{Op: wire.Wipe})
	s.wait("bye", func() bool { return len(s.byes) == 1 && s.byes[0].Reason == "wiped" })
}

// A device that was given its identity, and has no way to get another, ends; so does the next that
// is made of the same memory.
func TestWipedForGood(t *testing.T) {
	g := newGateway(t)
	cfg := g.config(device.TV)
	cfg.Memory = bookFile(t)
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan error, 1)
	go func() { over <- d.Run(t.Context()) }()
	g.wait("birth", func() bool { return len(g.births) == 1 })
	g.send(d, wire.DnCmd, wire.Command{Op: wire.Wipe})
	if err := <-over; err != nil {
		t.Errorf("run: %v", err)
	}
	g.wait("bye", func() bool { return len(g.byes) == 1 && g.byes[0].Reason == "wiped" })
	for _, d := range []*Device{d, again(t, cfg)} {
		if err := d.Run(t.Context()); err != nil || d.ID() != "" {
			t.Errorf("run again: got ID %q and %v", d.ID(), err)
		}
	}
	cfg.ID = device.NewID() // it was registered anew
	d = again(t, cfg)
	g.start(d)
	g.await(d, func(s State) bool { return s.Connected && s.ID == cfg.ID })
}

func again(t *testing.T, cfg Config) *Device {
	t.Helper()
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// An acknowledgement for the device that was does not concern the one that is.
func TestAcknowledgedAfterTheWipe(t *testing.T) {
	d := again(t, Config{ID: "tv-1", Class: device.TV, Start: []string{"turn on"}, Can: device.Capabilities{Forms: []device.Form{device.Toast}}})
	var sent []frame
	d.with(func(now time.Time) error {
		d.fw.born(now, func(f frame) { sent = append(sent, f) })
		d.fw.beacon(now, wire.Time{})
		d.fw.present(now, wire.Present{Message: device.NewMessageID(1), ValidUntil: 1 << 40, Live: 1e9, Lease: 1e9, Text: "x"}, 100)
		return nil
	})
	d.with(func(now time.Time) error { return d.fw.command(now, wire.Command{Op: wire.Wipe}) })
	d.with(func(now time.Time) error {
		for _, f := range sent {
			if f.acked != nil {
				f.acked()
			}
		}
		return nil
	})
	if last := sent[len(sent)-1]; last.leaf != wire.UpBye || !last.last {
		t.Errorf("last frame: got %s, want the bye", last.leaf)
	}
	if s := d.State(); s.Owed != 0 || s.Connected {
		t.Errorf("state: got %+v", s)
	}
}

func TestFactoryReset(t *testing.T) {
	s := newSecure(t)
	cfg := s.newcomer(Enrolment{}, func(c *Config) { c.Memory = bookFile(t) })
	d, _ := s.made(cfg)
	s.enrol(d, "tv-one")
	s.shows(d, s.message())
	if err := (Step{Device: d.Name(), Do: FactoryReset}).Take(d); err != nil {
		t.Fatal(err)
	}
	s.dark(d)
	s.unheld(d)
	s.wait("bye", func() bool { return len(s.byes) == 1 && s.byes[0].Reason == "reset" })
	s.enrolAs(s.candidate(3), 4, d, "tv-two")
	// Without a connection nobody is told.
	d.Unplug()
	if err := d.Reset(); err != nil {
		t.Fatal(err)
	}
	s.unheld(d)
	if b := remembered(t, cfg.Memory); b.Identity != nil {
		t.Errorf("it remembers %+v", b)
	}
	d.Plug()
	s.enrolAs(s.candidate(5), 6, d, "tv-three")
	if len(s.byes) != 1 {
		t.Errorf("byes: got %v, want one", s.byes)
	}
}

// How often, and for how long, a gateway must not know a device before it believes that.
func TestRefused(t *testing.T) {
	began := time.Date(2030, 1, 2, 12, 0, 0, 0, time.UTC)
	tests := map[string]struct {
		after  []time.Duration
		enrol  bool
		erased bool
	}{
		"three in ten minutes":        {after: []time.Duration{0, time.Second, 10 * time.Minute}, enrol: true, erased: true},
		"two in ten minutes":          {after: []time.Duration{0, 10 * time.Minute}, enrol: true},
		"many in less":                {after: []time.Duration{0, 1, 2, 3, 4, 5, 10*time.Minute - 1}, enrol: true},
		"with no way to another name": {after: []time.Duration{0, time.Second, time.Hour}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := Config{ID: "tv-1", Class: device.TV}
			if tt.enrol {
				cfg.Gateway, cfg.Enrol = "tls://127.0.0.1:1", new(Enrolment)
			}
			d := again(t, cfg)
			for _, after := range tt.after {
				if d.ID() == "" {
					t.Fatalf("erased before %s", after)
				}
				d.with(func(time.Time) error { return d.fw.refused(began.Add(after)) })
			}
			if got := d.ID() == ""; got != tt.erased {
				t.Errorf("erased: got %t, want %t", got, tt.erased)
			}
		})
	}
}

// The gateway has removed a device that was off.
func TestForgotten(t *testing.T) {
	s := newSecure(t)
	j := newJournal()
	d := s.enrolled("tv-one", func(c *Config) { c.Notify = j.note })
	notKnown := packets.Err3NotAuthorized.Code
	// visit waits for the device to come n more times, and to know what it was told but for the last.
	visit := func(n int) {
		t.Helper()
		s.door.came(t, s.door.visits()+n+1)
		if d.ID() != "tv-one" {
			t.Fatal("it has forgotten who it is")
		}
	}
	// Nothing but one answer counts.
	for _, code := range []byte{1, 2, 3, 4, cutOff} {
		s.door.letIn(nobody(code))
		s.cut("tv-one")
		for range 4 {
			s.advance(d, time.Hour)
			visit(1)
		}
	}
	s.door.show(newCA(t).server(gatewayName))
	for range 4 {
		s.advance(d, time.Hour)
		j.await(t, Away, "x509")
	}
	s.door.show(s.ca.server(gatewayName))
	// Nor what was before it was let in.
	s.door.letIn(nobody(notKnown))
	visit(4)
	births := d.State().Births
	s.door.letIn(nil)
	s.await(d, func(st State) bool { return st.Births > births })
	s.advance(d, 11*time.Minute)
	s.door.letIn(nobody(notKnown))
	s.cut("tv-one")
	visit(4)
	s.advance(d, 10*time.Minute-time.Millisecond)
	visit(4)
	s.advance(d, time.Millisecond)
	j.await(t, Erased, "has not known it")
	j.await(t, TurnedAway, "open the window")
	s.unheld(d)
	s.mu.Lock()
	heard := len(s.applied)
	s.mu.Unlock()
	s.door.letIn(nil)
	s.enrolAs(s.candidate(heard+1), heard+2, d, "tv-two")
}

// An enrolled device's memory is another's: the one that has a name of its own uses that.
func TestWhoseMemory(t *testing.T) {
	s := newSecure(t)
	cfg := s.newcomer(Enrolment{}, func(c *Config) { c.Memory = bookFile(t) })
	d, stop := s.made(cfg)
	s.enrol(d, "tv-one")
	stop()
	for name, tt := range map[string]struct {
		id    device.ID
		enrol *Enrolment
		want  device.ID
	}{
		"none of its own":          {want: "tv-one"},
		"the same":                 {id: "tv-one", want: "tv-one"},
		"its own":                  {id: "tv-nine", want: "tv-nine"},
		"its own before it enrols": {id: "tv-nine", enrol: new(Enrolment), want: "tv-one"},
	} {
		cfg := cfg
		cfg.ID, cfg.Enrol = tt.id, tt.enrol
		if got := again(t, cfg).ID(); got != tt.want {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
}

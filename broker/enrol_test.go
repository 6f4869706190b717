package broker

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	paho3 "github.com/eclipse/paho.mqtt.golang"

	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/authority"
	"porchlight/device/registry"
	"porchlight/device/wire"
)

// newcomer is a device that has no identity yet, with a client that nobody here wrote.
type newcomer struct {
	t       *testing.T
	key     *ecdsa.PrivateKey // nil: it wants a token
	csr     []byte
	nonce   []byte
	way     wire.Way
	secret  string // of its label, or the home's code
	binding wire.Binding
	commit  []byte
	id      string

	client paho3.Client
	got    chan wire.Enrolment
	lost   chan struct{}
}

func newNewcomer(t *testing.T, way wire.Way, secret string, token bool) *newcomer {
	t.Helper()
	n := &newcomer{t: t, way: way, secret: secret, nonce: make([]byte, wire.NonceSize)}
	rand.Read(n.nonce)
	if !token {
		n.newKey()
		n.binding.Device = keyOf(t, &n.key.PublicKey)
	}
	n.commit = wire.Commitment(n.nonce, n.binding.Device)
	n.id = wire.ApplicantID(n.binding.Device, n.commit)
	return n
}

func (n *newcomer) newKey() {
	n.t.Helper()
	var err error
	if n.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		n.t.Fatal(err)
	}
	n.csr, err = x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, n.key)
	if err != nil {
		n.t.Fatal(err)
	}
}

func keyOf(t *testing.T, pub any) [32]byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(der)
}

// connect logs in as an applicant at a TLS address.
func (n *newcomer) connect(address string) error {
	n.t.Helper()
	n.got, n.lost = make(chan wire.Enrolment, 8), make(chan struct{})
	got, lost := n.got, n.lost
	o := paho3.NewClientOptions().AddBroker("ssl://" + address).SetClientID(n.id).SetUsername("enrol").SetAutoReconnect(false).SetProtocolVersion(4).
		SetTLSConfig(&tls.Config{InsecureSkipVerify: true, VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
			last, err := x509.ParseCertificate(raw[len(raw)-1])
			if err == nil {
				n.binding.CA = sha256.Sum256(last.RawSubjectPublicKeyInfo)
			}
			return err
		}}).
		SetConnectionLostHandler(func(paho3.Client, error) { close(lost) })
	n.client = paho3.NewClient(o)
	tok := n.client.Connect()
	if tok.Wait(); tok.Error() != nil {
		return tok.Error()
	}
	n.t.Cleanup(func() { n.client.Disconnect(0) })
	await3(n.t, n.client.Subscribe("pl/1/"+n.id+"/dn/#", 1, func(_ paho3.Client, m paho3.Message) {
		e, err := wire.DecodeEnrolment(m.Payload())
		if err != nil {
			n.t.Errorf("dn/enrol: %v", err)
		}
		got <- e
	}))
	return nil
}

func (n *newcomer) say(frame any) {
	n.t.Helper()
	await3(n.t, n.client.Publish("pl/1/"+n.id+"/up/enrol", 1, false, encode(n.t, frame)))
}

func (n *newcomer) next() wire.Enrolment {
	n.t.Helper()
	select {
	case e := <-n.got:
		return e
	case <-time.After(patient):
		n.t.Fatal("no dn/enrol came")
		return wire.Enrolment{}
	}
}

// ask applies and reveals; what is left is somebody's code.
func (n *newcomer) ask(address string) {
	n.t.Helper()
	if err := n.connect(address); err != nil {
		n.t.Fatal(err)
	}
	n.say(wire.Apply{Commit: n.commit, CSR: n.csr, Model: wire.Model{Maker: "Lumen", Name: "L55"}, Class: device.TV, Way: n.way})
	c := n.next()
	if c.Challenge == nil {
		n.t.Fatalf("no challenge: %+v", c)
	}
	n.binding.NonceD, n.binding.NonceG = n.nonce, c.Challenge.Nonce
	r := wire.Reveal{Nonce: n.nonce}
	if n.secret != "" {
		r.Proof = n.binding.Proof(n.secret)
	}
	n.say(r)
}

func (n *newcomer) admitted() wire.Admitted {
	n.t.Helper()
	e := n.next()
	if e.Admitted == nil {
		n.t.Fatalf("not admitted: %+v", e.TurnedAway)
	}
	ca, err := x509.ParseCertificate(e.Admitted.CAs[0])
	if err != nil || sha256.Sum256(ca.RawSubjectPublicKeyInfo) != n.binding.CA {
		n.t.Fatalf("the authority is not the one of the binding: %v", err)
	}
	return *e.Admitted
}

// login connects with what was issued and returns the client, or the refusal.
func (n *newcomer) login(h *house, a wire.Admitted, key *ecdsa.PrivateKey) (paho3.Client, error) {
	n.t.Helper()
	return n.loginAt("ssl://"+h.Addr("mqtts").String(), a, key)
}

func (n *newcomer) loginAt(url string, a wire.Admitted, key *ecdsa.PrivateKey) (paho3.Client, error) {
	n.t.Helper()
	pool := x509.NewCertPool()
	for _, der := range a.CAs {
		ca, err := x509.ParseCertificate(der)
		if err != nil {
			n.t.Fatal(err)
		}
		pool.AddCert(ca)
	}
	secure := &tls.Config{RootCAs: pool, ServerName: a.Name}
	o := paho3.NewClientOptions().AddBroker(url).SetClientID(string(a.ID)).SetAutoReconnect(false).SetProtocolVersion(4)
	if a.Token != "" {
		o.SetUsername(string(a.ID)).SetPassword(a.Token)
	} else {
		secure.Certificates = []tls.Certificate{{Certificate: [][]byte{a.Certificate}, PrivateKey: key}}
	}
	c := paho3.NewClient(o.SetTLSConfig(secure))
	tok := c.Connect()
	if tok.Wait(); tok.Error() != nil {
		return nil, tok.Error()
	}
	n.t.Cleanup(func() { c.Disconnect(0) })
	return c, nil
}

// openToAll is openHouse with the window of its home open.
func openToAll(t *testing.T) *house {
	t.Helper()
	h := openHouse(t)
	if err := h.OpenWindow(t.Context(), "oak-3"); err != nil {
		t.Fatal(err)
	}
	return h
}

// applicantsAt waits until so many ask at the home.
func (h *house) applicantsAt(t *testing.T, want int) []delivery.ApplicantState {
	t.Helper()
	for end := time.Now().Add(patient); ; time.Sleep(2 * time.Millisecond) {
		w, err := h.Window(t.Context(), "oak-3")
		if err != nil {
			t.Fatal(err)
		}
		if len(w.Applicants) == want {
			return w.Applicants
		}
		if time.Now().After(end) {
			t.Fatalf("%d ask, want %d", len(w.Applicants), want)
		}
	}
}

// A device with a key of its own is let in by the six digits that it shows, and logs in with the
// certificate that it was given: with a token, the same.
func TestEnrolByCode(t *testing.T) {
	t.Parallel()
	for name, token := range map[string]bool{"key": false, "token": true} {
		t.Run(name, func(t *testing.T) {
			h := openToAll(t)
			n := newNewcomer(t, wire.ByCode, "", token)
			n.ask(h.Addr("mqtts").String())
			a := h.applicantsAt(t, 1)[0]
			if a.ID != n.id || a.Class != device.TV || a.Maker != "Lumen" || a.Tries != 3 {
				t.Errorf("the window shows %+v", a)
			}
			id, err := h.LetIn(t.Context(), "oak-3", n.id, n.binding.Code(), "", delivery.Admission{Name: "New TV", Room: "Den"})
			if err != nil {
				t.Fatal(err)
			}
			answer := n.admitted()
			if answer.ID != id || (answer.Token != "") != token {
				t.Errorf("admitted as %+v, want %s", answer, id)
			}
			select {
			case <-n.lost:
			case <-time.After(patient):
				t.Error("the applicant's connection stays open")
			}
			c, err := n.login(h, answer, n.key)
			if err != nil {
				t.Fatal(err)
			}
			await3(t, c.Subscribe("pl/1/"+string(id)+"/dn/#", 1, func(paho3.Client, paho3.Message) {}))
			await3(t, c.Publish(wire.Topic(id, wire.UpBirth), 1, false, goodBirth(t)))
			ready := func() bool {
				all, err := h.Devices(t.Context(), "oak-3")
				return err == nil && len(all) == 1 && all[0].ID == id && all[0].Connected && all[0].Name == "New TV" && all[0].RoomName == "Den"
			}
			until(t, ready, "the device is at home")

			// The answer that was lost: the same once more.
			again := *n
			again.ask(h.Addr("mqtts").String())
			if was := again.admitted(); was.ID != id || was.Token != answer.Token {
				t.Errorf("asked again: %s, want %s", was.ID, id)
			}
		})
	}
}

func until(t *testing.T, ok func() bool, what string) {
	t.Helper()
	for end := time.Now().Add(patient); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it did not come to this: %s", what)
		}
	}
}

// Somebody between a device and the gateway, with a key and an authority of their own, shows
// neither the code that the device shows nor gets the device in.
func TestEnrolManInTheMiddle(t *testing.T) {
	t.Parallel()
	for name, token := range map[string]bool{"key": false, "token": true} {
		t.Run(name, func(t *testing.T) {
			h := openToAll(t)
			foreign, err := authority.Open(t.TempDir(), nil, time.Now)
			if err != nil {
				t.Fatal(err)
			}
			// The device talks to the one in the middle, who has committed to the gateway by then, with a
			// key of their own, and can do no better than to go on.
			victim := newNewcomer(t, wire.ByCode, "", token)
			middle := newNewcomer(t, wire.ByCode, "", token)
			middle.ask(h.Addr("mqtts").String())
			victim.binding.CA = foreign.Key()
			victim.binding.NonceD, victim.binding.NonceG = victim.nonce, middle.binding.NonceG
			_, err = h.LetIn(t.Context(), "oak-3", middle.id, victim.binding.Code(), "", delivery.Admission{})
			if !errors.Is(err, delivery.ErrCode) {
				t.Fatalf("the code on the device's screen let the one in the middle in: %v", err)
			}
			// Without a key and an authority of their own the gateway and the device agree: it is these that differ.
			victim.binding.CA, victim.binding.Device, victim.binding.NonceD = middle.binding.CA, middle.binding.Device, middle.nonce
			if victim.binding.Code() != middle.binding.Code() {
				t.Error("the code depends on something else")
			}
		})
	}
}

// Who relays every byte without a key of their own reads nothing and changes nothing; who opens
// the device's TLS cannot pass its commitment on as theirs.
func TestEnrolForeignCommitment(t *testing.T) {
	t.Parallel()
	h := openToAll(t)
	n := newNewcomer(t, wire.ByCode, "", false)
	if err := n.connect(h.Addr("mqtts").String()); err != nil {
		t.Fatal(err)
	}
	n.say(wire.Apply{Commit: n.commit, CSR: n.csr, Model: wire.Model{}, Class: device.TV, Way: wire.ByCode})
	if n.next().Challenge == nil {
		t.Fatal("no challenge")
	}
	other := make([]byte, wire.NonceSize)
	n.say(wire.Reveal{Nonce: other}) // chosen after the gateway's was known
	if e := n.next(); e.TurnedAway == nil || e.TurnedAway.Why != wire.Unproven {
		t.Errorf("another nonce than the one that was committed to: %+v", e)
	}
	// Somebody else's key in the client ID's stead.
	n = newNewcomer(t, wire.ByCode, "", false)
	n.id = newNewcomer(t, wire.ByCode, "", false).id
	if err := n.connect(h.Addr("mqtts").String()); err != nil {
		t.Fatal(err)
	}
	n.client.Publish("pl/1/"+n.id+"/up/enrol", 1, false, encode(t, wire.Apply{Commit: n.commit, CSR: n.csr, Class: device.TV, Way: wire.ByCode}))
	select {
	case <-n.lost:
	case e := <-n.got:
		t.Errorf("a client ID that is not of the key: %+v", e)
	case <-time.After(patient):
		t.Error("a client ID that is not of the key: nothing came of it")
	}
}

// The third wrong code ends that application and no other.
func TestEnrolTries(t *testing.T) {
	t.Parallel()
	h := openToAll(t)
	n, neighbour := newNewcomer(t, wire.ByCode, "", false), newNewcomer(t, wire.ByCode, "", false)
	n.ask(h.Addr("mqtts").String())
	neighbour.ask(h.Addr("mqtts").String())
	h.applicantsAt(t, 2)
	wrong := "000000"
	if n.binding.Code() == wrong {
		wrong = "000001"
	}
	for range 3 {
		if _, err := h.LetIn(t.Context(), "oak-3", n.id, wrong, "", delivery.Admission{}); !errors.Is(err, delivery.ErrCode) {
			t.Fatalf("a wrong code: %v", err)
		}
	}
	if e := n.next(); e.TurnedAway == nil || e.TurnedAway.Why != wire.Tries {
		t.Errorf("after three wrong codes: %+v", e)
	}
	if _, err := h.LetIn(t.Context(), "oak-3", n.id, n.binding.Code(), "", delivery.Admission{}); !errors.Is(err, registry.ErrUnknown) {
		t.Errorf("its right code, too late: %v", err)
	}
	h.applicantsAt(t, 1)
	if _, err := h.LetIn(t.Context(), "oak-3", neighbour.id, neighbour.binding.Code(), "", delivery.Admission{}); err != nil {
		t.Errorf("the neighbour: %v", err)
	}
	neighbour.admitted()
}

// Outside a window every unknown key is refused at the door, and without TLS inside one.
func TestEnrolClosed(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	n := newNewcomer(t, wire.ByCode, "", false)
	if err := n.connect(h.Addr("mqtts").String()); err == nil || !strings.Contains(err.Error(), "not Authorized") {
		t.Errorf("no window is open: %v", err)
	}
	if err := h.OpenWindow(t.Context(), "oak-3"); err != nil {
		t.Fatal(err)
	}
	c := paho3.NewClient(paho3.NewClientOptions().AddBroker("tcp://" + h.Addr("mqtt").String()).SetClientID(n.id).SetUsername("enrol").SetProtocolVersion(4).SetAutoReconnect(false))
	if tok := c.Connect(); !tok.WaitTimeout(patient) || tok.Error() == nil {
		t.Error("an applicant without TLS is let in")
	}
	n.ask(h.Addr("mqtts").String())
	h.applicantsAt(t, 1)
	if err := h.CloseWindow(t.Context(), "oak-3"); err != nil {
		t.Fatal(err)
	}
	if e := n.next(); e.TurnedAway == nil || e.TurnedAway.Why != wire.Late {
		t.Errorf("the window closes: %+v", e)
	}
}

// The secret of a label lets a device in that has neither screen nor voice; the one-time code of a
// home makes a device its first trusted one, once.
func TestEnrolBySecret(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	const label = "abcd-efgh-ijkl-mnop"
	if err := h.OpenWindow(t.Context(), "oak-3"); err != nil {
		t.Fatal(err)
	}
	n := newNewcomer(t, wire.ByLabel, label, false)
	n.ask(h.Addr("mqtts").String())
	h.applicantsAt(t, 1)
	for _, wrong := range []string{"", n.binding.Code(), "abcd-efgh-ijkl-mnoq"} {
		m := newNewcomer(t, wire.ByLabel, label, false)
		m.ask(h.Addr("mqtts").String())
		h.applicantsAt(t, 2)
		if _, err := h.LetIn(t.Context(), "oak-3", m.id, wrong, "", delivery.Admission{}); !errors.Is(err, delivery.ErrCode) {
			t.Errorf("the secret %q: %v", wrong, err)
		}
		if err := h.TurnAway(t.Context(), "oak-3", m.id); err != nil {
			t.Error(err)
		}
		if e := m.next(); e.TurnedAway == nil || e.TurnedAway.Why != wire.Rejected {
			t.Errorf("rejected: %+v", e)
		}
	}
	if _, err := h.LetIn(t.Context(), "oak-3", n.id, "ABCD EFGH IJKL MNOP", "", delivery.Admission{}); err != nil {
		t.Fatal(err)
	}
	n.admitted()
	if err := h.CloseWindow(t.Context(), "oak-3"); err != nil {
		t.Fatal(err)
	}

	code, err := h.NewHomeCode(t.Context(), "oak-3")
	if err != nil {
		t.Fatal(err)
	}
	liar := newNewcomer(t, wire.ByHome, "aaaa-bbbb-cccc-dddd", false)
	liar.ask(h.Addr("mqtts").String())
	if e := liar.next(); e.TurnedAway == nil || e.TurnedAway.Why != wire.Unproven {
		t.Errorf("another code: %+v", e)
	}
	first := newNewcomer(t, wire.ByHome, code.Code, false)
	first.ask(h.Addr("mqtts").String())
	id := first.admitted().ID
	all, err := h.Devices(t.Context(), "oak-3")
	if err != nil {
		t.Fatal(err)
	}
	trusted := false
	for _, d := range all {
		trusted = trusted || d.ID == id && d.Controller
	}
	if !trusted {
		t.Errorf("the first device is not trusted: %+v", all)
	}
	second := newNewcomer(t, wire.ByHome, code.Code, false)
	if err := second.connect(h.Addr("mqtts").String()); err == nil {
		t.Error("the code works twice")
	}
}

// A certificate lets a device in over WebSocket as it does over TCP, and nobody else's key does.
func TestCertificateOverWebSocket(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	url := "wss://" + h.Addr("wss").String()
	n, a := h.newcomer(t)
	if _, err := n.loginAt(url, a, n.key); err != nil {
		t.Errorf("its own: %v", err)
	}
	other, b := h.newcomer(t)
	b.ID = a.ID
	if _, err := other.loginAt(url, b, other.key); err == nil {
		t.Error("the certificate of another device is let in under its name")
	}
	b.Certificate = a.Certificate
	if _, err := other.loginAt(url, b, other.key); err == nil {
		t.Error("its certificate with the key of another is let in")
	}
}

// A new key is tried before the old one goes: whichever a power cut leaves works.
func TestRekey(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	n, old := h.newcomer(t)
	oldKey := n.key
	c, err := n.login(h, old, oldKey)
	if err != nil {
		t.Fatal(err)
	}
	issued := n.rekey(c, old.ID, goodBirth(t))
	if _, err := n.login(h, old, oldKey); err != nil {
		t.Errorf("the old key, before the new one was used: %v", err)
	}
	fresh := old
	fresh.Certificate, fresh.CAs = issued.Certificate, issued.CAs
	if _, err := n.login(h, fresh, n.key); err != nil {
		t.Fatalf("the new key: %v", err)
	}
	if _, err := n.login(h, old, oldKey); err != nil {
		t.Errorf("the old key, in its day of grace: %v", err)
	}
	if _, err := n.login(h, fresh, oldKey); err == nil {
		t.Error("the new certificate with the old key is let in")
	}
	other, _ := h.newcomer(t)
	stolen := fresh
	stolen.ID = "tv-9"
	if _, err := other.login(h, stolen, n.key); err == nil {
		t.Error("a certificate lets in who calls itself something else")
	}
}

// newcomer is a device that has been let in.
func (h *house) newcomer(t *testing.T) (*newcomer, wire.Admitted) {
	t.Helper()
	if err := h.OpenWindow(t.Context(), "oak-3"); err != nil {
		t.Fatal(err)
	}
	n := newNewcomer(t, wire.ByCode, "", false)
	n.ask(h.Addr("mqtts").String())
	until(t, func() bool {
		w, err := h.Window(t.Context(), "oak-3")
		for _, a := range w.Applicants {
			if a.ID == n.id {
				return true
			}
		}
		return err != nil
	}, "it asks")
	if _, err := h.LetIn(t.Context(), "oak-3", n.id, n.binding.Code(), "", delivery.Admission{}); err != nil {
		t.Fatal(err)
	}
	return n, n.admitted()
}

// rekey asks for a certificate for a new key, after a birth if one is given.
func (n *newcomer) rekey(c paho3.Client, id device.ID, birth []byte) wire.KeyIssued {
	n.t.Helper()
	got := make(chan wire.KeyIssued, 8)
	await3(n.t, c.Subscribe(wire.Topic(id, "dn/#"), 1, func(_ paho3.Client, m paho3.Message) {
		if strings.HasSuffix(m.Topic(), "/dn/key") {
			if _, k, err := wire.DecodeKey(m.Payload()); err != nil {
				n.t.Errorf("dn/key: %v", err)
			} else if k != nil {
				got <- *k
			}
		}
	}))
	if birth != nil {
		await3(n.t, c.Publish(wire.Topic(id, wire.UpBirth), 1, false, birth))
	}
	n.newKey()
	await3(n.t, c.Publish(wire.Topic(id, wire.UpKey), 1, false, encode(n.t, wire.KeyRequest{Seq: 9, CSR: n.csr})))
	select {
	case k := <-got:
		return k
	case <-time.After(patient):
		n.t.Fatal("no new key came")
		return wire.KeyIssued{}
	}
}

// With a certificate that has ended a device can ask for a new one, and do nothing else.
func TestEndedCertificate(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	h.ca.Life = 24 * time.Hour
	n, old := h.newcomer(t)
	spki, err := x509.MarshalPKIXPublicKey(&n.key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	c, err := n.login(h, old, n.key) // it has been here once
	if err != nil {
		t.Fatal(err)
	}
	c.Disconnect(10)
	for days, good := range map[int]bool{30: true, 500: false} {
		ended := old
		if ended.Certificate, _, err = h.ca.Issue(old.ID, spki, time.Now().AddDate(0, 0, -days)); err != nil {
			t.Fatal(err)
		}
		key := n.key
		c, err := n.login(h, ended, key)
		if !good {
			if err == nil {
				t.Errorf("a certificate that ended %d days ago is let in", days)
			}
			continue
		}
		if err != nil {
			t.Fatalf("a certificate that ended %d days ago: %v", days, err)
		}
		fresh := old
		issued := n.rekey(c, old.ID, nil)
		fresh.Certificate, fresh.CAs = issued.Certificate, issued.CAs
		if tok := c.Subscribe(wire.Topic(old.ID, wire.DnMsg), 1, nil); tok.WaitTimeout(patient) && tok.(*paho3.SubscribeToken).Result()[wire.Topic(old.ID, wire.DnMsg)] != 0x80 {
			t.Error("it may listen to messages")
		}
		c.Publish(wire.Topic(old.ID, wire.UpBirth), 1, false, goodBirth(t))
		if all, err := h.Devices(t.Context(), "oak-3"); err != nil || all[0].Connected {
			t.Errorf("it counts as connected: %+v, %v", all, err)
		}
		if _, err := n.login(h, fresh, n.key); err != nil {
			t.Errorf("with the new certificate: %v", err)
		}
		n.key = key
	}
}

// What is void makes nothing new, on a connection that was there before: neither for a certificate
// that has ended nor for one that has not.
func TestVoidCredentialMakesNoNewOne(t *testing.T) {
	t.Parallel()
	voids := map[string]func(h *house, id device.ID) error{
		"replaced": func(h *house, id device.ID) error { _, err := h.ReplaceToken(t.Context(), id); return err },
		"removed":  func(h *house, id device.ID) error { return h.RemoveDevice(t.Context(), id) },
		"retired":  func(h *house, id device.ID) error { return errors.Join(h.ca.Rotate(time.Now()), h.ca.Retire()) },
	}
	for name, void := range voids {
		t.Run(name, func(t *testing.T) {
			h := openHouse(t)
			h.ca.Life = 24 * time.Hour
			n, old := h.newcomer(t)
			c, err := n.login(h, old, n.key)
			if err != nil {
				t.Fatal(err)
			}
			c.Disconnect(10)
			spki, err := x509.MarshalPKIXPublicKey(&n.key.PublicKey)
			if err != nil {
				t.Fatal(err)
			}
			ended := old
			if ended.Certificate, _, err = h.ca.Issue(old.ID, spki, time.Now().AddDate(0, 0, -30)); err != nil {
				t.Fatal(err)
			}
			if c, err = n.login(h, ended, n.key); err != nil {
				t.Fatal(err)
			}
			issued := make(chan struct{}, 8)
			await3(t, c.Subscribe(wire.Topic(old.ID, wire.DnKey), 1, func(_ paho3.Client, m paho3.Message) {
				if _, k, err := wire.DecodeKey(m.Payload()); err == nil && k != nil {
					issued <- struct{}{}
				}
			}))
			if err := void(h, old.ID); err != nil {
				t.Fatal(err)
			}
			n.newKey()
			c.Publish(wire.Topic(old.ID, wire.UpKey), 1, false, encode(t, wire.KeyRequest{Seq: 1, CSR: n.csr}))
			until(t, func() bool { return !c.IsConnected() }, "its connection ends")
			if len(issued) > 0 {
				t.Error("a credential that is void made a new one")
			}
		})
	}
}

// A certificate that was issued while the gateway's clock was ahead is that of a key that the
// registry knows, or does not.
func TestEarlyCertificate(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	n, old := h.newcomer(t)
	spki, err := x509.MarshalPKIXPublicKey(&n.key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	early := old
	if early.Certificate, _, err = h.ca.Issue(old.ID, spki, time.Now().AddDate(2, 0, 0)); err != nil {
		t.Fatal(err)
	}
	if _, err := n.login(h, early, n.key); err != nil {
		t.Errorf("a key that is known: %v", err)
	}
	foreign := newNewcomer(t, wire.ByCode, "", false)
	if spki, err = x509.MarshalPKIXPublicKey(&foreign.key.PublicKey); err != nil {
		t.Fatal(err)
	}
	if early.Certificate, _, err = h.ca.Issue(old.ID, spki, time.Now().AddDate(2, 0, 0)); err != nil {
		t.Fatal(err)
	}
	if _, err := n.login(h, early, foreign.key); err == nil || !strings.Contains(err.Error(), "not Authorized") {
		t.Errorf("a key that nobody knows: %v", err)
	}
}

// Devices follow a rotation of the authority; those that did not are out when it ends.
func TestAuthorityRotates(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	n, old := h.newcomer(t)
	oldKey := n.key
	c, err := n.login(h, old, oldKey)
	if err != nil {
		t.Fatal(err)
	}
	lazy, stays := h.newcomer(t)
	if _, err := lazy.login(h, stays, lazy.key); err != nil {
		t.Fatal(err)
	}
	asked := make(chan struct{}, 8)
	await3(t, c.Subscribe(wire.Topic(old.ID, wire.DnKey), 1, func(_ paho3.Client, m paho3.Message) {
		if a, _, err := wire.DecodeKey(m.Payload()); err == nil && a != nil {
			asked <- struct{}{}
		}
	}))
	if err := h.ca.Rotate(time.Now()); err != nil {
		t.Fatal(err)
	}
	h.Renew()
	select {
	case <-asked:
	case <-time.After(patient):
		t.Fatal("it is not asked for a new key")
	}
	issued := n.rekey(c, old.ID, goodBirth(t))
	if len(issued.CAs) != 2 {
		t.Errorf("%d authorities to trust, want 2", len(issued.CAs))
	}
	fresh := old
	fresh.Certificate, fresh.CAs = issued.Certificate, issued.CAs
	if _, err := n.login(h, fresh, n.key); err != nil {
		t.Fatalf("the new key while the rotation goes on: %v", err)
	}
	if err := h.ca.Retire(); err != nil {
		t.Fatal(err)
	}
	h.Renew()
	until(t, func() bool {
		all, err := h.Devices(t.Context(), "oak-3")
		if err != nil {
			t.Fatal(err)
		}
		here := map[device.ID]bool{}
		for _, d := range all {
			here[d.ID] = d.Connected
		}
		return here[old.ID] && !here[stays.ID]
	}, "the one that did not follow is out")
	if _, err := n.login(h, fresh, n.key); err != nil {
		t.Errorf("the new key afterwards: %v", err)
	}
	if _, err := lazy.login(h, stays, lazy.key); err == nil {
		t.Error("the certificate of the one before is let in")
	}
	if _, ok := h.Addr("mqtts").(*net.TCPAddr); !ok {
		t.Error("the door is gone")
	}
}

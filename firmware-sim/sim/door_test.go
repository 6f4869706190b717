package sim

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"

	"porchlight/device"
	"porchlight/device/wire"
)

// gatewayName is what the gateway's certificate says; no device dials it.
const gatewayName = "porch.test"

// ca is an authority of a test.
type ca struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

var (
	longAgo = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	farOff  = time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC)
)

func newCA(t *testing.T) *ca {
	t.Helper()
	c := &ca{t: t}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.key = key
	c.cert = &x509.Certificate{
		Subject: pkix.Name{CommonName: "an authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	c.cert = c.sign(c.cert, key.Public(), farOff)
	return c
}

func (c *ca) sign(what *x509.Certificate, key any, until time.Time) *x509.Certificate {
	c.t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		c.t.Fatal(err)
	}
	what.SerialNumber, what.NotBefore, what.NotAfter = serial, longAgo, until
	der, err := x509.CreateCertificate(rand.Reader, what, c.cert, key, c.key)
	if err != nil {
		c.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		c.t.Fatal(err)
	}
	return cert
}

// server is a gateway's certificate for names and 127.0.0.1, with the chain that it sends.
func (c *ca) server(names ...string) *tls.Certificate {
	c.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		c.t.Fatal(err)
	}
	leaf := c.sign(&x509.Certificate{DNSNames: names, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, key.Public(), farOff)
	return &tls.Certificate{Certificate: [][]byte{leaf.Raw, c.cert.Raw}, PrivateKey: key}
}

// device is a device's certificate, for the request it has sent.
func (c *ca) device(csr []byte, id device.ID, until time.Time) []byte {
	c.t.Helper()
	r, err := x509.ParseCertificateRequest(csr)
	if err == nil {
		err = r.CheckSignature()
	}
	if err != nil {
		c.t.Fatalf("certificate request: %v", err)
	}
	if key, ok := r.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		c.t.Fatalf("certificate request: got a %T, want P-256", r.PublicKey)
	}
	return c.sign(&x509.Certificate{Subject: pkix.Name{CommonName: string(id)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, r.PublicKey, until).Raw
}

// hash is how the authority's key is known.
func (c *ca) hash() [32]byte { return sha256.Sum256(c.cert.RawSubjectPublicKeyInfo) }

// keyOf is how the key of a certificate request is known, zero for none.
func keyOf(t *testing.T, csr []byte) (hash [32]byte) {
	t.Helper()
	if csr == nil {
		return hash
	}
	r, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(r.RawSubjectPublicKeyInfo)
}

// applied is a frame of a device that asks to be let in.
type applied struct {
	id     device.ID
	apply  *wire.Apply
	reveal *wire.Reveal
}

// entry is somebody who wanted to log in over TLS.
type entry struct {
	id, user, token string
	key             [32]byte // of the certificate; zero for none
	code            byte     // what was said: 0 let in
}

// secure is a gateway that devices reach over TLS.
type secure struct {
	*gateway
	ca *ca

	door    *door
	tcpPort string // tls://127.0.0.1:...
	wssPort string
}

// door is the broker's hook: it writes down who comes, and does as it is told.
type door struct {
	everybody

	mu      sync.Mutex
	changed chan struct{}
	cert    *tls.Certificate
	entries []entry
	subs    []string         // "<client ID> <filter>"
	decide  func(entry) byte // the code of the CONNACK; nil lets in
	deny    func(id, topic string) bool
	greet   string // who subscribes to this is asked for a key at once, and cut off at the birth
	late    bool   // who is born is asked for a key, and cut off when it asks for one
	born    map[*mochi.Client]bool
}

func (d *door) Provides(b byte) bool {
	return b == mochi.OnPacketProcessed || d.everybody.Provides(b)
}

func (d *door) OnPacketProcessed(cl *mochi.Client, pk packets.Packet, _ error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if pk.FixedHeader.Type == packets.Subscribe && d.greet != "" && pk.Filters[0].Filter == d.greet {
		askKey(cl)
	}
}

func askKey(cl *mochi.Client) {
	payload, _ := wire.Encode(wire.KeyAsk{Until: 1})
	cl.WritePacket(packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Publish}, TopicName: wire.Topic(device.ID(cl.ID), wire.DnKey), Payload: payload,
	})
}

func (d *door) OnConnect(cl *mochi.Client, pk packets.Packet) error {
	if err := d.everybody.OnConnect(cl, pk); err != nil || cl.Net.Listener != "tls" {
		return err
	}
	e := entry{id: cl.ID, user: string(pk.Connect.Username), token: string(pk.Connect.Password)}
	state := cl.Net.Conn.(*tls.Conn).ConnectionState()
	if len(state.PeerCertificates) > 0 {
		e.key = sha256.Sum256(state.PeerCertificates[0].RawSubjectPublicKeyInfo)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.decide != nil {
		e.code = d.decide(e)
	}
	d.entries = append(d.entries, e)
	close(d.changed)
	d.changed = make(chan struct{})
	switch e.code {
	case 0:
		return nil
	case cutOff:
		return packets.ErrNotAuthorized
	}
	cl.WritePacket(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connack}, ReasonCode: e.code})
	return packets.ErrNotAuthorized
}

func (d *door) OnACLCheck(cl *mochi.Client, topic string, write bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, leaf, _ := wire.ParseTopic(topic)
	switch {
	case write && leaf == wire.UpBirth && d.late:
		d.born[cl] = true
		askKey(cl)
	case write && (leaf == wire.UpBirth && d.greet != "" || leaf == wire.UpKey && d.born[cl]):
		cl.Stop(errors.New("its certificate has ended"))
		return false
	}
	if !write && cl.Net.Listener == "tls" {
		d.subs = append(d.subs, cl.ID+" "+topic)
	}
	return write || d.deny == nil || !d.deny(cl.ID, topic)
}

// letIn tells the door whom to let in: a code of CONNACK, 0 for come in.
func (d *door) letIn(decide func(entry) byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.decide = decide
}

// cutOff is the code of who is cut off without a word.
const cutOff = 0xff

// nobody is let in: the code says why.
func nobody(code byte) func(entry) byte { return func(entry) byte { return code } }

// only lets in who has one of these keys or tokens.
func only(known ...any) func(entry) byte {
	return func(e entry) byte {
		if slices.Contains(known, any(e.key)) || e.token != "" && slices.Contains(known, any(e.token)) {
			return 0
		}
		return packets.Err3NotAuthorized.Code
	}
}

// came waits for the n-th who comes, counted from 1.
func (d *door) came(t *testing.T, n int) entry {
	t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		d.mu.Lock()
		entries, changed := d.entries, d.changed
		d.mu.Unlock()
		if len(entries) >= n {
			return entries[n-1]
		}
		select {
		case <-changed:
		case <-timeout.C:
			t.Fatalf("nobody came for the %d. time; before: %v", n, entries)
		}
	}
}

// visits is how many have come.
func (d *door) visits() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.entries)
}

func (d *door) show(cert *tls.Certificate) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cert = cert
}

func newSecure(t *testing.T) *secure {
	t.Helper()
	s := &secure{ca: newCA(t), door: &door{changed: make(chan struct{}), born: make(map[*mochi.Client]bool)}}
	s.door.cert = s.ca.server(gatewayName)
	config := &tls.Config{ClientAuth: tls.RequestClientCert, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		s.door.mu.Lock()
		defer s.door.mu.Unlock()
		return s.door.cert, nil
	}}
	l := listeners.NewTCP(listeners.Config{ID: "tls", Address: "127.0.0.1:0", TLSConfig: config})
	w := listeners.NewWebsocket(listeners.Config{ID: "wss", Address: freePort(t), TLSConfig: config.Clone()})
	server, tcp, _ := newBrokerWith(t, s.door, l, w)
	t.Cleanup(func() { s.door.visits() }) // in order with those whom it did not let in
	s.gateway = newGatewayOf(t, server, tcp)
	s.tcpPort, s.wssPort = "tls://"+l.Address(), "wss://"+w.Address()
	return s
}

// cut ends a connection without a word.
func (s *secure) cut(id device.ID) {
	if cl, ok := s.server.Clients.Get(string(id)); ok {
		cl.Stop(errors.New("cut"))
	}
}

// newcomer is a device without an identity.
func (s *secure) newcomer(e Enrolment, edit ...func(*Config)) Config {
	cfg := s.config(device.TV)
	cfg.ID, cfg.Token, cfg.Gateway, cfg.Enrol = "", "", s.tcpPort, &e
	cfg.Model = device.Model{Maker: "Lumen", Name: "L55"}
	cfg.Start = []string{"turn on"}
	for _, f := range edit {
		f(&cfg)
	}
	return cfg
}

// made is a device of cfg that runs.
func (s *secure) made(cfg Config) (d *Device, stop func()) {
	s.t.Helper()
	d, err := New(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	return d, s.start(d)
}

// candidate is the gateway's side of one application.
type candidate struct {
	s     *secure
	id    device.ID
	apply wire.Apply
	bind  wire.Binding
	proof []byte
}

// candidate waits for the n-th frame of those who ask to be let in, which must apply.
func (s *secure) candidate(n int) *candidate {
	s.t.Helper()
	f := s.heard(n)
	if f.apply == nil {
		s.t.Fatalf("frame %d of the applicants: got %+v, want it to apply", n, f)
	}
	c := &candidate{s: s, id: f.id, apply: *f.apply}
	c.bind.CA, c.bind.Device = s.ca.hash(), keyOf(s.t, f.apply.CSR)
	if want := wire.ApplicantID(c.bind.Device, c.apply.Commit); string(c.id) != want {
		s.t.Errorf("the applicant's ID is %s, want %s", c.id, want)
	}
	return c
}

// heard waits for the n-th frame of those who ask to be let in, counted from 1.
func (s *secure) heard(n int) (f applied) {
	s.t.Helper()
	s.wait("an application", func() bool {
		if len(s.applied) < n {
			return false
		}
		f = s.applied[n-1]
		return true
	})
	return f
}

// challenge sends the gateway's nonce and waits for the device's, as the n-th frame of all
// applicants.
func (c *candidate) challenge(nonce []byte, n int) {
	c.s.t.Helper()
	c.bind.NonceG = nonce
	c.s.sendTo(c.id, wire.DnEnrol, wire.Challenge{Nonce: nonce})
	f := c.s.heard(n)
	if f.reveal == nil || f.id != c.id {
		c.s.t.Fatalf("frame %d of the applicants: got %+v, want %s to reveal its nonce", n, f, c.id)
	}
	c.bind.NonceD, c.proof = f.reveal.Nonce, f.reveal.Proof
	if !bytes.Equal(wire.Commitment(c.bind.NonceD, c.bind.Device), c.apply.Commit) {
		c.s.t.Error("the nonce is not the one of the commitment")
	}
}

// answer is a good one.
func (c *candidate) answer(id device.ID) wire.Admitted {
	c.s.t.Helper()
	m := wire.Admitted{ID: id, CAs: [][]byte{c.s.ca.cert.Raw}, Name: gatewayName, Clock: uint64(c.s.clock.Now().UnixMilli())}
	if c.apply.CSR != nil {
		m.Certificate = c.s.ca.device(c.apply.CSR, id, c.s.clock.Now().Add(365*24*time.Hour))
	} else {
		m.Token = "token of " + string(id)
	}
	return m
}

// admit lets the device in, and ends the connection as a gateway does.
func (c *candidate) admit(id device.ID) {
	c.s.t.Helper()
	c.s.sendTo(c.id, wire.DnEnrol, c.answer(id))
}

// enrolled is a new device that has been let in, with key and certificate, and is ready.
func (s *secure) enrolled(id device.ID, edit ...func(*Config)) *Device {
	s.t.Helper()
	s.mu.Lock()
	heard := len(s.applied) // before it is there
	s.mu.Unlock()
	d, _ := s.made(s.newcomer(Enrolment{}, edit...))
	s.enrolAs(s.candidate(heard+1), heard+2, d, id)
	return d
}

// enrol lets d in, the first applicant of all, and waits until it is ready.
func (s *secure) enrol(d *Device, id device.ID) {
	s.t.Helper()
	s.enrolAs(s.candidate(1), 2, d, id)
}

// enrolAs lets the applicant c in, which is d; n is the number of its next frame.
func (s *secure) enrolAs(c *candidate, n int, d *Device, id device.ID) {
	s.t.Helper()
	s.mu.Lock()
	births := len(s.births)
	s.mu.Unlock()
	c.challenge(newNonce(), n)
	c.admit(id)
	s.wait("birth", func() bool { return len(s.births) > births })
	if d.ID() != id {
		s.t.Fatalf("ID: got %q, want %q", d.ID(), id)
	}
	s.beacon(d)
	s.await(d, func(st State) bool { return st.Ready })
}

// book is the file of a device's memory.
func bookFile(t *testing.T) string { return filepath.Join(t.TempDir(), "book.json") }

// copyBook is what a power cut at this moment would leave.
func copyBook(t *testing.T, path string) (copied string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	copied = bookFile(t)
	if err := os.WriteFile(copied, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return copied
}

// remembered is the book in a file.
func remembered(t *testing.T, path string) book {
	t.Helper()
	b, err := readBook(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// csrOf is a new key with its certificate request.
func csrOf(t *testing.T) ([]byte, *ecdsa.PrivateKey) {
	t.Helper()
	der, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	csr, _, err := request(der)
	if err != nil {
		t.Fatal(err)
	}
	key, err := parseKey(der)
	if err != nil {
		t.Fatal(err)
	}
	return csr, key
}

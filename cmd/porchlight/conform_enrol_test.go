package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"porchlight/device"
	"porchlight/device/wire"
	"porchlight/firmware-sim/sim"
)

// intake runs porchlight conform --enrol in this process, against a device that knows where the
// gateway is and the one-time code of a home.
type intake struct {
	only  []string // MUSTs; nil: all
	hands func(context.Context, chore) error
	long  time.Duration // for which a device is refused before it may forget itself; 0: it is not tried
}

func (r intake) run(t *testing.T, dev func(ctx context.Context, gateway, code string)) (by map[string]finding, errs string, err error) {
	t.Helper()
	seats <- struct{}{}
	defer func() { <-seats }()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var stdout bytes.Buffer
	stderr := &announced{said: make(chan string, 1)}
	var devices sync.WaitGroup
	devices.Go(func() {
		select {
		case text := <-stderr.said:
			dev(ctx, regexp.MustCompile(`mqtts://(\S+)`).FindStringSubmatch(text)[1], regexp.MustCompile(`asks for one +(\S+)`).FindStringSubmatch(text)[1])
		case <-ctx.Done():
		}
	})
	if r.hands == nil {
		r.hands = func(context.Context, chore) error { return errNoHands }
	}
	c := conformCmd{
		Enrol: true, TLS: "127.0.0.1:0", JSON: true, Only: r.only, Lease: conformLease, Wait: 30 * time.Second, Timeout: 30 * time.Second,
		Long: r.long > 0, forget: r.long,
	}
	err = c.run(&env{ctx, strings.NewReader(""), &stdout, stderr, "", nil}, 0, device.NewID(), "", r.hands)
	cancel()
	devices.Wait()
	_, by = verdicts(t, stdout.String(), stderr.String())
	return by, stderr.String(), err
}

// enrolling are the MUSTs that are seen of a device that is let in.
func enrolling() (all []string) {
	for _, m := range musts {
		if needed(m.id) != "" {
			all = append(all, m.id)
		}
	}
	return near(all...)
}

// handsOn are somebody's hands on a simulated device.
func handsOn(d **sim.Device, off *context.CancelFunc) func(context.Context, chore) error {
	return func(ctx context.Context, c chore) error {
		d := *d
		switch c.args[0] {
		case "change":
			return d.Do("open door")
		case "press":
			n, err := strconv.ParseUint(c.args[1], 10, 32)
			return errors.Join(err, d.Press(uint(n), nil))
		case "dismiss":
			return d.Dismiss(nil)
		case "choose":
			return d.Choose(device.BrandID(c.args[1]), c.args[2], c.args[3])
		case "power":
			return d.Reboot()
		case "off":
			(*off)()
			return nil
		case "reset":
			return d.Reset()
		case "code":
			return d.Await(ctx, func(s sim.State) bool { *c.read = s.Code; return s.Code != "" })
		}
		return errNoHands
	}
}

// The simulator keeps every MUST about being let in, in each way, with a key and with a token; and
// once it is in, all others.
func TestConformEnrolSimulator(t *testing.T) {
	t.Parallel()
	type newcomer struct {
		enrol  sim.Enrolment
		all    bool     // MUSTs, not only those of enrolment
		unseen []string // of those that could be
	}
	keyless := []string{"M48", "M49", "M51"}
	tests := map[string]newcomer{
		"key":    {all: true},
		"token":  {enrol: sim.Enrolment{Token: true}, unseen: keyless},
		"label":  {enrol: sim.Enrolment{Way: wire.ByLabel, Secret: "abcd-efgh-ijkl-mnop"}, unseen: []string{"M45"}},
		"a code": {enrol: sim.Enrolment{Way: wire.ByHome}, unseen: []string{"M45"}},
	}
	together(t, tests, func(t *testing.T, test newcomer) func(*testing.T) {
		var d *sim.Device
		var off context.CancelFunc
		r := intake{hands: handsOn(&d, &off)}
		if !test.all {
			r.only = enrolling()
		}
		began := time.Now()
		by, errs, err := r.run(t, func(ctx context.Context, gateway, code string) {
			ctx, off = context.WithCancel(ctx)
			enrol := test.enrol
			if enrol.Way == wire.ByHome {
				enrol.Secret = code
			}
			dev, err := sim.New(sim.Config{
				Class: device.Fridge, Gateway: "tls://" + gateway, Enrol: &enrol, Retry: 20 * time.Millisecond, MaxRetry: 100 * time.Millisecond,
				Can:    device.Capabilities{Duties: device.CanDim, Forms: []device.Form{device.Toast}, MaxButtons: 2, Holds: 1, Languages: []string{"en"}},
				Memory: filepath.Join(t.TempDir(), "book"),
			})
			if err != nil {
				t.Error(err)
				return
			}
			d = dev
			d.Run(ctx)
		})
		took := time.Since(began)
		return func(t *testing.T) {
			t.Logf("it took %s", took.Round(time.Second))
			if err != nil {
				t.Errorf("%v\n%s", err, errs)
			}
			for _, m := range musts {
				want := passed
				if m.seen == notHere || slices.Contains(test.unseen, m.id) {
					want = notSeen
				}
				if !test.all && needed(m.id) == "" {
					continue
				}
				if got := by[m.id]; got.Verdict != want && !(m.id == "M10" && got.Verdict == notSeen) {
					t.Errorf("%s: %s, want %s: saw %s\n%s", m.id, got.Verdict, want, got.Saw, m.text)
				}
			}
		}
	})
}

// A newcomer that breaks one MUST fails that one and no other that is judged with it.
func TestConformEnrolSeesWhatIsBroken(t *testing.T) {
	t.Parallel()
	type broken struct {
		must  string
		token bool
		long  bool // it is refused for as long as it takes to forget itself
	}
	tests := map[string]broken{
		"nothing":                                   {},
		"nothing, with a token":                     {token: true},
		"reveals before the challenge":              {must: "M42"},
		"reveals what it is not committed to":       {must: "M42"},
		"reveals twice":                             {must: "M43"},
		"keeps its nonce":                           {must: "M43"},
		"reveals to another challenge":              {must: "M43", token: true},
		"reveals to another authority":              {must: "M43", token: true},
		"takes any chain":                           {must: "M44"},
		"takes a device for an authority":           {must: "M44"},
		"takes a device for a gateway":              {must: "M44"},
		"shows its first digits again":              {must: "M45"},
		"takes any authority":                       {must: "M46"},
		"applies again":                             {must: "M47"},
		"shows no certificate":                      {must: "M47"},
		"makes a key for each application":          {must: "M48"},
		"trusts any gateway":                        {must: "M37"},
		"trusts any name":                           {must: "M37"},
		"nothing, refused for long":                 {long: true},
		"forgets itself too soon":                   {must: "M56", long: true},
		"forgets itself when refused":               {must: "M56"},
		"forgets itself when refused, with a token": {must: "M56", token: true},
		"keeps only the new credential":             {must: "M50"},
		"keeps only the new credential, a token":    {must: "M50", token: true},
		"asks for the same key":                     {must: "M49"},
		"applies when its certificate has ended":    {must: "M51"},
		"goes on when its certificate has ended":    {must: "M51"},
		"is wiped without a word":                   {must: "M52"},
		"is wiped, and stays":                       {must: "M53"},
		"is wiped, and keeps its key":               {must: "M55"},
		"is wiped, and keeps the document":          {must: "M55"},
		"is reset without a word":                   {must: "M54"},
	}
	type named struct {
		broken
		breaks string
	}
	cases := map[string]named{}
	for name, b := range tests {
		cases[name] = named{b, name}
	}
	together(t, cases, func(t *testing.T, test named) func(*testing.T) {
		n := &novice{breaks: test.breaks, token: test.token, forget: forgetWithin, reset: make(chan struct{})}
		r := intake{only: near(test.must), hands: n.hands}
		switch {
		case test.long:
			r.only, r.long = near("M56"), forgetWithin
		case test.must == "":
			r.only = enrolling()
		}
		began := time.Now()
		by, errs, err := r.run(t, n.run)
		took := time.Since(began)
		return func(t *testing.T) {
			t.Logf("it took %s", took.Round(time.Second))
			var got []string
			for id, f := range by {
				if f.Verdict == failed {
					got = append(got, id)
				}
			}
			if strings.Join(got, " ") != test.must || (err != nil) != (test.must != "") {
				t.Errorf("failed %q with %v, want %q\n%+v\n%s", got, err, test.must, by, errs)
			}
		}
	})
}

// forgetWithin is what stands here for ten minutes.
const forgetWithin = 3 * time.Second

// novice is the smallest device that lets itself be let in: it shows nothing. breaks names what it
// does wrong.
type novice struct {
	breaks string
	token  bool          // it makes no key
	forget time.Duration // after being refused for so long

	// What survives.
	key   *ecdsa.PrivateKey
	nonce []byte       // of its last application; without a key it may be used again
	heard wire.Binding // to which it was revealed
	id    device.ID
	creds []tls.Certificate // the newest first; without a key the token is in the place of the certificate
	cas   *x509.CertPool
	name  string
	twin  uint64

	refusals int // one after the other
	since    time.Time

	reset chan struct{}
	mu    sync.Mutex
	code  string // that it shows
}

func (n *novice) is(breaks string) bool { return n.breaks == breaks }

func (n *novice) hands(ctx context.Context, c chore) error {
	switch c.args[0] {
	case "code":
		for ctx.Err() == nil { // it is shown as soon as the nonce is revealed
			n.mu.Lock()
			*c.read = n.code
			n.mu.Unlock()
			if *c.read != "" {
				return nil
			}
			time.Sleep(time.Millisecond)
		}
	case "reset":
		select {
		case n.reset <- struct{}{}:
			return nil
		case <-ctx.Done():
		}
	}
	return errNoHands
}

func (n *novice) show(code string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.is("shows its first digits again") && n.code != "" {
		return
	}
	n.code = code
}

func (n *novice) run(ctx context.Context, gateway, _ string) {
	for ctx.Err() == nil {
		if n.id == "" {
			n.apply(ctx, gateway)
			n.show("")
		} else {
			n.live(ctx, gateway)
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond): // a real device takes much longer
		}
	}
}

func p256() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

func csrOf(key *ecdsa.PrivateKey) []byte {
	if key == nil {
		return nil
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		panic(err)
	}
	return csr
}

func spkiOf(c *x509.Certificate) [32]byte { return sha256.Sum256(c.RawSubjectPublicKeyInfo) }

// dial opens a connection with TLS, and an MQTT client over it that has not said anything yet.
func (n *novice) dial(ctx context.Context, gateway string, secure *tls.Config, who func() *mqtt.ClientOptions) (mqtt.Client, chan mqtt.Message, chan struct{}, byte) {
	conn, err := (&tls.Dialer{Config: secure}).DialContext(ctx, "tcp", gateway)
	if err != nil {
		return nil, nil, nil, 0xff
	}
	in, lost := make(chan mqtt.Message, 64), make(chan struct{})
	c := mqtt.NewClient(who().AddBroker("tls://" + gateway).SetProtocolVersion(4).SetAutoReconnect(false).
		SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) { return conn, nil }).
		SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { in <- m }).
		SetConnectionLostHandler(func(mqtt.Client, error) { close(lost) }))
	tok := c.Connect()
	if tok.Wait(); tok.Error() != nil {
		conn.Close()
		return nil, nil, nil, tok.(*mqtt.ConnectToken).ReturnCode()
	}
	return c, in, lost, 0
}

func say(c mqtt.Client, topic string, qos byte, frame any) bool {
	payload, err := wire.Encode(frame)
	if err != nil {
		panic(err)
	}
	return c.Publish(topic, qos, false, payload).WaitTimeout(5 * time.Second)
}

// apply asks once to be let in.
func (n *novice) apply(ctx context.Context, gateway string) {
	b := wire.Binding{NonceD: make([]byte, wire.NonceSize)}
	rand.Read(b.NonceD)
	if !n.token && (n.key == nil || n.is("makes a key for each application")) {
		n.key = p256()
	}
	if !n.token {
		der, _ := x509.MarshalPKIXPublicKey(&n.key.PublicKey)
		b.Device = sha256.Sum256(der)
	}
	var me device.ID
	c, in, lost, _ := n.dial(ctx, gateway, &tls.Config{InsecureSkipVerify: true, VerifyConnection: func(s tls.ConnectionState) error {
		chain := s.PeerCertificates
		b.CA = spkiOf(chain[len(chain)-1])
		for i := range chain[1:] {
			err := chain[i].CheckSignatureFrom(chain[i+1])
			if n.is("takes a device for an authority") {
				err = chain[i+1].CheckSignature(chain[i].SignatureAlgorithm, chain[i].RawTBSCertificate, chain[i].Signature)
			}
			if err != nil && !n.is("takes any chain") {
				return err
			}
		}
		if !slices.Contains(chain[0].ExtKeyUsage, x509.ExtKeyUsageServerAuth) && !n.is("takes a device for a gateway") {
			return errors.New("not a server's certificate")
		}
		return nil
	}}, func() *mqtt.ClientOptions {
		if n.nonce != nil && n.token && b.CA != n.heard.CA && n.heard.NonceG != nil && !n.is("reveals to another authority") {
			n.nonce = nil
		}
		if n.nonce != nil && (n.token || n.is("keeps its nonce")) {
			b.NonceD = n.nonce
		} else {
			n.nonce, n.heard = b.NonceD, wire.Binding{}
		}
		me = device.ID(wire.ApplicantID(b.Device, wire.Commitment(b.NonceD, b.Device)))
		return mqtt.NewClientOptions().SetClientID(string(me)).SetUsername("enrol")
	})
	if c == nil {
		return
	}
	defer c.Disconnect(0)
	topic := wire.Topic(me, wire.UpEnrol)
	c.Subscribe(wire.Topic(me, "dn/#"), 1, nil).WaitTimeout(5 * time.Second)
	a := wire.Apply{Commit: wire.Commitment(b.NonceD, b.Device), CSR: nil, Class: device.Fridge, Way: wire.ByCode}
	if !n.token {
		a.CSR = csrOf(n.key)
	}
	say(c, topic, 1, a)
	if n.is("reveals before the challenge") {
		say(c, topic, 1, wire.Reveal{Nonce: b.NonceD})
	}
	for {
		var e wire.Enrolment
		select {
		case <-ctx.Done():
			return
		case <-lost:
			select {
			case m := <-in:
				e, _ = wire.DecodeEnrolment(m.Payload())
			default:
				return
			}
		case m := <-in:
			e, _ = wire.DecodeEnrolment(m.Payload())
		}
		switch {
		case e.TurnedAway != nil:
			n.nonce = nil
			return
		case e.Challenge != nil:
			g := e.Challenge.Nonce
			again := b.NonceG != nil && !n.is("reveals twice")
			if n.token && n.heard.NonceG != nil && !bytes.Equal(g, n.heard.NonceG) && !n.is("reveals to another challenge") {
				again = true
			}
			if again {
				n.nonce = nil
				return
			}
			b.NonceG = g
			n.heard = b
			r := wire.Reveal{Nonce: b.NonceD}
			if n.is("reveals what it is not committed to") {
				r.Nonce = slices.Clone(b.NonceD)
				r.Nonce[0]++
			}
			if !n.is("reveals before the challenge") {
				n.show(b.Code())
				say(c, topic, 1, r)
			}
		case e.Admitted != nil:
			n.admitted(b, *e.Admitted)
			return
		}
	}
}

func (n *novice) admitted(b wire.Binding, m wire.Admitted) {
	ca, err := x509.ParseCertificate(m.CAs[0])
	if err != nil || spkiOf(ca) != b.CA && !n.is("takes any authority") {
		n.key, n.nonce = nil, nil
		return
	}
	if n.is("applies again") {
		return
	}
	n.id, n.name = m.ID, m.Name
	n.creds = []tls.Certificate{{Certificate: [][]byte{m.Certificate}, PrivateKey: n.key}}
	if n.token {
		n.creds = []tls.Certificate{{Certificate: [][]byte{[]byte(m.Token)}}}
	}
	n.trust(m.CAs)
}

func (n *novice) trust(cas [][]byte) {
	n.cas = x509.NewCertPool()
	for _, der := range cas {
		if ca, err := x509.ParseCertificate(der); err == nil {
			n.cas.AddCert(ca)
		}
	}
}

// erase forgets everything.
func (n *novice) erase() {
	if n.is("is wiped, and stays") {
		return
	}
	n.nonce, n.heard, n.id, n.creds, n.cas, n.name = nil, wire.Binding{}, "", nil, nil, ""
	if !n.is("is wiped, and keeps its key") {
		n.key = nil
	}
	if !n.is("is wiped, and keeps the document") {
		n.twin = 0
	}
}

// live is one connection of a device that was let in.
func (n *novice) live(ctx context.Context, gateway string) {
	for i, cred := range n.creds {
		secure := &tls.Config{RootCAs: n.cas, ServerName: n.name, InsecureSkipVerify: n.is("trusts any gateway") || n.is("trusts any name")}
		if n.is("trusts any name") {
			secure.VerifyConnection = func(s tls.ConnectionState) error {
				_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: n.cas})
				return err
			}
		}
		o := mqtt.NewClientOptions().SetClientID(string(n.id)).SetUsername(string(n.id))
		if n.token {
			o.SetPassword(string(cred.Certificate[0]))
		} else if !n.is("shows no certificate") {
			secure.Certificates = []tls.Certificate{cred}
		}
		c, in, lost, code := n.dial(ctx, gateway, secure, func() *mqtt.ClientOptions { return o })
		if c == nil && code == 5 {
			continue
		}
		if c != nil {
			n.refusals = 0
			if i == 0 {
				n.creds = n.creds[:1]
			}
			n.stay(ctx, c, in, lost, cred)
			c.Disconnect(0)
		}
		return
	}
	if n.refusals++; n.refusals == 1 {
		n.since = time.Now()
	}
	forget := n.forget
	if n.is("forgets itself too soon") {
		forget /= 2
	}
	if n.refusals > 2 && time.Since(n.since) >= forget || strings.HasPrefix(n.breaks, "forgets itself when refused") {
		n.refusals = 0
		n.erase()
	}
}

// stay is what a device does that has logged in.
func (n *novice) stay(ctx context.Context, c mqtt.Client, in chan mqtt.Message, lost chan struct{}, cred tls.Certificate) {
	c.Subscribe(wire.Topic(n.id, "dn/#"), 1, nil).WaitTimeout(5 * time.Second)
	seq := uint64(0)
	send := func(leaf wire.Leaf, frame any) {
		say(c, wire.Topic(n.id, leaf), 1, frame)
		seq++
	}
	var next *ecdsa.PrivateKey
	ask := func() {
		if !n.token {
			if next = p256(); n.is("asks for the same key") {
				next = cred.PrivateKey.(*ecdsa.PrivateKey)
			}
		}
		send(wire.UpKey, wire.KeyRequest{Seq: seq, CSR: csrOf(next)})
	}
	birth := func() {
		send(wire.UpBirth, wire.Birth{Class: device.Fridge, Clock: uint64(time.Now().UnixMilli()), Twin: n.twin})
	}
	leaf := (*x509.Certificate)(nil)
	if !n.token {
		leaf, _ = x509.ParseCertificate(cred.Certificate[0])
	}
	switch {
	case leaf == nil || time.Now().Before(leaf.NotAfter):
		birth()
	case n.is("applies when its certificate has ended"):
		n.erase()
		return
	case n.is("goes on when its certificate has ended"):
		birth()
		ask()
	default:
		ask()
	}
	leave := func(reason string) {
		if !strings.HasSuffix(n.breaks, "without a word") {
			send(wire.UpBye, wire.Bye{Seq: seq, Reason: reason})
		}
		n.erase()
	}
	for {
		var m mqtt.Message
		select {
		case <-ctx.Done():
			return
		case <-lost:
			return
		case <-n.reset:
			leave("reset")
			return
		case m = <-in:
		}
		switch wire.Leaf(strings.TrimPrefix(m.Topic(), wire.Topic(n.id, ""))) {
		case wire.DnTwin:
			if f, err := wire.DecodeTwin(m.Payload()); err == nil {
				n.twin = f.Version
			}
		case wire.DnMsg:
			if _, f, err := wire.DecodeMsg(m.Payload()); err == nil && f != nil {
				send(wire.UpEvt, wire.Event{Seq: seq, Message: f.Message, Kind: wire.Cancelled})
			}
		case wire.DnCmd:
			leave("wiped")
			return
		case wire.DnKey:
			a, k, err := wire.DecodeKey(m.Payload())
			if err != nil {
				continue
			}
			if a != nil {
				if leaf == nil || time.Now().Before(leaf.NotAfter) { // else it has asked
					ask()
				}
				continue
			}
			fresh := tls.Certificate{Certificate: [][]byte{k.Certificate}, PrivateKey: next}
			if n.token {
				fresh = tls.Certificate{Certificate: [][]byte{[]byte(k.Token)}}
			}
			n.creds = append([]tls.Certificate{fresh}, n.creds...)
			if strings.HasPrefix(n.breaks, "keeps only the new credential") {
				n.creds = n.creds[:1]
			}
			n.trust(k.CAs)
			return
		}
	}
}

// A device with a token that was put in by hand is wiped only if that is asked for, in the end.
func TestConformWipe(t *testing.T) {
	t.Parallel()
	type wipe struct {
		flags []string
		want  verdict
	}
	tests := map[string]wipe{
		"asked for":     {[]string{"--wipe"}, passed},
		"not asked for": {nil, notSeen},
	}
	together(t, tests, func(t *testing.T, test wipe) func(*testing.T) {
		r := newTester(t, append(test.flags, "--plain", "", "--tls", "127.0.0.1:0")...)
		r.only = near("M52", "M36")
		var d *sim.Device
		status, out, errs := r.run(simulated(t, device.Fridge, "", &d))
		return func(t *testing.T) {
			_, by := verdicts(t, out, errs)
			if status != 0 || by["M52"].Verdict != test.want || by["M53"].Verdict != test.want || by["M36"].Verdict != notSeen || (d.ID() == "") != (test.want == passed) {
				t.Errorf("status %d, the device is %q, want %s\n%s\n%s", status, d.ID(), test.want, out, errs)
			}
		}
	})
}

// What is asked wrongly is said at once.
func TestConformEnrolUsage(t *testing.T) {
	for args, want := range map[string]string{
		"--enrol":                             "--enrol: devices are let in over TLS only",
		"--enrol --tls 127.0.0.1:0 --id tv-1": "leave out --id and --token",
		"--tls 127.0.0.1:0 --long":            "--long: give --enrol too",
	} {
		var errs bytes.Buffer
		if status := run(t.Context(), append([]string{"conform"}, strings.Fields(args)...), strings.NewReader(""), io.Discard, &errs); status != 2 || !strings.Contains(errs.String(), want) {
			t.Errorf("%s: status %d, %q, want 2 and %q", args, status, errs.String(), want)
		}
	}
}

// Hands can say what they read off the device: a program in the first line that it prints, a person in
// the line that they type.
func TestConformReads(t *testing.T) {
	program := filepath.Join(t.TempDir(), "hands")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n[ \"$1\" = code ] && echo \" 012 345 \" && echo more\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		who, typed string
		ask        string
		want       string
		none       bool // nobody can
	}{
		"program":               {who: program, ask: "code", want: "012 345"},
		"program that does not": {who: program, ask: "reset", none: true},
		"person":                {who: "ask", typed: "012 345 \n", ask: "code", want: "012 345"},
		"person, nothing":       {who: "ask", typed: "\n", ask: "code", none: true},
		"person, who cannot":    {who: "ask", typed: "s\n", ask: "code", none: true},
		"nobody":                {who: "none", ask: "code", none: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			hands, err := handsOf(&env{t.Context(), strings.NewReader(test.typed), io.Discard, io.Discard, "", nil}, test.who)
			if err != nil {
				t.Fatal(err)
			}
			var got string
			err = hands(t.Context(), chore{args: []string{test.ask}, read: &got})
			if got != test.want || (err != nil) != test.none {
				t.Errorf("read %q with %v, want %q", got, err, test.want)
			}
		})
	}
}

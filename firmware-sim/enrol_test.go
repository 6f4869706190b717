package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"

	"porchlight/device"
	"porchlight/device/wire"
	"porchlight/firmware-sim/sim"
)

// gateway plays one: it lets in whoever a person types the digits of.
type gateway struct {
	t         *testing.T
	plain     string // tcp://
	secure    string // tls://
	cert      *x509.Certificate
	client    mqtt.Client
	applicant chan device.ID
	joins     chan wire.Join
	bind      wire.Binding
	apply     *wire.Apply
}

func newGateway(t *testing.T) *gateway {
	t.Helper()
	g := &gateway{t: t, applicant: make(chan device.ID, 10), joins: make(chan wire.Join, 10)}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"porch.test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if g.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	g.bind.CA = sha256.Sum256(g.cert.RawSubjectPublicKeyInfo)

	server := mochi.New(&mochi.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err := server.AddHook(new(everybody), nil); err != nil {
		t.Fatal(err)
	}
	l := listeners.NewTCP(listeners.Config{ID: "tcp", Address: "127.0.0.1:0"})
	s := listeners.NewTCP(listeners.Config{ID: "tls", Address: "127.0.0.1:0", TLSConfig: &tls.Config{
		ClientAuth: tls.RequestClientCert, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
	}})
	for _, l := range []listeners.Listener{l, s} {
		if err := server.AddListener(l); err != nil {
			t.Fatal(err)
		}
	}
	if err := server.Serve(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shut(server) })
	g.plain, g.secure = "tcp://"+l.Address(), "tls://"+s.Address()
	g.client = mqtt.NewClient(mqtt.NewClientOptions().AddBroker(g.plain).SetClientID("gateway").SetAutoReconnect(false).
		SetOrderMatters(false).SetDefaultPublishHandler(g.take))
	g.must(g.client.Connect())
	t.Cleanup(func() { g.client.Disconnect(250) })
	g.must(g.client.Subscribe("pl/1/+/up/enrol", 1, nil))
	g.must(g.client.Subscribe("pl/1/+/up/join", 1, nil))
	return g
}

func (g *gateway) must(tok mqtt.Token) {
	g.t.Helper()
	if tok.Wait(); tok.Error() != nil {
		g.t.Fatal(tok.Error())
	}
}

func (g *gateway) send(to device.ID, leaf wire.Leaf, v any) {
	b, err := wire.Encode(v)
	if err != nil {
		g.t.Error(err)
	}
	g.client.Publish(wire.Topic(to, leaf), 1, false, b)
}

// take answers an applicant, and keeps what people do.
func (g *gateway) take(_ mqtt.Client, m mqtt.Message) {
	id, leaf, _ := wire.ParseTopic(m.Topic())
	if leaf == wire.UpJoin {
		j, err := wire.DecodeJoin(m.Payload())
		if err != nil {
			g.t.Error(err)
		}
		g.joins <- j
		return
	}
	apply, reveal, err := wire.DecodeEnrol(m.Payload())
	switch {
	case err != nil:
		g.t.Error(err)
	case apply != nil:
		g.apply = apply
		if apply.CSR != nil {
			csr, err := x509.ParseCertificateRequest(apply.CSR)
			if err != nil {
				g.t.Error(err)
				return
			}
			g.bind.Device = sha256.Sum256(csr.RawSubjectPublicKeyInfo)
		}
		g.bind.NonceG = []byte("0123456789abcdef")
		g.send(id, wire.DnEnrol, wire.Challenge{Nonce: g.bind.NonceG})
	default:
		g.bind.NonceD = reveal.Nonce
		g.applicant <- id
	}
}

// A person adds a new device to their home: reads its six digits off its screen, and types them on
// the television.
func TestAddADevice(t *testing.T) {
	g := newGateway(t)
	creds := credentials(t, g.plain)
	c, err := sim.ReadCredentials(creds)
	if err != nil {
		t.Fatal(err)
	}
	tv := c.Devices["TV"].ID
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan error, 2)
	defer func() {
		cancel()
		for range 2 {
			if err := <-over; err != nil {
				t.Error(err)
			}
		}
	}()
	keys, typing := io.Pipe()
	var home, young lines
	go func() {
		over <- run(ctx, []string{"--home", family, "--credentials", creds, "--keyboard"}, keys, &home)
	}()
	memory := t.TempDir()
	go func() {
		over <- run(ctx, []string{"--enrol", "--gateway", g.secure, "--class", "fridge", "--name", "Snacks", "--model", "Polar F3",
			"--token", "--memory", memory}, nil, &young)
	}()
	id := <-g.applicant
	young.await(t, "type its code on a device of the home")
	digits := regexp.MustCompile(`Code (\d{3}) (\d{3})`)
	young.await(t, "Code ")
	young.mu.Lock()
	read := digits.FindStringSubmatch(young.text.String())
	young.mu.Unlock()
	if read == nil || read[1]+read[2] != g.bind.Code() {
		t.Fatalf("on its screen: got %q, want the digits %s", read, g.bind.Code())
	}

	home.await(t, "TV         is connected")
	home.await(t, "Car        is connected")
	io.WriteString(typing, "@")
	home.await(t, "adding a device on TV")
	if j := <-g.joins; j.Op != wire.JoinOpen {
		t.Errorf("join: got %+v, want to open the window", j)
	}
	io.WriteString(typing, "\n123\n") // nobody is there
	home.await(t, "nobody asks to join TV's home")
	until := uint64(time.Now().Add(15 * time.Minute).UnixMilli())
	asks := wire.Applicant{ID: string(id), Class: g.apply.Class, Model: g.apply.Model, Way: g.apply.Way, Tries: 3}
	plug := wire.Applicant{ID: "e-0123456789abcdef", Class: device.Other, Way: wire.ByLabel, Tries: 3}
	g.send(tv, wire.DnJoin, wire.Window{Until: until, Applicants: []wire.Applicant{plug, asks}})
	home.await(t, "Polar F3 (fridge) wants to join: type its six digits")
	home.await(t, "something (other) wants to join: type the secret on its label")
	for _, step := range []struct{ keys, want string }{
		{"~", "does nothing while a device is added"}, {"?", "Esc back"}, {"\t", "Polar F3 (fridge) is meant"},
		{"+", "it may add others too"}, {"99\x7f\b", "typed: \n"},
	} {
		io.WriteString(typing, step.keys)
		home.await(t, step.want)
	}
	io.WriteString(typing, read[1]+" "+read[2]+"\n")
	j := <-g.joins
	if j.Op != wire.JoinAdmit || j.Applicant != string(id) || wire.PlainSecret(j.Code) != g.bind.Code() || !j.Controller {
		t.Errorf("join: got %+v, want %s with %s", j, id, g.bind.Code())
	}
	g.send(id, wire.DnEnrol, wire.Admitted{ID: "snacks-one", Token: "token", CAs: [][]byte{g.cert.Raw}, Name: "porch.test"})
	young.await(t, "belongs to a home now, as snacks-one")
	young.await(t, "is connected")
	if _, err := os.Stat(filepath.Join(memory, "Snacks.json")); err != nil {
		t.Errorf("its memory: %v", err)
	}
	io.WriteString(typing, "\t!") // around to the other one
	if j := <-g.joins; j.Op != wire.JoinReject || j.Applicant != plug.ID {
		t.Errorf("join: got %+v, want no to %s", j, plug.ID)
	}
	io.WriteString(typing, "@")
	if j := <-g.joins; j.Op != wire.JoinClose {
		t.Errorf("join: got %+v, want to close the window", j)
	}
	io.WriteString(typing, "^")
	home.await(t, "has forgotten everything: factory reset")
	io.WriteString(typing, "B@")
	<-g.joins
	io.WriteString(typing, "\x1bC") // out of it again
	home.await(t, "> C Fridge")
}

func TestNewDeviceMistakes(t *testing.T) {
	good := []string{"--enrol", "--gateway", "tls://127.0.0.1:1", "--class", "tv"}
	tests := map[string]struct {
		args []string
		want string
	}{
		"a home as well": {append(good, "--home", family), "--home"},
		"a script":       {append(good, "--script"), "--script"},
		"a certificate":  {append(good, "--ca", "ca.crt"), "--ca"},
		"no gateway":     {[]string{"--enrol", "--class", "tv"}, "--gateway"},
		"no class":       {good[:3], "--class"},
		"unknown class":  {append(good[:4:4], "telly"), "telly"},
		"no TLS":         {[]string{"--enrol", "--gateway", "tcp://127.0.0.1:1", "--class", "tv"}, "TLS"},
		"short label":    {append(good, "--label", "abc"), "16"},
		"two ways":       {append(good, "--label", "abcdefghijklmnop", "--home-code", "x"), "use one"},
		"bad name":       {append(good, "--name", "../tv"), "file's name"},
		"not enrolling":  {[]string{"--home", family, "--class", "tv"}, "--enrol"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := run(t.Context(), tt.args, strings.NewReader(""), io.Discard)
			if _, ok := err.(usageError); !ok || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want a usage error with %q", err, tt.want)
			}
		})
	}
}

// What the flags make of the device that asks.
func TestNewDeviceByLabelAndHomeCode(t *testing.T) {
	for flag, way := range map[string]wire.Way{"--label": wire.ByLabel, "--home-code": wire.ByHome} {
		t.Run(flag, func(t *testing.T) {
			g := newGateway(t)
			ctx, cancel := context.WithCancel(t.Context())
			over := make(chan error, 1)
			var out lines
			go func() {
				over <- run(ctx, []string{"--enrol", "--gateway", g.secure, "--class", "tv", flag, "abcd-efgh-ijkl-mnop"}, nil, &out)
			}()
			<-g.applicant
			if m := g.apply.Model; g.apply.Way != way || g.apply.CSR == nil || m.Maker != "Porchlight" || m.Name != "simulator" {
				t.Errorf("apply: got %+v", g.apply)
			}
			cancel()
			if err := <-over; err != nil {
				t.Error(err)
			}
		})
	}
}

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// broker is a server under measurement: a process, and where it listens.
type broker struct {
	*process
	plain, secure string // addresses; "": none
}

// certificate is a leaf of P-256 with the authority that has signed it, as the gateway presents its own; in
// files, for the peers.
type certificate struct{ chain, key string }

func newCertificate(folder string) (c certificate, err error) {
	c = certificate{filepath.Join(folder, "peer.crt"), filepath.Join(folder, "peer.key")}
	if _, err := os.Stat(c.key); err == nil {
		return c, nil
	}
	above := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Bench authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "Bench"}, NotBefore: above.NotBefore, NotAfter: above.NotAfter,
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	var keys [2]*ecdsa.PrivateKey
	for i := range keys {
		if keys[i], err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return c, err
		}
	}
	var chain []byte
	for i, t := range []*x509.Certificate{leaf, above} {
		der, err := x509.CreateCertificate(rand.Reader, t, above, &keys[i].PublicKey, keys[1])
		if err != nil {
			return c, err
		}
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	der, err := x509.MarshalPKCS8PrivateKey(keys[0])
	if err == nil {
		err = os.WriteFile(c.chain, chain, 0o644)
	}
	if err == nil {
		err = os.WriteFile(c.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o644) // mosquitto reads it as another user
	}
	return c, err
}

// loopbackPorts are n addresses that nobody listens on.
func loopbackPorts(n int) ([]string, error) {
	all := make([]string, n)
	for i := range all {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		all[i] = fmt.Sprint("127.0.0.1:", port)
	}
	return all, nil
}

// peerBroker starts one of servers. Extra flags go to it.
func peerBroker(ctx context.Context, s setting, name, what string, extra ...string) (*broker, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cert, err := newCertificate(s.folder)
	if err != nil {
		return nil, err
	}
	at, err := loopbackPorts(2)
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp(s.folder, what+"-")
	if err != nil {
		return nil, err
	}
	b := &broker{plain: at[0], secure: at[1]}
	arg := []string{self, "serve", what, "-folder", folder, "-cert", cert.chain, "-key", cert.key, "-plain", b.plain, "-tls", b.secure}
	if what == "nats" {
		b.secure = ""
	}
	return b.start(ctx, name, append(arg, extra...)...)
}

func (b *broker) start(ctx context.Context, name string, arg ...string) (*broker, error) {
	var err error
	if b.process, err = startPinned(name, arg...); err != nil {
		return nil, err
	}
	for _, at := range []string{b.plain, b.secure} {
		if at == "" {
			continue
		}
		if err := b.listens(ctx, at); err != nil {
			b.stop()
			return nil, err
		}
	}
	return b, nil
}

// mosquitto is where Debian puts it.
const mosquitto = "/usr/sbin/mosquitto"

// mosquittoBroker starts mosquitto with nothing kept, everybody let in, no limit to what is on its way to a
// subscriber, so that nothing is dropped, and, as servers in Go have it, nothing held back to be sent together. It
// is nil if mosquitto is not installed.
func mosquittoBroker(ctx context.Context, s setting) (*broker, error) {
	if _, err := exec.LookPath(mosquitto); err != nil {
		return nil, nil
	}
	cert, err := newCertificate(s.folder)
	if err != nil {
		return nil, err
	}
	at, err := loopbackPorts(2)
	if err != nil {
		return nil, err
	}
	b := &broker{plain: at[0], secure: at[1]}
	_, plain, _ := net.SplitHostPort(b.plain)
	_, secure, _ := net.SplitHostPort(b.secure)
	config := fmt.Sprintf(`persistence false
allow_anonymous true
max_inflight_messages 0
max_queued_messages 0
set_tcp_nodelay true
log_type none
user root
listener %s 127.0.0.1
listener %s 127.0.0.1
certfile %s
keyfile %s
`, plain, secure, cert.chain, cert.key)
	path := filepath.Join(s.folder, "mosquitto.conf")
	if err := os.WriteFile(path, []byte(config), 0o644); err != nil {
		return nil, err
	}
	return b.start(ctx, "mosquitto", mosquitto, "-c", path)
}

package broker

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	caLife     = 20 * 365 * 24 * time.Hour
	serverLife = 365 * 24 * time.Hour
	renewAhead = 30 * 24 * time.Hour
)

// LocalCA returns the TLS settings of the listeners, with a certificate for names, localhost
// and this host, signed by an authority of this gateway alone. Authority and certificate are
// made in dir/ca when they are not there; the certificate also when it ends within 30 days or
// lacks a name. Clients are given caPath to trust; the keys are readable by the owner only.
func LocalCA(dir string, names []string, now time.Time) (secure *tls.Config, caPath string, err error) {
	dir = filepath.Join(dir, "ca")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, "", fmt.Errorf("local certificate authority: %w", err)
	}
	caPath = filepath.Join(dir, "ca.crt")
	ca, caKey, err := load(caPath, filepath.Join(dir, "ca.key"))
	if errors.Is(err, fs.ErrNotExist) {
		ca, caKey, err = make509(caPath, filepath.Join(dir, "ca.key"), caTemplate(now), nil, nil)
	}
	if err != nil {
		return nil, "", fmt.Errorf("local certificate authority: %w", err)
	}
	if now.After(ca.NotAfter) {
		return nil, "", fmt.Errorf("local certificate authority: %s ended on %s: remove %s, start again, and give every client the new file", caPath, ca.NotAfter.Format(time.DateOnly), dir)
	}
	crt, key := filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key")
	want := serverTemplate(names, now)
	server, serverKey, err := load(crt, key)
	if errors.Is(err, fs.ErrNotExist) || err == nil && stale(server, want, ca, now) {
		server, serverKey, err = make509(crt, key, want, ca, caKey)
	}
	if err != nil {
		return nil, "", fmt.Errorf("local certificate: %w", err)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{server.Raw, ca.Raw}, PrivateKey: serverKey, Leaf: server}},
		MinVersion:   tls.VersionTLS12,
		CipherSuites: []uint16{ // of TLS 1.2: authenticated encryption only; 1.3 has no other
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
		},
	}, caPath, nil
}

// stale reports whether the certificate must be made again.
func stale(have, want, ca *x509.Certificate, now time.Time) bool {
	for _, name := range want.DNSNames {
		if !slices.Contains(have.DNSNames, name) {
			return true
		}
	}
	for _, ip := range want.IPAddresses {
		if !slices.ContainsFunc(have.IPAddresses, ip.Equal) {
			return true
		}
	}
	return now.Add(renewAhead).After(have.NotAfter) || have.CheckSignatureFrom(ca) != nil
}

func caTemplate(now time.Time) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: "Porchlight local CA", Organization: []string{"Porchlight"}},
		NotBefore:             now.Add(-time.Hour), // for devices whose clocks are slow
		NotAfter:              now.Add(caLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
}

func serverTemplate(names []string, now time.Time) *x509.Certificate {
	t := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: "Porchlight gateway"},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(serverLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	all := append([]string{"localhost", "127.0.0.1", "::1"}, names...)
	if host, err := os.Hostname(); err == nil && host != "" {
		all = append(all, host)
	}
	for _, name := range all {
		if ip := net.ParseIP(name); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else if !slices.Contains(t.DNSNames, name) {
			t.DNSNames = append(t.DNSNames, name)
		}
	}
	return t
}

func serial() *big.Int {
	var b [16]byte
	rand.Read(b[:])
	b[0] &= 0x7f
	return new(big.Int).SetBytes(b[:])
}

// make509 makes a key and a certificate signed by ca, or by itself if ca is nil. The key is
// written first: a certificate without its key would look whole.
func make509(crtPath, keyPath string, template, ca *x509.Certificate, caKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if ca == nil {
		ca, caKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca, &key.PublicKey, caKey)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	// The old certificate goes first: after a crash in between, the pair is made anew.
	if err := os.Remove(crtPath); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	if err := write(keyPath, "PRIVATE KEY", keyDER, 0o600); err != nil {
		return nil, nil, err
	}
	if err := write(crtPath, "CERTIFICATE", der, 0o644); err != nil {
		return nil, nil, err
	}
	crt, err := x509.ParseCertificate(der)
	return crt, key, err
}

// write replaces a file in one step.
func write(path, kind string, der []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	err = errors.Join(pem.Encode(f, &pem.Block{Type: kind, Bytes: der}), f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// load reads a certificate and its key. The error wraps fs.ErrNotExist if the certificate is
// not there.
func load(crtPath, keyPath string) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	if _, err := os.Stat(crtPath); err != nil {
		return nil, nil, err
	}
	pair, err := tls.LoadX509KeyPair(crtPath, keyPath)
	if err != nil {
		return nil, nil, fmt.Errorf("read %s and %s: %v", crtPath, keyPath, err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, nil, fmt.Errorf("read %s: not an ECDSA key", keyPath)
	}
	return pair.Leaf, key, nil
}

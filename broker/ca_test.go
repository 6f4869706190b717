package broker

import (
	"crypto/tls"
	"crypto/x509"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestLocalCA(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	make := func(names []string, now time.Time) (*x509.Certificate, *x509.CertPool, []byte) {
		t.Helper()
		secure, path, err := LocalCA(dir, names, now)
		if err != nil {
			t.Fatal(err)
		}
		if path != filepath.Join(dir, "ca", "ca.crt") || secure.MinVersion != tls.VersionTLS12 {
			t.Errorf("path %s, least version %#x", path, secure.MinVersion)
		}
		pem, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			t.Fatal("ca.crt holds no certificate")
		}
		return secure.Certificates[0].Leaf, pool, pem
	}
	first, pool, ca := make([]string{"porch.local", "192.168.1.9"}, now)
	for _, name := range []string{"localhost", "127.0.0.1", "::1", "porch.local", "192.168.1.9"} {
		if _, err := first.Verify(x509.VerifyOptions{DNSName: name, Roots: pool, CurrentTime: now}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := first.Verify(x509.VerifyOptions{DNSName: "elsewhere.example", Roots: pool, CurrentTime: now}); err == nil {
		t.Error("the certificate is good for any name")
	}
	for file, want := range map[string]fs.FileMode{"ca.key": 0o600, "server.key": 0o600, "ca.crt": 0o644, "server.crt": 0o644} {
		info, err := os.Stat(filepath.Join(dir, "ca", file))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v, %v, want %v", file, info.Mode(), err, want)
		}
	}

	tests := map[string]struct {
		names []string
		at    time.Duration
		again bool // the certificate is made again
	}{
		"next day":          {[]string{"porch.local"}, 24 * time.Hour, false},
		"31 days left":      {nil, serverLife - 31*24*time.Hour, false},
		"29 days left":      {nil, serverLife - 29*24*time.Hour, true},
		"a name more":       {[]string{"porch.example"}, time.Hour, true},
		"after it is ended": {nil, serverLife + time.Hour, true},
	}
	for name, tc := range tests {
		keep := dir
		dir = t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(keep)); err != nil {
			t.Fatal(err)
		}
		got, pool, nowCA := make(tc.names, now.Add(tc.at))
		if again := got.SerialNumber.Cmp(first.SerialNumber) != 0; again != tc.again {
			t.Errorf("%s: made again %v, want %v", name, again, tc.again)
		}
		if string(nowCA) != string(ca) {
			t.Errorf("%s: the authority changed: every client would have to be told", name)
		}
		if _, err := got.Verify(x509.VerifyOptions{DNSName: "localhost", Roots: pool, CurrentTime: now.Add(tc.at)}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		dir = keep
	}

	if _, _, err := LocalCA(dir, nil, now.Add(caLife+time.Hour)); err == nil || !strings.Contains(err.Error(), "ca.crt ended on") {
		t.Errorf("an authority that has ended: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "ca", "ca.key")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := LocalCA(dir, nil, now); err == nil || !strings.Contains(err.Error(), "ca.key") {
		t.Errorf("an authority without its key: %v, want an error that names the file", err)
	}
}

// TestTLS looks at what is offered: nothing below 1.2, and of 1.2 authenticated encryption only.
func TestTLS(t *testing.T) {
	w := begin(t, nil)
	dial := func(c *tls.Config) error {
		c.RootCAs, c.ServerName = w.ca, "localhost"
		conn, err := tls.Dial("tcp", w.Addr("mqtts").String(), c)
		if err == nil {
			conn.Close()
		}
		return err
	}
	if err := dial(&tls.Config{}); err != nil {
		t.Error("1.3:", err)
	}
	if err := dial(&tls.Config{MaxVersion: tls.VersionTLS12}); err != nil {
		t.Error("1.2:", err)
	}
	if err := dial(&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("1.1 is offered")
	}
	if err := dial(&tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA}}); err == nil {
		t.Error("CBC is offered")
	}
	if err := func() error {
		c, err := tls.Dial("tcp", w.Addr("mqtts").String(), &tls.Config{ServerName: "localhost"})
		if err == nil {
			c.Close()
		}
		return err
	}(); err == nil {
		t.Error("a client that does not know the authority trusts it")
	}
}

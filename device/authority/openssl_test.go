package authority

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// openssl runs somebody else's implementation. ok is its exit status 0.
func openssl(t *testing.T, in string, args ...string) (out string, ok bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "openssl", args...)
	cmd.Stdin = strings.NewReader(in)
	b, err := cmd.CombinedOutput()
	if _, exit := err.(*exec.ExitError); err != nil && !exit {
		t.Fatal(err)
	}
	return string(b), err == nil
}

func TestOpenSSL(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not installed")
	}
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	c := at(start)
	d := openAt(t, dir, c, "porch.local")

	if out, _ := openssl(t, "", "x509", "-in", d.Path(), "-noout", "-fingerprint", "-sha256"); !strings.Contains(out, "="+d.Fingerprint()+"\n") {
		t.Errorf("fingerprint %s, openssl: %s", d.Fingerprint(), out)
	}

	// A request that openssl makes becomes a certificate that openssl verifies and logs in with.
	if out, ok := openssl(t, "", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=anything", "-keyout", path("tv.key"), "-outform", "DER", "-out", path("tv.csr")); !ok {
		t.Fatal(out)
	}
	csr, err := os.ReadFile(path("tv.csr"))
	if err != nil {
		t.Fatal(err)
	}
	key, spki, err := ParseRequest(csr)
	if err != nil {
		t.Fatal(err)
	}
	der, _, err := d.Issue("tv-1", spki, start)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, path("tv.crt"), der)
	if cert, err := x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	} else if got, err := d.Verify(cert, start); err != nil || got.Key != key {
		t.Errorf("%+v, %v", got, err)
	}
	when := func() []string { return []string{"-attime", fmt.Sprint(c.now().Unix()), "-x509_strict"} }
	for purpose, want := range map[string]bool{"sslclient": true, "sslserver": false} {
		args := append([]string{"verify", "-purpose", purpose, "-CAfile", d.Path()}, when()...)
		if out, ok := openssl(t, "", append(args, path("tv.crt"))...); ok != want {
			t.Errorf("openssl verify -purpose %s: %s", purpose, out)
		}
	}

	connect := func(trust string, more ...string) (string, bool) {
		args := append([]string{"s_client", "-connect", d.addr, "-CAfile", path(trust), "-verify_return_error", "-verify_hostname", ServerName}, when()...)
		return openssl(t, "", append(args, more...)...)
	}
	expect := func(stage string, want ...string) {
		t.Helper()
		for i, trust := range []string{"old.pem", "new.pem", "both.pem"} {
			for _, version := range []string{"-tls1_2", "-tls1_3"} {
				if _, err := os.Stat(path(trust)); err != nil {
					continue
				}
				out, ok := connect(trust, version)
				if wanted := want[i] == "yes"; ok != wanted || strings.Contains(out, "Verification: OK") != wanted {
					t.Errorf("%s, %s %s: verified %v, want %v: %s", stage, trust, version, ok, wanted, out)
				}
			}
		}
	}
	writePEM(t, path("old.pem"), d.CAs()...)
	expect("before", "yes", "", "")
	out, ok := connect("old.pem", "-cert", path("tv.crt"), "-key", path("tv.key"), "-ign_eof")
	if !ok || !strings.Contains(out, "\ntv-1\n") {
		t.Errorf("with its certificate: %s", out)
	}
	if out, ok = connect("old.pem", "-tls1_2", "-reconnect"); !ok || strings.Contains(out, "Reused") {
		t.Errorf("a session was resumed: %s", out)
	}
	if out, ok := connect("old.pem", "-verify_hostname", "elsewhere.example"); ok {
		t.Errorf("another name: %s", out)
	}

	c.pass(48 * time.Hour)
	d.rotate()
	writePEM(t, path("new.pem"), d.CAs()[0])
	writePEM(t, path("both.pem"), d.CAs()...)
	expect("during", "yes", "yes", "yes")
	d.retire()
	expect("after", "no", "yes", "yes")

	// The first kind.
	d = openAt(t, first(t), c)
	for _, name := range []string{"new.pem", "both.pem"} {
		os.Remove(path(name))
	}
	writePEM(t, path("old.pem"), d.CAs()...)
	expect("the first kind, before", "yes", "", "")
	d.rotate()
	writePEM(t, path("new.pem"), d.CAs()[1])
	writePEM(t, path("both.pem"), d.CAs()...)
	expect("the first kind, during", "yes", "no", "yes")
	d.retire()
	expect("the first kind, after", "no", "yes", "yes")
}

func writePEM(t *testing.T, path string, certs ...[]byte) {
	t.Helper()
	var b []byte
	for _, der := range certs {
		b = append(b, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

package authority

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"porchlight/device"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// clock is a time that a test moves.
type clock struct{ ms atomic.Int64 }

func at(t time.Time) *clock {
	c := &clock{}
	c.set(t)
	return c
}

func (c *clock) set(t time.Time)      { c.ms.Store(t.UnixMilli()) }
func (c *clock) now() time.Time       { return time.UnixMilli(c.ms.Load()).UTC() }
func (c *clock) String() string       { return c.now().Format(time.DateTime) }
func (c *clock) pass(d time.Duration) { c.set(c.now().Add(d)) }

// gateway is an authority, a listener with its settings that tells every client who it is, and a clock.
type gateway struct {
	*Authority
	t    testing.TB
	c    *clock
	addr string
}

func openAt(t testing.TB, dir string, c *clock, names ...string) *gateway {
	t.Helper()
	a, err := Open(dir, names, c.now)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", a.Server())
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { greet(a, conn.(*tls.Conn), c.now()) })
		}
	})
	t.Cleanup(func() { l.Close(); all.Wait() })
	return &gateway{a, t, c, l.Addr().String()}
}

// greet answers a client with a line that says whose its certificate is.
func greet(a *Authority, conn *tls.Conn, now time.Time) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	if conn.Handshake() != nil {
		return
	}
	who := "nobody"
	if certs := conn.ConnectionState().PeerCertificates; len(certs) > 0 {
		id, err := a.Verify(certs[0], now)
		if who = string(id.ID); err != nil {
			who = err.Error()
		}
	}
	fmt.Fprintln(conn, who)
}

// client is what a client trusts and shows.
type client struct {
	trust   [][]byte
	version uint16 // 0: any
	show    *tls.Certificate
	name    string // "": ServerName
	cache   tls.ClientSessionCache
}

// dial returns the listener's line and what the handshake came to.
func (d *gateway) dial(k client) (who string, s tls.ConnectionState, err error) {
	pool := x509.NewCertPool()
	for _, der := range k.trust {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return "", s, err
		}
		pool.AddCert(c)
	}
	cfg := &tls.Config{RootCAs: pool, ServerName: k.name, Time: d.c.now, MinVersion: k.version, MaxVersion: k.version, ClientSessionCache: k.cache}
	if k.name == "" {
		cfg.ServerName = ServerName
	}
	if k.show != nil {
		cfg.Certificates = []tls.Certificate{*k.show}
	}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 30 * time.Second}, "tcp", d.addr, cfg)
	if err != nil {
		return "", s, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	var line bytes.Buffer
	_, err = line.ReadFrom(conn)
	return strings.TrimSpace(line.String()), conn.ConnectionState(), err
}

// chain is what the listener presents to a client that looks at nothing.
func (d *gateway) chain() []*x509.Certificate {
	d.t.Helper()
	conn, err := tls.Dial("tcp", d.addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		d.t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates
}

func newKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func request(t testing.TB, r *x509.CertificateRequest, key any) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, r, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// enrol gives a device a certificate, the way it goes: request, Issue.
func (d *gateway) enrol(id device.ID) *tls.Certificate {
	d.t.Helper()
	key := newKey(d.t, elliptic.P256())
	_, spki, err := ParseRequest(request(d.t, &x509.CertificateRequest{}, key))
	if err != nil {
		d.t.Fatal(err)
	}
	der, end, err := d.Issue(id, spki, d.c.now())
	if err != nil {
		d.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		d.t.Fatal(err)
	}
	if !leaf.NotAfter.Equal(end) {
		d.t.Errorf("Issue says that it ends at %s, the certificate %s", end, leaf.NotAfter)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func (d *gateway) rotate() {
	d.t.Helper()
	if err := d.Rotate(d.c.now()); err != nil {
		d.t.Fatal(err)
	}
}

func (d *gateway) retire() {
	d.t.Helper()
	if err := d.Retire(); err != nil {
		d.t.Fatal(err)
	}
}

// expectKey looks whether the chain ends in the key that Key tells, and Path holds what CAs tells.
func (d *gateway) expectKey(when string) {
	d.t.Helper()
	chain := d.chain()
	if got := sha256.Sum256(chain[len(chain)-1].RawSubjectPublicKeyInfo); got != d.Key() {
		d.t.Errorf("%s: the chain ends in the key %x, Key says %x", when, got, d.Key())
	}
	all := d.CAs()
	first, err := x509.ParseCertificate(all[0])
	if err != nil || sha256.Sum256(first.RawSubjectPublicKeyInfo) != d.Key() {
		d.t.Errorf("%s: the first of CAs is not the current one (%v)", when, err)
	}
	if got := readPEM(d.t, d.Path()); !slices.EqualFunc(got, all, bytes.Equal) {
		d.t.Errorf("%s: %s holds %d CAs that are not the %d of CAs", when, d.Path(), len(got), len(all))
	}
}

func readPEM(t testing.TB, path string) (all [][]byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for {
		block, rest := pem.Decode(b)
		if block == nil {
			return all
		}
		all, b = append(all, block.Bytes), rest
	}
}

// first is a folder as the first gateways made it, at start.
func first(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "ca"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]fs.FileMode{"ca.crt": 0o644, "ca.key": 0o600, "server.crt": 0o644, "server.key": 0o600} {
		b, err := os.ReadFile(filepath.Join("testdata/first", name+".pem"))
		if err := errors.Join(err, os.WriteFile(filepath.Join(dir, "ca", name), b, mode)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestOpen(t *testing.T) {
	dir, c := t.TempDir(), at(start)
	d := openAt(t, dir, c, "porch.local", "192.168.1.9", "localhost", "127.0.0.1")
	for _, name := range []string{ServerName, "localhost", "127.0.0.1", "::1", "porch.local", "192.168.1.9"} {
		if _, _, err := d.dial(client{trust: d.CAs(), name: name}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := d.dial(client{trust: d.CAs(), name: "elsewhere.example"}); err == nil {
		t.Error("the certificate is good for any name")
	}
	if _, _, err := d.dial(client{}); err == nil {
		t.Error("a client that trusts nothing trusts us")
	}
	if leaf := d.chain()[0]; len(leaf.IPAddresses) != 3 {
		t.Errorf("addresses %v, want each once", leaf.IPAddresses)
	}
	for file, want := range map[string]fs.FileMode{"ca.key": 0o600, "ca.crt": 0o644} {
		info, err := os.Stat(filepath.Join(dir, "ca", file))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want %v", file, info, err, want)
		}
	}
	d.expectKey("new")
	s := d.Status()
	if len(s) != 1 || s[0].Role != Current || s[0].Fingerprint != d.Fingerprint() || s[0].NotAfter.Sub(start) != caLife {
		t.Errorf("status %+v", s)
	}
	again := openAt(t, dir, c)
	if again.Key() != d.Key() || again.Fingerprint() != d.Fingerprint() {
		t.Error("a restart made another CA")
	}
	if _, err := Open(t.TempDir(), []string{"porch.local", "straße.example"}, c.now); err == nil || !strings.Contains(err.Error(), "straße.example") {
		t.Errorf("a name that cannot be in a certificate: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	good := t.TempDir()
	openAt(t, good, at(start))
	key := filepath.Join("ca", keyFile)
	tests := map[string]struct {
		edit func(dir string) error
		at   time.Time
		want string // with %s for the path of the key
	}{
		"others can read the key":    {func(dir string) error { return os.Chmod(filepath.Join(dir, key), 0o644) }, start, "chmod 600 %s"},
		"the group can read the key": {func(dir string) error { return os.Chmod(filepath.Join(dir, key), 0o640) }, start, "chmod 600 %s"},
		"no key":                     {func(dir string) error { return os.Remove(filepath.Join(dir, key)) }, start, "%s is not there"},
		"a key cut short":            {func(dir string) error { return os.Truncate(filepath.Join(dir, key), 700) }, start, "%s: it ends in what is not PEM"},
		"an empty key":               {func(dir string) error { return os.Truncate(filepath.Join(dir, key), 0) }, start, "%s: 0 keys and 1 certificates"},
		"ended":                      {func(string) error { return nil }, start.Add(caLife + time.Hour), "ca.crt ended on 2046-02-24"},
		"another's key": {func(dir string) error {
			other := openAt(t, t.TempDir(), at(start))
			var b bytes.Buffer
			b.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: other.CAs()[0]}))
			mine, err := os.ReadFile(filepath.Join(dir, key))
			p, _ := pem.Decode(mine)
			pem.Encode(&b, p)
			return errors.Join(err, os.WriteFile(filepath.Join(dir, key), b.Bytes(), 0o600))
		}, start, "%s: key and certificate do not belong together"},
		"a request among them": {func(dir string) error {
			f, err := os.OpenFile(filepath.Join(dir, key), os.O_APPEND|os.O_WRONLY, 0)
			pem.Encode(f, &pem.Block{Type: "CERTIFICATE REQUEST"})
			return errors.Join(err, f.Close())
		}, start, `%s: a block "CERTIFICATE REQUEST" does not belong there`},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			err := errors.Join(os.CopyFS(dir, os.DirFS(good)), os.Chmod(filepath.Join(dir, key), 0o600), tc.edit(dir))
			if err != nil {
				t.Fatal(err)
			}
			before, _ := os.ReadFile(filepath.Join(dir, key))
			_, err = Open(dir, nil, at(tc.at).now)
			if want := strings.ReplaceAll(tc.want, "%s", filepath.Join(dir, key)); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Open = %v, want %q", err, want)
			}
			if after, _ := os.ReadFile(filepath.Join(dir, key)); !bytes.Equal(before, after) {
				t.Error("the key was written all the same")
			}
		})
	}
}

func TestVersions(t *testing.T) {
	d := openAt(t, t.TempDir(), at(start))
	tv := d.enrol("tv-1")
	tests := map[string]struct {
		least, most uint16
		suites      []uint16
		ok          bool
	}{
		"1.3": {least: tls.VersionTLS13, ok: true},
		"1.2": {most: tls.VersionTLS12, ok: true},
		"1.1": {least: tls.VersionTLS10, most: tls.VersionTLS11},
		"CBC": {most: tls.VersionTLS12, suites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA}},
	}
	for name, tc := range tests {
		conn, err := tls.Dial("tcp", d.addr, &tls.Config{InsecureSkipVerify: true, MinVersion: tc.least, MaxVersion: tc.most, CipherSuites: tc.suites, Certificates: []tls.Certificate{*tv}})
		if err == nil {
			conn.Close()
		}
		if (err == nil) != tc.ok {
			t.Errorf("%s: %v, want success %v", name, err, tc.ok)
		}
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		k := client{trust: d.CAs(), version: version, show: tv, cache: tls.NewLRUClientSessionCache(4)}
		for i := range 2 {
			who, s, err := d.dial(k)
			if err != nil || who != "tv-1" || s.Version != version || s.DidResume {
				t.Errorf("%s, connection %d: %q, %v, resumed %v", tls.VersionName(version), i, who, err, s.DidResume)
			}
		}
		if who, _, err := d.dial(client{trust: d.CAs(), version: version}); who != "nobody" {
			t.Errorf("%s without a certificate: %q, %v", tls.VersionName(version), who, err)
		}
	}
}

func TestRenewal(t *testing.T) {
	c := at(start)
	d := openAt(t, t.TempDir(), c)
	serial := d.chain()[0].SerialNumber
	tests := []struct {
		name  string
		at    time.Duration
		again bool
	}{
		{"next day", 24 * time.Hour, false},
		{"31 days left", serverLife - 31*24*time.Hour, false},
		{"29 days left", serverLife - 29*24*time.Hour, true},
		{"the new one, 31 days left", 2*serverLife - 60*24*time.Hour, false},
		{"long ended", 5 * serverLife, true},
		{"the clock goes back", 0, true},
	}
	for _, tc := range tests {
		c.set(start.Add(tc.at))
		if _, _, err := d.dial(client{trust: d.CAs()}); err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		now := d.chain()[0].SerialNumber
		if again := now.Cmp(serial) != 0; again != tc.again {
			t.Errorf("%s: made again %v, want %v", tc.name, again, tc.again)
		}
		serial = now
	}
}

// expect dials with every kind of trust and version. want names those that verify.
func (d *gateway) expect(when string, trust map[string][][]byte, want ...string) {
	d.t.Helper()
	d.expectKey(when)
	for name, roots := range trust {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			_, _, err := d.dial(client{trust: roots, version: version})
			if ok := slices.Contains(want, name); (err == nil) != ok {
				d.t.Errorf("%s, a client of %s that trusts %s: %v, want success %v", when, tls.VersionName(version), name, err, ok)
			}
		}
	}
}

func TestRotation(t *testing.T) {
	dir, c := t.TempDir(), at(start)
	d := openAt(t, dir, c)
	old := d.CAs()
	tv := d.enrol("tv-1")
	d.expect("before", map[string][][]byte{"old": old}, "old")
	if err := d.Retire(); !errors.Is(err, ErrNoOverlap) {
		t.Errorf("Retire outside a rotation = %v", err)
	}

	for round := range 3 { // the CA that a rotation made can be rotated in turn
		c.pass(24 * time.Hour)
		d.rotate()
		both := d.CAs()
		trust := map[string][][]byte{"old": old, "new": both[:1], "both": both}
		if len(both) != 2 || !bytes.Equal(both[1], old[0]) {
			t.Fatalf("CAs: %d, want the new one and the old one", len(both))
		}
		if s := d.Status(); s[0].Role != Current || s[1].Role != Previous {
			t.Errorf("status %+v", s)
		}
		if err := d.Rotate(c.now()); !errors.Is(err, ErrOverlap) {
			t.Errorf("a second Rotate = %v", err)
		}
		d.expect("during", trust, "old", "new", "both")
		if n := strings.Count(string(read(t, dir, keyFile)), "PRIVATE KEY"); n != 2 {
			t.Errorf("%d lines with PRIVATE KEY, want those of one key: the one before is destroyed", n)
		}
		c.pass(serverLife)
		d.expect("during, after a renewal", trust, "old", "new", "both")
		d = openAt(t, dir, c)
		d.expect("during, after a restart", trust, "old", "new", "both")

		// Devices are known by either, and are told to change over.
		tv2 := d.enrol("tv-2")
		for id, cert := range map[device.ID]*tls.Certificate{"tv-1": tv, "tv-2": tv2} {
			got, err := d.Verify(cert.Leaf, c.now())
			if err != nil || got.ID != id || got.Leaving != (id == "tv-1") {
				t.Errorf("during, %s: %+v, %v", id, got, err)
			}
		}

		d.retire()
		d.expect("after", trust, "new", "both")
		if _, err := d.Verify(tv.Leaf, c.now()); !errors.Is(err, ErrForeign) {
			t.Errorf("after, a certificate of the CA before: %v", err)
		}
		if got, err := d.Verify(tv2.Leaf, c.now()); err != nil || got.Leaving {
			t.Errorf("after, a certificate of the new CA: %+v, %v", got, err)
		}
		d = openAt(t, dir, c)
		d.expect(fmt.Sprint("after, after a restart, round ", round), trust, "new", "both")
		old, tv = d.CAs(), d.enrol("tv-1")
	}
}

// TestFirst takes up what the first gateways made.
func TestFirst(t *testing.T) {
	dir, c := first(t), at(start.Add(time.Hour))
	old := readPEM(t, filepath.Join(dir, "ca", crtFile))
	d := openAt(t, dir, c)
	tv := d.enrol("tv-1")
	trust := map[string][][]byte{"old": old}
	d.expect("taken up", trust, "old")
	if got := names(t, filepath.Join(dir, "ca")); !slices.Equal(got, []string{"ca.crt", "ca.key"}) {
		t.Errorf("files %v: the certificate for listeners is no longer kept", got)
	}
	d = openAt(t, dir, c)
	d.expect("after a restart", trust, "old")

	d.rotate()
	both := d.CAs()
	trust["new"], trust["both"] = both[1:], both
	for _, when := range []string{"during", "during, after a restart"} {
		d.expect(when, trust, "old", "both")
		if s := d.Status(); len(s) != 2 || s[0].Role != Current || s[1].Role != Next || !bytes.Equal(both[0], old[0]) {
			t.Errorf("%s: status %+v", when, s)
		}
		if err := d.Rotate(c.now()); !errors.Is(err, ErrOverlap) {
			t.Errorf("%s: a second Rotate = %v", when, err)
		}
		c.pass(serverLife) // the old CA renews the certificate for listeners
		d = openAt(t, dir, c)
	}
	c.set(start.Add(time.Hour))
	tv2 := d.enrol("tv-2")
	for id, cert := range map[device.ID]*tls.Certificate{"tv-1": tv, "tv-2": tv2} {
		if got, err := d.Verify(cert.Leaf, c.now()); err != nil || got.Leaving != (id == "tv-1") {
			t.Errorf("during, %s: %+v, %v", id, got, err)
		}
	}
	d.retire()
	d.expect("after", trust, "new", "both")
	if _, err := d.Verify(tv.Leaf, c.now()); !errors.Is(err, ErrForeign) {
		t.Errorf("after, a certificate of the CA before: %v", err)
	}
	if _, err := d.Verify(tv2.Leaf, c.now()); err != nil {
		t.Errorf("after, a certificate of the new CA: %v", err)
	}
	old = d.CAs()
	d.rotate()
	trust = map[string][][]byte{"old": old, "new": d.CAs()[:1], "both": d.CAs()}
	d.expect("during the next", trust, "old", "new", "both")
}

// TestEndInRotation lets the older CA end before Retire.
func TestEndInRotation(t *testing.T) {
	for name, dir := range map[string]string{"cross-signed": t.TempDir(), "first kind": first(t)} {
		c := at(start.Add(time.Hour))
		d := openAt(t, dir, c)
		old, tv := d.CAs(), d.enrol("tv-1")
		c.set(start.Add(caLife - 24*time.Hour))
		d.rotate()
		newest := [][]byte{d.line().newest.cert.Raw}
		d.expectKey(name)
		c.pass(48 * time.Hour)
		if _, _, err := d.dial(client{trust: newest}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, _, err := d.dial(client{trust: old}); err == nil {
			t.Errorf("%s: a CA that has ended is good for ever", name)
		}
		if _, err := d.Verify(tv.Leaf, c.now()); !errors.Is(err, ErrForeign) {
			t.Errorf("%s: %v", name, err)
		}
		if got := d.CAs(); !slices.EqualFunc(got, newest, bytes.Equal) {
			t.Errorf("%s: %d CAs in force", name, len(got))
		}
		d = openAt(t, dir, c)
		d.expectKey(name)
		d.rotate()
		d.expect(name, map[string][][]byte{"old": newest, "new": d.CAs()[:1]}, "old", "new")
	}
}

func TestExport(t *testing.T) {
	for name, dir := range map[string]string{"cross-signed": t.TempDir(), "first kind": first(t)} {
		c := at(start.Add(time.Hour))
		d := openAt(t, dir, c)
		tv := d.enrol("tv-1")
		for _, when := range []string{"before", "during", "after"} {
			switch when {
			case "during":
				d.rotate()
			case "after":
				tv = d.enrol("tv-1")
				d.retire()
			}
			var b bytes.Buffer
			if err := d.ExportKey(&b); err != nil {
				t.Fatal(err)
			}
			back := t.TempDir()
			path := filepath.Join(back, "ca", keyFile)
			if err := errors.Join(os.Mkdir(filepath.Join(back, "ca"), 0o755), os.WriteFile(path, b.Bytes(), 0o600)); err != nil {
				t.Fatal(err)
			}
			got := openAt(t, back, c)
			if got.Key() != d.Key() || !slices.EqualFunc(got.CAs(), d.CAs(), bytes.Equal) || !slices.Equal(got.Status(), d.Status()) {
				t.Errorf("%s, %s: the copy is not what it is a copy of: %v, want %v", name, when, got.Status(), d.Status())
			}
			got.expect(name+", "+when, map[string][][]byte{"all": d.CAs(), "current": d.CAs()[:1]}, "all", "current")
			if _, err := got.Verify(tv.Leaf, c.now()); err != nil {
				t.Errorf("%s, %s: %v", name, when, err)
			}
			if when == "during" {
				got.retire()
				d.expectKey(when)
			}
		}
	}
}

// TestDisk lets a file be impossible to write.
func TestDisk(t *testing.T) {
	dir := t.TempDir()
	d := openAt(t, dir, at(start))
	tv, key, status := d.enrol("tv-1"), read(t, dir, keyFile), d.Status()
	block := func(name string) (mend func()) { // no file can take the place of a folder
		path := filepath.Join(dir, "ca", name)
		if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
			t.Fatal(err)
		}
		return func() {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, name := range []string{crtFile, keyFile} {
		mend := block(name)
		if err := d.Rotate(start); err == nil || !slices.Equal(d.Status(), status) {
			t.Errorf("Rotate without %s = %v, status %v", name, err, d.Status())
		}
		mend()
		if name == keyFile {
			if err := os.WriteFile(filepath.Join(dir, "ca", keyFile), key, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if again := openAt(t, dir, at(start)); !slices.Equal(again.Status(), status) {
			t.Errorf("after a Rotate that failed: status %v, want %v", again.Status(), status)
		}
		d.expectKey("after a Rotate that failed and a restart")
	}

	d.rotate()
	mend := block(crtFile)
	if err := d.Retire(); err == nil || !strings.Contains(err.Error(), "it is done, but") || len(d.Status()) != 1 {
		t.Errorf("Retire = %v, status %v", err, d.Status())
	}
	if _, err := d.Verify(tv.Leaf, start); !errors.Is(err, ErrForeign) {
		t.Errorf("a certificate of the CA before: %v", err)
	}
	mend()
	again := openAt(t, dir, at(start))
	again.expectKey("after a Retire that could not tell")
	if again.Key() != d.Key() {
		t.Error("the retired CA is back")
	}
}

// TestRotationAtWork lets clients come and go while CAs change.
func TestRotationAtWork(t *testing.T) {
	c := at(start)
	d := openAt(t, t.TempDir(), c)
	trust, tv := d.CAs(), d.enrol("tv-1")
	work := func(change func()) {
		begun := make(chan struct{}, 100)
		var all sync.WaitGroup
		for i := range 4 {
			version := uint16(tls.VersionTLS12 + i%2)
			all.Go(func() {
				for range 10 {
					who, _, err := d.dial(client{trust: trust, version: version, show: tv})
					if err != nil || who != "tv-1" {
						t.Errorf("%q, %v", who, err)
					}
					begun <- struct{}{}
				}
			})
		}
		all.Go(func() {
			for range 40 {
				if _, _, err := d.Issue("tv-2", tv.Leaf.RawSubjectPublicKeyInfo, start); err != nil {
					t.Error(err)
				}
				if n := len(d.CAs()); n != len(d.Status()) && n > 2 {
					t.Errorf("%d CAs", n)
				}
				d.Key()
				d.Fingerprint()
			}
		})
		for range 4 {
			<-begun
		}
		change()
		all.Wait()
	}
	for range 3 {
		work(d.rotate) // the clients trust the old one only
		trust, tv = d.CAs()[:1], d.enrol("tv-1")
		work(func() { c.pass(serverLife - renewAhead + time.Hour) })
		work(d.retire) // and now the new one only
		tv = d.enrol("tv-1")
	}
}

func read(t testing.TB, dir, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "ca", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func names(t testing.TB, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

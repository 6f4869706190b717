// Package authority is the gateway's own certificate authority: it signs the certificate that the
// gateway's listeners present and the certificates that devices log in with.
//
// In: a folder, the gateway's names, certificate requests, the certificates that clients present.
// Out: TLS settings, certificates, whose a certificate is. Never: a book of what was issued or
// revoked (the registry's: a certificate that verifies here may still be revoked there), a key
// outside its folder (but for ExportKey), a connection of its own.
package authority

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// ServerName is a DNS name that the gateway's certificate always has. A client that trusts nothing
// but this authority verifies this name, whatever address it dialled.
const ServerName = "porchlight"

const (
	caLife     = 20 * 365 * 24 * time.Hour
	serverLife = 365 * 24 * time.Hour
	renewAhead = 30 * 24 * time.Hour
	early      = 24 * time.Hour // certificates begin so long before now, for devices whose clocks are slow
)

var (
	// ErrOverlap refuses a second rotation while the first is going on.
	ErrOverlap = errors.New("a rotation is going on: retire the CA before first")
	// ErrNoOverlap refuses to end a rotation that is not going on.
	ErrNoOverlap = errors.New("no rotation is going on")
)

// Authority signs and verifies. It is safe for concurrent use. One process at a time may have a
// folder open: whoever holds the lock of the gateway's database.
type Authority struct {
	// Life is how long a certificate of a device is good for; 0 means one year. Set it before
	// the first call.
	Life time.Duration

	dir   string // the folder ca
	names []string
	now   func() time.Time

	mu    sync.Mutex // held by whoever replaces state or writes files
	state atomic.Pointer[state]
}

// state is replaced as a whole, never changed, so that a reader never meets half a rotation.
type state struct {
	line   line
	server *tls.Certificate // the last that was presented: see fresh
}

// Open opens the authority in dir/ca, or makes it: one CA, good for 20 years, with a P-256 key.
// Its key and all its certificates are in ca.key, readable by the owner only; ca.crt is for the
// clients and made from it. A folder of the first kind, where ca.key holds the key alone, is
// taken up as it is. The certificate that listeners present is made here and kept in memory only,
// for names, localhost, 127.0.0.1, ::1, this host's name and ServerName.
//
// now is asked for the time at every handshake, from many goroutines. Open fails if ca.key can be
// read by others than its owner, is missing while ca.crt is there, is damaged, or if the CA has ended.
func Open(dir string, names []string, now func() time.Time) (*Authority, error) {
	a := &Authority{dir: filepath.Join(dir, "ca"), names: names, now: now}
	if err := a.open(now()); err != nil {
		return nil, fmt.Errorf("local certificate authority: %w", err)
	}
	return a, nil
}

// Verify reports what is wrong with the authority in the folder dir, which Open would open; it changes nothing.
func Verify(dir string) error {
	l, err := load(filepath.Join(dir, "ca"))
	if err == nil && l.newest.cert == nil {
		err = fmt.Errorf("there is none in %s", dir)
	}
	if err != nil {
		return fmt.Errorf("local certificate authority: %w", err)
	}
	return nil
}

func (a *Authority) open(now time.Time) error {
	if err := os.MkdirAll(a.dir, 0o755); err != nil {
		return err
	}
	l, err := load(a.dir)
	if err != nil {
		return err
	}
	if l.newest.cert == nil {
		// The clock of a machine that starts for the first time may be wrong, and all clients are to trust this for long.
		earliest, latest := released, now
		if now.Before(released) {
			earliest, latest = now, released
		}
		if l.newest, err = newCA(earliest, latest); err != nil {
			return err
		}
	}
	l = l.at(now)
	if end := l.newest.cert.NotAfter; now.After(end) {
		return fmt.Errorf("%s ended on %s: remove %s, start again, and give every client the new file", a.Path(), end.Format(time.DateOnly), a.dir)
	}
	server, err := a.newServer(l, now)
	if err != nil {
		return err
	}
	if err := tidy(a.dir, l); err != nil {
		return err
	}
	a.state.Store(&state{l, server})
	return nil
}

// Server returns TLS settings for a listener: TLS 1.2 and 1.3, authenticated encryption only, the
// certificate chosen at every handshake, so that a rotation and the yearly renewal (30 days ahead)
// take effect at once. Clients are asked for a certificate and may have none; it is not verified
// here, so that a device that was off for long can still ask for a new one: whoever lets a client
// in calls Verify with the first of its PeerCertificates, and asks the registry, on every connection.
//
// There are no session tickets. A session that is resumed shows the PeerCertificates of the one it
// goes on from: nobody proves anew to have the key, and the client does not look at our certificate
// again, so a stolen ticket would be an identity, and a retired CA would live as long as its tickets.
// Little is lost: the keys of tickets would end with this process, and it is after its end
// that all devices come back at once.
func (a *Authority) Server() *tls.Config {
	return &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return a.server() },
		ClientAuth:     tls.RequestClientCert,
		MinVersion:     tls.VersionTLS12,
		CipherSuites: []uint16{ // of TLS 1.2; 1.3 has no other
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
		},
		SessionTicketsDisabled: true,
	}
}

// server is the certificate to present now. It is made again when it ends within 30 days, has not
// begun (the clock was set back), or another chain is called for.
func (a *Authority) server() (*tls.Certificate, error) {
	now := a.now()
	if s := a.state.Load(); s.fresh(now) {
		return s.server, nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.state.Load()
	if s.fresh(now) {
		return s.server, nil
	}
	server, err := a.newServer(s.line, now)
	if err != nil {
		return nil, err
	}
	a.state.Store(&state{s.line, server})
	return server, nil
}

// fresh reports whether the certificate that was presented last still does.
func (s *state) fresh(now time.Time) bool {
	_, above := s.line.at(now).presented()
	leaf := s.server.Leaf
	return !now.Before(leaf.NotBefore) && !now.Add(renewAhead).After(leaf.NotAfter) && bytes.Equal(s.server.Certificate[1], above.Raw)
}

// Path is the file that clients are given to trust: PEM of all CAs in force, the current one first.
func (a *Authority) Path() string { return filepath.Join(a.dir, crtFile) }

// CAs are the certificates of the CAs in force, DER, the current one first. A device is given all
// of them: the second may be the one that remains.
func (a *Authority) CAs() [][]byte {
	var all [][]byte
	for _, c := range a.line().inForce() {
		all = append(all, c.Raw)
	}
	return all
}

// Key is SHA-256 of the current CA's SubjectPublicKeyInfo. The last certificate of the chain that
// listeners present always has this key, also during a rotation.
func (a *Authority) Key() [32]byte {
	ca, _ := a.line().presented()
	return sha256.Sum256(ca.cert.RawSubjectPublicKeyInfo)
}

// Fingerprint is SHA-256 of the current CA's certificate, the first in the file at Path, spelled as
// "openssl x509 -fingerprint -sha256" does. During a rotation listeners present another
// certificate of the same CA: what looks at the chain compares Key.
func (a *Authority) Fingerprint() string {
	ca, _ := a.line().presented()
	return fingerprint(ca.cert)
}

// Role is what a CA in force is there for.
type Role string

// The roles. Outside a rotation there is only a Current CA, which does everything.
const (
	Current  Role = "current"  // the certificate that listeners present leads to it
	Previous Role = "previous" // still trusted, signs nothing more, goes at Retire
	Next     Role = "next"     // signs devices' certificates; becomes current at Retire
)

// CA is what there is to know of a CA in force.
type CA struct {
	Fingerprint         string // SHA-256 of its certificate, in openssl's spelling
	NotBefore, NotAfter time.Time
	Role                Role
}

// Rotating says when the rotation that goes on began: what was issued before then has not followed it.
// ok is false if none goes on.
func (a *Authority) Rotating() (since time.Time, ok bool) {
	all := a.line().inForce()
	for _, c := range all {
		if made := c.NotBefore.Add(early); made.After(since) {
			since = made
		}
	}
	return since, len(all) > 1
}

// Status lists the CAs in force, the current one first.
func (a *Authority) Status() []CA {
	l := a.line()
	var all []CA
	for i, c := range l.inForce() {
		role := Current
		switch {
		case i > 0 && c == l.newest.cert:
			role = Next
		case i > 0:
			role = Previous
		}
		all = append(all, CA{fingerprint(c), c.NotBefore, c.NotAfter, role})
	}
	return all
}

// Rotate makes a new CA. From then on it signs devices' certificates, and both CAs are in force
// until Retire: clients are given the new file at Path, and devices new certificates, in the meantime.
//
// The new CA becomes the current one, and listeners present a certificate of its own together with
// its key signed by the CA before, whose own key is destroyed: clients that trust the one, the
// other or both all verify. A CA that the first gateways made may not sign another (its path length is
// 0). It stays the current one until Retire, listeners present what it signed, and the new CA is Next:
// clients that trust only the new one do not verify before Retire.
//
// It fails with ErrOverlap while an earlier rotation goes on. After an error nothing has changed.
func (a *Authority) Rotate(now time.Time) error {
	err := a.replace(func(l line) (line, error) {
		if l = l.at(now); l.older.cert != nil {
			return line{}, ErrOverlap
		}
		newest, err := newCA(now, now)
		if err != nil {
			return line{}, err
		}
		next := line{newest: newest, older: l.newest}
		if l.newest.cert.MaxPathLen != 0 {
			if next.cross, err = crossSign(newest.cert, l.newest); err != nil {
				return line{}, err
			}
			next.older.key = nil
		}
		return next, nil
	})
	if err != nil {
		return fmt.Errorf("rotate the local CA: %w", err)
	}
	return nil
}

// Retire ends a rotation: the older CA is no longer in force. Certificates of devices that it signed
// no longer verify; connections that are open stay so until somebody ends them. It fails with
// ErrNoOverlap if no rotation is going on. If only the file at Path cannot be written, the error says so.
func (a *Authority) Retire() error {
	err := a.replace(func(l line) (line, error) {
		if l.older.cert == nil {
			return line{}, ErrNoOverlap
		}
		return line{newest: l.newest}, nil
	})
	if err != nil {
		return fmt.Errorf("retire the local CA before: %w", err)
	}
	return nil
}

// replace puts another line in force: on disk, then in memory. ca.key decides; ca.crt names more
// rather than less while the two differ, and Open makes it anew.
func (a *Authority) replace(f func(line) (line, error)) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.state.Load()
	l, err := f(s.line)
	if err != nil {
		return err
	}
	crt := filepath.Join(a.dir, crtFile)
	if l.older.cert != nil {
		if err := write(crt, l.bundle(), 0o644); err != nil {
			return err
		}
	}
	if err := write(filepath.Join(a.dir, keyFile), l.encode(), 0o600); err != nil {
		return err
	}
	a.state.Store(&state{l, s.server})
	if l.older.cert == nil {
		if err := write(crt, l.bundle(), 0o644); err != nil {
			return fmt.Errorf("it is done, but the file for the clients is the old one until the next start: %w", err)
		}
	}
	return nil
}

// ExportKey writes the private keys and certificates of the CAs in force, PEM. Whoever has them can
// be this gateway. Put in place as ca/ca.key, with mode 0600, Open takes them up again.
func (a *Authority) ExportKey(w io.Writer) error {
	_, err := w.Write(a.state.Load().line.encode())
	return err
}

func (a *Authority) line() line { return a.state.Load().line.at(a.now()) }

// released is before every gateway's first start by a right clock.
var released = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// newCA makes a key and a certificate signed by itself. Each CA has a name of its own, because
// clients that look for the signer by name alone would take two of one name for the same. It is good whatever the time
// is, from earliest to latest, and for caLife after.
func newCA(earliest, latest time.Time) (ca, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return ca{}, err
	}
	spki, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return ca{}, err
	}
	hash := sha256.Sum256(spki)
	t := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "Porchlight local CA " + hex.EncodeToString(hash[:4]), Organization: []string{"Porchlight"}},
		NotBefore:             earliest.Add(-early),
		NotAfter:              latest.Add(caLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLen:            1, // so that it can sign the next
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	cert, err := sign(t, ca{cert: t, key: key}, &key.PublicKey)
	return ca{cert, key}, err
}

// crossSign makes a certificate for the key and name of next, signed by the CA before.
func crossSign(next *x509.Certificate, before ca) (*x509.Certificate, error) {
	end := next.NotAfter
	if before.cert.NotAfter.Before(end) {
		end = before.cert.NotAfter
	}
	return sign(&x509.Certificate{
		RawSubject:            next.RawSubject,
		SubjectKeyId:          next.SubjectKeyId,
		NotBefore:             next.NotBefore,
		NotAfter:              end,
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              next.KeyUsage,
	}, before, next.PublicKey)
}

// newServer makes the certificate that listeners present, with a key of its own, and its chain.
func (a *Authority) newServer(l line, now time.Time) (*tls.Certificate, error) {
	by, above := l.at(now).presented()
	t := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "Porchlight gateway"},
		NotBefore:   now.Add(-early),
		NotAfter:    now.Add(serverLife),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	all := append([]string{ServerName, "localhost", "127.0.0.1", "::1"}, a.names...)
	if host, err := os.Hostname(); err == nil && plainName(host) {
		all = append(all, host)
	}
	for _, name := range all {
		if ip := net.ParseIP(name); ip == nil {
			if !slices.Contains(t.DNSNames, name) {
				t.DNSNames = append(t.DNSNames, name)
			}
		} else if !slices.ContainsFunc(t.IPAddresses, ip.Equal) {
			t.IPAddresses = append(t.IPAddresses, ip)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	leaf, err := sign(t, by, &key.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("certificate for the names %q: %w", a.names, err)
	}
	return &tls.Certificate{Certificate: [][]byte{leaf.Raw, above.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

// plainName reports whether a host's name, which nobody chose for a certificate, can stand in one.
func plainName(host string) bool {
	return host != "" && strings.Trim(strings.ToLower(host), "abcdefghijklmnopqrstuvwxyz0123456789-_.") == "" && !strings.HasSuffix(host, ".")
}

// sign makes a certificate for the key pub, signed by by, with a random serial number.
func sign(t *x509.Certificate, by ca, pub any) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, t, by.cert, pub, by.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func fingerprint(c *x509.Certificate) string {
	hash := sha256.Sum256(c.Raw)
	return strings.ReplaceAll(fmt.Sprintf("% X", hash), " ", ":")
}

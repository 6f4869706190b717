package sim

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"porchlight/device"
	"porchlight/device/wire"
)

// identity is who the device is, and what it shows for it.
type identity struct {
	ID   device.ID    `json:"id"`
	Name string       `json:"name,omitempty"` // that the gateway's certificate has; "": the one that was dialled
	Keys []credential `json:"keys"`           // the newest first; at most two, and one of them works
}

// credential is one thing that opens the gateway's door: a key with its certificate, or a token.
type credential struct {
	Key         []byte   `json:"key,omitempty"` // P-256, PKCS #8
	Certificate []byte   `json:"certificate,omitempty"`
	Token       string   `json:"token,omitempty"`
	CAs         [][]byte `json:"cas,omitempty"` // that came with it, to be trusted as long as it is kept
}

func (c credential) same(o credential) bool {
	return c.Token == o.Token && bytes.Equal(c.Certificate, o.Certificate)
}

// check fails if c, which has just come, is not what was asked for with its key, or without one.
func (c credential) check(now time.Time) error {
	for _, der := range c.CAs {
		if _, err := x509.ParseCertificate(der); err != nil {
			return fmt.Errorf("an authority's certificate: %w", err)
		}
	}
	if c.Key == nil {
		if c.Token == "" {
			return errors.New("a certificate came, a token was asked for")
		}
		return nil
	}
	if c.Token != "" {
		return errors.New("a token came, a certificate was asked for")
	}
	pair, err := c.pair()
	if err != nil {
		return err
	}
	if !pair.PrivateKey.(*ecdsa.PrivateKey).PublicKey.Equal(pair.Leaf.PublicKey) {
		return errors.New("the certificate is for another key")
	}
	if now.After(pair.Leaf.NotAfter) {
		return fmt.Errorf("the certificate has ended on %s", pair.Leaf.NotAfter.UTC().Format(time.DateTime))
	}
	return nil
}

// pair is c for a TLS handshake.
func (c credential) pair() (tls.Certificate, error) {
	key, err := parseKey(c.Key)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(c.Certificate)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("the certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{c.Certificate}, PrivateKey: key, Leaf: leaf}, nil
}

// ended reports whether c is a certificate whose time is over.
func (c credential) ended(now time.Time) bool {
	leaf, err := x509.ParseCertificate(c.Certificate)
	return err == nil && now.After(leaf.NotAfter)
}

// newKey makes a P-256 key, as PKCS #8.
func newKey() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return x509.MarshalPKCS8PrivateKey(key)
}

func parseKey(der []byte) (*ecdsa.PrivateKey, error) {
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("the device's key: %w", err)
	}
	if key, ok := key.(*ecdsa.PrivateKey); ok {
		return key, nil
	}
	return nil, errors.New("the device's key is not for ECDSA")
}

// request makes the certificate request for a key, and the hash by which the key is known; nothing
// and zero for no key.
func request(key []byte) (csr []byte, hash [wire.HashSize]byte, err error) {
	if key == nil {
		return nil, hash, nil
	}
	k, err := parseKey(key)
	if err != nil {
		return nil, hash, err
	}
	spki, err := x509.MarshalPKIXPublicKey(k.Public())
	if err != nil {
		return nil, hash, fmt.Errorf("the device's key: %w", err)
	}
	csr, err = x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{SignatureAlgorithm: x509.ECDSAWithSHA256}, k)
	if err != nil {
		return nil, hash, fmt.Errorf("make a certificate request: %w", err)
	}
	return csr, sha256.Sum256(spki), nil
}

// who is the device, and what it can connect with, the best first. ID is "" if it is not enrolled.
func (fw *firmware) who() identity {
	cfg := fw.cfg
	given := cfg.ID
	if given == fw.book.Forgot {
		given = ""
	}
	var id identity
	if own := fw.book.Identity; own != nil && (given == "" || given == own.ID || cfg.Enrol != nil) {
		id = *own
		id.Keys = slices.Clone(own.Keys)
	} else {
		id.ID = given
	}
	if token := (credential{Token: cfg.Token}); given != "" && given == id.ID && !slices.ContainsFunc(id.Keys, token.same) {
		id.Keys = append(id.Keys, token)
	}
	return id
}

// roots are the authorities that came with c; those of the configuration if none did.
func (fw *firmware) roots(c credential) *x509.CertPool {
	if c.CAs == nil {
		return fw.cfg.Roots
	}
	pool := x509.NewCertPool()
	for _, der := range c.CAs {
		if ca, err := x509.ParseCertificate(der); err == nil {
			pool.AddCert(ca)
		}
	}
	return pool
}

// askKey asks the gateway for a new credential, of the kind that this connection has. It does so
// with a new key each time, and not too often.
func (fw *firmware) askKey(now time.Time) {
	if fw.out == nil {
		return
	}
	if now.Before(fw.askNext) {
		fw.askAt = fw.askNext
		return
	}
	fw.askAt, fw.askNext = time.Time{}, now.Add(fw.cfg.patience())
	var key, csr []byte
	var err error
	if fw.used.Key != nil {
		if key, err = newKey(); err == nil {
			csr, _, err = request(key)
		}
	}
	var payload []byte
	if err == nil {
		payload, err = wire.Encode(wire.KeyRequest{Seq: fw.seq, CSR: csr})
	}
	if err != nil {
		fw.note(Event{Kind: Trouble, Why: err.Error()})
		return
	}
	fw.seq++
	fw.wanted, fw.wantedKey = true, key
	fw.out(frame{leaf: wire.UpKey, payload: payload, qos: 1})
}

// noteOverdue is told of a connection that ends. One on which the gateway has asked for a new key
// and sent no beacon is, to the gateway, one with a certificate that has ended.
func (fw *firmware) noteOverdue() {
	if fw.keyAsked && !fw.beaconed && fw.used.Key != nil {
		fw.overdue = fw.used
	}
}

// ended reports whether a connection made with c is for a new key only.
func (fw *firmware) ended(now time.Time, c credential) bool {
	if c.Key == nil {
		return false
	}
	told := fw.overdue.same(c) || fw.keyAsked // before the birth: it is not asked for
	fw.overdue = credential{}
	return told || c.ended(now)
}

// issued takes in a new credential. It is in the book, beside the one that works, before the
// device uses it.
func (fw *firmware) issued(now time.Time, k wire.KeyIssued) error {
	if !fw.wanted {
		return errors.New("a key came that was not asked for")
	}
	c := credential{Key: fw.wantedKey, Certificate: k.Certificate, Token: k.Token, CAs: k.CAs}
	fw.wanted, fw.keyAsked = false, false
	if err := c.check(now); err != nil {
		return err
	}
	id := fw.who()
	id.Keys = []credential{c}
	if fw.used.Key != nil || fw.used.Token != fw.cfg.Token { // the configuration's need not be kept
		id.Keys = append(id.Keys, fw.used)
	}
	b := fw.book
	b.Identity, b.dirty = &id, true
	if err := b.save(); err != nil {
		return err
	}
	kept, err := fw.keeps(c)
	if err != nil {
		return err
	}
	fw.book = b
	why := "has a new key, and connects anew to use it"
	if !kept {
		why += "; it has no memory to keep it in"
	}
	fw.note(Event{Kind: Rekeyed, Why: why})
	fw.out(frame{last: true})
	return nil
}

// keeps reports whether c outlives the device's power: in its book, or else, if it is a token, where the one of the
// configuration came from.
func (fw *firmware) keeps(c credential) (bool, error) {
	if fw.book.path != "" {
		return true, nil
	}
	if fw.cfg.keep == nil || c.Token == "" {
		return false, nil
	}
	return true, fw.cfg.keep(c.Token)
}

// proven forgets the credential before the one that this connection was made with, which works.
func (fw *firmware) proven() {
	if own := fw.book.Identity; own != nil && len(own.Keys) > 1 && own.Keys[0].same(fw.used) {
		id := *own
		id.Keys = id.Keys[:1:1]
		fw.book.Identity, fw.book.dirty = &id, true
		fw.note(Event{Kind: Rekeyed, Why: "uses its new key, and has forgotten the old one"})
	}
}

// fellBack forgets the credentials that were refused before c was taken. The gateway asks for
// another when it wants one.
func (fw *firmware) fellBack(c credential) {
	fw.note(Event{Kind: Rekeyed, Why: "goes on with its old key: the new one was refused"})
	if _, err := fw.keeps(c); err != nil {
		fw.note(Event{Kind: Trouble, Why: err.Error()})
	}
	own := fw.book.Identity
	if own == nil {
		return
	}
	fw.book.dirty = true
	if i := slices.IndexFunc(own.Keys, c.same); i >= 0 {
		id := *own
		id.Keys = slices.Clone(own.Keys[i:])
		fw.book.Identity = &id
	} else {
		fw.book.Identity = nil // what the configuration says is left
	}
}

// A device that its gateway does not know any more is told so at least forgetAfter times, over
// forgetWithin or more, before it believes it.
const (
	forgetAfter  = 3
	forgetWithin = 10 * time.Minute
)

// refused takes in that the gateway knows none of the device's credentials. Nothing else that can
// go wrong makes a device forget who it is, and nothing at all if it has no way to enrol anew.
func (fw *firmware) refused(now time.Time) error {
	if fw.refusals == 0 {
		fw.refusedAt = now
	}
	fw.refusals++
	if fw.cfg.Enrol == nil || fw.refusals < forgetAfter || now.Sub(fw.refusedAt) < forgetWithin {
		return nil
	}
	return fw.erase(now, fmt.Sprintf("the gateway has not known it for %s", forgetWithin))
}

// erase forgets everything: what is shown, who the device is, what was chosen, what is owed.
func (fw *firmware) erase(now time.Time, why string) error {
	for _, h := range slices.Clone(fw.held) {
		fw.remove(now, h, line{Kind: wire.Cancelled}, why)
	}
	b := book{path: fw.book.path, Forgot: fw.cfg.ID, dirty: true}
	if err := b.save(); err != nil {
		return err
	}
	fw.book = b
	fw.asking, fw.word, fw.because, fw.whys = nil, wire.Word{}, wire.Because{}, nil
	fw.machine.forget()
	fw.clock, fw.rebase, fw.asked, fw.wanted, fw.refusals, fw.overdue, fw.askNext = 0, nil, nil, false, 0, credential{}, time.Time{}
	fw.note(Event{Kind: Erased, Why: why})
	return nil
}

// part says why the device leaves for good, and ends the connection. Whatever still comes on it
// is for a device that is no more.
func (fw *firmware) part(reason string) {
	fw.bye(reason)
	fw.lost()
	fw.parted = true
}

// bye is the last frame of a connection.
func (fw *firmware) bye(reason string) {
	payload, err := wire.Encode(wire.Bye{Seq: fw.seq, Reason: reason})
	if err != nil {
		fw.note(Event{Kind: Trouble, Why: err.Error()})
		return
	}
	fw.send(frame{leaf: wire.UpBye, payload: payload, qos: 1, last: true})
	fw.seq++
}

// command takes in an order of the gateway.
func (fw *firmware) command(now time.Time, c wire.Command) error {
	if err := fw.erase(now, "its home has removed it"); err != nil {
		return err // not said to be wiped: the gateway asks again
	}
	fw.part("wiped")
	return nil
}

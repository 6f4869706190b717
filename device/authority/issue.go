package authority

import (
	"bytes"
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"slices"
	"time"

	"porchlight/device"
)

const (
	deviceLife = 365 * 24 * time.Hour
	grace      = 400 * 24 * time.Hour // a device that was off may come so late
	maxRequest = 1 << 10              // bytes
)

var (
	// ErrRequest is wrapped by every error about a certificate request.
	ErrRequest = errors.New("bad certificate request")
	// ErrForeign refuses a certificate that no CA in force signed, or that is not a device's.
	ErrForeign = errors.New("not a device's certificate of this gateway")
	// ErrEnded refuses a certificate that ended more than 400 days ago.
	ErrEnded = errors.New("certificate ended more than 400 days ago")
	// ErrEarly refuses a certificate that is not valid yet. One of the clocks is wrong, most
	// likely the gateway's: the device has done nothing wrong and should come again.
	ErrEarly = errors.New("certificate is not valid yet")
)

// ParseRequest reads a device's certificate request (PKCS #10, DER, at most 1 KiB), checks that its
// key is a P-256 key and that the device has it, and returns the SubjectPublicKeyInfo and its
// SHA-256. What else the request asks for is passed over. Every error wraps ErrRequest.
func ParseRequest(der []byte) (key [32]byte, spki []byte, err error) {
	if len(der) > maxRequest {
		return key, nil, fmt.Errorf("%w: %d bytes, at most %d are taken", ErrRequest, len(der), maxRequest)
	}
	r, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return key, nil, fmt.Errorf("%w: %v", ErrRequest, err)
	}
	if _, err := parseKey(r.RawSubjectPublicKeyInfo); err != nil {
		return key, nil, fmt.Errorf("%w: %v", ErrRequest, err)
	}
	if err := r.CheckSignature(); err != nil {
		return key, nil, fmt.Errorf("%w: its signature: %v", ErrRequest, err)
	}
	return sha256.Sum256(r.RawSubjectPublicKeyInfo), r.RawSubjectPublicKeyInfo, nil
}

// parseKey reads a P-256 key. Only the one usual form is taken: a device is known by the hash of
// these bytes, and a key with two forms would be two identities.
func parseKey(spki []byte) (*ecdsa.PublicKey, error) {
	k, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		return nil, err
	}
	key, ok := k.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("the key is not of the kind P-256")
	}
	if usual, err := x509.MarshalPKIXPublicKey(key); err != nil || !bytes.Equal(usual, spki) {
		return nil, errors.New("the key is not in its usual form")
	}
	return key, nil
}

// Issue signs a certificate for the device id, whose key is spki, as ParseRequest returned it: CN is
// the ID, for TLS clients, from a day before now until Life after. der is the certificate alone.
func (a *Authority) Issue(id device.ID, spki []byte, now time.Time) (der []byte, notAfter time.Time, err error) {
	if _, err := device.ParseID(string(id)); err != nil {
		return nil, time.Time{}, fmt.Errorf("issue a certificate: %w", err)
	}
	key, err := parseKey(spki)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("issue a certificate to %s: %w", id, err)
	}
	cert, err := sign(&x509.Certificate{
		Subject:     pkix.Name{CommonName: string(id)},
		NotBefore:   now.Add(-early),
		NotAfter:    now.Add(cmp.Or(a.Life, deviceLife)),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, a.state.Load().line.newest, key)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("issue a certificate to %s: %w", id, err)
	}
	return cert.Raw, cert.NotAfter, nil
}

// Identity is whose a certificate is. It does not say that the device may come in: the registry
// knows by Key whether the certificate was revoked.
type Identity struct {
	ID       device.ID
	Key      [32]byte // SHA-256 of the SubjectPublicKeyInfo
	NotAfter time.Time
	Expired  bool // ended, at most 400 days ago: good for asking for a new one, for nothing else
	Leaving  bool // signed by the CA that Retire will put out of force: the device needs a new one
}

// Verify says whose certificate cert is. TLS has seen to it that the client has its key. It fails with
// ErrForeign, ErrEnded or ErrEarly.
func (a *Authority) Verify(cert *x509.Certificate, now time.Time) (Identity, error) {
	l := a.state.Load().line.at(now)
	var by *x509.Certificate
	for _, c := range l.inForce() {
		if cert.CheckSignatureFrom(c) == nil {
			by = c
		}
	}
	if by == nil {
		return Identity{}, fmt.Errorf("%w: no CA in force signed it", ErrForeign)
	}
	if cert.IsCA || !slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageClientAuth) || len(cert.UnhandledCriticalExtensions) > 0 {
		return Identity{}, fmt.Errorf("%w: it is for another use", ErrForeign)
	}
	id, err := device.ParseID(cert.Subject.CommonName)
	if err != nil {
		return Identity{}, fmt.Errorf("%w: %v", ErrForeign, err)
	}
	switch {
	case now.Before(cert.NotBefore):
		return Identity{}, fmt.Errorf("%s: %w: it begins at %s", id, ErrEarly, cert.NotBefore.Format(time.RFC3339))
	case now.After(cert.NotAfter.Add(grace)):
		return Identity{}, fmt.Errorf("%s: %w: on %s", id, ErrEnded, cert.NotAfter.Format(time.DateOnly))
	}
	return Identity{
		ID:       id,
		Key:      sha256.Sum256(cert.RawSubjectPublicKeyInfo),
		NotAfter: cert.NotAfter,
		Expired:  now.After(cert.NotAfter),
		Leaving:  by != l.newest.cert,
	}, nil
}

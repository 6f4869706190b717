package registry

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"

	"porchlight/device"
	"porchlight/device/store"
)

// The algorithms that messages are signed with, as RFC 7518 and RFC 8037 spell them.
const (
	ES256 = "ES256" // ECDSA on P-256 with SHA-256
	EdDSA = "EdDSA" // with Ed25519
)

// MaxSignKeys is how many signing keys of one brand may be in force at one time.
const MaxSignKeys = 8

// SignKey is the public half of a key that a brand signs its messages with.
type SignKey struct {
	Brand   device.BrandID `json:"brand"`
	ID      string         `json:"kid"` // 1 to 64 printable ASCII characters without space, unique in the brand for good
	Alg     string         `json:"alg"`
	Public  []byte         `json:"public"`            // as X.509 writes it (SubjectPublicKeyInfo, DER)
	Added   device.Instant `json:"added,omitempty"`   // in force from then on
	Revoked device.Instant `json:"revoked,omitempty"` // and until then; 0: still

	from, to int64 // the same as positions in the gateway's book
}

type unkeyedFact struct {
	Brand device.BrandID `json:"brand"`
	ID    string         `json:"kid"`
}

// NewSignKey makes a SignKey of a public key as X.509 writes it; an empty kid becomes [KeyID].
func NewSignKey(brand device.BrandID, kid string, public []byte) (SignKey, error) {
	parsed, err := x509.ParsePKIXPublicKey(public)
	if err != nil {
		return SignKey{}, fmt.Errorf("signing key: %w: it is not a public key as X.509 writes it", ErrInvalid)
	}
	k := SignKey{Brand: brand, ID: kid}
	switch p := parsed.(type) {
	case ed25519.PublicKey:
		k.Alg = EdDSA
	case *ecdsa.PublicKey:
		if p.Curve == elliptic.P256() {
			k.Alg = ES256
		}
	}
	if k.Alg == "" {
		return SignKey{}, fmt.Errorf("signing key: %w: use an Ed25519 key, or an EC key on the curve P-256", ErrInvalid)
	}
	if k.Public, err = x509.MarshalPKIXPublicKey(parsed); err != nil { // one spelling for one key
		return SignKey{}, fmt.Errorf("signing key: %w", err)
	}
	if kid == "" {
		k.ID = KeyID(k.Public)
	}
	if !kidOK(k.ID) {
		return SignKey{}, fmt.Errorf("signing key: %w: its ID is %.80q: use 1 to 64 printable ASCII characters without space", ErrInvalid, k.ID)
	}
	return k, nil
}

func kidOK(kid string) bool {
	for i := range len(kid) {
		if kid[i] < '!' || kid[i] > '~' {
			return false
		}
	}
	return kid != "" && len(kid) <= 64
}

// KeyID is the ID of a signing key that was given none: the first 16 hexadecimal digits of the
// SHA-256 of its public half as X.509 writes it.
func KeyID(public []byte) string {
	sum := sha256.Sum256(public)
	return fmt.Sprintf("%x", sum[:8])
}

// AddSignKey lets a brand sign with one more key. From its first key on, a brand must sign. It fails
// with ErrTaken if the brand has, or had, a key of that ID, or if anybody has, or had, that key: a
// message that one brand has signed must not be another's.
func AddSignKey(tx *store.Tx, k SignKey) error {
	if _, err := BrandByID(tx, k.Brand); err != nil {
		return err
	}
	k, err := NewSignKey(k.Brand, k.ID, k.Public)
	if err != nil {
		return err
	}
	var ids, keys, inForce int
	err = tx.QueryRow(`SELECT (SELECT count(*) FROM brand_key WHERE brand = ? AND kid = ?), (SELECT count(*) FROM brand_key WHERE key = ?),
		(SELECT count(*) FROM brand_key WHERE brand = ? AND revoked_pos = 0)`, k.Brand, k.ID, k.Public, k.Brand).Scan(&ids, &keys, &inForce)
	switch {
	case err != nil:
		return err
	case ids > 0:
		return fmt.Errorf("signing key %s of brand %s: the ID %w, now or before: give it another", k.ID, k.Brand, ErrTaken)
	case keys > 0:
		return fmt.Errorf("signing key %s of brand %s: that very key %w, now or before: make another", k.ID, k.Brand, ErrTaken)
	case inForce >= MaxSignKeys:
		return fmt.Errorf("signing key %s of brand %s: %w: %d are in force already: revoke one first", k.ID, k.Brand, ErrInvalid, inForce)
	}
	return add(tx, device.Gateway, brandKeyed, k)
}

// RevokeSignKey ends a key: what is signed with it is not taken any more. What was accepted before
// stays as it was. Revoking twice is revoking once.
func RevokeSignKey(tx *store.Tx, brand device.BrandID, kid string) error {
	k, err := SignKeyByID(tx, brand, kid)
	if err != nil || k.to != 0 {
		return err
	}
	return add(tx, device.Gateway, brandUnkeyed, unkeyedFact{brand, kid})
}

const signKeyColumns = `SELECT brand, kid, alg, key, added, revoked, added_pos, revoked_pos FROM brand_key `

func scanSignKey(scan scanner) (k SignKey, err error) {
	err = scan(&k.Brand, &k.ID, &k.Alg, &k.Public, &k.Added, &k.Revoked, &k.from, &k.to)
	return
}

// SignKeyByID finds a key of a brand, in force or not.
func SignKeyByID(tx *store.Tx, brand device.BrandID, kid string) (SignKey, error) {
	k, err := scanSignKey(tx.QueryRow(signKeyColumns+`WHERE brand = ? AND kid = ?`, brand, kid).Scan)
	if err != nil {
		return SignKey{}, fmt.Errorf("signing key %.64q of brand %s: %w", kid, brand, unknown(err))
	}
	return k, nil
}

// SignKeys lists the keys that a brand has and had, the oldest first.
func SignKeys(tx *store.Tx, brand device.BrandID) ([]SignKey, error) {
	return store.List(tx, scanSignKey, signKeyColumns+`WHERE brand = ? ORDER BY added_pos`, brand)
}

// InForce reports whether k was in force when the event at pos was written into the gateway's book.
func (k SignKey) InForce(pos int64) bool { return k.from < pos && (k.to == 0 || pos < k.to) }

// Standing is whether a brand may send just now, and how.
type Standing struct {
	Stopped bool
	Signs   bool // it has, or had, a key: what it sends must be signed
	Key     bool // the key that was asked about is its own and in force
}

// StandingOf tells how a brand stands; kid is the key that a message claims to be signed with, or "".
// ErrUnknown if there is no such brand.
func StandingOf(tx *store.Tx, id device.BrandID, kid string) (s Standing, err error) {
	err = tx.QueryRow(`SELECT stopped > 0, signs FROM brand WHERE id = ? AND removed = 0`, id).Scan(&s.Stopped, &s.Signs)
	if err == nil && kid != "" {
		err = tx.QueryRow(`SELECT EXISTS (SELECT 1 FROM brand_key WHERE brand = ? AND kid = ? AND revoked_pos = 0)`, id, kid).Scan(&s.Key)
	}
	if err != nil {
		return s, fmt.Errorf("brand %s: %w", id, unknown(err))
	}
	return s, nil
}

// Verifier is k as the standard library has it: an ed25519.PublicKey or an *ecdsa.PublicKey.
func (k SignKey) Verifier() (any, error) {
	key, err := x509.ParsePKIXPublicKey(k.Public)
	if err != nil {
		return nil, fmt.Errorf("signing key %s of brand %s: %w", k.ID, k.Brand, errors.Join(ErrInvalid, err))
	}
	return key, nil
}

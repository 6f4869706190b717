package registry

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"
	"time"

	"porchlight/device"
	"porchlight/device/store"
)

// NewToken makes a device's token: 256 random bits in base64url, 43 characters. The first is no
// hyphen, which a command line would take for a flag.
func NewToken() string {
	for {
		var b [32]byte
		rand.Read(b[:])
		if s := base64.RawURLEncoding.EncodeToString(b[:]); s[0] != '-' {
			return s
		}
	}
}

// NewKey makes a brand's API key: "plk_" and 256 random bits in base64url.
func NewKey() string { return "plk_" + NewToken() }

// Hash is what is kept of a token or key. A slow hash would add nothing at 256 random bits.
func Hash(secret string) []byte {
	h := sha256.Sum256([]byte(secret))
	return h[:]
}

// The kinds of credential.
const (
	deviceToken = "device-token"
	deviceKey   = "device-key"
	brandKey    = "brand-key"
)

// Proof is what a device shows to be let in: that it knows a token, or that it has a key.
type Proof struct {
	kind string
	hash []byte
}

// Token is the proof of a device that knows a token.
func Token(token string) Proof { return Proof{deviceToken, Hash(token)} }

// Key is the proof of a device that has the private half of a public key, which the TLS
// handshake has shown. key is the SHA-256 of its SubjectPublicKeyInfo.
func Key(key [32]byte) Proof { return Proof{deviceKey, key[:]} }

// Is reports whether p and q are the same.
func (p Proof) Is(q Proof) bool {
	return p.kind == q.kind && subtle.ConstantTimeCompare(p.hash, q.hash) == 1
}

// Behind counts the devices whose credential, a key's certificate or a token, was issued before then, and lists the first most
// of them, by home and name.
func Behind(tx *store.Tx, then device.Instant, most int) (n int, some []device.Device, err error) {
	const behind = `SELECT DISTINCT device FROM credential WHERE kind IN (?, ?) AND state = 'active' AND at < ?`
	if err = tx.QueryRow(`SELECT count(*) FROM (`+behind+`)`, deviceKey, deviceToken, then).Scan(&n); err == nil && n > 0 && most > 0 {
		some, err = store.List(tx, scanDevice, deviceColumns+`WHERE id IN (`+behind+`) ORDER BY home, name, id LIMIT ?`, deviceKey, deviceToken, then, most)
	}
	return n, some, err
}

// State is where a credential is in its life.
type State string

// The states. What is not among a device's credentials is void.
const (
	Pending  State = "pending"  // issued and not used yet: void after a while
	Active   State = "active"   //
	Retiring State = "retiring" // another has become active: void after Grace
)

// Grace is how long a credential stands after another has become active in its place.
const Grace = 24 * time.Hour

// Login is a device that has shown a credential.
type Login struct {
	device.Device
	State  State          // of the credential
	Issued device.Instant // when it was
}

// Authenticate returns the device that shows p and calls itself id. The credential is looked up by
// its hash; that it belongs to id is compared in constant time. Every refusal is the same
// ErrUnknown.
func Authenticate(tx *store.Tx, id device.ID, p Proof) (l Login, err error) {
	no := fmt.Errorf("authenticate device: %w", ErrUnknown)
	var owner string
	var until device.Instant
	err = tx.QueryRow(`SELECT device, state, at, until FROM credential WHERE hash = ? AND kind = ?`, p.hash, p.kind).Scan(&owner, &l.State, &l.Issued, &until)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return l, fmt.Errorf("authenticate device: %w", err)
	}
	if subtle.ConstantTimeCompare([]byte(owner), []byte(id)) != 1 || until != 0 && tx.Now >= until {
		return Login{}, no
	}
	l.Device, err = Device(tx, id)
	if err == nil && l.Until != 0 && tx.Now >= l.Until {
		return Login{}, no
	}
	return l, err
}

// BrandKeys tells whose an API key is. It remembers those that it has seen, until something is written about a brand: a
// look into the file costs more than all else about a request. Its methods may be called from any goroutine.
type BrandKeys struct {
	db *store.DB

	mu    sync.Mutex
	as    int64 // Changes when what is known was read
	known map[[sha256.Size]byte]owner
}

// owner is whose an API key is.
type owner struct {
	brand Brand
	until device.Instant // void from then on; 0: never
}

// NewBrandKeys remembers nothing yet.
func NewBrandKeys(db *store.DB) *BrandKeys {
	return &BrandKeys{db: db, known: map[[sha256.Size]byte]owner{}}
}

// Authenticate returns the brand whose API key this is, which the caller does not change. It fails with ErrUnknown if there is none.
func (k *BrandKeys) Authenticate(ctx context.Context, key string) (Brand, error) {
	hash := sha256.Sum256([]byte(key))
	changes := k.db.Changes("brand") // before anything is read
	k.mu.Lock()
	if k.as != changes {
		k.as = changes
		clear(k.known)
	}
	o, ok := k.known[hash]
	k.mu.Unlock()
	if !ok {
		err := k.db.View(ctx, func(tx *store.Tx) (err error) { o, err = ownerOf(tx, hash[:]); return err })
		if err != nil {
			return Brand{}, fmt.Errorf("authenticate brand: %w", unknown(err))
		}
		k.mu.Lock()
		if k.as == changes {
			k.known[hash] = o
		}
		k.mu.Unlock()
	}
	if o.until != 0 && k.db.Now() >= o.until {
		return Brand{}, fmt.Errorf("authenticate brand: %w", ErrUnknown)
	}
	return o.brand, nil
}

func ownerOf(tx *store.Tx, hash []byte) (o owner, err error) {
	var id device.BrandID
	if err = tx.QueryRow(`SELECT brand, until FROM credential WHERE hash = ? AND kind = ?`, hash, brandKey).Scan(&id, &o.until); err == nil {
		o.brand, err = BrandByID(tx, id)
	}
	return o, err
}

func unknown(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return ErrUnknown
	}
	return err
}

// The facts of devices' credentials, as the journal spells them.
const (
	credentialIssued    = "credential.issued"    // into the second slot
	credentialActivated = "credential.activated" // it was used: the one before retires
	credentialReplaced  = "credential.replaced"  // by the operator: every other is void
)

type credentialFact struct {
	Device device.ID      `json:"device"`
	Hash   []byte         `json:"hash"` // SHA-256
	Kind   string         `json:"kind"`
	Until  device.Instant `json:"until,omitempty"` // issued: void from then on; activated: the one before is
}

// Issue puts p into a device's second slot, in place of what waited there: it becomes active
// when it is used, and is void if that has not happened before until. ErrTaken if somebody has
// that credential already.
func Issue(tx *store.Tx, id device.ID, p Proof, until device.Instant) error {
	if s, err := stateOf(tx, id, p); err != nil || s == Pending {
		return err // it waits there already
	}
	return credential(tx, credentialIssued, id, p, until)
}

// Activate takes in that a pending credential was used. ErrUnknown if it is void by now.
func Activate(tx *store.Tx, id device.ID, p Proof) error {
	switch s, err := stateOf(tx, id, p); {
	case err != nil || s == Active:
		return err
	case s != Pending:
		return fmt.Errorf("credential of device %s: %w", id, ErrUnknown)
	}
	return noted(tx, credentialActivated, id, p, tx.Now.Add(Grace))
}

// stateOf is the state of a device's credential, "" if it has no such one.
func stateOf(tx *store.Tx, id device.ID, p Proof) (s State, err error) {
	err = tx.QueryRow(`SELECT state FROM credential WHERE hash = ? AND device = ?`, p.hash, id).Scan(&s)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return s, err
}

// Replace makes p the one credential of a device, at once.
func Replace(tx *store.Tx, id device.ID, p Proof) error {
	return credential(tx, credentialReplaced, id, p, 0)
}

func credential(tx *store.Tx, kind string, id device.ID, p Proof, until device.Instant) error {
	if err := free(tx, id, p); err != nil {
		return err
	}
	return noted(tx, kind, id, p, until)
}

func noted(tx *store.Tx, kind string, id device.ID, p Proof, until device.Instant) error {
	d, err := Device(tx, id)
	if err != nil {
		return err
	}
	return add(tx, d.Home, kind, credentialFact{id, p.hash, p.kind, until})
}

// free fails with ErrTaken if p is a credential already.
func free(tx *store.Tx, id device.ID, p Proof) error {
	var taken int
	if err := tx.QueryRow(`SELECT count(*) FROM credential WHERE hash = ?`, p.hash).Scan(&taken); err != nil {
		return err
	}
	if taken > 0 {
		return fmt.Errorf("credential for device %s: it %w by another", id, ErrTaken)
	}
	return nil
}

// applyCredential projects the facts of credentials; mine is false for those of others.
func applyCredential(tx *store.Apply, e store.Event) (mine bool, err error) {
	const insert = `INSERT INTO credential (hash, kind, device, state, at, until) VALUES (?, ?, ?, ?, ?, ?)`
	switch e.Kind {
	case credentialIssued:
		return true, store.With(e, func(f credentialFact) error {
			if err := tx.Exec(`DELETE FROM credential WHERE device = ? AND state = 'pending'`, f.Device); err != nil {
				return err
			}
			return tx.Exec(insert, f.Hash, f.Kind, f.Device, Pending, e.At, f.Until)
		})
	case credentialActivated:
		return true, store.With(e, func(f credentialFact) error {
			for _, stmt := range []struct {
				sql  string
				args []any
			}{
				{`DELETE FROM credential WHERE device = ? AND hash <> ? AND state <> 'active'`, []any{f.Device, f.Hash}},
				{`UPDATE credential SET state = 'retiring', until = ? WHERE device = ? AND hash <> ?`, []any{f.Until, f.Device, f.Hash}},
				{`UPDATE credential SET state = 'active', until = 0 WHERE hash = ?`, []any{f.Hash}},
			} {
				if err := tx.Exec(stmt.sql, stmt.args...); err != nil {
					return err
				}
			}
			return nil
		})
	case credentialReplaced:
		return true, store.With(e, func(f credentialFact) error {
			if err := tx.Exec(`DELETE FROM credential WHERE device = ?`, f.Device); err != nil {
				return err
			}
			return tx.Exec(insert, f.Hash, f.Kind, f.Device, Active, e.At, 0)
		})
	}
	return false, nil
}

// Package ledger is the arithmetic of a home's log: how an entry is sealed and hashed, what the
// head of the log is, how one proves that an entry is in it and that a longer log still begins
// as the shorter did, and how head and receipt are signed. The tree is that of RFC 6962, the
// signatures are COSE_Sign1 (RFC 9052), everything hashed or signed is deterministic CBOR.
//
// In: entries, leaves, keys. Out: leaves, heads, proofs, receipts, and which entry is damaged.
// Never: SQL, the clock, the network, a body in plain beside the log.
package ledger

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"

	"github.com/fxamacker/cbor/v2"
	"golang.org/x/mod/sumdb/tlog"

	"porchlight/device"
)

// Hash is a SHA-256. In text it is 64 hexadecimal digits.
type Hash [32]byte

// String spells h as in text.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText spells h.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (h *Hash) UnmarshalText(text []byte) error { return fromHex(h[:], text) }

// Pseudonym stands for a home, or for a person of it, in the log: 16 random bytes. Who it is
// only the keys of the gateway know; once they are destroyed, nobody. In text it is 32
// hexadecimal digits.
type Pseudonym [16]byte

// String spells p as in text.
func (p Pseudonym) String() string { return hex.EncodeToString(p[:]) }

// MarshalText spells p.
func (p Pseudonym) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (p *Pseudonym) UnmarshalText(text []byte) error { return fromHex(p[:], text) }

func fromHex(into, text []byte) error {
	if len(text) != hex.EncodedLen(len(into)) {
		return fmt.Errorf("%d characters, %d wanted", len(text), hex.EncodedLen(len(into)))
	}
	_, err := hex.Decode(into, text)
	return err
}

// Key seals bodies: AES-256-GCM.
type Key [32]byte

// NewKey makes a key.
func NewKey() (k Key) {
	rand.Read(k[:])
	return k
}

// NewPseudonym makes a pseudonym.
func NewPseudonym() (p Pseudonym) {
	rand.Read(p[:])
	return p
}

// SaltSize is the length of an entry's salt in bytes.
const SaltSize = 16

// Entry is one entry of a home's log, as the log sees it: what is said is sealed. An erased
// entry has lost its subject, actor, salt and body for good; its leaf stays, so that the log
// can still be verified.
type Entry struct {
	Pos     int64          `json:"pos"` // place in the home's book, from 1
	At      device.Instant `json:"at"`
	Kind    string         `json:"kind"`
	Actor   device.Actor   `json:"actor,omitempty"`
	Subject Pseudonym      `json:"subject,omitzero"` // whose key it is sealed with
	Salt    []byte         `json:"salt,omitempty"`   // SaltSize bytes
	Sealed  []byte         `json:"sealed,omitempty"` // the body: nonce, ciphertext, tag
	Erased  bool           `json:"erased,omitempty"`
	Leaf    Hash           `json:"leaf"` // in the tree, at Pos - 1
}

// enc is the one way to write CBOR here.
var enc = func() cbor.UserBufferEncMode {
	mode, err := cbor.CoreDetEncOptions().UserBufferEncMode()
	if err != nil {
		panic(err)
	}
	return mode
}()

// marshal encodes what always can be encoded.
func marshal(v any) []byte {
	b, err := enc.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("ledger: encode %T: %v", v, err))
	}
	return b
}

// with calls f with the encoding of what always can be encoded, which is good until f returns: nearly all
// that is encoded here is hashed, and not kept.
func with(v any, f func(encoded []byte)) {
	b := buffers.Get().(*bytes.Buffer)
	defer buffers.Put(b)
	b.Reset()
	if err := enc.MarshalToBuffer(v, b); err != nil {
		panic(fmt.Sprintf("ledger: encode %T: %v", v, err))
	}
	f(b.Bytes())
}

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// Digest is what the log commits to of the part that can be erased: the SHA-256 of the CBOR
// array of salt, actor and sealed body.
func (e Entry) Digest() (sum Hash) {
	with(struct {
		_      struct{} `cbor:",toarray"`
		Salt   []byte
		Actor  device.Actor
		Sealed []byte
	}{Salt: e.Salt, Actor: e.Actor, Sealed: e.Sealed}, func(b []byte) { sum = sha256.Sum256(b) })
	return sum
}

// LeafOf is the leaf of an entry: the RFC 6962 hash of the CBOR array of subject, position, kind,
// time and digest.
func LeafOf(subject Pseudonym, pos int64, kind string, at device.Instant, digest Hash) (leaf Hash) {
	with(struct {
		_       struct{} `cbor:",toarray"`
		Subject []byte
		Pos     int64
		Kind    string
		At      int64
		Digest  []byte
	}{Subject: subject[:], Pos: pos, Kind: kind, At: int64(at), Digest: digest[:]}, func(b []byte) { leaf = Hash(tlog.RecordHash(b)) })
	return leaf
}

// Fits reports whether the leaf of e is that of what e says. Of an erased entry nobody can tell:
// it fits.
func (e Entry) Fits() bool {
	return e.Erased || e.Leaf == LeafOf(e.Subject, e.Pos, e.Kind, e.At, e.Digest())
}

// ErrSealed says that a key does not open an entry: it is another's, or the entry was altered.
var ErrSealed = errors.New("the key does not open it")

// Cipher seals and opens with one key. It may be used by several goroutines.
type Cipher struct{ gcm cipher.AEAD }

// NewCipher is the cipher of k.
func NewCipher(k Key) Cipher {
	block, err := aes.NewCipher(k[:])
	if err != nil {
		panic(err) // 32 bytes are a key
	}
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return Cipher{gcm}
}

// Seal seals body into e, whose Pos, At, Kind, Actor and Subject are set: it sets Salt, Sealed and Leaf.
// Sealed twice, the same entry is never the same bytes.
func (c Cipher) Seal(e *Entry, body []byte) {
	e.Erased = false
	e.Salt = make([]byte, SaltSize)
	rand.Read(e.Salt)
	e.place(func(place []byte) { e.Sealed = c.gcm.Seal(nil, nil, body, place) })
	e.Leaf = LeafOf(e.Subject, e.Pos, e.Kind, e.At, e.Digest())
}

// Open returns the body of e. It fails with ErrSealed, also for an entry that was moved to
// another place, time, kind or actor.
func (c Cipher) Open(e Entry) ([]byte, error) {
	var body []byte
	var err error
	e.place(func(place []byte) { body, err = c.gcm.Open(nil, nil, e.Sealed, place) })
	if err != nil {
		return nil, ErrSealed
	}
	return body, nil
}

// place calls f with what the seal holds together with the body.
func (e *Entry) place(f func(place []byte)) {
	with(struct {
		_       struct{} `cbor:",toarray"`
		Subject []byte
		Pos     int64
		Kind    string
		At      int64
		Actor   device.Actor
	}{Subject: e.Subject[:], Pos: e.Pos, Kind: e.Kind, At: int64(e.At), Actor: e.Actor}, f)
}

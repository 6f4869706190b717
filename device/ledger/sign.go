package ledger

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"
	"github.com/veraison/go-cose"

	"porchlight/device"
)

// What is signed, in the protected header "typ": one thing is never taken for another.
const (
	HeadType    = "application/porchlight-ledger-head+cbor"
	ReceiptType = "application/porchlight-ledger-receipt+cbor"
	ExportType  = "application/porchlight-export-manifest" // its payload is a manifest's SHA-256
)

// What opening something signed can fail with. ErrSignature: the key is another's, or it was altered.
var (
	ErrFormat    = errors.New("it is not spelled as it must be")
	ErrSignature = errors.New("the signature does not fit")
)

// MaxSigned is the greatest length in bytes of something signed.
const MaxSigned = 1 << 16

// algorithm is the one that keys of that kind sign with: Ed25519 (EdDSA) or P-256 (ES256).
func algorithm(key crypto.PublicKey) (cose.Algorithm, error) {
	switch k := key.(type) {
	case ed25519.PublicKey:
		if len(k) == ed25519.PublicKeySize {
			return cose.AlgorithmEdDSA, nil
		}
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return cose.AlgorithmES256, nil
		}
	}
	return 0, fmt.Errorf("a %T cannot sign: Ed25519 and P-256 can", key)
}

// Sign signs payload as something of type typ (see [HeadType]): a COSE_Sign1 with its tag.
func Sign(key crypto.Signer, typ string, payload []byte) ([]byte, error) {
	alg, err := algorithm(key.Public())
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	signer, err := cose.NewSigner(alg, key)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	signed, err := cose.Sign1(rand.Reader, signer, cose.Headers{Protected: protected(alg, typ)}, payload, nil)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	if len(signed) > MaxSigned {
		return nil, fmt.Errorf("sign: %d bytes, at most %d", len(signed), MaxSigned)
	}
	return signed, nil
}

func protected(alg cose.Algorithm, typ string) cose.ProtectedHeader {
	return cose.ProtectedHeader{cose.HeaderLabelAlgorithm: alg, cose.HeaderLabelType: typ}
}

// OpenSigned returns the payload of something that key has signed as being of type typ. It fails with
// ErrFormat or ErrSignature.
func OpenSigned(signed []byte, typ string, key crypto.PublicKey) ([]byte, error) {
	alg, err := algorithm(key)
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	if len(signed) > MaxSigned {
		return nil, fmt.Errorf("open: %w: %d bytes, at most %d", ErrFormat, len(signed), MaxSigned)
	}
	var m cose.Sign1Message
	if err := m.UnmarshalCBOR(signed); err != nil {
		return nil, fmt.Errorf("open: %w: %w", ErrFormat, err)
	}
	// Two headers, and these two: what is not signed says nothing, and there is one spelling.
	want, err := protected(alg, typ).MarshalCBOR()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(m.Headers.RawProtected, want) || len(m.Headers.Unprotected) > 0 || m.Payload == nil {
		return nil, fmt.Errorf("open: %w: it is not a %s of such a key", ErrFormat, typ)
	}
	verifier, err := cose.NewVerifier(alg, key)
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	if m.Verify(nil, verifier) != nil {
		return nil, fmt.Errorf("open: %w", ErrSignature)
	}
	return m.Payload, nil
}

// dec is the one way to read CBOR here.
var dec = func() cbor.DecMode {
	mode, err := cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField, MaxNestedLevels: 8, MaxArrayElements: 256, MaxMapPairs: 256,
		UTF8: cbor.UTF8RejectInvalid,
	}.DecMode()
	if err != nil {
		panic(err)
	}
	return mode
}()

// unmarshal decodes what marshal wrote, and nothing that is spelled otherwise.
func unmarshal(b []byte, into any) error {
	if err := dec.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if !bytes.Equal(marshal(into), b) {
		return fmt.Errorf("%w: it is not deterministic CBOR, or something is missing", ErrFormat)
	}
	return nil
}

type headPayload struct {
	Home []byte `cbor:"1,keyasint"`
	Size int64  `cbor:"2,keyasint"`
	Root []byte `cbor:"3,keyasint"`
	At   int64  `cbor:"4,keyasint"`
}

func (h Head) payload() headPayload { return headPayload{h.Home[:], h.Size, h.Root[:], int64(h.At)} }

func (p headPayload) head() (h Head, err error) {
	if len(p.Home) != len(h.Home) || len(p.Root) != len(h.Root) || p.Size < 0 {
		return h, fmt.Errorf("head: %w", ErrFormat)
	}
	return Head{Home: Pseudonym(p.Home), Size: p.Size, Root: Hash(p.Root), At: device.Instant(p.At)}, nil
}

// Payload is what is signed of h, as [HeadType]: the CBOR map {1: home, 2: size, 3: root, 4: at}.
func (h Head) Payload() []byte { return marshal(h.payload()) }

// OpenHead returns the head that key has signed. It fails with ErrFormat or ErrSignature.
func OpenHead(signed []byte, key crypto.PublicKey) (Head, error) {
	b, err := OpenSigned(signed, HeadType, key)
	if err != nil {
		return Head{}, err
	}
	var p headPayload
	if err := unmarshal(b, &p); err != nil {
		return Head{}, fmt.Errorf("head: %w", err)
	}
	return p.head()
}

// Receipt says of one entry what was decided, and proves that the entry is in the log. Whoever
// has it can show later that the entry was there.
type Receipt struct {
	Subject Pseudonym         `json:"subject"`
	Pos     int64             `json:"pos"`
	Kind    string            `json:"kind"`
	At      device.Instant    `json:"at"`
	Digest  Hash              `json:"digest"`            // of the entry, see [Entry.Digest]
	Decided map[string]string `json:"decided,omitempty"` // in plain words, at most 64
	Path    []Hash            `json:"path"`              // from the entry's leaf to the root
	Head    Head              `json:"head"`
}

// Receipt is the receipt for e, an entry of l that is not erased, with what was decided in plain
// words, at the moment at.
func (l Log) Receipt(e Entry, decided map[string]string, at device.Instant) (Receipt, error) {
	path, err := Prove(l.Leaves, e.Pos)
	if err != nil {
		return Receipt{}, fmt.Errorf("receipt: %w", err)
	}
	r := Receipt{Subject: e.Subject, Pos: e.Pos, Kind: e.Kind, At: e.At, Digest: e.Digest(), Decided: decided, Path: path, Head: l.Head(at)}
	if e.Erased || r.Leaf() != l.Leaves[e.Pos-1] {
		return Receipt{}, fmt.Errorf("receipt for entry %d: it is erased, or not the one in the log", e.Pos)
	}
	return r, r.Check()
}

// Leaf is the leaf of the entry.
func (r Receipt) Leaf() Hash { return LeafOf(r.Subject, r.Pos, r.Kind, r.At, r.Digest) }

// Check checks that the entry is in the log that r has the head of. It fails with ErrProof or ErrFormat.
func (r Receipt) Check() error {
	if len(r.Decided) > 64 {
		return fmt.Errorf("receipt: %w: %d words, at most 64", ErrFormat, len(r.Decided))
	}
	return CheckInclusion(r.Path, r.Head, r.Pos, r.Leaf())
}

type receiptPayload struct {
	Subject []byte            `cbor:"1,keyasint"`
	Pos     int64             `cbor:"2,keyasint"`
	Kind    string            `cbor:"3,keyasint"`
	At      int64             `cbor:"4,keyasint"`
	Digest  []byte            `cbor:"5,keyasint"`
	Decided map[string]string `cbor:"6,keyasint"`
	Path    [][]byte          `cbor:"7,keyasint"`
	Head    headPayload       `cbor:"8,keyasint"`
}

// Payload is what is signed of r, as [ReceiptType].
func (r Receipt) Payload() []byte {
	p := receiptPayload{r.Subject[:], r.Pos, r.Kind, int64(r.At), r.Digest[:], r.Decided, make([][]byte, len(r.Path)), r.Head.payload()}
	if p.Decided == nil {
		p.Decided = map[string]string{}
	}
	for i := range r.Path {
		p.Path[i] = r.Path[i][:]
	}
	return marshal(p)
}

// OpenReceipt returns the receipt that key has signed, once its proof is checked. It fails with ErrFormat,
// ErrSignature or ErrProof.
func OpenReceipt(signed []byte, key crypto.PublicKey) (r Receipt, err error) {
	b, err := OpenSigned(signed, ReceiptType, key)
	if err != nil {
		return r, err
	}
	var p receiptPayload
	if err := unmarshal(b, &p); err != nil {
		return r, fmt.Errorf("receipt: %w", err)
	}
	if len(p.Subject) != len(r.Subject) || len(p.Digest) != len(r.Digest) || p.Decided == nil || p.Path == nil {
		return r, fmt.Errorf("receipt: %w", ErrFormat)
	}
	r = Receipt{Subject: Pseudonym(p.Subject), Pos: p.Pos, Kind: p.Kind, At: device.Instant(p.At), Digest: Hash(p.Digest), Decided: p.Decided}
	for _, h := range p.Path {
		if len(h) != len(Hash{}) {
			return Receipt{}, fmt.Errorf("receipt: %w", ErrFormat)
		}
		r.Path = append(r.Path, Hash(h))
	}
	if r.Head, err = p.Head.head(); err != nil {
		return Receipt{}, fmt.Errorf("receipt: %w", err)
	}
	if err := r.Check(); err != nil {
		return Receipt{}, err
	}
	return r, nil
}

package delivery

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
)

// A signed message is a JWS (RFC 7515) in compact form. Its payload is the message's JSON, its
// protected header has exactly alg, kid, typ and jti: the idempotency key that it is sent under, so
// that it cannot be sent again under another.
const (
	MaxSigned  = 24 << 10           // bytes of the whole JWS
	SignedType = "application/jose" // media type of the whole
	signedTyp  = "porchlight-message+jws"
	maxHeader  = 1 << 10 // characters of the header as it is sent
)

// signedWith are the algorithms that are taken, whatever else the library knows.
var signedWith = []jose.SignatureAlgorithm{registry.EdDSA, registry.ES256}

// ErrStopped is why nothing is taken from a brand just now.
var ErrStopped = errors.New("this brand has been stopped by the gateway's operator")

// SignatureError says what is wrong with a signed message, apart from the message in it. Field is a
// part of the JWS: jws, alg, kid, typ, jti or signature.
type SignatureError InvalidError

// ErrUnsigned is the one about a message that ought to be signed, and is not.
var ErrUnsigned = &SignatureError{
	Field: "jws", Rule: "required", Why: "is missing, and messages of this brand must be signed",
	Fix: `sign the message with a key that the operator has registered for you, and send the JWS: as the body with Content-Type ` + SignedType + `, or over MQTT as {"key": "...", "jws": "..."}`,
}

func (e *SignatureError) Error() string { return "signed message: " + (*InvalidError)(e).Error() }

func badSignature(field, rule, fix, why string, args ...any) error {
	return &SignatureError{Field: field, Rule: rule, Why: fmt.Sprintf(why, args...), Fix: fix}
}

// envelope is a signed message that has not been opened.
type envelope struct {
	text string // as it came
	jws  *jose.JSONWebSignature
	kid  string
	alg  string
	jti  string // the idempotency key that it is bound to
}

// ParseSigned reads a signed message. What is in it is checked by Accept, after the signature. The
// error is a SignatureError.
func ParseSigned(raw []byte) (Submission, error) {
	e, err := parseEnvelope(strings.TrimSpace(string(raw)))
	return Submission{signed: e}, err
}

func parseEnvelope(text string) (*envelope, error) {
	if len(text) > MaxSigned {
		return nil, badSignature("jws", "length", fmt.Sprintf("send at most %d bytes", MaxSigned), "is %d bytes long", len(text))
	}
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return nil, badSignature("jws", "syntax", "send header.payload.signature as in RFC 7515, section 7.1", "has %d parts, not 3", len(parts))
	}
	var header []byte
	for i, part := range parts {
		// Stricter than the library, which lets line ends and stray bits pass: the same bytes must be
		// the same for whoever verifies them later.
		b, err := base64.RawURLEncoding.Strict().DecodeString(part)
		if err != nil || strings.ContainsAny(part, "\r\n") {
			return nil, badSignature("jws", "syntax", "encode each part in base64url without padding", "is not base64url in part %d", i+1)
		}
		if i == 0 {
			header = b
		}
	}
	if len(parts[0]) > maxHeader {
		return nil, badSignature("jws", "length", fmt.Sprintf("send at most %d characters of header", maxHeader), "has a header of %d characters", len(parts[0]))
	}
	jws, err := jose.ParseSignedCompact(text, signedWith)
	var alg *jose.ErrUnexpectedSignatureAlgorithm
	switch {
	case errors.As(err, &alg):
		return nil, badSignature("alg", "unknown", "sign with EdDSA (Ed25519) or ES256", "is %.40q", alg.Got)
	case err != nil:
		return nil, badSignature("jws", "syntax", `write the header as {"alg": "EdDSA", "kid": "...", "typ": "`+signedTyp+`", "jti": "..."}`, "has a header that cannot be read")
	}
	var is map[string]any // the library has seen to it that no name comes twice
	if err := json.Unmarshal(header, &is); err != nil {
		return nil, badSignature("jws", "syntax", "write the header as one JSON object", "has a header that cannot be read")
	}
	e := &envelope{text: text, jws: jws}
	want := map[string]*string{"alg": &e.alg, "kid": &e.kid, "typ": new(string), "jti": &e.jti}
	for _, name := range slices.Sorted(maps.Keys(is)) {
		into, known := want[name]
		value, isText := is[name].(string)
		if !known || !isText {
			return nil, badSignature("jws", "unknown", "send alg, kid, typ and jti, each a string, and nothing else", "has the header parameter %.40q", name)
		}
		*into = value
	}
	switch {
	case e.kid == "" || len(e.kid) > 64:
		return nil, badSignature("kid", "length", "send the ID of one of your signing keys, 1 to 64 characters", "is %d characters long", len(e.kid))
	case *want["typ"] != signedTyp:
		return nil, badSignature("typ", "unknown", "send "+signedTyp, "is %.40q", *want["typ"])
	case e.jti == "":
		return nil, badSignature("jti", "required", "send the idempotency key in it", "is missing")
	}
	return e, nil
}

// payload is what was signed, whether or not the signature is good.
func (e *envelope) payload() []byte { return e.jws.UnsafePayloadWithoutVerification() }

// verify fails with a SignatureError if e was not signed with k.
func (e *envelope) verify(k registry.SignKey) error {
	if e.alg != k.Alg {
		return badSignature("alg", "type", "sign with "+k.Alg, "is %s, and key %s is one for %s", e.alg, k.ID, k.Alg)
	}
	key, err := k.Verifier()
	if err != nil {
		return err
	}
	if _, err := e.jws.Verify(key); err != nil {
		return badSignature("signature", "mismatch", "sign the very bytes that you send, with the private half of key "+k.ID, "does not fit header, payload and key %s", k.ID)
	}
	return nil
}

func revokedKey(kid string) error {
	return badSignature("kid", "revoked", "sign with a key that is in force; the operator can add one", "is %.64q, which has been revoked", kid)
}

// verified checks the envelope of s, sent by b under an idempotency key, and returns the message in
// it. One that is not signed it returns as it is.
func (d *Desk) verified(ctx context.Context, b registry.Brand, key string, s Submission) (Submission, error) {
	e := s.signed
	if e == nil {
		return s, nil
	}
	if e.jti != key {
		return s, badSignature("jti", "mismatch", "sign the message with the key that you send it under", "is %.128q, but the idempotency key is %.128q", e.jti, key)
	}
	var k registry.SignKey
	err := d.db.View(ctx, func(tx *store.Tx) (err error) { k, err = registry.SignKeyByID(tx, b.ID, e.kid); return err })
	switch {
	case errors.Is(err, registry.ErrUnknown):
		return s, badSignature("kid", "unknown", "use the ID that the operator registered your key under", "is %.64q, which is no key of this brand", e.kid)
	case err != nil:
		return s, err
	case k.Revoked != 0:
		return s, revokedKey(e.kid)
	}
	if err := e.verify(k); err != nil {
		return s, err
	}
	if s, err = ParseSubmission(e.payload()); err != nil {
		return s, err
	}
	s.signed = e
	return s, nil
}

// mayAccept fails if b may not send s, as it stands in this transaction.
func (d *Desk) mayAccept(tx *store.Tx, b registry.Brand, s Submission) error {
	kid := ""
	if s.signed != nil {
		kid = s.signed.kid
	}
	standing, err := registry.StandingOf(tx, b.ID, kid)
	switch {
	case err != nil:
		return err
	case standing.Stopped:
		return ErrStopped
	case s.signed == nil && (standing.Signs || d.o.SignedOnly):
		return ErrUnsigned
	case s.signed != nil && !standing.Key: // since it was verified
		return revokedKey(kid)
	}
	return nil
}

// acceptedAs is the event in which a message was accepted, and what it says. It fails with registry.ErrUnknown if there is none.
func acceptedAs(tx *store.Tx, id device.MessageID) (e store.Event, f acceptedFact, err error) {
	err = tx.QueryRow(`SELECT m.seq, m.at, j.body FROM message m JOIN journal j ON j.home = 0 AND j.pos = m.seq WHERE m.id = ?`, id[:]).Scan(&e.Pos, &e.At, &e.Body)
	switch {
	case isNoRows(err):
		err = registry.ErrUnknown
	case err == nil:
		err = store.With(e, func(it acceptedFact) error { f = it; return nil })
	}
	return e, f, err
}

// submission is the message that was accepted, as it was sent.
func (f acceptedFact) submission() (Submission, error) {
	if f.Signed == "" {
		f.Message.worth = f.Worth
		return f.Message, nil
	}
	_, rest, _ := strings.Cut(f.Signed, ".")
	payload, _, _ := strings.Cut(rest, ".")
	var s Submission
	raw, err := base64.RawURLEncoding.DecodeString(payload)
	if err == nil {
		err = json.Unmarshal(raw, &s)
	}
	if err != nil {
		return s, fmt.Errorf("signed message %s: %w", f.ID, err)
	}
	s.worth = f.Worth
	return s, nil
}

// Sign signs a message, in JSON, that is to be sent under an idempotency key, with an
// ed25519.PrivateKey or an *ecdsa.PrivateKey on P-256. An empty kid is [registry.KeyID].
func Sign(private crypto.Signer, kid, key string, message []byte) (string, error) {
	public, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	k, err := registry.NewSignKey("", kid, public)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	options := (&jose.SignerOptions{}).WithType(signedTyp).WithHeader("jti", key)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(k.Alg), Key: jose.JSONWebKey{Key: private, KeyID: k.ID}}, options)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	jws, err := signer.Sign(message)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	return jws.CompactSerialize()
}

// ParseSignKey reads a public key of a brand, in PEM or as a JWK (RFC 7517). An empty kid is that of
// the JWK, and otherwise [registry.KeyID].
func ParseSignKey(brand device.BrandID, kid string, raw []byte) (registry.SignKey, error) {
	no := func(why string) (registry.SignKey, error) {
		return registry.SignKey{}, fmt.Errorf("signing key: %w: %s", registry.ErrInvalid, why)
	}
	const private = "this is the private half, which is for its owner alone: give the public one, and make another key if this one has been about"
	if block, _ := pem.Decode(raw); block != nil {
		switch {
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			return no(private)
		case block.Type != "PUBLIC KEY":
			return no(fmt.Sprintf("it is PEM of a %.40q: give a PUBLIC KEY, or a JWK", block.Type))
		}
		return registry.NewSignKey(brand, kid, block.Bytes)
	}
	var k jose.JSONWebKey
	if err := k.UnmarshalJSON(raw); err != nil {
		return no("it is neither a public key in PEM nor a JWK of kty OKP or EC")
	}
	if !k.IsPublic() {
		return no(private)
	}
	switch k.Key.(type) {
	case ed25519.PublicKey, *ecdsa.PublicKey:
	default:
		return no("use an Ed25519 key, or an EC key on the curve P-256")
	}
	der, err := x509.MarshalPKIXPublicKey(k.Key)
	if err != nil {
		return no("its key cannot be read")
	}
	if kid == "" {
		kid = k.KeyID
	}
	return registry.NewSignKey(brand, kid, der)
}

// JWK spells a signing key as RFC 7517 does. It fails with [registry.ErrInvalid] for a key that
// nothing can be signed with, such as a point of low order.
func JWK(k registry.SignKey) (json.RawMessage, error) {
	key, err := k.Verifier()
	var raw []byte
	if err == nil {
		raw, err = jose.JSONWebKey{Key: key, KeyID: k.ID, Algorithm: k.Alg, Use: "sig"}.MarshalJSON()
	}
	if err != nil {
		return nil, fmt.Errorf("signing key %s of brand %s: %w: nothing can be signed with that key", k.ID, k.Brand, registry.ErrInvalid)
	}
	return raw, nil
}

// MakeSignKey makes a key pair for alg.
func MakeSignKey(alg string) (crypto.Signer, error) {
	switch alg {
	case registry.EdDSA:
		_, private, err := ed25519.GenerateKey(nil)
		return private, err
	case registry.ES256:
		return ecdsa.GenerateKey(elliptic.P256(), nil)
	}
	return nil, fmt.Errorf("signing key: %w: algorithm %.40q is not EdDSA or ES256", registry.ErrInvalid, alg)
}

// Proof is who signed a message, and whether that can still be shown.
type Proof struct {
	ID       device.MessageID  `json:"id"`
	Brand    device.BrandID    `json:"brand"`
	Accepted device.Instant    `json:"accepted"`
	Key      string            `json:"key"`           // idempotency
	KID      string            `json:"kid,omitempty"` // "": the message was not signed
	Sign     *registry.SignKey `json:"sign_key,omitempty"`
	JWK      json.RawMessage   `json:"jwk,omitempty"`
	JWS      string            `json:"jws,omitempty"` // as it came
	Valid    bool              `json:"valid"`         // the brand has signed this message, with a key that was in force
	Verdict  string            `json:"verdict"`       // the same in words, with what is wrong
}

// Prove verifies anew the signature of a message that was accepted, from what the journal keeps.
func (d *Desk) Prove(ctx context.Context, id device.MessageID) (p Proof, err error) {
	err = d.db.View(ctx, func(tx *store.Tx) error {
		e, f, err := acceptedAs(tx, id)
		if err != nil {
			return err
		}
		p = Proof{ID: id, Brand: f.Brand, Accepted: e.At, Key: f.Key, JWS: f.Signed}
		if f.Signed == "" {
			p.Verdict = "it was not signed"
			return nil
		}
		err = p.prove(tx, f, e.Pos)
		var bad *SignatureError
		switch {
		case err == nil:
			p.Valid, p.Verdict = true, "the signature is good, and the key was in force when the message was accepted"
		case errors.As(err, &bad):
			p.Verdict = bad.Field + " " + bad.Why
		case errors.Is(err, registry.ErrUnknown):
			p.Verdict = err.Error()
		default:
			return err
		}
		return nil
	})
	if err != nil {
		return Proof{}, fmt.Errorf("message %s: %w", id, err)
	}
	return p, nil
}

// prove fails if f, which was written at pos, is not what its brand has signed.
func (p *Proof) prove(tx *store.Tx, f acceptedFact, pos int64) error {
	e, err := parseEnvelope(f.Signed)
	if err != nil {
		return err
	}
	p.KID = e.kid
	k, err := registry.SignKeyByID(tx, f.Brand, e.kid)
	if err != nil {
		return err
	}
	p.Sign = &k
	if p.JWK, err = JWK(k); err != nil {
		return badSignature("kid", "unknown", "", "is %.64q, and that key cannot be read", e.kid)
	}
	if err := e.verify(k); err != nil {
		return err
	}
	s, err := f.submission()
	if err != nil {
		return badSignature("jws", "syntax", "", "has a payload that is not a message")
	}
	digest, err := s.digest()
	if err != nil {
		return err
	}
	switch {
	case e.jti != f.Key:
		return badSignature("jti", "mismatch", "", "is %.128q, but the message was accepted under the key %.128q", e.jti, f.Key)
	case !slices.Equal(digest, f.Digest):
		return badSignature("jws", "mismatch", "", "has a payload that is not the message that was accepted")
	case !k.InForce(pos):
		return badSignature("kid", "revoked", "", "is %.64q, which was not in force when the message was accepted", e.kid)
	}
	return nil
}

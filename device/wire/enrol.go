package wire

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"strings"

	"porchlight/device"
)

// The limits of enrolment.
const (
	MaxRequest     = 1 << 10 // bytes of a certificate request (PKCS #10)
	MaxCertificate = 2 << 10 // bytes of one certificate
	MaxCAs         = 2       // certificates of authorities in one answer
	NonceSize      = 16      // bytes of a nonce
	HashSize       = 32      // bytes of a commitment, a proof, a key's hash
	MaxCode        = 32      // bytes of a code or secret that a person types
	MaxApplicants  = 3       // candidates in one window
)

// The operations of up/enrol and dn/enrol.
const (
	opApply      uint8 = 1
	opReveal     uint8 = 2
	opChallenge  uint8 = 1
	opAdmitted   uint8 = 2
	opTurnedAway uint8 = 3
)

// Way is how a person says that a device is the one in front of them.
type Way uint8

// The ways.
const (
	ByCode  Way = 1 // the device shows or speaks six digits, and they are typed on a trusted device
	ByLabel Way = 2 // the secret on the device's label is typed or scanned on a trusted device
	ByHome  Way = 3 // the one-time code of the home is typed on the device: it becomes the first trusted one
)

// Apply asks to be let in, on up/enrol. It binds the device to its nonce before it knows the
// gateway's.
type Apply struct {
	Op     uint8        `cbor:"0,keyasint"`           // 1; Encode sets it
	Commit []byte       `cbor:"1,keyasint"`           // see Commitment
	CSR    []byte       `cbor:"2,keyasint,omitempty"` // PKCS #10 with a P-256 key; none: the device wants a token
	Model  Model        `cbor:"3,keyasint"`
	Class  device.Class `cbor:"4,keyasint"`
	Way    Way          `cbor:"5,keyasint"`
}

// Reveal opens the commitment, on up/enrol.
type Reveal struct {
	Op    uint8  `cbor:"0,keyasint"` // 2; Encode sets it
	Nonce []byte `cbor:"1,keyasint"`
	Proof []byte `cbor:"2,keyasint,omitempty"` // ByLabel and ByHome: see Binding.Proof
}

// Challenge is the gateway's nonce, on dn/enrol.
type Challenge struct {
	Op    uint8  `cbor:"0,keyasint"` // 1; Encode sets it
	Nonce []byte `cbor:"1,keyasint"`
}

// Admitted is what a device needs from now on, on dn/enrol.
type Admitted struct {
	Op          uint8     `cbor:"0,keyasint"` // 2; Encode sets it
	ID          device.ID `cbor:"1,keyasint"` // client ID from now on
	Certificate []byte    `cbor:"2,keyasint,omitempty"`
	Token       string    `cbor:"3,keyasint,omitempty"` // one of the two
	CAs         [][]byte  `cbor:"4,keyasint"`           // to trust from now on; the first is the one of the binding
	Name        string    `cbor:"5,keyasint"`           // that the gateway's certificate has, whatever its address
	Clock       uint64    `cbor:"6,keyasint"`           // ms since 1970
}

// TurnedAway ends an application, on dn/enrol.
type TurnedAway struct {
	Op   uint8  `cbor:"0,keyasint"` // 3; Encode sets it
	Why  Why    `cbor:"1,keyasint"`
	Text string `cbor:"2,keyasint,omitempty"` // for the firmware engineer
}

// Why is why an application ended.
type Why uint8

// The reasons.
const (
	Closed   Why = 1 // nobody is adding a device just now
	Rejected Why = 2 // a person said no
	Tries    Why = 3 // the code was typed wrongly three times
	Late     Why = 4 // the window closed
	Unproven Why = 5 // the nonce is not the one of the commitment, or the proof is wrong
	Full     Why = 6 // too many devices ask just now
	Unusable Why = 7 // the certificate request cannot be used
)

// KeyRequest asks for a new credential, on up/key.
type KeyRequest struct {
	Seq uint64 `cbor:"0,keyasint"`
	CSR []byte `cbor:"1,keyasint,omitempty"` // with a new key; none: a token
}

// The operations of dn/key.
const (
	opKeyAsk    uint8 = 1
	opKeyIssued uint8 = 2
)

// KeyAsk asks a device to send a KeyRequest, on dn/key.
type KeyAsk struct {
	Op    uint8  `cbor:"0,keyasint"`           // 1; Encode sets it
	Until uint64 `cbor:"1,keyasint,omitempty"` // ms since 1970: when its credential ends; 0: at once, please
}

// KeyIssued is a new credential, on dn/key. The one before stands until a day after the new one
// was used first.
type KeyIssued struct {
	Op          uint8    `cbor:"0,keyasint"` // 2; Encode sets it
	Certificate []byte   `cbor:"1,keyasint,omitempty"`
	Token       string   `cbor:"2,keyasint,omitempty"` // one of the two
	CAs         [][]byte `cbor:"3,keyasint"`           // to trust from now on
	Until       uint64   `cbor:"4,keyasint,omitempty"` // ms since 1970: when it ends; 0: never
}

// Command is an order to the device itself, on dn/cmd. It is sent again until it is answered.
type Command struct {
	Op uint8 `cbor:"0,keyasint"`
}

// The commands.
const (
	Wipe uint8 = 1 // forget everything and say so: up/bye, reason wiped
)

// The operations of up/join.
const (
	JoinOpen   uint8 = 1 // open the window, or ask what is in it
	JoinClose  uint8 = 2
	JoinAdmit  uint8 = 3
	JoinReject uint8 = 4
)

// Join is what a person does on a trusted device to let another in, on up/join.
type Join struct {
	Seq        uint64 `cbor:"0,keyasint"`
	Op         uint8  `cbor:"1,keyasint"`
	Applicant  string `cbor:"2,keyasint,omitempty"` // JoinAdmit, JoinReject: which, as the window lists it
	Code       string `cbor:"3,keyasint,omitempty"` // JoinAdmit: what was typed
	Name       string `cbor:"4,keyasint,omitempty"` // what people call it; "": its class
	Room       string `cbor:"5,keyasint,omitempty"` // made if it is not there
	Person     uint32 `cbor:"6,keyasint,omitempty"` // whose it is; 0: everybody's
	Until      uint64 `cbor:"7,keyasint,omitempty"` // ms since 1970: a guest's device, until then
	Controller bool   `cbor:"8,keyasint,omitempty"` // it may do what this device may
}

// Window is who asks to be let in, on dn/join, whenever that changes while it is open.
type Window struct {
	Until      uint64       `cbor:"0,keyasint"` // ms since 1970; 0: it is closed
	Applicants []Applicant  `cbor:"1,keyasint"` // those that have revealed their nonce
	Outcome    *JoinOutcome `cbor:"2,keyasint,omitempty"`
}

// Applicant is a device that asks to be let in.
type Applicant struct {
	ID    string       `cbor:"0,keyasint"` // as in "e-0123456789abcdef"
	Class device.Class `cbor:"1,keyasint"`
	Model Model        `cbor:"2,keyasint"` // what it says of itself: nobody has verified it
	Way   Way          `cbor:"3,keyasint"` // what is to be typed
	Tries uint8        `cbor:"4,keyasint"` // that are left
}

// JoinOutcome is what came of the last JoinAdmit or JoinReject.
type JoinOutcome struct {
	Applicant string     `cbor:"0,keyasint"`
	Result    JoinResult `cbor:"1,keyasint"`
	Device    device.ID  `cbor:"2,keyasint,omitempty"` // its ID, if it was admitted
}

// JoinResult is what came of it.
type JoinResult uint8

// The results.
const (
	JoinAdmitted JoinResult = 1
	JoinWrong    JoinResult = 2 // not the code: look again, there are tries left
	JoinEnded    JoinResult = 3 // it is not, or no longer, among the applicants
)

// Binding is what a device and a gateway have both seen when nobody stands between them. Keys are
// SHA-256 of a SubjectPublicKeyInfo. CA's is that of the last certificate of the chain that the
// device was shown, and counts only if the chain verifies with it: anybody can show a certificate.
// A device that wants a token has the zero key.
type Binding struct {
	CA, Device     [HashSize]byte
	NonceD, NonceG []byte
}

// Commitment is what a device commits itself with to a nonce and its key. A nonce is revealed to one
// challenge only: whoever knows it beforehand can choose a challenge that makes any code.
func Commitment(nonce []byte, key [HashSize]byte) []byte {
	h := sha256.New()
	h.Write([]byte("porchlight-commit-1"))
	h.Write(key[:])
	h.Write(nonce)
	return h.Sum(nil)
}

// ApplicantID is the client ID of a device that asks to be let in: "e-" and 16 hexadecimal digits
// of its key, or of its commitment if it has none.
func ApplicantID(key [HashSize]byte, commit []byte) string {
	if key == ([HashSize]byte{}) {
		copy(key[:], commit)
	}
	return "e-" + hex.EncodeToString(key[:8])
}

func (b Binding) bytes() []byte {
	all := append(b.CA[:], b.Device[:]...)
	return append(append(all, b.NonceD...), b.NonceG...)
}

// Code is the six digits that a person compares by typing them. Because the device is committed
// to its nonce before it sees the gateway's, whoever stands between the two is right once in a
// million.
func (b Binding) Code() string {
	sum := sha256.Sum256(append([]byte("porchlight-sas-1"), b.bytes()...))
	return fmt.Sprintf("%06d", binary.BigEndian.Uint64(sum[:8])%1_000_000)
}

// Proof shows that who made it knows secret: that of the label, or the home's one-time code. It
// is compared with hmac.Equal.
func (b Binding) Proof(secret string) []byte {
	h := hmac.New(sha256.New, []byte(PlainSecret(secret)))
	h.Write([]byte("porchlight-proof-1"))
	h.Write(b.bytes())
	return h.Sum(nil)
}

// PlainSecret is a code or secret as it is compared, however a person spelled it: without hyphens and
// spaces, in small letters.
func PlainSecret(typed string) string {
	return strings.ToLower(strings.Map(func(r rune) rune {
		if r == '-' || r == ' ' {
			return -1
		}
		return r
	}, typed))
}

// DecodeEnrol reads a frame of up/enrol: without an error, one of a and r is not nil.
func DecodeEnrol(b []byte) (a *Apply, r *Reveal, err error) {
	f, err := decode(UpEnrol, b, func(t *table, f *enrolFrame) {
		switch op := t.uint(0, "op", required); {
		case t.err != nil:
		case op == uint64(opApply):
			f.Apply = &Apply{Op: opApply, Commit: t.bytes(1, "commit", required), CSR: t.bytes(2, "csr", optional)}
			t.sub(3, "model", required, func(t *table) { readModel(t, &f.Apply.Model) })
			f.Apply.Class = device.Class(t.known(4, "class", required))
			f.Apply.Way = Way(t.known(5, "way", required))
		case op == uint64(opReveal):
			f.Reveal = &Reveal{Op: opReveal, Nonce: t.bytes(1, "nonce", required), Proof: t.bytes(2, "proof", optional)}
		default:
			t.fail(fmt.Errorf("op %d is unknown: 1 applies, 2 reveals", op))
		}
	})
	return f.Apply, f.Reveal, err
}

type enrolFrame struct {
	*Apply
	*Reveal
}

func (e *enrolFrame) check() error {
	if e.Apply != nil {
		return e.Apply.check()
	}
	return e.Reveal.check()
}

// Enrolment is a frame of dn/enrol: one of the three.
type Enrolment struct {
	Challenge  *Challenge
	Admitted   *Admitted
	TurnedAway *TurnedAway
}

// DecodeEnrolment reads a frame of dn/enrol.
func DecodeEnrolment(b []byte) (Enrolment, error) {
	return decode(DnEnrol, b, func(t *table, f *Enrolment) {
		switch op := t.uint(0, "op", required); {
		case t.err != nil:
		case op == uint64(opChallenge):
			f.Challenge = &Challenge{Op: opChallenge, Nonce: t.bytes(1, "nonce", required)}
		case op == uint64(opAdmitted):
			f.Admitted = &Admitted{
				Op: opAdmitted, ID: device.ID(t.text(1, "id", required)), Certificate: t.bytes(2, "certificate", optional), Token: t.filled(3, "token", MaxName),
				CAs: t.blobs(4, "cas", required), Name: t.text(5, "name", required), Clock: t.uint(6, "clock", required),
			}
		case op == uint64(opTurnedAway):
			f.TurnedAway = &TurnedAway{Op: opTurnedAway, Why: Why(t.known(1, "why", required)), Text: t.text(2, "text", optional)}
		default:
			t.fail(fmt.Errorf("op %d is unknown: 1 challenges, 2 admits, 3 turns away", op))
		}
	})
}

func (e *Enrolment) check() error {
	switch {
	case e.Challenge != nil:
		return e.Challenge.check()
	case e.Admitted != nil:
		return e.Admitted.check()
	}
	return e.TurnedAway.check()
}

// DecodeKeyRequest reads a frame of up/key.
func DecodeKeyRequest(b []byte) (KeyRequest, error) {
	return decode(UpKey, b, func(t *table, f *KeyRequest) {
		f.Seq = t.uint(0, "seq", required)
		f.CSR = t.bytes(1, "csr", optional)
	})
}

// DecodeKey reads a frame of dn/key: without an error, one of a and k is not nil.
func DecodeKey(b []byte) (a *KeyAsk, k *KeyIssued, err error) {
	f, err := decode(DnKey, b, func(t *table, f *keyFrame) {
		switch op := t.uint(0, "op", required); {
		case t.err != nil:
		case op == uint64(opKeyAsk):
			f.KeyAsk = &KeyAsk{Op: opKeyAsk, Until: t.uint(1, "until", optional)}
		case op == uint64(opKeyIssued):
			f.KeyIssued = &KeyIssued{
				Op: opKeyIssued, Certificate: t.bytes(1, "certificate", optional), Token: t.filled(2, "token", MaxName),
				CAs: t.blobs(3, "cas", required), Until: t.uint(4, "until", optional),
			}
		default:
			t.fail(fmt.Errorf("op %d is unknown: 1 asks, 2 issues", op))
		}
	})
	return f.KeyAsk, f.KeyIssued, err
}

type keyFrame struct {
	*KeyAsk
	*KeyIssued
}

func (k *keyFrame) check() error {
	if k.KeyAsk != nil {
		return k.KeyAsk.check()
	}
	return k.KeyIssued.check()
}

// DecodeCommand reads a frame of dn/cmd. An operation that is not known is an error: a device
// leaves it alone.
func DecodeCommand(b []byte) (Command, error) {
	return decode(DnCmd, b, func(t *table, f *Command) { f.Op = t.known(0, "op", required) })
}

// DecodeJoin reads a frame of up/join.
func DecodeJoin(b []byte) (Join, error) {
	return decode(UpJoin, b, func(t *table, f *Join) {
		f.Seq = t.uint(0, "seq", required)
		f.Op = t.known(1, "op", required)
		f.Applicant = t.text(2, "applicant", optional)
		f.Code = t.text(3, "code", optional)
		f.Name = t.text(4, "name", optional)
		f.Room = t.text(5, "room", optional)
		f.Person = t.number(6, "person", optional)
		f.Until = t.uint(7, "until", optional)
		f.Controller = t.bool(8, "controller", optional)
	})
}

// DecodeWindow reads a frame of dn/join.
func DecodeWindow(b []byte) (Window, error) {
	return decode(DnJoin, b, func(t *table, f *Window) {
		f.Until = t.uint(0, "until", required)
		t.take(1, "applicants", required)
		f.Applicants = subs(t, 1, "applicants", func(t *table, a *Applicant) {
			a.ID = t.text(0, "id", required)
			a.Class = device.Class(t.known(1, "class", required))
			t.sub(2, "model", required, func(t *table) { readModel(t, &a.Model) })
			a.Way = Way(t.known(3, "way", required))
			a.Tries = uint8(t.upTo(4, "tries", required, math.MaxUint8))
		})
		if t.has(2) {
			f.Outcome = new(JoinOutcome)
			t.sub(2, "outcome", required, func(t *table) {
				f.Outcome.Applicant = t.text(0, "applicant", required)
				f.Outcome.Result = JoinResult(t.known(1, "result", required))
				f.Outcome.Device = device.ID(t.text(2, "device", optional))
			})
		}
	})
}

func (a *Apply) check() error {
	return first(exactly("commit", a.Commit, HashSize), blob("csr", a.CSR, MaxRequest), within("model", a.Model.check()), class(a.Class), a.Way.check())
}

func (w Way) check() error {
	if w < ByCode || w > ByHome {
		return fmt.Errorf("way %d is unknown: 1 code, 2 label, 3 home", w)
	}
	return nil
}

func (r *Reveal) check() error {
	if err := exactly("nonce", r.Nonce, NonceSize); err != nil || r.Proof == nil {
		return err
	}
	return exactly("proof", r.Proof, HashSize)
}

func (c *Challenge) check() error { return exactly("nonce", c.Nonce, NonceSize) }

func (a *Admitted) check() error {
	if _, err := device.ParseID(string(a.ID)); err != nil {
		return err
	}
	return first(credential(a.Certificate, a.Token, a.CAs), size("name", a.Name, 1, MaxName), number("clock", a.Clock, MaxUint))
}

func (t *TurnedAway) check() error { return size("text", t.Text, 0, MaxText) }

func (k *KeyRequest) check() error {
	return first(number("seq", k.Seq, MaxUint), blob("csr", k.CSR, MaxRequest))
}

func (k *KeyAsk) check() error { return number("until", k.Until, MaxUint) }

func (k *KeyIssued) check() error {
	return first(credential(k.Certificate, k.Token, k.CAs), number("until", k.Until, MaxUint))
}

// credential checks that one of certificate and token is there.
func credential(certificate []byte, token string, cas [][]byte) error {
	if (len(certificate) == 0) == (token == "") {
		return fmt.Errorf("certificate or token: one of the two is needed")
	}
	if n := len(cas); n < 1 || n > MaxCAs {
		return fmt.Errorf("cas has %d items, 1 to %d allowed", n, MaxCAs)
	}
	return first(blob("certificate", certificate, MaxCertificate), size("token", token, 0, MaxName),
		each("cas", cas, MaxCAs, func(ca *[]byte) error { return length("it", len(*ca), MaxCertificate) }))
}

func (c *Command) check() error {
	if c.Op != Wipe {
		return fmt.Errorf("op %d is unknown: 1 wipes", c.Op)
	}
	return nil
}

func (j *Join) check() error {
	if j.Op < JoinOpen || j.Op > JoinReject {
		return fmt.Errorf("op %d is unknown: 1 opens, 2 closes, 3 admits, 4 rejects", j.Op)
	}
	if j.Op == JoinAdmit || j.Op == JoinReject {
		if err := applicant("applicant", j.Applicant); err != nil {
			return err
		}
	}
	return first(number("seq", j.Seq, MaxUint), size("applicant", j.Applicant, 0, MaxName), size("code", j.Code, 0, MaxCode),
		size("name", j.Name, 0, MaxName), size("room", j.Room, 0, MaxName), number("person", uint64(j.Person), math.MaxInt32), number("until", j.Until, MaxUint))
}

func (w *Window) check() error {
	err := first(number("until", w.Until, MaxUint), each("applicants", w.Applicants, MaxApplicants, func(a *Applicant) error {
		return first(applicant("id", a.ID), class(a.Class), within("model", a.Model.check()), a.Way.check())
	}))
	if err == nil && w.Outcome != nil {
		err = within("outcome", w.Outcome.check())
	}
	return err
}

func (o *JoinOutcome) check() error {
	if err := applicant("applicant", o.Applicant); err != nil || o.Device == "" {
		return err
	}
	_, err := device.ParseID(string(o.Device))
	return err
}

func applicant(field, id string) error {
	if device.IsApplicant(id) {
		return nil
	}
	return fmt.Errorf("%s is %s, it must be e- and 16 hexadecimal digits", field, quote(id))
}

// blob checks bytes that may be absent. Empty ones are a slip of whoever made them, not a wish
// for a token.
func blob(field string, b []byte, most int) error {
	if b == nil {
		return nil
	}
	return length(field, len(b), most)
}

func length(field string, n, most int) error {
	switch {
	case n > most:
		return fmt.Errorf("%s is %d bytes long, at most %d", field, n, most)
	case n == 0:
		return fmt.Errorf("%s is empty, 1 to %d bytes allowed", field, most)
	}
	return nil
}

func exactly(field string, b []byte, n int) error {
	if len(b) == n {
		return nil
	}
	return fmt.Errorf("%s is %d bytes long, %d needed", field, len(b), n)
}

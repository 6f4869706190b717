package wire

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight/device"
)

// der reads a file of testdata/enrol.
func der(name string) []byte {
	b, err := os.ReadFile("testdata/enrol/" + name)
	if err != nil {
		panic(err)
	}
	block, _ := pem.Decode(b)
	if block == nil {
		panic(name + " is not PEM")
	}
	return block.Bytes
}

// What a gateway and a fridge said to each other once: see testdata/enrol.
var (
	caCert     = der("ca.crt")
	firstCSR   = der("first.csr")
	firstCert  = der("first.crt")
	secondCSR  = der("second.csr")
	secondCert = der("second.crt")
	nonceD     = unhex("00112233445566778899aabbccddeeff")
	nonceG     = unhex("0f1e2d3c4b5a69788796a5b4c3d2e1f0")

	// and a speaker that wants a token
	speakerD    = unhex("f0e0d0c0b0a090807060504030201000")
	speakerG    = unhex("a5a5a5a5a5a5a5a5a5a5a5a5a5a5a508")
	labelSecret = "K7QM-3VZD-P2XA-W5NT"
	noKey       [HashSize]byte
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// keyOf is the hash of the key in a certificate or request, found in the DER by hand: a
// SubjectPublicKeyInfo of P-256 is 91 bytes, of which the first 27 are always the same.
func keyOf(der []byte) [HashSize]byte {
	head := unhex("3059301306072a8648ce3d020106082a8648ce3d030107034200" + "04")
	at := bytes.Index(der, head)
	if at < 0 {
		panic("no P-256 key")
	}
	return sha256.Sum256(der[at : at+91])
}

// TestFixtures: the certificates are what the contract says that a gateway's are.
func TestFixtures(t *testing.T) {
	ca, err := x509.ParseCertificate(caCert)
	if err != nil || ca.CheckSignatureFrom(ca) != nil {
		t.Fatalf("ca.crt: %v, or not signed by itself", err)
	}
	for _, pair := range [][2][]byte{{firstCSR, firstCert}, {secondCSR, secondCert}} {
		r, err := x509.ParseCertificateRequest(pair[0])
		if err != nil || r.CheckSignature() != nil {
			t.Fatalf("request: %v, or not signed by its key", err)
		}
		if key, ok := r.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
			t.Error("the request's key is not of P-256")
		}
		c, err := x509.ParseCertificate(pair[1])
		if err != nil {
			t.Fatal(err)
		}
		if err := c.CheckSignatureFrom(ca); err != nil {
			t.Error(err)
		}
		if c.Subject.CommonName != string(me) || !slices.Equal(c.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}) {
			t.Errorf("certificate of %s for %v", c.Subject, c.ExtKeyUsage)
		}
		if c.NotAfter.Sub(c.NotBefore) != 366*24*time.Hour {
			t.Errorf("certificate from %s to %s, want a day before and a year after", c.NotBefore, c.NotAfter)
		}
		if !bytes.Equal(c.RawSubjectPublicKeyInfo, r.RawSubjectPublicKeyInfo) || sha256.Sum256(c.RawSubjectPublicKeyInfo) != keyOf(pair[1]) {
			t.Error("certificate and request have two keys")
		}
	}
	if keyOf(firstCert) == keyOf(secondCert) {
		t.Error("the new certificate has the old key")
	}
}

// plainHash is SHA-256 over parts, one after the other.
func plainHash(parts ...[]byte) []byte {
	sum := sha256.Sum256(bytes.Join(parts, nil))
	return sum[:]
}

// plainHMAC is HMAC-SHA-256 as RFC 2104 defines it, for a secret of at most 64 bytes.
func plainHMAC(secret string, parts ...[]byte) []byte {
	var inner, outer [64]byte
	copy(inner[:], secret)
	copy(outer[:], secret)
	for i := range inner {
		inner[i] ^= 0x36
		outer[i] ^= 0x5c
	}
	return plainHash(outer[:], plainHash(append([][]byte{inner[:]}, parts...)...))
}

// TestContractVectors: the table of values in CONTRACT.md holds by its formulas, worked out here
// from the bytes, and by our own functions.
func TestContractVectors(t *testing.T) {
	rows := regexp.MustCompile("(?m)^\\| (\\w+) \\| ([^|]+) \\| `([^`]*)` \\| `([^`]*)` \\|$").FindAllStringSubmatch(contractText(t), -1)
	columns := [2]map[string]string{{}, {}}
	for _, r := range rows {
		columns[0][r[1]], columns[1][r[1]] = r[3], r[4]
	}
	if len(rows) != 10 {
		t.Errorf("CONTRACT.md has %d rows of values, want 10", len(rows))
	}
	leadingZero := false
	for i, v := range columns {
		ca, key, d, g := unhex(v["ca"]), unhex(v["key"]), unhex(v["nonce_d"]), unhex(v["nonce_g"])
		if len(ca) != 32 || len(key) != 32 || len(d) != 16 || len(g) != 16 {
			t.Fatalf("column %d: sizes of %v", i, v)
		}
		want := map[string]string{}
		commit := plainHash([]byte("porchlight-commit-1"), key, d)
		want["commit"] = hex.EncodeToString(commit)
		name := key
		if bytes.Equal(key, make([]byte, 32)) {
			name = commit
		}
		want["applicant"] = fmt.Sprintf("e-%x", name[:8])
		want["code"] = fmt.Sprintf("%06d", binary.BigEndian.Uint64(plainHash([]byte("porchlight-sas-1"), ca, key, d, g))%1_000_000)
		want["proof"] = hex.EncodeToString(plainHMAC(v["plain"], []byte("porchlight-proof-1"), ca, key, d, g))
		want["plain"] = strings.ToLower(strings.NewReplacer("-", "", " ", "").Replace(v["secret"]))

		b := Binding{CA: [32]byte(ca), Device: [32]byte(key), NonceD: d, NonceG: g}
		ours := map[string]string{
			"commit": hex.EncodeToString(Commitment(d, b.Device)), "applicant": ApplicantID(b.Device, Commitment(d, b.Device)),
			"code": b.Code(), "proof": hex.EncodeToString(b.Proof(v["secret"])), "plain": PlainSecret(v["secret"]),
		}
		for what, value := range want {
			if v[what] != value || ours[what] != value {
				t.Errorf("column %d, %s\nCONTRACT.md %s\nours        %s\nwant        %s", i, what, v[what], ours[what], value)
			}
		}
		if !bytes.Equal(b.Proof(v["secret"]), b.Proof(v["plain"])) {
			t.Errorf("column %d: the proof hangs on how the secret is spelled", i)
		}
		if !device.IsApplicant(v["applicant"]) {
			t.Errorf("column %d: %q is no applicant", i, v["applicant"])
		}
		leadingZero = leadingZero || v["code"][0] == '0'
	}
	if !leadingZero {
		t.Error("no code of the table begins with 0")
	}
	if second := columns[1]; second["nonce_d"] != fmt.Sprintf("%x", speakerD) || second["nonce_g"] != fmt.Sprintf("%x", speakerG) || second["secret"] != labelSecret {
		t.Error("the second column is not of the speaker in the text")
	}
	if first := columns[0]; first["ca"] != fmt.Sprintf("%x", keyOf(caCert)) || first["key"] != fmt.Sprintf("%x", keyOf(firstCSR)) ||
		first["nonce_d"] != fmt.Sprintf("%x", nonceD) || first["nonce_g"] != fmt.Sprintf("%x", nonceG) {
		t.Error("the first column is not of the fridge in the text")
	}
}

// TestBinding: every part of a binding counts, and so does its place.
func TestBinding(t *testing.T) {
	good := Binding{CA: keyOf(caCert), Device: keyOf(firstCSR), NonceD: nonceD, NonceG: nonceG}
	proof, code := good.Proof("secret"), good.Code()
	for name, edit := range map[string]func(*Binding){
		"another authority":  func(b *Binding) { b.CA[31] ^= 1 },
		"another key":        func(b *Binding) { b.Device[0] ^= 1 },
		"no key":             func(b *Binding) { b.Device = noKey },
		"another nonce":      func(b *Binding) { b.NonceD = slices.Repeat([]byte{1}, NonceSize) },
		"another challenge":  func(b *Binding) { b.NonceG = slices.Repeat([]byte{1}, NonceSize) },
		"nonces in exchange": func(b *Binding) { b.NonceD, b.NonceG = b.NonceG, b.NonceD },
		"keys in exchange":   func(b *Binding) { b.CA, b.Device = b.Device, b.CA },
	} {
		b := good
		edit(&b)
		if bytes.Equal(b.Proof("secret"), proof) {
			t.Errorf("%s: the same proof", name)
		}
		if b.Code() == code { // once in a million it may be; these are not
			t.Errorf("%s: the same code", name)
		}
	}
	if bytes.Equal(good.Proof("secrets"), proof) {
		t.Error("another secret: the same proof")
	}
	if bytes.Equal(Commitment(nonceD, noKey), Commitment(nonceD, good.Device)) || bytes.Equal(Commitment(nonceD, noKey), Commitment(nonceG, noKey)) {
		t.Error("a commitment binds nothing")
	}
}

func TestPlainSecret(t *testing.T) {
	for typed, want := range map[string]string{
		"": "", "123456": "123456", "123 456": "123456", "K7QM-3VZD-P2XA-W5NT": "k7qm3vzdp2xaw5nt", " k7qm 3vzd--p2xa - w5nt ": "k7qm3vzdp2xaw5nt",
		"a_b": "a_b", "a\tb": "a\tb",
	} {
		if got := PlainSecret(typed); got != want {
			t.Errorf("PlainSecret(%q) = %q, want %q", typed, got, want)
		}
	}
}

// TestEnrolBounds takes each frame to a bound and one beyond it, as a frame that is sent and, where
// somebody else could send it, as one that comes.
func TestEnrolBounds(t *testing.T) {
	blob := func(n int) []byte { return make([]byte, n) }
	text := func(n int) string { return strings.Repeat("x", n) }
	const e, cert = "e-0123456789abcdef", "certificate or token: one of the two is needed"
	apply := Apply{Commit: blob(32), Model: Model{Maker: "Polar"}, Class: device.Fridge, Way: ByCode}
	reveal := Reveal{Nonce: blob(16)}
	admitted := Admitted{ID: me, Certificate: blob(1), CAs: [][]byte{blob(1)}, Name: "porchlight", Clock: 1}
	issued := KeyIssued{Certificate: blob(1), CAs: [][]byte{blob(1)}}
	join := Join{Op: JoinAdmit, Applicant: e, Code: "123456"}
	asks := Applicant{ID: e, Class: device.TV, Way: ByLabel, Tries: 3}
	window := Window{Until: 1, Applicants: []Applicant{asks}}
	outcome := JoinOutcome{Applicant: e, Result: JoinAdmitted, Device: me}
	tests := []struct {
		leaf  Leaf
		frame any
		want  string // after "bad frame: <leaf>: "; "" means that it is a frame
	}{
		{UpEnrol, apply, ""},
		{UpEnrol, with(apply, func(a *Apply) { a.Commit = nil }), "commit is 0 bytes long, 32 needed"},
		{UpEnrol, with(apply, func(a *Apply) { a.Commit = blob(31) }), "commit is 31 bytes long, 32 needed"},
		{UpEnrol, with(apply, func(a *Apply) { a.Commit = blob(33) }), "commit is 33 bytes long, 32 needed"},
		{UpEnrol, with(apply, func(a *Apply) { a.CSR = blob(MaxRequest) }), ""},
		{UpEnrol, with(apply, func(a *Apply) { a.CSR = blob(MaxRequest + 1) }), "csr is 1025 bytes long, at most 1024"},
		{UpEnrol, with(apply, func(a *Apply) { a.CSR = blob(0) }), "csr is empty, 1 to 1024 bytes allowed"},
		{UpEnrol, with(apply, func(a *Apply) { a.Model.Maker = text(64) }), ""},
		{UpEnrol, with(apply, func(a *Apply) { a.Model.Maker = text(65) }), "model: maker is 65 bytes long, at most 64"},
		{UpEnrol, with(apply, func(a *Apply) { a.Model.Serial = text(129) }), "model: serial is 129 bytes long, at most 128"},
		{UpEnrol, with(apply, func(a *Apply) { a.Model.Name = "\xff" }), "model: name is not valid UTF-8"},
		{UpEnrol, with(apply, func(a *Apply) { a.Class = 0 }), "class 0 is unknown"},
		{UpEnrol, with(apply, func(a *Apply) { a.Class = 98 }), "class 98 is unknown"},
		{UpEnrol, with(apply, func(a *Apply) { a.Class = device.Other }), ""},
		{UpEnrol, with(apply, func(a *Apply) { a.Way = 0 }), "way 0 is unknown: 1 code, 2 label, 3 home"},
		{UpEnrol, with(apply, func(a *Apply) { a.Way = ByHome }), ""},
		{UpEnrol, with(apply, func(a *Apply) { a.Way = 4 }), "way 4 is unknown: 1 code, 2 label, 3 home"},
		{UpEnrol, reveal, ""},
		{UpEnrol, with(reveal, func(r *Reveal) { r.Nonce = nil }), "nonce is 0 bytes long, 16 needed"},
		{UpEnrol, with(reveal, func(r *Reveal) { r.Nonce = blob(15) }), "nonce is 15 bytes long, 16 needed"},
		{UpEnrol, with(reveal, func(r *Reveal) { r.Nonce = blob(17) }), "nonce is 17 bytes long, 16 needed"},
		{UpEnrol, with(reveal, func(r *Reveal) { r.Proof = blob(32) }), ""},
		{UpEnrol, with(reveal, func(r *Reveal) { r.Proof = blob(0) }), "proof is 0 bytes long, 32 needed"},
		{UpEnrol, with(reveal, func(r *Reveal) { r.Proof = blob(31) }), "proof is 31 bytes long, 32 needed"},
		{UpEnrol, with(reveal, func(r *Reveal) { r.Proof = blob(33) }), "proof is 33 bytes long, 32 needed"},

		{DnEnrol, Challenge{Nonce: blob(16)}, ""},
		{DnEnrol, Challenge{}, "nonce is 0 bytes long, 16 needed"},
		{DnEnrol, Challenge{Nonce: blob(32)}, "nonce is 32 bytes long, 16 needed"},
		{DnEnrol, admitted, ""},
		{DnEnrol, with(admitted, func(a *Admitted) { a.ID = "abc" }), `bad ID: device "abc" is not 4 to 32 characters of a-z, 0-9 and hyphen, beginning with a letter or digit`},
		{DnEnrol, with(admitted, func(a *Admitted) { a.ID = "" }), `bad ID: device "" is not 4 to 32 characters of a-z, 0-9 and hyphen, beginning with a letter or digit`},
		{DnEnrol, with(admitted, func(a *Admitted) { a.Certificate = nil }), cert},
		{DnEnrol, with(admitted, func(a *Admitted) { a.Token = "x" }), cert},
		{DnEnrol, with(admitted, func(a *Admitted) { a.Certificate, a.Token = nil, text(64) }), ""},
		{DnEnrol, with(admitted, func(a *Admitted) { a.Certificate, a.Token = nil, text(65) }), "token is 65 bytes long, at most 64"},
		{DnEnrol, with(admitted, func(a *Admitted) { a.Certificate, a.Token = blob(0), "x" }), "certificate is empty, 1 to 2048 bytes allowed"},
		{DnEnrol, with(admitted, func(a *Admitted) { a.Certificate = blob(MaxCertificate) }), ""},
		{DnEnrol, with(admitted, func(a *Admitted) { a.Certificate = blob(MaxCertificate + 1) }), "certificate is 2049 bytes long, at most 2048"},
		{DnEnrol, with(admitted, func(a *Admitted) { a.CAs = nil }), "cas has 0 items, 1 to 2 allowed"},
		{DnEnrol, with(admitted, func(a *Admitted) { a.CAs = [][]byte{blob(1), blob(MaxCertificate)} }), ""},
		{DnEnrol, with(admitted, func(a *Admitted) { a.CAs = [][]byte{blob(1), blob(1), blob(1)} }), "cas has 3 items, 1 to 2 allowed"},
		{DnEnrol, with(admitted, func(a *Admitted) { a.CAs = [][]byte{blob(1), blob(0)} }), "cas[1]: it is empty, 1 to 2048 bytes allowed"},
		{DnEnrol, with(admitted, func(a *Admitted) { a.CAs = [][]byte{blob(MaxCertificate + 1)} }), "cas[0]: it is 2049 bytes long, at most 2048"},
		{DnEnrol, with(admitted, func(a *Admitted) { a.Name = text(64) }), ""},
		{DnEnrol, with(admitted, func(a *Admitted) { a.Name = text(65) }), "name is 65 bytes long, at most 64"},
		{DnEnrol, with(admitted, func(a *Admitted) { a.Name = "" }), "name is empty, 1 to 64 bytes allowed"},
		{DnEnrol, with(admitted, func(a *Admitted) { a.Clock = MaxUint }), ""},
		{DnEnrol, with(admitted, func(a *Admitted) { a.Clock = MaxUint + 1 }), "clock is 9007199254740992, at most 9007199254740991"},
		{DnEnrol, with(admitted, func(a *Admitted) {
			a.Certificate, a.CAs = blob(MaxCertificate), [][]byte{blob(MaxCertificate), blob(MaxCertificate)}
			a.Name, a.Clock = text(64), MaxUint
		}), ""},
		{DnEnrol, TurnedAway{Why: Closed, Text: text(512)}, ""},
		{DnEnrol, TurnedAway{Why: 255}, ""},
		{DnEnrol, TurnedAway{Why: Closed, Text: text(513)}, "text is 513 bytes long, at most 512"},

		{UpKey, KeyRequest{}, ""},
		{UpKey, KeyRequest{Seq: MaxUint + 1}, "seq is 9007199254740992, at most 9007199254740991"},
		{UpKey, KeyRequest{CSR: blob(MaxRequest)}, ""},
		{UpKey, KeyRequest{CSR: blob(MaxRequest + 1)}, "csr is 1025 bytes long, at most 1024"},
		{UpKey, KeyRequest{CSR: blob(0)}, "csr is empty, 1 to 1024 bytes allowed"},
		{DnKey, KeyAsk{}, ""},
		{DnKey, KeyAsk{Until: MaxUint + 1}, "until is 9007199254740992, at most 9007199254740991"},
		{DnKey, issued, ""},
		{DnKey, with(issued, func(k *KeyIssued) { k.Certificate = nil }), cert},
		{DnKey, with(issued, func(k *KeyIssued) { k.Token = "x" }), cert},
		{DnKey, with(issued, func(k *KeyIssued) { k.Certificate, k.Token = nil, text(64) }), ""},
		{DnKey, with(issued, func(k *KeyIssued) { k.Certificate, k.Token = nil, text(65) }), "token is 65 bytes long, at most 64"},
		{DnKey, with(issued, func(k *KeyIssued) { k.Certificate = blob(MaxCertificate + 1) }), "certificate is 2049 bytes long, at most 2048"},
		{DnKey, with(issued, func(k *KeyIssued) { k.CAs = nil }), "cas has 0 items, 1 to 2 allowed"},
		{DnKey, with(issued, func(k *KeyIssued) { k.CAs = [][]byte{blob(1), blob(1), blob(1)} }), "cas has 3 items, 1 to 2 allowed"},
		{DnKey, with(issued, func(k *KeyIssued) { k.CAs = [][]byte{nil} }), "cas[0]: it is empty, 1 to 2048 bytes allowed"},
		{DnKey, with(issued, func(k *KeyIssued) { k.Until = MaxUint + 1 }), "until is 9007199254740992, at most 9007199254740991"},
		{DnCmd, Command{Op: Wipe}, ""},
		{DnCmd, Command{}, "op 0 is unknown: 1 wipes"},
		{DnCmd, Command{Op: 2}, "op 2 is unknown: 1 wipes"},

		{UpJoin, join, ""},
		{UpJoin, Join{Op: JoinOpen}, ""},
		{UpJoin, Join{Op: JoinClose}, ""},
		{UpJoin, Join{}, "op 0 is unknown: 1 opens, 2 closes, 3 admits, 4 rejects"},
		{UpJoin, Join{Op: 5}, "op 5 is unknown: 1 opens, 2 closes, 3 admits, 4 rejects"},
		{UpJoin, Join{Op: JoinAdmit}, `applicant is "", it must be e- and 16 hexadecimal digits`},
		{UpJoin, Join{Op: JoinReject, Applicant: "e-0123456789ABCDEF"}, `applicant is "e-0123456789ABCDEF", it must be e- and 16 hexadecimal digits`},
		{UpJoin, Join{Op: JoinReject, Applicant: e + "0"}, `applicant is "e-0123456789abcdef0", it must be e- and 16 hexadecimal digits`},
		{UpJoin, Join{Op: JoinReject, Applicant: e}, ""},
		{UpJoin, Join{Op: JoinOpen, Applicant: text(65)}, "applicant is 65 bytes long, at most 64"},
		{UpJoin, with(join, func(j *Join) { j.Seq = MaxUint + 1 }), "seq is 9007199254740992, at most 9007199254740991"},
		{UpJoin, with(join, func(j *Join) { j.Code = text(32) }), ""},
		{UpJoin, with(join, func(j *Join) { j.Code = text(33) }), "code is 33 bytes long, at most 32"},
		{UpJoin, with(join, func(j *Join) { j.Name = text(65) }), "name is 65 bytes long, at most 64"},
		{UpJoin, with(join, func(j *Join) { j.Room = text(65) }), "room is 65 bytes long, at most 64"},
		{UpJoin, with(join, func(j *Join) { j.Room = "\xff" }), "room is not valid UTF-8"},
		{UpJoin, with(join, func(j *Join) { j.Until = MaxUint + 1 }), "until is 9007199254740992, at most 9007199254740991"},
		{UpJoin, with(join, func(j *Join) { j.Person = math.MaxInt32 }), ""},
		{UpJoin, with(join, func(j *Join) { j.Person = math.MaxInt32 + 1 }), "person is 2147483648, at most 2147483647"},

		{DnJoin, window, ""},
		{DnJoin, Window{}, ""},
		{DnJoin, with(window, func(w *Window) { w.Until = MaxUint + 1 }), "until is 9007199254740992, at most 9007199254740991"},
		{DnJoin, with(window, func(w *Window) { w.Applicants = slices.Repeat([]Applicant{asks}, MaxApplicants) }), ""},
		{DnJoin, with(window, func(w *Window) { w.Applicants = slices.Repeat([]Applicant{asks}, MaxApplicants+1) }), "applicants has 4 items, at most 3"},
		{DnJoin, Window{Applicants: []Applicant{with(asks, func(a *Applicant) { a.ID = string(me) })}}, `applicants[0]: id is "k3v7q2mzx5nat4bd", it must be e- and 16 hexadecimal digits`},
		{DnJoin, Window{Applicants: []Applicant{asks, with(asks, func(a *Applicant) { a.Class = 0 })}}, "applicants[1]: class 0 is unknown"},
		{DnJoin, Window{Applicants: []Applicant{with(asks, func(a *Applicant) { a.Model.Name = text(65) })}}, "applicants[0]: model: name is 65 bytes long, at most 64"},
		{DnJoin, Window{Applicants: []Applicant{with(asks, func(a *Applicant) { a.Way = 0 })}}, "applicants[0]: way 0 is unknown: 1 code, 2 label, 3 home"},
		{DnJoin, Window{Applicants: []Applicant{with(asks, func(a *Applicant) { a.Tries = 255 })}}, ""},
		{DnJoin, Window{Outcome: &outcome}, ""},
		{DnJoin, Window{Outcome: of(with(outcome, func(o *JoinOutcome) { o.Device = "" }))}, ""},
		{DnJoin, Window{Outcome: of(with(outcome, func(o *JoinOutcome) { o.Result = 255 }))}, ""},
		{DnJoin, Window{Outcome: of(with(outcome, func(o *JoinOutcome) { o.Applicant = "" }))}, `outcome: applicant is "", it must be e- and 16 hexadecimal digits`},
		{DnJoin, Window{Outcome: of(with(outcome, func(o *JoinOutcome) { o.Device = "x" }))},
			`outcome: bad ID: device "x" is not 4 to 32 characters of a-z, 0-9 and hyphen, beginning with a letter or digit`},
	}
	for i, test := range tests {
		b, err := Encode(test.frame)
		if test.want != "" {
			if want := fmt.Sprintf("bad frame: %s: %s", test.leaf, test.want); err == nil || err.Error() != want || !errors.Is(err, ErrFrame) {
				t.Errorf("%d: Encode(%.200v)\ngot  %v\nwant %s", i, fmt.Sprintf("%T%+v", test.frame, test.frame), err, want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%d: Encode(%.200v): %v", i, fmt.Sprintf("%T%+v", test.frame, test.frame), err)
			continue
		}
		if got, err := decodeAs(test.leaf, b); err != nil || !same(got, stamped(test.frame)) {
			t.Errorf("%d: %.200x\ngot  %.400v, %v\nwant %.400v", i, b, fmt.Sprintf("%+v", got), err, fmt.Sprintf("%+v", test.frame))
		}
	}
}

func with[T any](v T, edit func(*T)) T { edit(&v); return v }

// stamped is a frame with the Op that Encode gives it.
func stamped(frame any) any {
	switch f := frame.(type) {
	case Apply:
		f.Op = opApply
		return f
	case Reveal:
		f.Op = opReveal
		return f
	case Challenge:
		f.Op = opChallenge
		return f
	case Admitted:
		f.Op = opAdmitted
		return f
	case TurnedAway:
		f.Op = opTurnedAway
		return f
	case KeyAsk:
		f.Op = opKeyAsk
		return f
	case KeyIssued:
		f.Op = opKeyIssued
		return f
	}
	return frame
}

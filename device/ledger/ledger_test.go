package ledger

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"porchlight/device"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// leafOf is the leaf hash of RFC 6962, 2.1, of any bytes.
func leafOf(b []byte) Hash { return sha256.Sum256(append([]byte{0}, b...)) }

// mth is the tree hash as RFC 6962, 2.1, defines it.
func mth(leaves []Hash) Hash {
	switch n := len(leaves); n {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return leaves[0]
	default:
		k := 1
		for k*2 < n {
			k *= 2
		}
		l, r := mth(leaves[:k]), mth(leaves[k:])
		return sha256.Sum256(append(append([]byte{1}, l[:]...), r[:]...))
	}
}

func node(l, r Hash) Hash { return sha256.Sum256(append(append([]byte{1}, l[:]...), r[:]...)) }

// included is the verification of RFC 9162, 2.1.3.2.
func included(path []Hash, root Hash, size, index int64, leaf Hash) bool {
	if index >= size {
		return false
	}
	fn, sn, r := index, size-1, leaf
	for _, p := range path {
		if sn == 0 {
			return false
		}
		if fn&1 == 1 || fn == sn {
			r = node(p, r)
			for fn&1 == 0 && fn != 0 {
				fn, sn = fn>>1, sn>>1
			}
		} else {
			r = node(r, p)
		}
		fn, sn = fn>>1, sn>>1
	}
	return sn == 0 && r == root
}

// grown is the verification of RFC 9162, 2.1.4.2, for 0 < first < second.
func grown(path []Hash, first, second int64, was, now Hash) bool {
	if len(path) == 0 {
		return false
	}
	if first&(first-1) == 0 {
		path = append([]Hash{was}, path...)
	}
	fn, sn := first-1, second-1
	for fn&1 == 1 {
		fn, sn = fn>>1, sn>>1
	}
	fr, sr := path[0], path[0]
	for _, c := range path[1:] {
		if sn == 0 {
			return false
		}
		if fn&1 == 1 || fn == sn {
			fr, sr = node(c, fr), node(c, sr)
			for fn&1 == 0 && fn != 0 {
				fn, sn = fn>>1, sn>>1
			}
		} else {
			sr = node(sr, c)
		}
		fn, sn = fn>>1, sn>>1
	}
	return sn == 0 && fr == was && sr == now
}

// TestCertificateTransparency has the inputs, roots and paths of the tree that the reference implementation of RFC 6962 is tested with.
func TestCertificateTransparency(t *testing.T) {
	var leaves []Hash
	for _, in := range []string{"", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"} {
		leaves = append(leaves, leafOf(unhex(t, in)))
	}
	roots := []string{
		"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
		"fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
		"aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
		"d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
		"4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
		"76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
		"ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
		"5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
	}
	for n, want := range roots {
		if got := Root(leaves[:n]); got.String() != want {
			t.Errorf("root of %d leaves = %s, want %s", n, got, want)
		}
	}
	paths := []struct {
		pos, size int64
		want      []string
	}{
		{1, 1, nil},
		{1, 8, []string{"96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7", "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e", "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"}},
		{6, 8, []string{"bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b", "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0", "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"}},
		{3, 3, []string{"fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"}},
	}
	for _, tt := range paths {
		path, err := Prove(leaves[:tt.size], tt.pos)
		if err != nil || fmt.Sprint(path) != fmt.Sprint(tt.want) {
			t.Errorf("path of %d in %d = %v, %v, want %v", tt.pos, tt.size, path, err, tt.want)
		}
	}
	growth := []struct {
		from, to int64
		want     []string
	}{
		{1, 1, nil},
		{1, 8, []string{"96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7", "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e", "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"}},
		{6, 8, []string{"0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a", "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0", "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"}},
		{2, 5, []string{"5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e", "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"}},
	}
	for _, tt := range growth {
		path, err := ProveGrowth(leaves[:tt.to], tt.from)
		if err != nil || fmt.Sprint(path) != fmt.Sprint(tt.want) {
			t.Errorf("growth from %d to %d = %v, %v, want %v", tt.from, tt.to, path, err, tt.want)
		}
	}
}

// made are n leaves.
func made(n int) (leaves []Hash) {
	for i := range n {
		leaves = append(leaves, leafOf(fmt.Append(nil, i)))
	}
	return leaves
}

func TestProofsOfEverySize(t *testing.T) {
	const most = 35
	home := NewPseudonym()
	for n := range most + 1 {
		l := Log{home, made(n)}
		head := l.Head(5)
		if want := mth(l.Leaves); head.Root != want || head.Size != int64(n) || head.Home != home || head.At != 5 {
			t.Fatalf("head of %d = %+v, want root %s", n, head, want)
		}
		for pos := int64(1); pos <= int64(n); pos++ {
			leaf := l.Leaves[pos-1]
			path, err := Prove(l.Leaves, pos)
			if err != nil {
				t.Fatal(err)
			}
			if err := CheckInclusion(path, head, pos, leaf); err != nil || !included(path, head.Root, head.Size, pos-1, leaf) {
				t.Errorf("entry %d of %d: %v; by the RFC %v", pos, n, err, included(path, head.Root, head.Size, pos-1, leaf))
			}
			// One thing wrong, and it does not hold.
			other := head
			other.Root[3]++
			bad := []error{
				CheckInclusion(path, other, pos, leaf),
				CheckInclusion(path, head, pos, leafOf([]byte("x"))),
				CheckInclusion(path, head, pos%int64(n)+1, leaf),
				CheckInclusion(append(slices.Clone(path), Hash{}), head, pos, leaf),
				CheckInclusion(path, head, int64(n)+1, leaf),
				CheckInclusion(path, head, 0, leaf),
			}
			if n == 1 {
				bad[2] = ErrProof // there is no other place
			}
			if len(path) > 0 {
				bad = append(bad, CheckInclusion(path[1:], head, pos, leaf), CheckInclusion(path[:len(path)-1], head, pos, leaf))
			}
			for i, err := range bad {
				if !errors.Is(err, ErrProof) {
					t.Errorf("entry %d of %d, wrong %d: %v, want ErrProof", pos, n, i, err)
				}
			}
		}
		for from := 1; from <= n; from++ {
			was := Log{home, l.Leaves[:from]}.Head(4)
			path, err := ProveGrowth(l.Leaves, int64(from))
			if err != nil {
				t.Fatal(err)
			}
			if err := CheckGrowth(path, was, head); err != nil || from < n && !grown(path, int64(from), int64(n), was.Root, head.Root) {
				t.Errorf("growth from %d to %d: %v", from, n, err)
			}
			forged, foreign := was, was
			forged.Root[0]++
			foreign.Home[0]++
			for i, err := range []error{
				CheckGrowth(path, forged, head), CheckGrowth(path, foreign, head), CheckGrowth(append(slices.Clone(path), Hash{}), was, head),
			} {
				if !errors.Is(err, ErrProof) {
					t.Errorf("growth from %d to %d, wrong %d: %v, want ErrProof", from, n, i, err)
				}
			}
			if from < n {
				if err := CheckGrowth(path, head, was); !errors.Is(err, ErrProof) {
					t.Errorf("growth backwards from %d to %d: %v", n, from, err)
				}
			}
		}
		if err := CheckGrowth(nil, Log{Home: home}.Head(0), head); err != nil {
			t.Errorf("growth from nothing to %d: %v", n, err)
		}
	}
	for _, pos := range []int64{-1, 0, 4} {
		if _, err := Prove(made(3), pos); err == nil {
			t.Errorf("entry %d of 3 is proved", pos)
		}
		if _, err := ProveGrowth(made(3), pos); err == nil {
			t.Errorf("growth from %d to 3 is proved", pos)
		}
	}
}

// entry is a sealed entry of subject.
func entry(pos int64, subject Pseudonym, k Key, body string) Entry {
	e := Entry{Pos: pos, At: 1_800_000_000_000 + device.Instant(pos), Kind: "consent.given", Actor: "device tv-1 192.168.1.7", Subject: subject}
	NewCipher(k).Seal(&e, []byte(body))
	return e
}

// TestLeafByHand makes the leaf of an entry from bytes written by hand.
func TestLeafByHand(t *testing.T) {
	e := Entry{
		Pos: 300, At: 1_800_000_000_000, Kind: "consent.given", Actor: "operator anna",
		Subject: Pseudonym(bytes.Repeat([]byte{0xab}, 16)), Salt: bytes.Repeat([]byte{0xcd}, 16), Sealed: []byte("sealed"),
	}
	var b []byte
	b = append(b, 0x83, 0x50)
	b = append(b, e.Salt...)
	b = append(b, 0x6d)
	b = append(b, "operator anna"...)
	b = append(b, 0x46)
	b = append(b, "sealed"...)
	digest := sha256.Sum256(b)
	b = append([]byte{0x85, 0x50}, e.Subject[:]...)
	b = append(b, 0x19, 0x01, 0x2c, 0x6d)
	b = append(b, "consent.given"...)
	b = append(b, 0x1b, 0x00, 0x00, 0x01, 0xa3, 0x18, 0x5c, 0x50, 0x00, 0x58, 0x20)
	b = append(b, digest[:]...)
	if want := leafOf(b); LeafOf(e.Subject, e.Pos, e.Kind, e.At, e.Digest()) != want || e.Digest() != digest {
		t.Errorf("leaf = %s, want %s", LeafOf(e.Subject, e.Pos, e.Kind, e.At, e.Digest()), want)
	}
}

func TestSeal(t *testing.T) {
	k, subject := NewKey(), NewPseudonym()
	const body = `{"brand":"grocer"}`
	e := entry(1, subject, k, body)
	if !e.Fits() || len(e.Salt) != SaltSize || bytes.Contains(e.Sealed, []byte("grocer")) {
		t.Errorf("entry = %+v", e)
	}
	if again := entry(1, subject, k, body); bytes.Equal(again.Sealed, e.Sealed) || bytes.Equal(again.Salt, e.Salt) || again.Leaf == e.Leaf {
		t.Error("the same entry was sealed twice to the same bytes")
	}
	if got, err := NewCipher(k).Open(e); string(got) != body || err != nil {
		t.Errorf("Open = %s, %v", got, err)
	}
	if _, err := NewCipher(NewKey()).Open(e); !errors.Is(err, ErrSealed) {
		t.Errorf("another key opens it: %v", err)
	}
	for name, edit := range edits {
		was := e
		was.Salt, was.Sealed = slices.Clone(e.Salt), slices.Clone(e.Sealed)
		edit(&was)
		if was.Fits() {
			t.Errorf("%s altered: it fits its leaf", name)
		}
		if _, err := NewCipher(k).Open(was); !errors.Is(err, ErrSealed) && name != "salt" && name != "leaf" {
			t.Errorf("%s altered: Open = %v, want ErrSealed", name, err)
		}
	}
}

// edits each alter one thing of an entry.
var edits = map[string]func(*Entry){
	"position": func(e *Entry) { e.Pos++ },
	"time":     func(e *Entry) { e.At++ },
	"kind":     func(e *Entry) { e.Kind = "consent.refused" },
	"actor":    func(e *Entry) { e.Actor = "operator eve" },
	"subject":  func(e *Entry) { e.Subject[0]++ },
	"salt":     func(e *Entry) { e.Salt[0]++ },
	"body":     func(e *Entry) { e.Sealed[len(e.Sealed)-1]++ },
	"leaf":     func(e *Entry) { e.Leaf[0]++ },
}

// keysOf is a key of each kind that signs.
func keysOf(t testing.TB) map[string]crypto.Signer {
	t.Helper()
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]crypto.Signer{"EdDSA": ed, "ES256": ec}
}

// TestSignatureByHand takes a head apart and verifies its signature with nothing of this package nor of go-cose.
func TestSignatureByHand(t *testing.T) {
	head := Log{NewPseudonym(), made(300)}.Head(1_800_000_000_000)
	var payload []byte
	payload = append(payload, 0xa4, 0x01, 0x50)
	payload = append(payload, head.Home[:]...)
	payload = append(payload, 0x02, 0x19, 0x01, 0x2c, 0x03, 0x58, 0x20)
	payload = append(payload, head.Root[:]...)
	payload = append(payload, 0x04, 0x1b, 0x00, 0x00, 0x01, 0xa3, 0x18, 0x5c, 0x50, 0x00)
	for name, key := range keysOf(t) {
		alg := byte(0x27) // -8, EdDSA
		if name == "ES256" {
			alg = 0x26 // -7
		}
		protected := append([]byte{0xa2, 0x01, alg, 0x10, 0x78, byte(len(HeadType))}, HeadType...)
		// Sig_structure, RFC 9052, 4.4.
		var toSign []byte
		toSign = append(toSign, 0x84, 0x6a)
		toSign = append(toSign, "Signature1"...)
		toSign = append(toSign, 0x58, byte(len(protected)))
		toSign = append(toSign, protected...)
		toSign = append(toSign, 0x40, 0x58, byte(len(payload)))
		toSign = append(toSign, payload...)

		signed, err := Sign(key, HeadType, head.Payload())
		if err != nil {
			t.Fatal(err)
		}
		start := append([]byte{0xd2, 0x84, 0x58, byte(len(protected))}, protected...)
		start = append(start, 0xa0, 0x58, byte(len(payload)))
		start = append(start, payload...)
		start = append(start, 0x58, 0x40)
		if !bytes.HasPrefix(signed, start) || len(signed) != len(start)+64 {
			t.Fatalf("%s: signed = %x, want %x and 64 bytes", name, signed, start)
		}
		sig, ok := signed[len(start):], false
		switch k := key.Public().(type) {
		case ed25519.PublicKey:
			ok = ed25519.Verify(k, toSign, sig)
		case *ecdsa.PublicKey:
			sum := sha256.Sum256(toSign)
			ok = ecdsa.Verify(k, sum[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:]))
		}
		if !ok {
			t.Errorf("%s: the signature does not fit", name)
		}
		if got, err := OpenHead(signed, key.Public()); got != head || err != nil {
			t.Errorf("%s: OpenHead = %+v, %v, want %+v", name, got, err, head)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	keys := keysOf(t)
	head := Log{NewPseudonym(), made(5)}.Head(7)
	for name, key := range keys {
		good, err := Sign(key, HeadType, head.Payload())
		if err != nil {
			t.Fatal(err)
		}
		sign := func(typ string, payload []byte) []byte {
			b, err := Sign(key, typ, payload)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		other := keysOf(t)[name]
		wrongAlg := keys["ES256"]
		if name == "ES256" {
			wrongAlg = keys["EdDSA"]
		}
		flip := func(at int) []byte { b := slices.Clone(good); b[at] ^= 1; return b }
		noTag := good[1:]
		unprotected := slices.Clone(good)
		at := bytes.Index(good, []byte{0xa0, 0x58})
		unprotected = slices.Concat(unprotected[:at], []byte{0xa1, 0x04, 0x41, 0x01}, unprotected[at+1:])
		tests := map[string]struct {
			signed []byte
			key    crypto.PublicKey
			is     error
		}{
			"another key":       {good, other.Public(), ErrSignature},
			"another algorithm": {good, wrongAlg.Public(), ErrFormat},
			"signature":         {flip(len(good) - 1), key.Public(), ErrSignature},
			"payload":           {flip(len(good) - 70), key.Public(), ErrSignature},
			"another type":      {sign(ReceiptType, head.Payload()), key.Public(), ErrFormat},
			"no tag":            {noTag, key.Public(), ErrFormat},
			"more after it":     {append(slices.Clone(good), 0), key.Public(), ErrFormat},
			"cut":               {good[:len(good)-1], key.Public(), ErrFormat},
			"unprotected":       {unprotected, key.Public(), ErrFormat},
			"nothing":           {nil, key.Public(), ErrFormat},
			"too long":          {append(slices.Clone(good), make([]byte, MaxSigned)...), key.Public(), ErrFormat},
			"negative size":     {sign(HeadType, Head{Size: -1}.Payload()), key.Public(), ErrFormat},
			"payload is text":   {sign(HeadType, []byte{0x61, 'x'}), key.Public(), ErrFormat},
			"field is unknown":  {sign(HeadType, append(append([]byte{0xa5}, head.Payload()[1:]...), 0x05, 0x00)), key.Public(), ErrFormat},
			"field is missing":  {sign(HeadType, []byte{0xa0}), key.Public(), ErrFormat},
			"long number":       {sign(HeadType, bytes.Replace(head.Payload(), []byte{0x02, 0x05}, []byte{0x02, 0x18, 0x05}, 1)), key.Public(), ErrFormat},
		}
		for what, tt := range tests {
			if got, err := OpenHead(tt.signed, tt.key); !errors.Is(err, tt.is) {
				t.Errorf("%s, %s: OpenHead = %+v, %v, want %v", name, what, got, err, tt.is)
			}
		}
		if _, err := OpenHead(good, "no key"); err == nil {
			t.Errorf("%s: a string is a key", name)
		}
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Sign(p384, HeadType, head.Payload()); err == nil {
		t.Error("P-384 signs")
	}
}

func TestReceipt(t *testing.T) {
	k, home, anna := NewKey(), NewPseudonym(), NewPseudonym()
	x := logOf(home, anna, k, 9)
	l := Log{Home: home}
	for _, e := range x.Entries {
		l.Leaves = append(l.Leaves, e.Leaf)
	}
	decided := map[string]string{"verdict": "show", "brand": "grocer", "purpose": "marketing"}
	for name, key := range keysOf(t) {
		for _, e := range x.Entries {
			if e.Erased {
				continue
			}
			r, err := l.Receipt(e, decided, 77)
			if err != nil {
				t.Fatal(err)
			}
			signed, err := Sign(key, ReceiptType, r.Payload())
			if err != nil {
				t.Fatal(err)
			}
			got, err := OpenReceipt(signed, key.Public())
			if err != nil || fmt.Sprint(got) != fmt.Sprint(r) || got.Leaf() != e.Leaf || got.Head != l.Head(77) {
				t.Errorf("%s: OpenReceipt = %+v, %v, want %+v", name, got, err, r)
			}
			if !included(got.Path, got.Head.Root, got.Head.Size, got.Pos-1, e.Leaf) {
				t.Errorf("%s: the path of entry %d does not hold by the RFC", name, e.Pos)
			}
			for what, edit := range map[string]func(*Receipt){
				"kind":   func(r *Receipt) { r.Kind = "consent.refused" },
				"time":   func(r *Receipt) { r.At++ },
				"digest": func(r *Receipt) { r.Digest[0]++ },
				"place":  func(r *Receipt) { r.Pos = r.Pos%9 + 1 },
				"root":   func(r *Receipt) { r.Head.Root[0]++ },
				"path":   func(r *Receipt) { r.Path = append([]Hash{{}}, r.Path...) },
			} {
				bad := r
				edit(&bad)
				signed, err := Sign(key, ReceiptType, bad.Payload())
				if err != nil {
					t.Fatal(err)
				}
				if _, err := OpenReceipt(signed, key.Public()); !errors.Is(err, ErrProof) {
					t.Errorf("%s, %s: OpenReceipt = %v, want ErrProof", name, what, err)
				}
			}
		}
	}
	if _, err := l.Receipt(Entry{Pos: 3, Erased: true, Leaf: x.Entries[2].Leaf}, nil, 1); err == nil {
		t.Error("there is a receipt for an erased entry")
	}
	if _, err := l.Receipt(entry(3, anna, k, "other"), nil, 1); err == nil {
		t.Error("there is a receipt for an entry that is not in the log")
	}
	if r, err := l.Receipt(x.Entries[0], nil, 1); err != nil {
		t.Error(err)
	} else if signed, err := Sign(keysOf(t)["EdDSA"], ReceiptType, r.Payload()); err != nil || len(signed) > 700 {
		t.Errorf("a receipt has %d bytes, %v", len(signed), err)
	}
}

// logOf is a log of n entries; every third is anna's, the fifth is erased.
func logOf(home, anna Pseudonym, k Key, n int64) Export {
	x := Export{Home: home}
	for pos := int64(1); pos <= n; pos++ {
		subject := home
		if pos%3 == 0 {
			subject = anna
		}
		e := entry(pos, subject, k, fmt.Sprintf(`{"n":%d}`, pos))
		if pos == 5 {
			e = Entry{Pos: e.Pos, At: e.At, Kind: e.Kind, Erased: true, Leaf: e.Leaf}
		}
		x.Entries = append(x.Entries, e)
	}
	return x
}

func headOf(x Export, size int) Head {
	l := Log{Home: x.Home}
	for _, e := range x.Entries[:size] {
		l.Leaves = append(l.Leaves, e.Leaf)
	}
	return l.Head(device.Instant(size))
}

func TestVerify(t *testing.T) {
	k, home, anna := NewKey(), NewPseudonym(), NewPseudonym()
	good := logOf(home, anna, k, 20)
	all := []Head{headOf(good, 20), headOf(good, 0), headOf(good, 8), headOf(good, 13)}
	again := func(e *Entry) { e.Leaf = LeafOf(e.Subject, e.Pos, e.Kind, e.At, e.Digest()) }
	tests := map[string]struct {
		edit  func(*Export)
		heads []Head
		want  string // "": it is whole
	}{
		"whole":           {func(*Export) {}, all, ""},
		"whole, one head": {func(*Export) {}, all[:1], ""},
		"first removed":   {func(x *Export) { x.Entries = x.Entries[1:] }, all, "entry 1 is missing from its place"},
		"one removed":     {func(x *Export) { x.Entries = slices.Delete(x.Entries, 6, 7) }, all, "entry 7 is missing from its place"},
		"removed, the rest renumbered": {func(x *Export) {
			x.Entries = slices.Delete(x.Entries, 6, 7)
			for i := 6; i < 19; i++ {
				x.Entries[i].Pos--
			}
		}, all, "entry 7 was altered"},
		"removed, the rest renumbered, with leaves": {func(x *Export) {
			x.Entries = slices.Delete(x.Entries, 6, 7)
			for i := 6; i < 19; i++ {
				x.Entries[i].Pos--
				again(&x.Entries[i])
			}
		}, all, "one of the entries 1 to 8 was altered"},
		"last removed":          {func(x *Export) { x.Entries = x.Entries[:19] }, all, "entry 20 is missing from its place"},
		"truncated":             {func(x *Export) { x.Entries = x.Entries[:10] }, all, "entry 11 is missing from its place"},
		"emptied":               {func(x *Export) { x.Entries = nil }, all, "entry 1 is missing from its place"},
		"swapped":               {func(x *Export) { x.Entries[3], x.Entries[9] = x.Entries[9], x.Entries[3] }, all, "entry 4 is missing from its place"},
		"swapped, renumbered":   {func(x *Export) { swap(x, 3, 9) }, all, "entry 4 was altered"},
		"appended":              {func(x *Export) { x.Entries = append(x.Entries, entry(21, home, k, "x")) }, all, "no head vouches for the entries 21 to 21"},
		"appended two":          {func(x *Export) { x.Entries = append(x.Entries, entry(21, home, k, "x"), entry(22, home, k, "x")) }, all, "no head vouches for the entries 21 to 22"},
		"doubled":               {func(x *Export) { x.Entries = slices.Insert(x.Entries, 5, x.Entries[4]) }, all, "entry 6 is missing from its place"},
		"replaced, with leaf":   {func(x *Export) { x.Entries[10] = entry(11, home, k, "x") }, all, "one of the entries 9 to 13 was altered"},
		"the same, one head":    {func(x *Export) { x.Entries[10] = entry(11, home, k, "x") }, all[:1], "one of the entries 1 to 20 was altered"},
		"blanked":               {func(x *Export) { x.Entries[10] = Entry{Pos: 11, Erased: true} }, all, "one of the entries 9 to 13 was altered"},
		"erased came back":      {func(x *Export) { x.Entries[4] = entry(5, home, k, "x") }, all, "one of the entries 1 to 8 was altered"},
		"older head alone":      {func(*Export) {}, all[2:3], "no head vouches for the entries 9 to 20"},
		"head of another home":  {func(*Export) {}, []Head{all[0], {Home: anna, Size: 8, Root: all[2].Root}}, "the head is that of another home"},
		"log of another home":   {func(x *Export) { x.Home = anna }, all, "the head is that of another home"},
		"another home's, whole": {func(x *Export) { other := logOf(home, anna, k, 20); *x = other }, all, "one of the entries 1 to 8 was altered"},
	}
	for name, edit := range edits {
		want := "entry 12 was altered"
		if name == "position" {
			want = "entry 12 is missing from its place"
		}
		tests["altered "+name] = struct {
			edit  func(*Export)
			heads []Head
			want  string
		}{func(x *Export) { edit(&x.Entries[11]) }, all, want}
	}
	for name, tt := range tests {
		x := Export{good.Home, slices.Clone(good.Entries)}
		for i := range x.Entries {
			x.Entries[i].Salt, x.Entries[i].Sealed = slices.Clone(x.Entries[i].Salt), slices.Clone(x.Entries[i].Sealed)
		}
		tt.edit(&x)
		err := Verify(x, tt.heads...)
		got := ""
		if err != nil {
			got = err.Error()
			if d := new(DamageError); !errors.As(err, &d) {
				t.Errorf("%s: %T is no DamageError", name, err)
			}
		}
		if got != tt.want {
			t.Errorf("%s: Verify = %q, want %q", name, got, tt.want)
		}
	}
	if err := Verify(good); err == nil {
		t.Error("verified against no head")
	}
}

// swap exchanges two entries and gives each the other's position.
func swap(x *Export, i, j int) {
	x.Entries[i], x.Entries[j] = x.Entries[j], x.Entries[i]
	x.Entries[i].Pos, x.Entries[j].Pos = x.Entries[j].Pos, x.Entries[i].Pos
}

// TestErasedStillVerifies erases an entry of a log whose heads are elsewhere.
func TestErasedStillVerifies(t *testing.T) {
	x := logOf(NewPseudonym(), NewPseudonym(), NewKey(), 12)
	heads := []Head{headOf(x, 6), headOf(x, 12)}
	for i, e := range x.Entries {
		x.Entries[i] = Entry{Pos: e.Pos, At: e.At, Kind: e.Kind, Erased: true, Leaf: e.Leaf}
		if err := Verify(x, heads...); err != nil {
			t.Errorf("after %d were erased: %v", i+1, err)
		}
	}
}

func TestExport(t *testing.T) {
	x := logOf(NewPseudonym(), NewPseudonym(), NewKey(), 7)
	var b bytes.Buffer
	if err := x.Write(&b); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	if strings.Count(text, "\n") != 8 {
		t.Errorf("%d lines, want 8:\n%s", strings.Count(text, "\n"), text)
	}
	got, err := ReadExport(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	a, _ := json.Marshal(x)
	if c, _ := json.Marshal(got); !bytes.Equal(a, c) {
		t.Errorf("read back: %s\nwant %s", c, a)
	}
	if err := Verify(got, headOf(x, 7)); err != nil {
		t.Error(err)
	}
	lines := strings.SplitAfter(text, "\n")
	bad := map[string]struct{ text, want string }{
		"nothing":         {"", "line 1 "},
		"no header":       {lines[1], "line 1 "},
		"another format":  {strings.Replace(text, "ledger-1", "ledger-2", 1), "line 1 "},
		"unknown field":   {strings.Replace(text, `"pos":2,`, `"pos":2,"x":1,`, 1), "line 3 "},
		"short leaf":      {strings.Replace(text, `"leaf":"`, `"leaf":"0`, 1), "line 2 "},
		"not hexadecimal": {strings.Replace(text, x.Entries[0].Leaf.String(), strings.Repeat("x", 64), 1), "line 2 "},
		"short salt":      {strings.Replace(text, `"salt":"`, `"salt":"AAAA`, 1), "line 2 "},
		"no salt":         {lines[0] + `{"pos":1,"at":1,"kind":"x","leaf":"` + x.Entries[0].Leaf.String() + `"}`, "line 2 "},
		"talks":           {strings.Replace(text, `"erased":true`, `"erased":true,"actor":"anna"`, 1), "line 6 "},
		"two in a line":   {lines[0] + lines[1][:len(lines[1])-1] + " 5\n", "line 2 "},
		"too long":        {lines[0] + `{"kind":"` + strings.Repeat("x", MaxLine) + `"}`, "line 2 "},
	}
	for name, tt := range bad {
		if _, err := ReadExport(strings.NewReader(tt.text)); !errors.Is(err, ErrFormat) || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: ReadExport = %v, want ErrFormat in %s", name, err, tt.want)
		}
	}
}

// FuzzSigned has bytes opened as they are, and as what was really signed.
func FuzzSigned(f *testing.F) {
	key := ed25519.NewKeyFromSeed(make([]byte, 32))
	l := Log{Leaves: made(5)}
	e := entry(2, Pseudonym{}, Key{}, "{}")
	l.Leaves[1] = e.Leaf
	r, err := l.Receipt(e, map[string]string{"a": "b"}, 9)
	if err != nil {
		f.Fatal(err)
	}
	for typ, payload := range map[string][]byte{HeadType: l.Head(3).Payload(), ReceiptType: r.Payload()} {
		signed, err := Sign(key, typ, payload)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(signed)
		f.Add(payload)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := OpenHead(b, key.Public()); err == nil && h.Size < 0 {
			t.Errorf("head %+v", h)
		}
		if r, err := OpenReceipt(b, key.Public()); err == nil && r.Check() != nil {
			t.Errorf("receipt %+v", r)
		}
		if len(b) > MaxSigned/2 {
			return
		}
		if signed, err := Sign(key, HeadType, b); err != nil {
			t.Error(err)
		} else if h, err := OpenHead(signed, key.Public()); err == nil && !bytes.Equal(h.Payload(), b) {
			t.Errorf("head %x is spelled %x, too", h.Payload(), b)
		}
		if signed, err := Sign(key, ReceiptType, b); err != nil {
			t.Error(err)
		} else if r, err := OpenReceipt(signed, key.Public()); err == nil && !bytes.Equal(r.Payload(), b) {
			t.Errorf("receipt %x is spelled %x, too", r.Payload(), b)
		}
	})
}

// FuzzExport reads bytes as an export: what was read can be written, read again and verified or not.
func FuzzExport(f *testing.F) {
	x := logOf(Pseudonym{1}, Pseudonym{2}, Key{3}, 6)
	var b bytes.Buffer
	if err := x.Write(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte(`{"format":"porchlight-ledger-1","home":"00000000000000000000000000000000"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := ReadExport(bytes.NewReader(b))
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Errorf("ReadExport = %v, want ErrFormat", err)
			}
			return
		}
		var out bytes.Buffer
		if err := x.Write(&out); err != nil {
			t.Fatal(err)
		}
		y, err := ReadExport(bytes.NewReader(out.Bytes()))
		if err != nil || len(y.Entries) != len(x.Entries) {
			t.Fatalf("read again: %v\n%s", err, out.Bytes())
		}
		_ = Verify(y, headOf(x, len(x.Entries)))
	})
}

// TestDeterministic has the head's payload in another order of fields: it is refused where it is opened, because there is one spelling.
func TestDeterministic(t *testing.T) {
	key := keysOf(t)["EdDSA"]
	h := Log{Leaves: made(2)}.Head(1)
	var m cbor.RawMessage = slices.Concat([]byte{0xa4, 0x04, 0x01}, h.Payload()[1:len(h.Payload())-2])
	if cbor.Wellformed(m) != nil {
		t.Fatal("it is not CBOR at all")
	}
	signed, err := Sign(key, HeadType, m)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenHead(signed, key.Public()); !errors.Is(err, ErrFormat) {
		t.Errorf("OpenHead = %v, want ErrFormat", err)
	}
}

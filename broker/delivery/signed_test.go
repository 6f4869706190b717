package delivery

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/policy"
)

// pen is a key pair of a brand, and what it writes with it: JWS put together by hand, so that any of it
// can be wrong.
type pen struct {
	private crypto.Signer
	kid     string
}

func newPen(t testing.TB, alg, kid string) pen {
	t.Helper()
	private, err := MakeSignKey(alg)
	if err != nil {
		t.Fatal(err)
	}
	return pen{private, kid}
}

func (p pen) key(t testing.TB, brand device.BrandID) registry.SignKey {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(p.private.Public())
	if err != nil {
		t.Fatal(err)
	}
	k, err := registry.NewSignKey(brand, p.kid, der)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (p pen) alg() string {
	if _, ok := p.private.(ed25519.PrivateKey); ok {
		return "EdDSA"
	}
	return "ES256"
}

// header is the good one.
func (p pen) header(key string) string {
	return fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":"porchlight-message+jws","jti":%q}`, p.alg(), p.kid, key)
}

// write signs what is given, whatever it is.
func (p pen) write(t testing.TB, header, payload string) string {
	t.Helper()
	input := b64(header) + "." + b64(payload)
	var signature []byte
	switch k := p.private.(type) {
	case ed25519.PrivateKey:
		signature = ed25519.Sign(k, []byte(input))
	case *ecdsa.PrivateKey:
		sum := sha256.Sum256([]byte(input))
		r, s, err := ecdsa.Sign(nil, k, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		signature = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	}
	return input + "." + b64(string(signature))
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// signs registers a key of grocer.
func (w *world) signs(alg, kid string) pen {
	w.t.Helper()
	p := newPen(w.t, alg, kid)
	w.must(w.desk.AddSignKey(w.t.Context(), p.key(w.t, "grocer")))
	return p
}

func (w *world) payload() string {
	w.t.Helper()
	raw, err := json.Marshal(w.good())
	w.must(err)
	return string(raw)
}

// hand in what a brand sends as jws.
func (w *world) handIn(key, jws string) (Answer, error) {
	s, err := ParseSigned([]byte(jws))
	if err != nil {
		return Answer{}, err
	}
	return w.desk.Accept(w.t.Context(), w.brand, key, s)
}

func (w *world) mustHandIn(p pen, key string) device.MessageID {
	w.t.Helper()
	a, err := w.handIn(key, p.write(w.t, p.header(key), w.payload()))
	w.must(err)
	w.wait()
	return a.ID
}

func (w *world) prove(id device.MessageID) Proof {
	w.t.Helper()
	p, err := w.desk.Prove(w.t.Context(), id)
	w.must(err)
	return p
}

// Every way in which a signature can be wrong is refused by name, and leaves nothing behind.
func TestSignedRefusals(t *testing.T) {
	inWorld(t, func(w *world) {
		ed, es := w.signs("EdDSA", "ed"), w.signs("ES256", "es")
		old := w.signs("EdDSA", "old")
		w.must(w.desk.RevokeSignKey(w.t.Context(), "grocer", "old"))
		other := registry.Brand{ID: "baker", Name: "Baker", Purposes: []string{"marketing"}, Quota: 5}
		if _, err := w.desk.AddBrand(w.t.Context(), other); err != nil {
			t.Fatal(err)
		}
		foreign := newPen(t, "EdDSA", "baker-1")
		w.must(w.desk.AddSignKey(w.t.Context(), foreign.key(t, "baker")))
		stranger := newPen(t, "EdDSA", "ed") // says that it is ed, and is not

		good := w.payload()
		edit := func(p pen, old, new string) string { return strings.Replace(p.header("k"), old, new, 1) }
		part := func(jws string, i int, f func(string) string) string {
			parts := strings.Split(jws, ".")
			parts[i] = f(parts[i])
			return strings.Join(parts, ".")
		}
		signed := ed.write(t, ed.header("k"), good)
		hs := func() string { // with the public key, which everybody knows, as the secret
			input := b64(`{"alg":"HS256","kid":"es","typ":"porchlight-message+jws","jti":"k"}`) + "." + b64(good)
			mac := hmac.New(sha256.New, es.key(t, "grocer").Public)
			mac.Write([]byte(input))
			return input + "." + b64(string(mac.Sum(nil)))
		}
		tests := map[string]struct {
			jws         string
			field, rule string // of the SignatureError; "" with "": it is accepted
		}{
			"good, EdDSA":               {signed, "", ""},
			"good, ES256":               {es.write(t, es.header("k"), good), "", ""},
			"good, with a line end":     {signed + "\n", "", ""},
			"alg none":                  {part(ed.write(t, edit(ed, "EdDSA", "none"), good), 2, func(string) string { return "" }), "alg", "unknown"},
			"alg none, signed":          {ed.write(t, edit(ed, "EdDSA", "none"), good), "alg", "unknown"},
			"alg None":                  {ed.write(t, edit(ed, "EdDSA", "None"), good), "alg", "unknown"},
			"alg HS256":                 {hs(), "alg", "unknown"},
			"alg RS256":                 {ed.write(t, edit(ed, "EdDSA", "RS256"), good), "alg", "unknown"},
			"alg ES384":                 {es.write(t, edit(es, "ES256", "ES384"), good), "alg", "unknown"},
			"alg missing":               {ed.write(t, edit(ed, `"alg":"EdDSA",`, ""), good), "alg", "unknown"},
			"alg of another key":        {ed.write(t, edit(ed, "EdDSA", "ES256"), good), "alg", "type"},
			"EC key, alg EdDSA":         {es.write(t, edit(es, "ES256", "EdDSA"), good), "alg", "type"},
			"alg twice":                 {ed.write(t, edit(ed, `"alg"`, `"alg":"none","alg"`), good), "jws", "syntax"},
			"jti twice":                 {ed.write(t, edit(ed, `"jti"`, `"jti":"j","jti"`), good), "jws", "syntax"},
			"ALG beside alg":            {ed.write(t, edit(ed, `"alg"`, `"ALG":"none","alg"`), good), "jws", "unknown"},
			"unknown kid":               {ed.write(t, edit(ed, `"ed"`, `"xx"`), good), "kid", "unknown"},
			"no kid":                    {ed.write(t, edit(ed, `"kid":"ed",`, ""), good), "kid", "length"},
			"kid of 65 characters":      {ed.write(t, edit(ed, `"ed"`, `"`+strings.Repeat("k", 65)+`"`), good), "kid", "length"},
			"kid is a number":           {ed.write(t, edit(ed, `"kid":"ed"`, `"kid":7`), good), "jws", "syntax"},
			"another brand's key":       {foreign.write(t, foreign.header("k"), good), "kid", "unknown"},
			"another key under our kid": {stranger.write(t, stranger.header("k"), good), "signature", "mismatch"},
			"revoked key":               {old.write(t, old.header("k"), good), "kid", "revoked"},
			"jti of another key":        {ed.write(t, ed.header("j"), good), "jti", "mismatch"},
			"jti in capitals":           {ed.write(t, ed.header("K"), good), "jti", "mismatch"},
			"no jti":                    {ed.write(t, edit(ed, `,"jti":"k"`, ""), good), "jti", "required"},
			"jti is null":               {ed.write(t, edit(ed, `"jti":"k"`, `"jti":null`), good), "jws", "unknown"},
			"typ of a token":            {ed.write(t, edit(ed, "porchlight-message+jws", "JWT"), good), "typ", "unknown"},
			"no typ":                    {ed.write(t, edit(ed, `"typ":"porchlight-message+jws",`, ""), good), "typ", "unknown"},
			"its own key in the header": {stranger.write(t, edit(stranger, `"jti"`, `"jwk":{"kty":"OKP","crv":"Ed25519","x":"`+b64(string(stranger.private.Public().(ed25519.PublicKey)))+`"},"jti"`), good), "jws", "unknown"},
			"an address of keys":        {ed.write(t, edit(ed, `"jti"`, `"jku":"https://grocer.example/keys","jti"`), good), "jws", "unknown"},
			"something critical":        {ed.write(t, edit(ed, `"jti"`, `"crit":["exp"],"exp":1,"jti"`), good), "jws", "unknown"},
			"payload not encoded":       {ed.write(t, edit(ed, `"jti"`, `"crit":["b64"],"b64":false,"jti"`), good), "jws", "unknown"},
			"altered payload":           {part(signed, 1, func(string) string { return b64(strings.Replace(good, "fresh", "stale", 1)) }), "signature", "mismatch"},
			"altered header":            {part(signed, 0, func(string) string { return b64(edit(ed, `"typ"`, ` "typ"`)) }), "signature", "mismatch"},
			"altered signature":         {part(signed, 2, func(s string) string { return "AAAA" + s[4:] }), "signature", "mismatch"},
			"no signature":              {part(signed, 2, func(string) string { return "" }), "signature", "mismatch"},
			"short signature":           {part(signed, 2, func(s string) string { return s[:84] }), "signature", "mismatch"},
			"ECDSA of zeros":            {part(es.write(t, es.header("k"), good), 2, func(string) string { return b64(string(make([]byte, 64))) }), "signature", "mismatch"},
			"ECDSA in DER":              {part(es.write(t, es.header("k"), good), 2, func(string) string { return b64("0" + string(make([]byte, 69))) }), "signature", "mismatch"},
			"padded":                    {part(signed, 2, func(s string) string { return s + "==" }), "jws", "syntax"},
			"stray bits":                {part(signed, 2, func(s string) string { return s[:len(s)-1] + stray(s[len(s)-1]) }), "jws", "syntax"},
			"line end inside":           {part(signed, 1, func(s string) string { return s[:10] + "\n" + s[10:] }), "jws", "syntax"},
			"standard base64":           {part(signed, 1, func(s string) string { return s[:8] + "++//" + s[12:] }), "jws", "syntax"},
			"two parts":                 {signed[:strings.LastIndexByte(signed, '.')], "jws", "syntax"},
			"four parts":                {signed + ".AAAA", "jws", "syntax"},
			"JSON serialization":        {`{"payload":"` + b64(good) + `","signatures":[]}`, "jws", "syntax"},
			"nothing":                   {"", "jws", "syntax"},
			"a header that is no JSON":  {ed.write(t, "alg", good), "jws", "syntax"},
			"a header that is a list":   {ed.write(t, "[]", good), "jws", "syntax"},
			"a large header":            {ed.write(t, edit(ed, `"jti"`, strings.Repeat(" ", 800)+`"jti"`), good), "jws", "length"},
			"as large as may be":        {ed.write(t, ed.header("k"), good+strings.Repeat(" ", MaxSubmission-len(good))), "", ""},
			"too large":                 {ed.write(t, ed.header("k"), good+strings.Repeat(" ", MaxSigned)), "jws", "length"},
		}
		before := string(w.journal())
		for name, test := range tests {
			_, err := w.handIn("k", test.jws)
			var bad *SignatureError
			errors.As(err, &bad)
			switch {
			case test.field == "":
				if err != nil {
					t.Errorf("%s: got %v, want it accepted", name, err)
				}
			case bad == nil:
				t.Errorf("%s: got %v, want a SignatureError about %s", name, err, test.field)
			case bad.Field != test.field || bad.Rule != test.rule:
				t.Errorf("%s: got %+v, want %s %s", name, *bad, test.field, test.rule)
			case bad.Why == "" || bad.Fix == "":
				t.Errorf("%s: %+v does not say why and what to do", name, *bad)
			}
		}
		// All the good ones were one message.
		if after := string(w.journal()); after == before {
			t.Error("the good ones were not written down")
		} else if _, err := fmt.Sscanf(after, "0:%d", new(int)); err != nil || count(t, after) != count(t, before)+1 {
			t.Errorf("the journal went from %s to %s, want one event more", before, after)
		}

		// What is in the envelope is held to the same rules as without one.
		for name, payload := range map[string]string{
			"not JSON":         "hello",
			"unknown field":    strings.Replace(good, `"category"`, `"categry"`, 1),
			"two objects":      good + good,
			"too long":         good + strings.Repeat(" ", MaxSubmission),
			"not declared":     strings.Replace(good, `"marketing"`, `"research"`, 1),
			"already past":     strings.Replace(good, `"not_after":"2000`, `"not_after":"1999`, 1),
			"nothing":          "",
			"another envelope": signed,
		} {
			_, err := w.handIn("fresh", ed.write(t, ed.header("fresh"), payload))
			var bad Invalid
			var sig *SignatureError
			if !errors.As(err, &bad) && !(payload == "" && errors.As(err, &sig)) {
				t.Errorf("payload %s: got %v, want Invalid", name, err)
			}
		}
		if err := w.desk.AddSignKey(w.t.Context(), lowOrder); !errors.Is(err, registry.ErrInvalid) {
			t.Errorf("a key of low order: %v, want ErrInvalid", err)
		}
		// From its first key on a brand must sign.
		if _, err := w.desk.Accept(w.t.Context(), w.brand, "plain", w.good()); !errors.Is(err, ErrUnsigned) {
			t.Errorf("unsigned: got %v, want ErrUnsigned", err)
		}
		if _, err := w.desk.Accept(w.t.Context(), w.brand, "k", w.good()); !errors.Is(err, ErrUnsigned) {
			t.Errorf("unsigned, of a message that is known: got %v, want ErrUnsigned", err)
		}
		if after := string(w.journal()); count(t, after) != count(t, before)+1 {
			t.Errorf("refusals have written something: %s to %s", before, after)
		}
	})
}

// lowOrder is a key under which one signature fits many messages.
var lowOrder = registry.SignKey{Brand: "grocer", ID: "low", Alg: "EdDSA", Public: append([]byte{0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0}, make([]byte, 32)...)}

// stray is the character that decodes to the same bits where base64 has some to spare.
func stray(c byte) string {
	const all = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return string(all[strings.IndexByte(all, c)^1])
}

// count is how many events the gateway's book has.
func count(t *testing.T, journal string) (n int) {
	t.Helper()
	if _, err := fmt.Sscanf(journal, "0:%d", &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestUnsigned(t *testing.T) {
	inWorld(t, func(w *world) {
		if _, err := w.desk.Accept(w.t.Context(), w.brand, "a", w.good()); err != nil {
			t.Errorf("a brand without a key: %v", err)
		}
		w.desk.o.SignedOnly = true
		if _, err := w.desk.Accept(w.t.Context(), w.brand, "b", w.good()); !errors.Is(err, ErrUnsigned) {
			t.Errorf("where all must sign: %v, want ErrUnsigned", err)
		}
		w.desk.o.SignedOnly = false
		w.signs("EdDSA", "ed")
		w.must(w.desk.RevokeSignKey(w.t.Context(), "grocer", "ed"))
		if _, err := w.desk.Accept(w.t.Context(), w.brand, "c", w.good()); !errors.Is(err, ErrUnsigned) {
			t.Errorf("a brand whose keys are all revoked: %v, want ErrUnsigned", err)
		}
	})
}

// One message stays one, whatever it is signed with: ECDSA signs differently each time, keys rotate,
// and the first request may have come before the first key.
func TestSignedIsIdempotent(t *testing.T) {
	inWorld(t, func(w *world) {
		s := w.good()
		payload := w.payload()
		plain, err := w.desk.Accept(w.t.Context(), w.brand, "early", s)
		w.must(err)
		es := w.signs("ES256", "es")
		one, two := es.write(t, es.header("k"), payload), es.write(t, es.header("k"), payload)
		if one == two {
			t.Fatal("the two signatures are the same")
		}
		first, err := w.handIn("k", one)
		w.must(err)
		w.pass(72 * time.Hour) // also after its end
		ed := w.signs("EdDSA", "ed")
		w.must(w.desk.RevokeSignKey(w.t.Context(), "grocer", "es"))
		spelled := strings.Replace(payload, `"purpose"`, ` "purpose"`, 1)
		for name, test := range map[string]struct {
			jws  string
			key  string
			want Answer
		}{
			"another key":        {ed.write(t, ed.header("k"), payload), "k", first},
			"spelled otherwise":  {ed.write(t, ed.header("k"), spelled), "k", first},
			"unsigned at first":  {ed.write(t, ed.header("early"), payload), "early", plain},
			"by the library too": {library(t, ed, "k", payload), "k", first},
		} {
			a, err := w.handIn(test.key, test.jws)
			if err != nil || !a.Replayed || a.ID != test.want.ID || a.At != test.want.At || a.State != test.want.State || a.NotAfter != test.want.NotAfter {
				t.Errorf("%s: got %+v, %v, want the first answer %+v", name, a, err, test.want)
			}
		}
		if _, err := w.handIn("k", two); err == nil {
			t.Error("a retry with a key that was revoked since was taken")
		}
		if _, err := w.handIn("k", ed.write(t, ed.header("k"), strings.Replace(payload, "fresh", "stale", 1))); !errors.Is(err, ErrConflict) {
			t.Errorf("another message with the same key: %v, want ErrConflict", err)
		}
		if p := w.prove(first.ID); !p.Valid || p.JWS != one {
			t.Errorf("the first signature is not the one that is kept: %+v", p)
		}
	})
}

func library(t *testing.T, p pen, key, payload string) string {
	t.Helper()
	jws, err := Sign(p.private, p.kid, key, []byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	return jws
}

// What was accepted stays, and stays provable, when its key is revoked; a restart reads it from
// the envelope; wishes about it reach the right offer.
func TestKeysRotate(t *testing.T) {
	inWorld(t, func(w *world) {
		tv := w.home(device.TV)[device.TV]
		w.choose(policy.Given)
		one := w.signs("ES256", "one")
		shown := w.mustHandIn(one, "a")
		tv.mustShow(shown)
		two := w.signs("EdDSA", "two")
		w.must(w.desk.RevokeSignKey(w.t.Context(), "grocer", "one"))
		w.wait()
		tv.mustShow(shown)
		if _, err := w.handIn("b", one.write(t, one.header("b"), w.payload())); err == nil {
			t.Fatal("a message signed with a revoked key was accepted")
		}
		held := w.mustHandIn(two, "b")
		w.restart()
		tv.connect()
		w.wait()
		tv.mustShow(shown)
		for _, id := range []device.MessageID{shown, held} {
			if p := w.prove(id); !p.Valid || p.Brand != "grocer" || p.Sign == nil || (p.KID == "one") != (p.Sign.Revoked != 0) {
				t.Errorf("message %s: %+v", id, p)
			}
		}
		if got := w.why(shown, tv); got != "show[]" {
			t.Errorf("why = %s, want show[]", got)
		}
		w.must(w.db.View(w.t.Context(), func(tx *store.Tx) error {
			o, err := messageOffer(tx, shown)
			if err != nil || o != (offer{"grocer", policy.Marketing}) {
				t.Errorf("its offer is %v, %v", o, err)
			}
			return nil
		}))
		// The message is in the journal once, inside its envelope.
		var body string
		w.must(w.db.View(w.t.Context(), func(tx *store.Tx) error {
			return tx.QueryRow(`SELECT j.body FROM journal j JOIN message m ON j.home = 0 AND j.pos = m.seq WHERE m.id = ?`, shown[:]).Scan(&body)
		}))
		if strings.Contains(body, "Milk is fresh") || strings.Contains(body, `"message"`) || !strings.Contains(body, `"signed"`) {
			t.Errorf("the journal has %s", body)
		}
		w.memory()
	})
}

// A key that is revoked while messages come in: what is accepted before is provable, and nothing is
// accepted after.
func TestRevokedAtOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		p := w.signs("EdDSA", "ed")
		w.brand.Quota = 10_000
		type result struct {
			id  device.MessageID
			err error
		}
		results := make(chan result, 400)
		go func() {
			defer close(results)
			for i := range 400 {
				key := fmt.Sprint("k", i)
				jws := p.write(t, p.header(key), w.payload())
				s, err := ParseSigned([]byte(jws))
				if err == nil {
					var a Answer
					a, err = w.desk.Accept(context.Background(), w.brand, key, s)
					results <- result{a.ID, err}
					continue
				}
				results <- result{err: err}
			}
		}()
		var accepted []device.MessageID
		for r := range results {
			if r.err != nil {
				break
			}
			if accepted = append(accepted, r.id); len(accepted) == 20 {
				w.must(w.desk.RevokeSignKey(context.Background(), "grocer", "ed"))
			}
		}
		for range results {
		}
		// One that was verified before the key was revoked, and comes to be written down after.
		s, err := ParseSigned([]byte(p.write(t, p.header("late"), w.payload())))
		w.must(err)
		var bad *SignatureError
		err = w.db.View(w.t.Context(), func(tx *store.Tx) error { return w.desk.mayAccept(tx, w.brand, s) })
		if !errors.As(err, &bad) || bad.Rule != "revoked" {
			t.Errorf("verified just before: %v, want a SignatureError", err)
		}
		var kept, pos, end int
		w.must(w.db.View(w.t.Context(), func(tx *store.Tx) error {
			return tx.QueryRow(`SELECT (SELECT count(*) FROM message), (SELECT max(seq) FROM message), (SELECT revoked_pos FROM brand_key)`).Scan(&kept, &pos, &end)
		}))
		if len(accepted) < 20 || kept != len(accepted) || pos > end {
			t.Errorf("%d were accepted and %d are kept, the last at %d, and the key was revoked at %d", len(accepted), kept, pos, end)
		}
		for _, id := range accepted {
			if p := w.prove(id); !p.Valid {
				t.Errorf("message %s: %+v", id, p)
			}
		}
	})
}

// A position in the journal says whether a key was in force, not a clock that can be set back.
func TestProofDoesNotTrustTheClock(t *testing.T) {
	inWorld(t, func(w *world) {
		p := w.signs("EdDSA", "ed")
		id := w.mustHandIn(p, "a")
		w.jump.Add(-time.Hour.Milliseconds())
		w.desk.Lookup()
		w.wait()
		w.must(w.desk.RevokeSignKey(w.t.Context(), "grocer", "ed"))
		got := w.prove(id)
		if !got.Valid || got.Sign.Revoked >= got.Accepted {
			t.Errorf("revoked at %s by the clock, accepted at %s: %+v", got.Sign.Revoked, got.Accepted, got)
		}
	})
}

// What somebody has changed in the file is seen, whichever part it is.
func TestProofSeesTampering(t *testing.T) {
	tests := map[string]struct {
		statement string
		verdict   string // begins with
	}{
		"nothing":          {`UPDATE message SET key = key`, "the signature is good"},
		"the payload":      {`UPDATE journal SET body = CAST(replace(body, '.ey', '.eY') AS BLOB) WHERE kind = 'message.accepted'`, "signature does not fit"},
		"the key's ID":     {`UPDATE brand_key SET kid = 'es'`, `signing key "ed" of brand grocer`},
		"the key":          {`UPDATE brand_key SET key = x'302a300506032b6570032100` + strings.Repeat("00", 32) + `'`, `kid is "ed", and that key cannot be read`},
		"another key":      {`UPDATE brand_key SET key = x'302a300506032b6570032100` + strings.Repeat("66", 31) + `65'`, "signature does not fit"},
		"its brand":        {`UPDATE journal SET body = CAST(replace(body, '"brand":"grocer"', '"brand":"baker"') AS BLOB) WHERE kind = 'message.accepted'`, `signing key "ed" of brand baker`},
		"the digest":       {`UPDATE journal SET body = CAST(json_set(body, '$.digest', 'AAAA') AS BLOB) WHERE kind = 'message.accepted'`, "jws has a payload that is not the message"},
		"the key it is of": {`UPDATE journal SET body = CAST(json_set(body, '$.key', 'b') AS BLOB) WHERE kind = 'message.accepted'`, "jti is"},
		"the signature":    {`UPDATE journal SET body = CAST(json_remove(body, '$.signed') AS BLOB) WHERE kind = 'message.accepted'`, "it was not signed"},
		"when it was made": {`UPDATE brand_key SET added_pos = 1000`, "kid is \"ed\", which was not in force"},
		"when it ended":    {`UPDATE brand_key SET revoked = 1, revoked_pos = 2`, "kid is \"ed\", which was not in force"},
		"not an envelope":  {`UPDATE journal SET body = CAST(json_set(body, '$.signed', 'a.b.c') AS BLOB) WHERE kind = 'message.accepted'`, "jws is not base64url"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "p.db")
			now := func() device.Instant { return device.At(time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)) }
			desk := func() (*store.DB, *Desk) {
				db, err := store.Open(t.Context(), path, store.Options{Project: Project, Clear: Clear, Now: now})
				if err != nil {
					t.Fatal(err)
				}
				d, err := NewDesk(db, Options{Now: now}, quietLog)
				if err != nil {
					t.Fatal(err)
				}
				return db, d
			}
			db, d := desk()
			b := registry.Brand{ID: "grocer", Name: "Grocer", Purposes: []string{"marketing"}, Quota: 5}
			p := newPen(t, "EdDSA", "ed")
			if _, err := d.AddBrand(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			if err := d.AddSignKey(t.Context(), p.key(t, "grocer")); err != nil {
				t.Fatal(err)
			}
			payload, err := json.Marshal(Submission{Purpose: policy.Marketing, Texts: []SubmissionText{{Language: "en", Body: "x"}}, NotAfter: now().Time().Add(time.Hour)})
			if err != nil {
				t.Fatal(err)
			}
			s, err := ParseSigned([]byte(p.write(t, p.header("a"), string(payload))))
			if err != nil {
				t.Fatal(err)
			}
			a, err := d.Accept(t.Context(), b, "a", s)
			if err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			tamper(t, path, test.statement)
			db, d = desk()
			defer db.Close()
			got, err := d.Prove(t.Context(), a.ID)
			if err != nil || !strings.HasPrefix(got.Verdict, test.verdict) || got.Valid != (name == "nothing") {
				t.Errorf("got valid %v, %q, %v, want %q", got.Valid, got.Verdict, err, test.verdict)
			}
		})
	}
	inWorld(t, func(w *world) {
		if p := w.prove(w.push(nil)); p.Valid || p.JWS != "" || p.Verdict != "it was not signed" {
			t.Errorf("an unsigned message: %+v", p)
		}
		if _, err := w.desk.Prove(w.t.Context(), device.MessageID{1}); !errors.Is(err, registry.ErrUnknown) {
			t.Errorf("no message: %v, want ErrUnknown", err)
		}
	})
}

// Anybody can verify what is exported, with other software: here by RFC 7515, 7517 and 8037 written
// out.
func TestProofByHand(t *testing.T) {
	for _, alg := range []string{"EdDSA", "ES256"} {
		inWorld(t, func(w *world) {
			p := w.signs(alg, "a-1")
			id := w.mustHandIn(p, "order 1"[:5])
			got := w.prove(id)
			payload, header, err := verifyByHand(got.JWS, got.JWK)
			if err != nil {
				t.Fatalf("%s: %v", alg, err)
			}
			if header["kid"] != "a-1" || header["jti"] != "order" || header["alg"] != alg || payload != w.payload() {
				t.Errorf("%s: header %v, payload %s", alg, header, payload)
			}
			if _, _, err := verifyByHand(strings.Replace(got.JWS, ".", ".A", 1), got.JWK); err == nil {
				t.Error("the check by hand takes anything")
			}
		})
	}
}

func verifyByHand(jws string, jwk []byte) (payload string, header map[string]string, err error) {
	var key struct{ Kty, Crv, X, Y, Kid, Alg string }
	if err := json.Unmarshal(jwk, &key); err != nil {
		return "", nil, err
	}
	at := strings.LastIndexByte(jws, '.')
	input := jws[:at]
	decode := func(s string) []byte {
		b, e := base64.RawURLEncoding.DecodeString(s)
		err = errors.Join(err, e)
		return b
	}
	signature := decode(jws[at+1:])
	head, body, _ := strings.Cut(input, ".")
	err = errors.Join(err, json.Unmarshal(decode(head), &header))
	payload = string(decode(body))
	if err != nil {
		return "", nil, err
	}
	good := false
	switch key.Kty + " " + key.Crv {
	case "OKP Ed25519":
		good = ed25519.Verify(ed25519.PublicKey(decode(key.X)), []byte(input), signature)
	case "EC P-256":
		point := append([]byte{4}, append(decode(key.X), decode(key.Y)...)...)
		public, e := ecdsa.ParseUncompressedPublicKey(p256, point)
		if e != nil {
			return "", nil, e
		}
		sum := sha256.Sum256([]byte(input))
		good = len(signature) == 64 && ecdsa.Verify(public, sum[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:]))
	}
	if !good || header["alg"] != key.Alg || header["kid"] != key.Kid {
		return "", nil, errors.New("the signature does not fit")
	}
	return payload, header, nil
}

// With openssl: a key that it made, a message that it signed, and one that it verifies.
func TestSignedWithOpenSSL(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("there is no openssl")
	}
	dir := t.TempDir()
	run := func(args ...string) []byte {
		t.Helper()
		cmd := exec.Command(openssl, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return out
	}
	file := func(name string, raw []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if version := string(run("version")); !strings.HasPrefix(version, "OpenSSL 3") {
		t.Skipf("%s does not sign raw input with Ed25519", strings.TrimSpace(version))
	}
	run("genpkey", "-algorithm", "ed25519", "-out", "key.pem")
	public := run("pkey", "-in", "key.pem", "-pubout")
	k, err := ParseSignKey("grocer", "", public)
	if err != nil {
		t.Fatal(err)
	}
	inWorld(t, func(w *world) {
		w.must(w.desk.AddSignKey(w.t.Context(), k))
		file("input", []byte(b64(fmt.Sprintf(`{"alg":"EdDSA","kid":%q,"typ":"porchlight-message+jws","jti":"k"}`, k.ID))+"."+b64(w.payload())))
		run("pkeyutl", "-sign", "-inkey", "key.pem", "-rawin", "-in", "input", "-out", "signature")
		signature, err := os.ReadFile(filepath.Join(dir, "signature"))
		w.must(err)
		input, err := os.ReadFile(filepath.Join(dir, "input"))
		w.must(err)
		a, err := w.handIn("k", string(input)+"."+b64(string(signature)))
		w.must(err)

		// And back: what we sign and export, openssl verifies.
		p := w.prove(a.ID)
		at := strings.LastIndexByte(p.JWS, '.')
		raw, err := base64.RawURLEncoding.DecodeString(p.JWS[at+1:])
		w.must(err)
		file("kept", []byte(p.JWS[:at]))
		file("kept.sig", raw)
		file("kept.pem", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: p.Sign.Public}))
		if out := run("pkeyutl", "-verify", "-pubin", "-inkey", "kept.pem", "-rawin", "-in", "kept", "-sigfile", "kept.sig"); !strings.Contains(string(out), "Successfully") {
			t.Errorf("openssl says %s", out)
		}
	})
}

// A key is read from PEM and from a JWK; a private one is told from a public one.
func TestParseSignKey(t *testing.T) {
	p := newPen(t, "ES256", "")
	k := p.key(t, "grocer")
	jwk, err := JWK(k)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(p.private)
	if err != nil {
		t.Fatal(err)
	}
	scalar, err := p.private.(*ecdsa.PrivateKey).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	d := base64.RawURLEncoding.EncodeToString(scalar)
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	tests := map[string]struct {
		raw, kid string
		want     string // the key's ID
		no       string // in the error
	}{
		"PEM":                 {block("PUBLIC KEY", k.Public), "", k.ID, ""},
		"PEM, with an ID":     {block("PUBLIC KEY", k.Public), "mine", "mine", ""},
		"JWK":                 {string(jwk), "", k.ID, ""},
		"JWK, with an ID":     {string(jwk), "mine", "mine", ""},
		"JWK without a kid":   {strings.Replace(string(jwk), `"kid":"`+k.ID+`",`, "", 1), "", k.ID, ""},
		"JWK with its own":    {strings.Replace(string(jwk), k.ID, "theirs", 1), "", "theirs", ""},
		"a private PEM":       {block("PRIVATE KEY", secret), "", "", "private half"},
		"an EC private PEM":   {block("EC PRIVATE KEY", secret), "", "", "private half"},
		"a private JWK":       {strings.Replace(string(jwk), `"x"`, `"d":"`+d+`","x"`, 1), "", "", "private half"},
		"a shared secret":     {`{"kty":"oct","k":"AAAA"}`, "", "", ""},
		"a certificate":       {block("CERTIFICATE", k.Public), "", "", "PUBLIC KEY"},
		"not on the curve":    {strings.Replace(string(jwk), `"x":"`, `"x":"AA`, 1), "", "", ""},
		"an API key":          {registry.NewKey(), "", "", ""},
		"nothing":             {"", "", "", ""},
		"a set with one":      {`{"keys":[` + string(jwk) + `]}`, "", "", "JWK"},
		"kid beyond 64":       {block("PUBLIC KEY", k.Public), strings.Repeat("k", 65), "", "64"},
		"JWK, kid beyond 64":  {strings.Replace(string(jwk), k.ID, strings.Repeat("k", 65), 1), "", "", "64"},
		"an RSA key in a JWK": {`{"kty":"RSA","e":"AQAB","n":"` + b64(strings.Repeat("n", 256)) + `"}`, "", "", "Ed25519"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := ParseSignKey("grocer", test.kid, []byte(test.raw))
			if test.want == "" {
				if !errors.Is(err, registry.ErrInvalid) || !strings.Contains(err.Error(), test.no) || strings.Contains(err.Error(), d) {
					t.Errorf("got %+v, %v, want ErrInvalid with %q", got, err, test.no)
				}
				return
			}
			if err != nil || got.ID != test.want || got.Alg != "ES256" || string(got.Public) != string(k.Public) || got.Brand != "grocer" {
				t.Errorf("got %+v, %v, want %s", got, err, test.want)
			}
		})
	}
}

// Whatever comes in place of a JWS, reading it does not fall over, and what is read was within the
// limits.
func FuzzParseSigned(f *testing.F) {
	p := newPen(f, "EdDSA", "ed")
	f.Add([]byte(p.write(f, p.header("k"), "{}")))
	f.Add([]byte(b64(`{"alg":"none"}`) + ".."))
	f.Add([]byte("e30.e30.e30"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := ParseSigned(raw)
		var bad *SignatureError
		if err != nil {
			if !errors.As(err, &bad) || bad.Why == "" || bad.Fix == "" {
				t.Fatalf("got %v, want a SignatureError", err)
			}
			return
		}
		e := s.signed
		if len(e.text) > MaxSigned || len(e.kid) < 1 || len(e.kid) > 64 || e.jti == "" || e.alg != "EdDSA" && e.alg != "ES256" {
			t.Fatalf("%q passed as %+v", raw, e)
		}
	})
}

package registry_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"porchlight/device"
	. "porchlight/device/registry"
	"porchlight/device/store"
)

// brands is a real store with a brand in it, whose clock stands still until it is moved.
type brands struct {
	*store.DB
	t    *testing.T
	path string
	now  device.Instant
	key  string // of grocer
}

func openBrands(t *testing.T) *brands {
	t.Helper()
	b := &brands{t: t, path: filepath.Join(t.TempDir(), "p.db"), now: device.At(time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)), key: NewKey()}
	var err error
	b.DB, err = store.Open(context.Background(), b.path, store.Options{Project: projectBrand, Now: func() device.Instant { return b.now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.Close()
		if diffs, err := store.Check(context.Background(), b.path, projectBrand, nil); err != nil || len(diffs) > 0 {
			t.Errorf("the tables differ from the journal: %v %v", diffs, err)
		}
	})
	b.do(func(tx *store.Tx) error { return AddBrand(tx, goodBrand(), b.key) })
	return b
}

func projectBrand(tx *store.Apply, e store.Event) error {
	if mine, err := Apply(tx, e); !mine || err != nil {
		return fmt.Errorf("%s: mine %v, %w", e.Kind, mine, err)
	}
	return nil
}

func goodBrand() Brand {
	return Brand{ID: "grocer", Name: "Grocer", Legal: "Grocer AG", Contact: "privacy@grocer.example", Domain: "grocer.example", Country: "CH", Purposes: []string{"marketing"}, Quota: 10}
}

func (b *brands) do(f func(tx *store.Tx) error) {
	b.t.Helper()
	if err := b.Update(f); err != nil {
		b.t.Fatal(err)
	}
}

func (b *brands) see(f func(tx *store.Tx) error) error {
	return b.View(context.Background(), f)
}

// events is how much is in the journal.
func (b *brands) events() (n int) {
	b.t.Helper()
	if err := b.see(func(tx *store.Tx) error { return tx.QueryRow(`SELECT count(*) FROM journal`).Scan(&n) }); err != nil {
		b.t.Fatal(err)
	}
	return n
}

func public(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func ed(t *testing.T) []byte {
	t.Helper()
	key, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return public(t, key)
}

func TestBrandForm(t *testing.T) {
	tests := map[string]struct {
		edit func(b *Brand)
		ok   bool
	}{
		"good":                 {func(b *Brand) {}, true},
		"the least":            {func(b *Brand) { *b = Brand{ID: b.ID, Name: "G", Purposes: b.Purposes, Quota: 1} }, true},
		"contact is a page":    {func(b *Brand) { b.Contact = "https://www.grocer.example/privacy?lang=de" }, true},
		"contact over http":    {func(b *Brand) { b.Contact = "http://grocer.example" }, false},
		"contact is a script":  {func(b *Brand) { b.Contact = "javascript:alert(1)" }, false},
		"contact with a login": {func(b *Brand) { b.Contact = "https://a:b@grocer.example" }, false},
		"contact with a name":  {func(b *Brand) { b.Contact = "Grocer <privacy@grocer.example>" }, false},
		"contact in quotes":    {func(b *Brand) { b.Contact = `"privacy"@grocer.example` }, false},
		"contact of nowhere":   {func(b *Brand) { b.Contact = "privacy@localhost" }, false},
		"contact is a word":    {func(b *Brand) { b.Contact = "grocer" }, false},
		"contact of two lines": {func(b *Brand) { b.Contact = "a@grocer.example\nb@grocer.example" }, false},
		"contact too long":     {func(b *Brand) { b.Contact = strings.Repeat("a", 240) + "@grocer.example" }, false},
		"domain of one part":   {func(b *Brand) { b.Domain = "grocer" }, false},
		"domain is a URL":      {func(b *Brand) { b.Domain = "https://grocer.example" }, false},
		"domain in capitals":   {func(b *Brand) { b.Domain = "Grocer.example" }, false},
		"domain too long":      {func(b *Brand) { b.Domain = strings.Repeat("grocer.", 40) + "example" }, false},
		"country in words":     {func(b *Brand) { b.Country = "Switzerland" }, false},
		"country in lower":     {func(b *Brand) { b.Country = "ch" }, false},
		"no name":              {func(b *Brand) { b.Name = "" }, false},
		"legal name too long":  {func(b *Brand) { b.Legal = strings.Repeat("x", 129) }, false},
		"legal name of lines":  {func(b *Brand) { b.Legal = "a\nb" }, false},
		"no purpose":           {func(b *Brand) { b.Purposes = nil }, false},
		"no quota":             {func(b *Brand) { b.Quota = 0 }, false},
		"ID of a device":       {func(b *Brand) { b.ID = "1st" }, false},
	}
	db := openBrands(t)
	undo := errors.New("undo")
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := goodBrand()
			b.ID = "baker"
			test.edit(&b)
			for verb, do := range map[string]func(tx *store.Tx) (Brand, error){
				"add": func(tx *store.Tx) (Brand, error) {
					if err := AddBrand(tx, b, NewKey()); err != nil {
						return Brand{}, err
					}
					return BrandByID(tx, b.ID)
				},
				"change": func(tx *store.Tx) (Brand, error) {
					_, err := ChangeBrand(tx, "grocer", func(g *Brand) { id := g.ID; *g = b; g.ID = id })
					if err != nil {
						return Brand{}, err
					}
					got, err := BrandByID(tx, "grocer")
					got.ID = b.ID
					return got, err
				},
			} {
				if verb == "change" && name == "ID of a device" {
					continue // an ID does not change
				}
				var got Brand
				var err error
				db.Update(func(tx *store.Tx) error { got, err = do(tx); return undo })
				if test.ok && (err != nil || fmt.Sprint(got) != fmt.Sprint(b)) {
					t.Errorf("%s %+v: got %+v, %v", verb, b, got, err)
				}
				if !test.ok && !errors.Is(err, ErrInvalid) {
					t.Errorf("%s %+v: got %v, want ErrInvalid", verb, b, err)
				}
			}
		})
	}
}

func TestSignKeyForm(t *testing.T) {
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	weak, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	good := ed(t)
	tests := map[string]struct {
		kid    string
		public []byte
		alg    string // "": refused
	}{
		"Ed25519":               {"a", good, EdDSA},
		"P-256":                 {"a", public(t, &p256.PublicKey), ES256},
		"P-384":                 {"a", public(t, &p384.PublicKey), ""},
		"RSA":                   {"a", public(t, &weak.PublicKey), ""},
		"nothing":               {"a", nil, ""},
		"cut off":               {"a", good[:len(good)-1], ""},
		"with a tail":           {"a", append(good[:len(good):len(good)], 0), ""},
		"kid of 64 characters":  {strings.Repeat("k", 64), good, EdDSA},
		"kid of 65 characters":  {strings.Repeat("k", 65), good, ""},
		"kid with a space":      {"a b", good, ""},
		"kid with a line end":   {"a\n", good, ""},
		"kid with an umlaut":    {"schlüssel", good, ""},
		"kid made from the key": {"", good, EdDSA},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			k, err := NewSignKey("grocer", test.kid, test.public)
			if test.alg == "" {
				if !errors.Is(err, ErrInvalid) {
					t.Errorf("got %+v, %v, want ErrInvalid", k, err)
				}
				return
			}
			want := test.kid
			if want == "" {
				want = KeyID(test.public)
			}
			if err != nil || k.Alg != test.alg || k.ID != want || len(k.ID) < 1 || !bytes.Equal(k.Public, test.public) {
				t.Errorf("got %+v, %v, want kid %s and %s", k, err, want, test.alg)
			}
		})
	}
}

func TestSignKeys(t *testing.T) {
	db := openBrands(t)
	db.do(func(tx *store.Tx) error { b := goodBrand(); b.ID = "baker"; return AddBrand(tx, b, NewKey()) })
	standing := func(id device.BrandID, kid string) (s Standing) {
		t.Helper()
		if err := db.see(func(tx *store.Tx) (err error) { s, err = StandingOf(tx, id, kid); return err }); err != nil {
			t.Fatal(err)
		}
		return s
	}
	addErr := func(brand device.BrandID, kid string, key []byte) error {
		return db.Update(func(tx *store.Tx) error { return AddSignKey(tx, SignKey{Brand: brand, ID: kid, Public: key}) })
	}
	revoke := func(brand device.BrandID, kid string) error {
		return db.Update(func(tx *store.Tx) error { return RevokeSignKey(tx, brand, kid) })
	}
	if s := standing("grocer", ""); s != (Standing{}) {
		t.Errorf("without a key: %+v", s)
	}
	first, second := ed(t), ed(t)
	for kid, key := range map[string][]byte{"one": first, "two": second} {
		if err := addErr("grocer", kid, key); err != nil {
			t.Fatal(err)
		}
	}
	if s := standing("grocer", "one"); s != (Standing{Signs: true, Key: true}) {
		t.Errorf("with its key: %+v", s)
	}
	for name, s := range map[string]Standing{"another's": standing("baker", "one"), "nobody's": standing("baker", "none")} {
		if s != (Standing{}) {
			t.Errorf("with %s key: %+v", name, s)
		}
	}
	if s := standing("grocer", "none"); s != (Standing{Signs: true}) {
		t.Errorf("with no key of its own: %+v", s)
	}
	before := db.events()
	for name, err := range map[string]error{
		"the same kid":       addErr("grocer", "one", ed(t)),
		"the same key":       addErr("grocer", "three", first),
		"another's key":      addErr("baker", "one", first),
		"unknown brand":      addErr("nobody", "one", ed(t)),
		"revoke what is not": revoke("grocer", "three"),
		"revoke another's":   revoke("baker", "one"),
	} {
		if !errors.Is(err, ErrTaken) && !errors.Is(err, ErrUnknown) {
			t.Errorf("%s: %v, want ErrTaken or ErrUnknown", name, err)
		}
	}
	if n := db.events(); n != before {
		t.Errorf("refusals wrote %d events", n-before)
	}

	// What is revoked stays revoked, its ID and the key itself are not taken again.
	if err := errors.Join(revoke("grocer", "one"), revoke("grocer", "one")); err != nil {
		t.Fatal(err)
	}
	if n := db.events(); n != before+1 {
		t.Errorf("revoked twice it is %d events, want 1", n-before)
	}
	if s := standing("grocer", "one"); s != (Standing{Signs: true}) {
		t.Errorf("with a revoked key: %+v", s)
	}
	if s := standing("grocer", "two"); !s.Key {
		t.Errorf("its other key: %+v", s)
	}
	for name, err := range map[string]error{
		"its ID":      addErr("grocer", "one", ed(t)),
		"the key":     addErr("grocer", "four", first),
		"by somebody": addErr("baker", "four", first),
	} {
		if !errors.Is(err, ErrTaken) {
			t.Errorf("a revoked key again, %s: %v, want ErrTaken", name, err)
		}
	}

	// A brand without any key in force must still sign.
	if err := revoke("grocer", "two"); err != nil {
		t.Fatal(err)
	}
	if s := standing("grocer", ""); s != (Standing{Signs: true}) {
		t.Errorf("after its last key was revoked: %+v", s)
	}
	for i := range MaxSignKeys {
		if err := addErr("grocer", fmt.Sprint("k", i), ed(t)); err != nil {
			t.Fatal(err)
		}
	}
	if err := addErr("grocer", "too-many", ed(t)); !errors.Is(err, ErrInvalid) {
		t.Errorf("key %d in force: %v, want ErrInvalid", MaxSignKeys+1, err)
	}

	// The end of the brand is the end of its keys, and they stay on record.
	db.do(func(tx *store.Tx) error { return RemoveBrand(tx, "grocer") })
	var all []SignKey
	if err := db.see(func(tx *store.Tx) (err error) { all, err = SignKeys(tx, "grocer"); return err }); err != nil {
		t.Fatal(err)
	}
	if len(all) != MaxSignKeys+2 {
		t.Errorf("%d keys are on record, want %d", len(all), MaxSignKeys+2)
	}
	for _, k := range all {
		if k.Revoked == 0 || k.InForce(int64(db.events())+1) {
			t.Errorf("key %s of a removed brand: %+v", k.ID, k)
		}
	}
	if err := addErr("grocer", "new", ed(t)); !errors.Is(err, ErrUnknown) {
		t.Errorf("a key for a removed brand: %v, want ErrUnknown", err)
	}
}

func TestAPIKeysRotate(t *testing.T) {
	db := openBrands(t)
	keys := NewBrandKeys(db.DB) // one for all of it: what it remembers must not outlive a key
	opens := func(key string) bool {
		t.Helper()
		b, err := keys.Authenticate(t.Context(), key)
		if err == nil && b.ID != "grocer" {
			t.Errorf("the key opens for %s", b.ID)
		}
		if err != nil && !errors.Is(err, ErrUnknown) {
			t.Fatal(err)
		}
		return err == nil
	}
	renew := func(atOnce bool) string {
		t.Helper()
		key := NewKey()
		db.do(func(tx *store.Tx) error { return RenewAPIKey(tx, "grocer", key, atOnce) })
		return key
	}
	states := func() (all []State) {
		t.Helper()
		err := db.see(func(tx *store.Tx) error {
			keys, err := APIKeys(tx, "grocer")
			for _, k := range keys {
				all = append(all, k.State)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	first := db.key
	second := renew(false)
	if !opens(first) || !opens(second) || fmt.Sprint(states()) != "[active retiring]" {
		t.Errorf("after a rotation: %v %v %v", opens(first), opens(second), states())
	}
	db.now = db.now.Add(Grace - time.Millisecond)
	if !opens(first) {
		t.Error("the key before is void too early")
	}
	db.now = db.now.Add(time.Millisecond)
	if opens(first) || !opens(second) || fmt.Sprint(states()) != "[active]" {
		t.Errorf("after the grace: %v %v %v", opens(first), opens(second), states())
	}
	third := renew(false)
	fourth := renew(false)
	if opens(second) || !opens(third) || !opens(fourth) {
		t.Errorf("after two more rotations: %v %v %v, want only the last two", opens(second), opens(third), opens(fourth))
	}
	fifth := renew(true)
	if opens(third) || opens(fourth) || !opens(fifth) {
		t.Errorf("after one at once: %v %v %v, want the last", opens(third), opens(fourth), opens(fifth))
	}
	if err := db.Update(func(tx *store.Tx) error { return RenewAPIKey(tx, "nobody", NewKey(), false) }); !errors.Is(err, ErrUnknown) {
		t.Errorf("a key for nobody: %v", err)
	}
	db.do(func(tx *store.Tx) error { return RemoveBrand(tx, "grocer") })
	if opens(fifth) {
		t.Error("a removed brand logs in")
	}
	for _, file := range []string{db.path, db.path + "-wal"} {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, secret := range []string{first, second, third, fourth, fifth} {
			if bytes.Contains(raw, []byte(secret)) {
				t.Errorf("%s contains key %d", filepath.Base(file), i)
			}
		}
	}
}

func TestStopAndStart(t *testing.T) {
	db := openBrands(t)
	brand := func() (b Brand) {
		t.Helper()
		if err := db.see(func(tx *store.Tx) (err error) { b, err = BrandByID(tx, "grocer"); return err }); err != nil {
			t.Fatal(err)
		}
		return b
	}
	start := func(tx *store.Tx) error { return StartBrand(tx, "grocer") }
	before := db.events()
	db.do(start)
	for _, reason := range []string{"complaints", "more complaints"} {
		db.do(func(tx *store.Tx) error { return StopBrand(tx, "grocer", reason) })
	}
	if b := brand(); b.Stopped != db.now || b.Reason != "complaints" || db.events() != before+1 {
		t.Errorf("stopped twice: %+v, %d events", b, db.events()-before)
	}
	db.do(func(tx *store.Tx) error {
		_, err := ChangeBrand(tx, "grocer", func(b *Brand) { b.Quota, b.Stopped = 7, 0 })
		return err
	})
	if b := brand(); b.Stopped != db.now || b.Quota != 7 {
		t.Errorf("changed while it is stopped: %+v", b)
	}
	db.do(func(tx *store.Tx) error {
		_, err := ChangeBrand(tx, "grocer", func(b *Brand) { b.Quota = 7 })
		return err
	})
	db.do(start)
	db.do(start)
	if b := brand(); b.Stopped != 0 || b.Reason != "" || db.events() != before+3 {
		t.Errorf("started twice: %+v, %d events, want 3", b, db.events()-before)
	}
	for name, do := range map[string]func(tx *store.Tx) error{
		"stop nobody":       func(tx *store.Tx) error { return StopBrand(tx, "nobody", "") },
		"start nobody":      func(tx *store.Tx) error { return StartBrand(tx, "nobody") },
		"change nobody":     func(tx *store.Tx) error { _, err := ChangeBrand(tx, "nobody", func(*Brand) {}); return err },
		"reason of lines":   func(tx *store.Tx) error { return StopBrand(tx, "grocer", "a\nb") },
		"reason of a novel": func(tx *store.Tx) error { return StopBrand(tx, "grocer", strings.Repeat("a", 257)) },
	} {
		if err := db.Update(do); !errors.Is(err, ErrUnknown) && !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

package authority

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"strings"
	"testing"
	"time"

	"porchlight/device"
)

func TestIssue(t *testing.T) {
	d := openAt(t, t.TempDir(), at(start))
	key := newKey(t, elliptic.P256())
	hash, spki, err := ParseRequest(request(t, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "admin"}, DNSNames: []string{"porch.local"}}, key))
	if err != nil {
		t.Fatal(err)
	}
	if hash != sha256.Sum256(spki) {
		t.Error("the hash is not the key's")
	}
	der, end, err := d.Issue("tv-1", spki, start)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if !end.Equal(start.Add(deviceLife)) || !c.NotAfter.Equal(end) || !c.NotBefore.Equal(start.Add(-24*time.Hour)) {
		t.Errorf("from %s to %s, told %s", c.NotBefore, c.NotAfter, end)
	}
	if c.Subject.String() != "CN=tv-1" || c.IsCA || len(c.DNSNames) > 0 || len(c.ExtKeyUsage) != 1 || c.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth || c.KeyUsage != x509.KeyUsageDigitalSignature {
		t.Errorf("subject %s, CA %v, names %v, usage %v %v: the request must have no say in it", c.Subject, c.IsCA, c.DNSNames, c.ExtKeyUsage, c.KeyUsage)
	}
	got, err := d.Verify(c, start)
	if want := (Identity{ID: "tv-1", Key: hash, NotAfter: end}); err != nil || got != want {
		t.Errorf("Verify = %+v, %v, want %+v", got, err, want)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(read(t, strings.TrimSuffix(d.dir, "/ca"), crtFile))
	if _, err := c.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: start, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Errorf("the standard library: %v", err)
	}
	again, _, err := d.Issue("tv-1", spki, start)
	if err != nil || bytes.Equal(again, der) {
		t.Errorf("two certificates with one serial number (%v)", err)
	}
	d.Life = time.Minute
	if _, end, err := d.Issue("tv-1", spki, start); err != nil || !end.Equal(start.Add(time.Minute)) {
		t.Errorf("a minute's life: until %s, %v", end, err)
	}
	if _, _, err := d.Issue("TV 1", spki, start); !errors.Is(err, device.ErrID) {
		t.Errorf("a bad ID: %v", err)
	}
	other, err := x509.MarshalPKIXPublicKey(&newKey(t, elliptic.P384()).PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.Issue("tv-1", other, start); err == nil {
		t.Error("a key of another curve is signed")
	}
}

// odd is a request, rightly signed, whose key stands in a form that the standard library reads but
// does not write: one more element in the algorithm.
func odd(t testing.TB, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	must := func(v any) []byte {
		b, err := asn1.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	type algorithm struct {
		ID, Curve asn1.ObjectIdentifier
		More      asn1.RawValue
	}
	spki := must(struct {
		Algorithm algorithm
		Key       asn1.BitString
	}{algorithm{asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}, asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7}, asn1.NullRawValue}, asn1.BitString{Bytes: point, BitLength: 8 * len(point)}})
	if _, err := x509.ParsePKIXPublicKey(spki); err != nil {
		t.Fatal("the standard library no longer reads this form:", err)
	}
	info := must(struct {
		Version    int
		Subject    pkix.RDNSequence
		Key        asn1.RawValue
		Attributes []int `asn1:"tag:0"`
	}{Key: asn1.RawValue{FullBytes: spki}})
	hash := sha256.Sum256(info)
	sig, err := key.Sign(rand.Reader, hash[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return must(struct {
		Info      asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}{asn1.RawValue{FullBytes: info}, pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}}, asn1.BitString{Bytes: sig, BitLength: 8 * len(sig)}})
}

func TestParseRequestRefuses(t *testing.T) {
	key := newKey(t, elliptic.P256())
	good := request(t, &x509.CertificateRequest{}, key)
	swap := func(b, old, new []byte) []byte {
		if bytes.Count(b, old) != 1 {
			t.Fatalf("%x is not once in %x", old, b)
		}
		return bytes.Replace(b, old, new, 1)
	}
	point := func(k *ecdsa.PrivateKey) []byte {
		b, err := k.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	off := point(key)
	off[64] ^= 1
	tests := map[string]struct {
		der  []byte
		want string
	}{
		"nothing":         {nil, "sequence"},
		"cut short":       {good[:len(good)-1], ""},
		"a byte more":     {append(bytes.Clone(good), 0), "trailing"},
		"too long":        {request(t, &x509.CertificateRequest{DNSNames: []string{strings.Repeat("a", maxRequest)}}, key), "at most 1024"},
		"P-384":           {request(t, &x509.CertificateRequest{}, newKey(t, elliptic.P384())), "not of the kind P-256"},
		"P-224":           {request(t, &x509.CertificateRequest{}, newKey(t, elliptic.P224())), "not of the kind P-256"},
		"RSA":             {request(t, &x509.CertificateRequest{}, rsaKey), "not of the kind P-256"},
		"Ed25519":         {request(t, &x509.CertificateRequest{}, edKey), "not of the kind P-256"},
		"another's key":   {swap(good, point(key), point(newKey(t, elliptic.P256()))), "its signature"},
		"no point":        {swap(good, point(key), off), ""},
		"altered":         {swap(request(t, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "good"}}, key), []byte("good"), []byte("evil")), "its signature"},
		"in another form": {odd(t, key), "usual form"},
	}
	if _, _, err := ParseRequest(good); err != nil {
		t.Fatal(err)
	}
	for name, tc := range tests {
		_, spki, err := ParseRequest(tc.der)
		if !errors.Is(err, ErrRequest) || !strings.Contains(err.Error(), tc.want) || spki != nil {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}

func TestVerify(t *testing.T) {
	d := openAt(t, t.TempDir(), at(start))
	key := newKey(t, elliptic.P256())
	by := d.line().newest
	make := func(edit func(*x509.Certificate), by ca) *x509.Certificate {
		t.Helper()
		c := &x509.Certificate{
			Subject: pkix.Name{CommonName: "tv-1"}, NotBefore: start.Add(-early), NotAfter: start.Add(time.Hour),
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}
		edit(c)
		if by.cert == nil {
			by = ca{c, key}
		}
		got, err := sign(c, by, &key.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	same := func(*x509.Certificate) {}
	good := make(same, by)
	other := openAt(t, t.TempDir(), at(start)).line().newest
	like := *by.cert // another's key under our name
	like.PublicKey = &other.key.PublicKey
	tests := map[string]struct {
		cert    *x509.Certificate
		at      time.Duration
		want    error
		expired bool
	}{
		"good":                     {good, 0, nil, false},
		"at its end":               {good, time.Hour, nil, false},
		"ended":                    {good, time.Hour + time.Second, nil, true},
		"ended 400 days ago":       {good, time.Hour + grace, nil, true},
		"ended more than that ago": {good, time.Hour + grace + time.Second, ErrEnded, false},
		"at its beginning":         {good, -early, nil, false},
		"not yet valid":            {good, -early - time.Second, ErrEarly, false},
		"of another gateway":       {make(same, other), 0, ErrForeign, false},
		"of another with our name": {make(same, ca{&like, other.key}), 0, ErrForeign, false},
		"signed by the device":     {make(same, ca{}), 0, ErrForeign, false},
		"foreign and long ended":   {make(same, other), 2 * grace, ErrForeign, false},
		"a server's":               {make(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }, by), 0, ErrForeign, false},
		"for no use in particular": {make(func(c *x509.Certificate) { c.ExtKeyUsage = nil }, by), 0, ErrForeign, false},
		"for any use":              {make(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }, by), 0, ErrForeign, false},
		"a CA's":                   {make(func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }, by), 0, ErrForeign, false},
		"named like no device":     {make(func(c *x509.Certificate) { c.Subject.CommonName = "../tv" }, by), 0, ErrForeign, false},
		"without a name":           {make(func(c *x509.Certificate) { c.Subject.CommonName = "" }, by), 0, ErrForeign, false},
		"with what we do not know": {make(func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true}}
		}, by), 0, ErrForeign, false},
		"the CA's own":               {by.cert, 0, ErrForeign, false},
		"that of our own listeners":  {d.chain()[0], 0, ErrForeign, false},
		"with a signature but a bit": {flip(t, good), 0, ErrForeign, false},
	}
	for name, tc := range tests {
		got, err := d.Verify(tc.cert, start.Add(tc.at))
		if !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
		want := Identity{}
		if tc.want == nil {
			want = Identity{ID: "tv-1", Key: sha256.Sum256(tc.cert.RawSubjectPublicKeyInfo), NotAfter: start.Add(time.Hour), Expired: tc.expired}
		}
		if got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
}

// flip changes the last bit of a certificate's signature.
func flip(t testing.TB, c *x509.Certificate) *x509.Certificate {
	t.Helper()
	der := bytes.Clone(c.Raw)
	der[len(der)-1] ^= 1
	got, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// FuzzParseRequest: what is taken can be issued, and is known again by the same key.
func FuzzParseRequest(f *testing.F) {
	key := newKey(f, elliptic.P256())
	f.Add(request(f, &x509.CertificateRequest{}, key))
	f.Add(request(f, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "tv"}, DNSNames: []string{"a.b"}}, key))
	f.Add(request(f, &x509.CertificateRequest{}, newKey(f, elliptic.P384())))
	f.Add(odd(f, key))
	a, err := Open(f.TempDir(), nil, at(start).now)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		key, spki, err := ParseRequest(der)
		if err != nil {
			if !errors.Is(err, ErrRequest) {
				t.Errorf("%v is not ErrRequest", err)
			}
			return
		}
		cert, _, err := a.Issue("tv-1", spki, start)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(cert)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := a.Verify(c, start); err != nil || got.Key != key {
			t.Errorf("%+v, %v, want the key %x", got, err, key)
		}
	})
}

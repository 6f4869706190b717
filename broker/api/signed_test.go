package api

import (
	"crypto"
	"crypto/x509"
	"fmt"
	"html"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/policy"
)

// signer registers a signing key of a brand and returns its private half.
func (w *world) signer(brand device.BrandID, kid string) crypto.Signer {
	w.t.Helper()
	private, err := delivery.MakeSignKey("ES256")
	if err != nil {
		w.t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.desk.AddSignKey(w.t.Context(), registry.SignKey{Brand: brand, ID: kid, Public: public}); err != nil {
		w.t.Fatal(err)
	}
	return private
}

func (w *world) jws(private crypto.Signer, kid, key, message string) string {
	w.t.Helper()
	jws, err := delivery.Sign(private, kid, key, []byte(message))
	if err != nil {
		w.t.Fatal(err)
	}
	return jws
}

// signed is a request with a signed message.
func (w *world) signed(private crypto.Signer, key string) request {
	w.t.Helper()
	return request{method: "POST", path: "/v1/messages", key: w.keys["fresh"], idempotency: key, body: w.jws(private, "one", key, text(good())),
		header: map[string]string{"Content-Type": "application/jose"}}
}

func TestSendSigned(t *testing.T) {
	w := newWorld(t, Options{})
	private := w.signer("fresh", "one")
	w.brand("zebra", 3)
	foreign := w.signer("zebra", "two")
	tests := map[string]struct {
		edit   func(r *request)
		status int
		slug   string
		field  string
	}{
		"good":                {func(*request) {}, 202, "", ""},
		"with a parameter":    {func(r *request) { r.header["Content-Type"] = "Application/JOSE; charset=utf-8" }, 202, "", ""},
		"with a line end":     {func(r *request) { r.body += "\n" }, 202, "", ""},
		"as JSON":             {func(r *request) { r.header["Content-Type"] = "application/json" }, 422, "invalid", "body"},
		"unsigned":            {func(r *request) { r.header, r.body = nil, text(good()) }, 403, "unsigned", "jws"},
		"JSON said to be JWS": {func(r *request) { r.body = text(good()) }, 403, "signature", "jws"},
		"another key":         {func(r *request) { r.idempotency = "another" }, 403, "signature", "jti"},
		"no key":              {func(r *request) { r.idempotency = "" }, 400, "key", "Idempotency-Key"},
		"another brand's":     {func(r *request) { r.body = w.jws(foreign, "two", r.idempotency, text(good())) }, 403, "signature", "kid"},
		"another brand's key": {func(r *request) { r.body = w.jws(foreign, "one", r.idempotency, text(good())) }, 403, "signature", "signature"},
		"not the schema":      {func(r *request) { r.body = w.jws(private, "one", r.idempotency, `{"purpos":"marketing"}`) }, 422, "invalid", "purpos"},
		"not declared": {func(r *request) {
			m := good()
			m["purpose"] = "research"
			r.body = w.jws(private, "one", r.idempotency, text(m))
		}, 422, "invalid", "purpose"},
		"as large as may be":  {func(r *request) { r.body = w.jws(private, "one", r.idempotency, pad(delivery.MaxSubmission)) }, 202, "", ""},
		"payload too large":   {func(r *request) { r.body = w.jws(private, "one", r.idempotency, pad(delivery.MaxSubmission+1)) }, 422, "invalid", "body"},
		"too large":           {func(r *request) { r.body = strings.Repeat("A", delivery.MaxSigned+1) }, 413, "too-large", ""},
		"nothing":             {func(r *request) { r.body = "" }, 403, "signature", "jws"},
		"by nobody":           {func(r *request) { r.key = "" }, 401, "unauthorized", ""},
		"by another":          {func(r *request) { r.key = w.keys["zebra"] }, 403, "signature", "kid"},
		"unsigned, too large": {func(r *request) { r.header, r.body = nil, pad(delivery.MaxSubmission+1) }, 413, "too-large", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w.change("fresh", func(b *registry.Brand) { b.Quota++ })
			r := w.signed(private, "key-"+strings.ReplaceAll(name, " ", "-"))
			test.edit(&r)
			a := w.do(r)
			var first delivery.InvalidError
			if len(a.problem.Errors) > 0 {
				first = *a.problem.Errors[0]
			}
			if a.status != test.status || a.problem.slug() != test.slug || first.Field != test.field {
				t.Fatalf("got %v, want %d %s about %q", a, test.status, test.slug, test.field)
			}
			if test.field != "" && (first.Why == "" || first.Fix == "") {
				t.Errorf("%+v does not say why and what to do", first)
			}
			if strings.Contains(a.body, "zebra") {
				t.Errorf("the answer tells of another brand: %s", a.body)
			}
		})
	}
}

func (w *world) change(id device.BrandID, edit func(*registry.Brand)) {
	w.t.Helper()
	if _, err := w.desk.ChangeBrand(w.t.Context(), id, edit); err != nil {
		w.t.Fatal(err)
	}
}

func TestStoppedBrandIsToldSo(t *testing.T) {
	w := newWorld(t, Options{})
	m := w.mustSend("one")
	if n, err := w.desk.StopBrand(t.Context(), "fresh", "because of complaints"); err != nil || n != 1 {
		t.Fatalf("stop: %d, %v", n, err)
	}
	for _, key := range []string{"one", "two"} {
		a := w.send(key)
		if a.status != 403 || a.problem.slug() != "stopped" || a.problem.Detail == "" || strings.Contains(a.body, "complaints") || a.header.Get("Retry-After") != "" {
			t.Errorf("send %s: got %v, want 403 stopped and no reason", key, a)
		}
	}
	if a := w.do(request{method: "GET", path: "/v1/messages/" + m.ID, key: w.keys["fresh"]}); a.status != 200 || a.message.State != "withdrawn" {
		t.Errorf("look: got %v, want it withdrawn", a)
	}
	if err := w.desk.StartBrand(t.Context(), "fresh"); err != nil {
		t.Fatal(err)
	}
	if a := w.send("one"); a.status != 202 || a.message.ID != m.ID || a.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("the old key after start: got %v, want the first answer", a)
	}
	if got := w.mustSend("two"); got.State != "accepted" {
		t.Errorf("after start: %+v", got)
	}
}

// The journal says which brand, from which address, and no port.
func TestRequestsHaveAnActor(t *testing.T) {
	w := newWorld(t, Options{})
	m := w.mustSend("one")
	w.do(request{method: "DELETE", path: "/v1/messages/" + m.ID, key: w.keys["fresh"]})
	var got []string
	err := w.db.View(t.Context(), func(tx *store.Tx) (err error) {
		got, err = store.List(tx, func(scan func(...any) error) (s string, err error) { err = scan(&s); return }, `SELECT actor FROM journal WHERE kind LIKE 'message.%' ORDER BY seq`)
		return err
	})
	if want := "brand fresh 127.0.0.1,brand fresh 127.0.0.1"; err != nil || strings.Join(got, ",") != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

// What a brand hears of its signatures, its keys and its being stopped does not depend on what is
// inside homes either.
func TestBrandsThatSignAreBlind(t *testing.T) {
	private, err := delivery.MakeSignKey("ES256")
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	story := func(choice policy.Choice, homes ...string) string {
		w := newWorld(t, Options{})
		for _, name := range homes {
			_, _, err := w.desk.AddHome(t.Context(), delivery.HomeSpec{Name: name, Zone: "Europe/Zurich", Devices: []delivery.DeviceSpec{{Class: device.TV}}})
			if err != nil {
				t.Fatal(err)
			}
			if err := w.desk.Choose(t.Context(), name, "", "fresh", policy.Marketing, choice); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.desk.AddSignKey(t.Context(), registry.SignKey{Brand: "fresh", ID: "one", Public: public}); err != nil {
			t.Fatal(err)
		}
		var told strings.Builder
		note := func(a answer) {
			header := a.header.Clone()
			header.Del("Date")
			fmt.Fprintln(&told, a.status, header, ids.ReplaceAllString(a.body, "ID"))
		}
		note(w.do(w.signed(private, "a")))
		note(w.do(w.signed(private, "a")))
		note(w.send("b"))
		bad := w.signed(private, "c")
		bad.idempotency = "d"
		note(w.do(bad))
		if _, err := w.desk.StopBrand(t.Context(), "fresh", ""); err != nil {
			t.Fatal(err)
		}
		note(w.do(w.signed(private, "e")))
		note(w.do(request{method: "GET", path: "/v1/messages", key: w.keys["fresh"]}))
		if err := w.desk.StartBrand(t.Context(), "fresh"); err != nil {
			t.Fatal(err)
		}
		if err := w.desk.RevokeSignKey(t.Context(), "fresh", "one"); err != nil {
			t.Fatal(err)
		}
		note(w.do(w.signed(private, "f")))
		return told.String()
	}
	empty := story(policy.Silent)
	for _, want := range []string{"202 ", "Idempotent-Replayed", "#unsigned", "#signature", "#stopped", "withdrawn", "revoked"} {
		if !strings.Contains(empty, want) {
			t.Errorf("the story does not have %q:\n%s", want, empty)
		}
	}
	for _, choice := range []policy.Choice{policy.Given, policy.Refused} {
		if got := story(choice, "oak", "elm"); got != empty {
			t.Errorf("with two homes that said %s a brand hears\n%s\nwithout any home\n%s", choice, got, empty)
		}
	}
}

func TestBrandVerbs(t *testing.T) {
	w := newWorld(t, Options{})
	verb, stop := operators(t, w, filepath.Join(t.TempDir(), "s"))
	defer stop()
	private := `{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
	public := `{"kty":"OKP","crv":"Ed25519","kid":"rfc-8037","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
	m := w.mustSend("before")
	tests := []struct {
		verb, body string
		status     int
		want       string // in the answer
	}{
		{"brand/add", `{"id":"corner","name":"Corner","legal_name":"Corner AG","contact":"mail@corner.example","domain":"corner.example","country":"CH","purposes":["service"]}`, 200, `"key":"plk_`},
		{"brand/add", `{"id":"corner-2","name":"Corner","contact":"nobody","purposes":["service"]}`, 422, "https://"},
		{"brand/show", `{"id":"corner"}`, 200, `"legal_name":"Corner AG","contact":"mail@corner.example","domain":"corner.example","country":"CH","purposes":["service"],"quota":100,"in_force":0,"api_keys":[{"state":"active"`},
		{"brand/show", `{"id":"nobody"}`, 404, "nobody"},
		{"brand/set", `{"id":"corner","quota":7,"country":""}`, 200, `"domain":"corner.example","purposes":["service"],"quota":7}`},
		{"brand/set", `{"id":"corner","purposes":["selling"]}`, 422, "selling"},
		{"brand/set", `{"id":"corner","name":"fresh market"}`, 409, "brand fresh has it"},
		{"brand/set", `{"id":"corner","name":"CORNER"}`, 200, `"name":"CORNER"`},
		{"brand/set", `{"id":"nobody","quota":7}`, 404, "nobody"},
		{"brand/apikey/new", `{"id":"corner"}`, 200, `"key":"plk_`},
		{"brand/apikey/new", `{"id":"nobody"}`, 404, "nobody"},
		{"brand/signkey/add", `{"id":"corner","public":` + text(public) + `}`, 200, `"kid":"rfc-8037","alg":"EdDSA"`},
		{"brand/signkey/add", `{"id":"corner","public":` + text(public) + `}`, 409, "taken"},
		{"brand/signkey/add", `{"id":"corner","kid":"k","public":` + text(private) + `}`, 422, "private half"},
		{"brand/signkey/add", `{"id":"corner","kid":"k","public":"hello"}`, 422, "JWK"},
		{"brand/signkey/revoke", `{"id":"corner","kid":"rfc-8037"}`, 200, ""},
		{"brand/signkey/revoke", `{"id":"corner","kid":"rfc-8037"}`, 200, ""},
		{"brand/signkey/revoke", `{"id":"corner","kid":"none"}`, 404, "none"},
		{"brand/stop", `{"id":"fresh","reason":"complaints"}`, 200, `{"withdrawn":1}`},
		{"brand/stop", `{"id":"fresh"}`, 200, `{"withdrawn":0}`},
		{"brand/stop", `{"id":"nobody"}`, 404, "nobody"},
		{"brand/list", `{}`, 200, `"reason":"complaints"`},
		{"brand/start", `{"id":"fresh"}`, 200, ""},
		{"brand/start", `{"id":"nobody"}`, 404, "nobody"},
		{"message/verify", `{"id":"` + m.ID + `"}`, 200, `"verdict":"it was not signed"`},
		{"message/verify", `{"id":"019a9f3e-5b7a-7c31-9d0e-0c6f8a1f2b3c"}`, 404, "019a9f3e"},
	}
	for _, test := range tests {
		a := verb(test.verb, test.body)
		if a.status != test.status || !strings.Contains(a.body, test.want) {
			t.Errorf("%s %s: got %v, want %d with %q", test.verb, test.body, a, test.status, test.want)
		}
		if strings.Contains(a.body, "nWGxne") {
			t.Errorf("%s tells a private key: %s", test.verb, a.body)
		}
	}
}

// What /docs tells to do with openssl and curl works as it stands there.
func TestDocsSign(t *testing.T) {
	for _, program := range []string{"openssl", "curl", "sh"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("there is no %s", program)
		}
	}
	if version, err := exec.Command("openssl", "version").Output(); err != nil || !strings.HasPrefix(string(version), "OpenSSL 3") {
		t.Skipf("%s does not sign raw input with Ed25519", version)
	}
	w := newWorld(t, Options{})
	page := w.do(request{method: "GET", path: "/docs"}).body
	pre := regexp.MustCompile(`(?s)<h2>Signed messages</h2>.*?<pre>(.*?)</pre>`).FindStringSubmatch(page)
	if pre == nil {
		t.Fatal("/docs does not say how to sign")
	}
	script := html.UnescapeString(pre[1])
	at := strings.Index(script, "# for each message")
	dir := t.TempDir()
	run := func(script string) string {
		t.Helper()
		cmd := exec.Command("sh", "-eu")
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PORCHLIGHT_API_KEY="+w.keys["fresh"], "no_proxy=*")
		cmd.Stdin = strings.NewReader(strings.ReplaceAll(script, "http://127.0.0.1:8080", w.url))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", script, err, out)
		}
		return string(out)
	}
	run(script[:at])
	public, err := os.ReadFile(filepath.Join(dir, "brand.pub"))
	if err != nil {
		t.Fatal(err)
	}
	k, err := delivery.ParseSignKey("fresh", "2026-12", public)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.desk.AddSignKey(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "message.json"), []byte(text(good())), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := run(script[at:]); !strings.Contains(out, fmt.Sprint(http.StatusAccepted)) || !strings.Contains(out, `"state":"accepted"`) {
		t.Errorf("the commands of /docs end with\n%s", out)
	}
}

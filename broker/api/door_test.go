package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
)

func jsonInto(raw string, v any) error { return json.Unmarshal([]byte(raw), v) }

func TestProblem(t *testing.T) {
	const secret = "/var/lib/secret.db: disk I/O error"
	tests := map[string]struct {
		err    error
		status int
		slug   string
		retry  bool
	}{
		"invalid":    {delivery.Invalid{{Field: "purpose", Rule: "required", Why: "is missing", Fix: "add it"}}, 422, "invalid", false},
		"key":        {delivery.ErrKey, 400, "key", false},
		"conflict":   {delivery.ErrConflict, 422, "conflict", false},
		"quota":      {delivery.ErrQuota, 429, "quota", false},
		"unknown":    {registry.ErrUnknown, 404, "not-found", false},
		"stranger":   {errUnauthorized, 401, "unauthorized", false},
		"large":      {errTooLarge, 413, "too-large", false},
		"full":       {store.ErrFull, 503, "unavailable", true},
		"busy":       {store.ErrBusy, 503, "unavailable", true},
		"read-only":  {store.ErrReadOnly, 503, "unavailable", true},
		"corrupt":    {store.ErrCorrupt, 503, "unavailable", true},
		"closed":     {store.ErrClosed, 503, "unavailable", true},
		"failed":     {store.ErrFailed, 503, "unavailable", true},
		"surprising": {errors.New("no such table"), 500, "fault", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			rec := httptest.NewRecorder()
			p := problem(fmt.Errorf("%s: %w", secret, test.err))
			write(rec, p)
			if rec.Code != test.status || p.slug() != test.slug || rec.Header().Get("Content-Type") != "application/problem+json" {
				t.Errorf("%v: got %d %s, want %d %s", test.err, rec.Code, p.slug(), test.status, test.slug)
			}
			if strings.Contains(rec.Body.String(), "secret") || test.status >= 500 && strings.Contains(rec.Body.String(), test.err.Error()) {
				t.Errorf("%v: the answer tells too much: %s", test.err, rec.Body)
			}
			if got := rec.Header().Get("Retry-After") != ""; got != test.retry {
				t.Errorf("%v: Retry-After is %q", test.err, rec.Header().Get("Retry-After"))
			}
			if (test.status == 500) != strings.HasPrefix(p.Instance, "urn:porchlight:fault:") {
				t.Errorf("%v: instance is %q", test.err, p.Instance)
			}
		})
	}
}

func TestStoreThatCannotWork(t *testing.T) {
	down := ""
	w := newWorld(t, Options{Ready: func() string { return down }})
	if a := w.do(request{method: "GET", path: "/readyz"}); a.status != 200 {
		t.Errorf("/readyz: got %v, want 200", a)
	}
	down = "courier"
	if a := w.do(request{method: "GET", path: "/readyz"}); a.status != 503 || a.body != "not ready: courier\n" {
		t.Errorf("/readyz without a courier: got %v, want 503 not ready: courier", a)
	}
	down = ""
	if err := w.db.Close(); err != nil {
		t.Fatal(err)
	}
	a := w.send("one")
	if a.status != 503 || a.problem.slug() != "unavailable" || a.header.Get("Retry-After") == "" {
		t.Errorf("send with the store closed: got %v, want 503 with Retry-After", a)
	}
	if a := w.do(request{method: "GET", path: "/readyz"}); a.status != 503 || a.body != "not ready: store: closed\n" {
		t.Errorf("/readyz with the store closed: got %v, want 503 not ready: store: closed", a)
	}
	if a := w.do(request{method: "GET", path: "/healthz"}); a.status != 200 {
		t.Errorf("/healthz with the store closed: got %v, want 200", a)
	}
}

func TestMetrics(t *testing.T) {
	w := newWorld(t, Options{})
	_, _, err := w.desk.AddHome(t.Context(), delivery.HomeSpec{Name: "oak-secret", Zone: "Europe/Zurich", People: []delivery.PersonSpec{{Name: "Annabel", Age: device.Adult}}})
	if err != nil {
		t.Fatal(err)
	}
	m := w.mustSend("one")
	w.do(request{method: "GET", path: "/v1/messages/" + m.ID, key: w.keys["fresh"]})
	if a := w.do(request{method: "GET", path: "/metrics"}); a.status != 404 {
		t.Errorf("a brand reads /metrics: got %d, want 404", a.status)
	}
	a := w.do(request{method: "GET", path: "/metrics", inside: true})
	for _, want := range []string{
		`porchlight_messages_accepted_total 1`, `porchlight_messages_in_force 1`, `porchlight_decisions_total{verdict="show"} 0`,
		`porchlight_http_requests_total{code="202",route="POST /v1/messages"} 1`, `porchlight_http_requests_total{code="200",route="GET /v1/messages/{id}"} 1`,
		`porchlight_store_healthy 1`, `porchlight_http_shed_total{reason="address"} 0`, "porchlight_http_faults_total 0", "go_goroutines", "process_open_fds",
	} {
		if !strings.Contains(a.body, want) {
			t.Errorf("/metrics does not have %q", want)
		}
	}
	s := w.db.Stats()
	for _, want := range []string{
		fmt.Sprint("porchlight_store_commits_total ", s.Commits), fmt.Sprint("porchlight_store_commit_seconds_count ", s.Commits), fmt.Sprintf("porchlight_store_commit_seconds_bucket{le=\"+Inf\"} %d", s.Commits),
		fmt.Sprint("porchlight_store_commit_units_count ", s.Commits), fmt.Sprintf("porchlight_store_commit_units_bucket{le=\"512\"} %d", s.Commits), fmt.Sprint("porchlight_store_commit_units_sum ", s.Commits),
	} {
		if s.Commits == 0 || !strings.Contains(a.body, "\n"+want+"\n") {
			t.Errorf("/metrics does not have %q", want)
		}
	}
	for _, private := range []string{"fresh", "Fresh", "oak", "Annabel", "Zurich", m.ID, "127.0.0.1"} {
		if strings.Contains(a.body, private) {
			t.Errorf("/metrics has %q", private)
		}
	}
}

func TestOpenAPI(t *testing.T) {
	w := newWorld(t, Options{})
	var doc struct {
		OpenAPI    string
		Paths      map[string]map[string]struct{ Responses map[string]any }
		Components struct {
			Schemas map[string]struct {
				Required   []string
				Properties map[string]struct {
					Type  any
					Enum  []string
					Items struct {
						Enum []string
						Ref  string `json:"$ref"`
					}
				}
			}
		}
	}
	a := w.do(request{method: "GET", path: "/openapi.json"})
	if err := jsonInto(a.body, &doc); err != nil || doc.OpenAPI[:3] != "3.1" {
		t.Fatalf("/openapi.json: version %q, %v", doc.OpenAPI, err)
	}
	s := doc.Components.Schemas["Submission"]
	if got := strings.Join(s.Required, " "); got != "purpose texts not_after" {
		t.Errorf("required are %q", got)
	}
	if got := strings.Join(s.Properties["purpose"].Enum, " "); !strings.Contains(got, "marketing") {
		t.Errorf("purposes are %q", got)
	}
	if got := strings.Join(s.Properties["classes"].Items.Enum, " "); !strings.Contains(got, "tv speaker") || s.Properties["classes"].Type != "array" {
		t.Errorf("classes are %v of %q", s.Properties["classes"].Type, got)
	}
	if got := strings.Join(s.Properties["forms"].Items.Enum, " "); !strings.Contains(got, "full-screen") {
		t.Errorf("forms are %q", got)
	}
	if got := strings.Join(doc.Components.Schemas["SubmissionCondition"].Properties["op"].Enum, " "); got != "eq ne lt le gt ge" {
		t.Errorf("comparisons are %q", got)
	}
	if got := s.Properties["texts"].Items.Ref; got != "#/components/schemas/SubmissionText" {
		t.Errorf("texts are of %q", got)
	}
	for path, methods := range map[string][]string{"/v1/messages": {"get", "post"}, "/v1/messages/{id}": {"get", "delete"}} {
		for _, method := range methods {
			if len(doc.Paths[path][method].Responses) < 6 {
				t.Errorf("%s %s has the answers %v", method, path, doc.Paths[path][method].Responses)
			}
		}
	}
	if a := w.do(request{method: "GET", path: "/openapi.yaml"}); a.status != 200 || !strings.Contains(a.body, "openapi: ") {
		t.Errorf("/openapi.yaml: got %d", a.status)
	}
}

func TestDocs(t *testing.T) {
	w := newWorld(t, Options{})
	page := w.do(request{method: "GET", path: "/docs"})
	if page.status != 200 || !strings.HasPrefix(page.header.Get("Content-Type"), "text/html") {
		t.Fatalf("/docs: got %d %s", page.status, page.header)
	}
	if !strings.Contains(page.header.Get("Content-Security-Policy"), "default-src 'none'") || page.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("/docs has the headers %v", page.header)
	}
	for _, m := range regexp.MustCompile(`(?:src|href|action)="([^"]*)"`).FindAllStringSubmatch(page.body, -1) {
		if strings.HasPrefix(m[1], "#") {
			if !strings.Contains(page.body, `id="`+m[1][1:]+`"`) {
				t.Errorf("/docs points to %s, which is not there", m[1])
			}
		} else if a := w.do(request{method: "GET", path: m[1]}); a.status != 200 {
			t.Errorf("/docs loads %s: got %d", m[1], a.status)
		}
	}
	for _, k := range kinds {
		if !strings.Contains(page.body, `id="`+k.Slug+`"`) {
			t.Errorf("/docs does not explain %s", k.Slug)
		}
	}
	for _, want := range []string{"Idempotency-Key", "curl -i -X DELETE", "full-screen", "dishwasher", "recommendations", "display_seconds", "accepted_at"} {
		if !strings.Contains(page.body, want) {
			t.Errorf("/docs does not mention %s", want)
		}
	}
	// The example can be sent as it stands on the page.
	_, shown, _ := strings.Cut(page.body, "-d &#39;")
	shown, _, _ = strings.Cut(shown, "&#39;")
	a := w.do(request{method: "POST", path: "/v1/messages", key: w.keys["fresh"], idempotency: "example", body: html.UnescapeString(shown)})
	if a.status != 202 {
		t.Errorf("the example of /docs: got %v, want 202", a)
	}
	if a := w.do(request{method: "GET", path: "/"}); a.status != 200 || a.body != page.body {
		t.Errorf("/ does not lead to /docs: got %d", a.status)
	}
}

func TestPlainBeyondLoopback(t *testing.T) {
	w := newWorld(t, Options{})
	var lines strings.Builder
	log := slog.New(slog.NewTextHandler(&lines, nil))
	_, err := New(w.desk, w.db, Options{Plain: "0.0.0.0:0"}, log)
	if err == nil || !strings.Contains(err.Error(), "http.plain_beyond_loopback") {
		t.Errorf("got %v, want an error that names the setting", err)
	}
	if _, err = New(w.desk, w.db, Options{TLS: "127.0.0.1:0"}, log); err == nil {
		t.Error("TLS without a certificate was opened")
	}
	d, err := New(w.desk, w.db, Options{Plain: "0.0.0.0:0", AllowPlain: true}, log)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if !strings.Contains(lines.String(), "level=WARN") {
		t.Error("there is no warning in the log")
	}
}

// A peer that sends half a request, or a head without end, keeps nobody else waiting, and does
// not keep the door from ending.
func TestHalfARequest(t *testing.T) {
	w := newWorld(t, Options{})
	half, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer half.Close()
	fmt.Fprint(half, "POST /v1/messages HTTP/1.1\r\nHost: x\r\nAuthor")
	long, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer long.Close()
	go fmt.Fprintf(long, "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: %s\r\n\r\n", strings.Repeat("x", 2*maxHead))
	resp, err := http.ReadResponse(bufio.NewReader(long), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a head without end: got %d, want 431", resp.StatusCode)
	}
	w.mustSend("one")
	w.stop()
}

func TestPanicIsAnswered(t *testing.T) {
	var log strings.Builder
	d := &Door{log: slog.New(slog.NewTextHandler(&log, nil)), count: newCounters()}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(http.ResponseWriter, *http.Request) { panic("the secret words") })
	rec := httptest.NewRecorder()
	d.observe(mux, mux).ServeHTTP(rec, httptest.NewRequestWithContext(context.Background(), "GET", "/", nil))
	if rec.Code != 500 || strings.Contains(rec.Body.String(), "secret") || strings.Contains(log.String(), "the secret words") {
		t.Errorf("got %d %s, logged %s", rec.Code, rec.Body, log.String())
	}
	var p Problem
	if err := jsonInto(rec.Body.String(), &p); err != nil || p.Instance == "" || !strings.Contains(log.String(), p.Instance) {
		t.Errorf("the log does not have the fault %q of the answer", p.Instance)
	}
	page := prometheus.NewRegistry()
	page.MustRegister(d.count.faults)
	if all, err := page.Gather(); err != nil || len(all) != 1 || all[0].Metric[0].Counter.GetValue() != 1 {
		t.Errorf("faults counted: %v, %v, want 1", all, err)
	}
}

// The names of keys, brands and messages, and the words of messages, stay out of the log.
func TestLogHasNoWords(t *testing.T) {
	w := newWorld(t, Options{})
	m := good()
	m["texts"] = []any{map[string]any{"language": "en", "body": "zebra-words"}}
	w.do(request{method: "POST", path: "/v1/messages", key: w.keys["fresh"], idempotency: "zebra-key", body: text(m)})
	w.do(request{method: "POST", path: "/v1/messages", key: "plk_zebra", idempotency: "zebra-key", body: "{zebra-words"})
	w.do(request{method: "GET", path: "/v1/messages?after=zebra", key: w.keys["fresh"]})
	w.stop()
	if w.log.Len() == 0 {
		t.Fatal("nothing was logged")
	}
	for _, private := range []string{"zebra", w.keys["fresh"], "Fresh Market"} {
		if strings.Contains(w.log.String(), private) {
			t.Errorf("the log has %q:\n%s", private, w.log)
		}
	}
}

package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"porchlight/broker/api"
	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/firmware-sim/sim"
)

// collected is a collector of traces: an HTTP server that takes OTLP.
type collected struct {
	url string

	mu     sync.Mutex
	spans  []*tracepb.Span
	bodies bytes.Buffer
	faults []string
}

func collect(t *testing.T) *collected {
	t.Helper()
	c := &collected{}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.url = "http://" + l.Addr().String()
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(r.Body)
		var all tracepb.TracesData // the same on the wire as ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(raw, &all)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if err != nil || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" {
			c.faults = append(c.faults, fmt.Sprintf("%s %s: %v", r.URL.Path, r.Header.Get("Content-Type"), err))
		}
		c.bodies.Write(raw)
		for _, rs := range all.ResourceSpans {
			if s := rs.Resource.String(); !strings.Contains(s, `"service.name"`) || !strings.Contains(s, `"porchlight"`) {
				c.faults = append(c.faults, "resource "+s)
			}
			for _, ss := range rs.ScopeSpans {
				c.spans = append(c.spans, ss.Spans...)
			}
		}
	})}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return c
}

// One message goes through every door: a brand pushes it over HTTP, a television that is turned on shows it, and
// somebody says no. The metrics tell how long each took, the dashboard and the alert rules read no other metrics
// than there are, and a collector gets one trace of it.
func TestMetricsAndTracesOfAMessage(t *testing.T) {
	to := collect(t)
	data := filepath.Join(t.TempDir(), "data")
	g, stop := start(t, data, io.Discard, func(c *Config) { c.Traces.To = to.url })
	running := true
	defer func() {
		if running {
			stop()
		}
	}()
	key := porchlight(t, data, "brand", "add", "fresh", "--name", "Zebrabrand", "--purpose", "marketing")
	porchlight(t, data, "home", "add", "zebrahome", "--zone", "Europe/Zurich")
	porchlight(t, data, "home", "set", "zebrahome", "--cap", "20/day")
	porchlight(t, data, "consent", "give", "--home", "zebrahome", "--brand", "fresh", "--purpose", "marketing")
	added, err := ask[delivery.Enrolled](&env{ctx: t.Context(), data: data}, "device/add",
		api.DeviceAdd{Home: "zebrahome", Device: delivery.DeviceSpec{Class: device.TV, Name: "Zebradevice", Controller: true}})
	if err != nil {
		t.Fatal(err)
	}
	tv, err := sim.New(sim.Config{ID: added.ID, Token: added.Token, Class: device.TV, Name: "Zebradevice", Gateway: "tcp://" + g.Listeners["mqtt"],
		Can: device.Capabilities{Width: 1920, Height: 1080, Diagonal: 1397, Inputs: device.Remote, Forms: []device.Form{device.Toast}, MaxButtons: 3, Holds: 1, Languages: []string{"en"}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, unplug := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() { gone <- tv.Run(ctx) }()
	plugged := true
	defer func() {
		if unplug(); plugged {
			<-gone
		}
	}()
	patience, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	await(t, patience, tv, func(s sim.State) bool { return s.Ready })

	push := func(name, key, parent string) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+g.Listeners["http"]+"/v1/messages", strings.NewReader(
			`{"purpose": "marketing", "display_seconds": 600, "not_after": "`+time.Now().Add(time.Hour).UTC().Format(time.RFC3339)+`", "texts": [{"language": "en", "body": "Zebrabody"}]}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+key)
		req.Header.Set("Idempotency-Key", name)
		req.Header.Set("Traceparent", parent)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		for name := range resp.Header {
			if strings.HasPrefix(strings.ToLower(name), "trace") {
				t.Errorf("a brand is told of a trace: %s", name)
			}
		}
		return resp.StatusCode
	}
	const trace, caller = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	if got := push("asked", key, "00-"+trace+"-"+caller+"-01"); got != http.StatusAccepted {
		t.Fatalf("push: got %d, want 202", got)
	}
	for judged := false; !judged; { // while it is off
		_, page := get(t, "http://"+g.Listeners["metrics"]+"/metrics")
		judged = !strings.Contains(page, "\nporchlight_decision_reasons_total{rule=\"safety\"} 0\n")
		if patience.Err() != nil {
			t.Fatal("the message is never judged")
		}
	}
	if err := tv.Do("turn on"); err != nil {
		t.Fatal(err)
	}
	await(t, patience, tv, func(s sim.State) bool { return s.Screen.Text == "Zebrabody" && s.Owed == 0 })
	// Neither what the caller does not want traced, nor what a stranger sends.
	if got := push("unasked", key, "00-1af7651916cd43dd8448eb211c80319c-"+caller+"-00"); got != http.StatusAccepted {
		t.Errorf("push: got %d, want 202", got)
	}
	if got := push("stranger", "plk_wrong", "00-2af7651916cd43dd8448eb211c80319c-"+caller+"-01"); got != http.StatusUnauthorized {
		t.Errorf("push with a wrong key: got %d, want 401", got)
	}
	porchlight(t, data, "consent", "withdraw", "--home", "zebrahome", "--brand", "fresh", "--purpose", "marketing", "--wait")

	_, page := get(t, "http://"+g.Listeners["metrics"]+"/metrics")
	for !strings.Contains(page, "\nporchlight_frames_in_flight 0") && patience.Err() == nil { // its document is on the way
		_, page = get(t, "http://"+g.Listeners["metrics"]+"/metrics")
	}
	unplug()
	if err := <-gone; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	plugged = false
	stop()
	running = false

	problems, err := promlint.New(strings.NewReader(page)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	for _, want := range []string{`porchlight_context_to_socket_seconds_count 1`, `porchlight_withdrawal_cleared_seconds_count 1`, `porchlight_deliveries_presented_total 1`,
		`porchlight_decisions_total{verdict="show"} `, `porchlight_deliveries_open 0`, `porchlight_withdrawals_stopping 0`, `porchlight_frames_in_flight 0`,
		`porchlight_http_connections_open{listener="metrics"} 1`, `porchlight_http_requests_in_flight 0`, `porchlight_operator_requests_total{code="200",verb="home/add"} 1`,
		`porchlight_mqtt_sockets_limit 10000`, `porchlight_trace_spans_lost_total 0`} {
		if !strings.Contains(page, "\n"+want) {
			t.Errorf("/metrics does not have %s", want)
		}
	}
	for _, rule := range []string{"safety", "consent"} {
		if strings.Contains(page, fmt.Sprintf("\nporchlight_decision_reasons_total{rule=%q} 0\n", rule)) {
			t.Errorf("no decision is counted against which %s speaks", rule)
		}
	}
	if !regexp.MustCompile(`\nporchlight_fact_write_seconds_count [1-9]`).MatchString(page) {
		t.Error("no fact was timed")
	}
	readsWhatIsThere(t, page)
	to.check(t, trace, caller)
}

// check says whether one trace tells what became of the message, in order, by IDs alone.
func (c *collected) check(t *testing.T, trace, caller string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.faults {
		t.Errorf("the collector was sent %s", f)
	}
	known := []string{"porchlight.message", "porchlight.home", "porchlight.device", "porchlight.brand", "http.response.status_code"}
	byName := map[string]*tracepb.Span{}
	for _, s := range c.spans {
		if id := hex.EncodeToString(s.TraceId); id != trace {
			t.Errorf("%s is in the trace %s, which nobody has asked for", s.Name, id)
		}
		if byName[s.Name] != nil {
			t.Errorf("there are two spans %s", s.Name)
		}
		byName[s.Name] = s
		if s.StartTimeUnixNano == 0 || s.EndTimeUnixNano < s.StartTimeUnixNano || s.Status.GetCode() == tracepb.Status_STATUS_CODE_ERROR {
			t.Errorf("%s: %v", s.Name, s)
		}
		for _, a := range s.Attributes {
			if !slices.Contains(known, a.Key) {
				t.Errorf("%s has the attribute %s", s.Name, a.Key)
			}
		}
	}
	parent := caller
	for _, want := range []struct {
		name string
		kind tracepb.Span_SpanKind
	}{
		{"POST /v1/messages", tracepb.Span_SPAN_KIND_SERVER}, {"accept", tracepb.Span_SPAN_KIND_INTERNAL}, {"judge", tracepb.Span_SPAN_KIND_INTERNAL},
		{"offer", tracepb.Span_SPAN_KIND_PRODUCER}, {"receipt", tracepb.Span_SPAN_KIND_CONSUMER},
	} {
		s := byName[want.name]
		if s == nil {
			t.Fatalf("there is no span %s, only %d others", want.name, len(c.spans))
		}
		if got := hex.EncodeToString(s.ParentSpanId); got != parent || s.Kind != want.kind {
			t.Errorf("%s: kind %v, parent %s; want %v, %s", want.name, s.Kind, got, want.kind, parent)
		}
		parent = hex.EncodeToString(s.SpanId)
	}
	if len(c.spans) != 5 {
		t.Errorf("there are %d spans, want 5", len(c.spans))
	}
	if bytes.Contains(bytes.ToLower(c.bodies.Bytes()), []byte("ebra")) {
		t.Error("a span has a name or a text in it")
	}
}

// metricName is a metric as a query names it.
var metricName = regexp.MustCompile(`\b(?:porchlight|go|process)_[a-z0-9_]+`)

// readsWhatIsThere says whether all that the dashboard and the alert rules read is on a page of metrics.
func readsWhatIsThere(t *testing.T, page string) {
	t.Helper()
	there := map[string]bool{}
	for line := range strings.Lines(page) {
		name, _, _ := strings.Cut(line, " ")
		name, _, _ = strings.Cut(name, "{")
		there[name] = true
	}
	for _, file := range []string{"prometheus/alerts.yaml", "grafana/porchlight.json"} {
		names := 0
		for where, query := range queries(t, filepath.Join("../../configs", file)) {
			for _, name := range metricName.FindAllString(query, -1) {
				if names++; !there[name] {
					t.Errorf("%s: %s reads %s, which is not there", file, where, name)
				}
			}
		}
		if names < 20 {
			t.Errorf("%s: only %d metrics were found", file, names)
		}
	}
}

// queries are the PromQL of a file of alert rules, or a dashboard, by where they stand.
func queries(t *testing.T, path string) map[string]string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := yaml.Unmarshal(raw, &tree); err != nil { // JSON is YAML
		t.Fatal(err)
	}
	all := map[string]string{}
	var walk func(where string, v any)
	walk = func(where string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for _, name := range []string{"alert", "title"} {
				if s, ok := v[name].(string); ok {
					where = s
				}
			}
			if expr, ok := v["expr"].(string); ok {
				for all[where] != "" {
					where += "'"
				}
				all[where] = expr
			}
			for _, each := range v {
				walk(where, each)
			}
		case []any:
			for _, each := range v {
				walk(where, each)
			}
		}
	}
	walk("", tree)
	return all
}

// What an alert needs so that whoever is woken knows what to do, and a dashboard so that it can be looked at.
func TestAlertsAndDashboardAreWhole(t *testing.T) {
	raw, err := os.ReadFile("../../configs/prometheus/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	if err := yaml.UnmarshalWithOptions(raw, &file, yaml.DisallowUnknownField()); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, group := range file.Groups {
		for _, r := range group.Rules {
			if seen[r.Alert] || !strings.HasPrefix(r.Alert, "Porchlight") || r.Expr == "" {
				t.Errorf("alert %q: its name is taken or not ours, or it has no expr", r.Alert)
			}
			seen[r.Alert] = true
			if s := r.Labels["severity"]; s != "page" && s != "ticket" {
				t.Errorf("%s: severity is %q, want page or ticket", r.Alert, s)
			}
			for _, text := range []string{r.Annotations["summary"], r.Annotations["runbook"]} {
				if !strings.HasSuffix(text, ".") || strings.ContainsAny(text, "{}") {
					t.Errorf("%s: %q is no sentence", r.Alert, text)
				}
			}
			if r.For != "" {
				if _, err := time.ParseDuration(r.For); err != nil {
					t.Errorf("%s: %v", r.Alert, err)
				}
			}
		}
	}
	raw, err = os.ReadFile("../../configs/grafana/porchlight.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		UID    string
		Panels []struct {
			ID      int
			Type    string
			Title   string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(raw, &board); err != nil {
		t.Fatal(err)
	}
	ids := map[int]string{}
	type cell struct{ x, y int }
	taken := map[cell]string{}
	for _, p := range board.Panels {
		if ids[p.ID] != "" || p.Title == "" || p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %d %q: its number is taken, or it shows nothing", p.ID, p.Title)
		}
		ids[p.ID] = p.Title
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[cell{x, y}]; other != "" || x >= 24 {
					t.Fatalf("panel %q lies over %q or beyond the edge", p.Title, other)
				}
				taken[cell{x, y}] = p.Title
			}
		}
	}
	for _, name := range []string{"prometheus/alerts.yaml", "grafana/porchlight.json"} {
		for where, query := range queries(t, filepath.Join("../../configs", name)) {
			for _, pair := range []string{"()", "[]", "{}"} {
				if strings.Count(query, pair[:1]) != strings.Count(query, pair[1:]) {
					t.Errorf("%s: %s: brackets do not match: %s", name, where, query)
				}
			}
		}
	}
}

// Profiles are taken through the operator's socket, and are nowhere on TCP.
func TestProfile(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	g, stop := start(t, data, io.Discard)
	defer stop()
	for _, kind := range api.Profiles() {
		file := filepath.Join(t.TempDir(), kind)
		args := []string{"profile", kind, "--out", file}
		if api.Lasts(kind) {
			args = append(args, "--seconds", "1")
		}
		told := porchlight(t, data, args...)
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want := []byte{0x1f, 0x8b} // pprof's files are gzipped
		if kind == "trace" {
			want = []byte("go 1.")
		}
		if !bytes.HasPrefix(raw, want) {
			t.Errorf("%s: the file begins with % x, want % x", kind, raw[:min(len(raw), 8)], want)
		}
		if fi, err := os.Stat(file); err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v; want 0600", kind, fi.Mode(), err)
		}
		if !strings.HasPrefix(told, file+": ") {
			t.Errorf("%s: printed %q", kind, told)
		}
	}
	for _, wrong := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"profile", "soul", "--out", "x"}, 2, "must be one of"},
		{[]string{"profile", "heap", "--seconds", "3", "--out", "x"}, 1, "seconds is for kinds that last"},
		{[]string{"profile", "cpu", "--seconds", "301", "--out", "x"}, 1, "use 1 to 300"},
		{[]string{"profile", "cpu"}, 2, "--out"},
	} {
		var out, errs strings.Builder
		if status := run(t.Context(), append([]string{"--data", data}, wrong.args...), strings.NewReader(""), &out, &errs); status != wrong.status || !strings.Contains(errs.String(), wrong.want) {
			t.Errorf("%v: status %d, %q; want %d, %q", wrong.args, status, errs.String(), wrong.status, wrong.want)
		}
	}
	for _, kind := range []string{"http", "metrics"} {
		for _, path := range []string{"/debug/pprof/", "/debug/pprof/profile", "/debug/pprof/heap", "/profile"} {
			if status, _ := get(t, "http://"+g.Listeners[kind]+path); status != http.StatusNotFound {
				t.Errorf("%s answers %s with %d, want 404", kind, path, status)
			}
		}
	}
}

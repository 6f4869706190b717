package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// world is a gateway without devices, with a door on 127.0.0.1.
type world struct {
	t           *testing.T
	now         device.Instant
	db          *store.DB
	desk        *delivery.Desk
	url, inside string
	keys        map[device.BrandID]string
	log         *bytes.Buffer
	stop        func()
}

// noon is when everything in these tests happens.
var noon = device.At(time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC))

// newWorld opens a gateway with the brand fresh, which may have three messages in force. edit changes how its store is opened.
func newWorld(t *testing.T, o Options, edit ...func(*store.Options)) *world {
	t.Helper()
	w := &world{t: t, now: noon, keys: map[device.BrandID]string{}, log: &bytes.Buffer{}}
	clock := func() device.Instant { return w.now }
	var err error
	inStore := store.Options{Project: delivery.Project, Clear: delivery.Clear, Now: clock}
	for _, f := range edit {
		f(&inStore)
	}
	w.db, err = store.Open(t.Context(), filepath.Join(t.TempDir(), "p.db"), inStore)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	w.desk, err = delivery.NewDesk(w.db, delivery.Options{Now: clock}, log)
	if err != nil {
		t.Fatal(err)
	}
	o.Plain, o.Inside = "127.0.0.1:0", "127.0.0.1:0"
	o.Metrics = append(o.Metrics, w.desk.Metrics())
	door, err := New(w.desk, w.db, o, log)
	if err != nil {
		t.Fatal(err)
	}
	w.url = "http://" + door.Addr("http").String()
	w.inside = "http://" + door.Addr("metrics").String()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- door.Run(ctx) }()
	stopped := false
	w.stop = func() {
		if stopped {
			return
		}
		stopped = true
		http.DefaultClient.CloseIdleConnections()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(func() {
		w.stop()
		if err := w.db.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	w.brand("fresh", 3)
	return w
}

func (w *world) brand(id device.BrandID, quota int) {
	w.t.Helper()
	name := "Fresh Market"
	if id != "fresh" {
		name += " " + string(id)
	}
	key, err := w.desk.AddBrand(w.t.Context(), registry.Brand{ID: id, Name: name, Purposes: []string{"marketing", "service"}, Quota: quota})
	if err != nil {
		w.t.Fatal(err)
	}
	w.keys[id] = key
}

// request is one that a test sends.
type request struct {
	method, path, key, idempotency, body string
	header                               map[string]string
	inside                               bool // at the listener for those who run the gateway
}

// answer is what came back.
type answer struct {
	status  int
	header  http.Header
	body    string
	problem Problem
	message Message
}

func (w *world) do(r request) answer {
	w.t.Helper()
	url := w.url
	if r.inside {
		url = w.inside
	}
	req, err := http.NewRequestWithContext(w.t.Context(), r.method, url+r.path, strings.NewReader(r.body))
	if err != nil {
		w.t.Fatal(err)
	}
	if r.key != "" {
		req.Header.Set("Authorization", "Bearer "+r.key)
	}
	if r.idempotency != "" {
		req.Header.Set("Idempotency-Key", r.idempotency)
	}
	for name, value := range r.header {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	a := answer{status: resp.StatusCode, header: resp.Header, body: string(raw)}
	into := any(&a.message)
	if resp.Header.Get("Content-Type") == "application/problem+json" {
		into = &a.problem
	}
	if strings.Contains(resp.Header.Get("Content-Type"), "json") {
		if err := json.Unmarshal(raw, into); err != nil {
			w.t.Fatalf("%s %s answered %d with %q: %v", r.method, r.path, a.status, raw, err)
		}
	}
	return a
}

// good is a message that can be accepted at noon.
func good() map[string]any {
	return map[string]any{
		"purpose": "marketing", "category": "groceries",
		"texts":     []any{map[string]any{"language": "en", "body": "Two for one today."}},
		"not_after": noon.Add(time.Hour).Time().Format(time.RFC3339),
	}
}

func text(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(raw)
}

// send has fresh send a good message.
func (w *world) send(idempotency string) answer {
	w.t.Helper()
	return w.do(request{method: "POST", path: "/v1/messages", key: w.keys["fresh"], idempotency: idempotency, body: text(good())})
}

func (w *world) mustSend(idempotency string) Message {
	w.t.Helper()
	a := w.send(idempotency)
	if a.status != http.StatusAccepted {
		w.t.Fatalf("send: got %d %s, want 202", a.status, a.body)
	}
	return a.message
}

func (p *Problem) slug() string { return strings.TrimPrefix(p.Type, "/docs#") }

func (a answer) String() string { return fmt.Sprintf("%d %s", a.status, a.body) }

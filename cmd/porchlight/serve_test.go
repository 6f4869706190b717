package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"porchlight/firmware-sim/sim"
)

// lines collects a log.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// start runs a gateway on ports of the system's choice until stop is called.
func start(t *testing.T, data string, log io.Writer, edits ...func(*Config)) (g Gateway, stop func()) {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Data, cfg.MQTT.Plain, cfg.MQTT.TLS, cfg.MQTT.WebSocket = data, "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	cfg.HTTP.Plain, cfg.HTTP.TLS, cfg.HTTP.Metrics = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	for _, edit := range edits {
		edit(&cfg)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ready, ended := make(chan Gateway, 1), make(chan error, 1)
	go func() {
		ended <- serve(ctx, cfg, nil, slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})), func(g Gateway) { ready <- g })
	}()
	select {
	case g = <-ready:
	case err := <-ended:
		cancel()
		t.Fatalf("serve: %v", err)
	}
	return g, func() {
		t.Helper()
		http.DefaultClient.CloseIdleConnections()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	}
}

// porchlight runs a command that is to succeed, and returns what it prints.
func porchlight(t *testing.T, data string, args ...string) string {
	t.Helper()
	var out, errs strings.Builder
	if status := run(t.Context(), append([]string{"--data", data}, args...), strings.NewReader(""), &out, &errs); status != 0 {
		t.Fatalf("porchlight %s: status %d: %s", strings.Join(args, " "), status, errs.String())
	}
	return strings.TrimSpace(out.String())
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(raw)
}

// Who is told to end before having begun ends, and has not failed.
func TestEndsWhileItStarts(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Data = filepath.Join(t.TempDir(), "data")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := serve(ctx, cfg, nil, slog.New(slog.DiscardHandler), func(Gateway) { t.Error("it is ready") }); err != nil {
		t.Errorf("serve = %v, want none", err)
	}
}

// A gateway begins and ends twice on one folder, is ready in between, and leaves nothing behind.
func TestServe(t *testing.T) {
	leak := goleak.IgnoreCurrent()
	data := filepath.Join(t.TempDir(), "data")
	for range 2 {
		g, stop := start(t, data, io.Discard)
		for _, page := range []string{"/healthz", "/readyz", "/docs", "/openapi.json"} {
			if status, body := get(t, "http://"+g.Listeners["http"]+page); status != 200 {
				t.Errorf("%s: got %d %.100s, want 200", page, status, body)
			}
		}
		_, metrics := get(t, "http://"+g.Listeners["metrics"]+"/metrics")
		for _, want := range []string{"porchlight_mqtt_sockets_open", "porchlight_homes_in_memory", "porchlight_store_commits_total", "porchlight_http_requests_total"} {
			if !strings.Contains(metrics, want) {
				t.Errorf("/metrics does not have %s", want)
			}
		}
		pem, err := os.ReadFile(g.CA)
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(pem)
		secure := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true, DisableKeepAlives: true}}
		resp, err := secure.Get("https://" + g.Listeners["https"] + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 200 || resp.ProtoMajor != 2 {
			t.Errorf("over TLS: got %d by %s, want 200 by HTTP/2", resp.StatusCode, resp.Proto)
		}
		if len(g.Fingerprint) != 95 {
			t.Errorf("the fingerprint is %q", g.Fingerprint)
		}
		stop()
		if _, err := os.Stat(g.Socket); err == nil {
			t.Errorf("%s is left behind", g.Socket)
		}
	}
	goleak.VerifyNone(t, leak)
}

const markedHome = `
name: zebrahome
zone: Europe/Zurich
people: [{name: Zebraperson}]
rooms: [zebraroom]
devices:
  - name: Zebradevice
    class: tv
    room: zebraroom
    controller: true
    can: {screen: [1920, 1080, 1397], inputs: [remote], forms: [toast], buttons: 3, languages: [en], attention: [occupancy]}
    start: [turn on]
`

const markedMessage = `
purpose: marketing
texts: [{language: en, title: Zebratitle, body: Zebrabody}]
buttons: [{id: 1, label: {en: Zebrabutton}}]
`

// A whole story, from the home file to the message on the screen and off it again, with wrong
// keys and wrong tokens beside it, is told in the log by IDs alone.
func TestLogHasIDsOnly(t *testing.T) {
	var log lines
	dir := t.TempDir()
	data := filepath.Join(dir, "d")
	g, stop := start(t, data, &log)
	stopped := false
	defer func() {
		if !stopped {
			stop()
		}
	}()
	home, message := filepath.Join(dir, "home.yaml"), filepath.Join(dir, "message.yaml")
	for path, text := range map[string]string{home: markedHome, message: markedMessage} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	spec, err := sim.ReadHome(home)
	if err != nil {
		t.Fatal(err)
	}
	path := porchlight(t, data, "home", "add", "--file", home)
	cred, err := sim.ReadCredentials(path)
	if err != nil {
		t.Fatal(err)
	}
	key := porchlight(t, data, "brand", "add", "fresh", "--name", "Zebrabrand", "--purpose", "marketing")
	porchlight(t, data, "consent", "give", "--home", "zebrahome", "--brand", "fresh", "--purpose", "marketing")

	shown, removed := make(chan sim.Event, 16), make(chan sim.Event, 16)
	devices, err := sim.Devices(spec, cred, sim.Config{Notify: func(e sim.Event) {
		switch e.Kind {
		case sim.Shown:
			shown <- e
		case sim.Removed:
			removed <- e
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, unplug := context.WithCancel(t.Context())
	var plugged sync.WaitGroup
	defer plugged.Wait()
	defer unplug()
	for _, d := range devices {
		plugged.Go(func() {
			if err := d.Run(ctx); err != nil {
				t.Errorf("Run: %v", err)
			}
		})
	}
	wrong := cred
	wrong.Devices = map[string]sim.Credential{"Zebradevice": {ID: cred.Devices["Zebradevice"].ID, Token: "zebra-wrong-token"}}
	refused := make(chan struct{})
	var once sync.Once
	thieves, err := sim.Devices(spec, wrong, sim.Config{Retry: time.Minute, Notify: func(e sim.Event) {
		if e.Kind == sim.Away {
			once.Do(func() { close(refused) })
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	theft, caught := context.WithCancel(ctx)
	plugged.Go(func() { _ = thieves[0].Run(theft) }) // it is never let in
	<-refused
	caught()

	t.Setenv("PORCHLIGHT_API_KEY", key)
	id := porchlight(t, data, "push", message, "--for", "1h", "--api", "http://"+g.Listeners["http"])
	if e := wait(t, shown); e.Text != "Zebrabody" || e.Message.String() != id {
		t.Errorf("shown is %+v, want message %s", e, id)
	}
	if err := devices[0].Await(ctx, func(s sim.State) bool { return s.Owed == 0 }); err != nil { // its receipt is on disk
		t.Fatal(err)
	}
	if why := porchlight(t, data, "why", id); !strings.Contains(why, "Zebradevice (tv): show") || !strings.Contains(why, ", shown 2") {
		t.Errorf("why says\n%s", why)
	}
	if list := porchlight(t, data, "device", "list", "--home", "zebrahome"); !strings.Contains(list, "ready  1") {
		t.Errorf("the device is listed as\n%s", list)
	}
	porchlight(t, data, "consent", "withdraw", "--home", "zebrahome", "--brand", "fresh", "--purpose", "marketing")
	wait(t, removed)
	var out, errs strings.Builder
	t.Setenv("PORCHLIGHT_API_KEY", "plk_zebra_wrong")
	if status := run(t.Context(), []string{"push", message, "--for", "1h", "--api", "http://" + g.Listeners["http"]}, strings.NewReader(""), &out, &errs); status != 1 {
		t.Errorf("a wrong key: status %d, %s", status, errs.String())
	}
	unplug()
	plugged.Wait()
	stop()
	stopped = true

	told := log.String()
	if !strings.Contains(told, string(cred.Devices["Zebradevice"].ID)) {
		t.Errorf("the log does not name the device: it tells too little to prove anything\n%s", told)
	}
	for _, private := range []string{"ebra", key, cred.Devices["Zebradevice"].Token, "EBRA"} {
		for line := range strings.Lines(told) {
			if strings.Contains(line, private) {
				t.Errorf("the log has %q: %s", private, line)
			}
		}
	}
}

func wait(t *testing.T, events <-chan sim.Event) sim.Event {
	t.Helper()
	select {
	case e := <-events:
		return e
	case <-time.After(30 * time.Second):
		t.Fatal("nothing happened")
		return sim.Event{}
	}
}

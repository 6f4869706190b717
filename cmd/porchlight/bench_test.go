package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"porchlight/broker/api"
	"porchlight/device"
	"porchlight/firmware-sim/sim"
	"porchlight/policy"
)

// world is a gateway that runs in this process until the test ends, with the homes that were
// moved in.
type world struct {
	testing.TB
	Gateway
	env *env
}

// open starts a gateway that holds brands to no rate, with the configuration as edit has changed it.
func open(tb testing.TB, edit ...func(*Config)) *world {
	tb.Helper()
	cfg := DefaultConfig()
	cfg.Data = filepath.Join(tb.TempDir(), "d")
	cfg.MQTT.Plain, cfg.MQTT.TLS, cfg.MQTT.WebSocket, cfg.HTTP.Plain, cfg.HTTP.Metrics = "127.0.0.1:0", "127.0.0.1:0", "", "127.0.0.1:0", ""
	cfg.Brands = BrandsConfig{Rate: 1e6, Burst: 1e6}
	cfg.Delivery.FactsAtOnce = 1 << 20 // a benchmark presses faster than a person
	for _, e := range edit {
		e(&cfg)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan Gateway, 1), make(chan error, 1)
	go func() { ended <- serve(ctx, cfg, nil, slog.New(slog.DiscardHandler), func(g Gateway) { ready <- g }) }()
	w := &world{TB: tb, env: &env{ctx: ctx, data: cfg.Data}}
	select {
	case w.Gateway = <-ready:
	case err := <-ended:
		cancel()
		tb.Fatalf("serve: %v", err)
	}
	tb.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			tb.Errorf("serve: %v", err)
		}
	})
	return w
}

// command runs a command that is to succeed, and returns what it prints.
func (w *world) command(args ...string) string {
	w.Helper()
	var out, errs strings.Builder
	if status := run(w.env.ctx, append([]string{"--data", w.Data}, args...), strings.NewReader(""), &out, &errs); status != 0 {
		w.Fatalf("porchlight %s: status %d: %s", strings.Join(args, " "), status, errs.String())
	}
	return strings.TrimSpace(out.String())
}

// brand adds a brand and returns its key.
func (w *world) brand(id string) string {
	w.Helper()
	return w.command("brand", "add", id, "--name", id, "--purpose", "marketing", "--quota", "1000000")
}

// moveIn adds a home without caps and plugs its devices in; told hears what happens on them.
func (w *world) moveIn(home string, told func(sim.Event)) map[string]*sim.Device {
	w.Helper()
	file := filepath.Join(w.TempDir(), "home.yaml")
	if err := os.WriteFile(file, []byte(home), 0o600); err != nil {
		w.Fatal(err)
	}
	spec, err := sim.ReadHome(file)
	if err != nil {
		w.Fatal(err)
	}
	cred, err := sim.ReadCredentials(w.command("home", "add", "--file", file))
	if err != nil {
		w.Fatal(err)
	}
	w.command("home", "set", spec.Name, "--no-cap")
	devices, err := sim.Devices(spec, cred, sim.Config{Notify: told})
	if err != nil {
		w.Fatal(err)
	}
	ctx, unplug := context.WithCancel(context.Background())
	var plugged sync.WaitGroup
	w.Cleanup(func() { unplug(); plugged.Wait() })
	all := map[string]*sim.Device{}
	for _, d := range devices {
		all[d.Name()] = d
		plugged.Go(func() {
			if err := d.Run(ctx); err != nil {
				w.Errorf("%s: %v", d.Name(), err)
			}
		})
	}
	for _, d := range devices {
		w.await(d, func(s sim.State) bool { return s.Ready })
	}
	return all
}

// await waits until ok holds of a device.
func (w *world) await(d *sim.Device, ok func(sim.State) bool) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.env.ctx, 30*time.Second)
	defer cancel()
	if err := d.Await(ctx, ok); err != nil {
		w.Fatal(err)
	}
}

// choose records a choice of the home, as the operator.
func (w *world) choose(home string, brand device.BrandID, c policy.Choice) {
	w.Helper()
	_, err := ask[api.None](w.env, "consent/choose", api.Choice{Home: home, Brand: brand, Purpose: policy.Marketing, Choice: c})
	if err != nil {
		w.Fatal(err)
	}
}

// post sends a message and returns the answer.
func (w *world) post(c *http.Client, apiKey, key, body string) (status int, answer string, err error) {
	req, err := http.NewRequest(http.MethodPost, "http://"+w.Listeners["http"]+"/v1/messages", strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Authorization", "Bearer "+apiKey)
	req.Header.Set("Idempotency-Key", key)
	resp, err := c.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(raw), err
}

// greeting is a message for every screen.
func greeting() string {
	return fmt.Sprintf(`{"purpose": "marketing", "texts": [{"language": "en", "body": "Good evening."}], "not_after": %q}`,
		time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
}

const oneTV = `
name: oak
zone: Europe/Zurich
devices:
  - {name: TV, class: tv, controller: true, start: [turn on], can: {inputs: [remote], forms: [toast], buttons: 2, languages: [en], holds: 1}}
`

// BenchmarkWithdraw is how long a message stays on a connected screen once somebody has begun to
// say No: on the TV itself, and at the operator's desk. One turn is 100 messages over MQTT and TLS.
func BenchmarkWithdraw(b *testing.B) {
	w := open(b)
	key := w.brand("fresh")
	shown, removed := make(chan sim.Event, 1), make(chan sim.Event, 1)
	tv := w.moveIn(oneTV, func(e sim.Event) {
		switch e.Kind {
		case sim.Shown:
			shown <- e
		case sim.Removed:
			removed <- e
		}
	})["TV"]
	next := func(events chan sim.Event, what string) sim.Event {
		select {
		case e := <-events:
			return e
		case <-time.After(30 * time.Second):
			b.Fatalf("no message was %s", what)
			return sim.Event{}
		}
	}
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	sentSoFar := 0
	for name, withdraw := range map[string]func(){
		"on-the-TV": func() {
			if err := tv.Choose("fresh", "marketing", "withdrawn"); err != nil {
				b.Fatal(err)
			}
		},
		"by-the-operator": func() { w.choose("oak", "fresh", policy.Withdrawn) },
	} {
		b.Run(name, func(b *testing.B) {
			var took []float64
			for b.Loop() {
				for range 100 {
					w.choose("oak", "fresh", policy.Given)
					w.await(tv, func(s sim.State) bool {
						return s.Owed == 0 && len(s.Twin.Doc.Brands) == 1 && s.Twin.Doc.Brands[0].Choice == "given"
					})
					sentSoFar++
					if status, answer, err := w.post(client, key, fmt.Sprint("k", sentSoFar), greeting()); err != nil || status != http.StatusAccepted {
						b.Fatalf("push: %d %s, %v", status, answer, err)
					}
					m := next(shown, "shown").Message
					w.await(tv, func(s sim.State) bool { return s.Owed == 0 })
					began := time.Now()
					withdraw()
					e := next(removed, "taken off")
					if e.Message != m || e.Unseen {
						b.Fatalf("taken off is %+v, want %s", e, m)
					}
					took = append(took, float64(e.At.Sub(began).Microseconds())/1000)
				}
			}
			slices.Sort(took)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(len(took)), "withdrawals")
			b.ReportMetric(took[len(took)/2], "p50-ms")
			b.ReportMetric(took[(len(took)*99+99)/100-1], "p99-ms")
			b.ReportMetric(took[len(took)-1], "max-ms")
		})
	}
}

// BenchmarkPushHTTP is how many messages a second are accepted and on disk through the brands'
// door, with connections that are kept: by one brand, by 64 at the same time, and how many times
// the first the second is. The brands share the machine's cores with the gateway.
func BenchmarkPushHTTP(b *testing.B) {
	w := open(b)
	var keys []string
	for i := range 64 {
		keys = append(keys, w.brand(fmt.Sprint("brand-", i)))
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: len(keys)}}
	defer client.CloseIdleConnections()
	body := greeting()
	var number atomic.Int64
	push := func(key string) error {
		status, answer, err := w.post(client, key, fmt.Sprint("k", number.Add(1)), body)
		if err == nil && status != http.StatusAccepted {
			err = errors.New(answer)
		}
		return err
	}
	// Half a second of each, in turns, so that what else the machine does falls on both.
	rate := func(brands int) float64 {
		var n atomic.Int64
		var all sync.WaitGroup
		began := time.Now()
		for _, key := range keys[:brands] {
			all.Go(func() {
				for time.Since(began) < 500*time.Millisecond {
					if err := push(key); err != nil {
						b.Error(err)
						return
					}
					n.Add(1)
				}
			})
		}
		all.Wait()
		return float64(n.Load()) / time.Since(began).Seconds()
	}
	rate(len(keys)) // connects all
	var alone, many, ratios []float64
	for b.Loop() {
		one, all := rate(1), rate(len(keys))
		alone, many, ratios = append(alone, one), append(many, all), append(ratios, all/one)
	}
	b.ReportMetric(0, "ns/op")
	for unit, values := range map[string][]float64{"alone/s": alone, "64-brands/s": many, "x": ratios} {
		slices.Sort(values)
		b.ReportMetric(values[len(values)/2], unit)
	}
}

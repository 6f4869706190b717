package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"porchlight/broker/api"
	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/firmware-sim/sim"
	"porchlight/policy"
)

// crowd writes down what is shown in many homes.
type crowd struct {
	mu    sync.Mutex
	shown map[[2]string]int // by home and text
	some  chan struct{}
}

func (c *crowd) note(home string, e sim.Event) {
	if e.Kind != sim.Shown {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shown[[2]string{home, e.Text}]++
	select {
	case c.some <- struct{}{}:
	default:
	}
}

func (c *crowd) total() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.shown)
}

// Five hundred devices come back at once after the gateway was killed in the middle of its work:
// all of them get in, no message is lost, and none is shown twice in a home.
func TestFiveHundredReturn(t *testing.T) {
	const homes, each, messages = 100, 5, 8
	dir := t.TempDir()
	c := &crash{
		t: t, rng: rand.New(rand.NewPCG(rand.Uint64(), 0)), data: filepath.Join(dir, "d"), config: filepath.Join(dir, "gateway.yaml"),
		until: time.Now().Add(time.Hour).UTC().Truncate(time.Second), client: http.Client{Timeout: 10 * time.Second}, happened: make(chan struct{}, 1<<12),
	}
	defer c.client.CloseIdleConnections()
	ports := free(t, c.rng, 2)
	mqtt := fmt.Sprint("127.0.0.1:", ports[0])
	c.url = fmt.Sprint("http://127.0.0.1:", ports[1])
	cfg := fmt.Sprintf("mqtt: {plain: '%s', tls: '', websocket: ''}\nhttp: {plain: '127.0.0.1:%d', metrics: ''}\nbrands: {rate: 100000, burst: 100000}\n", mqtt, ports[1])
	if err := os.WriteFile(c.config, []byte(cfg), 0o600); err != nil {
		t.Fatal(err)
	}
	c.start()
	defer func() {
		_ = c.cmd.Process.Kill() // where the test broke off
		<-c.ended
	}()
	c.open()
	c.key = porchlight(t, c.data, "brand", "add", "fresh", "--name", "Fresh", "--purpose", "marketing", "--quota", "1000000")

	seen := &crowd{shown: map[[2]string]int{}, some: make(chan struct{}, 1)}
	e := &env{ctx: t.Context(), data: c.data}
	for i := range homes {
		name := fmt.Sprint("home-", i)
		spec := delivery.HomeSpec{Name: name, Zone: "UTC"}
		for range each {
			spec.Devices = append(spec.Devices, delivery.DeviceSpec{Class: device.Fridge, Name: fmt.Sprint("fridge ", len(spec.Devices))})
		}
		added, err := ask[api.HomeAdded](e, "home/add", spec)
		if err == nil {
			_, err = ask[api.None](e, "consent/choose", api.Choice{Home: name, Brand: "fresh", Purpose: policy.Marketing, Choice: policy.Given})
		}
		if err == nil {
			_, err = ask[api.None](e, "preferences/set", api.PreferencesSet{Home: name, Preferences: delivery.Preferences{Caps: []delivery.NamedCap{}}})
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, dev := range added.Devices {
			var d *sim.Device
			d, err := sim.New(sim.Config{
				ID: dev.ID, Token: dev.Token, Class: dev.Class, Gateway: "tcp://" + mqtt, Retry: 20 * time.Millisecond, MaxRetry: 500 * time.Millisecond, AckWait: time.Minute,
				Can: device.Capabilities{Inputs: device.Touch, Forms: []device.Form{device.Toast}, MaxButtons: 1, Holds: 1, Languages: []string{"en"}},
				Notify: func(e sim.Event) {
					seen.note(name, e)
					if e.Kind == sim.Shown {
						go func() { _ = d.Press(1, nil) }() // it may be gone by itself
					}
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			c.devices = append(c.devices, d)
		}
	}
	ctx, unplug := context.WithCancel(t.Context())
	var world sync.WaitGroup
	defer world.Wait()
	defer unplug()
	births := c.births()
	for _, d := range c.devices {
		world.Go(func() {
			if err := d.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", d.Name(), err)
			}
		})
	}
	c.ready(births)

	c.room = map[string]chan struct{}{}
	for n := range messages {
		if !c.push("any", fmt.Sprint("any-", n)) {
			t.FailNow()
		}
	}
	shown := func(want int) {
		for seen.total() < want {
			select {
			case <-seen.some:
			case <-time.After(crashPatience):
				why, _ := ask[delivery.Why](e, "why", api.WhyAsked{ID: c.sent[0].id, Home: "home-0"})
				t.Fatalf("%d of %d were shown, and no more: %+v", seen.total(), homes*messages, why)
			}
		}
	}
	shown(homes * messages / 4) // most are on their way
	births = c.births()
	c.kill()
	before := seen.total()
	c.start()
	c.open()
	c.ready(births)
	shown(homes * messages)
	t.Logf("%d of %d were shown when the gateway was killed", before, homes*messages)
	var twice []string
	seen.mu.Lock()
	for what, times := range seen.shown {
		if times > 1 {
			twice = append(twice, fmt.Sprint(what, " ", times, " times"))
		}
	}
	seen.mu.Unlock()
	slices.Sort(twice)
	if len(twice) > 0 {
		t.Errorf("shown more than once: %v", twice)
	}
	unplug()
	world.Wait()
	c.end()
}

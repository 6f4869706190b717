package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"porchlight/broker/api"
	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/firmware-sim/sim"
)

// homeOf starts a gateway with a home, a brand and one device that runs until the test is over.
func homeOf(t *testing.T, cfg sim.Config) (data string, dev *sim.Device, patience context.Context) {
	t.Helper()
	data = filepath.Join(t.TempDir(), "data")
	g, stop := start(t, data, io.Discard, func(c *Config) { c.Delivery.Lease = 2 * time.Second })
	t.Setenv("PORCHLIGHT_API", "http://"+g.Listeners["http"])
	t.Setenv("PORCHLIGHT_API_KEY", porchlight(t, data, "brand", "add", "fresh", "--name", "Fresh", "--purpose", "marketing"))
	porchlight(t, data, "home", "add", "oak", "--zone", "Europe/Zurich")
	porchlight(t, data, "person", "add", "Anna", "--home", "oak")
	added, err := ask[delivery.Enrolled](&env{ctx: t.Context(), data: data}, "device/add",
		api.DeviceAdd{Home: "oak", Device: delivery.DeviceSpec{Class: cfg.Class, Name: cfg.Name, Controller: true}})
	if err != nil {
		t.Fatal(err)
	}
	cfg.ID, cfg.Token, cfg.Gateway = added.ID, added.Token, "tcp://"+g.Listeners["mqtt"]
	if dev, err = sim.New(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, unplug := context.WithCancel(context.WithoutCancel(t.Context()))
	patience, cancel := context.WithTimeout(ctx, time.Minute)
	gone := make(chan error, 1)
	go func() { gone <- dev.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		unplug()
		if err := <-gone; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		stop()
	})
	return data, dev, patience
}

// await waits until a device is as it should be.
func await(t *testing.T, patience context.Context, dev *sim.Device, ok func(sim.State) bool) {
	t.Helper()
	if err := dev.Await(patience, ok); err != nil {
		t.Fatal(err)
	}
}

// A screen whose cable was pulled is still to be cleared when the no is taken in, and is clear when its
// lease is over: the operator is told both.
func TestTwoWords(t *testing.T) {
	data, fridge, patience := homeOf(t, sim.Config{Class: device.Fridge, Name: "Fridge",
		Can: device.Capabilities{Inputs: device.Touch, Forms: []device.Form{device.Toast}, MaxButtons: 1, Holds: 1, Languages: []string{"en"}}})
	porchlight(t, data, "consent", "give", "--home", "oak", "--brand", "fresh", "--purpose", "marketing")
	file := filepath.Join(t.TempDir(), "message.json")
	if err := os.WriteFile(file, []byte(`{"purpose": "marketing", "texts": [{"language": "en", "body": "Two for one today."}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	porchlight(t, data, "push", file, "--for", "1h")
	await(t, patience, fridge, func(s sim.State) bool { return s.Screen.Text != "" })
	fridge.Unplug()

	no := []string{"consent", "withdraw", "--home", "oak", "--brand", "fresh", "--purpose", "marketing"}
	got := porchlight(t, data, append(no, "--wait")...)
	if want := regexp.MustCompile(`^stopping: nothing more of it is released\n  Fridge is cleared by \S+Z at the latest\nstopped: nothing of it is on any screen$`); !want.MatchString(got) {
		t.Errorf("consent withdraw --wait printed\n%s\nwant it to match\n%s", got, want)
	}
	if s := fridge.Screen(); s.Text != "" {
		t.Errorf("after the word stopped the fridge shows %q", s.Text)
	}
	var w api.WithdrawalState
	if err := json.Unmarshal([]byte(porchlight(t, data, append(no, "--json")...)), &w); err != nil || w.State != "stopped" || w.Stopped <= w.At || len(w.Open) > 0 {
		t.Errorf("the same again: got %+v, %v, want stopped", w, err)
	}
	if got := porchlight(t, data, "consent", "status", "--home", "oak"); strings.Count(got, "\n") != 1 || !strings.Contains(got, "stopped 20") {
		t.Errorf("consent status printed\n%s\nwant one no that is stopped", got)
	}
}

// A question is asked from the terminal and answered on the screen.
func TestAskedOnAScreen(t *testing.T) {
	var tv *sim.Device
	answers := make(chan string, 1)
	data, tv, patience := homeOf(t, sim.Config{Class: device.TV, Name: "TV",
		Can: device.Capabilities{Inputs: device.Remote, Forms: []device.Form{device.Toast, device.Panel}, MaxButtons: 3, Holds: 1, Languages: []string{"en"},
			Attention: device.ReportsOccupancy | device.ReportsWho},
		Notify: func(e sim.Event) {
			if e.Kind == sim.Asked {
				go func() { answers <- errorText(tv.Reply("yes", "Anna")) }()
			}
		}})
	if err := tv.Do("turn on"); err != nil {
		t.Fatal(err)
	}
	await(t, patience, tv, func(s sim.State) bool { return s.Ready && s.Twin.Version > 0 })
	if err := tv.Comes("Anna"); err != nil { // it cannot tell who it is otherwise, and asks no stranger
		t.Fatal(err)
	}
	question := []string{"--data", data, "consent", "ask", "--home", "oak", "--brand", "fresh", "--purpose", "marketing"}
	for { // until the gateway has heard who is there
		var out, errs strings.Builder
		status := run(t.Context(), append(question, "--person", "Anna", "--device", string(tv.ID()), "--wait"), strings.NewReader(""), &out, &errs)
		if status == 0 && out.String() == "given\n" {
			break
		}
		if !strings.Contains(errs.String(), "nobody can be asked just now") || patience.Err() != nil {
			t.Fatalf("consent ask --wait: status %d, %q, %q; want given", status, out.String(), errs.String())
		}
		time.Sleep(20 * time.Millisecond)
	}
	if got := <-answers; got != "" {
		t.Errorf("the answer on the screen: %s", got)
	}
	var asked []delivery.AskState
	if err := json.Unmarshal([]byte(porchlight(t, data, "consent", "asks", "--home", "oak", "--json")), &asked); err != nil || len(asked) != 1 || asked[0].State != "given" || asked[0].Drawn == 0 || asked[0].Device != tv.ID() {
		t.Errorf("consent asks: got %+v, %v, want one, given, that was on the screen", asked, err)
	}
	if got := porchlight(t, data, "consent", "list", "--home", "oak"); !strings.Contains(got, "fresh  marketing  given") {
		t.Errorf("consent list printed\n%s\nwant the yes", got)
	}
	if got := porchlight(t, data, "consent", "history", "--home", "oak"); !strings.Contains(got, "requested") || !strings.Contains(got, "given") {
		t.Errorf("consent history printed\n%s\nwant the question and the yes", got)
	}
	var errs strings.Builder
	if status := run(t.Context(), question, strings.NewReader(""), io.Discard, &errs); status != 1 || !strings.Contains(errs.String(), "the home has said yes to marketing from fresh already") {
		t.Errorf("asked again: status %d, %s; want 1, and that it has been answered", status, errs.String())
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

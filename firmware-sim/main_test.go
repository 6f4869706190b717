package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"

	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"

	"porchlight/device"
	"porchlight/device/wire"
	"porchlight/firmware-sim/sim"
)

// everybody may do everything, but for those it does not know.
type everybody struct {
	mochi.HookBase
	unknown []device.ID
}

func (*everybody) ID() string { return "everybody" }
func (*everybody) Provides(b byte) bool {
	return b == mochi.OnConnectAuthenticate || b == mochi.OnACLCheck
}
func (e *everybody) OnConnectAuthenticate(c *mochi.Client, _ packets.Packet) bool {
	return !slices.Contains(e.unknown, device.ID(c.ID))
}
func (*everybody) OnACLCheck(*mochi.Client, string, bool) bool { return true }

// broker is a plain one, until the test ends.
func broker(t *testing.T, unknown ...device.ID) (url string) {
	t.Helper()
	server := mochi.New(&mochi.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	l := listeners.NewTCP(listeners.Config{ID: "tcp", Address: "127.0.0.1:0"})
	if err := server.AddHook(&everybody{unknown: unknown}, nil); err != nil {
		t.Fatal(err)
	}
	if err := server.AddListener(l); err != nil {
		t.Fatal(err)
	}
	if err := server.Serve(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shut(server) })
	return "tcp://" + l.Address()
}

// shut closes a broker. The library waits for its connections in a way that the race detector
// minds, unless something else has put them in order before: this reading does.
func shut(server *mochi.Server) {
	_ = atomic.LoadInt64(&server.Info.ClientsConnected)
	server.Close()
}

// credentials for the family, in a file.
func credentials(t *testing.T, gateway string) string {
	t.Helper()
	c := sim.Credentials{Gateway: gateway, Devices: make(map[string]sim.Credential)}
	for _, name := range []string{"TV", "Car", "Fridge"} {
		c.Devices[name] = sim.Credential{ID: device.NewID(), Token: "secret"}
	}
	path := filepath.Join(t.TempDir(), "family.yaml")
	if err := sim.WriteCredentials(path, c); err != nil {
		t.Fatal(err)
	}
	return path
}

const family = "../configs/homes/family.yaml"

func TestWrongUsage(t *testing.T) {
	creds := credentials(t, "tcp://127.0.0.1:1")
	tests := map[string]struct {
		args []string
		want string
	}{
		"no home":         {nil, "--home"},
		"unknown flag":    {[]string{"--home", family, "--colour"}, "--colour"},
		"home missing":    {[]string{"--home", "nowhere.yaml"}, "nowhere.yaml"},
		"no credentials":  {[]string{"--home", family, "--credentials", "nowhere.yaml"}, "porchlight home add --file"},
		"zone":            {[]string{"--home", family, "--replay", "r.tsv", "--replay-zone", "Mars"}, "Mars"},
		"speed":           {[]string{"--home", family, "--replay", "r.tsv", "--speed", "0"}, "--speed"},
		"date":            {[]string{"--home", family, "--replay", "r.tsv", "--from", "monday"}, "monday"},
		"no recording":    {[]string{"--home", family, "--replay", "r.tsv"}, "r.tsv"},
		"bad address":     {[]string{"--home", family, "--credentials", creds, "--gateway", "http://x"}, "tcp://"},
		"no certificate":  {[]string{"--home", family, "--credentials", creds, "--ca", "nowhere.crt"}, "nowhere.crt"},
		"not certificate": {[]string{"--home", family, "--credentials", creds, "--ca", family}, "no certificate"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := run(t.Context(), tt.args, strings.NewReader(""), io.Discard)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"--help"}, nil, &out); err != nil || !strings.Contains(out.String(), "--replay") {
		t.Errorf("got %v and %q, want the flags", err, out.String())
	}
}

// A whole recording, and the timeline it makes.
func TestReplayOnTheCommandLine(t *testing.T) {
	var out bytes.Buffer
	err := run(t.Context(), []string{"--home", family, "--credentials", credentials(t, broker(t)),
		"--replay", "sim/testdata/recording.tsv", "--speed", "1000000", "--replay-zone", "Europe/Madrid"}, nil, &out)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"the fridge is opened", "» open door", "somebody is back", "Mon 4 May"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in the timeline:\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Error("colours in a file")
	}
}

// What a person types, and what comes of it.
func TestKeyboard(t *testing.T) {
	keys, typing := io.Pipe()
	var out lines
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	over := make(chan error, 1)
	go func() {
		over <- run(ctx, []string{"--home", family, "--credentials", credentials(t, broker(t)), "--keyboard"}, keys, &out)
	}()
	for _, step := range []struct{ keys, want string }{
		{"B", "> B Car"}, {"a", "Car        » drive"}, {"c", "stop first"}, {"1", "nothing is on the screen"},
		{"=", "moving"}, {"~", "does nothing"}, {"Z", "no device Z"},
		{"_", "nothing is asked"}, {"/", "ask for what was held back"}, {";", "mute on Car"}, {",", "» chooses nothing for 1h0m0s"},
		{":caps: [{max: 2000}]\n", "at most 1000"}, {":caps: [{max: 3}]\n", "» chooses caps: 1"}, {":peop\x1b", ":peop\n"}, {":people: 2\n", "give it occupancy"},
		{"A", "> A TV"}, {":peopel\b\ble: 2\n", "» people there: 2"}, {":comes: Anna@0.5\n", `named no "Anna"`}, {"B", "> B Car"}, {"#", "cable"}, {"#", "is connected"},
	} {
		io.WriteString(typing, step.keys)
		out.await(t, step.want)
	}
	io.WriteString(typing, ".")
	if err := <-over; err != nil {
		t.Error(err)
	}
}

// A question, on the keyboard, and what the gateway says afterwards.
func TestQuestionOnTheKeyboard(t *testing.T) {
	url := broker(t)
	path := credentials(t, url)
	creds, err := sim.ReadCredentials(path)
	if err != nil {
		t.Fatal(err)
	}
	keys, typing := io.Pipe()
	var out lines
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	over := make(chan error, 1)
	go func() { over <- run(ctx, []string{"--home", family, "--credentials", path, "--keyboard"}, keys, &out) }()
	out.await(t, "TV         is connected")

	gateway := mqtt.NewClient(mqtt.NewClientOptions().AddBroker(url).SetClientID("gateway").SetAutoReconnect(false))
	if tok := gateway.Connect(); tok.Wait() && tok.Error() != nil {
		t.Fatal(tok.Error())
	}
	defer gateway.Disconnect(250)
	send := func(leaf wire.Leaf, frame any) {
		t.Helper()
		b, err := wire.Encode(frame)
		if err != nil {
			t.Fatal(err)
		}
		if tok := gateway.Publish(wire.Topic(creds.Devices["TV"].ID, leaf), 1, false, b); tok.Wait() && tok.Error() != nil {
			t.Fatal(tok.Error())
		}
	}
	ask := wire.Ask{
		ID: device.MessageID{1}, Live: 600_000, Who: "Corner Shop", Text: "May Corner Shop show offers here?", More: "Corner Shop, High Street 1.", Language: "en", Notice: make([]byte, 32),
		Controls: []wire.Control{{ID: wire.ControlYes, Label: "Yes"}, {ID: wire.ControlNo, Label: "No"}, {ID: wire.ControlMore, Label: "More"}},
	}
	send(wire.DnTime, wire.Time{Clock: 1})
	send(wire.DnAsk, ask)
	for _, step := range []struct{ keys, want string }{
		{"", `asks "May Corner Shop show offers here?" from Corner Shop`}, {"", "[ 1 Yes  ] [ 2 No   ] [›3 More ]"}, {"3", "» looks at more"}, {"4", "no such control"},
		{"2", `» answers "May Corner Shop show offers here?" from Corner Shop: no`},
	} {
		if step.keys != "" {
			io.WriteString(typing, step.keys)
		}
		out.await(t, step.want)
	}
	ask.ID[0] = 2
	send(wire.DnAsk, ask)
	out.awaitTimes(t, "asks", 2)
	io.WriteString(typing, "-")
	out.await(t, "no answer: back")
	send(wire.DnWord, wire.Word{Epoch: 3, State: wire.WordStopping, Open: []wire.OpenScreen{{Name: "Fridge", By: 1}}})
	out.await(t, "stopping: nothing more of it is shown; still to be cleared: Fridge, in ")
	send(wire.DnWord, wire.Word{Epoch: 3, State: wire.WordStopped})
	out.await(t, "stopped: it is on no screen any more")
	io.WriteString(typing, "\\")
	out.await(t, "» asks what was held back")
	io.WriteString(typing, ".")
	if err := <-over; err != nil {
		t.Error(err)
	}
}

// A device that the gateway does not know gives up, and the rest go on; when none is left, that is the end. What to do
// stands in the error.
func TestNotKnown(t *testing.T) {
	for name, unknown := range map[string][]string{"one": {"Car"}, "all": {"TV", "Car", "Fridge"}} {
		t.Run(name, func(t *testing.T) {
			path := credentials(t, "")
			creds, err := sim.ReadCredentials(path)
			if err != nil {
				t.Fatal(err)
			}
			var ids []device.ID
			for _, one := range unknown {
				ids = append(ids, creds.Devices[one].ID)
			}
			creds.Gateway = broker(t, ids...)
			if err := sim.WriteCredentials(path, creds); err != nil {
				t.Fatal(err)
			}
			keys, typing := io.Pipe()
			var out lines
			over := make(chan error, 1)
			go func() {
				over <- run(t.Context(), []string{"--home", family, "--credentials", path, "--keyboard"}, keys, &out)
			}()
			if name == "one" {
				out.await(t, "TV         is connected")
				out.await(t, "Car        does not try again")
				io.WriteString(typing, ".")
			}
			err = <-over
			want := strings.Join(unknown, ", ") + ": the gateway does not know what it logs in with: removed there, or given another token since"
			if err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Fatalf("got %v, want %s", err, want)
			}
			for _, fix := range []string{`porchlight device list --home "family"`, "porchlight device token ID, and put it into " + path, "porchlight home add --file " + family} {
				if !strings.Contains(err.Error(), fix) {
					t.Errorf("got %v, want it to name %s", err, fix)
				}
			}
			out.mu.Lock()
			defer out.mu.Unlock()
			if n := strings.Count(out.text.String(), "is off line"); n != len(unknown) {
				t.Errorf("they tried %d times, want once each:\n%s", n, out.text.String())
			}
		})
	}
}

// lines is an output that can be waited for.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
	wake chan struct{}
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wake != nil {
		close(l.wake)
		l.wake = nil
	}
	return l.text.Write(b)
}

func (l *lines) await(t *testing.T, want string) {
	t.Helper()
	l.awaitTimes(t, want, 1)
}

func (l *lines) awaitTimes(t *testing.T, want string, times int) {
	t.Helper()
	for {
		l.mu.Lock()
		text := l.text.String()
		if l.wake == nil {
			l.wake = make(chan struct{})
		}
		wake := l.wake
		l.mu.Unlock()
		if strings.Count(text, want) >= times {
			return
		}
		select {
		case <-wake:
		case <-t.Context().Done():
			t.Fatalf("%q is not in:\n%s", want, text)
		}
	}
}

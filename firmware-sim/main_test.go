package main

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"

	"porchlight/device"
	"porchlight/device/wire"
	"porchlight/firmware-sim/sim"
)

// everybody may do everything, but for those it does not know at first.
type everybody struct {
	mochi.HookBase
	mu      sync.Mutex
	unknown map[device.ID]int // how often they are refused
}

func (*everybody) ID() string { return "everybody" }
func (*everybody) Provides(b byte) bool {
	return b == mochi.OnConnectAuthenticate || b == mochi.OnACLCheck
}
func (e *everybody) OnConnectAuthenticate(c *mochi.Client, _ packets.Packet) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.unknown[device.ID(c.ID)] == 0 {
		return true
	}
	e.unknown[device.ID(c.ID)]--
	return false
}
func (*everybody) OnACLCheck(*mochi.Client, string, bool) bool { return true }

// broker is a plain one, until the test ends. Those who are unknown it refuses three times.
func broker(t *testing.T, unknown ...device.ID) (url string) {
	t.Helper()
	server := mochi.New(&mochi.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	l := listeners.NewTCP(listeners.Config{ID: "tcp", Address: "127.0.0.1:0"})
	hook := &everybody{unknown: make(map[device.ID]int)}
	for _, id := range unknown {
		hook.unknown[id] = 3
	}
	if err := server.AddHook(hook, nil); err != nil {
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

// refused is credentials for the family at a broker that refuses some devices three times.
func refused(t *testing.T, names ...string) (path string) {
	t.Helper()
	path = credentials(t, "")
	creds, err := sim.ReadCredentials(path)
	if err != nil {
		t.Fatal(err)
	}
	var unknown []device.ID
	for _, name := range names {
		unknown = append(unknown, creds.Devices[name].ID)
	}
	creds.Gateway = broker(t, unknown...)
	if err := sim.WriteCredentials(path, creds); err != nil {
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
		"home missing":    {[]string{"--home", "nowhere.yaml"}, "nowhere.yaml: no such file or directory: it was looked for in /"},
		"home misspelt":   {[]string{"--home", "../configs/homes/famly.yaml"}, "no such file or directory: did you mean ../configs/homes/family.yaml?"},
		"home a folder":   {[]string{"--home", "../configs"}, "is a directory: name a file in it"},
		"no credentials":  {[]string{"--home", family, "--credentials", "nowhere.yaml"}, "porchlight home add --file"},
		"zone":            {[]string{"--home", family, "--replay", "r.tsv", "--replay-zone", "Mars"}, "Mars"},
		"speed":           {[]string{"--home", family, "--replay", "r.tsv", "--speed", "0"}, "--speed"},
		"date":            {[]string{"--home", family, "--replay", "r.tsv", "--from", "monday"}, "monday"},
		"no recording":    {[]string{"--home", family, "--replay", "r.tsv"}, "r.tsv: no such file or directory: it was looked for in"},
		"bad address":     {[]string{"--home", family, "--credentials", creds, "--gateway", "http://x"}, "tcp://"},
		"no certificate":  {[]string{"--home", family, "--credentials", creds, "--ca", "nowhere.crt"}, "nowhere.crt: no such file or directory: it was looked for in"},
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
		{":caps: [{max: 2000}]\n", "at most 1000"}, {":caps: [{max: 3}]\n", "» chooses caps: 1"}, {":snooze: off\n", "choose on Car: it is not snoozed"}, {":mute: {lift: true}\n", "nothing is muted"}, {":snooze: 0s\n", "to end a snooze say off"}, {":peop\x1b", ":peop\n"}, {":people: 2\n", "give it occupancy"},
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

// A device that the gateway does not know goes on trying, for that may be a slip. What to do is said once.
func TestNotKnown(t *testing.T) {
	path := refused(t, "TV", "Car")
	var out lines
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	over := make(chan error, 1)
	go func() { over <- run(ctx, []string{"--home", family, "--credentials", path}, nil, &out) }()
	for _, name := range []string{"TV", "Car", "Fridge"} {
		out.await(t, fmt.Sprintf("%-10s is connected", name))
	}
	cancel()
	if err := <-over; err != nil {
		t.Error(err)
	}
	text := out.String()
	for _, want := range []string{"Car        is off line: the gateway does not know what it logs in with", "TV         is off line: the gateway does not know what it logs in with"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in:\n%s", want, text)
		}
	}
	for _, fix := range []string{"removed there, or given another token since", `porchlight device list --home "family"`, "porchlight device token ID, put it into " + path, "porchlight home add --file " + family} {
		if n := strings.Count(text, fix); n != 1 {
			t.Errorf("%q was said %d times, want once:\n%s", fix, n, text)
		}
	}
}

// What keeps devices from connecting is said with what to do about it.
func TestNoWayIn(t *testing.T) {
	stranger := httptest.NewTLSServer(nil) // nobody knows its authority, and it has no name but example.com
	defer stranger.Close()
	there := strings.TrimPrefix(stranger.URL, "https://")
	_, port, err := net.SplitHostPort(there)
	if err != nil {
		t.Fatal(err)
	}
	known := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(known, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: stranger.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	noTLS, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer noTLS.Close()
	go func() {
		for {
			conn, err := noTLS.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 4096))
			conn.Close()
		}
	}()
	plain := noTLS.Addr().String()
	home := []string{"--home", family, "--credentials", credentials(t, "")}
	tests := map[string]struct {
		args []string
		want string
	}{
		"no TLS there":      {append(home, "--gateway", "tls://"+plain), "tls:// and wss:// need the gateway's port with TLS, 8883 unless"},
		"nor for a new one": {[]string{"--enrol", "--class", "tv", "--gateway", "tls://" + plain}, "tls:// and wss:// need the gateway's port with TLS, 8883 unless"},
		"TLS there":         {append(home, "--gateway", "tcp://"+there), "it seems to be a port with TLS, 8883 unless it was set otherwise: use tls:// or wss:// for it"},
		"another authority": {append(home, "--gateway", "tls://"+there), "name its authority: --ca DATA/ca/ca.crt"},
		"another name":      {append(home, "--gateway", "tls://localhost:"+port, "--ca", known), "dial it by a name or an address that its certificate has"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var out lines
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			over := make(chan error, 1)
			go func() { over <- run(ctx, tt.args, nil, &out) }()
			out.await(t, tt.want)
			cancel()
			if err := <-over; err != nil {
				t.Error(err)
			}
		})
	}
}

// The same is said once a minute, the fix once; what a person does, and what is new, at once.
func TestSaysItOnce(t *testing.T) {
	var out lines
	show := newTimeline(&out)
	mendable := errors.New("x509")
	show.fix = func(err error) string { return map[bool]string{true: "do this\n"}[errors.Is(err, mendable)] }
	began := time.Now()
	away := func(err error) sim.Event { return sim.Event{Kind: sim.Away, Err: err, Why: err.Error()} }
	full, dead := errors.New("read 127.0.0.1:4711: reset"), errors.New("refused")
	turned := sim.Event{Kind: sim.TurnedAway, Why: "no", Err: dead}
	for i, tt := range []struct {
		after time.Duration
		who   string
		e     sim.Event
		want  string // how it begins; "": nothing is said
		fix   bool
	}{
		{0, "TV", away(mendable), "is off line: x509", true},
		{time.Second, "TV", away(mendable), "", false},
		{time.Second, "Car", away(mendable), "is off line: x509", false},
		{59 * time.Second, "TV", away(mendable), "", false},
		{60 * time.Second, "TV", away(mendable), "is off line: x509", false},
		{61 * time.Second, "TV", away(full), "is off line: read", false},
		{62 * time.Second, "TV", away(errors.New("read 127.0.0.1:9000: reset")), "", false},
		{63 * time.Second, "TV", away(dead), "is off line: refused", false},
		{64 * time.Second, "TV", sim.Event{Kind: sim.Away, Why: "power cut"}, "is off line: power cut", false},
		{65 * time.Second, "TV", away(dead), "is off line: refused", false},
		{66 * time.Second, "TV", sim.Event{Kind: sim.Connected}, "is connected", false},
		{67 * time.Second, "TV", away(dead), "is off line: refused", false},
		{68 * time.Second, "Oven", turned, "is not let in: no", false},
		{69 * time.Second, "Oven", turned, "", false},
		{70 * time.Second, "Oven", sim.Event{Kind: sim.Enrolling, Why: "asks"}, "asks", false},
		{71 * time.Second, "Oven", turned, "is not let in: no", false},
	} {
		before := len(out.String())
		tt.e.At, tt.e.Device = began.Add(tt.after), tt.who
		show.note(tt.e)
		said := out.String()[before:]
		if tt.want == "" && said != "" || tt.want != "" && !strings.Contains(said, fmt.Sprintf("  %-10s %s", tt.who, tt.want)) || strings.Contains(said, "do this") != tt.fix {
			t.Errorf("%d: said %q, want %q, and the fix: %t", i, said, tt.want, tt.fix)
		}
	}
}

// Where the keyboard ends the devices go on.
func TestKeyboardEnds(t *testing.T) {
	path := refused(t, "TV") // so that it comes after the end of the keyboard
	var out lines
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	over := make(chan error, 1)
	go func() {
		over <- run(ctx, []string{"--home", family, "--credentials", path, "--keyboard"}, strings.NewReader("Ba"), &out)
	}()
	out.await(t, "Car        » drive")
	out.await(t, "the keyboard has ended: the devices go on without it")
	out.await(t, "TV         is connected")
	cancel()
	if err := <-over; err != nil {
		t.Error(err)
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

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *lines) await(t *testing.T, want string) {
	t.Helper()
	l.awaitTimes(t, want, 1)
}

func (l *lines) awaitTimes(t *testing.T, want string, times int) {
	t.Helper()
	patience := time.NewTimer(time.Minute)
	defer patience.Stop()
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
		case <-patience.C:
			t.Fatalf("%q is not in:\n%s", want, text)
		}
	}
}

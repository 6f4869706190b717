//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"porchlight/device"
	"porchlight/device/wire"
)

var shortSeed = flag.Uint64("torture-seed", 0, "what TestShort draws from; 0: another at each run")

var givenGateway = flag.String("torture-gateway", "", "a gateway's binary, built with -tags torture; empty: it is built")

// A test starts itself again, to write a database on the disk that loses things.
func TestMain(m *testing.M) {
	if path := os.Getenv("PORCHLIGHT_TORTURE_WRITES"); path != "" {
		writes(path, os.Getenv("PORCHLIGHT_TORTURE_SYNC"))
		return
	}
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if shared, err = os.MkdirTemp("", "porchlight-torture-"); err != nil {
		panic(err)
	}
	defer os.RemoveAll(shared)
	return m.Run()
}

// writes adds rows until the process is killed, and says of each that it is there.
func writes(path, synchronous string) {
	db, err := sql.Open("sqlite3", path+"?_journal_mode=WAL&_synchronous="+synchronous)
	if err == nil {
		_, err = db.Exec(`CREATE TABLE IF NOT EXISTS row (n INTEGER PRIMARY KEY, body TEXT)`)
	}
	for n := 1; err == nil; n++ {
		if _, err = db.Exec(`INSERT INTO row (n, body) VALUES (?, ?)`, n, strings.Repeat("x", 300)); err == nil {
			fmt.Println(n)
		}
	}
	fmt.Println(err)
}

// After a power cut the copy has what was synced, and is whole; what was not synced is gone.
func TestDisk(t *testing.T) {
	for synchronous, kept := range map[string]bool{"FULL": true, "OFF": false} {
		t.Run(synchronous, func(t *testing.T) {
			g, err := newGateway(t.TempDir(), "", "", 1, time.Second, time.Second, false)
			if err != nil {
				t.Fatal(err)
			}
			defer g.keep.Close()
			g.disk.early = 300
			path := filepath.Join(g.data, "porchlight.db")
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), "PORCHLIGHT_TORTURE_WRITES="+path, "PORCHLIGHT_TORTURE_SYNC="+synchronous, "LD_PRELOAD="+g.shim,
				"PORCHLIGHT_DISK_CONTROL="+filepath.Join(g.dir, "disk"), "PORCHLIGHT_DISK_FILES="+path, "PORCHLIGHT_DISK_COPY="+g.copy)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			said := 0
			for lines := bufio.NewScanner(out); said < 500 && lines.Scan(); {
				if n, err := fmt.Sscan(lines.Text(), &said); n != 1 || err != nil {
					t.Errorf("it said %q", lines.Text())
					break
				}
			}
			_ = cmd.Process.Kill()
			_ = cmd.Wait() // it was killed
			if g.disk.writes == 0 {
				t.Fatal("the disk has seen no write")
			}
			if err := g.same(g.copy, g.data); err != nil {
				t.Fatal(err)
			}
			db, err := sql.Open("sqlite3", path)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			var have int
			err = db.QueryRow(`SELECT count(*) FROM row`).Scan(&have)
			if kept && (err != nil || have < said) {
				t.Errorf("%d rows were committed, and the disk has %d, %v", said, have, err)
			}
			if !kept && err == nil && have >= said {
				t.Errorf("%d rows were committed without a sync, and the disk has them all the same", said)
			}
		})
	}
}

var (
	shared string // folder of what several tests use
	build  = sync.OnceValues(func() (string, error) {
		return built(context.Background(), options{gateway: *givenGateway, dir: shared})
	})
)

// gatewayBinary builds the gateway once.
func gatewayBinary(t *testing.T) string {
	t.Helper()
	binary, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

// Twenty seconds of everything: every fault, every kind of operation, and no promise is broken.
func TestShort(t *testing.T) {
	o := short(options{gateway: gatewayBinary(t), dir: t.TempDir(), seed: *shortSeed, faults: names(), lease: 4 * time.Second, allowed: 2 * time.Second})
	r, err := torture(t.Context(), o, testLog{t})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	r.print(&b)
	t.Logf("-torture-seed=%d\n%s", r.seed, b.String())
	if err := r.verdict(); err != nil {
		t.Error(err)
	}
	for _, name := range append(names(), "poisoned frames", "poisoned messages", "packets delayed", "packets sent twice", "packets that changed places", "connections cut", "devices that did not read") {
		if r.faults[name] == 0 {
			t.Errorf("%s did not happen", name)
		}
	}
	for _, kind := range []string{"births", "choices", "contexts", "log-ins", "receipts", "requests", "messages over MQTT"} {
		if r.kinds[kind] == 0 {
			t.Errorf("there were no %s", kind)
		}
	}
}

// The machinery can find something: with the databases of a while ago something acknowledged is lost.
func TestAmnesiaIsFound(t *testing.T) {
	t.Parallel()
	o := short(options{gateway: gatewayBinary(t), dir: t.TempDir(), seed: *shortSeed, faults: []string{"amnesia"}, lease: 4 * time.Second, allowed: 2 * time.Second})
	o.length = 8 * time.Second
	r, err := torture(t.Context(), o, testLog{t})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range r.found {
		if v.Promise == "P8" {
			t.Logf("found, among %d: %s", len(r.found), v)
			return
		}
	}
	t.Errorf("the databases of a while ago were put back, and nobody noticed: %v", r.found)
}

// A gateway that cannot be started again is found, and ends the run.
func TestNoStartIsFound(t *testing.T) {
	t.Parallel()
	once := filepath.Join(t.TempDir(), "once")
	script := fmt.Sprintf("#!/bin/sh\nmkdir $0.d 2>/dev/null && exec %s \"$@\"\necho porchlight: the store is damaged >&2\nexit 1\n", gatewayBinary(t))
	if err := os.WriteFile(once, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	o := short(options{gateway: once, dir: t.TempDir(), seed: *shortSeed, faults: []string{"kill", "power"}, lease: 4 * time.Second, allowed: 2 * time.Second})
	_, err := torture(t.Context(), o, testLog{t})
	if want := "the gateway did not start: porchlight: the store is damaged: see " + o.dir; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestSoak(t *testing.T) {
	t.Parallel()
	o := options{gateway: gatewayBinary(t), dir: t.TempDir(), size: size{homes: 12, brands: 3}, length: 20 * time.Second, lease: 4 * time.Second, allowed: 2 * time.Second}
	s, err := soak(t.Context(), o, 6*time.Second, time.Second, testLog{t})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	s.print(&b)
	t.Log(b.String())
	// Whether it is flat is for an hour to say, on a machine that does nothing else.
	if len(s.samples) < 5 || s.peak < 1 || s.shown == 0 || len(s.wrong) > 0 {
		t.Errorf("%d samples, a peak of %.0f, %d shown, %v", len(s.samples), s.peak, s.shown, s.wrong)
	}
	if p := string(s.picture()); strings.Count(p, "<polyline") != len(series) || !strings.HasSuffix(p, "</svg>\n") {
		t.Errorf("the picture is %s", p)
	}
}

// A leak is not flat, and noise is.
func TestTrend(t *testing.T) {
	made := func(at func(i int) float64) *soaked {
		s := &soaked{length: 100 * time.Second}
		for i := range 100 {
			values := make([]float64, len(series))
			for k := range values {
				values[k] = at(i)
			}
			s.samples = append(s.samples, sample{at: time.Duration(i) * time.Second, values: values})
		}
		return s
	}
	tests := map[string]struct {
		at   func(i int) float64
		flat bool
	}{
		"even":                     {func(int) float64 { return 50 }, true},
		"noise":                    {func(i int) float64 { return 50 + 5*float64(i*7919%13)/13 }, true},
		"noise that hides it":      {func(i int) float64 { return 50 + 100*float64(i*7919%13)/13 }, false},
		"it fills, and then stays": {func(i int) float64 { return min(float64(i), 20) + 50 }, true},
		"it shrinks":               {func(i int) float64 { return 100 - float64(i)/2 }, true},
		"a leak":                   {func(i int) float64 { return 50 + float64(i) }, false},
		"a leak under noise":       {func(i int) float64 { return 50 + float64(i) + 20*float64(i*7919%13)/13 }, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := made(tt.at)
			if err := s.verdict(); (err == nil) != tt.flat {
				t.Errorf("got %v, trend %+v", err, s.trend(0))
			}
		})
	}
}

// Packets go through the network as they were, and only those change places that may.
func TestPackets(t *testing.T) {
	topic := func(l wire.Leaf) string { return wire.Topic("fridge01", l) }
	evt, twin, ctx := publishPacket(topic(wire.UpEvt), 1, 7, []byte("e")), publishPacket(topic(wire.UpTwin), 1, 8, []byte("t")), publishPacket(topic(wire.UpCtx), 1, 9, []byte("c"))
	ack := pack(puback<<4, number(3))
	msg, beacon := publishPacket(topic(wire.DnMsg), 1, 2, []byte("m")), publishPacket(topic(wire.DnTime), 0, 0, []byte("b"))
	long := publishPacket(topic(wire.UpEvt), 1, 7, bytes.Repeat([]byte("x"), 5000))
	for _, p := range []packet{evt, long, beacon, ack, connectPacket("a", "b", "c")} {
		got, err := readPacket(bufio.NewReader(bytes.NewReader(p)))
		if err != nil || !bytes.Equal(got, p) {
			t.Errorf("%x came out as %x, %v", p, got, err)
		}
	}
	if at, n, payload, ok := long.published(); !ok || at != topic(wire.UpEvt) || n != 7 || len(payload) != 5000 {
		t.Errorf("taken apart: %s %d %d bytes, %t", at, n, len(payload), ok)
	}
	if again := evt.again(); again[0] != evt[0]|8 || !bytes.Equal(again[1:], evt[1:]) || evt[0]&8 != 0 {
		t.Errorf("a second time: %x after %x", again, evt)
	}
	tests := []struct {
		a, b packet
		up   bool
		may  bool
	}{
		{evt, twin, true, true}, {evt, ack, true, true}, {ack, evt, true, true}, {msg, beacon, false, true},
		{evt, evt, true, false}, {ack, ack, true, false}, {evt, ctx, true, false}, {msg, msg, false, false}, {msg, ack, false, false},
	}
	for _, tt := range tests {
		if got := movable(tt.a, tt.up) && swappable(tt.a, tt.b, tt.up); got != tt.may {
			t.Errorf("%x and %x may change places: got %t, want %t", tt.a, tt.b, got, tt.may)
		}
	}
}

// A table of zones that we have made is one that Go reads.
func TestZoneFile(t *testing.T) {
	for _, hours := range []int{-11, 0, 5, 12} {
		l, err := time.LoadLocationFromTZData(homeZone, zoneFile(time.Duration(hours)*time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		if got := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC).In(l).Hour(); got != 12+hours && got != 12+hours-24 {
			t.Errorf("%+d hours: noon is at %d", hours, got)
		}
	}
}

// The device of the torture does not show what the contract forbids: otherwise it would blame the gateway for its own.
func TestScreenObeys(t *testing.T) {
	w := &world{began: time.Now(), dwell: time.Hour, kinds: map[string]int64{}, others: map[string]int64{}, faults: map[string]int64{}}
	present := func(n byte, epoch, lease uint64) wire.Present {
		form := device.List
		return wire.Present{Message: id(n), Epoch: epoch, Lease: lease, Live: 1 << 20, ValidUntil: 1 << 40, Text: "brand-0-1", Form: &form}
	}
	fresh := func() *screen {
		return &screen{id: "display1", class: device.Display, world: w, home: &house{diary: &diary{}, patient: true}, rng: rand.New(rand.NewPCG(1, 2)), ledger: map[device.MessageID]wire.Event{}, changed: make(chan struct{}), beaconed: true}
	}
	tests := map[string]struct {
		do   func(s *screen)
		last wire.EventKind // that it owes
		on   bool
	}{
		"it shows":       {func(s *screen) { s.present(0, present(1, 5, 1000)) }, wire.Presented, true},
		"its lease ends": {func(s *screen) { s.present(0, present(1, 5, 1000)); s.wither(sec) }, wire.Expired, false},
		"a beacon renews it": {func(s *screen) {
			s.present(0, present(1, 5, 1000))
			s.frame(sec/2, wire.DnTime, encoded(t, wire.Time{Clock: 1, Keep: []device.MessageID{id(1)}}))
			s.wither(sec)
		}, wire.Presented, true},
		"a beacon takes it off": {func(s *screen) {
			s.present(0, present(1, 5, 1000))
			s.frame(sec/2, wire.DnTime, encoded(t, wire.Time{Clock: 1}))
		}, wire.Cancelled, false},
		"below the fence": {func(s *screen) { s.raise(6); s.present(0, present(1, 5, 1000)) }, wire.Declined, false},
		"not a second time": {func(s *screen) {
			s.present(0, present(1, 5, 1000))
			s.wither(sec)
			s.present(2*sec, present(1, 9, 1000))
		}, wire.Expired, false},
		"not to be disturbed": {func(s *screen) { s.dnd = true; s.present(0, present(1, 5, 1000)) }, wire.Declined, false},
		"not before a beacon": {func(s *screen) { s.beaconed = false; s.present(0, present(1, 5, 1000)) }, 0, false},
		"after the beacon": {func(s *screen) {
			s.beaconed = false
			s.present(0, present(1, 5, 1000))
			s.frame(0, wire.DnTime, encoded(t, wire.Time{Clock: 1, Keep: []device.MessageID{id(1)}}))
		}, wire.Presented, true},
		"no guard that it has not": {func(s *screen) {
			p := present(1, 5, 1000)
			p.Guards = map[string]wire.Guard{"door.open": {Op: "eq", Value: true}}
			s.present(0, p)
		}, wire.Declined, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := fresh()
			tt.do(s)
			var last wire.EventKind
			if n := len(s.outbox); n > 0 {
				last = s.outbox[n-1].event.Kind
			}
			if on := s.on != nil; last != tt.last || on != tt.on {
				t.Errorf("it owes %d last and shows %t, want %d and %t", last, on, tt.last, tt.on)
			}
		})
	}
}

func encoded(t *testing.T, frame any) []byte {
	t.Helper()
	b, err := wire.Encode(frame)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

type testLog struct{ t *testing.T }

func (l testLog) Write(b []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

var _ io.Writer = testLog{}

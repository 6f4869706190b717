package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"porchlight/device"
)

// built is a setting with a gateway built for it, small.
func built(t *testing.T) setting {
	t.Helper()
	s := setting{gateway: filepath.Join(t.TempDir(), "porchlight"), small: true, folder: t.TempDir(), say: t.Logf}
	build := exec.Command("go", "build", "-o", s.gateway, "./cmd/porchlight")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the gateway: %v\n%s", err, out)
	}
	return s
}

// holds fails unless figures has those that begin so, and none that is nothing.
func holds(t *testing.T, figures []figure, begin ...string) {
	t.Helper()
	for _, what := range begin {
		found := false
		for _, f := range figures {
			found = found || strings.HasPrefix(f.Name, what)
		}
		if !found {
			t.Errorf("no figure begins with %q", what)
		}
	}
	for _, f := range figures {
		if f.Ours < 0 || f.PeerName != "" && f.Peer < 0 {
			t.Errorf("%+v: less than nothing", f)
		}
	}
}

// TestJob does the whole job once, small, on both sides; where PostgreSQL or mosquitto is not installed, the
// gateway's alone.
func TestJob(t *testing.T) {
	s := built(t)
	figures, err := job(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if figures != nil {
		holds(t, figures, "whole job, 64 callers", "whole job at 200 messages/s, from the push to the receipt on disk, p99", "the same, memory of all servers")
	}

	// Receipts of other messages are acknowledged, and do not count. One message for a home: a second would wait.
	one, err := gatewaySide(t.Context(), s, 10)
	if err != nil {
		t.Fatal(err)
	}
	defer one.close()
	for _, sc := range one.screens {
		honest := sc.receipt
		sc.receipt = func(sc *screen, _ string, over bool) ([]byte, error) {
			other := device.NewMessageID(0)
			return honest(sc, string(other[:]), over)
		}
	}
	if _, err := one.work(t.Context(), 50, 100*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if shown, err := one.shown(t.Context()); err != nil || one.pushed == 0 || shown == one.pushed {
		t.Errorf("%d messages pushed, and %d shown though nobody said so: %v", one.pushed, shown, err)
	}
}

// TestGrowth makes a small town, starts a gateway on it, and lets two weeks pass.
func TestGrowth(t *testing.T) {
	figures, err := growth(t.Context(), built(t))
	if err != nil {
		t.Fatal(err)
	}
	holds(t, figures, "start, exec to ready, 100 homes", "start, exec to ready, 1000 homes", "database of a home for a year", "a message at 200/s, 40 homes")
}

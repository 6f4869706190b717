package delivery

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"porchlight/device/store"
)

// roomy is a Desk without a Courier, whose store lets eight units wait, and a clock that stands until pass moves it.
func roomy(t *testing.T) (d *Desk, pass func(time.Duration)) {
	t.Helper()
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "p.db"), store.Options{Project: Project, Queue: 8})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	now := time.Now()
	d, err = NewDesk(db, Options{Mono: func() time.Time { return now }}, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return d, func(by time.Duration) { now = now.Add(by) }
}

// busy fails unless there is no room for that reason; "": there is.
func (d *Desk) busy(t *testing.T, reason string) {
	t.Helper()
	var got *BusyError
	err := d.Room()
	if errors.As(err, &got); reason == "" && err != nil || reason != "" && (got == nil || got.Reason != reason || got.After <= 0) {
		t.Errorf("Room = %#v, want %q", err, reason)
	}
}

// Half of those who may wait for the disk may be brands; the other half is for homes, and while they fill it nobody else comes in.
func TestRoomInTheStore(t *testing.T) {
	d, _ := roomy(t)
	var inside []func()
	for range 4 {
		leave, err := d.Enter()
		if err != nil {
			t.Fatal(err)
		}
		inside = append(inside, leave)
	}
	d.busy(t, "brands")
	if _, err := d.Enter(); err == nil {
		t.Error("one more came in")
	}
	inside[0]()
	d.busy(t, "")
	for _, leave := range inside[1:] {
		leave()
	}

	began, end := make(chan struct{}), make(chan struct{})
	answers := make(chan error)
	put := func(f func(*store.Tx) error) { go func() { answers <- d.db.Update(f) }() }
	put(func(*store.Tx) error { close(began); <-end; return nil })
	<-began
	for range 6 {
		put(func(*store.Tx) error { return nil })
	}
	for n := 0; n < 6; n, _ = d.db.Waiting() {
		runtime.Gosched()
	}
	d.busy(t, "store")
	close(end)
	for range 7 {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	d.busy(t, "")
}

// Where homes wait to be judged for too long, nothing more comes for them; how many wait does not matter.
func TestRoomInTheQueueOfHomes(t *testing.T) {
	d, pass := roomy(t)
	pass(time.Hour) // nobody has asked for long
	for range 1000 {
		d.queue.put(&home{})
	}
	d.busy(t, "")
	take := func(n int) {
		for range n {
			d.queue.take(context.Background())
		}
	}
	for range 20 { // they come and go, and some always wait
		pass(mostLag / 2)
		take(500)
		for range 500 {
			d.queue.put(&home{})
		}
		d.busy(t, "")
	}
	pass(mostLag)
	take(400)
	d.busy(t, "") // they may wait just so long
	pass(mostLag / 2)
	d.busy(t, "homes")
	pass(lookAgain / 2)
	take(600)
	d.busy(t, "homes") // looked at a moment ago
	pass(lookAgain / 2)
	d.busy(t, "")
}

var ballast []byte

// Near to what GOMEMLIMIT allows nothing more comes in, and once memory is free again, it does, without anybody else running the collector.
func TestRoomInMemory(t *testing.T) {
	d, pass := roomy(t)
	d.busy(t, "")
	ballast = make([]byte, 256<<20)
	for i := 0; i < len(ballast); i += 4096 {
		ballast[i] = 1
	}
	runtime.GC()
	used, _, _ := inUse()
	if used < 256<<20 {
		t.Fatalf("%d bytes are in use, want more than what was made", used)
	}
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(int64(float64(used) * 1.5)))
	pass(lookAgain)
	d.busy(t, "")
	debug.SetMemoryLimit(int64(float64(used) * 1.05))
	pass(lookAgain)
	d.busy(t, "memory")
	ballast = nil
	for began := time.Now(); d.Room() != nil; time.Sleep(10 * time.Millisecond) { // and makes little that is to be collected
		if time.Since(began) > 30*time.Second {
			t.Fatal("there is no room though memory is free")
		}
		pass(time.Second)
	}
	debug.SetMemoryLimit(math.MaxInt64)
	pass(lookAgain)
	d.busy(t, "")
}

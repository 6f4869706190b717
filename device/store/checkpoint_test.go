package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"porchlight/device"
)

// left is how many pages of the log are not moved.
func left(t testing.TB, db *DB) (n int64) {
	t.Helper()
	if err := db.alone(func() (err error) { n, err = db.w.logged("NOOP"); return err }); err != nil {
		t.Fatal(err)
	}
	return n
}

// long appends one home with a name of so many letters.
func long(db *DB, id, letters int) error {
	return db.Update(func(tx *Tx) error {
		_, err := tx.Append(device.HomeID(id), 0, "home.added", homeAdded{fmt.Sprint(id, strings.Repeat("x", letters)), "UTC"})
		return err
	})
}

// The write-ahead log begins anew again and again, without a commit that moves its pages itself.
func TestLogBeginsAnew(t *testing.T) {
	db := open(t, file(t), Options{})
	pages, before, begun := int64(0), int64(0), 0
	for home := 1; pages < 4*longLog; home++ {
		if err := long(db, home, 100_000); err != nil {
			t.Fatal(err)
		}
		now := left(t, db)
		if now < before {
			begun++
			before = 0
		}
		pages += now - before
		before = now
		for began := time.Now(); now >= 2*longLog; before = now { // it is being moved
			if now = left(t, db); time.Since(began) > time.Minute {
				t.Fatalf("%d pages of the log are not moved", now)
			}
		}
	}
	if begun == 0 {
		t.Errorf("%d pages were written, and the log never began anew", pages)
	}
	if s := db.Stats(); s.WALBytes > 3*longLog*4120 {
		t.Errorf("the log has %d bytes", s.WALBytes)
	}
}

// What could not be synced may be lost: then the log is kept, and with it alone the next start makes the file whole.
func TestLogIsKept(t *testing.T) {
	path := file(t)
	db := open(t, path, Options{Clear: func(*Apply, device.HomeID) error { return nil }})
	copied := filepath.Join(t.TempDir(), filepath.Base(path))
	take := func(suffix string) {
		t.Helper()
		raw, err := os.ReadFile(path + suffix)
		if err == nil {
			err = os.WriteFile(copied+suffix, raw, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	take("") // what is moved into it from now on is lost
	if err := db.file.Close(); err != nil {
		t.Fatal(err)
	}
	homes := 0
	add := func() {
		t.Helper()
		homes++
		if err := long(db, homes, 100_000); err != nil {
			t.Fatal(err)
		}
	}
	for began := time.Now(); db.Kept() == nil; {
		if add(); time.Since(began) > time.Minute {
			t.Fatal("the file cannot be synced, and nobody says so")
		}
	}
	for range 20 { // the log would begin anew
		add()
	}
	if err := db.Kept(); !errors.Is(err, ErrFailed) || !db.Stats().Kept {
		t.Errorf("Kept = %v, want ErrFailed", err)
	}
	if err := db.clean(context.Background()); !errors.Is(err, ErrFailed) {
		t.Errorf("clean = %v, want ErrFailed", err)
	}
	if err := db.Close(); !errors.Is(err, ErrFailed) {
		t.Errorf("Close = %v, want ErrFailed", err)
	}
	take("-wal")
	take(".keys")
	again := open(t, copied, Options{})
	var n int
	if err := again.View(t.Context(), func(tx *Tx) error { return tx.QueryRow("SELECT count(*) FROM home").Scan(&n) }); err != nil || n != homes {
		t.Errorf("%d homes were acknowledged, %d are there: %v", homes, n, err)
	}
}

// A log that would soon fill the disk does not wait for its turn.
func TestLogLeavesSpace(t *testing.T) {
	db := open(t, filepath.Join(tmpfs(t, 64<<20), "p.db"), Options{})
	homes := 0
	fill := func(until func() bool) {
		t.Helper()
		for !until() {
			homes++
			if err := long(db, homes, 45_000); err != nil {
				t.Fatal(err)
			}
		}
	}
	moved := func() {
		t.Helper()
		for began := time.Now(); left(t, db) >= longLog; time.Sleep(time.Millisecond) {
			if time.Since(began) > time.Minute {
				t.Fatalf("%d pages of the log are not moved, and nobody writes any more", left(t, db))
			}
		}
	}
	fill(func() bool { // half of the space is taken, and the last move was a moment ago, or is going on
		fi, err := os.Stat(db.path)
		return err != nil || fi.Size() > 24<<20
	})
	moved()
	fill(func() bool { return left(t, db) >= longLog })
	moved()
}

// A sync that fails while the database is being closed is no less of a loss.
func TestLogIsKeptAtTheEnd(t *testing.T) {
	path := file(t)
	db := open(t, path, Options{})
	if err := db.file.Close(); err != nil {
		t.Fatal(err)
	}
	db.moving.Lock() // the mover waits
	homes := 0
	for ; left(t, db) < longLog; homes++ {
		if err := long(db, homes+1, 100_000); err != nil {
			t.Fatal(err)
		}
	}
	closed := make(chan error)
	go func() { closed <- db.Close() }()
	for db.Update(func(*Tx) error { return nil }) != ErrClosed {
	}
	db.moving.Unlock()
	if err := <-closed; !errors.Is(err, ErrFailed) {
		t.Errorf("Close = %v, want ErrFailed", err)
	}
	if fi, err := os.Stat(path + "-wal"); err != nil || fi.Size() < longLog*pageSize {
		t.Errorf("the log is gone: %v", err)
	}
}

package store

import (
	"context"
	"os"
	"path/filepath"
	"testing"
)

// When Close has returned, nothing of the database is open: neither log nor shared memory is beside the file.
func TestCloseLeavesNothingOpen(t *testing.T) {
	left := 0
	for range 60 {
		path := filepath.Join(t.TempDir(), "p.db")
		db, err := Open(context.Background(), path, Options{Project: func(*Apply, Event) error { return nil }})
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Update(func(tx *Tx) error { _, err := tx.Append(1, 0, "a.b", 1); return err }); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		for _, suffix := range []string{"-wal", "-shm"} {
			if _, err := os.Stat(path + suffix); err == nil {
				left++
			}
		}
	}
	if left > 0 {
		t.Errorf("%d files were left beside 60 databases that were closed", left)
	}
}

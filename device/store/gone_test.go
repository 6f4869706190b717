package store

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Whatever of the files is taken away, or has another put in its place, while they are open: nothing is acknowledged
// any more that would go with the process, and all goes on once that very file is back.
func TestGone(t *testing.T) {
	for _, file := range []string{"", "-wal", ".keys"} {
		for _, replaced := range []bool{false, true} {
			path := made(t, 1)
			db := open(t, path, Options{})
			if err := add(db, 2); err != nil {
				t.Fatal(err)
			}
			if err := db.Look(); err != nil {
				t.Fatalf("%q: Look = %v while all is well", file, err)
			}
			if err := os.Rename(path+file, path+".aside"); err != nil {
				t.Fatal(err)
			}
			if replaced {
				raw, err := os.ReadFile(path + ".aside")
				if err == nil {
					err = os.WriteFile(path+file, raw, 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if err := db.Look(); !errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), path+file+": ") {
				t.Errorf("%q, replaced %t: Look = %v, want ErrFailed and the path", file, replaced, err)
			}
			if err := add(db, 3); !errors.Is(err, ErrFailed) || !errors.Is(db.Healthy(), ErrFailed) {
				t.Errorf("%q, replaced %t: Update = %v, Healthy = %v, want ErrFailed", file, replaced, err, db.Healthy())
			}
			if err := os.Rename(path+".aside", path+file); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(db.Look(), add(db, 3), db.Healthy()); err != nil {
				t.Errorf("%q, replaced %t: once it is back: %v", file, replaced, err)
			}
			if err := db.Close(); err != nil {
				t.Errorf("%q, replaced %t: Close = %v", file, replaced, err)
			}
			again := open(t, path, Options{})
			var homes int
			err := again.View(t.Context(), func(tx *Tx) error { return tx.QueryRow("SELECT count(DISTINCT home) FROM journal").Scan(&homes) })
			if err != nil || homes != 3 {
				t.Errorf("%q, replaced %t: opened anew it has %d homes, %v, want 3", file, replaced, homes, err)
			}
			if err := again.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// A database that is missing beside its keys is not begun anew, as if nothing had ever been said.
func TestMissingDatabase(t *testing.T) {
	path := made(t, 1)
	if err := os.Rename(path, path+".aside"); err != nil {
		t.Fatal(err)
	}
	refused(t, path, fs.ErrNotExist)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file was made all the same: %v", err)
	}
	if err := os.Rename(path+".aside", path); err != nil {
		t.Fatal(err)
	}
	if err := open(t, path, Options{}).Close(); err != nil {
		t.Error(err)
	}
}

// On a file system that has become read-only a database that was closed can be looked at and saved. One with a log beside
// it cannot, and the reason is told.
func TestReadOnlyDisk(t *testing.T) {
	dir := tmpfs(t, 64<<20)
	whole, open1 := filepath.Join(dir, "whole.db"), filepath.Join(dir, "open.db")
	for _, path := range []string{whole, open1} {
		db := open(t, path, Options{})
		if err := add(db, 1); err != nil {
			t.Fatal(err)
		}
		if path == open1 {
			for _, beside := range []string{"", "-wal", ".keys"} { // as a crash leaves it
				raw, err := os.ReadFile(path + beside)
				if err == nil {
					err = os.WriteFile(filepath.Join(dir, "crashed.db"+beside), raw, 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mount("none", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if have, known, err := Inspect(whole); err != nil || have != known {
		t.Errorf("Inspect = %d, %d, %v", have, known, err)
	}
	if wrong, err := Check(t.Context(), whole, project, nil); err != nil || len(wrong) > 0 {
		t.Errorf("Check = %v, %v", wrong, err)
	}
	to := filepath.Join(t.TempDir(), "saved.db")
	if _, err := Backup(context.Background(), whole, to, nil); err != nil {
		t.Errorf("Backup = %v", err)
	} else if s, err := Verify(t.Context(), to); err != nil || s.Seq == 0 {
		t.Errorf("Verify = %+v, %v", s, err)
	}
	crashed := filepath.Join(dir, "crashed.db")
	if _, err := Check(t.Context(), crashed, project, nil); !errors.Is(err, ErrReadOnly) {
		t.Errorf("Check = %v, want ErrReadOnly", err)
	}
}

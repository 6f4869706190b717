package store

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"porchlight/device"
)

// A copy has everything that was committed, whether the file is open elsewhere, was closed, or was left behind by
// a crash; and it is made without a change to what it is made of.
func TestCopy(t *testing.T) {
	path := file(t)
	dir := filepath.Dir(path)
	db, err := Open(context.Background(), path, Options{Project: project})
	if err != nil {
		t.Fatal(err)
	}
	for id := range device.HomeID(3) {
		if err := add(db, id+1); err != nil {
			t.Fatal(err)
		}
	}
	want := []device.HomeID{1, 2, 3}
	copied := func(from string) {
		t.Helper()
		to := file(t)
		if err := Copy(t.Context(), from, to); err != nil {
			t.Fatal(err)
		}
		if got := homes(t, open(t, to, Options{})); !reflect.DeepEqual(got, want) {
			t.Errorf("the copy has homes %v, want %v", got, want)
		}
		if err := Copy(t.Context(), from, to); err == nil {
			t.Error("a copy was made over another one")
		}
	}
	copied(path)
	if err := add(db, 4); err != nil {
		t.Fatal(err) // it is still good for writing
	}
	want = append(want, 4)

	// What a crash leaves: all that is in the log is nowhere else yet.
	left := filepath.Join(t.TempDir(), "p.db")
	if err := os.CopyFS(filepath.Dir(left), os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(left + "-shm"); err != nil {
		t.Fatal(err)
	}
	before := contents(t, filepath.Dir(left))
	copied(left)
	if after := contents(t, filepath.Dir(left)); !reflect.DeepEqual(before, after) {
		t.Error("copying changed what was copied")
	}

	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	before = contents(t, dir)
	copied(path)
	if after := contents(t, dir); !reflect.DeepEqual(before, after) {
		t.Error("copying changed what was copied")
	}

	if err := Copy(t.Context(), file(t), file(t)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a copy of nothing: %v", err)
	}
}

// contents are the files of a folder.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		raw, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = string(raw)
	}
	return all
}

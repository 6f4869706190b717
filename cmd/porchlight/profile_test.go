package main

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A profile takes the place of nothing, and one that fails leaves nothing.
func TestProfileOut(t *testing.T) {
	dir := t.TempDir()
	data, out := filepath.Join(dir, "data"), filepath.Join(dir, "out")
	_, stop := start(t, data, io.Discard)
	defer stop()
	tests := map[string]struct {
		made func() error
		args []string
		want string
		mode fs.FileMode // of what is there afterwards; 0: nothing
	}{
		"a file":        {func() error { return os.WriteFile(out, []byte("mine"), 0o640) }, nil, "out: file exists: choose another name, or remove it", 0o640},
		"a link":        {func() error { return os.Symlink("away", out) }, nil, "out: file exists", fs.ModeSymlink | 0o777},
		"a pipe":        {func() error { return syscall.Mkfifo(out, 0o600) }, nil, "out: file exists", fs.ModeNamedPipe | 0o600},
		"what is wrong": {func() error { return nil }, []string{"--seconds", "3"}, "seconds is for kinds that last", 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if err := test.made(); err != nil {
				t.Fatal(err)
			}
			defer os.Remove(out)
			var said strings.Builder
			args := append([]string{"--data", data, "profile", "heap", "--out", out}, test.args...)
			if status := run(t.Context(), args, strings.NewReader(""), io.Discard, &said); status != 1 || !strings.Contains(said.String(), test.want) {
				t.Errorf("status %d, %q; want 1, %q", status, said.String(), test.want)
			}
			fi, err := os.Lstat(out)
			if test.mode == 0 && err == nil || test.mode != 0 && (err != nil || fi.Mode() != test.mode || fi.Mode()&fs.ModeNamedPipe == 0 && fi.Size() != 4) {
				t.Errorf("there is %v, %v; want mode %v", fi, err, test.mode)
			}
		})
	}
}

package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Copy makes a copy of the file at path, and of its keys, at to, where nothing may be yet: all that was
// committed when it began. It may be open elsewhere; nothing of it is changed.
func Copy(ctx context.Context, path, to string) error {
	err := copyAll(ctx, path, to)
	if err != nil {
		return fmt.Errorf("copy database %s: %w", path, err)
	}
	return nil
}

func copyAll(ctx context.Context, path, to string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	if _, err := os.Stat(path); err != nil {
		return err
	}
	free, err := alone(path)
	if err != nil {
		return err
	}
	if free != nil {
		// Nobody has it open: what its last user left beside it belongs to it.
		defer free.Close()
		for _, name := range []string{"", "-wal", "-journal"} {
			for _, file := range []func(string) string{func(p string) string { return p }, keysPath} {
				if err := copyFile(file(path)+name, file(to)+name); err != nil && !(errors.Is(err, fs.ErrNotExist) && (name != "" || file(path) != path)) {
					return err
				}
			}
		}
		return nil
	}
	// The keys come second: a key is on disk before what it seals.
	for _, file := range []func(string) string{func(p string) string { return p }, keysPath} {
		if _, err := os.Stat(file(path)); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := vacuumInto(ctx, looking(file(path), "_busy_timeout="+busyTimeout(0)), file(to), nil); err != nil {
			return err
		}
	}
	return nil
}

// alone takes the lock on the file at path for reading; nil: somebody has it open for writing.
func alone(path string) (*os.File, error) {
	f, err := os.Open(path + ".lock")
	if err != nil {
		return nil, err
	}
	if err = syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); err == nil {
		return f, nil
	}
	f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, nil
	}
	return nil, err
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

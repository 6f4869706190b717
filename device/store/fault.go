package store

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/mattn/go-sqlite3"
)

// fault gives an error of SQLite the sentinel it belongs to and notes whether the transaction died of it.
func (c *conn) fault(err error) error {
	if err == nil {
		return nil
	}
	err = fault(c.path, err)
	if c.dead == nil && c.began && c.c.AutoCommit() {
		c.dead = err
	}
	return err
}

// fault turns an error of SQLite or of the file system about the database at path into ours: it
// names the file and says what to do. An error about one statement alone stays what it is.
func fault(path string, err error) error {
	var se sqlite3.Error
	var errno syscall.Errno
	switch {
	case err == nil, ours(err):
		return err
	case errors.As(err, &se):
		errno = se.SystemErrno
		switch se.Code {
		case sqlite3.ErrFull:
			return full(path, err)
		case sqlite3.ErrReadonly, sqlite3.ErrPerm:
			return readOnly(path, err)
		case sqlite3.ErrBusy, sqlite3.ErrProtocol:
			return fmt.Errorf("%s: %w (%w): end the program that holds it, or wait", path, ErrBusy, err)
		case sqlite3.ErrCorrupt, sqlite3.ErrNotADB:
			return corrupt(path, err)
		case sqlite3.ErrIoErr, sqlite3.ErrCantOpen, sqlite3.ErrNomem:
			switch {
			case se.ExtendedCode == sqlite3.ErrIoErrShortRead:
				return corrupt(path, err)
			case se.Code == sqlite3.ErrCantOpen && readOnlyDisk(path):
				return readOnly(path, err)
			}
		default:
			return err
		}
	case errors.As(err, &errno):
	default:
		return err
	}
	switch errno {
	case syscall.ENOSPC, syscall.EDQUOT:
		return full(path, err)
	case syscall.EROFS, syscall.EACCES, syscall.EPERM:
		return readOnly(path, err)
	case syscall.ENOENT:
		return fmt.Errorf("%s: %w: %w", path, fs.ErrNotExist, err)
	}
	return fmt.Errorf("%s: %w (%w): look at the disk and its cables, then at the system's log", path, ErrFailed, err)
}

func full(path string, err error) error {
	return fmt.Errorf("%s: %w (%w): free some space on its disk: a gateway that runs then goes on by itself, and anything else is to be done again", path, ErrFull, err)
}

func readOnly(path string, err error) error {
	return fmt.Errorf("%s: %w (%w): give this user the right to write the file and its folder, on a file system mounted for writing", path, ErrReadOnly, err)
}

func corrupt(path string, err error) error {
	return fmt.Errorf("%s: %w (%w): keep the file aside and put back a backup", path, ErrCorrupt, err)
}

// ours reports whether err already has one of this package's sentinels.
func ours(err error) bool {
	for _, s := range []error{ErrMoved, ErrFull, ErrBusy, ErrCorrupt, ErrReadOnly, ErrNewer, ErrClosed, ErrFailed} {
		if errors.Is(err, s) {
			return true
		}
	}
	return false
}

// standing reports whether err says that the file as a whole cannot be written.
func standing(err error) bool {
	return err != nil && ours(err) && !errors.Is(err, ErrMoved) && !errors.Is(err, ErrClosed)
}

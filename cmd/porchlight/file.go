package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"porchlight/device"
)

// cannotRead says of a file, or a folder, that somebody has named why it cannot be read, and what to do about it. An
// error that is no file's, and none, stays as it is.
func cannotRead(path string, err error) error {
	fix := ""
	switch {
	case errors.Is(err, fs.ErrNotExist):
		fix = missing(path)
	case errors.Is(err, fs.ErrPermission):
		fix = "run this as a user who may read it"
	case errors.Is(err, syscall.EISDIR):
		fix = "name a file in it"
	case errors.Is(err, syscall.ENOTDIR):
		fix = "a file stands where its path names a folder"
	}
	return fileError(path, err, fix)
}

// cannotWrite is cannotRead for what cannot be made, or written into.
func cannotWrite(path string, err error) error {
	fix := ""
	switch folder := filepath.Dir(path); {
	case errors.Is(err, fs.ErrNotExist):
		fix = fmt.Sprintf("there is no folder %s: make it first, or name another", folder)
	case errors.Is(err, fs.ErrExist):
		fix = "choose another name, or remove it"
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		fix = "choose another place, or run this as a user who may write there"
	case errors.Is(err, syscall.EISDIR):
		fix = "name a file in it"
	case errors.Is(err, syscall.ENOTDIR):
		fix = "a file stands where its path names a folder"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		fix = "make room on the disk, or choose another"
	}
	return fileError(path, err, fix)
}

func fileError(path string, err error, fix string) error {
	var cause error
	var at *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &at):
		cause = at.Err
	case errors.As(err, &link):
		cause = link.Err
	default:
		return err
	}
	if fix != "" {
		fix = ": " + fix
	}
	return fmt.Errorf("%s: %w%s", path, cause, fix)
}

// hasData fails if there is no gateway's data in a folder.
func hasData(folder string) error {
	path := filepath.Join(folder, databaseFile)
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := cutShort(folder); err != nil {
			return err
		}
		return fmt.Errorf("there is no gateway's data in %s: name its folder with --data", folder)
	}
	return cannotRead(path, err)
}

// missing says where a file that is not there may be.
func missing(path string) string {
	folder, name := filepath.Split(path)
	entries, err := os.ReadDir(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Sprintf("there is no folder %s", filepath.Dir(path))
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if near := device.Nearest(name, names); near != "" {
		return "did you mean " + folder + near + "?"
	}
	if here, err := os.Getwd(); err == nil && !filepath.IsAbs(path) {
		return "it was looked for in " + filepath.Join(here, folder)
	}
	return "check its name"
}

// openFile opens a file that somebody has named, to be read.
func openFile(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err == nil {
		var fi fs.FileInfo
		if fi, err = f.Stat(); err == nil && fi.IsDir() { // which opens, and cannot be read
			err = &fs.PathError{Op: "read", Path: path, Err: syscall.EISDIR}
		}
		if err != nil {
			f.Close()
		}
	}
	if err != nil {
		return nil, cannotRead(path, err)
	}
	return f, nil
}

// readNamed reads a file that somebody has named.
func readNamed(path string) ([]byte, error) {
	raw, err := os.ReadFile(path)
	return raw, cannotRead(path, err)
}

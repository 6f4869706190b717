//go:build !linux

package store

import "os"

// syncSlowly has a file on disk.
func syncSlowly(f *os.File) error { return f.Sync() }

// scarce is not known here.
func scarce(*os.File, int64) bool { return false }

// modest is nothing here.
func modest() {}

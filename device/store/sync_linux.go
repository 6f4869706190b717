package store

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncSlowly has a file on disk, a part after the other, so that others who sync meanwhile wait for a part at most:
// thousands of pages all over a file take a disk many milliseconds, and every commit is such another.
func syncSlowly(f *os.File) error {
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	const part = 256 << 10 // bytes
	const now = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
	for at := int64(0); err == nil && at < fi.Size(); at += part {
		err = unix.SyncFileRange(int(f.Fd()), at, part, now) // not every file system has it
	}
	return f.Sync()
}

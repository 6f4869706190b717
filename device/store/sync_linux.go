package store

import (
	"os"
	"runtime"

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
	for at := int64(0); at < fi.Size(); at += part {
		switch err := unix.SyncFileRange(int(f.Fd()), at, part, now); err {
		case nil:
		case unix.ENOSYS, unix.EINVAL, unix.EOPNOTSUPP, unix.ESPIPE: // not every file system has it
			return f.Sync()
		default:
			return err // fsync would not tell it again
		}
	}
	return f.Sync()
}

// modest has the calling goroutine keep its thread, which gives way to all others where there is more to do than there are
// cores. It is for goroutines that do nothing else until they end.
func modest() {
	runtime.LockOSThread()
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), 10) // without it others wait a little longer
}

// scarce reports whether f's file system has less than so many bytes to spare.
func scarce(f *os.File, bytes int64) bool {
	var s unix.Statfs_t
	return unix.Fstatfs(int(f.Fd()), &s) == nil && int64(s.Bavail)*int64(s.Bsize) < bytes
}

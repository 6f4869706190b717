//go:build torture

package main

import (
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"porchlight/device"
)

// A gateway built with the tag torture has people's time from the system's clock and what a file says to add to
// it: PORCHLIGHT_TORTURE_CLOCK names the file, 8 bytes in the machine's order, ms. It can be changed while the
// gateway runs.
func init() {
	path := os.Getenv("PORCHLIGHT_TORTURE_CLOCK")
	if path == "" {
		return
	}
	f, err := os.Open(path)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	raw, err := syscall.Mmap(int(f.Fd()), 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		panic(err)
	}
	offset := (*int64)(unsafe.Pointer(&raw[0]))
	peoplesTime = func() device.Instant {
		return device.At(time.Now().Add(time.Duration(atomic.LoadInt64(offset)) * time.Millisecond))
	}
}

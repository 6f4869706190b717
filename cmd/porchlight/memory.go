package main

import (
	"math"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
)

// collectAt is how much the heap may grow, in percent of what was alive, before the collector runs: a gateway's
// heap is small beside what passes through it. Measured in cmd/porchlight-bench/WORK.md.
const collectAt = 400

// tuneCollector sets the collector as a gateway wants it, but for what GOGC and GOMEMLIMIT say: seldom, and often enough to stay
// below half of the memory that there is. Near that limit brands are told to come again (delivery.Room).
func tuneCollector() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectAt)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit(os.ReadFile))
	}
}

// memoryLimit is half of what the machine has, or of what the control group may use, in bytes; without an
// answer as good as none.
func memoryLimit(read func(string) ([]byte, error)) int64 {
	most := int64(math.MaxInt64)
	if raw, err := read("/proc/meminfo"); err == nil {
		for line := range strings.Lines(string(raw)) {
			if f := strings.Fields(line); len(f) == 3 && f[0] == "MemTotal:" {
				if kb, err := strconv.ParseInt(f[1], 10, 64); err == nil {
					most = min(most, kb<<10)
				}
			}
		}
	}
	if raw, err := read("/sys/fs/cgroup/memory.max"); err == nil {
		if n, err := strconv.ParseInt(strings.TrimSpace(string(raw)), 10, 64); err == nil {
			most = min(most, n)
		}
	}
	if most == math.MaxInt64 {
		return most
	}
	return most / 2
}

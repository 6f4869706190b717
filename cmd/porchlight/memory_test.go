package main

import (
	"math"
	"os"
	"testing"
)

func TestMemoryLimit(t *testing.T) {
	tests := map[string]struct {
		files map[string]string
		want  int64
	}{
		"a machine":           {map[string]string{"/proc/meminfo": "MemTotal:        2097152 kB\nMemFree: 1 kB\n"}, 1 << 30},
		"in a control group":  {map[string]string{"/proc/meminfo": "MemTotal:        2097152 kB\n", "/sys/fs/cgroup/memory.max": "536870912\n"}, 1 << 28},
		"a group without end": {map[string]string{"/proc/meminfo": "MemTotal:        2097152 kB\n", "/sys/fs/cgroup/memory.max": "max\n"}, 1 << 30},
		"nobody knows":        {nil, math.MaxInt64},
	}
	for name, test := range tests {
		got := memoryLimit(func(path string) ([]byte, error) {
			if s, ok := test.files[path]; ok {
				return []byte(s), nil
			}
			return nil, os.ErrNotExist
		})
		if got != test.want {
			t.Errorf("%s: %d bytes, want %d", name, got, test.want)
		}
	}
}

package store

import (
	"sync"
	"sync/atomic"
	"testing"

	"porchlight/device"
)

// load appends n homes from callers goroutines.
func load(b *testing.B, db *DB, callers int, n int64, last *atomic.Int64) {
	var left atomic.Int64
	left.Store(n)
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := add(db, device.HomeID(last.Add(1))); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func benchmark(b *testing.B, callers int) {
	db := open(b, file(b), Options{})
	var last atomic.Int64
	load(b, db, callers, 100, &last)
	b.ReportAllocs()
	b.ResetTimer()
	load(b, db, callers, int64(b.N), &last)
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "units/s")
	s := db.Stats()
	b.ReportMetric(float64(s.Units)/float64(s.Commits), "units/commit")
}

func BenchmarkUpdate1(b *testing.B)  { benchmark(b, 1) }
func BenchmarkUpdate64(b *testing.B) { benchmark(b, 64) }

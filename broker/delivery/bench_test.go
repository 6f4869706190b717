package delivery

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/policy"
)

// bench is a hall on a real database in real time.
func bench(b *testing.B) (*Desk, []registry.Brand) {
	b.Helper()
	db, err := store.Open(context.Background(), filepath.Join(b.TempDir(), "p.db"), store.Options{Project: Project, Clear: Clear})
	if err != nil {
		b.Fatal(err)
	}
	desk, err := NewDesk(db, Options{}, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- NewCourier(desk).Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
		if err := db.Close(); err != nil {
			b.Error(err)
		}
	})
	var brands []registry.Brand
	for i := range 64 {
		brand := registry.Brand{ID: device.BrandID(fmt.Sprint("brand-", i)), Name: fmt.Sprint("Grocer ", i), Purposes: []string{"marketing"}, Quota: 1 << 30}
		if _, err := desk.AddBrand(context.Background(), brand); err != nil {
			b.Fatal(err)
		}
		brands = append(brands, brand)
	}
	return desk, brands
}

var keys atomic.Int64

func pushOne(desk *Desk, brand registry.Brand) error {
	n := keys.Add(1)
	_, err := desk.Accept(context.Background(), brand, fmt.Sprint("k", n), Submission{
		Purpose: policy.Marketing, Category: "groceries", Texts: []SubmissionText{{Language: "en", Body: "Milk is fresh today."}}, NotAfter: time.Now().Add(2 * time.Second), // as many stay in force as a busy gateway has
	})
	return err
}

// BenchmarkPush is how many messages a second are accepted and on disk: one at a time, by 64 at
// the same time, and how many times the first the second is, in turns in one run.
func BenchmarkPush(b *testing.B) {
	desk, brands := bench(b)
	// Half a second of each, in turns, so that what else the machine does falls on both.
	rate := func(callers int) float64 {
		var n atomic.Int64
		var wg sync.WaitGroup
		began := time.Now()
		for i := range callers {
			wg.Go(func() {
				for time.Since(began) < 500*time.Millisecond {
					if err := pushOne(desk, brands[i]); err != nil {
						b.Error(err)
						return
					}
					n.Add(1)
				}
			})
		}
		wg.Wait()
		return float64(n.Load()) / time.Since(began).Seconds()
	}
	var ones, many, ratios []float64
	for b.Loop() {
		one, all := rate(1), rate(64)
		ones, many, ratios = append(ones, one), append(many, all), append(ratios, all/one)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(ones), "alone/s")
	b.ReportMetric(median(many), "64-brands/s")
	b.ReportMetric(median(ratios), "x")
}

func median(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}

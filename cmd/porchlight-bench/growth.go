package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

func init() { parts = append(parts, part{"growth", growth}) }

var keepTown = flag.String("keep", "", "growth: folder where the large database is kept from one run to the next; empty: it is made anew")

// growth measures what more homes cost: to start with them, to keep them, to serve them.
func growth(ctx context.Context, s setting) ([]figure, error) {
	var all []figure
	for _, of := range []func(context.Context, setting) ([]figure, error){growthStart, growthSize, growthServe} {
		figures, err := of(ctx, s)
		all = append(all, figures...)
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

// growthStart is how long the gateway takes from exec until it answers that it is ready, and until a device has
// logged in, said what it is, and has its first beacon, with databases of more and more homes. Each database is
// started once with nothing of it in the machine's page cache, and once again.
func growthStart(ctx context.Context, s setting) (all []figure, err error) {
	sizes := []int{1000, 10_000, 100_000}
	if s.small {
		sizes = []int{100, 1000}
	}
	data := filepath.Join(s.folder, "town")
	if *keepTown != "" {
		data = *keepTown
	}
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, err
	}
	for _, homes := range sizes {
		had, err := raise(ctx, s, data, homes)
		if err != nil {
			return all, fmt.Errorf("make %d homes: %w", homes, err)
		}
		if had > homes {
			continue // it was kept, and has grown beyond
		}
		what := fmt.Sprintf("%d homes and %d devices on disk", homes, townDevices*homes)
		for _, cache := range []string{"none of it in the page cache", "all of it in the page cache"} {
			var ready, beacon []float64
			for range 3 {
				if cache == "none of it in the page cache" {
					if err := forgetPages(data); err != nil {
						return all, err
					}
				}
				g, took, err := openGateway(ctx, s, data)
				if err != nil {
					return all, err
				}
				ready = append(ready, float64(took.Microseconds())/1000)
				began := time.Now()
				if err = firstBeacon(g.plain, homes/2); err == nil {
					beacon = append(beacon, float64((took+time.Since(began)).Microseconds())/1000)
				}
				g.stop()
				if err != nil {
					return all, fmt.Errorf("device of home %d: %w", homes/2, err)
				}
			}
			all = append(all, alone("start, exec to ready, "+what+", "+cache, "ms", median(ready)),
				alone("the same until a device has its first beacon", "ms", median(beacon)))
		}
		size, err := sizeOf(data)
		if err != nil {
			return all, err
		}
		all = append(all, alone("database of "+what, "MB", float64(size)/1e6))
	}
	return all, nil
}

// raise makes a town of so many homes of what is in a folder, and returns how many it has then.
func raise(ctx context.Context, s setting, data string, homes int) (had int, err error) {
	t, err := openTown(ctx, data)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, t.db.Close()) }()
	if t.homes == 0 {
		const month = 40 * 24 * time.Hour
		scale := 1
		if s.small {
			scale = 100
		}
		t.clock.Add(-month.Milliseconds())
		if err := t.brands(ctx); err != nil {
			return 0, err
		}
		if err := t.push(ctx, townForce*townFormer/scale, time.Hour); err != nil {
			return 0, err
		}
		t.clock.Add(month.Milliseconds())
		if err := t.push(ctx, townForce/scale, 20*24*time.Hour); err != nil {
			return 0, err
		}
	}
	s.say("%d homes are to be in the database, %d are", homes, t.homes)
	return max(t.homes, homes), t.grow(homes, s.say)
}

// forgetPages takes the files of a folder out of the machine's page cache.
func forgetPages(folder string) error {
	return filepath.WalkDir(folder, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := f.Sync(); err != nil { // what is not on disk yet stays in the cache
			return err
		}
		return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	})
}

// sizeOf is what the database and its keys take on disk.
func sizeOf(data string) (n int64, err error) {
	for _, name := range []string{"porchlight.db", "porchlight.db-wal", "porchlight.db.keys"} {
		fi, err := os.Stat(filepath.Join(data, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, err
		}
		n += fi.Size()
	}
	return n, nil
}

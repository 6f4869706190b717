package store

import (
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"porchlight/device"
	"porchlight/device/ledger"
)

// push is a unit like a brand's push: one event in the gateway's book, whose projection is a look-up by
// a unique key and one row.
func push(db *DB, n int64) error {
	return db.Update(func(tx *Tx) error {
		head, err := tx.Head(device.Gateway)
		if err != nil {
			return err
		}
		_, err = tx.Append(device.Gateway, head, "brand.added", brandAdded{fmt.Sprintf("brand-%d", n), "Brand"})
		return err
	})
}

type brandAdded struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

func projectBrand(tx *Apply, e Event) error {
	var b brandAdded
	if err := json.Unmarshal(e.Body, &b); err != nil {
		return err
	}
	var taken bool
	if err := tx.QueryRow("SELECT EXISTS (SELECT 1 FROM brand WHERE id = ?)", b.ID).Scan(&taken); err != nil {
		return err
	}
	if taken {
		return errTaken
	}
	return tx.Exec("INSERT INTO brand (id, name, purposes, quota) VALUES (?, ?, '[]', 1)", b.ID, b.Name)
}

// load pushes n times from callers goroutines.
func load(b *testing.B, db *DB, callers int, n int64, last *atomic.Int64) {
	var left atomic.Int64
	left.Store(n)
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := push(db, last.Add(1)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func benchmark(b *testing.B, callers int) {
	db := open(b, file(b), Options{Project: projectBrand})
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

// BenchmarkGroupCommit is the rate of 64 callers over that of one, in one run, taken in turns because a
// disk's speed wanders.
func BenchmarkGroupCommit(b *testing.B) {
	db := open(b, file(b), Options{Project: projectBrand})
	var last atomic.Int64
	load(b, db, 64, 1000, &last)
	var one, many time.Duration
	var ones, manys int64
	b.ResetTimer()
	for range b.N {
		start := time.Now()
		load(b, db, 1, 50, &last)
		one, ones = one+time.Since(start), ones+50
		start = time.Now()
		load(b, db, 64, 1000, &last)
		many, manys = many+time.Since(start), manys+1000
	}
	b.StopTimer()
	rate1, rate64 := float64(ones)/one.Seconds(), float64(manys)/many.Seconds()
	b.ReportMetric(rate1, "units/s-1")
	b.ReportMetric(rate64, "units/s-64")
	b.ReportMetric(rate64/rate1, "x")
}

// BenchmarkUpdateHome64 is what a unit costs whose event is a home's: sealed, and with a leaf.
func BenchmarkUpdateHome64(b *testing.B) {
	db := open(b, file(b), Options{Project: projectHouse})
	const homes = 100
	for home := device.HomeID(1); home <= homes; home++ {
		furnish(b, db, home)
	}
	var next atomic.Int64
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for {
				n := next.Add(1)
				if n > int64(b.N) {
					return
				}
				err := db.Update(func(tx *Tx) error {
					_, err := tx.Add(device.HomeID(n%homes+1), "note.written", note{Person: device.PersonID(n % 3), Name: fmt.Sprint("n", n%7), Text: "a note"})
					return err
				})
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "units/s")
}

// BenchmarkHead is the head of a log of 10,000 entries, and its signature.
func BenchmarkHead(b *testing.B) {
	db := open(b, file(b), Options{Project: func(*Apply, Event) error { return nil }})
	for range 20 {
		var facts []any
		for i := range 500 {
			facts = append(facts, note{Name: "n", Text: fmt.Sprint(i)})
		}
		write(b, db, 1, "", facts...)
	}
	b.ResetTimer()
	for range b.N {
		head, err := db.Head(b.Context(), 1)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := db.Sign(1, ledger.HeadType, head.Payload()); err != nil {
			b.Fatal(err)
		}
	}
}

package store

import (
	"math"
	"slices"
	"sync/atomic"
)

// Histogram is how often a value was how large.
type Histogram struct {
	Bounds []float64 // ascending; not to be changed
	Counts []uint64  // of values up to each bound, and above the one before it
	Above  uint64    // values above the last bound
	Sum    float64   // of all values
}

// Count is how many values there were.
func (h Histogram) Count() uint64 {
	n := h.Above
	for _, each := range h.Counts {
		n += each
	}
	return n
}

// The bounds of what the writer measures: seconds that a commit takes, and units that share one.
var (
	commitBounds = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	unitBounds   = []float64{1, 2, 4, 8, 16, 32, 64, 128, 256, 512}
)

// measure is a histogram that one goroutine adds to while others read it.
type measure struct {
	bounds []float64
	counts []atomic.Uint64 // one more than bounds
	sum    atomic.Uint64   // the bits of a float64
}

func newMeasure(bounds []float64) measure {
	return measure{bounds: bounds, counts: make([]atomic.Uint64, len(bounds)+1)}
}

// add adds a value. Only one goroutine may.
func (m *measure) add(v float64) {
	i, _ := slices.BinarySearch(m.bounds, v)
	m.counts[i].Add(1)
	m.sum.Store(math.Float64bits(math.Float64frombits(m.sum.Load()) + v))
}

func (m *measure) read() Histogram {
	h := Histogram{Bounds: m.bounds, Counts: make([]uint64, len(m.bounds)), Sum: math.Float64frombits(m.sum.Load())}
	for i := range h.Counts {
		h.Counts[i] = m.counts[i].Load()
	}
	h.Above = m.counts[len(m.bounds)].Load()
	return h
}

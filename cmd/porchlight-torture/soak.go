//go:build linux

package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// sample is what is measured at one time.
type sample struct {
	at       time.Duration // since the steady load began
	values   []float64     // one for each of series
	contexts float64       // acknowledged, a second
}

// series are what is measured, and by how much of its mean it may grow from the first sample that counts to the last.
var series = []struct {
	name, unit string
	metric     string // of the gateway; "": a percentile of how long an acknowledgement took
	percentile float64
	scale      float64
	tolerance  float64
}{
	{"memory, resident", "MB", "process_resident_memory_bytes", 0, 1e-6, 0.10},
	{"heap in use", "MB", "go_memstats_heap_inuse_bytes", 0, 1e-6, 0.10},
	{"goroutines", "", "go_goroutines", 0, 1, 0.05},
	{"file descriptors", "", "process_open_fds", 0, 1, 0.05},
	{"acknowledgement, p50", "ms", "", 0.50, 1, 0.25},
	{"acknowledgement, p99", "ms", "", 0.99, 1, 0.50},
}

// settling is the part of the steady load whose samples do not count: caches fill.
const settling = 0.25

func soakCommand(ctx context.Context, args []string, out, errs io.Writer) error {
	var o options
	f := common("porchlight-torture soak", &o)
	f.SetOutput(errs)
	f.DurationVar(&o.length, "for", time.Hour, "how long the steady load lasts")
	every := f.Duration("every", 10*time.Second, "between two samples")
	peak := f.Duration("peak", time.Minute, "how long the peak is measured first")
	svg := f.String("svg", "build/soak.svg", "where the picture goes; empty: nowhere")
	share := "half"
	f.Lookup("rate").Usage = "contexts a second, or half: half of the peak"
	f.Lookup("rate").DefValue = share
	f.Lookup("rate").Value = (*word)(&share)
	if err := f.Parse(args); err != nil {
		return err
	}
	if share != "half" {
		n, err := strconv.ParseInt(share, 10, 64)
		if err != nil || n <= 0 {
			return fmt.Errorf("rate %q is neither half nor a number", share)
		}
		o.rate = n
	} else {
		o.rate = 0
	}
	s, err := soak(ctx, o, *peak, *every, errs)
	if err != nil {
		return err
	}
	s.print(out)
	if *svg != "" {
		err = errors.Join(os.MkdirAll(filepath.Dir(*svg), 0o755), os.WriteFile(*svg, s.picture(), 0o644))
	}
	return errors.Join(err, s.verdict())
}

type word string

func (w *word) String() string     { return string(*w) }
func (w *word) Set(s string) error { *w = word(s); return nil }

// soaked is what came of a soak.
type soaked struct {
	seed    uint64
	peak    float64 // contexts a second
	rate    int64
	length  time.Duration
	samples []sample
	shown   int64
	ops     int64
	wrong   []string
}

// soak is a steady load without faults. Every home wants one message a minute at most, as homes do not
// forget in a month what they were shown, and so many in so short a time would be no steady state.
func soak(ctx context.Context, o options, peak, every time.Duration, say io.Writer) (_ *soaked, err error) {
	o.seed = cmp.Or(o.seed, rand.Uint64())
	if o.dir, err = os.MkdirTemp(o.dir, "soak-"); err != nil {
		return nil, err
	}
	defer os.RemoveAll(o.dir)
	o.size.calm = true
	given := o.rate
	o.rate = 1 << 30
	w, err := open(ctx, o, true)
	if err != nil {
		return nil, err
	}
	defer w.close()
	w.pace = 5 * time.Second
	living, die := context.WithCancel(ctx)
	var world, load sync.WaitGroup
	defer world.Wait()
	defer load.Wait()
	defer die()
	w.live(living, &load, &world, living)
	s := &soaked{seed: o.seed, length: o.length}
	contexts := func() int64 {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.kinds["contexts"]
	}
	sleep(ctx, peak/3) // everybody comes
	from, began := contexts(), time.Now()
	sleep(ctx, peak-peak/3)
	s.peak = float64(contexts()-from) / time.Since(began).Seconds()
	if s.rate = given; s.rate == 0 {
		s.rate = max(1, int64(s.peak/2))
	}
	w.rate.Store(s.rate)
	fmt.Fprintf(say, "seed %d: at its peak %.0f contexts a second; now %d for %s\n", o.seed, s.peak, s.rate, o.length)
	start := time.Now()
	for ctx.Err() == nil && time.Since(start) < o.length {
		w.mu.Lock()
		w.latency = w.latency[:0]
		w.mu.Unlock()
		from, began := contexts(), time.Now()
		sleep(ctx, every)
		one, err := w.sample(ctx)
		if err != nil {
			return nil, err
		}
		one.at, one.contexts = time.Since(start), float64(contexts()-from)/time.Since(began).Seconds()
		s.samples = append(s.samples, one)
	}
	s.shown, s.ops = w.others["shown"], w.ops.Load()
	for _, err := range w.errs {
		s.wrong = append(s.wrong, err.Error())
	}
	s.wrong = append(append(s.wrong, w.gateway.crashes...), w.gateway.said()...)
	return s, ctx.Err()
}

// sample measures once.
func (w *world) sample(ctx context.Context) (one sample, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.gateway.addr(3)+"/metrics", nil)
	if err != nil {
		return one, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return one, err
	}
	defer resp.Body.Close()
	have := map[string]float64{}
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), " "); ok {
			have[name], _ = strconv.ParseFloat(value, 64) // comments have none
		}
	}
	w.mu.Lock()
	took := slices.Sorted(slices.Values(w.latency))
	w.mu.Unlock()
	for _, s := range series {
		v := have[s.metric]
		if s.metric == "" && len(took) > 0 {
			v = float64(took[int(s.percentile*float64(len(took)-1))]) / float64(time.Millisecond)
		}
		if v == 0 {
			return one, fmt.Errorf("the gateway does not tell %s", cmp.Or(s.metric, s.name))
		}
		one.values = append(one.values, v*cmp.Or(s.scale, 1))
	}
	return one, nil
}

// trend is a line through the samples that count, by least squares.
type trend struct {
	mean   float64
	growth float64 // from the first to the last of them, as a share of the mean
	doubt  float64 // twice the standard error of growth
}

// trend of a series.
func (s *soaked) trend(i int) (t trend) {
	var x, y []float64
	for _, one := range s.samples {
		if one.at >= time.Duration(settling*float64(s.length)) {
			x, y = append(x, one.at.Seconds()), append(y, one.values[i])
		}
	}
	n := float64(len(x))
	if n < 3 {
		return t
	}
	var mx, my, sxx, sxy, rest float64
	for k := range x {
		mx, my = mx+x[k]/n, my+y[k]/n
	}
	for k := range x {
		sxx, sxy = sxx+(x[k]-mx)*(x[k]-mx), sxy+(x[k]-mx)*(y[k]-my)
	}
	slope := sxy / sxx
	for k := range x {
		d := y[k] - my - slope*(x[k]-mx)
		rest += d * d
	}
	span := x[len(x)-1] - x[0]
	return trend{my, slope * span / my, 2 * math.Sqrt(rest/(n-2)/sxx) * span / my}
}

// judge says whether a series grows by more than its tolerance, as far as its noise lets anybody tell.
func (t trend) judge(tolerance float64) string {
	switch {
	case t.growth+t.doubt <= tolerance:
		return flat
	case t.growth > tolerance && t.growth > t.doubt:
		return "NOT FLAT"
	}
	return "CANNOT TELL: run it longer"
}

const flat = "flat"

func (s *soaked) verdict() error {
	for i, one := range series {
		if t := s.trend(i); t.judge(one.tolerance) != flat {
			return fmt.Errorf("%s: %s: it grows by %.1f %% (± %.1f), and %.0f %% are allowed", one.name, strings.ToLower(t.judge(one.tolerance)), 100*t.growth, 100*t.doubt, 100*one.tolerance)
		}
	}
	if len(s.wrong) > 0 {
		return fmt.Errorf("everything is flat, but %s", s.wrong[0])
	}
	return nil
}

func (s *soaked) print(out io.Writer) {
	fmt.Fprintf(out, "seed %d: %s at %d contexts a second (peak %.0f), %d operations, %d messages shown\n\n", s.seed, s.length, s.rate, s.peak, s.ops, s.shown)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "AT\tCONTEXTS/S\t")
	for _, one := range series {
		fmt.Fprintf(t, "%s\t", strings.ToUpper(strings.TrimSpace(one.name+" "+one.unit)))
	}
	fmt.Fprintln(t)
	step := max(1, len(s.samples)/40)
	for i := 0; i < len(s.samples); i += step {
		fmt.Fprintf(t, "%s\t%.0f\t", s.samples[i].at.Round(time.Second), s.samples[i].contexts)
		for _, v := range s.samples[i].values {
			fmt.Fprintf(t, "%.2f\t", v)
		}
		fmt.Fprintln(t)
	}
	_ = t.Flush() // a terminal that is gone is no reason to end
	fmt.Fprintf(out, "\nfrom %.0f %% of the time on, by a line of least squares:\n", 100*settling)
	for i, one := range series {
		tr := s.trend(i)
		fmt.Fprintf(out, "  %-22s mean %8.2f %-2s grows by %+6.1f %% ± %.1f, allowed %.0f %%: %s\n", one.name, tr.mean, one.unit, 100*tr.growth, 100*tr.doubt, 100*one.tolerance, tr.judge(one.tolerance))
	}
	for _, w := range s.wrong {
		fmt.Fprintln(out, "  beside:", w)
	}
}

// picture draws all series over time.
func (s *soaked) picture() []byte {
	const wide, high, left, top, gap = 860, 110, 70, 30, 40
	var b strings.Builder
	total := top + len(series)*(high+gap)
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", wide+2*left, total)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="white"/><text x="%d" y="18">%s at %d contexts a second, half of the peak being %.0f</text>`+"\n", left, s.length, s.rate, s.peak/2)
	for i, one := range series {
		y0, most := float64(top+i*(high+gap)+18), 0.0
		for _, x := range s.samples {
			most = max(most, x.values[i])
		}
		most *= 1.15
		fmt.Fprintf(&b, `<text x="%d" y="%.0f">%s</text><rect x="%d" y="%.0f" width="%d" height="%d" fill="none" stroke="#ccc"/>`+"\n", left, y0-5, strings.TrimSpace(one.name+", "+one.unit), left, y0, wide, high)
		fmt.Fprintf(&b, `<text x="%d" y="%.0f" text-anchor="end">%.4g</text><text x="%d" y="%.0f" text-anchor="end">0</text>`+"\n", left-6, y0+10, most, left-6, y0+high)
		var points []string
		for _, x := range s.samples {
			points = append(points, fmt.Sprintf("%.1f,%.1f", left+wide*x.at.Seconds()/max(s.length.Seconds(), 1), y0+high-high*x.values[i]/max(most, 1e-9)))
		}
		fmt.Fprintf(&b, `<polyline points="%s" fill="none" stroke="#06c" stroke-width="1.5"/>`+"\n", strings.Join(points, " "))
	}
	b.WriteString("</svg>\n")
	return []byte(b.String())
}

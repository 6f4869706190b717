package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"porchlight/device"
	"porchlight/device/store"
)

// counters are the door's own. No label names a brand, a home or an address.
type counters struct {
	requests    *prometheus.CounterVec
	seconds     *prometheus.HistogramVec
	faults      prometheus.Counter // has no labels: an alert sees the first of a counter that was there before
	limited     prometheus.Counter
	answering   prometheus.Gauge
	connections *prometheus.GaugeVec // by listener
}

func newCounters() *counters {
	return &counters{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "porchlight_http_requests_total", Help: "Requests answered, by route and status."}, []string{"route", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "porchlight_http_request_duration_seconds", Help: "How long an answer took, by route.",
			Buckets: answerBuckets}, []string{"route"}),
		faults:      prometheus.NewCounter(prometheus.CounterOpts{Name: "porchlight_http_faults_total", Help: "Requests answered with 500: a mistake of the gateway's."}),
		limited:     prometheus.NewCounter(prometheus.CounterOpts{Name: "porchlight_http_limited_total", Help: "Requests refused because a brand was over its rate."}),
		answering:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "porchlight_http_requests_in_flight", Help: "Requests that are being answered."}),
		connections: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "porchlight_http_connections_open", Help: "Connections, by listener."}, []string{"listener"}),
	}
}

// answerBuckets are those of answers, in seconds: a commit may wait for the disk.
var answerBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5, 30}

// connected counts a listener's connections.
func (c *counters) connected(listener string) func(net.Conn, http.ConnState) {
	open := c.connections.WithLabelValues(listener)
	return func(_ net.Conn, now http.ConnState) {
		switch now {
		case http.StateNew:
			open.Inc()
		case http.StateClosed, http.StateHijacked:
			open.Dec()
		}
	}
}

// inside is what those who run the gateway can read.
func (d *Door) inside() http.Handler {
	d.registry = prometheus.NewRegistry()
	d.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		d.count.requests, d.count.seconds, d.count.faults, d.count.limited, d.count.answering, d.count.connections, newStoreMetrics(d.db))
	d.registry.MustRegister(d.o.Metrics...)
	mux := http.NewServeMux()
	d.health(mux)
	mux.Handle("GET /metrics", promhttp.HandlerFor(d.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second}))
	return mux
}

// Count has more counted under /metrics, of a part that came to be after the door.
func (d *Door) Count(more ...prometheus.Collector) { d.registry.MustRegister(more...) }

// health adds the pages that say whether the gateway lives and works.
func (d *Door) health(mux *http.ServeMux) {
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) { plain(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if why := d.unready(r.Context()); why != "" {
			w.Header().Set("Retry-After", "5")
			plain(w, http.StatusServiceUnavailable, "not ready: "+why)
			return
		}
		plain(w, http.StatusOK, "ready")
	})
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	fmt.Fprintln(w, text)
}

// unready tells in a word or two what keeps the gateway from working, or "".
func (d *Door) unready(ctx context.Context) string {
	if d.o.Ready != nil {
		if why := d.o.Ready(); why != "" {
			return why
		}
	}
	err := d.db.Healthy()
	if err == nil {
		err = d.db.View(ctx, func(tx *store.Tx) error { return nil })
	}
	switch {
	case err == nil:
		return ""
	case errors.Is(err, store.ErrFull):
		return "store: no space left"
	case errors.Is(err, store.ErrBusy):
		return "store: locked"
	case errors.Is(err, store.ErrReadOnly):
		return "store: read-only"
	case errors.Is(err, store.ErrCorrupt):
		return "store: damaged"
	case errors.Is(err, store.ErrClosed):
		return "store: closed"
	}
	return "store: failed"
}

// storeMetrics asks the store once for all that is read of it.
type storeMetrics struct {
	db         *store.DB
	all        []storeMetric
	histograms []storeHistogram
	healthy    *prometheus.Desc
}

type storeMetric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	get  func(store.Stats) float64
}

type storeHistogram struct {
	desc *prometheus.Desc
	get  func(store.Stats) store.Histogram
}

func newStoreMetrics(db *store.DB) *storeMetrics {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("porchlight_store_"+name, help, nil, nil)
	}
	counter := func(name, help string, get func(store.Stats) float64) storeMetric {
		return storeMetric{desc(name, help), prometheus.CounterValue, get}
	}
	gauge := func(name, help string, get func(store.Stats) float64) storeMetric {
		return storeMetric{desc(name, help), prometheus.GaugeValue, get}
	}
	return &storeMetrics{db, []storeMetric{
		counter("commits_total", "Transactions on disk.", func(s store.Stats) float64 { return float64(s.Commits) }),
		counter("units_total", "Units of work answered; units by commits is how many share one.", func(s store.Stats) float64 { return float64(s.Units) }),
		counter("units_failed_total", "Units of work answered with an error.", func(s store.Stats) float64 { return float64(s.Failed) }),
		gauge("largest_commit_units", "Most units that shared one commit.", func(s store.Stats) float64 { return float64(s.Largest) }),
		gauge("queued_units", "Units of work that wait.", func(s store.Stats) float64 { return float64(s.Queued) }),
		gauge("wal_bytes", "Size of the write-ahead log.", func(s store.Stats) float64 { return float64(s.WALBytes) }),
		gauge("wal_kept", "1 if the file could not be synced: everything is in the log, which is kept until the gateway is started again.", func(s store.Stats) float64 { return oneIf(s.Kept) }),
	}, []storeHistogram{
		{desc("commit_seconds", "How long a commit took until it was on disk."), func(s store.Stats) store.Histogram { return s.Took }},
		{desc("commit_units", "Units of work that shared a commit."), func(s store.Stats) store.Histogram { return s.Shared }},
	}, desc("healthy", "1 if the last write went to disk.")}
}

// Describe implements prometheus.Collector.
func (m *storeMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, each := range m.all {
		to <- each.desc
	}
	for _, each := range m.histograms {
		to <- each.desc
	}
	to <- m.healthy
}

// Collect implements prometheus.Collector.
func (m *storeMetrics) Collect(to chan<- prometheus.Metric) {
	now := m.db.Stats()
	for _, each := range m.all {
		to <- prometheus.MustNewConstMetric(each.desc, each.kind, each.get(now))
	}
	for _, each := range m.histograms {
		h, upTo := each.get(now), map[float64]uint64{}
		n := uint64(0)
		for i, bound := range h.Bounds {
			n += h.Counts[i]
			upTo[bound] = n
		}
		to <- prometheus.MustNewConstHistogram(each.desc, h.Count(), h.Sum, upTo)
	}
	to <- prometheus.MustNewConstMetric(m.healthy, prometheus.GaugeValue, oneIf(m.db.Healthy() == nil))
}

// recorder notes the status of an answer.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// observe counts every answer, and makes one of a panic.
func (d *Door) observe(next, v1 *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := &recorder{ResponseWriter: w}
		_, route := next.Handler(r)
		if route == "/v1/" {
			_, route = v1.Handler(r)
		}
		start := time.Now()
		d.count.answering.Inc()
		defer func() {
			d.count.answering.Dec()
			if p := recover(); p != nil && p != http.ErrAbortHandler {
				fault := "urn:porchlight:fault:" + string(device.NewID())
				d.log.Error("a request's goroutine panicked", "fault", fault, "panic", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
				if rec.status == 0 {
					answer := newProblem("fault", "")
					answer.Instance = fault
					write(rec, answer)
				}
			}
			d.count.requests.WithLabelValues(route, strconv.Itoa(rec.status)).Inc()
			if rec.status == http.StatusInternalServerError {
				d.count.faults.Inc()
			}
			d.count.seconds.WithLabelValues(route).Observe(time.Since(start).Seconds())
			d.log.Debug("answered", "route", route, "status", rec.status, "took", time.Since(start))
		}()
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		if r.URL.Path != "/docs.css" {
			h.Set("Cache-Control", "no-store")
		}
		next.ServeHTTP(rec, r)
	})
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

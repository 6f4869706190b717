package delivery

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"porchlight/policy"
)

// metrics hands what the Desk counts to Prometheus. No label names a home, a device or a brand.
type metrics []prometheus.Collector

// quick are the buckets, in seconds, of what takes about as long as a write to disk.
var quick = []float64{.00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// timings are how long things take.
type timings struct {
	written prometheus.Histogram // a fact, until it is on disk
	reacted prometheus.Histogram // from what a device told to a message that follows from it
	cleared prometheus.Histogram // from a no to clear screens
}

func newTimings() timings {
	histogram := func(name, help string, longer ...float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: "porchlight_" + name, Help: help, Buckets: append(slices.Clone(quick), longer...)})
	}
	return timings{
		written: histogram("fact_write_seconds", "How long a fact took until it was on disk, waiting for its turn included."),
		reacted: histogram("context_to_socket_seconds", "From a device's context that changed something, until a message that was chosen in the look round the home that follows was handed to its connection."),
		cleared: histogram("withdrawal_cleared_seconds", "From a no until every screen that had something of it was clear, or its lease over.", 12.5, 15, 30, 60),
	}
}

// underWay is what all homes in memory have under way together.
type underWay struct{ pending, open, flights, stopping atomic.Int64 }

// census is what one home has under way.
type census struct{ pending, open, flights, stopping int32 }

// converged is what is left to do once a home has been looked round. The caller holds h.mu.
func (d *Desk) converged(h *home) {
	waits := func(dl *delivery) bool { return next(dl.want, dl.have) == Present && dl.have == HaveNone } // for its screen to have a moment
	if !h.news.IsZero() && !slices.ContainsFunc(h.open, waits) {
		h.news = time.Time{}
	}
	d.recount(h)
}

// recount brings the gauges of what is under way in line with h, which counts for nothing while it is not
// in memory. The caller holds h.mu.
func (d *Desk) recount(h *home) {
	var now census
	if h.loaded {
		now = census{pending: int32(len(h.pairs)), open: int32(len(h.open)), stopping: int32(len(h.stopping))}
		for _, s := range h.screens {
			if s.session != nil && s.session.flight != nil {
				now.flights++
			}
		}
	}
	if was := h.census; now != was {
		u := &d.count.under
		u.pending.Add(int64(now.pending - was.pending))
		u.open.Add(int64(now.open - was.open))
		u.flights.Add(int64(now.flights - was.flights))
		u.stopping.Add(int64(now.stopping - was.stopping))
		h.census = now
	}
}

// Metrics returns what the Desk counts, for a registry of Prometheus.
func (d *Desk) Metrics() prometheus.Collector {
	all := metrics{d.took.written, d.took.reacted, d.took.cleared}
	counter := func(n *atomic.Int64, name, help string, labels prometheus.Labels) {
		all = append(all, prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "porchlight_" + name, Help: help, ConstLabels: labels}, func() float64 { return float64(n.Load()) }))
	}
	gauge := func(name, help string, f func() float64) {
		all = append(all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "porchlight_" + name, Help: help}, f))
	}
	locked := func(f func() int) func() float64 {
		return func() float64 {
			d.mu.Lock()
			defer d.mu.Unlock()
			return float64(f())
		}
	}
	queued := func(f func(q *queue) int) func() float64 {
		return func() float64 {
			d.queue.mu.Lock()
			defer d.queue.mu.Unlock()
			return float64(f(&d.queue))
		}
	}
	entering := func(f func(e *entrance) int) func() float64 {
		return func() float64 {
			d.entrance.mu.Lock()
			defer d.entrance.mu.Unlock()
			return float64(f(&d.entrance))
		}
	}
	load := func(n *atomic.Int64) func() float64 { return func() float64 { return float64(n.Load()) } }
	c := &d.count
	counter(&c.accepted, "messages_accepted_total", "Messages taken in from brands.", nil)
	counter(&c.withdrawn, "messages_withdrawn_total", "Messages that their brand took back.", nil)
	for v := range policy.Show + 1 {
		counter(&c.verdicts[v], "decisions_total", "Decisions taken, by verdict.", prometheus.Labels{"verdict": v.String()})
	}
	for r := policy.Rule(0); r.String() != policy.Rule(255).String(); r++ {
		counter(&c.reasons[r], "decision_reasons_total", "Decisions that a rule spoke against, by rule; of one decision every such rule is counted.", prometheus.Labels{"rule": r.String()})
	}
	counter(&c.claimed, "deliveries_claimed_total", "Deliveries claimed for a screen.", nil)
	counter(&c.presented, "deliveries_presented_total", "Deliveries that a device said it has shown.", nil)
	counter(&c.recalled, "deliveries_recalled_total", "Requests to take a delivery off a screen.", nil)
	counter(&c.settled, "deliveries_settled_total", "Deliveries that are over.", nil)
	counter(&c.released, "deliveries_released_total", "Deliveries that are over and were never shown.", nil)
	counter(&d.jumps, "clock_jumps_total", "Times that the machine's clock was set while the gateway ran.", nil)
	counter(&c.commitFailed, "commits_failed_total", "Times that a home's decisions could not be written; they were not carried out.", nil)
	counter(&c.evicted, "homes_evicted_total", "Homes that left memory because nothing of them was connected for a day, or they were only looked at.", nil)
	gauge("homes_in_memory", "Homes that are being looked after.", locked(func() int { return len(d.homes) }))
	gauge("devices_connected", "Devices that are logged in.", locked(func() int { return len(d.links) }))
	gauge("messages_in_force", "Messages that may still be shown.", locked(func() int { return len(d.force) }))
	gauge("homes_queued", "Homes that wait to be judged.", queued(func(q *queue) int { return q.ready.len() }))
	gauge("homes_scheduled", "Homes that will be looked at again when their time comes.", queued(func(q *queue) int { return len(q.timers) }))
	gauge("deliveries_pending", "Messages that homes in memory wait to show, each screen that listens counted by itself.", load(&c.under.pending))
	gauge("deliveries_open", "Deliveries that are claimed and not over, of homes in memory.", load(&c.under.open))
	gauge("frames_in_flight", "Devices whose window is full: they have not acknowledged the frame that was sent to them last.", load(&c.under.flights))
	gauge("withdrawals_stopping", "Withdrawals of homes in memory that are on disk, while screens are not known to be clear yet.", load(&c.under.stopping))
	gauge("applicants_waiting", "Devices that ask to be let in.", entering(func(e *entrance) int { return len(e.applicants) }))
	gauge("enrolment_windows_open", "Homes where new devices may ask to be let in.", entering(func(e *entrance) int { return len(e.windows) }))
	return all
}

// Describe implements prometheus.Collector.
func (m metrics) Describe(to chan<- *prometheus.Desc) {
	for _, each := range m {
		each.Describe(to)
	}
}

// Collect implements prometheus.Collector.
func (m metrics) Collect(to chan<- prometheus.Metric) {
	for _, each := range m {
		each.Collect(to)
	}
}

package delivery

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"porchlight/policy"
)

// metrics hands what the Desk counts to Prometheus. No label names a home, a device or a brand.
type metrics []prometheus.Collector

// Metrics returns what the Desk counts, for a registry of Prometheus.
func (d *Desk) Metrics() prometheus.Collector {
	var all metrics
	counter := func(n *atomic.Int64, name, help string, labels prometheus.Labels) {
		all = append(all, prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "porchlight_" + name, Help: help, ConstLabels: labels}, func() float64 { return float64(n.Load()) }))
	}
	gauge := func(name, help string, f func() int) {
		all = append(all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "porchlight_" + name, Help: help}, func() float64 {
			d.mu.Lock()
			defer d.mu.Unlock()
			return float64(f())
		}))
	}
	c := &d.count
	counter(&c.accepted, "messages_accepted_total", "Messages taken in from brands.", nil)
	counter(&c.withdrawn, "messages_withdrawn_total", "Messages that their brand took back.", nil)
	for v := range policy.Show + 1 {
		counter(&c.verdicts[v], "decisions_total", "Decisions taken, by verdict.", prometheus.Labels{"verdict": v.String()})
	}
	counter(&c.claimed, "deliveries_claimed_total", "Deliveries claimed for a screen.", nil)
	counter(&c.presented, "deliveries_presented_total", "Deliveries that a device said it has shown.", nil)
	counter(&c.recalled, "deliveries_recalled_total", "Requests to take a delivery off a screen.", nil)
	counter(&c.settled, "deliveries_settled_total", "Deliveries that are over.", nil)
	counter(&c.released, "deliveries_released_total", "Deliveries that are over and were never shown.", nil)
	counter(&c.commitFailed, "commits_failed_total", "Times that a home's decisions could not be written; they were not carried out.", nil)
	gauge("homes_in_memory", "Homes that are being looked after.", func() int { return len(d.homes) })
	gauge("devices_connected", "Devices that are logged in.", func() int { return len(d.links) })
	gauge("messages_in_force", "Messages that may still be shown.", func() int { return len(d.force) })
	gauge("homes_queued", "Homes that wait to be judged.", func() int {
		d.queue.mu.Lock()
		defer d.queue.mu.Unlock()
		return len(d.queue.ready)
	})
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

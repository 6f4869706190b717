package broker

import (
	"fmt"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/prometheus/client_golang/prometheus"

	"porchlight/device/wire"
)

// counters is what the door counts. No label names a device, a brand or an address.
type counters struct {
	sockets        prometheus.GaugeFunc
	ceiling        prometheus.GaugeFunc
	clients        prometheus.GaugeFunc
	refusals       prometheus.GaugeFunc
	unwritten      prometheus.CounterFunc
	accepted       *prometheus.CounterVec // by listener
	refused        *prometheus.CounterVec // by reason
	packets        *prometheus.CounterVec // by type
	frames         *prometheus.CounterVec // by leaf
	bad            *prometheus.CounterVec // by leaf
	unacknowledged *prometheus.CounterVec // by leaf
	sent           *prometheus.CounterVec // by leaf
	takeovers      prometheus.Counter
	clones         prometheus.Counter
	limited        *prometheus.CounterVec // by limit
	origins        prometheus.GaugeFunc
	slow           prometheus.Counter
	strays         prometheus.Counter
	panics         prometheus.Counter
	acceptErrors   prometheus.Counter
}

func newCounters(d *Door) *counters {
	one := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "porchlight", Subsystem: "mqtt", Name: name, Help: help})
	}
	// What is expected of a label is there from the beginning, so that the first time counts as a change.
	by := func(label, name, help string, expected ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "porchlight", Subsystem: "mqtt", Name: name, Help: help}, []string{label})
		for _, value := range expected {
			c.WithLabelValues(value)
		}
		return c
	}
	up := []string{string(wire.UpBirth), string(wire.UpCtx), string(wire.UpEvt), string(wire.UpTwin)}
	down := []string{string(wire.DnMsg), string(wire.DnTwin), string(wire.DnTime)}
	gauge := func(name, help string, f func() float64) prometheus.GaugeFunc {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "porchlight", Subsystem: "mqtt", Name: name, Help: help}, f)
	}
	return &counters{
		sockets:  gauge("sockets_open", "Sockets that are open, logged in or not.", func() float64 { return float64(d.sockets.Load()) }),
		ceiling:  gauge("sockets_limit", "Sockets that may be open at one time.", func() float64 { return float64(d.o.MaxConnections) }),
		refusals: gauge("refusals_waiting", "Sorts of refusal that are still to be written into the audit, by peer.", func() float64 { return float64(d.refusals.waiting()) }),
		unwritten: prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "porchlight", Subsystem: "mqtt", Name: "refusals_unwritten_total",
			Help: "Refusals that the audit has no room for; they are counted under refused_total and limited_total alone."}, func() float64 { return float64(d.refusals.lost.Load()) }),
		clients: gauge("clients_connected", "Connections that are logged in: of devices, beside them, and of brands.", func() float64 {
			d.mu.Lock()
			defer d.mu.Unlock()
			return float64(len(d.places))
		}),
		accepted:       by("listener", "accepted_total", "Sockets accepted."),
		refused:        by("reason", "refused_total", "Connections refused, or ended for what the peer sent.", "credential", "client-id", "full", "tls"),
		packets:        by("type", "packets_total", "Packets read."),
		frames:         by("leaf", "frames_total", "Publishes read.", up...),
		bad:            by("leaf", "frames_refused_total", "Publishes refused: malformed, foreign, or too early.", up...),
		unacknowledged: by("leaf", "frames_unacknowledged_total", "Publishes left without acknowledgement because they could not be taken in.", up...),
		sent:           by("leaf", "frames_sent_total", "Frames sent.", down...),
		takeovers:      one("takeovers_total", "Connections ended because their device connected again."),
		clones:         one("clone_alarms_total", "Times that an ID was taken over so often that it was made to wait."),
		limited:        by("limit", "limited_total", "Sockets, log-ins and connections that met a limit.", "address", "failures", "takeover", "frames", "bytes", "outstanding", "home", "beside", "brand", "rate", "busy"),
		origins:        gauge("addresses_known", "Addresses with open sockets, or with log-ins that failed not long ago.", func() float64 { return float64(d.origins.size()) }),
		slow:           one("slow_total", "Connections cut because the peer did not read."),
		strays:         one("stray_acknowledgements_total", "Acknowledgements of nothing that was waited for."),
		panics:         one("panics_total", "Panics of a connection's goroutine that were survived."),
		acceptErrors:   one("accept_errors_total", "Errors of a listener that were waited out."),
	}
}

func (c *counters) all() []prometheus.Collector {
	return []prometheus.Collector{c.sockets, c.ceiling, c.clients, c.refusals, c.unwritten, c.accepted, c.refused, c.packets, c.frames, c.bad,
		c.unacknowledged, c.sent, c.takeovers, c.clones, c.limited, c.origins, c.slow, c.strays, c.panics, c.acceptErrors}
}

// Describe implements prometheus.Collector.
func (c *counters) Describe(to chan<- *prometheus.Desc) {
	for _, each := range c.all() {
		each.Describe(to)
	}
}

// Collect implements prometheus.Collector.
func (c *counters) Collect(to chan<- prometheus.Metric) {
	for _, each := range c.all() {
		each.Collect(to)
	}
}

// Metrics returns what the door counts, for a registry of Prometheus.
func (d *Door) Metrics() prometheus.Collector { return d.count }

// reasonLabel names a violation in a metric: its code, since reasons are for people.
func reasonLabel(c packets.Code) string { return fmt.Sprintf("0x%02X", c.Code) }

// Package api is the HTTP door: brands hand in messages over TCP, and the operator's commands
// come in over a Unix socket.
//
// In: HTTP requests. Out: calls of the Desk, JSON, problem details. Never: a decision, an answer
// to a brand that depends on what is inside a home, an internal error or a secret in an answer
// or a log.
package api

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
)

// Options say where to listen and how much to take. An empty address is no listener.
type Options struct {
	Plain string // as 127.0.0.1:8080
	TLS   string // as :8443; needs Secure

	// Inside, as 127.0.0.1:8081, is for those who run the gateway: /metrics, and /healthz and /readyz
	// again. What homes let through can be counted there, so it is no brand's to read: it listens on
	// loopback only.
	Inside string

	Secure     *tls.Config
	AllowPlain bool // Plain may listen beyond loopback

	// PerAddress is how many connections of one address each listener takes: one of IPv4, or a /64 of IPv6.
	// 0 means 1,000.
	PerAddress int

	// Limit takes one request from a brand's allowance. If none is left, it says when to try
	// again. Nil is no limit.
	Limit func(device.BrandID) (ok bool, retryAfter time.Duration)

	// Ready tells what keeps the gateway from working, in one word, or "". Nil is nothing. The
	// store is asked beside it.
	Ready func() string

	// Metrics are counted beside the process's, the store's and this door's own.
	Metrics []prometheus.Collector

	// Tracer is told of each request of a brand that was let in. Nil: nobody is.
	Tracer trace.Tracer
}

// Door is the HTTP door for brands.
type Door struct {
	desk      *delivery.Desk
	db        *store.DB
	keys      *registry.BrandKeys
	o         Options
	log       *slog.Logger
	count     *counters
	registry  *prometheus.Registry
	shed      *prometheus.CounterVec // by reason
	often     map[string]*seldom     // lines of the log, by reason
	kinds     []string               // of each listener: http, https, metrics
	listeners []net.Listener
	servers   []*http.Server
}

// How long the parts of a request may take, and how large its head may be.
const (
	headTimeout  = 5 * time.Second
	readTimeout  = 10 * time.Second
	writeTimeout = 40 * time.Second // a commit may wait for the disk
	idleTimeout  = 60 * time.Second
	endTimeout   = 3 * time.Second // for requests under way when the gateway ends
	maxHead      = 16 << 10
)

// New opens the listeners, so that a caller knows the ports, and fails if one cannot be opened.
// Nothing is answered before Run.
func New(desk *delivery.Desk, db *store.DB, o Options, log *slog.Logger) (*Door, error) {
	d := &Door{desk: desk, db: db, keys: registry.NewBrandKeys(db), o: o, log: log, count: newCounters(), shed: newShed(), often: newOften()}
	d.o.Metrics = append(slices.Clip(o.Metrics), d.shed)
	handler, err := d.handler()
	if err != nil {
		return nil, fmt.Errorf("open the HTTP door: %w", err)
	}
	if err := d.listen("http", o.Plain, handler, nil); err != nil {
		return nil, err
	}
	if err := d.listen("https", o.TLS, handler, o.Secure); err != nil {
		d.Close()
		return nil, err
	}
	if err := d.listen("metrics", o.Inside, d.inside(), nil); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// listen opens one listener. A plain one beyond loopback needs to be asked for.
func (d *Door) listen(kind, address string, handler http.Handler, secure *tls.Config) error {
	plain := kind != "https"
	switch {
	case address == "":
		return nil
	case !plain && secure == nil:
		return fmt.Errorf("listen for %s on %s: no certificate is configured", kind, address)
	case kind == "metrics" && !loopback(address):
		return fmt.Errorf("listen for metrics on %s: they tell what homes let through; use a loopback address, and a proxy that asks who reads them", address)
	case plain && !loopback(address) && !d.o.AllowPlain:
		return fmt.Errorf("listen for %s on %s: without TLS anyone on that network can read keys and messages; use TLS, a loopback address, or set http.plain_beyond_loopback: true", kind, address)
	case plain && !loopback(address):
		d.log.Warn("UNENCRYPTED HTTP BEYOND LOOPBACK: keys and messages can be read and forged on that network", "listener", kind, "address", address, "setting", "http.plain_beyond_loopback")
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("listen for %s: %w", kind, err)
	}
	l = &bounded{Listener: l, most: mostConnections, perAddress: cmp.Or(d.o.PerAddress, mostPerAddress), refused: func(why string, from netip.Addr) {
		d.shed.WithLabelValues(why).Inc()
		if n, ok := d.often[why].due(time.Now()); ok {
			d.log.Info("connection refused: too many are open", "listener", kind, "limit", why, "address", from.String(), "times", n)
		}
	}}
	if !plain {
		secure = secure.Clone()
		secure.ClientAuth = tls.NoClientCert // a browser would ask its user for one
		secure.NextProtos = []string{"h2", "http/1.1"}
		l = tls.NewListener(l, secure)
	}
	d.kinds = append(d.kinds, kind)
	d.listeners = append(d.listeners, l)
	s := server(handler)
	s.ConnState = d.count.connected(kind)
	d.servers = append(d.servers, s)
	return nil
}

func server(handler http.Handler) *http.Server {
	return &http.Server{
		Handler: handler, ReadHeaderTimeout: headTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHead,
		ErrorLog: log.New(io.Discard, "", 0), // it would quote what a stranger sent
	}
}

// loopback reports whether only this machine reaches address.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// Addr returns where the door listens for "http", "https" or "metrics"; nil if it does not.
func (d *Door) Addr(kind string) net.Addr {
	if i := slices.Index(d.kinds, kind); i >= 0 {
		return d.listeners[i].Addr()
	}
	return nil
}

// Run answers until ctx is done, then finishes the requests under way and returns.
func (d *Door) Run(ctx context.Context) error {
	for i := range d.listeners {
		d.log.Info("listening", "listener", d.kinds[i], "address", d.listeners[i].Addr().String())
	}
	return serve(ctx, d.servers, d.listeners)
}

// serve runs each server on its listener until ctx is done or one of them fails.
func serve(ctx context.Context, servers []*http.Server, listeners []net.Listener) error {
	failed := make(chan error, len(servers))
	var all sync.WaitGroup
	for i, s := range servers {
		all.Go(func() {
			if err := s.Serve(listeners[i]); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("answer on %s: %w", listeners[i].Addr(), err)
			}
		})
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	for _, s := range servers {
		if s.Shutdown(end) != nil {
			s.Close() // whoever still talks is cut off
		}
	}
	all.Wait()
	return err
}

// Close closes the listeners of a door that is not run.
func (d *Door) Close() error {
	var err error
	for _, l := range d.listeners {
		err = errors.Join(err, l.Close())
	}
	return err
}

// handler is all that the door answers.
func (d *Door) handler() (http.Handler, error) {
	v1, doc, err := d.brands()
	if err != nil {
		return nil, err
	}
	page, err := newDocs(doc, d.desk.Now)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/v1/", d.forBrands(d.traced(v1)))
	mux.Handle("GET /openapi.json", v1)
	mux.Handle("GET /openapi.yaml", v1)
	mux.Handle("GET /docs", page)
	mux.Handle("GET /docs.css", page)
	mux.Handle("GET /{$}", http.RedirectHandler("/docs", http.StatusSeeOther))
	d.health(mux)
	for _, path := range []string{"/openapi.json", "/openapi.yaml", "/docs", "/docs.css", "/{$}", "/healthz", "/readyz"} {
		mux.HandleFunc(path, onlyFor("GET, HEAD"))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { write(w, notFound("there is nothing at this address")) })
	return d.observe(mux, v1), nil
}

// onlyFor answers a request whose method its address does not know.
func onlyFor(methods string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", methods)
		write(w, newProblem("method", "this address takes "+methods))
	}
}

package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"porchlight/broker"
	"porchlight/broker/api"
	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/authority"
	"porchlight/device/store"
)

// The files of the data folder, beside the certificates.
const (
	databaseFile = "porchlight.db"
	socketFile   = "porchlight.sock"
)

type serveCmd struct {
	Config string `help:"Configuration file; configs/porchlight.yaml explains every key." placeholder:"FILE"`
}

var peoplesTime func() device.Instant // nil: the system's; see serve_torture.go

// Run runs the gateway.
func (c *serveCmd) Run(e *env) error {
	cfg, err := readConfig(c.Config)
	if err != nil {
		return err
	}
	cfg.Data = e.data
	tuneCollector()
	return serve(e.ctx, cfg, peoplesTime, cfg.Log.logger(e.errs), func(g Gateway) { g.announce(e.out) })
}

// Gateway is a gateway that runs, for those who share its process.
type Gateway struct {
	api.Gateway
	Socket      string         // path of the operator's socket
	Fingerprint string         // SHA-256 of the authority's certificate
	Desk        *delivery.Desk // for a clock that is set on purpose: Lookup
}

// serve runs a gateway until ctx is done. clock is people's time, nil the system's. ready is
// called once, when everything answers.
func serve(ctx context.Context, cfg Config, clock func() device.Instant, log *slog.Logger, ready func(Gateway)) error {
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	data, err := dataFolder(cfg.Data, log)
	if err != nil {
		return err
	}
	if err := cutShort(data); err != nil {
		return err
	}
	db, err := store.Open(ctx, filepath.Join(data, databaseFile), store.Options{Project: delivery.Project, Clear: delivery.Clear, Now: clock})
	if errors.Is(err, context.Canceled) { // it was told to end before it had begun
		log.Info("gateway ends")
		return nil
	}
	if err != nil {
		return err
	}
	defer closing(log, "store", db)
	ca, err := authority.Open(data, cfg.TLS.Names, time.Now)
	if err != nil {
		return err
	}

	traces := openTraces(cfg.Traces, log.With("part", "traces"))
	defer closing(log, "traces", traces)

	inHall := cfg.Delivery.options()
	if inHall.Safety, err = cfg.Delivery.safety(); err != nil {
		return fmt.Errorf("safety: %w", err)
	}
	inHall.Rules = cfg.rules()
	inHall.Now, inHall.Authority, inHall.SignedOnly = clock, ca, cfg.Brands.SignedOnly
	inHall.Tracer = traces.tracer()
	desk, err := delivery.NewDesk(db, inHall, log.With("part", "desk"))
	if err != nil {
		return err
	}
	courier := delivery.NewCourier(desk)
	var working atomic.Bool
	limit := api.NewLimiter(cfg.Brands.Rate, cfg.Brands.Burst)

	atDoor := cfg.MQTT.options()
	atDoor.Authority, atDoor.Entrance, atDoor.Audit, atDoor.Limit = ca, desk, desk.Refused, limit.Allow
	mqtt, err := broker.New(desk, db, atDoor, log.With("part", "mqtt"))
	if err != nil {
		return taken(err, configured("mqtt"))
	}
	defer closing(log, "mqtt", mqtt)
	web, err := api.New(desk, db, api.Options{
		Plain: cfg.HTTP.Plain, TLS: cfg.HTTP.TLS, Inside: cfg.HTTP.Metrics, Secure: ca.Server(), AllowPlain: cfg.HTTP.PlainBeyondLoopback,
		PerAddress: cfg.HTTP.ConnectionsPerAddress, Limit: limit.Allow,
		Metrics: append(traces.metrics(), built(), desk.Metrics(), mqtt.Metrics()), Tracer: traces.tracer(),
		Ready: func() string {
			if !working.Load() {
				return "courier"
			}
			return ""
		},
	}, log.With("part", "http"))
	if err != nil {
		return taken(err, configured("http"))
	}
	defer closing(log, "http", web)
	g := Gateway{
		Gateway: api.Gateway{Version: version(), Data: data, CA: ca.Path(), Listeners: addresses(mqtt, web)},
		Socket:  filepath.Join(data, socketFile), Desk: desk, Fingerprint: ca.Fingerprint(),
	}
	operators, err := api.NewOperators(desk, ca, g.Socket, g.Gateway, mqtt.Renew, log.With("part", "operators"))
	if err != nil {
		return err
	}
	defer closing(log, "operators", operators)
	web.Count(operators.Metrics()...)

	find := func(context.Context) error { return nil }
	if cfg.Discovery.On {
		key := ca.Key()
		d, err := broker.Discover(broker.DiscoveryOptions{Listener: mqtt.Addr("mqtts"), ID: hex.EncodeToString(key[:4]), Interfaces: cfg.Discovery.Interfaces}, log.With("part", "discovery"))
		if err != nil {
			return fmt.Errorf("discovery: %w", err)
		}
		find = d.Run
	}

	parts, ctx := errgroup.WithContext(ctx)
	parts.Go(func() error { return find(ctx) })
	parts.Go(func() error {
		working.Store(true)
		defer working.Store(false)
		return courier.Run(ctx)
	})
	parts.Go(func() error { return mqtt.Run(ctx) })
	parts.Go(func() error { return web.Run(ctx) })
	parts.Go(func() error { return operators.Run(ctx) })
	log.Info("gateway runs", "data", data, "ca", ca.Path(), "ca_sha256", g.Fingerprint)
	ready(g)
	err = parts.Wait()
	log.Info("gateway ends")
	return err
}

// configured is how another address is chosen in a section of the configuration.
func configured(section string) string {
	return "under " + section + ": in a configuration file (configs/porchlight.yaml) and give it with --config"
}

// taken adds to an address in use what to do about it; how is how another is chosen.
func taken(err error, how string) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w: end what listens there, or choose another address %s", err, how)
	}
	return err
}

func closing(log *slog.Logger, part string, c io.Closer) {
	if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		log.Error("part not closed", "part", part, "err", err)
	}
}

// dataFolder makes the folder if it is not there, and returns its absolute path.
func dataFolder(path string, log *slog.Logger) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("data folder: %w", err)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return "", fmt.Errorf("data folder: %w", cannotWrite(path, err))
	}
	fi, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("data folder: %w", err)
	}
	if fi.Mode().Perm()&0o077 != 0 {
		log.Warn("other users of this machine can look into the data folder", "data", path, "mode", fi.Mode().Perm().String(), "fix", "chmod 700")
	}
	return path, nil
}

func addresses(mqtt *broker.Door, web *api.Door) map[string]string {
	all := map[string]string{}
	for _, scheme := range []string{"mqtt", "mqtts", "ws", "wss"} {
		if a := mqtt.Addr(scheme); a != nil {
			all[scheme] = a.String()
		}
	}
	for _, scheme := range []string{"http", "https", "metrics"} {
		if a := web.Addr(scheme); a != nil {
			all[scheme] = a.String()
		}
	}
	return all
}

// schemes are the ways in, in the order in which they are told, with what each is.
var schemes = []struct{ name, what string }{
	{"mqtts", "devices, TLS"}, {"mqtt", "devices, unencrypted"}, {"wss", "devices, WebSocket over TLS"}, {"ws", "devices, WebSocket, unencrypted"},
	{"https", "brands, TLS"}, {"http", "brands, unencrypted; readable documentation at /docs"}, {"metrics", "/metrics, for you alone"},
}

// announce tells where a gateway listens.
func (g Gateway) announce(w io.Writer) {
	t := table(w)
	fmt.Fprintf(t, "Porchlight %s is on.\n", g.Version)
	for _, s := range schemes {
		if a := g.Listeners[s.name]; a != "" {
			fmt.Fprintf(t, "  %s\t%s\n", s.name+"://"+a, s.what)
		}
	}
	fmt.Fprintf(t, "  %s\toperator's commands\n", g.Socket)
	fmt.Fprintf(t, "  %s\tcertificate that clients trust\n", g.CA)
	_ = t.Flush() // a terminal that is gone is no reason to end
	fmt.Fprintf(w, "  SHA-256 %s\n", g.Fingerprint)
}

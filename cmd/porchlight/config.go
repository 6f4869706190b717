package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"porchlight/broker"
	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/policy"
)

// Config is the configuration file. An address that is empty is no listener.
type Config struct {
	Data string `yaml:"-"` // folder of the database, the certificates and the socket; a flag, because every command needs it

	MQTT      MQTTConfig      `yaml:"mqtt"`
	HTTP      HTTPConfig      `yaml:"http"`
	TLS       TLSConfig       `yaml:"tls"`
	Discovery DiscoveryConfig `yaml:"discovery"`
	Delivery  DeliveryConfig  `yaml:"delivery"`
	Brands    BrandsConfig    `yaml:"brands"`
	Rules     []RuleConfig    `yaml:"rules"`
	Traces    TracesConfig    `yaml:"traces"`
	Log       LogConfig       `yaml:"log"`
}

// MQTTConfig is about the door for devices, and for brands that speak MQTT.
type MQTTConfig struct {
	Plain               string        `yaml:"plain"`                 // default 127.0.0.1:1883
	TLS                 string        `yaml:"tls"`                   // default :8883
	WebSocket           string        `yaml:"websocket"`             // default 127.0.0.1:8083
	WebSocketTLS        string        `yaml:"websocket_tls"`         // default none
	PlainBeyondLoopback bool          `yaml:"plain_beyond_loopback"` // plain and websocket may be reached by other machines, unencrypted
	MaxConnections      int           `yaml:"max_connections"`       // default 10000
	ConnectTimeout      time.Duration `yaml:"connect_timeout"`       // from the socket to CONNECT; default 5s

	// What one address, one brand and one device may take; see broker.Limits.
	ConnectionsPerAddress int           `yaml:"connections_per_address"` // default 1000
	ConnectionsPerBrand   int           `yaml:"connections_per_brand"`   // default 50
	ConnectionsPerHome    int           `yaml:"connections_per_home"`    // devices of one home; default 250
	ConnectionsBeside     int           `yaml:"connections_beside"`      // beside a device's own; default 8
	FailedLogins          int           `yaml:"failed_logins"`           // of one address in a minute; default 60
	Takeovers             int           `yaml:"takeovers"`               // of one client ID in a minute; default 3
	BackOff               time.Duration `yaml:"back_off"`                // the first time that somebody is turned away; default 1s
	BackOffMost           time.Duration `yaml:"back_off_most"`           // default 5m
	FramesPerSecond       int           `yaml:"frames_per_second"`       // of one device; default 1000
	BytesPerSecond        int           `yaml:"bytes_per_second"`        // of one device; default 1 MiB
	HomeFramesPerSecond   int           `yaml:"home_frames_per_second"`  // of all devices of one home; default 5000
	HomeBytesPerSecond    int           `yaml:"home_bytes_per_second"`   // of all devices of one home; default 5 MiB
	Outstanding           int           `yaml:"outstanding"`             // publishes that a client may have unacknowledged; default 16
}

// HTTPConfig is about the door for brands, and the pages for those who run the gateway.
type HTTPConfig struct {
	Plain               string `yaml:"plain"`   // default 127.0.0.1:8080
	TLS                 string `yaml:"tls"`     // default none
	Metrics             string `yaml:"metrics"` // default 127.0.0.1:8081; loopback only
	PlainBeyondLoopback bool   `yaml:"plain_beyond_loopback"`

	ConnectionsPerAddress int `yaml:"connections_per_address"` // of each of these listeners; see api.Options; default 1000
}

// TLSConfig is about the certificate that the gateway makes for itself.
type TLSConfig struct {
	Names []string `yaml:"names"` // by which clients reach this machine, beside localhost and its host name
}

// DiscoveryConfig is about how devices on the home's network find the gateway.
type DiscoveryConfig struct {
	On         bool     `yaml:"on"`         // default true
	Interfaces []string `yaml:"interfaces"` // empty: networks with private addresses only
}

// DeliveryConfig is about screens.
type DeliveryConfig struct {
	Lease           time.Duration `yaml:"lease"`            // how long a device may keep a message without hearing from us; default 10s
	Allowance       time.Duration `yaml:"allowance"`        // added to it for the device's clock; default 2s
	Acknowledgement time.Duration `yaml:"acknowledgement"`  // how long a device may take to acknowledge a frame; default 20s
	Follow          time.Duration `yaml:"follow"`           // how long a message may take to appear on its screen before another may have it; 0: it waits for ever; default 1m
	Workers         int           `yaml:"workers"`          // homes that are judged at the same time; default 256
	FactsAtOnce     int           `yaml:"facts_at_once"`    // that one device may cause to be written down, beside receipts; default 100
	FactsPerMinute  int           `yaml:"facts_per_minute"` // the same in the long run; default 12
	Safety          string        `yaml:"safety"`           // file of safety rows, joined to those that every gateway has: they can only take away; relative to this file; default none
	Learner         string        `yaml:"learner"`          // on: what is answered comes first, and what is let go by or closed again and again gives way to silence; off: neither; default on
}

// RuleConfig stops messages, in every home: those that it picks, unless its condition is known to be
// false. No rule lets anything through.
type RuleConfig struct {
	ID        string         `yaml:"id"`        // 1 to 64 characters of a-z, 0-9 and hyphen, as decisions name it
	Condition string         `yaml:"condition"` // see porchlight condition
	Verdict   string         `yaml:"verdict"`   // hold, until the condition is false, or refuse; default hold
	Brand     device.BrandID `yaml:"brand"`     // this brand's only; default every brand's
	Purpose   policy.Purpose `yaml:"purpose"`   // those for this purpose only
	Category  string         `yaml:"category"`  // those about this only
	Class     device.Class   `yaml:"class"`     // on such devices only
}

// rule is c, ready to be asked. The error's Field is a key of c.
func (c RuleConfig) rule() (policy.OperatorRule, *delivery.InvalidError) {
	r := policy.OperatorRule{ID: c.ID, Verdict: policy.Hold, Selector: policy.Selector{Brand: c.Brand, Purpose: c.Purpose, Category: c.Category, Class: c.Class}}
	switch c.Verdict {
	case "", "hold":
	case "refuse":
		r.Verdict = policy.Refuse
	default:
		return r, &delivery.InvalidError{Field: "verdict", Why: fmt.Sprintf("is %.40q", c.Verdict), Fix: "use hold or refuse"}
	}
	var err error
	if r.Condition, err = policy.ParseCondition(c.Condition); err != nil {
		return r, &delivery.InvalidError{Field: "condition", Why: "cannot be taken", Fix: err.Error()}
	}
	if err = r.Check(); err != nil {
		return r, &delivery.InvalidError{Field: "id", Why: "cannot be taken", Fix: err.Error()}
	}
	return r, nil
}

// rules are those of the configuration, which has been validated.
func (c Config) rules() (all []policy.OperatorRule) {
	for _, one := range c.Rules {
		r, _ := one.rule()
		all = append(all, r)
	}
	return all
}

// BrandsConfig holds each brand to a rate, through all doors together.
type BrandsConfig struct {
	Rate  float64 `yaml:"rate"`  // requests a second in the long run; default 50
	Burst int     `yaml:"burst"` // requests at once; default 100

	SignedOnly bool `yaml:"signed_only"` // also brands without a registered key must sign; default false
}

// TracesConfig tells a collector what becomes of single messages, as OpenTelemetry traces.
type TracesConfig struct {
	To     string  `yaml:"to"`     // URL of a collector that takes OTLP over HTTP, as http://127.0.0.1:4318; beyond loopback https only; default "", none
	Sample float64 `yaml:"sample"` // share of the messages that are traced, 0 to 1, of those that come without a traceparent; default 1
}

// LogConfig is about the log, on standard error.
type LogConfig struct {
	Format string `yaml:"format"` // text or json; default text
	Level  string `yaml:"level"`  // debug, info, warn or error; default info
}

// DefaultConfig is the configuration of a gateway that was told nothing.
func DefaultConfig() Config {
	return Config{
		MQTT: MQTTConfig{
			Plain: "127.0.0.1:1883", TLS: ":8883", WebSocket: "127.0.0.1:8083", MaxConnections: 10000, ConnectTimeout: 5 * time.Second,
			ConnectionsPerAddress: 1000, ConnectionsPerBrand: 50, ConnectionsPerHome: 250, ConnectionsBeside: 8, FailedLogins: 60, Takeovers: 3,
			BackOff: time.Second, BackOffMost: 5 * time.Minute, FramesPerSecond: 1000, BytesPerSecond: 1 << 20, HomeFramesPerSecond: 5000, HomeBytesPerSecond: 5 << 20, Outstanding: 16,
		},
		HTTP:      HTTPConfig{Plain: "127.0.0.1:8080", Metrics: "127.0.0.1:8081", ConnectionsPerAddress: 1000},
		TLS:       TLSConfig{Names: []string{}},
		Discovery: DiscoveryConfig{On: true, Interfaces: []string{}},
		Delivery:  DeliveryConfig{Lease: 10 * time.Second, Allowance: 2 * time.Second, Acknowledgement: 20 * time.Second, Follow: time.Minute, Workers: 256, FactsAtOnce: 100, FactsPerMinute: 12, Learner: delivery.LearnerOn},
		Brands:    BrandsConfig{Rate: 50, Burst: 100},
		Traces:    TracesConfig{Sample: 1},
		Log:       LogConfig{Format: "text", Level: "info"},
	}
}

// readConfig is the configuration in the file at path over the defaults; "" is the defaults.
func readConfig(path string) (Config, error) {
	c := DefaultConfig()
	if path == "" {
		return c, nil
	}
	raw, err := readNamed(path)
	if err != nil {
		return c, fmt.Errorf("read configuration: %w", err)
	}
	f, err := parseYAML(path, raw)
	if err == nil {
		err = f.be(configFile)
	}
	if err == nil {
		err = f.decode(&c)
	}
	if err == nil {
		for _, wrong := range c.faults() {
			err = errors.Join(err, fmt.Errorf("%s: %s", f.at(wrong.key), wrong.Error()))
		}
	}
	if err != nil {
		return c, fmt.Errorf("read configuration: %w", err)
	}
	if file := c.Delivery.Safety; file != "" && !filepath.IsAbs(file) {
		c.Delivery.Safety = filepath.Join(filepath.Dir(path), file)
	}
	return c, nil
}

// configFault says which key cannot be as it is.
type configFault struct{ key, why string }

func (f configFault) Error() string { return f.key + " " + f.why }

// Validate reports everything that cannot be as it is.
func (c Config) Validate() error {
	var err error
	for _, f := range c.faults() {
		err = errors.Join(err, f)
	}
	return err
}

func (c Config) faults() (all []configFault) {
	add := func(ok bool, key, why string, args ...any) {
		if !ok {
			all = append(all, configFault{key, fmt.Sprintf(why, args...)})
		}
	}
	for _, a := range []struct{ key, address string }{
		{"mqtt.plain", c.MQTT.Plain}, {"mqtt.tls", c.MQTT.TLS}, {"mqtt.websocket", c.MQTT.WebSocket}, {"mqtt.websocket_tls", c.MQTT.WebSocketTLS},
		{"http.plain", c.HTTP.Plain}, {"http.tls", c.HTTP.TLS}, {"http.metrics", c.HTTP.Metrics},
	} {
		_, err := net.ResolveTCPAddr("tcp", a.address)
		why := "is %q: write host:port as in 127.0.0.1:1883, :8883 for every network, or \"\" for none"
		if err != nil && strings.HasSuffix(err.Error(), "invalid port") {
			why = "is %q: a port is 0 to 65535"
		}
		add(a.address == "" || err == nil, a.key, why, a.address)
	}
	between := func(key string, d, least, most time.Duration) {
		add(d >= least && d <= most, key, "is %s: use %s to %s", d, least, most)
	}
	between("mqtt.connect_timeout", c.MQTT.ConnectTimeout, 100*time.Millisecond, time.Minute)
	between("delivery.lease", c.Delivery.Lease, time.Second, time.Hour)
	between("delivery.allowance", c.Delivery.Allowance, time.Millisecond, time.Minute)
	between("delivery.acknowledgement", c.Delivery.Acknowledgement, time.Second, 10*time.Minute)
	if c.Delivery.Follow != 0 {
		between("delivery.follow", c.Delivery.Follow, time.Second, time.Hour)
	}
	between("mqtt.back_off", c.MQTT.BackOff, 10*time.Millisecond, time.Hour)
	between("mqtt.back_off_most", c.MQTT.BackOffMost, c.MQTT.BackOff, 24*time.Hour)
	for key, n := range map[string]int{
		"connections_per_address": c.MQTT.ConnectionsPerAddress, "connections_per_brand": c.MQTT.ConnectionsPerBrand, "connections_beside": c.MQTT.ConnectionsBeside, "connections_per_home": c.MQTT.ConnectionsPerHome,
		"failed_logins": c.MQTT.FailedLogins, "takeovers": c.MQTT.Takeovers, "frames_per_second": c.MQTT.FramesPerSecond, "home_frames_per_second": c.MQTT.HomeFramesPerSecond,
	} {
		add(n > 0, "mqtt."+key, "is %d: use 1 or more", n)
	}
	add(c.MQTT.BytesPerSecond >= 2048, "mqtt.bytes_per_second", "is %d: use 2048 or more, because ten seconds of it must hold a packet", c.MQTT.BytesPerSecond)
	add(c.MQTT.HomeBytesPerSecond >= 2048, "mqtt.home_bytes_per_second", "is %d: use 2048 or more", c.MQTT.HomeBytesPerSecond)
	add(c.MQTT.Outstanding > 0 && c.MQTT.Outstanding <= 65535, "mqtt.outstanding", "is %d: use 1 to 65535", c.MQTT.Outstanding)
	add(c.HTTP.ConnectionsPerAddress > 0, "http.connections_per_address", "is %d: use 1 or more", c.HTTP.ConnectionsPerAddress)
	add(c.MQTT.MaxConnections > 0, "mqtt.max_connections", "is %d: use 1 or more", c.MQTT.MaxConnections)
	add(c.Delivery.Workers > 0 && c.Delivery.Workers <= 4096, "delivery.workers", "is %d: use 1 to 4096", c.Delivery.Workers)
	add(c.Delivery.FactsAtOnce > 0, "delivery.facts_at_once", "is %d: use 1 or more", c.Delivery.FactsAtOnce)
	add(c.Delivery.FactsPerMinute > 0, "delivery.facts_per_minute", "is %d: use 1 or more", c.Delivery.FactsPerMinute)
	add(c.Delivery.Learner == delivery.LearnerOn || c.Delivery.Learner == delivery.LearnerOff, "delivery.learner", "is %q: use on or off", c.Delivery.Learner)
	for i, r := range c.Rules {
		if _, wrong := r.rule(); wrong != nil {
			add(false, fmt.Sprintf("rules[%d].%s", i, wrong.Field), "%s: %s", wrong.Why, wrong.Fix)
		}
		add(!slices.ContainsFunc(c.Rules[:i], func(o RuleConfig) bool { return o.ID == r.ID }), fmt.Sprintf("rules[%d].id", i), "is %q again: name each rule once", r.ID)
	}
	add(c.Brands.Rate > 0, "brands.rate", "is %g: use more than 0", c.Brands.Rate)
	add(c.Brands.Burst > 0, "brands.burst", "is %d: use 1 or more", c.Brands.Burst)
	if c.Traces.To != "" {
		u, err := url.Parse(c.Traces.To)
		ok := err == nil && u.Host != "" && u.User == nil && (u.Scheme == "https" || u.Scheme == "http" && loopback(u.Hostname()))
		add(ok, "traces.to", "is %.80q: write a URL as in http://127.0.0.1:4318, https where it is beyond loopback, or \"\" for none", c.Traces.To)
	}
	add(c.Traces.Sample >= 0 && c.Traces.Sample <= 1, "traces.sample", "is %g: use 0 to 1", c.Traces.Sample)
	add(c.Log.Format == "text" || c.Log.Format == "json", "log.format", "is %q: use text or json", c.Log.Format)
	var level slog.Level
	add(level.UnmarshalText([]byte(c.Log.Level)) == nil, "log.level", "is %q: use debug, info, warn or error", c.Log.Level)
	return all
}

// loopback reports whether only this machine is reached as host.
func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// logger writes to w as the configuration says.
func (c LogConfig) logger(w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.Level)) // Validate has seen it
	o := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

func (c DeliveryConfig) options() delivery.Options {
	return delivery.Options{Lease: c.Lease, Allowance: c.Allowance, AckWait: c.Acknowledgement, Follow: cmp.Or(c.Follow, -1), Workers: c.Workers, FactsAtOnce: c.FactsAtOnce, FactsPerMinute: c.FactsPerMinute, Learner: c.Learner}
}

func (c MQTTConfig) options() broker.Options {
	return broker.Options{
		Plain: c.Plain, TLS: c.TLS, WebSocket: c.WebSocket, WebSocketTLS: c.WebSocketTLS,
		AllowPlain: c.PlainBeyondLoopback, MaxConnections: c.MaxConnections, ConnectTimeout: c.ConnectTimeout,
		Limits: broker.Limits{
			PerAddress: c.ConnectionsPerAddress, PerBrand: c.ConnectionsPerBrand, PerHome: c.ConnectionsPerHome, HomeFrames: c.HomeFramesPerSecond, HomeBytes: c.HomeBytesPerSecond, Beside: c.ConnectionsBeside,
			Failures: c.FailedLogins, Takeovers: c.Takeovers, BackOff: c.BackOff, BackOffMost: c.BackOffMost,
			Frames: c.FramesPerSecond, Bytes: c.BytesPerSecond, Outstanding: c.Outstanding,
		},
	}
}

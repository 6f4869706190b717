package main

import (
	"crypto/tls"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
	nats "github.com/nats-io/nats-server/v2/server"
)

// servers are the peers that are Go modules: each runs as a process of its own, which is this program again.
var servers = map[string]func(arg []string) error{"mochi": serveMochi, "nats": serveNATS, "bare": serveBare}

func servePeer(arg []string) error {
	if len(arg) == 0 || servers[arg[0]] == nil {
		return fmt.Errorf("serve: which peer?")
	}
	return servers[arg[0]](arg[1:])
}

// served are the flags that peers have in common.
type served struct {
	plain, secure string // addresses; "": none
	cert, key     string // files in PEM
	folder        string
	sink          bool
}

func readServed(name string, arg []string) (s served, err error) {
	f := flag.NewFlagSet("serve "+name, flag.ContinueOnError)
	f.StringVar(&s.plain, "plain", "", "listen there")
	f.StringVar(&s.secure, "tls", "", "listen there, with TLS")
	f.StringVar(&s.cert, "cert", "", "certificate and what it is signed by")
	f.StringVar(&s.key, "key", "", "its key")
	f.StringVar(&s.folder, "folder", "", "for what it keeps")
	f.BoolVar(&s.sink, "sink", false, "take every publish and give it to nobody")
	return s, f.Parse(arg)
}

func (s served) config() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(s.cert, s.key)
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, err
}

// untilTold waits for the end.
func untilTold() {
	told := make(chan os.Signal, 1)
	signal.Notify(told, os.Interrupt, syscall.SIGTERM)
	<-told
}

// serveMochi is mochi-mqtt as it comes: its options, its listeners, its hook that lets everybody do everything.
func serveMochi(arg []string) error {
	s, err := readServed("mochi", arg)
	if err != nil {
		return err
	}
	server := mqtt.New(&mqtt.Options{Logger: slog.New(slog.DiscardHandler)})
	if err := server.AddHook(new(auth.AllowHook), nil); err != nil {
		return err
	}
	if s.sink {
		if err := server.AddHook(new(sink), nil); err != nil {
			return err
		}
	}
	if s.plain != "" {
		if err := server.AddListener(listeners.NewTCP(listeners.Config{ID: "plain", Address: s.plain})); err != nil {
			return err
		}
	}
	if s.secure != "" {
		c, err := s.config()
		if err != nil {
			return err
		}
		if err := server.AddListener(listeners.NewTCP(listeners.Config{ID: "tls", Address: s.secure, TLSConfig: c})); err != nil {
			return err
		}
	}
	if err := server.Serve(); err != nil {
		return err
	}
	untilTold()
	return nil // its end is not measured, and with thousands of clients it takes long
}

// sink takes every publish, as a gateway does that is its only reader, and does nothing with it.
type sink struct{ mqtt.HookBase }

func (*sink) ID() string           { return "sink" }
func (*sink) Provides(b byte) bool { return b == mqtt.OnPublish }
func (*sink) OnPublish(_ *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	return pk, packets.CodeSuccessIgnore
}

// serveNATS is nats-server with its MQTT, which keeps what has QoS 1 in JetStream.
func serveNATS(arg []string) error {
	s, err := readServed("nats", arg)
	if err != nil {
		return err
	}
	at, err := net.ResolveTCPAddr("tcp", s.plain)
	if err != nil {
		return err
	}
	server, err := nats.NewServer(&nats.Options{
		ServerName: "bench", Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true, JetStream: true, StoreDir: s.folder,
		MQTT: nats.MQTTOpts{Host: at.IP.String(), Port: at.Port, MaxAckPending: 16384},
	})
	if err != nil {
		return err
	}
	server.Start()
	if !server.ReadyForConnections(30 * time.Second) {
		return fmt.Errorf("nats is not ready")
	}
	untilTold()
	return nil
}

// serveBare is no broker: what TLS and TCP themselves cost, in Go's own implementation. With TLS it shakes hands,
// takes one byte and gives one back. Without, it answers all that comes with a PUBACK of the packet 1.
func serveBare(arg []string) error {
	s, err := readServed("bare", arg)
	if err != nil {
		return err
	}
	c, err := s.config()
	if err != nil {
		return err
	}
	c.SessionTicketsDisabled = true
	secure, err := net.Listen("tcp", s.secure)
	if err != nil {
		return err
	}
	plain, err := net.Listen("tcp", s.plain)
	if err != nil {
		return err
	}
	echo := func(c net.Conn, answer []byte) {
		defer c.Close()
		for in := make([]byte, 512); ; {
			if _, err := c.Read(in); err != nil {
				return
			}
			if _, err := c.Write(answer); err != nil {
				return
			}
		}
	}
	go accept(plain, func(raw net.Conn) { echo(raw, []byte{kindPuback, 2, 0, 1}) })
	return accept(secure, func(raw net.Conn) { echo(tls.Server(raw, c), []byte{1}) })
}

func accept(l net.Listener, f func(net.Conn)) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go f(c)
	}
}

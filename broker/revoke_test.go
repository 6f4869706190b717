package broker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/authority"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/device/wire"
	"porchlight/policy"
)

// house is a running door with the real Desk and Courier behind it, and one home.
type house struct {
	*Door
	*delivery.Desk
	trust *x509.CertPool
	ca    *authority.Authority
	db    *store.DB
}

func openHouse(tb testing.TB) *house {
	tb.Helper()
	dir := tb.TempDir()
	log := slog.New(slog.DiscardHandler)
	db, err := store.Open(tb.Context(), filepath.Join(dir, "p.db"), store.Options{Project: delivery.Project, Clear: delivery.Clear})
	if err != nil {
		tb.Fatal(err)
	}
	h := &house{trust: x509.NewCertPool(), db: db}
	ca, err := authority.Open(dir, nil, time.Now)
	if err != nil {
		tb.Fatal(err)
	}
	h.ca = ca
	if h.Desk, err = delivery.NewDesk(db, delivery.Options{Authority: ca}, log); err != nil {
		tb.Fatal(err)
	}
	pem, err := os.ReadFile(ca.Path())
	if err != nil {
		tb.Fatal(err)
	}
	h.trust.AppendCertsFromPEM(pem)
	if h.Door, err = New(h.Desk, db, Options{Plain: "127.0.0.1:0", TLS: "127.0.0.1:0", WebSocketTLS: "127.0.0.1:0", Authority: ca, Entrance: h.Desk, Audit: h.Desk.Refused}, log); err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- delivery.NewCourier(h.Desk).Run(ctx) }()
	go func() { done <- h.Door.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				tb.Error(err)
			}
		}
		db.Close()
	})
	if _, _, err := h.AddHome(ctx, delivery.HomeSpec{Name: "oak-3", Zone: "Europe/Zurich", Caps: []policy.Cap{}}); err != nil {
		tb.Fatal(err)
	}
	return h
}

// enrol adds a device and returns its token.
func (h *house) enrol(tb testing.TB, id device.ID) string {
	tb.Helper()
	e, err := h.AddDevice(context.Background(), "oak-3", delivery.DeviceSpec{ID: id, Name: string(id), Class: device.TV})
	if err != nil {
		tb.Fatal(err)
	}
	return e.Token
}

func (h *house) dial(tb testing.TB, scheme string) net.Conn {
	tb.Helper()
	c, err := net.Dial("tcp", h.Addr(scheme).String())
	if err != nil {
		tb.Fatal(err)
	}
	c.(*net.TCPConn).SetReadBuffer(4 << 10)
	c.SetDeadline(time.Now().Add(patient))
	tb.Cleanup(func() { c.Close() })
	if scheme == "mqtts" {
		return tls.Client(c, &tls.Config{RootCAs: h.trust, ServerName: "localhost"})
	}
	return c
}

// link waits until the device is connected.
func (h *house) link(tb testing.TB, id device.ID) *link {
	tb.Helper()
	for end := time.Now().Add(patient); ; time.Sleep(time.Millisecond) {
		h.mu.Lock()
		l := h.links[id]
		h.mu.Unlock()
		if l != nil {
			return l
		}
		if time.Now().After(end) {
			tb.Fatalf("%s is not connected", id)
		}
	}
}

// TestRemoved: a device that is removed is disconnected, whatever its peer is doing, and its
// credential and its ID are void.
func TestRemoved(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	number := 0
	for name, doing := range map[string]func(t *testing.T, r *raw, id device.ID){
		"listening": func(t *testing.T, r *raw, id device.ID) {
			r.subscribe(1, wire.Topic(id, "dn/#"), 1)
			r.publish(2, wire.Topic(id, wire.UpBirth), goodBirth(t))
		},
		"only logged in":   func(*testing.T, *raw, device.ID) {},
		"half of a packet": func(_ *testing.T, r *raw, _ device.ID) { r.Write([]byte{0x30, 100, 0, 1}) },
		"not reading":      func(t *testing.T, _ *raw, id device.ID) { clog(t, h.link(t, id)) },
	} {
		for _, scheme := range []string{"mqtt", "mqtts"} {
			for _, version := range []byte{4, 5} {
				t.Run(fmt.Sprintf("%s, %s, %d", name, scheme, version), func(t *testing.T) {
					number++
					id := device.ID(fmt.Sprintf("tv-%04d", number))
					token := h.enrol(t, id)
					r := &raw{h.dial(t, scheme), t, version}
					r.send(connectPacket(string(id), string(id), token))
					if body := r.expect(packets.Connack); body[1] != 0 {
						t.Fatalf("CONNACK %x", body)
					}
					doing(t, r, id)
					l := h.link(t, id)
					if err := h.RemoveDevice(t.Context(), id); err != nil {
						t.Fatal(err)
					}
					began := time.Now()
					select {
					case <-l.ended:
					case <-time.After(patient):
						t.Fatal("still connected")
					}
					if took := time.Since(began); took >= writeTimeout {
						t.Errorf("it took %s, as long as any write may", took)
					}
					if name != "not reading" {
						if got, want := r.ended(), map[byte]byte{4: 0, 5: 0x98}[version]; got != want {
							t.Errorf("DISCONNECT %#x, want %#x", got, want)
						}
					}
					if err := l.Send(beacon); !errors.Is(err, delivery.ErrAway) {
						t.Errorf("Send afterwards: %v, want ErrAway", err)
					}
					// The same ID back again sees nothing.
					again := &raw{h.dial(t, scheme), t, version}
					again.send(connectPacket(string(id), string(id), token))
					if body := again.expect(packets.Connack); body[1] != map[byte]byte{4: 5, 5: 0x87}[version] {
						t.Errorf("back again: CONNACK %x", body)
					}
					if kind, _ := again.receive(); kind != 0 {
						t.Errorf("back again: received %#x, want the end", kind)
					}
					if _, err := h.AddDevice(t.Context(), "oak-3", delivery.DeviceSpec{ID: id, Name: "again", Class: device.TV}); !errors.Is(err, registry.ErrTaken) {
						t.Errorf("the ID given again: %v, want ErrTaken", err)
					}
					if s := h.server.Topics.Subscribers(wire.Topic(id, wire.DnMsg)); len(s.Subscriptions) > 0 {
						t.Error("the library still knows its subscription")
					}
				})
			}
		}
	}
}

// TestRemovedWhileLoggingIn: a device that is removed while it shakes hands, or between the
// look at its credential and its place at the Desk, does not get in.
func TestRemovedWhileLoggingIn(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	ask := h.auth.device
	seen, on := make(chan struct{}), make(chan struct{})
	var waits atomic.Bool
	h.auth.device = func(id device.ID, p registry.Proof) (registry.Login, error) {
		d, err := ask(id, p)
		if waits.Load() {
			seen <- struct{}{}
			<-on
		}
		return d, err
	}
	for _, version := range []byte{4, 5} {
		want := map[byte]byte{4: 5, 5: 0x87}[version]
		t.Run(fmt.Sprintf("shaking hands, %d", version), func(t *testing.T) {
			waits.Store(false)
			id := device.ID(fmt.Sprintf("tv-1%d", version))
			token := h.enrol(t, id)
			c := h.dial(t, "mqtts")
			if err := c.(*tls.Conn).Handshake(); err != nil {
				t.Fatal(err)
			}
			if err := h.RemoveDevice(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			r := &raw{c, t, version}
			r.send(connectPacket(string(id), string(id), token))
			if body := r.expect(packets.Connack); body[1] != want {
				t.Errorf("CONNACK %x, want code %#x", body, want)
			}
			r.ended()
		})
		t.Run(fmt.Sprintf("looked up, %d", version), func(t *testing.T) {
			waits.Store(true)
			defer waits.Store(false)
			id := device.ID(fmt.Sprintf("tv-2%d", version))
			token := h.enrol(t, id)
			r := &raw{h.dial(t, "mqtt"), t, version}
			r.send(connectPacket(string(id), string(id), token))
			<-seen
			if err := h.RemoveDevice(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			on <- struct{}{}
			if body := r.expect(packets.Connack); body[1] != want {
				t.Errorf("CONNACK %x, want code %#x", body, want)
			}
			r.ended()
			h.mu.Lock()
			defer h.mu.Unlock()
			if h.links[id] != nil {
				t.Error("it has a link")
			}
		})
	}
}

// BenchmarkRemoved is how long a device stays connected once RemoveDevice has been called, for
// a peer that reads and one that has stopped.
func BenchmarkRemoved(b *testing.B) {
	h := openHouse(b)
	number := 0
	for name, stuck := range map[string]bool{"reading": false, "stuck": true} {
		b.Run(name, func(b *testing.B) {
			var took []float64
			for b.Loop() {
				number++
				id := device.ID(fmt.Sprintf("tv-%06d", number))
				token := h.enrol(b, id)
				c := h.dial(b, "mqtt")
				t := new(testing.T)
				r := &raw{c, t, 5}
				r.send(connectPacket(string(id), string(id), token))
				r.expect(packets.Connack)
				l := h.link(b, id)
				if stuck {
					clog(t, l)
				}
				began := time.Now()
				if err := h.RemoveDevice(b.Context(), id); err != nil {
					b.Fatal(err)
				}
				if stuck {
					<-l.ended
				} else {
					io.Copy(io.Discard, c)
				}
				took = append(took, float64(time.Since(began).Microseconds())/1000)
				c.Close()
			}
			slices.Sort(took)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(took[len(took)/2], "p50-ms")
			b.ReportMetric(took[(len(took)*99+99)/100-1], "p99-ms")
		})
	}
}

package broker

import (
	"bytes"
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
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	pahopackets "github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"
	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/authority"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/device/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patient bounds every wait of these tests; nothing depends on how long it is.
const patient = 20 * time.Second

// sink stands where the Desk stands, for tests of the transport alone: it says what it heard,
// and fails on demand. The store, the registry, the door and the clients are real.
type sink struct {
	heard chan call

	mu   sync.Mutex
	fail map[string]error
	live map[device.ID]delivery.Link // as the contract of Desk promises: one for each device
	busy map[delivery.Link]bool
	bad  []string
	gone map[delivery.Link]int
}

type call struct {
	what string
	dev  device.ID
	link delivery.Link
	arg  any
}

func (s *sink) say(what string, dev device.ID, l delivery.Link, arg any) error {
	s.mu.Lock()
	err := s.fail[what]
	if what != "connected" && s.live[dev] != l {
		s.bad = append(s.bad, what+" for a link that is not the device's")
	}
	if s.busy[l] {
		s.bad = append(s.bad, what+" while another call about this link is under way")
	}
	s.busy[l] = true
	s.mu.Unlock()
	runtime.Gosched()
	defer func() { s.mu.Lock(); delete(s.busy, l); s.mu.Unlock() }()
	select {
	case s.heard <- call{what, dev, l, arg}:
	default:
	}
	return err
}

func (s *sink) Connected(dev device.ID, _ device.HomeID, l delivery.Link) error {
	s.mu.Lock()
	if s.live[dev] != nil {
		s.bad = append(s.bad, "connected before the last link was gone")
	}
	if s.fail["connected"] == nil {
		s.live[dev] = l
	}
	s.mu.Unlock()
	return s.say("connected", dev, l, nil)
}
func (s *sink) Subscribed(dev device.ID, l delivery.Link) error {
	return s.say("subscribed", dev, l, nil)
}
func (s *sink) Birth(dev device.ID, l delivery.Link, b wire.Birth) error {
	return s.say("birth", dev, l, b)
}
func (s *sink) Context(dev device.ID, l delivery.Link, c wire.Context) error {
	return s.say("context", dev, l, c)
}
func (s *sink) Event(dev device.ID, l delivery.Link, e wire.Event) error {
	return s.say("event", dev, l, e)
}
func (s *sink) Propose(dev device.ID, l delivery.Link, p wire.Proposal) error {
	return s.say("propose", dev, l, p)
}
func (s *sink) Answer(dev device.ID, l delivery.Link, a wire.Answer) error {
	return s.say("answer", dev, l, a)
}
func (s *sink) WhyAsked(dev device.ID, l delivery.Link, q wire.WhyAsked) error {
	return s.say("why", dev, l, q)
}
func (s *sink) Signal(dev device.ID, l delivery.Link, g wire.Signal) error {
	return s.say("signal", dev, l, g)
}
func (s *sink) Bye(dev device.ID, l delivery.Link, b wire.Bye) error        { return s.say("bye", dev, l, b) }
func (s *sink) Acked(dev device.ID, l delivery.Link)                        { s.say("acked", dev, l, nil) }
func (s *sink) Used(device.ID, device.HomeID, registry.Proof, string) error { return nil }

func (s *sink) Gone(dev device.ID, l delivery.Link) {
	s.say("gone", dev, l, nil)
	s.mu.Lock()
	s.gone[l]++
	delete(s.live, dev)
	s.mu.Unlock()
}
func (s *sink) Accept(_ context.Context, b registry.Brand, key string, m delivery.Submission) (delivery.Answer, error) {
	s.mu.Lock()
	err := s.fail["accept"]
	s.mu.Unlock()
	s.heard <- call{"accept", "", nil, key}
	return delivery.Answer{ID: device.NewMessageID(1), State: "accepted", At: 1, NotAfter: device.At(m.NotAfter)}, err
}

func (s *sink) failing(what string, err error) {
	s.mu.Lock()
	s.fail[what] = err
	s.mu.Unlock()
}

// await returns the next call named what, passing over others.
func (s *sink) await(t *testing.T, what string) call {
	t.Helper()
	timeout := time.After(patient)
	for {
		select {
		case c := <-s.heard:
			if c.what == what {
				return c
			}
		case <-timeout:
			t.Fatalf("the Desk never heard %q", what)
		}
	}
}

// world is a running door with a home, two devices and a brand behind it.
type world struct {
	*Door
	sink  *sink
	db    *store.DB
	logs  *safeBuffer
	ca    *x509.CertPool
	caCrt string
	token map[device.ID]string
	key   string
	stop  func()
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}
func (b *safeBuffer) String() string { b.mu.Lock(); defer b.mu.Unlock(); return b.b.String() }

func begin(t *testing.T, edit func(*Options)) *world {
	t.Helper()
	dir := t.TempDir()
	db, err := store.Open(t.Context(), filepath.Join(dir, "p.db"), store.Options{Project: func(tx *store.Apply, e store.Event) error {
		_, err := registry.Apply(tx, e)
		return err
	}})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{db: db, logs: &safeBuffer{}, token: map[device.ID]string{}, key: registry.NewKey()}
	w.sink = &sink{heard: make(chan call, 4096), fail: map[string]error{}, live: map[device.ID]delivery.Link{}, busy: map[delivery.Link]bool{}, gone: map[delivery.Link]int{}}
	err = db.Update(func(tx *store.Tx) error {
		home, err := registry.AddHome(tx, "oak-3", "Europe/Zurich")
		if err != nil {
			return err
		}
		for id, class := range map[device.ID]device.Class{"tv-1": device.TV, "car-1": device.Car} {
			w.token[id] = registry.NewToken()
			if err := registry.AddDevice(tx, device.Device{ID: id, Home: home.ID, Class: class, Name: string(id)}, w.token[id]); err != nil {
				return err
			}
		}
		return registry.AddBrand(tx, registry.Brand{ID: "acme", Name: "Acme", Purposes: []string{"offers"}, Quota: 100}, w.key)
	})
	if err != nil {
		t.Fatal(err)
	}
	ca, err := authority.Open(dir, nil, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(ca.Path())
	if err != nil {
		t.Fatal(err)
	}
	w.caCrt, w.ca = ca.Path(), x509.NewCertPool()
	w.ca.AppendCertsFromPEM(pem)
	o := Options{Plain: "127.0.0.1:0", TLS: "127.0.0.1:0", WebSocket: "127.0.0.1:0", WebSocketTLS: "127.0.0.1:0", Authority: ca}
	if edit != nil {
		edit(&o)
	}
	w.Door, err = New(w.sink, db, o, slog.New(slog.NewTextHandler(w.logs, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	var once sync.Once
	w.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
			if n := w.sockets.Load(); n != 0 {
				t.Errorf("%d sockets are still counted after Run", n)
			}
			w.sink.mu.Lock()
			defer w.sink.mu.Unlock()
			for _, b := range w.sink.bad {
				t.Error("the Desk heard:", b)
			}
			if len(w.sink.live) > 0 {
				t.Errorf("%d links were never gone", len(w.sink.live))
			}
			for _, n := range w.sink.gone {
				if n != 1 {
					t.Errorf("a link was gone %d times", n)
				}
			}
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(w.stop)
	return w
}

// counted reads a counter by name and label value.
func (w *world) counted(t *testing.T, name string) (sum float64) {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(w.Metrics())
	all, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() == "porchlight_mqtt_"+name {
			for _, m := range f.Metric {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// until waits for a counter to reach least.
func (w *world) until(t *testing.T, name string, least float64) {
	t.Helper()
	for end := time.Now().Add(patient); w.counted(t, name) < least; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s is %v, want %v", name, w.counted(t, name), least)
		}
	}
}

func goodBirth(t *testing.T) []byte {
	t.Helper()
	b, err := wire.Encode(wire.Birth{
		Model: wire.Model{Maker: "m", Name: "n"}, Class: device.TV,
		Can:        wire.Capabilities{Screen: []uint{1920, 1080, 1000}, Forms: []device.Form{device.Toast}, Languages: []string{"en"}},
		Attributes: []string{"power.state", "state"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func encode(t *testing.T, frame any) []byte {
	t.Helper()
	b, err := wire.Encode(frame)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// raw is a client that can say anything.
type raw struct {
	net.Conn
	t       *testing.T
	version byte
}

func (w *world) dial(t *testing.T) *raw {
	t.Helper()
	c, err := net.Dial("tcp", w.Addr("mqtt").String())
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(patient))
	t.Cleanup(func() { c.Close() })
	return &raw{c, t, 4}
}

func (r *raw) send(pk packets.Packet) {
	r.t.Helper()
	pk.ProtocolVersion = r.version
	var b bytes.Buffer
	var err error
	switch pk.FixedHeader.Type {
	case packets.Connect:
		err = pk.ConnectEncode(&b)
	case packets.Subscribe:
		pk.FixedHeader.Qos = 1
		err = pk.SubscribeEncode(&b)
	case packets.Unsubscribe:
		pk.FixedHeader.Qos = 1
		err = pk.UnsubscribeEncode(&b)
	case packets.Publish:
		err = pk.PublishEncode(&b)
	case packets.Puback:
		err = pk.PubackEncode(&b)
	case packets.Pingreq:
		err = pk.PingreqEncode(&b)
	default:
		r.t.Fatalf("send packet type %d", pk.FixedHeader.Type)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	r.Write(b.Bytes()) // an error shows when reading
}

// receive reads one packet; kind 0 is the end of the connection.
func (r *raw) receive() (kind byte, body []byte) {
	r.t.Helper()
	var head [1]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			r.t.Fatal("nothing came, and the connection was not ended")
		}
		return 0, nil
	}
	n, _, err := packets.DecodeLength(byteReader{r})
	if err != nil {
		return 0, nil
	}
	body = make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return 0, nil
	}
	return head[0], body
}

type byteReader struct{ io.Reader }

func (b byteReader) ReadByte() (byte, error) {
	var one [1]byte
	_, err := io.ReadFull(b, one[:])
	return one[0], err
}

// expect reads packets until one of the type comes.
func (r *raw) expect(kind byte) []byte {
	r.t.Helper()
	for {
		got, body := r.receive()
		if got>>4 == kind {
			return body
		}
		if got == 0 {
			r.t.Fatalf("the connection ended, want packet type %d", kind)
		}
	}
}

// ended reads until the connection is over; it returns the code of a DISCONNECT on the way.
func (r *raw) ended() (code byte) {
	r.t.Helper()
	for {
		kind, body := r.receive()
		switch {
		case kind == 0:
			return code
		case kind>>4 == packets.Disconnect && len(body) > 0:
			code = body[0]
		}
	}
}

func connectPacket(id, user, password string) packets.Packet {
	return packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connect}, Connect: packets.ConnectParams{
		ProtocolName: []byte("MQTT"), Clean: true, Keepalive: 30, ClientIdentifier: id,
		UsernameFlag: true, Username: []byte(user), PasswordFlag: true, Password: []byte(password),
	}}
}

// login connects as the device, subscribes to dn/# and says nothing more.
func (w *world) login(t *testing.T, id device.ID, version byte) *raw {
	t.Helper()
	r := w.dial(t)
	r.version = version
	r.send(connectPacket(string(id), string(id), w.token[id]))
	if body := r.expect(packets.Connack); body[1] != 0 {
		t.Fatalf("CONNACK %x", body)
	}
	r.subscribe(1, wire.Topic(id, "dn/#"), 1)
	return r
}

func (r *raw) subscribe(packet uint16, filter string, qos byte) (code byte) {
	r.t.Helper()
	r.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe}, PacketID: packet, Filters: packets.Subscriptions{{Filter: filter, Qos: qos}}})
	body := r.expect(packets.Suback)
	return body[len(body)-1]
}

// publish sends with QoS 1 and returns the reason code of the PUBACK.
func (r *raw) publish(packet uint16, topic string, payload []byte) (code byte) {
	r.t.Helper()
	r.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}, PacketID: packet, TopicName: topic, Payload: payload})
	body := r.expect(packets.Puback)
	if got := uint16(body[0])<<8 | uint16(body[1]); got != packet {
		r.t.Fatalf("PUBACK of %d, want %d", got, packet)
	}
	if len(body) > 2 {
		return body[2]
	}
	return 0
}

func TestConnect(t *testing.T) {
	w := begin(t, nil)
	good := func() packets.Packet { return connectPacket("tv-1", "tv-1", w.token["tv-1"]) }
	tests := map[string]struct {
		edit func(*packets.Packet)
		five byte // reason code of MQTT 5
		old  byte // return code of MQTT 3.1.1
	}{
		"the device":          {func(*packets.Packet) {}, 0, 0},
		"not a clean session": {func(p *packets.Packet) { p.Connect.Clean = false }, 0, 0},
		"wrong token":         {func(p *packets.Packet) { p.Connect.Password = []byte(registry.NewToken()) }, 0x87, 5},
		"another's token":     {func(p *packets.Packet) { p.Connect.Password = []byte(w.token["car-1"]) }, 0x87, 5},
		"unknown device":      {func(p *packets.Packet) { p.Connect.Username, p.Connect.ClientIdentifier = []byte("tv-9"), "tv-9" }, 0x87, 5},
		"no password":         {func(p *packets.Packet) { p.Connect.PasswordFlag = false; p.Connect.Password = nil }, 0x87, 5},
		"no user":             {func(p *packets.Packet) { p.Connect.UsernameFlag, p.Connect.PasswordFlag = false, false }, 0x87, 5},
		"foreign client ID":   {func(p *packets.Packet) { p.Connect.ClientIdentifier = "car-1" }, 0x85, 2},
		"empty client ID":     {func(p *packets.Packet) { p.Connect.ClientIdentifier = "" }, 0x85, 2},
		"inline":              {func(p *packets.Packet) { p.Connect.Username, p.Connect.ClientIdentifier = []byte("inline"), "inline" }, 0x85, 2},
		"not an ID":           {func(p *packets.Packet) { p.Connect.Username, p.Connect.ClientIdentifier = []byte("TV/+"), "TV/+" }, 0x85, 2},
		"beside nobody": {func(p *packets.Packet) {
			p.Connect.Username, p.Connect.ClientIdentifier, p.Connect.Password = []byte("car-1"), "car-1/pub", []byte(w.token["car-1"])
		}, 0x83, 3},
		"beside, wrong token": {func(p *packets.Packet) {
			p.Connect.ClientIdentifier, p.Connect.Password = "tv-1/pub", []byte(registry.NewToken())
		}, 0x87, 5},
		"beside another": {func(p *packets.Packet) { p.Connect.ClientIdentifier = "car-1/pub" }, 0x85, 2},
		"no suffix":      {func(p *packets.Packet) { p.Connect.ClientIdentifier = "tv-1/" }, 0x85, 2},
		"long suffix":    {func(p *packets.Packet) { p.Connect.ClientIdentifier = "tv-1/" + strings.Repeat("x", 17) }, 0x85, 2},
		"odd suffix":     {func(p *packets.Packet) { p.Connect.ClientIdentifier = "tv-1/a/b" }, 0x85, 2},
		"brand as device": {func(p *packets.Packet) {
			p.Connect.Username, p.Connect.ClientIdentifier, p.Connect.Password = []byte("acme"), "acme", []byte(w.key)
		}, 0x87, 5},
		"brand": {func(p *packets.Packet) {
			p.Connect.Username, p.Connect.ClientIdentifier, p.Connect.Password = []byte("acme"), "b-acme", []byte(w.key)
		}, 0, 0},
		"brand, second session": {func(p *packets.Packet) {
			p.Connect.Username, p.Connect.ClientIdentifier, p.Connect.Password = []byte("acme"), "b-acme-2", []byte(w.key)
		}, 0, 0},
		"brand, foreign name": {func(p *packets.Packet) {
			p.Connect.Username, p.Connect.ClientIdentifier, p.Connect.Password = []byte("apex"), "b-apex", []byte(w.key)
		}, 0x87, 5},
		"brand, wrong key": {func(p *packets.Packet) { p.Connect.Username, p.Connect.ClientIdentifier = []byte("acme"), "b-acme" }, 0x87, 5},
		"brand, other's ID": {func(p *packets.Packet) {
			p.Connect.Username, p.Connect.ClientIdentifier, p.Connect.Password = []byte("acme"), "b-acmex", []byte(w.key)
		}, 0x85, 2},
		"will": {func(p *packets.Packet) {
			p.Connect.WillFlag, p.Connect.WillTopic, p.Connect.WillPayload = true, "pl/1/car-1/dn/msg", []byte("x")
		}, 0x83, 5},
		"will on its own topic": {func(p *packets.Packet) {
			p.Connect.WillFlag, p.Connect.WillTopic, p.Connect.WillPayload = true, "pl/1/tv-1/up/will", []byte("x")
		}, 0x83, 5},
	}
	for name, tc := range tests {
		for version, want := range map[byte]byte{4: tc.old, 5: tc.five} {
			t.Run(fmt.Sprintf("%s, %d", name, version), func(t *testing.T) {
				r := w.dial(t)
				r.version = version
				pk := good()
				tc.edit(&pk)
				r.send(pk)
				body := r.expect(packets.Connack)
				if body[1] != want || body[0] != 0 {
					t.Fatalf("CONNACK %#x, want session 0 and code %#x", body, want)
				}
				if want != 0 {
					r.ended()
				}
			})
		}
	}
	t.Run("store fails", func(t *testing.T) {
		w.sink.failing("connected", store.ErrFull)
		defer w.sink.failing("connected", nil)
		for version, want := range map[byte]byte{4: 3, 5: 0x88} {
			r := w.dial(t)
			r.version = version
			r.send(good())
			if body := r.expect(packets.Connack); body[1] != want {
				t.Fatalf("CONNACK %x, want code %#x", body, want)
			}
			r.ended()
		}
	})
}

func TestConnackTellsTheTruth(t *testing.T) {
	w := begin(t, nil)
	for _, asked := range []uint16{0, 3, 60, 50_000} {
		r := w.dial(t)
		r.version = 5
		pk := connectPacket("tv-1", "tv-1", w.token["tv-1"])
		pk.Connect.Keepalive = asked
		pk.Properties.SessionExpiryInterval, pk.Properties.SessionExpiryIntervalFlag = 3600, true
		r.send(pk)
		got := packets.Packet{ProtocolVersion: 5, FixedHeader: packets.FixedHeader{Type: packets.Connack}}
		if err := got.ConnackDecode(r.expect(packets.Connack)); err != nil {
			t.Fatal(err)
		}
		p := got.Properties
		if p.MaximumPacketSize != 16<<10 || p.TopicAliasMaximum != 8 || p.SessionExpiryInterval != 0 || !p.SessionExpiryIntervalFlag ||
			!p.RetainAvailableFlag || p.RetainAvailable != 0 || !p.SharedSubAvailableFlag || p.SharedSubAvailable != 0 ||
			!p.SubIDAvailableFlag || p.SubIDAvailable != 0 || p.WildcardSubAvailableFlag || p.MaximumQos != 1 || p.ReceiveMaximum != 16 {
			t.Errorf("CONNACK announces %+v", p)
		}
		want := map[uint16]uint16{0: 120, 3: 5, 50_000: 120}[asked]
		if p.ServerKeepAliveFlag != (want != 0) || p.ServerKeepAlive != want {
			t.Errorf("keep-alive %d: server says %d, want %d", asked, p.ServerKeepAlive, want)
		}
	}
}

func TestTopics(t *testing.T) {
	w := begin(t, nil)
	tv := w.login(t, "tv-1", 5)
	car := w.login(t, "car-1", 4)
	brand := w.dial(t)
	brand.version = 5
	brand.send(connectPacket("b-acme", "acme", w.key))
	brand.expect(packets.Connack)

	for filter, want := range map[string]byte{
		"pl/1/tv-1/dn/#": 1, "pl/1/tv-1/dn/msg": 1, "pl/1/tv-1/dn/err": 1,
		"pl/1/car-1/dn/#": 0x87, "#": 0x87, "+/1/tv-1/dn/#": 0x87, "pl/1/+/dn/#": 0x87, "$SYS/#": 0x87,
		"$share/g/pl/1/tv-1/dn/#": 0x87, "pl/1/tv-1/up/#": 0x87, "pl/1/tv-1/#": 0x87, "pl/1/b/acme/dn/#": 0x87,
	} {
		if got := tv.subscribe(7, filter, 1); got != want {
			t.Errorf("SUBSCRIBE %s: %#x, want %#x", filter, got, want)
		}
	}
	if got := tv.subscribe(8, "pl/1/tv-1/dn/#", 0); got != 0x87 {
		t.Errorf("SUBSCRIBE with QoS 0: %#x, want a refusal", got)
	}
	if got := car.subscribe(8, "pl/1/tv-1/dn/#", 1); got != 0x80 {
		t.Errorf("3.1.1 SUBSCRIBE to another's topic: %#x, want 0x80", got)
	}
	for filter, want := range map[string]byte{"pl/1/b/acme/dn/answer": 1, "pl/1/b/acme/dn/#": 1, "pl/1/b/apex/dn/#": 0x87, "pl/1/tv-1/dn/#": 0x87} {
		if got := brand.subscribe(7, filter, 1); got != want {
			t.Errorf("a brand's SUBSCRIBE %s: %#x, want %#x", filter, got, want)
		}
	}

	tv.publish(20, "pl/1/tv-1/up/birth", goodBirth(t))
	for i, topic := range []string{"pl/1/car-1/up/birth", "pl/1/tv-1/dn/msg", "pl/1/car-1/dn/msg", "pl/1/tv-1/up/other", "x", "pl/2/tv-1/up/birth", "pl/1/b/acme/up/message"} {
		if got := tv.publish(uint16(30+i), topic, goodBirth(t)); got != 0x87 {
			t.Errorf("PUBLISH %s: %#x, want 0x87", topic, got)
		}
	}
	// 3.1.1 has no negative acknowledgement: it hears on dn/err and stays.
	car.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}, PacketID: 9, TopicName: "pl/1/tv-1/dn/msg", Payload: []byte{0xa0}})
	got := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish}, ProtocolVersion: 4}
	if err := got.PublishDecode(car.expect(packets.Publish)); err != nil {
		t.Fatal(err)
	}
	e, err := wire.DecodeErr(got.Payload)
	if err != nil || got.TopicName != "pl/1/car-1/dn/err" || e.Code != 0x87 || e.Seq != 0 {
		t.Errorf("after a foreign PUBLISH: %s %+v, %v", got.TopicName, e, err)
	}
	car.expect(packets.Puback)
	car.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}})
	car.expect(packets.Pingresp)
	tv.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}})
	if kind, _ := tv.receive(); kind>>4 != packets.Pingresp {
		t.Errorf("the victim received packet type %d", kind>>4)
	}
}

func TestFrames(t *testing.T) {
	w := begin(t, nil)
	evt := encode(t, wire.Event{Seq: 3, Message: device.NewMessageID(1), Kind: wire.Presented})
	tests := map[string]struct {
		leaf    wire.Leaf
		payload []byte
		fail    error // of the Desk
		heard   string
		code    byte // of the PUBACK of MQTT 5, and of dn/err of 3.1.1
	}{
		"birth":            {wire.UpBirth, goodBirth(t), nil, "birth", 0},
		"context by place": {wire.UpCtx, []byte{0xa2, 0, 1, 3, 0xa1, 0, 0x62, 'o', 'n'}, nil, "context", 0},
		"event":            {wire.UpEvt, evt, nil, "event", 0},
		"proposal":         {wire.UpTwin, encode(t, wire.Proposal{Seq: 4}), nil, "propose", 0},
		"bye":              {wire.UpBye, encode(t, wire.Bye{Seq: 5, Reason: "off"}), nil, "bye", 0},
		"answer":           {wire.UpAns, encode(t, wire.Answer{Seq: 6, Ask: device.NewMessageID(1), Kind: wire.AnswerNo}), nil, "answer", 0},
		"why":              {wire.UpWhy, encode(t, wire.WhyAsked{Seq: 7}), nil, "why", 0},
		"signal":           {wire.UpSig, encode(t, wire.Signal{Seq: 8, Kind: wire.SignalGPC, Value: "1"}), nil, "signal", 0},
		"malformed":        {wire.UpEvt, []byte{0xff, 0x01}, nil, "", 0x99},
		"empty":            {wire.UpCtx, nil, nil, "", 0x99},
		"refused by desk":  {wire.UpEvt, evt, fmt.Errorf("event: %w", wire.ErrFrame), "event", 0x99},
		"forbidden":        {wire.UpTwin, encode(t, wire.Proposal{Seq: 4}), fmt.Errorf("propose: %w", delivery.ErrForbidden), "propose", 0x87},
		"overtaken":        {wire.UpTwin, encode(t, wire.Proposal{Seq: 4}), fmt.Errorf("propose: %w", delivery.ErrStale), "propose", 0x83},
	}
	for version, id := range map[byte]device.ID{4: "car-1", 5: "tv-1"} {
		r := w.login(t, id, version)
		if version == 5 {
			if got := r.publish(40, wire.Topic(id, wire.UpEvt), evt); got != 0x83 {
				t.Errorf("an event before birth: %#x, want 0x83", got)
			}
		}
		r.publish(1, wire.Topic(id, wire.UpBirth), goodBirth(t))
		packet := uint16(100)
		for name, tc := range tests {
			t.Run(fmt.Sprintf("%s, %d", name, version), func(t *testing.T) {
				packet++
				if tc.fail != nil {
					w.sink.failing(tc.heard, tc.fail)
					defer w.sink.failing(tc.heard, nil)
				}
				r.t = t
				r.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}, PacketID: packet, TopicName: wire.Topic(id, tc.leaf), Payload: tc.payload})
				if version == 4 && tc.code != 0 {
					pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish}, ProtocolVersion: 4}
					if err := pk.PublishDecode(r.expect(packets.Publish)); err != nil {
						t.Fatal(err)
					}
					if e, err := wire.DecodeErr(pk.Payload); err != nil || e.Code != tc.code || e.Leaf != string(tc.leaf) || e.Text == "" {
						t.Errorf("dn/err %+v, %v, want code %#x", e, err, tc.code)
					}
				}
				body, got := r.expect(packets.Puback), byte(0)
				if len(body) > 2 {
					got = body[2]
				}
				if want := tc.code * (version - 4); got != want {
					t.Errorf("PUBACK code %#x, want %#x", got, want)
				}
				if tc.heard == "" {
					return
				}
				c := w.sink.await(t, tc.heard)
				if c.dev != id {
					t.Errorf("heard of %s, want %s", c.dev, id)
				}
				if ctx, ok := c.arg.(wire.Context); ok && ctx.Values["power.state"] != "on" {
					t.Errorf("context %v, want the name that the birth gave to place 0", ctx.Values)
				}
			})
		}
	}
}

func TestOursToMend(t *testing.T) {
	t.Parallel()
	w := begin(t, nil)
	w.sink.failing("birth", store.ErrFull)
	for version, want := range map[byte]byte{4: 0, 5: 0x89} {
		r := w.login(t, "tv-1", version)
		r.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}, PacketID: 2, TopicName: "pl/1/tv-1/up/birth", Payload: goodBirth(t)})
		for {
			kind, body := r.receive()
			if kind>>4 == packets.Puback {
				t.Fatal("acknowledged what could not be kept")
			}
			if kind>>4 == packets.Disconnect && body[0] != want {
				t.Errorf("DISCONNECT %#x, want %#x", body[0], want)
			}
			if kind == 0 {
				break
			}
		}
	}
}

// TestAck holds the one function that decides what an error becomes to its promise: no error
// but a known refusal is acknowledged, and nothing at all goes on to other clients.
func TestAck(t *testing.T) {
	tests := map[string]struct {
		err      error
		negative error // the answer where MQTT can carry a refusal
		plain    error // elsewhere
		complain bool
	}{
		"taken":     {nil, packets.CodeSuccess, packets.CodeSuccess, false},
		"bad frame": {fmt.Errorf("x: %w", wire.ErrFrame), packets.Code{Code: 0x99, Reason: "x: bad frame"}, packets.CodeSuccess, true},
		"refused":   {fmt.Errorf("x: %w", notYours), packets.Code{Code: 0x87, Reason: "x: " + notYours.why}, packets.CodeSuccess, true},
		"forbidden": {delivery.ErrForbidden, packets.Code{Code: 0x87, Reason: delivery.ErrForbidden.Error()}, packets.CodeSuccess, true},
		"away":      {delivery.ErrAway, packets.ErrRejectPacket, packets.ErrRejectPacket, false},
		"disk full": {store.ErrFull, packets.ErrRejectPacket, packets.ErrRejectPacket, false},
		"unknown":   {errors.New("anything"), packets.ErrRejectPacket, packets.ErrRejectPacket, false},
		"a code":    {packets.CodeSuccess, packets.ErrRejectPacket, packets.ErrRejectPacket, false},
	}
	for name, tc := range tests {
		if got, _ := ack(tc.err, true); got != tc.negative {
			t.Errorf("%s: ack(%v, true) = %#v, want %#v", name, tc.err, got, tc.negative)
		}
		if got, complain := ack(tc.err, false); got != tc.plain || complain != tc.complain {
			t.Errorf("%s: ack(%v, false) = %#v, %v, want %#v, %v", name, tc.err, got, complain, tc.plain, tc.complain)
		}
	}
}

func TestSend(t *testing.T) {
	w := begin(t, nil)
	for version, id := range map[byte]device.ID{4: "car-1", 5: "tv-1"} {
		r := w.login(t, id, version)
		l := w.sink.await(t, "subscribed").link
		for i := range 3 {
			f := delivery.Frame{Leaf: wire.DnMsg, Payload: []byte{0xa0}, QoS: 1, Life: 90 * time.Second}
			if err := l.Send(f); err != nil {
				t.Fatal(err)
			}
			if err := l.Send(f); err == nil || errors.Is(err, delivery.ErrAway) {
				t.Fatalf("a second frame with QoS 1: %v, want a refusal", err)
			}
			pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}, ProtocolVersion: version}
			kind, body := r.receive()
			if err := pk.PublishDecode(body); err != nil {
				t.Fatal(err)
			}
			if kind != packets.Publish<<4|2 || pk.TopicName != wire.Topic(id, wire.DnMsg) || pk.PacketID == 0 {
				t.Fatalf("received %#x %s, packet %d", kind, pk.TopicName, pk.PacketID)
			}
			if version == 5 && (pk.Properties.ContentType != "application/cbor; v=1" || pk.Properties.MessageExpiryInterval != 90) {
				t.Errorf("properties %+v", pk.Properties)
			}
			// Neither another packet ID, nor the device's own publish with the same ID, nor a
			// refusal is the acknowledgement.
			r.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Puback}, PacketID: pk.PacketID + 1})
			r.publish(pk.PacketID, wire.Topic(id, wire.UpBirth), goodBirth(t))
			if version == 5 {
				r.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Puback}, PacketID: pk.PacketID, ReasonCode: 0x97})
			}
			r.subscribe(pk.PacketID, wire.Topic(id, "dn/#"), 1)
			if err := l.Send(f); err == nil {
				t.Fatal("the frame counts as acknowledged and is not")
			}
			r.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Puback}, PacketID: pk.PacketID})
			r.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Puback}, PacketID: pk.PacketID})
			if c := w.sink.await(t, "acked"); c.link != l {
				t.Errorf("round %d: acked on another link", i)
			}
		}
		r.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}})
		r.expect(packets.Pingresp)
		for len(w.sink.heard) > 0 {
			if c := <-w.sink.heard; c.what == "acked" {
				t.Error("acked twice")
			}
		}
		r.Close()
		w.sink.await(t, "gone")
		if err := l.Send(delivery.Frame{Leaf: wire.DnTime, Payload: []byte{0xa0}}); !errors.Is(err, delivery.ErrAway) {
			t.Errorf("Send after the end: %v, want ErrAway", err)
		}
	}
}

func TestClientsPacketSizeIsKept(t *testing.T) {
	w := begin(t, nil)
	r := w.dial(t)
	r.version = 5
	pk := connectPacket("tv-1", "tv-1", w.token["tv-1"])
	pk.Properties.MaximumPacketSize = 200
	r.send(pk)
	r.expect(packets.Connack)
	l := w.sink.await(t, "connected").link
	err := l.Send(delivery.Frame{Leaf: wire.DnMsg, QoS: 1, Payload: make([]byte, 300)})
	if err == nil || errors.Is(err, delivery.ErrAway) {
		t.Errorf("a frame over the client's limit: %v, want an error that is not ErrAway", err)
	}
	if err := l.Send(delivery.Frame{Leaf: wire.DnMsg, QoS: 1, Payload: make([]byte, 30)}); err != nil {
		t.Error("a small one after it:", err)
	}
}

func TestCloseSaysWhy(t *testing.T) {
	t.Parallel()
	w := begin(t, nil)
	for reason, want := range map[delivery.Reason]byte{delivery.Removed: 0x98, delivery.Violation: 0x82, delivery.Silent: 0x83, delivery.Unable: 0x89, delivery.Shutdown: 0x8b, 99: 0x80} {
		r := w.login(t, "tv-1", 5)
		w.sink.await(t, "subscribed").link.Close(reason)
		if got := r.ended(); got != want {
			t.Errorf("reason %d: DISCONNECT %#x, want %#x", reason, got, want)
		}
		w.sink.await(t, "gone")
		old := w.login(t, "car-1", 4)
		w.sink.await(t, "subscribed").link.Close(reason)
		if kind, _ := old.receive(); kind != 0 {
			t.Errorf("a 3.1.1 device received %#x, want the end", kind)
		}
		w.sink.await(t, "gone")
	}
}

func TestUnsubscribedIsUnreachable(t *testing.T) {
	w := begin(t, nil)
	r := w.login(t, "tv-1", 5)
	w.sink.await(t, "subscribed")
	r.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Unsubscribe}, PacketID: 3, Filters: packets.Subscriptions{{Filter: "pl/1/tv-1/dn/#"}}})
	r.ended()
	w.sink.await(t, "gone")
}

func TestSubscribedByLeaves(t *testing.T) {
	w := begin(t, nil)
	r := w.dial(t)
	r.send(connectPacket("tv-1", "tv-1", w.token["tv-1"]))
	r.expect(packets.Connack)
	for i, leaf := range needed {
		if w.sink.mu.Lock(); len(w.sink.bad) > 0 {
			t.Error(w.sink.bad)
		}
		w.sink.mu.Unlock()
		r.subscribe(uint16(i+1), wire.Topic("tv-1", leaf), 1)
	}
	w.sink.await(t, "subscribed")
}

func TestTakeover(t *testing.T) {
	w := begin(t, nil)
	first := w.login(t, "tv-1", 5)
	old := w.sink.await(t, "subscribed").link
	second := w.login(t, "tv-1", 4)
	if got := first.ended(); got != 0x8e {
		t.Errorf("the first connection: DISCONNECT %#x, want 0x8e", got)
	}
	if c := w.sink.await(t, "gone"); c.link != old {
		t.Error("the wrong link is gone")
	}
	now := w.sink.await(t, "subscribed").link
	if now == old {
		t.Error("both connections have one link")
	}
	if err := old.Send(delivery.Frame{Leaf: wire.DnTime, Payload: []byte{0xa0}}); !errors.Is(err, delivery.ErrAway) {
		t.Errorf("Send on the old link: %v", err)
	}
	if err := now.Send(delivery.Frame{Leaf: wire.DnTime, Payload: []byte{0xa0}}); err != nil {
		t.Error(err)
	}
	second.expect(packets.Publish)
	// A 3.1.1 connection that is taken over hears nothing that it does not know.
	w.login(t, "tv-1", 4)
	if kind, _ := second.receive(); kind != 0 {
		t.Errorf("the second connection received %#x, want the end", kind)
	}
	if got := w.counted(t, "takeovers_total"); got != 2 {
		t.Errorf("%v takeovers are counted, want 2", got)
	}
}

// A CONNECT that was overtaken by a later one does not push it out again.
func TestOvertaken(t *testing.T) {
	w := begin(t, nil)
	w.arrival.Store(10)
	later := w.login(t, "tv-1", 5)
	w.arrival.Store(0)
	earlier := w.dial(t)
	earlier.version = 5
	earlier.send(connectPacket("tv-1", "tv-1", w.token["tv-1"]))
	if body := earlier.expect(packets.Connack); body[1] != 0x88 {
		t.Errorf("CONNACK %x, want 0x88", body)
	}
	later.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}})
	if kind, _ := later.receive(); kind>>4 != packets.Pingresp {
		t.Errorf("the later connection received %#x", kind)
	}
}

func TestShutdown(t *testing.T) {
	w := begin(t, nil)
	tv, car := w.login(t, "tv-1", 5), w.login(t, "car-1", 4)
	stranger := w.dial(t)
	w.until(t, "accepted_total", 3)
	w.stop()
	if got := tv.ended(); got != 0x8b {
		t.Errorf("DISCONNECT %#x, want 0x8b", got)
	}
	car.ended()
	stranger.ended()
}

func TestPlainBeyondLoopback(t *testing.T) {
	log := func(b io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }
	for _, o := range []Options{{Plain: "0.0.0.0:0"}, {Plain: ":0"}, {WebSocket: "[::]:0"}} {
		_, err := New(nil, nil, o, log(io.Discard))
		if err == nil || !strings.Contains(err.Error(), "mqtt.plain_beyond_loopback: true") || !strings.Contains(err.Error(), o.Plain+o.WebSocket) {
			t.Errorf("%+v: %v, want an error that names the address and the setting", o, err)
		}
		var lines safeBuffer
		o.AllowPlain = true
		d, err := New(nil, nil, o, log(&lines))
		if err != nil {
			t.Fatal(err)
		}
		d.Close()
		if !strings.Contains(lines.String(), "level=WARN") || !strings.Contains(lines.String(), "UNENCRYPTED") {
			t.Errorf("no loud line: %s", lines.String())
		}
	}
	if _, err := New(nil, nil, Options{TLS: ":0"}, log(io.Discard)); err == nil {
		t.Error("TLS without a certificate is accepted")
	}
}

// The clients below were written by others.

func TestPaho3(t *testing.T) {
	w := begin(t, nil)
	for url, secure := range map[string]*tls.Config{
		"tcp://" + w.Addr("mqtt").String():       nil,
		"ssl://" + w.Addr("mqtts").String():      {RootCAs: w.ca, ServerName: "localhost"},
		"ws://" + w.Addr("ws").String() + "/x":   nil,
		"wss://" + w.Addr("wss").String() + "/x": {RootCAs: w.ca, ServerName: "localhost"},
	} {
		t.Run(url[:3], func(t *testing.T) {
			got := make(chan paho3.Message, 10)
			c := paho3.NewClient(paho3.NewClientOptions().AddBroker(url).SetTLSConfig(secure).
				SetClientID("tv-1").SetUsername("tv-1").SetPassword(w.token["tv-1"]).SetProtocolVersion(4).SetAutoReconnect(false))
			await3(t, c.Connect())
			await3(t, c.Subscribe("pl/1/tv-1/dn/#", 1, func(_ paho3.Client, m paho3.Message) { got <- m }))
			await3(t, c.Publish("pl/1/tv-1/up/birth", 1, false, goodBirth(t)))
			l := w.sink.await(t, "birth").link
			if err := l.Send(delivery.Frame{Leaf: wire.DnMsg, QoS: 1, Payload: []byte{0xa1, 0, 1}}); err != nil {
				t.Fatal(err)
			}
			if m := <-got; m.Topic() != "pl/1/tv-1/dn/msg" || !bytes.Equal(m.Payload(), []byte{0xa1, 0, 1}) {
				t.Errorf("received %s %x", m.Topic(), m.Payload())
			}
			w.sink.await(t, "acked")
			await3(t, c.Publish("pl/1/tv-1/up/bye", 1, true, encode(t, wire.Bye{Reason: "off"}))) // retained: taken as if it were not
			w.sink.await(t, "bye")
			c.Disconnect(50)
			w.sink.await(t, "gone")
		})
	}
	if _, retained := w.server.Topics.Retained.Get("pl/1/tv-1/up/bye"); retained || w.server.Topics.Retained.Len() != 0 {
		t.Error("something was retained")
	}
}

func await3(t *testing.T, token paho3.Token) {
	t.Helper()
	if !token.WaitTimeout(patient) || token.Error() != nil {
		t.Fatalf("paho: %v", token.Error())
	}
}

func TestPaho5(t *testing.T) {
	w := begin(t, nil)
	plain, err := net.Dial("tcp", w.Addr("mqtt").String())
	if err != nil {
		t.Fatal(err)
	}
	secure, err := tls.Dial("tcp", w.Addr("mqtts").String(), &tls.Config{RootCAs: w.ca, ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	for name, conn := range map[string]net.Conn{"tcp": plain, "tls": secure} {
		t.Run(name, func(t *testing.T) {
			got := make(chan *paho.Publish, 10)
			c := paho.NewClient(paho.ClientConfig{Conn: pahopackets.NewThreadSafeConn(conn), OnPublishReceived: []func(paho.PublishReceived) (bool, error){
				func(p paho.PublishReceived) (bool, error) { got <- p.Packet; return true, nil },
			}})
			ctx, cancel := context.WithTimeout(t.Context(), patient)
			defer cancel()
			ack, err := c.Connect(ctx, &paho.Connect{ClientID: "tv-1", Username: "tv-1", UsernameFlag: true, Password: []byte(w.token["tv-1"]), PasswordFlag: true, CleanStart: true, KeepAlive: 30})
			if err != nil || ack.Properties.RetainAvailable {
				t.Fatalf("connect: %+v, %v", ack, err)
			}
			if _, err := c.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "pl/1/tv-1/dn/#", QoS: 1}}}); err != nil {
				t.Fatal(err)
			}
			alias := uint16(3)
			for _, topic := range []string{"pl/1/tv-1/up/birth", ""} { // the second by its alias alone
				if _, err := c.Publish(ctx, &paho.Publish{Topic: topic, QoS: 1, Payload: goodBirth(t), Properties: &paho.PublishProperties{TopicAlias: &alias}}); err != nil {
					t.Fatal(err)
				}
				w.sink.await(t, "birth")
			}
			r, err := c.Publish(ctx, &paho.Publish{Topic: "pl/1/tv-1/up/evt", QoS: 1, Payload: []byte{0xff}})
			if err == nil || r == nil || r.ReasonCode != 0x99 || !strings.Contains(r.Properties.ReasonString, "up/evt") {
				t.Errorf("malformed frame: %+v, %v", r, err)
			}
			r, err = c.Publish(ctx, &paho.Publish{Topic: "pl/1/car-1/up/evt", QoS: 1, Payload: []byte{0xff}})
			if err == nil || r == nil || r.ReasonCode != 0x87 {
				t.Errorf("foreign topic: %+v, %v", r, err)
			}
			w.sink.mu.Lock()
			l := w.sink.live["tv-1"]
			w.sink.mu.Unlock()
			if err := l.Send(delivery.Frame{Leaf: wire.DnMsg, QoS: 1, Payload: []byte{0xa1, 0, 1}, Life: time.Minute}); err != nil {
				t.Fatal(err)
			}
			m := <-got
			if m.Topic != "pl/1/tv-1/dn/msg" || m.Properties.ContentType != "application/cbor; v=1" || *m.Properties.MessageExpiry != 60 {
				t.Errorf("received %+v", m)
			}
			w.sink.await(t, "acked")
			if err := c.Disconnect(&paho.Disconnect{}); err != nil {
				t.Error(err)
			}
			w.sink.await(t, "gone")
		})
	}
}

package broker

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/wire"
)

// TestHostile sends what no client should. The connection ends, with the reason where the
// protocol has words for it; a neighbour notices nothing.
func TestHostile(t *testing.T) {
	w := begin(t, nil)
	neighbour := w.login(t, "car-1", 5)
	link := w.sink.await(t, "subscribed").link
	filter := func(kind byte, levels int) []byte {
		topic := strings.Repeat("a/", levels-1) + "a"
		body := append([]byte{0, 1, 0, byte(len(topic) >> 8), byte(len(topic))}, topic...)
		if kind == 0x82 {
			body = append(body, 1)
		}
		return packet(kind, body)
	}
	tests := map[string]struct {
		login bool // as an MQTT 5 device first
		bytes []byte
		code  byte // of the DISCONNECT; 0: none
	}{
		"not MQTT":                       {false, []byte("GET / HTTP/1.1\r\n\r\n"), 0},
		"TLS on the plain port":          {false, []byte{0x16, 0x03, 0x01, 0x02, 0x00, 0x01}, 0},
		"PUBLISH first":                  {false, []byte{0x30, 3, 0, 1, 'a'}, 0},
		"256 MB announced by a stranger": {false, []byte{0x10, 0xff, 0xff, 0xff, 0x7f}, 0},
		"3 KB announced by a stranger":   {false, []byte{0x10, 0x80, 0x18}, 0},
		"length of five bytes":           {false, []byte{0x10, 0x80, 0x80, 0x80, 0x80, 0x01}, 0},
		"CONNECT cut short":              {false, []byte{0x10, 4, 0, 4, 'M', 'Q'}, 0},
		"the eight bytes":                {true, []byte{0x82, 0x06, 0x00, 0x01, 0x00, 0x00, 0x01, 'a'}, 0x81},
		"256 MB announced by a device":   {true, []byte{0x30, 0xff, 0xff, 0xff, 0x7f}, 0x95},
		"17 KB":                          {true, packet(0x30, make([]byte, 17<<10)), 0x95},
		"second CONNECT":                 {true, packet(0x10, []byte{0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 9, 0, 0, 0}), 0x82},
		"packet from a server":           {true, []byte{0x20, 2, 0, 0}, 0x82},
		"AUTH":                           {true, []byte{0xf0, 0}, 0x82},
		"PUBREL":                         {true, []byte{0x62, 2, 0, 1}, 0x9b},
		"QoS 2":                          {true, []byte{0x34, 6, 0, 1, 'a', 0, 1, 0}, 0x9b},
		"QoS 3":                          {true, []byte{0x36, 6, 0, 1, 'a', 0, 1, 0}, 0x81},
		"retained":                       {true, []byte{0x31, 4, 0, 1, 'a', 0}, 0x9a},
		"SUBSCRIBE of 9 levels":          {true, filter(0x82, 9), 0x90},
		"SUBSCRIBE of 5,000 levels":      {true, filter(0x82, 5000), 0x90},
		"UNSUBSCRIBE of 5,000 levels":    {true, filter(0xa2, 5000), 0x90},
		"SUBSCRIBE without filter":       {true, []byte{0x82, 3, 0, 1, 0}, 0x82},
		"SUBSCRIBE with an identifier":   {true, []byte{0x82, 9, 0, 1, 2, 0x0b, 1, 0, 1, 'a', 1}, 0xa1},
		"properties longer than packet":  {true, []byte{0x30, 4, 0, 1, 'a', 9}, 0x81},
		"packet ID 0":                    {true, []byte{0x32, 6, 0, 1, 'a', 0, 0, 0}, 0x81},
		"topic that is not UTF-8":        {true, []byte{0x30, 4, 0, 1, 0xff, 0}, 0x81},
		"DISCONNECT with flags":          {true, []byte{0xe1, 0}, 0x81},
		"alias over the limit":           {true, []byte{0x30, 7, 0, 1, 'a', 3, 0x23, 0, 9}, 0x94},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var r *raw
			if tc.login {
				r = w.login(t, "tv-1", 5)
			} else {
				r = w.dial(t)
			}
			r.Write(tc.bytes)
			if got := r.ended(); got != tc.code {
				t.Errorf("DISCONNECT %#x, want %#x", got, tc.code)
			}
			r.Close()
			if err := link.Send(delivery.Frame{Leaf: wire.DnTime, Payload: []byte{0xa0}}); err != nil {
				t.Fatal("the neighbour:", err)
			}
			if kind, _ := neighbour.receive(); kind>>4 != packets.Publish {
				t.Fatalf("the neighbour received %#x", kind)
			}
		})
	}
	if n := w.counted(t, "panics_total"); n != 0 {
		t.Errorf("%v panics; the guard should have stopped them", n)
	}
	if got := neighbour.publish(99, "pl/1/car-1/up/birth", goodBirth(t)); got != 0 {
		t.Errorf("the neighbour's birth: %#x", got)
	}
}

// TestLastWords: a peer that is still sending when it is refused can read why. Closing with
// bytes unread would send a reset, at which many stacks throw away what they have received.
func TestLastWords(t *testing.T) {
	w := begin(t, nil)
	for _, scheme := range []string{"mqtt", "mqtts"} {
		r := w.dial(t)
		if scheme == "mqtts" {
			c, err := tls.Dial("tcp", w.Addr(scheme).String(), &tls.Config{RootCAs: w.ca, ServerName: "localhost"})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(patient))
			r.Conn = c
		}
		r.version = 5
		r.send(connectPacket("tv-1", "tv-1", w.token["tv-1"]))
		r.expect(packets.Connack)
		r.Write(join(packet(0x30, make([]byte, 17<<10)), make([]byte, 60<<10)))
		got, err := io.ReadAll(r)
		if err != nil || len(got) < 3 || got[0] != packets.Disconnect<<4 || got[2] != 0x95 {
			t.Errorf("%s: read %x, %v, want DISCONNECT 0x95 and the end", scheme, got, err)
		}
	}
}

// TestOldDeviceIsToldWhy: MQTT 3.1.1 has no reason in DISCONNECT; dn/err says it before the end.
func TestOldDeviceIsToldWhy(t *testing.T) {
	w := begin(t, nil)
	for name, tc := range map[string]struct {
		bytes []byte
		code  byte
	}{
		"QoS 2":   {[]byte{0x34, 5, 0, 1, 'a', 0, 1}, 0x9b},
		"too big": {packet(0x30, make([]byte, 17<<10)), 0x95},
	} {
		r := w.login(t, "tv-1", 4)
		r.Write(tc.bytes)
		pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish}, ProtocolVersion: 4}
		if err := pk.PublishDecode(r.expect(packets.Publish)); err != nil {
			t.Fatal(err)
		}
		if e, err := wire.DecodeErr(pk.Payload); err != nil || e.Code != tc.code {
			t.Errorf("%s: dn/err %+v, %v, want code %#x", name, e, err, tc.code)
		}
		if kind, _ := r.receive(); kind != 0 {
			t.Errorf("%s: received %#x, want the end", name, kind)
		}
	}
}

// packet puts a fixed header before body.
func packet(first byte, body []byte) []byte {
	b := []byte{first}
	n := len(body)
	for ; n > 127; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(append(b, byte(n)), body...)
}

// TestOversizedFrame sends a frame that fits in a packet and not in the contract.
func TestOversizedFrame(t *testing.T) {
	w := begin(t, nil)
	r := w.login(t, "tv-1", 5)
	r.publish(1, "pl/1/tv-1/up/birth", goodBirth(t))
	big := append([]byte{0xa1, 0x00, 0x59, 0x27, 0x10}, make([]byte, 10_000)...)
	if got := r.publish(2, "pl/1/tv-1/up/evt", big); got != 0x99 {
		t.Errorf("a frame of 10 KB: %#x, want 0x99", got)
	}
	if got := r.publish(3, "pl/1/tv-1/up/birth", goodBirth(t)); got != 0 {
		t.Errorf("a good one after it: %#x", got)
	}
}

func TestOldVersionIsTold(t *testing.T) {
	w := begin(t, nil)
	r := w.dial(t)
	r.Write([]byte{0x10, 15, 0, 6, 'M', 'Q', 'I', 's', 'd', 'p', 3, 2, 0, 9, 0, 1, 'a'})
	if body := r.expect(packets.Connack); body[1] != 1 {
		t.Errorf("CONNACK %x, want 1, unacceptable protocol version", body)
	}
	r.ended()
}

// panicker is a Desk that panics at births.
type panicker struct{ *sink }

func (p panicker) Birth(dev device.ID, l delivery.Link, b wire.Birth) error {
	p.sink.Birth(dev, l, b)
	panic("the secret of tv-1")
}

func TestPanicEndsOneConnection(t *testing.T) {
	w := begin(t, nil)
	w.desk = panicker{w.sink}
	other := w.login(t, "car-1", 5)
	for range 3 {
		r := w.login(t, "tv-1", 5)
		r.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}, PacketID: 2, TopicName: "pl/1/tv-1/up/birth", Payload: goodBirth(t)})
		r.ended()
		w.sink.await(t, "gone")
		if s := w.server.Topics.Subscribers("pl/1/tv-1/dn/msg"); len(s.Subscriptions) > 0 {
			t.Error("the library still knows its subscription")
		}
	}
	other.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}})
	other.expect(packets.Pingresp)
	if got := w.counted(t, "panics_total"); got != 3 {
		t.Errorf("%v panics counted, want 3", got)
	}
	if n := w.server.Clients.Len(); n != 0 {
		t.Errorf("%d clients are left in the library's map", n)
	}
	if strings.Contains(w.logs.String(), "the secret") {
		t.Error("the log quotes the panic's value")
	}
}

func TestCeiling(t *testing.T) {
	w := begin(t, func(o *Options) { o.MaxConnections, o.ConnectTimeout = 3, time.Hour })
	w.login(t, "tv-1", 5)
	a, b := w.dial(t), w.dial(t)
	w.until(t, "sockets_open", 3)
	w.dial(t).ended()
	a.Close()
	b.Close()
	for end := time.Now().Add(patient); w.sockets.Load() > 1; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("closed sockets are still counted")
		}
	}
	w.login(t, "car-1", 5)
}

// The guard alone.

func connectBytes(t testing.TB, version byte) []byte {
	t.Helper()
	pk := connectPacket("tv-1", "tv-1", "secret")
	pk.ProtocolVersion = version
	var b bytes.Buffer
	if err := pk.ConnectEncode(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// through runs a stream through a guard that logs in at CONNECT, and returns what came out.
func through(from io.Reader) ([]byte, error) {
	g := guard{from: from}
	var out bytes.Buffer
	p := make([]byte, 64)
	for {
		n, err := g.Read(p)
		out.Write(p[:n])
		g.open = g.connected
		if err != nil {
			return out.Bytes(), err
		}
	}
}

func TestGuardInPieces(t *testing.T) {
	for _, version := range []byte{4, 5} {
		stream := connectBytes(t, version)
		prop := []byte{}
		if version == 5 {
			prop = []byte{0}
		}
		for range 5 {
			stream = append(stream, packet(0x82, join([]byte{0, 1}, prop, []byte{0, 1, 'a', 1}))...)
			stream = append(stream, packet(0x32, join([]byte{0, 1, 'a', 0, 7}, prop, bytes.Repeat([]byte("x"), 300)))...)
			stream = append(stream, 0x40, 2, 0, 7, 0xc0, 0)
		}
		stream = append(stream, 0xe0, 0)
		for name, from := range map[string]io.Reader{
			"at once":      bytes.NewReader(stream),
			"by bytes":     iotest.OneByteReader(bytes.NewReader(stream)),
			"by halves":    iotest.HalfReader(bytes.NewReader(stream)),
			"with the end": iotest.DataErrReader(bytes.NewReader(stream)),
		} {
			if got, err := through(from); err != io.EOF || !bytes.Equal(got, stream) {
				t.Errorf("version %d, %s: %d of %d bytes passed, %v", version, name, len(got), len(stream), err)
			}
		}
		// Whatever is cut off at the end does not pass.
		got, err := through(bytes.NewReader(stream[:len(stream)-1]))
		if err != io.EOF || !bytes.Equal(got, stream[:len(stream)-2]) {
			t.Errorf("version %d: a packet that is not all there passed: %v", version, err)
		}
	}
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func mosquitto(t *testing.T) {
	t.Helper()
	for _, tool := range []string{"mosquitto_pub", "mosquitto_sub"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(tool, "is not installed")
		}
	}
}

// TestMosquitto plays a device with Debian's command-line clients.
func TestMosquitto(t *testing.T) {
	mosquitto(t)
	w := begin(t, nil)
	host, port, _ := net.SplitHostPort(w.Addr("mqtt").String())
	_, securePort, _ := net.SplitHostPort(w.Addr("mqtts").String())
	for name, over := range map[string][]string{
		"plain": {"-h", host, "-p", port},
		"tls":   {"-h", "localhost", "-p", securePort, "--cafile", w.caCrt},
	} {
		for _, version := range []string{"mqttv311", "mqttv5"} {
			t.Run(name+" "+version, func(t *testing.T) {
				who := append([]string{"-V", version, "-i", "tv-1", "-u", "tv-1", "-P", w.token["tv-1"], "-q", "1"}, over...)
				sub := exec.Command("mosquitto_sub", append(who, "-t", "pl/1/tv-1/dn/#", "-C", "2", "-F", "%t %x", "-W", "20")...)
				var out, errs bytes.Buffer
				sub.Stdout, sub.Stderr = &out, &errs
				if err := sub.Start(); err != nil {
					t.Fatal(err)
				}
				l := w.sink.await(t, "subscribed").link
				if err := l.Send(delivery.Frame{Leaf: wire.DnTime, Payload: []byte{0xa0}}); err != nil {
					t.Fatal(err)
				}
				if err := l.Send(delivery.Frame{Leaf: wire.DnMsg, QoS: 1, Payload: []byte{0xa1, 0, 1}}); err != nil {
					t.Fatal(err)
				}
				w.sink.await(t, "acked")
				if err := sub.Wait(); err != nil {
					t.Fatalf("mosquitto_sub: %v: %s", err, errs.String())
				}
				if got, want := out.String(), "pl/1/tv-1/dn/time a0\npl/1/tv-1/dn/msg a10001\n"; got != want || errs.Len() > 0 {
					t.Errorf("mosquitto_sub printed %q, %q, want %q", got, errs.String(), want)
				}
				w.sink.await(t, "gone")
				pub := exec.Command("mosquitto_pub", append(who, "-t", "pl/1/tv-1/up/birth", "-s")...)
				pub.Stdin = bytes.NewReader(goodBirth(t))
				if got, err := pub.CombinedOutput(); err != nil || len(got) > 0 {
					t.Errorf("mosquitto_pub: %v: %s", err, got)
				}
				w.sink.await(t, "birth")
				w.sink.await(t, "gone")
				// Refused: named clearly, and by the exit status.
				who[7] = w.token["car-1"]
				got, err := exec.Command("mosquitto_pub", append(who, "-t", "pl/1/tv-1/up/birth", "-m", "x")...).CombinedOutput()
				if err == nil || !strings.Contains(strings.ToLower(string(got)), "not authori") {
					t.Errorf("wrong token: %v: %s", err, got)
				}
			})
		}
	}
}

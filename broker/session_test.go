package broker

import (
	"bytes"
	"crypto/tls"
	"net"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/wire"
)

// held keeps what is written until it is let go, all at once.
type held struct {
	net.Conn
	b    []byte
	hold bool
}

func (h *held) Write(b []byte) (int, error) {
	if h.b = append(h.b, b...); h.hold {
		return len(b), nil
	}
	_, err := h.Conn.Write(h.b)
	h.b = nil
	return len(b), err
}

// TestTLSRecords: packets and records of TLS need not begin or end together, and neither do records and what
// arrives at one time.
func TestTLSRecords(t *testing.T) {
	for _, most := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		both(t, func(t *testing.T, version byte) {
			w := begin(t, nil)
			socket, err := net.Dial("tcp", w.Addr("mqtts").String())
			if err != nil {
				t.Fatal(err)
			}
			defer socket.Close()
			socket.SetDeadline(time.Now().Add(patient))
			parcel := &held{Conn: socket}
			r := &raw{tls.Client(parcel, &tls.Config{RootCAs: w.ca, ServerName: "localhost", MaxVersion: most}), t, version}
			r.send(connectPacket("tv-1", "tv-1", w.token["tv-1"]))
			r.expect(packets.Connack)

			for _, b := range []byte{0xc0, 0, 0xc0, 0} { // a record for each byte, each on its own
				r.Write([]byte{b})
				if b == 0 {
					r.expect(packets.Pingresp)
				}
			}
			parcel.hold = true // several records at once, and the beginning of one
			for range 5 {
				r.Write([]byte{0xc0, 0})
			}
			r.Write([]byte{0xc0})
			r.Write([]byte{0})
			last := len(parcel.b) - 7
			rest := parcel.b[last:]
			socket.Write(parcel.b[:last])
			for range 5 {
				r.expect(packets.Pingresp)
			}
			socket.Write(rest[:1])
			socket.Write(rest[1:])
			r.expect(packets.Pingresp)
			parcel.b, parcel.hold = nil, false

			for _, size := range []int{roomSize - 40, roomSize, 2 * roomSize, wire.MaxPacket - 100} { // one record, longer than what is read at once
				prop := make([]byte, version-4)
				body := join([]byte{0, 18}, []byte("pl/1/tv-1/up/birth"), []byte{0, 7}, prop, make([]byte, size))
				r.Write(join(packet(0x32, body), []byte{0xc0, 0}))
				r.expect(packets.Puback)
				r.expect(packets.Pingresp)
			}
		})
	}
}

// slowDesk lets a birth, and context, wait until it is told to go on.
type slowDesk struct {
	*sink
	goOn chan struct{}
}

func (d slowDesk) Birth(dev device.ID, l delivery.Link, b wire.Birth) error {
	<-d.goOn
	return d.sink.Birth(dev, l, b)
}

func (d slowDesk) Context(dev device.ID, l delivery.Link, c wire.Context) error {
	l.(delivery.Waiter).Waits() // as the Desk does when its home is busy
	<-d.goOn
	return d.sink.Context(dev, l, c)
}

// TestAnswersDoNotWait: what was taken in before something that takes its time is answered before that.
func TestAnswersDoNotWait(t *testing.T) {
	for name, dial := range map[string]func(w *world, t *testing.T) *raw{
		"plain": (*world).dial,
		"TLS": func(w *world, t *testing.T) *raw {
			c, err := tls.Dial("tcp", w.Addr("mqtts").String(), &tls.Config{RootCAs: w.ca, ServerName: "localhost"})
			if err != nil {
				t.Fatal(err)
			}
			c.SetDeadline(time.Now().Add(patient))
			t.Cleanup(func() { c.Close() })
			return &raw{c, t, 4}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := begin(t, nil)
			slow := slowDesk{w.sink, make(chan struct{})}
			w.desk = slow
			r := dial(w, t)
			r.send(connectPacket("tv-1", "tv-1", w.token["tv-1"]))
			r.expect(packets.Connack)
			publish := func(id byte, leaf wire.Leaf, frame []byte) []byte {
				topic := wire.Topic("tv-1", leaf)
				return packet(0x32, join([]byte{0, byte(len(topic))}, []byte(topic), []byte{0, id}, frame))
			}
			ping := []byte{0xc0, 0}
			r.Write(join(ping, publish(1, wire.UpBirth, goodBirth(t)), ping))
			r.expect(packets.Pingresp) // while the birth waits
			slow.goOn <- struct{}{}
			r.expect(packets.Puback)
			r.expect(packets.Pingresp)

			context := encode(t, wire.Context{Seq: 1, Values: map[string]any{"power.state": "on"}})
			r.Write(join(ping, publish(2, wire.UpCtx, context), ping))
			r.expect(packets.Pingresp)
			slow.goOn <- struct{}{}
			r.expect(packets.Puback)
			r.expect(packets.Pingresp)
		})
	}
}

// TestFrameIsSpelledAsTheLibraryDoes: we spell a PUBLISH ourselves; a client of the library's reads in it what was
// sent, and it is as long as it says.
func TestFrameIsSpelledAsTheLibraryDoes(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		w := begin(t, nil)
		r := w.login(t, "tv-1", version)
		l := w.sink.await(t, "subscribed").link
		sizes := []int{0, 1, 400, 600, 5000}
		for n := range 70 { // the length takes a second byte on the way
			sizes = append(sizes, 70+n)
		}
		for _, size := range sizes {
			for _, life := range []time.Duration{0, time.Millisecond, time.Minute, 1 << 62} {
				f := delivery.Frame{Leaf: wire.DnTime, Payload: bytes.Repeat([]byte{7}, size), Life: life}
				if err := l.Send(f); err != nil {
					t.Fatal(err)
				}
				kind, body := r.receive()
				want := packets.Packet{ProtocolVersion: version, FixedHeader: packets.FixedHeader{Type: packets.Publish}, TopicName: "pl/1/tv-1/dn/time", Payload: f.Payload}
				want.Properties.ContentType = contentType
				if life > 0 {
					want.Properties.MessageExpiryInterval = uint32(max(1, min(life/time.Second, 1<<31)))
				}
				var b bytes.Buffer
				if err := want.PublishEncode(&b); err != nil {
					t.Fatal(err)
				}
				if got := packet(kind, body); !bytes.Equal(got, b.Bytes()) {
					t.Fatalf("%d bytes, for %v:\ngot  %x\nwant %x", size, life, got, b.Bytes())
				}
			}
		}
	})
}

// TestStorm: memory is given back once, when many have come or gone and it is calm again.
func TestStorm(t *testing.T) {
	var s storm
	moves, over := int64(0), 0
	for _, step := range []int64{0, 3, 400, 0, 0, 200, 300, 9, 0, 0, 1, 2, 3, 499, 0, 0} {
		if moves += step; s.over(moves) {
			over++
		}
	}
	if over != 2 {
		t.Errorf("%d times over, want 2", over)
	}
}

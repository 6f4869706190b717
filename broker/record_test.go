package broker

import (
	"bytes"
	"crypto/tls"
	"net"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// What fills a TLS record, and the room that a connection is lent to read into, to the last byte is answered
// without waiting for more.
func TestTLSRecordThatFillsTheRoom(t *testing.T) {
	for _, size := range []int{roomSize - 1, roomSize, roomSize + 1, 2 * roomSize} {
		w := begin(t, nil)
		c, err := tls.Dial("tcp", w.Addr("mqtts").String(), &tls.Config{RootCAs: w.ca, ServerName: "localhost", DynamicRecordSizingDisabled: true})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		r := &raw{c, t, 5}
		c.SetDeadline(time.Now().Add(patient))
		r.send(connectPacket("tv-1", "tv-1", w.token["tv-1"]))
		r.expect(packets.Connack)
		topic, birth := "pl/1/tv-1/up/birth", goodBirth(t)
		head := join([]byte{0, byte(len(topic))}, []byte(topic), []byte{0, 7})
		room := size - 3 - len(head) - len(birth) - 2 // for properties: two bytes are their length
		const kind, name = 0x26, 'k'                  // a user property
		properties := join([]byte{kind, 0, 1, name, byte((room - 6) >> 8), byte(room - 6)}, bytes.Repeat([]byte{'v'}, room-6))
		p := packet(0x32, join(head, []byte{byte(len(properties)) | 0x80, byte(len(properties) >> 7)}, properties, birth))
		if len(p) != size {
			t.Fatalf("the packet has %d bytes, want %d", len(p), size)
		}
		r.Write(p)
		r.expect(packets.Puback)
	}
}

// What we took our time for is not held against the peer.
func TestKeepAliveBeginsWhenTheWorkIsDone(t *testing.T) {
	one, other := net.Pipe()
	defer one.Close()
	defer other.Close()
	c := &conn{Conn: one, keepAlive: keepAliveLeast}
	c.session.now = time.Now().Add(-time.Minute) // when it came
	c.stay()
	if left := time.Until(c.session.expires); left < keepAliveLeast*time.Second {
		t.Errorf("after a minute of work the peer has %s, want %d s and a half more", left, keepAliveLeast)
	}
}

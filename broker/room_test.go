package broker

import (
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"porchlight/broker/delivery"
	"porchlight/device"
)

// Enter is the Desk's, as the test wants it.
func (s *sink) Enter() (leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return func() {}, s.fail["enter"]
}

// What there is no room for is refused, and never acknowledged as if it had been taken: MQTT 5 has a code for it,
// and elsewhere the connection ends, so that it is sent again.
func TestBrandComesWhenThereIsNoRoom(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		version byte
		listens bool
		limited bool // over its own rate; otherwise the gateway is busy
		acked   int  // code of the PUBACK; -1: none
		hears   string
	}{
		"busy, MQTT 5":              {5, true, false, 0x97, `"status":503`},
		"busy, MQTT 5, deaf":        {5, false, false, 0x97, ""},
		"busy, MQTT 3.1.1":          {4, true, false, -1, `"status":503`},
		"busy, MQTT 3.1.1, deaf":    {4, false, false, -1, ""},
		"limited, MQTT 5":           {5, true, true, 0x97, `"status":429`},
		"limited, MQTT 3.1.1":       {4, true, true, 0, `"status":429`},
		"limited, MQTT 3.1.1, deaf": {4, false, true, -1, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := begin(t, func(o *Options) {
				o.Limit = func(device.BrandID) (bool, time.Duration) { return !tt.limited, 3 * time.Second }
			})
			r := w.dial(t)
			r.version = tt.version
			r.send(connectPacket("b-acme", "acme", w.key))
			r.expect(packets.Connack)
			if tt.listens {
				r.subscribe(1, "pl/1/b/acme/dn/answer", 0)
			}
			w.sink.failing("enter", &delivery.BusyError{Reason: "store", After: 3 * time.Second})
			r.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}, PacketID: 7, TopicName: "pl/1/b/acme/up/message", Payload: []byte(`{"key":"k-1","message":` + goodMessage + `}`)})
			acked, heard := -1, ""
			for ended := false; !ended && (acked < 0 || heard == "" && tt.hears != ""); {
				kind, body := r.receive()
				switch kind >> 4 {
				case packets.Puback:
					if acked = 0; len(body) > 2 {
						acked = int(body[2])
					}
				case packets.Publish:
					heard += string(body)
				case 0, packets.Disconnect:
					ended = true
				}
			}
			if acked != tt.acked {
				t.Errorf("PUBACK %#x, want %#x", acked, tt.acked)
			}
			if !strings.Contains(heard, tt.hears) || tt.hears != "" && !strings.Contains(heard, `"retry_after":3`) || tt.hears == "" && heard != "" {
				t.Errorf("heard %q, want %q", heard, tt.hears)
			}
		})
	}
}

// When there is room again, the same message is taken.
func TestBrandComesAgain(t *testing.T) {
	t.Parallel()
	w := begin(t, nil)
	r := w.dial(t)
	r.version = 5
	r.send(connectPacket("b-acme", "acme", w.key))
	r.expect(packets.Connack)
	for i, want := range []byte{0x97, 0} {
		if want == 0 {
			w.sink.failing("enter", nil)
		} else {
			w.sink.failing("enter", &delivery.BusyError{Reason: "memory", After: time.Second})
		}
		r.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}, PacketID: uint16(i + 1), TopicName: "pl/1/b/acme/up/message", Payload: []byte(`{"key":"k-1","message":` + goodMessage + `}`)})
		body, got := r.expect(packets.Puback), byte(0)
		if len(body) > 2 {
			got = body[2]
		}
		if got != want {
			t.Errorf("PUBACK %#x, want %#x", got, want)
		}
	}
}

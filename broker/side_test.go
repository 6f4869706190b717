package broker

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/wire"
)

// beside connects beside the device's link; code is that of the CONNACK.
func (w *world) beside(t *testing.T, id device.ID, suffix string, version byte) (r *raw, code byte) {
	t.Helper()
	r = w.dial(t)
	r.version = version
	r.send(connectPacket(string(id)+"/"+suffix, string(id), w.token[id]))
	return r, r.expect(packets.Connack)[1]
}

func (w *world) besideMust(t *testing.T, id device.ID, suffix string, version byte) *raw {
	t.Helper()
	r, code := w.beside(t, id, suffix, version)
	if code != 0 {
		t.Fatalf("CONNACK %#x beside %s", code, id)
	}
	return r
}

func (r *raw) alive() {
	r.t.Helper()
	r.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}})
	if kind, _ := r.receive(); kind>>4 != packets.Pingresp {
		r.t.Errorf("received packet type %d, want PINGRESP", kind>>4)
	}
}

func contextFrame(t *testing.T, seq uint64, on bool) []byte {
	t.Helper()
	b, err := wire.EncodeContext(wire.Context{Seq: seq, Values: map[string]any{"power.state": map[bool]string{true: "on", false: "off"}[on]}}, []string{"power.state"})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What a side connection publishes is the device's, on its link; and it can do nothing else.
func TestSide(t *testing.T) {
	w := begin(t, nil)
	for version, id := range map[byte]device.ID{4: "car-1", 5: "tv-1"} {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			main := w.login(t, id, version)
			l := w.sink.await(t, "subscribed").link
			first, second := w.besideMust(t, id, "one", version), w.besideMust(t, id, "2-and-more-of-it", version)

			if got := first.publish(1, wire.Topic(id, wire.UpBirth), goodBirth(t)); got != 0 {
				t.Errorf("birth: PUBACK %#x", got)
			}
			if c := w.sink.await(t, "birth"); c.dev != id || c.link != l {
				t.Error("the birth is not the link's")
			}
			for seq, r := range []*raw{second, main} {
				r.publish(2, wire.Topic(id, wire.UpCtx), contextFrame(t, uint64(seq), true))
				c := w.sink.await(t, "context")
				if values := c.arg.(wire.Context).Values; c.link != l || values["power.state"] != "on" {
					t.Errorf("context %v on %v, want the name that the birth gave to place 0, on the link", values, c.link)
				}
			}
			if got, want := first.subscribe(3, wire.Topic(id, "dn/#"), 1), map[byte]byte{4: 0x80, 5: 0x87}[version]; got != want {
				t.Errorf("SUBSCRIBE: %#x, want %#x", got, want)
			}
			for topic, payload := range map[string][]byte{"pl/1/tv-2/up/birth": goodBirth(t), wire.Topic(id, wire.DnMsg): {0xa0}, wire.Topic(id, wire.UpEvt): {0xff}} {
				got := first.publish(4, topic, payload)
				if (got == 0) != (version == 4) {
					t.Errorf("PUBLISH %s: %#x", topic, got)
				}
				if version == 5 {
					continue
				}
				pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish}, ProtocolVersion: version}
				if err := pk.PublishDecode(main.expect(packets.Publish)); err != nil {
					t.Fatal(err)
				}
				if e, err := wire.DecodeErr(pk.Payload); err != nil || pk.TopicName != wire.Topic(id, wire.DnErr) || e.Code == 0 {
					t.Errorf("PUBLISH %s: the device is told %s %+v, %v", topic, pk.TopicName, e, err)
				}
			}
			if err := l.Send(delivery.Frame{Leaf: wire.DnTime, Payload: []byte{0xa0}}); err != nil {
				t.Error(err)
			}
			main.expect(packets.Publish)

			// The same suffix takes over; the device and the other suffix stay.
			again := w.besideMust(t, id, "one", version)
			if got, want := first.ended(), 0x8e*(version-4); got != want {
				t.Errorf("the first of two with one suffix: DISCONNECT %#x, want %#x", got, want)
			}
			for _, r := range []*raw{main, second, again} {
				r.alive()
			}
			for len(w.sink.heard) > 0 {
				if c := <-w.sink.heard; c.dev == id && (c.what == "connected" || c.what == "gone") {
					t.Errorf("the Desk heard %q because of a side connection", c.what)
				}
			}
		})
	}
}

// Side connections end with the link, however it ends, and cannot be without one.
func TestSideEndsWithItsLink(t *testing.T) {
	ends := map[string]func(w *world, main *raw, l delivery.Link){
		"removed":    func(_ *world, _ *raw, l delivery.Link) { l.Close(delivery.Removed) },
		"unplugged":  func(_ *world, main *raw, _ delivery.Link) { main.Close() },
		"taken over": func(w *world, main *raw, _ delivery.Link) { w.login(main.t, "tv-1", 5) },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			w := begin(t, nil)
			main := w.login(t, "tv-1", 5)
			l := w.sink.await(t, "subscribed").link
			old, five := w.besideMust(t, "tv-1", "old", 4), w.besideMust(t, "tv-1", "five", 5)
			end(w, main, l)
			if got := five.ended(); got != 0x83 {
				t.Errorf("DISCONNECT %#x, want 0x83", got)
			}
			if kind, _ := old.receive(); kind != 0 {
				t.Errorf("a 3.1.1 side connection received %#x, want the end", kind)
			}
			for w.sink.await(t, "gone").link != l {
			}
			if _, _, err := l.(*link).take(&counter{}, wire.Topic("tv-1", wire.UpBirth), goodBirth(t)); !errors.Is(err, delivery.ErrAway) {
				t.Errorf("what came too late: %v, want ErrAway", err)
			}
		})
	}
	w := begin(t, nil)
	pk := connectPacket("car-1/pub", "car-1", w.token["car-1"])
	r := w.dial(t)
	r.version = 5
	r.send(pk)
	got := packets.Packet{ProtocolVersion: 5, FixedHeader: packets.FixedHeader{Type: packets.Connack}}
	if err := got.ConnackDecode(r.expect(packets.Connack)); err != nil || got.ReasonCode != 0x83 || got.Properties.ReasonString != alone.why {
		t.Errorf("CONNACK without a link: %#x %q, %v", got.ReasonCode, got.Properties.ReasonString, err)
	}
}

func TestTooManySides(t *testing.T) {
	w := begin(t, nil)
	w.login(t, "tv-1", 5)
	var last *raw
	for i := range w.o.Beside {
		last = w.besideMust(t, "tv-1", fmt.Sprint(i), 5)
	}
	if _, code := w.beside(t, "tv-1", "more", 5); code != 0x97 {
		t.Errorf("CONNACK %#x, want 0x97", code)
	}
	w.besideMust(t, "tv-1", fmt.Sprint(w.o.Beside-1), 5) // takes a place, and needs none
	last.ended()
}

// A context frame that comes again on its connection is acknowledged and not taken in again.
func TestContextAgain(t *testing.T) {
	w := begin(t, nil)
	main := w.login(t, "tv-1", 5)
	main.publish(1, "pl/1/tv-1/up/birth", goodBirth(t))
	side := w.besideMust(t, "tv-1", "pub", 5)
	steps := []struct {
		on    *raw
		seq   uint64
		fail  error
		taken bool
	}{
		{main, 0, nil, true}, {main, 0, nil, false},
		{main, 5, nil, true}, {main, 4, nil, false}, {main, 5, nil, false}, {main, 6, nil, true},
		{side, 1, nil, true}, {side, 1, nil, false}, {main, 7, nil, true},
		{main, 8, fmt.Errorf("context: %w", wire.ErrFrame), true}, {main, 8, nil, true}, // it was not taken in the first time
	}
	for i, s := range steps {
		for len(w.sink.heard) > 0 {
			<-w.sink.heard
		}
		w.sink.failing("context", s.fail)
		if got := s.on.publish(uint16(i+10), "pl/1/tv-1/up/ctx", contextFrame(t, s.seq, true)); (got == 0) != (s.fail == nil) {
			t.Errorf("step %d: PUBACK %#x", i, got)
		}
		if taken := len(w.sink.heard) > 0; taken != s.taken {
			t.Errorf("step %d, frame %d: taken in: %v, want %v", i, s.seq, taken, s.taken)
		}
	}
	w.sink.failing("context", nil)
	main.publish(40, "pl/1/tv-1/up/birth", goodBirth(t)) // the device begins anew
	w.sink.await(t, "birth")
	main.publish(41, "pl/1/tv-1/up/ctx", contextFrame(t, 1, true))
	w.sink.await(t, "context")
}

// The Desk hears one thing at a time about a link, whichever connection brought it; the sink
// checks. It also hears everything.
func TestSidesInOrder(t *testing.T) {
	w := begin(t, nil)
	main := w.login(t, "tv-1", 5)
	main.publish(1, "pl/1/tv-1/up/birth", goodBirth(t))
	talkers := []*raw{main, w.besideMust(t, "tv-1", "a", 4), w.besideMust(t, "tv-1", "b", 5), w.besideMust(t, "tv-1", "c", 5)}
	const each = 200
	var all sync.WaitGroup
	for _, r := range talkers {
		all.Go(func() {
			for seq := range uint64(each) {
				if got := r.publish(uint16(seq+10), "pl/1/tv-1/up/ctx", contextFrame(t, seq, seq%2 == 0)); got != 0 {
					t.Errorf("PUBACK %#x", got)
				}
			}
		})
	}
	all.Wait()
	for range each * len(talkers) {
		w.sink.await(t, "context")
	}
}

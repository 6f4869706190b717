package broker

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"porchlight/broker/delivery"
	"porchlight/device"
)

// What a device is refused is in its home's book, with from where; again and again in the same
// hour it is one entry.
func TestRefusalsAreWrittenDown(t *testing.T) {
	h := openHouse(t)
	token := h.enrol(t, "tv-1")
	written := func(about string) (all []delivery.AuditEntry) {
		got, err := h.Desk.Audit(t.Context(), delivery.AuditAsked{About: about})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range got {
			if e.Kind == "door.refused" {
				all = append(all, e)
			}
		}
		return all
	}
	r := &raw{h.dial(t, "mqtt"), t, 5}
	r.send(connectPacket("tv-1", "tv-1", token))
	r.expect(packets.Connack)
	for i := range 5 {
		r.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Qos: 1}, PacketID: uint16(i + 1), Filters: packets.Subscriptions{{Filter: "pl/1/tv-2/dn/#", Qos: 1}}})
		r.expect(packets.Suback)
	}
	until(t, func() bool { return len(written("tv-1")) > 0 }, "the refused subscription is written down")
	r.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}, PacketID: 9, TopicName: "pl/1/tv-2/up/bye", Payload: []byte{0xa0}})
	r.expect(packets.Puback)
	until(t, func() bool { return len(written("tv-1")) > 1 }, "the refused publish is written down")
	all := written("tv-1")
	if len(all) != 2 || all[0].Home != "oak-3" || !strings.Contains(string(all[0].Fact), `"what":"subscribe"`) ||
		!strings.Contains(string(all[0].Fact), `"from":"127.0.0.1"`) || !strings.Contains(string(all[1].Fact), `"what":"publish"`) {
		t.Errorf("written down: %+v", all)
	}
	bad := &raw{h.dial(t, "mqtt"), t, 4}
	bad.send(connectPacket("tv-1", "tv-1", "wrong"))
	bad.expect(packets.Connack)
	until(t, func() bool { return len(written("connect: credential")) == 1 }, "the refused log-in is written down")
	if e := written("connect: credential")[0]; e.Home != "" {
		t.Errorf("who only claims to be a device writes in its home's book: %+v", e)
	}
}

// Strangers cannot fill the book: after so many in an hour the metrics alone count them.
func TestRefusalsOfStrangers(t *testing.T) {
	r := refusals{all: map[refusal]*tally{}, homes: map[device.HomeID]int{}, wake: make(chan struct{}, 1)}
	now := time.Now()
	for i := range 3 * knownRefusals {
		r.refuse(fmt.Sprint("stranger-", i), device.Gateway, "192.0.2.1", "connect: credential")
	}
	r.refuse("tv-1", 1, "192.0.2.2", "subscribe")
	if r.all[refusal{"tv-1", "192.0.2.2", "subscribe", 1}] == nil {
		t.Error("strangers keep what a device did out of the book")
	}
	if n := len(r.all); n > knownRefusals {
		t.Errorf("%d sorts of refusals are remembered, want at most %d", n, knownRefusals)
	}
	due := r.take(now)
	if len(due) > strangersAnHour+1 {
		t.Errorf("%d entries were written, want at most %d", len(due), strangersAnHour)
	}
	if more := r.take(now.Add(time.Minute)); len(more) != 0 {
		t.Errorf("%d more in the same hour", len(more))
	}
	r = refusals{all: map[refusal]*tally{}, homes: map[device.HomeID]int{}, wake: make(chan struct{}, 1)}
	for range 7 {
		r.refuse("tv-1", 1, "", "subscribe")
	}
	if due := r.take(now); len(due) != 1 || due[0].Count != 7 {
		t.Errorf("seven of a sort: %+v", due)
	}
	r.refuse("tv-1", 1, "", "subscribe")
	if due := r.take(now.Add(time.Minute)); len(due) != 0 {
		t.Errorf("one more within the hour is written at once: %+v", due)
	}
	if due := r.take(now.Add(2 * time.Hour)); len(due) != 1 || due[0].Count != 1 {
		t.Errorf("one more, an hour later: %+v", due)
	}
	r.take(now.Add(4 * time.Hour))
	if len(r.all) != 0 {
		t.Error("what is long over is remembered")
	}
}

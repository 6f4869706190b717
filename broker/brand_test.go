package broker

import (
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
)

const goodMessage = `{"purpose":"marketing","texts":[{"language":"en","body":"Milk is cheap today."}],"not_after":"2099-01-01T00:00:00Z"}`

func TestBrand(t *testing.T) {
	t.Parallel()
	var limited atomic.Bool
	w := begin(t, func(o *Options) {
		o.Limit = func(device.BrandID) (bool, time.Duration) { return !limited.Load(), 1500 * time.Millisecond }
	})
	good := `{"key":"k-1","message":` + goodMessage + `}`
	tests := map[string]struct {
		request string
		fail    error // of the Desk
		limited bool
		status  int
		names   string // in the answer
		code    byte   // of the PUBACK of MQTT 5
	}{
		"accepted":        {good, nil, false, 202, `"state":"accepted"`, 0},
		"not JSON":        {`{"key`, nil, false, 400, `"rule":"syntax"`, 0x99},
		"two objects":     {good + good, nil, false, 400, `"rule":"syntax"`, 0x99},
		"two keys":        {`{"key":"k-1","key":"k-1","message":` + goodMessage + `}`, nil, false, 400, `each once`, 0x99},
		"a key and a Key": {`{"key":"k-1","Key":"k-2","message":` + goodMessage + `}`, nil, false, 400, `each once`, 0x99},
		"two messages":    {`{"key":"k-1","message":` + goodMessage + `,"\u006dessage":` + goodMessage + `}`, nil, false, 400, `each once`, 0x99},
		"a KEY":           {`{"KEY":"k-1","message":` + goodMessage + `}`, nil, false, 400, `each once`, 0x99},
		"a field more":    {`{"key":"k-1","to":"all","message":` + goodMessage + `}`, nil, false, 400, `each once`, 0x99},
		"a message twice": {strings.Replace(good, `"purpose"`, `"purpose":"marketing","purpose"`, 1), nil, false, 422, `names \"purpose\" twice`, 0x99},
		"no end":          {strings.TrimSuffix(good, "}"), nil, false, 400, `"rule":"syntax"`, 0x99},
		"no message":      {`{"key":"k-1"}`, nil, false, 400, `"field":"body"`, 0x99},
		"unknown field":   {strings.Replace(good, "texts", "text", 1), nil, false, 422, `"field":"text"`, 0x99},
		"refused by desk": {good, delivery.Invalid{{Field: "purpose", Rule: "declared", Why: "is x", Fix: "use y"}}, false, 422, `"field":"purpose"`, 0x99},
		"bad key":         {good, delivery.ErrKey, false, 400, `"field":"key","rule":"syntax"`, 0x99},
		"no key":          {good, delivery.ErrNoKey, false, 400, `"field":"key","rule":"required"`, 0x99},
		"same key":        {good, delivery.ErrConflict, false, 422, `"field":"key"`, 0x99},
		"quota":           {good, delivery.ErrQuota, false, 429, "in force", 0x97},
		"quota of three":  {good, &delivery.QuotaError{Most: 3}, false, 429, `"detail":"as many messages are in force as this brand may have, which is 3: withdraw some, wait until`, 0x97},
		"rate":            {good, nil, true, 429, `"retry_after":2`, 0x97},
		"brand removed":   {good, registry.ErrUnknown, false, 403, "not known", 0x99},
	}
	for _, version := range []byte{4, 5} {
		r := w.dial(t)
		r.version = version
		r.send(connectPacket("b-acme-7", "acme", w.key))
		r.expect(packets.Connack)
		r.subscribe(1, "pl/1/b/acme/dn/answer", 0)
		packet := uint16(1)
		for name, tc := range tests {
			t.Run(name, func(t *testing.T) {
				packet++
				r.t = t
				w.sink.failing("accept", tc.fail)
				limited.Store(tc.limited)
				r.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}, PacketID: packet, TopicName: "pl/1/b/acme/up/message", Payload: []byte(tc.request)})
				pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish}, ProtocolVersion: version}
				if err := pk.PublishDecode(r.expect(packets.Publish)); err != nil {
					t.Fatal(err)
				}
				var a answer
				if err := json.Unmarshal(pk.Payload, &a); err != nil || a.Status != tc.status || !strings.Contains(string(pk.Payload), tc.names) {
					t.Errorf("answer %s, %v, want %d and %s", pk.Payload, err, tc.status, tc.names)
				}
				if wantKey := "k-1"; tc.status != 400 && tc.fail != delivery.ErrKey && a.Key != wantKey {
					t.Errorf("answer names key %q, want %q", a.Key, wantKey)
				}
				body, got := r.expect(packets.Puback), byte(0)
				if len(body) > 2 {
					got = body[2]
				}
				if want := tc.code * (version - 4); got != want {
					t.Errorf("PUBACK %#x, want %#x", got, want)
				}
			})
		}
		// What cannot be kept is not acknowledged, and the brand is told to come back.
		r.t = t
		limited.Store(false)
		w.sink.failing("accept", store.ErrFull)
		r.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}, PacketID: 999, TopicName: "pl/1/b/acme/up/message", Payload: []byte(good)})
		for heard := ""; ; {
			kind, body := r.receive()
			if kind>>4 == packets.Puback {
				t.Fatal("acknowledged what could not be kept")
			}
			if kind>>4 == packets.Publish {
				heard = string(body)
			}
			if kind == 0 {
				if !strings.Contains(heard, `"status":503`) {
					t.Errorf("the brand heard %q", heard)
				}
				break
			}
		}
	}
}

func TestBrandIsTakenOverUnderOneClientID(t *testing.T) {
	w := begin(t, nil)
	join := func(id string) *raw {
		r := w.dial(t)
		r.version = 5
		r.send(connectPacket(id, "acme", w.key))
		r.expect(packets.Connack)
		return r
	}
	first, second := join("b-acme"), join("b-acme-2")
	join("b-acme")
	if got := first.ended(); got != 0x8e {
		t.Errorf("DISCONNECT %#x, want 0x8e", got)
	}
	second.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}})
	if kind, _ := second.receive(); kind>>4 != packets.Pingresp {
		t.Error("the second session was ended too")
	}
}

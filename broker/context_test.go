package broker

import (
	"maps"
	"testing"

	"porchlight/device"
	"porchlight/device/wire"
)

// TestContextPlaces: short keys are places in the birth that this connection sent last.
func TestContextPlaces(t *testing.T) {
	w := begin(t, nil)
	birth := func(names ...string) []byte {
		return encode(t, wire.Birth{Model: wire.Model{Maker: "m", Name: "n"}, Class: device.TV, Attributes: names,
			Can: wire.Capabilities{Screen: []uint{1920, 1080, 1000}, Forms: []device.Form{device.Toast}, Languages: []string{"en"}}})
	}
	// places makes a context of short keys: 0 is "a", 1 is "b" ...
	places := func(seq, n int) []byte {
		b := []byte{0xa2, 0, byte(seq), 3, byte(0xa0 + n)}
		for i := range n {
			b = append(b, byte(i), 0x61, 'a'+byte(i))
		}
		return b
	}
	type step struct {
		login bool // a new connection
		birth []string
		ctx   []byte
		code  byte // of the PUBACK
		heard map[string]any
	}
	two := []string{"power.state", "state"}
	var r *raw
	packet := uint16(10)
	for _, s := range []step{
		{login: true, ctx: places(1, 1), code: 0x83},
		{birth: two, ctx: places(1, 2), heard: map[string]any{"power.state": "a", "state": "b"}},
		{ctx: places(2, 3), code: 0x99},
		{ctx: places(2, 1), heard: map[string]any{"power.state": "a"}},
		{ctx: []byte{0xa2, 0, 3, 3, 0xa2, 0, 0x61, 'a', 0x65, 's', 't', 'a', 't', 'e', 0x61, 'z'}, heard: map[string]any{"power.state": "a", "state": "z"}},
		{ctx: []byte{0xa2, 0, 4, 3, 0xa2, 1, 0x61, 'a', 0x65, 's', 't', 'a', 't', 'e', 0x61, 'z'}, code: 0x99},  // the same twice
		{ctx: []byte{0xa2, 0, 4, 3, 0xa1, 0x20, 0x61, 'a'}, code: 0x99},                                         // place -1
		{ctx: []byte{0xa2, 0, 4, 3, 0xa1, 0x1b, 255, 255, 255, 255, 255, 255, 255, 255, 0x61, 'a'}, code: 0x99}, // a place beyond all
		{birth: []string{"mood", "state", "app_name"}, ctx: places(1, 3), heard: map[string]any{"mood": "a", "state": "b", "app_name": "c"}},
		{birth: two, ctx: places(1, 3), code: 0x99}, // shorter again
		{birth: []string{}, ctx: places(1, 1), code: 0x99},
		{birth: []string{"app_name"}, ctx: places(1, 1), heard: map[string]any{"app_name": "a"}},
		{login: true, ctx: places(1, 1), code: 0x83}, // the birth of another connection is none of this
		{birth: two, ctx: places(1, 2), heard: map[string]any{"power.state": "a", "state": "b"}},
	} {
		if s.login {
			r = w.login(t, "tv-1", 5)
		}
		packet++
		if s.birth != nil {
			if got := r.publish(packet, wire.Topic("tv-1", wire.UpBirth), birth(s.birth...)); got != 0 {
				t.Fatalf("birth of %v: PUBACK %#x", s.birth, got)
			}
		}
		packet++
		if got := r.publish(packet, wire.Topic("tv-1", wire.UpCtx), s.ctx); got != s.code {
			t.Errorf("%x after a birth of %v: PUBACK %#x, want %#x", s.ctx, s.birth, got, s.code)
		}
		if s.code != 0 {
			continue
		}
		if got := w.sink.await(t, "context").arg.(wire.Context).Values; !maps.Equal(got, s.heard) {
			t.Errorf("%x after a birth of %v: heard %v, want %v", s.ctx, s.birth, got, s.heard)
		}
	}
}

package wire

import (
	"testing"
)

func BenchmarkDecodeContext(b *testing.B) {
	frame := bytesOf(b, Context{Seq: 812, Age: 40, Values: map[string]any{
		"state": "playing", "volume_level": 0.25, "full_screen": true, "app_name": "cinema", "ux.driving": "parked",
	}})
	b.SetBytes(int64(len(frame)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeContext(places, frame); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeEvent(b *testing.B) {
	frame := bytesOf(b, Event{Seq: 4, Message: id(1), Kind: Presented, Age: 200})
	b.SetBytes(int64(len(frame)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeEvent(frame); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodePresent(b *testing.B) {
	var p Present
	for _, g := range goldens {
		if g.name == "present" {
			p = g.value.(Present)
		}
	}
	b.SetBytes(int64(len(bytesOf(b, p))))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Encode(&p); err != nil {
			b.Fatal(err)
		}
	}
}

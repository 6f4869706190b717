package wire

import (
	"testing"
	"time"
)

func BenchmarkDecodeContext(b *testing.B) {
	frame := bytesOf(b, Context{Seq: 812, Age: 40, Values: map[string]any{
		"state": "playing", "volume_level": 0.25, "full_screen": true, "app_name": "cinema", "ux.driving": "parked",
	}})
	against(b, frame, func() error { _, err := DecodeContext(places, frame); return err })
}

func BenchmarkDecodeEvent(b *testing.B) {
	frame := bytesOf(b, Event{Seq: 4, Message: id(1), Kind: Presented, Age: 200})
	against(b, frame, func() error { _, err := DecodeEvent(frame); return err })
}

func BenchmarkDecodeBirth(b *testing.B) {
	frame := readGolden(b)["up/birth birth of a television"].bytes
	against(b, frame, func() error { _, err := DecodeBirth(frame); return err })
}

// against measures decode, and how many times as long the library takes for its part of it alone: to make
// Go values of a frame.
func against(b *testing.B, frame []byte, decode func() error) {
	b.SetBytes(int64(len(frame)))
	b.ReportAllocs()
	for b.Loop() {
		if err := decode(); err != nil {
			b.Fatal(err)
		}
	}
	ours := b.Elapsed()
	start := time.Now()
	for range b.N {
		var v any
		if err := strict.Unmarshal(frame, &v); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(time.Since(start))/float64(ours), "library/ours")
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

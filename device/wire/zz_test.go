package wire

import "testing"

func BenchmarkZ(b *testing.B) {
	for _, g := range goldens {
		frame := bytesOf(b, g.value)
		b.Run("dec/"+g.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				decodeAs(g.leaf, frame)
			}
		})
		b.Run("enc/"+g.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Encode(g.value)
			}
		})
	}
}

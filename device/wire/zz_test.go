package wire

import (
	"syscall"
	"testing"
)

func cpu() int64 {
	var u syscall.Rusage
	syscall.Getrusage(0, &u)
	return u.Utime.Nano() + u.Stime.Nano()
}

func BenchmarkZ(b *testing.B) {
	for _, g := range goldens {
		frame := bytesOf(b, g.value)
		b.Run("dec/"+g.name, func(b *testing.B) {
			b.ReportAllocs()
			at := cpu()
			for b.Loop() {
				switch g.leaf {
				case UpBirth:
					DecodeBirth(frame)
				case UpEvt:
					DecodeEvent(frame)
				case UpCtx:
					DecodeContext(places, frame)
				default:
					decodeAs(g.leaf, frame)
				}
			}
			b.ReportMetric(float64(cpu()-at)/float64(b.N), "cpu-ns/op")
		})
		b.Run("enc/"+g.name, func(b *testing.B) {
			b.ReportAllocs()
			at := cpu()
			for b.Loop() {
				Encode(g.value)
			}
			b.ReportMetric(float64(cpu()-at)/float64(b.N), "cpu-ns/op")
		})
	}
}

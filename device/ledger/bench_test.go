package ledger

import (
	"testing"
)

// BenchmarkSeal seals what a claim is: a decision with its reasons.
func BenchmarkSeal(b *testing.B) {
	c, body := NewCipher(NewKey()), make([]byte, 900)
	e := Entry{Pos: 4711, At: 1_790_000_000_000, Kind: "delivery.claimed", Subject: NewPseudonym()}
	b.ReportAllocs()
	for b.Loop() {
		c.Seal(&e, body)
	}
}

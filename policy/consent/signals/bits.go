package signals

import "strings"

// bits reads a segment of a string: base64url without padding, the first bit first. A read past the end, or of
// something that the standard does not allow, fails it, and what is read after that is 0.
type bits struct {
	text string
	at   int
	err  error
}

const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

func (b *bits) fail(format string, args ...any) {
	if b.err == nil {
		b.err = unreadable(format, args...)
	}
}

// num is an unsigned number of n bits, 1 to 36.
func (b *bits) num(n int) (v uint64) {
	for range n {
		if b.at >= 6*len(b.text) {
			b.fail("it ends too early")
		}
		if b.err != nil {
			return 0
		}
		digit := strings.IndexByte(digits, b.text[b.at/6])
		if digit < 0 {
			b.fail("a character is not of base64url")
			return 0
		}
		v = v<<1 | uint64(digit>>(5-b.at%6)&1)
		b.at++
	}
	return v
}

func (b *bits) flag() bool { return b.num(1) == 1 }

// skip passes over n bits, which may be many.
func (b *bits) skip(n int) {
	for ; n > 0 && b.err == nil; n -= 32 {
		b.num(min(n, 32))
	}
}

// letters passes over n letters of 6 bits each.
func (b *bits) letters(n int) {
	for range n {
		if b.num(6) > 25 {
			b.fail("a letter is none of A to Z")
		}
	}
}

// fibonacci is a number in Fibonacci coding, 1 to 10,945.
func (b *bits) fibonacci() (v int) {
	last := false
	for f, g := 1, 2; f <= 6765; f, g = g, f+g {
		bit := b.flag()
		if bit && last {
			return v
		}
		if last = bit; bit {
			v += f
		}
	}
	if !last || !b.flag() {
		b.fail("a number is too large")
		return 0
	}
	return v
}

// choice is a field of 2 bits that may be 0 to 2.
func (b *bits) choice() int {
	v := b.num(2)
	if v > 2 {
		b.fail("a choice is neither 0, 1 nor 2")
	}
	return int(v)
}

// end fails if more is left than an encoder fills up with.
func (b *bits) end() error {
	if b.err == nil && 6*len(b.text)-b.at >= 24 {
		b.fail("it goes on after its end")
	}
	for b.err == nil && b.at < 6*len(b.text) {
		if b.flag() {
			b.fail("it goes on after its end")
		}
	}
	return b.err
}

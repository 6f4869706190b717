package wire

import (
	"encoding/binary"
	"math"
	"unicode/utf8"

	"porchlight/device"
)

// quickContext reads a frame of up/ctx as devices send it: what comes most often by far, in a fraction of the
// time. ok is false for anything else, were it only unusual, and for everything that may be wrong: that is
// for DecodeContext, which knows what to say of it. What it does take it takes as DecodeContext does.
func quickContext(attributes []string, b []byte) (f Context, ok bool) {
	if len(b) > MaxFrame {
		return f, false
	}
	q := quick{b: b}
	seen := 0
	for range q.count(5) {
		key := q.uint(4)
		if q.bad || seen&(1<<key) != 0 {
			return f, false
		}
		seen |= 1 << key
		switch key {
		case 0:
			f.Seq = q.uint(MaxUint)
		case 1:
			f.Observed = q.uint(MaxUint)
		case 2:
			f.Age = q.uint(MaxUint)
		case 3:
			n := q.count(MaxPairs)
			f.Values = make(map[string]any, n)
			for range n {
				name := q.name(attributes)
				v := q.value()
				if q.bad {
					return f, false
				}
				f.Values[name] = v
			}
			if len(f.Values) != n {
				return f, false // one occurs twice
			}
		case 4:
			v, is := q.value().(bool)
			if !is {
				return f, false
			}
			f.Complete = v
		}
	}
	return f, !q.bad && len(q.b) == 0 && seen&1 != 0 && seen&8 != 0
}

// quick reads CBOR in its shortest and longer spellings, of definite length. After anything else it is bad.
type quick struct {
	b   []byte
	bad bool
}

// The major types of CBOR.
const (
	majorUint   = 0
	majorNegint = 1
	majorText   = 3
	majorMap    = 5
	majorSimple = 7
)

// head reads the head of an item.
func (q *quick) head() (major, info byte, n uint64) {
	if len(q.b) == 0 {
		q.bad = true
		return 0, 0, 0
	}
	major, info = q.b[0]>>5, q.b[0]&0x1f
	q.b = q.b[1:]
	size := 0
	switch {
	case info < 24:
		return major, info, uint64(info)
	case info <= 27:
		size = 1 << (info - 24)
	}
	if size == 0 || len(q.b) < size {
		q.bad = true
		return 0, 0, 0
	}
	switch size {
	case 1:
		n = uint64(q.b[0])
	case 2:
		n = uint64(binary.BigEndian.Uint16(q.b))
	case 4:
		n = uint64(binary.BigEndian.Uint32(q.b))
	case 8:
		n = binary.BigEndian.Uint64(q.b)
	}
	q.b = q.b[size:]
	return major, info, n
}

func (q *quick) uint(most uint64) uint64 {
	major, _, n := q.head()
	if major != majorUint || n > most {
		q.bad = true
		return 0
	}
	return n
}

// count reads the head of a map of at most so many pairs.
func (q *quick) count(most uint64) int {
	major, _, n := q.head()
	if q.bad || major != majorMap || n > most {
		q.bad = true
		return 0
	}
	return int(n)
}

// text reads the rest of a text of n bytes.
func (q *quick) text(n uint64) []byte {
	if n > uint64(len(q.b)) || !utf8.Valid(q.b[:n]) {
		q.bad = true
		return nil
	}
	got := q.b[:n]
	q.b = q.b[n:]
	return got
}

// name reads a key of values: a place, or a name.
func (q *quick) name(attributes []string) string {
	major, _, n := q.head()
	switch {
	case q.bad:
	case major == majorUint && n < uint64(len(attributes)):
		return attributes[n]
	case major == majorText && n > 0 && n <= MaxName:
		return word(q.text(n))
	}
	q.bad = true
	return ""
}

// value reads a value: what a check would look at is left to it.
func (q *quick) value() any {
	major, info, n := q.head()
	if q.bad {
		return nil
	}
	switch major {
	case majorUint:
		if n <= math.MaxInt64 {
			return int64(n)
		}
	case majorNegint:
		if n <= math.MaxInt64 {
			return -1 - int64(n)
		}
	case majorText:
		if n <= MaxName {
			return word(q.text(n))
		}
	case majorSimple:
		f := 0.0
		switch info {
		case 20, 21:
			return info == 21
		case 22:
			return nil
		case 25:
			f = half(uint16(n))
		case 26:
			f = float64(math.Float32frombits(uint32(n)))
		case 27:
			f = math.Float64frombits(n)
		default:
			q.bad = true
			return nil
		}
		if !math.IsNaN(f) && !math.IsInf(f, 0) {
			return f
		}
	}
	q.bad = true
	return nil
}

// half is a float of 16 bits.
func half(bits uint16) float64 {
	exponent, fraction := int(bits>>10&0x1f), float64(bits&0x3ff)
	f := 0.0
	switch exponent {
	case 0:
		f = math.Ldexp(fraction, -24)
	case 0x1f:
		return math.Inf(1) // or not a number: no frame may hold either
	default:
		f = math.Ldexp(fraction+0x400, exponent-25)
	}
	if bits>>15 != 0 {
		return -f
	}
	return f
}

// word is text as a string, of our own where it is a word of the vocabulary.
func word(text []byte) string {
	if s, ok := vocabulary[string(text)]; ok {
		return s
	}
	return string(text)
}

// vocabulary is the names of attributes, and what the values are called of those that are one of a list.
var vocabulary = func() map[string]string {
	m := map[string]string{}
	for _, name := range device.AttributeNames(0) {
		m[name] = name
		a, _ := device.ParseAttribute(name)
		for _, word := range a.Info().Values {
			m[word] = word
		}
	}
	return m
}()

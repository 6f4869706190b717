package wire

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"iter"
	"math"
	"math/big"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"

	"porchlight/device"
)

// layout is a frame taken apart: its values in the order in which they stand, those that are in a list
// or a map after it, a key before its value.
type layout struct {
	b    []byte
	laid []laid
}

// laid is one value.
type laid struct {
	n     uint64 // a number; the bits of a float; how many bytes, items or pairs
	from  uint16 // where in the frame the bytes of a string begin
	end   uint16 // where the value after this one and all that is in it is laid
	major uint8
	info  uint8 // of its head, the other five bits
}

// The major types of CBOR.
const (
	majorUint   = 0
	majorNegint = 1
	majorBytes  = 2
	majorText   = 3
	majorList   = 4
	majorMap    = 5
	majorTag    = 6
	majorSimple = 7
)

const (
	endless = 31   // the info of what has no length in its head: it goes on until a breaks
	breaks  = 0xff // in the place of a value
)

// lay takes b apart: by itself, in a fraction of the time, if it is as devices send it. What is unusual, and
// everything that may be wrong, is left to the library, which knows what to say of it.
func (l *layout) lay(b []byte) error {
	if l.spread(b, true) {
		return nil
	}
	return l.respell(strict, b)
}

// respell has the library read b, and takes apart what it took it for, in our spelling.
func (l *layout) respell(mode cbor.DecMode, b []byte) error {
	var v any
	if err := mode.Unmarshal(b, &v); err != nil {
		return err
	}
	b, err := encoding.Marshal(v)
	if err != nil {
		return err
	}
	if !l.spread(b, false) {
		return errors.New("frame cannot be taken apart")
	}
	return nil
}

// spread takes b apart. It reports whether that is done: if b is not strictly right or not usual, it is not.
// If it need not be strict, because the library has been, it takes as a key and in a text what comes.
func (l *layout) spread(b []byte, strictly bool) bool {
	l.b, l.laid = b, l.laid[:0]
	return l.put(0, 0, strictly) == len(b)
}

const nowhere = -1

// put lays the value that begins at a byte of the frame, within so many others. It returns where it ends,
// or nowhere.
func (l *layout) put(at, depth int, strictly bool) int {
	if at >= len(l.b) {
		return nowhere
	}
	major, info := l.b[at]>>5, l.b[at]&0x1f
	n := uint64(info)
	at++
	if info > 23 && (info != endless || major != majorList && major != majorMap) {
		size := 1 << (info - 24)
		if info > 27 || size > len(l.b)-at {
			return nowhere
		}
		switch b := l.b[at:]; size {
		case 1:
			n = uint64(b[0])
		case 2:
			n = uint64(binary.BigEndian.Uint16(b))
		case 4:
			n = uint64(binary.BigEndian.Uint32(b))
		case 8:
			n = binary.BigEndian.Uint64(b)
		}
		at += size
	}
	place := len(l.laid)
	l.laid = append(l.laid, laid{})
	v := &l.laid[place]
	v.n, v.from, v.end, v.major, v.info = n, uint16(at), uint16(place+1), major, info
	switch major {
	case majorBytes, majorText:
		if n > uint64(len(l.b)-at) {
			return nowhere
		}
		at += int(n)
		if strictly && major == majorText && !utf8.Valid(l.content(place)) {
			return nowhere
		}
	case majorList, majorMap:
		at = l.fill(place, major, n, info == endless, at, depth, strictly)
	case majorTag:
		return nowhere
	case majorSimple:
		if v.info == byte(undefined) || v.info == 24 && v.n < 32 {
			return nowhere
		}
	}
	return at
}

// fill lays the n items or pairs of a list or a map, or those up to the end of an open one, from a byte of
// the frame on.
func (l *layout) fill(place int, major byte, n uint64, open bool, at, depth int, strictly bool) int {
	most := uint64(MaxItems)
	if major == majorMap {
		most = MaxPairs
	}
	if open {
		n = most
	}
	if n > most || depth == MaxDepth {
		return nowhere
	}
	largest := place // of its keys; none so far
	count := uint64(0)
	for ; count < n && !(open && l.ends(at)); count++ {
		if major == majorMap {
			key := len(l.laid)
			if at = l.put(at, depth+1, strictly); at == nowhere {
				return nowhere
			}
			switch {
			case !strictly:
			case !l.isName(key):
				return nowhere
			case largest == place || l.compare(largest, key) < 0:
				largest = key
			case l.twice(place, key):
				return nowhere
			}
		}
		if at = l.put(at, depth+1, strictly); at == nowhere {
			return nowhere
		}
	}
	if open {
		if !l.ends(at) {
			return nowhere
		}
		at++
	}
	l.laid[place].n, l.laid[place].end = count, uint16(len(l.laid))
	return at
}

func (l *layout) ends(at int) bool { return at < len(l.b) && l.b[at] == breaks }

// isName reports whether a value may be a key: an integer of 64 bits or a text.
func (l *layout) isName(at int) bool {
	v := &l.laid[at]
	return v.major == majorUint || v.major == majorText || v.major == majorNegint && v.n <= math.MaxInt64
}

// compare orders what may be keys.
func (l *layout) compare(a, b int) int {
	v, w := &l.laid[a], &l.laid[b]
	switch {
	case v.major != w.major:
		return cmp.Compare(v.major, w.major)
	case v.n != w.n || v.major != majorText:
		return cmp.Compare(v.n, w.n)
	}
	return bytes.Compare(l.content(a), l.content(b))
}

// twice reports whether a key of a map is one of those before it.
func (l *layout) twice(in, key int) bool {
	for at := in + 1; at < key; at = int(l.laid[at+1].end) {
		if l.compare(at, key) == 0 {
			return true
		}
	}
	return false
}

// content is the bytes of a text or a byte string. They are the frame's: copy what stays.
func (l *layout) content(at int) []byte {
	v := &l.laid[at]
	return l.b[v.from:][:v.n]
}

// pairs is where the keys and values of a map are laid.
func (l *layout) pairs(at int) iter.Seq2[int, int] {
	return func(yield func(int, int) bool) {
		end := int(l.laid[at].end)
		for key := at + 1; key < end; {
			if !yield(key, key+1) {
				return
			}
			key = int(l.laid[key+1].end)
		}
	}
}

// value is a value as the library gives it: bool, uint64, int64, big.Int, float64, string, []byte,
// cbor.SimpleValue, []any, map[any]any or nil.
func (l *layout) value(at int) any {
	v := &l.laid[at]
	switch v.major {
	case majorUint:
		return v.n
	case majorNegint:
		if v.n <= math.MaxInt64 {
			return -1 - int64(v.n)
		}
		n := new(big.Int).SetUint64(v.n)
		return *n.Not(n)
	case majorBytes:
		return bytes.Clone(l.content(at))
	case majorText:
		return word(l.content(at))
	case majorList:
		list := make([]any, v.n)
		at++
		for i := range list {
			list[i] = l.value(at)
			at = int(l.laid[at].end)
		}
		return list
	case majorMap:
		m := make(map[any]any, v.n)
		for key, at := range l.pairs(at) {
			name := l.value(key)
			if b, ok := name.([]byte); ok {
				name = cbor.ByteString(b)
			}
			m[name] = l.value(at)
		}
		return m
	}
	switch v.info {
	case 20, 21:
		return v.info == 21
	case 22:
		return nil
	case 25:
		return half(uint16(v.n))
	case 26:
		return float64(math.Float32frombits(uint32(v.n)))
	case 27:
		return math.Float64frombits(v.n)
	}
	return cbor.SimpleValue(v.n)
}

// signed is value, but an int64 for every integer that fits; a check refuses the others.
func (l *layout) signed(at int) any {
	if v := &l.laid[at]; v.major == majorUint && v.n <= math.MaxInt64 {
		return int64(v.n)
	}
	return l.value(at)
}

// half is a float of 16 bits.
func half(bits uint16) float64 {
	exponent, fraction := int(bits>>10&0x1f), float64(bits&0x3ff)
	f := 0.0
	switch {
	case exponent == 0:
		f = math.Ldexp(fraction, -24)
	case exponent < 0x1f:
		f = math.Ldexp(fraction+0x400, exponent-25)
	case fraction == 0:
		f = math.Inf(1)
	default:
		return math.NaN()
	}
	if bits>>15 != 0 {
		return -f
	}
	return f
}

// word is a text as a string, of our own where it is a word of the vocabulary.
func word(text []byte) any {
	if s, ok := vocabulary[string(text)]; ok {
		return s
	}
	return string(text)
}

// vocabulary is the names of attributes, and what the values are called of those that are one of a list.
var vocabulary = func() map[string]any {
	m := map[string]any{}
	for a := range device.AttributesOf(0) {
		m[a.String()] = a.String()
		for _, word := range a.Info().Values {
			m[word] = word
		}
	}
	return m
}()

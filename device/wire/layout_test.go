package wire

import (
	"encoding/binary"
	"encoding/hex"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// FuzzLayout: what we take apart by ourselves the library takes, for the same; and a frame of any kind is
// the same frame when it is spelled so that only the library can read it.
func FuzzLayout(f *testing.F) {
	for _, g := range readGolden(f) {
		f.Add(g.bytes)
	}
	for _, b := range readSecond(f) {
		f.Add(b)
	}
	for _, b := range odd(f) {
		f.Add(b)
	}
	for name, g := range readGolden(f) {
		if name == "up/birth birth of a television" || name == "up/evt button 0" || name == "up/ctx context of every kind" {
			for n := range g.bytes {
				f.Add(g.bytes[:n])
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > MaxFrame {
			return
		}
		var want any
		err := strict.Unmarshal(b, &want)
		var own, respelled layout
		if own.spread(b, true) && (err != nil || !alike(own.value(0), want)) {
			t.Fatalf("%x by ourselves\ngot  %#v\nwant %#v, %v", b, own.value(0), want, err)
		}
		if got := respelled.respell(strict, b); (got == nil) != (err == nil) || err == nil && !alike(respelled.value(0), want) {
			t.Fatalf("%x by way of the library: %v\nwant %#v, %v", b, got, want, err)
		}
		if err != nil {
			return
		}
		m, ok := want.(map[any]any)
		if !ok || len(m) == MaxPairs {
			return
		}
		m[uint64(99)] = "a text in a piece"
		strange := spellStrangely(nil, m, true)
		if len(strange) > MaxFrame {
			return
		}
		if own.spread(strange, true) {
			t.Fatalf("%x was not left to the library", strange)
		}
		for _, leaf := range leaves {
			got, err := decodeAs(leaf, b)
			want, wrong := decodeAs(leaf, strange)
			if (err == nil) != (wrong == nil) || err == nil && !reflect.DeepEqual(got, want) {
				t.Fatalf("%x as %s\ngot  %+v, %v\nwant %+v, %v, as %x is", b, leaf, got, err, want, wrong, strange)
			}
		}
	})
}

// alike is DeepEqual, except that what is not a number equals itself.
func alike(a, b any) bool {
	switch a := a.(type) {
	case float64:
		b, ok := b.(float64)
		return ok && (a == b && math.Signbit(a) == math.Signbit(b) || math.IsNaN(a) && math.IsNaN(b))
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, alike)
	case map[any]any:
		b, ok := b.(map[any]any)
		nan := 0
		for key, v := range a {
			if key != key {
				nan++ // nothing can be looked up under it
			} else if w, in := b[key]; !in || !alike(v, w) {
				return false
			}
		}
		for key := range b {
			if key != key {
				nan--
			}
		}
		return ok && len(a) == len(b) && nan == 0
	}
	return reflect.DeepEqual(a, b)
}

// spellStrangely is CBOR as hardly a device writes it: numbers as wide as can be, keys in any order, lists and
// maps of no definite length, and strings in pieces.
func spellStrangely(b []byte, v any, pieces bool) []byte {
	head := func(major byte, n uint64) []byte { return binary.BigEndian.AppendUint64(append(b, major<<5|27), n) }
	switch v := v.(type) {
	case uint64:
		return head(majorUint, v)
	case int64:
		return head(majorNegint, uint64(-1-v))
	case []byte:
		if pieces {
			return append(append(append(b, majorBytes<<5|endless), spell(v)...), breaks)
		}
		return append(head(majorBytes, uint64(len(v))), v...)
	case string:
		if pieces {
			return append(append(append(b, majorText<<5|endless), spell(v)...), breaks)
		}
		return append(head(majorText, uint64(len(v))), v...)
	case []any:
		b = append(b, majorList<<5|endless)
		for _, v := range v {
			b = spellStrangely(b, v, pieces)
		}
		return append(b, breaks)
	case map[any]any:
		b = append(b, majorMap<<5|endless)
		for key, v := range v {
			b = spellStrangely(spellStrangely(b, key, pieces), v, pieces)
		}
		return append(b, breaks)
	}
	return append(b, spell(v)...)
}

func spell(v any) []byte {
	b, err := encoding.Marshal(v)
	if err != nil {
		panic(err) // it came from a frame
	}
	return b
}

// odd are frames that a hurried decoder would get wrong.
func odd(t testing.TB) (all [][]byte) {
	t.Helper()
	for _, spelled := range []string{
		"a20001 03 a0",                           // nothing told
		"a20001 03 a200010002",                   // one place twice
		"a20001 03 a100f93400",                   // half floats
		"a20001 03 a100f90001",                   //
		"a20001 03 a100f98000",                   //
		"a20001 03 a100f97c00",                   // infinite
		"a20001 03 a100f97e00",                   // not a number
		"a20001 03 a100fa7fc00000",               //
		"a20001 03 a100fb7ff8000000000001",       //
		"a20001 03 a100fa3dcccccd",               // a tenth, nearly
		"a20001 03 a100fb3fb999999999999a",       // and nearer
		"a2001801 03 a1001805",                   // longer than need be
		"a2180001 03 a11900001a00000005",         //
		"a2 1b000000000000000001 03 b80100 f5",   //
		"a20001 03 b90001 00 780161",             //
		"a3000100 02 03a0",                       // a key twice
		"a3000118 0002 03a0",                     // and longer
		"a403a0 0001 0102 0001",                  // and not side by side
		"a403a0 0101 0002 0102",                  //
		"a20001 03 a3 6178 01 6179 02 6178 03",   //
		"a20001 03 a3 6179 01 6178 02 6179 03",   //
		"a4 0001 03a0 2000 2000",                 //
		"bf 0001 03a0 ff",                        // of no definite length
		"bf 0001 03bf ff 1863 9fff ff",           //
		"bf 0001 03a0",                           // and of no end
		"bf 0001 03 ff",                          // and an end too early
		"a20001 03 bbffffffffffffffff 00f5 ff",   // and of one that none has
		"a30001 03a0 1863 9bffffffffffffffff ff", //
		"9f ff",                                  //
		"a20001 03 a100 7f 61 61 61 62 ff",       // a text in pieces
		"a20001 03 a1 7f 61 61 61 62 ff 01",      //
		"a30001 03a0 1863 5f 41 61 ff",           // bytes in pieces
		"a30001 03a0 1863 5f ff",                 //
		"a20001 03 a100f7",                       // undefined
		"a20001 03 a100f815",                     // true, spelled as it may not be
		"a20001 03 a100f817",                     // undefined, too
		"a20001 03 a100f820",                     // a simple value
		"a20001 03 a100e0",                       //
		"a20001 03 a100f3",                       //
		"a20001 03 a10061ff",                     // not UTF-8
		"a20001 03 a161ff01",                     //
		"a30001 03a0 1863 62c328",                //
		"a20001 03 a100 63eda080",                // half a character of UTF-16
		"a20001 03 a16001",                       // no name
		"a20001 03 a1001b8000000000000000",       // beyond an int64
		"a20001 03 a1003b7fffffffffffffff",       // its least
		"a20001 03 a1003b8000000000000000",       // and less
		"a20001 03 a1003bffffffffffffffff",       //
		"a30001 03a0 3b7fffffffffffffff 01",      // such keys
		"a30001 03a0 3b8000000000000000 01",      //
		"a30001 03a0 1bffffffffffffffff 01",      //
		"a20001 03 a1184001",                     // a place beyond the list
		"a20001 03 a100c100",                     // a tag
		"a20001 03 a100c24101",                   // a big number
		"a20001 03a0 00",                         // more follows
		"a30001 03a0 0401",                       // complete: 1
		"a20001 03 a1004101",                     // bytes for a text
		"a20041 01 03a0",                         // bytes for a number
		"a30001 03a0 410063616263",               // odd keys
		"a30001 03a0 f500", "a30001 03a0 f600",   //
		"a30001 03a0 f93c0000", "a30001 03a0 8000", //
		"a30001 03a0 1863 a2 f93c00 00 fa3f800000 00",              // one float twice
		"a30001 03a0 1863 a2 f97e00 00 f97e00 00",                  // not a number, twice
		"a30001 03a0 1863 a4 4100 00 f4 00 f6 00 f8ff 00",          // odd keys where nobody looks
		"a30001 03a0 1863 a2 6100 00 4100 00",                      // a text and bytes
		"a2001bffffffffffffffff 03a0",                              // a number over the largest
		"a20001 03 a1 78ffffffffffffffffff 00", "a20001 03 5affff", // more than there is
		"a103a0", "a10001", "a0", "", "00", "80", "f6", "ff", "1c", "1f", "3f", "df", "fc", // something is missing
		"a30001 03a0 1863" + strings.Repeat("81", 6) + "80",                              // 8 levels
		"a30001 03a0 1863" + strings.Repeat("81", 7) + "80",                              // 9
		"a30001 03a0 1863" + strings.Repeat("81", 7) + "00",                              //
		"a30001 03a0 1863" + strings.Repeat("a100", 6) + "a0",                            //
		"a30001 03a0 1863" + strings.Repeat("a100", 7) + "a0",                            //
		"a30001 03a0 1863" + strings.Repeat("9f", 7) + strings.Repeat("ff", 7),           //
		"a30001 03a0 1863" + strings.Repeat("9f", 8) + strings.Repeat("ff", 8),           //
		"a30001 03a0 1863 9840" + strings.Repeat("00", 64),                               // 64 items
		"a30001 03a0 1863 9841" + strings.Repeat("00", 65),                               // 65
		"a30001 03a0 1863 9f" + strings.Repeat("00", 64) + "ff",                          //
		"a30001 03a0 1863 9f" + strings.Repeat("00", 65) + "ff",                          //
		"a30001 03a0 1863 b840" + manyPairs(64), "a30001 03a0 1863 b841" + manyPairs(65), // pairs
		"a30001 03a0 1863 bf" + manyPairs(64) + "ff", "a30001 03a0 1863 bf" + manyPairs(65) + "ff",
	} {
		b, err := hex.DecodeString(strings.ReplaceAll(spelled, " ", ""))
		if err != nil {
			t.Fatalf("%s: %v", spelled, err)
		}
		all = append(all, b)
	}
	return all
}

// manyPairs spells n pairs, the largest key first.
func manyPairs(n int) string {
	b := make([]byte, 0, 3*n)
	for i := range n {
		b = append(b, 0x18, byte(100+n-i), 0xf6)
	}
	return hex.EncodeToString(b)
}

// TestLayout: frames of every kind are taken apart without the library, also if an encoder makes them longer
// than ours does.
func TestLayout(t *testing.T) {
	for _, g := range goldens {
		b := bytesOf(t, g.value)
		var l layout
		if !l.spread(b, true) {
			t.Errorf("%s is left to the library: %x", g.name, b)
			continue
		}
		long := spellStrangely(nil, l.value(0), false)
		if len(long) > MaxFrame {
			t.Fatalf("%s became %d bytes long", g.name, len(long))
		}
		if !l.spread(long, true) {
			t.Errorf("%s is left to the library: %x", g.name, long)
		}
		if got, err := decodeAs(g.leaf, long); err != nil || !same(got, g.value) {
			t.Errorf("%s as %x\ngot  %+v, %v\nwant %+v", g.name, long, got, err, g.value)
		}
	}
}

// TestDecodeCopies: what was read stays as it is when the bytes of the frame are used for something else, and
// while others read.
func TestDecodeCopies(t *testing.T) {
	for _, g := range goldens {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			b := bytesOf(t, g.value)
			got, err := decodeAs(g.leaf, b)
			for i := range b {
				b[i] = 'x'
			}
			if err != nil || !same(got, g.value) {
				t.Errorf("got  %+v, %v\nwant %+v", got, err, g.value)
			}
		})
	}
}

package wire

import (
	"math"
	"reflect"
	"testing"
)

// FuzzQuickContext: what is taken quickly is taken as the decoder of everything takes it.
func FuzzQuickContext(f *testing.F) {
	for _, g := range readGolden(f) {
		f.Add(g.bytes)
	}
	for _, b := range readSecond(f) {
		f.Add(b)
	}
	f.Add(bytesOf(f, Context{Seq: 812, Observed: 1 << 41, Age: 40, Complete: true, Values: map[string]any{
		"state": "playing", "volume_level": 0.25, "full_screen": true, "app_name": "cinema", "ux.driving": nil, "other": int64(-7), "long": 1e300, "single": float64(math.MaxFloat32),
	}}))
	for _, b := range odd {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, ok := quickContext(places, b)
		want, err := slowContext(places, b)
		if ok && (err != nil || !reflect.DeepEqual(got, want)) {
			t.Fatalf("%x quickly\ngot  %#v\nwant %#v, %v", b, got, want, err)
		}
	})
}

// odd are frames that a hurried decoder would get wrong.
var odd = [][]byte{
	{0xa2, 0x00, 0x01, 0x03, 0xa0},                                                      // nothing told
	{0xa2, 0x00, 0x01, 0x03, 0xa2, 0x00, 0x01, 0x00, 0x02},                              // one place twice
	{0xa2, 0x00, 0x01, 0x03, 0xa1, 0x00, 0xf9, 0x34, 0x00},                              // half floats
	{0xa2, 0x00, 0x01, 0x03, 0xa1, 0x00, 0xf9, 0x00, 0x01},                              //
	{0xa2, 0x00, 0x01, 0x03, 0xa1, 0x00, 0xf9, 0x80, 0x00},                              //
	{0xa2, 0x00, 0x01, 0x03, 0xa1, 0x00, 0xf9, 0x7c, 0x00},                              // infinite
	{0xa2, 0x00, 0x01, 0x03, 0xa1, 0x00, 0xf9, 0x7e, 0x00},                              // not a number
	{0xa2, 0x00, 0x18, 0x01, 0x03, 0xa1, 0x00, 0x18, 0x05},                              // longer than need be
	{0xa2, 0x18, 0x00, 0x01, 0x03, 0xa1, 0x19, 0x00, 0x00, 0x1a, 0, 0, 0, 5},            //
	{0xa3, 0x00, 0x01, 0x00, 0x02, 0x03, 0xa0},                                          // a key twice
	{0xbf, 0x00, 0x01, 0x03, 0xa0, 0xff},                                                // of no definite length
	{0xa2, 0x00, 0x01, 0x03, 0xa1, 0x00, 0xf7},                                          // undefined
	{0xa2, 0x00, 0x01, 0x03, 0xa1, 0x00, 0xf8, 0x15},                                    // true, spelled as it may not be
	{0xa2, 0x00, 0x01, 0x03, 0xa1, 0x00, 0x61, 0xff},                                    // not UTF-8
	{0xa2, 0x00, 0x01, 0x03, 0xa1, 0x60, 0x01},                                          // no name
	{0xa2, 0x00, 0x01, 0x03, 0xa1, 0x00, 0x1b, 0x80, 0, 0, 0, 0, 0, 0, 0},               // beyond an int64
	{0xa2, 0x00, 0x01, 0x03, 0xa1, 0x00, 0x3b, 0x7f, 255, 255, 255, 255, 255, 255, 255}, // its least
	{0xa2, 0x00, 0x01, 0x03, 0xa1, 0x00, 0x3b, 0x80, 0, 0, 0, 0, 0, 0, 0},               // and less
	{0xa2, 0x00, 0x01, 0x03, 0xa1, 0x18, 0x40, 0x01},                                    // a place beyond the list
	{0xa2, 0x00, 0x01, 0x03, 0xa0, 0x00},                                                // more follows
	{0xa3, 0x00, 0x01, 0x03, 0xa0, 0x04, 0x01},                                          // complete: 1
	{0xa2, 0x00, 0x1b, 0xff, 255, 255, 255, 255, 255, 255, 255, 0x03, 0xa0},             // a number over the largest
	{0xa1, 0x03, 0xa0}, {0xa1, 0x00, 0x01}, {0xa0}, {}, // something is missing
}

// TestQuickContext: what devices send goes the quick way.
func TestQuickContext(t *testing.T) {
	for _, c := range []Context{
		{Seq: 1, Values: map[string]any{}},
		{Seq: 2, Age: 40, Values: map[string]any{"state": "playing", "volume_level": 0.25, "full_screen": true, "app_name": "cinema", "ux.driving": "parked"}},
		{Seq: 3, Observed: 1 << 41, Complete: true, Values: map[string]any{"temperature": -4.7, "a": nil, "b": int64(-3), "c": int64(70000)}},
	} {
		b := bytesOf(t, c)
		if got, ok := quickContext(places, b); !ok || !reflect.DeepEqual(got, c) {
			t.Errorf("%x: got %+v, %v, want %+v", b, got, ok, c)
		}
	}
}

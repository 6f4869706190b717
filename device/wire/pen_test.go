package wire

import (
	"bytes"
	"math/rand"
	"reflect"
	"testing"
	"testing/quick"

	"porchlight/device"
)

// What the pen writes is what the library would, whatever is in the frame.
func TestSpelledLikeTheLibrary(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	values := []any{true, false, nil, "parked", "", int64(-18), int64(1 << 40), 0.25, 1e300}
	for n := range 2000 {
		for _, frame := range []spelled{new(Time), new(Twin), new(Cancel), new(Present)} {
			v := reflect.ValueOf(frame).Elem()
			for i := range v.NumField() {
				if v.Type().Field(i).Name == "Guards" || n%4 == 0 && r.Intn(2) == 0 {
					continue
				}
				some, ok := quick.Value(v.Field(i).Type(), r)
				if !ok {
					t.Fatalf("%T: no %s can be made", frame, v.Type().Field(i).Name)
				}
				v.Field(i).Set(some)
			}
			switch f := frame.(type) {
			case *Cancel:
				f.Op = opCancel
			case *Present:
				f.Op = opPresent
				for range r.Intn(4) {
					name, _ := quick.Value(reflect.TypeFor[string](), r)
					if f.Guards == nil {
						f.Guards = map[string]Guard{}
					}
					f.Guards[name.String()] = Guard{Op: "eq", Value: values[r.Intn(len(values))]}
				}
			}
			var p pen
			if err := frame.spell(&p); err != nil {
				t.Fatal(err)
			}
			want, err := encoding.Marshal(frame)
			if err != nil || !bytes.Equal(p.b, want) {
				t.Fatalf("%T %+v\nspelled %x\nwant    %x, %v", frame, frame, p.b, want, err)
			}
		}
	}
}

// Every number has the shortest head that can hold it.
func TestHeads(t *testing.T) {
	for _, n := range []uint64{0, 23, 24, 255, 256, 65535, 65536, 1<<32 - 1, 1 << 32, 1<<64 - 1} {
		var p pen
		p.head(majorUint, n)
		if want, err := encoding.Marshal(n); err != nil || !bytes.Equal(p.b, want) {
			t.Errorf("%d is %x, want %x, %v", n, p.b, want, err)
		}
	}
}

func BenchmarkEncodeTwin(b *testing.B) {
	t := Twin{Version: 12, Doc: Document{
		Brands: []BrandChoice{{Brand: "fresh-co", Name: "Fresh & Co", Purpose: "marketing", Choice: "given"}, {Brand: "lumen", Name: "Lumen", Purpose: "service", Choice: "silent"}},
		Quiet:  []QuietTime{{Days: 62, Start: 1320, End: 420}}, Zone: "Europe/Zurich", Caps: []Cap{{Each: true, Max: 3, Hours: 24}},
		People: []Resident{{1, "Ada"}, {2, "Ben"}}, Rooms: []Place{{1, "Kitchen"}},
	}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Encode(&t); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodeTime(b *testing.B) {
	t := Time{Clock: 1_790_000_000_123, Fence: 12, Keep: []device.MessageID{id(1)}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Encode(&t); err != nil {
			b.Fatal(err)
		}
	}
}

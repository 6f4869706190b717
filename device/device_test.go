package device

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestIDs(t *testing.T) {
	for _, good := range []string{"tv-1", "abcdefghijklmnop", "0123", strings.Repeat("a", 32), string(NewID())} {
		if _, err := ParseID(good); err != nil {
			t.Errorf("ParseID(%q): %v", good, err)
		}
	}
	for _, bad := range []string{"", "tv1", "TV-1", "-tv1", "tv/1", "tv+1", "tv#1", "tv\x001", "fernsehgerät", strings.Repeat("a", 33)} {
		if _, err := ParseID(bad); !errors.Is(err, ErrID) {
			t.Errorf("ParseID(%q): %v, want ErrID", bad, err)
		}
		if _, err := ParseBrandID(bad + "1"); bad == "" && !errors.Is(err, ErrID) {
			t.Errorf("ParseBrandID(%q): %v, want ErrID: it begins with a digit", bad+"1", err)
		}
	}
	if a, b := NewID(), NewID(); a == b || len(a) != 16 {
		t.Errorf("NewID gave %s and %s", a, b)
	}
}

func TestMessageID(t *testing.T) {
	now := At(time.Date(2026, 3, 4, 5, 6, 7, 8e6, time.UTC))
	id := NewMessageID(now)
	if id[6]>>4 != 7 || id[8]>>6 != 2 {
		t.Errorf("%s is not a UUID of version 7", id)
	}
	var at Instant
	for _, b := range id[:6] {
		at = at<<8 | Instant(b)
	}
	if at != now {
		t.Errorf("%s was made at %s, want %s", id, at, now)
	}
	back, err := ParseMessageID(id.String())
	if err != nil || back != id {
		t.Errorf("ParseMessageID(%s) = %s, %v", id, back, err)
	}
	s := id.String()
	for _, bad := range []string{"", s[1:], s + "0", strings.Replace(s, "-", "0", 1), "g" + s[1:], s[:8] + "0" + s[9:]} {
		if _, err := ParseMessageID(bad); !errors.Is(err, ErrID) {
			t.Errorf("ParseMessageID(%q): %v, want ErrID", bad, err)
		}
	}
}

func TestNamesGoBothWays(t *testing.T) {
	for c := range Class(255) {
		got, err := ParseClass(c.String())
		if c.Known() != (err == nil && got == c) {
			t.Errorf("class %d: known %t, ParseClass(%s) = %d, %v", c, c.Known(), c, got, err)
		}
	}
	for f := range Form(255) {
		got, err := ParseForm(f.String())
		if f.Known() != (err == nil && got == f) {
			t.Errorf("form %d: known %t, ParseForm(%s) = %d, %v", f, f.Known(), f, got, err)
		}
	}
	for _, name := range AttributeNames(0) {
		if a, ok := ParseAttribute(name); !ok || a.String() != name {
			t.Errorf("attribute %s does not come back", name)
		}
	}
}

func TestValueOf(t *testing.T) {
	tests := map[string]struct {
		a    Attribute
		v    any
		want Value
		ok   bool
	}{
		"bool":             {DoorOpen, true, Value{Kind: Bool, Num: 1}, true},
		"unknown":          {DoorOpen, nil, Value{}, true},
		"bool as a number": {DoorOpen, int64(1), Value{}, false},
		"word":             {Driving, "parked", Value{Kind: Enum, Num: 0}, true},
		"word not in list": {Driving, "flying", Value{}, false},
		"integer":          {VehicleSpeed, int64(50), Value{Kind: Number, Num: 50}, true},
		"float":            {VehicleSpeed, 49.5, Value{Kind: Number, Num: 49.5}, true},
		"not a number":     {VehicleSpeed, math.NaN(), Value{}, false},
		"without end":      {VehicleSpeed, math.Inf(1), Value{}, false},
		"text":             {Source, "HDMI 1", Value{Kind: Text, Text: "HDMI 1"}, true},
		"text too long":    {Source, strings.Repeat("x", 65), Value{}, false},
		"a list":           {Source, []any{}, Value{}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := test.a.ValueOf(test.v)
			if got != test.want || (err == nil) != test.ok {
				t.Errorf("%s of %v = %+v, %v; want %+v, ok %t", test.a, test.v, got, err, test.want, test.ok)
			}
		})
	}
}

func TestFresh(t *testing.T) {
	at := At(time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC))
	parked := Value{Kind: Enum, Num: 0}
	var c Context
	if _, _, ok := c.Fresh(Car, Driving, at); ok {
		t.Error("what was never told is fresh")
	}
	c.Set(Driving, parked, at)
	for _, test := range []struct {
		now Instant
		ok  bool
	}{{at, true}, {at.Add(4999 * time.Millisecond), true}, {at.Add(5 * time.Second), false}, {at.Add(-5 * time.Second), true}, {at.Add(-5001 * time.Millisecond), false}} {
		v, until, ok := c.Fresh(Car, Driving, test.now)
		if ok != test.ok || ok && (v != parked || until != at.Add(5*time.Second)) {
			t.Errorf("at %s: %+v until %s, ok %t; want ok %t", test.now, v, until, ok, test.ok)
		}
	}
	c.Set(Driving, Value{Kind: Enum, Num: 2}, at-1) // late: dropped
	if r, _ := c.Get(Driving); r.Value != parked {
		t.Errorf("a late reading replaced a newer one: %+v", r)
	}
	c.Set(Driving, Value{}, at+1)
	if _, ok := c.Get(Driving); ok {
		t.Error("a null is known")
	}
}

func TestNearest(t *testing.T) {
	words := []string{"category", "purpose", "texts"}
	for word, want := range map[string]string{"categry": "category", "Purpose": "purpose", "text": "texts", "zzzz": "", "": ""} {
		if got := Nearest(word, words); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

// Whatever a device can do counts when two are compared.
func TestCapabilitiesEqual(t *testing.T) {
	var none Capabilities
	if !none.Equal(&Capabilities{Forms: []Form{}, Languages: []string{}}) {
		t.Error("an empty list is taken for something")
	}
	for i := range reflect.TypeFor[Capabilities]().NumField() {
		var one Capabilities
		switch f := reflect.ValueOf(&one).Elem().Field(i); f.Kind() {
		case reflect.Uint:
			f.SetUint(1)
		case reflect.Slice:
			f.Set(reflect.MakeSlice(f.Type(), 1, 1))
		default:
			t.Fatalf("%s is of a kind that this test does not know", reflect.TypeFor[Capabilities]().Field(i).Name)
		}
		if same := one; one.Equal(&none) || none.Equal(&one) || !one.Equal(&same) {
			t.Errorf("%s does not count", reflect.TypeFor[Capabilities]().Field(i).Name)
		}
	}
}

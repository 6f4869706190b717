package signals

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"porchlight/policy"
)

// foreign is a string of testdata/second, and what the library that encoded it reads in it.
type foreign struct {
	Name         string
	Kind         Kind
	Value        string
	Policy       int
	Purposes     []int
	Restrictions [][2]int // purpose, type
	Sections     []int
	EU           *struct {
		Policy   int
		Purposes []int
	}
	USP string
	US  map[int]struct {
		OptOuts, Child []int
		More           int
		GPC            bool
	}
}

func readForeign(t testing.TB) []foreign {
	t.Helper()
	raw, err := os.ReadFile("testdata/second/strings.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []foreign
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

func set(names string) (s uint16) {
	for _, name := range strings.Fields(names) {
		p, err := policy.ParsePurpose(name)
		if err != nil {
			panic(err)
		}
		s |= 1 << p
	}
	return s
}

func names(s uint16) string {
	var list []string
	for n := range 16 {
		if s&(1<<n) != 0 {
			list = append(list, policy.Purpose(n).String())
		}
	}
	return strings.Join(list, " ")
}

const (
	allBut = "marketing personalised recommendations research analytics context" // Service
	opted  = "marketing personalised recommendations"
)

// lacking is what follows from a purpose without consent, as the package comment says.
var lacking = map[int]string{
	1: allBut, 2: "marketing personalised", 3: "personalised", 4: "personalised", 5: "recommendations", 6: "recommendations",
	7: "analytics", 8: "analytics", 9: "research analytics", 10: "research", 11: "recommendations",
}

func expectTCF(policy int, purposes []int, restrictions [][2]int) (denied uint16) {
	for n, takes := range lacking {
		if !slices.Contains(purposes, n) && (n < 11 || policy >= 4) {
			denied |= set(takes)
		}
		for _, r := range restrictions {
			if r[0] == n && r[1] != 1 {
				denied |= set(takes)
			}
		}
	}
	return denied
}

func mask(list []int) (m uint32) {
	for _, n := range list {
		m |= 1 << n
	}
	return m
}

func TestSecondEncoder(t *testing.T) {
	for _, f := range readForeign(t) {
		t.Run(f.Name, func(t *testing.T) {
			var want uint16
			unread := false
			checkTCF := func(text string, policy int, purposes []int, restrictions [][2]int) {
				got, err := readTCF(text)
				var restricted []int
				for _, r := range restrictions {
					if r[1] != 1 {
						restricted = append(restricted, r[0])
					}
				}
				if w := (tcf{policy, mask(purposes), mask(restricted)}); err != nil || got != w {
					t.Errorf("%s\ngot  %+v, %v\nwant %+v", text, got, err, w)
				}
				want |= expectTCF(policy, purposes, restrictions)
			}
			switch f.Kind {
			case TCF:
				checkTCF(f.Value, f.Policy, f.Purposes, f.Restrictions)
			case GPP:
				sections, err := readGPP(f.Value)
				if err != nil || len(sections) != len(f.Sections) {
					t.Fatalf("got %v, %v, want sections %d", sections, err, f.Sections)
				}
				for i, s := range sections {
					if s.id != f.Sections[i] {
						t.Errorf("section %d is %d, want %d", i, s.id, f.Sections[i])
					}
					switch layouts := usSections[s.id]; {
					case s.id == 2:
						checkTCF(s.text, f.EU.Policy, f.EU.Purposes, nil)
					case s.id == 6:
						if s.text != f.USP {
							t.Errorf("got %q, want %q", s.text, f.USP)
						}
						if f.USP[2] == 'Y' {
							want |= set(opted)
						}
					case layouts == nil:
						unread = true
						want |= set(allBut)
					default:
						w := f.US[s.id]
						got, err := readUS(layouts, s.text)
						if err != nil || !slices.Equal(got.optOuts, w.OptOuts) || !slices.Equal(got.child, w.Child) || got.more != w.More || got.gpc != w.GPC {
							t.Errorf("%s\ngot  %+v, %v\nwant %+v", s.text, got, err, w)
						}
						if w.GPC || slices.Contains(w.OptOuts, 1) {
							want |= set(opted)
						}
						if w.More == 1 {
							want |= set("research analytics")
						}
						if slices.Contains(w.Child, 1) {
							want |= set(allBut)
						}
					}
				}
			}
			got, err := Denied(f.Kind, f.Value)
			if got != want || errors.Is(err, ErrUnreadable) != unread {
				t.Errorf("%s denies %s, %v; want %s", f.Value, names(got), err, names(want))
			}
		})
	}
}

// The file has something of everything that is read.
func TestSecondEncoderCovers(t *testing.T) {
	seen := map[int]bool{}
	for _, f := range readForeign(t) {
		for _, id := range f.Sections {
			seen[id] = true
		}
	}
	for id := range usSections {
		if !seen[id] {
			t.Errorf("no string has section %d", id)
		}
	}
	if !seen[2] || !seen[6] {
		t.Error("no string has section 2, or 6")
	}
}

// made writes a string by hand, bit by bit, for what no encoder writes.
type made struct{ bits []byte }

func (m *made) num(n int, v uint64) *made {
	for i := n - 1; i >= 0; i-- {
		m.bits = append(m.bits, byte(v>>i&1))
	}
	return m
}

func (m *made) String() string {
	b := slices.Clone(m.bits)
	for len(b)%6 != 0 {
		b = append(b, 0)
	}
	var text strings.Builder
	for i := 0; i < len(b); i += 6 {
		v := 0
		for _, bit := range b[i : i+6] {
			v = v<<1 | int(bit)
		}
		text.WriteByte(digits[v])
	}
	return text.String()
}

// core is a TCF core segment up to its vendors, with everything allowed.
func core(version uint64) *made {
	m := new(made)
	return m.num(6, version).num(36, 1).num(36, 1).num(12, 7).num(12, 1).num(6, 1).num(12, 0).num(12, 9).num(6, 4).num(14, 0).num(24, 1<<24-1).num(24, 0).num(1, 0).num(12, 0)
}

func TestDenied(t *testing.T) {
	restrict := func(purpose, kind, entries uint64) *made {
		m := core(2).num(17, 0).num(17, 0).num(12, 1).num(6, purpose).num(2, kind).num(12, entries)
		for range entries {
			m.num(1, 0).num(16, 9)
		}
		return m
	}
	tests := map[string]struct {
		kind  Kind
		value string
		want  string
	}{
		"nothing said":                          {TCF, "", ""},
		"nothing said in GPP":                   {GPP, "", ""},
		"no GPC":                                {GPC, "", ""},
		"GPC":                                   {GPC, "1", opted},
		"all allowed":                           {TCF, core(2).num(17, 0).num(17, 0).num(12, 0).String(), ""},
		"no vendor is restricted":               {TCF, restrict(7, 0, 0).String(), ""},
		"not allowed":                           {TCF, restrict(7, 0, 1).String(), "analytics"},
		"consent required":                      {TCF, restrict(7, 1, 1).String(), ""},
		"legitimate interest required":          {TCF, restrict(7, 2, 1).String(), "analytics"},
		"storage is not allowed":                {TCF, restrict(1, 0, 1).String(), allBut},
		"a purpose that nothing here follows":   {TCF, restrict(24, 0, 1).String(), ""},
		"example of the GPP standard":           {GPP, "DBABMA~CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA", allBut},
		"example with a US Privacy string":      {GPP, "DBACNYA~CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA~1YNN", allBut},
		"US Privacy string alone, sale allowed": {GPP, "DBABTA~1YNN", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := Denied(test.kind, test.value)
			if err != nil || got != set(test.want) {
				t.Errorf("%s denies %q, %v; want %q", test.value, names(got), err, test.want)
			}
		})
	}
}

// What cannot be read denies all that its standard could have denied, and the rest still counts.
func TestUnreadable(t *testing.T) {
	good := core(2).num(17, 0).num(17, 0).num(12, 0)
	vendors := func(most, from, to uint64) string {
		return core(2).num(16, most).num(1, 1).num(12, 1).num(1, 1).num(16, from).num(16, to).num(17, 0).num(12, 0).String()
	}
	restriction := func(purpose, kind uint64) string {
		return core(2).num(17, 0).num(17, 0).num(12, 1).num(6, purpose).num(2, kind).num(12, 0).String()
	}
	header := func(fields func(m *made)) string {
		m := new(made).num(6, 3).num(6, 1)
		fields(m)
		return m.String()
	}
	long := core(2).num(16, 30_000).num(1, 0)
	for range 1000 {
		long.num(30, 0)
	}
	long.num(17, 0).num(12, 0)
	if _, err := readTCF(long.String()); err != nil || len(long.String()) <= MaxValue {
		t.Fatalf("%d bytes: %v", len(long.String()), err)
	}
	const usNat = "BVQaGGGGAWA"
	tests := map[string]struct {
		kind  Kind
		value string
		want  string
	}{
		"kind 0":                          {0, "1", allBut},
		"kind 4":                          {4, "", allBut},
		"too long":                        {TCF, long.String(), allBut},
		"GPC 0":                           {GPC, "0", opted},
		"GPC yes":                         {GPC, "true", opted},
		"TCF version 1":                   {TCF, core(1).num(34, 0).num(12, 0).String(), allBut},
		"TCF version 3":                   {TCF, core(3).num(34, 0).num(12, 0).String(), allBut},
		"TCF, not of base64url":           {TCF, strings.Replace(good.String(), "_", "/", 1), allBut},
		"TCF with padding":                {TCF, good.String() + "=", allBut},
		"TCF that ends early":             {TCF, good.String()[:30], allBut},
		"TCF that goes on":                {TCF, good.String() + "AAAAAA", allBut},
		"TCF that goes on with a bit":     {TCF, good.String() + "AB", allBut},
		"TCF, language no letters":        {TCF, string([]byte(good.String())[:18]) + "__" + good.String()[20:], allBut},
		"TCF, an empty segment":           {TCF, good.String() + ".", allBut},
		"TCF, a second core":              {TCF, good.String() + "." + good.String(), allBut},
		"TCF, a segment of type 4":        {TCF, good.String() + "." + new(made).num(3, 4).num(17, 0).String(), allBut},
		"TCF, a segment twice":            {TCF, good.String() + strings.Repeat("."+new(made).num(3, 1).num(17, 0).String(), 2), allBut},
		"TCF, too many segments":          {TCF, good.String() + strings.Repeat("."+new(made).num(3, 1).num(17, 0).String(), 4), allBut},
		"TCF, more vendors than bits":     {TCF, core(2).num(16, 65535).num(1, 0).String(), allBut},
		"TCF, more ranges than bits":      {TCF, core(2).num(16, 65535).num(1, 1).num(12, 4095).String(), allBut},
		"TCF, vendors backwards":          {TCF, vendors(10, 5, 4), allBut},
		"TCF, vendor 0":                   {TCF, vendors(10, 0, 4), allBut},
		"TCF, vendors beyond the last":    {TCF, vendors(10, 5, 11), allBut},
		"TCF, restriction of purpose 0":   {TCF, restriction(0, 0), allBut},
		"TCF, restriction of purpose 25":  {TCF, restriction(25, 0), allBut},
		"TCF, restriction of type 3":      {TCF, restriction(7, 3), allBut},
		"GPP that is a TCF string":        {GPP, good.String(), allBut},
		"GPP version 2":                   {GPP, new(made).num(6, 3).num(6, 2).num(12, 0).String(), allBut},
		"GPP, a section is missing":       {GPP, "DBACNYA~1YNN", allBut},
		"GPP, a section too many":         {GPP, "DBABTA~1YNN~1YNN", allBut},
		"GPP, a header that ends early":   {GPP, "DBAB", allBut},
		"GPP, a number that does not end": {GPP, header(func(m *made) { m.num(12, 1).num(1, 0).num(36, 0).num(36, 0) }), allBut},
		"GPP, too many sections":          {GPP, header(func(m *made) { m.num(12, 1).num(1, 1).num(2, 3).num(18, 3) }), allBut},
		"GPP, an unknown section":         {GPP, header(func(m *made) { m.num(12, 1).num(1, 0).num(3, 3) }) + "~AAAA", allBut}, // 3
		"USP that is none":                {GPP, "DBABTA~1YN", opted},
		"USP version 2":                   {GPP, "DBABTA~2YNN", opted},
		"USP in small letters":            {GPP, "DBABTA~1yyn", opted},
		"national version 3":              {GPP, "DBABLA~" + "D" + usNat[1:], allBut},
		"national, a choice of 3":         {GPP, "DBABLA~" + usNat[:2] + "w" + usNat[3:], allBut},
		"national that ends early":        {GPP, "DBABLA~" + usNat[:6], allBut},
		"national that goes on":           {GPP, "DBABLA~" + usNat + "AAAA", allBut},
		"national, a segment of type 2":   {GPP, "DBABLA~" + usNat + ".gA", allBut},
		"national, an empty segment":      {GPP, "DBABLA~" + usNat + ".", allBut},
		"national, a third segment":       {GPP, "DBABLA~" + usNat + ".YA.YA", allBut},
		"one of two sections":             {GPP, "DBACNYA~CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA~1YNN!", allBut},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := Denied(test.kind, test.value)
			if !errors.Is(err, ErrUnreadable) || got != set(test.want) {
				t.Fatalf("%.80s denies %q, %v; want %q", test.value, names(got), err, test.want)
			}
			if len(test.value) > 4 && strings.Contains(err.Error(), test.value) {
				t.Errorf("the error quotes the signal: %v", err)
			}
		})
	}
}

// A header of some bytes can name a million sections.
func TestManySections(t *testing.T) {
	m := new(made).num(6, 3).num(6, 1).num(12, 900)
	for range 900 {
		m.num(1, 1).num(2, 0b11).num(20, 0b11) // 1 more than the last, and 6765 more than that
	}
	_, err := Denied(GPP, m.String())
	if !errors.Is(err, ErrUnreadable) || !strings.Contains(err.Error(), "more than 64 sections") {
		t.Errorf("%d bytes: %v", len(m.String()), err)
	}
}

// One section that cannot be read does not hide another.
func TestOneSectionIsBroken(t *testing.T) {
	head := new(made).num(6, 3).num(6, 1).num(12, 1).num(1, 1).num(5, 0b10011).num(2, 0b11).String() // 6 to 7
	tests := map[string]struct {
		value string
		want  string
	}{
		"the first":  {"~1YYX~BVQqGGGGQWA", allBut},
		"the second": {"~1YYN~BVQqGGGGAWA.gA", allBut},
		"the first, and the second denies nothing":  {"~1YYX~BVQqGGGGAWA", opted},
		"the second, and the first denies nothing":  {"~1YNN~BVQqGGGGAWA.gA", allBut},
		"the first, and the second denies research": {"~1YYX~BVQqGGGGBWA", opted + " research analytics"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := Denied(GPP, head+test.value)
			if !errors.Is(err, ErrUnreadable) || got != set(test.want) {
				t.Errorf("%s denies %q, %v; want %q", head+test.value, names(got), err, test.want)
			}
		})
	}
}

// Cut short anywhere, a string is not read as one that denies less, unless a whole segment is gone.
func TestCutShort(t *testing.T) {
	for _, f := range readForeign(t) {
		whole, _ := Denied(f.Kind, f.Value)
		for n := 1; n < len(f.Value); n++ {
			cut := f.Value[:n]
			if strings.Count(cut, "~") == strings.Count(f.Value, "~") && strings.Count(cut, ".") < strings.Count(f.Value, ".") {
				continue
			}
			if got, err := Denied(f.Kind, cut); err == nil && whole&^got != 0 {
				t.Errorf("%s, cut to %s, denies %q instead of %q", f.Value, cut, names(got), names(whole))
			}
		}
	}
}

func FuzzDenied(f *testing.F) {
	for _, s := range readForeign(f) {
		f.Add(uint8(s.Kind), s.Value)
	}
	f.Add(uint8(GPC), "1")
	f.Fuzz(func(t *testing.T, kind uint8, value string) {
		denied, err := Denied(Kind(kind), value)
		if denied&^set(allBut) != 0 {
			t.Errorf("denies %q", names(denied))
		}
		if err == nil {
			return
		}
		if !errors.Is(err, ErrUnreadable) || denied&set(opted) != set(opted) {
			t.Errorf("%v, and denies %q only", err, names(denied))
		}
		if len(value) > 24 && strings.Contains(err.Error(), value) {
			t.Errorf("the error quotes the signal: %v", err)
		}
	})
}

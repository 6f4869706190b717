package delivery

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"porchlight/device"
	"porchlight/device/registry"
)

const (
	// usualMessage is what most messages are like.
	usualMessage = `{"purpose":"marketing","category":"groceries","not_after":"2000-01-02T00:00:00Z","texts":[{"language":"en","title":"Fresh milk",` +
		`"body":"Milk from the valley is on offer at your grocer's until Saturday, two litres for the price of one."}]}`
	// fullMessage has every field.
	fullMessage = `{"purpose":"marketing","category":"groceries","texts":[{"language":"en","title":"Milk","body":"Fresh \"today\" \u2013 only"},{"language":"de-CH","body":"Frisch"}],` +
		`"classes":["tv","fridge"],"forms":["toast"],"buttons":[{"id":1,"label":{"en":"Yes","de-CH":"Ja","EN":"A"},"act":"buy"},{"id":2,"label":{}}],"personal":true,"sound":false,` +
		`"when":[{"class":"fridge","attribute":"door.open","op":"eq","value":true},{"attribute":"hour","op":"ge","value":{"a":[1,{"b":null}]}}],"condition":"now.hour >= 17","needs":["now.hour"],` +
		`"dedupe":"milk","sequence":{"journey":"milk-w24","step":2,"after":"seen"},"item":"7613269010105","echo":"buy","not_before":"2000-01-01T00:00:00Z","not_after":"2000-01-02T00:00:00+01:00",` +
		`"display_seconds":8.5,"value":5e-1}`
)

// parsedTheWayItWas is ParseSubmission as it was when it read a message four times: what it took and what it
// said is what ParseSubmission takes and says.
func parsedTheWayItWas(raw []byte) (Submission, error) {
	var s Submission
	if len(raw) > MaxSubmission {
		return s, Invalid{{"body", "length", fmt.Sprintf("is %d bytes long", len(raw)), fmt.Sprintf("send at most %d bytes", MaxSubmission)}}
	}
	if !utf8.Valid(raw) {
		return s, Invalid{{"body", "syntax", "is not UTF-8", "encode the JSON as UTF-8"}}
	}
	if err := readOneWayTheWayItWas(raw); err != nil {
		return s, Invalid{{"body", "syntax", err.Error(), "name each field once, in small letters"}}
	}
	if bad := lookOver(raw); len(bad) > 0 {
		return s, bad
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	err := dec.Decode(&s)
	if err == nil && dec.More() || err == nil && !atEnd(dec) {
		err = errors.New("more follows after the message")
	}
	if err != nil {
		return s, Invalid{explainJSON(err, "body")}
	}
	return s, nil
}

func readOneWayTheWayItWas(raw []byte) error {
	if !json.Valid(raw) {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber() // how large a number is says nothing about names
	var walk func(free bool) error
	walk = func(free bool) error {
		token, err := dec.Token()
		if err != nil {
			return err
		}
		switch token {
		case json.Delim('{'):
			seen := map[string]bool{}
			for dec.More() {
				key, err := dec.Token()
				name, ok := key.(string)
				if err != nil || !ok {
					return fmt.Errorf("names a field otherwise than by a string: %w", err)
				}
				if seen[name] {
					return fmt.Errorf("names %.40q twice in one object", name)
				}
				seen[name] = true
				if !free && (name != strings.ToLower(name) || strings.ContainsRune(name, 'ſ')) {
					return fmt.Errorf("names %.40q, which is not a field", name)
				}
				if err := walk(name == "label"); err != nil {
					return err
				}
			}
		case json.Delim('['):
			for dec.More() {
				if err := walk(free); err != nil {
					return err
				}
			}
		default:
			return nil
		}
		_, _ = dec.Token()
		return nil
	}
	return walk(false)
}

// editedMessages are fullMessage with one thing changed: each of its names in turn spelled otherwise, given
// twice, or with another value.
func editedMessages() (all []string) {
	values := []string{
		`null`, `true`, `1`, `-0`, `-1.5E+2`, `1e999`, `-1e999`, `1e-999`, strings.Repeat("9", 400), `9223372036854775808`, `""`, `"x"`, `"AQ=="`, `"A"`, `"tv"`, `"nul\u006c"`,
		`[]`, `[[]]`, `[null]`, `[1]`, `["tv"]`, `["AQ=="]`, `[{"A":1}]`, `{}`, `{"a":1}`, `{"A":1}`, `{"a":1,"a":1}`, `{"a":1,"\u0061":1}`, `{"\ud800":1,"\ufffd":1}`, `{"":1,"":1}`,
		`{"ſ":1}`, `{"\u212a":1}`, `{"é":1,"É":1}`, `{"label":{"A":{"A":1}}}`, `{"label":[{"A":1,"A":2}]}`, `{"label":{"A":1,"B":{"c":1,"c":2}}}`, `{"label":[[{"A":1}]],"A":1}`,
		`{"classes":"AQ=="}`, `{"x":1e999,"y":1,"y":2}`, `{"x":1,"x":2,"y":1e999}`, `"2000-01-02T00:00:00Z"`, `"2000\u002d01-02T00:00:00Z"`, `"2000-01-02T0:00:00Z"`, `"2000-01-02"`,
	}
	// Where the names stand; what is a name here is none in a text of fullMessage.
	for _, at := range regexp.MustCompile(`"([A-Za-z_-]+)":`).FindAllStringSubmatchIndex(fullMessage, -1) {
		before, name, after := fullMessage[:at[0]], fullMessage[at[2]:at[3]], fullMessage[at[1]:]
		var value json.RawMessage
		if err := json.NewDecoder(strings.NewReader(after)).Decode(&value); err != nil {
			panic(err)
		}
		rest := after[len(value):]
		for _, other := range []string{
			strings.ToUpper(name), strings.ToUpper(name[:1]) + name[1:], fmt.Sprintf(`\u%04x`, name[0]) + name[1:], strings.Replace(name, "s", "ſ", 1), strings.Replace(name, "s", `\u017f`, 1),
			strings.Replace(name, "k", "\u212a", 1), strings.Replace(name, "k", `\u212A`, 1), name + "x", name[1:], "step", "body", "language", "classes", "label", `\"`, `\\`, "\u00e9", `\ud800`, "\xff", `\x`, "",
		} {
			all = append(all, before+`"`+other+`":`+after, before+`"`+other+`":`+string(value)+`,"`+name+`":`+after)
		}
		all = append(all, before+`"`+name+`" : `+"\n\t"+after, before+`"`+name+`"`+after, before+name+`:`+after, before[:len(before)-1]+rest)
		for _, other := range values {
			all = append(all, before+`"`+name+`":`+other+rest, before+`"`+name+"\" :\r"+other+" "+rest, before+`"`+name+`":`+other+`,"`+name+`":`+after)
		}
	}
	for _, end := range []string{" ", "\n\r\t ", "\v", "\u00a0", "\ufeff", "x", "]", "}", "{", ",", " {}", "null", `""`, "1", "\xff", fullMessage} {
		all = append(all, fullMessage+end, end+fullMessage, end)
	}
	for _, deep := range []int{100, 4000, 10001} {
		nested := strings.Repeat("[", deep) + strings.Repeat("]", deep)
		all = append(all, nested, nested[:deep], `{"purpose":`+nested+`}`, `{"when":[{"value":`+nested+`}]}`, `{"label":`+nested+`}`)
	}
	return append(all, "", usualMessage, fullMessage, `{}`, `{"`, `{"a`, `{"a"`, `{"a":`, `{"a":1,`, `[`, `-`, `"`, `"\`, `{]}`, `[}`, hostileNames(2000), hostileObjects(1000), strings.Repeat("[", MaxSubmission+1))
}

// parsesTheWayItWas fails if ParseSubmission takes raw for something else than it was taken for, or says
// something else about it. It reports whether raw is taken.
func parsesTheWayItWas(t *testing.T, raw string) bool {
	t.Helper()
	got, err := ParseSubmission([]byte(raw))
	want, was := parsedTheWayItWas([]byte(raw))
	if !reflect.DeepEqual(err, was) || !reflect.DeepEqual(got, want) {
		t.Errorf("%.2000q:\ngot  %+v, %v\nwant %+v, %v", raw, got, err, want, was)
	}
	if len(raw) <= MaxSubmission { // whatever it is, the scan of it ends
		names := scan{rest: raw}
		_ = names.value(false)
	}
	return err == nil
}

// What is taken, and what is said of the rest, is what it was before a message was read once.
func TestParsesTheWayItWas(t *testing.T) {
	for _, good := range []string{usualMessage, fullMessage, "null", "{}"} {
		if !parsesTheWayItWas(t, good) {
			t.Fatalf("%s is refused", good)
		}
	}
	taken, refused := 0, 0
	for _, raw := range editedMessages() {
		if parsesTheWayItWas(t, raw) {
			taken++
		} else {
			refused++
		}
	}
	if taken < 300 || refused < 3000 { // most edits are meant to spoil a message, but not all
		t.Errorf("%d were taken and %d refused", taken, refused)
	}
}

// A fault is said of the field that has it, in words that help to mend it.
func TestFaultsSaySo(t *testing.T) {
	good := `{"purpose":"marketing","texts":[{"language":"en","title":"Milk","body":"Fresh"}],"when":[{"class":"tv","attribute":"presence.count","op":"ge","value":8}],"buttons":[{"id":1,"label":{"en":"Yes"}}],"not_after":"2000-01-02T00:00:00Z","value":0.5}`
	brand := registry.Brand{ID: "grocer", Purposes: []string{"marketing"}}
	for name, test := range map[string]struct{ was, is, want string }{
		"a number beyond all":         {`0.5`, `1e999`, "value range is beyond what a number can be: 1e999; send a number nearer to 0"},
		"one below all":               {`0.5`, `-1e999`, "value range is beyond what a number can be: -1e999; send a number nearer to 0"},
		"one in a condition":          {`"value":8`, `"value":1e999`, "when[0].value range is beyond what a number can be: 1e999; send a number nearer to 0"},
		"half a button":               {`"id":1`, `"id":1.5`, "buttons[0].id type is a JSON number 1.5; send a whole number"},
		"a title that is no text":     {`Milk`, `\u0007`, "texts[0].title syntax has control characters; send plain text"},
		"a body that is no text":      {`Fresh`, `\u0007`, "texts[0].body syntax has control characters; send plain text"},
		"a label that is none either": {`Yes`, `\u0007`, `buttons[0].label["en"] syntax has control characters; send plain text`},
		"a label that is too long":    {`Yes`, strings.Repeat("y", 33), `buttons[0].label["en"] length is 33 bytes long; send 1 to 32 bytes for each language of texts`},
	} {
		s, err := ParseSubmission([]byte(strings.Replace(good, test.was, test.is, 1)))
		if err == nil {
			_, err = s.compile(brand, 0)
		}
		var bad Invalid
		if !errors.As(err, &bad) || len(bad) != 1 {
			t.Errorf("%s: %v, want one fault", name, err)
		} else if got := fmt.Sprintf("%s %s %s; %s", bad[0].Field, bad[0].Rule, bad[0].Why, bad[0].Fix); got != test.want {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}

func FuzzParseSubmission(f *testing.F) {
	for _, raw := range []string{
		usualMessage, fullMessage, "null", "", "{}{}", "\xff", `{"classes":"AQ==","forms":""}`, `{"purpose":"marketing","\u0070urpose":"service"}`, `{"text\u017f":null,"\u212aey":1}`, `{"Purpose":"marketing"}`,
		`{"when":[{"value":{"label":{"A":1e999,"A":2},"a":[{"B":1}]}}]}`, `{"buttons":[{"label":{"EN":"Yes","\ud800":"","\ufffd":""}}]}`, `{"not_after":"2000\u002d01-02T00:00:00Z","x":1,"y":-0.5e+3}`, `{"a":1]}`,
	} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) { parsesTheWayItWas(t, raw) })
}

// A text is plain by the quick look at a character exactly if it is by the whole.
func TestPlainText(t *testing.T) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		s := string(r)
		if got, want := plain(s), r == '\n' || r == utf8.RuneError || s == "\ufffd" || device.Printable(r); got != want {
			t.Errorf("plain(%q) = %t, want %t", s, got, want)
		}
	}
	for _, s := range []string{"a\x00", "a\u202eb", "a\xff", "\xed\xa0\x80"} {
		if plain(s) {
			t.Errorf("%q is plain", s)
		}
	}
}

// Digests are on disk: what is sent again after an update is still the same message.
func TestDigestStays(t *testing.T) {
	for raw, want := range map[string]string{
		"{}":         "dc037289ab41656069fac917bc4834c9343bc2ac4018fd8e1124f347f4051d17",
		usualMessage: "035d136a617357f08444210bdbc936b1555ebc5c7564ed5f615b47817384805b",
		fullMessage:  "e114b8e3eebb93d1b8f9921199d7ab03f59762978b60d3e569057a6e4dad4371",
	} {
		s, err := ParseSubmission([]byte(raw))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.digest(); err != nil || hex.EncodeToString(got) != want {
			t.Errorf("the digest of %s is %x, %v, want %s", raw, got, err, want)
		}
	}
}

// hostileNames has n names in one object, hostileObjects an object in an object n times.
func hostileNames(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"%s":1`, string([]byte{'a' + byte(i%26), 'a' + byte(i/26%26), 'a' + byte(i/676%26)}))
	}
	return `{"when":[{"value":{` + b.String()[1:] + `}}]}`
}

func hostileObjects(n int) string {
	return `{"when":[{"value":` + strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) + `}]}`
}

// took is how long one call of read takes, in ns.
func took(read func([]byte) (Submission, error), raw []byte, n int) float64 {
	began := time.Now()
	for range n {
		_, _ = read(raw)
	}
	return float64(time.Since(began)) / float64(n)
}

// BenchmarkParseSubmission is how long the usual message and the fullest take to read, and how many times
// that the way it was takes, in turns in one run.
func BenchmarkParseSubmission(b *testing.B) {
	for name, text := range map[string]string{"usual": usualMessage, "full": fullMessage} {
		b.Run(name, func(b *testing.B) {
			raw := []byte(text)
			var now, was, ratios []float64
			for b.Loop() {
				one, other := took(ParseSubmission, raw, 100), took(parsedTheWayItWas, raw, 100)
				now, was, ratios = append(now, one), append(was, other), append(ratios, other/one)
			}
			b.ReportMetric(median(now), "ns/op")
			b.ReportMetric(median(was), "was-ns/op")
			b.ReportMetric(testing.AllocsPerRun(100, func() { _, _ = ParseSubmission(raw) }), "allocs")
			b.ReportMetric(testing.AllocsPerRun(100, func() { _, _ = parsedTheWayItWas(raw) }), "was-allocs")
			b.ReportMetric(median(ratios), "x")
		})
	}
}

// BenchmarkParseHostile is how long bodies take that are made to take long; how many times as long as half of
// such a body the whole takes, about 2 if the time grows as the length does; and x, as above.
func BenchmarkParseHostile(b *testing.B) {
	for name, body := range map[string]func(n int) string{
		"names":   hostileNames,
		"escaped": func(n int) string { return strings.ReplaceAll(hostileNames(n/2), `,"`, `,"\u0061`) },
		"objects": hostileObjects,
		"beside":  func(n int) string { return `{"when":[{"value":[` + strings.Repeat(`{"a":1},`, n*3/4) + `1]}]}` },
		"arrays": func(n int) string {
			return `{"when":[{"value":` + strings.Repeat("[", n*5/2) + strings.Repeat("]", n*5/2) + `}]}`
		},
		"quotes": func(n int) string { return `{"when":[{"value":"` + strings.Repeat(`\"`, n*3) + `"}]}` },
		"unknown": func(n int) string {
			return strings.TrimSuffix(strings.Replace(hostileNames(n), `{"when":[{"value":{`, "{", 1), "}]}")
		},
	} {
		b.Run(name, func(b *testing.B) {
			half, whole := []byte(body(1000)), []byte(body(2000))
			if len(whole) > MaxSubmission {
				b.Fatalf("%d bytes", len(whole))
			}
			var now, twice, ratios []float64
			for b.Loop() {
				one, two, was := took(ParseSubmission, half, 1), took(ParseSubmission, whole, 1), took(parsedTheWayItWas, whole, 1)
				now, twice, ratios = append(now, two), append(twice, two/one), append(ratios, was/two)
			}
			b.ReportMetric(median(now), "ns/op")
			b.ReportMetric(median(twice), "x-for-twice")
			b.ReportMetric(median(ratios), "x")
		})
	}
}

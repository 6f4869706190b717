package wire

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"porchlight/device"
)

func contractText(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("CONTRACT.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestContractFrames: every frame in the text is what our encoder makes, and its notation and
// its bytes are the same frame. A frame stands as its leaf, then its notation, then its bytes.
func TestContractFrames(t *testing.T) {
	frames := regexp.MustCompile(`(?m)^(up|dn)/([a-z]+)\n(\{.*\})\n([0-9a-f]+)$`).FindAllStringSubmatch(contractText(t), -1)
	if len(frames) < 30 {
		t.Errorf("the contract has %d frames, want 30 or more", len(frames))
	}
	inGolden := map[string]bool{}
	for _, g := range readGolden(t) {
		inGolden[string(g.bytes)] = true
	}
	if hexes := regexp.MustCompile(`(?m)^[0-9a-f]{6,}$`).FindAllString(contractText(t), -1); len(hexes) != len(frames) {
		t.Errorf("%d lines of bytes, %d of them in a frame", len(hexes), len(frames))
	}
	var listed []string // of the last birth
	sizes := map[Leaf][]int{}
	for _, f := range frames {
		leaf := Leaf(f[1] + "/" + f[2])
		b, err := hex.DecodeString(f[4])
		if err != nil {
			t.Errorf("%s: %v", f[0], err)
			continue
		}
		sizes[leaf] = append(sizes[leaf], len(b))
		switch leaf {
		case UpEnrol, DnEnrol, UpKey, DnKey: // so they are of one fridge, whose certificates TestFixtures checks
			if !inGolden[string(b)] {
				t.Errorf("%s %.40x... is not in testdata/golden.txt", leaf, b)
			}
		}
		if notation, err := cbor.Diagnose(b); err != nil || notation != f[3] {
			t.Errorf("%s %x\ngot  %s, %v\nwant %s", leaf, b, notation, err, f[3])
		}
		var frame any
		if leaf == UpCtx {
			frame, err = DecodeContext(listed, b)
		} else {
			frame, err = decodeAs(leaf, b)
		}
		if err != nil {
			t.Errorf("%s %x: %v", leaf, b, err)
			continue
		}
		var again []byte
		switch v := frame.(type) {
		case Birth:
			listed = v.Attributes
			again, err = Encode(v)
		case Context:
			again, err = EncodeContext(v, listed)
		default:
			again, err = Encode(v)
		}
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%s\ngot  %x, %v\nwant %x", leaf, again, err, b)
		}
	}
	full := Present{
		Text: strings.Repeat("x", MaxText), Title: strings.Repeat("x", MaxName), Sender: strings.Repeat("x", MaxName), Form: of(device.Toast),
		ValidUntil: 1 << 32, Live: 1 << 32, Display: 1 << 31, Lease: 1 << 16, Epoch: 1 << 32, Language: "de-AT",
		Guards: map[string]Guard{device.Driving.String(): {Op: "eq", Value: "parked"}},
	}
	for i := range uint(MaxResponses) {
		full.Responses = append(full.Responses, Response{i, strings.Repeat("x", MaxLabel)})
	}
	if n := len(bytesOf(t, full)); n >= 950 {
		t.Errorf("a full message has %d bytes, the contract says under 950", n)
	}
	words := strings.Join(strings.Fields(contractText(t)), " ")
	want := fmt.Sprintf("Birth and complete context of a fridge are %d and %d bytes, a beacon with one message %d, an event %d to %d.",
		sizes[UpBirth][0], sizes[UpCtx][0], slices.Max(sizes[DnTime]), slices.Min(sizes[UpEvt]), slices.Max(sizes[UpEvt]))
	if !strings.Contains(words, want) {
		t.Errorf("the contract does not say %q", want)
	}
	want = fmt.Sprintf("An application with a request is %d bytes, the answer that admits %d, a request for a new key %d, the answer to it %d, a window %d to %d.",
		sizes[UpEnrol][0], slices.Max(sizes[DnEnrol]), sizes[UpKey][0], slices.Max(sizes[DnKey]), slices.Min(sizes[DnJoin]), slices.Max(sizes[DnJoin]))
	if !strings.Contains(words, want) {
		t.Errorf("the contract does not say %q", want)
	}
	fridge := Binding{CA: keyOf(caCert), Device: keyOf(firstCSR), NonceD: nonceD, NonceG: nonceG}
	for _, want := range []string{
		"`" + fridge.Code()[:3] + " " + fridge.Code()[3:] + "`",
		"`pl/1/" + ApplicantID(fridge.Device, nil) + "/dn/#`",
	} {
		if !strings.Contains(words, want) {
			t.Errorf("the contract does not say %s", want)
		}
	}
}

// attributesTable is the table of attributes, class by class.
func attributesTable() string {
	var out strings.Builder
	out.WriteString("| class | attribute | type | words, unit | lifetime |\n|---|---|---|---|---|\n")
	kinds := map[device.Kind]string{device.Bool: "bool", device.Number: "number", device.Enum: "word", device.Text: "text"}
	for _, name := range device.ClassNames() {
		class, _ := device.ParseClass(name)
		for _, attr := range device.AttributeNames(class) {
			a, _ := device.ParseAttribute(attr)
			info := a.Info()
			about := strings.Join(info.Values, ", ")
			if info.Unit != "" {
				about = info.Unit
			}
			ttl := fmt.Sprintf("%d s", a.TTL(class)/time.Second)
			fmt.Fprintf(&out, "| %s | `%s` | %s | %s | %s |\n", name, attr, kinds[info.Kind], about, ttl)
		}
	}
	return out.String()
}

// TestContractAttributes: the table of attributes is that of package device. With -update it is
// written anew.
func TestContractAttributes(t *testing.T) {
	const from, to = "<!-- attributes -->\n", "<!-- end of attributes -->"
	text := contractText(t)
	before, rest, ok := strings.Cut(text, from)
	got, after, ok2 := strings.Cut(rest, to)
	if !ok || !ok2 {
		t.Fatal("CONTRACT.md has no table of attributes")
	}
	want := attributesTable()
	if *update {
		if err := os.WriteFile("CONTRACT.md", []byte(before+from+want+to+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != want {
		t.Errorf("the table of attributes is old: go test ./device/wire -run TestContractAttributes -update\ngot\n%s\nwant\n%s", got, want)
	}
}

// TestContractWords: limits and numbers in the text are those of the code.
func TestContractWords(t *testing.T) {
	words := strings.Join(strings.Fields(contractText(t)), " ")
	dn := 0
	for _, leaf := range leaves {
		if !leaf.Up() && leaf != DnEnrol {
			dn++
		}
	}
	for _, want := range []string{
		fmt.Sprintf("at most %d bytes", MaxFrame),
		fmt.Sprintf("at most %d levels deep", MaxDepth),
		fmt.Sprintf("at most %d pairs in a map and %d items in an array", MaxPairs, MaxItems),
		fmt.Sprintf("| a whole MQTT packet | %d bytes |", MaxPacket),
		fmt.Sprintf("| a message's text | %d bytes |", MaxText),
		fmt.Sprintf("| a title, a sender, an attribute's name, a text in a context | %d bytes |", MaxName),
		fmt.Sprintf("| a button's label, a purpose | %d bytes |", MaxLabel),
		fmt.Sprintf("| buttons of a message | %d |", MaxResponses),
		fmt.Sprintf("| messages in `held` and `keep` | %d |", MaxHeld),
		fmt.Sprintf("| a document of dn/twin | %d bytes |", MaxTwin),
		fmt.Sprintf("| a number | %d |", uint64(MaxUint)),
		fmt.Sprintf("| a certificate request | %d bytes |", MaxRequest),
		fmt.Sprintf("| a certificate | %d bytes |", MaxCertificate),
		fmt.Sprintf("| authorities to trust | %d |", MaxCAs),
		fmt.Sprintf("| a token | %d bytes |", MaxName),
		fmt.Sprintf("| what a person types for a device | %d bytes |", MaxCode),
		fmt.Sprintf("| devices in one window | %d |", MaxApplicants),
		fmt.Sprintf("Listed are at most %d devices", MaxApplicants),
		fmt.Sprintf("| the first layer of a question | %d characters, %d bytes |", MaxAskText, MaxText),
		fmt.Sprintf("| the second layer of a question, what a voice says instead | %d bytes |", MaxText),
		fmt.Sprintf("| how long a question stands | %d ms |", MaxAskLive),
		fmt.Sprintf("| controls of a question | %d |", MaxResponses),
		fmt.Sprintf("| lines of an answer to up/why | %d of %d bytes, together %d bytes |", MaxLines, MaxText, MaxBecause),
		fmt.Sprintf("at most %d lines in the language of key 3", MaxLines),
		fmt.Sprintf("| a signal | %d bytes |", MaxSignal),
		fmt.Sprintf("| the path of a picture, what it shows in words | %d bytes |", MaxPath),
		fmt.Sprintf("bits: %d words, %d picture, %d sound", ContentWords, ContentPicture, ContentSound),
		fmt.Sprintf("the weight of its letters, %d to %d", lightest, heaviest),
		fmt.Sprintf("there are %s topics", [...]string{10: "ten", 11: "eleven"}[dn]),
	} {
		if !strings.Contains(words, want) {
			t.Errorf("CONTRACT.md does not say %q", want)
		}
	}
	for _, rule := range []string{"event", "reason", "wish", "way", "why", "join-op", "result", "control-id", "answer", "deferred", "signal", "word"} {
		for _, m := range cddlChoice.FindAllStringSubmatch(rules(t)[rule], -1) {
			if !strings.Contains(words, fmt.Sprintf("| %s | `%s` |", m[2], m[1])) {
				t.Errorf("CONTRACT.md has no line for the %s %s, %s", rule, m[2], m[1])
			}
		}
	}
}

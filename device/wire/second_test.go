package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"porchlight/device"
)

// seconds are frames that another library encoded: see testdata/second.
var seconds = map[string]struct {
	leaf Leaf
	want any
	err  string
}{
	"birth": {leaf: UpBirth, want: Birth{
		Model: Model{Maker: "Kältewerk", Name: "KW-200"}, Class: device.Fridge,
		Can:        Capabilities{Screen: []uint{800, 480, 178}, Inputs: device.Touch, Forms: Forms{device.Badge, device.Toast}},
		Attributes: []string{"door.open", "temperature", "power.state"},
		Clock:      1_790_000_000_123, Held: []device.MessageID{secondID},
	}},
	"birth-backwards": {leaf: UpBirth, want: Birth{Model: Model{Maker: "Meridian"}, Class: device.Car, Attributes: []string{"ux.driving"}}},
	"ctx-half": {leaf: UpCtx, want: Context{Seq: 1, Values: map[string]any{
		"door.open": true, "temperature": 4.5, "power.state": "standby", "battery.level": 99.25,
	}}},
	"ctx-wide": {leaf: UpCtx, want: Context{Seq: 2, Complete: true, Values: map[string]any{
		"door.open": nil, "temperature": int64(-18), "a": 21.0, "b": int64(1<<63 - 1), "c": int64(-1),
	}}},
	"ctx-nan":       {leaf: UpCtx, err: `bad frame: up/ctx: values: "temperature" is NaN, only finite numbers are allowed`},
	"evt":           {leaf: UpEvt, want: Event{Seq: 4, Message: secondID, Kind: Responded, Response: of(uint(1)), Wish: of(Reduced), Age: 1500}},
	"evt-undefined": {leaf: UpEvt, err: "bad frame: up/evt: the value undefined is not allowed, use null"},
	"twin": {leaf: UpTwin, want: Proposal{
		Seq: 9, Base: 12, Brands: []BrandChoice{{Brand: "fresh-co", Purpose: "marketing", Choice: "withdrawn"}},
		Quiet: &[]QuietTime{{Days: 62, Start: 1320, End: 420}}, Mutes: &[]Mute{},
	}},
	"bye": {leaf: UpBye, want: Bye{Seq: 11, Reason: "sleep", Until: 1_790_003_600_000}},
	"apply": {leaf: UpEnrol, want: Apply{
		Op: opApply, Commit: counting(1, 32), CSR: counting(0x30, 188), Model: Model{Maker: "Kältewerk", Name: "KW-200"}, Class: device.Fridge, Way: ByCode,
	}},
	"apply-backwards": {leaf: UpEnrol, want: Apply{
		Op: opApply, Commit: counting(1, 32), Model: Model{Maker: "Murmur", Name: "S1", Serial: "5f2c9e"}, Class: device.Speaker, Way: ByLabel,
	}},
	"reveal":      {leaf: UpEnrol, want: Reveal{Op: opReveal, Nonce: counting(1, 16), Proof: counting(101, 32)}},
	"reveal-text": {leaf: UpEnrol, err: `bad frame: up/enrol: nonce is the text "0102030405060708090a0b0c0d0e0f10", it must be a byte string`},
	"key":         {leaf: UpKey, want: KeyRequest{Seq: 12, CSR: counting(0x30, 189)}},
	"join": {leaf: UpJoin, want: Join{
		Seq: 5, Op: JoinAdmit, Applicant: "e-0123456789abcdef", Code: "012 345", Room: "Küche", Person: 2, Until: 1_790_604_800_000,
	}},
	"ans": {leaf: UpAns, want: Answer{Seq: 13, Ask: secondID, Kind: AnswerDrawn, Layer: 1, Picture: counting(0x40, 32), Drawn: []DrawnControl{
		{ControlYes, 1, 14_400, 400}, {ControlNo, 1, 14_400, 400},
	}}},
	"ans-backwards": {leaf: UpAns, want: Answer{Seq: 14, Ask: secondID, Kind: AnswerDeferred, Why: ByDriving, Person: 2, Dwell: 2500, Age: 40}},
	"ans-bool":      {leaf: UpAns, err: "bad frame: up/ans: answer is true, it must be an unsigned integer"},
	"why":           {leaf: UpWhy, want: WhyAsked{Seq: 16, Message: &secondID, Language: "de-AT", Person: 2}},
	"sig":           {leaf: UpSig, want: Signal{Seq: 17, Kind: SignalTCF, Value: "CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA"}},
	"twin-more": {leaf: UpTwin, want: Proposal{
		Seq: 18, Base: 13, Caps: &[]Cap{{Each: true, Max: 2, Hours: 24, Owner: 1}}, Moments: &[]string{"film", "sleep"}, Languages: &[]string{}, Frozen: of(false), Forget: &[]uint{3},
	}},
	"admitted": {leaf: DnEnrol, want: Admitted{
		Op: opAdmitted, ID: me, Certificate: counting(0x30, 422), CAs: [][]byte{counting(2, 452), counting(3, 452)}, Name: "porchlight", Clock: 1_790_000_000_123,
	}},
}

var secondID = device.MessageID{0x01, 0x9a, 0x3b, 0x5c, 0x7d, 0x1e, 0x70, 0x00, 0x80, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77}

// counting is n bytes that count up from first.
func counting(first byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = first + byte(i)
	}
	return b
}

func readSecond(t testing.TB) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("testdata/second/*.hex")
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string][]byte)
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		b, err := hex.DecodeString(string(bytes.TrimSpace(text)))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all[strings.TrimSuffix(filepath.Base(name), ".hex")] = b
	}
	return all
}

func TestSecondEncoder(t *testing.T) {
	files := readSecond(t)
	if len(files) != len(seconds) {
		t.Errorf("testdata/second has %d frames, want %d", len(files), len(seconds))
	}
	for name, test := range seconds {
		t.Run(name, func(t *testing.T) {
			got, err := decodeAs(test.leaf, files[name])
			if test.leaf == UpCtx {
				got, err = DecodeContext([]string{"door.open", "temperature"}, files[name])
			}
			if test.err != "" {
				if err == nil || err.Error() != test.err || !errors.Is(err, ErrFrame) {
					t.Fatalf("%x: error %v, want %s", files[name], err, test.err)
				}
				return
			}
			if err != nil || !same(got, test.want) {
				t.Errorf("%x\ngot  %+v, %v\nwant %+v", files[name], got, err, test.want)
			}
		})
	}
}

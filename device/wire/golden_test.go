package wire

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"porchlight/device"
)

var update = flag.Bool("update", false, "write testdata/golden.txt anew from the values in golden_test.go")

// places is the list of attributes that stands for the birth of every golden Context.
var places = []string{"state", "volume_level", "full_screen", "app_name", "ux.driving"}

func id(n byte) (m device.MessageID) {
	for i := range m {
		m[i] = n + byte(i)
	}
	m[6], m[8] = 0x70, 0x80
	return m
}

// of makes a pointer to v.
func of[T any](v T) *T { return &v }

// A golden frame has its value here and its bytes, with their diagnostic notation, in
// testdata/golden.txt.
type golden struct {
	name  string
	leaf  Leaf
	value any
}

var goldens = []golden{
	{"least birth", UpBirth, Birth{Class: device.Other}},
	{"birth of a television", UpBirth, Birth{
		Model: Model{"Lumen", "L55", "rev 3", "5f2c9e"}, Class: device.TV,
		Can: Capabilities{
			Screen: []uint{3840, 2160, 1397}, Inputs: device.Remote | device.VoiceIn, Sound: 7,
			Forms:     []device.Form{device.Badge, device.Toast, device.FullScreen},
			MaxPacket: 8192, MaxButtons: 3, Languages: []string{"de-AT", "en"}, Holds: 4, Attention: device.ReportsOccupancy, Duties: DutyDim | DutyMinimal,
		},
		Attributes: []string{"state", "volume_level", "full_screen", "app_name"},
		Twin:       12, Clock: 1_790_000_000_123, Software: "7.1.0", Held: []device.MessageID{id(1), id(2)},
	}},
	{"birth of a car", UpBirth, Birth{
		Seq: 3, Model: Model{Maker: "Meridian", Name: "M2"}, Class: device.Car,
		Can: Capabilities{Forms: []device.Form{device.List}}, Attributes: []string{"ux.driving", "Vehicle.Speed"},
	}},

	{"context by places", UpCtx, Context{Seq: 1, Age: 40, Values: map[string]any{"state": "playing", "volume_level": 0.25, "full_screen": true}}},
	{"context by names", UpCtx, Context{Seq: 2, Observed: 1_790_000_000_123, Values: map[string]any{"door.open": false, "temperature": int64(-18)}}},
	{"context of every kind", UpCtx, Context{Seq: 1<<53 - 1, Values: map[string]any{
		"state": nil, "volume_level": 0.1, "full_screen": false, "app_name": "", "ux.driving": "parked",
		"a": int64(0), "b": int64(-1 << 63), "c": int64(1<<63 - 1), "d": 1.5, "e": 1e300, "f": "Grüße, 世界",
	}}},
	{"full context, nothing known", UpCtx, Context{Seq: 7, Values: map[string]any{}, Complete: true}},

	{"presented", UpEvt, Event{Seq: 4, Message: id(1), Kind: Presented}},
	{"button 0", UpEvt, Event{Seq: 5, Message: id(1), Kind: Responded, Response: of(uint(0)), Wish: of(Allowed), Age: 1500}},
	{"less of this", UpEvt, Event{Seq: 6, Message: id(1), Kind: Dismissed, Wish: of(Reduced)}},
	{"declined while driving", UpEvt, Event{Seq: 7, Message: id(2), Kind: Declined, Reason: DrivingNow}},
	{"reason of a later version", UpEvt, Event{Seq: 8, Message: id(2), Kind: Failed, Reason: 200}},

	{"consent given on the television", UpTwin, Proposal{Seq: 9, Base: 12, Person: 2, Brands: []BrandChoice{{Brand: "fresh-co", Purpose: "marketing", Choice: "given"}}}},
	{"quiet times replaced, mutes lifted", UpTwin, Proposal{Seq: 10, Base: 13, Quiet: &[]QuietTime{{Days: 62, Start: 1320, End: 420}}, Mutes: &[]Mute{}}},
	{"nothing proposed", UpTwin, Proposal{}},
	{"all else proposed", UpTwin, Proposal{
		Seq: 11, Base: 14, Person: 1,
		Quiet: &[]QuietTime{{Start: 1320, End: 420, Zone: "Europe/Vienna", Owner: 1}},
		Mutes: &[]Mute{{Until: 1_790_086_400_000, Purpose: "marketing", Class: device.TV, Device: me, Room: 2, Content: ContentPicture | ContentSound, Owner: 1}},
		Caps: &[]Cap{{Max: 0}, {Each: true, Max: 2, Hours: 168, Owner: 1}, {
			Brand: "fresh-co", Max: 1000, Minutes: 1440, Category: "groceries", Purpose: "marketing", Class: device.Fridge, Device: me, Room: 2, Owner: 3,
		}},
		Moments: &[]string{"film", "call", "sleep"}, Languages: &[]string{"de-AT", "en"}, Frozen: of(false), Forget: &[]uint{0, 63},
	}},
	{"all lists emptied, frozen", UpTwin, Proposal{
		Seq: 12, Base: 15, Quiet: &[]QuietTime{}, Mutes: &[]Mute{}, Caps: &[]Cap{}, Moments: &[]string{}, Languages: &[]string{}, Frozen: of(true), Forget: &[]uint{},
	}},

	{"drawn", UpAns, Answer{Seq: 13, Ask: id(5), Kind: AnswerDrawn, Drawn: []DrawnControl{
		{ID: ControlYes, Presses: 1, Area: 14_400, Weight: 400}, {ID: ControlNo, Presses: 1, Area: 14_400, Weight: 400}, {ID: ControlMore, Presses: 1, Area: 14_400, Weight: 400},
	}, Picture: counting(0x40, 32), Layer: 1}},
	{"said", UpAns, Answer{Seq: 14, Ask: id(5), Kind: AnswerDrawn, Drawn: []DrawnControl{{ID: ControlYes, Presses: 1}, {ID: ControlNo, Presses: 1}}}},
	{"yes", UpAns, Answer{Seq: 15, Ask: id(5), Kind: AnswerYes, Person: 2, Layer: 2, Dwell: 8200, Age: 40}},
	{"no", UpAns, Answer{Seq: 16, Ask: id(5), Kind: AnswerNo}},
	{"deferred", UpAns, Answer{Seq: 17, Ask: id(5), Kind: AnswerDeferred, Why: ByDriving, Layer: 3, Dwell: 2500}},
	{"deferred by a later version", UpAns, Answer{Seq: 18, Ask: id(5), Kind: AnswerDeferred, Why: 200}},
	{"why this", UpWhy, WhyAsked{Seq: 19, Message: of(id(3)), Language: "de", Person: 2}},
	{"why nothing", UpWhy, WhyAsked{Seq: 20}},
	{"GPC", UpSig, Signal{Seq: 21, Kind: SignalGPC, Value: "1"}},
	{"TCF", UpSig, Signal{Seq: 22, Kind: SignalTCF, Value: "CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA"}},
	{"no GPP any more", UpSig, Signal{Seq: 23, Kind: SignalGPP}},

	{"sleep", UpBye, Bye{Seq: 11, Reason: "sleep", Until: 1_790_003_600_000}},
	{"off", UpBye, Bye{Seq: 12, Reason: "off"}},

	{"least present", DnMsg, Present{Op: 1, Message: id(3), Text: "x"}},
	{"present", DnMsg, Present{
		Op: 1, Message: id(3), Priority: Low, Control: AskResponse, ValidUntil: 1_790_000_600, Live: 600_000,
		Text: "Milch ist im Angebot.", Title: "Angebot", Sender: "Fresh & Co",
		Responses: []Response{{0, "Auf die Liste"}, {1, "Nicht jetzt"}},
		Form:      of(device.Badge), Display: 8000,
		Guards: map[string]Guard{
			"ux.driving": {Op: "eq", Value: "parked"}, "dnd": {Op: "ne", Value: true},
			"volume_level": {Op: "le", Value: 0.5}, "battery.level": {Op: "gt", Value: int64(10)}, "source": {Op: "eq"},
		},
		ContextSeq: 41, Language: "de", Lease: 10_000, Epoch: 812,
	}},
	{"present with a picture", DnMsg, Present{
		Op: 1, Message: id(3), Text: "Ein Käse aus dem Tal.", Content: ContentWords | ContentPicture | ContentSound, Lease: 10_000, Epoch: 812,
		Picture: &Picture{Path: "/p/5f2c9e", SHA256: counting(1, 32), Bytes: 48_213, Alt: "Ein Laib Käse"},
	}},
	{"present with the least picture", DnMsg, Present{Op: 1, Message: id(3), Text: "x", Content: ContentPicture, Picture: &Picture{Path: "/p/x", SHA256: counting(1, 32), Bytes: 1}}},
	{"present in the dark", DnMsg, Present{Op: 1, Message: id(3), Text: "x", Lease: 10_000, Epoch: 812, Duties: DutyDim}},
	{"cancel", DnMsg, Cancel{Op: 2, Message: id(3)}},
	{"cancel with a fence", DnMsg, Cancel{Op: 2, Message: id(3), Fence: 813}},

	{"empty twin", DnTwin, Twin{}},
	{"twin", DnTwin, Twin{Version: 13, Doc: Document{
		Brands: []BrandChoice{
			{Brand: "fresh-co", Name: "Fresh & Co", Purpose: "marketing", Choice: "given"},
			{Brand: "fresh-co", Name: "Fresh & Co", Purpose: "research", Choice: "silent"},
		},
		Quiet: []QuietTime{{Start: 1320, End: 420}},
		Mutes: []Mute{{Brand: "loud-co"}, {Category: "games", Until: 1_790_086_400_000}},
		Zone:  "Europe/Vienna",
	}}},

	{"long twin", DnTwin, Twin{Version: 14, Doc: Document{
		Quiet:   []QuietTime{{Days: 62, Start: 1320, End: 420, Zone: "Europe/Vienna", Owner: 1}, {Start: 1260, End: 420, Dim: true}},
		Mutes:   []Mute{{}, {Brand: "loud-co", Category: "games", Until: 1_790_086_400_000, Purpose: "marketing", Class: device.TV, Device: me, Room: 2, Content: ContentSound, Owner: 1}},
		Caps:    []Cap{{Max: 6}, {Each: true, Max: 1, Minutes: 30}, {Brand: "fresh-co", Max: 3, Hours: 168, Category: "groceries", Purpose: "marketing", Class: device.Fridge, Device: me, Room: 2, Owner: 3}, {Max: 2, Week: true}, {Max: 1, Class: device.Car, Trip: true}, {Topics: true, Max: 1}},
		Moments: []string{"film", "sleep"}, Languages: []string{"de-AT", "en"},
		People: []Resident{{1, "Anna"}, {2, "Ben"}, {3, "Clara"}}, Rooms: []Place{{1, "Küche"}, {2, "Stube"}},
		Frozen: true, Learnt: []string{"Fresh & Co was put away twice in 14 days: nothing from them until 3 October"},
	}}},

	{"ask", DnAsk, Ask{
		ID: id(5), Live: 20_000, Who: "Fresh & Co", Text: "Darf Fresh & Co hier bis 21. September 2027 Angebote zeigen? Was man kauft, erfährt niemand.",
		More:     "Fresh & Co, Wien. Zweck: Werbung. Daten: keine. Sie können jederzeit Nein sagen, hier und auf jedem anderen Gerät.",
		Controls: []Control{{ControlYes, "Ja"}, {ControlNo, "Nein"}, {ControlMore, "Mehr"}, {ControlPhone, "Am Telefon"}},
		Language: "de", Notice: counting(7, 32), Say: "Darf Fresh & Co hier ein Jahr lang Angebote zeigen? Ja oder nein?", Epoch: 813,
	}},
	{"least ask", DnAsk, Ask{ID: id(5), Live: 1, Who: "x", Text: "x", Controls: []Control{{ControlNo, "No"}, {ControlYes, "Yes"}}, Language: "en", Notice: counting(7, 32)}},
	{"because", DnWhy, Because{Seq: 19, Message: of(id(3)), Lines: []string{"Weil die Kühlschranktür geöffnet wurde.", "Weil Sie Angebote von Fresh & Co am 3. März an diesem Gerät erlaubt haben."}, Language: "de"}},
	{"nothing was held back", DnWhy, Because{Seq: 20, Lines: []string{}, Language: "en"}},
	{"stopping", DnWord, Word{Epoch: 815, State: WordStopping, Open: []OpenScreen{{"Fridge", 1_790_000_016_000}, {"", 1_790_000_016_500}}}},
	{"stopped", DnWord, Word{Epoch: 815, State: WordStopped}},

	{"first beacon", DnTime, Time{Clock: 1_790_000_000_123}},
	{"beacon", DnTime, Time{Clock: 1_790_000_003_456, Fence: 813, Keep: []device.MessageID{id(3), id(4)}}},

	{"error without a word", DnErr, Err{Seq: 5, Code: 0x99}},
	{"error", DnErr, Err{Seq: 5, Code: 0x99, Leaf: "up/ctx", Text: `bad frame: up/ctx: values: "ux.driving" is 70 bytes long, at most 64`}},

	{"fridge applies", UpEnrol, Apply{Op: 1, Commit: Commitment(nonceD, keyOf(firstCSR)), CSR: firstCSR, Model: Model{Maker: "Polar", Name: "F2"}, Class: device.Fridge, Way: ByCode}},
	{"speaker applies for a token", UpEnrol, Apply{Op: 1, Commit: Commitment(speakerD, noKey), Model: Model{Maker: "Murmur", Name: "S1", Serial: "5f2c9e"}, Class: device.Speaker, Way: ByLabel}},
	{"nonce", UpEnrol, Reveal{Op: 2, Nonce: nonceD}},
	{"nonce with a proof", UpEnrol, Reveal{Op: 2, Nonce: speakerD, Proof: Binding{keyOf(caCert), noKey, speakerD, speakerG}.Proof(labelSecret)}},
	{"challenge", DnEnrol, Challenge{Op: 1, Nonce: nonceG}},
	{"admitted with a certificate", DnEnrol, Admitted{Op: 2, ID: me, Certificate: firstCert, CAs: [][]byte{caCert}, Name: "porchlight", Clock: 1_790_000_000_123}},
	{"admitted with a token, two authorities", DnEnrol, Admitted{
		Op: 2, ID: me, Token: "Zm9yLXRoZS1nb2xkZW4tZnJhbWVzLW9ubHktMDEyMzQ", CAs: [][]byte{caCert, caCert}, Name: "porchlight", Clock: 1_790_000_000_123,
	}},
	{"turned away without a word", DnEnrol, TurnedAway{Op: 3, Why: Late}},
	{"turned away", DnEnrol, TurnedAway{Op: 3, Why: Unusable, Text: "bad certificate request: the key is not of the kind P-256"}},

	{"request for a certificate", UpKey, KeyRequest{Seq: 12, CSR: secondCSR}},
	{"request for a token", UpKey, KeyRequest{Seq: 12}},
	{"asked for a key at once", DnKey, KeyAsk{Op: 1}},
	{"asked for a key", DnKey, KeyAsk{Op: 1, Until: 1_821_536_000_000}},
	{"new certificate", DnKey, KeyIssued{Op: 2, Certificate: secondCert, CAs: [][]byte{caCert}, Until: 1_842_617_600_000}},
	{"new token", DnKey, KeyIssued{Op: 2, Token: "Zm9yLXRoZS1nb2xkZW4tZnJhbWVzLW9ubHktMDEyMzQ", CAs: [][]byte{caCert}}},
	{"wipe", DnCmd, Command{Op: Wipe}},

	{"open the window", UpJoin, Join{Seq: 3, Op: JoinOpen}},
	{"close the window", UpJoin, Join{Seq: 4, Op: JoinClose}},
	{"admit", UpJoin, Join{Seq: 5, Op: JoinAdmit, Applicant: "e-cdba0ae5fb05533b", Code: "712 264"}},
	{"admit a guest's", UpJoin, Join{
		Seq: 6, Op: JoinAdmit, Applicant: "e-cdba0ae5fb05533b", Code: "712264", Name: "Kühlschrank", Room: "Küche", Person: 2, Until: 1_790_604_800_000, Controller: true,
	}},
	{"reject", UpJoin, Join{Seq: 7, Op: JoinReject, Applicant: "e-cdba0ae5fb05533b"}},
	{"window closed", DnJoin, Window{}},
	{"window", DnJoin, Window{
		Until: 1_790_000_900_000,
		Applicants: []Applicant{
			{ID: "e-cdba0ae5fb05533b", Class: device.Fridge, Model: Model{Maker: "Polar", Name: "F2"}, Way: ByCode, Tries: 2},
			{ID: "e-7a3902274d3ea310", Class: device.Speaker, Model: Model{Maker: "Murmur", Name: "S1", Serial: "5f2c9e"}, Way: ByLabel, Tries: 3},
		},
		Outcome: &JoinOutcome{Applicant: "e-cdba0ae5fb05533b", Result: JoinWrong},
	}},
	{"window after one was admitted", DnJoin, Window{
		Until: 1_790_000_900_000, Outcome: &JoinOutcome{Applicant: "e-cdba0ae5fb05533b", Result: JoinAdmitted, Device: me},
	}},
}

// bytesOf encodes a golden value as its device or the gateway would.
func bytesOf(t testing.TB, v any) []byte {
	t.Helper()
	b, err := Encode(v)
	if c, ok := v.(Context); ok {
		b, err = EncodeContext(c, places)
	}
	if err != nil {
		t.Fatalf("Encode(%+v): %v", v, err)
	}
	return b
}

// decodeAs reads b as a frame of leaf and returns it as its value.
func decodeAs(leaf Leaf, b []byte) (v any, err error) {
	switch leaf {
	case UpBirth:
		return DecodeBirth(b)
	case UpCtx:
		return DecodeContext(places, b)
	case UpEvt:
		return DecodeEvent(b)
	case UpTwin:
		return DecodeProposal(b)
	case UpBye:
		return DecodeBye(b)
	case DnMsg:
		p, c, err := DecodeMsg(b)
		return one(err, p, c)
	case DnTwin:
		return DecodeTwin(b)
	case DnTime:
		return DecodeTime(b)
	case DnErr:
		return DecodeErr(b)
	case UpEnrol:
		a, r, err := DecodeEnrol(b)
		return one(err, a, r)
	case DnEnrol:
		f, err := DecodeEnrolment(b)
		return one(err, f.Challenge, f.Admitted, f.TurnedAway)
	case UpKey:
		return DecodeKeyRequest(b)
	case DnKey:
		a, k, err := DecodeKey(b)
		return one(err, a, k)
	case DnCmd:
		return DecodeCommand(b)
	case UpAns:
		return DecodeAnswer(b)
	case UpWhy:
		return DecodeWhyAsked(b)
	case UpSig:
		return DecodeSignal(b)
	case DnAsk:
		return DecodeAsk(b)
	case DnWhy:
		return DecodeBecause(b)
	case DnWord:
		return DecodeWord(b)
	case UpJoin:
		return DecodeJoin(b)
	case DnJoin:
		return DecodeWindow(b)
	}
	return nil, fmt.Errorf("no frame travels on %s", leaf)
}

// one returns the frame that is not nil, if err says that there is one.
func one(err error, frames ...any) (v any, _ error) {
	n := 0
	for _, f := range frames {
		if p := reflect.ValueOf(f); !p.IsNil() {
			v = p.Elem().Interface()
			n++
		}
	}
	if (n == 1) != (err == nil) || n > 1 {
		return nil, fmt.Errorf("the decoder gave %d frames and the error %v", n, err)
	}
	return v, err
}

var leaves = []Leaf{
	UpBirth, UpCtx, UpEvt, UpTwin, UpBye, UpKey, UpJoin, UpAns, UpWhy, UpSig, UpEnrol,
	DnMsg, DnTwin, DnTime, DnErr, DnKey, DnJoin, DnCmd, DnAsk, DnWhy, DnWord, DnEnrol,
}

func TestGolden(t *testing.T) {
	if *update {
		var file bytes.Buffer
		file.WriteString("# Frames of the contract: leaf and name, diagnostic notation (RFC 8949, 8), bytes.\n" +
			"# The contexts are of a device whose birth listed: " + strings.Join(places, " ") + "\n")
		for _, g := range goldens {
			b := bytesOf(t, g.value)
			notation, err := cbor.Diagnose(b)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&file, "\n%s %s\n%s\n%x\n", g.leaf, g.name, notation, b)
		}
		if err := os.WriteFile("testdata/golden.txt", file.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	file := readGolden(t)
	if len(file) != len(goldens) {
		t.Errorf("testdata/golden.txt has %d frames, want %d", len(file), len(goldens))
	}
	for _, g := range goldens {
		t.Run(g.name, func(t *testing.T) {
			want, ok := file[string(g.leaf)+" "+g.name]
			if !ok {
				t.Fatal("not in testdata/golden.txt")
			}
			if got := bytesOf(t, g.value); !bytes.Equal(got, want.bytes) {
				t.Errorf("encoded\ngot  %x\nwant %x", got, want.bytes)
			}
			if got, err := cbor.Diagnose(want.bytes); got != want.notation || err != nil {
				t.Errorf("notation\ngot  %s, %v\nwant %s", got, err, want.notation)
			}
			got, err := decodeAs(g.leaf, want.bytes)
			if err != nil {
				t.Fatal(err)
			}
			if !same(got, g.value) {
				t.Errorf("decoded %x\ngot  %+v\nwant %+v", want.bytes, got, g.value)
			}
		})
	}
}

// same is DeepEqual, except that there is no difference between lists without items.
func same(a, b any) bool {
	if reflect.DeepEqual(a, b) {
		return true
	}
	x, errX := encoding.Marshal(plainly(a))
	y, errY := encoding.Marshal(plainly(b))
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

func plainly(v any) any {
	if c, ok := v.(Context); ok {
		return []any{c.Seq, c.Observed, c.Age, c.Values, c.Complete}
	}
	return v
}

type goldenBytes struct {
	notation string
	bytes    []byte
}

func readGolden(t testing.TB) map[string]goldenBytes {
	t.Helper()
	text, err := os.ReadFile("testdata/golden.txt")
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]goldenBytes)
	for block := range strings.SplitSeq(string(text), "\n\n") {
		lines := strings.Split(strings.TrimSpace(block), "\n")
		if strings.HasPrefix(block, "#") {
			continue
		}
		if len(lines) != 3 {
			t.Fatalf("testdata/golden.txt: %d lines in %q, want 3", len(lines), block)
		}
		b, err := hex.DecodeString(lines[2])
		if err != nil {
			t.Fatalf("testdata/golden.txt: %s: %v", lines[0], err)
		}
		all[lines[0]] = goldenBytes{lines[1], b}
	}
	return all
}

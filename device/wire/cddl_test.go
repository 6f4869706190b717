package wire

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"porchlight/device"
)

var (
	cddlRule   = regexp.MustCompile(`(?m)^([a-z0-9-]+) = `)
	cddlMember = regexp.MustCompile(`(?m)^\s+(\? )?(\d+): `)
	cddlChoice = regexp.MustCompile(`([a-z-]+): (\d+)`)
)

// rules cuts contract.cddl into its rules, without comments.
func rules(t *testing.T) map[string]string {
	t.Helper()
	b, err := os.ReadFile("contract.cddl")
	if err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile(`;.*`).ReplaceAllString(string(b), "")
	all := make(map[string]string)
	starts := cddlRule.FindAllStringSubmatchIndex(text, -1)
	for i, at := range starts {
		end := len(text)
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		name := text[at[2]:at[3]]
		if _, twice := all[name]; twice {
			t.Errorf("contract.cddl: rule %s occurs twice", name)
		}
		all[name] = text[at[1]:end]
	}
	return all
}

// TestContractKeys holds each frame type to its rule in contract.cddl: the same keys, and the
// same of them optional.
func TestContractKeys(t *testing.T) {
	contract := rules(t)
	types := map[string]any{
		"up-birth": Birth{}, "model": Model{}, "caps": Capabilities{}, "up-ctx": contextFrame{}, "up-evt": Event{},
		"up-twin": Proposal{}, "up-bye": Bye{}, "present": Present{}, "response": Response{}, "cancel": Cancel{},
		"dn-time": Time{}, "dn-twin": Twin{}, "doc": Document{}, "choice": BrandChoice{}, "quiet": QuietTime{},
		"mute": Mute{}, "dn-err": Err{}, "cap": Cap{}, "resident": Resident{}, "place": Place{}, "picture": Picture{},
		"dn-ask": Ask{}, "control": Control{}, "up-ans": Answer{}, "drawn": DrawnControl{}, "up-why": WhyAsked{}, "dn-why": Because{},
		"up-sig": Signal{}, "dn-word": Word{}, "open-screen": OpenScreen{},
		"apply": Apply{}, "reveal": Reveal{}, "challenge": Challenge{}, "admitted": Admitted{}, "turned-away": TurnedAway{},
		"up-key": KeyRequest{}, "key-ask": KeyAsk{}, "key-issued": KeyIssued{}, "dn-cmd": Command{},
		"up-join": Join{}, "dn-join": Window{}, "applicant": Applicant{}, "outcome": JoinOutcome{},
	}
	for rule, body := range contract {
		if _, ok := types[rule]; !ok && strings.HasPrefix(body, "{") {
			t.Errorf("contract.cddl: the map %s has no Go type", rule)
		}
	}
	for rule, frame := range types {
		want := make(map[string]bool) // by key: optional
		for _, m := range cddlMember.FindAllStringSubmatch(contract[rule], -1) {
			want[m[2]] = m[1] != ""
		}
		got := make(map[string]bool)
		for f := range fields(reflect.TypeOf(frame)) {
			key, options, _ := strings.Cut(f.Tag.Get("cbor"), ",")
			if !strings.HasPrefix(options, "keyasint") {
				t.Errorf("%T.%s has no integer key", frame, f.Name)
			}
			got[key] = strings.Contains(options, "omit")
		}
		if len(want) == 0 || !reflect.DeepEqual(got, want) {
			t.Errorf("%T and the rule %s (key: optional)\ngot  %v\nwant %v", frame, rule, got, want)
		}
		if !strings.Contains(contract[rule], "* int => any") {
			t.Errorf("contract.cddl: %s does not say that other keys are passed over", rule)
		}
	}
	for _, leaf := range leaves {
		if rule := strings.ReplaceAll(string(leaf), "/", "-"); contract[rule] == "" {
			t.Errorf("leaf %s has no rule %s", leaf, rule)
		}
	}
	for rule := range contract {
		leaf := Leaf(strings.Replace(rule, "-", "/", 1))
		if (strings.HasPrefix(rule, "up-") || strings.HasPrefix(rule, "dn-")) && !slices.Contains(leaves, leaf) {
			t.Errorf("rule %s has no leaf", rule)
		}
	}
}

func fields(t reflect.Type) func(func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			if !yield(t.Field(i)) {
				return
			}
		}
	}
}

var enrolNumbers = map[string]map[string]int{
	"way": {"code": int(ByCode), "label": int(ByLabel), "home": int(ByHome)},
	"why": {"closed": int(Closed), "rejected": int(Rejected), "tries": int(Tries), "late": int(Late), "unproven": int(Unproven),
		"full": int(Full), "unusable": int(Unusable)},
	"command": {"wipe": int(Wipe)},
	"join-op": {"open": int(JoinOpen), "close": int(JoinClose), "admit": int(JoinAdmit), "reject": int(JoinReject)},
	"result":  {"admitted": int(JoinAdmitted), "wrong": int(JoinWrong), "ended": int(JoinEnded)},
}

var homeNumbers = map[string]map[string]int{
	"control-id": {"yes": int(ControlYes), "no": int(ControlNo), "more": int(ControlMore), "phone": int(ControlPhone)},
	"answer":     {"drawn": int(AnswerDrawn), "yes": int(AnswerYes), "no": int(AnswerNo), "deferred": int(AnswerDeferred)},
	"deferred": {"timeout": int(ByTimeout), "back": int(ByBack), "silence": int(BySilence), "driving": int(ByDriving),
		"unsure": int(ByUnsure), "phone": int(ByPhone), "device": int(ByDevice)},
	"signal": {"tcf": int(SignalTCF), "gpp": int(SignalGPP), "gpc": int(SignalGPC)},
	"word":   {"stopping": int(WordStopping), "stopped": int(WordStopped)},
}

// TestContractNumbers holds the numbers in words to ours.
func TestContractNumbers(t *testing.T) {
	contract := rules(t)
	ours := map[string]map[string]int{
		"class": {}, "form": {},
		"priority": {"low": int(Low), "medium": int(Medium), "high": int(High), "critical": int(Critical)},
		"event": {"queued": int(Queued), "presented": int(Presented), "responded": int(Responded), "dismissed": int(Dismissed),
			"timed-out": int(TimedOut), "declined": int(Declined), "expired": int(Expired), "cancelled": int(Cancelled), "failed": int(Failed)},
		"wish": {"allowed": int(Allowed), "increased": int(Increased), "reduced": int(Reduced), "disallowed": int(Disallowed), "banned": int(Banned)},
		"reason": {"guard-failed": int(GuardFailed), "busy": int(Busy), "unsupported-form": int(UnsupportedForm), "driving": int(DrivingNow),
			"user-dnd": int(UserDND), "too-large": int(TooLarge), "internal": int(Internal), "unknown-message": int(UnknownMessage), "stale": int(Stale)},
	}
	for _, more := range []map[string]map[string]int{enrolNumbers, homeNumbers} {
		for rule, want := range more {
			ours[rule] = want
		}
	}
	for c := range device.Class(200) {
		if c.Known() {
			ours["class"][c.String()] = int(c)
		}
	}
	for f := range device.Form(200) {
		if f.Known() {
			ours["form"][f.String()] = int(f)
		}
	}
	for rule, body := range contract {
		if _, ok := ours[rule]; !ok && strings.HasPrefix(body, "&(") {
			t.Errorf("contract.cddl: no numbers of ours for the rule %s", rule)
		}
	}
	for frame, op := range map[string]uint8{
		"present": opPresent, "cancel": opCancel, "apply": opApply, "reveal": opReveal, "challenge": opChallenge,
		"admitted": opAdmitted, "turned-away": opTurnedAway, "key-ask": opKeyAsk, "key-issued": opKeyIssued,
	} {
		if got, _, _ := strings.Cut(strings.TrimSpace(strings.TrimPrefix(contract[frame], "{")), ","); got != fmt.Sprintf("0: %d", op) {
			t.Errorf("rule %s begins %q, its op is %d", frame, got, op)
		}
	}
	for rule, want := range ours {
		got := make(map[string]int)
		for _, m := range cddlChoice.FindAllStringSubmatch(contract[rule], -1) {
			got[m[1]], _ = strconv.Atoi(m[2])
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("rule %s\ngot  %v\nwant %v", rule, got, want)
		}
	}
}

// TestContractLimits: the limits stand in the contract as they are in the code.
func TestContractLimits(t *testing.T) {
	b, err := os.ReadFile("contract.cddl")
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Join(strings.Fields(strings.ReplaceAll(string(b), "\n;", "")), " ")
	for _, want := range []string{
		fmt.Sprintf("at most %d bytes, at most %d levels deep, at most %d pairs in a map and %d items in an array", MaxFrame, MaxDepth, MaxPairs, MaxItems),
		fmt.Sprintf("number = 0..%d ", uint64(MaxUint)),
		fmt.Sprintf("name = tstr .size (1..%d)", MaxName),
		fmt.Sprintf("language = tstr .size (1..%d)", maxTag),
		fmt.Sprintf("6: tstr .size (1..%d), ; text", MaxText),
		fmt.Sprintf("1: tstr .size (1..%d), ; label", MaxLabel),
		fmt.Sprintf("[1*%d response]", MaxResponses),
		fmt.Sprintf("8: [0*%d msg-id]", MaxHeld),
		fmt.Sprintf("2: [0*%d msg-id], ; keep", MaxHeld),
		fmt.Sprintf("At most %d bytes. doc = {", MaxTwin),
		fmt.Sprintf("nonce = bstr .size %d hash = bstr .size %d ", NonceSize, HashSize),
		fmt.Sprintf("request = bstr .size (1..%d) ", MaxRequest),
		fmt.Sprintf("certificate = bstr .size (1..%d) ", MaxCertificate),
		fmt.Sprintf("token = tstr .size (1..%d) ", MaxName),
		fmt.Sprintf("4: [1*%d certificate], ; authorities", MaxCAs),
		fmt.Sprintf("3: [1*%d certificate], ; authorities", MaxCAs),
		fmt.Sprintf("? 3: tstr .size (0..%d), ; of admit: what was typed", MaxCode),
		fmt.Sprintf("1: [0*%d applicant]", MaxApplicants),
		fmt.Sprintf("1: 1..%d, ; ms from receipt", MaxAskLive),
		fmt.Sprintf("first layer, at most %d characters", MaxAskText),
		fmt.Sprintf("? 5: [2*%d drawn]", MaxResponses),
		fmt.Sprintf("1: 1..%d, ; presses", MaxPresses),
		fmt.Sprintf("? 3: uint .le %d, ; weight of its letters, from %d", heaviest, lightest),
		fmt.Sprintf("? 7: uint .le %d, ; deepest layer", MaxLayer),
		fmt.Sprintf("2: [0*%d tstr .size (1..%d)], ; sentences, together at most %d bytes", MaxLines, MaxText, MaxBecause),
		fmt.Sprintf("? 2: tstr .size (0..%d), ; as its standard spells it", MaxSignal),
		fmt.Sprintf("? 2: [0*%d open-screen]", MaxLines),
		fmt.Sprintf("0: tstr .size (1..%d), ; path at the gateway", MaxPath),
		fmt.Sprintf("content = bits ; %d words, %d picture, %d sound", ContentWords, ContentPicture, ContentSound),
		fmt.Sprintf("2: 0..%d, ; messages ? 3: uint .le %d, ; hours ? 4: uint .le %d, ; minutes", maxCap, maxHours, maxMinutes),
	} {
		if !strings.Contains(words, want) {
			t.Errorf("contract.cddl does not say %q", want)
		}
	}
}

package policy

import (
	"strings"
	"testing"

	"porchlight/device"
)

// Who saw a message is asked of everybody there, the first person of the home too.
func TestSawIt(t *testing.T) {
	h := &Home{People: []Person{{ID: 1}, {ID: 2}}}
	s := &Screen{ID: "screen-1"}
	tests := map[string]struct {
		e     Exposure
		there uint64
		want  bool
	}{
		"the first person is there":     {Exposure{Device: "other", Who: []device.PersonID{1}}, 1, true},
		"the second person is there":    {Exposure{Device: "other", Who: []device.PersonID{2}}, 2, true},
		"somebody else is there":        {Exposure{Device: "other", Who: []device.PersonID{2}}, 1, false},
		"who saw it lives here no more": {Exposure{Device: "other", Who: []device.PersonID{9}}, 3, false},
		"it was on this screen":         {Exposure{Device: "screen-1"}, 0, true},
	}
	for name, test := range tests {
		if got := h.saw(&test.e, &Candidate{Screen: s, There: &Presence{Known: test.there}}); got != test.want {
			t.Errorf("%s: saw it %t, want %t", name, got, test.want)
		}
	}
}

func TestOperatorRuleCheck(t *testing.T) {
	c, err := ParseCondition("now.hour < 7")
	if err != nil {
		t.Fatal(err)
	}
	good := OperatorRule{ID: "no-offers-before-7", Condition: c, Verdict: Hold}
	for name, test := range map[string]struct {
		edit func(*OperatorRule)
		want string // in the error; "": none
	}{
		"it holds":      {func(r *OperatorRule) {}, ""},
		"it refuses":    {func(r *OperatorRule) { r.Verdict = Refuse }, ""},
		"it shows":      {func(r *OperatorRule) { r.Verdict = Show }, "verdict"},
		"no name":       {func(r *OperatorRule) { r.ID = "" }, "id"},
		"64 characters": {func(r *OperatorRule) { r.ID = strings.Repeat("a", 64) }, ""},
		"65 characters": {func(r *OperatorRule) { r.ID = strings.Repeat("a", 65) }, "id"},
		"a capital":     {func(r *OperatorRule) { r.ID = "Rule" }, "id"},
		"no condition":  {func(r *OperatorRule) { r.Condition = nil }, "condition"},
	} {
		r := good
		test.edit(&r)
		if err := r.Check(); (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want an error with %q in it", name, err, test.want)
		}
	}
}

// What a condition reads of a class is asked of that class, and of the screen itself if it says screen.
func TestConditionOfAClass(t *testing.T) {
	c, err := ParseCondition("fridge.door.open && screen.power.state == 'on'")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		class device.Class
		same  bool
		want  device.AttributeSet
	}{
		{device.Fridge, false, device.Attributes(device.DoorOpen)},
		{device.TV, true, device.Attributes(device.PowerState)},
		{device.Fridge, true, device.Attributes(device.DoorOpen, device.PowerState)},
		{device.TV, false, 0},
	} {
		if got := c.Of(test.class, test.same); got != test.want {
			t.Errorf("of a %s, the screen itself %t: %v, want %v", test.class, test.same, got, test.want)
		}
	}
}

// What a brand may not know, its comparison does not tell either: the reason is that it is not its concern.
func TestComparisonThatIsNoConcern(t *testing.T) {
	q := good(device.TV)
	q.seen("1")
	q.Message.When = []Predicate{{0, device.PresenceCount, EQ, val(device.PresenceCount, 2.)}}
	q.tell(device.PresenceCount, 1., 0)
	for _, test := range []struct {
		said Choice
		want Code
	}{{Given, WaitsFor}, {Refused, NotItsConcern}} {
		q.Home.Consents[ConsentKey{0, grocer, Context}] = Stance{Choice: test.said}
		q.Home.Consents[ConsentKey{1, grocer, Context}] = Stance{Choice: test.said}
		var codes []Code
		for _, c := range Causes(*q, Decide(*q)) {
			if c.Rule == Condition {
				codes = append(codes, c.Code)
			}
		}
		if len(codes) != 1 || codes[0] != test.want {
			t.Errorf("said %s: the condition fails for %v, want %v", test.said, codes, test.want)
		}
	}
}

// aCondition is read, and need not make sense.
func aCondition(text string) *Expression {
	c, err := readCondition(text)
	if err != nil {
		panic(err)
	}
	return c
}

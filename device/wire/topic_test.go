package wire

import (
	"strings"
	"testing"

	"porchlight/device"
)

const me = device.ID("k3v7q2mzx5nat4bd")

// hostile topics are nobody's, and nobody may subscribe to them.
var hostile = []string{
	"", "/", "#", "+", "pl", "pl/1", "pl/1/", "pl/1/#", "pl/1/+/dn/#", "pl/+/" + string(me) + "/dn/msg", "+/+/+/dn/#",
	"pl/1/" + string(me), "pl/1/" + string(me) + "/", "pl/1/" + string(me) + "/up", "pl/1/" + string(me) + "/up/", "pl/1/" + string(me) + "/#",
	"pl/1/" + string(me) + "/up/birth/", "pl/1/" + string(me) + "/up/birth/x", "pl/1/" + string(me) + "/up//birth", "pl/1/" + string(me) + "//up/birth",
	"/pl/1/" + string(me) + "/up/birth", "pl//1/" + string(me) + "/up/birth", "pl/1//up/birth", "pl/1/x/up/birth", "pl/1/x/up/birth/",
	"pl/2/" + string(me) + "/up/birth", "pl/01/" + string(me) + "/up/birth", "PL/1/" + string(me) + "/up/birth", "pl/1/" + string(me) + "/UP/BIRTH",
	"pl/1/" + string(me) + "/up/birth\x00", "pl/1/" + string(me) + "\x00/up/birth", "pl/1/" + string(me) + "/up/birth ", "pl/1/../up/birth",
	"pl/1/" + string(me) + "/up/#", "pl/1/" + string(me) + "/up/+", "pl/1/" + string(me) + "/dn/+", "pl/1/" + string(me) + "/dn/", "pl/1/" + string(me) + "/dn/msg/#", "pl/1/" + string(me) + "/dn/##",
	"pl/1/" + string(me) + "/dn/rsp", "pl/1/" + string(me) + "/up/will", "pl/1/" + string(me) + "/up/message", "pl/1/" + string(me) + "/dn/answer",
	"pl/1/" + strings.ToUpper(string(me)) + "/up/birth", "pl/1/-" + string(me) + "/up/birth", "pl/1/" + strings.Repeat("a", 33) + "/up/birth",
	"pl/1/+/up/birth", "pl/1/#/up/birth", "pl/1/$SYS/up/birth", "pl/1/\xff\xff\xff\xff/up/birth", "pl/1/ümlaut/up/birth",
	"$SYS", "$SYS/#", "$SYS/broker/clients", "$share/g/pl/1/" + string(me) + "/dn/#", "$share/" + string(me) + "/dn/#", "$queue/pl/1/" + string(me) + "/dn/#",
	strings.Repeat("/", 65_535), strings.Repeat("a", 65_535), "pl/1/" + string(me) + "/dn/" + strings.Repeat("#", 65_000), strings.Repeat("pl/1/", 13_107),
	"pl/1/b", "pl/1/b/", "pl/1/b/fresh-co", "pl/1/b/fresh-co/up", "pl/1/b/fresh-co/up/birth", "pl/1/b/fresh-co/up/message/", "pl/1/b/fresh-co/dn/+",
	"pl/1/b//up/message", "pl/1/b/+/dn/answer", "pl/1/b/#", "pl/1/b/f/up/message", "pl/1/b/1fresh/up/message", "pl/1/b/Fresh/up/message", "pl/1/b/fresh-co/dn/msg", "pl/1/b/" + strings.Repeat("a", 33) + "/up/message",
	"pl/1/bb/fresh-co/up/message", "pl/1/b/b/up/message",
}

func TestTopic(t *testing.T) {
	for _, leaf := range leaves {
		topic := Topic(me, leaf)
		if id, got, ok := ParseTopic(topic); id != me || got != leaf || !ok {
			t.Errorf("ParseTopic(%q) = %q, %q, %v", topic, id, got, ok)
		}
		if _, _, ok := ParseBrandTopic(topic); ok {
			t.Errorf("ParseBrandTopic(%q) took it", topic)
		}
		if up := strings.Contains(topic, "/up/"); leaf.Up() != up {
			t.Errorf("%s.Up() = %v", leaf, !up)
		}
	}
	for _, leaf := range []Leaf{UpMessage, DnAnswer} {
		topic := BrandTopic("fresh-co", leaf)
		if brand, got, ok := ParseBrandTopic(topic); brand != "fresh-co" || got != leaf || !ok {
			t.Errorf("ParseBrandTopic(%q) = %q, %q, %v", topic, brand, got, ok)
		}
		if _, _, ok := ParseTopic(topic); ok {
			t.Errorf("ParseTopic(%q) took it", topic)
		}
	}
	longest := Topic(device.ID(strings.Repeat("a", 32)), UpBirth)
	if _, _, ok := ParseTopic(longest); !ok {
		t.Errorf("ParseTopic(%q) refused it", longest)
	}
	longest = BrandTopic(device.BrandID(strings.Repeat("a", 32)), UpMessage)
	if _, _, ok := ParseBrandTopic(longest); !ok {
		t.Errorf("ParseBrandTopic(%q) refused it", longest)
	}
}

func TestHostileTopics(t *testing.T) {
	for _, topic := range hostile {
		if id, leaf, ok := ParseTopic(topic); ok || id != "" || leaf != "" {
			t.Errorf("ParseTopic(%.80q) = %q, %q, %v", topic, id, leaf, ok)
		}
		if brand, leaf, ok := ParseBrandTopic(topic); ok || brand != "" || leaf != "" {
			t.Errorf("ParseBrandTopic(%.80q) = %q, %q, %v", topic, brand, leaf, ok)
		}
		if AllowSubscribe(me, topic) {
			t.Errorf("AllowSubscribe(%q, %.80q)", me, topic)
		}
		if AllowBrandSubscribe("fresh-co", topic) {
			t.Errorf("AllowBrandSubscribe(%.80q)", topic)
		}
	}
}

func TestAllowSubscribe(t *testing.T) {
	tests := map[string]struct {
		id     device.ID
		filter string
		want   bool
	}{
		"all of its own":      {me, "pl/1/k3v7q2mzx5nat4bd/dn/#", true},
		"one leaf":            {me, "pl/1/k3v7q2mzx5nat4bd/dn/msg", true},
		"another leaf":        {me, "pl/1/k3v7q2mzx5nat4bd/dn/time", true},
		"twin":                {me, "pl/1/k3v7q2mzx5nat4bd/dn/twin", true},
		"errors":              {me, "pl/1/k3v7q2mzx5nat4bd/dn/err", true},
		"keys":                {me, "pl/1/k3v7q2mzx5nat4bd/dn/key", true},
		"commands":            {me, "pl/1/k3v7q2mzx5nat4bd/dn/cmd", true},
		"windows":             {me, "pl/1/k3v7q2mzx5nat4bd/dn/join", true},
		"questions":           {me, "pl/1/k3v7q2mzx5nat4bd/dn/ask", true},
		"reasons":             {me, "pl/1/k3v7q2mzx5nat4bd/dn/why", true},
		"words":               {me, "pl/1/k3v7q2mzx5nat4bd/dn/word", true},
		"its own answers":     {me, "pl/1/k3v7q2mzx5nat4bd/up/ans", false},
		"a device, enrolling": {me, "pl/1/k3v7q2mzx5nat4bd/dn/enrol", false},
		"an applicant":        {"e-0123456789abcdef", "pl/1/e-0123456789abcdef/dn/enrol", true},
		"an applicant, all":   {"e-0123456789abcdef", "pl/1/e-0123456789abcdef/dn/#", true},
		"another applicant":   {"e-0123456789abcdef", "pl/1/e-0123456789abcdee/dn/enrol", false},
		"nearly an applicant": {"e-0123456789abcdeg", "pl/1/e-0123456789abcdeg/dn/enrol", false},
		"its own frames":      {me, "pl/1/k3v7q2mzx5nat4bd/up/ctx", false},
		"another's":           {me, "pl/1/k3v7q2mzx5nat4be/dn/#", false},
		"a longer ID":         {me, "pl/1/k3v7q2mzx5nat4bdx/dn/#", false},
		"a shorter ID":        {me, "pl/1/k3v7q2mzx5nat4b/dn/#", false},
		"another's, as leaf":  {me, "pl/1/abcd/dn/msg", false},
		"no ID":               {"", "pl/1//dn/#", false},
		"a wildcard as ID":    {"+", "pl/1/+/dn/#", false},
		"a brand as ID":       {"b", "pl/1/b/dn/#", false},
		"an ID with a level":  {"abcd/dn", "pl/1/abcd/dn/#", false},
	}
	for name, test := range tests {
		if got := AllowSubscribe(test.id, test.filter); got != test.want {
			t.Errorf("%s: AllowSubscribe(%q, %q) = %v", name, test.id, test.filter, got)
		}
	}
	for filter, want := range map[string]bool{
		"pl/1/b/fresh-co/dn/answer": true, "pl/1/b/fresh-co/dn/#": true, "pl/1/b/fresh-co/up/message": false,
		"pl/1/b/other-co/dn/answer": false, "pl/1/b/+/dn/#": false, "$share/g/pl/1/b/fresh-co/dn/#": false,
	} {
		if got := AllowBrandSubscribe("fresh-co", filter); got != want {
			t.Errorf("AllowBrandSubscribe(%q) = %v", filter, got)
		}
	}
}

func TestParseTopicAllocatesNothing(t *testing.T) {
	topic, filter, brand, long := Topic(me, UpCtx), Topic(me, "dn/#"), BrandTopic("fresh-co", UpMessage), strings.Repeat("/", 65_535)
	if n := testing.AllocsPerRun(100, func() {
		ParseTopic(topic)
		ParseTopic(long)
		ParseBrandTopic(brand)
		AllowSubscribe(me, filter)
		AllowSubscribe(me, long)
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

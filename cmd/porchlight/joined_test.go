package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"porchlight/broker/delivery"
	"porchlight/policy"
)

// The example of a sequence can be pushed as it is, and its steps belong together.
func TestExampleSequence(t *testing.T) {
	var all []delivery.Submission
	for _, name := range []string{"offer.yaml", "thanks.yaml"} {
		path := filepath.Join("../../configs/sequence", name)
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		_, body, err := readMessage(path, raw, 2*time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		s, err := delivery.ParseSubmission(body)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	one, two := all[0], all[1]
	if one.Sequence.Step != 1 || two.Sequence.Step != 2 || one.Sequence.Journey != two.Sequence.Journey || one.Dedupe != two.Dedupe || one.Item == "" || one.Item != two.Item {
		t.Errorf("they do not belong together: %+v %+v", one, two)
	}
	if one.Buttons[0].Act != two.Echo || two.Echo != policy.Add {
		t.Errorf("the second speaks of %s, the first lets people %s", two.Echo, one.Buttons[0].Act)
	}
}

package consent_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/policy"
	. "porchlight/policy/consent"
)

func TestRecord(t *testing.T) {
	db, err := store.Open(context.Background(), filepath.Join(t.TempDir(), "p.db"), store.Options{Project: func(tx *store.Apply, e store.Event) error {
		if mine, err := Apply(tx, e); mine || err != nil {
			return err
		}
		_, err := registry.Apply(tx, e)
		return err
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.Update(func(tx *store.Tx) error {
		if _, err := registry.AddHome(tx, "oak", "UTC"); err != nil {
			return err
		}
		if _, err := registry.AddPerson(tx, 1, registry.Person{Name: "Anna", Age: device.Adult}); err != nil {
			return err
		}
		return registry.AddBrand(tx, registry.Brand{ID: "grocer", Name: "Grocer", Purposes: []string{"marketing"}, Quota: 1}, registry.NewKey())
	})
	if err != nil {
		t.Fatal(err)
	}
	good := func(c policy.Choice) Entry {
		return Entry{Home: 1, Brand: "grocer", Purpose: policy.Marketing, Choice: c, Method: "operator"}
	}
	// What is said one after the other, and what is in force after each.
	steps := []struct {
		say  policy.Choice
		news bool
		want policy.Choice
	}{
		{policy.Withdrawn, true, policy.Refused}, // there was nothing to withdraw
		{policy.Refused, false, policy.Refused},
		{policy.Given, true, policy.Given},
		{policy.Given, false, policy.Given},
		{policy.Refused, true, policy.Withdrawn},
		{policy.Withdrawn, false, policy.Withdrawn},
	}
	for i, step := range steps {
		var news bool
		err := db.Update(func(tx *store.Tx) (err error) { news, err = Record(tx, good(step.say)); return err })
		if err != nil || news != step.news {
			t.Fatalf("step %d, %s: news %t, %v; want %t", i, step.say, news, err, step.news)
		}
		err = db.View(t.Context(), func(tx *store.Tx) error {
			choices, err := Of(tx, 1)
			if got := choices[good(0).Key()]; got != step.want {
				t.Errorf("step %d, %s: %s is in force, want %s", i, step.say, got, step.want)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	bad := map[string]struct {
		edit func(e *Entry)
		want error
	}{
		"silence":            {func(e *Entry) { e.Choice = policy.Silent }, ErrInvalid},
		"no such choice":     {func(e *Entry) { e.Choice = 9 }, ErrInvalid},
		"no purpose":         {func(e *Entry) { e.Purpose = policy.NoPurpose }, ErrInvalid},
		"undeclared purpose": {func(e *Entry) { e.Purpose = policy.Research }, ErrInvalid},
		"no such brand":      {func(e *Entry) { e.Brand = "nobody" }, registry.ErrUnknown},
		"no such person":     {func(e *Entry) { e.Subject = 9 }, registry.ErrUnknown},
	}
	for name, test := range bad {
		e := good(policy.Given)
		test.edit(&e)
		if err := db.Update(func(tx *store.Tx) error { _, err := Record(tx, e); return err }); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
	// A No needs no brand that declares it.
	e := good(policy.Refused)
	e.Subject, e.Purpose = device.PersonID(1), policy.Research
	if err := db.Update(func(tx *store.Tx) error { _, err := Record(tx, e); return err }); err != nil {
		t.Errorf("a No to what the brand never declared: %v", err)
	}
}

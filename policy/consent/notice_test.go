package consent_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/policy"
	. "porchlight/policy/consent"
)

func TestNoticeForm(t *testing.T) {
	h := openHouse(t)
	layers := func(l Layers) func(n *Notice) { return func(n *Notice) { n.Layers = map[string]Layers{"en": l} } }
	tests := map[string]struct {
		edit func(n *Notice)
		ok   bool
	}{
		"good":      {func(n *Notice) {}, true},
		"the least": {func(n *Notice) { *n = Notice{Brand: n.Brand, Purposes: n.Purposes, ValidFor: 1} }, true},
		"the most": {func(n *Notice) {
			n.ValidFor, n.Retention, n.Data, n.Operations = 12, MaxDays, DataTerms, OperationTerms
		}, true},
		"all layers":             {layers(Layers{strings.Repeat("ö", MaxFirst), strings.Repeat("x", MaxSecond), strings.Repeat("x\n", MaxThird/2)}), true},
		"no purpose":             {func(n *Notice) { n.Purposes = nil }, false},
		"purpose none":           {func(n *Notice) { n.Purposes = []policy.Purpose{policy.NoPurpose} }, false},
		"undeclared purpose":     {func(n *Notice) { n.Purposes = append(n.Purposes, policy.Research) }, false},
		"unknown data":           {func(n *Notice) { n.Data = []string{"pd:Soul"} }, false},
		"sensitive data":         {func(n *Notice) { n.Data = []string{"pd:Health"} }, false},
		"data without prefix":    {func(n *Notice) { n.Data = []string{"Preference"} }, false},
		"unknown operation":      {func(n *Notice) { n.Operations = []string{"dpv:Hoard"} }, false},
		"kept for ever":          {func(n *Notice) { n.Retention = MaxDays + 1 }, false},
		"kept less than nothing": {func(n *Notice) { n.Retention = -1 }, false},
		"country in words":       {func(n *Notice) { n.Countries = []string{"Switzerland"} }, false},
		"storage in lower case":  {func(n *Notice) { n.Storage = []string{"ch"} }, false},
		"recipient without name": {func(n *Notice) { n.Recipients = []string{""} }, false},
		"recipient of two lines": {func(n *Notice) { n.Recipients = []string{"a\nb"} }, false},
		"unknown class":          {func(n *Notice) { n.Classes = []device.Class{77} }, false},
		"class other":            {func(n *Notice) { n.Classes = []device.Class{device.Other} }, false},
		"13 months":              {func(n *Notice) { n.ValidFor = 13 }, false},
		"no time at all":         {func(n *Notice) { n.ValidFor = 0 }, false},
		"legitimate interest":    {func(n *Notice) { n.LegalBasis = "legitimate interest" }, false},
		"first layer missing":    {layers(Layers{Second: "x"}), false},
		"first layer too long":   {layers(Layers{First: strings.Repeat("ö", MaxFirst+1)}), false},
		"second layer too long":  {layers(Layers{First: "x", Second: strings.Repeat("x", MaxSecond+1)}), false},
		"third layer too long":   {layers(Layers{First: "x", Third: strings.Repeat("x", MaxThird+1)}), false},
		"layer of bytes":         {layers(Layers{First: "x\xff"}), false},
		"layer that turns round": {layers(Layers{First: "x\u202e"}), false},
		"no such brand":          {func(n *Notice) { n.Brand = "nobody" }, false},
	}
	undo := errors.New("undo")
	for name, test := range tests {
		err := h.try(func(tx *store.Tx) error {
			n := Notice{Brand: "grocer", Purposes: []policy.Purpose{policy.Marketing}, Data: []string{"pd:Preference"}, Retention: 7, ValidFor: 6}
			test.edit(&n)
			_, err := Issue(tx, n)
			return errors.Join(err, undo)
		})
		refused := errors.Is(err, ErrInvalid) || errors.Is(err, registry.ErrUnknown)
		if refused == test.ok {
			t.Errorf("%s: %v, want taken %t", name, err, test.ok)
		}
	}
}

func TestNoticesDoNotChange(t *testing.T) {
	h := openHouse(t)
	newest := func(brand device.BrandID) (n Notice) {
		t.Helper()
		h.see(func(tx *store.Tx) (err error) { n, err = Newest(tx, brand); return err })
		return n
	}
	// Without a notice of its own a brand has the card of what it declared, and a yes keeps it.
	card := newest("grocer")
	if !card.Card || card.Version != 1 || !slices.Equal(card.Purposes, []policy.Purpose{policy.Marketing, policy.Personalised}) || card.ValidFor != 12 {
		t.Errorf("card %+v", card)
	}
	h.record(say(0, policy.Given))
	if e := h.last(); e.Notice != card.Hash() {
		t.Errorf("a yes to %s, want the card %s", e.Notice, card.Hash())
	}
	h.record(say(anna, policy.Given))
	var kept []Notice
	h.see(func(tx *store.Tx) (err error) { kept, err = Notices(tx, "grocer"); return err })
	if len(kept) != 1 || kept[0].Hash() != card.Hash() || kept[0].Issued != h.now {
		t.Errorf("kept %+v, want the card once", kept)
	}
	// A brand that declares something else has another card.
	h.do(func(tx *store.Tx) error {
		_, err := registry.ChangeBrand(tx, "grocer", func(b *registry.Brand) { b.Purposes = []string{"personalised", "marketing", "research"} })
		return err
	})
	if n := newest("grocer"); n.Version != 2 || n.Hash() == card.Hash() || len(n.Purposes) != 3 {
		t.Errorf("after a change: %+v", n)
	}
	// Its own notices take over. The same again, in another order, is the same.
	first := h.issue(func(n *Notice) { n.Data = []string{"pd:Purchase", "pd:Preference", "pd:Purchase"} })
	same := h.issue(func(n *Notice) { n.Data = []string{"pd:Preference", "pd:Purchase"}; n.LegalBasis = "consent" })
	if first.Version != 2 || first.Hash() != same.Hash() || same.Version != 2 || first.Card {
		t.Errorf("issued twice: %+v and %+v", first, same)
	}
	second := h.issue(func(n *Notice) { n.Layers = map[string]Layers{"en": {First: "Offers"}} })
	if second.Version != 3 || newest("grocer").Hash() != second.Hash() {
		t.Errorf("second %+v, newest %+v", second, newest("grocer"))
	}
	// Each is still to be had, byte for byte, under its hash, which covers every field.
	h.see(func(tx *store.Tx) error {
		for _, want := range []Notice{kept[0], first, second} {
			got, err := NoticeByHash(tx, want.Hash())
			if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("version %d: %+v, %v; want %+v", want.Version, got, err, want)
			}
		}
		if _, err := NoticeByHash(tx, Hash{1}); !errors.Is(err, registry.ErrUnknown) {
			t.Errorf("no such notice: %v", err)
		}
		return nil
	})
	edits := map[string]func(n *Notice){
		"brand": func(n *Notice) { n.Brand = "x" }, "version": func(n *Notice) { n.Version++ }, "card": func(n *Notice) { n.Card = true }, "purposes": func(n *Notice) { n.Purposes = nil },
		"data": func(n *Notice) { n.Data = nil }, "operations": func(n *Notice) { n.Operations = []string{"x"} }, "storage": func(n *Notice) { n.Storage = []string{"x"} },
		"retention": func(n *Notice) { n.Retention++ }, "recipients": func(n *Notice) { n.Recipients = []string{"x"} }, "countries": func(n *Notice) { n.Countries = []string{"x"} },
		"classes": func(n *Notice) { n.Classes = []device.Class{device.TV} }, "layers": func(n *Notice) { n.Layers = nil }, "basis": func(n *Notice) { n.LegalBasis = "" }, "valid": func(n *Notice) { n.ValidFor-- },
	}
	for what, edit := range edits {
		n := second
		edit(&n)
		if n.Hash() == second.Hash() {
			t.Errorf("the hash does not cover %s", what)
		}
	}
	text, _ := json.Marshal(second.Hash())
	var back Hash
	if err := json.Unmarshal(text, &back); err != nil || back != second.Hash() {
		t.Errorf("a hash read back: %s, %v", back, err)
	}
	for _, bad := range []string{`"ab"`, `"` + strings.Repeat("x", 64) + `"`} {
		if err := json.Unmarshal([]byte(bad), &back); err == nil {
			t.Errorf("%s is taken for a hash", bad)
		}
	}
}

func TestCompare(t *testing.T) {
	base := Notice{Brand: "grocer", Version: 1, Purposes: []policy.Purpose{policy.Marketing, policy.Research}, Data: []string{"pd:Like"}, Operations: []string{"dpv:Use"},
		Storage: []string{"CH"}, Retention: 7, Recipients: []string{"Post"}, Countries: []string{"DE"}, Classes: []device.Class{device.TV, device.Fridge}, ValidFor: 6}
	tests := map[string]struct {
		edit              func(n *Notice)
		widened, narrowed string
	}{
		"nothing":              {func(n *Notice) {}, "", ""},
		"words":                {func(n *Notice) { n.Layers = map[string]Layers{"de": {First: "Angebote"}} }, "", ""},
		"version":              {func(n *Notice) { n.Version, n.Card = 2, true }, "", ""},
		"shorter yes":          {func(n *Notice) { n.ValidFor = 3 }, "", ""},
		"one more purpose":     {func(n *Notice) { n.Purposes = append(slices.Clone(n.Purposes), policy.Analytics) }, "purposes", ""},
		"one purpose less":     {func(n *Notice) { n.Purposes = n.Purposes[:1] }, "", "purposes"},
		"another purpose":      {func(n *Notice) { n.Purposes = []policy.Purpose{policy.Marketing, policy.Analytics} }, "purposes", "purposes"},
		"one more kind":        {func(n *Notice) { n.Data = []string{"pd:Like", "pd:Name"} }, "data", ""},
		"no data":              {func(n *Notice) { n.Data = nil }, "", "data"},
		"one more operation":   {func(n *Notice) { n.Operations = []string{"dpv:Use", "dpv:Share"} }, "operations", ""},
		"one more recipient":   {func(n *Notice) { n.Recipients = []string{"Post", "Bank"} }, "recipients", ""},
		"no recipient":         {func(n *Notice) { n.Recipients = nil }, "", "recipients"},
		"one more country":     {func(n *Notice) { n.Countries = []string{"DE", "US"} }, "countries", ""},
		"stored elsewhere":     {func(n *Notice) { n.Storage = []string{"US"} }, "countries", "countries"},
		"stored where it goes": {func(n *Notice) { n.Storage = []string{"CH", "DE"} }, "", ""},
		"longer":               {func(n *Notice) { n.Retention = 8 }, "retention", ""},
		"not so long":          {func(n *Notice) { n.Retention = 6 }, "", "retention"},
		"one more class":       {func(n *Notice) { n.Classes = append(slices.Clone(n.Classes), device.Car) }, "classes", ""},
		"one class less":       {func(n *Notice) { n.Classes = n.Classes[:1] }, "", "classes"},
		"every class":          {func(n *Notice) { n.Classes = nil }, "classes", ""},
	}
	for name, test := range tests {
		n := base
		test.edit(&n)
		widened, narrowed := Compare(base, n)
		if got := strings.Join(widened, ","); got != test.widened {
			t.Errorf("%s: widened %q, want %q", name, got, test.widened)
		}
		if got := strings.Join(narrowed, ","); got != test.narrowed {
			t.Errorf("%s: narrowed %q, want %q", name, got, test.narrowed)
		}
		if w, n2 := Compare(n, base); strings.Join(w, ",") != test.narrowed || strings.Join(n2, ",") != test.widened {
			t.Errorf("%s, the other way round: %v %v", name, w, n2)
		}
	}
	every := base
	every.Classes = nil
	if w, n := Compare(every, base); len(w) != 0 || strings.Join(n, ",") != "classes" {
		t.Errorf("from every class to two: %v %v", w, n)
	}
}

// A notice that narrows, narrows at once and for good; one that widens leaves the old yes where it is.
func TestNarrowing(t *testing.T) {
	h := openHouse(t)
	set := func(classes ...device.Class) (s policy.ClassSet) {
		for _, c := range classes {
			s = s.With(c)
		}
		return s
	}
	both := []policy.Purpose{policy.Marketing, policy.Personalised}
	issue := func(purposes []policy.Purpose, classes ...device.Class) {
		t.Helper()
		h.issue(func(n *Notice) { n.Purposes, n.Classes = purposes, classes })
	}
	stance := func(p policy.Purpose) policy.Stance {
		t.Helper()
		var all map[policy.ConsentKey]policy.Stance
		h.see(func(tx *store.Tx) (err error) { all, err = Of(tx, 1); return err })
		k := key(0)
		k.Purpose = p
		return all[k]
	}
	issue(both, device.TV, device.Fridge)
	for _, p := range both {
		e := say(0, policy.Given)
		e.Purpose = p
		h.record(e)
	}
	if got := stance(policy.Marketing); got.Classes != set(device.TV, device.Fridge) {
		t.Errorf("at first: %+v", got)
	}
	issue(both) // every class: it widens
	if got := stance(policy.Marketing); got.Choice != policy.Given || got.Classes != set(device.TV, device.Fridge) {
		t.Errorf("widened: %+v, want what was said yes to", got)
	}
	issue([]policy.Purpose{policy.Marketing}, device.TV, device.Car)
	if got := stance(policy.Marketing); got.Choice != policy.Given || got.Classes != set(device.TV) {
		t.Errorf("narrowed: %+v, want the television", got)
	}
	if got := stance(policy.Personalised); got != (policy.Stance{}) {
		t.Errorf("a purpose that is gone: %+v", got)
	}
	issue(both, device.TV, device.Fridge) // back as it was: what was narrowed stays so
	if got := stance(policy.Marketing); got.Choice != policy.Given || got.Classes != set(device.TV) {
		t.Errorf("as at first: %+v, want the television", got)
	}
	if got := stance(policy.Personalised); got != (policy.Stance{}) {
		t.Errorf("a purpose that is back: %+v", got)
	}
	issue(both, device.Car)
	if got := stance(policy.Marketing); got != (policy.Stance{}) {
		t.Errorf("narrowed to nothing: %+v", got)
	}
	// A new yes is one to the newest.
	e := say(0, policy.Given)
	h.see(func(tx *store.Tx) error {
		n, err := Newest(tx, "grocer")
		e.Notice = n.Hash()
		return err
	})
	if !h.record(e) || stance(policy.Marketing).Classes != set(device.Car) {
		t.Errorf("a new yes: %+v", stance(policy.Marketing))
	}
	// What the brand declares no more is gone, whatever its notice says.
	h.do(func(tx *store.Tx) error {
		_, err := registry.ChangeBrand(tx, "grocer", func(b *registry.Brand) { b.Purposes = []string{"personalised"} })
		return err
	})
	if got := stance(policy.Marketing); got != (policy.Stance{}) {
		t.Errorf("declared no more: %+v", got)
	}
	// A No is not narrowed.
	h.record(say(0, policy.Refused))
	if got := stance(policy.Marketing); got.Choice != policy.Refused && got.Choice != policy.Withdrawn {
		t.Errorf("a No: %+v", got)
	}
}

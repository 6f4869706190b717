package consent_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/piprate/json-gold/ld"

	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/policy"
	. "porchlight/policy/consent"
)

// Every IRI that records and receipts may contain. Those of DPV and its extension pd are in version
// 2.0 and in version 2.3, in neither of them marked as deprecated; in 2.3 WithinDevice is, and is
// not here. The profiles are those of the DPV schema for ISO/IEC TS 27560.
const dpvTerms = `
Access Adult Aggregate Analyse Anonymise Child Collect Combine CommercialResearch ConsentExpired ConsentGiven ConsentInvalidated
ConsentNotice ConsentReceipt ConsentRecord ConsentRefused ConsentRequestDeferred ConsentRequested ConsentWithdrawn Consumer Country
DataController DataSubject Derive DirectMarketing Entity Erase ExpressedConsent GuardianOfDataSubject LegalEntity
PersonalisedAdvertising Process Profiling ProvideProductRecommendations Pseudonymise Recipient RenewedConsentGiven
RequestedServiceProvision ServicePersonalisation ServiceUsageAnalytics Share Store StorageDuration StorageLocation TemporalDuration Transmit
UntilTimeDuration Use WithdrawConsent WithinPhysicalEnvironment
hasAddress hasConsentControl hasConsentStatus hasContact hasDataController hasDataSubject hasDuration hasIndicationMethod
hasLegalBasis hasLocation hasName hasNotice hasPersonalData hasProcess hasProcessing hasPurpose hasRecipient hasRecordOfActivity
hasStorageCondition isExercisedAt isIndicatedAtTime isIndicatedBy`

const pdTerms = `
AgeRange Behavioral City Communication Contact Country DeviceApplications DeviceBased DeviceOperatingSystem DeviceSoftware Dislike
EmailAddress Household IPAddress Identifier Intention Interest Language Like Location Name Opinion PhysicalAddress PostalCode
Preference PrivacyPreference Purchase PurchasesAndSpendingHabit ServiceConsumptionBehavior TVViewingBehavior TelephoneNumber
UserAgent VehicleUsage`

var otherTerms = []string{
	"http://purl.org/dc/terms/conformsTo", "http://purl.org/dc/terms/coverage", "http://purl.org/dc/terms/created", "http://purl.org/dc/terms/date",
	"http://purl.org/dc/terms/description", "http://purl.org/dc/terms/identifier", "http://purl.org/dc/terms/language",
	"http://www.w3.org/1999/02/22-rdf-syntax-ns#value",
	"http://www.w3.org/2001/XMLSchema#dateTime", "http://www.w3.org/2001/XMLSchema#duration",
	"https://w3id.org/dpv/schema/dpv-27560#receipt-eu-gdpr", "https://w3id.org/dpv/schema/dpv-27560#record-eu-gdpr",
}

func knownTerms() map[string]bool {
	all := map[string]bool{}
	for _, t := range strings.Fields(dpvTerms) {
		all["https://w3id.org/dpv#"+t] = true
	}
	for _, t := range strings.Fields(pdTerms) {
		all["https://w3id.org/dpv/pd#"+t] = true
	}
	for _, t := range otherTerms {
		all[t] = true
	}
	return all
}

// repeatedKey walks the tokens of a JSON document and returns the first key that an object has twice.
func repeatedKey(doc []byte) (string, error) {
	dec := json.NewDecoder(bytes.NewReader(doc))
	type level struct {
		keys  map[string]bool // nil in an array
		value bool            // a key has been read, and its value comes
	}
	var stack []level
	for {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return "", nil
		}
		if err != nil {
			return "", err
		}
		top := len(stack) - 1
		if top >= 0 && stack[top].keys != nil && !stack[top].value && tok != json.Delim('}') {
			key := tok.(string)
			if stack[top].keys[key] {
				return key, nil
			}
			stack[top].keys[key], stack[top].value = true, true
			continue
		}
		if top >= 0 {
			stack[top].value = false
		}
		switch tok {
		case json.Delim('{'):
			stack = append(stack, level{keys: map[string]bool{}})
		case json.Delim('['):
			stack = append(stack, level{})
		case json.Delim('}'), json.Delim(']'):
			stack = stack[:top]
		}
	}
}

func TestRepeatedKey(t *testing.T) {
	for doc, want := range map[string]string{`{"a":1,"b":{"a":["b","b",{"a":2}]},"c":"a"}`: "", `{"a":1,"b":2,"a":3}`: "a", `[{"x":{"y":1,"y":1}}]`: "y"} {
		if got, err := repeatedKey([]byte(doc)); got != want || err != nil {
			t.Errorf("%s: %q, %v; want %q", doc, got, err, want)
		}
	}
}

type noRemote struct{}

func (noRemote) LoadDocument(url string) (*ld.RemoteDocument, error) {
	return nil, fmt.Errorf("%s is asked for: nothing may be fetched", url)
}

// expand reads a document as a JSON-LD processor does, and holds it to what any must be.
func expand(t *testing.T, doc []byte) []any {
	t.Helper()
	if key, err := repeatedKey(doc); key != "" || err != nil {
		t.Fatalf("key %q is there twice, %v, in\n%s", key, err, doc)
	}
	var raw any
	if err := json.Unmarshal(doc, &raw); err != nil {
		t.Fatal(err)
	}
	opts := ld.NewJsonLdOptions("")
	opts.DocumentLoader = noRemote{}
	opts.SafeMode = true // a key that means nothing is an error
	opts.ProcessingMode = ld.JsonLd_1_1
	all, err := ld.NewJsonLdProcessor().Expand(raw, opts)
	if err != nil {
		t.Fatalf("%v, in\n%s", err, doc)
	}
	return all
}

// iris collects what a document means by its terms: keys, types, datatypes and what is referred to.
func iris(v any, into map[string]bool) {
	switch v := v.(type) {
	case []any:
		for _, x := range v {
			iris(x, into)
		}
	case map[string]any:
		for k, x := range v {
			switch k {
			case "@id", "@type":
				list, ok := x.([]any)
				if !ok {
					list = []any{x}
				}
				for _, s := range list {
					into[s.(string)] = true
				}
			case "@value", "@language":
			default:
				into[k] = true
				iris(x, into)
			}
		}
	}
}

// get follows a path of terms of DPV (or, with a colon, of dct) through an expanded document; a number
// is a place.
func get(v any, path ...string) any {
	for _, p := range path {
		switch p {
		case "@id", "@type", "@value":
		default:
			if term, ok := strings.CutPrefix(p, "dct:"); ok {
				p = "http://purl.org/dc/terms/" + term
			} else if p == "rdf:value" {
				p = "http://www.w3.org/1999/02/22-rdf-syntax-ns#value"
			} else {
				p = "https://w3id.org/dpv#" + p
			}
		}
		if list, ok := v.([]any); ok && len(list) > 0 {
			v = list[0]
		}
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[p]
	}
	return v
}

func types(v any) string {
	var names []string
	list, _ := get(v, "@type").([]any)
	for _, s := range list {
		names = append(names, strings.TrimPrefix(s.(string), "https://w3id.org/dpv#"))
	}
	return strings.Join(names, " ")
}

func (h *house) export(f func(tx *store.Tx, home device.HomeID) ([]byte, error)) (doc []byte) {
	h.t.Helper()
	h.see(func(tx *store.Tx) (err error) { doc, err = f(tx, 1); return err })
	return doc
}

// lived is a house in which everything has happened that a ledger can tell of.
func lived(t *testing.T) *house {
	h := openHouse(t)
	h.issue(func(n *Notice) {
		n.Purposes = []policy.Purpose{policy.Marketing, policy.Personalised}
		n.Data, n.Operations, n.Classes = DataTerms, OperationTerms, []device.Class{device.TV, device.Companion, device.Fridge}
		n.Storage, n.Recipients, n.Countries, n.Retention = []string{"CH"}, []string{"Post", "Bank"}, []string{"DE", "FR"}, 30
		n.Layers = map[string]Layers{"en": {First: "Offers?"}, "de": {First: "Angebote?"}}
	})
	ask := func(p device.PersonID, on device.ID, drawn []Look, reply func(r *Reply)) {
		a := h.ask(question(p), on)
		h.served(a, drawn...)
		h.answer(a, reply)
	}
	ask(0, "tv-oak", fair(), neither)                                                        // deferred
	ask(0, "tv-oak", fair(), func(r *Reply) { r.Say, r.Person = Yes, carl })                 // given
	ask(0, "tv-oak", fair(), yes)                                                            // renewed
	h.record(say(0, policy.Withdrawn))                                                       // withdrawn
	h.record(say(0, policy.Given))                                                           // given: another consent
	ask(anna, "anna-oak", []Look{{Yes, 1, 9, 400}}, yes)                                     // invalidated
	ask(anna, "anna-oak", fair(), no)                                                        // refused
	e := say(ben, policy.Given)                                                              //
	e.By, e.Classes = anna, e.Classes.With(device.TV)                                        //
	h.record(e)                                                                              // given, by a guardian
	h.record(say(carl, policy.Given))                                                        //
	h.do(func(tx *store.Tx) error { return Invalidate(tx, 1, key(carl), "told otherwise") }) //
	for _, p := range []policy.Purpose{policy.Service, policy.Recommendations, policy.Research, policy.Analytics, policy.Context} {
		no := say(gus, policy.Refused)
		no.Purpose = p
		h.record(no)
	}
	personal := say(tess, policy.Given)
	personal.Purpose = policy.Personalised
	h.record(personal)
	bakers := say(0, policy.Given)
	bakers.Brand = "baker" // to a card
	h.record(bakers)
	h.now = device.At(h.now.Time().AddDate(1, 0, 1))
	h.do(func(tx *store.Tx) error { _, err := Expire(tx, 1, h.now); return err }) // expired
	return h
}

func TestRecordsAreLinkedData(t *testing.T) {
	h := lived(t)
	known, used := knownTerms(), map[string]bool{}
	for name, doc := range map[string][]byte{"records": h.export(Records), "receipts": h.export(Receipts)} {
		all := map[string]bool{}
		iris(expand(t, doc), all)
		for term := range all {
			if local := strings.HasPrefix(term, "_:") || strings.HasPrefix(term, "urn:uuid:") || strings.HasPrefix(term, "ni:///sha-256;"); !local && !known[term] {
				t.Errorf("%s contain %s, which is not on the list", name, term)
			}
			used[term] = true
		}
	}
	for term := range known {
		if !used[term] {
			t.Errorf("%s is on the list, and nothing has it", term)
		}
	}
	for _, term := range append(slices.Clone(DataTerms), OperationTerms...) {
		iri := strings.NewReplacer("dpv:", "https://w3id.org/dpv#", "pd:", "https://w3id.org/dpv/pd#").Replace(term)
		if !known[iri] {
			t.Errorf("a notice can name %s, which is not on the list", term)
		}
	}
}

func TestRecords(t *testing.T) {
	h := lived(t)
	doc := h.export(Records)
	if again := h.export(Records); !bytes.Equal(doc, again) {
		t.Error("the same ledger makes other bytes")
	}
	records := expand(t, doc)
	// Each consent, from its first question or word to its end.
	want := []string{
		"household DirectMarketing: ConsentRequested ConsentRequestDeferred ConsentRequested ConsentGiven ConsentRequested RenewedConsentGiven ConsentWithdrawn",
		"household DirectMarketing: ConsentGiven ConsentExpired",
		"person-1 DirectMarketing: ConsentRequested ConsentInvalidated",
		"person-1 DirectMarketing: ConsentRequested ConsentRefused",
		"person-2 DirectMarketing: ConsentGiven ConsentExpired",
		"person-3 DirectMarketing: ConsentGiven ConsentInvalidated",
		"person-5 RequestedServiceProvision: ConsentRefused",
		"person-5 ProvideProductRecommendations: ConsentRefused",
		"person-5 CommercialResearch: ConsentRefused",
		"person-5 ServiceUsageAnalytics: ConsentRefused",
		"person-5 ServicePersonalisation: ConsentRefused",
		"person-6 PersonalisedAdvertising: ConsentGiven ConsentExpired",
		"household DirectMarketing: ConsentGiven ConsentExpired",
	}
	var got []string
	ids := map[string]bool{}
	for _, r := range records {
		purpose := get(r, "hasProcess", "hasPurpose", "@id").(string)
		line := fmt.Sprintf("%s %s:", get(r, "hasDataSubject", "dct:identifier", "@value"), strings.TrimPrefix(purpose, "https://w3id.org/dpv#"))
		at := ""
		for _, s := range get(r, "hasConsentStatus").([]any) {
			state, given, _ := strings.Cut(types(s), " ")
			line += " " + state
			if yes := state == "ConsentGiven" || state == "RenewedConsentGiven"; yes != (given == "ExpressedConsent") || yes != (get(s, "hasDuration", "rdf:value", "@value") != nil) {
				t.Errorf("%s: its type is %q, its end %v", state, given, get(s, "hasDuration"))
			}
			// Mandatory of an event: when, by whom, in order.
			when, _ := get(s, "isIndicatedAtTime", "@value").(string)
			if when < at || get(s, "isIndicatedBy", "@id") == nil {
				t.Errorf("%s: at %q after %q, by %v", state, when, at, get(s, "isIndicatedBy"))
			}
			at = when
		}
		got = append(got, line)
		id := get(r, "@id").(string)
		if types(r) != "ConsentRecord" || ids[id] || id != fmt.Sprint("urn:uuid:", get(r, "dct:identifier", "@value")) {
			t.Errorf("record %q of type %q, there already: %t", id, types(r), ids[id])
		}
		ids[id] = true
		for _, path := range [][]string{{"dct:conformsTo", "@id"}, {"dct:created", "@value"}, {"hasDataSubject", "@id"}, {"hasDataController", "hasName", "@value"},
			{"hasProcess", "hasLegalBasis", "@id"}, {"hasConsentControl", "isExercisedAt", "@value"}} {
			if get(r, path...) == nil {
				t.Errorf("%s: nothing at %v", line, path)
			}
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	first, child, baker := records[0], records[4], records[12]
	for what, pair := range map[string][2]any{
		"controller":        {get(first, "hasDataController", "hasName", "@value"), "Grocer AG"},
		"contact":           {get(first, "hasDataController", "hasContact", "@value"), "privacy@grocer.example"},
		"retention":         {get(first, "hasProcess", "hasStorageCondition").([]any)[1].(map[string]any)["https://w3id.org/dpv#hasDuration"].([]any)[0].(map[string]any)["http://www.w3.org/1999/02/22-rdf-syntax-ns#value"].([]any)[0].(map[string]any)["@value"], "P30D"},
		"data":              {len(get(first, "hasProcess", "hasPersonalData").([]any)), len(DataTerms)},
		"operations":        {len(get(first, "hasProcess", "hasProcessing").([]any)), len(OperationTerms)},
		"recipients":        {len(get(first, "hasProcess", "hasRecipient").([]any)), 2},
		"languages":         {len(get(first, "hasNotice", "dct:language").([]any)), 2},
		"notice":            {types(get(first, "hasNotice").([]any)[0]), "ConsentNotice"},
		"child":             {types(get(child, "hasDataSubject").([]any)[0]), "DataSubject Consumer Child"},
		"said by":           {types(get(child, "hasConsentStatus", "isIndicatedBy").([]any)[0]), "DataSubject Consumer Adult GuardianOfDataSubject"},
		"a card keeps none": {get(baker, "hasProcess", "hasPersonalData"), nil},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: %v, want %v", what, pair[0], pair[1])
		}
	}
	if bytes.Contains(doc, []byte("Anna")) || bytes.Contains(doc, []byte("Ben")) {
		t.Error("people are named")
	}
	// A home in which nothing was said has a document, too; and one whose brand has left.
	h.do(func(tx *store.Tx) error { return registry.RemoveBrand(tx, "grocer") })
	if n := len(expand(t, h.export(Records))); n != len(want) {
		t.Errorf("%d records after the brand has left", n)
	}
	h.do(func(tx *store.Tx) error { _, err := addHome(tx, "elm"); return err })
	h.see(func(tx *store.Tx) error {
		doc, err := Records(tx, 2)
		if n := len(expand(t, doc)); n != 0 {
			t.Errorf("%d records of a home that said nothing", n)
		}
		return err
	})
}

func TestReceipts(t *testing.T) {
	h := lived(t)
	records, receipts := expand(t, h.export(Records)), expand(t, h.export(Receipts))
	if len(receipts) != len(records) {
		t.Fatalf("%d receipts of %d records", len(receipts), len(records))
	}
	ids := map[any]bool{}
	for i, r := range receipts {
		inside := get(r, "hasRecordOfActivity").([]any)[0]
		if fmt.Sprint(inside) != fmt.Sprint(records[i]) {
			t.Errorf("receipt %d has another record than record %d", i, i)
		}
		if types(r) != "ConsentReceipt" || get(r, "dct:identifier") == nil || get(r, "dct:created") == nil || ids[get(r, "@id")] || get(r, "@id") == get(inside, "@id") {
			t.Errorf("receipt %d: %v", i, r)
		}
		ids[get(r, "@id")] = true
	}
	// What is over has the receipt that it had; what goes on gets another.
	h.record(say(ben, policy.Refused))
	a := h.ask(question(ben+1), "carl-oak")
	before := expand(t, h.export(Receipts))
	h.answer(a, no)
	after := expand(t, h.export(Receipts))
	if get(before[4], "@id") != get(receipts[4], "@id") || len(before) != len(receipts)+2 {
		t.Errorf("%d receipts, and that of a consent that is over is %v, was %v", len(before), get(before[4], "@id"), get(receipts[4], "@id"))
	}
	last := len(before) - 1
	if len(after) != len(before) || get(after[last], "@id") == get(before[last], "@id") || get(after[last], "hasRecordOfActivity", "@id") != get(before[last], "hasRecordOfActivity", "@id") {
		t.Error("a consent that went on has the receipt that it had")
	}
}

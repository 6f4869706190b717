package consent

import (
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/policy"
)

// DataTerms are the kinds of personal data that a notice can name: terms of DPV's extension pd. None
// of them is of a special category.
var DataTerms = []string{"pd:AgeRange", "pd:Behavioral", "pd:City", "pd:Communication", "pd:Contact", "pd:Country", "pd:DeviceApplications",
	"pd:DeviceBased", "pd:DeviceOperatingSystem", "pd:DeviceSoftware", "pd:Dislike", "pd:EmailAddress", "pd:Household", "pd:IPAddress",
	"pd:Identifier", "pd:Intention", "pd:Interest", "pd:Language", "pd:Like", "pd:Location", "pd:Name", "pd:Opinion", "pd:PhysicalAddress",
	"pd:PostalCode", "pd:Preference", "pd:PrivacyPreference", "pd:Purchase", "pd:PurchasesAndSpendingHabit", "pd:ServiceConsumptionBehavior",
	"pd:TVViewingBehavior", "pd:TelephoneNumber", "pd:UserAgent", "pd:VehicleUsage"}

// OperationTerms are what a notice can name as being done with data: terms of DPV.
var OperationTerms = []string{"dpv:Access", "dpv:Aggregate", "dpv:Analyse", "dpv:Anonymise", "dpv:Collect", "dpv:Combine", "dpv:Derive",
	"dpv:Erase", "dpv:Profiling", "dpv:Pseudonymise", "dpv:Share", "dpv:Store", "dpv:Transmit", "dpv:Use"}

// purposeTerms are DPV's names of our purposes.
var purposeTerms = map[policy.Purpose]string{
	policy.Service: "dpv:RequestedServiceProvision", policy.Marketing: "dpv:DirectMarketing", policy.Personalised: "dpv:PersonalisedAdvertising",
	policy.Recommendations: "dpv:ProvideProductRecommendations", policy.Research: "dpv:CommercialResearch", policy.Analytics: "dpv:ServiceUsageAnalytics",
	policy.Context: "dpv:ServicePersonalisation",
}

// statusTerms are DPV's names of our states. That something was drawn is no state of a consent.
var statusTerms = map[State]string{
	Requested: "dpv:ConsentRequested", Deferred: "dpv:ConsentRequestDeferred", Refused: "dpv:ConsentRefused", Given: "dpv:ConsentGiven",
	Renewed: "dpv:RenewedConsentGiven", Withdrawn: "dpv:ConsentWithdrawn", Expired: "dpv:ConsentExpired", Invalidated: "dpv:ConsentInvalidated",
}

// The profiles of ISO/IEC TS 27560 in DPV.
const (
	recordProfile  = "https://w3id.org/dpv/schema/dpv-27560#record-eu-gdpr"
	receiptProfile = "https://w3id.org/dpv/schema/dpv-27560#receipt-eu-gdpr"
)

// History lists every event of a home's ledger that has not been erased, the oldest first.
func History(tx *store.Tx, home device.HomeID) (all []Entry, err error) {
	for ev, err := range tx.Journal(store.Filter{Home: &home, Kind: func(kind string) bool { return trim(kind) != "" }}) {
		if err != nil {
			return nil, err
		}
		if ev.Erased {
			continue
		}
		e, err := entry(ev)
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	slices.Reverse(all)
	return all, nil
}

// entry reads an event of the ledger.
func entry(ev store.Event) (e Entry, err error) {
	err = json.Unmarshal(ev.Body, &e)
	e.Home, e.State, e.At, e.Pos = ev.Home, State(trim(ev.Kind)), ev.At, ev.Pos
	e.Choice = choices[e.State]
	if e.State == Requested && err == nil {
		var a Ask
		err = json.Unmarshal(ev.Body, &a)
		e.Served, e.Method = a.ID, "ask"
	}
	if err != nil {
		err = fmt.Errorf("event %d of home %d, %s: %w", ev.Pos, ev.Home, ev.Kind, err)
	}
	return e, err
}

// record is one consent, from the first thing said of it to its end.
type record struct {
	id     string // UUID
	events []Entry
	notice Hash
}

// over reports whether the record has come to its end: what follows is another consent.
func (r *record) over() bool {
	switch r.events[len(r.events)-1].State {
	case Withdrawn, Expired, Invalidated:
		return true
	}
	return false
}

// recordsOf sorts a ledger into consents, by when each began.
func recordsOf(ledger []Entry) []*record {
	var all []*record
	open := map[policy.ConsentKey]*record{}
	for _, e := range ledger {
		if e.State == Drawn {
			continue
		}
		r := open[e.Key()]
		if r == nil || r.over() {
			sum := sha256.Sum256(fmt.Appendf(nil, "consent record %d %d %d %s %s", e.Pos, e.At, e.Subject, e.Brand, e.Purpose))
			sum[6], sum[8] = sum[6]&0x0f|0x80, sum[8]&0x3f|0x80 // a UUID of version 8, RFC 9562
			r = &record{id: device.MessageID(sum[:16]).String()}
			open[e.Key()] = r
			all = append(all, r)
		}
		r.events = append(r.events, e)
		if e.Notice != (Hash{}) {
			r.notice = e.Notice
		}
	}
	return all
}

// node is a JSON-LD object. Its keys are written in order, and none twice.
type node = map[string]any

func iri(s string) node      { return node{"@id": s} }
func typed(v, t string) node { return node{"@value": v, "@type": t} }
func when(i device.Instant) node {
	return typed(i.Time().Format("2006-01-02T15:04:05.000Z"), "xsd:dateTime")
}

// context is written into each document, so that nobody has to fetch one.
func context() node {
	return node{"dct": "http://purl.org/dc/terms/", "dpv": "https://w3id.org/dpv#", "pd": "https://w3id.org/dpv/pd#",
		"rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#", "xsd": "http://www.w3.org/2001/XMLSchema#"}
}

// Records are the consent records of a home as JSON-LD, after ISO/IEC TS 27560 in terms of DPV 2: one
// for each consent from the first question or word to its end, the oldest first. The same ledger
// makes the same bytes. People are numbers in it.
func Records(tx *store.Tx, home device.HomeID) ([]byte, error) {
	nodes, err := recordNodes(tx, home)
	if err != nil {
		return nil, fmt.Errorf("consent records of home %d: %w", home, err)
	}
	return document(nodes)
}

// Receipts are one receipt for each record of [Records], each with a copy of it. They say that they
// were made at the time of the last event that they know of.
func Receipts(tx *store.Tx, home device.HomeID) ([]byte, error) {
	nodes, err := recordNodes(tx, home)
	if err != nil {
		return nil, fmt.Errorf("consent receipts of home %d: %w", home, err)
	}
	for i, n := range nodes {
		raw, err := json.Marshal(n)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(raw) // another receipt as soon as the record says something else
		sum[6], sum[8] = sum[6]&0x0f|0x80, sum[8]&0x3f|0x80
		id := device.MessageID(sum[:16]).String()
		events := n["dpv:hasConsentStatus"].([]node)
		nodes[i] = node{
			"@id": "urn:uuid:" + id, "@type": "dpv:ConsentReceipt",
			"dct:identifier":          id,
			"dct:conformsTo":          iri(receiptProfile),
			"dct:created":             events[len(events)-1]["dpv:isIndicatedAtTime"],
			"dpv:hasRecordOfActivity": n,
		}
	}
	return document(nodes)
}

func document(nodes []node) ([]byte, error) {
	if nodes == nil {
		nodes = []node{}
	}
	return json.MarshalIndent(node{"@context": context(), "@graph": nodes}, "", " ")
}

func recordNodes(tx *store.Tx, home device.HomeID) ([]node, error) {
	ledger, err := History(tx, home)
	if err != nil {
		return nil, err
	}
	people, err := registry.People(tx, home)
	if err != nil {
		return nil, err
	}
	var nodes []node
	for _, r := range recordsOf(ledger) {
		var n Notice
		if r.notice != (Hash{}) {
			if n, err = NoticeByHash(tx, r.notice); err != nil && !errors.Is(err, registry.ErrUnknown) { // of another gateway
				return nil, err
			}
		}
		party, err := controller(tx, r.events[0].Brand)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, r.node(n, party, people))
	}
	return nodes, nil
}

// controller is the brand as DPV's controller.
func controller(tx *store.Tx, id device.BrandID) (node, error) {
	var name, legal, contact, country string
	err := tx.QueryRow(`SELECT name, legal, contact, country FROM brand WHERE id = ?`, id).Scan(&name, &legal, &contact, &country) // also one that has left
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("brand %s: %w", id, err)
	}
	n := node{"@id": "_:brand-" + string(id), "@type": []string{"dpv:LegalEntity", "dpv:DataController"}, "dct:identifier": string(id), "dpv:hasName": name}
	if name == "" { // of another gateway
		n["dpv:hasName"] = string(id)
	}
	if legal != "" {
		n["dpv:hasName"] = legal
	}
	if contact != "" {
		n["dpv:hasContact"] = contact
	}
	if country != "" {
		n["dpv:hasAddress"] = country
	}
	return n, nil
}

// subject is somebody of the home as DPV's data subject.
func subject(id device.PersonID, people []registry.Person) node {
	if id == device.Household {
		return node{"@id": "_:household", "@type": []string{"dpv:DataSubject", "dpv:Consumer"}, "dct:identifier": "household"}
	}
	name := fmt.Sprintf("person-%d", id)
	types := []string{"dpv:DataSubject", "dpv:Consumer"}
	if p, err := find(people, id); err == nil {
		switch {
		case p.Age == device.Adult:
			types = append(types, "dpv:Adult")
		case p.Age == device.Child:
			types = append(types, "dpv:Child")
		}
	}
	return node{"@id": "_:" + name, "@type": types, "dct:identifier": name}
}

func (r *record) node(n Notice, party node, people []registry.Person) node {
	first := r.events[0]
	process := node{
		"@type":             "dpv:Process",
		"dpv:hasPurpose":    iri(purposeTerms[first.Purpose]),
		"dpv:hasLegalBasis": iri("dpv:ExpressedConsent"),
	}
	if n.Version > 0 {
		places := []node{iri("dpv:WithinPhysicalEnvironment")} // the home
		if len(n.Storage) > 0 {
			places = countries(n.Storage)
		}
		process["dpv:hasStorageCondition"] = []node{
			{"@type": "dpv:StorageLocation", "dpv:hasLocation": places},
			{"@type": "dpv:StorageDuration", "dpv:hasDuration": node{"@type": "dpv:TemporalDuration", "rdf:value": typed(fmt.Sprintf("P%dD", n.Retention), "xsd:duration")}},
		}
		if len(n.Data) > 0 {
			process["dpv:hasPersonalData"] = iris(n.Data)
		}
		if len(n.Operations) > 0 {
			process["dpv:hasProcessing"] = iris(n.Operations)
		}
		if len(n.Countries) > 0 {
			process["dpv:hasLocation"] = countries(n.Countries)
		}
		if len(n.Classes) > 0 {
			process["dct:description"] = "on " + strings.Join(names(n.Classes), ", ")
		}
		var recipients []node
		for _, name := range n.Recipients {
			recipients = append(recipients, node{"@type": []string{"dpv:LegalEntity", "dpv:Recipient"}, "dpv:hasName": name})
		}
		if recipients != nil {
			process["dpv:hasRecipient"] = recipients
		}
	}
	var events []node
	for _, e := range r.events {
		events = append(events, e.node(party, people))
	}
	rec := node{
		"@id": "urn:uuid:" + r.id, "@type": "dpv:ConsentRecord",
		"dct:identifier":        r.id,
		"dct:conformsTo":        iri(recordProfile),
		"dct:created":           when(first.At),
		"dpv:hasDataSubject":    subject(first.Subject, people),
		"dpv:hasDataController": party,
		"dpv:hasProcess":        process,
		"dpv:hasConsentControl": node{"@type": "dpv:WithdrawConsent", "dpv:isExercisedAt": "any screen of the home"},
		"dpv:hasConsentStatus":  events,
	}
	if n.Version > 0 {
		rec["dpv:hasNotice"] = n.node()
	}
	return rec
}

// node is the notice as DPV's; its IRI is its hash, RFC 6920.
func (n Notice) node() node {
	h := n.Hash()
	out := node{
		"@id": "ni:///sha-256;" + base64.RawURLEncoding.EncodeToString(h[:]), "@type": "dpv:ConsentNotice",
		"dct:identifier": hex.EncodeToString(h[:]),
		"dct:date":       when(n.Issued),
		"dct:coverage":   fmt.Sprintf("%s/P%dM", n.Issued, n.ValidFor),
	}
	var languages []string
	for lang := range n.Layers {
		languages = append(languages, lang)
	}
	slices.Sort(languages)
	if languages != nil {
		out["dct:language"] = languages
	}
	return out
}

// node is the event as DPV's status of a consent.
func (e Entry) node(party node, people []registry.Person) node {
	n := node{"@type": []string{statusTerms[e.State]}, "dpv:isIndicatedAtTime": when(e.At)}
	switch e.State {
	case Requested:
		n["dpv:isIndicatedBy"] = iri(party["@id"].(string))
	case Expired, Invalidated:
		n["dpv:isIndicatedBy"] = node{"@id": "_:gateway", "@type": "dpv:Entity", "dct:identifier": "gateway"}
	default:
		by := e.By
		if by == device.Household {
			by = e.Subject
		}
		who := subject(by, people)
		if by != e.Subject && e.Subject != device.Household {
			who["@type"] = append(who["@type"].([]string), "dpv:GuardianOfDataSubject")
		}
		n["dpv:isIndicatedBy"] = who
	}
	if e.Choice == policy.Given {
		n["@type"] = []string{statusTerms[e.State], "dpv:ExpressedConsent"}
		n["dpv:hasDuration"] = node{"@type": "dpv:UntilTimeDuration", "rdf:value": when(e.Until)}
		if e.Classes != 0 {
			var on []string
			for c := range device.Class(maxClass) {
				if e.Classes.Has(c) {
					on = append(on, c.String())
				}
			}
			n["dct:description"] = "on " + strings.Join(on, ", ")
		}
	}
	var how []string
	for _, s := range []string{e.Method, string(e.Device), e.Why} {
		if s != "" {
			how = append(how, s)
		}
	}
	if how != nil {
		n["dpv:hasIndicationMethod"] = strings.Join(how, ", ")
	}
	return n
}

func iris(terms []string) []node {
	var all []node
	for _, t := range terms {
		all = append(all, iri(t))
	}
	return all
}

func countries(codes []string) []node {
	var all []node
	for _, c := range codes {
		all = append(all, node{"@type": "dpv:Country", "dct:identifier": c})
	}
	return all
}

package delivery

import (
	"archive/zip"
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"porchlight/device"
	"porchlight/device/ledger"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/device/wire"
	"porchlight/policy"
	"porchlight/policy/consent"
)

// lived is a home in which much has happened to everybody, and to two brands.
type lived struct {
	*world
	id               device.HomeID
	tv, fridge, a, b *hand // Anna's and Ben's phones
	cinema           registry.Brand
}

// The names that are looked for in the files.
const (
	annaName, benName, carlaName = "Annabelle Marker", "Benedict Marker", "Carla Marker"
	tvName, aName, bName         = "Marker Television", "Marker Phone of A", "Marker Phone of B"
)

func (w *world) lives() *lived {
	w.t.Helper()
	l := &lived{world: w, cinema: registry.Brand{ID: "cinemarker", Name: "Cinema", Domain: "cinema.example", Purposes: []string{"marketing", "service"}, Quota: 50}}
	_, err := w.desk.AddBrand(w.t.Context(), l.cinema)
	w.must(err)
	h, devices, err := w.desk.AddHome(w.t.Context(), HomeSpec{Name: "oak", Zone: "Europe/Zurich",
		People: []PersonSpec{{Name: annaName, Age: device.Adult, Languages: []string{"de"}}, {Name: benName, Age: device.Adult}, {Name: carlaName, Age: device.Child, Guardians: []string{annaName, benName}}},
		Rooms:  []string{"Marker Room"}, Caps: []policy.Cap{},
		Devices: []DeviceSpec{{ID: "tv-marker", Class: device.TV, Name: tvName, Room: "Marker Room", Controller: true}, {ID: "fridge-marker", Class: device.Fridge, Name: "Marker Fridge", Controller: true},
			{ID: "phone-a-marker", Class: device.Companion, Name: aName, Owner: annaName, Controller: true}, {ID: "phone-b-marker", Class: device.Companion, Name: bName, Owner: benName, Controller: true}}})
	w.must(err)
	l.id = h.ID
	hands := map[device.ID]*hand{}
	for _, dev := range devices {
		hands[dev.ID] = w.hand(dev.Device)
		hands[dev.ID].connect()
	}
	l.tv, l.fridge, l.a, l.b = hands["tv-marker"], hands["fridge-marker"], hands["phone-a-marker"], hands["phone-b-marker"]
	w.wait()
	// Choices, by several and on several devices.
	for _, b := range []device.BrandID{"grocer", l.cinema.ID} {
		for _, who := range []string{"", annaName, benName} {
			w.must(w.desk.Choose(w.t.Context(), "oak", who, b, policy.Marketing, policy.Given))
		}
	}
	l.says(consent.Entry{Subject: 0, By: 1, Brand: "grocer", Purpose: policy.Service, Choice: policy.Refused, Device: l.a.id, Method: "settings"})
	l.says(consent.Entry{Subject: 0, By: 1, Brand: l.cinema.ID, Purpose: policy.Service, Choice: policy.Given, Device: l.tv.id, Method: "settings"})
	l.says(consent.Entry{Subject: 3, By: 1, Brand: "grocer", Purpose: policy.Service, Choice: policy.Given, Device: l.a.id, Method: "settings"})
	l.says(consent.Entry{Subject: 2, Brand: l.cinema.ID, Purpose: policy.Service, Choice: policy.Refused, Device: l.b.id, Method: "settings"})
	// An ask, drawn, and put off.
	l.record(func(tx *store.Tx) error {
		a, err := consent.Request(tx, consent.Question{Home: l.id, Subject: 1, Brand: l.cinema.ID, Purpose: policy.Service}, l.a.id, time.Minute, consent.Budget{})
		if err == nil {
			err = consent.Served(tx, l.id, consent.Serving{Ask: a.ID, Device: l.a.id, Controls: []consent.Look{{Control: consent.Yes, Presses: 1}, {Control: consent.No, Presses: 1}}})
		}
		if err == nil {
			_, err = consent.Answer(tx, l.id, consent.Reply{Ask: a.ID, Device: l.a.id, Why: consent.ByBack})
		}
		return err
	})
	// Preferences, of which some name people, devices and brands; and one that was replaced.
	mutes := []NamedMute{{NamedSelector: NamedSelector{Category: "mutemarker-old"}}}
	w.must(w.desk.SetPreferences(w.t.Context(), "oak", Preferences{Mutes: mutes}))
	mutes = []NamedMute{{NamedSelector: NamedSelector{Category: "mutemarker-home"}}, {NamedSelector: NamedSelector{Category: "mutemarker-anna"}, Owner: annaName},
		{NamedSelector: NamedSelector{Brand: l.cinema.ID, Category: "mutemarker-cinema"}}, {NamedSelector: NamedSelector{Device: aName, Category: "mutemarker-phone"}}}
	w.must(w.desk.SetPreferences(w.t.Context(), "oak", Preferences{Mutes: mutes, Quiet: []NamedQuiet{{From: "03:11", To: "03:12", Zone: "Asia/Kathmandu", Owner: annaName}, {From: "04:11", To: "04:12", Zone: "Asia/Kolkata"}}}))
	// Deliveries: in front of one, of both, on a phone; two of them dismissed, so that something is learnt.
	l.watch("1 2", "grocer", "Marker milk for both", device.TV)
	l.watch("1", "grocer", "Marker milk for Anna", device.TV)
	l.watch("2", l.cinema.ID, "Marker film for Ben", device.TV)
	l.watch("2", "grocer", "Marker milk in the kitchen", device.Fridge)
	l.watch("", "grocer", "Marker milk on the phone", device.Companion)
	w.must(w.desk.Forget(w.t.Context(), "oak", l.cinema.ID))
	w.pass(time.Second)
	return l
}

// says writes a choice down as if it had been made on a device.
func (l *lived) says(e consent.Entry) {
	l.t.Helper()
	e.Home = l.id
	d := l.desk.As(deviceAt(e.Device, "192.0.2.7"))
	l.must(d.in(l.id, func(h *home) error {
		return d.record(h, func(tx *store.Tx) error { _, err := consent.Record(tx, e); return err })
	}))
}

func (l *lived) record(f func(tx *store.Tx) error) {
	l.t.Helper()
	l.must(l.desk.in(l.id, func(h *home) error { return l.desk.record(h, f) }))
}

// watch has a message shown to those people and dismissed.
func (l *lived) watch(who string, brand device.BrandID, text string, class device.Class) {
	l.t.Helper()
	h := map[device.Class]*hand{device.TV: l.tv, device.Fridge: l.fridge, device.Companion: l.a}[class]
	if who != "" {
		h.tell(map[string]any{"presence.who": who})
	}
	b := l.brand
	if brand == l.cinema.ID {
		b = l.cinema
	}
	s := l.good()
	s.Texts[0].Body, s.Classes = text, []device.Class{class}
	if strings.Contains(text, "both") { // decided by what another device has told
		s.When = []SubmissionCondition{{Class: device.Fridge, Attribute: "door.open", Op: policy.EQ, Value: false}}
	}
	s.Buttons = []SubmissionButton{{ID: 7, Label: map[string]string{"en": "Marker button"}}}
	l.n++
	a, err := l.desk.Accept(l.t.Context(), b, fmt.Sprint("key-", l.n), s)
	l.must(err)
	l.wait()
	on := h
	if class == device.Companion && len(h.screen()) == 0 {
		on = l.b
	}
	on.mustShow(a.ID)
	l.pass(time.Second)
	if answer := uint(7); strings.Contains(text, "both") {
		on.ends(a.ID, wire.Event{Kind: wire.Responded, Response: &answer})
	} else {
		on.ends(a.ID, wire.Event{Kind: wire.Dismissed})
	}
}

// files are the bytes of the database's files, as another process sees them: to close them in this one would end SQLite's locks.
func (w *world) files() map[string][]byte {
	w.t.Helper()
	all := map[string][]byte{}
	for _, suffix := range []string{"", "-wal", "-shm", ".keys", ".keys-journal", ".keys-wal"} {
		if _, err := os.Stat(w.path + suffix); err != nil {
			continue
		}
		raw, err := exec.Command("cat", w.path+suffix).Output()
		w.must(err)
		all[suffix] = raw
	}
	return all
}

// found lists which of traces are in the files.
func (w *world) found(traces map[string][]byte) (all []string) {
	w.t.Helper()
	files := w.files()
	for what, trace := range traces {
		for suffix, raw := range files {
			if len(trace) > 0 && bytes.Contains(raw, trace) {
				all = append(all, fmt.Sprintf("%s in p.db%s", what, suffix))
			}
		}
	}
	slices.Sort(all)
	return all
}

// events lists a home's book.
func (w *world) events(home device.HomeID) (all []store.Event) {
	w.t.Helper()
	w.must(w.db.Events(w.t.Context(), home, 0, func(e store.Event) error { all = append(all, e); return nil }))
	return all
}

// sealed are the seals of the events that match, which must be gone once they are erased.
func (l *lived) sealed(match func(store.Event) bool) map[string][]byte {
	all := map[string][]byte{}
	for _, e := range l.events(l.id) {
		if !e.Erased && match(e) {
			n := len(e.Entry.Sealed)
			all[fmt.Sprintf("seal of %d %s", e.Pos, e.Kind)] = e.Entry.Sealed[n-min(n, 24):]
			all[fmt.Sprintf("salt of %d %s", e.Pos, e.Kind)] = e.Entry.Salt
		}
	}
	return all
}

// spells reports whether an event says something that contains text.
func spells(texts ...string) func(store.Event) bool {
	return func(e store.Event) bool {
		return slices.ContainsFunc(texts, func(s string) bool {
			return bytes.Contains(e.Body, []byte(s)) || strings.Contains(string(e.Actor), s)
		})
	}
}

func ofKind(prefixes ...string) func(store.Event) bool {
	return func(e store.Event) bool {
		return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(e.Kind, p) })
	}
}

// rows counts what a query counts.
func (w *world) count(query string, args ...any) (n int) {
	w.t.Helper()
	w.must(w.db.View(w.t.Context(), func(tx *store.Tx) error { return tx.QueryRow(query, args...).Scan(&n) }))
	return n
}

// Each kind of erasure leaves nothing of what it is about in the files, and everything else as it was.
func TestErase(t *testing.T) {
	text := func(all ...string) map[string][]byte {
		m := map[string][]byte{}
		for _, s := range all {
			m["text "+s] = []byte(s)
		}
		return m
	}
	tests := map[string]struct {
		what   Erasure
		traces map[string][]byte      // that are in the files before, and not after
		hidden func(store.Event) bool // events whose seals must be gone
		stays  []string               // texts that some event says before and after
		check  func(l *lived)
	}{
		"a person": {
			what:   Erasure{Person: annaName, Devices: true},
			traces: text(annaName, aName, "phone-a-marker", "mutemarker-anna", "mutemarker-phone", "Asia/Kathmandu"),
			hidden: spells(annaName, aName, "phone-a-marker", "mutemarker-anna", "Kathmandu", `"subject":1,`, `"who":[1`),
			stays:  []string{benName, carlaName, tvName, "mutemarker-home", "Asia/Kolkata"},
			check: func(l *lived) {
				people, err := l.desk.People(l.t.Context(), "oak")
				if err != nil || len(people) != 2 || len(people[1].Guardians) != 1 {
					l.t.Errorf("people: %+v, %v, want Ben, and Carla with one guardian", people, err)
				}
				p, err := l.desk.AddPerson(l.t.Context(), "oak", PersonSpec{Name: "Dora", Age: device.Adult})
				if err != nil || p.ID != 4 {
					l.t.Errorf("the next person has the number %d, %v, want 4", p.ID, err)
				}
				all, err := l.desk.InForce(l.t.Context(), "oak")
				for _, e := range all {
					if e.Pos > 0 && e.Brand == "grocer" && e.Purpose == policy.Service && (e.Person != "" || e.State != consent.Refused) {
						l.t.Errorf("a yes that a guardian said stands without them: %+v", e)
					}
				}
				if err != nil || !slices.ContainsFunc(all, func(e ConsentEvent) bool {
					return e.Brand == "grocer" && e.Purpose == policy.Service && e.Person == "" && e.State == consent.Refused && e.Device == ""
				}) {
					l.t.Errorf("the home's no is gone: %+v, %v", all, err)
				}
			},
		},
		"a brand": {
			what:   Erasure{Brand: "cinemarker"},
			traces: text("mutemarker-cinema"),
			hidden: spells("cinemarker"),
			stays:  []string{annaName, "mutemarker-home", "mutemarker-anna", `"brand":"grocer"`},
			check: func(l *lived) {
				if n := l.count(`SELECT (SELECT count(*) FROM consent WHERE home > 0 AND brand = ?) + (SELECT count(*) FROM delivery WHERE brand = ?)
					+ (SELECT count(*) FROM consent_ask WHERE brand = ?) + (SELECT count(*) FROM held WHERE brand = ?) + (SELECT count(*) FROM withdrawal WHERE brand = ?)
					+ (SELECT count(*) FROM preference WHERE body LIKE ?)`, l.cinema.ID, l.cinema.ID, l.cinema.ID, l.cinema.ID, l.cinema.ID, "%cinemarker%"); n != 0 {
					l.t.Errorf("%d rows of the brand are left", n)
				}
			},
		},
		"a device": {
			what:   Erasure{Device: tvName},
			traces: text(tvName, "tv-marker"),
			hidden: spells(tvName, "tv-marker"),
			stays:  []string{annaName, aName, "mutemarker-phone", "fridge-marker"},
			check: func(l *lived) {
				all, err := l.desk.InForce(l.t.Context(), "oak")
				if err != nil || !slices.ContainsFunc(all, func(e ConsentEvent) bool {
					return e.Brand == l.cinema.ID && e.Purpose == policy.Service && e.Person == "" && e.State == consent.Given && e.Device == "" && e.By == annaName && e.Until != 0
				}) {
					l.t.Errorf("what was said on the device does not stand any more: %+v, %v", all, err)
				}
			},
		},
		"another device": {
			what:   Erasure{Device: "fridge-marker"},
			traces: text("Marker Fridge", "fridge-marker"),
			hidden: spells("Marker Fridge", "fridge-marker"),
			stays:  []string{annaName, aName, tvName, "Marker Room"},
			check:  func(l *lived) {},
		},
		"choices": {
			what:   Erasure{Data: ConsentData},
			hidden: ofKind("consent.given", "consent.refused", "consent.withdrawn", "withdrawal."),
			stays:  []string{annaName, "mutemarker-home", `"message":`},
			check: func(l *lived) {
				if n := l.count(`SELECT (SELECT count(*) FROM consent) + (SELECT count(*) FROM withdrawal)`); n != 0 {
					l.t.Errorf("%d choices are left", n)
				}
			},
		},
		"deliveries": {
			what:   Erasure{Data: DeliveryData},
			hidden: ofKind("delivery.claimed", "delivery.presented", "delivery.settled", "delivery.held"),
			stays:  []string{annaName, "mutemarker-home", `"purpose":"marketing"`},
			check: func(l *lived) {
				if n := l.count(`SELECT count(*) FROM delivery WHERE device <> '' OR presented <> 0 OR who <> '[]'`); n != 0 {
					l.t.Errorf("%d deliveries are left", n)
				}
			},
		},
		"preferences": {
			what:   Erasure{Data: PreferenceData},
			traces: text("mutemarker-home", "mutemarker-anna", "mutemarker-cinema", "Asia/Kathmandu", "Asia/Kolkata"),
			hidden: spells("mutemarker", "Asia/"),
			stays:  []string{annaName, `"purpose":"marketing"`},
			check: func(l *lived) {
				p, err := l.desk.Preferences(l.t.Context(), "oak")
				if err != nil || len(p.Mutes)+len(p.Quiet) != 0 || len(p.Caps) != len(DefaultCaps()) {
					l.t.Errorf("preferences: %+v, %v, want the default ones", p, err)
				}
			},
		},
		"what was learnt": {
			what: Erasure{Data: LearntData},
			hidden: func(e store.Event) bool {
				return e.Kind == "preference.noticed" || e.Kind == "preference.set" && bytes.Contains(e.Body, []byte("forgotten"))
			},
			stays: []string{annaName, "mutemarker-home", `"message":`},
			check: func(l *lived) {
				if all, err := l.desk.Learnt(l.t.Context(), "oak", WhyOptions{}); err != nil || len(all) != 0 {
					l.t.Errorf("learnt: %+v, %v, want nothing", all, err)
				}
			},
		},
		"asks": {
			what:   Erasure{Data: AskData},
			hidden: ofKind("consent.requested", "consent.served", "consent.deferred"),
			stays:  []string{annaName, "mutemarker-home", `"message":`},
			check: func(l *lived) {
				if n := l.count(`SELECT count(*) FROM consent_ask`); n != 0 {
					l.t.Errorf("%d asks are left", n)
				}
			},
		},
		"a period": {
			what:   Erasure{Before: device.Instant(1) << 50},
			traces: text("mutemarker-old"),
			hidden: func(e store.Event) bool {
				return ofKind("delivery.", "consent.requested", "consent.deferred")(e) || spells("mutemarker-old")(e)
			},
			stays: []string{annaName, tvName, aName, "mutemarker-home", "mutemarker-anna", `"purpose":"marketing"`},
			check: func(l *lived) {},
		},
		"a brand in a period": {
			what:   Erasure{Brand: "cinemarker", Before: device.Instant(1) << 50},
			hidden: func(e store.Event) bool { return ofKind("delivery.claimed")(e) && spells("cinemarker")(e) },
			stays:  []string{annaName, "mutemarker-home", "mutemarker-cinema", `"brand":"grocer"`},
			check:  func(l *lived) {},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				l := w.lives()
				traces := maps.Clone(test.traces)
				if traces == nil {
					traces = map[string][]byte{}
				}
				for what := range traces {
					if len(w.found(map[string][]byte{what: traces[what]})) == 0 && !strings.HasPrefix(what, "text mutemarker-old") {
						t.Errorf("the %s is in no file to begin with", what)
					}
				}
				seals := l.sealed(test.hidden)
				if len(seals) == 0 {
					t.Fatal("nothing is to be erased")
				}
				maps.Copy(traces, seals)
				before, err := w.db.Head(w.t.Context(), l.id)
				w.must(err)
				choices, err := w.desk.InForce(w.t.Context(), "oak")
				w.must(err)
				version := w.version(l.id)
				what := test.what
				what.Home, what.Try = "oak", true
				would, err := w.desk.Erase(w.t.Context(), what)
				w.must(err)
				if got := w.events(l.id); len(got) != int(before.Size) || slices.ContainsFunc(got, func(e store.Event) bool { return e.Erased }) {
					t.Errorf("to try erased something: %d events, want %d", len(got), before.Size)
				}
				what.Try = false
				done, err := w.desk.Erase(w.t.Context(), what)
				w.must(err)
				w.wait()
				erased := 0 // of what was there before
				for _, e := range w.events(l.id) {
					if e.Erased && e.Pos <= before.Size {
						erased++
					}
				}
				if erased < len(seals)/2 || would.Events != erased || done.Events != erased {
					t.Errorf("%d events are erased, %d would have been, %d were told; %d must be", erased, would.Events, done.Events, len(seals)/2)
				}
				if left := w.found(traces); len(left) > 0 {
					t.Errorf("traces are left: %q", left)
				}
				after := w.events(l.id)
				for _, e := range after {
					if !e.Erased && test.hidden(e) && e.Pos <= before.Size && !slices.Contains([]Data{LearntData}, what.Data) && what.Before == 0 {
						t.Errorf("position %d, %s, is not erased: %s", e.Pos, e.Kind, e.Body)
					}
				}
				audit, err := w.desk.Audit(w.t.Context(), AuditAsked{Home: "oak"})
				if err != nil || len(audit) == 0 {
					t.Errorf("audit: %d entries, %v", len(audit), err)
				}
				for _, a := range audit { // whoever did it is erased with it, and it was not the gateway
					if bytes.Contains(a.Fact, []byte(`"erased"}`)) && a.Actor != "erased" {
						t.Errorf("the audit says of what is erased that %q did it", a.Actor)
					}
				}
				for _, s := range test.stays {
					if !slices.ContainsFunc(after, func(e store.Event) bool { return !e.Erased && spells(s)(e) }) {
						t.Errorf("%s is gone, too", s)
					}
				}
				if what.Before != 0 { // what stands, stands
					if now, err := w.desk.InForce(w.t.Context(), "oak"); err != nil || fmt.Sprint(now) != fmt.Sprint(choices) {
						t.Errorf("choices in force: %+v, %v, want %+v", now, err, choices)
					}
				}
				w.pass(time.Second) // the documents are on their way
				if now := w.version(l.id); now <= version {
					t.Errorf("the version of what devices are shown was %d and is %d", version, now)
				}
				test.check(l)
				w.pass(time.Second) // so are those of what it has changed
				w.grown(l.id, before)
				w.memory()
				for _, h := range []*hand{l.tv, l.fridge, l.b} {
					if h.up != nil && !closed(h.up) && h.twin.Version != uint64(w.version(l.id)) {
						t.Errorf("the %s has version %d of its document, want %d", h.class, h.twin.Version, w.version(l.id))
					}
				}
				if again, err := w.desk.Erase(w.t.Context(), Erasure{Home: "oak", Data: what.Data, Brand: what.Brand, Before: what.Before}); what.Person == "" && what.Device == "" && (err != nil || again.Events > 1) {
					t.Errorf("erased again: %d events, %v, want none but what says what is not to be shown again", again.Events, err)
					for i, e := range w.events(l.id) {
						if e.Erased && !after[min(i, len(after)-1)].Erased {
							t.Log(e.Pos, e.Kind, string(after[min(i, len(after)-1)].Body))
						}
					}
				}
			})
		})
	}
}

func closed(p *plug) bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (w *world) version(home device.HomeID) (v int) {
	w.t.Helper()
	return w.count(`SELECT wishes FROM home WHERE id = ?`, home)
}

// grown checks that the home's log still begins as it did, and is whole.
func (w *world) grown(home device.HomeID, was ledger.Head) {
	w.t.Helper()
	w.must(w.db.View(w.t.Context(), func(tx *store.Tx) error {
		log, err := tx.Log(home)
		if err != nil {
			return err
		}
		path, err := ledger.ProveGrowth(log.Leaves, was.Size)
		if err != nil {
			return err
		}
		if err := ledger.CheckGrowth(path, was, log.Head(tx.Now)); err != nil {
			return err
		}
		x, err := tx.Export(home)
		if err != nil {
			return err
		}
		return ledger.Verify(x, was, log.Head(tx.Now))
	}))
}

// What is on a screen is taken off before anything of it is erased, and nothing that was shown once is shown again.
func TestEraseRecallsFirst(t *testing.T) {
	tests := map[string]struct {
		what Erasure
		own  bool // on Anna's phone, not on the television
		gone bool // nothing can be shown there any more
	}{
		"a brand":     {what: Erasure{Brand: "grocer"}, gone: true},
		"a person":    {what: Erasure{Person: annaName, Devices: true}, gone: true},
		"their phone": {what: Erasure{Person: annaName, Devices: true}, own: true, gone: true},
		"a device":    {what: Erasure{Device: "tv-marker"}, gone: true},
		"choices":     {what: Erasure{Data: ConsentData}, gone: true},
		"deliveries":  {what: Erasure{Data: DeliveryData}},
		"a period":    {what: Erasure{Before: device.Instant(1) << 50}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				l := w.lives()
				w.must(w.desk.Forget(w.t.Context(), "oak", "")) // nothing is paused
				l.tv.tell(map[string]any{"presence.who": "1 2"})
				h, class := l.tv, device.TV
				if test.own {
					h, class = l.a, device.Companion
				}
				id := w.push(func(s *Submission) { s.Classes = []device.Class{class} })
				h.mustShow(id)
				other := w.push(func(s *Submission) { s.Classes = []device.Class{device.Fridge}; s.Texts[0].Body = "for the kitchen" })
				test.what.Home = "oak"
				erased := make(chan error, 1)
				go func() { _, err := w.desk.Erase(w.t.Context(), test.what); erased <- err }()
				err := <-erased
				w.must(err)
				w.wait()
				if test.what.Before != 0 {
					h.mustShow(id) // it is not over
				} else if h.up != nil && !closed(h.up) {
					h.mustShow()
				}
				if n := w.count(`SELECT count(*) FROM delivery WHERE message = ? AND settled = 0`, id[:]); n != 0 && test.what.Before == 0 {
					t.Errorf("%d deliveries of it are open", n)
				}
				w.pass(time.Minute)
				if n := h.asked(id); n != 1 {
					t.Errorf("it was sent %d times, want once", n)
				}
				if n := l.fridge.asked(other); !test.gone && n != 1 {
					t.Errorf("what is in the kitchen was sent %d times, want once", n)
				}
				w.memory()
			})
		})
	}
}

// asked is how often a device was asked to show a message.
func (h *hand) asked(id device.MessageID) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, f := range h.frames {
		if f.Message == id {
			n++
		}
	}
	return n
}

// A device that does not answer keeps what it has until its lease is over, and so does the book.
func TestEraseWaitsForTheLease(t *testing.T) {
	inWorld(t, func(w *world) {
		l := w.lives()
		w.must(w.desk.Forget(w.t.Context(), "oak", ""))
		l.tv.tell(map[string]any{"presence.who": "1 2"})
		id := w.push(func(s *Submission) { s.Classes = []device.Class{device.TV} })
		l.tv.mustShow(id)
		l.tv.with(func() { l.tv.mute = true })
		began := time.Now()
		_, err := w.desk.Erase(w.t.Context(), Erasure{Home: "oak", Data: DeliveryData})
		w.must(err)
		if took := time.Since(began); took < 10*time.Second {
			t.Errorf("erased after %s: it may be on the screen for 10 s", took)
		}
		l.tv.with(func() { l.tv.mute = false })
	})
}

// An ask that is open is called back first.
func TestEraseEndsAnAsk(t *testing.T) {
	inAsking(t, func(w *askWorld) {
		all := w.lives([]PersonSpec{{Name: "Anna", Age: device.Adult}, {Name: "Ben", Age: device.Adult}}, DeviceSpec{Class: device.TV, Controller: true})
		w.must(w.ask())
		if len(all[0].got()) != 1 {
			t.Fatal("no question was handed over")
		}
		done, err := w.desk.Erase(w.t.Context(), Erasure{Home: "oak", Data: AskData})
		if err != nil || done.Events == 0 {
			t.Errorf("erase: %+v, %v", done, err)
		}
		w.must(w.desk.in(1, func(h *home) error {
			if h.asks.open != nil {
				t.Error("the question is on the screen still")
			}
			return nil
		}))
		if list, err := w.desk.Asks(w.t.Context(), "oak"); err != nil || len(list) != 0 {
			t.Errorf("asks: %+v, %v, want none", list, err)
		}
		w.memory()
	})
}

// What cannot be meant is refused, and nothing is written.
func TestEraseRefuses(t *testing.T) {
	inWorld(t, func(w *world) {
		l := w.lives()
		was := len(w.events(l.id))
		for name, test := range map[string]struct {
			what Erasure
			want error
		}{
			"nothing":             {Erasure{Home: "oak"}, registry.ErrInvalid},
			"two things":          {Erasure{Home: "oak", Person: annaName, Brand: "grocer"}, registry.ErrInvalid},
			"no such home":        {Erasure{Home: "elm", Brand: "grocer"}, registry.ErrUnknown},
			"nobody":              {Erasure{Home: "oak", Person: "Zoe"}, registry.ErrUnknown},
			"no device":           {Erasure{Home: "oak", Device: "nothing"}, registry.ErrUnknown},
			"no kind":             {Erasure{Home: "oak", Data: "all"}, registry.ErrInvalid},
			"no brand ID":         {Erasure{Home: "oak", Brand: "G!"}, device.ErrID},
			"a period backwards":  {Erasure{Home: "oak", After: 9, Before: 8}, registry.ErrInvalid},
			"with devices in use": {Erasure{Home: "oak", Person: annaName}, registry.ErrInUse},
			"no brand":            {Erasure{Home: "oak", Brand: "nobody"}, registry.ErrUnknown},
			"before all":          {Erasure{Home: "oak", Before: 1}, nil},
		} {
			if done, err := w.desk.Erase(w.t.Context(), test.what); !errors.Is(err, test.want) || (err == nil) != (test.want == nil) || done.Events != 0 {
				t.Errorf("%s: %+v, %v, want %v", name, done, err, test.want)
			}
		}
		if now := len(w.events(l.id)); now != was {
			t.Errorf("%d events, want %d: nothing was to be written", now, was)
		}
	})
}

// Whoever has left can be erased still, by the name that they had, or by their number; so can a device.
func TestEraseWhoHasLeft(t *testing.T) {
	inWorld(t, func(w *world) {
		l := w.lives()
		w.must(w.desk.RemoveDevice(w.t.Context(), l.b.id))
		w.must(w.desk.RemoveDevice(w.t.Context(), l.fridge.id))
		_, err := w.desk.ChangePerson(w.t.Context(), "oak", carlaName, PersonChange{Guardians: []string{annaName}})
		w.must(err)
		w.must(w.desk.RemovePerson(w.t.Context(), "oak", benName))
		w.wait()
		for _, what := range []Erasure{{Device: "fridge-marker"}, {Person: benName}, {Person: "2"}} {
			what.Home = "oak"
			done, err := w.desk.Erase(w.t.Context(), what)
			if what.Person == "2" && !errors.Is(err, registry.ErrUnknown) || what.Person != "2" && (err != nil || done.Events == 0) {
				t.Errorf("%+v: %+v, %v", what, done, err)
			}
		}
		if left := w.found(map[string][]byte{"name": []byte(benName), "phone": []byte(bName), "its ID": []byte("phone-b-marker"), "fridge": []byte("Marker Fridge"), "fridge's ID": []byte("fridge-marker")}); len(left) > 0 {
			t.Errorf("traces are left: %q", left)
		}
	})
}

// A home that is removed leaves its number and the leaves of its log.
func TestEraseHome(t *testing.T) {
	inWorld(t, func(w *world) {
		l := w.lives()
		before, err := w.db.Head(w.t.Context(), l.id)
		w.must(err)
		traces := l.sealed(func(store.Event) bool { return true })
		for _, s := range []string{annaName, benName, carlaName, tvName, aName, bName, "phone-a-marker", "tv-marker", "mutemarker-home", "Asia/Kolkata", "Marker Room"} {
			traces["text "+s] = []byte(s)
		}
		w.must(w.desk.RemoveHome(w.t.Context(), "oak"))
		w.must(w.desk.eraseHome(w.t.Context(), l.id))
		w.must(w.desk.eraseHome(w.t.Context(), l.id)) // again, after a crash
		if left := w.found(traces); len(left) > 0 {
			t.Errorf("traces are left: %q", left)
		}
		for _, e := range w.events(l.id) {
			if !e.Erased && e.Kind != homeGone && e.Kind != store.KindErased {
				t.Errorf("position %d, %s, is left", e.Pos, e.Kind)
			}
		}
		w.grown(l.id, before)
		if h, _, err := w.desk.AddHome(w.t.Context(), HomeSpec{Name: "oak", Zone: "UTC"}); err != nil || h.ID != l.id+1 {
			t.Errorf("the next home: %+v, %v, want number %d", h, err, l.id+1)
		}
	})
}

// Two who erase at once, while messages come and choices change, leave a whole state.
func TestEraseTwoAtOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		l := w.lives()
		var all sync.WaitGroup
		for _, what := range []Erasure{{Person: annaName, Devices: true}, {Person: benName, Devices: true}, {Brand: "cinemarker"}, {Data: DeliveryData}, {Person: annaName, Devices: true}} {
			all.Go(func() {
				what.Home = "oak"
				if _, err := w.desk.Erase(w.t.Context(), what); err != nil && !errors.Is(err, registry.ErrUnknown) {
					t.Errorf("%+v: %v", what, err)
				}
			})
		}
		all.Go(func() {
			for i := range 5 {
				c := []policy.Choice{policy.Given, policy.Withdrawn}[i%2]
				if err := w.desk.Choose(w.t.Context(), "oak", "", "grocer", policy.Marketing, c); err != nil {
					t.Error(err)
				}
			}
		})
		all.Wait()
		w.wait()
		if left := w.found(map[string][]byte{"Anna": []byte(annaName), "Ben": []byte(benName), "phone": []byte(aName)}); len(left) > 0 {
			t.Errorf("traces are left: %q", left)
		}
		if l.count(`SELECT count(*) FROM person WHERE home = ?`, l.id) != 1 {
			t.Error("somebody else than Carla lives there")
		}
		w.memory()
	})
}

// Nothing of what was said no to can be shown because the no was erased.
func TestEraseNeverWidens(t *testing.T) {
	for name, what := range map[string]Erasure{
		"the phone it was said on":  {Device: "phone-a-marker"},
		"who said it":               {Person: annaName, Devices: true},
		"the period it was said in": {Before: device.Instant(1) << 50},
		"choices":                   {Data: ConsentData},
		"the brand":                 {Brand: "grocer"},
		"asks":                      {Data: AskData},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				l := w.lives()
				// Ben allows it on his own phone; the home does not, and Anna has said so on hers.
				w.must(w.desk.Choose(w.t.Context(), "oak", benName, "grocer", policy.Service, policy.Given))
				id := w.push(func(s *Submission) { s.Purpose, s.Classes = policy.Service, []device.Class{device.Companion} })
				l.b.mustShow()
				what.Home = "oak"
				_, err := w.desk.Erase(w.t.Context(), what)
				w.must(err)
				w.pass(time.Minute)
				l.b.mustShow()
				if got := w.why(id, l.b); strings.HasPrefix(got, "show") {
					t.Errorf("why = %s", got)
				}
			})
		})
	}
}

// Where a yes goes with who said it, no older and wider one comes to stand in its place.
func TestEraseBringsBackNoYes(t *testing.T) {
	inWorld(t, func(w *world) {
		l := w.lives()
		w.must(w.desk.Forget(w.t.Context(), "oak", ""))
		l.says(consent.Entry{Subject: 0, By: 1, Brand: "grocer", Purpose: policy.Marketing, Choice: policy.Given, Device: l.a.id, Classes: policy.ClassSet(0).With(device.Fridge), Method: "settings"})
		_, err := w.desk.Erase(w.t.Context(), Erasure{Home: "oak", Person: annaName, Devices: true})
		w.must(err)
		l.tv.tell(map[string]any{"presence.who": "2"})
		id := w.push(func(s *Submission) { s.Classes = []device.Class{device.TV} })
		w.pass(time.Second)
		l.tv.mustShow()
		if got := w.why(id, l.tv); !strings.Contains(got, "consent") {
			t.Errorf("why = %s, want consent", got)
		}
	})
}

// export is an export in memory.
func (w *world) export(ask ExportAsked) []byte {
	w.t.Helper()
	var b bytes.Buffer
	w.must(w.desk.Export(w.t.Context(), ask, &b))
	return b.Bytes()
}

// unzip is what is in an export.
func unzip(t testing.TB, raw []byte) map[string]string {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		all[f.Name] = string(content)
	}
	return all
}

// Who was seen is in that person's export, on whatever screen of the home, without who else was there: that they left, too.
func TestExportOfWhoWasSeen(t *testing.T) {
	inWorld(t, func(w *world) {
		l := w.lives()
		for _, who := range []string{"1", "1 2@0.7", "1 3 2", "1"} {
			w.pass(time.Minute)
			l.tv.tell(map[string]any{"presence.who": who})
		}
		w.pass(time.Minute)
		l.fridge.tell(map[string]any{"presence.who": "2 3"})
		l.a.tell(map[string]any{"presence.who": "2"}) // what Anna's phone tells is hers
		var told []exportedContext
		w.must(json.Unmarshal([]byte(unzip(t, w.export(ExportAsked{Home: "oak", Person: benName}))[contextFile]), &told))
		now, changes := map[device.ID]any{}, map[device.ID][]any{}
		for _, c := range told {
			for _, ch := range c.Now {
				if ch.Attribute == "presence.who" {
					now[c.Device] = ch.Value
				}
			}
			for _, ch := range c.Changes {
				if ch.Attribute == "presence.who" {
					changes[c.Device] = append(changes[c.Device], ch.Value)
				}
			}
		}
		if want := map[device.ID]any{l.fridge.id: "2"}; !maps.Equal(now, want) {
			t.Errorf("who is there: %v, want %v", now, want)
		}
		tv, fridge := changes[l.tv.id], changes[l.fridge.id]
		if n := len(tv); n < 3 || !slices.Equal(tv[n-3:], []any{"2@0.7", "2", ""}) {
			t.Errorf("the TV has seen %q, want that Ben came, stayed and left at the end", tv)
		}
		if n := len(fridge); n < 1 || fridge[n-1] != "2" || len(changes[l.a.id]) > 0 {
			t.Errorf("the fridge has seen %q, and Anna's phone %q", fridge, changes[l.a.id])
		}
	})
}

// rezip makes an export of files, with the sums of their content in the manifest, and not signed: whoever alters one cannot.
func rezip(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var m Manifest
	if err := json.Unmarshal([]byte(files[manifestFile]), &m); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	x := &exporter{zip: zip.NewWriter(&b), files: map[string]Manifold{}}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if name != manifestFile && name != signedFile {
			if err := x.bytes(name, []byte(files[name])); err != nil {
				t.Fatal(err)
			}
		}
	}
	m.Files = maps.Clone(x.files)
	if err := errors.Join(x.json(manifestFile, m), x.zip.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// All that is known of a home is in its export, the same twice; of one person nothing about others.
func TestExport(t *testing.T) {
	inWorld(t, func(w *world) {
		l := w.lives()
		raw := w.export(ExportAsked{Home: "oak"})
		w.pass(time.Hour)
		if again := w.export(ExportAsked{Home: "oak"}); !bytes.Equal(raw, again) {
			t.Error("the same home is another export the second time")
		}
		all := unzip(t, raw)
		for name, wants := range map[string][]string{
			pageFile:                                {"<!DOCTYPE html>", annaName, benName, tvName, "Marker milk for both", "Nothing. Every decision is made in the home"},
			peopleFile:                              {annaName, benName, carlaName},
			devicesFile:                             {tvName, aName, bName},
			preferencesFile:                         {"mutemarker-home", "mutemarker-anna", `"from": "03:11"`},
			brandsFile:                              {`"cinemarker"`, `"grocer"`, `"notices"`},
			deliveriesFile:                          {"Marker milk for both", "Marker film for Ben", `"who":[1,2]`, `"response":7`},
			decisionsFile:                           {`"verdict":"show"`, `"words"`},
			answersFile:                             {"Marker button", `"answer": "deferred"`},
			flowsFile:                               {""},
			recordsFolder + "grocer.jsonld":         {"dpv:ConsentGiven", "person-2"},
			receiptsFolder + "cinemarker.jsonld":    {"dpv:ConsentReceipt"},
			journalFile:                             {`"kind":"home.added"`, `"kind":"delivery.claimed"`, "mutemarker-old"},
			ledgerFile:                              {`"format":"porchlight-ledger-1"`},
			keyFile:                                 {"PUBLIC KEY"},
			manifestFile:                            {`"format": "porchlight-export"`, `"sha256"`},
			headFile:                                {"porchlight-ledger-head"},
			signedFile:                              {"porchlight-export-manifest"},
			receiptsFolder + l.position() + ".cose": {"porchlight-ledger-receipt"},
		} {
			content, ok := all[name]
			if !ok {
				t.Errorf("%s is missing from %v", name, slices.Sorted(maps.Keys(all)))
			}
			for _, want := range wants {
				if !strings.Contains(content, want) {
					t.Errorf("%s does not say %q: %.600s", name, want, content)
				}
			}
		}
		// Every receipt opens with the home's key, and its entry is in the log.
		key, err := w.db.PublicKey(l.id)
		w.must(err)
		for name, content := range all {
			if strings.HasPrefix(name, receiptsFolder) && strings.HasSuffix(name, ".cose") {
				if _, err := ledger.OpenReceipt([]byte(content), key); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
		head, err := ledger.OpenHead([]byte(all[headFile]), key)
		w.must(err)
		x, err := ledger.ReadExport(strings.NewReader(all[ledgerFile]))
		w.must(err)
		w.must(ledger.Verify(x, head))

		ben := unzip(t, w.export(ExportAsked{Home: "oak", Person: benName}))
		for name, content := range ben {
			for _, other := range []string{annaName, carlaName, aName, "phone-a-marker", "mutemarker-anna", "Kathmandu", "Marker milk for Anna", "Marker milk on the phone", `"who":[1`, "person-1", "person-3", `"subject":1`, `"subject":3`} {
				if strings.Contains(content, other) {
					t.Errorf("%s of Ben says %q", name, other)
				}
			}
		}
		for name, want := range map[string]string{pageFile: "Marker film for Ben", peopleFile: benName, devicesFile: bName, deliveriesFile: "Marker milk for both", decisionsFile: `"show"`, recordsFolder + "cinemarker.jsonld": "person-2", journalFile: "phone-b-marker"} {
			if !strings.Contains(ben[name], want) {
				t.Errorf("%s of Ben does not say %q: %.300s", name, want, ben[name])
			}
		}
		if _, ok := ben[ledgerFile]; ok {
			t.Error("Ben's has the home's log")
		}
		// In the person's language, or in another.
		if page := unzip(t, w.export(ExportAsked{Home: "oak", Person: annaName}))[pageFile]; !strings.Contains(page, `lang="de"`) || !strings.Contains(page, "Was bekannt ist") || !strings.Contains(page, headings["de"]["before"]) {
			t.Errorf("Anna's page is not in German, or does not say that what came before her is not in it: %s", page)
		}
		if page := unzip(t, w.export(ExportAsked{Home: "oak", Language: "fr-CH"}))[pageFile]; !strings.Contains(page, `lang="fr"`) || strings.Contains(page, headings["fr"]["before"][:20]) {
			t.Errorf("the page is not in French: %.200s", page)
		}
		if err := w.desk.Export(w.t.Context(), ExportAsked{Home: "oak", Person: "Zoe"}, io.Discard); !errors.Is(err, registry.ErrUnknown) {
			t.Errorf("of nobody: %v, want ErrUnknown", err)
		}
		if n := w.count(`SELECT count(*) FROM journal WHERE home = 0 AND kind = ?`, homeExported); n != 5 {
			t.Errorf("%d exports are on the record, want 5", n)
		}
	})
}

// position is where the home's first choice is.
func (l *lived) position() string {
	for _, e := range l.events(l.id) {
		if e.Kind == "consent.given" {
			return fmt.Sprint(e.Pos)
		}
	}
	return "none"
}

// What people and brands call themselves is text on the page, whatever it looks like; every language has every heading.
func TestExportPage(t *testing.T) {
	inWorld(t, func(w *world) {
		const evil = `<script>alert("x")</script>&'`
		_, _, err := w.desk.AddHome(w.t.Context(), HomeSpec{Name: "<b>oak</b>", Zone: "UTC", People: []PersonSpec{{Name: evil, Age: device.Adult}}, Devices: []DeviceSpec{{Class: device.TV, Name: evil}}})
		w.must(err)
		page := unzip(t, w.export(ExportAsked{Home: "<b>oak</b>"}))[pageFile]
		if strings.Contains(page, "<script") || strings.Contains(page, "<b>") || !strings.Contains(page, "&lt;script&gt;") {
			t.Errorf("not escaped: %s", page)
		}
	})
	for language, all := range headings {
		for key := range headings["en"] {
			if all[key] == "" {
				t.Errorf("%s has no heading %q", language, key)
			}
		}
	}
}

// Whoever gives the key of the home gets what the home's gateway has written, or nothing. Whoever does not gets what the file says.
func TestImportSigned(t *testing.T) {
	inWorld(t, func(w *world) {
		w.lives()
		id, err := w.desk.homeID(w.t.Context(), "oak")
		w.must(err)
		key, err := w.db.PublicKey(id)
		w.must(err)
		_, stranger, err := ed25519.GenerateKey(nil)
		w.must(err)
		good := unzip(t, w.export(ExportAsked{Home: "oak"}))
		edited := func(edit func(files map[string]string)) map[string]string {
			files := maps.Clone(good)
			files[peopleFile] = strings.Replace(files[peopleFile], "Anna", "Eve", 1)
			files = unzip(t, rezip(t, files))
			edit(files)
			return files
		}
		sign := func(files map[string]string, typ string) {
			digest := sha256.Sum256([]byte(files[manifestFile]))
			signed, err := ledger.Sign(stranger, typ, digest[:])
			w.must(err)
			files[signedFile] = string(signed)
		}
		own := edited(func(files map[string]string) {
			h, err := ledger.OpenHead([]byte(files[headFile]), key)
			w.must(err)
			signed, err := ledger.Sign(stranger, ledger.HeadType, h.Payload())
			w.must(err)
			der, err := x509.MarshalPKIXPublicKey(stranger.Public())
			w.must(err)
			files[headFile], files[keyFile] = string(signed), string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
		})
		own = unzip(t, rezip(t, own))
		sign(own, ledger.ExportType)
		tests := map[string]struct {
			files map[string]string
			key   crypto.PublicKey
			want  error // nil: it is taken in
		}{
			"as it was written":                            {good, key, nil},
			"as it was written, and nobody asked":          {good, nil, nil},
			"as it was written, and another key":           {good, stranger.Public(), ErrNotSigned},
			"altered":                                      {edited(func(map[string]string) {}), key, ErrNotSigned},
			"altered, and nobody asked":                    {edited(func(map[string]string) {}), nil, nil},
			"altered beside the signature":                 {edited(func(f map[string]string) { f[signedFile] = good[signedFile] }), key, ErrDamaged},
			"altered beside the signature, nobody asked":   {edited(func(f map[string]string) { f[signedFile] = good[signedFile] }), nil, ErrDamaged},
			"altered, and signed by another":               {edited(func(f map[string]string) { sign(f, ledger.ExportType) }), key, ErrDamaged},
			"altered, with a key of their own":             {own, key, ErrNotSigned},
			"altered, with a key of their own, that asked": {own, stranger.Public(), nil},
			"signed for something else":                    {edited(func(f map[string]string) { f[signedFile] = f[headFile] }), key, ErrDamaged},
			"no signature":                                 {edited(func(f map[string]string) { f[signedFile] = "" }), key, ErrDamaged},
			"the signature large":                          {edited(func(f map[string]string) { f[signedFile] = strings.Repeat("x", ledger.MaxSigned+1) }), key, ErrDamaged},
		}
		for name, tt := range tests {
			v := &world{t: w.t, path: filepath.Join(t.TempDir(), "q.db"), hands: map[device.ID]*hand{}}
			v.start()
			raw := zipAll(t, tt.files)
			done, err := v.desk.Import(w.t.Context(), bytes.NewReader(raw), int64(len(raw)), ImportAsked{Key: tt.key})
			if !errors.Is(err, tt.want) || (tt.want == nil) != (done.Events > 0) {
				t.Errorf("%s: %d events, %v, want %v", name, done.Events, err, tt.want)
			}
			v.end()
		}
	})
}

// zipAll zips files as they are.
func zipAll(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		w, err := z.Create(name)
		if err == nil {
			_, err = io.WriteString(w, files[name])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A home that moves to another gateway loses nothing, and its devices log in there as they did.
func TestImportRoundTrip(t *testing.T) {
	inWorld(t, func(w *world) {
		l := w.lives()
		token, err := w.desk.ReplaceToken(w.t.Context(), l.tv.id)
		w.must(err)
		_, err = w.desk.Erase(w.t.Context(), Erasure{Home: "oak", Data: AskData}) // erased entries move, too
		w.must(err)
		first := w.export(ExportAsked{Home: "oak"})
		consents, err := w.desk.InForce(w.t.Context(), "oak")
		w.must(err)

		v := &world{t: w.t, path: filepath.Join(t.TempDir(), "q.db"), hands: map[device.ID]*hand{}}
		v.start()
		defer v.end()
		// Another home is there already, and goes by that name.
		_, _, err = v.desk.AddHome(w.t.Context(), HomeSpec{Name: "oak", Zone: "UTC"})
		v.must(err)
		v.brand = w.brand
		refused := func(raw []byte, name, want string) {
			t.Helper()
			if _, err := v.desk.Import(w.t.Context(), bytes.NewReader(raw), int64(len(raw)), ImportAsked{Name: name}); !errors.Is(err, registry.ErrTaken) || err.Error() != "import: "+want {
				t.Errorf("import: %v, want ErrTaken: %s", err, want)
			}
		}
		refused(first, "", `another home is called "oak" here: give this one another name with --name`)
		_, err = v.desk.AddDevice(w.t.Context(), "oak", DeviceSpec{ID: "fridge-marker", Class: device.Fridge})
		v.must(err)
		frees := `its device fridge-marker is, or was, one of home "oak" here, and an ID is one device's alone: porchlight erase --home "oak" --device fridge-marker frees it`
		refused(first, "elm", frees)
		v.must(v.desk.RemoveDevice(w.t.Context(), "fridge-marker"))
		refused(first, "elm", frees)
		_, err = v.desk.Erase(w.t.Context(), Erasure{Home: "oak", Device: "fridge-marker"})
		v.must(err)
		done, err := v.desk.Import(w.t.Context(), bytes.NewReader(first), int64(len(first)), ImportAsked{Name: "elm"})
		v.must(err)
		if done.Home.Name != "elm" || done.Home.ID != 2 || !slices.Equal(done.Brands, []device.BrandID{"cinemarker", "grocer"}) || len(done.Strange) > 0 {
			t.Errorf("imported: %+v", done)
		}
		b, err := v.desk.Brand(w.t.Context(), "cinemarker")
		if err != nil || b.Stopped == 0 {
			t.Errorf("the brand that came with it: %+v, %v, want it stopped", b, err)
		}
		now, err := v.desk.InForce(w.t.Context(), "elm")
		if fmt.Sprint(now) != fmt.Sprint(consents) || err != nil {
			t.Errorf("choices in force: %+v, %v, want %+v", now, err, consents)
		}
		// Notices have the same hashes, so that a yes reaches as far as it did.
		for _, e := range now {
			if e.Notice != (consent.Hash{}) {
				v.must(v.db.View(w.t.Context(), func(tx *store.Tx) error { _, err := consent.NoticeByHash(tx, e.Notice); return err }))
			}
		}
		v.must(v.db.View(w.t.Context(), func(tx *store.Tx) error {
			_, err := registry.Authenticate(tx, l.tv.id, registry.Token(token.Token))
			return err
		}))

		// Exported again it is the same, but for
		//  - the home's name and number, in the manifest, the page, and the events home.added and device.added;
		//  - one event more, home.imported, with its time;
		//  - what is sealed and signed anew: the log, its head and key, the receipts of the log;
		//  - when each notice was issued, which is when the new gateway's book got it, in records and receipts (JSON-LD).
		a, z := unzip(t, first), unzip(t, v.export(ExportAsked{Home: "elm"}))
		if got, want := slices.Sorted(maps.Keys(z)), slices.Sorted(maps.Keys(a)); !slices.Equal(got, want) {
			t.Errorf("files: got %v, want %v", got, want)
		}
		for _, name := range []string{peopleFile, preferencesFile, brandsFile, deliveriesFile, decisionsFile, answersFile, flowsFile} {
			if name == deliveriesFile || name == answersFile {
				continue // the words of messages are in the other gateway's book
			}
			if a[name] != z[name] {
				t.Errorf("%s differs:\n%s\nwas\n%s", name, z[name], a[name])
			}
		}
		if got := strings.ReplaceAll(z[devicesFile], `"home": 2`, `"home": 1`); got != a[devicesFile] {
			t.Errorf("%s differs: %s", devicesFile, got)
		}
		was, is := strings.Split(strings.TrimSpace(a[journalFile]), "\n"), strings.Split(strings.TrimSpace(z[journalFile]), "\n")
		if len(is) != len(was)+1 || !strings.Contains(is[len(is)-1], homeImported) {
			t.Fatalf("%d events were %d; the last is %s", len(is), len(was), is[len(is)-1])
		}
		for i := range was {
			var x, y journalLine
			w.must(json.Unmarshal([]byte(was[i]), &x))
			w.must(json.Unmarshal([]byte(is[i]), &y))
			if x.Kind == "home.added" || x.Kind == "device.added" {
				var body map[string]any
				w.must(json.Unmarshal(y.Body, &body))
				if x.Kind == "home.added" {
					body["id"], body["name"] = 1, "oak"
				} else {
					body["home"] = 1
				}
				var before map[string]any
				w.must(json.Unmarshal(x.Body, &before))
				bodyNow, _ := json.Marshal(body)
				bodyWas, _ := json.Marshal(before)
				x.Body, y.Body = bodyWas, bodyNow
			}
			if fmt.Sprintf("%+v", x) != fmt.Sprintf("%+v", y) {
				t.Errorf("event %d: got %s, want %s", i+1, is[i], was[i])
			}
		}
		// It is not taken in twice, under whatever name, neither here nor where it came from; nor is it from here again.
		for _, name := range []string{"ash", "elm", ""} {
			refused(first, name, `this home is here already, as "elm". To have it as it is in the file, remove it first, with all that was said in it since: porchlight home remove "elm"`)
			refused(v.export(ExportAsked{Home: "elm"}), name, `this home is here already, as "elm". To have it as it is in the file, remove it first, with all that was said in it since: porchlight home remove "elm"`)
		}
		if _, err := w.desk.Import(w.t.Context(), bytes.NewReader(first), int64(len(first)), ImportAsked{Name: "ash"}); !errors.Is(err, registry.ErrTaken) || !strings.Contains(err.Error(), `this home is here already, as "oak"`) {
			t.Errorf("where it came from: %v, want ErrTaken, as oak", err)
		}
		// The home goes on: it is judged, and a device of it is shown something.
		tv := v.hand(device.Device{ID: l.tv.id, Class: device.TV})
		v.must(v.db.View(w.t.Context(), func(tx *store.Tx) error { _, err := registry.Device(tx, l.tv.id); return err }))
		tv.connect()
		v.must(v.desk.Forget(w.t.Context(), "elm", ""))
		v.must(v.desk.StartBrand(w.t.Context(), "grocer"))
		tv.tell(map[string]any{"presence.who": "1 2"})
		v.pass(time.Second)
		id := v.push(func(s *Submission) { s.Classes = []device.Class{device.TV} })
		tv.mustShow(id)
		v.memory()
		v.end()
		diffs, err := store.Check(w.t.Context(), v.path, Project, nil)
		if err != nil || len(diffs) > 0 {
			t.Errorf("the tables differ from the journal: %v %v", diffs, err)
		}
	})
}

// A brand of the same name that is another firm gets no yes that was said to the one before.
func TestImportStrangeBrand(t *testing.T) {
	inWorld(t, func(w *world) {
		w.lives()
		raw := w.export(ExportAsked{Home: "oak"})
		v := &world{t: w.t, path: filepath.Join(t.TempDir(), "q.db"), hands: map[device.ID]*hand{}}
		v.start()
		defer v.end()
		_, err := v.desk.AddBrand(w.t.Context(), registry.Brand{ID: "cinemarker", Name: "Cinema", Domain: "other.example", Purposes: []string{"marketing", "service"}})
		v.must(err)
		_, err = v.desk.AddBrand(w.t.Context(), w.brand) // the same firm
		v.must(err)
		done, err := v.desk.Import(w.t.Context(), bytes.NewReader(raw), int64(len(raw)), ImportAsked{})
		v.must(err)
		if !slices.Equal(done.Strange, []device.BrandID{"cinemarker"}) || len(done.Brands) > 0 {
			t.Errorf("imported: %+v", done)
		}
		all, err := v.desk.InForce(w.t.Context(), "oak")
		yes := slices.ContainsFunc(all, func(e ConsentEvent) bool { return e.Brand == "cinemarker" && e.State == consent.Given })
		if err != nil || yes || !slices.ContainsFunc(all, func(e ConsentEvent) bool { return e.Brand == "grocer" && e.State == consent.Given }) {
			t.Errorf("in force: %+v, %v", all, err)
		}
	})
}

// Nor does one whose card the export leaves out: nobody knows whose the yes is.
func TestImportBrandWithoutCard(t *testing.T) {
	inWorld(t, func(w *world) {
		w.lives()
		files := unzip(t, w.export(ExportAsked{Home: "oak"}))
		files[brandsFile] = "[]"
		raw := rezip(t, files)
		v := &world{t: w.t, path: filepath.Join(t.TempDir(), "q.db"), hands: map[device.ID]*hand{}}
		v.start()
		defer v.end()
		_, err := v.desk.AddBrand(w.t.Context(), registry.Brand{ID: "cinemarker", Name: "Cinema", Domain: "other.example", Purposes: []string{"marketing", "service"}})
		v.must(err)
		done, err := v.desk.Import(w.t.Context(), bytes.NewReader(raw), int64(len(raw)), ImportAsked{})
		v.must(err)
		if want := []device.BrandID{"cinemarker", "grocer"}; !slices.Equal(slices.Sorted(slices.Values(done.Strange)), want) {
			t.Errorf("strange: %v, want %v", done.Strange, want)
		}
		all, err := v.desk.InForce(w.t.Context(), "oak")
		if err != nil || slices.ContainsFunc(all, func(e ConsentEvent) bool { return e.State == consent.Given }) {
			t.Errorf("in force: %+v, %v", all, err)
		}
	})
}

// A brand that comes with a home under the name of one that is here may not send before it has a name of its own.
func TestImportBrandOfAName(t *testing.T) {
	inWorld(t, func(w *world) {
		w.lives()
		raw := w.export(ExportAsked{Home: "oak"})
		v := &world{t: w.t, path: filepath.Join(t.TempDir(), "q.db"), hands: map[device.ID]*hand{}}
		v.start()
		defer v.end()
		_, err := v.desk.AddBrand(w.t.Context(), registry.Brand{ID: "corner-shop", Name: strings.ToUpper(w.brand.Name), Purposes: []string{"marketing"}})
		v.must(err)
		done, err := v.desk.Import(w.t.Context(), bytes.NewReader(raw), int64(len(raw)), ImportAsked{})
		v.must(err)
		if !slices.Contains(done.Brands, w.brand.ID) {
			t.Fatalf("imported: %+v", done)
		}
		if err := v.desk.StartBrand(w.t.Context(), w.brand.ID); !errors.Is(err, registry.ErrTaken) || !strings.Contains(err.Error(), "brand corner-shop has it") {
			t.Errorf("start: %v, want ErrTaken, by corner-shop", err)
		}
		if b, err := v.desk.Brand(w.t.Context(), w.brand.ID); err != nil || b.Brand.Stopped == 0 {
			t.Errorf("it is %+v, %v", b, err)
		}
		_, err = v.desk.ChangeBrand(w.t.Context(), w.brand.ID, func(b *registry.Brand) { b.Name = "Grocer of Oak" })
		v.must(err)
		v.must(v.desk.StartBrand(w.t.Context(), w.brand.ID))
	})
}

// A yes that was made to last longer than one can, or for ever, does not stand; one whose gateway's clock is ahead by a little does.
func TestImportEndlessYes(t *testing.T) {
	year := device.At(time.Now().AddDate(1, 0, 0)) - device.At(time.Now())
	for name, test := range map[string]struct {
		until  func(was device.Instant) any // null: none
		stands bool
	}{
		"as it was":     {func(was device.Instant) any { return was }, true},
		"an hour ahead": {func(was device.Instant) any { return was.Add(time.Hour) }, true},
		"two days":      {func(was device.Instant) any { return was.Add(48 * time.Hour) }, false},
		"a century":     {func(was device.Instant) any { return was + 100*year }, false},
		"for ever":      {func(device.Instant) any { return nil }, false},
		"overflowing":   {func(device.Instant) any { return int64(math.MaxInt64) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.lives()
				files := unzip(t, w.export(ExportAsked{Home: "oak"}))
				lines, n := strings.SplitAfter(files[journalFile], "\n"), 0
				for i, line := range lines {
					var l map[string]any
					if json.Unmarshal([]byte(line), &l) != nil || l["kind"] != "consent.given" {
						continue
					}
					b := l["body"].(map[string]any)
					if b["brand"] == "grocer" {
						b["until"] = test.until(device.Instant(b["until"].(float64)))
						raw, err := json.Marshal(l)
						w.must(err)
						lines[i], n = string(raw)+"\n", n+1
					}
				}
				files[journalFile] = strings.Join(lines, "")
				raw := rezip(t, files)
				v := &world{t: w.t, path: filepath.Join(t.TempDir(), "q.db"), hands: map[device.ID]*hand{}}
				v.start()
				defer v.end()
				done, err := v.desk.Import(w.t.Context(), bytes.NewReader(raw), int64(len(raw)), ImportAsked{})
				v.must(err)
				all, err := v.desk.InForce(w.t.Context(), "oak")
				v.must(err)
				stands := 0
				for _, e := range all {
					if e.Brand == "grocer" && e.State == consent.Given {
						stands++
					}
				}
				if want := map[bool]int{true: n}[test.stands]; n == 0 || stands != want || slices.Contains(done.TooLong, "grocer") == test.stands || slices.Contains(done.TooLong, "cinemarker") {
					t.Errorf("of %d yeses %d stand, and %v is told; want %d", n, stands, done.TooLong, want)
				}
			})
		})
	}
}

// What is damaged, newer, hostile or for one person alone is refused, and leaves nothing.
func TestImportRefuses(t *testing.T) {
	journal := func(edit func(lines []map[string]any) []map[string]any) func(map[string]string) {
		return func(files map[string]string) {
			var lines []map[string]any
			for _, l := range strings.Split(strings.TrimSpace(files[journalFile]), "\n") {
				var one map[string]any
				_ = json.Unmarshal([]byte(l), &one)
				lines = append(lines, one)
			}
			var b strings.Builder
			for _, l := range edit(lines) {
				raw, _ := json.Marshal(l)
				b.Write(append(raw, '\n'))
			}
			files[journalFile] = b.String()
		}
	}
	body := func(kind string, edit func(body map[string]any)) func(map[string]string) {
		return journal(func(lines []map[string]any) []map[string]any {
			for _, l := range lines {
				if l["kind"] == kind {
					edit(l["body"].(map[string]any))
					return lines
				}
			}
			panic("no " + kind)
		})
	}
	lastPreference := func(name string, edit func(rule map[string]any)) func(map[string]string) {
		return journal(func(lines []map[string]any) []map[string]any {
			for _, l := range slices.Backward(lines) {
				if b, _ := l["body"].(map[string]any); l["kind"] == "preference.set" && b["name"] == name {
					edit(b["body"].([]any)[0].(map[string]any))
					return lines
				}
			}
			panic("no " + name)
		})
	}
	forged := func(kind string, as string, fact map[string]any) func(map[string]string) {
		return func(files map[string]string) {
			// The log itself can be forged, too: whoever makes a file makes its signature.
			forge(files, kind, as, fact)
		}
	}
	tests := map[string]struct {
		edit func(files map[string]string)
		want error
	}{
		"good": {func(map[string]string) {}, nil},
		"a newer version": {func(f map[string]string) {
			f[manifestFile] = strings.Replace(f[manifestFile], `"version": 2`, `"version": 3`, 1)
		}, ErrNewer},
		"another format": {func(f map[string]string) {
			f[manifestFile] = strings.Replace(f[manifestFile], "porchlight-export", "other", 1)
		}, ErrDamaged},
		"of one person": {func(f map[string]string) {
			f[manifestFile] = strings.Replace(f[manifestFile], `"zone"`, `"person": "Anna", "zone"`, 1)
		}, registry.ErrInvalid},
		"no journal":  {func(f map[string]string) { delete(f, journalFile) }, ErrDamaged},
		"no log":      {func(f map[string]string) { delete(f, ledgerFile) }, ErrDamaged},
		"another key": {func(f map[string]string) { f[keyFile] = otherKey }, ErrDamaged},
		"the log cut": {func(f map[string]string) {
			f[ledgerFile] = f[ledgerFile][:strings.LastIndex(strings.TrimSpace(f[ledgerFile]), "\n")+1]
		}, ErrDamaged},
		"a leaf altered": {func(f map[string]string) {
			i := strings.LastIndex(f[ledgerFile], `"leaf":"`) + len(`"leaf":"`)
			f[ledgerFile] = f[ledgerFile][:i] + strings.Repeat("0", 64) + f[ledgerFile][i+64:]
		}, ErrDamaged},
		"a seal altered": {func(f map[string]string) {
			f[ledgerFile] = strings.Replace(f[ledgerFile], `"sealed":"`, `"sealed":"AAAA`, 1)
		}, ErrDamaged},
		"an entry altered": {func(f map[string]string) {
			f[ledgerFile] = strings.Replace(f[ledgerFile], `"kind":"person.added"`, `"kind":"person.addee"`, 1)
		}, ErrDamaged},
		"an event left out":           {journal(func(l []map[string]any) []map[string]any { return append(l[:3], l[4:]...) }), ErrDamaged},
		"an event more":               {journal(func(l []map[string]any) []map[string]any { return append(l, l[len(l)-1]) }), ErrDamaged},
		"another time":                {journal(func(l []map[string]any) []map[string]any { l[3]["at"] = 5; return l }), ErrDamaged},
		"another author":              {journal(func(l []map[string]any) []map[string]any { l[3]["actor"] = "me"; return l }), ErrDamaged},
		"an unknown field":            {journal(func(l []map[string]any) []map[string]any { l[3]["more"] = 1; return l }), ErrDamaged},
		"a body that is none":         {journal(func(l []map[string]any) []map[string]any { l[3]["body"] = "text"; return l }), ErrDamaged},
		"a control in a name":         {body("person.added", func(b map[string]any) { b["name"] = "A\nb" }), ErrDamaged},
		"nobody":                      {body("person.added", func(b map[string]any) { b["id"] = 0 }), ErrDamaged},
		"a home without a name":       {body("home.added", func(b map[string]any) { b["name"] = "" }), registry.ErrInvalid},
		"an unknown zone":             {body("home.added", func(b map[string]any) { b["zone"] = "../etc" }), registry.ErrInvalid},
		"a device with another's key": {body("device.added", func(b map[string]any) { b["credential"].(map[string]any)["device"] = "mine-1234" }), ErrDamaged},
		"a device that is none":       {body("device.added", func(b map[string]any) { b["id"] = "X" }), ErrDamaged},
		"another device's ID": {body("device.added", func(b map[string]any) {
			b["id"] = "mine-1234"
			b["credential"].(map[string]any)["device"] = "mine-1234"
		}), ErrDamaged},
		"a fact about a brand":       {forged("person.added", "brand.added", map[string]any{"id": "evil", "name": "Evil", "purposes": []string{"marketing"}, "quota": 9, "key": []byte("0123")}), ErrDamaged},
		"a fact about a message":     {forged("person.added", "message.withdrawn", map[string]any{"id": device.MessageID{1}}), ErrDamaged},
		"somebody else's device":     {forged("person.added", "device.removed", map[string]any{"id": "mine-1234", "why": "operator"}), ErrDamaged},
		"somebody else's credential": {forged("person.added", "credential.replaced", map[string]any{"device": "mine-1234", "hash": []byte("0123"), "kind": "device-token"}), ErrDamaged},
		"a fact that nobody knows":   {forged("person.added", "person.praised", map[string]any{"id": 1}), ErrDamaged},
		"a home that is gone":        {forged("person.added", homeGone, map[string]any{}), ErrDamaged},
		"a second home":              {forged("person.added", "home.added", map[string]any{"id": 1, "name": "x", "zone": "UTC"}), ErrDamaged},
		"a brand with a control":     {body("consent.given", func(b map[string]any) { b["brand"] = "a\x1b[2J" }), ErrDamaged},
		"a yes to nobody":            {body("consent.given", func(b map[string]any) { delete(b, "brand") }), ErrDamaged},
		"a room right to left":       {body("room.added", func(b map[string]any) { b["name"] = "\u202eroom" }), ErrDamaged},
		"a long word":                {body("consent.given", func(b map[string]any) { b["method"] = strings.Repeat("x", 9000) }), ErrDamaged},
		"quiet after the day's end":  {lastPreference("quiet", func(rule map[string]any) { rule["end"] = 1440 }), ErrDamaged},
		"quiet in a folder":          {lastPreference("quiet", func(rule map[string]any) { rule["zone"] = "../etc" }), ErrDamaged},
		"a mute for one too long":    {lastPreference("mutes", func(rule map[string]any) { rule["category"] = strings.Repeat("x", 300) }), ErrDamaged},
		"a brand that cannot be":     {func(f map[string]string) { f[brandsFile] = strings.Replace(f[brandsFile], `"cinemarker"`, `"C!"`, 1) }, ErrDamaged},
	}
	inWorld(t, func(w *world) {
		w.lives()
		good := unzip(t, w.export(ExportAsked{Home: "oak"}))
		v := &world{t: w.t, path: filepath.Join(t.TempDir(), "q.db"), hands: map[device.ID]*hand{}}
		v.start()
		defer v.end()
		_, _, err := v.desk.AddHome(w.t.Context(), HomeSpec{Name: "elm", Zone: "UTC", Devices: []DeviceSpec{{ID: "mine-1234", Class: device.TV}}})
		v.must(err)
		was := string(v.journal())
		for _, name := range slices.Sorted(maps.Keys(tests)) {
			test := tests[name]
			if name == "good" {
				continue
			}
			files := maps.Clone(good)
			test.edit(files)
			raw := rezip(t, files)
			if _, err := v.desk.Import(w.t.Context(), bytes.NewReader(raw), int64(len(raw)), ImportAsked{}); !errors.Is(err, test.want) {
				t.Errorf("%s: %v, want %v", name, err, test.want)
			}
			if now := string(v.journal()); now != was {
				t.Fatalf("%s: the books were %s and are %s", name, was, now)
			}
		}
		raw := rezip(t, good)
		for name, bad := range map[string][]byte{
			"a sum that is another's": swapped(t, good),
			"no zip":                  []byte("PK"), "cut": raw[:len(raw)-9], "a byte altered": altered(raw), "nothing": nil,
			"two of one name": zipped(t, "a", "a"), "a folder": zipped(t, "a/"),
			"out of the folder": with(t, good, "../a"), "absolute": with(t, good, "/a"), "with a drive": with(t, good, `c:\a`), "beside": with(t, good, "a/../../b"),
			"a bomb": bomb(t, good),
		} {
			if _, err := v.desk.Import(w.t.Context(), bytes.NewReader(bad), int64(len(bad)), ImportAsked{}); !errors.Is(err, ErrDamaged) {
				t.Errorf("%s: %v, want ErrDamaged", name, err)
			}
		}
		if _, err := v.desk.Import(w.t.Context(), bytes.NewReader(raw), MaxImport+1, ImportAsked{}); !errors.Is(err, ErrDamaged) {
			t.Errorf("too large: %v, want ErrDamaged", err)
		}
		if _, err := v.desk.Import(w.t.Context(), bytes.NewReader(raw), int64(len(raw)), ImportAsked{Name: "a\nb"}); !errors.Is(err, registry.ErrInvalid) {
			t.Errorf("with a bad name: %v, want ErrInvalid", err)
		}
		if now := string(v.journal()); now != was {
			t.Fatalf("the books were %s and are %s", was, now)
		}
		if _, err := v.desk.Import(w.t.Context(), bytes.NewReader(raw), int64(len(raw)), ImportAsked{}); err != nil {
			t.Errorf("good: %v", err)
		}
	})
}

// otherKey is somebody's public key.
const otherKey = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n"

func altered(raw []byte) []byte {
	raw = slices.Clone(raw)
	raw[len(raw)/2] ^= 1
	return raw
}

func zipped(t testing.TB, names ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, name := range append(names, manifestFile) {
		w, err := z.Create(name)
		if err == nil && !strings.HasSuffix(name, "/") {
			_, err = w.Write([]byte("{}"))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// with is an export with one more file.
func with(t testing.TB, good map[string]string, name string) []byte {
	files := maps.Clone(good)
	files[name] = "x"
	return rezip(t, files)
}

// bomb is an export with a file that is small in the zip, and large when it is read.
func bomb(t testing.TB, good map[string]string) []byte {
	files := maps.Clone(good)
	files[brandsFile] = strings.Repeat(" ", 65<<20) + "[]"
	return rezip(t, files)
}

// swapped is an export whose manifest has the sum of one file for another.
func swapped(t testing.TB, good map[string]string) []byte {
	t.Helper()
	var m Manifest
	if err := json.Unmarshal([]byte(unzip(t, rezip(t, good))[manifestFile]), &m); err != nil {
		t.Fatal(err)
	}
	m.Files[peopleFile], m.Files[devicesFile] = m.Files[devicesFile], m.Files[peopleFile]
	var b bytes.Buffer
	x := &exporter{zip: zip.NewWriter(&b), files: map[string]Manifold{}}
	for _, name := range slices.Sorted(maps.Keys(good)) {
		if name != manifestFile && name != signedFile {
			if err := x.bytes(name, []byte(good[name])); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := errors.Join(x.json(manifestFile, m), x.zip.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// forge puts a fact in the place of the first of a kind, in the log too, which is signed anew.
func forge(files map[string]string, kind, as string, fact map[string]any) {
	raw, _ := json.Marshal(fact)
	var events []store.Event
	x, err := ledger.ReadExport(strings.NewReader(files[ledgerFile]))
	if err != nil {
		panic(err)
	}
	all, err := readJournal([]byte(files[journalFile]), x)
	if err != nil {
		panic(err)
	}
	events = all
	done := false
	var leaves []ledger.Hash
	cipher := ledger.NewCipher(ledger.NewKey())
	for i := range events {
		if events[i].Kind == kind && !done && i > 2 {
			events[i].Kind, events[i].Body, done = as, raw, true
			x.Entries[i].Kind = as
			cipher.Seal(&x.Entries[i], raw)
		}
		leaves = append(leaves, x.Entries[i].Leaf)
	}
	if !done {
		panic("no " + kind)
	}
	var m Manifest
	if err := json.Unmarshal([]byte(files[manifestFile]), &m); err != nil {
		panic(err)
	}
	m.Head.Root = ledger.Root(leaves)
	signedBy(files, m.Head)
	manifest, _ := json.Marshal(m)
	files[manifestFile] = string(manifest)
	var log, journal bytes.Buffer
	if err := x.Write(&log); err != nil {
		panic(err)
	}
	out := encoder(&journal)
	for _, e := range events {
		line := journalLine{Pos: e.Pos, At: e.At, Actor: e.Actor, Kind: e.Kind, Subject: e.Subject, Body: e.Body, Erased: e.Erased, Leaf: e.Entry.Leaf}
		if err := out.Encode(line); err != nil {
			panic(err)
		}
	}
	files[ledgerFile], files[journalFile] = log.String(), journal.String()
}

// Frozen: nothing is shown, asked or learnt, of the home or of one person.
func TestFrozenDoesNothing(t *testing.T) {
	for name, who := range map[string]string{"the home": "", "somebody": annaName} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				l := w.lives()
				w.must(w.desk.Forget(w.t.Context(), "oak", ""))
				l.tv.tell(map[string]any{"presence.who": "1"})
				id := w.push(func(s *Submission) { s.Classes = []device.Class{device.TV} })
				l.tv.mustShow(id)
				learnt, err := w.desk.Learnt(w.t.Context(), "oak", WhyOptions{})
				w.must(err)
				w.must(w.desk.SetFrozen(w.t.Context(), "oak", who, true))
				w.wait()
				l.tv.mustShow() // what is on the screen goes
				next := w.push(func(s *Submission) { s.Classes = []device.Class{device.TV} })
				w.push(func(s *Submission) { s.Classes = []device.Class{device.Companion} })
				w.pass(time.Hour)
				l.tv.mustShow()
				l.a.mustShow()
				if got := w.why(next, l.tv); strings.HasPrefix(got, "show") {
					t.Errorf("why = %s", got)
				}
				if _, err := w.desk.Ask(w.t.Context(), "oak", l.cinema.ID, policy.Service, AskWhere{Device: l.a.id}); err == nil {
					t.Error("somebody was asked")
				}
				if n := len(w.events(l.id)); n > 0 && w.count(`SELECT count(*) FROM consent_ask WHERE state = 'requested'`) != 0 {
					t.Error("an ask is open")
				}
				now, err := w.desk.Learnt(w.t.Context(), "oak", WhyOptions{})
				w.must(err)
				if len(now) > len(learnt) {
					t.Errorf("learnt meanwhile: %+v, before %+v", now, learnt)
				}
				w.must(w.desk.SetFrozen(w.t.Context(), "oak", who, false))
				l.tv.tell(calm[device.TV])
				l.tv.tell(map[string]any{"presence.who": "1"})
				w.pass(time.Second)
				l.tv.mustShow(next)
				w.memory()
			})
		})
	}
}

// signedBy signs a head as whoever makes a file can: with a key of their own.
func signedBy(files map[string]string, h ledger.Head) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		panic(err)
	}
	signed, err := ledger.Sign(private, ledger.HeadType, h.Payload())
	if err != nil {
		panic(err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		panic(err)
	}
	files[headFile], files[keyFile] = string(signed), string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

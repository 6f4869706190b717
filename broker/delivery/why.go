package delivery

import (
	"context"
	"fmt"
	"slices"

	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/policy"
	"porchlight/policy/words"
)

// Why explains one message: what each screen would do with it now, and what became of it there.
type Why struct {
	ID      device.MessageID `json:"id"`
	Brand   device.BrandID   `json:"brand"`
	Purpose policy.Purpose   `json:"purpose"`
	State   string           `json:"state"` // accepted, withdrawn, expired
	Homes   []WhyHome        `json:"homes"`
}

// WhyHome is the part of one home.
type WhyHome struct {
	Home    device.HomeID `json:"home"`
	Name    string        `json:"name"`
	Screens []WhyScreen   `json:"screens"`
}

// WhyScreen is the part of one screen.
type WhyScreen struct {
	Device    device.ID      `json:"device"`
	Name      string         `json:"name"`
	Class     device.Class   `json:"class"`
	Connected bool           `json:"connected"`
	Verdict   string         `json:"verdict"` // now: refuse, hold, show
	Reasons   []string       `json:"reasons"` // codes
	Until     device.Instant `json:"until,omitempty"`
	Words     []string       `json:"words"`              // the same for people: each a sentence without its stop
	Causes    []string       `json:"causes,omitempty"`   // the same for operators: codes and fields
	Differ    []string       `json:"differ,omitempty"`   // what would have to be otherwise
	Silent    bool           `json:"silent,omitempty"`   // it may be shown, and showing nothing is worth more
	Delivery  *WhyDelivery   `json:"delivery,omitempty"` // nil: it was never claimed for this screen
}

// WhyDelivery is what became of a message on a screen.
type WhyDelivery struct {
	Claimed   device.Instant `json:"claimed"`
	Presented device.Instant `json:"presented,omitempty"`
	Settled   device.Instant `json:"settled,omitempty"`
	Outcome   string         `json:"outcome"` // open, answered, dismissed, timed out, taken off ...
	Decision  Record         `json:"decision"`
	Because   string         `json:"because,omitempty"` // why it was shown, for people
	Duties    []string       `json:"duties,omitempty"`  // how it had to be shown: each a sentence without its stop
	Chosen    []string       `json:"chosen,omitempty"`  // why it came there, and why before others: each a sentence without its stop
}

// WhyOptions say for whom an explanation is.
type WhyOptions struct {
	Language string `json:"language,omitempty"` // BCP 47; "": the reader's, else the home's, else English
	Reader   string `json:"reader,omitempty"`   // a person's name; "": nobody in particular
}

// names is what sentences about h call things.
func (d *Desk) names(h *home, s *screen, reader device.PersonID) words.Names {
	n := words.Names{Reader: reader, Zone: h.view.Zone, Now: d.o.Now(),
		Device: func(id device.ID) string {
			if s := h.screens[id]; s != nil {
				return s.Name
			}
			return ""
		},
		Room: func(id device.RoomID) string {
			for _, r := range h.rooms {
				if r.ID == id {
					return r.Name
				}
			}
			return ""
		},
		Brand: func(id device.BrandID) string {
			d.mu.Lock()
			defer d.mu.Unlock()
			return d.brands[id].Name
		},
	}
	if s != nil {
		n.Screen = s.ID
	}
	return n
}

// language is what to speak to somebody of h: the first that there are words for.
func (h *home) language(wanted string, reader device.PersonID, s *screen) string {
	var tags []string
	if wanted != "" {
		tags = append(tags, wanted)
	}
	if p, ok := h.view.Person(reader); ok {
		tags = append(tags, p.Languages...)
	}
	tags = append(tags, h.view.Languages...)
	if s != nil {
		tags = append(tags, s.Can.Languages...)
	}
	return words.Pick(tags...)
}

// reader finds who reads; Household is nobody in particular.
func (h *home) reader(name string) (device.PersonID, error) {
	if name == "" {
		return device.Household, nil
	}
	for _, p := range h.people {
		if p.Name == name {
			return p.ID, nil
		}
	}
	return 0, fmt.Errorf("person %.40q: %w", name, registry.ErrUnknown)
}

// tell says each cause once.
func tell(causes []policy.Cause, language string, n words.Names) (all []string) {
	for _, c := range causes {
		if s := words.Tell(c, language, n); !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}

// explain says what h would do with m on s now.
func (d *Desk) explain(h *home, s *screen, m *policy.Message, state string, language string, reader device.PersonID) WhyScreen {
	q := policy.Request{Home: &h.view, Screen: &s.view, Message: m, Now: d.o.Now(), Own: h.find(m.ID, s.ID) != nil}
	view := h.without(m.ID)
	if dl := h.find(m.ID, s.ID); dl != nil && dl.have == HaveMissing {
		q.Home, q.Own = &view, false // it would be claimed anew
	}
	dec := policy.Decide(q)
	ws := WhyScreen{Device: s.ID, Name: s.Name, Class: s.Class, Connected: s.session != nil, Verdict: dec.Verdict.String(), Until: dec.Until, Reasons: []string{}}
	for _, r := range dec.Reasons.Rules() {
		ws.Reasons = append(ws.Reasons, r.String())
	}
	var causes []policy.Cause
	if dec.Verdict != policy.Show {
		causes = policy.Causes(q, dec)
	}
	if !s.ready() {
		causes = append(causes, policy.Cause{Rule: policy.Capability, Code: policy.Away, Device: s.ID, Class: s.Class})
	}
	if state == "withdrawn" {
		causes = append(causes, policy.Cause{Rule: policy.Validity, Code: policy.TakenBack, Brand: m.Brand})
	}
	for _, c := range causes {
		ws.Causes = append(ws.Causes, words.Operator(c))
	}
	n := d.names(h, s, reader)
	if dec.Verdict == policy.Show && len(causes) == 0 && !q.Own {
		turn := policy.Cause{Rule: policy.Dedupe, Code: policy.WaitsItsTurn, Verdict: policy.Hold}
		if p, ok := d.weighed(h, s, q, dec); ok && p.Score.Silent() {
			turn = policy.Cause{Code: policy.SilenceWon, Verdict: policy.Hold, Until: policy.NextHour(q.Now)}
			ws.Silent = true
			ws.Causes = append(ws.Causes, words.Operator(turn))
		}
		causes = append(causes, turn)
	}
	ws.Words = tell(causes, language, n)
	if dec.Verdict == policy.Show && len(ws.Words) == 0 {
		ws.Words = []string{words.Shown(policy.Grounds(q, dec), language, n)}
	}
	ws.Differ = words.Differ(policy.WhatIf(q), language)
	return ws
}

// whyHomes is how many homes one explanation covers when none is named.
const whyHomes = 20

// Why explains a message in the home called homeName, or, where that is "", in the homes that
// have or had it and those that agreed to its kind, at most 20.
func (d *Desk) Why(ctx context.Context, id device.MessageID, homeName string, o WhyOptions) (Why, error) {
	w := Why{ID: id}
	var m *policy.Message
	var homes []device.HomeID
	err := d.db.View(ctx, func(tx *store.Tx) error {
		var withdrawn device.Instant
		var e store.Event
		err := tx.QueryRow(`SELECT m.seq, m.at, m.withdrawn, j.body FROM message m JOIN journal j ON j.home = 0 AND j.pos = m.seq WHERE m.id = ?`, id[:]).
			Scan(&e.Pos, &e.At, &withdrawn, &e.Body)
		if isNoRows(err) {
			return fmt.Errorf("message %s: %w", id, registry.ErrUnknown)
		}
		if err != nil {
			return err
		}
		err = store.With(e, func(f acceptedFact) error {
			b, err := registry.BrandByID(tx, f.Brand)
			if err != nil {
				b = registry.Brand{ID: f.Brand, Name: string(f.Brand), Purposes: policy.PurposeNames()}
			}
			s, err := f.submission()
			if err != nil {
				return err
			}
			if m, err = s.compile(b, 0); err != nil {
				return fmt.Errorf("message %s is not one that would be accepted today, and is not shown: %w", id, err)
			}
			return nil
		})
		if err != nil {
			return err
		}
		m.ID, m.Seq = id, e.Pos
		w.Brand, w.Purpose, w.State = m.Brand, m.Purpose, "accepted"
		switch {
		case withdrawn != 0:
			w.State = "withdrawn"
			m.NotAfter = min(m.NotAfter, withdrawn)
		case d.o.Now() >= m.NotAfter:
			w.State = "expired"
		}
		if homeName != "" {
			h, err := registry.HomeByName(tx, homeName)
			homes = []device.HomeID{h.ID}
			return err
		}
		homes, err = store.List(tx, func(scan func(...any) error) (h device.HomeID, err error) { err = scan(&h); return },
			`SELECT home FROM delivery WHERE message = ? UNION SELECT home FROM consent WHERE brand = ? AND purpose = ? AND choice = 1 ORDER BY 1 LIMIT ?`,
			id[:], m.Brand, m.Purpose, whyHomes)
		if err == nil && len(homes) == 0 {
			homes, err = store.List(tx, func(scan func(...any) error) (h device.HomeID, err error) { err = scan(&h); return },
				`SELECT id FROM home WHERE removed = 0 ORDER BY id LIMIT ?`, whyHomes)
		}
		return err
	})
	if err != nil {
		return Why{}, fmt.Errorf("why: %w", err)
	}
	for _, number := range homes {
		wh := WhyHome{Home: number}
		past := map[device.ID]WhyDelivery{}
		err := d.db.View(ctx, func(tx *store.Tx) error {
			h, err := registry.HomeByID(tx, number)
			wh.Name = h.Name
			if err != nil {
				return err
			}
			_, err = store.List(tx, func(scan func(...any) error) (none struct{}, err error) {
				var dev device.ID
				var wd WhyDelivery
				var outcome Outcome
				var pos int64
				if err = scan(&dev, &wd.Claimed, &wd.Presented, &wd.Settled, &outcome, &pos); err != nil {
					return
				}
				wd.Outcome = outcome.String()
				wd.Decision, err = recordAt(tx, number, pos)
				past[dev] = wd
				return
			}, `SELECT device, claimed, presented, settled, outcome, pos FROM delivery WHERE home = ? AND message = ?`, number, id[:])
			return err
		})
		if err != nil {
			return Why{}, fmt.Errorf("why: %w", err)
		}
		err = d.in(number, func(h *home) error {
			reader, err := h.reader(o.Reader)
			if err != nil {
				return err
			}
			language := h.language(o.Language, reader, nil)
			for _, sv := range h.view.Screens {
				s := h.screens[sv.ID]
				ws := d.explain(h, s, m, w.State, language, reader)
				if wd, ok := past[s.ID]; ok {
					if wd.Decision.Verdict == policy.Show.String() {
						if wd.Because = words.Shown(wd.Decision.Because, language, d.names(h, s, reader)); slices.Contains(ws.Words, wd.Because) {
							wd.Because = ""
						}
						wd.Duties = tell(wd.Decision.Duties.Causes(s.Class), language, d.names(h, s, reader))
						wd.Chosen = choiceWords(wd.Decision, m.Brand, s.Class, language, d.names(h, s, reader))
					}
					ws.Delivery = &wd
				}
				wh.Screens = append(wh.Screens, ws)
			}
			return nil
		})
		if err != nil {
			return Why{}, fmt.Errorf("why: %w", err)
		}
		w.Homes = append(w.Homes, wh)
	}
	return w, nil
}

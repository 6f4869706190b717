package delivery

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"

	"porchlight/device"
	"porchlight/device/store"
	"porchlight/device/wire"
	"porchlight/policy"
	"porchlight/policy/words"
)

// learnt is what was learnt of somebody from what they did with a brand's messages. It only restricts,
// or orders: see policy.Pauses and policy.Lever.
type learnt struct {
	Person device.PersonID
	Brand  device.BrandID
	Lever  float64
	Until  device.Instant // not 0: the brand is paused until then
}

// forgetting is what is not used any more: an instant by brand, or by brand and person. What was learnt
// before it is forgotten.
type forgetting map[string]device.Instant

func (l learnt) key() string { return fmt.Sprintf("%s/%d", l.Brand, l.Person) }

// before is until when what was learnt of somebody about a brand is forgotten.
func (f forgetting) before(brand device.BrandID, person device.PersonID) device.Instant {
	return max(f[string(brand)], f[learnt{Brand: brand, Person: person}.key()])
}

// words says it, for people to keep or to forget.
func (l learnt) words(h *home, d *Desk) string {
	return words.Learnt(l.lesson(), h.language("", l.Person, nil), d.names(h, nil, l.Person))
}

func (l learnt) lesson() words.Lesson {
	return words.Lesson{Person: l.Person, Brand: l.Brand, Lever: l.Lever, Until: l.Until}
}

// remembered is how long what somebody did with a message counts for anything.
const remembered = 90 * 24 * time.Hour

// habits are what the people of a home did with what they were shown. What they closed or let go by
// counts for all who were there, what they acted on only for one who was alone and has said yes to
// messages made for them.
func habits(tx *store.Tx, home device.HomeID, v *policy.Home, devices []device.Device, forgotten forgetting, now device.Instant) (all []policy.Habit, err error) {
	owners := map[device.ID]device.PersonID{}
	for _, dev := range devices {
		owners[dev.ID] = dev.Owner
	}
	kinds := map[Outcome]policy.Reaction{Outcome(wire.Dismissed): policy.Dismissed, Outcome(wire.TimedOut): policy.Ignored, Outcome(wire.Responded): policy.Acted}
	_, err = store.List(tx, func(scan func(...any) error) (none struct{}, err error) {
		var dev device.ID
		var h policy.Habit
		var who []byte
		var others bool
		var outcome Outcome
		if err = scan(&dev, &h.Brand, &h.Category, &who, &others, &outcome, &h.At); err != nil {
			return
		}
		var there []device.PersonID
		if err = json.Unmarshal(who, &there); err != nil {
			return
		}
		if owner := owners[dev]; owner != device.Household {
			there = []device.PersonID{owner}
		}
		h.Kind = kinds[outcome]
		if h.Kind == policy.Acted {
			if len(there) != 1 || others || v.Consents[policy.ConsentKey{Subject: there[0], Brand: h.Brand, Purpose: policy.Personalised}].Choice != policy.Given {
				return
			}
		}
		if len(there) == 0 {
			there = []device.PersonID{device.Household}
		}
		for _, h.Person = range there {
			if h.At > forgotten.before(h.Brand, h.Person) {
				all = append(all, h)
			}
		}
		return
	}, `SELECT device, brand, category, who, others, outcome, settled FROM delivery WHERE home = ? AND settled > ? AND outcome IN (?, ?, ?) ORDER BY settled`,
		home, now.Add(-remembered), Outcome(wire.Dismissed), Outcome(wire.TimedOut), Outcome(wire.Responded))
	return all, err
}

// lessons are what follows from habits, by person and brand.
func lessons(habits []policy.Habit, pauses []policy.MuteRule, now device.Instant) []learnt {
	type key struct {
		person device.PersonID
		brand  device.BrandID
	}
	by := map[key][]policy.Habit{}
	for _, h := range habits {
		by[key{h.Person, h.Brand}] = append(by[key{h.Person, h.Brand}], h)
	}
	var all []learnt
	for k, list := range by {
		l := learnt{Person: k.person, Brand: k.brand, Lever: policy.Lever(list, now)}
		for _, p := range pauses {
			if p.Owner == k.person && p.Brand == k.brand {
				l.Until = p.Until
			}
		}
		if l.Until != 0 || math.Abs(l.Lever-1) >= 0.2 {
			all = append(all, l)
		}
	}
	slices.SortFunc(all, func(a, b learnt) int { return cmp.Or(cmp.Compare(a.Person, b.Person), cmp.Compare(a.Brand, b.Brand)) })
	return all
}

// LearntState is something that was learnt, as people and operators are told.
type LearntState struct {
	Person string         `json:"person,omitempty"` // whose doing it was; "": nobody's in particular
	Brand  device.BrandID `json:"brand"`
	Lever  float64        `json:"lever"`           // 0.10 to 1.50: below 1 such messages give way to others
	Until  device.Instant `json:"until,omitempty"` // not 0: paused until then
	Words  string         `json:"words"`
}

// Learnt lists what was learnt of the people of a home.
func (d *Desk) Learnt(ctx context.Context, homeName string, o WhyOptions) ([]LearntState, error) {
	id, err := d.homeID(ctx, homeName)
	if err != nil {
		return nil, fmt.Errorf("learnt: %w", err)
	}
	all := []LearntState{}
	err = d.in(id, func(h *home) error {
		reader, err := h.reader(o.Reader)
		if err != nil {
			return err
		}
		h.loaded = false // what fades has faded since
		if err := d.load(h); err != nil {
			return err
		}
		for _, l := range h.learnt {
			if reader != device.Household && l.Person != device.Household && l.Person != reader {
				continue
			}
			st := LearntState{Brand: l.Brand, Lever: math.Round(l.Lever*100) / 100, Until: l.Until, Words: words.Learnt(l.lesson(), h.language(o.Language, reader, nil), d.names(h, nil, reader))}
			if p, ok := h.person(l.Person); ok {
				st.Person = p.Name
			}
			all = append(all, st)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("learnt: %w", err)
	}
	return all, nil
}

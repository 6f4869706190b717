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

// habits are what the people of a home did with what they were shown; see reactions.
func habits(tx *store.Tx, home device.HomeID, v *policy.Home, devices []device.Device, forgotten forgetting, now device.Instant) ([]policy.Habit, error) {
	did, _, err := reactions(tx, home, v, devices, forgotten, now)
	return did, err
}

// taught is what somebody did with a message, by its outcome, where that may be learnt from.
var taught = map[Outcome]policy.Reaction{Outcome(wire.Dismissed): policy.Dismissed, Outcome(wire.TimedOut): policy.Ignored, Outcome(wire.Responded): policy.Acted}

// reactions are what the people of a home did with what they were shown: by person and brand, and each
// once by what it was about, where and when. What they closed or let go by counts for all who were there,
// what they acted on only for one who was alone and has said yes to messages made for them. What
// somebody did who is frozen, or had it forgotten, teaches nothing.
func reactions(tx *store.Tx, home device.HomeID, v *policy.Home, devices []device.Device, forgotten forgetting, now device.Instant) (all []policy.Habit, tried []policy.Trial, err error) {
	owners, classes := map[device.ID]device.PersonID{}, map[device.ID]device.Class{}
	for _, dev := range devices {
		owners[dev.ID], classes[dev.ID] = dev.Owner, dev.Class
	}
	_, err = store.List(tx, func(scan func(...any) error) (none struct{}, err error) {
		var dev device.ID
		var h policy.Habit
		var who []byte
		var others bool
		var outcome Outcome
		var claimed device.Instant
		if err = scan(&dev, &h.Brand, &h.Category, &who, &others, &outcome, &claimed, &h.At); err != nil {
			return
		}
		var there []device.PersonID
		if err = json.Unmarshal(who, &there); err != nil {
			return
		}
		if owner := owners[dev]; owner != device.Household {
			there = []device.PersonID{owner}
		}
		h.Kind = taught[outcome]
		if h.Kind == policy.Acted {
			if len(there) != 1 || others || v.Consents[policy.ConsentKey{Subject: there[0], Brand: h.Brand, Purpose: policy.Personalised}].Choice != policy.Given {
				return
			}
		}
		if len(there) == 0 {
			there = []device.PersonID{device.Household}
		}
		teaches := classes[dev] != 0
		for _, h.Person = range there {
			if h.At <= forgotten.before(h.Brand, h.Person) {
				teaches = false
				continue
			}
			all = append(all, h)
			p, _ := v.Person(h.Person)
			teaches = teaches && !p.Frozen
		}
		if teaches {
			tried = append(tried, policy.Trial{Occasion: policy.Occasion{Category: h.Category, Class: classes[dev], Part: policy.PartOf(claimed, v.Zone)}, Kind: h.Kind, At: h.At})
		}
		return
	}, `SELECT device, brand, category, who, others, outcome, claimed, settled FROM delivery WHERE home = ? AND settled > ? AND outcome IN (?, ?, ?) ORDER BY settled, message, device`,
		home, now.Add(-remembered), Outcome(wire.Dismissed), Outcome(wire.TimedOut), Outcome(wire.Responded))
	return all, tried, err
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
	Brand  device.BrandID `json:"brand,omitempty"`  // "": it is about an occasion
	Lever  float64        `json:"lever,omitempty"`  // 0.10 to 1.50: below 1 such messages give way to others
	Until  device.Instant `json:"until,omitempty"`  // not 0: paused until then

	Category string       `json:"category,omitempty"` // of an occasion: what the messages were about; "": nothing in particular
	Class    device.Class `json:"class,omitempty"`    // on what
	Part     policy.Part  `json:"part,omitempty"`     // and when
	Acted    int          `json:"acted,omitempty"`    // how many of them were acted on
	Of       int          `json:"of,omitempty"`       // of those that were acted on, closed or let go by in the last 90 days

	Words string `json:"words"`
}

// occasions are what trials come to, by what they were about, where and when.
func occasions(trials []policy.Trial) (all []LearntState) {
	for _, t := range trials {
		i := slices.IndexFunc(all, func(st LearntState) bool {
			return st.Category == t.Category && st.Class == t.Class && st.Part == t.Part
		})
		if i < 0 {
			i = len(all)
			all = append(all, LearntState{Category: t.Category, Class: t.Class, Part: t.Part})
		}
		if all[i].Of++; t.Kind == policy.Acted {
			all[i].Acted++
		}
	}
	slices.SortFunc(all, func(a, b LearntState) int {
		return cmp.Or(cmp.Compare(a.Category, b.Category), cmp.Compare(a.Class, b.Class), cmp.Compare(a.Part, b.Part))
	})
	return all
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
		if reader != device.Household {
			return nil // what others did is in it
		}
		devices := make([]device.Device, 0, len(h.screens))
		for _, s := range h.screens {
			devices = append(devices, s.Device)
		}
		return d.db.View(ctx, func(tx *store.Tx) error {
			_, tried, err := reactions(tx, h.id, &h.view, devices, h.forgotten, d.o.Now())
			for _, st := range occasions(tried) {
				st.Words = words.Occasion(policy.Occasion{Category: st.Category, Class: st.Class, Part: st.Part}, st.Acted, st.Of, h.language(o.Language, reader, nil), d.names(h, nil, reader))
				all = append(all, st)
			}
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("learnt: %w", err)
	}
	return all, nil
}

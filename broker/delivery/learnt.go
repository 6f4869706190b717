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
	if len(f) == 0 {
		return 0
	}
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

// deed is what somebody did with a message that was shown, where that may be learnt from.
type deed struct {
	device      device.ID
	brand       device.BrandID
	category    string
	who         []device.PersonID // in front of it
	others      bool              // perhaps somebody else, too
	kind        policy.Reaction
	claimed, at device.Instant
}

// taught is what somebody did with a message, by its outcome, where that may be learnt from.
var taught = map[Outcome]policy.Reaction{Outcome(wire.Dismissed): policy.Dismissed, Outcome(wire.TimedOut): policy.Ignored, Outcome(wire.Responded): policy.Acted}

// deedsOf are those of a home since an instant, the oldest first.
func deedsOf(tx *store.Tx, home device.HomeID, since device.Instant) ([]deed, error) {
	return store.List(tx, func(scan func(...any) error) (one deed, err error) {
		var who []byte
		var outcome Outcome
		if err = scan(&one.device, &one.brand, &one.category, &who, &one.others, &outcome, &one.claimed, &one.at); err == nil && len(who) > len("[]") {
			err = json.Unmarshal(who, &one.who)
		}
		one.device, one.brand, one.category = store.Intern(one.device), store.Intern(one.brand), store.Intern(one.category)
		one.kind = taught[outcome]
		return one, err
	}, `SELECT device, brand, category, who, others, outcome, claimed, settled FROM delivery WHERE home = ? AND settled > ? AND outcome IN (?, ?, ?) ORDER BY settled, message, device`,
		home, since, Outcome(wire.Dismissed), Outcome(wire.TimedOut), Outcome(wire.Responded))
}

// among finds one of some devices; the zero Device if it is not there.
func among(devices []device.Device) func(device.ID) device.Device {
	return func(id device.ID) device.Device {
		i := slices.IndexFunc(devices, func(dev device.Device) bool { return dev.ID == id })
		if i < 0 {
			return device.Device{}
		}
		return devices[i]
	}
}

// device is one of h; the zero Device if it is not there.
func (h *home) device(id device.ID) device.Device {
	if s := h.screens[id]; s != nil {
		return s.Device
	}
	return device.Device{}
}

// did takes in what somebody did now.
func (h *home) did(one deed) {
	h.deeds = append(h.deeds, one)
	if h.tasted != policy.Hour(one.at) {
		h.tasted = 0
		return
	}
	habits, trials := reactions([]deed{one}, &h.view, h.device, h.forgotten, h.tasted)
	h.taste.Add(habits, trials, h.tasted)
}

// reactions are what the people of a home did with what they were shown, as of an instant: by person and brand, and
// each once by what it was about, where and when. What they closed or let go by counts for all who were there,
// what they acted on only for one who was alone and has said yes to messages made for them. What
// somebody did who is frozen, or had it forgotten, teaches nothing.
func reactions(did []deed, v *policy.Home, of func(device.ID) device.Device, forgotten forgetting, now device.Instant) (all []policy.Habit, tried []policy.Trial) {
	for _, one := range did {
		if one.at <= now.Add(-remembered) {
			continue
		}
		there := one.who
		dev := of(one.device)
		if dev.Owner != device.Household {
			there = []device.PersonID{dev.Owner}
		}
		if one.kind == policy.Acted {
			if len(there) != 1 || one.others || v.Consents[policy.ConsentKey{Subject: there[0], Brand: one.brand, Purpose: policy.Personalised}].Choice != policy.Given {
				continue
			}
		}
		if len(there) == 0 {
			there = []device.PersonID{device.Household}
		}
		teaches := dev.Class != 0
		for _, person := range there {
			if one.at <= forgotten.before(one.brand, person) {
				teaches = false
				continue
			}
			all = append(all, policy.Habit{Person: person, Brand: one.brand, Category: one.category, Kind: one.kind, At: min(one.at, now)})
			p, _ := v.Person(person)
			teaches = teaches && !p.Frozen
		}
		if teaches {
			tried = append(tried, policy.Trial{Occasion: policy.Occasion{Category: one.category, Class: dev.Class, Part: policy.PartOf(one.claimed, v.Zone)}, Kind: one.kind, At: one.at})
		}
	}
	return all, tried
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
		_, tried := reactions(h.deeds, &h.view, h.device, h.forgotten, d.o.Now())
		for _, st := range occasions(tried) {
			st.Words = words.Occasion(policy.Occasion{Category: st.Category, Class: st.Class, Part: st.Part}, st.Acted, st.Of, h.language(o.Language, reader, nil), d.names(h, nil, reader))
			all = append(all, st)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("learnt: %w", err)
	}
	return all, nil
}

// Package twin knows how a device is and how its home wants it to be: the last context, which
// is kept in memory only, and the home's preferences, which are kept for good.
//
// In: context and preferences from the Desk. Out: the same. Never: a preference derived from
// what a device reported, a context older than the one it would replace.
package twin

import (
	"errors"
	"fmt"
	"slices"

	"porchlight/device"
	"porchlight/device/store"
)

// Report takes the values a device of class class observed at the instant at, and told at now, into c. A value
// of the wrong type makes its attribute unknown, as a null does; attributes that no decision
// knows, or that the class does not have, are passed over. complete says that every attribute
// not in values is unknown. It reports what has changed that a decision can see, which a mere
// renewal of the same value in time does not, and what was wrong with the values.
func Report(c *device.Context, class device.Class, values map[string]any, at, now device.Instant, complete bool) (changed device.AttributeSet, err error) {
	set := func(a device.Attribute, v device.Value) {
		was, known := c.Get(a)
		c.Set(a, v, at)
		is, _ := c.Get(a)
		stale := known && now >= was.Until(a, class)
		if was.Value != is.Value || stale {
			changed = changed.With(a)
		}
	}
	for name, raw := range values {
		a, ok := device.ParseAttribute(name)
		if !ok || !a.Of(class) {
			continue
		}
		v, bad := a.ValueOf(raw)
		if bad != nil {
			err = errors.Join(err, bad)
		}
		set(a, v)
	}
	if complete {
		for a := range device.AttributesOf(class) {
			if _, told := values[a.String()]; !told {
				set(a, device.Value{})
			}
		}
	}
	return changed, err
}

// The preferences. Each is one JSON document; who sets it knows its type.
const (
	Mutes     = "mutes"
	Quiet     = "quiet"
	Caps      = "caps"
	Moments   = "moments"   // those that hold messages back: film, call, sleep
	Languages = "languages" // BCP 47, the preferred first
	Signals   = "signals"   // of choices made elsewhere, by device
	Frozen    = "frozen"    // true: nothing is shown, asked or learnt
	Asking    = "asking"    // true: the home asks by itself when a message waits for nothing but a yes
	Channels  = "channels"  // where messages are liked best
	Forgotten = "forgotten" // what was learnt before is not to be used: an instant by brand
)

// Names are all of them, in the order in which several are set at once.
var Names = []string{Mutes, Quiet, Caps, Moments, Languages, Signals, Frozen, Asking, Channels, Forgotten}

const (
	preferenceSet     = "preference.set"
	preferenceNoticed = "preference.noticed" // something was learnt: what devices show has changed
)

type noticedFact struct {
	Brand device.BrandID `json:"brand"`
}

// Notice records that something was learnt about a brand from what people did, so that every device
// shows it.
func Notice(tx *store.Tx, home device.HomeID, brand device.BrandID) error {
	_, err := tx.Add(home, preferenceNoticed, noticedFact{brand})
	return err
}

type preferenceFact struct {
	Name   string    `json:"name"`
	Body   rawJSON   `json:"body"`
	Device device.ID `json:"device,omitempty"` // on which it was set; "": none of the home's
}

type rawJSON []byte

func (r rawJSON) MarshalJSON() ([]byte, error)  { return r, nil }
func (r *rawJSON) UnmarshalJSON(b []byte) error { *r = append((*r)[:0], b...); return nil }

// Set records a preference of the home, as JSON. news is false, and nothing is recorded, if it
// is what is in force.
func Set(tx *store.Tx, home device.HomeID, name string, body []byte, on device.ID) (news bool, err error) {
	was, err := Preferences(tx, home)
	if err != nil {
		return false, err
	}
	if string(was[name].Body) == string(body) {
		return false, nil
	}
	if !slices.Contains(Names, name) {
		return false, fmt.Errorf("preference %.40q: not known", name)
	}
	_, err = tx.Add(home, preferenceSet, preferenceFact{name, body, on})
	return true, err
}

// Preferences returns the documents of a home by name.
func Preferences(tx *store.Tx, home device.HomeID) (map[string]Preference, error) {
	type row struct {
		name string
		Preference
	}
	rows, err := store.List(tx, func(scan func(...any) error) (r row, err error) { err = scan(&r.name, &r.Body, &r.Pos); return },
		`SELECT name, body, pos FROM preference WHERE home = ?`, home)
	if err != nil {
		return nil, err
	}
	all := make(map[string]Preference, len(rows))
	for _, r := range rows {
		all[r.name] = r.Preference
	}
	return all, nil
}

// Preference is one document and where in the home's journal it was last set.
type Preference struct {
	Body []byte // JSON
	Pos  int64
}

// Apply projects this noun's facts; mine is false for those of others.
func Apply(tx *store.Apply, e store.Event) (mine bool, err error) {
	switch e.Kind {
	case preferenceSet:
	case preferenceNoticed:
		return true, nil
	default:
		return false, nil
	}
	return true, store.With(e, func(f preferenceFact) error {
		return tx.Exec(`INSERT INTO preference (home, name, body, pos) VALUES (?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET body = excluded.body, pos = excluded.pos`, e.Home, f.Name, []byte(f.Body), e.Pos)
	})
}

package policy

import (
	"slices"
	"unicode/utf8"

	"porchlight/device"
)

// The safety rule is a table: what a screen of a class must have told, what it must not have
// told, and what may appear on it at all. A class without a row is never shown anything.
//
// A fact that permits must be fresh. A fact that restrains (an alarm, do-not-disturb, a gear
// other than Park) stands until the device tells otherwise, however old it is: losing touch with
// a device never opens what the device had closed.
type safetyRow struct {
	forms []device.Form // what may appear on it
	chars int           // how many characters at most, title and body together; 0: no limit
	free  [][]fact      // one of these must hold in full; none: nothing need be known
	calm  []fact        // each must hold of what was told, fresh or not
}

// fact is an attribute and the values that are good.
type fact struct {
	attribute device.Attribute
	kind      device.Kind
	good      []float64
	untold    bool // good only if it was never told
}

// is makes a fact from words of an Enum, booleans or numbers. It panics on a misspelt one: the
// table is made when the program starts.
func is(a device.Attribute, good ...any) fact {
	f := fact{attribute: a, kind: a.Info().Kind}
	for _, g := range good {
		v, err := a.ValueOf(g)
		if err != nil {
			panic(err)
		}
		f.good = append(f.good, v.Num)
	}
	return f
}

func untold(a device.Attribute) fact { return fact{attribute: a, untold: true} }

const (
	gearNeutral = 0.0
	gearPark    = 126.0
)

// Nothing speaks without being asked: Voice is in no row.
var (
	quietForms = []device.Form{device.Badge, device.List}
	cardForms  = []device.Form{device.Badge, device.List, device.Toast, device.Panel}
	wallForms  = []device.Form{device.Badge, device.List, device.Toast, device.Panel, device.FullScreen}

	powered   = is(device.PowerState, "on")
	appliance = [][]fact{{is(device.OperationalState, "Stopped", "Paused")}}
)

var safetyTable = [...]*safetyRow{
	device.TV: {
		forms: wallForms,
		free: [][]fact{
			{is(device.PlayerState, "on", "idle", "paused")},
			{is(device.PlayerState, "playing"), is(device.Fullscreen, false)},
		},
	},
	device.Speaker: {
		forms: cardForms,
		free:  [][]fact{{is(device.CallActive, false)}},
		calm:  []fact{is(device.VolumeMuted, false)},
	},
	device.Console: {
		forms: wallForms,
		free:  [][]fact{{is(device.GameState, "none")}},
	},
	// Parked is what ux.driving says, because only the firmware knows. Where it has never been
	// told, gear in Park will do, or standing still with the parking brake on. A stale or
	// unknown ux.driving is not "never told", and no other fact outweighs a sign of movement.
	device.Car: {
		forms: quietForms, chars: 80,
		free: [][]fact{
			{is(device.Driving, "parked")},
			{untold(device.Driving), is(device.SelectedGear, gearPark)},
			{untold(device.Driving), is(device.VehicleSpeed, 0.0), is(device.ParkingBrake, true)},
		},
		calm: []fact{
			is(device.VehicleMoving, false),
			is(device.VehicleSpeed, 0.0),
			is(device.SelectedGear, gearPark, gearNeutral),
		},
	},
	device.Fridge:     {forms: cardForms, calm: []fact{powered}},
	device.Washer:     {forms: cardForms, free: appliance},
	device.Dryer:      {forms: cardForms, free: appliance},
	device.Dishwasher: {forms: cardForms, free: appliance},
	device.Oven: {
		forms: cardForms,
		free:  [][]fact{{is(device.OperationalState, "Stopped"), is(device.Alarm, false)}},
	},
	device.Display: {forms: wallForms, calm: []fact{powered}},
	device.Companion: {
		forms: wallForms,
		calm:  []fact{powered, is(device.CallActive, false)},
	},
}

// safetyOf returns class c's row, nil if nothing is ever shown there.
func safetyOf(c device.Class) *safetyRow {
	if int(c) < len(safetyTable) {
		return safetyTable[c]
	}
	return nil
}

var (
	noAlarm = is(device.Alarm, false)
	disturb = is(device.DND, false)
)

// safety holds while the moment is dangerous or not known to be harmless, and refuses what may
// never appear on such a screen.
func safety(q *Request) finding {
	s, row := q.Screen, safetyOf(q.Screen.Class)
	no := func(f finding, c Cause) finding {
		c.Rule, c.Class = Safety, s.Class
		return q.not(f, c)
	}
	if row == nil {
		return no(refuse, Cause{Code: NeverHere})
	}
	f := pass
	if n := length(q.Message, q.text()); row.chars > 0 && n > row.chars {
		f = no(refuse, Cause{Code: TooLong, Have: n, Max: row.chars})
	}
	if !row.fits(q.Message) {
		f = f.and(no(refuse, Cause{Code: WrongForm}))
	}
	if alarmed(q.Home) || !noAlarm.calm(s.Context) {
		f = f.and(no(wait, Cause{Code: AlarmOn}))
	}
	if s.Context == nil {
		return f.and(no(wait, Cause{Code: NothingKnown}))
	}
	if !disturb.calm(s.Context) {
		f = f.and(no(wait, Cause{Code: NotDisturbed}))
	}
	return f.and(no(row.calmly(s).and(row.freely(s, q.Now)), Cause{Code: NotSafe}))
}

// alarmed reports whether an alarm is on anywhere in the home.
func alarmed(h *Home) bool {
	if h.Alarm {
		return true
	}
	for _, s := range h.Screens {
		if s != nil && !noAlarm.calm(s.Context) {
			return true
		}
	}
	return false
}

func (row *safetyRow) calmly(s *Screen) finding {
	for i := range row.calm {
		if !row.calm[i].calm(s.Context) {
			return wait
		}
	}
	return pass
}

func (row *safetyRow) freely(s *Screen, now device.Instant) finding {
	if len(row.free) == 0 {
		return pass
	}
	best := wait
	for _, all := range row.free {
		f := pass
		for i := range all {
			f = f.and(all[i].free(s, now))
		}
		best = best.or(f)
	}
	return best
}

// fits reports whether m comes in a form that may appear on a screen of this class.
func (row *safetyRow) fits(m *Message) bool {
	for _, f := range m.Forms {
		if slices.Contains(row.forms, f) {
			return true
		}
	}
	return false
}

// length is how many characters the i-th text of m has, title and body together.
func length(m *Message, i int) int {
	if i >= len(m.Texts) {
		return 0
	}
	return utf8.RuneCountInString(m.Texts[i].Title) + utf8.RuneCountInString(m.Texts[i].Body)
}

func (f *fact) has(v device.Value) bool { return v.Kind == f.kind && slices.Contains(f.good, v.Num) }

// calm reports whether c has never told f's attribute or last told something good.
func (f *fact) calm(c *device.Context) bool {
	r, told := c.Get(f.attribute)
	return !told || f.has(r.Value)
}

// free passes while f's attribute is fresh and good.
func (f *fact) free(s *Screen, now device.Instant) finding {
	if f.untold {
		if _, told := s.Context.Get(f.attribute); told {
			return wait
		}
		return pass
	}
	v, until, fresh := s.Context.Fresh(s.Class, f.attribute, now)
	if fresh {
		if f.has(v) {
			return showTo(until)
		}
		return wait
	}
	return f.later(s, now)
}

// later is the answer for a reading that is not fresh: it stays so, unless it is from the
// future (a clock was set back), is good, and its time is yet to come.
func (f *fact) later(s *Screen, now device.Instant) finding {
	r, told := s.Context.Get(f.attribute)
	if told && f.has(r.Value) {
		return upcoming(r, f.attribute, s.Class, now)
	}
	return wait
}

// upcoming is the Hold for a good reading that is not fresh at now.
func upcoming(r device.Reading, a device.Attribute, c device.Class, now device.Instant) finding {
	if from := r.At.Add(-a.TTL(c)); r.At > now && from > now {
		return holdTo(from)
	}
	return wait
}

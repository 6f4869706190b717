package policy

import (
	"slices"
	"time"

	"porchlight/device"
)

// refCaps judges the caps of one rule: one message in some minutes is spacing, all else frequency.
func refCaps(q Request, rule string) Verdict {
	v := Show
	for _, c := range q.Home.Caps {
		if (rule == "spacing") != (c.Max == 1 && c.Minutes >= 1) || !refPicks(c.Selector, q) || !refNear(q, c.Owner) {
			continue
		}
		if c.Trip && q.Screen.Class.String() != "car" || c.EachCategory && q.Message.Category == "" {
			continue
		}
		windows := 0
		for _, has := range []bool{c.Hours != 0, c.Minutes != 0, c.Week, c.Trip} {
			if has {
				windows++
			}
		}
		if c.Max < 1 || c.Hours < 0 || c.Hours > 168 || c.Minutes < 0 || c.Minutes > 24*60 || windows > 1 {
			if c.Owner == 0 || c.Owner == q.Screen.Owner || !refThere(q).heard {
				return Refuse
			}
			v = Hold
			continue
		}
		if (windows == 0 || c.Week) && q.Home.Zone == nil {
			v = Hold
			continue
		}
		n := 0
		for _, e := range q.Home.Shown {
			if q.Own && e.Message == q.Message.ID {
				break // what came later does not count against what is there already
			}
			if refCounted(q, c, e) {
				n++
			}
		}
		if n >= c.Max {
			v = min(v, Hold)
		}
	}
	return v
}

// refCounted reports whether e is one of those that c counts now.
func refCounted(q Request, c Cap, e Exposure) bool {
	var on *Screen
	for _, s := range q.Home.Screens {
		if s.ID == e.Device {
			on = s
		}
	}
	for _, other := range []bool{
		(c.Brand != "" || c.Each) && e.Brand != q.Message.Brand,
		c.Purpose != 0 && e.Purpose != c.Purpose,
		c.Category != "" && e.Category != c.Category,
		c.EachCategory && e.Category != q.Message.Category,
		c.Device != "" && e.Device != c.Device,
		c.Trip && e.Device != q.Screen.ID,
		on != nil && (c.Class != 0 && on.Class != c.Class || c.Room != 0 && on.Room != c.Room),
		c.Owner != 0 && !slices.Contains(e.Who, c.Owner) && !e.Unknown,
	} {
		if other {
			return false
		}
	}
	then, now := e.At, q.Now
	switch {
	case c.Hours != 0:
		return now < then+device.Instant(c.Hours)*3600_000
	case c.Minutes != 0:
		return now < then+device.Instant(c.Minutes)*60_000
	case c.Trip && q.Screen.Trip > 0 && q.Screen.Trip <= now:
		return then >= q.Screen.Trip
	case c.Trip:
		return now < then+24*3600_000
	case c.Week:
		return refMonday(q, then) >= refMonday(q, now)
	default:
		return refDate(q, then) >= refDate(q, now)
	}
}

func refDate(q Request, t device.Instant) string {
	return t.Time().In(q.Home.Zone).Format(time.DateOnly)
}

// refMonday is the date of the Monday on or before t, by the calendar of the home.
func refMonday(q Request, t device.Instant) string {
	date, err := time.Parse(time.DateOnly, refDate(q, t))
	if err != nil {
		panic(err)
	}
	for date.Weekday() != time.Monday {
		date = date.AddDate(0, 0, -1)
	}
	return date.Format(time.DateOnly)
}

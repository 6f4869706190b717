package policy

import (
	"math"
	"time"
)

const (
	day = 24 * 60 * 60 // seconds

	// No zone has ever been further from UTC than this, in seconds.
	farthest = 18 * 60 * 60
)

// wall is the clock on the wall: local time in a zone, in seconds. Seconds of local time count
// from 1970-01-01 00:00 as the wall shows it; the n-th day begins at n*day. It remembers one
// stretch of constant offset, so that most questions cost no look-up.
type wall struct {
	zone     *time.Location
	from, to int64 // Unix seconds; the offset holds from from until before to
	offset   int64
}

func wallAt(zone *time.Location, unix int64) wall {
	t := time.Unix(unix, 0).In(zone)
	_, offset := t.Zone()
	start, end := t.ZoneBounds()
	w := wall{zone: zone, from: math.MinInt64, to: math.MaxInt64, offset: int64(offset)}
	if !start.IsZero() {
		w.from = start.Unix()
	}
	if !end.IsZero() {
		w.to = end.Unix()
	}
	if w.to <= unix { // the last day of a leap year: where only a zone's rule is known, Go has each year end after 365 days
		w.to += day
	}
	return w
}

// Date is time.Date for what a clock on the wall shows: its first instant if the clock shows it twice, and the instant
// at which the clock is put forward over it if it never does. So the midnight of a date begins the date; time.Date has the
// date of which the clock skips the midnight begin an hour early, in the evening before.
func Date(year int, month time.Month, date, hour, minute int, zone *time.Location) time.Time {
	shown := time.Date(year, month, date, hour, minute, 0, 0, time.UTC).Unix()
	w := wallAt(zone, shown)
	return time.Unix(w.first(shown), 0).In(zone)
}

// plain reports whether the clocks change on none of the days around unix.
func (w *wall) plain(unix int64) bool { return unix-4*day >= w.from && unix+4*day < w.to }

// local is what the wall shows at unix.
func (w *wall) local(unix int64) int64 {
	if w.from <= unix && unix < w.to {
		return unix + w.offset
	}
	_, offset := time.Unix(unix, 0).In(w.zone).Zone()
	return unix + int64(offset)
}

// day numbers the local day of unix.
func (w *wall) day(unix int64) int64 { return floor(w.local(unix), day) }

// first is the first Unix second at which the wall shows local. If it never does, because the
// clock is put forward over it, that is the second of the change.
func (w *wall) first(local int64) int64 { return w.when(local, false) }

// last is the same, but the last time if the wall shows local twice.
func (w *wall) last(local int64) int64 { return w.when(local, true) }

func (w *wall) when(local int64, last bool) int64 {
	if local-farthest >= w.from && local+farthest < w.to {
		return local - w.offset
	}
	var found int64
	p := wallAt(w.zone, local-farthest)
	for range 16 { // more changes than any zone has had in two days
		if t := local - p.offset; p.from <= t && t < p.to {
			found = t
			if !last {
				break
			}
		}
		if p.to > local+farthest {
			break
		}
		next := wallAt(w.zone, p.to)
		if local >= p.to+p.offset && local < p.to+next.offset {
			found = p.to
			if !last {
				break
			}
		}
		p = next
	}
	return found
}

// midnight is the next Unix second after unix at which the wall shows a later date.
func (w *wall) midnight(unix int64) int64 { return w.nextDate(w.day(unix)+1, unix) }

// nextDate is the next Unix second after unix at which the wall shows local day n or a later one.
func (w *wall) nextDate(n, unix int64) int64 {
	t := w.first(n * day)
	if t <= unix { // its midnight comes twice
		t = w.last(n * day)
	}
	return max(t, unix+1)
}

// monday is the Monday of the week of a local day.
func monday(n int64) int64 { return floor(n+3, 7)*7 - 3 }

// weekday of a local day; 0 is Sunday.
func weekday(day int64) int { return int(((day+4)%7 + 7) % 7) }

// floor is n/by rounded down.
func floor(n, by int64) int64 {
	q := n / by
	if n%by < 0 {
		q--
	}
	return q
}

package policy

import (
	"slices"
	"testing"
	"time"

	"porchlight/device"
)

// quietFrom returns when, after now, the quiet time of q's home begins and ends.
func quietFrom(t *testing.T, q Request) (from, to device.Instant) {
	t.Helper()
	d := Decide(q)
	if d.Verdict != Show {
		t.Fatalf("%s for %s before quiet time\n%s", d.Verdict, d.Reasons, describe(q))
	}
	from = d.Until
	q.Now = from - 1
	if d := Decide(q); d.Verdict != Show || d.Until != from {
		t.Errorf("1 ms before %s: %s until %s", from, d.Verdict, d.Until)
	}
	q.Now = from
	d = Decide(q)
	if d.Verdict != Hold || d.Reasons.String() != "quiet" {
		t.Fatalf("at %s: %s for %q", from, d.Verdict, d.Reasons)
	}
	to = d.Until
	q.Now = to - 1
	if d := Decide(q); d.Verdict != Hold || d.Until != to {
		t.Errorf("1 ms before %s: %s until %s", to, d.Verdict, d.Until)
	}
	q.Now = to
	if d := Decide(q); d.Verdict != Show {
		t.Errorf("at %s: %s for %q", to, d.Verdict, d.Reasons)
	}
	return from, to
}

// inZone is the good case on a fridge, which asks nothing of the clock.
func inZone(name, now string) Request {
	q := good(device.Fridge)
	q.Home.Zone = zone(name)
	q.Now = at(now)
	q.Message.NotAfter = q.Now.Add(hours(24 * 60))
	return *q
}

func TestQuietNightLasts(t *testing.T) {
	tests := map[string]struct {
		zone, day string
		want      time.Duration
	}{
		"Zurich, any night":         {"Europe/Zurich", "2026-06-10T12:00:00+02:00", hours(9)},
		"Zurich, clocks go forward": {"Europe/Zurich", "2026-03-28T12:00:00+01:00", hours(8)},
		"Zurich, clocks go back":    {"Europe/Zurich", "2026-10-24T12:00:00+02:00", hours(10)},
		"Lord Howe, half forward":   {"Australia/Lord_Howe", "2026-10-03T12:00:00+10:30", hours(8.5)},
		"Lord Howe, half back":      {"Australia/Lord_Howe", "2026-04-04T12:00:00+11:00", hours(9.5)},
		"Troll, two hours forward":  {"Antarctica/Troll", "2026-03-28T12:00:00Z", hours(7)},
		"Apia, a day is skipped":    {"Pacific/Apia", "2011-12-29T12:00:00-10:00", hours(9)}, // Thursday's to the gap, then Friday's
		"Kathmandu":                 {"Asia/Kathmandu", "2026-03-28T12:00:00+05:45", hours(9)},
		"Kiritimati":                {"Pacific/Kiritimati", "2026-03-28T12:00:00+14:00", hours(9)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			q := inZone(tt.zone, tt.day)
			q.Home.Quiet = []Quiet{{Start: 22 * 60, End: 7 * 60}}
			from, to := quietFrom(t, q)
			if start := from.Time().In(q.Home.Zone).Format("15:04"); start != "22:00" {
				t.Errorf("begins at %s", start)
			}
			if end := to.Time().In(q.Home.Zone).Format("15:04"); end != "07:00" {
				t.Errorf("ends at %s", end)
			}
			if got := to.Time().Sub(from.Time()); got != tt.want {
				t.Errorf("lasts %s, want %s", got, tt.want)
			}
		})
	}
}

func TestQuietThatTheClockSkipsOrRepeats(t *testing.T) {
	tests := map[string]struct {
		zone, day   string // an instant some hours before
		minute      int    // of the wall: skipped, or shown twice
		first, last string // when a quiet time begins that starts then, and ends that ends then
	}{
		"Zurich gap":         {"Europe/Zurich", "2026-03-28T16:00:00Z", 150, "2026-03-29T01:00:00Z", "2026-03-29T01:00:00Z"},
		"New York gap":       {"America/New_York", "2026-03-07T20:00:00Z", 150, "2026-03-08T07:00:00Z", "2026-03-08T07:00:00Z"},
		"Sao Paulo gap":      {"America/Sao_Paulo", "2018-11-03T16:00:00Z", 0, "2018-11-04T03:00:00Z", "2018-11-04T03:00:00Z"},
		"Beirut gap":         {"Asia/Beirut", "2022-03-26T12:00:00Z", 0, "2022-03-26T22:00:00Z", "2022-03-26T22:00:00Z"},
		"Cairo gap":          {"Africa/Cairo", "2024-04-25T12:00:00Z", 0, "2024-04-25T22:00:00Z", "2024-04-25T22:00:00Z"},
		"Havana gap":         {"America/Havana", "2026-03-07T20:00:00Z", 30, "2026-03-08T05:00:00Z", "2026-03-08T05:00:00Z"},
		"Lord Howe gap":      {"Australia/Lord_Howe", "2026-10-03T06:00:00Z", 135, "2026-10-03T15:30:00Z", "2026-10-03T15:30:00Z"},
		"Dublin gap":         {"Europe/Dublin", "2026-03-28T16:00:00Z", 90, "2026-03-29T01:00:00Z", "2026-03-29T01:00:00Z"},
		"Troll gap":          {"Antarctica/Troll", "2026-03-28T16:00:00Z", 90, "2026-03-29T01:00:00Z", "2026-03-29T01:00:00Z"},
		"Zurich overlap":     {"Europe/Zurich", "2026-10-24T16:00:00Z", 150, "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"},
		"Casablanca overlap": {"Africa/Casablanca", "2026-02-14T16:00:00Z", 150, "2026-02-15T01:30:00Z", "2026-02-15T02:30:00Z"},
		"Lord Howe overlap":  {"Australia/Lord_Howe", "2026-04-04T06:00:00Z", 105, "2026-04-04T14:45:00Z", "2026-04-04T15:15:00Z"},
		"neither: Zurich":    {"Europe/Zurich", "2026-06-10T16:00:00Z", 150, "2026-06-11T00:30:00Z", "2026-06-11T00:30:00Z"},
		"neither: Kathmandu": {"Asia/Kathmandu", "2026-06-10T16:00:00Z", 150, "2026-06-10T20:45:00Z", "2026-06-10T20:45:00Z"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			q := inZone(tt.zone, tt.day)
			q.Home.Quiet = []Quiet{{Start: tt.minute, End: tt.minute + 240}}
			if from, _ := quietFrom(t, q); from != at(tt.first) {
				t.Errorf("begins %s, want %s", from, tt.first)
			}
			q.Home.Quiet = []Quiet{{Start: (tt.minute + 1440 - 120) % 1440, End: tt.minute}}
			if _, to := quietFrom(t, q); to != at(tt.last) {
				t.Errorf("ends %s, want %s", to, tt.last)
			}
		})
	}
}

func TestQuietInsideTheSkippedDay(t *testing.T) {
	q := inZone("Pacific/Apia", "2011-12-29T12:00:00-10:00")
	q.Home.Quiet = []Quiet{{Days: 1 << 5, Start: 8 * 60, End: 10 * 60}} // Fridays from 8 to 10
	if from, _ := quietFrom(t, q); from != at("2012-01-06T08:00:00+14:00") {
		t.Errorf("the Friday that never was makes quiet time at %s", from)
	}
}

func TestDailyCapEndsAtMidnight(t *testing.T) {
	tests := map[string]struct {
		zone, shown string
		next        string        // the first instant of the next date
		day         time.Duration // how long the whole day was
	}{
		"Zurich, any day":       {"Europe/Zurich", "2026-06-10T12:00:00+02:00", "2026-06-11T00:00:00+02:00", hours(24)},
		"Zurich, 23 h":          {"Europe/Zurich", "2026-03-29T12:00:00+02:00", "2026-03-30T00:00:00+02:00", hours(23)},
		"Zurich, 25 h":          {"Europe/Zurich", "2026-10-25T12:00:00+01:00", "2026-10-26T00:00:00+01:00", hours(25)},
		"Lord Howe, 24.5 h":     {"Australia/Lord_Howe", "2026-04-05T12:00:00+10:30", "2026-04-06T00:00:00+10:30", hours(24.5)},
		"Sao Paulo, from 1h":    {"America/Sao_Paulo", "2018-11-04T12:00:00-02:00", "2018-11-05T00:00:00-02:00", hours(23)},
		"Havana, 25 h":          {"America/Havana", "2026-11-01T12:00:00-05:00", "2026-11-02T00:00:00-05:00", hours(25)},
		"Apia, next but one":    {"Pacific/Apia", "2011-12-29T12:00:00-10:00", "2011-12-31T00:00:00+14:00", hours(24)},
		"St Johns, comes twice": {"America/St_Johns", "2010-11-06T12:00:00-02:30", "2010-11-07T00:00:00-02:30", hours(24)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			q := inZone(tt.zone, tt.shown)
			q.Home.Caps = []Cap{{Max: 1}}
			q.Home.Shown = []Exposure{{At: at(tt.shown), Brand: baker, Message: id(9)}}
			d := Decide(q)
			if d.Verdict != Hold || d.Until != at(tt.next) {
				t.Fatalf("%s until %s, want %s", d.Verdict, d.Until, tt.next)
			}
			q.Now = d.Until - 1
			if d := Decide(q); d.Verdict != Hold {
				t.Errorf("1 ms before midnight: %s", d.Verdict)
			}
			q.Now = d.Until
			if d := Decide(q); d.Verdict != Show {
				t.Errorf("at midnight: %s for %s", d.Verdict, d.Reasons)
			}
			w := wallAt(q.Home.Zone, int64(at(tt.shown))/1000)
			first := w.first(w.day(int64(at(tt.shown))/1000) * day)
			q.Home.Shown[0].At, q.Now = device.Instant(first*1000), at(tt.next)-1
			if d := Decide(q); d.Verdict != Hold {
				t.Errorf("what the day began with does not count at its end: %s", d.Verdict)
			}
			if got := time.Duration(int64(at(tt.next))/1000-first) * time.Second; got != tt.day {
				t.Errorf("the day lasts %s, want %s", got, tt.day)
			}
		})
	}
}

// In St. John's, until 2011, clocks went back at one minute past midnight, so that a date ended,
// began, and ended again. Neither date may have more than its share.
func TestDailyCapWhenADateComesTwice(t *testing.T) {
	q := inZone("America/St_Johns", "2010-11-06T22:00:00-02:30")
	q.Home.Caps = []Cap{{Max: 1}}
	q.Home.Shown = []Exposure{{At: q.Now, Brand: baker, Message: id(9)}}
	for _, tt := range []struct {
		now  string
		want Verdict
	}{
		{"2010-11-06T23:59:59-02:30", Hold},
		{"2010-11-07T00:00:30-02:30", Show}, // Sunday's first minute
		{"2010-11-06T23:01:00-03:30", Hold}, // Saturday again
		{"2010-11-07T00:00:00-03:30", Show}, // Sunday for good
	} {
		q.Now = at(tt.now)
		d := Decide(q)
		if d.Verdict != tt.want {
			t.Errorf("%s: %s, want %s", tt.now, d.Verdict, tt.want)
		}
		if tt.now == "2010-11-07T00:00:30-02:30" && d.Until != at("2010-11-07T00:01:00-02:30") {
			t.Errorf("a Show of Sunday's first minute stands until %s", d.Until)
		}
		if tt.now == "2010-11-06T23:01:00-03:30" && d.Until != at("2010-11-07T00:00:00-03:30") {
			t.Errorf("Saturday's second Hold ends %s", d.Until)
		}
	}
	q.Home.Shown[0].At, q.Now = at("2010-11-07T00:00:30-02:30"), at("2010-11-06T23:30:00-03:30")
	if d := Decide(q); d.Verdict != Hold {
		t.Errorf("what Sunday's first minute saw does not count on Saturday: %s", d.Verdict)
	}
}

func TestQuietWhenADateComesTwice(t *testing.T) {
	tests := map[string]struct {
		quiet     Quiet
		now, want string
	}{
		"Friday's, in Sunday's first minute": {Quiet{Days: 1 << 5, Start: 1410, End: 1410}, "2010-11-07T00:00:30-02:30", "2010-11-06T23:30:00-03:30"},
		"Sunday's, on Saturday again":        {Quiet{Days: 1 << 0, Start: 0, End: 360}, "2010-11-06T23:15:00-03:30", "2010-11-07T06:00:00-03:30"},
	}
	for name, tt := range tests {
		q := inZone("America/St_Johns", tt.now)
		q.Home.Quiet = []Quiet{tt.quiet}
		if d := Decide(q); d.Verdict != Hold || d.Until != at(tt.want) {
			t.Errorf("%s: %s until %s, want hold until %s", name, d.Verdict, d.Until, tt.want)
		}
	}
}

// Dates of every kind that a clock on a wall can have: how long a day is, which times of day there
// are not, and which there are twice.
func TestWall(t *testing.T) {
	local := func(s string) int64 {
		t, err := time.Parse("2006-01-02 15:04", s)
		if err != nil {
			panic(err)
		}
		return t.Unix()
	}
	show := func(unix int64) string { return time.Unix(unix, 0).UTC().Format("2006-01-02 15:04") }
	days := []struct {
		zone, day string
		want      time.Duration
	}{
		{"Europe/Zurich", "2026-06-10", hours(24)}, {"Europe/Zurich", "2026-03-29", hours(23)}, {"Europe/Zurich", "2026-10-25", hours(25)},
		{"Australia/Lord_Howe", "2026-04-05", hours(24.5)}, {"Australia/Lord_Howe", "2026-10-04", hours(23.5)}, {"Pacific/Apia", "2011-12-30", 0},
		{"Pacific/Apia", "2011-12-29", hours(24)}, {"Pacific/Apia", "2011-12-31", hours(24)}, {"Antarctica/Troll", "2026-03-29", hours(22)},
		{"Asia/Kathmandu", "2026-03-29", hours(24)}, {"Pacific/Kiritimati", "2026-03-29", hours(24)},
	}
	for _, tt := range days {
		from := local(tt.day + " 00:00")
		w := wallAt(zone(tt.zone), from)
		if got := time.Duration(w.first(from+day)-w.first(from)) * time.Second; got != tt.want {
			t.Errorf("%s in %s lasts %s, want %s", tt.day, tt.zone, got, tt.want)
		}
	}
	gaps := []struct{ zone, local, change string }{ // the change, in UTC, is when what is not there begins and ends
		{"Europe/Zurich", "2026-03-29 02:30", "2026-03-29 01:00"}, {"America/New_York", "2026-03-08 02:30", "2026-03-08 07:00"},
		{"America/Sao_Paulo", "2018-11-04 00:00", "2018-11-04 03:00"}, {"Asia/Beirut", "2022-03-27 00:00", "2022-03-26 22:00"},
		{"Africa/Cairo", "2024-04-26 00:00", "2024-04-25 22:00"}, {"America/Havana", "2026-03-08 00:30", "2026-03-08 05:00"},
		{"Australia/Lord_Howe", "2026-10-04 02:15", "2026-10-03 15:30"}, {"Europe/Dublin", "2026-03-29 01:30", "2026-03-29 01:00"},
		{"Antarctica/Troll", "2026-03-29 01:30", "2026-03-29 01:00"}, {"Antarctica/Troll", "2026-03-29 02:30", "2026-03-29 01:00"},
		{"Pacific/Apia", "2011-12-30 12:00", "2011-12-30 10:00"},
	}
	for _, tt := range gaps {
		at := local(tt.local)
		w := wallAt(zone(tt.zone), at)
		first, last := w.first(at), w.last(at)
		if show(first) != tt.change || last != first {
			t.Errorf("%s in %s is from %s to %s, want the change at %s", tt.local, tt.zone, show(first), show(last), tt.change)
		}
		if w.local(first) <= at || w.local(first-1) >= at {
			t.Errorf("%s in %s exists: the wall goes from %s to %s", tt.local, tt.zone, show(w.local(first-1)), show(w.local(first)))
		}
	}
	overlaps := []struct{ zone, local, first, last string }{
		{"Europe/Zurich", "2026-10-25 02:30", "2026-10-25 00:30", "2026-10-25 01:30"},
		{"Africa/Casablanca", "2026-02-15 02:30", "2026-02-15 01:30", "2026-02-15 02:30"},
		{"Australia/Lord_Howe", "2026-04-05 01:45", "2026-04-04 14:45", "2026-04-04 15:15"},
	}
	for _, tt := range overlaps {
		at := local(tt.local)
		w := wallAt(zone(tt.zone), at)
		first, last := w.first(at), w.last(at)
		if show(first) != tt.first || show(last) != tt.last || w.local(first) != at || w.local(last) != at {
			t.Errorf("%s in %s is first at %s and last at %s, want %s and %s", tt.local, tt.zone, show(first), show(last), tt.first, tt.last)
		}
	}
	for name, offset := range map[string]time.Duration{"Asia/Kathmandu": 5*time.Hour + 45*time.Minute, "Pacific/Kiritimati": 14 * time.Hour} {
		at := local("2026-03-28 12:00")
		if w := wallAt(zone(name), at); w.local(at)-at != int64(offset.Seconds()) {
			t.Errorf("%s is %d s from UTC, want %s", name, w.local(at)-at, offset)
		}
	}
}

// byRule is a zone of which only the rule for ever is known, as POSIX spells it in TZ. Go's own table, which is in the binary, has such
// rules from the last change of law on; a machine's may spell out each change until 2037.
func byRule(rule string) *time.Location {
	const name = "LMT\x00"
	head := append([]byte("TZif2"), make([]byte, 15+4*4)...)
	head = append(head, 0, 0, 0, 1, 0, 0, 0, byte(len(name)))
	body := append(make([]byte, 6), name...)
	file := slices.Concat(head, body, head, body, []byte("\n"+rule+"\n"))
	z, err := time.LoadLocationFromTZData(rule, file)
	if err != nil {
		panic(err)
	}
	return z
}

var foreverRules = []string{"CET-1CEST,M3.5.0,M10.5.0/3", "EST5EDT,M3.2.0,M11.1.0", "NZST-12NZDT,M9.5.0,M4.1.0/3", "<-02>2<-01>,M3.5.0/-1,M10.5.0/0", "IST-1GMT0,M10.5.0,M3.5.0/1"}

// Of the last day of a leap year Go gives bounds that end before it.
func TestWallAtTheEndOfALeapYear(t *testing.T) {
	for _, rule := range foreverRules {
		z := byRule(rule)
		for _, year := range []int{2028, 2100, 2400} {
			begin := time.Date(year, 12, 28, 0, 0, 0, 0, time.UTC)
			for at := begin; at.Before(begin.AddDate(0, 0, 7)); at = at.Add(30 * time.Minute) {
				w := wallAt(z, at.Unix())
				if w.from > at.Unix() || w.to <= at.Unix() {
					t.Fatalf("%s: the stretch of %s is from %s to %s", rule, at, time.Unix(w.from, 0).UTC(), time.Unix(w.to, 0).UTC())
				}
				local := w.local(at.Unix())
				for _, from := range []int64{-3 * day, -day / 2, 0, day / 2, 3 * day} {
					w := wallAt(z, at.Unix()+from)
					if first, last := w.first(local), w.last(local); first != at.Unix() || last != at.Unix() {
						t.Fatalf("%s: the wall shows what it shows at %s first at %s and last at %s", rule, at, time.Unix(first, 0).UTC(), time.Unix(last, 0).UTC())
					}
				}
			}
		}
	}
}

package policy

import (
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"porchlight/device"
)

// TestQuietMinuteByMinute goes through the hours around changes of the clocks, all that these zones have had and will have, and
// around the ends of leap years, minute by minute:
// nothing is shown while the wall shows a time that is quiet, and what was said to stay so until an instant does, and no longer.
func TestQuietMinuteByMinute(t *testing.T) {
	zones := []string{"Europe/Zurich", "Europe/Dublin", "America/New_York", "America/Los_Angeles", "America/Sao_Paulo", "America/Havana", "America/Scoresbysund",
		"America/St_Johns", "Africa/Casablanca", "Africa/El_Aaiun", "Africa/Cairo", "Asia/Beirut", "Asia/Gaza", "Asia/Tehran", "Asia/Pyongyang", "Australia/Lord_Howe",
		"Antarctica/Troll", "Antarctica/Casey", "Pacific/Apia", "Pacific/Kwajalein", "Pacific/Norfolk", "Pacific/Chatham"}
	n, seed := 300, uint64(1)
	if os.Getenv("PORCHLIGHT_LONG") != "" {
		n, seed = 100_000, rand.Uint64()
	}
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range n {
		q := good(device.Fridge)
		q.Home.Zone = zone(zones[r.IntN(len(zones))])
		_, change := time.Unix(r.Int64N(70*365*day), 0).In(q.Home.Zone).ZoneBounds()
		if r.IntN(8) == 0 { // where Go's bounds are wrong
			q.Home.Zone = byRule(foreverRules[r.IntN(len(foreverRules))])
			change = time.Date(2028+4*r.IntN(10), 12, 31, 0, r.IntN(24*60), 0, 0, time.UTC)
		}
		if change.IsZero() {
			continue // and it will have none
		}
		q.Message.NotAfter = device.At(change.Add(60 * 24 * time.Hour))
		near := func(at time.Time) int { // minute of the day
			if r.IntN(2) == 0 {
				return r.IntN(24 * 60)
			}
			at = at.In(q.Home.Zone).Add(time.Duration(r.IntN(180)-90) * time.Minute)
			return at.Hour()*60 + at.Minute()
		}
		for range 1 + r.IntN(2) {
			q.Home.Quiet = append(q.Home.Quiet, Quiet{Days: uint8(r.IntN(2) * r.IntN(1<<7)), Start: near(change.Add(-time.Second)), End: near(change)})
		}
		minuteByMinute(t, q, change)
	}
}

func minuteByMinute(t *testing.T, q *Request, change time.Time) {
	var said Decision // of which an end was told, and is still to come
	for at := change.Add(-27 * time.Hour); at.Before(change.Add(27 * time.Hour)); at = at.Add(time.Minute) {
		q.Now = device.At(at)
		d := Decide(*q)
		wall := at.In(q.Home.Zone)
		switch {
		case quietOnTheWall(q.Home.Quiet, wall) && d.Verdict != Hold:
			t.Errorf("at %s, which is quiet by %+v: %s", wall, q.Home.Quiet, d.Verdict)
			return
		case q.Now < said.Until && d.Verdict != said.Verdict:
			t.Errorf("at %s, by %+v: %s, which was to stay %s until %s", wall, q.Home.Quiet, d.Verdict, said.Verdict, said.Until)
			return
		case said.Until != 0 && q.Now >= said.Until && said.Verdict == Hold && d.Verdict == Hold:
			t.Errorf("at %s, by %+v: held, which was to end at %s", wall, q.Home.Quiet, said.Until)
			return
		case q.Now >= said.Until:
			said = d
		}
	}
}

// quietOnTheWall reports whether what the wall shows lies in a quiet time of its day, or of the day before.
func quietOnTheWall(all []Quiet, wall time.Time) bool {
	minute := wall.Hour()*60 + wall.Minute()
	for _, z := range all {
		on := func(day time.Weekday) bool { return z.Days == 0 || z.Days&(1<<day) != 0 }
		today, yesterday := on(wall.Weekday()), on((wall.Weekday()+6)%7)
		if z.Start < z.End && today && z.Start <= minute && minute < z.End || z.Start >= z.End && (today && z.Start <= minute || yesterday && minute < z.End) {
			return true
		}
	}
	return false
}

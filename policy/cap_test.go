package policy

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"porchlight/device"
)

// Windows, days, weeks and trips are counted as the reference does, in weeks in which zones do something odd: at
// random, and with all that was shown, and every instant that is judged, near an edge of some window.
func TestCapsCountAsTheReference(t *testing.T) {
	samples := fewer(60_000)
	if testing.Short() {
		samples = 6_000
	}
	r := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	one := func(of ...int64) int64 { return of[r.IntN(len(of))] }
	const hour, day = int64(3600_000), int64(24 * 3600_000)
	full, open := 0, 0
	for range samples {
		o := odd[r.IntN(len(odd))]
		q := *good([]device.Class{device.Car, device.Car, device.TV}[r.IntN(3)])
		q.Home.Zone = zone(o.zone)
		q.Message.Category = []string{"dairy", "dairy", ""}[r.IntN(3)]
		// In the zone's own time, so that the edges of its days are met.
		local := func(back int64) device.Instant {
			at := at(o.day).Time().In(q.Home.Zone)
			return device.At(time.Date(at.Year(), at.Month(), at.Day()-int(back), int(one(0, 0, 1, 23)), int(one(0, 0, 1, 30, 59)), int(one(0, 0, 59)), 0, q.Home.Zone))
		}
		q.Now = local(one(-8, -7, -6, -2, -1, 0, 0, 1)) + device.Instant(one(-1, 0, 0, 1, r.Int64N(2*day)))
		for n := range 1 + r.IntN(6) {
			ago := one(0, 1, hour-1, hour, hour+1, 24*hour, 24*hour-1, 168*hour, r.Int64N(10*day), r.Int64N(10*day), -r.Int64N(26*hour), -r.Int64N(2*hour))
			e := Exposure{At: q.Now - device.Instant(ago), Message: id(byte(n + 2)), Brand: []device.BrandID{grocer, baker}[r.IntN(2)], Category: []string{"dairy", "meat", ""}[r.IntN(3)],
				Device: []device.ID{"screen-1", "screen-1", "fridge-1", "gone-1"}[r.IntN(4)], Purpose: Marketing}
			if r.IntN(2) == 0 {
				e.At = local(one(-9, -8, -7, -6, -1, 0, 0, 1, 7)) + device.Instant(one(-1, 0, 1))
			}
			q.Home.Shown = append(q.Home.Shown, e)
		}
		slices.SortFunc(q.Home.Shown, func(a, b Exposure) int { return int(a.At - b.At) })
		q.Screen.Trip = []device.Instant{0, q.Now, q.Now + 1, q.Now - 1, q.Home.Shown[0].At, q.Home.Shown[0].At + 1, q.Now - device.Instant(r.Int64N(3*day))}[r.IntN(7)]
		for range 1 + r.IntN(14) {
			c := Cap{Max: 1 + r.IntN(3), Each: r.IntN(4) == 0, EachCategory: r.IntN(4) == 0}
			switch r.IntN(6) {
			case 0, 1:
				c.Week = true
			case 2:
				c.Trip = true
			case 3:
				c.Hours = int(one(1, 24, 168))
			case 4:
				c.Minutes = int(one(45, 60, 1440))
			}
			if r.IntN(5) == 0 {
				c.Class = q.Screen.Class
			}
			q.Home.Caps = append(q.Home.Caps, c)
		}
		for _, caps := range append([][]Cap{q.Home.Caps}, q.Home.Caps[:1]) { // together, and one alone
			q.Home.Caps = caps
			h := *q.Home
			prepared := q
			prepared.Home = &h
			h.Prepare(q.Now.Add(-hours(float64(r.IntN(400)))))
			for _, p := range []*Request{&q, &prepared} {
				p.look()
				p.prepare()
				often, apart := frequency(p), spacing(p)
				if want := refCaps(q, "frequency"); often.verdict != want {
					t.Fatalf("frequency %s, want %s\n%s", often.verdict, want, describe(q))
				}
				if want := refCaps(q, "spacing"); apart.verdict != want {
					t.Fatalf("spacing %s, want %s\n%s", apart.verdict, want, describe(q))
				}
				if often.verdict == Show {
					open++
				} else if full++; often.until != 0 && often.until <= q.Now {
					t.Fatalf("holds until %s\n%s", often.until, describe(q))
				}
			}
		}
	}
	if min(full, open) < samples/10 {
		t.Errorf("of %d samples %d hold and %d do not", samples, full, open)
	}
}

package policy

import "porchlight/device"

// Scene is what a screen and what is around it are like at an instant, whatever the message: worked out
// once for all that is judged there in one go. The zero Scene is of no screen.
type Scene struct {
	Presence

	home   *Home
	screen *Screen
	now    device.Instant

	calm  finding        // what the safety table says of the devices, whatever is to be shown; not asked where nothing is ever shown or was told
	quiet finding        // what QuietTime says
	dark  bool           // somebody who is there, or may be, wants screens dark
	until device.Instant // the clock alone does not change dark before; 0: never
}

// Look is the Scene of s, a screen of h, at now. It allocates nothing. It is good until something in h
// changes.
func Look(h *Home, s *Screen, now device.Instant) Scene {
	q := Request{Home: h, Screen: s, Now: now}
	q.look()
	return q.there
}

// look finds out what there is around q's screen, unless the caller has.
func (q *Request) look() {
	t := &q.there
	if s := q.Scene; s != nil && s.home == q.Home && s.screen == q.Screen && s.now == q.Now {
		*t = *s
		return
	}
	t.Presence = Present(q.Home, q.Screen, q.Now)
	if row := q.row(); row != nil && q.Screen.Context != nil {
		t.calm = row.calmly(q.Screen, q.Now).and(row.freely(q.Screen, q.Now)).and(row.quietly(q))
	}
	t.quiet = q.quietTimes().and(q.moments())
	t.dark, t.until = q.dark()
	t.home, t.screen, t.now = q.Home, q.Screen, q.Now
}

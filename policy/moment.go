package policy

import "porchlight/device"

var (
	playing = is(device.PlayerState, "playing")
	whole   = is(device.Fullscreen, true)
	calling = is(device.CallActive, true)
	asleep  = is(device.Sleeping, true)
)

// momentous is what tells of a moment.
var momentous = device.Attributes(device.PlayerState, device.CallActive, device.Sleeping)

// moments holds while something goes on that the home does not want to be disturbed in. It ends
// when the device says so, or has not said it for so long that it cannot be relied on.
func (q *Request) moments() finding {
	if len(q.Home.Moments) == 0 {
		return pass
	}
	f := q.momentsOn(q.Screen)
	for _, s := range q.Home.Screens {
		if s != nil && !s.is(q.Screen) {
			f = f.and(q.momentsOn(s))
		}
	}
	return f
}

// momentsOn asks one device about all moments.
func (q *Request) momentsOn(s *Screen) finding {
	f := pass
	told := s.Context.Told()
	if !told.Intersects(momentous) {
		return f
	}
	here := q.here(s)
	for _, m := range q.Home.Moments {
		if here || m == Sleep && told.Has(device.Sleeping) { // the others count where they are
			f = f.and(q.moment(m, s))
		}
	}
	return f
}

// here reports whether s is where the message is to be shown.
func (q *Request) here(s *Screen) bool {
	return s == q.Screen || s.Room != 0 && s.Room == q.Screen.Room || s.is(q.Screen)
}

// moment asks one device about one moment.
func (q *Request) moment(m Moment, s *Screen) finding {
	here := q.here(s)
	on := wait
	switch m {
	case Film:
		if here && (s.Class == device.TV || s.Class == device.Console || s.Class == device.Display) {
			on = playing.free(s, q.Now).and(whole.free(s, q.Now))
		}
	case Call:
		if here {
			on = calling.free(s, q.Now)
		}
	case Sleep:
		i := q.Home.place(s.Owner)
		if here || s.Class == device.Companion && s.Room == 0 || i >= 0 && (q.there.Known|q.there.Past)&(1<<i) != 0 {
			on = asleep.free(s, q.Now)
		}
	}
	switch {
	case on.verdict == Show:
		return q.not(holdTo(sooner(on.until, q.there.soon)), Cause{Rule: QuietTime, Code: MomentNow, Moment: m, Device: s.ID, Until: on.until})
	case on.until != 0: // from a reading of the future
		return showTo(on.until)
	default:
		return pass
	}
}

package policy

import (
	"slices"
	"strings"
	"time"

	"porchlight/device"
)

// What the table of safety.json says, written apart from it.

func refClassForms(c device.Class) string {
	switch c {
	case device.Car:
		return "badge list"
	case device.TV, device.Console, device.Display, device.Companion:
		return "badge list toast panel full-screen"
	case device.Speaker, device.Fridge, device.Washer, device.Dryer, device.Dishwasher, device.Oven:
		return "badge list toast panel"
	}
	return ""
}

func refAllowed(c device.Class, f device.Form) bool {
	return oneOf(f.String(), strings.Fields(refClassForms(c))...)
}

// refLasts reports whether what a device last told has been so for some seconds.
func refLasts(q Request, a device.Attribute, seconds int) bool {
	r, _ := q.Screen.Context.Get(a)
	return int64(q.Now)-int64(r.Since) >= int64(seconds)*1000
}

func refSafety(q Request) Verdict {
	s := q.Screen
	if refClassForms(s.Class) == "" {
		return Refuse
	}
	fits := false
	for _, f := range q.Message.Forms {
		fits = fits || refAllowed(s.Class, f)
	}
	if !fits {
		return Refuse
	}
	if i := refText(q); s.Class == device.Car && i < len(q.Message.Texts) {
		if len([]rune(q.Message.Texts[i].Title))+len([]rune(q.Message.Texts[i].Body)) > 80 {
			return Refuse
		}
	}
	if s.Context == nil || q.Home.Alarm || refTold(s, device.Alarm) == "true" || refTold(s, device.DND) == "true" {
		return Hold
	}
	for _, other := range q.Home.Screens {
		if refTold(other, device.Alarm) == "true" {
			return Hold
		}
	}
	word := func(a device.Attribute) string { return refWord(s, a, q.Now) }
	told := func(a device.Attribute) string { return refTold(s, a) }
	switch s.Class {
	case device.TV:
		// Ratings from 12 years on are not for children; what is not known may be.
		grown := strings.Split("pg-13,r,nc-17,tv-14,tv-ma,12,12a,14,15,16,18,fsk 12,fsk 16,fsk 18,12+,16+,18+", ",")
		if rating, rated := s.Context.Get(device.ContentRating); rated && !slices.Contains(grown, strings.ToLower(rating.Value.Text)) {
			return Hold
		}
		return showIf(oneOf(word(device.PlayerState), "on", "idle", "paused") ||
			word(device.PlayerState) == "playing" && word(device.Fullscreen) == "false")
	case device.Speaker:
		home := *q.Home
		home.Moments = []Moment{Call, Sleep}
		q.Home = &home
		return showIf(word(device.CallActive) == "false" && told(device.VolumeMuted) != "true" && refMoments(q) == Show)
	case device.Console:
		return showIf(word(device.GameState) == "none")
	case device.Car:
		trip := q.Now - 24*3600_000 + 1
		if s.Trip > 0 && s.Trip <= q.Now {
			trip = s.Trip
		}
		for _, e := range q.Home.Shown {
			if q.Own && e.Message == q.Message.ID {
				break
			}
			if e.Device == s.ID && e.At >= trip && e.Message != q.Message.ID {
				return Hold
			}
		}
		if told(device.VehicleMoving) == "true" || !oneOf(told(device.VehicleSpeed), "", "0") || !oneOf(told(device.SelectedGear), "", "0", "126") {
			return Hold
		}
		if told(device.Driving) != "" {
			return showIf(word(device.Driving) == "parked")
		}
		return showIf(word(device.SelectedGear) == "126" ||
			word(device.VehicleSpeed) == "0" && word(device.ParkingBrake) == "true")
	case device.Washer, device.Dryer, device.Dishwasher:
		return showIf(oneOf(word(device.OperationalState), "Stopped", "Paused"))
	case device.Oven:
		if left, ok := s.Context.Get(device.CountdownTime); ok && (left.Value.Num != 0 || !refLasts(q, device.CountdownTime, 60)) {
			return Hold
		}
		cold := 3600 // seconds after which an oven without a thermometer is taken to be cold
		if r, ok := s.Context.Get(device.Temperature); ok {
			if cold = 60; !refFresh(s, device.Temperature, q.Now) || r.Value.Num >= 60 {
				return Hold
			}
		}
		return showIf(word(device.OperationalState) == "Stopped" && refLasts(q, device.OperationalState, cold) &&
			word(device.Alarm) == "false" && refLasts(q, device.Alarm, 60))
	case device.Companion:
		return showIf(oneOf(told(device.PowerState), "", "on") && told(device.CallActive) != "true")
	default: // fridge, display
		return showIf(oneOf(told(device.PowerState), "", "on"))
	}
}

// refLoud reports whether a device of class c may make itself heard.
func refLoud(c device.Class) bool {
	return !oneOf(c.String(), "tv", "speaker", "car", "fridge")
}

// refDuties is what the screen must do.
func refDuties(q Request) (d Duties) {
	if q.Screen.Class.String() == "fridge" {
		d = Duties{Limit, 8 * time.Second}
		if q.Message.Display > 0 && q.Message.Display < d.Limit {
			d.Limit = q.Message.Display
		}
	}
	if refQuietOf(q, true) == Hold {
		d.Must |= Dim
	}
	if q.Screen.Owner != 0 && refListed(sensitiveWords, q.Message.Category) && !refThere(q).told {
		d.Must |= Minimal
	}
	return d
}

// refMeets is what comes of duties that the screen cannot meet.
func refMeets(q Request) Verdict {
	v, d := Show, refDuties(q)
	if d.Must&Dim != 0 && q.Screen.Can.Duties%2 == 0 {
		v = Hold
	}
	if d.Must&Minimal != 0 && q.Screen.Can.Duties/2%2 == 0 {
		if v = min(v, Refuse); refThere(q).heard {
			v = Hold
		}
	}
	return v
}

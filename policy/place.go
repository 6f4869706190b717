package policy

import (
	"math/bits"
	"slices"
	"time"

	"porchlight/device"
)

// Place is how well a screen suits a message just now. Each part is 0 to 1, and so is Total, which
// weighs them. It compares screens on which a message may be shown; no decision reads it.
type Place struct {
	Capability float64 `json:"capability"` // it can do what the message asks for: the form its brand likes best, size, a way to answer, sound
	Attention  float64 `json:"attention"`  // somebody is told to be in front of it, or has just used it
	Room       float64 `json:"room"`       // how many people are told to be there
	Channel    float64 `json:"channel"`    // those who are there, or the home, like messages there
	Calm       float64 `json:"calm"`       // how little it intrudes there
	Total      float64 `json:"total"`
}

// What each part of a Place weighs. Together they are 1.
const (
	byCapability = 0.15
	byAttention  = 0.30
	byRoom       = 0.20
	byChannel    = 0.25
	byCalm       = 0.10
)

const (
	justUsed   = 5 * time.Minute // so long after a player fell silent somebody is still before it
	justOpened = 2 * time.Minute // so long after a door was opened
)

// PlaceReads is what PlaceOf reads of what a screen tells, beside who is in front of it.
var PlaceReads = device.Attributes(device.PowerState, device.PlayerState, device.DoorOpen)

// PlaceOf is how well s suits m in form f at now; there is who is in front of it, as Present says.
func PlaceOf(h *Home, m *Message, s *Screen, f device.Form, there *Presence, now device.Instant) Place {
	p := Place{
		Capability: s.suits(m, f),
		Attention:  s.attended(there, now),
		Channel:    h.likes(s, there),
		Calm:       s.calm(f, now),
	}
	if there.Told {
		p.Room = 1 - 1/float64(1+bits.OnesCount64(there.Known)+there.Unknown)
	}
	// The conversions keep the sum the same on every machine: none joins a product and a sum.
	p.Total = float64(byCapability*p.Capability) + float64(byAttention*p.Attention) + float64(byRoom*p.Room) + float64(byChannel*p.Channel) + float64(byCalm*p.Calm)
	return p
}

// suits is the mean of what m asks of a screen.
func (s *Screen) suits(m *Message, f device.Form) float64 {
	sum, of := s.size(), 2.0
	if i := slices.Index(m.Forms, f); i >= 0 {
		sum += 1 - float64(i)/float64(len(m.Forms))
	}
	if len(m.Buttons) > 0 {
		if of++; s.Can.Inputs&(device.Touch|device.Remote) != 0 {
			sum++
		} else if s.Can.Inputs != 0 {
			sum += 0.5
		}
	}
	if m.Sound {
		if of++; s.Can.Sound != 0 {
			sum++
		}
	}
	return sum / of
}

// size is 1 for a screen that is read from across a room, 0 for none.
func (s *Screen) size() float64 {
	const large, many = 600, 1280 * 720 // mm, pixels
	if s.Can.Diagonal > 0 {
		return min(float64(s.Can.Diagonal)/large, 1)
	}
	return min(float64(s.Can.Width)*float64(s.Can.Height)/many, 1)
}

// attended is how sure it is that somebody looks at s.
func (s *Screen) attended(there *Presence, now device.Instant) (sum float64) {
	count, _, counted := s.Context.Fresh(s.Class, device.PresenceCount, now)
	who, _, named := s.Context.Fresh(s.Class, device.PresenceWho, now)
	switch {
	case counted && count.Num > 0 || named && who.Text != "":
		sum = 0.5
	case there.Told && (there.Known != 0 || there.Unknown > 0):
		sum = 0.35
	}
	playing, on := s.player(now)
	power, _, known := s.Context.Fresh(s.Class, device.PowerState, now)
	if on || known && power.Num == 0 {
		sum += 0.2
	}
	if on && !playing && s.since(device.PlayerState, now) < justUsed {
		return sum + 0.3
	}
	if door, _, told := s.Context.Fresh(s.Class, device.DoorOpen, now); told && door.Num == 1 && s.since(device.DoorOpen, now) < justOpened {
		return sum + 0.3
	}
	return sum
}

// since is how long a reading has been as it is.
func (s *Screen) since(a device.Attribute, now device.Instant) time.Duration {
	r, _ := s.Context.Get(a)
	return time.Duration(now-r.Since) * time.Millisecond
}

// player is what s plays just now: something, or nothing although it is on.
func (s *Screen) player(now device.Instant) (playing, on bool) {
	v, _, ok := s.Context.Fresh(s.Class, device.PlayerState, now)
	if !ok {
		return false, false
	}
	switch device.PlayerState.Show(v) {
	case "playing", "buffering":
		return true, true
	case "on", "idle", "paused":
		return false, true
	}
	return false, false
}

// calm is 1 for a badge that nobody has to look at, and less the more a form intrudes on what goes on.
func (s *Screen) calm(f device.Form, now device.Instant) float64 {
	c := 1 - float64(min(f, device.FullScreen))/float64(device.FullScreen)
	if playing, _ := s.player(now); playing {
		c /= 2
	}
	return c
}

// likes is how much messages on s are liked: the mean over those who are there and have said, else
// what the home has said, else 0.5. What is not named is liked least.
func (h *Home) likes(s *Screen, there *Presence) float64 {
	sum, of, home := 0.0, 0.0, 0.5
	for i := range h.Channels {
		c := &h.Channels[i]
		at := slices.Index(c.Classes, s.Class)
		like := 0.0
		if at >= 0 {
			like = 1 - float64(at)/float64(len(c.Classes))
		}
		if c.Owner == device.Household {
			home = like
		} else if k := h.place(c.Owner); k >= 0 && there.Known&(1<<k) != 0 {
			sum, of = sum+like, of+1
		}
	}
	if of > 0 {
		return sum / of
	}
	return home
}

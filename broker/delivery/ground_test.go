package delivery

import (
	"fmt"
	"strings"
	"time"

	"porchlight/device"
	"porchlight/policy"
)

// ground is what the test itself knows: who lives there, who said what, and who was told to be where.
// What may be on a screen follows from that by plain loops, with nothing of the judge's in them.
type ground struct {
	zone   *time.Location
	people []someone
	places map[device.ID]*seat
	said   map[saying]bool // the last word: yes or no
	mutes  []policy.MuteRule
	quiet  []policy.Quiet
	caps   []policy.Cap
	frozen map[device.PersonID]bool // Household: all
	sent   map[device.MessageID]*sent
	order  []device.MessageID
	back   map[device.MessageID]time.Time // messages that their brand was told are withdrawn, and when
}

type someone struct {
	id    device.PersonID
	name  string
	age   device.Age
	guest bool
}

// child reports whether they are one, or may be.
func (p someone) child() bool {
	return p.age == device.Child || p.age == device.AgeUnknown && !p.guest
}

func (p someone) adult() bool { return p.age == device.Adult && !p.guest }

type saying struct {
	person  device.PersonID
	brand   device.BrandID
	purpose policy.Purpose
}

// sent is a message, as its brand has sent it.
type sent struct {
	Submission
	brand device.BrandID
	key   string
}

// seat is a screen, and what was told on it of who is there.
type seat struct {
	id         device.ID
	class      device.Class
	room       device.RoomID
	owner      device.PersonID
	controller bool

	who   string
	count float64
	any   bool
	at    [3]device.Instant // when who, count and any were told
	told  [3]bool
}

// crowd is who is in front of a screen.
type crowd struct {
	here  []someone // surely
	were  []someone // when it was last told
	more  int       // whom nobody knows
	fresh bool
}

func (c crowd) all() []someone { return append(append([]someone{}, c.here...), c.were...) }

func (c crowd) has(id device.PersonID) bool {
	for _, p := range c.all() {
		if p.id == id {
			return true
		}
	}
	return false
}

// there is who is in front of a screen at an instant.
func (g *ground) there(p *seat, now device.Instant) (c crowd) {
	here, were := map[device.PersonID]bool{}, map[device.PersonID]bool{}
	most, unsure, occupied := 0.0, 0, false
	for _, o := range g.places {
		if o != p && (o.room == 0 || o.room != p.room) {
			continue
		}
		life := device.Instant(600_000)
		if o.class == device.Car {
			life = 5_000
		}
		fresh := func(i int) bool { return o.told[i] && now < o.at[i]+life && o.at[i] <= now+life }
		left := device.Instant(-1)
		if o.told[1] && o.count <= 0 {
			left = max(left, o.at[1])
		}
		if o.told[2] && !o.any {
			left = max(left, o.at[2])
		}
		for i := range o.told {
			c.fresh = c.fresh || fresh(i)
		}
		if o.told[0] && o.at[0] >= left {
			odd := 0
			for _, word := range strings.Fields(o.who) {
				known := false
				for _, one := range g.people {
					if number := fmt.Sprint(one.id); word == number || word == number+"@0.9" {
						known = true
						if fresh(0) {
							here[one.id] = true
						} else {
							were[one.id] = true
						}
					}
				}
				if !known {
					odd++
				}
			}
			unsure = max(unsure, odd)
		}
		if o.told[1] && o.at[1] >= left {
			most = max(most, o.count)
		}
		if o.told[2] && o.at[2] >= left && o.any {
			occupied = true
		}
	}
	for _, one := range g.people {
		if here[one.id] || one.id == p.owner && p.owner != device.Household {
			c.here = append(c.here, one)
		} else if were[one.id] {
			c.were = append(c.were, one)
		}
	}
	c.more = max(unsure, int(most)-len(c.here))
	if c.more <= 0 {
		c.more = 0
		if len(c.were) > 0 || occupied && len(c.here) == 0 {
			c.more = 1
		}
	}
	return c
}

// vague reports whether anybody at all may be there.
func (c crowd) vague(p *seat) bool {
	return c.more > 0 || p.owner == device.Household && len(c.here) == 0
}

// alone is the one person who is there, if that is sure.
func (c crowd) alone(p *seat) (someone, bool) {
	if len(c.here) != 1 || c.more > 0 || p.owner != device.Household && c.here[0].id != p.owner {
		return someone{}, false
	}
	return c.here[0], true
}

func (g *ground) person(id device.PersonID) (someone, bool) {
	for _, p := range g.people {
		if p.id == id {
			return p, true
		}
	}
	return someone{}, false
}

// word is what somebody has said: "yes", "no" or nothing.
func (g *ground) word(who device.PersonID, m *sent) string {
	yes, said := g.said[saying{who, m.brand, m.Purpose}]
	switch {
	case !said:
		return ""
	case yes:
		return "yes"
	}
	return "no"
}

// consents reports whether everybody concerned has agreed.
func (g *ground) consents(p *seat, m *sent, c crowd) bool {
	if g.frozen[device.Household] || g.frozen[p.owner] {
		return false
	}
	if p.owner == device.Household {
		if g.word(device.Household, m) != "yes" {
			return false
		}
	} else if g.word(p.owner, m) != "yes" || g.word(device.Household, m) == "no" {
		return false
	}
	for _, one := range g.people {
		if one.id == p.owner || !c.has(one.id) && !c.vague(p) {
			continue
		}
		if g.frozen[one.id] || g.word(one.id, m) == "no" {
			return false
		}
		if p.owner == device.Household && c.has(one.id) && g.word(one.id, m) != "yes" {
			return false
		}
	}
	return true
}

// about reports whether a category is on a list, or its first part is.
func about(category string, list ...string) bool {
	for _, word := range list {
		if category == word || strings.HasPrefix(category, word+"-") {
			return true
		}
	}
	return false
}

func delicate(m *sent) bool { return about(m.Category, "health", "politics") }
func rough(m *sent) bool    { return about(m.Category, "gambling", "wine") }
func private(m *sent) bool  { return m.Personal || m.Purpose == policy.Personalised }
func profiling(m *sent) bool {
	return m.Purpose == policy.Personalised || m.Purpose == policy.Research || m.Purpose == policy.Analytics || m.Purpose == policy.Recommendations
}

// suits reports whether a message is for those who are there, by their ages.
func (g *ground) suits(p *seat, m *sent, c crowd) bool {
	owner, _ := g.person(p.owner)
	if p.owner != device.Household && owner.child() {
		return false
	}
	young, teen, guest, adult := false, false, false, false
	for _, one := range c.all() {
		young = young || one.child()
		teen = teen || one.age == device.Teen
		guest = guest || one.guest
		if one.child() && g.word(one.id, m) != "yes" {
			return false
		}
	}
	for _, one := range c.here {
		adult = adult || one.adult()
	}
	if young && (!adult || private(m) || profiling(m) || rough(m) || len(m.Buttons) > 0) {
		return false
	}
	if teen && (private(m) || profiling(m) || rough(m)) {
		return false
	}
	if (c.vague(p) || guest) && (private(m) || m.Purpose == policy.Research || rough(m)) {
		return false
	}
	if one, ok := c.alone(p); private(m) && (!ok || !one.adult()) {
		return false
	}
	return true
}

// near reports whether somebody's own wish counts on a screen.
func near(owner device.PersonID, p *seat, c crowd) bool {
	return owner == device.Household || owner == p.owner || c.has(owner) || c.vague(p)
}

// picks reports whether a rule is about a message on a screen.
func picks(s policy.Selector, p *seat, m *sent) bool {
	if s.Brand != "" && s.Brand != m.brand || s.Purpose != 0 && s.Purpose != m.Purpose || s.Category != "" && s.Category != m.Category {
		return false
	}
	return (s.Class == 0 || s.Class == p.class) && (s.Device == "" || s.Device == p.id) && (s.Room == 0 || s.Room == p.room)
}

func (g *ground) quietAt(q policy.Quiet, now device.Instant) bool {
	local := now.Time().In(g.zone)
	minute, day := local.Hour()*60+local.Minute(), local.Weekday()
	on := func(d time.Weekday) bool { return q.Days == 0 || q.Days&(1<<d) != 0 }
	if q.Start < q.End {
		return on(day) && q.Start <= minute && minute < q.End
	}
	return on(day) && minute >= q.Start || on((day+6)%7) && minute < q.End
}

// forbids names the first rule that forbids a message on a screen at an instant; "" if none does. before
// is what was shown before it.
func (g *ground) forbids(p *seat, m *sent, now device.Instant, before []show) string {
	if m == nil {
		return "nobody who sent it"
	}
	c := g.there(p, now)
	switch one, ok := c.alone(p); {
	case !g.consents(p, m, c):
		return "consent"
	case !g.suits(p, m, c):
		return "age"
	case delicate(m) && (!ok || !one.adult()):
		return "sensitive"
	}
	for _, r := range g.mutes {
		if (r.Until == 0 || now < r.Until) && picks(r.Selector, p, m) && near(r.Owner, p, c) {
			return "mute"
		}
	}
	for _, q := range g.quiet {
		if near(q.Owner, p, c) && g.quietAt(q, now) {
			return "quiet"
		}
	}
	for _, r := range g.caps {
		if !picks(r.Selector, p, m) || !near(r.Owner, p, c) {
			continue
		}
		n := 0
		for _, x := range before {
			was, on := g.sent[x.message], g.places[x.device]
			if was == nil {
				continue
			}
			window := device.Instant(r.Hours)*3600_000 + device.Instant(r.Minutes)*60_000
			young := x.at+window > now
			if window == 0 {
				young = x.at.Time().In(g.zone).Format(time.DateOnly) >= now.Time().In(g.zone).Format(time.DateOnly)
			}
			saw := r.Owner == device.Household || x.others
			for _, who := range x.who {
				saw = saw || who == r.Owner
			}
			if young && saw && picks(r.Selector, on, was) && (!r.Each || was.brand == m.brand) {
				n++
			}
		}
		if n >= r.Max {
			return "cap"
		}
	}
	return ""
}

// hear takes in what was told on a screen of who is there; what is not in values stays.
func (g *ground) hear(p *seat, values map[string]any, now device.Instant) {
	for i := range p.at {
		p.at[i] = min(p.at[i], now)
	}
	for i, name := range []string{"presence.who", "presence.count", "room.occupancy"} {
		v, ok := values[name]
		if !ok {
			continue
		}
		p.at[i], p.told[i] = now, v != nil
		switch v := v.(type) {
		case string:
			p.who = v
		case float64:
			p.count = v
		case bool:
			p.any = v
		}
	}
}

// lost makes what was told on a screen old: nobody hears it any more.
func (p *seat) lost() { p.at = [3]device.Instant{} }

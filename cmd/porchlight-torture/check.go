//go:build linux

package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"porchlight/device"
	"porchlight/device/wire"
)

// violation is one promise that was broken, with what is needed to find it.
type violation struct {
	Promise string // P2, P5, P6, P7, P8
	What    string
	Home    string
	Device  device.ID
	Brand   device.BrandID
	Message device.MessageID
	At      moment
}

func (v violation) String() string {
	s := v.Promise + ": " + v.What
	if v.Home != "" {
		s += ", home " + v.Home
	}
	if v.Device != "" {
		s += ", device " + string(v.Device)
	}
	if v.Brand != "" {
		s += ", brand " + string(v.Brand)
	}
	if v.Message != (device.MessageID{}) {
		s += ", message " + v.Message.String()
	}
	return s + fmt.Sprintf(", at %.3f s", v.At.Seconds())
}

// sent is a message with the brand that sent it.
type sent struct {
	*push
	brand device.BrandID
}

// checker reads a record.
type checker struct {
	*record
	byID  map[device.MessageID]sent
	found []violation
	seen  map[string]int // how much there was to look at, by what was looked for
}

// check says what promises a record breaks, and how much of it could have broken one.
func check(r *record) ([]violation, map[string]int) {
	c := &checker{record: r, byID: map[device.MessageID]sent{}, seen: map[string]int{}}
	for _, b := range r.Brands {
		for _, p := range b.Pushes {
			if p.ID != (device.MessageID{}) {
				c.byID[p.ID] = sent{p, b.Brand}
			}
		}
	}
	for _, d := range r.Homes {
		slices.SortFunc(d.Releases, func(a, b release) int { return cmp.Compare(a.At, b.At) })
		slices.SortFunc(d.Shows, func(a, b *show) int { return cmp.Compare(a.From, b.From) })
		c.words(d)
		c.hushed(d)
		c.released(d)
		c.onScreen(d)
		if !d.Odd {
			c.stopped(d)
			c.once(d)
			c.limits(d)
			c.receipts(d)
			c.choices(d)
		}
	}
	c.brands()
	for _, what := range r.Book.Damage {
		c.add(violation{Promise: "P8", What: "the gateway's tables and its journal differ: " + what})
	}
	slices.SortStableFunc(c.found, func(a, b violation) int {
		return cmp.Or(cmp.Compare(a.Promise, b.Promise), cmp.Compare(a.At, b.At))
	})
	return c.found, c.seen
}

func (c *checker) add(v violation) { c.found = append(c.found, v) }

// words: what is on a screen is what a brand wrote, on a device that it is for (P2).
func (c *checker) words(d *diary) {
	for _, s := range d.Shows {
		c.seen["P2 words on a screen are a brand's, and for that screen"]++
		v := violation{Promise: "P2", Home: d.Name, Device: s.Device, Message: s.Message, At: s.From}
		switch m, ok := c.byID[s.Message]; {
		case !ok:
			v.What = fmt.Sprintf("a screen shows a message that no brand has sent: %q", s.Text)
		case m.Key != s.Text:
			v.What, v.Brand = fmt.Sprintf("a screen shows %q, and the brand wrote %q", s.Text, m.Key), m.brand
		case len(m.Classes) > 0 && !slices.Contains(m.Classes, s.Class):
			v.What, v.Brand = fmt.Sprintf("a %s shows a message that is not for it", s.Class), m.brand
		default:
			continue
		}
		c.add(v)
	}
}

// hushed: after a device was told that its word is taken, not to be disturbed, nothing is handed to it on that
// connection until it says otherwise: the fact counts in the very next decision (P2).
func (c *checker) hushed(d *diary) {
	for _, h := range d.Hushes {
		c.seen["P2 nothing while a device says that it is not to be disturbed"]++
		for _, o := range d.Offers {
			if o.Device == h.Device && o.Conn == h.Conn && o.At > h.From && o.At < h.To {
				c.add(violation{"P2", fmt.Sprintf("handed over %s after do-not-disturb was acknowledged", o.At-h.From), d.Name, o.Device, c.byID[o.Message].brand, o.Message, o.At})
			}
		}
	}
}

// shut reports whether the gate was closed, and known to be by the gateway, at the moment at: the last choice
// that was acknowledged long enough before closes it, and none that was begun since opens it. no is that choice,
// nil where nobody ever opened it.
func (c *checker) shut(all []*choice, g gate, at moment) (no *choice, shut bool) {
	open := g.open()
	for _, x := range all {
		if x.Sent >= at {
			break
		}
		switch {
		case x.Open:
			no, open = nil, true // perhaps it counts already
		case x.Acked != 0 && x.Acked+c.Slack < at:
			no, open = x, false
		}
	}
	return no, !open
}

// gates of a brand's message.
func gates(b device.BrandID) []gate {
	return []gate{{"consent", b}, {"mute", b}, {"freeze", ""}, {"alarm", ""}}
}

// byGate sorts the choices of a home.
func byGate(d *diary) map[gate][]*choice {
	all := map[gate][]*choice{}
	for _, x := range d.Choices {
		all[x.gate] = append(all[x.gate], x)
	}
	for _, list := range all {
		slices.SortFunc(list, func(a, b *choice) int { return cmp.Compare(a.Sent, b.Sent) })
	}
	return all
}

// released: nothing leaves the gateway while a gate is shut: no yes, or a pause (P2), a no that is acknowledged,
// or a message that its brand has taken back (P5).
func (c *checker) released(d *diary) {
	choices := byGate(d)
	for _, r := range d.Releases {
		m, ok := c.byID[r.Message]
		v := violation{Home: d.Name, Device: r.Device, Brand: m.brand, Message: r.Message, At: r.At}
		if !ok {
			v.Promise, v.What = "P2", "a message left the gateway that no brand has sent"
			c.add(v)
			continue
		}
		if r.Late {
			continue
		}
		c.seen["P5 nothing released after a message was taken back"]++
		if m.Back != 0 && m.Back+c.Slack < r.At {
			v.Promise, v.What = "P5", fmt.Sprintf("released %s after its brand was told that it is withdrawn", r.At-m.Back)
			c.add(v)
			continue
		}
		if d.Odd { // a frame of nonsense may have been a yes
			continue
		}
		for _, g := range gates(m.brand) {
			no, shut := c.shut(choices[g], g, r.At)
			if g.Kind == "consent" {
				c.seen["P5 nothing released after stopping"]++
			} else {
				c.seen["P2 nothing released while a "+g.Kind+" stands"]++
			}
			switch {
			case !shut:
				continue
			case no == nil:
				v.Promise, v.What = "P2", "released, and nobody in the home has ever said yes"
			case g.Kind == "consent":
				v.Promise, v.What = "P5", fmt.Sprintf("released %s after the no was acknowledged (epoch %d)", r.At-no.Acked, r.Epoch)
			default:
				v.Promise, v.What = "P2", fmt.Sprintf("released %s after the %s was acknowledged", r.At-no.Acked, g.Kind)
			}
			c.add(v)
			break
		}
	}
}

// onScreen: what was taken back is off every screen when a lease and the allowance are over (P5).
func (c *checker) onScreen(d *diary) {
	for _, s := range d.Shows {
		m, ok := c.byID[s.Message]
		if !ok || m.Back == 0 {
			continue
		}
		c.seen["P5 what was taken back leaves the screens in time"]++
		if by := m.Back + c.Lease + c.Allowance + c.Late; s.To > by {
			c.add(violation{"P5", fmt.Sprintf("on the screen until %s after its brand was told that it is withdrawn (%s)", s.To-m.Back, s.Why), d.Name, s.Device, m.brand, s.Message, s.To})
		}
	}
}

// stopped: after stopped nothing is on any screen of what was shown before the no, and stopped or not, it is off
// when a lease and the allowance are over (P5).
func (c *checker) stopped(d *diary) {
	for g, all := range byGate(d) {
		if g.Kind != "consent" {
			continue
		}
		for i, no := range all {
			if no.Open || no.Acked == 0 {
				continue
			}
			next := moment(1<<63 - 1) // a yes begun after it: what is shown from then on may be shown again
			for _, x := range all[i+1:] {
				if x.Open {
					next = x.Sent
					break
				}
			}
			c.seen["P5 noes"]++
			if no.Stopped != 0 {
				c.seen["P5 noes that were told to have stopped"]++
			}
			for _, s := range d.Shows {
				if s.From >= next || s.To <= no.Acked || c.byID[s.Message].brand != g.Brand {
					continue
				}
				c.seen["P5 screens that a no found with something on them"]++
				v := violation{Promise: "P5", Home: d.Name, Device: s.Device, Brand: g.Brand, Message: s.Message, At: s.To}
				switch by := no.Acked + c.Lease + c.Allowance + c.Late; {
				case no.Stopped != 0 && no.Stopped < next && s.To > no.Stopped+c.Late:
					v.What = fmt.Sprintf("on the screen for %s after stopped was told, which was %s after the no (%s)", s.To-no.Stopped, no.Stopped-no.Acked, s.Why)
				case by < next && s.To > by:
					v.What = fmt.Sprintf("on the screen for %s after the no was acknowledged, longer than a lease and the allowance (%s)", s.To-no.Acked, s.Why)
				default:
					continue
				}
				c.add(v)
			}
		}
	}
}

// once: a message is shown once in a home (P6).
func (c *checker) once(d *diary) {
	shown := map[device.MessageID]*show{}
	for _, s := range d.Shows {
		c.seen["P6 messages shown"]++
		if first := shown[s.Message]; first != nil {
			c.add(violation{"P6", fmt.Sprintf("shown again, %s after it was shown on %s", s.From-first.From, first.Device), d.Name, s.Device, c.byID[s.Message].brand, s.Message, s.From})
		}
		shown[s.Message] = s
	}
}

// at is people's clock and zone at a moment; blurred means that it was set so near to it that it is not known.
func (c *checker) at(when moment) (people time.Time, zone *time.Location, blurred bool) {
	now := setting{Zone: time.UTC}
	for _, s := range c.Clock {
		if s.At > when {
			blurred = blurred || s.At-when < 2*c.Slack
			break
		}
		now = s
	}
	blurred = blurred || now.At != 0 && when-now.At < 2*c.Slack
	return c.Start.Add(when + now.Offset), now.Zone, blurred
}

// limits: in no window is more shown than the home wants (P7). A message counts from when it left the gateway.
func (c *checker) limits(d *diary) {
	type counted struct {
		*show
		brand device.BrandID
		left  moment
		at    time.Time
		zone  *time.Location
		late  bool
		blur  bool
	}
	if len(d.Limits) == 0 {
		return
	}
	var all []counted
	for _, s := range d.Shows {
		x := counted{show: s, brand: c.byID[s.Message].brand, left: s.From}
		for _, r := range d.Releases {
			if r.At > s.From {
				break
			}
			if r.Message == s.Message && r.Device == s.Device {
				x.left, x.late = r.At, r.Late
			}
		}
		x.at, x.zone, x.blur = c.at(x.left)
		x.blur = x.blur || x.late
		all = append(all, x)
	}
	for _, l := range d.Limits {
		for i, x := range all {
			if l.Brand != "" && l.Brand != x.brand {
				continue
			}
			c.seen["P7 shows held against a cap"]++
			n := 0
			for _, y := range all[:i+1] {
				switch {
				case y.blur, l.Brand != "" && l.Brand != y.brand, l.Each && y.brand != x.brand, y.at.After(x.at):
				case l.Minutes > 0:
					if x.at.Sub(y.at) < time.Duration(l.Minutes)*time.Minute-c.Slack {
						n++
					}
				default:
					a, b := day(x.at.In(x.zone)), day(y.at.In(x.zone))
					if near(x.at.In(x.zone), c.Slack) || near(y.at.In(x.zone), c.Slack) {
						continue
					}
					if a == b {
						n++
					}
				}
			}
			if n == l.Max {
				c.seen["P7 times that a cap was full"]++
			}
			if n > l.Max {
				c.add(violation{"P7", fmt.Sprintf("shown as number %d, and the cap is %s", n, l), d.Name, x.Device, x.brand, x.Message, x.From})
			}
		}
	}
}

func (l limit) String() string {
	of, in := "", "a day"
	if l.Brand != "" {
		of = " of " + string(l.Brand)
	}
	if l.Each {
		of = " of each brand"
	}
	if l.Minutes > 0 {
		in = fmt.Sprintf("in %d min", l.Minutes)
	}
	return fmt.Sprintf("%d%s %s", l.Max, of, in)
}

func day(t time.Time) string { return t.Format(time.DateOnly) }

// near reports whether the day of t changes within slack.
func near(t time.Time, slack time.Duration) bool {
	return day(t.Add(-slack)) != day(t) || day(t.Add(slack)) != day(t)
}

// receipts: what a device was told is taken in stands in the tables (P8).
func (c *checker) receipts(d *diary) {
	for _, r := range d.Receipts {
		c.seen["P8 receipts acknowledged"]++
		e, ok := c.Book.Ends[place{r.Message, r.Device}]
		v := violation{"P8", "", d.Name, r.Device, c.byID[r.Message].brand, r.Message, r.Acked}
		switch kind := wire.EventKind(r.Kind); {
		case !ok:
			v.What = fmt.Sprintf("a receipt (%d) was acknowledged, and the book has nothing of that delivery", kind)
		case kind == wire.Presented && !e.Presented && e.Outcome == 0:
			v.What = "presented was acknowledged, and the book does not say so"
		case (kind == wire.Responded || kind == wire.Dismissed || kind == wire.TimedOut) && e.Outcome != r.Kind:
			v.What = fmt.Sprintf("the end of a message (%d) was acknowledged, and the book has %d", kind, e.Outcome)
		default:
			continue
		}
		c.add(v)
	}
}

// choices: the last choice of each gate stands, on every screen (P8); and it was written down once (P6).
func (c *checker) choices(d *diary) {
	for g, all := range byGate(d) {
		last := all[len(all)-1]
		for dev, screen := range d.Screens {
			open, told := screen[g]
			if !told || g.Kind == "alarm" {
				continue
			}
			c.seen["P8 choices as the screens show them"]++
			if open != last.Open && last.Acked != 0 {
				c.add(violation{"P8", fmt.Sprintf("the %s was acknowledged with open=%t, and the screen says %t", g.Kind, last.Open, open), d.Name, dev, g.Brand, device.MessageID{}, last.Acked})
			}
		}
		if g.Kind != "consent" {
			continue
		}
		// Somebody who says the same again writes nothing; one that was never acknowledged may count or not.
		least, most, was, unsure := 0, 0, g.open(), false
		for _, x := range all {
			switch {
			case x.Acked == 0:
				most, unsure = most+1, true
			case x.Open != was || unsure:
				most++
				if !unsure {
					least++
				}
				was, unsure = x.Open, false
			}
		}
		history, told := c.Book.History[d.Name]
		if !told {
			continue
		}
		c.seen["P6 choices in the ledgers of homes"] += len(history[g.Brand])
		if n := len(history[g.Brand]); n < least || n > most {
			c.add(violation{"P6", fmt.Sprintf("%d to %d choices were made, and the home's ledger has %d: %v", least, most, n, history[g.Brand]), d.Name, "", g.Brand, device.MessageID{}, last.Sent})
		}
	}
}

// brands: what was acknowledged to a brand is there (P8), once, and the same whenever it is sent again (P6).
func (c *checker) brands() {
	for _, b := range c.Brands {
		ids := map[device.MessageID]string{}
		for _, p := range b.Pushes {
			v := violation{Brand: b.Brand, Message: p.ID, At: p.Sent}
			say := func(promise, format string, a ...any) {
				v.Promise, v.What = promise, fmt.Sprintf("%s: ", p.Key)+fmt.Sprintf(format, a...)
				c.add(v)
			}
			c.seen["P6 answers to a key that was sent before"] += p.Again
			for _, other := range p.Other {
				say("P6", "the same key was answered with %s too", other)
			}
			if p.New {
				say("P6", "it was acknowledged, and sent again it was taken for new")
			}
			if p.ID == (device.MessageID{}) {
				if p.Acked != 0 {
					say("P8", "it was acknowledged, and nobody says which message it is")
				}
				continue
			}
			if key, taken := ids[p.ID]; taken {
				say("P6", "it has the same ID as %s", key)
			}
			ids[p.ID] = p.Key
			if p.Acked == 0 || c.Book.States == nil { // nobody could be asked
				continue
			}
			c.seen["P8 messages acknowledged"]++
			switch state := c.Book.States[p.ID]; {
			case state == "":
				say("P8", "it was acknowledged and is not known")
			case p.Back != 0 && state != "withdrawn":
				c.seen["P8 withdrawals acknowledged"]++
				say("P8", "its withdrawal was acknowledged, and it is %s", state)
			case p.BackSent == 0 && state == "withdrawn":
				say("P6", "nobody has taken it back, and it is withdrawn")
			case p.Back != 0:
				c.seen["P8 withdrawals acknowledged"]++
			}
		}
		listed := map[device.MessageID]int{}
		for _, id := range c.Book.Listed[b.Brand] {
			listed[id]++
		}
		for _, id := range slices.SortedFunc(maps.Keys(listed), func(a, b device.MessageID) int { return slices.Compare(a[:], b[:]) }) {
			if _, ok := ids[id]; !ok {
				c.add(violation{Promise: "P6", What: "the gateway lists a message that the brand does not know", Brand: b.Brand, Message: id})
			} else if listed[id] > 1 {
				c.add(violation{Promise: "P6", What: "the gateway lists it twice", Brand: b.Brand, Message: id})
			}
		}
	}
}

// evidence is what was written down about a message on a device, or in a home, and the faults around it: a line each,
// in order.
func evidence(r *record, v violation) (lines []string) {
	type line struct {
		at   moment
		what string
	}
	var all []line
	add := func(at moment, format string, a ...any) { all = append(all, line{at, fmt.Sprintf(format, a...)}) }
	near := func(from, to moment) bool { return to > v.At-20*time.Second && from < v.At+5*time.Second }
	for _, d := range r.Homes {
		if d.Name != v.Home {
			continue
		}
		for _, x := range d.Releases {
			if x.Message == v.Message {
				add(x.At, "left the gateway for %s, epoch %d", x.Device, x.Epoch)
			}
		}
		for _, x := range d.Shows {
			if v.Promise == "P7" && near(x.From-time.Hour, x.To+time.Hour) || x.Message == v.Message {
				add(x.From, "on the screen of %s (%s)", x.Device, x.Class)
				add(x.To, "off the screen of %s: %s", x.Device, x.Why)
			}
		}
		for _, x := range d.Receipts {
			if x.Message == v.Message {
				add(x.Acked, "event %d of %s was acknowledged, sent over connection %d", x.Kind, x.Device, x.Conn)
			}
		}
		for _, x := range d.Choices {
			if (x.Brand == v.Brand || x.Brand == "") && near(x.Sent, max(x.Acked, x.Stopped)) {
				add(x.Sent, "%s of %s to be open=%t, on %q; acknowledged at %.3f s, stopped at %.3f s", x.Kind, x.Brand, x.Open, x.Device, x.Acked.Seconds(), x.Stopped.Seconds())
			}
		}
	}
	for _, b := range r.Brands {
		for _, p := range b.Pushes {
			if p.ID == v.Message && p.ID != (device.MessageID{}) {
				add(p.Sent, "sent by %s as %s for %v; acknowledged at %.3f s, taken back at %.3f s", b.Brand, p.Key, p.Classes, p.Acked.Seconds(), p.Back.Seconds())
			}
		}
	}
	for _, x := range r.Struck {
		if near(x.From, x.To) {
			add(x.From, "FAULT %s until %.3f s", x.Name, x.To.Seconds())
		}
	}
	for _, x := range r.Clock {
		if near(x.At, x.At) {
			add(x.At, "people's clock is ahead by %s, zone %s", x.Offset, x.Zone)
		}
	}
	slices.SortStableFunc(all, func(a, b line) int { return cmp.Compare(a.at, b.at) })
	for _, l := range all {
		lines = append(lines, fmt.Sprintf("%10.3f s  %s", l.at.Seconds(), l.what))
	}
	return lines
}

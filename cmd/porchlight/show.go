package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"porchlight/broker/api"
	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/policy"
	"porchlight/policy/consent"
)

type homeShowCmd struct {
	Name string `arg:"" help:"The home's name."`
	JSON bool   `help:"Print JSON."`
}

// Run shows a home.
func (c *homeShowCmd) Run(e *env) error {
	h, err := ask[delivery.HomeState](e, "home/show", api.Named{Name: c.Name})
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(e.out, h)
	}
	fmt.Fprintf(e.out, "home %s, %s\n", h.Name, h.Zone)
	part := func(title string, lines []string) {
		fmt.Fprintf(e.out, "\n%s\n", title)
		if len(lines) == 0 {
			lines = []string{"none"}
		}
		t := table(e.out)
		for _, line := range lines {
			fmt.Fprintln(t, "  "+line)
		}
		t.Flush()
	}
	zone, err := time.LoadLocation(h.Zone)
	if err != nil {
		zone = time.UTC
	}
	var lines []string
	for _, p := range h.People {
		about := []string{p.Age.String()}
		if p.Age == device.AgeUnknown {
			about[0] = "of unknown age"
		}
		if s := personState(p); s != "" {
			about = append(about, s)
		}
		if g := guardians(h.People, p); len(g) > 0 {
			about = append(about, "chosen for by "+strings.Join(g, " and "))
		}
		if len(p.Languages) > 0 {
			about = append(about, "reads "+strings.Join(p.Languages, ", "))
		}
		lines = append(lines, p.Name+"\t"+strings.Join(about, ", "))
	}
	part("people", lines)
	lines = nil
	if len(h.Rooms) > 0 {
		lines = []string{strings.Join(h.Rooms, ", ")}
	}
	part("rooms", lines)
	lines = nil
	for _, d := range h.Devices {
		about := []string{d.Class.String()}
		if d.RoomName != "" {
			about = append(about, "in "+d.RoomName)
		}
		if d.OwnerName != "" {
			about = append(about, "of "+d.OwnerName)
		} else {
			about = append(about, "everybody's")
		}
		if d.Controller {
			about = append(about, "may widen what the home permits")
		}
		if d.Until != 0 {
			about = append(about, "removed on "+wall(d.Until.Time(), zone))
		}
		about = append(about, deviceState(d))
		if len(d.Showing) > 0 {
			about = append(about, count(len(d.Showing), "message"))
		}
		lines = append(lines, fmt.Sprintf("%s\t%s\t%s", d.Name, d.ID, strings.Join(about, ", ")))
	}
	part("devices", lines)
	part("what it wants", wanted(h.Preferences, zone))
	lines = nil
	for _, s := range h.Consents {
		lines = append(lines, choiceWords(s, zone))
	}
	part("what it has said", lines)
	lines = nil
	for _, g := range h.Got {
		lines = append(lines, fmt.Sprintf("It has got %s since %s.", g.Item, wall(g.At.Time(), zone)))
	}
	for _, c := range h.Complaints {
		lines = append(lines, fmt.Sprintf("Something is wrong with %s since %s: its advertising pauses.", c.Brand, wall(c.At.Time(), zone)))
	}
	if len(lines) > 0 {
		part("what it has done", lines)
	}
	return nil
}

// wall says a time as the clocks on the home's walls do.
func wall(at time.Time, zone *time.Location) string {
	return at.In(zone).Format("2 January 2006 at 15:04")
}

// wanted tells preferences in sentences.
func wanted(p delivery.Preferences, zone *time.Location) (lines []string) {
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)+".") }
	if p.Frozen != nil && *p.Frozen {
		say("It is frozen: nothing is shown, asked or learnt until it is unfrozen")
	}
	for _, q := range p.Quiet {
		say("%s", quietWords("Nothing is shown", q))
	}
	for _, q := range p.Dim {
		say("%s", quietWords("Screens are dark", q))
	}
	if len(p.Quiet) == 0 {
		say("There is no quiet time")
	}
	for _, c := range p.Caps {
		say("%s", capWords(c))
	}
	if len(p.Caps) == 0 {
		say("There is no cap on how many messages are shown")
	}
	for _, m := range p.Mutes {
		if at, err := time.Parse(time.RFC3339, m.Until); err == nil {
			m.Until = wall(at, zone)
		}
		say("%s", muteWords(m))
	}
	if len(p.Mutes) == 0 {
		say("Nothing is muted")
	}
	var moments []string
	for _, m := range p.Moments {
		moments = append(moments, momentWords[m])
	}
	if len(moments) > 0 {
		say("Nothing is shown while %s", listed(moments, "or"))
	} else {
		say("No moment holds messages back")
	}
	for _, c := range p.Channels {
		var classes []string
		for _, class := range c.Classes {
			classes = append(classes, class.String())
		}
		who := "Everybody likes"
		if c.Owner != "" {
			who = c.Owner + " likes"
		}
		say("%s messages best on: %s", who, strings.Join(classes, ", then "))
	}
	if len(p.Languages) > 0 {
		say("Messages come in %s where they can", listed(p.Languages, "else"))
	} else {
		say("Messages come in the language that each person or device prefers")
	}
	if p.Asking != nil && *p.Asking {
		say("When a message waits for nothing but a yes, it is asked for on a screen")
	} else {
		say("Nobody is asked for a yes by itself, only by porchlight consent ask; home set --asking changes that")
	}
	for _, who := range p.People {
		if who.Frozen != nil && *who.Frozen {
			say("%s is frozen: nothing is shown to them, asked of them or learnt about them", who.Name)
		}
	}
	return lines
}

var momentWords = map[policy.Moment]string{policy.Film: "a film plays", policy.Call: "somebody is in a call", policy.Sleep: "somebody sleeps"}

var dayWords = []struct{ short, long string }{{"mon", "Monday"}, {"tue", "Tuesday"}, {"wed", "Wednesday"}, {"thu", "Thursday"}, {"fri", "Friday"}, {"sat", "Saturday"}, {"sun", "Sunday"}}

// quietWords says when what is so.
func quietWords(what string, q delivery.NamedQuiet) string {
	s := what + " from " + q.From + " to " + q.To
	if q.From == q.To {
		s = what + " for a day and night from " + q.From
	}
	if q.From == q.To && q.From == "00:00" {
		s = what + " the whole day"
	}
	if len(q.Days) > 0 {
		var on []string
		for _, d := range dayWords {
			if slices.Contains(q.Days, d.short) {
				on = append(on, d.long)
			}
		}
		s += " on " + listed(on, "and")
	}
	if q.Zone != "" {
		s += " by the clocks of " + q.Zone
	}
	return s + where(q.Owner)
}

func capWords(c delivery.NamedCap) string {
	per := "a day"
	switch c.Per {
	case "week":
		per = "a week, from Monday on"
	case "trip":
		per = "on a trip of the car"
	}
	if length, err := time.ParseDuration(c.Per); err == nil {
		switch hours := int(length.Hours()); {
		case strings.HasSuffix(c.Per, "m"):
			per = "in " + count(int(length.Minutes()), "minute")
		case hours > 24 && hours%24 == 0:
			per = "in " + count(hours/24, "day")
		default:
			per = "in " + count(hours, "hour")
		}
	}
	each := ""
	switch {
	case c.Each && c.EachCategory:
		each = " of each brand in each category"
	case c.Each:
		each = " of each brand"
	case c.EachCategory:
		each = " of each category"
	}
	s := fmt.Sprintf("At most %s%s%s %s", count(c.Max, "message"), selectorWords(c.NamedSelector), each, per)
	if c.Max == 0 {
		s = fmt.Sprintf("No message%s%s at all", selectorWords(c.NamedSelector), each)
	}
	return s + where(c.Owner)
}

func muteWords(m delivery.NamedMute) string {
	s := "No message"
	if len(m.Content) > 0 {
		s = "No " + listed(m.Content, "or") + " in any message"
	}
	s += selectorWords(m.NamedSelector) + where(m.Owner)
	if m.Until != "" {
		s += ", until " + m.Until
	}
	return s
}

// selectorWords completes "messages ...".
func selectorWords(s delivery.NamedSelector) string {
	var b strings.Builder
	if s.Brand != "" {
		b.WriteString(" from " + string(s.Brand))
	}
	if s.Purpose != policy.NoPurpose {
		b.WriteString(" for " + s.Purpose.String())
	}
	if s.Category != "" {
		b.WriteString(" about " + s.Category)
	}
	if s.Class != 0 {
		b.WriteString(" on any " + s.Class.String())
	}
	if s.Device != "" {
		b.WriteString(" on " + s.Device)
	}
	if s.Room != "" {
		b.WriteString(" in " + s.Room)
	}
	return b.String()
}

func where(owner string) string {
	if owner == "" {
		return ""
	}
	return " where " + owner + " is, or may be"
}

// choiceWords tells a choice in force.
func choiceWords(c delivery.ConsentEvent, zone *time.Location) string {
	who := c.Person
	if who == "" {
		who = "the home"
	}
	words := fmt.Sprintf("%s\t%s %s\tfor %s\tsince %s", who, said[c.State], c.Brand, c.Purpose, wall(c.At.Time(), zone))
	if c.By != "" {
		words += ", by " + c.By
	}
	if c.Until != 0 {
		words += ", until " + wall(c.Until.Time(), zone)
	}
	var classes []string
	for _, class := range c.Classes {
		classes = append(classes, class.String())
	}
	if len(classes) > 0 {
		words += ", on any " + listed(classes, "or")
	}
	return words
}

// said completes "somebody ...".
var said = map[consent.State]string{
	consent.Given: "has said yes to", consent.Renewed: "has said yes again to", consent.Refused: "has said no to", consent.Withdrawn: "has taken back the yes to",
	consent.Expired: "had said yes, which has ended, to", consent.Invalidated: "has said nothing that counts to",
}

// listed joins words as a sentence does.
func listed(all []string, and string) string {
	if len(all) < 2 {
		return strings.Join(all, "")
	}
	last := len(all) - 1
	return strings.Join(slices.Clone(all[:last]), ", ") + " " + and + " " + all[last]
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

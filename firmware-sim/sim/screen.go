package sim

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"porchlight/device"
	"porchlight/device/wire"
)

// Screen is what a device shows at one moment. The zero Screen shows nothing.
type Screen struct {
	Showing bool
	Message device.MessageID
	Form    device.Form
	Sender  string
	Title   string
	Text    string
	Buttons []wire.Response
	For     time.Duration // how long it has been there
	Left    time.Duration // how long it may stay if nothing more is heard
	Queued  int           // messages that wait for the screen
	Alt     string        // what its picture shows, "" if it has none
	Sound   bool          // it makes itself heard
	Dim     bool          // it is drawn dark
	Kept    bool          // only who it is from is seen, until somebody reads it

	Question *Question // nil: nothing is asked. Then no message is there
}

func (fw *firmware) screen(now time.Time) Screen {
	s := Screen{Queued: len(fw.held)}
	h := fw.onScreen()
	if a := fw.asking; a != nil {
		s.Question = &Question{Ask: a.Ask, Spoken: fw.spoken(), Layer: a.layer, Left: a.end().Sub(now)}
	}
	if h == nil {
		return s
	}
	end, _ := fw.end(h)
	s = Screen{
		Showing: true, Message: h.Message, Form: h.form, Sender: h.Sender, Title: h.title(), Text: h.words(), Alt: h.alt(), Sound: fw.sound(h) != "",
		Dim: h.Duties&wire.DutyDim != 0, Kept: h.kept(), For: now.Sub(h.shown), Left: end.Sub(now), Queued: len(fw.held) - 1,
	}
	if !s.Kept {
		s.Buttons = h.Responses
	}
	return s
}

// Picture draws what the device shows, width characters wide.
func (s State) Picture(width int) string {
	width = max(width, 24)
	inner := width - 4
	var b strings.Builder
	line, side := "─", "│"
	if s.Screen.Dim {
		line, side = "┄", "┊"
	}
	rule := func(left, label, right string) {
		fmt.Fprintf(&b, "%s%s%s%s%s\n", left, line, label, strings.Repeat(line, max(width-3-utf8.RuneCountInString(label), 0)), right)
	}
	row := func(text string) {
		fmt.Fprintf(&b, side+" %s%s "+side+"\n", text, strings.Repeat(" ", max(inner-utf8.RuneCountInString(text), 0)))
	}
	rule("┌", " "+clip(s.Name+", "+s.mood(), inner-2)+" ", "┐")
	switch sc := s.Screen; {
	case s.Code != "":
		row("Code " + s.Code[:3] + " " + s.Code[3:])
		row(clip("Type it on a device of the home", inner))
	case sc.Question != nil:
		for _, l := range sc.Question.look(s.Class, inner).rows {
			row(l)
		}
	case !sc.Showing:
		row("")
	default:
		from := sc.Form.String()
		if sc.Sender != "" {
			from = sc.Sender + " · " + from
		}
		row(clip(from, inner))
		if sc.Kept {
			row(clip("press to read", inner))
		}
		for _, l := range wrap(sc.Title, inner) {
			row(l)
		}
		for _, l := range wrap(sc.Text, inner) {
			row(l)
		}
		if sc.Alt != "" && sc.Text != "["+sc.Alt+"]" {
			for _, l := range wrap("["+sc.Alt+"]", inner) {
				row(l)
			}
		}
		var buttons []string
		for _, r := range sc.Buttons {
			buttons = append(buttons, fmt.Sprintf("[%d %s]", r.ID, r.Label))
		}
		for _, l := range wrap(strings.Join(append(buttons, "[not now]"), " "), inner) {
			row(l)
		}
	}
	foot := ""
	if n := s.Screen.Queued; n > 0 {
		foot = fmt.Sprintf(" %d waiting ", n)
	}
	rule("└", foot, "┘")
	return b.String()
}

// mood is what the device is doing, in a word or two.
func (s State) mood() string {
	var words []string
	for _, name := range []string{"state", "game.state", "ux.driving", "OperationalState"} {
		if v, ok := s.Values[name].(string); ok && v != "" {
			words = append(words, strings.ToLower(strings.ReplaceAll(v, "_", " ")))
		}
	}
	if v, ok := s.Values["Vehicle.Speed"].(float64); ok && v > 0 {
		words = append(words, fmt.Sprintf("%g km/h", v))
	}
	if v, ok := s.Values["door.open"].(bool); ok {
		words = append(words, map[bool]string{true: "door open", false: "door closed"}[v])
	}
	if v, ok := s.Values["temperature"].(float64); ok {
		words = append(words, fmt.Sprintf("%g °C", v))
	}
	if len(words) == 0 {
		if v, ok := s.Values["power.state"].(string); ok {
			words = append(words, v)
		}
	}
	for _, name := range []string{"alarm", "dnd", "call.active"} {
		if s.Values[name] == true {
			words = append(words, strings.TrimSuffix(name, ".active"))
		}
	}
	if s.Twin.Doc.Frozen {
		words = append(words, "frozen")
	}
	if s.Word.State == wire.WordStopping {
		words = append(words, "stopping")
	}
	if s.ID == "" {
		words = append(words, "not enrolled")
	} else if !s.Connected {
		words = append(words, "off line")
	}
	return strings.Join(words, ", ")
}

// clip shortens text to n characters.
func clip(text string, n int) string {
	if r := []rune(text); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return text
}

// wrap breaks text into lines of at most n characters.
func wrap(text string, n int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		for word != "" {
			room := n - utf8.RuneCountInString(line)
			if line != "" {
				room--
			}
			w := utf8.RuneCountInString(word)
			switch {
			case w <= room && line == "":
				line, word = word, ""
			case w <= room:
				line, word = line+" "+word, ""
			case line != "":
				lines, line = append(lines, line), ""
			default: // longer than a whole line
				r := []rune(word)
				lines, word = append(lines, string(r[:n])), string(r[n:])
			}
		}
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}

var wishes = [...]string{
	wire.Allowed: "allowed", wire.Increased: "increased", wire.Reduced: "reduced",
	wire.Disallowed: "disallowed", wire.Banned: "banned",
}

// ParseWish reads the name of a wish: allowed, increased, reduced, disallowed or banned.
func ParseWish(s string) (wire.Wish, error) {
	for w, name := range wishes {
		if name == s {
			return wire.Wish(w), nil
		}
	}
	return 0, fmt.Errorf("wish %q is unknown: use one of %s", s, strings.Join(wishes[:], ", "))
}

// Print spells the document of the home's choices for people.
func Print(t wire.Twin) string {
	var b strings.Builder
	fmt.Fprintf(&b, "the home's choices, version %d", t.Version)
	if t.Doc.Zone != "" {
		fmt.Fprintf(&b, " (%s)", t.Doc.Zone)
	}
	b.WriteString("\n")
	for _, c := range t.Doc.Brands {
		name := c.Name
		if name == "" {
			name = string(c.Brand)
		}
		fmt.Fprintf(&b, "  %s, %s: %s\n", name, c.Purpose, c.Choice)
	}
	for _, q := range t.Doc.Quiet {
		days := ""
		for i, d := range dayNames {
			if q.Days&(1<<i) != 0 {
				days += " " + d
			}
		}
		if days == "" {
			days = " every day"
		}
		word := "quiet"
		if q.Dim {
			word = "dark"
		}
		fmt.Fprintf(&b, "  %s %02d:%02d to %02d:%02d%s%s%s\n", word, q.Start/60, q.Start%60, q.End/60, q.End%60, days, before(" ", q.Zone), whose(t, q.Owner))
	}
	for _, m := range t.Doc.Mutes {
		fmt.Fprintf(&b, "  muted: %s\n", muted(t, m))
	}
	for _, c := range t.Doc.Caps {
		window := "a day"
		switch {
		case c.Hours > 0:
			window = fmt.Sprintf("in %d h", c.Hours)
		case c.Minutes > 0:
			window = fmt.Sprintf("in %d min", c.Minutes)
		case c.Week:
			window = "a week"
		case c.Trip:
			window = "a trip"
		}
		of := selected(c.Brand, c.Category, c.Purpose, c.Class)
		if c.Each {
			of += ", each brand by itself"
		}
		if c.Topics {
			of += ", each category by itself"
		}
		fmt.Fprintf(&b, "  at most %d %s of %s%s%s%s\n", c.Max, window, of, before(" on ", string(c.Device)), before(" in the ", roomName(t, c.Room)), whose(t, c.Owner))
	}
	if len(t.Doc.Moments) > 0 {
		fmt.Fprintf(&b, "  nothing during: %s\n", strings.Join(t.Doc.Moments, ", "))
	}
	if len(t.Doc.Languages) > 0 {
		fmt.Fprintf(&b, "  languages: %s\n", strings.Join(t.Doc.Languages, ", "))
	}
	if t.Doc.Frozen {
		b.WriteString("  everything is frozen\n")
	}
	for i, l := range t.Doc.Learnt {
		fmt.Fprintf(&b, "  learnt %d: %s\n", i, l)
	}
	return b.String()
}

// muted spells a mute of a document.
func muted(t wire.Twin, m wire.Mute) string {
	until := "until lifted"
	if m.Until > 0 {
		until = "until " + device.Instant(m.Until).Time().Format(time.RFC3339)
	}
	of := ""
	for _, c := range contentBits {
		if m.Content&c.bit != 0 {
			of += before(", ", c.name)
		}
	}
	return fmt.Sprintf("%s%s%s%s %s%s", selected(m.Brand, m.Category, m.Purpose, m.Class), before(" on ", string(m.Device)),
		before(" in the ", roomName(t, m.Room)), before(", only its ", strings.TrimPrefix(of, ", ")), until, whose(t, m.Owner))
}

// before is text behind what goes before it, or nothing.
func before(what, text string) string {
	if text == "" {
		return ""
	}
	return what + text
}

// whose says to whom of the home something belongs.
func whose(t wire.Twin, person uint32) string {
	if person == 0 {
		return ""
	}
	for _, p := range t.Doc.People {
		if p.Person == person {
			return ", for " + p.Name
		}
	}
	return fmt.Sprintf(", for person %d", person)
}

// roomName is what a room is called.
func roomName(t wire.Twin, room uint32) string {
	if room == 0 {
		return ""
	}
	for _, r := range t.Doc.Rooms {
		if r.Room == room {
			return r.Name
		}
	}
	return fmt.Sprintf("room %d", room)
}

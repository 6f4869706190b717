package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/firmware-sim/sim"
	"porchlight/policy"
)

// rehearsalReport is what came of a rehearsal. Times are local to the home.
type rehearsalReport struct {
	Home     string            `json:"home"`
	Zone     string            `json:"zone"`
	Trace    string            `json:"trace"`
	Rows     int               `json:"rows"` // of the recording
	From     time.Time         `json:"from"`
	To       time.Time         `json:"to"` // the rehearsal ends before it: with the recording, or with the last of --days
	Messages []rehearsalOf     `json:"messages"`
	Pushed   int               `json:"pushed"`
	Shown    []*rehearsalShow  `json:"shown"`
	Not      []*standingRow    `json:"not_shown"` // for how long each message was refused or held on each screen, or waited (show), and why
	Days     []*rehearsalDay   `json:"days"`
	Caps     []string          `json:"caps"` // in the order of Days[].Caps
	Work     rehearsalWork     `json:"work"`
	bands    map[string][]span // for the picture
	quiet    []delivery.NamedQuiet
	caps     []delivery.NamedCap
	zone     *time.Location
	whole    bool                   // it ends with the recording
	told     map[standingKey]string // why what is on a screen is there
}

type rehearsalOf struct {
	Name  string         `json:"name"`
	Brand device.BrandID `json:"brand"`
	Title string         `json:"title"` // or its words, without one
}

// rehearsalShow is one message on one screen.
type rehearsalShow struct {
	At      time.Time      `json:"at"`
	Until   time.Time      `json:"until"`
	Message string         `json:"message"`
	Brand   device.BrandID `json:"brand"`
	Screen  string         `json:"screen"`
	Class   device.Class   `json:"class"`
	Form    device.Form    `json:"form"`
	Because string         `json:"because,omitempty"`
	Then    string         `json:"then"` // how it left the screen
	id      device.MessageID
	dev     device.ID
	room    string
	of      *rehearsed
}

// standingRow is a stretch of time in which the rules stood to a message on a screen in one way.
type standingRow struct {
	Message string         `json:"message"`
	Screen  string         `json:"screen"`
	Verdict string         `json:"verdict"`
	Reasons policy.Reasons `json:"reasons"`
	Paused  bool           `json:"paused,omitempty"` // nobody has muted it: it is paused, since what the brand sent was dismissed
	From    time.Time      `json:"from"`
	Until   time.Time      `json:"until"`
	Words   []string       `json:"words"`
	ends    time.Time      // of the message
	verdict policy.Verdict
	there   bool // on the screen, or on the way there
}

type rehearsalDay struct {
	Date  string `json:"date"`
	Shown int    `json:"shown"`
	Caps  []int  `json:"caps"` // the most that counted towards each cap at one time of the day
	from  time.Time
	to    time.Time
}

type rehearsalWork struct {
	Frames      int   `json:"frames"`          // that the devices sent
	Changes     int   `json:"changes"`         // frames in which a device told of a change
	Turns       int   `json:"turns"`           // times that the engine looked at the home
	ByClock     int   `json:"turns_by_clock"`  // times that nothing but the clock woke it
	Evaluations int64 `json:"evaluations"`     // decisions taken
	Naive       int64 `json:"evaluations_all"` // that it would have taken to judge every message on every screen at every change
	Declined    int   `json:"declined"`        // messages that a screen would not show just then
}

func newReport(r *rehearsal, c *rehearseCmd, rows []sim.Interval, bands map[string][]span, messages []*rehearsed) (*rehearsalReport, error) {
	p, err := r.desk.Preferences(r.e.ctx, r.home.Name)
	if err != nil {
		return nil, err
	}
	report := &rehearsalReport{Home: r.home.Name, Zone: r.home.Zone, Trace: filepath.Base(c.Trace), Rows: len(rows), From: r.start, To: r.end,
		Shown: []*rehearsalShow{}, Not: []*standingRow{}, Caps: []string{}, bands: bands, quiet: p.Quiet, caps: p.Caps, zone: r.zone, whole: r.end.Equal(r.recorded), told: map[standingKey]string{}}
	for _, m := range messages {
		report.Messages = append(report.Messages, rehearsalOf{m.name, m.brand, cmp.Or(m.s.Texts[0].Title, m.s.Texts[0].Body)})
	}
	for _, one := range p.Caps {
		report.Caps = append(report.Caps, spellCap(one))
	}
	for day := r.start; day.Before(r.end); day = midnight(day, 1) {
		report.Days = append(report.Days, &rehearsalDay{Date: day.Format(time.DateOnly), from: day, to: midnight(day, 1)})
	}
	return report, nil
}

func spellCap(c delivery.NamedCap) string {
	var which []string
	for _, w := range []string{string(c.Brand), c.Category, c.Device, c.Room} {
		if w != "" {
			which = append(which, w)
		}
	}
	if c.Purpose != policy.NoPurpose {
		which = append(which, c.Purpose.String())
	}
	if c.Class != 0 {
		which = append(which, c.Class.String())
	}
	if c.Owner != "" {
		which = append(which, c.Owner)
	}
	if c.Each {
		which = append(which, "each brand")
	}
	return strings.TrimSpace(fmt.Sprintf("%s %d/%s", strings.Join(which, " "), c.Max, c.Per))
}

// happened notes what a device tells.
func (r *rehearsal) happened(t *thing, e sim.Event) {
	of := r.names[e.Message]
	switch e.Kind {
	case sim.Shown:
		r.report.Shown = append(r.report.Shown, &rehearsalShow{At: e.At.In(r.zone), Message: of.name, Brand: of.brand, Screen: t.d.Name(), Class: t.d.Class(), Form: e.Form,
			id: e.Message, dev: t.id, room: t.room, of: of})
		r.react(t, e.Message)
	case sim.Removed:
		for _, s := range r.report.Shown {
			if s.id == e.Message && s.dev == t.id && s.Until.IsZero() {
				s.Until, s.Then = e.At.In(r.zone), cmp.Or(thens[e.Why], e.Why)
			}
		}
	case sim.Refused:
		r.report.Work.Declined++
	case sim.Trouble, sim.Complaint:
		r.err = fmt.Errorf("%s: %s", e.Device, e.Why)
	}
}

// thens say shorter what became of a message.
var thens = map[string]string{"its time on the screen is over": "timed out", "the gateway does not keep it": "taken off", "it was taken back": "taken off", "it was dismissed": "dismissed"}

// observe notes how the rules stand to every message on every screen.
func (r *rehearsal) observe() error {
	now := r.clock.In(r.zone)
	screens := map[device.ID]string{}
	for _, t := range r.things {
		screens[t.id] = t.d.Name()
	}
	return r.desk.Standings(r.home.ID, func(s delivery.Standing, explain func() delivery.WhyScreen) {
		of := r.names[s.Message]
		if of == nil || screens[s.Device] == "" {
			return
		}
		key := standingKey{s.Message, s.Device}
		if s.There {
			if _, ok := r.report.told[key]; !ok && s.Decision.Verdict == policy.Show {
				r.report.told[key] = strings.Join(explain().Words, "; ")
			}
		}
		was := r.standing[key]
		if was != nil && was.verdict == s.Decision.Verdict && was.Reasons == s.Decision.Reasons && was.there == s.There {
			return
		}
		if was != nil {
			r.over(was, now)
		}
		row := &standingRow{Message: of.name, Screen: screens[s.Device], Verdict: s.Decision.Verdict.String(), verdict: s.Decision.Verdict, there: s.There, Reasons: s.Decision.Reasons, From: now}
		if !row.shown() {
			why := explain()
			row.Words, row.Paused = why.Words, paused(why.Causes)
		}
		row.ends = r.endOf[s.Message].In(r.zone)
		r.standing[key] = row
	})
}

// paused reports whether the brand's messages are muted for no other reason than that some were dismissed.
func paused(causes []string) bool {
	has := func(code policy.Code) bool {
		return slices.ContainsFunc(causes, func(c string) bool { return strings.HasPrefix(c, string(code)+" ") })
	}
	return has(policy.PausedByHabit) && !has(policy.Muted)
}

// shown reports whether the message was on the screen, or on the way there. What may be shown and is not waits: for
// its turn, or for a better moment.
func (row *standingRow) shown() bool { return row.verdict == policy.Show && row.there }

// over closes a row; what was shown is told elsewhere.
func (r *rehearsal) over(row *standingRow, now time.Time) {
	row.Until = now
	if row.ends.Before(now) {
		row.Until = row.ends
	}
	if !row.shown() && row.From.Before(row.Until) {
		r.report.Not = append(r.report.Not, row)
	}
}

// finish closes what is open and adds up.
func (p *rehearsalReport) finish(r *rehearsal) error {
	for _, row := range r.standing {
		r.over(row, r.clock.In(r.zone))
	}
	slices.SortFunc(p.Not, func(a, b *standingRow) int {
		return cmp.Or(a.From.Compare(b.From), a.Until.Compare(b.Until), cmp.Compare(a.Message, b.Message), cmp.Compare(a.Screen, b.Screen), cmp.Compare(a.Reasons, b.Reasons))
	})
	for _, s := range p.Shown {
		if s.Until.IsZero() {
			s.Until, s.Then = r.clock.In(r.zone), "the rehearsal ended"
		}
		s.Because = p.told[standingKey{s.id, s.dev}]
	}
	for _, day := range p.Days {
		for _, s := range p.Shown {
			if !s.At.Before(day.from) && s.At.Before(day.to) {
				day.Shown++
			}
		}
		day.Caps = []int{}
		for _, c := range p.caps {
			day.Caps = append(day.Caps, p.used(c, day))
		}
	}
	p.Work.Evaluations = r.desk.Judged()
	return nil
}

// used is the most that counted towards a cap at one time of a day; trips, which no recording tells of, count as
// days.
func (p *rehearsalReport) used(c delivery.NamedCap, day *rehearsalDay) (most int) {
	window, err := time.ParseDuration(c.Per)
	at := []time.Time{day.from}
	for _, s := range p.Shown {
		if !s.At.Before(day.from) && s.At.Before(day.to) {
			at = append(at, s.At)
		}
	}
	for _, now := range at {
		since := day.from
		switch {
		case err == nil:
			since = now.Add(-window).Add(time.Nanosecond)
		case c.Per == "week": // from Monday on
			since = midnight(since, -int(since.Weekday()+6)%7)
		}
		counts := map[device.BrandID]int{}
		for _, s := range p.Shown {
			if s.At.Before(since) || s.At.After(now) || !picks(c, s) {
				continue
			}
			brand := s.Brand
			if !c.Each {
				brand = ""
			}
			counts[brand]++
			most = max(most, counts[brand])
		}
	}
	return most
}

// picks reports whether a cap counts what was shown.
func picks(c delivery.NamedCap, s *rehearsalShow) bool {
	return (c.Brand == "" || c.Brand == s.Brand) && (c.Purpose == policy.NoPurpose || c.Purpose == s.of.s.Purpose) && (c.Category == "" || c.Category == s.of.s.Category) &&
		(c.Class == 0 || c.Class == s.Class) && (c.Device == "" || c.Device == s.Screen) && (c.Room == "" || c.Room == s.room)
}

// table prints the report for people.
func (p *rehearsalReport) table(out io.Writer) error {
	var names []string
	for _, m := range p.Messages {
		names = append(names, fmt.Sprintf("%s of %s", m.Name, m.Brand))
	}
	end := p.To.Add(-time.Second)
	fmt.Fprintf(out, "%s (%s): %s, %s; %s to %s, %s", p.Home, p.Zone, p.Trace, count(p.Rows, "row"), p.From.Format("Mon 2 Jan 2006"), end.Format("Mon 2 Jan 2006"), count(len(p.Days), "day"))
	if p.whole {
		fmt.Fprintf(out, "; the recording ends at %s, and the rehearsal with it", end.Format(time.TimeOnly))
	}
	fmt.Fprintln(out)
	fmt.Fprintf(out, "messages: %s; %d pushed\n", strings.Join(names, ", "), p.Pushed)

	fmt.Fprintf(out, "\nSHOWN: %d\n", len(p.Shown))
	if len(p.Shown) > 0 {
		t := table(out)
		fmt.Fprintln(t, "  DAY\tAT\tFOR\tSCREEN\tMESSAGE\tFORM\tTHEN")
		for _, s := range p.Shown {
			fmt.Fprintf(t, "  %s\t%s\t%s\t%s\t%s\t%s\t%s\n", s.At.Format("Mon 2 Jan"), s.At.Format("15:04:05"), length(s.Until.Sub(s.At)), s.Screen, s.Message, s.Form, s.Then)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}

	fmt.Fprintln(out, "\nNOT SHOWN, for how long, and by which rules")
	t := table(out)
	fmt.Fprintln(t, "  MESSAGE\tSCREEN\tREFUSED\tHELD\tWAITED\tRULES")
	sums := p.sums()
	for _, s := range sums {
		var by []string
		for _, r := range s.rules() {
			by = append(by, fmt.Sprintf("%s %s", r, length(s.by[r])))
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\t%s\t%s\t%s\n", s.message, s.screen, lengthOrDash(s.refused), lengthOrDash(s.held), lengthOrDash(s.waited), strings.Join(by, ", "))
	}
	if err := t.Flush(); err != nil {
		return err
	}

	if err := legend(out, sums); err != nil {
		return err
	}

	fmt.Fprintln(out, "\nCAPS, used at most at one time of each day")
	t = table(out)
	fmt.Fprintln(t, "  DAY\tSHOWN\t"+strings.Join(p.Caps, "\t"))
	for _, day := range p.Days {
		cells := []string{day.from.Format("Mon 2 Jan"), fmt.Sprint(day.Shown)}
		for i, n := range day.Caps {
			cells = append(cells, fmt.Sprintf("%d of %d", n, p.caps[i].Max))
		}
		fmt.Fprintln(t, "  "+strings.Join(cells, "\t"))
	}
	if err := t.Flush(); err != nil {
		return err
	}

	w := p.Work
	fmt.Fprintf(out, "\nWORK: %s from the devices, %d of them with a change. The engine looked at the home %s, %d of them because of the clock alone,\nand took %s; to judge every message on every screen at every change takes %d. Screens declined %s.\n",
		count(w.Frames, "frame"), w.Changes, count(w.Turns, "time"), w.ByClock, count(int(w.Evaluations), "decision"), w.Naive, count(w.Declined, "message"))
	return nil
}

// notSum is for how long a message was not shown on a screen.
type notSum struct {
	message, screen string
	held, refused   time.Duration
	waited          time.Duration // though nothing stood against it
	by              map[against]time.Duration
}

// against is what stood against a message: a rule, or, of mutes, the pause that nobody has asked for.
type against struct {
	rule   policy.Rule
	paused bool
}

func (a against) String() string {
	if a.paused {
		return "paused"
	}
	return a.rule.String()
}

func (a against) compare(b against) int {
	return cmp.Or(cmp.Compare(a.rule, b.rule), cmp.Compare(a.String(), b.String()))
}

// ruleWords say what a rule stands for, after its name.
var ruleWords = map[string]string{
	"safety":     "a screen of this class never shows it, or not in the state that it is in",
	"age":        "a child, a teen or a stranger is there, or may be",
	"consent":    "nobody has said yes to it, or somebody has said no",
	"terms":      "a choice made in an app or a browser rules it out",
	"mute":       "somebody has muted it",
	"paused":     "messages of this brand were dismissed twice, so they are paused for a while",
	"sensitive":  "it is about something private, and others may see it",
	"quiet":      "a quiet time, or a film, a call or sleep that is not to be disturbed",
	"frequency":  "as many as the home wants have been shown",
	"spacing":    "too soon after the last message",
	"dedupe":     "it has been shown already, or is on another screen",
	"sequence":   "it waits for what comes before it, or what happened there has overtaken it",
	"context":    "its moment has not come, or nobody can tell",
	"validity":   "it is too early or too late for it",
	"capability": "this screen cannot show it, or it is not for this screen",
	"language":   "it has no words that can be shown",
	"holdout":    "it is kept back here, to see what difference messages make",
	"operator":   "a rule of this gateway stops it",
}

// legend says what the rules that occur in sums stand for.
func legend(out io.Writer, sums []*notSum) error {
	occur := map[against]bool{}
	for _, s := range sums {
		for a := range s.by {
			occur[a] = true
		}
	}
	if len(occur) == 0 {
		return nil
	}
	fmt.Fprintln(out)
	t := table(out)
	for _, a := range slices.SortedFunc(maps.Keys(occur), against.compare) {
		fmt.Fprintf(t, "  %s\t%s\n", a, ruleWords[a.String()])
	}
	return t.Flush()
}

// rules are those that stood against it, the longest first.
func (s *notSum) rules() []against {
	return slices.SortedFunc(maps.Keys(s.by), func(a, b against) int { return cmp.Or(cmp.Compare(s.by[b], s.by[a]), a.compare(b)) })
}

// sums adds up what was not shown, by message and screen.
func (p *rehearsalReport) sums() (all []*notSum) {
	for _, row := range p.Not {
		i := slices.IndexFunc(all, func(s *notSum) bool { return s.message == row.Message && s.screen == row.Screen })
		if i < 0 {
			i, all = len(all), append(all, &notSum{message: row.Message, screen: row.Screen, by: map[against]time.Duration{}})
		}
		s, d := all[i], row.Until.Sub(row.From)
		switch row.Verdict {
		case policy.Refuse.String():
			s.refused += d
		case policy.Hold.String():
			s.held += d
		default:
			s.waited += d
		}
		for _, r := range row.Reasons.Rules() {
			s.by[against{r, row.Paused && r == policy.Mute}] += d
		}
	}
	slices.SortFunc(all, func(a, b *notSum) int {
		return cmp.Or(cmp.Compare(a.message, b.message), cmp.Compare(a.screen, b.screen))
	})
	return all
}

func lengthOrDash(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return length(d)
}

// length spells a stretch of time by its two largest units.
func length(d time.Duration) string {
	d = d.Round(time.Second)
	units := []struct {
		of   time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}}
	for i, u := range units {
		if n := d / u.of; n > 0 {
			text := fmt.Sprintf("%d%s", n, u.name)
			if i+1 < len(units) {
				if rest := (d - n*u.of) / units[i+1].of; rest > 0 {
					text += fmt.Sprintf(" %d%s", rest, units[i+1].name)
				}
			}
			return text
		}
	}
	return "0s"
}

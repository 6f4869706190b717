package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"porchlight/broker/delivery"
	"porchlight/policy"
)

// The picture's measures, in its own units: a day is 24 columns wide and as many lines of names high
// as it needs.
const (
	picLeft   = 96  // where the hours begin
	picHour   = 40  // how wide an hour is
	picTop    = 104 // where the days begin
	picBand   = 14  // how high the bands are
	picLine   = 15  // how high a line of names is
	picGap    = 12  // between two days
	picLetter = 6.7 // how wide a letter of a name is at most, on the average
)

const picStyle = `
    svg { color-scheme: light dark; font: 12px system-ui, "Segoe UI", Roboto, sans-serif }
    .paper { fill: #ffffff } text { fill: #1c2430 } .dim { fill: #566070 } .title { font-size: 18px; font-weight: 600 }
    .row { fill: #f2f4f7 } .grid { stroke: #d3d9e0; stroke-width: 1 } .quiet { fill: #8a97ab; fill-opacity: .28 }
    .away { fill: #8d6e63 } .bed { fill: #5b6bbf } .tv { fill: #e09a3e } .kitchen { fill: #4f9d69 } .door { fill: #b3394a }
    .mark { fill: #c2185b } .name { font-size: 11px } .end { stroke: #1c2430; stroke-width: 2; stroke-dasharray: 4 2 }
    @media (prefers-color-scheme: dark) {
      .paper { fill: #12161c } text { fill: #e8ecf2 } .dim { fill: #a3adba }
      .row { fill: #1c222b } .grid { stroke: #343d49 } .quiet { fill: #7f8da3; fill-opacity: .3 }
      .away { fill: #a1887f } .bed { fill: #7d8ce0 } .tv { fill: #e8ac5c } .kitchen { fill: #63b880 } .door { fill: #e0667a }
      .mark { fill: #ff6f9f } .end { stroke: #e8ecf2 }
    }
`

// bandClass names the bands for the style.
var bandClass = map[string]string{bandAway: "away", bandBed: "bed", bandTV: "tv", bandKitchen: "kitchen", bandDoor: "door"}

// drawing is an SVG in the making.
type drawing struct{ bytes.Buffer }

func (d *drawing) line(format string, args ...any) { fmt.Fprintf(d, format+"\n", args...) }

// num spells a measure, with a tenth where it has one.
func num(f float64) string { return strconv.FormatFloat(round(f), 'f', -1, 64) }

func (d *drawing) rect(class string, x, y, w, h float64, about string) {
	d.line(`  <rect class="%s" x="%s" y="%s" width="%s" height="%s">%s</rect>`, class, num(x), num(y), num(w), num(h), titled(about))
}

func (d *drawing) text(class string, x, y float64, anchor, text string) {
	d.line(`  <text class="%s" x="%s" y="%s" text-anchor="%s">%s</text>`, class, num(x), num(y), anchor, escaped(text))
}

func titled(about string) string {
	if about == "" {
		return ""
	}
	return "<title>" + escaped(about) + "</title>"
}

func escaped(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a strings.Builder takes everything
	return b.String()
}

// across is where a local time of the day stands.
func across(t time.Time) float64 {
	return picLeft + round(picHour*(float64(t.Hour())+float64(t.Minute())/60+float64(t.Second())/3600))
}

func round(f float64) float64 { return float64(int(f*10+0.5)) / 10 }

// name is the name of a message beside its mark.
type name struct {
	show  *rehearsalShow
	x     float64
	left  bool // it stands to the left of its mark: there is no room to the right
	line  int
	label string
}

// names places the names of a day's messages so that none covers another, and returns how many lines
// they need.
func (p *rehearsalReport) names(day *rehearsalDay) (all []name, lines int) {
	var ends []float64 // where each line is free from
	for _, s := range p.Shown {
		if s.At.Before(day.from) || !s.At.Before(day.to) {
			continue
		}
		n := name{show: s, x: across(s.At), label: s.Message + " · " + s.Screen}
		wide := 10 + picLetter*float64(utf8.RuneCountInString(n.label))
		from, to := n.x-6, n.x+wide
		if n.left = to > picLeft+24*picHour; n.left {
			from, to = n.x-wide, n.x+6
		}
		n.line = slices.IndexFunc(ends, func(end float64) bool { return end <= from })
		if n.line < 0 {
			n.line, ends = len(ends), append(ends, 0)
		}
		ends[n.line] = to + 4
		all = append(all, n)
	}
	return all, max(len(ends), 1)
}

// picture draws the days.
func (p *rehearsalReport) picture(out io.Writer) error {
	var d drawing
	y := float64(picTop)
	for _, day := range p.Days {
		names, lines := p.names(day)
		y += p.day(&d, day, names, lines, y) + picGap
	}
	p.legend(&d, y+14)
	width, height := float64(picLeft+24*picHour+64), y+62
	title := fmt.Sprintf("What would have been shown: %s, %s to %s", p.Home, p.From.Format("2 January 2006"), p.To.Add(-time.Second).Format("2 January 2006"))
	about := fmt.Sprintf("%s played to the engine (%s local time): %s of %s shown, %s.", p.Trace, p.Zone,
		strconv.Itoa(len(p.Shown)), count(p.Pushed, "pushed message"), count(len(p.Days), "day"))

	var head drawing
	head.line(`<?xml version="1.0" encoding="UTF-8"?>`)
	head.line(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %s %s" width="%s" height="%s" role="img" aria-labelledby="title about">`, num(width), num(height), num(width), num(height))
	head.line(`  <title id="title">%s</title>`, escaped(title))
	head.line(`  <desc id="about">%s</desc>`, escaped(about))
	head.line("  <style>%s  </style>", picStyle)
	head.rect("paper", 0, 0, width, height, "")
	head.text("title", 16, 32, "start", title)
	head.text("dim", 16, 54, "start", about)
	for hour := 0; hour <= 24; hour += 2 {
		head.text("dim", float64(picLeft+hour*picHour), picTop-10, "middle", fmt.Sprintf("%02d", hour))
	}
	d.line("</svg>")
	if _, err := head.WriteTo(out); err != nil {
		return err
	}
	_, err := d.WriteTo(out)
	return err
}

// day draws one day at y, and returns how high it is.
func (p *rehearsalReport) day(d *drawing, day *rehearsalDay, names []name, lines int, y float64) float64 {
	high := float64(picBand + 6 + lines*picLine + 2)
	d.line(`  <g class="day" id="d%s">`, day.Date)
	d.rect("row", picLeft, y, 24*picHour, high, "")
	for _, s := range p.quietOf(day) {
		d.rect("quiet", s.from, y, s.to-s.from, high, "quiet time")
	}
	for hour := 0; hour <= 24; hour += 2 {
		x := num(float64(picLeft + hour*picHour))
		d.line(`  <line class="grid" x1="%s" x2="%s" y1="%s" y2="%s"/>`, x, x, num(y), num(y+high))
	}
	for _, band := range bands {
		for _, s := range p.bands[band] {
			from, to := s.From, s.To
			if !from.Before(day.to) || !to.After(day.from) {
				continue
			}
			if from.Before(day.from) {
				from = day.from
			}
			x1, x2 := across(from.In(p.zone)), float64(picLeft+24*picHour)
			if to.Before(day.to) {
				x2 = across(to.In(p.zone))
			}
			top, height, least := y+3, float64(picBand), 1.0
			if band == bandDoor {
				top, height, least = y, picBand+6, 1.5
			}
			d.rect(bandClass[band], x1, top, max(round(x2-x1), least), height, fmt.Sprintf("%s, %s to %s", band, s.From.In(p.zone).Format("15:04:05"), s.To.In(p.zone).Format("15:04:05")))
		}
	}
	for _, n := range names {
		base := y + picBand + 6 + float64(n.line*picLine)
		about := fmt.Sprintf("%s %s on %s for %s, %s", n.show.At.Format("15:04:05"), n.show.Message, n.show.Screen, length(n.show.Until.Sub(n.show.At)), n.show.Then)
		d.line(`  <circle class="mark" cx="%s" cy="%s" r="4">%s</circle>`, num(n.x), num(base+7), titled(about))
		x, anchor := n.x+8, "start"
		if n.left {
			x, anchor = n.x-8, "end"
		}
		d.text("name", x, base+11, anchor, n.label)
	}
	if p.ends(day) {
		d.end(across(p.To.In(p.zone)), y, high, "the recording ends at "+p.To.Add(-time.Second).In(p.zone).Format(time.TimeOnly))
	}
	d.text("", picLeft-10, y+15, "end", day.from.Format("Mon 2 Jan"))
	d.text("dim", picLeft-10, y+31, "end", count(day.Shown, "message"))
	d.line("  </g>")
	return high
}

// ends reports whether the recording ends in the course of a day.
func (p *rehearsalReport) ends(day *rehearsalDay) bool {
	return p.whole && p.To.After(day.from) && p.To.Before(day.to)
}

// end draws the line after which nothing is known.
func (d *drawing) end(x, y, high float64, about string) {
	d.line(`  <line class="end" x1="%s" x2="%s" y1="%s" y2="%s">%s</line>`, num(x), num(x), num(y), num(y+high), titled(about))
}

type stretch struct{ from, to float64 }

// quietOf is where a day is quiet, for whomever.
func (p *rehearsalReport) quietOf(day *rehearsalDay) (all []stretch) {
	for minute := range 24 * 60 {
		at := policy.Date(day.from.Year(), day.from.Month(), day.from.Day(), 0, minute, p.zone)
		if !slices.ContainsFunc(p.quiet, func(q delivery.NamedQuiet) bool { return quietAt(q, at) }) {
			continue
		}
		x := picLeft + round(picHour*float64(minute)/60)
		to := picLeft + round(picHour*float64(minute+1)/60)
		if n := len(all); n > 0 && all[n-1].to == x {
			all[n-1].to = to
		} else {
			all = append(all, stretch{x, to})
		}
	}
	return all
}

// quietAt reports whether a quiet time holds at a moment.
func quietAt(q delivery.NamedQuiet, at time.Time) bool {
	if zone, err := time.LoadLocation(q.Zone); q.Zone != "" && err == nil {
		at = at.In(zone)
	}
	minute := func(text string) int {
		t, err := time.Parse("15:04", text)
		if err != nil {
			return 0
		}
		return t.Hour()*60 + t.Minute()
	}
	from, to, now := minute(q.From), minute(q.To), at.Hour()*60+at.Minute()
	on := func(day time.Weekday) bool { return len(q.Days) == 0 || slices.Contains(q.Days, weekdays[day]) }
	today, before := at.Weekday(), (at.Weekday()+6)%7
	switch {
	case from < to:
		return on(today) && from <= now && now < to
	default: // past midnight, and of the day on which it begins
		return on(today) && now >= from || on(before) && now < to
	}
}

// legend explains the colours.
func (p *rehearsalReport) legend(d *drawing, y float64) {
	x := float64(picLeft)
	item := func(text string, draw func()) {
		draw()
		d.text("", x+22, y+11, "start", text)
		x += 22 + picLetter*float64(utf8.RuneCountInString(text)) + 26
	}
	for _, band := range bands {
		item(band, func() {
			w, at := 16.0, x
			if band == bandDoor {
				w, at = 2, x+7
			}
			d.rect(bandClass[band], at, y, w, picBand, "")
		})
	}
	item("quiet time", func() {
		d.rect("row", x, y, 16, picBand, "")
		d.rect("quiet", x, y, 16, picBand, "")
	})
	if slices.ContainsFunc(p.Days, p.ends) {
		item("the recording ends", func() { d.end(x+8, y, picBand, "") })
	}
	item("shown: message · screen", func() { d.line(`  <circle class="mark" cx="%s" cy="%s" r="4"/>`, num(x+8), num(y+7)) })
}

package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math"
	"runtime"
	"time"
)

// The picture's sizes, in px.
const (
	svgWidth  = 980
	svgLeft   = 270 // of the bars; the peers' names are left of it
	svgRight  = 170 // for the figures
	svgRow    = 20
	svgHead   = 24 // what a group's name takes
	svgTop    = 84
	svgBottom = 26
)

// draw makes a picture of the ratios: a bar for each, on a scale where each step is ten times the one before, to the
// right where ours is better.
func draw(path string, figures []figure) error {
	return put(path, picture(figures, time.Now()))
}

func picture(figures []figure, now time.Time) []byte {
	var rows []figure
	low, high, groups := -1.0, 1.0, 0 // powers of ten
	for _, f := range figures {
		if f.PeerName == "" || f.Ratio <= 0 {
			continue
		}
		if len(rows) == 0 || rows[len(rows)-1].Name != f.Name {
			groups++
		}
		rows = append(rows, f)
		low, high = min(low, math.Floor(math.Log10(f.Ratio))), max(high, math.Ceil(math.Log10(f.Ratio)))
	}
	at := func(ratio float64) float64 {
		return svgLeft + (math.Log10(ratio)-low)/(high-low)*(svgWidth-svgLeft-svgRight)
	}
	height := svgTop + svgRow*len(rows) + svgHead*groups + svgBottom
	var b bytes.Buffer
	text := func(x, y float64, style, words string) {
		fmt.Fprintf(&b, `<text x="%.1f" y="%.1f" %s>`, x, y, style)
		_ = xml.EscapeText(&b, []byte(words)) // a buffer takes everything
		b.WriteString("</text>\n")
	}
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-labelledby="title desc" font-family="system-ui, sans-serif" font-size="12" fill="#1d2733">
<title id="title">Porchlight beside its peers</title>
<desc id="desc">A bar for each measurement and peer, on a logarithmic scale. To the right of the line at 1, Porchlight is so many times better; to its left, so many times worse.</desc>
<style>.better{fill:#1f7a68}.worse{fill:#b3573f}.line{stroke:#d5dae0}.one{stroke:#1d2733}.name{font-weight:600}.small{fill:#5a6672;font-size:11px}</style>
<rect width="%d" height="%d" fill="#ffffff"/>
`, svgWidth, height, svgWidth, height)
	text(16, 28, `font-size="17" font-weight="600"`, "Porchlight beside its peers")
	text(16, 47, `class="small"`, fmt.Sprintf("One run on one machine: %d cores, %s, %s. Logarithmic scale.", runtime.NumCPU(), runtime.GOARCH, now.Format(time.DateOnly)))
	for p := low; p <= high; p++ {
		x, class := at(math.Pow(10, p)), "line"
		if p == 0 {
			class = "one"
		}
		fmt.Fprintf(&b, `<line class="%s" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/>`+"\n", class, x, svgTop-6, x, height-svgBottom+4)
		label := fmt.Sprintf("%g×", math.Pow(10, p))
		if p < 0 {
			label = fmt.Sprintf("1/%g", math.Pow(10, -p))
		}
		text(x, svgTop-12, `class="small" text-anchor="middle"`, label)
	}
	text(at(1)-8, float64(height-8), `class="small" text-anchor="end"`, "◀ the peer is better")
	text(at(1)+8, float64(height-8), `class="small"`, "Porchlight is better ▶")
	y := float64(svgTop)
	for i, f := range rows {
		if i == 0 || rows[i-1].Name != f.Name {
			text(16, y+16, `class="name"`, f.Name+", "+f.Unit)
			y += svgHead
		}
		from, to, class := at(1), at(f.Ratio), "better"
		if f.Ratio < 1 {
			from, to, class = to, from, "worse"
		}
		fmt.Fprintf(&b, `<g><title>`)
		_ = xml.EscapeText(&b, fmt.Appendf(nil, "%s, against %s: %s times (%s to %s %s)", f.Name, f.PeerName, times(f.Ratio), short(f.Ours), short(f.Peer), f.Unit))
		fmt.Fprintf(&b, `</title><rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%d" rx="2"/></g>`+"\n", class, from, y+3, max(to-from, 1), svgRow-7)
		text(svgLeft-10, y+14, `text-anchor="end"`, f.PeerName)
		text(svgWidth-svgRight+12, y+14, `font-weight="600"`, times(f.Ratio)+"×")
		text(svgWidth-16, y+14, `class="small" text-anchor="end"`, short(f.Ours)+" : "+short(f.Peer))
		y += svgRow
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// short is a figure in few characters.
func short(x float64) string {
	switch {
	case x >= 999.5e3:
		return fmt.Sprintf("%.3gM", x/1e6)
	case x >= 999.5:
		return fmt.Sprintf("%.3gk", x/1e3)
	}
	return fmt.Sprintf("%.3g", x)
}

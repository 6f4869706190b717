package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"porchlight/broker/api"
	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/firmware-sim/sim"
	"porchlight/policy"
)

const (
	flatHome  = "../../configs/homes/flat.yaml"
	flatTrace = "testdata/rehearsal/two-days.tsv"
	flatSays  = "../../configs/messages"
)

// rehearseAs runs the command as it is typed, and returns what it printed.
func rehearseAs(t *testing.T, args ...string) (out string, err error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	status := run(t.Context(), append([]string{"--data", t.TempDir(), "rehearse"}, args...), strings.NewReader(""), &stdout, &stderr)
	if status != 0 {
		return "", errors.New(stderr.String())
	}
	return stdout.String(), nil
}

// twoDays rehearses the recording of two days.
func twoDays(t *testing.T, more ...string) string {
	t.Helper()
	out, err := rehearseAs(t, append([]string{"--home", flatHome, "--trace", flatTrace, "--messages", flatSays, "--every", "24h"}, more...)...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func reportOf(t *testing.T, out string) (p rehearsalReport) {
	t.Helper()
	if err := json.Unmarshal([]byte(out), &p); err != nil {
		t.Fatal(err)
	}
	return p
}

// What is shown in the two days follows from the recording alone: the fridge is opened in the quiet time and then
// outside it; the television's menu is there for the first five minutes of sitting.
func TestRehearsal(t *testing.T) {
	p := reportOf(t, twoDays(t, "--format", "json"))
	var got []string
	for _, s := range p.Shown {
		got = append(got, fmt.Sprintf("%s %s on %s", s.At.Format("02 15:04:05"), s.Message, s.Screen))
		if stays := s.Until.Sub(s.At); stays <= 0 || stays > 31*time.Second || s.Then == "" {
			t.Errorf("%s was there for %s, then %q", s.Message, stays, s.Then)
		}
		if s.Because == "" {
			t.Errorf("nothing says why %s was shown", s.Message)
		}
	}
	want := []string{
		"01 08:30:00 cheese on Fridge",
		"01 18:00:00 milk on TV",
		"02 08:20:00 cheese on Fridge",
		"02 20:00:00 milk on TV",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("shown:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if p.Pushed != 6 || len(p.Days) != 2 || p.Days[0].Shown != 2 || p.Days[1].Shown != 2 {
		t.Errorf("pushed %d, days %+v %+v", p.Pushed, p.Days[0], p.Days[1])
	}
	if want := []int{2, 4, 1}; !reflect.DeepEqual(p.Days[1].Caps, want) {
		t.Errorf("caps %v used %v on the second day, want %v", p.Caps, p.Days[1].Caps, want)
	}
	// The fridge that is open in the quiet time is held by that rule, until it is closed again.
	held := 0
	for _, row := range p.Not {
		if row.Message == "cheese" && row.Screen == "Fridge" && row.Reasons.String() == "quiet" && row.Verdict == "hold" {
			held++
			if from, until := row.From.Format("02 15:04:05"), row.Until.Format("15:04:05"); from != "01 07:40:00" || until != "07:40:21" || len(row.Words) != 1 {
				t.Errorf("held by the quiet time from %s to %s: %q", from, until, row.Words)
			}
		}
	}
	if held != 1 {
		t.Errorf("held by the quiet time alone %d times, want once", held)
	}
	if w := p.Work; w.Evaluations == 0 || w.Evaluations >= w.Naive || w.Turns == 0 || w.Changes == 0 || w.ByClock >= w.Turns {
		t.Errorf("work %+v", w)
	}
}

// Nothing in a rehearsal is left to chance, not even what is.
func TestRehearsalIsTheSameTwice(t *testing.T) {
	// A seed with which somebody dismisses the first message within four seconds.
	seed := uint64(1)
	for ; ; seed++ {
		chance := rand.New(rand.NewPCG(seed, 0))
		if what, after := chance.IntN(10), chance.IntN(8); what >= 2 && what < 5 && after < 4 {
			break
		}
	}
	var was string
	for range 2 {
		c := rehearseCmd{Home: flatHome, Trace: flatTrace, Messages: flatSays, Every: howLong(24 * time.Hour), Reactions: seed}
		p, err := c.rehearse(&env{ctx: t.Context(), in: strings.NewReader(""), out: io.Discard, errs: io.Discard, data: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		if then := p.Shown[0].Then; then != "dismissed" {
			t.Errorf("with the seed %d the first message was %s, want dismissed", seed, then)
		}
		var out strings.Builder
		if err := errors.Join(p.table(&out), printJSON(&out, p), p.picture(&out)); err != nil {
			t.Fatal(err)
		}
		if was != "" && was != out.String() {
			t.Errorf("two rehearsals differ:\n%s\n%s", was, out.String())
		}
		was = out.String()
	}
}

// What the engine shows when it is woken is what it shows when everything is judged anew each second.
func TestRehearsalByWakeUpsIsBySeconds(t *testing.T) {
	dir := t.TempDir()
	home := filepath.Join(dir, "home.yaml")
	raw, err := os.ReadFile(flatHome)
	if err != nil {
		t.Fatal(err)
	}
	// A night in which all that holds a message ends: a quiet time, a spacing, sleep, a film, absence.
	raw = []byte(strings.NewReplacer(`from: "22:30", to: "08:00"`, `from: "00:00", to: "00:20"`, "{max: 1, per: 45m}", "{max: 1, per: 7m}").Replace(string(raw)))
	trace := filepath.Join(dir, "night.tsv")
	night := "Start\tEnd\tSensor\tKind\tPlace\n"
	for _, row := range []string{ // the fridge tells of its warmth every five seconds, and not when the quiet time ends
		"00:00:30 00:10:00 Bed Bedroom", "00:19:33 00:20:30 Fridge Kitchen", "00:21:00 00:31:30 Seat Living", "00:29:00 00:29:30 Fridge Kitchen",
		"00:31:40 00:31:45 Maindoor Entrance", "00:36:00 00:36:10 Fridge Kitchen", "00:37:00 00:44:00 Seat Living",
	} {
		cols := strings.Fields(row)
		night += "2021-03-01 " + cols[0] + "\t2021-03-01 " + cols[1] + "\t" + cols[2] + "\t-\t" + cols[3] + "\n"
	}
	for path, text := range map[string]string{home: string(raw), trace: night} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rehearse := func(step time.Duration) *rehearsalReport {
		c := rehearseCmd{Home: home, Trace: trace, Messages: flatSays, Every: howLong(time.Hour), step: step, length: 50 * time.Minute}
		// An hour's push is too long for these fifty minutes: what is pushed at midnight is all.
		p, err := c.rehearse(&env{ctx: t.Context(), in: strings.NewReader(""), out: io.Discard, errs: io.Discard, data: dir})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	spell := func(p *rehearsalReport) (all []string) {
		for _, s := range p.Shown {
			all = append(all, s.At.Format(time.TimeOnly+".000")+" "+s.Message+" "+s.Until.Format(time.TimeOnly+".000")+" "+s.Then)
		}
		return all
	}
	woken, stepped := rehearse(0), rehearse(time.Second)
	if got, want := spell(woken), spell(stepped); !reflect.DeepEqual(got, want) || len(got) < 2 {
		t.Errorf("by wake-ups:\n%s\nby seconds:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if woken.Work.Evaluations*4 > stepped.Work.Evaluations {
		t.Errorf("%d decisions by wake-ups, %d by seconds", woken.Work.Evaluations, stepped.Work.Evaluations)
	}
}

// What the recording says is told once to the devices and once to people.
func TestTraceMap(t *testing.T) {
	m, err := readTraceMap(&env{}, "")
	if err != nil {
		t.Fatal(err)
	}
	rows, err := readTrace(t.Context(), flatTrace, time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	got := m.tell(rows)
	var moves []string
	for _, mv := range got.moves {
		for _, a := range mv.acts {
			whose := a.Room
			if a.Class != 0 {
				whose = a.Class.String()
			}
			moves = append(moves, strings.TrimSpace(mv.at.Format("02 15:04:05 ")+whose+" "+a.Do))
		}
		if mv.back {
			moves = append(moves, mv.at.Format("02 15:04:05 ")+"back")
		}
	}
	for _, want := range []string{
		"01 00:10:00 companion somebody sleeps", "01 07:30:01 companion nobody sleeps", "01 08:30:31 fridge close door",
		"01 08:31:00 oven start", "01 08:33:00 oven start", "01 08:36:01 oven stop", // not when the toaster is off and the microwave is on
		"01 08:50:06 tv turn off", "01 17:02:00 back", "01 18:05:00 tv play", "01 19:30:01 tv stop",
		"01 08:30:00 kitchen somebody comes", "01 08:38:01 kitchen everybody leaves", // two minutes after the last of it
	} {
		if !strings.Contains(strings.Join(moves, "\n"), want) {
			t.Errorf("nothing happens as %q:\n%s", want, strings.Join(moves, "\n"))
		}
	}
	for _, never := range []string{"01 08:35:01 oven stop", "02 20:05:00 tv play", "01 17:00:06 tv turn off"} {
		if slices.Contains(moves, never) {
			t.Errorf("%q happens", never)
		}
	}
	var away []string
	for _, s := range got.bands[bandAway] {
		away = append(away, s.From.Format("02 15:04:05")+" to "+s.To.Format("02 15:04:05"))
	}
	if want := []string{"01 08:50:06 to 01 17:02:00"}; !reflect.DeepEqual(away, want) {
		t.Errorf("away %v, want %v", away, want)
	}
}

func TestRehearsalErrors(t *testing.T) {
	const head = "Start\tEnd\tSensor\tKind\tPlace\n"
	row := func(start, end, sensor string) string { return start + "\t" + end + "\t" + sensor + "\tX\tLiving\n" }
	good := row("2021-03-01 10:00:00", "2021-03-01 10:10:00", "Seat")
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	home, err := os.ReadFile(flatHome)
	if err != nil {
		t.Fatal(err)
	}
	line := func(text string) string { // of what an edit changes
		return fmt.Sprintf("home.yaml:%d: ", 1+strings.Count(string(home)[:strings.Index(string(home), text)], "\n"))
	}
	pipe := filepath.Join(t.TempDir(), "pipe.yaml")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		trace string
		edit  func(string) string // of the home
		rules string              // the map
		args  []string
		want  string
	}{
		"columns":        {trace: head + good + "2021-03-01 11:00:00\t2021-03-01 11:00:01\tSeat\n", want: "t.tsv:3: 3 columns: want start, end, sensor, kind and place, separated by tabs"},
		"no time":        {trace: head + row("2021-03-01 10:61:00", "2021-03-01 11:00:00", "Seat"), want: `t.tsv:2: "2021-03-01 10:61:00" is not a time such as 2011-11-28 10:34:23`},
		"backwards":      {trace: head + good + row("2021-03-01 11:00:00", "2021-03-01 10:59:59", "Seat"), want: "t.tsv:3: it ends before it starts: swap the times"},
		"skipped":        {trace: head + row("2021-03-28 02:30:00", "2021-03-28 03:10:00", "Seat"), want: "t.tsv:2: there was no 2021-03-28 02:30:00 in Europe/Madrid, where the clocks were put forward: use the time that they showed"},
		"unsorted":       {trace: head + good + row("2021-03-01 09:00:00", "2021-03-01 09:00:01", "Bed"), want: "t.tsv:3: it begins before the row above it: sort the rows by start"},
		"overlap":        {trace: head + good + row("2021-03-01 10:10:00", "2021-03-01 10:20:00", "Seat"), want: "t.tsv:3: Seat begins before it has ended in line 2: make one row of the two"},
		"before 1970":    {trace: head + row("1969-12-30 09:00:00", "1969-12-30 09:00:01", "Bed"), want: "t.tsv:2: it is 1969-12-30 09:00:00 to 1969-12-30 09:00:01: a recording begins in 1970 or later and ends within ten years"},
		"for ever":       {trace: head + good + row("2931-03-01 09:00:00", "2931-03-01 09:00:01", "Bed"), want: "t.tsv:3: it is 2931-03-01 09:00:00 to 2931-03-01 09:00:01: a recording begins in 1970"},
		"empty":          {trace: head, want: "t.tsv: it has no rows"},
		"no such day":    {trace: head + good, args: []string{"--from", "2021-04-01"}, want: "--from 2021-04-01: the recording goes from 2021-03-01 to 2021-03-01"},
		"no date":        {trace: head + good, args: []string{"--from", "1 March"}, want: `--from "1 March" is not a date such as 2021-03-01`},
		"no home":        {trace: head + good, args: []string{"--home", "oak"}, want: "oak is no home file, and there is no gateway's database in "},
		"home file":      {trace: head + good, edit: func(s string) string { return strings.Replace(s, "class: tv", "class: telly", 1) }, want: line("class: tv") + "TV: class"},
		"preference":     {trace: head + good, edit: func(s string) string { return strings.Replace(s, `to: "08:00"`, `to: "8"`, 1) }, want: line(`to: "08:00"`) + "preferences.quiet[0].to"},
		"preference key": {trace: head + good, edit: func(s string) string { return strings.Replace(s, "  quiet:", "  quite:", 1) }, want: line("  quiet:") + `key "quite" is unknown: did you mean "quiet"?`},
		"consent":        {trace: head + good, edit: func(s string) string { return strings.Replace(s, "person: Anna}", "person: Ben}", 1) }, want: line("person: Anna}") + `person "Ben"`},
		"messages":       {trace: head + good, args: []string{"--messages", filepath.Join(dir, "none")}, want: "none: no such file or directory"},
		"message":        {trace: head + good, args: []string{"--messages", filepath.Dir(write("bad/one.yaml", "purpose: marketing\ntexts: [{language: en, bdy: Hello}]\n"))}, want: `one.yaml:2: key "bdy" is unknown: did you mean "body"?`},
		"not accepted":   {trace: head + good, args: []string{"--messages", filepath.Dir(write("long/one.yaml", "purpose: marketing\ndisplay_seconds: 900\ntexts: [{language: en, body: Hello}]\n"))}, want: "one.yaml:2: display_seconds is 900: use 1 to 600"},
		"no messages":    {trace: head + good, args: []string{"--messages", filepath.Dir(write("empty/readme.txt", ""))}, want: "has no file that ends in .yaml, .yml or .json"},
		"no message":     {trace: head + good, args: []string{"--messages", write("empty/readme.txt", "")}, want: "readme.txt is no message: its name does not end in .yaml, .yml or .json"},
		"one message":    {trace: head + good, args: []string{"--messages", write("bad/one.yaml", "purpose: marketing\ntexts: [{language: en, bdy: Hello}]\n")}, want: `one.yaml:2: key "bdy" is unknown: did you mean "body"?`},
		"whose": {trace: head + good, edit: func(s string) string {
			return strings.ReplaceAll(s, "  - {brand: grocer", "  - {brand: baker, purpose: marketing}\n  - {brand: grocer")
		}, want: "the home has said yes to 2 brands: say with --brand whose"},
		"action":      {trace: head + good, rules: "sensors:\n  Seat:\n    begin: [{tv: dance}]\n", want: `map.yaml:3: "dance" is no action of tv: use one of turn on, `},
		"class":       {trace: head + good, rules: "leaves: [{telly: turn off}]\n", want: "map.yaml:1: "},
		"two actions": {trace: head + good, rules: "leaves:\n  - {tv: turn off, all: everybody leaves}\n", want: "map.yaml:2: it has 2 actions: write each as {class: action}"},
		"band":        {trace: head + good, rules: "sensors: {Seat: {band: sofa}}\n", want: `band "sofa" is unknown: use one of in bed, television, kitchen, door`},
		"after":       {trace: head + good, rules: "sensors:\n  Seat: {after: 5m}\n", want: "after and then go together"},
		"every":       {trace: head + good, args: []string{"--every", "5m"}, want: "--every 5m: use 1h to 31d"},
		"for":         {trace: head + good, args: []string{"--for", "40d"}, want: "--for 40d: use 1m to 31d"},
		"no unit":     {trace: head + good, args: []string{"--for", "3"}, want: `"3" is no length of time: write a duration such as 2m, 2h or 7d`},
		"no days":     {trace: head + good, args: []string{"--days", "0"}, want: `--days: "0" is no number of days: use 1 or more`},
		"minus a day": {trace: head + good, args: []string{"--days", "-1"}, want: `--days: "-1" is no number of days: use 1 or more`},
		"stays":       {trace: head + good, rules: "stays: 2\n", want: `map.yaml:1: "2" is no length of time: write a duration such as 2m`},
		"who":         {trace: head + good, rules: "away: Maindoor\nwho: Ben\n", want: `map.yaml: who is "Ben": nobody in the home is called so`},
		"nothing":     {trace: head + good, args: []string{"--home", "", "--messages", ""}, want: "--home, --messages missing: give --home, --trace and --messages"},
		"no header":   {trace: good + row("2021-03-01 11:00:00", "2021-03-01 11:00:01", "Bed"), want: "t.tsv:1: it is a row, and the first line is for the names of the columns: put a line such as "},
		"consent key": {trace: head + good, edit: func(s string) string { return strings.Replace(s, "\nconsents:", "\nconsent:", 1) }, want: line("consents:\n") + `key "consent" is unknown: did you mean consents?`},
		"no texts":    {trace: head + good, args: []string{"--messages", filepath.Dir(write("blank/one.yaml", "purpose: marketing\n"))}, want: "one.yaml:1: texts is empty: add at least one {language, body}"},
		"a pipe":      {trace: head + good, args: []string{"--messages", filepath.Dir(pipe)}, want: "pipe.yaml is no file"},
		"too late, and another": {trace: head + good + row("2021-03-03 10:00:00", "2021-03-03 10:00:01", "Bed"), args: []string{"--every", "24h",
			"--messages", filepath.Dir(write("late/two.yaml", "purpose: marketing\ntexts: [{language: en, body: Hello}]\nnot_after: 2021-03-02T12:00:00Z\n")), "--brand", "grocer"},
			want: "two.yaml:3: not_after is 2021-03-02T12:00:00.000Z, which has passed: use a time in the future"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			args := []string{"--home", flatHome, "--trace", write("t.tsv", test.trace), "--messages", flatSays}
			if test.edit != nil {
				args[1] = write("home.yaml", test.edit(string(home)))
			}
			if test.rules != "" {
				args = append(args, "--map", write("map.yaml", test.rules))
			}
			for i := 0; i+1 < len(test.args); i += 2 {
				found := false
				for j := 0; j < len(args); j += 2 {
					if args[j] == test.args[i] {
						args[j+1], found = test.args[i+1], true
					}
				}
				if !found {
					args = append(args, test.args[i:i+2]...)
				}
			}
			_, err := rehearseAs(t, args...)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q in it", err, test.want)
			}
		})
	}
}

// Reading a recording ends when it is asked to.
func TestTraceIsGivenUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if rows, err := readTrace(ctx, flatTrace, time.UTC); !errors.Is(err, context.Canceled) {
		t.Errorf("read %d rows, %v, want that it was cancelled", len(rows), err)
	}
}

// The picture is XML, has a row for each day, and no name covers another.
func TestRehearsalPicture(t *testing.T) {
	out := twoDays(t, "--format", "svg")
	days, names, quiet, ends := 0, 0, 0, 0
	for dec := xml.NewDecoder(strings.NewReader(out)); ; {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in:\n%s", err, out)
		}
		if at, ok := token.(xml.StartElement); ok {
			class := ""
			for _, a := range at.Attr {
				if a.Name.Local == "class" {
					class = a.Value
				}
			}
			switch {
			case at.Name.Local == "g" && class == "day":
				days++
			case at.Name.Local == "text" && class == "name":
				names++
			case class == "quiet":
				quiet++
			case class == "end":
				ends++
			}
		}
	}
	if days != 2 || names != 4 || quiet != 2*2+1 || ends != 1+1 {
		t.Errorf("%d rows, %d names, %d quiet times, %d ends; want 2, 4, and 2 a day and 1 with one more in the legend", days, names, quiet, ends)
	}
	first := time.Date(2021, 3, 1, 0, 0, 0, 0, time.UTC)
	p := rehearsalReport{zone: time.UTC, Days: []*rehearsalDay{{Date: "2021-03-01", from: first, to: midnight(first, 1)}}}
	for i := range 60 {
		p.Shown = append(p.Shown, &rehearsalShow{At: first.Add(time.Duration(i*i*24) * time.Second), Message: strings.Repeat("<m>", i%5+1), Screen: "TV"})
	}
	p.Shown = append(p.Shown, &rehearsalShow{At: first.Add(24*time.Hour - time.Second), Message: "a message with a name that is long", Screen: "TV"})
	placed, lines := p.names(p.Days[0])
	box := func(n name) (from, to float64) {
		wide := picLetter * float64(len([]rune(n.label)))
		if n.left {
			return n.x - 8 - wide, n.x + 4
		}
		return n.x - 4, n.x + 8 + wide
	}
	for i, a := range placed {
		if _, to := box(a); a.line >= lines || to > picLeft+24*picHour+6 {
			t.Errorf("%q ends at %g in line %d of %d", a.label, to, a.line, lines)
		}
		for _, b := range placed[:i] {
			fromA, toA := box(a)
			fromB, toB := box(b)
			if a.line == b.line && fromA < toB && fromB < toA {
				t.Errorf("%q covers %q", a.label, b.label)
			}
		}
	}
	var svg bytes.Buffer
	if err := p.picture(&svg); err != nil {
		t.Fatal(err)
	}
	if err := xml.Unmarshal(svg.Bytes(), new(struct{})); err != nil {
		t.Errorf("with awkward names: %v", err)
	}
}

// rehearsedWith rehearses a home with one message on a recording with a map; "" is the flat, its two days, the built-in map.
func rehearsedWith(t *testing.T, home, trace, rules string, message [2]string, more ...string) (out, errs string) {
	t.Helper()
	dir := t.TempDir()
	args := []string{"--data", dir, "rehearse", "--home", flatHome, "--trace", flatTrace, "--messages", filepath.Join(dir, "messages")}
	if err := os.Mkdir(args[8], 0o700); err != nil {
		t.Fatal(err)
	}
	for _, f := range []struct{ name, text, flag string }{{"home.yaml", home, "--home"}, {"trace.tsv", trace, "--trace"}, {"map.yaml", rules, "--map"}, {"messages/" + message[0], message[1], ""}} {
		if f.text == "" {
			continue
		}
		path := filepath.Join(dir, f.name)
		if err := os.WriteFile(path, []byte(f.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if i := slices.Index(args, f.flag); i >= 0 {
			args[i+1] = path
		} else if f.flag != "" {
			args = append(args, f.flag, path)
		}
	}
	var stdout, stderr strings.Builder
	if status := run(t.Context(), append(args, more...), strings.NewReader(""), &stdout, &stderr); status != 0 {
		t.Fatal(stderr.String())
	}
	return stdout.String(), stderr.String()
}

const anyScreen = "purpose: marketing\ntexts: [{language: en, body: Hello}]\n"

// After the recording nothing is known, and nothing is shown: not what waits for the end of the quiet time.
func TestRehearsalEndsWithTheRecording(t *testing.T) {
	const early = "Start\tEnd\tSensor\tKind\tPlace\n2021-03-01 06:00:00\t2021-03-01 07:00:00\tBed\tX\tBedroom\n"
	const late = early + "2021-03-01 09:00:00\t2021-03-01 09:01:00\tBed\tX\tBedroom\n"
	for name, test := range map[string]struct {
		trace string
		args  []string
		want  []string
	}{
		"before the quiet time ends": {early, nil, []string{
			"flat (Europe/Madrid): trace.tsv, 1 row; Mon 1 Mar 2021 to Mon 1 Mar 2021, 1 day; the recording ends at 07:00:00, and the rehearsal with it\n",
			"messages: süße Milch 1 of grocer; 1 pushed", "SHOWN: 0\n"}},
		"after it":  {late, nil, []string{"trace.tsv, 2 rows; ", "the recording ends at 09:01:00", "SHOWN: 1\n"}},
		"in JSON":   {early, []string{"--format", "json"}, []string{`"to": "2021-03-01T07:00:01+01:00"`}},
		"days only": {"", []string{"--days", "1"}, []string{"two-days.tsv, 12 rows; Mon 1 Mar 2021 to Mon 1 Mar 2021, 1 day\n"}},
	} {
		out, _ := rehearsedWith(t, "", test.trace, "", [2]string{"süße Milch 1.yaml", anyScreen}, test.args...)
		for _, want := range test.want {
			if !strings.Contains(out, want) {
				t.Errorf("%s: want %q in:\n%s", name, want, out)
			}
		}
	}
}

// What a recording, a map and a home do not have in common is said, once.
func TestRehearsalOddities(t *testing.T) {
	const trace = "Start\tEnd\tSensor\tKind\tPlace\n" +
		"2021-03-01 09:00:00\t2021-03-01 09:01:00\tSofa\tX\tLiving\n2021-03-01 10:00:00\t2021-03-01 10:01:00\tSofa\tX\tLiving\n" +
		"2021-03-01 11:00:00\t2021-03-01 11:01:00\tSeat\tX\tHall\n2021-03-01 11:02:00\t2021-03-01 11:03:00\tSeat\tX\tAttic\n2021-03-01 11:05:00\t2021-03-01 11:05:01\tMaindoor\tX\tEntrance\n"
	says := func(lines ...string) (all string) {
		for _, line := range lines {
			all += "porchlight: rehearse: " + line + "\n"
		}
		return all
	}
	sofa, hall := `sensor "Sofa" is not among the sensors of the map: it says only where somebody is`, `place "Hall" is not among the rooms of the map: what happens there says only that somebody is at home`
	for name, test := range map[string]struct{ rules, trace, want string }{
		"all is known": {},
		"built-in":     {"", trace, says(sofa, hall, strings.Replace(hall, "Hall", "Attic", 1))},
		"own": {"sensors: {Seat: {band: television}, Bed: {band: in bed}}\nrooms: {Living: Living, Attic: attic, Cellar: cellar}\naway: Gate\n", trace,
			says(sofa, strings.Replace(sofa, "Sofa", "Maindoor", 1), hall, strings.Replace(hall, "Hall", "Entrance", 1),
				`sensor "Bed" of the map is in no row of the recording`, `sensor "Gate" of the map is in no row of the recording`,
				`place "Attic" is "attic" in the map, and no room of the home has a name that begins so`,
				`place "Cellar" is "cellar" in the map, and no room of the home has a name that begins so`)},
	} {
		if _, errs := rehearsedWith(t, "", test.trace, test.rules, [2]string{"one.yaml", anyScreen}); errs != test.want {
			t.Errorf("%s: it says\n%s\nwant\n%s", name, errs, test.want)
		}
	}
}

// A pause that was learnt is told from a mute, and every rule that occurs is explained, and no other.
func TestRehearsalSaysWhatTheRulesAre(t *testing.T) {
	seed := uint64(1) // with which somebody dismisses both messages
	for ; ; seed++ {
		chance := rand.New(rand.NewPCG(seed, 0))
		dismissed := func() bool { what, after := chance.IntN(10), chance.IntN(8); return what >= 2 && what < 5 && after < 4 }
		first, second := dismissed(), dismissed()
		if first && second {
			break
		}
	}
	out, _ := rehearsedWith(t, "", "", "", [2]string{"one.yaml", anyScreen}, "--every", "24h", "--reactions", fmt.Sprint(seed))
	_, not, _ := strings.Cut(out, "NOT SHOWN")
	not, _, _ = strings.Cut(not, "CAPS")
	for text, want := range map[string]bool{
		", paused ": true, "mute": false, "\n  paused   messages of this brand were dismissed twice": true, "\n  quiet ": true, "\n  age ": false,
	} {
		if strings.Contains(not, text) != want {
			t.Errorf("%q in it is not %t:\n%s", text, want, not)
		}
	}
	for r := policy.Rule(0); r.String() != "none"; r++ {
		if ruleWords[r.String()] == "" {
			t.Errorf("nothing explains %s", r)
		}
	}
	for name, test := range map[string]struct {
		causes []string
		want   bool
	}{
		"learnt":          {[]string{"mute.learnt rule=mute verdict=hold brand=grocer"}, true},
		"said":            {[]string{"mute.said rule=mute verdict=refuse"}, false},
		"learnt and said": {[]string{"mute.learnt rule=mute", "mute.said rule=mute"}, false},
		"neither":         {[]string{"quiet.time rule=quiet"}, false},
	} {
		if got := paused(test.causes); got != test.want {
			t.Errorf("%s: paused is %t", name, got)
		}
	}
}

// With who in the map a device that can tell who is in its room does, and so how many are.
func TestRehearsalTellsWhoIsThere(t *testing.T) {
	raw, err := os.ReadFile(flatHome)
	if err != nil {
		t.Fatal(err)
	}
	home := strings.Replace(string(raw), "\nconsents:\n", "\nconsents:\n  - {brand: grocer, purpose: context}\n  - {brand: grocer, purpose: context, person: Anna}\n", 1)
	for name, test := range map[string]struct {
		who, condition, trace string
		args                  []string
		want                  bool
	}{
		"one":           {"Anna", "presence.count == 1", "", nil, true},
		"not two":       {"Anna", "presence.count == 2", "", nil, false},
		"as the map is": {"", "presence.count == 1", "", nil, false},
		"who is there when it begins": {"Anna", "presence.count == 1", "Start\tEnd\tSensor\tKind\tPlace\n2021-03-01 23:00:00\t2021-03-02 09:00:00\tCupboard\tX\tKitchen\n",
			[]string{"--from", "2021-03-02"}, true},
	} {
		rules := strings.Replace(string(builtInMap), `who: "" `, fmt.Sprintf("who: %q ", test.who), 1)
		message := anyScreen + "classes: [fridge]\ncondition: " + test.condition + "\nneeds: [presence.count]\n"
		out, _ := rehearsedWith(t, home, test.trace, rules, [2]string{"one.yaml", message}, append(test.args, "--format", "json")...)
		if p := reportOf(t, out); (len(p.Shown) > 0) != test.want {
			t.Errorf("%s: shown %d times", name, len(p.Shown))
			for _, row := range p.Not {
				t.Log(row.Screen, row.From, row.Until, row.Words)
			}
		}
	}
}

func TestCapsUsed(t *testing.T) {
	monday := time.Date(2021, 3, 1, 0, 0, 0, 0, time.UTC)
	p := rehearsalReport{}
	for _, at := range []struct {
		hours int
		brand device.BrandID
	}{{-2, "fresh"}, {9, "fresh"}, {20, "fresh"}, {33, "baker"}, {34, "fresh"}} { // from Sunday 22:00 to Tuesday 10:00
		p.Shown = append(p.Shown, &rehearsalShow{At: monday.Add(time.Duration(at.hours) * time.Hour), Brand: at.brand, of: &rehearsed{}})
	}
	tuesday := &rehearsalDay{from: monday.AddDate(0, 0, 1), to: monday.AddDate(0, 0, 2)}
	for name, test := range map[string]struct {
		c    delivery.NamedCap
		want int
	}{
		"day":        {delivery.NamedCap{Per: "day"}, 2},
		"each":       {delivery.NamedCap{Per: "day", Each: true}, 1},
		"week":       {delivery.NamedCap{Per: "week"}, 4},
		"a day long": {delivery.NamedCap{Per: "24h"}, 3},
		"two days":   {delivery.NamedCap{Per: "48h"}, 5},
		"brand":      {delivery.NamedCap{Per: "48h", NamedSelector: delivery.NamedSelector{Brand: "baker"}}, 1},
	} {
		if got := p.used(test.c, tuesday); got != test.want {
			t.Errorf("%s: %d counted, want %d", name, got, test.want)
		}
	}
}

func TestQuietAt(t *testing.T) {
	at := func(text string) time.Time {
		t.Helper()
		when, err := time.Parse("Mon 2006-01-02 15:04", text)
		if err != nil {
			t.Fatal(err)
		}
		return when
	}
	night := delivery.NamedQuiet{From: "22:00", To: "07:00", Days: []string{"sun"}}
	for text, want := range map[string]bool{
		"Sun 2021-02-28 21:59": false, "Sun 2021-02-28 22:00": true, "Mon 2021-03-01 06:59": true, "Mon 2021-03-01 07:00": false, "Sun 2021-02-28 06:00": false, "Mon 2021-03-01 23:00": false,
	} {
		if got := quietAt(night, at(text)); got != want {
			t.Errorf("%s is quiet: %t, want %t", text, got, want)
		}
	}
}

// fortnight writes a recording of fourteen days, each much like the one before.
func fortnight(path string) error {
	var b strings.Builder
	b.WriteString("Start\tEnd\tSensor\tKind\tPlace\n")
	for day := range 14 {
		for _, row := range []struct {
			sensor, place string
			at, minutes   int // minutes after midnight
		}{
			{"Bed", "Bedroom", 20, 440}, {"Basin", "Bathroom", 465, 4}, {"Fridge", "Kitchen", 490, 1}, {"Toaster", "Kitchen", 492, 3}, {"Fridge", "Kitchen", 500, 1},
			{"Seat", "Living", 510, 60}, {"Maindoor", "Entrance", 580, 1}, {"Maindoor", "Entrance", 1020, 1}, {"Fridge", "Kitchen", 1025, 1}, {"Cooktop", "Kitchen", 1030, 20},
			{"Fridge", "Kitchen", 1035, 2}, {"Seat", "Living", 1060, 40}, {"Basin", "Bathroom", 1110, 2}, {"Seat", "Living", 1120, 200}, {"Fridge", "Kitchen", 1330, 1}, {"Seat", "Living", 1340, 80},
		} {
			at := time.Date(2021, 3, 1+day, 0, row.at+day%3, 0, 0, time.UTC)
			fmt.Fprintf(&b, "%s\t%s\t%s\t-\t%s\n", at.Format(time.DateTime), at.Add(time.Duration(row.minutes)*time.Minute-time.Second).Format(time.DateTime), row.sensor, row.place)
		}
	}
	return os.WriteFile(path, []byte(b.String()), 0o600)
}

// BenchmarkRehearsal rehearses fourteen days with three messages a day.
func BenchmarkRehearsal(b *testing.B) {
	trace := filepath.Join(b.TempDir(), "fortnight.tsv")
	if err := fortnight(trace); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		c := rehearseCmd{Home: flatHome, Trace: trace, Messages: flatSays, Every: howLong(24 * time.Hour)}
		p, err := c.rehearse(&env{ctx: b.Context(), in: strings.NewReader(""), out: io.Discard, errs: io.Discard, data: b.TempDir()})
		if err != nil {
			b.Fatal(err)
		}
		if len(p.Shown) == 0 {
			b.Fatal("nothing was shown")
		}
		b.ReportMetric(float64(p.Work.Evaluations), "decisions")
	}
}

// A home at the gateway is rehearsed as it is there, but for what it was shown: with its own choices and
// preferences, while the gateway runs and when it does not, and nothing there is changed.
func TestRehearsalOfAHomeAtTheGateway(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	g, stop := start(t, data, io.Discard)
	stopped := false
	defer func() {
		if !stopped {
			stop()
		}
	}()
	home, err := sim.ReadHome(flatHome)
	if err != nil {
		t.Fatal(err)
	}
	// Its devices go by the same IDs as those of the home in the file: what chance there is is drawn from them.
	operator := &env{ctx: t.Context(), data: data}
	status, err := ask[api.Status](operator, "status", api.None{})
	if err != nil {
		t.Fatal(err)
	}
	added, err := ask[api.HomeAdded](operator, "home/add", rehearsedSpec(home))
	if err != nil {
		t.Fatal(err)
	}
	porchlight(t, data, "home", "set", "flat", "--cap", "3/day", "--cap", "10/168h", "--cap", "1/45m")
	key := filepath.Join(dir, "key")
	if err := os.WriteFile(key, []byte(porchlight(t, data, "brand", "add", "grocer", "--name", "Grocer", "--purpose", "marketing")), 0o600); err != nil {
		t.Fatal(err)
	}
	porchlight(t, data, "consent", "give", "--home", "flat", "--brand", "grocer", "--purpose", "marketing")
	porchlight(t, data, "consent", "give", "--home", "flat", "--brand", "grocer", "--purpose", "marketing", "--person", "Anna")
	devices, err := sim.Devices(home, credentials(status.Gateway, added.Devices), sim.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var running sync.WaitGroup
	for _, d := range devices {
		running.Go(func() {
			if err := d.Run(ctx); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		})
	}
	for _, d := range devices {
		if err := d.Await(ctx, func(s sim.State) bool { return s.Ready && s.Owed == 0 && s.Twin.Version > 0 }); err != nil {
			t.Fatal(err)
		}
	}
	// What was shown here before, and what is on a screen just now, counts for nothing in a rehearsal.
	i := slices.IndexFunc(devices, func(d *sim.Device) bool { return d.Class() == device.TV })
	if err := devices[i].Do("turn on"); err != nil {
		t.Fatal(err)
	}
	porchlight(t, data, "home", "set", "flat", "--no-quiet")
	porchlight(t, data, "push", filepath.Join(flatSays, "milk.yaml"), "--for", "2h", "--api", "http://"+g.Listeners["http"], "--key-file", key)
	if err := devices[i].Await(ctx, func(s sim.State) bool { return s.Screen.Showing }); err != nil {
		t.Fatal(err)
	}
	porchlight(t, data, "home", "set", "flat", "--quiet", "22:30-08:00")
	args := []string{"--home", "flat", "--trace", flatTrace, "--messages", flatSays, "--every", "24h", "--format", "json"}
	want := reportOf(t, twoDays(t, "--format", "json"))
	parts := func(p rehearsalReport) string { // what does not depend on how the home came about
		for _, s := range p.Shown {
			s.Because = ""
		}
		var b strings.Builder
		if err := printJSON(&b, []any{p.Shown, p.Days, p.Caps}); err != nil {
			t.Fatal(err)
		}
		for _, s := range p.sums() {
			fmt.Fprintln(&b, *s)
		}
		return b.String()
	}
	rehearse := func() rehearsalReport {
		t.Helper()
		p := reportOf(t, porchlight(t, data, append([]string{"rehearse"}, args...)...))
		if got, want := parts(p), parts(want); got != want {
			t.Errorf("the home at the gateway is shown other things than the one in the file:\n%s\n%s", got, want)
		}
		return p
	}
	running1 := rehearse()
	cancel()
	running.Wait()
	stopped = true
	stop()
	digest := func() map[string][32]byte {
		t.Helper()
		all := map[string][32]byte{}
		err := filepath.WalkDir(data, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			raw, err := os.ReadFile(path)
			all[path] = sha256.Sum256(raw)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	before := digest()
	if p := rehearse(); !reflect.DeepEqual(p, running1) {
		t.Error("with the gateway off it comes out otherwise than with it on")
	}
	if after := digest(); !reflect.DeepEqual(before, after) {
		t.Errorf("the data folder was changed: %v, was %v", after, before)
	}
}

// A day may begin at one, and ends where the next one begins.
func TestMidnight(t *testing.T) {
	santiago, err := time.LoadLocation("America/Santiago")
	if err != nil {
		t.Fatal(err)
	}
	day := midnight(time.Date(2027, 9, 3, 12, 0, 0, 0, santiago), 0)
	for _, want := range []string{"2027-09-03T00:00:00-04:00", "2027-09-04T00:00:00-04:00", "2027-09-05T01:00:00-03:00", "2027-09-06T00:00:00-03:00"} {
		if got := day.Format(time.RFC3339); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		day = midnight(day, 1)
	}
}

package main

import (
	"bufio"
	"context"
	_ "embed"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"porchlight/device"
	"porchlight/firmware-sim/sim"
)

// traceMap says what the sensors of a recording mean; rehearsal.yaml explains it.
type traceMap struct {
	Rooms   map[string]string     `yaml:"rooms"`
	Stays   howLong               `yaml:"stays"`
	Who     string                `yaml:"who"`
	Sensors map[string]*traceRule `yaml:"sensors"`
	Away    string                `yaml:"away"`
	Leaves  []deed                `yaml:"leaves"`
}

type traceRule struct {
	Band  string  `yaml:"band"`
	Begin []deed  `yaml:"begin"`
	After howLong `yaml:"after"`
	Then  []deed  `yaml:"then"`
	End   []deed  `yaml:"end"`
}

// deed is an action by the class of the devices that it is done to.
type deed map[string]string

// The bands of the picture, as a map names them, and the one that follows from where everybody is.
const (
	bandAway    = "away"
	bandBed     = "in bed"
	bandTV      = "television"
	bandKitchen = "kitchen"
	bandDoor    = "door"
)

var bands = []string{bandAway, bandBed, bandTV, bandKitchen, bandDoor}

//go:embed rehearsal.yaml
var builtInMap []byte

// readTraceMap reads the map at path, or the built-in one.
func readTraceMap(e *env, path string) (m traceMap, err error) {
	raw, name := builtInMap, "the built-in map"
	if path != "" {
		if raw, name, err = e.readFile(path); err != nil {
			return m, err
		}
	}
	f, err := parseYAML(name, raw)
	if err != nil {
		return m, err
	}
	if err := f.decode(&m); err != nil {
		return m, err
	}
	check := func(at string, deeds []deed) error {
		for i, one := range deeds {
			where := f.at(fmt.Sprintf("%s[%d]", at, i))
			if len(one) != 1 {
				return fmt.Errorf("%s: it has %d actions: write each as {class: action}", where, len(one))
			}
			for class, do := range one {
				c := device.Other
				if class != "all" {
					if c, err = device.ParseClass(class); err != nil {
						return fmt.Errorf("%s: %w, or all", where, err)
					}
				}
				if known := sim.Actions(c); !slices.Contains(known, do) {
					return fmt.Errorf("%s: %q is no action of %s: use one of %s", where, do, class, strings.Join(known, ", "))
				}
			}
		}
		return nil
	}
	if err := check("leaves", m.Leaves); err != nil {
		return m, err
	}
	if m.Stays < 0 {
		return m, fmt.Errorf("%s: stays is %s: use 0s or more", f.at("stays"), m.Stays)
	}
	for place, room := range m.Rooms {
		m.Rooms[place] = strings.ToLower(room)
	}
	for name, s := range m.Sensors {
		at := "sensors." + name
		if s == nil {
			m.Sensors[name] = &traceRule{}
			continue
		}
		for part, deeds := range map[string][]deed{".begin": s.Begin, ".then": s.Then, ".end": s.End} {
			if err := check(at+part, deeds); err != nil {
				return m, err
			}
		}
		if s.Band != "" && !slices.Contains(bands[1:], s.Band) {
			return m, fmt.Errorf("%s: band %q is unknown: use one of %s", f.at(at+".band"), s.Band, strings.Join(bands[1:], ", "))
		}
		if (s.After <= 0) != (len(s.Then) == 0) {
			return m, fmt.Errorf("%s: after and then go together: write both, after above 0s, or neither", f.at(at))
		}
	}
	return m, nil
}

// readTrace reads a recording that is in order: what begins earlier stands further up, and a sensor
// does not begin again before it has ended. What is not of one decade is no recording of a home.
func readTrace(ctx context.Context, path string, zone *time.Location) ([]sim.Interval, error) {
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	in := bufio.NewReader(untilDone{ctx, f})
	if top, _ := in.Peek(len(time.DateTime)); len(top) == len(time.DateTime) { // what cannot be read is told below
		if _, err := time.Parse(time.DateTime, string(top)); err == nil {
			return nil, fmt.Errorf("%s:1: it is a row, and the first line is for the names of the columns: put a line such as Start, End, Sensor, Kind, Place above it, with tabs between", path)
		}
	}
	rows, err := sim.ReadRecording(in, path, zone)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(rows, func(a, b sim.Interval) int { return a.Line - b.Line })
	last := map[[2]string]sim.Interval{}
	for i, r := range rows {
		if r.Start.Unix() < 0 || r.End.Sub(rows[0].Start) > longestTrace {
			return nil, fmt.Errorf("%s:%d: it is %s to %s: a recording begins in 1970 or later and ends within ten years", path, r.Line, r.Start.Format(time.DateTime), r.End.Format(time.DateTime))
		}
		if i > 0 && r.Start.Before(rows[i-1].Start) {
			return nil, fmt.Errorf("%s:%d: it begins before the row above it: sort the rows by start", path, r.Line)
		}
		sensor := [2]string{r.Sensor, r.Place}
		if was, ok := last[sensor]; ok && !r.Start.After(was.End) {
			return nil, fmt.Errorf("%s:%d: %s begins before it has ended in line %d: make one row of the two", path, r.Line, r.Sensor, was.Line)
		}
		last[sensor] = r
	}
	return rows, nil
}

const longestTrace = 10 * 366 * 24 * time.Hour

// untilDone reads until ctx is done.
type untilDone struct {
	ctx context.Context
	io.Reader
}

func (r untilDone) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(b)
}

const somebodyComes = "somebody comes" // the simulator's action

// span is a stretch of time: From is in it, To is not.
type span struct{ From, To time.Time }

// traced is what a recording says, told to devices and to people.
type traced struct {
	moves []move
	bands map[string][]span
}

// oddities are what a recording and a map do not have in common, each once.
type oddities struct {
	sensors, places []string // of the recording, that are not in the map
	unused          []string // sensors of the map, that are not in the recording
	rooms           []oddRoom
}

// oddRoom is a room of the map; whether the home has it is still to be seen.
type oddRoom struct {
	place, room string
	used        bool // the recording has the place
}

// odd compares the map with a recording.
func (m traceMap) odd(rows []sim.Interval) (o oddities) {
	sensors, places := map[string]bool{m.Away: true}, map[string]bool{}
	seen := map[string]bool{}
	for _, r := range rows {
		if _, ok := m.Sensors[r.Sensor]; !ok && !sensors[r.Sensor] {
			o.sensors = append(o.sensors, r.Sensor)
		}
		if r.Sensor != m.Away && m.Rooms[r.Place] == "" && !places[r.Place] {
			o.places = append(o.places, r.Place)
		}
		sensors[r.Sensor], seen[r.Sensor] = true, true
		places[r.Place] = places[r.Place] || r.Sensor != m.Away
	}
	for sensor := range m.Sensors {
		if !seen[sensor] {
			o.unused = append(o.unused, sensor)
		}
	}
	if _, ok := m.Sensors[m.Away]; !ok && m.Away != "" && !seen[m.Away] {
		o.unused = append(o.unused, m.Away)
	}
	slices.Sort(o.unused)
	for _, place := range slices.Sorted(maps.Keys(m.Rooms)) {
		if m.Rooms[place] != "" {
			o.rooms = append(o.rooms, oddRoom{place, m.Rooms[place], places[place]})
		}
	}
	return o
}

// move is what happens to the devices at one moment.
type move struct {
	at   time.Time
	acts []sim.Act
	back bool // somebody is at home again
}

// tell makes moves and bands of a recording.
func (m traceMap) tell(rows []sim.Interval) (t traced) {
	t.bands = map[string][]span{}
	type edge struct {
		at    time.Time
		order int // of what happens at one moment: what begins, then what ends, then who has left
		move  move
	}
	var edges []edge
	add := func(at time.Time, order int, acts ...sim.Act) {
		edges = append(edges, edge{at, order, move{at: at, acts: acts}})
	}
	var indoors, doors []span
	inRoom := map[string][]span{}
	var roomNames []string
	for _, r := range rows {
		s := span{r.Start, r.End.Add(time.Second)}
		rule := m.Sensors[r.Sensor]
		if rule != nil {
			if rule.Band != "" {
				t.bands[rule.Band] = append(t.bands[rule.Band], s)
			}
			add(s.From, 0, deedsOf(rule.Begin)...)
			if at := s.From.Add(time.Duration(rule.After)); rule.After > 0 && at.Before(s.To) {
				add(at, 0, deedsOf(rule.Then)...)
			}
			if !m.goesOn(rows, r, rule) {
				add(s.To, 1, deedsOf(rule.End)...)
			}
		}
		if r.Sensor == m.Away {
			doors = append(doors, s)
			continue
		}
		indoors = append(indoors, s)
		if room := m.Rooms[r.Place]; room != "" {
			if inRoom[room] == nil {
				roomNames = append(roomNames, room)
			}
			inRoom[room] = append(inRoom[room], span{s.From, s.To.Add(time.Duration(m.Stays))})
		}
	}
	indoors = merge(indoors)
	for _, door := range doors {
		away := span{From: door.To, To: rows[0].End}
		for _, r := range rows {
			if away.To.Before(r.End) {
				away.To = r.End.Add(time.Second)
			}
		}
		next, _ := slices.BinarySearchFunc(indoors, door.To, func(s span, at time.Time) int { return s.To.Compare(at) })
		for next < len(indoors) && !indoors[next].To.After(door.To) {
			next++
		}
		if next < len(indoors) {
			if !indoors[next].From.After(door.To) {
				continue // somebody is still in
			}
			away.To = indoors[next].From
		}
		if n := len(t.bands[bandAway]); n > 0 && !t.bands[bandAway][n-1].To.Before(away.To) {
			continue // they were away, and came by
		}
		t.bands[bandAway] = append(t.bands[bandAway], away)
		add(away.From, 3, deedsOf(m.Leaves)...)
		edges = append(edges, edge{away.To, 0, move{at: away.To, back: true}})
	}
	for _, room := range roomNames {
		for _, s := range merge(inRoom[room]) {
			for _, away := range t.bands[bandAway] {
				if s.From.Before(away.From) && away.From.Before(s.To) {
					s.To = away.From // nobody lingers who has left
				}
			}
			add(s.From, 0, sim.Act{Room: room, Do: somebodyComes})
			add(s.To, 2, sim.Act{Room: room, Do: "everybody leaves"})
		}
	}
	for band, all := range t.bands {
		t.bands[band] = merge(all)
	}
	slices.SortStableFunc(edges, func(a, b edge) int {
		if c := a.at.Compare(b.at); c != 0 {
			return c
		}
		return a.order - b.order
	})
	for _, e := range edges {
		t.moves = append(t.moves, e.move)
	}
	return t
}

// goesOn reports whether, when r ends, another sensor is active whose end is the same to the devices: the
// oven is hot until the last of them is off.
func (m traceMap) goesOn(rows []sim.Interval, r sim.Interval, rule *traceRule) bool {
	return len(rule.End) > 0 && slices.ContainsFunc(rows, func(o sim.Interval) bool {
		other := m.Sensors[o.Sensor]
		return other != nil && o.Line != r.Line && !o.Start.After(r.End.Add(time.Second)) && o.End.After(r.End) && reflect.DeepEqual(other.End, rule.End)
	})
}

// deedsOf are deeds as the simulator has them.
func deedsOf(deeds []deed) (all []sim.Act) {
	for _, one := range deeds {
		for class, do := range one {
			c, _ := device.ParseClass(class) // all is 0: any
			all = append(all, sim.Act{Class: c, Do: do})
		}
	}
	return all
}

// merge makes one of spans that touch or overlap.
func merge(all []span) (out []span) {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b span) int { return a.From.Compare(b.From) })
	for _, s := range all {
		if n := len(out); n > 0 && !s.From.After(out[n-1].To) {
			if s.To.After(out[n-1].To) {
				out[n-1].To = s.To
			}
			continue
		}
		out = append(out, s)
	}
	return out
}

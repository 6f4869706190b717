package sim

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"porchlight/device"
)

// Interval is one row of a recording: from Start to End, both included, a sensor was active.
type Interval struct {
	Start, End time.Time
	Sensor     string // Seat, Bed, Fridge, Maindoor, ...
	Place      string // Living, Bedroom, Kitchen, ...
	Line       int    // of the file
}

// ReadRecording reads tab-separated rows of start, end, sensor, kind and place behind a header
// line. Times are local to zone, as 2006-01-02 15:04:05. Rows may overlap and be out of order; the
// result is ordered by start.
func ReadRecording(r io.Reader, name string, zone *time.Location) ([]Interval, error) {
	var rows []Interval
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		text := strings.TrimRight(lines.Text(), "\r")
		if n == 1 || strings.TrimSpace(text) == "" {
			continue
		}
		cols := strings.Split(text, "\t")
		if len(cols) != 5 {
			return nil, fmt.Errorf("%s:%d: %d columns: want start, end, sensor, kind and place, separated by tabs", name, n, len(cols))
		}
		row := Interval{Sensor: strings.TrimSpace(cols[2]), Place: strings.TrimSpace(cols[4]), Line: n}
		for i, t := range []*time.Time{&row.Start, &row.End} {
			var err error
			if *t, err = time.ParseInLocation(time.DateTime, strings.TrimSpace(cols[i]), zone); err != nil {
				return nil, fmt.Errorf("%s:%d: %q is not a time such as 2011-11-28 10:34:23", name, n, cols[i])
			}
			if text := strings.TrimSpace(cols[i]); t.Format(time.DateTime) != text {
				return nil, fmt.Errorf("%s:%d: there was no %s in %s, where the clocks were put forward: use the time that they showed", name, n, text, zone)
			}
		}
		if row.End.Before(row.Start) {
			return nil, fmt.Errorf("%s:%d: it ends before it starts: swap the times", name, n)
		}
		rows = append(rows, row)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("read %s: it has no rows: write start, end, sensor, kind and place in each, separated by tabs, under a header line", name)
	}
	slices.SortStableFunc(rows, func(a, b Interval) int { return a.Start.Compare(b.Start) })
	return rows, nil
}

// Move is something that happened in the recorded home, and what the devices have to do with it.
type Move struct {
	At   time.Time
	What string // for people
	Acts []Act
}

// Act is an action on every device of a class, or of a room, or on all.
type Act struct {
	Class device.Class // 0: any
	Room  string       // "": any; else how a room's name begins
	Do    string
}

// Concerns reports whether a device of class c that stands in room, by name, has to do with a.
func (a Act) Concerns(c device.Class, room string) bool {
	return (a.Class == 0 || a.Class == c) && strings.HasPrefix(strings.ToLower(room), a.Room)
}

// Moves tells what the devices of a home do when a recording is played to them: a seat taken is a
// television watched, a bed is a wish not to be disturbed, the main door is somebody who leaves
// until the next thing happens indoors.
func Moves(rows []Interval) []Move {
	type edge struct {
		at    time.Time
		row   Interval
		begin bool
	}
	var edges []edge
	for _, r := range rows {
		edges = append(edges, edge{r.Start, r, true}, edge{r.End.Add(time.Second), r, false})
	}
	slices.SortStableFunc(edges, func(a, b edge) int {
		// What begins at the second when another ends comes first, so that it does not look
		// like a gap.
		return cmp.Or(a.at.Compare(b.at), boolCompare(b.begin, a.begin))
	})
	var moves []Move
	active := make(map[string]int) // intervals going on, by sensor
	inRoom := make(map[string]int) // by room
	indoors := 0                   // of all sensors but the main door
	away := false
	add := func(at time.Time, what string, acts ...Act) { moves = append(moves, Move{at, what, acts}) }
	for _, e := range edges {
		by := 1
		if !e.begin {
			by = -1
		}
		active[e.row.Sensor] += by
		edgeOf := func(n int) bool { return e.begin && n == 1 || !e.begin && n == 0 }
		if e.row.Sensor == "Maindoor" {
			if !edgeOf(active["Maindoor"]) {
				continue
			}
			if e.begin {
				add(e.at, "the main door opens")
			} else if indoors == 0 && !away {
				away = true
				add(e.at, "the main door closes, nobody is at home", Act{Do: "everybody leaves"}, Act{Class: device.TV, Do: "turn off"})
			}
			continue
		}
		indoors += by
		if e.begin && away {
			away = false
			add(e.at, "somebody is back")
		}
		if room := places[e.row.Place]; room != "" {
			if inRoom[room] += by; edgeOf(inRoom[room]) {
				add(e.at, map[bool]string{true: "somebody is in the ", false: "nobody is in the "}[e.begin]+room,
					Act{Room: room, Do: map[bool]string{true: "somebody comes", false: "everybody leaves"}[e.begin]})
			}
		}
		if k, ok := sensors[e.row.Sensor]; ok && edgeOf(active[e.row.Sensor]) {
			if e.begin {
				add(e.at, k.begins, k.begin...)
			} else {
				add(e.at, k.ends, k.end...)
			}
		}
	}
	return moves
}

func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// places of a recording, as a home file calls them.
var places = map[string]string{"Living": "living", "Kitchen": "kitchen", "Bedroom": "bed", "Bathroom": "bath"}

// sensors that a device feels.
var sensors = map[string]struct {
	begins string
	begin  []Act
	ends   string
	end    []Act
}{
	"Seat": {"somebody sits down before the television",
		[]Act{{device.TV, "", "turn on"}, {device.TV, "", "somebody comes"}, {device.TV, "", "play"}},
		"the seat is empty",
		[]Act{{device.TV, "", "pause"}, {device.TV, "", "everybody leaves"}}},
	"Bed": {"somebody goes to bed",
		[]Act{{device.TV, "", "turn off"}, {0, "", "do not disturb on"}},
		"somebody gets up",
		[]Act{{0, "", "do not disturb off"}}},
	"Fridge":    {"the fridge is opened", []Act{{device.Fridge, "", "open door"}}, "the fridge is closed", []Act{{device.Fridge, "", "close door"}}},
	"Cooktop":   {"the cooktop is on", []Act{{device.Oven, "", "start"}}, "the cooktop is off", []Act{{device.Oven, "", "stop"}}},
	"Microwave": {"the microwave is on", nil, "the microwave is off", nil},
	"Toaster":   {"the toaster is on", nil, "the toaster is off", nil},
}

// Between returns the moves from from, for days whole days; days 0 is all of them, and a zero from
// is the first move.
func Between(moves []Move, from time.Time, days int) []Move {
	if len(moves) == 0 {
		return nil
	}
	if from.IsZero() {
		from = moves[0].At
	}
	first, _ := slices.BinarySearchFunc(moves, from, func(m Move, t time.Time) int { return m.At.Compare(t) })
	moves = moves[first:]
	if days > 0 {
		last, _ := slices.BinarySearchFunc(moves, from.AddDate(0, 0, days), func(m Move, t time.Time) int { return m.At.Compare(t) })
		moves = moves[:last]
	}
	return moves
}

// Replay plays moves to the devices, speed recorded seconds in each real one, until the last or
// until ctx ends. rooms says where a device stands, by its name. tell is told of each move before it
// is made, failed of what could not be done just then, such as pausing a television that somebody
// has stopped by hand.
func Replay(ctx context.Context, ds []*Device, rooms map[string]string, moves []Move, speed float64, tell func(Move), failed func(error)) error {
	if speed <= 0 {
		return errors.New("replay: the speed must be above 0")
	}
	began := time.Now()
	for _, m := range moves {
		recorded := m.At.Sub(moves[0].At)
		timer := time.NewTimer(time.Until(began.Add(time.Duration(float64(recorded) / speed))))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		tell(m)
		for _, a := range m.Acts {
			for _, d := range ds {
				if !a.Concerns(d.Class(), rooms[d.Name()]) {
					continue
				}
				if err := d.Do(a.Do); err != nil {
					failed(err)
				}
			}
		}
	}
	return nil
}

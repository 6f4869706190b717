package sim

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"porchlight/device"
)

func recording(t *testing.T, path string) []Interval {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zone, err := time.LoadLocation("Europe/Madrid")
	if err != nil {
		t.Fatal(err)
	}
	rows, err := ReadRecording(f, path, zone)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func TestMoves(t *testing.T) {
	moves := Moves(recording(t, "testdata/recording.tsv"))
	var got []string
	for _, m := range moves {
		got = append(got, m.At.Format("02 15:04:05 ")+m.What)
	}
	for _, want := range []string{
		"04 00:00:00 somebody goes to bed",
		"04 06:30:01 somebody gets up",
		"04 07:00:00 the fridge is opened",
		"04 07:00:21 the fridge is closed",
		"04 07:30:00 somebody sits down before the television",
		"04 08:10:06 the main door closes, nobody is at home",
		"04 17:05:00 somebody is back",
		"05 09:10:01 the seat is empty",
	} {
		if n := slices.Index(got, want); n < 0 || slices.Contains(got[n+1:], want) {
			t.Errorf("%q is not there exactly once in:\n%s", want, strings.Join(got, "\n"))
		}
	}
	// The rows of the fridge overlap: one opening.
	if n := strings.Count(strings.Join(got, "\n"), "the fridge is opened"); n != 1 {
		t.Errorf("the fridge was opened %d times, want 1", n)
	}
	if !slices.IsSortedFunc(moves, func(a, b Move) int { return a.At.Compare(b.At) }) {
		t.Error("the moves are not in order")
	}
	if day := Between(moves, time.Time{}, 1); len(day) == 0 || day[len(day)-1].At.Day() != 4 {
		t.Errorf("the first day: got %d moves", len(day))
	}
}

func TestReplay(t *testing.T) {
	moves := Moves(recording(t, "testdata/recording.tsv"))
	synctest.Test(t, func(t *testing.T) {
		tv, err := New(Config{ID: "tv-1", Name: "TV", Class: device.TV})
		if err != nil {
			t.Fatal(err)
		}
		fridge, err := New(Config{ID: "fridge-1", Name: "Fridge", Class: device.Fridge})
		if err != nil {
			t.Fatal(err)
		}
		rooms := map[string]string{"TV": "living room", "Fridge": "kitchen"}
		seen := make(map[string]string)
		began := time.Now()
		tell := func(m Move) {
			s := tv.State().Values
			seen[m.What] = m.At.Format("15:04 ") + s["state"].(string) + map[any]string{true: " dnd"}[s["dnd"]]
			if fridge.State().Values["door.open"] == true {
				seen[m.What] += " open"
			}
		}
		err = Replay(t.Context(), []*Device{tv, fridge}, rooms, moves, 600, tell, func(err error) { t.Log(err) })
		if err != nil {
			t.Fatal(err)
		}
		// What was so just before each move.
		for what, want := range map[string]string{
			"somebody gets up":        "06:30 off dnd",
			"the fridge is closed":    "07:00 off open",
			"nobody is in the living": "09:10 playing",
			"somebody is back":        "17:05 off",
		} {
			if seen[what] != want {
				t.Errorf("%s: got %q, want %q", what, seen[what], want)
			}
		}
		if got, want := time.Since(began), moves[len(moves)-1].At.Sub(moves[0].At)/600; got != want {
			t.Errorf("it took %s, want %s", got, want)
		}
	})
}

func TestBadRecording(t *testing.T) {
	const head = "Start time\tEnd time\tLocation\tType\tPlace\n"
	for name, tt := range map[string]struct{ text, want string }{
		"columns":   {head + "2020-05-04 07:00:00\tSeat\n", "r.tsv:2: 2 columns"},
		"time":      {head + "2020-05-04 07:00:00\tnoon\tSeat\tPressure\tLiving\n", `r.tsv:2: "noon"`},
		"backwards": {head + "2020-05-04 07:00:00\t2020-05-04 06:00:00\tSeat\tPressure\tLiving\n", "ends before"},
		"empty":     {head, "no rows"},
	} {
		_, err := ReadRecording(strings.NewReader(tt.text), "r.tsv", time.UTC)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, tt.want)
		}
	}
}

// A real recording, if there is one.
func TestRealRecording(t *testing.T) {
	path := os.Getenv("PORCHLIGHT_REPLAY")
	if path == "" {
		t.Skip("set PORCHLIGHT_REPLAY to the path of a recording to replay it")
	}
	moves := Moves(recording(t, path))
	synctest.Test(t, func(t *testing.T) {
		var ds []*Device
		for _, c := range []device.Class{device.TV, device.Fridge} {
			d, err := New(Config{ID: device.NewID(), Name: c.String(), Class: c})
			if err != nil {
				t.Fatal(err)
			}
			ds = append(ds, d)
		}
		counts := make(map[string]int)
		tell := func(m Move) { counts[m.What]++ }
		if err := Replay(context.Background(), ds, nil, moves, 3600, tell, func(error) {}); err != nil {
			t.Fatal(err)
		}
		for _, pair := range [][2]string{
			{"the fridge is opened", "the fridge is closed"},
			{"somebody goes to bed", "somebody gets up"},
			{"somebody sits down before the television", "the seat is empty"},
		} {
			if a, b := counts[pair[0]], counts[pair[1]]; a == 0 || a != b {
				t.Errorf("%s %d times, %s %d times: want the same, and some", pair[0], a, pair[1], b)
			}
		}
		t.Log(counts)
	})
}

func TestPlay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		car, err := New(Config{ID: "car-1", Name: "Car", Class: device.Car})
		if err != nil {
			t.Fatal(err)
		}
		var failed []error
		script := []Step{{After: 3 * time.Second, Device: "Car", Do: "park"}, {After: time.Second, Device: "Car", Do: "drive"},
			{After: 4 * time.Second, Device: "Car", Do: "stop"}, {After: 5 * time.Second, Device: "Car", Do: "park"}}
		if err := Play(t.Context(), []*Device{car}, script, func(err error) { failed = append(failed, err) }); err != nil {
			t.Fatal(err)
		}
		if len(failed) != 1 || !strings.Contains(failed[0].Error(), "stop first") {
			t.Errorf("failed: got %v, want that a moving car cannot be parked", failed)
		}
		if got := car.State().Values["ux.driving"]; got != "parked" {
			t.Errorf("ux.driving: got %v, want parked", got)
		}
	})
}

// What devices do by themselves as time goes by.
func TestMachines(t *testing.T) {
	tests := map[string]struct {
		class device.Class
		do    []string
		after time.Duration
		want  map[string]any
	}{
		"car gathers speed":            {device.Car, []string{"drive"}, 10 * time.Second, map[string]any{"Vehicle.Speed": 50.0, "ux.driving": "moving"}},
		"car stands":                   {device.Car, []string{"drive", "stop"}, time.Minute, map[string]any{"Vehicle.Speed": 0.0, "ux.driving": "idling"}},
		"fridge warms up":              {device.Fridge, []string{"open door"}, 30 * time.Second, map[string]any{"temperature": 7.0, "alarm": false}},
		"fridge sounds its alarm":      {device.Fridge, []string{"open door"}, time.Minute, map[string]any{"alarm": true}},
		"fridge cools down":            {device.Fridge, []string{"open door", "close door"}, time.Hour, map[string]any{"temperature": 4.0, "alarm": false}},
		"oven gets hot":                {device.Oven, []string{"start"}, time.Minute, map[string]any{"temperature": 200.0, "CurrentPhase": "hot"}},
		"washer rinses":                {device.Washer, []string{"start"}, 70 * time.Second, map[string]any{"CurrentPhase": "rinse", "OperationalState": "Running", "CountdownTime": 20.0}},
		"washer comes to its end":      {device.Washer, []string{"start"}, 2 * time.Minute, map[string]any{"OperationalState": "Stopped"}},
		"dishwasher paused":            {device.Dishwasher, []string{"start", "pause"}, time.Hour, map[string]any{"OperationalState": "Paused", "CurrentPhase": "wash"}},
		"console in a match":           {device.Console, []string{"turn on", "play"}, 0, map[string]any{"game.state": "gameplay_uninterruptible"}},
		"television off":               {device.TV, []string{"turn on", "play", "turn off"}, 0, map[string]any{"power.state": "standby", "state": "off", "full_screen": false}},
		"television goes on by itself": {device.TV, []string{"turn on", "play", "turn on"}, 0, map[string]any{"state": "playing", "full_screen": true}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := clock{now: time.Date(2030, 1, 2, 12, 0, 0, 0, time.UTC)}
			d, err := New(Config{ID: "dev-1", Class: tt.class, Start: tt.do, Now: c.Now})
			if err != nil {
				t.Fatal(err)
			}
			for end := c.now.Add(tt.after); c.now.Before(end); {
				c.now = c.now.Add(time.Second)
				d.with(func(time.Time) error { return nil })
			}
			for k, want := range tt.want {
				if got := d.State().Values[k]; got != want {
					t.Errorf("%s: got %v, want %v", k, got, want)
				}
			}
		})
	}
	// Every class reports nothing that its attributes cannot say.
	for _, name := range device.ClassNames() {
		class, _ := device.ParseClass(name)
		for _, a := range actions(class) {
			m := newMachine(class)
			m.do("turn on", time.Time{})
			m.do(a.name, time.Time{})
			for k, v := range m.snapshot() {
				attr, _ := device.ParseAttribute(k)
				if _, err := attr.ValueOf(v); err != nil {
					t.Errorf("%s after %q: %v", name, a.name, err)
				}
			}
		}
	}
}

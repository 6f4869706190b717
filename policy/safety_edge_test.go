package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight/device"
)

// What a file says is told line by line, in words.
func TestSafetyLines(t *testing.T) {
	raw := `{"tv": {
"forms": ["badge", "list"],
"chars": 40, "seconds": 5,
"silent": true,
"fresh": [{"state": ["on", "idle"], "volume_level": {"below": 0.5, "for": 60}}, {"battery.level": {"is": [1.5, 100]}, "power.state": "untold"}],
"told": {"content.rating": ["PG", "G"], "full_screen": {"is": [false], "for": 5}},
"moments": ["film", "sleep"],
"guards": {"full_screen": false, "battery.level": 1}
}, "car": {"trip": 1, "seconds": 3600},
"washer": {"silent": false},
"oven": {"never": true}}`
	joined, err := OwnSafety().Join("f", []byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	line := func(class, key, means string, n int) SafetyLine {
		return SafetyLine{class, key, means, fmt.Sprintf("f:%d", n)}
	}
	under := func(class string, keys ...string) (all []SafetyLine) { // what the row below says beside these keys
		for _, l := range OwnSafety().Lines() {
			if l.Class == class && !slices.Contains(keys, l.Key) {
				all = append(all, l)
			}
		}
		return all
	}
	want := map[string][]SafetyLine{
		"tv": append(under("tv", "forms", "silent"),
			line("tv", "forms", "badge, list", 2),
			line("tv", "chars", "at most 40 characters", 3),
			line("tv", "seconds", "at most 5 s on the screen", 3),
			line("tv", "silent", "without a sound", 4),
			line("tv", "fresh", "told, and fresh: state on | idle, volume_level below 0.5, for 60 s; or battery.level 1.5 | 100, power.state never told", 5),
			line("tv", "told", "nothing else told than: content.rating PG | G, full_screen false, for 5 s", 6),
			line("tv", "moments", "nothing during: film, sleep", 7),
			line("tv", "guards", "the device itself checks: full_screen false, battery.level 1", 8)),
		"car":    append(under("car", "trip"), line("car", "trip", "at most 1 on one trip", 9), line("car", "seconds", "at most 3600 s on the screen", 9)),
		"washer": append(under("washer"), line("washer", "silent", "a sound may be made", 10)),
		"oven":   {line("oven", "never", "nothing is ever shown", 11)},
		"fridge": under("fridge"),
		"other":  under("other"),
	}
	for class, lines := range want {
		got := slices.DeleteFunc(joined.Lines(), func(l SafetyLine) bool { return l.Class != class })
		if !slices.Equal(got, lines) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", class, got, lines)
		}
	}
	if got, want := joined.Attributes(device.TV), device.Attributes(device.PlayerState, device.Fullscreen, device.ContentRating, device.VolumeLevel, device.BatteryLevel, device.PowerState); got != want {
		t.Errorf("of a television %b is looked at, want %b", got, want)
	}
	if got, want := OwnSafety().Attributes(device.Fridge), device.Attributes(device.PowerState); got != want {
		t.Errorf("of a fridge %b is looked at, want %b", got, want)
	}
	if joined.Attributes(device.Oven) != 0 || joined.Attributes(device.Other) != 0 || joined.Attributes(77) != 0 || joined.Guards(device.Oven) != nil || joined.Guards(device.Other) != nil {
		t.Error("something is looked at where nothing is ever shown")
	}
	if got, want := joined.Guards(device.TV), map[device.Attribute]device.Value{device.Fullscreen: val(device.Fullscreen, false), device.BatteryLevel: val(device.BatteryLevel, 1.0)}; !maps.Equal(got, want) {
		t.Errorf("guards %v, want %v", got, want)
	}
	if got, want := joined.Guards(device.Car), OwnSafety().Guards(device.Car); len(got) != 1 || !maps.Equal(got, want) {
		t.Errorf("guards of a car %v, want %v", got, want)
	}
	var none *SafetyTable
	if none.Sum() != "" || OwnSafety().Sum() != "" || len(joined.Sum()) != 16 {
		t.Errorf("sums %q, %q, %q", none.Sum(), OwnSafety().Sum(), joined.Sum())
	}
	for _, test := range []struct {
		e    TableError
		want string
	}{{TableError{"f", 3, "", "is wrong"}, "f:3: is wrong"}, {TableError{"f", 3, "tv: chars", "is wrong"}, "f:3: tv: chars: is wrong"}} {
		if got := test.e.Error(); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

// The edges of what a file may say.
func TestSafetyTableEdges(t *testing.T) {
	padded := func(n int) string { return "{}" + strings.Repeat(" ", n-2) }
	tests := map[string]string{ // what is wrong; "": nothing
		padded(MostSafety):       "",
		padded(MostSafety + 1):   "has 65537 bytes",
		`{"car": {"chars": 1}}`:  "",
		`{"car": {"chars": 80}}`: "", `{"car": {"chars": 1001}}`: "is no whole number of 1 to 1000", `{"tv": {"chars": 1000}}`: "", `{"tv": {"chars": true}}`: "is no whole number",
		`{"fridge": {"seconds": 8}}`: "", `{"tv": {"seconds": 3600}}`: "", `{"tv": {"seconds": 3601}}`: "is no whole number", `{"tv": {"seconds": 1e3}}`: "is no whole number",
		`{"car": {"trip": 1}}`: "", `{"car": {"trip": 101}}`: "is no whole number of 1 to 100",
		`{"tv": {"told": {"state": {"is": ["on"], "for": 1}}}}`: "", `{"tv": {"told": {"state": {"is": ["on"], "for": 86400}}}}`: "", `{"tv": {"told": {"state": {"is": ["on"], "for": 86401}}}}`: "is no whole number of 1 to 86400",
		`{"tv": {"told": {"state": {"is": ["on"], "for": 0}}}}`: "is no whole number",
		`{"car": {"forms": ["badge", "list"]}}`:                 "", `{"car": {"forms": []}}`: "is no list of words", `{"car": {"forms": "badge"}}`: "is no list of words", `{"car": {"forms": {}}}`: "is no list of words",
		`{"car": {"forms": [1]}}`: "1 is no word, or occurs twice", `{"tv": {"moments": []}}`: "is no list of words", `{"tv": {"moments": ["film", "film"]}}`: "film is no word, or occurs twice", `{"tv": {"moments": [""]}}`: `moment "" is unknown`,
		`{"tv": {"fresh": {}}}`: "is no list of alternatives", `{"tv": {"fresh": 1}}`: "is no list of alternatives", `{"tv": {"fresh": [1]}}`: "is no object of attributes", `{"tv": {"fresh": [[]]}}`: "is no object of attributes",
		`{"tv": {"told": {}}}`: "is no object of attributes", `{"tv": {"told": ["state"]}}`: "is no object of attributes", `{"tv": {"told": {"state": {"is": "on"}}}}`: "is no list of values",
		`{"tv": {"told": {"state": {"is": {}}}}}`: "is no list of values", `{"tv": {"told": {"battery.level": [1e999]}}}`: "battery.level:", `{"tv": {"told": {"state": {}}}}`: "needs one of is and below",
		`{"tv": {"told": {"battery.level": {"below": 0}}}}`: "below takes a number other than 0", `{"tv": {"told": {"battery.level": {"below": 1e999}}}}`: "below takes a number", `{"tv": {"told": {"battery.level": {"below": "x"}}}}`: "below takes a number",
		`{"tv": {"told": {"battery.level": {"below": -1}}}}`: "", `{"tv": {"told": {"battery.level": {"is": [0]}}}}`: "", `{"tv": {"told": {"app_name": {"is": ["x"]}}}}`: "", `{"tv": {"told": {"full_screen": {"is": [false]}}}}`: "",
		`{"tv": {"told": {"battery.level": {"below": 1, "is": [5]}}}}`: "needs one of is and below",
		`{"tv": {"guards": {}}}`: "is no object of attributes", `{"tv": {"guards": ["state"]}}`: "is no object of attributes", `{"tv": {"guards": {"mood": 1}}}`: `"mood" is nothing that a tv tells`,
		`{"tv": {"guards": {"battery.level": 1e999}}}`: "battery.level: ", `{"tv": {"guards": {"state": null}}}`: "is no value of it", `{"tv": {"guards": {"battery.level": "x"}}}`: "is no value of it", `{"tv": {"guards": {"battery.level": 5.5}}}`: "",
		`{"car": {"guards": {"ux.driving": "parked"}}}`: "", `{"car": {"silent": true}}`: "", `{"washer": {"silent": false}}`: "",
		`{"other": {"never": true}}`: "", `{"tv": {}}`: "", `{"tv": []}`: "is no object of keys", `{}`: "", `true`: "is no object of classes", "": "not JSON", `{"tv": {"chars": 1}`: "not JSON", `{"tv": {"forms": ["badge"`: "not JSON",
		`{"tv": {"told": {"state": ["on", "on"]}}}`: "",
	}
	for raw, want := range tests {
		_, err := OwnSafety().Join("t", []byte(raw))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: %v, want %q", raw, err, want)
		}
	}
	// The depth: what is needed, and no more.
	deep := `{"tv": {"fresh": [{"battery.level": {"is": [1]}}]}}`
	if _, err := OwnSafety().Join("t", []byte(deep)); err != nil {
		t.Error(err)
	}
	for _, raw := range []string{strings.Replace(deep, "[1]", "[[1]]", 1), strings.Replace(deep, "[1]", "[{}]", 1)} {
		if _, err := OwnSafety().Join("t", []byte(raw)); err == nil || !strings.Contains(err.Error(), "too deep") {
			t.Errorf("%s: %v, want that it is too deep", raw, err)
		}
	}
}

// A row that is joined takes away, key by key, and leaves the rest.
func TestSafetyJoinKeyByKey(t *testing.T) {
	own := func(c device.Class) safetyRow { return *OwnSafety().of(c) }
	forms := func(all ...device.Form) (s formSet) {
		for _, f := range all {
			s |= 1 << f
		}
		return s
	}
	tests := []struct {
		class device.Class
		raw   string
		want  func(*safetyRow)
	}{
		{device.TV, `{}`, func(r *safetyRow) {}},
		{device.TV, `{"forms": ["badge"]}`, func(r *safetyRow) { r.forms = forms(device.Badge) }},
		{device.TV, `{"chars": 40}`, func(r *safetyRow) { r.chars = 40 }},
		{device.Car, `{"chars": 40}`, func(r *safetyRow) { r.chars = 40 }},
		{device.Car, `{"chars": 80}`, func(r *safetyRow) {}},
		{device.TV, `{"seconds": 5}`, func(r *safetyRow) { r.limit = 5 * time.Second }},
		{device.Fridge, `{"seconds": 7}`, func(r *safetyRow) { r.limit = 7 * time.Second }},
		{device.Fridge, `{"chars": 7}`, func(r *safetyRow) { r.chars = 7 }},
		{device.Car, `{"trip": 1}`, func(r *safetyRow) {}},
		{device.Washer, `{"silent": true}`, func(r *safetyRow) { r.silent = true }},
		{device.Washer, `{"silent": false}`, func(r *safetyRow) {}},
		{device.TV, `{"moments": ["film"]}`, func(r *safetyRow) { r.moments = []Moment{Film} }},
		{device.Speaker, `{"moments": ["film"]}`, func(r *safetyRow) { r.moments = []Moment{Call, Sleep, Film} }},
	}
	for _, tt := range tests {
		table, err := OwnSafety().Join("t", fmt.Appendf(nil, `{%q: %s}`, tt.class, tt.raw))
		if err != nil {
			t.Errorf("%s %s: %v", tt.class, tt.raw, err)
			continue
		}
		want, got := own(tt.class), table.of(tt.class)
		tt.want(&want)
		if got.forms != want.forms || got.chars != want.chars || got.limit != want.limit || got.trip != want.trip || got.silent != want.silent || !slices.Equal(got.moments, want.moments) ||
			len(got.free) != len(want.free) || len(got.calm) != len(want.calm) || !maps.Equal(got.guards, want.guards) {
			t.Errorf("%s %s:\ngot  %+v\nwant %+v", tt.class, tt.raw, *got, want)
		}
	}
}

// What a device tells is good, or is not, at the edges of a row.
func TestSafetyFactEdges(t *testing.T) {
	tests := map[string]struct {
		class device.Class
		row   string // joined to what every gateway has
		edit  func(*Request)
		want  Verdict
		until device.Instant // of a Hold that the clock ends
	}{
		"below":                       {device.TV, `{"told": {"battery.level": {"below": 20}}}`, func(q *Request) { q.tell(device.BatteryLevel, 19.9, 0) }, Show, 0},
		"not below":                   {device.TV, `{"told": {"battery.level": {"below": 20}}}`, func(q *Request) { q.tell(device.BatteryLevel, 20.0, 0) }, Hold, 0},
		"below less than nothing":     {device.TV, `{"told": {"battery.level": {"below": -5}}}`, func(q *Request) { q.tell(device.BatteryLevel, -6.0, 0) }, Show, 0},
		"one of several numbers":      {device.TV, `{"told": {"battery.level": [0, 50]}}`, func(q *Request) { q.tell(device.BatteryLevel, 50.0, 0) }, Show, 0},
		"none of several numbers":     {device.TV, `{"told": {"battery.level": [0, 50]}}`, func(q *Request) { q.tell(device.BatteryLevel, 49.0, 0) }, Hold, 0},
		"one of several words":        {device.TV, `{"told": {"app_name": ["a", "b"]}}`, func(q *Request) { q.tell(device.AppName, "B", 0) }, Show, 0},
		"none of several words":       {device.TV, `{"told": {"app_name": ["a", "b"]}}`, func(q *Request) { q.tell(device.AppName, "c", 0) }, Hold, 0},
		"told, and not long":          {device.TV, `{"told": {"full_screen": {"is": [true], "for": 60}}}`, func(q *Request) { q.tell(device.Fullscreen, true, 0) }, Hold, noon.Add(time.Minute)},
		"told, and nearly as long":    {device.TV, `{"told": {"full_screen": {"is": [true], "for": 60}}}`, func(q *Request) { q.tell(device.Fullscreen, true, time.Minute-1e6) }, Hold, noon + 1},
		"told, and as long":           {device.TV, `{"told": {"full_screen": {"is": [true], "for": 60}}}`, func(q *Request) { q.tell(device.Fullscreen, true, time.Minute) }, Show, 0},
		"told, and otherwise":         {device.TV, `{"told": {"full_screen": {"is": [true], "for": 60}}}`, func(q *Request) { q.tell(device.Fullscreen, false, time.Hour) }, Hold, 0},
		"fresh, and nearly as long":   {device.Fridge, `{"fresh": [{"door.open": {"is": [true], "for": 61}}]}`, func(q *Request) {}, Hold, noon.Add(time.Second)},
		"fresh, and as long":          {device.Fridge, `{"fresh": [{"door.open": {"is": [true], "for": 60}}]}`, func(q *Request) {}, Show, 0},
		"not as long as it is fresh":  {device.Fridge, `{"fresh": [{"door.open": {"is": [true], "for": 660}}]}`, func(q *Request) {}, Hold, 0},
		"just as long as it is fresh": {device.Fridge, `{"fresh": [{"door.open": {"is": [true], "for": 659}}]}`, func(q *Request) {}, Hold, noon.Add(599 * time.Second)},
		"fresh in the future": {device.Fridge, `{"fresh": [{"door.open": [false]}]}`, func(q *Request) {
			put(q.Screen, device.DoorOpen, val(device.DoorOpen, false), noon.Add(11*time.Minute))
		}, Hold, noon.Add(time.Minute)},
		"fresh from now on": {device.Fridge, `{"fresh": [{"door.open": [false]}]}`, func(q *Request) {
			put(q.Screen, device.DoorOpen, val(device.DoorOpen, false), noon.Add(10*time.Minute))
		}, Show, 0},
		"stale": {device.Fridge, `{"fresh": [{"door.open": [false]}]}`, func(q *Request) {
			put(q.Screen, device.DoorOpen, val(device.DoorOpen, false), noon.Add(-10*time.Minute))
		}, Hold, 0},
		"either":                     {device.Fridge, `{"fresh": [{"dnd": [true]}, {"door.open": [true]}]}`, func(q *Request) {}, Show, 0},
		"untold":                     {device.Fridge, `{"fresh": [{"alarm": "untold", "door.open": [true]}]}`, func(q *Request) {}, Show, 0},
		"told, and good only untold": {device.Fridge, `{"fresh": [{"alarm": "untold", "door.open": [true]}]}`, func(q *Request) { q.tell(device.Alarm, false, 0) }, Hold, 0},
		"the last letter":            {device.TV, `{"chars": 24}`, func(q *Request) {}, Show, 0}, // Milch, and Die Milch geht aus.
		"a letter too many":          {device.TV, `{"chars": 23}`, func(q *Request) {}, Refuse, 0},
		"a sleep that is over soon":  {device.Fridge, `{"moments": ["sleep"]}`, func(q *Request) { q.tell(device.Sleeping, true, 0) }, Hold, noon.Add(10 * time.Minute)},
		"a film in the room": {device.Fridge, `{"moments": ["film", "call"]}`, func(q *Request) {
			q.Screen.Room = 1
			q.other(device.TV, 1, 0, device.PlayerState, "playing").Context.Set(device.Fullscreen, val(device.Fullscreen, true), noon)
		}, Hold, noon.Add(time.Minute)},
		"a film elsewhere": {device.Fridge, `{"moments": ["film", "call"]}`, func(q *Request) {
			q.Screen.Room = 1
			q.other(device.TV, 2, 0, device.PlayerState, "playing").Context.Set(device.Fullscreen, val(device.Fullscreen, true), noon)
		}, Show, 0},
		"no screen, and one that told nothing": {device.Speaker, `{}`, func(q *Request) {
			q.Home.Screens = append(q.Home.Screens, nil, &Screen{ID: "dumb", Class: device.TV, Room: 1})
			q.Screen.Room = 1
		}, Show, 0},
		"two in a car on one trip":            {device.Car, `{}`, func(q *Request) { q.trip(noon.Add(-2*time.Hour), time.Hour) }, Hold, 0},
		"one before the trip":                 {device.Car, `{}`, func(q *Request) { q.trip(noon.Add(-time.Minute), time.Hour) }, Show, 0},
		"one as the trip began":               {device.Car, `{}`, func(q *Request) { q.trip(noon.Add(-time.Hour), time.Hour) }, Hold, 0},
		"one, and no trip is known":           {device.Car, `{}`, func(q *Request) { q.trip(0, time.Hour) }, Hold, noon.Add(23 * time.Hour)},
		"one a day ago, and no trip is known": {device.Car, `{}`, func(q *Request) { q.trip(0, 24*time.Hour) }, Show, 0},
		"the very same, on this trip": {device.Car, `{}`, func(q *Request) {
			q.trip(noon.Add(-2*time.Hour), time.Hour)
			q.Home.Shown[0].Message, q.Own = q.Message.ID, true
		}, Show, 0},
		"one on another screen": {device.Car, `{}`, func(q *Request) { q.trip(noon.Add(-2*time.Hour), time.Hour); q.Home.Shown[0].Device = "else" }, Show, 0},
	}
	for name, tt := range tests {
		q := good(tt.class)
		var err error
		if q.Home.Safety, err = OwnSafety().Join("t", fmt.Appendf(nil, `{%q: %s}`, tt.class, tt.row)); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		tt.edit(q)
		until := tt.until
		if tt.want == Hold && until == 0 {
			until = q.Message.NotAfter
		}
		if d := Decide(*q); d.Verdict != tt.want || tt.want == Hold && d.Until != until {
			t.Errorf("%s: %s for %q until %s, want %s until %s", name, d.Verdict, d.Reasons, d.Until, tt.want, until)
		}
	}
}

package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"porchlight/device"
)

// tellSince tells something that has been so for a while.
func (q *Request) tellSince(a device.Attribute, v any, ago time.Duration) {
	q.Screen.Context.Put(a, device.Reading{Value: val(a, v), At: q.Now, Since: q.Now.Add(-ago)})
}

// Every class in every state of the table, beside those of TestDecide.
func TestSafety(t *testing.T) {
	minute := noon.Add(time.Minute)
	tests := map[string]struct {
		class device.Class
		edit  func(*Request)
		want  Verdict
		until device.Instant
		code  Code // of a verdict that does not show
	}{
		"tv on":                    {device.TV, func(q *Request) { q.tell(device.PlayerState, "on", 0) }, Show, minute, ""},
		"tv in a menu":             {device.TV, func(q *Request) { q.tell(device.PlayerState, "idle", 0) }, Show, minute, ""},
		"tv paused":                {device.TV, func(q *Request) {}, Show, minute, ""},
		"tv loading":               {device.TV, func(q *Request) { q.tell(device.PlayerState, "buffering", 0) }, Hold, 0, NotSafe},
		"tv on standby":            {device.TV, func(q *Request) { q.tell(device.PlayerState, "standby", 0) }, Hold, 0, NotSafe},
		"tv in a film":             {device.TV, func(q *Request) { q.tell(device.PlayerState, "playing", 0); q.tell(device.Fullscreen, true, 0) }, Hold, 0, NotSafe},
		"tv, for small children":   {device.TV, func(q *Request) { q.tell(device.ContentRating, "TV-Y", 0) }, Hold, 0, NotSafe},
		"tv, for all ages":         {device.TV, func(q *Request) { q.tell(device.ContentRating, "FSK 0", 0) }, Hold, 0, NotSafe},
		"tv, a rating not known":   {device.TV, func(q *Request) { q.tell(device.ContentRating, "Z", 0) }, Hold, 0, NotSafe},
		"tv, a rating without one": {device.TV, func(q *Request) { q.tell(device.ContentRating, "", 0) }, Hold, 0, NotSafe},
		"tv, for children, stale":  {device.TV, func(q *Request) { q.tell(device.ContentRating, "TV-Y", time.Hour) }, Hold, 0, NotSafe},
		"tv, for grown-ups":        {device.TV, func(q *Request) { q.tell(device.ContentRating, "fsk 16", 0) }, Show, minute, ""},
		"tv, no rating any more":   {device.TV, func(q *Request) { q.tell(device.ContentRating, nil, 0) }, Show, minute, ""},

		"speaker, somebody sleeps": {device.Speaker, func(q *Request) { q.tell(device.Sleeping, true, 0) }, Hold, noon.Add(10 * time.Minute), NotSafe},
		"speaker, sleep in another room": {device.Speaker, func(q *Request) {
			q.Screen.Room, q.Home.Screens[1].Room = 1, 2
			q.Home.Screens[1].Context.Set(device.Sleeping, val(device.Sleeping, true), noon)
		}, Show, minute, ""},
		"speaker, sleep in this room": {device.Speaker, func(q *Request) {
			q.Screen.Room, q.Home.Screens[1].Room = 1, 1
			q.Home.Screens[1].Context.Set(device.Sleeping, val(device.Sleeping, true), noon)
		}, Hold, noon.Add(10 * time.Minute), NotSafe},
		"speaker, a phone call in this room": {device.Speaker, func(q *Request) {
			q.Screen.Room, q.Home.Screens[1].Room, q.Home.Screens[1].Class = 1, 1, device.Companion
			q.Home.Screens[1].Context.Set(device.CallActive, val(device.CallActive, true), noon)
		}, Hold, noon.Add(10 * time.Minute), NotSafe},
		"speaker, full screen": {device.Speaker, func(q *Request) { q.Message.Forms = []device.Form{device.FullScreen} }, Refuse, 0, WrongForm},

		"console loading":      {device.Console, func(q *Request) { q.tell(device.GameState, nil, 0) }, Hold, 0, NotSafe},
		"console, state stale": {device.Console, func(q *Request) { q.Now = minute }, Hold, 0, NotSafe},
		"console in full":      {device.Console, func(q *Request) { q.Message.Forms = []device.Form{device.FullScreen} }, Show, minute, ""},
		"car, second on a trip": {device.Car, func(q *Request) {
			q.Screen.Trip = noon.Add(-time.Hour)
			q.shown(baker, 2, time.Minute, false)
			q.Home.Shown[0].Device = "screen-1"
		}, Hold, 0, TripFull},
		"car, one on the trip before": {device.Car, func(q *Request) {
			q.Screen.Trip = noon.Add(-time.Hour)
			q.shown(baker, 2, 61*time.Minute, false)
			q.Home.Shown[0].Device = "screen-1"
		}, Show, noon.Add(5 * time.Second), ""},
		"car, one at the beginning of the trip": {device.Car, func(q *Request) {
			q.Screen.Trip = noon.Add(-time.Hour)
			q.shown(baker, 2, time.Hour, false)
			q.Home.Shown[0].Device = "screen-1"
		}, Hold, 0, TripFull},
		"car, one on another screen": {device.Car, func(q *Request) {
			q.Screen.Trip = noon.Add(-time.Hour)
			q.shown(baker, 2, 0, false)
			q.Home.Shown[0].Device = "fridge-1"
		}, Show, noon.Add(5 * time.Second), ""},
		"car, trip not known, one yesterday": {device.Car, func(q *Request) {
			q.shown(baker, 2, 23*time.Hour, false)
			q.Home.Shown[0].Device = "screen-1"
		}, Hold, noon.Add(time.Hour), TripFull},
		"car, trip not known, one the day before": {device.Car, func(q *Request) {
			q.shown(baker, 2, 24*time.Hour, false)
			q.Home.Shown[0].Device = "screen-1"
		}, Show, noon.Add(5 * time.Second), ""},
		"car, the one that is on its screen": {device.Car, func(q *Request) {
			q.Own, q.Screen.Trip = true, noon.Add(-time.Hour)
			q.shown(grocer, 1, time.Minute, true)
			q.Home.Shown[0].Device = "screen-1"
		}, Show, noon.Add(5 * time.Second), ""},
		"car in reverse":  {device.Car, func(q *Request) { q.tell(device.SelectedGear, -1.0, 0) }, Hold, 0, NotSafe},
		"car on a panel":  {device.Car, func(q *Request) { q.Message.Forms = []device.Form{device.Panel} }, Refuse, 0, WrongForm},
		"car, long title": {device.Car, func(q *Request) { q.Message.Texts[1].Title = strings.Repeat("x", 70) }, Refuse, 0, TooLong},

		"fridge, door closed":     {device.Fridge, func(q *Request) { q.tell(device.DoorOpen, false, 0) }, Show, noon.Add(hours(720)), ""},
		"fridge, its own alarm":   {device.Fridge, func(q *Request) { q.tell(device.Alarm, true, 0) }, Hold, 0, AlarmOn},
		"fridge in full screen":   {device.Fridge, func(q *Request) { q.Message.Forms = []device.Form{device.FullScreen} }, Refuse, 0, WrongForm},
		"washer paused":           {device.Washer, func(q *Request) { q.tell(device.OperationalState, "Paused", 0) }, Show, noon.Add(10 * time.Minute), ""},
		"washer in trouble":       {device.Washer, func(q *Request) { q.tell(device.OperationalState, "Error", 0) }, Hold, 0, NotSafe},
		"dryer stopped":           {device.Dryer, func(q *Request) {}, Show, noon.Add(10 * time.Minute), ""},
		"dryer running":           {device.Dryer, func(q *Request) { q.tell(device.OperationalState, "Running", 0) }, Hold, 0, NotSafe},
		"dishwasher stopped":      {device.Dishwasher, func(q *Request) { q.tell(device.OperationalState, "Stopped", 0) }, Show, noon.Add(10 * time.Minute), ""},
		"dishwasher, state stale": {device.Dishwasher, func(q *Request) { q.Now += 600_000 }, Hold, 0, NotSafe},

		"oven cold":     {device.Oven, func(q *Request) {}, Show, minute, ""},
		"oven at 60":    {device.Oven, func(q *Request) { q.tell(device.Temperature, 60.0, 0) }, Hold, 0, NotSafe},
		"oven below 60": {device.Oven, func(q *Request) { q.tell(device.Temperature, 59.9, 0) }, Show, minute, ""},
		"oven, temperature stale": {device.Oven, func(q *Request) {
			q.tell(device.Temperature, 21.0, 0)
			q.tellSince(device.OperationalState, "Stopped", 0)
			q.Screen.Context.Put(device.Temperature, device.Reading{Value: val(device.Temperature, 21.0), At: noon - 60_000})
		}, Hold, 0, NotSafe},
		"oven stopped just now":    {device.Oven, func(q *Request) { q.tellSince(device.OperationalState, "Stopped", 59*time.Second) }, Hold, noon.Add(time.Second), NotSafe},
		"oven stopped a minute":    {device.Oven, func(q *Request) { q.tellSince(device.OperationalState, "Stopped", time.Minute) }, Show, minute, ""},
		"oven, alarm just over":    {device.Oven, func(q *Request) { q.tellSince(device.Alarm, false, 30*time.Second) }, Hold, noon.Add(30 * time.Second), NotSafe},
		"oven, timer runs":         {device.Oven, func(q *Request) { q.tellSince(device.CountdownTime, 10.0, time.Hour) }, Hold, 0, NotSafe},
		"oven, timer just over":    {device.Oven, func(q *Request) { q.tellSince(device.CountdownTime, 0.0, 50*time.Second) }, Hold, noon.Add(10 * time.Second), NotSafe},
		"oven, timer a minute ago": {device.Oven, func(q *Request) { q.tellSince(device.CountdownTime, 0.0, time.Minute) }, Show, minute, ""},
		"oven without thermometer": {device.Oven, func(q *Request) {
			q.tell(device.Temperature, nil, 0)
			q.tellSince(device.OperationalState, "Stopped", 59*time.Minute)
		}, Hold, 0, NotSafe},
		"oven without thermometer, cold": {device.Oven, func(q *Request) {
			q.tell(device.Temperature, nil, 0)
			q.tellSince(device.OperationalState, "Stopped", time.Hour)
		}, Show, minute, ""},

		"display":        {device.Display, func(q *Request) {}, Show, noon.Add(hours(720)), ""},
		"display off":    {device.Display, func(q *Request) { q.tell(device.PowerState, "off", 0) }, Hold, 0, NotSafe},
		"phone off":      {device.Companion, func(q *Request) { q.tell(device.PowerState, "off", 0) }, Hold, 0, NotSafe},
		"other":          {device.Other, func(q *Request) {}, Refuse, 0, NeverHere},
		"a class beyond": {12, func(q *Request) {}, Refuse, 0, NeverHere},
		"no class":       {0, func(q *Request) {}, Refuse, 0, NeverHere},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			q := good(tt.class)
			tt.edit(q)
			d := Decide(*q)
			until := tt.until
			if until == 0 && tt.want == Hold {
				until = q.Message.NotAfter
			}
			if d.Verdict != tt.want || d.Until != until {
				t.Errorf("got %s for %q until %s, want %s until %s\n%s", d.Verdict, d.Reasons, d.Until, tt.want, until, describe(*q))
			}
			if tt.code != "" {
				if all := Causes(*q, d); len(all) == 0 || all[0].Code != tt.code {
					t.Errorf("explained by %+v, want %s first", all, tt.code)
				}
			}
		})
	}
}

// The rule, its duties and what may be heard are those of the reference, which knows no table.
func TestSafetyAgreesWithReference(t *testing.T) {
	for seed := range fewer(15_000) {
		q := requests.Example(seed)
		q.look()
		q.prepare()
		d, _ := q.duties()
		if got, want := ask(Safety, &q).verdict, refSafety(q); got != want {
			t.Fatalf("sample %d: safety: got %s, want %s\n%s", seed, got, want, describe(q))
		}
		if want := refDuties(q); d != want {
			t.Fatalf("sample %d: duties: got %+v, want %+v\n%s", seed, d, want, describe(q))
		}
		if forms := refForms(q); len(forms) > 0 {
			if got, want := q.content(forms[0])&Sound, refContent(q)&Sound; got != want {
				t.Fatalf("sample %d: sound: got %03b, want %03b\n%s", seed, got, want, describe(q))
			}
		}
		if got, want := ask(Capability, &q).verdict, min(refCapability(q), refMeets(q)); got != want {
			t.Fatalf("sample %d: capability: got %s, want %s\n%s", seed, got, want, describe(q))
		}
	}
}

// What is wrong with a file is said with its line, class and key.
func TestSafetyTableRefuses(t *testing.T) {
	whole := string(ownSafety)
	edit := func(old, new string) string {
		if !strings.Contains(whole, old) {
			t.Fatalf("%q is not in safety.json", old)
		}
		return strings.Replace(whole, old, new, 1)
	}
	tests := map[string]struct {
		raw, want string
		join      bool // to what every gateway has
	}{
		"nothing":                {raw: "", want: "t:1: not JSON: unexpected EOF"},
		"a list":                 {raw: "[]", want: "t:1: is no object of classes"},
		"cut off":                {raw: whole[:len(whole)/2], want: "unexpected EOF"},
		"more after it":          {raw: whole + "{}", want: "goes on after its end"},
		"not JSON":               {raw: "{\n\"tv\": {]}", want: "t:2: not JSON"},
		"too large":              {raw: strings.Repeat(" ", MostSafety+1), want: "t:1: has 65537 bytes, 65536 at most"},
		"too deep":               {raw: `{"tv": {"fresh": [{"state": {"is": [["on"]]}}]}}`, want: "t:1: too deep", join: true},
		"a class is missing":     {raw: `{"tv": {"forms": ["badge"]}}`, want: `t:1: has no row for "speaker"`},
		"class twice":            {raw: "{\"tv\": {\"chars\": 1},\n\"tv\": {\"chars\": 1}}", want: `t:2: "tv" occurs twice`, join: true},
		"class unknown":          {raw: "{\n\"lamp\": {}}", want: `t:2: class "lamp" is unknown`, join: true},
		"key unknown":            {raw: "{\"tv\": {\n\"colour\": 1}}", want: `t:2: tv: key "colour" is unknown`, join: true},
		"key twice":              {raw: "{\"tv\": {\"chars\": 1,\n\"chars\": 2}}", want: `t:2: "chars" occurs twice`, join: true},
		"a row that is none":     {raw: `{"tv": 1}`, want: "t:1: tv: is no object of keys", join: true},
		"no forms":               {raw: edit("\"forms\": [\"badge\", \"list\"],\n", ""), want: "t:24: car: has no forms, and is not said to be never"},
		"a form unknown":         {raw: "{\"tv\": {\"forms\": [\"badge\",\n\"wall\"]}}", want: `t:2: tv: forms: form "wall" is unknown`, join: true},
		"a form twice":           {raw: `{"tv": {"forms": ["badge", "badge"]}}`, want: "badge is no word, or occurs twice", join: true},
		"speech":                 {raw: edit(`"forms": ["badge", "list"]`, `"forms": ["voice"]`), want: "car: forms: nothing speaks without being asked"},
		"other, opened":          {raw: edit(`{"never": true}`, `{"forms": ["badge"]}`), want: "other: nothing is ever shown on such a device"},
		"never, and more":        {raw: `{"tv": {"never": true, "chars": 3}}`, want: "tv: never: leaves nothing for other keys to say", join: true},
		"never false":            {raw: `{"tv": {"never": false}}`, want: "tv: never: can only be true", join: true},
		"chars 0":                {raw: `{"tv": {"chars": 0}}`, want: "tv: chars: is no whole number of 1 to 1000", join: true},
		"chars in words":         {raw: `{"tv": {"chars": "9"}}`, want: "tv: chars: is no whole number", join: true},
		"half a second":          {raw: `{"tv": {"seconds": 0.5}}`, want: "tv: seconds: is no whole number", join: true},
		"trips of a television":  {raw: `{"tv": {"trip": 1}}`, want: "tv: trip: only a car has trips", join: true},
		"silent in words":        {raw: `{"tv": {"silent": "yes"}}`, want: "tv: silent: is neither true nor false", join: true},
		"no alternatives":        {raw: `{"tv": {"fresh": []}}`, want: "tv: fresh: is no list of alternatives", join: true},
		"an empty alternative":   {raw: `{"tv": {"fresh": [{}]}}`, want: "tv: fresh: is no object of attributes", join: true},
		"attribute unknown":      {raw: "{\"tv\": {\"told\": {\n\"mood\": [1]}}}", want: `t:2: tv: told: "mood" is nothing that a tv tells`, join: true},
		"another's attribute":    {raw: `{"tv": {"told": {"ux.driving": ["parked"]}}}`, want: `"ux.driving" is nothing that a tv tells`, join: true},
		"a word unknown":         {raw: `{"tv": {"told": {"state": ["asleep"]}}}`, want: `state cannot be "asleep"`, join: true},
		"of another type":        {raw: `{"tv": {"told": {"full_screen": [1]}}}`, want: "full_screen takes true or false", join: true},
		"null":                   {raw: `{"tv": {"told": {"full_screen": [null]}}}`, want: "null is no value", join: true},
		"no values":              {raw: `{"tv": {"told": {"full_screen": []}}}`, want: "is no list of values", join: true},
		"one value":              {raw: `{"tv": {"told": {"full_screen": true}}}`, want: "is neither a list of values nor an object", join: true},
		"untold in told":         {raw: `{"tv": {"told": {"full_screen": "untold"}}}`, want: "untold can stand in fresh only", join: true},
		"nothing of it":          {raw: `{"tv": {"told": {"state": {"for": 3}}}}`, want: "needs one of is and below", join: true},
		"both of it":             {raw: `{"tv": {"told": {"battery.level": {"is": [3], "below": 3}}}}`, want: "needs one of is and below", join: true},
		"below a word":           {raw: `{"tv": {"told": {"state": {"below": 3}}}}`, want: "below takes a number", join: true},
		"for how long":           {raw: `{"tv": {"told": {"state": {"is": ["on"], "for": -1}}}}`, want: "is no whole number of 1 to 86400", join: true},
		"of what":                {raw: `{"tv": {"told": {"state": {"are": ["on"]}}}}`, want: `key "are" is unknown`, join: true},
		"moment unknown":         {raw: `{"tv": {"moments": ["lunch"]}}`, want: `tv: moments: moment "lunch" is unknown`, join: true},
		"guard of no value":      {raw: `{"tv": {"guards": {"state": "asleep"}}}`, want: "tv: guards: state: asleep is no value of it", join: true},
		"a form more":            {raw: "{\"car\": {\n\"forms\": [\"badge\", \"toast\"]}}", want: "t:2: car: forms: toast would be one more than there are: a row can only take away", join: true},
		"a character more":       {raw: "{\"car\": {\n\n\"chars\": 81}}", want: "t:3: car: chars: 81 would be more than the 80 that there are", join: true},
		"a second more":          {raw: `{"fridge": {"seconds": 9}}`, want: "fridge: seconds: 9 would be more than the 8 that there are", join: true},
		"a trip more":            {raw: `{"car": {"trip": 2}}`, want: "car: trip: 2 would be more than the 1 that there are", join: true},
		"a sound":                {raw: `{"tv": {"silent": false}}`, want: "tv: silent: it is silent", join: true},
		"a class more":           {raw: `{"other": {"forms": ["badge"]}}`, want: "other: nothing is ever shown on such a device, and no row can change that", join: true},
		"a guard that cannot be": {raw: `{"car": {"guards": {"ux.driving": "idling"}}}`, want: "car: guards: ux.driving must be parked already", join: true},
	}
	for name, tt := range tests {
		var err error
		if tt.join {
			_, err = OwnSafety().Join("t", []byte(tt.raw))
		} else {
			_, err = parseSafety("t", []byte(tt.raw), nil)
		}
		var at *TableError
		if err == nil || !strings.Contains(err.Error(), tt.want) || !errors.As(err, &at) || at.Line < 1 {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
}

func TestSafetyJoin(t *testing.T) {
	q := good(device.TV)
	tests := map[string]struct {
		class device.Class
		row   string
		edit  func(*Request)
		want  Verdict
	}{
		"nothing":          {device.TV, `{}`, func(q *Request) {}, Show},
		"another class":    {device.TV, `{"car": {"never": true}}`, func(q *Request) {}, Show},
		"never":            {device.TV, `{"tv": {"never": true}}`, func(q *Request) {}, Refuse},
		"fewer forms":      {device.TV, `{"tv": {"forms": ["badge"]}}`, func(q *Request) {}, Refuse},
		"enough forms":     {device.TV, `{"tv": {"forms": ["list"]}}`, func(q *Request) {}, Show},
		"fewer characters": {device.TV, `{"tv": {"chars": 10}}`, func(q *Request) {}, Refuse},
		"one more fact":    {device.TV, `{"tv": {"fresh": [{"volume_level": {"below": 0.5}}]}}`, func(q *Request) {}, Hold},
		"which is so":      {device.TV, `{"tv": {"fresh": [{"volume_level": {"below": 0.5}}]}}`, func(q *Request) { q.tell(device.VolumeLevel, 0.4, 0) }, Show},
		"and the others":   {device.TV, `{"tv": {"fresh": [{"volume_level": {"below": 0.5}}]}}`, func(q *Request) { q.tell(device.VolumeLevel, 0.4, 0); q.tell(device.PlayerState, "off", 0) }, Hold},
		"not told":         {device.TV, `{"tv": {"told": {"battery.level": {"below": 20}}}}`, func(q *Request) {}, Show},
		"told otherwise":   {device.TV, `{"tv": {"told": {"battery.level": {"below": 20}}}}`, func(q *Request) { q.tell(device.BatteryLevel, 20.0, hours(1)) }, Hold},
		"in a moment":      {device.Fridge, `{"fridge": {"moments": ["sleep"]}}`, func(q *Request) { q.tell(device.Sleeping, true, 0) }, Hold},
	}
	for name, tt := range tests {
		q = good(tt.class)
		var err error
		if q.Home.Safety, err = OwnSafety().Join("t", []byte(tt.row)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		tt.edit(q)
		if d := Decide(*q); d.Verdict != tt.want {
			t.Errorf("%s: got %s for %q, want %s", name, d.Verdict, d.Reasons, tt.want)
		}
		if n := testing.AllocsPerRun(10, func() { Decide(*q) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	joined, err := OwnSafety().Join("mine.json", []byte("{\"car\": {\"guards\": {\"alarm\": false},\n\"seconds\": 5, \"chars\": 40}}"))
	if err != nil {
		t.Fatal(err)
	}
	if g := joined.Guards(device.Car); len(g) != 2 || len(OwnSafety().Guards(device.Car)) != 1 {
		t.Errorf("guards %v, and of the table before %v", g, OwnSafety().Guards(device.Car))
	}
	from := map[string]string{}
	for _, l := range joined.Lines() {
		if l.Class == "car" {
			from[l.Key+": "+l.Means] = l.From
		}
	}
	for what, where := range map[string]string{
		"seconds: at most 5 s on the screen": "mine.json:2", "chars: at most 40 characters": "mine.json:2", "forms: badge, list": "safety.json:25",
		"guards: the device itself checks: ux.driving parked": "safety.json:39", "guards: the device itself checks: alarm false": "mine.json:1",
	} {
		if from[what] != where {
			t.Errorf("%s is from %q, want %q; all: %v", what, from[what], where, from)
		}
	}
	if from["chars: at most 80 characters"] != "" || joined.Sum() == "" || joined.Sum() == OwnSafety().Sum() {
		t.Errorf("lines %v, sum %q", from, joined.Sum())
	}
	twice, err := joined.Join("more.json", []byte(`{"car": {"chars": 41}}`))
	if err == nil {
		t.Errorf("a second file loosens the first: %v", twice.Lines())
	}
}

// aTable is a file of rows that an operator may have written; some of what it says is refused.
func aTable(t *rapid.T) []byte {
	rows := map[string]any{}
	for range rapid.IntRange(1, 4).Draw(t, "rows") {
		c := aClass.Draw(t, "class")
		row := map[string]any{}
		facts := func() map[string]any {
			all := map[string]any{}
			for range rapid.IntRange(1, 2).Draw(t, "facts") {
				a := anAttribute(t, c)
				switch v := aValue(t, a); v.Kind {
				case device.Bool:
					all[a.String()] = []any{v.Num == 1}
				case device.Number:
					if all[a.String()] = []any{v.Num, 0}; some(t, 40, "below") {
						all[a.String()] = map[string]any{"below": 100, "for": rapid.IntRange(1, 90).Draw(t, "for")}
					}
				default:
					all[a.String()] = []any{a.Show(v)}
				}
			}
			return all
		}
		for range rapid.IntRange(1, 3).Draw(t, "keys") {
			switch rapid.IntRange(0, 7).Draw(t, "key") {
			case 0:
				row["forms"] = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"badge", "list", "toast", "panel", "full-screen"}), 1, 4, func(s string) string { return s }).Draw(t, "forms")
			case 1:
				row["chars"] = rapid.IntRange(1, 100).Draw(t, "chars")
			case 2:
				row["seconds"] = rapid.IntRange(1, 12).Draw(t, "seconds")
			case 3:
				row["silent"] = some(t, 80, "silent")
			case 4, 5:
				row["fresh"] = []any{facts(), facts()}
			case 6:
				row["told"] = facts()
			default:
				row["moments"] = []string{rapid.SampledFrom([]string{"film", "call", "sleep"}).Draw(t, "moment")}
			}
		}
		if some(t, 5, "never") {
			row = map[string]any{"never": true}
		}
		rows[c.String()] = row
	}
	raw, err := json.Marshal(rows)
	if err != nil {
		panic(err)
	}
	return raw
}

// P12: no table that an operator has joined shows what the gateway's own does not, nor in a form, for as long,
// or with a sound that it does not allow.
func TestPromiseJoinedTablesOnlyRestrict(t *testing.T) {
	type sample struct {
		q     Request
		table *SafetyTable
		raw   []byte
	}
	taken, refused := 0, 0
	samples := rapid.Custom(func(t *rapid.T) sample {
		raw := aTable(t)
		table, err := OwnSafety().Join("t", raw)
		if err != nil {
			refused++
			table = OwnSafety()
		} else {
			taken++
		}
		q := requests.Draw(t, "request")
		return sample{q, table, raw}
	})
	held := func(decide func(Request, *SafetyTable) Decision, s sample) string {
		plain := s.q
		was, is := Decide(plain), decide(s.q, s.table)
		switch {
		case is.Verdict > was.Verdict:
			return fmt.Sprintf("%s with %s, %s for %q without\n%s", is.Verdict, s.raw, was.Verdict, was.Reasons, describe(plain))
		case is.Verdict != Show:
			return ""
		case !OwnSafety().of(plain.Screen.Class).forms.has(is.Form):
			return fmt.Sprintf("shown as %s with %s\n%s", is.Form, s.raw, describe(plain))
		case is.Content&^was.Content != 0:
			return fmt.Sprintf("shown with %03b and %s, %03b without\n%s", is.Content, s.raw, was.Content, describe(plain))
		case !was.Duties.Within(is.Duties):
			return fmt.Sprintf("shown with %+v and %s, %+v without\n%s", is.Duties, s.raw, was.Duties, describe(plain))
		}
		return ""
	}
	with := func(q Request, table *SafetyTable) Decision {
		h := *q.Home
		h.Safety = table
		for i, s := range h.Screens {
			if s == q.Screen {
				q.Screen = h.Screens[i]
			}
		}
		q.Home = &h
		return Decide(q)
	}
	rapid.Check(t, func(t *rapid.T) {
		if broken := held(with, samples.Draw(t, "sample")); broken != "" {
			t.Fatal(broken)
		}
	})
	// Spoilt joins must be noticed.
	for name, spoil := range map[string]func(row, under *safetyRow){
		"what the gateway demands is dropped": func(row, under *safetyRow) {
			row.free = row.free[len(under.free):]
		},
		"what must not be told is dropped": func(row, under *safetyRow) { row.calm = row.calm[len(under.calm):] },
		"every form":                       func(row, under *safetyRow) { row.forms = ^formSet(0) &^ (1 << device.Voice) },
		"any length":                       func(row, under *safetyRow) { row.chars = 0 },
		"as long as it likes":              func(row, under *safetyRow) { row.limit = 0 },
		"a sound":                          func(row, under *safetyRow) { row.silent = false },
		"as many on a trip as there are":   func(row, under *safetyRow) { row.trip = 0 },
	} {
		t.Run("notices/"+name, func(t *testing.T) {
			loose := func(q Request, table *SafetyTable) Decision {
				bad := *table
				for c, row := range bad.rows {
					if row != nil {
						r := *row
						spoil(&r, own.rows[c])
						bad.rows[c] = &r
					}
				}
				return with(q, &bad)
			}
			for seed := range 20_000 {
				if held(loose, samples.Example(seed)) != "" {
					return
				}
			}
			t.Errorf("20000 samples, and nothing was noticed")
		})
	}
	if least := fewer(25); taken < least || refused < least {
		t.Errorf("%d tables were taken and %d refused: want %d of each", taken, refused, least)
	}
}

// FuzzSafetyTable: no file makes the loader panic, and none that it takes loosens anything.
func FuzzSafetyTable(f *testing.F) {
	f.Add(ownSafety)
	f.Add([]byte(`{"car": {"chars": 40, "told": {"alarm": {"is": [false], "for": 60}}}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		_, _ = parseSafety("t", raw, nil)
		joined, err := OwnSafety().Join("t", raw)
		if err != nil {
			return
		}
		for c, row := range joined.rows {
			under := own.rows[c]
			if row != nil && (under == nil || row.forms&^under.forms != 0 || under.silent && !row.silent || under.chars > 0 && (row.chars == 0 || row.chars > under.chars) ||
				under.limit > 0 && (row.limit == 0 || row.limit > under.limit) || len(row.free) < len(under.free) || len(row.calm) < len(under.calm)) {
				t.Errorf("%s: %+v under %+v", device.Class(c), row, under)
			}
		}
	})
}

package delivery

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight/device"
	"porchlight/device/ledger"
	"porchlight/device/wire"
)

// lately is what has changed on a device, as "attribute value", the oldest first.
func (h *hand) lately() string {
	h.w.t.Helper()
	all, err := h.w.desk.ContextOf(h.w.t.Context(), ContextAsked{Device: string(h.id), History: true})
	h.w.must(err)
	var s []string
	for _, ch := range all[0].Changes {
		s = append(s, fmt.Sprint(ch.Attribute, " ", ch.Value))
	}
	return strings.Join(s, ", ")
}

// is is what a device tells about one attribute now.
func (h *hand) is(name string) ToldReading {
	h.w.t.Helper()
	all, err := h.w.desk.ContextOf(h.w.t.Context(), ContextAsked{Home: "oak", Device: string(h.id)})
	h.w.must(err)
	for _, r := range all[0].Readings {
		if r.Attribute == name {
			return r
		}
	}
	return ToldReading{}
}

func TestContextOf(t *testing.T) {
	inWorld(t, func(w *world) {
		all := w.home(device.Fridge, device.TV)
		fridge, tv := all[device.Fridge], all[device.TV]
		began := w.now()
		check := func(when string, want ToldReading) {
			t.Helper()
			want.Attribute, want.TTL = "door.open", 600_000
			if got := fridge.is("door.open"); got != want {
				t.Errorf("%s: %+v, want %+v", when, got, want)
			}
		}
		check("at once", ToldReading{Value: false, At: began, Since: began, Fresh: true})
		w.pass(5*time.Minute - 2*time.Millisecond)
		check("in five minutes", ToldReading{Value: false, At: began, Since: began, Age: 300_000, Fresh: true})
		fridge.tell(map[string]any{"door.open": false})
		check("told again", ToldReading{Value: false, At: w.now(), Since: began, Fresh: true})
		w.pass(11*time.Minute - 2*time.Millisecond)
		check("for too long not told", ToldReading{Value: false, At: began.Add(5 * time.Minute), Since: began, Age: 660_000})
		fridge.tell(map[string]any{"door.open": false})
		check("after a gap", ToldReading{Value: false, At: w.now(), Since: w.now(), Fresh: true})
		w.pass(time.Second)
		fridge.tell(map[string]any{"door.open": nil})
		check("null", ToldReading{At: w.now(), Since: w.now()})
		fridge.tell(map[string]any{"door.open": false})
		w.pass(time.Second)
		w.jump.Add(-3_600_000) // the clock is set back by an hour
		fridge.tell(map[string]any{"temperature": 5.0})
		check("the clock set back", ToldReading{Value: false, At: w.now(), Since: w.now(), Fresh: true})
		w.jump.Add(3_600_000)
		fridge.tell(map[string]any{"door.open": true})
		since := w.now()
		fridge.disconnect()
		w.wait()
		check("away", ToldReading{Value: true, Since: since})
		w.pass(time.Second)
		fridge.connect()
		fridge.tell(map[string]any{"door.open": true})
		check("back", ToldReading{Value: true, At: w.now(), Since: w.now(), Fresh: true})
		tv.tell(map[string]any{"state": "idle"})
		w.pass(2 * time.Minute)
		tv.tell(map[string]any{"state": "idle"})
		if got := tv.is("state"); got.Since != w.now() || got.TTL != 60_000 {
			t.Errorf("a gap of two minutes on a TV: %+v, want since %s", got, w.now())
		}
		if got := fridge.is("alarm"); got.Attribute != "" {
			t.Errorf("what was never told is %+v", got)
		}

		for name, test := range map[string]struct {
			ask  ContextAsked
			want string // devices, or the error
		}{
			"a home":              {ContextAsked{Home: "oak"}, "tv fridge"},
			"a device by name":    {ContextAsked{Home: "oak", Device: "tv"}, "tv"},
			"another home's":      {ContextAsked{Home: "oak", Device: "toaster"}, `device "toaster": not known`},
			"a device by ID":      {ContextAsked{Device: string(fridge.id)}, "fridge"},
			"a device by no ID":   {ContextAsked{Device: "fridge"}, "device fridge: not known: without its home a device is named by its ID"},
			"a home that is none": {ContextAsked{Home: "elm"}, `home "elm": not known`},
			"nothing":             {ContextAsked{}, "cannot be taken in: say which home, or which device"},
		} {
			all, err := w.desk.ContextOf(w.t.Context(), test.ask)
			var got []string
			for _, c := range all {
				if got = append(got, c.Name); c.Changes != nil || !c.Connected {
					t.Errorf("%s: %+v, which was not asked for", name, c)
				}
			}
			if err != nil {
				got = []string{err.Error()}
			}
			if s := strings.Join(got, " "); s != test.want {
				t.Errorf("%s: %q, want %q", name, s, test.want)
			}
		}
	})
}

func TestHistory(t *testing.T) {
	inWorld(t, func(w *world) {
		all := w.home(device.Fridge, device.TV)
		fridge, tv := all[device.Fridge], all[device.TV]
		home, err := w.desk.homeID(w.t.Context(), "oak")
		w.must(err)
		var before ledger.Head
		read := func() (h ledger.Head) {
			h, err := w.db.Head(context.Background(), home)
			w.must(err)
			return h
		}
		before = read()
		const began = "power.state on, door.open false"
		check := func(when, want string) {
			t.Helper()
			got := strings.Split(fridge.lately(), ", ")
			if len(got) >= 2 { // one frame has no order
				slices.SortFunc(got[:2], func(a, b string) int { return strings.Compare(b, a) })
			}
			if s := strings.Join(got, ", "); s != want {
				t.Errorf("%s: %s, want %s", when, s, want)
			}
		}
		check("at once", began)
		for range 20 {
			w.pass(3 * time.Minute)
			fridge.tell(map[string]any{"door.open": false, "power.state": "on"})
		}
		check("heartbeats", began)
		fridge.tell(map[string]any{"door.open": true})
		fridge.tell(map[string]any{"door.open": nil})
		w.must(w.desk.Context(fridge.id, fridge.up, wire.Context{Values: map[string]any{"temperature": 7.0}, Age: 60_000}))
		check("changes", began+", temperature 7, door.open true, door.open <nil>")
		if err := w.desk.Context(fridge.id, fridge.up, wire.Context{Values: map[string]any{"temperature": "hot"}}); err == nil {
			t.Error("a word is a temperature")
		}
		fridge.disconnect()
		w.pass(time.Minute)
		fridge.connect()
		check("a new connection", began+", temperature 7, door.open true, door.open <nil>, temperature <nil>, door.open false")
		if got := tv.lately(); strings.Contains(got, "door") || !strings.Contains(got, "state idle") {
			t.Errorf("of the TV: %s", got)
		}
		if after := read(); after.Size != before.Size || after.Root != before.Root {
			t.Errorf("what devices told is in the home's book: %+v, was %+v", after, before)
		}

		w.pass(22 * time.Hour)
		check("almost a day", began+", temperature 7, door.open true, door.open <nil>, temperature <nil>, door.open false")
		w.pass(2 * time.Hour)
		check("a day", "")

		// Erased with what it is about, and only then.
		tell := func() {
			t.Helper()
			fridge.tell(map[string]any{"door.open": true})
			w.pass(time.Second)
			fridge.tell(map[string]any{"door.open": false})
			tv.tell(map[string]any{"state": "paused"})
			w.pass(time.Second)
			fridge.tell(map[string]any{"door.open": true})
			tv.tell(map[string]any{"state": "idle"})
		}
		counts := func() string {
			return fmt.Sprint(strings.Count(fridge.lately(), "door"), strings.Count(tv.lately(), "state"))
		}
		for _, test := range []struct {
			name string
			what Erasure
			want string // changes on the fridge and on the TV that are left
		}{
			{"a brand", Erasure{Brand: w.brand.ID}, "3 2"},
			{"another kind", Erasure{Data: ConsentData}, "3 2"},
			{"to try", Erasure{Data: ContextData, Try: true}, "3 2"},
			{"the kind", Erasure{Data: ContextData}, "0 0"},
			{"a period", Erasure{Before: 1}, "1 1"},
			{"the kind in a period", Erasure{Data: ContextData, After: 1}, "2 1"},
			{"a device in a period", Erasure{Device: string(fridge.id), Before: 1}, "1 2"},
			{"a person", Erasure{Person: "Ben"}, "0 0"},
			{"a device", Erasure{Device: string(fridge.id)}, "- 2"},
		} {
			_, err := w.desk.Erase(w.t.Context(), Erasure{Home: "oak", Data: ContextData})
			w.must(err)
			tell()
			last := w.now()
			test.what.Home = "oak"
			if test.what.Before != 0 {
				test.what.Before = last
			}
			if test.what.After != 0 {
				test.what.After = last
			}
			_, err = w.desk.Erase(w.t.Context(), test.what)
			w.must(err)
			var got string
			if test.name == "a device" {
				got = fmt.Sprint("- ", strings.Count(tv.lately(), "state"))
			} else {
				got = counts()
			}
			if got != test.want {
				t.Errorf("%s erased: %s are left, want %s", test.name, got, test.want)
			}
			w.pass(time.Hour)
		}
		tv.tell(map[string]any{"state": "on"})
		w.restart()
		tv.connect()
		if got := tv.lately(); strings.Count(got, ",") != 1 || !strings.Contains(got, "state idle") { // as it said when it came back
			t.Errorf("after a restart: %s", got)
		}
	})
}

// TestContextStays: what devices told is exported to those whom it is about, and to nobody else.
func TestContextStays(t *testing.T) {
	inWorld(t, func(w *world) {
		_, devices, err := w.desk.AddHome(w.t.Context(), HomeSpec{Name: "oak", Zone: "Europe/Zurich", People: []PersonSpec{{Name: "Anna", Age: device.Adult}, {Name: "Ben", Age: device.Adult}},
			Devices: []DeviceSpec{{ID: "tv-1", Class: device.TV}, {ID: "phone-a", Class: device.Companion, Name: "a", Owner: "Anna"}, {ID: "phone-b", Class: device.Companion, Name: "b", Owner: "Ben"}, {ID: "car-a", Class: device.Car, Owner: "Anna"}}})
		w.must(err)
		at := map[device.ID]*hand{}
		for _, e := range devices {
			at[e.ID] = w.hand(e.Device)
			at[e.ID].connect()
		}
		at["tv-1"].tell(map[string]any{"state": "paused", "app_name": "Secret Club", "presence.who": "1 2"})
		at["phone-a"].tell(map[string]any{"call.active": true, "presence.who": "1@0.9"})
		at["phone-a"].tell(map[string]any{"call.active": nil, "presence.who": "1 2"})
		at["phone-b"].tell(map[string]any{"dnd": true, "presence.who": "2"})
		at["car-a"].tell(map[string]any{device.DriverSubject.String(): "somebody", "Vehicle.Speed": 0.0})
		type told struct {
			Device       device.ID
			Now, Changes []ContextChange
		}
		exported := func(person, language string) (all []told, page string) {
			t.Helper()
			files := unzip(t, w.export(ExportAsked{Home: "oak", Person: person, Language: language}))
			w.must(json.Unmarshal([]byte(files[contextFile]), &all))
			return all, files[pageFile]
		}
		spell := func(all []told) string {
			var s []string
			for _, c := range all {
				for _, ch := range c.Now {
					s = append(s, fmt.Sprintf("%s %s=%v", c.Device, ch.Attribute, ch.Value))
				}
				for _, ch := range c.Changes {
					s = append(s, fmt.Sprintf("%s %s>%v", c.Device, ch.Attribute, ch.Value))
				}
			}
			return strings.Join(s, "\n")
		}
		has := func(who, all string, want, not []string) {
			t.Helper()
			for _, s := range want {
				if !strings.Contains(all, s) {
					t.Errorf("the export of %s lacks %q:\n%s", who, s, all)
				}
			}
			for _, s := range not {
				if strings.Contains(all, s) {
					t.Errorf("the export of %s tells %q:\n%s", who, s, all)
				}
			}
		}
		all, page := exported("", "en")
		has("the home", spell(all), []string{"tv-1 app_name=Secret Club", "tv-1 state>paused", "tv-1 presence.who>1 2", "phone-a call.active>true", "phone-a call.active><nil>", "phone-b dnd>true", "car-a Vehicle.Occupant.Row1.DriverSide.Identifier.Subject=somebody"},
			[]string{"phone-a call.active="})
		has("the home, to read", page, []string{"What devices told in the last 24 hours", "the player is paused", "a call is going on", "whether a call is going on: not known", "certain people are there"}, []string{"1 2"})
		all, page = exported("Anna", "de")
		has("Anna", spell(all), []string{"phone-a call.active>true", "phone-a presence.who>1@0.9", "phone-a presence.who>1", "car-a Vehicle.Speed=0", "tv-1 presence.who=1"}, []string{"tv-1 state", "tv-1 app_name", "phone-b", "1 2", "somebody"})
		has("Anna, to read", page, []string{"Was Geräte in den letzten 24 Stunden gemeldet haben", "Es meldete, dass", "ein Gespräch läuft"}, []string{"Secret Club"})
		for _, language := range []string{"fr", "es"} {
			if _, page := exported("Ben", language); strings.Contains(page, "<h2></h2>") || strings.Contains(page, "What devices") {
				t.Errorf("the page in %s has no words of its own for what devices told", language)
			}
		}
	})
}

func TestTrip(t *testing.T) {
	const lv = "Vehicle.LowVoltageSystemState"
	type told = map[string]any
	tests := map[string]struct {
		told []told // one every second; nil: the connection ends, and the next begins anew
		want int    // with which of them the trip began, from 1; 0: not known
	}{
		"nothing said":                    {[]told{{"Vehicle.Speed": 0.0}}, 0},
		"on from the beginning":           {[]told{{lv: "ON"}, {lv: "ON"}}, 0},
		"off":                             {[]told{{lv: "OFF"}}, 0},
		"off, on":                         {[]told{{lv: "OFF"}, {lv: "ON"}}, 2},
		"locked, cranked":                 {[]told{{lv: "LOCK"}, {lv: "START"}, {lv: "ON"}}, 2},
		"accessories, on":                 {[]told{{lv: "ACC"}, {lv: "ON"}, {lv: "ON"}}, 2},
		"on goes on":                      {[]told{{lv: "OFF"}, {lv: "ON"}, {lv: "START"}, {lv: "ON"}}, 2},
		"off at last":                     {[]told{{lv: "OFF"}, {lv: "ON"}, {lv: "OFF"}}, 2},
		"a stop":                          {[]told{{lv: "OFF"}, {lv: "ON"}, {lv: "OFF"}, {lv: "ON"}}, 2},
		"a stop of four minutes":          {[]told{{lv: "OFF"}, {lv: "ON"}, {lv: "OFF"}, {"minutes": 4}, {lv: "ON"}}, 2},
		"two":                             {[]told{{lv: "OFF"}, {lv: "ON"}, {lv: "OFF"}, {"minutes": 5}, {lv: "ON"}}, 5},
		"parked for a moment":             {[]told{{"ux.driving": "parked"}, {"ux.driving": "moving"}, {"ux.driving": "parked"}, {"ux.driving": "moving"}}, 2},
		"unknown between on and on":       {[]told{{lv: "OFF"}, {lv: "ON"}, {lv: nil}, {lv: "ON"}, {lv: "UNDEFINED"}, {lv: "ON"}}, 2},
		"unknown between off and on":      {[]told{{lv: "OFF"}, {lv: nil}, {lv: "UNDEFINED"}, {lv: "ON"}}, 4},
		"a tunnel":                        {[]told{{lv: "OFF"}, {lv: "ON"}, nil, {lv: "ON"}}, 2},
		"away while it was switched on":   {[]told{{lv: "OFF"}, nil, {lv: "ON"}}, 3},
		"leaves parked":                   {[]told{{"ux.driving": "parked"}, {"ux.driving": "idling"}, {"ux.driving": "moving"}}, 2},
		"moves off":                       {[]told{{"ux.driving": "parked"}, {"ux.driving": "moving"}}, 2},
		"moving at once":                  {[]told{{"ux.driving": "moving"}}, 1}, // a hand says that it is parked when it connects
		"unknown is no trip":              {[]told{{"ux.driving": "parked"}, {"ux.driving": "unknown"}}, 0},
		"unknown between parked":          {[]told{{"ux.driving": "parked"}, {"ux.driving": "unknown"}, {"ux.driving": "moving"}}, 3},
		"ignition outweighs":              {[]told{{lv: "ON"}, {"ux.driving": "parked"}, {"ux.driving": "moving"}}, 0},
		"ignition outweighs from then on": {[]told{{"ux.driving": "parked"}, {"ux.driving": "moving"}, {lv: "ON"}, {"ux.driving": "parked"}, {"ux.driving": "moving"}}, 2},
		"ignition told late":              {[]told{{"ux.driving": "parked"}, {lv: "ON"}}, 0},
		"ignition null, it drives on":     {[]told{{lv: "OFF"}, {lv: "ON"}, {lv: nil, "ux.driving": "moving"}, {lv: "ON"}}, 2},
		"ignition null":                   {[]told{{lv: "OFF"}, {lv: nil}, {"ux.driving": "parked"}, {"ux.driving": "moving"}}, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				car := w.home(device.Car)[device.Car]
				var at []device.Instant
				for _, values := range test.told {
					if values == nil {
						car.disconnect()
						w.wait()
						at = append(at, w.now())
						w.pass(time.Second)
						car.connect()
						continue
					}
					at = append(at, w.now())
					if minutes, ok := values["minutes"].(int); ok {
						w.pass(time.Duration(minutes) * time.Minute)
						continue
					}
					car.tell(values)
					w.pass(time.Second)
				}
				var want device.Instant
				if test.want > 0 {
					want = at[test.want-1]
				}
				trip := func() device.Instant {
					all, err := w.desk.ContextOf(w.t.Context(), ContextAsked{Device: string(car.id)})
					w.must(err)
					return all[0].Trip
				}
				if got := trip(); got != want {
					t.Errorf("the trip began %s, want %s", got, want)
				}
				// What people choose does not end a trip; a restart loses it.
				w.must(w.desk.SetMutes(w.t.Context(), "oak", nil))
				if got := trip(); got != want {
					t.Errorf("after a choice the trip began %s, want %s", got, want)
				}
				w.jump.Add(-3_600_000)
				car.tell(map[string]any{"Vehicle.Speed": 0.0})
				if got := trip(); got > w.now() {
					t.Errorf("the clock was set back, and the trip began in the future, %s", got)
				}
				w.jump.Add(3_600_000)
				w.restart()
				car.connect()
				car.tell(map[string]any{lv: "ON"})
				if got := trip(); got != 0 {
					t.Errorf("after a restart the trip began %s", got)
				}
			})
		})
	}
}

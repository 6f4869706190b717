package delivery

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/device/twin"
	"porchlight/device/wire"
	"porchlight/policy"
	"porchlight/policy/consent"
)

// What an operator sets reaches what is on a screen, before the method returns.
func TestSetReachesScreens(t *testing.T) {
	tests := map[string]func(w *world, tv *hand) error{
		"the home is frozen":  func(w *world, _ *hand) error { return w.desk.SetFrozen(w.t.Context(), "oak", "", true) },
		"somebody is frozen":  func(w *world, _ *hand) error { return w.desk.SetFrozen(w.t.Context(), "oak", "Ben", true) },
		"snoozed":             func(w *world, _ *hand) error { _, err := w.desk.Snooze(w.t.Context(), "oak", "", "2h"); return err },
		"snoozed by somebody": func(w *world, _ *hand) error { _, err := w.desk.Snooze(w.t.Context(), "oak", "Anna", "2h"); return err },
		"muted in its room": func(w *world, _ *hand) error {
			return w.desk.SetPreferences(w.t.Context(), "oak", Preferences{Mutes: []NamedMute{{NamedSelector: NamedSelector{Room: "hall"}}}})
		},
		"muted by its name": func(w *world, _ *hand) error {
			return w.desk.SetPreferences(w.t.Context(), "oak", Preferences{Mutes: []NamedMute{{NamedSelector: NamedSelector{Device: "tv"}}}})
		},
		"quiet": func(w *world, _ *hand) error {
			return w.desk.SetPreferences(w.t.Context(), "oak", Preferences{Quiet: []NamedQuiet{{From: "10:00", To: "10:00", Zone: "Asia/Tokyo"}}})
		},
		"it becomes somebody's who has said nothing": func(w *world, tv *hand) error {
			_, err := w.desk.ChangeDevice(w.t.Context(), tv.id, DeviceChange{Owner: new("Anna")})
			return err
		},
		"the notice does not name its class any more": func(w *world, _ *hand) error {
			_, err := w.desk.IssueNotice(w.t.Context(), consent.Notice{Brand: "grocer", Purposes: []policy.Purpose{policy.Marketing}, Classes: []device.Class{device.Fridge}, ValidFor: 12})
			return err
		},
		"the notice does not name its purpose any more": func(w *world, _ *hand) error {
			_, err := w.desk.IssueNotice(w.t.Context(), consent.Notice{Brand: "grocer", Purposes: []policy.Purpose{policy.Service}, ValidFor: 12})
			return err
		},
	}
	for name, set := range tests {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				tv := w.home(device.TV)[device.TV]
				_, err := w.desk.ChangeDevice(w.t.Context(), tv.id, DeviceChange{Room: new("hall")})
				w.must(err)
				w.choose(policy.Given)
				id := w.push(nil)
				tv.mustShow(id)
				w.must(set(w, tv))
				w.wait()
				tv.mustShow()
				if got := w.why(id, tv); strings.HasPrefix(got, "show") {
					t.Errorf("why = %s, want a reason", got)
				}
				w.memory()
			})
		})
	}
}

// What is taken back again lets messages through again.
func TestSetAndTakenBack(t *testing.T) {
	inWorld(t, func(w *world) {
		tv := w.home(device.TV)[device.TV]
		w.choose(policy.Given)
		w.must(w.desk.SetFrozen(w.t.Context(), "oak", "Ben", true))
		_, err := w.desk.Snooze(w.t.Context(), "oak", "", "7d")
		w.must(err)
		id := w.push(nil)
		tv.mustShow()
		end, err := w.desk.Snooze(w.t.Context(), "oak", "", "30s") // in place of the one before
		if want := w.now().Add(30 * time.Second); err != nil || end != want {
			t.Errorf("snoozed until %s, %v, want %s", end, err, want)
		}
		w.must(w.desk.SetFrozen(w.t.Context(), "oak", "Ben", false))
		w.wait()
		tv.mustShow()
		w.pass(31 * time.Second)
		tv.mustShow(id)
		if p, err := w.desk.Preferences(w.t.Context(), "oak"); err != nil || len(p.Mutes) != 0 {
			t.Errorf("a snooze that is over is told as %+v, %v", p.Mutes, err)
		}
		w.memory()
	})
}

// A yes that somebody said, or that was said for them, ends with the age that it was said at.
func TestAgeEndsAYes(t *testing.T) {
	inWorld(t, func(w *world) {
		w.home(device.TV)
		yes := func(guardian string) {
			w.must(w.desk.Give(w.t.Context(), "oak", Yes{Person: "Ben", Guardian: guardian, Brand: "grocer", Purpose: policy.Marketing}))
		}
		age := func(a device.Age, guardians ...string) {
			t.Helper()
			_, err := w.desk.ChangePerson(w.t.Context(), "oak", "Ben", PersonChange{Age: &a, Guardians: append([]string{}, guardians...)})
			w.must(err)
		}
		given := func(want int) {
			t.Helper()
			all, err := w.desk.InForce(w.t.Context(), "oak")
			if err != nil || len(all) != want {
				t.Errorf("in force: %+v, %v, want %d", all, err, want)
			}
		}
		yes("")
		age(device.Teen)
		given(1) // their own in both
		age(device.Child, "Anna")
		given(0)
		yes("Anna")
		age(device.AgeUnknown, "Anna")
		given(1)
		age(device.Adult)
		given(0)
		history, err := w.desk.History(w.t.Context(), "oak")
		var states []string
		for _, e := range history {
			states = append(states, fmt.Sprint(e.State, " ", e.By, e.Why))
		}
		if want := []string{"given ", "invalidated age", "given Anna", "invalidated age"}; err != nil || !slices.Equal(states, want) {
			t.Errorf("history: got %q, %v, want %q", states, err, want)
		}
		teen := device.Teen
		age(device.Child, "Anna")
		if _, err := w.desk.ChangePerson(w.t.Context(), "oak", "Anna", PersonChange{Age: &teen}); !errors.Is(err, registry.ErrInUse) {
			t.Errorf("a guardian becomes a teen: got %v, want ErrInUse", err)
		}
	})
}

// The device is sent the choices of its new owner.
func TestNewOwnerNewDocument(t *testing.T) {
	inWorld(t, func(w *world) {
		tv := w.home(device.TV)[device.TV]
		w.choose(policy.Given)
		choice := func() string {
			for _, b := range tv.twin.Doc.Brands {
				if b.Brand == "grocer" && b.Purpose == "marketing" {
					return b.Choice
				}
			}
			return "none"
		}
		if got := choice(); got != "given" {
			t.Fatalf("everybody's TV shows %s, want given", got)
		}
		_, err := w.desk.ChangeDevice(w.t.Context(), tv.id, DeviceChange{Owner: new("Anna")})
		w.must(err)
		w.wait()
		if got := choice(); got != "silent" {
			t.Errorf("Anna's TV shows %s, want silent", got)
		}
	})
}

// drawPreferences draws what can be said in the home of TestPreferences.
func drawPreferences(r *rapid.T) Preferences {
	owner := rapid.SampledFrom([]string{"", "Anna", "Ben, the elder"})
	some := func(what string, all ...string) []string {
		var list []string
		for _, one := range all {
			if rapid.Bool().Draw(r, what+" "+one) {
				list = append(list, one)
			}
		}
		return list
	}
	selector := func() NamedSelector {
		return NamedSelector{
			Brand: rapid.SampledFrom([]device.BrandID{"", "grocer"}).Draw(r, "brand"), Purpose: rapid.SampledFrom([]policy.Purpose{0, policy.Marketing}).Draw(r, "purpose"),
			Category: rapid.SampledFrom([]string{"", "news"}).Draw(r, "category"), Class: rapid.SampledFrom([]device.Class{0, device.TV}).Draw(r, "class"),
			Device: rapid.SampledFrom([]string{"", "tv", "the fridge"}).Draw(r, "device"), Room: rapid.SampledFrom([]string{"", "hall", "living room"}).Draw(r, "room"),
		}
	}
	minutes := func(what string) string { return clock(rapid.IntRange(0, 1439).Draw(r, what)) }
	p := Preferences{
		Frozen: new(rapid.Bool().Draw(r, "frozen")), Asking: new(rapid.Bool().Draw(r, "asking")), Languages: append([]string{}, some("language", "de", "en-GB")...), Moments: []policy.Moment{},
		Quiet: []NamedQuiet{}, Caps: []NamedCap{}, Mutes: []NamedMute{}, Channels: []NamedChannel{}, People: []PersonPreferences{},
	}
	for _, who := range some("whose channels", "", "Anna", "Ben, the elder") {
		c := NamedChannel{Owner: who, Classes: []device.Class{device.TV}}
		if rapid.Bool().Draw(r, "more channels") {
			c.Classes = []device.Class{device.Fridge, device.TV}
		}
		p.Channels = append(p.Channels, c)
	}
	for _, m := range some("moment", "film", "call", "sleep") {
		moment, _ := policy.ParseMoment(m)
		p.Moments = append(p.Moments, moment)
	}
	for range rapid.IntRange(0, 3).Draw(r, "quiet times") {
		p.Quiet = append(p.Quiet, NamedQuiet{From: minutes("from"), To: minutes("to"), Days: some("day", weekdays[:]...),
			Zone: rapid.SampledFrom([]string{"", "Europe/Lisbon"}).Draw(r, "zone"), Owner: owner.Draw(r, "owner")})
	}
	for range rapid.IntRange(0, 6).Draw(r, "caps") {
		c := NamedCap{Max: rapid.IntRange(0, 1000).Draw(r, "max"), Per: rapid.SampledFrom([]string{"day", "week", "1h", "168h", "1m", "1440m"}).Draw(r, "per"), NamedSelector: selector(), Owner: owner.Draw(r, "owner")}
		c.Each = c.Brand == "" && rapid.Bool().Draw(r, "each")
		c.EachCategory = c.Category == "" && rapid.Bool().Draw(r, "each category")
		if (c.Class == 0 || c.Class == device.Car) && rapid.Bool().Draw(r, "trip") {
			c.Per = "trip"
		}
		p.Caps = append(p.Caps, c)
	}
	for range rapid.IntRange(0, 3).Draw(r, "mutes") {
		p.Mutes = append(p.Mutes, NamedMute{NamedSelector: selector(), Content: some("content", "words", "picture", "sound"),
			Until: rapid.SampledFrom([]string{"", "2090-01-01T00:00:00Z", "2090-01-01T00:00:00.123Z"}).Draw(r, "until"), Owner: owner.Draw(r, "owner")})
	}
	for _, name := range []string{"Anna", "Ben, the elder"} {
		p.People = append(p.People, PersonPreferences{Name: name, Languages: append([]string{}, some("reads", "fr", "es")...), Frozen: new(rapid.Bool().Draw(r, "frozen"))})
	}
	return p
}

// What is set is what is told, and what is told sets the same.
func TestPreferences(t *testing.T) {
	inWorld(t, func(w *world) {
		for _, name := range []string{"oak", "elm"} {
			spec := HomeSpec{Name: name, Zone: "Europe/Zurich", People: []PersonSpec{{Name: "Anna", Age: device.Adult}, {Name: "Ben, the elder", Age: device.Adult}},
				Rooms: []string{"hall", "living room"}, Devices: []DeviceSpec{{Class: device.TV}, {Class: device.Fridge, Name: "the fridge"}}}
			if name == "elm" { // the same names, other numbers
				slices.Reverse(spec.People)
				slices.Reverse(spec.Rooms)
			}
			_, _, err := w.desk.AddHome(w.t.Context(), spec)
			w.must(err)
		}
		any := rapid.Custom(drawPreferences)
		for seed := range 40 {
			p := any.Example(seed)
			for _, name := range []string{"oak", "elm"} {
				if err := w.desk.SetPreferences(w.t.Context(), name, p); err != nil {
					t.Fatalf("%s: set %s: %v", name, asJSON(p), err)
				}
				got, err := w.desk.Preferences(w.t.Context(), name)
				w.must(err)
				slices.SortFunc(got.People, func(a, b PersonPreferences) int { return strings.Compare(a.Name, b.Name) })
				if !reflect.DeepEqual(got, p) {
					t.Fatalf("%s: told\n%s\nset\n%s", name, asJSON(got), asJSON(p))
				}
			}
			before := journalLength(w)
			told, err := w.desk.Preferences(w.t.Context(), "oak")
			w.must(err)
			if err := w.desk.SetPreferences(w.t.Context(), "oak", told); err != nil || journalLength(w) != before {
				t.Fatalf("set again what is in force: %v, and %d facts more", err, journalLength(w)-before)
			}
		}
	})
}

func asJSON(v any) string { raw, _ := json.MarshalIndent(v, "", " "); return string(raw) }

func journalLength(w *world) (n int) {
	w.t.Helper()
	w.must(w.db.View(w.t.Context(), func(tx *store.Tx) error { return tx.QueryRow(`SELECT count(*) FROM journal`).Scan(&n) }))
	return n
}

// What is wrong is named, all of it, and nothing is set.
func TestWrongPreferences(t *testing.T) {
	inWorld(t, func(w *world) {
		w.home(device.TV)
		many := make([]NamedCap, maxCaps+1)
		for i := range many {
			many[i] = NamedCap{Max: 1, Per: "day"}
		}
		tests := map[string]struct {
			p    Preferences
			want []string // the fields
		}{
			"room, device and owner that are not there": {Preferences{Mutes: []NamedMute{{}, {NamedSelector: NamedSelector{Room: "attic", Device: "radio"}, Owner: "Eve"}}},
				[]string{"mutes[1].device", "mutes[1].room", "mutes[1].owner"}},
			"content":             {Preferences{Mutes: []NamedMute{{Content: []string{"sound", "smell"}}}}, []string{"mutes[0].content[1]"}},
			"a mute that is over": {Preferences{Mutes: []NamedMute{{Until: "1999-01-01T00:00:00Z"}}}, []string{"mutes[0].until"}},
			"category":            {Preferences{Mutes: []NamedMute{{NamedSelector: NamedSelector{Category: "Über"}}}}, []string{"mutes[0].category"}},
			"quiet":               {Preferences{Quiet: []NamedQuiet{{From: "24:00", To: "7:00", Days: []string{"someday"}, Zone: "Mars/Olympus", Owner: "Eve"}}}, []string{"quiet[0].from", "quiet[0].to", "quiet[0].days[0]", "quiet[0].owner", "quiet[0].zone"}},
			"caps": {Preferences{Caps: []NamedCap{{Max: -1, Per: "day"}, {Max: 1, Per: "0h"}, {Max: 1, Per: "169h"}, {Max: 1, Per: "month"}, {Max: 1, Per: "day", Each: true, NamedSelector: NamedSelector{Brand: "grocer"}}}},
				[]string{"caps[0].max", "caps[1].per", "caps[2].per", "caps[3].per", "caps[4].each"}},
			"too many":         {Preferences{Caps: many}, []string{"caps"}},
			"spacing":          {Preferences{Spacing: new(1441)}, []string{"spacing.per"}},
			"a moment twice":   {Preferences{Moments: []policy.Moment{policy.Film, policy.Film}}, []string{"moments[1]"}},
			"languages":        {Preferences{Languages: []string{"x y"}}, []string{"languages"}},
			"somebody unknown": {Preferences{People: []PersonPreferences{{Name: "Eve"}}}, []string{"people[0].name"}},
		}
		for name, test := range tests {
			p := test.p
			p.Frozen = new(true)
			before := journalLength(w)
			err := w.desk.SetPreferences(w.t.Context(), "oak", p)
			var bad Invalid
			var fields []string
			errors.As(err, &bad)
			for _, e := range bad {
				fields = append(fields, e.Field)
			}
			if !slices.Equal(fields, test.want) || journalLength(w) != before {
				t.Errorf("%s: got %v about %q and %d facts, want it about %q and none", name, err, fields, journalLength(w)-before, test.want)
			}
		}
	})
}

// What belongs to somebody or something that is gone is not told, and what is told can be set.
func TestPreferencesOfThoseWhoAreGone(t *testing.T) {
	inWorld(t, func(w *world) {
		all := w.home(device.TV, device.Fridge)
		w.must(w.desk.SetPreferences(w.t.Context(), "oak", Preferences{
			Quiet: []NamedQuiet{{From: "22:00", To: "07:00", Owner: "Ben"}, {From: "21:00", To: "07:00"}},
			Mutes: []NamedMute{{NamedSelector: NamedSelector{Device: "tv"}}, {NamedSelector: NamedSelector{Device: "fridge"}}},
			Caps:  []NamedCap{{Max: 1, Per: "day", Owner: "Ben"}},
		}))
		w.must(w.desk.RemoveDevice(w.t.Context(), all[device.TV].id))
		w.must(w.desk.RemovePerson(w.t.Context(), "oak", "Ben"))
		p, err := w.desk.Preferences(w.t.Context(), "oak")
		if err != nil || len(p.Quiet) != 1 || len(p.Mutes) != 1 || p.Mutes[0].Device != "fridge" || len(p.Caps) != 0 || len(p.People) != 1 {
			t.Errorf("got %s, %v, want what is of those who are there", asJSON(p), err)
		}
		w.must(w.desk.SetPreferences(w.t.Context(), "oak", p))
	})
}

// Spacing is one more cap; the others stay.
func TestSpacing(t *testing.T) {
	inWorld(t, func(w *world) {
		w.home(device.TV)
		caps := func() (all []string) {
			p, err := w.desk.Preferences(w.t.Context(), "oak")
			w.must(err)
			for _, c := range p.Caps {
				all = append(all, fmt.Sprintf("%d/%s", c.Max, c.Per))
			}
			return all
		}
		w.must(w.desk.SetPreferences(w.t.Context(), "oak", Preferences{Caps: []NamedCap{{Max: 3, Per: "day"}, {Max: 1, Per: "2h"}}}))
		for _, step := range []struct {
			minutes int
			want    []string
		}{{45, []string{"3/day", "1/2h", "1/45m"}}, {30, []string{"3/day", "1/2h", "1/30m"}}, {0, []string{"3/day", "1/2h"}}} {
			w.must(w.desk.SetPreferences(w.t.Context(), "oak", Preferences{Spacing: &step.minutes}))
			if got := caps(); !slices.Equal(got, step.want) {
				t.Errorf("after spacing %d: caps %q, want %q", step.minutes, got, step.want)
			}
		}
	})
}

func TestParseUntil(t *testing.T) {
	zurich, err := time.LoadLocation("Europe/Zurich")
	if err != nil {
		t.Fatal(err)
	}
	at := func(s string) device.Instant {
		when, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return device.At(when)
	}
	now := at("2026-03-28T22:30:00Z") // 23:30 at home; the clocks go forward in the night
	tests := map[string]struct {
		text string
		want string // "": an error
	}{
		"RFC 3339":                 {"2026-12-24T18:00:00+01:00", "2026-12-24T17:00:00Z"},
		"a length":                 {"90m", "2026-03-29T00:00:00Z"},
		"days are of 24 hours":     {"1d", "2026-03-29T22:30:00Z"},
		"tomorrow, in summer time": {"tomorrow", "2026-03-29T06:00:00Z"},
		"a date is its midnight":   {"2026-03-30", "2026-03-29T22:00:00Z"},
		"a date of today is over":  {"2026-03-28", ""},
		"now":                      {"2026-03-28T22:30:00Z", ""},
		"nothing":                  {"0s", ""},
		"backwards":                {"-2h", ""},
		"no unit":                  {"2", ""},
		"a word":                   {"soon", ""},
		"no text":                  {"", ""},
		"no such date":             {"2026-02-30", ""},
		"too many days":            {"99999999d", ""},
	}
	for name, test := range tests {
		got, err := ParseUntil(test.text, now, zurich)
		if (err != nil) != (test.want == "") || err == nil && got != at(test.want) {
			t.Errorf("%s: ParseUntil(%q) = %s, %v, want %s", name, test.text, got, err, test.want)
		}
	}
	// The clocks go forward at midnight, or over a whole day.
	for zone, date := range map[string][2]string{"America/Santiago": {"2027-09-05", "2027-09-05T01:00:00-03:00"}, "America/Havana": {"2027-03-14", "2027-03-14T01:00:00-04:00"},
		"Africa/Cairo": {"2027-04-30", "2027-04-30T01:00:00+03:00"}, "Pacific/Apia": {"2011-12-30", "2011-12-31T00:00:00+14:00"}} {
		z, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		want := at(date[1])
		if got, err := ParseUntil(date[0], want.Add(-48*time.Hour), z); err != nil || got != want {
			t.Errorf("%s: ParseUntil(%q) = %s, %v, want %s", zone, date[0], got, err, want)
		}
	}
	santiago, err := time.LoadLocation("America/Santiago")
	if err != nil {
		t.Fatal(err)
	}
	// Tomorrow there is no half past midnight.
	if got, err := ParseUntil("tomorrow", at("2027-09-04T00:30:00-04:00"), santiago); err != nil || got != at("2027-09-05T08:00:00-03:00") {
		t.Errorf("tomorrow = %s, %v", got, err)
	}
	if _, err := ParseUntil("tomorrow", now, nil); err == nil {
		t.Error("tomorrow without a time zone was taken")
	}
}

// A notice that says the same is the same; the list says what has changed.
func TestNotices(t *testing.T) {
	inWorld(t, func(w *world) {
		w.home(device.TV)
		n := consent.Notice{Brand: "grocer", Purposes: []policy.Purpose{policy.Marketing}, Retention: 30, ValidFor: 6}
		for range 2 {
			_, err := w.desk.IssueNotice(w.t.Context(), n)
			w.must(err)
		}
		n.Retention, n.Classes = 7, []device.Class{device.TV}
		_, err := w.desk.IssueNotice(w.t.Context(), n)
		w.must(err)
		all, err := w.desk.Notices(w.t.Context(), "grocer")
		if err != nil || len(all) != 2 || all[0].Newest || !all[1].Newest || !slices.Equal(all[1].Narrowed, []string{"classes", "retention"}) || all[1].Widened != nil {
			t.Errorf("notices: got %s, %v", asJSON(all), err)
		}
		n.Purposes = []policy.Purpose{policy.Research}
		if _, err := w.desk.IssueNotice(w.t.Context(), n); !errors.Is(err, consent.ErrInvalid) {
			t.Errorf("a purpose that is not declared: got %v, want ErrInvalid", err)
		}
		if _, err := w.desk.Notices(w.t.Context(), "nobody"); !errors.Is(err, registry.ErrUnknown) {
			t.Errorf("notices of nobody: got %v, want ErrUnknown", err)
		}
	})
}

// A guardian is one of the child's, and a yes can have an end.
func TestGive(t *testing.T) {
	inWorld(t, func(w *world) {
		w.home(device.TV)
		_, err := w.desk.AddPerson(w.t.Context(), "oak", PersonSpec{Name: "Carla", Age: device.Child, Guardians: []string{"Anna"}})
		w.must(err)
		good := Yes{Person: "Carla", Guardian: "Anna", Brand: "grocer", Purpose: policy.Marketing, Until: "30d"}
		tests := map[string]struct {
			edit func(y *Yes)
			want error
		}{
			"another's guardian":  {func(y *Yes) { y.Guardian = "Ben" }, registry.ErrInvalid},
			"a guardian unknown":  {func(y *Yes) { y.Guardian = "Eve" }, registry.ErrUnknown},
			"somebody unknown":    {func(y *Yes) { y.Person = "Eve" }, registry.ErrUnknown},
			"for the home":        {func(y *Yes) { y.Person = "" }, registry.ErrInvalid},
			"a brand unknown":     {func(y *Yes) { y.Brand = "nobody" }, registry.ErrUnknown},
			"not declared":        {func(y *Yes) { y.Purpose = policy.Research }, consent.ErrInvalid},
			"longer than a year":  {func(y *Yes) { y.Until = "800d" }, consent.ErrInvalid},
			"an end that is over": {func(y *Yes) { y.Until = "1999-01-01" }, nil},
		}
		for name, test := range tests {
			y := good
			test.edit(&y)
			err := w.desk.Give(w.t.Context(), "oak", y)
			var bad Invalid
			if test.want == nil && !errors.As(err, &bad) || test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("%s: got %v, want %v", name, err, test.want)
			}
		}
		w.must(w.desk.Give(w.t.Context(), "oak", good))
		all, err := w.desk.InForce(w.t.Context(), "oak")
		if err != nil || len(all) != 1 || all[0].By != "Anna" || all[0].Person != "Carla" || all[0].Until != w.now().Add(30*24*time.Hour) {
			t.Errorf("in force: got %s, %v", asJSON(all), err)
		}
	})
}

// A guest's device stays the guest's.
func TestChangeDevice(t *testing.T) {
	inWorld(t, func(w *world) {
		all := w.home(device.TV, device.Fridge)
		guest, err := w.desk.AddDevice(w.t.Context(), "oak", DeviceSpec{Class: device.Companion, Until: w.now().Add(time.Hour)})
		w.must(err)
		tests := map[string]struct {
			id   device.ID
			c    DeviceChange
			want error
		}{
			"a guest's owner": {guest.ID, DeviceChange{Owner: new("")}, registry.ErrInvalid},
			"another's name":  {all[device.TV].id, DeviceChange{Name: new("fridge")}, registry.ErrTaken},
			"no name":         {all[device.TV].id, DeviceChange{Name: new("")}, registry.ErrInvalid},
			"owner unknown":   {all[device.TV].id, DeviceChange{Owner: new("Eve")}, registry.ErrUnknown},
			"device unknown":  {"nobody", DeviceChange{Name: new("x")}, registry.ErrUnknown},
		}
		for name, test := range tests {
			before := journalLength(w)
			if _, err := w.desk.ChangeDevice(w.t.Context(), test.id, test.c); !errors.Is(err, test.want) || journalLength(w) != before {
				t.Errorf("%s: got %v, want %v and nothing written", name, err, test.want)
			}
		}
		before := journalLength(w)
		_, err = w.desk.ChangeDevice(w.t.Context(), all[device.TV].id, DeviceChange{Name: new("tv"), Controller: new(true), Room: new(""), Owner: new("")})
		if err != nil || journalLength(w) != before {
			t.Errorf("as it is: %v, and %d facts", err, journalLength(w)-before)
		}
		dev, err := w.desk.ChangeDevice(w.t.Context(), guest.ID, DeviceChange{Name: new("Zoe's phone"), Room: new("hall"), NewRoom: true})
		if err != nil || dev.Name != "Zoe's phone" || dev.Room == 0 || dev.Owner != guest.Owner {
			t.Errorf("a guest's name and room: got %+v, %v", dev, err)
		}
		// A device that may only restrict cannot say yes from then on.
		_, err = w.desk.ChangeDevice(w.t.Context(), all[device.TV].id, DeviceChange{Controller: new(false)})
		w.must(err)
		tv := all[device.TV]
		err = w.desk.Propose(tv.id, tv.up, wire.Proposal{Base: tv.twin.Version, Brands: []wire.BrandChoice{{Brand: "grocer", Purpose: "marketing", Choice: "given"}}})
		if !errors.Is(err, ErrForbidden) {
			t.Errorf("a yes on a TV that may only restrict: got %v, want ErrForbidden", err)
		}
	})
}

// What is forgotten is written down by brand, with the time.
func TestForget(t *testing.T) {
	inWorld(t, func(w *world) {
		w.home(device.TV)
		_, err := w.desk.AddBrand(w.t.Context(), registry.Brand{ID: "other", Name: "Other", Purposes: []string{"service"}})
		w.must(err)
		forgotten := func() (all map[device.BrandID]device.Instant) {
			w.must(w.db.View(w.t.Context(), func(tx *store.Tx) error {
				prefs, err := twin.Preferences(tx, 1)
				if p, ok := prefs[twin.Forgotten]; ok && err == nil {
					err = json.Unmarshal(p.Body, &all)
				}
				return err
			}))
			return all
		}
		w.must(w.desk.Forget(w.t.Context(), "oak", "grocer"))
		first := w.now()
		w.pass(time.Hour)
		w.must(w.desk.Forget(w.t.Context(), "oak", ""))
		if got, want := forgotten(), (map[device.BrandID]device.Instant{"grocer": w.now(), "other": w.now()}); !reflect.DeepEqual(got, want) || first == w.now() {
			t.Errorf("forgotten: got %v, want %v", got, want)
		}
		if err := w.desk.Forget(w.t.Context(), "oak", "nobody"); !errors.Is(err, registry.ErrUnknown) {
			t.Errorf("of nobody: got %v, want ErrUnknown", err)
		}
	})
}

// What is judged is what was set, and nothing of what a new home has.
func TestCapsAreAsSet(t *testing.T) {
	inWorld(t, func(w *world) {
		w.home(device.TV)
		want := []policy.Cap{{Max: 5}, {Max: 7}, {Max: 9, Selector: policy.Selector{Brand: "grocer"}}}
		w.must(w.desk.SetCaps(w.t.Context(), "oak", want))
		w.must(w.desk.in(1, func(h *home) error {
			if !slices.Equal(h.view.Caps, want) {
				t.Errorf("judged by %+v, set %+v", h.view.Caps, want)
			}
			return nil
		}))
	})
}

// Other mutes are replaced, and a snooze stays, until another of the same owner comes, or it is ended.
func TestSnoozeStaysBesideMutes(t *testing.T) {
	inWorld(t, func(w *world) {
		_, _, err := w.desk.AddHome(w.t.Context(), HomeSpec{Name: "oak", Zone: "UTC", People: []PersonSpec{{Name: annaName, Age: device.Adult}}})
		w.must(err)
		snoozes := func() (all []string) {
			p, err := w.desk.Preferences(w.t.Context(), "oak")
			w.must(err)
			for _, m := range p.Mutes {
				if m.Until != "" {
					all = append(all, m.Owner)
				}
			}
			return all
		}
		set := func(mutes ...NamedMute) {
			w.t.Helper()
			w.must(w.desk.SetPreferences(w.t.Context(), "oak", Preferences{Mutes: append([]NamedMute{}, mutes...)}))
		}
		want := func(owners ...string) {
			w.t.Helper()
			if is := snoozes(); !slices.Equal(is, owners) {
				w.t.Errorf("snoozed: %q, want %q", is, owners)
			}
		}
		for _, who := range []string{"", annaName} {
			_, err := w.desk.Snooze(w.t.Context(), "oak", who, "2h")
			w.must(err)
		}
		set(NamedMute{NamedSelector: NamedSelector{Class: device.Fridge}})
		want("", annaName)
		set() // no mute
		want("", annaName)
		set(NamedMute{Until: "3h", Owner: annaName}) // another of hers
		want(annaName, "")
		_, err = w.desk.Snooze(w.t.Context(), "oak", annaName, "")
		w.must(err)
		want("")
	})
}

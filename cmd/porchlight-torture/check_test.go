//go:build linux

package main

import (
	"strings"
	"testing"
	"time"

	"porchlight/device"
	"porchlight/device/wire"
)

func id(n byte) device.MessageID { return device.MessageID{15: n} }

const sec = time.Second

// good is a record in which all promises are kept: in one home two brands have said something, one was told no, a message
// was taken back, and a cap of two in a minute was full.
func good() *record {
	yes := gate{"consent", "grocer"}
	baker := gate{"consent", "baker"}
	d := &diary{
		Name: "oak", Limits: []limit{{Max: 2, Minutes: 1}, {Max: 3}},
		Choices: []*choice{
			{gate: yes, Open: true, Device: "tv01", Sent: 1 * sec, Acked: 2 * sec},
			{gate: baker, Open: true, Device: "tv01", Sent: 2 * sec, Acked: 3 * sec},
			{gate: gate{"mute", "baker"}, Open: false, Device: "tv01", Sent: 30 * sec, Acked: 31 * sec},
			{gate: gate{"mute", "baker"}, Open: true, Device: "tv01", Sent: 60 * sec, Acked: 61 * sec},
			{gate: yes, Open: false, Device: "tv01", Sent: 21 * sec, Acked: 22 * sec, Stopped: 24 * sec},
		},
		Releases: []release{{"tv01", id(1), 5, 10 * sec, false}, {"fr01", id(2), 5, 20 * sec, false}, {"tv01", id(3), 9, 120 * sec, false}},
		Offers:   []offer{{"tv01", 1, id(1), 10 * sec}, {"fr01", 1, id(2), 20 * sec}, {"tv01", 1, id(3), 120 * sec}},
		Hushes:   []hush{{"tv01", 1, 12 * sec, 15 * sec}},
		Shows: []*show{
			{"tv01", id(1), "milk", device.TV, 10 * sec, 11 * sec, "responded"},
			{"fr01", id(2), "cheese", device.Fridge, 20 * sec, 23 * sec, "cancelled"},
			{"tv01", id(3), "bread", device.TV, 120 * sec, 121 * sec, "timed out"},
		},
		Receipts: []receipt{{"tv01", id(1), uint8(wire.Presented), 1, 11 * sec}, {"tv01", id(1), uint8(wire.Responded), 1, 12 * sec}, {"fr01", id(2), uint8(wire.Cancelled), 1, 24 * sec}, {"tv01", id(3), uint8(wire.TimedOut), 1, 122 * sec}},
		Screens:  map[device.ID]map[gate]bool{"tv01": {yes: false, baker: true, {"mute", "baker"}: true}},
	}
	return &record{
		Lease: 4 * sec, Allowance: 2 * sec, Slack: 2 * sec, Start: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), Homes: []*diary{d}, Clock: []setting{{Zone: time.UTC}},
		Brands: []*ledger{
			{Brand: "grocer", Pushes: []*push{{Key: "milk", ID: id(1), Sent: 8 * sec, Acked: 9 * sec, Again: 2}, {Key: "cheese", ID: id(2), Classes: []device.Class{device.Fridge}, Sent: 18 * sec, Acked: 19 * sec}}},
			{Brand: "baker", Pushes: []*push{{Key: "bread", ID: id(3), Sent: 100 * sec, Acked: 101 * sec}, {Key: "cake", ID: id(4), Sent: 130 * sec, Acked: 131 * sec, BackSent: 132 * sec, Back: 133 * sec}, {Key: "nonsense", Refused: 422}}},
		},
		Book: book{
			States:  map[device.MessageID]string{id(1): "accepted", id(2): "expired", id(3): "accepted", id(4): "withdrawn"},
			Listed:  map[device.BrandID][]device.MessageID{"grocer": {id(1), id(2)}, "baker": {id(3), id(4)}},
			Ends:    map[place]end{{id(1), "tv01"}: {true, uint8(wire.Responded)}, {id(2), "fr01"}: {true, uint8(wire.Cancelled)}, {id(3), "tv01"}: {true, uint8(wire.TimedOut)}},
			History: map[string]map[device.BrandID][]string{"oak": {"grocer": {"given", "withdrawn"}, "baker": {"given"}}},
		},
	}
}

// One thing changed in a good record is found, and named.
func TestCheckerFindsEachBrokenPromise(t *testing.T) {
	if found, seen := check(good()); len(found) > 0 || seen["P7 times that a cap was full"] == 0 || seen["P5 screens that a no found with something on them"] == 0 {
		t.Fatalf("the good record: %v; looked at %v", found, seen)
	}
	again := func(r *record, m byte, from moment) *show {
		s := *r.Homes[0].Shows[m-1]
		s.From, s.To = from, from+sec
		r.Homes[0].Shows = append(r.Homes[0].Shows, &s)
		return &s
	}
	more := func(r *record, n byte, at moment) { // one more message of the baker, on the TV
		key := string('a' + rune(n))
		r.Brands[1].Pushes = append(r.Brands[1].Pushes, &push{Key: key, ID: id(n), Sent: at - sec, Acked: at - sec})
		r.Book.States[id(n)], r.Book.Listed["baker"] = "accepted", append(r.Book.Listed["baker"], id(n))
		r.Homes[0].Shows = append(r.Homes[0].Shows, &show{"tv01", id(n), key, device.TV, at, at + sec/2, "responded"})
	}
	tests := map[string]struct {
		edit func(r *record, d *diary)
		want string // of the one violation
	}{
		"P2 nobody sent it":               {func(r *record, d *diary) { d.Shows[0].Message = id(9) }, "P2: a screen shows a message that no brand has sent"},
		"P2 other words":                  {func(r *record, d *diary) { d.Shows[0].Text = "beer" }, `P2: a screen shows "beer"`},
		"P2 not for it":                   {func(r *record, d *diary) { r.Brands[0].Pushes[0].Classes = []device.Class{device.Car} }, "P2: a tv shows a message that is not for it"},
		"P2 released, and nobody sent it": {func(r *record, d *diary) { d.Releases[0].Message = id(9) }, "P2: a message left the gateway that no brand has sent"},
		"P2 nobody ever said yes": {func(r *record, d *diary) {
			d.Choices = d.Choices[1:]
			d.Choices[3].Sent, d.Choices[3].Acked = 200*sec, 201*sec
			r.Book.History["oak"]["grocer"] = nil
			d.Releases = d.Releases[:1]
			d.Screens = nil
		}, "P2: released, and nobody in the home has ever said yes"},
		"P2 while a mute stands": {func(r *record, d *diary) { d.Releases[2].At = 40 * sec }, "P2: released 9s after the mute was acknowledged"},
		"P2 while an alarm is on": {func(r *record, d *diary) {
			d.Choices = append(d.Choices, &choice{gate: gate{"alarm", ""}, Sent: 110 * sec, Acked: 111 * sec})
		}, "P2: released 9s after the alarm was acknowledged"},
		"P2 not to be disturbed":       {func(r *record, d *diary) { d.Hushes[0].From = 9 * sec }, "P2: handed over 1s after do-not-disturb was acknowledged"},
		"P5 released after stopping":   {func(r *record, d *diary) { d.Releases = append(d.Releases, release{"tv01", id(1), 5, 30 * sec, false}) }, "P5: released 8s after the no was acknowledged"},
		"P5 on a screen after stopped": {func(r *record, d *diary) { d.Shows[1].To = 25 * sec }, "P5: on the screen for 1s after stopped was told"},
		"P5 on a screen for too long":  {func(r *record, d *diary) { d.Choices[4].Stopped, d.Shows[1].To = 0, 29*sec }, "P5: on the screen for 7s after the no was acknowledged"},
		"P5 released after it was taken back": {func(r *record, d *diary) {
			p := r.Brands[1].Pushes[0]
			p.BackSent, p.Back = 109*sec, 110*sec
			r.Book.States[id(3)] = "withdrawn"
			d.Shows = d.Shows[:2]
		}, "P5: released 10s after its brand was told that it is withdrawn"},
		"P5 on a screen, taken back": {func(r *record, d *diary) {
			p := r.Brands[1].Pushes[0]
			p.BackSent, p.Back = 120*sec, 121*sec
			r.Book.States[id(3)], d.Shows[2].To = "withdrawn", 130*sec
		}, "P5: on the screen until 9s after its brand was told"},
		"P6 shown again":                        {func(r *record, d *diary) { again(r, 3, 200*sec) }, "P6: shown again, 1m20s after it was shown on tv01"},
		"P6 shown again elsewhere":              {func(r *record, d *diary) { again(r, 3, 200*sec).Device = "fr01" }, "P6: shown again"},
		"P6 another ID for a key":               {func(r *record, d *diary) { r.Brands[0].Pushes[0].Other = []device.MessageID{id(7)} }, "P6: milk: the same key was answered with"},
		"P6 taken for new":                      {func(r *record, d *diary) { r.Brands[0].Pushes[0].New = true }, "P6: milk: it was acknowledged, and sent again it was taken for new"},
		"P6 one ID for two keys":                {func(r *record, d *diary) { r.Brands[1].Pushes[2] = &push{Key: "pie", ID: id(3), Acked: sec} }, "P6: pie: it has the same ID as bread"},
		"P6 listed twice":                       {func(r *record, d *diary) { r.Book.Listed["baker"] = append(r.Book.Listed["baker"], id(3)) }, "P6: the gateway lists it twice"},
		"P6 listed, and nobody sent it":         {func(r *record, d *diary) { r.Book.Listed["baker"] = append(r.Book.Listed["baker"], id(9)) }, "P6: the gateway lists a message that the brand does not know"},
		"P6 withdrawn by nobody":                {func(r *record, d *diary) { r.Book.States[id(3)] = "withdrawn" }, "P6: bread: nobody has taken it back"},
		"P6 a choice twice":                     {func(r *record, d *diary) { r.Book.History["oak"]["baker"] = []string{"given", "given"} }, "P6: 1 to 1 choices were made, and the home's ledger has 2"},
		"P6 a choice lost from the ledger":      {func(r *record, d *diary) { r.Book.History["oak"]["grocer"] = []string{"given"} }, "P6: 2 to 2 choices were made, and the home's ledger has 1"},
		"P7 one more in a minute":               {func(r *record, d *diary) { more(r, 8, 15*sec) }, "P7: shown as number 3, and the cap is 2 in 1 min"},
		"P7 one more on a day":                  {func(r *record, d *diary) { d.Limits = d.Limits[1:]; more(r, 8, 200*sec) }, "P7: shown as number 4, and the cap is 3 a day"},
		"P7 one more of a brand":                {func(r *record, d *diary) { d.Limits = []limit{{Each: true, Max: 1, Minutes: 3}}; more(r, 8, 200*sec) }, "P7: shown as number 2, and the cap is 1 of each brand in 3 min"},
		"P8 a message is lost":                  {func(r *record, d *diary) { delete(r.Book.States, id(3)) }, "P8: bread: it was acknowledged and is not known"},
		"P8 a PUBACK without a message":         {func(r *record, d *diary) { r.Brands[1].Pushes[2] = &push{Key: "pie", Acked: sec, Taken: true} }, "P8: pie: it was acknowledged, and nobody says which message it is"},
		"P8 a withdrawal is lost":               {func(r *record, d *diary) { r.Book.States[id(4)] = "accepted" }, "P8: cake: its withdrawal was acknowledged, and it is accepted"},
		"P8 a receipt is lost":                  {func(r *record, d *diary) { delete(r.Book.Ends, place{id(3), "tv01"}) }, "P8: a receipt (5) was acknowledged, and the book has nothing"},
		"P8 presented is lost":                  {func(r *record, d *diary) { d.Receipts = d.Receipts[:1]; r.Book.Ends[place{id(1), "tv01"}] = end{} }, "P8: presented was acknowledged"},
		"P8 what somebody did is another thing": {func(r *record, d *diary) { r.Book.Ends[place{id(1), "tv01"}] = end{true, uint8(wire.Cancelled)} }, "P8: the end of a message (3) was acknowledged, and the book has 8"},
		"P8 a choice is lost":                   {func(r *record, d *diary) { d.Screens["tv01"][gate{"consent", "grocer"}] = true }, "P8: the consent was acknowledged with open=false, and the screen says true"},
		"P8 a mute is lost":                     {func(r *record, d *diary) { d.Screens["tv01"][gate{"mute", "baker"}] = false }, "P8: the mute was acknowledged with open=true, and the screen says false"},
		"P8 the tables differ":                  {func(r *record, d *diary) { r.Book.Damage = []string{"home 1"} }, "P8: the gateway's tables and its journal differ: home 1"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := good()
			tt.edit(r, r.Homes[0])
			found, _ := check(r)
			for _, v := range found {
				if strings.HasPrefix(v.String(), tt.want) {
					if len(evidence(r, v)) == 0 && v.Message != (device.MessageID{}) && v.Home != "" {
						t.Errorf("there is no evidence of %s", v)
					}
					return
				}
			}
			t.Errorf("got %v, want %q", found, tt.want)
		})
	}
}

// What looks like a broken promise and is none is not found.
func TestCheckerIsFair(t *testing.T) {
	tests := map[string]func(r *record, d *diary){
		"a yes that is not acknowledged may count": func(r *record, d *diary) {
			d.Choices = append(d.Choices, &choice{gate: gate{"consent", "grocer"}, Open: true, Sent: 150 * sec})
			d.Releases = append(d.Releases, release{"tv01", id(1), 5, 160 * sec, false})
			d.Screens["tv01"][gate{"consent", "grocer"}] = true
			r.Book.History["oak"]["grocer"] = []string{"given", "withdrawn", "given"}
		},
		"a no that is not acknowledged need not count": func(r *record, d *diary) {
			d.Choices = append(d.Choices, &choice{gate: gate{"consent", "baker"}, Sent: 5 * sec})
			d.Screens["tv01"][gate{"consent", "baker"}] = false
		},
		"shown after another yes": func(r *record, d *diary) {
			d.Choices = append(d.Choices, &choice{gate: gate{"consent", "grocer"}, Open: true, Sent: 25 * sec, Acked: 26 * sec})
			d.Shows[1].From, d.Shows[1].To, d.Releases[1].At = 27*sec, 40*sec, 27*sec
			d.Screens["tv01"][gate{"consent", "grocer"}] = true
			r.Book.History["oak"]["grocer"] = []string{"given", "withdrawn", "given"}
		},
		"it was on its way":       func(r *record, d *diary) { d.Releases = append(d.Releases, release{"tv01", id(1), 5, 23 * sec, false}) },
		"the network did not see": func(r *record, d *diary) { d.Releases = append(d.Releases, release{"tv01", id(1), 5, 30 * sec, true}) },
		"a new day": func(r *record, d *diary) {
			d.Limits = []limit{{Max: 2}}
			r.Clock = append(r.Clock, setting{60 * sec, 24 * time.Hour, time.UTC})
		},
		"another zone has another day": func(r *record, d *diary) {
			r.Start = time.Date(2026, 11, 22, 23, 59, 0, 0, time.UTC)
			d.Limits = []limit{{Max: 2}}
		},
		"shown while the clock was being set": func(r *record, d *diary) {
			d.Limits = []limit{{Max: 2}}
			r.Clock = append(r.Clock, setting{118 * sec, 0, time.UTC})
		},
		"one of three was": func(r *record, d *diary) {
			d.Limits = []limit{{Max: 2}}
			r.Clock = append(r.Clock, setting{9 * sec, 0, time.UTC})
		},
		"nonsense may be a yes": func(r *record, d *diary) { d.Odd, d.Choices = true, nil },
	}
	for name, edit := range tests {
		t.Run(name, func(t *testing.T) {
			r := good()
			edit(r, r.Homes[0])
			if found, _ := check(r); len(found) > 0 {
				t.Errorf("got %v", found)
			}
		})
	}
}

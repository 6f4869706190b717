package consent_test

import (
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"pgregory.net/rapid"

	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/policy"
	. "porchlight/policy/consent"
)

// P1 and P6: whatever is said, asked, answered, issued and repeated, in any order, under a clock that
// also goes back: a yes is in force only if the last word in the ledger about its key is a yes whose
// end has not come, that its speaker may give, that was drawn fairly if it was asked for, and that
// no notice since has narrowed away. And what arrives again changes nothing.
func TestOnlyAYesThatWasSaidIsInForce(t *testing.T) {
	if f := flag.Lookup("rapid.seed"); os.Getenv("PORCHLIGHT_LONG") == "" && f.Value.String() == f.DefValue {
		_ = f.Value.Set("20261122") // the same histories every time; check-long looks for others
		defer func() { _ = f.Value.Set(f.DefValue) }()
	}
	h := openHouse(t)
	n, inForce, asked := 0, 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		var home device.HomeID
		brand := device.BrandID(fmt.Sprintf("brand-%d", n))
		h.do(func(tx *store.Tx) (err error) {
			if home, err = addHome(tx, fmt.Sprintf("home-%d", n)); err != nil {
				return err
			}
			return registry.AddBrand(tx, registry.Brand{ID: brand, Name: string(brand), Purposes: []string{"marketing", "personalised"}, Quota: 1}, registry.NewKey())
		})
		devices := []device.ID{"tv-", "wall-", "anna-", "ben-", "carl-", "gus-"}
		for i := range devices {
			devices[i] += device.ID(fmt.Sprintf("home-%d", n))
		}
		purposes := []policy.Purpose{policy.Marketing, policy.Personalised}
		person := rapid.SampledFrom([]device.PersonID{0, anna, ben, carl, dora, gus, tess, 9})
		var asks []Ask
		unfair := map[device.MessageID]bool{} // something drawn of the ask was, or nothing was drawn
		do := func(f func(tx *store.Tx) error) error {
			h.wait(time.Duration(rapid.Int64Range(1, 1000).Draw(rt, "ms")) * time.Millisecond)
			return h.try(f)
		}
		count := func() (c int) {
			h.see(func(tx *store.Tx) error { all, err := History(tx, home); c = len(all); return err })
			return c
		}
		twice := func(f func(tx *store.Tx) error) {
			if do(f) != nil {
				return
			}
			before := count()
			if err := do(f); err == nil && count() != before {
				rt.Fatalf("the same again is news")
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"say": func(rt *rapid.T) {
				e := Entry{Home: home, Subject: person.Draw(rt, "subject"), By: person.Draw(rt, "by"), Brand: brand, Purpose: rapid.SampledFrom(purposes).Draw(rt, "purpose"),
					Choice: rapid.SampledFrom([]policy.Choice{policy.Given, policy.Given, policy.Refused, policy.Withdrawn}).Draw(rt, "choice"), Method: "settings"}
				twice(func(tx *store.Tx) error { _, err := Record(tx, e); return err })
			},
			"ask": func(rt *rapid.T) {
				q := Question{home, person.Draw(rt, "subject"), brand, rapid.SampledFrom(purposes).Draw(rt, "purpose")}
				on := rapid.SampledFrom(devices).Draw(rt, "on")
				do(func(tx *store.Tx) error {
					a, err := Request(tx, q, on, time.Second, Budget{Home: 1, Brand: 1, Refusal: 1, Renewal: 1e18})
					if err == nil {
						asks = append(asks, a)
						unfair[a.ID] = true
					}
					return err
				})
			},
			"draw": func(rt *rapid.T) {
				if len(asks) == 0 {
					return
				}
				a, drawn := rapid.SampledFrom(asks).Draw(rt, "ask"), fair()
				var is Ask
				h.see(func(tx *store.Tx) (err error) { is, err = Asked(tx, home, a.ID); return err })
				if i := rapid.IntRange(0, 5).Draw(rt, "larger"); i < len(drawn) {
					drawn[i].Area += uint(rapid.IntRange(0, 1).Draw(rt, "by"))
				}
				easier := drawn[2].Area > drawn[1].Area
				twice(func(tx *store.Tx) error {
					return Served(tx, home, Serving{Ask: a.ID, Device: a.Device, Controls: drawn})
				})
				if is.State == Requested {
					unfair[a.ID] = easier || is.Drawn != 0 && unfair[a.ID]
				}
			},
			"answer": func(rt *rapid.T) {
				if len(asks) == 0 {
					return
				}
				a := rapid.SampledFrom(asks).Draw(rt, "ask")
				r := Reply{Ask: a.ID, Device: a.Device, Say: rapid.SampledFrom([]Control{Yes, Yes, No, 0}).Draw(rt, "say"), Why: ByTimeout, Person: person.Draw(rt, "person")}
				twice(func(tx *store.Tx) error { _, err := Answer(tx, home, r); return err })
			},
			"issue": func(rt *rapid.T) {
				some := purposes[:rapid.IntRange(1, 2).Draw(rt, "purposes")]
				var classes []device.Class
				if rapid.Bool().Draw(rt, "bounded") {
					classes = []device.Class{device.TV, device.Class(rapid.IntRange(1, 11).Draw(rt, "class"))}
				}
				twice(func(tx *store.Tx) error {
					_, err := Issue(tx, Notice{Brand: brand, Purposes: some, Classes: classes, ValidFor: 1})
					return err
				})
			},
			"wait": func(rt *rapid.T) { h.wait(time.Duration(rapid.IntRange(-24, 24*40).Draw(rt, "hours")) * time.Hour) },
			"expire": func(rt *rapid.T) {
				twice(func(tx *store.Tx) error { _, err := Expire(tx, home, h.now); return err })
			},
			"": func(rt *rapid.T) {
				h.see(func(tx *store.Tx) error {
					stances, err := Of(tx, home)
					if err != nil {
						return err
					}
					all, err := History(tx, home)
					if err != nil {
						return err
					}
					notices, err := Notices(tx, brand)
					if err != nil {
						return err
					}
					// The slow way: read the whole ledger for each key.
					for _, subject := range []device.PersonID{0, anna, ben, carl, dora, gus, tess} {
						for _, p := range purposes {
							k := policy.ConsentKey{Subject: subject, Brand: brand, Purpose: p}
							var last *Entry
							for i, e := range all {
								if e.Key() == k && (e.Choice != policy.Silent || e.State == Expired) {
									last = &all[i]
								}
							}
							want := last != nil && last.Choice == policy.Given
							if want {
								want = !unfair[last.Served] || last.Served == device.MessageID{}
								inForce++
								if last.Served != (device.MessageID{}) {
									asked++
								}
								who := last.By
								if who == 0 {
									who = subject
								}
								want = want && who != ben && who != dora && (subject != 0 || who != gus) && (subject == 0 || who == subject || who == anna && (subject == ben || subject == dora || subject == tess))
								if !want {
									rt.Fatalf("%+v should never have been written", *last)
								}
								seen := false
								for _, notice := range notices {
									if seen = seen || notice.Hash() == last.Notice; seen && p == policy.Personalised && len(notice.Purposes) == 1 {
										want = false
									}
								}
							}
							got := stances[k]
							if (got.Choice == policy.Given) != want {
								rt.Fatalf("%+v: in force %+v, want a yes %t; last %+v", k, got, want, last)
							}
							if want && (got.Until != last.Until || got.Until == 0) {
								rt.Fatalf("%+v ends %s, want %s", k, got.Until, last.Until)
							}
							if last != nil && (last.Choice == policy.Refused || last.Choice == policy.Withdrawn) && got.Choice != last.Choice {
								rt.Fatalf("%+v: a no is %s", k, got.Choice)
							}
						}
					}
					return nil
				})
			},
		})
	})
	t.Logf("%d yeses, %d of them came of an ask", inForce, asked)
	if inForce == 0 || asked == 0 {
		t.Errorf("of %d yeses %d came of an ask: nothing was tested", inForce, asked)
	}
}

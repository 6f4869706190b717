package main

import (
	"regexp"
	"testing"
	"time"

	"porchlight/firmware-sim/sim"
)

// TestContext: what a car tells over the wire is what an operator reads.
func TestContext(t *testing.T) {
	w := open(t)
	car := w.moveIn(`
name: oak
zone: Europe/Zurich
devices:
  - {name: Estate, class: car, can: {inputs: [touch], forms: [list], buttons: 2, languages: [en], holds: 1}}
`, func(sim.Event) {})["Estate"]
	reads := func(want ...string) {
		t.Helper()
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			got, missing := w.command("context", "--home", "oak", "--device", "Estate", "--history"), ""
			for _, s := range want {
				if !regexp.MustCompile("(?m)" + s).MatchString(got) {
					missing = s
				}
			}
			if missing == "" {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("no line is like %s:\n%s", missing, got)
			}
		}
	}
	const at = `20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d\d\dZ$`
	reads(`^\S+ +ux\.driving +parked +[0-9.]+m?s +5s +fresh +`+at,
		`^\S+ +Vehicle\.Powertrain\.Transmission\.SelectedGear +126 +[0-9.]+m?s +5s +fresh +`+at,
		`^\S+ +Vehicle\.LowVoltageSystemState +ACC `,
		`^\S+ +power\.state +on +[0-9.]+m?s +10m +fresh +`+at,
		`^20\S+Z +\S+ +ux\.driving +parked$`)
	if err := car.Do("drive"); err != nil {
		t.Fatal(err)
	}
	reads(`^\S+ +ux\.driving +moving `, `^\S+ +Vehicle\.LowVoltageSystemState +ON `, `^\S+ +\(trip\) +- +- +- +- +`+at,
		`^20\S+Z +\S+ +ux\.driving +moving$`, `^20\S+Z +\S+ +Vehicle\.LowVoltageSystemState +ON$`)
	if err := car.Do("lose the sensors"); err != nil {
		t.Fatal(err)
	}
	reads(`^\S+ +Vehicle\.Speed +- +[0-9.]+m?s +5s +unknown +`+at, `^\S+ +ux\.driving +unknown +[0-9.]+m?s +5s +fresh`, `^20\S+Z +\S+ +Vehicle\.Speed +-$`)
}

func TestToldValue(t *testing.T) {
	for v, want := range map[any]string{nil: "-", "-": `"-"`, "": `""`, true: "true", 4.5: "4.5", "playing": "playing", "Film Club": `"Film Club"`, "\x1b[31m": `"\x1b[31m"`, "a\tb": `"a\tb"`} {
		if got := toldValue(v); got != want {
			t.Errorf("%q is printed as %s, want %s", v, got, want)
		}
	}
	for ms, want := range map[int64]string{5000: "5s", 60_000: "1m", 600_000: "10m", 90_000: "1m30s"} {
		if got := short(ms); got != want {
			t.Errorf("%d ms is printed as %s, want %s", ms, got, want)
		}
	}
}

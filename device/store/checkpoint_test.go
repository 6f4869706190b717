package store

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"porchlight/device"
)

// The write-ahead log begins anew again and again, without a commit that moves its pages itself.
func TestLogBeginsAnew(t *testing.T) {
	db := open(t, file(t), Options{})
	name := strings.Repeat("long ", 20000)
	left := func() (n int64) {
		if err := db.alone(func() (err error) { n, err = db.w.logged("NOOP"); return err }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	pages, before, begun := int64(0), int64(0), 0
	for home := 1; pages < 4*longLog; home++ {
		if err := db.Update(func(tx *Tx) error {
			_, err := tx.Append(device.HomeID(home), 0, "home.added", homeAdded{fmt.Sprint(home, name), "UTC"})
			return err
		}); err != nil {
			t.Fatal(err)
		}
		now := left()
		if now < before {
			begun++
			before = 0
		}
		pages += now - before
		before = now
		for began := time.Now(); now >= 2*longLog; before = now { // it is being moved
			if now = left(); time.Since(began) > time.Minute {
				t.Fatalf("%d pages of the log are not moved", now)
			}
		}
	}
	if begun == 0 {
		t.Errorf("%d pages were written, and the log never began anew", pages)
	}
	if s := db.Stats(); s.WALBytes > 3*longLog*4120 {
		t.Errorf("the log has %d bytes", s.WALBytes)
	}
}

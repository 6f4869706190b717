package authority

import (
	"testing"
	"time"
)

// A machine without a battery starts for the first time in 1970, or in 2040, and its clock is set right a minute later:
// the authority that it made is good all the same.
func TestFirstStartWithAWrongClock(t *testing.T) {
	for name, when := range map[string]time.Time{"1970": time.Unix(30, 0), "2040": time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC)} {
		t.Run(name, func(t *testing.T) {
			dir, c := t.TempDir(), at(when)
			a, err := Open(dir, nil, c.now)
			if err != nil {
				t.Fatal(err)
			}
			c.set(start)
			chain, err := a.server()
			if err != nil {
				t.Fatal(err)
			}
			if ca := a.line().newest.cert; start.Before(ca.NotBefore) || start.After(ca.NotAfter) {
				t.Errorf("every client refuses the CA: it is good from %s to %s", ca.NotBefore, ca.NotAfter)
			}
			if l := chain.Leaf; start.Before(l.NotBefore) || start.After(l.NotAfter) {
				t.Errorf("and the listener's: %s to %s", l.NotBefore, l.NotAfter)
			}
			if _, err := Open(dir, nil, c.now); err != nil {
				t.Errorf("and does not start again: %v", err)
			}
		})
	}
}

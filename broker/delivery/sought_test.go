package delivery

import (
	"database/sql"
	"errors"
	"fmt"
	"testing"
	"time"

	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/device/wire"
	"porchlight/policy"
)

// A device that has acknowledged a message and takes its time to show it is kept by beacons, a third of its lease apart;
// so it is when it is handed the message again because it had lost it.
func TestBeaconsFollowAnAcknowledgement(t *testing.T) {
	for name, silent := range map[string]bool{"silent": true, "queues": false} {
		for again, lost := range map[string]bool{"first": false, "again": true} {
			t.Run(name+" "+again, func(t *testing.T) {
				inWorld(t, func(w *world) {
					tv := w.home(device.TV)[device.TV]
					w.choose(policy.Given)
					w.pass(4 * time.Second)
					tv.mu.Lock()
					tv.mute, tv.lazy, tv.leases = silent, true, map[device.MessageID]time.Time{}
					tv.mu.Unlock()
					id := w.push(nil)
					if lost {
						tv.disconnect()
						w.pass(time.Second)
						tv.mu.Lock()
						tv.waiting = nil // it has started again
						tv.mu.Unlock()
						tv.connect()
						w.pass(3 * time.Second)
					}
					tv.mu.Lock()
					if len(tv.waiting) != 1 || tv.waiting[0] != id {
						t.Fatalf("not handed over: %v %v", tv.waiting, tv.got)
					}
					if tv.leases[id].IsZero() {
						tv.keep(id)
					}
					tv.mu.Unlock()
					for i := range 60 {
						w.pass(500 * time.Millisecond)
						tv.mu.Lock()
						end := tv.leases[id]
						tv.mu.Unlock()
						if left := time.Until(end); left <= 0 {
							t.Fatalf("after %d ms the lease was over %v ago, and no beacon came", (i+1)*500, -left)
						}
					}
				})
			})
		}
	}
}

// One entry of a home's book that cannot be opened, that of a claim which is open, must not silence a no.
func TestNoIsTakenThoughAClaimCannotBeRead(t *testing.T) {
	inWorld(t, func(w *world) {
		tv := w.home(device.TV)[device.TV]
		w.choose(policy.Given)
		id := w.push(nil)
		tv.mustShow(id)
		w.end()
		w.wait()
		db, err := sql.Open("sqlite3", w.path)
		w.must(err)
		var body []byte
		w.must(db.QueryRow(`SELECT body FROM journal WHERE kind = 'delivery.claimed'`).Scan(&body))
		_, err = db.Exec(`UPDATE journal SET body = zeroblob(length(body)) WHERE kind = 'delivery.claimed'`)
		w.must(err)
		w.must(db.Close())
		w.start()
		tv.mu.Lock()
		tv.on, tv.waiting = nil, nil
		tv.mu.Unlock()
		err = w.desk.Choose(w.t.Context(), "oak", "", w.brand.ID, policy.Marketing, policy.Withdrawn)
		w.pass(20 * time.Second)
		if err != nil {
			t.Errorf("a no is not taken: %v", err)
		}
		w.end()
		if db, err = sql.Open("sqlite3", w.path); err == nil { // as it was: what follows compares tables and journal
			_, err = db.Exec(`UPDATE journal SET body = ? WHERE kind = 'delivery.claimed'`, body)
			err = errors.Join(err, db.Close())
		}
		w.must(err)
	})
}

// What is not a field, or not an array, is refused, whatever Go's decoder makes of it.
func TestDecoderTakesMoreThanJSONSays(t *testing.T) {
	for name, more := range map[string]string{
		"classes is a word":             `"classes":"oven"`,
		"classes is base64":             `"classes":"AQ=="`,
		"forms is base64":               `"forms":"AQ=="`,
		"forms is empty text":           `"forms":""`,
		"classes in other letters":      `"cla\u017f\u017fes":["tv"]`,
		"classes twice, in two letters": `"classes":["tv"],"cla\u017f\u017fes":["fridge"]`,
		"texts in other letters":        `"text\u017f":[{"language":"en","body":"Something else."}]`,
	} {
		raw := fmt.Sprintf(`{"purpose":"marketing","category":"groceries","texts":[{"language":"en","body":"Milk."}],"not_after":"2030-01-01T00:00:00Z",%s}`, more)
		s, err := ParseSubmission([]byte(raw))
		var bad Invalid
		if !errors.As(err, &bad) {
			t.Errorf("%s: %s is taken for classes %v, forms %v, texts %v: %v", name, more, s.Classes, s.Forms, s.Texts, err)
		}
	}
}

// besideAFailure does something in one commit with somebody else's unit that fails half way, which is no reason to fail.
func (w *world) besideAFailure(do func() error) {
	w.t.Helper()
	busy, release := make(chan struct{}), make(chan struct{})
	go w.db.Update(func(*store.Tx) error { close(busy); <-release; return nil })
	<-busy // the writer has something to do, and two units come to wait
	good, bad := make(chan error), make(chan error)
	go func() { good <- do() }()
	w.wait()
	go func() { // an operator's mistake: two people of one name
		_, _, err := w.desk.AddHome(w.t.Context(), HomeSpec{Name: "elm", Zone: "Europe/Zurich", People: []PersonSpec{{Name: "Eva", Age: device.Adult}, {Name: "Eva", Age: device.Adult}}})
		bad <- err
	}()
	w.wait()
	close(release)
	if err := <-good; err != nil {
		w.t.Fatalf("it fails because of somebody else's mistake: %v", err)
	}
	if err := <-bad; !errors.Is(err, registry.ErrTaken) {
		w.t.Fatalf("the other unit: %v, want ErrTaken", err)
	}
}

// A guardian is erased while another unit of the same commit fails half way.
func TestGuardianIsErasedBesideAUnitThatFails(t *testing.T) {
	inWorld(t, func(w *world) {
		_, _, err := w.desk.AddHome(w.t.Context(), HomeSpec{Name: "oak", Zone: "Europe/Zurich", People: []PersonSpec{
			{Name: "Anna", Age: device.Adult}, {Name: "Ben", Age: device.Adult}, {Name: "Kim", Age: device.Child, Guardians: []string{"Anna", "Ben"}}}})
		w.must(err)
		w.wait()
		w.besideAFailure(func() error {
			_, err := w.desk.Erase(w.t.Context(), Erasure{Home: "oak", Person: "Anna"})
			return err
		})
		people, err := w.desk.People(w.t.Context(), "oak")
		w.must(err)
		for _, p := range people {
			if p.Name == "Anna" {
				t.Errorf("she is still there")
			}
			if p.Name == "Kim" && len(p.Guardians) != 1 {
				t.Errorf("the guardians of the child are %v, want Ben alone", p.Guardians)
			}
		}
	})
}

// A guest is let in while another unit of the same commit fails half way.
func TestGuestBesideAUnitThatFails(t *testing.T) {
	inEntrance(t, func(w *world) {
		w.home(device.Fridge)
		w.must(w.desk.OpenWindow(w.t.Context(), "oak"))
		s := w.stranger(wire.ByCode, "")
		w.must(s.ask(""))
		w.besideAFailure(func() error {
			_, err := w.desk.LetIn(w.t.Context(), "oak", s.id, s.binding.Code(), "", Admission{Until: w.now().Add(3600e9), Name: "Visitor"})
			return err
		})
		people, err := w.desk.People(w.t.Context(), "oak")
		w.must(err)
		if len(people) != 3 {
			t.Errorf("%d people, want Anna, Ben and the guest", len(people))
		}
	})
}

// A home that is never read again does not keep for ever what does not count any more.
func TestWhatIsLongAgoLeavesMemory(t *testing.T) {
	inWorld(t, func(w *world) {
		tv := w.home(device.TV)[device.TV]
		w.choose(policy.Given)
		for range 4 {
			id := w.push(nil)
			tv.mustShow(id)
			tv.ends(id, wire.Event{Kind: wire.TimedOut})
			w.wait()
			w.jump.Add((40 * 24 * time.Hour).Milliseconds())
			w.pass(3 * time.Second)
			tv.tell(calm[device.TV])
		}
		w.must(w.desk.in(1, func(h *home) error {
			if len(h.view.Shown) > 1 || len(h.deeds) > 3 {
				t.Errorf("%d that were shown, and %d that were done, are remembered", len(h.view.Shown), len(h.deeds))
			}
			return nil
		}))
	})
}

package store

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"
	"time"

	"porchlight/device"
	"porchlight/device/ledger"
)

// crowd writes many rows in no order, so that SQLite moves rows from page to page: what anna, ben and the home say is among them.
func crowd(t testing.TB, db *DB, home device.HomeID) {
	t.Helper()
	furnish(t, db, home)
	for round := range 4 {
		var facts []any
		for i := range 200 {
			n := (i*7919 + round) % 200
			who := []device.PersonID{0, anna, ben}[n%3]
			facts = append(facts, note{Person: who, Name: fmt.Sprintf("n%03d", n),
				Text: fmt.Sprintf("crowd of %d, round %d, %d: %s", who, round, n, strings.Repeat(string(rune('a'+n%26)), (n*37+round*101)%900))})
		}
		write(t, db, home, "device tv-1 192.168.1.7", facts...)
	}
	// Larger than a page, and then small again: the pages in between are free.
	write(t, db, home, "", note{Person: anna, Name: "n001", Text: "large " + strings.Repeat("of anna ", 3000)})
	write(t, db, home, "", note{Person: anna, Name: "n001", Text: "small of anna"})
}

// traces are bytes that must not be found in the files once the events are erased that match.
func traces(t testing.TB, db *DB, home device.HomeID, match func(Event) bool) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	numbers := map[string]bool{}
	for _, e := range pages(t, db, home) {
		if !match(e) {
			continue
		}
		at := fmt.Sprintf("%s %d", e.Kind, e.Pos)
		all["salt of "+at] = e.Entry.Salt
		if n := len(e.Entry.Sealed); n >= 64 {
			all["start of the sealed "+at], all["end of the sealed "+at] = e.Entry.Sealed[:32], e.Entry.Sealed[n-32:]
		} else {
			all["sealed "+at] = e.Entry.Sealed
		}
		numbers[e.Entry.Subject.String()] = true
	}
	for _, k := range secrets(t, db.path) {
		if numbers[k.pseudonym.String()] && k.whose.subject != 0 {
			all[fmt.Sprint("secret of ", k.whose)], all[fmt.Sprint("pseudonym of ", k.whose)] = k.secret[:], k.pseudonym[:]
		}
	}
	return all
}

// clean fails if the files have one of traces, or a key is in a file of its own.
func clean(t testing.TB, path string, traces map[string][]byte) {
	t.Helper()
	found := 0
	for _, suffix := range []string{"", "-wal", "-shm", ".keys", ".keys-journal", ".keys-wal"} {
		b, err := os.ReadFile(path + suffix)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for what, trace := range traces {
			if i := bytes.Index(b, trace); i >= 0 {
				if found++; found < 10 {
					t.Errorf("%q has the %s at %d", suffix, what, i)
				}
			}
		}
		if suffix == "-wal" && len(b) > 0 {
			t.Errorf("the log has %d bytes", len(b))
		}
	}
	if found >= 10 {
		t.Errorf("%d traces", found)
	}
}

// mentions are what is said in plain about a person, or by the home.
func mentions(who ...string) map[string][]byte {
	all := map[string][]byte{}
	for _, w := range who {
		all["words "+w] = []byte(w)
	}
	return all
}

func join(all ...map[string][]byte) map[string][]byte {
	out := map[string][]byte{}
	for _, m := range all {
		for k, v := range m {
			out[k] = v
		}
	}
	return out
}

func about(p device.PersonID) func(Event) bool { return func(e Event) bool { return e.Subject == p } }

func TestErase(t *testing.T) {
	ctx := context.Background()
	path := file(t)
	db := house(t, path)
	crowd(t, db, 1)
	furnish(t, db, 2)
	write(t, db, device.Gateway, "", brandAdded{"grocer", "Grocer"})
	before, err := db.Head(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	others := rows(t, db, 2)
	was := pages(t, db, 1)
	annas := traces(t, db, 1, about(anna))
	if len(annas) < 500 {
		t.Fatalf("only %d traces to look for", len(annas))
	}
	n, err := db.Erase(ctx, "operator mona", 1, nil, []device.PersonID{anna}, "asked for")
	if err != nil {
		t.Fatal(err)
	}
	clean(t, path, join(annas, mentions("Anna Marker in home 1.", "marker of anna in home 1.", "crowd of 1,", "of anna of anna", "small of anna")))

	// The book: what was anna's is blank, everything else is as it was, and the last entry says so.
	now := pages(t, db, 1)
	if len(now) != len(was)+1 {
		t.Fatalf("%d events, want %d", len(now), len(was)+1)
	}
	var positions []int64
	for i, e := range was {
		if e.Subject == anna {
			positions = append(positions, e.Pos)
			e = Event{Seq: e.Seq, Home: 1, Pos: e.Pos, At: e.At, Kind: e.Kind, Erased: true,
				Entry: ledger.Entry{Pos: e.Pos, At: e.At, Kind: e.Kind, Erased: true, Leaf: e.Entry.Leaf}}
		}
		if !reflect.DeepEqual(now[i], e) {
			t.Errorf("event = %+v\nwant %+v", now[i], e)
		}
	}
	last := now[len(was)]
	err = With(last, func(e Erasure) error {
		if !reflect.DeepEqual(e, Erasure{positions, "asked for"}) || n != len(positions) {
			t.Errorf("%d erased: %+v, want %d", n, e, positions)
		}
		return nil
	})
	if err != nil || last.Kind != KindErased || last.Actor != "operator mona" || last.Subject != 0 {
		t.Errorf("last event = %+v, %v", last, err)
	}
	for e, err := range read(t, db, Filter{}) {
		if err != nil || e.Erased != (e.Home == 1 && len(positions) > 0 && contains(positions, e.Pos)) {
			t.Errorf("Journal has %+v, %v", e, err)
		}
	}

	err = db.View(ctx, func(tx *Tx) error {
		var blank, rest int
		err := tx.QueryRow("SELECT count(*), count(*) FILTER (WHERE actor <> '' OR subject <> 0 OR key <> 0 OR length(body) > 0) FROM journal WHERE home = 1 AND salt IS NULL").Scan(&blank, &rest)
		if blank != n || rest > 0 {
			t.Errorf("%d rows are blank, want %d; %d of them say something", blank, n, rest)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}

	// The log still verifies against the head of before.
	verify(t, db, 1, before)

	// The tables are those of what is left.
	if r := rows(t, db, 1); strings.Contains(r, "nna") || strings.Contains(r, "crowd of 1") || !strings.Contains(r, "2Ben Marker") || !strings.Contains(r, "crowd of 2") {
		t.Errorf("rows = %.300s", r)
	}
	if r := rows(t, db, 2); r != others {
		t.Errorf("the other home's rows = %s, want %s", r, others)
	}
	sound(t, path)

	// What is said of anna from now on has a new key, and a new pseudonym.
	write(t, db, 1, "", note{Person: anna, Name: "new", Text: "new of anna"})
	if e := pages(t, db, 1)[len(was)+1]; e.Subject != anna || e.Erased || e.Entry.Subject == was[1].Entry.Subject {
		t.Errorf("event = %+v, want a new pseudonym", e)
	}
	head, err := db.Head(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	// Now what the home has said, whose key stays, and what ben has, by their events.
	rest := traces(t, db, 1, func(e Event) bool { return e.Pos == 4 || e.Subject == ben })
	for what := range rest {
		if strings.HasPrefix(what, "secret") || strings.HasPrefix(what, "pseudonym") {
			delete(rest, what) // ben keeps his key
		}
	}
	n, err = db.Erase(ctx, "", 1, func(e Event) bool {
		if e.Erased || e.Body == nil || e.Subject == anna {
			t.Errorf("asked about %+v", e)
		}
		return e.Pos == 4 || e.Subject == ben
	}, []device.PersonID{anna}, "again")
	if err != nil || n < 200 {
		t.Errorf("Erase = %d, %v", n, err)
	}
	clean(t, path, join(rest, mentions("household marker in home 1.", "Ben Marker in home 1.", "crowd of 2,", "new of anna")))
	verify(t, db, 1, before, head)
	sound(t, path)
	if n, err := db.Erase(ctx, "", 1, about(ben), []device.PersonID{anna}, "once more"); n != 0 || err != nil {
		t.Errorf("Erase again = %d, %v, want nothing", n, err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Rebuild(ctx, path, projectHouse); err != nil {
		t.Error(err)
	}
	sound(t, path)
	clean(t, path, join(annas, rest))
	verify(t, house(t, path), 1, before, head)
}

func contains(all []int64, n int64) bool {
	for _, one := range all {
		if one == n {
			return true
		}
	}
	return false
}

// read is all that Journal lists.
func read(t testing.TB, db *DB, f Filter) func(func(Event, error) bool) {
	return func(yield func(Event, error) bool) {
		err := db.View(context.Background(), func(tx *Tx) error {
			for e, err := range tx.Journal(f) {
				if !yield(e, err) {
					break
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// verify checks home's log, as it leaves the gateway, against heads of before and its head now.
func verify(t testing.TB, db *DB, home device.HomeID, heads ...ledger.Head) {
	t.Helper()
	err := db.View(context.Background(), func(tx *Tx) error {
		x, err := tx.Export(home)
		if err != nil {
			return err
		}
		l, err := tx.Log(home)
		if err != nil {
			return err
		}
		return ledger.Verify(x, append(heads, l.Head(tx.Now))...)
	})
	if err != nil {
		t.Errorf("the log of home %d: %v", home, err)
	}
}

func TestEraseRefuses(t *testing.T) {
	ctx := context.Background()
	path := file(t)
	db := house(t, path)
	was := furnish(t, db, 1)
	boom := errors.New("boom")
	ended, cancel := context.WithCancel(ctx)
	cancel()
	for name, erase := range map[string]func() (int, error){
		"the gateway's book": func() (int, error) { return db.Erase(ctx, "", 0, about(anna), nil, "") },
		"the household":      func() (int, error) { return db.Erase(ctx, "", 1, nil, []device.PersonID{anna, 0}, "") },
		"ended":              func() (int, error) { return db.Erase(ended, "", 1, about(anna), nil, "") },
		"panic":              func() (int, error) { return db.Erase(ctx, "", 1, func(Event) bool { panic(boom) }, nil, "") },
		// What is left cannot be projected: there is no home for the people.
		"the home alone": func() (int, error) {
			return db.Erase(ctx, "", 1, func(e Event) bool { return e.Pos == 1 }, []device.PersonID{anna}, "")
		},
	} {
		if n, err := erase(); err == nil || n != 0 {
			t.Errorf("%s: Erase = %d, %v, want an error", name, n, err)
		}
		if now := pages(t, db, 1); !reflect.DeepEqual(now, was) {
			t.Errorf("%s: the book is another", name)
		}
	}
	none := open(t, file(t), Options{Project: projectHouse})
	if _, err := none.Erase(ctx, "", 1, about(anna), nil, ""); err == nil {
		t.Error("Erase without a Clearer")
	}
	sound(t, path)
	if n, err := db.Erase(ctx, "", 1, func(Event) bool { return true }, nil, "all of it"); n != 8 || err != nil {
		t.Errorf("Erase of all = %d, %v, want 8", n, err)
	}
	sound(t, path)
	verify(t, db, 1)
}

// TestEraseWaitsForReaders has a view that still reads what is erased: it goes on reading, and Erase is
// not done before it has ended, or says that it is not.
func TestEraseWaitsForReaders(t *testing.T) {
	path := file(t)
	db := house(t, path)
	furnish(t, db, 1)
	sought := join(traces(t, db, 1, about(anna)), mentions("Anna Marker in home 1.", "marker of anna in home 1."))
	ctx, cancel := context.WithCancel(context.Background())
	err := db.View(context.Background(), func(tx *Tx) error {
		events, err := tx.Events(1, 0, 99)
		if err != nil || len(events) != 8 {
			return fmt.Errorf("%d events, %w", len(events), err)
		}
		ended := make(chan error)
		go func() {
			_, err := db.Erase(ctx, "", 1, nil, []device.PersonID{anna}, "")
			ended <- err
		}()
		for destroyed := 0; destroyed == 0; {
			if destroyed, err = gone(db); err != nil {
				return err
			}
		}
		// The snapshot has the rows of before; who has lost their key is erased there, too.
		if events, err = tx.Events(1, 0, 99); err != nil || len(events) != 8 {
			return fmt.Errorf("%d events, %w", len(events), err)
		}
		for _, e := range events {
			if annas := contains([]int64{2, 5, 6, 8}, e.Pos); e.Erased != annas || annas && (e.Body != nil || e.Actor != "" || e.Subject != 0) {
				t.Errorf("the view sees %+v", e)
			}
		}
		write(t, db, 1, "", note{Name: "house", Text: "goes on meanwhile"})
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "4 events are erased, but") {
			t.Errorf("Erase = %v, want that it is not done", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if left, err := db.keys.todos(); len(left) != 1 || err != nil {
		t.Errorf("%d are on the list, %v, want 1", len(left), err)
	}
	// The next one cleans for both.
	if _, err := db.Erase(context.Background(), "", 1, func(e Event) bool { return e.Pos == 4 }, nil, ""); err != nil {
		t.Fatal(err)
	}
	clean(t, path, join(sought, mentions("household marker in home 1.")))
	if left, err := db.keys.todos(); len(left) != 0 || err != nil {
		t.Errorf("%d are on the list, %v, want none", len(left), err)
	}
	sound(t, path)

	// One that may wait is done once the view has ended.
	sought = join(traces(t, db, 1, about(ben)), mentions("Ben Marker in home 1."))
	ended := make(chan error)
	err = db.View(context.Background(), func(tx *Tx) error {
		if _, err := tx.Events(1, 0, 99); err != nil {
			return err
		}
		go func() {
			_, err := db.Erase(context.Background(), "", 1, nil, []device.PersonID{ben}, "")
			ended <- err
		}()
		for left := 0; left == 0; {
			all, err := db.keys.todos()
			if err != nil {
				return err
			}
			left = len(all)
		}
		return nil
	})
	if err := errors.Join(err, <-ended); err != nil {
		t.Fatal(err)
	}
	clean(t, path, sought)
	sound(t, path)
}

// gone counts the keys that are destroyed.
func gone(db *DB) (n int, err error) {
	db.keys.mu.Lock()
	defer db.keys.mu.Unlock()
	tx := &Tx{c: db.keys.c}
	defer tx.end()
	err = tx.QueryRow("SELECT count(*) FROM sealing WHERE secret = zeroblob(32)").Scan(&n)
	return n, err
}

// TestEraseBesideOthers erases while others write and read all the time.
func TestEraseBesideOthers(t *testing.T) {
	path := file(t)
	db := house(t, path)
	for home := device.HomeID(1); home <= 3; home++ {
		furnish(t, db, home)
	}
	stop := make(chan struct{})
	ended := make(chan error, 4)
	for i := range 3 {
		home := device.HomeID(i + 1)
		go func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					ended <- nil
					return
				default:
				}
				err := db.Update(func(tx *Tx) error {
					_, err := tx.Add(home, "note.written", note{Person: device.PersonID(n % 3), Name: fmt.Sprint("w", n%50), Text: fmt.Sprintf("busy of %d", n%3)})
					return err
				})
				if err == nil {
					err = db.View(context.Background(), func(tx *Tx) error { _, err := tx.Events(home, 0, 50); return err })
				}
				if err != nil {
					ended <- err
					return
				}
			}
		}()
	}
	for i := range 6 {
		if i%3 == 1 {
			sound(t, path)
		}
		home := device.HomeID(i%3 + 1)
		if _, err := db.Erase(context.Background(), "", home, nil, []device.PersonID{anna}, fmt.Sprint("round ", i)); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	for range 3 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	for home := device.HomeID(1); home <= 3; home++ {
		verify(t, db, home)
		// Nothing was sealed with a key that was about to be destroyed.
		var last int64
		for _, e := range pages(t, db, home) {
			if e.Kind == KindErased {
				last = e.Pos
			}
		}
		for _, e := range pages(t, db, home) {
			if e.Erased && e.Pos > last {
				t.Errorf("position %d of home %d is lost", e.Pos, home)
			}
		}
	}
	sound(t, path)
}

// TestKeysAround has an Erase, and a new home, come between: a snapshot of that moment can be read.
func TestKeysAround(t *testing.T) {
	path := file(t)
	db := house(t, path)
	was := furnish(t, db, 1)
	k, err := keysAround(path, func() error {
		furnish(t, db, 2)
		_, err := db.Erase(context.Background(), "", 1, nil, []device.PersonID{anna}, "")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	got := map[whose]ledger.Pseudonym{}
	for id, one := range k.all {
		if found, err := k.opening(id); err != nil || found.gone() {
			t.Errorf("key %d of %v does not open: %v", id, one.whose, err)
		}
		got[one.whose] = one.pseudonym
	}
	if len(got) != 6 || got[whose{1, anna}] != was[1].Entry.Subject {
		t.Errorf("keys = %v, want three each of homes 1 and 2", got)
	}
}

// TestEraseIsCompleted kills a process with SIGKILL at each step of Erase. Whoever opens the file next finds it erased with
// no trace, or, where the transaction was not on disk, not at all.
func TestEraseIsCompleted(t *testing.T) {
	if step := os.Getenv("STORE_ERASE"); step != "" {
		eraseHalf(t, os.Getenv("STORE_PATH"), step)
		return
	}
	for _, step := range []string{"keys flushed", "committed", "shredded", "vacuumed", "emptied", "random"} {
		t.Run(step, func(t *testing.T) {
			path := file(t)
			db := house(t, path)
			crowd(t, db, 1)
			sought := join(traces(t, db, 1, func(e Event) bool { return e.Subject == anna || e.Pos == 4 }), mentions("Anna Marker in home 1.", "marker of anna in home 1.", "crowd of 1,", "household marker in home 1."))
			before, err := db.Head(context.Background(), 1)
			if err != nil {
				t.Fatal(err)
			}
			was := len(pages(t, db, 1))
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(os.Args[0], "-test.run=^TestEraseIsCompleted$")
			cmd.Env = append(os.Environ(), "STORE_ERASE="+step, "STORE_PATH="+path)
			cmd.Stderr = os.Stderr
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewReader(out)
			if line, err := lines.ReadString('\n'); line != "now\n" || err != nil {
				t.Fatalf("the child said %q, %v", line, err)
			}
			if step == "random" {
				time.Sleep(time.Duration(time.Now().UnixNano() % int64(30*time.Millisecond))) // whatever it is doing then
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, lines)
			_ = cmd.Wait()

			db = house(t, path)
			events := pages(t, db, 1)
			erased := len(events) > was
			if step == "keys flushed" && erased || step != "keys flushed" && step != "random" && !erased {
				t.Errorf("erased: %v", erased)
			}
			if left, err := db.keys.todos(); len(left) > 0 || err != nil {
				t.Errorf("%d are on the list, %v", len(left), err)
			}
			verify(t, db, 1, before)
			sound(t, path)
			if !erased {
				for _, e := range events {
					if e.Erased || e.Body == nil {
						t.Errorf("event %+v is lost", e)
					}
				}
				// It can be done again, and what was said in between has its key.
				write(t, db, 1, "", note{Person: anna, Name: "new", Text: "new marker of anna"})
				_, err := db.Erase(context.Background(), "", 1, func(e Event) bool { return e.Pos == 4 }, []device.PersonID{anna}, "again")
				if err != nil {
					t.Fatal(err)
				}
			}
			clean(t, path, sought)
			verify(t, db, 1, before)
			sound(t, path)
		})
	}
}

// eraseHalf erases up to a step, says so, and waits to be killed.
func eraseHalf(t *testing.T, path, step string) {
	db, err := Open(context.Background(), path, Options{Project: projectHouse, Clear: clearHouse})
	if err != nil {
		t.Fatal(err)
	}
	now := func() {
		fmt.Println("now")
		select {}
	}
	match := func(e Event) bool { return e.Pos == 4 }
	people := []device.PersonID{anna}
	if step == "random" {
		fmt.Println("now")
		if _, err := db.Erase(context.Background(), "", 1, match, people, "asked for"); err != nil {
			t.Fatal(err)
		}
		select {}
	}
	err = db.Update(func(tx *Tx) error {
		_, err := tx.erase(clearHouse, 1, match, people, "asked for")
		if err == nil && step == "keys flushed" {
			if err = db.keys.flush(); err == nil {
				now()
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	err = db.alone(func() error {
		if step == "committed" {
			now()
		}
		left, err := db.shred()
		if err != nil || len(left) != 1 {
			return fmt.Errorf("%d to clean, %w", len(left), err)
		}
		if step == "shredded" {
			now()
		}
		if err := db.w.exec("VACUUM"); err != nil {
			return err
		}
		if step == "vacuumed" {
			now()
		}
		if err := db.wipe(nil, time.Second); err != nil {
			return err
		}
		now()
		return nil
	})
	t.Fatal(err)
}

// TestGapsHaveTraces shows why Erase writes the file anew: with secure_delete alone, SQLite leaves copies of rows in the
// gaps of other rows' pages. Should it ever stop to, VACUUM can go.
func TestGapsHaveTraces(t *testing.T) {
	path := file(t)
	c := raw(t, path)
	must(t, c, "PRAGMA secure_delete = ON", "CREATE TABLE thing (id INTEGER PRIMARY KEY, home INTEGER, name TEXT)", "CREATE INDEX thing_name ON thing (name)", "BEGIN")
	n := uint32(1)
	for range 20_000 {
		n = n*1664525 + 1013904223
		id := n >> 21
		if err := c.exec("INSERT INTO thing (id, home, name) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET name = excluded.name",
			id, id%2, fmt.Sprintf("words of %d, %08x %s", id%2, n, strings.Repeat("x", int(n>>8)%400))); err != nil {
			t.Fatal(err)
		}
	}
	must(t, c, "DELETE FROM thing WHERE home = 1", "COMMIT")
	for _, vacuumed := range []bool{false, true} {
		if vacuumed {
			must(t, c, "VACUUM")
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := bytes.Count(b, []byte("words of 1,")); (got == 0) != vacuumed {
			t.Errorf("%d traces, vacuumed: %v", got, vacuumed)
		}
	}
}

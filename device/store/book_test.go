package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"porchlight/device"
	"porchlight/device/ledger"
)

// note is the body of note.written: something that is kept about a person, or the home.
type note struct {
	Person device.PersonID `json:"person,omitempty"`
	Name   string          `json:"name"`
	Text   string          `json:"text"`
}

func (n note) About() device.PersonID { return n.Person }

// projectHouse projects home.added as project does, person.added as a row of person, and note.written as a row of preference.
func projectHouse(tx *Apply, e Event) error {
	switch e.Kind {
	case "home.added":
		return project(tx, e)
	case "person.added":
		return With(e, func(n note) error {
			return tx.Exec("INSERT INTO person (home, id, name) VALUES (?, ?, ?)", e.Home, n.Person, n.Name)
		})
	case "note.written":
		return With(e, func(n note) error {
			return tx.Exec("INSERT INTO preference (home, name, body, pos) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET body = excluded.body, pos = excluded.pos",
				e.Home, n.Name, []byte(n.Text), e.Pos)
		})
	case "brand.added":
		return projectBrand(tx, e)
	}
	return fmt.Errorf("kind %s is unknown", e.Kind)
}

// clearHouse deletes what projectHouse has made of home's book.
func clearHouse(tx *Apply, home device.HomeID) error {
	for _, q := range []string{"DELETE FROM preference WHERE home = ?", "DELETE FROM person WHERE home = ?", "DELETE FROM home WHERE id = ?"} {
		if err := tx.Exec(q, home); err != nil {
			return err
		}
	}
	return nil
}

// house opens a database with that projector.
func house(t testing.TB, path string) *DB {
	t.Helper()
	return open(t, path, Options{Project: projectHouse, Clear: clearHouse})
}

// write appends facts to home's book, in the name of actor, as one unit.
func write(t testing.TB, db *DB, home device.HomeID, actor device.Actor, facts ...any) (events []Event) {
	t.Helper()
	err := db.Update(func(tx *Tx) error {
		tx.Actor, events = actor, nil
		for _, f := range facts {
			kind := "note.written"
			switch f := f.(type) {
			case homeAdded:
				kind = "home.added"
			case brandAdded:
				kind = "brand.added"
			case note:
				if f.Text == "" {
					kind = "person.added"
				}
			}
			e, err := tx.Add(home, kind, f)
			if err != nil {
				return err
			}
			events = append(events, e)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return events
}

// pages reads home's whole book.
func pages(t testing.TB, db *DB, home device.HomeID) (events []Event) {
	t.Helper()
	err := db.Events(context.Background(), home, 0, func(e Event) error { events = append(events, e); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return events
}

// sound fails unless Check finds nothing.
func sound(t testing.TB, path string) {
	t.Helper()
	if diffs, err := Check(context.Background(), path, projectHouse, nil); len(diffs) > 0 || err != nil {
		t.Errorf("Check = %q, %v", diffs, err)
	}
}

const (
	anna device.PersonID = 1
	ben  device.PersonID = 2
)

// furnish writes a book of eight events for home: 1 the home, 2 and 3 anna and ben, 4 to 8 notes of the home, anna, anna, ben, anna.
func furnish(t testing.TB, db *DB, home device.HomeID) []Event {
	t.Helper()
	text := func(what string) string { return fmt.Sprintf("%s in home %d.", what, home) }
	return write(t, db, home, "operator mona 192.168.1.7",
		homeAdded{fmt.Sprintf("home %d", home), "UTC"},
		note{Person: anna, Name: text("Anna Marker")}, note{Person: ben, Name: text("Ben Marker")},
		note{Name: "house", Text: text("household marker")},
		note{Person: anna, Name: "a1", Text: text("marker of anna")}, note{Person: anna, Name: "a2", Text: text("second marker of anna")},
		note{Person: ben, Name: "b1", Text: text("marker of ben")}, note{Person: anna, Name: "a1", Text: text("third marker of anna")})
}

func TestBodiesAreSealed(t *testing.T) {
	path := file(t)
	db := open(t, path, Options{Project: func(tx *Apply, e Event) error {
		if e.Kind != "note.written" {
			return nil
		}
		return With(e, func(n note) error {
			var plain note
			if err := json.Unmarshal(e.Body, &plain); err != nil || plain != n {
				t.Errorf("a projector sees %s, %v", e.Body, err)
			}
			return nil
		})
	}})
	appended := furnish(t, db, 7)
	gateway := write(t, db, device.Gateway, "brand grocer", brandAdded{"grocer", "Grocer"})[0]
	if gateway.Subject != 0 || !reflect.DeepEqual(gateway.Entry, ledger.Entry{}) {
		t.Errorf("the gateway's own event has an entry: %+v", gateway)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"marker", "Marker", "Anna"} {
		if bytes.Contains(raw, []byte(secret)) {
			t.Errorf("the file has %q in plain", secret)
		}
	}
	if !bytes.Contains(raw, []byte(`{"id":"grocer"`)) {
		t.Error("the gateway's own book is sealed")
	}

	db = open(t, path, Options{Project: func(*Apply, Event) error { return nil }})
	events := pages(t, db, 7)
	if !reflect.DeepEqual(events, appended) {
		t.Errorf("Events = %+v\nAppend returned %+v", events, appended)
	}
	subjects := []device.PersonID{0, anna, ben, 0, anna, anna, ben, anna}
	pseudonyms := map[device.PersonID]ledger.Pseudonym{}
	for i, e := range events {
		if e.Subject != subjects[i] || e.Erased || !e.Entry.Fits() || e.Entry.Leaf == (ledger.Hash{}) || e.Entry.Pos != e.Pos || e.Entry.Actor != e.Actor {
			t.Errorf("event %+v, want subject %d and an entry that fits", e, subjects[i])
		}
		if !json.Valid(e.Body) || !strings.Contains(string(e.Body), "ame") {
			t.Errorf("body %s", e.Body)
		}
		if was, ok := pseudonyms[e.Subject]; ok && was != e.Entry.Subject {
			t.Errorf("person %d has two pseudonyms", e.Subject)
		}
		pseudonyms[e.Subject] = e.Entry.Subject
	}
	if pseudonyms[0] == pseudonyms[anna] || pseudonyms[anna] == pseudonyms[ben] || pseudonyms[0] == (ledger.Pseudonym{}) {
		t.Errorf("pseudonyms %v", pseudonyms)
	}
	if got := pages(t, db, device.Gateway); len(got) != 1 || !reflect.DeepEqual(got[0], gateway) {
		t.Errorf("the gateway's book = %+v, want %+v", got, gateway)
	}
}

func TestJournal(t *testing.T) {
	now := device.Instant(1000)
	db := open(t, file(t), Options{Project: projectHouse, Now: func() device.Instant { now++; return now }})
	furnish(t, db, 1)
	furnish(t, db, 2)
	write(t, db, device.Gateway, "", brandAdded{"grocer", "Grocer"})
	since := now + 1
	write(t, db, 1, "", note{Person: ben, Name: "b2", Text: "late"})
	one, gateway := device.HomeID(1), device.Gateway
	notes := func(kind string) bool { return kind == "note.written" }
	tests := map[string]struct {
		filter Filter
		most   int
		want   string // home:pos
	}{
		"newest three":   {Filter{}, 3, "1:9 0:1 2:8"},
		"all":            {Filter{}, 99, "1:9 0:1 2:8 2:7 2:6 2:5 2:4 2:3 2:2 2:1 1:8 1:7 1:6 1:5 1:4 1:3 1:2 1:1"},
		"one home":       {Filter{Home: &one}, 4, "1:9 1:8 1:7 1:6"},
		"the gateway's":  {Filter{Home: &gateway}, 99, "0:1"},
		"since":          {Filter{Since: since}, 99, "1:9"},
		"kinds":          {Filter{Home: &one, Kind: notes}, 99, "1:9 1:8 1:7 1:6 1:5 1:4"},
		"oldest":         {Filter{Home: &one, Oldest: true}, 2, "1:1 1:2"},
		"oldest, of all": {Filter{Oldest: true, Kind: notes}, 6, "1:4 1:5 1:6 1:7 1:8 2:4"},
		"none":           {Filter{Home: &one, Since: since + 1}, 99, ""},
	}
	for name, tt := range tests {
		err := db.View(context.Background(), func(tx *Tx) error {
			var got []string
			for e, err := range tx.Journal(tt.filter) {
				if err != nil {
					return err
				}
				if !json.Valid(e.Body) {
					t.Errorf("%s: body %q", name, e.Body)
				}
				if got = append(got, fmt.Sprintf("%d:%d", e.Home, e.Pos)); len(got) == tt.most {
					break
				}
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("%s: %v, want %s", name, got, tt.want)
			}
			if len(tx.open) > 0 {
				t.Errorf("%s: rows are left open", name)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// TestAHomeHasItsKeyFromTheFirst has a book that begins with an event about a person: the log needs the home's pseudonym and key.
func TestAHomeHasItsKeyFromTheFirst(t *testing.T) {
	db := open(t, file(t), Options{Project: func(*Apply, Event) error { return nil }})
	e := write(t, db, 1, "", note{Person: ben, Name: "b1", Text: "first"})[0]
	head, err := db.Head(context.Background(), 1)
	if err != nil || head.Size != 1 || head.Home == e.Entry.Subject {
		t.Errorf("Head = %+v, %v", head, err)
	}
	if _, err := db.Sign(1, ledger.HeadType, head.Payload()); err != nil {
		t.Error(err)
	}
}

// secrets are the rows of the keys file, by number.
func secrets(t testing.TB, path string) map[int64]key {
	t.Helper()
	k, err := readKeys(path)
	if err != nil {
		t.Fatal(err)
	}
	return k.all
}

func TestKeysFile(t *testing.T) {
	path := made(t, 2)
	s := forKeys(keysPath(path), 0, true)
	want := map[string]string{"journal_mode": "delete", "synchronous": "3", "secure_delete": "1", "application_id": fmt.Sprint(keysID), "user_version": "1"}
	c, err := s.open()
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	for name, value := range want {
		if got, err := c.text("PRAGMA " + name); got != value || err != nil {
			t.Errorf("%s = %s, %v, want %s", name, got, err, value)
		}
	}
	for _, word := range []string{"_journal_mode=DELETE", "_synchronous", "_secure_delete", "_query_only=0"} {
		bad := s
		bad.dsn = strings.Replace(s.dsn, word, map[bool]string{true: "_query_only=1", false: "x" + word}[word == "_query_only=0"], 1)
		bad.dsn = strings.Replace(bad.dsn, "x_journal_mode=DELETE", "_journal_mode=MEMORY", 1)
		if c, err := bad.open(); !errors.Is(err, ErrFailed) {
			t.Errorf("open %s = %v, want ErrFailed", bad.dsn, err)
			if err == nil {
				c.close()
			}
		}
	}
	if got := secrets(t, path); len(got) != 2 || got[1].whose != (whose{1, 0}) || got[2].whose != (whose{2, 0}) || got[1].secret == got[2].secret {
		t.Errorf("%d keys, want one each of homes 1 and 2", len(got))
	}
}

func TestKeysThatDoNotBelong(t *testing.T) {
	copyOf := func(t *testing.T, from, to string) {
		t.Helper()
		b, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(to, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	tests := map[string]func(t *testing.T, path string){
		"missing": func(t *testing.T, path string) {
			if err := os.Remove(keysPath(path)); err != nil {
				t.Fatal(err)
			}
		},
		"empty": func(t *testing.T, path string) {
			if err := os.Truncate(keysPath(path), 0); err != nil {
				t.Fatal(err)
			}
		},
		"another database's": func(t *testing.T, path string) { copyOf(t, keysPath(made(t, 3)), keysPath(path)) },
		"a database":         func(t *testing.T, path string) { copyOf(t, made(t, 3), keysPath(path)) },
		"older": func(t *testing.T, path string) {
			copyOf(t, keysPath(path), keysPath(path)+".old")
			db := open(t, path, Options{})
			if err := add(db, 4); err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			copyOf(t, keysPath(path)+".old", keysPath(path))
		},
	}
	for name, damage := range tests {
		t.Run(name, func(t *testing.T) {
			path := made(t, 3)
			damage(t, path)
			before := files(t, path)
			refused(t, path, ErrKeys)
			if err := Rebuild(context.Background(), path, project); !errors.Is(err, ErrKeys) {
				t.Errorf("Rebuild = %v, want ErrKeys", err)
			}
			diffs, err := Check(context.Background(), path, project, nil)
			if !errors.Is(err, ErrKeys) && len(diffs) == 0 {
				t.Errorf("Check = %v, %v, want ErrKeys or what is wrong", diffs, err)
			}
			if after := files(t, path); strings.SplitN(after, "\n", 2)[0] != strings.SplitN(before, "\n", 2)[0] {
				t.Errorf("the database was touched:\n%s\nbefore:\n%s", after, before)
			}
		})
	}
	// Where no home has written, there is nothing to miss.
	path := file(t)
	db := house(t, path)
	write(t, db, device.Gateway, "", brandAdded{"grocer", "Grocer"})
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(keysPath(path)); err != nil {
		t.Fatal(err)
	}
	sound(t, path)
	if err := house(t, path).Close(); err != nil {
		t.Error(err)
	}
}

// TestKeysAreMadeOnce has units that are undone, fail together, and are run twice: each home and person has one key.
func TestKeysAreMadeOnce(t *testing.T) {
	path := file(t)
	db := open(t, path, Options{Project: projectHouse, maxPages: 60})
	release := hold(t, db)
	errs := make([]error, 4)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			errs[i] = db.Update(func(tx *Tx) error {
				if _, err := tx.Add(1, "person.added", note{Person: device.PersonID(i + 1), Name: fmt.Sprint("person ", i)}); err != nil && i > 0 {
					return err
				}
				switch i {
				case 0: // the foreign key fails: there is no such home yet
					_, err := tx.Add(1, "home.added", homeAdded{"home", "UTC"})
					return err
				case 2:
					_, err := tx.Add(1, "note.written", note{Name: "big", Text: strings.Repeat("x", 1<<20)})
					return err
				}
				return nil
			})
		})
		queued(db, i+1)
	}
	release()
	wg.Wait()
	if errs[0] == nil || errs[1] == nil || errs[2] == nil || errs[3] == nil {
		t.Fatalf("errors = %v, want four", errs)
	}
	if got := secrets(t, path); len(got) != 0 {
		t.Errorf("%d keys for what was never written", len(got))
	}
	release = hold(t, db)
	for i := range errs {
		wg.Go(func() {
			errs[i] = db.Update(func(tx *Tx) error {
				var err error
				if i == 0 {
					_, err = tx.Add(1, "home.added", homeAdded{"home", "UTC"})
				}
				_, e := tx.Add(1, "person.added", note{Person: device.PersonID(i + 1), Name: fmt.Sprint("person ", i)})
				if i == 2 {
					_, e = tx.Add(1, "note.written", note{Name: "big", Text: strings.Repeat("x", 1<<20)})
				}
				return errors.Join(err, e)
			})
		})
		queued(db, i+1)
	}
	release()
	wg.Wait()
	if errs[0] != nil || errs[1] != nil || !errors.Is(errs[2], ErrFull) || errs[3] != nil {
		t.Errorf("errors = %v, want ErrFull for the third alone", errs)
	}
	got := map[whose]int{}
	for _, k := range secrets(t, path) {
		got[k.whose]++
	}
	if want := (map[whose]int{{1, 0}: 1, {1, 1}: 1, {1, 2}: 1, {1, 4}: 1}); !reflect.DeepEqual(got, want) {
		t.Errorf("keys = %v, want %v", got, want)
	}
	if events := pages(t, db, 1); len(events) != 4 {
		t.Errorf("%d events, want 4", len(events))
	}
	sound(t, path)
}

// TestAKeyIsOnDiskBeforeItsEvent has the keys file locked by another program: what needs a new key fails, and nothing else does.
func TestAKeyIsOnDiskBeforeItsEvent(t *testing.T) {
	for _, lock := range []string{"BEGIN IMMEDIATE", "BEGIN; SELECT"} {
		path := file(t)
		db := open(t, path, Options{Project: projectHouse, busy: 20 * time.Millisecond})
		furnish(t, db, 1)
		c := raw(t, keysPath(path))
		must(t, c, strings.Split(lock, ";")[0])
		if lock != "BEGIN IMMEDIATE" { // it only reads: the key can be made, but not brought to disk
			if _, err := c.text("SELECT count(*) FROM sealing"); err != nil {
				t.Fatal(err)
			}
		}
		if err := add(db, 2); !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), keysPath(path)) {
			t.Errorf("%s: Update = %v, want ErrBusy and the file of the keys", lock, err)
		}
		if got := homes(t, db); fmt.Sprint(got) != "[1]" {
			t.Errorf("%s: homes = %v, want [1]", lock, got)
		}
		write(t, db, 1, "", note{Person: anna, Name: "a3", Text: "goes on"})
		write(t, db, device.Gateway, "", brandAdded{"grocer", "Grocer"})
		must(t, c, "COMMIT")
		if err := add(db, 2); err != nil {
			t.Errorf("%s: Update after the lock = %v", lock, err)
		}
		if got := len(secrets(t, path)); got != 4 {
			t.Errorf("%s: %d keys, want 4", lock, got)
		}
		sound(t, path)
	}
}

func TestFewKeysAreRemembered(t *testing.T) {
	path := file(t)
	db := house(t, path)
	db.keys.most = 3
	for round := range 2 {
		for home := device.HomeID(1); home <= 10; home++ {
			if round == 0 {
				furnish(t, db, home)
			} else {
				write(t, db, home, "", note{Person: ben, Name: "b9", Text: "again"})
			}
			if n := len(db.keys.known); n > 3 || len(db.keys.sealing) > 3 {
				t.Fatalf("%d keys are remembered, want at most 3", n)
			}
		}
	}
	for home := device.HomeID(1); home <= 10; home++ {
		if n := len(pages(t, db, home)); n != 9 {
			t.Errorf("home %d has %d events, want 9", home, n)
		}
	}
	if n := len(secrets(t, path)); n != 30 {
		t.Errorf("%d keys, want 30", n)
	}
	sound(t, path)
}

// TestCheckFindsTampering alters the journal as somebody with the file, but without its keys, could.
func TestCheckFindsTampering(t *testing.T) {
	fits := "journal (5): position 5 of home 1 does not fit its leaf"
	tests := map[string]struct {
		sql  string
		want string // the first diff
	}{
		"nothing":       {"UPDATE journal SET kind = kind", ""},
		"body":          {"UPDATE journal SET body = CAST(substr(body, 1, 20) || x'00' || substr(body, 22) AS BLOB) WHERE home = 1 AND pos = 5", fits},
		"body in plain": {"UPDATE journal SET body = CAST('{\"name\":\"a1\"}' AS BLOB) WHERE home = 1 AND pos = 5", fits},
		"another's":     {"UPDATE journal SET body = (SELECT body FROM journal WHERE home = 1 AND pos = 6) WHERE home = 1 AND pos = 5", fits},
		"salt":          {"UPDATE journal SET salt = randomblob(16) WHERE home = 1 AND pos = 5", fits},
		"no salt":       {"UPDATE journal SET salt = NULL WHERE home = 1 AND pos = 5", fits},
		"leaf":          {"UPDATE journal SET leaf = randomblob(32) WHERE home = 1 AND pos = 5", fits},
		"no leaf":       {"UPDATE journal SET leaf = NULL WHERE home = 1 AND pos = 5", fits},
		"time":          {"UPDATE journal SET at = at + 1 WHERE home = 1 AND pos = 5", fits},
		"kind":          {"UPDATE journal SET kind = 'person.added' WHERE home = 1 AND pos = 5", fits},
		"actor":         {"UPDATE journal SET actor = 'operator eve' WHERE home = 1 AND pos = 5", fits},
		"subject":       {"UPDATE journal SET subject = 2 WHERE home = 1 AND pos = 5", fits},
		"key":           {"UPDATE journal SET key = 1 WHERE home = 1 AND pos = 5", fits},
		"no such key":   {"UPDATE journal SET key = 99 WHERE home = 1 AND pos = 5", "journal (5): position 5 of home 1 has no key"},
		"blanked":       {"UPDATE journal SET body = x'', salt = NULL, actor = '', subject = 0, key = 0 WHERE home = 1 AND pos = 5", "journal (5): position 5 of home 1 is blank, and no entry says that it was erased"},
		"removed":       {"DELETE FROM journal WHERE home = 1 AND pos = 5", "journal (6): position 6 of home 1 follows 4"},
		"swapped":       {"UPDATE journal SET pos = CASE pos WHEN 5 THEN 106 ELSE 105 END WHERE home = 1 AND pos IN (5, 6)", "journal (5): position 106 of home 1 does not fit its leaf"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			path := file(t)
			db := house(t, path)
			furnish(t, db, 1)
			furnish(t, db, 2)
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			c := raw(t, path)
			must(t, c, tt.sql)
			c.close()
			diffs, err := Check(context.Background(), path, projectHouse, nil)
			if err != nil || (len(diffs) == 0) != (tt.want == "") || len(diffs) > 0 && diffs[0] != tt.want {
				t.Errorf("Check = %q, %v, want %q first", diffs, err, tt.want)
			}
			for _, d := range diffs {
				if strings.Contains(d, "arker") || strings.Contains(d, "eve") || strings.Contains(d, "home 2") {
					t.Errorf("diff %q says more than where", d)
				}
			}
		})
	}
}

func TestAnAlteredEventIsNotRead(t *testing.T) {
	path := file(t)
	db := house(t, path)
	furnish(t, db, 1)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	c := raw(t, path)
	must(t, c, "UPDATE journal SET actor = 'operator eve' WHERE pos = 5")
	c.close()
	db = house(t, path)
	read := 0
	err := db.Events(context.Background(), 1, 0, func(Event) error { read++; return nil })
	if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "position 5 of home 1") {
		t.Errorf("Events = %v after %d, want ErrCorrupt at position 5 of home 1", err, read)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Rebuild(context.Background(), path, projectHouse); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "position 5 of home 1") {
		t.Errorf("Rebuild = %v, want ErrCorrupt at position 5 of home 1", err)
	}
}

func TestLog(t *testing.T) {
	ctx := context.Background()
	path := file(t)
	now := device.Instant(5000)
	db := open(t, path, Options{Project: projectHouse, Now: func() device.Instant { return now }})
	for _, home := range []device.HomeID{device.Gateway, 1} {
		if _, err := db.Head(ctx, home); !errors.Is(err, ErrNoBook) {
			t.Errorf("Head of %d = %v, want ErrNoBook", home, err)
		}
		if _, err := db.Sign(home, ledger.HeadType, nil); !errors.Is(err, ErrNoBook) {
			t.Errorf("Sign for %d = %v, want ErrNoBook", home, err)
		}
		if _, err := db.PublicKey(home); !errors.Is(err, ErrNoBook) {
			t.Errorf("PublicKey of %d = %v, want ErrNoBook", home, err)
		}
	}
	furnish(t, db, 2)
	furnish(t, db, 1)
	var signed [][]byte
	var heads []ledger.Head
	for range 3 {
		head, err := db.Head(ctx, 1)
		if err != nil {
			t.Fatal(err)
		}
		b, err := db.Sign(1, ledger.HeadType, head.Payload())
		if err != nil {
			t.Fatal(err)
		}
		heads, signed = append(heads, head), append(signed, b)
		now++
		write(t, db, 1, "", note{Person: anna, Name: "more", Text: "more"}, note{Name: "more", Text: "more"})
		furnish(t, db, device.HomeID(10+now))
	}
	if heads[0].Size != 8 || heads[2].Size != 12 || heads[2].At != 5002 || heads[0].Home != heads[2].Home {
		t.Errorf("heads = %+v", heads)
	}
	key, err := db.PublicKey(1)
	if err != nil {
		t.Fatal(err)
	}
	other, err := db.PublicKey(2)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Sign(1, ledger.HeadType, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("Sign after Close = %v, want ErrClosed", err)
	}
	db = open(t, path, Options{Project: projectHouse})
	if again, err := db.PublicKey(1); err != nil || !reflect.DeepEqual(again, key) {
		t.Errorf("the home has another key: %v", err)
	}
	err = db.View(ctx, func(tx *Tx) error {
		x, err := tx.Export(1)
		if err != nil {
			return err
		}
		now, err := tx.Log(1)
		if err != nil {
			return err
		}
		for i, b := range signed {
			head, err := ledger.OpenHead(b, key)
			if err != nil || head != heads[i] {
				t.Errorf("head %d = %+v, %v, want %+v", i, head, err, heads[i])
			}
			if _, err := ledger.OpenHead(b, other); !errors.Is(err, ledger.ErrSignature) {
				t.Errorf("head %d with another home's key: %v", i, err)
			}
			path, err := ledger.ProveGrowth(now.Leaves, head.Size)
			if err != nil {
				return err
			}
			if err := ledger.CheckGrowth(path, head, now.Head(tx.Now)); err != nil {
				t.Error(err)
			}
		}
		if err := ledger.Verify(x, append(heads, now.Head(tx.Now))...); err != nil {
			t.Error(err)
		}
		r, err := now.Receipt(x.Entries[4], map[string]string{"verdict": "show"}, tx.Now)
		if err != nil {
			return err
		}
		b, err := db.Sign(1, ledger.ReceiptType, r.Payload())
		if err != nil {
			return err
		}
		if got, err := ledger.OpenReceipt(b, key); err != nil || got.Pos != 5 || got.Leaf() != x.Entries[4].Leaf {
			t.Errorf("receipt = %+v, %v", got, err)
		}
		y, err := tx.Export(2)
		if err != nil {
			return err
		}
		if err := ledger.Verify(y, heads...); err == nil {
			t.Error("another home's log verifies")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestImport(t *testing.T) {
	ctx := context.Background()
	from := house(t, file(t))
	furnish(t, from, 3)
	if _, err := from.Erase(ctx, "operator mona", 3, func(e Event) bool { return e.Pos == 4 }, []device.PersonID{ben}, "asked for"); err != nil {
		t.Fatal(err)
	}
	write(t, from, 3, "device tv-1", note{Person: anna, Name: "a4", Text: "fourth"})
	events := pages(t, from, 3)

	path := file(t)
	db := open(t, path, Options{Project: projectHouse, Clear: clearHouse, Now: func() device.Instant { return 1 }})
	furnish(t, db, 1)
	if err := db.Import(ctx, 9, events); err != nil {
		t.Fatal(err)
	}
	got := pages(t, db, 9)
	if len(got) != len(events) {
		t.Fatalf("%d events, want %d", len(got), len(events))
	}
	for i, e := range got {
		want := events[i]
		if e.Home != 9 || e.Pos != want.Pos || e.At != want.At || e.Actor != want.Actor || e.Kind != want.Kind || !bytes.Equal(e.Body, want.Body) || e.Subject != want.Subject || e.Erased != want.Erased {
			t.Errorf("event = %+v\nwant %+v", e, want)
		}
		if e.Erased && e.Entry.Leaf != want.Entry.Leaf || !e.Erased && (e.Entry.Subject == want.Entry.Subject || !e.Entry.Fits()) {
			t.Errorf("entry = %+v, was %+v", e.Entry, want.Entry)
		}
	}
	if a, b := rows(t, db, 9), rows(t, from, 3); a != b {
		t.Errorf("rows = %s, want %s", a, b)
	}
	sound(t, path)
	for name, tt := range map[string]struct {
		home   device.HomeID
		events []Event
		is     error
	}{
		"not empty":       {1, events, ErrMoved},
		"the gateway's":   {0, events, nil},
		"no kind":         {5, []Event{{Body: []byte("{}")}}, nil},
		"no JSON":         {5, []Event{{Kind: "note.written", Body: []byte("{")}}, nil},
		"erased, no leaf": {5, []Event{{Kind: "note.written", Erased: true}}, nil},
		"not projected":   {5, []Event{{Kind: "note.written", Body: []byte(`{"name":"x"}`)}}, nil},
	} {
		if err := db.Import(ctx, tt.home, tt.events); err == nil || tt.is != nil && !errors.Is(err, tt.is) {
			t.Errorf("%s: Import = %v, want an error, %v", name, err, tt.is)
		}
	}
	if n := len(pages(t, db, 5)); n > 0 {
		t.Errorf("%d events were left by a failed import", n)
	}
	sound(t, path)
}

// rows are the rows of a home, without its number.
func rows(t testing.TB, db *DB, home device.HomeID) string {
	t.Helper()
	var all []string
	err := db.View(context.Background(), func(tx *Tx) error {
		for _, q := range []string{
			"SELECT name || zone FROM home WHERE id = ?", "SELECT id || name FROM person WHERE home = ? ORDER BY id",
			"SELECT name || body || pos FROM preference WHERE home = ? ORDER BY name",
		} {
			some, err := names(tx, strings.Replace(q, "?", "? + 0", 1), fmt.Sprint(home))
			if err != nil {
				return err
			}
			all = slices.Concat(all, []string{";"}, some)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, " ")
}

// TestChanges: what is written of one noun is no news of another, what fails is none, and what is erased may be of any.
func TestChanges(t *testing.T) {
	db := house(t, file(t))
	was := map[string]int64{}
	news := func() (of []string) {
		for _, noun := range []string{"home", "note", "person"} {
			if n := db.Changes(noun); n != was[noun] {
				of, was[noun] = append(of, noun), n
			}
		}
		return of
	}
	undone := errors.New("undone")
	for _, step := range []struct {
		name string
		do   func()
		want []string
	}{
		{"a home with people and notes", func() { furnish(t, db, 1) }, []string{"home", "note", "person"}},
		{"nothing", func() {}, nil},
		{"a note", func() { write(t, db, 1, "", note{Name: "n", Text: "more"}) }, []string{"note"}},
		{"a note that is undone", func() {
			if err := db.Update(func(tx *Tx) error {
				_, err := tx.Add(1, "note.written", note{Name: "n", Text: "more"})
				return errors.Join(err, undone)
			}); !errors.Is(err, undone) {
				t.Fatal(err)
			}
		}, nil},
		{"an erasure", func() {
			if _, err := db.Erase(t.Context(), "", 1, nil, []device.PersonID{anna}, "asked to"); err != nil {
				t.Fatal(err)
			}
		}, []string{"home", "note", "person"}},
	} {
		step.do()
		if of := news(); !slices.Equal(of, step.want) {
			t.Errorf("%s: news of %q, want %q", step.name, of, step.want)
		}
	}
}

package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"porchlight/device"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// homeAdded is the body of the one kind of event that the tests write.
type homeAdded struct {
	Name string `json:"name"`
	Zone string `json:"zone"`
}

// project writes a row for home.added, after a look-up by its unique name, as real projections do.
func project(tx *Apply, e Event) error {
	if e.Kind != "home.added" {
		return fmt.Errorf("kind %s is unknown", e.Kind)
	}
	var h homeAdded
	if err := json.Unmarshal(e.Body, &h); err != nil {
		return err
	}
	var n int
	if err := tx.QueryRow("SELECT EXISTS (SELECT 1 FROM home WHERE name = ? AND removed = 0)", h.Name).Scan(&n); err != nil {
		return err
	}
	if n > 0 {
		return errTaken
	}
	return tx.Exec("INSERT INTO home (id, name, zone) VALUES (?, ?, ?)", e.Home, h.Name, h.Zone)
}

var errTaken = errors.New("the name is taken")

// open opens a database in a folder of its own and closes it at the end of the test.
func open(t testing.TB, path string, o Options) *DB {
	t.Helper()
	if o.Project == nil {
		o.Project = project
	}
	db, err := Open(context.Background(), path, o)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return db
}

func file(t testing.TB) string { return filepath.Join(t.TempDir(), "p.db") }

// add appends one home.
func add(db *DB, id device.HomeID) error {
	return db.Update(func(tx *Tx) error {
		_, err := tx.Append(id, 0, "home.added", homeAdded{fmt.Sprintf("home %d", id), "Europe/Berlin"})
		return err
	})
}

// homes lists the rows.
func homes(t testing.TB, db *DB) (ids []device.HomeID) {
	t.Helper()
	err := db.View(context.Background(), func(tx *Tx) error {
		rows, err := tx.Query("SELECT id FROM home ORDER BY id")
		if err != nil {
			return err
		}
		for rows.Next() {
			var id device.HomeID
			if err := rows.Scan(&id); err != nil {
				return err
			}
			ids = append(ids, id)
		}
		return rows.Err()
	})
	if err != nil {
		t.Fatalf("View: %v", err)
	}
	return ids
}

// hold keeps the writer busy until the returned function is called.
func hold(t testing.TB, db *DB) (release func()) {
	t.Helper()
	began, end, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		_ = db.Update(func(*Tx) error { close(began); <-end; return nil })
	}()
	<-began
	return func() { close(end); <-ended }
}

// queued waits until n units wait.
func queued(db *DB, n int) {
	for db.Stats().Queued < n {
		runtime.Gosched()
	}
}

func TestUnitsShareACommitButNotAFate(t *testing.T) {
	errOwn := errors.New("changed my mind")
	good := func(id device.HomeID) func(*Tx) error {
		return func(tx *Tx) error {
			_, err := tx.Append(id, 0, "home.added", homeAdded{fmt.Sprintf("home %d", id), "UTC"})
			return err
		}
	}
	units := []struct {
		name string
		f    func(*Tx) error
		ok   bool
		is   error
	}{
		{"first", good(1), true, nil},
		{"own error", func(tx *Tx) error { return errors.Join(good(2)(tx), errOwn) }, false, errOwn},
		{"panic", func(tx *Tx) error { _ = good(3)(tx); panic("boom") }, false, nil},
		{"projection fails, unseen", func(tx *Tx) error {
			_, _ = tx.Append(4, 0, "home.added", homeAdded{"home 1", "UTC"}) // the name is taken
			return nil
		}, false, errTaken},
		{"moved", func(tx *Tx) error { _, err := tx.Append(1, 0, "home.added", homeAdded{"x", "UTC"}); return err }, false, ErrMoved},
		{"same home and name as one undone", good(2), true, nil},
		{"last", good(6), true, nil},
	}
	db := open(t, file(t), Options{})
	release := hold(t, db)
	errs := make([]error, len(units))
	var wg sync.WaitGroup
	for i, u := range units {
		wg.Go(func() { errs[i] = db.Update(u.f) })
		queued(db, i+1)
	}
	release()
	wg.Wait()
	for i, u := range units {
		if (errs[i] == nil) != u.ok || u.is != nil && !errors.Is(errs[i], u.is) {
			t.Errorf("%s: error %v, want ok %v, %v", u.name, errs[i], u.ok, u.is)
		}
	}
	if got := homes(t, db); fmt.Sprint(got) != "[1 2 6]" {
		t.Errorf("homes = %v, want [1 2 6]", got)
	}
	if s := db.Stats(); s.Largest != len(units) || s.Commits != 1 || s.Failed != 4 {
		t.Errorf("stats = %+v, want one commit of %d units, 4 failed", s, len(units))
	} else if s.Shared.Count() != 1 || s.Shared.Sum != float64(len(units)) || s.Took.Count() != 1 || s.Took.Sum <= 0 {
		t.Errorf("units by commit = %+v, seconds by commit = %+v, want one of %d units", s.Shared, s.Took, len(units))
	}
	if err := db.Healthy(); err != nil {
		t.Errorf("Healthy = %v after failures of units alone", err)
	}
}

func TestUnitsKeepTheirOrder(t *testing.T) {
	db := open(t, file(t), Options{MaxUnits: 3})
	release := hold(t, db)
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			if err := add(db, device.HomeID(100-i)); err != nil {
				t.Error(err)
			}
		})
		queued(db, i+1)
	}
	release()
	wg.Wait()
	var got []int
	err := db.View(context.Background(), func(tx *Tx) error {
		rows, err := tx.Query("SELECT home FROM journal ORDER BY seq")
		for err == nil && rows.Next() {
			var n int
			err = rows.Scan(&n)
			got = append(got, n)
		}
		return err
	})
	if err != nil || fmt.Sprint(got) != "[100 99 98 97 96 95 94 93 92 91]" {
		t.Errorf("order = %v, %v, want 100 down to 91", got, err)
	}
	if s := db.Stats(); s.Largest != 3 {
		t.Errorf("largest batch = %d, want MaxUnits 3", s.Largest)
	}
}

func TestMeasure(t *testing.T) {
	m := newMeasure([]float64{1, 2, 4})
	for _, v := range []float64{0, 1, 1.5, 2, 3, 4, 4.5, 100} {
		m.add(v)
	}
	if h := m.read(); fmt.Sprint(h.Counts, h.Above, h.Sum, h.Count()) != "[2 2 2] 2 116 8" {
		t.Errorf("got %v", h)
	}
}

func TestAUnitThatEndsItsGoroutineIsAnswered(t *testing.T) {
	db := open(t, file(t), Options{})
	release := hold(t, db)
	var bad, good error
	var wg sync.WaitGroup
	wg.Go(func() {
		bad = db.Update(func(tx *Tx) error {
			_, _ = tx.Append(1, 0, "home.added", homeAdded{"one", "UTC"})
			runtime.Goexit()
			return nil
		})
	})
	queued(db, 1)
	wg.Go(func() { good = add(db, 2) })
	queued(db, 2)
	release()
	wg.Wait()
	if bad == nil || good != nil {
		t.Errorf("errors = %v, %v, want one, none", bad, good)
	}
	if got := homes(t, db); fmt.Sprint(got) != "[2]" {
		t.Errorf("homes = %v, want [2]", got)
	}
}

// TestWhatRunsAloneKeepsItsPlace has it behind units, one of which ends the writer's goroutine, and before another.
func TestWhatRunsAloneKeepsItsPlace(t *testing.T) {
	db := open(t, file(t), Options{})
	release := hold(t, db)
	var order []string // the writer's
	var wg sync.WaitGroup
	for i, f := range []func() error{
		func() error { return db.Update(func(*Tx) error { order = append(order, "first"); return nil }) },
		func() error {
			return db.Update(func(*Tx) error { order = append(order, "bad"); runtime.Goexit(); return nil })
		},
		func() error {
			return db.alone(func() error {
				if !db.w.c.AutoCommit() {
					t.Error("a transaction is open")
				}
				order = append(order, "alone")
				return errTaken
			})
		},
		func() error { return db.Update(func(*Tx) error { order = append(order, "last"); return nil }) },
	} {
		wg.Go(func() {
			if err := f(); i == 2 && !errors.Is(err, errTaken) {
				t.Errorf("alone = %v, want its own error", err)
			}
		})
		queued(db, i+1)
	}
	release()
	wg.Wait()
	// Units that shared a transaction with the bad one are run again.
	if got := fmt.Sprint(order); got != "[first bad first alone last]" {
		t.Errorf("order = %s", got)
	}
}

func TestAppend(t *testing.T) {
	db := open(t, file(t), Options{Now: func() device.Instant { return 1234 }})
	if err := add(db, 7); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		home  device.HomeID
		after int64
		is    error
	}{
		"too early":             {7, 0, ErrMoved},
		"too late":              {7, 2, ErrMoved},
		"negative":              {7, -1, ErrMoved},
		"first is not of a new": {8, 1, ErrMoved},
	}
	for name, tt := range tests {
		err := db.Update(func(tx *Tx) error {
			_, err := tx.Append(tt.home, tt.after, "home.added", homeAdded{"other", "UTC"})
			return err
		})
		if !errors.Is(err, tt.is) {
			t.Errorf("%s: error = %v, want %v", name, err, tt.is)
		}
	}
	var e Event
	err := db.Update(func(tx *Tx) (err error) {
		// A unit that finds the journal moved may try again.
		if _, err = tx.Append(8, 3, "home.added", homeAdded{"other", "UTC"}); !errors.Is(err, ErrMoved) {
			return fmt.Errorf("error = %w, want ErrMoved", err)
		}
		head, err := tx.Head(8)
		if err != nil {
			return err
		}
		e, err = tx.Append(8, head, "home.added", homeAdded{"other", "UTC"})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := Event{Seq: 2, Home: 8, Pos: 1, At: 1234, Kind: "home.added", Body: []byte(`{"name":"other","zone":"UTC"}`), Entry: e.Entry}
	if !e.Entry.Fits() || e.Entry.Pos != 1 || e.Entry.At != 1234 || e.Entry.Kind != "home.added" {
		t.Errorf("entry = %+v, want one that fits its leaf", e.Entry)
	}
	if !reflect.DeepEqual(e, want) {
		t.Errorf("event = %+v, want %+v", e, want)
	}
	var read []Event
	if err := db.Events(context.Background(), 8, 0, func(e Event) error { read = append(read, e); return nil }); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(read, []Event{want}) {
		t.Errorf("Events = %+v, want %+v", read, want)
	}
}

func TestEventsReadsALongBookInOrder(t *testing.T) {
	db := open(t, file(t), Options{Project: func(*Apply, Event) error { return nil }})
	const n = 600
	err := db.Update(func(tx *Tx) error {
		for i := range int64(n) {
			if _, err := tx.Append(1, i, "x", i); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	next := int64(11)
	err = db.Events(context.Background(), 1, 10, func(e Event) error {
		if e.Pos != next || string(e.Body) != fmt.Sprint(e.Pos-1) {
			t.Fatalf("event %+v, want position %d", e, next)
		}
		next++
		return nil
	})
	if err != nil || next != n+1 {
		t.Errorf("Events ended before %d with %v, want %d", next, err, n+1)
	}
}

func TestViewIsOneSnapshot(t *testing.T) {
	db := open(t, file(t), Options{})
	err := db.View(context.Background(), func(tx *Tx) error {
		for range 2 {
			var n int
			if err := tx.QueryRow("SELECT count(*) FROM home").Scan(&n); err != nil {
				return err
			}
			if n != 0 {
				t.Errorf("count = %d in a snapshot taken before", n)
			}
			if err := add(db, device.HomeID(db.Stats().Units+1)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := homes(t, db); len(got) != 2 {
		t.Errorf("homes = %v afterwards, want 2", got)
	}
}

func TestRowsEndWithTheUnit(t *testing.T) {
	path := file(t)
	db := open(t, path, Options{})
	for id := device.HomeID(1); id <= 3; id++ {
		if err := add(db, id); err != nil {
			t.Fatal(err)
		}
	}
	var kept []*Rows
	leave := func(tx *Tx) error {
		rows, err := tx.Query("SELECT id FROM home")
		if err == nil && !rows.Next() {
			err = errors.New("no row")
		}
		kept = append(kept, rows)
		return err
	}
	for range 2 {
		if err := db.View(context.Background(), leave); err != nil {
			t.Error(err)
		}
		if err := db.Update(leave); err != nil {
			t.Error(err)
		}
	}
	var id int
	for _, rows := range kept {
		if rows.Next() || rows.Scan(&id) == nil {
			t.Error("rows go on after their unit")
		}
	}
	// A snapshot that lingered would keep the checkpoint from emptying the log.
	if busy, err := db.w.text("PRAGMA wal_checkpoint(TRUNCATE)"); busy != "0" || err != nil {
		t.Errorf("checkpoint: busy %s, %v", busy, err)
	}
	if s := db.Stats(); s.WALBytes != 0 {
		t.Errorf("the log has %d bytes, want 0", s.WALBytes)
	}
}

func TestNothingWritesButTheProjector(t *testing.T) {
	db := open(t, file(t), Options{})
	queries := []string{
		"INSERT INTO home (id, name, zone) VALUES (1, 'x', 'UTC')",
		"INSERT INTO home (id, name, zone) VALUES (1, 'x', 'UTC') RETURNING id",
		"WITH x AS (SELECT 1) INSERT INTO home (id, name, zone) SELECT 1, 'x', 'UTC' FROM x",
		"COMMIT", "ROLLBACK", "PRAGMA query_only = 0", "ATTACH ':memory:' AS x", "SELECT 1; COMMIT",
	}
	for _, q := range queries {
		read := func(tx *Tx) error { var n int; return tx.QueryRow(q).Scan(&n) }
		if err := db.View(context.Background(), read); err == nil {
			t.Errorf("View runs %q", q)
		}
		if err := db.Update(read); err == nil {
			t.Errorf("Update runs %q", q)
		}
	}
	for _, q := range []string{"COMMIT", "SELECT 1", "DROP TABLE home", "PRAGMA foreign_keys = 0"} {
		bad := open(t, file(t), Options{Project: func(tx *Apply, e Event) error { return tx.Exec(q) }})
		if err := add(bad, 1); err == nil {
			t.Errorf("a projector runs %q", q)
		}
	}
	err := db.View(context.Background(), func(tx *Tx) error {
		_, err := tx.Append(1, 0, "home.added", homeAdded{"x", "UTC"})
		return err
	})
	if err == nil {
		t.Error("Append works in View")
	}
	if got := homes(t, db); len(got) != 0 {
		t.Errorf("homes = %v, want none", got)
	}
}

func TestValues(t *testing.T) {
	type word string
	type small uint8
	db := open(t, file(t), Options{})
	id := device.MessageID{1, 2, 3}
	tests := map[string]struct {
		arg  any
		into any // pointer
	}{
		"int64":       {int64(-5), new(int64)},
		"int":         {5, new(int)},
		"home":        {device.HomeID(9), new(device.HomeID)},
		"instant":     {device.Instant(1 << 50), new(device.Instant)},
		"small":       {small(255), new(small)},
		"string":      {"héllo", new(string)},
		"empty":       {"", new(string)},
		"word":        {word("w"), new(word)},
		"bytes":       {[]byte{0, 1}, new([]byte)},
		"empty bytes": {[]byte{}, new([]byte)},
		"array":       {id, new(device.MessageID)},
		"true":        {true, new(bool)},
		"false":       {false, new(bool)},
		"float":       {1.5, new(float64)},
		"any":         {"x", new(any)},
	}
	for name, tt := range tests {
		err := db.View(context.Background(), func(tx *Tx) error { return tx.QueryRow("SELECT ?", tt.arg).Scan(tt.into) })
		if got := reflect.ValueOf(tt.into).Elem().Interface(); err != nil || !reflect.DeepEqual(got, tt.arg) {
			t.Errorf("%s: %#v came back as %#v, %v", name, tt.arg, got, err)
		}
	}
	bad := map[string]struct {
		arg, into any
	}{
		"overflow":   {256, new(small)},
		"negative":   {-1, new(small)},
		"null":       {nil, new(int64)},
		"null text":  {nil, new(string)},
		"text":       {"5", new(int64)},
		"two":        {2, new(bool)},
		"array":      {[]byte{1}, new(device.MessageID)},
		"no pointer": {1, 1},
		"struct":     {struct{}{}, new(any)},
		"huge":       {uint64(1 << 63), new(any)},
	}
	for name, tt := range bad {
		err := db.View(context.Background(), func(tx *Tx) error { return tx.QueryRow("SELECT ?", tt.arg).Scan(tt.into) })
		if err == nil {
			t.Errorf("%s: %#v fits %T", name, tt.arg, tt.into)
		}
	}
	var p *int64
	err := db.View(context.Background(), func(tx *Tx) error {
		if err := tx.QueryRow("SELECT NULL").Scan(&p); err != nil || p != nil {
			t.Errorf("NULL into a pointer: %v, %v", p, err)
		}
		if err := tx.QueryRow("SELECT 3").Scan(&p); err != nil || p == nil || *p != 3 {
			t.Errorf("3 into a pointer: %v, %v", p, err)
		}
		if err := tx.QueryRow("SELECT 1 WHERE 0").Scan(&p); !errors.Is(err, sql.ErrNoRows) {
			t.Errorf("no row: %v, want sql.ErrNoRows", err)
		}
		if err := tx.QueryRow("SELECT ?").Scan(&p); err == nil {
			t.Error("a missing argument is taken for NULL")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestOneStatementTwiceAtOnce(t *testing.T) {
	db := open(t, file(t), Options{})
	for id := device.HomeID(1); id <= 3; id++ {
		if err := add(db, id); err != nil {
			t.Fatal(err)
		}
	}
	pairs := 0
	err := db.View(context.Background(), func(tx *Tx) error {
		const q = "SELECT id FROM home ORDER BY id"
		a, err := tx.Query(q)
		if err != nil {
			return err
		}
		for a.Next() {
			b, err := tx.Query(q)
			if err != nil {
				return err
			}
			for b.Next() {
				pairs++
			}
		}
		return a.Err()
	})
	if err != nil || pairs != 9 {
		t.Errorf("pairs = %d, %v, want 9", pairs, err)
	}
}

func TestClosed(t *testing.T) {
	path := file(t)
	db := open(t, path, Options{})
	release := hold(t, db)
	var waiting error
	var wg sync.WaitGroup
	wg.Go(func() { waiting = add(db, 1) })
	queued(db, 1)
	wg.Go(func() {
		if err := db.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	<-db.closing
	// While another program has the file open, SQLite would leave the log as it is.
	c := raw(t, path)
	if _, err := c.text("SELECT count(*) FROM home"); err != nil {
		t.Fatal(err)
	}
	release()
	wg.Wait()
	if waiting != nil {
		t.Errorf("a unit that waited at Close: %v, want it done", waiting)
	}
	if err := add(db, 2); !errors.Is(err, ErrClosed) {
		t.Errorf("Update = %v, want ErrClosed", err)
	}
	if err := db.View(context.Background(), func(*Tx) error { return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("View = %v, want ErrClosed", err)
	}
	if fi, err := os.Stat(path + "-wal"); err == nil && fi.Size() > 0 {
		t.Errorf("Close left %d bytes in the log", fi.Size())
	}
	if got := homes(t, open(t, path, Options{})); fmt.Sprint(got) != "[1]" {
		t.Errorf("homes = %v, want [1]", got)
	}
}

func TestViewIsCancelled(t *testing.T) {
	db := open(t, file(t), Options{})
	ctx, cancel := context.WithCancel(context.Background())
	err := db.View(ctx, func(tx *Tx) error {
		rows, err := tx.Query("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n")
		if err != nil {
			return err
		}
		for rows.Next() {
			cancel()
		}
		return rows.Err()
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("View = %v, want context.Canceled", err)
	}
}

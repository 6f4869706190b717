package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
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
	if err := tx.QueryRow("SELECT count(*) FROM home WHERE name = ? AND removed = 0", h.Name).Scan(&n); err != nil {
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

func TestAddAndRead(t *testing.T) {
	db := open(t, file(t), Options{})
	for id := device.HomeID(1); id <= 3; id++ {
		if err := add(db, id); err != nil {
			t.Fatal(err)
		}
	}
	if got := homes(t, db); fmt.Sprint(got) != "[1 2 3]" {
		t.Errorf("homes = %v, want [1 2 3]", got)
	}
}

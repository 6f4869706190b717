package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestCheckFindsWhatWasAltered(t *testing.T) {
	tests := map[string]struct {
		sql  string
		want []string // beginnings
	}{
		"nothing":        {"UPDATE home SET name = name", nil},
		"text":           {"UPDATE home SET zone = 'Mars' WHERE id = 2", []string{"home (2): column zone is another text (4 bytes)"}},
		"number":         {"UPDATE home SET removed = 7 WHERE id = 3", []string{"home (3): column removed is 7, by the journal 0"}},
		"missing":        {"DELETE FROM home WHERE id = 2", []string{"home (2): the row is missing"}},
		"first missing":  {"DELETE FROM home WHERE id = 1", []string{"home (1): the row is missing"}},
		"last missing":   {"DELETE FROM home WHERE id = 3", []string{"home (3): the row is missing"}},
		"all missing":    {"DELETE FROM home", []string{"home (1)", "home (2)", "home (3)"}},
		"too many":       {"INSERT INTO home (id, name, zone) VALUES (9, 'x', 'UTC')", []string{"home (9): the row is there, the journal has none"}},
		"other table":    {"INSERT INTO brand (id, name, purposes, quota) VALUES ('acme', 'Acme', '[]', 1)", []string{"brand (acme): the row is there"}},
		"key":            {"UPDATE home SET id = 8 WHERE id = 2", []string{"home (2): the row is missing", "home (8): the row is there"}},
		"gap in a book":  {"UPDATE journal SET pos = 5 WHERE home = 3", []string{"journal (3): position 5 of home 3 does not fit its leaf", "journal (3): position 5 of home 3 follows 0", "home (3): the row is there"}},
		"event is gone":  {"DELETE FROM journal WHERE home = 2", []string{"home (2): the row is there, the journal has none"}},
		"event is other": {`UPDATE journal SET body = CAST('{"name":"home 2","zone":"Mars"}' AS BLOB) WHERE home = 2`, []string{"journal (2): position 1 of home 2 does not fit its leaf", "home (2): the row is there"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			path := made(t, 3)
			c := raw(t, path)
			must(t, c, tt.sql)
			c.close()
			before := files(t, path)
			var done, total int64
			diffs, err := Check(context.Background(), path, project, func(d, n int64) { done, total = d, n })
			if err != nil {
				t.Fatal(err)
			}
			if done != total || total == 0 {
				t.Errorf("progress ended at %d of %d", done, total)
			}
			if len(diffs) != len(tt.want) {
				t.Fatalf("diffs = %q, want %q", diffs, tt.want)
			}
			for i, d := range diffs {
				if !strings.HasPrefix(d, tt.want[i]) {
					t.Errorf("diff = %q, want %q", d, tt.want[i])
				}
			}
			if after := files(t, path); !strings.HasPrefix(after, strings.SplitN(before, "\n", 2)[0]) {
				t.Errorf("Check touched the file:\n%s\nbefore:\n%s", after, before)
			}
			if strings.Contains(name, "event") || strings.Contains(name, "gap") {
				return // there the journal is what was altered
			}
			if err := Rebuild(context.Background(), path, project); err != nil {
				t.Fatal(err)
			}
			if diffs, err := Check(context.Background(), path, project, nil); len(diffs) > 0 || err != nil {
				t.Errorf("after Rebuild, Check = %q, %v", diffs, err)
			}
			if got := homes(t, open(t, path, Options{})); fmt.Sprint(got) != "[1 2 3]" {
				t.Errorf("after Rebuild, homes = %v, want [1 2 3]", got)
			}
		})
	}
}

func TestCheckBesideAGateway(t *testing.T) {
	path := file(t)
	db := open(t, path, Options{})
	if err := add(db, 1); err != nil {
		t.Fatal(err)
	}
	if diffs, err := Check(context.Background(), path, project, nil); len(diffs) > 0 || err != nil {
		t.Errorf("Check = %q, %v", diffs, err)
	}
	if err := add(db, 2); err != nil {
		t.Errorf("Update after Check = %v", err)
	}
}

func TestRebuildChangesNothingWhenItFails(t *testing.T) {
	path := made(t, 3)
	boom := errors.New("boom")
	err := Rebuild(context.Background(), path, func(tx *Apply, e Event) error {
		if e.Home == 3 {
			return boom
		}
		return project(tx, e)
	})
	if !errors.Is(err, boom) || !strings.Contains(err.Error(), "event 3 (home.added, home 3, position 1)") {
		t.Errorf("Rebuild = %v, want boom at event 3", err)
	}
	if diffs, err := Check(context.Background(), path, project, nil); len(diffs) > 0 || err != nil {
		t.Errorf("Check = %q, %v", diffs, err)
	}
}

func TestCheckLeavesNothingBehind(t *testing.T) {
	path := made(t, 1)
	t.Setenv("TMPDIR", t.TempDir())
	if _, err := Check(context.Background(), path, project, nil); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); len(left) > 0 || err != nil {
		t.Errorf("left %v, %v", left, err)
	}
}

package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/fstest"

	"porchlight/device"
)

// A backup beside a busy writer has everything that was acknowledged before it began, is whole, and opens.
func TestBackupBesideAWriter(t *testing.T) {
	path := file(t)
	db := open(t, path, Options{})
	var acked, last atomic.Int64
	more := make(chan struct{}, 400) // what may be written in a round: else a fast machine's file would grow faster than it is copied
	var writers sync.WaitGroup
	defer writers.Wait()
	defer close(more)
	next := make(chan struct{}, 1)
	for range 16 {
		writers.Go(func() {
			for range more {
				if err := add(db, device.HomeID(last.Add(1))); err != nil { // each with a key of its own
					t.Error(err)
					return
				}
				acked.Add(1)
				select {
				case next <- struct{}{}:
				default:
				}
			}
		})
	}
	dir := t.TempDir()
	for round := range 20 {
		for full := false; !full; {
			select {
			case more <- struct{}{}:
			default:
				full = true
			}
		}
		<-next
		want := acked.Load()
		to := filepath.Join(dir, fmt.Sprintf("b%d.db", round))
		var told [2]int64
		s, err := Backup(t.Context(), path, to, func(done, total int64) {
			if told = [2]int64{done, total}; done == 0 {
				if err := add(db, device.HomeID(last.Add(1))); err != nil { // and its key, before anything is copied
					t.Error(err)
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if fi, err := os.Stat(to); err != nil || fi.Mode() != 0o600 || told != [2]int64{fi.Size(), fi.Size()} {
			t.Errorf("%v, %v; progress told %v", fi.Mode(), err, told)
		}
		if left, _ := filepath.Glob(to + "*"); len(left) != 2 {
			t.Errorf("the backup is %q, want the database and its keys", left)
		}
		before := contents(t, dir)
		h, err := Examine(t.Context(), to, project, nil)
		if err != nil || len(h.Wrong) > 0 || !h.Settled || h.Events != s.Seq || s.Seq < want || h.Schema != newest() || s.Began == 0 {
			t.Fatalf("round %d: %+v, %v; the backup says %+v, and %d events were acknowledged before it", round, h, err, s, want)
		}
		if again, err := Verify(t.Context(), to); again != s || err != nil {
			t.Errorf("Verify = %+v, %v, want %+v", again, err, s)
		}
		if !reflect.DeepEqual(before, contents(t, dir)) {
			t.Error("to look at a backup has changed it")
		}
		restored := open(t, to, Options{})
		if n := len(homes(t, restored)); int64(n) != s.Seq {
			t.Errorf("%d homes, want %d", n, s.Seq)
		}
		if err := add(restored, 1_000_000); err != nil {
			t.Errorf("the backup cannot be gone on with: %v", err)
		}
		if err := restored.Close(); err != nil {
			t.Error(err)
		}
		for _, name := range []string{to, to + ".keys", to + ".lock"} {
			if err := os.Remove(name); err != nil {
				t.Error(err)
			}
		}
	}
}

// What is erased while a backup is made is in no backup that ends after it, and no backup is torn by it.
func TestBackupBesideAnErase(t *testing.T) {
	path := file(t)
	db := house(t, path)
	for home := range device.HomeID(30) {
		furnish(t, db, home+1)
	}
	var erased atomic.Int64 // homes up to this one have nothing of anna any more
	var eraser sync.WaitGroup
	defer eraser.Wait()
	eraser.Go(func() {
		for home := range device.HomeID(30) {
			if _, err := db.Erase(context.Background(), "", home+1, nil, []device.PersonID{anna}, "asked for"); err != nil {
				t.Error(err)
				return
			}
			erased.Store(int64(home + 1))
		}
	})
	dir := t.TempDir()
	for round := 0; erased.Load() < 30 && !t.Failed(); round++ {
		to := filepath.Join(dir, fmt.Sprintf("b%d.db", round))
		before := erased.Load()
		_, err := Backup(t.Context(), path, to, nil)
		if errors.Is(err, ErrBusy) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if h, err := Examine(t.Context(), to, projectHouse, nil); err != nil || len(h.Wrong) > 0 {
			t.Fatalf("round %d: %+v, %v", round, h, err)
		}
		restored := open(t, to, Options{Project: projectHouse, Clear: clearHouse})
		for home := range device.HomeID(before) {
			for _, e := range pages(t, restored, home+1) {
				if e.Subject == anna {
					t.Errorf("round %d: position %d of home %d is about anna, who was erased before it began", round, e.Pos, home+1)
				}
			}
		}
		if err := restored.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Between the copy of the database and that of its keys something is erased: the backup begins anew.
func TestBackupBeginsAnew(t *testing.T) {
	path := file(t)
	db := house(t, path)
	furnish(t, db, 1)
	to := file(t)
	tries := 0
	s, err := Backup(t.Context(), path, to, func(done, total int64) {
		if done != total {
			return
		}
		if tries++; tries > 1 { // the database was copied, the keys were not
			return
		}
		if _, err := db.Erase(context.Background(), "", 1, nil, []device.PersonID{anna}, "asked for"); err != nil {
			t.Error(err)
		}
	})
	if err != nil || tries != 2 {
		t.Fatalf("%+v, %v after %d tries, want 2", s, err, tries)
	}
	if h, err := Examine(t.Context(), to, projectHouse, nil); err != nil || len(h.Wrong) > 0 {
		t.Errorf("%+v, %v", h, err)
	}
}

// A backup that fails leaves nothing behind, and says why.
func TestBackupFails(t *testing.T) {
	path := made(t, 3)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	tests := map[string]struct {
		ctx  context.Context
		edit func(path, to string)
		want error
	}{
		"ended":       {ended, nil, context.Canceled},
		"no database": {nil, func(path, _ string) { os.Remove(path) }, fs.ErrNotExist},
		"no keys":     {nil, func(path, _ string) { os.Remove(path + ".keys") }, ErrKeys},
		"a key is gone": {nil, func(path, _ string) {
			must(t, raw(t, path+".keys"), "UPDATE sealing SET secret = zeroblob(32) WHERE id = 2")
		}, ErrKeys},
		"there":     {nil, func(_, to string) { os.WriteFile(to, []byte("mine"), 0o600) }, fs.ErrExist},
		"no folder": {nil, func(_, to string) { os.Remove(filepath.Dir(to)) }, fs.ErrNotExist},
		"newer schema": {nil, func(path, _ string) {
			must(t, raw(t, path), "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)")
		}, ErrNewer},
		"a row refers to nothing": {nil, func(path, _ string) {
			must(t, raw(t, path), "INSERT INTO room (home, id, name) VALUES (99, 1, 'x')")
		}, ErrCorrupt},
		"another's keys": {nil, func(path, _ string) {
			other := made(t, 3)
			if err := os.Rename(other+".keys", path+".keys"); err != nil {
				t.Fatal(err)
			}
		}, ErrKeys},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			from, to := file(t), file(t)
			if err := Copy(t.Context(), path, from); err != nil {
				t.Fatal(err)
			}
			if tt.edit != nil {
				tt.edit(from, to)
			}
			ctx := tt.ctx
			if ctx == nil {
				ctx = t.Context()
			}
			if _, err := Backup(ctx, from, to, nil); !errors.Is(err, tt.want) {
				t.Errorf("Backup = %v, want %v", err, tt.want)
			}
			if left, _ := os.ReadDir(filepath.Dir(to)); len(left) > 0 && name != "there" {
				t.Errorf("it left %v", left)
			}
			if b, err := os.ReadFile(to); name == "there" && string(b) != "mine" {
				t.Errorf("what was there is %q, %v", b, err)
			}
		})
	}
}

func TestBackupDiskFull(t *testing.T) {
	path := file(t)
	db := open(t, path, Options{})
	err := db.Update(func(tx *Tx) error {
		for id := range device.HomeID(2000) {
			if _, err := tx.Append(id+1, 0, "home.added", homeAdded{fmt.Sprintf("home %d %s", id, strings.Repeat("x", 2000)), "UTC"}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	dir := tmpfs(t, 2<<20)
	if _, err := Backup(t.Context(), path, filepath.Join(dir, "b.db"), nil); !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), dir) {
		t.Errorf("Backup = %v, want ErrFull, and where", err)
	}
	if left, err := os.ReadDir(dir); len(left) > 0 || err != nil {
		t.Errorf("it left %v, %v", left, err)
	}
	if err := db.Healthy(); err != nil {
		t.Errorf("the gateway's own is not healthy: %v", err)
	}
}

// versions has the schema as it is, and more migrations after it.
func versions(t *testing.T, more ...string) fs.FS {
	t.Helper()
	all := fstest.MapFS{}
	names, err := fs.Glob(embedded, "migrations/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		raw, err := embedded.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = &fstest.MapFile{Data: raw}
	}
	for i, text := range more {
		all[fmt.Sprintf("migrations/%05d_more.sql", len(names)+i+1)] = &fstest.MapFile{Data: []byte("-- +goose Up\n" + text)}
	}
	return all
}

// A database of this version is opened by the next: its tables change, what is in them stays, and this version then refuses it.
// A migration that fails leaves everything as it was.
func TestUpgradeAndDowngrade(t *testing.T) {
	defer func() { migrations = embedded }()
	path := made(t, 3)
	this := newest()

	migrations = versions(t, "ALTER TABLE home ADD COLUMN colour TEXT NOT NULL DEFAULT 'green';\nINSERT INTO home SELECT * FROM nowhere;")
	if _, err := Open(t.Context(), path, Options{Project: project}); err == nil || !strings.Contains(err.Error(), "migrate") {
		t.Fatalf("Open = %v with a migration that fails half way", err)
	}
	migrations = embedded
	if have, _, err := Inspect(path); have != this || err != nil {
		t.Errorf("after a migration that failed: version %d, %v, want %d", have, err, this)
	}
	if diffs, err := Check(t.Context(), path, project, nil); len(diffs) > 0 || err != nil {
		t.Errorf("after a migration that failed: Check = %v, %v", diffs, err)
	}

	migrations = versions(t, "ALTER TABLE home ADD COLUMN colour TEXT NOT NULL DEFAULT 'green';")
	db := open(t, path, Options{})
	if got := homes(t, db); !reflect.DeepEqual(got, []device.HomeID{1, 2, 3}) {
		t.Errorf("homes %v", got)
	}
	if err := add(db, 4); err != nil {
		t.Error(err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	if have, known, err := Inspect(path); have != this+1 || known != this+1 || err != nil {
		t.Errorf("Inspect = %d, %d, %v, want %d", have, known, err, this+1)
	}
	if err := Rebuild(t.Context(), path, project); err != nil {
		t.Error(err)
	}
	if diffs, err := Check(t.Context(), path, project, nil); len(diffs) > 0 || err != nil {
		t.Errorf("Check = %v, %v", diffs, err)
	}
	to := file(t)
	if s, err := Backup(t.Context(), path, to, nil); err != nil || s.Schema != this+1 {
		t.Errorf("Backup = %+v, %v", s, err)
	}

	migrations = embedded
	before := files(t, path)
	refused(t, path, ErrNewer)
	if _, err := Open(t.Context(), path, Options{Project: project}); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("version %d, this program knows %d: run the newer program, or put back a backup", this+1, this)) {
		t.Errorf("Open = %v, want both versions and the fix", err)
	}
	if after := files(t, path); before != after {
		t.Errorf("files were touched:\n%s\nbefore:\n%s", after, before)
	}
	if _, err := Verify(t.Context(), to); !errors.Is(err, ErrNewer) {
		t.Errorf("Verify = %v, want ErrNewer", err)
	}
}

// A database of schema version 1 kept the decisions of deliveries beside them: it is opened, and each delivery knows where its
// claim is in the home's book, also of two at one instant.
func TestDecisionsMoveIntoTheBook(t *testing.T) {
	defer func() { migrations = embedded }()
	first, err := embedded.ReadFile("migrations/00001_house.sql")
	if err != nil {
		t.Fatal(err)
	}
	migrations = fstest.MapFS{"migrations/00001_house.sql": &fstest.MapFile{Data: first}}
	path := made(t, 1)
	type claimed struct {
		Message device.MessageID `json:"message"`
		Device  device.ID        `json:"device"`
	}
	projector := func(column string, value func(Event) any) Projector {
		return func(tx *Apply, e Event) error {
			if e.Kind != "delivery.claimed" {
				return project(tx, e)
			}
			return With(e, func(f claimed) error {
				return tx.Exec("INSERT INTO delivery (home, message, device, brand, purpose, category, claimed, "+column+") VALUES (?, ?, ?, 'grocer', 1, '', ?, ?)",
					e.Home, f.Message[:], f.Device, e.At, value(e))
			})
		}
	}
	var now device.Instant
	db, err := Open(t.Context(), path, Options{Project: projector("decision", func(Event) any { return "{}" }), Now: func() device.Instant { return now }})
	if err != nil {
		t.Fatal(err)
	}
	for i, at := range []device.Instant{100, 200, 200} {
		now = at
		if err := db.Update(func(tx *Tx) error {
			_, err := tx.Add(1, "delivery.claimed", claimed{device.MessageID{byte(i + 2)}, "tv"})
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	migrations = embedded
	db = open(t, path, Options{})
	var got string
	if err := db.View(t.Context(), func(tx *Tx) error {
		return tx.QueryRow("SELECT group_concat(substr(hex(message), 1, 2) || ':' || pos, ' ' ORDER BY message) FROM delivery").Scan(&got)
	}); err != nil {
		t.Fatal(err)
	}
	if want := "02:2 03:3 04:4"; got != want {
		t.Errorf("positions of claims = %q, want %q", got, want)
	}
	if diffs, err := Check(t.Context(), path, projector("pos", func(e Event) any { return e.Pos }), nil); len(diffs) > 0 || err != nil {
		t.Errorf("Check = %q, %v", diffs, err)
	}
}

// What root does in the folder of a gateway that runs as somebody else leaves a lock that the gateway can take.
func TestLockIsTheFoldersOwners(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	path := file(t)
	if err := os.Chown(filepath.Dir(path), 4242, 4343); err != nil {
		t.Fatal(err)
	}
	hold, err := Hold(path)
	if err != nil {
		t.Fatal(err)
	}
	defer hold.Close()
	fi, err := os.Stat(path + ".lock")
	if err != nil {
		t.Fatal(err)
	}
	if owner := fi.Sys().(*syscall.Stat_t); owner.Uid != 4242 || owner.Gid != 4343 {
		t.Errorf("the lock belongs to %d:%d, want 4242:4343", owner.Uid, owner.Gid)
	}
}

package store

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mattn/go-sqlite3"

	"porchlight/device"
)

// raw opens path as any SQLite program would.
func raw(t testing.TB, path string) *conn {
	t.Helper()
	dc, err := (&sqlite3.SQLiteDriver{}).Open("file:" + path)
	if err != nil {
		t.Fatal(err)
	}
	c := &conn{c: dc.(*sqlite3.SQLiteConn), path: path, sets: make(map[string]*[]*stmt)}
	t.Cleanup(func() { c.close() })
	return c
}

// must runs statements on c.
func must(t testing.TB, c *conn, queries ...string) {
	t.Helper()
	for _, q := range queries {
		if err := c.exec(q); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
}

// made makes a database of n homes and closes it.
func made(t testing.TB, n int) (path string) {
	t.Helper()
	path = file(t)
	db := open(t, path, Options{})
	for id := 1; id <= n; id++ {
		if err := add(db, device.HomeID(id)); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// refused opens path and wants is, in a message that names the file.
func refused(t testing.TB, path string, is error) {
	t.Helper()
	db, err := Open(context.Background(), path, Options{Project: project})
	if err == nil {
		db.Close()
	}
	if !errors.Is(err, is) || !strings.Contains(err.Error(), path) {
		t.Errorf("Open = %v, want %v, and the path", err, is)
	}
}

func TestMode(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	path := file(t)
	db := open(t, path, Options{})
	if err := add(db, 1); err != nil {
		t.Fatal(err)
	}
	_ = homes(t, db)
	for _, suffix := range []string{"", "-wal", "-shm", ".lock", ".keys"} {
		fi, err := os.Stat(path + suffix)
		if err != nil || fi.Mode() != 0o600 {
			t.Errorf("%s: mode %v, %v, want 0600", suffix, fi.Mode(), err)
		}
	}
}

func TestPragmas(t *testing.T) {
	path := made(t, 1)
	writer, reader := forWriting(path, Options{}), forReading(path, 0)
	want := map[string]string{
		"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "5000", "secure_delete": "2",
		"cache_size": "-16384", "wal_autocheckpoint": "0", "journal_size_limit": "270008320", "page_size": "4096", "query_only": "0", "mmap_size": "0",
	}
	c, err := writer.open()
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	for name, value := range want {
		if got, err := c.text("PRAGMA " + name); got != value || err != nil {
			t.Errorf("writer: %s = %s, %v, want %s", name, got, err, value)
		}
	}
	r, err := reader.open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	if err := r.exec("DELETE FROM home"); err == nil {
		t.Error("a reader can write")
	}
	// Spell each word of the DSN wrong in turn: the driver ignores it, we must not.
	for _, s := range []settings{writer, reader} {
		for _, word := range []string{"_synchronous", "_foreign_keys", "_busy_timeout=5000", "_secure_delete", "_cache_size", "_query_only"} {
			if !strings.Contains(s.dsn, word) {
				continue
			}
			bad := s
			bad.dsn = strings.Replace(s.dsn, word, "x"+word, 1)
			if word == "_busy_timeout=5000" {
				bad.dsn = strings.Replace(s.dsn, word, "_busy_timeout=50", 1)
			}
			if c, err := bad.open(); !errors.Is(err, ErrFailed) {
				t.Errorf("open %s = %v, want ErrFailed", bad.dsn, err)
				if err == nil {
					c.close()
				}
			}
		}
	}
	for i, p := range writer.pragmas {
		bad := writer
		bad.pragmas = append([]pragma(nil), writer.pragmas...)
		bad.pragmas[i] = pragma{p.name, "12345", false}
		if c, err := bad.open(); !errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), p.name) {
			t.Errorf("open with %s = %v, want ErrFailed that names it", p.name, err)
			if err == nil {
				c.close()
			}
		}
	}
}

func TestNewerIsNotTouched(t *testing.T) {
	path := made(t, 3)
	c := raw(t, path)
	must(t, c, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)")
	// A copy of the file and its log as a crash would leave them: the version is in the log alone.
	crashed := file(t)
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if suffix == "" && bytes.Equal(b[18:20], []byte{1, 1}) {
			t.Fatal("the file is not in WAL mode")
		}
		if err := os.WriteFile(crashed+suffix, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c.close()
	for name, path := range map[string]string{"closed": path, "crashed": crashed} {
		before := files(t, path)
		refused(t, path, ErrNewer)
		if err := Rebuild(context.Background(), path, project); !errors.Is(err, ErrNewer) {
			t.Errorf("%s: Rebuild = %v, want ErrNewer", name, err)
		}
		if after := files(t, path); before != after {
			t.Errorf("%s: files were touched:\n%s\nbefore:\n%s", name, after, before)
		}
		if _, err := Check(context.Background(), path, project, nil); !errors.Is(err, ErrNewer) {
			t.Errorf("%s: Check = %v, want ErrNewer", name, err)
		}
		if have, known, err := Inspect(path); have != 99 || known != newest() || err != nil {
			t.Errorf("%s: Inspect = %d, %d, %v, want 99, %d", name, have, known, err, newest())
		}
	}
}

// files describes the database and what SQLite keeps beside it, but not the shared memory, which is no data.
func files(t testing.TB, path string) string {
	t.Helper()
	var b strings.Builder
	for _, suffix := range []string{"", "-wal"} {
		data, err := os.ReadFile(path + suffix)
		if err != nil {
			fmt.Fprintf(&b, "%q %v\n", suffix, errors.Is(err, fs.ErrNotExist))
			continue
		}
		fi, err := os.Stat(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%q %d bytes %x %v\n", suffix, len(data), sha256.Sum256(data), fi.ModTime())
	}
	return b.String()
}

func TestCorrupt(t *testing.T) {
	garbage := make([]byte, 4096)
	rand.Read(garbage)
	write := func(at int64, b []byte) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.WriteAt(b, at); err != nil {
				t.Fatal(err)
			}
		}
	}
	tests := map[string]func(t *testing.T, path string){
		"header": write(0, garbage[:100]),
		"text":   write(0, []byte("Dear diary, this is no database at all, and never has been one, whatever its name may say to you")),
		"schema": write(100, garbage[:2000]),
		"cut": func(t *testing.T, path string) {
			if err := os.Truncate(path, 4096); err != nil {
				t.Fatal(err)
			}
		},
		"another program's": func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			c := raw(t, path)
			must(t, c, "CREATE TABLE cats (name TEXT)")
			c.close()
		},
	}
	for name, damage := range tests {
		t.Run(name, func(t *testing.T) {
			path := made(t, 3)
			damage(t, path)
			refused(t, path, ErrCorrupt)
			if err := Rebuild(context.Background(), path, project); !errors.Is(err, ErrCorrupt) {
				t.Errorf("Rebuild = %v, want ErrCorrupt", err)
			}
		})
	}
}

func TestCorruptPage(t *testing.T) {
	path := made(t, 1)
	c := raw(t, path)
	root, err := c.text("SELECT rootpage FROM sqlite_schema WHERE name = 'home'")
	if err != nil {
		t.Fatal(err)
	}
	c.close()
	var page int64
	fmt.Sscan(root, &page)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(bytes.Repeat([]byte{0xee}, 4096), (page-1)*4096); err != nil {
		t.Fatal(err)
	}
	f.Close()
	db := open(t, path, Options{})
	err = db.View(context.Background(), func(tx *Tx) error {
		var name string
		return tx.QueryRow("SELECT name FROM home WHERE id = 1").Scan(&name)
	})
	if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), path) {
		t.Errorf("View = %v, want ErrCorrupt and the path", err)
	}
	if err := add(db, 2); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Update = %v, want ErrCorrupt", err)
	}
	if err := db.Healthy(); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Healthy = %v, want ErrCorrupt", err)
	}
}

func TestLocked(t *testing.T) {
	path := file(t)
	db := open(t, path, Options{busy: 20 * time.Millisecond})
	refused(t, path, ErrBusy)
	if _, err := Open(context.Background(), path, Options{Project: project}); err == nil || !strings.Contains(err.Error(), path+".lock") || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Errorf("Open = %v, want the lock file and the process named", err)
	}
	if err := Rebuild(context.Background(), path, project); !errors.Is(err, ErrBusy) {
		t.Errorf("Rebuild = %v, want ErrBusy", err)
	}
	c := raw(t, path)
	must(t, c, "BEGIN IMMEDIATE")
	var wg sync.WaitGroup
	for id := range device.HomeID(3) {
		wg.Go(func() {
			if err := add(db, id+1); !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), path) {
				t.Errorf("Update = %v, want ErrBusy and the path", err)
			}
		})
	}
	wg.Wait()
	if err := db.Healthy(); !errors.Is(err, ErrBusy) {
		t.Errorf("Healthy = %v, want ErrBusy", err)
	}
	must(t, c, "COMMIT")
	if err := add(db, 1); err != nil {
		t.Errorf("Update after the lock = %v", err)
	}
	if err := db.Healthy(); err != nil {
		t.Errorf("Healthy = %v after a commit", err)
	}
}

// tmpfs mounts a file system of size bytes.
func tmpfs(t *testing.T, size int) string {
	t.Helper()
	dir := t.TempDir()
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount a small file system; TestQuota covers what can be without")
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Skipf("cannot mount a small file system: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

// big appends one home with a long name.
func big(db *DB, id device.HomeID) error {
	return db.Update(func(tx *Tx) error {
		_, err := tx.Append(id, 0, "home.added", homeAdded{fmt.Sprintf("home %d %s", id, strings.Repeat("x", 2000)), "UTC"})
		return err
	})
}

// fill appends from many callers until each has met ErrFull, and returns what was acknowledged.
func fill(t *testing.T, db *DB) *sync.Map {
	t.Helper()
	var acked sync.Map
	var last atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 5000 {
				id := device.HomeID(last.Add(1))
				err := big(db, id)
				if errors.Is(err, ErrFull) {
					if !strings.Contains(err.Error(), db.path) {
						t.Errorf("the error does not name the file: %v", err)
					}
					return
				}
				if err != nil {
					t.Errorf("Update = %v, want ErrFull at last", err)
					return
				}
				acked.Store(id, true)
			}
			t.Error("the disk is never full")
		})
	}
	wg.Wait()
	if err := db.Healthy(); !errors.Is(err, ErrFull) {
		t.Errorf("Healthy = %v, want ErrFull", err)
	}
	return &acked
}

// same fails unless the homes are those that were acknowledged.
func same(t *testing.T, db *DB, acked *sync.Map) {
	t.Helper()
	n := 0
	for _, id := range homes(t, db) {
		if _, ok := acked.Load(id); !ok {
			t.Errorf("home %d is there, its caller was told it is not", id)
		}
		n++
	}
	want := 0
	acked.Range(func(_, _ any) bool { want++; return true })
	if n != want || n == 0 {
		t.Errorf("%d homes, %d were acknowledged", n, want)
	}
}

func TestDiskFull(t *testing.T) {
	dir := tmpfs(t, 5<<20)
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 3<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "p.db")
	db := open(t, path, Options{})
	defer db.Close() // before the unmount
	acked := fill(t, db)
	same(t, db, acked)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := big(db, 100_000); err != nil {
		t.Fatalf("Update after space returned = %v", err)
	}
	acked.Store(device.HomeID(100_000), true)
	if err := db.Healthy(); err != nil {
		t.Errorf("Healthy = %v after space returned", err)
	}
	same(t, db, acked)
	if err := db.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	db = open(t, path, Options{})
	defer db.Close()
	same(t, db, acked)
	if diffs, err := Check(context.Background(), path, project, nil); len(diffs) > 0 || err != nil {
		t.Errorf("Check = %v, %v", diffs, err)
	}
}

func TestQuota(t *testing.T) {
	path := file(t)
	db := open(t, path, Options{maxPages: 300})
	acked := fill(t, db)
	same(t, db, acked)
	err := db.Update(func(tx *Tx) error { _, err := tx.c.text("PRAGMA max_page_count = 100000"); return err })
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Healthy(); !errors.Is(err, ErrFull) {
		t.Errorf("Healthy = %v before anything was written, want ErrFull still", err)
	}
	if err := big(db, 100_000); err != nil {
		t.Fatalf("Update after space returned = %v", err)
	}
	acked.Store(device.HomeID(100_000), true)
	if err := db.Healthy(); err != nil {
		t.Errorf("Healthy = %v after space returned", err)
	}
	same(t, db, acked)
	if diffs, err := Check(context.Background(), path, project, nil); len(diffs) > 0 || err != nil {
		t.Errorf("Check = %v, %v", diffs, err)
	}
}

// TestNothingFollowsARollback has a projector that goes on after SQLite itself has rolled back: what it
// writes then must not commit by itself.
func TestNothingFollowsARollback(t *testing.T) {
	db := open(t, file(t), Options{maxPages: 60, Project: func(tx *Apply, e Event) error {
		first := tx.Exec("INSERT INTO home (id, name, zone) VALUES (1, ?, 'UTC')", strings.Repeat("x", 1<<20))
		if !errors.Is(first, ErrFull) {
			t.Errorf("Exec = %v, want ErrFull", first)
		}
		if err := tx.Exec("INSERT INTO home (id, name, zone) VALUES (2, 'two', 'UTC')"); err == nil {
			t.Error("a statement runs without its transaction")
		}
		return nil
	}})
	if err := add(db, 1); !errors.Is(err, ErrFull) {
		t.Errorf("Update = %v, want ErrFull", err)
	}
	if got := homes(t, db); len(got) > 0 {
		t.Errorf("homes = %v, want none", got)
	}
}

// TestAQuotaFailsOnlyWhoeverExceedsIt has a shared transaction that SQLite itself rolls back.
func TestAQuotaFailsOnlyWhoeverExceedsIt(t *testing.T) {
	db := open(t, file(t), Options{maxPages: 60})
	release := hold(t, db)
	errs := make([]error, 3)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			errs[i] = db.Update(func(tx *Tx) error {
				name := fmt.Sprint("home ", i)
				if i == 1 {
					name = strings.Repeat("x", 1<<20)
				}
				_, err := tx.Append(device.HomeID(i+1), 0, "home.added", homeAdded{name, "UTC"})
				if i == 1 {
					// What a careless unit does after the error must not commit by itself.
					_, _ = tx.Append(9, 0, "home.added", homeAdded{"nine", "UTC"})
					return nil
				}
				return err
			})
		})
		queued(db, i+1)
	}
	release()
	wg.Wait()
	if errs[0] != nil || !errors.Is(errs[1], ErrFull) || errs[2] != nil {
		t.Errorf("errors = %v, want ErrFull for the second alone", errs)
	}
	if got := homes(t, db); fmt.Sprint(got) != "[1 3]" {
		t.Errorf("homes = %v, want [1 3]", got)
	}
}

func TestReadOnly(t *testing.T) {
	if os.Geteuid() != 0 {
		path := made(t, 1)
		if err := os.Chmod(path, 0o400); err != nil {
			t.Fatal(err)
		}
		refused(t, path, ErrReadOnly)
		path = made(t, 1)
		if err := os.Chmod(filepath.Dir(path), 0o500); err != nil {
			t.Fatal(err)
		}
		defer os.Chmod(filepath.Dir(path), 0o700)
		refused(t, path, ErrReadOnly)
		return
	}
	dir := tmpfs(t, 4<<20)
	alone := made(t, 1) // the file alone cannot be written
	if err := syscall.Mount(alone, alone, "", syscall.MS_BIND, ""); err != nil {
		t.Skipf("cannot bind a file: %v", err)
	}
	defer func() {
		if err := syscall.Unmount(alone, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", alone, err)
		}
	}()
	if err := syscall.Mount("", alone, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Skipf("cannot make a file read-only: %v", err)
	}
	refused(t, alone, ErrReadOnly)

	path := filepath.Join(dir, "p.db")
	db := open(t, path, Options{})
	if err := add(db, 1); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Skipf("cannot make it read-only: %v", err)
	}
	refused(t, path, ErrReadOnly)
	refused(t, filepath.Join(dir, "new.db"), ErrReadOnly)
}

func TestNoFolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none", "p.db")
	refused(t, path, fs.ErrNotExist)
	if _, err := Check(context.Background(), path, project, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Check = %v, want ErrNotExist", err)
	}
	if _, _, err := Inspect(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Inspect = %v, want ErrNotExist", err)
	}
	if err := Rebuild(context.Background(), path, project); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Rebuild = %v, want ErrNotExist", err)
	}
}

// TestCrash kills a process in the middle of a stream of units: what it acknowledged is in the file.
func TestCrash(t *testing.T) {
	if path := os.Getenv("STORE_CRASH"); path != "" {
		crash(t, path)
		return
	}
	path := file(t)
	next := 1
	acked := make(map[device.HomeID]bool)
	for round := range 5 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestCrash$")
		cmd.Env = append(os.Environ(), "STORE_CRASH="+path, fmt.Sprint("STORE_FIRST=", next))
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(out)
		n := 0
		for {
			line, err := lines.ReadString('\n')
			if err == io.EOF {
				break // what it had written before its end has been read, too
			}
			if err != nil {
				t.Fatal(err)
			}
			var id int
			if _, err := fmt.Sscanf(line, "acked %d\n", &id); err != nil {
				t.Fatalf("the child said %q", line)
			}
			acked[device.HomeID(id)] = true
			next = max(next, id+100)
			if n++; n == 50+37*round {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = cmd.Wait()
		db := open(t, path, Options{})
		there := make(map[device.HomeID]bool)
		for _, id := range homes(t, db) {
			there[id] = true
		}
		for id := range acked {
			if !there[id] {
				t.Errorf("round %d: home %d was acknowledged and is lost", round, id)
			}
		}
		if diffs, err := Check(context.Background(), path, project, nil); len(diffs) > 0 || err != nil {
			t.Errorf("round %d: Check = %v, %v", round, diffs, err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(acked) < 500 {
		t.Errorf("only %d units in five rounds", len(acked))
	}
}

// crash appends homes from eight callers until it is killed.
func crash(t *testing.T, path string) {
	var first int64
	fmt.Sscan(os.Getenv("STORE_FIRST"), &first)
	db, err := Open(context.Background(), path, Options{Project: project})
	if err != nil {
		t.Fatal(err)
	}
	var last atomic.Int64
	last.Store(first)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				id := last.Add(1)
				if err := add(db, device.HomeID(id)); err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
				fmt.Fprintf(os.Stdout, "acked %d\n", id) // one write: whole or not at all
			}
		})
	}
	wg.Wait()
}

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"porchlight/broker/api"
	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/store"
)

// busy is a gateway whose brand never rests, with what was acknowledged.
type busy struct {
	*crash
	mu    sync.Mutex
	acked []device.MessageID
	some  chan struct{} // something was acknowledged
	stop  func()
}

func newBusy(t *testing.T) *busy {
	t.Helper()
	t.Setenv("GORACE", "atexit_sleep_ms=0") // otherwise each command ends a second late
	dir := t.TempDir()
	b := &busy{some: make(chan struct{}, 1), crash: &crash{t: t, data: filepath.Join(dir, "d"), config: filepath.Join(dir, "gateway.yaml")}}
	if err := os.WriteFile(b.config, []byte(ports+"brands: {rate: 1000000, burst: 1000000}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.start()
	b.open()
	status, err := ask[api.Status](&env{ctx: t.Context(), data: b.data}, "status", api.None{})
	if err != nil {
		t.Fatal(err)
	}
	key, err := exec.Command("porchlight", "--data", b.data, "brand", "add", "fresh", "--name", "Fresh", "--purpose", "marketing", "--quota", "1000000").Output()
	if err != nil {
		t.Fatalf("brand add: %v", err)
	}
	b.url, b.key = "http://"+status.Gateway.Listeners["http"], strings.TrimSpace(string(key))

	var enough atomic.Bool
	var senders sync.WaitGroup
	for i := range 4 {
		senders.Go(func() {
			for n := 0; !enough.Load(); n++ {
				time.Sleep(5 * time.Millisecond) // so that there is not more to look through than to be busy with
				body := fmt.Sprintf(`{"purpose": "marketing", "not_after": %q, "texts": [{"language": "en", "body": "%d of %d"}]}`, time.Now().Add(time.Hour).UTC().Format(time.RFC3339), n, i)
				status, raw := b.ask("POST", "/v1/messages", fmt.Sprintf("k-%d-%d", i, n), []byte(body))
				var m api.Message
				err := json.Unmarshal(raw, &m)
				id, e := device.ParseMessageID(m.ID)
				if status != http.StatusAccepted || err != nil || e != nil {
					t.Errorf("push: %d %s", status, raw)
					return
				}
				b.mu.Lock()
				b.acked = append(b.acked, id)
				b.mu.Unlock()
				select {
				case b.some <- struct{}{}:
				default:
				}
			}
		})
	}
	b.stop = sync.OnceFunc(func() { enough.Store(true); senders.Wait(); b.end(); b.client.CloseIdleConnections() })
	t.Cleanup(b.stop)
	return b
}

// so far is what was acknowledged, after one more was.
func (b *busy) soFar() []device.MessageID {
	b.t.Helper()
	select {
	case <-b.some:
	case <-time.After(crashPatience):
		b.hangs("take messages")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.acked)
}

// has fails unless the database at path has every message of want.
func has(t *testing.T, path string, want []device.MessageID) {
	t.Helper()
	db, err := store.Open(t.Context(), path, store.Options{Project: delivery.Project})
	if err != nil {
		t.Fatal(err)
	}
	err = db.View(t.Context(), func(tx *store.Tx) error {
		all, err := store.List(tx, func(scan func(...any) error) (id []byte, err error) { return id, scan(&id) }, "SELECT id FROM message")
		if err != nil {
			return err
		}
		there := map[device.MessageID]bool{}
		for _, id := range all {
			there[device.MessageID(id)] = true
		}
		for _, id := range want {
			if !there[id] {
				t.Errorf("message %s was acknowledged before the backup began, and is not in it", id)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}

// Beside a gateway that takes messages in all the time, each backup is whole, can be restored, and has everything that was
// acknowledged before it began.
func TestBackupsOfABusyGateway(t *testing.T) {
	b := newBusy(t)
	to := filepath.Join(t.TempDir(), "b")
	for round := range 20 {
		want := b.soFar()
		out, err := exec.Command("porchlight", "--data", b.data, "backup", "--to", to, "--keep", "3", "--json").CombinedOutput()
		var made backedUp
		if err == nil {
			err = json.Unmarshal(out, &made)
		}
		if err != nil {
			t.Fatalf("round %d: backup: %v\n%s", round, err, out)
		}
		data := filepath.Join(t.TempDir(), "r")
		if out, err := exec.Command("porchlight", "--data", data, "restore", made.Backup).CombinedOutput(); err != nil {
			t.Fatalf("round %d: restore: %v\n%s", round, err, out)
		}
		if out, err := exec.Command("porchlight", "--data", data, "check").CombinedOutput(); err != nil || !bytes.Contains(out, []byte("\nwhole: ")) {
			t.Fatalf("round %d: check: %v\n%s", round, err, out)
		}
		has(t, filepath.Join(data, databaseFile), want)
	}
	b.stop()
	if left := backupsIn(t, to); len(left) != 3 {
		t.Errorf("%d backups are there, want the 3 newest", len(left))
	}
	t.Logf("%d messages were acknowledged", len(b.acked))
}

// backupsIn lists what looks like a backup.
func backupsIn(t *testing.T, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			all = append(all, filepath.Join(dir, e.Name()))
		}
	}
	return all
}

// A backup that is killed, interrupted or has no space leaves nothing that looks like one, and the next is made as if nothing had been.
func TestBackupIsCutShort(t *testing.T) {
	b := newBusy(t)
	b.soFar()
	if err := copyTo(io.LimitReader(zeros{}, 32<<20), filepath.Join(b.data, "credentials", "large.yaml"), 0o600); err != nil { // it takes a while
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "b")
	rng := rand.New(rand.NewPCG(rand.Uint64(), 0))
	checked := map[string]bool{}
	wholes := func() {
		t.Helper()
		for _, name := range backupsIn(t, to) {
			if checked[name] {
				continue
			}
			checked[name] = true
			if out, err := exec.Command("porchlight", "check", name).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", name, err, out)
			}
		}
	}
	for _, how := range []os.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		caught := 0
		for try := 0; caught < 5; try++ {
			if try == 200 {
				t.Fatalf("%v: no backup was caught in the middle", how)
			}
			var out bytes.Buffer
			cmd := exec.Command("porchlight", "--data", b.data, "backup", "--to", to)
			cmd.Stdout, cmd.Stderr = &out, &out
			before, _ := filepath.Glob(filepath.Join(to, unfinished+"*")) // of one that was killed
			own := func() []string {
				left, _ := filepath.Glob(filepath.Join(to, unfinished+"*"))
				return slices.DeleteFunc(left, func(path string) bool { return slices.Contains(before, path) })
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			over := make(chan struct{})
			go func() { ended <- cmd.Wait(); close(over) }()
			// Wait for its folder, and then some time that nobody knows.
			for waiting := true; waiting && len(own()) == 0; {
				select {
				case <-over: // it was faster
					waiting = false
				case <-time.After(200 * time.Microsecond):
				}
			}
			time.Sleep(time.Duration(rng.Int64N(int64(100 * time.Millisecond))))
			_ = cmd.Process.Signal(how)
			err := <-ended
			left := own()
			switch {
			case err == nil: // it was faster
			case how == syscall.SIGKILL:
				if len(left) > 0 {
					caught++
				}
			default:
				caught++
				if !strings.Contains(out.String(), "backup: interrupted: no backup was made") || len(left) > 0 {
					t.Errorf("it said %q and left %q", &out, left)
				}
			}
			wholes()
		}
	}
	if out, err := exec.Command("porchlight", "--data", b.data, "backup", "--to", to).CombinedOutput(); err != nil {
		t.Errorf("the next backup: %v\n%s", err, out)
	}
	if left, _ := filepath.Glob(filepath.Join(to, unfinished+"*")); len(left) > 0 {
		t.Errorf("the next backup left %q", left)
	}
	wholes()

	small := filepath.Join(t.TempDir(), "small")
	if err := os.Mkdir(small, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size=4m"); err != nil {
		t.Logf("cannot mount a small file system: %v", err)
		return
	}
	defer func() {
		if err := syscall.Unmount(small, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	for _, file := range []int{0, 8 << 20} { // full in the middle of the files, and from the beginning
		if file > 0 {
			f, err := os.Create(filepath.Join(small, "ballast"))
			if err != nil {
				t.Fatal(err)
			}
			_, err = io.Copy(f, io.LimitReader(zeros{}, int64(file)))
			f.Close()
			if err == nil {
				t.Fatal("the disk is not full")
			}
		}
		out, err := exec.Command("porchlight", "--data", b.data, "backup", "--to", small).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "no space left") {
			t.Errorf("a backup onto a full disk: %v\n%s", err, out)
		}
		if left, _ := filepath.Glob(filepath.Join(small, unfinished+"*")); len(left) > 0 || len(backupsIn(t, small)) > min(file, 1) {
			t.Errorf("it left %q, %q", left, backupsIn(t, small))
		}
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// A restore that is killed leaves the data folder as it was, and the next one can be made.
func TestRestoreIsCutShort(t *testing.T) {
	b := newBusy(t)
	want := b.soFar()
	if err := copyTo(io.LimitReader(zeros{}, 32<<20), filepath.Join(b.data, "credentials", "large.yaml"), 0o600); err != nil {
		t.Fatal(err)
	}
	to, data := filepath.Join(t.TempDir(), "b"), filepath.Join(t.TempDir(), "r")
	if out, err := exec.Command("porchlight", "--data", b.data, "backup", "--to", to).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b.stop()
	backup := backupsIn(t, to)[0]
	for caught, try := 0, 0; caught < 3; try++ {
		if try == 200 {
			t.Fatal("no restore was caught in the middle")
		}
		cmd := exec.Command("porchlight", "--data", data, "restore", backup)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for began := time.Now(); time.Since(began) < time.Second; time.Sleep(200 * time.Microsecond) {
			if _, err := os.Stat(filepath.Join(data, restoring)); err == nil {
				break
			}
		}
		_ = cmd.Process.Kill()
		if err := cmd.Wait(); err == nil { // it was faster
			if err := os.RemoveAll(data); err != nil {
				t.Fatal(err)
			}
			continue
		}
		caught++
		if there, err := occupants(data); len(there) > 0 || err != nil {
			t.Fatalf("it left %q, %v", there, err)
		}
	}
	if out, err := exec.Command("porchlight", "--data", data, "restore", backup).CombinedOutput(); err != nil {
		t.Fatalf("the next restore: %v\n%s", err, out)
	}
	if _, err := os.Stat(filepath.Join(data, restoring)); err == nil {
		t.Error("the next restore left its folder")
	}
	has(t, filepath.Join(data, databaseFile), want)
}

// Only this gateway's own backups are removed, the oldest first, and never what is none.
func TestPrune(t *testing.T) {
	dir := t.TempDir()
	put := func(name string, began device.Instant, day int) {
		m := manifest{Began: began, Made: time.Date(2026, 11, day, 0, 0, 0, 0, time.UTC), Files: []backupFile{{Name: databaseFile, Mode: "0600"}}}
		raw, err := json.Marshal(m)
		if err == nil {
			err = writeSynced(filepath.Join(dir, name, manifestFile), raw)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	put("old", 7, 1)
	put("new", 7, 3)
	put("middle", 7, 2)
	put("another's", 8, 1)
	if err := os.MkdirAll(filepath.Join(dir, "photographs"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "notes"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for keep, want := range map[int][]string{0: nil, 3: nil, 5: nil, 2: {"old"}} {
		removed, err := (&backupCmd{Keep: keep}).prune(dir, filepath.Join(dir, "new"), manifest{Began: 7})
		var names []string
		for _, r := range removed {
			names = append(names, filepath.Base(r))
		}
		if err != nil || !slices.Equal(names, want) {
			t.Errorf("--keep %d removed %q, %v, want %q", keep, names, err, want)
		}
		if want != nil {
			put("old", 7, 1)
		}
	}
	if removed, err := (&backupCmd{Keep: 1}).prune(dir, filepath.Join(dir, "new"), manifest{Began: 7}); len(removed) != 2 || err != nil {
		t.Errorf("removed %q, %v, want two", removed, err)
	}
	if left := backupsIn(t, dir); len(left) != 4 {
		t.Errorf("left: %q", left)
	}
}

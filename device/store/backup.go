package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"porchlight/device"
)

// Snapshot is what a backup holds.
type Snapshot struct {
	Schema int64          // version
	Seq    int64          // of the newest event; 0: none
	Began  device.Instant // of the first event there ever was: two backups with the same Began are of one gateway
	Newest device.Instant // of the newest event
}

// retries is how often Backup begins anew because something was erased meanwhile.
const retries = 5

// Backup copies the database at path, and its keys, to the path to, where nothing may be yet: one file each, synced to disk
// and verified. Everything that was committed when it began is in it, and nothing that was erased before
// it ended; a gateway may have the file open. If it fails, what it has made is removed. Every half second progress,
// which may be nil, is told how many bytes of about how many are written.
func Backup(ctx context.Context, path, to string, progress func(done, total int64)) (s Snapshot, err error) {
	if s, err = backup(ctx, path, to, progress); err != nil {
		return Snapshot{}, fmt.Errorf("back up database %w", err)
	}
	return s, nil
}

func backup(ctx context.Context, path, to string, progress func(done, total int64)) (s Snapshot, err error) {
	if path, err = filepath.Abs(path); err != nil {
		return s, err
	}
	if to, err = filepath.Abs(to); err != nil {
		return s, err
	}
	if _, err := os.Stat(path); err != nil {
		return s, fault(path, err)
	}
	for _, name := range []string{to, keysPath(to)} {
		if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
			return s, fmt.Errorf("%s: %w", name, fs.ErrExist)
		}
	}
	have, err := looking(path).version()
	switch {
	case err != nil:
		return s, err
	case have == 0:
		return s, fmt.Errorf("%s: nothing was ever written to it: %w", path, fs.ErrNotExist)
	case have > newest():
		return s, newer(path, have, newest())
	}
	remove := func() {
		for _, name := range []string{to, keysPath(to)} {
			_, _ = os.Remove(name), os.Remove(name+"-journal") // which SQLite leaves where the disk is full
		}
	}
	defer func() {
		if err != nil {
			remove()
		}
	}()
	for try := 1; ; try++ {
		if err := vacuumInto(ctx, looking(path, "_busy_timeout="+busyTimeout(0)), to, progress); err != nil {
			return s, err
		}
		// The keys come second: a key is on disk before what it seals.
		if _, err := os.Stat(keysPath(path)); err == nil {
			k := forKeys(keysPath(path), 0, true)
			if err := vacuumInto(ctx, settings{path: k.path, dsn: k.dsn}, keysPath(to), nil); err != nil {
				return s, err
			}
		} else if !errors.Is(err, fs.ErrNotExist) {
			return s, fault(keysPath(path), err)
		}
		if s, err = snapshot(to); err != nil {
			return s, err
		}
		erased, err := erasedSince(path, s.Seq)
		if err != nil {
			return s, err
		}
		if !erased {
			break
		}
		// What was erased between the two copies is in the first, and its keys are not in the second.
		if try == retries {
			return s, fmt.Errorf("%s: %w: things were erased while each of %d copies was made: try again later", path, ErrBusy, retries)
		}
		remove()
	}
	for _, name := range []string{to, keysPath(to)} {
		if err := syncFile(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return s, fault(name, err)
		}
	}
	if err := whole(ctx, to); err != nil {
		return s, err
	}
	return s, fault(to, syncFile(filepath.Dir(to)))
}

// vacuumInto copies a database that others may have open, as it is at one moment.
func vacuumInto(ctx context.Context, s settings, to string, progress func(done, total int64)) (err error) {
	if err := create(to); err != nil { // its owner's alone
		return fault(to, err)
	}
	c, err := s.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if progress != nil {
		var total int64
		tx := &Tx{c: c}
		err := tx.QueryRow(`SELECT (page_count - freelist_count) * page_size FROM pragma_page_count(), pragma_freelist_count(), pragma_page_size()`).Scan(&total)
		tx.end()
		if err != nil {
			return err
		}
		defer follow(to, total, progress)()
	}
	_, err = c.c.ExecContext(ctx, "VACUUM INTO ?", []driver.NamedValue{{Ordinal: 1, Value: to}})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fault(to, err) // of the two it is the one that grows
}

// follow tells how the file at path grows, until the function that it returns is called.
func follow(path string, total int64, progress func(done, total int64)) (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	size := func() int64 {
		fi, err := os.Stat(path)
		if err != nil {
			return 0
		}
		return fi.Size()
	}
	progress(0, total)
	go func() {
		defer close(ended)
		tick := time.NewTicker(time.Second / 2)
		defer tick.Stop()
		for {
			select {
			case <-end:
				return
			case <-tick.C:
				progress(size(), max(total, size()))
			}
		}
	}()
	return func() {
		close(end)
		<-ended
		progress(size(), size())
	}
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// atRest opens a file that nobody has open, and that is to stay as it is.
func atRest(path string) settings {
	return settings{path: path, dsn: dsn(path, "mode=ro", "immutable=1")}
}

// wal reports whether the file at path was ever opened by a gateway, and not only written by Backup.
func wal(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, fault(path, err)
	}
	defer f.Close()
	head := make([]byte, 20)
	if _, err := io.ReadFull(f, head); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return false, fault(path, err)
	}
	return head[18] == 2, nil // the file format's version for writing
}

func snapshot(path string) (s Snapshot, err error) {
	if s.Schema, err = atRest(path).version(); err != nil {
		return s, err
	}
	c, err := atRest(path).open()
	if err != nil {
		return s, err
	}
	defer c.close()
	tx := &Tx{c: c}
	defer tx.end()
	const at = "coalesce((SELECT at FROM journal WHERE seq = (SELECT %s(seq) FROM journal)), 0)"
	return s, tx.QueryRow("SELECT coalesce(max(seq), 0), "+fmt.Sprintf(at, "min")+", "+fmt.Sprintf(at, "max")+" FROM journal").Scan(&s.Seq, &s.Began, &s.Newest)
}

// erasedSince reports whether something was erased after the event seq.
func erasedSince(path string, seq int64) (bool, error) {
	c, err := looking(path, "_busy_timeout="+busyTimeout(0)).open()
	if err != nil {
		return false, err
	}
	defer c.close()
	tx := &Tx{c: c}
	defer tx.end()
	var was bool
	return was, tx.QueryRow("SELECT EXISTS (SELECT 1 FROM journal WHERE seq > ? AND kind = ?)", seq, KindErased).Scan(&was)
}

// Verify checks that the database at path, which nobody has open, and its keys are whole, as Backup leaves them: what SQLite
// finds wrong with them, and whether each sealed entry has its key. It changes nothing. [Check] finds more, and takes longer.
func Verify(ctx context.Context, path string) (Snapshot, error) {
	path, err := filepath.Abs(path)
	var s Snapshot
	if err == nil {
		if err = whole(ctx, path); err == nil {
			s, err = snapshot(path)
		}
	}
	if err != nil {
		return Snapshot{}, fmt.Errorf("verify database %w", err)
	}
	return s, nil
}

func whole(ctx context.Context, path string) error {
	if _, err := os.Stat(path); err != nil {
		return fault(path, err)
	}
	have, err := atRest(path).version()
	switch {
	case err != nil:
		return err
	case have == 0:
		return corrupt(path, errors.New("it is empty"))
	case have > newest():
		return newer(path, have, newest())
	}
	c, err := atRest(path).open()
	if err != nil {
		return err
	}
	defer c.close()
	wrong, err := integrity(ctx, c)
	if err != nil {
		return err
	}
	k := &keys{path: keysPath(path), all: map[int64]key{}}
	if _, err := os.Stat(k.path); err == nil {
		kc, err := atRest(k.path).open()
		if err != nil {
			return err
		}
		found, err := integrity(ctx, kc)
		if err = errors.Join(err, kc.close()); err != nil {
			return err
		}
		wrong = append(wrong, found...)
		if k, err = readKeys(path); err != nil {
			return err
		}
	}
	if len(wrong) > 0 {
		return corrupt(path, errors.New(wrong[0]))
	}
	tx := &Tx{c: c}
	defer tx.end()
	numbers, err := List(tx, func(scan func(...any) error) (n int64, err error) { return n, scan(&n) }, "SELECT DISTINCT key FROM journal WHERE salt IS NOT NULL")
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(numbers, func(n int64) bool { one, ok := k.all[n]; return !ok || one.gone() }); i >= 0 {
		return noKeys(k.path, fmt.Sprintf("it does not have key %d", numbers[i]))
	}
	return k.belong(c)
}

// Hold keeps every gateway off the database at path, which need not be there, until it is closed: ErrBusy if one has it open.
func Hold(path string) (io.Closer, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	f, err := lockFile(path)
	if err != nil {
		return nil, err // not f, which is no nil io.Closer
	}
	return f, nil
}

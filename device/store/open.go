package store

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mattn/go-sqlite3"
	"github.com/pressly/goose/v3"

	"porchlight/device"
)

//go:embed migrations/*.sql
var embedded embed.FS

// migrations has the folder migrations; a test puts another version's here.
var migrations fs.FS = embedded

// DB is the open file.
type DB struct {
	path    string
	project Projector
	clear   Clearer
	now     func() device.Instant
	most    int      // units that share a commit
	file    *os.File // for fsync alone: to close it would drop the locks that SQLite has on it, so it is closed last
	lock    *os.File

	queue   chan *unit
	spare   sync.Pool     // units to be used again
	stopped chan struct{} // the writer has ended

	// The writer's own.
	w       *conn
	book    book
	pending []*unit   // taken from the queue and not yet answered
	next    *unit     // taken from the queue, too: to be run alone, after them
	running *unit     // the one whose closure runs
	unbegun bool      // the last transaction could not be begun
	movedAt time.Time // when pages were last moved by the mover
	stuck   bool      // then many were left

	keys    *keys
	erasing sync.Mutex // held by an Erase

	long   chan struct{} // has a token when the log is long
	moved  chan struct{} // the mover has ended
	moving sync.Mutex    // held while a checkpoint runs
	kept   trouble

	readers chan *conn // as many slots as readers; nil is one that has not been opened
	busy    time.Duration

	mu      sync.RWMutex // held for reading while a unit is put into the queue
	closed  bool
	closing chan struct{}

	looks sync.Mutex             // guards seen
	seen  map[string]os.FileInfo // the files as they were when they were first looked at, by path
	gone  trouble                // what Look has found

	fault                  trouble // the last write failure, if it still stands
	commits, units, failed atomic.Int64
	largest                atomic.Int64
	took, shared           measure  // each commit's seconds and units
	changes                sync.Map // by noun, *atomic.Int64: commits with an event of it
}

// Open opens the file at path, made if it is not there (mode 0600), migrates it and reads every pragma back.
// While it is open, nobody else can open it for writing: ErrBusy. It fails with ErrKeys if homes have written in it, and the
// file with their keys is not beside it, or is another's. An Erase that was cut short is completed.
func Open(ctx context.Context, path string, o Options) (*DB, error) {
	if o.Project == nil {
		return nil, errors.New("open database: no Projector")
	}
	db := &DB{
		project: o.Project, clear: o.Clear, now: o.Now, most: o.MaxUnits, busy: o.busy,
		stopped: make(chan struct{}), closing: make(chan struct{}), long: make(chan struct{}, 1), moved: make(chan struct{}), seen: map[string]os.FileInfo{},
		took: newMeasure(commitBounds), shared: newMeasure(unitBounds),
	}
	if db.now == nil {
		db.now = func() device.Instant { return device.At(time.Now()) }
	}
	if db.most <= 0 {
		db.most = 512
	}
	if o.Queue <= 0 {
		o.Queue = 4096
	}
	db.queue = make(chan *unit, o.Queue)

	var err error
	var was int64
	if db.path, db.lock, db.w, was, err = openWriter(ctx, path, o); err != nil {
		return nil, fmt.Errorf("open database %w", err)
	}
	db.book = newBook()
	if db.keys, err = openKeys(db.path, db.w, o.busy); err == nil && was == 1 {
		err = db.locate()
	}
	if err == nil {
		err = db.complete()
	}
	if err == nil {
		db.file, err = os.Open(db.path)
	}
	var mover *conn
	if err == nil {
		mover, err = forWriting(db.path, o).open()
	}
	if err != nil {
		if db.keys != nil {
			db.keys.close()
		}
		db.w.close()
		db.file.Close()
		db.lock.Close()
		return nil, fmt.Errorf("open database %w", err)
	}
	n := 2 * runtime.NumCPU()
	db.readers = make(chan *conn, n)
	for range n {
		db.readers <- nil
	}
	_ = db.Look() // for what is there now
	go db.mover(mover)
	go db.write(nil)
	return db, nil
}

// openWriter locks the file at path, refuses what is not ours, migrates it and opens the writer's connection. have is the
// schema version that it found, 0 of a new file.
func openWriter(ctx context.Context, path string, o Options) (abs string, lock *os.File, w *conn, have int64, err error) {
	if abs, err = filepath.Abs(path); err != nil {
		return "", nil, nil, 0, err
	}
	held, err := lockFile(abs)
	if err != nil {
		return "", nil, nil, 0, err
	}
	defer func() {
		if err != nil {
			held.Close()
		}
	}()
	if err = missing(abs); err != nil {
		return "", nil, nil, 0, err
	}
	if err = create(abs); err != nil {
		return "", nil, nil, 0, fault(abs, err)
	}
	if have, err = peek(abs); err != nil {
		return "", nil, nil, 0, err
	}
	if want := newest(); have > want {
		return "", nil, nil, 0, newer(abs, have, want)
	}
	if err = ctx.Err(); err != nil {
		return "", nil, nil, 0, err
	}
	// From here on nothing is cancelled: SQLite would undo a transaction and go on without one.
	writer := forWriting(abs, o)
	if have < newest() {
		if err = migrate(context.WithoutCancel(ctx), writer); err != nil {
			return "", nil, nil, 0, fault(abs, err)
		}
	}
	if w, err = writer.open(); err != nil {
		return "", nil, nil, 0, err
	}
	// SQLite opens a file that it may not write for reading only, and says nothing until the first write.
	if err = w.begin("BEGIN IMMEDIATE"); err == nil {
		err = w.exec("DELETE FROM journal WHERE false")
		w.rollback()
	}
	if err != nil {
		w.close()
		return "", nil, nil, 0, err
	}
	return abs, held, w, have, nil
}

// locate finds in the journal which claim each delivery of schema version 1 comes from where the migration could not: several of
// one home were at one instant, and what each is of is sealed. A claim that cannot be read is passed over.
func (db *DB) locate() error {
	if err := db.w.begin("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	defer db.w.rollback()
	tx := &Tx{c: db.w, keys: db.keys}
	defer tx.end()
	rows, err := tx.Query("SELECT " + eventColumns + ` FROM journal WHERE kind = 'delivery.claimed'
		AND (home, at) IN (SELECT home, claimed FROM delivery WHERE pos = 0) ORDER BY seq`)
	if err != nil {
		return err
	}
	var claims []Event
	for rows.Next() {
		e, err := tx.scan(rows)
		switch {
		case errors.Is(err, ErrKeys), errors.Is(err, errAltered):
		case err != nil:
			return err
		case !e.Erased:
			claims = append(claims, e)
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, e := range claims {
		var f struct {
			Message device.MessageID `json:"message"`
			Device  device.ID        `json:"device"`
		}
		if json.Unmarshal(e.Body, &f) != nil {
			continue
		}
		if err := db.w.exec("UPDATE delivery SET pos = ? WHERE home = ? AND message = ? AND device = ? AND claimed = ?", e.Pos, int64(e.Home), f.Message[:], string(f.Device), int64(e.At)); err != nil {
			return err
		}
	}
	tx.end()
	return db.w.commit()
}

// missing is an error if there are keys of homes, and no database that they are of: a new one in its place would look as if
// all were well.
func missing(path string) error {
	_, err := os.Stat(path)
	if keys, e := os.Stat(keysPath(path)); errors.Is(err, fs.ErrNotExist) && e == nil && keys.Size() > 0 {
		return fmt.Errorf("%s: %w, but %s is: put back the database, or restore a backup; to begin anew, move the keys away", path, fs.ErrNotExist, filepath.Base(keysPath(path)))
	}
	return nil
}

func newer(path string, have, want int64) error {
	return fmt.Errorf("%s: %w: its schema is version %d, this program knows %d: run the newer program, or put back a backup; nothing was changed",
		path, ErrNewer, have, want)
}

// lockFile takes the lock that keeps a second gateway off the file at path.
func lockFile(path string) (*os.File, error) {
	name := path + ".lock"
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err == nil {
		if err = giveAway(f); err != nil {
			f.Close()
		}
	} else if errors.Is(err, fs.ErrExist) {
		f, err = os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	}
	if err != nil {
		return nil, fault(path, err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		who, _ := io.ReadAll(io.LimitReader(f, 20))
		f.Close()
		return nil, fmt.Errorf("%s: %w: process %s holds %s: stop it first", path, ErrBusy, strings.TrimSpace(string(who)), name)
	}
	if err != nil {
		f.Close()
		return nil, fault(path, err)
	}
	// The number only helps the reader of the message above, so a full disk does not matter here.
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return f, nil
}

// giveAway gives a file that root has made to the owner of its folder, whose gateway could not open it otherwise.
func giveAway(f *os.File) error {
	if os.Geteuid() != 0 {
		return nil
	}
	fi, err := os.Stat(filepath.Dir(f.Name()))
	if err != nil {
		return err
	}
	owner := fi.Sys().(*syscall.Stat_t)
	return f.Chown(int(owner.Uid), int(owner.Gid))
}

// create makes an empty file that only its owner can read, if there is none. SQLite gives the
// files beside it the same mode.
func create(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// peek returns the schema version of the file at path, 0 if it is empty, and changes nothing, not even
// beside it. The caller holds the lock, so that nobody else writes.
func peek(path string) (int64, error) {
	if inOne(path) {
		return atRest(path).version()
	}
	return looking(path).version()
}

// looking opens a file only to read it, whoever else has it open. Where nothing can be written SQLite cannot make the
// file that it needs beside a database with a log; but there nobody else writes either.
func looking(path string, params ...string) settings {
	if frozen(path) {
		return atRest(path)
	}
	return settings{path: path, dsn: dsn(path, append(params, "mode=ro")...)}
}

// frozen reports whether the file at path is whole by itself, on a file system that cannot be written.
func frozen(path string) bool { return readOnlyDisk(path) && inOne(path) }

// readOnlyDisk reports whether nothing can be written beside the file at path, whoever tries.
func readOnlyDisk(path string) bool {
	const write = 2
	return errors.Is(syscall.Access(filepath.Dir(path), write), syscall.EROFS)
}

// inOne reports whether all of the database at path is in that file: nothing is in a log or a journal beside it.
func inOne(path string) bool {
	for _, beside := range []string{"-wal", "-journal"} {
		if fi, err := os.Stat(path + beside); err == nil && fi.Size() > 0 {
			return false
		}
	}
	return true
}

// Inspect returns the schema version of the file at path, 0 if it is empty, and the newest that
// this program knows.
func Inspect(path string) (have, known int64, err error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return 0, 0, fmt.Errorf("inspect database: %w", err)
	}
	have, err = looking(abs).version()
	if err != nil {
		return 0, 0, fmt.Errorf("inspect database %w", err)
	}
	return have, newest(), nil
}

// settings are one way to open the file.
type settings struct {
	path, dsn string
	pragmas   []pragma
}

// pragma is a setting that every new connection must have.
type pragma struct {
	name, value string
	set         bool // by a statement, because the DSN has no word for it
}

func dsn(path string, params ...string) string {
	u := url.URL{Scheme: "file", Path: path}
	return u.String() + "?_mutex=no&" + strings.Join(params, "&")
}

func forWriting(path string, o Options) settings {
	busy := busyTimeout(o.busy)
	s := settings{path, dsn(path, "mode=rw", "_journal_mode=WAL", "_synchronous=FULL", "_foreign_keys=1", "_busy_timeout="+busy,
		"_txlock=immediate", "_secure_delete=fast", "_cache_size=-16384"), []pragma{
		{"journal_mode", "wal", false},
		{"synchronous", "2", false}, // FULL
		{"foreign_keys", "1", false},
		{"busy_timeout", busy, false},
		{"secure_delete", "2", false},     // fast
		{"cache_size", "-16384", false},   // 16 MB: some commits look at all of it
		{"wal_autocheckpoint", "0", true}, // the mover moves
		{"journal_size_limit", strconv.Itoa(longerLog * (pageSize + 24)), true},
		{"page_size", strconv.Itoa(pageSize), false},
		{"mmap_size", "0", false},
		{"query_only", "0", false},
	}}
	if o.maxPages > 0 {
		s.pragmas = append(s.pragmas, pragma{"max_page_count", strconv.Itoa(o.maxPages), true})
	}
	return s
}

func forReading(path string, busyFor time.Duration) settings {
	busy := busyTimeout(busyFor)
	return settings{path, dsn(path, "mode=ro", "_query_only=1", "_synchronous=FULL", "_foreign_keys=1", "_busy_timeout="+busy,
		"_txlock=deferred", "_secure_delete=fast", "_cache_size=-2048"), []pragma{
		{"journal_mode", "wal", false},
		{"synchronous", "2", false},
		{"foreign_keys", "1", false},
		{"busy_timeout", busy, false},
		{"secure_delete", "2", false},
		{"cache_size", "-2048", false},
		{"mmap_size", "0", false},
		{"query_only", "1", false},
	}}
}

func busyTimeout(d time.Duration) string {
	if d == 0 {
		d = 5 * time.Second
	}
	return strconv.FormatInt(d.Milliseconds(), 10)
}

// open opens a connection and refuses it if one of its pragmas is not what it must be: a word that
// SQLite or its driver does not know is ignored silently.
func (s settings) open() (*conn, error) {
	dc, err := (&sqlite3.SQLiteDriver{}).Open(s.dsn)
	if err != nil {
		return nil, fault(s.path, err)
	}
	c := &conn{c: dc.(*sqlite3.SQLiteConn), path: s.path, sets: make(map[string]*[]*stmt)}
	for _, p := range s.pragmas {
		if err := c.demand(p); err != nil {
			c.close()
			return nil, err
		}
	}
	return c, nil
}

func (c *conn) demand(p pragma) error {
	if p.set {
		if _, err := c.text("PRAGMA " + p.name + " = " + p.value); err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
	}
	got, err := c.text("PRAGMA " + p.name)
	if err != nil {
		return err
	}
	if !strings.EqualFold(got, p.value) {
		return fmt.Errorf("%s: %w: pragma %s is %s, it must be %s", c.path, ErrFailed, p.name, got, p.value)
	}
	return nil
}

// version returns the schema version, 0 of an empty file. It refuses a database that is not ours.
func (s settings) version() (int64, error) {
	c, err := s.open()
	if err != nil {
		return 0, err
	}
	defer c.close()
	tx := &Tx{c: c}
	defer tx.end()
	var tables, ours int
	if err := tx.QueryRow("SELECT count(*), count(*) FILTER (WHERE name IN (?, 'journal')) FROM sqlite_schema WHERE type = 'table'", goose.DefaultTablename).Scan(&tables, &ours); err != nil {
		return 0, err
	}
	if tables == 0 {
		return 0, nil
	}
	var v int64
	if err := tx.QueryRow("SELECT coalesce(max(version_id), 0) FROM " + goose.DefaultTablename).Scan(&v); err != nil {
		if ours == 0 {
			return 0, fmt.Errorf("%s: %w: it is an SQLite database of another program: name another file", s.path, ErrCorrupt)
		}
		return 0, err
	}
	return v, nil
}

// Connect and Driver make settings a driver.Connector, for goose.
func (s settings) Connect(context.Context) (driver.Conn, error) {
	c, err := s.open()
	if err != nil {
		return nil, err
	}
	c.release()
	return c.c, nil
}

// Driver is SQLite.
func (s settings) Driver() driver.Driver { return &sqlite3.SQLiteDriver{} }

// newest is the schema version this program knows.
func newest() int64 {
	var max int64
	files, _ := fs.ReadDir(migrations, "migrations")
	for _, f := range files {
		if v, err := goose.NumericComponent(f.Name()); err == nil && v > max {
			max = v
		}
	}
	return max
}

// migrate brings the schema up to newest.
func migrate(ctx context.Context, s settings) error {
	db := sql.OpenDB(s)
	defer db.Close()
	db.SetMaxOpenConns(1)
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, dir, goose.WithLogger(goose.NopLogger()), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

// Close waits for the writer to finish what it has and for the views that run, moves everything from the
// write-ahead log into the file and closes it. If there is no space for that, it says so; nothing is lost.
func (db *DB) Close() error {
	db.mu.Lock()
	if db.closed {
		db.mu.Unlock()
		return nil
	}
	db.closed = true
	close(db.closing)
	close(db.queue)
	db.mu.Unlock()
	<-db.stopped
	close(db.long) // the writer has ended, and tells no more
	<-db.moved

	var err error
	for range cap(db.readers) {
		if c := <-db.readers; c != nil {
			err = errors.Join(err, c.close())
		}
	}
	e := db.Kept()
	if e == nil {
		_, e = db.w.text("PRAGMA wal_checkpoint(TRUNCATE)")
		db.keepIf(e)
	}
	err = errors.Join(err, e)
	if db.Kept() == nil { // the last connection that is closed ends the log
		err = errors.Join(err, db.w.close())
	}
	err = errors.Join(err, db.keys.close(), db.file.Close(), db.lock.Close())
	if err != nil {
		return fmt.Errorf("close database: %w", err)
	}
	return nil
}

// View runs f with a consistent snapshot to read from. It waits for a free connection; f must not call View.
func (db *DB) View(ctx context.Context, f func(tx *Tx) error) error {
	select {
	case <-db.closing:
		return ErrClosed
	default:
	}
	var c *conn
	select {
	case c = <-db.readers:
	case <-db.closing:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { db.readers <- c }()
	if c == nil {
		var err error
		if c, err = forReading(db.path, db.busy).open(); err != nil {
			return fmt.Errorf("view: %w", err)
		}
	}
	if err := c.begin("BEGIN DEFERRED"); err != nil {
		return fmt.Errorf("view: %w", err)
	}
	tx := &Tx{Now: db.now(), c: c, ctx: ctx, keys: db.keys}
	defer func() {
		tx.end()
		c.rollback()
	}()
	return f(tx)
}

// Events calls f for each event of home's book after the position after, in order, the erased ones too. It holds no
// snapshot while f runs.
func (db *DB) Events(ctx context.Context, home device.HomeID, after int64, f func(Event) error) error {
	const page = 256
	for {
		var events []Event
		err := db.View(ctx, func(tx *Tx) (err error) {
			events, err = tx.Events(home, after, page)
			return err
		})
		if err != nil {
			return fmt.Errorf("read the book of home %d: %w", home, err)
		}
		for _, e := range events {
			if err := f(e); err != nil {
				return err
			}
			after = e.Pos
		}
		if len(events) < page {
			return nil
		}
	}
}

// Probe writes a page if the last write failed, so that a gateway that refuses new work notices
// when the cause is gone. It returns what Healthy then does.
func (db *DB) Probe() error {
	if db.Healthy() == nil {
		return nil
	}
	return db.Update(func(tx *Tx) error {
		if err := tx.writes(); err != nil {
			return err
		}
		return tx.c.exec("UPDATE goose_db_version SET tstamp = tstamp WHERE id = 1")
	})
}

// Look returns nil, or that somebody has removed or replaced one of the files while they are open: what is written to it then is
// gone with the process, and so Update fails until the file is back. It is to be called now and then.
func (db *DB) Look() error {
	db.looks.Lock()
	defer db.looks.Unlock()
	var gone error
	for _, path := range []string{db.path, db.path + "-wal", keysPath(db.path)} {
		now, err := os.Stat(path)
		switch was := db.seen[path]; {
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			gone = cmp.Or(gone, fault(path, err))
		case was == nil && err == nil:
			db.seen[path] = now
		case was != nil && (err != nil || !os.SameFile(was, now)):
			gone = cmp.Or(gone, fmt.Errorf("%s: %w: it was removed or replaced while it is open: put that very file back, or stop the gateway and restore a backup", path, ErrFailed))
		}
	}
	if gone == nil {
		db.gone.Store(nil)
		return nil
	}
	db.gone.Store(&gone)
	db.sick(gone)
	return gone
}

// Healthy returns nil, or the last failure to write if nothing has been written since. The next
// Update tries again.
func (db *DB) Healthy() error { return db.fault.err() }

// trouble is an error that stands until it is taken back.
type trouble struct{ atomic.Pointer[error] }

// err is that error, or nil.
func (t *trouble) err() error {
	if err := t.Load(); err != nil {
		return *err
	}
	return nil
}

// Waiting returns how many units wait for the writer, and how many can before Update has to wait for a place.
func (db *DB) Waiting() (units, most int) { return len(db.queue), cap(db.queue) }

// Stats returns the counters.
func (db *DB) Stats() Stats {
	s := Stats{
		Commits: db.commits.Load(), Units: db.units.Load(), Failed: db.failed.Load(),
		Largest: int(db.largest.Load()), Queued: len(db.queue),
		Took: db.took.read(), Shared: db.shared.read(), Kept: db.Kept() != nil,
	}
	if fi, err := os.Stat(db.path + "-wal"); err == nil {
		s.WALBytes = fi.Size()
	}
	return s
}

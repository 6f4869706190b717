package store

import (
	"crypto/ed25519"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"porchlight/device"
	"porchlight/device/ledger"
)

// keys is the second file, PATH.keys: what each home's events are sealed and signed with. The
// writer alone changes it; whoever opens an event reads it. A key is on disk before the event that it seals is.
//
// What is secret is only ever overwritten where it stands, by as many bytes: rows are added in the order of
// their number and never move, so that no stale copy of a key stays behind in the file.
type keys struct {
	mu   sync.Mutex
	path string
	c    *conn
	open bool // a transaction: keys were made since the last flush

	closed bool

	most    int            // remembered
	sealing map[whose]*key // those that seal
	known   map[int64]*key // those that open, by number
	all     map[int64]key  // if not nil: every key there is, instead of the file
}

// whose are the events that a key seals.
type whose struct {
	home    device.HomeID
	subject device.PersonID
}

// key is one row.
type key struct {
	id        int64
	whose     whose
	pseudonym ledger.Pseudonym
	secret    ledger.Key
	cipher    ledger.Cipher
}

// gone reports whether the key was destroyed.
func (k *key) gone() bool { return k.secret == ledger.Key{} }

const (
	keysID      = 0x506c4b79 // application_id of the file
	keysVersion = 1          // user_version
	maxKeys     = 1 << 14    // remembered, at 1.4 KB; beyond, all are forgotten
)

var keysSchema = []string{
	`CREATE TABLE sealing (
		id        INTEGER PRIMARY KEY,       -- journal.key
		home      INTEGER NOT NULL,
		subject   INTEGER NOT NULL,          -- person, 0: the home
		retired   INTEGER NOT NULL DEFAULT 0, -- 1: nothing new is sealed with it
		pseudonym BLOB NOT NULL,             -- 16 bytes, zeros: destroyed
		secret    BLOB NOT NULL,             -- 32 bytes, zeros: destroyed
		seed      BLOB NOT NULL              -- 32 bytes, what the home signs with, or empty: a person
	) STRICT`,
	`CREATE UNIQUE INDEX sealing_current ON sealing (home, subject) WHERE retired = 0`,
	`CREATE INDEX sealing_retired ON sealing (home, subject) WHERE retired = 1`,
	// An Erase that may have to be completed: if the event at that place has that leaf, it was on disk.
	`CREATE TABLE todo (
		home   INTEGER NOT NULL,
		pos    INTEGER NOT NULL,
		leaf   BLOB NOT NULL,
		people TEXT NOT NULL, -- JSON array: whose retired keys are to be destroyed
		PRIMARY KEY (home, pos)
	) STRICT`,
	fmt.Sprintf("PRAGMA application_id = %d", keysID),
	fmt.Sprintf("PRAGMA user_version = %d", keysVersion),
}

func keysPath(path string) string { return path + ".keys" }

func forKeys(path string, busyFor time.Duration, write bool) settings {
	if frozen(path) {
		return atRest(path)
	}
	busy := busyTimeout(busyFor)
	only := "1"
	if write {
		only = "0"
	}
	// Even a reader may have to undo what a crash has left, so it opens the file for writing.
	return settings{path, dsn(path, "mode=rw", "_journal_mode=DELETE", "_synchronous=EXTRA", "_foreign_keys=1", "_busy_timeout="+busy,
		"_txlock=immediate", "_secure_delete=on", "_cache_size=-2048", "_query_only="+only), []pragma{
		{"journal_mode", "delete", false},
		{"synchronous", "3", false}, // EXTRA
		{"busy_timeout", busy, false},
		{"secure_delete", "1", false},
		{"cache_size", "-2048", false},
		{"mmap_size", "0", false},
		{"query_only", only, false},
	}}
}

// openKeys opens the keys of the database that w is the writer of, and makes the file if no home was written yet.
// It fails with ErrKeys if they are missing, or are not the keys of this database.
func openKeys(path string, w *conn, busyFor time.Duration) (_ *keys, err error) {
	path = keysPath(path)
	tx := &Tx{c: w}
	defer tx.end()
	var homes bool
	if err := tx.QueryRow("SELECT EXISTS (SELECT 1 FROM journal WHERE home > 0)").Scan(&homes); err != nil {
		return nil, err
	}
	if _, err := os.Stat(path); homes && errors.Is(err, fs.ErrNotExist) {
		return nil, noKeys(path, "the file is not there")
	}
	if err := create(path); err != nil {
		return nil, fault(path, err)
	}
	k, err := openKeysFile(path, forKeys(path, busyFor, true))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			k.c.close()
		}
	}()
	made, err := k.made()
	if err != nil {
		return nil, err
	}
	if !made {
		if homes {
			return nil, noKeys(path, "the file is empty")
		}
		if err := k.c.begin("BEGIN IMMEDIATE"); err != nil {
			return nil, err
		}
		for _, q := range keysSchema {
			if err := k.c.exec(q); err != nil {
				k.c.rollback()
				return nil, err
			}
		}
		if err := k.c.commit(); err != nil {
			return nil, err
		}
	}
	return k, k.belong(w)
}

// readKeys reads all keys of the database at path, and holds no lock on their file afterwards.
// There may be none if no home was written yet.
func readKeys(path string) (*keys, error) {
	path = keysPath(path)
	k := &keys{path: path, most: maxKeys, sealing: map[whose]*key{}, known: map[int64]*key{}, all: map[int64]key{}}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return k, nil
	}
	file, err := openKeysFile(path, forKeys(path, 0, false))
	if err != nil {
		return nil, err
	}
	defer file.c.close()
	if made, err := file.made(); err != nil || !made {
		return k, err
	}
	tx := &Tx{c: file.c}
	defer tx.end()
	rows, err := tx.Query("SELECT id, home, subject, pseudonym, secret FROM sealing")
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		var one key
		if err := rows.Scan(&one.id, &one.whose.home, &one.whose.subject, &one.pseudonym, &one.secret); err != nil {
			return nil, err
		}
		k.all[one.id] = one
	}
	return k, rows.Err()
}

func noKeys(path, why string) error {
	return fmt.Errorf("%s: %w: %s: put back the file that was beside this database; without it nobody can read what homes have said", path, ErrKeys, why)
}

func openKeysFile(path string, s settings) (*keys, error) {
	c, err := s.open()
	if err != nil {
		return nil, err
	}
	return &keys{path: path, c: c, most: maxKeys, sealing: make(map[whose]*key), known: make(map[int64]*key)}, nil
}

// made reports whether the file has its tables. It refuses one that is not ours.
func (k *keys) made() (bool, error) {
	tx := &Tx{c: k.c}
	defer tx.end()
	var tables, app, version int64
	err := tx.QueryRow(`SELECT (SELECT count(*) FROM sqlite_schema), (SELECT application_id FROM pragma_application_id), (SELECT user_version FROM pragma_user_version)`).
		Scan(&tables, &app, &version)
	switch {
	case err != nil:
		return false, err
	case tables == 0 && app == 0:
		return false, nil
	case app != keysID:
		return false, noKeys(k.path, "it is an SQLite database of another program")
	case version > keysVersion:
		return false, newer(k.path, version, keysVersion)
	}
	return true, nil
}

// belong checks that k has the keys of the first entries and of the newest, and that they open one of them.
func (k *keys) belong(w *conn) error {
	tx := &Tx{c: w, keys: k}
	defer tx.end()
	tried, opened := 0, 0
	for _, query := range []string{
		"SELECT " + eventColumns + " FROM journal WHERE home > 0 AND salt IS NOT NULL ORDER BY home, pos LIMIT 8",
		"SELECT " + eventColumns + " FROM journal WHERE home > 0 AND salt IS NOT NULL AND seq > (SELECT max(seq) FROM journal) - 1000 ORDER BY seq DESC LIMIT 8",
	} {
		rows, err := tx.Query(query)
		if err != nil {
			return err
		}
		for rows.Next() {
			e, err := tx.scan(rows)
			switch {
			case errors.Is(err, ErrKeys):
				return noKeys(k.path, fmt.Sprintf("it has no key for position %d of home %d", e.Pos, e.Home))
			case err != nil && !errors.Is(err, errAltered):
				return err
			case err == nil:
				opened++
			}
			tried++
		}
		if err := rows.Err(); err != nil {
			return err
		}
	}
	if tried > 0 && opened == 0 {
		return noKeys(k.path, "it belongs to another database")
	}
	return nil
}

// remember keeps k in memory, without its secret if it has a cipher of it.
func (k *keys) remember(one key) *key {
	if len(k.known) >= k.most {
		clear(k.known)
		clear(k.sealing)
	}
	if !one.gone() {
		one.cipher = ledger.NewCipher(one.secret)
	}
	k.known[one.id] = &one
	return &one
}

// opening returns the key with that number. It fails with ErrKeys if there is none.
func (k *keys) opening(id int64) (*key, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if one := k.known[id]; one != nil {
		return one, nil
	}
	one := key{id: id}
	if k.all != nil {
		var ok bool
		if one, ok = k.all[id]; !ok {
			return nil, fmt.Errorf("%s: %w: key %d", k.path, ErrKeys, id)
		}
		return k.remember(one), nil
	}
	tx := &Tx{c: k.c}
	defer tx.end()
	err := tx.QueryRow("SELECT home, subject, pseudonym, secret FROM sealing WHERE id = ?", id).
		Scan(&one.whose.home, &one.whose.subject, &one.pseudonym, &one.secret)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("%s: %w: key %d", k.path, ErrKeys, id)
	}
	if err != nil {
		return nil, err
	}
	return k.remember(one), nil
}

// seals returns the key for what is new about w. It is made if there is none, and is on disk
// after the next flush. The writer's own.
func (k *keys) seals(w whose) (*key, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if one := k.sealing[w]; one != nil {
		return one, nil
	}
	one, err := k.current(w)
	if errors.Is(err, sql.ErrNoRows) {
		one, err = k.make(w)
	}
	if err != nil {
		return nil, err
	}
	kept := k.remember(one)
	k.sealing[w] = kept
	return kept, nil
}

func (k *keys) current(w whose) (one key, err error) {
	tx := &Tx{c: k.c}
	defer tx.end()
	one.whose = w
	err = tx.QueryRow("SELECT id, pseudonym, secret FROM sealing WHERE home = ? AND subject = ? AND retired = 0", w.home, w.subject).
		Scan(&one.id, &one.pseudonym, &one.secret)
	return one, err
}

// make makes a key, and the home's before the first of a person's.
func (k *keys) make(w whose) (one key, err error) {
	if err := k.begin(); err != nil {
		return one, err
	}
	seed := []byte{}
	if w.subject == device.Household {
		seed = make([]byte, ed25519.SeedSize)
		rand.Read(seed)
	} else if _, err := k.current(whose{w.home, device.Household}); errors.Is(err, sql.ErrNoRows) {
		if _, err := k.make(whose{w.home, device.Household}); err != nil {
			return one, err
		}
	} else if err != nil {
		return one, err
	}
	one = key{whose: w, pseudonym: ledger.NewPseudonym(), secret: ledger.NewKey()}
	tx := &Tx{c: k.c}
	defer tx.end()
	if err := tx.QueryRow("SELECT coalesce(max(id), 0) + 1 FROM sealing").Scan(&one.id); err != nil {
		return one, err
	}
	return one, k.c.exec("INSERT INTO sealing (id, home, subject, pseudonym, secret, seed) VALUES (?, ?, ?, ?, ?, ?)",
		one.id, w.home, w.subject, one.pseudonym, one.secret, seed)
}

// begin begins the transaction that the next flush commits.
func (k *keys) begin() error {
	if k.open {
		return nil
	}
	if err := k.c.begin("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	k.open = true
	return nil
}

// flush brings to disk what was made. If it fails, nothing of it is left. The writer's own.
func (k *keys) flush() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.open {
		return nil
	}
	k.open = false
	err := k.c.commit()
	if err != nil {
		k.forget()
	}
	return err
}

// drop undoes what was made since the last flush. The writer's own.
func (k *keys) drop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.open {
		k.open = false
		k.c.rollback()
		k.forget()
	}
}

func (k *keys) forget() {
	clear(k.sealing)
	clear(k.known)
}

// retire has everything new about people sealed with new keys, and notes what is to be done once the event at pos
// of home's book, with that leaf, is on disk. The writer's own.
func (k *keys) retire(home device.HomeID, pos int64, leaf ledger.Hash, people []device.PersonID) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.begin(); err != nil {
		return err
	}
	for _, p := range people {
		if err := k.c.exec("UPDATE sealing SET retired = 1 WHERE home = ? AND subject = ? AND retired = 0", home, p); err != nil {
			return err
		}
		delete(k.sealing, whose{home, p})
	}
	list, err := json.Marshal(people)
	if err != nil {
		return err
	}
	return k.c.exec("INSERT OR REPLACE INTO todo (home, pos, leaf, people) VALUES (?, ?, ?, ?)", home, pos, leaf, string(list))
}

// todo is an Erase that is not complete.
type todo struct {
	home   device.HomeID
	pos    int64
	leaf   ledger.Hash
	people []device.PersonID
}

// todos lists what is not complete.
func (k *keys) todos() (all []todo, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	tx := &Tx{c: k.c}
	defer tx.end()
	return List(tx, func(scan func(...any) error) (t todo, err error) {
		var people []byte
		if err = scan(&t.home, &t.pos, &t.leaf, &people); err == nil {
			err = json.Unmarshal(people, &t.people)
		}
		return t, err
	}, "SELECT home, pos, leaf, people FROM todo")
}

// destroy destroys the retired keys of those whom t is about, for good. The writer's own.
func (k *keys) destroy(t todo) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.begin(); err != nil {
		return err
	}
	for _, p := range t.people {
		if err := k.c.exec("UPDATE sealing SET pseudonym = zeroblob(16), secret = zeroblob(32) WHERE home = ? AND subject = ? AND retired = 1", t.home, p); err != nil {
			return err
		}
	}
	k.forget()
	return nil
}

// done takes t off the list. The writer's own.
func (k *keys) done(t todo) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.begin(); err != nil {
		return err
	}
	return k.c.exec("DELETE FROM todo WHERE home = ? AND pos = ?", t.home, t.pos)
}

// pseudonym returns the pseudonym of home. It fails with ErrNoBook if it has none.
func (k *keys) pseudonym(home device.HomeID) (ledger.Pseudonym, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	one, err := k.current(whose{home, device.Household})
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNoBook
	}
	return one.pseudonym, err
}

// signer returns what home signs with. It fails with ErrNoBook if it has none.
func (k *keys) signer(home device.HomeID) (ed25519.PrivateKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return nil, ErrClosed
	}
	tx := &Tx{c: k.c}
	defer tx.end()
	var seed []byte
	err := tx.QueryRow("SELECT seed FROM sealing WHERE home = ? AND subject = 0 AND retired = 0", home).Scan(&seed)
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNoBook
	}
	if err == nil && len(seed) != ed25519.SeedSize {
		err = fmt.Errorf("%s: %w: the signing key of home %d has %d bytes", k.path, ErrKeys, home, len(seed))
	}
	if err != nil {
		return nil, err
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// close closes the file. What was not flushed is undone.
func (k *keys) close() error {
	k.drop()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	return k.c.close()
}

// keysAround returns the keys of what can be read in the snapshot that begin takes: one that an Erase destroys meanwhile
// was there before, one that is made meanwhile is there after.
func keysAround(path string, begin func() error) (*keys, error) {
	before, err := readKeys(path)
	if err != nil {
		return nil, err
	}
	if err := begin(); err != nil {
		return nil, err
	}
	k, err := readKeys(path)
	if err != nil {
		return nil, err
	}
	for id, was := range before.all {
		if now, ok := k.all[id]; !ok || now.gone() {
			k.all[id] = was
		}
	}
	return k, nil
}

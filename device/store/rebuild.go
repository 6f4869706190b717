package store

import (
	"bytes"
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pressly/goose/v3"

	"porchlight/device"
)

// table is a projection.
type table struct {
	name string
	cols []string
	key  []string // columns of the primary key
	refs []string // tables its foreign keys point to
}

// projections lists every table but the journal and those of goose and SQLite, by name.
func projections(c *conn) ([]table, error) {
	tx := &Tx{c: c}
	defer tx.end()
	var tables []table
	rows, err := tx.Query(`SELECT name FROM sqlite_schema WHERE type = 'table'
		AND name NOT IN ('journal', ?) AND name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY name`, goose.DefaultTablename)
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		var t table
		if err := rows.Scan(&t.name); err != nil {
			return nil, err
		}
		tables = append(tables, t)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	for i := range tables {
		t := &tables[i]
		if t.cols, err = names(tx, "SELECT name FROM pragma_table_info(?) ORDER BY cid", t.name); err != nil {
			return nil, err
		}
		if t.key, err = names(tx, "SELECT name FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk", t.name); err != nil {
			return nil, err
		}
		if t.refs, err = names(tx, `SELECT DISTINCT "table" FROM pragma_foreign_key_list(?)`, t.name); err != nil {
			return nil, err
		}
		if len(t.key) == 0 {
			return nil, fmt.Errorf("table %s has no primary key", t.name)
		}
	}
	return tables, nil
}

func names(tx *Tx, query, arg string) ([]string, error) {
	var list []string
	rows, err := tx.Query(query, arg)
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, rows.Err()
}

// findings are what replay has to say of the journal itself: which home, which position, and no more.
type findings struct {
	gaps    []string // places where a book has a gap
	altered []string // events that do not open: they were not projected
	doubts  []string // events that open, but whose log does not bear them out
}

// add notes that something is the matter with e.
func (e Event) add(list *[]string, what string) {
	*list = append(*list, fmt.Sprintf("journal (%d): position %d of home %d %s", e.Seq, e.Pos, e.Home, what))
}

// replay calls project on into for each event of the journal read from tx, in order, but the erased.
func replay(ctx context.Context, tx *Tx, into *Apply, project Projector, progress func(done, total int64)) (f findings, err error) {
	var total, done int64
	if err := tx.QueryRow("SELECT count(*) FROM journal").Scan(&total); err != nil {
		return f, err
	}
	rows, err := tx.Query("SELECT " + eventColumns + " FROM journal ORDER BY seq")
	if err != nil {
		return f, err
	}
	heads := make(map[device.HomeID]int64)
	type place struct {
		home device.HomeID
		pos  int64
	}
	var blank []Event             // as the rows have it
	named := make(map[place]bool) // as the events of Erase do
	for rows.Next() {
		e, err := tx.scan(rows)
		switch {
		case errors.Is(err, ErrKeys):
			e.add(&f.altered, "has no key")
		case errors.Is(err, errAltered):
			e.add(&f.altered, "does not fit its leaf")
		case err != nil:
			return f, err
		case e.Home == device.Gateway:
		case e.Erased:
			blank = append(blank, e)
		case !e.Entry.Fits():
			e.add(&f.doubts, "does not fit its leaf")
		}
		if head := heads[e.Home]; e.Pos != head+1 {
			e.add(&f.gaps, fmt.Sprintf("follows %d", head))
		}
		heads[e.Home] = e.Pos
		switch {
		case err != nil || e.Erased:
		case e.Kind == KindErased:
			if err := With(e, func(was Erasure) error {
				for _, pos := range was.Positions {
					named[place{e.Home, pos}] = true
				}
				return nil
			}); err != nil {
				return f, err
			}
		default:
			if err := project(into, e); err != nil {
				return f, fmt.Errorf("event %d (%s, home %d, position %d): %w", e.Seq, e.Kind, e.Home, e.Pos, err)
			}
		}
		if err := into.tx.c.dead; err != nil {
			return f, err
		}
		if done++; done%1024 == 0 {
			if err := ctx.Err(); err != nil {
				return f, err
			}
			if progress != nil {
				progress(done, total)
			}
		}
	}
	if progress != nil {
		progress(done, total)
	}
	for _, e := range blank {
		if !named[place{e.Home, e.Pos}] {
			e.add(&f.doubts, "is blank, and no entry says that it was erased")
		}
	}
	return f, rows.Err()
}

// Rebuild makes every table but the journal again from the journal, in one transaction. No gateway may
// have the file open: ErrBusy.
func Rebuild(ctx context.Context, path string, project Projector) error {
	if err := rebuild(ctx, path, project); err != nil {
		return fmt.Errorf("rebuild database %w", err)
	}
	return nil
}

func rebuild(ctx context.Context, path string, project Projector) (err error) {
	if _, err := os.Stat(path); err != nil {
		return fault(path, err)
	}
	_, lock, c, _, err := openWriter(ctx, path, Options{})
	if err != nil {
		return err
	}
	defer lock.Close()
	defer func() {
		if err == nil {
			_, err = c.text("PRAGMA wal_checkpoint(TRUNCATE)")
		}
		err = errors.Join(err, c.close())
	}()
	keys, err := openKeys(c.path, c, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, keys.close()) }()
	tables, err := projections(c)
	if err != nil {
		return err
	}
	if err := c.begin("BEGIN EXCLUSIVE"); err != nil {
		return err
	}
	defer c.rollback()
	for len(tables) > 0 {
		// Next comes a table that no other points to.
		i := slices.IndexFunc(tables, func(t table) bool {
			return !slices.ContainsFunc(tables, func(o table) bool { return o.name != t.name && slices.Contains(o.refs, t.name) })
		})
		if i < 0 {
			return fmt.Errorf("%s: tables refer to each other in a circle", path)
		}
		if err := c.exec("DELETE FROM " + quote(tables[i].name)); err != nil {
			return err
		}
		tables = slices.Delete(tables, i, i+1)
	}
	tx := &Tx{c: c, keys: keys}
	defer tx.end()
	found, err := replay(ctx, tx, &Apply{tx}, project, nil)
	if err != nil {
		return err
	}
	if wrong := append(found.gaps, found.altered...); len(wrong) > 0 {
		return fmt.Errorf("%s: %w: %s", path, ErrCorrupt, wrong[0])
	}
	tx.end()
	return c.commit()
}

const maxDiffs = 1000 // that Check lists

// Health is what Examine has found.
type Health struct {
	Schema  int64 // version
	Events  int64
	Homes   int64          // that have a book
	Newest  device.Instant // when the newest event was taken in
	Bytes   int64          // of the database, without its write-ahead log
	Settled bool           // nobody has it open, and no gateway ever had: it is as Backup left it
	Wrong   []string       // what is wrong with it
}

// Check makes every table again from the journal, in a temporary database, and compares. It changes nothing
// and may run beside a gateway. diffs name table, key and column, but no text or bytes: those may be people's
// words. An entry of a home's book that does not fit its leaf in the home's log, or is blank though nobody erased it,
// was altered: that says its home and position. progress, which may be nil, is told how many of all events have been replayed.
func Check(ctx context.Context, path string, project Projector, progress func(done, total int64)) (diffs []string, err error) {
	h, err := check(ctx, path, project, progress)
	if err != nil {
		return nil, fmt.Errorf("check database %w", err)
	}
	return h.Wrong, nil
}

// Examine is Check, and tells more: of a database that a gateway has open, of one that lies still, or of a backup.
func Examine(ctx context.Context, path string, project Projector, progress func(done, total int64)) (Health, error) {
	h, err := check(ctx, path, project, progress)
	if err != nil {
		return Health{}, fmt.Errorf("check database %w", err)
	}
	return h, nil
}

func check(ctx context.Context, path string, project Projector, progress func(done, total int64)) (h Health, err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return h, err
	}
	live, err := wal(path)
	if err != nil {
		return h, err
	}
	h.Settled = !live
	how, first := forReading(path, 0), looking(path)
	if h.Settled || frozen(path) {
		how, first = atRest(path), atRest(path)
	}
	have, err := first.version()
	if err != nil {
		return h, err
	}
	h.Schema = have
	if have > newest() {
		return h, newer(path, have, newest())
	}
	if have < newest() {
		return h, fmt.Errorf("%s: its schema is version %d, this program's is %d: start the gateway once, then check", path, have, newest())
	}
	old, err := how.open()
	if err != nil {
		return h, err
	}
	defer old.close()
	if err := old.begin("BEGIN DEFERRED"); err != nil {
		return h, err
	}
	defer old.rollback()
	otx := &Tx{c: old, ctx: ctx}
	defer otx.end()

	var diffs []string
	otx.keys, err = keysAround(path, func() (err error) {
		if diffs, err = integrity(ctx, old); err != nil {
			return err
		}
		return otx.QueryRow(`SELECT count(*), count(DISTINCT home) FILTER (WHERE home > 0), (SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()),
			coalesce((SELECT at FROM journal WHERE seq = (SELECT max(seq) FROM journal)), 0) FROM journal`).Scan(&h.Events, &h.Homes, &h.Bytes, &h.Newest)
	})
	if err != nil {
		return h, err
	}
	if h.Homes > 0 && len(otx.keys.all) == 0 {
		return h, noKeys(keysPath(path), "the file is not there, or empty")
	}

	dir, err := os.MkdirTemp("", "porchlight-check-")
	if err != nil {
		return h, err
	}
	defer os.RemoveAll(dir)
	_, lock, fresh, _, err := openWriter(ctx, filepath.Join(dir, "check.db"), Options{})
	if err != nil {
		return h, err
	}
	defer lock.Close()
	defer fresh.close()
	if err := fresh.begin("BEGIN IMMEDIATE"); err != nil {
		return h, err
	}
	defer fresh.rollback()
	ftx := &Tx{c: fresh}
	defer ftx.end()
	found, err := replay(ctx, otx, &Apply{ftx}, project, progress)
	if err != nil {
		return h, err
	}
	h.Wrong = slices.Concat(diffs, found.altered, found.doubts, found.gaps)

	tables, err := projections(fresh)
	if err != nil {
		return h, err
	}
	for _, t := range tables {
		if h.Wrong, err = compare(h.Wrong, t, otx, ftx); err != nil {
			return h, err
		}
		if len(h.Wrong) > maxDiffs {
			h.Wrong = append(h.Wrong[:maxDiffs], "and more")
			break
		}
	}
	return h, nil
}

// integrity returns what SQLite itself finds wrong with the file.
func integrity(ctx context.Context, c *conn) (found []string, err error) {
	err = c.rows(ctx, "PRAGMA integrity_check", func(row []driver.Value) {
		if s := fmt.Sprint(row[0]); s != "ok" {
			found = append(found, "file: "+s)
		}
	})
	if err != nil {
		return nil, err
	}
	return found, c.rows(ctx, "PRAGMA foreign_key_check", func(row []driver.Value) {
		if len(found) <= maxDiffs {
			found = append(found, fmt.Sprintf("%v: row %v refers to a row of %v that is not there", row[0], show(row[1]), row[2]))
		}
	})
}

// rows calls f for each row of what query answers. It can be interrupted: for reading, outside of the writer.
func (c *conn) rows(ctx context.Context, query string, f func(row []driver.Value)) error {
	rows, err := c.c.QueryContext(ctx, query, nil)
	if err != nil {
		return c.fault(err)
	}
	defer rows.Close()
	row := make([]driver.Value, len(rows.Columns()))
	for {
		switch err := rows.Next(row); {
		case errors.Is(err, io.EOF):
			return ctx.Err()
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return c.fault(err)
		}
		f(row)
	}
}

// compare walks t in the order of its key in both databases.
func compare(diffs []string, t table, old, fresh *Tx) ([]string, error) {
	a, err := walk(old, t)
	if err != nil {
		return diffs, err
	}
	b, err := walk(fresh, t)
	if err != nil {
		return diffs, err
	}
	for len(diffs) <= maxDiffs && (a.row != nil || b.row != nil) {
		order := 0
		switch {
		case a.row == nil:
			order = 1
		case b.row == nil:
			order = -1
		default:
			for i := range t.key {
				if order = compareValues(a.row[i], b.row[i]); order != 0 {
					break
				}
			}
		}
		switch {
		case order < 0:
			diffs = append(diffs, fmt.Sprintf("%s: the row is there, the journal has none", a.name()))
			err = a.next()
		case order > 0:
			diffs = append(diffs, fmt.Sprintf("%s: the row is missing", b.name()))
			err = b.next()
		default:
			for i, col := range t.cols {
				x, y := a.row[len(t.key)+i], b.row[len(t.key)+i]
				if compareValues(x, y) != 0 {
					diffs = append(diffs, fmt.Sprintf("%s: column %s is %s, by the journal %s", a.name(), col, show(x), show(y)))
				}
			}
			err = errors.Join(a.next(), b.next())
		}
		if err != nil {
			return diffs, err
		}
	}
	return diffs, nil
}

// walker goes through a table in the order of its key. row is the key's columns, then all columns;
// nil at the end.
type walker struct {
	t    table
	rows *Rows
	row  []driver.Value
}

func walk(tx *Tx, t table) (*walker, error) {
	key := make([]string, len(t.key))
	for i, k := range t.key {
		key[i] = quote(k)
	}
	cols := make([]string, len(t.cols))
	for i, c := range t.cols {
		cols[i] = quote(c)
	}
	keys := strings.Join(key, ", ")
	rows, err := tx.Query("SELECT " + keys + ", " + strings.Join(cols, ", ") + " FROM " + quote(t.name) + " ORDER BY " + keys)
	if err != nil {
		return nil, err
	}
	w := &walker{t: t, rows: rows}
	return w, w.next()
}

func (w *walker) next() error {
	if !w.rows.Next() {
		w.row = nil
		return w.rows.Err()
	}
	w.row = slices.Clone(w.rows.st.row)
	return nil
}

// name says which row it is.
func (w *walker) name() string {
	key := make([]string, len(w.t.key))
	for i := range key {
		switch v := w.row[i].(type) {
		case []byte:
			key[i] = fmt.Sprintf("%x", v)
		default:
			key[i] = fmt.Sprint(v)
		}
	}
	return w.t.name + " (" + strings.Join(key, ", ") + ")"
}

// show prints a value unless it may be private.
func show(v driver.Value) string {
	switch v := v.(type) {
	case nil:
		return "NULL"
	case string:
		return fmt.Sprintf("another text (%d bytes)", len(v))
	case []byte:
		return fmt.Sprintf("another blob (%d bytes)", len(v))
	}
	return fmt.Sprint(v)
}

// compareValues orders values as SQLite does: NULL, numbers, text, blobs.
func compareValues(a, b driver.Value) int {
	if c := cmp.Compare(rank(a), rank(b)); c != 0 {
		return c
	}
	switch x := a.(type) {
	case int64:
		if y, ok := b.(int64); ok {
			return cmp.Compare(x, y)
		}
		return cmp.Compare(float64(x), b.(float64))
	case float64:
		if y, ok := b.(int64); ok {
			return cmp.Compare(x, float64(y))
		}
		return cmp.Compare(x, b.(float64))
	case string:
		return strings.Compare(x, b.(string))
	case []byte:
		return bytes.Compare(x, b.([]byte))
	}
	return 0
}

func rank(v driver.Value) int {
	switch v.(type) {
	case nil:
		return 0
	case int64, float64:
		return 1
	case string:
		return 2
	}
	return 3
}

func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

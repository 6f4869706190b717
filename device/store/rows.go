package store

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"slices"
	"strings"

	"github.com/mattn/go-sqlite3"
)

// conn is one connection with its prepared statements. One goroutine uses it at a time.
type conn struct {
	c    *sqlite3.SQLiteConn
	path string
	sets map[string]*[]*stmt // by query text; a statement in use is not in its set
	kept int
	args []driver.NamedValue // of the statement being started

	began bool  // a transaction was begun and not yet ended by us
	dead  error // what made SQLite give up the open transaction: no statement may run after it
}

// stmt is a prepared statement.
type stmt struct {
	s      *sqlite3.SQLiteStmt
	text   string
	set    *[]*stmt // where it rests
	params int
	row    []driver.Value // of the Rows that use it
	reads  bool           // it returns rows and changes nothing
	writes bool           // it changes rows
}

const maxKept = 1024 // prepared statements per connection; those beyond are closed after use

// take returns a prepared statement for query that nobody else is using.
func (c *conn) take(query string) (*stmt, error) {
	if c.dead != nil {
		return nil, c.dead
	}
	set := c.sets[query]
	if set == nil {
		set = new([]*stmt)
		c.sets[query] = set
	}
	if n := len(*set); n > 0 {
		st := (*set)[n-1]
		*set = (*set)[:n-1]
		c.kept--
		return st, nil
	}
	text := strings.TrimRight(query, "; \t\r\n")
	if strings.Contains(text, ";") {
		return nil, fmt.Errorf("prepare %q: more than one statement", query)
	}
	ds, err := c.c.Prepare(text)
	if err != nil {
		return nil, c.fault(err)
	}
	s, ok := ds.(*sqlite3.SQLiteStmt)
	if !ok {
		return nil, fmt.Errorf("prepare %q: not an SQLite statement", query)
	}
	st := &stmt{s: s, text: query, set: set, params: s.NumInput()}
	verb, _, _ := strings.Cut(strings.TrimLeft(text, " \t\r\n("), " ")
	verb, _, _ = strings.Cut(verb, "\n")
	switch strings.ToUpper(strings.TrimSpace(verb)) {
	case "SELECT", "VALUES":
		st.reads = s.Readonly()
	case "WITH":
		st.reads = s.Readonly()
		st.writes = !st.reads
	case "INSERT", "UPDATE", "DELETE", "REPLACE":
		st.writes = !s.Readonly()
	}
	return st, nil
}

func (c *conn) give(st *stmt) {
	if c.kept >= maxKept {
		_ = st.s.Close()
		return
	}
	*st.set = append(*st.set, st)
	c.kept++
}

// run executes st to its first row.
func (c *conn) run(st *stmt, args []any) (driver.Rows, error) {
	if len(args) != st.params {
		return nil, fmt.Errorf("query %q: %d arguments given, %d wanted", st.text, len(args), st.params)
	}
	named := c.args[:0]
	for i, a := range args {
		v, err := bindable(a)
		if err != nil {
			return nil, fmt.Errorf("query %q: argument %d: %w", st.text, i+1, err)
		}
		named = append(named, driver.NamedValue{Ordinal: i + 1, Value: v})
	}
	c.args = named
	r, err := st.s.QueryContext(context.Background(), named) // copies the arguments
	clear(named)
	if err != nil {
		return nil, c.fault(err)
	}
	return r, nil
}

// exec runs a statement that returns no rows.
func (c *conn) exec(query string, args ...any) error {
	st, err := c.take(query)
	if err != nil {
		return err
	}
	defer c.give(st)
	r, err := c.run(st, args)
	if err != nil {
		return err
	}
	if err := r.Close(); err != nil {
		return c.fault(err)
	}
	return nil
}

// begin starts a transaction.
func (c *conn) begin(how string) error {
	c.dead, c.began = nil, false
	if err := c.exec(how); err != nil {
		return err
	}
	c.began = true
	return nil
}

// commit ends the transaction. After an error nothing of it is left.
func (c *conn) commit() error {
	err := c.dead
	if err == nil {
		err = c.exec("COMMIT")
	}
	if err != nil {
		c.rollback()
		return err
	}
	c.began = false
	return nil
}

// rollback undoes the transaction, if SQLite has not done so yet.
func (c *conn) rollback() {
	c.dead, c.began = nil, false
	if !c.c.AutoCommit() {
		_ = c.exec("ROLLBACK") // cannot fail with a transaction open; the next begin would tell
	}
}

// first returns the first row of a query of any kind. It fails with sql.ErrNoRows if there is none.
func (c *conn) first(query string) ([]driver.Value, error) {
	tx := &Tx{c: c}
	defer tx.end()
	st, err := c.take(query)
	if err != nil {
		return nil, err
	}
	rows, err := tx.rows(st, nil)
	if err != nil {
		return nil, err
	}
	if !rows.Next() {
		return nil, cmp.Or(rows.err, sql.ErrNoRows)
	}
	return slices.Clone(rows.st.row), nil
}

// text returns the first column of the first row as text.
func (c *conn) text(query string) (s string, err error) {
	row, err := c.first(query)
	if err == nil {
		err = assign(&s, row[0])
	}
	return s, err
}

// release closes the prepared statements.
func (c *conn) release() {
	for _, set := range c.sets {
		for _, st := range *set {
			_ = st.s.Close()
		}
	}
	clear(c.sets)
	c.kept = 0
}

func (c *conn) close() error {
	c.release()
	return c.c.Close()
}

// Rows are the rows of a query. They end with the unit at the latest.
type Rows struct {
	tx  *Tx
	st  *stmt
	r   driver.Rows
	err error
}

// Next moves to the next row. It reports false at the end and after an error, see Err.
func (r *Rows) Next() bool {
	if r.r == nil {
		return false
	}
	if ctx := r.tx.ctx; ctx != nil && ctx.Err() != nil {
		r.err = ctx.Err()
		r.Close()
		return false
	}
	if err := r.r.Next(r.st.row); err != nil {
		if !errors.Is(err, io.EOF) {
			r.err = r.tx.c.fault(err)
		}
		r.Close()
		return false
	}
	return true
}

// Columns are the names of the columns.
func (r *Rows) Columns() []string {
	if r.r == nil {
		return nil
	}
	return r.r.Columns()
}

// Scan copies the row into dest: pointers to integers, strings, byte slices and arrays, bools, floats, types
// made of those, any, and what implements sql.Scanner.
func (r *Rows) Scan(dest ...any) error {
	if r.r == nil {
		return errors.New("scan: no row")
	}
	if len(dest) != len(r.st.row) {
		return fmt.Errorf("scan: %d columns into %d places", len(r.st.row), len(dest))
	}
	for i, v := range r.st.row {
		if err := assign(dest[i], v); err != nil {
			return fmt.Errorf("scan column %s: %w", r.r.Columns()[i], err)
		}
	}
	return nil
}

// Err is what ended the rows early.
func (r *Rows) Err() error { return r.err }

// Close ends the rows. It may be called twice.
func (r *Rows) Close() error {
	if r.r == nil {
		return nil
	}
	err := r.r.Close()
	r.r = nil
	r.tx.c.give(r.st)
	open := r.tx.open
	for i := len(open) - 1; i >= 0; i-- {
		if open[i] == r {
			r.tx.open = append(open[:i], open[i+1:]...)
			break
		}
	}
	if err != nil && r.err == nil {
		r.err = r.tx.c.fault(err)
	}
	return r.err
}

// Row is the first row of a query.
type Row struct {
	rows *Rows
	err  error
}

// Scan is that of Rows. It fails with sql.ErrNoRows if there is no row.
func (r *Row) Scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	defer r.rows.Close()
	if !r.rows.Next() {
		if r.rows.err != nil {
			return r.rows.err
		}
		return sql.ErrNoRows
	}
	return r.rows.Scan(dest...)
}

// bindable turns an argument into what SQLite can hold.
func bindable(a any) (driver.Value, error) {
	switch v := a.(type) {
	case nil, int64, string, []byte, bool, float64:
		return v, nil
	case int:
		return int64(v), nil
	case driver.Valuer:
		return v.Value()
	}
	v := reflect.ValueOf(a)
	switch v.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return v.Int(), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if v.Uint() > math.MaxInt64 {
			return nil, fmt.Errorf("%d is too large", v.Uint())
		}
		return int64(v.Uint()), nil
	case reflect.String:
		return v.String(), nil
	case reflect.Bool:
		return v.Bool(), nil
	case reflect.Float32, reflect.Float64:
		return v.Float(), nil
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return v.Bytes(), nil
		}
	case reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			b := make([]byte, v.Len())
			reflect.Copy(reflect.ValueOf(b), v)
			return b, nil
		}
	}
	return nil, fmt.Errorf("%T cannot be stored", a)
}

// assign copies a column's value to where dest points.
func assign(dest any, v driver.Value) error {
	switch d := dest.(type) {
	case *int64:
		if n, ok := v.(int64); ok {
			*d = n
			return nil
		}
	case *string:
		switch s := v.(type) {
		case string:
			*d = s
			return nil
		case []byte:
			*d = string(s)
			return nil
		case int64, float64:
			*d = fmt.Sprint(s)
			return nil
		}
	case *[]byte:
		switch b := v.(type) {
		case nil:
			*d = nil
			return nil
		case []byte:
			*d = b
			return nil
		case string:
			*d = []byte(b)
			return nil
		}
	case *any:
		*d = v
		return nil
	case sql.Scanner:
		return d.Scan(v)
	}
	p := reflect.ValueOf(dest)
	if p.Kind() != reflect.Pointer || p.IsNil() {
		return fmt.Errorf("%T is no place to put it", dest)
	}
	e := p.Elem()
	switch e.Kind() {
	case reflect.Pointer: // nil for NULL
		if v == nil {
			e.SetZero()
			return nil
		}
		e.Set(reflect.New(e.Type().Elem()))
		return assign(e.Interface(), v)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if n, ok := v.(int64); ok {
			if e.OverflowInt(n) {
				return fmt.Errorf("%d does not fit %s", n, e.Type())
			}
			e.SetInt(n)
			return nil
		}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if n, ok := v.(int64); ok {
			if n < 0 || e.OverflowUint(uint64(n)) {
				return fmt.Errorf("%d does not fit %s", n, e.Type())
			}
			e.SetUint(uint64(n))
			return nil
		}
	case reflect.Bool:
		if n, ok := v.(int64); ok && (n == 0 || n == 1) {
			e.SetBool(n == 1)
			return nil
		}
	case reflect.Float32, reflect.Float64:
		switch n := v.(type) {
		case float64:
			e.SetFloat(n)
			return nil
		case int64:
			e.SetFloat(float64(n))
			return nil
		}
	case reflect.String:
		switch s := v.(type) {
		case string:
			e.SetString(s)
			return nil
		case []byte:
			e.SetString(string(s))
			return nil
		}
	case reflect.Slice:
		if e.Type().Elem().Kind() == reflect.Uint8 {
			switch b := v.(type) {
			case nil:
				e.SetZero()
				return nil
			case []byte:
				e.SetBytes(b)
				return nil
			case string:
				e.SetBytes([]byte(b))
				return nil
			}
		}
	case reflect.Array:
		if b, ok := v.([]byte); ok && e.Type().Elem().Kind() == reflect.Uint8 {
			if len(b) != e.Len() {
				return fmt.Errorf("%d bytes do not fit %s", len(b), e.Type())
			}
			reflect.Copy(e, reflect.ValueOf(b))
			return nil
		}
	}
	if v == nil {
		return fmt.Errorf("NULL does not fit %s", e.Type())
	}
	return fmt.Errorf("%T does not fit %s", v, e.Type())
}

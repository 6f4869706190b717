package ledger

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Export is a home's log as it leaves the gateway.
type Export struct {
	Home    Pseudonym
	Entries []Entry // that at position 1 first
}

// Damage says what is wrong with an exported log.
type Damage uint8

// The damages.
const (
	Missing   Damage = iota + 1 // an entry is not in its place: gone, or moved
	Altered                     // an entry does not fit its leaf, or a leaf of a range does not fit the head
	Uncovered                   // entries that no head vouches for
	Foreign                     // the head is that of another home
)

// DamageError says which entries of a log cannot be trusted: the first that is damaged, or, where a head
// alone can tell, the range in which it is.
type DamageError struct {
	What Damage
	From int64 // position of the first concerned; 0: of Foreign
	To   int64 // position of the last that it can be
}

// Error says it in words.
func (d *DamageError) Error() string {
	switch {
	case d.What == Missing:
		return fmt.Sprintf("entry %d is missing from its place", d.From)
	case d.What == Altered && d.From == d.To:
		return fmt.Sprintf("entry %d was altered", d.From)
	case d.What == Altered:
		return fmt.Sprintf("one of the entries %d to %d was altered", d.From, d.To)
	case d.What == Uncovered:
		return fmt.Sprintf("no head vouches for the entries %d to %d", d.From, d.To)
	case d.What == Foreign:
		return "the head is that of another home"
	}
	return fmt.Sprintf("damage %d at entry %d", d.What, d.From)
}

// Verify checks x against heads of its home that were obtained elsewhere, in any order. Every entry
// must be in its place and fit its leaf, the leaves must be those of each head, and the last head must cover them
// all. It fails with a [*DamageError]: an entry that was altered together with its leaf is found by
// the first head after it, so the more heads, the narrower the range. At least one head is needed.
//
// Of an erased entry only place and leaf are vouched for, not its time and kind: who hands out a log can blank an entry
// of it, but cannot have it say something else.
func Verify(x Export, heads ...Head) error {
	if len(heads) == 0 {
		return errors.New("verify: no head to verify against")
	}
	heads = slices.SortedFunc(slices.Values(heads), func(a, b Head) int { return int(min(1, max(-1, a.Size-b.Size))) })
	for _, h := range heads {
		if h.Home != x.Home {
			return &DamageError{What: Foreign}
		}
	}
	leaves := make([]Hash, len(x.Entries))
	for i, e := range x.Entries {
		pos := int64(i) + 1
		if e.Pos != pos {
			return &DamageError{Missing, pos, pos}
		}
		if !e.Fits() {
			return &DamageError{Altered, pos, pos}
		}
		leaves[i] = e.Leaf
	}
	size, sure := int64(len(leaves)), int64(0)
	for _, h := range heads {
		if h.Size > size {
			return &DamageError{Missing, size + 1, size + 1}
		}
		if Root(leaves[:h.Size]) != h.Root {
			return &DamageError{Altered, min(sure+1, h.Size), h.Size}
		}
		sure = h.Size
	}
	if sure < size {
		return &DamageError{Uncovered, sure + 1, size}
	}
	return nil
}

// exportFormat is the first line of an export.
const exportFormat = "porchlight-ledger-1"

type exportHeader struct {
	Format string    `json:"format"`
	Home   Pseudonym `json:"home"`
}

// MaxLine is the greatest length in bytes of a line of an export.
const MaxLine = 4 << 20

// Write writes x as lines of JSON: a line that says what it is and of which home, then an entry a line.
func (x Export) Write(w io.Writer) error {
	b := bufio.NewWriter(w)
	out := json.NewEncoder(b)
	err := out.Encode(exportHeader{exportFormat, x.Home})
	for _, e := range x.Entries {
		err = errors.Join(err, out.Encode(e))
	}
	return errors.Join(err, b.Flush())
}

// ReadExport reads what Write wrote. It fails with ErrFormat and the number of the line. What it
// returns is not verified, see [Verify].
func ReadExport(r io.Reader) (x Export, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, MaxLine)
	n := 0
	bad := func(err error) (Export, error) {
		return Export{}, fmt.Errorf("line %d of the log: %w: %w", n, ErrFormat, err)
	}
	for lines.Scan() {
		n++
		if n == 1 {
			var h exportHeader
			if err := strict(lines.Bytes(), &h); err != nil {
				return bad(err)
			}
			if h.Format != exportFormat {
				return bad(fmt.Errorf("its format is %.40q, not %s", h.Format, exportFormat))
			}
			x.Home = h.Home
			continue
		}
		var e Entry
		if err := strict(lines.Bytes(), &e); err != nil {
			return bad(err)
		}
		if e.Erased && (e.Actor != "" || e.Subject != Pseudonym{} || len(e.Salt) > 0 || len(e.Sealed) > 0) {
			return bad(errors.New("an erased entry says something"))
		}
		if !e.Erased && len(e.Salt) != SaltSize {
			return bad(fmt.Errorf("a salt of %d bytes, %d wanted", len(e.Salt), SaltSize))
		}
		x.Entries = append(x.Entries, e)
	}
	if err := lines.Err(); err != nil {
		n++
		return bad(err)
	}
	if n == 0 {
		n++
		return bad(io.ErrUnexpectedEOF)
	}
	return x, nil
}

// strict decodes one JSON value with no field that is unknown.
func strict(line []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("more than one value")
	}
	return nil
}

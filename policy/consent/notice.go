package consent

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/policy"
)

const noticeIssued = "notice.issued" // gateway's book

// Hash is the SHA-256 of a notice; the zero Hash is none.
type Hash [32]byte

// String is 64 hexadecimal digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText is String; JSON uses it.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (h *Hash) UnmarshalText(b []byte) error {
	got, err := hex.DecodeString(string(b))
	if err != nil || len(got) != len(h) {
		return fmt.Errorf("notice %.80q is not 64 hexadecimal digits", b)
	}
	copy(h[:], got)
	return nil
}

func (h Hash) column() []byte {
	if h == (Hash{}) {
		return []byte{}
	}
	return h[:]
}

// The limits of a notice.
const (
	MaxFirst  = 140     // characters
	MaxSecond = 512     // bytes
	MaxThird  = 8 << 10 // bytes
	MaxDays   = 3650    // of retention

	maxNames  = 32
	maxLayers = 16
	maxClass  = 63 // classes that a ClassSet can name are below
)

// Layers are what a notice says in one language, from the shortest on. They are the brand's words;
// what a screen asks with is the gateway's.
type Layers struct {
	First  string `json:"first"`            // at most MaxFirst characters
	Second string `json:"second,omitempty"` // at most MaxSecond bytes
	Third  string `json:"third,omitempty"`  // at most MaxThird bytes
}

// Notice is what a brand says that it wants: what a yes is a yes to. It does not change: an edit is a
// new version. Its lists are sorted, without repetition.
type Notice struct {
	Brand      device.BrandID    `json:"brand"`
	Version    int               `json:"version"`                  // from 1, one more for each of the brand
	Card       bool              `json:"card,omitempty"`           // made by the gateway of what the brand declared
	Purposes   []policy.Purpose  `json:"purposes"`                 // 1 or more of those that the brand declared
	Data       []string          `json:"data,omitempty"`           // one of DataTerms; none: no personal data leaves the home
	Operations []string          `json:"operations,omitempty"`     // one of OperationTerms
	Storage    []string          `json:"storage,omitempty"`        // countries where data is kept, ISO 3166-1; none: in the home
	Retention  int               `json:"retention_days,omitempty"` // 0 to MaxDays; 0: nothing is kept
	Recipients []string          `json:"recipients,omitempty"`     // who else gets data, by name
	Countries  []string          `json:"countries,omitempty"`      // where recipients are, ISO 3166-1
	Classes    []device.Class    `json:"classes,omitempty"`        // channels; none: every class
	Layers     map[string]Layers `json:"layers,omitempty"`         // by language, BCP 47
	LegalBasis string            `json:"legal_basis"`              // "consent": no other is taken
	ValidFor   int               `json:"valid_months"`             // of a yes, 1 to 12
	Issued     device.Instant    `json:"-"`                        // set when it is read
}

// Hash is the SHA-256 of the notice as JSON.
func (n Notice) Hash() Hash {
	raw, err := json.Marshal(n)
	if err != nil {
		panic(fmt.Sprintf("notice of brand %s: %v", n.Brand, err)) // only a purpose or class that is none could do it; check refuses both
	}
	return sha256.Sum256(raw)
}

// says is what the notice says, whatever its number.
func (n Notice) says() []byte {
	n.Version = 0
	h := n.Hash()
	return h[:]
}

// Card is the notice of a brand that has issued none: what it declared. Its Version is for Issue to
// set.
func Card(b registry.Brand) Notice {
	n := Notice{Brand: b.ID, Card: true, LegalBasis: "consent", ValidFor: maxMonths}
	for _, name := range b.Purposes {
		if p, err := policy.ParsePurpose(name); err == nil {
			n.Purposes = append(n.Purposes, p)
		}
	}
	return n.tidy()
}

func sorted[T cmp.Ordered](list []T) []T {
	list = slices.Clone(list)
	slices.Sort(list)
	return slices.Compact(list)
}

// tidy returns the notice with its lists sorted and without repetition.
func (n Notice) tidy() Notice {
	n.Purposes, n.Classes = sorted(n.Purposes), sorted(n.Classes)
	for _, list := range []*[]string{&n.Data, &n.Operations, &n.Storage, &n.Recipients, &n.Countries} {
		*list = sorted(*list)
	}
	n.Issued = 0
	return n
}

// check holds a notice to its form.
func (n Notice) check(b registry.Brand) error {
	no := func(what string, args ...any) error {
		return fmt.Errorf("notice of brand %s: %w: "+what, append([]any{b.ID, ErrInvalid}, args...)...)
	}
	if len(n.Purposes) == 0 {
		return no("it names no purpose")
	}
	for _, p := range n.Purposes {
		if !p.Known() || !declares(b, p) {
			return no("the brand has not declared the purpose %s", p)
		}
	}
	for _, c := range n.Classes {
		if !c.Known() || c >= maxClass {
			return no("class %s is not one that can be named", c)
		}
	}
	for _, term := range n.Data {
		if !slices.Contains(DataTerms, term) {
			return no("data %.60q: use one of %s", term, strings.Join(DataTerms, ", "))
		}
	}
	for _, term := range n.Operations {
		if !slices.Contains(OperationTerms, term) {
			return no("operation %.60q: use one of %s", term, strings.Join(OperationTerms, ", "))
		}
	}
	for _, c := range append(slices.Clone(n.Storage), n.Countries...) {
		if len(c) != 2 || c[0] < 'A' || c[0] > 'Z' || c[1] < 'A' || c[1] > 'Z' {
			return no("country %.20q: use two capital letters as in ISO 3166-1, such as CH", c)
		}
	}
	for _, r := range n.Recipients {
		if r == "" || len(r) > 128 || strings.TrimSpace(r) != r || strings.ContainsFunc(r, func(c rune) bool { return !device.Printable(c) }) {
			return no("recipient %.40q: use 1 to 128 bytes of text", r)
		}
	}
	for lang, l := range n.Layers {
		text := l.First + l.Second + l.Third
		if lang == "" || len(lang) > 35 || l.First == "" || utf8.RuneCountInString(l.First) > MaxFirst || len(l.Second) > MaxSecond || len(l.Third) > MaxThird ||
			!utf8.ValidString(text) || strings.ContainsFunc(text, func(c rune) bool { return c != '\n' && !device.Printable(c) }) {
			return no("layers in %.40q: 1 to %d characters first, then at most %d and %d bytes of text", lang, MaxFirst, MaxSecond, MaxThird)
		}
	}
	switch {
	case len(n.Storage) > maxNames || len(n.Recipients) > maxNames || len(n.Countries) > maxNames || len(n.Layers) > maxLayers:
		return no("at most %d recipients and countries, and %d languages", maxNames, maxLayers)
	case n.Retention < 0 || n.Retention > MaxDays:
		return no("retention is 0 to %d days", MaxDays)
	case n.ValidFor < 1 || n.ValidFor > maxMonths:
		return no("a yes is valid for 1 to %d months", maxMonths)
	case n.LegalBasis != "consent":
		return no("legal basis %.40q: only consent is taken", n.LegalBasis)
	}
	return nil
}

// Issue writes a notice into the gateway's book under the brand's next version and returns it as it
// is kept. One that says what the newest says already is that one, and nothing is written. Homes
// that said yes to the brand must be judged anew: what the notice narrows is narrowed at once.
func Issue(tx *store.Tx, n Notice) (Notice, error) {
	b, err := registry.BrandByID(tx, n.Brand)
	if err != nil {
		return Notice{}, fmt.Errorf("notice: %w", err)
	}
	if n = n.tidy(); n.LegalBasis == "" {
		n.LegalBasis = "consent"
	}
	if err := n.check(b); err != nil {
		return Notice{}, err
	}
	newest, err := kept(tx, n.Brand)
	if err != nil {
		return Notice{}, err
	}
	if newest.Version > 0 && bytes.Equal(newest.says(), n.says()) {
		return newest, nil
	}
	n.Version = newest.Version + 1
	if _, err := tx.Add(device.Gateway, noticeIssued, n); err != nil {
		return Notice{}, err
	}
	n.Issued = tx.Now
	return n, nil
}

func applyNotice(tx *store.Apply, ev store.Event, n Notice) error {
	h := n.Hash()
	var purposes int64
	for _, p := range n.Purposes {
		purposes |= 1 << p
	}
	return tx.Exec(`INSERT INTO notice (hash, brand, version, purposes, classes, pos) VALUES (?, ?, ?, ?, ?, ?)`,
		h[:], n.Brand, n.Version, purposes, classSet(n.Classes), ev.Pos)
}

func classSet(classes []device.Class) (set policy.ClassSet) {
	for _, c := range classes {
		set = set.With(c)
	}
	return set
}

const noticeQuery = `SELECT j.body, j.at FROM notice n JOIN journal j ON j.home = 0 AND j.pos = n.pos WHERE `

func scanNotice(scan func(...any) error) (n Notice, err error) {
	var body []byte
	if err = scan(&body, &n.Issued); err == nil {
		err = json.Unmarshal(body, &n)
	}
	return n, err
}

// kept is the newest notice of a brand in the gateway's book; the zero Notice if there is none.
func kept(tx *store.Tx, brand device.BrandID) (Notice, error) {
	n, err := scanNotice(tx.QueryRow(noticeQuery+`n.brand = ? ORDER BY n.version DESC LIMIT 1`, brand).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return n, err
}

// Newest is the newest notice of a brand: that it issued last, or, if it never has, the card of what
// it declares now, under the version that it would be kept as.
func Newest(tx *store.Tx, brand device.BrandID) (Notice, error) {
	b, err := registry.BrandByID(tx, brand)
	if err != nil {
		return Notice{}, err
	}
	n, err := kept(tx, brand)
	if err != nil {
		return Notice{}, err
	}
	if n.Version > 0 && !n.Card {
		return n, nil
	}
	card := Card(b)
	if n.Version > 0 && bytes.Equal(n.says(), card.says()) {
		return n, nil
	}
	card.Version = n.Version + 1
	return card, nil
}

// keepNewest is Newest; a card that is in no book yet is written into the gateway's.
func keepNewest(tx *store.Tx, brand device.BrandID) (Notice, error) {
	n, err := Newest(tx, brand)
	if err != nil || !n.Card {
		return n, err
	}
	return Issue(tx, n)
}

// NoticeByHash finds a notice that was kept; registry.ErrUnknown if there is none.
func NoticeByHash(tx *store.Tx, h Hash) (Notice, error) {
	n, err := scanNotice(tx.QueryRow(noticeQuery+`n.hash = ?`, h[:]).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		err = fmt.Errorf("notice %s: %w", h, registry.ErrUnknown)
	}
	return n, err
}

// Notices lists the notices of a brand that were kept, the oldest first.
func Notices(tx *store.Tx, brand device.BrandID) ([]Notice, error) {
	return store.List(tx, scanNotice, noticeQuery+`n.brand = ? ORDER BY n.version`, brand)
}

// Compare says in which respects newer asks for more than older, and in which for less. Words,
// versions and languages are no respect.
func Compare(older, newer Notice) (widened, narrowed []string) {
	say := func(what string, more, less bool) {
		if more {
			widened = append(widened, what)
		}
		if less {
			narrowed = append(narrowed, what)
		}
	}
	lacks := func(a, b []string) bool { // a has something that b has not
		return slices.ContainsFunc(a, func(s string) bool { return !slices.Contains(b, s) })
	}
	lists := func(what string, was, is []string) { say(what, lacks(is, was), lacks(was, is)) }
	lists("purposes", names(older.Purposes), names(newer.Purposes))
	lists("data", older.Data, newer.Data)
	lists("operations", older.Operations, newer.Operations)
	lists("recipients", older.Recipients, newer.Recipients)
	lists("countries", append(slices.Clone(older.Countries), older.Storage...), append(slices.Clone(newer.Countries), newer.Storage...))
	was, is := names(older.Classes), names(newer.Classes)
	say("classes", len(was) > 0 && (len(is) == 0 || lacks(is, was)), len(is) > 0 && (len(was) == 0 || lacks(was, is)))
	say("retention", newer.Retention > older.Retention, newer.Retention < older.Retention)
	return widened, narrowed
}

func names[T fmt.Stringer](list []T) []string {
	var all []string
	for _, x := range list {
		all = append(all, x.String())
	}
	return all
}

// limits are what the notices of brands reach, and what the brands declare now.
type limits struct {
	notices  map[device.BrandID][]limit // by version
	declared map[device.BrandID]int64   // only of brands that have not been removed
}

type limit struct {
	hash     Hash
	purposes int64
	classes  policy.ClassSet
}

// limitsOf reads the limits of the brands that a home has said yes to.
func limitsOf(tx *store.Tx, home device.HomeID) (limits, error) {
	ls := limits{map[device.BrandID][]limit{}, map[device.BrandID]int64{}}
	_, err := store.List(tx, func(scan func(...any) error) (struct{}, error) {
		var brand device.BrandID
		var hash []byte
		var l limit
		err := scan(&brand, &hash, &l.purposes, &l.classes)
		copy(l.hash[:], hash)
		ls.notices[brand] = append(ls.notices[brand], l)
		return struct{}{}, err
	}, `SELECT brand, hash, purposes, classes FROM notice WHERE brand IN (SELECT brand FROM consent WHERE home = ? AND choice = 1) ORDER BY brand, version`, home)
	if err != nil {
		return ls, err
	}
	_, err = store.List(tx, func(scan func(...any) error) (struct{}, error) {
		var brand device.BrandID
		var purposes []byte
		var list []string
		if err := scan(&brand, &purposes); err != nil {
			return struct{}{}, err
		}
		ls.declared[brand] = 0
		err := json.Unmarshal(purposes, &list)
		for _, name := range list {
			if p, err := policy.ParsePurpose(name); err == nil {
				ls.declared[brand] |= 1 << p
			}
		}
		return struct{}{}, err
	}, `SELECT id, purposes FROM brand WHERE removed = 0 AND id IN (SELECT brand FROM consent WHERE home = ? AND choice = 1)`, home)
	return ls, err
}

// narrow returns on which classes the yes e stands; ok is false if it stands on none. A yes to a
// notice that is not known here is limited by all of the brand's.
func (ls limits) narrow(e Entry) (classes policy.ClassSet, ok bool) {
	if declared, there := ls.declared[e.Brand]; there && declared&(1<<e.Purpose) == 0 {
		return 0, false
	}
	all := ls.notices[e.Brand]
	from := max(0, slices.IndexFunc(all, func(l limit) bool { return l.hash == e.Notice }))
	classes = e.Classes
	for _, l := range all[from:] {
		if l.purposes&(1<<e.Purpose) == 0 {
			return 0, false
		}
		switch {
		case l.classes == 0:
		case classes == 0:
			classes = l.classes
		default:
			if classes &= l.classes; classes == 0 {
				return 0, false
			}
		}
	}
	return classes, true
}

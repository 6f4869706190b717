package registry

import (
	"encoding/json"
	"fmt"
	"net/mail"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"porchlight/device"
	"porchlight/device/store"
)

// The facts of brands, as the journal spells them.
const (
	brandAdded   = "brand.added"
	brandChanged = "brand.changed" // what it says of itself
	brandRenewed = "brand.renewed" // it logs in with another API key
	brandKeyed   = "brand.keyed"   // it has one more key to sign with
	brandUnkeyed = "brand.unkeyed" // that key is void
	brandStopped = "brand.stopped" // nothing is taken from it
	brandStarted = "brand.started"
	brandRemoved = "brand.removed"
)

// Brand is a sender of messages.
type Brand struct {
	ID       device.BrandID `json:"id"`
	Name     string         `json:"name"`                 // as people see it
	Legal    string         `json:"legal_name,omitempty"` // the firm behind it
	Contact  string         `json:"contact,omitempty"`    // an e-mail address, or a URL of https
	Domain   string         `json:"domain,omitempty"`     // its own, as grocer.example
	Country  string         `json:"country,omitempty"`    // ISO 3166-1, two letters
	Purposes []string       `json:"purposes"`             // what it declared; nothing else is taken from it
	Quota    int            `json:"quota"`                // messages in force at one time

	Stopped device.Instant `json:"stopped,omitempty"` // nothing is taken from it since then; 0: it may send
	Reason  string         `json:"reason,omitempty"`  // why, in the operator's words
}

type brandFact struct {
	Brand
	Key []byte `json:"key"` // SHA-256
}

type renewedFact struct {
	ID    device.BrandID `json:"id"`
	Key   []byte         `json:"key"`             // SHA-256
	Until device.Instant `json:"until,omitempty"` // the key before is void from then on; 0: at once
}

type stoppedFact struct {
	ID     device.BrandID `json:"id"`
	Reason string         `json:"reason,omitempty"`
}

const brandColumns = `SELECT id, name, legal, contact, domain, country, purposes, quota, stopped, reason FROM brand `

func scanBrand(scan scanner) (b Brand, err error) {
	var purposes string
	if err = scan(&b.ID, &b.Name, &b.Legal, &b.Contact, &b.Domain, &b.Country, &purposes, &b.Quota, &b.Stopped, &b.Reason); err != nil {
		return b, err
	}
	if err = json.Unmarshal([]byte(purposes), &b.Purposes); err != nil {
		return b, fmt.Errorf("purposes of brand %s: %w", b.ID, err)
	}
	return b, nil
}

// BrandByID finds a brand that has not been removed.
func BrandByID(tx *store.Tx, id device.BrandID) (Brand, error) {
	b, err := scanBrand(tx.QueryRow(brandColumns+`WHERE id = ? AND removed = 0`, id).Scan)
	if err != nil {
		return Brand{}, notThere(err, "brand", string(id))
	}
	return b, nil
}

// Brands lists all brands by ID.
func Brands(tx *store.Tx) ([]Brand, error) {
	return store.List(tx, scanBrand, brandColumns+`WHERE removed = 0 ORDER BY id`)
}

var (
	domainRE  = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)
	countryRE = regexp.MustCompile(`^[A-Z]{2}$`)
)

// check holds what a brand says of itself to its form. Whether it is true is the operator's to find
// out.
func (b Brand) check() error {
	if err := checkName("brand", b.Name, 64); err != nil {
		return err
	}
	if b.Legal != "" {
		if err := checkName("legal", b.Legal, 128); err != nil {
			return err
		}
	}
	no := func(what, value, use string) error {
		return fmt.Errorf("brand %s: %w: its %s is %.80q: use %s", b.ID, ErrInvalid, what, value, use)
	}
	switch {
	case b.Contact != "" && !reachable(b.Contact):
		return no("contact", b.Contact, "an e-mail address, or a URL that begins with https://")
	case b.Domain != "" && (len(b.Domain) > 253 || !domainRE.MatchString(b.Domain)):
		return no("domain", b.Domain, "a name such as grocer.example, in lower case")
	case b.Country != "" && !countryRE.MatchString(b.Country):
		return no("country", b.Country, "two capital letters as in ISO 3166-1, such as CH")
	case len(b.Purposes) == 0:
		return fmt.Errorf("brand %s: %w: it declares no purpose", b.ID, ErrInvalid)
	case b.Quota < 1:
		return fmt.Errorf("brand %s: %w: its quota of messages in force is less than 1", b.ID, ErrInvalid)
	}
	return nil
}

// reachable reports whether s has the form of a bare e-mail address or of a URL of https.
func reachable(s string) bool {
	if len(s) > 254 || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return false
	}
	if u, err := url.Parse(s); err == nil && u.Scheme == "https" {
		return domainRE.MatchString(strings.ToLower(u.Hostname())) && u.User == nil
	}
	a, err := mail.ParseAddress(s)
	if err != nil || a.Address != s {
		return false
	}
	return domainRE.MatchString(strings.ToLower(s[strings.LastIndexByte(s, '@')+1:]))
}

// AddBrand registers a brand with the API key it will use.
func AddBrand(tx *store.Tx, b Brand, key string) error {
	if _, err := device.ParseBrandID(string(b.ID)); err != nil {
		return fmt.Errorf("brand: %w: %w", ErrInvalid, err)
	}
	if err := b.check(); err != nil {
		return err
	}
	var removed bool
	switch err := unknown(tx.QueryRow(`SELECT removed FROM brand WHERE id = ?`, b.ID).Scan(&removed)); {
	case err == nil && removed:
		return &RemovedError{Brand: b.ID}
	case err == nil:
		return fmt.Errorf("brand %s: the ID %w: choose another", b.ID, ErrTaken)
	case err != ErrUnknown:
		return err
	}
	b.Stopped, b.Reason = 0, ""
	return add(tx, device.Gateway, brandAdded, brandFact{b, Hash(key)})
}

// ChangeBrand changes what a brand says of itself and returns it as it is then. Nothing is written
// where nothing changes. Its messages for purposes that it declares no more are the Desk's to
// withdraw.
func ChangeBrand(tx *store.Tx, id device.BrandID, edit func(*Brand)) (Brand, error) {
	was, err := BrandByID(tx, id)
	if err != nil {
		return Brand{}, err
	}
	b := was
	b.Purposes = slices.Clone(was.Purposes)
	edit(&b)
	b.ID, b.Stopped, b.Reason = was.ID, was.Stopped, was.Reason
	if err := b.check(); err != nil {
		return Brand{}, err
	}
	if reflect.DeepEqual(b, was) {
		return b, nil
	}
	said := b
	said.Stopped, said.Reason = 0, ""
	return b, add(tx, device.Gateway, brandChanged, said)
}

// StopBrand writes down that nothing is taken from a brand any more, and StartBrand that it is again.
// Stopping what is stopped, and starting what is not, writes nothing. Its messages in force are the
// Desk's to withdraw.
func StopBrand(tx *store.Tx, id device.BrandID, reason string) error {
	b, err := BrandByID(tx, id)
	if err != nil || b.Stopped != 0 {
		return err
	}
	if reason != "" && checkName("reason", reason, 256) != nil {
		return fmt.Errorf("brand %s: %w: write the reason in 1 to 256 bytes of text without control characters or space at the ends", id, ErrInvalid)
	}
	return add(tx, device.Gateway, brandStopped, stoppedFact{id, reason})
}

// StartBrand is the end of StopBrand.
func StartBrand(tx *store.Tx, id device.BrandID) error {
	b, err := BrandByID(tx, id)
	if err != nil || b.Stopped == 0 {
		return err
	}
	return add(tx, device.Gateway, brandStarted, idFact[device.BrandID]{id})
}

// RemoveBrand removes a brand: its API keys and signing keys are void from now on. Its messages in
// force are the Desk's to withdraw.
func RemoveBrand(tx *store.Tx, id device.BrandID) error {
	if _, err := BrandByID(tx, id); err != nil {
		return err
	}
	return add(tx, device.Gateway, brandRemoved, idFact[device.BrandID]{id})
}

// RemovedError says that a brand's ID was that of one that has been removed. It wraps ErrTaken.
type RemovedError struct {
	Brand device.BrandID
	At    device.Instant // when; 0: nobody has looked, see RemovedAt
}

func (e *RemovedError) Error() string {
	when := ""
	if e.At != 0 {
		when = " at " + e.At.String()
	}
	return fmt.Sprintf("brand %s: the ID %v: that brand was removed%s, and an ID is never given again: choose another", e.Brand, ErrTaken, when)
}

func (e *RemovedError) Unwrap() error { return ErrTaken }

// RemovedAt is when a brand was removed; 0 if it was not. It looks through the gateway's book, which takes its time: nobody should
// wait to write meanwhile.
func RemovedAt(tx *store.Tx, id device.BrandID) (at device.Instant, err error) {
	book := device.Gateway
	for e, err := range tx.Journal(store.Filter{Home: &book, Kind: func(kind string) bool { return kind == brandRemoved }}) {
		if err != nil {
			return 0, err
		}
		if err := store.With(e, func(f idFact[device.BrandID]) error {
			if f.ID == id {
				at = e.At
			}
			return nil
		}); err != nil || at != 0 {
			return at, err
		}
	}
	return 0, nil
}

// APIKey is what is known of an API key.
type APIKey struct {
	State  State          `json:"state"` // active or retiring
	Issued device.Instant `json:"issued"`
	Until  device.Instant `json:"until,omitempty"` // void from then on; 0: no end
}

// APIKeys lists the API keys that a brand can log in with now, the newest first.
func APIKeys(tx *store.Tx, id device.BrandID) ([]APIKey, error) {
	return store.List(tx, func(scan scanner) (k APIKey, err error) { err = scan(&k.State, &k.Issued, &k.Until); return },
		`SELECT state, at, until FROM credential WHERE brand = ? AND kind = ? AND (until = 0 OR until > ?) ORDER BY state, at DESC`, id, brandKey, tx.Now)
}

// RenewAPIKey gives a brand another API key. The one before stands for Grace, or, atOnce, is void
// with all others.
func RenewAPIKey(tx *store.Tx, id device.BrandID, key string, atOnce bool) error {
	if _, err := BrandByID(tx, id); err != nil {
		return err
	}
	f := renewedFact{ID: id, Key: Hash(key), Until: tx.Now.Add(Grace)}
	if atOnce {
		f.Until = 0
	}
	return add(tx, device.Gateway, brandRenewed, f)
}

// applyBrand projects the facts of brands; mine is false for those of others.
func applyBrand(tx *store.Apply, e store.Event) (mine bool, err error) {
	const insert = `INSERT INTO credential (hash, kind, brand, state, at) VALUES (?, ?, ?, 'active', ?)`
	switch e.Kind {
	case brandAdded:
		return true, store.With(e, func(f brandFact) error {
			purposes, err := json.Marshal(f.Purposes)
			if err != nil {
				return err
			}
			err = tx.Exec(`INSERT INTO brand (id, name, legal, contact, domain, country, purposes, quota) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
				f.ID, f.Name, f.Legal, f.Contact, f.Domain, f.Country, string(purposes), f.Quota)
			if err != nil {
				return err
			}
			return tx.Exec(insert, f.Key, brandKey, f.ID, e.At)
		})
	case brandChanged:
		return true, store.With(e, func(f Brand) error {
			purposes, err := json.Marshal(f.Purposes)
			if err != nil {
				return err
			}
			return tx.Exec(`UPDATE brand SET name = ?, legal = ?, contact = ?, domain = ?, country = ?, purposes = ?, quota = ? WHERE id = ?`,
				f.Name, f.Legal, f.Contact, f.Domain, f.Country, string(purposes), f.Quota, f.ID)
		})
	case brandRenewed:
		return true, store.With(e, func(f renewedFact) error {
			for _, stmt := range []struct {
				sql  string
				args []any
			}{
				{`DELETE FROM credential WHERE brand = ? AND (state <> 'active' OR ? = 0)`, []any{f.ID, f.Until}},
				{`UPDATE credential SET state = 'retiring', until = ? WHERE brand = ?`, []any{f.Until, f.ID}},
				{insert, []any{f.Key, brandKey, f.ID, e.At}},
			} {
				if err := tx.Exec(stmt.sql, stmt.args...); err != nil {
					return err
				}
			}
			return nil
		})
	case brandKeyed:
		return true, store.With(e, func(f SignKey) error {
			if err := tx.Exec(`UPDATE brand SET signs = 1 WHERE id = ?`, f.Brand); err != nil {
				return err
			}
			return tx.Exec(`INSERT INTO brand_key (brand, kid, alg, key, added, added_pos) VALUES (?, ?, ?, ?, ?, ?)`, f.Brand, f.ID, f.Alg, f.Public, e.At, e.Pos)
		})
	case brandUnkeyed:
		return true, store.With(e, func(f unkeyedFact) error {
			return tx.Exec(`UPDATE brand_key SET revoked = ?, revoked_pos = ? WHERE brand = ? AND kid = ?`, e.At, e.Pos, f.Brand, f.ID)
		})
	case brandStopped:
		return true, store.With(e, func(f stoppedFact) error {
			return tx.Exec(`UPDATE brand SET stopped = ?, reason = ?, cleared = ? WHERE id = ?`, e.At, f.Reason, e.Pos, f.ID)
		})
	case brandStarted:
		return true, store.With(e, func(f idFact[device.BrandID]) error {
			return tx.Exec(`UPDATE brand SET stopped = 0, reason = '' WHERE id = ?`, f.ID)
		})
	case brandRemoved:
		return true, store.With(e, func(f idFact[device.BrandID]) error {
			if err := tx.Exec(`DELETE FROM credential WHERE brand = ?`, f.ID); err != nil {
				return err
			}
			if err := tx.Exec(`UPDATE brand_key SET revoked = ?, revoked_pos = ? WHERE brand = ? AND revoked_pos = 0`, e.At, e.Pos, f.ID); err != nil {
				return err
			}
			return tx.Exec(`UPDATE brand SET removed = 1 WHERE id = ?`, f.ID)
		})
	}
	return false, nil
}

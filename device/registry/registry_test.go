package registry_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight/device"
	. "porchlight/device/registry"
	"porchlight/device/store"
)

// open is a real store whose projector knows this noun only.
func open(t *testing.T) (*store.DB, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "p.db")
	db, err := store.Open(context.Background(), path, store.Options{Project: func(tx *store.Apply, e store.Event) error {
		_, err := Apply(tx, e)
		return err
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db, path
}

func update(t *testing.T, db *store.DB, f func(tx *store.Tx) error) {
	t.Helper()
	if err := db.Update(f); err != nil {
		t.Fatal(err)
	}
}

func TestAddAndRefuse(t *testing.T) {
	db, _ := open(t)
	var home Home
	tv := device.Device{ID: "tv-oak", Class: device.TV, Name: "TV"}
	token := NewToken()
	update(t, db, func(tx *store.Tx) (err error) {
		if home, err = AddHome(tx, "oak", "Europe/Zurich"); err != nil {
			return err
		}
		tv.Home = home.ID
		if _, err = AddPerson(tx, home.ID, Person{Name: "Anna", Age: device.Adult}); err != nil {
			return err
		}
		return AddDevice(tx, tv, token)
	})
	with := func(edit func(d *device.Device)) func(tx *store.Tx) error {
		return func(tx *store.Tx) error {
			d := device.Device{ID: "fridge-oak", Home: home.ID, Class: device.Fridge, Name: "Fridge"}
			edit(&d)
			return AddDevice(tx, d, NewToken())
		}
	}
	brand := func(edit func(b *Brand)) func(tx *store.Tx) error {
		return func(tx *store.Tx) error {
			b := Brand{ID: "grocer", Name: "Grocer", Purposes: []string{"marketing"}, Quota: 1}
			edit(&b)
			return AddBrand(tx, b, NewKey())
		}
	}
	tests := map[string]struct {
		do   func(tx *store.Tx) error
		want error
	}{
		"a good device":     {with(func(d *device.Device) {}), nil},
		"ID taken":          {with(func(d *device.Device) { d.ID = "tv-oak" }), ErrTaken},
		"name taken":        {with(func(d *device.Device) { d.Name = "TV" }), ErrTaken},
		"bad ID":            {with(func(d *device.Device) { d.ID = "a/b" }), ErrInvalid},
		"unknown class":     {with(func(d *device.Device) { d.Class = 77 }), ErrInvalid},
		"no such home":      {with(func(d *device.Device) { d.Home = 99 }), ErrUnknown},
		"no such owner":     {with(func(d *device.Device) { d.Owner = 99 }), ErrUnknown},
		"control in a name": {with(func(d *device.Device) { d.Name = "a\nb" }), ErrInvalid},
		"weak token": {func(tx *store.Tx) error {
			return AddDevice(tx, device.Device{ID: "weak", Home: home.ID, Class: device.TV, Name: "W"}, "secret")
		}, ErrInvalid},
		"home taken":          {func(tx *store.Tx) error { _, err := AddHome(tx, "oak", "Europe/Zurich"); return err }, ErrTaken},
		"unknown zone":        {func(tx *store.Tx) error { _, err := AddHome(tx, "elm", "Europe/Zürich"); return err }, ErrInvalid},
		"zone of the machine": {func(tx *store.Tx) error { _, err := AddHome(tx, "elm", "Local"); return err }, ErrInvalid},
		"person taken": {func(tx *store.Tx) error {
			_, err := AddPerson(tx, home.ID, Person{Name: "Anna", Age: device.Adult})
			return err
		}, ErrTaken},
		"person not there":     {func(tx *store.Tx) error { return RemovePerson(tx, home.ID, 9) }, ErrUnknown},
		"device not there":     {func(tx *store.Tx) error { return RemoveDevice(tx, "nobody", ByOperator) }, ErrUnknown},
		"a good brand":         {brand(func(b *Brand) {}), nil},
		"brand without aim":    {brand(func(b *Brand) { b.Purposes = nil }), ErrInvalid},
		"brand without quota":  {brand(func(b *Brand) { b.Quota = 0 }), ErrInvalid},
		"brand with a bad ID":  {brand(func(b *Brand) { b.ID = "1" }), ErrInvalid},
		"brand that is absent": {func(tx *store.Tx) error { return RemoveBrand(tx, "nobody") }, ErrUnknown},
	}
	errBack := errors.New("undo") // each case starts from the same tables
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var got error
			err := db.Update(func(tx *store.Tx) error { got = test.do(tx); return errBack })
			if !errors.Is(err, errBack) || !errors.Is(got, test.want) || (got == nil) != (test.want == nil) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestAuthenticate(t *testing.T) {
	db, path := open(t)
	tokens := map[device.ID]string{"tv-oak": NewToken(), "tv-elm": NewToken()}
	key := NewKey()
	update(t, db, func(tx *store.Tx) error {
		for name, id := range map[string]device.ID{"oak": "tv-oak", "elm": "tv-elm"} {
			h, err := AddHome(tx, name, "UTC")
			if err != nil {
				return err
			}
			if err := AddDevice(tx, device.Device{ID: id, Home: h.ID, Class: device.TV, Name: "TV"}, tokens[id]); err != nil {
				return err
			}
		}
		return AddBrand(tx, Brand{ID: "grocer", Name: "Grocer", Purposes: []string{"marketing"}, Quota: 1}, key)
	})
	try := func(id device.ID, token string) (err error) {
		return db.View(t.Context(), func(tx *store.Tx) error {
			d, err := Authenticate(tx, id, Token(token))
			if err == nil && d.ID != id {
				t.Errorf("%s logged in as %s", id, d.ID)
			}
			return err
		})
	}
	for id, token := range tokens {
		if err := try(id, token); err != nil {
			t.Errorf("%s with its token: %v", id, err)
		}
	}
	for name, c := range map[string][2]string{
		"another's token": {"tv-oak", tokens["tv-elm"]}, "no token": {"tv-oak", ""}, "cut token": {"tv-oak", tokens["tv-oak"][1:]},
		"unknown device": {"tv-ash", tokens["tv-oak"]}, "no device": {"", tokens["tv-oak"]}, "a brand's key": {"tv-oak", key},
	} {
		if err := try(device.ID(c[0]), c[1]); !errors.Is(err, ErrUnknown) {
			t.Errorf("%s: %v, want ErrUnknown", name, err)
		}
	}
	keys := NewBrandKeys(db)
	brand := func(key string) (Brand, error) { return keys.Authenticate(t.Context(), key) }
	if b, err := brand(key); err != nil || b.ID != "grocer" {
		t.Errorf("the brand's key: %+v, %v", b, err)
	}
	if _, err := brand(tokens["tv-oak"]); !errors.Is(err, ErrUnknown) {
		t.Errorf("a device's token as a key: %v, want ErrUnknown", err)
	}
	// Removed is removed, and an ID is never given again.
	update(t, db, func(tx *store.Tx) error {
		return errors.Join(RemoveDevice(tx, "tv-oak", ByOperator), RemoveBrand(tx, "grocer"))
	})
	if err := try("tv-oak", tokens["tv-oak"]); !errors.Is(err, ErrUnknown) {
		t.Errorf("a removed device: %v, want ErrUnknown", err)
	}
	if _, err := brand(key); !errors.Is(err, ErrUnknown) {
		t.Errorf("a removed brand: %v, want ErrUnknown", err)
	}
	err := db.Update(func(tx *store.Tx) error {
		return AddDevice(tx, device.Device{ID: "tv-oak", Home: 2, Class: device.TV, Name: "New"}, NewToken())
	})
	if !errors.Is(err, ErrTaken) {
		t.Errorf("a removed device's ID again: %v, want ErrTaken", err)
	}
	// No secret is in the file, nor in what has not been moved into it yet.
	for _, file := range []string{path, path + "-wal"} {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{tokens["tv-oak"], tokens["tv-elm"], key} {
			if bytes.Contains(raw, []byte(secret)) {
				t.Errorf("%s contains a secret", filepath.Base(file))
			}
		}
	}
}

func TestRemoveHomeForgets(t *testing.T) {
	db, _ := open(t)
	update(t, db, func(tx *store.Tx) error {
		h, err := AddHome(tx, "oak", "UTC")
		if err != nil {
			return err
		}
		if _, err := AddPerson(tx, h.ID, Person{Name: "Anna", Age: device.Adult}); err != nil {
			return err
		}
		return AddDevice(tx, device.Device{ID: "tv-oak", Home: h.ID, Class: device.TV, Name: "TV"}, NewToken())
	})
	update(t, db, func(tx *store.Tx) error { return RemoveHome(tx, 1) })
	err := db.View(t.Context(), func(tx *store.Tx) error {
		homes, err := Homes(tx)
		if err != nil || len(homes) != 0 {
			t.Errorf("homes = %v, %v", homes, err)
		}
		var n int
		if err := tx.QueryRow(`SELECT (SELECT count(*) FROM person) + (SELECT count(*) FROM credential) + (SELECT count(*) FROM device WHERE name != '')`).Scan(&n); err != nil || n != 0 {
			t.Errorf("%d rows are left, %v", n, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	update(t, db, func(tx *store.Tx) error {
		h, err := AddHome(tx, "oak", "UTC")
		if h.ID != 2 {
			t.Errorf("the next home is number %d, want 2", h.ID)
		}
		return err
	})
}

// A credential waits in the second slot until it is used; then the one before it retires. What is
// said twice changes nothing, and what is void by then is not brought back.
func TestCredentialSlots(t *testing.T) {
	db, _ := open(t)
	tokens := []string{NewToken(), NewToken(), NewToken()}
	var id device.ID = "tv-oak"
	update(t, db, func(tx *store.Tx) error {
		h, err := AddHome(tx, "oak", "UTC")
		return errors.Join(err, AddDevice(tx, device.Device{ID: id, Home: h.ID, Class: device.TV, Name: "TV"}, tokens[0]))
	})
	states := func() (all [3]State) {
		for i, token := range tokens {
			err := db.View(t.Context(), func(tx *store.Tx) error {
				l, err := Authenticate(tx, id, Token(token))
				all[i] = l.State
				return err
			})
			if err != nil && !errors.Is(err, ErrUnknown) {
				t.Fatal(err)
			}
		}
		return all
	}
	events := func() (n int) {
		if err := db.View(t.Context(), func(tx *store.Tx) error { return tx.QueryRow(`SELECT count(*) FROM journal`).Scan(&n) }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	step := func(what string, f func(tx *store.Tx) error, fails error, want ...State) {
		t.Helper()
		if err := db.Update(f); !errors.Is(err, fails) {
			t.Errorf("%s: %v, want %v", what, err, fails)
		}
		if got := states(); !slices.Equal(got[:], want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	issue := func(i int) func(tx *store.Tx) error {
		return func(tx *store.Tx) error { return Issue(tx, id, Token(tokens[i]), tx.Now.Add(time.Hour)) }
	}
	activate := func(i int) func(tx *store.Tx) error {
		return func(tx *store.Tx) error { return Activate(tx, id, Token(tokens[i])) }
	}
	step("issued", issue(1), nil, Active, Pending, "")
	was := events()
	step("issued again", issue(1), nil, Active, Pending, "")
	step("another in its place", issue(2), nil, Active, "", Pending)
	step("the one that is void", activate(1), ErrUnknown, Active, "", Pending)
	step("used", activate(2), nil, Retiring, "", Active)
	step("used again", activate(2), nil, Retiring, "", Active)
	if n := events() - was; n != 2 {
		t.Errorf("%d facts were written, want 2: what is said twice is no fact", n)
	}
	step("one that is there already", issue(0), ErrTaken, Retiring, "", Active)
	step("replaced", func(tx *store.Tx) error { return Replace(tx, id, Token(tokens[1])) }, nil, "", Active, "")
	step("used too late", activate(2), ErrUnknown, "", Active, "")
	step("removed", func(tx *store.Tx) error { return RemoveDevice(tx, id, ByWipe) }, nil, "", "", "")
}

func TestLoadZone(t *testing.T) {
	for _, name := range []string{"UTC", "Europe/Zurich", "America/Argentina/Buenos_Aires", "Etc/GMT+5"} {
		if z, err := LoadZone(name); err != nil || z.String() != name {
			t.Errorf("%s: got %v, %v", name, z, err)
		}
	}
	for _, name := range []string{"", "Local", "localtime", "posixrules", "Factory", "posix/Europe/Zurich", "right/Europe/Zurich", "./UTC", "Europe//Zurich",
		"Europe/../UTC", "Europe/", "../zoneinfo/UTC", "/etc/localtime", "Europe", "Europe/Atlantis", " UTC", strings.Repeat("x", 65)} {
		if z, err := LoadZone(name); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: got %v, %v", name, z, err)
		}
	}
}

package delivery

import (
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"unicode/utf8"

	"porchlight/device"
	"porchlight/device/ledger"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/policy"
	"porchlight/policy/consent"
)

// What an import takes at most.
const (
	MaxImport = 256 << 20 // bytes of the file

	maxImportFiles  = 100_000
	maxImportLarge  = 1 << 30   // bytes of all files in it together
	maxImportMemory = 256 << 20 // bytes of each of those that are kept in memory
	maxImportEvents = 1_000_000
	maxImportLine   = 1 << 20 // bytes of one event
	maxImportBrands = 1000
)

// What Import fails with beside registry.ErrTaken, if the home, its name or a device of it is there already.
var (
	ErrDamaged   = errors.New("the export is damaged")                        // or was altered, or is none
	ErrNewer     = errors.New("the export was written by a newer porchlight") // this one may not understand all of it
	ErrNotSigned = errors.New("the export is not what that key has signed")   // the key that was given
)

// Imported says what came in.
type Imported struct {
	Home     registry.Home    `json:"home"`
	Events   int              `json:"events"`
	Proven   bool             `json:"proven"`             // every byte is what the key that was given has signed
	Brands   []device.BrandID `json:"brands,omitempty"`   // registered with it: stopped, and without keys
	Strange  []device.BrandID `json:"strange,omitempty"`  // another firm has that name here, or nobody knows whose it is: no yes to them stands
	TooLong  []device.BrandID `json:"too_long,omitempty"` // a yes to them would have ended later than a yes can: it does not stand
	Previous ledger.Head      `json:"previous,omitempty"` // the head of the home's log where it came from
}

type importedFact struct {
	Head ledger.Head `json:"head"` // of the log where it came from
	Key  []byte      `json:"key"`  // what that log's heads and receipts are verified with, as X.509 writes it
}

// ImportAsked says how an export is to be taken in.
type ImportAsked struct {
	Name string           // what to call the home; "": as it was called
	Key  crypto.PublicKey // of the home where it comes from: nothing is taken in but what it has signed; nil: whatever the file says
}

// Import takes in a home that another gateway has exported: everything in its book is at the same place, with its time, kind
// and author, and its devices log in with what they logged in with there. All of it is verified first; it is taken in as a
// whole or not at all. It fails with ErrDamaged, ErrNewer, ErrNotSigned, registry.ErrTaken or registry.ErrInvalid.
func (d *Desk) Import(ctx context.Context, file io.ReaderAt, size int64, ask ImportAsked) (done Imported, err error) {
	in, err := readImport(ctx, file, size, ask.Key)
	if err == nil {
		done, err = d.takeIn(ctx, in, ask.Name)
		done.Proven = ask.Key != nil
	}
	if err != nil {
		return Imported{}, fmt.Errorf("import: %w", err)
	}
	return done, nil
}

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrDamaged}, args...)...)
}

// imported is an export that was verified.
type imported struct {
	manifest Manifest
	events   []store.Event
	brands   []exportedBrand
	key      []byte // as X.509 writes it
}

// readImport reads and verifies an export, which is signed by a key, if one is given.
func readImport(ctx context.Context, file io.ReaderAt, size int64, by crypto.PublicKey) (in imported, err error) {
	if size > MaxImport {
		return in, damaged("it has %d bytes, at most %d are taken", size, MaxImport)
	}
	z, err := zip.NewReader(file, size)
	if err != nil {
		return in, damaged("it is no zip, as porchlight export writes one: %v", err)
	}
	if len(z.File) > maxImportFiles {
		return in, damaged("it has %d files, at most %d are taken", len(z.File), maxImportFiles)
	}
	files := map[string]*zip.File{}
	for _, f := range z.File {
		if !fs.ValidPath(f.Name) || strings.ContainsAny(f.Name, "\\:") || !f.Mode().IsRegular() || files[f.Name] != nil {
			return in, damaged("it has a file that is called %.80q", f.Name)
		}
		files[f.Name] = f
	}
	left := int64(maxImportLarge)
	read := func(name string, most int64) ([]byte, error) {
		f := files[name]
		if f == nil {
			return nil, damaged("%s is missing", name)
		}
		r, err := f.Open()
		if err != nil {
			return nil, damaged("%s: %v", name, err)
		}
		defer r.Close()
		most = min(most, left)
		raw, err := io.ReadAll(io.LimitReader(r, most+1))
		if left -= int64(len(raw)); err != nil {
			return nil, damaged("%s: %v", name, err)
		}
		if int64(len(raw)) > most {
			return nil, damaged("%s is too large", name)
		}
		return raw, nil
	}
	raw, err := read(manifestFile, 64<<20)
	if err != nil {
		return in, err
	}
	var kind struct {
		Format  string
		Version int
	}
	if err := json.Unmarshal(raw, &kind); err != nil || kind.Format != exportFormat {
		return in, damaged("%s is not that of an export", manifestFile)
	}
	if kind.Version > exportVersion {
		return in, fmt.Errorf("%w: its version is %d, this one reads %d", ErrNewer, kind.Version, exportVersion)
	}
	if err := strictly(raw, &in.manifest); err != nil {
		return in, damaged("%s: %v", manifestFile, err)
	}
	if in.manifest.Person != "" {
		return in, fmt.Errorf("%w: it is about one person alone, for them to keep; only a whole home can be taken in", registry.ErrInvalid)
	}
	digest := sha256.Sum256(raw)
	beside := 1
	if files[signedFile] != nil {
		beside = 2
	}
	if len(in.manifest.Files) != len(files)-beside {
		return in, damaged("it has %d files, and its manifest tells of %d", len(files)-beside, len(in.manifest.Files))
	}
	for _, f := range z.File {
		if f.Name == manifestFile || f.Name == signedFile {
			continue
		}
		if err := ctx.Err(); err != nil {
			return in, err
		}
		want, ok := in.manifest.Files[f.Name]
		if !ok {
			return in, damaged("its manifest does not tell of %s", f.Name)
		}
		if got, err := hashFile(f, left); err != nil {
			return in, damaged("%s: %v", f.Name, err)
		} else if got != want {
			return in, damaged("%s is not what the manifest says", f.Name)
		}
		left -= want.Size
	}
	left = maxImportLarge // what is read again
	raw, err = read(keyFile, 4096)
	if err != nil {
		return in, err
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return in, damaged("%s is no key", keyFile)
	}
	in.key = block.Bytes
	key, err := x509.ParsePKIXPublicKey(in.key)
	if err != nil {
		return in, damaged("%s is no key: %v", keyFile, err)
	}
	if same, ok := key.(interface{ Equal(crypto.PublicKey) bool }); by != nil && (!ok || !same.Equal(by)) {
		return in, fmt.Errorf("%w: the file comes with another key: ledger key prints the right one, where the home was exported", ErrNotSigned)
	}
	switch {
	case files[signedFile] != nil:
		if raw, err = read(signedFile, ledger.MaxSigned); err != nil {
			return in, err
		}
		if is, err := ledger.OpenSigned(raw, ledger.ExportType, key); err != nil {
			return in, damaged("%s: %v", signedFile, err)
		} else if !bytes.Equal(is, digest[:]) {
			return in, damaged("%s signs for another manifest", signedFile)
		}
	case by != nil:
		return in, fmt.Errorf("%w: it has no %s: a gateway that is older than this one wrote it, or somebody has taken it out; export the home again, or do without a key", ErrNotSigned, signedFile)
	}
	if raw, err = read(headFile, ledger.MaxSigned); err != nil {
		return in, err
	}
	head, err := ledger.OpenHead(raw, key)
	if err != nil {
		return in, damaged("%s: %v", headFile, err)
	}
	if head != in.manifest.Head {
		return in, damaged("%s is not the head that the manifest names", headFile)
	}
	if raw, err = read(ledgerFile, maxImportMemory); err != nil {
		return in, err
	}
	log, err := ledger.ReadExport(bytes.NewReader(raw))
	if err == nil {
		err = ledger.Verify(log, head)
	}
	if err != nil {
		return in, damaged("%s: %v", ledgerFile, err)
	}
	if raw, err = read(journalFile, maxImportMemory); err != nil {
		return in, err
	}
	if in.events, err = readJournal(raw, log); err != nil {
		return in, err
	}
	if raw, err = read(brandsFile, 64<<20); err != nil {
		return in, err
	}
	if err := json.Unmarshal(raw, &in.brands); err != nil {
		return in, damaged("%s: %v", brandsFile, err)
	}
	if len(in.brands) > maxImportBrands {
		return in, damaged("%s has %d brands, at most %d are taken", brandsFile, len(in.brands), maxImportBrands)
	}
	return in, nil
}

// hashFile reads a file of at most most bytes.
func hashFile(f *zip.File, most int64) (m Manifold, err error) {
	r, err := f.Open()
	if err != nil {
		return m, err
	}
	defer r.Close()
	s := &sum{Hash: sha256.New()}
	if _, err := io.Copy(s, io.LimitReader(r, most+1)); err != nil {
		return m, err
	}
	if s.size > most {
		return m, errors.New("all files together are too large")
	}
	return Manifold{hex.EncodeToString(s.Sum(nil)), s.size}, nil
}

// strictly decodes one JSON value with no field that is unknown.
func strictly(raw []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return err
	}
	if !atEnd(dec) {
		return errors.New("more follows")
	}
	return nil
}

// readJournal reads the events in plain, and holds them against the log.
func readJournal(raw []byte, log ledger.Export) (all []store.Event, err error) {
	read := bufio.NewScanner(bytes.NewReader(raw))
	read.Buffer(nil, maxImportLine)
	for read.Scan() {
		var l journalLine
		if err := strictly(read.Bytes(), &l); err != nil {
			return nil, damaged("%s, line %d: %v", journalFile, len(all)+1, err)
		}
		if len(all) == maxImportEvents {
			return nil, damaged("%s has more than %d events: no more are taken", journalFile, len(all))
		}
		if len(all) == len(log.Entries) {
			return nil, damaged("%s has more than the %d events of the log", journalFile, len(all))
		}
		in := log.Entries[len(all)]
		if l.Pos != in.Pos || l.At != in.At || l.Kind != in.Kind || l.Actor != in.Actor || l.Erased != in.Erased || l.Erased && (l.Leaf != in.Leaf || l.Body != nil || l.Subject != 0) {
			return nil, damaged("%s, line %d: it is not the entry of the log", journalFile, len(all)+1)
		}
		e := store.Event{Pos: l.Pos, At: l.At, Actor: l.Actor, Kind: l.Kind, Subject: l.Subject, Body: l.Body, Erased: l.Erased}
		e.Entry.Leaf = l.Leaf
		all = append(all, e)
	}
	if err := read.Err(); err != nil {
		return nil, damaged("%s, line %d: %v", journalFile, len(all)+1, err)
	}
	if len(all) != len(log.Entries) || len(all) == 0 {
		return nil, damaged("%s has %d events, the log has %d", journalFile, len(all), len(log.Entries))
	}
	return all, nil
}

// importable are the nouns that a home's book tells of. No other fact may come in with a home: none about brands,
// messages or the gateway.
var importable = []string{"home", "person", "room", "device", "credential", "enrolment", "door", "consent", "preference", "delivery", "withdrawal", "item", "complaint"}

// admit checks that events are those of one home and of nothing outside of it, and makes them those of the home with
// that number and name ("": as it was called). It returns the name and the devices.
func admit(events []store.Event, home device.HomeID, name string) (was registry.Home, devices []device.ID, err error) {
	known := map[device.ID]bool{}
	bad := func(e *store.Event, why string, args ...any) error {
		return damaged("event %d, %.40s: %s", e.Pos, e.Kind, fmt.Sprintf(why, args...))
	}
	plain := func(s string, most int) bool {
		return len(s) <= most && !strings.ContainsFunc(s, func(r rune) bool { return !device.Printable(r) })
	}
	for i := range events {
		e := &events[i]
		if !plain(e.Kind, 64) || !plain(string(e.Actor), 256) || e.At <= 0 || e.Subject < 0 {
			return was, nil, bad(e, "it has no form that the gateway writes")
		}
		if e.Erased || e.Kind == store.KindErased {
			continue
		}
		noun, _, _ := strings.Cut(e.Kind, ".")
		if !slices.Contains(importable, noun) {
			return was, nil, bad(e, "it is not one of a home")
		}
		if err := legible(e.Body); err != nil {
			return was, nil, bad(e, "%v", err)
		}
		m, err := mentions(*e)
		if err != nil {
			return was, nil, bad(e, "%v", err)
		}
		if noun == "consent" && m.key.Brand == "" {
			return was, nil, bad(e, "it is about no brand")
		}
		for _, b := range m.brands {
			if _, err := device.ParseBrandID(string(b)); err != nil {
				return was, nil, bad(e, "%v", err)
			}
		}
		if noun == "consent" && m.key.Subject != e.Subject || noun != "consent" && e.Subject != device.Household {
			return was, nil, bad(e, "it is not sealed as what it is")
		}
		switch e.Kind {
		case "home.added":
			if was.Name != "" {
				return was, nil, bad(e, "the home was there already")
			}
			if err := store.With(*e, func(h registry.Home) error { was = h; return nil }); err != nil {
				return was, nil, bad(e, "%v", err)
			}
			if name != "" {
				was.Name = name
			}
			if was.ID = home; was.Name == "" || !plain(was.Name, 32) || strings.TrimSpace(was.Name) != was.Name {
				return was, nil, fmt.Errorf("home name %.40q: %w: use 1 to 32 bytes of text without control characters or space at the ends", was.Name, registry.ErrInvalid)
			}
			if _, err := registry.LoadZone(was.Zone); err != nil {
				return was, nil, err
			}
			if e.Body, err = json.Marshal(was); err != nil {
				return was, nil, err
			}
			continue
		case "home.removed", homeGone, homeExported:
			return was, nil, bad(e, "such a home cannot be taken in")
		case "device.added":
			var f map[string]json.RawMessage
			var dev device.Device
			var of struct {
				Credential struct {
					Device device.ID `json:"device"`
				} `json:"credential"`
			}
			if err := errors.Join(json.Unmarshal(e.Body, &f), json.Unmarshal(e.Body, &dev), json.Unmarshal(e.Body, &of)); err != nil {
				return was, nil, bad(e, "%v", err)
			}
			if _, err := device.ParseID(string(dev.ID)); err != nil || device.IsApplicant(string(dev.ID)) || !dev.Class.Known() || known[dev.ID] || of.Credential.Device != dev.ID || !plain(dev.Name, 64) {
				return was, nil, bad(e, "it is no device that could be added")
			}
			known[dev.ID] = true
			devices = append(devices, dev.ID)
			if f["home"], err = json.Marshal(home); err != nil {
				return was, nil, err
			}
			if e.Body, err = json.Marshal(f); err != nil {
				return was, nil, err
			}
		case complaintMade, complaintResolved:
			err := store.With(*e, func(f complaintFact) error { _, err := device.ParseBrandID(string(f.Brand)); return err })
			if err != nil {
				return was, nil, bad(e, "%v", err)
			}
		case itemGot:
			err := store.With(*e, func(f gotFact) error {
				if !wordOK(f.Item) {
					return errors.New("it is nothing that anybody could have got")
				}
				return nil
			})
			if err != nil {
				return was, nil, bad(e, "%v", err)
			}
		case "person.added", "person.changed":
			err := store.With(*e, func(p registry.Person) error {
				if p.ID <= device.Household || p.Name == "" || !plain(p.Name, 64) || p.Age > device.Adult {
					return errors.New("it is nobody who could live in a home")
				}
				return nil
			})
			if err != nil {
				return was, nil, bad(e, "%v", err)
			}
		}
		if noun == "device" || noun == "credential" {
			for _, id := range m.devices[:min(1, len(m.devices))] { // by whom comes behind
				if !known[id] {
					return was, nil, bad(e, "its device is not one of the home")
				}
			}
		}
		if was.Name == "" {
			return was, nil, bad(e, "the home was not there yet")
		}
	}
	if was.Name == "" {
		return was, nil, damaged("no event says which home it is")
	}
	return was, devices, nil
}

// longestImported is how many bytes a text in a fact of a home has at most; what a device tells of a person's signal has half of it.
const longestImported = 8 << 10

// legible checks that all texts in a fact can be printed, and are not longer than the gateway lets them be.
func legible(body []byte) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	for {
		tok, err := dec.Token()
		if err != nil {
			if err == io.EOF {
				return nil
			}
			return err
		}
		text, _ := tok.(string)
		if len(text) > longestImported {
			return fmt.Errorf("a text of it has %d bytes", len(text))
		}
		if strings.ContainsFunc(text, func(r rune) bool { return r != '\n' && r != utf8.RuneError && !device.Printable(r) }) {
			return fmt.Errorf("a text of it has characters that cannot be printed: %.40q", text)
		}
	}
}

// takeIn writes down what was verified.
func (d *Desk) takeIn(ctx context.Context, in imported, name string) (done Imported, err error) {
	d.changing.Lock()
	defer d.changing.Unlock()
	if err := ctx.Err(); err != nil {
		return done, err
	}
	var brands []registry.Brand
	events := slices.Clone(in.events)
	err = d.update(func(tx *store.Tx) error {
		done, brands = Imported{Events: len(events), Previous: in.manifest.Head}, nil // a unit may be run twice
		copy(events, in.events)
		var last int64
		if err := tx.QueryRow(`SELECT max((SELECT coalesce(max(id), 0) FROM home), (SELECT coalesce(max(home), 0) FROM journal))`).Scan(&last); err != nil {
			return err
		}
		h, devices, err := admit(events, device.HomeID(last+1), name)
		if err != nil {
			return err
		}
		done.Home = h
		if err := inTheWay(tx, h, devices); err != nil {
			return err
		}
		if err := tx.Import(h.ID, events); err != nil {
			return unfit(err)
		}
		var known []device.BrandID // whose firm here is the one that the home knew
		for _, b := range in.brands {
			is, err := registry.BrandByID(tx, b.ID)
			switch {
			case err == nil && sameFirm(is, b.Brand):
				known = append(known, b.ID)
			case err == nil:
				done.Strange = append(done.Strange, b.ID)
			case errors.Is(err, registry.ErrUnknown) && len(b.Purposes) > 0:
				if is, err = register(tx, b); err != nil && !errors.Is(err, registry.ErrTaken) { // it was here once, and has left
					return unfit(err)
				} else if err == nil {
					done.Brands, brands, known = append(done.Brands, b.ID), append(brands, is), append(known, b.ID)
				}
			case err != nil && !errors.Is(err, registry.ErrUnknown):
				return err
			}
		}
		if _, err := tx.Add(h.ID, homeImported, importedFact{in.manifest.Head, in.key}); err != nil {
			return err
		}
		choices, err := consent.List(tx, h.ID)
		if err != nil {
			return err
		}
		for _, e := range choices {
			if e.Choice == policy.Given && !slices.Contains(known, e.Brand) {
				if err := consent.Invalidate(tx, h.ID, e.Key(), "this gateway does not know the firm that it was said to"); err != nil {
					return err
				}
				if !slices.Contains(done.Strange, e.Brand) {
					done.Strange = append(done.Strange, e.Brand)
				}
			} else if e.Choice == policy.Given && consent.TooLong(e, tx.Now) {
				if err := consent.Invalidate(tx, h.ID, e.Key(), "it would have ended later than a yes can"); err != nil {
					return err
				}
				if !slices.Contains(done.TooLong, e.Brand) {
					done.TooLong = append(done.TooLong, e.Brand)
				}
			}
		}
		if _, err = d.read(tx, h.ID); err != nil {
			return unfit(err)
		}
		w, err := readWants(tx, h.ID)
		if err != nil {
			return unfit(err)
		}
		anybody := func(device.PersonID) bool { return true } // who has left may be named
		if err := errors.Join(checkQuiet(w.quiet, anybody), checkMutes(w.mutes, anybody), checkCaps(w.caps, anybody)); err != nil {
			return unfit(err)
		}
		return nil
	})
	if no := (*takenError)(nil); errors.As(err, &no) {
		err = errors.Join(no, d.already(ctx, no, in.key))
	}
	if err != nil {
		return Imported{}, err
	}
	for _, b := range brands {
		d.know(b)
	}
	if len(brands) > 0 {
		d.showBrands()
	}
	d.due.Store(0)
	d.ends.Store(0)
	d.queue.put(d.home(done.Home.ID))
	return done, nil
}

// takenError says why a home cannot be taken in beside what is here. It wraps registry.ErrTaken.
type takenError struct {
	named  registry.Home // has its name here; zero: nobody has
	device device.ID     // of it, and of another home here, or it was; "": none is
	of     registry.Home // that other home
	here   string        // what the home itself is called here; "": it is not here
}

func (e *takenError) Error() string {
	switch {
	case e.here != "":
		return fmt.Sprintf("this home is here already, as %q. To have it as it is in the file, remove it first, with all that was said in it since: porchlight home remove %[1]q", e.here)
	case e.named.ID != 0:
		return fmt.Sprintf("another home is called %q here: give this one another name with --name", e.named.Name)
	}
	return fmt.Sprintf("its device %s is, or was, one of home %q here, and an ID is one device's alone: porchlight erase --home %[2]q --device %[1]s frees it", e.device, e.of.Name)
}

func (e *takenError) Unwrap() error { return registry.ErrTaken }

// inTheWay is a takenError if a home with h's name, or one of the devices, is here.
func inTheWay(tx *store.Tx, h registry.Home, devices []device.ID) (err error) {
	var e takenError
	if e.named, err = registry.HomeByName(tx, h.Name); err != nil && !errors.Is(err, registry.ErrUnknown) {
		return err
	}
	for _, id := range devices {
		var of device.HomeID
		switch err := tx.QueryRow(`SELECT home FROM device WHERE id = ?`, id).Scan(&of); {
		case errors.Is(err, sql.ErrNoRows):
			continue
		case err != nil:
			return err
		}
		if e.of, err = registry.HomeByID(tx, of); err != nil {
			return err
		}
		e.device = id
		break
	}
	if e.named.ID == 0 && e.device == "" {
		return nil
	}
	return &e
}

// already looks whether what is in the way is the home itself: its log is verified with key, or it came with a log that is.
func (d *Desk) already(ctx context.Context, e *takenError, key []byte) error {
	return d.db.View(ctx, func(tx *store.Tx) error {
		for _, h := range []registry.Home{e.of, e.named} {
			if h.ID == 0 {
				continue
			}
			public, err := d.db.PublicKey(h.ID)
			if err != nil {
				return err
			}
			own, err := x509.MarshalPKIXPublicKey(public)
			if err != nil {
				return err
			}
			is := bytes.Equal(own, key)
			for fact, err := range tx.Journal(store.Filter{Home: &h.ID, Kind: func(kind string) bool { return kind == homeImported }}) {
				if err == nil && !fact.Erased {
					err = store.With(fact, func(f importedFact) error { is = is || bytes.Equal(f.Key, key); return nil })
				}
				if err != nil {
					return err
				}
			}
			if is {
				e.here = h.Name
				return nil
			}
		}
		return nil
	})
}

// unfit says that what err is about cannot be taken in, unless it is the database that cannot take anything in.
func unfit(err error) error {
	for _, fault := range []error{store.ErrFull, store.ErrBusy, store.ErrReadOnly, store.ErrCorrupt, store.ErrClosed, store.ErrFailed, store.ErrKeys} {
		if errors.Is(err, fault) {
			return err
		}
	}
	return damaged("%v", err)
}

// sameFirm reports whether two cards are those of one brand: its domain tells, else its firm, else its name.
func sameFirm(a, b registry.Brand) bool {
	switch {
	case a.Domain != "" && b.Domain != "":
		return a.Domain == b.Domain
	case a.Legal != "" && b.Legal != "":
		return a.Legal == b.Legal
	}
	return a.Name == b.Name
}

// register registers a brand that is known from elsewhere, with its notices, so that a yes to it means what it meant. It is
// stopped, and nobody has its API key: whether it may send here is the operator's to say.
func register(tx *store.Tx, from exportedBrand) (b registry.Brand, err error) {
	b = from.Brand
	b.Quota = 100
	for _, n := range from.Notices { // what it declared when it issued them
		for _, p := range n.Purposes {
			if !slices.Contains(b.Purposes, p.String()) {
				b.Purposes = append(b.Purposes, p.String())
			}
		}
	}
	if err := checkPurposes(b); err != nil {
		return b, err
	}
	if err := registry.AddBrand(tx, b, registry.NewKey()); err != nil {
		return b, err
	}
	for _, n := range from.Notices {
		if n.Brand != b.ID {
			return b, fmt.Errorf("notice of brand %s: it is another's", b.ID)
		}
		if _, err := consent.Issue(tx, n); err != nil {
			return b, err
		}
	}
	if _, err := registry.ChangeBrand(tx, b.ID, func(is *registry.Brand) { is.Purposes = from.Purposes }); err != nil {
		return b, err
	}
	if err := registry.StopBrand(tx, b.ID, "it came with a home from another gateway"); err != nil {
		return b, err
	}
	return registry.BrandByID(tx, b.ID)
}

// atEnd reports whether nothing follows.
func atEnd(dec *json.Decoder) bool {
	_, err := dec.Token()
	return err == io.EOF
}

package delivery

import (
	"archive/zip"
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"hash"
	"io"
	"maps"
	"slices"
	"strings"

	"porchlight/device"
	"porchlight/device/ledger"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/policy"
	"porchlight/policy/consent"
	"porchlight/policy/words"
)

// The files of an export, a zip. Those in plain words are for people, and for whoever reads consent records and
// receipts; Import reads journal.ndjson, ledger.ndjson and brands.json.
const (
	pageFile        = "index.html"
	manifestFile    = "manifest.json"
	signedFile      = "manifest.cose" // the manifest's SHA-256, signed by the home
	peopleFile      = "people.json"
	devicesFile     = "devices.json"
	preferencesFile = "preferences.json"
	brandsFile      = "brands.json" // who the brands are, and what they said that they want
	deliveriesFile  = "deliveries.ndjson"
	decisionsFile   = "decisions.ndjson" // why something was shown, or was not
	answersFile     = "answers.json"
	actsFile        = "acts.ndjson"    // what people have got, and what went wrong with brands
	contextFile     = "context.json"   // what devices have told, and what changed there in the last 24 hours
	flowsFile       = "flows.ndjson"   // what has left the home: nothing does, so it is empty
	journalFile     = "journal.ndjson" // every event, in plain
	ledgerFile      = "ledger.ndjson"  // the home's log, sealed: it can be verified with a head from elsewhere
	headFile        = "ledger.head"    // the head of that log, signed by the home
	keyFile         = "ledger.key"     // what the home's signatures are verified with, in PEM
	recordsFolder   = "records/"       // consent records, JSON-LD after ISO/IEC TS 27560, by brand
	receiptsFolder  = "receipts/"      // receipts for the same, and for each choice one that the home has signed (COSE)
)

const (
	exportFormat  = "porchlight-export"
	exportVersion = 2 // Import takes none that is newer; 1 had no signature
)

// Manifest says what an export is, and what is in it.
type Manifest struct {
	Format  string              `json:"format"`
	Version int                 `json:"version"`
	Home    string              `json:"home"`
	Zone    string              `json:"zone"`
	Person  string              `json:"person,omitempty"` // whom alone it is about; "": all of the home
	AsOf    device.Instant      `json:"as_of"`            // when the last event in it happened
	Head    ledger.Head         `json:"head"`
	Files   map[string]Manifold `json:"files"` // all but the manifest itself and its signature
}

// Manifold is one file of an export.
type Manifold struct {
	SHA256 string `json:"sha256"` // 64 hexadecimal digits
	Size   int64  `json:"size"`   // bytes
}

// ExportAsked says what is to be exported.
type ExportAsked struct {
	Home     string `json:"home"`
	Person   string `json:"person,omitempty"`   // only what is about them and their devices; "": all of the home
	Language string `json:"language,omitempty"` // of the page, BCP 47; "": the person's, else the home's
}

// Export writes all that is known about a home, or about one person and nobody else, as a zip. The same content makes
// the same bytes. It fails with registry.ErrUnknown before it has written anything.
func (d *Desk) Export(ctx context.Context, ask ExportAsked, w io.Writer) error {
	var told []DeviceContext // before the tables: who holds a home's lock may wait for them
	id, err := d.homeID(ctx, ask.Home)
	if err == nil {
		told, err = d.contexts(id, true, func(*screen) bool { return true })
	}
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	err = d.db.View(ctx, func(tx *store.Tx) error {
		x, err := d.exporter(tx, ask)
		if err != nil {
			return err
		}
		x.told = x.ownContext(told)
		// Whoever takes a copy is on the record, before they have it. It is no fact of the home's book: the same
		// home would not be the same export twice.
		err = d.update(func(tx *store.Tx) error {
			_, err := tx.Add(device.Gateway, homeExported, exportedFact{x.home.ID, x.person})
			return err
		})
		if err != nil {
			return err
		}
		return x.write(ctx, w)
	})
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return nil
}

// exporter writes one export.
type exporter struct {
	d   *Desk
	tx  *store.Tx
	zip *zip.Writer

	home     registry.Home
	b        pages
	person   device.PersonID // Household: everybody
	called   string          // the person
	devices  map[device.ID]bool
	asOf     device.Instant
	head     ledger.Head
	view     policy.Home
	language string
	words    words.Names
	brands   []registry.Brand
	texts    map[device.MessageID]*Submission // nil: not here
	files    map[string]Manifold

	told       []exportedContext
	deliveries []*exportedDelivery
	acts       []exportedAct
	decisions  []exportedDecision
	choices    []consent.Entry
	proofs     map[int64]ledger.Entry // those of them that bind, as they are in the log
}

func (d *Desk) exporter(tx *store.Tx, ask ExportAsked) (x *exporter, err error) {
	x = &exporter{d: d, tx: tx, devices: map[device.ID]bool{}, texts: map[device.MessageID]*Submission{}, files: map[string]Manifold{}, proofs: map[int64]ledger.Entry{}}
	if x.home, err = registry.HomeByName(tx, ask.Home); err != nil {
		return nil, err
	}
	if x.b, err = readPages(tx, x.home.ID); err != nil {
		return nil, err
	}
	if ask.Person != "" {
		t, err := x.b.target(Erasure{Person: ask.Person})
		if err != nil {
			return nil, err
		}
		names := x.b.called[t.person]
		x.person, x.devices, x.called = t.person, t.devices, ask.Person
		if len(names) > 0 {
			x.called = names[len(names)-1]
		}
	}
	log, err := tx.Log(x.home.ID)
	if err != nil {
		return nil, err
	}
	x.asOf = x.b.all[len(x.b.all)-1].at
	x.head = log.Head(x.asOf)
	t, err := d.read(tx, x.home.ID)
	if err != nil {
		return nil, err
	}
	x.view = t.view
	var tags []string
	if ask.Language != "" {
		tags = append(tags, ask.Language)
	}
	if p, ok := x.view.Person(x.person); ok {
		tags = append(tags, p.Languages...)
	}
	x.language = words.Pick(append(tags, x.view.Languages...)...)
	if x.brands, err = x.readBrands(); err != nil {
		return nil, err
	}
	x.words = words.Names{Reader: x.person, Zone: x.view.Zone, Now: x.asOf,
		Device: func(id device.ID) string {
			for _, dev := range x.b.devices {
				if dev.ID == id && x.theirs(id) {
					return dev.Name
				}
			}
			return ""
		},
		Room: func(id device.RoomID) string {
			for _, r := range x.b.rooms {
				if r.ID == id {
					return r.Name
				}
			}
			return ""
		},
		Brand: func(id device.BrandID) string {
			for _, b := range x.brands {
				if b.ID == id {
					return b.Name
				}
			}
			return ""
		},
	}
	return x, x.gather()
}

// readBrands lists the brands that the home's book tells something of, also those that have left.
func (x *exporter) readBrands() (all []registry.Brand, err error) {
	met := map[device.BrandID]bool{}
	for i := range x.b.all {
		if m := &x.b.all[i].mention; x.about(m) {
			for _, id := range m.brands {
				met[id] = true
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(met)) {
		b, err := registry.BrandByID(x.tx, id)
		if err != nil {
			b = registry.Brand{ID: id, Name: string(id)}
		}
		b.Stopped, b.Reason, b.Quota = 0, "", 0 // between the brand and this gateway
		all = append(all, b)
	}
	return all, nil
}

// theirs reports whether a device may be named: it is everybody's, or the person's whom the export is about.
func (x *exporter) theirs(id device.ID) bool {
	return x.person == device.Household || x.devices[id] || x.b.owner[id] == device.Household
}

// about reports whether something belongs into the export: of one person's, what tells of them or their devices, and
// of nobody else.
func (x *exporter) about(m *mention) bool {
	if x.person == device.Household {
		return true
	}
	other := func(id device.PersonID) bool { return id != x.person }
	t := target{person: x.person, devices: x.devices}
	return t.hits(m) && (m.owner == device.Household || m.owner == x.person) && !slices.ContainsFunc(m.people, other) && !slices.ContainsFunc(m.guardians, other) &&
		!slices.ContainsFunc(m.devices, func(id device.ID) bool { return !x.theirs(id) })
}

// exportedDelivery is one message on one screen.
type exportedDelivery struct {
	Message   device.MessageID  `json:"message"`
	Device    device.ID         `json:"device,omitempty"` // "": somebody else's
	Brand     device.BrandID    `json:"brand"`
	Purpose   policy.Purpose    `json:"purpose"`
	Category  string            `json:"category,omitempty"`
	Who       []device.PersonID `json:"who,omitempty"`    // in front of it
	Others    bool              `json:"others,omitempty"` // perhaps somebody else, too
	Language  string            `json:"language,omitempty"`
	Title     string            `json:"title,omitempty"`
	Text      string            `json:"text,omitempty"` // "": it is not known here any more
	Claimed   device.Instant    `json:"claimed"`        // it was about to be sent
	Presented device.Instant    `json:"presented,omitempty"`
	Settled   device.Instant    `json:"settled,omitempty"`
	Outcome   string            `json:"outcome"` // open, answered, dismissed, timed out, taken off ...
	Counts    bool              `json:"counts"`  // it was on the screen, or may have been
	Response  *uint             `json:"response,omitempty"`
	Act       policy.Act        `json:"act,omitempty"` // what the button did that was pressed
	Item      string            `json:"item,omitempty"`
	Why       string            `json:"why,omitempty"`
}

// exportedAct is something that somebody has got, or that went wrong with a brand, or was put right.
type exportedAct struct {
	At     device.Instant `json:"at"`
	What   string         `json:"what"` // got, complaint, resolved
	Item   string         `json:"item,omitempty"`
	Brand  device.BrandID `json:"brand,omitempty"`
	Device device.ID      `json:"device,omitempty"` // on which it was said; "": none of the home's
}

// exportedDecision is why a message was shown, or was not.
type exportedDecision struct {
	Pos      int64            `json:"pos"` // in the home's journal
	At       device.Instant   `json:"at"`
	Message  device.MessageID `json:"message"`
	Device   device.ID        `json:"device,omitempty"` // the screen, or the one that came nearest; "": somebody else's
	Brand    device.BrandID   `json:"brand"`
	Purpose  policy.Purpose   `json:"purpose"`
	Shown    bool             `json:"shown"`
	Decision Record           `json:"decision"`
	Words    []string         `json:"words"`
}

// gather reads the book for what is told of it in more than one file.
func (x *exporter) gather() error {
	home := x.home.ID
	open := map[group]*exportedDelivery{}
	i := -1
	for e, err := range x.tx.Journal(store.Filter{Home: &home, Oldest: true}) {
		if err != nil {
			return err
		}
		m := &x.b.all[i+1].mention
		i++
		if e.Erased {
			continue
		}
		switch e.Kind {
		case deliveryClaimed:
			err = store.With(e, func(f claimedFact) error {
				if !x.concerns(m) {
					return nil
				}
				f.Who, f.Decision.Because = x.only(f.Who), x.grounds(f.Decision.Because)
				dl := &exportedDelivery{Message: f.Message, Device: x.named(f.Device), Brand: f.Brand, Purpose: f.Purpose, Category: f.Category, Item: f.Thread.Item, Who: f.Who, Others: f.Others,
					Claimed: e.At, Outcome: Outcome(0).String(), Counts: true, Why: words.Shown(f.Decision.Because, x.language, x.words)}
				if s := x.text(f.Message); s != nil && f.Decision.Text < len(s.Texts) {
					t := s.Texts[f.Decision.Text]
					dl.Language, dl.Title, dl.Text = t.Language, t.Title, t.Body
				}
				open[m.group] = dl
				x.deliveries = append(x.deliveries, dl)
				x.decisions = append(x.decisions, exportedDecision{e.Pos, e.At, f.Message, dl.Device, f.Brand, f.Purpose, true, f.Decision, []string{dl.Why}})
				return nil
			})
		case deliveryHeld:
			err = store.With(e, func(f heldFact) error {
				f.Decision.Because = x.grounds(f.Decision.Because)
				if x.person == device.Household || x.devices[f.Device] || slices.ContainsFunc(f.Decision.Because, func(c policy.Cause) bool { return c.Person == x.person }) {
					x.decisions = append(x.decisions, exportedDecision{e.Pos, e.At, f.Message, x.named(f.Device), f.Brand, f.Purpose, false, f.Decision, append([]string{}, tell(f.Decision.Because, x.language, x.words)...)})
				}
				return nil
			})
		case deliveryPresented:
			err = store.With(e, func(f presentedFact) error {
				if dl := open[m.group]; dl != nil {
					dl.Presented = f.At
				}
				return nil
			})
		case deliverySettled:
			err = store.With(e, func(f settledFact) error {
				if dl := open[m.group]; dl != nil {
					dl.Settled, dl.Outcome, dl.Counts, dl.Response, dl.Act = e.At, f.Outcome.String(), f.Counts, f.Response, f.Act
				}
				return nil
			})
		case itemGot:
			err = store.With(e, func(f gotFact) error {
				if x.about(m) {
					x.acts = append(x.acts, exportedAct{At: cmp.Or(f.At, e.At), What: "got", Item: f.Item, Device: f.Device})
				}
				return nil
			})
		case complaintMade, complaintResolved:
			err = store.With(e, func(f complaintFact) error {
				if x.about(m) {
					what := map[string]string{complaintMade: "complaint", complaintResolved: "resolved"}[e.Kind]
					x.acts = append(x.acts, exportedAct{At: cmp.Or(f.At, e.At), What: what, Brand: f.Brand, Device: f.Device})
				}
				return nil
			})
		default:
			if m.binds {
				x.proofs[e.Pos] = e.Entry
			}
		}
		if err != nil {
			return err
		}
	}
	all, err := consent.History(x.tx, home)
	if err != nil {
		return err
	}
	for _, e := range all {
		if x.person == device.Household || e.Subject == x.person || e.Subject == device.Household && e.By == x.person {
			x.choices = append(x.choices, e)
		}
	}
	return nil
}

// concerns reports whether what was on a screen belongs into the export: it was before the person, or on theirs.
func (x *exporter) concerns(m *mention) bool {
	t := target{person: x.person, devices: x.devices}
	return x.person == device.Household || t.hits(m)
}

// only leaves out whom the export is not about.
func (x *exporter) only(who []device.PersonID) []device.PersonID {
	if x.person == device.Household {
		return who
	}
	return slices.DeleteFunc(slices.Clone(who), func(id device.PersonID) bool { return id != x.person })
}

// grounds leaves out what tells of others.
func (x *exporter) grounds(causes []policy.Cause) []policy.Cause {
	return slices.DeleteFunc(slices.Clone(causes), func(c policy.Cause) bool {
		return x.person != device.Household && (c.Person != device.Household && c.Person != x.person || c.Device != "" && !x.theirs(c.Device))
	})
}

// named is the ID of a device if it may be named.
func (x *exporter) named(id device.ID) device.ID {
	if x.theirs(id) {
		return id
	}
	return ""
}

// text is a message as its brand sent it; nil if it is not in this gateway's book.
func (x *exporter) text(id device.MessageID) *Submission {
	s, ok := x.texts[id]
	if ok {
		return s
	}
	if _, f, err := acceptedAs(x.tx, id); err == nil {
		if sub, err := f.submission(); err == nil {
			s = &sub
		}
	}
	x.texts[id] = s
	return s
}

// write writes all files, in an order that never changes.
func (x *exporter) write(ctx context.Context, w io.Writer) error {
	x.zip = zip.NewWriter(w)
	key, err := x.d.db.PublicKey(x.home.ID)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return err
	}
	head, err := x.d.db.Sign(x.home.ID, ledger.HeadType, x.head.Payload())
	if err != nil {
		return err
	}
	steps := []func() error{
		func() error { return x.file(pageFile, x.page) },
		func() error { return x.json(peopleFile, x.people()) },
		func() error { return x.json(devicesFile, x.theirDevices()) },
		func() error { return x.preferences() },
		func() error { return x.brandCards() },
		func() error { return perLine(x, deliveriesFile, x.deliveries) },
		func() error { return perLine(x, decisionsFile, x.decisions) },
		func() error { return x.json(answersFile, x.answers()) },
		func() error { return perLine(x, actsFile, x.acts) },
		func() error { return x.json(contextFile, x.told) },
		func() error { return x.file(flowsFile, func(io.Writer) error { return nil }) },
		func() error { return x.graphs(recordsFolder, consent.Records) },
		func() error { return x.graphs(receiptsFolder, consent.Receipts) },
		func() error { return x.receipts(ctx) },
		x.journal,
		func() error { return x.bytes(headFile, head) },
		func() error {
			return x.bytes(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))
		},
	}
	if x.person == device.Household { // the log has the times of all that anybody of the home did
		steps = append(steps, x.log)
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	m := Manifest{Format: exportFormat, Version: exportVersion, Home: x.home.Name, Zone: x.home.Zone, Person: x.called, AsOf: x.asOf, Head: x.head, Files: maps.Clone(x.files)}
	if err := x.json(manifestFile, m); err != nil {
		return err
	}
	digest, err := hex.DecodeString(x.files[manifestFile].SHA256)
	if err != nil {
		return err
	}
	signed, err := x.d.db.Sign(x.home.ID, ledger.ExportType, digest)
	if err != nil {
		return err
	}
	if err := x.bytes(signedFile, signed); err != nil {
		return err
	}
	return x.zip.Close()
}

// sum counts and hashes what is written.
type sum struct {
	hash.Hash
	size int64
}

func (s *sum) Write(p []byte) (int, error) {
	s.size += int64(len(p))
	return s.Hash.Write(p)
}

// file adds a file. Its time is that of the content, so that the same content is the same bytes.
func (x *exporter) file(name string, content func(io.Writer) error) error {
	into, err := x.zip.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: x.asOf.Time().UTC()})
	if err != nil {
		return err
	}
	s := &sum{Hash: sha256.New()}
	b := bufio.NewWriter(io.MultiWriter(into, s))
	if err = content(b); err == nil {
		err = b.Flush()
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	x.files[name] = Manifold{hex.EncodeToString(s.Sum(nil)), s.size}
	return nil
}

func (x *exporter) bytes(name string, content []byte) error {
	return x.file(name, func(w io.Writer) error { _, err := w.Write(content); return err })
}

func encoder(w io.Writer) *json.Encoder {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e
}

func (x *exporter) json(name string, v any) error {
	return x.file(name, func(w io.Writer) error {
		e := encoder(w)
		e.SetIndent("", "  ")
		return e.Encode(v)
	})
}

// perLine adds a file with one object a line.
func perLine[T any](x *exporter, name string, all []T) error {
	return x.file(name, func(w io.Writer) error {
		e := encoder(w)
		for _, one := range all {
			if err := e.Encode(one); err != nil {
				return err
			}
		}
		return nil
	})
}

func (x *exporter) people() []registry.Person {
	all := []registry.Person{}
	for _, p := range x.b.people {
		if x.person != device.Household {
			p.Guardians = nil
		}
		if x.person == device.Household || p.ID == x.person {
			all = append(all, p)
		}
	}
	return all
}

func (x *exporter) theirDevices() []device.Device {
	all := []device.Device{}
	for _, dev := range x.b.devices {
		if x.person == device.Household || x.devices[dev.ID] {
			all = append(all, dev)
		}
	}
	return all
}

// exportedContext is what a device has told, and what has changed there in the last 24 hours.
type exportedContext struct {
	Device  device.ID       `json:"device"`
	Now     []ContextChange `json:"now"`     // what is so, and since when
	Changes []ContextChange `json:"changes"` // the oldest first
}

// ownContext is what devices have told: for one person, what theirs have, and when one that is nobody's has seen them, without
// who else was there.
func (x *exporter) ownContext(all []DeviceContext) []exportedContext {
	own := []exportedContext{}
	for _, c := range all {
		others := slices.ContainsFunc(x.b.devices, func(dev device.Device) bool { return dev.ID == c.Device && dev.Owner != device.Household })
		if x.person != device.Household && !x.devices[c.Device] && others {
			continue
		}
		is := exportedContext{Device: c.Device, Now: []ContextChange{}, Changes: []ContextChange{}}
		for _, r := range c.Readings {
			if ch, ok := x.ofThem(c.Device, ContextChange{r.Since, r.Attribute, r.Value}, ""); ok && r.Value != nil {
				is.Now = append(is.Now, ch)
			}
		}
		was := "" // who was there, of whom it is about
		for _, ch := range c.Changes {
			ch, ok := x.ofThem(c.Device, ch, was)
			if ok {
				is.Changes = append(is.Changes, ch)
			}
			if ch.Attribute == device.PresenceWho.String() {
				was, _ = ch.Value.(string)
			}
		}
		if x.person == device.Household || x.devices[c.Device] || len(is.Now)+len(is.Changes) > 0 {
			own = append(own, is)
		}
	}
	return own
}

// ofThem is what of ch is about the person whom the export is about; ok is false if nothing is. was is what the change
// before, of who is there, was cut down to: that somebody is not there any more is about them.
func (x *exporter) ofThem(dev device.ID, ch ContextChange, was string) (_ ContextChange, ok bool) {
	switch a, _ := device.ParseAttribute(ch.Attribute); {
	case x.person == device.Household:
		return ch, true
	case a == device.DriverSubject:
		return ch, false
	case a != device.PresenceWho:
		return ch, x.devices[dev]
	}
	named, _ := ch.Value.(string)
	them := slices.DeleteFunc(strings.Fields(named), func(word string) bool {
		who, _, _ := strings.Cut(word, "@")
		return who != fmt.Sprint(x.person)
	})
	if named != "" { // else it is as it was told: that nobody is there, or that it is not known
		ch.Value = strings.Join(them, " ")
	}
	return ch, len(them) > 0 || was != "" || named == "" && x.devices[dev]
}

// wishes are the preferences: of one person, those that are theirs.
func (x *exporter) wishes() (p Preferences, err error) {
	w, err := readWants(x.tx, x.home.ID)
	if err != nil {
		return p, err
	}
	if x.person == device.Household {
		return x.b.spell(w, x.asOf), nil
	}
	owned := func(owner device.PersonID) bool { return owner == x.person }
	own := wants{frozen: w.frozen}
	for _, q := range w.quiet {
		if owned(q.Owner) {
			own.quiet = append(own.quiet, q)
		}
	}
	for _, c := range w.caps {
		if owned(c.Owner) {
			own.caps = append(own.caps, c)
		}
	}
	for _, m := range w.mutes {
		if owned(m.Owner) {
			own.mutes = append(own.mutes, m)
		}
	}
	for _, c := range w.channels {
		if owned(c.Owner) {
			own.channels = append(own.channels, c)
		}
	}
	n := x.b.names
	n.people = slices.DeleteFunc(slices.Clone(n.people), func(p registry.Person) bool { return p.ID != x.person })
	p = n.spell(own, x.asOf)
	p.Frozen, p.Languages, p.Moments = nil, nil, nil // the home's
	return p, nil
}

func (x *exporter) preferences() error {
	p, err := x.wishes()
	if err != nil {
		return err
	}
	return x.json(preferencesFile, p)
}

// exportedBrand is who a brand is, and what it said that it wants.
type exportedBrand struct {
	registry.Brand
	Notices []consent.Notice `json:"notices"` // the oldest first
}

func (x *exporter) brandCards() error {
	all := []exportedBrand{}
	for _, b := range x.brands {
		notices, err := consent.Notices(x.tx, b.ID)
		if err != nil {
			return err
		}
		all = append(all, exportedBrand{b, append([]consent.Notice{}, notices...)})
	}
	return x.json(brandsFile, all)
}

// exportedAnswers are what people answered.
type exportedAnswers struct {
	Messages []exportedAnswer `json:"messages"`
	Asks     []exportedReply  `json:"asks"`
}

// exportedAnswer is an answer to a message.
type exportedAnswer struct {
	At      device.Instant   `json:"at"`
	Message device.MessageID `json:"message"`
	Device  device.ID        `json:"device,omitempty"`
	Brand   device.BrandID   `json:"brand"`
	Text    string           `json:"text,omitempty"`
	Button  uint             `json:"button"`
	Label   string           `json:"label,omitempty"`
}

// exportedReply is an answer to what the gateway asked.
type exportedReply struct {
	At      device.Instant   `json:"at"`
	Ask     device.MessageID `json:"ask"`
	Subject device.PersonID  `json:"subject"` // 0: the home as a whole
	Brand   device.BrandID   `json:"brand"`
	Purpose policy.Purpose   `json:"purpose"`
	Answer  consent.State    `json:"answer"`
	Why     string           `json:"why,omitempty"`
}

func (x *exporter) answers() exportedAnswers {
	all := exportedAnswers{[]exportedAnswer{}, []exportedReply{}}
	for _, dl := range x.deliveries {
		if dl.Response == nil {
			continue
		}
		a := exportedAnswer{At: dl.Settled, Message: dl.Message, Device: dl.Device, Brand: dl.Brand, Text: dl.Text, Button: *dl.Response}
		if s := x.text(dl.Message); s != nil {
			for _, b := range s.Buttons {
				if b.ID == int(a.Button) {
					a.Label = b.Label[dl.Language]
				}
			}
		}
		all.Messages = append(all.Messages, a)
	}
	for _, e := range x.choices {
		if e.Served != (device.MessageID{}) && e.State != consent.Requested && e.State != consent.Drawn {
			all.Asks = append(all.Asks, exportedReply{e.At, e.Served, e.Subject, e.Brand, e.Purpose, e.State, e.Why})
		}
	}
	return all
}

// graphs adds the consent records, or their receipts, one file for each brand.
func (x *exporter) graphs(folder string, of func(*store.Tx, device.HomeID) ([]byte, error)) error {
	raw, err := of(x.tx, x.home.ID)
	if err != nil {
		return err
	}
	type identified struct {
		ID string `json:"dct:identifier"`
	}
	type record struct {
		Subject    identified `json:"dpv:hasDataSubject"`
		Controller identified `json:"dpv:hasDataController"`
	}
	var doc struct {
		Context json.RawMessage   `json:"@context"`
		Graph   []json.RawMessage `json:"@graph"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return err
	}
	by := map[string][]json.RawMessage{}
	for _, node := range doc.Graph {
		var r struct {
			record
			Record record `json:"dpv:hasRecordOfActivity"` // of a receipt
		}
		if err := json.Unmarshal(node, &r); err != nil {
			return err
		}
		if r.Controller.ID == "" {
			r.record = r.Record
		}
		if x.person != device.Household && r.Subject.ID != fmt.Sprintf("person-%d", x.person) {
			continue
		}
		by[r.Controller.ID] = append(by[r.Controller.ID], node)
	}
	for _, brand := range slices.Sorted(maps.Keys(by)) {
		doc.Graph = by[brand]
		raw, err := json.Marshal(doc)
		if err != nil {
			return err
		}
		var pretty bytes.Buffer
		if err := json.Indent(&pretty, raw, "", " "); err != nil {
			return err
		}
		if err := x.bytes(folder+brand+".jsonld", append(pretty.Bytes(), '\n')); err != nil {
			return err
		}
	}
	return nil
}

// receipts adds one that the home has signed for each choice: it proves that the choice is in the home's log.
func (x *exporter) receipts(ctx context.Context) error {
	log, err := x.tx.Log(x.home.ID)
	if err != nil {
		return err
	}
	for _, e := range x.choices {
		if err := ctx.Err(); err != nil {
			return err
		}
		entry, ok := x.proofs[e.Pos]
		if !ok {
			continue
		}
		e.Device = x.named(e.Device)
		r, err := log.Receipt(entry, decided(x.tx, e), x.asOf)
		if err != nil {
			return err
		}
		signed, err := x.d.db.Sign(x.home.ID, ledger.ReceiptType, r.Payload())
		if err != nil {
			return err
		}
		if err := x.bytes(fmt.Sprintf("%s%d.cose", receiptsFolder, e.Pos), signed); err != nil {
			return err
		}
	}
	return nil
}

// journalLine is one event in plain.
type journalLine struct {
	Pos     int64           `json:"pos"`
	At      device.Instant  `json:"at"`
	Actor   device.Actor    `json:"actor,omitempty"`
	Kind    string          `json:"kind"`
	Subject device.PersonID `json:"subject,omitempty"` // whose it alone is
	Body    json.RawMessage `json:"body,omitempty"`
	Erased  bool            `json:"erased,omitempty"`
	Leaf    ledger.Hash     `json:"leaf,omitzero"` // of an erased one
}

// journal adds every event: of one person's, those that tell of nobody else.
func (x *exporter) journal() error {
	home := x.home.ID
	return x.file(journalFile, func(w io.Writer) error {
		out, i := encoder(w), 0
		for e, err := range x.tx.Journal(store.Filter{Home: &home, Oldest: true}) {
			if err != nil {
				return err
			}
			m := &x.b.all[i].mention
			i++
			line := journalLine{Pos: e.Pos, At: e.At, Actor: e.Actor, Kind: e.Kind, Subject: e.Subject, Body: e.Body, Erased: e.Erased}
			if e.Erased {
				line.Leaf = e.Entry.Leaf
			}
			if x.person != device.Household && (e.Erased || !x.about(m)) {
				continue
			}
			if err := out.Encode(line); err != nil {
				return err
			}
		}
		return nil
	})
}

// log adds the home's log.
func (x *exporter) log() error {
	all, err := x.tx.Export(x.home.ID)
	if err != nil {
		return err
	}
	return x.file(ledgerFile, all.Write)
}

package consent_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/policy"
	. "porchlight/policy/consent"
)

// The people of the home oak.
const (
	anna device.PersonID = iota + 1 // adult, guardian of ben and dora
	ben                             // child
	carl                            // adult
	dora                            // nobody said how old
	gus                             // guest, nobody said how old
	tess                            // teen
)

const day = 24 * time.Hour

// house is a real store with a home and two brands in it, whose clock stands still until it is moved.
type house struct {
	*store.DB
	t    testing.TB
	path string
	now  device.Instant
}

func project(tx *store.Apply, e store.Event) error {
	mine, err := Apply(tx, e)
	if !mine && err == nil {
		mine, err = registry.Apply(tx, e)
	}
	if err == nil && !mine {
		err = errors.New(e.Kind + " is nobody's")
	}
	return err
}

func openHouse(t *testing.T) *house {
	t.Helper()
	t.Parallel() // each house waits for its own disk
	h := &house{t: t, path: filepath.Join(t.TempDir(), "p.db"), now: device.At(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))}
	h.open()
	t.Cleanup(func() {
		h.Close()
		if diffs, err := store.Check(context.Background(), h.path, project, nil); err != nil || len(diffs) > 0 {
			t.Errorf("the tables differ from the journal: %v %v", diffs, err)
		}
	})
	h.do(func(tx *store.Tx) error {
		err := errors.Join(
			registry.AddBrand(tx, registry.Brand{ID: "grocer", Name: "Grocer", Legal: "Grocer AG", Contact: "privacy@grocer.example", Country: "CH", Purposes: []string{"marketing", "personalised"}, Quota: 1}, registry.NewKey()),
			registry.AddBrand(tx, registry.Brand{ID: "baker", Name: "Baker", Purposes: []string{"marketing"}, Quota: 1}, registry.NewKey()))
		if err != nil {
			return err
		}
		_, err = addHome(tx, "oak")
		return err
	})
	return h
}

func addHome(tx *store.Tx, name string) (device.HomeID, error) {
	home, err := registry.AddHome(tx, name, "UTC")
	if err != nil {
		return 0, err
	}
	for _, p := range []registry.Person{
		{Name: "Anna", Age: device.Adult}, {Name: "Ben", Age: device.Child, Guardians: []device.PersonID{anna}}, {Name: "Carl", Age: device.Adult},
		{Name: "Dora", Guardians: []device.PersonID{anna}}, {Name: "Gus", Guest: true}, {Name: "Tess", Age: device.Teen, Guardians: []device.PersonID{anna}},
	} {
		if _, err := registry.AddPerson(tx, home.ID, p); err != nil {
			return 0, err
		}
	}
	for _, d := range []device.Device{
		{ID: "tv-", Class: device.TV, Controller: true}, {ID: "wall-", Class: device.Display}, {ID: "anna-", Class: device.Companion, Owner: anna, Controller: true},
		{ID: "ben-", Class: device.Companion, Owner: ben, Controller: true}, {ID: "carl-", Class: device.Companion, Owner: carl, Controller: true}, {ID: "gus-", Class: device.Companion, Owner: gus, Controller: true},
	} {
		d.Home, d.ID, d.Name = home.ID, d.ID+device.ID(name), string(d.ID)+name
		if err := registry.AddDevice(tx, d, registry.NewToken()); err != nil {
			return 0, err
		}
	}
	return home.ID, nil
}

func (h *house) open() {
	h.t.Helper()
	var err error
	if h.DB, err = store.Open(context.Background(), h.path, store.Options{Project: project, Now: func() device.Instant { return h.now }}); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) try(f func(tx *store.Tx) error) error { return h.Update(f) }

func (h *house) do(f func(tx *store.Tx) error) {
	h.t.Helper()
	if err := h.Update(f); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) see(f func(tx *store.Tx) error) {
	h.t.Helper()
	if err := h.View(context.Background(), f); err != nil {
		h.t.Fatal(err)
	}
}

// wait moves the clock.
func (h *house) wait(d time.Duration) { h.now = h.now.Add(d) }

// stance is what is in force of a subject about grocer's marketing.
func (h *house) stance(subject device.PersonID) policy.Stance {
	h.t.Helper()
	var all map[policy.ConsentKey]policy.Stance
	h.see(func(tx *store.Tx) (err error) { all, err = Of(tx, 1); return err })
	return all[key(subject)]
}

func (h *house) history() (all []Entry) {
	h.t.Helper()
	h.see(func(tx *store.Tx) (err error) { all, err = History(tx, 1); return err })
	return all
}

// last is the newest event of the ledger.
func (h *house) last() Entry {
	h.t.Helper()
	all := h.history()
	if len(all) == 0 {
		h.t.Fatal("the ledger is empty")
	}
	return all[len(all)-1]
}

func key(subject device.PersonID) policy.ConsentKey {
	return policy.ConsentKey{Subject: subject, Brand: "grocer", Purpose: policy.Marketing}
}

func say(subject device.PersonID, c policy.Choice) Entry {
	return Entry{Home: 1, Subject: subject, Brand: "grocer", Purpose: policy.Marketing, Choice: c, Method: "settings"}
}

func (h *house) record(e Entry) (news bool) {
	h.t.Helper()
	h.do(func(tx *store.Tx) (err error) { news, err = Record(tx, e); return err })
	return news
}

func (h *house) issue(edit func(n *Notice)) (n Notice) {
	h.t.Helper()
	h.do(func(tx *store.Tx) (err error) {
		draft := Notice{Brand: "grocer", Purposes: []policy.Purpose{policy.Marketing}, Data: []string{"pd:Preference"}, Retention: 7, ValidFor: 6}
		edit(&draft)
		n, err = Issue(tx, draft)
		return err
	})
	return n
}

func TestRecord(t *testing.T) {
	h := openHouse(t)
	// What is said one after the other, and what is in force after each.
	steps := []struct {
		say  policy.Choice
		news bool
		want policy.Choice
	}{
		{policy.Withdrawn, true, policy.Refused}, // there was nothing to withdraw
		{policy.Refused, false, policy.Refused},
		{policy.Given, true, policy.Given},
		{policy.Given, false, policy.Given},
		{policy.Refused, true, policy.Withdrawn},
		{policy.Withdrawn, false, policy.Withdrawn},
	}
	for i, step := range steps {
		if news := h.record(say(0, step.say)); news != step.news {
			t.Errorf("step %d, %s: news %t, want %t", i, step.say, news, step.news)
		}
		if got := h.stance(0); got.Choice != step.want {
			t.Errorf("step %d, %s: %s is in force, want %s", i, step.say, got.Choice, step.want)
		}
	}
	old := h.issue(func(n *Notice) { n.Brand = "baker" })
	n := h.issue(func(n *Notice) { n.Classes = []device.Class{device.TV, device.Fridge} })
	months := func(m int) device.Instant { return device.At(h.now.Time().AddDate(0, m, 0)) }
	var all policy.ClassSet
	all = all.With(device.TV).With(device.Fridge)
	bad := map[string]struct {
		edit func(e *Entry)
		want error
	}{
		"silence":                   {func(e *Entry) { e.Choice = policy.Silent }, ErrInvalid},
		"no such choice":            {func(e *Entry) { e.Choice = 9 }, ErrInvalid},
		"no purpose":                {func(e *Entry) { e.Purpose = policy.NoPurpose }, ErrInvalid},
		"undeclared purpose":        {func(e *Entry) { e.Purpose = policy.Research }, ErrInvalid},
		"purpose not of the notice": {func(e *Entry) { e.Purpose = policy.Personalised }, ErrInvalid},
		"no such brand":             {func(e *Entry) { e.Brand = "nobody" }, registry.ErrUnknown},
		"no such person":            {func(e *Entry) { e.Subject = 9 }, registry.ErrUnknown},
		"no such guardian":          {func(e *Entry) { e.By = 9 }, registry.ErrUnknown},
		"implied":                   {func(e *Entry) { e.Type = "implied" }, ErrInvalid},
		"no such notice":            {func(e *Entry) { e.Notice = Hash{1} }, registry.ErrUnknown},
		"another brand's notice":    {func(e *Entry) { e.Notice = old.Hash() }, ErrInvalid},
		"longer than the notice":    {func(e *Entry) { e.Until = months(6) + 1 }, ErrInvalid},
		"over already":              {func(e *Entry) { e.Until = h.now }, ErrInvalid},
		"on more than the notice":   {func(e *Entry) { e.Classes = all.With(device.Oven) }, ErrInvalid},
	}
	before := len(h.history())
	for name, test := range bad {
		e := say(0, policy.Given)
		test.edit(&e)
		if err := h.try(func(tx *store.Tx) error { _, err := Record(tx, e); return err }); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
	if got := len(h.history()); got != before {
		t.Errorf("what cannot be recorded wrote %d events", got-before)
	}
	// What is left open is filled in.
	h.record(say(0, policy.Given))
	want := Entry{Home: 1, Brand: "grocer", Purpose: policy.Marketing, Choice: policy.Given, State: Given, Method: "settings", Notice: n.Hash(), Until: months(6), Classes: all, Type: "expressed", At: h.now, Pos: h.last().Pos}
	if got := h.last(); got != want {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	var list []Entry
	h.see(func(tx *store.Tx) (err error) { list, err = List(tx, 1); return err })
	if len(list) != 1 || list[0] != want {
		t.Errorf("list %+v\nwant %+v", list, want)
	}
	if got, want := h.stance(0), (policy.Stance{Choice: policy.Given, Until: months(6), Classes: all, At: h.now}); got != want {
		t.Errorf("in force %+v, want %+v", got, want)
	}
	// Narrower than before, on purpose, is news.
	e := say(0, policy.Given)
	e.Classes = e.Classes.With(device.TV)
	if !h.record(e) || h.stance(0).Classes != e.Classes {
		t.Errorf("only the television: in force %+v", h.stance(0))
	}
	// A No needs no brand that declares it, nor one that is still there.
	e = say(anna, policy.Refused)
	e.Purpose = policy.Research
	if !h.record(e) {
		t.Error("a No to what the brand never declared is no news")
	}
	h.do(func(tx *store.Tx) error { return registry.RemoveBrand(tx, "grocer") })
	if !h.record(say(0, policy.Refused)) || h.last().State != Withdrawn || h.last().Notice != n.Hash() {
		t.Errorf("a No to a brand that has left: %+v", h.last())
	}
}

func TestWhoseYesItIs(t *testing.T) {
	h := openHouse(t)
	tests := map[string]struct {
		edit func(e *Entry)
		ok   bool
	}{
		"adult":                             {func(e *Entry) { e.Subject = anna }, true},
		"adult, said to be by them":         {func(e *Entry) { e.Subject, e.By = anna, anna }, true},
		"adult, by another":                 {func(e *Entry) { e.Subject, e.By = anna, carl }, false},
		"child":                             {func(e *Entry) { e.Subject = ben }, false},
		"child, by the guardian":            {func(e *Entry) { e.Subject, e.By = ben, anna }, true},
		"child, by another adult":           {func(e *Entry) { e.Subject, e.By = ben, carl }, false},
		"child, by a child":                 {func(e *Entry) { e.Subject, e.By = ben, ben }, false},
		"child, by the operator":            {func(e *Entry) { e.Subject, e.Method = ben, "operator" }, true},
		"of unknown age":                    {func(e *Entry) { e.Subject = dora }, false},
		"of unknown age, by the guardian":   {func(e *Entry) { e.Subject, e.By = dora, anna }, true},
		"guest":                             {func(e *Entry) { e.Subject = gus }, true},
		"teen":                              {func(e *Entry) { e.Subject = tess }, true},
		"teen, by the guardian":             {func(e *Entry) { e.Subject, e.By = tess, anna }, true},
		"teen, by another adult":            {func(e *Entry) { e.Subject, e.By = tess, carl }, false},
		"the home":                          {func(e *Entry) {}, true},
		"the home, by an adult":             {func(e *Entry) { e.By = carl }, true},
		"the home, by a child":              {func(e *Entry) { e.By = ben }, false},
		"the home, by one of unknown age":   {func(e *Entry) { e.By = dora }, false},
		"the home, by a guest":              {func(e *Entry) { e.By = gus }, false},
		"the child's No, by the child":      {func(e *Entry) { e.Subject, e.By, e.Choice = ben, ben, policy.Refused }, true},
		"the adult's No, by another":        {func(e *Entry) { e.Subject, e.By, e.Choice = anna, carl, policy.Refused }, true},
		"the home's No, by a guest":         {func(e *Entry) { e.By, e.Choice = gus, policy.Refused }, true},
		"the No of one of unknown age, too": {func(e *Entry) { e.Subject, e.Choice = dora, policy.Refused }, true},
	}
	undo := errors.New("undo")
	for name, test := range tests {
		e := say(0, policy.Given)
		test.edit(&e)
		err := h.try(func(tx *store.Tx) error {
			news, err := Record(tx, e)
			if err == nil && !news {
				t.Errorf("%s: no news", name)
			}
			return errors.Join(err, undo)
		})
		if ok := !errors.Is(err, ErrNotTheirs); ok != test.ok || ok && errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v, want recorded %t", name, err, test.ok)
		}
		if errors.Is(err, ErrNotTheirs) && !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v does not wrap ErrInvalid", name, err)
		}
	}
}

func TestYesEnds(t *testing.T) {
	h := openHouse(t)
	h.record(say(anna, policy.Given))
	h.record(say(carl, policy.Refused))
	start := h.now
	end := device.At(h.now.Time().AddDate(1, 0, 0))
	due := func() (homes []device.HomeID, next device.Instant) {
		t.Helper()
		h.see(func(tx *store.Tx) (err error) { homes, next, err = Due(tx, h.now); return err })
		return homes, next
	}
	expire := func() (n int) {
		t.Helper()
		h.do(func(tx *store.Tx) (err error) { n, err = Expire(tx, 1, h.now); return err })
		return n
	}
	h.now = end - 1
	if homes, next := due(); len(homes) != 0 || next != end || expire() != 0 {
		t.Errorf("just before: due %v, next %s, want none and %s", homes, next, end)
	}
	if got := h.stance(anna); got.Choice != policy.Given || got.Until != end {
		t.Errorf("just before: %+v", got)
	}
	h.now = end
	if homes, next := due(); len(homes) != 1 || next != 0 {
		t.Errorf("at its end: due %v, next %s", homes, next)
	}
	// Over, and not written down yet: as it was given, with its end; nothing that List lists.
	if got := h.stance(anna); got.Choice != policy.Given || got.Until != end {
		t.Errorf("at its end: %+v", got)
	}
	listed := func() (n int) {
		t.Helper()
		h.see(func(tx *store.Tx) error {
			all, err := List(tx, 1)
			n = len(all)
			return err
		})
		return n
	}
	if n := listed(); n != 1 {
		t.Errorf("at its end %d choices are listed, want the No", n)
	}
	if n := expire(); n != 1 {
		t.Errorf("%d yeses were written down as over, want 1", n)
	}
	if e := h.last(); e.State != Expired || e.Subject != anna || e.Until != end || e.Choice != policy.Silent || e.Method != "clock" {
		t.Errorf("written down: %+v", e)
	}
	if n := expire(); n != 0 || listed() != 1 {
		t.Errorf("a second time %d were written down", n)
	}
	// A clock that is set back does not bring it back.
	h.now = start
	if got := h.stance(anna); got.Choice != policy.Silent || got.Until != end {
		t.Errorf("with the clock set back: %+v, want silence since %s", got, end)
	}
	if got := h.stance(carl); got.Choice != policy.Refused || got.Until != 0 {
		t.Errorf("a No: %+v, want one without end", got)
	}
	// After its end a No withdraws nothing, and a Yes is a new one.
	h.now = end
	if !h.record(say(anna, policy.Given)) || h.last().State != Given {
		t.Errorf("a yes after the end: %+v", h.last())
	}
	h.now = h.last().Until
	if !h.record(say(anna, policy.Withdrawn)) || h.last().State != Refused {
		t.Errorf("a no after the end: %+v", h.last())
	}
	if n := expire(); n != 0 {
		t.Error("what was refused has expired")
	}
}

func TestInvalidate(t *testing.T) {
	h := openHouse(t)
	void := func() error {
		return h.try(func(tx *store.Tx) error { return Invalidate(tx, 1, key(0), "the screen had no way to say no") })
	}
	if err := void(); !errors.Is(err, registry.ErrUnknown) {
		t.Errorf("nothing was said: %v", err)
	}
	h.record(say(0, policy.Given))
	h.record(say(anna, policy.Given))
	if err := void(); err != nil {
		t.Fatal(err)
	}
	if got := h.stance(0); got != (policy.Stance{}) {
		t.Errorf("after: %+v, want silence", got)
	}
	if got := h.stance(anna); got.Choice != policy.Given {
		t.Errorf("somebody else's: %+v", got)
	}
	if e := h.last(); e.State != Invalidated || e.Why == "" {
		t.Errorf("written down: %+v", e)
	}
	if err := void(); !errors.Is(err, registry.ErrUnknown) {
		t.Errorf("again: %v", err)
	}
}

func TestBinds(t *testing.T) {
	for kind, want := range map[string]bool{
		"consent.given": true, "consent.renewed": true, "consent.refused": true, "consent.withdrawn": true, "consent.expired": true, "consent.invalidated": true,
		"consent.requested": false, "consent.served": false, "consent.deferred": false, "consent.": false, "notice.issued": false, "given": false,
	} {
		if got := Binds(kind); got != want {
			t.Errorf("%s binds: %t, want %t", kind, got, want)
		}
	}
}

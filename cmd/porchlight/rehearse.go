package main

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/goccy/go-yaml/ast"

	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/device/wire"
	"porchlight/firmware-sim/sim"
	"porchlight/policy"
)

type rehearseCmd struct {
	Home      string   `help:"A home file, as configs/homes/flat.yaml, or the name of a home at the gateway: then a copy of its database is used, with its own choices and preferences." placeholder:"HOME"`
	Trace     string   `help:"The recording: rows of start, end, sensor, kind and place, separated by tabs, under a header line; local times of the home." placeholder:"FILE"`
	Messages  string   `help:"Folder with messages, as push takes them, or one message. Those in a folder in it are of the brand that this is named after." placeholder:"DIR"`
	Brand     string   `help:"Whose the other messages are; default the one brand that the home has said yes to." placeholder:"ID"`
	Every     howLong  `help:"Push each message again so often, as 24h or 7d, to live as long; default once, at the beginning." placeholder:"TIME"`
	For       howLong  `help:"How long a message without a not_after lives, at most 31d; default until the next push, or the end." placeholder:"TIME"`
	From      string   `help:"First day, as 2011-11-28; default that of the recording." placeholder:"DATE"`
	Days      dayCount `help:"How many days; default to the end of the recording." placeholder:"N"`
	Map       string   `help:"What the sensors mean; default as --print-map prints it." placeholder:"FILE"`
	Reactions uint64   `help:"Of ten messages let somebody dismiss three and press a button on two, by chance from this seed; default nobody does anything." placeholder:"SEED"`
	Format    string   `help:"table, json, or svg: a picture of the days." enum:"table,json,svg" default:"table"`
	Out       string   `help:"Where to write it, in place of what is there; default standard output." placeholder:"FILE"`
	PrintMap  bool     `help:"Print the built-in map, and end."`

	step   time.Duration // a test's: judge everything anew so often
	length time.Duration // a test's: end so long after the beginning
}

// Validate is called by the parser.
func (c *rehearseCmd) Validate() error {
	const most = howLong(delivery.MaxLife)
	var missing []string
	for _, one := range []struct{ flag, value string }{{"--home", c.Home}, {"--trace", c.Trace}, {"--messages", c.Messages}} {
		if one.value == "" {
			missing = append(missing, one.flag)
		}
	}
	switch {
	case c.PrintMap:
		return nil
	case len(missing) > 0:
		return fmt.Errorf("%s missing: give --home, --trace and --messages", strings.Join(missing, ", "))
	case c.Every != 0 && (c.Every < howLong(time.Hour) || c.Every > most):
		return fmt.Errorf("--every %s: use 1h to %s", c.Every, most)
	case c.For != 0 && (c.For < howLong(time.Minute) || c.For > most):
		return fmt.Errorf("--for %s: use 1m to %s", c.For, most)
	}
	return nil
}

// howLong is a length of time as people write it: 90m, 2h or 7d.
type howLong time.Duration

// UnmarshalText reads what ParseDuration does, or whole days.
func (d *howLong) UnmarshalText(b []byte) error {
	text := string(b)
	if days, err := strconv.ParseUint(strings.TrimSuffix(text, "d"), 10, 16); err == nil && strings.HasSuffix(text, "d") {
		*d = howLong(days) * howLong(24*time.Hour)
		return nil
	}
	length, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("%.40q is no length of time: write a duration such as 2m, 2h or 7d", text)
	}
	*d = howLong(length)
	return nil
}

// Decode is called by the parser.
func (d *howLong) Decode(ctx *kong.DecodeContext) error { return d.UnmarshalText([]byte(typed(ctx))) }

// String spells it as it is typed.
func (d howLong) String() string {
	if d <= 0 {
		return time.Duration(d).String()
	}
	return length(time.Duration(d))
}

// dayCount is a number of days, 1 or more.
type dayCount int

// Decode is called by the parser.
func (n *dayCount) Decode(ctx *kong.DecodeContext) error {
	text := typed(ctx)
	days, err := strconv.ParseUint(text, 10, 16)
	if err != nil || days == 0 {
		return fmt.Errorf("%.40q is no number of days: use 1 or more", text)
	}
	*n = dayCount(days)
	return nil
}

// typed is the value of a flag, which may begin with a hyphen: the parser itself takes that for a flag.
func typed(ctx *kong.DecodeContext) string {
	if t := ctx.Scan.Pop(); !t.IsEOL() {
		return fmt.Sprint(t.Value)
	}
	return ""
}

// Run rehearses.
func (c *rehearseCmd) Run(e *env) error {
	if c.PrintMap {
		_, err := e.out.Write(builtInMap)
		return err
	}
	report, err := c.rehearse(e)
	if err != nil {
		return fmt.Errorf("rehearse: %w", err)
	}
	out := e.out
	if c.Out != "" {
		f, err := os.Create(c.Out)
		if err != nil {
			return fmt.Errorf("rehearse: %w", cannotWrite(c.Out, err))
		}
		defer f.Close()
		out = f
	}
	switch c.Format {
	case "json":
		err = printJSON(out, report)
	case "svg":
		err = report.picture(out)
	default:
		err = report.table(out)
	}
	if f, ok := out.(*os.File); ok && c.Out != "" {
		err = errors.Join(err, f.Close())
	}
	return err
}

// rehearsal is a gateway's hall on a clock that stands still until the next thing happens.
type rehearsal struct {
	e     *env
	clock time.Time
	start time.Time
	end   time.Time
	zone  *time.Location

	recorded time.Time // when the recording ends: its last second is before it
	who      string    // whom a device tells of when somebody comes, if it can; "": nobody by name

	desk     *delivery.Desk
	courier  *delivery.Courier
	home     registry.Home
	things   []*thing
	moves    []move
	pushes   []push
	deeds    []personDeed                   // by time
	chance   *rand.Rand                     // nil: nobody does anything
	endOf    map[device.MessageID]time.Time // until when each pushed message is in force
	names    map[device.MessageID]*rehearsed
	up       []upward
	down     []downward
	err      error
	report   *rehearsalReport
	standing map[standingKey]*standingRow
	step     time.Duration
}

// thing is a device of the rehearsal: the simulator's, wired to the Desk. It is its own Link.
type thing struct {
	r          *rehearsal
	d          *sim.Device
	id         device.ID
	room       string
	attributes []string
	off        bool // the gateway has ended its connection
}

type upward struct {
	from *thing
	sim.Up
}

type downward struct {
	to *thing
	delivery.Frame
}

// push is a message that comes at a time.
type push struct {
	at   time.Time
	life time.Duration
	m    *rehearsed
}

// rehearsed is a message file.
type rehearsed struct {
	name  string
	brand device.BrandID
	file  *yamlFile
	s     delivery.Submission
}

// personDeed is what somebody does with a message that is on a screen.
type personDeed struct {
	at    time.Time
	to    *thing
	id    device.MessageID
	press bool
}

type standingKey struct {
	id  device.MessageID
	dev device.ID
}

// From is for the journal.
func (t *thing) From() string { return "" }

// Send takes a frame for the device.
func (t *thing) Send(f delivery.Frame) error {
	if t.off {
		return delivery.ErrAway
	}
	t.r.down = append(t.r.down, downward{t, f})
	return nil
}

// Close ends the device's connection.
func (t *thing) Close(delivery.Reason) { t.off = true }

// rehearse plays the recording to the home and reports what came of it.
func (c *rehearseCmd) rehearse(e *env) (*rehearsalReport, error) {
	m, err := readTraceMap(e, c.Map)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "porchlight-rehearsal-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	r := &rehearsal{e: e, names: map[device.MessageID]*rehearsed{}, endOf: map[device.MessageID]time.Time{}, standing: map[standingKey]*standingRow{}, step: c.step}
	if c.Reactions != 0 {
		r.chance = rand.New(rand.NewPCG(c.Reactions, 0))
	}
	file, err := c.readHome(e, dir)
	if err != nil {
		return nil, err
	}
	r.clock = time.Now()
	db, err := store.Open(e.ctx, filepath.Join(dir, databaseFile), store.Options{Project: delivery.Project, Clear: delivery.Clear, Now: r.now})
	if err != nil {
		return nil, err
	}
	defer db.Close()
	if file == nil {
		if r.home, err = r.blank(db, c.Home); err != nil {
			return nil, err
		}
	}
	zone := r.home.Zone
	if file != nil {
		zone = file.home.Zone
	}
	if r.zone, err = registry.LoadZone(zone); err != nil {
		return nil, err
	}
	rows, err := readTrace(e.ctx, c.Trace, r.zone)
	if err != nil {
		return nil, err
	}
	if err := c.days(r, rows); err != nil {
		return nil, err
	}
	t := m.tell(rows)
	r.moves, r.clock, r.who = t.moves, r.start, m.Who
	if err := r.open(db, file); err != nil {
		return nil, err
	}
	if err := r.odd(db, m.odd(rows), c.Map != ""); err != nil {
		return nil, err
	}
	if people, err := r.desk.People(e.ctx, r.home.Name); err != nil {
		return nil, err
	} else if m.Who != "" && !slices.ContainsFunc(people, func(p registry.Person) bool { return p.Name == m.Who }) {
		return nil, fmt.Errorf("%s: who is %q: nobody in the home is called so", c.Map, m.Who)
	}
	messages, err := c.readMessages(r)
	if err != nil {
		return nil, err
	}
	r.plan(c, messages)
	if err := r.check(dir); err != nil {
		return nil, err
	}
	if r.report, err = newReport(r, c, rows, t.bands, messages); err != nil {
		return nil, err
	}
	if err := r.plug(file); err != nil {
		return nil, err
	}
	if err := r.play(); err != nil {
		return nil, err
	}
	return r.report, r.report.finish(r)
}

func (e *env) note(text string) { fmt.Fprintln(e.errs, "porchlight: rehearse: "+text) }

func (r *rehearsal) now() device.Instant { return device.At(r.clock) }

// options are the Desk's, on the rehearsal's clock. Messages are numbered, so that two rehearsals are alike.
func (r *rehearsal) options() delivery.Options {
	n := uint64(0)
	return delivery.Options{
		Now: r.now, Mono: func() time.Time { return r.clock },
		NewMessageID: func(now device.Instant) device.MessageID {
			n++
			id := device.MessageID{6: 0x70, 8: 0x80}
			binary.BigEndian.PutUint64(id[:8], uint64(now)<<16|0x7000)
			binary.BigEndian.PutUint32(id[12:], uint32(n))
			return id
		},
	}
}

func (r *rehearsal) log() *slog.Logger {
	return slog.New(slog.NewTextHandler(r.e.errs, &slog.HandlerOptions{Level: slog.LevelError}))
}

// rehearsedHome is a home file with what has been said in the home.
type rehearsedHome struct {
	home sim.Home
	file *yamlFile
	said struct {
		Consents    []delivery.Yes       `json:"consents"`
		Preferences delivery.Preferences `json:"preferences"`
	}
}

// readHome reads the home file, or copies the gateway's database to dir and returns nil.
func (c *rehearseCmd) readHome(e *env, dir string) (*rehearsedHome, error) {
	_, err := os.Stat(c.Home)
	if ext := filepath.Ext(c.Home); err != nil && ext != ".yaml" && ext != ".yml" && ext != ".json" {
		err := store.Copy(e.ctx, filepath.Join(e.data, databaseFile), filepath.Join(dir, databaseFile))
		if errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("%s is no home file, and there is no gateway's database in %s: give a file, or --data", c.Home, e.data)
		}
		return nil, err
	}
	h := &rehearsedHome{}
	raw, name, err := e.readFile(c.Home)
	if err != nil {
		return nil, err
	}
	if h.file, err = parseYAML(name, raw); err != nil {
		return nil, err
	}
	if err := h.file.misspelt("consents", "preferences"); err != nil {
		return nil, err
	}
	if h.home, err = sim.ParseHome(name, raw); err != nil {
		return nil, err
	}
	said, err := parseYAML(name, raw)
	if err != nil {
		return nil, err
	}
	for _, doc := range said.tree.Docs { // the rest is the simulator's to read
		if body, ok := doc.Body.(*ast.MappingNode); ok {
			body.Values = slices.DeleteFunc(body.Values, func(v *ast.MappingValueNode) bool {
				key := v.Key.GetToken().Value
				return key != "consents" && key != "preferences"
			})
		}
	}
	return h, said.decode(&h.said)
}

// misspelt refuses a key at the top of the file that is almost one of known: the simulator, to which those keys mean
// nothing, would take it for one of its own.
func (f *yamlFile) misspelt(known ...string) error {
	for _, doc := range f.tree.Docs {
		body, ok := doc.Body.(*ast.MappingNode)
		if !ok {
			continue
		}
		for _, v := range body.Values {
			key := v.Key.GetToken()
			if near := device.Nearest(key.Value, known); near != "" && near != key.Value {
				return fmt.Errorf("%s:%d: key %q is unknown: did you mean %s?", f.path, key.Position.Line, key.Value, near)
			}
		}
	}
	return nil
}

// blank makes the copied home one to which nothing was ever sent.
func (r *rehearsal) blank(db *store.DB, name string) (registry.Home, error) {
	desk, err := delivery.NewDesk(db, r.options(), r.log())
	if err != nil {
		return registry.Home{}, err
	}
	delivery.NewCourier(desk).Turn() // what has run out by now has
	return desk.Blank(r.e.ctx, name, func(d time.Duration) { r.clock = r.clock.Add(d) })
}

// days sets when the rehearsal begins and ends: with the recording, even in the middle of a day, for nobody knows
// what was going on after it.
func (c *rehearseCmd) days(r *rehearsal, rows []sim.Interval) error {
	last := rows[0].End
	for _, row := range rows {
		if row.End.After(last) {
			last = row.End
		}
	}
	r.recorded = last.Add(time.Second)
	r.start, r.end = midnight(rows[0].Start.In(r.zone), 0), r.recorded
	if c.From != "" {
		date, err := time.Parse(time.DateOnly, c.From)
		if err != nil {
			return usageError{fmt.Errorf("--from %q is not a date such as %s", c.From, r.start.Format(time.DateOnly))}
		}
		from := policy.Date(date.Year(), date.Month(), date.Day(), 0, 0, r.zone)
		if from.Before(r.start) || !from.Before(r.end) {
			return fmt.Errorf("--from %s: the recording goes from %s to %s", c.From, r.start.Format(time.DateOnly), last.Format(time.DateOnly))
		}
		r.start = from
	}
	if c.Days > 0 {
		if end := midnight(r.start, int(c.Days)); end.Before(r.end) {
			r.end = end
		}
	}
	if c.length > 0 {
		r.end = r.start.Add(c.length)
	}
	return nil
}

// midnight is when the day of t begins, or one that many days later.
func midnight(t time.Time, days int) time.Time {
	y, m, d := t.Date()
	return policy.Date(y, m, d+days, 0, 0, t.Location())
}

// odd says what the recording, the map and the home have not in common. own says that the map is not the built-in
// one, in which there may be more than a home has.
func (r *rehearsal) odd(db *store.DB, odd oddities, own bool) error {
	var rooms []registry.Room
	err := db.View(r.e.ctx, func(tx *store.Tx) (err error) { rooms, err = registry.Rooms(tx, r.home.ID); return err })
	if err != nil {
		return err
	}
	for _, sensor := range odd.sensors {
		r.e.note(fmt.Sprintf("sensor %q is not among the sensors of the map: it says only where somebody is", sensor))
	}
	for _, place := range odd.places {
		r.e.note(fmt.Sprintf("place %q is not among the rooms of the map: what happens there says only that somebody is at home", place))
	}
	if own {
		for _, sensor := range odd.unused {
			r.e.note(fmt.Sprintf("sensor %q of the map is in no row of the recording", sensor))
		}
	}
	for _, one := range odd.rooms {
		there := slices.ContainsFunc(rooms, func(room registry.Room) bool { return sim.Act{Room: one.room}.Concerns(0, room.Name) })
		if !there && (own || one.used) {
			r.e.note(fmt.Sprintf("place %q is %q in the map, and no room of the home has a name that begins so", one.place, one.room))
		}
	}
	return nil
}

// check has a hall that nothing else happens in take the messages, so that whatever is wrong with one is said before the
// rehearsal begins: each when it is pushed first, and when it is pushed last.
func (r *rehearsal) check(dir string) (bad error) {
	s := &rehearsal{e: r.e, clock: r.start, endOf: map[device.MessageID]time.Time{}, names: map[device.MessageID]*rehearsed{}, report: &rehearsalReport{}}
	db, err := store.Open(r.e.ctx, filepath.Join(dir, "check.db"), store.Options{Project: delivery.Project, Clear: delivery.Clear, Now: s.now})
	if err != nil {
		return err
	}
	defer db.Close()
	if s.desk, err = delivery.NewDesk(db, s.options(), s.log()); err != nil {
		return err
	}
	last := map[*rehearsed]int{}
	for i, p := range r.pushes {
		last[p.m] = i
	}
	first, wrong := map[*rehearsed]bool{}, map[*rehearsed]bool{}
	for i, p := range r.pushes {
		if wrong[p.m] || first[p.m] && last[p.m] != i {
			continue
		}
		if _, err := s.desk.Brand(r.e.ctx, p.m.brand); errors.Is(err, registry.ErrUnknown) {
			b, err := r.desk.Brand(r.e.ctx, p.m.brand)
			if err != nil {
				return err
			}
			if _, err := s.desk.AddBrand(r.e.ctx, b.Brand); err != nil {
				return err
			}
		}
		s.clock, first[p.m] = p.at, true
		if err := s.push(p); err != nil {
			wrong[p.m], bad = true, errors.Join(bad, err)
		}
	}
	return bad
}

// open opens the hall, with the home in it.
func (r *rehearsal) open(db *store.DB, file *rehearsedHome) (err error) {
	if r.desk, err = delivery.NewDesk(db, r.options(), r.log()); err != nil {
		return err
	}
	r.courier = delivery.NewCourier(r.desk)
	if file == nil {
		return nil
	}
	if r.home, _, err = r.desk.AddHome(r.e.ctx, rehearsedSpec(file.home)); err != nil {
		return fmt.Errorf("%s: %w", file.file.path, err)
	}
	if err := r.desk.SetPreferences(r.e.ctx, r.home.Name, file.said.Preferences); err != nil {
		var bad delivery.Invalid
		if errors.As(err, &bad) {
			for _, one := range bad {
				one.Field = "preferences." + one.Field
			}
			err = file.file.explain(bad)
		}
		return err
	}
	for i, yes := range file.said.Consents {
		at := file.file.at(fmt.Sprintf("consents[%d]", i))
		if _, err := device.ParseBrandID(string(yes.Brand)); err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
		if err := r.brand(yes.Brand); err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
		if err := r.desk.Give(r.e.ctx, r.home.Name, yes); err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
	}
	return nil
}

// rehearsedSpec is a home file's home with devices that go by the same IDs each time.
func rehearsedSpec(h sim.Home) delivery.HomeSpec {
	spec := homeSpec(h)
	for i := range spec.Devices {
		spec.Devices[i].ID = device.ID(fmt.Sprintf("rehearsal-%02d", i+1))
	}
	return spec
}

// brand registers a brand that is not known yet.
func (r *rehearsal) brand(id device.BrandID) error {
	if _, err := r.desk.Brand(r.e.ctx, id); err == nil {
		return nil
	} else if !errors.Is(err, registry.ErrUnknown) {
		return err
	}
	name := strings.ToUpper(string(id[:1])) + string(id[1:])
	b := registry.Brand{ID: id, Name: name, Purposes: policy.PurposeNames(), Quota: 10_000}
	_, err := r.desk.AddBrand(r.e.ctx, b)
	if errors.Is(err, registry.ErrTaken) { // by a brand with another ID
		b.Name += ", rehearsed"
		_, err = r.desk.AddBrand(r.e.ctx, b)
	}
	return err
}

// readMessages reads the message files, in the order of their names.
func (c *rehearseCmd) readMessages(r *rehearsal) (all []*rehearsed, err error) {
	read := func(path string, brand func() (device.BrandID, error)) error {
		if ext := filepath.Ext(path); ext != ".yaml" && ext != ".yml" && ext != ".json" {
			return nil
		}
		if info, err := os.Stat(path); err != nil {
			return fmt.Errorf("read messages: %w", cannotRead(path, err))
		} else if !info.Mode().IsRegular() { // a pipe would be waited for
			return fmt.Errorf("read messages: %s is no file", path)
		}
		raw, name, err := r.e.readFile(path)
		if err != nil {
			return err
		}
		m := &rehearsed{name: strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))}
		var body []byte
		if m.file, body, err = readMessage(name, raw, 0); err != nil {
			return err
		}
		if m.s, err = delivery.ParseSubmission(body); err != nil {
			return m.file.explain(err)
		}
		if m.brand, err = brand(); err != nil {
			return err
		}
		all = append(all, m)
		return r.brand(m.brand)
	}
	ours := func() (device.BrandID, error) { return c.defaultBrand(r) }
	entries, err := os.ReadDir(c.Messages)
	if errors.Is(err, syscall.ENOTDIR) { // it is a message
		err = read(c.Messages, ours)
	} else if err != nil {
		err = fmt.Errorf("read messages: %w", cannotRead(c.Messages, err))
	}
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		path := filepath.Join(c.Messages, entry.Name())
		if !entry.IsDir() {
			if err := read(path, ours); err != nil {
				return nil, err
			}
			continue
		}
		inner, err := os.ReadDir(path)
		if err != nil {
			return nil, fmt.Errorf("read messages: %w", err)
		}
		for _, one := range inner {
			if one.IsDir() {
				continue
			}
			if err := read(filepath.Join(path, one.Name()), func() (device.BrandID, error) { return device.ParseBrandID(entry.Name()) }); err != nil {
				return nil, err
			}
		}
	}
	if len(all) == 0 {
		if entries == nil {
			return nil, fmt.Errorf("read messages: %s is no message: its name does not end in .yaml, .yml or .json", c.Messages)
		}
		return nil, fmt.Errorf("read messages: %s has no file that ends in .yaml, .yml or .json", c.Messages)
	}
	return all, nil
}

// defaultBrand is whose messages are that lie in no brand's folder.
func (c *rehearseCmd) defaultBrand(r *rehearsal) (device.BrandID, error) {
	if c.Brand != "" {
		return device.ParseBrandID(c.Brand)
	}
	choices, err := r.desk.Consents(r.e.ctx, r.home.Name)
	if err != nil {
		return "", err
	}
	var brands []device.BrandID
	for _, ch := range choices {
		if ch.Choice == policy.Given && !slices.Contains(brands, ch.Brand) {
			brands = append(brands, ch.Brand)
		}
	}
	if len(brands) != 1 {
		return "", usageError{fmt.Errorf("the home has said yes to %d brands: say with --brand whose the messages in %s are, or put them into a folder with the brand's name", len(brands), c.Messages)}
	}
	return brands[0], nil
}

// plan sets when which message is pushed.
func (r *rehearsal) plan(c *rehearseCmd, messages []*rehearsed) {
	every, life := time.Duration(c.Every), time.Duration(c.For)
	for at := r.start; at.Before(r.end); at = at.Add(every) {
		for _, m := range messages {
			r.pushes = append(r.pushes, push{at, cmp.Or(life, every, min(r.end.Sub(at), delivery.MaxLife)), m})
		}
		if c.Every == 0 {
			break
		}
	}
}

// plug connects the home's devices, in the state that they are in when the rehearsal begins.
func (r *rehearsal) plug(file *rehearsedHome) error {
	devices, err := r.desk.Devices(r.e.ctx, r.home.Name)
	if err != nil {
		return err
	}
	for _, dev := range devices {
		t := &thing{r: r, id: dev.ID, room: dev.RoomName}
		cfg := sim.Config{ID: dev.ID, Name: dev.Name, Class: dev.Class, Model: dev.Model, Can: dev.Can, Now: func() time.Time { return r.clock },
			Notify: func(e sim.Event) { r.happened(t, e) }}
		if file != nil {
			i := slices.IndexFunc(file.home.Devices, func(h sim.Thing) bool { return h.Name == dev.Name })
			cfg.Model, cfg.Can, cfg.Start = file.home.Devices[i].Model, file.home.Devices[i].Can, file.home.Devices[i].Start
		}
		if len(cfg.Can.Forms) == 0 && file == nil {
			r.e.note(dev.Name + " has not told the gateway yet what it can show: here it shows nothing")
		}
		if t.d, err = sim.New(cfg); err != nil {
			return err
		}
		if t.room != "" {
			if err := t.d.Do("everybody leaves"); err != nil {
				return err
			}
		}
		r.things = append(r.things, t)
	}
	first := 0
	for first < len(r.moves) && !r.moves[first].at.After(r.start) {
		r.move(r.moves[first])
		first++
	}
	r.moves = r.moves[first:]
	for _, t := range r.things {
		if err := r.desk.Connected(t.id, r.home.ID, t); err != nil {
			return err
		}
		t.d.Wire(func(f sim.Up) { r.up = append(r.up, upward{t, f}) })
	}
	if err := r.carry(); err != nil {
		return err
	}
	for _, t := range r.things {
		if err := r.desk.Subscribed(t.id, t); err != nil {
			return err
		}
	}
	here := move{at: r.start.Add(time.Second)} // a device knows nobody before it has been told their names
	for _, t := range r.things {
		if r.who != "" && t.room != "" && t.d.State().Values[device.RoomOccupancy.String()] == true {
			here.acts = append(here.acts, sim.Act{Room: strings.ToLower(t.room), Do: somebodyComes})
		}
	}
	if len(here.acts) > 0 {
		r.moves = slices.Insert(r.moves, 0, here) // what is next comes no sooner
	}
	return nil
}

// move does what a move asks of the devices. What is impossible just then, such as playing on a
// television that is off, does not happen.
func (r *rehearsal) move(m move) {
	for _, t := range r.things {
		if m.back && t.room == "" {
			_ = t.d.Do(somebodyComes)
		}
		for _, a := range m.acts {
			if a.Concerns(t.d.Class(), t.room) {
				if a.Do != somebodyComes || !r.seen(t) {
					_ = t.d.Do(a.Do)
				}
			}
		}
		t.d.Turn()
	}
}

// seen lets a device tell who is in its room now, and so how many are, if the map says who it is and the device can
// tell people from each other; otherwise it reports false.
func (r *rehearsal) seen(t *thing) bool {
	return r.who != "" && t.room != "" && t.d.Comes(r.who) == nil
}

// carry carries frames both ways until none is left.
func (r *rehearsal) carry() error {
	for r.err == nil && len(r.up)+len(r.down) > 0 {
		for len(r.up) > 0 {
			f := r.up[0]
			r.up = r.up[1:]
			if f.from.off {
				continue
			}
			if err := r.take(f.from, f.Leaf, f.Payload); err != nil {
				return fmt.Errorf("%s: %s: %w", f.from.d.Name(), f.Leaf, err)
			}
			r.report.Work.Frames++
			if f.Leaf == wire.UpCtx && f.QoS == 1 {
				r.report.Work.Changes++
				r.report.Work.Naive += r.inForce() * int64(len(r.things))
			}
			f.Acked()
		}
		for len(r.down) > 0 {
			f := r.down[0]
			r.down = r.down[1:]
			f.to.d.Hand(f.Leaf, f.Payload)
			if f.QoS == 1 {
				r.desk.Acked(f.to.id, f.to)
			}
		}
	}
	return r.err
}

// inForce is how many of the messages are.
func (r *rehearsal) inForce() (n int64) {
	for _, until := range r.endOf {
		if r.clock.Before(until) {
			n++
		}
	}
	return n
}

// take hands a device's frame to the Desk, as the MQTT door does.
func (r *rehearsal) take(t *thing, leaf wire.Leaf, payload []byte) error {
	switch leaf {
	case wire.UpBirth:
		f, err := wire.DecodeBirth(payload)
		if err == nil {
			t.attributes = f.Attributes
			err = r.desk.Birth(t.id, t, f)
		}
		return err
	case wire.UpCtx:
		f, err := wire.DecodeContext(t.attributes, payload)
		if err == nil {
			err = r.desk.Context(t.id, t, f)
		}
		return err
	case wire.UpEvt:
		f, err := wire.DecodeEvent(payload)
		if err == nil {
			err = r.desk.Event(t.id, t, f)
		}
		return err
	case wire.UpAns:
		f, err := wire.DecodeAnswer(payload)
		if err == nil {
			err = r.desk.Answer(t.id, t, f)
		}
		return err
	}
	return errors.New("no device of a rehearsal says that")
}

// settle lets everything happen that can happen at this moment. byItself says that nothing but the
// clock is behind it.
func (r *rehearsal) settle(byItself bool) (next time.Time, err error) {
	for {
		if err := r.carry(); err != nil {
			return next, err
		}
		var homes int
		if next, homes = r.courier.Turn(); homes > 0 {
			r.report.Work.Turns += homes
			if byItself {
				r.report.Work.ByClock++
			}
			if err := r.observe(); err != nil {
				return next, err
			}
		}
		if len(r.up)+len(r.down) == 0 && homes == 0 {
			return next, r.err
		}
	}
}

// play is the rehearsal itself: from one thing that happens to the next.
func (r *rehearsal) play() error {
	moves, pushes := r.moves, r.pushes
	told, watched := time.Time{}, progressTo(r.e.errs)
	ctx := r.e.ctx
	for {
		fact := false
		for len(pushes) > 0 && !pushes[0].at.After(r.clock) {
			if err := r.push(pushes[0]); err != nil {
				return err
			}
			pushes, fact = pushes[1:], true
		}
		for len(moves) > 0 && !moves[0].at.After(r.clock) {
			r.move(moves[0])
			moves, fact = moves[1:], true
		}
		for len(r.deeds) > 0 && !r.deeds[0].at.After(r.clock) {
			r.deeds[0].do()
			r.deeds, fact = r.deeds[1:], true
		}
		if r.step > 0 {
			r.desk.JudgeAnew()
		}
		next, err := r.settle(!fact && len(r.up) == 0)
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if len(moves) > 0 && moves[0].at.Before(next) {
			next = moves[0].at
		}
		if len(pushes) > 0 && pushes[0].at.Before(next) {
			next = pushes[0].at
		}
		if len(r.deeds) > 0 && r.deeds[0].at.Before(next) {
			next = r.deeds[0].at
		}
		if second := r.clock.Truncate(time.Second).Add(r.step); r.step > 0 && second.Before(next) {
			next = second
		}
		for _, t := range r.things {
			if due := t.d.Due(); !t.off && !due.IsZero() && due.Before(next) {
				next = due
			}
		}
		if !next.Before(r.end) {
			r.clock = r.end
			if watched {
				fmt.Fprint(r.e.errs, "\r\x1b[K")
			}
			return nil
		}
		r.clock = later(next, r.clock.Add(time.Millisecond))
		if whole := r.clock.Truncate(time.Millisecond); whole.Before(r.clock) {
			r.clock = whole.Add(time.Millisecond) // as fine as an Instant is
		}
		for _, t := range r.things {
			if due := t.d.Due(); !t.off && !due.IsZero() && !due.After(r.clock) {
				t.d.Turn()
			}
		}
		if day := r.clock.In(r.zone); watched && day.YearDay() != told.YearDay() {
			told = day
			fmt.Fprintf(r.e.errs, "\r%s of %s\x1b[K", day.Format("Mon 2 Jan 2006"), r.end.Add(-time.Second).Format("Mon 2 Jan 2006"))
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// push takes in one message as its brand's.
func (r *rehearsal) push(p push) error {
	b, err := r.desk.Brand(r.e.ctx, p.m.brand)
	if err != nil {
		return err
	}
	s := p.m.s
	if s.NotAfter.IsZero() {
		s.NotAfter = r.clock.Add(p.life).UTC()
	}
	a, err := r.desk.Accept(r.e.ctx, b.Brand, fmt.Sprintf("rehearsal-%d", len(r.names)), s)
	var bad delivery.Invalid
	if errors.As(err, &bad) {
		return p.m.file.explain(bad)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", p.m.file.path, err)
	}
	r.names[a.ID] = p.m
	r.endOf[a.ID] = s.NotAfter
	r.report.Pushed++
	return nil
}

// do is somebody's answer to what is on a screen, if it still is.
func (p personDeed) do() {
	screen := p.to.d.Screen()
	if !screen.Showing || screen.Message != p.id {
		return
	}
	if p.press && len(screen.Buttons) > 0 {
		_ = p.to.d.Press(screen.Buttons[0].ID, nil)
	} else {
		_ = p.to.d.Dismiss(nil)
	}
	p.to.d.Turn()
}

// react lets somebody react to what has just come onto a screen, perhaps.
func (r *rehearsal) react(t *thing, id device.MessageID) {
	if r.chance == nil {
		return
	}
	what, after := r.chance.IntN(10), time.Duration(1+r.chance.IntN(8))*time.Second
	if what >= 5 {
		return
	}
	r.deeds = append(r.deeds, personDeed{r.clock.Add(after), t, id, what < 2})
	slices.SortStableFunc(r.deeds, func(a, b personDeed) int { return a.at.Compare(b.at) })
}

// progressTo reports whether somebody watches w.
func progressTo(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	fi, err := f.Stat()
	return err == nil && fi.Mode()&os.ModeCharDevice != 0
}

package sim

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"porchlight/device"
	"porchlight/device/wire"
)

// Home is a home file: who lives there, what stands where, and what a person does with it.
type Home struct {
	Name    string
	Zone    string // IANA
	People  []Person
	Rooms   []string
	Devices []Thing
	Script  []Step
}

// Person is somebody who lives there.
type Person struct {
	Name      string
	Age       device.Age // in a home file, left out: adult
	Guardians []string   // of a child or teen: adults of the home who may say yes for them
}

// Thing is one device of the home. Name is unique in the home; Room and Owner are "" or listed.
type Thing struct {
	Name       string
	Class      device.Class
	Room       string
	Controller bool   // may widen permissions, not only restrict
	Owner      string // "": everybody's
	Model      device.Model
	Can        device.Capabilities
	Start      []string // actions done at start
}

// Step is one thing that the person of the script does, After the start.
type Step struct {
	After   time.Duration `yaml:"after"`
	Device  string        `yaml:"device"`
	Do      string        `yaml:"do"`
	Press   *uint         `yaml:"press"`
	Dismiss bool          `yaml:"dismiss"`
	Read    bool          `yaml:"read"` // the rest of a message of which only the sender is seen
	Choose  *Choice       `yaml:"choose"`
	Wish    string        `yaml:"wish"`   // with press or dismiss
	Answer  string        `yaml:"answer"` // to a question: one of Replies
	Why     string        `yaml:"why"`    // message: the one on the screen; held: what was held back today
	By      string        `yaml:"by"`     // who does it, with all but do, press, dismiss, read and who is there; left out: not known

	Comes  string `yaml:"comes"`  // somebody whom the device knows, as in Device.Comes
	Leaves string `yaml:"leaves"` //
	People *int   `yaml:"people"` // how many are there

	Snooze    string      `yaml:"snooze"` // how long, as 1h; off ends it
	Mute      *Muting     `yaml:"mute"`
	Quiet     []Quieting  `yaml:"quiet"`     // the whole list
	Caps      []Capping   `yaml:"caps"`      // the whole list
	Moments   []string    `yaml:"moments"`   // the whole list: film, call, sleep
	Languages []string    `yaml:"languages"` // the whole list
	Freeze    *bool       `yaml:"freeze"`
	Forget    []uint      `yaml:"forget"` // places in what was learnt
	Signal    *Signalling `yaml:"signal"`
}

// Choice is a choice made on a device.
type Choice struct {
	Brand   device.BrandID `yaml:"brand"`
	Purpose string         `yaml:"purpose"`
	Choice  string         `yaml:"choice"` // given, refused, withdrawn
}

// Credentials are what the devices of one home connect with. The gateway writes them.
type Credentials struct {
	Gateway string                `yaml:"gateway"`
	CA      string                `yaml:"ca,omitempty"` // path of the gateway's certificate
	Devices map[string]Credential `yaml:"devices"`      // by the device's name

	path string // the file that it was read from; "": none
}

// Credential is what one device connects with.
type Credential struct {
	ID    device.ID `yaml:"id"`
	Token string    `yaml:"token"`
}

// homeFile is a Home as it is written, before it is checked.
type homeFile struct {
	Name    string       `yaml:"name"`
	Zone    string       `yaml:"zone"`
	People  []personFile `yaml:"people"`
	Rooms   []string     `yaml:"rooms"`
	Devices []thingFile  `yaml:"devices"`
	Script  []Step       `yaml:"script"`

	// What a rehearsal on the gateway begins with. The simulator, and home add, pass over it: nobody has
	// said yes because a file says so.
	Consents    any `yaml:"consents"`
	Preferences any `yaml:"preferences"`
}

type personFile struct {
	Name      string   `yaml:"name"`
	Age       string   `yaml:"age"`
	Guardians []string `yaml:"guardians"`
}

type thingFile struct {
	Name       string    `yaml:"name"`
	Class      string    `yaml:"class"`
	Room       string    `yaml:"room"`
	Controller bool      `yaml:"controller"`
	Owner      string    `yaml:"owner"`
	Model      modelFile `yaml:"model"`
	Can        canFile   `yaml:"can"`
	Start      []string  `yaml:"start"`
}

type modelFile struct {
	Maker    string `yaml:"maker"`
	Name     string `yaml:"name"`
	Hardware string `yaml:"hardware"`
}

type canFile struct {
	Screen    []uint   `yaml:"screen"` // width px, height px, diagonal mm
	Inputs    []string `yaml:"inputs"`
	Sound     []string `yaml:"sound"`
	Forms     []string `yaml:"forms"`
	Packet    uint     `yaml:"packet"` // bytes
	Buttons   uint     `yaml:"buttons"`
	Languages []string `yaml:"languages"`
	Holds     uint     `yaml:"holds"`
	Attention []string `yaml:"attention"`
	Duties    []string `yaml:"duties"`
}

var (
	inputBits     = bits{{"remote", device.Remote}, {"touch", device.Touch}, {"buttons", device.Buttons}, {"voice", device.VoiceIn}, {"keyboard", device.Keyboard}, {"gamepad", device.Gamepad}}
	soundBits     = bits{{"tone", 1}, {"speech", 2}, {"media", 4}}
	attentionBits = bits{{"occupancy", device.ReportsOccupancy}, {"who", device.ReportsWho}, {"driving", device.ReportsDriving}}
	dutyBits      = bits{{"dim", device.CanDim}, {"minimal", device.CanMinimal}}
)

type bits []struct {
	name string
	bit  uint
}

func (bs bits) names() string {
	var names []string
	for _, b := range bs {
		names = append(names, b.name)
	}
	return strings.Join(names, ", ")
}

// ReadHome reads and checks the home file at path. The error names every fault with its line.
func ReadHome(path string) (Home, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Home{}, fmt.Errorf("read home: %w", err)
	}
	return ParseHome(path, data)
}

// ParseHome is [ReadHome] of data; path is for the errors.
func ParseHome(path string, data []byte) (Home, error) {
	var f homeFile
	root, err := strict(path, data, &f)
	if err != nil {
		return Home{}, err
	}
	c := checker{path: path, root: root}
	h := c.home(f)
	return h, errors.Join(c.faults...)
}

// checker collects what is wrong with a file.
type checker struct {
	path   string
	root   *ast.File
	faults []error
}

// fault notes what is wrong with the thing at where, a YAML path. If the file does not have it,
// the nearest thing around it is named.
func (c *checker) fault(where, format string, args ...any) {
	c.faults = append(c.faults, fmt.Errorf("%s:%d: %s", c.path, c.line(where), fmt.Sprintf(format, args...)))
}

func (c *checker) line(where string) int {
	for where != "" {
		if p, err := yaml.PathString(where); err == nil {
			if n, err := p.FilterFile(c.root); err == nil && n != nil && n.GetToken() != nil {
				tok := n.GetToken()
				if n.Type() == ast.MappingType || n.Type() == ast.MappingValueType {
					for tok.Prev != nil && tok.Type == token.MappingValueType {
						tok = tok.Prev // from the colon to its key
					}
				}
				return tok.Position.Line
			}
		}
		where = where[:max(strings.LastIndexAny(where, ".["), 0)]
	}
	return 1
}

func (c *checker) home(f homeFile) Home {
	h := Home{Name: f.Name, Zone: f.Zone, Rooms: f.Rooms, Script: f.Script}
	if f.Name == "" {
		c.fault("$", "the home has no name: add name")
	}
	if strings.ContainsAny(f.Name, `/\`) || strings.HasPrefix(f.Name, ".") {
		c.fault("$.name", "home name %q would not do as a file's name: use letters, digits, space and hyphen", f.Name)
	}
	switch _, err := time.LoadLocation(f.Zone); {
	case f.Zone == "" || f.Zone == "Local":
		c.fault("$.zone", "the home has no time zone: add zone, such as Europe/Zurich")
	case err != nil:
		c.fault("$.zone", "zone %q is unknown: use an IANA name such as Europe/Zurich", f.Zone)
	}
	people := make(map[string]bool)
	for i, p := range f.People {
		at := fmt.Sprintf("$.people[%d]", i)
		c.unique(people, p.Name, "person", at, "name")
		age := device.Adult
		if p.Age != "" {
			var err error
			if age, err = device.ParseAge(p.Age); err != nil {
				c.fault(at+".age", "%s: %v", p.Name, err)
			}
		}
		h.People = append(h.People, Person{p.Name, age, p.Guardians})
	}
	for i, p := range h.People {
		c.guardians(fmt.Sprintf("$.people[%d]", i), p, h.People)
	}
	rooms := make(map[string]bool)
	for i, r := range f.Rooms {
		c.unique(rooms, r, "room", fmt.Sprintf("$.rooms[%d]", i), "")
	}
	names := make(map[string]bool)
	classes := make(map[string]device.Class)
	if len(f.Devices) == 0 {
		c.fault("$.devices", "the home has no devices: add one")
	}
	for i, d := range f.Devices {
		at := fmt.Sprintf("$.devices[%d]", i)
		c.unique(names, d.Name, "device", at, "name")
		t := c.thing(at, d)
		if d.Room != "" && !rooms[d.Room] {
			c.fault(at+".room", "%s: room %q is not among the home's rooms: %s", d.Name, d.Room, oneOf(d.Room, f.Rooms, "rooms"))
		}
		if d.Owner != "" && !people[d.Owner] {
			c.fault(at+".owner", "%s: owner %q is not among the home's people: %s", d.Name, d.Owner, oneOf(d.Owner, keys(people), "people"))
		}
		classes[d.Name] = t.Class
		h.Devices = append(h.Devices, t)
	}
	for i, s := range f.Script {
		c.step(fmt.Sprintf("$.script[%d]", i), s, classes, listed(h.People, f.Rooms))
	}
	return h
}

// guardians checks who may say yes for p.
func (c *checker) guardians(at string, p Person, all []Person) {
	if len(p.Guardians) > 0 && p.Age == device.Adult {
		c.fault(at+".guardians", "%s: an adult has no guardians: say age: child or teen, or leave them out", p.Name)
	}
	for i, name := range p.Guardians {
		where := fmt.Sprintf("%s.guardians[%d]", at, i)
		g := slices.IndexFunc(all, func(q Person) bool { return q.Name == name })
		switch {
		case g < 0:
			var names []string
			for _, q := range all {
				names = append(names, q.Name)
			}
			c.fault(where, "%s: guardian %q is not among the home's people: %s", p.Name, name, oneOf(name, names, "people"))
		case all[g].Age != device.Adult:
			c.fault(where, "%s: guardian %s is no adult", p.Name, name)
		case slices.Contains(p.Guardians[:i], name):
			c.fault(where, "%s: guardian %s is there twice", p.Name, name)
		}
	}
}

// listed finds people and rooms in a home file.
func listed(people []Person, rooms []string) names {
	var who []string
	for _, p := range people {
		who = append(who, p.Name)
	}
	find := func(what string, list []string) func(string) (uint32, error) {
		return func(name string) (uint32, error) {
			i := slices.Index(list, name)
			if i < 0 && name != "" {
				return 0, fmt.Errorf("%q is not among the home's %s: %s", name, what, oneOf(name, list, what))
			}
			return uint32(i + 1), nil
		}
	}
	return names{person: find("people", who), room: find("rooms", rooms)}
}

// unique notes a name that is missing or was there before.
func (c *checker) unique(seen map[string]bool, name, what, at, key string) {
	where := at
	if key != "" {
		where += "." + key
	}
	switch {
	case name == "":
		c.fault(where, "a %s has no name: add one", what)
	case seen[name]:
		c.fault(where, "%s %q is there twice: give each its own name", what, name)
	}
	seen[name] = true
}

func (c *checker) thing(at string, f thingFile) Thing {
	t := Thing{
		Name: f.Name, Room: f.Room, Controller: f.Controller, Owner: f.Owner, Start: f.Start,
		Model: device.Model(f.Model),
	}
	class, err := device.ParseClass(f.Class)
	if err != nil {
		c.fault(at+".class", "%s: %v", f.Name, err)
		return t
	}
	t.Class = class
	t.Can = device.Capabilities{
		MaxPacket: f.Can.Packet, MaxButtons: f.Can.Buttons, Languages: f.Can.Languages, Holds: f.Can.Holds,
		Inputs:    c.bits(at+".can.inputs", f.Name, "input", f.Can.Inputs, inputBits),
		Sound:     c.bits(at+".can.sound", f.Name, "sound", f.Can.Sound, soundBits),
		Attention: c.bits(at+".can.attention", f.Name, "attention", f.Can.Attention, attentionBits),
		Duties:    c.bits(at+".can.duties", f.Name, "duty", f.Can.Duties, dutyBits),
	}
	switch len(f.Can.Screen) {
	case 0:
	case 3:
		t.Can.Width, t.Can.Height, t.Can.Diagonal = f.Can.Screen[0], f.Can.Screen[1], f.Can.Screen[2]
	default:
		c.fault(at+".can.screen", "%s: screen has %d numbers: use [width px, height px, diagonal mm]", f.Name, len(f.Can.Screen))
	}
	for i, s := range f.Can.Forms {
		form, err := device.ParseForm(s)
		if err != nil {
			c.fault(fmt.Sprintf("%s.can.forms[%d]", at, i), "%s: %v", f.Name, err)
		}
		t.Can.Forms = append(t.Can.Forms, form)
	}
	if t.Can.MaxButtons > 4 {
		c.fault(at+".can.buttons", "%s: %d buttons are too many: use 0 to 4", f.Name, t.Can.MaxButtons)
	}
	if t.Can.Holds > wire.MaxHeld-1 {
		c.fault(at+".can.holds", "%s: holding %d messages is too many: use 0 to %d", f.Name, t.Can.Holds, wire.MaxHeld-1)
	}
	for i, a := range f.Start {
		if !slices.Contains(Actions(class), a) {
			c.fault(fmt.Sprintf("%s.start[%d]", at, i), "%s: a %s has no action %q: use one of %s", f.Name, class, a, strings.Join(Actions(class), ", "))
		}
	}
	return t
}

// name is the word for one bit.
func (bs bits) name(bit uint) string {
	for _, b := range bs {
		if b.bit == bit {
			return b.name
		}
	}
	return "nothing"
}

// sum adds up the bits of words.
func (bs bits) sum(words []string) (sum uint, err error) {
next:
	for _, w := range words {
		for _, b := range bs {
			if b.name == w {
				sum |= b.bit
				continue next
			}
		}
		return 0, fmt.Errorf("%q is unknown: use one of %s", w, bs.names())
	}
	return sum, nil
}

func (c *checker) bits(at, name, what string, words []string, known bits) uint {
	var sum uint
next:
	for i, w := range words {
		for _, b := range known {
			if b.name == w {
				sum |= b.bit
				continue next
			}
		}
		c.fault(fmt.Sprintf("%s[%d]", at, i), "%s: %s %q is unknown: use one of %s", name, what, w, known.names())
	}
	return sum
}

func (c *checker) step(at string, s Step, classes map[string]device.Class, n names) {
	class, ok := classes[s.Device]
	if !ok {
		c.fault(at+".device", "device %q of the script is not among the home's devices: %s", s.Device, oneOf(s.Device, keys(classes), "devices"))
	}
	if s.After < 0 {
		c.fault(at+".after", "after %s is before the start: use a positive time such as 5s", s.After)
	}
	if acts := s.acts(); len(acts) != 1 {
		c.fault(at, "a step of the script does %d things: give it exactly one of %s", len(acts), strings.Join(stepActs, ", "))
	}
	c.words(at, s, n)
	if ok && class != 0 && s.Do != "" && s.Do != FactoryReset && !slices.Contains(Actions(class), s.Do) {
		c.fault(at+".do", "%s: a %s has no action %q: use one of %s, %s", s.Device, class, s.Do, strings.Join(Actions(class), ", "), FactoryReset)
	}
	if s.Wish != "" {
		if _, err := ParseWish(s.Wish); err != nil {
			c.fault(at+".wish", "%v", err)
		}
		if s.Press == nil && !s.Dismiss {
			c.fault(at+".wish", "a wish belongs to a press or a dismiss: add one of them")
		}
	}
	if ch := s.Choose; ch != nil {
		if _, err := device.ParseBrandID(string(ch.Brand)); err != nil {
			c.fault(at+".choose.brand", "%v", err)
		}
		if ch.Purpose == "" {
			c.fault(at+".choose", "the choice has no purpose: add one")
		}
		if !slices.Contains(choices, ch.Choice) {
			c.fault(at+".choose.choice", "choice %q is unknown: use one of %s", ch.Choice, strings.Join(choices, ", "))
		}
	}
}

// stepActs are the things that a step may do.
var stepActs = []string{"do", "press", "dismiss", "choose", "answer", "why", "comes", "leaves", "people",
	"snooze", "mute", "quiet", "caps", "moments", "languages", "freeze", "forget", "signal", "read"}

// acts lists those that s does.
func (s Step) acts() (acts []string) {
	for i, has := range []bool{s.Do != "", s.Press != nil, s.Dismiss, s.Choose != nil, s.Answer != "", s.Why != "", s.Comes != "", s.Leaves != "", s.People != nil,
		s.Snooze != "", s.Mute != nil, s.Quiet != nil, s.Caps != nil, s.Moments != nil, s.Languages != nil, s.Freeze != nil, s.Forget != nil, s.Signal != nil, s.Read} {
		if has {
			acts = append(acts, stepActs[i])
		}
	}
	return acts
}

// words checks what a step says to the gateway, and about whom.
func (c *checker) words(at string, s Step, n names) {
	acts := s.acts()
	if len(acts) != 1 {
		return
	}
	at += "." + acts[0]
	check := func(err error) {
		if err != nil {
			c.fault(at, "%s: %v", acts[0], err)
		}
	}
	switch acts[0] {
	case "answer":
		if !slices.Contains(Replies(), s.Answer) {
			c.fault(at, "answer %q is unknown: use one of %s", s.Answer, strings.Join(Replies(), ", "))
		}
	case "why":
		if s.Why != whyMessage && s.Why != whyHeld {
			c.fault(at, "why %q is unknown: use %s or %s", s.Why, whyMessage, whyHeld)
		}
	case "comes":
		name, _, err := parseSeen(s.Comes)
		check(err)
		if err == nil {
			_, err = n.person(name)
			check(err)
		}
	case "leaves":
		_, err := n.person(s.Leaves)
		check(err)
	case "people":
		if *s.People < 0 || *s.People > maxPeople {
			c.fault(at, "%d people: use 0 to %d", *s.People, maxPeople)
		}
	case "signal":
		kind, err := ParseSignal(s.Signal.Kind)
		if err == nil {
			_, err = wire.Encode(wire.Signal{Kind: kind, Value: s.Signal.Value})
		}
		check(err)
	case "do", "press", "dismiss", "read", "choose": // checked by themselves
	default:
		if s.Mute != nil && s.Mute.Brand == thisBrand {
			m := *s.Mute
			m.Brand = ""
			s.Mute = &m
		}
		_, _, _, err := s.setting(n, wire.Document{})
		check(err)
		return
	}
	if _, err := n.person(s.By); err != nil {
		c.fault(at, "by: %v", err)
	}
	if s.By != "" && slices.Contains([]string{"do", "press", "dismiss", "read", "comes", "leaves", "people", "signal"}, acts[0]) {
		c.fault(at, "by goes with what somebody says, not with %s: leave it out", acts[0])
	}
}

var choices = []string{"given", "refused", "withdrawn"}

// ReadCredentials reads the file at path that the gateway has written for a home.
func ReadCredentials(path string) (Credentials, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Credentials{}, fmt.Errorf("read credentials: %w", err)
	}
	var c Credentials
	root, err := strict(path, data, &c)
	if err != nil {
		return Credentials{}, err
	}
	ch := checker{path: path, root: root}
	for _, name := range keys(c.Devices) {
		if _, err := device.ParseID(string(c.Devices[name].ID)); err != nil {
			ch.fault("$.devices", "%s: %v", name, err)
		}
		if c.Devices[name].Token == "" {
			ch.fault("$.devices", "%s has no token: let the gateway make one", name)
		}
	}
	c.path = path
	return c, errors.Join(ch.faults...)
}

// renew gives a device another token in the file that c was read from, unless that is of another device by now.
func (c Credentials) renew(name string, id device.ID, token string) error {
	now, err := ReadCredentials(c.path) // others may have written it meanwhile
	if err != nil {
		return err
	}
	if now.Devices[name].ID != id {
		return fmt.Errorf("write credentials: %s is not those of device %s any more: start the simulator again", c.path, id)
	}
	now.Devices[name] = Credential{id, token}
	return WriteCredentials(c.path, now)
}

// WriteCredentials writes c to the file at path, which only its owner may read.
func WriteCredentials(path string, c Credentials) error {
	data, err := yaml.Marshal(c)
	if err != nil {
		return fmt.Errorf("write credentials: %w", err)
	}
	// A new file in its place: the mode of an old one would stay as it was.
	f, err := os.CreateTemp(filepath.Dir(path), ".credentials-*") // 0600
	if err != nil {
		return fmt.Errorf("write credentials: %w", err)
	}
	defer os.Remove(f.Name()) // of no effect once it has been renamed
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write credentials: %w", err)
	}
	return nil
}

// Devices makes the devices of h with their credentials c; base is the Config of each but for what
// the home file and the credentials say. What base names comes before what c names. Without base.Memory a
// token that the gateway issues goes into the file that c was read from.
func Devices(h Home, c Credentials, base Config) ([]*Device, error) {
	if base.Gateway == "" {
		base.Gateway = c.Gateway
	}
	if base.Roots == nil && c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, fmt.Errorf("read the gateway's certificate: %w", err)
		}
		base.Roots = x509.NewCertPool()
		if !base.Roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read the gateway's certificate: %s has no certificate in PEM", c.CA)
		}
	}
	memory := base.Memory
	var mu sync.Mutex // one device after the other writes the file
	var ds []*Device
	for _, t := range h.Devices {
		cred, ok := c.Devices[t.Name]
		if !ok {
			return nil, fmt.Errorf("simulate %s: the credentials have no such device: register the home with the gateway again", t.Name)
		}
		cfg := base
		cfg.ID, cfg.Token = cred.ID, cred.Token
		cfg.Name, cfg.Class, cfg.Model, cfg.Can, cfg.Start = t.Name, t.Class, t.Model, t.Can, t.Start
		if memory != "" {
			cfg.Memory = filepath.Join(memory, string(cred.ID)+".json")
		} else if c.path != "" {
			cfg.keep = func(token string) error {
				mu.Lock()
				defer mu.Unlock()
				return c.renew(t.Name, cred.ID, token)
			}
		}
		d, err := New(cfg)
		if err != nil {
			return nil, err
		}
		ds = append(ds, d)
	}
	return ds, nil
}

// strict decodes data into v. An unknown key is an error that names the file, the line and the
// nearest key.
func strict(path string, data []byte, v any) (*ast.File, error) {
	root, err := parser.ParseBytes(data, 0)
	if err == nil {
		err = yaml.UnmarshalWithOptions(data, v, yaml.Strict())
	}
	if err == nil {
		return root, nil
	}
	line, msg := 1, err.Error()
	var at yaml.Error
	if errors.As(err, &at) {
		msg = at.GetMessage()
		if tok := at.GetToken(); tok != nil {
			line = tok.Position.Line
			var unknown *yaml.UnknownFieldError
			if errors.As(err, &unknown) {
				known := fields(reflect.TypeOf(v), nil)
				msg = fmt.Sprintf("key %q is unknown: %s", tok.Value, oneOf(tok.Value, known, "keys"))
			}
		}
	}
	switch {
	case root == nil:
		msg += ": write YAML or JSON"
	case strings.HasSuffix(msg, "where mapping is expected"):
		msg += ": write keys with their values, as in name: oak"
	}
	return nil, fmt.Errorf("%s:%d: %s", path, line, msg)
}

// fields lists the keys of t and of all that is in it.
func fields(t reflect.Type, into []string) []string {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		return fields(t.Elem(), into)
	case reflect.Struct:
		for f := range t.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			if name != "" && !slices.Contains(into, name) {
				into = fields(f.Type, append(into, name))
			}
		}
	}
	return into
}

// oneOf tells what may be meant by word: the nearest of known, or all of them.
func oneOf(word string, known []string, what string) string {
	if len(known) == 0 {
		return "there are no " + what
	}
	if near := device.Nearest(word, known); near != "" {
		return fmt.Sprintf("did you mean %s?", near)
	}
	return fmt.Sprintf("the %s are %s", what, strings.Join(known, ", "))
}

func keys[V any](m map[string]V) []string {
	var ks []string
	for k := range m {
		ks = append(ks, k)
	}
	slices.Sort(ks)
	return ks
}

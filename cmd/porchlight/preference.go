package main

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"github.com/goccy/go-yaml"

	"porchlight/broker/api"
	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/policy"
)

type homeSetCmd struct {
	Name        string          `arg:"" help:"The home's name."`
	Quiet       []quietFlag     `help:"A quiet time. May be given several times; all together replace those before." sep:"none" placeholder:"TIME" xor:"quiet"`
	NoQuiet     bool            `help:"No quiet time." xor:"quiet"`
	Dim         []quietFlag     `help:"When screens are dark: messages come, and are drawn darker. May be given several times; all together replace those before." sep:"none" placeholder:"TIME" xor:"dim"`
	NoDim       bool            `help:"Screens are never dark." xor:"dim"`
	Cap         []capFlag       `help:"At most so many messages. May be given several times; all together replace those before." sep:"none" placeholder:"CAP" xor:"cap"`
	NoCap       bool            `help:"No cap at all." xor:"cap"`
	DefaultCaps bool            `help:"The caps that a new home has." xor:"cap"`
	Spacing     *howLong        `help:"At least so long between any two messages, as 45m: a short form of --cap 1/45m that leaves the other caps as they are." placeholder:"TIME" xor:"spacing"`
	NoSpacing   bool            `help:"Messages may follow each other at once, as far as the other caps let them." xor:"spacing"`
	Mute        []muteFlag      `help:"What is not to be shown. May be given several times; all together replace those before." sep:"none" placeholder:"WHAT" xor:"mute"`
	NoMute      bool            `help:"Mute nothing." xor:"mute"`
	Moment      []policy.Moment `help:"In which moments nothing is shown: film, call, sleep. A new home has all three." placeholder:"MOMENT" xor:"moment"`
	NoMoment    bool            `help:"No moment holds messages back." xor:"moment"`
	Channel     []channelFlag   `help:"Where messages are liked: by everybody, or by one person. May be given several times; all together replace those before." sep:"none" placeholder:"CLASSES" xor:"channel"`
	NoChannel   bool            `help:"On every screen alike." xor:"channel"`
	Language    []string        `help:"In which languages messages come, as de,en: the preferred first." placeholder:"TAG" xor:"language"`
	NoLanguage  bool            `help:"In the language that each device prefers." xor:"language"`
	Asking      bool            `help:"Ask by itself, on a screen, when a message waits for nothing but a yes." xor:"asking"`
	NoAsking    bool            `help:"Ask only when somebody has it asked, as a new home does." xor:"asking"`
	Freeze      bool            `help:"Show nothing, ask nothing and learn nothing, until --unfreeze." xor:"frozen"`
	Unfreeze    bool            `help:"Go on." xor:"frozen"`
}

// Help is called by the parser: how the values are written.
func (homeSetCmd) Help() string {
	return `Quiet and dim times are written [PERSON:][DAYS@]HH:MM-HH:MM[/ZONE], in the home's time zone if none is named:
  22:00-07:00                                     every night
  sat,sun@00:00-09:00                             Saturday and Sunday, until nine
  00:00-00:00                                     the whole day
  Anna:sat,sun@21:00-09:00/Europe/Lisbon          Anna's, where she is or may be, by the clocks of Lisbon

Caps are written [WHICH,...]N/day, N/week (from Monday on), N/HOURSh, N/MINUTESm or, of a car, N/trip, with each= before N for each
brand by itself, and each-category= for each category:
  3/day   5/week   10/168h   1/45m                all messages together
  each=1/day   fresh=2/day   each-category=1/day  each brand; the brand fresh; each category
  class=car,1/trip                                on one trip of a car
  class=tv,2/day   owner=Anna,each=1/day          on televisions; in front of Anna

Mutes are all, or WHICH,...; content= takes only that away; until= is when they end:
  brand=fresh,class=tv
  purpose=marketing,room=kitchen,until=2h
  all,content=sound+picture,owner=Anna,until=tomorrow

Channels are written [PERSON:]CLASS,CLASS, the most liked first; what is not named is liked least:
  display,tv                                      by everybody who has not said otherwise
  Anna:companion,tv                               where Anna is

WHICH is one or more of brand=ID, purpose=PURPOSE, category=NAME, class=CLASS, device=NAME, room=NAME, and owner=PERSON.
until= takes a time such as 2030-12-24T18:00:00Z, a date, a length of time such as 90m, 2h or 7d, or tomorrow (at 8 in the morning).
What somebody owns counts where they are, or may be. In a name, write \, for a comma and \\ for \.`
}

// preferences are what the flags say.
func (c *homeSetCmd) preferences() (p delivery.Preferences) {
	if len(c.Quiet) > 0 || c.NoQuiet {
		p.Quiet = []delivery.NamedQuiet{}
		for _, q := range c.Quiet {
			p.Quiet = append(p.Quiet, delivery.NamedQuiet(q))
		}
	}
	if len(c.Dim) > 0 || c.NoDim {
		p.Dim = []delivery.NamedQuiet{}
		for _, q := range c.Dim {
			p.Dim = append(p.Dim, delivery.NamedQuiet(q))
		}
	}
	if len(c.Cap) > 0 || c.NoCap {
		p.Caps = []delivery.NamedCap{}
		for _, one := range c.Cap {
			p.Caps = append(p.Caps, delivery.NamedCap(one))
		}
	}
	if c.DefaultCaps {
		p.Caps = delivery.DefaultPreferences().Caps
	}
	if c.Spacing != nil {
		p.Spacing = new(int(time.Duration(*c.Spacing) / time.Minute))
	} else if c.NoSpacing {
		p.Spacing = new(0)
	}
	if len(c.Mute) > 0 || c.NoMute {
		p.Mutes = []delivery.NamedMute{}
		for _, m := range c.Mute {
			p.Mutes = append(p.Mutes, delivery.NamedMute(m))
		}
	}
	if len(c.Moment) > 0 || c.NoMoment {
		p.Moments = append([]policy.Moment{}, c.Moment...)
	}
	if len(c.Channel) > 0 || c.NoChannel {
		p.Channels = []delivery.NamedChannel{}
		for _, one := range c.Channel {
			p.Channels = append(p.Channels, delivery.NamedChannel(one))
		}
	}
	if len(c.Language) > 0 || c.NoLanguage {
		p.Languages = append([]string{}, c.Language...)
	}
	if c.Asking || c.NoAsking {
		p.Asking = &c.Asking
	}
	if c.Freeze || c.Unfreeze {
		p.Frozen = &c.Freeze
	}
	return p
}

// Validate is called by the parser.
func (c *homeSetCmd) Validate() error {
	if d := c.Spacing; d != nil && (*d <= 0 || *d%howLong(time.Minute) != 0 || *d > howLong(24*time.Hour)) {
		return fmt.Errorf("--spacing %s: use whole minutes, 1m to 24h, or --no-spacing for none", *d)
	}
	if reflect.DeepEqual(c.preferences(), delivery.Preferences{}) {
		return errors.New("say what to set: see --help")
	}
	return nil
}

// Run sets preferences.
func (c *homeSetCmd) Run(e *env) error {
	p := c.preferences()
	if _, err := ask[api.None](e, "preferences/set", api.PreferencesSet{Home: c.Name, Preferences: p}); err != nil {
		return err
	}
	if p.Mutes != nil {
		is, err := ask[delivery.Preferences](e, "preferences/show", api.Named{Name: c.Name})
		if err != nil {
			return err
		}
		for _, m := range is.Mutes {
			if snooze := (delivery.NamedMute{Until: m.Until, Owner: m.Owner}); m.Until != "" && reflect.DeepEqual(m, snooze) {
				person := ""
				if m.Owner != "" {
					person = " --person " + m.Owner
				}
				fmt.Fprintf(e.errs, "porchlight: it is snoozed until %s all the same: porchlight home snooze %s off%s ends that\n", m.Until, c.Name, person)
			}
		}
	}
	return warnBrands(e, p)
}

// warnBrands says which brands of p there are none of: a home may say no to one that has not come yet, or has gone.
func warnBrands(e *env, p delivery.Preferences) error {
	var named []device.BrandID
	for _, c := range p.Caps {
		named = append(named, c.Brand)
	}
	for _, m := range p.Mutes {
		named = append(named, m.Brand)
	}
	named = slices.DeleteFunc(named, func(b device.BrandID) bool { return b == "" })
	if len(named) == 0 {
		return nil
	}
	all, err := ask[[]registry.Brand](e, "brand/list", api.None{})
	if err != nil {
		return err
	}
	var known []string
	for _, b := range all {
		known = append(known, string(b.ID))
	}
	for _, b := range named {
		if slices.Contains(known, string(b)) {
			continue
		}
		fix := ""
		if near := device.Nearest(string(b), known); near != "" {
			fix = ": did you mean " + near + "?"
		}
		fmt.Fprintf(e.errs, "porchlight: it is set, and no brand %s is known%s\n", b, fix)
	}
	return nil
}

// quietFlag is a quiet time as it is typed.
type quietFlag delivery.NamedQuiet

// The owner takes all that it can: what follows fits in one place alone.
var quietRE = regexp.MustCompile(`^(?:(.*):)?(?:([A-Za-z,]+)@)?([0-9]{2}:[0-9]{2})-([0-9]{2}:[0-9]{2})(?:/(.+))?$`)

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// UnmarshalText reads [PERSON:][DAYS@]HH:MM-HH:MM[/ZONE].
func (q *quietFlag) UnmarshalText(b []byte) error {
	m := quietRE.FindStringSubmatch(string(b))
	if m == nil {
		return fmt.Errorf("quiet time %q is not HH:MM-HH:MM, as in 22:00-07:00, with a person and :, days and @ before it, or / and a zone after it", b)
	}
	*q = quietFlag{Owner: m[1], From: m[3], To: m[4], Zone: m[5]}
	if q.From == q.To && q.From != "00:00" {
		return fmt.Errorf("quiet time %q ends as it begins: for the whole day write 00:00-00:00", b)
	}
	for _, t := range m[3:5] {
		if _, err := time.Parse("15:04", t); err != nil {
			return fmt.Errorf("quiet time %q is not HH:MM-HH:MM: there is no %s", b, t)
		}
	}
	if m[2] == "" {
		return nil
	}
	for _, day := range strings.Split(strings.ToLower(m[2]), ",") {
		if !slices.Contains(weekdays, day) {
			return fmt.Errorf("quiet time %q: day %q is unknown: use %s", b, day, strings.Join(weekdays, ", "))
		}
		q.Days = append(q.Days, day)
	}
	return nil
}

// pieces splits a flag at its commas. A comma or a backslash after a backslash is one of a name.
func pieces(text string) (all []string) {
	var one strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text):
			i++
			one.WriteByte(text[i])
		case c == ',':
			all = append(all, one.String())
			one.Reset()
		default:
			one.WriteByte(c)
		}
	}
	return append(all, one.String())
}

// which reads KEY=VALUE of what picks messages and screens, or owner=; ok is false if it is none.
func which(s *delivery.NamedSelector, owner *string, key, value string) (ok bool, err error) {
	switch key {
	case "brand":
		s.Brand, err = device.ParseBrandID(value)
	case "purpose":
		s.Purpose, err = policy.ParsePurpose(value)
	case "category":
		s.Category = value
	case "class":
		s.Class, err = device.ParseClass(value)
	case "device":
		s.Device = value
	case "room":
		s.Room = value
	case "owner":
		*owner = value
	default:
		return false, nil
	}
	if err == nil && value == "" {
		err = fmt.Errorf("%s= says nothing", key)
	}
	return true, err
}

// capFlag is a cap as it is typed.
type capFlag delivery.NamedCap

// Decode is called by the parser.
func (c *capFlag) Decode(ctx *kong.DecodeContext) error { return c.UnmarshalText([]byte(typed(ctx))) }

// UnmarshalText reads [KEY=VALUE,...][each=|BRAND=]N/WINDOW.
func (c *capFlag) UnmarshalText(b []byte) error {
	bad := fmt.Errorf("cap %q is not N/day, N/week, N/trip, N/HOURSh or N/MINUTESm, as in 3/day, 10/168h or 1/45m, with each=, each-category= or a brand's ID and = before it, and KEY=VALUE, before that", b)
	*c = capFlag{}
	parts := pieces(string(b))
	last := len(parts) - 1
	for _, part := range parts[:last] {
		key, value, _ := strings.Cut(part, "=")
		if ok, err := which(&c.NamedSelector, &c.Owner, key, value); err != nil {
			return fmt.Errorf("cap %q: %w", b, err)
		} else if !ok {
			return bad
		}
	}
	text := parts[last]
	if who, rest, ok := strings.Cut(text, "="); ok {
		text = rest
		c.Each, c.EachCategory = who == "each", who == "each-category"
		if !c.Each && !c.EachCategory {
			id, err := device.ParseBrandID(who)
			if err != nil {
				return fmt.Errorf("cap %q: %w", b, err)
			}
			c.Brand = id
		}
	}
	n, per, ok := strings.Cut(text, "/")
	var err error
	if c.Max, err = strconv.Atoi(n); !ok || err != nil || c.Max < 0 || !perRE.MatchString(per) {
		return bad
	}
	c.Per = per
	return nil
}

var perRE = regexp.MustCompile(`^(day|week|trip|[1-9][0-9]*[hm])$`)

// muteFlag is a mute as it is typed.
type muteFlag delivery.NamedMute

// UnmarshalText reads all, or KEY=VALUE,KEY=VALUE.
func (m *muteFlag) UnmarshalText(b []byte) error {
	*m = muteFlag{}
	for i, part := range pieces(string(b)) {
		if part == "all" && i == 0 {
			continue
		}
		key, value, _ := strings.Cut(part, "=")
		ok, err := which(&m.NamedSelector, &m.Owner, key, value)
		switch {
		case ok:
		case key == "until":
			m.Until = value
		case key == "content":
			m.Content = strings.Split(value, "+")
			for _, c := range m.Content {
				if !slices.Contains([]string{"words", "picture", "sound"}, c) {
					err = fmt.Errorf("content %q is unknown: use words, picture or sound, several with + between", c)
				}
			}
		default:
			err = errors.New("use brand, purpose, category, class, device, room, content, owner or until, each with =VALUE, or all")
		}
		if err != nil {
			return fmt.Errorf("mute %q: %w", b, err)
		}
	}
	return nil
}

// channelFlag is where messages are liked, as it is typed.
type channelFlag delivery.NamedChannel

// UnmarshalText reads [PERSON:]CLASS,CLASS.
func (c *channelFlag) UnmarshalText(b []byte) error {
	*c = channelFlag{}
	list := string(b)
	if i := strings.LastIndexByte(list, ':'); i >= 0 {
		c.Owner, list = list[:i], list[i+1:]
	}
	for _, name := range strings.Split(list, ",") {
		class, err := device.ParseClass(name)
		if err != nil {
			return fmt.Errorf("channel %q: %w", b, err)
		}
		c.Classes = append(c.Classes, class)
	}
	return nil
}

type homeSnoozeCmd struct {
	Name   string `arg:"" help:"The home's name."`
	Until  string `arg:"" help:"How long, as 90m, 2h or 7d; until when, as 2030-12-24T18:00:00Z, a date, or tomorrow (at 8 in the morning); or off."`
	Person string `help:"Only where this person is, or may be." placeholder:"PERSON"`
}

// Run silences a home.
func (c *homeSnoozeCmd) Run(e *env) error {
	in := api.Snooze{Home: c.Name, Person: c.Person, Until: c.Until}
	if c.Until == "off" {
		in.Until = ""
	}
	done, err := ask[api.Snoozed](e, "home/snooze", in)
	var wrong delivery.Invalid
	switch {
	case errors.As(err, &wrong) && wrong[0].Field == "until":
		return fmt.Errorf("%w; to end a snooze say off", err)
	case err != nil:
		return err
	case done.Until == 0:
		fmt.Fprintln(e.out, "not snoozed any more")
	default:
		fmt.Fprintln(e.out, "snoozed until", done.Until.Time().Format(time.RFC3339))
	}
	return nil
}

type preferencesCmd struct {
	Export preferencesExportCmd `cmd:"" help:"Print all that a home wants, as YAML."`
	Import preferencesImportCmd `cmd:"" help:"Set what a file says, as export prints it, all of it or nothing. What the file leaves out stays as it is."`
}

type preferencesExportCmd struct {
	Home string `arg:"" help:"The home's name."`
	JSON bool   `help:"Print JSON."`
}

// Run prints preferences.
func (c *preferencesExportCmd) Run(e *env) error {
	p, err := ask[delivery.Preferences](e, "preferences/show", api.Named{Name: c.Home})
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(e.out, p)
	}
	raw, err := yaml.MarshalWithOptions(p, yaml.UseJSONMarshaler(), yaml.IndentSequence(true))
	if err != nil {
		return fmt.Errorf("export preferences: %w", err)
	}
	_, err = fmt.Fprintf(e.out, "# What a home wants. To set it: porchlight home preferences import HOME FILE\n%s", raw)
	return err
}

type preferencesImportCmd struct {
	Home string `arg:"" help:"The home's name."`
	File string `arg:"" help:"Preferences in YAML or JSON; - is standard input."`
}

// Run sets what a file says.
func (c *preferencesImportCmd) Run(e *env) error {
	f, err := e.readYAML(c.File)
	if err != nil {
		return fmt.Errorf("import preferences: %w", err)
	}
	if err := f.be(preferencesFile); err != nil {
		return fmt.Errorf("import preferences: %w", err)
	}
	var p delivery.Preferences
	if err := f.decode(&p); err != nil {
		return fmt.Errorf("import preferences: %w", err)
	}
	if reflect.DeepEqual(p, delivery.Preferences{}) {
		return fmt.Errorf("import preferences: %s says nothing", f.path)
	}
	_, err = ask[api.None](e, "preferences/set", api.PreferencesSet{Home: c.Home, Preferences: p})
	return f.explain(err)
}

// maxFile is how large a file may be: twice what the gateway takes as JSON, for comments.
const maxFile = 2 * delivery.MaxSubmission

// readFile reads a file that is given on the command line; - is standard input. name is what to call
// it in errors.
func (e *env) readFile(path string) (raw []byte, name string, err error) {
	in, name := e.in, "standard input"
	if path != "-" {
		f, err := openFile(path)
		if err != nil {
			return nil, path, err
		}
		defer f.Close()
		in, name = f, path
	}
	raw, err = io.ReadAll(io.LimitReader(in, maxFile+1))
	if err == nil && len(raw) > maxFile {
		err = fmt.Errorf("%s is larger than %d bytes: is it the right one?", name, maxFile)
	}
	return raw, name, cannotRead(name, err)
}

func (e *env) readYAML(path string) (*yamlFile, error) {
	raw, name, err := e.readFile(path)
	if err != nil {
		return nil, err
	}
	return parseYAML(name, raw)
}

package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"porchlight/broker/api"
	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/firmware-sim/sim"
	"porchlight/policy"
)

type homeCmd struct {
	Add    homeAddCmd    `cmd:"" help:"Add a home, by name, or with all that is in a home file."`
	List   homeListCmd   `cmd:"" help:"List the homes."`
	Remove homeRemoveCmd `cmd:"" help:"Remove a home and all that is known about it."`
	Set    homeSetCmd    `cmd:"" help:"Set a home's quiet times, mutes and caps."`
	Init   homeInitCmd   `cmd:"" help:"Print the one-time code with which a home's first trusted device is let in."`
}

type homeAddCmd struct {
	Name        string `arg:"" optional:"" help:"What you call it."`
	Zone        string `help:"IANA time zone, such as Europe/Zurich." placeholder:"ZONE"`
	File        string `help:"Home file, as configs/homes/family.yaml." placeholder:"FILE"`
	Credentials string `help:"With --file: where to write what its devices log in with; default DATA/credentials/NAME.yaml." placeholder:"FILE"`
}

// Validate is called by the parser.
func (c *homeAddCmd) Validate() error {
	switch {
	case c.File != "" && (c.Name != "" || c.Zone != ""):
		return errors.New("a home file has its own name and zone: give --file alone")
	case c.File == "" && c.Name == "":
		return errors.New("give the home's NAME, or a --file")
	case c.File == "" && c.Zone == "":
		return errors.New("a home has a time zone: give --zone, such as --zone Europe/Zurich")
	case c.File == "" && c.Credentials != "":
		return errors.New("--credentials goes with --file")
	}
	return nil
}

// Run adds the home.
func (c *homeAddCmd) Run(e *env) error {
	if c.File == "" {
		_, err := ask[api.HomeAdded](e, "home/add", delivery.HomeSpec{Name: c.Name, Zone: c.Zone})
		return err
	}
	h, err := sim.ReadHome(c.File)
	if err != nil {
		return err
	}
	path := c.Credentials
	if path == "" {
		path = filepath.Join(e.data, "credentials", h.Name+".yaml")
	}
	path, err = filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("write credentials: %w", err)
	}
	status, err := ask[api.Status](e, "status", api.None{})
	if err != nil {
		return err
	}
	// Before the home is there: tokens that cannot be written down are lost.
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("write credentials: %w", err)
	}
	added, err := ask[api.HomeAdded](e, "home/add", homeSpec(h))
	if err != nil {
		return err
	}
	if err := sim.WriteCredentials(path, credentials(status.Gateway, added.Devices)); err != nil {
		_, undo := ask[api.None](e, "home/remove", api.Named{Name: h.Name})
		return errors.Join(err, undo)
	}
	fmt.Fprintln(e.out, path)
	return nil
}

func homeSpec(h sim.Home) delivery.HomeSpec {
	s := delivery.HomeSpec{Name: h.Name, Zone: h.Zone, Rooms: h.Rooms}
	for _, p := range h.People {
		s.People = append(s.People, delivery.PersonSpec{Name: p.Name, Age: p.Age})
	}
	for _, t := range h.Devices {
		s.Devices = append(s.Devices, delivery.DeviceSpec{Class: t.Class, Name: t.Name, Room: t.Room, Owner: t.Owner, Controller: t.Controller})
	}
	return s
}

// credentials are what the devices of a home log in with, and where.
func credentials(g api.Gateway, devices []delivery.Enrolled) sim.Credentials {
	c := sim.Credentials{Gateway: deviceURL(g), CA: g.CA, Devices: map[string]sim.Credential{}}
	for _, d := range devices {
		c.Devices[d.Name] = sim.Credential{ID: d.ID, Token: d.Token}
	}
	return c
}

type homeListCmd struct {
	JSON bool `help:"Print JSON."`
}

// Run lists the homes.
func (c *homeListCmd) Run(e *env) error {
	return list(e, c.JSON, "home/list", api.None{}, "NAME\tZONE\tNUMBER", func(h registry.Home) string {
		return fmt.Sprintf("%s\t%s\t%d", h.Name, h.Zone, h.ID)
	})
}

type homeRemoveCmd struct {
	Name string `arg:"" help:"The home's name."`
}

// Run removes a home.
func (c *homeRemoveCmd) Run(e *env) error {
	_, err := ask[api.None](e, "home/remove", api.Named{Name: c.Name})
	return err
}

type homeSetCmd struct {
	Name        string      `arg:"" help:"The home's name."`
	Quiet       []quietFlag `help:"A quiet time, such as 22:00-07:00 or sat,sun@21:00-09:00. May be given several times; all together replace those before." sep:"none" placeholder:"TIME" xor:"quiet"`
	NoQuiet     bool        `help:"No quiet time." xor:"quiet"`
	Cap         []capFlag   `help:"At most so many messages, such as 3/day or 10/168h for all brands together, each=1/day for each brand, fresh=2/day for the brand fresh. May be given several times." sep:"none" placeholder:"CAP" xor:"cap"`
	NoCap       bool        `help:"No cap at all." xor:"cap"`
	DefaultCaps bool        `help:"The caps that a new home has." xor:"cap"`
	Mute        []muteFlag  `help:"What is not to be shown, such as brand=fresh,class=tv or category=groceries,until=2026-12-24T18:00:00Z. May be given several times." sep:"none" placeholder:"WHAT" xor:"mute"`
	NoMute      bool        `help:"Mute nothing." xor:"mute"`
}

// Validate is called by the parser.
func (c *homeSetCmd) Validate() error {
	if len(c.Quiet)+len(c.Cap)+len(c.Mute) == 0 && !c.NoQuiet && !c.NoCap && !c.NoMute && !c.DefaultCaps {
		return errors.New("say what to set: --quiet, --cap or --mute, or --no-quiet, --no-cap, --default-caps, --no-mute")
	}
	return nil
}

// Run sets preferences.
func (c *homeSetCmd) Run(e *env) error {
	in := api.HomeSet{Name: c.Name}
	if len(c.Quiet) > 0 || c.NoQuiet {
		quiet := []policy.Quiet{}
		for _, q := range c.Quiet {
			quiet = append(quiet, policy.Quiet(q))
		}
		in.Quiet = &quiet
	}
	if len(c.Cap) > 0 || c.NoCap || c.DefaultCaps {
		caps := []policy.Cap{}
		for _, each := range c.Cap {
			caps = append(caps, policy.Cap(each))
		}
		if c.DefaultCaps {
			caps = delivery.DefaultCaps()
		}
		in.Caps = &caps
	}
	if len(c.Mute) > 0 || c.NoMute {
		mutes := []policy.MuteRule{}
		for _, m := range c.Mute {
			mutes = append(mutes, policy.MuteRule(m))
		}
		in.Mutes = &mutes
	}
	_, err := ask[api.None](e, "home/set", in)
	return err
}

// quietFlag is a quiet time as it is typed.
type quietFlag policy.Quiet

var days = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// UnmarshalText reads [DAY,DAY@]HH:MM-HH:MM.
func (q *quietFlag) UnmarshalText(b []byte) error {
	text := string(b)
	if on, rest, ok := strings.Cut(text, "@"); ok {
		text = rest
		for _, name := range strings.Split(on, ",") {
			bit := -1
			for i, day := range days {
				if strings.EqualFold(name, day) {
					bit = i
				}
			}
			if bit < 0 {
				return fmt.Errorf("quiet time %q: day %q is unknown: use %s", b, name, strings.Join(days, ", "))
			}
			q.Days |= 1 << bit
		}
	}
	from, to, ok := strings.Cut(text, "-")
	start, err1 := time.Parse("15:04", from)
	end, err2 := time.Parse("15:04", to)
	if !ok || err1 != nil || err2 != nil {
		return fmt.Errorf("quiet time %q is not HH:MM-HH:MM, as in 22:00-07:00", b)
	}
	q.Start, q.End = start.Hour()*60+start.Minute(), end.Hour()*60+end.Minute()
	return nil
}

// capFlag is a cap as it is typed.
type capFlag policy.Cap

// UnmarshalText reads [WHO=]N/day or [WHO=]N/HOURSh.
func (c *capFlag) UnmarshalText(b []byte) error {
	bad := fmt.Errorf("cap %q is not N/day or N/HOURSh, as in 3/day or 10/168h, with each= or a brand's ID and = before it", b)
	text := string(b)
	if who, rest, ok := strings.Cut(text, "="); ok {
		text = rest
		if c.Each = who == "each"; !c.Each {
			id, err := device.ParseBrandID(who)
			if err != nil {
				return fmt.Errorf("cap %q: %w", b, err)
			}
			c.Brand = id
		}
	}
	n, window, ok := strings.Cut(text, "/")
	if !ok {
		return bad
	}
	var err error
	if c.Max, err = strconv.Atoi(n); err != nil {
		return bad
	}
	if window == "day" {
		return nil
	}
	hours, ok := strings.CutSuffix(window, "h")
	if c.Hours, err = strconv.Atoi(hours); !ok || err != nil || c.Hours < 1 {
		return bad
	}
	return nil
}

// muteFlag is a mute as it is typed.
type muteFlag policy.MuteRule

// UnmarshalText reads KEY=VALUE,KEY=VALUE.
func (m *muteFlag) UnmarshalText(b []byte) error {
	if string(b) == "all" {
		return nil
	}
	for _, part := range strings.Split(string(b), ",") {
		key, value, _ := strings.Cut(part, "=")
		var err error
		switch key {
		case "brand":
			m.Brand, err = device.ParseBrandID(value)
		case "purpose":
			m.Purpose, err = policy.ParsePurpose(value)
		case "category":
			m.Category = value
		case "class":
			m.Class, err = device.ParseClass(value)
		case "device":
			m.Device, err = device.ParseID(value)
		case "until":
			var t time.Time
			t, err = time.Parse(time.RFC3339, value)
			m.Until = device.At(t)
		default:
			err = errors.New("use brand, purpose, category, class, device or until, each with =VALUE, or all by itself")
		}
		if err != nil {
			return fmt.Errorf("mute %q: %w", b, err)
		}
	}
	return nil
}

type personCmd struct {
	Add    personAddCmd    `cmd:"" help:"Add somebody to a home."`
	List   personListCmd   `cmd:"" help:"List who lives in a home."`
	Remove personRemoveCmd `cmd:"" help:"Remove somebody from a home."`
}

type personAddCmd struct {
	Name     string     `arg:"" help:"What you call them."`
	Home     string     `required:"" help:"The home's name." placeholder:"HOME"`
	Age      device.Age `help:"adult, teen, child or unknown; somebody unknown is perhaps a child." default:"adult" placeholder:"AGE"`
	Guardian []string   `help:"An adult of the home who chooses for a child; may be given several times." placeholder:"PERSON"`
	Language []string   `help:"A language that they read, such as de; the preferred first." placeholder:"TAG"`
}

// Run adds a person.
func (c *personAddCmd) Run(e *env) error {
	_, err := ask[registry.Person](e, "person/add", api.PersonAdd{Home: c.Home, Person: delivery.PersonSpec{Name: c.Name, Age: c.Age, Guardians: c.Guardian, Languages: c.Language}})
	return err
}

type personListCmd struct {
	Home string `required:"" help:"The home's name." placeholder:"HOME"`
	JSON bool   `help:"Print JSON."`
}

// Run lists people.
func (c *personListCmd) Run(e *env) error {
	return list(e, c.JSON, "person/list", api.InHome{Home: c.Home}, "NAME\tNUMBER", func(p registry.Person) string {
		return fmt.Sprintf("%s\t%d", p.Name, p.ID)
	})
}

type personRemoveCmd struct {
	Name string `arg:"" help:"The person's name."`
	Home string `required:"" help:"The home's name." placeholder:"HOME"`
}

// Run removes a person.
func (c *personRemoveCmd) Run(e *env) error {
	_, err := ask[api.None](e, "person/remove", api.InHome{Home: c.Home, Name: c.Name})
	return err
}

type deviceCmd struct {
	Add    deviceAddCmd    `cmd:"" help:"Add a device; prints its ID and its token, once."`
	List   deviceListCmd   `cmd:"" help:"List the devices of a home and how they are."`
	Remove deviceRemoveCmd `cmd:"" help:"Remove a device: it is disconnected and its credentials are void."`
	Wipe   deviceWipeCmd   `cmd:"" help:"Tell a device to forget everything, and remove it."`
	Token  deviceTokenCmd  `cmd:"" help:"Give a device a new token; every credential that it had is void."`
}

type deviceAddCmd struct {
	Home       string       `required:"" help:"The home's name." placeholder:"HOME"`
	Class      device.Class `required:"" help:"What it is: tv, speaker, console, car, fridge, washer, dryer, dishwasher, oven, display, companion, other." placeholder:"CLASS"`
	Name       string       `help:"What people call it; default its class." placeholder:"NAME"`
	Room       string       `help:"Where it stands." placeholder:"ROOM"`
	Owner      string       `help:"The person it belongs to; default everybody." placeholder:"PERSON"`
	Controller bool         `help:"It may widen what the home permits, not only restrict."`
	Until      *time.Time   `help:"A guest's device: it is removed then, as 2026-12-24T18:00:00Z." placeholder:"TIME"`
	ID         string       `name:"id" help:"Its ID; default a new one." placeholder:"ID"`
	JSON       bool         `help:"Print JSON."`
}

// Run adds a device.
func (c *deviceAddCmd) Run(e *env) error {
	added, err := ask[delivery.Enrolled](e, "device/add", api.DeviceAdd{Home: c.Home, Device: delivery.DeviceSpec{
		ID: device.ID(c.ID), Class: c.Class, Name: c.Name, Room: c.Room, Owner: c.Owner, Controller: c.Controller, Until: instant(c.Until),
	}})
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(e.out, added)
	}
	t := table(e.out)
	fmt.Fprintf(t, "id\t%s\ntoken\t%s\n", added.ID, added.Token)
	return t.Flush()
}

// instant is a time of the command line; none is 0.
func instant(t *time.Time) device.Instant {
	if t == nil {
		return 0
	}
	return device.At(*t)
}

type deviceListCmd struct {
	Home string `required:"" help:"The home's name." placeholder:"HOME"`
	JSON bool   `help:"Print JSON."`
}

// Run lists devices.
func (c *deviceListCmd) Run(e *env) error {
	return list(e, c.JSON, "device/list", api.InHome{Home: c.Home}, "ID\tCLASS\tNAME\tROOM\tOWNER\tCONTROLLER\tSTATE\tMESSAGES\tUNTIL", func(d delivery.DeviceState) string {
		state, controller, until := "away", "no", "-"
		if d.Until != 0 {
			until = d.Until.Time().Format(time.RFC3339)
		}
		switch {
		case d.Ready:
			state = "ready"
		case d.Connected:
			state = "connected"
		}
		if d.Controller {
			controller = "yes"
		}
		return strings.Join([]string{string(d.ID), d.Class.String(), d.Name, dash(d.RoomName), dash(d.OwnerName), controller, state, strconv.Itoa(len(d.Showing)), until}, "\t")
	})
}

type deviceRemoveCmd struct {
	ID string `arg:"" help:"The device's ID."`
}

// Run removes a device.
func (c *deviceRemoveCmd) Run(e *env) error {
	_, err := ask[api.None](e, "device/remove", api.DeviceRef{ID: device.ID(c.ID)})
	return err
}

// host is an address that this machine can dial, made of one that it listens on.
func host(listen string) string {
	name, port, err := net.SplitHostPort(listen)
	if ip := net.ParseIP(name); err == nil && (name == "" || ip != nil && ip.IsUnspecified()) {
		return net.JoinHostPort("localhost", port)
	}
	return listen
}

// deviceURL is where a device on this machine connects best.
func deviceURL(g api.Gateway) string {
	for _, scheme := range []string{"mqtts", "mqtt", "wss", "ws"} {
		if a := g.Listeners[scheme]; a != "" {
			return scheme + "://" + host(a)
		}
	}
	return ""
}

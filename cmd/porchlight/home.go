package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"porchlight/broker/api"
	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/firmware-sim/sim"
)

type homeCmd struct {
	Add    homeAddCmd    `cmd:"" help:"Add a home, by name, or with all that is in a home file."`
	List   homeListCmd   `cmd:"" help:"List the homes."`
	Show   homeShowCmd   `cmd:"" help:"Show a home at a glance: its people, devices, preferences and choices."`
	Remove homeRemoveCmd `cmd:"" help:"Remove a home and all that is known about it."`
	Set    homeSetCmd    `cmd:"" help:"Set what a home wants: quiet times, caps, mutes, moments, languages."`
	Snooze homeSnoozeCmd `cmd:"" help:"Show nothing for a while."`
	Init   homeInitCmd   `cmd:"" help:"Print the one-time code with which a home's first trusted device is let in."`

	Got      homeGotCmd      `cmd:"" help:"Say that somebody has got something: it is not advertised there for 14 days."`
	Complain homeComplainCmd `cmd:"" help:"Say that something went wrong with a brand: its advertising pauses until home resolve."`
	Resolve  homeResolveCmd  `cmd:"" help:"Say that what went wrong with a brand is put right."`

	Preferences preferencesCmd `cmd:"" help:"All that a home wants, as a file."`
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
	raw, err := readNamed(c.File)
	if err != nil {
		return err
	}
	if f, err := parseYAML(c.File, raw); err == nil { // what is wrong with it otherwise is told with the rest
		if err := f.be(homeFile); err != nil {
			return err
		}
	}
	h, err := sim.ParseHome(c.File, raw)
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
		return fmt.Errorf("write credentials: %w", cannotWrite(path, err))
	}
	added, err := ask[api.HomeAdded](e, "home/add", homeSpec(h))
	if err != nil {
		return err
	}
	if err := sim.WriteCredentials(path, credentials(status.Gateway, added.Devices)); err != nil {
		_, undo := ask[api.None](e, "home/remove", api.Named{Name: h.Name})
		return errors.Join(fmt.Errorf("write credentials: %w", cannotWrite(path, err)), undo)
	}
	if c.Credentials == "" { // in the data folder, whose owner makes backups of it
		if err := giveTo(e.data, filepath.Dir(path)); err != nil {
			return fmt.Errorf("write credentials: %w", err)
		}
	}
	fmt.Fprintln(e.out, path)
	return nil
}

func homeSpec(h sim.Home) delivery.HomeSpec {
	s := delivery.HomeSpec{Name: h.Name, Zone: h.Zone, Rooms: h.Rooms}
	for _, p := range h.People {
		s.People = append(s.People, delivery.PersonSpec{Name: p.Name, Age: p.Age, Guardians: p.Guardians})
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
	sureFlags
}

// Run removes a home.
func (c *homeRemoveCmd) Run(e *env) error {
	h, err := ask[delivery.HomeState](e, "home/show", api.Named{Name: c.Name})
	if err != nil {
		return err
	}
	what := "home " + h.Name + along(people(len(h.People)), count(len(h.Devices), "device"), count(len(h.Consents), "choice"), onScreens(h.Devices...))
	return c.remove(e, "home/remove", api.Named{Name: c.Name}, c.Name, what,
		"All that was ever said and shown there is erased for good, and what its devices log in with is void.")
}

type homeGotCmd struct {
	Home string `arg:"" help:"The home's name."`
	Item string `arg:"" help:"What it is, as messages name it: a GTIN, for instance."`
}

// Run says that somebody has got something.
func (c *homeGotCmd) Run(e *env) error {
	_, err := ask[api.None](e, "home/got", api.Got{Home: c.Home, Item: c.Item})
	return err
}

type homeComplainCmd struct {
	Home  string         `arg:"" help:"The home's name."`
	Brand device.BrandID `arg:"" help:"The brand."`
}

// Run pauses a brand's advertising.
func (c *homeComplainCmd) Run(e *env) error {
	_, err := ask[api.None](e, "home/complain", api.Complaint{Home: c.Home, Brand: c.Brand})
	return err
}

type homeResolveCmd struct {
	Home  string         `arg:"" help:"The home's name."`
	Brand device.BrandID `arg:"" help:"The brand."`
}

// Run ends that pause.
func (c *homeResolveCmd) Run(e *env) error {
	_, err := ask[api.None](e, "home/resolve", api.Complaint{Home: c.Home, Brand: c.Brand})
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

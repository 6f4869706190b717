package main

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"porchlight/broker/api"
	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/registry"
)

type personCmd struct {
	Add    personAddCmd    `cmd:"" help:"Add somebody to a home."`
	List   personListCmd   `cmd:"" help:"List who lives in a home."`
	Set    personSetCmd    `cmd:"" help:"Change what is known of somebody."`
	Remove personRemoveCmd `cmd:"" help:"Remove somebody from a home."`
}

type personAddCmd struct {
	Name     string     `arg:"" help:"What you call them."`
	Home     string     `required:"" help:"The home's name." placeholder:"HOME"`
	Age      device.Age `help:"adult, teen, child or unknown, who is perhaps a child; default adult." default:"adult" placeholder:"AGE"`
	Guardian []string   `help:"An adult of the home who chooses for a child; may be given several times." placeholder:"PERSON"`
	Language []string   `help:"A language that they read, such as de; the preferred first." placeholder:"TAG"`
}

// Run adds a person.
func (c *personAddCmd) Run(e *env) error {
	_, err := ask[registry.Person](e, "person/add", api.PersonAdd{Home: c.Home, Person: delivery.PersonSpec{Name: c.Name, Age: c.Age, Guardians: c.Guardian, Languages: c.Language}})
	return err
}

type personSetCmd struct {
	Name       string      `arg:"" help:"The person's name."`
	Home       string      `required:"" help:"The home's name." placeholder:"HOME"`
	NewName    *string     `name:"name" help:"What you call them from now on." placeholder:"NAME"`
	Age        *device.Age `help:"adult, teen, child or unknown. What was said for a child counts no more when they grow up, and the other way round." placeholder:"AGE"`
	Guardian   []string    `help:"An adult of the home who chooses for a child; may be given several times, and replaces those before." sep:"none" placeholder:"PERSON" xor:"guardian"`
	NoGuardian bool        `help:"Nobody chooses for them." xor:"guardian"`
	Language   []string    `help:"A language that they read, such as de; the preferred first; replaces those before." placeholder:"TAG" xor:"language"`
	NoLanguage bool        `help:"It is not known what they read." xor:"language"`
	Freeze     bool        `help:"Show them nothing, ask them nothing and learn nothing of them, until --unfreeze." xor:"frozen"`
	Unfreeze   bool        `help:"Go on." xor:"frozen"`
}

func (c *personSetCmd) change() delivery.PersonChange {
	change := delivery.PersonChange{Name: c.NewName, Age: c.Age, Guardians: c.Guardian, Languages: c.Language}
	if c.NoGuardian {
		change.Guardians = []string{}
	}
	if c.NoLanguage {
		change.Languages = []string{}
	}
	if c.Freeze || c.Unfreeze {
		change.Frozen = &c.Freeze
	}
	return change
}

// Validate is called by the parser.
func (c *personSetCmd) Validate() error {
	if reflect.DeepEqual(c.change(), delivery.PersonChange{}) {
		return errors.New("say what to set: see --help")
	}
	return nil
}

// Run changes a person.
func (c *personSetCmd) Run(e *env) error {
	_, err := ask[registry.Person](e, "person/set", api.PersonSet{Home: c.Home, Person: c.Name, Change: c.change()})
	return err
}

type personListCmd struct {
	Home string `required:"" help:"The home's name." placeholder:"HOME"`
	JSON bool   `help:"Print JSON."`
}

// Run lists people.
func (c *personListCmd) Run(e *env) error {
	people, err := ask[[]registry.Person](e, "person/list", api.InHome{Home: c.Home})
	if err != nil {
		return err
	}
	if c.JSON {
		if people == nil {
			people = []registry.Person{}
		}
		return printJSON(e.out, people)
	}
	t := table(e.out)
	fmt.Fprintln(t, "NAME\tAGE\tGUARDIANS\tLANGUAGES\tSTATE\tNUMBER")
	for _, p := range people {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%d\n", p.Name, p.Age, dash(strings.Join(guardians(people, p), ", ")), dash(strings.Join(p.Languages, ", ")), dash(personState(p)), p.ID)
	}
	return t.Flush()
}

// guardians are the names of those who choose for p.
func guardians(people []registry.Person, p registry.Person) (names []string) {
	for _, id := range p.Guardians {
		for _, g := range people {
			if g.ID == id {
				names = append(names, g.Name)
			}
		}
	}
	return names
}

func personState(p registry.Person) string {
	switch {
	case p.Guest && p.Frozen:
		return "guest, frozen"
	case p.Guest:
		return "guest"
	case p.Frozen:
		return "frozen"
	}
	return ""
}

type personRemoveCmd struct {
	Name string `arg:"" help:"The person's name."`
	Home string `required:"" help:"The home's name." placeholder:"HOME"`
	sureFlags
}

// Run removes a person.
func (c *personRemoveCmd) Run(e *env) error {
	h, err := ask[delivery.HomeState](e, "home/show", api.Named{Name: c.Home})
	if err != nil {
		return err
	}
	said := 0
	for _, one := range h.Consents {
		if one.Person == c.Name {
			said++
		}
	}
	return c.remove(e, "person/remove", api.InHome{Home: c.Home, Name: c.Name}, c.Name, fmt.Sprintf("%s of home %s%s", c.Name, c.Home, along(count(said, "choice"))),
		"What they said counts no more; it stays in the home's book: porchlight erase takes it away.")
}

type deviceCmd struct {
	Add    deviceAddCmd    `cmd:"" help:"Add a device; prints its ID and its token, once."`
	List   deviceListCmd   `cmd:"" help:"List the devices of a home and how they are."`
	Set    deviceSetCmd    `cmd:"" help:"Change a device's name, place or part."`
	Remove deviceRemoveCmd `cmd:"" help:"Remove a device: it is disconnected and its credentials are void."`
	Wipe   deviceWipeCmd   `cmd:"" help:"Tell a device to forget everything, and remove it."`
	Token  deviceTokenCmd  `cmd:"" help:"Give a device a new token; every credential that it had is void."`
}

type deviceAddCmd struct {
	Home       string       `required:"" help:"The home's name." placeholder:"HOME"`
	Class      device.Class `required:"" help:"What it is: tv, speaker, console, car, fridge, washer, dryer, dishwasher, oven, display, companion, other." placeholder:"CLASS"`
	Name       string       `help:"What people call it; default its class." placeholder:"NAME"`
	Room       string       `help:"Where it stands: a room of the home." placeholder:"ROOM"`
	NewRoom    bool         `help:"With --room: make the room if the home does not have it."`
	Owner      string       `help:"The person it belongs to; default everybody." placeholder:"PERSON"`
	Controller bool         `help:"It may widen what the home permits, not only restrict."`
	Until      string       `help:"A guest's device, and when it is removed: a time such as 2030-12-24T18:00:00Z, a date, a length of time such as 90m, 2h or 7d, or tomorrow (at 8 in the morning)." placeholder:"TIME"`
	ID         string       `name:"id" help:"Its ID; default a new one." placeholder:"ID"`
	JSON       bool         `help:"Print JSON."`
}

// Validate is called by the parser.
func (c *deviceAddCmd) Validate() error { return newRoom(c.NewRoom, c.Room != "") }

// newRoom is an error if --new-room is given without --room.
func newRoom(made, room bool) error {
	if made && !room {
		return errors.New("--new-room goes with --room")
	}
	return nil
}

// Run adds a device.
func (c *deviceAddCmd) Run(e *env) error {
	added, err := ask[delivery.Enrolled](e, "device/add", api.DeviceAdd{Home: c.Home, Device: delivery.DeviceSpec{
		ID: device.ID(c.ID), Class: c.Class, Name: c.Name, Room: c.Room, NewRoom: c.NewRoom, Owner: c.Owner, Controller: c.Controller,
	}, Until: c.Until})
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

type deviceSetCmd struct {
	ID           string  `arg:"" help:"The device's ID."`
	Name         *string `help:"What people call it." placeholder:"NAME"`
	Room         *string `help:"Where it stands: a room of the home." placeholder:"ROOM" xor:"room"`
	NewRoom      bool    `help:"With --room: make the room if the home does not have it."`
	NoRoom       bool    `help:"In no room." xor:"room"`
	Owner        *string `help:"The person it belongs to: their choices count on it." placeholder:"PERSON" xor:"owner"`
	Shared       bool    `help:"It is everybody's." xor:"owner"`
	Controller   bool    `help:"It may widen what the home permits, not only restrict." xor:"controller"`
	NoController bool    `help:"It may only restrict." xor:"controller"`
}

func (c *deviceSetCmd) change() delivery.DeviceChange {
	change := delivery.DeviceChange{Name: c.Name, Room: c.Room, NewRoom: c.NewRoom, Owner: c.Owner}
	if c.NoRoom {
		change.Room = new("")
	}
	if c.Shared {
		change.Owner = new("")
	}
	if c.Controller || c.NoController {
		change.Controller = &c.Controller
	}
	return change
}

// Validate is called by the parser.
func (c *deviceSetCmd) Validate() error {
	switch {
	case c.change() == delivery.DeviceChange{}:
		return errors.New("say what to set: see --help")
	case c.Owner != nil && *c.Owner == "":
		return errors.New("--owner is empty: --shared makes it everybody's")
	case c.Room != nil && *c.Room == "":
		return errors.New("--room is empty: --no-room takes it out of its room")
	}
	return newRoom(c.NewRoom, c.Room != nil)
}

// Run changes a device.
func (c *deviceSetCmd) Run(e *env) error {
	_, err := ask[device.Device](e, "device/set", api.DeviceSet{ID: device.ID(c.ID), Change: c.change()})
	return err
}

type deviceListCmd struct {
	Home string `required:"" help:"The home's name." placeholder:"HOME"`
	JSON bool   `help:"Print JSON."`
}

// Run lists devices.
func (c *deviceListCmd) Run(e *env) error {
	return list(e, c.JSON, "device/list", api.InHome{Home: c.Home}, "ID\tCLASS\tNAME\tROOM\tOWNER\tCONTROLLER\tSTATE\tMESSAGES\tUNTIL", func(d delivery.DeviceState) string {
		controller, until := "no", "-"
		if d.Until != 0 {
			until = d.Until.Time().Format(time.RFC3339)
		}
		if d.Controller {
			controller = "yes"
		}
		return strings.Join([]string{string(d.ID), d.Class.String(), d.Name, dash(d.RoomName), dash(d.OwnerName), controller, deviceState(d), strconv.Itoa(len(d.Showing)), until}, "\t")
	})
}

// deviceState says whether a device can be sent messages.
func deviceState(d delivery.DeviceState) string {
	switch {
	case d.Ready:
		return "ready"
	case d.Connected:
		return "connected"
	}
	return "away"
}

type deviceRemoveCmd struct {
	ID string `arg:"" help:"The device's ID."`
	sureFlags
}

// Run removes a device.
func (c *deviceRemoveCmd) Run(e *env) error {
	d, err := ask[delivery.DeviceOf](e, "device/show", api.DeviceRef{ID: device.ID(c.ID)})
	if err != nil {
		return err
	}
	return c.remove(e, "device/remove", api.DeviceRef{ID: d.ID}, c.ID, fmt.Sprintf("device %s, %s of home %s%s", d.ID, d.Name, d.HomeName, along(onScreens(d.DeviceState))),
		"It is disconnected, what it logs in with is void, and its ID is never given again.")
}

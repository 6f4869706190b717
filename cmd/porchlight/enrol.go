package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"rsc.io/qr"

	"porchlight/broker/api"
	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/wire"
)

type homeInitCmd struct {
	Name string `arg:"" help:"The home's name."`
	JSON bool   `help:"Print JSON."`
}

// Run prints a one-time code.
func (c *homeInitCmd) Run(e *env) error {
	code, err := ask[delivery.HomeCode](e, "home/init", api.Named{Name: c.Name})
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(e.out, code)
	}
	// Capital letters make a smaller picture.
	picture, err := qr.Encode(strings.ToUpper(fmt.Sprintf("PORCHLIGHT:1:%s:%s", strings.ReplaceAll(code.Code, "-", ""), code.CA)), qr.L)
	if err != nil {
		return fmt.Errorf("draw the code: %w", err)
	}
	draw(e.out, picture)
	t := table(e.out)
	fmt.Fprintf(t, "code\t%s\n", code.Code)
	fmt.Fprintf(t, "gateway\t%s\n", code.CA)
	fmt.Fprintf(t, "until\t%s\n", code.Expires.Time().Format(time.RFC3339))
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(e.out, "Type it on a device, or let the device scan it: it becomes the first that may let others in. It works once, and a code made before is void.\n")
	return nil
}

// draw prints a QR code, two rows in a line, with the quiet zone around it. It is drawn in the
// colours of the terminal, the light modules in the letters' colour, which a dark terminal needs.
func draw(w io.Writer, c *qr.Code) {
	const quiet = 2
	light := func(x, y int) bool { return !c.Black(x, y) }
	for y := -quiet; y < c.Size+quiet; y += 2 {
		var line strings.Builder
		for x := -quiet; x < c.Size+quiet; x++ {
			switch above, below := light(x, y), light(x, y+1) && y+1 < c.Size+quiet; {
			case above && below:
				line.WriteRune('█')
			case above:
				line.WriteRune('▀')
			case below:
				line.WriteRune('▄')
			default:
				line.WriteRune(' ')
			}
		}
		fmt.Fprintln(w, line.String())
	}
}

type enrolCmd struct {
	Open   enrolOpenCmd   `cmd:"" help:"Open a home's window for 15 minutes: devices may ask to be let in."`
	List   enrolListCmd   `cmd:"" help:"List the devices that ask."`
	Admit  enrolAdmitCmd  `cmd:"" help:"Let a device in: type the six digits that it shows, or the secret on its label."`
	Reject enrolRejectCmd `cmd:"" help:"Turn a device away."`
	Close  enrolCloseCmd  `cmd:"" help:"Close the window."`
}

type enrolOpenCmd struct {
	Home string `required:"" help:"The home's name." placeholder:"HOME"`
	JSON bool   `help:"Print JSON."`
}

// Run opens the window.
func (c *enrolOpenCmd) Run(e *env) error { return window(e, "enrol/open", c.Home, c.JSON) }

type enrolListCmd struct {
	Home string `required:"" help:"The home's name." placeholder:"HOME"`
	JSON bool   `help:"Print JSON."`
}

// Run lists applicants.
func (c *enrolListCmd) Run(e *env) error { return window(e, "enrol/list", c.Home, c.JSON) }

func window(e *env, verb, home string, asJSON bool) error {
	w, err := ask[delivery.WindowState](e, verb, api.Named{Name: home})
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(e.out, w)
	}
	if !w.Open {
		fmt.Fprintln(e.out, e.hint(fmt.Sprintf("The window of %s is closed: porchlight enrol open --home %s", home, home)))
		return nil
	}
	fmt.Fprintf(e.out, "The window of %s is open until %s.\n", home, w.Expires.Time().Format(time.RFC3339))
	t := table(e.out)
	fmt.Fprintln(t, "APPLICANT\tCLASS\tMAKER\tMODEL\tFROM\tTYPE\tTRIES")
	for _, a := range w.Applicants {
		code := "its six digits"
		if a.Label {
			code = "the secret on its label"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%d\n", a.ID, a.Class, dash(a.Maker), dash(a.Model), dash(a.From), code, a.Tries)
	}
	return t.Flush()
}

type enrolAdmitCmd struct {
	Home       string   `required:"" help:"The home's name." placeholder:"HOME"`
	Applicant  string   `arg:"" help:"Which device, as enrol list names it."`
	Code       []string `arg:"" help:"The six digits that it shows or speaks, or the secret on its label."`
	Name       string   `help:"What people call it; default its class." placeholder:"NAME"`
	Room       string   `help:"Where it stands: a room of the home." placeholder:"ROOM"`
	NewRoom    bool     `help:"With --room: make the room if the home does not have it."`
	Owner      string   `help:"The person it belongs to; default everybody." placeholder:"PERSON"`
	Until      string   `help:"A guest's device, and when it is removed: a time such as 2030-12-24T18:00:00Z, a date, a length of time such as 90m, 2h or 7d, or tomorrow (at 8 in the morning)." placeholder:"TIME"`
	Controller bool     `help:"It may widen what the home permits, and let others in."`
	JSON       bool     `help:"Print JSON."`
}

// Validate is called by the parser. A code of another length can be no device's, and would cost a try.
func (c *enrolAdmitCmd) Validate() error {
	if n := len(wire.PlainSecret(strings.Join(c.Code, ""))); len(c.Code) > 0 && n != 6 && n < 16 {
		return fmt.Errorf("<code> has %s: type the six digits that the device shows, or the secret on its label, which has 16 or more", count(n, "character"))
	}
	return newRoom(c.NewRoom, c.Room != "")
}

// Run lets a device in.
func (c *enrolAdmitCmd) Run(e *env) error {
	dev, err := ask[api.DeviceRef](e, "enrol/admit", api.Admit{Home: c.Home, Applicant: c.Applicant, Code: strings.Join(c.Code, ""), Owner: c.Owner, Until: c.Until, Admission: delivery.Admission{
		Name: c.Name, Room: c.Room, NewRoom: c.NewRoom, Controller: c.Controller,
	}})
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(e.out, dev)
	}
	fmt.Fprintln(e.out, dev.ID)
	return nil
}

type enrolRejectCmd struct {
	Home      string `required:"" help:"The home's name." placeholder:"HOME"`
	Applicant string `arg:"" help:"Which device, as enrol list names it."`
}

// Run turns a device away.
func (c *enrolRejectCmd) Run(e *env) error {
	_, err := ask[api.None](e, "enrol/reject", api.InHome{Home: c.Home, Name: c.Applicant})
	return err
}

type enrolCloseCmd struct {
	Home string `required:"" help:"The home's name." placeholder:"HOME"`
}

// Run closes the window.
func (c *enrolCloseCmd) Run(e *env) error {
	_, err := ask[api.None](e, "enrol/close", api.Named{Name: c.Home})
	return err
}

type deviceWipeCmd struct {
	ID string `arg:"" help:"The device's ID."`
	sureFlags
}

// Run wipes a device.
func (c *deviceWipeCmd) Run(e *env) error {
	d, err := ask[delivery.DeviceOf](e, "device/show", api.DeviceRef{ID: device.ID(c.ID)})
	if err != nil {
		return err
	}
	if err := c.sure(e, fmt.Sprintf("This has device %s, %s of home %s%s forget everything, and removes it. What it logs in with is void, and its ID is never given again.",
		d.ID, d.Name, d.HomeName, along(onScreens(d.DeviceState))), c.ID, "wiped"); err != nil {
		return err
	}
	done, err := ask[api.Wiped](e, "device/wipe", api.DeviceRef{ID: d.ID})
	switch {
	case err != nil:
		return err
	case done.Confirmed:
		fmt.Fprintln(e.out, "wiped and removed")
	default:
		fmt.Fprintln(e.out, "removed; not confirmed: the device is away, or did not say that it has forgotten everything")
	}
	return nil
}

type deviceTokenCmd struct {
	ID   string `arg:"" help:"The device's ID."`
	JSON bool   `help:"Print JSON."`
}

// Run prints a device's new token.
func (c *deviceTokenCmd) Run(e *env) error {
	d, err := ask[delivery.Enrolled](e, "device/token", api.DeviceRef{ID: device.ID(c.ID)})
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(e.out, d)
	}
	fmt.Fprintln(e.out, d.Token)
	return nil
}

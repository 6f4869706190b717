package main

import (
	"errors"
	"fmt"
	"time"

	"porchlight/broker/delivery"
	"porchlight/device"
)

type contextCmd struct {
	Home    string `help:"The home's name." placeholder:"HOME"`
	Device  string `help:"Only this device: by ID, or with --home by name." placeholder:"DEVICE"`
	History bool   `help:"What has changed in the last 24 hours, too."`
	JSON    bool   `help:"Print JSON."`
}

// Validate is called by the parser.
func (c *contextCmd) Validate() error {
	if c.Home == "" && c.Device == "" {
		return errors.New("say which home, or which device: give --home or --device")
	}
	return nil
}

// Run tells what devices have told of themselves.
func (c *contextCmd) Run(e *env) error {
	all, err := ask[[]delivery.DeviceContext](e, "context", delivery.ContextAsked{Home: c.Home, Device: c.Device, History: c.History})
	if err != nil {
		return err
	}
	if c.JSON {
		if all == nil {
			all = []delivery.DeviceContext{}
		}
		return printJSON(e.out, all)
	}
	t := table(e.out)
	fmt.Fprintln(t, "DEVICE\tATTRIBUTE\tVALUE\tAGE\tTTL\tSTATE\tSINCE")
	for _, d := range all {
		if len(d.Readings) == 0 {
			fmt.Fprintf(t, "%s\t-\t-\t-\t-\t%s\t-\n", d.Name, "nothing told")
		}
		for _, r := range d.Readings {
			age, state := "-", "stale"
			if r.At != 0 {
				age = (time.Duration(r.Age) * time.Millisecond).Round(100 * time.Millisecond).String()
			}
			switch {
			case r.Fresh:
				state = "fresh"
			case r.Value == nil:
				state = "unknown"
			}
			told := toldValue(r.Value)
			if r.Names != "" {
				told = r.Names
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", d.Name, r.Attribute, told, age, short(r.TTL), state, orDash(r.Since))
		}
		if d.Trip != 0 {
			fmt.Fprintf(t, "%s\t(trip)\t-\t-\t-\t-\t%s\n", d.Name, d.Trip)
		}
	}
	if err := t.Flush(); err != nil || !c.History {
		return err
	}
	fmt.Fprintln(e.out)
	t = table(e.out)
	fmt.Fprintln(t, "WHEN\tDEVICE\tATTRIBUTE\tVALUE")
	for _, d := range all {
		for _, ch := range d.Changes {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", ch.At, d.Name, ch.Attribute, toldValue(ch.Value))
		}
	}
	return t.Flush()
}

// toldValue is what a device told, as it told it; text in quotes where it could be taken for something else.
func toldValue(v any) string {
	switch v := v.(type) {
	case nil:
		return "-"
	case string:
		for _, r := range v {
			if !device.Printable(r) || r == ' ' || r == '"' {
				return fmt.Sprintf("%q", v)
			}
		}
		if v == "" || v == "-" {
			return fmt.Sprintf("%q", v)
		}
		return v
	}
	return fmt.Sprint(v)
}

// short is a whole number of seconds in ms, as "5s" or "10m".
func short(ms int64) string {
	d := time.Duration(ms) * time.Millisecond
	if d >= time.Minute && d%time.Minute == 0 {
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return d.String()
}

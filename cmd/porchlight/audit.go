package main

import (
	"fmt"
	"strings"
	"time"

	"porchlight/broker/api"
	"porchlight/broker/delivery"
	"porchlight/device"
)

type auditCmd struct {
	Home  string  `help:"Of one home only; default all, and the gateway's own." placeholder:"HOME"`
	About string  `help:"Only what has to do with this ID or address." placeholder:"ID"`
	Since howLong `help:"Only the last so long, as 24h or 7d." placeholder:"TIME"`
	Limit int     `help:"The newest so many, at most 10000." default:"1000"`
	All   bool    `help:"Messages and deliveries too."`
	JSON  bool    `help:"Print JSON, one fact a line."`
}

// Run prints the audit.
func (c *auditCmd) Run(e *env) error {
	in := delivery.AuditAsked{Home: c.Home, About: c.About, Limit: c.Limit, Screen: c.All}
	if c.Since > 0 {
		in.Since = device.At(time.Now().Add(-time.Duration(c.Since)))
	}
	all, err := ask[[]delivery.AuditEntry](e, "audit", in)
	if err != nil {
		return err
	}
	if c.JSON {
		for _, a := range all {
			if err := printLine(e.out, a); err != nil {
				return err
			}
		}
		return nil
	}
	t := table(e.out)
	fmt.Fprintln(t, "WHEN\tHOME\tWHO, FROM WHERE\tWHAT\tDETAILS")
	for _, a := range all {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", a.At, dash(a.Home), a.Actor, strings.Replace(a.Kind, ".", " ", 1), dash(a.Words()))
	}
	return t.Flush()
}

type caCmd struct {
	Show   caShowCmd   `cmd:"" help:"Which authorities are in force."`
	Rotate caRotateCmd `cmd:"" help:"Make a new one; the one before stays in force, and devices are asked for new keys."`
	Retire caRetireCmd `cmd:"" help:"End the rotation: what the one before signed no longer counts."`
	Export caExportCmd `cmd:"" help:"Print the private key and certificates, to be kept in a safe place."`
}

type caShowCmd struct {
	JSON bool `help:"Print JSON."`
}

// Run shows the authorities.
func (c *caShowCmd) Run(e *env) error { return authorities(e, "ca/show", api.None{}, c.JSON) }

type caRotateCmd struct{}

// Run rotates.
func (c *caRotateCmd) Run(e *env) error { return authorities(e, "ca/rotate", api.None{}, false) }

type caRetireCmd struct {
	Anyway bool `help:"Also if devices have not followed the rotation yet: they are locked out and must be let in anew."`
}

// Run retires.
func (c *caRetireCmd) Run(e *env) error {
	return authorities(e, "ca/retire", api.Retire{Anyway: c.Anyway}, false)
}

func authorities(e *env, verb string, in any, asJSON bool) error {
	all, err := ask[api.CAs](e, verb, in)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(e.out, all)
	}
	fmt.Fprintf(e.out, "Clients trust %s\n", all.Path)
	t := table(e.out)
	fmt.Fprintln(t, "ROLE\tUNTIL\tSHA-256")
	for _, ca := range all.CAs {
		fmt.Fprintf(t, "%s\t%s\t%s\n", ca.Role, ca.NotAfter.Format(time.DateOnly), ca.Fingerprint)
	}
	if err := t.Flush(); err != nil || all.Behind == 0 {
		return err
	}
	_, err = fmt.Fprintf(e.out, "%s still to be told of the newest authority.\n", count(all.Behind, "device"))
	return err
}

type caExportCmd struct{}

// Run exports the key.
func (c *caExportCmd) Run(e *env) error {
	k, err := ask[api.Exported](e, "ca/export", api.None{})
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(e.out, k.PEM)
	return err
}

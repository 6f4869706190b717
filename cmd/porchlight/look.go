package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"

	"porchlight/broker/api"
	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/store"
	"porchlight/policy/words"
)

type whyCmd struct {
	ID   device.MessageID `arg:"" name:"id" help:"The message's ID."`
	Home string           `help:"Only this home." placeholder:"HOME"`
	readerFlags
	Codes bool `help:"Codes and fields, for you, in place of sentences for people."`
	JSON  bool `help:"Print JSON."`
}

// readerFlags say for whom sentences are.
type readerFlags struct {
	Language string `help:"In this language: en, de, fr, es; default what the person or the home prefers." placeholder:"TAG"`
	Person   string `help:"For this person, who is then you; nobody else is named." placeholder:"PERSON"`
}

func (r readerFlags) options() delivery.WhyOptions {
	return delivery.WhyOptions{Language: r.Language, Reader: r.Person}
}

// speaks says on standard error that there are no words in the language that somebody wants.
func (r readerFlags) speaks(e *env) {
	all := words.Languages()
	if r.Language != "" && words.Pick(r.Language, all[0]) != words.Pick(r.Language, all[1]) { // each is what is picked instead
		fmt.Fprintf(e.errs, "porchlight: there are no words in %.40q, only in %s: this is in what the person or the home prefers, or in English\n", r.Language, strings.Join(all, ", "))
	}
}

// Run explains a message.
func (c *whyCmd) Run(e *env) error {
	w, err := ask[delivery.Why](e, "why", api.WhyAsked{ID: c.ID, Home: c.Home, WhyOptions: c.options()})
	if err != nil {
		return err
	}
	c.speaks(e)
	if c.JSON {
		return printJSON(e.out, w)
	}
	return printWhy(e.out, w, c.Codes)
}

func printWhy(out io.Writer, w delivery.Why, codes bool) error {
	fmt.Fprintf(out, "message %s from %s, for %s: %s\n", w.ID, w.Brand, w.Purpose, w.State)
	if len(w.Homes) == 0 {
		fmt.Fprintln(out, "no home has to do with it")
	}
	for _, h := range w.Homes {
		fmt.Fprintf(out, "\nhome %s\n", h.Name)
		if len(h.Screens) == 0 {
			fmt.Fprintln(out, "  it has no screen")
		}
		for _, s := range h.Screens {
			name := s.Name
			if name != s.Class.String() {
				name += " (" + s.Class.String() + ")"
			}
			fmt.Fprintf(out, "  %s: %s", name, s.Verdict)
			if len(s.Reasons) > 0 {
				fmt.Fprintf(out, " [%s]", strings.Join(s.Reasons, ", "))
			}
			if s.Until != 0 {
				fmt.Fprintf(out, " until %s", s.Until)
			}
			fmt.Fprintln(out)
			lines := s.Words
			if codes {
				lines = s.Causes
			}
			for _, line := range lines {
				fmt.Fprintf(out, "    %s\n", line)
			}
			if len(s.Differ) > 0 && !codes {
				fmt.Fprintf(out, "    %s\n", strings.Join(s.Differ, "; "))
			}
			if d := s.Delivery; d != nil {
				fmt.Fprintf(out, "    sent %s", d.Claimed)
				if d.Presented != 0 {
					fmt.Fprintf(out, ", shown %s", d.Presented)
				}
				if d.Settled != 0 {
					fmt.Fprintf(out, ", %s %s", d.Outcome, d.Settled)
				} else {
					fmt.Fprint(out, ", not over yet")
				}
				fmt.Fprintln(out)
				if d.Because != "" && !codes {
					fmt.Fprintf(out, "    %s\n", d.Because)
				}
				if must := d.Decision.Duties; must.Must != 0 && codes {
					fmt.Fprintf(out, "    duties %s, limit %s\n", must.Must, must.Limit)
				}
				for _, line := range d.Duties {
					if !codes {
						fmt.Fprintf(out, "    %s\n", line)
					}
				}
				if p := d.Decision.Choice; p != nil && codes {
					fmt.Fprintf(out, "    %s %s: worth %.6f of %d, the next %.6f, silence %.6f, place %.2f\n", p.This, p.Here, p.Score.Total, p.Of, p.Next, p.Score.Silence, p.Place.Total)
				} else {
					for _, line := range d.Chosen {
						fmt.Fprintf(out, "    %s\n", line)
					}
				}
			}
		}
	}
	return nil
}

type heldCmd struct {
	Home string `required:"" help:"The home's name." placeholder:"HOME"`
	readerFlags
	All   bool `help:"Every reason, and every message of each."`
	Codes bool `help:"Codes and fields, for you, in place of sentences for people."`
	JSON  bool `help:"Print JSON, with everything."`
}

// Help is what --help says beside the flags.
func (heldCmd) Help() string {
	return "What is the same, of one brand on one screen, is told once, with how many messages it stands for; the newest comes first. The list covers the newest 100 messages of each brand."
}

// mostHeld is how many reasons are listed without --all.
const mostHeld = 16

// Run lists what was held back.
func (c *heldCmd) Run(e *env) error {
	all, err := ask[[]delivery.HeldBack](e, "held", api.HeldAsked{Home: c.Home, WhyOptions: c.options()})
	if err != nil {
		return err
	}
	c.speaks(e)
	if c.JSON {
		return printJSON(e.out, all)
	}
	if len(all) == 0 {
		fmt.Fprintln(e.out, "nothing was held back today")
	}
	for i, h := range all {
		if i == mostHeld && !c.All {
			left := 0
			for _, h := range all[i:] {
				left += len(h.Messages)
			}
			fmt.Fprintf(e.out, "and %s more, for %s: porchlight held --all lists them\n", count(left, "message"), count(len(all)-i, "more reason"))
			break
		}
		newest, n := h.Messages[0], len(h.Messages)
		if n > 1 && h.Messages[n-1].When != newest.When {
			newest.When = h.Messages[n-1].When + " to " + newest.When
		}
		fmt.Fprintf(e.out, "%s on %s: %s, %s\n", h.Name, dash(h.Screen), count(n, "message"), newest.When)
		lines := h.Words
		if c.Codes {
			lines = h.Causes
		} else if len(h.Differ) > 0 {
			lines = append(lines, strings.Join(h.Differ, "; "))
		}
		for _, line := range lines {
			fmt.Fprintf(e.out, "  %s\n", line)
		}
		for i, m := range h.Messages {
			if i == 1 && !c.All {
				fmt.Fprintf(e.out, "    and %d more\n", n-1)
				break
			}
			fmt.Fprintf(e.out, "    %s for %s", m.ID, m.Purpose)
			if m.Category != "" {
				fmt.Fprintf(e.out, ", about %s", m.Category)
			}
			if m.Over != 0 {
				fmt.Fprintf(e.out, ", over since %s", m.Over)
			}
			if said := []rune(m.Said); len(said) > 64 {
				m.Said = string(said[:63]) + "…"
			}
			if m.Said != "" {
				fmt.Fprintf(e.out, ": %q", m.Said)
			}
			fmt.Fprintln(e.out)
		}
	}
	return nil
}

type learnedCmd struct {
	Home string `required:"" help:"The home's name." placeholder:"HOME"`
	readerFlags
	JSON bool `help:"Print JSON."`
}

// Run lists what was learnt.
func (c *learnedCmd) Run(e *env) error {
	all, err := ask[[]delivery.LearntState](e, "learnt", api.HeldAsked{Home: c.Home, WhyOptions: c.options()})
	if err != nil {
		return err
	}
	c.speaks(e)
	if c.JSON {
		return printJSON(e.out, all)
	}
	if len(all) == 0 {
		fmt.Fprintln(e.out, "nothing was learnt")
		return nil
	}
	brands, occasions := table(e.out), table(e.out)
	for i, l := range all {
		switch {
		case l.Brand == "":
			if i == 0 || all[i-1].Brand != "" {
				fmt.Fprintln(occasions, "ABOUT\tON\tWHEN\tANSWERED\tCOUNTED\tIN WORDS")
			}
			fmt.Fprintf(occasions, "%s\t%s\t%s\t%d\t%d\t%s\n", dash(l.Category), l.Class, l.Part, l.Acted, l.Of, l.Words)
		default:
			if i == 0 {
				fmt.Fprintln(brands, "BRAND\tOF\tWEIGHT\tPAUSED UNTIL\tIN WORDS")
			}
			fmt.Fprintf(brands, "%s\t%s\t%.2f\t%s\t%s\n", l.Brand, orHome(l.Person), l.Lever, orDash(l.Until), l.Words)
		}
	}
	if err := brands.Flush(); err != nil {
		return err
	}
	return occasions.Flush()
}

type statusCmd struct {
	JSON bool `help:"Print JSON."`
}

// Run tells how the gateway is.
func (c *statusCmd) Run(e *env) error {
	s, err := ask[api.Status](e, "status", api.None{})
	if err != nil {
		return err
	}
	if s.Store != "ok" { // whoever asks by the exit status alone is to know
		err = fmt.Errorf("status: the gateway runs, and its store does not work: %s", s.Store)
	}
	if c.JSON {
		return errors.Join(printJSON(e.out, s), err)
	}
	t := table(e.out)
	fmt.Fprintf(t, "version\t%s\n", s.Gateway.Version)
	fmt.Fprintf(t, "time\t%s\n", s.State.Now)
	fmt.Fprintf(t, "store\t%s\n", s.Store)
	fmt.Fprintf(t, "data\t%s\n", s.Gateway.Data)
	fmt.Fprintf(t, "certificate\t%s\n", s.Gateway.CA)
	for _, scheme := range schemes {
		if a := s.Gateway.Listeners[scheme.name]; a != "" {
			fmt.Fprintf(t, "%s\t%s\n", scheme.name, a)
		}
	}
	for _, n := range []struct {
		what  string
		count int
	}{
		{"homes", s.State.Homes}, {"devices", s.State.Devices}, {"devices connected", s.State.Connected}, {"brands", s.State.Brands},
		{"messages in force", s.State.InForce}, {"deliveries open", s.State.Open}, {"messages shown", s.State.Shown},
	} {
		fmt.Fprintf(t, "%s\t%d\n", n.what, n.count)
	}
	return errors.Join(t.Flush(), err)
}

type rebuildCmd struct {
	Check bool `help:"Change nothing: make the tables again in a temporary database and compare. The gateway may run."`
}

// Run makes the tables again, or compares.
func (c *rebuildCmd) Run(e *env) error {
	if err := hasData(e.data); err != nil {
		return fmt.Errorf("rebuild: %w", err)
	}
	path := filepath.Join(e.data, databaseFile)
	if !c.Check {
		if err := store.Rebuild(e.ctx, path, delivery.Project); err != nil {
			return err
		}
		fmt.Fprintln(e.out, "all tables were made again from the journal")
		return nil
	}
	var events int64
	diffs, err := store.Check(e.ctx, path, delivery.Project, func(done, total int64) {
		if events = done; done < total && done%(64<<10) == 0 {
			fmt.Fprintf(e.errs, "%d of %d events\n", done, total)
		}
	})
	if err != nil {
		return err
	}
	for _, d := range diffs {
		fmt.Fprintln(e.out, d)
	}
	if len(diffs) > 0 {
		return errors.New("the tables differ from the journal: stop the gateway, keep a copy of the data folder, then run porchlight rebuild")
	}
	fmt.Fprintf(e.out, "%d events: every table agrees with the journal\n", events)
	return nil
}

type versionCmd struct{}

// Run prints the version.
func (versionCmd) Run(e *env) error {
	fmt.Fprintf(e.out, "porchlight %s %s %s/%s\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return nil
}

// release is the version of a package, set when it is built; "": it is in none.
var release string

// version is the package's, or the module's as Go has noted it: in a checkout the commit that it was built from.
func version() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}

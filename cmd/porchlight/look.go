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
)

type whyCmd struct {
	ID   device.MessageID `arg:"" name:"id" help:"The message's ID."`
	Home string           `help:"Only this home." placeholder:"HOME"`
	JSON bool             `help:"Print JSON."`
}

// Run explains a message.
func (c *whyCmd) Run(e *env) error {
	w, err := ask[delivery.Why](e, "why", api.WhyAsked{ID: c.ID, Home: c.Home})
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(e.out, w)
	}
	return printWhy(e.out, w)
}

func printWhy(out io.Writer, w delivery.Why) error {
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
			for _, words := range s.Words {
				fmt.Fprintf(out, "    %s\n", words)
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
			}
		}
	}
	return nil
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
	if c.JSON {
		return printJSON(e.out, s)
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
	return t.Flush()
}

type rebuildCmd struct {
	Check bool `help:"Change nothing: make the tables again in a temporary database and compare. The gateway may run."`
}

// Run makes the tables again, or compares.
func (c *rebuildCmd) Run(e *env) error {
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

// version is the module's, or the commit it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}

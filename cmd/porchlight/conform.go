package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"porchlight/broker"
	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/wire"
)

type conformCmd struct {
	Class   string        `help:"What the device is; default what its birth says." placeholder:"CLASS"`
	Enrol   bool          `help:"The device has no identity, and is let in: with --tls. Its ID and credential are issued; all of that, new keys, wipe and reset are looked at as well."`
	Wipe    bool          `help:"Without --enrol: in the end, have the device erase the ID and token that it was given, for good."`
	Long    bool          `help:"With --enrol: refuse the device for ten minutes, to see it apply anew."`
	ID      string        `help:"Device ID; default a new one." placeholder:"ID"`
	Token   string        `help:"The device's password, at least 43 characters; default a new one." placeholder:"TOKEN"`
	Plain   string        `help:"Where to listen without TLS; default 127.0.0.1:1883, and nowhere with --tls." placeholder:"ADDR"`
	Beyond  bool          `name:"plain-beyond-loopback" help:"Allow --plain on an address that others can reach."`
	TLS     string        `name:"tls" help:"Where to listen with TLS, as :8883." placeholder:"ADDR"`
	Name    []string      `help:"Name or address by which the device knows this machine, for the certificate." placeholder:"NAME"`
	Folder  string        `help:"Folder for the certificate authority, kept for the next run; default one that is removed at the end." placeholder:"DIR"`
	Only    []string      `help:"Only these MUSTs, as M7,M8." placeholder:"MUST"`
	Hands   string        `help:"Who acts on the device: none, ask (you, at this terminal), or a program that is called with what is to be done." default:"none" placeholder:"none|ask|PROGRAM"`
	Timeout time.Duration `help:"How long to wait for the device to connect, each time." default:"2m"`
	Wait    time.Duration `help:"How long an answer may take." default:"10s"`
	Lease   time.Duration `help:"Lease of the messages that are shown." default:"3s"`
	JSON    bool          `help:"Print JSON."`

	forget time.Duration // for how long a device must be refused before it may forget itself; 0: 10 min
}

// conformReport is what a run prints as JSON.
type conformReport struct {
	Contract string    `json:"contract"`
	Device   device.ID `json:"device"`
	Complete bool      `json:"complete"` // false: the run was ended, or could not go on, before it was over
	Pass     int       `json:"pass"`
	Fail     int       `json:"fail"`
	NotSeen  int       `json:"not_seen"`
	Musts    []finding `json:"musts"`
}

// Run plays the gateway against one device.
func (c *conformCmd) Run(e *env) error {
	class := device.Class(0)
	if c.Class != "" {
		var err error
		if class, err = device.ParseClass(c.Class); err != nil {
			return usageError{fmt.Errorf("--class: %w", err)}
		}
	}
	id := device.NewID()
	if c.ID != "" {
		var err error
		if id, err = device.ParseID(c.ID); err != nil {
			return usageError{fmt.Errorf("--id: %w", err)}
		}
	}
	token := c.Token
	if token == "" {
		token = registry.NewToken()
	}
	switch {
	case len(token) < 43:
		return usageError{errors.New("--token: use at least 43 characters")}
	case c.Enrol && c.TLS == "":
		return usageError{errors.New("--enrol: devices are let in over TLS only: give --tls an address")}
	case c.Enrol && (c.ID != "" || c.Token != ""):
		return usageError{errors.New("--enrol: ID and token are issued to the device: leave out --id and --token")}
	case c.Long && !c.Enrol:
		return usageError{errors.New("--long: give --enrol too: a device into which ID and token were put by hand keeps them")}
	case c.Timeout <= 0 || c.Wait <= 0:
		return usageError{errors.New("conform: --timeout and --wait must be more than 0")}
	case c.Lease < 100*time.Millisecond || c.Lease > time.Minute:
		return usageError{errors.New("--lease: use 100ms to 1m")}
	}
	if c.Plain == "" && c.TLS == "" {
		c.Plain = "127.0.0.1:1883"
	}
	for _, m := range c.Only {
		if !slices.ContainsFunc(musts, func(known must) bool { return known.id == m }) {
			return usageError{fmt.Errorf("--only: there is no MUST %q: use %s to %s", m, musts[0].id, musts[len(musts)-1].id)}
		}
	}
	hands, err := handsOf(e, c.Hands)
	if err != nil {
		return err
	}
	return c.run(e, class, id, token, hands)
}

func (c *conformCmd) run(e *env, class device.Class, id device.ID, token string, hands func(context.Context, chore) error) error {
	dir, err := os.MkdirTemp("", "porchlight-conform-")
	if err != nil {
		return fmt.Errorf("conform: %w", err)
	}
	defer os.RemoveAll(dir)
	ca := dir
	if c.Folder != "" {
		if ca, err = dataFolder(c.Folder, slog.New(slog.DiscardHandler)); err != nil {
			return fmt.Errorf("conform: %w", err)
		}
	}
	b := &bench{
		id: id, changed: make(chan struct{}), beacons: true, lease: c.Lease, fence: uint64(time.Now().Unix()),
		ajar: c.Enrol, keys: map[[wire.HashSize]byte]bool{},
	}
	registered := class
	if registered == 0 {
		registered = device.Other // only the bench looks at it
	}
	listen := broker.Options{Plain: c.Plain, TLS: c.TLS, AllowPlain: c.Beyond}
	if c.Enrol {
		listen.Plain, token = "", ""
	}
	shut, err := b.open(e.ctx, dir, ca, token, registered, listen, c.Name)
	if err != nil {
		return fmt.Errorf("conform: %w", taken(err, "with --plain or --tls, such as --plain 127.0.0.1:1884 where a gateway runs beside it"))
	}
	defer shut()
	run := &conformance{
		bench: b, class: class, arrive: c.Timeout, wait: c.Wait, window: min(time.Second, c.Wait/4), lateBy: 2 * time.Second,
		hands: hands, version: b.fence,
		enrol: c.Enrol, wipe: c.Wipe, patient: c.Long, forget: cmp.Or(c.forget, 10*time.Minute), code: newCode(),
		known: !c.Enrol, nonces: map[string]string{},
		tell: func(format string, args ...any) { fmt.Fprintf(e.errs, format+"\n", args...) },
	}
	ways := e.out
	if c.JSON {
		ways = e.errs // standard output is for the outcome
	}
	c.announce(ways, run, token)

	// Who ends the run ends what is played alone: what it has seen is judged while the door is open still.
	g, gctx := errgroup.WithContext(context.WithoutCancel(e.ctx))
	gctx, end := context.WithCancel(gctx)
	g.Go(func() error { return b.door.Run(gctx) })
	if b.front != nil {
		g.Go(func() error { return b.front.run(gctx) })
	}
	if b.strange != nil {
		g.Go(func() error { return b.strange.Run(gctx) })
	}
	g.Go(func() error { return b.beat(gctx) })
	g.Go(func() error {
		defer end()
		ctx, stop := context.WithCancel(gctx)
		defer stop()
		defer context.AfterFunc(e.ctx, stop)()
		return run.play(ctx, c.Only)
	})
	if err := g.Wait(); err != nil {
		return fmt.Errorf("conform: %w", err)
	}
	return c.report(e.out, run)
}

// newCode makes a home's one-time code.
func newCode() string {
	text := strings.ToLower(rand.Text())
	return text[:4] + "-" + text[4:8] + "-" + text[8:12] + "-" + text[12:16]
}

func (c *conformCmd) announce(w io.Writer, run *conformance, token string) {
	b := run.bench
	if c.Enrol {
		fmt.Fprintln(w, "Waiting for the device, which is let in. Let it apply:")
	} else {
		fmt.Fprintln(w, "Waiting for the device. Put into it:")
	}
	t := table(w)
	for _, s := range schemes {
		a := b.door.Addr(s.name)
		if s.name == "mqtts" && b.front != nil {
			a = b.front.Addr()
		}
		if a != nil {
			fmt.Fprintf(t, "  gateway\t%s://%s\n", s.name, a)
		}
	}
	if c.Enrol {
		fmt.Fprintf(t, "  code of the home, if it asks for one\t%s\n", run.code)
		fmt.Fprintf(t, "  topics, once it is let in\tpl/1/<its ID>/...\n")
	} else {
		if b.ca != nil {
			path := b.ca.Path()
			if abs, err := filepath.Abs(path); err == nil {
				path = abs
			}
			fmt.Fprintf(t, "  certificate to trust\t%s\n", path)
		}
		fmt.Fprintf(t, "  client ID, user name\t%s\n", b.id)
		fmt.Fprintf(t, "  password\t%s\n", token)
		fmt.Fprintf(t, "  topics\tpl/1/%s/...\n", b.id)
	}
	_ = t.Flush() // a terminal that is gone is no reason to end
}

// report prints the outcome; the error says how many MUSTs failed.
func (c *conformCmd) report(w io.Writer, run *conformance) error {
	r := conformReport{Contract: "pl/1", Device: run.id, Complete: run.stopped == nil, Musts: []finding{}}
	for _, m := range musts {
		f := run.found[m.id]
		if f == nil {
			continue
		}
		r.Musts = append(r.Musts, *f)
		switch f.Verdict {
		case passed:
			r.Pass++
		case failed:
			r.Fail++
		default:
			r.NotSeen++
		}
	}
	if c.JSON {
		if err := printJSON(w, r); err != nil {
			return err
		}
	} else {
		for _, f := range r.Musts {
			fmt.Fprintf(w, "%-4s %-9s %s\n", f.ID, f.Verdict, f.Must)
			fmt.Fprintf(w, "%14s saw: %s\n", "", f.Saw)
		}
		whole := ""
		if !r.Complete {
			whole = "NOT COMPLETE: "
		}
		fmt.Fprintf(w, "%s%d pass, %d fail, %d not seen.\n", whole, r.Pass, r.Fail, r.NotSeen)
	}
	switch {
	case r.Fail > 0 && run.stopped != nil:
		return fmt.Errorf("conform: %d of %d MUSTs failed, and the run ended early: %w", r.Fail, len(r.Musts), run.stopped)
	case r.Fail > 0:
		return fmt.Errorf("conform: %d of %d MUSTs failed", r.Fail, len(r.Musts))
	case run.stopped != nil:
		return fmt.Errorf("conform: the run ended early: %w", run.stopped)
	}
	return nil
}

// handsOf finds who acts on the device.
func handsOf(e *env, who string) (func(context.Context, chore) error, error) {
	switch who {
	case "", "none":
		return func(context.Context, chore) error { return errors.New(byHand) }, nil
	case "ask":
		lines := make(chan string)
		go func() { // ends with the input, which nobody can interrupt
			defer close(lines)
			for in := bufio.NewScanner(e.in); in.Scan(); {
				lines <- in.Text()
			}
		}()
		return func(ctx context.Context, ch chore) error {
			fmt.Fprintf(e.errs, "> %s Then press Enter; s and Enter: it cannot be done. ", ch.say)
			select {
			case line, ok := <-lines:
				line = strings.TrimSpace(line)
				switch {
				case ok && ch.read != nil && line != "" && line != "s":
					*ch.read = line
				case !ok || ch.read != nil || line != "":
					return errNoHands
				}
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}, nil
	}
	path, err := exec.LookPath(who)
	if err != nil {
		return nil, usageError{fmt.Errorf("--hands: %w", err)}
	}
	return func(ctx context.Context, ch chore) error {
		cmd := exec.CommandContext(ctx, path, ch.args...)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = e.errs, e.errs
		if ch.read != nil {
			cmd.Stdout = &out
		}
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%w: %s %s: %w", errNoHands, path, strings.Join(ch.args, " "), err)
		}
		if ch.read != nil {
			line, _, _ := strings.Cut(out.String(), "\n")
			*ch.read = strings.TrimSpace(line)
		}
		return nil
	}, nil
}

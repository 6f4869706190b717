package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"porchlight/broker/api"
)

type profileCmd struct {
	Kind    string `arg:"" optional:"" default:"cpu" enum:"cpu,heap,allocs,goroutine,threadcreate,block,mutex,trace" help:"cpu, heap, allocs, goroutine, threadcreate, block, mutex or trace."`
	Seconds int    `help:"How long to look: cpu, block, mutex and trace only; 10 if not given, 300 at most." placeholder:"N"`
	Out     string `required:"" help:"File to write, which must not be there yet." placeholder:"FILE"`
}

// Run takes a profile of the gateway that runs.
func (c *profileCmd) Run(e *env) (err error) {
	f, err := os.OpenFile(c.Out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // sooner than after all those seconds
	if err != nil {
		return fmt.Errorf("write the profile: %w", cannotWrite(c.Out, err))
	}
	defer func() {
		if f.Close(); err != nil { // half of it is none
			err = errors.Join(err, os.Remove(c.Out))
		}
	}()
	answer, err := call(e, "profile", api.ProfileAsked{Kind: c.Kind, Seconds: c.Seconds}, 10*time.Minute)
	if err != nil {
		return err
	}
	defer answer.Close()
	raw, err := io.ReadAll(answer)
	if err != nil {
		return fmt.Errorf("read the profile: %w", err)
	}
	if len(raw) == 0 {
		return fmt.Errorf("the gateway ended before the profile was there")
	}
	if _, err := f.Write(raw); err != nil {
		return fmt.Errorf("write the profile: %w", cannotWrite(c.Out, err))
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("write the profile: %w", cannotWrite(c.Out, err))
	}
	tool := "pprof"
	if c.Kind == "trace" {
		tool = "trace"
	}
	fmt.Fprintf(e.out, "%s: %d bytes; look at it with: go tool %s %[1]s\n", c.Out, len(raw), tool)
	return nil
}

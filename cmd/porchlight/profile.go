package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"porchlight/broker/api"
)

type profileCmd struct {
	Kind    string `arg:"" optional:"" default:"cpu" enum:"cpu,heap,allocs,goroutine,threadcreate,block,mutex,trace" help:"cpu, heap, allocs, goroutine, threadcreate, block, mutex or trace."`
	Seconds int    `help:"How long to look: cpu, block, mutex and trace only; 10 if not given, 300 at most." placeholder:"N"`
	Out     string `required:"" help:"File to write." placeholder:"FILE"`
}

// Run takes a profile of the gateway that runs.
func (c *profileCmd) Run(e *env) error {
	if _, err := os.Stat(filepath.Dir(c.Out)); err != nil { // sooner than after all those seconds
		return fmt.Errorf("write the profile: %w", cannotWrite(c.Out, err))
	}
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
	if err := writeWhole(c.Out, bytes.NewReader(raw)); err != nil {
		return fmt.Errorf("write the profile: %w", cannotWrite(c.Out, err))
	}
	tool := "pprof"
	if c.Kind == "trace" {
		tool = "trace"
	}
	fmt.Fprintf(e.out, "%s: %d bytes; look at it with: go tool %s %[1]s\n", c.Out, len(raw), tool)
	return nil
}

// writeWhole makes the file at path, for its owner only, hold what from gives, or leaves it as it was.
func writeWhole(path string, from io.Reader) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".profile")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = io.Copy(f, from)
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}

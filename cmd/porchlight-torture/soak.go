package main

import (
	"context"
	"io"
)

func soakCommand(ctx context.Context, args []string, out, errs io.Writer) error { return nil }

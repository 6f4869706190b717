package main

import (
	"context"
	"errors"
	"io"
)

func demoCommand(context.Context, []string, io.Writer) error {
	return errors.New("demo: not built yet")
}

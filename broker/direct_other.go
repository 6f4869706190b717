//go:build !unix

package broker

import "errors"

// direct is for systems whose sockets can be asked to read and write at once; here it is never ready.
type direct struct{}

func (d *direct) open(*counted)             {}
func (d *direct) ready() bool               { return false }
func (d *direct) write([]byte) (int, error) { return 0, errors.ErrUnsupported }
func (d *direct) read() ([]byte, error)     { return nil, errors.ErrUnsupported }

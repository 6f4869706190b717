//go:build unix

package broker

import (
	"io"
	"syscall"
)

// direct reads and writes a TCP socket where nothing is between: it writes what the socket takes at
// once, and waits to read without holding a buffer. Reading is for one goroutine, writing for whoever
// holds the connection's lock. The zero direct is not ready.
type direct struct {
	socket syscall.RawConn

	reads, writes func(fd uintptr) bool // made once: they would be made anew for each packet

	in  []byte // lent while it reads
	got int
	err error // of reading

	out  []byte
	sent int
	werr error
}

// open makes d ready, if raw is a TCP socket.
func (d *direct) open(raw *counted) {
	s, ok := raw.Conn.(syscall.Conn)
	if !ok {
		return
	}
	socket, err := s.SyscallConn()
	if err != nil {
		return
	}
	d.socket, d.reads, d.writes = socket, d.tryRead, d.tryWrite
}

func (d *direct) ready() bool { return d.socket != nil }

// write writes what the socket takes at once. The error is nil if that was less than all.
func (d *direct) write(b []byte) (int, error) {
	d.out, d.sent, d.werr = b, 0, nil
	if err := d.socket.Write(d.writes); err != nil {
		d.werr = err
	}
	d.out = nil
	return d.sent, d.werr
}

func (d *direct) tryWrite(fd uintptr) bool {
	for d.sent < len(d.out) {
		n, err := syscall.Write(int(fd), d.out[d.sent:])
		switch {
		case n > 0:
			d.sent += n
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			return true
		default:
			d.werr = err
			return true
		}
	}
	return true
}

// read waits for bytes and returns them in what [takeRoom] lent: the caller gives it back.
func (d *direct) read() ([]byte, error) {
	d.got, d.err = 0, nil
	if err := d.socket.Read(d.reads); err != nil {
		d.err = err
	}
	b := d.in[:d.got]
	d.in = nil
	return b, d.err
}

func (d *direct) tryRead(fd uintptr) bool {
	d.in = takeRoom()
	for {
		n, err := syscall.Read(int(fd), d.in[:cap(d.in)])
		switch {
		case n > 0:
			d.got = n
			return true
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			giveRoom(d.in)
			d.in = nil
			return false
		case err == nil:
			err = io.EOF
		}
		d.err = err
		return true
	}
}

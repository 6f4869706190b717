package api

import (
	"net"
	"net/http"
	"os/user"
	"strconv"

	"golang.org/x/sys/unix"

	"porchlight/device"
)

// caller is who is at the other end of the socket, as the system says.
func caller(r *http.Request) device.Actor {
	c, ok := r.Context().Value(peerKey{}).(*net.UnixConn)
	if !ok {
		return "operator"
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return "operator"
	}
	var who *unix.Ucred
	if e := raw.Control(func(fd uintptr) { who, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); e != nil || err != nil {
		return "operator"
	}
	id := strconv.FormatUint(uint64(who.Uid), 10)
	if u, err := user.LookupId(id); err == nil {
		id = u.Username
	}
	return device.Actor("operator " + id)
}

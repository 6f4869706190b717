package device

import (
	"net"
	"net/netip"
)

// Neighbours is whom a peer counts as where an address has a limit: an address of IPv4 for itself, one of
// IPv6 as its /64, which is what one customer has. Addresses of one link count each for itself, since all
// that are near share one /64. A peer that has no address of TCP counts as the zero Addr.
func Neighbours(peer net.Addr) netip.Addr {
	tcp, ok := peer.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	ip := tcp.AddrPort().Addr().Unmap()
	if ip.Is6() && !ip.IsLinkLocalUnicast() {
		p, _ := ip.Prefix(64)
		return p.Addr()
	}
	return ip
}

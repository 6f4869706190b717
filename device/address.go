package device

import "net/netip"

// Neighbours is whom a peer, a net.Addr, counts as where an address has a limit: an address of IPv4 for itself, one of
// IPv6 as its /64, which is what one customer has. Addresses of one link count each for itself, since all
// that are near share one /64. A peer that has no address of IP counts as the zero Addr.
func Neighbours(peer any) netip.Addr {
	at, ok := peer.(interface{ AddrPort() netip.AddrPort }) // package net is not for this floor
	if !ok {
		return netip.Addr{}
	}
	ip := at.AddrPort().Addr().Unmap()
	if ip.Is6() && !ip.IsLinkLocalUnicast() {
		p, _ := ip.Prefix(64)
		return p.Addr()
	}
	return ip
}

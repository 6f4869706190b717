package device

import "net/netip"

// Neighbours is whom a peer at ip counts as where an address has a limit: an address of IPv4 for itself, one of
// IPv6 as its /64, which is what one customer has. Addresses of one link count each for itself, since all
// that are near share one /64.
func Neighbours(ip netip.Addr) netip.Addr {
	ip = ip.Unmap()
	if ip.Is6() && !ip.IsLinkLocalUnicast() {
		p, _ := ip.Prefix(64)
		return p.Addr()
	}
	return ip
}

package resource

import (
	"net"
	"net/netip"
)

// PeerOf is whom a connection from a counts for: one IPv6 customer has at least
// a /64. It is the zero Prefix for what is no TCP address.
func PeerOf(a net.Addr) netip.Prefix {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	bits := 64
	if ip.Is4() {
		bits = 32
	}
	p, _ := ip.Prefix(bits)
	return p
}

// DropUnsent has the kernel drop what it has not sent when c, below TLS, is
// closed: a reset, never something that could look like a proper end.
func DropUnsent(c net.Conn) {
	if tcp, ok := c.(interface{ SetLinger(seconds int) error }); ok {
		_ = tcp.SetLinger(0)
	}
}

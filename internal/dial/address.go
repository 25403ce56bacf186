package dial

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// ErrRefused is wrapped by every refusal of this package.
var ErrRefused = errors.New("address refused")

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrRefused, fmt.Sprintf(format, args...))
}

// metadata lists where clouds serve credentials to whoever can connect, beyond
// the link-local range.
var metadata = []netip.Prefix{
	netip.MustParsePrefix("100.100.100.200/32"), // Alibaba Cloud
	netip.MustParsePrefix("168.63.129.16/32"),   // Azure's wire server
	netip.MustParsePrefix("192.0.0.192/32"),     // Oracle Cloud
	netip.MustParsePrefix("fd00:ec2::/32"),      // AWS: metadata, pod identity, DNS
	netip.MustParsePrefix("fd20:ce::254/128"),   // Google Cloud
	netip.MustParsePrefix("fd00:42::42/128"),    // Scaleway
}

// metadataNames are names of the same, refused even where they resolve to an
// address that looks harmless.
var metadataNames = map[string]bool{
	"metadata":                   true,
	"metadata.google.internal":   true,
	"metadata.goog":              true,
	"metadata.azure.internal":    true,
	"instance-data":              true,
	"instance-data.ec2.internal": true,
}

var (
	thisNetwork = netip.MustParsePrefix("0.0.0.0/8") // Linux takes 0.0.0.0 for loopback
	reserved    = netip.MustParsePrefix("240.0.0.0/4")
	siteLocal   = netip.MustParsePrefix("fec0::/10")
	sixToFour   = netip.MustParsePrefix("2002::/16")
	teredo      = netip.MustParsePrefix("2001::/32")
	nat64       = netip.MustParsePrefix("64:ff9b::/96")
	nat64Local  = netip.MustParsePrefix("64:ff9b:1::/48")
	compatible  = netip.MustParsePrefix("::/96")
)

// checkAddress refuses the addresses that nothing may be dialled at. Loopback
// is not among them: that depends on who named it.
func checkAddress(a netip.Addr) error {
	a = a.WithZone("").Unmap()
	switch {
	case !a.IsValid():
		return refuse("no address")
	case a.IsUnspecified() || thisNetwork.Contains(a):
		return refuse("%s is unspecified", a)
	case a.IsMulticast():
		return refuse("%s is multicast", a)
	case a.IsLinkLocalUnicast():
		return refuse("%s is link-local, where clouds serve metadata", a)
	case reserved.Contains(a) || siteLocal.Contains(a):
		return refuse("%s is reserved", a)
	case nat64Local.Contains(a):
		return refuse("%s is behind a local NAT64, so what it stands for cannot be told", a)
	}
	for _, p := range metadata {
		if p.Contains(a) {
			return refuse("%s is a metadata service", a)
		}
	}
	for _, v4 := range embedded(a) {
		if err := checkAddress(v4); err != nil || v4.IsLoopback() {
			return refuse("%s stands for %s", a, v4)
		}
	}
	return nil
}

// embedded returns the IPv4 addresses that an IPv6 address stands for in the
// schemes that carry one: 6to4 (RFC 3056), Teredo (RFC 4380), NAT64
// (RFC 6052), IPv4-compatible (RFC 4291 §2.5.5.1) and ISATAP (RFC 5214).
func embedded(a netip.Addr) []netip.Addr {
	if !a.Is6() || a.IsLoopback() {
		return nil
	}
	b := a.As16()
	v4 := func(at int) netip.Addr { return netip.AddrFrom4([4]byte(b[at : at+4])) }
	switch {
	case sixToFour.Contains(a):
		return []netip.Addr{v4(2)}
	case teredo.Contains(a):
		server := v4(4)
		for i := 12; i < 16; i++ {
			b[i] ^= 0xff // the client's address is stored inverted
		}
		return []netip.Addr{server, v4(12)}
	case nat64.Contains(a), compatible.Contains(a):
		return []netip.Addr{v4(12)}
	case b[8]&^2 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe:
		return []netip.Addr{v4(12)}
	}
	return nil
}

// checkName refuses names that are known for what they stand for, before any
// look-up.
func checkName(name string) error {
	n := strings.ToLower(strings.TrimRight(name, "."))
	switch {
	case n == "":
		return refuse("no host")
	case n == "localhost" || strings.HasSuffix(n, ".localhost"):
		return refuse("%q is a name for loopback: write 127.0.0.1 or [::1]", name)
	case metadataNames[n]:
		return refuse("%q is a metadata service", name)
	}
	return nil
}

// CheckHost refuses a host (a name or a literal address, without port) that can
// be refused without looking it up, so that a config check can say so early. A
// literal loopback address passes. What passes is checked again when dialled.
func CheckHost(host string) error {
	literal, isLiteral := parseLiteral(host)
	if !isLiteral {
		return checkName(host)
	}
	if literal.Is4In6() && literal.Unmap().IsLoopback() {
		return refuse("%s stands for %s: write that", literal, literal.Unmap())
	}
	return checkAddress(literal)
}

// parseLiteral reads an IP address, in brackets or not.
func parseLiteral(host string) (netip.Addr, bool) {
	if len(host) > 2 && host[0] == '[' && host[len(host)-1] == ']' {
		host = host[1 : len(host)-1]
	}
	a, err := netip.ParseAddr(host)
	return a, err == nil
}

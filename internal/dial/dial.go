// Package dial connects to the hosts that a catalog or a config names: the
// upstreams of resources, the receivers of webhooks, a mail relay. It checks
// the address itself, at the moment of the connect call, so that a name that
// resolves to something else the second time gains nothing.
//
// It refuses, whoever names them: link-local and metadata addresses,
// unspecified, multicast and reserved ones, IPv6 forms of all of these, and
// anything but TCP. Loopback it refuses to every name, and allows to a literal
// address that New was given. Private ranges are allowed: internal services
// are what Daypass stands in front of. An HTTP transport on top of it must
// have no proxy, for a proxy would resolve the name again elsewhere.
package dial

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/daypass/daypass/internal/keepalive"
)

// Timeout is how long one connection may take to come about, with all the
// addresses of a name.
const Timeout = 10 * time.Second

// Dialer dials with the checks of this package. It is safe for use by many
// goroutines.
type Dialer struct {
	resolver *net.Resolver // nil: the system's
	literals []literal
}

// literal is a loopback address that the configuration names itself.
type literal struct {
	addr netip.Addr
	port uint16 // 0: any
}

// New returns a dialer. Each argument is a host, or host:port, as the
// configuration names it; the literal loopback addresses among them may be
// dialled (on that port alone where there is one). Names and other addresses
// need no mention and gain nothing by it.
func New(allowLiteral ...string) *Dialer {
	d := &Dialer{}
	for _, s := range allowLiteral {
		if a, ok := parseLiteral(s); ok && a.IsLoopback() {
			d.literals = append(d.literals, literal{addr: a})
		} else if ap, err := netip.ParseAddrPort(s); err == nil && ap.Addr().IsLoopback() {
			d.literals = append(d.literals, literal{addr: ap.Addr(), port: ap.Port()})
		}
	}
	return d
}

// allows reports whether this very loopback address was named to New.
func (d *Dialer) allows(a netip.Addr, port uint16) bool {
	for _, l := range d.literals {
		if l.addr == a && (l.port == 0 || l.port == port) {
			return true
		}
	}
	return false
}

// DialContext connects to addr (host:port) over network "tcp", "tcp4" or
// "tcp6". A refusal wraps ErrRefused; of a name with several addresses those
// that are refused are passed over.
func (d *Dialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	if network != "tcp" && network != "tcp4" && network != "tcp6" {
		return nil, fmt.Errorf("dialling: %w", refuse("network %q is not TCP", network))
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("dialling: %w", err)
	}
	if err := CheckHost(host); err != nil {
		return nil, fmt.Errorf("dialling: %w", err)
	}
	_, named := parseLiteral(host)
	with := net.Dialer{
		Timeout:         Timeout,
		Resolver:        d.resolver,
		KeepAliveConfig: keepalive.Config(),
		ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
			return d.checkConnect(address, named)
		},
	}
	return with.DialContext(ctx, network, addr)
}

// checkConnect is asked for each address just before connect(2).
func (d *Dialer) checkConnect(address string, named bool) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return refuse("%q is no address", address)
	}
	switch a := to.Addr(); {
	case !a.Unmap().IsLoopback():
		return checkAddress(a)
	case !named:
		return refuse("the name resolves to loopback: if that is meant, write %s", to)
	case !d.allows(a, to.Port()):
		return refuse("%s is loopback, and the configuration does not name it", to)
	}
	return nil
}

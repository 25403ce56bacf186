package rest

import (
	"container/list"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
)

// Limits of connections on one listener.
const (
	MaxConns        = 4096 // in all
	MaxConnsPerAddr = 512  // from one IPv4 address or IPv6 /64 that is not loopback
)

// Cap bounds the connections of a listener, to total in all and per address. A
// connection on which nobody has authenticated yet is a stranger. Where there
// is no room, the stranger that has been there longest is closed, of the same
// address first where that is the limit: so a flood of idle connections pushes
// itself out, and an administrator who connects in the middle of it is served
// (Invariant A37). Where there are no strangers, the new connection is closed.
func Cap(l net.Listener, total int) net.Listener {
	return newCap(l, total, min(total, MaxConnsPerAddr))
}

func newCap(l net.Listener, total, perAddr int) *connCap {
	return &connCap{Listener: l, total: total, perAddr: perAddr, strangers: list.New(), peers: map[netip.Prefix]*peer{}}
}

type connCap struct {
	net.Listener
	total, perAddr int

	mu        sync.Mutex
	open      int
	strangers *list.List // of *cappedConn, the oldest first
	peers     map[netip.Prefix]*peer
}

// peer is one address: how many connections it has, and its strangers.
type peer struct {
	open      int
	strangers *list.List // of *cappedConn, the oldest first
}

type cappedConn struct {
	net.Conn
	cap  *connCap
	from netip.Prefix
	// The places in the two lists; nil when trusted or closed.
	inAll, inPeer *list.Element
	closed        bool

	peer    string       // its address, without port
	trusted atomic.Bool  // so that each call need not ask the cap
	writing atomic.Int64 // Unix milliseconds; when the write deadline was moved last
}

// Accept implements net.Listener.
func (l *connCap) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		k := &cappedConn{Conn: c, cap: l}
		if a, err := netip.ParseAddrPort(c.RemoteAddr().String()); err == nil {
			k.from, k.peer = network(a.Addr().String()), plainAddr(a.Addr())
		}
		out, admitted := l.admit(k)
		if out != nil {
			_ = out.Close()
		}
		if admitted {
			return k, nil
		}
		_ = c.Close()
	}
}

// admit takes k in, if need be in the place of out.
func (l *connCap) admit(k *cappedConn) (out *cappedConn, admitted bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.peers[k.from]
	if p == nil {
		p = &peer{strangers: list.New()}
	}
	var oldest *list.Element
	switch {
	case !k.from.Addr().IsLoopback() && p.open >= l.perAddr:
		oldest = p.strangers.Front()
	case l.open >= l.total:
		oldest = l.strangers.Front()
	default:
		l.enter(k, p)
		return nil, true
	}
	if oldest == nil {
		return nil, false
	}
	out = oldest.Value.(*cappedConn)
	l.leave(out)
	l.enter(k, p)
	return out, true
}

func (l *connCap) enter(k *cappedConn, p *peer) {
	l.peers[k.from] = p
	l.open++
	p.open++
	k.inAll, k.inPeer = l.strangers.PushBack(k), p.strangers.PushBack(k)
}

// leave forgets k, once.
func (l *connCap) leave(k *cappedConn) {
	if k.closed {
		return
	}
	k.closed = true
	l.known(k)
	l.open--
	p := l.peers[k.from]
	if p.open--; p.open == 0 {
		delete(l.peers, k.from)
	}
}

// known takes k off the lists of strangers.
func (l *connCap) known(k *cappedConn) {
	if k.inAll != nil {
		l.strangers.Remove(k.inAll)
		l.peers[k.from].strangers.Remove(k.inPeer)
		k.inAll, k.inPeer = nil, nil
	}
}

func (l *connCap) trust(k *cappedConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !k.closed {
		l.known(k)
	}
}

// Close implements net.Conn.
func (k *cappedConn) Close() error {
	k.cap.mu.Lock()
	k.cap.leave(k)
	k.cap.mu.Unlock()
	return k.Conn.Close()
}

package httpkind

import (
	"context"
	"crypto/tls"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/daypass/daypass/internal/keepalive"
	"github.com/daypass/daypass/internal/resource"
)

// listener bounds how many connections are open at once, in all and from one
// peer. What is above is closed at once: nobody waits in line.
type listener struct {
	net.Listener
	total, each int
	refused     atomic.Uint64

	mu    sync.Mutex
	conns map[*clientConn]struct{}
	peers map[netip.Prefix]int
}

func newListener(l net.Listener, limits resource.Limits) *listener {
	return &listener{
		Listener: l, total: limits.Connections, each: limits.ConnectionsPerPeer,
		conns: make(map[*clientConn]struct{}), peers: make(map[netip.Prefix]int),
	}
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &clientConn{Conn: conn, l: l, peer: resource.PeerOf(conn.RemoteAddr())}
		if l.add(c) {
			return c, nil
		}
		l.refused.Add(1)
		_ = conn.Close()
	}
}

func (l *listener) add(c *clientConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.conns) >= l.total || l.peers[c.peer] >= l.each {
		return false
	}
	l.conns[c] = struct{}{}
	l.peers[c.peer]++
	return true
}

func (l *listener) remove(c *clientConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
	if l.peers[c.peer]--; l.peers[c.peer] <= 0 {
		delete(l.peers, c.peer)
	}
}

// all are the connections that are open, also those that were hijacked.
func (l *listener) all() []*clientConn {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Keys(l.conns))
}

// abortAll cuts every connection.
func (l *listener) abortAll() {
	for _, c := range l.all() {
		c.abort()
	}
}

// abortLost cuts those whose peer has vanished.
func (l *listener) abortLost() {
	for _, c := range l.all() {
		if keepalive.Lost(c.Conn) {
			c.abort()
		}
	}
}

// clientConn is a connection from a client, below TLS.
type clientConn struct {
	net.Conn
	l    *listener
	peer netip.Prefix
	once sync.Once

	written atomic.Int64 // bytes that the kernel took
	stuck   atomic.Int64 // Unix nanoseconds since when a Write has been running; 0 when none is
}

// Write implements net.Conn.
func (c *clientConn) Write(p []byte) (int, error) {
	c.stuck.Store(time.Now().UnixNano())
	n, err := c.Conn.Write(p)
	c.written.Add(int64(n))
	c.stuck.Store(0)
	return n, err
}

// Close implements net.Conn.
func (c *clientConn) Close() error {
	c.once.Do(func() { c.l.remove(c) })
	return c.Conn.Close()
}

// CloseWrite ends one direction, where the connection can do that.
func (c *clientConn) CloseWrite() error { return closeWrite(c.Conn) }

// abort ends the connection at once, in both directions, and has the kernel
// drop what it has not sent yet: a reset, never something that could look like
// a proper end.
func (c *clientConn) abort() {
	resource.DropUnsent(c.Conn)
	_ = c.Close()
}

func closeWrite(c net.Conn) error {
	if w, ok := c.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return c.Close()
}

// clientConnOf finds the connection under TLS.
func clientConnOf(c net.Conn) *clientConn {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	raw, _ := c.(*clientConn)
	return raw
}

// connKey is where a request's context holds its *clientConn.
type connKey struct{}

func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, clientConnOf(c))
}

func connOf(ctx context.Context) *clientConn {
	c, _ := ctx.Value(connKey{}).(*clientConn)
	return c
}

package httpkind

import (
	"crypto/tls"
	"errors"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/daypass/daypass/internal/keepalive"
	"github.com/daypass/daypass/internal/resource"
)

// upstreamConns are the connections to all upstreams: so many, and no more.
type upstreamConns struct {
	mu    sync.Mutex
	max   int
	taken int // by connections, and by those that are being made
	conns map[*upstreamConn]struct{}
}

var errCrowded = errors.New("there are as many connections to upstreams as there may be")

func (u *upstreamConns) init(most int) {
	u.max, u.conns = most, make(map[*upstreamConn]struct{})
}

// dial makes a connection if there is room for it.
func (u *upstreamConns) dial(connect func() (net.Conn, error)) (net.Conn, error) {
	u.mu.Lock()
	if u.taken >= u.max {
		u.mu.Unlock()
		return nil, errCrowded
	}
	u.taken++
	u.mu.Unlock()
	conn, err := connect()
	u.mu.Lock()
	defer u.mu.Unlock()
	if err != nil {
		u.taken--
		return nil, err
	}
	c := &upstreamConn{Conn: conn, among: u}
	u.conns[c] = struct{}{}
	return c, nil
}

func (u *upstreamConns) remove(c *upstreamConn) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, ok := u.conns[c]; ok {
		delete(u.conns, c)
		u.taken--
	}
}

// abortLost cuts those whose peer has vanished.
func (u *upstreamConns) abortLost() {
	u.mu.Lock()
	all := slices.Collect(maps.Keys(u.conns))
	u.mu.Unlock()
	for _, c := range all {
		if keepalive.Lost(c.Conn) {
			c.abort()
		}
	}
}

// upstreamConn is a connection to an upstream, below TLS.
type upstreamConn struct {
	net.Conn
	// spent: nothing may be asked on it any more. The transport then takes
	// another one, as it does when a pooled connection turns out to be dead.
	spent atomic.Bool
	// carries is the request that is on it; nil between requests.
	carries atomic.Pointer[flow]
	among   *upstreamConns
}

// Close implements net.Conn.
func (c *upstreamConn) Close() error {
	c.among.remove(c)
	return c.Conn.Close()
}

var errSpent = errors.New("the connection was bound to one client's authentication")

// Write implements net.Conn.
func (c *upstreamConn) Write(p []byte) (int, error) {
	if c.spent.Load() {
		return 0, errSpent
	}
	if f := c.carries.Load(); f != nil && f.isCut() {
		return 0, errCut
	}
	return c.Conn.Write(p)
}

// CloseWrite ends one direction, where the connection can do that.
func (c *upstreamConn) CloseWrite() error { return closeWrite(c.Conn) }

func (c *upstreamConn) abort() {
	resource.DropUnsent(c.Conn)
	_ = c.Close()
}

func upstreamConnOf(c net.Conn) *upstreamConn {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	raw, _ := c.(*upstreamConn)
	return raw
}

package pgkind

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/daypass/daypass/internal/keepalive"
	"github.com/daypass/daypass/internal/resource"
)

// visitors are the connections that are open, bounded in all and for each
// peer. What is above is closed at once: nobody waits in line.
type visitors struct {
	total, each int

	mu    sync.Mutex
	conns map[net.Conn]netip.Prefix
	peers map[netip.Prefix]int
}

func newVisitors(total, each int) *visitors {
	return &visitors{total: total, each: each, conns: make(map[net.Conn]netip.Prefix), peers: make(map[netip.Prefix]int)}
}

// enter reports whether there is room for c.
func (v *visitors) enter(c net.Conn) bool {
	peer := resource.PeerOf(c.RemoteAddr())
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.conns) >= v.total || v.peers[peer] >= v.each {
		return false
	}
	v.conns[c] = peer
	v.peers[peer]++
	return true
}

func (v *visitors) leave(c net.Conn) {
	v.mu.Lock()
	defer v.mu.Unlock()
	peer, ok := v.conns[c]
	if !ok {
		return
	}
	delete(v.conns, c)
	if v.peers[peer]--; v.peers[peer] <= 0 {
		delete(v.peers, peer)
	}
}

// abort cuts the connections that which picks.
func (v *visitors) abort(which func(net.Conn) bool) {
	v.mu.Lock()
	var picked []net.Conn
	for c := range v.conns {
		if which(c) {
			picked = append(picked, c)
		}
	}
	v.mu.Unlock()
	for _, c := range picked {
		abort(c)
	}
}

// abort ends a connection below TLS at once and has the kernel drop what it has
// not sent: a reset, never something that could look like a proper end.
func abort(c net.Conn) {
	resource.DropUnsent(c)
	_ = c.Close()
}

// Serve implements resource.Gateway.
func (g *Gateway) Serve(l net.Listener) error {
	g.mu.Lock()
	if g.closed || g.listener != nil {
		again := !g.closed
		g.mu.Unlock()
		_ = l.Close()
		if again {
			return errors.New("serving PostgreSQL: the gateway serves already")
		}
		return nil
	}
	g.listener = l
	g.mu.Unlock()
	done := make(chan struct{})
	defer close(done)
	go g.watch(done)
	for wait := time.Duration(0); ; {
		c, err := l.Accept()
		if err != nil {
			if g.isClosed() {
				return nil
			}
			if passing, ok := errors.AsType[net.Error](err); ok && passing.Timeout() || tooManyFiles(err) {
				wait = min(max(2*wait, 5*time.Millisecond), time.Second)
				time.Sleep(wait)
				continue
			}
			return fmt.Errorf("serving PostgreSQL: %w", err)
		}
		wait = 0
		g.accept(c)
	}
}

// accept serves one connection on a goroutine of its own.
func (g *Gateway) accept(c net.Conn) {
	c = rideable(c)
	if !g.visitors.enter(c) {
		_ = c.Close()
		return
	}
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		g.visitors.leave(c)
		_ = c.Close()
		return
	}
	g.running.Add(1)
	g.mu.Unlock()
	go func() {
		var s *session
		g.isolate(c, func() { s = g.greet(c) })
		if s == nil {
			if begun := g.sessionOf(c); begun != nil { // greeting panicked
				begun.abandon()
			}
			g.leave(c)
			return
		}
		// On goroutines of its own: this one's stack has grown for the handshake,
		// and the session may be idle for hours.
		go s.serve()
	}()
}

func (g *Gateway) leave(c net.Conn) {
	g.mu.Lock()
	delete(g.sessions, c)
	g.mu.Unlock()
	g.visitors.leave(c)
	g.running.Done()
}

// isolate runs f. A panic in it ends its connection and nothing else.
func (g *Gateway) isolate(c net.Conn, f func()) {
	defer func() {
		if v := recover(); v != nil {
			g.deps.Guard.CountPanic()
			g.log.Error("postgres gateway: a connection panicked", "what", fmt.Sprintf("%T", v))
			abort(c)
		}
	}()
	f()
}

// watch gives up connections whose peers have vanished.
func (g *Gateway) watch(done <-chan struct{}) {
	tick := time.NewTicker(keepalive.Every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			g.visitors.abort(keepalive.Lost)
		case <-done:
			return
		}
	}
}

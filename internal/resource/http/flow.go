package httpkind

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/daypass/daypass/internal/gateway"
	"github.com/daypass/daypass/internal/keepalive"
)

// A4 allows a second from the end of a grant to the last byte. Half of it is
// for a clean ending, the rest for a busy machine.
const (
	farewell = 500 * time.Millisecond // to send a client what ended
	lastCall = 700 * time.Millisecond // until the connection is gone, come what may
)

var errCut = errors.New("the session was cut")

// flow is one request on its way through: the writer of its response, the
// reader of its body, and what cuts both when the session ends, also while they
// are blocked.
type flow struct {
	w       http.ResponseWriter
	control *http.ResponseController
	conn    *clientConn
	h2      bool
	session *gateway.Session
	cancel  context.CancelFunc // of the request to the upstream
	clean   func(http.Header)  // removes what a client must not get
	config  *Config
	target  target
	client  string // the client's address
	token   string // the assertion
	pass    string // an Authorization header of the client's that is not ours

	in, out atomic.Int64 // bytes of bodies, and of an upgraded connection
	badBody atomic.Bool  // the client's body could not be read to its end

	mu       sync.Mutex
	upstream *upstreamConn
	wrote    bool // the final status is on its way
	status   int
	hijacked bool
	upgrade  io.Closer // the other side of an upgraded connection
	cutOff   bool
	over     bool // the handler has returned: the controller must rest
	timer    *time.Timer
}

// Header implements http.ResponseWriter.
func (f *flow) Header() http.Header { return f.w.Header() }

// begin notes that a status goes out and reports whether it may.
func (f *flow) begin(status int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cutOff {
		return false
	}
	if status >= 200 || status == http.StatusSwitchingProtocols {
		f.wrote, f.status = true, status
	}
	return true
}

// WriteHeader implements http.ResponseWriter.
func (f *flow) WriteHeader(status int) {
	if !f.begin(status) {
		return
	}
	f.clean(f.w.Header()) // informational responses come here straight from the upstream
	f.w.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (f *flow) Write(p []byte) (int, error) {
	if f.isCut() {
		return 0, errCut
	}
	f.mu.Lock()
	wrote := f.wrote
	f.mu.Unlock()
	if !wrote {
		f.WriteHeader(http.StatusOK)
	}
	n, err := f.w.Write(p)
	f.out.Add(int64(n))
	return n, err
}

// FlushError is what http.ResponseController looks for.
func (f *flow) FlushError() error {
	if f.isCut() {
		return errCut
	}
	return f.control.Flush()
}

// Hijack implements http.Hijacker.
func (f *flow) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if !f.begin(http.StatusSwitchingProtocols) {
		return nil, nil, errCut
	}
	conn, rw, err := f.control.Hijack()
	if err != nil {
		return nil, nil, err
	}
	f.mu.Lock()
	f.hijacked = true
	cut := f.cutOff
	f.mu.Unlock()
	if cut {
		f.conn.abort()
	}
	return &upgraded{Conn: conn, early: rw.Reader, flow: f}, rw, nil
}

// isCut reports whether nothing more may pass. It asks the clock too, and must
// be called without f.mu: what it finds over is cut.
func (f *flow) isCut() bool {
	f.mu.Lock()
	cut := f.cutOff
	f.mu.Unlock()
	if !cut && f.session.Over() {
		f.cut() // what runs at the end may be a moment behind
		return true
	}
	return cut
}

// uses notes the connection that carries the request to the upstream.
func (f *flow) uses(c net.Conn) {
	up := upstreamConnOf(c)
	f.mu.Lock()
	f.upstream = up
	cut := f.cutOff
	f.mu.Unlock()
	if up == nil {
		return
	}
	up.carries.Store(f)
	if cut {
		up.abort()
	}
}

// settled says that the upstream's answer is complete: its connection may
// serve others now.
func (f *flow) settled() {
	f.mu.Lock()
	up := f.upstream
	f.upstream = nil
	f.mu.Unlock()
	if up != nil {
		up.carries.CompareAndSwap(f, nil)
	}
}

// cut ends the flow. It is the session's OnEnd and does not block.
func (f *flow) cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over || f.cutOff {
		return
	}
	f.cutOff = true
	f.cutClient(time.Now())
	// The client's side came first: what follows makes the proxy close it
	// properly, and nothing that was cut may look proper.
	f.cancel()
	if f.upstream != nil {
		f.upstream.abort()
	}
}

// cutClient ends the client's side: at once where something was sent, for the
// rest of a response must not follow; else with time to say what happened.
func (f *flow) cutClient(now time.Time) {
	switch {
	case f.hijacked, f.wrote && !f.h2:
		f.conn.abort()
		return
	case f.wrote:
		// Other streams may share the connection: reset this one, which is no
		// proper end either.
		_ = f.control.SetReadDeadline(now)
		_ = f.control.SetWriteDeadline(now)
		conn, sent := f.conn, f.conn.written.Load()
		time.AfterFunc(farewell, func() { conn.abortIfBehind(sent, now) })
	default:
		_ = f.control.SetReadDeadline(now)
		_ = f.control.SetWriteDeadline(now.Add(farewell))
	}
	f.timer = time.AfterFunc(lastCall, f.conn.abort)
}

// abortIfBehind ends a shared connection if the kernel still holds bytes of
// before the cut, when sent bytes had been written, or if a write that began
// before it is stuck.
func (c *clientConn) abortIfBehind(sent int64, cut time.Time) {
	if since := c.stuck.Load(); since != 0 && since <= cut.UnixNano() {
		c.abort()
		return
	}
	if queued, ok := keepalive.Unsent(c.Conn); ok && c.written.Load()-queued < sent {
		c.abort()
	}
}

// outcome reports whether the flow was cut, and whether a status had gone out
// by then.
func (f *flow) outcome() (cut, wrote bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cutOff, f.wrote
}

// close is the last thing that a handler does with the flow.
func (f *flow) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.over = true
	if f.timer != nil {
		f.timer.Stop()
	}
}

// requestBody counts what a client sends and stops when the flow is cut.
type requestBody struct {
	io.ReadCloser
	flow *flow
}

// Read implements io.Reader.
func (b *requestBody) Read(p []byte) (int, error) {
	if b.flow.isCut() {
		return 0, errCut
	}
	n, err := b.ReadCloser.Read(p)
	b.flow.in.Add(int64(n))
	if b.flow.isCut() {
		return 0, errCut
	}
	if err != nil && err != io.EOF {
		b.flow.badBody.Store(true)
	}
	return n, err
}

// responseBody notes when the upstream's answer is complete.
type responseBody struct {
	io.ReadCloser
	flow *flow
}

// Read implements io.Reader.
func (b *responseBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.flow.settled()
	}
	return n, err
}

// upgraded is a client's connection after 101. What the server had read ahead
// comes first.
type upgraded struct {
	net.Conn
	early *bufio.Reader
	flow  *flow
}

// Read implements net.Conn.
func (u *upgraded) Read(p []byte) (n int, err error) {
	if k := u.early.Buffered(); k > 0 {
		n, err = u.early.Read(p[:min(len(p), k)])
	} else {
		n, err = u.Conn.Read(p)
	}
	u.flow.in.Add(int64(n))
	if u.flow.isCut() {
		return 0, errCut
	}
	return n, err
}

// Write implements net.Conn.
func (u *upgraded) Write(p []byte) (int, error) {
	if u.flow.isCut() {
		return 0, errCut
	}
	n, err := u.Conn.Write(p)
	u.flow.out.Add(int64(n))
	return n, err
}

// CloseWrite ends one direction.
func (u *upgraded) CloseWrite() error { return closeWrite(u.Conn) }

// holdUpgrade keeps the upstream's side of an upgrade, so that it is closed
// also when the client's side does not come about.
func (f *flow) holdUpgrade(c io.Closer) {
	f.mu.Lock()
	f.upgrade = c
	f.mu.Unlock()
}

// finishUpgrade closes the upstream's side of an upgrade.
func (f *flow) finishUpgrade() {
	f.mu.Lock()
	c := f.upgrade
	f.mu.Unlock()
	if c != nil {
		_ = c.Close()
	}
}

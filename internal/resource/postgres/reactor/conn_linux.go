package reactor

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Conn is a TCP connection, and a net.Conn. With the runtime its methods block
// as those of any do. On a loop none does: Read returns ErrEmpty where there is
// nothing, and Write takes all, of which it keeps what the socket does not.
//
// Close, SetLinger and the deadlines may be called by anybody at any time, and
// Write by whoever keeps others from writing.
type Conn struct {
	local, remote net.Addr

	mu      sync.Mutex
	runtime care // nil: on a loop, or closed
	fd      int  // on a loop; else -1
	out     []byte
	armed   uint32 // what the loop waits for
	deaf    bool   // it waits for nothing, not even for an end
	reading bool
	drained bool // the last read took all there was
	closed  bool
	readBy  time.Time
	writeBy time.Time

	// Of the loop alone.
	on    *Loop // changed under mu
	owner Owner
	at    int32
	again bool // its turn comes again
}

// care is the runtime's: a *net.TCPConn, or an *os.File of one that came back.
type care interface {
	io.ReadWriteCloser
	SetDeadline(t time.Time) error
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
	SyscallConn() (syscall.RawConn, error)
}

// ErrEmpty says that there is nothing to read on a loop now. It is temporary as
// errors of net are, so that crypto/tls, which gets it in the middle of a
// record, goes on later where it was.
var ErrEmpty net.Error = empty{}

type empty struct{}

// Error implements error.
func (empty) Error() string { return "nothing to read now" }

// Timeout implements net.Error.
func (empty) Timeout() bool { return false }

// Temporary implements net.Error.
func (empty) Temporary() bool { return true }

// Of returns c as a connection that can join a loop: TCP alone can. TLS above
// it has to be told of the one that is returned, and so from its beginning.
func Of(c net.Conn) (*Conn, bool) {
	switch c := c.(type) {
	case *Conn:
		return c, true
	case *net.TCPConn:
		return &Conn{local: c.LocalAddr(), remote: c.RemoteAddr(), runtime: c, fd: -1}, true
	}
	return nil, false
}

// Read implements net.Conn.
func (c *Conn) Read(b []byte) (int, error) {
	c.mu.Lock()
	if r := c.runtime; r != nil {
		c.mu.Unlock()
		return r.Read(b)
	}
	defer c.mu.Unlock()
	switch {
	case c.fd < 0:
		return 0, net.ErrClosed
	case c.drained:
		return 0, ErrEmpty
	case len(b) == 0:
		return 0, nil
	}
	for {
		n, err := receive(c.fd, b)
		switch {
		case err == 0 && n == 0:
			return 0, io.EOF
		case err == 0:
			c.drained = n < len(b)
			return n, nil
		case err == unix.EAGAIN:
			c.drained = true
			return 0, ErrEmpty
		case err != unix.EINTR:
			return 0, os.NewSyscallError("recvfrom", err)
		}
	}
}

// Write implements net.Conn.
func (c *Conn) Write(b []byte) (int, error) {
	c.mu.Lock()
	if w := c.runtime; w != nil {
		out := c.out
		c.out = nil
		c.mu.Unlock()
		if len(out) > 0 { // whoever began before it left its loop comes behind that
			if _, err := w.Write(out); err != nil {
				return 0, err
			}
		}
		return w.Write(b)
	}
	defer c.mu.Unlock()
	if c.fd < 0 {
		return 0, net.ErrClosed
	}
	n := 0
	if len(c.out) == 0 {
		var err error
		if n, err = c.send(b); err != nil || n == len(b) {
			return n, err
		}
	}
	c.out = append(c.out, b[n:]...)
	return len(b), c.arm()
}

// send writes what the socket takes.
func (c *Conn) send(b []byte) (n int, err error) {
	for n < len(b) {
		k, err := transmit(c.fd, b[n:])
		switch err {
		case 0:
			n += k
		case unix.EINTR:
		case unix.EAGAIN:
			return n, nil
		default:
			return n, os.NewSyscallError("sendto", err)
		}
	}
	return n, nil
}

// Flush writes what was kept: with the runtime all of it, on a loop what the
// socket takes now.
func (c *Conn) Flush() error {
	c.mu.Lock()
	if w := c.runtime; w != nil {
		out := c.out
		c.out = nil
		c.mu.Unlock()
		if len(out) == 0 {
			return nil
		}
		_, err := w.Write(out)
		return err
	}
	defer c.mu.Unlock()
	if len(c.out) == 0 {
		return nil
	}
	if c.fd < 0 {
		return net.ErrClosed
	}
	n, err := c.send(c.out)
	if err != nil {
		return err
	}
	if c.out = c.out[n:]; len(c.out) == 0 {
		c.out = nil
	}
	return c.arm()
}

// Unsent is how many bytes are kept.
func (c *Conn) Unsent() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.out)
}

// Close implements net.Conn. On a loop the owner is called, Readable, unless c
// has left by then: of a closed connection there are no events.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return net.ErrClosed
	case c.runtime != nil:
		c.closed = true
		return c.runtime.Close()
	}
	fd, l := c.fd, c.on
	c.closed, c.fd = true, -1
	l.Post(func() {
		if c.on == l {
			c.owner.Ready(c, Readable)
		}
	})
	return os.NewSyscallError("close", unix.Close(fd)) // the loop's epoll forgets it with that
}

// SetLinger is that of net.TCPConn.
func (c *Conn) SetLinger(seconds int) error {
	l := unix.Linger{Linger: int32(max(seconds, 0))} //nolint:gosec // seconds
	if seconds >= 0 {
		l.Onoff = 1
	}
	return c.control(func(fd int) error {
		return os.NewSyscallError("setsockopt", unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &l))
	})
}

// CloseWrite is that of net.TCPConn.
func (c *Conn) CloseWrite() error {
	return c.control(func(fd int) error { return os.NewSyscallError("shutdown", unix.Shutdown(fd, unix.SHUT_WR)) })
}

// control calls f with the descriptor, which nobody closes meanwhile.
func (c *Conn) control(f func(fd int) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.runtime == nil {
		if c.fd < 0 {
			return net.ErrClosed
		}
		return f(c.fd)
	}
	raw, err := c.runtime.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = f(int(fd)) }) //nolint:gosec // a descriptor
	return errors.Join(err, failed)
}

// SyscallConn implements syscall.Conn, as far as looking at the descriptor goes.
func (c *Conn) SyscallConn() (syscall.RawConn, error) { return looking{c}, nil }

type looking struct{ c *Conn }

// Control implements syscall.RawConn.
func (l looking) Control(f func(fd uintptr)) error {
	return l.c.control(func(fd int) error { f(uintptr(fd)); return nil }) //nolint:gosec // a descriptor
}

// Read implements syscall.RawConn, and does not.
func (looking) Read(func(uintptr) bool) error { return errors.ErrUnsupported }

// Write implements syscall.RawConn, and does not.
func (looking) Write(func(uintptr) bool) error { return errors.ErrUnsupported }

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements net.Conn. Deadlines hold with the runtime alone; on a
// loop they are kept for when the connection comes back.
func (c *Conn) SetDeadline(t time.Time) error { return c.deadline(t, true, true) }

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.deadline(t, true, false) }

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.deadline(t, false, true) }

func (c *Conn) deadline(t time.Time, read, write bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if read {
		c.readBy = t
	}
	if write {
		c.writeBy = t
	}
	switch {
	case c.runtime == nil:
		return nil
	case read && write:
		return c.runtime.SetDeadline(t)
	case read:
		return c.runtime.SetReadDeadline(t)
	}
	return c.runtime.SetWriteDeadline(t)
}

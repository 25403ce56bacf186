package reactor

import (
	"errors"
	"fmt"
	"net"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Join gives c to a loop, on which it is called. Nobody may be reading or
// writing. On an error c stays with the runtime, or is closed.
func (c *Conn) Join(l *Loop, owner Owner) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	raw, err := c.runtime.SyscallConn()
	if err != nil {
		return err
	}
	fd := -1
	var failed error
	err = raw.Control(func(of uintptr) { fd, failed = unix.FcntlInt(of, unix.F_DUPFD_CLOEXEC, 0) })
	if err := errors.Join(err, failed); err != nil {
		return fmt.Errorf("taking a connection out of the runtime's poller: %w", err)
	}
	// The runtime's poller lets go of what is closed, and of nothing else. The
	// connection lives on in the copy.
	_ = c.runtime.Close()
	c.at = l.seat(c)
	c.armed, c.deaf, c.reading, c.drained = unix.EPOLLIN, false, true, false
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: c.armed, Fd: c.at}); err != nil {
		l.rise(c.at)
		c.lend(fd)
		return fmt.Errorf("watching a connection: %w", err)
	}
	c.runtime, c.fd, c.on, c.owner = nil, fd, l, owner
	return nil
}

// Leave gives c back to the runtime, if it is on a loop, which calls. What was
// kept of it stays so until Flush.
func (c *Conn) Leave() {
	if c.on == nil {
		return
	}
	c.on.rise(c.at)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd >= 0 {
		_ = unix.EpollCtl(c.on.epoll, unix.EPOLL_CTL_DEL, c.fd, nil) // it may be deaf
		c.lend(c.fd)
	}
	c.on, c.owner = nil, nil
}

// lend gives a descriptor to the runtime. It is a file's by name alone: that of
// a socket, which does not block, goes to the same poller, and takes no second
// descriptor, of which there may be none left.
func (c *Conn) lend(fd int) {
	f := os.NewFile(uintptr(fd), "tcp") //nolint:gosec // a descriptor
	c.runtime, c.fd = f, -1
	_ = f.SetReadDeadline(c.readBy)
	_ = f.SetWriteDeadline(c.writeBy)
}

// Listen says whether the loop calls when c can be read. It is for the loop's
// own calls.
func (c *Conn) Listen(on bool) error {
	if c.reading == on { // nobody else changes it
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reading = on
	return c.arm()
}

// arm has the loop wait for what c needs. c.mu is held.
func (c *Conn) arm() error {
	want := uint32(0)
	if c.reading {
		want = unix.EPOLLIN
	}
	if len(c.out) > 0 {
		want |= unix.EPOLLOUT
	}
	if want == c.armed || c.fd < 0 {
		return nil
	}
	op := unix.EPOLL_CTL_MOD
	if c.deaf {
		op = unix.EPOLL_CTL_ADD
	}
	c.armed, c.deaf = want, false
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(c.on.epoll, op, c.fd, &unix.EpollEvent{Events: want, Fd: c.at}))
}

// can is what events of epoll mean.
func (c *Conn) can(events uint32) (r Readiness) {
	c.mu.Lock()
	defer c.mu.Unlock()
	const over = unix.EPOLLERR | unix.EPOLLHUP
	if events&(unix.EPOLLIN|over) != 0 && c.reading {
		c.drained = false
		r |= Readable
	}
	if events&(unix.EPOLLOUT|over) != 0 && len(c.out) > 0 {
		r |= Writable
	}
	if r == 0 && events&over != 0 && c.fd >= 0 && !c.deaf {
		// It is dead, and its owner is not ready to know. epoll would say so
		// without end.
		_ = unix.EpollCtl(c.on.epoll, unix.EPOLL_CTL_DEL, c.fd, nil)
		c.armed, c.deaf = 0, true
	}
	return r
}

// receive and transmit do not block, and return before the scheduler would have
// noticed that they were called: it is not told.

func receive(fd int, b []byte) (int, unix.Errno) {
	n, _, err := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), unix.MSG_DONTWAIT, 0, 0) //nolint:gosec // as documented there
	return int(n), err
}

func transmit(fd int, b []byte) (int, unix.Errno) {
	n, _, err := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0) //nolint:gosec // as documented there
	return int(n), err
}

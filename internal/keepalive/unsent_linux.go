package keepalive

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// Unsent returns how many bytes the kernel holds that the peer has not
// acknowledged.
func Unsent(c net.Conn) (int64, bool) {
	s, ok := c.(syscall.Conn)
	if !ok {
		return 0, false
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return 0, false
	}
	n, failed := 0, error(nil)
	if err := raw.Control(func(fd uintptr) { n, failed = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }); err != nil || failed != nil {
		return 0, false
	}
	return int64(n), true
}

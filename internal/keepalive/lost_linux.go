package keepalive

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Lost reports whether the peer of a TCP connection shows no sign of life
// though it should: what was sent, or a question after its closed window, has
// been repeated without any answer for longer than a peer that is there takes.
func Lost(c net.Conn) bool {
	s, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return false
	}
	var info *unix.TCPInfo
	if cerr := raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }); cerr != nil || err != nil {
		return false
	}
	silent := time.Duration(min(info.Last_ack_recv, info.Last_data_recv)) * time.Millisecond
	// One question may just be on its way; retransmissions are many by then.
	return silent > silence && (info.Retransmits > 1 || info.Probes > 1)
}

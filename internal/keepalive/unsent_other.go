//go:build !linux

package keepalive

import "net"

// Unsent is not known on this system.
func Unsent(net.Conn) (int64, bool) { return 0, false }

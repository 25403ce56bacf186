//go:build !linux

package httpkind

import "net"

// unsent is not known on this system.
func unsent(net.Conn) (int64, bool) { return 0, false }

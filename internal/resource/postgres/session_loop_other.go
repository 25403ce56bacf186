//go:build !linux

package pgkind

import "net"

// carrier has no loop here.
type carrier struct{ off bool }

func (*carrier) close() {}

func rideable(c net.Conn) net.Conn { return c }

// ride reports false: two goroutines carry every session.
func (*session) ride() bool { return false }

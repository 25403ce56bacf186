//go:build linux

package main

import (
	"fmt"
	"io"
	"net"
	"os"
)

// relaying copies bytes between whoever connects and addr until our input ends.
func relaying(addr string) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, "bare:", err)
		return 1
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	fmt.Fprintln(os.Stdout, l.Addr())
	for {
		from, err := l.Accept()
		if err != nil {
			return 1
		}
		go func() {
			defer func() { _ = from.Close() }()
			to, err := net.Dial("tcp", addr) //nolint:noctx // as above
			if err != nil {
				return
			}
			defer func() { _ = to.Close() }()
			go func() {
				_, _ = io.Copy(to, from)
				_ = to.Close()
			}()
			_, _ = io.Copy(from, to)
		}()
	}
}

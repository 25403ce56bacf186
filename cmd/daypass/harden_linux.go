package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// harden keeps the server's memory, which holds keys, out of core dumps and
// away from other processes of the same user (prctl(2), setrlimit(2)).
func harden() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("turning core dumps off: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("making the process not dumpable: %w", err)
	}
	return nil
}

//go:build unix

package daemon

import "syscall"

// descriptors is how many files this process may have open; 0 where that is
// not to be known. Go has raised it to what the system allows.
func descriptors() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return uint64(limit.Cur)
}

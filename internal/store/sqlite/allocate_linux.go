package sqlite

import (
	"errors"
	"os"
	"syscall"
)

// allocate gives f blocks of its own for size bytes.
func allocate(f *os.File, from, size int64) error {
	err := syscall.Fallocate(int(f.Fd()), 0, from, size)
	if errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOSYS) {
		return writeZeros(f, from, size)
	}
	return err
}

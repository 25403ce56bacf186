//go:build !linux

package sqlite

import "os"

// allocate gives f blocks of its own for size bytes.
func allocate(f *os.File, from, size int64) error { return writeZeros(f, from, size) }

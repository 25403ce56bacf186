//go:build !linux

package sqlite

import "os"

// allocate gives f size bytes of blocks of its own.
func allocate(f *os.File, size int64) error { return writeZeros(f, size) }

//go:build !linux && !darwin

package sqlite

// freeSpace is not known here: a write that fails tells.
func freeSpace(string) (int64, bool) { return 0, false }

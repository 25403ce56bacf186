//go:build linux || darwin

package sqlite

import "syscall"

// freeSpace returns the bytes that an unprivileged process can still write.
func freeSpace(dir string) (int64, bool) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, false
	}
	return int64(st.Bavail) * int64(st.Bsize), true
}

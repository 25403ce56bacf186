package main

import (
	"os"
	"runtime"
)

// room is what a server may throw away between two collections at least.
const room = 32 << 20

// makeRoom has the collector of garbage come seldom while little is live. It
// comes when the heap has doubled, and a small server's has after a few hundred
// requests, which then wait for it. The memory counts as live and is never
// touched, so that it is not resident; and what it adds does not grow with what
// is live, as a higher GOGC would have it. Whoever sets the collector by
// GOGC or GOMEMLIMIT knows better. It stays until done is called.
func makeRoom() (done func()) {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return func() {}
	}
	untouched := make([]byte, room)
	return func() { runtime.KeepAlive(untouched) }
}

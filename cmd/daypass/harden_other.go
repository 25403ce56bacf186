//go:build !linux

package main

// harden has nothing to do here: see docs/operations.md for what the system
// offers instead.
func harden() error { return nil }

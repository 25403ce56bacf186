//go:build !linux

package daemon

// spareProgram does something on Linux alone.
func spareProgram() {}

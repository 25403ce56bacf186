//go:build !failpoint

package failpoint

// Enabled reports whether points can do anything in this binary.
const Enabled = false

// Hit marks a point at which nothing can be returned.
func Hit(string) {}

// Fail marks a point at which an error can be returned.
func Fail(string) error { return nil }

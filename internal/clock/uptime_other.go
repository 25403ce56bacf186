//go:build !linux

package clock

import "time"

// uptime has no boot-time clock to read here: across a restart only the stored
// mark and the wall clock count.
func uptime() (string, time.Duration) { return "", 0 }

package clock

import (
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// bootID names this boot of the machine (proc(5)); "" where that cannot be
// known.
var bootID = sync.OnceValue(func() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
})

// uptime reads the machine's boot-time clock, which also runs while the
// machine sleeps, and the ID of this boot. /proc/uptime would do, but for its
// steps of 10 ms.
func uptime() (string, time.Duration) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil || bootID() == "" {
		return "", 0
	}
	return bootID(), time.Duration(ts.Nano())
}

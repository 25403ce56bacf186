package clock

import (
	"os"
	"strconv"
	"strings"
	"time"
)

// uptime reads the machine's boot-time clock, which also runs while the
// machine sleeps, and the ID of this boot (proc(5)).
func uptime() (string, time.Duration) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", 0
	}
	line, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return "", 0
	}
	seconds, _, _ := strings.Cut(string(line), " ")
	up, err := strconv.ParseFloat(seconds, 64)
	if err != nil {
		return "", 0
	}
	return strings.TrimSpace(string(boot)), time.Duration(up * float64(time.Second))
}

package daemon

import (
	"bufio"
	"bytes"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// spareProgram gives back to the system the pages of the program itself that a
// start has touched: most are not needed again, and those that are come back
// from the page cache one by one. Only mappings go that cannot be written and
// of which no page is this process's own, so that the file says what they hold.
// Where something is not as expected they stay.
func spareProgram() {
	program, err := os.Executable()
	if err != nil {
		return
	}
	maps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return
	}
	for _, m := range programMappings(maps, program) {
		_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, m.from, m.to-m.from, syscall.MADV_DONTNEED)
	}
}

// mapping is a range of addresses.
type mapping struct{ from, to uintptr }

// programMappings reads out of smaps (proc_pid_smaps(5)) the mappings of a file
// that are read-only, private, and unchanged.
func programMappings(smaps []byte, file string) (all []mapping) {
	var now *mapping
	clean := 0 // what says that no page is this process's own
	lines := bufio.NewScanner(bytes.NewReader(smaps))
	for lines.Scan() {
		line := lines.Text()
		name, value, ok := strings.Cut(line, ":")
		switch {
		case ok && now != nil && (name == "Anonymous" || name == "Swap"):
			if strings.TrimSpace(value) != "0 kB" {
				now = nil
			} else if clean++; clean == 2 {
				all, now = append(all, *now), nil
			}
		case strings.HasSuffix(line, " "+file):
			now, clean = parseMapping(line), 0
		case len(line) > 0 && strings.IndexByte("0123456789abcdef", line[0]) >= 0:
			now = nil // another mapping begins
		}
	}
	return all
}

// parseMapping reads the first line of a mapping; nil when it may be written or
// is shared.
func parseMapping(line string) *mapping {
	fields := strings.Fields(line)
	if len(fields) < 2 || fields[1] != "r-xp" && fields[1] != "r--p" {
		return nil
	}
	from, to, _ := strings.Cut(fields[0], "-")
	low, err := strconv.ParseUint(from, 16, 64)
	if err != nil {
		return nil
	}
	high, err := strconv.ParseUint(to, 16, 64)
	if err != nil || high <= low {
		return nil
	}
	return &mapping{uintptr(low), uintptr(high)}
}

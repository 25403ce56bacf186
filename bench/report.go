//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// report is what a run found out.
type report struct {
	began   time.Time
	command string
	machine [][2]string
	rows    []row
	notes   []string
}

// row is one figure beside its target.
type row struct {
	what     string
	target   string // "" when it is only told
	measured string
	held     bool
	limit    string // what limits it
}

// check adds a figure with a target.
func (r *report) check(out io.Writer, what, target, measured string, held bool, limit string) {
	r.rows = append(r.rows, row{what, target, measured, held, limit})
	fmt.Fprintf(out, "%-58s %-28s %-24s %s\n", what, measured, target, verdict(held))
}

// tell adds a figure without a target.
func (r *report) tell(out io.Writer, what, measured string) {
	r.rows = append(r.rows, row{what: what, measured: measured})
	fmt.Fprintf(out, "%-58s %s\n", what, measured)
}

// note adds a sentence to the report.
func (r *report) note(out io.Writer, format string, args ...any) {
	s := fmt.Sprintf(format, args...)
	r.notes = append(r.notes, s)
	fmt.Fprintln(out, "  "+s)
}

func verdict(held bool) string {
	if held {
		return "held"
	}
	return "**not held**"
}

func newReport(ctx context.Context, b *bench, args []string) (*report, error) {
	r := &report{began: time.Now(), command: "make bench"}
	if len(args) > 0 {
		r.command = "bench " + strings.Join(args, " ")
	}
	told := func(name string, args ...string) string {
		out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
		if err != nil && len(out) == 0 {
			return "unknown"
		}
		line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		return line
	}
	r.machine = [][2]string{
		{"date", r.began.UTC().Format("2006-01-02 15:04 MST")},
		{"daypass", told("git", "describe", "--tags", "--always", "--dirty")},
		{"processor", fmt.Sprintf("%s, %d cores", processor(), runtime.NumCPU())},
		{"memory", field("/proc/meminfo", "MemTotal")},
		{"kernel", told("uname", "-sr")},
		{"file system", told("stat", "-f", "-c", "%T", b.work)},
		{"Go", runtime.Version()},
		{"SQLite", dependency("modernc.org/sqlite")},
		{"wrk", told("wrk", "-v")},
	}
	return r, nil
}

func dependency(path string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == path {
				return m.Path + " " + m.Version
			}
		}
	}
	return "unknown"
}

func processor() string { return field("/proc/cpuinfo", "model name") }

// field reads a line of a file of /proc.
func field(file, name string) string {
	content, err := os.ReadFile(file)
	if err != nil {
		return "unknown"
	}
	for line := range strings.SplitSeq(string(content), "\n") {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

func (r *report) summary(out io.Writer) {
	missed := 0
	for _, row := range r.rows {
		if row.target != "" && !row.held {
			missed++
			fmt.Fprintf(out, "not held: %s: %s (target %s)\n", row.what, row.measured, row.target)
		}
	}
	fmt.Fprintf(out, "\n%d figures, %d targets missed, %s\n", len(r.rows), missed, time.Since(r.began).Round(time.Second))
}

// write writes the report as a page of the documentation.
func (r *report) write(file string) error {
	var b strings.Builder
	b.WriteString(`# Benchmarks

This page is written by ` + "`make bench`" + `: one run, everything side by side on one machine. Compare ratios, not figures of different machines: what stands beside Daypass was measured in the same minutes. Each comparison alternates between the two sides for
several rounds and takes medians.

`)
	fmt.Fprintf(&b, "| | |\n|---|---|\n")
	for _, m := range r.machine {
		fmt.Fprintf(&b, "| %s | %s |\n", m[0], strings.ReplaceAll(m[1], "|", "/"))
	}
	fmt.Fprintf(&b, "| command | `%s` |\n| took | %s |\n\n## Targets\n\n| what | target | measured | held |\n|---|---|---|---|\n", r.command, time.Since(r.began).Round(time.Second))
	for _, row := range r.rows {
		if row.target != "" {
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", row.what, row.target, row.measured, verdict(row.held))
		}
	}
	if slices.ContainsFunc(r.rows, func(row row) bool { return row.target != "" && !row.held }) {
		b.WriteString("\nWhat limits what falls short:\n\n")
		for _, row := range r.rows {
			if row.target != "" && !row.held {
				fmt.Fprintf(&b, "- **%s** (%s): %s\n", row.what, row.measured, row.limit)
			}
		}
	}
	b.WriteString("\n## All figures\n\n| what | measured |\n|---|---|\n")
	for _, row := range r.rows {
		fmt.Fprintf(&b, "| %s | %s |\n", row.what, row.measured)
	}
	if len(r.notes) > 0 {
		b.WriteString("\n## How it was measured\n\n")
		for _, n := range r.notes {
			b.WriteString("- " + n + "\n")
		}
	}
	b.WriteString(again)
	return os.WriteFile(file, []byte(b.String()), 0o644) //nolint:gosec // documentation
}

const again = `
## Again

    make bench                                    # everything; writes this page
    go run ./bench -only check,cycles             # parts alone; prints and writes nothing
    go run ./bench -short                         # a smoke: small, says nothing about speed
    go test -bench . -count 10 ./internal/live ./internal/store/sqlite ./internal/broker | tee new.txt   # for benchstat

The store with a million grants is made once, through the store's own interface with its audit log, and kept in the user's cache folder (` + "`daypass-bench`" + `); remove it when done. Run on a machine that does nothing else.
`

// median of measurements.
func median[T float64 | time.Duration](v []T) T {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}

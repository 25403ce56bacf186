//go:build linux

// Command bench measures Daypass beside what it is compared with, in one run
// on one machine: a handler that does nothing, the disk's own commits, the
// standard library's reverse proxy, and other products where they can be had.
// It prints ratios and writes docs/benchmarks.md.
//
// It refuses to judge: a target that was missed is written down with its
// figure. What must hold everywhere is a test.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// bench is one run.
type bench struct {
	scale  scale
	binary string // daypass
	cache  string // seeded stores and built peers, kept between runs
	work   string // of this run
	out    io.Writer
	report *report
}

// scale is how long and how large the parts are.
type scale struct {
	short   bool
	rounds  int           // of each comparison
	round   time.Duration // of one side
	grants  []int         // live grants for the token check
	many    int           // for start, memory and the sweep
	streams int
	clients []int
}

var (
	full  = scale{rounds: 5, round: 4 * time.Second, grants: []int{1, 10_000, 1_000_000}, many: 1_000_000, streams: 2000, clients: []int{1, 16, 64}}
	smoke = scale{short: true, rounds: 1, round: time.Second, grants: []int{1, 2000}, many: 2000, streams: 100, clients: []int{1, 16}}
)

// part is one thing that is measured.
type part struct {
	name string
	run  func(*bench, context.Context) error
}

var parts = []part{
	{"start", (*bench).starting},
	{"inprocess", (*bench).checking},
	{"check", (*bench).tokenCheck},
	{"cycles", (*bench).cycles},
	{"proxy", (*bench).proxying},
	{"streams", (*bench).cutting},
	{"sweep", (*bench).sweeping},
	{"postgres", (*bench).databases},
	{"sessions", (*bench).sessions},
	{"ends", (*bench).ends},
	{"grants", (*bench).grants},
	{"peers", (*bench).peers},
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == bareCommand {
		os.Exit(bare(os.Args[2:]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	short := flags.Bool("short", false, "a few seconds per part, to see that everything works")
	only := flags.String("only", "", "run these `parts` alone, separated by commas")
	to := flags.String("out", "", "write the report to this `file`")
	binary := flags.String("binary", "bin/daypass", "the `program` to measure")
	cache := flags.String("cache", filepath.Join(cacheFolder(), "daypass-bench"), "keep seeded stores in this `folder`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	program, err := filepath.Abs(*binary)
	if err != nil {
		return err
	}
	if _, err := os.Stat(program); err != nil {
		return fmt.Errorf("%w: run make build first", err)
	}
	if err := os.MkdirAll(*cache, 0o700); err != nil {
		return err
	}
	// On a disk as the cache is, not in a temporary folder that may be memory.
	work, err := os.MkdirTemp(*cache, "run-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	b := &bench{scale: full, binary: program, cache: *cache, work: work, out: os.Stdout}
	if *short {
		b.scale = smoke
	}
	if b.report, err = newReport(ctx, b, args); err != nil {
		return err
	}
	var failed []error
	for _, p := range parts {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), p.name) {
			continue
		}
		began := time.Now()
		fmt.Fprintf(b.out, "\n== %s\n", p.name)
		if err := p.run(b, ctx); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", p.name, err))
			b.report.note(b.out, "**%s could not be measured:** %s", p.name, strings.ReplaceAll(err.Error(), "\n", " "))
		}
		fmt.Fprintf(b.out, "(%s)\n", time.Since(began).Round(100*time.Millisecond))
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	b.report.summary(b.out)
	if *to != "" {
		failed = append(failed, b.report.write(*to))
	}
	return errors.Join(failed...)
}

func cacheFolder() string {
	if dir, err := os.UserCacheDir(); err == nil {
		return dir
	}
	return os.TempDir()
}

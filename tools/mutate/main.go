// Command mutate breaks the code a little, one place at a time, and counts how
// many of the broken versions the tests notice. Each package is built once with
// all its mutants inside, each behind a switch; the test binary then runs once
// for each mutant, only with the tests that reach it, the quickest first. What
// survives is shown to the tests of the package's kin.
//
// It refuses to count what was not seen: a mutant that no test reaches is a
// survivor, one that hangs is told apart, and a survivor stays on the list until
// a test kills it or survivors.txt says why nothing can.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	opt := options{out: os.Stdout}
	flag.IntVar(&opt.every, "every", 1, "try one mutant in so many, chosen by its name")
	flag.IntVar(&opt.part, "part", 0, "which of these parts: tests that were written for one are tried by another")
	flag.IntVar(&opt.jobs, "jobs", 2, "how many test binaries run at once")
	flag.IntVar(&opt.lives, "lives", 60, "how many random lives each property sees for each mutant")
	flag.StringVar(&opt.only, "only", "", "try only mutants whose name contains this")
	flag.StringVar(&opt.again, "again", "", "try only the mutants that survived in this output of an earlier run")
	flag.BoolVar(&opt.list, "list", false, "list the mutants and try none")
	flag.Float64Var(&opt.least, "least", 90, "percent that must be killed in each package")
	flag.BoolVar(&opt.strict, "strict", false, "fail for every survivor that survivors.txt does not explain, too")
	flag.DurationVar(&opt.budget, "budget", 0, "stop trying after so long and say how far it got; 0: never")
	flag.BoolVar(&opt.alone, "alone", false, "run the package's own tests only, not those of its kin")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: go run ./tools/mutate [flags] PACKAGE…\n\n    go run ./tools/mutate ./internal/access")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, ok := context.Background(), true
	began := time.Now()
	reasons, err := readReasons("tools/mutate/survivors.txt")
	if err != nil {
		fatal(err)
	}
	if opt.budget > 0 {
		opt.until = began.Add(opt.budget)
	}
	for _, pkg := range flag.Args() {
		good, err := mutate(ctx, opt, strings.TrimPrefix(filepath.Clean(pkg), "./"), reasons)
		if err != nil {
			fatal(fmt.Errorf("%s: %w", pkg, err))
		}
		ok = ok && good
	}
	_, _ = fmt.Fprintf(opt.out, "took %s\n", time.Since(began).Round(time.Second))
	if !ok {
		os.Exit(1)
	}
}

type options struct {
	out         io.Writer
	every, part int
	jobs        int
	lives       int
	only        string
	again       string
	list        bool
	least       float64
	budget      time.Duration
	alone       bool
	strict      bool
	until       time.Time // zero: no end
}

func (o options) over() bool { return !o.until.IsZero() && time.Now().After(o.until) }

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "mutate:", err)
	os.Exit(1)
}

// mutate tries the mutants of one package, which is named by its folder, and
// reports whether the tests are good enough.
func mutate(ctx context.Context, opt options, dir string, reasons map[string]string) (bool, error) {
	p, err := load(ctx, dir)
	if err != nil {
		return false, err
	}
	before := ""
	if opt.again != "" {
		text, err := os.ReadFile(opt.again)
		if err != nil {
			return false, err
		}
		before = string(text)
	}
	all := p.instrument()
	var chosen []*mutant
	for _, m := range all {
		if m.sampled(opt.every, opt.part) && strings.Contains(m.name, opt.only) && strings.Contains(before, m.name+"\n") == (opt.again != "") {
			chosen = append(chosen, m)
		}
	}
	if opt.list {
		for _, m := range chosen {
			_, _ = fmt.Fprintf(opt.out, "%d\t%s\n", m.id, m.name)
		}
		return true, nil
	}
	b, err := p.lay(opt.lives)
	if b != nil {
		defer b.remove()
	}
	if err != nil {
		return false, err
	}
	if err := b.tryIn(ctx, opt, dir, chosen, 0); err != nil {
		return false, err
	}
	var failed error
	for _, other := range kin[dir] {
		var alive []*mutant
		for _, m := range chosen {
			if m.result == survived {
				alive = append(alive, m)
			}
		}
		if len(alive) == 0 || opt.over() || opt.alone {
			break
		}
		if err := b.tryIn(ctx, opt, other, alive, dear); err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", other, err)) // what was found so far is worth telling
		}
	}
	return report(opt, dir, len(all), chosen, reasons), failed
}

// tryIn tries mutants with the tests of one package.
func (b *planted) tryIn(ctx context.Context, opt options, dir string, mutants []*mutant, dear time.Duration) error {
	s, err := b.build(ctx, dir)
	if err != nil {
		return err
	}
	if err := s.measure(ctx, dear); err != nil {
		return err
	}
	if dir == b.p.dir && len(s.tests) == 0 {
		return errors.New("the package has no tests")
	}
	s.tryAll(ctx, opt, mutants)
	if dir == b.p.dir {
		return nil
	}
	dead := 0
	for _, m := range mutants {
		if m.result == killed {
			dead++
		}
	}
	_, _ = fmt.Fprintf(opt.out, "  %d tests of %s, asked about %d survivors, kill %d; %d more are too dear or need more lives, and were not asked\n", len(s.tests), dir, len(mutants), dead, s.left)
	return nil
}

// report prints what came of the mutants of one package.
func report(opt options, dir string, of int, chosen []*mutant, reasons map[string]string) bool {
	var dead, hung, unreached, explained, skipped int
	var open []*mutant
	for _, m := range chosen {
		switch {
		case m.result == untried:
			skipped++
		case m.result == killed:
			dead++
			if m.hung {
				hung++
			}
			if _, listed := reasons[m.name]; listed {
				_, _ = fmt.Fprintf(opt.out, "  is killed, so survivors.txt need not explain it: %s\n", m.name)
			}
		case reasons[m.name] != "":
			explained++
		default:
			open = append(open, m)
		}
	}
	for _, m := range open {
		if m.reached == 0 {
			unreached++
		}
		_, _ = fmt.Fprintf(opt.out, "  survived (line %d, %d tests reach it): %s\n", m.line, m.reached, m.name)
	}
	tried := len(chosen) - skipped
	percent := 100.0
	if tried > 0 {
		percent = 100 * float64(dead) / float64(tried)
	}
	_, _ = fmt.Fprintf(opt.out, "%s: %d mutants, %d tried, %d killed (%.1f %%; %d of them by hanging), %d survive and are explained, %d survive unexplained, %d of these reached by no test",
		dir, of, tried, dead, percent, hung, explained, len(open), unreached)
	if skipped > 0 {
		_, _ = fmt.Fprintf(opt.out, ", %d not tried for want of time", skipped)
	}
	_, _ = fmt.Fprintln(opt.out)
	// A part of them says little of survivors, and enough of tests that have
	// stopped to look.
	return percent >= opt.least && tried > 0 && (!opt.strict || len(open) == 0)
}

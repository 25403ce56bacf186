package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// planted is a package with its mutants inside, laid over the module.
type planted struct {
	p       *parsed
	folder  string // temporary
	overlay string // file
	lives   int    // how many random lives each property sees
}

// suite is the tests of one package, built with the mutants of another or its own.
type suite struct {
	*planted
	dir    string
	binary string
	rapid  bool // its tests use rapid, whose flags exist then
	tests  []timed
	left   int // tests of another package that take too long to be asked

	mu     sync.Mutex
	killer map[string]string // function → the test that noticed its last mutant
}

// timed is one test: how much of a processor it takes, and which mutants it
// reaches.
type timed struct {
	name string
	took time.Duration
	hits map[int]bool
}

// lay writes the package with its mutants where the compiler finds it.
func (p *parsed) lay(lives int) (*planted, error) {
	folder, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return nil, err
	}
	b := &planted{p: p, folder: folder, overlay: filepath.Join(folder, "overlay.json"), lives: lives}
	replace := map[string]string{}
	put := func(path string, text []byte) error {
		abs, err := filepath.Abs(path)
		if err != nil {
			return err
		}
		replace[abs] = filepath.Join(folder, filepath.Base(path))
		return os.WriteFile(replace[abs], text, 0o600)
	}
	most := 1
	for _, s := range p.files {
		most += len(s.edits)
		if err := put(s.path, s.render()); err != nil {
			return b, err
		}
	}
	if err := put(filepath.Join(p.dir, "zz_mutants.go"), fmt.Appendf(nil, switchboard, p.name, most)); err != nil {
		return b, err
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return b, err
	}
	return b, os.WriteFile(b.overlay, overlay, 0o600)
}

func (b *planted) remove() { _ = os.RemoveAll(b.folder) }

// build compiles the tests of the package in dir.
func (b *planted) build(ctx context.Context, dir string) (*suite, error) {
	s := &suite{planted: b, dir: dir, binary: filepath.Join(b.folder, strings.ReplaceAll(dir, "/", "-")), killer: map[string]string{}}
	if out, err := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-overlay", b.overlay, "-o", s.binary, "./"+dir).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building the mutants: %w\n%s", err, out)
	}
	sources, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	for _, f := range sources {
		text, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		s.rapid = s.rapid || bytes.Contains(text, []byte(`"pgregory.net/rapid"`))
	}
	return s, err
}

// run runs some tests once, and says how much of a processor they took.
func (b *suite) run(ctx context.Context, mutant int, tests, hits string, limit time.Duration) (string, time.Duration, error) {
	// The limit is of processor time, which other work on the machine does not
	// use up; what waits for ever without using any ends by the clock.
	ctx, cancel := context.WithTimeout(ctx, stuck+5*time.Second)
	defer cancel()
	args := []string{"-test.run", tests, "-test.failfast", "-test.timeout", stuck.String()}
	if b.rapid {
		args = append(args, "-rapid.nofailfile", "-rapid.seed=1", "-rapid.shrinktime=1ms")
		args = append(args, "-rapid.checks="+strconv.Itoa(b.lives))
	}
	within := []string{"-c", `ulimit -t "$0"; exec "$@"`, strconv.Itoa(int(limit.Seconds())), b.binary}
	cmd := exec.CommandContext(ctx, "/bin/sh", append(within, args...)...)
	cmd.Dir = b.dir
	cmd.Env = append(os.Environ(), "DAYPASS_MUTANT="+strconv.Itoa(mutant), "GOMAXPROCS=2", "DAYPASS_LIVES="+strconv.Itoa(b.lives))
	if hits != "" {
		cmd.Env = append(cmd.Env, "DAYPASS_MUTANT_HITS="+hits)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		return string(out), 0, err
	}
	return string(out), cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), err
}

// measure finds out, test by test, how long each takes and what it reaches. A
// test that takes longer than dear is left out; 0: none is.
func (b *suite) measure(ctx context.Context, dear time.Duration) error {
	cmd := exec.CommandContext(ctx, b.binary, "-test.list", ".")
	cmd.Dir = b.dir
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("listing the tests: %w", err)
	}
	for scan := bufio.NewScanner(bytes.NewReader(out)); scan.Scan(); {
		name := scan.Text()
		if strings.HasPrefix(name, "Benchmark") {
			continue
		}
		t, err := b.once(ctx, name)
		if dear > 0 && (err != nil || t.took > dear) {
			b.left++ // one that fails counts how often it was tried, and wants more lives
			continue
		}
		if err != nil {
			return err
		}
		b.tests = append(b.tests, t)
	}
	slices.SortStableFunc(b.tests, func(x, y timed) int { return int(x.took - y.took) })
	return nil
}

// once runs one test without any mutant.
func (b *suite) once(ctx context.Context, name string) (timed, error) {
	hits := filepath.Join(b.folder, "hits")
	_ = os.Remove(hits)
	out, took, err := b.run(ctx, 0, "^"+name+"$", hits, 5*time.Minute)
	if err != nil {
		return timed{}, fmt.Errorf("%s fails without any mutant: %w\n%s", name, err, out)
	}
	t := timed{name: name, took: took, hits: map[int]bool{}}
	text, err := os.ReadFile(hits)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return t, err
	}
	for _, line := range strings.Fields(string(text)) {
		id, err := strconv.Atoi(line)
		if err != nil {
			return t, err
		}
		t.hits[id] = true
	}
	return t, nil
}

// tryAll tries mutants, some at once.
func (b *suite) tryAll(ctx context.Context, opt options, mutants []*mutant) {
	next := make(chan *mutant)
	var group sync.WaitGroup
	var tried atomic.Int64
	for range opt.jobs {
		group.Go(func() {
			for m := range next {
				b.try(ctx, m)
				if n := tried.Add(1); n%100 == 0 {
					_, _ = fmt.Fprintf(os.Stderr, "%s, tests of %s: %d of %d\n", b.p.dir, b.dir, n, len(mutants))
				}
			}
		})
	}
	for _, m := range mutants {
		if opt.over() {
			break
		}
		next <- m
	}
	close(next)
	group.Wait()
}

// stuck is how long tests may go on by the clock.
const stuck = 5 * time.Minute

// quick is how long a test may take to be run together with others.
const quick = 400 * time.Millisecond

// try runs the tests that reach m until one fails: first the one that noticed
// the last mutant of the same function, then the quickest together, then the
// others one by one.
func (b *suite) try(ctx context.Context, m *mutant) {
	b.mu.Lock()
	likely := b.killer[m.fn]
	b.mu.Unlock()
	var first, together []timed
	var groups [][]timed
	for _, t := range b.tests {
		if !t.hits[m.id] {
			continue
		}
		m.reached++
		switch {
		case t.name == likely:
			first = append(first, t)
		case t.took < quick:
			together = append(together, t)
		default:
			groups = append(groups, []timed{t})
		}
	}
	m.result = survived
	for _, g := range append([][]timed{first, together}, groups...) {
		if len(g) > 0 && b.notice(ctx, m, g) {
			m.result = killed
			return
		}
	}
}

var failedTest = regexp.MustCompile(`(?m)^--- FAIL: (\w+)`)

// notice reports whether one of the tests fails with m.
func (b *suite) notice(ctx context.Context, m *mutant, tests []timed) bool {
	names := make([]string, len(tests))
	limit := 10 * time.Second
	for i, t := range tests {
		names[i] = t.name
		limit += 10 * t.took
	}
	limit = min(limit, time.Minute) // what hangs is noticed, too
	out, _, err := b.run(ctx, m.id, "^("+strings.Join(names, "|")+")$", "", limit)
	if err == nil {
		return false
	}
	m.hung = !failedTest.MatchString(out) && (strings.Contains(out, "SIGXCPU") || strings.Contains(err.Error(), "signal:")) || strings.Contains(out, "panic: test timed out")
	if by := failedTest.FindStringSubmatch(out); by != nil {
		b.mu.Lock()
		b.killer[m.fn] = by[1]
		b.mu.Unlock()
	}
	return true
}

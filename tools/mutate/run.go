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
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// built is the test binary of a package with its mutants inside.
type built struct {
	p      *parsed
	folder string // temporary
	binary string
	rapid  bool // its tests use rapid, whose flags exist then
	lives  int  // how many random lives each property sees
	tests  []timed
}

// timed is one test: how long it takes, and which mutants it reaches.
type timed struct {
	name string
	took time.Duration
	hits map[int]bool
}

// build compiles the tests of the package with an overlay.
func (p *parsed) build(ctx context.Context) (*built, error) {
	folder, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return nil, err
	}
	b := &built{p: p, folder: folder, binary: filepath.Join(folder, "tests")}
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
	file := filepath.Join(folder, "overlay.json")
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		return b, err
	}
	if out, err := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-overlay", file, "-o", b.binary, "./"+p.dir).CombinedOutput(); err != nil {
		return b, fmt.Errorf("building the mutants: %w\n%s", err, out)
	}
	sources, err := filepath.Glob(filepath.Join(p.dir, "*_test.go"))
	for _, f := range sources {
		text, err := os.ReadFile(f)
		if err != nil {
			return b, err
		}
		b.rapid = b.rapid || bytes.Contains(text, []byte(`"pgregory.net/rapid"`))
	}
	return b, err
}

func (b *built) remove() { _ = os.RemoveAll(b.folder) }

// run runs some tests once.
func (b *built) run(ctx context.Context, mutant int, tests, hits string, limit time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, limit+5*time.Second)
	defer cancel()
	args := []string{"-test.run", tests, "-test.failfast", "-test.timeout", limit.String()}
	if b.rapid {
		args = append(args, "-rapid.nofailfile", "-rapid.seed=1", "-rapid.shrinktime=1ms")
		args = append(args, "-rapid.checks="+strconv.Itoa(b.lives))
	}
	cmd := exec.CommandContext(ctx, b.binary, args...)
	cmd.Dir = b.p.dir
	cmd.Env = append(os.Environ(), "DAYPASS_MUTANT="+strconv.Itoa(mutant), "GOMAXPROCS=2", "DAYPASS_LIVES="+strconv.Itoa(b.lives))
	if hits != "" {
		cmd.Env = append(cmd.Env, "DAYPASS_MUTANT_HITS="+hits)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// measure finds out, test by test, how long each takes and what it reaches.
func (b *built) measure(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, b.binary, "-test.list", ".")
	cmd.Dir = b.p.dir
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("listing the tests: %w", err)
	}
	for scan := bufio.NewScanner(bytes.NewReader(out)); scan.Scan(); {
		name := scan.Text()
		if strings.HasPrefix(name, "Benchmark") {
			continue
		}
		hits := filepath.Join(b.folder, "hits")
		_ = os.Remove(hits)
		began := time.Now()
		if out, err := b.run(ctx, 0, "^"+name+"$", hits, 5*time.Minute); err != nil {
			return fmt.Errorf("%s fails without any mutant: %w\n%s", name, err, out)
		}
		t := timed{name: name, took: time.Since(began), hits: map[int]bool{}}
		text, err := os.ReadFile(hits)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		for _, line := range strings.Fields(string(text)) {
			id, err := strconv.Atoi(line)
			if err != nil {
				return err
			}
			t.hits[id] = true
		}
		b.tests = append(b.tests, t)
	}
	if len(b.tests) == 0 {
		return errors.New("the package has no tests")
	}
	slices.SortStableFunc(b.tests, func(x, y timed) int { return int(x.took - y.took) })
	return nil
}

// tryAll tries mutants, some at once.
func (b *built) tryAll(ctx context.Context, opt options, mutants []*mutant) {
	next := make(chan *mutant)
	var group sync.WaitGroup
	var tried atomic.Int64
	for range opt.jobs {
		group.Go(func() {
			for m := range next {
				b.try(ctx, m)
				if n := tried.Add(1); n%100 == 0 {
					_, _ = fmt.Fprintf(os.Stderr, "%s: %d of %d\n", b.p.dir, n, len(mutants))
				}
			}
		})
	}
	for _, m := range mutants {
		if !opt.until.IsZero() && time.Now().After(opt.until) {
			break
		}
		next <- m
	}
	close(next)
	group.Wait()
}

// quick is how long a test may take to be run together with others.
const quick = 400 * time.Millisecond

// try runs the tests that reach m, the quickest first, until one fails.
func (b *built) try(ctx context.Context, m *mutant) {
	var together, alone []timed
	for _, t := range b.tests {
		if !t.hits[m.id] {
			continue
		}
		m.reached++
		if t.took < quick {
			together = append(together, t)
		} else {
			alone = append(alone, t)
		}
	}
	m.result = survived
	if m.reached == 0 {
		return
	}
	groups := [][]timed{}
	if len(together) > 0 {
		groups = append(groups, together)
	}
	for _, t := range alone {
		groups = append(groups, []timed{t})
	}
	for _, g := range groups {
		names := make([]string, len(g))
		limit := 10 * time.Second
		for i, t := range g {
			names[i] = t.name
			limit += 10 * t.took
		}
		limit = min(limit, time.Minute) // what hangs is noticed, too
		if _, err := b.run(ctx, m.id, "^("+strings.Join(names, "|")+")$", "", limit); err != nil {
			m.result = killed
			return
		}
	}
}

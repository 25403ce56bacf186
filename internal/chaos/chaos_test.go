//go:build failpoint

package chaos

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/failpoint"
)

var (
	seeds  = flag.Int("seeds", 1, "runs of each point")
	kills  = flag.Int("kills", 10, "runs that are killed at a random instant")
	seed   = flag.Uint64("seed", 0, "the first seed; 0 draws one")
	point  = flag.String("point", "", "run only this point; `random` for a random instant")
	side   = flag.Int("parallel", 5, "runs at the same time")
	places = flag.String("dir", "", "where the folders are made; in memory where there is /dev/shm")
	built  = flag.String("program", "", "a server built with -tags failpoint; built when left out")
	table  = flag.String("table", "", "write what was found to this file")
)

// build builds the server with its failpoints.
func build(t testing.TB, dir string, more ...string) string {
	t.Helper()
	program := filepath.Join(dir, "daypass")
	args := append([]string{"build", "-tags", "failpoint", "-o", program}, more...)
	cmd := exec.Command("go", append(args, "github.com/daypass/daypass/cmd/daypass")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return program
}

// site makes the files of all runs of a test.
func site(t testing.TB) (*Files, string) {
	t.Helper()
	// A kill loses nothing of what was written to a file, so that memory is as
	// good as a disk here, and faster.
	where := *places
	if info, err := os.Stat("/dev/shm"); where == "" && err == nil && info.IsDir() {
		where = "/dev/shm"
	}
	dir, err := os.MkdirTemp(where, "daypass-chaos-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if *places == "" || !t.Failed() {
			_ = os.RemoveAll(dir)
		}
	})
	service := NewService()
	t.Cleanup(service.Close)
	program := *built
	if program == "" {
		program = build(t, dir)
	}
	files, err := NewFiles(program, dir, service)
	if err != nil {
		t.Fatal(err)
	}
	return files, dir
}

// tally is what came of the runs of one point.
type tally struct {
	runs, killed, calls int
	ready               time.Duration
	violations          []string
}

// runAll runs these and adds up what came of them, by point.
func runAll(t *testing.T, runs []Run) map[string]*tally {
	t.Helper()
	var mu sync.Mutex
	sums := map[string]*tally{}
	queue := make(chan Run)
	var group sync.WaitGroup
	for range *side {
		group.Go(func() {
			for run := range queue {
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				got, err := run.Do(ctx)
				cancel()
				mu.Lock()
				s := sums[run.Point]
				if s == nil {
					s = &tally{}
					sums[run.Point] = s
				}
				s.runs++
				s.calls += got.Calls
				s.ready = max(s.ready, got.Ready)
				if got.Killed {
					s.killed++
				}
				again := fmt.Sprintf("make chaos SEED=%d POINT=%s", run.Seed, name(run.Point))
				if err != nil {
					t.Errorf("%s: %v", again, err)
				}
				for _, v := range got.Violations {
					s.violations = append(s.violations, v.String())
					t.Errorf("%s: %s\n(in %s)", again, v, run.Dir)
				}
				if len(got.Violations) > 0 && testing.Verbose() {
					t.Logf("the server said:\n%s", got.Log)
				}
				mu.Unlock()
			}
		})
	}
	for _, run := range runs {
		queue <- run
	}
	close(queue)
	group.Wait()
	return sums
}

func name(point string) string {
	if point == "" {
		return "random"
	}
	return point
}

// TestKilledAnywhere kills the server at each failpoint and at random
// instants, under load, and checks all that must hold then. A point that the
// load does not reach is a failure of the test.
//
// Invariant: A1, A2, A4, A5, A7, A9, A10, A12, A20, A21, A23, A30, A34, A36
func TestKilledAnywhere(t *testing.T) {
	files, dir := site(t)
	first := *seed
	if first == 0 {
		first = uint64(rand.Int64N(1 << 40))
	}
	t.Logf("the first seed is %d", first)
	reached := calibrate(t, files, dir, first)
	var runs []Run
	add := func(point string, n int) {
		for i := range n {
			s := first + uint64(i)
			runs = append(runs, Run{Files: files, Dir: filepath.Join(dir, fmt.Sprintf("%s-%d", name(point), s)), Seed: s, Point: point,
				Hits: max(1, reached[point]/3), Load: 10 * time.Second})
		}
	}
	for _, p := range failpoint.Points {
		if *point == "" || *point == p.Name {
			add(p.Name, *seeds)
		}
	}
	if *point == "" || *point == "random" {
		for i := range *kills {
			s := first + uint64(i)
			runs = append(runs, Run{Files: files, Dir: filepath.Join(dir, fmt.Sprintf("random-%d", s)), Seed: s, Load: 600 * time.Millisecond})
		}
	}
	if len(runs) == 0 {
		t.Fatalf("there is no point %q", *point)
	}
	began := time.Now()
	sums := runAll(t, runs)
	report(t, sums, time.Since(began))
	for point, s := range sums {
		if s.killed == 0 && point != "" {
			t.Errorf("the load never reaches %s", point)
		}
	}
}

// calibrate learns how often a load reaches each point.
func calibrate(t *testing.T, files *Files, dir string, seed uint64) map[string]int {
	t.Helper()
	got, err := (Run{Files: files, Dir: filepath.Join(dir, "calibration"), Seed: seed, Load: 1200 * time.Millisecond}).Do(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range got.Violations {
		t.Errorf("without a kill at a point: %s", v)
	}
	t.Logf("a load makes %d calls, %d of them answered with a success, %d requests; %d points are reached", got.Calls, got.Answered, got.Requests, len(got.Reached))
	return got.Reached
}

// report prints the table.
func report(t *testing.T, sums map[string]*tally, took time.Duration) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "| killed at | runs | killed there | violations |\n|---|---|---|---|\n")
	points := make([]string, 0, len(sums))
	for point := range sums {
		points = append(points, point)
	}
	slices.Sort(points)
	var all tally
	for _, point := range points {
		s := sums[point]
		all.runs, all.killed, all.calls, all.ready = all.runs+s.runs, all.killed+s.killed, all.calls+s.calls, max(all.ready, s.ready)
		all.violations = append(all.violations, s.violations...)
		fmt.Fprintf(&b, "| `%s` | %d | %d | %d |\n", name(point), s.runs, s.killed, len(s.violations))
	}
	fmt.Fprintf(&b, "| all %d | %d | %d | %d |\n", len(points), all.runs, all.killed, len(all.violations))
	fmt.Fprintf(&b, "\n%d calls; the slowest start took %s; %s in all\n", all.calls, all.ready.Round(time.Millisecond), took.Round(time.Second))
	t.Log("\n" + b.String())
	if *table != "" {
		if err := os.WriteFile(*table, []byte(b.String()), 0o600); err != nil {
			t.Error(err)
		}
	}
}

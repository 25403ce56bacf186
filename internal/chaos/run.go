package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/failpoint"
)

// Run is one crash: from a fresh folder, through load and a kill, to the
// verdict. Everything in it is drawn from the seed but the machine's timing.
type Run struct {
	Files *Files
	Dir   string // made, and removed unless something was found
	Seed  uint64
	Point string        // where to die; "" is anywhere: at a random instant
	Hits  int           // how often the point is reached by a load, at least: dies at one of these
	Load  time.Duration // how long the load goes on when nothing kills it
}

// Result is what came of a Run.
type Result struct {
	Killed     bool // at the point (or, without one, at the instant)
	Calls      int
	Answered   int
	Requests   int
	Ready      time.Duration // the longest start
	Violations []Violation
	Reached    map[string]int // point → hits, when no point was named
	Log        string
}

// Do runs it. An error means that it could not be carried out.
func (run Run) Do(ctx context.Context) (Result, error) {
	w := &world{files: run.Files, dir: run.Dir, seed: run.Seed, h: NewHistory()}
	var out Result
	err := run.do(ctx, w, &out)
	if p := w.process.Load(); p != nil {
		p.Kill()
		out.Log = p.Log()
	}
	w.group.Wait()
	if err != nil {
		return out, err
	}
	out.Violations, err = Check(ctx, Evidence{Dir: run.Dir, History: w.h, Secrets: run.Files.secrets(), Notices: true})
	for _, c := range w.h.Calls() {
		out.Calls++
		if c.Acknowledged() {
			out.Answered++
		}
		if c.Is("POST", "/v1/requests") && c.Acknowledged() {
			out.Requests++
		}
	}
	if err == nil && len(out.Violations) == 0 {
		err = os.RemoveAll(run.Dir)
	}
	return out, err
}

func (run Run) do(ctx context.Context, w *world, out *Result) error {
	phase := run.phase()
	folder := run.Files.born
	if phase == failpoint.Birth {
		folder = run.Files.empty
	}
	if err := copyTo(folder, run.Dir); err != nil {
		return err
	}
	trace := filepath.Join(run.Dir, "trace")
	armed := run.armed(trace)
	first := armed
	if phase == failpoint.Start {
		first = nil
	}
	if err := w.begin(out, first); err != nil {
		return err
	}
	died := w.gone()
	if !died {
		run.load(w, phase)
	}
	if phase == failpoint.Start {
		if err := w.begin(out, armed); err != nil {
			return err
		}
		died = w.gone()
		if !died {
			w.process.Load().Kill()
		}
	}
	w.group.Wait()
	var err error
	if out.Reached, out.Killed, err = readTrace(trace, run.Point); err != nil {
		return err
	}
	if run.Point == "" {
		out.Killed = w.process.Load().Killed()
	}
	return run.recover(ctx, w, out)
}

func (run Run) phase() failpoint.Phase {
	for _, p := range failpoint.Points {
		if p.Name == run.Point {
			return p.When
		}
	}
	return failpoint.Load
}

// armed is the environment of the server that is to die.
func (run Run) armed(trace string) []string {
	env := []string{"DAYPASS_FAILPOINT_TRACE=" + trace, fmt.Sprintf("DAYPASS_FAILPOINT_SEED=%d", run.Seed)}
	if run.Point == "" {
		return env
	}
	spec := run.Point + "=kill"
	if run.Hits > 1 {
		spec = fmt.Sprintf("%s=kill@1-%d", run.Point, run.Hits)
	}
	if run.phase() == failpoint.Strain {
		spec += ";store.commit.before=error@5"
	}
	return append(env, "DAYPASS_FAILPOINT="+spec)
}

// begin starts a server. One that dies on its way may do so only when it was
// told to; it is started again by whoever comes next.
func (w *world) begin(out *Result, env []string) error {
	began := time.Now()
	err := w.start(env...)
	if errors.Is(err, ErrDied) && len(env) > 0 && w.process.Load().Killed() {
		return nil
	}
	if err == nil {
		out.Ready = max(out.Ready, time.Since(began))
	}
	return err
}

// load has everything go on until the server dies, or for its time, and then
// ends it.
func (run Run) load(w *world, phase failpoint.Phase) {
	p := w.process.Load()
	stop := make(chan struct{})
	w.actors(stop)
	limit := run.Load
	switch {
	case run.Point == "":
		limit = time.Duration(w.draw(0).Int64N(int64(run.Load)))
	case phase == failpoint.Start || phase == failpoint.Stop:
		limit = time.Second // enough to leave something behind
	}
	select {
	case <-p.Gone():
	case <-time.After(limit):
		if phase == failpoint.Stop {
			p.Terminate()
			close(stop) // nobody asks for more; what runs is drained, and then cut
			for range 20 {
				select {
				case <-p.Gone():
				case <-time.After(ReadyWithin / 20):
					p.Terminate()
				}
			}
			p.Kill()
			return
		}
	}
	p.Kill()
	close(stop)
}

// recover starts the server again, asks again what nobody answered, looks at
// everything, and lets what is short end.
func (run Run) recover(ctx context.Context, w *world, out *Result) error {
	if err := w.begin(out, nil); err != nil {
		if errors.Is(err, ErrDied) {
			w.h.AddProblem("after a kill it does not start again: " + err.Error())
			return nil
		}
		return err
	}
	if out.Ready > ReadyWithin && !crowded() {
		w.h.AddProblem(fmt.Sprintf("it took %s to be ready", out.Ready))
	}
	before := w.h.Calls()
	w.again(before)
	w.look(before)
	w.useAll()
	w.await(ctx)
	w.useAll()
	p := w.process.Load()
	if run.Seed%2 == 0 {
		p.Terminate()
		select {
		case <-p.Gone():
			if p.ExitCode() != 0 {
				w.h.AddProblem(fmt.Sprintf("a shutdown ended with %d", p.ExitCode()))
			}
		case <-time.After(2 * ReadyWithin):
			w.h.AddProblem("a shutdown does not end")
		}
	}
	p.Kill()
	return nil
}

// crowded reports whether the machine has more than twice as much to do as it
// has processors: how long a start takes says nothing then. The slowest one is
// reported all the same.
func crowded() bool {
	content, err := os.ReadFile("/proc/loadavg")
	var load float64
	if err != nil {
		return false
	}
	if _, err := fmt.Sscan(string(content), &load); err != nil {
		return false
	}
	return load > 2*float64(runtime.NumCPU())
}

// again repeats, with the same key, each call that nobody answered, and some
// that were.
func (w *world) again(before []Call) {
	draw, n := w.draw(99), 0
	for _, c := range before {
		if c.Key == "" || c.Status != 0 && (n > 20 || draw.IntN(8) > 0) {
			continue
		}
		if c.Status != 0 {
			n++
		}
		c.Again = true
		w.send(c)
	}
}

// look reads every request that was seen.
func (w *world) look(before []Call) {
	seen := map[string]bool{}
	for _, c := range before {
		var r api.Request
		if c.Acknowledged() && c.Into(&r) && strings.HasPrefix(r.ID, "req_") && !seen[r.ID] {
			seen[r.ID] = true
			if c := w.call("user:ada", "GET", "/v1/requests/"+r.ID, nil, ""); c.Status != 200 {
				w.h.AddProblem(fmt.Sprintf("%s, which was acknowledged, is answered %d", r.ID, c.Status))
			}
		}
	}
}

// resources by the role's grants: the driver's own memory of what a token is
// for is the path of its first use.
func (w *world) useAll() {
	type pass struct{ secret, grant, resource string }
	var passes []pass
	resources := map[string]string{}
	for _, c := range w.h.Calls() {
		var r api.Request
		if c.Into(&r) && r.Grant != nil {
			resources[r.Grant.ID] = r.Resource
		}
	}
	for _, c := range w.h.Calls() {
		var made api.Credential
		if c.Is("POST", "/v1/grants/*/credentials") && c.Acknowledged() && c.Into(&made) && made.Secret != nil && made.Format == "token" {
			passes = append(passes, pass{*made.Secret, c.ID(), resources[c.ID()]})
		}
	}
	for chunk := range slices.Chunk(passes, 8) {
		done := make(chan struct{}, len(chunk))
		for _, p := range chunk {
			go func() {
				w.use(p.secret, p.grant, p.resource)
				done <- struct{}{}
			}()
		}
		for range chunk {
			<-done
		}
	}
}

// await waits until every short grant has ended.
func (w *world) await(ctx context.Context) {
	last := time.Time{}
	for _, c := range w.h.Calls() {
		var r api.Request
		if c.Acknowledged() && c.Into(&r) && r.Grant != nil {
			if at := r.Grant.ExpiresAt.Time; at.After(last) && time.Until(at) < 2*time.Second {
				last = at
			}
		}
	}
	select {
	case <-ctx.Done():
	case <-time.After(max(0, time.Until(last)) + 5*time.Millisecond):
	}
}

// readTrace says which points were reached how often, and whether the process
// died at one.
func readTrace(file, point string) (reached map[string]int, killed bool, err error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, false, err
	}
	reached = map[string]int{}
	for line := range strings.Lines(string(content)) {
		var name, action string
		var n int
		if _, err := fmt.Sscan(line+" -", &name, &n, &action); err != nil {
			return nil, false, fmt.Errorf("reading the trace: %q: %w", line, err)
		}
		reached[name] = max(reached[name], n)
		killed = killed || name == point && action == "kill"
	}
	return reached, killed, nil
}

//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// sweepLimit is how long the bench waits for a sweep.
const sweepLimit = 150 * time.Second

// sweeping lets many grants end in the same second, while services check
// tokens and people ask for access.
func (b *bench) sweeping(ctx context.Context) error {
	n := b.scale.many
	b.report.note(b.out, "Sweep: %d grants end in the same instant (the server's clock is ahead, by a changed time.Now). Meanwhile two clients check tokens one after the other, one asks for access twenty times a second; "+
		"every answer is compared with the clock. The sweep is over when all ends are written to the store and the record.", n)
	w, program, lead, err := b.ending(ctx, n)
	if err != nil {
		return err
	}
	defer w.remove()
	ends, err := w.ends()
	if err != nil {
		return err
	}
	shift := max(0, ahead(ends, lead))
	s, err := b.start(ctx, w, program, fmt.Sprintf("%s=%d", skewVariable, shift))
	if err != nil {
		return err
	}
	defer s.stop()
	at := ends.Add(-time.Duration(shift) * time.Second) // on this process's clock
	if time.Until(at) < time.Second {
		return fmt.Errorf("the server was ready only %s before the end", time.Until(at))
	}
	return b.sweep(ctx, s, n, at)
}

// ending is a folder whose grants all end together, the program that serves
// it, and how long before their end it should start. A smoke makes grants that
// end soon; so many would not be made in time, so the clock moves instead.
func (b *bench) ending(ctx context.Context, n int) (*world, string, time.Duration, error) {
	if b.scale.short {
		w, err := b.seed(ctx, filepath.Join(b.work, "sweep"), n, 20*time.Second)
		return w, b.binary, 20 * time.Second, err
	}
	program, err := b.skewed(ctx)
	if err != nil {
		return nil, "", 0, err
	}
	seed, err := b.seeded(ctx, n)
	if err != nil {
		return nil, "", 0, err
	}
	w, err := b.copyOf(ctx, seed, "sweep")
	return w, program, 15 * time.Second, err
}

// ends is when the grants of a seeded folder end.
func (w *world) ends() (time.Time, error) {
	content, err := w.read("ends")
	if err != nil {
		return time.Time{}, err
	}
	return time.Parse(time.RFC3339, string(content))
}

// timings are of many calls.
type timings struct {
	mu   sync.Mutex
	took []time.Duration
	err  error
}

func (t *timings) add(d time.Duration, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		t.err = err
		return
	}
	t.took = append(t.took, d)
}

func (t *timings) p99() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.took) == 0 {
		return 0
	}
	slices.Sort(t.took)
	return t.took[len(t.took)*99/100]
}

// sweep watches the server from two seconds before the end until all is
// written.
func (b *bench) sweep(ctx context.Context, s *server, n int, at time.Time) error {
	tokens, err := s.w.known()
	if err != nil {
		return err
	}
	time.Sleep(time.Until(at) - 2*time.Second)
	over, cancel := context.WithCancel(ctx)
	defer cancel()
	var checks, writes timings
	var group sync.WaitGroup
	for i := range 2 {
		group.Go(func() { s.checkAround(over, tokens, i, at, &checks) })
	}
	group.Go(func() { s.askOften(over, at, &writes) })
	took, left, rss, err := s.awaitSweep(ctx, at)
	cancel()
	group.Wait()
	if err := errors.Join(err, checks.err, writes.err); err != nil {
		return err
	}
	what := fmt.Sprintf("%d grants ending in one second", n)
	figure := took.Round(100 * time.Millisecond).String()
	if left > 0 {
		figure = fmt.Sprintf("%d not yet written after %s", left, figure)
	}
	b.report.check(b.out, what+": all ends written and on record", "≤ 60 s", figure, left == 0 && took <= time.Minute, "one writer: a request's row, its entry with two parties and its indexes for each, on the same two cores as the checks")
	b.report.check(b.out, what+": p99 of a token check meanwhile", "≤ 20 ms", checks.p99().Round(10*time.Microsecond).String(), checks.p99() <= 20*time.Millisecond, "two cores carry the sweep, the checks and their clients")
	b.report.check(b.out, what+": p99 of a request for access meanwhile", "≤ 1 s", writes.p99().Round(time.Millisecond).String(), writes.p99() <= time.Second, "a request waits for the batch of ends that is being written")
	b.report.check(b.out, what+": resident memory", "≤ 500 MB", megabytes(rss), rss <= 500e6, "the index and the collector's room")
	b.report.tell(b.out, what+": checks and requests made meanwhile", fmt.Sprintf("%d and %d, none wrong", len(checks.took), len(writes.took)))
	return nil
}

// checkAround checks one token after the other. A token that is said to be
// good in an answer to a question asked at the end or later is an error, and
// so is one that is said to be over before.
func (s *server) checkAround(ctx context.Context, tokens []string, i int, at time.Time, out *timings) {
	client := newClient()
	defer client.CloseIdleConnections()
	for ; ctx.Err() == nil; i += 2 {
		began := time.Now()
		a, err := s.call(ctx, client, checker, "POST", "/oauth/introspect", "token="+tokens[i%len(tokens)])
		ended := time.Now()
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			live := strings.Contains(string(a.body), `"active":true`)
			switch {
			case a.status != http.StatusOK:
				err = fmt.Errorf("introspection: %d %s", a.status, a.body)
			case live && !began.Before(at):
				err = fmt.Errorf("a token was live %s after its end", began.Sub(at))
			case !live && ended.Before(at):
				err = fmt.Errorf("a token was over %s before its end", at.Sub(ended))
			}
		}
		if err != nil || !began.Before(at) {
			out.add(ended.Sub(began), err)
		}
	}
}

// askOften asks for access twenty times a second.
func (s *server) askOften(ctx context.Context, at time.Time, out *timings) {
	client := newClient()
	defer client.CloseIdleConnections()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		began := time.Now()
		var request struct{ ID string }
		err := s.create(ctx, client, fmt.Sprintf("user:u%d", i%principals), "/v1/requests",
			map[string]any{"resource": fmt.Sprintf("res-%d", i%resources), "role": "all", "duration": "1h", "reason": "bench"}, &request)
		if ctx.Err() != nil {
			return
		}
		if err != nil || !began.Before(at) {
			out.add(time.Since(began), err)
		}
	}
}

var liveGrants = regexp.MustCompile(`(?m)^daypass_grants_live (\S+)$`)

// awaitSweep waits until only those grants are left that were asked for
// meanwhile, and returns how long that took after the end, how many are left
// when it took too long, and the most memory that was seen.
func (s *server) awaitSweep(ctx context.Context, at time.Time) (took time.Duration, left int, rss int64, err error) {
	client := newClient()
	defer client.CloseIdleConnections()
	for {
		a, err := s.call(ctx, client, admin, "GET", "/metrics", nil)
		if err != nil {
			return 0, 0, 0, err
		}
		m := liveGrants.FindSubmatch(a.body)
		if m == nil {
			return 0, 0, 0, errors.New("/metrics does not say how many grants are live")
		}
		number, err := strconv.ParseFloat(string(m[1]), 64)
		if err != nil {
			return 0, 0, 0, err
		}
		now, err := s.rss()
		if err != nil {
			return 0, 0, 0, err
		}
		rss, took = max(rss, now), time.Since(at)
		asked := int((took+2*time.Second).Seconds()*20) + 20
		if took > 0 && int(number) <= asked {
			return took, 0, rss, nil
		}
		if took > sweepLimit {
			return took, int(number) - asked, rss, nil
		}
		select {
		case <-ctx.Done():
			return 0, 0, 0, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

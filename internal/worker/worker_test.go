package worker

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/daypass/daypass/internal/access"
	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/live"
	"github.com/daypass/daypass/internal/notify"
	"github.com/daypass/daypass/internal/resource"
)

// work is a broker's side of the worker, in memory.
type work struct {
	mu       sync.Mutex
	next     time.Time // of the deadlines
	dueAt    []time.Time
	jobs     []queued
	done     []finished
	commits  int
	slow     time.Duration // of a commit
	unkept   int64         // of a job: its outcome cannot be kept
	beats    int
	moved    chan struct{}
	dueError error
}

type queued struct {
	broker.Job
	at time.Time
}

type finished struct {
	job     broker.Job
	problem error
	retryAt time.Time
	at      time.Time
}

func (w *work) Due(context.Context) (time.Time, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dueError != nil {
		return time.Time{}, w.dueError
	}
	if !w.next.IsZero() && !time.Now().Before(w.next) {
		w.dueAt, w.next = append(w.dueAt, time.Now()), time.Time{}
	}
	return w.next, nil
}

func (w *work) Claim(_ context.Context, limit int) (jobs []broker.Job, next time.Time, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var rest []queued
	for _, q := range w.jobs {
		if !time.Now().Before(q.at) && len(jobs) < limit {
			q.Attempts++
			jobs = append(jobs, q.Job)
			continue
		}
		if rest = append(rest, q); next.IsZero() || q.at.Before(next) {
			next = q.at
		}
	}
	w.jobs = rest
	return jobs, next, nil
}

func (w *work) Done(_ context.Context, all ...broker.Outcome) error {
	time.Sleep(w.slow)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.commits++
	for _, o := range all {
		if o.Job.ID == w.unkept {
			return errors.New("it cannot be kept")
		}
	}
	for _, o := range all {
		w.done = append(w.done, finished{o.Job, o.Problem, o.RetryAt, time.Now()})
		if o.Problem != nil && !o.RetryAt.IsZero() {
			w.jobs = append(w.jobs, queued{o.Job, o.RetryAt})
		}
	}
	return nil
}

func (w *work) Moved() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.moved
}

func (w *work) Queued() <-chan struct{} { return w.Moved() }

func (w *work) Heartbeat(context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.beats++
	return nil
}

func (w *work) Notice(context.Context, broker.Job) (notify.Facts, []notify.Recipient, error) {
	return notify.Facts{ID: "msg_1", Type: notify.RequestPending, At: time.Now(), PublicURL: "https://daypass.test", Request: "req_aaaaaaaaaaaaaaaaaaaaaaaaaa",
		Requester: "user:ana", Resource: "orders", Role: "read", Duration: time.Minute, ApproveBy: time.Now().Add(time.Hour)}, []notify.Recipient{{Principal: "user:bo"}}, nil
}

func (w *work) Target(context.Context, string) (broker.TargetOf, error) {
	return broker.TargetOf{Grant: &live.Grant{ID: "grt_1", Kind: "fake"}, Request: &access.Request{Grant: &access.Grant{}}}, nil
}

// target is a connector that fails as often as it is told to.
type target struct {
	failures    int
	provisioned int
	removed     int
}

func (c *target) act(n *int) error {
	if c.failures > 0 {
		c.failures--
		return errors.New("the target is down")
	}
	*n++
	return nil
}

func (c *target) Provision(context.Context, resource.Target) error { return c.act(&c.provisioned) }
func (c *target) Remove(context.Context, resource.Target) error    { return c.act(&c.removed) }
func (c *target) Close()                                           {}

// receiver is a notifier that answers as it is told to.
type receiver struct {
	name string
	send func(attempt int) error
	hold func() // in place of send
	sent int
}

func (r *receiver) Name() string { return r.name }
func (r *receiver) Send(context.Context, notify.Message) error {
	if r.hold != nil {
		r.hold()
		return nil
	}
	r.sent++
	return r.send(r.sent)
}

func run(t *testing.T, w *work, c *target, receivers []notify.Notifier, f func()) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w.moved = make(chan struct{})
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() {
			Run(ctx, Config{Work: w, Lookup: w, Connectors: map[string]resource.Connector{"fake": c}, Notifiers: receivers, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
			close(ended)
		}()
		f()
		cancel()
		<-ended
	})
}

func TestDeadlinesAreMetAndErrorsSurvived(t *testing.T) {
	w := &work{}
	run(t, w, &target{}, nil, func() {
		w.mu.Lock()
		at := time.Now().Add(700 * time.Millisecond)
		w.next = at
		w.mu.Unlock()
		time.Sleep(2 * time.Second)
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.dueAt) != 1 || w.dueAt[0].Sub(at) > time.Second {
			t.Errorf("due %v, acted at %v", at, w.dueAt)
		}
		w.dueError = errors.New("the disk is full")
	})
	if w.beats < 2 {
		t.Errorf("%d heartbeats in two seconds", w.beats)
	}
}

func TestAWakeUpIsHeardAtOnce(t *testing.T) {
	w := &work{}
	run(t, w, &target{}, nil, func() {
		synctest.Wait()
		time.Sleep(10 * time.Millisecond)
		w.mu.Lock()
		w.next = time.Now()
		began := time.Now()
		close(w.moved)
		w.moved = make(chan struct{})
		w.mu.Unlock()
		time.Sleep(100 * time.Millisecond)
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.dueAt) != 1 || w.dueAt[0].Sub(began) > 50*time.Millisecond {
			t.Errorf("woken at %v, acted at %v", began, w.dueAt)
		}
	})
}

// Invariant: A39
func TestARemovalIsTriedUntilItSucceeds(t *testing.T) {
	w, c := &work{jobs: []queued{{Job: broker.Job{ID: 1, Kind: broker.RemoveJob, Request: "req_1"}}}}, &target{failures: 40}
	run(t, w, c, nil, func() { time.Sleep(40 * time.Hour) })
	if c.removed != 1 || len(w.done) != 41 || w.done[40].problem != nil {
		t.Errorf("removed %d times after %d attempts", c.removed, len(w.done))
	}
	for i := 1; i < 40; i++ {
		if pause := w.done[i].at.Sub(w.done[i-1].at); pause > time.Hour+time.Minute {
			t.Errorf("attempt %d came %v after the one before", i, pause)
		}
	}
}

func TestProvisioningGivesUp(t *testing.T) {
	w, c := &work{jobs: []queued{{Job: broker.Job{ID: 1, Kind: broker.ProvisionJob, Request: "req_1"}}}}, &target{failures: 100}
	run(t, w, c, nil, func() { time.Sleep(time.Hour) })
	last := w.done[len(w.done)-1]
	if len(w.done) != provisionAttempts || !errors.Is(last.problem, broker.ErrGiveUp) || !last.retryAt.IsZero() {
		t.Errorf("%d attempts, at last %v", len(w.done), last.problem)
	}
}

func TestNotices(t *testing.T) {
	job := broker.Job{ID: 1, Kind: broker.NotifyJob, Request: "req_1", Notice: notify.RequestPending, By: "hook"}
	for name, test := range map[string]struct {
		send     func(int) error
		attempts int
	}{
		"sent":          {func(int) error { return nil }, 1},
		"down at first": {func(n int) error { return map[bool]error{true: errors.New("503")}[n < 4] }, 4},
		"for good":      {func(int) error { return notify.Permanent(errors.New("410")) }, 1},
		"a panic":       {func(n int) error { return map[bool]error{true: nil}[n < 2 && panics()] }, 1},
		"never":         {func(int) error { return errors.New("503") }, noticeAttempts},
	} {
		t.Run(name, func(t *testing.T) {
			w, other := &work{jobs: []queued{{Job: job}}}, &receiver{name: "mail", send: func(int) error { return nil }}
			hook := &receiver{name: "hook", send: test.send}
			run(t, w, &target{}, []notify.Notifier{other, hook}, func() { time.Sleep(40 * time.Hour) })
			if name == "a panic" {
				if len(w.done) < 2 || w.done[0].problem == nil {
					t.Error("a panic was not survived")
				}
				return
			}
			if hook.sent != test.attempts || other.sent != 0 || len(w.jobs) != 0 {
				t.Errorf("sent %d times, by the other %d times, %d jobs left", hook.sent, other.sent, len(w.jobs))
			}
		})
	}
}

func panics() bool { panic("a bug in a notifier") }

func TestAReceiverThatAsksToWaitIsLeftAlone(t *testing.T) {
	w := &work{jobs: []queued{{Job: broker.Job{ID: 1, Kind: broker.NotifyJob, Request: "req_1", By: "hook"}}}}
	hook := &receiver{name: "hook", send: func(n int) error {
		if n == 1 {
			return &notify.RetryAfter{After: 20 * time.Minute, Err: errors.New("429")}
		}
		return nil
	}}
	run(t, w, &target{}, []notify.Notifier{hook}, func() { time.Sleep(time.Hour) })
	if len(w.done) != 2 || w.done[1].at.Sub(w.done[0].at) < 20*time.Minute {
		t.Errorf("%+v", w.done)
	}
}

// What is over while one commit is made goes into the next together, and what
// cannot be kept holds up nothing else.
//
// Invariant: A39
func TestOutcomesAreReportedTogether(t *testing.T) {
	const n = 200
	w, c := &work{unkept: 7}, &target{}
	for i := range n {
		w.jobs = append(w.jobs, queued{Job: broker.Job{ID: int64(i), Kind: broker.NotifyJob, Request: "req_1", By: "hook"}})
	}
	w.slow = 10 * time.Millisecond
	hook := &receiver{name: "hook", hold: func() {}}
	var took time.Duration
	run(t, w, c, []notify.Notifier{hook}, func() {
		began := time.Now()
		for took == 0 && time.Since(began) < time.Minute {
			time.Sleep(time.Millisecond)
			w.mu.Lock()
			if len(w.done) == n-1 {
				took = time.Since(began)
			}
			w.mu.Unlock()
		}
	})
	seen := map[int64]int{}
	for _, f := range w.done {
		seen[f.job.ID]++
	}
	if len(seen) != n-1 || seen[7] != 0 || took == 0 {
		t.Fatalf("%d of %d outcomes are kept, after %v", len(seen), n-1, took)
	}
	if w.commits > n/2 {
		t.Errorf("%d commits for %d outcomes", w.commits, n)
	}
}

// Notices have few of the places, so that they hold up no grant.
func TestNoticesLeaveRoomForGrants(t *testing.T) {
	w, c := &work{}, &target{}
	for i := range 20 {
		w.jobs = append(w.jobs, queued{Job: broker.Job{ID: int64(i + 1), Kind: broker.NotifyJob, Request: "req_1", By: "hook"}})
	}
	w.jobs = append(w.jobs, queued{Job: broker.Job{ID: 100, Kind: broker.ProvisionJob, Request: "req_1"}})
	var at, most atomic.Int64
	hook := &receiver{name: "hook", hold: func() {
		if n := at.Add(1); n > most.Load() {
			most.Store(n)
		}
		time.Sleep(10 * time.Second)
		at.Add(-1)
	}}
	run(t, w, c, []notify.Notifier{hook}, func() {
		time.Sleep(time.Second)
		w.mu.Lock()
		if len(w.done) != 1 || w.done[0].job.ID != 100 {
			t.Errorf("a grant waits behind notices: %+v", w.done)
		}
		w.mu.Unlock()
		time.Sleep(2 * time.Minute)
	})
	if most.Load() != noticesParallel || len(w.done) != 21 {
		t.Errorf("%d notices at once, %d jobs done", most.Load(), len(w.done))
	}
}

// Package worker does what happens without a caller: it lets time act on
// requests, carries out effects (connectors, notices), and keeps the clock's
// mark. It learns what is to be done from the broker and reports back through
// it alone.
//
// It refuses to decide: access ends by arithmetic on the clock whether or not
// the worker runs.
package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/failpoint"
	"github.com/daypass/daypass/internal/notify"
	"github.com/daypass/daypass/internal/resource"
)

// Work is what the worker asks of the broker.
type Work interface {
	// Due lets time act and returns the next deadline, zero for none.
	Due(ctx context.Context) (time.Time, error)
	// Claim leases due jobs and returns when the next one is due.
	Claim(ctx context.Context, limit int) ([]broker.Job, time.Time, error)
	// Done reports a job; retryAt is ignored when problem is nil.
	Done(ctx context.Context, j broker.Job, problem error, retryAt time.Time) error
	// Moved returns a channel that is closed at the next commit.
	Moved() <-chan struct{}
	// Heartbeat keeps the clock's mark.
	Heartbeat(ctx context.Context) error
}

// Lookup is what effects need to know when they are carried out.
type Lookup interface {
	Notice(ctx context.Context, j broker.Job) (notify.Facts, []notify.Recipient, error)
	Target(ctx context.Context, request string) (broker.TargetOf, error)
}

// Config is what a Worker needs.
type Config struct {
	Work       Work
	Lookup     Lookup
	Connectors map[string]resource.Connector // by kind
	Notifiers  []notify.Notifier
	Now        func() time.Time // effective clock
	Log        *slog.Logger
}

// poll bounds how long the worker sleeps when nothing wakes it: a clock that
// jumped ahead is noticed within it.
const poll = time.Second

// parallel is how many effects run at once.
const parallel = 8

// effectTimeout bounds one attempt of an effect. It is shorter than a lease.
const effectTimeout = 45 * time.Second

// Run works until ctx ends and returns when nothing of it runs any more.
func Run(ctx context.Context, cfg Config) {
	var group sync.WaitGroup
	group.Go(func() { cfg.deadlines(ctx) })
	group.Go(func() { cfg.effects(ctx) })
	group.Go(func() { cfg.heartbeats(ctx) })
	group.Wait()
}

// deadlines lets time act on requests and grants.
func (cfg Config) deadlines(ctx context.Context) {
	for ctx.Err() == nil {
		moved := cfg.Work.Moved()
		next, err := cfg.Work.Due(ctx)
		if err != nil && ctx.Err() == nil {
			cfg.Log.Error("deadlines wait", "error", err)
			next = cfg.Now().Add(poll)
		}
		cfg.sleep(ctx, next, moved)
	}
}

// heartbeats keeps the clock's mark fresh.
func (cfg Config) heartbeats(ctx context.Context) {
	for ctx.Err() == nil {
		if err := cfg.Work.Heartbeat(ctx); err != nil && ctx.Err() == nil {
			cfg.Log.Warn("the clock's mark could not be kept", "error", err)
		}
		cfg.sleep(ctx, time.Time{}, nil)
	}
}

// effects carries out jobs, each at least once.
func (cfg Config) effects(ctx context.Context) {
	slots := make(chan struct{}, parallel)
	free := make(chan struct{}, 1)
	var group sync.WaitGroup
	defer group.Wait()
	for ctx.Err() == nil {
		moved := cfg.Work.Moved()
		jobs, next, err := cfg.Work.Claim(ctx, parallel-len(slots))
		if err != nil && ctx.Err() == nil {
			cfg.Log.Error("effects wait", "error", err)
			next = cfg.Now().Add(poll)
		}
		for _, j := range jobs {
			slots <- struct{}{}
			group.Go(func() {
				cfg.carryOut(ctx, j)
				<-slots
				select {
				case free <- struct{}{}:
				default:
				}
			})
		}
		if len(slots) == parallel {
			select {
			case <-free:
			case <-ctx.Done():
			}
			continue
		}
		if len(jobs) == 0 {
			cfg.sleep(ctx, next, moved)
		}
	}
}

// gather is how long a wake-up waits for more to come.
const gather = 2 * time.Millisecond

// sleep returns at next, shortly after being woken, after poll, or when ctx
// ends.
func (cfg Config) sleep(ctx context.Context, next time.Time, woken <-chan struct{}) {
	wait := poll
	if !next.IsZero() {
		wait = min(poll, max(0, next.Sub(cfg.Now())))
	}
	if wait == 0 {
		return
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-woken:
		time.Sleep(gather)
	case <-ctx.Done():
	}
}

// carryOut runs one job and reports how it went.
func (cfg Config) carryOut(ctx context.Context, j broker.Job) {
	failpoint.Hit("worker.effect.before")
	attempt, cancel := context.WithTimeout(ctx, effectTimeout)
	problem := cfg.effect(attempt, j)
	cancel()
	failpoint.Hit("worker.effect.after")
	if ctx.Err() != nil {
		return // the lease runs out and somebody else goes on
	}
	retryAt := cfg.retryAt(j, problem)
	if problem != nil {
		cfg.Log.Warn("an effect failed", "kind", j.Kind, "request", j.Request, "attempt", j.Attempts, "retry_at", retryAt, "error", problem)
	}
	if err := cfg.Work.Done(ctx, j, problem, retryAt); err != nil && ctx.Err() == nil {
		cfg.Log.Error("the result of an effect could not be kept; it will run again", "kind", j.Kind, "request", j.Request, "error", err)
	}
	failpoint.Hit("worker.done.after")
}

func (cfg Config) effect(ctx context.Context, j broker.Job) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	if j.Kind == broker.NotifyJob {
		return cfg.notify(ctx, j)
	}
	of, err := cfg.Lookup.Target(ctx, j.Request)
	if err != nil {
		return err
	}
	target := resource.Target{Grant: of.Grant, Resource: of.Resource, ExpiresAt: of.Request.Grant.ExpiresAt, Found: of.Request.Content.Target}
	connector, ok := cfg.Connectors[target.Grant.Kind]
	if !ok {
		return fmt.Errorf("no connector for the kind %s", target.Grant.Kind)
	}
	if j.Kind == broker.RemoveJob {
		return connector.Remove(ctx, target)
	}
	if err := connector.Provision(ctx, target); err != nil {
		if j.Attempts >= provisionAttempts {
			return errors.Join(broker.ErrGiveUp, err)
		}
		return err
	}
	return nil
}

func (cfg Config) notify(ctx context.Context, j broker.Job) error {
	facts, to, err := cfg.Lookup.Notice(ctx, j)
	if err != nil || len(to) == 0 {
		return err
	}
	message, err := notify.Compose(facts, to)
	if err != nil {
		return err
	}
	for _, n := range cfg.Notifiers {
		if n.Name() == j.By {
			if err := failpoint.Fail("worker.notice.before"); err != nil {
				return err
			}
			return n.Send(ctx, message)
		}
	}
	return notify.Permanent(fmt.Errorf("no notifier %q is configured any more", j.By))
}

// provisionAttempts is how often a connector tries before a grant ends with
// activation_failed. A removal is tried for ever (A39).
const provisionAttempts = 5

// noticeAttempts is how often a notice is tried: with the growing pauses
// between, for about a day.
const noticeAttempts = 30

// retryAt is when a failed job runs again; zero for never.
func (cfg Config) retryAt(j broker.Job, problem error) time.Time {
	if problem == nil || errors.Is(problem, broker.ErrGiveUp) {
		return time.Time{}
	}
	if j.Kind == broker.NotifyJob && (notify.IsPermanent(problem) || j.Attempts >= noticeAttempts) {
		return time.Time{}
	}
	wait := min(time.Second<<min(j.Attempts, 12), time.Hour)
	if asked, ok := notify.RetryDelay(problem); ok {
		wait = max(wait, min(asked, time.Hour))
	}
	return cfg.Now().Add(wait)
}

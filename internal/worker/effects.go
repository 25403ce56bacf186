package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/failpoint"
	"github.com/daypass/daypass/internal/notify"
	"github.com/daypass/daypass/internal/resource"
)

// parallel is how many effects run at once: as many as a connector makes
// something of together. Notices are few of them, out of regard for who receives
// them.
const (
	parallel        = 64
	noticesParallel = 8
)

// effectTimeout bounds one attempt of an effect, the wait for its turn included.
// It is shorter than a lease.
const effectTimeout = 45 * time.Second

// effects carries out jobs, each at least once.
func (cfg Config) effects(ctx context.Context) {
	slots, notices := make(chan struct{}, parallel), make(chan struct{}, noticesParallel)
	over := make(chan struct{}, 1) // something was reported: its key may have another
	var group sync.WaitGroup
	reports := reports{cfg: cfg, group: &group}
	defer group.Wait()
	for ctx.Err() == nil {
		queued := cfg.Work.Queued()
		jobs, next, err := cfg.Work.Claim(ctx, parallel-len(slots))
		if err != nil && ctx.Err() == nil {
			cfg.Log.Error("effects wait", "error", err)
			next = cfg.Now().Add(poll)
		}
		for _, j := range jobs {
			slots <- struct{}{}
			group.Go(func() {
				cfg.carryOut(ctx, j, notices, &reports)
				<-slots
				select {
				case over <- struct{}{}:
				default:
				}
			})
		}
		if len(slots) < parallel {
			cfg.await(ctx, next, queued, over)
			continue
		}
		select {
		case <-over:
		case <-ctx.Done():
		}
	}
}

// await returns at next, when a job was queued or reported, after poll, or when
// ctx ends.
func (cfg Config) await(ctx context.Context, next time.Time, queued, over <-chan struct{}) {
	timer := time.NewTimer(cfg.until(next))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-queued:
	case <-over:
	case <-ctx.Done():
	}
}

// carryOut runs one job and reports how it went.
func (cfg Config) carryOut(ctx context.Context, j broker.Job, notices chan struct{}, reports *reports) {
	failpoint.Hit("worker.effect.before")
	attempt, cancel := context.WithTimeout(ctx, effectTimeout)
	problem := cfg.inTurn(attempt, j, notices)
	cancel()
	failpoint.Hit("worker.effect.after")
	if ctx.Err() != nil {
		return // the lease runs out and somebody else goes on
	}
	retryAt := cfg.retryAt(j, problem)
	if problem != nil {
		cfg.Log.Warn("an effect failed", "kind", j.Kind, "request", j.Request, "attempt", j.Attempts, "retry_at", retryAt, "error", problem)
	}
	if err := reports.add(ctx, broker.Outcome{Job: j, Problem: problem, RetryAt: retryAt}); err != nil && ctx.Err() == nil {
		cfg.Log.Error("the result of an effect could not be kept; it will run again", "kind", j.Kind, "request", j.Request, "error", err)
	}
	failpoint.Hit("worker.done.after")
}

func (cfg Config) inTurn(ctx context.Context, j broker.Job, notices chan struct{}) error {
	if j.Kind == broker.NotifyJob {
		select {
		case notices <- struct{}{}:
			defer func() { <-notices }()
		case <-ctx.Done():
			return fmt.Errorf("waiting for other notices: %w", ctx.Err())
		}
	}
	return cfg.effect(ctx, j)
}

// reports writes down how jobs went: what is over while one commit is made goes
// into the next together.
type reports struct {
	cfg   Config
	group *sync.WaitGroup

	mu      sync.Mutex
	waiting []report
	busy    bool
}

type report struct {
	broker.Outcome
	kept chan<- error
}

// add returns when an outcome is kept, or was not.
func (r *reports) add(ctx context.Context, o broker.Outcome) error {
	kept := make(chan error, 1)
	r.mu.Lock()
	r.waiting = append(r.waiting, report{o, kept})
	leads := !r.busy
	r.busy = true
	r.mu.Unlock()
	if leads {
		r.group.Go(func() { r.write(ctx) })
	}
	return <-kept
}

// write goes on until nothing waits.
func (r *reports) write(ctx context.Context) {
	for {
		r.mu.Lock()
		batch := r.waiting
		if r.waiting = nil; len(batch) == 0 {
			r.busy = false
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
		all := make([]broker.Outcome, len(batch))
		for i, one := range batch {
			all[i] = one.Outcome
		}
		err := r.cfg.Work.Done(ctx, all...)
		for _, one := range batch {
			if err != nil && len(batch) > 1 {
				// One that cannot be kept holds up no other.
				one.kept <- r.cfg.Work.Done(ctx, one.Outcome)
				continue
			}
			one.kept <- err
		}
	}
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

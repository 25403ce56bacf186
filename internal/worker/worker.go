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
	"log/slog"
	"sync"
	"time"

	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/notify"
	"github.com/daypass/daypass/internal/resource"
)

// Work is what the worker asks of the broker.
type Work interface {
	// Due lets time act and returns the next deadline, zero for none.
	Due(ctx context.Context) (time.Time, error)
	// Claim leases due jobs and returns when the next one is due.
	Claim(ctx context.Context, limit int) ([]broker.Job, time.Time, error)
	// Done reports jobs in one commit: all of them or, with an error, none.
	Done(ctx context.Context, all ...broker.Outcome) error
	// Moved returns a channel that is closed at the next commit, Queued one that
	// is closed at the next with a job.
	Moved() <-chan struct{}
	Queued() <-chan struct{}
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

// gather is how long a wake-up of what nobody waits for waits for more to come.
const gather = 10 * time.Millisecond

// sleep returns at next, shortly after being woken, after poll, or when ctx
// ends.
func (cfg Config) sleep(ctx context.Context, next time.Time, woken <-chan struct{}) {
	wait := cfg.until(next)
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

// until is how long it is until next, at most poll.
func (cfg Config) until(next time.Time) time.Duration {
	if next.IsZero() {
		return poll
	}
	return min(poll, max(0, next.Sub(cfg.Now())))
}

package broker

// This file is what the worker asks for beside deadlines (due.go): the clock's
// mark, and effects.

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/daypass/daypass/internal/access"
	"github.com/daypass/daypass/internal/failpoint"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// Heartbeat is called every second. It keeps the clock's mark fresh while
// grants are live, so that a wall clock set back during a crash cannot lengthen
// them, and says up to when all of high rate is on record; now and then it
// forgets the kept answers of calls that are over.
func (b *Broker) Heartbeat(ctx context.Context) error {
	var chores error // which a full disk refuses, and the mark goes on all the same
	if now := b.now(); now.Sub(b.pruned) >= pruneEvery {
		chores, b.pruned = b.prune(ctx), now
	}
	chores = errors.Join(chores, b.forget(ctx), b.writeSeen(ctx))
	written := b.recorder.written.Load()
	if grants, _ := b.cfg.Index.Len(); grants == 0 && written == b.beaten {
		return chores
	}
	b.beaten = written
	failpoint.Hit("broker.heartbeat.before")
	// The mark goes with a commit, and a commit needs something to write.
	return errors.Join(chores, b.cfg.Store.Update(ctx, sqlstore.Ends, func(tx *sqlstore.Tx) error {
		return tx.PutSetting(settingRecorded, stamp(b.recorder.settledAt()))
	}))
}

// pruneEvery is how often kept answers are looked through.
const pruneEvery = time.Hour

const (
	// credentialsKept is how long the hash of a credential is kept after its
	// end: a start can tell until then that it was good once, and when it ended.
	credentialsKept = 24 * time.Hour
	pruneBatch      = 500
)

func (b *Broker) prune(ctx context.Context) error {
	err := b.do(ctx, systemWorker, sqlstore.Normal, func(u *unit) error {
		u.tx.AfterCommit(func() { b.tokens.prune(u.now) })
		return errors.Join(u.tx.DeleteReplies(u.now.Add(-replyTTL)), u.tx.PruneTokens(u.now), u.tx.PruneAssertions(u.now))
	})
	for pruned := pruneBatch; err == nil && pruned == pruneBatch; {
		err = b.do(ctx, systemWorker, sqlstore.Normal, func(u *unit) (err error) {
			pruned, err = u.tx.PruneCredentials(u.now.Add(-credentialsKept), pruneBatch)
			return err
		})
	}
	if err == nil {
		err = b.pruneLogins(ctx)
	}
	return err
}

// Kinds of jobs.
const (
	jobProvision = "provision"
	jobRemove    = "remove"
	jobNotify    = "notify"
)

// Job is an effect that the worker must carry out at least once.
type Job struct {
	ID       int64
	Kind     string // provision, remove, notify
	Request  string
	Notice   string // of a notify job: what it tells
	By       string // of a notify job: the notifier
	Again    bool   // of a notify job: it is queued again while it is true
	Attempts int
}

// ProvisionJob, RemoveJob and NotifyJob are the kinds of jobs.
const (
	ProvisionJob = jobProvision
	RemoveJob    = jobRemove
	NotifyJob    = jobNotify
)

// jobLease is how long a claimed job is not claimed again.
const jobLease = time.Minute

// Claim leases jobs that are due, and says when the next one will be, also one
// that could not be claimed for the limit.
func (b *Broker) Claim(ctx context.Context, limit int) (jobs []Job, next time.Time, err error) {
	if !b.jobs.Swap(false) { // else there is something to be claimed, most likely
		err = b.view(ctx, func(tx *sqlstore.Tx) (err error) {
			next, err = tx.NextJob()
			return err
		})
		if err != nil || next.IsZero() || next.After(b.now()) {
			return nil, next, err
		}
	}
	err = b.do(ctx, systemWorker, sqlstore.Ends, func(u *unit) error {
		jobs = nil
		rows, err := u.tx.ClaimJobs(u.now, u.now.Add(jobLease), limit)
		if err != nil {
			return err
		}
		for _, row := range rows {
			p, err := readPayload(row.Payload)
			if err != nil {
				return fmt.Errorf("job %d: %w", row.ID, err)
			}
			jobs = append(jobs, Job{ID: row.ID, Kind: row.Kind, Request: p.Request, Notice: p.Notice, By: p.By, Again: p.Again, Attempts: row.Attempts})
		}
		next, err = u.tx.NextJob()
		return err
	})
	return jobs, next, err
}

// Outcome says how a job went: Problem is nil, or what to try again after.
// RetryAt is ignored when Problem is nil; zero means never again.
type Outcome struct {
	Job     Job
	Problem error
	RetryAt time.Time
}

// Done writes down how jobs went, in one commit: all of them or, with an error,
// none. A connector's job reports to its request in that commit.
func (b *Broker) Done(ctx context.Context, all ...Outcome) error {
	return b.do(ctx, systemWorker, sqlstore.Ends, func(u *unit) error {
		for _, o := range all {
			if err := u.done(o); err != nil {
				return err
			}
		}
		return nil
	})
}

func (u *unit) done(o Outcome) error {
	if cmd := report(o.Job, o.Problem); cmd != nil {
		r, err := u.load(o.Job.Request)
		if err != nil {
			return err
		}
		if _, err := u.run(r, cmd, detail{}); err != nil {
			return err
		}
	}
	if o.Problem != nil && !o.RetryAt.IsZero() {
		return u.tx.RetryJob(o.Job.ID, o.RetryAt, o.Problem.Error())
	}
	if o.Job.Again {
		if err := u.reminded(o.Job); err != nil {
			return err
		}
	}
	return u.tx.FinishJob(o.Job.ID)
}

// report is what a connector's result means for the grant.
func report(j Job, problem error) access.Command {
	switch {
	case j.Kind == jobProvision && problem == nil:
		return access.Provisioned{}
	case j.Kind == jobProvision && errors.Is(problem, ErrGiveUp):
		return access.ProvisionFailed{Reason: problem.Error()}
	case j.Kind == jobRemove && problem == nil:
		return access.Removed{}
	case j.Kind == jobRemove:
		return access.RemoveFailed{Reason: problem.Error()}
	}
	return nil
}

// ErrGiveUp is wrapped by a provision job's error when it must not be tried
// again.
var ErrGiveUp = errors.New("giving up")

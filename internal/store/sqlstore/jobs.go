package sqlstore

import (
	"cmp"
	"encoding/json"
	"slices"
	"time"

	"github.com/daypass/daypass/internal/failpoint"
	"github.com/daypass/daypass/internal/store/sqlstore/db"
)

// Enqueue adds jobs. IDs are given by the store. A job without a key waits for
// no other.
func (t *Tx) Enqueue(jobs ...Job) error {
	for _, j := range jobs {
		_, err := t.write("adding a job", func() (int64, error) {
			return t.q.InsertJob(t.ctx, db.InsertJobParams{
				Kind: j.Kind, Key: optional(j.Key), Payload: string(j.Payload),
				RunAt: millis(j.RunAt), DueAt: millis(j.RunAt), Attempts: int64(j.Attempts), Error: j.Error,
			})
		})
		failpoint.Hit("store.job.added")
		if err != nil {
			return err
		}
	}
	return nil
}

// ClaimJobs leases at most limit jobs that are due at now until lease: never
// one whose key has an earlier job, or a leased one. Attempts counts this one.
// A job whose lease runs out can be claimed again, and so can every job when
// the process that claimed it is gone.
func (t *Tx) ClaimJobs(now, lease time.Time, limit int) ([]Job, error) {
	var rows []db.Job
	_, err := t.write("claiming jobs", func() (n int64, err error) {
		rows, err = t.q.ClaimJobs(t.ctx, millis(lease), millis(now), int64(limit))
		return int64(len(rows)), err
	})
	if err != nil {
		return nil, err
	}
	failpoint.Hit("store.job.claimed")
	// RETURNING knows no order.
	slices.SortFunc(rows, func(x, y db.Job) int { return cmp.Or(cmp.Compare(x.RunAt, y.RunAt), cmp.Compare(x.ID, y.ID)) })
	jobs := make([]Job, len(rows))
	for i, row := range rows {
		jobs[i] = Job{
			ID: row.ID, Kind: row.Kind, Payload: json.RawMessage(row.Payload),
			RunAt: instant(row.RunAt), Attempts: int(row.Attempts), Error: row.Error,
		}
		if row.Key != nil {
			jobs[i].Key = *row.Key
		}
	}
	return jobs, nil
}

// FinishJob removes a job that is done. One that is gone already is no error:
// jobs run at least once.
func (t *Tx) FinishJob(id int64) error {
	_, err := t.write("finishing a job", func() (int64, error) { return t.q.DeleteJob(t.ctx, id) })
	failpoint.Hit("store.job.finished")
	return err
}

// KeepJobs forgets all jobs but those of one kind.
func (t *Tx) KeepJobs(kind string) error {
	_, err := t.write("forgetting jobs", func() (int64, error) { return t.q.KeepJobs(t.ctx, kind) })
	return err
}

// RetryJob puts a job back, to run at an instant, with what went wrong.
func (t *Tx) RetryJob(id int64, runAt time.Time, problem string) error {
	const act = "putting a job back"
	n, err := t.write(act, func() (int64, error) {
		return t.q.RetryJob(t.ctx, db.RetryJobParams{ID: id, RunAt: millis(runAt), DueAt: millis(runAt), Error: problem})
	})
	failpoint.Hit("store.job.retried")
	return one(act, n, err, ErrNotFound)
}

// NextJob returns when the next job can be claimed, a leased one at the end of
// its lease; zero when there is none.
func (t *Tx) NextJob() (time.Time, error) {
	at, err := read(t, "looking for the next job", func() (*int64, error) {
		at, err := t.q.NextJob(t.ctx)
		return &at, err
	})
	if at, err = orNone(at, err); err != nil || at == nil {
		return time.Time{}, err
	}
	return instant(*at), nil
}

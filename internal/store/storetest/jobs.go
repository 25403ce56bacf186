package storetest

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/daypass/daypass/internal/store/sqlstore"
)

func (s *suite) enqueue(jobs ...sqlstore.Job) {
	s.Helper()
	s.must(s.update(func(tx *sqlstore.Tx) error { return tx.Enqueue(jobs...) }))
}

func (s *suite) claim(now, lease time.Time, limit int) (jobs []sqlstore.Job) {
	s.Helper()
	s.must(s.update(func(tx *sqlstore.Tx) (err error) {
		jobs, err = tx.ClaimJobs(now, lease, limit)
		return err
	}))
	return jobs
}

func (s *suite) nextJob() (next time.Time) {
	s.Helper()
	s.view(func(tx *sqlstore.Tx) (err error) {
		next, err = tx.NextJob()
		return err
	})
	return next
}

func kinds(jobs []sqlstore.Job) []string {
	var out []string
	for _, j := range jobs {
		out = append(out, j.Kind)
	}
	return out
}

// jobOrder: jobs of one key run in order and one at a time; others are not
// held up by them.
func (s *suite) jobOrder() {
	s.begin()
	if got := s.nextJob(); !got.IsZero() {
		s.Fatalf("an empty store has a job at %v", got)
	}
	s.enqueue(
		sqlstore.Job{Kind: "a1", Key: "a", RunAt: start},
		sqlstore.Job{Kind: "a2", Key: "a", RunAt: start.Add(-time.Hour)}, // due earlier, but later in its key
		sqlstore.Job{Kind: "b1", Key: "b", RunAt: at(time.Minute)},
		sqlstore.Job{Kind: "b2", Key: "b", RunAt: start},
		sqlstore.Job{Kind: "free1", RunAt: start},
		sqlstore.Job{Kind: "free2", RunAt: start},
	)
	if got := s.nextJob(); !got.Equal(start) {
		s.Errorf("the next job is at %v, want %v: a2 waits for a1", got, start)
	}
	lease := at(time.Hour)
	if got := s.claim(start.Add(-time.Millisecond), lease, 9); len(got) > 0 {
		s.Errorf("claimed before they are due: %v", got)
	}
	first := s.claim(start, lease, 2)
	if diff := cmp.Diff([]string{"a1", "free1"}, kinds(first)); diff != "" {
		s.Fatalf("claimed (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"free2"}, kinds(s.claim(start, lease, 9))); diff != "" {
		s.Fatalf("a leased job holds up its key, and no other (-want +got):\n%s", diff)
	}
	if got := s.nextJob(); !got.Equal(at(time.Minute)) {
		s.Errorf("the next job is at %v, want b1 at %v", got, at(time.Minute))
	}
	s.must(s.update(func(tx *sqlstore.Tx) error { return tx.FinishJob(first[0].ID) }))
	if diff := cmp.Diff([]string{"a2", "b1"}, kinds(s.claim(at(time.Minute), lease, 9))); diff != "" {
		s.Fatalf("claimed (-want +got):\n%s", diff)
	}
	if got := s.nextJob(); !got.Equal(lease) {
		s.Errorf("the next job is at %v, want the end of the leases %v", got, lease)
	}
}

// jobLease: a lease that runs out gives the job back; a retry keeps its place.
func (s *suite) jobLease() {
	s.begin()
	s.enqueue(
		sqlstore.Job{Kind: "a1", Key: "a", Payload: json.RawMessage(`{"n":1}`), RunAt: start},
		sqlstore.Job{Kind: "a2", Key: "a", RunAt: start},
	)
	got := s.claim(start, at(time.Minute), 9)
	want := []sqlstore.Job{{ID: got[0].ID, Kind: "a1", Key: "a", Payload: json.RawMessage(`{"n":1}`), RunAt: start, Attempts: 1}}
	if diff := cmp.Diff(want, got); diff != "" {
		s.Fatalf("claimed (-want +got):\n%s", diff)
	}
	if again := s.claim(at(time.Minute-time.Millisecond), at(time.Hour), 9); len(again) > 0 {
		s.Fatalf("leased twice: %v", again)
	}
	again := s.claim(at(time.Minute), at(2*time.Minute), 9)
	want[0].Attempts = 2
	if diff := cmp.Diff(want, again); diff != "" {
		s.Fatalf("after the lease (-want +got):\n%s", diff)
	}
	s.must(s.update(func(tx *sqlstore.Tx) error { return tx.RetryJob(got[0].ID, at(time.Hour), "no answer") }))
	if next := s.nextJob(); !next.Equal(at(time.Hour)) {
		s.Errorf("the next job is at %v: a2 passed a1", next)
	}
	if early := s.claim(at(time.Hour-time.Millisecond), at(2*time.Hour), 9); len(early) > 0 {
		s.Fatalf("claimed before the retry is due: %v", early)
	}
	want[0].RunAt, want[0].Attempts, want[0].Error = at(time.Hour), 3, "no answer"
	if diff := cmp.Diff(want, s.claim(at(time.Hour), at(2*time.Hour), 9)); diff != "" {
		s.Fatalf("after the retry (-want +got):\n%s", diff)
	}
	s.must(s.update(func(tx *sqlstore.Tx) error {
		if err := tx.FinishJob(got[0].ID); err != nil {
			return err
		}
		return tx.FinishJob(got[0].ID) // of no consequence
	}))
	s.want(s.update(func(tx *sqlstore.Tx) error { return tx.RetryJob(got[0].ID, start, "") }), sqlstore.ErrNotFound)
	rest := s.claim(at(time.Hour), at(2*time.Hour), 9)
	if diff := cmp.Diff([]string{"a2"}, kinds(rest)); diff != "" {
		s.Fatalf("then (-want +got):\n%s", diff)
	}
	s.must(s.update(func(tx *sqlstore.Tx) error { return tx.FinishJob(rest[0].ID) }))
	if next := s.nextJob(); !next.IsZero() {
		s.Errorf("all is done, the next job is at %v", next)
	}
	s.enqueue(sqlstore.Job{Kind: "new", RunAt: start})
	if next := s.claim(start, at(time.Hour), 1); next[0].ID <= rest[0].ID {
		s.Errorf("the ID %d was given again", next[0].ID)
	}
}

// jobRestart: the leases of a process that is gone hold nothing up.
func (s *suite) jobRestart() {
	s.begin()
	for i := range 3 {
		s.enqueue(sqlstore.Job{Kind: fmt.Sprint("k", i), RunAt: at(time.Duration(i))})
	}
	if got := s.claim(at(time.Minute), at(1000*time.Hour), 2); len(got) != 2 {
		s.Fatalf("claimed %v", got)
	}
	s.restart()
	if diff := cmp.Diff([]string{"k0", "k1", "k2"}, kinds(s.claim(at(time.Minute), at(time.Hour), 9))); diff != "" {
		s.Errorf("after a restart (-want +got):\n%s", diff)
	}
}

package storetest

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/daypass/daypass/internal/access"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

func (s *suite) compareAndSwap() {
	s.begin()
	r := request("req_1", start)
	s.must(s.update(func(tx *sqlstore.Tx) error { return tx.PutRequest(r) }))
	if r.Version != 1 {
		s.Fatalf("a new request has version %d, want 1", r.Version)
	}
	again := request("req_1", start)
	s.want(s.update(func(tx *sqlstore.Tx) error { return tx.PutRequest(again) }), sqlstore.ErrConflict)
	if again.Version != 0 {
		s.Errorf("a conflict moved the version to %d", again.Version)
	}
	stale := *r
	r.State = access.Denied
	s.must(s.update(func(tx *sqlstore.Tx) error { return tx.PutRequest(r) }))
	stale.State = access.Cancelled
	s.want(s.update(func(tx *sqlstore.Tx) error { return tx.PutRequest(&stale) }), sqlstore.ErrConflict)
	unknown := request("req_2", start)
	unknown.Version = 7
	s.want(s.update(func(tx *sqlstore.Tx) error { return tx.PutRequest(unknown) }), sqlstore.ErrConflict)
	s.view(func(tx *sqlstore.Tx) error {
		got, err := tx.Request("req_1")
		if err == nil && (got.State != access.Denied || got.Version != 2) {
			err = fmt.Errorf("%s at version %d is stored, want denied at 2", got.State, got.Version)
		}
		return err
	})
	s.view(func(tx *sqlstore.Tx) error {
		_, err := tx.Request("req_2")
		s.want(err, sqlstore.ErrNotFound)
		_, err = tx.RequestOfGrant("grt_1")
		s.want(err, sqlstore.ErrNotFound)
		return nil
	})
}

// twoWriters has several load the same version and write it: one wins.
func (s *suite) twoWriters() {
	s.begin()
	s.must(s.update(func(tx *sqlstore.Tx) error { return tx.PutRequest(request("req_1", start)) }))
	for round := range 20 {
		var loaded [4]*access.Request
		for i := range loaded {
			s.view(func(tx *sqlstore.Tx) (err error) {
				loaded[i], err = tx.Request("req_1")
				return err
			})
		}
		errs := make([]error, len(loaded))
		var all sync.WaitGroup
		for i, r := range loaded {
			all.Go(func() {
				r.Outcome = fmt.Sprint(round, i)
				errs[i] = s.store.Update(s.Context(), sqlstore.Normal, func(tx *sqlstore.Tx) error {
					if err := tx.PutRequest(r); err != nil {
						return err
					}
					return tx.Append(record(fmt.Sprint(round, "_", i)))
				})
			})
		}
		all.Wait()
		s.verify()
		winner := -1
		for i, err := range errs {
			switch {
			case err == nil && winner >= 0:
				s.Fatalf("round %d: %d and %d both won", round, winner, i)
			case err == nil:
				winner = i
			default:
				s.want(err, sqlstore.ErrConflict)
			}
		}
		s.view(func(tx *sqlstore.Tx) error {
			r, err := tx.Request("req_1")
			if err == nil && (winner < 0 || r.Outcome != fmt.Sprint(round, winner)) {
				err = fmt.Errorf("round %d: stored is %q, the winner was %d", round, r.Outcome, winner)
			}
			if err != nil {
				return err
			}
			head, _, err := tx.Head()
			if err == nil && head.Seq != int64(round)+1 {
				err = fmt.Errorf("round %d: %d entries", round, head.Seq)
			}
			return err
		})
	}
}

func (s *suite) requestRoundTrip() {
	s.begin()
	r := granted(request("req_1", at(1500*time.Millisecond)), "grt_1")
	decided := at(time.Minute)
	r.DecidedAt, r.DecidedBy, r.Outcome = &decided, "user:bo", "two <agreed> & \u2028 ünder"
	r.Content.Scope = json.RawMessage(`{"paths":["/a<b>&c/**"]}`)
	r.Content.StartAt = &decided
	r.Content.Extends = "grt_0"
	r.Content.Terms = access.Terms{Rule: "x", Guardrails: []string{}, Stages: []access.Stage{{Name: "dba", From: []string{"group:dba"}, Quorum: 1}}, MaxDuration: time.Hour}
	r.Reviews = []access.Review{{ID: "rev_1", By: "user:bo", Person: "user:bo", Decision: access.Approve, Duration: 90 * time.Second, At: decided}}
	r.Grant.EndedAt = &decided
	s.must(s.update(func(tx *sqlstore.Tx) error { return tx.PutRequest(r) }))
	s.restart()
	s.view(func(tx *sqlstore.Tx) error {
		byID, err := tx.Request("req_1")
		if err != nil {
			return err
		}
		byGrant, err := tx.RequestOfGrant("grt_1")
		if err != nil {
			return err
		}
		for _, got := range []*access.Request{byID, byGrant} {
			if diff := cmp.Diff(r, got); diff != "" {
				return fmt.Errorf("not as it was stored (-stored +loaded):\n%s", diff)
			}
		}
		return nil
	})
}

// filtersAndCursors compares with a filter in plain Go over random requests,
// many of which were made in the same millisecond.
func (s *suite) filtersAndCursors() {
	s.begin()
	rnd := rand.New(rand.NewPCG(1, 2))
	pick := func(of ...string) string { return of[rnd.IntN(len(of))] }
	states := []access.State{access.Pending, access.Approved, access.Denied}
	grantStates := []access.GrantState{access.Scheduled, access.Active, access.Ended}
	var all []*access.Request
	s.must(s.update(func(tx *sqlstore.Tx) error {
		for i := range 200 {
			r := request(fmt.Sprintf("req_%03d", rnd.IntN(1000)*1000+i), at(time.Duration(rnd.IntN(40))*time.Millisecond))
			r.Content.Requester = pick("user:ana", "user:bo", "user:cy")
			r.Content.Resource = pick("orders", "ledger")
			r.Content.Extends = pick("", "", "grt_x")
			if r.State = states[rnd.IntN(len(states))]; r.State == access.Approved {
				granted(r, fmt.Sprintf("grt_%d", i)).Grant.State = grantStates[rnd.IntN(len(grantStates))]
				switch rnd.IntN(4) {
				case 0:
					r.Duty = &access.Duty{Person: r.Content.Requester}
				case 1:
					r.Duty = &access.Duty{DoneAt: new(at(0))}
				}
			}
			if err := tx.PutRequest(r); err != nil {
				return err
			}
			all = append(all, r)
		}
		return nil
	}))
	slices.SortFunc(all, func(x, y *access.Request) int {
		if c := y.CreatedAt.Compare(x.CreatedAt); c != 0 {
			return c
		}
		return strings.Compare(y.ID, x.ID)
	})
	found := 0
	for range 120 {
		f := sqlstore.RequestFilter{Requester: pick("", "user:ana", "user:bo"), Resource: pick("", "", "orders"), Extends: pick("", "", "", "grt_x"), HasGrant: rnd.IntN(4) == 0, ReviewDue: rnd.IntN(4) == 0, Limit: rnd.IntN(12)}
		f.States = states[:rnd.IntN(len(states)+1)]
		if rnd.IntN(3) == 0 {
			f.GrantStates = grantStates[rnd.IntN(len(grantStates)):]
		}
		want := slices.Clone(all)
		want = slices.DeleteFunc(want, func(r *access.Request) bool { return !matches(f, r) })
		var got []string
		for pages := 0; ; pages++ {
			var page []*access.Request
			s.view(func(tx *sqlstore.Tx) (err error) {
				page, err = tx.Requests(f)
				return err
			})
			for _, r := range page {
				got = append(got, r.ID)
			}
			if f.Limit == 0 || len(page) < f.Limit {
				break
			}
			last := page[len(page)-1]
			f.Before = sqlstore.Cursor{At: last.CreatedAt, ID: last.ID}
		}
		var ids []string
		for _, r := range want {
			ids = append(ids, r.ID)
		}
		if diff := cmp.Diff(ids, got); diff != "" {
			s.Fatalf("%+v (-want +got):\n%s", f, diff)
		}
		found += len(ids)
	}
	if found < 500 {
		s.Fatalf("the filters found %d requests in all: too few to say anything", found)
	}
}

func matches(f sqlstore.RequestFilter, r *access.Request) bool {
	return (len(f.States) == 0 || slices.Contains(f.States, r.State)) &&
		(len(f.GrantStates) == 0 || r.Grant != nil && slices.Contains(f.GrantStates, r.Grant.State)) &&
		(!f.HasGrant || r.Grant != nil) &&
		(!f.ReviewDue || r.Duty.Open()) &&
		(f.Requester == "" || f.Requester == r.Content.Requester) &&
		(f.Resource == "" || f.Resource == r.Content.Resource) &&
		(f.Extends == "" || f.Extends == r.Content.Extends)
}

func (s *suite) deadlines() {
	s.begin()
	next := func() (next time.Time) {
		s.view(func(tx *sqlstore.Tx) (err error) {
			next, err = tx.NextDeadline()
			return err
		})
		return next
	}
	due := func(now time.Time, after sqlstore.Cursor, limit int) (ids []string) {
		s.view(func(tx *sqlstore.Tx) error {
			rows, err := tx.DueRequests(now, after, limit)
			for _, r := range rows {
				ids = append(ids, r.ID)
			}
			return err
		})
		return ids
	}
	if got := next(); !got.IsZero() {
		s.Fatalf("an empty store has the deadline %v", got)
	}
	late, soon, never := request("req_late", at(time.Hour)), request("req_soon", at(time.Minute)), request("req_never", start)
	twin := request("req_twin", at(time.Hour)) // with the same deadline as late
	never.State = access.Denied
	for _, r := range []*access.Request{late, twin, soon, never} {
		s.must(s.update(func(tx *sqlstore.Tx) error { return tx.PutRequest(r) }))
	}
	if got := next(); !got.Equal(soon.Deadline()) || soon.Deadline().IsZero() {
		s.Errorf("the next deadline is %v, want %v", got, soon.Deadline())
	}
	behind := func(r *access.Request) sqlstore.Cursor { return sqlstore.Cursor{At: r.Deadline(), ID: r.ID} }
	for _, c := range []struct {
		now   time.Time
		after sqlstore.Cursor
		limit int
		want  []string
	}{
		{soon.Deadline().Add(-time.Millisecond), sqlstore.Cursor{}, 9, nil},
		{soon.Deadline(), sqlstore.Cursor{}, 9, []string{"req_soon"}},
		{late.Deadline(), sqlstore.Cursor{}, 9, []string{"req_soon", "req_late", "req_twin"}},
		{late.Deadline(), sqlstore.Cursor{}, 2, []string{"req_soon", "req_late"}},
		{late.Deadline(), behind(soon), 9, []string{"req_late", "req_twin"}},
		{late.Deadline(), behind(late), 9, []string{"req_twin"}},
		{late.Deadline(), behind(twin), 9, nil},
		{soon.Deadline(), behind(soon), 9, nil},
	} {
		if diff := cmp.Diff(c.want, due(c.now, c.after, c.limit)); diff != "" {
			s.Errorf("due at %v behind %v (-want +got):\n%s", c.now, c.after, diff)
		}
	}
	soon.State = access.Cancelled
	s.must(s.update(func(tx *sqlstore.Tx) error { return tx.PutRequest(soon) }))
	if got := next(); !got.Equal(late.Deadline()) {
		s.Errorf("after a cancellation the next deadline is %v, want %v", got, late.Deadline())
	}
}

func (s *suite) pending() {
	s.begin()
	s.must(s.update(func(tx *sqlstore.Tx) error {
		for i := range 10 {
			r := request(fmt.Sprint("req_", i), start)
			if i >= 6 {
				r.Content.Resource = "ledger"
			}
			if i == 0 {
				r.State = access.Denied
			}
			if i == 9 {
				r.Content.Requester = "user:bo"
			}
			if err := tx.PutRequest(r); err != nil {
				return err
			}
		}
		return nil
	}))
	s.view(func(tx *sqlstore.Tx) error {
		all, on, err := tx.CountPending("user:ana", "orders")
		if err == nil && (all != 8 || on != 5) {
			err = fmt.Errorf("%d pending, %d on orders; want 8 and 5", all, on)
		}
		return err
	})
}

func (s *suite) waiting() {
	s.begin()
	states := []access.GrantState{access.Scheduled, access.Activating, access.Active, access.Ending, access.Ended}
	s.must(s.update(func(tx *sqlstore.Tx) error {
		for i := range 20 {
			r := request(fmt.Sprint("req_", i), start)
			if i%2 == 1 {
				r.Content.Resource = "ledger"
			}
			if i%3 == 0 {
				r.Content.Requester = "user:bo"
			}
			if i > 0 { // the first has no grant
				r.State, r.Grant = access.Approved, &access.Grant{ID: fmt.Sprint("grt_", i), State: states[i%5], StartsAt: start, ExpiresAt: start.Add(time.Hour)}
			}
			if err := tx.PutRequest(r); err != nil {
				return err
			}
		}
		return nil
	}))
	s.view(func(tx *sqlstore.Tx) error {
		for of, want := range map[[2]string]int{{}: 7, {"user:ana"}: 5, {"user:bo"}: 2, {"", "orders"}: 3, {"", "ledger"}: 4, {"user:ana", "ledger"}: 3, {"user:cy"}: 0} {
			n, err := tx.CountWaiting(of[0], of[1])
			if err == nil && n != want {
				err = fmt.Errorf("%d of %q are to begin, want %d", n, of, want)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *suite) input() {
	s.begin()
	s.must(s.update(func(tx *sqlstore.Tx) error {
		if err := tx.PutRequest(request("req_1", start)); err != nil {
			return err
		}
		return tx.PutInput("req_1", json.RawMessage(`{"a":1}`))
	}))
	s.want(s.update(func(tx *sqlstore.Tx) error { return tx.PutInput("req_1", json.RawMessage(`{"a":2}`)) }), sqlstore.ErrConflict)
	s.view(func(tx *sqlstore.Tx) error {
		got, err := tx.Input("req_1")
		if err == nil && string(got) != `{"a":1}` {
			err = fmt.Errorf("the input is %s", got)
		}
		if err != nil {
			return err
		}
		_, err = tx.Input("req_2")
		s.want(err, sqlstore.ErrNotFound)
		return nil
	})
}

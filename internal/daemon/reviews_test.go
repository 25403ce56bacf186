package daemon_test

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestReviews: every answer of POST /v1/requests/{id}/reviews.
//
// Invariant: A7, A8, A9, A10, A11
// Attack: APV-01, APV-02, APV-06, APV-07, APV-11, APV-17, APV-26, APV-28
func TestReviews(t *testing.T) {
	s := serve(t)
	r := s.pending("user:ana", "orders-api", "write", 30*time.Minute)
	path := "/v1/requests/" + r.ID + "/reviews"
	vote := func(who string, more ...any) answer {
		t.Helper()
		body := m{"decision": "approve", "content_hash": r.ContentHash}
		for i := 0; i < len(more); i += 2 {
			if body[more[i].(string)] = more[i+1]; more[i+1] == nil {
				delete(body, more[i].(string))
			}
		}
		return s.call(who, "POST", path, body)
	}
	// The requester is in the group of the owners; her second account is in
	// that of the database people, and an admin; what she owns is too.
	vote("user:ana").is(403, "self_approval")
	vote("user:ana-admin").is(403, "self_approval")
	if a := vote("service:ci-deploy"); a.status != 403 || a.problem().Code != "self_approval" && a.problem().Code != "not_an_approver" {
		t.Errorf("%d %s", a.status, a.body)
	}
	vote("user:ada").is(403, "not_an_approver") // an admin
	vote("user:eve").is(404, "not_found")
	vote("user:cy").is(409, "stage_not_open")
	vote("user:bo", "content_hash", nil).is(422)
	vote("user:bo", "content_hash", "sha256:"+strings.Repeat("0", 64)).is(412, "content_changed")
	vote("user:bo", "decision", "maybe").is(422)
	vote("user:bo", "duration", "31m").is(422)
	vote("user:bo", "duration", "0s").is(422)
	vote("user:bo", "extra", 1).is(400)

	after := vote("user:bo", "duration", "10m").is(200).request()
	if after.ContentHash != r.ContentHash || after.State != "pending" || len(after.Stages[0].Approvals) != 1 {
		t.Errorf("after the first vote: %+v", after)
	}
	vote("user:bo").is(409, "already_voted")
	if a := vote("user:dan"); a.status != 409 && a.status != 403 {
		t.Errorf("a closed stage took another vote: %d %s", a.status, a.body)
	}
	done := vote("user:cy", "duration", "20m", "comment", "fine").is(200).request()
	if done.State != "approved" || done.Grant == nil || done.Grant.ExpiresAt.Sub(done.Grant.StartsAt.Time) != 10*time.Minute {
		t.Errorf("after both: %+v", done)
	}
	vote("user:dan").is(409, "already_decided")
	s.call("user:ana", "POST", "/v1/requests/"+r.ID+"/cancel", nil).is(409)

	denied := s.pending("user:ana", "orders-api", "write", time.Minute)
	s.call("user:dan", "POST", "/v1/requests/"+denied.ID+"/reviews", m{"decision": "deny", "content_hash": denied.ContentHash, "comment": "no"}).is(200)
	s.approve("user:bo", denied).is(409, "already_decided")

	mine := s.pending("user:ana", "orders-api", "write", time.Minute)
	s.call("user:cy", "POST", "/v1/requests/"+mine.ID+"/cancel", nil).is(403)
	if r := s.call("user:ana", "POST", "/v1/requests/"+mine.ID+"/cancel", nil).is(200).request(); r.State != "cancelled" {
		t.Errorf("cancelled it is %s", r.State)
	}
	s.approve("user:bo", mine).is(409, "already_decided")
	s.verify()
}

// Invariant: A10, A12
// Attack: APV-04, APV-11
func TestConcurrentApprovals(t *testing.T) {
	s := serve(t)
	for range 5 {
		r := s.pending("service:ci-deploy", "two-api", "all", time.Minute)
		var approved, granted, voted, decided atomic.Int32
		var group sync.WaitGroup
		for i := range 20 {
			who := []string{"user:bo", "user:dan", "user:cy", "user:ada"}[i%4]
			group.Go(func() {
				a := s.approve(who, r)
				switch {
				case a.status == 200:
					approved.Add(1)
					if g := a.request().Grant; g != nil {
						granted.Add(1)
					}
				case a.status == 409 && a.problem().Code == "already_voted":
					voted.Add(1)
				case a.status == 409 && a.problem().Code == "already_decided":
					decided.Add(1)
				default:
					t.Errorf("%d %s", a.status, a.body)
				}
			})
		}
		group.Wait()
		if approved.Load() != 2 || granted.Load() != 1 || voted.Load()+decided.Load() != 18 {
			t.Errorf("%d votes counted, %d had the grant, %d had voted, %d came late", approved.Load(), granted.Load(), voted.Load(), decided.Load())
		}
		end := s.call("user:bo", "GET", "/v1/requests/"+r.ID, nil).request()
		if end.State != "approved" || len(end.Reviews) != 2 || end.Reviews[0].By == end.Reviews[1].By {
			t.Errorf("it ended %s with %+v", end.State, end.Reviews)
		}
		if n := len(s.events("&type=grant.activated&request=" + r.ID)); n != 1 {
			t.Errorf("%d grants were recorded", n)
		}
	}
	s.verify()
}

// Invariant: A12
// Attack: REQ-12, APV-05
func TestApproveAgainstTheRest(t *testing.T) {
	s := serve(t)
	won := map[string]int{}
	for range 15 {
		r := s.pending("service:ci-deploy", "two-api", "all", time.Minute)
		path := "/v1/requests/" + r.ID
		s.approve("user:cy", r).is(200)
		calls := []func() answer{
			func() answer { return s.approve("user:bo", r) },
			func() answer { return s.call("service:ci-deploy", "POST", path+"/cancel", nil) },
			func() answer {
				return s.call("user:dan", "POST", path+"/reviews", m{"decision": "deny", "content_hash": r.ContentHash, "comment": "no"})
			},
		}
		var wins atomic.Int32
		var group sync.WaitGroup
		for _, c := range calls {
			group.Go(func() {
				switch a := c(); a.status {
				case 200:
					wins.Add(1)
				case 409:
				default:
					t.Errorf("%d %s", a.status, a.body)
				}
			})
		}
		group.Wait()
		end := s.call("user:bo", "GET", path, nil).request()
		won[end.State]++
		if wins.Load() != 1 || end.State == "pending" || (end.Grant != nil) != (end.State == "approved") {
			t.Errorf("%d won; it is %s with grant %v", wins.Load(), end.State, end.Grant)
		}
	}
	t.Log(won)
	s.verify()
}

package access_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	. "github.com/daypass/daypass/internal/access"
)

// TestInterleavings runs every order of commands that race for one request.
// The store lets one of two that decided on the same version through; the
// other decides again on what is then there, which is what happens here.
//
// Invariant: A12
// Attack: APV-04, APV-05, APV-10, APV-28
func TestInterleavings(t *testing.T) {
	tm := terms(stage("dba", 2, "group:dba"))
	first := pending(t, tm)
	late := first.ApproveBy
	racers := map[string]struct {
		cmd Command
		at  time.Time
	}{
		"approve by bo":  {vote(first, "user:bo", Approve), noon},
		"approve by di":  {vote(first, "user:di", Approve), noon},
		"deny by fay":    {vote(first, "user:fay", Deny), noon},
		"cancel":         {Cancel{By: "user:ana"}, noon},
		"late tick":      {Tick{}, late},
		"late lapse":     {Lapse{Reason: "The base is over."}, late},
		"revoke by bo":   {End{By: "user:bo", Reason: EndRevoked}, noon},
		"approve by bo2": {vote(first, "user:bo2", Approve), noon},
	}
	dir := newTown()
	var names []string
	for name := range racers {
		names = append(names, name)
	}
	ends := map[string]int{}
	permute(names, func(order []string) {
		r, clock, grants, decided := first, noon, 0, 0
		for _, name := range order {
			racer := racers[name]
			if racer.at.After(clock) {
				clock = racer.at // and it never goes back
			}
			final := r.State != Pending
			events, err := Decide(r, racer.cmd, facts(clock, dir, tm))
			_, votes := racer.cmd.(CastVote)
			_, cancels := racer.cmd.(Cancel)
			if final && (votes || cancels) {
				var refusal *Error
				if !errors.As(err, &refusal) || refusal.Code != CodeAlreadyDecided {
					t.Fatalf("%v: %s lost without being told: %v, %v", order, name, events, err)
				}
			}
			for _, e := range events {
				switch e.(type) {
				case Granted:
					grants++
				case RequestApproved, RequestDenied, RequestCancelled, RequestExpired:
					decided++
				}
			}
			r = Apply(r, events...)
		}
		if decided != 1 || grants > 1 || (r.State == Approved) != (grants == 1) {
			t.Fatalf("%v: decided %d times, %d grants, %s", order, decided, grants, state(r))
		}
		ends[string(r.State)]++
	})
	for _, s := range []State{Approved, Denied, Cancelled, Expired} {
		if ends[string(s)] == 0 {
			t.Errorf("no order ended %s: %v", s, ends)
		}
	}
}

// TestBothOfTwoVotesCount: of two votes decided on the same request one is
// committed first; the other, decided again, completes the approval.
//
// Invariant: A12
// Attack: APV-04
func TestBothOfTwoVotesCount(t *testing.T) {
	tm := terms(stage("dba", 2, "group:dba"))
	r := pending(t, tm)
	f := facts(noon, town(), tm)
	bo, di := do(t, r, vote(r, "user:bo", Approve), f), do(t, r, vote(r, "user:di", Approve), f)
	want(t, bo, "pending")
	want(t, di, "pending")
	// The hash did not move, so the loser need not look again.
	if bo.ContentHash != r.ContentHash || bo.Revision != r.Revision {
		t.Fatal("a vote moved the content")
	}
	want(t, do(t, bo, vote(r, "user:di", Approve), f), "approved/active")
	want(t, do(t, di, vote(r, "user:bo", Approve), f), "approved/active")
}

// TestApplySharesNothing: what is done to a result, or to the events, does not
// reach the request it came from.
func TestApplySharesNothing(t *testing.T) {
	tm := terms(stage("dba", 2, "group:dba"))
	tm.Guardrails = []string{"a"}
	events, err := Decide(nil, Submit{ID: "req_1", Content: content(tm)}, facts(noon, town(), tm))
	if err != nil {
		t.Fatal(err)
	}
	r := Apply(nil, events...)
	image := snapshot(r)
	submitted := events[0].(Submitted)
	submitted.Request.Content.Scope[0] = 'x'
	submitted.Request.Content.Terms.Stages[0].From[0] = "group:everyone"
	tm.Stages[0].Quorum = 0
	tm.Guardrails[0] = "b"
	next := Apply(r, Voted{Review{ID: "rev_1"}}, StagesAdded{[]Stage{stage("x", 1, "group:sec")}}, Granted{Grant{ID: "grt_1"}}, GrantEnding{At: noon})
	next.Content.Terms.Stages[0].From[0] = "group:sec"
	next.Grant.ID = "grt_2"
	if !bytes.Equal(image, snapshot(r)) {
		t.Fatalf("the request changed:\n%s\n%s", image, snapshot(r))
	}
	if got := Apply(nil, GrantEnded{At: noon}); got != nil {
		t.Fatalf("an event about nothing made %+v", got)
	}
	if got := Apply(r, GrantEnding{At: noon}, GrantExtended{ExpiresAt: noon}); !bytes.Equal(snapshot(got), image) {
		t.Fatalf("an event about no grant made %s", snapshot(got))
	}
}

func permute(names []string, visit func([]string)) {
	var walk func(int)
	walk = func(k int) {
		if k == len(names) {
			visit(names)
			return
		}
		for i := k; i < len(names); i++ {
			names[k], names[i] = names[i], names[k]
			walk(k + 1)
			names[k], names[i] = names[i], names[k]
		}
	}
	walk(0)
}

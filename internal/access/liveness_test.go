package access_test

import (
	"fmt"
	"testing"
	"time"

	. "github.com/daypass/daypass/internal/access"
	"pgregory.net/rapid"
)

// Whatever a life was like, from here on the world is kind: what should then
// happen does.

// TestEverythingEnds: with a clock, a connector that works in the end and
// nothing else, every request is decided and every grant is gone, and each
// deadline that is announced has something to do.
//
// Invariant: A38, A39
func TestEverythingEnds(t *testing.T) {
	var seen sights
	check(t, func(t *rapid.T) {
		l := anyLife(t)
		l.f.IssuingOff = between(t, 0, 1, "issuing") == 0
		if l.f.Current == nil {
			l.f.Current = &Verdict{Refusal: "The catalog is gone."}
		}
		for range 10 {
			if at := l.r.Deadline(); at.After(l.now) {
				l.now = at
			}
			waits := l.r.Grant != nil && l.r.Grant.State == Scheduled && l.f.IssuingOff && l.now.Before(l.r.Grant.ExpiresAt)
			due := !l.r.Deadline().IsZero()
			s := l.do(Tick{})
			if s.err != nil || due && !waits && len(s.events) == 0 {
				t.Fatalf("a deadline came at %v and nothing happened to %s: %v", l.now, state(l.r), s.err)
			}
			if waits {
				seen.saw("a start that waits for issuing")
				l.now = l.r.Grant.ExpiresAt
			}
			if g := l.r.Grant; g != nil && g.State == Activating {
				l.do(Provisioned{})
			} else if g != nil && g.State == Ending {
				l.do(RemoveFailed{Reason: "not yet"})
				if !l.r.Grant.CleanupPending {
					t.Fatal("a clean-up that failed is not shown")
				}
				l.do(Removed{})
			}
			if over(l.r) {
				seen.saw(state(l.r))
				return
			}
		}
		t.Fatalf("it never ended: %s at %v", state(l.r), l.now)
	})
	seen.mustHaveSeen(t, "expired", "approved/ended:expired", "approved/ended:policy", "a start that waits for issuing")
}

func over(r *Request) bool {
	return r.State != Pending && (r.Grant == nil || r.Grant.State == Ended) && r.Deadline().IsZero()
}

// TestEnoughApproversSuffice: a request that still waits is decided as soon as
// enough fresh people approve, however strict the catalog in force is.
//
// Invariant: A7
func TestEnoughApproversSuffice(t *testing.T) {
	var seen sights
	check(t, func(t *rapid.T) {
		l := anyLife(t)
		l.now = noon
		if l.r.State != Pending {
			return
		}
		l.f.IssuingOff = false
		if l.f.Current == nil {
			l.f.Current = &Verdict{Terms: l.r.Content.Terms}
		}
		if between(t, 0, 1, "all are back") == 0 {
			l.dir = newTown()
		}
		needed := quorums(l.r.Stages()) + quorums(l.f.Current.Terms.Stages)
		for i := range needed {
			if s := l.do(l.fresh(i, Approve)); s.err != nil {
				t.Fatalf("a fresh approver was refused: %v", s.err)
			}
			if l.r.State != Pending {
				break
			}
		}
		refusal := l.f.Current.Refusal != "" || Effective(l.r) > l.f.Current.Terms.MaxDuration
		switch {
		case refusal && l.r.State == Denied && l.r.DecidedBy == "system:policy" && l.r.Outcome != "":
			seen.saw("denied by the catalog")
		case !refusal && l.r.State == Approved && l.r.Grant != nil:
			seen.saw("approved")
		default:
			t.Fatalf("%d more approvals made it %s (%s); the catalog refuses: %v", needed, state(l.r), l.r.Outcome, refusal)
		}
	})
	seen.mustHaveSeen(t, "approved", "denied by the catalog")
}

// TestStoppingAlwaysWorks: denying, cancelling and ending need no catalog, no
// issuing, and but for the deny no directory.
//
// Invariant: A38
// Attack: APV-28
func TestStoppingAlwaysWorks(t *testing.T) {
	var seen sights
	check(t, func(t *rapid.T) {
		l := anyLife(t)
		l.f.Current, l.f.IssuingOff = nil, true
		if l.r.State == Pending && l.now.Before(l.r.ApproveBy) {
			deny := between(t, 0, 1, "deny") == 0
			expected, cmd := Cancelled, Command(Cancel{By: "user:ana"})
			if deny {
				expected, cmd = Denied, l.fresh(0, Deny)
			}
			if s := l.do(cmd); s.err != nil || l.r.State != expected {
				t.Fatalf("%#v left it %s: %v", cmd, state(l.r), s.err)
			}
			seen.saw(string(expected))
			for i := range 3 {
				if s := l.do(l.fresh(i+1, Approve)); s.err == nil || l.r.State != expected {
					t.Fatalf("an approval after the end made it %s: %v", state(l.r), s.err)
				}
			}
			return
		}
		if g := l.r.Grant; g != nil && g.State != Ended && g.State != Ending {
			events, err := Decide(l.r, End{By: "user:ana", Reason: EndRevoked}, Facts{Now: l.now, IssuingOff: true, Connector: l.f.Connector})
			r := Apply(l.r, events...)
			if err != nil || r.Grant.State != Ended && r.Grant.State != Ending || r.Grant.ActiveAt(l.now) {
				t.Fatalf("a revocation left it %s: %v", state(r), err)
			}
			seen.saw("ended")
		}
	})
	seen.mustHaveSeen(t, "denied", "cancelled", "ended")
}

// anyLife is a life somewhere in its middle.
func anyLife(t *rapid.T) *life {
	l := newLife(t)
	l.live(between(t, 0, 12, "steps"), func(step) {})
	if l.r == nil {
		t.Fatal("no life began")
	}
	return l
}

// fresh is the vote of somebody new who is in every group. The first of them narrows.
func (l *life) fresh(i int, d Decision) CastVote {
	by := fmt.Sprint("user:fresh", i)
	l.dir = l.dir.clone()
	l.dir.person[by] = by
	for _, g := range groups {
		l.dir.groups[g] = append(l.dir.groups[g], by)
	}
	v := CastVote{ReviewID: "rev_" + by, GrantID: "grt_" + by, By: by, Decision: d, ContentHash: l.r.ContentHash}
	if i == 0 {
		v.Duration = min(l.r.Content.Duration, time.Minute)
	}
	return v
}

func quorums(stages []Stage) int {
	n := 0
	for _, s := range stages {
		n += s.Quorum
	}
	return n
}

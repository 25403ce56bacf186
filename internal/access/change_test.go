package access_test

import (
	"testing"
	"time"

	. "github.com/daypass/daypass/internal/access"
	"pgregory.net/rapid"
)

// Lives that are steered to where a change of the world matters most.

// TestScheduledStarts: an approved request whose start is to come, and a world
// that changes until then.
//
// Invariant: A7, A11
func TestScheduledStarts(t *testing.T) {
	var seen sights
	check(t, func(t *rapid.T) {
		l := newLife(t)
		if l.r == nil {
			return
		}
		c, at := l.r.Content, noon.Add(time.Hour)
		c.StartAt, l.r, l.history = &at, nil, nil
		if c.Terms.BreakGlass != nil { // which is never for later
			c.Terms.BreakGlass = nil
			l.f.Current = &Verdict{Terms: c.Terms}
		}
		l.now = noon
		l.do(Submit{ID: "req_1", GrantID: "grt_1", Content: c})
		for range 8 {
			if may := l.approvers(""); l.r.State == Pending && len(may) > 1 {
				l.do(CastVote{ReviewID: "rev", GrantID: "grt_1", By: may[0], Decision: Approve, ContentHash: l.r.ContentHash})
			}
		}
		if l.r.Grant == nil {
			return
		}
		changes := between(t, 0, 5, "changes")
		for range changes {
			if between(t, 0, 2, "what changes") == 0 {
				l.catalog()
			} else {
				l.people()
			}
		}
		l.now = at
		s := l.do(Tick{})
		checkStep(t, l, s)
		if s.err == nil {
			seen.saw(state(l.r))
		}
		if g := l.r.Grant; changes == 0 && (s.err != nil || g.State != Active && g.State != Activating) {
			t.Fatalf("nothing changed, and it is %s: %v", state(l.r), s.err)
		}
	})
	seen.mustHaveSeen(t, "approved/active", "approved/activating", "approved/ended:policy", "approved/scheduled")
}

// TestCoverageIsExact: many people vote under one broad stage, and the catalog
// in force wants them in several narrow ones. What it adds is exactly what no
// assignment of the votes can cover.
//
// Invariant: A7, A10
// Attack: APV-03, APV-25
func TestCoverageIsExact(t *testing.T) {
	var seen sights
	check(t, func(t *rapid.T) {
		l := &life{t: t, now: noon, dir: newTown()}
		n := between(t, 1, 5, "quorum")
		l.do(Submit{ID: "req_1", Content: content(terms(stage("broad", n, "user:bo", "user:cy", "user:di", "user:ed", "user:fay")))})
		current := terms()
		for range between(t, 1, 4, "stages") {
			from := []string{pick(t, append(accounts[2:8:8], groups...), "from"), pick(t, append(accounts[2:8:8], groups...), "also from")}
			current.Stages = append(current.Stages, stage("narrow", between(t, 1, 2, "quorum"), from...))
		}
		l.f.Current = &Verdict{Terms: current}
		for i := range n {
			may := l.approvers("")
			by := pick(t, may[:len(may)-1], "by")
			s := l.do(CastVote{ReviewID: "rev", GrantID: "grt_1", By: by, Decision: Approve, ContentHash: l.r.ContentHash})
			checkStep(t, l, s)
			if s.err != nil || i < n-1 && len(s.events) != 1 {
				t.Fatalf("vote %d of %d: %#v, %v", i+1, n, s.events, s.err)
			}
		}
		approvals, _ := ballots(l.history)
		if enough := covers(approvals, l.dir, "user:ana", current.Stages); enough != (l.r.State == Approved) {
			t.Fatalf("%s by votes that cover the catalog in force: %v", l.r.State, enough)
		}
		if lacks := shortfall(approvals, l.dir, "user:ana", current.Stages); quorums(l.r.Added) != lacks {
			t.Fatalf("%d votes were added where %d are missing: %+v", quorums(l.r.Added), lacks, l.r.Added)
		}
		seen.saw(string(l.r.State))
	})
	seen.mustHaveSeen(t, "approved", "pending")
}

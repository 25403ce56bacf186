package access_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	. "github.com/daypass/daypass/internal/access"
	"pgregory.net/rapid"
)

// Invariant: A2, A3, A7, A8, A9, A10, A11, A13
// Attack: APV-01, APV-02, APV-03, APV-08, APV-09, APV-17, APV-25, APV-26
func TestSafety(t *testing.T) {
	var seen sights
	check(t, func(t *rapid.T) {
		l := newLife(t)
		l.live(between(t, 5, 40, "steps"), func(s step) {
			checkStep(t, l, s)
			note(&seen, s)
		})
		checkReplay(t, l)
	})
	seen.mustHaveSeen(t, "active by votes", "active by rule", "active after a scheduled start", "active after provisioning",
		"stages added", "approved after stages were added", "denied by a person", "denied by policy", "lapsed", "ended expired", "ended revoked",
		"ended policy", "ended activation_failed", "refused self_approval", "refused already_voted", "refused stage_not_open",
		"refused content_changed", "refused not_an_approver", "refused already_decided", "refused issuing_off", "refused review_due", "extended", "narrowed",
		"glass broken", "a glass that was broken is reviewed", "a finding", "a finding ended the access", "reviewed with a finding", "reviewed after the access")
}

// checkStep holds one step against everything that must always hold.
func checkStep(t *rapid.T, l *life, s step) {
	if s.before == nil && s.after == nil {
		return
	}
	approved, started := false, false
	for _, e := range s.events {
		switch e := e.(type) {
		case RequestApproved:
			approved = true
			if !s.f.Now.Before(s.after.ApproveBy) && !s.after.Content.Terms.Auto {
				t.Fatalf("approved at %v, after the request lapsed at %v", s.f.Now, s.after.ApproveBy)
			}
		case Granted:
			checkWindow(t, l, s, e.Grant)
		case GrantActivating:
			started = true
			if s.f.Now.Before(s.after.Grant.StartsAt) {
				t.Fatal("started before its start")
			}
		case GrantActivated:
			if s.before.Grant == nil || s.before.Grant.State != Activating && s.before.Grant.State != Scheduled {
				t.Fatalf("activated out of %s", state(s.before))
			}
			if !s.f.Now.Before(s.after.Grant.ExpiresAt) {
				t.Fatal("activated when it was over")
			}
		case GrantEnding:
			checkEnding(t, s, e)
		case GrantEnded:
			if s.before.Grant.State != Ending && s.before.Grant.EndedReason == s.after.Grant.EndedReason {
				t.Fatalf("a grant that was %s is ended for no reason", state(s.before))
			}
		case GrantExtended:
			checkExtended(t, s, e)
		case StagesAdded:
			checkAdded(t, l, s, e)
		case Voted:
			checkVote(t, s, e.Review)
		case GlassReviewed:
			checkReviewed(t, l, s)
		}
	}
	checkEligible(t, s)
	checkDuty(t, l, s)
	if approved || started {
		if why := unjustified(l.history, s); why != "" {
			t.Fatalf("%#v made it %s although %s", s.cmd, state(s.after), why)
		}
	}
	if s.after.Grant != nil && s.after.State != Approved {
		t.Fatalf("a grant of a request that is %s", s.after.State)
	}
	if s.before != nil {
		checkMonotone(t, s.before, s.after)
	}
	checkTicked(t, s)
	if g := s.after.Grant; g.ActiveAt(s.f.Now) && (g.State != Active || !s.f.Now.Before(g.ExpiresAt) || s.f.Now.Before(g.StartsAt)) {
		t.Fatalf("access at %v by %+v", s.f.Now, g)
	}
}

// checkWindow: the window begins at the approval or the start that was asked
// for, and is exactly what everybody agreed to.
func checkWindow(t *rapid.T, l *life, s step, g Grant) {
	c := s.after.Content
	approvals, _ := ballots(l.history)
	start := s.f.Now
	if c.StartAt != nil && c.StartAt.After(start) {
		start = *c.StartAt
	}
	if !g.StartsAt.Equal(start) || g.ExpiresAt.Sub(g.StartsAt) != agreed(c.Duration, approvals) {
		t.Fatalf("granted %v to %v at %v; asked for %v from %v, agreed %v", g.StartsAt, g.ExpiresAt, s.f.Now, c.Duration, c.StartAt, agreed(c.Duration, approvals))
	}
	expected := Active
	if start.After(s.f.Now) {
		expected = Scheduled
	} else if s.f.Connector {
		expected = Activating
	}
	if g.State != expected {
		t.Fatalf("granted as %s, want %s", g.State, expected)
	}
}

func checkEnding(t *rapid.T, s step, e GrantEnding) {
	g := s.before.Grant
	over := !s.f.Now.Before(g.ExpiresAt)
	if over != (e.Reason == EndExpired) {
		t.Fatalf("ended as %s at %v, expiry is %v", e.Reason, s.f.Now, g.ExpiresAt)
	}
	if e.At.After(g.ExpiresAt) {
		t.Fatalf("access is said to have lasted until %v, past %v", e.At, g.ExpiresAt)
	}
	if cmd, ok := s.cmd.(End); ok && !over && (e.Reason != cmd.Reason || e.By != cmd.By) {
		t.Fatalf("%#v became %#v", cmd, e)
	}
	if gone := s.after.Grant.State == Ended; gone != (!s.f.Connector || g.State == Scheduled) {
		t.Fatalf("a grant that was %s (connector: %v) is %s", g.State, s.f.Connector, s.after.Grant.State)
	}
}

func checkExtended(t *rapid.T, s step, e GrantExtended) {
	cmd, g := s.cmd.(Extend), s.before.Grant
	if !s.f.Now.Before(g.ExpiresAt) || g.State == Ending || g.State == Ended {
		t.Fatalf("a grant that was over was extended at %v: %+v", s.f.Now, g)
	}
	if e.ExpiresAt.Sub(g.ExpiresAt) != cmd.Duration || cmd.Duration <= 0 || e.ExpiresAt.Sub(g.StartsAt) > cmd.MaxTotal {
		t.Fatalf("%#v moved the end from %v to %v", cmd, g.ExpiresAt, e.ExpiresAt)
	}
}

// checkEligible: faces ask who may vote without voting, and are told the same.
func checkEligible(t *rapid.T, s step) {
	requester := s.after.Content.Requester
	for _, st := range s.after.Stages() {
		for _, a := range accounts {
			if Eligible(s.dir, a, requester, st) != mayVote(s.dir, a, requester, st.From) {
				t.Fatalf("%s is eligible in %+v on a request of %s: %v", a, st, requester, Eligible(s.dir, a, requester, st))
			}
		}
	}
}

// checkAdded: what is added is at least what the catalog in force lacks. It is
// more when a voter left the stage they voted in: then the vote counts nowhere
// (A11), although its person might have voted elsewhere.
func checkAdded(t *rapid.T, l *life, s step, e StagesAdded) {
	approvals, _ := ballots(l.history)
	lacks := shortfall(approvals, s.dir, s.after.Content.Requester, s.f.Current.Terms.Stages)
	if lacks == 0 || quorums(e.Stages) < lacks {
		t.Fatalf("%d votes were added where %d are missing: %+v", quorums(e.Stages), lacks, e.Stages)
	}
}

// checkVote: every accepted vote is by a possible approver, who is the first
// of their person, on the content as shown, before the end, in the open stage.
func checkVote(t *rapid.T, s step, v Review) {
	r, cmd := s.before, s.cmd.(CastVote)
	if due := r.Content.Terms.BreakGlass != nil && r.Duty.DoneAt == nil; !due && (r.State != Pending || !s.f.Now.Before(r.ApproveBy)) {
		t.Fatalf("a vote at %v on a request that is %s and lapses at %v", s.f.Now, r.State, r.ApproveBy)
	}
	if cmd.ContentHash != r.Content.Hash() || v.ContentHash != cmd.ContentHash || v.By != cmd.By || v.Person != s.dir.person[cmd.By] {
		t.Fatalf("%#v became %#v", cmd, v)
	}
	if cmd.Duration < 0 || cmd.Duration > r.Content.Duration {
		t.Fatalf("a vote for %v of %v", cmd.Duration, r.Content.Duration)
	}
	stages := r.Stages()
	if !mayVote(s.dir, cmd.By, r.Content.Requester, stages[v.Stage].From) {
		t.Fatalf("%s voted in %+v", cmd.By, stages[v.Stage])
	}
	for _, old := range r.Reviews {
		if old.By == cmd.By || old.Person == v.Person || s.dir.person[old.By] == v.Person {
			t.Fatalf("%s voted after %s, who is the same person", cmd.By, old.By)
		}
	}
	// All stages before it have their votes, which the oracle counts anew.
	for i := range v.Stage {
		var in []ballot
		for _, old := range r.Reviews {
			if old.Stage == i && (old.Decision == Approve || r.Duty != nil) {
				in = append(in, ballot{by: old.By, then: s.dir})
			}
		}
		if !covers(in, s.dir, r.Content.Requester, stages[i:i+1]) {
			t.Fatalf("%s voted in stage %d while stage %d lacks votes", cmd.By, v.Stage, i)
		}
	}
	if r.Duty != nil {
		return // what a review of a broken glass does is for checkDuty
	}
	if cmd.Decision == Deny && (s.after.State != Denied || s.after.DecidedBy != cmd.By) {
		t.Fatalf("a deny left the request %s", state(s.after))
	}
	if cmd.Decision == Approve && s.f.IssuingOff {
		t.Fatal("an approval while issuing is off")
	}
}

// checkMonotone: what is final stays, and nothing goes back.
func checkMonotone(t *rapid.T, before, after *Request) {
	if before.State != Pending && (after.State != before.State || after.DecidedBy != before.DecidedBy || !after.DecidedAt.Equal(*before.DecidedAt)) {
		t.Fatalf("%s became %s", state(before), state(after))
	}
	if after.ContentHash != before.ContentHash || after.Content.Hash() != before.ContentHash || after.Revision != 1 {
		t.Fatal("the content moved")
	}
	if d := before.Duty; d != nil && (after.Duty == nil || d.Finding && !after.Duty.Finding || d.DoneAt != nil && after.Duty.DoneAt == nil) {
		t.Fatalf("the duty went from %+v to %+v", d, after.Duty)
	}
	if before.Grant == nil {
		return
	}
	a, b := after.Grant, before.Grant
	order := []GrantState{Scheduled, Activating, Active, Ending, Ended}
	if a == nil || a.ID != b.ID || slices.Index(order, a.State) < slices.Index(order, b.State) {
		t.Fatalf("the grant went from %+v to %+v", b, a)
	}
	if !a.StartsAt.Equal(b.StartsAt) || a.ExpiresAt.Before(b.ExpiresAt) {
		t.Fatalf("the window moved from %+v to %+v", b, a)
	}
	if b.EndedReason != "" && (a.EndedReason != b.EndedReason || !a.EndedAt.Equal(*b.EndedAt) || !a.ExpiresAt.Equal(b.ExpiresAt)) {
		t.Fatalf("an end changed from %+v to %+v", b, a)
	}
	if a.CleanupPending && a.State != Ending {
		t.Fatalf("a clean-up is pending of a grant that is %s", a.State)
	}
}

// checkTicked: a Tick acts when it must and only once.
func checkTicked(t *rapid.T, s step) {
	if _, ok := s.cmd.(Tick); !ok || s.err != nil {
		return
	}
	again, err := Decide(s.after, Tick{}, s.f)
	if err != nil || len(again) > 0 {
		t.Fatalf("a second Tick at the same instant: %#v, %v", again, err)
	}
	r := s.after
	if r.State == Pending && !s.f.Now.Before(r.ApproveBy) {
		t.Fatal("a request is pending past its time")
	}
	if g := r.Grant; g != nil && !s.f.Now.Before(g.ExpiresAt) && g.State != Ending && g.State != Ended {
		t.Fatalf("a grant is %s past its expiry", g.State)
	}
	if g := r.Grant; g != nil && !s.f.Now.Before(g.StartsAt) && g.State == Scheduled && !s.f.IssuingOff {
		t.Fatal("a grant is scheduled past its start")
	}
}

// checkReplay: the events alone, in one go or one by one, give the same.
func checkReplay(t *rapid.T, l *life) {
	var all []Event
	var single *Request
	for _, s := range l.history {
		all = append(all, s.events...)
		for _, e := range s.events {
			single = Apply(single, e)
		}
	}
	if !bytes.Equal(snapshot(l.r), snapshot(single)) || !bytes.Equal(snapshot(l.r), snapshot(Apply(nil, all...))) {
		t.Fatalf("a replay gives another request:\n%s\n%s", snapshot(l.r), snapshot(single))
	}
}

// note counts what a step came to.
func note(seen *sights, s step) {
	if e, ok := s.err.(*Error); ok {
		seen.saw("refused " + string(e.Code))
	}
	if noteGlass(seen, s); s.after != nil && s.after.Duty != nil {
		return
	}
	if v, ok := s.cmd.(CastVote); ok && s.err == nil && v.Duration > 0 {
		seen.saw("narrowed")
	}
	for _, e := range s.events {
		switch e := e.(type) {
		case StagesAdded:
			seen.saw("stages added")
		case RequestApproved:
			if len(s.after.Added) > 0 {
				seen.saw("approved after stages were added")
			}
		case RequestDenied:
			if e.By == "system:policy" {
				seen.saw("denied by policy")
			} else {
				seen.saw("denied by a person")
			}
		case RequestExpired:
			seen.saw("lapsed")
		case Granted:
			if e.Grant.State == Active && s.after.Content.Terms.Auto {
				seen.saw("active by rule")
			} else if e.Grant.State == Active {
				seen.saw("active by votes")
			}
		case GrantActivated:
			if s.before.Grant.State == Scheduled {
				seen.saw("active after a scheduled start")
			} else {
				seen.saw("active after provisioning")
			}
		case GrantExtended:
			seen.saw("extended")
		case GrantEnding:
			seen.saw("ended " + string(e.Reason))
		}
	}
}

// Invariant: A1
func TestAccessIsHalfOpen(t *testing.T) {
	g := &Grant{State: Active, StartsAt: noon, ExpiresAt: noon.Add(time.Hour)}
	for at, expected := range map[time.Duration]bool{-1: false, 0: true, 1: true, time.Hour - 1: true, time.Hour: false, time.Hour + 1: false} {
		if g.ActiveAt(noon.Add(at)) != expected {
			t.Errorf("access at start + %v: %v, want %v", at, !expected, expected)
		}
	}
	for _, s := range []GrantState{Scheduled, Activating, Ending, Ended, ""} {
		g.State = s
		if g.ActiveAt(noon) {
			t.Errorf("a grant that is %q gives access", s)
		}
	}
	if (*Grant)(nil).ActiveAt(noon) {
		t.Error("no grant gives access")
	}
}

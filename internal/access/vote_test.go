package access_test

import (
	"testing"
	"time"

	. "github.com/daypass/daypass/internal/access"
)

// TestWhoMayVote goes through the refusals of a vote in the order of the
// checks: each row is refused for the first reason that holds.
//
// Invariant: A8, A9, A13
// Attack: APV-01, APV-02, APV-06, APV-08, APV-09, APV-10, APV-11, APV-12, APV-13, APV-17, APV-26
func TestWhoMayVote(t *testing.T) {
	tm := terms(stage("dba", 2, "group:dba"), stage("owner", 1, "group:owners"))
	fresh := pending(t, tm)
	once := do(t, fresh, vote(fresh, "user:bo", Approve), facts(noon, town(), tm))
	for _, tt := range []struct {
		name string
		r    *Request
		by   string
		with func(*CastVote, *Facts, *people)
		code Code
	}{
		{"no hash beats all else", fresh, "user:ana", func(v *CastVote, _ *Facts, _ *people) { v.ContentHash = "" }, CodeInvalidField},
		{"neither approve nor deny", fresh, "user:bo", func(v *CastVote, _ *Facts, _ *people) { v.Decision = "" }, CodeInvalidField},
		{"the requester", fresh, "user:ana", nil, CodeSelfApproval},
		{"the requester denies", fresh, "user:ana", func(v *CastVote, _ *Facts, _ *people) { v.Decision = Deny }, CodeSelfApproval},
		{"the requester's other account", fresh, "user:ana2", nil, CodeSelfApproval},
		{"the requester's service", fresh, "service:ci", nil, CodeSelfApproval},
		{"the requester's owner", fresh, "user:di", func(_ *CastVote, _ *Facts, p *people) { p.owner["user:ana"] = "user:di" }, CodeSelfApproval},
		{"the requester, unknown to the catalog", fresh, "user:ana", func(_ *CastVote, _ *Facts, p *people) { delete(p.person, "user:ana") }, CodeSelfApproval},
		{"the requester, after a late end", fresh, "user:ana", func(_ *CastVote, f *Facts, _ *people) { f.Now = fresh.ApproveBy }, CodeSelfApproval},
		{"an agent in the group", fresh, "agent:bot", nil, CodeNotAnApprover},
		{"nobody known", fresh, "user:nobody", nil, CodeNotAnApprover},
		{"disabled, after a late end", fresh, "user:bo", func(_ *CastVote, f *Facts, p *people) {
			delete(p.person, "user:bo")
			f.Now = fresh.ApproveBy
		}, CodeNotAnApprover},
		{"at the very end", fresh, "user:bo", func(_ *CastVote, f *Facts, _ *people) { f.Now = fresh.ApproveBy }, CodeAlreadyDecided},
		{"another hash, after a late end", fresh, "user:bo", func(v *CastVote, f *Facts, _ *people) {
			v.ContentHash = "sha256:00"
			f.Now = fresh.ApproveBy
		}, CodeAlreadyDecided},
		{"another hash", fresh, "user:bo", func(v *CastVote, _ *Facts, _ *people) { v.ContentHash = "sha256:00" }, CodeContentChanged},
		{"another hash, by somebody who voted", once, "user:bo", func(v *CastVote, _ *Facts, _ *people) { v.ContentHash = "sha256:00" }, CodeContentChanged},
		{"voted before", once, "user:bo", nil, CodeAlreadyVoted},
		{"voted before, now denies", once, "user:bo", func(v *CastVote, _ *Facts, _ *people) { v.Decision = Deny }, CodeAlreadyVoted},
		{"voted before with another account", once, "user:bo2", nil, CodeAlreadyVoted},
		{"voted before, and out of the group since", once, "user:bo", func(_ *CastVote, _ *Facts, p *people) { p.leave("user:bo", "group:dba") }, CodeAlreadyVoted},
		{"one person with who voted, as it turned out", once, "user:di", func(_ *CastVote, _ *Facts, p *people) { p.person["user:bo"] = "user:di" }, CodeAlreadyVoted},
		{"an approver of something else", fresh, "user:ed", nil, CodeNotAnApprover},
		{"out of the group between page and click", fresh, "user:bo", func(_ *CastVote, _ *Facts, p *people) { p.leave("user:bo", "group:dba") }, CodeNotAnApprover},
		{"of a later stage", fresh, "user:cy", nil, CodeStageNotOpen},
		{"of a later stage, denies", fresh, "user:cy", func(v *CastVote, _ *Facts, _ *people) { v.Decision = Deny }, CodeStageNotOpen},
		{"a time below none", fresh, "user:bo", func(v *CastVote, _ *Facts, _ *people) { v.Duration = -time.Second }, CodeInvalidField},
		{"longer than asked", fresh, "user:bo", func(v *CastVote, _ *Facts, _ *people) { v.Duration = 30*time.Minute + time.Second }, CodeInvalidField},
		{"part of a second", fresh, "user:bo", func(v *CastVote, _ *Facts, _ *people) { v.Duration = time.Millisecond }, CodeInvalidField},
		{"while issuing is off", fresh, "user:bo", func(_ *CastVote, f *Facts, _ *people) { f.IssuingOff = true }, CodeIssuingOff},
		{"without a directory", fresh, "user:bo", func(_ *CastVote, f *Facts, _ *people) { f.Directory = nil }, CodeInvalidCommand},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := town()
			v, f := vote(tt.r, tt.by, Approve), facts(noon, dir, tm)
			if tt.with != nil {
				tt.with(&v, &f, dir)
			}
			refusal := refused(t, tt.r, v, f, tt.code)
			if (refusal.Field != "") != (tt.code == CodeInvalidField) {
				t.Errorf("the refusal names the field %q", refusal.Field)
			}
		})
	}
}

// Invariant: A10
// Attack: APV-03
func TestOnePersonFillsOneStage(t *testing.T) {
	tm := terms(stage("dba", 1, "group:dba"), stage("owner", 1, "group:owners"))
	f := facts(noon, town(), tm)
	r := pending(t, tm)
	r = do(t, r, vote(r, "user:di", Approve), f) // is in both groups
	refused(t, r, vote(r, "user:di", Approve), f, CodeAlreadyVoted)
	want(t, r, "pending")
	if open, ok := OpenStage(r, f.Directory); !ok || open != 1 {
		t.Fatalf("stage %d is open, want 1", open)
	}
	if n := len(CountedVotes(r, f.Directory, 0)) + 10*len(CountedVotes(r, f.Directory, 1)); n != 1 {
		t.Fatalf("votes are counted as %d", n)
	}
}

// Two accounts vote as two persons; then they turn out to be one.
//
// Invariant: A10, A11
// Attack: APV-02
func TestAccountsJoinedAfterVotingCountOnce(t *testing.T) {
	tm := terms(stage("dba", 3, "group:dba"))
	dir := town()
	dir.person["user:bo2"] = "user:bo2"
	for _, more := range []string{"user:fay", "user:gus"} {
		dir.person[more] = more
		dir.groups["group:dba"] = append(dir.groups["group:dba"], more)
	}
	f := facts(noon, dir, tm)
	r := pending(t, tm)
	r = do(t, r, vote(r, "user:bo", Approve), f)
	r = do(t, r, vote(r, "user:bo2", Approve), f)
	dir.person["user:bo2"] = "user:bo"
	r = do(t, r, vote(r, "user:fay", Approve), f)
	want(t, r, "pending")
	r = do(t, r, vote(r, "user:gus", Approve), f)
	want(t, r, "approved/active")
}

// A voter who lost the group counts no more, and their stage takes votes again.
//
// Invariant: A11
// Attack: APV-08, APV-09
func TestLosingTheGroupReopensTheStage(t *testing.T) {
	tm := terms(stage("dba", 1, "group:dba"), stage("owner", 1, "group:owners"))
	dir := town()
	f := facts(noon, dir, tm)
	r := pending(t, tm)
	r = do(t, r, vote(r, "user:bo", Approve), f)
	dir.leave("user:bo", "group:dba")
	refused(t, r, vote(r, "user:cy", Approve), f, CodeStageNotOpen)
	r = do(t, r, vote(r, "user:di", Approve), f)
	r = do(t, r, vote(r, "user:cy", Approve), f)
	want(t, r, "approved/active")

	// All stages full and nobody's vote completed it: the last stays open.
	quorum := terms(stage("dba", 2, "group:dba"))
	dir = town()
	dir.person["user:fay"] = "user:fay"
	dir.groups["group:dba"] = append(dir.groups["group:dba"], "user:fay")
	f = facts(noon, dir, quorum)
	r = pending(t, quorum)
	r = do(t, r, vote(r, "user:bo", Approve), f)
	was := dir.person["user:bo"]
	delete(dir.person, "user:bo")
	r = do(t, r, vote(r, "user:di", Approve), f)
	want(t, r, "pending")
	dir.person["user:bo"] = was
	want(t, do(t, r, vote(r, "user:fay", Approve), f), "approved/active")
}

// Invariant: A12
// Attack: APV-28
func TestDenyIsFinal(t *testing.T) {
	tm := terms(stage("dba", 2, "group:dba"))
	f := facts(noon, town(), tm)
	f.IssuingOff, f.Current = true, nil // denying needs neither
	r := pending(t, tm)
	denied := do(t, r, vote(r, "user:bo", Deny), f)
	want(t, denied, "denied")
	refused(t, denied, vote(r, "user:di", Approve), facts(noon, town(), tm), CodeAlreadyDecided)
	refused(t, denied, Cancel{By: "user:ana"}, facts(noon, town(), tm), CodeAlreadyDecided)
	refused(t, denied, End{By: "user:ana", Reason: EndRevoked}, facts(noon, town(), tm), CodeNotActive)
}

// Attack: APV-07
func TestTheSmallestDurationHolds(t *testing.T) {
	tm := terms(stage("dba", 2, "group:dba"))
	for _, tt := range []struct{ bo, di, granted time.Duration }{
		{0, 0, 30 * time.Minute},
		{10 * time.Minute, 0, 10 * time.Minute},
		{10 * time.Minute, 20 * time.Minute, 10 * time.Minute},
		{20 * time.Minute, 10 * time.Minute, 10 * time.Minute},
		{30 * time.Minute, time.Second, time.Second},
	} {
		r := pending(t, tm)
		for by, d := range map[string]time.Duration{"user:bo": tt.bo, "user:di": tt.di} {
			v := vote(r, by, Approve)
			v.Duration = d
			r = do(t, r, v, facts(noon, town(), tm))
		}
		if got := r.Grant.ExpiresAt.Sub(r.Grant.StartsAt); got != tt.granted || Effective(r) != tt.granted {
			t.Errorf("%v and %v granted %v, want %v", tt.bo, tt.di, got, tt.granted)
		}
	}
}

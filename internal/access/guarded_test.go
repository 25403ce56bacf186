package access_test

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	. "github.com/daypass/daypass/internal/access"
)

type strange struct{ Command }

// TestWhatOnlyABugSends: commands that no correct caller makes are refused, one
// wrong thing at a time, and say that it is a bug.
//
// Invariant: A7, A16
func TestWhatOnlyABugSends(t *testing.T) {
	tm := terms(stage("dba", 1, "group:dba"))
	r := pending(t, tm)
	f := facts(noon, town(), tm)
	granted := do(t, r, vote(r, "user:bo", Approve), f)
	ready := func(change func(*CastVote)) CastVote {
		v := vote(r, "user:bo", Approve)
		change(&v)
		return v
	}
	for name, tt := range map[string]struct {
		r   *Request
		cmd Command
	}{
		"an unknown command":       {r, strange{}},
		"a cancellation by nobody": {r, Cancel{}},
		"an end by nobody":         {granted, End{Reason: EndRevoked}},
		"an end for no reason":     {granted, End{By: "user:ada"}},
		"an end by expiry":         {granted, End{By: "user:ada", Reason: EndExpired}},
		"a vote by nobody":         {r, ready(func(v *CastVote) { v.By = "" })},
		"a vote without an ID":     {r, ready(func(v *CastVote) { v.ReviewID = "" })},
		"a grant without an ID":    {r, ready(func(v *CastVote) { v.GrantID = "" })},
		"an extension by nobody":   {granted, Extend{Duration: time.Minute, MaxTotal: time.Hour}},
		"an extension by nothing":  {granted, Extend{By: "req_2", MaxTotal: time.Hour}},
		"an extension by less":     {granted, Extend{By: "req_2", Duration: -time.Second, MaxTotal: time.Hour}},
		"an extension by a bit":    {granted, Extend{By: "req_2", Duration: time.Millisecond, MaxTotal: time.Hour}},
	} {
		e := refused(t, tt.r, tt.cmd, f, CodeInvalidCommand)
		if !strings.HasPrefix(e.Error(), "invalid_command: ") || !strings.Contains(e.Error(), "bug") {
			t.Errorf("%s: %s", name, e)
		}
	}
	// A grant that a pending request already has is never replaced.
	twice := *r
	twice.Grant = granted.Grant
	refused(t, &twice, vote(r, "user:bo", Approve), f, CodeInvalidCommand)
}

// TestSubmissionsOnlyABugMakes: one part missing or wrong at a time.
//
// Invariant: A13, A16
func TestSubmissionsOnlyABugMakes(t *testing.T) {
	auto := autoTerms()
	for name, change := range map[string]func(*Submit, *Facts){
		"no requester":            func(s *Submit, _ *Facts) { s.Content.Requester = "" },
		"no resource":             func(s *Submit, _ *Facts) { s.Content.Resource = "" },
		"no time to approve":      func(s *Submit, _ *Facts) { s.Content.Terms.ApproveWithin = -time.Second },
		"a negative total":        func(s *Submit, _ *Facts) { s.Content.Terms.MaxTotal = -time.Second },
		"auto with stages":        func(s *Submit, _ *Facts) { s.Content.Terms.Stages = []Stage{stage("dba", 1, "group:dba")} },
		"auto, and too long now":  func(_ *Submit, f *Facts) { f.Current.Terms.MaxDuration = time.Minute },
		"a scope that is no JSON": func(s *Submit, _ *Facts) { s.Content.Scope = json.RawMessage(`{"a":}`) },
		// JSON, but without the canonical form that is hashed.
		"a scope that cannot be hashed": func(s *Submit, _ *Facts) { s.Content.Scope = json.RawMessage(`{"a":1e999}`) },
	} {
		cmd, f := Submit{ID: "req_1", GrantID: "grt_1", Content: content(auto)}, facts(noon, town(), auto)
		change(&cmd, &f)
		events, err := Decide(nil, cmd, f)
		var e *Error
		if !errors.As(err, &e) || e.Code != CodeInvalidCommand || events != nil {
			t.Errorf("%s: %v, %v", name, events, err)
		}
	}
	// An automatic approval needs no time to be approved in, and no total.
	bare := auto
	bare.ApproveWithin, bare.MaxTotal = 0, 0
	want(t, do(t, nil, Submit{ID: "req_1", GrantID: "grt_1", Content: content(bare)}, facts(noon, town(), bare)), "approved/active")
	// A total of one second is a limit.
	second := auto
	second.MaxTotal = time.Second
	long := content(second)
	long.Duration = 2 * time.Second
	refused(t, nil, Submit{ID: "req_1", GrantID: "grt_1", Content: long}, facts(noon, town(), second), CodeInvalidField)
	// One second and one of everything are enough.
	least := terms(stage("dba", 1, "group:dba"))
	least.MaxDuration, least.MaxTotal, least.ApproveWithin = time.Second, time.Second, time.Second
	c := content(least)
	c.Duration = time.Second
	want(t, do(t, nil, Submit{ID: "req_1", Content: c}, facts(noon, town(), least)), "pending")
}

// TestVotesThatDoNotCount: reviews that a store could hold and that must not
// fill a stage, one wrong thing at a time. With the vote of cy the owner stage
// would be full.
//
// Invariant: A8, A10, A11
func TestVotesThatDoNotCount(t *testing.T) {
	tm := terms(stage("dba", 1, "group:dba"), stage("owner", 1, "group:owners"))
	r := pending(t, tm)
	f := facts(noon, town(), tm)
	good := Review{ID: "rev_1", By: "user:bo", Person: "user:bo", Decision: Approve, Stage: 0, ContentHash: r.ContentHash, At: noon}
	for name, change := range map[string]func(*Review){
		"a deny":             func(v *Review) { v.Decision = Deny },
		"other content":      func(v *Review) { v.ContentHash = "sha256:00" },
		"no stage":           func(v *Review) { v.Stage = -1 },
		"a stage too many":   func(v *Review) { v.Stage = 2 },
		"not in that stage":  func(v *Review) { v.Stage = 1 },
		"the requester's":    func(v *Review) { v.By, v.Person = "user:ana", "user:ana" },
		"an agent's":         func(v *Review) { v.By, v.Person = "agent:bot", "agent:bot" },
		"an unknown voter's": func(v *Review) { v.By, v.Person = "user:nobody", "user:nobody" },
	} {
		with := *r
		v := good
		change(&v)
		with.Reviews = []Review{v}
		if n := len(CountedVotes(&with, town(), 0)) + len(CountedVotes(&with, town(), 1)); n != 0 {
			t.Errorf("%s: %d count", name, n)
		}
		if open, ok := OpenStage(&with, town()); !ok || open != 0 {
			t.Errorf("%s: stage %d is open", name, open)
		}
	}
	// The person of the time of the vote counts as well as the one of now.
	moved := *r
	moved.Reviews = []Review{good, {ID: "rev_2", By: "user:cy", Person: "user:bo", Decision: Approve, Stage: 1, ContentHash: r.ContentHash, At: noon}}
	if n := len(CountedVotes(&moved, town(), 1)); n != 0 {
		t.Errorf("one person counts %d times", n+1)
	}
	moved.Reviews = []Review{
		{ID: "rev_1", By: "user:bo", Person: "user:then", Decision: Approve, ContentHash: r.ContentHash, At: noon},
		{ID: "rev_2", By: "user:bo2", Person: "user:other", Decision: Approve, ContentHash: r.ContentHash, At: noon},
	}
	if n := len(CountedVotes(&moved, town(), 0)); n != 1 {
		t.Errorf("one person by now counts %d times", n)
	}
	// Where all stages are full and nobody's vote completed it, the last is open.
	moved.Reviews = []Review{good, {ID: "rev_2", By: "user:cy", Person: "user:cy", Decision: Approve, Stage: 1, ContentHash: r.ContentHash, At: noon}}
	if open, ok := OpenStage(&moved, town()); !ok || open != 1 {
		t.Errorf("stage %d is open when all are full", open)
	}
	// A person who voted has voted, whoever the directory says they are now.
	for name, v := range map[string]Review{
		"the same account":   {By: "user:di", Person: "user:gone"},
		"the same person":    {By: "user:gone", Person: "user:di"},
		"one person by now":  {By: "user:bo2", Person: "user:gone"},
		"one person by then": {By: "user:gone", Person: "user:bo"},
	} {
		v.ID, v.Decision, v.ContentHash, v.At = "rev_1", Approve, "sha256:00", noon
		with := *r
		with.Reviews = []Review{v}
		by := "user:di"
		if strings.HasPrefix(name, "one") {
			by = "user:bo"
		}
		refused(t, &with, vote(r, by, Approve), f, CodeAlreadyVoted)
	}
	// An unknown voter of before is nobody's person.
	with := *r
	with.Reviews = []Review{{ID: "rev_1", By: "user:gone", Person: "user:gone", Decision: Approve, ContentHash: "sha256:00", At: noon}}
	do(t, &with, vote(r, "user:bo", Approve), f)
}

// Two accounts that the directory does not know are not one person for that.
func TestTheUnknownAreNotOnePerson(t *testing.T) {
	dir := town()
	delete(dir.person, "user:ana")
	r := pending(t, terms(stage("dba", 1, "group:dba")))
	do(t, r, vote(r, "user:bo", Approve), facts(noon, dir, r.Content.Terms))
	if Eligible(dir, "user:nobody", "user:ana", stage("any", 1, "user:nobody")) {
		t.Error("the unknown may vote")
	}
	blank := &people{person: map[string]string{"user:bo": ""}, groups: map[string][]string{"group:dba": {"user:bo"}}}
	if !Eligible(blank, "user:bo", "user:ana", stage("dba", 1, "group:dba")) {
		t.Error("an empty person is taken for the requester's, who is unknown")
	}
}

// No stage is open where none is waited for, and a quorum of none is never met.
//
// Invariant: A13
func TestOpenStageOfWhatDoesNotWait(t *testing.T) {
	tm := terms(stage("dba", 1, "group:dba"))
	r := pending(t, tm)
	f := facts(noon, town(), tm)
	for name, closed := range map[string]*Request{
		"denied":    do(t, r, vote(r, "user:bo", Deny), f),
		"cancelled": do(t, r, Cancel{By: "user:ana"}, f),
		"no stages": {State: Pending},
	} {
		if stage, ok := OpenStage(closed, town()); ok || stage != 0 {
			t.Errorf("%s: stage %d is open", name, stage)
		}
	}
	none := *r
	none.Content.Terms.Stages = []Stage{stage("dba", 0, "group:dba")}
	none.ContentHash = none.Content.Hash()
	refused(t, &none, Submit{}, f, CodeInvalidCommand)
	if next := do(t, &none, vote(&none, "user:bo", Approve), f); next.State != Pending || next.Grant != nil {
		t.Errorf("a quorum of none is met: %s", next.State)
	}
}

// What ended by the clock ended then, whoever comes later.
//
// Invariant: A1, A2
func TestWhoComesAfterTheEnd(t *testing.T) {
	tm := terms(stage("dba", 1, "group:dba"))
	r := pending(t, tm)
	granted := do(t, r, vote(r, "user:bo", Approve), facts(noon, town(), tm))
	late := facts(granted.Grant.ExpiresAt, town(), tm)
	over := do(t, granted, End{By: "user:ada", Reason: EndRevoked}, late)
	if g := over.Grant; g.EndedReason != EndExpired || !g.EndedAt.Equal(g.ExpiresAt) || g.EndedBy != "system:clock" {
		t.Errorf("ended %s by %s at %v", g.EndedReason, g.EndedBy, g.EndedAt)
	}
	f := facts(noon, town(), tm)
	f.Connector = true
	activating := do(t, r, vote(r, "user:bo", Approve), f)
	f.Now = activating.Grant.ExpiresAt
	failed := do(t, activating, ProvisionFailed{Reason: "no"}, f)
	if g := failed.Grant; g.EndedReason != EndExpired || !g.EndedAt.Equal(g.ExpiresAt) || g.EndedBy != "system:clock" {
		t.Errorf("failed after its end: %s by %s at %v", g.EndedReason, g.EndedBy, g.EndedAt)
	}
	lapsed := do(t, r, Lapse{}, f)
	if lapsed.Outcome == "" || do(t, r, Lapse{Reason: "because"}, f).Outcome != "because" {
		t.Errorf("lapsed for %q", lapsed.Outcome)
	}
}

// A start is decided with everything at hand or not at all.
//
// Invariant: A7, A16
func TestAStartNeedsAllFacts(t *testing.T) {
	tm := terms(stage("dba", 1, "group:dba"))
	at := noon.Add(time.Hour)
	c := content(tm)
	c.StartAt = &at
	r := do(t, nil, Submit{ID: "req_1", Content: c}, facts(noon, town(), tm))
	r = do(t, r, vote(r, "user:bo", Approve), facts(noon, town(), tm))
	f := facts(at, town(), tm)
	f.Current = nil
	refused(t, r, Tick{}, f, CodeInvalidCommand)
	refused(t, r, Tick{}, Facts{Now: at, Current: &Verdict{Terms: tm}}, CodeInvalidCommand)
	f = facts(at, town(), tm)
	f.Current.Terms.Stages = []Stage{stage("dba", 0, "group:dba")}
	refused(t, r, Tick{}, f, CodeInvalidCommand)
	f = facts(at, town(), tm)
	if tooLong := f; true {
		tooLong.Current = &Verdict{Terms: tm}
		tooLong.Current.Terms.MaxDuration = time.Minute
		want(t, do(t, r, Tick{}, tooLong), "approved/ended:policy")
	}
	want(t, do(t, r, Tick{}, f), "approved/active")
}

// The hash tells contents apart that a slip could make one.
//
// Invariant: A8, A32
func TestHashKeepsFractionsAndCopies(t *testing.T) {
	c := content(terms(stage("dba", 1, "group:dba")))
	seen := map[string]string{}
	for name, change := range map[string]func(*Content){
		"as it is":          func(*Content) {},
		"half a second":     func(c *Content) { c.Duration = 500 * time.Millisecond },
		"another half":      func(c *Content) { c.Duration = 1500 * time.Millisecond },
		"a minute":          func(c *Content) { c.Duration = time.Minute },
		"as long as can be": func(c *Content) { c.Duration = math.MaxInt64 },
	} {
		other := c
		change(&other)
		h := other.Hash()
		if was, twice := seen[h]; twice || h == "" {
			t.Errorf("%s has the hash of %s", name, was)
		}
		seen[h] = name
	}
	none, empty := c, c
	none.Terms.Stages = []Stage{{Name: "dba", Quorum: 1}}
	empty.Terms.Stages = []Stage{{Name: "dba", Quorum: 1, From: []string{}}}
	if none.Hash() != empty.Hash() {
		t.Error("no list and an empty one have two hashes")
	}
	// An odd number of seconds is written as the others are: stored hashes stay.
	odd := c
	odd.Duration = 61 * time.Second
	if got := odd.Hash(); got != "sha256:4dc680159bd2ac19715ecb24ab02bcd5192fd9f6b4b79fe2d1aadfd44176b690" {
		t.Errorf("the hash of 61s is now %s", got)
	}
	c.Scope = nil
	if c.Hash() != "" {
		t.Error("what has no scope has a hash")
	}
}

// The stages of a request are the frozen ones, then those added; neither list
// can be changed through the result.
func TestStagesAreFrozenThenAdded(t *testing.T) {
	r := &Request{Content: content(terms(stage("dba", 1, "group:dba")))}
	if got := r.Stages(); len(got) != 1 || got[0].Name != "dba" {
		t.Errorf("%+v", got)
	}
	r.Added = []Stage{stage("owner", 1, "group:owners")}
	got := r.Stages()
	if len(got) != 2 || got[0].Name != "dba" || got[1].Name != "owner" {
		t.Errorf("%+v", got)
	}
}

// TestNoInstantIsShared: what comes out of Apply can be changed without a
// trace in what went in, down to each instant and list.
func TestNoInstantIsShared(t *testing.T) {
	tm := terms(stage("dba", 1, "group:dba"))
	at, decided := noon.Add(time.Hour), noon
	c := content(tm)
	c.StartAt = &at
	r := do(t, nil, Submit{ID: "req_1", Content: c}, facts(noon, town(), tm))
	r.DecidedAt, r.Added = &decided, []Stage{stage("owner", 1, "group:owners")}
	ended := noon
	r.Grant = &Grant{ID: "grt_1", State: Ended, EndedAt: &ended}
	next := Apply(r)
	*next.Content.StartAt, *next.DecidedAt, *next.Grant.EndedAt = time.Time{}, time.Time{}, time.Time{}
	next.Added[0].From[0], next.Content.Terms.Stages[0].From[0] = "group:none", "group:none"
	if r.Content.StartAt.IsZero() || r.DecidedAt.IsZero() || r.Grant.EndedAt.IsZero() ||
		r.Added[0].From[0] != "group:owners" || r.Content.Terms.Stages[0].From[0] != "group:dba" {
		t.Error("the request changed with what Apply made of it")
	}
	if got := Apply(nil, RequestCancelled{At: noon, By: "user:ana"}); got != nil {
		t.Errorf("a cancellation of nothing made %+v", got)
	}
}

package access_test

import (
	"testing"
	"time"

	. "github.com/daypass/daypass/internal/access"
	"pgregory.net/rapid"
)

// checkDuty: access that nobody agreed to always has a duty, a deny is a
// finding and ends what is left, and the total is what was asked for.
func checkDuty(t *rapid.T, l *life, s step) {
	r := s.after
	if (r.Content.Terms.BreakGlass != nil) != (r.Duty != nil) {
		t.Fatalf("break-glass %+v with the duty %+v", r.Content.Terms.BreakGlass, r.Duty)
	}
	if r.Duty == nil {
		return
	}
	_, denied := looks(l.history)
	if denied != r.Duty.Finding {
		t.Fatalf("denied: %v, a finding: %v", denied, r.Duty.Finding)
	}
	if g := r.Grant; denied && g.State != Ending && g.State != Ended {
		t.Fatalf("a reviewer denied it and it is %s", state(r))
	}
	if g := r.Grant; g.ExpiresAt.Sub(g.StartsAt) > r.Content.Terms.BreakGlass.MaxDuration || !g.BreakGlass {
		t.Fatalf("a broken glass gave %+v", g)
	}
	if s.before != nil && s.before.Duty.Open() && !r.Duty.Open() {
		reviewed := false
		for _, e := range s.events {
			_, ok := e.(GlassReviewed)
			reviewed = reviewed || ok
		}
		if !reviewed {
			t.Fatalf("%#v ended the duty", s.cmd)
		}
	}
}

// checkReviewed: the duty ends when distinct, unrelated people have filled
// every stage, each with a look at this very content.
func checkReviewed(t *rapid.T, l *life, s step) {
	all, _ := looks(l.history)
	if !covers(all, s.dir, s.after.Content.Requester, s.after.Content.Terms.Stages) {
		t.Fatalf("reviewed by %+v although the stages %+v ask for more", s.after.Reviews, s.after.Content.Terms.Stages)
	}
	for _, b := range all {
		if b.hash != s.after.Content.Hash() {
			t.Fatal("somebody reviewed another content")
		}
	}
}

func noteGlass(seen *sights, s step) {
	for _, e := range s.events {
		switch e.(type) {
		case GlassBroken:
			seen.saw("glass broken")
		case GlassFound:
			seen.saw("a finding")
			if s.before.Grant.State == Active && s.after.Grant.EndedReason == EndRevoked {
				seen.saw("a finding ended the access")
			}
		case GlassReviewed:
			seen.saw("a glass that was broken is reviewed")
			if s.after.Duty.Finding {
				seen.saw("reviewed with a finding")
			}
			if s.before.Grant.State == Ended {
				seen.saw("reviewed after the access")
			}
		}
	}
}

func glassTerms() Terms {
	tm := terms(stage("dba", 2, "group:dba"))
	tm.BreakGlass = &BreakGlass{MaxDuration: 30 * time.Minute, Notify: []string{"group:dba", "group:owners"}}
	return tm
}

func breaking(tm Terms) Submit {
	c := content(tm)
	c.ReasonDigest = "sha256:11"
	return Submit{ID: "req_1", GrantID: "grt_1", Content: c, Told: []string{"user:bo", "user:bo2", "user:cy", "user:ana2"}, Person: "user:ana"}
}

func broken(t testing.TB) *Request {
	t.Helper()
	return do(t, nil, breaking(glassTerms()), facts(noon, town(), glassTerms()))
}

// Invariant: A2, A7, A9, A10
func TestBreakGlassIsAccessFirst(t *testing.T) {
	r := broken(t)
	want(t, r, "approved/active")
	if !r.Duty.Open() || r.Duty.Finding || len(r.Duty.Told) != 3 || !r.Grant.ActiveAt(noon) {
		t.Fatalf("the duty is %+v", r.Duty)
	}
	f := facts(noon, town(), glassTerms())
	refused(t, r, vote(r, "user:ana2", Approve), f, CodeSelfApproval)
	refused(t, r, vote(r, "user:ed", Approve), f, CodeNotAnApprover)
	narrowed := vote(r, "user:bo", Approve)
	narrowed.Duration = time.Minute
	refused(t, r, narrowed, f, CodeInvalidField)
	stale := vote(r, "user:bo", Approve)
	stale.ContentHash = "sha256:00"
	refused(t, r, stale, f, CodeContentChanged)

	r = do(t, r, vote(r, "user:bo", Approve), f)
	refused(t, r, vote(r, "user:bo2", Approve), f, CodeAlreadyVoted)
	if !r.Duty.Open() {
		t.Fatal("one of two is enough")
	}
	// After the end, with issuing off, and without a catalog: looking back
	// gives nothing, so nothing stands in its way.
	r = do(t, r, Tick{}, Facts{Now: noon.Add(time.Hour)})
	late := Facts{Now: noon.Add(100 * 24 * time.Hour), Directory: town(), IssuingOff: true}
	r = do(t, r, vote(r, "user:di", Approve), late)
	want(t, r, "approved/ended:expired")
	if r.Duty.Open() || r.Duty.Finding {
		t.Fatalf("the duty is %+v", r.Duty)
	}
	refused(t, r, vote(r, "user:di", Deny), late, CodeAlreadyDecided)
}

// Invariant: A2, A10, A38
func TestADenyOfABrokenGlass(t *testing.T) {
	r := broken(t)
	f := Facts{Now: noon.Add(time.Minute), Directory: town(), IssuingOff: true}
	r = do(t, r, vote(r, "user:bo", Deny), f)
	want(t, r, "approved/ended:revoked")
	if !r.Duty.Finding || !r.Duty.Open() || r.Grant.EndedBy != "user:bo" {
		t.Fatalf("the duty is %+v, the grant %+v", r.Duty, r.Grant)
	}
	refused(t, r, vote(r, "user:bo2", Approve), f, CodeAlreadyVoted)
	r = do(t, r, vote(r, "user:di", Approve), f)
	if r.Duty.Open() || !r.Duty.Finding {
		t.Fatalf("the duty is %+v", r.Duty)
	}
}

// A deny says what a person found. It ends what is left of the access, and of
// what had ended by itself it changes neither when nor why.
//
// Invariant: A2, A10, A38
func TestADenyOfWhatHasEnded(t *testing.T) {
	r := broken(t)
	over := noon.Add(30 * time.Minute)
	for name, c := range map[string]struct {
		before *Request
		now    time.Time
		state  string
		ended  time.Time
		events int
	}{
		"the last instant":       {r, over.Add(-time.Millisecond), "approved/ended:revoked", over.Add(-time.Millisecond), 4},
		"over, and not noticed":  {r, over, "approved/ended:expired", over, 4},
		"long over, not noticed": {r, over.Add(time.Hour), "approved/ended:expired", over, 4},
		"over, and noticed":      {do(t, r, Tick{}, Facts{Now: over}), over.Add(time.Hour), "approved/ended:expired", over, 2},
	} {
		f := Facts{Now: c.now, Directory: town()}
		events, err := Decide(c.before, vote(r, "user:bo", Deny), f)
		if err != nil || len(events) != c.events {
			t.Fatalf("%s: %#v, %v", name, events, err)
		}
		after := Apply(c.before, events...)
		want(t, after, c.state)
		if !after.Grant.EndedAt.Equal(c.ended) || !after.Duty.Finding {
			t.Errorf("%s: ended at %s, want %s", name, after.Grant.EndedAt, c.ended)
		}
	}
}

// A deny of access that is being taken back already is a finding, and starts
// nothing again.
//
// Invariant: A2, A10
func TestADenyOfWhatIsEnding(t *testing.T) {
	f := facts(noon, town(), glassTerms())
	f.Connector = true
	r := do(t, nil, breaking(glassTerms()), f)
	returned := do(t, r, End{Reason: EndReturned, By: "user:ana"}, f)
	for before, after := range map[*Request]string{r: "approved/ending:revoked", returned: "approved/ending:returned"} {
		now := do(t, before, vote(r, "user:bo", Deny), f)
		want(t, now, after)
		if !now.Duty.Finding || !now.Duty.Open() {
			t.Errorf("the duty is %+v", now.Duty)
		}
	}
}

// What was decided is not changed by whoever still holds what was asked.
//
// Invariant: A8
func TestABrokenGlassIsItsOwn(t *testing.T) {
	s := breaking(glassTerms())
	r := do(t, nil, s, facts(noon, town(), glassTerms()))
	other := Apply(r)
	s.Content.Terms.BreakGlass.Notify[0], s.Told[0] = "group:none", "user:none"
	other.Content.Terms.BreakGlass.Notify[1], other.Duty.Told[1] = "group:none", "user:none"
	if g := r.Content.Terms.BreakGlass.Notify; g[0] != "group:dba" || g[1] != "group:owners" || r.Duty.Told[0] != "user:bo" || r.Duty.Told[1] != "user:bo2" {
		t.Errorf("%v, told %v", g, r.Duty.Told)
	}
	if r.Content.Hash() != r.ContentHash {
		t.Error("the content has another hash")
	}
	f := facts(noon, town(), glassTerms())
	done := do(t, do(t, r, vote(r, "user:bo", Approve), f), vote(r, "user:di", Approve), f)
	copied := Apply(done)
	*copied.Duty.DoneAt = noon.Add(time.Hour)
	if !done.Duty.DoneAt.Equal(noon) {
		t.Errorf("reviewed at %s", done.Duty.DoneAt)
	}
}

// Break-glass is for now: a start that has come is no later one.
func TestBreakGlassFromNow(t *testing.T) {
	s := breaking(glassTerms())
	at := noon
	s.Content.StartAt = &at
	want(t, do(t, nil, s, facts(noon, town(), glassTerms())), "approved/active")
	later := noon.Add(time.Millisecond)
	s.Content.StartAt = &later
	refused(t, nil, s, facts(noon, town(), glassTerms()), CodeInvalidField)
}

// Invariant: A6, A9, A13, A16
func TestBreakGlassRefusals(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Submit, *Facts)
		code   Code
	}{
		"no reason":             {func(s *Submit, _ *Facts) { s.Content.ReasonDigest = "" }, CodeInvalidField},
		"later":                 {func(s *Submit, _ *Facts) { at := noon.Add(time.Hour); s.Content.StartAt = &at }, CodeInvalidField},
		"too long":              {func(s *Submit, _ *Facts) { s.Content.Duration = 31 * time.Minute }, CodeInvalidField},
		"issuing off":           {func(_ *Submit, f *Facts) { f.IssuingOff = true }, CodeIssuingOff},
		"a duty is open":        {func(_ *Submit, f *Facts) { f.OpenDuty = "req_0" }, CodeReviewDue},
		"only one is told":      {func(s *Submit, _ *Facts) { s.Told = []string{"user:bo", "user:bo2"} }, CodeInvalidCommand},
		"one of two is ana":     {func(s *Submit, _ *Facts) { s.Told = []string{"user:bo", "user:ana", "user:ana2"} }, CodeInvalidCommand},
		"told is not named":     {func(s *Submit, _ *Facts) { s.Told = []string{"user:bo", "user:ed"} }, CodeInvalidCommand},
		"an agent is told":      {func(s *Submit, _ *Facts) { s.Told = []string{"user:cy", "agent:bot"} }, CodeInvalidCommand},
		"nobody knows people":   {func(_ *Submit, f *Facts) { f.Directory = nil }, CodeInvalidCommand},
		"the catalog moved":     {func(_ *Submit, f *Facts) { f.Current = &Verdict{Terms: terms(stage("dba", 2, "group:dba"))} }, CodeInvalidCommand},
		"the catalog refuses":   {func(_ *Submit, f *Facts) { f.Current.Refusal = "No." }, CodeInvalidCommand},
		"nobody would review":   {func(s *Submit, _ *Facts) { s.Content.Terms.Stages = nil }, CodeInvalidCommand},
		"a rule approves":       {func(s *Submit, _ *Facts) { s.Content.Terms.Auto, s.Content.Terms.Stages = true, nil }, CodeInvalidCommand},
		"nobody is to be told":  {func(s *Submit, _ *Facts) { s.Content.Terms.BreakGlass.Notify = nil }, CodeInvalidCommand},
		"no time at all":        {func(s *Submit, _ *Facts) { s.Content.Terms.BreakGlass.MaxDuration = 0 }, CodeInvalidCommand},
		"no ID for the grant":   {func(s *Submit, _ *Facts) { s.GrantID = "" }, CodeInvalidCommand},
		"no catalog":            {func(_ *Submit, f *Facts) { f.Current = nil }, CodeInvalidCommand},
		"the catalog shortened": {func(_ *Submit, f *Facts) { f.Current.Terms.MaxDuration = 10 * time.Minute }, CodeInvalidCommand},
		"nobody knows one told": {func(s *Submit, f *Facts) {
			dir := town()
			dir.groups["group:dba"] = append(dir.groups["group:dba"], "user:ghost")
			s.Told, f.Directory = []string{"user:bo", "user:ghost"}, dir
		}, CodeInvalidCommand},
		"nobody answers": {func(s *Submit, _ *Facts) { s.Person = "" }, CodeInvalidCommand},
		"an extension": {func(s *Submit, f *Facts) {
			s.Content.Extends = "grt_0"
			f.Base = &Grant{ID: "grt_0", State: Active, StartsAt: noon, ExpiresAt: noon.Add(time.Minute)}
		}, CodeLimitReached},
	} {
		t.Run(name, func(t *testing.T) {
			s, f := breaking(glassTerms()), facts(noon, town(), glassTerms())
			tc.change(&s, &f)
			refused(t, nil, s, f, tc.code)
		})
	}
}

// An ordinary extension of what nobody agreed to beforehand would make the
// emergency a way around the stages.
//
// Invariant: A6
func TestABrokenGlassIsNotExtended(t *testing.T) {
	r := broken(t)
	tm := terms(stage("dba", 1, "group:dba"))
	c := content(tm)
	c.Extends = "grt_1"
	f := facts(noon, town(), tm)
	f.Base = r.Grant
	refused(t, nil, Submit{ID: "req_2", Content: c}, f, CodeLimitReached)
	refused(t, r, Extend{By: "req_2", Duration: time.Minute, MaxTotal: time.Hour}, f, CodeLimitReached)
}

// Invariant: A8
func TestHashCoversBreakGlass(t *testing.T) {
	plain, glass := content(terms(stage("dba", 2, "group:dba"))), content(glassTerms())
	longer := content(glassTerms())
	longer.Terms.BreakGlass = &BreakGlass{MaxDuration: time.Hour, Notify: glass.Terms.BreakGlass.Notify}
	fewer := content(glassTerms())
	fewer.Terms.BreakGlass = &BreakGlass{MaxDuration: glass.Terms.BreakGlass.MaxDuration, Notify: []string{"group:dba"}}
	seen := map[string]bool{}
	for _, c := range []Content{plain, glass, longer, fewer} {
		seen[c.Hash()] = true
	}
	if len(seen) != 4 {
		t.Fatalf("four contents have %d hashes", len(seen))
	}
}

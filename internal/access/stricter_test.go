package access_test

import (
	"testing"
	"time"

	. "github.com/daypass/daypass/internal/access"
)

// TestTheStricterHolds: one dba votes on a request for which the frozen terms
// want one dba, under another catalog in force.
//
// Invariant: A7
// Attack: APV-25
func TestTheStricterHolds(t *testing.T) {
	frozen := terms(stage("dba", 1, "group:dba"))
	short := frozen
	short.MaxDuration = 30*time.Minute - time.Second
	equal := frozen
	equal.MaxDuration = 30 * time.Minute
	for _, tt := range []struct {
		name    string
		current *Verdict
		want    string
		added   int
	}{
		{"the same", &Verdict{Terms: frozen}, "approved/active", 0},
		{"auto now", &Verdict{Terms: autoTerms()}, "approved/active", 0},
		{"refused now", &Verdict{Refusal: "Use a migration."}, "denied", 0},
		{"shorter now", &Verdict{Terms: short}, "denied", 0},
		{"just long enough", &Verdict{Terms: equal}, "approved/active", 0},
		{"one more person", &Verdict{Terms: terms(stage("dba", 2, "group:dba"))}, "pending", 1},
		{"another stage", &Verdict{Terms: terms(stage("dba", 1, "group:dba"), stage("sec", 1, "group:sec"))}, "pending", 1},
		{"other people", &Verdict{Terms: terms(stage("sec", 1, "group:sec"))}, "pending", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := pending(t, frozen)
			f := facts(noon, town(), frozen)
			f.Current = tt.current
			r = do(t, r, vote(r, "user:bo", Approve), f)
			want(t, r, tt.want)
			if n := quorums(r.Added); n != tt.added {
				t.Fatalf("%d votes were added, want %d: %+v", n, tt.added, r.Added)
			}
			if tt.want == "denied" && (r.DecidedBy != "system:policy" || r.Outcome == "" || tt.current.Refusal != "" && r.Outcome != tt.current.Refusal) {
				t.Fatalf("denied by %q: %q", r.DecidedBy, r.Outcome)
			}
		})
	}
	r := pending(t, frozen)
	f := facts(noon, town(), frozen)
	f.Current = nil
	refused(t, r, vote(r, "user:bo", Approve), f, CodeInvalidCommand)
	for _, bad := range []Terms{terms(), terms(stage("none", 0, "group:dba")), terms(stage("nobody", 1))} {
		f.Current = &Verdict{Terms: bad}
		refused(t, r, vote(r, "user:bo", Approve), f, CodeInvalidCommand)
	}
}

// What was added is asked for once: a quorum lowered after the submission
// changes nothing, and one raised asks for the difference.
//
// Invariant: A7
// Attack: APV-25
func TestAddedStagesCount(t *testing.T) {
	frozen := terms(stage("dba", 1, "group:dba"))
	f := facts(noon, town(), terms(stage("dba", 1, "group:dba"), stage("owner", 1, "group:owners"), stage("sec", 1, "group:sec")))
	r := pending(t, frozen)
	r = do(t, r, vote(r, "user:di", Approve), f) // dba and owner, but one person
	if len(r.Added) != 2 || r.Added[0].Name != "owner" || r.Added[1].Name != "sec" {
		t.Fatalf("added %+v", r.Added)
	}
	r = do(t, r, vote(r, "user:cy", Approve), f)
	want(t, r, "pending")
	if len(r.Added) != 2 {
		t.Fatalf("added again: %+v", r.Added)
	}
	if r.Content.Hash() != r.ContentHash {
		t.Fatal("adding a stage moved the content")
	}
	f.Current = &Verdict{Terms: frozen} // what was added stays
	want(t, do(t, r, vote(r, "user:ed", Approve), f), "approved/active")
}

// The votes are matched, not counted off: di could stand for either stage, and
// must stand for the one that bo cannot.
//
// Invariant: A10
func TestVotesAreMatchedToStages(t *testing.T) {
	frozen := terms(stage("any", 2, "group:dba"))
	f := facts(noon, town(), terms(stage("either", 1, "group:dba"), stage("owner", 1, "user:di")))
	r := pending(t, frozen)
	r = do(t, r, vote(r, "user:di", Approve), f)
	want(t, do(t, r, vote(r, "user:bo", Approve), f), "approved/active")
}

// TestScheduledStart weighs an approval once more when the window begins.
//
// Invariant: A7, A11
func TestScheduledStart(t *testing.T) {
	tm := terms(stage("dba", 1, "group:dba"))
	c := content(tm)
	at := noon.Add(time.Hour)
	c.StartAt = &at
	calm := facts(noon, town(), tm)
	r := do(t, nil, Submit{ID: "req_1", Content: c}, calm)
	r = do(t, r, vote(r, "user:bo", Approve), calm)
	want(t, r, "approved/scheduled")
	if g := r.Grant; !g.StartsAt.Equal(at) || g.ExpiresAt.Sub(at) != c.Duration || !r.Deadline().Equal(at) {
		t.Fatalf("scheduled as %+v", g)
	}
	short, more := tm, tm
	short.MaxDuration = c.Duration - time.Second
	more.Stages = []Stage{stage("dba", 2, "group:dba")}
	total := tm
	total.MaxTotal = c.Duration - time.Second
	for _, tt := range []struct {
		name string
		with func(*Facts, *people)
		want string
	}{
		{"as it was", func(*Facts, *people) {}, "approved/active"},
		{"with a connector", func(f *Facts, _ *people) { f.Connector = true }, "approved/activating"},
		{"too early", func(f *Facts, _ *people) { f.Now = at.Add(-time.Millisecond) }, "approved/scheduled"},
		{"refused", func(f *Facts, _ *people) { f.Current = &Verdict{Refusal: "No."} }, "approved/ended:policy"},
		{"refused, whatever else the catalog says", func(f *Facts, _ *people) { f.Current = &Verdict{Refusal: "No.", Terms: tm} }, "approved/ended:policy"},
		{"refused, with a connector", func(f *Facts, _ *people) { f.Current, f.Connector = &Verdict{Refusal: "No."}, true }, "approved/ended:policy"},
		{"shorter", func(f *Facts, _ *people) { f.Current = &Verdict{Terms: short} }, "approved/ended:policy"},
		{"shorter in total", func(f *Facts, _ *people) { f.Current = &Verdict{Terms: total} }, "approved/ended:policy"},
		{"more votes", func(f *Facts, _ *people) { f.Current = &Verdict{Terms: more} }, "approved/ended:policy"},
		{"by a rule now", func(f *Facts, _ *people) { f.Current = &Verdict{Terms: autoTerms()} }, "approved/active"},
		{"the voter left", func(_ *Facts, p *people) { p.leave("user:bo", "group:dba") }, "approved/ended:policy"},
		{"the voter left, by a rule now", func(f *Facts, p *people) {
			p.leave("user:bo", "group:dba")
			f.Current = &Verdict{Terms: autoTerms()}
		}, "approved/ended:policy"},
		{"issuing off", func(f *Facts, _ *people) { f.IssuingOff = true }, "approved/scheduled"},
		{"issuing off to the end", func(f *Facts, _ *people) { f.IssuingOff, f.Now = true, at.Add(c.Duration) }, "approved/ended:expired"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := town()
			f := facts(at, dir, tm)
			tt.with(&f, dir)
			want(t, do(t, r, Tick{}, f), tt.want)
		})
	}
	f := facts(at, town(), tm)
	f.Current = nil
	refused(t, r, Tick{}, f, CodeInvalidCommand)
	want(t, do(t, r, End{By: "user:ana", Reason: EndReturned}, Facts{Now: noon}), "approved/ended:returned")
}

// A request that a rule approved needs votes when the rule is gone at its start.
//
// Invariant: A7
func TestScheduledStartOfAnAutomaticApproval(t *testing.T) {
	c := content(autoTerms())
	at := noon.Add(time.Hour)
	c.StartAt = &at
	r := do(t, nil, Submit{ID: "req_1", GrantID: "grt_1", Content: c}, facts(noon, town(), autoTerms()))
	want(t, r, "approved/scheduled")
	want(t, do(t, r, Tick{}, facts(at, town(), autoTerms())), "approved/active")
	want(t, do(t, r, Tick{}, facts(at, town(), terms(stage("dba", 1, "group:dba")))), "approved/ended:policy")
}

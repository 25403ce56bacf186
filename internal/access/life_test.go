package access_test

import (
	"testing"
	"time"

	. "github.com/daypass/daypass/internal/access"
)

func TestTwoStagesInOrder(t *testing.T) {
	tm := terms(stage("dba", 1, "group:dba"), stage("owner", 1, "group:owners"))
	f := facts(noon.Add(time.Minute), town(), tm)
	r := pending(t, tm)
	want(t, r, "pending")
	refused(t, r, vote(r, "user:cy", Approve), f, CodeStageNotOpen)
	r = do(t, r, vote(r, "user:bo", Approve), f)
	want(t, r, "pending")
	r = do(t, r, vote(r, "user:cy", Approve), f)
	want(t, r, "approved/active")
	if g := r.Grant; !g.StartsAt.Equal(f.Now) || !g.ExpiresAt.Equal(f.Now.Add(30*time.Minute)) {
		t.Fatalf("the window is %v to %v", g.StartsAt, g.ExpiresAt)
	}
	if r.DecidedBy != "user:cy" || r.Version != 0 {
		t.Fatalf("decided by %s at version %d", r.DecidedBy, r.Version)
	}
	r = do(t, r, Tick{}, facts(r.Grant.ExpiresAt, town(), tm))
	want(t, r, "approved/ended:expired")
}

func TestConnectorLife(t *testing.T) {
	f := facts(noon, town(), autoTerms())
	f.Connector = true
	start := func() *Request {
		r := do(t, nil, Submit{ID: "req_1", GrantID: "grt_1", Content: content(autoTerms())}, f)
		want(t, r, "approved/activating")
		return r
	}
	r := do(t, start(), Provisioned{}, f)
	want(t, r, "approved/active")
	r = do(t, r, End{By: "user:ana", Reason: EndReturned}, f)
	want(t, r, "approved/ending:returned")
	r = do(t, r, RemoveFailed{Reason: "refused"}, f)
	if !r.Grant.CleanupPending {
		t.Fatal("a clean-up that failed is not shown")
	}
	r = do(t, r, Provisioned{}, f) // came late
	want(t, r, "approved/ending:returned")
	r = do(t, r, Removed{}, f)
	want(t, r, "approved/ended:returned")
	if r.Grant.CleanupPending {
		t.Fatal("a clean-up is shown as pending after it worked")
	}
	r = do(t, start(), ProvisionFailed{Reason: "no"}, f)
	want(t, r, "approved/ending:activation_failed")

	late := facts(noon.Add(time.Hour), town(), autoTerms())
	late.Connector = true
	want(t, do(t, start(), Provisioned{}, late), "approved/activating")
	want(t, do(t, start(), Tick{}, late), "approved/ending:expired")
}

// An end that is on record already is written down as of then, also when the
// grant has run out meanwhile; never as of a time to come.
//
// Invariant: A2, A30
func TestAnEndThatIsWrittenDownLater(t *testing.T) {
	start := do(t, nil, Submit{ID: "req_1", GrantID: "grt_1", Content: content(autoTerms())}, facts(noon, town(), autoTerms()))
	then := noon.Add(time.Minute)
	for _, now := range []time.Time{then, start.Grant.ExpiresAt.Add(time.Hour)} {
		r := do(t, start, End{By: "user:ada", Reason: EndRevoked, Since: then}, facts(now, town(), autoTerms()))
		want(t, r, "approved/ended:revoked")
		if !r.Grant.EndedAt.Equal(then) {
			t.Errorf("at %v it ended at %v", now, r.Grant.EndedAt)
		}
	}
	late := facts(start.Grant.ExpiresAt.Add(time.Hour), town(), autoTerms())
	r := do(t, start, End{By: "user:ada", Reason: EndRevoked, Since: start.Grant.ExpiresAt}, late)
	want(t, r, "approved/ended:expired")
	for _, since := range []time.Time{noon.Add(-time.Millisecond), then.Add(time.Millisecond)} {
		refused(t, start, End{By: "user:ada", Reason: EndRevoked, Since: since}, facts(then, town(), autoTerms()), CodeInvalidCommand)
	}
}

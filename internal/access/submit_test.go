package access_test

import (
	"encoding/json"
	"testing"
	"time"

	. "github.com/daypass/daypass/internal/access"
)

// Invariant: A13
func TestSubmitRefusals(t *testing.T) {
	at := func(d time.Duration) *time.Time { s := noon.Add(d); return &s }
	live := &Grant{ID: "grt_9", State: Active, StartsAt: noon.Add(-time.Hour), ExpiresAt: noon.Add(time.Minute)}
	for _, tt := range []struct {
		name  string
		with  func(*Submit, *Facts)
		code  Code // empty: accepted
		field string
	}{
		{"as it is", func(*Submit, *Facts) {}, "", ""},
		{"no ID", func(s *Submit, _ *Facts) { s.ID = "" }, CodeInvalidCommand, ""},
		{"no scope", func(s *Submit, _ *Facts) { s.Content.Scope = nil }, CodeInvalidCommand, ""},
		{"a scope that is no JSON", func(s *Submit, _ *Facts) { s.Content.Scope = json.RawMessage(`{`) }, CodeInvalidCommand, ""},
		{"no clock", func(_ *Submit, f *Facts) { f.Now = time.Time{} }, CodeInvalidCommand, ""},
		{"no time", func(s *Submit, _ *Facts) { s.Content.Duration = 0 }, CodeInvalidField, "duration"},
		{"part of a second", func(s *Submit, _ *Facts) { s.Content.Duration += time.Millisecond }, CodeInvalidField, "duration"},
		{"as long as may be", func(s *Submit, _ *Facts) { s.Content.Duration = time.Hour }, "", ""},
		{"too long", func(s *Submit, _ *Facts) { s.Content.Duration = time.Hour + time.Second }, CodeInvalidField, "duration"},
		{"too long in total", func(s *Submit, _ *Facts) { s.Content.Terms.MaxTotal = time.Minute }, CodeInvalidField, "duration"},
		{"a start in the past", func(s *Submit, _ *Facts) { s.Content.StartAt = at(-time.Hour) }, "", ""},
		{"a start in 30 days", func(s *Submit, _ *Facts) { s.Content.StartAt = at(30 * 24 * time.Hour) }, "", ""},
		{"a start later than that", func(s *Submit, _ *Facts) { s.Content.StartAt = at(30*24*time.Hour + time.Millisecond) }, CodeInvalidField, "start_at"},
		{"no stage", func(s *Submit, _ *Facts) { s.Content.Terms.Stages = nil }, CodeInvalidCommand, ""},
		{"no quorum", func(s *Submit, _ *Facts) { s.Content.Terms.Stages[0].Quorum = 0 }, CodeInvalidCommand, ""},
		{"less than no quorum", func(s *Submit, _ *Facts) { s.Content.Terms.Stages[0].Quorum = -1 }, CodeInvalidCommand, ""},
		{"nobody to ask", func(s *Submit, _ *Facts) { s.Content.Terms.Stages[0].From = nil }, CodeInvalidCommand, ""},
		{"no time to review", func(s *Submit, _ *Facts) { s.Content.Terms.ApproveWithin = 0 }, CodeInvalidCommand, ""},
		{"issuing off", func(_ *Submit, f *Facts) { f.IssuingOff = true }, "", ""},
		{"auto", func(s *Submit, f *Facts) { auto(s, f) }, "", ""},
		{"auto, issuing off", func(s *Submit, f *Facts) { auto(s, f); f.IssuingOff = true }, CodeIssuingOff, ""},
		{"auto, the catalog unknown", func(s *Submit, f *Facts) { auto(s, f); f.Current = nil }, CodeInvalidCommand, ""},
		{"auto, but people now", func(s *Submit, f *Facts) { auto(s, f); f.Current.Terms.Auto = false }, CodeInvalidCommand, ""},
		{"auto, refused now", func(s *Submit, f *Facts) { auto(s, f); f.Current.Refusal = "No." }, CodeInvalidCommand, ""},
		{"auto, with stages", func(s *Submit, _ *Facts) { s.Content.Terms.Auto = true }, CodeInvalidCommand, ""},
		{"auto, no ID for the grant", func(s *Submit, f *Facts) { auto(s, f); s.GrantID = "" }, CodeInvalidCommand, ""},
		{"extends", func(s *Submit, f *Facts) { s.Content.Extends, f.Base = "grt_9", live }, "", ""},
		{"extends nothing", func(s *Submit, _ *Facts) { s.Content.Extends = "grt_9" }, CodeNotActive, ""},
		{"extends another", func(s *Submit, f *Facts) { s.Content.Extends, f.Base = "grt_8", live }, CodeInvalidCommand, ""},
		{"extends what is over", func(s *Submit, f *Facts) { s.Content.Extends, f.Base, f.Now = "grt_9", live, live.ExpiresAt }, CodeNotActive, ""},
		{"extends up to the cap", func(s *Submit, f *Facts) {
			s.Content.Extends, f.Base, s.Content.Duration = "grt_9", live, 59*time.Minute
		}, "", ""},
		{"extends past the cap", func(s *Submit, f *Facts) {
			s.Content.Extends, f.Base, s.Content.Duration = "grt_9", live, 59*time.Minute+time.Second
		}, CodeLimitReached, ""},
		{"extends from some time on", func(s *Submit, f *Facts) { s.Content.Extends, f.Base, s.Content.StartAt = "grt_9", live, at(0) }, CodeInvalidField, "start_at"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tm := terms(stage("dba", 1, "group:dba"))
			cmd := Submit{ID: "req_1", GrantID: "grt_1", Content: content(tm)}
			f := facts(noon, town(), tm)
			tt.with(&cmd, &f)
			if tt.code != "" {
				if refusal := refused(t, nil, cmd, f, tt.code); refusal.Field != tt.field {
					t.Fatalf("the refusal names the field %q, want %q", refusal.Field, tt.field)
				}
				return
			}
			r := do(t, nil, cmd, f)
			if r.Revision != 1 || r.ContentHash != cmd.Content.Hash() || !r.ApproveBy.Equal(f.Now.Add(cmd.Content.Terms.ApproveWithin)) {
				t.Fatalf("submitted as %+v", r)
			}
		})
	}
	refused(t, pending(t, terms(stage("dba", 1, "group:dba"))), Submit{ID: "req_1", Content: content(autoTerms())}, facts(noon, town(), autoTerms()), CodeInvalidCommand)
	refused(t, nil, Tick{}, facts(noon, town(), autoTerms()), CodeInvalidCommand)
}

func auto(s *Submit, f *Facts) {
	s.Content.Terms = autoTerms()
	f.Current = &Verdict{Terms: autoTerms()}
}

// The window begins at the approval, never at the creation, and instants are
// rounded down.
//
// Invariant: A3
func TestWindowBeginsAtTheApproval(t *testing.T) {
	tm := terms(stage("dba", 1, "group:dba"))
	for _, tt := range []struct {
		start    time.Duration // after the submission; 0 for none
		approved time.Duration
		begins   time.Duration
		state    string
	}{
		{0, 90 * time.Minute, 90 * time.Minute, "approved/active"},
		{time.Hour, time.Minute, time.Hour, "approved/scheduled"},
		{time.Hour, time.Hour, time.Hour, "approved/active"},
		{time.Hour, 2 * time.Hour, 2 * time.Hour, "approved/active"},
		{-time.Hour, time.Minute, time.Minute, "approved/active"},
		{time.Hour + 1500*time.Microsecond, time.Minute, time.Hour + time.Millisecond, "approved/scheduled"},
		{0, time.Minute + 1999*time.Microsecond, time.Minute + time.Millisecond, "approved/active"},
	} {
		c := content(tm)
		if tt.start != 0 {
			at := noon.Add(tt.start).In(time.FixedZone("", 3600))
			c.StartAt = &at
		}
		r := do(t, nil, Submit{ID: "req_1", Content: c}, facts(noon, town(), tm))
		r = do(t, r, vote(r, "user:bo", Approve), facts(noon.Add(tt.approved), town(), tm))
		want(t, r, tt.state)
		if g := r.Grant; !g.StartsAt.Equal(noon.Add(tt.begins)) || !g.ExpiresAt.Equal(g.StartsAt.Add(c.Duration)) || g.StartsAt.Location() != time.UTC {
			t.Errorf("asked for +%v, approved at +%v: the window is %v to %v", tt.start, tt.approved, g.StartsAt, g.ExpiresAt)
		}
	}
}

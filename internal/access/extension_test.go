package access_test

import (
	"math"
	"testing"
	"time"

	. "github.com/daypass/daypass/internal/access"
	"pgregory.net/rapid"
)

func extension(t testing.TB, tm Terms, base *Grant, d time.Duration) *Request {
	t.Helper()
	c := content(tm)
	c.Extends, c.Duration = base.ID, d
	f := facts(noon, town(), tm)
	f.Base = base
	return do(t, nil, Submit{ID: "req_2", Content: c}, f)
}

// Invariant: A6
func TestApprovalOfAnExtension(t *testing.T) {
	tm := terms(stage("dba", 1, "group:dba"))
	base := &Grant{ID: "grt_9", State: Active, StartsAt: noon.Add(-time.Hour), ExpiresAt: noon.Add(30 * time.Minute)}
	r := extension(t, tm, base, 30*time.Minute)
	capped := tm
	capped.MaxTotal = 2*time.Hour - time.Second
	ended := *base
	ended.State = Ending
	for _, tt := range []struct {
		name string
		with func(*Facts)
		want string
	}{
		{"live", func(*Facts) {}, "approved"},
		{"live until now", func(f *Facts) { f.Now = base.ExpiresAt.Add(-time.Millisecond) }, "approved"},
		{"over by the clock", func(f *Facts) { f.Now = base.ExpiresAt }, "expired"},
		{"revoked", func(f *Facts) { f.Base = &ended }, "expired"},
		{"capped now", func(f *Facts) { f.Current = &Verdict{Terms: capped} }, "denied"},
		{"refused now", func(f *Facts) { f.Current = &Verdict{Refusal: "No."} }, "denied"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := facts(noon, town(), tm)
			f.Base = base
			tt.with(&f)
			want(t, do(t, r, vote(r, "user:bo", Approve), f), tt.want)
		})
	}
	f := facts(noon, town(), tm)
	refused(t, r, vote(r, "user:bo", Approve), f, CodeInvalidCommand)
	f.Base = &Grant{ID: "grt_8", State: Active, StartsAt: noon, ExpiresAt: noon.Add(time.Hour)}
	refused(t, r, vote(r, "user:bo", Approve), f, CodeInvalidCommand)
	want(t, do(t, r, Lapse{Reason: "The grant ended."}, f), "expired")
	want(t, do(t, do(t, r, Cancel{By: "user:ana"}, f), Lapse{}, f), "cancelled")

	byRule := autoTerms()
	want(t, extension(t, byRule, base, 30*time.Minute), "approved")
}

func TestExtendRefusals(t *testing.T) {
	f := facts(noon, town(), autoTerms())
	r := do(t, nil, Submit{ID: "req_1", GrantID: "grt_1", Content: content(autoTerms())}, f)
	cmd := Extend{By: "req_2", Duration: 30 * time.Minute, MaxTotal: time.Hour}
	longer := do(t, r, cmd, f)
	if !longer.Grant.ExpiresAt.Equal(r.Grant.ExpiresAt.Add(cmd.Duration)) || !longer.Grant.StartsAt.Equal(r.Grant.StartsAt) {
		t.Fatalf("extended to %+v", longer.Grant)
	}
	refused(t, longer, Extend{By: "req_3", Duration: time.Second, MaxTotal: time.Hour}, f, CodeLimitReached)
	refused(t, r, Extend{By: "req_2", Duration: (math.MaxInt64 * time.Nanosecond).Truncate(time.Second), MaxTotal: time.Hour}, f, CodeLimitReached)
	refused(t, r, Extend{By: "req_2", Duration: -time.Second, MaxTotal: time.Hour}, f, CodeInvalidCommand)
	over := f
	over.Now = r.Grant.ExpiresAt
	refused(t, r, cmd, over, CodeNotActive)
	off := f
	off.IssuingOff = true
	refused(t, r, cmd, off, CodeIssuingOff)
	refused(t, do(t, r, End{By: "user:ana", Reason: EndReturned}, f), cmd, f, CodeNotActive)
	refused(t, pending(t, terms(stage("dba", 1, "group:dba"))), cmd, f, CodeNotActive)
}

// TestExtensionsStayWithinTheirCaps: a grant and any number of extensions of
// it, asked for and voted on at any time under changing caps. An approved
// extension lengthens the grant in the same transaction, or is not approved.
//
// Invariant: A2, A6
func TestExtensionsStayWithinTheirCaps(t *testing.T) {
	var seen sights
	check(t, func(t *rapid.T) {
		dir := town()
		now := noon
		frozen := terms(stage("dba", 1, "group:dba"))
		f := facts(now, dir, autoTerms())
		base, err := Decide(nil, Submit{ID: "req_1", GrantID: "grt_1", Content: content(autoTerms())}, f)
		if err != nil {
			t.Fatal(err)
		}
		r := Apply(nil, base...)
		for range between(t, 1, 6, "extensions") {
			frozen.MaxTotal = time.Duration(between(t, 30, 150, "frozen total")) * time.Minute
			c := content(frozen)
			c.Extends, c.Duration = "grt_1", time.Duration(between(t, 1, 60, "minutes"))*time.Minute
			f := facts(now, dir, frozen)
			f.Base = r.Grant
			events, err := Decide(nil, Submit{ID: "req_2", Content: c}, f)
			if err != nil {
				seen.saw("refused at once")
				continue
			}
			ext := Apply(nil, events...)
			if between(t, 0, 5, "ends") == 0 {
				events, _ := Decide(r, End{By: "user:ana", Reason: EndRevoked}, f)
				r = Apply(r, events...)
			}
			now = now.Add(time.Duration(between(t, 0, 20, "wait")) * time.Minute)
			if between(t, 0, 4, "to the end") == 0 && now.Before(r.Grant.ExpiresAt) {
				now = r.Grant.ExpiresAt.Add(-time.Duration(between(t, 0, 1, "before")) * time.Millisecond)
			}
			current := frozen
			current.MaxTotal = time.Duration(between(t, 30, 150, "current total")) * time.Minute
			f = facts(now, dir, current)
			f.Base = r.Grant
			v := vote(ext, "user:bo", Approve)
			v.Duration = time.Duration(between(t, 0, 1, "narrow")) * time.Minute
			events, err = Decide(ext, v, f)
			if err != nil {
				t.Fatal(err)
			}
			ext = Apply(ext, events...)
			if ext.Grant != nil {
				t.Fatal("an extension has a grant of its own")
			}
			seen.saw(string(ext.State))
			old := *r.Grant
			limit := min(frozen.MaxTotal, current.MaxTotal)
			live := old.State == Active && now.Before(old.ExpiresAt)
			fits := old.ExpiresAt.Sub(old.StartsAt)+Effective(ext) <= limit
			if (ext.State == Approved) != (live && fits) || live && ext.State == Expired || ext.State == Pending {
				t.Fatalf("%s at %v, of %+v, by %v within %v", ext.State, now, old, Effective(ext), limit)
			}
			if ext.State != Approved {
				continue
			}
			events, err = Decide(r, Extend{By: "req_2", Duration: Effective(ext), MaxTotal: limit}, f)
			if err != nil {
				t.Fatalf("an approved extension does not extend: %v", err)
			}
			r = Apply(r, events...)
			if g := r.Grant; g.ExpiresAt.Sub(g.StartsAt) > limit || !g.ExpiresAt.After(old.ExpiresAt) {
				t.Fatalf("extended to %+v within %v", g, limit)
			}
		}
	})
	seen.mustHaveSeen(t, "approved", "expired", "denied", "refused at once")
}

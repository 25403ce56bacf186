package broker_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/daypass/daypass/internal/access"
	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/live"
)

// The whole broker does what its contract says, whatever is asked of it in
// whatever order, with crashes and a clock that jumps: the same answers, the
// same states, the same lists, the same checks as the model.
//
// Invariant: A1, A2, A6, A7, A8, A9, A10, A11, A13, A17, A30, A34
func TestTheBrokerIsTheModel(t *testing.T) {
	for range 2 { // the store of one life leaves time for another
		t.Run("lives", func(t *testing.T) {
			t.Parallel()
			liveLikeTheModel(t)
		})
	}
}

func liveLikeTheModel(t *testing.T) {
	lives := newLifetimes(t)
	steps := 0
	checkMachine(t, func(rt *rapid.T) {
		m := lives.begin(rt)
		defer m.end()
		counted := func(f func()) func(*rapid.T) {
			return func(*rapid.T) { steps++; f() }
		}
		rt.Repeat(map[string]func(*rapid.T){
			"":        func(*rapid.T) { m.compare() },
			"submit":  counted(m.stepSubmit),
			"submit2": counted(m.stepSubmit),
			"vote":    counted(m.stepVote),
			"vote2":   counted(m.stepVote),
			"vote3":   counted(m.stepVote),
			"cancel":  counted(m.stepCancel),
			"issue":   counted(m.stepIssue),
			"extend":  counted(m.stepExtend),
			"revoke":  counted(m.stepRevoke),
			"sweep":   counted(m.stepRevokeAll),
			"catalog": counted(m.stepCatalog),
			"issuing": counted(m.stepIssuing),
			"token":   counted(m.stepToken),
			"due":     counted(m.stepDue),
			"time":    counted(m.stepTime),
			"crash":   counted(m.stepCrash),
		})
	})
	if steps == 0 {
		t.Fatal("not one step was taken")
	}
	t.Logf("%d lives, %d steps", lives.runs, steps)
}

func pick[T any](m *machine, name string, from ...T) T {
	return rapid.SampledFrom(from).Draw(m.t, name)
}

// caller draws somebody who may sign in now.
func (m *machine) caller() string {
	var on []string
	for _, id := range callers {
		if m.model.cat.on(id) {
			on = append(on, id)
		}
	}
	return pick(m, "caller", on...)
}

// somebody draws anybody, or half of the time one of those who may.
func (m *machine) somebody(may func(string, *mRequest) bool, r *mRequest) string {
	var fit []string
	for _, id := range callers {
		if m.model.cat.on(id) && may(id, r) {
			fit = append(fit, id)
		}
	}
	if len(fit) > 0 && rapid.Bool().Draw(m.t, "apt") {
		return pick(m, "apt caller", fit...)
	}
	return m.caller()
}

func (m *machine) minutes() time.Duration {
	return time.Duration(pick(m, "minutes", 5, 10, 1, 11, 15, 25, 30, 31, 60, 61)) * time.Minute
}

// request draws one of the requests, the newest more often; nil for none.
func (m *machine) request(fit func(*mRequest) bool) *mRequest {
	var all []*mRequest
	for _, r := range slices.Backward(m.model.requests) {
		if fit == nil || fit(r) {
			all = append(all, r)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return pick(m, "request", all...)
}

func granted(r *mRequest) bool { return r.grant != nil }

func (m *machine) stepSubmit() {
	who, role, d := pick(m, "requester", "user:ana", "user:ana", "user:ana", "user:cy", "agent:bot", "service:ci", "user:ana2", "user:dee", "user:bo"), pick(m, "role", "write", "write", "read", "read", "wide"), m.minutes()
	if !m.model.cat.on(who) {
		return
	}
	s := broker.Submission{Resource: "orders", Role: role, Duration: d, Reason: "because"}
	if role == "wide" {
		s.Role, s.Scope = "", []byte(`{"methods":["GET"],"paths":["/**"]}`)
	}
	var start time.Time
	if rapid.IntRange(0, 3).Draw(m.t, "later") == 0 {
		start = m.model.now.Add(time.Duration(pick(m, "in", 5, 90, -5, 24*60, 31*24*60)) * time.Minute)
		s.StartAt = &start
	}
	if rapid.IntRange(0, 5).Draw(m.t, "dry") == 0 {
		m.dryRun(who, s, start)
		return
	}
	var v broker.View
	var id string
	m.do("submit by "+who+" of "+role+" for "+d.String(), func() (err error) {
		v, err = m.Submit(context.Background(), as(who), s, nil)
		return err
	}, func() string { return m.model.submit(id, who, role, d, start, nil) })
	m.name(v)
}

// name tells the model the IDs of what the broker has just made.
func (m *machine) name(v broker.View) {
	for _, r := range m.model.requests {
		if r.id == "" {
			r.id = v.ID
		}
		if r.grant != nil && r.grant.id == "" && v.ID == r.id && v.Grant != nil {
			r.grant.id = v.Grant.ID
		}
	}
}

func (m *machine) dryRun(who string, s broker.Submission, start time.Time) {
	d, err := m.DryRun(context.Background(), as(who), s)
	role := s.Role
	if role == "" {
		role = "wide"
	}
	terms, want := m.model.judge(who, role, s.Duration, start)
	got := d.Code
	if err != nil {
		got = refusalCode(err) + "!"
	}
	if got != want || err == nil && want == "" && (d.Decision == "auto") != terms.auto {
		m.t.Fatalf("dry run by %s of %s: the broker says %s %q (%v), the model %q", who, role, d.Decision, got, err, want)
	}
}

func (m *machine) stepVote() {
	r := m.request(nil)
	if r == nil {
		return
	}
	who, decision := m.caller(), pick(m, "decision", string(access.Approve), string(access.Approve), string(access.Approve), string(access.Deny))
	if rapid.IntRange(0, 2).Draw(m.t, "apt") > 0 && r.state == "pending" {
		// Somebody who may: else few requests would ever be granted.
		open, _ := m.model.open(r)
		for _, id := range callers {
			if m.model.eligible(r, id, r.stages[open]) && !r.voted(id) {
				who = id
				break
			}
		}
	}
	vote := broker.Vote{Decision: decision, Comment: "seen", ContentHash: m.hash(r)}
	same := rapid.IntRange(0, 9).Draw(m.t, "hash") > 0
	if !same {
		vote.ContentHash = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	}
	if decision == string(access.Approve) && rapid.IntRange(0, 3).Draw(m.t, "narrow") == 0 {
		vote.Duration = m.minutes()
	}
	var v broker.View
	done := m.do(decision+" by "+who, func() (err error) {
		v, err = m.Review(context.Background(), as(who), r.id, vote, nil)
		return err
	}, func() string { return m.model.vote(who, r, decision, same, vote.Duration) })
	if done {
		m.name(v)
	}
}

func (m *machine) hash(r *mRequest) string {
	v, err := m.Request(context.Background(), as("user:ada"), r.id)
	if err != nil {
		m.t.Fatal(err)
	}
	return v.ContentHash
}

func (m *machine) stepCancel() {
	if r := m.request(nil); r != nil {
		who := m.somebody(m.model.party, r)
		m.do("cancel by "+who, func() error {
			_, err := m.Cancel(context.Background(), as(who), r.id)
			return err
		}, func() string { return m.model.cancel(who, r) })
	}
}

func (m *machine) stepIssue() {
	r := m.request(granted)
	if r == nil {
		return
	}
	who := m.caller()
	if rapid.IntRange(0, 3).Draw(m.t, "own") > 0 && m.model.cat.on(r.requester) {
		who = r.requester
	}
	m.do("credential for "+who, func() error {
		c, err := m.Issue(context.Background(), as(who), r.grant.id, "token", nil)
		if err == nil {
			hash, perr := credential.ParseToken(credential.GrantToken, *c.Secret)
			if perr != nil {
				m.t.Fatal(perr)
			}
			m.creds = append(m.creds, mCred{*c.Secret, live.Hash(hash), r})
		}
		return err
	}, func() string { return m.model.issue(who, r) })
}

func (m *machine) stepExtend() {
	r := m.request(granted)
	if r == nil {
		return
	}
	who, d := m.caller(), m.minutes()
	if rapid.IntRange(0, 3).Draw(m.t, "own") > 0 && m.model.cat.on(r.requester) {
		who = r.requester
	}
	var v broker.View
	if m.do("extend by "+who+" by "+d.String(), func() (err error) {
		v, err = m.Extend(context.Background(), as(who), r.grant.id, d, "more", "", nil)
		return err
	}, func() string { return m.model.extend("", who, r, d) }) {
		m.name(v)
	}
}

func (m *machine) stepRevoke() {
	if r := m.request(granted); r != nil {
		who := m.somebody(m.model.mayRevoke, r)
		m.do("revoke by "+who, func() error {
			_, err := m.Revoke(context.Background(), as(who), r.grant.id, "over")
			return err
		}, func() string { return m.model.revoke(who, r) })
	}
}

func (m *machine) stepRevokeAll() {
	if rapid.IntRange(0, 3).Draw(m.t, "seldom") > 0 {
		return
	}
	who, whose := m.caller(), pick(m, "whose", "", "user:ana", "user:ana2", "service:ci", "agent:bot", "user:cy")
	resource := ""
	if whose == "" {
		resource = "orders"
	}
	m.do("revoke everything of "+whose+resource+" by "+who, func() error {
		_, err := m.RevokeAll(context.Background(), as(who), whose, resource, "over", nil)
		return err
	}, func() string { return m.model.revokeAll(who, whose) })
}

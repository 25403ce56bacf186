package broker_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/access"
	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/live"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// compare holds all that is visible against the model.
func (m *machine) compare() {
	ctx := context.Background()
	who := m.caller()
	for _, r := range m.model.requests {
		v, err := m.Request(ctx, as(who), r.id)
		if !m.model.sees(who, r) {
			if refusalCode0(err) != "not_found" {
				m.t.Fatalf("%s must not see %s: %v", who, r.id, err)
			}
			continue
		}
		if err != nil {
			m.t.Fatalf("%s must see %s: %v", who, r.id, err)
		}
		if got, want := shownAs(v), m.model.shown(who, r); got != want {
			m.t.Fatalf("%s sees\n  %s\nthe model says\n  %s", who, got, want)
		}
	}
	m.compareChecks()
	m.compareLists(who)
	for _, t := range m.tokens {
		c, err := m.Authenticate(t.secret, "192.0.2.1", "api")
		good := !t.gone && m.model.now.Before(t.expires) && m.model.cat.on(t.of)
		if (err == nil) != good || good && c.Principal != t.of {
			m.t.Fatalf("a token of %s: got %v, good is %t", t.of, err, good)
		}
	}
}

func refusalCode0(err error) string {
	if err == nil {
		return ""
	}
	return refusalCode(err)
}

// shownAs is a request in one line, as somebody sees it.
func shownAs(v broker.View) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s by %q rule %q", v.State, v.DecidedBy, v.Policy.Rule)
	for _, s := range v.Stages {
		fmt.Fprintf(&b, " %s×%d%v", strings.Join(s.From, "|"), s.Quorum, s.Approvals)
	}
	if g := v.Grant; g != nil {
		fmt.Fprintf(&b, " grant %s %s–%s", g.State, g.StartsAt, g.ExpiresAt)
		if g.EndedReason != nil {
			fmt.Fprintf(&b, " %s at %s", *g.EndedReason, g.EndedAt)
		}
	}
	return b.String() + fmt.Sprintf(" may %v", v.Actions)
}

// shown is what the model says that line must be.
func (m *model) shown(who string, r *mRequest) string {
	var b strings.Builder
	state, by := m.stateOf(r)
	fmt.Fprintf(&b, "%s by %q rule %q", state, by, r.terms.rule)
	counted := m.valid(r)
	if state != "pending" {
		counted = r.votes
	}
	for i, s := range r.stages {
		approvals := []string{}
		for _, v := range counted {
			if v.stage == i && v.decision == "approve" {
				approvals = append(approvals, v.by)
			}
		}
		fmt.Fprintf(&b, " %s×%d%v", s.from, s.quorum, approvals)
	}
	owner := r
	if r.base != nil {
		owner = r.base
	}
	if g := owner.grant; g != nil {
		state, why, at := m.grantState(owner)
		fmt.Fprintf(&b, " grant %s %s–%s", state, api.TimeOf(g.start), api.TimeOf(g.end))
		if why != "" {
			fmt.Fprintf(&b, " %s at %s", why, api.TimeOf(at))
		}
	}
	return b.String() + fmt.Sprintf(" may %v", m.actions(who, r))
}

func (m *model) stateOf(r *mRequest) (state, by string) {
	if r.state == "pending" && !m.now.Before(r.lapses) {
		return "expired", "system:clock"
	}
	return r.state, r.by
}

func (m *model) grantState(r *mRequest) (state, why string, at time.Time) {
	if g := r.grant; g.state == "ended" || m.now.Before(g.end) {
		return g.state, g.why, g.at
	}
	return "ended", "expired", r.grant.end
}

// compareChecks asks the index about every credential, and introspection about
// one of them.
func (m *machine) compareChecks() {
	for _, c := range m.creds {
		if got, want := m.index.Check(c.hash).State == live.Live, m.model.allows(c.of); got != want {
			m.t.Fatalf("a check says %t, the model %t", got, want)
		}
	}
	if len(m.creds) == 0 {
		return
	}
	c := m.creds[rapid.IntRange(0, len(m.creds)-1).Draw(m.t, "introspected")]
	in, err := m.Introspect(context.Background(), as("service:orders"), c.secret)
	if err != nil {
		m.t.Fatal(err)
	}
	if in.Active != m.model.allows(c.of) {
		m.t.Fatalf("introspection says %t, the model %t", in.Active, m.model.allows(c.of))
	}
}

func (m *machine) compareLists(who string) {
	state := pick(m, "state", "", "pending", "approved", "denied", "cancelled", "expired")
	role := pick(m, "as", "", "requester", "reviewer")
	items, _, err := m.Requests(context.Background(), as(who), broker.RequestQuery{State: state, Role: role, Page: broker.Page{Limit: 200}})
	if err != nil {
		m.t.Fatal(err)
	}
	got, want := []string{}, []string{}
	for _, v := range items {
		got = append(got, v.ID)
	}
	newest := slices.Clone(m.model.requests)
	slices.SortFunc(newest, func(a, b *mRequest) int {
		return cmp.Or(b.created.Compare(a.created), cmp.Compare(b.id, a.id))
	})
	for _, r := range newest {
		is, _ := m.model.stateOf(r)
		mine := role == "" && m.model.sees(who, r) || role == "requester" && r.requester == who || role == "reviewer" && m.model.anywhere(r, who)
		if mine && (state == "" || is == state) {
			want = append(want, r.id)
		}
	}
	if !slices.Equal(got, want) {
		m.t.Fatalf("the list of %q requests of %s as %q has %v, the model %v", state, who, role, got, want)
	}
	m.compareGrants(who, newest)
}

func (m *machine) compareGrants(who string, newest []*mRequest) {
	state := pick(m, "grant state", "", "active", "scheduled", "ended")
	items, _, err := m.Grants(context.Background(), as(who), state, broker.Page{Limit: 200})
	if err != nil {
		m.t.Fatal(err)
	}
	got, want := []string{}, []string{}
	for _, g := range items {
		got = append(got, g.ID)
	}
	for _, r := range newest {
		if r.grant == nil || !m.model.sees(who, r) {
			continue
		}
		if is, _, _ := m.model.grantState(r); state == "" || is == state {
			want = append(want, r.grant.id)
		}
	}
	if !slices.Equal(got, want) {
		m.t.Fatalf("the list of %q grants of %s has %v, the model %v", state, who, got, want)
	}
}

// verify looks at the record as a whole: gapless, signed, and every grant in
// it borne out by the votes before it.
func (m *machine) verify() {
	if err := m.store.View(context.Background(), m.recordHolds); err != nil {
		m.t.Fatalf("the record: %v", err)
	}
}

func (m *machine) recordHolds(tx *sqlstore.Tx) error {
	_, note, err := tx.Head()
	if err != nil {
		return err
	}
	report, err := tx.VerifyAudit(audit.VerifierOptions{Keys: []string{m.vkey}, Checkpoints: [][]byte{note}})
	if err != nil {
		return err
	}
	if report.Vouched != report.Head.Seq {
		return fmt.Errorf("the log is signed up to %d of %d", report.Vouched, report.Head.Seq)
	}
	rows, err := tx.Requests(sqlstore.RequestFilter{})
	if err != nil {
		return err
	}
	events, err := tx.Events(sqlstore.EventFilter{Ascending: true, Limit: 1_000_000})
	if err != nil {
		return err
	}
	return recordBears(rows, events)
}

// recordBears holds the rows against the record: a decision has one entry, a
// grant its approvals by different people before it, an end one entry, and a
// credential is on record before its first use is.
func recordBears(rows []*access.Request, events []sqlstore.Event) error {
	type seen struct {
		decided, ended, activated int
		voters                    map[string]bool
	}
	of := map[string]*seen{}
	issued := map[string]bool{}
	for i, row := range events {
		if row.Seq != int64(i+1) {
			return fmt.Errorf("entry %d is at place %d", row.Seq, i+1)
		}
		e, err := audit.EventOf(row.Bytes, nil, nil)
		if err != nil {
			return err
		}
		request := ""
		if e.Request != nil {
			request = *e.Request
		}
		s := of[request]
		if s == nil {
			s = &seen{voters: map[string]bool{}}
			of[request] = s
		}
		var details struct {
			JTI string `json:"jti"`
		}
		if err := json.Unmarshal(e.Details, &details); err != nil {
			return err
		}
		jti := details.JTI
		switch e.Type {
		case audit.ReviewRecorded:
			if s.voters[mPerson(e.Actor)] {
				return fmt.Errorf("%s votes twice on %s", e.Actor, request)
			}
			s.voters[mPerson(e.Actor)] = true
		case audit.RequestApproved, audit.RequestDenied, audit.RequestCancelled, audit.RequestExpired:
			s.decided++
		case audit.GrantActivated:
			s.activated++
		case audit.GrantEnded:
			s.ended++
		case audit.CredentialIssued:
			issued[jti] = true
		case audit.AccessAllowed:
			if !issued[jti] {
				return fmt.Errorf("credential %s is used before it was issued", jti)
			}
		}
	}
	for _, r := range rows {
		s := of[r.ID]
		if s == nil {
			return fmt.Errorf("%s is not in the record", r.ID)
		}
		seats := 0
		for _, stage := range r.Stages() {
			seats += stage.Quorum
		}
		g := r.Grant
		switch {
		case (r.State == access.Pending) != (s.decided == 0) || s.decided > 1:
			return fmt.Errorf("%s is %s and was decided %d times", r.ID, r.State, s.decided)
		case r.State == access.Approved && len(s.voters) < seats:
			return fmt.Errorf("%s is approved by %d of %d people", r.ID, len(s.voters), seats)
		case g != nil && r.State != access.Approved:
			return fmt.Errorf("%s has a grant and is %s", r.ID, r.State)
		case g != nil && ((g.State == access.Ended) != (s.ended == 1) || s.ended > 1 || s.activated > 1):
			return fmt.Errorf("the grant of %s is %s, was activated %d times and ended %d times", r.ID, g.State, s.activated, s.ended)
		}
	}
	return nil
}

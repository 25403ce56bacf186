package broker_test

import (
	"slices"
	"time"
)

// Each command of the model returns the code of its refusal, "" for none. A
// refusal that leaves nothing behind, not even what time did meanwhile, is
// marked with a !: not_found!.

func (m *model) submit(id, who, role string, d time.Duration, start time.Time, base *mRequest) string {
	t, code := m.judge(who, role, d, start)
	if code != "" {
		return code
	}
	r := &mRequest{id: id, requester: who, role: role, state: "pending", d: d, created: m.now, terms: t, stages: t.stages, made: m.cat, base: base, lapses: m.now.Add(2 * time.Hour)}
	if start.After(m.now) {
		r.start = start
	}
	switch {
	case t.auto && m.skewed():
		return "clock_skewed!"
	case base != nil && !m.live(base):
		return "not_active"
	case base != nil && d > t.total-base.grant.end.Sub(base.grant.start):
		return "limit_reached"
	case t.auto && !m.issuing:
		return "issuing_off"
	case t.auto:
		m.grantTo(r, "system:policy")
	}
	m.requests = append(m.requests, r)
	return ""
}

// judge is what a dry run says.
func (m *model) judge(who, role string, d time.Duration, start time.Time) (mTerms, string) {
	switch {
	case m.cat.dark:
		return mTerms{}, "not_found!"
	case d <= 0 || d > 8760*time.Hour || start.After(m.now.Add(30*24*time.Hour)):
		return mTerms{}, "invalid_field!"
	}
	return m.cat.decide(who, role, m.cat.in(who, "group:dev"), d)
}

func (m *model) vote(who string, r *mRequest, decision string, same bool, d time.Duration) string {
	m.load(r)
	if !m.sees(who, r) {
		return "not_found!"
	}
	if decision == "approve" && m.skewed() {
		return "clock_skewed!"
	}
	open, _ := m.open(r)
	switch {
	case mKin(who, r.requester):
		return "self_approval"
	case !m.cat.on(who) || who[:5] != "user:":
		return "not_an_approver"
	case r.state != "pending":
		return "already_decided"
	case !same:
		return "content_changed"
	case r.voted(who):
		return "already_voted"
	case !m.anywhere(r, who):
		return "not_an_approver"
	case !m.eligible(r, who, r.stages[open]):
		return "stage_not_open"
	case d > r.d:
		return "invalid_field"
	case decision == "approve" && !m.issuing:
		return "issuing_off"
	}
	r.votes = append(r.votes, mVote{who, decision, open, d})
	if decision == "deny" {
		r.state, r.by = "denied", who
		return ""
	}
	if _, full := m.open(r); !full {
		return ""
	}
	t, fine := m.again(r)
	missing := m.missingOf(r, t)
	switch {
	case !fine || r.base != nil && len(missing) == 0 && m.live(r.base) && r.effective() > min(r.terms.total, t.total)-r.base.grant.end.Sub(r.base.grant.start):
		r.state, r.by = "denied", "system:policy"
	case len(missing) > 0:
		r.stages = append(slices.Clone(r.stages), missing...)
	case r.base != nil && !m.live(r.base):
		r.state, r.by = "expired", "system:clock"
	default:
		m.grantTo(r, who)
	}
	return ""
}

// load lets time act on r, and first on the grant that it is to extend.
func (m *model) load(r *mRequest) {
	if r.base != nil && r.state == "pending" {
		m.tick(r.base)
	}
	m.tick(r)
}

func (m *model) cancel(who string, r *mRequest) string {
	m.load(r)
	switch {
	case !m.sees(who, r):
		return "not_found!"
	case !m.party(who, r):
		return "forbidden"
	case r.state != "pending":
		return "already_decided"
	}
	r.state, r.by = "cancelled", who
	return ""
}

func (m *model) revoke(who string, r *mRequest) string {
	m.tick(r)
	switch {
	case !m.sees(who, r):
		return "not_found!"
	case !m.mayRevoke(who, r):
		return "forbidden"
	case r.grant.state != "ended":
		m.end(r, m.why(who, r), m.now)
	}
	return ""
}

func (m *model) why(who string, r *mRequest) string {
	if who == r.requester {
		return "returned"
	}
	return "revoked"
}

// revokeAll ends everything of a person, or of the resource where whose is "".
func (m *model) revokeAll(who, whose string) string {
	if who != "user:ada" && !(whose == "" && m.cat.in(who, "group:owners")) && !(whose != "" && (who == whose || who == mOwner[whose])) {
		return "forbidden"
	}
	for _, r := range m.requests {
		same := whose == "" || r.requester == whose || mPerson(r.requester) == mPerson(whose) && m.cat.on(whose) && m.cat.on(r.requester)
		if !same || r.grant == nil || r.grant.state == "ended" {
			continue
		}
		if m.tick(r); r.grant.state != "ended" {
			m.end(r, m.why(who, r), m.now)
		}
	}
	return ""
}

func (m *model) issue(who string, r *mRequest) string {
	m.tick(r)
	switch {
	case !m.sees(who, r):
		return "not_found!"
	case who != r.requester:
		return "forbidden"
	case !m.allows(r):
		return "not_active"
	case !m.issuing:
		return "issuing_off"
	case m.skewed():
		return "clock_skewed"
	}
	return ""
}

func (m *model) extend(id, who string, r *mRequest, d time.Duration) string {
	m.tick(r)
	if !m.sees(who, r) {
		return "not_found!"
	}
	if who != r.requester {
		return "forbidden"
	}
	return m.submit(id, who, r.role, d, time.Time{}, r)
}

// put puts a catalog in force and ends what it no longer bears out.
func (m *model) put(next *mCatalog) string {
	if !next.seats([]mStage{{"group:dba", next.quorum}}, "") {
		return "catalog!"
	}
	m.cat = next
	var waiting []*mRequest
	for _, r := range m.requests {
		gone := next.dark || !next.on(r.requester) || next.upstream != r.made.upstream
		if r.grant != nil && r.grant.state != "ended" && (gone || r.terms.auto && !next.in(r.requester, "group:dev")) {
			m.end(r, "policy", m.now)
		}
		if r.state == "pending" && gone {
			waiting = append(waiting, r)
		}
	}
	for _, r := range waiting {
		r.state, r.by = "expired", "system:clock"
	}
	return ""
}

func (m *model) due() {
	for _, r := range m.requests {
		m.tick(r)
	}
}

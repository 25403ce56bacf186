package broker_test

import (
	"slices"
	"strings"
	"time"
)

// The model is a second reading of what a user of Daypass may rely on: who may
// do what to a request and its grant, and what comes of it. It shares no code
// with production, holds everything in memory, and looks at the clock for
// itself. TestTheBrokerIsTheModel holds the whole broker against it.
type model struct {
	now, wall time.Time // effective time, and what the machine's clock says
	issuing   bool
	cat       *mCatalog
	upstreams int // how often the resource was pointed elsewhere
	requests  []*mRequest
}

// mCatalog is what of a catalog varies; catalogText spells it.
type mCatalog struct {
	groups   map[string][]string
	off      []string // disabled principals
	dark     bool     // the resource is disabled
	upstream int
	quorum   int           // of the stage dba
	longest  time.Duration // of the rule two
	deny     bool          // a guardrail denies what writes
}

type mStage struct {
	from   string
	quorum int
}

type mVote struct {
	by, decision string
	stage        int
	d            time.Duration
}

type mTerms struct {
	rule           string
	auto           bool
	stages         []mStage
	longest, total time.Duration
}

type mGrant struct {
	id, state, why string
	start, end, at time.Time
}

type mRequest struct {
	id, requester, role, state, by string
	d                              time.Duration
	start                          time.Time // asked for; zero: at once
	created, lapses                time.Time
	terms                          mTerms // as frozen; stages that were added later are in stages
	stages                         []mStage
	votes                          []mVote
	made                           *mCatalog
	base                           *mRequest // what an extension lengthens
	grant                          *mGrant
}

var mOwner = map[string]string{"service:ci": "user:ana", "agent:bot": "user:bo", "service:orders": "user:cy"}

func mPerson(id string) string {
	if id == "user:ana2" {
		return "user:ana"
	}
	return id
}

// mLine is the person behind id and whoever owns them.
func mLine(id string) []string {
	if owner := mOwner[id]; owner != "" {
		return append([]string{id}, mLine(owner)...)
	}
	return []string{mPerson(id)}
}

func mKin(a, b string) bool {
	return slices.Contains(mLine(a), mPerson(b)) || slices.Contains(mLine(b), mPerson(a))
}

func (c *mCatalog) on(id string) bool {
	return !slices.ContainsFunc(append(mLine(id), id), func(x string) bool { return slices.Contains(c.off, x) })
}

func (c *mCatalog) in(id, group string) bool { return c.on(id) && slices.Contains(c.groups[group], id) }

// seats reports whether different people can fill all stages, none of them
// tied to the requester.
func (c *mCatalog) seats(stages []mStage, requester string, taken ...string) bool {
	if len(stages) == 0 {
		return true
	}
	rest := slices.Clone(stages)
	if rest[0].quorum--; rest[0].quorum < 0 {
		return c.seats(rest[1:], requester, taken...)
	}
	for _, id := range c.groups[rest[0].from] {
		if strings.HasPrefix(id, "user:") && c.on(id) && (requester == "" || !mKin(id, requester)) && !slices.Contains(taken, mPerson(id)) &&
			c.seats(rest, requester, append(taken, mPerson(id))...) {
			return true
		}
	}
	return false
}

// decide is the policy. dev says whether the requester counts as a developer.
func (c *mCatalog) decide(who, role string, dev bool, d time.Duration) (mTerms, string) {
	t := mTerms{rule: "two", stages: []mStage{{"group:dba", c.quorum}, {"group:owners", 1}}, longest: c.longest, total: c.longest}
	switch {
	case c.dark || !c.on(who):
		return t, "not_requestable"
	case c.deny && role == "write":
		return t, "denied_by_guardrail"
	case role == "wide":
		return t, "not_requestable"
	case dev && role == "read":
		t = mTerms{rule: "dev reads", auto: true, longest: 10 * time.Minute, total: 25 * time.Minute}
	}
	if d > t.longest || !c.seats(t.stages, who) {
		return t, "not_requestable"
	}
	return t, ""
}

func (m *model) skewed() bool { return m.now.Sub(m.wall) > 5*time.Second }

func (r *mRequest) effective() time.Duration {
	d := r.d
	for _, v := range r.votes {
		if v.decision == "approve" && v.d > 0 {
			d = min(d, v.d)
		}
	}
	return d
}

func (m *model) live(r *mRequest) bool {
	return r.grant != nil && r.grant.state != "ended" && m.now.Before(r.grant.end)
}

// allows is what every check of a credential of r must say.
func (m *model) allows(r *mRequest) bool {
	return m.live(r) && r.grant.state == "active" && !m.now.Before(r.grant.start)
}

func (m *model) eligible(r *mRequest, id string, s mStage) bool {
	return strings.HasPrefix(id, "user:") && m.cat.in(id, s.from) && r.made.in(id, s.from) && !mKin(id, r.requester)
}

func (m *model) anywhere(r *mRequest, id string) bool {
	return slices.ContainsFunc(r.stages, func(s mStage) bool { return m.eligible(r, id, s) })
}

// valid are the approvals that count now, one for a person.
func (m *model) valid(r *mRequest) (out []mVote) {
	for _, v := range r.votes {
		if v.decision == "approve" && m.eligible(r, v.by, r.stages[v.stage]) &&
			!slices.ContainsFunc(out, func(o mVote) bool { return mPerson(o.by) == mPerson(v.by) }) {
			out = append(out, v)
		}
	}
	return out
}

// open is the first stage that lacks a vote, the last one when none does.
func (m *model) open(r *mRequest) (stage int, full bool) {
	left := slices.Clone(r.stages)
	for _, v := range m.valid(r) {
		left[v.stage].quorum--
	}
	for i, s := range left {
		if s.quorum > 0 {
			return i, false
		}
	}
	return len(left) - 1, true
}

// missing are the seats of stages that the votes leave empty when each stands
// for one, earlier stages first.
func (m *model) missing(r *mRequest, stages []mStage, votes []mVote) []mStage {
	best := stages
	if len(votes) > 0 {
		best = m.missing(r, stages, votes[1:])
		for i, s := range stages {
			if s.quorum > 0 && m.eligible(r, votes[0].by, s) {
				rest := slices.Clone(stages)
				rest[i].quorum--
				if other := m.missing(r, rest, votes[1:]); slices.CompareFunc(other, best, func(a, b mStage) int { return a.quorum - b.quorum }) < 0 {
					best = other
				}
			}
		}
	}
	return best
}

// again is what the catalog in force says of r now, and whether it lets it be.
func (m *model) again(r *mRequest) (mTerms, bool) {
	t, refusal := m.cat.decide(r.requester, r.role, m.cat.in(r.requester, "group:dev") && r.made.in(r.requester, "group:dev"), r.effective())
	return t, refusal == "" && r.made.upstream == m.cat.upstream
}

func (m *model) missingOf(r *mRequest, t mTerms) []mStage {
	return slices.DeleteFunc(slices.Clone(m.missing(r, t.stages, m.valid(r))), func(s mStage) bool { return s.quorum == 0 })
}

// tick lets time act on r.
func (m *model) tick(r *mRequest) {
	g := r.grant
	switch {
	case r.state == "pending" && !m.now.Before(r.lapses):
		r.state, r.by = "expired", "system:clock"
	case g == nil || g.state == "ended":
	case !m.now.Before(g.end):
		m.end(r, "expired", g.end)
	case g.state == "scheduled" && !m.now.Before(g.start) && m.issuing:
		t, fine := m.again(r)
		if _, full := m.open(r); !fine || !full || len(m.missingOf(r, t)) > 0 || g.end.Sub(g.start) > t.total {
			m.end(r, "policy", m.now)
			return
		}
		g.state = "active"
	}
}

// end ends a live grant, and with it the extensions that still wait.
func (m *model) end(r *mRequest, why string, at time.Time) {
	if g := r.grant; !m.now.Before(g.end) {
		why, at = "expired", g.end
	}
	r.grant.state, r.grant.why, r.grant.at = "ended", why, at
	for _, x := range m.requests {
		if x.base == r && x.state == "pending" {
			x.state, x.by = "expired", "system:clock"
		}
	}
}

func (m *model) grantTo(r *mRequest, by string) {
	r.state, r.by = "approved", by
	if r.base != nil {
		r.base.grant.end = r.base.grant.end.Add(r.effective())
		return
	}
	r.grant = &mGrant{state: "active", start: m.now}
	if r.start.After(m.now) {
		r.grant.state, r.grant.start = "scheduled", r.start
	}
	r.grant.end = r.grant.start.Add(r.effective())
}

// sees, and what follows, say who may do what to a request.
func (m *model) sees(id string, r *mRequest) bool {
	near := mPerson(id) == mPerson(r.requester) && m.cat.on(id) && m.cat.on(r.requester)
	votes := slices.ContainsFunc(r.stages, func(s mStage) bool { return m.cat.in(id, s.from) && r.made.in(id, s.from) })
	return m.party(id, r) || id == "user:aud" || m.cat.in(id, "group:owners") || near || votes
}

// party are the requester, their owner, and admins.
func (m *model) party(id string, r *mRequest) bool {
	return id == r.requester || id == mOwner[r.requester] || id == "user:ada"
}

func (m *model) mayRevoke(id string, r *mRequest) bool {
	return m.party(id, r) || m.cat.in(id, "group:owners") || m.anywhere(r, id)
}

func (r *mRequest) voted(id string) bool {
	return slices.ContainsFunc(r.votes, func(v mVote) bool { return mPerson(v.by) == mPerson(id) })
}

func (m *model) actions(id string, r *mRequest) (out []string) {
	if r.state == "pending" && m.now.Before(r.lapses) {
		if open, _ := m.open(r); m.eligible(r, id, r.stages[open]) && !r.voted(id) {
			out = append(out, "approve", "deny")
		}
		if m.party(id, r) {
			out = append(out, "cancel")
		}
	}
	if !m.live(r) {
		return out
	}
	if id == r.requester && r.grant.state != "scheduled" {
		out = append(out, "credential")
	}
	if m.mayRevoke(id, r) {
		out = append(out, "revoke")
	}
	if id == r.requester {
		out = append(out, "extend")
	}
	return out
}

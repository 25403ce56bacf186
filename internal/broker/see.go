package broker

import (
	"slices"
	"time"

	"github.com/daypass/daypass/internal/access"
	"github.com/daypass/daypass/internal/identity"
	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// who answers what one caller may see and do, by the catalog in force.
type who struct {
	b   *Broker
	st  *state
	cat *policy.Catalog // of st
	c   identity.Caller
	tx  *sqlstore.Tx // reads what is not in memory; nil where no request is looked at
}

func (b *Broker) who(c identity.Caller) who {
	st := b.state.Load()
	return who{b: b, st: st, cat: st.catalog, c: c}
}

// in is w for the requests that tx reads.
func (w who) in(tx *sqlstore.Tx) who {
	w.tx = tx
	return w
}

func (w who) admin() bool {
	p, ok := w.cat.Principal(w.c.Principal)
	return ok && p.Admin && enabled(w.cat, p.ID)
}

func (w who) auditor() bool {
	p, ok := w.cat.Principal(w.c.Principal)
	return ok && (p.Auditor || p.Admin) && enabled(w.cat, p.ID)
}

// owns reports whether the caller is among the owners of a resource.
func (w who) owns(resource string) bool { return w.cat.Owns(w.c.Principal, resource) }

// self reports whether the request is the caller's own.
func (w who) self(r *access.Request) bool { return r.Content.Requester == w.c.Principal }

// ownsRequester reports whether the requester is a service or agent of the
// caller.
func (w who) ownsRequester(r *access.Request) bool {
	p, ok := w.cat.Principal(r.Content.Requester)
	return ok && p.Owner != "" && p.Owner == w.c.Principal
}

// approver reports whether the caller is an eligible approver in any stage.
func (w who) approver(r *access.Request) bool {
	dir := w.b.directory(w.tx, w.st, r)
	return slices.ContainsFunc(r.Stages(), func(s access.Stage) bool {
		return access.Eligible(dir, w.c.Principal, r.Content.Requester, s)
	})
}

// candidate reports whether the caller is in a group that approves in some
// stage, or is the requester's person with another account. Such a caller may
// see the request, so that the refusal of a vote can say why (one's own, not a
// user) instead of that there is no such request.
func (w who) candidate(r *access.Request) bool {
	dir := w.b.directory(w.tx, w.st, r)
	person, ok := dir.Person(w.c.Principal)
	requester, _ := dir.Person(r.Content.Requester)
	if !ok || person == requester {
		return ok
	}
	return slices.ContainsFunc(r.Stages(), func(s access.Stage) bool { return dir.Member(w.c.Principal, s.From) })
}

// sees reports whether the caller may know that the request exists.
func (w who) sees(r *access.Request) bool {
	return w.self(r) || w.ownsRequester(r) || w.auditor() || w.owns(r.Content.Resource) || w.told(r) || w.candidate(r)
}

// watches reports whether the caller may look at what is done under the
// request's grant, and not only know of it: the grantee, their owner, the
// resource's owners, auditors, admins. Approvers have no business in a database.
func (w who) watches(r *access.Request) bool {
	return w.self(r) || w.ownsRequester(r) || w.auditor() || w.owns(r.Content.Resource)
}

// mayCancel: the requester, their owner, an admin.
func (w who) mayCancel(r *access.Request) bool {
	return w.self(r) || w.ownsRequester(r) || w.admin()
}

// mayRevoke: the grantee, their owner, the approvers, the resource's owners,
// admins (CONTRACT §4).
func (w who) mayRevoke(r *access.Request) bool {
	return w.self(r) || w.ownsRequester(r) || w.admin() || w.owns(r.Content.Resource) || w.approver(r)
}

// mayVote reports whether a vote of the caller would count now.
func (w who) mayVote(r *access.Request) bool {
	dir := w.b.directory(w.tx, w.st, r)
	open, ok := access.OpenStage(r, dir)
	if !r.TakesVotes() || !ok || !access.Eligible(dir, w.c.Principal, r.Content.Requester, r.Stages()[open]) {
		return false
	}
	person, _ := dir.Person(w.c.Principal)
	return !slices.ContainsFunc(r.Reviews, func(v access.Review) bool { return v.Person == person || v.By == w.c.Principal })
}

// directory is who somebody is for the approval of one request: removing
// somebody from a group acts at once, adding somebody does not reach requests
// that were made before (CONTRACT §4).
type directory struct {
	now  *policy.Catalog
	then *policy.Catalog // when the request was made; nil when it cannot be known
	// after says that the request is to be looked back on: that may be years
	// later, so that who is in the group now does it. It gives nobody access.
	after bool
	// joined are the groups that people have by their logins, and since when;
	// made is when the request was.
	joined map[string]map[string]time.Time
	made   time.Time
}

func (b *Broker) directory(tx *sqlstore.Tx, st *state, r *access.Request) access.Directory {
	d := directory{now: st.catalog, then: st.base, after: r.Duty != nil, joined: st.people.joined, made: r.CreatedAt}
	if r.Content.Terms.PolicyVersion != st.base.Version() {
		d.then = b.old.get(tx, b, r.Content.Terms.PolicyVersion)
	} else if len(d.joined) == 0 {
		return st.catalog
	}
	return d
}

func (u *unit) directory(r *access.Request) access.Directory {
	return u.b.directory(u.tx, u.state, r)
}

// Person implements access.Directory.
func (d directory) Person(id string) (string, bool) { return d.now.Person(id) }

// Member implements access.Directory.
func (d directory) Member(id string, set []string) bool {
	return d.now.Member(id, set) && (d.after || d.then != nil && (d.then.Member(id, set) || d.then.Lead(d.had(id), set)))
}

// had are the groups that id had by logins when the request was made, and has
// had ever since.
func (d directory) had(id string) []string {
	var out []string
	for group, since := range d.joined[id] {
		if !since.After(d.made) {
			out = append(out, group)
		}
	}
	return out
}

// Related implements access.Directory: once related is related.
func (d directory) Related(a, b string) bool {
	return d.now.Related(a, b) || d.then != nil && d.then.Related(a, b)
}

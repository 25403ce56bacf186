package broker

import (
	"context"
	"fmt"
	"sync"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/access"
	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/failpoint"
	"github.com/daypass/daypass/internal/identity"
	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/policy/lint"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// CatalogError lists what is wrong with a catalog.
type CatalogError struct{ Problems []api.CatalogProblem }

func (e *CatalogError) Error() string {
	return fmt.Sprintf("the catalog has %d problems", len(e.Problems))
}

// compiled keeps catalogs of earlier versions that requests still refer to.
type compiled struct {
	mu   sync.Mutex
	byID map[string]*policy.Catalog
}

// oldCatalogs bounds how many versions are kept compiled.
const oldCatalogs = 8

// get returns an earlier version; nil where it cannot be had, which counts
// nobody as an approver. It reads with the caller's own transaction: whoever
// asks holds one already, and the store has few.
func (o *compiled) get(tx *sqlstore.Tx, b *Broker, version string) *policy.Catalog {
	o.mu.Lock()
	defer o.mu.Unlock()
	if cat, ok := o.byID[version]; ok {
		return cat
	}
	row, err := tx.CatalogVersion(version)
	var cat *policy.Catalog
	if err == nil {
		cat, err = policy.Parse(row.Canonical, b.cfg.Kinds)
	}
	if err != nil {
		b.cfg.Log.Error("an earlier catalog cannot be read", "version", version, "error", err)
		return nil
	}
	o.putLocked(version, cat)
	return cat
}

func (o *compiled) put(version string, cat *policy.Catalog) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.putLocked(version, cat)
}

func (o *compiled) putLocked(version string, cat *policy.Catalog) {
	if o.byID == nil || len(o.byID) >= oldCatalogs {
		o.byID = map[string]*policy.Catalog{}
	}
	o.byID[version] = cat
}

// Catalog shows the catalog in force to an admin.
func (b *Broker) Catalog(ctx context.Context, c identity.Caller) (api.Catalog, error) {
	if !b.who(c).admin() {
		return api.Catalog{}, b.forbid(ctx, c, "reading the catalog", "Only admins read the catalog.")
	}
	return b.shownCatalog(), nil
}

func (b *Broker) shownCatalog() api.Catalog {
	st := b.state.Load()
	managed := "api"
	if b.cfg.Managed {
		managed = "file"
	}
	return api.Catalog{Version: st.catalog.Version(), Source: string(st.catalog.Source()), AppliedAt: api.TimeOf(st.appliedAt), AppliedBy: st.appliedBy, Managed: managed}
}

// CheckCatalog says what is wrong with a catalog, and what else a reader should
// know of it; nothing changes.
func (b *Broker) CheckCatalog(ctx context.Context, c identity.Caller, source []byte) (api.CatalogCheck, error) {
	if !b.who(c).admin() {
		return api.CatalogCheck{}, b.forbid(ctx, c, "checking a catalog", "Only admins check catalogs here; daypass policy check does it on a file.")
	}
	_, check := lint.Source(source, b.cfg.Kinds, lint.Options{RequestTTL: b.cfg.Limits.RequestTTL})
	return check, nil
}

// PutCatalog applies a catalog. With the file as the truth it is refused for
// everybody but system:config.
func (b *Broker) PutCatalog(ctx context.Context, c identity.Caller, source []byte, ifMatch string) (api.Catalog, error) {
	if c.Principal != systemConfig.Principal {
		if !b.who(c).admin() {
			return api.Catalog{}, b.forbid(ctx, c, "changing the catalog", "Only admins change the catalog.")
		}
		if b.cfg.Managed {
			return api.Catalog{}, &Error{Kind: Conflict, Code: "catalog_is_a_file", Message: "The server's config names a catalog file; change that file and send SIGHUP."}
		}
	}
	cat, err := policy.Parse(source, b.cfg.Kinds)
	if err != nil {
		return api.Catalog{}, &CatalogError{Problems: lint.Problems(err)}
	}
	err = b.alone(ctx, c, sqlstore.Normal, func(u *unit) error {
		if c.Principal != systemConfig.Principal && !u.who().admin() {
			return u.forbid("changing the catalog", "Only admins change the catalog.")
		}
		if have := u.state.catalog.Version(); ifMatch != "" && ifMatch != "*" && ifMatch != have {
			return &Error{Kind: Precondition, Code: "catalog_changed", Message: "The catalog is at another version, " + have + "; read it again and make your change there."}
		}
		if u.state.catalog.Version() == cat.Version() {
			return nil
		}
		return u.apply(cat)
	})
	if err != nil {
		return api.Catalog{}, err
	}
	return b.shownCatalog(), nil
}

// apply puts a catalog in force and ends, in the same commit, what it no
// longer bears out.
func (u *unit) apply(cat *policy.Catalog) error {
	before := u.state
	next := &state{base: cat, people: before.people, incarnations: incarnations(before, cat), appliedAt: u.now, appliedBy: u.c.Principal}
	err := u.tx.PutCatalog(sqlstore.Catalog{Version: cat.Version(), Canonical: cat.Canonical(), Source: cat.Source(), Incarnations: next.incarnations, AppliedAt: u.now, AppliedBy: u.c.Principal})
	if err != nil {
		return fmt.Errorf("writing the catalog: %w", err)
	}
	e := entry(audit.CatalogChanged, u.c.Principal, map[string]any{"version": cat.Version(), "previous": before.catalog.Version()})
	e.Outcome = audit.Allowed
	if err := u.append(e, ""); err != nil {
		return err
	}
	failpoint.Hit("broker.catalog.recorded")
	u.b.old.put(before.base.Version(), before.base)
	// Whoever is removed is nobody at once, and no newcomer of the same name.
	known, err := u.unlearn(before.people.all, func(i sqlstore.Identity) bool { return relinked(before, next, i) })
	if err != nil {
		return err
	}
	next.settle(known, u.b.cfg.Logins, u.now)
	u.state, u.displaced = next, displaced(before, next)
	if err := u.endUncovered(""); err != nil {
		return err
	}
	if err := u.endGoneLogins(); err != nil {
		return err
	}
	tokens, err := u.tx.Tokens("")
	if err != nil {
		return err
	}
	for _, t := range tokens {
		if _, ok := next.catalog.Principal(t.Principal); !ok || u.displaced[t.Principal] {
			if err := u.dropToken(t); err != nil {
				return err
			}
		}
	}
	failpoint.Hit("broker.catalog.swept")
	u.tx.AfterCommit(func() {
		u.b.state.Store(next)
		failpoint.Hit("broker.catalog.swapped")
		u.b.tokens.loadCatalog(cat)
	})
	return nil
}

// incarnations gives each resource its incarnation: a new one where it was not
// there before, or now points elsewhere.
func incarnations(before *state, cat *policy.Catalog) map[string]string {
	out := map[string]string{}
	for _, r := range cat.Resources() {
		old, ok := before.catalog.Resource(r.ID)
		if ok && old.Kind.Name() == r.Kind.Name() && old.Config.Upstream() == r.Config.Upstream() && before.incarnations[r.ID] != "" {
			out[r.ID] = before.incarnations[r.ID]
			continue
		}
		out[r.ID] = credential.NewID("inc")
	}
	return out
}

// endUncovered ends the grants and the waiting requests of principals and
// resources that are gone, disabled or elsewhere now, and the grants whose
// rule rested on a group that was lost: of one requester, or with "" of all.
func (u *unit) endUncovered(requester string) error {
	byPolicy := *u
	byPolicy.c = identity.System("policy")
	live := []access.GrantState{access.Scheduled, access.Activating, access.Active}
	rows, err := u.tx.Requests(sqlstore.RequestFilter{GrantStates: live, Requester: requester})
	if err != nil {
		return err
	}
	for _, r := range rows {
		why, err := u.uncovered(r)
		if err != nil {
			return err
		}
		if why == "" {
			continue
		}
		if _, err := byPolicy.run(r, access.End{By: "system:policy", Reason: access.EndPolicy}, detail{more: map[string]any{"why": why}}); err != nil {
			return err
		}
	}
	waiting, err := u.tx.Requests(sqlstore.RequestFilter{States: []access.State{access.Pending}, Requester: requester})
	if err != nil {
		return err
	}
	for _, r := range waiting {
		if why := u.gone(r); why != "" {
			if _, err := byPolicy.run(r, access.Lapse{Reason: why}, detail{}); err != nil {
				return err
			}
		}
	}
	return nil
}

// gone says why a request has nothing to stand on any more.
func (u *unit) gone(r *access.Request) string {
	res, ok := u.state.catalog.Resource(r.Content.Resource)
	switch {
	case !enabled(u.state.catalog, r.Content.Requester):
		return "The requester was removed or disabled."
	case u.displaced[r.Content.Requester]:
		return "The requester's name is now somebody else's."
	case !ok || res.Disabled:
		return "The resource was removed or disabled."
	case u.state.incarnations[r.Content.Resource] != r.Content.Incarnation:
		return "The resource now points elsewhere."
	}
	return ""
}

func (u *unit) uncovered(r *access.Request) (string, error) {
	if why := u.gone(r); why != "" {
		return why, nil
	}
	in, err := u.input(r)
	if err != nil {
		return "", err
	}
	still := intersect(in.Groups, u.state.catalog.Groups(in.Principal))
	if len(still) == len(in.Groups) {
		return "", nil
	}
	then := u.b.old.get(u.tx, u.b, r.Content.Terms.PolicyVersion)
	if then == nil {
		return "The catalog that granted it cannot be read any more.", nil
	}
	in.Groups = still
	if !then.Holds(r.Content.Terms.Rule, in) {
		return "The requester lost a group that the rule needed.", nil
	}
	return "", nil
}

// forbid records that the caller may not do something, and says so.
func (b *Broker) forbid(ctx context.Context, c identity.Caller, what, message string) error {
	return b.do(ctx, c, sqlstore.Normal, func(u *unit) error { return u.forbid(what, message) })
}

// forbid is the same inside a transaction.
func (u *unit) forbid(what, message string) error {
	return u.refuse(entry(audit.AccessDenied, "", map[string]any{"what": what}), u.c.Principal, &Error{Kind: Forbidden, Code: "forbidden", Message: message})
}

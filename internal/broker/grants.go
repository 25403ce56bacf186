package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/access"
	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/failpoint"
	"github.com/daypass/daypass/internal/identity"
	"github.com/daypass/daypass/internal/live"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// Grants lists the grants that the caller may see, newest first.
func (b *Broker) Grants(ctx context.Context, c identity.Caller, state string, p Page) ([]api.Grant, string, error) {
	f := sqlstore.RequestFilter{HasGrant: true}
	switch access.GrantState(state) {
	case "", access.Ended, access.Ending:
		// What has expired is shown as ended before anything has noticed.
	case access.Scheduled, access.Activating, access.Active:
		f.GrantStates = []access.GrantState{access.GrantState(state)}
	default:
		return nil, "", invalid("query.state", "A grant is scheduled, activating, active, ending or ended.")
	}
	w := b.who(c)
	var items []api.Grant
	cursor, err := b.scan(ctx, c, "grants", f, p, func(tx *sqlstore.Tx, r *access.Request) (bool, error) {
		w := w.in(tx)
		if !w.sees(r) {
			return false, nil
		}
		g := w.grant(r)
		if state != "" && g.State != state {
			return false, nil
		}
		items = append(items, g)
		return true, nil
	})
	return items, cursor, err
}

// Grant shows one grant.
func (b *Broker) Grant(ctx context.Context, c identity.Caller, id string) (api.Grant, error) {
	var g api.Grant
	err := b.view(ctx, func(tx *sqlstore.Tx) error {
		r, err := grantRow(tx, id)
		if err != nil {
			return err
		}
		w := b.who(c).in(tx)
		if !w.sees(r) {
			return notFound("The grant")
		}
		g = w.grant(r)
		return nil
	})
	return g, err
}

func grantRow(tx *sqlstore.Tx, id string) (*access.Request, error) {
	if !credential.ValidID("grt", id) {
		return nil, notFound("The grant")
	}
	r, err := tx.RequestOfGrant(id)
	if errors.Is(err, sqlstore.ErrNotFound) {
		return nil, notFound("The grant")
	}
	return r, err
}

// granted loads the request of a grant that the caller may see, as of now.
func (u *unit) granted(id string) (*access.Request, error) {
	r, err := grantRow(u.tx, id)
	if err != nil {
		return nil, err
	}
	if r, err = u.tick(r); err != nil {
		return nil, err
	}
	if !u.who().sees(r) {
		return nil, notFound("The grant")
	}
	return r, nil
}

// Revoke ends a grant: by the grantee it is a return, by an approver, an owner
// or an admin a revocation. Ending what has ended changes nothing.
func (b *Broker) Revoke(ctx context.Context, c identity.Caller, grant, reason string) (api.Grant, error) {
	var g api.Grant
	err := b.do(ctx, c, sqlstore.Ends, func(u *unit) error {
		r, err := u.granted(grant)
		if err != nil {
			return err
		}
		if !u.who().mayRevoke(r) {
			return u.deny(audit.AccessDenied, r, &Error{Kind: Forbidden, Code: "forbidden", Message: "Only the grantee, their owner, the approvers of the request, the resource's owners and admins end this grant."})
		}
		next, err := u.end(r, reason)
		if err != nil {
			return err
		}
		g = u.who().grant(next)
		return nil
	})
	return g, err
}

// end ends a grant for the caller.
func (u *unit) end(r *access.Request, reason string) (*access.Request, error) {
	why := access.EndRevoked
	if u.who().self(r) {
		why = access.EndReturned
	}
	digest, err := u.text(reason, u.c.Principal)
	if err != nil {
		return nil, err
	}
	next, err := u.run(r, access.End{By: u.c.Principal, Reason: why}, detail{reason: audit.Text{Digest: digest}, words: reason})
	if err != nil {
		return nil, u.refusedBy(audit.AccessDenied, r, err)
	}
	return next, nil
}

// RevokeAll ends every grant of one person, with whatever account, or of one
// resource. Of many, all are ended when it returns, and the newest are listed.
func (b *Broker) RevokeAll(ctx context.Context, c identity.Caller, principal, resource, reason string, once *Once) (api.Revocation, error) {
	var more *sweep
	out, err := onceIn(b, ctx, c, sqlstore.Ends, once, nil, func(u *unit) (api.Revocation, error) {
		out := api.Revocation{Grants: []api.Grant{}}
		more = nil
		if (principal == "") == (resource == "") {
			return out, invalid("body.principal", "Name a principal or a resource, one of the two.")
		}
		if err := u.mayRevokeAll(principal, resource); err != nil {
			return out, err
		}
		accounts := u.accounts(principal)
		var rows []*access.Request
		count, many := 0, false
		for _, account := range accounts {
			f := sqlstore.RequestFilter{Requester: account, Resource: resource, GrantStates: running, Limit: sweepBatch}
			some, err := u.tx.Requests(f)
			if err != nil {
				return out, err
			}
			n := len(some)
			if n == sweepBatch {
				if n, err = u.countRunning(f); err != nil {
					return out, err
				}
				many = true
			}
			rows, count = append(rows, some...), count+n
		}
		if many {
			var err error
			if more, err = u.sweepAll(accounts, resource, reason, count); err != nil {
				return out, err
			}
			rows = rows[:sweepFirst]
		}
		if err := u.endEach(rows, reason, &out); err != nil {
			return out, err
		}
		out.Count += count - len(rows)
		return out, nil
	})
	if err == nil && more != nil {
		b.sweepOn(more)
	}
	return out, err
}

// endEach ends the grants of rows that are not over, and lists them.
func (u *unit) endEach(rows []*access.Request, reason string, out *api.Revocation) error {
	for _, r := range rows {
		r, err := u.tick(r)
		if err != nil {
			return err
		}
		if r.Grant.State == access.Ended || r.Grant.State == access.Ending {
			continue
		}
		if r, err = u.end(r, reason); err != nil {
			return err
		}
		out.Grants = append(out.Grants, u.who().grant(r))
	}
	out.Count = len(out.Grants)
	return nil
}

// accounts are all accounts of the person behind a principal; "" stands for
// everybody.
func (u *unit) accounts(principal string) []string {
	all := []string{principal}
	person, ok := u.state.catalog.Person(principal)
	if !ok {
		return all
	}
	for _, p := range u.state.catalog.Principals() {
		if other, _ := u.state.catalog.Person(p.ID); other == person && p.ID != principal {
			all = append(all, p.ID)
		}
	}
	return all
}

func (u *unit) mayRevokeAll(principal, resource string) error {
	w := u.who()
	if principal != "" {
		p, known := u.state.catalog.Principal(principal)
		if w.admin() || principal == u.c.Principal || known && p.Owner != "" && p.Owner == u.c.Principal {
			if !known {
				return invalid("body.principal", "There is no principal %q.", clip(principal))
			}
			return nil
		}
	} else if w.admin() || w.owns(resource) {
		if _, ok := u.state.catalog.Resource(resource); !ok {
			return invalid("body.resource", "There is no resource %q.", clip(resource))
		}
		return nil
	}
	e := entry(audit.AccessDenied, "", map[string]any{"what": "revoking everything of " + clip(principal+resource)})
	return u.refuse(e, principal, &Error{Kind: Forbidden, Code: "forbidden", Message: "Only admins, and the owners of the resource or principal, revoke everything of it."})
}

// Extend asks for more time on a grant: a request of its own.
func (b *Broker) Extend(ctx context.Context, c identity.Caller, grant string, d time.Duration, reason, ticket string, once *Once) (View, error) {
	return onceOf(b, ctx, c, once, func(u *unit) (View, error) {
		base, err := u.granted(grant)
		if err != nil {
			return View{}, err
		}
		if !u.who().self(base) {
			return View{}, u.deny(audit.RequestRefused, base, &Error{Kind: Forbidden, Code: "forbidden", Message: "Only the grantee asks for more time."})
		}
		s := Submission{Resource: base.Content.Resource, Scope: base.Content.Scope, Duration: d, Reason: reason, Ticket: ticket}
		if res, ok := u.state.catalog.Resource(base.Content.Resource); ok && base.Content.Role != "" {
			for _, role := range res.Roles {
				if role.Name == base.Content.Role && string(role.Scope.JSON()) == string(base.Content.Scope) {
					s.Role, s.Scope = role.Name, nil
				}
			}
		}
		return u.submit(s, grant, unlooked(base))
	})
}

// Issue makes a credential of an active grant, for the grantee alone. The
// entry is durable before the secret is shown.
func (b *Broker) Issue(ctx context.Context, c identity.Caller, grant, format string, once *Once) (api.Credential, error) {
	var made token
	before := func() error {
		made = newToken(grant)
		err := b.awaitActive(ctx, c, grant)
		if err == nil && b.verifies(c, grant, format) {
			_, err = made.verifier()
		}
		return err
	}
	var finish func() (credential.Secret, error)
	cred, err := onceIn(b, ctx, c, sqlstore.Normal, once, before, func(u *unit) (api.Credential, error) {
		r, err := u.granted(grant)
		if err != nil {
			return api.Credential{}, err
		}
		if !u.who().self(r) {
			return api.Credential{}, u.deny(audit.AccessDenied, r, &Error{Kind: Forbidden, Code: "forbidden", Message: "Only the grantee gets its credential."})
		}
		var out api.Credential
		out, finish, err = u.issue(r, format, made)
		return out, err
	})
	if err != nil {
		return api.Credential{}, err
	}
	failpoint.Hit("broker.issue.committed")
	secret, err := finish()
	if err != nil {
		return api.Credential{}, fmt.Errorf("signing: %w", err)
	}
	failpoint.Hit("broker.issue.reveal")
	shown := secret.Reveal()
	cred.Secret = &shown
	return cred, nil
}

// lookAgain is how often who waits for a grant of an earlier run looks whether it
// is still to come. That it has come is in the index, and seen at once.
const lookAgain = 200 * time.Millisecond

// awaitActive waits up to 10 s for a grant that is being activated.
func (b *Broker) awaitActive(ctx context.Context, c identity.Caller, grant string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if b.soon.await(ctx, grant, c.Principal) {
		return nil // Issue says what state it is in
	}
	again := time.NewTicker(lookAgain)
	defer again.Stop()
	for look := true; ; {
		moved := b.hub.wait()
		if _, ok := b.cfg.Index.Grant(grant); ok {
			return nil // it has been active: Issue sees whether it is, and whose
		}
		if look {
			g, err := b.Grant(ctx, c, grant)
			if err != nil || g.State != string(access.Activating) {
				return err
			}
		}
		if b.hub.over() {
			return nil
		}
		look = false
		select {
		case <-moved:
		case <-again.C:
			look = true
		case <-ctx.Done():
			return nil // Issue says what state it is in
		}
	}
}

// issue prepares a credential and records it; finish reveals or signs it after
// the commit.
func (u *unit) issue(r *access.Request, format string, made token) (api.Credential, func() (credential.Secret, error), error) {
	none := api.Credential{}
	if g, ok := u.b.cfg.Index.Grant(r.Grant.ID); ok && r.Grant.ActiveAt(u.now) && !u.b.cfg.Index.LiveAt(g, u.now) {
		// Checks deny it already, and its end is on its way to the record.
		return none, nil, u.deny(audit.AccessDenied, r, &Error{Kind: Conflict, Code: "not_active", Message: "The grant has just ended; ask anew."})
	}
	if !r.Grant.ActiveAt(u.now) {
		e := &Error{Kind: Conflict, Code: "not_active", Message: fmt.Sprintf("The grant is %s; ask anew.", r.Grant.State)}
		if r.Grant.State == access.Scheduled {
			e.RetryAfter = r.Grant.StartsAt.Sub(u.now)
			e.Message = "The grant begins at " + stamp(r.Grant.StartsAt) + "; try again then."
		} else if r.Grant.State == access.Activating {
			e.RetryAfter, e.Message = time.Second, "The grant is still being made ready; try again in a moment."
		}
		return none, nil, u.deny(audit.AccessDenied, r, e)
	}
	if err := u.issuable(r); err != nil {
		return none, nil, err
	}
	out := api.Credential{Format: format, ExpiresAt: api.TimeOf(r.Grant.ExpiresAt)}
	if g := u.who().grant(r); g.Connect != nil {
		out.Connect = *g.Connect
	}
	id := credential.NewIDAt("cred", u.now)
	var finish func() (credential.Secret, error)
	var err error
	switch format {
	case "", "token":
		out.Format = "token"
		finish, err = u.issueToken(r, id, made)
	case "jwt":
		finish, out.ExpiresAt, err = u.issueJWT(r, id)
	default:
		err = invalid("body.format", "A credential of this grant is a token or a jwt.")
	}
	if err != nil {
		return none, nil, err
	}
	e := entry(audit.CredentialIssued, "", map[string]any{"format": out.Format, "jti": id, "expires_at": out.ExpiresAt.String(), "principal": r.Content.Requester})
	e.Request, e.Grant, e.Resource, e.Scope, e.Outcome = r.ID, r.Grant.ID, r.Content.Resource, r.Content.Scope, audit.Allowed
	if job := u.workload(); job != nil {
		e.Details["workload"] = job
	}
	failpoint.Hit("broker.issue.before")
	return out, finish, u.append(e, r.Content.Requester)
}

// issuable refuses, on record, while no credential of r may be made.
func (u *unit) issuable(r *access.Request) error {
	if !u.b.issuing.Load() {
		return u.deny(audit.AccessDenied, r, &Error{Kind: Unavailable, Code: "issuing_off", Message: "An admin has switched issuing off; try again later.", RetryAfter: time.Minute})
	}
	if err := u.b.barred(); err != nil {
		return u.deny(audit.AccessDenied, r, err)
	}
	return nil
}

// credentialsPerGrant bounds the opaque credentials of one grant: each is kept
// in memory until the grant ends.
const credentialsPerGrant = 1000

func (u *unit) issueToken(r *access.Request, id string, made token) (func() (credential.Secret, error), error) {
	have, err := u.tx.CountCredentials(r.Grant.ID)
	if err != nil {
		return nil, err
	}
	if have >= credentialsPerGrant {
		return nil, u.deny(audit.AccessDenied, r, &Error{Kind: TooMany, Code: "too_many_credentials", RetryAfter: r.Grant.ExpiresAt.Sub(u.now),
			Message: fmt.Sprintf("This grant has %d credentials already; use one of them.", have)})
	}
	err = u.keepCredential(sqlstore.Credential{Hash: made.hash, ID: id, Grant: r.Grant.ID, Request: r.ID, Kind: "token", IssuedAt: u.now, ExpiresAt: r.Grant.ExpiresAt})
	if res, ok := u.state.catalog.Resource(r.Content.Resource); ok && err == nil && proven(res.Kind) {
		err = u.keepVerifier(r.Grant.ID, made)
	}
	return func() (credential.Secret, error) { return made.secret, nil }, err
}

// keepVerifier keeps what a gateway needs to have a client prove that it holds
// a token, without the token.
func (u *unit) keepVerifier(grant string, made token) error {
	v, err := made.verifier()
	if err != nil {
		return err
	}
	return u.tx.PutVerifier(grant, sqlstore.Verifier{Hash: v.Token, StoredKey: v.StoredKey, ServerKey: v.ServerKey})
}

func (u *unit) keepCredential(c sqlstore.Credential) error {
	if err := u.tx.PutCredential(c); err != nil {
		return err
	}
	u.tx.AfterCommit(func() { u.b.cfg.Index.PutCredential(indexed(c)) })
	return nil
}

func (u *unit) issueJWT(r *access.Request, id string) (func() (credential.Secret, error), api.Time, error) {
	res, ok := u.state.catalog.Resource(r.Content.Resource)
	if !ok || !res.JWT {
		return nil, api.Time{}, u.deny(audit.AccessDenied, r, &Error{Kind: Forbidden, Code: "jwt_off", Field: "body.format", Message: "This resource takes no JWTs; ask for the format token."})
	}
	details := authorizationDetails(r.Content)
	claims := credential.Claims{
		Issuer: u.b.cfg.PublicURL, Subject: r.Content.Requester, Audience: r.Content.Resource, ClientID: r.Content.Requester, ID: id,
		IssuedAt: u.now, Txn: r.ID, GrantID: r.Grant.ID, AuthorizationDetails: []json.RawMessage{details},
	}
	if p, ok := u.state.catalog.Principal(r.Content.Requester); ok && p.Owner != "" {
		claims.Act = &credential.Actor{Subject: p.ID}
	}
	limits := credential.Limits{GrantExpires: r.Grant.ExpiresAt, Now: u.now}
	claims.ExpiresAt = limits.Latest()
	linted, err := credential.Prepare(claims, limits)
	if errors.Is(err, credential.ErrTooLate) {
		return nil, api.Time{}, u.deny(audit.AccessDenied, r, &Error{Kind: Conflict, Code: "not_active", Message: "The grant ends within a second; ask anew."})
	}
	if err != nil {
		return nil, api.Time{}, fmt.Errorf("composing a JWT: %w", err)
	}
	return func() (credential.Secret, error) { return u.b.cfg.Keys.Sign(linted, credential.ES256) }, api.TimeOf(linted.ExpiresAt()), nil
}

// authorizationDetails is the granted scope as RFC 9396 writes it.
func authorizationDetails(c access.Content) json.RawMessage {
	return appendDetails(nil, c.Kind, c.Resource, c.Scope)
}

// appendDetails appends a canonical scope as RFC 9396 writes it: its members
// beside type and resource, which no kind of scope has. Kinds and resources
// have names that JSON does not escape.
func appendDetails(b []byte, kind, resource string, scope json.RawMessage) []byte {
	b = append(b, `{"type":"urn:daypass:`...)
	b = append(b, kind...)
	b = append(b, `","resource":"`...)
	b = append(b, resource...)
	b = append(b, '"')
	if len(scope) <= len(`{}`) { // canonical: an object, without spaces
		return append(b, '}')
	}
	b = append(b, ',')
	return append(b, scope[1:]...)
}

// liveGrant is a request's grant as the index keeps it.
func (b *Broker) liveGrant(r *access.Request) live.Grant {
	g := live.Grant{
		ID: r.Grant.ID, Request: r.ID, Principal: r.Content.Requester, Resource: r.Content.Resource, Incarnation: r.Content.Incarnation,
		Kind: r.Content.Kind, Scope: r.Content.Scope, StartsAt: r.Grant.StartsAt,
	}
	g.OnBehalfOf = b.owner(g.Principal)
	return g
}

// owner is on whose behalf a principal acts; "" for a person.
func (b *Broker) owner(principal string) string {
	if p, ok := b.catalog().Principal(principal); ok {
		return p.Owner
	}
	return ""
}

// buryGrant tells the index of a grant that has ended before.
func (b *Broker) buryGrant(g *access.Grant) {
	at := g.ExpiresAt
	if g.EndedAt != nil {
		at = *g.EndedAt
	}
	b.cfg.Index.End(g.ID, at, string(g.EndedReason))
}

func indexed(c sqlstore.Credential) live.Credential {
	// No end of its own: an extension lengthens the grant with its tokens.
	return live.Credential{Hash: live.Hash(c.Hash), ID: c.ID, Grant: c.Grant, Kind: c.Kind, Host: c.Host, IssuedAt: c.IssuedAt}
}

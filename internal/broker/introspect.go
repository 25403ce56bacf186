package broker

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/identity"
	"github.com/daypass/daypass/internal/live"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// Introspection answers RFC 7662. Everything but Active is empty when it is
// not active.
type Introspection struct {
	Active                         bool
	Sub, Aud, ClientID, JTI, Txn   string
	GrantID, TokenType, OnBehalfOf string
	Iat, Nbf, Exp                  time.Time
	Kind                           string
	Scope                          json.RawMessage // canonical
}

// AppendDetails appends the granted scope as RFC 9396 writes it: one object.
func (i *Introspection) AppendDetails(b []byte) []byte {
	return appendDetails(b, i.Kind, i.Aud, i.Scope)
}

// Introspect says whether a token is good at this instant for a resource that
// the caller fronts. It asks the index alone: no SQL.
func (b *Broker) Introspect(ctx context.Context, c identity.Caller, token string) (Introspection, error) {
	cat := b.catalog()
	admin := who{b: b, cat: cat, c: c}.admin()
	fronts := func(resource string) bool {
		r, ok := cat.Resource(resource)
		return ok && (admin || slices.Contains(r.Introspect, c.Principal))
	}
	if !admin && !cat.Fronts(c.Principal) {
		return Introspection{}, b.forbid(ctx, c, "introspecting tokens", "Only the principals that a resource lists under introspect, and admins, introspect tokens.")
	}
	proof, why := b.prove(token, fronts)
	grant, cred := proof.grant, proof.cred
	if grant == nil || b.Incarnation(grant.Resource) != grant.Incarnation {
		return Introspection{}, b.introspectedNo(ctx, c, grant, why)
	}
	if cred != nil && !cred.Used() {
		e := entry(audit.AccessAllowed, "", map[string]any{"what": "introspection", "principal": grant.Principal, "jti": cred.ID})
		e.Actor, e.OnBehalfOf = c.Principal, c.OnBehalfOf
		e.Request, e.Grant, e.Resource, e.Scope, e.Outcome = grant.Request, grant.ID, grant.Resource, grant.Scope, audit.Allowed
		e.Source = audit.Source{IP: c.IP, Channel: c.Channel}
		if err := b.Record(ctx, e, grant.Principal, true); err != nil {
			return Introspection{}, err
		}
		cred.MarkUsed()
		if !b.cfg.Index.LiveAt(grant, b.cfg.Clock.Now()) {
			return Introspection{}, b.introspectedNo(ctx, c, grant, "ended while its first use was written")
		}
	}
	out := Introspection{
		Active: true, Sub: grant.Principal, Aud: grant.Resource, ClientID: grant.Principal, Txn: grant.Request, GrantID: grant.ID,
		TokenType: "Bearer", OnBehalfOf: grant.OnBehalfOf, Nbf: grant.StartsAt, Exp: grant.ExpiresAt(), Iat: grant.StartsAt,
	}
	if cred != nil {
		out.JTI, out.Iat = cred.ID, cred.IssuedAt
	}
	if proof.claims != nil {
		out.JTI, out.Iat, out.Nbf, out.Exp = proof.claims.ID, proof.claims.IssuedAt, proof.claims.NotBefore, proof.claims.ExpiresAt
	}
	out.Kind, out.Scope = grant.Kind, grant.Scope
	return out, nil
}

// proof is what a good token proves: its grant, and the token itself as the
// index (opaque) or its claims (JWT) know it.
type proof struct {
	grant  *live.Grant
	cred   *live.Credential
	claims *credential.Claims
}

// prove finds the live grant that a token proves, for a resource that accept
// takes; an empty proof and why otherwise.
func (b *Broker) prove(token string, accept func(resource string) bool) (proof, string) {
	now := b.cfg.Clock.Now()
	if strings.HasPrefix(token, credential.GrantToken) {
		hash, err := credential.ParseToken(credential.GrantToken, token)
		if err != nil {
			return proof{}, "malformed"
		}
		check := b.cfg.Index.Check(live.Hash(hash))
		if check.State != live.Live {
			return proof{}, check.State.String()
		}
		grant, cred := check.Grant(), check.Credential()
		if grant == nil || cred == nil { // forgotten in the meantime
			return proof{}, live.Unknown.String()
		}
		if cred.Kind != live.KindToken {
			return proof{}, check.State.String()
		}
		if !accept(grant.Resource) {
			return proof{}, "another resource"
		}
		return proof{grant: grant, cred: cred}, ""
	}
	claims, err := b.cfg.Keys.Verify(token, credential.VerifyOptions{Issuer: b.cfg.PublicURL, AcceptAudience: accept, Type: credential.TypeAccessToken, Now: now})
	if err != nil {
		return proof{}, "not a good token"
	}
	grant, ok := b.cfg.Index.Grant(claims.GrantID)
	if !ok || !b.cfg.Index.LiveAt(grant, now) || grant.Resource != claims.Audience {
		return proof{}, "ended"
	}
	return proof{grant: grant, claims: claims}, ""
}

// introspectedNo records an introspection that says no.
func (b *Broker) introspectedNo(ctx context.Context, c identity.Caller, grant *live.Grant, why string) error {
	e := entry(audit.AccessDenied, "", map[string]any{"what": "introspection", "why": why})
	e.Actor, e.OnBehalfOf, e.Outcome = c.Principal, c.OnBehalfOf, audit.Denied
	e.Source = audit.Source{IP: c.IP, Channel: c.Channel}
	principal := ""
	if grant != nil {
		e.Request, e.Grant, e.Resource, principal = grant.Request, grant.ID, grant.Resource, grant.Principal
	}
	return b.Record(ctx, e, principal, false)
}

// RevokeToken ends the grant that a token proves (RFC 7009). Holding the token
// is the proof; whether it existed is never told.
func (b *Broker) RevokeToken(ctx context.Context, c identity.Caller, token string) error {
	if hash, err := credential.ParseToken(credential.PrincipalToken, token); err == nil {
		return b.revokeJob(ctx, c, hash)
	}
	if hash, err := credential.ParseToken(credential.LoginToken, token); err == nil {
		return b.revokeLogin(ctx, c, hash)
	}
	proof, _ := b.prove(token, func(string) bool { return true })
	grant := proof.grant
	if grant == nil {
		return nil
	}
	if c.Principal == "" {
		// Nobody but the token itself says who this is: its grantee.
		c.Principal, c.OnBehalfOf = grant.Principal, grant.OnBehalfOf
	}
	return b.do(ctx, c, sqlstore.Ends, func(u *unit) error {
		r, err := u.tx.RequestOfGrant(grant.ID)
		if err != nil {
			return err
		}
		if r, err = u.tick(r); err != nil {
			return err
		}
		_, err = u.end(r, "")
		return err
	})
}

package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/identity"
	"github.com/daypass/daypass/internal/live"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// Cookie exchanges a grant token for what a browser holds for one host.
func (b *Broker) Cookie(ctx context.Context, token, host string) (string, time.Time, error) {
	p, _ := b.prove(token, func(string) bool { return true })
	if p.grant == nil || p.cred == nil {
		return "", time.Time{}, &Error{Kind: Unauthorized, Code: "invalid_token", Message: "This token is not, or no longer, good; ask for access again."}
	}
	secret, hash := credential.NewToken(credential.GrantCookie)
	c := grantee(p)
	err := b.do(ctx, c, sqlstore.Normal, func(u *unit) error {
		r, err := u.tx.RequestOfGrant(p.grant.ID)
		if err != nil {
			return err
		}
		if r, err = u.tick(r); err != nil {
			return err
		}
		if !r.Grant.ActiveAt(u.now) {
			return &Error{Kind: Unauthorized, Code: "invalid_token", Message: "The grant has ended; ask for access again."}
		}
		if err := u.issuable(r); err != nil {
			return err
		}
		id := credential.NewIDAt("cred", u.now)
		if err := u.keepCredential(sqlstore.Credential{Hash: hash, ID: id, Grant: r.Grant.ID, Request: r.ID, Kind: "cookie", Host: host, IssuedAt: u.now, ExpiresAt: r.Grant.ExpiresAt}); err != nil {
			return err
		}
		e := entry(audit.CredentialIssued, "", map[string]any{"format": "cookie", "jti": id, "host": host, "principal": r.Content.Requester})
		e.Request, e.Grant, e.Resource, e.Scope, e.Outcome = r.ID, r.Grant.ID, r.Content.Resource, r.Content.Scope, audit.Allowed
		return u.append(e, r.Content.Requester)
	})
	return secret.Reveal(), p.grant.ExpiresAt(), err
}

// Logout ends one cookie for good; its grant goes on.
func (b *Broker) Logout(ctx context.Context, cookie string) error {
	hash, err := credential.ParseToken(credential.GrantCookie, cookie)
	if err != nil {
		return fmt.Errorf("logging out: %w", err)
	}
	check := b.cfg.Index.Check(live.Hash(hash))
	b.cfg.Index.EndCredential(live.Hash(hash))
	grant, cred := check.Grant(), check.Credential()
	if grant == nil || cred == nil {
		return nil // it was over already
	}
	return b.do(ctx, grantee(proof{grant: grant}), sqlstore.Ends, func(u *unit) error {
		err := u.tx.DeleteCredential(hash)
		if errors.Is(err, sqlstore.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		e := entry(audit.TokenRevoked, "", map[string]any{"what": "browser login", "jti": cred.ID})
		e.Request, e.Grant, e.Resource, e.Outcome = grant.Request, grant.ID, grant.Resource, audit.Allowed
		return u.append(e, grant.Principal)
	})
}

// grantee is whoever holds a token, as a caller: the principal it was made for.
func grantee(p proof) identity.Caller {
	return identity.Caller{Principal: p.grant.Principal, OnBehalfOf: p.grant.OnBehalfOf, Channel: "gateway:http"}
}

// Assertion mints a signed statement of a grant for its resource, which the
// upstream can verify with the JWKS.
func (b *Broker) Assertion(grant *live.Grant) (string, error) {
	now := b.now()
	linted, err := credential.PrepareAssertion(credential.Claims{
		Issuer: b.cfg.PublicURL, Subject: grant.Principal, Audience: grant.Resource, ID: credential.NewID("ast"),
		IssuedAt: now, Txn: grant.Request, GrantID: grant.ID,
	}, credential.Limits{GrantExpires: grant.ExpiresAt(), Now: now})
	if err != nil {
		return "", fmt.Errorf("composing an assertion: %w", err)
	}
	signed, err := b.cfg.Keys.Sign(linted, credential.ES256)
	if err != nil {
		return "", fmt.Errorf("signing an assertion: %w", err)
	}
	return signed.Reveal(), nil
}

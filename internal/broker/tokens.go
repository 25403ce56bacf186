package broker

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/failpoint"
	"github.com/daypass/daypass/internal/identity"
	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// maxTokenTTL is the longest life of an API token.
const maxTokenTTL = 8760 * time.Hour

// tokenIndex finds the principal of an API token by its hash, without SQL.
type tokenIndex struct {
	mu      sync.RWMutex
	made    map[[32]byte]madeToken // through the API
	catalog map[[32]byte]string    // listed in the catalog
}

// madeToken is a token with the job that it was given to, read once.
type madeToken struct {
	sqlstore.Token
	workload *api.Workload // nil: a token that somebody made
}

func made(token sqlstore.Token) madeToken {
	m := madeToken{Token: token}
	if token.Workload != "" {
		m.workload = new(api.Workload)
		if json.Unmarshal([]byte(token.Workload), m.workload) != nil {
			m.ExpiresAt = time.Time{} // whose it is cannot be told: it is nobody's
		}
	}
	return m
}

func (t *tokenIndex) load(cat *policy.Catalog, all []sqlstore.Token) {
	t.mu.Lock()
	t.made = make(map[[32]byte]madeToken, len(all))
	for _, token := range all {
		t.made[token.Hash] = made(token)
	}
	t.mu.Unlock()
	t.loadCatalog(cat)
}

// prune forgets the tokens of jobs that ended before an instant.
func (t *tokenIndex) prune(before time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	maps.DeleteFunc(t.made, func(_ [32]byte, m madeToken) bool { return m.Workload != "" && m.ExpiresAt.Before(before) })
}

func (t *tokenIndex) loadCatalog(cat *policy.Catalog) {
	listed := map[[32]byte]string{}
	for _, p := range cat.Principals() {
		if raw, err := hex.DecodeString(p.TokenSHA256); err == nil && len(raw) == 32 {
			listed[[32]byte(raw)] = p.ID
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.catalog = listed
}

func (t *tokenIndex) put(token sqlstore.Token) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.made[token.Hash] = made(token)
}

func (t *tokenIndex) drop(hash [32]byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.made, hash)
}

// byID finds a token that was made, by its ID.
func (t *tokenIndex) byID(id string) (madeToken, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, m := range t.made {
		if m.ID == id {
			return m, true
		}
	}
	return madeToken{}, false
}

// find returns whose token this is, the token's ID, and the job that it was
// given to.
func (t *tokenIndex) find(hash [32]byte, now time.Time) (principal, id string, job *api.Workload) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if p, ok := t.catalog[hash]; ok {
		return p, "catalog", nil
	}
	if token, ok := t.made[hash]; ok && now.Before(token.ExpiresAt) {
		return token.Principal, token.ID, token.workload
	}
	return "", "", nil
}

// Authenticate says whose API token this is. Failures are counted per source
// and minute.
func (b *Broker) Authenticate(token, ip, channel string) (identity.Caller, error) {
	if strings.HasPrefix(token, credential.LoginToken) {
		return b.authenticateLogin(credential.LoginToken, token, ip, channel)
	}
	hash, err := credential.ParseToken(credential.PrincipalToken, token)
	if err != nil {
		b.recorder.countFailed(ip, channel, "malformed token")
		return identity.Caller{}, badToken()
	}
	principal, id, job := b.tokens.find(hash, b.cfg.Clock.Now())
	cat := b.catalog()
	if principal == "" || !enabled(cat, principal) {
		b.recorder.countFailed(ip, channel, "unknown token")
		return identity.Caller{}, badToken()
	}
	p, _ := cat.Principal(principal)
	return identity.Caller{Principal: principal, OnBehalfOf: p.Owner, Token: id, IP: ip, Channel: channel, Workload: job}, nil
}

func badToken() error {
	return &Error{Kind: Unauthorized, Code: "unauthorized", Message: "Send a live API token: Authorization: Bearer dpat_…"}
}

// stillAuthentic reports whether the caller's token is still good.
func (b *Broker) stillAuthentic(c identity.Caller) bool {
	if !enabled(b.catalog(), c.Principal) {
		return false
	}
	if c.Login != "" {
		return b.loginHolds(c)
	}
	b.tokens.mu.RLock()
	defer b.tokens.mu.RUnlock()
	for _, t := range b.tokens.made {
		if t.ID == c.Token {
			return b.now().Before(t.ExpiresAt)
		}
	}
	for _, p := range b.tokens.catalog {
		if c.Token == "catalog" && p == c.Principal {
			return true
		}
	}
	return false
}

// Tokens lists the caller's API tokens, all of them for an admin.
func (b *Broker) Tokens(ctx context.Context, c identity.Caller) ([]api.Token, error) {
	out := []api.Token{}
	err := b.view(ctx, func(tx *sqlstore.Tx) error {
		whose := c.Principal
		if b.who(c).admin() {
			whose = ""
		}
		tokens, err := tx.Tokens(whose)
		for _, t := range tokens {
			out = append(out, shownToken(t))
		}
		return err
	})
	return out, err
}

func shownToken(t sqlstore.Token) api.Token {
	return api.Token{ID: t.ID, Principal: t.Principal, Name: t.Name, CreatedAt: api.TimeOf(t.CreatedAt), ExpiresAt: api.TimeOf(t.ExpiresAt)}
}

// CreateToken makes an API token, shown once: one's own, one of a service or
// agent one owns, or anybody's as an admin.
func (b *Broker) CreateToken(ctx context.Context, c identity.Caller, principal, name string, ttl time.Duration, once *Once) (api.Token, error) {
	secret, hash := credential.NewToken(credential.PrincipalToken)
	out, err := onceOf(b, ctx, c, once, func(u *unit) (api.Token, error) {
		if principal == "" {
			principal = c.Principal
		}
		if ttl <= 0 || ttl > maxTokenTTL {
			return api.Token{}, invalid("body.ttl", "A token lives more than 0 and at most %s.", api.FormatDuration(maxTokenTTL))
		}
		// A token that has ended since is none, as a login is not (update).
		if t, there := b.tokens.byID(c.Token); strings.HasPrefix(c.Token, "tok_") && !(there && u.now.Before(t.ExpiresAt)) {
			return api.Token{}, badToken()
		}
		if c.Workload != nil {
			return api.Token{}, u.forbid("making a token with that of a job", "The token of a job makes no others: it would outlive the job.")
		}
		if most := u.b.mostTTL(c, u.now); ttl > most {
			return api.Token{}, invalid("body.ttl", "A token that is made in a login, or with a token of a person, lives at most %s here, and no longer than the token it is made with.", api.FormatDuration(most.Truncate(time.Second)))
		}
		if err := u.b.quarantined(); err != nil {
			return api.Token{}, u.b.barred()
		}
		p, known := u.state.catalog.Principal(principal)
		if !u.who().admin() && principal != c.Principal && (!known || p.Owner != c.Principal) {
			e := entry(audit.AccessDenied, "", map[string]any{"what": "making a token of " + clip(principal)})
			return api.Token{}, u.refuse(e, principal, &Error{Kind: Forbidden, Code: "forbidden", Message: "You make tokens for yourself and for the services and agents you own; an admin makes any."})
		}
		if !known || !enabled(u.state.catalog, principal) {
			return api.Token{}, invalid("body.principal", "There is no enabled principal %q.", clip(principal))
		}
		t := sqlstore.Token{ID: credential.NewID("tok"), Hash: hash, Principal: principal, Name: name, CreatedBy: c.Principal, CreatedAt: u.now, ExpiresAt: u.now.Add(ttl)}
		if err := u.tx.PutToken(t); err != nil {
			return api.Token{}, err
		}
		e := entry(audit.TokenCreated, "", map[string]any{"token": t.ID, "for": principal, "expires_at": stamp(t.ExpiresAt), "name": name})
		e.Outcome = audit.Allowed
		if err := u.append(e, principal); err != nil {
			return api.Token{}, err
		}
		failpoint.Hit("broker.token.recorded")
		u.tx.AfterCommit(func() { b.tokens.put(t) })
		return shownToken(t), nil
	})
	if err != nil {
		return api.Token{}, err
	}
	failpoint.Hit("broker.token.reveal")
	shown := secret.Reveal()
	out.Secret = &shown
	return out, nil
}

// mostTTL is how long a token may live that a caller makes. What a login gave
// for some time makes nothing that lasts longer: else a token would be renewed
// with itself for ever, and nobody asked the provider again.
func (b *Broker) mostTTL(c identity.Caller, now time.Time) time.Duration {
	if c.Login != "" {
		return b.cfg.Logins.tokenTTL()
	}
	if len(b.cfg.Logins.Issuers) == 0 || !strings.HasPrefix(c.Principal, "user:") {
		return maxTokenTTL
	}
	if t, ok := b.tokens.byID(c.Token); ok {
		return min(t.ExpiresAt.Sub(now), b.cfg.Logins.tokenTTL())
	}
	return maxTokenTTL // one of the catalog
}

// DeleteToken revokes an API token: one's own, one of what one owns, or any as
// an admin.
func (b *Broker) DeleteToken(ctx context.Context, c identity.Caller, id string) error {
	return b.do(ctx, c, sqlstore.Ends, func(u *unit) error {
		t, err := u.tx.Token(id)
		if errors.Is(err, sqlstore.ErrNotFound) {
			return notFound("The token")
		}
		if err != nil {
			return err
		}
		p, known := u.state.catalog.Principal(t.Principal)
		if !u.who().admin() && t.Principal != c.Principal && (!known || p.Owner != c.Principal) {
			return notFound("The token")
		}
		return u.dropToken(*t)
	})
}

func (u *unit) dropToken(t sqlstore.Token) error {
	if err := u.tx.DeleteToken(t.ID); err != nil {
		return fmt.Errorf("deleting token %s: %w", t.ID, err)
	}
	e := entry(audit.TokenRevoked, "", map[string]any{"token": t.ID, "for": t.Principal})
	e.Outcome = audit.Allowed
	u.tx.AfterCommit(func() { u.b.tokens.drop(t.Hash) })
	return u.append(e, t.Principal)
}

package oidc

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// Attempt is one login that somebody has begun. The browser holds it sealed, as
// Ticket under a cookie of its own (Tag), until it comes back.
type Attempt struct {
	Tag    string // says which of several attempts of a browser this is
	Ticket string
	URL    string // where the browser goes
	Until  time.Time
}

// attemptFor is how long somebody may take at the provider.
const attemptFor = 10 * time.Minute

// Begin begins a login by the named provider; to is where the browser is to go
// afterwards, and is carried, not judged.
func (p *Providers) Begin(ctx context.Context, name, to string) (Attempt, error) {
	one := p.named(name)
	if one == nil {
		return Attempt{}, ErrUnknown
	}
	d, err := one.discover(ctx)
	if err != nil {
		p.opts.Log.Warn("a login could not begin", "provider", name, "error", err)
		return Attempt{}, ErrAway
	}
	until := p.opts.Now().Add(attemptFor)
	a := carried{Provider: name, State: random(), Nonce: random(), Verifier: oauth2.GenerateVerifier(), To: to, Until: until.Unix()}
	ticket, err := p.seal.seal(a)
	if err != nil {
		return Attempt{}, err
	}
	u := d.oauth.AuthCodeURL(a.State, oidc.Nonce(a.Nonce), oauth2.S256ChallengeOption(a.Verifier))
	return Attempt{Tag: tagOf(a.State), Ticket: ticket, URL: u, Until: until}, nil
}

// Tag is that of the attempt to which an answer with this query belongs.
func Tag(query url.Values) string { return tagOf(query.Get("state")) }

// Finish is the browser's way back, with what the provider has it say and the
// ticket that it holds. Whatever is wrong is ErrRefused, and the attempt is
// over; a provider that does not answer is ErrAway.
func (p *Providers) Finish(ctx context.Context, name string, query url.Values, ticket string) (Person, string, error) {
	person, to, err := p.finish(ctx, name, query, ticket)
	if err != nil {
		p.opts.Log.Warn("a login was not accepted", "provider", name, "error", err)
		if !errors.Is(err, ErrAway) {
			err = ErrRefused
		}
	}
	return person, to, err
}

func (p *Providers) finish(ctx context.Context, name string, query url.Values, ticket string) (Person, string, error) {
	one := p.named(name)
	if one == nil {
		return Person{}, "", ErrUnknown
	}
	for key, values := range query { // RFC 6749 section 3.1
		if len(values) > 1 {
			return Person{}, "", fmt.Errorf("the answer has %q twice", key)
		}
	}
	a, err := p.seal.open(ticket)
	switch {
	case err != nil:
		return Person{}, "", err
	case a.Provider != name:
		return Person{}, "", errors.New("the answer to another provider's question")
	case subtle.ConstantTimeCompare([]byte(a.State), []byte(query.Get("state"))) != 1:
		return Person{}, "", errors.New("the state is not that of this browser")
	}
	d, err := one.discover(ctx)
	if err != nil {
		return Person{}, "", fmt.Errorf("%w: %w", ErrAway, err)
	}
	// RFC 9207 section 2.4: also where it is not promised, it must be right.
	if iss := query.Get("iss"); iss != "" && iss != one.Issuer || iss == "" && d.saysIssue {
		return Person{}, "", errors.New("the answer is not from the issuer that was asked")
	}
	if code := query.Get("error"); code != "" {
		return Person{}, "", fmt.Errorf("the provider says %q", clip(code))
	}
	if query.Get("code") == "" {
		return Person{}, "", errors.New("there is no code in the answer")
	}
	select {
	case p.busy <- struct{}{}:
		defer func() { <-p.busy }()
	case <-ctx.Done():
		return Person{}, "", fmt.Errorf("%w: too many logins at once", ErrAway)
	}
	if p.seal.spent(a) {
		return Person{}, "", errUsed
	}
	raw, err := one.redeem(ctx, d, a, query.Get("code"))
	if err != nil {
		return Person{}, "", err
	}
	// Only a code that the provider took uses a state up: nobody fills our
	// memory with states that never were good for anything.
	if !p.seal.use(a) {
		return Person{}, "", errUsed
	}
	person, err := one.verify(ctx, d, a, raw, p.opts.Now)
	return person, a.To, err
}

var errUsed = errors.New("the state was used before")

// redeem gives the code and gets the ID token.
func (p *provider) redeem(ctx context.Context, d *discovered, a carried, code string) (string, error) {
	ctx = oidc.ClientContext(ctx, p.client)
	token, err := d.oauth.Exchange(ctx, code, oauth2.VerifierOption(a.Verifier))
	var said *oauth2.RetrieveError
	switch {
	case errors.As(err, &said) && said.Response != nil && said.Response.StatusCode < http.StatusInternalServerError:
		return "", fmt.Errorf("the provider did not take the code: %w", err)
	case err != nil:
		return "", fmt.Errorf("%w: %w", ErrAway, err)
	}
	raw, ok := token.Extra("id_token").(string)
	if !ok || raw == "" {
		return "", errors.New("the provider gave no ID token")
	}
	return raw, nil
}

// verify checks the ID token and says who it is for.
func (p *provider) verify(ctx context.Context, d *discovered, a carried, raw string, now func() time.Time) (Person, error) {
	ctx = oidc.ClientContext(ctx, p.client)
	verifier := d.VerifierContext(ctx, &oidc.Config{ClientID: p.ClientID, SupportedSigningAlgs: d.algs, Now: now})
	id, err := verifier.Verify(ctx, raw)
	if err != nil {
		return Person{}, fmt.Errorf("the ID token: %w", err)
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(a.Nonce)) != 1 {
		return Person{}, errors.New("the ID token has another nonce")
	}
	return p.person(id, now())
}

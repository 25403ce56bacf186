package httpkind

import (
	"encoding/json"
	"errors"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/live"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// verifyAssertion is what docs/http-gateway.md tells a service to do.
func verifyAssertion(r *http.Request, jwks *jose.JSONWebKeySet, issuer, resource string) (grant string, err error) {
	token, err := jwt.ParseSigned(r.Header.Get("Daypass-Assertion"), []jose.SignatureAlgorithm{jose.ES256})
	if err != nil || len(token.Headers) != 1 || token.Headers[0].ExtraHeaders[jose.HeaderType] != "daypass-assertion+jwt" {
		return "", errors.New("no assertion")
	}
	var who struct {
		jwt.Claims
		Grant string `json:"grant_id"`
	}
	if err := token.Claims(jwks, &who); err != nil {
		return "", err
	}
	err = who.ValidateWithLeeway(jwt.Expected{Issuer: issuer, AnyAudience: jwt.Audience{resource}, Time: time.Now()}, 5*time.Second)
	return who.Grant, err
}

// Invariant: A3, A26
func TestAnUpstreamVerifiesTheAssertion(t *testing.T) {
	keys, err := credential.OpenKeyring(filepath.Join(t.TempDir(), "keys"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var jwks jose.JSONWebKeySet
	raw, err := keys.JWKS(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &jwks); err != nil {
		t.Fatal(err)
	}
	const issuer = "https://daypass.example.com"
	got := make(chan string, 1)
	up := upstreamServer(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		grant, err := verifyAssertion(r, &jwks, issuer, "orders-api")
		if err != nil {
			grant = err.Error()
		}
		got <- grant
	}))
	s := newSite(t, up, siteOptions{})
	minted := 0
	s.gw.assertions.Mint = func(g *live.Grant) (string, error) {
		minted++
		linted, err := credential.PrepareAssertion(credential.Claims{
			Issuer: issuer, Subject: g.Principal, Audience: g.Resource, ID: "ast", IssuedAt: s.now(), Txn: g.Request, GrantID: g.ID,
		}, credential.Limits{GrantExpires: g.ExpiresAt(), Now: s.now()})
		if err != nil {
			return "", err
		}
		signed, err := keys.Sign(linted, credential.ES256)
		return signed.Reveal(), err
	}
	id, token := s.grant(everything, time.Hour)
	for range 3 {
		if res, _ := s.do("GET", "/", token); res.StatusCode != 200 {
			t.Fatalf("%d", res.StatusCode)
		}
		if g := <-got; g != id {
			t.Errorf("the upstream says %s", g)
		}
	}
	if minted != 1 {
		t.Errorf("signed %d times for three requests", minted)
	}
	// An extension is stated at once.
	s.index.Extend(id, s.now().Add(2*time.Hour).Truncate(time.Millisecond))
	s.do("GET", "/", token)
	if g := <-got; g != id || minted != 2 {
		t.Errorf("after an extension: %s, signed %d times", g, minted)
	}
	// In its last instants a grant is good and has no assertion.
	_, token = s.grant(everything, 900*time.Millisecond)
	res, _ := s.do("GET", "/", token)
	if g := <-got; res.StatusCode != 200 || g == id {
		t.Errorf("%d %s", res.StatusCode, g)
	}
}

package daemon_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/daypass/daypass/api"
)

// introspection is RFC 7662 section 2.2, as another program would read it.
type introspection struct {
	Active    bool   `json:"active"`
	Iss       string `json:"iss"`
	Sub       string `json:"sub"`
	Aud       any    `json:"aud"`
	ClientID  string `json:"client_id"`
	Jti       string `json:"jti"`
	Iat       int64  `json:"iat"`
	Nbf       int64  `json:"nbf"`
	Exp       int64  `json:"exp"`
	TokenType string `json:"token_type"`
	Txn       string `json:"txn"`
	GrantID   string `json:"grant_id"`
	Details   []struct {
		Type     string   `json:"type"`
		Resource string   `json:"resource"`
		Methods  []string `json:"methods"`
		Paths    []string `json:"paths"`
	} `json:"authorization_details"`
}

func (s *server) form(who, path, key, value string) answer {
	s.t.Helper()
	return s.call(who, "POST", path, url.Values{key: {value}}.Encode(), "Content-Type", "application/x-www-form-urlencoded")
}

// Invariant: A5, A22
// Attack: INT-02, INT-05, INT-07, INT-10, TOK-02, TOK-03, TOK-06, TOK-08
func TestIntrospection(t *testing.T) {
	s := serve(t)
	r := s.granted("user:ana", "orders-api", "read", 3*time.Second)
	token := s.token("user:ana", r)
	ask := func(who, token string) introspection {
		t.Helper()
		a := s.form(who, "/oauth/introspect", "token", token).is(200)
		if a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("Cache-Control is %q", a.header.Get("Cache-Control"))
		}
		in := decode[introspection](a)
		if !in.Active && strings.TrimSpace(string(a.body)) != `{"active":false}` {
			t.Errorf("a refusal tells %s", a.body)
		}
		return in
	}
	in := ask("service:orders", token)
	if !in.Active || in.Sub != "user:ana" || in.Aud != "orders-api" || in.Txn != r.ID || in.GrantID != r.Grant.ID || in.Exp != r.Grant.ExpiresAt.Unix() || in.Iss != "http://"+s.api || in.Jti == "" || in.Nbf == 0 {
		t.Errorf("%+v", in)
	}
	if len(in.Details) != 1 || in.Details[0].Type != "urn:daypass:http" || in.Details[0].Resource != "orders-api" || strings.Join(in.Details[0].Methods, " ") != "GET HEAD" {
		t.Errorf("%+v", in.Details)
	}
	if !ask("user:ada", token).Active {
		t.Error("an admin may ask for any")
	}
	if ask("service:ci-deploy", token).Active {
		t.Error("the service of another resource learns of the token")
	}
	for _, other := range []string{mint("dpgt_"), s.tokens["user:ana"], "x", token + "x"} {
		if ask("service:orders", other).Active {
			t.Errorf("%q is live", other)
		}
	}
	for _, who := range []string{"user:ana", "user:eve"} {
		if a := s.form(who, "/oauth/introspect", "token", token); a.status == 200 && decode[introspection](a).Active {
			t.Errorf("%s may introspect", who)
		}
	}
	s.form("", "/oauth/introspect", "token", token).is(401)
	s.form("service:orders", "/oauth/introspect", "tokn", token).is(400)
	s.call("service:orders", "GET", "/oauth/introspect?token="+token, nil).is(405)
	time.Sleep(time.Until(r.Grant.ExpiresAt.Time))
	if ask("service:orders", token).Active {
		t.Error("it is live after its end")
	}

	_, second := s.pass(time.Hour)
	if !ask("service:ci-deploy", second).Active {
		t.Error("it is not live")
	}
	s.form("user:cy", "/oauth/revoke", "token", mint("dpgt_")).is(200)
	s.form("user:cy", "/oauth/revoke", "token", second).is(200)
	s.form("user:cy", "/oauth/revoke", "token", second).is(200)
	if ask("service:ci-deploy", second).Active {
		t.Error("it is live after its revocation")
	}
	s.through(second, "GET", "open-api", "/x").is(401)
}

// TestSignatures: what Daypass signs is verified with its published keys by
// another implementation.
//
// Invariant: A3, A22
// Attack: TOK-01, TOK-13
func TestSignatures(t *testing.T) {
	s := serve(t)
	meta := decode[struct {
		Issuer     string `json:"issuer"`
		JWKS       string `json:"jwks_uri"`
		Introspect string `json:"introspection_endpoint"`
		Revoke     string `json:"revocation_endpoint"`
	}](s.call("", "GET", "/.well-known/oauth-authorization-server", nil).is(200))
	base := "http://" + s.api
	if meta.Issuer != base || meta.JWKS != base+"/.well-known/jwks.json" || meta.Introspect != base+"/oauth/introspect" || meta.Revoke != base+"/oauth/revoke" {
		t.Errorf("%+v", meta)
	}
	if contact := string(s.call("", "GET", "/.well-known/security.txt", nil).is(200).body); !strings.Contains(contact, "Contact:") || !strings.Contains(contact, "Expires:") {
		t.Errorf("security.txt is %s", contact)
	}
	keys := func() *jose.JSONWebKeySet {
		t.Helper()
		a := s.call("", "GET", "/.well-known/jwks.json", nil).is(200)
		var set jose.JSONWebKeySet
		if err := json.Unmarshal(a.body, &set); err != nil {
			t.Fatal(err)
		}
		algs := map[string]bool{}
		for _, k := range set.Keys {
			algs[k.Algorithm] = true
			if !k.IsPublic() || k.KeyID == "" {
				t.Errorf("the key %s is not a public one", k.KeyID)
			}
		}
		if !algs["ES256"] || !algs["RS256"] {
			t.Errorf("the keys are for %v", algs)
		}
		return &set
	}
	type claims struct {
		jwt.Claims
		Txn     string           `json:"txn"`
		GrantID string           `json:"grant_id"`
		Request string           `json:"request"`
		Details []map[string]any `json:"authorization_details"`
	}
	verify := func(signed string, set *jose.JSONWebKeySet) (claims, string) {
		t.Helper()
		tok, err := jwt.ParseSigned(signed, []jose.SignatureAlgorithm{jose.ES256, jose.RS256})
		if err != nil {
			t.Fatal(err)
		}
		var c claims
		if err := tok.Claims(set, &c); err != nil {
			t.Fatalf("the signature: %v", err)
		}
		typ, _ := tok.Headers[0].ExtraHeaders["typ"].(string)
		return c, typ
	}
	set := keys()
	r, token := s.pass(time.Hour)
	credential := decode[api.Credential](s.call("user:cy", "POST", "/v1/grants/"+r.Grant.ID+"/credentials", m{"format": "jwt"}).is(201))
	c, typ := verify(*credential.Secret, set)
	err := c.Validate(jwt.Expected{Issuer: base, Subject: "user:cy", AnyAudience: jwt.Audience{"open-api"}, Time: time.Now()})
	if life := c.Expiry.Time().Sub(c.IssuedAt.Time()); err != nil || typ != "at+jwt" || life > 5*time.Minute || c.ID == "" {
		t.Errorf("%v: typ %s, lives %v, %+v", err, typ, life, c)
	}
	s.through(token, "GET", "open-api", "/x").is(200)
	got, _ := s.upstream.last()
	assertion, kind := verify(got.header.Get("Daypass-Assertion"), set)
	err = assertion.Validate(jwt.Expected{Issuer: base, Subject: "user:cy", AnyAudience: jwt.Audience{"open-api"}, Time: time.Now()})
	if err != nil || kind == "at+jwt" || assertion.Expiry.Time().After(r.Grant.ExpiresAt.Time) {
		t.Errorf("%v: typ %s, %+v", err, kind, assertion)
	}
	// It is no credential: not at the gateway, not at the API.
	for _, signed := range []string{got.header.Get("Daypass-Assertion"), *credential.Secret} {
		s.call(signed, "GET", "/v1/me", nil).is(401)
	}
	s.through(got.header.Get("Daypass-Assertion"), "GET", "open-api", "/x").is(401)
	if in := decode[introspection](s.form("service:ci-deploy", "/oauth/introspect", "token", *credential.Secret).is(200)); !in.Active || in.Sub != "user:cy" {
		t.Errorf("%+v", in)
	}
	if in := decode[introspection](s.form("service:ci-deploy", "/oauth/introspect", "token", got.header.Get("Daypass-Assertion")).is(200)); in.Active {
		t.Error("an assertion is a live token")
	}
	s.call("user:ana", "POST", "/v1/keys/rotate", nil).is(403)
	s.call("user:ada", "POST", "/v1/keys/rotate", nil).is(200)
	after := keys()
	if _, typ := verify(*credential.Secret, after); typ != "at+jwt" {
		t.Error("a rotation ends what was signed before")
	}
	fresh := decode[api.Credential](s.call("user:cy", "POST", "/v1/grants/"+r.Grant.ID+"/credentials", m{"format": "jwt"}).is(201))
	tok, err := jwt.ParseSigned(*fresh.Secret, []jose.SignatureAlgorithm{jose.ES256, jose.RS256})
	if err != nil || len(set.Key(tok.Headers[0].KeyID)) != 0 || len(after.Key(tok.Headers[0].KeyID)) == 0 {
		t.Errorf("after the rotation it is signed with %s: %v", tok.Headers[0].KeyID, err)
	}
	s.call("user:ada", "POST", "/v1/grants/"+r.Grant.ID+"/revoke", nil).is(200)
	if in := decode[introspection](s.form("service:ci-deploy", "/oauth/introspect", "token", *fresh.Secret).is(200)); in.Active {
		t.Error("a JWT is live after the revocation of its grant")
	}
}

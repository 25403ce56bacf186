package oidc

import (
	"context"
	"encoding/base64"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/daypass/daypass/internal/config"
	"github.com/daypass/daypass/internal/oidc/providertest"
)

// rig is a relying party with a provider that does what a test says.
type rig struct {
	t   *testing.T
	p   *providertest.Provider
	rp  *Providers
	now time.Time
}

func newRig(t *testing.T, adjust ...func(*config.OIDC)) *rig {
	t.Helper()
	r := &rig{t: t, p: providertest.New(t), now: time.Now()}
	c := config.OIDC{Name: "idp", Issuer: r.p.URL, ClientID: providertest.Client, GroupsClaim: "groups", Groups: map[string]string{"dbas": "group:dba", "devs": "group:dev"}}
	t.Setenv("IDP_SECRET", providertest.Secret)
	c.ClientSecret = config.Secret{Env: "IDP_SECRET"}
	for _, a := range adjust {
		a(&c)
	}
	other := c
	other.Name = "other"
	var err error
	if r.rp, err = New([]config.OIDC{c, other}, Options{PublicURL: "https://daypass.example", Now: func() time.Time { return r.now }}); err != nil {
		t.Fatal(err)
	}
	return r
}

// begin is a browser that begins and comes back to where the provider sends it.
func (r *rig) begin() (Attempt, url.Values) {
	r.t.Helper()
	a, err := r.rp.Begin(context.Background(), "idp", "/device")
	if err != nil {
		r.t.Fatal(err)
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Get(a.URL)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	to, err := res.Location()
	if err != nil || to.Path != "/login/callback/idp" {
		r.t.Fatalf("the provider sends the browser to %v: %v", to, err)
	}
	return a, to.Query()
}

func (r *rig) finish(name string, q url.Values, ticket string) (Person, error) {
	p, _, err := r.rp.Finish(context.Background(), name, q, ticket)
	return p, err
}

func (r *rig) logIn() (Person, error) {
	r.t.Helper()
	a, q := r.begin()
	return r.finish("idp", q, a.Ticket)
}

func (r *rig) refused(what string, p Person, err error) {
	r.t.Helper()
	if !errors.Is(err, ErrRefused) || p.Subject != "" {
		r.t.Errorf("%s: %+v, %v", what, p, err)
	}
}

func TestALogin(t *testing.T) {
	r := newRig(t)
	r.p.Set(func(p *providertest.Provider) {
		p.Claims = map[string]any{"groups": []string{"dbas", "others", "dbas"}, "email": "root@example.com"}
	})
	a, q := r.begin()
	who, to, err := r.rp.Finish(context.Background(), "idp", q, a.Ticket)
	if err != nil || who.Issuer != r.p.URL || who.Subject != "ana-1" || who.Provision != "" || !slices.Equal(who.Groups, []string{"group:dba"}) || to != "/device" {
		t.Fatalf("%+v to %q: %v", who, to, err)
	}
	u, err := url.Parse(a.URL)
	if err != nil {
		t.Fatal(err)
	}
	if got := u.Query(); got.Get("code_challenge_method") != "S256" || got.Get("response_type") != "code" || len(got.Get("state")) < 40 || len(got.Get("nonce")) < 40 {
		t.Errorf("asked with %v", got)
	}
	if strings.Contains(a.Ticket, u.Query().Get("state")) {
		t.Error("the ticket can be read")
	}
}

// Invariant: A23
// Attack: OID-01
func TestStates(t *testing.T) {
	r := newRig(t)
	a, q := r.begin()
	b, _ := r.begin()
	with := func(key, value string) url.Values {
		out := maps.Clone(q)
		out[key] = []string{value}
		if value == "" {
			delete(out, key)
		}
		return out
	}
	asked := r.p.Tokens
	for what, c := range map[string]struct {
		name, ticket string
		q            url.Values
	}{
		"of another browser":          {"idp", b.Ticket, q},
		"without a ticket":            {"idp", "", q},
		"with a forged ticket":        {"idp", a.Ticket[:len(a.Ticket)-4] + "AAAA", q},
		"without a state":             {"idp", a.Ticket, with("state", "")},
		"with another state":          {"idp", a.Ticket, with("state", "x")},
		"of another provider":         {"other", a.Ticket, q},
		"of no provider":              {"none", a.Ticket, q},
		"without a code":              {"idp", a.Ticket, with("code", "")},
		"of another issuer":           {"idp", a.Ticket, with("iss", "https://evil.example")},
		"without the issuer":          {"idp", a.Ticket, with("iss", "")},
		"with the issuer and a slash": {"idp", a.Ticket, with("iss", r.p.URL+"/")},
		"with an error":               {"idp", a.Ticket, with("error", "access_denied")},
		"with a parameter twice":      {"idp", a.Ticket, url.Values{"state": {q.Get("state"), q.Get("state")}, "code": q["code"], "iss": q["iss"]}},
	} {
		p, err := r.finish(c.name, c.q, c.ticket)
		r.refused(what, p, err)
	}
	if r.p.Tokens != asked {
		t.Errorf("the provider was asked %d times about answers that were not ours", r.p.Tokens-asked)
	}
	r.now = r.now.Add(10 * time.Minute)
	p, err := r.finish("idp", q, a.Ticket)
	r.refused("ten minutes later", p, err)
	r.now = r.now.Add(-10 * time.Minute)
	if p, err := r.finish("idp", q, a.Ticket); err != nil || p.Subject != "ana-1" {
		t.Fatalf("none of that was the browser's own answer, which is refused: %v", err)
	}
	asked = r.p.Tokens
	p, err = r.finish("idp", q, a.Ticket)
	r.refused("a second time", p, err)
	if r.p.Tokens != asked {
		t.Error("a state that was used got as far as the provider")
	}
	// Nor does a restart make it good again: its key is gone.
	again := newRig(t)
	p, _, err = again.rp.Finish(context.Background(), "idp", q, a.Ticket)
	r.refused("after a restart", p, err)
}

// Attack: OID-01, OID-02, OID-03
func TestIDTokens(t *testing.T) {
	r := newRig(t)
	if _, err := r.logIn(); err != nil {
		t.Fatal(err)
	}
	set := func(key string, value any) func(map[string]any) {
		return func(c map[string]any) {
			if c[key] = value; value == nil {
				delete(c, key)
			}
		}
	}
	for what, change := range map[string]func(map[string]any){
		"another nonce":         set("nonce", "x"),
		"no nonce":              set("nonce", nil),
		"another audience":      set("aud", "somebody-else"),
		"no audience":           set("aud", nil),
		"ours among others":     set("aud", []string{"somebody-else", providertest.Client}),
		"for another client":    set("azp", "somebody-else"),
		"an azp that is none":   set("azp", 7),
		"another issuer":        set("iss", "https://evil.example"),
		"the issuer in capital": set("iss", strings.ToUpper(r.p.URL)),
		"expired":               set("exp", r.now.Add(-time.Minute).Unix()),
		"no end":                set("exp", nil),
		"from the future":       set("iat", r.now.Add(2*time.Minute).Unix()),
		"no subject":            set("sub", nil),
		"an empty subject":      set("sub", ""),
		"a subject too long":    set("sub", strings.Repeat("a", 256)),
	} {
		r.p.Set(func(p *providertest.Provider) { p.Change = change })
		p, err := r.logIn()
		r.refused(what, p, err)
	}
	r.p.Set(func(p *providertest.Provider) {
		p.Change = func(c map[string]any) {
			c["aud"], c["azp"] = []string{providertest.Client, "somebody-else"}, providertest.Client
		}
	})
	if _, err := r.logIn(); err != nil {
		t.Errorf("two audiences, made for us: %v", err)
	}
	r.p.Set(func(p *providertest.Provider) { p.Change = nil })
	b64 := base64.RawURLEncoding.EncodeToString
	for what, forge := range map[string]func([]byte) string{
		"no signature": func(raw []byte) string { return b64([]byte(`{"alg":"none"}`)) + "." + b64(raw) + "." },
		"the client's secret": func(raw []byte) string {
			signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: []byte(providertest.Secret + "0123456789abcdef")}, nil)
			if err != nil {
				t.Fatal(err)
			}
			signed, err := signer.Sign(raw)
			if err != nil {
				t.Fatal(err)
			}
			out, _ := signed.CompactSerialize()
			return out
		},
		"nothing at all": func([]byte) string { return "" },
	} {
		r.p.Set(func(p *providertest.Provider) { p.Forge = forge })
		p, err := r.logIn()
		r.refused(what, p, err)
	}
	// A new key is fetched; what the old one signed is good no more.
	r.p.Set(func(p *providertest.Provider) { p.Forge = nil })
	r.p.Rotate()
	if _, err := r.logIn(); err != nil {
		t.Errorf("after a rotation of keys: %v", err)
	}
}

// Attack: OID-07
func TestGroupsInEveryForm(t *testing.T) {
	r := newRig(t)
	for what, c := range map[string]struct {
		claims map[string]any
		want   []string
	}{
		"a list":              {map[string]any{"groups": []any{"devs", "dbas"}}, []string{"group:dev", "group:dba"}},
		"none":                {map[string]any{}, nil},
		"empty":               {map[string]any{"groups": []any{}}, nil},
		"null":                {map[string]any{"groups": nil}, nil},
		"a string":            {map[string]any{"groups": "dbas"}, nil},
		"a number among them": {map[string]any{"groups": []any{"dbas", 7}}, nil},
		"a list in a list":    {map[string]any{"groups": []any{[]any{"dbas"}}}, nil},
		"an object":           {map[string]any{"groups": map[string]any{"dbas": true}}, nil},
		"our own word":        {map[string]any{"groups": []any{"group:dba", "DBAS", "dbas "}}, nil},
		"too many, elsewhere": {map[string]any{"_claim_names": map[string]any{"groups": "src1"}, "_claim_sources": map[string]any{"src1": map[string]any{"endpoint": "https://graph.example"}}}, nil},
		"elsewhere and here":  {map[string]any{"groups": []any{"dbas"}, "_claim_names": map[string]any{"groups": "src1"}, "_claim_sources": map[string]any{"src1": map[string]any{"endpoint": "https://graph.example"}}}, nil},
		"under another name":  {map[string]any{"roles": []any{"dbas"}, "Groups": []any{"dbas"}}, nil},
		"something elsewhere": {map[string]any{"groups": []any{"dbas"}, "_claim_names": map[string]any{"address": "src1"}, "_claim_sources": map[string]any{"src1": map[string]any{"endpoint": "https://graph.example"}}}, []string{"group:dba"}},
	} {
		r.p.Set(func(p *providertest.Provider) { p.Claims = c.claims })
		who, err := r.logIn()
		if err != nil || !slices.Equal(who.Groups, c.want) {
			t.Errorf("%s: %v, %v; want %v", what, who.Groups, err, c.want)
		}
	}
}

// Attack: OID-02
func TestNamesOfNewcomers(t *testing.T) {
	for what, c := range map[string]struct {
		provision *config.Provision
		claims    map[string]any
		want      string
	}{
		"not asked for":          {nil, map[string]any{"preferred_username": "ana"}, ""},
		"a name":                 {&config.Provision{Claim: "preferred_username"}, map[string]any{"preferred_username": "Ana"}, "user:ana"},
		"a letter like another":  {&config.Provision{Claim: "preferred_username"}, map[string]any{"preferred_username": "\u212aim"}, ""}, // KELVIN SIGN, a k in small letters
		"none":                   {&config.Provision{Claim: "preferred_username"}, map[string]any{}, ""},
		"of another form":        {&config.Provision{Claim: "preferred_username"}, map[string]any{"preferred_username": []any{"ana"}}, ""},
		"a mail address":         {&config.Provision{Claim: "email", Strip: "@example.com"}, map[string]any{"email": "ana@example.com", "email_verified": true}, "user:ana"},
		"not verified":           {&config.Provision{Claim: "email", Strip: "@example.com"}, map[string]any{"email": "ana@example.com"}, ""},
		"verified by a word":     {&config.Provision{Claim: "email", Strip: "@example.com"}, map[string]any{"email": "ana@example.com", "email_verified": "true"}, ""},
		"of another domain":      {&config.Provision{Claim: "email", Strip: "@example.com"}, map[string]any{"email": "ana@evil.example", "email_verified": true}, ""},
		"two domains":            {&config.Provision{Claim: "email", Strip: "@example.com"}, map[string]any{"email": "ana@evil@example.com", "email_verified": true}, ""},
		"nothing before the end": {&config.Provision{Claim: "email", Strip: "@example.com"}, map[string]any{"email": "@example.com", "email_verified": true}, ""},
	} {
		r := newRig(t, func(o *config.OIDC) { o.Provision = c.provision })
		r.p.Set(func(p *providertest.Provider) { p.Claims = c.claims })
		who, err := r.logIn()
		if err != nil || who.Provision != c.want {
			t.Errorf("%s: %q, %v; want %q", what, who.Provision, err, c.want)
		}
	}
}

// Invariant: A38
// Attack: OID-08
func TestAProviderThatIsAway(t *testing.T) {
	r := newRig(t)
	r.p.Set(func(p *providertest.Provider) { p.Away = true })
	if _, err := r.rp.Begin(context.Background(), "idp", "/"); !errors.Is(err, ErrAway) {
		t.Errorf("begun at a provider that is away: %v", err)
	}
	r.p.Set(func(p *providertest.Provider) { p.Away = false })
	if _, err := r.rp.Begin(context.Background(), "idp", "/"); !errors.Is(err, ErrAway) {
		t.Errorf("it was asked again at once, with all who wait in line: %v", err)
	}
	r.now = r.now.Add(awayFor)
	a, q := r.begin()
	r.p.Set(func(p *providertest.Provider) { p.Away = true })
	if p, err := r.finish("idp", q, a.Ticket); !errors.Is(err, ErrAway) || p.Subject != "" {
		t.Errorf("%+v, %v", p, err)
	}
	r.p.Set(func(p *providertest.Provider) { p.Away = false })
	if _, err := r.finish("idp", q, a.Ticket); err != nil {
		t.Errorf("when it is back, who waited may try again: %v", err)
	}
}

// Attack: OID-13
func TestProvidersInClearAreNotAsked(t *testing.T) {
	asked := false
	s := small{roundTripper(func(*http.Request) (*http.Response, error) { asked = true; return nil, os.ErrClosed })}
	for _, to := range []string{"http://id.example.com/", "http://10.0.0.1/", "http://localhost/"} {
		r, err := http.NewRequest(http.MethodGet, to, nil)
		if err != nil {
			t.Fatal(err)
		}
		if res, err := s.RoundTrip(r); err == nil || asked {
			_ = res.Body.Close()
			t.Errorf("%s was asked", to)
		}
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

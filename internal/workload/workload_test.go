package workload

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/config"
	"github.com/daypass/daypass/internal/workload/issuertest"
)

const ours = "https://daypass.example"

type claims = issuertest.Claims

const (
	byRepository = `claims.repository_id == "74" && claims.ref == "refs/heads/main"`
	byProject    = `claims.project_id == "20" && claims.ref_protected == "true"`
	byAccount    = `claims["kubernetes.io"].serviceaccount.uid == "14ee3fa4-a7e2-420f-9f9a-dbc4507c3798"`
)

// entry is the configuration of an issuer with rules: name, when, principal …
func entry(i *issuertest.Issuer, rules ...string) config.Workload {
	w := config.Workload{
		Issuer: i.URL, JWKS: config.JWKS{URL: i.JWKS, Every: 30 * time.Second}, Algorithms: []string{"RS256", "ES256"}, MaxAge: time.Hour, TokenTTL: 15 * time.Minute,
	}
	for n := 0; n < len(rules); n += 3 {
		w.Rules = append(w.Rules, config.WorkloadRule{Name: rules[n], When: rules[n+1], Principal: rules[n+2]})
	}
	return w
}

// world is an issuer that is listed, and the instant that it is.
type world struct {
	t *testing.T
	*issuertest.Issuer
	now time.Time
	all *Issuers
}

func listed(t *testing.T, change func(*world, *config.Workload)) *world {
	t.Helper()
	w := &world{t: t, Issuer: issuertest.New(t), now: time.Now()}
	e := entry(w.Issuer, "deploys", byRepository, "service:ci")
	if change != nil {
		change(w, &e)
	}
	w.list(e)
	return w
}

func (w *world) list(entries ...config.Workload) {
	w.t.Helper()
	var err error
	w.all, err = New(entries, Options{PublicURL: ours, Skew: 5 * time.Second, Now: func() time.Time { return w.now }})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) good(token string) *Proof {
	w.t.Helper()
	proof, err := w.all.Verify(context.Background(), token)
	if err != nil {
		w.t.Fatalf("a good token was refused: %v", err)
	}
	return proof
}

func (w *world) bad(what, token, why string) {
	w.t.Helper()
	proof, err := w.all.Verify(context.Background(), token)
	refusal, ok := errors.AsType[*Refusal](err)
	if proof != nil || !ok || refusal.Why != why {
		w.t.Errorf("%s: got %v and %v, want %q", what, proof, err, why)
	}
}

// Invariant: A22, A33
// Attack: OID-02
func TestATokenOfEachPlatformNamesItsRun(t *testing.T) {
	w := listed(t, func(_ *world, e *config.Workload) {
		e.Rules = append(e.Rules[:0],
			config.WorkloadRule{Name: "github", When: `has(claims.repository_id) && ` + byRepository, Principal: "service:github"},
			config.WorkloadRule{Name: "gitlab", When: `has(claims.project_id) && ` + byProject, Principal: "service:gitlab"},
			config.WorkloadRule{Name: "cluster", When: byAccount, Principal: "agent:cluster"})
	})
	for _, c := range []struct {
		claims            claims
		principal, rule   string
		claim, value, sub string
		words             string
	}{
		{w.GitHub(ours), "service:github", "github", "run_id", "7700123", "repo:acme/orders:ref:refs/heads/main", "GitHub Actions run 7700123 of acme/orders@refs/heads/main by acme/orders/.github/workflows/deploy.yml@refs/heads/main"},
		{w.GitLab(ours), "service:gitlab", "gitlab", "job_id", "302", "project_path:acme/orders:ref_type:branch:ref:main", "GitLab job 302 in pipeline 574 of acme/orders@main"},
		{w.Kubernetes(ours), "agent:cluster", "cluster", "kubernetes.io/pod/name", "runner-0", "system:serviceaccount:ci:deployer", "Kubernetes service account ci/deployer in Pod runner-0"},
	} {
		p := w.good(w.Token(c.claims))
		job := p.Workload
		if p.Principal != c.principal || job.Rule != c.rule || job.Issuer != w.URL || job.Subject != c.sub || job.Claims[c.claim] != c.value || p.TTL != 15*time.Minute {
			t.Errorf("%+v", p)
		}
		if got := Describe(&job); got != c.words {
			t.Errorf("%s is %q", c.rule, got)
		}
		if p.Ends.Unix() != c.claims["exp"] || p.IssuedAt.Unix() != c.claims["iat"] {
			t.Errorf("%s: it lasts from %s to %s", c.rule, p.IssuedAt, p.Ends)
		}
		for name := range job.Claims {
			if name == "actor" || name == "user_login" || name == "user_email" {
				t.Errorf("%s: the record would keep the name of a person: %s", c.rule, name)
			}
		}
	}
	if a, b := w.good(w.Token(w.GitHub(ours))), w.good(w.Token(w.GitHub(ours))); a.ID == b.ID {
		t.Error("two tokens have one ID")
	}
}

// Attack: TOK-01, TOK-11, TOK-12
func TestForgedTokensAreRefused(t *testing.T) {
	w := listed(t, nil)
	c := w.GitHub(ours)
	good := w.Token(c)
	w.good(good)
	public := issuertest.SetOf(w.RSA)
	other := issuertest.NewKey(t, "rsa-1", "RS256")
	part := strings.Split(good, ".")
	for what, forged := range map[string]struct{ token, why string }{
		"alg none":               {w.RSA.Sign(claims{"alg": "none"}, c), "the algorithm is not allowed"},
		"alg none, no signature": {part[0] + "." + part[1] + ".", "not base64url"},
		"HS256, the public key":  {issuertest.HMAC(claims{"alg": "HS256", "kid": "rsa-1", "typ": "JWT"}, c, public), "the algorithm is not allowed"},
		"another alg":            {w.RSA.Sign(claims{"alg": "RS512"}, c), "the algorithm is not allowed"},
		"alg of another key":     {w.RSA.Sign(claims{"alg": "ES256"}, c), "the algorithm is not that of the key"},
		"a number for alg":       {w.RSA.Sign(claims{"alg": 256}, c), "the header lacks a member"},
		"another's key":          {other.Sign(nil, c), "the signature does not hold"},
		"unknown kid":            {w.RSA.Sign(claims{"kid": "../../etc/passwd"}, c), "unknown kid"},
		"no kid":                 {w.RSA.Sign(claims{"kid": nil}, c), "the header lacks a member"},
		"a key of its own":       {other.Sign(claims{"jwk": other.JWK()}, c), "the header brings a key or an extension"},
		"a place for keys":       {other.Sign(claims{"jku": w.JWKS}, c), "the header brings a key or an extension"},
		"a certificate":          {other.Sign(claims{"x5c": []string{"MIIB"}}, c), "the header brings a key or an extension"},
		"an extension":           {w.RSA.Sign(claims{"crit": []string{"exp"}}, c), "the header brings a key or an extension"},
		"unencoded":              {w.RSA.Sign(claims{"b64": false}, c), "the header brings a key or an extension"},
		"another type":           {w.RSA.Sign(claims{"typ": "logout+jwt"}, c), "the header says another type of token"},
		"another payload":        {part[0] + "." + strings.Split(w.Token(c.With(claims{"repository_id": "75"})), ".")[1] + "." + part[2], "the signature does not hold"},
		"too long":               {w.Token(c.With(claims{"x": strings.Repeat("x", MaxToken)})), "the token is too long"},
		"a million dots":         {strings.Repeat(".", 8000), "not a compact JWS"},
		"JWE":                    {good + "..", "not a compact JWS"},
		"padding":                {good + "==", "not base64url"},
		"a line break":           {part[0] + ".\n" + part[1] + "." + part[2], "not base64url"},
		"empty":                  {"", "not a compact JWS"},
	} {
		w.bad(what, forged.token, forged.why)
	}
}

// Two readers of a claim that is there twice may see two tokens.
//
// Attack: TOK-07
func TestClaimsAreReadInOneWay(t *testing.T) {
	w := listed(t, nil)
	raw := func(payload string) string { return w.RSA.SignRaw(nil, []byte(payload)) }
	for what, payload := range map[string]string{
		"twice":            `{"iss":"` + w.URL + `","repository_id":"1","repository_id":"74"}`,
		"twice inside":     `{"iss":"` + w.URL + `","a":{"b":1,"b":2}}`,
		"twice by escapes": `{"iss":"` + w.URL + `","ref":"x","r\u0065f":"refs/heads/main"}`,
		"a list":           `["` + w.URL + `"]`,
		"null":             `null`,
		"two":              `{"iss":"` + w.URL + `"}{}`,
		"not UTF-8":        "{\"iss\":\"" + w.URL + "\",\"ref\":\"\xff\"}",
	} {
		w.bad(what, raw(payload), "the claims are no JSON object, or one occurs twice")
	}
	w.bad("a header twice", func() string {
		token := w.Token(w.GitHub(ours))
		_, rest, _ := strings.Cut(token, ".")
		return "eyJhbGciOiJub25lIiwiYWxnIjoiUlMyNTYiLCJraWQiOiJyc2EtMSJ9." + rest // {"alg":"none","alg":"RS256","kid":"rsa-1"}
	}(), "the header is no JSON object, or a member occurs twice")
}

// Invariant: A22
// Attack: OID-03, TOK-02, TOK-04, TOK-05, TOK-06
func TestWhatATokenMustSay(t *testing.T) {
	w := listed(t, nil)
	c := w.GitHub(ours)
	second := w.now.Unix()
	for what, made := range map[string]struct {
		more claims
		why  string
	}{
		"a foreign audience":       {claims{"aud": "https://sts.example"}, "the audience is not this server alone"},
		"the default of GitHub":    {claims{"aud": "https://github.com/acme"}, "the audience is not this server alone"},
		"an audience below":        {claims{"aud": ours + "/"}, "the audience is not this server alone"},
		"others too":               {claims{"aud": []string{ours, "https://sts.example"}}, "the audience is not this server alone"},
		"an empty list":            {claims{"aud": []string{}}, "the audience is not this server alone"},
		"no audience":              {claims{"aud": nil}, "the audience is not this server alone"},
		"an audience that is none": {claims{"aud": claims{ours: true}}, "the audience is not this server alone"},
		"another issuer":           {claims{"iss": "https://evil.example"}, "the issuer is not listed"},
		"an issuer with a slash":   {claims{"iss": w.URL + "/"}, "the issuer is not listed"},
		"no issuer":                {claims{"iss": nil}, "iss is missing or no text"},
		"a list of issuers":        {claims{"iss": []string{w.URL}}, "iss is missing or no text"},
		"no subject":               {claims{"sub": nil}, "sub is missing or no text"},
		"expired":                  {claims{"exp": second - 1}, "expired"},
		"at its end":               {claims{"exp": second}, "expired"},
		"no end":                   {claims{"exp": nil}, "iat or exp is missing"},
		"an end as text":           {claims{"exp": "9999999999"}, "a time is not in whole seconds"},
		"a fraction":               {claims{"exp": 1e9 + 0.5}, "a time is not in whole seconds"},
		"the end of time":          {claims{"exp": 1e18}, "a time is not in whole seconds"},
		"no start":                 {claims{"iat": nil}, "iat or exp is missing"},
		"a far future":             {claims{"iat": second + 6, "nbf": nil}, "not valid yet"},
		"not before":               {claims{"nbf": second + 6}, "not valid yet"},
		"old":                      {claims{"iat": second - 3605, "nbf": nil}, "older than max_age"},
		"a number for jti":         {claims{"jti": 7}, "jti is no text"},
		"an empty jti":             {claims{"jti": ""}, "jti is no text"},
	} {
		w.bad(what, w.Token(c.With(made.more)), made.why)
	}
	w.good(w.Token(c.With(claims{"iat": second + 5, "nbf": second + 5}))) // its clock is ahead a little
	w.good(w.Token(c.With(claims{"aud": []string{ours}})))
	w.now = time.Unix(c["exp"].(int64), 0)
	w.bad("there is no leeway at its end", w.Token(c), "expired")
}

// A token without a jti is known by what was signed, whatever form its
// signature has.
//
// Attack: TOK-07
func TestTheIDOfATokenIsThatOfItsContent(t *testing.T) {
	w := listed(t, nil)
	ec := issuertest.NewKey(t, "ec-1", "ES256")
	w.Keys(w.RSA, ec)
	c := w.GitHub(ours).With(claims{"jti": nil})
	one, two := w.good(ec.Sign(nil, c)), w.good(ec.Sign(nil, c)) // two signatures: ECDSA takes a random number
	if one.ID != two.ID {
		t.Error("another signature makes another token of it")
	}
	named := w.good(ec.Sign(nil, c.With(claims{"jti": "a"})))
	if again := w.good(w.RSA.Sign(nil, c.With(claims{"jti": "a", "sha": "other"}))); named.ID != again.ID || named.ID == one.ID {
		t.Error("the jti is not what names a token")
	}
}

// Attack: OID-03
func TestIssuersAreNotMixedUp(t *testing.T) {
	w := listed(t, nil)
	other := issuertest.New(t)
	key := issuertest.NewKey(t, "rsa-1", "RS256") // under the same name
	other.Keys(key)
	w.list(entry(w.Issuer, "deploys", byRepository, "service:ci"), entry(other, "others", `claims.repository_id == "9"`, "service:other"))
	w.good(w.Token(w.GitHub(ours)))
	w.bad("the key of another", key.Sign(nil, w.GitHub(ours)), "the signature does not hold")
	w.bad("the name of another", w.Token(w.GitHub(ours).With(claims{"iss": other.URL})), "the signature does not hold")
	w.bad("rules of another", key.Sign(nil, other.GitHub(ours)), "no rule matches")
}

func TestPinnedKeys(t *testing.T) {
	file := filepath.Join(t.TempDir(), "jwks.json")
	write := func(raw []byte) {
		if err := os.WriteFile(file, raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	key := issuertest.NewKey(t, "pinned", "EdDSA")
	write(issuertest.SetOf(key))
	w := listed(t, func(_ *world, e *config.Workload) {
		e.JWKS, e.Algorithms = config.JWKS{File: file}, []string{"EdDSA"}
	})
	w.good(key.Sign(nil, w.GitHub(ours)))
	w.bad("an unknown key", key.Sign(claims{"kid": "other"}, w.GitHub(ours)), "unknown kid")
	if w.Asked.Load() != 0 {
		t.Error("a key was fetched although they are pinned")
	}
	small := issuertest.NewKey(t, "small", "RS256", 1024)
	for what, raw := range map[string][]byte{
		"nothing":       {},
		"no set":        []byte(`{"kid":"a"}`),
		"no key":        []byte(`{"keys":[]}`),
		"a small key":   issuertest.SetOf(key, small),
		"two of a name": issuertest.SetOf(key, key),
		"a secret":      []byte(`{"keys":[{"kty":"oct","kid":"a","k":"c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}]}`),
		"a private key": []byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`),
		"no kid":        []byte(strings.Replace(string(issuertest.SetOf(key)), `"kid":"pinned",`, "", 1)),
		"too long":      append(issuertest.SetOf(key), make([]byte, maxKeySet)...),
	} {
		write(raw)
		if _, err := readKeys(file); err == nil {
			t.Errorf("%s is taken", what)
		}
	}
}

package workload

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/config"
	"github.com/daypass/daypass/internal/workload/issuertest"
)

// Whatever comes: no panic, and what is read is what encoding/json reads too.
//
// Attack: TOK-07, TOK-11
func FuzzToken(f *testing.F) {
	i := issuertest.New(f)
	for _, c := range []claims{i.GitHub(ours), i.GitLab(ours), i.Kubernetes(ours)} {
		f.Add(i.Token(c))
	}
	f.Add(i.RSA.SignRaw(nil, []byte(`{"iss":"a","iss":"b"}`)))
	f.Add(i.RSA.SignRaw(claims{"jwk": claims{}}, []byte(`{"iss":"a","exp":1e9,"iat":-1}`)))
	f.Add("..")
	now := time.Unix(1_800_000_000, 0)
	f.Fuzz(func(t *testing.T, token string) {
		parsed, err := parse(token)
		if err != nil {
			if _, ok := err.(*Refusal); !ok || parsed != nil {
				t.Fatalf("%v", err)
			}
			return
		}
		raw, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
		var second struct {
			Issuer string `json:"iss"`
		}
		if err != nil || json.Unmarshal(raw, &second) != nil && second.Issuer == "" {
			t.Fatalf("another reader does not read %q", raw)
		}
		if parsed.issuer == "" || parsed.kid == "" || parsed.alg == "" {
			t.Fatalf("%+v", parsed)
		}
		issued, ends, err := parsed.times(now, time.Second, time.Hour)
		if err == nil && (!issued.Before(ends) || !now.Before(ends) || issued.After(now.Add(time.Second))) {
			t.Fatalf("from %s to %s", issued, ends)
		}
		_, _ = parsed.id()
		_ = parsed.isFor(ours)
		_ = recorded(parsed.claims, nil)
	})
}

// No key set makes it panic, and what it takes are public keys of a name.
//
// Attack: TOK-01
func FuzzKeySet(f *testing.F) {
	f.Add(issuertest.SetOf(issuertest.NewKey(f, "a", "EdDSA"), issuertest.NewKey(f, "b", "ES256")))
	f.Add([]byte(`{"keys":[{"kty":"oct","kid":"a","k":"AAAA"},{"kty":"RSA","kid":"b","n":"AQAB","e":"AQAB"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","kid":"c","x":"AA","y":"AA"}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		keys, _, err := parseKeys(raw)
		if (err == nil) != (len(keys) > 0) {
			t.Fatalf("%d keys and %v", len(keys), err)
		}
		for kid, k := range keys {
			if kid == "" || k.signs("HS256") || k.signs("none") {
				t.Fatalf("%q", kid)
			}
		}
	})
}

// Conditions that compile are evaluated on any claims without a panic.
func FuzzRule(f *testing.F) {
	f.Add(byRepository, `{"repository_id":"74","ref":"refs/heads/main"}`)
	f.Add(byAccount, `{"kubernetes.io":{"serviceaccount":{"uid":1}}}`)
	f.Add(`claims.x.all(y, y > 1)`, `{"x":[1,2]}`)
	env, err := environment()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, when, text string) {
		program, _, err := compile(env, when)
		var c map[string]any
		if err != nil || json.Unmarshal([]byte(text), &c) != nil {
			return
		}
		r := rule{WorkloadRule: config.WorkloadRule{Name: "r"}, program: program}
		if _, err := r.holds(c); err != nil && strings.Contains(err.Error(), "panicked") {
			t.Fatal(err)
		}
	})
}

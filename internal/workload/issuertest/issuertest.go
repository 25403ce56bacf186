// Package issuertest is, for tests, a platform that signs tokens for jobs: its
// keys behind a URL, and claims in the shape of GitHub Actions, GitLab and
// Kubernetes.
//
// It refuses to use the code that is tested: tokens are put together here.
package issuertest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Claims are those of one token.
type Claims map[string]any

// With is c with other claims in place of its own; a nil one is left out.
func (c Claims) With(more Claims) Claims {
	out := maps.Clone(c)
	for k, v := range more {
		if v == nil {
			delete(out, k)
		} else {
			out[k] = v
		}
	}
	return out
}

// Key is a signing key under a name.
type Key struct {
	ID, Alg string
	signer  crypto.Signer
}

// Issuer is one platform.
type Issuer struct {
	URL   string // of it, and the iss of its tokens
	JWKS  string // URL of its keys
	RSA   Key
	Asked atomic.Int64 // how often the keys were fetched

	mu   sync.Mutex
	keys []Key
	// Serve answers in place of the keys, where it is set.
	serve http.HandlerFunc
	next  atomic.Int64
}

// rsaKeys are made once for a test binary, as it takes a while: issuers that
// are started one after the other have different ones.
var (
	rsaKeys = [4]func() *rsa.PrivateKey{sync.OnceValue(newRSA), sync.OnceValue(newRSA), sync.OnceValue(newRSA), sync.OnceValue(newRSA)}
	started atomic.Int64
)

func newRSA() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
}

// New starts an issuer with one RSA key.
func New(t testing.TB) *Issuer {
	t.Helper()
	i := &Issuer{RSA: Key{ID: "rsa-1", Alg: "RS256", signer: rsaKeys[started.Add(1)%4]()}}
	i.keys = []Key{i.RSA}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.Asked.Add(1)
		i.mu.Lock()
		serve := i.serve
		i.mu.Unlock()
		if serve != nil {
			serve(w, r)
			return
		}
		_, _ = w.Write(i.Set())
	}))
	t.Cleanup(s.Close)
	i.URL, i.JWKS = s.URL, s.URL+"/jwks"
	return i
}

// Keys replaces the keys that the issuer shows.
func (i *Issuer) Keys(keys ...Key) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = keys
}

// Serve answers requests for the keys from now on; nil: as before.
func (i *Issuer) Serve(h http.HandlerFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.serve = h
}

// Set is the JWK Set.
func (i *Issuer) Set() []byte {
	i.mu.Lock()
	defer i.mu.Unlock()
	return SetOf(i.keys...)
}

// SetOf is the JWK Set of keys.
func SetOf(keys ...Key) []byte {
	list := []any{}
	for _, k := range keys {
		list = append(list, k.JWK())
	}
	raw, err := json.Marshal(map[string]any{"keys": list})
	if err != nil {
		panic(err)
	}
	return raw
}

// JWK is the public key as RFC 7517 writes it.
func (k Key) JWK() map[string]any {
	out := map[string]any{"kid": k.ID, "use": "sig", "alg": k.Alg}
	switch public := k.signer.Public().(type) {
	case *rsa.PublicKey:
		out["kty"], out["n"], out["e"] = "RSA", b64(public.N.Bytes()), b64(big.NewInt(int64(public.E)).Bytes())
	case *ecdsa.PublicKey:
		raw, err := public.Bytes()
		if err != nil {
			panic(err)
		}
		out["kty"], out["crv"], out["x"], out["y"] = "EC", "P-256", b64(raw[1:33]), b64(raw[33:])
	case ed25519.PublicKey:
		out["kty"], out["crv"], out["x"] = "OKP", "Ed25519", b64(public)
	}
	return out
}

// NewKey makes a key for alg: ES256, EdDSA, or RS256 (of bits).
func NewKey(t testing.TB, id, alg string, bits ...int) Key {
	t.Helper()
	k := Key{ID: id, Alg: alg}
	var err error
	switch alg {
	case "ES256":
		k.signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "EdDSA":
		_, k.signer, err = ed25519.GenerateKey(rand.Reader)
	default:
		size := 2048
		if len(bits) > 0 {
			size = bits[0]
		}
		k.signer, err = rsa.GenerateKey(rand.Reader, size)
	}
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// Token signs claims with the issuer's RSA key.
func (i *Issuer) Token(c Claims) string { return i.RSA.Sign(nil, c) }

// Sign signs claims; header replaces and adds members of the header.
func (k Key) Sign(header Claims, c any) string {
	payload, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	return k.SignRaw(header, payload)
}

// SignRaw signs any payload.
func (k Key) SignRaw(header Claims, payload []byte) string {
	head, err := json.Marshal(Claims{"alg": k.Alg, "kid": k.ID, "typ": "JWT"}.With(header))
	if err != nil {
		panic(err)
	}
	text := b64(head) + "." + b64(payload)
	return text + "." + b64(k.sign([]byte(text)))
}

func (k Key) sign(text []byte) []byte {
	sum := sha256.Sum256(text)
	switch key := k.signer.(type) {
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
		if err != nil {
			panic(err)
		}
		return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	case ed25519.PrivateKey:
		return ed25519.Sign(key, text)
	}
	sig, err := k.signer.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		panic(err)
	}
	return sig
}

// HMAC is a token with the given header and claims, signed with a secret: what
// somebody makes who takes a public key for one.
func HMAC(header Claims, c any, secret []byte) string {
	head, err := json.Marshal(header)
	if err != nil {
		panic(err)
	}
	payload, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	text := b64(head) + "." + b64(payload)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(text))
	return text + "." + b64(mac.Sum(nil))
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// base are the claims that all have. Each call is another token.
func (i *Issuer) base(audience, subject string, life time.Duration) Claims {
	now := time.Now()
	return Claims{
		"iss": i.URL, "aud": audience, "sub": subject, "jti": fmt.Sprintf("%d-%d", now.UnixNano(), i.next.Add(1)),
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(life).Unix(),
	}
}

// GitHub are claims as GitHub Actions makes them.
// https://docs.github.com/en/actions/reference/security/oidc
func (i *Issuer) GitHub(audience string) Claims {
	return i.base(audience, "repo:acme/orders:ref:refs/heads/main", 5*time.Minute).With(Claims{
		"ref": "refs/heads/main", "sha": "3f2a1b4c5d6e7f8091a2b3c4d5e6f708192a3b4c", "repository": "acme/orders", "repository_owner": "acme",
		"repository_id": "74", "repository_owner_id": "65", "repository_visibility": "private", "run_id": "7700123", "run_number": "10", "run_attempt": "2",
		"actor": "octocat", "actor_id": "12", "workflow": "deploy", "head_ref": "", "base_ref": "", "event_name": "push", "ref_type": "branch", "ref_protected": "true",
		"job_workflow_ref": "acme/orders/.github/workflows/deploy.yml@refs/heads/main", "runner_environment": "github-hosted",
	})
}

// GitLab are claims as GitLab makes them.
// https://docs.gitlab.com/ci/secrets/id_token_authentication/
func (i *Issuer) GitLab(audience string) Claims {
	return i.base(audience, "project_path:acme/orders:ref_type:branch:ref:main", time.Hour).With(Claims{
		"namespace_id": "72", "namespace_path": "acme", "project_id": "20", "project_path": "acme/orders", "user_id": "1", "user_login": "sample-user",
		"user_email": "sample-user@example.com", "pipeline_id": "574", "pipeline_source": "push", "job_id": "302", "ref": "main", "ref_type": "branch",
		"ref_path": "refs/heads/main", "ref_protected": "true", "environment": "production", "environment_protected": "false", "runner_id": 1,
		"runner_environment": "self-hosted", "sha": "714a629c0b401fdce83e847fc9589983fc6f46bc", "ci_config_ref_uri": "gitlab.example.com/acme/orders//.gitlab-ci.yml@refs/heads/main",
	})
}

// Kubernetes are claims of a projected service account token.
// https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/
func (i *Issuer) Kubernetes(audience string) Claims {
	c := i.base(audience, "system:serviceaccount:ci:deployer", time.Hour)
	c["aud"] = []string{audience}
	return c.With(Claims{"kubernetes.io": map[string]any{
		"namespace": "ci", "node": map[string]any{"name": "node-1", "uid": "646e7c5e-32d6-4d42-9dbd-e504e6cbe6b1"},
		"pod":            map[string]any{"name": "runner-0", "uid": "5e0bd49b-f040-43b0-99b7-22765a53f7f3"},
		"serviceaccount": map[string]any{"name": "deployer", "uid": "14ee3fa4-a7e2-420f-9f9a-dbc4507c3798"},
	}})
}

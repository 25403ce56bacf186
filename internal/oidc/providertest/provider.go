// Package providertest is an identity provider for tests: it signs what it is
// told to, also what no honest one would.
//
// It refuses a code that it has not given, one that was used, and a PKCE
// verifier that does not fit, as a real one does.
package providertest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Client and Secret are those of the one client that it knows.
const (
	Client = "daypass"
	Secret = "a secret of the client"
)

// Provider is a running one. Its fields may be changed between logins.
type Provider struct {
	URL string
	Now func() time.Time

	mu      sync.Mutex
	Subject string
	Claims  map[string]any              // of the ID token, beside what it must have
	Change  func(map[string]any)        // of all claims, before they are signed
	Answer  func(url.Values)            // of what the browser brings back
	Forge   func(payload []byte) string // in place of signing
	Away    bool                        // answers nothing but 503
	SaysIss bool                        // promises iss in its answers (RFC 9207), and sends it
	Tokens  int                         // asked for

	key   *ecdsa.PrivateKey
	kid   int
	codes map[string]url.Values
}

// New starts one.
func New(t testing.TB) *Provider {
	p := &Provider{Now: time.Now, Subject: "ana-1", SaysIss: true, codes: map[string]url.Values{}}
	p.Rotate()
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", p.discovery)
	mux.HandleFunc("/keys", p.keys)
	mux.HandleFunc("/authorize", p.authorize)
	mux.HandleFunc("/token", p.token)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.Away {
			http.Error(w, "away", http.StatusServiceUnavailable)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	p.URL = server.URL
	return p
}

// Set changes it while nobody logs in.
func (p *Provider) Set(change func(*Provider)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(p)
}

// Rotate has it sign with a new key, and forget the old one.
func (p *Provider) Rotate() {
	p.mu.Lock()
	defer p.mu.Unlock()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	p.key = key
	p.kid++
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func (p *Provider) discovery(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]any{
		"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/keys",
		"id_token_signing_alg_values_supported": []string{"ES256", "HS256", "none"}, "authorization_response_iss_parameter_supported": p.SaysIss,
		"response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"}, "code_challenge_methods_supported": []string{"S256"},
	})
}

func (p *Provider) keys(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &p.key.PublicKey, KeyID: strconv.Itoa(p.kid), Algorithm: "ES256", Use: "sig"}}})
}

// authorize lets whoever comes in as Subject, at once.
func (p *Provider) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	code := rand.Text()
	p.codes[code] = q
	back := url.Values{"code": {code}, "state": {q.Get("state")}}
	if p.SaysIss {
		back.Set("iss", p.URL)
	}
	if p.Answer != nil {
		p.Answer(back)
	}
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+back.Encode(), http.StatusFound)
}

func (p *Provider) token(w http.ResponseWriter, r *http.Request) {
	p.Tokens++
	id, secret, _ := r.BasicAuth()
	asked, known := p.codes[r.PostFormValue("code")]
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	unescaped, err := url.QueryUnescape(secret)
	switch {
	case err != nil, id != Client, unescaped != Secret:
		answer(w, http.StatusUnauthorized, map[string]string{"error": "invalid_client"})
		return
	case !known, asked.Get("code_challenge_method") != "S256", asked.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(sum[:]),
		asked.Get("redirect_uri") != r.PostFormValue("redirect_uri"):
		answer(w, http.StatusBadRequest, map[string]string{"error": "invalid_grant"})
		return
	}
	delete(p.codes, r.PostFormValue("code"))
	claims := map[string]any{"iss": p.URL, "sub": p.Subject, "aud": Client, "iat": p.Now().Unix(), "exp": p.Now().Add(time.Minute).Unix(), "nonce": asked.Get("nonce")}
	maps.Copy(claims, p.Claims)
	if p.Change != nil {
		p.Change(claims)
	}
	answer(w, http.StatusOK, map[string]any{"access_token": "x", "token_type": "Bearer", "id_token": p.sign(claims)})
}

func (p *Provider) sign(claims map[string]any) string {
	raw, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	if p.Forge != nil {
		return p.Forge(raw)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: p.key, KeyID: strconv.Itoa(p.kid)}}, nil)
	if err != nil {
		panic(err)
	}
	signed, err := signer.Sign(raw)
	if err != nil {
		panic(err)
	}
	out, err := signed.CompactSerialize()
	if err != nil {
		panic(err)
	}
	return out
}

package forward_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/forward"
	"github.com/daypass/daypass/internal/gateway"
	"github.com/daypass/daypass/internal/live"
	"github.com/daypass/daypass/internal/policy"
	httpkind "github.com/daypass/daypass/internal/resource/http"
)

const catalog = `
principals:
  - {id: user:ana, groups: [group:dev, group:sre]}
  - {id: user:bo}
resources:
  - id: orders
    kind: http
    http: {upstream: "http://127.0.0.1:9"}
    roles:
      read: {methods: [GET, HEAD], paths: ["/v1/orders/**"]}
      all: {methods: [GET, HEAD, POST], paths: ["/**"]}
  - {id: other, kind: http, free_scope: true, http: {upstream: "http://127.0.0.1:9"}}
  - {id: "off", kind: http, free_scope: true, disabled: true, http: {upstream: "http://127.0.0.1:9"}}
policy: {rules: []}
`

// record keeps what was recorded.
type record struct {
	mu      sync.Mutex
	entries []*audit.Entry
	counted map[string]int
	fail    error
}

func (r *record) Record(_ context.Context, e *audit.Entry, _ string, _ bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries = append(r.entries, e)
	return r.fail
}

func (r *record) CountDenied(_, channel, what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counted[channel+" "+what]++
}

type site struct {
	t     testing.TB
	h     http.Handler
	rec   *record
	index *live.Index
	now   time.Time
	token string
	end   time.Time
}

const (
	edge  = "the-secret-of-the-edge-proxy-0123456789"
	later = "the-next-secret-of-the-edge-proxy-987654"
	named = "the-secret-of-the-proxy-that-names-them"
	small = "the-secret-of-the-proxy-of-one-resource"
)

func newSite(t testing.TB, more ...forward.Proxy) *site {
	t.Helper()
	cat, err := policy.Parse([]byte(catalog), []policy.Kind{httpkind.Kind{}})
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, rec: &record{counted: map[string]int{}}, now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	now := func() time.Time { return s.now }
	s.index = live.New(now)
	guard := gateway.New(s.index, s.rec, now, false)
	s.end = s.now.Add(time.Hour)
	secret, hash := credential.NewToken(credential.GrantToken)
	s.token = secret.Reveal()
	s.index.Put(live.Grant{ID: "grt_1", Request: "req_1", Principal: "user:ana", Resource: "orders", Incarnation: "i", Kind: "http",
		Scope: []byte(`{"methods":["GET","HEAD"],"paths":["/v1/orders/**"]}`), StartsAt: s.now}, s.end)
	s.index.PutCredential(live.Credential{Hash: live.Hash(hash), ID: "jti", Grant: "grt_1", Kind: live.KindToken})
	proxy := func(name string, header bool, resources []string, secrets ...string) forward.Proxy {
		var all []credential.Secret
		for _, text := range secrets {
			all = append(all, credential.NewSecret(text))
		}
		p, err := forward.NewProxy(name, all, nil)
		if err != nil {
			t.Fatal(err)
		}
		p.Header, p.Resources = header, resources
		return p
	}
	s.h = forward.New(forward.Deps{
		Check: guard.Check, CountDenied: guard.CountDenied, Catalog: func() *policy.Catalog { return cat }, Incarnation: func(string) string { return "i" },
		Assertion: func(g *live.Grant) (string, error) { return "signed." + g.ID, nil }, Now: now, PeerIP: func(*http.Request) string { return "192.0.2.1" },
		Proxies: append(more, proxy("edge", false, nil, edge, later), proxy("named", true, nil, named), proxy("small", false, []string{"other"}, small)),
		Domain:  "apps.example.com", PublicURL: "https://daypass.example",
	})
	return s
}

// call is one question. header holds pairs; a name that comes again is sent again.
func (s *site) call(method, target string, header ...string) *http.Response {
	s.t.Helper()
	r := httptest.NewRequest("GET", "/", nil)
	r.Method, r.RequestURI = method, target // as they came over the wire
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
			continue
		}
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.h.ServeHTTP(w, r)
	res := w.Result()
	if res.Header.Get("Cache-Control") != "no-store" {
		s.t.Errorf("%s: Cache-Control %q", target, res.Header.Get("Cache-Control"))
	}
	return res
}

// The same request as each family of proxies puts it.
var families = map[string]func(s *site, method, target, host string, more ...string) *http.Response{
	"nginx": func(s *site, method, target, host string, more ...string) *http.Response {
		return s.call("GET", "/authz/nginx", append(more, "X-Original-Method", method, "X-Original-URI", target, "X-Original-Host", host)...)
	},
	"forward": func(s *site, method, target, host string, more ...string) *http.Response {
		return s.call("GET", "/authz/forward", append(more, "X-Forwarded-Method", method, "X-Forwarded-Uri", target, "X-Forwarded-Host", host)...)
	},
	"envoy": func(s *site, method, target, host string, more ...string) *http.Response {
		return s.call(method, "/authz/envoy"+target, append(more, "Host", host)...)
	},
}

func (s *site) bearer(more ...string) []string {
	return append([]string{"Daypass-Proxy-Secret", edge, "Authorization", "Bearer " + s.token}, more...)
}

const host = "orders.apps.example.com"

// Yes is 200 with all headers of who it is; no is 401 or 403, and never anything
// that a proxy could take for yes.
//
// Invariant: A1, A25, A26, A28
// Attack: FWD-02, FWD-03, FWD-04, FWD-05, FWD-06, FWD-11
func TestEachDialect(t *testing.T) {
	for name, ask := range families {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			res := ask(s, "GET", "/v1/orders/7?x=1&y=%2F", host, s.bearer("Remote-User", "user:root", "Daypass-Subject", "user:root", "Remote_User", "user:root")...)
			if res.StatusCode != 200 {
				b, _ := io.ReadAll(res.Body)
				t.Fatalf("%d %s", res.StatusCode, b)
			}
			want := []string{"user:ana", "group:dev,group:sre", "user:ana", "req_1", "grt_1", "2026-11-23T13:00:00.000Z", "signed.grt_1"}
			for i, h := range forward.IdentityHeaders {
				if got := res.Header[http.CanonicalHeaderKey(h)]; len(got) != 1 || got[0] != want[i] {
					t.Errorf("%s: %q", h, got)
				}
			}
			if name == "envoy" && res.Header.Get("X-Envoy-Auth-Headers-To-Remove") != "authorization" {
				t.Error("Envoy passes the token on")
			}
			for _, c := range []struct {
				method, target string
				status         int
			}{
				{"GET", "/v1/orders", 200}, {"HEAD", "/v1/orders/7", 200}, {"GET", "/v1/orders/%C3%A9", 200},
				{"POST", "/v1/orders/7", 403}, {"OPTIONS", "/v1/orders/7", 403}, {"TRACE", "/v1/orders/7", 403}, {"PROPFIND", "/v1/orders/7", 403}, {"get", "/v1/orders/7", 403},
				{"GET", "/v1/customers", 403}, {"GET", "/", 403}, {"GET", "/admin?x=/v1/orders/7", 403},
				{"GET", "/v1/orders/../customers", 403}, {"GET", "/v1/orders/%2e%2e/customers", 403}, {"GET", "/v1/orders/..%2fcustomers", 403}, {"GET", "/v1/orders/%2E%2E%2Fcustomers", 403},
				{"GET", "//v1/orders/7", 403}, {"GET", "/v1//orders/7", 403}, {"GET", "/v1/orders/./7", 403}, {"GET", "/v1/orders;x=1/7", 403}, {"GET", "/v1/orders/%5c7", 403}, {"GET", `/v1/orders/\7`, 403},
				{"GET", "/v1/orders/%00", 403}, {"GET", "/v1/orders/%252e%252e/x", 403}, {"GET", "/v1/orders/7#/../admin", 403}, {"GET", "/v1/orders/%237", 200}, {"GET", "/v1/%6frders/7", 403}, {"GET", "/v1/orders/%c3%a9", 403},
				{"GET", "/v1/orders/7?a=1;b=2", 403}, {"GET", "/v1/orders/7?t=" + s.token, 403}, {"GET", "/v1/orders/7?" + strings.Repeat("a&", 10_001), 403},
				{"GET", "/v1/orders/" + strings.Repeat("x", 9000), 403},
			} {
				res := ask(s, c.method, c.target, host, s.bearer()...)
				if res.StatusCode != c.status {
					t.Errorf("%s %.60s: %d, want %d", c.method, c.target, res.StatusCode, c.status)
				}
				if c.status != 200 && (res.Header.Get("Remote-User") != "" || res.Header.Get("Daypass-Request-Url") == "") {
					t.Errorf("%s %.60s: %v", c.method, c.target, res.Header)
				}
			}
			// At the instant of the end it is over.
			s.now = s.end.Add(-time.Millisecond)
			if ask(s, "GET", "/v1/orders/7", host, s.bearer()...).StatusCode != 200 {
				t.Error("no in the last millisecond")
			}
			s.now = s.end
			res = ask(s, "GET", "/v1/orders/7", host, s.bearer()...)
			if res.StatusCode != 401 || !strings.Contains(res.Header.Get("WWW-Authenticate"), `error="invalid_token", error_description="the grant ended at 2026-11-23T13:00:00.000Z; ask again"`) {
				t.Errorf("%d %v", res.StatusCode, res.Header)
			}
		})
	}
}

// Attack: FWD-07
func TestWithoutAGoodToken(t *testing.T) {
	for name, ask := range families {
		s := newSite(t)
		proven := []string{"Daypass-Proxy-Secret", edge}
		res := ask(s, "GET", "/v1/orders/7", host, proven...)
		if res.StatusCode != 401 || res.Header.Get("WWW-Authenticate") != `Bearer realm="daypass"` || res.Header.Get("Link") != `<https://daypass.example/request?resource=orders&role=read>; rel="request-access"` || res.Header.Get("Daypass-Request-Url") != "https://daypass.example/request?resource=orders&role=read" {
			t.Errorf("%s: %d %v", name, res.StatusCode, res.Header)
		}
		var p api.Problem
		if err := json.NewDecoder(res.Body).Decode(&p); err != nil || p.Code != "unauthenticated" || p.Status != 401 {
			t.Errorf("%s: %+v", name, p)
		}
		other, _ := credential.NewToken(credential.GrantToken)
		for _, auth := range []string{"", "Bearer", "Bearer x", "Basic " + s.token, "Bearer " + other.Reveal(), "Bearer " + s.token + "x", "Bearer dpat_" + s.token[5:], s.token} {
			if res := ask(s, "GET", "/v1/orders/7", host, append(proven, "Authorization", auth)...); res.StatusCode != 401 {
				t.Errorf("%s: %q: %d", name, auth, res.StatusCode)
			}
		}
		if res := ask(s, "GET", "/v1/orders/7", host, s.bearer("Authorization", "Bearer "+s.token)...); res.StatusCode != 401 {
			t.Errorf("%s: two Authorization headers: %d", name, res.StatusCode)
		}
		cookies := append([]string{}, proven...)
		for range 1000 {
			cookies = append(cookies, "Cookie", "__Host-daypass="+s.token)
		}
		if res := ask(s, "GET", "/v1/orders/7", host, cookies...); res.StatusCode != 401 {
			t.Errorf("%s: cookies: %d", name, res.StatusCode)
		}
		// A health checker is nobody special.
		if res := ask(s, "GET", "/healthz", host, append(proven, "User-Agent", "kube-probe/1.30")...); res.StatusCode != 401 {
			t.Errorf("%s: a probe: %d", name, res.StatusCode)
		}
	}
}

// Who has not proven to be a proxy is told nothing, whatever else they send.
//
// Attack: FWD-10, FWD-12
func TestOnlyAProxyMayAsk(t *testing.T) {
	for name, ask := range families {
		s := newSite(t)
		token := []string{"Authorization", "Bearer " + s.token}
		for _, secret := range []string{"", edge + "x", edge[1:], strings.ToUpper(edge), edge + "," + edge} {
			if res := ask(s, "GET", "/v1/orders/7", host, append(token, "Daypass-Proxy-Secret", secret)...); res.StatusCode != 403 || res.Header.Get("Daypass-Request-Url") != "" {
				t.Errorf("%s: %q: %d", name, secret, res.StatusCode)
			}
		}
		if ask(s, "GET", "/v1/orders/7", host, token...).StatusCode != 403 || ask(s, "GET", "/v1/orders/7", host, s.bearer("Daypass-Proxy-Secret", edge)...).StatusCode != 403 {
			t.Errorf("%s: allowed without a secret, or with two", name)
		}
		if len(s.rec.entries) != 0 || s.rec.counted["gateway:forward unknown_proxy"] != 7 {
			t.Errorf("%s: %v", name, s.rec.counted)
		}
		if ask(s, "GET", "/v1/orders/7", host, append(token, "Daypass-Proxy-Secret", later)...).StatusCode != 200 {
			t.Errorf("%s: the next secret is not taken", name)
		}
	}
	for _, few := range []string{"", "short"} {
		if _, err := forward.NewProxy("p", []credential.Secret{credential.NewSecret(few)}, nil); err == nil {
			t.Errorf("%q is taken for a secret", few)
		}
	}
	if _, err := forward.NewProxy("p", nil, nil); err == nil {
		t.Error("a proxy without a proof is taken")
	}
}

// A client certificate proves a proxy as well: that one, while it is valid.
//
// Attack: FWD-10
func TestAClientCertificate(t *testing.T) {
	when := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	mine := &x509.Certificate{Raw: []byte("mine"), NotBefore: when.Add(-time.Hour), NotAfter: when.Add(30 * time.Minute)}
	p, err := forward.NewProxy("mtls", nil, []*x509.Certificate{mine})
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, p)
	ask := func(shown ...*x509.Certificate) int {
		r := httptest.NewRequest("GET", "/authz/nginx", nil)
		for k, v := range map[string]string{"X-Original-Method": "GET", "X-Original-Uri": "/v1/orders/7", "X-Original-Host": host, "Authorization": "Bearer " + s.token} {
			r.Header.Set(k, v)
		}
		r.TLS = &tls.ConnectionState{PeerCertificates: shown}
		w := httptest.NewRecorder()
		s.h.ServeHTTP(w, r)
		return w.Code
	}
	other := &x509.Certificate{Raw: []byte("other"), NotBefore: mine.NotBefore, NotAfter: mine.NotAfter}
	if ask(mine) != 200 || ask() != 403 || ask(other) != 403 || ask(other, mine) != 403 {
		t.Error("the wrong certificate is taken")
	}
	s.now = mine.NotAfter.Add(time.Second)
	if ask(mine) != 403 {
		t.Error("an old certificate is taken")
	}
}

// Each path reads its own headers alone; a client can send the others through
// any proxy. The query of our own URL says nothing.
//
// Attack: FWD-01, FWD-09, FWD-14
func TestHeadersOfOtherDialects(t *testing.T) {
	forged := map[string][]string{
		"nginx":   {"X-Forwarded-Uri", "/v1/orders/7", "X-Forwarded-Method", "GET", "X-Forwarded-Host", host},
		"forward": {"X-Original-URI", "/v1/orders/7", "X-Original-Method", "GET", "X-Original-Host", host},
		"envoy":   {"X-Original-URI", "/v1/orders/7", "X-Forwarded-Uri", "/v1/orders/7", "X-Envoy-Original-Path", "/v1/orders/7"},
	}
	for name, ask := range families {
		s := newSite(t)
		lies := append(s.bearer("X-Rewrite-URL", "/v1/orders/7", "X-Forwarded-Prefix", "/v1", "X-Forwarded-Proto", "https", "X-Forwarded-Port", "1", "X-Forwarded-For", "127.0.0.1", "Forwarded", "host="+host,
			"X-HTTP-Method-Override", "GET", "Daypass-Resource", "orders"), forged[name]...)
		if res := ask(s, "GET", "/admin", host, lies...); res.StatusCode != 403 {
			t.Errorf("%s: %d", name, res.StatusCode)
		}
		if res := ask(s, "DELETE", "/v1/orders/7", host, lies...); res.StatusCode != 403 {
			t.Errorf("%s: %d", name, res.StatusCode)
		}
		// The host decides, and Daypass-Resource says nothing where it does.
		for _, h := range []string{"other.apps.example.com", "evil.example", "apps.example.com", "orders.apps.example.com.evil.example", "x.orders.apps.example.com", "orders", "off.apps.example.com"} {
			if res := ask(s, "GET", "/v1/orders/7", h, lies...); res.StatusCode == 200 {
				t.Errorf("%s: %s is allowed", name, h)
			}
		}
		for _, h := range []string{"ORDERS.apps.example.com", "orders.apps.example.com.", "orders.apps.example.com:8443"} {
			if res := ask(s, "GET", "/v1/orders/7", h, lies...); res.StatusCode != 200 {
				t.Errorf("%s: %s: %d", name, h, res.StatusCode)
			}
		}
		for _, e := range s.rec.entries {
			if e.Source.IP != "192.0.2.1" {
				t.Errorf("%s: the source is %s", name, e.Source.IP)
			}
		}
	}
	s := newSite(t)
	nginx := []string{"X-Original-Method", "GET", "X-Original-URI", "/admin", "X-Original-Host", host}
	if res := s.call("GET", "/authz/nginx?uri=/v1/orders/7", s.bearer(nginx...)...); res.StatusCode != 403 {
		t.Errorf("the query is read: %d", res.StatusCode)
	}
	nginx[3] = "/v1/orders/7"
	if res := s.call("GET", "/authz/nginx?q=1;%zz", s.bearer(nginx...)...); res.StatusCode != 200 {
		t.Errorf("the query is read: %d", res.StatusCode)
	}
	for i := range 3 { // twice the same header, or not at all
		twice := append([]string{nginx[2*i], nginx[2*i+1]}, nginx...)
		less := append(append([]string{}, nginx[:2*i]...), nginx[2*i+2:]...)
		if s.call("GET", "/authz/nginx", s.bearer(twice...)...).StatusCode != 403 || s.call("GET", "/authz/nginx", s.bearer(less...)...).StatusCode != 403 {
			t.Errorf("%s twice, or never, is allowed", nginx[2*i])
		}
	}
	for _, path := range []string{"/authz/", "/authz/caddy", "/authz/nginx/", "/authz/nginx/x", "/authz/forward/v1/orders/7", "/authz/envoy", "/authz/envoy?x=/v1", "/authz/envoyx/v1/orders/7", "/authz/%6eginx", "*", ""} {
		if got := s.call("GET", path, s.bearer(append(nginx, "Host", host)...)...).StatusCode; got != 404 {
			t.Errorf("%q: %d", path, got)
		}
	}
}

// A proxy asks about its own resources, and names them where it is configured
// to.
//
// Attack: FWD-09, FWD-10
func TestWhichResource(t *testing.T) {
	for name, ask := range families {
		s := newSite(t)
		token := []string{"Authorization", "Bearer " + s.token}
		if res := ask(s, "GET", "/v1/orders/7", host, append(token, "Daypass-Proxy-Secret", small)...); res.StatusCode != 403 {
			t.Errorf("%s: a proxy of another resource: %d", name, res.StatusCode)
		}
		by := []string{"Authorization", "Bearer " + s.token, "Daypass-Proxy-Secret", named}
		if res := ask(s, "GET", "/v1/orders/7", "www.example.com", append(by, "Daypass-Resource", "orders")...); res.StatusCode != 200 {
			t.Errorf("%s: %d", name, res.StatusCode)
		}
		for _, more := range [][]string{nil, {"Daypass-Resource", "other"}, {"Daypass-Resource", "nothing"}, {"Daypass-Resource", "orders", "Daypass-Resource", "orders"}, {"Daypass-Resource", "orders,orders"}, {"Daypass-Resource", "off"}} {
			if res := ask(s, "GET", "/v1/orders/7", host, append(by, more...)...); res.StatusCode == 200 {
				t.Errorf("%s: %v is allowed", name, more)
			}
		}
	}
}

// The first use is on record before the answer, and without a record there is
// no yes; denials are on record too.
//
// Invariant: A20, A30
func TestOnRecord(t *testing.T) {
	s := newSite(t)
	ask := func() *http.Response {
		return families["nginx"](s, "GET", "/v1/orders/7?q=secret", host, s.bearer()...)
	}
	s.rec.fail = errors.New("the disk is full")
	if res := ask(); res.StatusCode != 403 || res.Header.Get("Remote-User") != "" {
		t.Fatalf("%d", res.StatusCode)
	}
	s.rec.fail, s.rec.entries = nil, nil
	for range 3 {
		if ask().StatusCode != 200 {
			t.Fatal("no")
		}
	}
	if len(s.rec.entries) != 1 {
		t.Fatalf("%d entries", len(s.rec.entries))
	}
	e := s.rec.entries[0]
	if e.Type != "access.allowed" || e.Actor != "user:ana" || e.Source.Channel != "gateway:forward" || e.Details["proxy"] != "edge" || e.Details["doing"] != "GET /v1/orders/7" {
		t.Errorf("%+v", e)
	}
	families["nginx"](s, "POST", "/v1/orders/7", host, s.bearer()...)
	if len(s.rec.entries) != 2 || s.rec.entries[1].Type != "access.denied" {
		t.Errorf("%d entries", len(s.rec.entries))
	}
}

// FuzzDialects: whatever comes, nothing panics, and a yes is for a path of the
// grant alone.
//
// Invariant: A25
func FuzzDialects(f *testing.F) {
	f.Add("GET", "/v1/orders/7?x", host)
	f.Add("HEAD", "/v1/orders/%2e%2e/x", "orders.apps.example.com:1")
	f.Add("CONNECT", "*", "")
	s := newSite(f)
	f.Fuzz(func(t *testing.T, method, target, host string) {
		s.t = t
		for name, ask := range families {
			if ask(s, method, target, host, s.bearer()...).StatusCode != 200 {
				continue
			}
			path, _, _ := strings.Cut(target, "?")
			if method != "GET" && method != "HEAD" || path != "/v1/orders" && !strings.HasPrefix(path, "/v1/orders/") || strings.Contains(path, "..") || strings.Contains(path, "//") {
				t.Errorf("%s: %q %q %q is allowed", name, method, target, host)
			}
		}
	})
}

type discard struct{ h http.Header }

func (d discard) Header() http.Header         { return d.h }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

// BenchmarkForward is one yes.
func BenchmarkForward(b *testing.B) {
	s := newSite(b)
	r := httptest.NewRequest("GET", "/authz/nginx", nil)
	for k, v := range map[string]string{"X-Original-Method": "GET", "X-Original-Uri": "/v1/orders/7", "X-Original-Host": host, "Authorization": "Bearer " + s.token, "Daypass-Proxy-Secret": edge} {
		r.Header.Set(k, v)
	}
	w := discard{http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		s.h.ServeHTTP(w, r)
	}
}

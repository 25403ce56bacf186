package httpkind

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/big"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/gateway"
	"github.com/daypass/daypass/internal/live"
	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/resource"
)

// record is a Recorder in memory.
type record struct {
	mu      sync.Mutex
	entries []audit.Entry
	durable []bool
	counted map[string]int
	fail    error
}

func (r *record) Record(_ context.Context, e *audit.Entry, _ string, durable bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return r.fail
	}
	r.entries = append(r.entries, *e)
	r.durable = append(r.durable, durable)
	return nil
}

func (r *record) CountDenied(_, _, what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.counted == nil {
		r.counted = make(map[string]int)
	}
	r.counted[what]++
}

func (r *record) of(typ string) []audit.Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []audit.Entry
	for _, e := range r.entries {
		if e.Type == typ {
			out = append(out, e)
		}
	}
	return out
}

func (r *record) setFail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = err
}

// site is a gateway with one or more resources, on loopback.
type site struct {
	t       *testing.T
	gw      *Gateway
	addr    string
	index   *live.Index
	rec     *record
	guard   *gateway.Guard
	skew    atomic.Int64 // added to the clock
	logouts chan string
	root    *x509.CertPool
	catalog atomic.Pointer[policy.Catalog]
}

func (s *site) now() time.Time { return time.Now().Add(time.Duration(s.skew.Load())).UTC() }

type siteOptions struct {
	tls    bool
	limits resource.Limits
	block  string // more lines of the http block
	extra  string // more resources
	free   bool
}

const testRoles = `
    roles:
      everything: {methods: [GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS], paths: ["/**"]}
      read: {methods: [GET, HEAD], paths: ["/v1/orders/**"]}
`

// newSite starts a gateway in front of upstream, for the resource orders-api.
func newSite(t *testing.T, upstream string, o siteOptions) *site {
	t.Helper()
	s := &site{t: t, rec: &record{}, logouts: make(chan string, 8)}
	s.setCatalog(fmt.Sprintf(`
principals:
  - {id: user:ana, groups: [group:payments]}
resources:
  - id: orders-api
    kind: http
    free_scope: %v
    owners: [group:payments]
    http:
      upstream: %s
%s%s%s`, o.free, upstream, o.block, testRoles, o.extra))
	s.index = live.New(s.now)
	s.guard = gateway.New(s.index, s.rec, s.now, false)
	deps := resource.Deps{
		Guard: s.guard, Catalog: func() *policy.Catalog { return s.catalog.Load() },
		Incarnation: func(id string) string {
			if _, ok := s.catalog.Load().Resource(id); ok {
				return "inc-" + id
			}
			return ""
		},
		Assertion: func(g *live.Grant) (string, error) { return "assertion-of-" + g.ID, nil },
		Cookie: func(_ context.Context, token, host string) (string, time.Time, error) {
			h, err := credential.ParseToken(credential.GrantToken, token)
			if err != nil {
				return "", time.Time{}, err
			}
			grant := s.index.Check(live.Hash(h)).Grant()
			secret, hash := credential.NewToken(credential.GrantCookie)
			expires := grant.ExpiresAt()
			s.index.PutCredential(live.Credential{Hash: live.Hash(hash), ID: "cookie", Grant: grant.ID, Kind: live.KindCookie, Host: host, ExpiresAt: expires})
			return secret.Reveal(), expires, nil
		},
		Logout: func(_ context.Context, cookie string) error {
			if h, err := credential.ParseToken(credential.GrantCookie, cookie); err == nil {
				s.index.EndCredential(live.Hash(h))
			}
			s.logouts <- cookie
			return nil
		},
		PublicURL: "https://daypass.example", Limits: o.limits, Now: s.now,
		Log: slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().String()
	deps.Site = resource.Site{Domain: "gw.test", Addr: s.addr, TLS: o.tls}
	if o.tls {
		deps.TLS, s.root = certificate(t)
	}
	g, err := Kind{}.Gateway(deps)
	if err != nil {
		t.Fatal(err)
	}
	s.gw = g.(*Gateway)
	served := make(chan error, 1)
	go func() { served <- s.gw.Serve(l) }()
	eventually(t, "the gateway serves", func() bool {
		s.gw.mu.Lock()
		defer s.gw.mu.Unlock()
		return s.gw.listener != nil
	})
	t.Cleanup(func() {
		s.guard.Shutdown()
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if err := s.gw.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
		s.index.Close()
	})
	return s
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) { return len(p), nil }

func (s *site) setCatalog(yaml string) {
	s.t.Helper()
	c, err := policy.Parse([]byte(yaml), []policy.Kind{Kind{}})
	if err != nil {
		s.t.Fatalf("catalog: %v", err)
	}
	s.catalog.Store(c)
}

const (
	everything = `{"methods":["DELETE","GET","HEAD","OPTIONS","PATCH","POST","PUT"],"paths":["/**"]}`
	onlyOrders = `{"methods":["GET","HEAD"],"paths":["/v1/orders/**"]}`
)

// grant makes a live grant and a token for it.
func (s *site) grant(scope string, ttl time.Duration) (id, token string) {
	s.t.Helper()
	return s.grantOn("orders-api", scope, ttl)
}

func (s *site) grantOn(res, scope string, ttl time.Duration) (id, token string) {
	s.t.Helper()
	id = credential.NewID("grt")
	now := s.now()
	s.index.Put(live.Grant{
		ID: id, Request: "req_" + id[4:], Principal: "user:ana", Resource: res, Incarnation: "inc-" + res,
		Kind: "http", Scope: json.RawMessage(scope), StartsAt: now.Add(-time.Minute).Truncate(time.Millisecond),
	}, now.Add(ttl).Truncate(time.Millisecond))
	secret, hash := credential.NewToken(credential.GrantToken)
	s.index.PutCredential(live.Credential{Hash: live.Hash(hash), ID: "jti", Grant: id, Kind: live.KindToken})
	return id, secret.Reveal()
}

// client returns a client that reaches every host at the gateway and follows
// no redirects.
func (s *site) client() *http.Client {
	tr := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, s.addr)
		},
		DisableCompression: true,
	}
	if s.root != nil {
		tr.TLSClientConfig = &tls.Config{RootCAs: s.root}
		tr.ForceAttemptHTTP2 = true
	}
	s.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// connections returns what clients have open at the gateway.
func (s *site) connections() []*clientConn {
	l := s.gw.listener
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Keys(l.conns))
}

func (s *site) url(path string) string { return s.gw.scheme() + "://orders-api.gw.test" + path }

// do sends one request with a token ("" for none) and returns the answer with
// its body read.
func (s *site) do(method, path, token string, headers ...string) (*http.Response, string) {
	s.t.Helper()
	req, err := http.NewRequest(method, s.url(path), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
			continue
		}
		req.Header.Add(headers[i], headers[i+1])
	}
	res, err := s.client().Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res, string(body)
}

// raw opens a connection to the gateway and writes text to it as it is.
func (s *site) raw(text string) (net.Conn, *bufio.Reader) {
	s.t.Helper()
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, text); err != nil {
		s.t.Fatal(err)
	}
	return c, bufio.NewReader(c)
}

// rawStatus sends one raw request and returns the status of the answer.
func (s *site) rawStatus(text string) int {
	s.t.Helper()
	c, r := s.raw(text)
	defer c.Close()
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		s.t.Fatalf("no answer to %.80q: %v", text, err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	return res.StatusCode
}

func problemOf(t *testing.T, body string) api.Problem {
	t.Helper()
	var p api.Problem
	if err := json.Unmarshal([]byte(body), &p); err != nil {
		t.Fatalf("not a problem document: %v in %q", err, body)
	}
	return p
}

// upstreamServer starts a service and returns its URL.
func upstreamServer(t *testing.T, h http.Handler) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	t.Cleanup(func() {
		_ = srv.Close()
		<-done
	})
	return "http://" + l.Addr().String()
}

// seen is what an upstream saw of one request.
type seen struct {
	method, uri, host string
	header, trailer   http.Header
	body              string
}

// recorder is an upstream that answers 200 and keeps what it saw.
func recorder(t *testing.T) (url string, all func() []seen) {
	var mu sync.Mutex
	var got []seen
	url = upstreamServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		got = append(got, seen{r.Method, r.RequestURI, r.Host, r.Header.Clone(), r.Trailer.Clone(), string(body)})
		mu.Unlock()
		_, _ = io.WriteString(w, "upstream says hello")
	}))
	return url, func() []seen {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(got)
	}
}

func certificate(t *testing.T) (*tls.Config, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "gw.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"*.gw.test"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}, pool
}

// eventually waits for a condition; a test that needs the time fails loudly.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func keys(h http.Header) []string { return slices.Sorted(maps.Keys(h)) }

var errDisk = errors.New("disk full")

func contains(t *testing.T, text, want string) {
	t.Helper()
	if !strings.Contains(text, want) {
		t.Errorf("%q does not contain %q", text, want)
	}
}

package rest

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/broker"
)

// A name that somebody pointed at this address is not ours (DNS rebinding).
//
// Attack: WEB-02
func TestForeignHostsAreRefused(t *testing.T) {
	f := newFace(t)
	for host, status := range map[string]int{
		"daypass.example": 200, "DAYPASS.example:443": 200, "daypass.example.": 200, "127.0.0.1:7400": 200, "127.0.0.1:9": 200,
		"localhost": 200, "localhost:7400": 200, "[::1]:7400": 200,
		"evil.example": 421, "": 421, "127.0.0.1.evil.example": 421, "daypass.example.evil.example": 421, "127.0.0.2": 421, "0.0.0.0": 421, "x:y:z": 421,
	} {
		r := request("GET", "/v1/me", "")
		r.Host = host
		if got := f.do(r).StatusCode; got != status {
			t.Errorf("%q: %d, want %d", host, got, status)
		}
	}
	r := request("GET", "/healthz", "")
	r.Host = "10.1.2.3:7400" // a probe of the machine it runs on
	text200(t, f.do(r), 200)

	public := newFace(t, func(d *Deps) { d.Listen = []string{"0.0.0.0:7400"} })
	r = request("GET", "/v1/me", "")
	r.Host = "localhost"
	problemIn(t, public.do(r), http.StatusMisdirectedRequest, "misdirected")
}

// Attack: WEB-02
func TestCrossSiteMutationsAreRefused(t *testing.T) {
	f := newFace(t)
	for _, c := range []struct {
		headers map[string]string
		allowed bool
	}{
		{nil, true},
		{map[string]string{"Sec-Fetch-Site": "same-origin", "Origin": "http://127.0.0.1:7400"}, true},
		{map[string]string{"Sec-Fetch-Site": "none"}, true},
		{map[string]string{"Origin": "https://daypass.example"}, true},
		{map[string]string{"Sec-Fetch-Site": "cross-site"}, false},
		{map[string]string{"Sec-Fetch-Site": "same-site"}, false},
		{map[string]string{"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"}, false},
		{map[string]string{"Origin": "https://evil.example"}, false},
		{map[string]string{"Origin": "https://sub.daypass.example"}, false},
		{map[string]string{"Origin": "null"}, false},
	} {
		f.broker.reset()
		r := request("POST", "/v1/requests", bodies["createRequest"])
		for k, v := range c.headers {
			r.Header.Set(k, v)
		}
		res := f.do(r)
		if c.allowed {
			text200(t, res, 202)
			continue
		}
		problemIn(t, res, http.StatusForbidden, "cross_site")
		if len(f.broker.calls) != 0 {
			t.Errorf("%v: the broker was asked", c.headers)
		}
	}
}

// Attack: WEB-03, WEB-05
func TestEveryAnswerHasItsHeaders(t *testing.T) {
	f := newFace(t)
	for _, path := range []string{"/v1/me", "/v1/nothing", "/docs", "/request?resource=a", "/requests/req_a", "/openapi.json", "/healthz", "/"} {
		r := request("GET", path, "")
		r.TLS = &tls.ConnectionState{}
		h := f.do(r).Header
		csp := h.Get("Content-Security-Policy")
		if !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") || strings.Contains(csp, "http") {
			t.Errorf("%s: %s", path, csp)
		}
		for name, value := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY", "Strict-Transport-Security": "max-age=31536000"} {
			if h.Get(name) != value {
				t.Errorf("%s: %s %q", path, name, h.Get(name))
			}
		}
		if path != "/openapi.json" && h.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: Cache-Control %q", path, h.Get("Cache-Control"))
		}
	}
}

// A panic and an error that nobody foresaw are 500 with a reference that the
// log has too; what they say stays inside.
//
// Attack: RES-09
func TestInsideIsNotShown(t *testing.T) {
	var log bytes.Buffer
	f := newFace(t, func(d *Deps) { d.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	f.broker.view = func() broker.View { panic("the secret of the view") }
	p := problemIn(t, f.call("GET", "/v1/requests/req_a", ""), 500, "internal")
	f.broker.refuse["Me"] = errors.New("dial tcp 10.0.0.1: the secret of the error")
	q := problemIn(t, f.call("GET", "/v1/me", ""), 500, "internal")
	for _, p := range []api.Problem{p, q} {
		at := strings.Index(p.Detail, "err_")
		if at < 0 || strings.Contains(p.Detail, "secret") || !strings.Contains(log.String(), p.Detail[at:at+20]) {
			t.Errorf("%s\n%s", p.Detail, log.String())
		}
	}
	f.broker.view = func() broker.View { return pendingView(1) }
	text200(t, f.call("GET", "/v1/requests/req_a", ""), 200)
}

func TestOAuthIsBehindTheSameGuards(t *testing.T) {
	f := newFace(t, func(d *Deps) {
		d.OAuth = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Panic") != "" {
				panic("inside")
			}
			_, _ = io.WriteString(w, "oauth")
		})
	})
	if got := text200(t, f.call("POST", "/oauth/introspect", ""), 200); got != "oauth" {
		t.Error(got)
	}
	text200(t, f.call("GET", "/.well-known/jwks.json", ""), 200)
	r := request("POST", "/oauth/introspect", "")
	r.Host = "evil.example"
	if got := text200(t, f.do(r), 421); !strings.Contains(got, `"error":"invalid_request"`) {
		t.Error(got)
	}
	r = request("POST", "/oauth/revoke", "")
	r.Header.Set("Panic", "1")
	if got := text200(t, f.do(r), 500); !strings.Contains(got, `"error":"server_error"`) {
		t.Error(got)
	}
}

func TestBrokerErrorsBecomeProblems(t *testing.T) {
	f := newFace(t)
	hint := &api.AccessHint{Method: "POST", URL: "https://daypass.example/v1/requests", Body: api.SubmitRequest{Resource: "orders api", Role: "read", Duration: api.Duration(9e11)}}
	for _, c := range []struct {
		kind   broker.Kind
		status int
	}{
		{broker.Invalid, 422}, {broker.Forbidden, 403}, {broker.NotFound, 404}, {broker.Conflict, 409}, {broker.Precondition, 412},
		{broker.TooMany, 429}, {broker.Unavailable, 503}, {broker.Unauthorized, 401}, {broker.Malformed, 400},
	} {
		f.broker.refuse["Submit"] = &broker.Error{Kind: c.kind, Code: "some_code", Field: "body.duration", Message: "It is too long.", RetryAfter: 1500e6, Hint: hint}
		res := f.call("POST", "/v1/requests", bodies["createRequest"])
		if res.Header.Get("Retry-After") != "2" || res.Header.Get("Link") != `<https://daypass.example/request?resource=orders+api&role=read>; rel="request-access"` {
			t.Errorf("%v", res.Header)
		}
		p := problemIn(t, res, c.status, "some_code")
		if p.Title != "Some code" || p.Detail != "It is too long." || len(p.Errors) != 1 || p.Errors[0].Location != "body.duration" || p.AccessRequest == nil || p.AccessRequest.Body.Role != "read" {
			t.Errorf("%+v", p)
		}
	}
	f.broker.refuse["Submit"] = &broker.Error{Kind: 99, Message: "secret"}
	if p := problemIn(t, f.call("POST", "/v1/requests", bodies["createRequest"]), 500, "internal"); strings.Contains(p.Detail, "secret") {
		t.Error(p.Detail)
	}
	f.broker.refuse["PutCatalog"] = &broker.CatalogError{Problems: []api.CatalogProblem{{Line: 3, Column: 5, Message: "no such group"}}}
	r := request("PUT", "/v1/catalog", "x: 1")
	r.Header.Set("Content-Type", "application/yaml")
	if p := problemIn(t, f.do(r), 422, "invalid_catalog"); p.Errors[0].Location != "body:3:5" {
		t.Errorf("%+v", p)
	}
}

package rest

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/broker"
)

func anonymous(method, path string) *http.Request {
	r := request(method, path, "")
	r.Header.Del("Authorization")
	return r
}

// The reference takes no script, no form and nothing of a third party. Without
// the pages for people their paths are nothing.
//
// Invariant: A14
// Attack: WEB-01
func TestPages(t *testing.T) {
	f := newFace(t)
	page := text200(t, f.do(anonymous("GET", "/docs")), 200)
	for _, bad := range []string{"<script", "<form", "<img", "<link", "src=", "@import", "url("} {
		if strings.Contains(page, bad) {
			t.Errorf("the reference has %s", bad)
		}
	}
	if !strings.Contains(page, `<meta name="viewport"`) || !strings.Contains(page, "prefers-color-scheme:dark") {
		t.Error("the reference is not for phones or the dark")
	}
	for _, path := range []string{"/", "/request", "/inbox", "/requests/req_a", "/grants/grt_a/extend", "/login"} {
		problemIn(t, f.do(anonymous("GET", path)), 404, "not_found")
	}
	if len(f.broker.calls) != 0 {
		t.Errorf("a page asked the broker for %v", f.broker.calls)
	}
}

func TestReferenceShowsEveryCall(t *testing.T) {
	f := newFace(t)
	page := text200(t, f.do(anonymous("GET", "/docs")), 200)
	for _, rt := range Routes() {
		if !strings.Contains(page, `<details id="`+rt.ID+`">`) {
			t.Errorf("%s is not shown", rt.ID)
		}
	}
	document := text200(t, f.do(anonymous("GET", "/openapi.json")), 200)
	want, err := OpenAPI()
	if err != nil || document != string(want) {
		t.Errorf("/openapi.json is not the document: %v", err)
	}
}

func TestSecurityTxt(t *testing.T) {
	f := newFace(t, func(d *Deps) { d.Contact = "mailto:security@example.com" })
	got := text200(t, f.do(anonymous("GET", "/.well-known/security.txt")), 200)
	fields := map[string]string{}
	for line := range strings.SplitSeq(strings.TrimSpace(got), "\n") {
		name, value, _ := strings.Cut(line, ": ")
		fields[name] = value
	}
	expires, err := time.Parse(time.RFC3339, fields["Expires"])
	if err != nil || time.Until(expires) < 24*time.Hour || fields["Contact"] != "mailto:security@example.com" {
		t.Errorf("%v %s", err, got)
	}
}

// Who connects to a gateway needs its authority before having any token.
func TestTheAuthorityOfGatewaysIsPublic(t *testing.T) {
	const pem = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"
	f := newFace(t, func(d *Deps) { d.GatewayCA = func() []byte { return []byte(pem) } })
	if got := text200(t, f.do(anonymous("GET", "/v1/gateway-ca.pem")), 200); got != pem {
		t.Errorf("%q", got)
	}
	problemIn(t, newFace(t, func(d *Deps) { d.GatewayCA = func() []byte { return nil } }).do(anonymous("GET", "/v1/gateway-ca.pem")), 404, "not_found")
	problemIn(t, newFace(t).do(anonymous("GET", "/v1/gateway-ca.pem")), 404, "not_found")
}

// Invariant: A40
func TestHealthAndReadiness(t *testing.T) {
	f := newFace(t, func(d *Deps) { d.Warnings = []string{"gateways.http.tls is off"} })
	if got := text200(t, f.do(anonymous("GET", "/healthz")), 200); got != `{"status":"ok"}`+"\n" {
		t.Error(got)
	}
	if got := text200(t, f.do(anonymous("GET", "/readyz")), 200); got != `{"status":"ready","revocation_bound":"5s","warnings":["gateways.http.tls is off"]}`+"\n" {
		t.Error(got)
	}
	f.broker.ready = errors.New("no signing key is valid")
	if p := problemIn(t, f.do(anonymous("GET", "/readyz")), 503, "not_ready"); p.Detail != "no signing key is valid" {
		t.Error(p.Detail)
	}
	text200(t, f.do(anonymous("GET", "/healthz")), 200)
}

func TestMetrics(t *testing.T) {
	f := newFace(t, func(d *Deps) {
		d.Stats = func() Stats {
			return Stats{PendingRequests: 3, LiveGrants: 2, PendingCleanups: 1, AuditHead: 99, StoreOK: true}
		}
	})
	for range 3 {
		f.call("GET", "/v1/requests/req_secretname", "")
		f.call("BREW", "/v1/invented/"+strings.Repeat("x", 50), "")
	}
	got := text200(t, f.do(anonymous("GET", "/metrics")), 200)
	for _, want := range []string{
		`daypass_http_requests_total{code="200",method="GET",route="/v1/requests/{id}"} 3`, `daypass_http_requests_total{code="404",method="other",route="other"} 3`,
		"daypass_requests_pending 3", "daypass_grants_live 2", "daypass_cleanups_pending 1", "daypass_audit_head_seq 99", "daypass_store_ok 1",
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("%s is missing", want)
		}
	}
	if strings.Contains(got, "secretname") || strings.Contains(got, "invented") || strings.Contains(got, "BREW") {
		t.Error("a label is the client's")
	}
	// Off loopback, and with a token, only admins and auditors.
	r := anonymous("GET", "/metrics")
	r.RemoteAddr = "192.0.2.1:5"
	problemIn(t, f.do(r), 401, "unauthorized")
	r = request("GET", "/metrics", "")
	problemIn(t, f.do(r), 403, "forbidden")
	f.broker.me.Auditor = true
	text200(t, f.do(request("GET", "/metrics", "")), 200)
	r.Header.Set("Authorization", "Bearer dpat_bad")
	problemIn(t, f.do(r), 401, "unauthorized")
}

func TestCatalogFace(t *testing.T) {
	f := newFace(t)
	res := f.call("GET", "/v1/catalog", "")
	if res.Header.Get("ETag") != `"sha256:ab"` {
		t.Error(res.Header)
	}
	for _, c := range []struct {
		ifMatch []string
		kind    string
		body    string
		status  int
		passed  string
	}{
		{nil, "application/yaml", "a: 1", 200, ""},
		{[]string{`"sha256:ab"`}, "application/json", `{"a":1}`, 200, "sha256:ab"},
		{[]string{`*`}, "text/yaml", "a: 1", 200, "*"},
		{[]string{`W/"sha256:ab"`}, "application/yaml", "a: 1", 412, ""},
		{[]string{`sha256:ab`}, "application/yaml", "a: 1", 400, ""},
		{[]string{`"a", "b"`}, "application/yaml", "a: 1", 400, ""},
		{[]string{`"a"`, `"b"`}, "application/yaml", "a: 1", 400, ""},
		{nil, "text/plain", "a: 1", 415, ""},
		{nil, "application/json", `{"a":1,"a":2}`, 400, ""},
		{nil, "application/yaml", "", 400, ""},
		{nil, "application/yaml", "a: \xff", 400, ""},
		{nil, "application/yaml", strings.Repeat("#", 4<<20+1), 400, ""},
		{nil, "application/yaml", strings.Repeat("#", 4<<20), 200, ""},
	} {
		f.broker.reset()
		r := request("PUT", "/v1/catalog", c.body)
		r.Header.Set("Content-Type", c.kind)
		for _, m := range c.ifMatch {
			r.Header.Add("If-Match", m)
		}
		res := f.do(r)
		body, _ := io.ReadAll(res.Body)
		if res.StatusCode != c.status || c.status == 200 && f.broker.last != c.passed || c.status != 200 && len(f.broker.calls) != 0 {
			t.Errorf("%v %s: %d %s, passed %v", c.ifMatch, c.kind, res.StatusCode, body, f.broker.last)
		}
	}
	f.broker.refuse["PutCatalog"] = &broker.Error{Kind: broker.Precondition, Code: "catalog_changed", Message: "Read it again."}
	problemIn(t, f.call("PUT", "/v1/catalog", "{}"), 412, "catalog_changed")
}

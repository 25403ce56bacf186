package httpkind

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/live"
)

// Invariant: A20, A26
// Attack: HTT-05
func TestForwardsWithIdentityAndWithoutTheToken(t *testing.T) {
	t.Setenv("DAYPASS_TEST_KEY", "upstream-key")
	url, all := recorder(t)
	s := newSite(t, url, siteOptions{block: "      inject: {Authorization: {env: DAYPASS_TEST_KEY}, X-Api-Key: {env: DAYPASS_TEST_KEY}}\n"})
	id, token := s.grant(everything, time.Hour)
	res, body := s.do("GET", "/v1/orders/7?b=2&a=1&a=%41", token,
		"X-Api-Key", "mine", "X_Api_Key", "mine", "Cookie", "a=1; daypass=x; __Host-daypass=y; b=2")
	if res.StatusCode != 200 || body != "upstream says hello" {
		t.Fatalf("%d %q", res.StatusCode, body)
	}
	got := all()
	if len(got) != 1 {
		t.Fatalf("%d requests", len(got))
	}
	h := got[0].header
	for name, want := range map[string]string{
		"Daypass-Subject": "user:ana", "Daypass-Request": "req_" + id[4:], "Daypass-Grant": id,
		"Daypass-Assertion": "assertion-of-" + id, "Authorization": "upstream-key", "X-Api-Key": "upstream-key",
		"Cookie": "a=1; b=2", "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "orders-api.gw.test", "X-Forwarded-Proto": "http",
	} {
		if v := h.Values(name); len(v) != 1 || v[0] != want {
			t.Errorf("%s: %q, want %q", name, v, want)
		}
	}
	if _, err := time.Parse("2006-01-02T15:04:05.000Z", h.Get("Daypass-Expires-At")); err != nil {
		t.Error(err)
	}
	if got[0].uri != "/v1/orders/7?b=2&a=1&a=%41" {
		t.Errorf("target %q", got[0].uri)
	}
	for name, values := range h {
		if strings.Contains(strings.Join(values, " "), "dpgt_") || strings.Contains(name, "_") {
			t.Errorf("header %s reached the upstream", name)
		}
	}
	entries := s.rec.of("access.allowed")
	if len(entries) != 1 || !s.rec.durable[0] {
		t.Fatalf("first use: %d entries, durable %v", len(entries), s.rec.durable)
	}
	e := entries[0]
	if e.Actor != "user:ana" || e.Grant != id || e.Resource != "orders-api" || e.Outcome != audit.Allowed || e.Source.Channel != "gateway:http" || e.Source.IP != "127.0.0.1" {
		t.Errorf("entry %+v", e)
	}
	if e.Details["path"] != "/v1/orders/7" || e.Details["method"] != "GET" {
		t.Errorf("details %v", e.Details)
	}
	s.do("GET", "/v1/orders/7", token)
	if s.rec.durable[1] {
		t.Error("the second use waited for the disk")
	}
}

// Invariant: A20
func TestNothingIsForwardedThatCannotBeRecorded(t *testing.T) {
	url, all := recorder(t)
	s := newSite(t, url, siteOptions{})
	_, token := s.grant(onlyOrders, time.Hour)
	s.rec.setFail(errDisk)
	for _, path := range []string{"/v1/orders/7", "/elsewhere"} {
		res, body := s.do("GET", path, token)
		if p := problemOf(t, body); res.StatusCode != 503 || p.Code != "unavailable" || strings.Contains(body, "disk") {
			t.Errorf("%s: %d %s", path, res.StatusCode, body)
		}
	}
	if n := len(all()); n != 0 {
		t.Fatalf("%d requests were forwarded", n)
	}
}

func TestDenialsSayHowToAsk(t *testing.T) {
	url, all := recorder(t)
	s := newSite(t, url, siteOptions{})
	id, token := s.grant(onlyOrders, 10*time.Minute)

	res, body := s.do("GET", "/v1/orders/7", "")
	if got := res.Header.Get("WWW-Authenticate"); res.StatusCode != 401 || got != `Bearer realm="daypass"` {
		t.Errorf("no token: %d %q", res.StatusCode, got)
	}
	if got := res.Header.Get("Link"); got != `<https://daypass.example/request?resource=orders-api&role=read>; rel="request-access"` {
		t.Errorf("Link %q", got)
	}
	if got := res.Header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type %q", got)
	}
	p := problemOf(t, body)
	if p.Type != "urn:daypass:problem:unauthenticated" || p.Status != 401 || p.AccessRequest == nil {
		t.Fatalf("%+v", p)
	}
	if a := p.AccessRequest; a.Body.Role != "read" || a.Body.Duration.String() != "15m" || a.URL != "https://daypass.example/v1/requests" ||
		a.Command != "daypass request orders-api --role read --for 15m --reason TEXT" {
		t.Errorf("hint %+v", a)
	}

	res, body = s.do("POST", "/v1/orders/7", token)
	if res.StatusCode != 403 || !strings.Contains(res.Header.Get("WWW-Authenticate"), `error="insufficient_scope"`) {
		t.Errorf("outside: %d %v", res.StatusCode, res.Header)
	}
	if p := problemOf(t, body); p.Code != "outside_scope" || p.AccessRequest.Body.Role != "everything" || p.AccessRequest.Body.Duration.String() != "11m" {
		t.Errorf("outside: %s", body)
	}
	if e := s.rec.of("access.denied"); len(e) != 1 || e[0].Actor != "user:ana" || e[0].Details["why"] != "outside_scope" || e[0].Details["doing"] != "POST /v1/orders/7" {
		t.Errorf("entries %+v", e)
	}

	s.index.End(id, s.now(), live.ReasonRevoked)
	res, body = s.do("GET", "/v1/orders/7", token)
	if got := res.Header.Get("WWW-Authenticate"); res.StatusCode != 401 || !strings.Contains(got, `error="invalid_token", error_description="the grant ended at `) || !strings.HasSuffix(got, `; ask again"`) {
		t.Errorf("revoked: %d %q", res.StatusCode, got)
	}
	contains(t, problemOf(t, body).Detail, "The grant ended at ")
	s.do("GET", "/v1/orders/7", token)
	if e := s.rec.of("access.denied"); len(e) != 2 { // the second one within a minute is only counted
		t.Errorf("%d denials", len(e))
	}
	if len(all()) != 0 {
		t.Error("something was forwarded")
	}

	res, body = s.do("HEAD", "/v1/orders/7", "")
	if res.StatusCode != 401 || body != "" || res.Header.Get("Link") == "" {
		t.Errorf("HEAD: %d %q", res.StatusCode, body)
	}
}

func TestSuggestsAFreeScopeWhereNoRoleCovers(t *testing.T) {
	url, _ := recorder(t)
	s := newSite(t, url, siteOptions{free: true, extra: `
  - id: narrow
    kind: http
    free_scope: true
    http: {upstream: http://127.0.0.1:9}
  - id: closed
    kind: http
    http: {upstream: http://127.0.0.1:9}
    roles: {read: {methods: [GET], paths: [/a]}}
`})
	_, body := s.do("PUT", "/x/it's%20*", "", "Host", "narrow.gw.test")
	a := problemOf(t, body).AccessRequest
	if a == nil || string(a.Body.Scope) != `{"methods":["PUT"],"paths":["/x/it%27s%20%2A"]}` {
		t.Fatalf("%+v", a)
	}
	contains(t, a.Command, `--scope '{"methods":["PUT"],"paths":["/x/it%27s%20%2A"]}' --for 15m`)
	_, body = s.do("PUT", "/a", "", "Host", "closed.gw.test")
	if a := problemOf(t, body).AccessRequest; a != nil {
		t.Errorf("a hint that cannot help: %+v", a)
	}
}

// Invariant: A22
// Attack: TOK-02, TOK-03, TOK-10, TOK-11
func TestOnlyTheRightTokenInTheRightPlace(t *testing.T) {
	url, all := recorder(t)
	s := newSite(t, url, siteOptions{extra: `
  - id: other
    kind: http
    http: {upstream: ` + url + `}
    roles: {all: {methods: [GET], paths: ["/**"]}}
`})
	_, token := s.grant(everything, time.Hour)
	_, other := s.grantOn("other", everything, time.Hour)
	res, body := s.do("GET", "/", other)
	if res.StatusCode != 401 || strings.Contains(body, "other") {
		t.Errorf("a token of another resource: %d %s", res.StatusCode, body)
	}
	wrong := token[:len(token)-1] + string('A'+(token[len(token)-1]-'A'+1)%26)
	for name, header := range map[string]string{
		"checksum": "Bearer " + wrong, "scheme": "Basic " + token, "principal's": "Bearer dpat_" + token[5:],
		"empty": "Bearer ", "long": "Bearer " + strings.Repeat("a.", 20_000), "tail": "Bearer " + token + "x", "space": "Bearer  x " + token,
		"cookie": "Bearer dpgc_" + token[5:],
	} {
		if res, _ := s.do("GET", "/", "", "Authorization", header); res.StatusCode != 401 {
			t.Errorf("%s: %d", name, res.StatusCode)
		}
	}
	if res, _ := s.do("GET", "/", token, "Authorization", "Bearer "+token); res.StatusCode != 400 {
		t.Errorf("two Authorization headers: %d", res.StatusCode)
	}
	for _, path := range []string{"/?access_token=" + token, "/" + token, "/?x=dpgt_", "/%64pgt_x"} {
		for _, with := range []string{"", token} {
			if res, body := s.do("GET", path, with); res.StatusCode != 400 || strings.Contains(body, token) {
				t.Errorf("%.20s: %d %s", path, res.StatusCode, body)
			}
		}
	}
	if res, _ := s.do("GET", "/", "", "Authorization", "Bearer "+strings.Repeat("x", 1<<20)); res.StatusCode != 431 {
		t.Errorf("1 MB header: %d", res.StatusCode)
	}
	if n := len(all()); n != 0 {
		t.Fatalf("%d requests were forwarded", n)
	}
	if res, _ := s.do("GET", "/", "", "Authorization", "bearer   "+token); res.StatusCode != 200 {
		t.Errorf("the scheme in lower case: %d", res.StatusCode)
	}
}

// Attack: HTT-03
func TestHostNamesTheResource(t *testing.T) {
	url, _ := recorder(t)
	s := newSite(t, url, siteOptions{extra: `
  - id: gone
    kind: http
    disabled: true
    http: {upstream: http://127.0.0.1:9}
    roles: {all: {methods: [GET], paths: ["/**"]}}
`})
	_, token := s.grant(everything, time.Hour)
	for host, want := range map[string]int{
		"orders-api.gw.test": 200, "ORDERS-API.GW.Test": 200, "orders-api.gw.test.": 200, "orders-api.gw.test:7480": 200, "orders-api.gw.test.:7480": 200,
		"gw.test": 421, "x.orders-api.gw.test": 421, "orders-api.gw.test.evil": 421, "unknown.gw.test": 421, "gone.gw.test": 421,
		"127.0.0.1": 421, "[::1]:80": 421, "xn--orders-api-x.gw.test": 421, "orders-apigw.test": 421, ".gw.test": 421,
	} {
		res, body := s.do("GET", "/", token, "Host", host)
		if res.StatusCode != want {
			t.Errorf("%s: %d, want %d", host, res.StatusCode, want)
		}
		if want == 421 && problemOf(t, body).Code != "unknown_resource" {
			t.Errorf("%s: %s", host, body)
		}
	}
}

// Invariant: A25, A28
// Attack: FWD-08, FWD-09, FWD-11, HTT-01, HTT-02, HTT-04
func TestAmbiguousRequestsAreRefused(t *testing.T) {
	url, all := recorder(t)
	s := newSite(t, url, siteOptions{})
	_, token := s.grant(everything, time.Hour)
	for _, target := range []string{
		"/a/../b", "/a/%2e%2e/admin", "/a/.%2E/admin", "/a/..", "/.", "/a/./b", "/a//b", "//a", "/a/..%2fadmin", "/a%2Fb", "/a%5cb", `/a\b`,
		"/a;v=1", "/a%3bv=1", "/a%00", "/a%0ab", "/a%7F", "/a%c0%af", "/a%ff", "/a%252e%252e/b", "/a%25%32%65", "/a%", "/a%2", "/a%zz", "/a%E2%80%A8",
		"/a?x;y", "/a#b", "/a?b#c", "*", "http://orders-api.gw.test/a", "a", "/a?" + strings.Repeat("&", 10_000), "/a\xc3\xa9", "/a?\xc3\xa9",
	} {
		for _, method := range []string{"GET", "OPTIONS"} {
			if got := s.rawStatus(method + " " + target + " HTTP/1.1\r\nHost: orders-api.gw.test\r\nAuthorization: Bearer " + token + "\r\n\r\n"); got != 400 && got != 414 {
				t.Errorf("%s %.60q: %d", method, target, got)
			}
		}
	}
	if got := s.rawStatus("GET /" + strings.Repeat("a", 9<<10) + " HTTP/1.1\r\nHost: orders-api.gw.test\r\n\r\n"); got != 414 {
		t.Errorf("long path: %d", got)
	}
	for _, method := range []string{"TRACE", "CONNECT", "PROPFIND", "get", "GETS", "M-SEARCH"} {
		if got := s.rawStatus(method + " /a HTTP/1.1\r\nHost: orders-api.gw.test\r\nAuthorization: Bearer " + token + "\r\n\r\n"); got != 405 && got != 400 {
			t.Errorf("%s: %d", method, got)
		}
	}
	head := "Host: orders-api.gw.test\r\nAuthorization: Bearer " + token + "\r\n"
	for name, text := range map[string]string{
		"CL and TE":           "POST /a HTTP/1.1\r\n" + head + "Content-Length: 3\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"two CL":              "POST /a HTTP/1.1\r\n" + head + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
		"unknown TE":          "POST /a HTTP/1.1\r\n" + head + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
		"TE twice":            "POST /a HTTP/1.1\r\n" + head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
		"space before colon":  "GET /a HTTP/1.1\r\n" + head + "X-A : b\r\n\r\n",
		"folded header":       "GET /a HTTP/1.1\r\n X: y\r\n" + head + "\r\n",
		"two hosts":           "GET /a HTTP/1.1\r\nHost: other.gw.test\r\n" + head + "\r\n",
		"no host":             "GET /a HTTP/1.1\r\nAuthorization: Bearer " + token + "\r\n\r\n",
		"NUL in header":       "GET /a HTTP/1.1\r\n" + head + "X-A: b\x00c\r\n\r\n",
		"space in the target": "GET /a b HTTP/1.1\r\n" + head + "\r\n",
	} {
		if got := s.rawStatus(text); got != 400 && got != 421 && got != 501 {
			t.Errorf("%s: %d", name, got)
		}
	}
	if got := all(); len(got) != 0 {
		t.Fatalf("forwarded: %+v", got)
	}
	if e := s.rec.of("access.denied"); len(e) == 0 || e[0].Actor != "user:ana" {
		t.Error("refusals with a good token are not on record")
	}
}

// Invariant: A25
// Attack: FWD-04, FWD-05, HTT-01, HTT-02
func TestWhatWasMatchedIsWhatIsSent(t *testing.T) {
	url, all := recorder(t)
	s := newSite(t, url+"/base/", siteOptions{})
	_, token := s.grant(`{"methods":["GET"],"paths":["/public/**","/a%20b","/%2A"]}`, time.Hour)
	for _, c := range []struct {
		sent   string
		status int
		want   string
	}{
		{"/public/x", 200, "/base/public/x"},
		{"/public", 200, "/base/public"},
		{"/public/", 200, "/base/public/"},
		{"/%70ublic/%7euser", 200, "/base/public/~user"},
		{"/public/%e2%82%ac", 200, "/base/public/%E2%82%AC"},
		{"/public/a|b^[x]", 200, "/base/public/a%7Cb%5E%5Bx%5D"},
		{"/public/100%25", 200, "/base/public/100%25"},
		{"/public/a+b%2Bc", 200, "/base/public/a+b%2Bc"},
		{"/public/x?", 200, "/base/public/x?"},
		{"/public/x?a=%zz&b=/../c?d", 200, "/base/public/x?a=%zz&b=/../c?d"},
		{"/a%20b", 200, "/base/a%20b"},
		{"/*", 200, "/base/*"},
		{"/x", 403, ""},
		{"/admin?x=/public/", 403, ""},
		{"/public%23/x", 403, ""},
		{"/Public/x", 403, ""},
	} {
		before := len(all())
		got := s.rawStatus("GET " + c.sent + " HTTP/1.1\r\nHost: orders-api.gw.test\r\nAuthorization: Bearer " + token + "\r\n\r\n")
		if got != c.status {
			t.Errorf("%s: %d, want %d", c.sent, got, c.status)
			continue
		}
		after := all()
		if c.status != 200 {
			if len(after) != before {
				t.Errorf("%s was forwarded", c.sent)
			}
			continue
		}
		if uri := after[len(after)-1].uri; uri != c.want {
			t.Errorf("%s was forwarded as %s, want %s", c.sent, uri, c.want)
		}
	}
}

// Attack: HTT-06, HTT-12, FWD-03
func TestResponsesAreCleaned(t *testing.T) {
	var self string
	self = upstreamServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		switch r.URL.Path {
		case "/away":
			h.Set("Location", "http://169.254.169.254/latest")
			w.WriteHeader(302)
			return
		case "/home":
			h.Set("Location", self+"/v1?x=1")
			w.WriteHeader(302)
			return
		}
		h.Set("Link", "</early>; rel=preload")
		h.Set("Daypass-Subject", "user:root")
		w.WriteHeader(103)
		h.Set("Clear-Site-Data", `"*"`)
		h.Set("Alt-Svc", `h3=":443"`)
		h.Set("Trailer", "Daypass-Grant, X-Sum")
		for _, c := range []string{"ok=1; Path=/", "daypass=evil", "__HOST-Daypass=evil", "a=b; Domain=gw.test", "a=b; domain = .GW.TEST", "a=b; Domain=test", "c=d; Domain=orders-api.gw.test", "=daypass=x"} {
			h.Add("Set-Cookie", c)
		}
		_, _ = io.WriteString(w, "x")
		h.Set("Daypass-Grant", "grt_evil")
		h.Set("X-Sum", "1")
		h.Set(http.TrailerPrefix+"Daypass-Request", "evil")
	}))
	s := newSite(t, self, siteOptions{})
	_, token := s.grant(everything, time.Hour)
	res, _ := s.do("GET", "/", token)
	for name := range res.Header {
		if ours(name) || name == "Clear-Site-Data" || name == "Alt-Svc" {
			t.Errorf("%s reached the client", name)
		}
	}
	if got := res.Header["Set-Cookie"]; strings.Join(got, "|") != "ok=1; Path=/|c=d; Domain=orders-api.gw.test" {
		t.Errorf("cookies %q", got)
	}
	if res.Trailer.Get("Daypass-Grant") != "" || res.Trailer.Get("Daypass-Request") != "" || res.Trailer.Get("X-Sum") != "1" {
		t.Errorf("trailers %v", res.Trailer)
	}
	if res, _ := s.do("GET", "/away", token); res.StatusCode != 302 || res.Header.Get("Location") != "http://169.254.169.254/latest" {
		t.Errorf("a redirect was not passed on: %d %v", res.StatusCode, res.Header)
	}
	if res, _ := s.do("GET", "/home", token); res.Header.Get("Location") != "/v1?x=1" {
		t.Errorf("Location %q", res.Header.Get("Location"))
	}
}

// Invariant: A26
// Attack: FWD-02, FWD-03, FWD-14
func TestClientHeadersThatLie(t *testing.T) {
	url, all := recorder(t)
	s := newSite(t, url, siteOptions{})
	_, token := s.grant(everything, time.Hour)
	lies := []string{
		"Daypass-Subject", "daypass-subject", "DAYPASS_SUBJECT", "Daypass_Grant", "daypass-anything", "dAyPaSs-x", "Daypass",
		"X-Forwarded-For", "x_forwarded_for", "X-Forwarded-Host", "X-Forwarded-Prefix", "X-Forwarded-User", "Forwarded", "X-Real-Ip", "X-Original-Url", "X-Rewrite-Url",
		"X-Http-Method-Override", "x_http_method_override", "X-Method-Override", "X-Http-Method", "Proxy", "Proxy-Authorization", "True-Client-Ip",
	}
	text := "POST /a HTTP/1.1\r\nHost: orders-api.gw.test\r\nAuthorization: Bearer " + token + "\r\nConnection: X-Forwarded-For, Daypass-Subject, Daypass-Assertion, Authorization\r\n"
	for _, name := range lies {
		text += name + ": liar\r\n" + name + ": liar\r\n"
	}
	text += "Transfer-Encoding: chunked\r\nTrailer: Daypass-Subject\r\n\r\n1\r\nx\r\n0\r\nDaypass-Subject: liar\r\n\r\n"
	if got := s.rawStatus(text); got != 200 {
		t.Fatalf("%d", got)
	}
	if trailer := all()[0].trailer; len(trailer) > 0 {
		t.Errorf("trailers %v reached the upstream", trailer)
	}
	h := all()[0].header
	for name, values := range h {
		for _, v := range values {
			if strings.Contains(v, "liar") {
				t.Errorf("%s: %q reached the upstream", name, v)
			}
		}
	}
	if got := h.Values("Daypass-Subject"); len(got) != 1 || got[0] != "user:ana" {
		t.Errorf("Daypass-Subject %q", got)
	}
	if h.Get("X-Forwarded-For") != "127.0.0.1" || len(h.Get("Daypass-Assertion")) == 0 {
		t.Errorf("headers %v", keys(h))
	}
}

// Attack: FWD-07
func TestManyCookies(t *testing.T) {
	url, all := recorder(t)
	s := newSite(t, url, siteOptions{})
	_, token := s.grant(everything, time.Hour)
	many := strings.Repeat("a=b; ", 1000)
	if res, _ := s.do("GET", "/", "", "Cookie", many); res.StatusCode != 401 {
		t.Errorf("without a token: %d", res.StatusCode)
	}
	if res, _ := s.do("GET", "/", token, "Cookie", many); res.StatusCode != 400 {
		t.Errorf("with a token: %d", res.StatusCode)
	}
	for _, cookie := range []string{"daypass", "daypass=;daypass=", "daypass=\"", ";;;", "=", "daypass=dpgc_x"} {
		if res, _ := s.do("GET", "/", "", "Cookie", cookie); res.StatusCode != 401 && res.StatusCode != 400 {
			t.Errorf("%q: %d", cookie, res.StatusCode)
		}
	}
	if len(all()) != 0 {
		t.Error("something was forwarded")
	}
}

// Attack: HTT-09
func TestUpstreamAddressesAreChecked(t *testing.T) {
	for _, upstream := range []string{
		"http://169.254.169.254", "http://localhost:9000", "http://metadata.google.internal", "http://[::ffff:127.0.0.1]:80", "http://[64:ff9b::a9fe:a9fe]",
		"http://0.0.0.0", "ftp://x", "http://u:p@x", "http://x/?q", "http://x/#f", "http://", "http://x:0", "http://x/a/../b", "http://x/a//b",
	} {
		if err := new(Config).setUpstream(upstream); err == nil {
			t.Errorf("%s was taken", upstream)
		}
	}
}

// A body is forwarded as it comes, so its faults are found underway: the
// upstream's request is broken off, and nothing behind it is read as another.
//
// Attack: FWD-08
func TestMalformedBodiesAreBrokenOff(t *testing.T) {
	var mu sync.Mutex
	var got []string
	up := upstreamServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		got = append(got, fmt.Sprintf("%s %s whole:%v", r.Method, r.URL.Path, err == nil))
	}))
	s := newSite(t, up, siteOptions{})
	_, token := s.grant(everything, time.Hour)
	head := "POST /a HTTP/1.1\r\nHost: orders-api.gw.test\r\nAuthorization: Bearer " + token + "\r\nTransfer-Encoding: chunked\r\n\r\n"
	smuggled := "GET /admin HTTP/1.1\r\nHost: x\r\n\r\n"
	for _, body := range []string{"1\nx\n0\n\n", "1;a\nb\r\nx\r\n0\r\n\r\n", "zz\r\nx\r\n0\r\n\r\n", "-1\r\nx\r\n0\r\n\r\n", "1\r\nxyz\r\n0\r\n\r\n", "fffffffffffffffff\r\nx"} {
		if status := s.rawStatus(head + body + smuggled); status != 400 {
			t.Errorf("%q: %d", body, status)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for _, g := range got {
		if g != "POST /a whole:false" {
			t.Errorf("the upstream read %s", g)
		}
	}
}

func TestASlowAnswerOfKnownLengthIsPassedOnPieceByPiece(t *testing.T) {
	seen := make(chan struct{})
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "2")
		_, _ = io.WriteString(w, "a")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-seen:
			_, _ = io.WriteString(w, "b")
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(up.Close)
	s := newSite(t, up.URL, siteOptions{})
	_, token := s.grant(`{"methods":["GET"],"paths":["/**"]}`, time.Hour)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url("/slow"), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := s.client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var first [1]byte
	if _, err := io.ReadFull(res.Body, first[:]); err != nil || first[0] != 'a' {
		t.Fatalf("the first piece: %q, %v; it must not wait for the second", first, err)
	}
	close(seen)
	if rest, err := io.ReadAll(res.Body); err != nil || string(rest) != "b" {
		t.Fatalf("the rest: %q, %v", rest, err)
	}
}

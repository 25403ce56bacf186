package rest

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/daypass/daypass/internal/broker"
)

// bodies are good bodies of the calls that have one.
var bodies = map[string]string{
	"createRequest":    `{"resource":"orders-api","role":"read","duration":"15m"}`,
	"reviewRequest":    `{"decision":"approve","content_hash":"sha256:ab"}`,
	"createCredential": `{"format":"token"}`,
	"revokeGrant":      `{"reason":"done"}`,
	"extendGrant":      `{"duration":"10m"}`,
	"revokeEverything": `{"principal":"user:ana"}`,
	"createToken":      `{"ttl":"24h"}`,
	"setIssuing":       `{"enabled":false}`,
	"explainCatalog":   `{"principal":"user:ana","resource":"orders-api","role":"read","duration":"15m"}`,
	"eraseTexts":       `{"principal":"user:ana","reason":"asked"}`,
	"endQuarantine":    `{"keep_tokens":false}`,
	"putCatalog":       `{"principals":[]}`,
	"checkCatalog":     `{"principals":[]}`,
	"backtestCatalog":  `{"principals":[]}`,
}

func pathOf(rt Route) string {
	p := strings.ReplaceAll(rt.Path, "{id}", "some_id")
	if rt.ID == "getProof" {
		p += "?event=evt_a"
	}
	return p
}

// The whole inventory: a mutating route reaches the broker exactly once, and
// only for a caller who is authenticated.
//
// Invariant: A33
func TestEveryMutatingRouteIsAuthenticatedAndAsksTheBroker(t *testing.T) {
	f := newFace(t)
	mutations := 0
	for _, rt := range Routes() {
		if rt.Public {
			if rt.Mutates() {
				t.Errorf("%s mutates and is public", rt.ID)
			}
			continue
		}
		f.broker.reset()
		r := request(rt.Method, pathOf(rt), bodies[rt.ID])
		r.Header.Del("Authorization")
		res := f.do(r)
		problemIn(t, res, http.StatusUnauthorized, "unauthorized")
		if len(f.broker.calls) != 0 {
			t.Errorf("%s without a token asked the broker for %v", rt.ID, f.broker.calls)
		}
		r = request(rt.Method, pathOf(rt), bodies[rt.ID])
		r.Header.Set("Authorization", "Bearer dpat_bad")
		problemIn(t, f.do(r), http.StatusUnauthorized, "unauthorized")
		if len(f.broker.calls) != 0 {
			t.Errorf("%s with a wrong token asked the broker for %v", rt.ID, f.broker.calls)
		}
		if !rt.Mutates() {
			continue
		}
		res = f.call(rt.Method, pathOf(rt), bodies[rt.ID])
		if res.StatusCode >= 300 {
			t.Errorf("%s answered %d", rt.ID, res.StatusCode)
		}
		if f.broker.mutations() != 1 || len(f.broker.calls) != 1 {
			t.Errorf("%s asked the broker for %v, want one mutation", rt.ID, f.broker.calls)
		}
		mutations++
	}
	if mutations != len(mutating)-1 { // DryRun shares its route with Submit
		t.Errorf("%d mutating routes, %d mutating calls of the broker", mutations, len(mutating)-1)
	}
}

// Neither a safe method nor a method in a header or a query does anything.
//
// Invariant: A14
// Attack: REQ-19
func TestSafeMethodsNeverMutate(t *testing.T) {
	f := newFace(t)
	f.broker.stream = nil
	for _, rt := range Routes() {
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodOptions} {
			path := pathOf(rt)
			sep := "?"
			if strings.Contains(path, "?") {
				sep = "&"
			}
			r := request(method, path+sep+"_method=DELETE&method=POST", bodies[rt.ID])
			r.Header.Set("X-HTTP-Method-Override", "DELETE")
			r.Header.Set("X-Method-Override", "POST")
			r.Header.Set("X-HTTP-Method", "PUT")
			res := f.do(r)
			if rt.Mutates() && method != http.MethodGet && res.StatusCode < 300 && !hasGet(rt.Path) {
				t.Errorf("%s %s answered %d", method, path, res.StatusCode)
			}
		}
	}
	if n := f.broker.mutations(); n != 0 {
		t.Fatalf("%d mutations by safe methods: %v", n, f.broker.calls)
	}
	if len(f.broker.calls) < 20 {
		t.Fatalf("only %v were called; the test looks at nothing", f.broker.calls)
	}
}

func hasGet(path string) bool {
	for _, rt := range Routes() {
		if rt.Path == path && rt.Method == http.MethodGet {
			return true
		}
	}
	return false
}

func TestUnknownPathsAndMethodsAreProblems(t *testing.T) {
	f := newFace(t)
	for _, path := range []string{"/v1", "/v1/", "/v1/nothing", "/v1//me", "/v1/requests/../me", "/v1/requests/a%2Fb", "/v1/requests/a%00", "/v1/requests/a%ff", "/v1/requests/a%0a", "/oauth/introspect"} {
		r := request("GET", "/", "")
		u, err := url.Parse("http://127.0.0.1:7400" + path)
		if err != nil {
			t.Fatal(err)
		}
		r.URL = u
		problemIn(t, f.do(r), http.StatusNotFound, "not_found")
	}
	for path, allow := range map[string]string{"/v1/requests": "POST, GET, HEAD", "/v1/requests/x/cancel": "POST", "/v1/sessions/x": "GET, HEAD, DELETE", "/docs": "GET, HEAD"} {
		for _, method := range []string{"PATCH", "OPTIONS", "TRACE", "BREW"} {
			res := f.call(method, path, "")
			problemIn(t, res, http.StatusMethodNotAllowed, "method_not_allowed")
			if got := res.Header.Get("Allow"); got != allow {
				t.Errorf("%s: Allow %q, want %q", path, got, allow)
			}
		}
	}
}

// The statuses of CONTRACT §5.
func TestStatusesAndLocations(t *testing.T) {
	f := newFace(t)
	for _, c := range []struct {
		method, path, body string
		state              string
		status             int
		location           string
		retry              bool
	}{
		{"POST", "/v1/requests", bodies["createRequest"], "pending", 202, "/v1/requests/req_a", true},
		{"POST", "/v1/requests", bodies["createRequest"], "approved", 201, "/v1/requests/req_a", false},
		{"POST", "/v1/requests?dry_run=true", bodies["createRequest"], "pending", 200, "", false},
		{"POST", "/v1/requests/req_a/reviews", bodies["reviewRequest"], "approved", 200, "", false},
		{"POST", "/v1/requests/req_a/cancel", "", "cancelled", 200, "", false},
		{"POST", "/v1/requests/req_a/cancel", "{}", "cancelled", 200, "", false},
		{"POST", "/v1/grants/grt_a/credentials", "", "", 201, "/v1/grants/grt_a", false},
		{"POST", "/v1/grants/grt_a/revoke", "", "", 200, "", false},
		{"POST", "/v1/grants/grt_a/extend", bodies["extendGrant"], "pending", 202, "/v1/requests/req_a", true},
		{"POST", "/v1/grants/grt_a/extend", bodies["extendGrant"], "approved", 201, "/v1/requests/req_a", false},
		{"POST", "/v1/revocations", bodies["revokeEverything"], "", 200, "", false},
		{"DELETE", "/v1/sessions/ses_a", "", "", 202, "/v1/sessions", false},
		{"POST", "/v1/tokens", bodies["createToken"], "", 201, "/v1/tokens/tok_n", false},
		{"DELETE", "/v1/tokens/tok_a", "", "", 204, "", false},
		{"PUT", "/v1/issuing", bodies["setIssuing"], "", 200, "", false},
		{"POST", "/v1/keys/rotate", "", "", 200, "", false},
	} {
		view := pendingView(1)
		view.State = c.state
		f.broker.view = func() broker.View { return view }
		res := f.call(c.method, c.path, c.body)
		if res.StatusCode != c.status || res.Header.Get("Location") != c.location || (res.Header.Get("Retry-After") != "") != c.retry {
			t.Errorf("%s %s (%s): %d Location %q Retry-After %q", c.method, c.path, c.state, res.StatusCode, res.Header.Get("Location"), res.Header.Get("Retry-After"))
		}
	}
}

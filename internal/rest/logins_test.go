package rest

import (
	"net/http"
	"testing"
)

const cookieName = "__Host-daypass"

// byCookie is a request of a browser that is logged in, with what it says of
// the page that sends it.
func byCookie(rt Route, headers map[string]string) *http.Request {
	r := request(rt.Method, pathOf(rt), bodies[rt.ID])
	r.Header.Del("Authorization")
	r.AddCookie(&http.Cookie{Name: cookieName, Value: goodCookie})
	for name, value := range headers {
		r.Header.Set(name, value)
	}
	return r
}

func loggedInFace(t *testing.T) *face {
	return newFace(t, func(d *Deps) { d.Bearer = NewBearer(d.Broker.(*fakeBroker)).WithLogins(d.PublicURL) })
}

// The whole inventory: with a cookie nothing is changed unless the browser says
// that a page of this server sent it.
//
// Invariant: A14
// Attack: WEB-02
func TestACookieChangesNothingFromElsewhere(t *testing.T) {
	f := loggedInFace(t)
	mutations := 0
	for _, rt := range Routes() {
		if !rt.Mutates() || rt.Public {
			continue
		}
		mutations++
		for name, headers := range map[string]map[string]string{
			"nothing said":       {},
			"another site":       {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
			"a sibling":          {"Sec-Fetch-Site": "same-site", "Origin": "https://sibling.example"},
			"typed by hand":      {"Sec-Fetch-Site": "none"},
			"an older browser":   {"Origin": "https://evil.example"},
			"a sandbox":          {"Origin": "null"},
			"another scheme":     {"Origin": "http://daypass.example"},
			"another port":       {"Origin": "https://daypass.example:8443"},
			"a name that begins": {"Origin": "https://daypass.example.evil.example"},
			"text as JSON":       {"Content-Type": "text/plain", "Origin": "https://evil.example"},
		} {
			f.broker.reset()
			res := f.do(byCookie(rt, headers))
			if res.StatusCode != http.StatusForbidden || len(f.broker.calls) != 0 {
				t.Errorf("%s from %s: %d, and the broker was asked for %v", rt.ID, name, res.StatusCode, f.broker.calls)
			}
		}
		for _, headers := range []map[string]string{{"Sec-Fetch-Site": "same-origin"}, {"Origin": "https://daypass.example"}} {
			f.broker.reset()
			if res := f.do(byCookie(rt, headers)); res.StatusCode >= 300 || f.broker.mutations() != 1 {
				t.Errorf("%s from the server's own page (%v): %d, %v", rt.ID, headers, res.StatusCode, f.broker.calls)
			}
		}
	}
	if mutations != len(mutating)-1 {
		t.Fatalf("%d mutating routes were looked at, want %d", mutations, len(mutating)-1)
	}
}

// Attack: WEB-05
func TestACookieIsACallerAndNothingIsKept(t *testing.T) {
	f := loggedInFace(t)
	read := 0
	for _, rt := range Routes() {
		if rt.Mutates() || rt.Public || rt.Waits {
			continue
		}
		read++
		res := f.do(byCookie(rt, nil))
		if res.StatusCode >= 400 {
			t.Errorf("%s with a cookie: %d", rt.ID, res.StatusCode)
		}
		if got := res.Header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("%s with a cookie may be kept: %q", rt.ID, got)
		}
	}
	if read < 10 {
		t.Fatalf("only %d routes were read", read)
	}
	for name, adjust := range map[string]func(*http.Request){
		"a wrong one":          func(r *http.Request) { r.Header.Set("Cookie", cookieName+"=dplc_bad") },
		"two of one name":      func(r *http.Request) { r.AddCookie(&http.Cookie{Name: cookieName, Value: goodCookie}) },
		"under another name":   func(r *http.Request) { r.Header.Set("Cookie", "daypass-loopback="+goodCookie) },
		"beside a wrong token": func(r *http.Request) { r.Header.Set("Authorization", "Bearer dpat_bad") },
		"as a token":           func(r *http.Request) { r.Header.Del("Cookie"); r.Header.Set("Authorization", "Bearer "+goodCookie) },
	} {
		r := byCookie(Route{Method: "GET", Path: "/v1/me"}, nil)
		adjust(r)
		problemIn(t, f.do(r), http.StatusUnauthorized, "unauthorized")
		_ = name
	}
}

// A server on which nobody logs in looks at no cookie.
func TestWithoutLoginsACookieIsNothing(t *testing.T) {
	problemIn(t, newFace(t).do(byCookie(Route{Method: "GET", Path: "/v1/me"}, nil)), http.StatusUnauthorized, "unauthorized")
}

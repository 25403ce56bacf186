package httpkind

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/live"
)

// postLogin sends the login form as a browser does.
func (s *site) postLogin(token, back string, headers ...string) *http.Response {
	s.t.Helper()
	form := url.Values{"token": {token}, "return": {back}}.Encode()
	req, _ := http.NewRequest("POST", s.url(loginPath), strings.NewReader(form))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := s.client().Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	return res
}

const sameOrigin = "same-origin"

// Invariant: A3, A14
// Attack: HTT-05, HTT-08
func TestABrowserLogsIn(t *testing.T) {
	for _, encrypted := range []bool{false, true} {
		t.Run(map[bool]string{false: "plain", true: "tls"}[encrypted], func(t *testing.T) {
			up, all := recorder(t)
			s := newSite(t, up, siteOptions{tls: encrypted, extra: `
  - id: other
    kind: http
    http: {upstream: ` + up + `}
    roles: {all: {methods: [GET], paths: ["/**"]}}
`})
			id, token := s.grant(everything, 10*time.Minute)
			html := "text/html,application/xhtml+xml,*/*;q=0.8"
			res, body := s.do("GET", `/v1/orders/7?q="><script>`, "", "Accept", html)
			if res.StatusCode != 401 || res.Header.Get("Content-Type") != "text/html; charset=utf-8" || res.Header.Get("Cache-Control") != "no-store" {
				t.Fatalf("%d %v", res.StatusCode, res.Header)
			}
			contains(t, res.Header.Get("Content-Security-Policy"), "default-src 'none'")
			contains(t, body, `action="/.daypass/login"`)
			contains(t, body, "https://daypass.example/request?resource=orders-api&amp;role=read")
			if strings.Contains(body, "<script") {
				t.Error("input is reflected unescaped")
			}

			res = s.postLogin(token, "/v1/orders/7?q=1", "Sec-Fetch-Site", sameOrigin)
			if res.StatusCode != 303 || res.Header.Get("Location") != "/v1/orders/7?q=1" {
				t.Fatalf("%d %v", res.StatusCode, res.Header)
			}
			cookies := res.Cookies()
			if len(cookies) != 1 {
				t.Fatalf("cookies %v", cookies)
			}
			c := cookies[0]
			grant, _ := s.index.Grant(id)
			if want := map[bool]string{false: "daypass", true: "__Host-daypass"}[encrypted]; c.Name != want || c.Secure != encrypted || !c.HttpOnly || c.Path != "/" ||
				c.Domain != "" || c.SameSite != http.SameSiteLaxMode || c.Expires.After(grant.ExpiresAt()) || !strings.HasPrefix(c.Value, "dpgc_") {
				t.Errorf("cookie %+v", c)
			}
			cookie := "a=b; " + c.Name + "=" + c.Value + "; c=d"

			if res, body := s.do("GET", "/v1/orders/7", "", "Cookie", cookie, "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"); res.StatusCode != 200 || body != "upstream says hello" {
				t.Fatalf("%d %s", res.StatusCode, body)
			}
			last := all()[len(all())-1]
			if got := last.header.Get("Cookie"); got != "a=b; c=d" {
				t.Errorf("the upstream saw the cookies %q", got)
			}
			if last.header.Get("Daypass-Grant") != id {
				t.Error("not the grant's request")
			}
			if res, body := s.do("GET", "/v1/orders/7", "", "Cookie", cookie, "Sec-Fetch-Mode", "navigate", "Accept", html); res.StatusCode != 200 {
				t.Fatalf("%d %s", res.StatusCode, body)
			}
			_, narrow := s.grant(`{"methods":["GET"],"paths":["/v1/orders/*"]}`, time.Minute)
			small := s.postLogin(narrow, "/", "Sec-Fetch-Site", sameOrigin).Cookies()[0]
			if res, body := s.do("GET", "/admin", "", "Cookie", small.Name+"="+small.Value, "Accept", html); res.StatusCode != 403 || !strings.Contains(body, "the grant allows GET on /v1/orders/*") || strings.Contains(body, "<form") {
				t.Errorf("outside the scope: %d %s", res.StatusCode, body)
			}
			// The cookie is good for this host and nothing else.
			if res, _ := s.do("GET", "/", "", "Cookie", cookie, "Host", "other.gw.test"); res.StatusCode != 401 {
				t.Errorf("on another host: %d", res.StatusCode)
			}
			if res, _ := s.do("GET", "/", c.Value); res.StatusCode != 401 {
				t.Errorf("as a bearer token: %d", res.StatusCode)
			}
			if res, _ := s.do("GET", "/", "", "Cookie", c.Name+"="+token); res.StatusCode != 401 {
				t.Errorf("a token as a cookie: %d", res.StatusCode)
			}
			if res, _ := s.do("GET", "/", "", "Cookie", cookie+"; "+c.Name+"="+c.Value); res.StatusCode != 400 {
				t.Errorf("two login cookies: %d", res.StatusCode)
			}
			// What changes anything comes from this very host.
			origin := s.gw.scheme() + "://orders-api.gw.test"
			for _, h := range []struct {
				want    int
				headers []string
			}{
				{200, []string{"Sec-Fetch-Site", sameOrigin}},
				{200, []string{"Origin", origin}},
				{403, nil},
				{403, []string{"Sec-Fetch-Site", "same-site"}},
				{403, []string{"Sec-Fetch-Site", "cross-site"}},
				{403, []string{"Origin", s.gw.scheme() + "://other.gw.test"}},
				{403, []string{"Origin", "null"}},
			} {
				if res, _ := s.do("POST", "/v1/orders", "", append(h.headers, "Cookie", cookie)...); res.StatusCode != h.want {
					t.Errorf("POST with %q: %d", h.headers, res.StatusCode)
				}
			}
			if res, _ := s.do("GET", "/", "", "Cookie", cookie, "Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "cors"); res.StatusCode != 403 {
				t.Errorf("a background read of another site: %d", res.StatusCode)
			}
			if !encrypted {
				ws := []string{"Cookie", cookie, "Connection", "Upgrade", "Upgrade", "websocket"}
				if res, _ := s.do("GET", "/", "", append(ws, "Origin", "http://evil.gw.test")...); res.StatusCode != 403 {
					t.Errorf("a WebSocket of another site: %d", res.StatusCode)
				}
			}
			// A page's own Authorization header is the application's.
			s.do("GET", "/", "", "Cookie", cookie, "Authorization", "Bearer eyJ.app", "Sec-Fetch-Site", sameOrigin)
			if got := all()[len(all())-1].header.Get("Authorization"); got != "Bearer eyJ.app" {
				t.Errorf("the application's Authorization: %q", got)
			}
			s.do("GET", "/", "", "Cookie", cookie, "Authorization", "Negotiate abc", "Sec-Fetch-Site", sameOrigin)
			if got := all()[len(all())-1].header.Get("Authorization"); got != "" {
				t.Errorf("Authorization %q reached the upstream", got)
			}

			// Logging out ends the cookie, not the grant.
			if res, _ := s.do("GET", logoutPath, "", "Cookie", cookie, "Sec-Fetch-Site", sameOrigin); res.StatusCode != 200 || len(s.logouts) != 0 {
				t.Errorf("GET logged out: %d", res.StatusCode)
			}
			if res, _ := s.do("POST", logoutPath, "", "Cookie", cookie, "Sec-Fetch-Site", "cross-site"); res.StatusCode != 403 || len(s.logouts) != 0 {
				t.Errorf("another site logged out: %d", res.StatusCode)
			}
			res, _ = s.do("POST", logoutPath, "", "Cookie", cookie, "Sec-Fetch-Site", sameOrigin)
			if out := res.Cookies(); res.StatusCode != 303 || len(out) != 1 || out[0].MaxAge >= 0 || <-s.logouts != c.Value {
				t.Errorf("logout: %d %v", res.StatusCode, res.Cookies())
			}
			if res, _ := s.do("GET", "/", "", "Cookie", cookie); res.StatusCode != 401 {
				t.Errorf("after logout: %d", res.StatusCode)
			}
			if res, _ := s.do("GET", "/", token); res.StatusCode != 200 {
				t.Errorf("the token after logout: %d", res.StatusCode)
			}

			// A cookie ends with its grant.
			c = s.postLogin(token, "/", "Origin", origin).Cookies()[0]
			s.index.End(id, s.now(), live.ReasonRevoked)
			if res, body := s.do("GET", "/", "", "Cookie", c.Name+"="+c.Value, "Accept", html); res.StatusCode != 401 || !strings.Contains(body, "The grant ended at") {
				t.Errorf("after revocation: %d %s", res.StatusCode, body)
			}
			for _, seen := range all() {
				if strings.HasPrefix(seen.uri, "/.daypass") {
					t.Errorf("%s was forwarded", seen.uri)
				}
			}
		})
	}
}

// Attack: HTT-08
func TestLoginsThatAreRefused(t *testing.T) {
	up, all := recorder(t)
	s := newSite(t, up, siteOptions{})
	_, token := s.grant(everything, time.Hour)
	for _, headers := range [][]string{nil, {"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "http://evil.test"}, {"Origin", "null"}} {
		if res := s.postLogin(token, "/", headers...); res.StatusCode != 403 || len(res.Cookies()) != 0 {
			t.Errorf("%q: %d", headers, res.StatusCode)
		}
	}
	for _, bad := range []string{"", "x", "dpgt_", token + "x", "dpat_" + token[5:]} {
		if res := s.postLogin(bad, "/", "Sec-Fetch-Site", sameOrigin); res.StatusCode != 401 || len(res.Cookies()) != 0 {
			t.Errorf("%q: %d", bad, res.StatusCode)
		}
	}
	for back, want := range map[string]string{
		"/a?b=c": "/a?b=c", "//evil.test": "/", "https://evil.test": "/", "/\\evil.test": "/", "/a/../b": "/", "": "/", "/.daypass/logout": "/", "/a\r\nX: y": "/",
	} {
		if res := s.postLogin(token, back, "Sec-Fetch-Site", sameOrigin); res.Header.Get("Location") != want {
			t.Errorf("return to %q: %q", back, res.Header.Get("Location"))
		}
	}
	for path, want := range map[string]int{"/.daypass": 404, "/.daypass/": 404, "/.daypass/x": 404, "/%2edaypass/login": 200, "/.daypass/login/": 404} {
		if res, _ := s.do("GET", path, token); res.StatusCode != want {
			t.Errorf("%s: %d", path, res.StatusCode)
		}
	}
	if res, _ := s.do("DELETE", loginPath, token); res.StatusCode != 405 {
		t.Errorf("DELETE: %d", res.StatusCode)
	}
	if n := len(all()); n != 0 {
		t.Errorf("%d requests were forwarded", n)
	}
	// Programs get problem documents.
	for _, accept := range []string{"", "*/*", "application/json"} {
		if res, _ := s.do("GET", "/", "", "Accept", accept); res.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("Accept %q: %s", accept, res.Header.Get("Content-Type"))
		}
	}
}

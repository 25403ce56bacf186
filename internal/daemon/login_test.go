package daemon_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/config"
	"github.com/daypass/daypass/internal/daemon"
	"github.com/daypass/daypass/internal/oidc/providertest"
)

// logins is a whole server in this process, on which people log in by a
// provider.
type logins struct {
	t   *testing.T
	idp *providertest.Provider
	d   *daemon.Daemon
	url string
}

const loginCatalog = `
principals:
  - {id: user:ana, oidc: {issuer: %[1]q, subject: ana-1}, groups: [group:dev]}
  - {id: user:bo, oidc: {issuer: %[1]q, subject: bo-1}, groups: [group:dba]}
  - {id: user:ada, oidc: {issuer: %[1]q, subject: ada-1}, admin: true}
groups: [{id: group:dba, from_login: true}]
resources:
  - id: orders
    kind: http
    http: {upstream: "http://127.0.0.1:9"}
    roles: {read: {methods: [GET], paths: ["/**"]}}
policy:
  rules:
    - {name: r, when: "true", approve: {stages: [{name: dba, from: [group:dba], quorum: 1}]}, max_duration: 1h}
`

func startLogins(t *testing.T, more string) *logins {
	t.Helper()
	idp := providertest.New(t)
	return startFrom(t, idp, "identity:\n  oidc:\n"+
		"    - {name: idp, title: Example, issuer: "+fmt.Sprintf("%q", idp.URL)+", client_id: daypass, client_secret: {env: DAYPASS_TEST_IDP}, groups: {dbas: group:dba}, provision: {claim: preferred_username}}\n"+more,
		fmt.Sprintf(loginCatalog, idp.URL))
}

// startFrom starts a server from what its file says beside the folders, and a
// catalog.
func startFrom(t *testing.T, idp *providertest.Provider, server, catalog string) *logins {
	t.Helper()
	l := &logins{t: t, idp: idp}
	dir := t.TempDir()
	t.Setenv("DAYPASS_TEST_IDP", providertest.Secret)
	for name, content := range map[string]string{
		"catalog.yaml": catalog,
		"daypass.yaml": "listen: 127.0.0.1:0\ndata: ./data\ncatalog: ./catalog.yaml\n" + server,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := config.Load(filepath.Join(dir, "daypass.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if l.d, err = daemon.Start(context.Background(), daemon.Options{Config: cfg, Setup: func(string, time.Time) { t.Error("a server with people who log in offers a setup link") }}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := l.d.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	l.url = l.d.URL()
	return l
}

// as makes the provider vouch for somebody from now on.
func (l *logins) as(subject string, claims map[string]any) {
	l.idp.Set(func(p *providertest.Provider) { p.Subject, p.Claims = subject, claims })
}

// browser is one, with its own cookies.
type browser struct {
	*logins
	http *http.Client
}

func (l *logins) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		l.t.Fatal(err)
	}
	b := &browser{logins: l, http: &http.Client{Jar: jar, Timeout: patience}}
	b.http.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if r.URL.Path == "/callback" { // a command line's port
			return http.ErrUseLastResponse
		}
		return nil
	}
	return b
}

// page is what a browser shows.
type page struct {
	*http.Response
	text string
}

func (b *browser) do(r *http.Request, err error) page {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
	res, err := b.http.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return page{res, string(body)}
}

func (b *browser) get(path string) page {
	b.t.Helper()
	if strings.HasPrefix(path, "/") {
		path = b.url + path
	}
	return b.do(http.NewRequest(http.MethodGet, path, nil))
}

// post sends a form as a page of the server does.
func (b *browser) post(path string, form url.Values, adjust ...func(*http.Request)) page {
	b.t.Helper()
	r, err := http.NewRequest(http.MethodPost, b.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("Origin", b.url)
	for _, a := range adjust {
		a(r)
	}
	return b.do(r, nil)
}

// logIn goes through the pages, and says who came out.
func (b *browser) logIn() string {
	b.t.Helper()
	if p := b.get("/login/start/idp"); p.StatusCode != http.StatusOK {
		b.t.Fatalf("the login: %s\n%s", p.Status, p.text)
	}
	return b.me()
}

func (b *browser) me() string {
	b.t.Helper()
	p := b.get("/v1/me")
	var me struct{ ID string }
	if json.Unmarshal([]byte(p.text), &me) != nil || p.StatusCode != http.StatusOK {
		return ""
	}
	return me.ID
}

// cookie is the login that the browser holds.
func (b *browser) cookie() string {
	u, err := url.Parse(b.url)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, c := range b.http.Jar.Cookies(u) {
		if c.Name == "daypass-loopback" {
			return c.Value
		}
	}
	return ""
}

// Attack: OID-01, OID-09
func TestPeopleLogInWithABrowser(t *testing.T) {
	l := startLogins(t, "")
	l.as("ana-1", nil)
	ana := l.browser()
	if p := ana.get("/login"); !strings.Contains(p.text, `href="/login/start/idp?return_to=%2F"`) || !strings.Contains(p.text, ">Example<") {
		t.Errorf("the choice:\n%s", p.text)
	}
	// Fixation: whatever the browser held before is not what it holds after.
	u, _ := url.Parse(l.url)
	ana.http.Jar.SetCookies(u, []*http.Cookie{{Name: "daypass-loopback", Value: "dplc_planted", Path: "/"}})
	if who := ana.logIn(); who != "user:ana" {
		t.Fatalf("it is %q", who)
	}
	first := ana.cookie()
	if first == "dplc_planted" || !strings.HasPrefix(first, "dplc_") {
		t.Fatalf("the browser holds %q", first)
	}
	if ana.logIn(); ana.cookie() == first {
		t.Error("a second login did not change the cookie")
	}
	thief := l.browser()
	thief.http.Jar.SetCookies(u, []*http.Cookie{{Name: "daypass-loopback", Value: ana.cookie(), Path: "/"}})
	if thief.me() != "user:ana" {
		t.Fatal("the test steals nothing")
	}
	// The answer of one browser's login is worth nothing in another.
	var back string
	ana.http.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.Path, "/login/callback/") {
			back = r.URL.String()
			return http.ErrUseLastResponse
		}
		return nil
	}
	ana.get("/login/start/idp")
	if p := l.browser().get(back); p.StatusCode != http.StatusForbidden || p.Header.Get("Set-Cookie") != "" {
		t.Errorf("another browser came back with it: %s", p.Status)
	}
	ana.http.CheckRedirect = nil
	if p := ana.get(back); p.StatusCode != http.StatusOK {
		t.Errorf("its own came back: %s", p.Status)
	}
	if p := ana.get(back); p.StatusCode != http.StatusForbidden {
		t.Errorf("a second time: %s", p.Status)
	}
	// A logout that another site's page sends does nothing; one's own ends it
	// everywhere that the cookie has got to.
	cross := func(r *http.Request) {
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		r.Header.Set("Origin", "https://evil.example")
	}
	if p := ana.post("/logout", nil, cross); p.StatusCode != http.StatusForbidden || ana.me() == "" {
		t.Errorf("logged out from elsewhere: %s", p.Status)
	}
	thief.http.Jar.SetCookies(u, []*http.Cookie{{Name: "daypass-loopback", Value: ana.cookie(), Path: "/"}})
	if p := ana.post("/logout", nil); p.StatusCode != http.StatusOK {
		t.Errorf("the logout: %s", p.Status)
	}
	if ana.me() != "" || thief.me() != "" {
		t.Error("somebody is still logged in after the logout")
	}
}

// Every page has the headers that keep it from being framed, kept, or run.
//
// Attack: WEB-02, WEB-03, WEB-05, WEB-09, OID-11
func TestPagesOfLogins(t *testing.T) {
	l := startLogins(t, "")
	l.as("ana-1", nil)
	b := l.browser()
	b.logIn()
	const evil = `"><script>alert(1)</script>`
	for _, p := range []page{
		b.get("/login"), l.browser().get("/login?return_to=" + url.QueryEscape("//evil.example/"+evil)), b.get("/device"), b.post("/device", url.Values{"code": {evil}}),
		b.get("/setup?link=" + url.QueryEscape(evil)), b.post("/setup", url.Values{"link": {evil}}), b.get("/login/start/" + url.PathEscape("x'y")), b.get("/login/callback/idp?state=x&error=" + url.QueryEscape(evil)),
		b.get("/oauth/authorize?client_id=" + url.QueryEscape(evil)), b.get("/login/nothing"),
	} {
		csp := p.Header.Get("Content-Security-Policy")
		if !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") || p.Header.Get("Cache-Control") != "no-store" ||
			p.Header.Get("X-Frame-Options") != "DENY" || p.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", p.Request.URL, p.Header)
		}
		if strings.Contains(p.text, "<script>") || strings.Contains(p.text, "evil.example") || !strings.Contains(p.text, "<h1>") {
			t.Errorf("%s says\n%s", p.Request.URL, p.text)
		}
	}
	style := regexp.MustCompile(`/assets/[0-9a-f]+\.css`).FindString(b.get("/login").text)
	if p := b.get(style); p.StatusCode != http.StatusOK || p.Header.Get("Content-Type") != "text/css; charset=utf-8" || !strings.Contains(p.Header.Get("Cache-Control"), "immutable") {
		t.Errorf("the style sheet %q: %s %v", style, p.Status, p.Header)
	}
	for _, path := range []string{"/logout", "/setup", "/device", "/device/confirm", "/oauth/authorize"} {
		for _, from := range []string{"cross-site", "same-site", "none", ""} {
			p := b.post(path, url.Values{"answer": {"yes"}}, func(r *http.Request) {
				r.Header.Del("Origin")
				if r.Header.Set("Sec-Fetch-Site", from); from == "" {
					r.Header.Del("Sec-Fetch-Site")
				}
			})
			if p.StatusCode != http.StatusForbidden {
				t.Errorf("%s from %q: %s", path, from, p.Status)
			}
		}
	}
	// Whoever is not let in is told the same, and the same as one who is unknown.
	l.as("nobody-1", nil)
	unknown := l.browser().get("/login/start/idp")
	l.as("nobody-2", map[string]any{"preferred_username": "ada"})
	taken := l.browser().get("/login/start/idp")
	if unknown.StatusCode != http.StatusForbidden || unknown.text != taken.text {
		t.Errorf("%s, and somebody with a name of the catalog:\n%s", unknown.Status, taken.text)
	}
}

// Groups of a login give rights, those of the provider alone, and no longer
// than it says so.
//
// Attack: OID-07, OID-08
func TestWhatAProviderSaysGivesRights(t *testing.T) {
	l := startLogins(t, "")
	l.as("newt-1", map[string]any{"preferred_username": "newt", "groups": []string{"dbas"}})
	newt := l.browser()
	if who := newt.logIn(); who != "user:newt" {
		t.Fatalf("it is %q", who)
	}
	l.as("ana-1", nil)
	ana := l.browser()
	ana.logIn()
	asJSON := func(r *http.Request) { r.Header.Set("Content-Type", "application/json") }
	api := func(b *browser, path, body string) page {
		t.Helper()
		r, err := http.NewRequest(http.MethodPost, b.url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		asJSON(r)
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		return b.do(r, nil)
	}
	var made struct {
		ID   string `json:"id"`
		Hash string `json:"content_hash"`
	}
	asked := api(ana, "/v1/requests", `{"resource":"orders","role":"read","duration":"15m","reason":"x"}`)
	if err := json.Unmarshal([]byte(asked.text), &made); err != nil || asked.StatusCode != http.StatusAccepted {
		t.Fatalf("%s %s", asked.Status, asked.text)
	}
	vote := `{"decision":"approve","content_hash":"` + made.Hash + `"}`
	// The provider is away: who is in stays in.
	l.idp.Set(func(p *providertest.Provider) { p.Away = true })
	if p := l.browser().get("/login/start/idp"); p.StatusCode != http.StatusServiceUnavailable {
		// It has told us about itself before, so that the browser gets as far as it.
		if p.Request.URL.Host == strings.TrimPrefix(l.url, "http://") {
			t.Errorf("a login while the provider is away: %s", p.Status)
		}
	}
	if p := api(newt, "/v1/requests/"+made.ID+"/reviews", vote); p.StatusCode != http.StatusOK {
		t.Errorf("somebody in a group by a login: %s %s", p.Status, p.text)
	}
	l.idp.Set(func(p *providertest.Provider) { p.Away = false })
	for _, b := range []struct{ path, body string }{{"/v1/tokens", `{"ttl":"721h"}`}} {
		if p := api(ana, b.path, b.body); p.StatusCode != http.StatusUnprocessableEntity {
			t.Errorf("%s %s: %s", b.path, b.body, p.Status)
		}
	}
}

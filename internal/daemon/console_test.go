package daemon_test

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/daypass/daypass/internal/oidc/providertest"
	"github.com/daypass/daypass/internal/web"
)

// visitors are a server and the browsers of some who are logged in to it.
type visitors struct {
	*logins
	ana, bo, ada *browser
}

func startVisitors(t *testing.T) visitors {
	t.Helper()
	p := visitors{logins: startLogins(t, "gateways:\n  http: {listen: 127.0.0.1:0, domain: localhost}\n")}
	for subject, b := range map[string]**browser{"ana-1": &p.ana, "bo-1": &p.bo, "ada-1": &p.ada} {
		p.as(subject, map[string]any{"groups": map[string][]string{"bo-1": {"dbas"}}[subject]})
		*b = p.browser()
		if (*b).logIn() == "" {
			t.Fatalf("%s is not logged in", subject)
		}
	}
	return p
}

var hiddenField = regexp.MustCompile(`<input type="hidden" name="([a-z_]+)" value="([^"]*)">`)

// formOf gives the hidden fields of the form on a page that is sent to a path.
func formOf(t *testing.T, p page, action string) url.Values {
	t.Helper()
	_, form, found := strings.Cut(p.text, `action="`+action+`"`)
	if !found {
		t.Fatalf("%s has no form for %s:\n%s", p.Request.URL, action, p.text)
	}
	form, _, _ = strings.Cut(form, "</form>")
	out := url.Values{}
	for _, m := range hiddenField.FindAllStringSubmatch(form, -1) {
		out.Set(m[1], html.UnescapeString(m[2]))
	}
	return out
}

// with is a form with some fields set.
func with(form url.Values, pairs ...string) url.Values {
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	return form
}

// asks goes through Request, from the link of a denial to the page of the new
// request, and says its path.
func (b *browser) asks(reason string) string {
	b.t.Helper()
	form := formOf(b.t, b.get("/request?resource=orders&role=read&for=20m"), "/request")
	preview := b.post("/request", with(form, "role", "read", "for", "other", "other", "20m", "reason", reason, "ticket", "INC-1", "step", "preview"))
	if preview.StatusCode != http.StatusOK || !strings.Contains(preview.text, "It would need 1 approval") {
		b.t.Fatalf("the preview: %s\n%s", preview.Status, preview.text)
	}
	form = formOf(b.t, preview, "/request")
	sent := b.post("/request", with(form, "step", "send"))
	if sent.StatusCode != http.StatusOK || !strings.HasPrefix(sent.Request.URL.Path, "/requests/req_") {
		b.t.Fatalf("sending: %s %s\n%s", sent.Status, sent.Request.URL, sent.text)
	}
	// The same form sent again asks for nothing more.
	if again := b.post("/request", form); again.Request.URL.Path != sent.Request.URL.Path {
		b.t.Fatalf("sent twice it led to %s and %s", sent.Request.URL, again.Request.URL)
	}
	return sent.Request.URL.Path
}

// The whole story in browsers: ask, approve as somebody else, use, give back.
//
// Invariant: A14, A21
// Attack: WHK-10, WEB-05
func TestTheStoryInABrowser(t *testing.T) {
	p := startVisitors(t)
	link := p.ana.get("/request?resource=orders&role=read&for=20m")
	for _, want := range []string{`value="20m"`, `id="role-0" name="role" value="read" checked`, "1 approval", "At most 1h"} {
		if !strings.Contains(link.text, want) {
			t.Errorf("the link of a denial shows no %q:\n%s", want, link.text)
		}
	}
	path := p.ana.asks("refund totals")
	if mine := p.ana.get("/"); !strings.Contains(mine.text, path) || !strings.Contains(mine.text, "needs the approval of 1 of group:dba") || strings.Contains(mine.text, "Show a credential") {
		t.Errorf("what waits is not in My access:\n%s", mine.text)
	}
	// Nobody approves their own: there is no form, and none that is made up helps.
	own := p.ana.get(path)
	hash := regexp.MustCompile(`sha256:[0-9a-f]+`).FindString(own.text)
	if strings.Contains(own.text, `/review"`) || hash == "" {
		t.Errorf("the requester is offered a vote:\n%s", own.text)
	}
	if forged := p.ana.post(path+"/review", url.Values{"decision": {"approve"}, "content_hash": {hash}}); forged.StatusCode != http.StatusForbidden || !strings.Contains(forged.text, "Nothing was decided by you") {
		t.Errorf("one's own vote: %s\n%s", forged.Status, forged.text)
	}
	inbox := p.bo.get("/inbox")
	if !strings.Contains(inbox.text, path) || !strings.Contains(inbox.text, "refund totals") {
		t.Fatalf("the inbox:\n%s", inbox.text)
	}
	// Who opens the link, however often, has decided nothing.
	var open page
	for range 3 {
		open = p.bo.get(path)
		_ = p.bo.do(http.NewRequest(http.MethodHead, p.url+path, nil))
	}
	_ = p.bo.get(path + "/review")
	if now := p.ana.get(path); !strings.Contains(now.text, "nobody yet") {
		t.Fatalf("opening the page has voted:\n%s", now.text)
	}
	for _, want := range []string{"refund totals", "INC-1", "user:ana", "needs the approval of", "What else they have", "This is the first", `<option value="15m"`} {
		if !strings.Contains(open.text, want) {
			t.Errorf("the approver does not see %q:\n%s", want, open.text)
		}
	}
	// A vote on anything else than what the page showed does not count.
	form := formOf(t, open, path+"/review")
	if stale := p.bo.post(path+"/review", url.Values{"decision": {"approve"}, "content_hash": {"sha256:" + strings.Repeat("0", 64)}, "comment": {"I wrote this"}}); stale.StatusCode != http.StatusPreconditionFailed ||
		!strings.Contains(stale.text, "Nothing was decided by you") || !strings.Contains(stale.text, "I wrote this</textarea>") || !strings.Contains(p.ana.get(path).text, "nobody yet") {
		t.Errorf("a vote on other content: %s\n%s", stale.Status, stale.text)
	}
	done := p.bo.post(path+"/review", with(form, "decision", "approve", "shorter", "15m", "comment", "go on"))
	if done.StatusCode != http.StatusOK || !strings.Contains(done.text, "Approved by user:bo") || !strings.Contains(done.text, "for 15m") {
		t.Fatalf("the approval: %s\n%s", done.Status, done.text)
	}
	// It was decided meanwhile: that is said, and nothing is lost.
	if late := p.bo.post(path+"/review", with(form, "decision", "deny", "comment", "too late")); late.StatusCode != http.StatusConflict || !strings.Contains(late.text, "Nothing was decided by you") {
		t.Errorf("a vote that came late: %s\n%s", late.Status, late.text)
	}
	mine := p.ana.get("/")
	grant := regexp.MustCompile(`/grants/grt_[a-z0-9]+/credential`).FindString(mine.text)
	if grant == "" || !strings.Contains(mine.text, "14 min") || !strings.Contains(mine.text, "http://orders.localhost") {
		t.Fatalf("My access:\n%s", mine.text)
	}
	form = formOf(t, mine, grant)
	shown := p.ana.post(grant, form)
	secret := regexp.MustCompile(`dpgt_[A-Za-z0-9_-]+`).FindString(shown.text)
	if secret == "" || shown.StatusCode != http.StatusOK || shown.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("the credential: %s\n%s", shown.Status, shown.text)
	}
	if again := p.ana.post(grant, form); again.StatusCode != http.StatusConflict || strings.Contains(again.text, "dpgt_") {
		t.Errorf("the same form shows a credential again: %s\n%s", again.Status, again.text)
	}
	for _, path := range []string{"/", path} {
		if strings.Contains(p.ana.get(path).text, secret) {
			t.Errorf("%s shows the secret", path)
		}
	}
	use := func() int {
		r, err := http.NewRequest(http.MethodGet, "http://"+p.d.GatewayAddr("http")+"/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "orders.localhost"
		r.Header.Set("Authorization", "Bearer "+secret)
		return p.browser().do(r, nil).StatusCode
	}
	if got := use(); got != http.StatusBadGateway { // let through, to a service that is not there
		t.Errorf("using it: %d", got)
	}
	more := strings.Replace(grant, "/credential", "/extend", 1)
	if wrong := p.ana.post(more, with(formOf(t, p.ana.get(more), more), "for", "soon", "reason", "one more table")); wrong.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(wrong.text, "one more table") || !strings.Contains(wrong.text, "Say how long") {
		t.Errorf("a length that is none: %s\n%s", wrong.Status, wrong.text)
	}
	if p.bo.post(strings.Replace(grant, "/credential", "/extend", 1), url.Values{"for": {"5m"}}).StatusCode != http.StatusForbidden {
		t.Error("somebody else got more time")
	}
	back := p.ana.post(strings.Replace(grant, "/credential", "/end", 1), nil)
	if !strings.Contains(back.text, "returned") || use() == http.StatusBadGateway {
		t.Errorf("it was given back and works on:\n%s", back.text)
	}
	if lately := p.ana.get("/"); !strings.Contains(lately.text, "You hold no access now") || !strings.Contains(lately.text, path) {
		t.Errorf("My access afterwards:\n%s", lately.text)
	}
	if record := p.ada.get(path); !strings.Contains(record.text, "review recorded") || !strings.Contains(record.text, "credential issued") {
		t.Errorf("an admin does not see the record:\n%s", record.text)
	}
}

// What is wrong is said beside its field, and nothing that was typed is lost.
func TestFormsKeepWhatWasTyped(t *testing.T) {
	p := startVisitors(t)
	form := formOf(t, p.ana.get("/request?resource=orders"), "/request")
	good := map[string]string{"role": "read", "for": "15m", "reason": "because <b>& so", "ticket": "T-1", "start_at": "", "step": "preview"}
	for name, c := range map[string]struct{ field, value, says string }{
		"a length that is none":     {"for", "soon", "Say how long"},
		"a length that is too long": {"for", "2h", "at most 1h"},
		"a role that is none":       {"role", "write", "has no role"},
		"a start that is none":      {"start_at", "tomorrow", "Say when"},
		"a start too far away":      {"start_at", "2099-01-01T00:00", "at most 30 days"},
		"a reason too long":         {"reason", strings.Repeat("é", 4097), "at most 4096"},
		"a reason that is no text":  {"reason", "a\x00b", "characters that are none"},
	} {
		for _, step := range []string{"preview", "send"} {
			sent := with(url.Values{}, "resource", "orders", "key", form.Get("key"))
			for k, v := range good {
				sent.Set(k, v)
			}
			sent.Set(c.field, c.value)
			sent.Set("step", step)
			got := p.ana.post("/request", sent)
			if got.StatusCode < 400 || got.StatusCode >= 500 || !strings.Contains(got.text, c.says) {
				t.Errorf("%s, %s: %s\n%s", name, step, got.Status, got.text)
			}
			if c.field != "reason" && !strings.Contains(got.text, "because &lt;b&gt;&amp; so</textarea>") || !strings.Contains(got.text, `value="T-1"`) {
				t.Errorf("%s: what was typed is lost:\n%s", name, got.text)
			}
		}
	}
	if mine := p.ana.get("/"); strings.Contains(mine.text, "/requests/") {
		t.Errorf("something was sent:\n%s", mine.text)
	}
	for _, gone := range []string{"/request?resource=" + url.QueryEscape("<script>x"), "/requests/req_none", "/grants/grt_none/extend"} {
		if got := p.ana.get(gone); got.StatusCode != http.StatusNotFound || !strings.Contains(got.text, `href="/request`) {
			t.Errorf("%s leads nowhere: %s\n%s", gone, got.Status, got.text)
		}
	}
}

// Text of people stays text on every page that shows it, all of it, with what
// would hide or turn it made visible.
//
// Attack: WEB-01, WEB-09, REQ-04
func TestTextStaysText(t *testing.T) {
	p := startVisitors(t)
	const evil = `"'><script>alert(1)</script><img src=x onerror=alert(2)>{{.}}[x](javascript:alert(3))` + "\u202edetrevni\u200b\x1b[31m"
	long := strings.Repeat("long words ", 360) + "THE END OF IT"
	path := p.ana.asks(evil + long)
	vote := formOf(t, p.bo.get(path), path+"/review")
	if !strings.Contains(p.bo.get(path).text, "THE END OF IT") {
		t.Error("an approver does not see all of the reason")
	}
	look := []page{
		p.ana.get(path), p.bo.get(path), p.bo.get("/inbox"), p.ana.get("/"), p.ana.get("/request?q=" + url.QueryEscape(evil)), p.ana.get("/request?resource=" + url.QueryEscape(evil)),
		p.ana.get("/request?resource=orders&role=" + url.QueryEscape(evil) + "&for=" + url.QueryEscape(evil)),
		p.bo.post(path+"/review", url.Values{"decision": {"approve"}, "content_hash": {evil}, "comment": {evil}, "shorter": {evil}}),
		p.ana.post("/request", url.Values{"resource": {"orders"}, "role": {evil}, "for": {evil}, "reason": {evil}, "ticket": {evil}, "start_at": {evil}, "step": {"preview"}}),
		p.bo.post(path+"/review", with(vote, "decision", "deny", "comment", evil)), p.ana.get(path), p.ada.get(path), p.ana.get("/"),
	}
	for _, got := range look {
		checkPage(t, got)
		doc, err := html.Parse(strings.NewReader(got.text))
		if err != nil {
			t.Fatal(err)
		}
		each(doc, func(n *html.Node) {
			if n.Type == html.TextNode && strings.ContainsAny(n.Data, "\u202e\u200b\x1b") && n.Parent.Data != "textarea" {
				t.Errorf("%s shows %q", got.Request.URL, n.Data)
			}
		})
	}
	if open := html.UnescapeString(p.ada.get(path).text); !strings.Contains(open, "⟨U+202E⟩") || !strings.Contains(open, "⟨U+200B⟩") || !strings.Contains(open, "⟨U+001B⟩") {
		t.Errorf("what turns or hides text is not shown:\n%s", open)
	}
}

// No form does anything for a page of another site, for nobody, or with GET.
//
// Invariant: A14
// Attack: WEB-02, WEB-03, WEB-05
func TestEveryFormIsOurOwn(t *testing.T) {
	p := startVisitors(t)
	path := p.ana.asks("x")
	id := strings.TrimPrefix(path, "/requests/")
	hash := formOf(t, p.bo.get(path), path+"/review")
	forms, seen := 0, 0
	for _, pattern := range web.Routes() {
		method, at, _ := strings.Cut(pattern, " ")
		at = strings.NewReplacer("{id}", id, "{provider}", "idp", "{$}", "").Replace(at)
		if method == http.MethodGet {
			if strings.HasPrefix(at, "/login/") {
				continue
			}
			seen++
			if got := p.bo.get(at); got.Header.Get("Cache-Control") != "no-store" || !strings.Contains(got.Header.Get("Content-Security-Policy"), "frame-ancestors 'none'") || strings.Contains(got.Header.Get("Content-Security-Policy"), "unsafe") {
				t.Errorf("%s: %v", at, got.Header)
			}
			continue
		}
		forms++
		all := with(url.Values{"decision": {"approve"}, "resource": {"orders"}, "role": {"read"}, "for": {"5m"}, "step": {"send"}, "reason": {"forged"}}, "content_hash", hash.Get("content_hash"))
		for _, from := range [][2]string{{"cross-site", "https://evil.example"}, {"same-site", "https://sub.example"}, {"none", ""}, {"", ""}, {"", "null"}, {"cross-site", p.url}} {
			got := p.bo.post(at, all, func(r *http.Request) {
				for name, v := range map[string]string{"Sec-Fetch-Site": from[0], "Origin": from[1]} {
					if r.Header.Set(name, v); v == "" {
						r.Header.Del(name)
					}
				}
			})
			if got.StatusCode != http.StatusForbidden {
				t.Errorf("%s from %q: %s", at, from, got.Status)
			}
		}
		if got := p.bo.post(at, all, func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }); got.StatusCode != http.StatusBadRequest {
			t.Errorf("%s as text/plain: %s", at, got.Status)
		}
		if at == "/login/as" || at == "/logout" || at == "/setup" || strings.HasPrefix(at, "/oauth/") {
			continue
		}
		if got := p.browser().post(at, all); got.Request.URL.Path != "/login" {
			t.Errorf("%s by nobody leads to %s, %s", at, got.Request.URL, got.Status)
		}
	}
	if forms < 10 || seen < 8 {
		t.Fatalf("only %d forms and %d pages: the test looks at nothing", forms, seen)
	}
	if now := p.ana.get(path); !strings.Contains(now.text, "nobody yet") || strings.Contains(p.bo.get("/").text, "forged") {
		t.Errorf("something of it was done:\n%s", now.text)
	}
	if nobody := p.browser().get(path); nobody.Request.URL.Path != "/login" || nobody.Request.URL.Query().Get("return_to") != path {
		t.Errorf("nobody gets to %s", nobody.Request.URL)
	}
}

// Each page is small, and what a screen reader needs is there.
func TestPagesAreWellMade(t *testing.T) {
	p := startVisitors(t)
	for _, empty := range []string{"/", "/inbox", "/request", "/request?q=nothing+like+it", "/request?resource=orders"} {
		checkPage(t, p.ana.get(empty))
	}
	path := p.ana.asks(strings.Repeat("a reason ", 200))
	for range 5 {
		p.ana.asks("another")
	}
	for _, b := range []*browser{p.ana, p.bo, p.ada} {
		for _, at := range []string{"/", "/inbox", "/request", path, "/login", "/device"} {
			checkPage(t, b.get(at))
		}
	}
	form := formOf(t, p.bo.get(path), path+"/review")
	checkPage(t, p.bo.post(path+"/review", with(form, "decision", "approve")))
	mine := p.ana.get("/")
	checkPage(t, mine)
	grant := regexp.MustCompile(`/grants/grt_[a-z0-9]+/`).FindString(mine.text)
	checkPage(t, p.ana.get(grant+"extend"))
	checkPage(t, p.ana.post(grant+"credential", formOf(t, mine, grant+"credential")))
	for _, asset := range []string{"css", "js"} {
		got := p.ana.get(regexp.MustCompile(`/assets/[0-9a-f]+\.` + asset).FindString(mine.text))
		if got.StatusCode != http.StatusOK || len(got.text) > 40<<10 || !strings.Contains(got.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("the %s: %s, %d bytes", asset, got.Status, len(got.text))
		}
	}
}

// Where nobody logs in with a browser, the pages say what does it, and what a
// query says reaches neither the markup nor a line to copy.
//
// Attack: WEB-01, WEB-09
func TestPagesWithoutAProvider(t *testing.T) {
	l := startFrom(t, providertest.New(t), "", "principals:\n  - {id: user:ana, token_sha256: \""+strings.Repeat("0", 64)+"\"}\n")
	b := l.browser()
	if got := b.get("/request?resource=orders&role=read"); got.StatusCode != http.StatusOK || !strings.Contains(got.text, "daypass request orders --role read --for 15m") {
		t.Errorf("%s\n%s", got.Status, got.text)
	}
	if got := b.get("/requests/req_abc"); !strings.Contains(got.text, "daypass approve req_abc") {
		t.Errorf("%s\n%s", got.Status, got.text)
	}
	for _, hostile := range []string{`<script>alert(1)</script>`, `"><b>`, `x; rm -rf ~`, "$(id)", "a'b", "a\nb", "../x", "`id`", "--as root", "а9"} {
		got := b.get("/request?resource=" + url.QueryEscape(hostile) + "&role=" + url.QueryEscape(hostile))
		if strings.Contains(got.text, hostile) || strings.Count(got.text, "RESOURCE") < 2 {
			t.Errorf("%q is in the page", hostile)
		}
	}
	if got := b.get("/"); got.Request.URL.Path != "/login" || !strings.Contains(got.text, "Nobody logs in here yet") {
		t.Errorf("%s\n%s", got.Request.URL, got.text)
	}
}

// checkPage looks at one page as a browser and a screen reader would.
func checkPage(t *testing.T, p page) {
	t.Helper()
	where := p.Request.Method + " " + p.Request.URL.String()
	if keep := os.Getenv("DAYPASS_TEST_PAGES"); keep != "" { // to look at them
		name := strings.NewReplacer("/", "_", "?", "_").Replace(p.Request.Method + p.Request.URL.Path)
		_ = os.WriteFile(filepath.Join(keep, name+".html"), []byte(p.text), 0o600)
	}
	if len(p.text) > 100<<10 {
		t.Errorf("%s is %d bytes long", where, len(p.text))
	}
	doc, err := html.Parse(strings.NewReader(p.text))
	if err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	labelled, ids, count := map[string]bool{}, map[string]int{}, map[string]int{}
	elements := func(f func(*html.Node)) {
		each(doc, func(n *html.Node) {
			if n.Type == html.ElementNode {
				f(n)
			}
		})
	}
	elements(func(n *html.Node) {
		count[n.Data]++
		if id := attr(n, "id"); id != "" {
			ids[id]++
		}
		if n.Data == "label" {
			labelled[attr(n, "for")] = true
		}
	})
	elements(func(n *html.Node) {
		for _, a := range n.Attr {
			if strings.HasPrefix(a.Key, "on") || a.Key == "style" || strings.HasPrefix(strings.ToLower(a.Val), "javascript:") || (a.Key == "src" || a.Key == "href" && n.Data == "link") && !strings.HasPrefix(a.Val, "/") {
				t.Errorf("%s: <%s %s=%q>", where, n.Data, a.Key, a.Val)
			}
			if a.Key == "aria-describedby" && ids[a.Val] != 1 {
				t.Errorf("%s: nothing is called %q, which describes <%s>", where, a.Val, n.Data)
			}
		}
		switch n.Data {
		case "style", "img", "iframe", "object":
			t.Errorf("%s has a <%s>", where, n.Data)
		case "script":
			if n.FirstChild != nil || attr(n, "src") == "" {
				t.Errorf("%s has an inline script", where)
			}
		case "input", "textarea", "select":
			if attr(n, "type") != "hidden" && !labelled[attr(n, "id")] {
				t.Errorf("%s: the field %q has no label", where, attr(n, "name"))
			}
		case "button", "a":
			if strings.TrimSpace(textOf(n)) == "" {
				t.Errorf("%s: a <%s> says nothing", where, n.Data)
			}
		case "form":
			if n.Parent != nil && n.Parent.Data == "p" || attr(n, "action") == "" {
				t.Errorf("%s: a form in a paragraph, or without an action", where)
			}
		}
	})
	for id, n := range ids {
		if n > 1 {
			t.Errorf("%s: %d elements are called %q", where, n, id)
		}
	}
	if count["h1"] != 1 || count["main"] != 1 || count["title"] != 1 {
		t.Errorf("%s: %d h1, %d main, %d title", where, count["h1"], count["main"], count["title"])
	}
}

func each(n *html.Node, f func(*html.Node)) {
	f(n)
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		each(c, f)
	}
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func textOf(n *html.Node) string {
	var b strings.Builder
	each(n, func(n *html.Node) {
		if n.Type == html.TextNode {
			b.WriteString(n.Data)
		}
	})
	return b.String()
}

package daemon_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

var setupURL = regexp.MustCompile(`http://\S+/setup\?link=\S+`)

// Invariant: A14, A23
func TestTheFirstAdminComesInByALink(t *testing.T) {
	s := files(t)
	s.write("daypass.yaml", "listen: 127.0.0.1:0\ndata: ./data\ngateways:\n  http: {listen: 127.0.0.1:0, domain: localhost}\n")
	s.start()
	link := setupURL.FindString(s.log.String())
	if link == "" {
		t.Fatalf("no link was printed:\n%s", s.log)
	}
	l := &logins{url: "http://" + s.api}
	first, second := l.browserOf(t), l.browserOf(t)
	for range 2 { // a scanner, and a preview
		if p := first.get(link); p.StatusCode != http.StatusOK || p.Header.Get("Set-Cookie") != "" {
			t.Fatalf("to open it: %s %v", p.Status, p.Header)
		}
	}
	form := fields(first.get(link).text)
	if p := first.post("/setup", form); p.StatusCode != http.StatusOK || first.me() != "user:setup" {
		t.Fatalf("the link: %s, and the browser is %q", p.Status, first.me())
	}
	if p := second.post("/setup", form); p.StatusCode != http.StatusForbidden || second.me() != "" {
		t.Errorf("a second time: %s", p.Status)
	}
	put, err := http.NewRequest(http.MethodPut, l.url+"/v1/catalog", strings.NewReader(s.read("catalog.yaml")))
	if err != nil {
		t.Fatal(err)
	}
	put.Header.Set("Content-Type", "application/yaml")
	put.Header.Set("Sec-Fetch-Site", "same-origin")
	if p := first.do(put, nil); p.StatusCode != http.StatusOK {
		t.Fatalf("the catalog: %s %s", p.Status, p.text)
	}
	s.stop()
	s.start()
	if again := setupURL.FindString(s.log.String()); again != "" {
		t.Errorf("a server with people has a link: %s", again)
	}
	if u, err := url.Parse(link); err != nil || strings.Contains(s.log.String(), u.Query().Get("link")) {
		t.Error("the link is in the log of another run")
	}
}

func (l *logins) browserOf(t *testing.T) *browser {
	own := *l
	own.t = t
	return own.browser()
}

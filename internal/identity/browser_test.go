package identity

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// Attack: WEB-02
func TestSameOrigin(t *testing.T) {
	for _, c := range []struct {
		site, origin []string
		want         bool
	}{
		{[]string{"same-origin"}, nil, true},
		{[]string{"same-site"}, []string{"https://daypass.example"}, false},
		{[]string{"cross-site"}, []string{"https://daypass.example"}, false},
		{[]string{"none"}, []string{"https://daypass.example"}, false},
		{[]string{"same-origin", "cross-site"}, nil, false},
		{[]string{""}, []string{"https://daypass.example"}, false},
		{nil, []string{"https://daypass.example"}, true},
		{nil, []string{"http://daypass.example"}, false},
		{nil, []string{"https://daypass.example", "https://daypass.example"}, false},
		{nil, []string{"null"}, false},
		{nil, nil, false},
	} {
		r := httptest.NewRequest(http.MethodPost, "https://daypass.example/logout", nil)
		r.Header["Sec-Fetch-Site"], r.Header["Origin"] = c.site, c.origin
		if got := SameOrigin("https://daypass.example", r); got != c.want {
			t.Errorf("site %q, origin %q: %t", c.site, c.origin, got)
		}
	}
	if r := httptest.NewRequest(http.MethodPost, "/", nil); SameOrigin("", r) {
		t.Error("a server that has no URL has pages")
	}
}

// Attack: OID-09
func TestCookies(t *testing.T) {
	set := func(public, value string) string {
		w := httptest.NewRecorder()
		CookiesOf(public).Set(w, "", value, time.Now().Add(time.Hour))
		return w.Header().Get("Set-Cookie")
	}
	for _, want := range []string{"__Host-daypass=x;", "Path=/;", "HttpOnly", "Secure", "SameSite=Lax", "Expires="} {
		if got := set("https://daypass.example", "x"); !strings.Contains(got, want) || strings.Contains(got, "Domain") {
			t.Errorf("%s is not in %q", want, got)
		}
	}
	if got := set("http://127.0.0.1:7400", "x"); !strings.HasPrefix(got, "daypass-loopback=x;") || strings.Contains(got, "Secure") || !strings.Contains(got, "HttpOnly") {
		t.Errorf("on loopback: %q", got)
	}
	if got := set("https://daypass.example", ""); !strings.Contains(got, "Max-Age=0") {
		t.Errorf("to forget: %q", got)
	}
}

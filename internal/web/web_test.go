package web

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/daypass/daypass/internal/identity"
	"github.com/daypass/daypass/internal/oidc"
)

// A command line that is logged in is no browser: a page lets nobody in for it.
//
// Attack: OID-05
func TestATokenIsNoBrowser(t *testing.T) {
	pages := New(Deps{PublicURL: "https://daypass.example", Providers: &oidc.Providers{}, Person: func(*http.Request) (identity.Caller, error) {
		return identity.Caller{Principal: "user:ana", Login: "lgn_a"}, nil
	}})
	for token, want := range map[string]int{"": http.StatusOK, "Bearer dplt_x": http.StatusSeeOther} {
		r := httptest.NewRequest(http.MethodGet, "/device", nil)
		if token != "" {
			r.Header.Set("Authorization", token)
		}
		w := httptest.NewRecorder()
		pages.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("with %q: %d, want %d", token, w.Code, want)
		}
	}
}

// Attack: OID-04
func TestTheWayBack(t *testing.T) {
	for raw, want := range map[string]string{
		"/device": "/device", "/docs": "/docs", "/requests/req_a": "/requests/req_a", "/inbox": "/inbox", "/grants/grt_a/extend": "/grants/grt_a/extend", "/grants/a/b/extend": home, "/grants/grt_a/end": home, "/grants/grt_a/credential": home, "/request?resource=orders": "/request?resource=orders", "/oauth/authorize?a=b": "/oauth/authorize?a=b",
		"": home, "/": home, "//evil.example": home, "/\\evil.example": home, "\\evil": home, "https:evil.example": home, "https://evil.example/device": home, "javascript:alert(1)": home,
		"/%2F/evil.example": home, "/%5Cevil.example": home, "/device/../../evil": home, "/device//x": home, "/device\n": home, "/\tdevice": home, "/device#x": home,
		"/requests/a/b": home, "/v1/tokens": home, "/logout": home, "/login/start/idp": home, "/setup?link=x": home, "device": home, "/requests//evil": home, "///evil.example": home,
		"/oauth/authorize?" + strings.Repeat("a", 3000): home, "/dévice": home,
	} {
		if got := back(raw); got != want {
			t.Errorf("%q leads to %q, want %q", raw, got, want)
		}
	}
}

func FuzzBack(f *testing.F) {
	for _, s := range []string{"/device", "//evil", "/\\evil", "https:evil", "/requests/a?b#c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got := back(raw)
		if !strings.HasPrefix(got, "/") || strings.HasPrefix(got, "//") || strings.ContainsAny(got, "\\\r\n") {
			t.Fatalf("%q leads to %q", raw, got)
		}
	})
}

package httpkind

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Invariant: A25
// Attack: HTT-01, HTT-02
func TestCanonicalPath(t *testing.T) {
	for raw, want := range map[string]string{
		"/":               "/",
		"/a":              "/a",
		"/a/":             "/a/",
		"/%61%2D%7e":      "/a-~",
		"/%c3%a9":         "/%C3%A9",
		"/a%20b":          "/a%20b",
		"/a|b":            "/a%7Cb",
		"/!$&'()*+,=:@":   "/!$&'()*+,=:@",
		"/%21%24%2b":      "/%21%24%2B",
		"/100%25":         "/100%25",
		"/100%25x":        "/100%25x",
		"/...":            "/...",
		"/.hidden":        "/.hidden",
		"/a..b":           "/a..b",
		"/%23%3f":         "/%23%3F",
		"/%7bid%7d":       "/%7Bid%7D",
		"/%F0%9F%98%80/x": "/%F0%9F%98%80/x",
	} {
		_, got, err := canonicalPath(raw)
		if err != nil || got != want {
			t.Errorf("%s: %q %v, want %q", raw, got, err, want)
		}
	}
}

// agrees checks what must be true of every target that is accepted.
func agrees(t interface {
	Fatalf(string, ...any)
}, raw string) {
	got, err := parseTarget(raw)
	if err != nil {
		return
	}
	again, err := parseTarget(got.path)
	if err != nil || again.path != got.path || strings.Join(again.segments, "\x00") != strings.Join(got.segments, "\x00") {
		t.Fatalf("%q: %q is not its own canonical form: %q %v", raw, got.path, again.path, err)
	}
	// What Go's own parser makes of the canonical form is what was matched.
	u, err := url.ParseRequestURI(got.path)
	if err != nil {
		t.Fatalf("%q: %v", raw, err)
	}
	if u.EscapedPath() != got.path || u.Path != "/"+strings.Join(got.segments, "/") || u.RawQuery != "" || u.Host != "" {
		t.Fatalf("%q: matched %q, an upstream reads %q", raw, got.segments, u.Path)
	}
	for i, s := range got.segments {
		if s == "." || s == ".." || strings.ContainsAny(s, "/\\;\x00") || s == "" && i < len(got.segments)-1 {
			t.Fatalf("%q: segment %q", raw, s)
		}
		if again, err := url.PathUnescape(s); err == nil && again != s {
			t.Fatalf("%q: segment %q decodes once more", raw, s)
		}
	}
	if strings.ContainsAny(got.query, "; \r\n\x00#") {
		t.Fatalf("%q: query %q", raw, got.query)
	}
}

// Invariant: A25
// Attack: HTT-01, HTT-02, HTT-04
func FuzzTarget(f *testing.F) {
	for _, s := range []string{
		"/", "/a/b?c=d", "/a/%2e%2e/b", "/%25%32%65", "/a;b", "//", "/%c0%ae", "/%", "/a?;", "/\xff", "/%61", "*", "http://x/", "/a%2fb", "/..%5c", "/é", "/dpgt_x", "/?a#b",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) { agrees(t, raw) })
}

var pieces = []string{
	"a", "b", "/", "/", ".", "..", "%2e", "%2E", "%2f", "%5c", "%25", "%61", "%c3%a9", "%00", ";", "*", "+", "%2B", "?", "&", "=", "%", "é", "#", ":", "@", "'", "|",
}

// Invariant: A25
func TestTargetsAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		agrees(t, "/"+strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 12).Draw(t, "target"), ""))
	})
}

// A real server behind the real gateway reads exactly what was matched.
//
// Invariant: A25
// Attack: HTT-01, HTT-02
func TestARealUpstreamReadsWhatWasMatched(t *testing.T) {
	type reading struct{ uri, path, escaped string }
	got := make(chan reading, 1)
	up := upstreamServer(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got <- reading{r.RequestURI, r.URL.Path, r.URL.EscapedPath()}
	}))
	s := newSite(t, up, siteOptions{})
	_, token := s.grant(everything, time.Hour)
	c, r := s.raw("")
	forwarded := 0
	rapid.Check(t, func(rt *rapid.T) {
		raw := "/" + strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 8).Draw(rt, "target"), "")
		want, err := parseTarget(raw)
		_, _ = io.WriteString(c, "GET "+raw+" HTTP/1.1\r\nHost: orders-api.gw.test\r\nAuthorization: Bearer "+token+"\r\n\r\n")
		res, readErr := http.ReadResponse(r, nil)
		if readErr != nil {
			rt.Fatalf("%q: %v", raw, readErr)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if res.Close {
			_ = c.Close()
			c, r = s.raw("")
		}
		if err != nil {
			if res.StatusCode/100 != 4 {
				rt.Fatalf("%q: %d", raw, res.StatusCode)
			}
			return
		}
		if res.StatusCode != 200 {
			rt.Fatalf("%q: %d", raw, res.StatusCode)
		}
		forwarded++
		uri := want.path
		if want.asked {
			uri += "?" + want.query
		}
		if g := <-got; g.uri != uri || g.escaped != want.path || g.path != "/"+strings.Join(want.segments, "/") {
			rt.Fatalf("%q: matched %+v, the upstream read %+v", raw, want, g)
		}
	})
	if forwarded == 0 {
		t.Error("nothing was ever forwarded")
	}
}

// Invariant: A26
// Attack: FWD-02
func FuzzSanitizeRequest(f *testing.F) {
	for _, s := range []string{"Daypass-Subject", "daypass_subject", "DAYPASS-X_Y", "X-Forwarded-For", "x_forwarded_for", "Accept", "_daypass-x", "Daypass"} {
		f.Add(s, "v")
	}
	f.Fuzz(func(t *testing.T, name, value string) {
		h := http.Header{name: {value}, "Accept": {"kept"}}
		sanitizeRequest(h)
		if h.Get("Accept") == "" && name != "Accept" {
			t.Fatal("Accept was removed")
		}
		for left := range h {
			seen := strings.ToUpper(strings.ReplaceAll(left, "-", "_")) // as CGI names it
			if strings.HasPrefix(seen, "DAYPASS_") || strings.HasPrefix(seen, "X_FORWARDED") || seen == "X_HTTP_METHOD_OVERRIDE" {
				t.Fatalf("%q survived", left)
			}
		}
	})
}

package chaos

import (
	"strings"
	"testing"
)

// TestNeedles: a secret is found wherever it lies, also a part of it, and
// nothing else is.
func TestNeedles(t *testing.T) {
	one, two := mint(), mint()
	jwt := "eyJhbGciOiJFUzI1NiJ9.eyJqdGkiOiJjcmVkXzEifQ.c2lnbmF0dXJlLW9mLWEtand0LXRoYXQtaXMtbG9uZw"
	n := newNeedles([]string{one, jwt, "short"})
	padding := strings.Repeat("x dpat_ ", 100)
	for name, text := range map[string]string{
		"alone": one, "amid": padding + one + padding, "its middle": padding + one[8:40] + padding, "at the end": padding + one, "a JWT": padding + jwt, "its signature": jwt[strings.LastIndex(jwt, ".")+1:],
	} {
		if n.in([]byte(text)) == "" {
			t.Errorf("%s: not found", name)
		}
	}
	for name, text := range map[string]string{"nothing": "", "another": padding + two, "its beginning": padding + one[:20], "text": padding + "short", "another JWT": jwt[:strings.LastIndex(jwt, ".")] + ".other"} {
		if found := n.in([]byte(text)); found != "" {
			t.Errorf("%s: %q was found", name, found)
		}
	}
}

func TestCallIs(t *testing.T) {
	for _, one := range []struct {
		method, path, pattern string
		is                    bool
	}{
		{"POST", "/v1/requests", "/v1/requests", true},
		{"GET", "/v1/requests", "/v1/requests", false},
		{"POST", "/v1/requests/req_1/reviews", "/v1/requests/*/reviews", true},
		{"POST", "/v1/requests/req_1/cancel", "/v1/requests/*/reviews", false},
		{"POST", "/v1/requests/req_1", "/v1/requests", false},
		{"POST", "/v1/tokens/a/b", "/v1/tokens/*", false},
	} {
		c := Call{Method: one.method, Path: one.path}
		if c.Is("POST", one.pattern) != one.is {
			t.Errorf("%s %s is %s: %v", one.method, one.path, one.pattern, !one.is)
		}
	}
}

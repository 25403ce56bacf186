package rest

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/identity"
)

// Attack: TOK-10, TOK-11
func TestAuthentication(t *testing.T) {
	f := newFace(t)
	const plain, wrong = `Bearer realm="daypass"`, `error="invalid_token"`
	for _, c := range []struct {
		name    string
		headers []string
		path    string
		status  int
		want    string
	}{
		{"good", []string{"Bearer " + goodToken}, "/v1/me", 200, ""},
		{"scheme in any case", []string{"bEaReR " + goodToken}, "/v1/me", 200, ""},
		{"none", nil, "/v1/me", 401, plain},
		{"in the query", nil, "/v1/me?access_token=" + goodToken + "&token=" + goodToken, 401, plain},
		{"wrong", []string{"Bearer dpat_bad"}, "/v1/me", 401, wrong},
		{"empty", []string{"Bearer "}, "/v1/me", 401, wrong},
		{"no scheme", []string{goodToken}, "/v1/me", 401, wrong},
		{"basic", []string{"Basic dXNlcjpwYXNz"}, "/v1/me", 401, wrong},
		{"two headers", []string{"Bearer " + goodToken, "Bearer " + goodToken}, "/v1/me", 401, wrong},
		{"two tokens", []string{"Bearer " + goodToken + " " + goodToken}, "/v1/me", 401, wrong},
		{"comma", []string{"Bearer " + goodToken + ", Bearer x"}, "/v1/me", 401, wrong},
		{"huge", []string{"Bearer " + strings.Repeat("a.", 500_000)}, "/v1/me", 401, wrong},
		{"control", []string{"Bearer " + goodToken + "\t"}, "/v1/me", 401, wrong},
	} {
		r := request("GET", c.path, "")
		r.Header.Del("Authorization")
		for _, h := range c.headers {
			r.Header.Add("Authorization", h)
		}
		res := f.do(r)
		if res.StatusCode != c.status {
			t.Errorf("%s: %d", c.name, res.StatusCode)
			continue
		}
		got := res.Header.Get("WWW-Authenticate")
		switch c.want {
		case plain:
			if got != plain {
				t.Errorf("%s: %s", c.name, got)
			}
		case wrong:
			if !strings.Contains(got, wrong) || strings.Contains(got, "dpat_") {
				t.Errorf("%s: %s", c.name, got)
			}
		}
	}
}

// The record names the peer and the channel, and only the authenticated caller.
//
// Invariant: A33
func TestCallerComesFromTheConnection(t *testing.T) {
	f := newFace(t)
	r := request("GET", "/v1/me", "")
	r.RemoteAddr = "[2001:db8::7%eth0]:1234"
	r.Header.Set("X-Forwarded-For", "10.0.0.1")
	r.Header.Set("Forwarded", "for=10.0.0.1")
	r.Header.Set("X-Real-IP", "10.0.0.1")
	r.Header.Set("Daypass-Client", "cli/1.0")
	r.Header.Set("Daypass-Subject", "user:bo")
	text200(t, f.do(r), 200)
	want := identity.Caller{Principal: "user:ana", Token: "tok_a", IP: "2001:db8::7", Channel: "cli"}
	if got := f.broker.last.(identity.Caller); got != want {
		t.Errorf("%+v", got)
	}
	r = request("GET", "/v1/me", "")
	r.RemoteAddr = "[::ffff:192.0.2.1]:1"
	r.Header.Set("Daypass-Client", "console")
	f.do(r)
	if got := f.broker.last.(identity.Caller); got.IP != "192.0.2.1" || got.Channel != "api" {
		t.Errorf("%+v", got)
	}
}

// Too many wrong tokens from one network are 429; a good token is always
// accepted, and another network is not touched.
//
// Invariant: A37
// Attack: RES-05
func TestFailuresAreLimitedPerNetwork(t *testing.T) {
	f := newFace(t)
	call := func(from, token string) int {
		r := request("GET", "/v1/me", "")
		r.RemoteAddr = from
		r.Header.Set("Authorization", "Bearer "+token)
		return f.do(r).StatusCode
	}
	for i := range failuresPerMinute {
		if got := call(fmt.Sprintf("[2001:db8:0:1::%x]:1", i+1), "dpat_bad"); got != 401 {
			t.Fatalf("failure %d: %d", i, got)
		}
	}
	r := request("GET", "/v1/me", "")
	r.RemoteAddr = "[2001:db8:0:1:ffff::9]:1"
	r.Header.Set("Authorization", "Bearer dpat_bad")
	res := f.do(r)
	if res.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	problemIn(t, res, http.StatusTooManyRequests, "too_many_failures")
	if got := call("[2001:db8:0:1::1]:1", goodToken); got != 200 {
		t.Errorf("a good token from that network: %d", got)
	}
	if got := call("[2001:db8:0:2::1]:1", "dpat_bad"); got != 401 {
		t.Errorf("another network: %d", got)
	}
	r = request("GET", "/v1/me", "")
	r.RemoteAddr = "[2001:db8:0:1::1]:1"
	r.Header.Del("Authorization")
	if got := f.do(r).StatusCode; got != 401 {
		t.Errorf("no token at all: %d", got)
	}
}

// The table of failures is bounded, forgets the quietest and starts each minute
// anew.
//
// Attack: RES-05
func TestFailureTableIsBounded(t *testing.T) {
	now := time.Unix(0, 0)
	f := newFailures(func() time.Time { return now })
	for i := range 3 * rememberedAddresses {
		f.count(fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255))
		f.count(fmt.Sprintf("2001:db8:%x:%x::1", i>>8, i&255))
	}
	if f.recent.Len() != rememberedAddresses || len(f.byAddr) != rememberedAddresses {
		t.Errorf("%d and %d addresses", f.recent.Len(), len(f.byAddr))
	}
	for range failuresPerMinute {
		if f.count("192.0.2.1") != 0 {
			t.Fatal("limited too early")
		}
	}
	if wait := f.count("192.0.2.1"); wait <= 0 || wait > time.Minute {
		t.Errorf("wait %v", wait)
	}
	now = now.Add(time.Minute)
	if f.count("192.0.2.1") != 0 {
		t.Error("still limited a minute later")
	}
}

package oauth

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/broker"
)

// exchange is the body of a good call, with some parameters changed: an empty
// value leaves one out.
func exchangeForm(change ...string) string {
	v := url.Values{"grant_type": {grantExchange}, "subject_token": {"eyJ.a.b"}, "subject_token_type": {typeJWT}}
	for i := 0; i < len(change); i += 2 {
		if change[i+1] == "" {
			v.Del(change[i])
		} else {
			v.Set(change[i], change[i+1])
		}
	}
	return v.Encode()
}

func anonymous(path, body string) *http.Request {
	r := form(path, body)
	r.Header.Del("Authorization")
	return r
}

// RFC 8693 section 2.2.1, member by member.
//
// Invariant: A3
func TestExchange(t *testing.T) {
	for what, body := range map[string]string{
		"plain":               exchangeForm(),
		"all that it may say": exchangeForm("requested_token_type", typeAccess, "resource", "https://daypass.example", "audience", "https://daypass.example/", "client_id", "ci", "unknown", "1"),
		"twice":               exchangeForm("resource", "https://daypass.example") + "&resource=https://daypass.example&scope=",
		"an ID token":         exchangeForm("subject_token_type", typeIDToken),
	} {
		f, h := newFace(t)
		res, got := do(t, h, anonymous("/oauth/token", body))
		if got != `{"access_token":"dpat_made","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"Bearer","expires_in":899}`+"\n" {
			t.Errorf("%s: %s", what, got)
		}
		if res.StatusCode != 200 || res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("Pragma") != "no-cache" || res.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %v", what, res.StatusCode, res.Header)
		}
		if f.subject != "eyJ.a.b" || f.caller.Principal != "" || f.caller.IP != "192.0.2.1" {
			t.Errorf("%s: the broker was asked as %+v with %q", what, f.caller, f.subject)
		}
	}
}

// Each refusal has the code that RFC 6749 section 5.2, RFC 8693 section 2.2.2
// or RFC 9396 section 5 gives it, and the broker is not asked.
//
// Attack: REQ-17, REQ-19
func TestExchangeRefusals(t *testing.T) {
	for _, c := range []struct{ body, code string }{
		{"", "invalid_request"},
		{exchangeForm("grant_type", ""), "invalid_request"},
		{exchangeForm("grant_type", "client_credentials"), "unsupported_grant_type"},
		{exchangeForm("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), "unsupported_grant_type"},
		{exchangeForm("subject_token", ""), "invalid_request"},
		{exchangeForm("subject_token_type", ""), "invalid_request"},
		{exchangeForm("subject_token_type", typeAccess), "invalid_request"},
		{exchangeForm("requested_token_type", "urn:ietf:params:oauth:token-type:refresh_token"), "invalid_request"},
		{exchangeForm() + "&subject_token=eyJ.c.d", "invalid_request"},
		{exchangeForm() + "&grant_type=password", "invalid_request"},
		{exchangeForm("actor_token", "x"), "invalid_request"},
		{exchangeForm("actor_token_type", typeJWT), "invalid_request"},
		{exchangeForm("resource", "https://other.example"), "invalid_target"},
		{exchangeForm("audience", "orders-api"), "invalid_target"},
		{exchangeForm("audience", "https://daypass.example") + "&audience=other", "invalid_target"},
		{exchangeForm("scope", "admin"), "invalid_scope"},
		{exchangeForm("authorization_details", "[]"), "invalid_authorization_details"},
		{exchangeForm("client_secret", "x"), "invalid_client"},
		{exchangeForm("client_assertion", "x"), "invalid_client"},
		{exchangeForm() + "&a=%zz", "invalid_request"},
		{exchangeForm() + strings.Repeat("&a=", 80), "invalid_request"},
		{exchangeForm("subject_token", strings.Repeat("x", 70<<10)), "invalid_request"},
		{`{"grant_type":"` + grantExchange + `"}`, "invalid_request"},
	} {
		f, h := newFace(t)
		res, got := do(t, h, anonymous("/oauth/token", c.body))
		wantError(t, res, got, 400, c.code)
		if len(f.calls) != 0 {
			t.Errorf("%s: the broker was asked", c.body)
		}
	}
	f, h := newFace(t)
	res, got := do(t, h, form("/oauth/token", exchangeForm())) // with an API token
	wantError(t, res, got, 401, "invalid_client")
	if got := res.Header.Get("WWW-Authenticate"); got != `Bearer realm="daypass"` {
		t.Errorf("the challenge is %q", got)
	}
	r := form("/oauth/token", exchangeForm())
	r.SetBasicAuth("ci", "secret")
	res, got = do(t, h, r)
	wantError(t, res, got, 401, "invalid_client")
	if got := res.Header.Get("WWW-Authenticate"); got != `Basic realm="daypass"` {
		t.Errorf("the challenge is %q", got)
	}
	r = anonymous("/oauth/token", exchangeForm())
	r.Header.Set("Content-Type", "application/json")
	res, got = do(t, h, r)
	wantError(t, res, got, 400, "invalid_request")
	if res, _ = do(t, h, httptest.NewRequest("GET", "/oauth/token?"+exchangeForm(), nil)); res.StatusCode != 405 || len(f.calls) != 0 {
		t.Errorf("GET: %d", res.StatusCode)
	}
}

// Why a token was refused is never told; who sends many is held up.
//
// Attack: OID-11, OID-12
func TestWhatTheBrokerRefuses(t *testing.T) {
	f, h := newFace(t)
	f.refuse = &broker.Error{Kind: broker.Malformed, Code: "invalid_subject_token", Message: "the subject token was not accepted"}
	res, got := do(t, h, anonymous("/oauth/token", exchangeForm()))
	wantError(t, res, got, 400, "invalid_request")
	if strings.Contains(got, "dpat_") {
		t.Errorf("it tells a token: %s", got)
	}
	f.refuse = &broker.Error{Kind: broker.Unavailable, RetryAfter: time.Minute, Message: "the store is in quarantine"}
	res, got = do(t, h, anonymous("/oauth/token", exchangeForm()))
	wantError(t, res, got, 503, "temporarily_unavailable")
	if res.Header.Get("Retry-After") != "60" {
		t.Errorf("%v", res.Header)
	}
	f.refuse = errors.New("disk /var/lib/x broke")
	res, got = do(t, h, anonymous("/oauth/token", exchangeForm()))
	wantError(t, res, got, 500, "server_error")
	if strings.Contains(got, "/var/lib") {
		t.Errorf("it tells of the inside: %s", got)
	}

	f.refuse = &broker.Error{Kind: broker.Malformed, Code: "invalid_subject_token"}
	failures := 0
	h = New(Deps{
		Broker: f, Issuer: "https://daypass.example", Exchange: true, PeerIP: func(*http.Request) string { return "192.0.2.1" },
		Failure: func(*http.Request) time.Duration {
			if failures++; failures > 2 {
				return 1500 * time.Millisecond
			}
			return 0
		},
	})
	for _, want := range []int{400, 400, 429} {
		if res, _ = do(t, h, anonymous("/oauth/token", exchangeForm())); res.StatusCode != want {
			t.Errorf("%d, want %d", res.StatusCode, want)
		}
	}
	if res.Header.Get("Retry-After") != "2" {
		t.Errorf("%v", res.Header)
	}
	f.refuse = nil
	if res, _ = do(t, h, anonymous("/oauth/token", exchangeForm())); res.StatusCode != 200 {
		t.Error("a good token is held up for what others sent")
	}
}

// A server that takes no tokens of jobs has no token endpoint.
func TestNoExchange(t *testing.T) {
	h := New(Deps{Broker: &fakeBroker{}, Issuer: "https://daypass.example"})
	if res, _ := do(t, h, anonymous("/oauth/token", exchangeForm())); res.StatusCode != 404 {
		t.Errorf("%d", res.StatusCode)
	}
	_, body := do(t, h, httptest.NewRequest("GET", "/.well-known/oauth-authorization-server", nil))
	if strings.Contains(body, "token_endpoint\"") || !strings.Contains(body, `"grant_types_supported":[]`) {
		t.Error(body)
	}
}

// A form is read as net/url reads it, or not at all.
//
// Attack: REQ-18
func FuzzForm(f *testing.F) {
	for _, seed := range []string{exchangeForm(), "a=b&a=c", "resource=a&resource=b", "a&b=&%61=1", "a=%zz", "a;b", "=x", "a=+%20"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		r := anonymous("/oauth/token", body)
		got, err := readForm(httptest.NewRecorder(), r)
		if err != nil {
			return
		}
		want, err := url.ParseQuery(body)
		if err != nil {
			t.Fatalf("net/url does not read %q", body)
		}
		for name, values := range want {
			full := slices.DeleteFunc(slices.Clone(values), func(s string) bool { return s == "" })
			if !slices.Equal(full, got[name]) {
				t.Fatalf("%q: %s is %q, net/url reads %q", body, name, got[name], values)
			}
		}
		if len(got) > len(want) {
			t.Fatalf("%q: more than net/url sees", body)
		}
	})
}

package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/identity"
)

// The broker is what the handlers ask.
var _ Broker = (*broker.Broker)(nil)

const live = "dpgt_live"

type fakeBroker struct {
	calls   []string
	caller  identity.Caller
	refuse  error
	revoked string
	found   broker.Introspection
	subject string // the token that was exchanged
}

func (f *fakeBroker) Introspect(_ context.Context, c identity.Caller, token string) (broker.Introspection, error) {
	f.calls = append(f.calls, "Introspect")
	if f.refuse != nil || token != live {
		return broker.Introspection{}, f.refuse
	}
	return f.found, nil
}

func (f *fakeBroker) RevokeToken(_ context.Context, c identity.Caller, token string) error {
	f.calls = append(f.calls, "RevokeToken")
	f.caller, f.revoked = c, token
	return f.refuse
}

func (f *fakeBroker) Exchange(_ context.Context, c identity.Caller, token string) (broker.Exchanged, error) {
	f.calls = append(f.calls, "Exchange")
	f.caller, f.subject = c, token
	return broker.Exchanged{Token: credential.NewSecret("dpat_made"), Lasts: 899*time.Second + 999*time.Millisecond}, f.refuse
}

func (f *fakeBroker) JWKS() ([]byte, error) { return []byte(`{"keys":[]}`), f.refuse }

func newFace(t testing.TB) (*fakeBroker, http.Handler) {
	t.Helper()
	start := time.Date(2026, 11, 23, 14, 0, 0, 999e6, time.UTC)
	f := &fakeBroker{found: broker.Introspection{
		Active: true, Sub: "user:ana", Aud: "orders-db", ClientID: "user:ana", JTI: "crd_a", Txn: "req_a", GrantID: "grt_a", TokenType: "Bearer",
		Iat: start, Nbf: start, Exp: start.Add(15 * time.Minute),
		Kind: "postgres", Scope: json.RawMessage(`{"actions":["select"]}`),
	}}
	return f, New(Deps{
		Broker: f, Issuer: "https://daypass.example/", Exchange: true, Failure: func(*http.Request) time.Duration { return 0 }, Types: []string{"urn:daypass:http", "urn:daypass:postgres"},
		PeerIP:    func(r *http.Request) string { return "192.0.2.1" },
		Challenge: func(r *http.Request, why string) string { return `Bearer realm="daypass"` },
		Caller: func(r *http.Request) (identity.Caller, error) {
			if r.Header.Get("Authorization") != "Bearer dpat_good" {
				return identity.Caller{}, &broker.Error{Kind: broker.Unauthorized, Code: "invalid_token", Message: "This token is not valid."}
			}
			return identity.Caller{Principal: "service:orders", IP: "192.0.2.1", Channel: "api"}, nil
		},
	})
}

func form(path, body string) *http.Request {
	r := httptest.NewRequest("POST", path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Authorization", "Bearer dpat_good")
	return r
}

func do(t testing.TB, h http.Handler, r *http.Request) (*http.Response, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	body, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Result(), string(body)
}

// An error in the form of RFC 6749 section 5.2, and never a problem document.
func wantError(t *testing.T, res *http.Response, body string, status int, code string) {
	t.Helper()
	var e map[string]any
	if err := json.Unmarshal([]byte(body), &e); err != nil || res.StatusCode != status || e["error"] != code || len(e) != 2 || res.Header.Get("Content-Type") != "application/json" ||
		res.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("got %d %s %v, want %d %s", res.StatusCode, body, res.Header, status, code)
	}
}

// CONTRACT §6, member by member; times are rounded down (A3).
//
// Invariant: A3
// Attack: INT-07
func TestIntrospectionOfALiveToken(t *testing.T) {
	_, h := newFace(t)
	res, body := do(t, h, form("/oauth/introspect", "token="+live+"&token_type_hint=access_token&ignored=1&ignored=2"))
	if res.StatusCode != 200 || res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	var got, want map[string]any
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	_ = json.Unmarshal([]byte(`{"active":true,"iss":"https://daypass.example","sub":"user:ana","aud":"orders-db","client_id":"user:ana","jti":"crd_a",
		"iat":1795442400,"nbf":1795442400,"exp":1795443300,"token_type":"Bearer","txn":"req_a","grant_id":"grt_a",
		"authorization_details":[{"type":"urn:daypass:postgres","resource":"orders-db","actions":["select"]}]}`), &want)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %s", body)
	}
}

// Whatever is wrong with a token, the answer is the same.
//
// Attack: INT-01, INT-10, TOK-11
func TestIntrospectionOfAnyOtherTokenIsUniform(t *testing.T) {
	f, h := newFace(t)
	first, want := do(t, h, form("/oauth/introspect", "token=dpgt_other"))
	if want != `{"active":false}`+"\n" {
		t.Errorf("%q", want)
	}
	for _, token := range []string{"x", "dpgt_", "dpgt_" + strings.Repeat("a", 9000), strings.Repeat(".", 60_000), url.QueryEscape("a b"), url.QueryEscape("ü"), "%00", "eyJhbGciOiJub25lIn0.e30."} {
		f.calls = nil
		res, got := do(t, h, form("/oauth/introspect", "token="+token))
		if got != want || res.StatusCode != 200 || !reflect.DeepEqual(res.Header, first.Header) {
			t.Errorf("%.20s: %d %s %v", token, res.StatusCode, got, res.Header)
		}
		if len(f.calls) != 1 {
			t.Errorf("%.20s: the broker was not asked, so nothing is recorded", token)
		}
	}
}

// Attack: INT-02, INT-05, INT-06
func TestIntrospectionRefusals(t *testing.T) {
	f, h := newFace(t)
	for _, body := range []string{"", "token=", "tokn=" + live, "token=" + live + "&token=" + live, "token=a&token=" + live, "to%6ben=" + live + "&token=x",
		"token=" + live + "&token_type_hint=a&token_type_hint=b", "token=%zz", "token=%4", "token=a;b", `{"token":"` + live + `"}`} {
		res, got := do(t, h, form("/oauth/introspect", body))
		wantError(t, res, got, 400, "invalid_request")
	}
	res, got := do(t, h, form("/oauth/introspect", "token="+strings.Repeat("x", 70<<10)))
	wantError(t, res, got, 400, "invalid_request")
	r := form("/oauth/introspect", "token="+strings.Repeat("x", 70<<10))
	r.ContentLength = -1
	res, got = do(t, h, r)
	wantError(t, res, got, 400, "invalid_request")
	for name, value := range map[string]string{"Content-Type": "application/json", "Content-Encoding": "gzip"} {
		r := form("/oauth/introspect", "token="+live)
		r.Header.Set(name, value)
		res, got := do(t, h, r)
		wantError(t, res, got, 400, "invalid_request")
	}
	// In the query, a token is not looked at.
	res, got = do(t, h, form("/oauth/introspect?token="+live, ""))
	wantError(t, res, got, 400, "invalid_request")

	if len(f.calls) != 0 {
		t.Errorf("the broker was asked for %v", f.calls)
	}

	r = form("/oauth/introspect", "token="+live)
	r.Header.Set("Authorization", "Bearer "+live)
	res, got = do(t, h, r)
	wantError(t, res, got, 401, "invalid_token")
	if res.Header.Get("WWW-Authenticate") == "" {
		t.Error("no challenge")
	}
	r.Header.Del("Authorization")
	res, got = do(t, h, r)
	wantError(t, res, got, 401, "invalid_client")
	if len(f.calls) != 0 {
		t.Error("asked for a stranger")
	}

	f.refuse = &broker.Error{Kind: broker.Forbidden, Code: "forbidden", Message: "orders-db is none of yours"}
	res, got = do(t, h, form("/oauth/introspect", "token="+live))
	wantError(t, res, got, 403, "insufficient_scope")
	if strings.Contains(got, "orders-db") {
		t.Error(got)
	}
	f.refuse = &broker.Error{Kind: broker.Unavailable, Message: "Ask again.", RetryAfter: 1500 * time.Millisecond}
	res, got = do(t, h, form("/oauth/introspect", "token="+live))
	wantError(t, res, got, 503, "temporarily_unavailable")
	if res.Header.Get("Retry-After") != "2" {
		t.Error(res.Header)
	}
	f.refuse = errors.New("secret of the disk")
	res, got = do(t, h, form("/oauth/introspect", "token="+live))
	wantError(t, res, got, 500, "server_error")
	if strings.Contains(got, "secret") {
		t.Error(got)
	}
}

// RFC 7009: 200 whatever the token was. Who holds it needs no other proof; an
// API token that is sent must be good.
//
// Attack: TOK-18
func TestRevocation(t *testing.T) {
	f, h := newFace(t)
	r := form("/oauth/revoke", "token="+live+"&token_type_hint=refresh_token")
	r.Header.Del("Authorization")
	res, body := do(t, h, r)
	if res.StatusCode != 200 || body != "" || f.revoked != live || f.caller != (identity.Caller{IP: "192.0.2.1", Channel: "api"}) {
		t.Errorf("%d %q %+v", res.StatusCode, body, f)
	}
	res, _ = do(t, h, form("/oauth/revoke", "token="+live))
	if res.StatusCode != 200 || f.caller.Principal != "service:orders" {
		t.Errorf("%d %+v", res.StatusCode, f.caller)
	}
	for _, err := range []error{
		&broker.Error{Kind: broker.NotFound}, &broker.Error{Kind: broker.Forbidden}, &broker.Error{Kind: broker.Conflict}, &broker.Error{Kind: broker.Invalid},
	} {
		f.refuse = err
		if res, body := do(t, h, form("/oauth/revoke", "token=x")); res.StatusCode != 200 || body != "" {
			t.Errorf("%v: %d %s", err, res.StatusCode, body)
		}
	}
	// What was not done is not called done (A20).
	f.refuse = &broker.Error{Kind: broker.Unavailable, Message: "The disk is full."}
	res, body = do(t, h, form("/oauth/revoke", "token="+live))
	wantError(t, res, body, 503, "temporarily_unavailable")
	f.refuse, f.calls = nil, nil
	r = form("/oauth/revoke", "token="+live)
	r.Header.Set("Authorization", "Bearer dpat_bad")
	res, body = do(t, h, r)
	wantError(t, res, body, 401, "invalid_token")
	res, body = do(t, h, form("/oauth/revoke", "tok=x"))
	wantError(t, res, body, 400, "invalid_request")
	if len(f.calls) != 0 {
		t.Error("the broker was asked")
	}
	if res, _ := do(t, h, form("/oauth/revoke", "token="+strings.Repeat("x", 9000))); res.StatusCode != 200 || len(f.calls) != 0 {
		t.Errorf("%d %v", res.StatusCode, f.calls)
	}
}

// Invariant: A14
func TestOtherMethodsDoNothing(t *testing.T) {
	f, h := newFace(t)
	for _, path := range []string{"/oauth/introspect", "/oauth/revoke", "/oauth/token"} {
		for _, method := range []string{"GET", "HEAD", "OPTIONS", "PUT", "DELETE"} {
			r := httptest.NewRequest(method, path+"?token="+live, nil)
			r.Header.Set("Authorization", "Bearer dpat_good")
			r.Header.Set("X-HTTP-Method-Override", "POST")
			res, _ := do(t, h, r)
			if res.StatusCode != http.StatusMethodNotAllowed || res.Header.Get("Allow") != "POST" {
				t.Errorf("%s %s: %d", method, path, res.StatusCode)
			}
		}
	}
	if len(f.calls) != 0 {
		t.Errorf("%v", f.calls)
	}
	res, body := do(t, h, form("/oauth/authorize", "response_type=code"))
	wantError(t, res, body, 404, "invalid_request")
}

// The metadata names endpoints that exist, and no others.
func TestMetadata(t *testing.T) {
	_, h := newFace(t)
	res, body := do(t, h, httptest.NewRequest("GET", "/.well-known/oauth-authorization-server", nil))
	var m map[string]any
	if err := json.Unmarshal([]byte(body), &m); err != nil || res.StatusCode != 200 || m["issuer"] != "https://daypass.example" {
		t.Fatalf("%d %s", res.StatusCode, body)
	}
	endpoints := 0
	for name, value := range m {
		if !strings.HasSuffix(name, "_endpoint") && name != "jwks_uri" {
			continue
		}
		endpoints++
		path := strings.TrimPrefix(value.(string), "https://daypass.example")
		if res, _ := do(t, h, httptest.NewRequest("GET", path, nil)); res.StatusCode == 404 {
			t.Errorf("%s does not exist", value)
		}
	}
	if endpoints != 4 || !reflect.DeepEqual(m["grant_types_supported"], []any{grantExchange}) || !reflect.DeepEqual(m["token_endpoint_auth_methods_supported"], []any{"none"}) || !reflect.DeepEqual(m["response_types_supported"], []any{}) || !reflect.DeepEqual(m["authorization_details_types_supported"], []any{"urn:daypass:http", "urn:daypass:postgres"}) {
		t.Errorf("%s", body)
	}
	if res, body := do(t, h, httptest.NewRequest("GET", "/.well-known/jwks.json", nil)); body != `{"keys":[]}` || !strings.Contains(res.Header.Get("Cache-Control"), "max-age=60") {
		t.Errorf("%s %v", body, res.Header)
	}
}

// A form that is accepted has the one token that net/url sees too.
func FuzzTokenOf(f *testing.F) {
	for _, seed := range []string{"token=a", "token=a&token=b", "to%6Ben=a+b", "a&b&token=%zz", "token=a;b", "=", "&&", "token=%F0%9F"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		token, err := tokenOf(body)
		q, qerr := url.ParseQuery(body)
		if err != nil {
			if qerr == nil && len(q["token"]) == 1 && q["token"][0] != "" && len(q["token_type_hint"]) < 2 && !strings.Contains(body, ";") {
				t.Fatalf("refused a good form: %v", err)
			}
			return
		}
		if qerr != nil || len(q["token"]) != 1 || q["token"][0] != token {
			t.Fatalf("token %q, net/url %v %v", token, q["token"], qerr)
		}
	})
}

type sink struct{ header http.Header }

func (s sink) Header() http.Header         { return s.header }
func (s sink) WriteHeader(int)             {}
func (s sink) Write(b []byte) (int, error) { return len(b), nil }

// BenchmarkIntrospect is the hot path without the network and the broker.
func BenchmarkIntrospect(b *testing.B) {
	_, h := newFace(b)
	body := "token=" + live
	r := form("/oauth/introspect", body)
	w := sink{http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		r.Body = io.NopCloser(strings.NewReader(body))
		h.ServeHTTP(w, r)
	}
}

package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/daypass/daypass/api"
)

// seen is what a test server was asked.
type seen struct {
	mu    sync.Mutex
	calls []*http.Request
	body  []string
}

func (s *seen) add(r *http.Request) int {
	b, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls, s.body = append(s.calls, r), append(s.body, string(b))
	return len(s.calls)
}

// list returns the calls so far.
func (s *seen) list() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// bodies returns what they carried.
func (s *seen) bodies() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.body)
}

// serve starts a server that counts calls from 1, and a client that does not
// really sleep.
func serve(t *testing.T, h func(n int, w http.ResponseWriter, r *http.Request)) (*Client, *seen) {
	t.Helper()
	s := &seen{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h(s.add(r), w, r)
	}))
	t.Cleanup(srv.Close)
	c := New(srv.URL, "dpat_test", WithName("cli", "1.2.3"))
	c.sleep = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	return c, s
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	if status >= 400 {
		w.Header().Set("Content-Type", "application/problem+json")
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func request(state string) api.Request {
	return api.Request{ID: "req_a", State: state, Scope: json.RawMessage(`{}`), Duration: api.Duration(time.Minute)}
}

// hangUp drops the connection without an answer.
func hangUp(w http.ResponseWriter) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		_ = conn.Close()
	}
}

func TestSubmitRepeatsWithOneKey(t *testing.T) {
	for name, fail := range map[string]func(http.ResponseWriter){
		"503":          func(w http.ResponseWriter) { reply(w, 503, api.Problem{Code: "unavailable"}) },
		"500":          func(w http.ResponseWriter) { reply(w, 500, api.Problem{}) },
		"lost":         hangUp,
		"empty answer": func(w http.ResponseWriter) { w.WriteHeader(http.StatusBadGateway) },
	} {
		t.Run(name, func(t *testing.T) {
			c, s := serve(t, func(n int, w http.ResponseWriter, _ *http.Request) {
				if n < 3 {
					fail(w)
					return
				}
				reply(w, 202, request("pending"))
			})
			r, err := c.Submit(t.Context(), api.SubmitRequest{Resource: "orders-api", Role: "read", Duration: api.Duration(time.Minute)})
			if err != nil || r.State != "pending" {
				t.Fatalf("Submit = %v, %v", r, err)
			}
			if len(s.list()) != 3 {
				t.Fatalf("%d calls, want 3", len(s.list()))
			}
			key := s.list()[0].Header.Get("Idempotency-Key")
			if len(key) < 20 {
				t.Errorf("key %q is too short to be unguessed", key)
			}
			for i := range s.list() {
				if got := s.list()[i].Header.Get("Idempotency-Key"); got != key {
					t.Errorf("call %d has key %q, want %q", i, got, key)
				}
				if s.bodies()[i] != s.bodies()[0] {
					t.Errorf("call %d has another body", i)
				}
			}
			if _, err := c.Submit(t.Context(), api.SubmitRequest{}); err != nil {
				t.Fatal(err)
			}
			if s.list()[3].Header.Get("Idempotency-Key") == key {
				t.Error("another call has the same key")
			}
		})
	}
}

func TestOwnKeyIsSent(t *testing.T) {
	c, s := serve(t, func(_ int, w http.ResponseWriter, _ *http.Request) { reply(w, 202, request("pending")) })
	if _, err := c.Submit(t.Context(), api.SubmitRequest{}, WithIdempotencyKey("mine")); err != nil {
		t.Fatal(err)
	}
	if got := s.list()[0].Header.Get("Idempotency-Key"); got != "mine" {
		t.Errorf("key %q, want mine", got)
	}
}

func TestAnswersAreNotRepeated(t *testing.T) {
	for _, status := range []int{400, 401, 403, 404, 409, 412, 422, 429, 501} {
		c, s := serve(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			reply(w, status, api.Problem{Title: "No", Detail: "Not so.", Code: "some_code", Errors: []api.FieldProblem{{Location: "body.duration", Message: "too long"}}})
		})
		_, err := c.Submit(t.Context(), api.SubmitRequest{})
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Status != status || e.Problem.Code != "some_code" || e.Problem.Errors[0].Location != "body.duration" || e.RetryAfter != 7*time.Second {
			t.Errorf("%d: err = %#v", status, err)
		}
		if Status(err) != status || Code(err) != "some_code" {
			t.Errorf("%d: Status %d, Code %q", status, Status(err), Code(err))
		}
		if len(s.list()) != 1 {
			t.Errorf("%d: %d calls, want 1", status, len(s.list()))
		}
	}
}

// A server that says to come back much later, as one that issues nothing does,
// is not waited for: the caller is told.
func TestLongRetryAfterIsTheCallers(t *testing.T) {
	c, s := serve(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "60")
		reply(w, 503, api.Problem{Code: "issuing_off"})
	})
	if _, err := c.Me(t.Context()); Code(err) != "issuing_off" || len(s.list()) != 1 {
		t.Errorf("%d calls, want 1: %v", len(s.list()), err)
	}
}

func TestCancelIsNotRepeatedOnceSent(t *testing.T) {
	c, s := serve(t, func(_ int, w http.ResponseWriter, _ *http.Request) { hangUp(w) })
	if _, err := c.Cancel(t.Context(), "req_a"); err == nil {
		t.Fatal("no error")
	}
	if len(s.list()) != 1 {
		t.Errorf("%d calls, want 1: nobody knows whether the first did its work", len(s.list()))
	}
}

func TestInFlightIsWaitedForOnlyAfterOurOwnTry(t *testing.T) {
	inFlight := api.Problem{Code: "idempotency_key_in_flight"}
	c, s := serve(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		switch n {
		case 1:
			hangUp(w)
		case 2:
			reply(w, 409, inFlight)
		default:
			reply(w, 201, request("approved"))
		}
	})
	if r, err := c.Submit(t.Context(), api.SubmitRequest{}); err != nil || r.State != "approved" {
		t.Fatalf("Submit = %v, %v", r, err)
	}
	if len(s.list()) != 3 {
		t.Errorf("%d calls, want 3", len(s.list()))
	}
	c, s = serve(t, func(_ int, w http.ResponseWriter, _ *http.Request) { reply(w, 409, inFlight) })
	if _, err := c.Submit(t.Context(), api.SubmitRequest{}); Status(err) != 409 || len(s.list()) != 1 {
		t.Errorf("err %v after %d calls", err, len(s.list()))
	}
}

// A repetition of a call whose answer was lost comes without the secret.
//
// Invariant: A21
func TestLostCredentialIsReplaced(t *testing.T) {
	secret := "dpgt_second"
	c, s := serve(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		switch n {
		case 1:
			hangUp(w)
		case 2:
			reply(w, 201, api.Credential{Format: "token"})
		default:
			reply(w, 201, api.Credential{Format: "token", Secret: &secret})
		}
	})
	cred, err := c.Credential(t.Context(), "grt_a", "token")
	if err != nil || cred.Secret == nil || *cred.Secret != secret {
		t.Fatalf("Credential = %+v, %v", cred, err)
	}
	keys := []string{}
	for _, r := range s.list() {
		keys = append(keys, r.Header.Get("Idempotency-Key"))
	}
	if len(keys) != 3 || keys[0] != keys[1] || keys[1] == keys[2] {
		t.Errorf("keys %q: want the same twice and then another", keys)
	}
}

func TestLostTokenIsRevokedAndReplaced(t *testing.T) {
	secret := "dpat_second"
	c, s := serve(t, func(n int, w http.ResponseWriter, r *http.Request) {
		switch {
		case n == 1:
			hangUp(w)
		case r.Method == http.MethodDelete:
			w.WriteHeader(http.StatusNoContent)
		case n == 2:
			reply(w, 201, api.Token{ID: "tok_lost"})
		default:
			reply(w, 201, api.Token{ID: "tok_new", Secret: &secret})
		}
	})
	tok, err := c.CreateToken(t.Context(), api.TokenRequest{TTL: api.Duration(time.Hour)})
	if err != nil || tok.ID != "tok_new" || tok.Secret == nil {
		t.Fatalf("CreateToken = %+v, %v", tok, err)
	}
	if r := s.list()[2]; r.Method != http.MethodDelete || r.URL.Path != "/v1/tokens/tok_lost" {
		t.Errorf("third call is %s %s", r.Method, r.URL)
	}
}

func TestDeleteFoundDoneAfterARepetition(t *testing.T) {
	c, _ := serve(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		if n == 1 {
			hangUp(w)
			return
		}
		reply(w, 404, api.Problem{Code: "not_found"})
	})
	if err := c.RevokeToken(t.Context(), "tok_a"); err != nil {
		t.Errorf("err = %v; the first call did its work", err)
	}
	c, _ = serve(t, func(_ int, w http.ResponseWriter, _ *http.Request) { reply(w, 404, api.Problem{Code: "not_found"}) })
	if err := c.RevokeToken(t.Context(), "tok_a"); Status(err) != 404 {
		t.Errorf("err = %v, want a 404", err)
	}
}

func TestHeaders(t *testing.T) {
	c, s := serve(t, func(_ int, w http.ResponseWriter, _ *http.Request) { reply(w, 200, api.Me{ID: "user:ana"}) })
	me, err := c.Me(t.Context())
	if err != nil || me.ID != "user:ana" {
		t.Fatalf("Me = %v, %v", me, err)
	}
	for name, want := range map[string]string{
		"Authorization": "Bearer dpat_test", "Daypass-Client": "cli/1.2.3", "User-Agent": "daypass-cli/1.2.3", "Accept": "application/json",
	} {
		if got := s.list()[0].Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	elsewhere := 0
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere++ }))
	defer other.Close()
	c, _ := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL+"/v1/me", http.StatusTemporaryRedirect)
	})
	_, err := c.Me(t.Context())
	if Status(err) != 307 || !strings.Contains(err.Error(), "redirect") {
		t.Errorf("err = %v", err)
	}
	if elsewhere != 0 {
		t.Error("the token went where the redirect pointed")
	}
}

// Attack: CLI-03
func TestUnknownAuthorityIsRefused(t *testing.T) {
	calls := 0
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls++
		reply(w, 200, api.Me{ID: "user:ana"})
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	c := New(srv.URL, "dpat_test")
	c.sleep = func(context.Context, time.Duration) error { t.Error("repeated"); return nil }
	if _, err := c.Me(t.Context()); err == nil || calls != 0 {
		t.Fatalf("err = %v after %d calls", err, calls)
	}
	roots := srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	if me, err := New(srv.URL, "dpat_test", WithRootCAs(roots)).Me(t.Context()); err != nil || me.ID != "user:ana" {
		t.Errorf("with its authority: %v, %v", me, err)
	}
}

func TestURLs(t *testing.T) {
	good := []string{"https://daypass.example.com", "https://h/base/", "http://127.0.0.1:7400", "http://[::1]:7400", "http://localhost:7400", "http://api.localhost"}
	bad := []string{
		"", "daypass", "daypass.example.com", "ftp://h", "https://", "https://user:pw@h", "https://h?x=1", "https://h?", "https://h#f",
		"http://daypass.example.com", "http://10.0.0.1", "http://localhost.example.com", "http://127.0.0.1.example.com", "http://:80", "file:///etc/passwd", "https:h",
	}
	for _, u := range good {
		if err := CheckURL(u); err != nil {
			t.Errorf("%q: %v", u, err)
		}
	}
	for _, u := range bad {
		if err := CheckURL(u); err == nil {
			t.Errorf("%q was taken", u)
		}
		if _, err := New(u, "dpat_x").Me(t.Context()); err == nil {
			t.Errorf("%q was called", u)
		}
	}
	if c := New("http://daypass.example.com", "dpat_x", WithPlainHTTP()); c.err != nil {
		t.Errorf("with leave: %v", c.err)
	}
	if _, err := New("http://127.0.0.1:1", "dpat_x\r\nEvil: 1").Me(t.Context()); err == nil || strings.Contains(err.Error(), "Evil") {
		t.Errorf("a token with a line end: %v", err)
	}
}

func TestPathSegments(t *testing.T) {
	c, s := serve(t, func(_ int, w http.ResponseWriter, _ *http.Request) { reply(w, 200, request("pending")) })
	for _, id := range []string{"", ".", ".."} {
		if _, err := c.Request(t.Context(), id); err == nil {
			t.Errorf("%q was called", id)
		}
	}
	if len(s.list()) != 0 {
		t.Fatalf("%d calls", len(s.list()))
	}
	if _, err := c.Request(t.Context(), "a/../b?x#y"); err != nil {
		t.Fatal(err)
	}
	if got := s.list()[0].RequestURI; got != "/v1/requests/a%2F..%2Fb%3Fx%23y" {
		t.Errorf("asked for %q", got)
	}
}

// Attack: RES-04
func TestAnswerWithoutEndIsCut(t *testing.T) {
	c, s := serve(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
		chunk := []byte(strings.Repeat(" ", 1<<20))
		for range 18 {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	if _, err := c.Me(t.Context()); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("err = %v", err)
	}
	if len(s.list()) != 1 {
		t.Errorf("%d calls, want 1", len(s.list()))
	}
}

func TestProblemsOfOthersAreNotQuoted(t *testing.T) {
	c, _ := serve(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, "<h1>proxy says no</h1>")
	})
	_, err := c.Me(t.Context())
	if Status(err) != 403 || strings.Contains(err.Error(), "proxy says no") {
		t.Errorf("err = %v", err)
	}
}

func TestErrorsHoldNoSecret(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	srv.Close()
	c := New(srv.URL, "dpat_verysecret", WithAttempts(1))
	_, err := c.Me(t.Context())
	if err == nil || strings.Contains(err.Error(), "verysecret") {
		t.Errorf("err = %v", err)
	}
}

func TestPauseIsBoundedAndHonoursRetryAfter(t *testing.T) {
	for try := range 100 {
		if d := pause(try+1, nil); d <= 0 || d > 6*time.Second {
			t.Errorf("pause(%d) = %v", try+1, d)
		}
	}
	if d := pause(1, &Error{RetryAfter: 3 * time.Second}); d < 3*time.Second {
		t.Errorf("pause = %v, want at least 3s", d)
	}
	if d := pause(1, &Error{RetryAfter: time.Hour}); d > maxWait {
		t.Errorf("pause = %v, want at most %v", d, maxWait)
	}
}

func TestClockOffset(t *testing.T) {
	c := New("http://127.0.0.1:1", "")
	now := time.Date(2026, 11, 23, 14, 0, 0, 300e6, time.UTC)
	for ahead, want := range map[time.Duration]time.Duration{
		0: 0, time.Second: 0, -time.Second: 0, time.Hour: time.Hour, -10 * time.Minute: -10 * time.Minute,
	} {
		c.observeDate(now.Add(ahead).Format(http.TimeFormat), now)
		if got := c.ClockOffset(); (got - want).Abs() > 500*time.Millisecond {
			t.Errorf("ahead by %v: offset %v", ahead, got)
		}
	}
}

package webhook

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/dial"
	"github.com/daypass/daypass/internal/notify"
)

// The published vector of Standard Webhooks.
const (
	vectorSecret    = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	vectorID        = "msg_p5jXN8AQM9LWM0D4loKWxJek"
	vectorTime      = 1614265330
	vectorBody      = `{"test": 2432232314}`
	vectorSignature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
)

func secrets(s ...string) (out []credential.Secret) {
	for _, one := range s {
		out = append(out, credential.NewSecret(one))
	}
	return out
}

var other = "whsec_" + base64.StdEncoding.EncodeToString([]byte("another secret of thirty-two byt"))

func vectorHeader() http.Header {
	h := http.Header{}
	h.Set(HeaderID, vectorID)
	h.Set(HeaderTimestamp, fmt.Sprint(vectorTime))
	h.Set(HeaderSignature, vectorSignature)
	return h
}

func TestPublishedVector(t *testing.T) {
	keys, err := decodeSecrets(secrets(vectorSecret))
	if err != nil {
		t.Fatal(err)
	}
	if got := sign(keys, vectorID, fmt.Sprint(vectorTime), []byte(vectorBody)); got != vectorSignature {
		t.Errorf("sign = %s, want %s", got, vectorSignature)
	}
	if id, err := Verify(secrets(vectorSecret), vectorHeader(), []byte(vectorBody), time.Unix(vectorTime, 0)); err != nil || id != vectorID {
		t.Errorf("Verify = %q, %v", id, err)
	}
}

// Attack: WHK-01, WHK-02, WHK-03, WHK-09, WHK-16
func TestVerifyRefuses(t *testing.T) {
	now := time.Unix(vectorTime, 0)
	for name, change := range map[string]func(h http.Header, body *string, now *time.Time){
		"no signature":    func(h http.Header, _ *string, _ *time.Time) { h.Del(HeaderSignature) },
		"empty signature": func(h http.Header, _ *string, _ *time.Time) { h.Set(HeaderSignature, "") },
		"version v0":      func(h http.Header, _ *string, _ *time.Time) { h.Set(HeaderSignature, "v0"+vectorSignature[2:]) },
		"no version":      func(h http.Header, _ *string, _ *time.Time) { h.Set(HeaderSignature, vectorSignature[3:]) },
		"cut signature":   func(h http.Header, _ *string, _ *time.Time) { h.Set(HeaderSignature, "v1,g0hM") },
		"two signatures":  func(h http.Header, _ *string, _ *time.Time) { h.Add(HeaderSignature, vectorSignature) },
		"too many": func(h http.Header, _ *string, _ *time.Time) {
			h.Set(HeaderSignature, strings.Repeat("v1,eA== ", 99)+vectorSignature)
		},
		"body re-encoded":    func(_ http.Header, b *string, _ *time.Time) { *b = `{"test":2432232314}` },
		"body grown":         func(_ http.Header, b *string, _ *time.Time) { *b += "\n" },
		"other id":           func(h http.Header, _ *string, _ *time.Time) { h.Set(HeaderID, "msg_x") },
		"id takes the stamp": func(h http.Header, _ *string, _ *time.Time) { h.Set(HeaderID, vectorID+".1614265330") },
		"other timestamp":    func(h http.Header, _ *string, _ *time.Time) { h.Set(HeaderTimestamp, "1614265331") },
		"padded timestamp":   func(h http.Header, _ *string, _ *time.Time) { h.Set(HeaderTimestamp, "01614265330") },
		"no timestamp":       func(h http.Header, _ *string, _ *time.Time) { h.Del(HeaderTimestamp) },
		"too old":            func(_ http.Header, _ *string, n *time.Time) { *n = n.Add(Tolerance + time.Second) },
		"too new":            func(_ http.Header, _ *string, n *time.Time) { *n = n.Add(-Tolerance - time.Second) },
	} {
		h, b, n := vectorHeader(), vectorBody, now
		change(h, &b, &n)
		if _, err := Verify(secrets(vectorSecret), h, []byte(b), n); !errors.Is(err, ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The same signed bytes, with the borders between the parts moved.
	keys, err := decodeSecrets(secrets(vectorSecret))
	if err != nil {
		t.Fatal(err)
	}
	h := vectorHeader()
	h.Set(HeaderSignature, sign(keys, "a", fmt.Sprint(vectorTime), []byte("1614265331.x")))
	h.Set(HeaderID, "a."+fmt.Sprint(vectorTime))
	h.Set(HeaderTimestamp, "1614265331")
	if _, err := Verify(secrets(vectorSecret), h, []byte("x"), now); !errors.Is(err, ErrSignature) {
		t.Errorf("borders moved: %v", err)
	}
	if _, err := Verify(secrets(other), vectorHeader(), []byte(vectorBody), now); !errors.Is(err, ErrSignature) {
		t.Errorf("another secret: %v", err)
	}
	for _, edge := range []time.Duration{Tolerance, -Tolerance} {
		if _, err := Verify(secrets(other, vectorSecret), vectorHeader(), []byte(vectorBody), now.Add(edge)); err != nil {
			t.Errorf("at %s: %v", edge, err)
		}
	}
}

// Attack: WHK-01, WHK-08, WHK-17
func TestNewRefuses(t *testing.T) {
	good := Config{URL: "https://hooks.example.com/x", Secrets: secrets(vectorSecret)}
	for name, change := range map[string]func(c *Config){
		"no secret":         func(c *Config) { c.Secrets = nil },
		"empty secret":      func(c *Config) { c.Secrets = secrets("") },
		"empty key":         func(c *Config) { c.Secrets = secrets("whsec_") },
		"short key":         func(c *Config) { c.Secrets = secrets("whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 23))) },
		"long key":          func(c *Config) { c.Secrets = secrets("whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 65))) },
		"no prefix":         func(c *Config) { c.Secrets = secrets(vectorSecret[6:]) },
		"one of two is bad": func(c *Config) { c.Secrets = secrets(vectorSecret, "whsec_?") },
		"no url":            func(c *Config) { c.URL = "" },
		"not http":          func(c *Config) { c.URL = "ftp://hooks.example.com/" },
		"user in url":       func(c *Config) { c.URL = "https://u:p@hooks.example.com/" },
		"plain http":        func(c *Config) { c.URL = "http://hooks.example.com/" },
		"localhost":         func(c *Config) { c.URL = "https://localhost/" },
		"metadata":          func(c *Config) { c.URL = "https://169.254.169.254/" },
		"mapped loopback":   func(c *Config) { c.URL = "http://[::ffff:127.0.0.1]/"; c.PlainHTTP = true },
	} {
		c := good
		change(&c)
		s, err := New(c)
		if err == nil || s != nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		for _, secret := range append(c.Secrets, credential.NewSecret(vectorSecret[6:])) {
			if secret.Reveal() != "" && strings.Contains(err.Error(), secret.Reveal()) && secret.Reveal() != "whsec_" {
				t.Errorf("%s: the error shows the secret: %v", name, err)
			}
		}
	}
	if _, err := New(good); err != nil {
		t.Error(err)
	}
	plain := good
	plain.URL, plain.PlainHTTP = "http://hooks.internal/", true
	if s, err := New(plain); err != nil || s.Name() != "webhook" {
		t.Error(err)
	}
}

func message() notify.Message {
	return notify.Message{ID: "msg_1", Type: notify.RequestPending, At: time.Unix(1700000000, 120e6), Data: map[string]any{"request": "req_1", "reason": "<b>&\u2028"}}
}

func sender(t *testing.T, url string, now func() time.Time) *Sender {
	t.Helper()
	s, err := New(Config{Name: "hook", URL: url, Secrets: secrets(vectorSecret, other), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// A message sent twice has the same id and body, and verifies under either
// secret, so that a receiver can change over and can drop repetitions.
func TestSendIsVerifiable(t *testing.T) {
	now := time.Unix(1700000100, 0)
	var bodies []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		content, _ := io.ReadAll(r.Body)
		bodies = append(bodies, string(content))
		for _, s := range []string{vectorSecret, other} {
			if id, err := Verify(secrets(s), r.Header, content, now); err != nil || id != "msg_1" {
				t.Errorf("Verify = %q, %v", id, err)
			}
		}
		if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" || r.URL.RequestURI() != "/in?k=v" {
			t.Errorf("got %s %s %v", r.Method, r.URL, r.Header)
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(server.Close)
	s := sender(t, server.URL+"/in?k=v", func() time.Time { return now })
	for range 2 {
		if err := s.Send(t.Context(), message()); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Minute)
	}
	if len(bodies) != 2 || bodies[0] != bodies[1] {
		t.Fatalf("bodies: %q", bodies)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(bodies[0]), &got); err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || got["type"] != "request.pending" || got["timestamp"] != "2023-11-14T22:13:20.120Z" || got["data"].(map[string]any)["request"] != "req_1" {
		t.Errorf("body: %s", bodies[0])
	}
}

func TestAnswers(t *testing.T) {
	now := time.Date(2026, 11, 23, 14, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		code      int
		after     string
		ok, final bool
		delay     time.Duration
	}{
		{code: 200, ok: true}, {code: 202, ok: true}, {code: 299, ok: true},
		{code: 410, final: true, after: "60"},
		{code: 400}, {code: 401, after: "60"}, {code: 404}, {code: 302}, {code: 500}, {code: 503, after: "soon"},
		{code: 429, after: "7", delay: 7 * time.Second}, {code: 503, after: "999999", delay: time.Hour},
		{code: 503, after: now.Add(90 * time.Second).Format(http.TimeFormat), delay: 90 * time.Second},
		{code: 500, after: now.Add(-time.Hour).Format(http.TimeFormat)},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if c.after != "" {
				w.Header().Set("Retry-After", c.after)
			}
			w.WriteHeader(c.code)
		}))
		err := sender(t, server.URL, func() time.Time { return now }).Send(t.Context(), message())
		server.Close()
		if (err == nil) != c.ok || notify.IsPermanent(err) != c.final {
			t.Errorf("%d: %v", c.code, err)
		}
		if delay, _ := notify.RetryDelay(err); delay != c.delay {
			t.Errorf("%d Retry-After %q: %v", c.code, c.after, delay)
		}
	}
}

// Attack: WHK-08
func TestRedirectIsNotFollowed(t *testing.T) {
	var reached atomic.Bool
	inner := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Store(true) }))
	t.Cleanup(inner.Close)
	for _, code := range []int{301, 302, 303, 307, 308} {
		outer := httptest.NewServer(http.RedirectHandler(inner.URL, code))
		err := sender(t, outer.URL, nil).Send(t.Context(), message())
		outer.Close()
		if err == nil || notify.IsPermanent(err) {
			t.Errorf("%d: %v", code, err)
		}
	}
	if reached.Load() {
		t.Error("a redirect was followed")
	}
}

// A name that resolves to loopback is not reached, not even where plain HTTP is
// allowed; and nothing of the environment sends the call elsewhere.
//
// Attack: WHK-08
func TestGuardedDial(t *testing.T) {
	var reached atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Store(true) }))
	t.Cleanup(server.Close)
	t.Setenv("HTTP_PROXY", server.URL)
	t.Setenv("http_proxy", server.URL)
	s, err := New(Config{URL: "http://10.255.255.1:9/", PlainHTTP: true, Secrets: secrets(vectorSecret)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if s.client.Transport.(*http.Transport).Proxy != nil {
		t.Error("the transport has a proxy")
	}
	// The configured host is all that this sender's dialer knows of.
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(server.URL, "http://"))
	s.url = "http://127.0.0.1:" + port
	if err := s.Send(t.Context(), message()); !errors.Is(err, dial.ErrRefused) {
		t.Errorf("loopback that the config does not name: %v", err)
	}
	s.url = "http://localhost:" + port
	if err := s.Send(t.Context(), message()); !errors.Is(err, dial.ErrRefused) {
		t.Errorf("a name for loopback: %v", err)
	}
	if reached.Load() {
		t.Error("the server was reached")
	}
}

// Errors go to logs, and the path of a URL may be a secret.
func TestErrorsHideTheURL(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + l.Addr().String() + "/s3cret-path"
	_ = l.Close()
	err = sender(t, url, nil).Send(t.Context(), message())
	if err == nil || strings.Contains(err.Error(), "s3cret") || notify.IsPermanent(err) {
		t.Errorf("refused connection: %v", err)
	}
}

func TestSendHeedsItsContext(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { close(entered); <-release }))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(release) })
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-entered; cancel() }()
	if err := sender(t, server.URL, nil).Send(ctx, message()); !errors.Is(err, context.Canceled) || notify.IsPermanent(err) {
		t.Errorf("cancelled: %v", err)
	}
}

// An answer without an end costs a bounded read.
func TestEndlessAnswer(t *testing.T) {
	written := make(chan int, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		chunk, n := make([]byte, 32<<10), 0
		for n < 64<<20 { // far more than the buffers in between hold
			if _, err := w.Write(chunk); err != nil {
				break
			}
			n += len(chunk)
		}
		written <- n
	}))
	t.Cleanup(server.Close)
	if err := sender(t, server.URL, nil).Send(t.Context(), message()); err != nil {
		t.Error(err)
	}
	if n := <-written; n >= 64<<20 {
		t.Errorf("read all of %d bytes", n)
	}
}

func TestUnsignableMessages(t *testing.T) {
	s := sender(t, "http://127.0.0.1:1/", nil)
	for name, m := range map[string]notify.Message{
		"no id": {}, "id with a stop": {ID: "a.b"}, "id with a line": {ID: "a\r\nb"}, "data": {ID: "a", Data: map[string]any{"x": func() {}}},
	} {
		if err := s.Send(t.Context(), m); !notify.IsPermanent(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzVerify(f *testing.F) {
	f.Add(vectorID, fmt.Sprint(vectorTime), vectorSignature, vectorBody)
	f.Add("", "-1", "v1,", "")
	f.Add("a", "99999999999999999999", "v1, v1,x v1a,y", "{}")
	f.Fuzz(func(t *testing.T, id, timestamp, signature, body string) {
		h := http.Header{"Webhook-Id": {id}, "Webhook-Timestamp": {timestamp}, "Webhook-Signature": {signature}}
		_, err := Verify(secrets(vectorSecret), h, []byte(body), time.Unix(vectorTime, 0))
		if err == nil && (id != vectorID || timestamp != fmt.Sprint(vectorTime) || body != vectorBody) {
			t.Errorf("accepted %q %q %q %q", id, timestamp, signature, body)
		}
	})
}

package daemon_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/api"
)

// answer is what came back.
type answer struct {
	t      testing.TB
	what   string
	status int
	header http.Header
	body   []byte
}

// is fails the test unless the answer has this status, and where it is a
// refusal this code and the members of a problem document (RFC 9457).
func (a answer) is(status int, code ...string) answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s: got %d, want %d: %s", a.what, a.status, status, a.body)
	}
	if status >= 400 && len(code) > 0 {
		if got := a.header.Get("Content-Type"); got != "application/problem+json" {
			a.t.Errorf("%s: a refusal is %q", a.what, got)
		}
		p := a.problem()
		if p.Code != code[0] || p.Type != "urn:daypass:problem:"+p.Code || p.Title == "" || p.Detail == "" || p.Status != status {
			a.t.Fatalf("%s: got %s, want %s", a.what, a.body, code[0])
		}
	}
	return a
}

func (a answer) problem() api.Problem { return decode[api.Problem](a) }

func (a answer) request() api.Request { a.t.Helper(); return decode[api.Request](a) }

func decode[T any](a answer) T {
	a.t.Helper()
	var v T
	if err := json.Unmarshal(a.body, &v); err != nil {
		a.t.Fatalf("%s: %v in %s", a.what, err, a.body)
	}
	return v
}

// call calls the API as who. body is sent as it is when it is a string, else
// as JSON. header holds pairs; an empty value removes a header.
func (s *server) call(who, method, path string, body any, header ...string) answer {
	s.t.Helper()
	a, err := s.try(who, method, path, body, header...)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

// try is call where the server may be gone.
func (s *server) try(who, method, path string, body any, header ...string) (answer, error) {
	a := answer{t: s.t, what: who + " " + method + " " + path}
	var in io.Reader
	switch body := body.(type) {
	case nil:
	case string:
		in = strings.NewReader(body)
	default:
		raw, err := json.Marshal(body)
		if err != nil {
			return a, err
		}
		in = bytes.NewReader(raw)
	}
	r, err := http.NewRequest(method, s.scheme+"://"+s.api+path, in)
	if err != nil {
		return a, err
	}
	if who != "" {
		token := s.tokens[who]
		if token == "" {
			token = who // a token itself
		}
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		if header[i+1] == "" {
			r.Header.Del(header[i])
		} else {
			r.Header.Set(header[i], header[i+1])
		}
	}
	return a.send(s.http, r)
}

func (a answer) send(c *http.Client, r *http.Request) (answer, error) {
	resp, err := c.Do(r)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	a.status, a.header = resp.StatusCode, resp.Header
	a.body, err = io.ReadAll(resp.Body)
	return a, err
}

// m is a JSON object.
type m = map[string]any

// ask is the body of a request that every guardrail lets pass.
func ask(resource, role string, d time.Duration) m {
	return m{"resource": resource, "role": role, "duration": api.FormatDuration(d), "reason": "refund totals", "ticket": "INC-42"}
}

// granted asks for what policy grants at once.
func (s *server) granted(who, resource, role string, d time.Duration) api.Request {
	s.t.Helper()
	return s.call(who, "POST", "/v1/requests", ask(resource, role, d)).is(201).request()
}

// pending asks for what people have to review.
func (s *server) pending(who, resource, role string, d time.Duration) api.Request {
	s.t.Helper()
	return s.call(who, "POST", "/v1/requests", ask(resource, role, d)).is(202).request()
}

// approve votes for a request as it was shown.
func (s *server) approve(who string, r api.Request) answer {
	s.t.Helper()
	return s.call(who, "POST", "/v1/requests/"+r.ID+"/reviews", m{"decision": "approve", "content_hash": r.ContentHash})
}

// token gets a credential of a grant.
func (s *server) token(who string, r api.Request) string {
	s.t.Helper()
	c := decode[api.Credential](s.call(who, "POST", "/v1/grants/"+r.Grant.ID+"/credentials", m{"format": "token"}).is(201))
	if c.Secret == nil {
		s.t.Fatal("a new credential has no secret")
	}
	return *c.Secret
}

// pass is a token for a new grant of open-api.
func (s *server) pass(d time.Duration) (api.Request, string) {
	s.t.Helper()
	r := s.granted("user:cy", "open-api", "all", d)
	return r, s.token("user:cy", r)
}

// through calls a resource by the gateway with a grant's token.
func (s *server) through(token, method, resource, path string, header ...string) answer {
	s.t.Helper()
	a, err := s.tryThrough(token, method, resource, path, header...)
	if err != nil {
		s.t.Fatalf("%s %s at the gateway: %v", method, path, err)
	}
	return a
}

func (s *server) tryThrough(token, method, resource, path string, header ...string) (answer, error) {
	a := answer{t: s.t, what: method + " " + resource + path}
	r, err := http.NewRequest(method, s.scheme+"://"+s.gate+path, nil)
	if err != nil {
		return a, err
	}
	r.Host = resource + ".localhost"
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	client := *s.http
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return a.send(&client, r)
}

// events are the entries of the record that a query selects, ascending.
func (s *server) events(query string) []api.Event {
	s.t.Helper()
	a := s.call("user:bo", "GET", "/v1/audit/events?after=0"+query, nil, "Accept", "application/x-ndjson").is(200)
	var out []api.Event
	for _, line := range bytes.Split(bytes.TrimSpace(a.body), []byte("\n")) {
		var e api.Event
		if len(line) == 0 {
			continue
		}
		if err := json.Unmarshal(line, &e); err != nil {
			s.t.Fatalf("%v in %s", err, line)
		}
		out = append(out, e)
	}
	return out
}

package daemon_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/daypass/daypass/api"
)

// TestAsking: what POST /v1/requests answers.
//
// Attack: REQ-01, REQ-07, REQ-22
func TestAsking(t *testing.T) {
	s := serve(t)
	t.Run("decided at once", func(t *testing.T) {
		a := s.call("user:ana", "POST", "/v1/requests", ask("orders-api", "read", 5*time.Minute)).is(201)
		r := a.request()
		if a.header.Get("Location") != "/v1/requests/"+r.ID || a.header.Get("ETag") == "" {
			t.Errorf("Location %q, ETag %q", a.header.Get("Location"), a.header.Get("ETag"))
		}
		if r.State != "approved" || r.Grant == nil || r.Grant.State != "active" || r.Grant.ExpiresAt.Sub(r.Grant.StartsAt.Time) != 5*time.Minute || r.Policy.Rule != "on-call reads" {
			t.Errorf("%s", a.body)
		}
	})
	t.Run("waits for people", func(t *testing.T) {
		a := s.call("user:ana", "POST", "/v1/requests", ask("orders-api", "write", 5*time.Minute)).is(202)
		if r := a.request(); r.State != "pending" || r.Grant != nil || len(r.Stages) != 2 || a.header.Get("Location") != "/v1/requests/"+r.ID {
			t.Errorf("%s", a.body)
		}
		if a.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	})
	with := func(key string, value any) m {
		body := ask("orders-api", "read", 5*time.Minute)
		if body[key] = value; value == nil {
			delete(body, key)
		}
		return body
	}
	for name, c := range map[string]struct {
		who    string
		body   any
		status int
		code   string
	}{
		"no rule":                     {"user:eve", ask("open-api", "all", time.Minute), 403, "not_requestable"},
		"an unknown resource":         {"user:ana", ask("absent-api", "read", time.Minute), 404, "not_found"},
		"a name in another case":      {"user:ana", ask("Orders-API", "read", time.Minute), 404, "not_found"},
		"an unknown role":             {"user:ana", ask("orders-api", "absent", time.Minute), 422, "invalid_field"},
		"no ticket":                   {"user:ana", with("ticket", nil), 403, "denied_by_guardrail"},
		"a ticket of another form":    {"user:ana", with("ticket", "X-1"), 403, "denied_by_guardrail"},
		"no reason":                   {"user:ana", with("reason", nil), 403, "denied_by_guardrail"},
		"longer than any rule allows": {"user:ana", with("duration", "2h"), 403, "not_requestable"},
		"no duration":                 {"user:ana", with("duration", nil), 422, "invalid_field"},
		"duration of nothing":         {"user:ana", with("duration", "0s"), 422, "invalid_field"},
		"negative duration":           {"user:ana", with("duration", "-5m"), 422, "invalid_field"},
		"duration in other units":     {"user:ana", with("duration", "1.5h"), 422, "invalid_field"},
		"duration out of order":       {"user:ana", with("duration", "5s1m"), 422, "invalid_field"},
		"duration as a number":        {"user:ana", with("duration", 300), 422, "invalid_field"},
		"over a year":                 {"user:ana", with("duration", "8761h"), 422, "invalid_field"},
		"role and scope":              {"user:ana", with("scope", m{"methods": []string{"GET"}, "paths": []string{"/v1/orders/1"}}), 422, "invalid_field"},
		"start in the far future":     {"user:ana", with("start_at", time.Now().Add(31*24*time.Hour).UTC().Format(time.RFC3339)), 422, "invalid_field"},
		"start that is no time":       {"user:ana", with("start_at", "tomorrow"), 422, "invalid_field"},
		"reason of 5 KiB":             {"user:ana", with("reason", strings.Repeat("x", 5<<10)), 422, "invalid_field"},
	} {
		t.Run(name, func(t *testing.T) {
			a := s.call(c.who, "POST", "/v1/requests", c.body)
			a.t = t
			a.is(c.status)
			p := a.problem()
			if p.Status != c.status || p.Detail == "" || p.Type != "urn:daypass:problem:"+p.Code || p.Code != c.code {
				t.Errorf("%s", a.body)
			}
			if c.status == 422 && len(p.Errors) == 0 {
				t.Errorf("it does not name the field: %s", a.body)
			}
		})
	}
	scoped := func(methods []string, paths ...string) m {
		body := ask("orders-api", "", 5*time.Minute)
		delete(body, "role")
		body["scope"] = m{"methods": methods, "paths": paths}
		return body
	}
	t.Run("a narrower scope", func(t *testing.T) {
		r := s.call("user:ana", "POST", "/v1/requests", scoped([]string{"GET", "GET"}, "/v1/orders/7")).is(201).request()
		if string(r.Scope) != `{"methods":["GET"],"paths":["/v1/orders/7"]}` {
			t.Errorf("the scope is %s", r.Scope)
		}
		s.call("user:ana", "POST", "/v1/requests", scoped([]string{"GET"}, "/v1/**"))
	})
	t.Run("a wider scope", func(t *testing.T) {
		for _, body := range []m{scoped([]string{"GET"}, "/v1/**"), scoped([]string{"DELETE"}, "/v1/orders/7"), scoped([]string{"*"}, "/v1/orders/7")} {
			if a := s.call("user:ana", "POST", "/v1/requests", body); a.status != 403 && a.status != 422 {
				t.Errorf("%v: %d %s", body["scope"], a.status, a.body)
			}
		}
	})
	t.Run("a dry run", func(t *testing.T) {
		before := len(decode[api.List[api.Request]](s.call("user:ana", "GET", "/v1/requests?limit=100", nil).is(200)).Items)
		d := decode[api.Decision](s.call("user:ana", "POST", "/v1/requests?dry_run=true", ask("orders-api", "read", time.Minute)).is(200))
		if d.Decision != "auto" || d.Explanation == "" {
			t.Errorf("%+v", d)
		}
		d = decode[api.Decision](s.call("user:ana", "POST", "/v1/requests?dry_run=true", ask("orders-api", "write", time.Minute)).is(200))
		if d.Decision != "review" || len(d.Stages) != 2 {
			t.Errorf("%+v", d)
		}
		d = decode[api.Decision](s.call("user:eve", "POST", "/v1/requests?dry_run=true", ask("orders-api", "read", time.Minute)).is(200))
		if d.Decision != "refused" || d.Code != "not_requestable" {
			t.Errorf("%+v", d)
		}
		if after := len(decode[api.List[api.Request]](s.call("user:ana", "GET", "/v1/requests?limit=100", nil).is(200)).Items); after != before {
			t.Errorf("%d requests became %d", before, after)
		}
	})
}

// TestStrictJSON: 400 for a malformed shape, 415 for another type.
//
// Attack: REQ-02, REQ-03, REQ-06, REQ-17, REQ-18
func TestStrictJSON(t *testing.T) {
	s := serve(t)
	good := `{"resource":"orders-api","role":"read","duration":"5m","reason":"r","ticket":"INC-1"}`
	before := len(s.events("&type=request.created"))
	for name, body := range map[string]string{
		"an unknown member":           strings.Replace(good, `{`, `{"priority":1,`, 1),
		"somebody else's name":        strings.Replace(good, `{`, `{"requester":"user:bo",`, 1),
		"a member twice":              strings.Replace(good, `{`, `{"role":"write",`, 1),
		"a member's other case":       strings.Replace(good, `"role"`, `"Role"`, 1),
		"an escaped member":           strings.Replace(good, `{`, `{"\u0072ole":"write",`, 1),
		"text after it":               good + `x`,
		"two values":                  good + good,
		"invalid UTF-8":               strings.Replace(good, `"r"`, "\"\xff\"", 1),
		"half a surrogate":            strings.Replace(good, `"r"`, `"\ud800"`, 1),
		"an array":                    `[` + good + `]`,
		"nothing":                     ``,
		"null":                        `null`,
		"cut off":                     good[:40],
		"deep":                        strings.Repeat(`[`, 30000),
		"a comment":                   good + `// ok`,
		"a comma too many":            strings.Replace(good, `}`, `,}`, 1),
		"single quotes":               strings.ReplaceAll(good, `"`, `'`),
		"a byte order mark":           "\ufeff" + good,
		"more than 64 KiB":            strings.Replace(good, `"r"`, `"`+strings.Repeat("r", 65<<10)+`"`, 1),
		"a member of the scope twice": `{"resource":"orders-api","scope":{"methods":["GET"],"methods":["POST"],"paths":["/v1/orders/1"]},"duration":"5m"}`,
	} {
		t.Run(name, func(t *testing.T) {
			a := s.call("user:ana", "POST", "/v1/requests", body)
			a.t = t
			a.is(400)
			if p := a.problem(); p.Code == "" || p.Detail == "" || strings.Contains(string(a.body), "user:bo") {
				t.Errorf("%s", a.body)
			}
		})
	}
	for _, kind := range []string{"text/plain", "", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json; charset=latin1"} {
		s.call("user:ana", "POST", "/v1/requests", good, "Content-Type", kind).is(415, "unsupported_media_type")
	}
	s.call("user:ana", "POST", "/v1/requests", good, "Content-Encoding", "gzip").is(415)
	s.call("user:ana", "POST", "/v1/requests", good, "Content-Type", "application/json; charset=utf-8").is(201)
	if after := len(s.events("&type=request.created")); after != before+1 {
		t.Errorf("%d requests became %d", before, after)
	}
	for _, value := range []string{"7", "null", "true", "[]", "{}"} {
		s.call("user:ana", "POST", "/v1/requests", strings.Replace(good, `"read"`, value, 1)).is(422, "invalid_field")
	}
	s.call("user:ana", "GET", "/v1/requests?state=open", nil).is(422)
	s.call("user:ana", "GET", "/v1/requests?limit=0", nil).is(422)
	s.call("user:ana", "GET", "/v1/requests?cursor=forged", nil)
	s.call("user:ana", "PATCH", "/v1/requests", good).is(405, "method_not_allowed")
	s.call("user:ana", "GET", "/v1/absent", nil).is(404, "not_found")
	s.call("", "GET", "/v1/me", nil).is(401)
	for _, token := range []string{"dpat_x", mint("dpat_"), mint("dpgt_"), s.tokens["user:ana"] + "x", strings.ToUpper(s.tokens["user:ana"])} {
		a := s.call(token, "GET", "/v1/me", nil).is(401)
		if !strings.Contains(a.header.Get("WWW-Authenticate"), `error="invalid_token"`) {
			t.Errorf("WWW-Authenticate is %q", a.header.Get("WWW-Authenticate"))
		}
	}
	s.call("user:ana", "GET", "/v1/me?access_token="+s.tokens["user:ana"], nil, "Authorization", "").is(401)
}

// Attack: REQ-08, REQ-09
func TestIdempotency(t *testing.T) {
	s := serve(t)
	body := ask("orders-api", "read", 5*time.Minute)
	first := s.call("user:ana", "POST", "/v1/requests", body, "Idempotency-Key", "k1").is(201).request()
	again := s.call("user:ana", "POST", "/v1/requests", body, "Idempotency-Key", "k1").is(201)
	if again.request().ID != first.ID || again.header.Get("Location") != "/v1/requests/"+first.ID {
		t.Errorf("the same call made %s after %s", again.request().ID, first.ID)
	}
	s.call("user:ana", "POST", "/v1/requests", ask("orders-api", "read", 6*time.Minute), "Idempotency-Key", "k1").is(422)
	// The namespace is the caller's own.
	if r := s.call("user:cy", "POST", "/v1/requests", ask("open-api", "all", time.Minute), "Idempotency-Key", "k1").is(201).request(); r.Requester != "user:cy" {
		t.Errorf("the key of ana gave cy %s", r.ID)
	}
	// A credential is shown once, also to the same key, and also after a restart.
	path := "/v1/grants/" + first.Grant.ID + "/credentials"
	made := decode[api.Credential](s.call("user:ana", "POST", path, m{"format": "token"}, "Idempotency-Key", "c1").is(201))
	if made.Secret == nil || !strings.HasPrefix(*made.Secret, "dpgt_") || len(*made.Secret) != len("dpgt_")+49 {
		t.Fatalf("the credential is %+v", made)
	}
	replay := func() {
		t.Helper()
		a := s.call("user:ana", "POST", path, m{"format": "token"}, "Idempotency-Key", "c1").is(201)
		if c := decode[api.Credential](a); c.Secret != nil || !strings.Contains(string(a.body), `"secret":null`) {
			t.Errorf("the secret is shown again: %s", a.body)
		}
	}
	replay()
	s.kill()
	s.start()
	replay()
	if r := s.call("user:ana", "POST", "/v1/requests", body, "Idempotency-Key", "k1").is(201).request(); r.ID != first.ID {
		t.Errorf("after a crash the same call made %s", r.ID)
	}
	// Many at once: one request, and nobody is told anything else than the
	// answer or that it is under way.
	var ids sync.Map
	var answered, busy atomic.Int32
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			a := s.call("user:ana", "POST", "/v1/requests", ask("orders-api", "write", time.Minute), "Idempotency-Key", "k2")
			switch a.status {
			case 202:
				answered.Add(1)
				ids.Store(a.request().ID, true)
			case 409:
				busy.Add(1)
			default:
				t.Errorf("%d %s", a.status, a.body)
			}
		})
	}
	group.Wait()
	n := 0
	ids.Range(func(any, any) bool { n++; return true })
	if n != 1 || answered.Load() == 0 {
		t.Errorf("%d requests, %d answers, %d were told to wait", n, answered.Load(), busy.Load())
	}
	for _, key := range []string{strings.Repeat("k", 300), "\u00e4"} {
		if a := s.call("user:ana", "POST", "/v1/requests", body, "Idempotency-Key", key); a.status != 400 && a.status != 422 {
			t.Errorf("key %q: %d", key, a.status)
		}
	}
}

// Attack: REQ-10, RES-02
func TestPendingCaps(t *testing.T) {
	s := serve(t)
	var made, over atomic.Int32
	var group sync.WaitGroup
	for range 40 {
		group.Go(func() {
			switch a := s.call("user:cy", "POST", "/v1/requests", ask("orders-api", "write", time.Minute)); a.status {
			case 202:
				made.Add(1)
			case 429:
				over.Add(1)
			default:
				t.Errorf("%d %s", a.status, a.body)
			}
		})
	}
	group.Wait()
	if made.Load() != 20 || over.Load() != 20 {
		t.Errorf("%d pending and %d refused", made.Load(), over.Load())
	}
	if a := s.call("user:cy", "POST", "/v1/requests", ask("orders-api", "write", time.Minute)).is(429); a.problem().Code == "" {
		t.Errorf("%s", a.body)
	}
	// Others, and other resources, are not held up.
	s.pending("user:ana", "orders-api", "write", time.Minute)
	s.pending("user:cy", "two-api", "all", time.Minute)
	// Deciding makes room.
	page := decode[api.List[api.Request]](s.call("user:cy", "GET", "/v1/requests?state=pending&role=requester&resource=orders-api", nil).is(200))
	s.call("user:cy", "POST", "/v1/requests/"+page.Items[0].ID+"/cancel", nil).is(200)
	s.pending("user:cy", "orders-api", "write", time.Minute)
}

// TestReading: lists in pages, waits, entity tags, and what strangers see.
//
// Invariant: A14
// Attack: REQ-16, WEB-07
func TestReading(t *testing.T) {
	s := serve(t)
	var newest []string
	for range 7 {
		newest = append([]string{s.pending("user:cy", "orders-api", "write", time.Minute).ID}, newest...)
	}
	var seen []string
	path := "/v1/requests?role=requester&limit=3"
	for next := path; ; {
		page := decode[api.List[api.Request]](s.call("user:cy", "GET", next, nil).is(200))
		for _, r := range page.Items {
			seen = append(seen, r.ID)
		}
		if page.NextCursor == nil {
			break
		}
		next = path + "&cursor=" + *page.NextCursor
	}
	if fmt.Sprint(seen) != fmt.Sprint(newest) {
		t.Errorf("pages show %v, want %v", seen, newest)
	}
	for _, cursor := range []string{"AAAA", "x.y"} {
		if a := s.call("user:cy", "GET", path+"&cursor="+cursor, nil); a.status != 400 && a.status != 422 {
			t.Errorf("a forged cursor: %d", a.status)
		}
	}
	one := "/v1/requests/" + newest[0]
	absent := s.call("user:eve", "GET", "/v1/requests/req_aaaaaaaaaaaaaaaaaaaaaaaaaa", nil).is(404, "not_found")
	hidden := s.call("user:eve", "GET", one, nil).is(404, "not_found")
	if string(absent.body) != string(hidden.body) {
		t.Errorf("a stranger can tell %s from %s", hidden.body, absent.body)
	}
	for _, act := range []string{"/cancel", "/reviews"} {
		s.call("user:eve", "POST", one+act, m{"decision": "approve", "content_hash": "sha256:" + strings.Repeat("0", 64)}).is(map[string]int{"/cancel": 400, "/reviews": 404}[act])
	}
	s.call("user:eve", "POST", one+"/cancel", nil).is(404, "not_found")
	for _, who := range []string{"user:cy", "user:bo", "user:dan", "user:ada", "user:ana"} {
		s.call(who, "GET", one, nil).is(200)
	}
	mine := decode[api.List[api.Request]](s.call("user:dan", "GET", "/v1/requests?role=reviewer&state=pending", nil).is(200))
	if len(mine.Items) != 7 {
		t.Errorf("dan has %d requests to review", len(mine.Items))
	}

	tag := s.call("user:cy", "GET", one, nil).is(200).header.Get("ETag")
	s.call("user:cy", "GET", one, nil, "If-None-Match", tag).is(304)
	began := time.Now()
	s.call("user:cy", "GET", one+"?wait=1s", nil, "If-None-Match", tag).is(304)
	if waited := time.Since(began); waited < 900*time.Millisecond {
		t.Errorf("it waited %v", waited)
	}
	for _, bad := range []string{"wait=0", "wait=1h", "wait=x", "wait=-1s"} {
		if a := s.call("user:cy", "GET", one+"?"+bad, nil); a.status != 422 && a.status != 400 {
			t.Errorf("%s: %d", bad, a.status)
		}
	}
	moved := make(chan answer)
	go func() {
		a, _ := s.try("user:cy", "GET", one+"?wait=30s", nil, "If-None-Match", tag)
		moved <- a
	}()
	time.Sleep(100 * time.Millisecond)
	s.approve("user:bo", s.call("user:bo", "GET", one, nil).request()).is(200)
	if a := <-moved; a.status != 200 || a.header.Get("ETag") == tag || len(a.request().Reviews) != 1 || a.request().State != "pending" {
		t.Errorf("after a vote the wait gave %d %s", a.status, a.body)
	}
	// Without a tag the wait is for the decision.
	go func() {
		a, _ := s.try("user:cy", "GET", one+"?wait=30s", nil)
		moved <- a
	}()
	time.Sleep(100 * time.Millisecond)
	s.call("user:ana", "POST", one+"/reviews", m{"decision": "deny", "content_hash": s.call("user:ana", "GET", one, nil).request().ContentHash, "comment": "no"}).is(200)
	if a := <-moved; a.status != 200 || a.request().State != "denied" {
		t.Errorf("after the decision the wait gave %d %s", a.status, a.body)
	}
	// Reading changes nothing, whatever it asks for.
	other := "/v1/requests/" + newest[1]
	for _, method := range []string{"GET", "HEAD", "OPTIONS"} {
		for _, p := range []string{other, other + "/cancel", other + "/reviews?decision=approve"} {
			s.call("user:dan", method, p, nil, "X-HTTP-Method-Override", "POST")
		}
	}
	if r := s.call("user:cy", "GET", other, nil).request(); r.State != "pending" || len(r.Reviews) != 0 {
		t.Errorf("reading changed it: %+v", r)
	}
}

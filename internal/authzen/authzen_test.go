package authzen

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/identity"
)

// fake allows ana to GET /ok on orders, and knows how bo could ask.
type fake struct {
	asked  []broker.Question
	refuse error
}

func (f *fake) Evaluate(_ context.Context, c identity.Caller, q broker.Question) (broker.Answer, error) {
	f.asked = append(f.asked, q)
	switch {
	case f.refuse != nil:
		return broker.Answer{}, f.refuse
	case c.Principal != "service:pep":
		return broker.Answer{}, &broker.Error{Kind: broker.Forbidden, Code: "forbidden", Message: "no"}
	case q.ResourceID != "orders":
		return broker.Answer{}, &broker.Error{Kind: broker.Forbidden, Code: "not_fronted", Message: "not yours"}
	case q.SubjectID == "bo":
		return broker.Answer{Auto: true, Form: "https://d/request", Ask: &api.AccessHint{Method: "POST", URL: "https://d/v1/requests", Command: "daypass request orders",
			Body: api.SubmitRequest{Resource: "orders", Role: "read", Duration: api.Duration(time.Minute)}}}, nil
	case q.SubjectType == "user" && q.SubjectID == "ana" && q.Action == "GET" && q.Property("path") == "/ok":
		return broker.Answer{Decision: true, Grant: "grt_1", Request: "req_1", ExpiresAt: time.UnixMilli(1700000000123)}, nil
	}
	return broker.Answer{}, nil
}

type face struct {
	*fake
	h http.Handler
}

func newFace() *face {
	f := &face{fake: &fake{}}
	f.h = New(Deps{
		Broker: f.fake, PublicURL: "https://daypass.example/",
		Caller: func(r *http.Request) (identity.Caller, error) {
			who := r.Header.Get("Authorization")
			if who == "" {
				return identity.Caller{}, &broker.Error{Kind: broker.Unauthorized, Code: "unauthorized", Message: "who are you"}
			}
			return identity.Caller{Principal: who}, nil
		},
		Challenge: func(*http.Request, string) string { return "Bearer" },
	})
	return f
}

func (f *face) post(path, body string, header ...string) *http.Response {
	r := httptest.NewRequest("POST", path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "service:pep")
	for i := 0; i < len(header); i += 2 {
		r.Header.Del(header[i])
		if header[i+1] != "" {
			r.Header.Set(header[i], header[i+1])
		}
	}
	w := httptest.NewRecorder()
	f.h.ServeHTTP(w, r)
	return w.Result()
}

func read(t *testing.T, res *http.Response, status int) string {
	t.Helper()
	b, _ := io.ReadAll(res.Body)
	if res.StatusCode != status {
		t.Fatalf("%d, want %d: %s", res.StatusCode, status, b)
	}
	if res.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("Cache-Control %q", res.Header.Get("Cache-Control"))
	}
	return strings.TrimSpace(string(b))
}

const good = `{"subject":{"type":"user","id":"ana"},"action":{"name":"GET"},"resource":{"type":"http","id":"orders","properties":{"path":"/ok"}}}`

const yes = `{"decision":true,"context":{"grant":"grt_1","request":"req_1","expires_at":"2023-11-14T22:13:20.123Z"}}`

// Attack: INT-01, INT-07
func TestADecision(t *testing.T) {
	f := newFace()
	res := f.post("/access/v1/evaluation", good, "X-Request-ID", "bfe9eb29-ab87-4ca3-be83-a1d5d8305716")
	if got := read(t, res, 200); got != yes || res.Header.Get("X-Request-ID") != "bfe9eb29-ab87-4ca3-be83-a1d5d8305716" || res.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%s %v", got, res.Header)
	}
	// A denial is an answer, not an error.
	if got := read(t, f.post("/access/v1/evaluation", strings.Replace(good, "/ok", "/no", 1)), 200); got != `{"decision":false}` {
		t.Error(got)
	}
	got := read(t, f.post("/access/v1/evaluation", strings.Replace(good, "ana", "bo", 1)), 200)
	want := `{"decision":false,"context":{"reason":"request_required","access_request":{"endpoint":"https://d/v1/requests","method":"POST","body":{"resource":"orders","role":"read","duration":"1m"},"command":"daypass request orders","form_url":"https://d/request"}}}`
	if got != want {
		t.Error(got)
	}
	// What is not known is ignored, wherever it stands, and so is a context.
	more := `{"future":{"a":[1]},"context":{"ip":"::1"},"subject":{"type":"user","id":"ana","properties":{"role":"x"},"x":1},"action":{"name":"GET","properties":{}},"resource":{"type":"http","id":"orders","properties":{"path":"/ok","n":1}}}`
	if got := read(t, f.post("/access/v1/evaluation", more, "Content-Type", "application/json; charset=UTF-8"), 200); got != yes {
		t.Error(got)
	}
	// A path of another type is no path.
	if got := read(t, f.post("/access/v1/evaluation", strings.Replace(good, `"/ok"`, `["/ok"]`, 1)), 200); got != `{"decision":false}` {
		t.Error(got)
	}
}

// What lacks something, or has it in another shape, is 400 and never a
// decision, and the broker does not hear of it.
//
// Attack: INT-02, INT-06
func TestMalformedQuestions(t *testing.T) {
	f := newFace()
	cut := func(old, by string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("%s is not in it", old)
		}
		return strings.Replace(good, old, by, 1)
	}
	bodies := map[string]string{
		"empty": "", "not JSON": "{", "a list": "[]", "a text": `"x"`, "null": "null", "nothing in it": "{}", "trailing": good + "{}",
		"subjct": cut(`"subject"`, `"subjct"`), "Subject": cut(`"subject"`, `"Subject"`),
		"no subject":     cut(`"subject":{"type":"user","id":"ana"},`, ""),
		"null subject":   cut(`{"type":"user","id":"ana"}`, "null"),
		"text subject":   cut(`{"type":"user","id":"ana"}`, `"ana"`),
		"list subject":   cut(`{"type":"user","id":"ana"}`, `[]`),
		"no type":        cut(`"type":"user",`, ""),
		"no id":          cut(`,"id":"ana"`, ""),
		"number id":      cut(`"ana"`, "7"),
		"null id":        cut(`"ana"`, "null"),
		"empty id":       cut(`"ana"`, `""`),
		"no action":      cut(`"action":{"name":"GET"},`, ""),
		"no name":        cut(`{"name":"GET"}`, "{}"),
		"text action":    cut(`{"name":"GET"}`, `"GET"`),
		"bool name":      cut(`"GET"`, "true"),
		"no resource":    cut(`,"resource":{"type":"http","id":"orders","properties":{"path":"/ok"}}`, ""),
		"no res type":    cut(`"type":"http",`, ""),
		"no res id":      cut(`"id":"orders",`, ""),
		"text props":     cut(`{"path":"/ok"}`, `"x"`),
		"list props":     cut(`{"path":"/ok"}`, `[]`),
		"text context":   cut(`{"subject"`, `{"context":"x","subject"`),
		"twice":          cut(`{"subject"`, `{"action":{"name":"PUT"},"subject"`),
		"twice inside":   cut(`"name":"GET"`, `"name":"PUT","name":"GET"`),
		"twice below":    cut(`"path":"/ok"`, `"path":"/no","path":"/ok"`),
		"twice unknown":  cut(`{"subject"`, `{"x":1,"x":2,"subject"`),
		"not UTF-8":      cut(`"ana"`, "\"an\xffa\""),
		"lone surrogate": cut(`"ana"`, `"\ud800"`),
		"long":           cut(`{"subject"`, `{"x":"`+strings.Repeat("x", maxBody)+`","subject"`),
	}
	for name, body := range bodies {
		for _, path := range []string{"/access/v1/evaluation", "/access/v1/evaluations"} {
			status := 400
			if name == "long" {
				if path == "/access/v1/evaluations" {
					continue
				}
				status = 413
			}
			res := f.post(path, body, "X-Request-ID", "7")
			if read(t, res, status); res.Header.Get("X-Request-ID") != "7" {
				t.Errorf("%s: no X-Request-ID", name)
			}
		}
	}
	for _, kind := range []string{"", "text/plain", "application/x-www-form-urlencoded", "application/jsonx", "application/json; charset=latin1"} {
		read(t, f.post("/access/v1/evaluation", good, "Content-Type", kind), 400)
	}
	read(t, f.post("/access/v1/evaluation", good, "Content-Encoding", "gzip"), 400)
	if len(f.asked) != 0 {
		t.Errorf("the broker was asked %+v", f.asked)
	}
}

// 401 and 403 are of whoever asks, and come before the body is looked at.
//
// Attack: INT-05, INT-08, INT-10
func TestWhoAsks(t *testing.T) {
	f := newFace()
	res := f.post("/access/v1/evaluation", "{", "Authorization", "")
	if read(t, res, 401); res.Header.Get("WWW-Authenticate") == "" {
		t.Error("no challenge")
	}
	read(t, f.post("/access/v1/evaluation", good, "Authorization", "user:ana"), 403)
	read(t, f.post("/access/v1/evaluations", `{"evaluations":[`+good+`]}`, "Authorization", "user:ana"), 403)
	a := read(t, f.post("/access/v1/evaluation", strings.Replace(good, `"orders"`, `"closed"`, 1)), 403)
	b := read(t, f.post("/access/v1/evaluation", strings.Replace(good, `"orders"`, `"nothing"`, 1)), 403)
	if a != b {
		t.Errorf("%s %s", a, b)
	}
	f.refuse = &broker.Error{Kind: broker.Unavailable, Code: "unavailable", Message: "later", RetryAfter: time.Second}
	res = f.post("/access/v1/evaluation", good)
	if got := read(t, res, 503); strings.Contains(got, "decision") || res.Header.Get("Retry-After") != "1" {
		t.Error(got)
	}
	read(t, f.post("/access/v1/evaluations", `{"evaluations":[`+good+`]}`), 503)
	f.refuse = io.ErrUnexpectedEOF
	if got := read(t, f.post("/access/v1/evaluation", good), 500); strings.Contains(got, "EOF") {
		t.Error(got)
	}
	for path, status := range map[string]int{"/access/v1/evaluation": 405, "/access/v1/search/subject": 404, "/access/v1/": 404} {
		r := httptest.NewRequest("GET", path, nil)
		w := httptest.NewRecorder()
		f.h.ServeHTTP(w, r)
		read(t, w.Result(), status)
	}
}

// Several questions in one call: each is decided by itself, in order, with the
// common members where it has none of its own.
//
// Attack: INT-03, INT-04
func TestSeveralQuestions(t *testing.T) {
	f := newFace()
	const common = `"subject":{"type":"user","id":"ana"},"action":{"name":"GET"},"resource":{"type":"http","id":"orders","properties":{"path":"/ok"}}`
	const no = `{"decision":false}`
	const foreign = `{"decision":false,"context":{"error":{"status":403,"message":"not yours"}}}`
	ask := func(more string) string {
		t.Helper()
		return read(t, f.post("/access/v1/evaluations", "{"+more+"}"), 200)
	}
	for _, c := range []struct{ name, body, want string }{
		{"defaults", common + `,"evaluations":[{},{}]`, yes + "," + yes},
		{"overrides", common + `,"evaluations":[{"action":{"name":"PUT"}},{},{"resource":{"type":"http","id":"orders"}},{"subject":{"type":"user","id":"cy"}}]`, no + "," + yes + "," + no + "," + no},
		{"nothing in common", `"evaluations":[` + good + `]`, yes},
		{"another's resource", common + `,"evaluations":[{"resource":{"type":"http","id":"closed"}},{}]`, foreign + "," + yes},
		{"all", common + `,"options":{"evaluations_semantic":"execute_all"},"evaluations":[{"action":{"name":"PUT"}},{}]`, no + "," + yes},
		{"first deny", common + `,"options":{"evaluations_semantic":"deny_on_first_deny"},"evaluations":[{},{"action":{"name":"PUT"}},{}]`, yes + "," + no},
		{"first permit", common + `,"options":{"evaluations_semantic":"permit_on_first_permit","x":1},"evaluations":[{"action":{"name":"PUT"}},{},{}]`, no + "," + yes},
		{"an error is no permit", common + `,"options":{"evaluations_semantic":"permit_on_first_permit"},"evaluations":[{"resource":{"type":"http","id":"closed"}},{},{}]`, foreign + "," + yes},
		{"an error denies", common + `,"options":{"evaluations_semantic":"deny_on_first_deny"},"evaluations":[{"resource":{"type":"http","id":"closed"}},{}]`, foreign},
	} {
		if got := ask(c.body); got != `{"evaluations":[`+c.want+`]}` {
			t.Errorf("%s: %s", c.name, got)
		}
	}
	// None of them is one question.
	if got := ask(common + `,"evaluations":[]`); got != yes {
		t.Error(got)
	}
	if got := ask(common); got != yes {
		t.Error(got)
	}
	// An item that lacks something is answered in its place; the rest goes on.
	got := ask(`"action":{"name":"GET"},"resource":{"type":"http","id":"orders","properties":{"path":"/ok"}},"evaluations":[{},{"subject":{"type":"user","id":"ana"}}]`)
	if !strings.HasPrefix(got, `{"evaluations":[{"decision":false,"context":{"error":{"status":400,`) || !strings.HasSuffix(got, "}}},"+yes+"]}") {
		t.Error(got)
	}
	for name, body := range map[string]string{
		"another semantic": common + `,"options":{"evaluations_semantic":"first"},"evaluations":[{}]`,
		"of another type":  common + `,"options":{"evaluations_semantic":1},"evaluations":[{}]`,
		"options":          common + `,"options":[],"evaluations":[{}]`,
		"an object":        common + `,"evaluations":{}`,
		"a text in it":     common + `,"evaluations":["x"]`,
		"too many":         common + `,"evaluations":[` + strings.Repeat("{},", MaxItems) + `{}]`,
	} {
		if f.asked = nil; true {
			read(t, f.post("/access/v1/evaluations", "{"+body+"}"), 400)
		}
		if len(f.asked) != 0 {
			t.Errorf("%s: the broker was asked", name)
		}
	}
	f.asked = nil
	read(t, f.post("/access/v1/evaluations", `{"evaluations":[`+strings.Repeat("{},", 1_000_000)+`{}]}`), 413)
	ask(common + `,"evaluations":[` + strings.Repeat("{},", MaxItems-1) + `{}]`)
	if len(f.asked) != MaxItems {
		t.Errorf("%d were asked", len(f.asked))
	}
}

func TestConfiguration(t *testing.T) {
	f := newFace()
	w := httptest.NewRecorder()
	f.h.ServeHTTP(w, httptest.NewRequest("GET", "/.well-known/authzen-configuration", nil))
	var doc map[string]string
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil || w.Code != 200 || w.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	want := map[string]string{
		"policy_decision_point":       "https://daypass.example",
		"access_evaluation_endpoint":  "https://daypass.example/access/v1/evaluation",
		"access_evaluations_endpoint": "https://daypass.example/access/v1/evaluations",
	}
	if fmt.Sprint(doc) != fmt.Sprint(want) {
		t.Errorf("%v", doc)
	}
}

// FuzzDecode: whatever is sent, nothing panics, and what becomes a question has
// all its parts.
func FuzzDecode(f *testing.F) {
	f.Add(good)
	f.Add(`{"evaluations":[` + good + `,{}],"options":{"evaluations_semantic":"execute_all"}}`)
	f.Add(`{"subject":null,"resource":{"type":"\ud800"}}`)
	f.Fuzz(func(t *testing.T, body string) {
		b, batched, err := decode([]byte(body))
		if err != nil {
			return
		}
		items := []item{b.item}
		if batched {
			items = append(items, *b.Evaluations...)
		}
		for _, i := range items {
			q, err := i.or(b.item).question()
			if err == nil && (q.SubjectType == "" || q.SubjectID == "" || q.ResourceType == "" || q.ResourceID == "" || q.Action == "") {
				t.Errorf("%+v", q)
			}
			if err == nil {
				q.Property("path")
			}
		}
	})
}

// BenchmarkEvaluation is the face's own part of a decision.
func BenchmarkEvaluation(b *testing.B) {
	f := newFace()
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest("POST", "/access/v1/evaluation", strings.NewReader(good))
		r.Header["Content-Type"], r.Header["Authorization"] = jsonType, []string{"service:pep"}
		f.h.ServeHTTP(httptest.NewRecorder(), r)
		f.asked = f.asked[:0]
	}
}

package rest

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/broker"
)

func locations(t *testing.T, body string, f *face, status int, code string) string {
	t.Helper()
	p := problemIn(t, f.call("POST", "/v1/requests", body), status, code)
	var at []string
	for _, e := range p.Errors {
		at = append(at, e.Location)
		if e.Message == "" {
			t.Errorf("%s: no message", e.Location)
		}
	}
	return strings.Join(at, " ")
}

// What is not exactly one strict JSON object is 400, names what is wrong, and
// never reaches the broker.
//
// Attack: REQ-02, REQ-06, REQ-18, WEB-10, AUD-07
func TestMalformedBodies(t *testing.T) {
	f := newFace(t)
	const good = `"resource":"a","duration":"15m"`
	for _, c := range []struct{ name, body, at string }{
		{"unknown field", `{` + good + `,"admin":true}`, "body.admin"},
		{"two unknown fields", `{` + good + `,"x":1,"y":2}`, "body.x body.y"},
		{"somebody else", `{` + good + `,"requester":"user:bo"}`, "body.requester"},
		{"subject", `{` + good + `,"subject":"user:bo"}`, "body.subject"},
		{"wrong case", `{"Resource":"a","duration":"15m"}`, "body.Resource"},
		{"both cases", `{` + good + `,"ROLE":"root","role":"read"}`, "body.role"},
		{"long s", `{` + good + `,"re\u017fource":"b"}`, "body.reſource"},
		{"duplicate", `{` + good + `,"resource":"b"}`, "body.resource"},
		{"escaped duplicate", `{` + good + `,"\u0072esource":"b"}`, "body.resource"},
		{"nested duplicate", `{` + good + `,"scope":{"a":{"b":1,"b":2}}}`, "body.scope.a.b"},
		{"nested duplicate by case", `{` + good + `,"scope":{"a":[{"b":1,"B":2}]}}`, "body.scope.a.0.B"},
		{"invalid UTF-8", "{" + good + ",\"reason\":\"\xff\"}", "body"},
		{"lone surrogate", `{` + good + `,"reason":"\ud800"}`, "body"},
		{"trailing object", `{` + good + `}{}`, "body"},
		{"trailing text", `{` + good + `} x`, "body"},
		{"array", `[]`, "body"},
		{"string", `"x"`, "body"},
		{"null", `null`, "body"},
		{"number", `1`, "body"},
		{"empty", ``, "body"},
		{"spaces", "  \n", "body"},
		{"cut off", `{` + good, "body"},
		{"comment", `{` + good + `/**/}`, "body"},
		{"single quotes", `{'resource':'a'}`, "body"},
		{"BOM", "\ufeff{" + good + `}`, "body"},
		{"too deep", `{` + good + `,"scope":` + strings.Repeat(`{"a":`, 64) + "1" + strings.Repeat("}", 64) + `}`, "body"},
		{"far too deep", strings.Repeat(`{"a":`, 10_000) + strings.Repeat("}", 10_000), "body"},
		{"deep arrays", `{"scope":` + strings.Repeat("[", 30_000), "body"},
		{"many elements", `{` + good + `,"scope":[` + strings.Repeat("1,", 40_000) + `1]}`, "body"},
	} {
		if got := locations(t, c.body, f, 400, ""); got != c.at {
			t.Errorf("%s: %q, want %q", c.name, got, c.at)
		}
	}
	if n := len(f.broker.calls); n != 0 {
		t.Errorf("the broker was asked %d times", n)
	}
	deepest := `{` + good + `,"scope":` + strings.Repeat(`{"a":`, 62) + `{}` + strings.Repeat("}", 62) + `}`
	text200(t, f.call("POST", "/v1/requests", deepest), 202)
}

// A wrong value is 422; all that is wrong is said at once.
//
// Attack: REQ-01
func TestWrongValues(t *testing.T) {
	f := newFace(t)
	for _, c := range []struct{ body, at string }{
		{`{}`, "body.duration body.resource"},
		{`{"resource":"a"}`, "body.duration"},
		{`{"resource":1,"duration":"15m"}`, "body.resource"},
		{`{"resource":"","duration":"15m"}`, "body.resource"},
		{`{"resource":"a","duration":""}`, "body.duration"},
		{`{"resource":"a","duration":0}`, "body.duration"},
		{`{"resource":"a","duration":900}`, "body.duration"},
		{`{"resource":"a","duration":1.5}`, "body.duration"},
		{`{"resource":"a","duration":"0s"}`, "body.duration"},
		{`{"resource":"a","duration":"-5m"}`, "body.duration"},
		{`{"resource":"a","duration":"1.5h"}`, "body.duration"},
		{`{"resource":"a","duration":"5d"}`, "body.duration"},
		{`{"resource":"a","duration":"PT5M"}`, "body.duration"},
		{`{"resource":"a","duration":"5m1h"}`, "body.duration"},
		{`{"resource":"a","duration":"9000h"}`, "body.duration"},
		{`{"resource":"a","duration":"15m","start_at":"tomorrow"}`, "body.start_at"},
		{`{"resource":"a","duration":"15m","start_at":null}`, "body.start_at"},
		{`{"resource":"a","duration":"15m","role":null}`, "body.role"},
		{`{"resource":"a","duration":"15m","scope":null}`, "body.scope"},
		{`{"resource":"a","duration":"15m","scope":"*"}`, "body.scope"},
		{`{"resource":"a","duration":"15m","scope":[]}`, "body.scope"},
		{`{"resource":"a","duration":"15m","reason":"\u0000"}`, "body.reason"},
		{`{"resource":null,"duration":"x","reason":7,"ticket":[],"start_at":1}`, "body.duration body.reason body.resource body.start_at body.ticket"},
	} {
		at := strings.Fields(locations(t, c.body, f, 422, "invalid_field"))
		want := strings.Fields(c.at)
		if len(at) != len(want) {
			t.Errorf("%s: %v, want %v", c.body, at, want)
			continue
		}
		for _, w := range want {
			if !strings.Contains(" "+strings.Join(at, " ")+" ", " "+w+" ") {
				t.Errorf("%s: %v lacks %s", c.body, at, w)
			}
		}
	}
	if n := len(f.broker.calls); n != 0 {
		t.Errorf("the broker was asked %d times", n)
	}
}

func TestGoodBodiesArriveAsSent(t *testing.T) {
	f := newFace(t)
	body := `{"resource":"orders-api","scope":{"n":9007199254740993,"paths":["/v1/**"]},"duration":"1h30m","reason":"a \"b\" <c> ☃","ticket":"INC-1","start_at":"2026-11-23T15:00:00+01:00"}`
	r := request("POST", "/v1/requests", body)
	r.Header.Set("Content-Type", "application/problem+json; charset=UTF-8")
	text200(t, f.do(r), 202)
	got := f.broker.last.(broker.Submission)
	if got.Resource != "orders-api" || string(got.Scope) != `{"n":9007199254740993,"paths":["/v1/**"]}` || got.Duration != 90*time.Minute ||
		got.Reason != `a "b" <c> ☃` || got.Ticket != "INC-1" || !got.StartAt.Equal(time.Date(2026, 11, 23, 14, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v", got)
	}
}

// Attack: REQ-03, REQ-17
func TestBodiesOfOtherSizesAndTypes(t *testing.T) {
	f := newFace(t)
	long := `{"resource":"a","duration":"15m","reason":"` + strings.Repeat("x", 70<<10) + `"}`
	problemIn(t, f.call("POST", "/v1/requests", long), 400, "body_too_large")
	r := request("POST", "/v1/requests", long)
	r.ContentLength = -1 // chunked
	problemIn(t, f.do(r), 400, "body_too_large")
	if got := locations(t, `{"resource":"a","duration":"15m","reason":"`+strings.Repeat("x", 4097)+`"}`, f, 422, "invalid_field"); got != "body.reason" {
		t.Errorf("long reason: %q", got)
	}

	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, _ = z.Write(make([]byte, 1<<20))
	_ = z.Close()
	for _, c := range []struct{ header, value string }{
		{"Content-Encoding", "gzip"}, {"Content-Encoding", "identity, br"},
		{"Content-Type", "text/plain"}, {"Content-Type", "multipart/form-data; boundary=x"}, {"Content-Type", "application/x-www-form-urlencoded"},
		{"Content-Type", ""}, {"Content-Type", "application/jsonp"}, {"Content-Type", "application/json; charset=latin1"}, {"Content-Type", ";"},
	} {
		body := bodies["createRequest"]
		if c.value == "gzip" {
			body = bomb.String()
		}
		r := request("POST", "/v1/requests", body)
		r.Header.Set(c.header, c.value)
		if c.value == "" {
			r.Header.Del("Content-Type")
		}
		problemIn(t, f.do(r), 415, "unsupported_media_type")
	}
	if n := len(f.broker.calls); n != 0 {
		t.Errorf("the broker was asked %d times", n)
	}
}

// What a client sent, a secret in the wrong place perhaps, is in no answer.
//
// Invariant: A21
// Attack: WEB-09
func TestAnswersDoNotEchoValues(t *testing.T) {
	f := newFace(t)
	const secret = "dpat_misplaced"
	for _, body := range []string{
		`{"resource":"` + secret + strings.Repeat("x", 200) + `","duration":"15m"}`, `{"resource":"a","duration":"` + secret + `"}`,
		`{"resource":"a","duration":"15m","start_at":"` + secret + `"}`, `{"resource":["` + secret + `"],"duration":"15m"}`,
		`{"x":"` + secret + `"}`, `{"resource":"a","resource":"` + secret + `"}`, secret, `{"resource":"` + secret, `["` + secret + `"]`,
	} {
		res := f.call("POST", "/v1/requests", body)
		got, _ := io.ReadAll(res.Body)
		if res.StatusCode < 400 || bytes.Contains(got, []byte("misplaced")) {
			t.Errorf("%s: %d %s", body, res.StatusCode, got)
		}
	}
	for _, query := range []string{"limit=" + secret, "state=" + secret, "cursor=" + secret + "%20"} {
		res := f.call("GET", "/v1/requests?"+query, "")
		got, _ := io.ReadAll(res.Body)
		if res.StatusCode < 400 || bytes.Contains(got, []byte("misplaced")) {
			t.Errorf("%s: %d %s", query, res.StatusCode, got)
		}
	}
}

// The strict scan accepts nothing that encoding/json refuses, nothing whose
// names it would confuse, and never more than it can decode.
func FuzzScanJSON(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"a":1}`, `{"a":1,"A":2}`, `{"a":{"b":[{"c":null}]}}`, `[`, `{"a":"\ud800"}`, "{\"\xff\":1}", `{}{}`, `{"a":[[[[]]]]}`, `{"\u0061":1,"a":2}`, `{"k":1,"\u212a":2}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if scanJSON(raw) != nil {
			return
		}
		var v map[string]any
		if err := json.Unmarshal(raw, &v); err != nil {
			t.Fatalf("accepted, but %v", err)
		}
		var check func(v any, depth int)
		check = func(v any, depth int) {
			if depth > maxDepth+1 {
				t.Fatal("deeper than the limit")
			}
			switch v := v.(type) {
			case map[string]any:
				seen := map[string]bool{}
				for name, member := range v {
					if seen[strings.ToLower(name)] {
						t.Fatal("names that differ only in case")
					}
					seen[strings.ToLower(name)] = true
					check(member, depth+1)
				}
			case []any:
				for _, member := range v {
					check(member, depth+1)
				}
			}
		}
		check(v, 1)
	})
}

// Whatever the body, the answer is one that the contract has, and a body that
// is accepted means what encoding/json understands.
func FuzzSubmitBody(f *testing.F) {
	for _, seed := range []string{bodies["createRequest"], `{"resource":"a","duration":"15m","scope":{}}`, `{"resource":"a","duration":"15m","start_at":"2026-11-23T14:00:00Z"}`, `{"Resource":"a"}`, `null`, ``} {
		f.Add(seed)
	}
	face := newFace(&testing.T{})
	f.Fuzz(func(t *testing.T, body string) {
		face.t = t
		face.broker.reset()
		res := face.call("POST", "/v1/requests", body)
		switch res.StatusCode {
		case 400, 415, 422:
			if len(face.broker.calls) != 0 {
				t.Fatal("refused, and yet the broker was asked")
			}
		case 202:
			var loose struct{ Resource, Role, Reason string }
			if err := json.Unmarshal([]byte(body), &loose); err != nil {
				t.Fatal(err)
			}
			if got := face.broker.last.(broker.Submission); got.Resource != loose.Resource || got.Role != loose.Role || got.Reason != loose.Reason {
				t.Fatalf("%+v, want %+v", got, loose)
			}
		default:
			t.Fatalf("status %d", res.StatusCode)
		}
	})
}

func TestMethodsWithoutABodyIgnoreIt(t *testing.T) {
	f := newFace(t)
	res := f.call(http.MethodGet, "/v1/me", `{"x":`)
	text200(t, res, 200)
}

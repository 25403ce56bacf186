package rest

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/broker"
)

func keyed(method, path, body, key string) *http.Request {
	r := request(method, path, body)
	r.Header.Set("Idempotency-Key", key)
	return r
}

// The same key and body give the same answer, byte for byte, and nothing
// happens again; another body is 422, another caller is another key.
//
// Invariant: A23
// Attack: REQ-08, REQ-09
func TestIdempotentReplies(t *testing.T) {
	for _, rt := range Routes() {
		if !rt.Creates {
			continue
		}
		f := newFace(t)
		path, body := pathOf(rt), bodies[rt.ID]
		first := f.do(keyed(rt.Method, path, body, "key-1"))
		a := text200(t, first, first.StatusCode)
		second := f.do(keyed(rt.Method, path, body, `"key-1"`))
		b := text200(t, second, first.StatusCode)
		if f.broker.mutations() != 1 || first.StatusCode >= 300 {
			t.Errorf("%s: %v", rt.ID, f.broker.calls)
		}
		shown := strings.ReplaceAll(strings.ReplaceAll(a, `"secret":"`+shownSecret+`"`, `"secret":null`), `,"secret":null}`, `}`)
		if again := strings.ReplaceAll(b, `,"secret":null}`, `}`); shown != again {
			t.Errorf("%s: first %s then %s", rt.ID, a, b)
		}
		if first.Header.Get("Location") != second.Header.Get("Location") || first.Header.Get("Retry-After") != second.Header.Get("Retry-After") {
			t.Errorf("%s: %v then %v", rt.ID, first.Header, second.Header)
		}
		if first.Header.Get("Idempotency-Replayed") != "" || second.Header.Get("Idempotency-Replayed") != "true" {
			t.Errorf("%s: Idempotency-Replayed is wrong", rt.ID)
		}
		other := strings.TrimSuffix(body, "}") + " }"
		problemIn(t, f.do(keyed(rt.Method, path, other, "key-1")), 422, "idempotency_key_reused")
		problemIn(t, f.do(keyed(rt.Method, path+"?x=1", body, "key-1")), 422, "idempotency_key_reused")
		r := keyed(rt.Method, path, other, "key-1")
		r.Header.Set("Authorization", "Bearer dpat_other")
		text200(t, f.do(r), first.StatusCode)
	}
}

// Invariant: A21
func TestSecretsAreShownOnce(t *testing.T) {
	f := newFace(t)
	for path, body := range map[string]string{"/v1/grants/grt_a/credentials": "{}", "/v1/tokens": bodies["createToken"]} {
		if got := text200(t, f.do(keyed("POST", path, body, "k")), 201); !strings.Contains(got, shownSecret) {
			t.Errorf("%s: %s", path, got)
		}
		if got := text200(t, f.do(keyed("POST", path, body, "k")), 201); strings.Contains(got, shownSecret) {
			t.Errorf("%s replayed: %s", path, got)
		}
	}
	if got := text200(t, f.do(keyed("POST", "/v1/grants/grt_a/credentials", "{}", "k")), 201); !strings.Contains(got, `"secret":null`) {
		t.Error(got)
	}
	for _, k := range f.broker.kept {
		if strings.Contains(string(k.reply.Body), shownSecret) {
			t.Errorf("kept: %s", k.reply.Body)
		}
	}
	for _, rt := range Routes() {
		if rt.Mutates() || rt.Waits {
			continue
		}
		res := f.call(rt.Method, pathOf(rt), "")
		if body, _ := io.ReadAll(res.Body); strings.Contains(string(body), shownSecret) {
			t.Errorf("%s: %s", rt.ID, body)
		}
	}
}

func TestRefusalsAreReplayedToo(t *testing.T) {
	f := newFace(t)
	f.broker.refuse["Submit"] = &broker.Error{Kind: broker.Forbidden, Code: "not_requestable", Message: "Ask for something else.",
		Hint: &api.AccessHint{Body: api.SubmitRequest{Resource: "a", Duration: api.Duration(9e11)}}}
	first := f.do(keyed("POST", "/v1/requests", bodies["createRequest"], "k"))
	p := problemIn(t, first, 403, "not_requestable")
	delete(f.broker.refuse, "Submit")
	second := f.do(keyed("POST", "/v1/requests", bodies["createRequest"], "k"))
	q := problemIn(t, second, 403, "not_requestable")
	if p.Detail != q.Detail || second.Header.Get("Idempotency-Replayed") != "true" || second.Header.Get("Link") != first.Header.Get("Link") || first.Header.Get("Link") == "" {
		t.Errorf("%+v %v", q, second.Header)
	}
}

func TestIdempotencyKeys(t *testing.T) {
	f := newFace(t)
	for key, status := range map[string]int{
		"a": 202, `"a"`: 202, strings.Repeat("k", 255): 202, `"` + strings.Repeat("q", 255) + `"`: 202, "!~": 202,
		"": 400, `""`: 400, strings.Repeat("k", 256): 400, "a b": 400, "ä": 400, `"a`: 400, `a"b`: 400, `a\b`: 400, "a\x7f": 400,
	} {
		if res := f.do(keyed("POST", "/v1/requests", bodies["createRequest"], key)); res.StatusCode != status {
			t.Errorf("%q: %d, want %d", key, res.StatusCode, status)
		}
	}
	r := keyed("POST", "/v1/requests", bodies["createRequest"], "a")
	r.Header.Add("Idempotency-Key", "b")
	problemIn(t, f.do(r), 400, "malformed")
}

func FuzzIdempotencyKey(f *testing.F) {
	for _, seed := range []string{"a", `"a"`, "", `"`, `""`, "a b", "ä"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		key, err := idempotencyKey([]string{header})
		if err == nil && (key == "" || len(key) > 255 || !visible(key)) {
			t.Fatalf("accepted %q", key)
		}
	})
}

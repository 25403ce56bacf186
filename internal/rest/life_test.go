package rest_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/clock"
	"github.com/daypass/daypass/internal/credential"
	"github.com/daypass/daypass/internal/identity"
	"github.com/daypass/daypass/internal/live"
	"github.com/daypass/daypass/internal/policy"
	httpkind "github.com/daypass/daypass/internal/resource/http"
	"github.com/daypass/daypass/internal/rest"
	"github.com/daypass/daypass/internal/store/sqlite"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// service is the API in front of a real broker and store, over HTTP.
type service struct {
	t      *testing.T
	url    string
	tokens map[string]string
}

func serve(t *testing.T) *service {
	t.Helper()
	ctx, dir := context.Background(), t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	s := &service{t: t, tokens: map[string]string{}}
	var principals strings.Builder
	for who, more := range map[string]string{"user:ana": "", "user:bo": ", groups: [group:dba]", "user:ada": ", admin: true", "user:eve": ""} {
		secret, hash := credential.NewToken(credential.PrincipalToken)
		s.tokens[who] = secret.Reveal()
		principals.WriteString("  - {id: " + who + more + `, token_sha256: "` + hash.String() + "\"}\n")
	}
	catalog := "principals:\n" + principals.String() + `
resources:
  - id: orders
    kind: http
    http: {upstream: "http://127.0.0.1:9"}
    roles: {read: {methods: [GET], paths: ["/v1/orders/**"]}}
policy:
  rules: [{name: dba, when: 'principal.id == "user:ana" || principal.id == "user:bo"', approve: {stages: [{name: dba, from: [group:dba], quorum: 1}]}, max_duration: 1h}]
`
	keys, err := credential.OpenKeyring(dir+"/keys", time.Now())
	must(err)
	skey, vkey, err := audit.NewSigner("daypass/test", rand.Reader)
	must(err)
	signer, err := audit.ParseSigner(skey)
	must(err)
	now := clock.New(clock.Mark{})
	store, err := sqlite.Open(ctx, dir+"/data", sqlstore.Options{
		Clock: now.Mark,
		SignHead: func(h audit.Head, root [32]byte, at time.Time) ([]byte, error) {
			return audit.SignCheckpoint(signer.Name(), h, root, signer, at)
		},
	})
	must(err)
	index := live.New(now.Now)
	b, err := broker.Open(ctx, broker.Config{
		Store: store, Clock: now, Index: index, Keys: keys, AuditKey: vkey, Kinds: []policy.Kind{httpkind.Kind{}}, PublicURL: "https://daypass.test",
		Limits: broker.Limits{RequestTTL: time.Hour, MaxSkew: 5 * time.Second, RevocationBound: 5 * time.Second, PendingResource: 5, PendingRequester: 100},
		Log:    slog.New(slog.DiscardHandler),
	})
	must(err)
	_, err = b.PutCatalog(ctx, identity.System("config"), []byte(catalog), "")
	must(err)
	server := httptest.NewServer(rest.New(rest.Deps{Broker: b, Bearer: rest.NewBearer(b), PublicURL: "https://daypass.test", Listen: []string{"127.0.0.1:0"}}))
	s.url = server.URL
	t.Cleanup(func() {
		server.Close()
		_ = b.Close(ctx)
		index.Close()
		_ = store.Close()
	})
	return s
}

// call makes one call and decodes its answer.
func (s *service) call(who, method, path, body string, status int, into any, headers ...string) http.Header {
	s.t.Helper()
	r, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("Authorization", "Bearer "+s.tokens[who])
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	raw, _ := io.ReadAll(res.Body)
	if res.StatusCode != status {
		s.t.Fatalf("%s %s %s: %d %s, want %d", who, method, path, res.StatusCode, raw, status)
	}
	if into != nil {
		d := json.NewDecoder(bytes.NewReader(raw))
		d.DisallowUnknownFields()
		if err := d.Decode(into); err != nil {
			s.t.Fatalf("%s %s: %v in %s", method, path, err, raw)
		}
	}
	return res.Header
}

// One life over HTTP, with a broker and a store that are real.
//
// Invariant: A9, A21, A30
// Attack: REQ-08, REQ-16, WEB-07
func TestOneLife(t *testing.T) {
	s := serve(t)
	var p api.Problem
	var req, again api.Request
	const ask = `{"resource":"orders","role":"read","duration":"15m","reason":"refund totals"}`
	h := s.call("user:ana", "POST", "/v1/requests", ask, 202, &req, "Idempotency-Key", "one")
	at := "/v1/requests/" + req.ID
	if h.Get("Location") != at || h.Get("Retry-After") == "" || h.Get("ETag") == "" {
		t.Errorf("%v", h)
	}
	h = s.call("user:ana", "POST", "/v1/requests", ask, 202, &again, "Idempotency-Key", "one")
	if again.ID != req.ID || h.Get("Idempotency-Replayed") != "true" {
		t.Errorf("%s, then %s", req.ID, again.ID)
	}
	s.call("user:ana", "POST", "/v1/requests", strings.Replace(ask, "15m", "16m", 1), 422, &p, "Idempotency-Key", "one")
	s.call("user:eve", "GET", at, "", 404, &p)
	s.call("user:ana", "POST", "/v1/requests", strings.Replace(ask, "orders", "nothing", 1), 404, &p)
	s.call("user:ana", "POST", "/v1/requests", strings.Replace(ask, "15m", "2h", 1), 403, &p)

	// It is watched from the side, and waited for.
	type waited struct {
		req api.Request
		h   http.Header
	}
	done := make(chan waited, 1)
	etag := s.call("user:ana", "GET", at, "", 200, &req).Get("ETag")
	s.call("user:ana", "GET", at, "", 304, nil, "If-None-Match", etag)
	go func() {
		var w waited
		w.h = s.call("user:ana", "GET", at+"?wait=60s", "", 200, &w.req)
		done <- w
	}()
	vote := `{"decision":"approve","content_hash":"` + req.ContentHash + `"}`
	s.call("user:ana", "POST", at+"/reviews", vote, 403, &p)
	if p.Code != "self_approval" {
		t.Errorf("%+v", p)
	}
	s.call("user:bo", "POST", at+"/reviews", strings.Replace(vote, "sha256:", "sha256:0", 1), 412, &p)
	s.call("user:bo", "POST", at+"/reviews", vote, 200, &req)
	s.call("user:bo", "POST", at+"/reviews", vote, 409, &p)
	select {
	case w := <-done:
		if w.req.State != "approved" || w.h.Get("ETag") == etag {
			t.Errorf("%+v %v", w.req, w.h)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the wait did not end with the decision")
	}

	var cred, shown api.Credential
	grant := "/v1/grants/" + req.Grant.ID
	s.call("user:bo", "POST", grant+"/credentials", "", 403, &p)
	s.call("user:ana", "POST", grant+"/credentials", "", 201, &cred, "Idempotency-Key", "c")
	s.call("user:ana", "POST", grant+"/credentials", "", 201, &shown, "Idempotency-Key", "c")
	if cred.Secret == nil || !strings.HasPrefix(*cred.Secret, "dpgt_") || shown.Secret != nil {
		t.Errorf("%+v %+v", cred, shown)
	}
	var g api.Grant
	s.call("user:ana", "POST", grant+"/revoke", `{"reason":"done"}`, 200, &g)
	if g.EndedReason == nil || *g.EndedReason != "returned" {
		t.Errorf("%+v", g)
	}
	s.call("user:ana", "POST", grant+"/credentials", "", 409, &p)

	// Lists go on where they stopped, for those who began them.
	for range 3 {
		s.call("user:ana", "POST", "/v1/requests", ask, 202, nil)
	}
	var page api.List[api.Request]
	s.call("user:ana", "GET", "/v1/requests?limit=3", "", 200, &page)
	cursor := *page.NextCursor
	s.call("user:ana", "GET", "/v1/requests?limit=3&cursor="+cursor, "", 200, &page)
	if len(page.Items) != 1 || page.Items[0].ID != req.ID || page.NextCursor != nil {
		t.Errorf("%+v", page)
	}
	s.call("user:bo", "GET", "/v1/requests?limit=3&cursor="+cursor, "", 400, &p)
	s.call("user:ana", "GET", "/v1/grants?cursor="+cursor, "", 400, &p)

	// The record has all of it, and none of the secrets.
	var events api.List[api.Event]
	s.call("user:ana", "GET", "/v1/audit/events", "", 403, &p)
	s.call("user:ada", "GET", "/v1/audit/events?limit=200&after=0", "", 200, &events)
	kinds := map[string]int{}
	for i, e := range events.Items {
		kinds[e.Type]++
		if e.Seq != int64(i+1) || e.Leaf != nil {
			t.Errorf("entry %d is %+v", i, e)
		}
	}
	for kind, least := range map[string]int{"request.created": 4, "request.approved": 1, "review.recorded": 1, "review.refused": 2, "grant.activated": 1, "grant.ended": 1, "credential.issued": 1} {
		if kinds[kind] < least {
			t.Errorf("%d entries %s, want %d: %v", kinds[kind], kind, least, kinds)
		}
	}
	raw, _ := json.Marshal(events)
	for _, secret := range append([]string{*cred.Secret}, s.tokens["user:ana"]) {
		if bytes.Contains(raw, []byte(secret)) {
			t.Error("a secret is in the record")
		}
	}
}

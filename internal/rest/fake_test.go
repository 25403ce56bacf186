package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/identity"
)

// fakeBroker answers every call with something plausible, remembers the names
// of the calls, and keeps idempotent replies as the broker does. A hook
// replaces the answer of one call.
type fakeBroker struct {
	mu    sync.Mutex
	calls []string
	kept  map[string]fakeReply

	view   func() broker.View
	refuse map[string]error
	wait   func(ctx context.Context, version int64) (broker.View, error)
	stream func(ctx context.Context, after int64, send func(api.StreamEvent) error) error
	events func(q broker.EventQuery) ([]api.Event, string, error)
	list   []api.Session
	last   any // the last argument of interest
	ready  error
	me     api.Me
}

type fakeReply struct {
	body  [32]byte
	reply broker.Reply
}

const (
	goodToken  = "dpat_good"
	goodCookie = "dplc_good"
)

func newFake() *fakeBroker {
	return &fakeBroker{kept: map[string]fakeReply{}, refuse: map[string]error{}, view: func() broker.View { return pendingView(1) }}
}

func pendingView(version int64) broker.View {
	return broker.View{Version: version, Request: api.Request{ID: "req_a", State: "pending", Requester: "user:ana", Scope: json.RawMessage(`{}`)}}
}

func approvedView(version int64) broker.View {
	v := pendingView(version)
	v.State = "approved"
	return v
}

// mutating are the calls that change something.
var mutating = map[string]bool{
	"Submit": true, "DryRun": true, "Review": true, "Cancel": true, "Issue": true, "Revoke": true, "Extend": true, "RevokeAll": true,
	"KillSession": true, "CreateToken": true, "DeleteToken": true, "SetIssuing": true, "RotateKeys": true, "EndQuarantine": true, "PutCatalog": true, "CheckCatalog": true, "ExplainCatalog": true, "BacktestCatalog": true, "Erase": true, "EndLogin": true, "EndLogins": true,
}

func (f *fakeBroker) did(name string, arg any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, name)
	f.last = arg
	return f.refuse[name]
}

func (f *fakeBroker) mutations() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.calls {
		if mutating[c] {
			n++
		}
	}
	return n
}

func (f *fakeBroker) reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls, f.last = nil, nil
}

// onceFake runs do as the broker runs a call with an idempotency key.
func onceFake[T any](f *fakeBroker, c identity.Caller, o *broker.Once, do func() (T, error)) (T, error) {
	var zero T
	if o == nil {
		return do()
	}
	key := c.Principal + "\x00" + o.Route + "\x00" + o.Key
	if k, ok := f.kept[key]; ok {
		if k.body != o.Body {
			return zero, &broker.Error{Kind: broker.Invalid, Code: "idempotency_key_reused", Message: "Use a new key."}
		}
		return zero, &broker.Replayed{Reply: k.reply}
	}
	result, err := do()
	if reply := o.Encode(result, err); reply.Status < 500 {
		f.kept[key] = fakeReply{o.Body, reply}
	}
	return result, err
}

func (f *fakeBroker) Authenticate(token, ip, channel string) (identity.Caller, error) {
	switch token {
	case goodToken:
		return identity.Caller{Principal: "user:ana", Token: "tok_a", IP: ip, Channel: channel}, nil
	case "dpat_other":
		return identity.Caller{Principal: "user:bo", Token: "tok_b", IP: ip, Channel: channel}, nil
	}
	return identity.Caller{}, &broker.Error{Kind: broker.Unauthorized, Code: "unauthorized", Message: "This token is not valid."}
}

func (f *fakeBroker) AuthenticateCookie(cookie, ip, channel string) (identity.Caller, error) {
	if cookie == goodCookie {
		return identity.Caller{Principal: "user:ana", Login: "lgn_a", IP: ip, Channel: channel}, nil
	}
	return identity.Caller{}, &broker.Error{Kind: broker.Unauthorized, Code: "unauthorized", Message: "Log in again."}
}

func (f *fakeBroker) Logins(context.Context, identity.Caller) ([]api.Login, error) {
	return []api.Login{{ID: "lgn_a"}, {ID: "lgn_b"}}, f.did("Logins", nil)
}

func (f *fakeBroker) EndLogin(_ context.Context, _ identity.Caller, id string) error {
	return f.did("EndLogin", id)
}

func (f *fakeBroker) EndLogins(_ context.Context, _ identity.Caller, principal string) (api.LoginsEnded, error) {
	return api.LoginsEnded{Ended: 2}, f.did("EndLogins", principal)
}

func (f *fakeBroker) Me(_ context.Context, c identity.Caller) (api.Me, error) {
	f.me.ID = c.Principal
	return f.me, f.did("Me", c)
}

func (f *fakeBroker) Resources(context.Context, identity.Caller) ([]api.Resource, error) {
	return []api.Resource{{ID: "b"}, {ID: "a"}, {ID: "c"}}, f.did("Resources", nil)
}

func (f *fakeBroker) Resource(_ context.Context, _ identity.Caller, id string) (api.Resource, error) {
	return api.Resource{ID: id}, f.did("Resource", id)
}

func (f *fakeBroker) Submit(_ context.Context, c identity.Caller, s broker.Submission, o *broker.Once) (broker.View, error) {
	return onceFake(f, c, o, func() (broker.View, error) { return f.view(), f.did("Submit", s) })
}

func (f *fakeBroker) DryRun(_ context.Context, _ identity.Caller, s broker.Submission) (api.Decision, error) {
	return api.Decision{Decision: "auto", Explanation: "at once"}, f.did("DryRun", s)
}

func (f *fakeBroker) Request(_ context.Context, _ identity.Caller, id string) (broker.View, error) {
	if err := f.did("Request", id); err != nil {
		return broker.View{}, err
	}
	return f.view(), nil
}

func (f *fakeBroker) WaitRequest(ctx context.Context, _ identity.Caller, _ string, version int64) (broker.View, error) {
	_ = f.did("WaitRequest", version)
	return f.wait(ctx, version)
}

func (f *fakeBroker) Requests(_ context.Context, _ identity.Caller, q broker.RequestQuery) ([]broker.View, string, error) {
	return []broker.View{f.view()}, "next", f.did("Requests", q)
}

func (f *fakeBroker) Review(_ context.Context, c identity.Caller, _ string, v broker.Vote, o *broker.Once) (broker.View, error) {
	return onceFake(f, c, o, func() (broker.View, error) { return f.view(), f.did("Review", v) })
}

func (f *fakeBroker) Cancel(_ context.Context, _ identity.Caller, id string) (broker.View, error) {
	return f.view(), f.did("Cancel", id)
}

func (f *fakeBroker) Grants(_ context.Context, _ identity.Caller, state string, p broker.Page) ([]api.Grant, string, error) {
	return []api.Grant{{ID: "grt_a"}}, "", f.did("Grants", p)
}

func (f *fakeBroker) Grant(_ context.Context, _ identity.Caller, id string) (api.Grant, error) {
	return api.Grant{ID: id}, f.did("Grant", id)
}

const shownSecret = "dpgt_shown_once"

func (f *fakeBroker) Issue(_ context.Context, c identity.Caller, grant, format string, o *broker.Once) (api.Credential, error) {
	secret := shownSecret
	return onceFake(f, c, o, func() (api.Credential, error) {
		return api.Credential{Format: format, Secret: &secret}, f.did("Issue", format)
	})
}

func (f *fakeBroker) Revoke(_ context.Context, _ identity.Caller, grant, reason string) (api.Grant, error) {
	return api.Grant{ID: grant}, f.did("Revoke", reason)
}

func (f *fakeBroker) Extend(_ context.Context, c identity.Caller, _ string, d time.Duration, _, _ string, o *broker.Once) (broker.View, error) {
	return onceFake(f, c, o, func() (broker.View, error) { return f.view(), f.did("Extend", d) })
}

func (f *fakeBroker) RevokeAll(_ context.Context, c identity.Caller, principal, resource, reason string, o *broker.Once) (api.Revocation, error) {
	return onceFake(f, c, o, func() (api.Revocation, error) { return api.Revocation{}, f.did("RevokeAll", principal) })
}

func (f *fakeBroker) Sessions(context.Context, identity.Caller) ([]api.Session, error) {
	return f.list, f.did("Sessions", nil)
}

func (f *fakeBroker) Session(_ context.Context, _ identity.Caller, id string) (api.Session, error) {
	return api.Session{ID: id, Statements: 1, Recent: []api.SessionStatement{{N: 1, SQL: "select 1"}}}, f.did("Session", id)
}

func (f *fakeBroker) KillSession(_ context.Context, _ identity.Caller, id string) error {
	return f.did("KillSession", id)
}

func (f *fakeBroker) Tokens(context.Context, identity.Caller) ([]api.Token, error) {
	secret := shownSecret
	return []api.Token{{ID: "tok_a", Secret: &secret}}, f.did("Tokens", nil)
}

func (f *fakeBroker) CreateToken(_ context.Context, c identity.Caller, principal, _ string, ttl time.Duration, o *broker.Once) (api.Token, error) {
	secret := shownSecret
	return onceFake(f, c, o, func() (api.Token, error) { return api.Token{ID: "tok_n", Secret: &secret}, f.did("CreateToken", ttl) })
}

func (f *fakeBroker) DeleteToken(_ context.Context, _ identity.Caller, id string) error {
	return f.did("DeleteToken", id)
}

func (f *fakeBroker) Issuing(context.Context, identity.Caller) (api.Issuing, error) {
	return api.Issuing{Enabled: true}, f.did("Issuing", nil)
}

func (f *fakeBroker) SetIssuing(_ context.Context, _ identity.Caller, on bool) (api.Issuing, error) {
	return api.Issuing{Enabled: on}, f.did("SetIssuing", on)
}

func (f *fakeBroker) Erase(context.Context, identity.Caller, string, string, string) (api.Erasure, error) {
	return api.Erasure{Texts: 1}, f.did("Erase", nil)
}

func (f *fakeBroker) Quarantine(context.Context, identity.Caller) (api.Quarantine, error) {
	return api.Quarantine{}, nil
}

func (f *fakeBroker) EndQuarantine(context.Context, identity.Caller, bool) (api.QuarantineEnd, error) {
	return api.QuarantineEnd{Grants: 1}, f.did("EndQuarantine", nil)
}

func (f *fakeBroker) RotateKeys(context.Context, identity.Caller) (api.Keys, error) {
	return api.Keys{Kids: []string{"k1"}}, f.did("RotateKeys", nil)
}

func (f *fakeBroker) Catalog(context.Context, identity.Caller) (api.Catalog, error) {
	return api.Catalog{Version: "sha256:ab", Source: "x", Managed: "api"}, f.did("Catalog", nil)
}

func (f *fakeBroker) PutCatalog(_ context.Context, _ identity.Caller, source []byte, ifMatch string) (api.Catalog, error) {
	return api.Catalog{Version: "sha256:cd"}, f.did("PutCatalog", ifMatch)
}

func (f *fakeBroker) CheckCatalog(_ context.Context, _ identity.Caller, source []byte) (api.CatalogCheck, error) {
	return api.CatalogCheck{OK: true}, f.did("CheckCatalog", string(source))
}

func (f *fakeBroker) ExplainCatalog(_ context.Context, _ identity.Caller, q api.ExplainRequest) (api.Explained, error) {
	return api.Explained{Decision: api.Decision{Decision: "auto"}}, f.did("ExplainCatalog", q)
}

func (f *fakeBroker) BacktestCatalog(_ context.Context, _ identity.Caller, source []byte, since time.Duration, frozen bool) (api.Backtest, error) {
	return api.Backtest{Changes: map[string]int{}, Flips: []api.Flip{}}, f.did("BacktestCatalog", fmt.Sprint(len(source), since, frozen))
}

func (f *fakeBroker) Events(_ context.Context, _ identity.Caller, q broker.EventQuery) ([]api.Event, string, error) {
	if err := f.did("Events", q); err != nil {
		return nil, "", err
	}
	if f.events != nil {
		return f.events(q)
	}
	return []api.Event{{ID: "evt_a", Seq: 1, Leaf: &api.EventLeaf{Bytes: "leaf"}}}, "", nil
}

func (f *fakeBroker) Checkpoint(context.Context, identity.Caller) (api.Checkpoint, error) {
	return api.Checkpoint{Checkpoint: "c"}, f.did("Checkpoint", nil)
}

func (f *fakeBroker) Proof(_ context.Context, _ identity.Caller, event string) (api.Proof, error) {
	return api.Proof{Event: event}, f.did("Proof", event)
}

func (f *fakeBroker) Stream(ctx context.Context, _ identity.Caller, after int64, send func(api.StreamEvent) error) error {
	_ = f.did("Stream", after)
	if f.stream != nil {
		return f.stream(ctx, after, send)
	}
	return errors.New("no stream")
}

func (f *fakeBroker) Ready() error { return f.ready }

func (f *fakeBroker) Warnings() []string { return nil }

// face is a handler under test and how to call it.
type face struct {
	t       *testing.T
	broker  *fakeBroker
	handler http.Handler
}

func newFace(t *testing.T, adjust ...func(*Deps)) *face {
	t.Helper()
	f := newFake()
	d := Deps{
		Broker: f, Bearer: NewBearer(f), PublicURL: "https://daypass.example", Listen: []string{"127.0.0.1:7400"},
		RevocationBound: 5 * time.Second,
	}
	for _, a := range adjust {
		a(&d)
	}
	return &face{t: t, broker: f, handler: New(d)}
}

// request returns an authenticated request as a client on the machine sends it.
func request(method, path, body string) *http.Request {
	r := httptest.NewRequest(method, "http://127.0.0.1:7400"+path, strings.NewReader(body))
	if body == "" {
		r.Body, r.ContentLength = http.NoBody, 0
	} else {
		r.Header.Set("Content-Type", "application/json")
	}
	r.RemoteAddr = "127.0.0.1:50000"
	r.Header.Set("Authorization", "Bearer "+goodToken)
	return r
}

func (f *face) do(r *http.Request) *http.Response {
	f.t.Helper()
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, r)
	return w.Result()
}

func (f *face) call(method, path, body string) *http.Response {
	f.t.Helper()
	return f.do(request(method, path, body))
}

// problem reads a problem document and checks its form.
func problemIn(t *testing.T, res *http.Response, status int, code string) api.Problem {
	t.Helper()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var p api.Problem
	if err := json.Unmarshal(body, &p); err != nil {
		t.Fatalf("status %d, not a problem document: %s", res.StatusCode, body)
	}
	if res.StatusCode != status || p.Status != status || code != "" && p.Code != code {
		t.Fatalf("got %d %s, want %d %q", res.StatusCode, body, status, code)
	}
	if got := res.Header.Get("Content-Type"); got != "application/problem+json" {
		t.Fatalf("Content-Type %q", got)
	}
	if p.Type != "urn:daypass:problem:"+p.Code || p.Title == "" || p.Detail == "" {
		t.Fatalf("incomplete problem %s", body)
	}
	return p
}

func text200(t *testing.T, res *http.Response, status int) string {
	t.Helper()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != status {
		t.Fatalf("got %d %s, want %d", res.StatusCode, body, status)
	}
	return string(body)
}

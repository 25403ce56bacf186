package cli_test

import (
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/daypass/daypass/api"
)

// hostile is text as somebody may put it into a reason or a comment to play
// with the terminal of who reads it.
const hostile = "ok\x1b[2J\x1b]0;owned\x07\r\nreq_fake  approved \u202egnitirw\u200b \u009b31m"

// fakeAPI behaves as CONTRACT §5 says, with a policy of two roles: "read" is
// approved at once for up to 30m, "write" needs a ticket and one of group:dba.
type fakeAPI struct {
	*httptest.Server
	mu       sync.Mutex
	moved    chan struct{} // closed and replaced when anything moves
	requests []*api.Request
	versions map[string]int
	sessions []api.Session
	tokens   []api.Token
	issuing  bool
	catalog  api.Catalog
	record   record
	secrets  []string // every secret that was handed out
	calls    []string // method and path of every call
}

var people = map[string]api.Me{
	"dpat_ana":  {ID: "user:ana", Person: "user:ana", Kind: "user", Groups: []string{"group:payments", "group:sre"}},
	"dpat_bo":   {ID: "user:bo", Person: "user:bo", Kind: "user", Groups: []string{"group:dba"}},
	"dpat_root": {ID: "user:root", Person: "user:root", Kind: "user", Groups: []string{}, Admin: true, Auditor: true},
}

func newFake(t testing.TB) *fakeAPI {
	f := &fakeAPI{moved: make(chan struct{}), versions: map[string]int{}, issuing: true}
	f.catalog = api.Catalog{Version: "sha256:1", Source: "principals: []\n", Managed: "api"}
	f.sessions = []api.Session{{ID: newID("ses_"), Grant: "grt_x", Principal: "user:ana", Resource: "orders-api", Gateway: "http", Source: "127.0.0.1", Doing: "GET /v1/" + hostile, StartedAt: in(-time.Minute), ExpiresAt: in(time.Minute)}}
	f.record.add(t, "user:ana", "request.created", hostile)
	f.record.add(t, "user:bo", "request.approved", "fine")
	f.record.add(t, "user:ana", "access.allowed", "")
	mux := http.NewServeMux()
	for pattern, h := range map[string]handler{
		"GET /v1/me":                       f.me,
		"GET /v1/resources":                f.listResources,
		"GET /v1/resources/{id}":           f.getResource,
		"POST /v1/requests":                f.submit,
		"GET /v1/requests":                 f.listRequests,
		"GET /v1/requests/{id}":            f.getRequest,
		"POST /v1/requests/{id}/reviews":   f.review,
		"POST /v1/requests/{id}/cancel":    f.cancel,
		"GET /v1/grants":                   f.listGrants,
		"GET /v1/grants/{id}":              f.getGrant,
		"POST /v1/grants/{id}/credentials": f.credential,
		"POST /v1/grants/{id}/revoke":      f.revoke,
		"POST /v1/grants/{id}/extend":      f.extend,
		"POST /v1/revocations":             f.revokeAll,
		"GET /v1/sessions":                 f.listSessions,
		"GET /v1/sessions/{id}":            f.getSession,
		"DELETE /v1/sessions/{id}":         f.killSession,
		"GET /v1/tokens":                   f.listTokens,
		"POST /v1/tokens":                  f.createToken,
		"DELETE /v1/tokens/{id}":           f.revokeToken,
		"PUT /v1/issuing":                  f.setIssuing,
		"POST /v1/keys/rotate":             f.rotateKeys,
		"GET /v1/catalog":                  f.getCatalog,
		"PUT /v1/catalog":                  f.putCatalog,
		"POST /v1/catalog/check":           f.checkCatalog,
		"GET /v1/audit/events":             f.auditEvents,
		"GET /v1/audit/checkpoint":         f.checkpoint,
		"GET /gateway/v1/orders/7":         f.upstream,
		"GET /gateway/":                    f.upstream,
		"POST /control/revoke/{resource}":  f.controlRevoke,
		"GET /v1/gateway-ca.pem":           f.authority,
	} {
		mux.Handle(pattern, f.authenticated(h))
	}
	f.Server = httptest.NewUnstartedServer(mux)
	f.Start()
	t.Cleanup(f.Close)
	return f
}

type caller struct {
	api.Me
	token string
}

type handler func(w http.ResponseWriter, r *http.Request, who caller)

func (f *fakeAPI) authenticated(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		me, known := people[token]
		open := strings.HasPrefix(r.URL.Path, "/gateway/") || strings.HasPrefix(r.URL.Path, "/control/")
		if !known && !open {
			problem(w, 401, "invalid_token", "This token is not known.")
			return
		}
		if strings.HasPrefix(r.URL.Path, "/v1/") && !strings.HasPrefix(r.Header.Get("Daypass-Client"), "cli/") {
			problem(w, 400, "no_client", "The CLI did not say that it is one.")
			return
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		f.calls = append(f.calls, r.Method+" "+r.URL.RequestURI())
		h(w, r, caller{me, token})
	})
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func problem(w http.ResponseWriter, status int, code, detail string, fields ...api.FieldProblem) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(api.Problem{Type: "urn:daypass:problem:" + code, Title: http.StatusText(status), Status: status, Detail: detail, Code: code, Errors: fields})
}

func body[T any](w http.ResponseWriter, r *http.Request) (v T, ok bool) {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		problem(w, 400, "malformed", err.Error())
		return v, false
	}
	return v, true
}

func listOf[T any](w http.ResponseWriter, r *http.Request, items []T) {
	start, _ := strconv.Atoi(r.URL.Query().Get("cursor"))
	limit, err := strconv.Atoi(r.URL.Query().Get("limit"))
	if err != nil {
		limit = 50
	}
	if limit < 1 || limit > 200 {
		problem(w, 422, "invalid", "limit is 1–200", api.FieldProblem{Location: "query.limit", Message: "1–200"})
		return
	}
	end := min(start+limit, len(items))
	page := api.List[T]{Items: append([]T{}, items[start:end]...)}
	if end < len(items) {
		next := strconv.Itoa(end)
		page.NextCursor = &next
	}
	reply(w, 200, page)
}

func newID(prefix string) string { return prefix + strings.ToLower(rand.Text()) }

func in(d time.Duration) api.Time { return api.TimeOf(time.Now().Add(d)) }

func (f *fakeAPI) move(r *api.Request) {
	f.versions[r.ID]++
	close(f.moved)
	f.moved = make(chan struct{})
}

func (f *fakeAPI) me(w http.ResponseWriter, _ *http.Request, who caller) { reply(w, 200, who.Me) }

func (f *fakeAPI) resources() []api.Resource {
	dba := []api.Stage{{Name: "dba", From: []string{"group:dba"}, Quorum: 1, Approvals: []string{}}}
	read := api.Role{Name: "read", Scope: json.RawMessage(`{"methods":["GET","HEAD"],"paths":["/v1/orders/**"]}`), Decision: api.Decision{Decision: "auto", Explanation: "The rule reading approves by itself.", Stages: []api.Stage{}, MaxDuration: api.Duration(30 * time.Minute)}}
	write := api.Role{Name: "write", Scope: json.RawMessage(`{"methods":["POST"],"paths":["/v1/orders/**"]}`), Decision: api.Decision{Decision: "review", Explanation: hostile, Stages: dba, MaxDuration: api.Duration(time.Hour)}}
	return []api.Resource{
		{ID: "orders-api", Kind: "http", Labels: map[string]string{"env": "prod"}, Owners: []string{"group:payments"}, Roles: []api.Role{read, write}},
		{ID: "wiki", Kind: "http", Labels: map[string]string{}, Owners: []string{}, Roles: []api.Role{read}},
	}
}

func (f *fakeAPI) listResources(w http.ResponseWriter, r *http.Request, _ caller) {
	listOf(w, r, f.resources())
}

func (f *fakeAPI) getResource(w http.ResponseWriter, r *http.Request, _ caller) {
	for _, res := range f.resources() {
		if res.ID == r.PathValue("id") {
			reply(w, 200, res)
			return
		}
	}
	problem(w, 404, "not_found", "There is no such resource, or you may not ask for it.")
}

func (f *fakeAPI) find(id string) *api.Request {
	for _, r := range f.requests {
		if r.ID == id || r.Grant != nil && r.Grant.ID == id {
			f.age(r)
			return r
		}
	}
	return nil
}

// age lets the clock end what has expired.
func (f *fakeAPI) age(r *api.Request) {
	if g := r.Grant; g != nil && g.State == "active" && !g.ExpiresAt.After(time.Now()) {
		f.end(r, "expired")
	}
}

func (f *fakeAPI) end(r *api.Request, why string) {
	now := api.TimeOf(time.Now())
	r.Grant.State, r.Grant.EndedAt, r.Grant.EndedReason = "ended", &now, &why
	r.Grant.Actions = []string{}
	f.move(r)
}

// authority stands for what a server made for its gateways.
func (f *fakeAPI) authority(w http.ResponseWriter, _ *http.Request, _ caller) {
	server := httptest.NewTLSServer(nil) // it has a certificate to show
	defer server.Close()
	der := server.Certificate().Raw
	_ = pem.Encode(w, &pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func (f *fakeAPI) shown(r *api.Request, who caller) *api.Request {
	c := *r
	c.Actions = []string{}
	switch {
	case r.State == "pending" && r.Requester == who.ID:
		c.Actions = []string{"cancel"}
	case r.State == "pending" && slices.Contains(who.Groups, "group:dba"):
		c.Actions = []string{"approve", "deny"}
	}
	return &c
}

func (f *fakeAPI) grant(r *api.Request, d time.Duration) {
	now := api.TimeOf(time.Now())
	r.State, r.DecidedAt = "approved", &now
	r.Grant = &api.Grant{
		ID: newID("grt_"), Request: r.ID, Principal: r.Requester, Resource: r.Resource, Kind: r.Kind, Scope: r.Scope, State: "active",
		StartsAt: now, ExpiresAt: api.TimeOf(now.Add(d)), Actions: []string{"credential", "revoke", "extend"},
		Connect: &api.Connect{URL: f.URL + "/gateway", Instructions: []string{"curl -H 'Authorization: Bearer <secret>' " + f.URL + "/gateway/"}},
	}
	switch r.Resource {
	case "orders-db":
		r.Grant.Connect = &api.Connect{
			DSN:  "postgresql://" + r.Grant.ID + "@db.example.com:7432/orders?sslmode=verify-full&sslrootcert=/var/lib/daypass/gateway-ca.pem",
			Host: "db.example.com", Port: 7432, User: r.Grant.ID, Database: "orders",
		}
	case "evil-db":
		r.Grant.Connect = &api.Connect{DSN: "postgresql://x@h:1/d?sslmode=prefer", Host: "h", Port: 1, User: "x", Database: "d' sslmode=disable"}
	}
	f.move(r)
}

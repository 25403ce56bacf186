package cli_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/daypass/daypass/api"
)

func (f *fakeAPI) submit(w http.ResponseWriter, r *http.Request, who caller) {
	in, ok := body[api.SubmitRequest](w, r)
	if !ok {
		return
	}
	dry := r.URL.Query().Get("dry_run") == "true"
	if !dry && r.Header.Get("Idempotency-Key") == "" {
		problem(w, 400, "no_key", "The CLI sent no Idempotency-Key.")
		return
	}
	auto := in.Role == "read"
	limit := map[bool]time.Duration{true: 30 * time.Minute, false: time.Hour}[auto]
	refusal := ""
	switch {
	case !slices.Contains([]string{"orders-api", "wiki", "orders-db", "evil-db"}, in.Resource):
		problem(w, 404, "not_found", "There is no such resource, or you may not ask for it.")
		return
	case in.Duration.Std() > limit:
		refusal = fmt.Sprintf("At most %s may be asked for.", api.FormatDuration(limit))
	case !auto && !strings.HasPrefix(in.Ticket, "INC-"):
		refusal = "Production needs a ticket: name one such as INC-42."
	case in.Role == "" && len(in.Scope) == 0:
		problem(w, 422, "invalid", "A role or a scope is needed.", api.FieldProblem{Location: "body.role", Message: "is needed"})
		return
	}
	if dry {
		d := api.Decision{Decision: "review", Explanation: "One of group:dba must agree.", Stages: dbaStage(), MaxDuration: api.Duration(limit)}
		if auto {
			d = api.Decision{Decision: "auto", Explanation: "The rule reading approves by itself.", Stages: []api.Stage{}, MaxDuration: api.Duration(limit)}
		}
		if refusal != "" {
			d = api.Decision{Decision: "refused", Code: "denied_by_guardrail", Explanation: refusal, Stages: []api.Stage{}}
		}
		if strings.HasSuffix(in.Resource, "-db") {
			d.Target = json.RawMessage(`{"summary":"Asked for 1 table; effectively 2 relations."}`)
		}
		reply(w, 200, d)
		return
	}
	if refusal != "" {
		problem(w, 403, "denied_by_guardrail", refusal, api.FieldProblem{Location: "body.ticket", Message: "is checked by a guardrail"})
		return
	}
	f.create(w, who, &api.Request{Resource: in.Resource, Role: in.Role, Scope: in.Scope, Duration: in.Duration, Reason: in.Reason, Ticket: in.Ticket, StartAt: in.StartAt}, auto)
}

func dbaStage() []api.Stage {
	return []api.Stage{{Name: "dba", From: []string{"group:dba"}, Quorum: 1, Approvals: []string{}}}
}

func (f *fakeAPI) create(w http.ResponseWriter, who caller, r *api.Request, auto bool) {
	r.ID, r.Revision, r.ContentHash = newID("req_"), 1, "sha256:"+newID("")
	r.State, r.Requester, r.Kind = "pending", who.ID, "http"
	if strings.HasSuffix(r.Resource, "-db") {
		r.Kind, r.Target = "postgres", json.RawMessage(`{"oid":7,"summary":"Asked for 1 table; effectively 2 relations."}`)
	}
	r.CreatedAt, r.ApproveBy = in(0), in(4*time.Hour)
	r.Reviews, r.Stages = []api.Review{}, []api.Stage{}
	r.Policy = api.Policy{Version: "sha256:1", Rule: "writing", Guardrails: []string{}}
	r.Explanation = "One of group:dba must agree."
	if len(r.Scope) == 0 {
		r.Scope = json.RawMessage(`{"methods":["GET"],"paths":["/v1/**"]}`)
	}
	f.requests = append([]*api.Request{r}, f.requests...)
	if !auto {
		r.Stages = dbaStage()
		f.move(r)
		w.Header().Set("Location", "/v1/requests/"+r.ID)
		w.Header().Set("Retry-After", "2")
		reply(w, 202, f.shown(r, who))
		return
	}
	r.Explanation = "The rule reading approves by itself."
	f.grant(r, r.Duration.Std())
	reply(w, 201, f.shown(r, who))
}

func (f *fakeAPI) listRequests(w http.ResponseWriter, r *http.Request, who caller) {
	q := r.URL.Query()
	items := []api.Request{}
	for _, x := range f.requests {
		f.age(x)
		if q.Get("state") != "" && x.State != q.Get("state") || q.Get("role") == "requester" && x.Requester != who.ID ||
			q.Get("role") == "reviewer" && x.Requester == who.ID || q.Get("resource") != "" && x.Resource != q.Get("resource") {
			continue
		}
		items = append(items, *f.shown(x, who))
	}
	listOf(w, r, items)
}

func (f *fakeAPI) getRequest(w http.ResponseWriter, r *http.Request, who caller) {
	id := r.PathValue("id")
	wait, _ := time.ParseDuration(r.URL.Query().Get("wait"))
	until := time.Now().Add(min(wait, 2*time.Second))
	for {
		x := f.find(id)
		if x == nil {
			problem(w, 404, "not_found", "There is no such request, or you may not see it.")
			return
		}
		etag := strconv.Quote(strconv.Itoa(f.versions[x.ID]))
		w.Header().Set("ETag", etag)
		if r.Header.Get("If-None-Match") != etag {
			reply(w, 200, f.shown(x, who))
			return
		}
		if time.Now().After(until) {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		moved := f.moved
		f.mu.Unlock()
		select {
		case <-moved:
		case <-r.Context().Done():
		case <-time.After(100 * time.Millisecond):
		}
		f.mu.Lock()
		if r.Context().Err() != nil {
			return
		}
	}
}

func (f *fakeAPI) review(w http.ResponseWriter, r *http.Request, who caller) {
	in, ok := body[api.ReviewRequest](w, r)
	x := f.find(r.PathValue("id"))
	switch {
	case !ok:
	case x == nil:
		problem(w, 404, "not_found", "There is no such request, or you may not see it.")
	case in.ContentHash == "":
		problem(w, 422, "no_hash", "The hash of what was shown is needed.")
	case in.ContentHash != x.ContentHash:
		problem(w, 412, "content_changed", "The request is not what you were shown.")
	case x.Requester == who.ID:
		problem(w, 403, "self_approval", "You asked for this yourself.")
	case !slices.Contains(who.Groups, "group:dba"):
		problem(w, 403, "not_an_approver", "You are not among those who decide this.")
	case x.State != "pending":
		problem(w, 409, "already_decided", "This request is already "+x.State+".")
	default:
		f.vote(x, who, in)
		reply(w, 200, f.shown(x, who))
	}
}

func (f *fakeAPI) vote(x *api.Request, who caller, in api.ReviewRequest) {
	x.Reviews = append(x.Reviews, api.Review{ID: newID("rev_"), By: who.ID, Decision: in.Decision, Stage: "dba", Comment: in.Comment, Duration: in.Duration, At: api.TimeOf(time.Now())})
	x.DecidedBy = who.ID
	if in.Decision == "deny" {
		now := api.TimeOf(time.Now())
		x.State, x.DecidedAt = "denied", &now
		f.move(x)
		return
	}
	x.Stages[0].Approvals = append(x.Stages[0].Approvals, who.ID)
	d := x.Duration
	if in.Duration != nil {
		d = *in.Duration
	}
	if x.Extends != "" {
		x.State = "approved"
		if base := f.find(x.Extends); base != nil && base.Grant.State == "active" {
			base.Grant.ExpiresAt = api.TimeOf(base.Grant.ExpiresAt.Add(d.Std()))
			f.move(base)
		}
		f.move(x)
		return
	}
	f.grant(x, d.Std())
}

func (f *fakeAPI) cancel(w http.ResponseWriter, r *http.Request, who caller) {
	x := f.find(r.PathValue("id"))
	switch {
	case x == nil:
		problem(w, 404, "not_found", "There is no such request, or you may not see it.")
	case x.State != "pending":
		problem(w, 409, "already_decided", "This request is already "+x.State+".")
	default:
		x.State = "cancelled"
		f.move(x)
		reply(w, 200, f.shown(x, who))
	}
}

func (f *fakeAPI) grants(keep func(*api.Grant) bool) []api.Grant {
	items := []api.Grant{}
	for _, x := range f.requests {
		f.age(x)
		if x.Grant != nil && keep(x.Grant) {
			items = append(items, *x.Grant)
		}
	}
	return items
}

func (f *fakeAPI) listGrants(w http.ResponseWriter, r *http.Request, who caller) {
	state := r.URL.Query().Get("state")
	listOf(w, r, f.grants(func(g *api.Grant) bool { return state == "" || g.State == state }))
}

// withGrant calls then with a grant that exists.
func (f *fakeAPI) withGrant(w http.ResponseWriter, r *http.Request, then func(*api.Request)) {
	if x := f.find(r.PathValue("id")); x != nil && x.Grant != nil && x.Grant.ID == r.PathValue("id") {
		then(x)
		return
	}
	problem(w, 404, "not_found", "There is no such grant, or you may not see it.")
}

func (f *fakeAPI) getGrant(w http.ResponseWriter, r *http.Request, _ caller) {
	f.withGrant(w, r, func(x *api.Request) { reply(w, 200, x.Grant) })
}

func (f *fakeAPI) credential(w http.ResponseWriter, r *http.Request, who caller) {
	in, ok := body[api.CredentialRequest](w, r)
	if !ok {
		return
	}
	f.withGrant(w, r, func(x *api.Request) {
		switch {
		case x.Requester != who.ID:
			problem(w, 403, "not_grantee", "Only the grantee gets a credential.")
		case x.Grant.State != "active":
			problem(w, 409, "not_active", "The grant has ended; ask for a new one.")
		default:
			secret := "dpgt_" + newID("") + newID("")
			f.secrets = append(f.secrets, secret)
			reply(w, 201, api.Credential{Format: in.Format, Secret: &secret, ExpiresAt: x.Grant.ExpiresAt, Connect: *x.Grant.Connect})
		}
	})
}

func (f *fakeAPI) revoke(w http.ResponseWriter, r *http.Request, who caller) {
	if _, ok := body[api.RevokeRequest](w, r); !ok {
		return
	}
	f.withGrant(w, r, func(x *api.Request) {
		if x.Grant.State != "active" {
			problem(w, 409, "not_active", "The grant has ended already.")
			return
		}
		f.end(x, map[bool]string{true: "returned", false: "revoked"}[x.Requester == who.ID])
		reply(w, 200, x.Grant)
	})
}

func (f *fakeAPI) extend(w http.ResponseWriter, r *http.Request, who caller) {
	in, ok := body[api.ExtendRequest](w, r)
	if !ok {
		return
	}
	f.withGrant(w, r, func(x *api.Request) {
		f.create(w, who, &api.Request{Resource: x.Resource, Role: x.Role, Scope: x.Scope, Duration: in.Duration, Reason: in.Reason, Extends: x.Grant.ID}, false)
	})
}

func (f *fakeAPI) revokeAll(w http.ResponseWriter, r *http.Request, who caller) {
	in, ok := body[api.RevocationRequest](w, r)
	if !ok {
		return
	}
	if !who.Admin {
		problem(w, 403, "forbidden", "Only admins and owners may do this.")
		return
	}
	out := api.Revocation{Grants: []api.Grant{}}
	for _, x := range f.requests {
		if x.Grant != nil && x.Grant.State == "active" && (x.Requester == in.Principal || x.Resource == in.Resource) {
			f.end(x, "revoked")
			out.Grants = append(out.Grants, *x.Grant)
		}
	}
	reply(w, 200, out)
}

func (f *fakeAPI) listSessions(w http.ResponseWriter, r *http.Request, _ caller) {
	listOf(w, r, f.sessions)
}

// getSession shows a session that runs a statement whenever somebody looks, and
// ends with the fifth.
func (f *fakeAPI) getSession(w http.ResponseWriter, r *http.Request, _ caller) {
	i := slices.IndexFunc(f.sessions, func(s api.Session) bool { return s.ID == r.PathValue("id") })
	if i < 0 || f.sessions[i].Statements >= 5 {
		problem(w, 404, "not_found", "The session does not exist.")
		return
	}
	s := &f.sessions[i]
	n := s.Statements + 1
	s.Statements, s.Rows, s.Bytes = n, 3*n, 99*n
	s.Recent = append(s.Recent, api.SessionStatement{N: n, At: in(0), SQL: "select * from orders where id = " + strconv.FormatInt(n, 10) + hostile, SQLLength: 40, Rows: 3, Bytes: 99, DurationMS: 1.25, SQLState: []string{"", "42501"}[n%2]})
	reply(w, 200, s)
}

func (f *fakeAPI) killSession(w http.ResponseWriter, r *http.Request, _ caller) {
	f.sessions = slices.DeleteFunc(f.sessions, func(s api.Session) bool { return s.ID == r.PathValue("id") })
	w.WriteHeader(http.StatusAccepted)
}

func (f *fakeAPI) listTokens(w http.ResponseWriter, r *http.Request, _ caller) {
	listOf(w, r, f.tokens)
}

func (f *fakeAPI) createToken(w http.ResponseWriter, r *http.Request, who caller) {
	in, ok := body[api.TokenRequest](w, r)
	if !ok {
		return
	}
	if in.Principal != "" && in.Principal != who.ID && !who.Admin {
		problem(w, 403, "forbidden", "Only admins make tokens for others.")
		return
	}
	t := api.Token{ID: newID("tok_"), Principal: who.ID, Name: in.Name, CreatedAt: api.TimeOf(time.Now()), ExpiresAt: api.TimeOf(time.Now().Add(in.TTL.Std()))}
	if in.Principal != "" {
		t.Principal = in.Principal
	}
	f.tokens = append([]api.Token{t}, f.tokens...)
	secret := "dpat_" + newID("")
	t.Secret = &secret
	reply(w, 201, t)
}

func (f *fakeAPI) revokeToken(w http.ResponseWriter, r *http.Request, _ caller) {
	before := len(f.tokens)
	if f.tokens = slices.DeleteFunc(f.tokens, func(t api.Token) bool { return t.ID == r.PathValue("id") }); len(f.tokens) == before {
		problem(w, 404, "not_found", "There is no such token.")
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (f *fakeAPI) admin(w http.ResponseWriter, who caller) bool {
	if !who.Admin {
		problem(w, 403, "forbidden", "Only admins may do this.")
	}
	return who.Admin
}

func (f *fakeAPI) setIssuing(w http.ResponseWriter, r *http.Request, who caller) {
	if in, ok := body[api.Issuing](w, r); ok && f.admin(w, who) {
		f.issuing = in.Enabled
		reply(w, 200, in)
	}
}

func (f *fakeAPI) rotateKeys(w http.ResponseWriter, _ *http.Request, who caller) {
	if f.admin(w, who) {
		reply(w, 200, api.Keys{Kids: []string{"es256-2", "rs256-2"}})
	}
}

func (f *fakeAPI) getCatalog(w http.ResponseWriter, _ *http.Request, who caller) {
	if f.admin(w, who) {
		w.Header().Set("ETag", `"`+f.catalog.Version+`"`)
		reply(w, 200, f.catalog)
	}
}

func (f *fakeAPI) putCatalog(w http.ResponseWriter, r *http.Request, who caller) {
	source, _ := io.ReadAll(r.Body)
	switch {
	case !f.admin(w, who):
	case r.Header.Get("If-Match") != `"`+f.catalog.Version+`"`:
		problem(w, 412, "version_changed", "The catalog has changed.")
	case bytes.Contains(source, []byte("bad")):
		problem(w, 422, "invalid_catalog", "The catalog has errors; nothing was changed.", api.FieldProblem{Location: "body:2:5", Message: "unknown key bad"})
	default:
		f.catalog.Source, f.catalog.Version = string(source), fmt.Sprintf("sha256:%d", len(source))
		reply(w, 200, f.catalog)
	}
}

func (f *fakeAPI) checkCatalog(w http.ResponseWriter, r *http.Request, who caller) {
	source, _ := io.ReadAll(r.Body)
	if !f.admin(w, who) {
		return
	}
	if bytes.Contains(source, []byte("bad")) {
		reply(w, 200, api.CatalogCheck{Problems: []api.CatalogProblem{{Line: 2, Column: 5, Message: "unknown key bad"}}})
		return
	}
	reply(w, 200, api.CatalogCheck{OK: true, Version: "sha256:2", Problems: []api.CatalogProblem{}})
}

// upstream is what lies behind the gateway: it says how it was called.
func (f *fakeAPI) upstream(w http.ResponseWriter, r *http.Request, who caller) {
	if !slices.Contains(f.secrets, who.token) {
		problem(w, 401, "invalid_token", "The gateway does not know this token.")
		return
	}
	_, _ = fmt.Fprintf(w, "order at %s\n", strings.TrimPrefix(r.URL.Path, "/gateway"))
}

func (f *fakeAPI) controlRevoke(w http.ResponseWriter, r *http.Request, _ caller) {
	for _, x := range f.requests {
		if x.Grant != nil && x.Grant.State == "active" && x.Resource == r.PathValue("resource") {
			f.end(x, "revoked")
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

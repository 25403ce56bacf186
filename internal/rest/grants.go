package rest

import (
	"context"
	"net/http"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/identity"
)

type grants interface {
	Grants(ctx context.Context, c identity.Caller, state string, p broker.Page) ([]api.Grant, string, error)
	Grant(ctx context.Context, c identity.Caller, id string) (api.Grant, error)
	Issue(ctx context.Context, c identity.Caller, grant, format string, once *broker.Once) (api.Credential, error)
	Revoke(ctx context.Context, c identity.Caller, grant, reason string) (api.Grant, error)
	Extend(ctx context.Context, c identity.Caller, grant string, d time.Duration, reason, ticket string, once *broker.Once) (broker.View, error)
}

func (s *server) grantRoutes() {
	add(s, Route{
		Method: "GET", Path: "/v1/grants", ID: "listGrants", Tag: "Grants",
		Summary: "List grants", Text: "The grants that the caller may see, newest first.",
		Query: []param{
			wordParam("state", "Only grants in this state.", "scheduled", "activating", "active", "ending", "ended"), limitParam, cursorParam,
		},
		Answers: []int{200},
	}, func(c *call, _ *none) (page[api.Grant], error) {
		items, next, err := s.Broker.Grants(c.ctx, c.caller, c.query["state"], c.query.page())
		return page[api.Grant]{items, next}, err
	}, listed)

	add(s, Route{
		Method: "GET", Path: "/v1/grants/{id}", ID: "getGrant", Tag: "Grants",
		Summary: "One grant", Answers: []int{200}, Errors: []int{404},
	}, func(c *call, _ *none) (api.Grant, error) { return s.Broker.Grant(c.ctx, c.caller, c.id()) }, ok)

	add(s, Route{
		Method: "POST", Path: "/v1/grants/{id}/credentials", ID: "createCredential", Tag: "Grants",
		Summary: "Get a credential",
		Text: "Only for the grantee. `secret` is shown in this answer and never again: a replayed call has `secret: null`. " +
			"While the grant is `activating` the call waits up to 10 s. `token` is opaque and ends with the grant; `jwt` lives at most 5 minutes.",
		Answers: []int{201}, Errors: []int{403, 404, 409}, Creates: true, Bodiless: true,
		Example: `{"format":"token"}`,
	}, func(c *call, in *api.CredentialRequest) (api.Credential, error) {
		if in.Format == "" {
			in.Format = "token"
		}
		return s.Broker.Issue(c.ctx, c.caller, c.id(), in.Format, c.once)
	}, func(c *call, made api.Credential) answer {
		return answer{status: http.StatusCreated, location: "/v1/grants/" + c.id(), body: made}
	})

	add(s, Route{
		Method: "POST", Path: "/v1/grants/{id}/revoke", ID: "revokeGrant", Tag: "Grants",
		Summary: "End a grant now",
		Text:    "By the grantee it is a return; by their owner, an approver, an owner of the resource or an admin it is a revocation. Ending an ended grant changes nothing.",
		Answers: []int{200}, Errors: []int{403, 404}, Bodiless: true,
		Example: `{"reason":"done early"}`,
	}, func(c *call, in *api.RevokeRequest) (api.Grant, error) {
		return s.Broker.Revoke(c.ctx, c.caller, c.id(), in.Reason)
	}, ok)

	add(s, Route{
		Method: "POST", Path: "/v1/grants/{id}/extend", ID: "extendGrant", Tag: "Grants",
		Summary: "Ask for more time",
		Text:    "An extension is a request of its own, with the scope of the grant; it is decided like any other and keeps tokens and sessions.",
		Answers: []int{201, 202}, Errors: []int{403, 404, 409, 429}, Creates: true, ETag: true,
		Example: `{"duration":"10m","reason":"one more table"}`,
	}, func(c *call, in *api.ExtendRequest) (broker.View, error) {
		return s.Broker.Extend(c.ctx, c.caller, c.id(), in.Duration.Std(), in.Reason, in.Ticket, c.once)
	}, submitted)
}

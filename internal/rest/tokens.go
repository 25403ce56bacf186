package rest

import (
	"context"
	"net/http"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/identity"
)

type tokens interface {
	Tokens(ctx context.Context, c identity.Caller) ([]api.Token, error)
	CreateToken(ctx context.Context, c identity.Caller, principal, name string, ttl time.Duration, once *broker.Once) (api.Token, error)
	DeleteToken(ctx context.Context, c identity.Caller, id string) error
}

func (s *server) tokenRoutes() {
	add(s, Route{
		Method: "GET", Path: "/v1/tokens", ID: "listTokens", Tag: "Tokens",
		Summary: "List API tokens", Text: "The caller's own, and those of their services; an admin's list has all. Never with a secret.",
		Query: []param{limitParam, cursorParam}, Answers: []int{200},
	}, func(c *call, _ *none) (page[api.Token], error) {
		all, err := s.Broker.Tokens(c.ctx, c.caller)
		if err != nil {
			return page[api.Token]{}, err
		}
		for i := range all {
			all[i].Secret = nil
		}
		return slicePage(s, c, all, c.query.page(), order[api.Token]{key: func(v api.Token) string { return v.CreatedAt.String() + " " + v.ID }})
	}, listed)

	add(s, Route{
		Method: "POST", Path: "/v1/tokens", ID: "createToken", Tag: "Tokens",
		Summary: "Make an API token",
		Text:    "`secret` is shown in this answer and never again: a replayed call has none. Two tokens may overlap, for rotation.",
		Answers: []int{201}, Errors: []int{403, 404, 409}, Creates: true,
		Example: `{"principal":"service:ci-deploy","name":"ci","ttl":"24h"}`,
	}, func(c *call, in *api.TokenRequest) (api.Token, error) {
		return s.Broker.CreateToken(c.ctx, c.caller, in.Principal, in.Name, in.TTL.Std(), c.once)
	}, func(_ *call, made api.Token) answer {
		return answer{status: http.StatusCreated, location: "/v1/tokens/" + made.ID, body: made}
	})

	add(s, Route{
		Method: "DELETE", Path: "/v1/tokens/{id}", ID: "revokeToken", Tag: "Tokens",
		Summary: "Revoke an API token", Answers: []int{204}, Errors: []int{403, 404, 409},
	}, func(c *call, _ *none) (none, error) { return none{}, s.Broker.DeleteToken(c.ctx, c.caller, c.id()) },
		func(*call, none) answer { return answer{status: http.StatusNoContent} })
}

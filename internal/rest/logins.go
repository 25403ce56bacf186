package rest

import (
	"context"
	"net/http"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/identity"
)

type logins interface {
	Logins(ctx context.Context, c identity.Caller) ([]api.Login, error)
	EndLogin(ctx context.Context, c identity.Caller, id string) error
	EndLogins(ctx context.Context, c identity.Caller, principal string) (api.LoginsEnded, error)
}

func (s *server) loginRoutes() {
	add(s, Route{
		Method: "GET", Path: "/v1/logins", ID: "listLogins", Tag: "Logins",
		Summary: "List the browsers and command lines that are logged in", Text: "The caller's own; an admin's list has everybody's.",
		Query: []param{limitParam, cursorParam}, Answers: []int{200},
	}, func(c *call, _ *none) (page[api.Login], error) {
		all, err := s.Broker.Logins(c.ctx, c.caller)
		if err != nil {
			return page[api.Login]{}, err
		}
		return slicePage(s, c, all, c.query.page(), order[api.Login]{key: func(v api.Login) string { return v.CreatedAt.String() + " " + v.ID }})
	}, listed)

	add(s, Route{
		Method: "DELETE", Path: "/v1/logins", ID: "endLogins", Tag: "Logins",
		Summary: "Log out everywhere", Text: "Ends every login of the caller, or for an admin of `principal`. API tokens stay.",
		Query: []param{textParam("principal", "Whose logins; the caller's where it is not given.")}, Answers: []int{200}, Errors: []int{403},
	}, func(c *call, _ *none) (api.LoginsEnded, error) {
		return s.Broker.EndLogins(c.ctx, c.caller, c.query["principal"])
	}, ok)

	add(s, Route{
		Method: "DELETE", Path: "/v1/logins/{id}", ID: "endLogin", Tag: "Logins",
		Summary: "Log out one browser or command line", Text: "`current` stands for the login of the call itself.",
		Answers: []int{204}, Errors: []int{404},
	}, func(c *call, _ *none) (none, error) { return none{}, s.Broker.EndLogin(c.ctx, c.caller, c.id()) },
		func(*call, none) answer { return answer{status: http.StatusNoContent} })
}

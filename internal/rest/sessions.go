package rest

import (
	"context"
	"net/http"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/identity"
)

type sessions interface {
	Sessions(ctx context.Context, c identity.Caller) ([]api.Session, error)
	Session(ctx context.Context, c identity.Caller, id string) (api.Session, error)
	KillSession(ctx context.Context, c identity.Caller, id string) error
}

func (s *server) sessionRoutes() {
	add(s, Route{
		Method: "GET", Path: "/v1/sessions", ID: "listSessions", Tag: "Sessions",
		Summary: "List live sessions", Text: "Live connections through gateways that the caller may see, newest first. What each does, `doing`, is for the grantee, their owner, the owners of the resource, auditors and admins; to others, such as approvers, it is empty.",
		Query: []param{limitParam, cursorParam}, Answers: []int{200},
	}, func(c *call, _ *none) (page[api.Session], error) {
		all, err := s.Broker.Sessions(c.ctx, c.caller)
		if err != nil {
			return page[api.Session]{}, err
		}
		return slicePage(s, c, all, c.query.page(), order[api.Session]{key: func(v api.Session) string { return v.StartedAt.String() + " " + v.ID }})
	}, listed)

	add(s, Route{
		Method: "GET", Path: "/v1/sessions/{id}", ID: "getSession", Tag: "Sessions",
		Summary: "Look at a session", Text: "One live connection with its last statements, `recent`, as long as it runs: for the grantee, their owner, the owners of the resource, auditors and admins. The record has all of them.",
		Answers: []int{200}, Errors: []int{404},
	}, func(c *call, _ *none) (api.Session, error) { return s.Broker.Session(c.ctx, c.caller, c.id()) }, ok)

	add(s, Route{
		Method: "DELETE", Path: "/v1/sessions/{id}", ID: "killSession", Tag: "Sessions",
		Summary: "Cut a session", Text: "The connection is cut; the grant lives on.",
		Answers: []int{202}, Errors: []int{403, 404},
	}, func(c *call, _ *none) (none, error) { return none{}, s.Broker.KillSession(c.ctx, c.caller, c.id()) },
		func(*call, none) answer { return answer{status: http.StatusAccepted, location: "/v1/sessions"} })
}

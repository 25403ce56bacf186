package rest

import (
	"context"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/identity"
)

type resources interface {
	Me(ctx context.Context, c identity.Caller) (api.Me, error)
	Resources(ctx context.Context, c identity.Caller) ([]api.Resource, error)
	Resource(ctx context.Context, c identity.Caller, id string) (api.Resource, error)
}

func (s *server) resourceRoutes() {
	add(s, Route{
		Method: "GET", Path: "/v1/me", ID: "getMe", Tag: "Resources",
		Summary: "Who am I?", Text: "The caller, their groups, and whether they administer or audit.",
		Answers: []int{200},
	}, func(c *call, _ *none) (api.Me, error) { return s.Broker.Me(c.ctx, c.caller) }, ok)

	add(s, Route{
		Method: "GET", Path: "/v1/resources", ID: "listResources", Tag: "Resources",
		Summary: "What may I ask for?",
		Text:    "The resources that the caller may request, by ID, with their roles and how asking for each would be decided: at once, by whom, or not at all.",
		Query:   []param{limitParam, cursorParam}, Answers: []int{200},
	}, func(c *call, _ *none) (page[api.Resource], error) {
		all, err := s.Broker.Resources(c.ctx, c.caller)
		if err != nil {
			return page[api.Resource]{}, err
		}
		return slicePage(s, c, all, c.query.page(), order[api.Resource]{ascending: true, key: func(r api.Resource) string { return r.ID }})
	}, listed)

	add(s, Route{
		Method: "GET", Path: "/v1/resources/{id}", ID: "getResource", Tag: "Resources",
		Summary: "One resource", Text: "A resource that the caller may not request is 404, like one that does not exist.",
		Answers: []int{200}, Errors: []int{404},
	}, func(c *call, _ *none) (api.Resource, error) { return s.Broker.Resource(c.ctx, c.caller, c.id()) }, ok)
}

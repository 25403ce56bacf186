package rest

import (
	"context"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/broker"
	"github.com/daypass/daypass/internal/identity"
)

type revocations interface {
	RevokeAll(ctx context.Context, c identity.Caller, principal, resource, reason string, once *broker.Once) (api.Revocation, error)
}

func (s *server) revocationRoutes() {
	add(s, Route{
		Method: "POST", Path: "/v1/revocations", ID: "revokeEverything", Tag: "Grants",
		Summary: "End everything of one person or one resource",
		Text:    "By an admin or an owner. Exactly one of `principal` and `resource`; the answer lists the grants that ended.",
		Answers: []int{200}, Errors: []int{403, 404}, Creates: true,
		Example: `{"principal":"user:ana","reason":"laptop stolen"}`,
	}, func(c *call, in *api.RevocationRequest) (api.Revocation, error) {
		return s.Broker.RevokeAll(c.ctx, c.caller, in.Principal, in.Resource, in.Reason, c.once)
	}, ok)
}

package rest

import (
	"context"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/identity"
)

type switches interface {
	Issuing(ctx context.Context, c identity.Caller) (api.Issuing, error)
	SetIssuing(ctx context.Context, c identity.Caller, enabled bool) (api.Issuing, error)
	RotateKeys(ctx context.Context, c identity.Caller) (api.Keys, error)
}

func (s *server) switchRoutes() {
	add(s, Route{
		Method: "GET", Path: "/v1/issuing", ID: "getIssuing", Tag: "Operations",
		Summary: "Is issuing on?", Answers: []int{200}, Errors: []int{403},
	}, func(c *call, _ *none) (api.Issuing, error) { return s.Broker.Issuing(c.ctx, c.caller) }, ok)

	add(s, Route{
		Method: "PUT", Path: "/v1/issuing", ID: "setIssuing", Tag: "Operations",
		Summary: "Stop or resume issuing",
		Text:    "By an admin. While it is off nothing is approved and no credential is issued; ends and revocations go on.",
		Answers: []int{200}, Errors: []int{403}, Example: `{"enabled":false}`,
	}, func(c *call, in *api.Issuing) (api.Issuing, error) {
		return s.Broker.SetIssuing(c.ctx, c.caller, in.Enabled)
	}, ok)

	add(s, Route{
		Method: "POST", Path: "/v1/keys/rotate", ID: "rotateKeys", Tag: "Operations",
		Summary: "Rotate the signing keys", Text: "By an admin. The old keys stay in the JWKS until what they signed has expired.",
		Answers: []int{200}, Errors: []int{403},
	}, func(c *call, _ *none) (api.Keys, error) { return s.Broker.RotateKeys(c.ctx, c.caller) }, ok)
}

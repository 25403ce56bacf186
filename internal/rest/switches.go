package rest

import (
	"context"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/identity"
)

type switches interface {
	Issuing(ctx context.Context, c identity.Caller) (api.Issuing, error)
	SetIssuing(ctx context.Context, c identity.Caller, enabled bool) (api.Issuing, error)
	Quarantine(ctx context.Context, c identity.Caller) (api.Quarantine, error)
	EndQuarantine(ctx context.Context, c identity.Caller, keepTokens bool) (api.QuarantineEnd, error)
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
		Method: "GET", Path: "/v1/quarantine", ID: "getQuarantine", Tag: "Operations",
		Summary: "Does a restored store wait for an admin?",
		Text:    "For admins and auditors: what the store was restored from, and how much of the record is lost.",
		Answers: []int{200}, Errors: []int{403},
	}, func(c *call, _ *none) (api.Quarantine, error) { return s.Broker.Quarantine(c.ctx, c.caller) }, ok)

	add(s, Route{
		Method: "POST", Path: "/v1/quarantine/end", ID: "endQuarantine", Tag: "Operations",
		Summary: "Let a restored store serve again",
		Text: "By an admin, with a token of the catalog: API tokens made before the backup are not taken in quarantine. Everything that was live or waiting in the backup ends, and so do those API tokens, " +
			"unless `keep_tokens` says otherwise: they may have been revoked in what is lost.",
		Answers: []int{200}, Errors: []int{403}, Example: `{"keep_tokens":false}`,
	}, func(c *call, in *api.QuarantineRequest) (api.QuarantineEnd, error) {
		return s.Broker.EndQuarantine(c.ctx, c.caller, in.KeepTokens)
	}, ok)

	add(s, Route{
		Method: "POST", Path: "/v1/keys/rotate", ID: "rotateKeys", Tag: "Operations",
		Summary: "Rotate the signing keys", Text: "By an admin. The old keys stay in the JWKS until what they signed has expired.",
		Answers: []int{200}, Errors: []int{403},
	}, func(c *call, _ *none) (api.Keys, error) { return s.Broker.RotateKeys(c.ctx, c.caller) }, ok)
}

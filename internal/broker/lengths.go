package broker

import (
	"context"
	"slices"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/identity"
	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/policy/rehearse"
)

// Lengths says how asking for a role would be decided for each of some lengths,
// so that somebody can choose one knowing what follows. As in Resources, reason
// and ticket count as given, and the target is not looked at.
func (b *Broker) Lengths(_ context.Context, c identity.Caller, resource, role string, of []time.Duration) ([]api.Decision, error) {
	cat := b.catalog()
	r, ok := cat.Resource(resource)
	if !ok || !b.requestable(cat, c, r) {
		return nil, notFound("The resource")
	}
	i := slices.IndexFunc(r.Roles, func(have policy.Role) bool { return have.Name == role })
	if i < 0 {
		return nil, notFound("The role")
	}
	in := b.inputFor(cat, c, r)
	in.Role, in.Scope = role, r.Roles[i].Scope.JSON()
	out := make([]api.Decision, len(of))
	for i, length := range of {
		in.Duration = length
		out[i] = rehearse.Decision(cat.Outlook(in))
	}
	return out, nil
}

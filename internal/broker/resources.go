package broker

import (
	"context"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/identity"
	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/policy/rehearse"
)

// Resources lists what the caller may ask for.
func (b *Broker) Resources(_ context.Context, c identity.Caller) ([]api.Resource, error) {
	out := []api.Resource{}
	cat := b.catalog()
	for _, r := range cat.Resources() {
		if b.requestable(cat, c, r) {
			out = append(out, b.shownResource(cat, c, r))
		}
	}
	return out, nil
}

// Resource shows one resource that the caller may ask for.
func (b *Broker) Resource(_ context.Context, c identity.Caller, id string) (api.Resource, error) {
	cat := b.catalog()
	r, ok := cat.Resource(id)
	if !ok || !b.requestable(cat, c, r) {
		return api.Resource{}, notFound("The resource")
	}
	return b.shownResource(cat, c, r), nil
}

func (b *Broker) requestable(cat *policy.Catalog, c identity.Caller, r *policy.Resource) bool {
	return !r.Disabled && cat.Requestable(b.inputFor(cat, c, r))
}

func (b *Broker) inputFor(cat *policy.Catalog, c identity.Caller, r *policy.Resource) policy.Input {
	now := b.now()
	return policy.Input{Principal: c.Principal, Groups: cat.Groups(c.Principal), Resource: r.ID, StartsAt: now, Now: now, Client: c.Channel, Decided: true}
}

func (b *Broker) shownResource(cat *policy.Catalog, c identity.Caller, r *policy.Resource) api.Resource {
	out := api.Resource{ID: r.ID, Kind: r.Kind.Name(), Labels: r.Labels, Owners: nonNil(r.Owners), Roles: []api.Role{}, FreeScope: r.FreeScope}
	if out.Labels == nil {
		out.Labels = map[string]string{}
	}
	for _, role := range r.Roles {
		in := b.inputFor(cat, c, r)
		in.Role, in.Scope = role.Name, role.Scope.JSON()
		out.Roles = append(out.Roles, api.Role{Name: role.Name, Scope: role.Scope.JSON(), Decision: rehearse.Decision(cat.Outlook(in))})
	}
	return out
}

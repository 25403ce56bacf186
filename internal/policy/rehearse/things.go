package rehearse

import (
	"maps"
	"reflect"
	"slices"

	"github.com/daypass/daypass/internal/policy"
)

// Change is one thing of a catalog that is another, or is not there, in the
// other one.
type Change struct {
	What   string   `json:"what"` // principal, group, resource, role, guardrail or rule
	Name   string   `json:"name"`
	How    string   `json:"how"`    // added, removed, changed or moved
	Fields []string `json:"fields"` // of changed: what differs
}

// things compares what two catalogs list.
func things(was, now *policy.Catalog) []Change {
	var out []Change
	out = append(out, compared("principal", principalsOf(was), principalsOf(now))...)
	out = append(out, compared("group", groupsOf(was), groupsOf(now))...)
	a, b := resourcesOf(was), resourcesOf(now)
	out = append(out, compared("resource", a, b)...)
	out = append(out, compared("role", rolesOf(was), rolesOf(now))...)
	out = append(out, compared("guardrail", guardrailsOf(was), guardrailsOf(now))...)
	out = append(out, compared("rule", rulesOf(was), rulesOf(now))...)
	return append(out, moved(was, now)...)
}

// thing is the fields of one, by name.
type thing map[string]any

func compared(what string, was, now map[string]thing) []Change {
	var out []Change
	names := slices.Collect(maps.Keys(was))
	for name := range now {
		if was[name] == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		c := Change{What: what, Name: name, Fields: []string{}}
		switch {
		case was[name] == nil:
			c.How = "added"
		case now[name] == nil:
			c.How = "removed"
		default:
			c.How = "changed"
			for _, field := range slices.Sorted(maps.Keys(now[name])) {
				if !reflect.DeepEqual(was[name][field], now[name][field]) {
					c.Fields = append(c.Fields, field)
				}
			}
			if len(c.Fields) == 0 {
				continue
			}
		}
		out = append(out, c)
	}
	return out
}

func principalsOf(c *policy.Catalog) map[string]thing {
	out := map[string]thing{}
	for _, p := range c.Principals() {
		groups := slices.Clone(p.Groups)
		slices.Sort(groups)
		out[p.ID] = thing{
			"groups": text(groups), "owner": p.Owner, "person": p.Person, "email": p.Email, "admin": p.Admin, "auditor": p.Auditor,
			"disabled": p.Disabled, "token_sha256": p.TokenSHA256, "attributes": text(p.Attributes),
		}
	}
	return out
}

func groupsOf(c *policy.Catalog) map[string]thing {
	members := map[string][]string{}
	for _, p := range c.Principals() {
		for _, id := range c.Groups(p.ID) {
			members[id] = append(members[id], p.ID)
		}
	}
	out := map[string]thing{}
	for _, id := range c.GroupIDs() {
		out[id] = thing{"members": text(members[id])}
	}
	return out
}

func resourcesOf(c *policy.Catalog) map[string]thing {
	out := map[string]thing{}
	for _, r := range c.Resources() {
		out[r.ID] = thing{
			"kind": r.Kind.Name(), "labels": text(r.Labels), "owners": text(r.Owners), "free_scope": r.FreeScope, "jwt": r.JWT,
			"disabled": r.Disabled, "introspect": text(r.Introspect), r.Kind.Name() + " block": r.Config,
		}
	}
	return out
}

func rolesOf(c *policy.Catalog) map[string]thing {
	out := map[string]thing{}
	for _, r := range c.Resources() {
		for _, role := range r.Roles {
			out[r.ID+" "+role.Name] = thing{"scope": string(role.Scope.JSON())}
		}
	}
	return out
}

func guardrailsOf(c *policy.Catalog) map[string]thing {
	out := map[string]thing{}
	for _, g := range c.Guardrails() {
		out[g.Name] = thing{"kind": g.Kind, "when": g.When.Text, "deny": g.Deny, "reason": g.Reason, "ticket": g.Ticket, "max_duration": g.MaxDuration}
	}
	return out
}

func rulesOf(c *policy.Catalog) map[string]thing {
	out := map[string]thing{}
	for _, r := range c.Rules() {
		out[r.Name] = thing{
			"kind": r.Kind, "when": r.When.Text, "approve": text(r.Stages), "max_duration": r.MaxDuration, "max_total": r.MaxTotal,
			"approve_within": r.ApproveWithin, "break_glass": text(r.BreakGlass),
		}
	}
	return out
}

// moved finds rules that both have and that are tried in another order.
func moved(was, now *policy.Catalog) []Change {
	order := func(c, other *policy.Catalog) []string {
		both := rulesOf(other)
		var out []string
		for _, r := range c.Rules() {
			if both[r.Name] != nil {
				out = append(out, r.Name)
			}
		}
		return out
	}
	a, b := order(was, now), order(now, was)
	var out []Change
	for i, name := range b {
		// It comes before one that it came after.
		if at := slices.Index(a, name); slices.ContainsFunc(b[i+1:], func(later string) bool { return slices.Index(a, later) < at }) {
			out = append(out, Change{What: "rule", Name: name, How: "moved", Fields: []string{}})
		}
	}
	return out
}

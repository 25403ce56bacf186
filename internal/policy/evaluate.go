package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// The codes of a Refusal.
const (
	NotRequestable    = "not_requestable"
	DeniedByGuardrail = "denied_by_guardrail"
)

// question is one Input with what it names looked up.
type question struct {
	in        Input
	principal *Principal
	resource  *Resource
	scope     Scope // nil: any
	vars      any   // the variables of the conditions
}

func refuse(code, field, format string, args ...any) *Refusal {
	return &Refusal{Code: code, Field: field, Message: fmt.Sprintf(format, args...)}
}

// Evaluate decides. It never fails: whatever goes wrong is a refusal.
//
// A guardrail that denies beats everything. Then the scope must lie within a
// role (or the resource be open to any), reason and ticket must be there where
// a guardrail requires them (not with in.Decided), and the first rule whose
// condition holds decides. A condition that cannot be evaluated refuses: it is
// never taken for "no", and later rules are not tried. A duration above the
// smallest limit refuses too; an in.Duration of 0 stands for "not stated" and
// is not checked. Terms.ApproveWithin is 0 where the rule leaves it to the
// server.
func (c *Catalog) Evaluate(in Input) Decision {
	q, refusal := c.ask(in)
	if refusal != nil {
		return refused(refusal)
	}
	return c.decide(q)
}

func refused(r *Refusal) Decision { return Decision{Refusal: r, Explanation: r.Message} }

// ask looks up what in names.
func (c *Catalog) ask(in Input) (question, *Refusal) {
	q, refusal := c.who(in)
	if refusal != nil {
		return q, refusal
	}
	if role, ok := q.resource.role(in.Role); ok && string(role.Scope.JSON()) == string(in.Scope) {
		// Parsed already, with the catalog.
		q.scope = role.Scope
		q.vars = c.facts(in, q.principal, q.resource, q.scope)
		return q, nil
	}
	var err error
	if q.scope, err = parseScope(q.resource.Kind, in.Scope); err != nil {
		return q, refuse(NotRequestable, "scope", "the scope is not one of %s: %s", q.resource.Kind.Name(), message(err))
	}
	if err = q.resource.fits(q.scope); err != nil {
		return q, refuse(NotRequestable, "scope", "%s", message(err))
	}
	if in.Role != "" {
		role, ok := q.resource.role(in.Role)
		if !ok {
			return q, refuse(NotRequestable, "role", "%s has no role %q; it has %s", q.resource.ID, clip(in.Role), roleNames(q.resource))
		}
		if string(role.Scope.JSON()) != string(q.scope.JSON()) {
			return q, refuse(NotRequestable, "scope", "the scope is not that of role %s, which may have changed: ask anew", in.Role)
		}
	}
	q.vars = c.facts(in, q.principal, q.resource, q.scope)
	return q, nil
}

func (c *Catalog) who(in Input) (question, *Refusal) {
	q := question{in: in}
	var ok bool
	if q.resource, ok = c.resources[in.Resource]; !ok {
		return q, refuse(NotRequestable, "", "there is no resource %q", clip(in.Resource))
	}
	if q.resource.Disabled {
		return q, refuse(NotRequestable, "", "%s is disabled", in.Resource)
	}
	if q.principal, ok = c.principals[in.Principal]; !ok {
		return q, refuse(NotRequestable, "", "%q is not a known principal", clip(in.Principal))
	}
	switch by := q.principal.DisabledBy; by {
	case "":
		return q, nil
	case in.Principal:
		return q, refuse(NotRequestable, "", "%s is disabled", in.Principal)
	default:
		return q, refuse(NotRequestable, "", "%s is disabled, because %s is", in.Principal, by)
	}
}

// parseScope holds a kind's decoder to its promise not to panic.
func parseScope(kind Kind, raw json.RawMessage) (scope Scope, err error) {
	defer func() {
		if recover() != nil {
			scope, err = nil, errors.New("it cannot be read")
		}
	}()
	if len(raw) == 0 {
		return nil, errors.New("it is missing")
	}
	if scope, err = kind.ParseScope(raw); err == nil && scope == nil {
		err = errors.New("it cannot be read")
	}
	return scope, err
}

func (r *Resource) role(name string) (Role, bool) {
	i := slices.IndexFunc(r.Roles, func(role Role) bool { return role.Name == name })
	if i < 0 {
		return Role{}, false
	}
	return r.Roles[i], true
}

func roleNames(r *Resource) string {
	names := make([]string, len(r.Roles))
	for i, role := range r.Roles {
		names[i] = role.Name
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// decide answers q.
func (c *Catalog) decide(q question) Decision {
	matched, refusal := c.guard(q)
	if refusal == nil {
		refusal = within(q)
	}
	if refusal == nil {
		refusal = requirements(q, matched)
	}
	if refusal != nil {
		return refused(refusal)
	}
	for _, r := range c.rules {
		if r.kind != "" && r.kind != q.resource.Kind.Name() {
			continue
		}
		switch t, err := r.when.eval(q.vars); {
		case err != nil:
			return refused(refuse(NotRequestable, "", "%s", r.when.explain(fmt.Sprintf("rule %q", r.name), err, q)))
		case t == no:
			continue
		case t == yes:
			return c.apply(q, r, matched)
		}
		// Unknown: this rule would decide some scopes. One that it would let
		// through is enough; otherwise another rule may.
		if d := c.apply(q, r, matched); d.Refusal == nil {
			return d
		}
	}
	return refused(refuse(NotRequestable, "", "no rule of the policy lets %s ask for this on %s", q.principal.ID, q.resource.ID))
}

// guard returns the guardrails that match, or the refusal of one that denies.
// A guardrail that cannot be evaluated denies, but one that says why goes first.
func (c *Catalog) guard(q question) ([]*guardrail, *Refusal) {
	var matched []*guardrail
	var broken *Refusal
	for _, g := range c.guardrails {
		if g.kind != "" && g.kind != q.resource.Kind.Name() {
			continue
		}
		t, err := g.when.eval(q.vars)
		switch {
		case err != nil && broken == nil:
			broken = refuse(DeniedByGuardrail, "", "%s", g.when.explain(fmt.Sprintf("guardrail %q", g.name), err, q))
			broken.Guardrail = g.name
		case err == nil && t == yes && g.deny != "":
			denied := refuse(DeniedByGuardrail, "", "guardrail %q denies this: %s", g.name, g.deny)
			denied.Guardrail = g.name
			return nil, denied
		case err == nil && t == yes:
			matched = append(matched, g)
		}
	}
	return matched, broken
}

// within holds the scope to the resource's roles.
func within(q question) *Refusal {
	if q.scope == nil || q.resource.FreeScope ||
		slices.ContainsFunc(q.resource.Roles, func(role Role) bool { return role.Scope.Covers(q.scope) }) {
		return nil
	}
	return refuse(NotRequestable, "scope", "the scope is wider than every role of %s: ask for one of %s, or for less", q.resource.ID, roleNames(q.resource))
}

// requirements checks reason and ticket.
func requirements(q question, matched []*guardrail) *Refusal {
	if q.in.Decided {
		return nil
	}
	for _, g := range matched {
		var refusal *Refusal
		switch {
		case g.reason && blank(q.in.Reason):
			refusal = refuse(DeniedByGuardrail, "reason", "guardrail %q needs a reason: say what the access is for", g.name)
		case g.ticket != nil && q.in.Ticket == "":
			refusal = refuse(DeniedByGuardrail, "ticket", "guardrail %q needs a ticket that matches %s", g.name, g.ticketText)
		case g.ticket != nil && !g.ticket.MatchString(q.in.Ticket):
			refusal = refuse(DeniedByGuardrail, "ticket", "guardrail %q needs a ticket that matches %s, which this one does not", g.name, g.ticketText)
		default:
			continue
		}
		refusal.Guardrail = g.name
		return refusal
	}
	return nil
}

// blank reports a text without a single character that a reader would see.
func blank(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return r != unicode.ReplacementChar && unicode.IsGraphic(r) && !unicode.IsSpace(r)
	})
}

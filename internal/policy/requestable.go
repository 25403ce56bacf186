package policy

import "cel.dev/cel-go/cel"

// Holds reports whether the named rule's condition is true of in (in.Groups
// included, as given): whether a grant still rests on what its rule needed. It
// does not hold where principal or resource are gone or disabled, or where the
// condition cannot be evaluated.
func (c *Catalog) Holds(name string, in Input) bool {
	q, refusal := c.ask(in)
	if refusal != nil {
		return false
	}
	for _, r := range c.rules {
		if r.name == name && (r.kind == "" || r.kind == q.resource.Kind.Name()) {
			t, err := r.when.eval(q.vars)
			return err == nil && t == yes
		}
	}
	return false
}

// Requestable reports whether some rule could let principal ask for resource
// at all, and with it whether the principal may see the resource. It evaluates
// every role, and free scopes by their conditions' other parts; role, scope,
// duration, reason and ticket of in do not matter.
func (c *Catalog) Requestable(in Input) bool {
	q, refusal := c.who(in)
	if refusal != nil {
		return false
	}
	q.in.Role, q.in.Duration, q.in.Decided = "", 0, true
	for _, role := range q.resource.Roles {
		q.scope, q.in.Scope = role.Scope, role.Scope.JSON()
		q.vars = c.facts(q.in, q.principal, q.resource, q.scope)
		if q.open() && c.decide(q).Refusal == nil {
			return true
		}
	}
	if !q.resource.FreeScope {
		return false
	}
	q.scope, q.in.Scope = nil, nil
	q.vars = c.facts(q.in, q.principal, q.resource, nil)
	return q.open(cel.AttributePattern("scope")) && c.decide(q).Refusal == nil
}

// Outlook decides like Evaluate where the target is not looked at: what depends on
// what access would really reach is left open, and does not refuse. It says what
// may come of asking, and gives nothing.
func (c *Catalog) Outlook(in Input) Decision {
	in.Effective = nil
	q, refusal := c.ask(in)
	if refusal != nil {
		return refused(refusal)
	}
	q.open() // where that fails, what is not known refuses
	return c.decide(q)
}

// open leaves variables of the conditions open, and what the target would tell
// with them.
func (q *question) open(more ...*cel.AttributePatternType) bool {
	vars, err := cel.PartialVars(q.vars, append(more, cel.AttributePattern("effective"))...)
	if err != nil {
		return false
	}
	q.vars = vars
	return true
}

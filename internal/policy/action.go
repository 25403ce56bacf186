package policy

import "sync"

// Actions is a Kind of whose resources other programs may ask about one action
// at a time (AuthZEN, forward-auth). What an action is belongs to the kind, as
// its scopes do: an action is the scope that allows it and nothing else.
type Actions interface {
	Kind
	// Action returns that scope. property describes the action further: an
	// HTTP path; it is "" for what was not said. An error means that no scope
	// can allow such an action, and says why.
	Action(name string, property func(string) string) (Scope, error)
}

// Narrowest returns the role of r that covers action and as little else as
// possible.
func (r *Resource) Narrowest(action Scope) (Role, bool) {
	var best Role
	for _, role := range r.Roles {
		if role.Scope.Covers(action) && (best.Scope == nil || best.Scope.Covers(role.Scope) && !role.Scope.Covers(best.Scope)) {
			best = role
		}
	}
	return best, best.Scope != nil
}

// parsedMax bounds the scopes of one kind that are kept parsed.
const parsedMax = 4096

// Parsed keeps scopes as their kinds have parsed them: a check compares one at
// each use of a grant, and many grants have few different scopes. It is safe
// for concurrent use; the zero Parsed is empty.
type Parsed struct {
	mu  sync.RWMutex
	all map[string]map[string]Scope // by the name of the kind, then as JSON
}

// Scope returns a canonical scope of kind k, parsed.
func (p *Parsed) Scope(k Kind, raw []byte) (Scope, error) {
	p.mu.RLock()
	s, ok := p.all[k.Name()][string(raw)]
	p.mu.RUnlock()
	if ok {
		return s, nil
	}
	s, err := k.ParseScope(raw)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all == nil {
		p.all = map[string]map[string]Scope{}
	}
	of := p.all[k.Name()]
	if of == nil || len(of) >= parsedMax {
		of = map[string]Scope{}
		p.all[k.Name()] = of
	}
	of[string(raw)] = s
	return s, nil
}

// Package policy turns a catalog (principals, groups, resources, guardrails
// and rules, CONTRACT §4) into decisions: who may ask for what, for how long,
// and who must agree. It is pure: a Catalog is immutable once parsed, and the
// same input always gets the same decision.
//
// It refuses to know requests in flight, stores, clocks and credentials; what
// a scope means belongs to the kinds, which it knows through Kind alone.
package policy

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/daypass/daypass/internal/access"
	"github.com/daypass/daypass/internal/config"
	"github.com/goccy/go-yaml/ast"
)

// Kind is what policy must know of one kind of resource.
type Kind interface {
	// Name is the word in the catalog: "http".
	Name() string
	// ParseScope decodes strictly (unknown fields are errors), checks and
	// canonicalises (sorted, duplicates removed) one scope given as JSON.
	ParseScope(raw []byte) (Scope, error)
	// ScopeType is the struct type whose fields CEL sees as `scope`, by the
	// names of their `cel` tags.
	ScopeType() reflect.Type
	// ParseConfig decodes the kind's own block of a resource (the node under
	// the key Name()) strictly. A nil node means that the block is missing.
	ParseConfig(node ast.Node) (Config, error)
}

// Scope is one canonical scope of some kind.
type Scope interface {
	// JSON is the canonical form (RFC 8785).
	JSON() json.RawMessage
	// Covers reports whether every operation that other allows is allowed by
	// this scope. It is a partial order, and never true across kinds.
	Covers(other Scope) bool
	// CEL returns a value of Kind.ScopeType.
	CEL() any
}

// Config is a resource's own block as its kind understands it.
type Config interface {
	// Upstream identifies where the resource really is. When it changes, the
	// grants of the resource end.
	Upstream() string
}

// Fitting is a Config that knows which scopes make sense on its resource. Those
// of roles must, and nobody may ask for another one.
type Fitting interface {
	Config
	// Fits says in a sentence without its full stop what of s the resource does
	// not have.
	Fits(s Scope) error
}

// Principal is a user, a service or an agent.
type Principal struct {
	ID          string   // user:…, service:…, agent:…
	Groups      []string // as listed; Catalog.Groups has the closure
	Owner       string
	Person      string // the account that stands for the same person
	Email       string
	Admin       bool
	Auditor     bool
	Disabled    bool      // by itself, or because its owner or person is
	DisabledBy  string    // the principal that is disabled: itself, its owner or its person; empty when enabled
	TokenSHA256 string    // hex, lower case
	OIDC        []Subject // who logs in as it
	Attributes  map[string]string
}

// Subject is somebody as an identity provider knows them. Issuer and subject
// together are the identity; a name or a mail address never is.
type Subject struct {
	Issuer  string
	Subject string
}

// Kind returns "user", "service" or "agent".
func (p *Principal) Kind() string { return kindOf(p.ID) }

// Role is a named scope of one resource.
type Role struct {
	Name  string
	Scope Scope
}

// Resource is a thing that is guarded.
type Resource struct {
	ID         string
	Kind       Kind
	Labels     map[string]string
	Owners     []string
	Roles      []Role // by name
	FreeScope  bool
	JWT        bool // JWT credentials may be issued (default true)
	Disabled   bool
	Introspect []string // principals that may introspect its tokens
	Config     Config
}

// Input is all that a decision rests on. It is stored with each request, so
// that the decision can be replayed.
type Input struct {
	Principal string          `json:"principal"`
	Groups    []string        `json:"groups"` // the closure when it was asked
	Resource  string          `json:"resource"`
	Role      string          `json:"role,omitempty"`
	Scope     json.RawMessage `json:"scope"`
	Duration  time.Duration   `json:"duration"`
	StartsAt  time.Time       `json:"starts_at"`
	Now       time.Time       `json:"now"`
	Reason    string          `json:"reason,omitempty"`
	Ticket    string          `json:"ticket,omitempty"`
	Client    string          `json:"client,omitempty"`
	// Effective is what was found that it would really reach, as the kind has
	// it (Previewing); nil where nothing was found.
	Effective json.RawMessage `json:"effective,omitempty"`
	// BreakGlass asks for access first, where the rule that decides allows it.
	BreakGlass bool `json:"break_glass,omitempty"`
	// Decided says that reason and ticket were already checked when the
	// request was made (their text may be erased since); guardrails do not
	// look at them again.
	Decided bool `json:"decided,omitempty"`
}

// Decision is what the catalog says of an Input.
type Decision struct {
	Terms       access.Terms
	Refusal     *Refusal // nil when it may be requested
	Explanation string   // one sentence that a person understands, also of a refusal
	// BreakGlass is what the rule that decides allows in an emergency, whether
	// or not it was asked for; nil when nothing, or nobody could be told of it.
	BreakGlass *access.BreakGlass
}

// Verdict returns d as the domain takes it.
func (d Decision) Verdict() *access.Verdict {
	if d.Refusal != nil {
		return &access.Verdict{Refusal: d.Refusal.Message}
	}
	return &access.Verdict{Terms: d.Terms}
}

// Refusal says why something is not requestable.
type Refusal struct {
	Code      string // not_requestable or denied_by_guardrail
	Field     string // reason, ticket or duration, where one is to blame
	Guardrail string
	Message   string        // a sentence that says what to do next
	Longest   time.Duration // of a duration to blame: what would be allowed
}

// Problem is one thing wrong with a catalog file. Line and Column start at 1.
type Problem struct {
	Line, Column int
	Message      string
}

// Problems is the error of Parse: everything that was found, in file order.
type Problems []Problem //nolint:errname // the word of the API

// Error returns a line "line:column: message" for each problem.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, one := range p {
		lines[i] = fmt.Sprintf("%d:%d: %s", one.Line, one.Column, one.Message)
	}
	return strings.Join(lines, "\n")
}

func problemsOf(errs config.Errors) Problems {
	out := make(Problems, 0, len(errs))
	for _, e := range errs {
		out = append(out, Problem{Line: max(e.Line, 1), Column: max(e.Column, 1), Message: e.Message})
	}
	return out
}

func kindOf(id string) string {
	for i := range id {
		if id[i] == ':' {
			return id[:i]
		}
	}
	return ""
}

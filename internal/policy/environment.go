package policy

import (
	"fmt"
	"maps"
	"path"
	"reflect"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/ext"

	_ "time/tzdata" // cel-go looks zones up by name, and a container may have none
)

// The variables of a condition. A field's type is checked when the catalog is.
type (
	celPrincipal struct {
		ID         string            `cel:"id"`
		Kind       string            `cel:"kind"`
		Groups     []string          `cel:"groups"`
		Owner      string            `cel:"owner"`
		Attributes map[string]string `cel:"attributes"`
	}
	celResource struct {
		ID     string            `cel:"id"`
		Kind   string            `cel:"kind"`
		Labels map[string]string `cel:"labels"`
		Owners []string          `cel:"owners"`
	}
	celRequest struct {
		Duration time.Duration `cel:"duration"`
		StartsAt time.Time     `cel:"starts_at"`
	}
	// celUnverified is what the requester wrote. Nothing else in a condition is
	// under their control but what they ask for (A18).
	celUnverified struct {
		Reason string `cel:"reason"`
		Ticket string `cel:"ticket"`
		Client string `cel:"client"`
	}
)

// Limits of one condition. They are counts, not times, so that the same input
// always gets the same decision, also on a busy machine.
const (
	maxExpression = 8192    // characters
	maxRecursion  = 64      // nested parentheses, lists …
	maxNodes      = 2000    // of the parsed expression
	maxCost       = 50_000  // cel-go's units, about 6 ms
	maxMemory     = 8 << 20 // bytes that an evaluation makes
)

// environments are the typed worlds in which conditions are compiled: one
// without scope, and one for each kind.
type environments struct {
	base  *cel.Env
	kinds map[string]*cel.Env
}

func newEnvironments(kinds []Kind) (*environments, error) {
	base, err := cel.NewEnv(
		ext.NativeTypes(
			reflect.TypeFor[celPrincipal](), reflect.TypeFor[celResource](),
			reflect.TypeFor[celRequest](), reflect.TypeFor[celUnverified](),
			ext.ParseStructTags(true),
		),
		cel.Variable("principal", nativeType(reflect.TypeFor[celPrincipal]())),
		cel.Variable("resource", nativeType(reflect.TypeFor[celResource]())),
		cel.Variable("request", nativeType(reflect.TypeFor[celRequest]())),
		cel.Variable("unverified", nativeType(reflect.TypeFor[celUnverified]())),
		cel.Variable("now", cel.TimestampType),
		cel.DefaultUTCTimeZone(true),
		cel.EnableMacroCallTracking(), // so that a part of a condition can be written as it was
		cel.ParserRecursionLimit(maxRecursion),
		cel.ParserExpressionSizeLimit(maxExpression),
		cel.ExpressionNodeLimit(maxNodes),
		cel.ASTValidators(
			cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals(), cel.ValidateRegexLiterals(),
			cel.ValidateHomogeneousAggregateLiterals(), cel.ValidateComprehensionNestingLimit(3),
		),
	)
	if err != nil {
		return nil, fmt.Errorf("building the language of conditions: %w", err)
	}
	out := &environments{base: base, kinds: make(map[string]*cel.Env, len(kinds))}
	for _, kind := range kinds {
		scope := kind.ScopeType()
		types, variables := []any{scope}, []cel.EnvOption{cel.Variable("scope", nativeType(scope))}
		if p, ok := kind.(Previewing); ok {
			types = append(types, p.EffectiveType())
			variables = append(variables, cel.Variable("effective", nativeType(p.EffectiveType())))
		}
		types = append(types, ext.ParseStructTags(true))
		if out.kinds[kind.Name()], err = base.Extend(append(variables, ext.NativeTypes(types...))...); err != nil {
			return nil, fmt.Errorf("building the language of conditions on %s: %w", kind.Name(), err)
		}
	}
	return out, nil
}

// nativeType is the name that ext.NativeTypes gives t: the last element of its
// package's path, which need not be the package's name, and its own.
func nativeType(t reflect.Type) *cel.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return cel.ObjectType(path.Base(t.PkgPath()) + "." + t.Name())
}

// facts are the values of all variables for one decision.
func (c *Catalog) facts(in Input, p *Principal, r *Resource, scope Scope) map[string]any {
	vars := map[string]any{
		"principal": celPrincipal{
			ID: p.ID, Kind: p.Kind(), Groups: append([]string{}, in.Groups...), Owner: p.Owner, Attributes: present(p.Attributes),
		},
		"resource": celResource{
			ID: r.ID, Kind: r.Kind.Name(), Labels: present(r.Labels), Owners: append([]string{}, r.Owners...),
		},
		"request":    celRequest{Duration: in.Duration, StartsAt: in.StartsAt.UTC()},
		"unverified": celUnverified{Reason: in.Reason, Ticket: in.Ticket, Client: in.Client},
		"now":        in.Now.UTC(),
	}
	if scope != nil {
		vars["scope"] = scope.CEL()
	}
	if in.Effective != nil {
		if effective, err := effectiveOf(r.Kind, in.Effective, false); err == nil {
			vars["effective"] = effective
		}
	}
	return vars
}

func present(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return maps.Clone(m)
}

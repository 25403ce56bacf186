package workload

import (
	"errors"
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"

	"github.com/daypass/daypass/internal/config"
)

// Limits of one condition, as of those of a catalog: counts and not times.
const (
	maxExpression = 8192
	maxRecursion  = 64
	maxNodes      = 2000
	maxCost       = 50_000
	maxMemory     = 8 << 20
)

// rule is one mapping, compiled.
type rule struct {
	config.WorkloadRule
	program cel.Program
}

// environment is the language of conditions: one variable, the claims. What a
// claim is, is known only when a token comes: one that is missing, or of
// another type, is an error then, and an error refuses.
func environment() (*cel.Env, error) {
	env, err := cel.NewEnv(
		cel.Variable("claims", cel.MapType(cel.StringType, cel.DynType)),
		cel.ParserRecursionLimit(maxRecursion),
		cel.ParserExpressionSizeLimit(maxExpression),
		cel.ExpressionNodeLimit(maxNodes),
		cel.ASTValidators(
			cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals(), cel.ValidateRegexLiterals(),
			cel.ValidateComprehensionNestingLimit(3),
		),
	)
	if err != nil {
		return nil, fmt.Errorf("building the language of workload rules: %w", err)
	}
	return env, nil
}

// fault is what is wrong with a condition, at a place in its text.
type fault struct {
	line, column int // from 1, and from 0, as config.Inside takes them
	message      string
}

func (f fault) Error() string { return f.message }

// compile makes a condition's program. Its error is a fault.
func compile(env *cel.Env, when string) (cel.Program, *cel.Ast, error) {
	checked, issues := env.Compile(when)
	if issues.Err() != nil {
		e := issues.Errors()[0]
		message, _, _ := strings.Cut(e.Message, " expecting {") // the parser lists half its grammar
		return nil, nil, fault{e.Location.Line(), max(e.Location.Column(), 0), message}
	}
	if out := checked.OutputType(); !out.IsExactType(cel.BoolType) {
		return nil, nil, fault{1, 0, fmt.Sprintf("is %s, and must be true or false: compare the claim with something", cel.FormatCELType(out))}
	}
	program, err := env.Program(checked, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(maxCost), cel.MemoryLimit(maxMemory))
	if err != nil {
		return nil, nil, fault{1, 0, err.Error()}
	}
	return program, checked, nil
}

// match returns the first rule whose condition holds. One that cannot be
// evaluated refuses, and no later one is tried: it might have been the one that
// keeps this token out (ARCHITECTURE, rule 7).
func (is *issuer) match(claims map[string]any) (*rule, error) {
	for i := range is.rules {
		r := &is.rules[i]
		holds, err := r.holds(claims)
		if err != nil {
			return nil, &Refusal{Why: "a rule could not be evaluated", More: fmt.Sprintf("%q: %s (use has(claims.x) for a claim that need not be there)", r.Name, clip(err.Error()))}
		}
		if holds {
			return r, nil
		}
	}
	return nil, refuse("no rule matches")
}

func (r *rule) holds(claims map[string]any) (holds bool, err error) {
	defer func() {
		if recover() != nil {
			holds, err = false, errors.New("it panicked")
		}
	}()
	out, _, err := r.program.Eval(map[string]any{"claims": claims})
	if err != nil {
		return false, err
	}
	answer, ok := out.(types.Bool)
	if !ok {
		return false, errors.New("it is neither true nor false")
	}
	return bool(answer), nil
}

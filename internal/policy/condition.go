package policy

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"github.com/daypass/daypass/internal/config"
)

// condition is a compiled `when`. A nil condition always holds.
type condition struct {
	program cel.Program
	reads   []read
	target  bool // it reads what access would really reach
	checked *cel.Ast
	env     *cel.Env
}

// read is one key of labels or attributes that a condition cannot do without.
type read struct{ of, key string }

// truth is what a condition says.
type truth int

const (
	no truth = iota
	yes
	unknown // depends on a scope that is not known
)

var errCondition = errors.New("the condition could not be evaluated")

// condition compiles when in the world of kind, and reports what is wrong with
// it where it stands.
func (k *checker) condition(when text, kind string) *condition {
	env := k.envs.base
	if kind != "" {
		env = k.envs.kinds[kind]
	}
	if env == nil {
		return nil
	}
	checked, issues := env.Compile(when.Value)
	if issues.Err() != nil {
		for _, e := range issues.Errors() {
			line, column := config.Inside(when.Node, e.Location.Line(), max(e.Location.Column(), 0))
			k.errs = append(k.errs, config.Error{Line: line, Column: column, Message: "condition: " + explainIssue(e.Message, kind)})
		}
		return nil
	}
	if !checked.OutputType().IsExactType(cel.BoolType) {
		k.fault(when.Node, "condition: is %s, and must be true or false", cel.FormatCELType(checked.OutputType()))
		return nil
	}
	if estimate, err := env.EstimateCost(checked, unsized{}); err != nil || estimate.Min > maxCost {
		k.fault(when.Node, "condition: costs too much to evaluate")
		return nil
	}
	if err := checkZones(checked); err != nil {
		k.fault(when.Node, "condition: %s", err)
		return nil
	}
	program, err := env.Program(checked,
		cel.EvalOptions(cel.OptOptimize, cel.OptPartialEval),
		cel.CostLimit(maxCost), cel.MemoryLimit(maxMemory),
	)
	if err != nil {
		k.fault(when.Node, "condition: %s", err)
		return nil
	}
	return &condition{program: program, reads: readsOf(checked), target: mentions(checked, "effective"), checked: checked, env: env}
}

func explainIssue(message, kind string) string {
	if kind == "" && strings.Contains(message, "undeclared reference to 'scope'") {
		return "scope is known only in an entry that names its kind: add kind: …"
	}
	if strings.Contains(message, "undeclared reference to 'effective'") {
		return "effective is known only in an entry of a kind that looks into its targets: add kind: postgres"
	}
	message, _, _ = strings.Cut(message, " expecting {") // the parser lists half its grammar
	return message
}

// unsized leaves every size to the estimator's own bounds.
type unsized struct{}

// EstimateSize implements cost.Estimator.
func (unsized) EstimateSize(cost.AstNode) *cost.SizeEstimate { return nil }

// EstimateCallCost implements cost.Estimator.
func (unsized) EstimateCallCost(string, string, *cost.AstNode, []cost.AstNode) *cost.CallEstimate {
	return nil
}

// eval evaluates the condition. An error, an overrun and whatever is not true
// or false is an error; it never panics.
func (c *condition) eval(vars any) (t truth, err error) {
	if c == nil {
		return yes, nil
	}
	defer func() {
		if recover() != nil {
			t, err = no, errCondition
		}
	}()
	out, _, err := c.program.Eval(vars)
	if err != nil {
		return no, err
	}
	switch out := out.(type) {
	case types.Bool:
		if out {
			return yes, nil
		}
		return no, nil
	case *types.Unknown:
		return unknown, nil
	}
	return no, errCondition
}

// explain says why a condition failed on q, in words of the catalog.
func (c *condition) explain(what string, err error, q question) string {
	p, r := q.principal, q.resource
	if c.target && q.in.Effective == nil {
		return fmt.Sprintf("%s reads effective, and what this access would really reach is not known: it is found when a request is made", what)
	}
	for _, read := range c.reads {
		of, have := r.ID, r.Labels
		if read.of == "principal.attributes" {
			of, have = p.ID, p.Attributes
		}
		if _, ok := have[read.key]; ok {
			continue
		}
		word := "label"
		if read.of == "principal.attributes" {
			word = "attribute"
		}
		return fmt.Sprintf("%s reads the %s %s, which %s does not have: add it, or use has(%s.%s) in the condition", what, word, read.key, of, read.of, read.key)
	}
	return fmt.Sprintf("the condition of %s could not be evaluated (%s): tell an administrator", what, clip(strings.Join(strings.Fields(err.Error()), " ")))
}

// mentions reports whether a condition reads a variable.
func mentions(checked *cel.Ast, variable string) bool {
	found := false
	celast.PreOrderVisit(checked.NativeRep().Expr(), celast.NewExprVisitor(func(e celast.Expr) {
		found = found || e.Kind() == celast.IdentKind && e.AsIdent() == variable
	}))
	return found
}

// readsOf lists resource.labels.x and principal.attributes.x, written either
// way, that are not inside has().
func readsOf(checked *cel.Ast) []read {
	var out []read
	add := func(operand celast.Expr, key string) {
		if operand.Kind() != celast.SelectKind {
			return
		}
		of := operand.AsSelect()
		if of.Operand().Kind() != celast.IdentKind {
			return
		}
		switch name := of.Operand().AsIdent() + "." + of.FieldName(); name {
		case "resource.labels", "principal.attributes":
			out = append(out, read{of: name, key: key})
		}
	}
	celast.PreOrderVisit(checked.NativeRep().Expr(), celast.NewExprVisitor(func(e celast.Expr) {
		switch e.Kind() {
		case celast.SelectKind:
			if s := e.AsSelect(); !s.IsTestOnly() {
				add(s.Operand(), s.FieldName())
			}
		case celast.CallKind:
			if call := e.AsCall(); call.FunctionName() == operators.Index && len(call.Args()) == 2 && call.Args()[1].Kind() == celast.LiteralKind {
				if key, ok := call.Args()[1].AsLiteral().(types.String); ok {
					add(call.Args()[0], string(key))
				}
			}
		}
	}))
	return out
}

// checkZones refuses an unknown time zone, which CEL would find only when it
// evaluates.
func checkZones(checked *cel.Ast) error {
	var bad error
	celast.PreOrderVisit(checked.NativeRep().Expr(), celast.NewExprVisitor(func(e celast.Expr) {
		if e.Kind() != celast.CallKind {
			return
		}
		call := e.AsCall()
		if !call.IsMemberFunction() || !strings.HasPrefix(call.FunctionName(), "get") || len(call.Args()) != 1 || call.Args()[0].Kind() != celast.LiteralKind {
			return
		}
		zone, ok := call.Args()[0].AsLiteral().(types.String)
		if !ok || strings.Contains(string(zone), ":") {
			return // an offset, such as +02:00
		}
		if _, err := time.LoadLocation(string(zone)); err != nil || zone == "" || zone == "Local" {
			bad = fmt.Errorf("the time zone %q is unknown: write a name such as Europe/Berlin, or UTC", clip(string(zone)))
		}
	}))
	return bad
}

package policy

import (
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"
)

// Part is one sub-expression of a condition with the value that it had.
type Part struct {
	Depth     int
	Text      string
	Value     string
	Evaluated bool // false: it was not needed, because another part decided
}

// Bounds of what is shown of one condition.
const (
	maxParts = 100
	maxValue = 200
)

// parts evaluates the condition once more, keeping the value of each part.
func (c *condition) parts(vars any) (out []Part) {
	if c == nil {
		return nil
	}
	defer func() {
		if recover() != nil {
			out = nil
		}
	}()
	program, err := c.env.Program(c.checked, cel.EvalOptions(cel.OptTrackState), cel.CostLimit(maxCost), cel.MemoryLimit(maxMemory))
	if err != nil {
		return nil
	}
	_, details, _ := program.Eval(vars) // an error is the value of the part that has it
	if details == nil || details.State() == nil {
		return nil
	}
	s := shown{state: details.State(), info: c.checked.NativeRep().SourceInfo()}
	s.show(c.checked.NativeRep().Expr(), 0)
	return s.parts
}

// shown collects the parts of one evaluation.
type shown struct {
	state interpreter.EvalState
	info  *ast.SourceInfo
	parts []Part
}

// show adds e and, below it, what decides it.
func (s *shown) show(e ast.Expr, depth int) {
	if len(s.parts) >= maxParts {
		return
	}
	text, err := cel.ExprToString(e, s.info)
	if err != nil {
		return
	}
	part := Part{Depth: depth, Text: strings.ReplaceAll(text, "\n", " ")} // it breaks long lines
	if value, ok := s.state.Value(e.ID()); ok {
		part.Evaluated, part.Value = true, valueText(value)
	}
	s.parts = append(s.parts, part)
	if _, macro := s.info.GetMacroCall(e.ID()); macro || e.Kind() != ast.CallKind || !part.Evaluated {
		return
	}
	for _, operand := range operands(e) {
		if operand.Kind() != ast.LiteralKind && operand.Kind() != ast.ListKind {
			s.show(operand, depth+1)
		}
	}
}

// operands are what e is made of; a chain of one logical operator is one thing.
func operands(e ast.Expr) []ast.Expr {
	call := e.AsCall()
	if name := call.FunctionName(); name == operators.LogicalAnd || name == operators.LogicalOr {
		var out []ast.Expr
		for _, arg := range call.Args() {
			if arg.Kind() == ast.CallKind && arg.AsCall().FunctionName() == name {
				out = append(out, operands(arg)...)
				continue
			}
			out = append(out, arg)
		}
		return out
	}
	if call.IsMemberFunction() {
		return append([]ast.Expr{call.Target()}, call.Args()...)
	}
	return call.Args()
}

func valueText(v ref.Val) string {
	if err, ok := v.(*types.Err); ok {
		return "error: " + clipTo(err.Error(), maxValue)
	}
	return clipTo(types.Format(v), maxValue)
}

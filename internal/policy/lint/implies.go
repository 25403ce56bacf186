package lint

import (
	"slices"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"

	"github.com/daypass/daypass/internal/policy"
)

// shape is a condition taken apart: of parts all must hold, and each part holds
// when one of its texts does.
type shape struct {
	always bool
	parts  []part
}

type part struct {
	texts  []string
	bounds []bound
}

func shapeOf(w policy.When) shape {
	s := shape{always: w.AST == nil || w.Constant() == policy.Yes}
	if w.AST == nil {
		return s
	}
	for _, need := range flat(w.AST.NativeRep().Expr(), operators.LogicalAnd) {
		var p part
		for _, either := range flat(need, operators.LogicalOr) {
			text, err := cel.ExprToString(either, w.AST.NativeRep().SourceInfo())
			if err != nil {
				text = "" // equal to nothing
			}
			p.texts = append(p.texts, text)
			if b, ok := boundOf(either); ok {
				p.bounds = append(p.bounds, b)
			}
		}
		s.parts = append(s.parts, p)
	}
	return s
}

// implies reports whether b is true whenever a is, by their form alone: every
// part of b is one of a's, or weaker than one. It holds in any catalog and at
// any time. False says nothing.
func implies(a, b shape) bool {
	if b.always {
		return true
	}
	for _, need := range b.parts {
		if !slices.ContainsFunc(a.parts, func(have part) bool { return have.implies(need) }) {
			return false
		}
	}
	return true
}

// implies reports whether each of a's alternatives is one of b's, or tighter.
func (a part) implies(b part) bool {
	for _, text := range a.texts {
		if text != "" && slices.Contains(b.texts, text) {
			continue
		}
		if len(a.texts) == 1 && len(a.bounds) == 1 && slices.ContainsFunc(b.bounds, a.bounds[0].tighter) {
			continue
		}
		return false
	}
	return true
}

// tighter reports whether a bound on the duration implies another:
// request.duration <= 10m implies request.duration < 1h.
func (b bound) tighter(than bound) bool {
	if b.above != than.above {
		return false
	}
	if b.at == than.at {
		return b.strict || !than.strict
	}
	return b.at < than.at != b.above
}

// bound is request.duration compared with a constant.
type bound struct {
	above, strict bool
	at            time.Duration
}

func boundOf(e ast.Expr) (bound, bool) {
	if e.Kind() != ast.CallKind || len(e.AsCall().Args()) != 2 {
		return bound{}, false
	}
	var b bound
	switch e.AsCall().FunctionName() {
	case operators.Less:
		b.strict = true
	case operators.LessEquals:
	case operators.Greater:
		b.above, b.strict = true, true
	case operators.GreaterEquals:
		b.above = true
	default:
		return bound{}, false
	}
	left, right := e.AsCall().Args()[0], e.AsCall().Args()[1]
	if selects(right, "request", "duration") {
		left, right, b.above = right, left, !b.above
	}
	if !selects(left, "request", "duration") || right.Kind() != ast.CallKind || right.AsCall().FunctionName() != "duration" || len(right.AsCall().Args()) != 1 {
		return bound{}, false
	}
	s, ok := text(right.AsCall().Args()[0])
	if !ok {
		return bound{}, false
	}
	d := types.String(s).ConvertToType(types.DurationType)
	value, ok := d.(types.Duration)
	b.at = value.Duration
	return b, ok
}

package lint

import (
	"strings"
	"time"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"

	"github.com/daypass/daypass/internal/policy"
)

// conditions looks at each condition by itself.
func (l *linter) conditions() {
	for _, g := range l.guardrails {
		at := l.c.Place("guardrail", g.Name, "when")
		l.constant(at, g.When, "guardrail "+quoted(g.Name), "leave when out")
		l.zones(at, g.When)
	}
	for _, r := range l.rules {
		at := l.c.Place("rule", r.Name, "when")
		l.constant(at, r.When, "rule "+quoted(r.Name), `write when: "true" if it is meant for everything`)
		l.zones(at, r.When)
		if r.Auto && reads(r.When, "unverified") {
			l.warn(at, "auto-on-claims", "decide on what the catalog knows of principal and resource, or ask people",
				"rule %s approves by itself on words of the requester (unverified): anybody can write what it looks for", quoted(r.Name))
		}
	}
}

// constant finds conditions that look at nothing.
func (l *linter) constant(at policy.Place, w policy.When, what, fix string) {
	text := strings.TrimSpace(w.Text)
	switch w.Constant() {
	case policy.Yes:
		if w.AST != nil && text != "true" {
			l.warn(at, "condition-true", fix, "the condition of %s is always true", what)
		}
	case policy.No:
		l.warn(at, "condition-false", "remove it, or mend the condition", "the condition of %s is never true", what)
	case policy.Fails:
		l.warn(at, "condition-fails", "mend the condition: what cannot be evaluated refuses", "the condition of %s can never be evaluated, so it refuses every request that reaches it", what)
	}
}

// zones finds time zones that CEL would look up only when it evaluates.
func (l *linter) zones(at policy.Place, w policy.When) {
	visit(w, func(e ast.Expr) {
		if e.Kind() != ast.CallKind {
			return
		}
		call := e.AsCall()
		if !call.IsMemberFunction() || !strings.HasPrefix(call.FunctionName(), "get") || len(call.Args()) != 1 || call.Args()[0].Kind() == ast.LiteralKind {
			return
		}
		label, ok := labelOf(call.Args()[0])
		if !ok {
			l.add(Finding{Place: at, Code: "zone-unknown", Severity: Warning, Suspected: true,
				Message: "a time zone is computed: whether it exists is known only when a request is decided, and one that does not refuses",
				Fix:     "write a name such as Europe/Berlin, or keep it in a label"})
			return
		}
		for _, r := range l.c.Resources() {
			zone, ok := r.Labels[label]
			if !ok || r.Disabled || strings.Contains(zone, ":") {
				continue
			}
			if _, err := time.LoadLocation(zone); err != nil || zone == "" || zone == "Local" {
				l.warn(l.c.Place("resource", r.ID), "zone-unknown", "give a name such as Europe/Berlin, or UTC",
					"the label %s of %s is read as a time zone, and %s is none: conditions that read it refuse", label, r.ID, quoted(zone))
			}
		}
	})
}

// labelOf is the key of resource.labels that e reads.
func labelOf(e ast.Expr) (string, bool) { return keyOf(e, "resource", "labels") }

func keyOf(e ast.Expr, variable, field string) (string, bool) {
	var of ast.Expr
	var key string
	switch e.Kind() {
	case ast.SelectKind:
		of, key = e.AsSelect().Operand(), e.AsSelect().FieldName()
	case ast.CallKind:
		call := e.AsCall()
		if call.FunctionName() != operators.Index || len(call.Args()) != 2 {
			return "", false
		}
		var ok bool
		if key, ok = text(call.Args()[1]); !ok {
			return "", false
		}
		of = call.Args()[0]
	default:
		return "", false
	}
	return key, selects(of, variable, field)
}

// selects reports whether e is variable.field.
func selects(e ast.Expr, variable, field string) bool {
	return e.Kind() == ast.SelectKind && !e.AsSelect().IsTestOnly() && e.AsSelect().FieldName() == field &&
		e.AsSelect().Operand().Kind() == ast.IdentKind && e.AsSelect().Operand().AsIdent() == variable
}

func text(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	s, ok := e.AsLiteral().(types.String)
	return string(s), ok
}

// reads reports whether a condition mentions a variable.
func reads(w policy.When, variable string) bool {
	found := false
	visit(w, func(e ast.Expr) { found = found || e.Kind() == ast.IdentKind && e.AsIdent() == variable })
	return found
}

func visit(w policy.When, f func(ast.Expr)) {
	if w.AST != nil {
		ast.PreOrderVisit(w.AST.NativeRep().Expr(), ast.NewExprVisitor(f))
	}
}

// flat takes a chain of one operator apart.
func flat(e ast.Expr, operator string) []ast.Expr {
	if e.Kind() != ast.CallKind || e.AsCall().FunctionName() != operator {
		return []ast.Expr{e}
	}
	var out []ast.Expr
	for _, arg := range e.AsCall().Args() {
		out = append(out, flat(arg, operator)...)
	}
	return out
}

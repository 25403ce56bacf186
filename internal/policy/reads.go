package policy

import (
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// aspects are all that a condition can see of a request: two requests that
// agree in every aspect get the same truth. Where it is not plain what of a
// principal or resource is read, all of it counts as read.
type aspects struct {
	principal map[string]func(c *Catalog, p *Principal) string
	resource  map[string]func(r *Resource) string
	scope     bool
	moment    bool // request and now
	words     bool // unverified
}

func aspectsOf(c *condition) *aspects {
	a := &aspects{principal: map[string]func(*Catalog, *Principal) string{}, resource: map[string]func(*Resource) string{}}
	if c != nil {
		a.walk(c.checked.NativeRep().Expr())
	}
	return a
}

func (a *aspects) walk(e ast.Expr) {
	switch e.Kind() {
	case ast.IdentKind:
		a.whole(e.AsIdent())
	case ast.SelectKind:
		if !a.selected(e.AsSelect().Operand(), e.AsSelect().FieldName()) {
			a.walk(e.AsSelect().Operand())
		}
	case ast.CallKind:
		a.call(e.AsCall())
	case ast.ListKind:
		for _, one := range e.AsList().Elements() {
			a.walk(one)
		}
	case ast.MapKind:
		for _, entry := range e.AsMap().Entries() {
			a.walk(entry.AsMapEntry().Key())
			a.walk(entry.AsMapEntry().Value())
		}
	case ast.StructKind:
		for _, field := range e.AsStruct().Fields() {
			a.walk(field.AsStructField().Value())
		}
	case ast.ComprehensionKind:
		fold := e.AsComprehension()
		for _, part := range []ast.Expr{fold.IterRange(), fold.AccuInit(), fold.LoopCondition(), fold.LoopStep(), fold.Result()} {
			a.walk(part)
		}
	case ast.LiteralKind, ast.UnspecifiedExprKind:
	}
}

// call takes the comparisons apart of which only the outcome can be seen, and
// keys written as an index.
func (a *aspects) call(call ast.CallExpr) {
	args := call.Args()
	if len(args) == 2 {
		switch call.FunctionName() {
		case operators.In:
			if group, ok := literal(args[0]); ok && fieldOf(args[1], "principal") == "groups" {
				a.principal["in "+group] = func(c *Catalog, p *Principal) string { return strconv.FormatBool(c.memberOf[p.ID][group]) }
				return
			}
			if ids, ok := literals(args[1]); ok && a.oneOf(args[0], ids) {
				return
			}
		case operators.Equals, operators.NotEquals:
			for i, side := range args {
				if id, ok := literal(args[1-i]); ok && a.oneOf(side, []string{id}) {
					return
				}
			}
		case operators.Index:
			if key, ok := literal(args[1]); ok && a.selected(args[0], key) {
				return
			}
		}
	}
	if call.IsMemberFunction() {
		a.walk(call.Target())
	}
	for _, arg := range args {
		a.walk(arg)
	}
}

// oneOf notes that an ID is only compared with ids.
func (a *aspects) oneOf(e ast.Expr, ids []string) bool {
	only := func(id string) string {
		if slices.Contains(ids, id) {
			return id
		}
		return ""
	}
	key := "id " + strings.Join(ids, " ")
	switch {
	case fieldOf(e, "principal") == "id":
		a.principal[key] = func(_ *Catalog, p *Principal) string { return only(p.ID) }
	case fieldOf(e, "resource") == "id":
		a.resource[key] = func(r *Resource) string { return only(r.ID) }
	default:
		return false
	}
	return true
}

// selected notes a field of a variable, or a key of a map in one.
func (a *aspects) selected(of ast.Expr, field string) bool {
	keyed := func(m map[string]string) string {
		value, ok := m[field]
		return strconv.FormatBool(ok) + value
	}
	switch {
	case fieldOf(of, "principal") == "attributes":
		a.principal["attribute "+field] = func(_ *Catalog, p *Principal) string { return keyed(p.Attributes) }
	case fieldOf(of, "resource") == "labels":
		a.resource["label "+field] = func(r *Resource) string { return keyed(r.Labels) }
	case of.Kind() != ast.IdentKind:
		return false
	case of.AsIdent() == "principal" && field == "kind":
		a.principal[field] = func(_ *Catalog, p *Principal) string { return p.Kind() }
	case of.AsIdent() == "principal" && field == "groups":
		a.principal[field] = func(c *Catalog, p *Principal) string { return strings.Join(c.groupsOf[p.ID], " ") }
	case of.AsIdent() == "principal" && field == "owner":
		a.principal[field] = func(_ *Catalog, p *Principal) string { return p.Owner }
	case of.AsIdent() == "resource" && field == "kind":
		a.resource[field] = func(r *Resource) string { return r.Kind.Name() }
	case of.AsIdent() == "resource" && field == "owners":
		a.resource[field] = func(r *Resource) string { return strings.Join(r.Owners, " ") }
	default:
		return false
	}
	return true
}

// whole notes a variable of which anything may be read.
func (a *aspects) whole(name string) {
	switch name {
	case "principal":
		a.principal["*"] = func(_ *Catalog, p *Principal) string { return p.ID }
	case "resource":
		a.resource["*"] = func(r *Resource) string { return r.ID }
	case "scope":
		a.scope = true
	case "request", "now":
		a.moment = true
	case "unverified":
		a.words = true
	}
}

// fieldOf is the field that e selects of the named variable; "" for anything else.
func fieldOf(e ast.Expr, variable string) string {
	if e.Kind() != ast.SelectKind || e.AsSelect().IsTestOnly() {
		return ""
	}
	if of := e.AsSelect().Operand(); of.Kind() == ast.IdentKind && of.AsIdent() == variable {
		return e.AsSelect().FieldName()
	}
	return ""
}

func literal(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	s, ok := e.AsLiteral().(types.String)
	return string(s), ok
}

func literals(e ast.Expr) ([]string, bool) {
	if e.Kind() != ast.ListKind {
		return nil, false
	}
	out := []string{}
	for _, one := range e.AsList().Elements() {
		s, ok := literal(one)
		if !ok {
			return nil, false
		}
		out = append(out, s)
	}
	return out, true
}

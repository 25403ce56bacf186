package main

import (
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
)

// expr plants mutants in e. whole says that e itself is dealt with already, or
// must stay as it is, and only its parts are to be looked at.
func (w *walker) expr(e ast.Expr, whole bool) {
	if w.p.info.Types[e].IsType() {
		return
	}
	if w.constant(e) != nil {
		if !whole {
			w.constantExpr(e)
		}
		return
	}
	if b, ok := e.(*ast.BinaryExpr); ok && !whole && (b.Op == token.EQL || b.Op == token.NEQ) && w.plain(e) {
		w.negate(e)
	}
	w.parts(e)
}

// parts plants mutants in what e is made of, and in its operator.
func (w *walker) parts(e ast.Expr) {
	switch e := e.(type) {
	case *ast.ParenExpr:
		w.expr(e.X, false)
	case *ast.UnaryExpr:
		w.expr(e.X, e.Op == token.AND)
	case *ast.StarExpr:
		w.expr(e.X, true)
	case *ast.SelectorExpr:
		w.expr(e.X, true)
	case *ast.IndexExpr:
		w.expr(e.X, true)
		w.expr(e.Index, false)
	case *ast.SliceExpr:
		w.expr(e.X, true)
		for _, i := range []ast.Expr{e.Low, e.High, e.Max} {
			if i != nil {
				w.expr(i, false)
			}
		}
	case *ast.TypeAssertExpr:
		w.expr(e.X, true)
	case *ast.CallExpr:
		w.call(e)
	case *ast.CompositeLit:
		w.literal(e)
	case *ast.FuncLit:
		w.function(w.p.info.TypeOf(e).(*types.Signature), e.Body)
	case *ast.BinaryExpr:
		w.binary(e)
	}
}

func (w *walker) call(c *ast.CallExpr) {
	if w.p.info.Types[c.Fun].IsType() {
		w.expr(c.Args[0], false)
		return
	}
	name := ""
	if id, ok := c.Fun.(*ast.Ident); ok {
		name = id.Name
	}
	w.expr(c.Fun, true)
	for i, a := range c.Args {
		if name == "make" && i == 2 || name == "new" {
			continue // how much room is set aside is nobody's business
		}
		w.expr(a, false)
	}
}

func (w *walker) literal(l *ast.CompositeLit) {
	t := w.p.info.TypeOf(l).Underlying()
	for _, e := range l.Elts {
		kv, ok := e.(*ast.KeyValueExpr)
		if !ok {
			w.expr(e, false)
			continue
		}
		if _, isMap := t.(*types.Map); isMap {
			w.expr(kv.Key, false)
		}
		w.expr(kv.Value, false)
	}
}

// constantExpr plants another number, or the contrary of true and false.
func (w *walker) constantExpr(e ast.Expr) {
	t := w.p.info.TypeOf(e)
	switch v := w.constant(e); {
	case v.Kind() == constant.Bool && w.plain(e):
		w.negate(e)
	case numeric(t):
		if t.String() == "time.Duration" {
			if name, ok := w.p.spell(w.s, t); ok {
				w.wrapText(e, "mutantNumber_["+name+"](", w.plant(e, "a second more"), ", 1e9, (", "))")
			}
			return
		}
		if b, ok := t.(*types.Basic); ok && b.Info()&types.IsUntyped != 0 {
			return
		}
		if name, ok := w.p.spell(w.s, t); ok {
			w.wrapText(e, "mutantNumber_["+name+"](", w.plant(e, "one more"), ", 1, (", "))")
		}
	}
}

// other is what each operator of numbers becomes.
var other = map[token.Token]string{
	token.ADD: "Sub_", token.SUB: "Add_", token.MUL: "Quo_", token.QUO: "Mul_", token.REM: "MulForRem_", token.AND: "Or_", token.OR: "And_",
}

// bound is what each comparison becomes.
var bound = map[token.Token]string{token.LSS: "LssLeq_", token.LEQ: "LeqLss_", token.GTR: "GtrGeq_", token.GEQ: "GeqGtr_"}

func (w *walker) binary(b *ast.BinaryExpr) {
	switch {
	case b.Op == token.LAND || b.Op == token.LOR:
		w.connected(b)
		return
	case b.Op == token.SHL || b.Op == token.SHR:
		w.expr(b.X, true)
		w.expr(b.Y, true)
		return
	case bound[b.Op] != "" && w.ordered(b.X) && w.ordered(b.Y):
		w.operator(b, "mutant"+bound[b.Op], w.plant(b, "bound moved"))
	case other[b.Op] != "" && numeric(w.p.info.TypeOf(b)):
		if name := "mutant" + other[b.Op]; b.Op == token.REM || b.Op == token.AND || b.Op == token.OR {
			if w.integer(b) {
				w.operator(b, name, w.plant(b, "another operator"))
			}
		} else {
			w.operator(b, name, w.plant(b, "another operator"))
		}
	}
	w.expr(b.X, false)
	w.expr(b.Y, false)
}

func (w *walker) ordered(e ast.Expr) bool {
	b, ok := w.p.info.TypeOf(e).Underlying().(*types.Basic)
	return ok && b.Info()&types.IsOrdered != 0
}

func (w *walker) integer(e ast.Expr) bool {
	b, ok := w.p.info.TypeOf(e).Underlying().(*types.Basic)
	return ok && b.Info()&types.IsInteger != 0
}

// connected plants in a && b and in a || b: the other connective, by
// De Morgan, and each side left out.
func (w *walker) connected(b *ast.BinaryExpr) {
	if w.plain(b) && w.plain(b.X) && w.plain(b.Y) {
		id := w.plant(b, "&& for || or || for &&")
		w.wrap(b, "(mutant_(%d) != (", id, "))")
		w.wrap(b.X, "(mutant_(%d) != (", id, "))")
		w.wrap(b.Y, "(mutant_(%d) != (", id, "))")
		for _, side := range []ast.Expr{b.X, b.Y} {
			if w.connective(side) {
				continue // its own sides are left out
			}
			id := w.plant(side, "left out of a condition")
			if b.Op == token.LAND {
				w.wrap(side, "(mutant_(%d) || (", id, "))")
			} else {
				w.wrap(side, "(!mutant_(%d) && (", id, "))")
			}
		}
	}
	w.expr(b.X, false)
	w.expr(b.Y, false)
}

package main

import (
	"go/ast"
	"go/token"
	"go/types"
)

func (w *walker) block(list []ast.Stmt) {
	for _, s := range list {
		w.removable(s)
		w.stmt(s)
	}
}

// removable plants the removal of a statement that a block can do without.
func (w *walker) removable(s ast.Stmt) {
	switch s := s.(type) {
	case *ast.ExprStmt:
		if call, ok := s.X.(*ast.CallExpr); ok {
			if id, ok := call.Fun.(*ast.Ident); ok && id.Name == "panic" {
				return // what follows may count on it to end the function
			}
			if sel, ok := call.Fun.(*ast.SelectorExpr); ok && w.text(sel) == "failpoint.Hit" {
				return // nothing without its build tag
			}
		}
	case *ast.AssignStmt:
		if s.Tok == token.DEFINE {
			return
		}
		if id, ok := s.Lhs[0].(*ast.Ident); ok && id.Name == "_" {
			return
		}
	case *ast.IncDecStmt, *ast.DeferStmt, *ast.GoStmt, *ast.SendStmt:
	case *ast.BranchStmt:
		if s.Tok != token.CONTINUE && s.Tok != token.BREAK {
			return
		}
	default:
		return
	}
	w.wrap(s, "if !mutant_(%d) { ", w.plant(s, "left out"), " }")
}

func (w *walker) stmt(s ast.Stmt) {
	switch s := s.(type) {
	case *ast.BlockStmt:
		w.block(s.List)
	case *ast.ExprStmt:
		w.expr(s.X, false)
	case *ast.AssignStmt:
		for _, e := range s.Rhs {
			w.expr(e, false)
		}
		for _, e := range s.Lhs {
			if i, ok := e.(*ast.IndexExpr); ok {
				w.expr(i.Index, false)
			}
		}
	case *ast.DeclStmt:
		w.local(s)
	case *ast.DeferStmt:
		w.call(s.Call)
	case *ast.GoStmt:
		w.call(s.Call)
	case *ast.SendStmt:
		w.expr(s.Value, false)
	case *ast.LabeledStmt:
		w.stmt(s.Stmt)
	case *ast.ReturnStmt:
		w.returned(s)
	case *ast.IfStmt:
		w.ifStmt(s)
	case *ast.ForStmt:
		if s.Init != nil {
			w.stmt(s.Init)
		}
		if s.Cond != nil {
			w.condition(s.Cond)
		}
		w.block(s.Body.List)
	case *ast.RangeStmt:
		w.expr(s.X, true)
		w.block(s.Body.List)
	case *ast.SwitchStmt:
		w.switchStmt(s)
	case *ast.TypeSwitchStmt:
		for _, c := range s.Body.List {
			w.block(c.(*ast.CaseClause).Body)
		}
	case *ast.SelectStmt:
		for _, c := range s.Body.List {
			w.block(c.(*ast.CommClause).Body)
		}
	}
}

func (w *walker) local(s *ast.DeclStmt) {
	d, ok := s.Decl.(*ast.GenDecl)
	if !ok || d.Tok != token.VAR {
		return
	}
	for _, spec := range d.Specs {
		for _, e := range spec.(*ast.ValueSpec).Values {
			w.expr(e, false)
		}
	}
}

func (w *walker) ifStmt(s *ast.IfStmt) {
	if s.Init != nil {
		w.stmt(s.Init)
	}
	if s.Else == nil && !errCheck(s.Cond) && w.plain(s.Cond) {
		w.wrap(s.Cond, "(!mutant_(%d) && (", w.plant(s.Cond, "never"), "))")
	}
	w.condition(s.Cond)
	w.block(s.Body.List)
	if s.Else != nil {
		w.stmt(s.Else)
	}
}

// errCheck reports err != nil: that an error is passed on is another mutant's
// matter, which returns nil for it.
func errCheck(e ast.Expr) bool {
	b, ok := e.(*ast.BinaryExpr)
	if !ok || b.Op != token.NEQ {
		return false
	}
	id, ok := b.Y.(*ast.Ident)
	return ok && id.Name == "nil"
}

// condition plants the negation of a condition that is not made of parts.
func (w *walker) condition(e ast.Expr) {
	if b, ok := e.(*ast.BinaryExpr); (!ok || b.Op != token.LAND && b.Op != token.LOR) && w.plain(e) {
		w.negate(e)
		w.parts(e)
		return
	}
	w.expr(e, false)
}

func (w *walker) negate(e ast.Expr) {
	w.wrap(e, "(mutant_(%d) != (", w.plant(e, "negated"), "))")
}

func (w *walker) switchStmt(s *ast.SwitchStmt) {
	if s.Init != nil {
		w.stmt(s.Init)
	}
	if s.Tag != nil {
		w.expr(s.Tag, true)
	}
	for _, c := range s.Body.List {
		clause := c.(*ast.CaseClause)
		if s.Tag == nil {
			for _, e := range clause.List {
				w.condition(e)
			}
		}
		w.block(clause.Body)
	}
}

// returned plants a zero value, nil or the contrary for each result.
func (w *walker) returned(s *ast.ReturnStmt) {
	results := w.sig[len(w.sig)-1].Results()
	if len(s.Results) != results.Len() {
		for _, e := range s.Results {
			w.expr(e, false)
		}
		return
	}
	for i, e := range s.Results {
		w.result(e, results.At(i).Type())
		w.expr(e, true)
	}
}

func (w *walker) result(e ast.Expr, t types.Type) {
	if b, ok := t.(*types.Basic); ok && b.Kind() == types.Bool {
		if w.plain(e) && !w.connective(e) {
			w.negate(e)
		}
		return
	}
	if w.zeroish(e) {
		return
	}
	name, ok := w.p.spell(w.s, t)
	if !ok || w.localType(t) {
		return
	}
	id := w.plant(e, "returned as zero")
	w.wrapText(e, "mutantZero_["+name+"](", id, ", (", "))")
}

func (w *walker) connective(e ast.Expr) bool {
	b, ok := e.(*ast.BinaryExpr)
	return ok && (b.Op == token.LAND || b.Op == token.LOR)
}

// localType reports a type that is declared inside a function, which may not
// be in sight here.
func (w *walker) localType(t types.Type) bool {
	n, ok := t.(*types.Named)
	return ok && n.Obj().Pkg() == w.p.pkg && n.Obj().Parent() != w.p.pkg.Scope()
}

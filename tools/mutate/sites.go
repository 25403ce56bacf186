package main

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
	"hash/fnv"
	"strings"
)

// mutant is one place broken in one way.
type mutant struct {
	id      int
	name    string // stable while its function is: file, function, what was done
	fn      string
	line    int
	result  result
	reached int // by how many tests
	hung    bool
}

type result int

const (
	untried result = iota
	killed
	survived
)

// sampled picks one mutant in n by its name, so that the sample does not move
// when code elsewhere does.
func (m *mutant) sampled(n, part int) bool {
	h := fnv.New32a()
	_, _ = h.Write([]byte(m.name))
	return n <= 1 || h.Sum32()%uint32(n) == uint32(part)
}

// walker plants the mutants of one file.
type walker struct {
	p     *parsed
	s     *source
	seen  map[string]int
	found *[]*mutant
	fn    string
	sig   []*types.Signature // of the enclosing functions, innermost last
}

// instrument plants all mutants and returns them.
func (p *parsed) instrument() []*mutant {
	var found []*mutant
	for _, s := range p.files {
		w := &walker{p: p, s: s, seen: map[string]int{}, found: &found}
		for _, d := range s.file.Decls {
			w.decl(d)
		}
	}
	return found
}

// plant names a new mutant and returns its number.
func (w *walker) plant(at ast.Node, what string) int {
	snippet := strings.Join(strings.Fields(w.text(at)), " ")
	if len(snippet) > 70 {
		snippet = snippet[:70] + "…"
	}
	name := fmt.Sprintf("%s %s: %s: %s", w.s.path, w.fn, what, snippet)
	w.seen[name]++
	if n := w.seen[name]; n > 1 {
		name += fmt.Sprintf(" #%d", n)
	}
	m := &mutant{id: len(*w.found) + 1, name: name, fn: w.fn, line: w.p.fset.Position(at.Pos()).Line}
	*w.found = append(*w.found, m)
	return m.id
}

func (w *walker) text(n ast.Node) string {
	return string(w.s.text[w.offset(n.Pos()):w.offset(n.End())])
}

func (w *walker) offset(p token.Pos) int { return w.p.fset.Position(p).Offset }

func (w *walker) decl(d ast.Decl) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Body == nil {
			return
		}
		w.fn = d.Name.Name
		if d.Recv != nil && len(d.Recv.List) == 1 {
			t := strings.TrimPrefix(w.text(d.Recv.List[0].Type), "*")
			w.fn = t + "." + w.fn
		}
		w.function(w.p.info.Defs[d.Name].Type().(*types.Signature), d.Body)
	case *ast.GenDecl:
		if d.Tok != token.VAR {
			return
		}
		for _, spec := range d.Specs {
			v := spec.(*ast.ValueSpec)
			w.fn = "var " + v.Names[0].Name
			for _, e := range v.Values {
				w.expr(e, false)
			}
		}
	}
}

func (w *walker) function(sig *types.Signature, body *ast.BlockStmt) {
	w.sig = append(w.sig, sig)
	w.block(body.List)
	w.sig = w.sig[:len(w.sig)-1]
}

// plain reports a boolean that is not of a named type.
func (w *walker) plain(e ast.Expr) bool {
	t, ok := w.p.info.TypeOf(e).(*types.Basic)
	return ok && t.Info()&types.IsBoolean != 0
}

func (w *walker) constant(e ast.Expr) constant.Value { return w.p.info.Types[e].Value }

func numeric(t types.Type) bool {
	b, ok := t.Underlying().(*types.Basic)
	return ok && b.Info()&types.IsNumeric != 0 && b.Info()&types.IsComplex == 0 && b.Kind() != types.Uintptr
}

func isNil(t types.TypeAndValue) bool { return t.IsNil() }

// zeroish reports an expression that is the zero value as it is.
func (w *walker) zeroish(e ast.Expr) bool {
	if isNil(w.p.info.Types[e]) {
		return true
	}
	if lit, ok := e.(*ast.CompositeLit); ok {
		return len(lit.Elts) == 0
	}
	switch v := w.constant(e); {
	case v == nil:
		return false
	case v.Kind() == constant.String:
		return constant.StringVal(v) == ""
	case v.Kind() == constant.Int || v.Kind() == constant.Float:
		return constant.Sign(v) == 0
	case v.Kind() == constant.Bool:
		return !constant.BoolVal(v)
	}
	return false
}

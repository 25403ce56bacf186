package failpoint

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestPointsAreThoseOfTheCode: every name is in the code, once, and every call
// in the code is in the list.
func TestPointsAreThoseOfTheCode(t *testing.T) {
	found := map[string]string{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasPrefix(path, "../failpoint/") {
			return err
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			what, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if pkg, ok := what.X.(*ast.Ident); !ok || pkg.Name != "failpoint" || what.Sel.Name != "Hit" && what.Sel.Name != "Fail" {
				return true
			}
			where := fset.Position(call.Pos()).String()
			name := ""
			if lit, ok := call.Args[0].(*ast.BasicLit); ok {
				name, _ = strconv.Unquote(lit.Value)
			}
			switch {
			case name == "":
				t.Errorf("%s: the name of a point is written out", where)
			case found[name] != "":
				t.Errorf("%s: the point %s is at %s too", where, name, found[name])
			}
			found[name] = where
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) < 40 {
		t.Errorf("the code has %d points", len(found))
	}
	names := map[string]bool{}
	for _, p := range Points {
		if names[p.Name] {
			t.Errorf("%s is listed twice", p.Name)
		}
		names[p.Name] = true
		if found[p.Name] == "" {
			t.Errorf("%s is listed, and nowhere in the code", p.Name)
		}
		if n := strings.Count(p.Name, "."); n < 2 {
			t.Errorf("%s does not say where, at what and when", p.Name)
		}
	}
	for name, where := range found {
		if !names[name] {
			t.Errorf("%s: the point %s is not in Points", where, name)
		}
	}
	if !slices.IsSortedFunc(Points, func(a, b Point) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("Points are not in order")
	}
}

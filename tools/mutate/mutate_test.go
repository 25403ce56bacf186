package main

import (
	"go/importer"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go/ast"
)

const sample = `package sample

import (
	"errors"
	"time"
)

type named bool

func f(a, b int, d time.Duration, s string) (n int, err error) {
	if a < b && d >= time.Minute || s == "x" {
		return a%b + 1, errors.New("no")
	}
	for i := 0; i < 3; i++ {
		if i == 2 {
			continue
		}
		n += i
	}
	switch {
	case s != "":
		g(true)
	}
	defer g(a&b == 0)
	return n, nil
}

func g(bool) named {
	failpoint.Hit("sample.g") // which is no behaviour, and stays
	return true
}

var failpoint = point{}

type point struct{}

func (point) Hit(string) {}
`

// What is planted is Go, keeps its types, and is of every sort.
func TestPlantedCodeIsGo(t *testing.T) {
	p := &parsed{dir: "sample", fset: token.NewFileSet(), info: &types.Info{
		Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{},
	}}
	imports := importer.ForCompiler(p.fset, "source", nil)
	if err := p.add("sample.go", []byte(sample)); err != nil {
		t.Fatal(err)
	}
	if err := p.check(imports); err != nil {
		t.Fatal(err)
	}
	sorts := map[string]int{}
	names := map[string]bool{}
	for _, m := range p.instrument() {
		if names[m.name] {
			t.Errorf("two mutants have the name %s", m.name)
		}
		names[m.name] = true
		if strings.Contains(m.name, "failpoint") {
			t.Errorf("a failpoint is planted over: %s", m.name)
		}
		sorts[strings.Split(m.name, ": ")[1]]++
	}
	for _, sort := range []string{
		"left out", "never", "negated", "returned as zero", "one more", "a second more", "bound moved",
		"another operator", "&& for || or || for &&", "left out of a condition",
	} {
		if sorts[sort] == 0 {
			t.Errorf("nothing is %q", sort)
		}
	}
	planted := &parsed{dir: "sample", fset: token.NewFileSet(), info: p.info}
	text := p.files[0].render()
	if err := planted.add("sample.go", text); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if err := planted.add("zz.go", []byte(strings.NewReplacer("%s", "sample", "%d", "1000", "%%", "%").Replace(switchboard))); err != nil {
		t.Fatal(err)
	}
	if err := planted.check(imports); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
}

func TestReasonsAreRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "survivors.txt")
	for text, want := range map[string]int{
		"# head\n\none\n    because\n    of this\ntwo\nthree\n    of that\n": 3,
		"one\n":         -1,
		"    because\n": -1,
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := readReasons(file)
		if (err != nil) != (want < 0) || err == nil && len(got) != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
		if want == 3 && got["one"] != "because of this" {
			t.Errorf("%q", got["one"])
		}
	}
}

// The kin of a package are packages that have tests.
func TestKinHaveTests(t *testing.T) {
	for dir, others := range kin {
		for _, d := range append([]string{dir}, others...) {
			if found, err := filepath.Glob(filepath.Join("../..", d, "*_test.go")); err != nil || len(found) == 0 {
				t.Errorf("%s has no tests: %v", d, err)
			}
		}
	}
}

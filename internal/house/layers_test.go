package house

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/daypass/daypass/"

// floors says on which floor each package lives: it imports only from floors
// below its own. A package that is not listed here has no place in the house.
var floors = map[string]int{
	"api":                                0,
	"internal/canonical":                 0,
	"internal/failpoint":                 0,
	"internal/clock":                     1,
	"internal/access":                    1,
	"internal/audit":                     1,
	"internal/backup":                    1,
	"internal/config":                    1,
	"internal/keepalive":                 1,
	"internal/baddisk":                   1,
	"internal/scratchpg":                 1,
	"internal/policy":                    2,
	"internal/credential":                2,
	"internal/live":                      2,
	"internal/identity":                  2,
	"internal/dial":                      2,
	"internal/notify":                    2,
	"internal/store/sqlstore/db":         1,
	"internal/store/pack":                1,
	"internal/store/sqlstore":            2,
	"client":                             2,
	"internal/oidc/providertest":         2,
	"internal/oidc":                      3,
	"internal/signin":                    3,
	"internal/gateway":                   3,
	"internal/replay":                    3,
	"internal/store/sqlite":              3,
	"internal/store/storetest":           3,
	"internal/notify/smtp":               3,
	"internal/notify/webhook":            3,
	"internal/policy/lint":               3,
	"internal/policy/rehearse":           3,
	"internal/cli":                       4,
	"internal/workload":                  3,
	"internal/workload/issuertest":       2,
	"internal/broker":                    4,
	"internal/rest":                      5,
	"internal/web":                       5,
	"internal/oauth":                     5,
	"internal/forward":                   5,
	"internal/authzen":                   5,
	"internal/resource":                  4,
	"internal/resource/http":             5,
	"internal/resource/postgres":         5,
	"internal/resource/postgres/pgtest":  2,
	"internal/resource/postgres/reactor": 1,
	"internal/resource/postgres/gate":    1,
	"internal/resource/postgres/wire":    3,
	"internal/worker":                    5,
	"internal/daemon":                    6,
	"internal/demo":                      7,
	"internal/chaos":                     7,
	"internal/house":                     8,
	"cmd/daypass":                        8,
	"bench":                              8,
	"tools/mutate":                       8,
}

// root is the top of the source tree.
func root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if parent := filepath.Dir(dir); parent != dir {
			dir = parent
			continue
		}
		t.Fatal("no go.mod above the working folder")
	}
}

// goFiles calls f with every Go file of the tree, by its path from the root.
func goFiles(t *testing.T, f func(path string)) {
	t.Helper()
	top := root(t)
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != top && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "dist") {
			return filepath.SkipDir
		}
		if strings.HasSuffix(path, ".go") {
			rel, err := filepath.Rel(top, path)
			if err != nil {
				return err
			}
			f(filepath.ToSlash(rel))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestImportsGoDown(t *testing.T) {
	seen := map[string]bool{}
	goFiles(t, func(path string) {
		pkg := filepath.ToSlash(filepath.Dir(path))
		seen[pkg] = true
		floor, ok := floors[pkg]
		if !ok {
			t.Errorf("%s: the package %s has no floor; give it one in internal/house and in ARCHITECTURE.md", path, pkg)
			return
		}
		if strings.HasSuffix(path, "_test.go") {
			return // tests may use what they like
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root(t), path), nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range file.Imports {
			imported, ours := strings.CutPrefix(strings.Trim(spec.Path.Value, `"`), module)
			if ours && floors[imported] >= floor {
				t.Errorf("%s (floor %d) imports %s (floor %d): imports go down only", path, floor, imported, floors[imported])
			}
		}
	})
	for pkg := range floors {
		if !seen[pkg] {
			t.Errorf("the package %s has a floor but no files", pkg)
		}
	}
}

// What only judges our own code in tests must not be in the binary.
func TestOraclesStayInTests(t *testing.T) {
	looked := 0
	goFiles(t, func(path string) {
		if strings.HasSuffix(path, "_test.go") {
			return
		}
		looked++
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root(t), path), nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range file.Imports {
			for _, oracle := range []string{"wasilibs", "pganalyze", "tetratelabs", "zitadel"} {
				if strings.Contains(spec.Path.Value, oracle) {
					t.Errorf("%s imports %s, which is for tests only", path, spec.Path.Value)
				}
			}
		}
	})
	if looked == 0 {
		t.Error("no file was looked at")
	}
}

func TestEveryPackageSaysItsDuty(t *testing.T) {
	comments := map[string]string{}
	goFiles(t, func(path string) {
		if strings.HasSuffix(path, "_test.go") {
			return
		}
		pkg := filepath.ToSlash(filepath.Dir(path))
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root(t), path), nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		comments[pkg] += file.Doc.Text()
	})
	for pkg, comment := range comments {
		switch {
		case strings.HasSuffix(pkg, "/db"): // generated
		case comment == "":
			t.Errorf("%s has no package comment", pkg)
		case !strings.Contains(comment, "efuse") && !strings.HasPrefix(pkg, "cmd/"):
			t.Errorf("%s: its package comment does not say what it refuses", pkg)
		}
	}
}

func TestEveryKindIsInTheCatalog(t *testing.T) {
	top := root(t)
	list, err := os.ReadFile(filepath.Join(top, "internal/daemon/catalog.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{"internal/resource", "internal/notify"} {
		entries, err := os.ReadDir(filepath.Join(top, folder))
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for _, e := range entries {
			if !e.IsDir() || e.Name() == "testdata" {
				continue
			}
			if files, err := filepath.Glob(filepath.Join(top, folder, e.Name(), "*.go")); err != nil || len(files) == 0 {
				continue // it only holds packages of others
			}
			found++
			if !strings.Contains(string(list), `"`+module+folder+"/"+e.Name()+`"`) {
				t.Errorf("%s/%s is not in internal/daemon/catalog.go", folder, e.Name())
			}
		}
		if found == 0 {
			t.Errorf("%s has no folder: this test looks in the wrong place", folder)
		}
	}
}

func TestFilesStaySmall(t *testing.T) {
	goFiles(t, func(path string) {
		content, err := os.ReadFile(filepath.Join(root(t), path))
		if err != nil {
			t.Fatal(err)
		}
		if lines := strings.Count(string(content), "\n"); lines > 600 && !strings.Contains(path, "/db/") {
			t.Errorf("%s has %d lines; split it where a reader would look for the parts", path, lines)
		}
	})
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// source is one file of the package.
type source struct {
	path    string // from the root of the module
	text    []byte
	file    *ast.File
	imports map[string]string // path → name in this file
	edits   []edit
}

// parsed is one package, parsed and type-checked, without its tests.
type parsed struct {
	dir   string
	name  string
	fset  *token.FileSet
	info  *types.Info
	pkg   *types.Package
	files []*source
}

// load parses and type-checks the package in dir; what it imports comes as the
// export data that the go command keeps.
func load(ctx context.Context, dir string) (*parsed, error) {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "go", "list", "-export", "-deps", "-json=ImportPath,Export,GoFiles,Dir,DepOnly", "./"+dir)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w: %s", err, stderr.String())
	}
	exports := map[string]string{}
	var names []string
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath, Export, Dir string
			GoFiles                 []string
			DepOnly                 bool
		}
		if err := dec.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			return nil, err
		}
		exports[p.ImportPath] = p.Export
		if !p.DepOnly {
			names = p.GoFiles
		}
	}
	p := &parsed{dir: dir, fset: token.NewFileSet(), info: &types.Info{
		Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{},
	}}
	for _, name := range names {
		path := filepath.Join(dir, name)
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if err := p.add(path, text); err != nil {
			return nil, err
		}
	}
	return p, p.check(importer.ForCompiler(p.fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) }))
}

func (p *parsed) add(path string, text []byte) error {
	f, err := parser.ParseFile(p.fset, path, text, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	p.name = f.Name.Name
	p.files = append(p.files, &source{path: path, text: text, file: f, imports: map[string]string{}})
	return nil
}

func (p *parsed) check(imports types.Importer) error {
	var files []*ast.File
	for _, s := range p.files {
		files = append(files, s.file)
	}
	var err error
	if p.pkg, err = (&types.Config{Importer: imports}).Check(p.dir, p.fset, files, p.info); err != nil {
		return fmt.Errorf("type-checking: %w", err)
	}
	for _, s := range p.files {
		for _, spec := range s.file.Imports {
			path := strings.Trim(spec.Path.Value, `"`)
			for _, imported := range p.pkg.Imports() {
				if imported.Path() == path {
					s.imports[path] = imported.Name()
				}
			}
			if spec.Name != nil {
				s.imports[path] = spec.Name.Name
			}
		}
	}
	return nil
}

// spell writes a type as this file can; false where it cannot.
func (p *parsed) spell(s *source, t types.Type) (string, bool) {
	ok := true
	text := types.TypeString(t, func(other *types.Package) string {
		if other == p.pkg {
			return ""
		}
		name, imported := s.imports[other.Path()]
		if !imported || name == "_" || name == "." {
			ok = false
		}
		return name
	})
	return text, ok && !strings.Contains(text, "untyped") && !strings.Contains(text, "invalid type")
}

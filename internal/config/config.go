// Package config reads the files that configure Daypass: it turns YAML (or
// JSON, which is YAML) strictly into Go values, and it holds the shape of the
// server's own file. Every fault is reported with its line and column, all of
// them at once.
//
// It refuses whatever a reader could take for something else: unknown and
// duplicate keys, anchors, aliases, merge keys, tags, several documents, tabs
// as indentation, `no` and `on` as booleans, numbers and booleans where text is
// meant, invisible characters; files that are too big or nested too deep; and
// whatever two YAML readers do not read alike.
// It never expands ${VARIABLES}: a secret is a reference (Secret). It knows
// nothing of kinds, policies and stores: they decode their own parts with it.
package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// The sizes above which a file is refused, in bytes.
const (
	MaxServerSize  = 1 << 20
	MaxCatalogSize = 16 << 20
)

// Error is one fault of a file. Line and Column start at 1, columns count
// characters; both are 0 where the fault has no place in the file.
type Error struct {
	File         string
	Line, Column int
	Message      string
}

// Error returns "file:line:column: message", without what is unknown.
func (e Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.File)
		b.WriteByte(':')
	}
	if e.Line > 0 {
		fmt.Fprintf(&b, "%d:%d:", e.Line, e.Column)
	}
	if b.Len() > 0 {
		b.WriteByte(' ')
	}
	b.WriteString(e.Message)
	return b.String()
}

// Errors is everything that is wrong with a file, in file order.
type Errors []Error

// Error returns one line for each fault.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Sorted returns e in file order, each fault once.
func (e Errors) Sorted() Errors {
	slices.SortStableFunc(e, func(a, b Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Message, b.Message))
	})
	return slices.Compact(e)
}

// Err returns e as an error; nil when it is empty.
func (e Errors) Err() error {
	if len(e) == 0 {
		return nil
	}
	return e
}

// in names the file in every fault.
func (e Errors) in(name string) Errors {
	for i := range e {
		e[i].File = name
	}
	return e
}

// Errorf makes a fault at the place of node.
func Errorf(node ast.Node, format string, args ...any) Error {
	line, column := Position(node)
	return Error{Line: line, Column: column, Message: fmt.Sprintf(format, args...)}
}

// At places err at node. What already has places (Errors) keeps them.
func At(node ast.Node, err error) Errors {
	var (
		errs Errors
		one  Error
	)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &errs):
		return errs
	case errors.As(err, &one) && one.Line > 0:
		return Errors{one}
	}
	return Errors{Errorf(node, "%s", err.Error())}
}

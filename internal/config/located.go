package config

import "github.com/goccy/go-yaml/ast"

// Located is a value that remembers where it stands in its file.
type Located[T any] struct {
	Value  T
	Node   ast.Node // nil when the file gives no value
	Faulty bool     // the file gives one that could not be read, or not all of it
}

// DecodeYAML implements NodeDecoder.
func (l *Located[T]) DecodeYAML(node ast.Node) error {
	l.Node = node
	err := DecodeNode(node, &l.Value)
	l.Faulty = err != nil
	return err
}

// Given reports whether the file gives the value, faulty or not.
func (l Located[T]) Given() bool { return l.Node != nil }

// Sound reports whether the file gives the value, and it could be read.
func (l Located[T]) Sound() bool { return l.Node != nil && !l.Faulty }

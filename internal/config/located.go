package config

import "github.com/goccy/go-yaml/ast"

// Located is a value that remembers where it stands in its file.
type Located[T any] struct {
	Value T
	Node  ast.Node // nil when the file does not give the value
}

// DecodeYAML implements NodeDecoder.
func (l *Located[T]) DecodeYAML(node ast.Node) error {
	l.Node = node
	return DecodeNode(node, &l.Value)
}

// Given reports whether the file gives the value.
func (l Located[T]) Given() bool { return l.Node != nil }

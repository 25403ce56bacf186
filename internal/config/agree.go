package config

import (
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"go.yaml.in/yaml/v3"
)

// agree asks a second reader, and refuses a text that the two read differently.
// The library whose tree we keep knows every place, but passes over some faults
// without a word: a stray quote can make it drop the rest of a mapping, and a
// guardrail with it. What people and their other tools see in a file must be
// what Daypass does. JSON is read by encoding/json, all else by libyaml's port.
func agree(text string, root ast.Node) Errors {
	var second *yaml.Node
	if strings.HasPrefix(strings.TrimLeft(text, " \n"), "{") && json.Valid([]byte(text)) {
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		var err error
		if second, err = readJSON(d); err != nil {
			return Errors{{Line: 1, Column: 1, Message: "is not JSON: " + err.Error()}}
		}
	} else {
		var doc, more yaml.Node
		d := yaml.NewDecoder(strings.NewReader(text))
		if err := d.Decode(&doc); err != nil && !errors.Is(err, io.EOF) {
			return Errors{secondError(err)}
		}
		if err := d.Decode(&more); !errors.Is(err, io.EOF) {
			return Errors{{Line: max(more.Line, 1), Column: 1, Message: "a second document: one file holds one"}}
		}
		if len(doc.Content) == 1 {
			second = doc.Content[0]
		}
	}
	if place, same := equal(root, second); !same {
		line, column := Position(place)
		if line == 0 && second != nil {
			line, column = second.Line, second.Column
		}
		return Errors{{Line: max(line, 1), Column: max(column, 1), Message: "different YAML readers read this differently: put quotes around texts, and check quotes, commas and indentation from here on"}}
	}
	return nil
}

var secondPlace = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

func secondError(err error) Error {
	message := err.Error()
	line := 1
	if m := secondPlace.FindStringSubmatch(message); m != nil {
		message = message[len(m[0]):]
		if n, err := strconv.Atoi(m[1]); err == nil {
			line = max(n, 1)
		}
	}
	return Error{Line: line, Column: 1, Message: message}
}

// equal compares what the two readers made, and returns where they part.
func equal(node ast.Node, second *yaml.Node) (ast.Node, bool) {
	switch n := node.(type) {
	case nil, *ast.NullNode:
		return node, second == nil || second.Kind == yaml.ScalarNode && second.Style == 0 && second.ShortTag() == "!!null"
	case *ast.MappingNode:
		return equalMapping(n, n.Values, second)
	case *ast.MappingValueNode:
		return equalMapping(n, []*ast.MappingValueNode{n}, second)
	case *ast.SequenceNode:
		if second == nil || second.Kind != yaml.SequenceNode || len(n.Values) != len(second.Content) {
			return n, false
		}
		for i, v := range n.Values {
			if place, same := equal(v, second.Content[i]); !same {
				return within(place, n), false
			}
		}
		return n, true
	}
	if second == nil || second.Kind != yaml.ScalarNode {
		return node, false
	}
	switch n := node.(type) {
	case *ast.LiteralNode:
		return n, n.Value != nil && n.Value.Value == second.Value && second.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0
	case *ast.StringNode:
		isQuoted := second.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0
		return n, n.Value == second.Value && quoted(n.GetToken()) == isQuoted
	}
	p, ok := plain(node)
	return node, ok && p == second.Value && second.Style == 0
}

func equalMapping(node ast.Node, values []*ast.MappingValueNode, second *yaml.Node) (ast.Node, bool) {
	if second == nil || second.Kind != yaml.MappingNode || 2*len(values) != len(second.Content) {
		return node, false
	}
	for i, v := range values {
		if _, same := equal(v.Key, second.Content[2*i]); !same {
			return v.Key, false
		}
		if place, same := equal(v.Value, second.Content[2*i+1]); !same {
			return within(place, v.Key), false
		}
	}
	return node, true
}

// within is place, or around it where place is not known.
func within(place, around ast.Node) ast.Node {
	if line, _ := Position(place); line > 0 {
		return place
	}
	return around
}

// readJSON reads one JSON value as the nodes of YAML, keys in file order. Its
// depth was bounded before.
func readJSON(d *json.Decoder) (*yaml.Node, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t := token.(type) {
	case json.Delim:
		node := &yaml.Node{Kind: yaml.MappingNode}
		if t == '[' {
			node.Kind = yaml.SequenceNode
		}
		for d.More() {
			// In an object, keys and values take turns.
			child, err := readJSON(d)
			if err != nil {
				return nil, err
			}
			node.Content = append(node.Content, child)
		}
		_, err := d.Token()
		return node, err
	case string:
		return &yaml.Node{Kind: yaml.ScalarNode, Style: yaml.DoubleQuotedStyle, Value: t}, nil
	case json.Number:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: t.String()}, nil
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: strconv.FormatBool(t)}, nil
	case nil:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}, nil
	}
	return nil, errors.New("it cannot be read")
}

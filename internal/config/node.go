package config

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// Entry is one key of a mapping with its value. Value is nil where the file
// gives none (or null).
type Entry struct {
	Key     string
	KeyNode ast.Node
	Value   ast.Node
}

// Position returns the line and the column at which node begins, both from 1;
// 0, 0 for nil.
func Position(node ast.Node) (line, column int) {
	switch n := node.(type) {
	case nil:
		return 0, 0
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return Position(n.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return Position(n.Key)
	}
	tk := node.GetToken()
	if tk == nil || tk.Position == nil {
		return 0, 0
	}
	return max(tk.Position.Line, 1), max(tk.Position.Column, 1)
}

// Inside returns the place in the file of a place inside the text that a scalar
// node holds: line from 1, column from 0, in characters. Where the text was
// written so that its places cannot be told (folded, with escapes), it is where
// the scalar begins.
func Inside(node ast.Node, line, column int) (int, int) {
	startLine, startColumn := Position(node)
	switch n := node.(type) {
	case *ast.LiteralNode:
		if n.Start == nil || n.Start.Type != token.LiteralType || n.Value == nil || n.Value.GetToken() == nil {
			break
		}
		first := strings.TrimLeft(n.Value.GetToken().Origin, "\n")
		indent := len(first) - len(strings.TrimLeft(first, " "))
		return startLine + line, indent + column + 1
	case *ast.StringNode:
		tk := n.GetToken()
		raw := strings.TrimSpace(tk.Origin)
		quotes := 0
		if quoted(tk) {
			quotes = 1
		}
		if line == 1 && !strings.Contains(raw, "\n") && utf8.RuneCountInString(raw) == utf8.RuneCountInString(n.Value)+2*quotes {
			return startLine, startColumn + quotes + column
		}
	}
	return startLine, startColumn
}

// Entries returns the keys of a mapping in file order. Its error is an Errors:
// not a mapping, keys that are no text, duplicate keys.
func Entries(node ast.Node) ([]Entry, error) {
	entries, errs := entriesOf(node)
	return entries, errs.Err()
}

func entriesOf(node ast.Node) ([]Entry, Errors) {
	var values []*ast.MappingValueNode
	switch n := node.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	default:
		return nil, Errors{Errorf(node, "must be a mapping (key: value), not %s", describe(node))}
	}
	var errs Errors
	entries := make([]Entry, 0, len(values))
	seen := make(map[string]int, len(values))
	for _, v := range values {
		key, err := text(v.Key)
		if err != nil {
			errs = append(errs, Errorf(v.Key, "a key %s", err))
			continue
		}
		if line, twice := seen[key]; twice {
			errs = append(errs, Errorf(v.Key, "duplicate key %q: it is already on line %d", clip(key), line))
			continue
		}
		seen[key], _ = Position(v.Key)
		entry := Entry{Key: key, KeyNode: v.Key, Value: v.Value}
		if isNull(v.Value) {
			entry.Value = nil
		}
		entries = append(entries, entry)
	}
	return entries, errs
}

// Find returns the node under the keys of path, or the nearest one above it
// that exists. The key of a sequence's item is its number, from 0.
func Find(root ast.Node, path ...string) ast.Node {
	for _, key := range path {
		if list, ok := root.(*ast.SequenceNode); ok {
			n, err := strconv.Atoi(key)
			if err != nil || n < 0 || n >= len(list.Values) {
				break
			}
			root = list.Values[n]
			continue
		}
		entries, _ := entriesOf(root)
		found := false
		for _, e := range entries {
			if e.Key == key && e.Value != nil {
				root, found = e.Value, true
			}
		}
		if !found {
			break
		}
	}
	return root
}

var (
	plainInteger = regexp.MustCompile(`^(0|-?[1-9][0-9]*)$`)
	plainNumber  = regexp.MustCompile(`^[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?$|^[-+]?0[xob][0-9a-fA-F_]+$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$`)
	plainBoolean = regexp.MustCompile(`(?i)^(true|false|yes|no|on|off)$`)
)

// maxInteger is the largest whole number that JSON carries exactly (RFC 8785).
const maxInteger = 1<<53 - 1

func quoted(tk *token.Token) bool {
	return tk != nil && (tk.Type == token.SingleQuoteType || tk.Type == token.DoubleQuoteType)
}

// plain returns the characters of an unquoted scalar.
func plain(node ast.Node) (string, bool) {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value, !quoted(n.GetToken())
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return node.GetToken().Value, true
	}
	return "", false
}

func isNull(node ast.Node) bool {
	if node == nil {
		return true
	}
	_, null := node.(*ast.NullNode)
	return null
}

// text returns the string that a scalar node holds.
func text(node ast.Node) (string, error) {
	var s string
	switch n := node.(type) {
	case *ast.StringNode:
		s = n.Value
	case *ast.LiteralNode:
		s = n.Value.Value
	default:
		if _, ok := plain(node); !ok {
			return "", fmt.Errorf("must be a text, not %s", describe(node))
		}
	}
	if p, ok := plain(node); ok {
		switch {
		case plainNumber.MatchString(p):
			return "", fmt.Errorf("must be a text, not a number: put quotes around it")
		case strings.Contains(p, ": ") || strings.HasSuffix(p, ":"):
			return "", fmt.Errorf("must be a text: put quotes around one that holds a colon and a space (or a comma is missing before it)")
		case plainBoolean.MatchString(p):
			return "", fmt.Errorf("must be a text: put quotes around %s, which is a boolean to many readers", p)
		}
	}
	if !utf8.ValidString(s) {
		return "", fmt.Errorf("is not UTF-8")
	}
	for _, r := range s {
		if invisible(r) {
			return "", fmt.Errorf("holds the invisible character %U, which is not allowed", r)
		}
	}
	return s, nil
}

func describe(node ast.Node) string {
	switch node.(type) {
	case nil, *ast.NullNode:
		return "nothing"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.StringNode, *ast.LiteralNode:
		return "a text"
	case *ast.BoolNode:
		return "a boolean"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "a number"
	}
	return "this"
}

// JSON returns what node holds as JSON. Keys without a value are left out. Its
// error is an Errors: only texts, whole numbers that JSON carries exactly,
// true, false, lists and mappings can be written so.
func JSON(node ast.Node) (json.RawMessage, error) {
	var errs Errors
	value := plainValue(node, &errs)
	if len(errs) > 0 {
		return nil, errs.Sorted()
	}
	out, err := json.Marshal(value)
	if err != nil {
		return nil, At(node, err)
	}
	return out, nil
}

func plainValue(node ast.Node, errs *Errors) any {
	switch n := node.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		entries, faults := entriesOf(node)
		*errs = append(*errs, faults...)
		out := make(map[string]any, len(entries))
		for _, e := range entries {
			if e.Value != nil {
				out[e.Key] = plainValue(e.Value, errs)
			}
		}
		return out
	case *ast.SequenceNode:
		out := make([]any, len(n.Values))
		for i, v := range n.Values {
			out[i] = plainValue(v, errs)
		}
		return out
	}
	if p, ok := plain(node); ok {
		switch {
		case p == "true" || p == "false":
			return p == "true"
		case plainNumber.MatchString(p):
			i, err := integer(node)
			if err != nil {
				*errs = append(*errs, Errorf(node, "%s", err))
			}
			return i
		}
	}
	s, err := text(node)
	if err != nil {
		*errs = append(*errs, Errorf(node, "%s", err))
	}
	return s
}

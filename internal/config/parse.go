package config

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const (
	maxDepth = 64
	// maxMarks bounds what the lexer keeps in memory for one file: it makes
	// some hundred bytes for each mark of punctuation.
	maxMarks = 2_000_000
	// The library needs time in the square of these two.
	maxKeys  = 1000 // of one block mapping
	maxEmpty = 100  // lines in a row without anything on them
)

// Parse reads one YAML document and returns its root; nil for an empty
// document. Its error is an Errors that names the file. A source longer than
// limit bytes is refused.
func Parse(name string, src []byte, limit int) (ast.Node, error) {
	text, errs := clean(src, limit)
	if len(errs) > 0 {
		return nil, errs.in(name)
	}
	root, errs := parse(text)
	if len(errs) > 0 {
		return nil, errs.Sorted().in(name)
	}
	return root, nil
}

// parse runs the lexer and the parser of the library. Its parser recurses, so
// that depth is checked on the tokens, and a panic of it is a fault of the file.
func parse(text string) (root ast.Node, errs Errors) {
	defer func() {
		if recover() != nil {
			root, errs = nil, Errors{{Line: 1, Column: 1, Message: "is not YAML that can be read"}}
		}
	}()
	tokens := joinColons(lexer.Tokenize(text))
	if errs := checkTokens(tokens); len(errs) > 0 {
		return nil, errs
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, Errors{syntaxError(err)}
	}
	var bodies []ast.Node
	for _, doc := range file.Docs {
		if doc.Body != nil {
			bodies = append(bodies, doc.Body)
		}
	}
	switch {
	case len(bodies) == 0:
		return nil, agree(text, nil)
	case len(bodies) > 1:
		return nil, Errors{Errorf(bodies[1], "a second document: one file holds one")}
	}
	if errs := agree(text, bodies[0]); len(errs) > 0 {
		return nil, errs
	}
	if isNull(bodies[0]) {
		return nil, nil
	}
	return bodies[0], nil
}

// syntaxError keeps the library's message and place, and drops its excerpt of
// the source: that could be a secret.
func syntaxError(err error) Error {
	var placed yaml.Error
	if !errors.As(err, &placed) || placed.GetToken() == nil || placed.GetToken().Position == nil {
		return Error{Line: 1, Column: 1, Message: "is not YAML that can be read"}
	}
	pos := placed.GetToken().Position
	return Error{Line: max(pos.Line, 1), Column: max(pos.Column, 1), Message: placed.GetMessage()}
}

// clean refuses what is not plain text, and returns the text for the lexer.
func clean(src []byte, limit int) (string, Errors) {
	if len(src) > limit {
		return "", Errors{{Line: 1, Column: 1, Message: fmt.Sprintf("is longer than %d bytes", limit)}}
	}
	src = bytes.TrimPrefix(src, []byte("\ufeff"))
	if !utf8.Valid(src) {
		line, column := 1, 1
		for rest := src; len(rest) > 0; {
			r, size := utf8.DecodeRune(rest)
			if r == utf8.RuneError && size == 1 {
				break
			}
			if column++; r == '\n' {
				line, column = line+1, 1
			}
			rest = rest[size:]
		}
		return "", Errors{{Line: line, Column: column, Message: "is not UTF-8"}}
	}
	text := strings.ReplaceAll(string(src), "\r\n", "\n")
	// JSON may be indented with tabs; there they mean nothing.
	flow := strings.HasPrefix(strings.TrimLeft(text, " \t\n"), "{")
	var (
		errs    Errors
		out     strings.Builder
		line    = 1
		column  = 0
		leading = true
		marks   = 0
		empty   = 0
	)
	out.Grow(len(text))
	for _, r := range text {
		column++
		switch {
		case r == '\n':
			marks++
			if empty++; !leading {
				empty = 0
			}
			if empty == maxEmpty+1 {
				errs = append(errs, Error{Line: line, Column: 1, Message: fmt.Sprintf("more than %d empty lines in a row", maxEmpty)})
			}
			line, column, leading = line+1, 0, true
		case r == '\t' && leading && flow:
			r = ' '
		case r == '\t': // the lexer drops some of them without a word
			errs = append(errs, Error{Line: line, Column: column, Message: "a tab: use spaces, or \\t inside double quotes"})
			leading = false
		case r == ' ':
		case invisible(r):
			errs = append(errs, Error{Line: line, Column: column, Message: fmt.Sprintf("the invisible character %U is not allowed", r)})
			leading = false
		default:
			if strings.ContainsRune("[]{},:-?&*!#'\"|>", r) {
				marks++
			}
			leading = false
		}
		out.WriteRune(r)
		if len(errs) >= 20 {
			break
		}
	}
	if marks > maxMarks {
		errs = append(errs, Error{Line: 1, Column: 1, Message: "has too many entries"})
	}
	return out.String(), errs
}

// invisible reports characters that make a text read differently from what it
// is: controls, bidirectional overrides, Unicode's other line ends.
func invisible(r rune) bool {
	switch {
	case r == '\n' || r == '\t':
		return false
	case unicode.IsControl(r), r == '\u2028', r == '\u2029', r == '\ufeff', r == utf8.RuneError,
		'\u200b' <= r && r <= '\u200f', '\u202a' <= r && r <= '\u202e', '\u2060' <= r && r <= '\u2069':
		return true
	}
	return false
}

// block is a collection written by indentation.
type block struct {
	column int
	keys   int
}

// checkTokens refuses the parts of YAML that a configuration does not need, and
// nesting deeper than maxDepth.
func checkTokens(tokens token.Tokens) Errors {
	var errs Errors
	fault := func(tk *token.Token, message string) {
		if len(errs) < 20 {
			errs = append(errs, Error{Line: tk.Position.Line, Column: max(tk.Position.Column, 1), Message: message})
		}
	}
	flow, headers, content := 0, 0, false
	var blocks []block // the open block collections, outermost first
	for _, tk := range tokens {
		switch tk.Type {
		case token.AnchorType:
			fault(tk, "an anchor (&) is not allowed: write the value out")
		case token.AliasType:
			fault(tk, "an alias (*) is not allowed: write the value out, or put quotes around it")
		case token.MergeKeyType:
			fault(tk, "a merge key (<<) is not allowed: write the keys out")
		case token.TagType:
			fault(tk, "a tag (!) is not allowed: put quotes around a text that begins so")
		case token.DirectiveType:
			fault(tk, "a directive (%) is not allowed")
		case token.MappingKeyType:
			fault(tk, "a key with ? is not allowed")
		case token.DocumentHeaderType:
			if headers++; headers > 1 || content {
				fault(tk, "a second document: one file holds one")
			}
		case token.SequenceEntryType:
			if flow > 0 {
				fault(tk, "a dash inside [ ] or { }: entries are separated by commas there")
			}
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow--
		}
		if tk.Type != token.CommentType && tk.Type != token.DocumentHeaderType && len(errs) == 0 {
			content = true
		}
		entry := tk.Type == token.SequenceEntryType
		if flow <= 0 && (entry || tk.Next != nil && tk.Next.Type == token.MappingValueType) {
			column := tk.Position.Column
			for len(blocks) > 0 && blocks[len(blocks)-1].column > column {
				blocks = blocks[:len(blocks)-1]
			}
			if len(blocks) == 0 || blocks[len(blocks)-1].column < column {
				blocks = append(blocks, block{column: column})
			}
			if here := &blocks[len(blocks)-1]; !entry {
				if here.keys++; here.keys > maxKeys {
					fault(tk, fmt.Sprintf("more than %d keys in one mapping", maxKeys))
					return errs
				}
			}
		}
		if flow+len(blocks) > maxDepth {
			fault(tk, "is nested too deep")
			return errs
		}
	}
	return errs
}

package gate

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Predicate is a condition on the rows of a table as a catalog writes it: SQL in
// which names such as :region stand for values that come later.
type Predicate struct {
	parts []string // the SQL around the names: one more than there are names
	names []string // in the order in which they stand
}

// maxPredicate is the length of a predicate, in bytes.
const maxPredicate = 1000

var valueName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)

// ValueName reports whether a value of a predicate can have that name.
func ValueName(name string) bool { return valueName.MatchString(name) }

// ParsePredicate takes a predicate apart. Whether it means something is for
// PostgreSQL to say; here it is seen that it stays one condition wherever it is
// put between parentheses: its own are in pairs, and nothing in it ends a
// statement or hides in a comment.
func ParsePredicate(sql string) (Predicate, error) {
	var p Predicate
	switch {
	case strings.TrimSpace(sql) == "":
		return p, errors.New("it is empty: write a condition, such as region = :region")
	case len(sql) > maxPredicate:
		return p, fmt.Errorf("it is longer than %d bytes: make it a function", maxPredicate)
	case !utf8.ValidString(sql):
		return p, errors.New("it is not UTF-8")
	}
	in := []byte(sql)
	l := lexer{in: in}
	var open []byte
	part, last := 0, 0 // where the SQL since the last name, and the last token, begin and end
	for {
		t := l.next()
		if t.kind == broken {
			return p, errors.New("a quote or a comment in it does not end, or it has a character that SQL has no use for")
		}
		if strings.TrimSpace(sql[last:t.from]) != "" {
			return p, errors.New("it has a comment: write comments beside it")
		}
		if t.kind == end {
			break
		}
		last = t.to
		switch {
		case t.kind == number && in[t.from] == '$':
			return p, fmt.Errorf("%s: there are no numbered parameters: name the value, such as :region", sql[t.from:t.to])
		case t.kind != symbol:
			continue
		}
		switch c := in[t.from]; c {
		case ';':
			return p, errors.New("it has a semicolon: it is one condition")
		case '(', '[':
			open = append(open, c)
		case ')', ']':
			if len(open) == 0 || (c == ')') != (open[len(open)-1] == '(') {
				return p, errors.New("its parentheses are not in pairs")
			}
			open = open[:len(open)-1]
		case ':':
			switch next := l.at(0); {
			case next == ':':
				last = l.next().to // a cast
			case isStart(next):
				name := l.next()
				if name.kind != word || !ValueName(sql[name.from:name.to]) {
					return p, fmt.Errorf("%s is no name of a value: a-z, 0-9 and _, at most 32, beginning with a letter", sql[t.from:name.to])
				}
				p.parts, p.names = append(p.parts, sql[part:t.from]), append(p.names, sql[name.from:name.to])
				part, last = name.to, name.to
			}
		}
	}
	if len(open) > 0 {
		return p, errors.New("its parentheses are not in pairs")
	}
	p.parts = append(p.parts, sql[part:])
	return p, nil
}

// Names are those of the values, sorted.
func (p Predicate) Names() []string {
	names := slices.Clone(p.names)
	slices.Sort(names)
	return slices.Compact(names)
}

// With is the predicate with SQL in place of the names.
func (p Predicate) With(value func(name string) string) string {
	if len(p.parts) == 0 {
		return ""
	}
	var b strings.Builder
	for i, name := range p.names {
		b.WriteString(p.parts[i] + value(name))
	}
	b.WriteString(p.parts[len(p.parts)-1])
	return strings.TrimSpace(b.String())
}

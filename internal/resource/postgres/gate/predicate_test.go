package gate

import (
	"slices"
	"strings"
	"testing"
)

func TestParsePredicate(t *testing.T) {
	for sql, want := range map[string]string{
		"region = :region":                           "region = <region>",
		" a=:a and b = :b or a > :a ":                "a=<a> and b = <b> or a > <a>",
		"region::text = :region::text":               "region::text = <region>::text",
		"note = ':region' and x = :y":                "note = ':region' and x = <y>",
		`":a" = :a and c = E'it\':b' and $$:c$$ = d`: `":a" = <a> and c = E'it\':b' and $$:c$$ = d`,
		"(a[1 : 2] = array[:x]) and f(b)":            "(a[1 : 2] = array[<x>]) and f(b)",
		"true":                                       "true",
		"name = 'é' and x = :x":                      "name = 'é' and x = <x>",
	} {
		p, err := ParsePredicate(sql)
		if err != nil {
			t.Errorf("%s: %v", sql, err)
			continue
		}
		if got := p.With(func(name string) string { return "<" + name + ">" }); got != want {
			t.Errorf("%s: %s, want %s", sql, got, want)
		}
		for _, name := range p.Names() {
			if !strings.Contains(want, "<"+name+">") {
				t.Errorf("%s has no value %s", sql, name)
			}
		}
	}
	p, err := ParsePredicate("b = :b and a = :a and b <> :b")
	if err != nil || !slices.Equal(p.Names(), []string{"a", "b"}) {
		t.Errorf("%v %v", p.Names(), err)
	}
	for sql, want := range map[string]string{
		"":                                 "empty",
		"  ":                               "empty",
		strings.Repeat("a", 1001):          "longer",
		"a = 'x":                           "does not end",
		"a = 1; drop table orders":         "semicolon",
		"a = 1 -- all":                     "comment",
		"a /* all */ = 1":                  "comment",
		"a = 1 /* all":                     "does not end",
		"true) union select 1 where (true": "not in pairs",
		"(a = 1":                           "not in pairs",
		"a = 1)":                           "not in pairs",
		"a[1) and (b]":                     "not in pairs",
		"a = $1":                           "numbered parameters",
		"a = :Region":                      ":Region is no name",
		"a = :" + strings.Repeat("x", 33):  "is no name",
		"a = :e'x'":                        "is no name",
		"a = :é":                           "is no name",
		"a = '\x80'":                       "not UTF-8",
		"a = \x01":                         "no use for",
	} {
		if _, err := ParsePredicate(sql); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", sql, err, want)
		}
	}
}

// Whatever values are, a predicate between parentheses stays between them.
func FuzzParsePredicate(f *testing.F) {
	for _, seed := range []string{"region = :region", "a::text = ':b' and (c[1] = :c)", "E'\\'' = :x", "$$ ) $$ <> :y", "U&'\\0029' = :z", "a = 'x'\n'y' and b = :b"} {
		f.Add(seed, "eu")
	}
	f.Add("a = :a", "') or true --")
	f.Fuzz(func(t *testing.T, sql, value string) {
		p, err := ParsePredicate(sql)
		if err != nil || strings.ContainsRune(value, 0) {
			return
		}
		quoted := "('" + strings.ReplaceAll(value, "'", "''") + "'::pg_catalog.text)"
		whole := []byte("(" + p.With(func(string) string { return quoted }) + ")")
		l := lexer{in: whole}
		depth := 0
		for {
			tok := l.next()
			if tok.kind == end {
				break
			}
			if tok.kind == broken {
				t.Fatalf("%q with %q: %q cannot be read", sql, value, whole)
			}
			if tok.kind == symbol {
				switch whole[tok.from] {
				case '(':
					depth++
				case ')':
					depth--
				case ';':
					t.Fatalf("%q with %q: %q is more than one statement", sql, value, whole)
				}
			}
			if depth == 0 && tok.to != len(whole) {
				t.Fatalf("%q with %q: %q ends at %d", sql, value, whole, tok.to)
			}
		}
		if depth != 0 {
			t.Fatalf("%q with %q: %q does not end", sql, value, whole)
		}
	})
}

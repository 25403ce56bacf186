package config

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/google/go-cmp/cmp"
)

type sample struct {
	Name  string            `yaml:"name,required"`
	On    bool              `yaml:"enabled"`
	Count int               `yaml:"count"`
	Wait  time.Duration     `yaml:"wait"`
	Tags  map[string]string `yaml:"tags"`
	List  []string          `yaml:"list"`
	Sub   *struct {
		Key Secret `yaml:"key"`
	} `yaml:"sub"`
	hidden string
}

func TestDecode(t *testing.T) {
	for _, src := range []string{
		"name: a b\nenabled: true\ncount: -12\nwait: 1h30m\ntags: {env: prod, \"on\": \"yes\"}\nlist: [group:dba, x]\nsub: {key: {env: A_KEY}}\n",
		"---\n# comment\nname: 'a b'\nenabled: true\r\ncount: -12\nwait: \"1h30m\"\ntags:\n  env: prod\n  \"on\": 'yes'\nlist:\n- group:dba\n- x\nsub:\n  key:\n    env: A_KEY\n",
		"\ufeff{\"name\":\"a b\",\"enabled\":true,\"count\":-12,\"wait\":\"1h30m\",\n\t\"tags\":{\"env\":\"prod\",\"on\":\"yes\"},\n\t\t\"list\":[\"group:dba\",\"x\"],\"sub\":{\"key\":{\"env\":\"A_KEY\"}}}",
	} {
		var got sample
		if err := Decode("f", []byte(src), &got); err != nil {
			t.Errorf("%s\n%v", src, err)
			continue
		}
		if got.Name != "a b" || !got.On || got.Count != -12 || got.Wait != 90*time.Minute || got.Sub.Key.Env != "A_KEY" || got.hidden != "" ||
			!cmp.Equal(got.Tags, map[string]string{"env": "prod", "on": "yes"}) || !cmp.Equal(got.List, []string{"group:dba", "x"}) {
			t.Errorf("%s\n%+v", src, got)
		}
	}
}

// A colon inside a plain scalar of a flow list belongs to it (YAML 1.2 §7.3.3).
func TestColonsInFlow(t *testing.T) {
	var got struct {
		Items []struct {
			ID string   `yaml:"id"`
			In []string `yaml:"in"`
		} `yaml:"items"`
	}
	src := "items: [{id: user:ana, in: [group:a, group:b, http://h:80/x, a:b:c, \"q\"]}, {\"id\":\"x\",\"in\":[\"a:b\"]}]\n"
	if err := Decode("f", []byte(src), &got); err != nil {
		t.Fatal(err)
	}
	if want := []string{"group:a", "group:b", "http://h:80/x", "a:b:c", "q"}; !cmp.Equal(got.Items[0].In, want) || got.Items[1].In[0] != "a:b" {
		t.Errorf("got %+v", got)
	}
}

// Attack: POL-03
func TestDecodeRefuses(t *testing.T) {
	for _, test := range []struct{ src, want string }{
		{"", "f:1:1: name is missing"},
		{"name:\n", "f:1:1: name has no value"},
		{"name: a\nnaem: b\n", `f:2:1: unknown key "naem": did you mean "name"?`},
		{"name: a\nName: b\n", `f:2:1: unknown key "Name": did you mean "name"?`},
		{"name: a\nhidden: b\n", `f:2:1: unknown key "hidden": known here are count, enabled, list, name, sub, tags, wait`},
		{"name: a\nname: b\n", `f:2:1: duplicate key "name": it is already on line 1`},
		{"name: a\n\"name\": b\n", `f:2:1: duplicate key "name": it is already on line 1`},
		{"name: a\nenabled: no\n", "f:2:10: must be true or false"},
		{"name: a\nenabled: True\n", "f:2:10: must be true or false"},
		{"name: a\nenabled: \"true\"\n", "f:2:10: must be true or false"},
		{"name: no\n", "f:1:7: must be a text: put quotes around no, which is a boolean to many readers"},
		{"name: 1\n", "f:1:7: must be a text, not a number: put quotes around it"},
		{"name: 0x1F\n", "f:1:7: must be a text, not a number: put quotes around it"},
		{"name: 1e3\n", "f:1:7: must be a text, not a number: put quotes around it"},
		{"name: .NaN\n", "f:1:7: must be a text, not a number: put quotes around it"},
		{"name: [a]\n", "f:1:7: must be a text, not a list"},
		{"name: {a: b}\n", "f:1:7: must be a text, not a mapping"},
		{"name: a\ncount: 1_000\n", "f:2:8: must be a whole number, written as such, below 2^53"},
		{"name: a\ncount: 010\n", "f:2:8: must be a whole number, written as such, below 2^53"},
		{"name: a\ncount: 9007199254740992\n", "f:2:8: must be a whole number, written as such, below 2^53"},
		{"name: a\ncount: \"1\"\n", "f:2:8: must be a whole number, not a text"},
		{"name: a\nwait: 5\n", "f:2:7: must be a text, not a number: put quotes around it"},
		{"name: a\nwait: 5d\n", `f:2:7: "5d" is not a duration: write whole numbers of h, m and s in that order, such as 90s, 15m or 1h30m`},
		{"name: a\nlist: b\n", "f:2:7: must be a list ([a, b] or lines that begin with -), not a text"},
		{"name: a\nlist: [b,]\nlist2: [", "f:3:8: sequence end token ']' not found"},
		{"name: a\nlist:\n  - b\n  -\n", "f:4:5: an entry of the list is empty"},
		{"name: a\ntags: {b: }\n", `f:2:8: "b" has no value`},
		{"name: a\ntags: [b]\n", "f:2:7: must be a mapping (key: value), not a list"},
		{"name: a\ntags: {1: b}\n", "f:2:8: a key must be a text, not a number: put quotes around it"},
		{"name: a\ntags: {a:1}\n", `f:2:8: "a:1" has no value`},
		{"name: {a: b: c}\n", "f:1:1: did not find expected ',' or '}'"},
		{"name: a\ncount: -0\n", "f:2:8: must be a whole number, written as such, below 2^53"},
		{"name: a b: c\n", "f:1:7: mapping value is not allowed in this context"},
		{"name: &a b\n", "f:1:7: an anchor (&) is not allowed: write the value out"},
		{"name: *a\n", "f:1:7: an alias (*) is not allowed: write the value out, or put quotes around it"},
		{"<<: {name: a}\n", "f:1:1: a merge key (<<) is not allowed: write the keys out"},
		{"name: !!str 1\n", "f:1:7: a tag (!) is not allowed: put quotes around a text that begins so"},
		{"name: a\n---\nname: b\n", "f:2:1: a second document: one file holds one"},
		{"name: a\n...\nname: b\n", "f:3:1: a second document: one file holds one"},
		{"%YAML 1.1\n---\nname: a\n", "f:1:1: a directive (%) is not allowed"},
		{"? name\n: a\n", "f:1:1: a key with ? is not allowed"},
		{"name: a\n\tcount: 1\n", `f:2:1: a tab: use spaces, or \t inside double quotes`},
		{"name: a\tb\n", `f:1:8: a tab: use spaces, or \t inside double quotes`},
		{"{\"name\": \"a\tb\"}\n", `f:1:12: a tab: use spaces, or \t inside double quotes`},
		{"list: [- a]\nname: b\n", "f:1:8: a dash inside [ ] or { }: entries are separated by commas there"},
		{"name: \xff\n", "f:1:7: is not UTF-8"},
		{"# ä\nname: ä\xc3\n", "f:2:8: is not UTF-8"},
		{"name: a\x00b\n", "f:1:8: the invisible character U+0000 is not allowed"},
		{"name: a\u202eb\n", "f:1:8: the invisible character U+202E is not allowed"},
		{"name: a\rcount: 1\n", "f:1:8: the invisible character U+000D is not allowed"},
		{"name: \"a\\u0000\"\n", "f:1:7: holds the invisible character U+0000, which is not allowed"},
		{"name: \"a\\ud800\"\n", "f:1:9: not enough length for escaped UTF-16 surrogate pair"},
		{strings.Repeat("[", 100), "f:1:65: is nested too deep"},
		{strings.Repeat("{a: ", 100), "f:1:257: is nested too deep"},
		{strings.Repeat("- ", 100), "f:1:129: is nested too deep"},
		{"name: |\n" + strings.Repeat("\n", 200), "f:102:1: more than 100 empty lines in a row"},
		{"name: " + strings.Repeat("a", MaxServerSize), "f:1:1: is longer than 1048576 bytes"},
		{"- a\n", "f:1:1: must be a mapping (key: value), not a list"},
		{"name: a\nsub: {key: hunter2}\n", "f:2:12: a secret is not written into the file: give {env: NAME} or {file: PATH}"},
		{"name: a\nsub: {key: 12345}\n", "f:2:12: a secret is not written into the file: give {env: NAME} or {file: PATH}"},
		{"name: a\nsub: {key: {env: A, file: /b}}\n", "f:2:12: a secret needs exactly one of env and file: {env: NAME} or {file: PATH}"},
		{"name: a\nsub: {key: {}}\n", "f:2:12: a secret needs exactly one of env and file: {env: NAME} or {file: PATH}"},
		{"name: a\nsub: {key: {env: \"${A}\"}}\n", "f:2:18: must be the name of an environment variable, such as ORDERS_KEY: values are not expanded"},
		{"name: a\nsub: {key: {env: A=B}}\n", "f:2:18: must be the name of an environment variable, such as ORDERS_KEY: values are not expanded"},
		{"naem: a\ncount: x\nlist: y\n", "f:1:1: name is missing\n" + `f:1:1: unknown key "naem": did you mean "name"?` + "\nf:2:8: must be a whole number, not a text\nf:3:7: must be a list ([a, b] or lines that begin with -), not a text"},
	} {
		var got sample
		err := Decode("f", []byte(test.src), &got)
		if err == nil || err.Error() != test.want {
			t.Errorf("%.60q: got\n%v\nwant\n%s", test.src, err, test.want)
			continue
		}
		var errs Errors
		if !errors.As(err, &errs) || errs[0].File != "f" || errs[0].Line < 1 || errs[0].Column < 1 {
			t.Errorf("%.60q: %#v", test.src, err)
		}
	}
}

// The library whose tree is kept reads these without a word of complaint, and
// loses or invents something.
//
// Attack: POL-03
func TestReadersMustAgree(t *testing.T) {
	for _, src := range []string{
		"name: a\ntags: {\"x\"\n\n\n:,y\"}\n", "tags:\n  - a\n\n!!!c!S\nname: a\n", "name: a\n!MA!\n",
		"name:\na\n", "list: [a: |\n,  }b]\nname: a\n", "name: S \n -b\n  c\n", "name: a\nlist:\n  - {x: y, groups:, group:a, group:b]} # c\n",
		"name: >-\n  a\n   \n", "name: \"a\n--- b\n", "{\"name\": \"a\", \"list\": [\"b\"}",
	} {
		if root, err := Parse("f", []byte(src), MaxServerSize); err == nil || root != nil {
			raw, _ := JSON(root)
			t.Errorf("%q was taken for %s", src, raw)
		}
	}
	for _, src := range []string{
		"name: a\n  b\n", "name: >-\n  a\n  b\n\n", "name: |\n  a\n\n   b\n", "name: 'a\n\n  b'\n", "name: a # b\n", "{\"name\":\"\\ud83d\\ude00\\/\"}", "{\"name\": \"a\", \"count\": 1, \"enabled\": true, \"sub\": null}\n",
		"{name: a, list: [b:c, d, ],}\n", "name: \"a\\n\\x41\\u00e9\"\n", "# c\n\n---\nname: ~a\n...\n",
	} {
		var got sample
		if err := Decode("f", []byte(src), &got); err != nil {
			t.Errorf("%q: %v", src, err)
		}
	}
}

// An alias bomb never gets to expand.
//
// Attack: POL-03
func TestAliasBomb(t *testing.T) {
	src := "a: &a [x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c < 'j'; c++ {
		src += string(c) + ": &" + string(c) + " [" + strings.TrimSuffix(strings.Repeat("*"+string(c-1)+", ", 9), ", ") + "]\n"
	}
	if _, err := Parse("f", []byte(src), MaxServerSize); err == nil || !strings.HasPrefix(err.Error(), "f:1:4: an anchor (&) is not allowed") {
		t.Errorf("got %v", err)
	}
}

func TestInside(t *testing.T) {
	for _, test := range []struct {
		src          string
		line, column int // inside the text
		want         string
	}{
		{"a: b == c\n", 1, 2, "1:6"},
		{"a: 'b == c'\n", 1, 2, "1:7"},
		{"{x: {a: \"b == c\"}}\n", 1, 2, "1:12"},
		{"a: 'it''s'\n", 1, 3, "1:4"},
		{"a: \"b\\tc\"\n", 1, 2, "1:4"},
		{"a: |\n  b ==\n    c\n", 2, 2, "3:5"},
		{"x:\n  - a: |-\n\n      b\n", 2, 0, "4:7"},
		{"a: >\n  b ==\n  c\n", 1, 5, "1:4"},
		{"a: 'b\n  c'\n", 1, 2, "1:4"},
		{"é: 'é == c'\n", 1, 2, "1:7"},
	} {
		root, err := Parse("f", []byte(test.src), MaxServerSize)
		if err != nil {
			t.Fatal(err)
		}
		node := root
		for _, key := range []string{"x", "a", "é"} {
			node = Find(node, key)
		}
		if list, ok := node.(*ast.SequenceNode); ok {
			node = Find(list.Values[0], "a")
		}
		line, column := Inside(node, test.line, test.column)
		if got := (Error{Line: line, Column: column}).Error(); got != test.want+": " {
			t.Errorf("%q: got %s, want %s", test.src, got, test.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, src := range []string{"", contractExample, "a: [1, {b: c:d}]\n- x: |\n  foo\n", "{\"a\":\"\\ud83d\\ude00\"}", "a: >-\n  b\n  c\nd: 'e''f'\n"} {
		f.Add([]byte(src))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		root, err := Parse("f", src, MaxServerSize)
		if err != nil {
			checkErrors(t, err)
			return
		}
		if root == nil {
			return
		}
		raw, err := JSON(root)
		if err != nil {
			checkErrors(t, err)
			return
		}
		// JSON is YAML: what was read reads the same again.
		again, err := Parse("f", raw, MaxCatalogSize)
		if err != nil {
			t.Fatalf("%q became %s: %v", src, raw, err)
		}
		second, err := JSON(again)
		if err != nil || string(second) != string(raw) {
			t.Fatalf("%q became %s, then %s: %v", src, raw, second, err)
		}
	})
}

func checkErrors(t *testing.T, err error) {
	t.Helper()
	var errs Errors
	if !errors.As(err, &errs) || len(errs) == 0 {
		t.Fatalf("%#v", err)
	}
	for _, e := range errs {
		if e.Line < 1 || e.Column < 1 || e.Message == "" {
			t.Fatalf("no place: %#v", e)
		}
	}
}

package httpkind

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/resource"
)

const maxPaths = 64

// methods are the HTTP methods that a scope can allow. Each is allowed by its
// own name alone: GET does not imply HEAD.
var methods = []string{"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}

// Fields is a scope as policies see it: `scope.methods`, `scope.paths`.
type Fields struct {
	Methods []string `json:"methods" cel:"methods"` // sorted
	Paths   []string `json:"paths" cel:"paths"`     // canonical patterns, sorted
}

// Scope allows every one of its methods on every path that one of its patterns
// matches.
type Scope struct {
	fields   Fields
	patterns []pattern // in the order of fields.Paths
	exact    []string  // the segments of its one path, of an action
}

// ScopeSchema describes a scope as JSON Schema (2020-12).
const ScopeSchema = `{"type":"object","additionalProperties":false,"required":["methods","paths"],"properties":{` +
	`"methods":{"type":"array","minItems":1,"items":{"enum":["DELETE","GET","HEAD","OPTIONS","PATCH","POST","PUT"]}},` +
	`"paths":{"type":"array","minItems":1,"maxItems":64,"items":{"type":"string","pattern":"^/","maxLength":1024,` +
	`"description":"* is one segment, ** any number of segments; both stand for whole segments"}}}}`

// ParseScope implements policy.Kind.
func (Kind) ParseScope(raw []byte) (policy.Scope, error) {
	s, err := parseScope(raw)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// ScopeType implements policy.Kind.
func (Kind) ScopeType() reflect.Type { return reflect.TypeFor[Fields]() }

func parseScope(raw []byte) (*Scope, error) {
	var given *struct {
		Methods []string `json:"methods"`
		Paths   []string `json:"paths"`
	}
	if err := resource.DecodeScope(raw, &given); err != nil {
		return nil, fmt.Errorf("not a scope of an http resource, which reads {\"methods\": [\"GET\"], \"paths\": [\"/v1/orders/**\"]}: %w", err)
	}
	if given == nil {
		return nil, errors.New("a scope is an object with methods and paths")
	}
	return newScope(given.Methods, given.Paths)
}

func newScope(names, paths []string) (*Scope, error) {
	switch {
	case len(names) == 0:
		return nil, errors.New("methods: must name at least one method")
	case len(paths) == 0:
		return nil, errors.New("paths: must name at least one path")
	case len(paths) > maxPaths:
		return nil, fmt.Errorf("paths: at most %d", maxPaths)
	}
	s := &Scope{}
	for _, m := range names {
		if !slices.Contains(methods, m) {
			return nil, fmt.Errorf("methods: each must be one of %s, in upper case", strings.Join(methods, ", "))
		}
	}
	s.fields.Methods = sorted(names)
	byText := make(map[string]pattern, len(paths))
	for i, raw := range paths {
		p, err := parsePattern(raw)
		if err != nil {
			return nil, fmt.Errorf("paths[%d]: %w", i, err)
		}
		byText[p.String()] = p
	}
	for text := range byText {
		s.fields.Paths = append(s.fields.Paths, text)
	}
	slices.Sort(s.fields.Paths)
	for _, text := range s.fields.Paths {
		s.patterns = append(s.patterns, byText[text])
	}
	return s, nil
}

func sorted(in []string) []string {
	out := slices.Clone(in)
	slices.Sort(out)
	return slices.Compact(out)
}

// JSON implements policy.Scope. No string of a canonical scope has a character
// that JSON escapes.
func (s *Scope) JSON() json.RawMessage {
	var b strings.Builder
	write := func(name string, all []string) {
		b.WriteString(`"` + name + `":[`)
		for i, v := range all {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(`"` + v + `"`)
		}
		b.WriteByte(']')
	}
	b.WriteByte('{')
	write("methods", s.fields.Methods)
	b.WriteByte(',')
	write("paths", s.fields.Paths)
	b.WriteByte('}')
	return json.RawMessage(b.String())
}

// CEL implements policy.Scope.
func (s *Scope) CEL() any {
	return Fields{Methods: slices.Clone(s.fields.Methods), Paths: slices.Clone(s.fields.Paths)}
}

// Covers implements policy.Scope: every method of other is one of s's, and
// every path that other matches is matched by s.
func (s *Scope) Covers(other policy.Scope) bool {
	o, ok := other.(*Scope)
	if !ok || o == nil {
		return false
	}
	if o.exact != nil {
		return s.allows(o.fields.Methods[0], o.exact)
	}
	for _, m := range o.fields.Methods {
		if !slices.Contains(s.fields.Methods, m) {
			return false
		}
	}
	for _, p := range o.patterns {
		if !p.within(s.patterns) {
			return false
		}
	}
	return true
}

// allows reports whether s covers one request.
func (s *Scope) allows(method string, segments []string) bool {
	if !slices.Contains(s.fields.Methods, method) {
		return false
	}
	return slices.ContainsFunc(s.patterns, func(p pattern) bool { return p.match(segments) })
}

// String says what s allows, for a person: "GET, HEAD on /v1/orders/**".
func (s *Scope) String() string {
	return strings.Join(s.fields.Methods, ", ") + " on " + strings.Join(s.fields.Paths, ", ")
}

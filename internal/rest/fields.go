package rest

import (
	"encoding"
	stdjson "encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"

	"github.com/daypass/daypass/api"
)

// fields knows the members of one type of body. Every body of the API is flat;
// what is nested belongs to a kind, which checks it itself.
type fields struct {
	registry huma.Registry
	schema   *huma.Schema
	byName   map[string]reflect.Type
}

var (
	rawType      = reflect.TypeFor[stdjson.RawMessage]()
	durationType = reflect.TypeFor[api.Duration]()
	timeType     = reflect.TypeFor[api.Time]()
)

// Descriptions of the scalar types; an error about a value says these and
// never the value (Invariant A21).
const (
	durationRule = "must be a duration such as 90s, 15m or 1h30m: whole numbers of h, m and s, each at most once and in that order, more than 0, at most 8760h"
	timeRule     = "must be a time in RFC 3339, such as 2026-11-23T14:00:00Z"
)

// fieldsOf returns the checker of bodies of type t. A type that is not flat
// panics: its nested members would not be checked.
func (s *server) fieldsOf(t reflect.Type) *fields {
	registry := s.huma.OpenAPI().Components.Schemas
	f := &fields{registry: registry, schema: &huma.Schema{Type: huma.TypeObject}, byName: map[string]reflect.Type{}}
	if t == reflect.TypeFor[none]() {
		return f
	}
	f.schema = registry.Schema(t, false, "")
	for i := range t.NumField() {
		field := t.Field(i)
		kind := field.Type
		if kind.Kind() == reflect.Pointer {
			kind = kind.Elem()
		}
		switch {
		case kind == rawType, kind == durationType, kind == timeType, kind.Kind() == reflect.String, kind.Kind() == reflect.Bool:
		default:
			panic("rest: " + t.String() + "." + field.Name + " is not a scalar")
		}
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		f.byName[name] = kind
	}
	return f
}

// decode checks raw, which scanJSON has passed, and decodes it. Names that the
// type does not have are 400, all of them; then values that are wrong or
// missing are 422, all of them.
func (f *fields) decode(raw []byte, into any) error {
	var members map[string]any
	if err := json.Unmarshal(raw, &members); err != nil {
		return malformed("body", "The body is not valid JSON.")
	}
	if err := f.unknown(members); err != nil {
		return err
	}
	var wrong []api.FieldProblem
	for _, name := range sorted(members) {
		if why := f.value(name, members[name]); why != "" {
			wrong = append(wrong, api.FieldProblem{Location: "body." + name, Message: why})
			delete(members, name) // said once is enough
		}
	}
	wrong = append(wrong, f.schemaProblems(members, wrong)...)
	if len(wrong) > 0 {
		return invalid(wrong)
	}
	if err := json.Unmarshal(raw, into, json.RejectUnknownMembers(true)); err != nil {
		return invalid([]api.FieldProblem{{Location: "body", Message: "a field cannot be read"}})
	}
	return nil
}

func (f *fields) unknown(members map[string]any) error {
	var bad []api.FieldProblem
	for _, name := range sorted(members) {
		if _, ok := f.byName[name]; ok {
			continue
		}
		why := "is not a field of this call"
		for known := range f.byName {
			if fold(known) == fold(name) {
				why = fmt.Sprintf("is written %q", known)
			}
		}
		bad = append(bad, api.FieldProblem{Location: "body." + clip(name, 64), Message: why})
	}
	if bad == nil {
		return nil
	}
	return &fault{status: 400, code: "malformed", detail: bad[0].Location + " " + bad[0].Message + ".", fields: bad}
}

// value says what is wrong with one member beyond what its schema can say.
func (f *fields) value(name string, v any) string {
	kind := f.byName[name]
	if v == nil {
		return "must not be null; leave it out instead"
	}
	text, isText := v.(string)
	switch {
	case kind == rawType:
		if _, ok := v.(map[string]any); !ok {
			return "must be an object"
		}
	case kind == durationType || kind == timeType:
		rule := durationRule
		if kind == timeType {
			rule = timeRule
		}
		parsed := reflect.New(kind).Interface().(encoding.TextUnmarshaler)
		if !isText || parsed.UnmarshalText([]byte(text)) != nil {
			return rule
		}
	case isText && strings.ContainsRune(text, 0):
		return "must not contain the character U+0000"
	}
	return ""
}

// schemaProblems is what huma finds: missing members, wrong types, lengths and
// words. Its values are dropped: they are what the caller sent.
func (f *fields) schemaProblems(members map[string]any, known []api.FieldProblem) []api.FieldProblem {
	said := map[string]bool{}
	for _, p := range known {
		said[p.Location] = true
	}
	var result huma.ValidateResult
	path := huma.NewPathBuffer([]byte("body"), len("body"))
	huma.Validate(f.registry, f.schema, path, huma.ModeWriteToServer, members, &result)
	var found []api.FieldProblem
	for _, err := range result.Errors {
		detail, ok := err.(huma.ErrorDetailer)
		if !ok {
			continue
		}
		p := api.FieldProblem{Location: detail.ErrorDetail().Location, Message: detail.ErrorDetail().Message}
		if rest, ok := strings.CutPrefix(p.Message, "expected required property "); ok {
			name, _, _ := strings.Cut(rest, " ")
			p = api.FieldProblem{Location: "body." + name, Message: "is required"}
		}
		if !said[p.Location] {
			found = append(found, p)
		}
	}
	return found
}

package rest

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/broker"
)

// param is one parameter of a query. check says what is wrong with a value, in
// words that do not repeat it.
type param struct {
	name, text string
	schema     *huma.Schema
	required   bool
	shape      bool // a wrong value is a malformed call (400), not a wrong value (422)
	check      func(string) string
}

const (
	defaultLimit = 50
	maxLimit     = 200
	maxWait      = 60 * time.Second
)

var (
	limitParam = param{
		name: "limit", text: "How many items to answer at most.",
		schema: &huma.Schema{Type: huma.TypeInteger, Minimum: ptr(1.0), Maximum: ptr(float64(maxLimit)), Default: defaultLimit},
		check:  intBetween(1, maxLimit),
	}
	cursorParam = param{
		name: "cursor", text: "`next_cursor` of the page before. It is opaque and belongs to this list and this caller.",
		schema: &huma.Schema{Type: huma.TypeString, MaxLength: ptr(512)}, shape: true,
		check: func(v string) string {
			if len(v) > 512 || !visible(v) {
				return "is not a cursor of this list"
			}
			return ""
		},
	}
	waitParam = param{
		name: "wait", text: "Hold the answer until the request is decided, or with `If-None-Match` until anything about it moves, at most this long (≤ 60s).",
		schema: &huma.Schema{Type: huma.TypeString, Examples: []any{"30s"}},
		check: func(v string) string {
			if d, err := api.ParseDuration(v); err != nil || d > maxWait {
				return "must be a duration of at most 60s, such as 30s"
			}
			return ""
		},
	}
	dryRunParam = param{
		name: "dry_run", text: "Answer how the request would be decided; store nothing but an audit entry.",
		schema: &huma.Schema{Type: huma.TypeBoolean},
		check: func(v string) string {
			if v != "true" && v != "false" {
				return "must be true or false"
			}
			return ""
		},
	}
)

// Of a replay of the recorded requests.
var (
	sinceParam = param{
		name: "since", text: "How far back, such as `2160h`, which is the default.", schema: &huma.Schema{Type: huma.TypeString, Examples: []any{"2160h"}},
		check: func(v string) string {
			if _, err := api.ParseDuration(v); err != nil {
				return "must be a duration such as 2160h"
			}
			return ""
		},
	}
	recordedGroupsParam = param{name: "recorded_groups", text: "With the groups of each requester when it was asked.", schema: dryRunParam.schema, check: dryRunParam.check}
)

// textParam is a name to filter by.
func textParam(name, text string) param {
	return param{name: name, text: text, schema: &huma.Schema{Type: huma.TypeString, MaxLength: ptr(256)},
		check: func(v string) string {
			if len(v) > 256 || !utf8.ValidString(v) || strings.ContainsFunc(v, func(r rune) bool { return r < ' ' }) {
				return "must be a text of at most 256 characters"
			}
			return ""
		}}
}

// wordParam is one of a few words.
func wordParam(name, text string, words ...string) param {
	enum := make([]any, len(words))
	for i, w := range words {
		enum[i] = w
	}
	return param{name: name, text: text, schema: &huma.Schema{Type: huma.TypeString, Enum: enum},
		check: func(v string) string {
			if !slices.Contains(words, v) {
				return "must be one of " + strings.Join(words, ", ")
			}
			return ""
		}}
}

// seqParam is a sequence number, 0 or more.
func seqParam(name, text string) param {
	return param{name: name, text: text, schema: &huma.Schema{Type: huma.TypeInteger, Format: "int64", Minimum: ptr(0.0)},
		check: intBetween(0, 1<<62)}
}

func required(p param) param { p.required = true; return p }

func intBetween(least, most int64) func(string) string {
	return func(v string) string {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < least || n > most || strings.HasPrefix(v, "+") || strings.HasPrefix(v, "-") {
			if most == 1<<62 {
				return fmt.Sprintf("must be a whole number, at least %d", least)
			}
			return fmt.Sprintf("must be a whole number from %d to %d", least, most)
		}
		return ""
	}
}

// values are the checked parameters of one query.
type values map[string]string

// parseQuery takes the parameters of a query that the route knows and ignores
// the others, tokens among them. One that occurs twice, or is not well encoded,
// is 400; an empty one counts as absent.
func parseQuery(raw string, params []param) (values, error) {
	if len(params) == 0 {
		return nil, nil
	}
	parsed, err := url.ParseQuery(raw)
	if err != nil {
		return nil, malformed("query", "The query is not well encoded.")
	}
	found := values{}
	var wrong, shape []api.FieldProblem
	for _, p := range params {
		given := parsed[p.name]
		at := "query." + p.name
		switch {
		case len(given) > 1:
			shape = append(shape, api.FieldProblem{Location: at, Message: "occurs twice"})
		case len(given) == 0 || given[0] == "":
			if p.required {
				wrong = append(wrong, api.FieldProblem{Location: at, Message: "is required"})
			}
		default:
			if why := p.check(given[0]); why == "" {
				found[p.name] = given[0]
			} else if p.shape {
				shape = append(shape, api.FieldProblem{Location: at, Message: why})
			} else {
				wrong = append(wrong, api.FieldProblem{Location: at, Message: why})
			}
		}
	}
	switch {
	case shape != nil:
		return nil, &fault{status: http.StatusBadRequest, code: "malformed", detail: shape[0].Location + " " + shape[0].Message + ".", fields: shape}
	case wrong != nil:
		return nil, invalid(wrong)
	}
	return found, nil
}

// page is the page asked for.
func (v values) page() broker.Page {
	p := broker.Page{Limit: defaultLimit, Cursor: v["cursor"]}
	if n, err := strconv.Atoi(v["limit"]); err == nil {
		p.Limit = n
	}
	return p
}

// duration is a checked duration, 0 when absent.
func (v values) duration(name string) time.Duration {
	d, err := api.ParseDuration(v[name])
	if err != nil {
		return 0
	}
	return d
}

// number is a checked number and whether it was given.
func (v values) number(name string) (int64, bool) {
	n, err := strconv.ParseInt(v[name], 10, 64)
	return n, err == nil
}

// visible reports whether s is visible ASCII without spaces.
func visible(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

func ptr[T any](v T) *T { return &v }

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
